package report

import (
	"bufio"
	"io"
	"strconv"
	"strings"

	"assay/internal/policy"
)

// maxAnnotations is how many annotations of one kind GitHub shows of a step; more are dropped without a word.
const maxAnnotations = 10

// An annotation is one workflow command of GitHub's that a person gets to see.
type annotation struct {
	kind  string   // error, warning or notice
	at    position // zero: of no file
	title string
	text  string
	n     int // entries that it stands for
}

// WriteGitHub writes what is to be told of packages as commands to GitHub's runner (docs.github.com, "Workflow
// commands for GitHub Actions"), which shows them at the lines of the lockfile: an error for each package that is
// denied and each reason why others could not be checked, a warning for what is let through and yet needs a look,
// and a notice that sums up. Of one kind there are at most ten, as GitHub shows no more: the gravest, and one that
// counts the rest. Nothing that a registry says becomes a command or leaves its own. It returns the error of w.
func WriteGitHub(w io.Writer, r *Report, o TextOptions) error {
	o.Elapsed = 0 // the same report gives the same bytes
	a := newAuditText(io.Discard, r, o)
	var list []annotation
	add := func(kind string, e *entry, title, text string, next []step, n int) {
		for _, s := range next {
			if s.text == "" {
				continue
			}
			text += "\nNext: " + s.text
			if s.command != "" {
				text += "\n" + s.typed(o.Flags)
			}
		}
		list = append(list, annotation{kind, a.at[e], title, text, n})
	}
	each := func(kind string, entries []*entry) {
		for _, e := range entries {
			bad := e.bad()
			var labels, lines []string
			for _, i := range bad {
				labels = append(labels, i.label())
			}
			for _, s := range sayings(bad) {
				lines = append(lines, s.names+": "+s.message)
				if s.expected != "" || s.actual != "" {
					lines = append(lines, "expected "+orNothing(s.expected), "actual "+orNothing(s.actual))
				}
			}
			for _, more := range []struct{ name, text string }{{"why", e.why}, {"from", e.from}, {"built from", e.built}} {
				if more.text != "" {
					lines = append(lines, more.name+" "+more.text)
				}
			}
			add(kind, e, e.spec+" "+strings.Join(labels, ", "), strings.Join(lines, "\n"), steps(bad), 1)
		}
	}
	many := func(kind string, group []*entry, i *issue, text string) {
		e := group[0]
		next, subject := i.next, e.spec
		if len(group) > 1 {
			next, subject = next.forMany(e.spec), things(group)
			text += "\n" + some(group, maxNames)
		}
		add(kind, e, subject+" "+i.label(), text, []step{next}, len(group))
	}
	each("error", a.deny)
	each("warning", a.tolerated)
	for _, group := range alike(a.unknown, (*entry).question) {
		kind := "error"
		if group[0].decision != policy.Decision(policy.Error) {
			kind = "warning"
		}
		text, _ := common(group)
		many(kind, group, allOf(group), text)
	}
	for _, g := range a.lookAt() {
		kind := "warning"
		if g.word == "note" {
			kind = "notice"
		}
		many(kind, g.entries, g.issue, g.issue.message)
	}
	out := bufio.NewWriter(w)
	for _, kind := range []string{"error", "warning", "notice"} {
		var of []annotation
		for _, x := range list {
			if x.kind == kind {
				of = append(of, x)
			}
		}
		most := maxAnnotations
		if kind == "notice" {
			most-- // the last is the summary
		}
		if len(of) > most {
			rest := of[most-1:]
			n := 0
			var titles []string
			for i, x := range rest {
				n += x.n
				if i < maxNames {
					titles = append(titles, x.title)
				}
			}
			if len(rest) > maxNames {
				titles = append(titles, "and "+count(len(rest)-maxNames)+" more")
			}
			of = append(of[:most-1:most-1], annotation{kind: kind, title: "and " + plural(n, "package", "packages") + " more", text: strings.Join(titles, "\n")})
		}
		for _, x := range of {
			out.WriteString(x.command() + "\n")
		}
	}
	var lines []string
	for _, line := range a.conclusion() {
		lines = append(lines, unstyled(line))
	}
	summary := annotation{kind: "notice", title: strings.Join(a.headline(), ", "), text: strings.Join(lines, "\n")}
	out.WriteString(summary.command() + "\n")
	return out.Flush()
}

// command is the annotation as the runner reads it, without the line's end.
func (x annotation) command() string {
	const maxTitle, maxText = 300, 4000
	var properties []string
	if x.at.file != "" {
		properties = append(properties, "file="+escapeProperty(cut(Escape(x.at.file), 1000)), "line="+strconv.Itoa(x.at.line))
	}
	properties = append(properties, "title="+escapeProperty(cut(x.title, maxTitle)))
	return "::" + x.kind + " " + strings.Join(properties, ",") + "::" + escapeData(cut(x.text, maxText))
}

// escapeData and escapeProperty escape text for a workflow command as the runner takes the escapes back (actions/runner,
// ActionCommand.cs). "##[" begins a command of the older form wherever it stands in a line.
func escapeData(s string) string { return commandData.Replace(s) }

func escapeProperty(s string) string { return commandProperty.Replace(s) }

var (
	commandData     = strings.NewReplacer("%", "%25", "\r", "%0D", "\n", "%0A", "##[", `#\u{23}[`)
	commandProperty = strings.NewReplacer("%", "%25", "\r", "%0D", "\n", "%0A", ":", "%3A", ",", "%2C", "##[", `#\u{23}[`)
)

// some names entries in one line, at most n of them.
func some(entries []*entry, n int) string {
	var names []string
	for i, e := range entries {
		if i == n {
			names = append(names, "and "+count(len(entries)-n)+" more")
			break
		}
		names = append(names, e.spec)
	}
	return strings.Join(names, ", ")
}

// unstyled is a line without its styles.
func unstyled(line []span) string {
	var b strings.Builder
	for _, s := range line {
		b.WriteString(s.text)
	}
	return b.String()
}

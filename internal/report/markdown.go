package report

import (
	"bytes"
	"cmp"
	"io"
	"regexp"
	"slices"
	"strings"

	"assay/internal/policy"
)

// What GitHub takes: a comment has at most 65,536 characters, a step's summary 1 MiB.
const (
	maxComment = 65_536
	maxSummary = 1 << 20
)

// WriteMarkdown writes the report in GitHub's Markdown, short enough for a comment on a pull request: what is denied,
// what could not be checked and what to look at, with what to do, then who vouches for the rest and who built
// what. What does not fit is left out, the least grave first, and told.
//
// Whatever a registry or a lockfile says stands in code or is made of letters only, so it can neither be taken for
// HTML, an image, a link, a mention of a person or an issue, nor end a table or a list. Links lead to repositories
// of verified certificates on github.com and gitlab.com and nowhere else. It returns the error of w.
func WriteMarkdown(w io.Writer, r *Report, o TextOptions) error {
	return writeMarkdown(w, r, o, maxComment)
}

// WriteStepSummary is [WriteMarkdown] in at most the given number of bytes, and never more than a step's summary may
// have.
func WriteStepSummary(w io.Writer, r *Report, o TextOptions, most int) error {
	return writeMarkdown(w, r, o, min(most, maxSummary))
}

// A markdown is a report on its way into a comment.
type markdown struct {
	*auditText
	buf     bytes.Buffer
	limit   int
	leftOut bool
}

const (
	mdReserve = 400 // bytes kept for the closing words
	mdNames   = 200 // names in one folded list
	mdRows    = 100 // rows of the table of repositories
)

func writeMarkdown(w io.Writer, r *Report, o TextOptions, limit int) error {
	o.Elapsed = 0
	m := &markdown{auditText: newAuditText(io.Discard, r, o), limit: limit - mdReserve}
	m.head()
	m.denied("Denied", m.deny)
	m.denied("Fails, and the policy lets it through", m.tolerated)
	m.undecided()
	m.look()
	m.built()
	m.asides()
	if m.leftOut {
		m.buf.WriteString("\n_This is not all: the rest does not fit here. `assay audit` prints it._\n")
	}
	_, err := w.Write(m.buf.Bytes())
	return err
}

// block appends text that stands by itself, unless that would be too much.
func (m *markdown) block(text string) bool {
	if m.buf.Len()+len(text) > m.limit {
		m.leftOut = true
		return false
	}
	m.buf.WriteString(text)
	return true
}

func (m *markdown) head() {
	title := "Assay: nothing is denied"
	switch m.r.Exit() {
	case 1:
		title = "Assay: " + things(m.deny) + " denied"
	case 3:
		title = "Assay: no answer yet"
	}
	var b strings.Builder
	b.WriteString("## " + title + "\n\n")
	lines := m.headline()
	subject := Escape(m.o.Subject)
	if subject != "" {
		lines[0] = code(subject) + strings.TrimPrefix(lines[0], subject)
	}
	b.WriteString(strings.Join(lines, "  \n") + "\n\n")
	for _, line := range m.conclusion() {
		b.WriteString(unstyled(line) + "\n\n") // nothing but words of ours and counts
	}
	if s := m.r.Summary; s.Packages > 0 {
		b.WriteString("| packages | verdict | means |\n| ---: | --- | --- |\n")
		for _, v := range vouchers(s) {
			b.WriteString("| " + count(v.n) + " | " + v.name + " | " + v.means + " |\n")
		}
	}
	for _, text := range m.bytesSeen() {
		b.WriteString("\n" + text + "\n")
	}
	m.block(b.String())
}

// denied writes entries with everything that a reader needs to act on each of them; what holds for several is said
// once.
func (m *markdown) denied(title string, entries []*entry) {
	if len(entries) == 0 || !m.block("\n### "+title+": "+things(entries)+"\n\n") {
		return
	}
	for _, group := range alike(entries, (*entry).trouble) {
		e := group[0]
		bad := e.bad()
		lines := []string{"**" + code(e.spec) + "** " + labels(bad)}
		for _, i := range sayings(bad) {
			text := prose(i.message)
			if len(bad) > 1 {
				text = code(i.names) + ": " + text
			}
			lines = append(lines, text)
			if i.expected != "" || i.actual != "" {
				lines = append(lines, "expected "+code(orNothing(i.expected)), "actual "+code(orNothing(i.actual)))
			}
		}
		for _, x := range e.besides() {
			if x.level != policy.Note {
				lines = append(lines, labels([]*issue{x})+": "+prose(x.message))
			}
		}
		lines = append(lines, m.where(e)...)
		lines = append(lines, m.next(steps(bad))...)
		item := "- " + strings.Join(lines, "<br>\n  ") + "\n"
		if len(group) > 1 {
			var rest []string
			for _, x := range group[1:] {
				row := code(x.spec) + in(x)
				for _, more := range x.besides() {
					if more.level != policy.Note && !slices.ContainsFunc(e.issues, func(i issue) bool { return i.says(more) }) {
						row += "<br>" + labels([]*issue{more}) + ": " + prose(more.message)
					}
				}
				rest = append(rest, row)
			}
			item += folded("The same holds for "+plural(len(group)-1, "more package", "more packages"), rest, "  ")
		}
		if !m.block(item) {
			return
		}
	}
}

// undecided writes what could not be told, one item for each reason.
func (m *markdown) undecided() {
	if len(m.unknown) == 0 || !m.block("\n### Could not be checked: "+things(m.unknown)+"\n\n") {
		return
	}
	for _, group := range alike(m.unknown, (*entry).question) {
		text, such := common(group)
		if such != "" {
			text += " (such as: " + such + ")"
		}
		if !m.block(m.item(group, allOf(group), text)) {
			return
		}
	}
}

// look writes what is let through and yet needs a look, one item for each rule.
func (m *markdown) look() {
	groups := m.lookAt()
	if len(groups) == 0 || !m.block("\n### To look at: "+things(inGroups(groups))+"\n\n") {
		return
	}
	for _, g := range groups {
		if !m.block(m.item(g.entries, g.issue, g.issue.message)) {
			return
		}
	}
}

// item is one reason with the packages that it holds for.
func (m *markdown) item(group []*entry, i *issue, text string) string {
	e := group[0]
	head, next := code(e.spec), i.next
	if len(group) > 1 {
		head, next = things(group), next.forMany(e.spec)
	}
	lines := []string{"**" + head + "** " + labels([]*issue{i}), prose(text)}
	if len(group) == 1 {
		lines = append(lines, m.where(e)...)
	}
	lines = append(lines, m.next([]step{next})...)
	item := "- " + strings.Join(lines, "<br>\n  ") + "\n"
	if len(group) > 1 {
		var names []string
		for _, x := range group {
			names = append(names, code(x.spec)+in(x))
		}
		item += folded(things(group), names, "  ")
	}
	return item
}

// where are the lines on where an entry is, why, and who built it.
func (m *markdown) where(e *entry) []string {
	var lines []string
	if e.place != "" {
		lines = append(lines, "in "+code(e.place))
	}
	if e.why != "" {
		lines = append(lines, "why "+code(e.why))
	}
	if e.from != "" {
		lines = append(lines, "from "+code(e.from))
	}
	if e.built != "" {
		lines = append(lines, "built from "+code(e.built))
	}
	return lines
}

// next are the lines on what to do.
func (m *markdown) next(list []step) []string {
	var lines []string
	for _, s := range list {
		if s.text == "" {
			continue
		}
		lines = append(lines, "_Next:_ "+prose(s.text))
		if s.command != "" {
			lines = append(lines, code(s.typed(m.o.Flags)))
		}
	}
	return lines
}

// built writes who built what, folded.
func (m *markdown) built() {
	sources, total := m.sources()
	if odd, reason := m.oddlyBuilt(); len(odd) > 0 {
		text := "\n### Look at how these were built: " + plural(len(odd), "package", "packages") + "\n\nReleases are not usually built so.\n\n"
		for i, p := range odd {
			if i == maxNames {
				text += "- and " + count(len(odd)-maxNames) + " more\n"
				break
			}
			c := reason[p]
			text += "- " + code(EscapeASCII(p.Name+"@"+p.Version)) + " " + code(Escape(c.Reason)) + ": " + prose(Escape(c.Message))
			if c.Actual != "" {
				text += ": " + code(EscapeASCII(c.Actual))
			}
			text += "\n"
		}
		m.block(text)
	}
	if total == 0 {
		return
	}
	head := "\n<details>\n<summary>Who built what: " + plural(total, "package", "packages") + " from " + plural(len(sources), "repository", "repositories") +
		"</summary>\n\n| repository | workflow | packages |\n| --- | --- | --- |\n"
	const foot = "\n</details>\n"
	var b strings.Builder
	b.WriteString(head)
	for i, s := range sources {
		row := s.row()
		if i == mdRows || m.buf.Len()+b.Len()+len(row)+len(foot)+100 > m.limit {
			m.leftOut = true
			b.WriteString("\nand " + count(len(sources)-i) + " more\n")
			break
		}
		b.WriteString(row)
	}
	b.WriteString(foot)
	m.block(b.String())
}

// row is the row of the table for one repository.
func (s *source) row() string {
	repository := code(EscapeASCII(cmp.Or(s.repository, "not named by the certificate")))
	if base, _ := forgeOf(s.repository); linkable(base) {
		repository = "[" + repository + "](" + base + ")"
	}
	var flows, names []string
	for i, w := range s.workflows {
		if i == 3 {
			flows = append(flows, "and "+count(len(s.workflows)-3)+" more")
			break
		}
		flows = append(flows, code(EscapeASCII(cmp.Or(w.path, "not named by the certificate"))))
	}
	for i, p := range s.packages {
		if i == 10 {
			names = append(names, "and "+count(len(s.packages)-10)+" more")
			break
		}
		names = append(names, code(EscapeASCII(p.Name+"@"+p.Version)))
	}
	return "| " + repository + " | " + strings.Join(flows, ", ") + " | " + strings.Join(names, ", ") + " |\n"
}

// asides writes what concerns the run itself.
func (m *markdown) asides() {
	list := m.aboutRun()
	if len(list) == 0 {
		return
	}
	var lines []string
	for _, n := range list {
		lines = append(lines, code(n.code)+": "+prose(n.text))
	}
	m.block("\n" + folded("About this run", lines, ""))
}

// folded is a list that a reader opens.
func folded(summary string, lines []string, indent string) string {
	var b strings.Builder
	b.WriteString("\n" + indent + "<details>\n" + indent + "<summary>" + summary + "</summary>\n\n")
	for i, line := range lines {
		if i == mdNames {
			b.WriteString(indent + "- and " + count(len(lines)-mdNames) + " more\n")
			break
		}
		b.WriteString(indent + "- " + line + "\n")
	}
	b.WriteString("\n" + indent + "</details>\n\n")
	return b.String()
}

// in says where an entry stands, after its name.
func in(e *entry) string {
	if e.place == "" {
		return ""
	}
	return " in " + code(e.place)
}

// labels names issues: "FAIL `subject` (`subject-digest`), `predicate`", and "DENY `source`, by `assay.yaml:5`".
func labels(issues []*issue) string {
	text, word := "", ""
	for i, x := range issues {
		switch {
		case x.word != word && i > 0:
			text += ", " + x.word + " "
		case x.word != word:
			text += wordOf(x) + " "
		default:
			text += ", "
		}
		word = x.word
		text += code(x.what)
		if x.reason != "" {
			text += " (" + code(x.reason) + ")"
		}
		if x.rule != "" {
			text += ", by " + code(x.rule)
		}
	}
	return text
}

// wordOf is the status word, which is one of ours unless the policy's level is none.
func wordOf(x *issue) string {
	switch x.word {
	case "FAIL", "error", "DENY", "warn", "note":
		return x.word
	}
	return code(x.word)
}

// code is escaped text as code: whatever it holds means nothing there, but the sign that ends it and, in a table, the
// one that ends a cell, which are shown as their code points.
func code(s string) string {
	if s == "" {
		return ""
	}
	if s[0] == ' ' || s[len(s)-1] == ' ' {
		s = strings.ReplaceAll(s, " ", `\u{20}`)
	}
	return "`" + codeSigns.Replace(s) + "`"
}

var codeSigns = strings.NewReplacer("`", `\u{60}`, "|", `\u{7c}`, "\n", `\u{a}`, "\r", `\u{d}`)

// prose is escaped text in sentences. Words stay as they are where Markdown and GitHub can see nothing but words in
// them; everything else stands as code.
func prose(s string) string {
	words := commands(strings.Split(s, " "))
	for i, w := range words {
		if plainWord(w) {
			continue
		}
		// Punctuation around a word may stand outside.
		start := len(w) - len(strings.TrimLeft(w, `("'`))
		end := len(strings.TrimRight(w, `)"',;.:?`))
		if start >= end {
			start, end = 0, len(w)
		}
		if q := w[start:end]; len(q) > 2 && q[0] == '`' && q[len(q)-1] == '`' {
			words[i] = w[:start] + code(q[1:len(q)-1]) + w[end:]
			continue
		}
		if w != "" {
			words[i] = w[:start] + code(w[start:end]) + w[end:]
		}
	}
	return strings.Join(words, " ")
}

// commands makes one word of the words of a command in backquotes, such as `assay pin`.
func commands(words []string) []string {
	for i := 0; i < len(words); i++ {
		if w := strings.TrimLeft(words[i], `("'`); !strings.HasPrefix(w, "`") || strings.Count(w, "`") != 1 {
			continue
		}
		for j := i + 1; j < min(i+6, len(words)); j++ {
			if strings.Contains(words[j], "`") {
				if w := strings.TrimRight(words[j], `)"',;.:?`); strings.HasSuffix(w, "`") && strings.Count(w, "`") == 1 {
					words = slices.Replace(words, i, j+1, strings.Join(words[i:j+1], " "))
				}
				break
			}
		}
	}
	return words
}

// figure matches what is as plain as a word: a time of day, a span of time, and the arrow between old and new.
var figure = regexp.MustCompile(`^\(?(?:[0-9]{2}:[0-9]{2}|[0-9]{1,4}[hdm]|→)[),;.?]*$`)

// plainWord reports whether a word is made of ASCII letters, or of digits, with ordinary punctuation around it and
// at most a hyphen, a comma or an apostrophe inside, or is a [figure]. A word of the digits a to f could be a commit.
func plainWord(w string) bool {
	if figure.MatchString(w) {
		return true
	}
	whole := w
	w = strings.TrimRight(strings.TrimLeft(w, `("'`), `)"',;.:?`)
	if w == "" || len(w) > 40 {
		return false
	}
	letters, digits := false, false
	for i, c := range []byte(w) {
		switch {
		case 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z':
			letters = true
		case '0' <= c && c <= '9':
			digits = true
		case (c == '-' || c == '\'') && i > 0 && i < len(w)-1 && w[i-1] != c, c == ',' && digits && i < len(w)-1:
		default:
			return false
		}
	}
	if letters && digits {
		return w == "sha1" || w == "sha512"
	}
	if digits { // "1." and "1)" begin a list
		return w == whole || strings.HasSuffix(whole, ",")
	}
	return !hexDigits(w)
}

// linkable reports whether an address of https can stand in a link as it is: nothing but names between slashes.
func linkable(s string) bool {
	rest, ok := strings.CutPrefix(s, "https://")
	for i := 0; i < len(rest); i++ {
		if c := rest[i]; !('a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || '0' <= c && c <= '9' || strings.IndexByte("/._-", c) >= 0) {
			return false
		}
	}
	return ok && len(s) < 1000
}

package report

import (
	"cmp"
	"slices"
	"strconv"
	"strings"

	"assay/internal/verify"
)

// summary counts who vouches for the packages. The bars share one scale.
func (a *auditText) summary() {
	s := a.r.Summary
	if s.Packages == 0 {
		return
	}
	a.heading(bold, "WHO VOUCHES FOR THEM", "")
	a.blank()
	digits := len(count(s.Packages))
	const names = 14
	const means = 30 // columns of the longest explanation
	bar := min(24, a.columns()-2-2-digits-2-4-2-names-2-means)
	if bar < 8 { // then without explanations
		bar = max(6, min(24, a.columns()-2-2-digits-2-4-2-names))
	}
	for _, r := range vouchers(s) {
		if r.n == 0 && (r.name == "invalid" || r.name == "unchecked") {
			r.style = plain
		}
		filled := share(r.n, s.Packages, bar)
		lead := []span{
			st(r.style, strings.Repeat(r.mark, filled)), st(dim, strings.Repeat(".", bar-filled)),
			t("  " + padLeft(count(r.n), digits) + "  " + padLeft(percent(r.n, s.Packages), 4) + "  "),
		}
		rest := 2 + bar + 2 + digits + 2 + 4 + 2
		if a.columns()-rest-names-2 >= means {
			a.item(2, append(lead, st(bold, pad(r.name, names)), t("  ")), rest+names+2, t(r.means))
		} else {
			a.item(2, lead, rest, st(bold, r.name))
		}
	}
}

// A voucher is one verdict with how many packages have it.
type voucher struct {
	n           int
	mark        string // of its bar
	style       style
	name, means string
}

func vouchers(s Summary) []voucher {
	return []voucher{
		{s.Provenance, "#", known, "provenance", "built by a verified workflow"},
		{s.Signed, "=", plain, "signature only", "the registry signed the bytes"},
		{s.Unsigned, "-", plain, "nothing", "neither of the two"},
		{s.Invalid, "!", denied, "invalid", "what it claims does not hold"},
		{s.Unchecked, "?", unknown, "unchecked", "could not be told"},
	}
}

// share is how much of a bar n of total fill: something wherever n is not 0, all of it only where n is all.
func share(n, total, bar int) int {
	if n <= 0 || total <= 0 {
		return 0
	}
	filled := max(1, (n*bar+total/2)/total)
	if n < total {
		filled = min(filled, bar-1)
	}
	return min(filled, bar)
}

func percent(n, total int) string {
	switch {
	case n <= 0 || total <= 0:
		return "0%"
	case n*100 < total:
		return "<1%"
	case n < total && n*100 > total*99:
		return ">99%"
	}
	return strconv.Itoa((n*100+total/2)/total) + "%"
}

// A source is one repository that packages were built from.
type source struct {
	repository string
	packages   []*Package
	workflows  []workflowCount
}

type workflowCount struct {
	path     string
	packages int
}

// sources lists the repositories that packages were built from, those of most packages first, and counts the
// packages.
func (a *auditText) sources() (sources []*source, total int) {
	byRepository := map[string]*source{}
	for i := range a.r.Packages {
		p := a.r.Packages[i].Publisher
		if p == nil {
			continue
		}
		total++
		s := byRepository[p.Repository]
		if s == nil {
			s = &source{repository: p.Repository}
			byRepository[p.Repository] = s
			sources = append(sources, s)
		}
		s.packages = append(s.packages, &a.r.Packages[i])
		flow := p.Workflow
		if called := calledWorkflow(p); called != "" && a.o.Verbose {
			flow += ", which calls " + called
		}
		j := slices.IndexFunc(s.workflows, func(w workflowCount) bool { return w.path == flow })
		if j < 0 {
			j = len(s.workflows)
			s.workflows = append(s.workflows, workflowCount{path: flow})
		}
		s.workflows[j].packages++
	}
	for _, s := range sources {
		slices.SortFunc(s.workflows, func(x, y workflowCount) int {
			return cmp.Or(cmp.Compare(y.packages, x.packages), cmp.Compare(x.path, y.path))
		})
	}
	slices.SortFunc(sources, func(x, y *source) int {
		return cmp.Or(cmp.Compare(len(y.packages), len(x.packages)), cmp.Compare(x.repository, y.repository))
	})
	return sources, total
}

// builtFrom prints the repositories that packages were built from, and the packages that were built from something
// that releases are not usually built from.
func (a *auditText) builtFrom() {
	sources, total := a.sources()
	if total == 0 {
		return
	}
	a.heading(bold, "BUILT FROM", ": "+plural(total, "package", "packages")+" from "+plural(len(sources), "repository", "repositories"))
	a.blank()
	shown := sources
	if len(shown) > maxPublishers && !a.o.Verbose {
		shown = shown[:maxPublishers]
	}
	digits, widest := len(count(len(shown[0].packages))), 0
	for _, s := range shown {
		if n := textColumns(EscapeASCII(s.repository)); n <= 60 {
			widest = max(widest, n)
		}
	}
	for _, s := range shown {
		lead := []span{t(padLeft(count(len(s.packages)), digits) + "  ")}
		rest := 2 + digits + 2
		repository := EscapeASCII(cmp.Or(s.repository, "a repository that its certificate does not name"))
		by := "by " + s.by(a.o.Verbose)
		// A column for the workflows if they fit beside, else a line of their own.
		if textColumns(repository) <= widest && (a.width == 0 || rest+widest+2+textColumns(by) <= a.width) {
			a.item(2, append(lead, t(pad(repository, widest)+"  ")), rest, t(by))
			continue
		}
		a.item(2, lead, rest, t(repository))
		a.line(rest, rest+2, t(by))
	}
	if n := len(sources) - len(shown); n > 0 {
		a.line(2, 4, t("and "+count(n)+" more (-v lists all)"))
	}
	a.odd()
}

// by names the workflows of a source, most used first.
func (s *source) by(all bool) string {
	const most = 3
	var parts []string
	for i, w := range s.workflows {
		if i == most && !all {
			parts = append(parts, "and "+count(len(s.workflows)-most)+" more workflows")
			break
		}
		text := EscapeASCII(cmp.Or(w.path, "a workflow that its certificate does not name"))
		if len(s.workflows) > 1 {
			text += " (" + count(w.packages) + ")"
		}
		parts = append(parts, text)
	}
	return strings.Join(parts, ", ")
}

// oddRefs are the reasons of release-ref that a reader should look into.
var oddRefs = map[string]bool{"pull-request": true, "comment-event": true, "snapshot-branch": true, "odd-ref": true}

// oddWords say for a line of the tree what each of them means.
var oddWords = map[string]string{
	"pull-request": "look: from a pull request", "comment-event": "look: by the event of a comment",
	"snapshot-branch": "look: from a branch unlike those of releases", "odd-ref": "look: from neither a branch nor a tag",
}

// oddlyBuilt lists packages that were built from what releases are not usually built from, with the row that says
// so. A stolen or misused workflow usually shows there.
func (a *auditText) oddlyBuilt() (list []*Package, reason map[*Package]verify.Result) {
	reason = map[*Package]verify.Result{}
	for i := range a.r.Packages {
		p := &a.r.Packages[i]
		for _, c := range p.Checks {
			if c.ID == "release-ref" && oddRefs[c.Reason] {
				list = append(list, p)
				reason[p] = c
			}
		}
	}
	return list, reason
}

// odd prints the packages that were built oddly.
func (a *auditText) odd() {
	list, reason := a.oddlyBuilt()
	if len(list) == 0 {
		return
	}
	a.blank()
	a.line(2, 4, st(caution, "Look at these"), t(": releases are not usually built from "+verb(len(list), "such a ref", "such refs")+" or by such events"))
	shown := list
	if len(shown) > maxOdd && !a.o.Verbose {
		shown = shown[:maxOdd]
	}
	for _, p := range shown {
		c := reason[p]
		text := " " + Escape(c.Message)
		if c.Actual != "" {
			text += ": " + EscapeASCII(c.Actual)
		}
		if p.Publisher != nil {
			text += ", " + EscapeASCII(p.Publisher.Repository)
		}
		a.line(4, 8, st(bold, EscapeASCII(p.Name+"@"+p.Version)), t(" "+Escape(c.Reason)+":"+text))
	}
	if n := len(list) - len(shown); n > 0 {
		a.line(4, 6, t("and "+count(n)+" more (-v lists all)"))
	}
}

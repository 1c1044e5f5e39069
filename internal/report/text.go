package report

import (
	"cmp"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"
	"time"

	"assay/internal/policy"
	"assay/internal/verify"
)

// TextOptions say how the text for people is laid out. Colours add nothing to the words: the text without
// its escape sequences is byte for byte the text without colours.
type TextOptions struct {
	Color   bool          // ANSI colours; the caller knows of terminals and NO_COLOR
	Width   int           // columns to wrap at, at least 40; 0: nothing is wrapped, as suits logs and grep
	Subject string        // what was audited: "package-lock.json in ./app"
	Elapsed time.Duration // how long it took; 0: not told
	Verbose bool          // every name, every publisher, and findings that are only notes
	Quiet   bool          // only what is denied or could not be told; nothing if that is nothing
	// PrivateLog says that the trusted root is not Sigstore's public one, so that its log entries cannot be
	// looked up in the public search.
	PrivateLog bool
	// FailOnWarn says that warnings make the exit code 1, so they are named, those for a mere signature too.
	FailOnWarn bool
}

const (
	maxNames      = 40 // names in one list, unless verbose
	maxPublishers = 10 // publishers, unless verbose
	maxOdd        = 10 // packages built from an odd ref, unless verbose
	compactAbove  = 5  // so many packages with the same trouble get one line each
)

// WriteText writes the report of an audit for people, ordered by what they should do: what is denied, what
// could not be told, what needs a look, then who vouches for the rest and the closing line. It returns the
// error of w.
func WriteText(w io.Writer, r *Report, o TextOptions) error {
	p := newPrinter(w, o)
	a := &auditText{printer: p, o: o, r: r}
	for i := range r.Packages {
		a.sort(packageEntry(&r.Packages[i]))
	}
	for i := range r.Others {
		a.sort(otherEntry(&r.Others[i]))
	}
	if o.Quiet {
		a.quiet()
		return p.flush()
	}
	a.header()
	a.denials("DENIED", denied, a.deny)
	a.denials("FAILS, AND THE POLICY LETS IT THROUGH", denied, a.tolerated)
	a.undecided()
	a.warnings()
	a.notes()
	a.summary()
	a.builtFrom()
	a.closing()
	return p.flush()
}

// An auditText is an audit on its way to a terminal.
type auditText struct {
	*printer
	o               TextOptions
	r               *Report
	deny, tolerated []*entry
	unknown, warn   []*entry
}

// sort puts an entry where the reader will act on it. The rest is only counted.
func (a *auditText) sort(e *entry) {
	switch {
	case e.decision == policy.Decision(policy.Deny):
		a.deny = append(a.deny, e)
	case e.decision == policy.Decision(policy.Error):
		a.unknown = append(a.unknown, e)
	case e.verdict == verify.Invalid:
		a.tolerated = append(a.tolerated, e)
	case e.verdict == verify.Unchecked:
		a.unknown = append(a.unknown, e)
	default:
		a.warn = append(a.warn, e)
	}
}

func (a *auditText) header() {
	subject := Escape(a.o.Subject)
	if subject != "" {
		subject += ": "
	}
	text := subject + plural(len(a.r.Packages), "package", "packages")
	if n := len(a.r.Others); n > 0 {
		text += " from registries, " + count(n) + " from elsewhere"
	}
	if a.o.Elapsed > 0 {
		text += " (" + duration(a.o.Elapsed) + ")"
	}
	a.line(0, 2, t(text))
	var parts []string
	for _, x := range []struct {
		n    int
		what string
	}{{len(a.deny), "denied"}, {len(a.tolerated), "let through though checks fail"}, {len(a.unknown), "could not be checked"}} {
		if x.n > 0 {
			parts = append(parts, count(x.n)+" "+x.what)
		}
	}
	if len(parts) > 0 {
		a.line(0, 2, t(strings.Join(parts, ", ")))
	}
}

// denials prints entries with everything that a reader needs to act on each of them. Entries with the same
// trouble follow one another, and what holds for all of them is said once.
func (a *auditText) denials(title string, s style, entries []*entry) {
	if len(entries) == 0 {
		return
	}
	a.heading(s, title, ": "+things(entries))
	for _, group := range alike(entries, (*entry).trouble) {
		for i, e := range group {
			compact := len(group) > compactAbove && i > 0 && !a.o.Verbose
			if !compact || i == 1 {
				a.blank()
			}
			a.denial(e, group[0], compact)
			if i == 0 && len(group) > 1 {
				a.line(6, 6, t(verb(len(group)-1, "The same holds for the package that follows:", "The same holds for the "+count(len(group)-1)+" packages that follow:")))
			}
		}
	}
}

// denial prints one entry. What it has in common with like, the first of its group, stands there.
func (a *auditText) denial(e, like *entry, compact bool) {
	bad, told, first := e.bad(), like.bad(), e == like
	head := []span{st(bold, e.spec)}
	word := ""
	for i, b := range bad {
		switch {
		case b.word != word:
			head = append(head, t(" "), st(styleOf(b.word), b.word), t(" "))
		case i > 0:
			head = append(head, t(", "))
		}
		word = b.word
		head = append(head, t(b.label()))
	}
	if compact && e.place != "" {
		head = append(head, st(dim, " in "+e.place))
	}
	a.line(2, 6, head...)
	for i, b := range bad {
		if first {
			a.sentence(b, len(bad) > 1)
		}
		if first || b.expected != told[i].expected || b.actual != told[i].actual {
			a.values(6, b)
		}
	}
	if compact {
		return
	}
	for _, x := range e.issues {
		if first && !slices.ContainsFunc(bad, func(b *issue) bool { return *b == x }) && (x.level != policy.Note || a.o.Verbose) {
			a.line(6, 8, st(styleOf(x.word), x.word), t(" "+x.label()+": "+x.message))
		}
	}
	a.field(6, "in", e.place)
	a.field(6, "why", e.why)
	a.field(6, "from", e.from)
	a.field(6, "built", e.built)
	if first {
		a.steps(6, bad)
	}
}

// sentence prints what an issue means, under the line that names it.
func (a *auditText) sentence(i *issue, named bool) {
	switch {
	case named:
		a.line(6, 8, t(i.what+": "+i.message))
	case i.message != "":
		a.line(6, 6, t(i.message))
	}
}

// values prints what was expected and what was found, so that they can be compared by eye.
func (p *printer) values(indent int, i *issue) {
	if i.expected == "" && i.actual == "" {
		return
	}
	p.value(indent, "expected", cmp.Or(i.expected, "(nothing)"))
	p.value(indent, "actual", cmp.Or(i.actual, "(nothing)"))
}

// steps prints what to do about issues: the first step for what the checks found, the first for what the
// rules say. One damage fails many checks, and the first in their order is nearest to its cause.
func (p *printer) steps(indent int, issues []*issue) {
	var told [2]bool
	for _, i := range issues {
		kind := 0
		if i.reason == "" {
			kind = 1
		}
		if i.next.text != "" && !told[kind] {
			told[kind] = true
			p.step(indent, i.next)
		}
	}
}

func (p *printer) step(indent int, s step) {
	p.field(indent, "next", s.text)
	if s.command != "" {
		p.whole(indent, "", "$ "+s.command)
	}
}

// undecided prints what could not be told, one block for each reason.
func (a *auditText) undecided() {
	if len(a.unknown) == 0 {
		return
	}
	a.heading(unknown, "COULD NOT BE CHECKED", ": "+things(a.unknown))
	groups := alike(a.unknown, (*entry).question)
	slices.SortStableFunc(groups, func(x, y []*entry) int { return cmp.Compare(len(y), len(x)) })
	for _, group := range groups {
		e := group[0]
		i := e.first()
		a.blank()
		a.groupHead(group, "error", allOf(group))
		text, such := common(group)
		a.line(6, 6, t(text))
		if such != "" {
			a.field(6, "such as", such)
		}
		if len(group) == 1 {
			a.field(6, "in", e.place)
			a.field(6, "why", e.why)
			a.field(6, "from", e.from)
		} else {
			a.names(6, group)
		}
		if e.decision != policy.Decision(policy.Error) {
			a.line(6, 6, t("The policy lets this through."))
		}
		if len(group) > 1 {
			a.step(6, i.next.forMany(e.spec))
		} else {
			a.step(6, i.next)
		}
	}
}

// groupHead prints "left-pad@1.3.0 error …" for one package and "12 packages error …" for more.
func (a *auditText) groupHead(group []*entry, word string, i *issue) {
	head := group[0].spec
	if len(group) > 1 {
		head = things(group)
	}
	a.line(2, 6, st(bold, head), t(" "), st(styleOf(word), word), t(" "+i.label()))
}

// names lists packages: in one paragraph, or on a line each where it is known who built them.
func (a *auditText) names(indent int, group []*entry) {
	var text []span
	shown := group
	if len(group) > maxNames && !a.o.Verbose {
		shown = group[:maxNames]
	}
	if group[0].built != "" {
		for _, e := range shown {
			a.line(indent, indent+2, t(e.spec+" built from "+e.built))
		}
		if n := len(group) - len(shown); n > 0 {
			a.line(indent, indent, t("and "+count(n)+" more (-v lists all)"))
		}
		return
	}
	for i, e := range shown {
		s := e.spec
		if i < len(group)-1 {
			s += ","
		}
		text = append(text, t(s), t(" "))
	}
	if n := len(group) - len(shown); n > 0 {
		text = append(text, t("and "+count(n)+" more (-v lists all)"))
	}
	a.line(indent, indent, text...)
}

// warnings prints what is let through and yet needs a look: one block for each rule. That a package
// carries only the registry's signature is no such thing; the summary counts those.
func (a *auditText) warnings() {
	type key struct{ word, what, reason, rule, message string }
	var order []key
	groups := map[key][]*entry{}
	first := map[key]*issue{}
	add := func(k key, e *entry, i *issue) {
		if groups[k] == nil {
			order = append(order, k)
			first[k] = i
		}
		groups[k] = append(groups[k], e)
	}
	for _, e := range a.warn {
		for i := range e.issues {
			x := &e.issues[i]
			if x.what == "signed" && !a.o.FailOnWarn || x.level != policy.Warn && !(x.level == policy.Note && a.o.Verbose) {
				continue
			}
			word := "warn"
			if x.level == policy.Note {
				word = "note"
			}
			add(key{word, x.what, x.reason, x.rule, x.message}, e, x)
		}
	}
	if len(order) == 0 {
		return
	}
	slices.SortStableFunc(order, func(x, y key) int {
		return cmp.Or(cmp.Compare(y.word, x.word), cmp.Compare(len(groups[y]), len(groups[x])))
	})
	var looked []*entry
	for _, e := range a.warn {
		if slices.ContainsFunc(order, func(k key) bool { return slices.Contains(groups[k], e) }) {
			looked = append(looked, e)
		}
	}
	a.heading(caution, "TO LOOK AT", ": "+things(looked))
	for _, k := range order {
		group, i := groups[k], first[k]
		a.blank()
		a.groupHead(group, k.word, i)
		a.line(6, 6, t(i.message))
		if len(group) == 1 {
			a.field(6, "in", group[0].place)
			a.field(6, "why", group[0].why)
			a.field(6, "from", group[0].from)
			a.field(6, "built", group[0].built)
			a.step(6, i.next)
			continue
		}
		a.names(6, group)
		a.step(6, i.next.forMany(group[0].spec))
	}
}

// notes prints what concerns the run itself.
func (a *auditText) notes() {
	type note struct{ code, text string }
	var list []note
	if a.r.Trust.Stale != "" {
		text := "the trust root could not be refreshed; the last one that verified is used"
		if a.r.Trust.Detail != "" {
			text += " (" + Escape(a.r.Trust.Detail) + ")"
		}
		list = append(list, note{Escape(a.r.Trust.Stale), text})
	}
	for _, n := range a.r.Notes {
		list = append(list, note{Escape(n.Code), Escape(n.Message)})
	}
	if n := a.r.Summary.TimeUnknown; n > 0 {
		list = append(list, note{"time-unknown", "the registry's key that signed " + plural(n, "package", "packages") +
			" has expired since, and nothing here says when it signed; --strict-time asks the registry"})
	}
	unbound := 0
	for _, e := range a.warn {
		if e.unbound {
			unbound++
		}
	}
	if unbound > 0 {
		list = append(list, note{"unbound", "nothing here says which bytes " + plural(unbound, "package is", "packages are") +
			" (no sha512 in the lockfile, no tarball): what is said of " + verb(unbound, "it", "them") + " holds for the bytes that the registry names today"})
	}
	for _, g := range a.tells() {
		list = append(list, note{g.reason, plural(g.n, "package", "packages") + ": " + g.message})
	}
	if len(list) == 0 {
		return
	}
	a.heading(bold, "ABOUT THIS RUN", "")
	a.blank()
	for _, n := range list {
		a.line(2, 6, st(bold, n.code), t(": "+n.text))
	}
}

// A tell is something that passing checks have to tell.
type tell struct {
	reason, message string
	n               int
}

// tells counts what passing checks tell, other than what is told elsewhere.
func (a *auditText) tells() []tell {
	var out []tell
	for i := range a.r.Packages {
		for _, c := range a.r.Packages[i].Checks {
			if c.Status != verify.Pass || c.Reason == "" || c.ID == "release-ref" || c.Reason == "time-unknown" {
				continue
			}
			j := slices.IndexFunc(out, func(o tell) bool { return o.reason == Escape(c.Reason) })
			if j < 0 {
				j = len(out)
				out = append(out, tell{Escape(c.Reason), Escape(c.Message), 0})
			}
			out[j].n++
		}
	}
	slices.SortStableFunc(out, func(x, y tell) int { return cmp.Compare(x.reason, y.reason) })
	return out
}

// closing says in words what the exit code means.
func (a *auditText) closing() {
	a.blank()
	for _, text := range a.conclusion() {
		a.line(0, 0, text...)
	}
}

func (a *auditText) conclusion() [][]span {
	s := a.r.Summary
	exit := a.r.Exit()
	var head []span
	n := len(a.deny)
	var undecided, tolerated []*entry
	for _, e := range a.unknown {
		if e.decision == policy.Decision(policy.Error) {
			undecided = append(undecided, e)
		} else {
			tolerated = append(tolerated, e)
		}
	}
	switch exit {
	case 1:
		head = []span{st(denied, "Denied"), t(fmt.Sprintf(": %s. Do not install or run %s before you know why (exit 1).",
			things(a.deny), verb(n, "it", "them")))}
		if len(undecided) > 0 {
			head = append(head, t(fmt.Sprintf(" %s could not be checked.", things(undecided))))
		}
	case 3:
		head = []span{t("Nothing is denied, but "), st(unknown, things(undecided)), t(" could not be checked, so there is no answer yet (exit 3).")}
	default:
		head = []span{st(bold, "Nothing is denied"), t(" (exit 0).")}
		if a.o.FailOnWarn && a.r.Warns() {
			head = []span{st(bold, "Nothing is denied"), t(", and there are warnings, which count here (exit 1).")}
		}
	}
	out := [][]span{head}
	var rest []string
	if s.Packages == 0 {
		rest = append(rest, "There was no package from a registry to look at.")
	}
	if len(a.tolerated) > 0 {
		rest = append(rest, fmt.Sprintf("%s %s checks, and the policy lets %s through.", things(a.tolerated), verb(len(a.tolerated), "fails", "fail"), verb(len(a.tolerated), "it", "them")))
	}
	if len(tolerated) > 0 {
		rest = append(rest, fmt.Sprintf("%s could not be checked, and the policy lets %s through.", things(tolerated), verb(len(tolerated), "it", "them")))
	}
	if s.Signed > 0 {
		rest = append(rest, fmt.Sprintf("%s only the registry's signature: the registry vouches for the bytes, nobody for who built them.",
			plural(s.Signed, "package carries", "packages carry")))
	}
	if s.Unsigned > 0 {
		rest = append(rest, fmt.Sprintf("%s neither a signature nor provenance: nobody vouches for %s.",
			plural(s.Unsigned, "package carries", "packages carry"), verb(s.Unsigned, "it", "them")))
	}
	if s.Provenance > 0 {
		rest = append(rest, fmt.Sprintf("For %s it is verified which workflow built %s, not that the workflow was honest.",
			plural(s.Provenance, "package", "packages"), verb(s.Provenance, "it", "them")))
	}
	if len(rest) > 0 {
		out = append(out, spans(strings.Join(rest, " ")))
	}
	return out
}

// quiet prints one line for each entry that is denied and one for each reason why others could not be
// told.
func (a *auditText) quiet() {
	for _, e := range a.deny {
		like := *e // as if all had been said: one line each
		a.denial(e, &like, true)
	}
	undecided := slices.DeleteFunc(slices.Clone(a.unknown), func(e *entry) bool { return e.decision != policy.Decision(policy.Error) })
	for _, g := range alike(undecided, (*entry).question) {
		a.groupHead(g, "error", allOf(g))
		if len(g) > 1 {
			a.names(6, g)
		}
	}
	if a.r.Exit() != 0 {
		for _, text := range a.conclusion()[:1] {
			a.line(0, 0, text...)
		}
	}
}

// styleOf is the style of a status word.
func styleOf(word string) style {
	switch word {
	case "FAIL", "DENY", "deny":
		return denied
	case "error":
		return unknown
	case "warn":
		return caution
	case "pass":
		return known
	}
	return dim
}

// things counts entries: "3 packages", "3 packages, 1 of them from no registry".
func things(entries []*entry) string {
	others := 0
	for _, e := range entries {
		if e.verdict == "" {
			others++
		}
	}
	text := plural(len(entries), "package", "packages")
	switch {
	case others == 0:
		return text
	case others == len(entries):
		return text + " from no registry"
	}
	return text + " (" + count(others) + " from no registry)"
}

// plural writes a count with its noun: "1 package", "1,204 packages".
func plural(n int, one, many string) string { return count(n) + " " + verb(n, one, many) }

func verb(n int, one, many string) string {
	if n == 1 {
		return one
	}
	return many
}

// duration writes d for people: "340ms", "3.2s", "2m5s".
func duration(d time.Duration) string {
	switch {
	case d < time.Second:
		return strconv.FormatInt(max(1, d.Milliseconds()), 10) + "ms"
	case d < 10*time.Second:
		return strconv.FormatFloat(d.Seconds(), 'f', 1, 64) + "s"
	case d < time.Minute:
		return strconv.Itoa(int(d.Seconds())) + "s"
	}
	return strconv.Itoa(int(d.Minutes())) + "m" + strconv.Itoa(int(d.Seconds())%60) + "s"
}

package report

import (
	"cmp"
	"io"
	"slices"
	"strconv"
	"time"

	"assay/internal/policy"
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
	// Documents is what documents for other tools say beside the report; the text does not read it.
	Documents DocumentOptions
	// Flags are those of the run that a command to type needs too, such as "--registry" and its value; nil: none.
	Flags []string
	// Version is that of the program, for formats that tell it; "": not told.
	Version string
	// Locate names a file from the root of the repository, with slashes, for formats that do so; nil: files are
	// named as they stand in the report.
	Locate func(file string) string
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
	a := newAuditText(w, r, o)
	if o.Quiet {
		a.quiet()
		return a.flush()
	}
	a.header()
	a.cause(true)
	a.denials("DENIED", denied, a.deny)
	a.denials("FAILS, AND THE POLICY LETS IT THROUGH", denied, a.tolerated)
	a.undecided()
	a.warnings()
	a.notes()
	a.summary()
	a.lookedInto()
	a.builtFrom()
	a.closing()
	return a.flush()
}

func (a *auditText) header() {
	for _, text := range a.headline() {
		a.line(0, 2, t(text))
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
		fold := a.folds(group)
		for i, e := range group {
			if fold && i == 1 {
				a.names(6, group[1:])
				break
			}
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

// codeStripped is the code of the note that nothing of a registry has a signature.
const codeStripped = "signatures-stripped"

// cause prints what explains many denials at once, before them.
func (a *auditText) cause(apart bool) {
	for _, n := range a.r.Notes {
		if n.Code != codeStripped {
			continue
		}
		if apart {
			a.blank()
		}
		a.line(0, 2, st(bold, Escape(n.Code)), t(": "+Escape(n.Message)))
	}
}

// folds reports whether entries with the same trouble have the cause that stands before all, so that their names will do.
func (a *auditText) folds(group []*entry) bool {
	if len(group) <= compactAbove || a.o.Verbose || !slices.ContainsFunc(a.r.Notes, func(n Note) bool { return n.Code == codeStripped }) {
		return false
	}
	for _, e := range group {
		for _, i := range e.bad() {
			if i.reason != "signature-missing" {
				return false
			}
		}
	}
	return true
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
	for _, s := range sayings(bad) {
		if first {
			a.sentence(s, len(bad) > 1)
		}
		if first || s.expected != told[s.at].expected || s.actual != told[s.at].actual {
			a.values(6, s.issue)
		}
	}
	for _, x := range e.besides() {
		// Of the others only what the first has not got, so that none of it hides behind "the same".
		if (first || !slices.ContainsFunc(like.issues, func(i issue) bool { return i.says(x) })) && (x.level != policy.Note || a.o.Verbose) {
			a.line(6, 8, st(styleOf(x.word), x.word), t(" "+x.label()+": "+x.message))
		}
	}
	if compact {
		return
	}
	a.field(6, "in", e.place)
	a.field(6, "why", e.why)
	a.field(6, "from", e.from)
	a.field(6, "built", e.built)
	if first {
		a.steps(6, bad, a.o.Flags)
	}
}

// sentence prints what issues mean, under the line that names them.
func (a *auditText) sentence(s saying, named bool) {
	switch {
	case named:
		a.line(6, 8, t(s.names+": "+s.message))
	case s.message != "":
		a.line(6, 6, t(s.message))
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

// steps prints what to do about issues.
func (p *printer) steps(indent int, issues []*issue, flags []string) {
	for _, s := range steps(issues) {
		p.step(indent, s, flags)
	}
}

func (p *printer) step(indent int, s step, flags []string) {
	p.field(indent, "next", s.text)
	if s.command != "" {
		p.whole(indent, "", "$ "+s.typed(flags))
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
			a.step(6, i.next.forMany(e.spec), a.o.Flags)
		} else {
			a.step(6, i.next, a.o.Flags)
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
	if slices.ContainsFunc(shown, func(e *entry) bool { return e.built != "" }) {
		for _, e := range shown {
			s := e.spec
			if e.built != "" {
				s += " built from " + e.built
			}
			a.line(indent, indent+2, t(s))
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

// warnings prints what is let through and yet needs a look: one block for each rule.
func (a *auditText) warnings() {
	groups := a.lookAt()
	if len(groups) == 0 {
		return
	}
	a.heading(caution, "TO LOOK AT", ": "+things(inGroups(groups)))
	for _, g := range groups {
		a.blank()
		a.groupHead(g.entries, g.word, g.issue)
		a.line(6, 6, t(g.issue.message))
		e := g.entries[0]
		if len(g.entries) == 1 {
			a.field(6, "in", e.place)
			a.field(6, "why", e.why)
			a.field(6, "from", e.from)
			a.field(6, "built", e.built)
			a.step(6, g.issue.next, a.o.Flags)
			continue
		}
		a.names(6, g.entries)
		a.step(6, g.issue.next.forMany(e.spec), a.o.Flags)
	}
}

// notes prints what concerns the run itself.
func (a *auditText) notes() {
	list := slices.DeleteFunc(a.aboutRun(), func(n aside) bool { return n.code == codeStripped }) // it stands before all
	if len(list) == 0 {
		return
	}
	a.heading(bold, "ABOUT THIS RUN", "")
	a.blank()
	for _, n := range list {
		a.line(2, 6, st(bold, n.code), t(": "+n.text))
	}
}

// lookedInto prints what was done beyond asking the registry, so that a run with --tarballs or --installed can be
// told from one without.
func (a *auditText) lookedInto() {
	lines := a.bytesSeen()
	if len(lines) > 0 {
		a.blank()
	}
	for _, text := range lines {
		a.line(2, 4, t(text))
	}
}

// closing says in words what the exit code means.
func (a *auditText) closing() {
	a.blank()
	for _, text := range a.conclusion() {
		a.line(0, 0, text...)
	}
}

// quiet prints one line for each entry that is denied and one for each reason why others could not be
// told.
func (a *auditText) quiet() {
	a.cause(false)
	for _, g := range alike(a.deny, (*entry).trouble) {
		if a.folds(g) {
			i := g[0].bad()[0]
			a.groupHead(g, i.word, i)
			a.names(6, g)
			continue
		}
		for _, e := range g {
			like := *e // as if all had been said: one line each
			a.denial(e, &like, true)
		}
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

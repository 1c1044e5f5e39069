package report

import (
	"cmp"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"
	"unicode/utf16"
	"unicode/utf8"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"

	"assay/internal/policy"
	"assay/internal/publisher"
	"assay/internal/verify"
)

// DiffSchema names the form of a [Diff].
const DiffSchema = "assay/diff/v1"

// A Diff is what changes between two states of a project. The same evidence, trust and options give the same bytes.
type Diff struct {
	Schema  string        `json:"schema"`
	Base    string        `json:"base"` // as it was named, such as "main (0123456789ab)"
	Head    string        `json:"head"`
	At      time.Time     `json:"at"` // when it was made, which ages and waivers count to
	Summary DiffSummary   `json:"summary"`
	Notes   []Note        `json:"notes"`
	Changes []Change      `json:"changes"` // sorted by name and version
	Others  []OtherChange `json:"others"`  // what comes from no registry, likewise
}

// A DiffSummary counts changes of packages and of others by kind and by decision.
type DiffSummary struct {
	Added      int `json:"added"`
	Removed    int `json:"removed"`
	Upgraded   int `json:"upgraded"`
	Downgraded int `json:"downgraded"`
	Changed    int `json:"changed"` // the same version, of other bytes or from elsewhere
	Worse      int `json:"worse"`
	Allow      int `json:"allow"`
	Warn       int `json:"warn"`
	Deny       int `json:"deny"`
	Error      int `json:"error"`
}

// Kinds of a change.
const (
	Added      = "added"
	Removed    = "removed"
	Upgraded   = "upgraded"
	Downgraded = "downgraded"
	Changed    = "changed"
)

// A Change is one package that is not as it was.
type Change struct {
	Name   string   `json:"name"`
	Kind   string   `json:"kind"`
	Before *State   `json:"before"` // null where it is added
	After  *State   `json:"after"`  // null where it is removed
	Beside []string `json:"beside"` // other versions of it that stay
	// Trust compares what holds: better, same, worse (a lower verdict or another publisher), unknown where one of the two
	// could not be checked, and "" where there is one of them only.
	Trust     string            `json:"trust"`
	Publisher []PublisherChange `json:"publisher"` // between two verified publishers; commits are not compared
	Manifest  []string          `json:"manifest"`  // what runs or comes along on install and did not before, in words
	Claims    []ClaimChange     `json:"claims"`    // what the registry says of who published; no signature covers it
	Path      []string          `json:"path"`
	Direct    bool              `json:"direct"`
	Dev       bool              `json:"dev"`
	File      string            `json:"file"`
	Line      int               `json:"line"`
	Decision  policy.Decision   `json:"decision"` // of the policy, on what it is now
	Findings  []policy.Finding  `json:"findings"`
}

// A State is one version of a package and what holds of it.
type State struct {
	Version   string               `json:"version"`
	PURL      string               `json:"purl"`
	Registry  string               `json:"registry"`
	Integrity string               `json:"integrity"`
	Verdict   verify.Verdict       `json:"verdict"`
	Publisher *publisher.Publisher `json:"publisher"` // null unless the verdict is provenance
	Published time.Time            `json:"published"` // zero if unknown
	// PublishedBy says whose word the time is: "log" for a verified transparency log's, "registry" for a claim, "" for
	// nobody's.
	PublishedBy string `json:"published_by"`
}

// A PublisherChange is one thing in which two verified publishers differ.
type PublisherChange struct {
	What  string `json:"what"`
	Old   string `json:"old"`
	New   string `json:"new"`
	Drift bool   `json:"drift"` // another publisher; false for what goes with the same one, such as a rename
}

// A ClaimChange is one thing that the registry says otherwise of two versions.
type ClaimChange struct {
	What string `json:"what"` // "npm account", "trusted publishing" or "approved by a person"
	Old  string `json:"old"`
	New  string `json:"new"`
}

// An OtherChange is one dependency from no registry that is not as it was.
type OtherChange struct {
	Kind   string `json:"kind"` // added, removed or changed
	Before *Other `json:"before"`
	After  *Other `json:"after"`
}

// Sum counts the changes into the summary.
func (d *Diff) Sum() {
	s := DiffSummary{}
	count := func(kind string, decision policy.Decision, there bool) {
		switch kind {
		case Added:
			s.Added++
		case Removed:
			s.Removed++
		case Upgraded:
			s.Upgraded++
		case Downgraded:
			s.Downgraded++
		default:
			s.Changed++
		}
		if !there {
			return
		}
		switch decision {
		case policy.Decision(policy.Allow):
			s.Allow++
		case policy.Decision(policy.Warn):
			s.Warn++
		case policy.Decision(policy.Deny):
			s.Deny++
		default:
			s.Error++
		}
	}
	for i := range d.Changes {
		c := &d.Changes[i]
		count(c.Kind, c.Decision, c.After != nil)
		if c.Trust == "worse" {
			s.Worse++
		}
	}
	for i := range d.Others {
		if o := &d.Others[i]; o.After != nil {
			count(o.Kind, o.After.Decision, true)
		} else {
			count(o.Kind, "", false)
		}
	}
	d.Summary = s
}

// Exit is [Report.Exit] for what is there now.
func (d *Diff) Exit() int {
	switch {
	case d.Summary.Deny > 0:
		return 1
	case d.Summary.Error > 0:
		return 3
	}
	return 0
}

// WriteDiffJSON writes the diff in the form of [DiffSchema].
func WriteDiffJSON(w io.Writer, d *Diff) error {
	data, err := json.Marshal(d, json.Deterministic(true), jsontext.EscapeForHTML(true), jsontext.WithIndent("  "))
	if err != nil {
		return err
	}
	_, err = w.Write(append(VisibleJSON(data), '\n'))
	return err
}

// VisibleJSON writes the characters of JSON text that a terminal would not show, or that hide others, as escapes. They
// stand in strings only.
func VisibleJSON(data []byte) []byte {
	out := make([]byte, 0, len(data)+1)
	for len(data) > 0 {
		r, size := utf8.DecodeRune(data)
		switch {
		case r < utf8.RuneSelf || !hidden(r, false):
			out = append(out, data[:size]...)
		case r > 0xffff:
			high, low := utf16.EncodeRune(r)
			out = fmt.Appendf(out, `\u%04x\u%04x`, high, low)
		default:
			out = fmt.Appendf(out, `\u%04x`, r)
		}
		data = data[size:]
	}
	return out
}

// A shown is a change with its words, escaped.
type shown struct {
	*Change
	title  string
	fields [][2]string
	issues []issue
}

// showDiff lists changes as people read them: what is denied first, then what could not be told, what needs a look,
// and the rest; in each by name.
func showDiff(d *Diff) []shown {
	var list []shown
	for i := range d.Changes {
		c := &d.Changes[i]
		list = append(list, shown{Change: c, title: c.title(), fields: c.fields(d.At), issues: issues(nil, c.Findings, &entry{spec: EscapeASCII(c.Name), file: Escape(c.File)})})
	}
	weigh := func(s shown) int {
		n := slices.Index(levels, policy.Level(s.Decision))
		if s.After == nil || n < 0 {
			n = len(levels)
			if s.After == nil {
				n++
			}
		}
		return n
	}
	slices.SortStableFunc(list, func(a, b shown) int { return weigh(a) - weigh(b) })
	return list
}

// title is "left-pad 1.3.0 → 1.3.1".
func (c *Change) title() string {
	name := EscapeASCII(c.Name)
	switch {
	case c.Before == nil:
		return name + " " + EscapeASCII(c.After.Version)
	case c.After == nil:
		return name + " " + EscapeASCII(c.Before.Version)
	case c.Kind == Changed:
		return name + " " + EscapeASCII(c.After.Version)
	}
	return name + " " + EscapeASCII(c.Before.Version) + " → " + EscapeASCII(c.After.Version)
}

// fields are a change's names and values, old and new side by side.
func (c *Change) fields(now time.Time) [][2]string {
	var list [][2]string
	add := func(name, value string) {
		if value != "" {
			list = append(list, [2]string{name, value})
		}
	}
	both := c.Before != nil && c.After != nil
	only := cmp.Or(c.After, c.Before)
	if both && c.Before.Verdict != c.After.Verdict {
		add("verdict", string(c.Before.Verdict)+" → "+string(c.After.Verdict))
	} else {
		add("verdict", string(only.Verdict))
	}
	switch {
	case both && c.Before.Publisher != nil && c.After.Publisher != nil && len(c.Publisher) == 0:
		add("publisher", "the same: "+who(c.After.Publisher))
	case both && (c.Before.Publisher != nil || c.After.Publisher != nil):
		add("publisher", who(c.Before.Publisher)+" → "+who(c.After.Publisher))
	case only.Publisher != nil:
		add("publisher", who(only.Publisher))
	}
	for _, p := range c.Publisher {
		word := "drift"
		if !p.Drift {
			word = "note"
		}
		add(word, Escape(p.What)+": "+EscapeASCII(cmp.Or(p.Old, "(none)"))+" → "+EscapeASCII(cmp.Or(p.New, "(none)")))
	}
	if c.Kind == Changed {
		if c.Before.Integrity != c.After.Integrity {
			add("integrity", EscapeASCII(cmp.Or(c.Before.Integrity, "(none)"))+" → "+EscapeASCII(cmp.Or(c.After.Integrity, "(none)")))
		} else {
			add("source", "the lockfile takes it from elsewhere than before")
		}
	}
	if c.After != nil {
		add("age", c.After.age(now))
	}
	for _, m := range c.Manifest {
		add("new", Escape(m))
	}
	for _, x := range c.Claims {
		add("claimed", Escape(x.What)+": "+Escape(cmp.Or(x.Old, "(none)"))+" → "+Escape(cmp.Or(x.New, "(none)")))
	}
	if len(c.Beside) > 0 {
		add("beside", EscapeASCII(strings.Join(c.Beside, ", ")))
	}
	if c.After != nil {
		add("in", place(c.File, c.Line, nil))
		add("why", why(c.Path, c.Direct, c.Dev))
	}
	return list
}

// age is how long the version has been out, and by whose word.
func (s *State) age(now time.Time) string {
	if s.Published.IsZero() {
		return ""
	}
	source := "by the registry's word"
	if s.PublishedBy == "log" {
		source = "by the transparency log"
	}
	d := now.Sub(s.Published)
	switch {
	case d < 0:
		return "published at " + s.Published.UTC().Format(time.RFC3339) + ", which is still to come (" + source + ")"
	case d < 2*time.Hour:
		return plural(int(d/time.Minute), "minute", "minutes") + " (" + source + ")"
	case d < 48*time.Hour:
		return plural(int(d/time.Hour), "hour", "hours") + " (" + source + ")"
	}
	return plural(int(d/(24*time.Hour)), "day", "days") + " (" + source + ")"
}

// who names a publisher on one line.
func who(p *publisher.Publisher) string {
	if p == nil {
		return "nobody"
	}
	return EscapeASCII(fmt.Sprintf("%s %s (%s, %s)", strings.TrimPrefix(p.Repository, "https://"), p.Workflow, p.Ref, p.Event))
}

// counts says how much of what there is, such as "1 added, 2 upgraded".
func (d *Diff) counts() string {
	s := d.Summary
	var parts []string
	for _, x := range []struct {
		n    int
		what string
	}{{s.Added, "added"}, {s.Removed, "removed"}, {s.Upgraded, "upgraded"}, {s.Downgraded, "downgraded"}, {s.Changed, "changed in place"}} {
		if x.n > 0 {
			parts = append(parts, count(x.n)+" "+x.what)
		}
	}
	if len(parts) == 0 {
		return "no dependency changed"
	}
	text := strings.Join(parts, ", ")
	if s.Worse > 0 {
		text += "; " + count(s.Worse) + " worse than before"
	}
	return text
}

// outcome is the closing sentence.
func (d *Diff) outcome() string {
	switch d.Exit() {
	case 1:
		return "Denied: " + plural(d.Summary.Deny, "change", "changes") + " (exit 1)."
	case 3:
		return "Could not be told: " + plural(d.Summary.Error, "change", "changes") + " (exit 3)."
	}
	return "Nothing is denied."
}

// word is the status word that a change stands under.
func (s *shown) word() string {
	if s.After == nil {
		return "gone"
	}
	switch policy.Level(s.Decision) {
	case policy.Deny:
		return "DENY"
	case policy.Error:
		return "error"
	case policy.Warn:
		return "warn"
	}
	return "ok"
}

// WriteDiffText writes the diff for people. It returns the error of w.
func WriteDiffText(w io.Writer, d *Diff, o TextOptions) error {
	p := newPrinter(w, o)
	p.line(0, 2, t(Escape(d.Base)+" → "+Escape(d.Head)+": "+d.counts()))
	for _, s := range showDiff(d) {
		word := s.word()
		if o.Quiet && word != "DENY" && word != "error" {
			continue
		}
		p.blank()
		p.item(0, []span{st(diffStyle(word), pad(word, 6))}, 6, st(bold, s.title), t(" "+s.Kind))
		for _, f := range s.fields {
			p.field(6, f[0], f[1])
		}
		for i := range s.issues {
			x := &s.issues[i]
			if x.level == policy.Note && !o.Verbose || x.what == "signed" && x.level == policy.Warn && !o.FailOnWarn {
				continue
			}
			p.line(6, 8, st(styleOf(x.word), x.word), t(" "+x.label()+": "+x.message))
		}
	}
	for i := range d.Others {
		x := &d.Others[i]
		word, title, from := x.words()
		if o.Quiet && word != "DENY" && word != "error" {
			continue
		}
		p.blank()
		p.item(0, []span{st(diffStyle(word), pad(word, 6))}, 6, st(bold, title), t(" "+x.Kind))
		p.field(6, "from", from)
		if x.After != nil {
			for _, f := range x.After.Findings {
				p.line(6, 8, t(string(f.Level)+" "+Escape(f.Rule)+": "+Escape(f.Message)))
			}
		}
	}
	if !o.Quiet {
		for _, n := range d.Notes {
			p.blank()
			p.line(0, 2, st(dim, "note "), t(Escape(n.Code)+": "+Escape(n.Message)))
		}
		p.blank()
		p.line(0, 0, t(d.outcome()))
	}
	return p.flush()
}

func diffStyle(word string) style {
	if word == "ok" || word == "gone" {
		return dim
	}
	return styleOf(word)
}

// words are the status word, title and source of a dependency from no registry.
func (x *OtherChange) words() (word, title, from string) {
	o := cmp.Or(x.After, x.Before)
	s := shown{Change: &Change{}}
	if x.After != nil {
		s.After, s.Decision = &State{}, x.After.Decision
	}
	title = EscapeASCII(o.Name)
	if o.Version != "" {
		title += " " + EscapeASCII(o.Version)
	}
	from = EscapeASCII(cmp.Or(o.Resolved, o.Source))
	if x.Before != nil && x.After != nil && x.Before.Resolved != x.After.Resolved {
		from = EscapeASCII(cmp.Or(x.Before.Resolved, x.Before.Source)) + " → " + from
	}
	return s.word(), title, from
}

// WriteDiffMarkdown writes the diff in GitHub's Markdown for a comment on a pull request, under the same terms as
// [WriteMarkdown]: at most 65,536 characters, and nothing from outside means anything in it. A table has all changes;
// what needs reading follows. It returns the error of w.
func WriteDiffMarkdown(w io.Writer, d *Diff, o TextOptions) error {
	m := &markdown{limit: maxComment - mdReserve}
	title := "Assay: nothing that changes is denied"
	switch d.Exit() {
	case 1:
		title = "Assay: " + plural(d.Summary.Deny, "change is", "changes are") + " denied"
	case 3:
		title = "Assay: no answer yet"
	}
	m.block("## " + title + "\n\n" + code(Escape(d.Base)) + " → " + code(Escape(d.Head)) + ": " + d.counts() + "\n\n")
	list := showDiff(d)
	var details []string
	if len(list)+len(d.Others) > 0 {
		m.block("| | package | before | after | verdict | publisher |\n| --- | --- | --- | --- | --- | --- |\n")
	}
	const most = 200
	rows := 0
	row := func(text string) {
		if rows++; rows > most || !m.block(text) {
			m.leftOut = true
		}
	}
	for _, s := range list {
		row(s.row())
		if text := s.detail(o); text != "" {
			details = append(details, text)
		}
	}
	for i := range d.Others {
		x := &d.Others[i]
		word, title, from := x.words()
		row("| " + mdWord(word) + " | " + code(title) + " | | | not from a registry | " + code(from) + " |\n")
		if x.After != nil && (word == "DENY" || word == "error") {
			text := "- **" + code(title) + "** " + x.Kind
			for _, f := range x.After.Findings {
				text += "<br>\n  " + mdWord(string(f.Level)) + " " + code(Escape(f.Rule)) + ": " + prose(Escape(f.Message))
			}
			details = append(details, text+"\n")
		}
	}
	if len(details) > 0 && m.block("\n### To read\n\n") {
		for _, text := range details {
			if !m.block(text) {
				break
			}
		}
	}
	var notes []string
	for _, n := range d.Notes {
		notes = append(notes, code(Escape(n.Code))+": "+prose(Escape(n.Message)))
	}
	if len(notes) > 0 {
		m.block("\n" + folded("About this run", notes, ""))
	}
	if m.leftOut {
		m.buf.WriteString("\n_This is not all: the rest does not fit here. `assay diff` prints it._\n")
	}
	_, err := w.Write(m.buf.Bytes())
	return err
}

// mdWord is a status word as it stands in a table.
func mdWord(word string) string {
	switch word {
	case "DENY", "deny", "error":
		return "**" + word + "**"
	}
	return word
}

// row is a change's line of the table.
func (s *shown) row() string {
	before, after := "", ""
	if s.Before != nil {
		before = code(EscapeASCII(s.Before.Version))
	}
	if s.After != nil {
		after = code(EscapeASCII(s.After.Version))
	}
	cells := []string{mdWord(s.word()), code(EscapeASCII(s.Name)), before, after, "", ""}
	for _, f := range s.fields {
		switch f[0] {
		case "verdict":
			cells[4] = f[1] // words of ours
		case "publisher":
			old, new, ok := strings.Cut(f[1], " → ")
			if same, is := strings.CutPrefix(f[1], "the same: "); is {
				cells[5] = "the same: " + code(same)
			} else if cells[5] = code(old); ok {
				cells[5] += " → " + code(new)
			}
		}
	}
	return "| " + strings.Join(cells, " | ") + " |\n"
}

// detail is what a reader has to know of a change beside its row; "" for nothing.
func (s *shown) detail(o TextOptions) string {
	if s.After == nil {
		return ""
	}
	var lines []string
	for _, f := range s.fields {
		switch f[0] {
		case "verdict", "publisher":
		case "age", "in", "why", "beside":
		case "claimed":
			lines = append(lines, "claimed by the registry: "+prose(f[1]))
		default:
			lines = append(lines, f[0]+": "+prose(f[1]))
		}
	}
	for i := range s.issues {
		x := &s.issues[i]
		if x.level == policy.Note || x.what == "signed" && x.level == policy.Warn && !o.FailOnWarn {
			continue
		}
		lines = append(lines, labels([]*issue{x})+": "+prose(x.message))
	}
	if len(lines) == 0 {
		return ""
	}
	for _, f := range s.fields {
		switch f[0] {
		case "age", "in", "why", "beside":
			lines = append(lines, f[0]+" "+code(f[1]))
		}
	}
	return "- **" + code(s.title) + "** " + s.Kind + "<br>\n  " + strings.Join(lines, "<br>\n  ") + "\n"
}

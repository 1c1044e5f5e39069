package report

import (
	"bufio"
	"cmp"
	"crypto/sha256"
	"embed"
	"encoding/base64"
	"html/template"
	"io"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"assay/internal/policy"
	"assay/internal/publisher"
	"assay/internal/verify"
)

//go:embed html
var pageFiles embed.FS

// pageTemplate makes the page; pageStyle and pageScript stand in it as they are, and only they are allowed to.
var (
	pageTemplate = template.Must(template.ParseFS(pageFiles, "html/page.html"))
	pageStyle    = pageFile("page.css")
	pageScript   = pageFile("page.js")
	pageSources  = "default-src 'none'; style-src " + sourceHash(pageStyle) + "; script-src " + sourceHash(pageScript) +
		"; img-src data:; base-uri 'none'; form-action 'none'"
)

func pageFile(name string) string {
	data, err := pageFiles.ReadFile("html/" + name)
	if err != nil {
		panic(err) // it is embedded
	}
	return string(data)
}

// sourceHash names the text of an element for a Content-Security-Policy (CSP level 3, section 2.3.1).
func sourceHash(text string) string {
	sum := sha256.Sum256([]byte(text))
	return "'sha256-" + base64.StdEncoding.EncodeToString(sum[:]) + "'"
}

const (
	maxWhole      = 300 // packages whose whole matrix stands at their place; those of the others are shared
	maxOpen       = 8   // packages to act on that are open from the start
	foldAbove     = 40  // packages in a row that are folded away
	maxPageTree   = 20000
	maxPageLevels = 60
)

// WriteHTML writes the report as one page that needs nothing beside it: no font, script, style or image comes
// from elsewhere, and its Content-Security-Policy forbids that. It can be read without scripts; with them it can
// be searched and filtered. Packages stand in groups by what the reader should do, each with every check, its
// publisher, why it is there and what the policy says of it; then come the repositories they were built from and
// the dependency tree. Rows that many packages have in common are written once. The same report and options give
// the same bytes: o.Elapsed is not told, and o.Color and o.Width mean nothing here. It returns the error of w.
//
// Text from outside is escaped as for a terminal, and only https addresses become links.
func WriteHTML(w io.Writer, r *Report, o TextOptions) error {
	o.Elapsed = 0
	h := &pageMaker{auditText: newAuditText(io.Discard, r, o), places: map[*entry]string{}, shared: map[string]*profile{}}
	b := bufio.NewWriterSize(w, 64<<10)
	if err := pageTemplate.ExecuteTemplate(b, "page.html", h.page()); err != nil {
		return err
	}
	return b.Flush()
}

// A pageMaker gathers what the page shows; all of its text is escaped for people, not yet for HTML.
type pageMaker struct {
	*auditText
	index    map[*entry]int    // in packages, then in others
	places   map[*entry]string // per entry: the ID of its element
	shared   map[string]*profile
	profiles []*profile
	whole    int // packages shown with their whole matrix so far
	opened   int
}

type page struct {
	Sources       string // of the Content-Security-Policy
	Style         template.CSS
	Script        template.JS
	Title         string
	Counted       string // "3 packages from registries, 1 from elsewhere"
	Outcome       badge
	Conclusion    []string
	Bytes         []string
	Vouchers      []tally
	Decisions     []tally
	Notes         []fact
	Sections      []section
	Built         []builtRow
	BuiltTitle    string
	Trees         []*branch
	TreeCut       string
	Profiles      []*profile
	Made          []fact // by what and when, as far as that is given
	Trust         []fact
	Total         int
	TotalText     string
	Provenance    bool
	Verdicts      []choice
	DecisionNames []choice
}

// A badge is a word with a class that gives it a mark and a colour; the word says all that those say.
type badge struct{ Class, Word string }

type choice struct{ Value, Text string }

type tally struct {
	badge
	Count, Share string
	Means        string
	X, Width     string // of its part of the bar, in per mille
	None         bool
}

type fact struct {
	Name string
	anchor
}

// An anchor is text with an address to follow; Address is "" where there is none that may be followed.
type anchor struct{ Text, Address string }

type builtRow struct {
	Count      string
	Repository anchor
	By         string
}

// A section is a group of the page, by what the reader should do.
type section struct {
	ID, Title string
	badge
	Count  string
	Intro  string
	Blocks []block
}

// A block is packages that one thing is to be said of.
type block struct {
	Badge    badge
	Title    string // "lockfile-integrity (integrity-mismatch)"; "" if there is nothing to say
	Messages []string
	Such     string
	Steps    []nextStep
	Items    []*item
	Fold     string // "1,204 packages" where they are folded away
}

type nextStep struct{ Text, Command string }

// An item is one package or another dependency.
type item struct {
	ID, Spec, Tail    string
	Verdict, Decision string // values to filter by
	VerdictBadge      badge
	DecisionBadge     badge // Word is "" where there is nothing to tell
	Direct, Open      bool
	Answer            []string
	Links             []fact
	Facts             []fact
	Findings          []finding
	Rows              []checkRow
	Shared            string // ID of the profile with the rest of the rows; "" if Rows are all
	SharedText        string
	Further           []string
	Bound             string
}

type finding struct {
	Badge               badge
	Rule, Message, File string
}

// A checkRow is one row of the matrix.
type checkRow struct {
	Order            int
	ID               string
	Badge            badge
	Reason, Message  string
	Values           bool
	Expected, Actual string
}

// A profile is rows that several packages have in common.
type profile struct {
	ID, Title string
	Packages  int
	Rows      []checkRow
	first     *item
}

// The style sheet gives each class its colour and its mark.
var (
	verdictBadges = map[verify.Verdict]badge{
		verify.Provenance: {"pv", "provenance"},
		verify.Signed:     {"sg", "signed"},
		verify.Unsigned:   {"us", "unsigned"},
		verify.Invalid:    {"iv", "invalid"},
		verify.Unchecked:  {"uc", "unchecked"},
		"":                {"ot", "no registry"},
	}
	levelBadges = map[string]badge{
		"allow": {"al", "let through"},
		"note":  {"nt", "note"},
		"warn":  {"wa", "warning"},
		"deny":  {"de", "denied"},
		"error": {"er", "no answer"},
	}
	statusBadges = map[verify.Status]badge{
		verify.Pass:  {"ps", "pass"},
		verify.Fail:  {"fl", "FAIL"},
		verify.Error: {"er", "error"},
		verify.Skip:  {"sk", "skip"},
	}
)

func levelBadge(level string) badge {
	if b, ok := levelBadges[level]; ok {
		return b
	}
	return badge{"er", Escape(level)}
}

func (h *pageMaker) page() *page {
	r, s := h.r, &h.r.Summary
	h.index = map[*entry]int{}
	for i, e := range slices.Concat(h.packages, h.others) {
		h.index[e] = i
		h.places[e] = "p" + strconv.Itoa(i)
	}
	p := &page{
		Sources: pageSources, Style: template.CSS(pageStyle), Script: template.JS(pageScript),
		Title: cmp.Or(Escape(h.o.Subject), "npm packages"), Bytes: h.bytesSeen(),
		Total: len(h.packages) + len(h.others), TotalText: count(len(h.packages) + len(h.others)), Provenance: s.Provenance > 0,
	}
	p.Counted = plural(len(r.Packages), "package", "packages")
	if n := len(r.Others); n > 0 {
		p.Counted += " from registries, " + count(n) + " from elsewhere"
	}
	switch code := r.Exit(); {
	case code == 1:
		p.Outcome = badge{"de", things(h.deny) + verb(len(h.deny), " is denied", " are denied")}
	case code == 3:
		open := slices.DeleteFunc(slices.Clone(h.unknown), func(e *entry) bool { return !e.open() })
		p.Outcome = badge{"er", things(open) + " could not be checked"}
	case r.Warns() && h.o.FailOnWarn:
		p.Outcome = badge{"wa", "Nothing is denied, and warnings count here"}
	default:
		p.Outcome = badge{"al", "Nothing is denied (exit 0)"}
	}
	for _, text := range h.conclusion() {
		var b strings.Builder
		for _, s := range text {
			b.WriteString(s.text)
		}
		p.Conclusion = append(p.Conclusion, b.String())
	}
	p.Conclusion[0] = strings.TrimPrefix(p.Conclusion[0], "Denied: "+things(h.deny)+". ") // its heading says that
	if p.Conclusion[0] == "Nothing is denied (exit 0)." {
		p.Conclusion = p.Conclusion[1:]
	}
	for _, x := range h.aboutRun() {
		p.Notes = append(p.Notes, fact{x.code, anchor{Text: x.text}})
	}
	h.tallies(p)
	p.Sections = h.sections()
	h.built(p)
	h.trees(p)
	p.Profiles = h.common()
	t := &r.Trust
	if h.o.Version != "" {
		p.Made = append(p.Made, fact{"made by", anchor{Text: "Assay " + EscapeASCII(h.o.Version)}})
	}
	d := &h.o.Documents
	if !d.Time.IsZero() {
		p.Made = append(p.Made, fact{"made", anchor{Text: moment(d.Time)}})
	}
	if !d.EvidenceAt.IsZero() {
		p.Made = append(p.Made, fact{"evidence of", anchor{Text: moment(d.EvidenceAt) + ", an archive, sha512 " + EscapeASCII(d.EvidenceSHA512)}})
	}
	p.Trust = []fact{{"trusted root", anchor{Text: origin(t.Root, t.RootSHA256)}}, {"registry keys", anchor{Text: origin(t.Keys, t.KeysSHA256)}}}
	return p
}

// moment writes a time for people: "2026-03-01 12:00:00 UTC".
func moment(t time.Time) string { return t.UTC().Format("2006-01-02 15:04:05 MST") }

// origin says where something trusted came from, with its digest.
func origin(from, sha256 string) string {
	text := EscapeASCII(cmp.Or(from, "not told"))
	if sha256 != "" {
		text += ", sha256 " + EscapeASCII(sha256)
	}
	return text
}

// tallies counts who vouches and what is decided.
func (h *pageMaker) tallies(p *page) {
	s := &h.r.Summary
	x := 0
	for _, v := range []struct {
		verdict verify.Verdict
		n       int
		means   string
	}{
		{verify.Provenance, s.Provenance, "built by a verified workflow"},
		{verify.Signed, s.Signed, "the registry signed the bytes"},
		{verify.Unsigned, s.Unsigned, "neither of the two"},
		{verify.Invalid, s.Invalid, "what it claims does not hold"},
		{verify.Unchecked, s.Unchecked, "could not be told"},
	} {
		width := share(v.n, s.Packages, 1000)
		p.Vouchers = append(p.Vouchers, tally{badge: verdictBadges[v.verdict], Count: count(v.n), Share: percent(v.n, s.Packages), Means: v.means,
			X: strconv.Itoa(x), Width: strconv.Itoa(width), None: v.n == 0})
		x += width
		p.Verdicts = append(p.Verdicts, choice{string(v.verdict), verdictBadges[v.verdict].Word})
	}
	if len(h.others) > 0 {
		p.Verdicts = append(p.Verdicts, choice{"other", verdictBadges[""].Word})
	}
	elsewhere := Summary{}
	for _, e := range h.others {
		elsewhere.decide(e.decision)
	}
	for _, d := range []struct {
		level     string
		n, others int
	}{{"deny", s.Deny, elsewhere.Deny}, {"error", s.Error, elsewhere.Error}, {"warn", s.Warn, elsewhere.Warn}, {"allow", s.Allow, elsewhere.Allow}} {
		row := tally{badge: levelBadges[d.level], Count: count(d.n), None: d.n+d.others == 0}
		if d.others > 0 {
			row.Means = "and " + count(d.others) + " from no registry"
		}
		p.Decisions = append(p.Decisions, row)
		p.DecisionNames = append(p.DecisionNames, choice{d.level, levelBadges[d.level].Word})
	}
}

// sections puts every entry into one group.
func (h *pageMaker) sections() []section {
	var out []section
	add := func(s section, entries int) {
		if entries > 0 {
			s.Count = count(entries)
			out = append(out, s)
		}
	}
	placed := map[*entry]bool{}
	take := func(list []*entry) []*entry {
		list = slices.DeleteFunc(slices.Clone(list), func(e *entry) bool { return placed[e] })
		for _, e := range list {
			placed[e] = true
		}
		return list
	}
	deny := take(h.deny)
	add(section{ID: "denied", Title: "Denied", badge: levelBadges["deny"], Intro: "Do not install or run these before you know why.", Blocks: h.troubles(deny)}, len(deny))
	tolerated := take(h.tolerated)
	add(section{ID: "tolerated", Title: "Fails, and the policy lets it through", badge: verdictBadges[verify.Invalid],
		Intro: "Checks of these fail. A rule of the policy lets them through all the same.", Blocks: h.troubles(tolerated)}, len(tolerated))
	undecided := take(h.unknown)
	add(section{ID: "unchecked", Title: "Could not be checked", badge: verdictBadges[verify.Unchecked],
		Intro: "Nobody could tell. That speaks neither for these nor against them.", Blocks: h.questions(undecided)}, len(undecided))
	look, n := h.looks(take)
	add(section{ID: "look", Title: "To look at", badge: levelBadges["warn"], Intro: "These are let through, and something about them deserves a look.", Blocks: look}, n)
	for _, v := range []struct {
		verdict          verify.Verdict
		id, title, intro string
	}{
		{verify.Provenance, "provenance", "Built by a verified workflow", "For these it is verified which workflow built them, not that the workflow was honest."},
		{verify.Signed, "signed", "Signature only", "The registry vouches for the bytes of these, nobody for who built them. Having no provenance is an absence, not a failure."},
		{verify.Unsigned, "unsigned", "Nobody vouches for them", "These carry neither a registry's signature nor provenance."},
		{"", "others", "From no registry", "These come from the project itself, from git, from an address or from a directory."},
	} {
		var list []*entry
		for _, e := range h.warn {
			if e.verdict == v.verdict {
				list = append(list, e)
			}
		}
		list = take(list)
		add(section{ID: v.id, Title: v.title, badge: verdictBadges[v.verdict], Intro: v.intro, Blocks: []block{h.block(list, block{}, false)}}, len(list))
	}
	rest := take(slices.Concat(h.packages, h.others)) // verdicts that this version does not know
	add(section{ID: "rest", Title: "Everything else", badge: levelBadges["allow"], Blocks: []block{h.block(rest, block{}, false)}}, len(rest))
	return out
}

// block fills in the items of a block; urgent says that the reader has to act on them.
func (h *pageMaker) block(entries []*entry, b block, urgent bool) block {
	for _, e := range entries {
		b.Items = append(b.Items, h.item(e, urgent))
	}
	if len(entries) > foldAbove {
		b.Fold = things(entries)
	}
	return b
}

// troubles groups what is denied, or fails, by why.
func (h *pageMaker) troubles(entries []*entry) []block {
	var out []block
	for _, g := range alike(entries, (*entry).trouble) {
		bad := g[0].bad()
		b := block{Badge: levelBadges["deny"]}
		for i, x := range bad {
			if i == 0 {
				b.Badge = wordBadge(x.word)
			} else {
				b.Title += ", "
			}
			b.Title += x.label()
		}
		for _, s := range sayings(bad) {
			switch {
			case len(bad) > 1:
				b.Messages = append(b.Messages, s.names+": "+s.message)
			case s.message != "":
				b.Messages = append(b.Messages, s.message)
			}
		}
		for _, s := range steps(bad) {
			if len(g) > 1 {
				s = s.forMany(g[0].spec)
			}
			b.Steps = append(b.Steps, nextStep{s.text, s.typed(h.o.Flags)})
		}
		out = append(out, h.block(g, b, true))
	}
	return out
}

// wordBadge is the badge of an issue's word.
func wordBadge(word string) badge {
	switch word {
	case "FAIL":
		return statusBadges[verify.Fail]
	case "DENY":
		return levelBadges["deny"]
	case "error":
		return statusBadges[verify.Error]
	}
	return levelBadge(word)
}

// questions groups what could not be told by why.
func (h *pageMaker) questions(entries []*entry) []block {
	groups := alike(entries, (*entry).question)
	slices.SortStableFunc(groups, func(x, y []*entry) int { return cmp.Compare(len(y), len(x)) })
	var out []block
	for _, g := range groups {
		text, such := common(g)
		b := block{Badge: statusBadges[verify.Error], Title: allOf(g).label(), Messages: []string{text}, Such: such}
		if g[0].decision != policy.Decision(policy.Error) {
			b.Messages = append(b.Messages, "The policy lets this through.")
		}
		s := g[0].first().next
		if len(g) > 1 {
			s = s.forMany(g[0].spec)
		}
		if s.text != "" {
			b.Steps = []nextStep{{s.text, s.typed(h.o.Flags)}}
		}
		out = append(out, h.block(g, b, true))
	}
	return out
}

// looks groups what is let through and yet needs a look, each entry with the first rule that spoke of it, and
// after those what was built from something that releases are not usually built from.
func (h *pageMaker) looks(take func([]*entry) []*entry) (out []block, n int) {
	for _, g := range h.lookAt() {
		list := take(g.entries)
		if len(list) == 0 {
			continue
		}
		n += len(list)
		b := block{Badge: levelBadge(g.word), Title: g.issue.label(), Messages: []string{g.issue.message}}
		s := g.issue.next
		if len(list) > 1 || list[0] != g.entries[0] {
			s = s.forMany(g.entries[0].spec)
		}
		if s.text != "" {
			b.Steps = []nextStep{{s.text, s.typed(h.o.Flags)}}
		}
		out = append(out, h.block(list, b, true))
	}
	odd := map[string][]*entry{}
	var reasons []string
	message := map[string]string{}
	for _, e := range h.warn {
		i := h.index[e]
		if i >= len(h.r.Packages) {
			continue
		}
		for _, c := range h.r.Packages[i].Checks {
			if c.ID == "release-ref" && oddRefs[c.Reason] {
				if odd[c.Reason] == nil {
					reasons = append(reasons, c.Reason)
					message[c.Reason] = Escape(c.Message)
				}
				odd[c.Reason] = append(odd[c.Reason], e)
			}
		}
	}
	for _, reason := range reasons {
		if list := take(odd[reason]); len(list) > 0 {
			n += len(list)
			out = append(out, h.block(list, block{Badge: levelBadges["warn"], Title: "release-ref (" + reason + ")",
				Messages: []string{message[reason] + ". Releases are not usually built so."}}, true))
		}
	}
	return out, n
}

// built lists the repositories that packages were built from.
func (h *pageMaker) built(p *page) {
	sources, n := h.sources()
	if n == 0 {
		return
	}
	p.BuiltTitle = plural(n, "package", "packages") + " from " + plural(len(sources), "repository", "repositories")
	for _, s := range sources {
		p.Built = append(p.Built, builtRow{count(len(s.packages)), followable(EscapeASCII(cmp.Or(s.repository, "a repository that its certificate does not name"))), s.by(true)})
	}
}

// followable is text that is a link where it is an https address as it stands.
func followable(text string) anchor {
	if u, err := url.Parse(text); err == nil && webLink(text) == text && u.Host != "" && !strings.ContainsAny(text, ` \"'<>`) {
		return anchor{text, text}
	}
	return anchor{Text: text}
}

// publisherLinks are where what the certificate says can be looked at.
func (h *pageMaker) publisherLinks(p *publisher.Publisher) []fact {
	var out []fact
	add := func(name, value string) {
		if value == "" {
			return
		}
		l := followable(value)
		if l.Address != "" {
			l.Text = name
		} else {
			l.Text = name + ": " + value
		}
		out = append(out, fact{name, l})
	}
	add("source at this commit", treeLink(p.Repository, p.Commit))
	add("workflow file", fileLink(p.Repository, cmp.Or(p.WorkflowDigest, p.Commit), p.Workflow))
	if called := calledWorkflow(p); called != "" {
		add("called workflow", cmp.Or(fileLink(p.SignerRepository, p.SignerDigest, p.SignerWorkflow), called))
	}
	add("build run", webLink(p.Run))
	switch {
	case p.SignedAt.IsZero():
	case h.o.PrivateLog:
		add("log", "entry "+strconv.FormatInt(p.LogIndex, 10)+" of the transparency log in use")
	default:
		add("log entry "+strconv.FormatInt(p.LogIndex, 10), "https://search.sigstore.dev/?logIndex="+strconv.FormatInt(p.LogIndex, 10))
	}
	return out
}

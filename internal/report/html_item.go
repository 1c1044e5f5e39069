package report

import (
	"cmp"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"assay/internal/policy"
	"assay/internal/verify"
)

// item is what the page shows of one entry; urgent says that the reader has to act on it.
func (h *pageMaker) item(e *entry, urgent bool) *item {
	it := &item{ID: h.places[e], Spec: e.spec, Verdict: cmp.Or(Escape(string(e.verdict)), "other"), Decision: Escape(string(e.decision))}
	if b, ok := verdictBadges[e.verdict]; ok {
		it.VerdictBadge = b
	} else {
		it.VerdictBadge = badge{"er", it.Verdict}
	}
	switch e.decision {
	case policy.Decision(policy.Allow):
	case policy.Decision(policy.Warn):
		if urgent {
			it.DecisionBadge = levelBadges["warn"]
		}
	default:
		it.DecisionBadge = levelBadge(string(e.decision))
	}
	if urgent && h.opened < maxOpen && (e.open() || e.verdict == verify.Invalid) {
		h.opened++
		it.Open = true
	}
	i := h.index[e]
	if i < len(h.r.Packages) {
		h.packageItem(it, e, &h.r.Packages[i], urgent)
	} else {
		h.otherItem(it, e, &h.r.Others[i-len(h.r.Packages)])
	}
	return it
}

func (h *pageMaker) packageItem(it *item, e *entry, p *Package, urgent bool) {
	it.Direct = p.Direct
	if q := p.Publisher; q != nil {
		it.Tail = "built from " + shortSource(q)
		text := "It"
		for _, s := range builtBy(q) {
			text += s.text
		}
		it.Answer = append(it.Answer, text)
		it.Links = h.publisherLinks(q)
		it.Facts = append(it.Facts, fact{"identity", anchor{Text: identity(p)}})
	}
	locations := p.Locations
	if len(locations) == 1 && locations[0] == "node_modules/"+p.Name {
		locations = nil // where it usually lies
	}
	h.facts(it, e, locations)
	if e.from != "" {
		it.fact("registry", e.from)
	}
	it.fact("integrity", EscapeASCII(p.Integrity))
	if usual := p.Registry + "/" + p.Name + "/-/" + p.Name[strings.LastIndexByte(p.Name, '/')+1:] + "-" + p.Version + ".tgz"; p.Resolved != usual {
		it.fact("resolved", EscapeASCII(p.Resolved))
	}
	for _, f := range p.Further {
		it.Further = append(it.Further, EscapeASCII(f))
	}
	if p.Bound != "lockfile" {
		it.Bound = boundSentence(p)
	}
	it.findings(p.Findings)
	h.matrix(it, p, urgent)
}

// identity is what a publisher is told apart by even where names change.
func identity(p *Package) string {
	q := p.Publisher
	parts := []string{"issuer " + EscapeASCII(cmp.Or(q.Issuer, "not told"))}
	for _, x := range []struct{ name, value string }{{"repository id", q.RepositoryID}, {"owner id", q.OwnerID}, {"visibility", q.Visibility}} {
		if x.value != "" {
			parts = append(parts, x.name+" "+EscapeASCII(x.value))
		}
	}
	return strings.Join(parts, ", ")
}

func (h *pageMaker) otherItem(it *item, e *entry, o *Other) {
	if e.from != "" {
		it.Tail = fromWords(e)
	}
	h.facts(it, e, o.Locations)
	it.fact("source", EscapeASCII(o.Source))
	it.fact("resolved", EscapeASCII(o.Resolved))
	it.findings(o.Findings)
}

// facts are why and where an entry is there.
func (h *pageMaker) facts(it *item, e *entry, locations []string) {
	it.fact("why", e.why)
	it.fact("in", e.place)
	const most = 20
	var places []string
	for i, l := range locations {
		if i == most {
			places = append(places, "and "+count(len(locations)-most)+" more")
			break
		}
		if l != "" {
			places = append(places, Escape(l))
		}
	}
	if text := strings.Join(places, ", "); text != e.place {
		it.fact("lies at", text)
	}
}

func (it *item) fact(name, value string) {
	if value != "" {
		it.Facts = append(it.Facts, fact{name, anchor{Text: value}})
	}
}

func (it *item) findings(list []policy.Finding) {
	for _, f := range list {
		x := finding{Badge: levelBadge(string(f.Level)), Rule: Escape(f.Rule), Message: Escape(f.Message)}
		if f.File != "" {
			x.File = Escape(f.File) + ":" + strconv.Itoa(f.Line)
		}
		it.Findings = append(it.Findings, x)
	}
}

// matrix fills in the rows of a package. Where many packages are shown, rows without values of their own stand in
// a profile that packages with the same rows share.
func (h *pageMaker) matrix(it *item, p *Package, urgent bool) {
	whole := urgent && h.whole < maxWhole
	if whole {
		h.whole++
	}
	var key strings.Builder
	var common []int
	for i := range p.Checks {
		c := &p.Checks[i]
		if whole || c.Status == verify.Fail || c.Status == verify.Error || c.Expected != "" || c.Actual != "" {
			it.Rows = append(it.Rows, matrixRow(i, c))
			continue
		}
		common = append(common, i)
		fmt.Fprintf(&key, "%d %q %q %q %q ", i, c.ID, c.Status, c.Reason, c.Message)
	}
	if len(common) == 0 {
		return
	}
	pr := h.shared[key.String()]
	if pr == nil {
		pr = &profile{ID: "m" + strconv.Itoa(len(h.profiles)+1), first: it}
		for _, i := range common {
			pr.Rows = append(pr.Rows, matrixRow(i, &p.Checks[i]))
		}
		pr.Title = statuses(pr.Rows)
		h.shared[key.String()] = pr
		h.profiles = append(h.profiles, pr)
	}
	pr.Packages++
	it.Shared, it.SharedText = pr.ID, pr.Title
}

// common lists the profiles that several packages share. Rows that turned out to be one package's go to that one.
func (h *pageMaker) common() []*profile {
	var out []*profile
	for _, p := range h.profiles {
		if p.Packages > 1 {
			out = append(out, p)
			continue
		}
		p.first.Rows = append(p.first.Rows, p.Rows...)
		slices.SortFunc(p.first.Rows, func(x, y checkRow) int { return cmp.Compare(x.Order, y.Order) })
		p.first.Shared = ""
	}
	return out
}

// statuses counts rows by how they ended and says why: "2 pass, 16 skip (not-asked, no-attestations)".
func statuses(rows []checkRow) string {
	var parts []string
	for _, word := range []string{"pass", "skip"} {
		n := 0
		var reasons []string
		for _, r := range rows {
			if r.Badge.Word != word {
				continue
			}
			n++
			if r.Reason != "" && !slices.Contains(reasons, r.Reason) {
				reasons = append(reasons, r.Reason)
			}
		}
		if n == 0 {
			continue
		}
		text := strconv.Itoa(n) + " " + word
		if len(reasons) > 0 {
			text += " (" + strings.Join(reasons, ", ") + ")"
		}
		parts = append(parts, text)
	}
	return strings.Join(parts, ", ")
}

func matrixRow(order int, c *verify.Result) checkRow {
	b, ok := statusBadges[c.Status]
	if !ok {
		b = badge{"er", Escape(string(c.Status))}
	}
	return checkRow{
		Order: order, ID: Escape(c.ID), Badge: b, Reason: Escape(c.Reason), Message: Escape(c.Message),
		Values:   c.Expected != "" || c.Actual != "",
		Expected: cmp.Or(EscapeASCII(c.Expected), "(nothing)"), Actual: cmp.Or(EscapeASCII(c.Actual), "(nothing)"),
	}
}

// A branch is one line of the dependency tree and what stands below it.
type branch struct {
	Spec, Item string // Item is the ID of its element, "" for a directory of the project
	Badge      badge
	Denied     badge // Word is "" where the decision is nothing to stop at
	Kind       string
	Again      bool // it has its place elsewhere
	Missing    string
	Below      []*branch
	Deeper     string
	Open       bool
}

// A drawing is a tree on its way to the page.
type drawing struct {
	left, cut int   // lines that may still be drawn, and lines that were not
	weights   []int // of the layout that is being drawn
}

// trees lays out the graphs of the projects.
func (h *pageMaker) trees(p *page) {
	d := &drawing{left: maxPageTree}
	placed := map[*entry]bool{}
	for i := range h.r.Projects {
		l := newLayout(&h.r.Projects[i])
		d.weights = l.weights()
		var stray []*branch
		for _, root := range l.roots {
			n := &l.p.Nodes[root]
			e := h.entry(n)
			b := h.branch(d, l, root, nil, true, 0)
			switch {
			case e != nil && root != 0:
				stray = append(stray, b)
				continue
			case root == 0:
				b.Spec = projectName(l.p)
				if l.p.File != "" {
					b.Kind = Escape(l.p.File)
				}
			}
			b.Open = true
			p.Trees = append(p.Trees, b)
		}
		if len(stray) > 0 {
			p.Trees = append(p.Trees, &branch{Spec: "Asked for by nothing", Below: stray})
		}
		for j := range l.p.Nodes {
			if e := h.entry(&l.p.Nodes[j]); e != nil {
				placed[e] = true
			}
		}
	}
	if len(p.Trees) == 0 {
		return
	}
	var rest []*branch
	for _, e := range slices.Concat(h.packages, h.others) {
		if placed[e] {
			continue
		}
		if d.left <= 0 {
			d.cut++
			continue
		}
		d.left--
		rest = append(rest, h.leaf(e))
	}
	if len(rest) > 0 {
		p.Trees = append(p.Trees, &branch{Spec: "In no tree: nothing says who asks for it", Below: rest})
	}
	if d.cut > 0 {
		p.TreeCut = plural(d.cut, "more line is", "more lines are") + " not drawn; assay audit --tree -v draws all."
	}
}

// leaf is an entry without what it asks for.
func (h *pageMaker) leaf(e *entry) *branch {
	b := &branch{Spec: e.spec, Item: h.places[e], Badge: verdictBadges[e.verdict]}
	if e.open() {
		b.Denied = levelBadge(string(e.decision))
	}
	return b
}

func (h *pageMaker) branch(d *drawing, l *layout, node int, by *Edge, first bool, depth int) *branch {
	d.left--
	n := &l.p.Nodes[node]
	b := &branch{Spec: EscapeASCII(n.Name)}
	if e := h.entry(n); e != nil {
		b = h.leaf(e)
		b.Spec = nodeSpec(n, e)
	}
	if by != nil && by.Kind != "prod" && by.Kind != "workspace" {
		b.Kind = edgeKind(by.Kind)
	}
	if !first {
		b.Again = true
		return b
	}
	if depth == maxPageLevels && len(n.Edges) > 0 {
		b.Deeper = plural(len(n.Edges), "dependency", "dependencies") + " deeper than " + count(maxPageLevels) + " levels"
		d.cut += d.weights[node]
		return b
	}
	var missing []string
	for j := range n.Edges {
		to := l.to(node, j)
		switch {
		case to < 0:
			missing = append(missing, missingName(&n.Edges[j]))
		case d.left <= 0:
			d.cut++
			if l.parent[to] == node && l.edge[to] == j {
				d.cut += d.weights[to]
			}
		default:
			b.Below = append(b.Below, h.branch(d, l, to, &n.Edges[j], l.parent[to] == node && l.edge[to] == j, depth+1))
		}
	}
	if len(missing) > maxMissing {
		missing = append(missing[:maxMissing], "and "+count(len(missing)-maxMissing)+" more")
	}
	b.Missing = strings.Join(missing, ", ")
	return b
}

// weights says of every node how many lines of the tree stand below its own.
func (l *layout) weights() []int {
	lines := make([]int, len(l.p.Nodes))
	for _, i := range slices.Backward(l.order) {
		lines[i] += len(l.p.Nodes[i].Edges)
		if p := l.parent[i]; p >= 0 {
			lines[p] += lines[i]
		}
	}
	return lines
}

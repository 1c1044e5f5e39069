package report

import (
	"cmp"
	"container/heap"
	"io"
	"slices"
	"strings"

	"assay/internal/policy"
	"assay/internal/verify"
)

const (
	maxPaths        = 10     // ways to one package, unless verbose
	maxPathsVerbose = 100    // likewise, when verbose
	maxSteps        = 400000 // work spent on looking for the ways to one package
	maxNear         = 5      // names that may have been meant
	maxSpecified    = 214    // characters of a name (npm's limit); longer ones are like nothing
)

// An UnknownNameError says that nothing in the report has the name that was asked for.
type UnknownNameError struct {
	Name string
	Near []string // names, or name@version where only the version is another, that are like it; may be empty
}

func (e *UnknownNameError) Error() string {
	return "nothing here is called " + Escape(e.Name)
}

// WriteWhy writes why what is called name is there: for each package and other dependency of that name what is
// known of it, what is decided, and the ways from the project to it, shortest first: ten of them, with o.Verbose
// a hundred. The name is that of the package, or the one it is installed under or asked for as; "name@version" narrows it down.
// It returns an [UnknownNameError] where nothing has that name, else the error of w.
func WriteWhy(w io.Writer, r *Report, name string, o TextOptions) error {
	a := newAuditText(w, r, o)
	y := &whyText{auditText: a, want: name}
	found := y.find()
	if len(found) == 0 {
		return &UnknownNameError{Name: name, Near: y.near()}
	}
	for i, e := range found {
		if i > 0 {
			a.blank()
		}
		y.answer(e)
	}
	return a.flush()
}

// A whyText is the answer to why something is there, on its way to a terminal.
type whyText struct {
	*auditText
	want    string
	layouts []*layout // of Report.Projects, made when first needed
}

// find lists what is called so, packages first.
func (y *whyText) find() []*entry {
	known := map[*entry]bool{}
	for i := range y.r.Packages {
		p := &y.r.Packages[i]
		known[y.packages[i]] = y.want == p.Name || y.want == p.Name+"@"+p.Version
	}
	for i := range y.r.Others {
		o := &y.r.Others[i]
		known[y.others[i]] = y.want == o.Name || y.want == o.Name+"@"+o.Version
	}
	for i := range y.r.Projects {
		for j := range y.r.Projects[i].Nodes {
			n := &y.r.Projects[i].Nodes[j]
			if n.Name == y.want && y.entry(n) != nil {
				known[y.entry(n)] = true
			}
			// A store, as pnpm's, holds a package under its own name, whatever it is asked for as.
			for _, e := range n.Edges {
				if e.Name == y.want && e.To >= 0 && e.To < len(y.r.Projects[i].Nodes) {
					if found := y.entry(&y.r.Projects[i].Nodes[e.To]); found != nil {
						known[found] = true
					}
				}
			}
		}
	}
	return slices.DeleteFunc(slices.Concat(y.packages, y.others), func(e *entry) bool { return !known[e] })
}

// answer says everything about one package or other dependency.
func (y *whyText) answer(e *entry) {
	y.line(0, 2, append([]span{st(bold, e.spec), {" ", plain}}, y.verdictWords(e)...)...)
	told := e.issues
	if !y.o.Verbose {
		told = slices.DeleteFunc(slices.Clone(told), func(x issue) bool { return x.level == policy.Note })
	}
	for i := range told {
		x := &told[i]
		y.line(2, 4, st(styleOf(x.word), x.word), span{" " + x.label() + ": " + x.message, plain})
	}
	if e.publisher != nil {
		y.line(2, 4, append([]span{{"It", plain}}, builtBy(e.publisher)...)...)
	}
	y.field(2, "decision", decisionWords(e.decision))
	y.field(2, "in", e.place)
	y.field(2, "from", e.from)
	ways, more := y.ways(e)
	if len(ways) == 0 {
		why := e.why
		if why == "" {
			why = "nothing that was read says who asks for it"
		}
		y.field(2, "why", why)
		return
	}
	for i, way := range ways {
		name := ""
		if i == 0 {
			name = "why"
		}
		y.paragraph(y.width, 2, []span{st(dim, pad(name, fieldColumns))}, 2+fieldColumns+2, way)
	}
	if more {
		text := "and more"
		if !y.o.Verbose {
			text += " (-v shows up to " + count(maxPathsVerbose) + ")"
		}
		y.paragraph(y.width, 2, []span{st(dim, pad("", fieldColumns))}, 2+fieldColumns, []span{{text, plain}})
	}
}

// verdictWords is the verdict with its mark, in a sentence's words.
func (a *auditText) verdictWords(e *entry) []span {
	m, ok := verdictMarks[e.verdict]
	if !ok {
		return []span{st(dim, "~ from no registry")}
	}
	means := map[verify.Verdict]string{
		verify.Provenance: "it is verified which workflow built it",
		verify.Signed:     "the registry vouches for the bytes, nobody for who built them",
		verify.Unsigned:   "nobody vouches for it",
		verify.Invalid:    "what it claims does not hold",
		verify.Unchecked:  "it could not be told",
	}[e.verdict]
	return []span{st(m.style, m.text), {": " + means, plain}}
}

// decisionWords is a decision with what it means.
func decisionWords(d policy.Decision) string {
	switch d {
	case policy.Decision(policy.Allow):
		return "allow: let through"
	case policy.Decision(policy.Warn):
		return "warn: let through with a warning"
	case policy.Decision(policy.Deny):
		return "deny: do not install it before you know why"
	case policy.Decision(policy.Error):
		return "error: there is no answer yet"
	}
	return Escape(string(d))
}

// ways are the ways from projects to an entry, shortest first, and whether there are or may be more.
func (y *whyText) ways(e *entry) (ways [][]span, more bool) {
	most := maxPaths
	if y.o.Verbose {
		most = maxPathsVerbose
	}
	if y.layouts == nil {
		for i := range y.r.Projects {
			y.layouts = append(y.layouts, newLayout(&y.r.Projects[i]))
		}
	}
	var all []way
	for _, l := range y.layouts {
		var targets []int
		for i := range l.p.Nodes {
			if y.entry(&l.p.Nodes[i]) == e {
				targets = append(targets, i)
			}
		}
		found, cut := l.ways(targets, most+1)
		all = append(all, found...)
		more = more || cut
	}
	slices.SortStableFunc(all, func(a, b way) int { return cmp.Compare(len(a.hops), len(b.hops)) })
	if len(all) > most {
		all, more = all[:most], true
	}
	for _, w := range all {
		ways = append(ways, y.wayText(w))
	}
	return ways, more
}

// A way leads from a root of a layout to a target, edge by edge.
type way struct {
	l    *layout
	root int
	hops []hop
}

type hop struct{ node, edge int } // an edge of a node

// A trail is the end of a way that is being looked for, from some node to a target.
type trail struct {
	node, edge int // the edge of node that leads on; -1 at the target
	next       *trail
	length     int // edges to the target
	order      int // of trails that are alike, the one begun first comes first
	whole      int // edges of the shortest way that ends like this
}

type trails []*trail

func (h trails) Len() int { return len(h) }
func (h trails) Less(i, j int) bool {
	a, b := h[i], h[j]
	return cmp.Or(cmp.Compare(a.whole, b.whole), cmp.Compare(b.length, a.length), cmp.Compare(a.order, b.order)) < 0
}
func (h trails) Swap(i, j int) { h[i], h[j] = h[j], h[i] }
func (h *trails) Push(x any)   { *h = append(*h, x.(*trail)) }
func (h *trails) Pop() any {
	old := *h
	x := old[len(old)-1]
	*h = old[:len(old)-1]
	return x
}

// ways looks from the targets up to the roots for at most most ways that pass no node twice, shortest first. It
// reports whether it gave up before it had seen all.
func (l *layout) ways(targets []int, most int) (found []way, cut bool) {
	if len(targets) == 0 {
		return nil, false
	}
	above := make([][]hop, len(l.p.Nodes)) // per node: the edges that lead to it
	for _, i := range l.order {
		for j := range l.p.Nodes[i].Edges {
			if to := l.to(i, j); to >= 0 {
				above[to] = append(above[to], hop{i, j})
			}
		}
	}
	var open trails
	steps, order := 0, 0
	push := func(t *trail) {
		order++
		t.order, t.whole = order, t.length+l.depth[t.node]
		heap.Push(&open, t)
	}
	for _, i := range targets {
		push(&trail{node: i, edge: -1})
	}
	for len(open) > 0 {
		t := heap.Pop(&open).(*trail)
		if l.parent[t.node] < 0 {
			if t.length > 0 {
				w := way{l: l, root: t.node}
				for x := t; x.edge >= 0; x = x.next {
					w.hops = append(w.hops, hop{x.node, x.edge})
				}
				found = append(found, w)
				if len(found) == most {
					return found, true
				}
			}
			continue
		}
		for _, h := range above[t.node] {
			passed := false
			for x := t; x != nil && !passed; x = x.next {
				passed = x.node == h.node
				steps++
			}
			if steps > maxSteps {
				return found, true
			}
			if !passed {
				push(&trail{node: h.node, edge: h.edge, next: t, length: t.length + 1})
			}
		}
	}
	return found, false
}

// wayText writes a way on one line: "app > webpack@5.88.0 > mkdirp@0.5.6 (asked for as ^0.5.1)".
func (y *whyText) wayText(w way) []span {
	nodes := w.l.p.Nodes
	name := func(i int) string {
		n := &nodes[i]
		if e := y.entry(n); e != nil {
			return nodeSpec(n, e)
		}
		if i == 0 {
			return projectName(w.l.p)
		}
		return EscapeASCII(n.Name)
	}
	var out []span
	if w.root != 0 && y.entry(&nodes[w.root]) != nil {
		out = append(out, span{"asked for by nothing: ", plain})
	}
	out = append(out, span{name(w.root), plain})
	for k, h := range w.hops {
		if skip := len(w.hops) + 1 - maxWhy; skip > 0 && k >= maxWhy/2 && k < maxWhy/2+skip {
			if k == maxWhy/2 {
				out = append(out, span{" > (" + count(skip) + " more)", plain})
			}
			continue
		}
		e := &nodes[h.node].Edges[h.edge]
		last := k == len(w.hops)-1
		s := span{name(e.To), plain}
		if last {
			s.style = bold
		}
		out = append(out, span{" > ", plain}, s)
		var also []string
		if e.Kind != "prod" {
			also = append(also, edgeKind(e.Kind))
		}
		if last && e.Spec != "" {
			also = append(also, "asked for as "+EscapeASCII(e.Spec))
		}
		if len(also) > 0 {
			out = append(out, st(dim, " ("+strings.Join(also, ", ")+")"))
		}
	}
	return out
}

// near are the names that are most like the one asked for.
func (y *whyText) near() []string {
	want := y.want
	if len(want) > maxSpecified {
		return nil
	}
	bare := want
	if i := strings.LastIndexByte(want, '@'); i > 0 {
		bare = want[:i]
	}
	type candidate struct {
		name string
		far  int
	}
	var list []candidate
	seen := map[string]bool{}
	consider := func(name, version string) {
		switch {
		case name == "" || len(name) > maxSpecified:
			return
		case name == bare && version != "":
			name += "@" + version
			if !seen[name] {
				list = append(list, candidate{EscapeASCII(name), 0})
			}
		case !seen[name]:
			far := distance(strings.ToLower(bare), strings.ToLower(name))
			if far <= max(1, min(3, len(bare)/3)) || len(bare) > 2 && strings.Contains(name, bare) {
				list = append(list, candidate{EscapeASCII(name), far})
			}
		}
		seen[name] = true
	}
	for i := range y.r.Packages {
		consider(y.r.Packages[i].Name, y.r.Packages[i].Version)
	}
	for i := range y.r.Others {
		consider(y.r.Others[i].Name, y.r.Others[i].Version)
	}
	slices.SortFunc(list, func(a, b candidate) int { return cmp.Or(cmp.Compare(a.far, b.far), cmp.Compare(a.name, b.name)) })
	var names []string
	for _, c := range list[:min(len(list), maxNear)] {
		names = append(names, c.name)
	}
	return names
}

// distance is how many characters have to be put in, taken out, exchanged or swapped with their neighbour to
// make b of a; 4 for anything above 3.
func distance(a, b string) int {
	const most = 4
	if d := len(a) - len(b); d >= most || d <= -most {
		return most
	}
	rows := [3][]int{make([]int, len(b)+1), make([]int, len(b)+1), make([]int, len(b)+1)}
	for j := range rows[1] {
		rows[1][j] = j
	}
	for i := 1; i <= len(a); i++ {
		before, above, row := rows[0], rows[1], rows[2]
		row[0] = i
		for j := 1; j <= len(b); j++ {
			differ := 1
			if a[i-1] == b[j-1] {
				differ = 0
			}
			row[j] = min(above[j]+1, row[j-1]+1, above[j-1]+differ)
			if i > 1 && j > 1 && a[i-1] == b[j-2] && a[i-2] == b[j-1] {
				row[j] = min(row[j], before[j-2]+1)
			}
		}
		rows = [3][]int{above, row, before}
	}
	return min(rows[1][len(b)], most)
}

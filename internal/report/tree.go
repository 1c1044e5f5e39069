package report

import (
	"cmp"
	"io"
	"slices"
	"strconv"
	"strings"

	"assay/internal/policy"
	"assay/internal/publisher"
	"assay/internal/verify"
)

const (
	maxTreeLines  = 5000 // lines of a tree, unless verbose
	maxTreeLevels = 40   // levels of a tree that are drawn to the left of a name
	maxMissing    = 20   // names that one place asks for and that are not there, unless verbose
)

// WriteTree writes who asks for what: every place of the project once, below the nearest that asks for it, with
// its verdict and publisher. Where it is asked for again, its line says "deduped", as with `npm ls`, and what it
// asks for in turn is not repeated. What is asked for and not there is told, and so is what is there and nobody
// asks for. With o.Quiet only the branches are drawn that lead to what is denied or could not be told; nothing
// if there are none. It returns the error of w.
func WriteTree(w io.Writer, r *Report, o TextOptions) error {
	a := newAuditText(w, r, o)
	t := &treeText{auditText: a, placed: map[*entry]bool{}, left: maxTreeLines, step: 3}
	if o.Verbose {
		t.left = -1
	}
	if a.width > 0 && a.width < 60 {
		t.step = 2
	}
	t.levels = maxTreeLevels
	if a.width > 0 {
		t.levels = min(t.levels, a.width/2/t.step)
	}
	if !o.Quiet {
		a.header()
	}
	for i := range r.Projects {
		t.project(&r.Projects[i])
	}
	t.unplaced()
	if t.cut > 0 {
		a.blank()
		a.line(0, 2, span{"and " + plural(t.cut, "more line", "more lines") + " (-v draws all)", plain})
	}
	if o.Quiet {
		if r.Exit() != 0 {
			a.blank()
			for _, text := range a.conclusion()[:1] {
				a.line(0, 0, text...)
			}
		}
		return a.flush()
	}
	a.summary()
	a.closing()
	return a.flush()
}

// A treeText is a tree on its way to a terminal.
type treeText struct {
	*auditText
	placed map[*entry]bool // what some tree holds
	left   int             // lines that may still be drawn; -1: any number
	cut    int             // lines that were not
	step   int             // columns of a level
	levels int             // levels drawn at most
	last   []bool          // per level above the current line: whether its branch ends there
}

// A layout is the tree that is drawn of a project's graph: every node below the one that is nearest to the
// project and asks for it.
type layout struct {
	p      *Project
	roots  []int // the project, then what nothing above leads to
	parent []int // per node: the node it stands below; -1 for roots
	edge   []int // per node: the edge of its parent that leads to it; -1 for roots
	depth  []int // per node: edges from its root
	order  []int // every node, parents before children
}

func newLayout(p *Project) *layout {
	n := len(p.Nodes)
	l := &layout{p: p, parent: make([]int, n), edge: make([]int, n), depth: make([]int, n)}
	asked := make([]int, n) // how many nodes that nothing leads to so far ask for it
	for i := range n {
		l.depth[i] = -1
	}
	if n == 0 {
		return l
	}
	l.reach(0)
	for i := range p.Nodes { // directories of the project that its root does not name
		if l.depth[i] < 0 && p.Nodes[i].Package < 0 && p.Nodes[i].Other < 0 {
			l.reach(i)
		}
	}
	for i := range p.Nodes {
		if l.depth[i] < 0 {
			for j := range p.Nodes[i].Edges {
				if to := l.to(i, j); to >= 0 && to != i {
					asked[to]++
				}
			}
		}
	}
	for _, always := range []bool{false, true} { // circles come last
		for i := range p.Nodes {
			if l.depth[i] < 0 && (asked[i] == 0 || always) {
				l.reach(i)
			}
		}
	}
	return l
}

// to is where an edge leads, -1 for nowhere.
func (l *layout) to(node, edge int) int {
	if to := l.p.Nodes[node].Edges[edge].To; to >= 0 && to < len(l.p.Nodes) {
		return to
	}
	return -1
}

// reach makes node a root and places whatever it leads to and has no place yet, nearest first.
func (l *layout) reach(node int) {
	l.roots = append(l.roots, node)
	l.parent[node], l.edge[node], l.depth[node] = -1, -1, 0
	next := len(l.order)
	l.order = append(l.order, node)
	for ; next < len(l.order); next++ {
		i := l.order[next]
		for j := range l.p.Nodes[i].Edges {
			if to := l.to(i, j); to >= 0 && l.depth[to] < 0 {
				l.parent[to], l.edge[to], l.depth[to] = i, j, l.depth[i]+1
				l.order = append(l.order, to)
			}
		}
	}
}

// entry is the package or other dependency at a node; nil for a directory of the project.
func (a *auditText) entry(n *Node) *entry {
	switch {
	case n.Package >= 0 && n.Package < len(a.packages):
		return a.packages[n.Package]
	case n.Other >= 0 && n.Other < len(a.others):
		return a.others[n.Other]
	}
	return nil
}

// project draws the tree of one project.
func (t *treeText) project(p *Project) {
	l := newLayout(p)
	if len(l.roots) == 0 {
		return
	}
	draw := make([]bool, len(p.Nodes)) // whether a node, or one that stands below it, is to be drawn
	for _, i := range slices.Backward(l.order) {
		e := t.entry(&p.Nodes[i])
		if e != nil {
			t.placed[e] = true
		}
		draw[i] = draw[i] || !t.o.Quiet || e != nil && e.open()
		if l.parent[i] >= 0 && draw[i] {
			draw[l.parent[i]] = true
		}
	}
	headed := false
	for _, root := range l.roots {
		if !draw[root] {
			continue
		}
		n := &p.Nodes[root]
		if e := t.entry(n); e != nil && root != 0 {
			if !headed {
				headed = true
				t.heading(bold, "ASKED FOR BY NOTHING", ": or only by what --omit or -w leaves out")
				t.blank()
			}
			t.draw(nil, t.label(n, e, nil, true))
		} else {
			t.blank()
			name := EscapeASCII(n.Name)
			if root == 0 {
				name = projectName(p)
			}
			head := []span{st(bold, name)}
			if root == 0 && p.File != "" {
				head = append(head, st(dim, " ("+Escape(p.File)+")"))
			}
			t.draw(nil, head)
		}
		t.branch(l, draw, root)
	}
}

// projectName is what a project calls itself; escaped.
func projectName(p *Project) string {
	name := p.Name
	if name == "" && len(p.Nodes) > 0 && p.Nodes[0].Name != "." {
		name = p.Nodes[0].Name
	}
	if name == "" {
		return "this project"
	}
	if p.Version != "" {
		name += "@" + p.Version
	}
	return EscapeASCII(name)
}

// open reports whether an entry is denied or could not be told.
func (e *entry) open() bool {
	return e.decision == policy.Decision(policy.Deny) || e.decision == policy.Decision(policy.Error)
}

// branch draws what a node asks for.
func (t *treeText) branch(l *layout, draw []bool, node int) {
	n := &l.p.Nodes[node]
	var shown []int
	var missing []string
	for j := range n.Edges {
		switch to := l.to(node, j); {
		case to < 0:
			if !t.o.Quiet {
				missing = append(missing, missingName(&n.Edges[j]))
			}
		case !t.o.Quiet || draw[to] && l.parent[to] == node && l.edge[to] == j:
			shown = append(shown, j)
		}
	}
	for k, j := range shown {
		to := l.to(node, j)
		t.last = append(t.last, k == len(shown)-1 && len(missing) == 0)
		first := l.parent[to] == node && l.edge[to] == j
		child := &l.p.Nodes[to]
		t.draw(t.last, t.label(child, t.entry(child), &n.Edges[j], first))
		if first {
			t.branch(l, draw, to)
		}
		t.last = t.last[:len(t.last)-1]
	}
	if len(missing) == 0 {
		return
	}
	text := "not in this tree: "
	if len(missing) > maxMissing && !t.o.Verbose {
		text += strings.Join(missing[:maxMissing], ", ") + " and " + count(len(missing)-maxMissing) + " more (-v lists all)"
	} else {
		text += strings.Join(missing, ", ")
	}
	t.draw(append(t.last, true), []span{st(dim, text)})
}

// missingName names what is asked for and not there: "fsevents@^2.3.2 (optional)".
func missingName(e *Edge) string {
	text := EscapeASCII(e.Name)
	if e.Spec != "" {
		text += "@" + EscapeASCII(e.Spec)
	}
	return text + " (" + edgeKind(e.Kind) + ")"
}

// edgeKind is the kind of an edge in words.
func edgeKind(kind string) string {
	switch kind {
	case "prod":
		return "needed"
	case "dev":
		return "for development"
	case "peerOptional":
		return "optional peer"
	}
	return Escape(kind)
}

// label is what a line of the tree says of a node; first is false where the node has its place elsewhere.
func (t *treeText) label(n *Node, e *entry, by *Edge, first bool) []span {
	var out []span
	if e == nil {
		out = append(out, st(bold, EscapeASCII(n.Name)))
	} else {
		status := t.status(e)
		if !first && len(status) > 2 {
			status = status[:len(status)-1] // the reason stands there
		}
		out = append(append(out, st(bold, nodeSpec(n, e)), span{" ", plain}), status...)
		if first && e.publisher != nil {
			out = append(out, span{", built from " + shortSource(e.publisher), plain})
		}
		if first && e.odd != "" {
			out = append(out, span{", ", plain}, st(caution, oddWords[e.odd]))
		}
	}
	if by != nil && by.Kind != "prod" && by.Kind != "workspace" {
		out = append(out, st(dim, " ("+edgeKind(by.Kind)+")"))
	}
	if !first {
		out = append(out, st(dim, ", deduped"))
	}
	return out
}

// nodeSpec names what is at a node, and the name it is installed under where that is another; escaped.
func nodeSpec(n *Node, e *entry) string {
	if n.Name != "" && n.Name != e.name && n.Name != "." && e.verdict != "" {
		return EscapeASCII(n.Name) + "@npm:" + e.spec
	}
	return e.spec
}

// shortSource names who built a package as shortly as it can be told apart.
func shortSource(p *publisher.Publisher) string {
	repository := cmp.Or(strings.TrimPrefix(p.Repository, "https://"), "a repository that the certificate does not name")
	text := EscapeASCII(repository)
	if p.Commit != "" {
		text += "@" + EscapeASCII(p.Commit[:min(len(p.Commit), 12)])
	}
	return text + " by " + EscapeASCII(cmp.Or(p.Workflow, "a workflow that the certificate does not name"))
}

// verdictMarks are the marks of the verdicts, the same as in the bars of the summary.
var verdictMarks = map[verify.Verdict]struct {
	text  string
	style style
}{
	verify.Provenance: {"# provenance", known},
	verify.Signed:     {"= signed", plain},
	verify.Unsigned:   {"- unsigned", plain},
	verify.Invalid:    {"! INVALID", denied},
	verify.Unchecked:  {"? unchecked", unknown},
}

// fromWords says where a dependency of no registry comes from.
func fromWords(e *entry) string {
	if strings.ContainsAny(e.from, ":/.") {
		return "from " + e.from
	}
	return e.from // "workspace"
}

// status is the verdict of an entry and, where it is not simply let through, the decision and, last, its reason.
func (a *auditText) status(e *entry) []span {
	var out []span
	if m, ok := verdictMarks[e.verdict]; ok {
		out = append(out, st(m.style, m.text))
	} else {
		out = append(out, st(dim, "~ "+fromWords(e)))
	}
	var style style
	var word string
	switch e.decision {
	case policy.Decision(policy.Deny):
		style, word = denied, "DENIED"
	case policy.Decision(policy.Error):
		style, word = unknown, "no answer yet"
	case policy.Decision(policy.Warn):
		style, word = caution, "warn"
	default:
		return out
	}
	reason := "by the policy"
	for i := range e.issues {
		x := &e.issues[i]
		if x.level == policy.Level(e.decision) && (x.what != "signed" || word != "warn" || a.o.FailOnWarn) || e.verdict == verify.Invalid && x.word == "FAIL" {
			reason = x.label()
			break
		}
	}
	if word == "warn" && reason == "by the policy" {
		return out // a mere signature
	}
	return append(out, span{", ", plain}, st(style, word), span{": " + reason, plain})
}

// draw writes one line of the tree; last says of each level whether its branch ends there.
func (t *treeText) draw(last []bool, text []span) {
	if t.left == 0 {
		t.cut++
		return
	}
	t.left--
	lead, hang := "", ""
	if hidden := len(last) - t.levels; hidden > 0 {
		lead = "(" + strconv.Itoa(hidden) + ") " // levels that are not drawn
		hang = strings.Repeat(" ", len(lead))
		last = last[hidden:]
	}
	for i, end := range last {
		stem, knee := "│", "├"
		if end {
			stem, knee = " ", "└"
		}
		if i < len(last)-1 {
			lead += pad(stem, t.step)
		} else {
			lead += knee + strings.Repeat("─", t.step-2) + " "
		}
		hang += pad(stem, t.step)
	}
	hang += "  "
	t.hang = hang
	t.paragraph(t.width, 0, []span{st(dim, lead)}, textColumns(hang), text)
	t.hang = ""
}

// unplaced lists what no tree holds.
func (t *treeText) unplaced() {
	headed := false
	for _, e := range slices.Concat(t.packages, t.others) {
		if t.placed[e] || t.o.Quiet && !e.open() {
			continue
		}
		if !headed {
			headed = true
			if len(t.r.Projects) > 0 {
				t.heading(bold, "IN NO TREE", ": nothing says who asks for it")
			}
			t.blank()
		}
		text := append([]span{st(bold, e.spec), {" ", plain}}, t.status(e)...)
		if e.publisher != nil {
			text = append(text, span{", built from " + shortSource(e.publisher), plain})
		}
		if e.odd != "" {
			text = append(text, span{", ", plain}, st(caution, oddWords[e.odd]))
		}
		t.draw(nil, text)
	}
}

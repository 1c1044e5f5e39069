package report

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/google/go-cmp/cmp"

	"assay/internal/policy"
	"assay/internal/verify"
)

// grown is [mixed] with who asks for what: a workspace, a circle, an alias, what is missing, what nobody asks for
// and what no tree holds.
func grown() *Report {
	r := mixed()
	p := Project{Name: "app", Version: "1.0.0", Kind: "package-lock", File: "package-lock.json"}
	at := map[string]int{}
	node := func(name, path string, pkg, other int) int {
		p.Nodes = append(p.Nodes, Node{Name: name, Path: path, Package: pkg, Other: other})
		at[name] = len(p.Nodes) - 1
		return at[name]
	}
	node("app", "", -1, -1)
	for i := range r.Packages {
		if name := r.Packages[i].Name; name != "plain-19" {
			node(name, "node_modules/"+name, i, -1)
		}
	}
	for i := range r.Others {
		node(r.Others[i].Name, r.Others[i].Locations[0], -1, i)
	}
	spare := node("spare", "node_modules/spare", at["sigstore"]-1, -1) // an alias of sigstore
	p.Nodes[spare].Package = p.Nodes[at["sigstore"]].Package
	ask := func(from, name, spec, kind string) {
		to, ok := at[name]
		if !ok {
			to = -1
		}
		p.Nodes[at[from]].Edges = append(p.Nodes[at[from]].Edges, Edge{Name: name, Spec: spec, Kind: kind, To: to})
	}
	ask("app", "@scope/builder", "^2.0.0-rc", "dev")
	ask("app", "app-utils", "", "workspace")
	ask("app", "downloaded", "https://example.com/downloads/x.tgz", "prod")
	ask("app", "left-pad", "^1.3.0", "prod")
	ask("app", "sigstore", "^2.0.0", "prod")
	ask("app-utils", "ci-tool", "^4.0.0", "prod")
	ask("app-utils", "forked", "github:someone/forked", "prod")
	ask("app-utils", "left-pad", "1.x", "prod")
	ask("sigstore", "@sigstore/bundle", "^1.1.0", "prod")
	ask("sigstore", "spare", "npm:sigstore@2.0.0", "optional")
	ask("@sigstore/bundle", "fsevents", "^2.3.2", "optional")
	ask("@sigstore/bundle", "gone", "^1.1.0", "prod")
	ask("@sigstore/bundle", "peer-less", "*", "peerOptional")
	ask("gone", "gone-too", "^1.1.0", "prod")
	ask("gone-too", "gone", "^1.1.0", "peer")
	ask("gone-too", "left-pad", "^1.0.0", "prod")
	ask("ci-tool", "newer", "9", "prod")
	ask("ci-tool", "old", "0.0.9", "prod")
	ask("left-pad", "slow-0", "", "prod")
	for i := range 4 {
		ask("@scope/builder", fmt.Sprintf("plain-%02d", i), "^1.0.0", "prod")
		ask(fmt.Sprintf("plain-%02d", i), fmt.Sprintf("plain-%02d", i+4), "^1.0.0", "prod")
	}
	for i := range p.Nodes {
		slices.SortStableFunc(p.Nodes[i].Edges, func(a, b Edge) int { return strings.Compare(a.Name, b.Name) })
	}
	r.Projects = []Project{p}
	return r
}

// tangled is a graph of n packages of which each asks for all the others.
func tangled(n int) *Report {
	r := New()
	p := Project{Name: "tangled", Nodes: []Node{{Name: "tangled", Package: -1, Other: -1}}}
	for i := range n {
		r.Packages = append(r.Packages, pkg(fmt.Sprintf("knot-%d@1.0.0", i), verify.Signed, policy.Warn))
		p.Nodes = append(p.Nodes, Node{Name: fmt.Sprintf("knot-%d", i), Package: i, Other: -1})
	}
	for i := range p.Nodes {
		for j := 1; j <= n; j++ {
			if i == 0 && j > 1 {
				break
			}
			p.Nodes[i].Edges = append(p.Nodes[i].Edges, Edge{Name: fmt.Sprintf("knot-%d", j-1), Spec: "*", Kind: "prod", To: j})
		}
	}
	r.Projects = []Project{p}
	r.Sum()
	return r
}

// chain is a graph of n packages of which each asks for the next.
func chain(n int) *Report {
	r := New()
	p := Project{Name: "chain", Nodes: []Node{{Name: "chain", Package: -1, Other: -1}}}
	for i := range n {
		r.Packages = append(r.Packages, Package{Name: fmt.Sprintf("link-%d", i), Version: "1.0.0", Registry: npmRegistry, Verdict: verify.Signed, Decision: policy.Decision(policy.Warn)})
		p.Nodes = append(p.Nodes, Node{Name: fmt.Sprintf("link-%d", i), Package: i, Other: -1})
		p.Nodes[i].Edges = []Edge{{Name: fmt.Sprintf("link-%d", i), Kind: "prod", To: i + 1}}
	}
	r.Projects = []Project{p}
	r.Sum()
	return r
}

// looked compares what was written with a file that somebody looked at and found good, as [TestGolden] does.
func looked(t *testing.T, file string, got []byte) {
	t.Helper()
	path := filepath.Join("testdata", "graph", file)
	if *update {
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, got, 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatalf("%v; run the test with -update", err)
	}
	if diff := cmp.Diff(string(want), string(got)); diff != "" {
		t.Errorf("%s (-golden +got):\n%s", file, diff)
	}
}

func TestTreeGolden(t *testing.T) {
	for name, o := range map[string]TextOptions{
		"tree.80": {Width: 80}, "tree.40": {Width: 40}, "tree.0": {}, "tree.color": {Width: 80, Color: true}, "tree.quiet": {Width: 80, Quiet: true},
	} {
		t.Run(name, func(t *testing.T) {
			o.Subject = subject
			var b bytes.Buffer
			if err := WriteTree(&b, grown(), o); err != nil {
				t.Fatal(err)
			}
			looked(t, name+".txt", b.Bytes())
		})
	}
}

func TestWhyGolden(t *testing.T) {
	for _, name := range []string{"left-pad", "forked", "spare", "plain-19", "@sigstore/bundle@1.1.0", "gone"} {
		for _, width := range []int{40, 100} {
			file := fmt.Sprintf("why-%s.%d.txt", strings.NewReplacer("@", "", "/", "-").Replace(name), width)
			t.Run(file, func(t *testing.T) {
				var b bytes.Buffer
				if err := WriteWhy(&b, grown(), name, TextOptions{Width: width}); err != nil {
					t.Fatal(err)
				}
				looked(t, file, b.Bytes())
			})
		}
	}
}

// TestTreeHoldsEverything: every package and other of a report stands in its tree, with its verdict.
func TestTreeHoldsEverything(t *testing.T) {
	all := reports()
	all["grown"], all["tangled"] = grown(), tangled(60)
	for name, r := range all {
		var b bytes.Buffer
		if err := WriteTree(&b, r, TextOptions{Verbose: true}); err != nil {
			t.Fatal(err)
		}
		text := b.String()
		for i := range r.Packages {
			e := packageEntry(&r.Packages[i])
			if want := e.spec + " " + verdictMarks[e.verdict].text; !strings.Contains(text, want) {
				t.Errorf("%s: the tree lacks %q", name, want)
			}
		}
		for i := range r.Others {
			if want := otherEntry(&r.Others[i]).spec; !strings.Contains(text, want) {
				t.Errorf("%s: the tree lacks %q", name, want)
			}
		}
	}
}

// TestTreeExpandsOnce: what a place asks for is drawn once, and every further mention says so.
func TestTreeExpandsOnce(t *testing.T) {
	const n = 40
	var b bytes.Buffer
	if err := WriteTree(&b, tangled(n), TextOptions{Verbose: true}); err != nil {
		t.Fatal(err)
	}
	mentions, again := strings.Count(b.String(), "knot-"), strings.Count(b.String(), ", deduped")
	if want := n*n + 1; mentions != want || again != want-n {
		t.Errorf("%d lines, %d of them deduped; want %d and %d", mentions, again, want, want-n)
	}
}

func TestTreeBounds(t *testing.T) {
	var b bytes.Buffer
	if err := WriteTree(&b, tangled(100), TextOptions{Width: 80}); err != nil {
		t.Fatal(err)
	}
	if lines := strings.Count(b.String(), "\n"); lines > maxTreeLines+40 || !strings.Contains(b.String(), "and 5,002 more lines (-v draws all)") {
		t.Errorf("%d lines, and the cut is not told: …%s", lines, b.String()[b.Len()-600:])
	}
	b.Reset()
	const n = 20000
	if err := WriteTree(&b, chain(n), TextOptions{Width: 80, Verbose: true}); err != nil {
		t.Fatal(err)
	}
	if b.Len() > n*200 || !strings.Contains(b.String(), "(19,9") && !strings.Contains(b.String(), "(19980) ") {
		t.Errorf("%d bytes for a chain of %d, or its depth is not told", b.Len(), n)
	}
	for i, line := range strings.Split(b.String(), "\n") {
		if textColumns(line) > 80 {
			t.Fatalf("line %d is %d columns wide", i+1, textColumns(line))
		}
	}
}

// TestTreeSurvivesDamage: a graph that leads nowhere is drawn as far as it goes.
func TestTreeSurvivesDamage(t *testing.T) {
	r := grown()
	n := r.Projects[0].Nodes
	n[1].Edges = append(n[1].Edges, Edge{Name: "off", To: 1 << 30}, Edge{Name: "below", To: -7}, Edge{Name: "self", To: 1})
	n[2].Package, n[3].Package, n[3].Other = 1<<30, -1, 1<<30
	r.Projects = append(r.Projects, Project{}, Project{Nodes: []Node{{Package: -1, Other: -1}}})
	for _, quiet := range []bool{false, true} {
		if err := WriteTree(io.Discard, r, TextOptions{Quiet: quiet}); err != nil {
			t.Fatal(err)
		}
	}
	for i := range r.Packages {
		if err := WriteWhy(io.Discard, r, r.Packages[i].Name, TextOptions{}); err != nil {
			t.Fatal(err)
		}
	}
}

// TestGraphTextIsHarmless: what a tree and an answer print cannot act on a terminal, and fits it.
func TestGraphTextIsHarmless(t *testing.T) {
	r := hostile()
	p := Project{Name: attack[0], Version: attack[1], File: attack[2], Nodes: []Node{{Name: attack[3], Package: -1, Other: -1}}}
	for i := range r.Packages {
		p.Nodes = append(p.Nodes, Node{Name: attack[i%len(attack)], Path: attack[i%len(attack)], Package: i, Other: -1})
		p.Nodes[i].Edges = append(p.Nodes[i].Edges, Edge{Name: attack[i%len(attack)], Spec: attack[(i+1)%len(attack)], Kind: attack[(i+2)%len(attack)], To: i + 1},
			Edge{Name: attack[i%len(attack)], Spec: attack[(i+1)%len(attack)], Kind: "peer", To: -1})
	}
	for i := range r.Others {
		p.Nodes = append(p.Nodes, Node{Name: attack[i], Package: -1, Other: i})
	}
	r.Projects = []Project{p}
	for _, width := range []int{0, 40, 100} {
		texts := map[string]func(io.Writer, TextOptions) error{"tree": func(w io.Writer, o TextOptions) error { return WriteTree(w, r, o) }}
		for _, i := range []int{0, 1, 2, len(r.Packages) - 1} {
			texts[fmt.Sprint("why ", i)] = func(w io.Writer, o TextOptions) error { return WriteWhy(w, r, r.Packages[i].Name, o) }
		}
		for name, write := range texts {
			var colour, bare bytes.Buffer
			for b, color := range map[*bytes.Buffer]bool{&colour: true, &bare: false} {
				if err := write(b, TextOptions{Width: width, Color: color}); err != nil {
					t.Fatalf("%s: %v", name, err)
				}
			}
			if got := uncolour(colour.String()); got != bare.String() {
				t.Errorf("%s at %d: colours change the words", name, width)
			}
			for i, line := range strings.Split(bare.String(), "\n") {
				if !utf8.ValidString(line) || strings.ContainsFunc(line, func(r rune) bool { return hidden(r, false) }) {
					t.Fatalf("%s at %d, line %d: %q", name, width, i+1, line)
				}
				if width > 0 && textColumns(line) > width && !strings.Contains(line, "$ ") {
					t.Fatalf("%s at %d: line %d is %d columns wide: %q", name, width, i+1, textColumns(line), line)
				}
			}
		}
	}
}

// uncolour takes the colours out of text.
func uncolour(s string) string {
	var b strings.Builder
	for {
		i := strings.Index(s, "\x1b[")
		if i < 0 {
			return b.String() + s
		}
		b.WriteString(s[:i])
		s = s[i:]
		s = s[strings.IndexByte(s, 'm')+1:]
	}
}

// TestWaysAreShortestFirst compares with every simple way that a search without cleverness finds.
func TestWaysAreShortestFirst(t *testing.T) {
	for _, r := range []*Report{grown(), tangled(6), chain(9)} {
		l := newLayout(&r.Projects[0])
		for target := 1; target < len(l.p.Nodes); target++ {
			found, _ := l.ways([]int{target}, 1<<20)
			var got, want []int
			for _, w := range found {
				got = append(got, len(w.hops))
			}
			if !slices.IsSorted(got) {
				t.Fatalf("ways to node %d have lengths %v", target, got)
			}
			var walk func(node int, seen []int)
			walk = func(node int, seen []int) {
				if node == target {
					if len(seen) > 0 {
						want = append(want, len(seen))
					}
					return
				}
				for j := range l.p.Nodes[node].Edges {
					to := l.to(node, j)
					if to >= 0 && to != node && !slices.Contains(seen, to) && l.parent[to] >= 0 {
						walk(to, append(slices.Clone(seen), node))
					}
				}
			}
			for _, root := range l.roots {
				walk(root, nil)
			}
			slices.Sort(want)
			if diff := cmp.Diff(want, got); diff != "" {
				t.Fatalf("lengths of the ways to node %d (-want +got):\n%s", target, diff)
			}
		}
	}
}

func TestWaysAreBounded(t *testing.T) {
	var b bytes.Buffer
	if err := WriteWhy(&b, tangled(300), "knot-299", TextOptions{}); err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(b.String(), "and more (-v shows up to 100)") || strings.Count(b.String(), " > ") < maxPaths {
		t.Errorf("the cut is not told:\n%s", b.String())
	}
	if err := WriteWhy(io.Discard, chain(20000), "link-19999", TextOptions{}); err != nil {
		t.Fatal(err)
	}
}

func TestWhyUnknown(t *testing.T) {
	r := grown()
	for _, tt := range []struct {
		name string
		near []string
	}{
		{"left-pda", []string{"left-pad"}},
		{"lef-pad", []string{"left-pad"}},
		{"bundle", []string{"@sigstore/bundle"}},
		{"Left-Pad", []string{"left-pad"}},
		{"left-pad@9.9.9", []string{"left-pad@1.3.0"}},
		{"gone-to", []string{"gone-too"}},
		{"nothing-like-it-at-all", nil},
		{"", nil},
		{"x", nil},
		{strings.Repeat("left-pad", 1000), nil},
		{"\x1b[2Jleft-pad", nil},
	} {
		var b bytes.Buffer
		err := WriteWhy(&b, r, tt.name, TextOptions{})
		var unknown *UnknownNameError
		if !errors.As(err, &unknown) || b.Len() > 0 {
			t.Errorf("%q: error %v, and %d bytes written", tt.name, err, b.Len())
			continue
		}
		if diff := cmp.Diff(tt.near, unknown.Near); diff != "" {
			t.Errorf("names near %q (-want +got):\n%s", tt.name, diff)
		}
		if strings.ContainsRune(err.Error(), '\x1b') {
			t.Errorf("%q is not escaped", err)
		}
	}
}

// The name of a project may be shorter than what its lines hang by.
func TestTreeShortName(t *testing.T) {
	for _, name := range []string{"a", "ab", "abc"} {
		r := grown()
		r.Projects[0].Name, r.Projects[0].Version = name, ""
		for _, width := range []int{0, 80} {
			var out bytes.Buffer
			if err := WriteTree(&out, r, TextOptions{Width: width}); err != nil {
				t.Fatal(err)
			}
			if want := "\n" + name + " (package-lock.json)\n"; !strings.Contains(out.String(), want) {
				t.Errorf("width %d: no %q in\n%s", width, want, &out)
			}
		}
	}
}

// A store holds a package under its own name only; who asks for it may call it otherwise.
func TestWhyAlias(t *testing.T) {
	r := New()
	r.Packages = []Package{pkg("real@1.0.0", verify.Signed, policy.Warn)}
	r.Projects = []Project{{Name: "app", Nodes: []Node{
		{Name: "app", Package: -1, Other: -1, Edges: []Edge{{Name: "alias", Spec: "npm:real@1.0.0", Kind: "prod", To: 1}, {Name: "gone", Kind: "prod", To: -1}}},
		{Name: "real", Path: "real@1.0.0", Package: 0, Other: -1},
	}}}
	r.Sum()
	var out bytes.Buffer
	if err := WriteWhy(&out, r, "alias", TextOptions{}); err != nil {
		t.Fatal(err)
	}
	if want := "app > real@1.0.0 (asked for as npm:real@1.0.0)"; !strings.Contains(out.String(), want) {
		t.Errorf("no %q in\n%s", want, &out)
	}
	var unknown *UnknownNameError
	if err := WriteWhy(io.Discard, r, "gone", TextOptions{}); !errors.As(err, &unknown) {
		t.Errorf("what is asked for and not there: %v", err)
	}
}

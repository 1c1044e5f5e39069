package inventory

import (
	"bufio"
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"sort"
	"strings"
	"testing"
)

// An arboristNode is what testdata/arborist/tree.js prints of one place.
type arboristNode struct {
	Link, Dev, Optional, DevOptional, Peer, Extraneous, Bundled, Workspace bool
	Name, Version                                                          string
	Edges                                                                  map[string]struct {
		Kind string
		To   *string
	}
}

// arboristTrees runs npm's own library on directories with lockfiles, or skips the test.
func arboristTrees(t *testing.T, dirs []string) map[string]map[string]arboristNode {
	node, err := exec.LookPath("node")
	if err != nil {
		t.Skip("node is absent: npm's own answers cannot be asked")
	}
	out, err := exec.Command("npm", "root", "-g").Output()
	if err != nil {
		t.Skip("npm is absent: its own answers cannot be asked")
	}
	arborist := filepath.Join(strings.TrimSpace(string(out)), "npm", "node_modules", "@npmcli", "arborist")
	if _, err := os.Stat(filepath.Join(arborist, "lib", "calc-dep-flags.js")); err != nil {
		t.Skip("npm is installed without its library arborist")
	}
	cmd := exec.Command(node, filepath.Join("testdata", "arborist", "tree.js"), arborist)
	cmd.Stdin = strings.NewReader(strings.Join(dirs, "\n") + "\n")
	cmd.Env = append(os.Environ(), "npm_config_offline=true")
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err = cmd.Output()
	if err != nil {
		t.Fatalf("arborist: %v\n%s", err, stderr.Bytes())
	}
	trees := make(map[string]map[string]arboristNode)
	sc := bufio.NewScanner(bytes.NewReader(out))
	sc.Buffer(nil, 64<<20)
	for sc.Scan() {
		var tree struct {
			Dir   string
			Nodes map[string]arboristNode
		}
		if err := json.Unmarshal(sc.Bytes(), &tree); err != nil {
			t.Fatal(err)
		}
		trees[tree.Dir] = tree.Nodes
	}
	return trees
}

// compareArborist compares every place that both know: what lies there, why, and where its edges lead.
func compareArborist(t *testing.T, p *Project, want map[string]arboristNode) {
	t.Helper()
	got := make(map[string]int)
	for i, n := range p.Nodes {
		got[n.Path] = i
	}
	var paths []string
	for where, w := range want {
		if !w.Link {
			paths = append(paths, where)
		}
	}
	sort.Strings(paths)
	if len(paths) != len(p.Nodes) {
		t.Errorf("%d nodes, npm has %d", len(p.Nodes), len(paths))
	}
	bad := 0
	for _, where := range paths {
		w := want[where]
		i, ok := got[where]
		if !ok {
			t.Errorf("%s: npm has it, we have not", where)
			continue
		}
		n := p.Nodes[i]
		var g arboristNode
		switch {
		case n.Package >= 0 && len(p.Packages[n.Package].Nodes) == 1:
			q := p.Packages[n.Package]
			g = arboristNode{Name: q.Name, Version: q.Version, Dev: q.Dev, Optional: q.Optional, DevOptional: q.DevOptional, Peer: q.Peer, Extraneous: q.Extraneous}
		case n.Other >= 0 && len(p.Others[n.Other].Nodes) == 1:
			q := p.Others[n.Other]
			g = arboristNode{Name: q.Name, Version: q.Version, Dev: q.Dev, Optional: q.Optional, DevOptional: q.DevOptional, Peer: q.Peer, Extraneous: q.Extraneous,
				Bundled: q.Source == SourceBundled, Workspace: q.Source == SourceWorkspace}
		default: // the root, or several places: flags are joined
			g = w
		}
		if w.Extraneous {
			w.Dev, w.Optional, w.DevOptional, w.Peer = false, false, false, false
		}
		gotLine, wantLine := fmt.Sprint(g.Name, g.Version, g.Dev, g.Optional, g.DevOptional, g.Peer, g.Extraneous, g.Bundled, g.Workspace),
			fmt.Sprint(w.Name, w.Version, w.Dev, w.Optional, w.DevOptional, w.Peer, w.Extraneous, w.Bundled, w.Workspace)
		gotEdges, wantEdges := make(map[string]string), make(map[string]string)
		for _, e := range n.Edges {
			gotEdges[e.Name] = e.Kind.String() + " nowhere"
			if e.To >= 0 {
				gotEdges[e.Name] = e.Kind.String() + " " + p.Nodes[e.To].Path
			}
		}
		for name, e := range w.Edges {
			wantEdges[name] = e.Kind + " nowhere"
			if e.To != nil {
				wantEdges[name] = e.Kind + " " + *e.To
			}
		}
		gotLine, wantLine = gotLine+fmt.Sprint(gotEdges), wantLine+fmt.Sprint(wantEdges)
		if gotLine != wantLine {
			if bad++; bad <= 5 {
				t.Errorf("%s\n got %s\nwant %s", where, gotLine, wantLine)
			}
		}
	}
	if bad > 5 {
		t.Errorf("and %d more", bad-5)
	}
}

// projectDir writes a project around a lockfile, with the package.json files that its entries imply.
func projectDir(t *testing.T, name string, data []byte) string {
	t.Helper()
	dir := t.TempDir()
	write := func(file string, data []byte) {
		t.Helper()
		file = filepath.Join(dir, filepath.FromSlash(file))
		if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(file, data, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	write(name, data)
	var lock struct {
		Name, Version string
		Packages      map[string]map[string]any
		Dependencies  map[string]struct {
			Dev, Optional bool
			Version       string
		}
	}
	if err := json.Unmarshal(data, &lock); err != nil {
		t.Fatal(err)
	}
	manifest := func(where string, m map[string]any) {
		b, err := json.Marshal(m)
		if err != nil {
			t.Fatal(err)
		}
		write(where+"package.json", b)
	}
	for where, m := range lock.Packages {
		if where == "" {
			manifest("", m)
		} else if !strings.Contains(where, "node_modules/") && !strings.HasPrefix(where, "..") {
			if m["name"] == nil {
				m["name"] = filepath.Base(where)
			}
			manifest(where+"/", m)
		}
	}
	if lock.Packages == nil {
		deps, dev := map[string]string{}, map[string]string{}
		for name, d := range lock.Dependencies {
			if d.Dev {
				dev[name] = d.Version
			} else {
				deps[name] = d.Version
			}
		}
		manifest("", map[string]any{"name": lock.Name, "version": lock.Version, "dependencies": deps, "devDependencies": dev})
	}
	return dir
}

func TestCorpusAgainstArborist(t *testing.T) {
	corpus, cases := corpusLockfiles(t)
	var dirs []string
	for _, c := range cases {
		data, err := os.ReadFile(filepath.Join(corpus, c.File))
		if err != nil {
			t.Fatal(err)
		}
		dirs = append(dirs, projectDir(t, filepath.Base(c.File), data))
	}
	trees := arboristTrees(t, dirs)
	for i, c := range cases {
		t.Run(c.ID, func(t *testing.T) {
			p, err := Open(dirs[i], Options{})
			if err != nil {
				t.Fatal(err)
			}
			compareArborist(t, p, trees[dirs[i]])
		})
	}
}

package inventory

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"testing/fstest"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"
)

// A lockEntry is an entry of a generated lockfile.
type lockEntry struct {
	where  string
	fields map[string]any
}

// drawLock generates the entries of a lockfile: few names in many places, so that edges have a choice.
func drawLock(t *rapid.T) []lockEntry {
	name := rapid.SampledFrom([]string{"a", "b", "c", "d", "@s/a", "@s/b"})
	deps := rapid.MapOfN(name, rapid.SampledFrom([]string{"^1.0.0", "*", "", "npm:b@1", "github:o/r", "https://h.example/x.tgz", "file:x"}), 0, 4)
	entries := []lockEntry{{"", map[string]any{"name": "app"}}}
	places := []string{""}
	for range rapid.IntRange(0, 12).Draw(t, "entries") {
		var e lockEntry
		switch rapid.IntRange(0, 9).Draw(t, "kind") {
		case 0:
			e = lockEntry{"packages/" + rapid.SampledFrom([]string{"p", "q"}).Draw(t, "dir"), map[string]any{"version": "0.0.1"}}
		case 1:
			e = lockEntry{"node_modules/" + name.Draw(t, "link"), map[string]any{"link": true, "resolved": rapid.SampledFrom(places).Draw(t, "target")}}
		default:
			e = lockEntry{joinPath(rapid.SampledFrom(places).Draw(t, "above"), "node_modules/"+name.Draw(t, "name")), map[string]any{
				"version": rapid.SampledFrom([]string{"1.0.0", "1.0.1", "2.0.0-rc.1+x"}).Draw(t, "version")}}
			if s := rapid.SampledFrom([]string{"", "", "https://registry.npmjs.org/x.tgz", "git+ssh://git@github.com/o/r.git#1", "https://h.example/x.tgz", "file:x.tgz"}).Draw(t, "resolved"); s != "" {
				e.fields["resolved"] = s
			}
			if s := rapid.SampledFrom([]string{"", "sha512-a", "sha512-b"}).Draw(t, "integrity"); s != "" {
				e.fields["integrity"] = s
			}
			if rapid.IntRange(0, 4).Draw(t, "alias") == 0 {
				e.fields["name"] = name.Draw(t, "real")
			}
			if rapid.IntRange(0, 4).Draw(t, "bundled") == 0 {
				e.fields["inBundle"] = true
			}
		}
		if strings.Count(e.where, "node_modules") > 4 || slices.ContainsFunc(entries, func(o lockEntry) bool { return o.where == e.where }) {
			continue
		}
		entries = append(entries, e)
		if e.fields["link"] == nil {
			places = append(places, e.where)
		}
	}
	for _, e := range entries {
		if e.fields["link"] != nil {
			continue
		}
		for _, field := range []string{"dependencies", "optionalDependencies", "peerDependencies", "devDependencies"} {
			if rapid.Bool().Draw(t, field) {
				e.fields[field] = deps.Draw(t, field)
			}
		}
		if rapid.IntRange(0, 3).Draw(t, "bundles") == 0 {
			e.fields["bundleDependencies"] = rapid.SliceOfN(name, 0, 3).Draw(t, "bundle")
		}
	}
	if rapid.Bool().Draw(t, "workspaces") {
		entries[0].fields["workspaces"] = []string{"packages/*"}
	}
	return entries
}

// writeLock writes entries in the given order.
func writeLock(entries []lockEntry, newline string) string {
	var b strings.Builder
	b.WriteString("{\n\"packages\": {")
	for i, e := range entries {
		if i > 0 {
			b.WriteString(",")
		}
		fields, err := json.MarshalIndent(e.fields, "", " ")
		if err != nil {
			panic(err)
		}
		fmt.Fprintf(&b, "\n%q: %s", e.where, fields)
	}
	b.WriteString("},\n\"lockfileVersion\": 3\n}\n")
	return strings.ReplaceAll(b.String(), "\n", newline)
}

// withoutLines is a project's summary without line numbers.
func withoutLines(p *Project) string {
	q := *p
	q.Packages, q.Others, q.Warnings = slices.Clone(p.Packages), slices.Clone(p.Others), slices.Clone(p.Warnings)
	clear := func(ls []Location) []Location {
		ls = slices.Clone(ls)
		for i := range ls {
			ls[i].Line = 0
		}
		return ls
	}
	for i := range q.Packages {
		q.Packages[i].Locations = clear(q.Packages[i].Locations)
	}
	for i := range q.Others {
		q.Others[i].Locations = clear(q.Others[i].Locations)
	}
	for i := range q.Warnings {
		q.Warnings[i].Line = 0
	}
	lines := strings.Split(summary(&q), "\n")
	slices.Sort(lines)
	return strings.Join(lines, "\n")
}

func openText(text string) (*Project, error) {
	return OpenFS(fstest.MapFS{"package-lock.json": {Data: []byte(text)}}, ".", Options{})
}

// The order of entries and the kind of line endings do not change what a lockfile says.
func TestOrderDoesNotMatter(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		entries := drawLock(t)
		a, errA := openText(writeLock(entries, "\n"))
		b, errB := openText(writeLock(rapid.Permutation(entries).Draw(t, "order"), "\r\n"))
		if (errA == nil) != (errB == nil) {
			t.Fatalf("errors differ: %v, %v", errA, errB)
		}
		if errA != nil {
			return
		}
		if diff := cmp.Diff(withoutLines(a), withoutLines(b)); diff != "" {
			t.Fatalf("(-first +reordered):\n%s", diff)
		}
		if len(a.Files) == 0 || a.Files[0] != "package-lock.json" {
			t.Fatalf("files %q", a.Files)
		}
	})
}

// checkComplete makes sure that every entry is somewhere, and that indices agree with each other.
func checkComplete(t interface{ Fatalf(string, ...any) }, p *Project, places []string) {
	listed := make(map[string]int)
	for i, q := range p.Packages {
		if len(q.Locations) == 0 || len(q.Locations) != len(q.Nodes) {
			t.Fatalf("%s@%s has %d locations, %d nodes", q.Name, q.Version, len(q.Locations), len(q.Nodes))
		}
		for k, n := range q.Nodes {
			if p.Nodes[n].Package != i || p.Nodes[n].Path != q.Locations[k].Path || p.Nodes[n].Other != -1 {
				t.Fatalf("node %d of %s@%s is %+v", n, q.Name, q.Version, p.Nodes[n])
			}
		}
		for _, l := range q.Locations {
			listed[l.Path]++
		}
	}
	for i, o := range p.Others {
		for _, n := range o.Nodes {
			if p.Nodes[n].Other != i || p.Nodes[n].Package != -1 {
				t.Fatalf("node %d of other %s is %+v", n, o.Name, p.Nodes[n])
			}
		}
		for _, l := range o.Locations {
			listed[l.Path]++
		}
	}
	for _, where := range places {
		if where != "" && listed[where] != 1 {
			t.Fatalf("%q is listed %d times", where, listed[where])
		}
	}
	for i, n := range p.Nodes {
		for _, e := range n.Edges {
			if e.To < Omitted || e.To >= len(p.Nodes) {
				t.Fatalf("node %d has an edge to %d", i, e.To)
			}
		}
		if n.Via >= 0 && p.depth[i] != p.depth[n.Via]+1 {
			t.Fatalf("node %d has depth %d, the one before it %d", i, p.depth[i], p.depth[n.Via])
		}
	}
}

// hasOddity reports whether a row of the place that a warning concerns tells of it.
func hasOddity(p *Project, w Warning) bool {
	tells := func(oddity string, locations []Location) bool {
		return (strings.Contains(oddity, w.Message) || len(oddity) >= maxOddity) && (w.Path == "" || slices.ContainsFunc(locations, func(l Location) bool { return l.Path == w.Path }))
	}
	return slices.ContainsFunc(p.Packages, func(q Package) bool { return tells(q.Oddity, q.Locations) }) ||
		slices.ContainsFunc(p.Others, func(o Other) bool { return tells(o.Oddity, o.Locations) })
}

// checkOddities makes sure that nothing suspicious is told in a warning only. It holds where no Options leave out rows.
func checkOddities(t interface{ Fatalf(string, ...any) }, p *Project) {
	for _, w := range p.Warnings {
		if w.Suspicious && !hasOddity(p, w) {
			t.Fatalf("no row tells of %+v", w)
		}
	}
}

// Nothing is dropped, and every edge leads where Node.js would look, done here the slow way.
func TestNothingIsDropped(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		entries := drawLock(t)
		p, err := openText(writeLock(entries, "\n"))
		if err != nil {
			t.Skipf("refused: %v", err)
		}
		links := make(map[string]string)
		var places []string
		for _, e := range entries {
			if e.fields["link"] != nil {
				links[e.where] = e.fields["resolved"].(string)
			}
		}
		isDir := func(where string) bool { return !strings.Contains(where, nodeModules) }
		for _, e := range entries {
			if target, ok := links[e.where]; ok && !isDir(target) || ok && target == "" {
				continue // stands for its target
			}
			places = append(places, e.where)
		}
		checkComplete(t, p, places)
		checkOddities(t, p)

		node := make(map[string]Node)
		for _, n := range p.Nodes {
			node[n.Path] = n
		}
		has := make(map[string]bool)
		for _, e := range entries {
			has[e.where] = true
		}
		for _, n := range p.Nodes {
			for _, e := range n.Edges {
				if e.Kind == Workspace {
					continue
				}
				want := ""
				found := false
				for dir := n.Path; ; dir = parentDir(dir) {
					if where := joinPath(dir, "node_modules/"+e.Name); filepath.Base(dir) != nodeModules && has[where] {
						want, found = where, true
						if target, ok := links[where]; ok {
							want = target
						}
						break
					}
					if dir == "" {
						break
					}
				}
				switch {
				case !found && e.To != Missing:
					t.Fatalf("%s from %q leads to %q, want nothing", e.Name, n.Path, p.Nodes[e.To].Path)
				case found && (e.To < 0 || p.Nodes[e.To].Path != want):
					t.Fatalf("%s from %q leads to %d, want %q", e.Name, n.Path, e.To, want)
				}
			}
		}
	})
}

func parentDir(dir string) string {
	if i := strings.LastIndexByte(dir, '/'); i >= 0 {
		return dir[:i]
	}
	return ""
}

// Whatever is in an entry's resolved, something asked for by version stays a registry package.
func TestAskedForByVersion(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		spec := rapid.SampledFrom([]string{"^1.0.0", "1.0.0", "*", "", "latest", ">=1 <2 || 3.x", "npm:real@^1"}).Draw(t, "spec")
		resolved := rapid.OneOf(rapid.String(), rapid.SampledFrom([]string{"git+ssh://git@evil.example/x", "https://evil.example/x.tgz", "file:x", "../x", "github:e/x", "link:x"})).Draw(t, "resolved")
		flag := rapid.SampledFrom([]string{"dev", "optional", "peer", "inBundle", "extraneous"}).Draw(t, "flag")
		entry, err := json.Marshal(map[string]any{"version": "1.0.0", "resolved": resolved, "integrity": "sha512-x", flag: true, "name": "real"})
		if err != nil {
			t.Fatal(err)
		}
		spec2, err := json.Marshal(spec)
		if err != nil {
			t.Fatal(err)
		}
		text := fmt.Sprintf(`{"lockfileVersion": 3, "packages": {"": {"dependencies": {"left": %s}}, "node_modules/left": %s}}`, spec2, entry)
		p, err := OpenFS(fstest.MapFS{"package-lock.json": {Data: []byte(text)}}, ".", Options{Omit: []string{"dev", "optional", "peer"}})
		if err != nil {
			t.Skipf("refused: %v", err)
		}
		if len(p.Packages) != 1 || p.Packages[0].Name != "real" || p.Packages[0].Resolved != resolved || len(p.Others) != 0 {
			t.Fatalf("packages %+v, others %+v", p.Packages, p.Others)
		}
	})
}

// FuzzPackageLock: no text makes it panic, and what is accepted is complete.
func FuzzPackageLock(f *testing.F) {
	seeds, err := filepath.Glob("testdata/package-lock/*")
	if err != nil {
		f.Fatal(err)
	}
	for _, s := range seeds {
		data, err := os.ReadFile(s)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(data, []byte(`{"dependencies":{"left":"1"},"overrides":{"left":{".":"github:a/b"}},"workspaces":["packages/*"]}`))
	}
	f.Fuzz(func(t *testing.T, lock, manifest []byte) {
		fsys := fstest.MapFS{"package-lock.json": {Data: lock}}
		if len(manifest) > 0 {
			fsys["package.json"] = &fstest.MapFile{Data: manifest}
		}
		for _, opts := range []Options{{}, {Omit: []string{"dev", "optional"}}} {
			p, err := OpenFS(fsys, ".", opts)
			if err != nil {
				if err.Error() == "" || strings.ContainsAny(err.Error(), "\x1b\x00\n") {
					t.Fatalf("error is not printable: %q", err)
				}
				continue
			}
			checkComplete(t, p, nil)
			if opts.Omit == nil {
				checkOddities(t, p)
			}
			summary(p)
		}
	})
}

// FuzzSpec: a specifier with any sign of a place in it is never a registry's.
func FuzzSpec(f *testing.F) {
	for _, s := range []string{"", "^1.0.0", "latest", "npm:@a/b@1", "github:a/b", "a/b", "git@h:x", "./x", "C:\\x", "https://github.com/a/b/archive/x.tgz", "file:../x.tgz"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		kind, alias := parseSpec(s)
		if kind == 0 || kind&(kind-1) != 0 {
			t.Fatalf("kind %b", kind)
		}
		if kind == specRegistry && alias == "" && !strings.HasPrefix(strings.ToLower(strings.TrimSpace(s)), "npm:") && strings.Contains(s, "/") {
			t.Fatalf("%q is taken for a version", s)
		}
		fromTarball("left", s)
	})
}

// FuzzWorkspaces: patterns end in time and never match what is installed.
func FuzzWorkspaces(f *testing.F) {
	f.Add("packages/*", "packages/a")
	f.Add("{a,{b,c}}/**/x", "b/y/z/x")
	f.Add("!**/[", "a")
	f.Fuzz(func(t *testing.T, pattern, dir string) {
		if len(pattern)+len(dir) > 1000 {
			return
		}
		newWorkspaceSet([]string{pattern, "!" + pattern}).match(dir)
	})
}

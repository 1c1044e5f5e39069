package inventory

import (
	"errors"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"testing/fstest"

	"github.com/google/go-cmp/cmp"
)

// files makes a file system of texts.
func files(texts map[string]string) fstest.MapFS {
	fsys := make(fstest.MapFS)
	for name, text := range texts {
		fsys[name] = &fstest.MapFile{Data: []byte(text)}
	}
	return fsys
}

const gitLeft = `{"lockfileVersion": 3, "packages": {
"": {"name": "app", "dependencies": {"a": "1"}},
"node_modules/a": {"version": "1.0.0", "dependencies": {"left": "^1.0.0"}},
"node_modules/left": {"version": "1.0.0", "resolved": "git+ssh://git@github.com/acme/left.git#01"}}}`

const twoHats = `{"lockfileVersion": 3, "packages": {
"": {"name": "app", "dependencies": {"prod": "1"}, "devDependencies": {"dev": "1"}, "optionalDependencies": {"opt": "1"}, "peerDependencies": {"peer": "1"}},
"node_modules/prod": {"version": "1.0.0", "dependencies": {"shared": "1"}},
"node_modules/dev": {"version": "1.0.0", "dependencies": {"shared": "1", "devopt": "1"}},
"node_modules/opt": {"version": "1.0.0", "dependencies": {"devopt": "1", "deep": "2"}},
"node_modules/peer": {"version": "1.0.0"},
"node_modules/extra": {"version": "1.0.0"},
"node_modules/deep": {"version": "1.0.0"},
"node_modules/opt/node_modules/deep": {"version": "2.0.0", "optional": true},
"node_modules/devopt": {"version": "1.0.0"},
"node_modules/shared": {"version": "1.0.0", "dependencies": {"deep": "1"}}}}`

const monorepo = `{"lockfileVersion": 3, "packages": {
"": {"name": "app", "workspaces": ["packages/**"], "dependencies": {"rooted": "1"}},
"packages/a": {"name": "@acme/a", "version": "1.0.0", "dependencies": {"x": "1", "@acme/b": "1"}},
"packages/sub/b": {"name": "@acme/b", "version": "1.0.0", "dependencies": {"y": "1"}, "devDependencies": {"z": "1"}},
"packages/c": {"name": "c", "version": "1.0.0", "dependencies": {"w": "1"}},
"node_modules/@acme/a": {"resolved": "packages/a", "link": true},
"node_modules/@acme/b": {"resolved": "packages/sub/b", "link": true},
"node_modules/c": {"resolved": "packages/c", "link": true},
"node_modules/rooted": {"version": "1.0.0"},
"node_modules/w": {"version": "1.0.0"},
"node_modules/x": {"version": "1.0.0"},
"node_modules/y": {"version": "1.0.0"},
"node_modules/z": {"version": "1.0.0"}}}`

func TestProject(t *testing.T) {
	tests := []struct {
		name  string
		files map[string]string
		open  string // "" is "."
		opts  Options
		want  []string // packages and others as "source:name@version", with what marks them
		warn  []string // codes of warnings
		err   string
	}{
		{
			name:  "a git dependency by override",
			files: map[string]string{"package-lock.json": gitLeft, "package.json": `{"name": "app", "dependencies": {"a": "1"}, "overrides": {"a": {"left": "github:acme/left"}}}`},
			want:  []string{"a@1.0.0 direct", "git:left@1.0.0"},
		},
		{
			name:  "a git dependency that nobody asked for",
			files: map[string]string{"package-lock.json": gitLeft, "package.json": `{"name": "app", "dependencies": {"a": "1"}, "overrides": {"right": "github:acme/left"}}`},
			want:  []string{"a@1.0.0 direct", "left@1.0.0"},
		},
		{
			name: "an alias by override and by reference",
			files: map[string]string{
				"package-lock.json": `{"lockfileVersion": 3, "packages": {"": {"dependencies": {"a": "1"}}, "node_modules/a": {"version": "1.0.0", "dependencies": {"left": "1", "right": "1"}},
					"node_modules/left": {"name": "@acme/left", "version": "1.0.0"}, "node_modules/right": {"name": "other", "version": "1.0.0"}}}`,
				"package.json": `{"dependencies": {"a": "1", "right": "npm:other@1"}, "overrides": {"left@1": {".": "npm:@acme/left@1"}, "a": {"right": "$right"}}}`,
			},
			want: []string{"@acme/left@1.0.0", "a@1.0.0 direct", "other@1.0.0 direct"},
			warn: []string{"out-of-sync"},
		},
		{
			name: "package.json counts, not the lockfile's copy of it",
			files: map[string]string{
				"package-lock.json": `{"lockfileVersion": 3, "packages": {"": {"dependencies": {"left": "https://evil.example/x.tgz"}, "devDependencies": {"right": "1"}},
					"node_modules/left": {"version": "1.0.0", "resolved": "https://evil.example/x.tgz"}, "node_modules/right": {"version": "1.0.0", "dev": true}}}`,
				"package.json": `{"name": "app", "dependencies": {"left": "^1.0.0", "right": "1"}}`,
			},
			opts: Options{Omit: []string{"dev"}},
			want: []string{"left@1.0.0 direct", "right@1.0.0 direct"},
			warn: []string{"out-of-sync", "out-of-sync"},
		},
		{
			name: "version 1 with the root's package.json",
			files: map[string]string{
				"package-lock.json": `{"lockfileVersion": 1, "dependencies": {"left": {"version": "https://evil.example/left-1.0.0.tgz", "dev": true}, "tar": {"version": "https://files.example/tar-2.0.0.tgz"},
					"tool": {"version": "1.0.0", "dev": true, "requires": {"left": "1"}}}}`,
				"package.json": `{"dependencies": {"left": "^1.0.0", "tar": "https://files.example/tar-2.0.0.tgz"}, "devDependencies": {"tool": "1"}}`,
			},
			opts: Options{Omit: []string{"dev"}},
			want: []string{"left@1.0.0 odd direct", "url:tar@2.0.0 direct"},
			warn: []string{"version-missing"},
		},
		{
			name:  "in dependencies and devDependencies",
			files: map[string]string{"package-lock.json": `{"lockfileVersion": 3, "packages": {"": {"dependencies": {"left": "1"}, "devDependencies": {"left": "1"}}, "node_modules/left": {"version": "1.0.0", "dev": true}}}`},
			want:  []string{"left@1.0.0 direct"},
		},
		{
			name: "everything", files: map[string]string{"package-lock.json": twoHats},
			want: []string{"deep@1.0.0", "deep@2.0.0 optional", "dev@1.0.0 direct dev", "devopt@1.0.0 devOptional", "extra@1.0.0 extraneous", "opt@1.0.0 direct optional", "peer@1.0.0 direct peer", "prod@1.0.0 direct", "shared@1.0.0"},
		},
		{
			name: "omit dev", files: map[string]string{"package-lock.json": twoHats}, opts: Options{Omit: []string{"dev"}},
			want: []string{"deep@1.0.0", "deep@2.0.0 optional", "devopt@1.0.0 devOptional", "extra@1.0.0 extraneous", "opt@1.0.0 direct optional", "peer@1.0.0 direct peer", "prod@1.0.0 direct", "shared@1.0.0"},
		},
		{
			name: "omit optional", files: map[string]string{"package-lock.json": twoHats}, opts: Options{Omit: []string{"optional"}},
			want: []string{"deep@1.0.0", "dev@1.0.0 direct dev", "devopt@1.0.0 devOptional", "extra@1.0.0 extraneous", "peer@1.0.0 direct peer", "prod@1.0.0 direct", "shared@1.0.0"},
		},
		{
			name: "omit dev and optional and peer", files: map[string]string{"package-lock.json": twoHats}, opts: Options{Omit: []string{"peer", "dev", "optional"}},
			want: []string{"deep@1.0.0", "extra@1.0.0 extraneous", "prod@1.0.0 direct", "shared@1.0.0"},
		},
		{name: "omit what is no type", files: map[string]string{"package-lock.json": twoHats}, opts: Options{Omit: []string{"prod"}}, err: `omit "prod"`},
		{
			name: "workspaces", files: map[string]string{"package-lock.json": monorepo},
			want: []string{"rooted@1.0.0 direct", "w@1.0.0 direct", "workspace:@acme/a@1.0.0", "workspace:@acme/b@1.0.0 direct", "workspace:c@1.0.0", "x@1.0.0 direct", "y@1.0.0 direct", "z@1.0.0 direct dev"},
		},
		{
			name: "one workspace by name", files: map[string]string{"package-lock.json": monorepo}, opts: Options{Workspaces: []string{"c"}},
			want: []string{"w@1.0.0 direct", "workspace:c@1.0.0"},
		},
		{
			name: "one workspace and what it uses of another", files: map[string]string{"package-lock.json": monorepo}, opts: Options{Workspaces: []string{"./packages/a"}, Omit: []string{"dev"}},
			want: []string{"workspace:@acme/a@1.0.0", "workspace:@acme/b@1.0.0 direct", "x@1.0.0 direct", "y@1.0.0 direct"},
		},
		{
			name: "workspaces by folder, and the root", files: map[string]string{"package-lock.json": monorepo}, opts: Options{Workspaces: []string{"packages/sub"}, IncludeWorkspaceRoot: true},
			want: []string{"rooted@1.0.0 direct", "workspace:@acme/b@1.0.0", "y@1.0.0 direct", "z@1.0.0 direct dev"},
		},
		{name: "no such workspace", files: map[string]string{"package-lock.json": monorepo}, opts: Options{Workspaces: []string{"d"}}, err: `no workspace "d"`},
		{
			name: "a workspace's own package.json counts",
			files: map[string]string{"package-lock.json": monorepo,
				"packages/c/package.json": `{"name": "c", "version": "1.1.0", "devDependencies": {"w": "1"}}`},
			opts: Options{Workspaces: []string{"c"}},
			want: []string{"w@1.0.0 direct dev", "workspace:c@1.1.0"},
		},
		{
			name: "shrinkwrap before package-lock before yarn",
			files: map[string]string{
				"npm-shrinkwrap.json": `{"lockfileVersion": 3, "packages": {"": {"dependencies": {"left": "1"}}, "node_modules/left": {"version": "1.0.0"}}}`,
				"package-lock.json":   gitLeft, "yarn.lock": "# yarn lockfile v1\n"},
			want: []string{"left@1.0.0 direct"}, warn: []string{"lockfile-ignored", "lockfile-ignored"},
		},
		{name: "yarn only", files: map[string]string{"package.json": "{}", "yarn.lock": "# yarn lockfile v1\n", "node_modules/left/package.json": "{}"}},
		{name: "pnpm only", files: map[string]string{"pnpm-lock.yaml": "lockfileVersion: '9.0'\n"}},
		{name: "bun only", files: map[string]string{"bun.lockb": "\x00"}, err: "not supported yet: bun.lockb (bun)"},
		{name: "yarn by name", files: map[string]string{"yarn.lock": "a@1:\n  version \"1.0.0\"\n  resolved x#1\n"}, open: "yarn.lock", want: []string{"a@1.0.0 odd direct"}, warn: []string{"source-unasked"}},
		{name: "an SBOM by its contents", files: map[string]string{"my.json": `{"bomFormat": "CycloneDX", "specVersion": "1.9"}`}, open: "my.json", err: `my.json:1: CycloneDX "1.9" is not supported`},
		{name: "nothing", files: map[string]string{"package.json": "{}"}, err: "has no lockfile and no node_modules"},
		{name: "another file", files: map[string]string{"package.json": "{}"}, open: "package.json", err: "not a lockfile or SBOM"},
		{name: "a lockfile of another name", files: map[string]string{"base.json": gitLeft}, open: "base.json", want: []string{"a@1.0.0 direct", "left@1.0.0"}},
		{name: "a package.json that is broken", files: map[string]string{"package-lock.json": gitLeft, "package.json": `{"name": `}, err: "package.json:1: ends too early"},
		{
			name: "something asked for and not there", files: map[string]string{"package-lock.json": `{"lockfileVersion": 3, "packages": {"": {"dependencies": {"left": "1"}, "optionalDependencies": {"right": "1"}}}}`},
			want: []string{"unknown:left@ missing direct"},
		},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			open := tt.open
			if open == "" {
				open = "."
			}
			p, err := OpenFS(files(tt.files), open, tt.opts)
			checkError(t, err, tt.err)
			if err != nil {
				return
			}
			var got, warn []string
			for _, line := range strings.Split(summary(p), "\n") {
				if line == "" || strings.HasPrefix(line, "warning ") || strings.HasPrefix(line, "doubtful ") || strings.HasPrefix(line, "suspicious ") {
					continue
				}
				line, _, _ = strings.Cut(line, " at ")
				var keep []string
				for _, word := range strings.Fields(strings.ReplaceAll(line, ": ", ":")) {
					if !strings.Contains(word, "=") && word != "no-integrity" {
						keep = append(keep, word)
					}
				}
				got = append(got, strings.Join(keep, " "))
			}
			for _, w := range p.Warnings {
				warn = append(warn, w.Code)
			}
			slices.Sort(got)
			if diff := cmp.Diff(tt.want, got); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
			if diff := cmp.Diff(tt.warn, warn); diff != "" {
				t.Errorf("warnings (-want +got):\n%s", diff)
			}
		})
	}
}

func TestErrorTypes(t *testing.T) {
	_, err := OpenFS(files(map[string]string{"bun.lockb": ""}), ".", Options{})
	if ue, ok := errors.AsType[*UnsupportedError](err); !ok || ue.File != "bun.lockb" || ue.Format != "bun" {
		t.Errorf("bun.lockb: %#v", err)
	}
	_, err = OpenFS(files(nil), ".", Options{})
	if _, ok := errors.AsType[*NotFoundError](err); !ok {
		t.Errorf("empty directory: %#v", err)
	}
	_, err = Open("testdata/package-lock/duplicate-entry.v3.json", Options{})
	if fe, ok := errors.AsType[*FormatError](err); !ok || fe.Line != 5 || fe.File != "testdata/package-lock/duplicate-entry.v3.json" {
		t.Errorf("duplicate: %#v", err)
	}
	if _, err = Open("testdata/nowhere", Options{}); err == nil {
		t.Error("a missing path was opened")
	}
}

// Edges that Options cut off say so: a tree must not show them as unmet.
func TestOmittedEdges(t *testing.T) {
	p, err := OpenFS(files(map[string]string{"package-lock.json": twoHats}), ".", Options{Omit: []string{"dev"}})
	if err != nil {
		t.Fatal(err)
	}
	to := make(map[string]int)
	for _, e := range p.Nodes[0].Edges {
		to[e.Name] = e.To
	}
	if to["dev"] != Omitted || to["prod"] < 0 || p.Nodes[to["prod"]].Path != "node_modules/prod" {
		t.Errorf("edges of the root: %v", to)
	}
}

// A long path is cut in the middle, and asking for all of them stays cheap.
func TestLongPath(t *testing.T) {
	var b strings.Builder
	b.WriteString(`{"lockfileVersion": 3, "packages": {"": {"name": "app", "dependencies": {"p0": "1"}}`)
	const n = 5000
	for i := range n {
		b.WriteString(`, "node_modules/p` + strconv.Itoa(i) + `": {"version": "1.0.0", "dependencies": {"p` + strconv.Itoa(i+1) + `": "1"}}`)
	}
	b.WriteString("}}")
	p, err := OpenFS(files(map[string]string{"package-lock.json": b.String()}), ".", Options{})
	if err != nil {
		t.Fatal(err)
	}
	for i, q := range p.Packages {
		path := p.Path(i)
		if len(path) > maxPath || path[0] != "app" || path[len(path)-1] != q.Name {
			t.Fatalf("path of %s: %v", q.Name, path)
		}
	}
}

func TestPaths(t *testing.T) {
	p, err := Open("testdata/package-lock/kinds.v3.json", Options{})
	if err != nil {
		t.Fatal(err)
	}
	names := func(i, max int) (all []string) {
		for _, path := range p.Paths(i, max) {
			var s []string
			for _, n := range path {
				s = append(s, p.Nodes[n].Name)
			}
			all = append(all, strings.Join(s, ">"))
		}
		return all
	}
	i := slices.IndexFunc(p.Packages, func(q Package) bool { return q.Name == "shared" })
	if diff := cmp.Diff([]string{"app>dev>shared", "app>opt>shared"}, names(i, 10)); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	if got := names(i, 1); len(got) != 1 {
		t.Errorf("limit 1 gives %q", got)
	}
	// A cycle does not go on for ever.
	p, err = Open("testdata/package-lock/cycle.v3.json", Options{})
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]string{"app>a>b>c"}, names(2, 10)); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

// A format without places sets the edges itself.
func TestLinkedTree(t *testing.T) {
	entry := func(key, name, version string) node {
		n, err := newKeyNode(key, name, 7)
		if err != nil {
			t.Fatal(err)
		}
		n.version = version
		return n
	}
	tr := &tree{kind: "test", file: "test.lock", linked: true, rootKnown: true, nodes: []node{
		{realName: "app", link: notLink, edges: []Edge{{Name: "a", Spec: "^1.0.0", To: 1}, {Name: "old", Spec: "npm:b@1", To: 2, Kind: Dev}}},
		entry("a@^1.0.0", "a", "1.0.0"), entry("old@npm:b@1", "b", "1.0.0"), entry("b@2", "b", "2.0.0"),
	}}
	tr.nodes[1].edges = []Edge{{Name: "b", Spec: "2", To: 3}}
	p, err := tr.project(Options{})
	if err != nil {
		t.Fatal(err)
	}
	want := `a@1.0.0 no-integrity resolved= direct at a@^1.0.0:7 via app>a
b@1.0.0 alias=old no-integrity resolved= direct dev at old@npm:b@1:7 via app>b
b@2.0.0 no-integrity resolved= at b@2:7 via app>a>b
`
	if diff := cmp.Diff(want, summary(p)); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

func TestSymlinkedNodeModules(t *testing.T) {
	dir := writeTree(t, map[string]string{
		"app/package.json":                     `{"name": "app", "dependencies": {"a": "1"}}`,
		"app/node_modules":                     "-> ../deps/node_modules",
		"deps/node_modules/a/package.json":     `{"name": "a", "version": "1.0.0"}`,
		"deps/node_modules/.package-lock.json": hidden,
	})
	if _, err := Open(filepath.Join(dir, "app"), Options{}); err == nil || !strings.Contains(err.Error(), "symlink out of the project") {
		t.Errorf("project: %v", err)
	}
	p, err := Open(filepath.Join(dir, "app", "node_modules"), Options{})
	if err != nil || len(p.Packages) != 2 {
		t.Errorf("its node_modules: %v", err)
	}
}

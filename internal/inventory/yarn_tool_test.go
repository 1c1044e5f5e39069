package inventory

import (
	"encoding/json"
	"maps"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// A yarnTool is one version of yarn itself.
type yarnTool struct {
	node, script string
	env          []string
}

// installYarn installs a version of yarn from the registry, or skips the test.
func installYarn(t *testing.T, spec, script string) *yarnTool {
	if testing.Short() {
		t.Skip("slow: asks yarn itself")
	}
	npm, err := exec.LookPath("npm")
	if err != nil {
		t.Skip("npm is absent: yarn cannot be installed")
	}
	node, err := exec.LookPath("node")
	if err != nil {
		t.Skip("node is absent: yarn cannot be run")
	}
	client := http.Client{Timeout: 20 * time.Second}
	resp, err := client.Head("https://registry.npmjs.org/left-pad")
	if err != nil {
		t.Skipf("the network is absent: %v", err)
	}
	resp.Body.Close()
	dir := t.TempDir()
	if out, err := exec.Command(npm, "install", "--prefix", dir, "--no-audit", "--no-fund", "--ignore-scripts", spec).CombinedOutput(); err != nil {
		t.Fatalf("npm install %s: %v\n%s", spec, err, out)
	}
	home := t.TempDir()
	return &yarnTool{node, filepath.Join(dir, "node_modules", script), append(os.Environ(), "HOME="+home, "YARN_ENABLE_TELEMETRY=0", "YARN_ENABLE_SCRIPTS=0", "YARN_ENABLE_IMMUTABLE_INSTALLS=0",
		"YARN_GLOBAL_FOLDER="+filepath.Join(home, "berry"), "YARN_CACHE_FOLDER="+filepath.Join(home, "cache"), "CI=", "FORCE_COLOR=0")}
}

// run runs yarn in a project and returns what it prints.
func (y *yarnTool) run(t *testing.T, dir string, args ...string) string {
	cmd := exec.Command(y.node, append([]string{y.script}, args...)...)
	cmd.Dir, cmd.Env = dir, y.env
	var stderr strings.Builder
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("yarn %s: %v\n%s%s", strings.Join(args, " "), err, stderr.String(), out)
	}
	return string(out)
}

// yarnProject writes a project that has something of everything that yarn of all versions understands.
func yarnProject(t *testing.T, resolutions string) string {
	dir := writeTree(t, map[string]string{
		"package.json": `{"name": "app", "version": "1.0.0", "private": true, "workspaces": ["packages/*"],
			"dependencies": {"left-pad": "^1.1.0", "old-semver": "npm:semver@^5.7.0", "isarray": "https://registry.npmjs.org/isarray/-/isarray-2.0.5.tgz", "loc": "file:./vend/loc", "lnk": "link:./vend/lnk"},
			"optionalDependencies": {"fsevents": "^2.3.2"},
			"devDependencies": {"@acme/a": "^1.0.0", "debug": "4.3.4", "resolve": "1.22.8", "wrap-ansi": "^7.0.0", "react-dom": "18.2.0", "react": "18.2.0"},
			"resolutions": ` + resolutions + `}`,
		"packages/a/package.json": `{"name": "@acme/a", "version": "1.0.0", "dependencies": {"@acme/b": "1.0.0", "once": "*"}, "peerDependencies": {"lodash": "*"}}`,
		"packages/b/package.json": `{"name": "@acme/b", "version": "1.0.0", "dependencies": {"left-pad": "1.3.0"}, "devDependencies": {"semver": "^5.7.1"}}`,
		"vend/loc/package.json":   `{"name": "loc", "version": "3.0.0", "dependencies": {"inherits": "2"}}`,
		"vend/lnk/package.json":   `{"name": "lnk", "version": "3.0.0"}`,
		"yarn.lock":               "",
	})
	return dir
}

// noOddities makes sure that nothing in a project of yarn's own making looks odd.
func noOddities(t *testing.T, p *Project) {
	t.Helper()
	for _, w := range p.Warnings {
		t.Errorf("warning in a project of yarn's own making: %+v", w)
	}
	for _, o := range p.Others {
		if o.Missing || o.Oddity != "" || o.Source == SourceUnknown || o.Extraneous {
			t.Errorf("%+v", o)
		}
	}
	for _, q := range p.Packages {
		if q.Extraneous || q.Unasked || q.Locations[0].Line == 0 {
			t.Errorf("%+v", q)
		}
	}
}

// yarn 1 lists the same packages, under the names that they are installed under.
func TestAgainstYarnList(t *testing.T) {
	yarn := installYarn(t, "yarn@1.22.22", "yarn/bin/yarn.js")
	dir := yarnProject(t, `{"debug/ms": "2.0.0", "**/emoji-regex": "9.2.2", "strip-ansi": "npm:ansi-regex@6.0.1", "wrap-ansi/ansi-styles": "4.2.1"}`)
	git := func(args ...string) {
		cmd := exec.Command("git", args...)
		cmd.Dir = filepath.Join(dir, "vend", "repo")
		cmd.Env = append(os.Environ(), "GIT_AUTHOR_NAME=a", "GIT_AUTHOR_EMAIL=a@example.com", "GIT_COMMITTER_NAME=a", "GIT_COMMITTER_EMAIL=a@example.com")
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Skipf("git %v: %v\n%s", args, err, out)
		}
	}
	if err := os.MkdirAll(filepath.Join(dir, "vend", "repo"), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "vend", "repo", "package.json"), []byte(`{"name": "repo", "version": "5.0.0", "dependencies": {"wrappy": "1"}}`), 0o644); err != nil {
		t.Fatal(err)
	}
	git("init", "-q")
	git("add", ".")
	git("commit", "-q", "-m", "x")
	manifest, err := os.ReadFile(filepath.Join(dir, "package.json"))
	if err != nil {
		t.Fatal(err)
	}
	manifest = []byte(strings.Replace(string(manifest), `"dependencies": {`, `"dependencies": {"repo": "git+file://`+filepath.Join(dir, "vend", "repo")+`", `, 1))
	if err := os.WriteFile(filepath.Join(dir, "package.json"), manifest, 0o644); err != nil {
		t.Fatal(err)
	}
	yarn.run(t, dir, "install", "--ignore-scripts", "--no-progress", "--non-interactive")

	for _, production := range []bool{false, true} {
		args, opts := []string{"list", "--json"}, Options{}
		if production {
			args, opts = append(args, "--production"), Options{Omit: []string{"dev"}}
		}
		p, err := Open(dir, opts)
		if err != nil {
			t.Fatal(err)
		}
		noOddities(t, p)
		got, own := make(map[string]bool), make(map[string]bool)
		for _, o := range p.Others {
			own[o.Name] = true
		}
		for i := range p.Nodes {
			for _, e := range p.Nodes[i].Edges {
				if e.To >= 0 && p.Nodes[e.To].Package >= 0 {
					got[e.Name+"@"+p.Packages[p.Nodes[e.To].Package].Version] = true
				}
			}
		}
		want := make(map[string]bool)
		type tree struct {
			Name     string
			Shadow   bool
			Children []tree
		}
		var collect func([]tree)
		collect = func(trees []tree) {
			for _, tr := range trees {
				if name, _ := splitSpec(tr.Name); !tr.Shadow && !own[name] {
					want[tr.Name] = true
				}
				collect(tr.Children)
			}
		}
		for line := range strings.Lines(yarn.run(t, dir, args...)) {
			var l struct {
				Type string
				Data json.RawMessage
			}
			var data struct{ Trees []tree }
			if json.Unmarshal([]byte(line), &l) == nil && l.Type == "tree" && json.Unmarshal(l.Data, &data) == nil {
				collect(data.Trees)
			}
		}
		if len(want) < 5 {
			t.Errorf("yarn lists only %v", want)
		}
		if diff := cmp.Diff(slices.Sorted(maps.Keys(want)), slices.Sorted(maps.Keys(got))); diff != "" {
			t.Errorf("production %v (-yarn +ours):\n%s", production, diff)
		}
	}
}

// Later versions of yarn list the same packages, and every edge that is found is one of theirs.
func TestAgainstYarnInfo(t *testing.T) {
	tests := []struct {
		version string
		files   map[string]string // beside those of yarnProject
		add     string            // to what the workspace a depends on
		any     string            // how it writes any version
	}{
		{version: "3.8.7", any: "*"},
		{version: "4.0.0", any: "npm:*"},
		{version: "4.18.1", any: "npm:*", add: `, "ms": "catalog:", "wrappy": "catalog:old"`, files: map[string]string{
			".yarnrc.yml": "catalog:\n  ms: ^2.1.2\ncatalogs:\n  old:\n    wrappy: npm:wrappy@1.0.1\npackageExtensions:\n  \"left-pad@*\":\n    dependencies:\n      has-flag: 4.0.0\n"}},
	}
	for _, tt := range tests {
		t.Run(tt.version, func(t *testing.T) {
			yarn := installYarn(t, "@yarnpkg/cli-dist@"+tt.version, "@yarnpkg/cli-dist/bin/yarn.js")
			dir := yarnProject(t, `{"debug/ms": "2.0.0", "emoji-regex": "9.2.2", "strip-ansi": "npm:ansi-regex@6.0.1", "wrap-ansi@npm:^7.0.0/ansi-styles": "4.2.1", "once@`+tt.any+`": "patch:once@npm%3A1.4.0#./once.patch"}`)
			write := func(name, text string) {
				if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o644); err != nil {
					t.Fatal(err)
				}
			}
			for name, text := range tt.files {
				write(name, text)
			}
			write("once.patch", "diff --git a/once.js b/once.js\nindex 0123..4567 100644\n--- a/once.js\n+++ b/once.js\n@@ -1,1 +1,2 @@\n+// changed\n var wrappy = require('wrappy')\n")
			data, err := os.ReadFile(filepath.Join(dir, "packages", "a", "package.json"))
			if err != nil {
				t.Fatal(err)
			}
			write("packages/a/package.json", strings.Replace(string(data), `"once": "*"`, `"once": "*"`+tt.add, 1))
			yarn.run(t, dir, "install")
			p, err := Open(dir, Options{})
			if err != nil {
				t.Fatal(err)
			}
			if len(p.Warnings) != 1 || p.Warnings[0].Code != "patched" || !strings.Contains(p.Warnings[0].Message, `"once@npm:1.4.0" is patched with "./once.patch"`) {
				t.Errorf("warnings %+v", p.Warnings)
			}
			p.Warnings = nil
			noOddities(t, p)

			// What a locator of yarn's stands for: a package of the registry, or something of the project.
			id := func(locator string) string {
				name, reference := splitSpec(locator)
				r := parseReference(reference)
				if r.protocol == "virtual:" {
					r = parseReference(r.selector)
				}
				if r.protocol == "patch:" {
					_, reference = splitSpec(strings.ReplaceAll(r.source, "%3A", ":"))
					r = parseReference(reference)
				}
				if r.protocol != "npm:" {
					return name
				}
				return name + "@" + r.source
			}
			want, edges := make(map[string]bool), make(map[string]bool)
			for line := range strings.Lines(yarn.run(t, dir, "info", "--all", "--recursive", "--json")) {
				var l struct {
					Value    string
					Children struct {
						Dependencies []struct{ Descriptor, Locator string }
					}
				}
				if err := json.Unmarshal([]byte(line), &l); err != nil {
					t.Fatal(err)
				}
				want[id(l.Value)] = true
				for _, d := range l.Children.Dependencies {
					edges[id(l.Value)+" > "+id(d.Locator)] = true
				}
			}
			got := make(map[string]bool)
			ours := func(i int) string {
				n := &p.Nodes[i]
				switch {
				case n.Package >= 0:
					q := &p.Packages[n.Package]
					return q.Name + "@" + q.Version
				case n.Other >= 0:
					return p.Others[n.Other].Name
				}
				return "app"
			}
			for i := range p.Nodes {
				got[ours(i)] = true
				for _, e := range p.Nodes[i].Edges {
					if e.Kind == Workspace {
						continue
					}
					if e.To < 0 {
						t.Errorf("%s asks for %s, which is not found", ours(i), e.Name)
					} else if edge := ours(i) + " > " + ours(e.To); !edges[edge] {
						t.Errorf("%s is no edge of yarn's", edge)
					}
				}
			}
			if diff := cmp.Diff(slices.Sorted(maps.Keys(want)), slices.Sorted(maps.Keys(got))); diff != "" {
				t.Errorf("(-yarn +ours):\n%s", diff)
			}
			if len(want) < 20 {
				t.Errorf("yarn lists only %v", want)
			}
		})
	}
}

package inventory

import (
	"errors"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"testing/fstest"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"
)

// bunLock is a bun.lock with what the root asks for, its further members and rows.
func bunLock(deps, members string, rows ...string) string {
	return `{
  "lockfileVersion": 1,
  "workspaces": {
    "": { "name": "app", "dependencies": {` + deps + `} },
  },` + members + `
  "packages": {
` + strings.Join(rows, ",\n") + `,
  }
}
`
}

const bunKinds = `{
  "lockfileVersion": 1, // of a monorepo
  "workspaces": {
    "": {
      "name": "app",
      "dependencies": { "left": "npm:left-pad@^1.0.0", "repo": "github:acme/repo", "tar": "https://example.com/tar-1.2.0.tgz", "local": "file:./local", "disk": "./disk.tgz", "linked": "link:linked", "app": "workspace:*", "cat": "catalog:" },
      "devDependencies": { "dev": "^1.0.0", "old": "catalog:old" },
      "optionalDependencies": { "opt": "1.0.0" },
      "peerDependencies": { "peer": "1", "gone": "1", "maybe": "1" },
      "optionalPeers": ["maybe"],
    },
    "packages/a": {
      "name": "@acme/a",
      "version": "1.0.0",
      "dependencies": { "b": "workspace:*", "dev": "^2.0.0" },
    },
    "packages/b": { "name": "b" },
  },
  "trustedDependencies": ["dev"],
  "patchedDependencies": { "left-pad@1.3.0": "patches/left.patch" },
  "catalog": { "cat": "^3.0.0" },
  "catalogs": { "old": { "old": "npm:older@1" } },
  "packages": {
    "@acme/a": ["@acme/a@workspace:packages/a"],
    "@acme/a/dev": ["dev@2.0.0", "", {}, "sha512-dev2"],
    "app": ["app@root:", {}],
    "b": ["b@workspace:packages/b"],
    "cat": ["cat@3.1.0", "https://npm.example.com/cat/-/cat-3.1.0.tgz", { "os": "linux" }, "sha512-cat"],
    "dev": ["dev@1.1.0", "", { "dependencies": { "in": "1" }, "peerDependencies": { "never": "1" } }, "sha512-dev1"],
    "dev/in": ["in@1.0.0", "", { "bundled": true, "dependencies": { "deep": "1" } }, "sha512-in"],
    "deep": ["deep@1.0.0", "", {}, "sha512-deep"],
    "disk": ["disk@./disk.tgz", {}, "sha512-disk"],
    "left": ["left-pad@1.3.0", "", { "hasInstallScript": true }, "sha512-left"],
    "linked": ["linked@link:linked", {}],
    "local": ["local@file:local", { "dependencies": { "dev": "1" } }],
    "old": ["older@1.0.0", "", {}, ""],
    "opt": ["opt@1.0.0", "", {}, "sha512-opt"],
    "peer": ["peer@1.0.0", "", {}, "sha512-peer"],
    "repo": ["repo@github:acme/repo#0123abc", {}, "acme-repo-0123abc", "sha512-repo"],
    "tar": ["tar@https://example.com/tar-1.2.0.tgz", {}],
  }
}`

const bunKindsWant = `cat@3.1.0 resolved=https://npm.example.com/cat/-/cat-3.1.0.tgz direct at node_modules/cat:28 via app>cat
deep@1.0.0 resolved= at node_modules/deep:31 via app>dev>in>deep
dev@1.1.0 resolved= scripts direct at node_modules/dev:29 via app>dev
dev@2.0.0 resolved= scripts direct at packages/a/node_modules/dev:25 via @acme/a>dev
left-pad@1.3.0 alias=left resolved= scripts direct at node_modules/left:33 via app>left
older@1.0.0 alias=old no-integrity resolved= direct dev at node_modules/old:36 via app>old
opt@1.0.0 resolved= direct optional at node_modules/opt:37 via app>opt
peer@1.0.0 resolved= direct peer at node_modules/peer:38 via app>peer
workspace: @acme/a@1.0.0 at node_modules/@acme/a:24 packages/a:12 via @acme/a
workspace: b@ direct at node_modules/b:27 packages/b:17 via b
file: disk@ spec=./disk.tgz resolved=./disk.tgz direct at node_modules/disk:32 via app>disk
bundled: in@1.0.0 spec=1 in=dev@1.1.0 at node_modules/dev/node_modules/in:30 via app>dev>in
link: linked@ spec=link:linked resolved=link:linked direct at node_modules/linked:34 via app>linked
file: local@ spec=file:./local resolved=file:local direct at node_modules/local:35 via app>local
git: repo@ spec=github:acme/repo resolved=github:acme/repo#0123abc direct at node_modules/repo:39 via app>repo
url: tar@1.2.0 spec=https://example.com/tar-1.2.0.tgz resolved=https://example.com/tar-1.2.0.tgz direct at node_modules/tar:40 via app>tar
warning patched at bun.lock:33: "left-pad@1.3.0" is changed by the patch "patches/left.patch" after it is fetched: what is installed is not what its publisher made
warning link-target-missing at bun.lock:34: "node_modules/linked" is a link to "link:linked", which is not listed
`

func openBun(texts map[string]string) (*Project, error) {
	return OpenFS(files(texts), ".", Options{})
}

func TestBunLock(t *testing.T) {
	p, err := openBun(map[string]string{"bun.lock": bunKinds})
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(bunKindsWant, summary(p)); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	if len(p.Packages) != 8 || len(p.Others) != 8 || p.Kind != "bun" || p.FormatVersion != 1 || p.Name != "app" {
		t.Errorf("%d packages, %d others, kind %q version %d of %q", len(p.Packages), len(p.Others), p.Kind, p.FormatVersion, p.Name)
	}
	checkComplete(t, p, nil)
}

// A lockfile that was edited, beside a package.json that was not.
func TestBunLockAttacks(t *testing.T) {
	npm := func(key, id string) string { return fmt.Sprintf(`%q: [%q, "", {}, "sha512-x"]`, key, id) }
	tests := []struct {
		name, lock, manifest string
		want                 string // a line of the summary
		odd                  string // part of a suspicious message, "" if there is none
	}{
		{name: "a repository in the place of a version", lock: bunLock(`"a": "^1.0.0"`, "", `"a": ["a@github:evil/a#0123abc", {}, "evil-a-0123abc"]`),
			want: "git: a@ spec=github:evil/a#0123abc", odd: "asked for by version"},
		{name: "a tarball in the place of a version", lock: bunLock(`"a": "^1.0.0"`, "", `"a": ["a@https://evil.example/a-1.0.0.tgz", {}]`),
			want: "a@1.0.0 no-integrity resolved=https://evil.example/a-1.0.0.tgz", odd: "has no version"},
		{name: "a directory in the place of a version", lock: bunLock(`"a": "^1.0.0"`, "", `"a": ["a@file:evil", {}]`),
			want: "file: a@ spec=file:evil", odd: "asked for by version"},
		{name: "another package", lock: bunLock(`"a": "^1.0.0"`, "", npm("a", "evil@1.0.0")), want: "evil@1.0.0 alias=a", odd: "does not name that package"},
		{name: "another host", lock: bunLock(`"a": "^1.0.0"`, "", `"a": ["a@1.0.0", "https://evil.example/a.tgz", {}, ""]`), want: "a@1.0.0 no-integrity resolved=https://evil.example/a.tgz"},
		{name: "a version in the place of a repository", lock: bunLock(`"a": "github:acme/a"`, "", npm("a", "a@1.0.0")), want: "a@1.0.0 resolved= odd direct", odd: "asked for as"},
		{name: "the manifest counts", lock: bunLock(`"a": "github:evil/a"`, "", `"a": ["a@github:evil/a#0123abc", {}, "evil-a-0123abc"]`),
			manifest: `{"name": "app", "dependencies": {"a": "^1.0.0"}}`, want: "git: a@", odd: "asked for by version"},
		{name: "its catalog counts", lock: bunLock(`"a": "catalog:"`, `"catalog": {"a": "github:evil/a"},`, `"a": ["a@github:evil/a#0123abc", {}, "evil-a-0123abc"]`),
			manifest: `{"name": "app", "workspaces": {"packages": [], "catalog": {"a": "^1.0.0"}}, "dependencies": {"a": "catalog:"}}`, want: "git: a@", odd: "asked for by version"},
		{name: "its overrides count", lock: bunLock(`"a": "^1.0.0"`, `"overrides": {"a": "github:evil/a"},`, `"a": ["a@github:evil/a#0123abc", {}, "evil-a-0123abc"]`),
			manifest: `{"name": "app", "dependencies": {"a": "^1.0.0"}}`, want: "git: a@", odd: "asked for by version"},
		{name: "bundled by nobody", lock: bunLock(`"a": "^1.0.0"`, "", npm("a", "a@1.0.0"), `"a/evil": ["evil@1.0.0", "https://evil.example/e.tgz", {"bundled": true}, ""]`),
			want: "evil@1.0.0 no-integrity resolved=https://evil.example/e.tgz", odd: "nothing above it bundles it"},
		{name: "bundled at the top", lock: bunLock(`"a": "^1.0.0"`, "", `"a": ["a@1.0.0", "https://evil.example/e.tgz", {"bundled": true}, ""]`),
			want: "a@1.0.0 no-integrity resolved=https://evil.example/e.tgz"},
		{name: "in a bundled package, and not marked", lock: bunLock(`"a": "^1.0.0"`, "", `"a": ["a@1.0.0", "", {"dependencies": {"b": "1"}}, ""]`, `"a/b": ["b@1.0.0", "", {"bundled": true, "dependencies": {"c": "1"}}, ""]`, `"a/b/c": ["c@1.0.0", "", {}, "sha512-c"]`),
			want: "c@1.0.0 resolved= at node_modules/a/node_modules/b/node_modules/c"},
		{name: "a link to what is asked for by version", lock: bunLock(`"a": "^1.0.0"`, "", `"a": ["a@link:evil", {}]`), want: "unknown: a@", odd: "is a link to"},
		{name: "a workspace in the place of a package", lock: `{"lockfileVersion": 1, "workspaces": {"": {"dependencies": {"a": "^1.0.0"}}, "w": {"name": "evil"}}, "packages": {"a": ["evil@workspace:w"]}}`,
			want: "workspace: evil@", odd: "is a link to"},

		{name: "honest: a catalog and an override of package.json", lock: bunLock(`"a": "catalog:x", "b": "1"`, "", `"a": ["a@github:acme/a#0123abc", {}, "acme-a-0123abc"]`, `"b": ["b@github:acme/b#0123abc", {}, "acme-b-0123abc"]`),
			manifest: `{"name": "app", "catalogs": {"x": {"a": "github:acme/a"}}, "overrides": {"b": "github:acme/b"}, "dependencies": {"a": "catalog:x", "b": "1"}}`, want: "git: b@ spec=github:acme/b"},
		{name: "honest: a resolution of package.json", lock: bunLock(`"b": "1"`, "", npm("b", "c@1.0.0")),
			manifest: `{"name": "app", "resolutions": {"b": "npm:c@1"}, "dependencies": {"b": "1"}}`, want: "c@1.0.0 alias=b"},
		{name: "honest: a tarball that is overridden by its name", lock: bunLock(`"t": "https://registry.npmjs.org/a/-/a-1.0.0.tgz"`, `"overrides": {"a": "2.0.0"},`, npm("t", "a@2.0.0")), want: "a@2.0.0 alias=t"},
		{name: "honest: a peer that nothing provides", lock: `{"lockfileVersion": 1, "workspaces": {"": {"name": "app", "peerDependencies": {"p": "1"}, "optionalPeers": ["p"]}}, "packages": {}}`,
			manifest: `{"name": "app", "peerDependencies": {"p": "1"}}`},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			texts := map[string]string{"bun.lock": tt.lock}
			if tt.manifest != "" {
				texts["package.json"] = tt.manifest
			}
			p, err := openBun(texts)
			if err != nil {
				t.Fatal(err)
			}
			got := summary(p)
			if !strings.Contains(got, tt.want) {
				t.Errorf("no %q in\n%s", tt.want, got)
			}
			odd := ""
			for _, w := range p.Warnings {
				if w.Suspicious {
					odd += w.Message + "\n"
				} else if w.Code == "out-of-sync" && strings.HasPrefix(tt.name, "honest") {
					t.Errorf("%+v", w)
				}
			}
			if (odd != "") != (tt.odd != "") || !strings.Contains(odd, tt.odd) {
				t.Errorf("suspicious is %q, want %q", odd, tt.odd)
			}
			checkComplete(t, p, nil)
			checkOddities(t, p)
		})
	}
}

func TestBunLockErrors(t *testing.T) {
	row := func(text string) string { return bunLock("", "", text) }
	tests := []struct{ name, lock, err string }{
		{"no version", `{"workspaces": {"": {}}}`, "bun.lock:1: has no lockfileVersion"},
		{"a later version", "{\n\"lockfileVersion\": 4}", "bun.lock:2: lockfileVersion \"4\" is not supported; supported are 0 to 3"},
		{"a version as text", `{"lockfileVersion": "1"}`, "must be a number, not a string"},
		{"no root", `{"lockfileVersion": 1, "workspaces": {}}`, `has no workspace ""`},
		{"a key twice", row(`"a": ["a@1.0.0", "", {}, ""], "a": ["a@2.0.0", "", {}, ""]`), `bun.lock:7: duplicate name "a"`},
		{"two places of one row", `{"lockfileVersion": 1, "workspaces": {"": {}, "p": {"name": "p"}}, "packages": {"p": ["p@workspace:p"], "q": ["p@workspace:p"],` + "\n" + `"p/a": ["a@1.0.0", "", {}, ""], "q/a": ["a@2.0.0", "", {}, ""]}}`, `bun.lock:2: location "p/node_modules/a" occurs twice`},
		{"up the tree", row(`"../a": ["a@1.0.0", "", {}, ""]`), `bun.lock:7`},
		{"an absolute key", row(`"/etc/a": ["a@1.0.0", "", {}, ""]`), `bun.lock:7: "/etc/a" is not a path of package names`},
		{"a workspace up the tree inside", `{"lockfileVersion": 1, "workspaces": {"": {}, "a/../../b": {"name": "b"}}}`, "is not in its plain form"},
		{"a workspace in node_modules", `{"lockfileVersion": 1, "workspaces": {"": {}, "node_modules/b": {"name": "b"}}}`, "lies in a node_modules"},
		{"two workspaces of one name", `{"lockfileVersion": 1, "workspaces": {"": {}, "a": {"name": "b"}, "b": {"name": "b"}}}`, `workspaces "a" and "b" have one name, "b"`},
		{"a workspace without a name", `{"lockfileVersion": 1, "workspaces": {"": {}, "a": {}}}`, `workspace "a" has no name`},
		{"a workspace that is not listed", row(`"b": ["b@workspace:b"]`), `bun.lock:7: package "b" is the workspace "b", which is not listed`},
		{"an unknown kind", row(`"b": ["b@latest", "", {}, ""]`), `bun.lock:7: package "b" is "b@latest", which is neither a version nor a place`},
		{"no integrity", row(`"b": ["b@1.0.0", "", {}]`), `bun.lock:7: package "b" has no integrity`},
		{"an integrity that is none", row(`"b": ["b@1.0.0", "", {}, 1]`), `must be a string, not a number`},
		{"too much", row(`"b": ["b@1.0.0", "", {}, "", ""]`), "has more elements than are known"},
		{"an empty row", row(`"b": []`), `package "b" is empty`},
		{"a row that is none", row(`"b": {}`), `package "b" must be an array, not an object`},
		{"a name that is none", row(`"b": ["B ad@1.0.0", "", {}, ""]`), `bun.lock:7`},
		{"ends early", `{"lockfileVersion": 1,`, "ends too early"},
		{"a comment without end", `{"lockfileVersion": 1, /* `, "not valid JSON"},
		{"a comma alone", `{"lockfileVersion": 1, "workspaces": {,}}`, "not valid JSON"},
		{"two commas", `{"lockfileVersion": 1,,}`, "not valid JSON"},
		{"conflicts", "{\n<<<<<<< HEAD\n\"lockfileVersion\": 1,\n=======\n>>>>>>> x\n}", "unresolved merge conflicts"},
		{"nested", `{"lockfileVersion": 1, "x": ` + strings.Repeat("[", 20_000) + `}`, "not valid JSON"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			_, err := openBun(map[string]string{"bun.lock": tt.lock})
			checkError(t, err, tt.err)
			if _, ok := errors.AsType[*FormatError](err); !ok {
				t.Errorf("%T", err)
			}
		})
	}
	_, err := openBun(map[string]string{"bun.lockb": "#!/usr/bin/env bun\nbun-lockfile-format-v0\n"})
	checkError(t, err, "bun install --save-text-lockfile --frozen-lockfile --lockfile-only writes it as bun.lock")
}

func TestRelaxJSON(t *testing.T) {
	tests := []struct{ in, want string }{
		{`{"a": 1,}`, `{"a": 1 }`},
		{"[1, 2 , // x\n]", "[1, 2       \n]"},
		{`{"a": "b,}", /* , */ }`, `{"a": "b,}"          }`},
		{`["//", "/*", "\"//", 1]`, `["//", "/*", "\"//", 1]`},
		{"{/* a\r\n b */\"a\":1}", "{    \r\n     \"a\":1}"},
		{`[,]`, `[,]`}, {`{,}`, `{,}`}, {`[1,,]`, `[1,,]`}, {`{"a":,}`, `{"a":,}`},
		{`["a`, `["a`}, {`["a\`, `["a\`}, {`/`, `/`}, {`/* x`, `/* x`}, {`[1]//`, `[1]  `},
		{`[[1,],]`, `[[1 ] ]`},
	}
	for _, tt := range tests {
		if got := string(relaxJSON([]byte(tt.in))); got != tt.want {
			t.Errorf("relaxJSON(%q) = %q, want %q", tt.in, got, tt.want)
		}
	}
}

// The order of what a bun.lock lists, and its line endings, do not change what it says.
func TestBunLockOrder(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		names := []string{"a", "b", "@s/c", "d"}
		rows := make(map[string]string)
		for range rapid.IntRange(0, 12).Draw(t, "rows") {
			key := rapid.SampledFrom(names).Draw(t, "name")
			for range rapid.IntRange(0, 2).Draw(t, "depth") {
				key = rapid.SampledFrom(append(names, "w")).Draw(t, "above") + "/" + key
			}
			deps := rapid.SampledFrom([]string{"{}", `{ "dependencies": { "b": "^1.0.0", "@s/c": "1" } }`, `{ "bundled": true }`, `{ "peerDependencies": { "d": "1" }, "optionalPeers": ["d"], }`}).Draw(t, "info")
			id := rapid.SampledFrom([]string{key[strings.LastIndexByte("/"+strings.ReplaceAll(key, "@s/", "@s~"), '/'):] + "@1.0.0", "x@2.0.0"}).Draw(t, "id")
			rows[key] = fmt.Sprintf(`%q: [%q, "", %s, "sha512-%s"]`, key, id, deps, rapid.SampledFrom([]string{"x", "y"}).Draw(t, "integrity"))
		}
		write := func(keys []string, newline string, packagesFirst bool) string {
			var list []string
			for _, key := range keys {
				list = append(list, rows[key])
			}
			parts := []string{`"workspaces": {"": {"dependencies": {"a": "1", "d": "npm:x@2"}}, "ws/w": {"name": "w", "dependencies": {"b": "2"}}}`, `"packages": {` + strings.Join(list, ",\n") + `}`}
			if packagesFirst {
				slices.Reverse(parts)
			}
			return strings.ReplaceAll("{\n"+strings.Join(parts, ",\n")+",\n\"lockfileVersion\": 2,\n}", "\n", newline)
		}
		keys := slices.Sorted(maps.Keys(rows))
		a, errA := openBun(map[string]string{"bun.lock": write(keys, "\n", false)})
		b, errB := openBun(map[string]string{"bun.lock": write(rapid.Permutation(keys).Draw(t, "order"), "\r\n", true)})
		if (errA == nil) != (errB == nil) {
			t.Fatalf("errors differ: %v, %v", errA, errB)
		}
		if errA != nil {
			t.Fatalf("%v", errA)
		}
		if diff := cmp.Diff(withoutLines(a), withoutLines(b)); diff != "" {
			t.Fatalf("(-first +reordered):\n%s", diff)
		}
		checkComplete(t, a, nil)
		checkOddities(t, a)
	})
}

// FuzzBunLock: no text makes it panic, and what is accepted is complete.
func FuzzBunLock(f *testing.F) {
	f.Add([]byte(bunKinds), []byte(`{"dependencies": {"left": "catalog:x"}, "catalogs": {"x": {"left": "1"}}, "resolutions": {"a/b": "1"}, "workspaces": ["packages/*"]}`))
	f.Add([]byte(bunLock(`"a": "1"`, `"overrides": {"a": {".": "2", "b@1": "3"}},`, `"a": ["a@1.0.0", "", {}, ""]`)), []byte(nil))
	f.Fuzz(func(t *testing.T, lock, manifest []byte) {
		fsys := fstest.MapFS{"bun.lock": {Data: lock}}
		if len(manifest) > 0 {
			fsys["package.json"] = &fstest.MapFile{Data: manifest}
		}
		fuzzed(t, func() (*Project, error) { return OpenFS(fsys, ".", Options{}) })
	})
}

// fuzzed makes sure of what holds for every input: an error is printable, a project complete.
func fuzzed(t *testing.T, open func() (*Project, error)) {
	p, err := open()
	if err != nil {
		if err.Error() == "" || strings.ContainsAny(err.Error(), "\x1b\x00\n") {
			t.Fatalf("error is not printable: %q", err)
		}
		return
	}
	checkComplete(t, p, nil)
	checkOddities(t, p)
	summary(p)
}

// installTool installs a tool of the npm registry's once for all runs of the tests, and returns the path of a command
// of it. It skips the test where there is no npm or no network.
func installTool(t *testing.T, pkg, command string) string {
	if testing.Short() {
		t.Skip("-short: real tools are not installed")
	}
	npm, err := exec.LookPath("npm")
	if err != nil {
		t.Skip("npm is not installed")
	}
	cache, err := os.UserCacheDir()
	if err != nil {
		t.Skip("there is no cache directory:", err)
	}
	dir := filepath.Join(cache, "assay-tests", strings.NewReplacer("/", "+", "@", "_").Replace(pkg))
	path := filepath.Join(dir, "node_modules", ".bin", command)
	if _, err := os.Stat(path); err == nil {
		return path
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(npm, "install", "--prefix", dir, "--no-audit", "--no-fund", pkg)
	cmd.Dir = dir
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Skipf("npm cannot install %s: %v\n%s", pkg, err, out)
	}
	return path
}

// runTool runs a command in a directory, with a home of its own, and returns what it prints.
func runTool(t *testing.T, dir, command string, args ...string) string {
	cmd := exec.Command(command, args...)
	cmd.Dir = dir
	home := filepath.Join(filepath.Dir(dir), "home")
	cmd.Env = append(os.Environ(), "HOME="+home, "BUN_INSTALL_CACHE_DIR="+filepath.Join(home, "cache"), "NO_COLOR=1")
	out, err := cmd.Output()
	if err != nil {
		stderr := ""
		if ee, ok := errors.AsType[*exec.ExitError](err); ok {
			stderr = string(ee.Stderr)
		}
		t.Skipf("%s %q: %v\n%s", filepath.Base(command), args, err, stderr)
	}
	return string(out)
}

// A project made by bun itself: what Assay reads is what bun lists.
func TestBun(t *testing.T) {
	bun := installTool(t, "bun@1.4.5", "bun")
	base := t.TempDir()
	repo := filepath.Join(base, "repo")
	dir := writeTree(t, map[string]string{
		"package.json": `{"name": "app", "version": "1.0.0", "workspaces": {"packages": ["packages/*"], "catalog": {"ms": "^2.1.3"}},
			"dependencies": {"left": "npm:left-pad@1.3.0", "is-odd": "3.0.1", "local": "file:./local", "ms": "catalog:", "tar": "https://registry.npmjs.org/is-number/-/is-number-7.0.0.tgz", "repo": "git+file://` + repo + `"},
			"devDependencies": {"@tailwindcss/oxide-wasm32-wasi": "4.1.18"}, "optionalDependencies": {"fsevents": "2.3.3"}, "peerDependencies": {"react": "18.3.1"}}`,
		"packages/a/package.json": `{"name": "@acme/a", "version": "1.0.0", "dependencies": {"b": "workspace:*", "ms": "2.0.0"}}`,
		"packages/b/package.json": `{"name": "b", "version": "1.0.0", "dependencies": {"is-odd": "2.0.0"}}`,
		"local/package.json":      `{"name": "local", "version": "9.9.9", "dependencies": {"ms": "1.0.0"}}`,
	})
	if err := os.MkdirAll(repo, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(repo, "package.json"), []byte(`{"name": "repo", "version": "3.2.1"}`), 0o644); err != nil {
		t.Fatal(err)
	}
	for _, args := range [][]string{{"init", "-q"}, {"add", "."}, {"-c", "user.name=a", "-c", "user.email=a@example.com", "commit", "-q", "-m", "first"}} {
		runTool(t, repo, "git", args...)
	}
	runTool(t, dir, bun, "install", "--ignore-scripts")
	p, err := Open(dir, Options{})
	if err != nil {
		t.Fatal(err)
	}
	// bun lists each place as NAME@VERSION, an alias by the name it is installed under, and leaves out what is not
	// for this platform and what is bundled.
	var got, want []string
	for _, line := range strings.Split(runTool(t, dir, bun, "pm", "ls", "--all"), "\n")[1:] {
		if _, entry, ok := strings.Cut(line, "── "); ok {
			want = append(want, entry)
		}
	}
	skipped := []string{"fsevents", "@tailwindcss/oxide-wasm32-wasi"} // not for Linux, and never for a processor
	for i, q := range p.Packages {
		for _, n := range q.Nodes {
			if !slices.Contains(skipped, q.Name) {
				got = append(got, p.Nodes[n].Name+"@"+p.Packages[i].Version)
			}
		}
	}
	for _, o := range p.Others {
		switch o.Source {
		case SourceBundled:
			if o.Bundler != "@tailwindcss/oxide-wasm32-wasi@4.1.18" {
				t.Errorf("%s is bundled by %s", o.Name, o.Bundler)
			}
		case SourceWorkspace:
			got = append(got, o.Name+"@workspace:"+o.Locations[1].Path)
		case SourceFile:
			got = append(got, o.Name+"@"+strings.TrimPrefix(o.Resolved, "file:"))
		case SourceURL:
			got = append(got, "tar@"+o.Resolved)
		default:
			got = append(got, o.Name+"@"+o.Resolved)
		}
	}
	slices.Sort(got)
	slices.Sort(want)
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-bun +assay):\n%s", diff)
	}
	for _, w := range p.Warnings {
		t.Errorf("warning about what bun wrote: %+v", w)
	}
	for _, q := range p.Packages {
		if q.Integrity == "" || q.Extraneous {
			t.Errorf("%s@%s: integrity %q, extraneous %t", q.Name, q.Version, q.Integrity, q.Extraneous)
		}
	}
}

// names returns NAME@VERSION of a project's packages.
func names(p *Project) []string {
	var list []string
	for _, q := range p.Packages {
		list = append(list, q.Name+"@"+q.Version)
	}
	slices.Sort(list)
	return slices.Compact(list)
}

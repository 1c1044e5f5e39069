package inventory

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

const storeLock = `lockfileVersion: '9.0'
importers:
  .:
    dependencies:
      a: {specifier: ^1.0.0, version: 1.0.0}
      dir: {specifier: file:dir, version: file:dir}
  packages/w:
    dependencies:
      b: {specifier: ^1.0.0, version: 1.0.0}
packages:
  a@1.0.0:
    resolution: {integrity: sha512-a}
  b@1.0.0:
    resolution: {integrity: sha512-b, tarball: https://h.example/b.tgz}
  c@1.0.0:
    resolution: {integrity: sha512-c}
  dir@file:dir:
    resolution: {directory: dir, type: directory}
snapshots:
  a@1.0.0:
    dependencies: {c: 1.0.0}
  b@1.0.0: {}
  c@1.0.0: {}
  dir@file:dir: {}
`

// storeTree is a project as pnpm installs it.
func storeTree(store, up string) map[string]string {
	return map[string]string{
		"package.json":                  `{"name": "app", "dependencies": {"a": "^1.0.0", "dir": "file:dir"}}`,
		"packages/w/package.json":       `{"name": "w", "dependencies": {"b": "^1.0.0"}}`,
		"node_modules/a":                "-> " + up + store + "/a@1.0.0/node_modules/a",
		"node_modules/dir":              "-> " + up + store + "/dir@file+dir/node_modules/dir",
		"packages/w/node_modules/b":     "-> ../../../" + strings.TrimPrefix("node_modules/"+up+store, "node_modules/../") + "/b@1.0.0/node_modules/b",
		store0(store, up) + "lock.yaml": storeLock,
		store0(store, up) + "a@1.0.0/node_modules/a/package.json":        `{"name": "a", "version": "1.0.0", "dependencies": {"c": "^1.0.0"}}`,
		store0(store, up) + "a@1.0.0/node_modules/c":                     "-> ../../c@1.0.0/node_modules/c",
		store0(store, up) + "b@1.0.0/node_modules/b/package.json":        `{"name": "b", "version": "1.0.0"}`,
		store0(store, up) + "c@1.0.0/node_modules/c/package.json":        `{"name": "c", "version": "1.0.0"}`,
		store0(store, up) + "dir@file+dir/node_modules/dir/package.json": `{"name": "dir", "version": "0.1.0"}`,
	}
}

func store0(store, up string) string {
	if up != "" {
		return store + "/"
	}
	return "node_modules/" + store + "/"
}

func TestPnpmStore(t *testing.T) {
	for _, where := range [][2]string{{".pnpm", ""}, {".store", "../"}} {
		base := strings.TrimSuffix(store0(where[0], where[1]), "/")
		open := func(change map[string]string) *Project {
			t.Helper()
			tree := storeTree(where[0], where[1])
			for name, text := range change {
				if name = strings.ReplaceAll(name, "STORE", base); text == "" {
					delete(tree, name)
				} else {
					tree[name] = text
				}
			}
			p, err := Open(filepath.Join(writeTree(t, tree), nodeModules), Options{})
			if err != nil {
				t.Fatal(err)
			}
			checkComplete(t, p, nil)
			checkOddities(t, p)
			return p
		}
		has := func(p *Project, part string) {
			t.Helper()
			if got := strings.ReplaceAll(summary(p), base, "STORE"); !strings.Contains(got, part) {
				t.Errorf("no %q in\n%s", part, got)
			}
		}

		p := open(nil)
		want := `a@1.0.0 resolved= direct at STORE/a@1.0.0/node_modules/a:1 via app>a
b@1.0.0 resolved=https://h.example/b.tgz direct at STORE/b@1.0.0/node_modules/b:1 via w>b
c@1.0.0 resolved= at STORE/c@1.0.0/node_modules/c:1 via app>a>c
file: dir@0.1.0 spec=file:dir resolved=file:dir direct at node_modules/dir:1 STORE/dir@file+dir/node_modules/dir:1 via app>dir
workspace: w@ at packages/w:1 via w
`
		if diff := cmp.Diff(want, strings.ReplaceAll(summary(p), base, "STORE")); diff != "" {
			t.Errorf("%s (-want +got):\n%s", base, diff)
		}
		if !slices.Contains(p.Files, base+"/lock.yaml") {
			t.Errorf("files %q", p.Files)
		}

		// Another version than noted, one nobody notes, one that is gone.
		p = open(map[string]string{"STORE/c@1.0.0/node_modules/c/package.json": `{"name": "c", "version": "1.0.1"}`})
		has(p, "c@1.0.1 no-integrity resolved= at STORE/c@1.0.0/node_modules/c:1")
		has(p, "warning disk-differs")
		p = open(map[string]string{"STORE/c@1.0.0/node_modules/c/package.json": `{"name": "evil", "version": "1.0.0"}`})
		has(p, "evil@1.0.0 alias=c no-integrity resolved= odd at")
		has(p, "alias-unasked")
		p = open(map[string]string{"STORE/x@1.0.0/node_modules/x/package.json": `{"name": "x", "version": "1.0.0"}`})
		has(p, "x@1.0.0 no-integrity resolved= extraneous")
		has(p, "warning not-in-hidden-lockfile")
		p = open(map[string]string{"STORE/node_modules/y/package.json": `{"name": "y", "version": "1.0.0"}`})
		has(p, "y@1.0.0 no-integrity resolved= extraneous")
		p = open(map[string]string{"STORE/b@1.0.0/node_modules/b/package.json": "", "packages/w/node_modules/b": ""})
		has(p, `warning not-on-disk at STORE/lock.yaml:13: "b@1.0.0" is in STORE/lock.yaml but not on disk`)
		// Without pnpm's note.
		p = open(map[string]string{"STORE/lock.yaml": ""})
		has(p, "a@1.0.0 no-integrity resolved= direct")
	}
	if _, err := Open(filepath.Join(writeTree(t, map[string]string{"node_modules/.pnpm/lock.yaml": "lockfileVersion: &x 9\n"}), nodeModules), Options{}); err == nil || !strings.Contains(err.Error(), "lock.yaml:1: anchors") {
		t.Errorf("a broken note: %v", err)
	}
}

// A store outside the project is named as such.
func TestPnpmStoreOutside(t *testing.T) {
	dir := writeTree(t, map[string]string{
		"store/a/node_modules/a/package.json": `{"name": "a", "version": "1.0.0"}`,
		"app/package.json":                    `{"dependencies": {"a": "^1.0.0", "b": "1"}}`,
		"app/node_modules/a":                  "-> ../../store/a/node_modules/a",
		"app/node_modules/.modules.yaml":      "{}",
	})
	if err := os.Symlink(filepath.Join(dir, "store/b/node_modules/b"), filepath.Join(dir, "app/node_modules/b")); err != nil {
		t.Fatal(err)
	}
	p, err := Open(filepath.Join(dir, "app", nodeModules), Options{})
	if err != nil {
		t.Fatal(err)
	}
	if !slices.ContainsFunc(p.Warnings, func(w Warning) bool {
		return w.Code == "store-outside" && w.Doubtful && strings.HasPrefix(w.Message, "2 links, such as \"node_modules/a\", lead to a store of packages outside the project")
	}) {
		t.Errorf("%+v", p.Warnings)
	}
}

func TestPnpmDirNames(t *testing.T) {
	long := strings.Repeat("a", 130)
	for _, tt := range []struct {
		major     int
		key, want string
	}{
		{5, "/foo/1.0.0_@s+a@2.0.0", "foo@1.0.0_@s+a@2.0.0"},
		{5, "/@s/foo/1.0.0", "@s+foo@1.0.0"},
		{5, "file:../x", "file+..+x"},
		{6, "/@s/foo@1.0.0(@s/a@1.0.0)(b@2.0.0)", "@s+foo@1.0.0_@s+a@1.0.0_b@2.0.0"},
		{9, "foo@1.0.0(@s/a@1.0.0(c@1.0.0))(b@2.0.0)", "foo@1.0.0_@s+a@1.0.0_c@1.0.0__b@2.0.0"},
		{9, "foo@file:x", "foo@file+x"},
		// As versions 7, 9 and 10 of pnpm made them.
		{5, "/JSONStream/1.3.5", "JSONStream@1.3.5_r3os6ifnv5rfzwtsmjig3b325i"},
		{9, "JSONStream@1.3.5", "JSONStream@1.3.5_r3os6ifnv5rfzwtsmjig3b325i"},
		{9, "JSONStream@1.3.5", "JSONStream@1.3.5_fb8f73c374dcf7070ffed90b688edabd"},
		{9, "@typescript-eslint/eslint-plugin@5.62.0(@typescript-eslint/parser@5.62.0(eslint@8.57.0)(typescript@5.0.4))(eslint@8.57.0)(typescript@5.0.4)",
			"@typescript-eslint+eslint-plugin@5.62.0_@typescript-eslint+parser@5.62.0_eslint@8.57.0_typesc_lawe3igtt6zo77xiwyjgimgm3q"},
		{9, "@typescript-eslint/eslint-plugin@5.62.0(@typescript-eslint/parser@5.62.0(eslint@8.57.0)(typescript@5.0.4))(eslint@8.57.0)(typescript@5.0.4)",
			"@typescript-eslint+eslint-plugin@5.62.0_@typescript-eslint+parser@5.62.0_eslint@8.57.0__0cefc38dd6e8ecaec52dcee363d018ad"},
		{9, long + "@1.0.0", ""},
	} {
		names := pnpmDirNames(tt.key, tt.major)
		for _, n := range names {
			if len(n) > 120 || strings.ContainsAny(n, "/\\():") {
				t.Errorf("%s: %q", tt.key, n)
			}
		}
		if tt.want != "" && !slices.Contains(names, tt.want) {
			t.Errorf("%s: %q has no %q", tt.key, names, tt.want)
		}
	}
}

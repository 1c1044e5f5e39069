package inventory

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"testing/fstest"

	"github.com/google/go-cmp/cmp"
)

// openPnpm opens a project of a pnpm-lock.yaml and other files, given in turn as name and text.
func openPnpm(lock string, opts Options, more ...string) (*Project, error) {
	fsys := fstest.MapFS{pnpmLockfile: {Data: []byte(lock)}}
	for i := 0; i+1 < len(more); i += 2 {
		fsys[more[i]] = &fstest.MapFile{Data: []byte(more[i+1])}
	}
	return OpenFS(fsys, ".", opts)
}

// One project in every version of the format: a package with a peer, a development dependency under an alias, an optional one,
// a workspace, a repository, an address, a directory, a link.
var pnpmVersions = map[string]string{
	"5.4": `lockfileVersion: 5.4
importers:
  .:
    specifiers: {dir: file:./dir, dom: ^1.0.0, git: github:o/r, linked: link:./linked, old: npm:left@1, opt: ^1.0.0, tar: https://h.example/tar.tgz}
    dependencies:
      dir: file:dir
      dom: 1.0.0_react@18.0.0
      git: github.com/o/r/0123abc
      linked: link:linked
      tar: '@h.example/tar.tgz'
    devDependencies:
      old: /left/1.0.0
    optionalDependencies:
      opt: 1.2.0
  packages/a:
    specifiers: {'@s/b': 2.x, b: workspace:*}
    dependencies: {'@s/b': 2.0.0, b: link:../b}
  packages/b:
    specifiers: {}
packages:
  /@s/b/2.0.0:
    resolution: {integrity: sha512-b}
    requiresBuild: true
  /dom/1.0.0_react@18.0.0:
    resolution: {integrity: sha512-d}
    peerDependencies: {react: '>=18'}
    dependencies: {react: 18.0.0}
  /left/1.0.0:
    resolution: {integrity: sha512-l}
    dev: true
  /opt/1.2.0:
    resolution: {integrity: sha512-o, tarball: opt/-/opt-1.2.0.tgz}
    optional: true
  /react/18.0.0:
    resolution: {integrity: sha512-r}
  '@h.example/tar.tgz':
    resolution: {tarball: https://h.example/tar.tgz}
    name: tar
    version: 3.0.0
  file:dir:
    resolution: {directory: dir, type: directory}
    name: dir
    version: 0.1.0
  github.com/o/r/0123abc:
    resolution: {tarball: https://codeload.github.com/o/r/tar.gz/0123abc}
    name: git
    version: 4.0.0
`,
	"6.0": `lockfileVersion: '6.0'
importers:
  .:
    dependencies:
      dir: {specifier: file:./dir, version: file:dir}
      dom: {specifier: ^1.0.0, version: 1.0.0(react@18.0.0)}
      git: {specifier: github:o/r, version: github.com/o/r/0123abc}
      linked: {specifier: link:./linked, version: link:linked}
      tar: {specifier: https://h.example/tar.tgz, version: '@h.example/tar.tgz'}
    devDependencies:
      old: {specifier: npm:left@1, version: /left@1.0.0}
    optionalDependencies:
      opt: {specifier: ^1.0.0, version: 1.2.0}
  packages/a:
    dependencies:
      '@s/b': {specifier: 2.x, version: 2.0.0}
      b: {specifier: workspace:*, version: link:../b}
  packages/b: {}
packages:
  /@s/b@2.0.0:
    resolution: {integrity: sha512-b}
    requiresBuild: true
  /dom@1.0.0(react@18.0.0):
    resolution: {integrity: sha512-d}
    peerDependencies: {react: '>=18'}
    dependencies: {react: 18.0.0}
  /left@1.0.0:
    resolution: {integrity: sha512-l}
  /opt@1.2.0:
    resolution: {integrity: sha512-o}
    optional: true
  /react@18.0.0:
    resolution: {integrity: sha512-r}
  '@h.example/tar.tgz':
    resolution: {tarball: https://h.example/tar.tgz}
    name: tar
    version: 3.0.0
  file:dir:
    resolution: {directory: dir, type: directory}
    name: dir
    version: 0.1.0
  github.com/o/r/0123abc:
    resolution: {tarball: https://codeload.github.com/o/r/tar.gz/0123abc}
    name: git
    version: 4.0.0
`,
	"9.0": `lockfileVersion: '9.0'
settings:
  autoInstallPeers: true
importers:
  .:
    dependencies:
      dir: {specifier: file:./dir, version: file:dir}
      dom: {specifier: ^1.0.0, version: 1.0.0(react@18.0.0)}
      git: {specifier: github:o/r, version: https://codeload.github.com/o/r/tar.gz/0123abc}
      linked: {specifier: link:./linked, version: link:linked}
      tar: {specifier: https://h.example/tar.tgz, version: https://h.example/tar.tgz}
    devDependencies:
      old: {specifier: npm:left@1, version: left@1.0.0}
    optionalDependencies:
      opt: {specifier: ^1.0.0, version: 1.2.0}
  packages/a:
    dependencies:
      '@s/b': {specifier: 2.x, version: 2.0.0}
      b: {specifier: workspace:*, version: link:../b}
  packages/b: {}
packages:
  '@s/b@2.0.0':
    resolution: {integrity: sha512-b}
  dir@file:dir:
    resolution: {directory: dir, type: directory}
  dom@1.0.0:
    resolution: {integrity: sha512-d}
    peerDependencies: {react: '>=18'}
  git@https://codeload.github.com/o/r/tar.gz/0123abc:
    resolution: {tarball: https://codeload.github.com/o/r/tar.gz/0123abc}
    version: 4.0.0
  left@1.0.0:
    resolution: {integrity: sha512-l}
  opt@1.2.0:
    resolution: {integrity: sha512-o}
  react@18.0.0:
    resolution: {integrity: sha512-r}
  tar@https://h.example/tar.tgz:
    resolution: {tarball: https://h.example/tar.tgz}
    version: 3.0.0
snapshots:
  '@s/b@2.0.0': {}
  dir@file:dir: {}
  dom@1.0.0(react@18.0.0):
    dependencies: {react: 18.0.0}
  git@https://codeload.github.com/o/r/tar.gz/0123abc: {}
  left@1.0.0: {}
  opt@1.2.0:
    optional: true
  react@18.0.0: {}
  tar@https://h.example/tar.tgz: {}
`,
}

var pnpmFiles = []string{
	"package.json", `{"name": "app", "dependencies": {"dom": "^1.0.0", "git": "github:o/r", "tar": "https://h.example/tar.tgz", "dir": "file:./dir", "linked": "link:./linked"},
		"devDependencies": {"old": "npm:left@1"}, "optionalDependencies": {"opt": "^1.0.0"}}`,
	"pnpm-workspace.yaml", "packages:\n  - 'packages/*'\n  - '!packages/out'\n",
	"packages/a/package.json", `{"name": "a", "version": "1.0.0", "dependencies": {"@s/b": "2.x", "b": "workspace:*"}}`,
	"packages/b/package.json", `{"name": "b", "version": "1.0.0"}`,
	"packages/out/package.json", `{"name": "out", "dependencies": {"x": "1"}}`,
}

// bare is a summary without lines, places and what one version of the format says and another does not.
func bare(p *Project) string {
	var lines []string
	for line := range strings.Lines(summary(p)) {
		before, after, _ := strings.Cut(strings.TrimSpace(line), " at ")
		_, via, _ := strings.Cut(after, " via ")
		before = strings.NewReplacer(" resolved=", "\x00", " scripts", "").Replace(before)
		words := strings.Split(before, "\x00")
		if len(words) > 1 {
			_, rest, _ := strings.Cut(words[1], " ")
			before = strings.TrimSpace(words[0] + " " + rest)
		}
		lines = append(lines, strings.TrimSpace(strings.TrimSuffix(before+" via "+via, " via ")))
	}
	slices.Sort(lines)
	return strings.Join(lines, "\n")
}

func TestPnpmVersions(t *testing.T) {
	want := `@s/b@2.0.0 direct via a>@s/b
dom@1.0.0 direct via app>dom
file: dir@0.1.0 spec=file:./dir direct via app>dir
git: git@4.0.0 spec=github:o/r direct via app>git
left@1.0.0 alias=old direct dev via app>left
link: linked@ spec=link:./linked direct via app>linked
opt@1.2.0 direct optional via app>opt
react@18.0.0 peer via app>dom>react
url: tar@3.0.0 spec=https://h.example/tar.tgz direct via app>tar
workspace: a@1.0.0 via a
workspace: b@1.0.0 direct via b`
	for version, lock := range pnpmVersions {
		for _, newline := range []string{"\n", "\r\n"} {
			p, err := openPnpm(strings.ReplaceAll(lock, "\n", newline), Options{}, pnpmFiles...)
			if err != nil {
				t.Fatal(version, err)
			}
			got := strings.ReplaceAll(bare(p), "file: dir@ ", "file: dir@0.1.0 ") // version 9 leaves it out
			if diff := cmp.Diff(want, got); diff != "" {
				t.Errorf("%s (-want +got):\n%s", version, diff)
			}
			if p.FormatVersion != int(version[0]-'0') || p.Kind != kindPnpm {
				t.Errorf("%s is %s version %d", version, p.Kind, p.FormatVersion)
			}
			checkComplete(t, p, nil)
			checkOddities(t, p)
			for _, q := range p.Packages {
				if q.HasInstallScript != (q.Name == "@s/b" && version != "9.0") || q.Resolved != "" || q.Integrity != "sha512-"+strings.TrimPrefix(q.Name, "@s/")[:1] {
					t.Errorf("%s: %+v", version, q)
				}
			}
		}
		for _, tt := range []struct {
			opts Options
			want string
		}{
			{Options{Omit: []string{"dev"}}, "@s/b dom opt react"},
			{Options{Omit: []string{"optional", "dev"}}, "@s/b dom react"},
			{Options{Workspaces: []string{"a"}}, "@s/b"},
			{Options{Workspaces: []string{"packages"}, IncludeWorkspaceRoot: true}, "@s/b dom left opt react"},
			{Options{Workspaces: []string{"packages/b"}}, ""},
		} {
			p, err := openPnpm(lock, tt.opts, pnpmFiles...)
			if err != nil {
				t.Fatal(err)
			}
			var names []string
			for _, q := range p.Packages {
				names = append(names, q.Name)
			}
			if got := strings.Join(names, " "); got != tt.want {
				t.Errorf("%s, %+v: %q, want %q", version, tt.opts, got, tt.want)
			}
		}
	}
}

// What pnpm 9 wrote before its release is version 7.
func TestPnpmVersion7(t *testing.T) {
	lock := strings.Replace(pnpmVersions["9.0"], "'9.0'", "'7.0'", 1)
	p, err := openPnpm(lock, Options{}, pnpmFiles...)
	if err != nil {
		t.Fatal(err)
	}
	nine, err := openPnpm(pnpmVersions["9.0"], Options{}, pnpmFiles...)
	if err != nil {
		t.Fatal(err)
	}
	if p.FormatVersion != 7 || summary(p) != summary(nine) {
		t.Errorf("version %d:\n%s", p.FormatVersion, summary(p))
	}
}

// The lockfile alone gives the same, but for the names that package.json has.
func TestPnpmAlone(t *testing.T) {
	for version, lock := range pnpmVersions {
		p, err := openPnpm(lock, Options{})
		if err != nil {
			t.Fatal(version, err)
		}
		if len(p.Packages) != 5 || len(p.Warnings) != 0 || len(p.Others) != 6 {
			t.Errorf("%s:\n%s", version, summary(p))
		}
		for _, q := range p.Packages {
			if q.Extraneous || q.Dev != (q.Name == "left") {
				t.Errorf("%s: %+v", version, q)
			}
		}
	}
}

// single is a lockfile of version 9 with one direct dependency called left and what else is given.
func single(specifier, version, packages, snapshots string) string {
	lock := "lockfileVersion: '9.0'\nimporters:\n  .:\n    dependencies:\n      left: {specifier: '" + specifier + "', version: '" + version + "'}\n"
	if packages != "" {
		lock += "packages:\n" + packages
	}
	if snapshots != "" {
		lock += "snapshots:\n" + snapshots
	}
	return lock
}

const (
	leftEntry = "  left@1.0.0:\n    resolution: {integrity: sha512-l}\n"
	leftSnap  = "  left@1.0.0: {}\n"
)

// What somebody may write into a lockfile is seen.
func TestPnpmAttacks(t *testing.T) {
	evil := "  left@https://evil.example/x.tgz:\n    resolution: {integrity: sha512-e, tarball: https://evil.example/x.tgz}\n    version: 1.0.0\n"
	asks := func(spec string) string { return `{"dependencies": {"left": "` + spec + `"}}` }
	tests := []struct {
		name, lock string
		files      []string
		want       []string // parts of lines of the summary
		err        string
	}{
		{name: "as it should be", lock: single("^1.0.0", "1.0.0", leftEntry, leftSnap), files: []string{"package.json", asks("^1.0.0")},
			want: []string{"left@1.0.0 resolved= direct at left@1.0.0:7 via .>left\n"}},
		{name: "another tarball", lock: single("^1.0.0", "1.0.0", "  left@1.0.0:\n    resolution: {integrity: sha512-e, tarball: https://evil.example/x.tgz}\n", leftSnap), files: []string{"package.json", asks("^1.0.0")},
			want: []string{"left@1.0.0 resolved=https://evil.example/x.tgz direct"}},
		{name: "a tarball of another package", lock: single("^1.0.0", "1.0.0", "  left@1.0.0:\n    resolution: {integrity: sha512-e, tarball: https://registry.npmjs.org/evil/-/evil-1.0.0.tgz}\n", leftSnap), files: []string{"package.json", asks("^1.0.0")},
			want: []string{"left@1.0.0 resolved=https://registry.npmjs.org/evil/-/evil-1.0.0.tgz odd direct", "suspicious resolved-differs"}},
		{name: "an address instead of a version", lock: single("^1.0.0", "https://evil.example/x.tgz", evil, "  left@https://evil.example/x.tgz: {}\n"), files: []string{"package.json", asks("^1.0.0")},
			want: []string{"left@1.0.0 resolved=https://evil.example/x.tgz direct"}},
		{name: "an address without version", lock: single("^1.0.0", "https://evil.example/x.tgz", strings.ReplaceAll(evil, "    version: 1.0.0\n", ""), "  left@https://evil.example/x.tgz: {}\n"), files: []string{"package.json", asks("^1.0.0")},
			want: []string{"url: left@ spec=https://evil.example/x.tgz resolved=https://evil.example/x.tgz odd direct", "suspicious source-unasked"}},
		{name: "another specifier as well", lock: single("https://evil.example/x.tgz", "https://evil.example/x.tgz", evil, "  left@https://evil.example/x.tgz: {}\n"), files: []string{"package.json", asks("^1.0.0")},
			want: []string{"left@1.0.0 resolved=https://evil.example/x.tgz direct", "warning out-of-sync at pnpm-lock.yaml:3: the lockfile has \"left\" as \"https://evil.example/x.tgz\" (prod), package.json has it as \"^1.0.0\" (prod)"}},
		{name: "another package under the name", lock: single("^1.0.0", "evil@1.0.0", "  evil@1.0.0:\n    resolution: {integrity: sha512-e}\n", "  evil@1.0.0: {}\n"), files: []string{"package.json", asks("^1.0.0")},
			want: []string{"evil@1.0.0", " odd direct", "suspicious alias-unasked"}},
		{name: "a directory for a version", lock: single("^1.0.0", "link:evil", "", ""), files: []string{"package.json", asks("^1.0.0"), "evil/package.json", `{"name": "left", "version": "1.0.0"}`},
			want: []string{" odd direct", "suspicious link-unasked at pnpm-lock.yaml:5: \"left\" is asked for by version (\"^1.0.0\") but is a link to \"evil\""}},
		{name: "another directory than asked for", lock: single("link:./good", "link:evil", "", ""), files: []string{"package.json", asks("link:./good")},
			want: []string{"suspicious link-unasked"}},
		{name: "a directory copied for a version", lock: single("^1.0.0", "file:evil", "  left@file:evil:\n    resolution: {directory: evil, type: directory}\n", "  left@file:evil: {}\n"), files: []string{"package.json", asks("^1.0.0")},
			want: []string{"file: left@ spec=file:evil resolved=file:evil odd direct", "suspicious source-unasked"}},
		{name: "another repository than asked for", lock: single("github:good/left", "https://codeload.github.com/evil/left/tar.gz/0123abc", "  left@https://codeload.github.com/evil/left/tar.gz/0123abc:\n    resolution: {tarball: https://codeload.github.com/evil/left/tar.gz/0123abc}\n    version: 1.0.0\n", "  left@https://codeload.github.com/evil/left/tar.gz/0123abc: {}\n"),
			files: []string{"package.json", asks("github:good/left")}, want: []string{"git: left@1.0.0", "suspicious resolved-differs"}},
		{name: "a repository for a version", lock: single("^1.0.0", "git+https://github.com/evil/left#0123abc", "  left@git+https://github.com/evil/left#0123abc:\n    resolution: {commit: 0123abc, repo: https://github.com/evil/left, type: git}\n    version: 1.0.0\n", "  left@git+https://github.com/evil/left#0123abc: {}\n"),
			files: []string{"package.json", asks("^1.0.0")}, want: []string{"left@1.0.0 no-integrity resolved=git+https://github.com/evil/left#0123abc odd direct", "suspicious source-unasked"}},
		{name: "a program for a version", lock: single("^1.0.0", "1.0.0", "  left@1.0.0:\n    resolution: {type: binary, url: https://evil.example/x, integrity: sha512-e, archive: tarball, bin: left}\n", leftSnap), files: []string{"package.json", asks("^1.0.0")},
			want: []string{"left@1.0.0 resolved=https://evil.example/x odd direct", "suspicious resolution-odd"}},
		{name: "variants for a version", lock: single("^1.0.0", "1.0.0", "  left@1.0.0:\n    resolution:\n      type: variations\n      variants:\n      - resolution: {type: binary, url: https://evil.example/x}\n", leftSnap), files: []string{"package.json", asks("^1.0.0")},
			want: []string{" odd direct", "suspicious resolution-odd"}},
		{name: "another version in a field", lock: single("^1.0.0", "1.0.0", leftEntry+"    version: 2.0.0\n", leftSnap), err: `pnpm-lock.yaml:7: entry "left@1.0.0" says that it is "left@2.0.0"`},
		{name: "another name in a field", lock: single("^1.0.0", "1.0.0", leftEntry+"    name: evil\n", leftSnap), err: `pnpm-lock.yaml:7: entry "left@1.0.0" says that it is "evil@1.0.0"`},
		{name: "no entry", lock: single("^1.0.0", "1.0.0", "", leftSnap), files: []string{"package.json", asks("^1.0.0")}, want: []string{"left@1.0.0 no-integrity resolved= direct"}},
		{name: "nothing there", lock: single("^1.0.0", "1.0.0", "", ""), files: []string{"package.json", asks("^1.0.0")}, want: []string{"unknown: left@ spec=^1.0.0 missing direct at node_modules/left:3"}},
		{name: "not in the lockfile", lock: single("^1.0.0", "1.0.0", leftEntry, leftSnap), files: []string{"package.json", `{"dependencies": {"left": "^1.0.0", "right": "2"}, "peerDependencies": {"peer": "1"}}`},
			want: []string{"left@1.0.0 resolved= direct", "unknown: right@ spec=2 missing direct", "warning out-of-sync"}},
		{name: "no longer asked for", lock: single("^1.0.0", "1.0.0", leftEntry, leftSnap), files: []string{"package.json", `{}`}, want: []string{"left@1.0.0 resolved= extraneous", "warning out-of-sync"}},
		{name: "an importer that does not exist", lock: strings.Replace(single("^1.0.0", "https://evil.example/x.tgz", evil, "  left@https://evil.example/x.tgz: {}\n"), "packages:\n", "  evil:\n    dependencies:\n      left: {specifier: 'https://evil.example/x.tgz', version: 'https://evil.example/x.tgz'}\npackages:\n", 1), files: []string{"package.json", asks("^1.0.0")},
			want: []string{"left@1.0.0 resolved=https://evil.example/x.tgz direct", "warning importer-unknown"}},
		{name: "an importer outside the workspace", lock: strings.Replace(single("^1.0.0", "https://evil.example/x.tgz", evil, "  left@https://evil.example/x.tgz: {}\n"), "packages:\n", "  evil:\n    dependencies:\n      left: {specifier: 'https://evil.example/x.tgz', version: 'https://evil.example/x.tgz'}\npackages:\n", 1),
			files: []string{"package.json", asks("^1.0.0"), "evil/package.json", asks("https://evil.example/x.tgz"), "pnpm-workspace.yaml", "packages: [packages/*]\n"},
			want:  []string{"left@1.0.0 resolved=https://evil.example/x.tgz direct", "warning importer-unknown"}},
		{name: "an importer in node_modules", lock: "lockfileVersion: '9.0'\nimporters:\n  node_modules/x: {}\n", err: "pnpm-lock.yaml:3: importer \"node_modules/x\" lies in node_modules"},
		{name: "an importer of a strange name", lock: "lockfileVersion: '9.0'\nimporters:\n  a/../b: {}\n", err: "pnpm-lock.yaml:3: location \"a/../b\" is not in its plain form"},
		{name: "dependencies of the project among pnpm's own", lock: "---\nlockfileVersion: '9.0'\nimporters:\n  .:\n    configDependencies: {}\n    dependencies:\n      left: {specifier: ^1.0.0, version: 1.0.0}\npackages:\n" + leftEntry + "snapshots:\n" + leftSnap + "---\nlockfileVersion: '9.0'\nimporters:\n  .: {}\n",
			want: []string{"left@1.0.0 resolved= extraneous", "suspicious document-odd"}},
		{name: "the workspace's package under another name", lock: strings.Replace(single("^1.0.0", "link:evil", "", ""), "  .:", "  evil: {}\n  .:", 1),
			files: []string{"package.json", asks("^1.0.0"), "evil/package.json", `{"name": "evil"}`, "pnpm-workspace.yaml", "packages: [evil]\n"}, want: []string{"workspace: evil@ odd direct", "suspicious link-unasked"}},
		{name: "the workspace's package by its version", lock: strings.Replace(single("^1.0.0", "link:left", "", ""), "  .:", "  left: {}\n  .:", 1),
			files: []string{"package.json", asks("^1.0.0"), "left/package.json", `{"name": "left"}`, "pnpm-workspace.yaml", "packages: [left]\n"}, want: []string{"workspace: left@ direct"}},
		{name: "twice", lock: single("^1.0.0", "1.0.0", leftEntry+leftEntry, leftSnap), err: `pnpm-lock.yaml:9: duplicate name "left@1.0.0"`},
		{name: "no version of a version", lock: "lockfileVersion: 9x\n", err: "pnpm-lock.yaml:1: lockfileVersion \"9x\" is not supported"},
		{name: "version 8", lock: "lockfileVersion: 8\n", err: "pnpm-lock.yaml:1: lockfileVersion \"8\" is not supported; supported are 5, 6, 7 and 9"},
		{name: "no version", lock: "packages: {}\n", err: "pnpm-lock.yaml:1: has no lockfileVersion"},
		{name: "snapshots too early", lock: "lockfileVersion: '6.0'\nsnapshots: {}\n", err: "pnpm-lock.yaml:2: has snapshots"},
		{name: "a list", lock: "- lockfileVersion: 9\n", err: "pnpm-lock.yaml:1: the lockfile must be a mapping"},
		{name: "a list of packages", lock: "lockfileVersion: 9\npackages: [a]\n", err: "pnpm-lock.yaml:2: packages must be a mapping"},
		{name: "a name of control characters", lock: "lockfileVersion: 9\npackages:\n  \"a\\e[31m@1.0.0\": {}\n", err: "pnpm-lock.yaml:3: entry \"a\\x1b[31m@1.0.0\" has a control character"},
		{name: "an anchor", lock: "lockfileVersion: 9\npackages: &x {}\n", err: "pnpm-lock.yaml:2: anchors"},
		{name: "a bad name", lock: single("1", "../../x@1.0.0", "  ../../x@1.0.0: {}\n", "  ../../x@1.0.0: {}\n"), err: "pnpm-lock.yaml:7: \"../../x@1.0.0\""},
		{name: "a merge conflict", lock: "lockfileVersion: '9.0'\n<<<<<<< HEAD\nimporters:\n=======\n>>>>>>> x\n", err: "pnpm-lock.yaml:2: has unresolved merge conflicts"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			p, err := openPnpm(tt.lock, Options{}, tt.files...)
			checkError(t, err, tt.err)
			if err != nil {
				return
			}
			got := summary(p)
			for _, part := range tt.want {
				if !strings.Contains(got, part) {
					t.Errorf("no %q in\n%s", part, got)
				}
			}
			checkComplete(t, p, nil)
			checkOddities(t, p)
		})
	}
}

// What pnpm-workspace.yaml says is what counts, with the ways that pnpm has to say it.
func TestPnpmWorkspace(t *testing.T) {
	lock := `lockfileVersion: '9.0'
settings:
  autoInstallPeers: true
catalogs:
  default:
    cat: {specifier: ^9.0.0, version: 1.0.0}
  other:
    dog: {specifier: npm:real@^1.0.0, version: 1.0.0}
overrides:
  ov: npm:left@1.0.0
patchedDependencies:
  cat@1.0.0: {hash: abc, path: patches/cat.patch}
pnpmfileChecksum: sha256-x
importers:
  .:
    dependencies:
      cat: {specifier: 'catalog:', version: 1.0.0(patch_hash=abc)}
      dog: {specifier: catalog:other, version: real@1.0.0}
      j: {specifier: 'jsr:@s/j@^1.0.0', version: '@jsr/s__j@1.0.0'}
      node: {specifier: runtime:^22.0.0, version: runtime:22.0.0}
      ov: {specifier: npm:left@1.0.0, version: left@1.0.0}
      peer: {specifier: '*', version: 1.0.0}
  packages/a:
    dependencies:
      b: {specifier: workspace:*, version: file:packages/b(peer@1.0.0)}
      c: {specifier: workspace:^, version: link:../c/dist}
  packages/b:
    dependencies:
      peer: {specifier: '*', version: 1.0.0}
  packages/c:
    publishDirectory: dist
packages:
  '@jsr/s__j@1.0.0':
    resolution: {integrity: sha512-j, tarball: https://npm.jsr.io/~/11/@jsr/s__j/1.0.0.tgz}
  b@file:packages/b:
    resolution: {directory: packages/b, type: directory}
    peerDependencies: {peer: '*'}
  cat@1.0.0:
    resolution: {integrity: sha512-c}
  left@1.0.0:
    resolution: {integrity: sha512-l}
  node@runtime:22.0.0:
    resolution: {type: variations, variants: [{resolution: {type: binary, url: https://nodejs.org/x, integrity: sha256-x}, targets: [{os: linux, cpu: x64}]}]}
    version: 22.0.0
  peer@1.0.0:
    resolution: {integrity: sha512-p}
  real@1.0.0:
    resolution: {integrity: sha512-r}
snapshots:
  '@jsr/s__j@1.0.0': {}
  b@file:packages/b(peer@1.0.0):
    dependencies: {peer: 1.0.0}
  cat@1.0.0(patch_hash=abc): {}
  left@1.0.0: {}
  node@runtime:22.0.0: {}
  peer@1.0.0: {}
  real@1.0.0: {}
`
	files := []string{
		"package.json", `{"name": "app", "dependencies": {"cat": "catalog:", "dog": "catalog:other", "j": "jsr:@s/j@^1.0.0", "ov": "^2.0.0", "gone": "1"}, "peerDependencies": {"peer": "*"},
			"pnpm": {"overrides": {"gone": "-"}}, "devEngines": {"runtime": {"name": "node", "version": "^22.0.0"}}}`,
		"pnpm-workspace.yaml", `packages: [packages/*]
catalog: {cat: ^9.0.0}
catalogs:
  other: {dog: npm:real@^1.0.0}
overrides:
  some>ov@^2: npm:left@1.0.0
configDependencies:
  hooks: 1.0.0+sha512-h
  others: {integrity: 2.0.0+sha512-o, tarball: https://h.example/o.tgz}
`,
		"packages/a/package.json", `{"name": "a", "dependencies": {"b": "workspace:*", "c": "workspace:^"}}`,
		"packages/b/package.json", `{"name": "b", "version": "1.0.0", "peerDependencies": {"peer": "*"}}`,
		"packages/c/package.json", `{"name": "c", "version": "1.0.0"}`,
		"packages/new/package.json", `{"name": "new", "dependencies": {"wanted": "1"}}`,
	}
	p, err := openPnpm(lock, Options{}, files...)
	if err != nil {
		t.Fatal(err)
	}
	want := `@jsr/s__j@1.0.0 alias=j resolved=https://npm.jsr.io/~/11/@jsr/s__j/1.0.0.tgz direct at @jsr/s__j@1.0.0:33 via app>@jsr/s__j
cat@1.0.0 resolved= direct at cat@1.0.0(patch_hash=abc):38 via app>cat
hooks@1.0.0 resolved= direct at pnpm-workspace.yaml#hooks:8 via app>hooks
left@1.0.0 alias=ov resolved= direct at left@1.0.0:40 via app>left
others@2.0.0 resolved=https://h.example/o.tgz direct at pnpm-workspace.yaml#others:9 via app>others
peer@1.0.0 resolved= direct peer at peer@1.0.0:45 via app>peer
real@1.0.0 alias=dog resolved= direct at real@1.0.0:47 via app>real
workspace: a@ at packages/a:23 via a
workspace: b@ direct at b@file:packages/b(peer@1.0.0):35 via b
workspace: b@1.0.0 at packages/b:27 via b
workspace: c@1.0.0 direct at packages/c:30 via c
workspace: new@ at packages/new:0 via new
url: node@22.0.0 spec=runtime:^22.0.0 direct at node@runtime:22.0.0:42 via app>node
unknown: wanted@ spec=1 missing direct at packages/new/node_modules/wanted:0
warning out-of-sync at pnpm-lock.yaml:0: the lockfile has "wanted" as nothing, packages/new/package.json has it as "1" (prod)
warning workspace-unlisted at pnpm-lock.yaml:0: "packages/new" belongs to the workspace, but the lockfile does not list what it uses
warning patched at pnpm-lock.yaml:12: "cat@1.0.0" is patched by "patches/cat.patch" after it is fetched: what is installed is not what its publisher signed
warning pnpmfile at pnpm-lock.yaml:13: .pnpmfile.cjs is a program that can change what is asked for while pnpm resolves: that it made the lockfile differ from package.json cannot be told from an edited lockfile
`
	got := summary(p)
	if diff := cmp.Diff(strings.Split(want, "\n"), strings.Split(got, "\n")); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	checkComplete(t, p, nil)
	checkOddities(t, p)

	// A file that Assay does not understand is said to be one.
	p, err = openPnpm(lock, Options{}, "package.json", files[1], "pnpm-workspace.yaml", "packages: &p [packages/*]\n")
	if err != nil {
		t.Fatal(err)
	}
	if !slices.ContainsFunc(p.Warnings, func(w Warning) bool { return w.Code == "workspace-unreadable" && w.Doubtful && w.Line == 1 }) {
		t.Errorf("%+v", p.Warnings)
	}
}

// Which files change which packages.
func TestPnpmPatches(t *testing.T) {
	lock := "lockfileVersion: '9.0'\npatchedDependencies:\n  left: {hash: a}\n  left@2.0.0: {hash: b}\n  right@^1.0.0: c\n  other@1.0.0: {hash: d, path: patches/d.patch}\npackages:\n"
	for _, id := range []string{"left@1.0.0", "left@2.0.0", "right@1.0.0", "right@2.0.0", "other@1.0.0"} {
		lock += "  " + id + ": {resolution: {integrity: sha512-x}}\n"
	}
	lock += "snapshots:\n  left@1.0.0(patch_hash=a): {}\n  left@2.0.0(patch_hash=b)(left@1.0.0): {}\n  right@1.0.0(patch_hash=c): {}\n  right@2.0.0: {}\n  other@1.0.0(patch_hash=d): {}\n"
	p, err := openPnpm(lock, Options{}, "package.json", `{"pnpm": {"patchedDependencies": {"left": "patches/a.patch"}}}`,
		"pnpm-workspace.yaml", "patchedDependencies:\n  left@2.0.0: patches/b.patch\n  right@^1.0.0: ./patches/c.patch\n")
	if err != nil {
		t.Fatal(err)
	}
	got := make(map[string]string)
	for _, q := range p.Packages {
		got[q.Name+"@"+q.Version] = strings.Join(q.Patches, " ")
	}
	want := map[string]string{"left@1.0.0": "patches/a.patch", "left@2.0.0": "patches/b.patch", "right@1.0.0": "patches/c.patch", "right@2.0.0": "", "other@1.0.0": "patches/d.patch"}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

// Both documents count.
func TestPnpmDocuments(t *testing.T) {
	lock := "---\nlockfileVersion: '9.0'\nimporters:\n  .:\n    configDependencies:\n      left: {specifier: 1.0.0, version: 1.0.0}\n    packageManagerDependencies:\n      pnpm: {specifier: 11.0.0, version: 11.0.0}\npackages:\n" +
		leftEntry + "  pnpm@11.0.0:\n    resolution: {integrity: sha512-p}\nsnapshots:\n" + leftSnap + "  pnpm@11.0.0: {}\n---\n" +
		strings.ReplaceAll(single("^1.0.0", "1.0.0", leftEntry, leftSnap), "sha512-l", "sha512-other")
	p, err := openPnpm(lock, Options{}, "package.json", `{"dependencies": {"left": "^1.0.0"}}`)
	if err != nil {
		t.Fatal(err)
	}
	want := "left@1.0.0 resolved= direct at left@1.0.0:10 via .>left\nleft@1.0.0 resolved= direct at left@1.0.0:24 via .>left\npnpm@11.0.0 resolved= direct at pnpm@11.0.0:12 via .>pnpm\n"
	if diff := cmp.Diff(want, summary(p)); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

func TestPnpmKeys(t *testing.T) {
	tests := []struct {
		major int
		key   string
		want  pnpmKey
	}{
		{5, "/foo/1.0.0", pnpmKey{name: "foo", version: "1.0.0"}},
		{5, "/@s/foo/1.0.0-rc.1+x_@a+b@2.0.0+c@3", pnpmKey{name: "@s/foo", version: "1.0.0-rc.1+x"}},
		{5, "/foo/1.0.0_0123456789abcdef", pnpmKey{name: "foo", version: "1.0.0"}},
		{5, "registry.example.com/foo/1.0.0", pnpmKey{name: "foo", version: "1.0.0", registry: "registry.example.com"}},
		{5, "localhost+4873/@s/foo/1.0.0", pnpmKey{name: "@s/foo", version: "1.0.0", registry: "localhost+4873"}},
		{5, "github.com/o/r/0123abc_x@1", pnpmKey{from: "git+https://github.com/o/r#0123abc"}},
		{5, "@codeload.github.com/o/r/tar.gz/0123abc", pnpmKey{from: "https://codeload.github.com/o/r/tar.gz/0123abc"}},
		{5, "file:../x", pnpmKey{from: "file:../x"}},
		{6, "/foo@1.0.0(a@1)(b@2(c@3))", pnpmKey{name: "foo", version: "1.0.0"}},
		{6, "/@s/foo@1.0.0", pnpmKey{name: "@s/foo", version: "1.0.0"}},
		{6, "registry.example.com/foo@1.0.0", pnpmKey{name: "foo", version: "1.0.0", registry: "registry.example.com"}},
		{9, "foo@1.0.0(patch_hash=0a)(@s/a@1.0.0)", pnpmKey{name: "foo", version: "1.0.0"}},
		{9, "@s/foo@1.0.0", pnpmKey{name: "@s/foo", version: "1.0.0"}},
		{9, "foo@https://h/x.tgz", pnpmKey{name: "foo", from: "https://h/x.tgz"}},
		{9, "foo@file:x(a@1)", pnpmKey{name: "foo", from: "file:x"}},
		{9, "node@runtime:22.0.0", pnpmKey{name: "node", from: "runtime:22.0.0"}},
		{9, "foo@gh:1.0.0", pnpmKey{name: "foo", version: "1.0.0", registry: "gh:"}},
		{9, "foo@git+ssh://git@h/o/r.git#0a", pnpmKey{name: "foo", from: "git+ssh://git@h/o/r.git#0a"}},
		{9, "", pnpmKey{}}, {5, "", pnpmKey{}}, {6, "/", pnpmKey{}}, {5, "x", pnpmKey{}}, {6, "@", pnpmKey{}}, {9, ")", pnpmKey{}}, {9, "()", pnpmKey{}},
	}
	for _, tt := range tests {
		got := parsePnpmKey(tt.key, tt.major)
		if tt.want == (pnpmKey{}) {
			continue // anything but a panic
		}
		if got != tt.want {
			t.Errorf("%d %q: %+v, want %+v", tt.major, tt.key, got, tt.want)
		}
	}
	for _, tt := range []struct {
		major           int
		name, ref, want string
	}{
		{5, "foo", "1.0.0_a@1", "/foo/1.0.0_a@1"}, {5, "x", "/foo/1.0.0", "/foo/1.0.0"}, {5, "x", "file:d", "file:d"}, {5, "x", "github.com/o/r/0a", "github.com/o/r/0a"},
		{6, "foo", "1.0.0(@s/a@1)", "/foo@1.0.0(@s/a@1)"}, {6, "x", "/foo@1.0.0(@s/a@1)", "/foo@1.0.0(@s/a@1)"}, {6, "x", "@h/x", "@h/x"},
		{9, "foo", "1.0.0(@s/a@1)", "foo@1.0.0(@s/a@1)"}, {9, "x", "foo@1.0.0", "foo@1.0.0"}, {9, "x", "@s/foo@1.0.0", "@s/foo@1.0.0"}, {9, "x", "https://u@h/x", "x@https://u@h/x"}, {9, "x", "file:a@b", "x@file:a@b"},
	} {
		if got := string(appendPnpmRef(nil, tt.name, tt.ref, tt.major)); got != tt.want {
			t.Errorf("%d %s %s: %q, want %q", tt.major, tt.name, tt.ref, got, tt.want)
		}
	}
}

func TestHostedRepo(t *testing.T) {
	for spec, want := range map[string]string{
		"github:O/r#v1": "github.com/o/r", "o/r": "github.com/o/r", "git+https://github.com/o/r.git#x": "github.com/o/r", "git@github.com:o/r.git": "github.com/o/r",
		"https://codeload.github.com/o/r/tar.gz/0a": "github.com/o/r", "https://www.github.com/o/r": "github.com/o/r", "gitlab:o/r": "gitlab.com/o/r", "bitbucket:o/r": "bitbucket.org/o/r",
		"https://gitlab.com/o/r/-/archive/x.tar.gz": "gitlab.com/o/r", "https://gitlab.com/g/o/r": "", "https://h.example/o/r": "", "^1.0.0": "", "": "", "git+ssh://git@github.com/o/r": "github.com/o/r", "https://[": "",
	} {
		if got := hostedRepo(spec); got != want {
			t.Errorf("%q: %q, want %q", spec, got, want)
		}
	}
}

// Real lockfiles give the packages that an independent count gives.
func TestPnpmCorpus(t *testing.T) {
	dir, cases := corpusFormats(t, "pnpm5", "pnpm6", "pnpm9")
	if len(cases) < 8 {
		t.Errorf("only %d lockfiles", len(cases))
	}
	for _, c := range cases {
		t.Run(c.ID, func(t *testing.T) {
			p, err := Open(filepath.Join(dir, c.File), Options{})
			if err != nil {
				t.Fatal(err)
			}
			packages := make(map[string]bool)
			for _, q := range p.Packages {
				packages[q.Name+"@"+q.Version] = true
				if q.Integrity == "" || q.Extraneous || q.Oddity != "" {
					t.Errorf("%+v", q)
				}
				for _, l := range q.Locations {
					if l.Line <= 1 || l.File != pnpmLockfile {
						t.Errorf("%s@%s: %+v", q.Name, q.Version, l)
					}
				}
			}
			if len(packages) != c.ExpectedPackages {
				t.Errorf("%d packages, want %d", len(packages), c.ExpectedPackages)
			}
			for _, o := range p.Others {
				if o.Missing || o.Extraneous || o.Oddity != "" {
					t.Errorf("%+v", o)
				}
			}
			for _, w := range p.Warnings {
				if w.Code != "patched" && w.Code != "pnpmfile" {
					t.Errorf("%+v", w)
				}
			}
			checkComplete(t, p, nil)
			data, err := os.ReadFile(filepath.Join(dir, c.File))
			if err != nil {
				t.Fatal(err)
			}
			crlf, err := openPnpm(strings.ReplaceAll(string(data), "\n", "\r\n"), Options{})
			if err != nil || summary(crlf) != summary(p) {
				t.Errorf("differs with other line ends (%v)", err)
			}
		})
	}
}

package inventory

import (
	"testing"

	"assay/internal/npm"

	"github.com/google/go-cmp/cmp"
)

func TestParseSpec(t *testing.T) {
	tests := []struct {
		spec  string
		kind  specKind
		alias string
	}{
		{"", specRegistry, ""},
		{"^1.2.3 || 2.x", specRegistry, ""},
		{">=1.0.0 <2.0.0", specRegistry, ""},
		{"latest", specRegistry, ""},
		{"npm:@acme/widget@^1", specRegistry, "@acme/widget"},
		{"npm:widget", specRegistry, "widget"},
		{"NPM:widget@1", specRegistry, "widget"},
		{"acme/widget", specGit, ""},
		{"acme/widget#semver:^1", specGit, ""},
		{"github:acme/widget", specGit, ""},
		{"gist:11081aaa281", specGit, ""},
		{"git@github.com:acme/widget.git", specGit, ""},
		{"git+ssh://git@github.com:acme/widget.git#v1", specGit, ""},
		{"git://github.com/acme/widget.git", specGit, ""},
		{"https://github.com/acme/widget", specGit, ""},
		{"https://github.com/acme/widget.git#main", specGit, ""},
		{"https://github.com/acme/widget/tree/main", specGit, ""},
		{"https://gitlab.com/acme/group/widget", specGit, ""},
		{"https://bitbucket.org/acme/widget", specGit, ""},
		{"https://gist.github.com/11081aaa281", specGit, ""},
		{"https://git.sr.ht/~acme/widget", specGit, ""},
		{"https://github.com/acme/widget/archive/v1.tar.gz", specURL, ""},
		{"https://gitlab.com/acme/widget/-/archive/v1/x.tar.gz", specURL, ""},
		{"https://files.example/widget.tgz", specURL, ""},
		{"ftp://files.example/widget.tgz", specURL, ""},
		{"file:widget", specFile, ""},
		{"FILE:widget.tgz", specFile, ""},
		{"./widget", specFile, ""},
		{"../widget", specFile, ""},
		{"~/widget", specFile, ""},
		{"/srv/widget", specFile, ""},
		{`C:\widget`, specFile, ""},
		{"widget.tgz", specFile, ""},
		{"a/b/c", specFile, ""},
		{"@acme/widget", specFile, ""},
		{"vendor/widget.tgz", specFile, ""},
		{"link:../widget", specLink, ""},
		{"portal:../widget", specLink, ""},
		{"workspace:^", specWorkspace, ""},
	}
	for _, tt := range tests {
		if kind, alias := parseSpec(tt.spec); kind != tt.kind || alias != tt.alias {
			t.Errorf("parseSpec(%q) = %b, %q, want %b, %q", tt.spec, kind, alias, tt.kind, tt.alias)
		}
	}
	for kind, want := range map[specKind]string{specGit: SourceGit, specURL | specGit: SourceURL, specFile: SourceFile, specLink: SourceLink, specWorkspace: SourceWorkspace, 0: SourceUnknown} {
		if got := sourceOf(kind, 0); got != want {
			t.Errorf("sourceOf(%b) = %q, want %q", kind, got, want)
		}
	}
}

func TestFromTarball(t *testing.T) {
	tests := []struct {
		name, address string
		want          npm.ID // zero: it cannot be told
	}{
		{"left", "https://registry.npmjs.org/left/-/left-1.0.0.tgz", npm.ID{Name: "left", Version: "1.0.0"}},
		{"left", "https://host/npm/mirror/left/-/left-1.0.0-rc.1.tgz", npm.ID{Name: "left", Version: "1.0.0-rc.1"}},
		{"@acme/w", "https://host/@acme/w/-/w-1.0.0.tgz", npm.ID{Name: "@acme/w", Version: "1.0.0"}},
		{"@acme/w", "https://host/npm/@acme%2fw/-/w-1.0.0.tgz", npm.ID{Name: "@acme/w", Version: "1.0.0"}},
		{"@acme/w", "file:vendor/w-1.0.0.tgz", npm.ID{Name: "@acme/w", Version: "1.0.0"}},
		{"left", "https://host/right/-/right-1.0.0.tgz", npm.ID{Name: "right", Version: "1.0.0"}},
		{"left", "https://host/left/-/right-1.0.0.tgz", npm.ID{}},
		{"left", "https://host/left.tgz", npm.ID{}},
		{"left", "https://host/left-latest.tgz", npm.ID{}},
		{"left", "https://host/left-1.0.0.zip", npm.ID{}},
	}
	for _, tt := range tests {
		if got, ok := fromTarball(tt.name, tt.address); got != tt.want || ok != (tt.want != npm.ID{}) {
			t.Errorf("fromTarball(%q, %q) = %v, %v, want %v", tt.name, tt.address, got, ok, tt.want)
		}
	}
}

func TestWorkspacePatterns(t *testing.T) {
	tests := []struct {
		patterns []string
		in, out  []string
	}{
		{[]string{"packages/*"}, []string{"packages/a"}, []string{"packages", "packages/a/b", "packages/.hidden", "other/a"}},
		{[]string{"./packages/*/"}, []string{"packages/a"}, []string{"packages/a/b"}},
		{[]string{"docs", "/lib"}, []string{"docs", "lib"}, []string{"doc", "docs/a"}},
		{[]string{"packages/**"}, []string{"packages", "packages/a", "packages/a/b"}, []string{"packages/.x/a", "package"}},
		{[]string{"**/x"}, []string{"x", "a/b/x"}, []string{"x/a"}},
		{[]string{"{apps,libs/{a,b}}/*"}, []string{"apps/x", "libs/a/x", "libs/b/x"}, []string{"libs/x", "libs/c/x"}},
		{[]string{"packages/*", "!packages/old"}, []string{"packages/new"}, []string{"packages/old"}},
		{[]string{"packages/*", "!packages/old", "packages/old"}, []string{"packages/old"}, nil},
		{[]string{"p?ckages/[ab]"}, []string{"packages/a"}, []string{"packages/c"}},
		{[]string{"", "!", "["}, nil, []string{"a", "["}},
	}
	for _, tt := range tests {
		w := newWorkspaceSet(tt.patterns)
		for _, dir := range tt.in {
			if !w.match(dir) {
				t.Errorf("%q do not match %q", tt.patterns, dir)
			}
		}
		for _, dir := range tt.out {
			if w.match(dir) {
				t.Errorf("%q match %q", tt.patterns, dir)
			}
		}
	}
}

func TestManifest(t *testing.T) {
	m, err := parseManifest("package.json", []byte("\ufeff"+`{
		"name": "a", "name": "b", "version": 7, "bundledDependencies": true, "workspaces": {"packages": ["x/*", 1], "nohoist": []},
		"dependencies": {"p": "1", "odd": {}}, "devDependencies": ["no"], "optionalDependencies": null,
		"peerDependencies": {"q": "1"}, "peerDependenciesMeta": {"q": {"optional": true}, "r": 1},
		"scripts": {"test": "x", "install": "y"}, "overrides": {"p@1": "2", "deep": {".": "3", "inner": {"leaf": "4"}}, "n": 5},
		"_resolved": "https://h.example/x.tgz"}`))
	if err != nil {
		t.Fatal(err)
	}
	want := &manifest{
		name: "b", bundleAll: true, workspaces: []string{"x/*"}, script: true, resolved: "https://h.example/x.tgz",
		edges:     []Edge{{Name: "p", Spec: "1", To: Missing}, {Name: "q", Spec: "1", Kind: PeerOptional, To: Missing}},
		overrides: map[string][]string{"p": {"2"}, "deep": {"3"}, "leaf": {"4"}},
	}
	if diff := cmp.Diff(want, m, cmp.AllowUnexported(manifest{})); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	if got := bundleNames(nil, true, m.edges); len(got) != 1 || got[0] != "p" {
		t.Errorf("bundles %q", got)
	}
	for _, text := range []string{"", "[]", "{", `{"name": "a"} x`, `"a"`} {
		if _, err := parseManifest("package.json", []byte(text)); err == nil {
			t.Errorf("%q was accepted", text)
		}
	}
}

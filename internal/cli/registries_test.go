package cli

import (
	"maps"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"assay/internal/inventory"
	"assay/internal/npm"
)

func TestManagerFiles(t *testing.T) {
	tests := []struct {
		file, text string
		want       map[string]string // nil: an error
	}{
		{".yarnrc", "# x\nregistry \"https://a.example/\"\n\"@acme:registry\" \"https://b.example\"\nlastUpdateCheck 1\n", map[string]string{"registry": "https://a.example/", "@acme:registry": "https://b.example"}},
		{".yarnrc", "registry https://a.example\n\"@x:registry\": https://b.example\n\"broken\n", map[string]string{"registry": "https://a.example", "@x:registry": "https://b.example"}},
		{".yarnrc", "", map[string]string{}},
		{".yarnrc.yml", "npmRegistryServer: \"https://a.example\"\nnpmScopes:\n  acme:\n    npmRegistryServer: https://b.example\n    npmAuthToken: secret\n  other:\n    npmAlwaysAuth: true\n", map[string]string{"registry": "https://a.example", "@acme:registry": "https://b.example"}},
		{".yarnrc.yml", "a: &a\n  npmRegistryServer: https://b.example\nnpmScopes: {acme: *a, '@b': *a}\n", map[string]string{"@acme:registry": "https://b.example", "@b:registry": "https://b.example"}},
		{".yarnrc.yml", "# nothing\n", map[string]string{}},
		{".yarnrc.yml", "npmRegistryServer: [a]\nnpmScopes: 1\n", map[string]string{}},
		{".yarnrc.yml", "- a\n", nil},
		{".yarnrc.yml", "a: [\n", nil},
		{"pnpm-workspace.yaml", "packages: ['a']\nregistry: https://a.example\nregistries:\n  default: https://c.example\n  '@acme': https://b.example\n", map[string]string{"registry": "https://c.example", "@acme:registry": "https://b.example"}},
		{"pnpm-workspace.yaml", "registries:\n  https://a.example/:\n    serverType: artifactory\n    scopes: ['@acme', '@b']\n  https://c.example/:\n    scopes: ['@']\n", map[string]string{"registry": "https://c.example/", "@acme:registry": "https://a.example/", "@b:registry": "https://a.example/"}},
		{"bunfig.toml", "[install]\nregistry = \"https://a.example\"\n[install.scopes]\nacme = \"https://b.example/\"\n\"@c\" = { url = \"https://c.example\", token = \"$T\" }\n\"@d\" = { token = \"x\" }\n", map[string]string{"registry": "https://a.example", "@acme:registry": "https://b.example/", "@c:registry": "https://c.example"}},
		{"bunfig.toml", "install.registry = { url = \"https://a.example\", token = \"x\" }\n[test]\nx = 1\n", map[string]string{"registry": "https://a.example"}},
		{"bunfig.toml", "[install]\nregistry = 1\n", map[string]string{}},
		{"bunfig.toml", "[install\n", nil},
	}
	for _, tt := range tests {
		got, err := fileOf(tt.file).read([]byte(tt.text))
		if (err != nil) != (tt.want == nil) || err == nil && !maps.Equal(got, tt.want) {
			t.Errorf("%s: %q\n%v (%v), want %v", tt.file, tt.text, got, err, tt.want)
		}
	}
}

func fileOf(name string) *managerFile {
	for i := range managerFiles {
		if managerFiles[i].name == name {
			return &managerFiles[i]
		}
	}
	panic(name)
}

// What a project's file says becomes lines of an .npmrc, and nothing but the lines that it may become.
func TestManagerSource(t *testing.T) {
	config, _, err := npm.ParseConfig([]npm.Source{{Level: npm.LevelUser, Data: []byte("registry=https://user.example\n")}}, nil)
	if err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		file      string
		key       string
		value     string
		want      string
		isRefused bool
	}{
		{".yarnrc.yml", "registry", "https://a.example", "registry=https://a.example\n", false},
		{".yarnrc.yml", "@acme:registry", "https://a.example", "@acme:registry=https://a.example\n", false},
		{".yarnrc.yml", "registry", "${REG}", "registry=${REG}\n", false},
		{".yarnrc.yml", "registry", "${REG:-https://a.example}", "registry=${REG}\n", false},
		{"bunfig.toml", "@acme:registry", "$REG", "@acme:registry=${REG}\n", false},
		{"bunfig.toml", "registry", "https://a.example", "", false}, // the user's .npmrc is stronger, as in bun
		{".yarnrc.yml", "registry", "https://a.example\n//a.example/:_authToken=${SECRET}", "", true},
		{".yarnrc.yml", "registry", "https://a.example ; x", "", true},
		{".yarnrc.yml", "registry", "\"https://a.example\"", "", true},
		{".yarnrc.yml", "@a\nca=x:registry", "https://a.example", "", true},
		{".yarnrc.yml", "@//a.example/:_authToken:registry", "x", "", true},
		{".yarnrc.yml", "@:registry", "https://a.example", "", true},
		{".yarnrc.yml", "cafile", "/x", "", true},
		{".yarnrc.yml", "registry", strings.Repeat("a", 3000), "", true},
	} {
		source, refused := fileOf(tt.file).source(config, npm.LevelProject, tt.file, map[string]string{tt.key: tt.value})
		if string(source.Data) != tt.want || (len(refused) > 0) != tt.isRefused || source.Level != npm.LevelProject {
			t.Errorf("%s: %q %q: %q, refused %q", tt.file, tt.key, tt.value, source.Data, refused)
		}
	}
}

// Whatever these files hold, reading them ends, and gives names of registries and nothing else.
func FuzzManagerFiles(f *testing.F) {
	f.Add("npmRegistryServer: https://a.example\nnpmScopes: {a: {npmRegistryServer: https://b.example}}\n")
	f.Add("a: &a [*a, *a]\nb: &b [*a,*a]\nnpmScopes: *b\n")
	f.Add("registries: {https://a.example/: {scopes: ['@a', '@']}, default: x}\n")
	f.Add("[install]\nregistry = {url = \"x\"}\n[install.scopes]\na = \"b\"\n")
	f.Add("registry \"x\"\n\"@a:registry\" y\n")
	f.Add(strings.Repeat("[", 60_000))
	f.Add("x = " + strings.Repeat("[", 1000))
	f.Add("x = " + strings.Repeat("{a=", 20_000))
	f.Add("x = " + strings.Repeat("{a=", 999))
	f.Add(strings.Repeat("a.", 999) + "a = 1")
	f.Add("[" + strings.Repeat("a.", 999) + "a]")
	f.Add(strings.Repeat("[a.b.c.d]\n", 250))
	f.Add("x = [" + strings.Repeat("[],", 20_000) + "]")
	f.Add("x = \"" + strings.Repeat("\\u0041", 10_000) + "\"")
	f.Add("a: " + strings.Repeat("{b: ", 15_000))
	f.Add(strings.Repeat("- ", 30_000))
	f.Add(strings.Repeat("? ", 30_000))
	f.Fuzz(func(t *testing.T, text string) {
		if len(text) > maxManagerFile {
			return
		}
		config, _, err := npm.ParseConfig(nil, nil)
		if err != nil {
			t.Fatal(err)
		}
		for i := range managerFiles {
			m := &managerFiles[i]
			registries, err := m.read([]byte(text))
			if err != nil {
				continue
			}
			source, _ := m.source(config, npm.LevelProject, m.name, registries)
			for line := range strings.Lines(string(source.Data)) {
				key, value, ok := strings.Cut(strings.TrimSuffix(line, "\n"), "=")
				if scope, scoped := strings.CutSuffix(key, ":registry"); !ok || strings.ContainsAny(value, "\r\n ") || key != "registry" && (!scoped || npm.CheckName(scope+"/x") != nil) {
					t.Errorf("%s: %q becomes the line %q", m.name, text, line)
				}
			}
		}
	})
}

// Whose settings count where what is audited does not tell: what an installation left, else lockfiles, else settings.
func TestManagersOf(t *testing.T) {
	for _, tt := range []struct {
		name, kind, project string
		files               []string
		dir, want           string
	}{
		{name: "a lockfile tells", kind: "yarn", files: []string{"bunfig.toml", "package-lock.json"}, want: "yarn"},
		{name: "npm's tells", kind: "package-lock", files: []string{".yarnrc.yml"}},
		{name: "npm's shrinkwrap tells", kind: "npm-shrinkwrap", files: []string{".yarnrc.yml"}},
		{name: "yarn's state", kind: "node_modules", files: []string{"node_modules/.yarn-state.yml", "bun.lock", "bunfig.toml"}, want: "yarn"},
		{name: "npm's state", kind: "node_modules", files: []string{"node_modules/.package-lock.json", ".yarnrc.yml"}, want: "npm"},
		{name: "pnpm's state", kind: "node_modules", files: []string{"node_modules/.modules.yaml", "package-lock.json"}, want: "pnpm"},
		{name: "lockfiles before settings", kind: "cyclonedx", files: []string{"pnpm-lock.yaml", ".yarnrc.yml"}, want: "pnpm"},
		{name: "settings", kind: "node_modules", files: []string{".yarnrc.yml", ".yarnrc"}, want: "yarn"},
		{name: "settings of two", kind: "purls", files: []string{".yarnrc.yml", "bunfig.toml"}, want: "yarn bun"},
		{name: "a workspace", kind: "node_modules", project: "packages/a", files: []string{".git", ".yarnrc.yml", "packages/a/node_modules/x/package.json"}, dir: ".", want: "yarn"},
		{name: "no work tree", kind: "node_modules", project: "packages/a", files: []string{".yarnrc.yml", "packages/a/package.json"}},
		{name: "above the work tree", kind: "spdx", project: "app", files: []string{".yarnrc.yml", "app/.git"}},
		{name: "nothing", kind: "node_modules", files: []string{"package.json"}},
	} {
		root := t.TempDir()
		for _, f := range tt.files {
			if err := os.MkdirAll(filepath.Join(root, f), 0o755); err != nil {
				t.Fatal(err)
			}
		}
		project := filepath.Join(root, tt.project)
		dir, managers := managersOf(project, &inventory.Project{Kind: tt.kind})
		want := project
		if tt.dir != "" {
			want = filepath.Join(root, tt.dir)
		}
		if dir != want || strings.Join(managers, " ") != tt.want {
			t.Errorf("%s: %q in %s, want %q in %s", tt.name, managers, dir, tt.want, want)
		}
	}
}

func TestNearest(t *testing.T) {
	words := []string{"audit", "verify", "attest", "publish", "trust", "text", "csv"}
	for word, want := range map[string]string{
		"adit": "audit", "audti": "audit", "verfiy": "verify", "publsh": "publish", "tset": "", "xyzzy": "", "": "", "c": "", "cvs": "csv",
		strings.Repeat("a", 1000): "",
	} {
		if got := nearest(word, words); got != want {
			t.Errorf("nearest(%q) = %q, want %q", word, got, want)
		}
	}
}

func TestInertForms(t *testing.T) {
	for in, want := range map[string]string{
		"<a>\n::error::x\n  ::y ##[z]</a>": "<a>\n&#58;:error::x\n  &#58;:y #&#35;[z]</a>",
		"\n<a>a::b</a>":                    "\n<a>a::b</a>",
	} {
		if got, err := inertPage("html", []byte(in)); err != nil || string(got) != want {
			t.Errorf("%q becomes %q (%v), want %q", in, got, err, want)
		}
	}
	if got, err := inertDocument("json", []byte(`{"a":"##[x]"}`)); err != nil || string(got) != `{"a":"#\u0023[x]"}` {
		t.Errorf("%q (%v)", got, err)
	}
	if _, err := inertDocument("cyclonedx", []byte("<bom>\n::error::x</bom>")); err == nil || !strings.Contains(hintOf(err), "--report cyclonedx=FILE") {
		t.Errorf("XML with a command is printed (%v)", err)
	}
}

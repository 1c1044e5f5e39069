package cli_test

import (
	"encoding/csv"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/santhosh-tekuri/jsonschema/v6"

	"assay/internal/lab"
)

// trouble is a project with a package that is denied, one that could not be checked, and one that is fine.
func trouble(t *testing.T) *world {
	w := newWorld(t)
	w.env["npm_config_fetch_retries"] = "0"
	fine := w.publish(lab.Release{Package: lab.Package{Name: "@acme/fine"}, CI: lab.GitHub("acme/fine")})
	stranger := w.publish(lab.Release{Package: lab.Package{Name: "stranger", Manifest: map[string]any{"repository": "acme/stranger"}}, CI: lab.GitHub("mallory/stranger")})
	gone := w.publish(lab.Release{Package: lab.Package{Name: "gone"}})
	w.lock(fine, stranger, gone)
	w.server.Misbehave(lab.Match{Endpoint: lab.EndpointVersion, Name: "gone"}, lab.Status(500), 0)
	return w
}

// shapes say of each form what it has to look like.
var shapes = map[string]func(text string) bool{
	"text": func(s string) bool { return strings.Contains(s, "DENIED: 1 package") },
	"json": func(s string) bool {
		return strings.HasPrefix(s, "{\n  \"schema\": \"assay/report/v1\"") && json.Valid([]byte(s))
	},
	"sarif":    func(s string) bool { return strings.Contains(s, `"version":"2.1.0"`) && json.Valid([]byte(s)) },
	"markdown": func(s string) bool { return strings.HasPrefix(s, "## Assay: 1 package denied\n") },
	"github":   func(s string) bool { return strings.HasPrefix(s, "::error file=package-lock.json,line=") },
	"gitlab": func(s string) bool {
		return strings.HasPrefix(s, `[{"description":"stranger@1.0.0`) && json.Valid([]byte(s))
	},
	"cyclonedx": func(s string) bool { return strings.Contains(s, `"bomFormat": "CycloneDX"`) && json.Valid([]byte(s)) },
	"spdx":      func(s string) bool { return strings.Contains(s, `"SPDX-2.3"`) && json.Valid([]byte(s)) },
	"vsa":       func(s string) bool { return strings.Contains(s, "https://slsa.dev/verification_summary/v1") },
	"html":      func(s string) bool { return strings.HasPrefix(strings.ToLower(s), "<!doctype html>") },
	"csv": func(s string) bool {
		rows, err := csv.NewReader(strings.NewReader(s)).ReadAll()
		return err == nil && len(rows) == 4 && rows[0][0] == "name" && rows[1][0] == "'@acme/fine"
	},
}

// TestForms prints each form and writes all of them beside the text.
func TestForms(t *testing.T) {
	w := trouble(t)
	help := w.run("audit", "--help").stdout
	_, list, _ := strings.Cut(help, "form of the report: ")
	list, _, _ = strings.Cut(list, " (default")
	names := strings.FieldsFunc(strings.Join(strings.Fields(list), " "), func(r rune) bool { return r == ',' || r == ' ' })
	args := []string{"audit", "--trusted-root", "trusted_root.json"}
	all := args
	for _, name := range names {
		if name == "or" {
			continue
		}
		shape := shapes[name]
		if shape == nil {
			t.Errorf("no test knows what %q looks like", name)
			continue
		}
		r := w.run(append(args, "--format", name)...)
		if r.code != 1 || !shape(r.stdout) {
			t.Errorf("--format %s: exit %d\n%.2000s%s", name, r.code, r.stdout, r.stderr)
		}
		all = append(all, "--report", name+"=out."+name)
		v := w.run("verify", "@acme/fine@1.0.0", "--trusted-root", "trusted_root.json", "--format", name)
		if v.code != 0 || v.stdout == "" {
			t.Errorf("verify --format %s: exit %d\n%.1000s%s", name, v.code, v.stdout, v.stderr)
		}
	}
	if len(all) < 20 {
		t.Fatalf("only these forms were found: %v", all)
	}
	if r := w.run(all...); r.code != 1 || !shapes["text"](r.stdout) {
		t.Fatalf("exit %d\n%s%s", r.code, r.stdout, r.stderr)
	}
	for name, shape := range shapes {
		if strings.Contains(list, name) && !shape(w.read("out."+name)) {
			t.Errorf("out.%s: %.1000s", name, w.read("out."+name))
		}
	}
	for _, e := range must(os.ReadDir(w.project)) {
		if strings.HasPrefix(e.Name(), ".out") {
			t.Errorf("%s is left behind", e.Name())
		}
	}
}

func must[T any](v T, err error) T {
	if err != nil {
		panic(err)
	}
	return v
}

func TestReportFlag(t *testing.T) {
	w := newWorld(t)
	w.lock(w.publish(lab.Release{Package: lab.Package{Name: "left"}}))
	w.write("dir/x", nil)
	w.write("kept.json", []byte("before"))
	if err := os.Chmod(filepath.Join(w.project, "kept.json"), 0o640); err != nil {
		t.Fatal(err)
	}
	for from, to := range map[string]string{"link": "dir", "link.json": "target.json"} {
		if err := os.Symlink(to, filepath.Join(w.project, from)); err != nil {
			t.Fatal(err)
		}
	}
	for _, tt := range []struct {
		args string
		want string
	}{
		{"--report json=-", "written to a file"},
		{"--report json=", "FORMAT=FILE"},
		{"--report =x", "FORMAT=FILE"},
		{"--report jsn=x", "is it json?"},
		{"--format sarrif", "is it sarif?"},
		{"--report json=nowhere/x.json", "there is no directory nowhere"},
		{"--report json=dir", "that is a directory"},
		{"--report json=dir/x/y", "is no directory"},
		{"--report json=a --report sarif=a", "two reports would go to one file: --report sarif=a and json=a"},
		{"--report json=a --report sarif=./dir/../a", "two reports would go to one file"},
		{"--report json=dir/a --report sarif=link/a", "two reports would go to one file"},
	} {
		w.server.ResetTraffic()
		r := w.run(append([]string{"audit", "--trusted-root", "trusted_root.json"}, strings.Fields(tt.args)...)...)
		if r.code != 2 || !strings.Contains(r.stderr, tt.want) || r.stdout != "" {
			t.Errorf("%s: exit %d, want 2 with %q\n%s%s", tt.args, r.code, tt.want, r.stdout, r.stderr)
		}
		if n := w.server.Traffic().Requests; n != 0 {
			t.Errorf("%s: %d requests before that is told", tt.args, n)
		}
	}
	r := w.run("audit", "--trusted-root", "trusted_root.json", "--report", "json=kept.json", "--report", "csv=/dev/null", "--report", "text=link.json")
	if r.code != 0 {
		t.Fatalf("exit %d: %s", r.code, r.stderr)
	}
	if info, err := os.Stat(filepath.Join(w.project, "kept.json")); err != nil || info.Mode().Perm() != 0o640 || !json.Valid([]byte(w.read("kept.json"))) {
		t.Errorf("kept.json: %v %v", info.Mode(), err)
	}
	if to, err := os.Readlink(filepath.Join(w.project, "link.json")); err != nil || to != "target.json" {
		t.Errorf("the link leads to %q (%v)", to, err)
	}
	if info, err := os.Stat("/dev/null"); err != nil || info.Mode().IsRegular() {
		t.Errorf("/dev/null has become %v (%v)", info.Mode(), err)
	}
}

// An archive of evidence goes where a link leads, and to a device, as a report does.
func TestEvidenceOutput(t *testing.T) {
	w := newWorld(t)
	w.lock(w.publish(lab.Release{Package: lab.Package{Name: "left"}}))
	w.write("kept.tar.gz", []byte("before"))
	if err := os.Chmod(filepath.Join(w.project, "kept.tar.gz"), 0o640); err != nil {
		t.Fatal(err)
	}
	for from, to := range map[string]string{"link": "target.tar.gz", "null": "/dev/null"} {
		if err := os.Symlink(to, filepath.Join(w.project, from)); err != nil {
			t.Fatal(err)
		}
	}
	for _, name := range []string{"kept.tar.gz", "link", "null"} {
		if r := w.run("evidence", "export", "--trusted-root", "trusted_root.json", "-o", name); r.code != 0 {
			t.Fatalf("%s: exit %d: %s", name, r.code, r.stderr)
		}
	}
	for name, mode := range map[string]os.FileMode{"link": os.ModeSymlink, "null": os.ModeSymlink, "kept.tar.gz": 0o640} {
		if info, err := os.Lstat(filepath.Join(w.project, name)); err != nil || mode == os.ModeSymlink && info.Mode().Type() != mode || mode != os.ModeSymlink && info.Mode() != mode {
			t.Errorf("%s has become %v (%v)", name, info.Mode(), err)
		}
	}
	if info, err := os.Stat("/dev/null"); err != nil || info.Mode().IsRegular() {
		t.Errorf("/dev/null has become %v (%v)", info.Mode(), err)
	}
	for _, name := range []string{"kept.tar.gz", "target.tar.gz"} {
		if r := w.run("evidence", "show", name); r.code != 0 {
			t.Errorf("%s: exit %d: %s", name, r.code, r.stderr)
		}
	}
}

// A report that cannot be written is an error, whatever the verdicts.
func TestReportCannotBeWritten(t *testing.T) {
	if _, err := os.Stat("/dev/full"); err != nil {
		t.Skip("there is no /dev/full here to play a disk that is full")
	}
	w := newWorld(t)
	w.lock(w.publish(lab.Release{Package: lab.Package{Name: "left"}}))
	r := w.run("audit", "--trusted-root", "trusted_root.json", "--report", "json=/dev/full")
	if r.code != 2 || !strings.Contains(r.stderr, "writing the json report") {
		t.Errorf("a full disk: exit %d: %s", r.code, r.stderr)
	}
}

// TestActions: on GitHub the text is accompanied by annotations and a summary, and nothing else is.
func TestActions(t *testing.T) {
	w := trouble(t)
	w.env["GITHUB_ACTIONS"], w.env["GITHUB_STEP_SUMMARY"] = "true", filepath.Join(w.home, "summary.md")
	summary := func() string {
		data, err := os.ReadFile(w.env["GITHUB_STEP_SUMMARY"])
		if err != nil && !os.IsNotExist(err) {
			t.Fatal(err)
		}
		return string(data)
	}
	commands := func(text string) (n int) {
		for line := range strings.Lines(text) {
			if strings.HasPrefix(line, "::") {
				n++
			}
		}
		return n
	}
	for _, args := range [][]string{
		{"audit", "--json"}, {"audit", "--format", "sarif"}, {"audit", "--tree"}, {"audit", "--why", "gone"}, {"verify", "@acme/fine@1.0.0"},
	} {
		r := w.run(append(args, "--trusted-root", "trusted_root.json")...)
		if commands(r.stdout+r.stderr) != 0 || summary() != "" {
			t.Errorf("%v: %d commands, summary %q", args, commands(r.stdout+r.stderr), summary())
		}
	}
	r := w.run("audit", "--trusted-root", "trusted_root.json")
	if r.code != 1 || commands(r.stdout) != 0 || commands(r.stderr) != 3 ||
		!strings.Contains(r.stderr, "::error file=package-lock.json,line=") || !strings.Contains(r.stderr, "title=stranger@1.0.0 ") {
		t.Errorf("exit %d\n%s\n%s", r.code, r.stdout, r.stderr)
	}
	if !strings.HasPrefix(summary(), "## Assay: 1 package denied\n") {
		t.Errorf("the summary is %q", summary())
	}
	w.run("audit", "--trusted-root", "trusted_root.json")
	if n := strings.Count(summary(), "## Assay:"); n != 2 {
		t.Errorf("after two runs the summary has %d reports", n)
	}
	if err := os.WriteFile(w.env["GITHUB_STEP_SUMMARY"], make([]byte, 1<<20-100), 0o644); err != nil {
		t.Fatal(err)
	}
	if r := w.run("audit", "--trusted-root", "trusted_root.json"); r.code != 1 || !strings.Contains(r.stderr, "it is full") || len(summary()) != 1<<20-100 {
		t.Errorf("a summary that is full: exit %d, %d bytes\n%s", r.code, len(summary()), r.stderr)
	}
	w.env["GITHUB_STEP_SUMMARY"] = filepath.Join(w.home, "nowhere", "summary.md")
	if r := w.run("audit", "--trusted-root", "trusted_root.json"); r.code != 1 || !strings.Contains(r.stderr, "assay: warning: writing the step's summary") {
		t.Errorf("a summary that cannot be written: exit %d\n%s", r.code, r.stderr)
	}
	w.env["GITHUB_ACTIONS"] = ""
	if r := w.run("audit", "--trusted-root", "trusted_root.json"); commands(r.stdout+r.stderr) != 0 {
		t.Error("there are annotations where there is no GitHub")
	}
}

// TestRoot: forms that name files from the root of the repository do so wherever the command runs.
func TestRoot(t *testing.T) {
	w := trouble(t)
	for _, name := range []string{"package.json", "package-lock.json", ".npmrc", "trusted_root.json"} {
		w.write("packages/my app/"+name, []byte(w.read(name)))
	}
	root := w.project
	for _, tt := range []struct{ dir, path, env, git, want string }{
		{".", ".", "", "", "package-lock.json"},
		{".", "packages/my app", "", "", "packages/my app/package-lock.json"},
		{"packages/my app", ".", "", "", "package-lock.json"},
		{"packages/my app", ".", "GITHUB_WORKSPACE", "", "packages/my app/package-lock.json"},
		{"packages/my app", ".", "CI_PROJECT_DIR", "", "packages/my app/package-lock.json"},
		{"packages/my app", "../..", "CI_PROJECT_DIR", "", "package-lock.json"},
		{"packages/my app", ".", "", ".git/HEAD", "packages/my app/package-lock.json"},
	} {
		w.project = root
		if tt.git != "" {
			w.write(tt.git, []byte("ref: refs/heads/main\n"))
		}
		w.env["GITHUB_WORKSPACE"], w.env["CI_PROJECT_DIR"] = "", ""
		if tt.env != "" {
			w.env[tt.env] = root
		}
		w.project = filepath.Join(root, filepath.FromSlash(tt.dir))
		r := w.run("audit", tt.path, "--trusted-root", "trusted_root.json", "--format", "gitlab")
		var list []struct{ Location struct{ Path string } }
		if err := json.Unmarshal([]byte(r.stdout), &list); err != nil || len(list) == 0 || list[0].Location.Path != tt.want {
			t.Errorf("%+v: %+v (%v)\n%s", tt, list, err, r.stderr)
		}
	}
}

// What a reader is told to type asks the same registry and trusts the same root.
func TestNextCommands(t *testing.T) {
	w := newWorld(t)
	w.lock(w.publish(lab.Release{Package: lab.Package{Name: "bare"}, Unsigned: true}))
	r := w.run("audit", "--trusted-root", "trusted_root.json", "--registry", w.server.URL)
	want := "$ assay verify bare@1.0.0 --registry " + w.server.URL + " --trusted-root trusted_root.json"
	if !strings.Contains(r.stdout, want) {
		t.Errorf("the text has no %q:\n%s", want, r.stdout)
	}
}

// A run that looked at bytes can be told from one that did not.
func TestBytesAreTold(t *testing.T) {
	w := newWorld(t)
	w.lock(w.publish(lab.Release{Package: lab.Package{Name: "left"}, CI: lab.GitHub("acme/left")}))
	const want = "1 tarball was fetched and has the digest that the registry names."
	if r := w.run("audit", "--trusted-root", "trusted_root.json"); strings.Contains(r.stdout, want) {
		t.Errorf("a tarball is told of that nobody fetched:\n%s", r.stdout)
	}
	if r := w.run("audit", "--tarballs", "--trusted-root", "trusted_root.json"); !strings.Contains(r.stdout, want) {
		t.Errorf("nothing tells of the tarball:\n%s%s", r.stdout, r.stderr)
	}
}

func TestDidYouMean(t *testing.T) {
	w := newWorld(t)
	for _, tt := range []struct {
		args string
		code int
		want string
	}{
		{"adit", 2, "is it assay audit?"},
		{"verfiy x", 2, "is it assay verify?"},
		{"help nosuch", 2, `unknown command "nosuch"`},
		{"help trust nosuch", 2, `unknown command "trust nosuch"`},
		{"help adit", 2, "is it assay audit?"},
		{"help", 0, "Available Commands"},
		{"help trust show", 0, "assay trust show"},
		{"help audit", 0, "Exit codes"},
		{"completion foo", 2, `unknown command "completion foo"`},
		{"completion bsh", 2, "is it assay completion bash?"},
		{"completion", 0, "bash"},
		{"trust shwo", 2, "is it assay trust show?"},
		{"audit --trusted-rot x", 2, "is it --trusted-root?"},
		{"audit --jsno", 2, "is it --json?"},
		{"audit --xyzzy", 2, "--help lists the flags"},
		{"version x", 2, "takes no arguments"},
		{"schema nosuch", 2, "there is no schema"},
		{"schema report report", 2, "one name"},
	} {
		r := w.run(strings.Fields(tt.args)...)
		if r.code != tt.code || !strings.Contains(r.stdout+r.stderr, tt.want) {
			t.Errorf("assay %s: exit %d, want %d with %q\n%s%s", tt.args, r.code, tt.code, tt.want, r.stdout, r.stderr)
		}
	}
}

// TestSchema: what audit prints is what the printed schema describes.
func TestSchema(t *testing.T) {
	w := trouble(t)
	c := jsonschema.NewCompiler()
	doc := must(jsonschema.UnmarshalJSON(strings.NewReader(w.run("schema").stdout)))
	if err := c.AddResource("report.json", doc); err != nil {
		t.Fatal(err)
	}
	s := must(c.Compile("report.json"))
	v := must(jsonschema.UnmarshalJSON(strings.NewReader(w.audit().stdout)))
	if err := s.Validate(v); err != nil {
		t.Error(err)
	}
}

// TestFilterSlips: a demand that no certificate can meet as it is written is a mistake and no verdict.
func TestFilterSlips(t *testing.T) {
	w := newWorld(t)
	w.publish(lab.Release{Package: lab.Package{Name: "left"}, CI: lab.GitHub("acme/left")})
	for _, tt := range []struct {
		args string
		code int
		want string
	}{
		{"--ref main", 2, "--ref refs/heads/main for a branch"},
		{"--ref v1.0.0", 2, "--ref refs/tags/v1.0.0 for a tag"},
		{"--source-ref main", 2, "no whole ref"},
		{"--ref refs/heads/main", 0, "was built from"},
		{"--repo acme", 2, "is not OWNER/REPO"},
		{"--repo git@github.com:acme/left", 2, "is not OWNER/REPO"},
		{"--repo git+https://github.com/acme/left.git", 2, "is not OWNER/REPO"},
		{"--repo https://github.com", 2, "is not OWNER/REPO"},
		{"--repo https://github.com/acme/left", 0, "was built from"},
		{"--repo github.com/acme/left.git", 0, "was built from"},
		{"--owner acme/left", 2, "--repo names a repository"},
		{"--workflow release.yml", 2, "--workflow .github/workflows/release.yml"},
		{"--workflow ./.github/workflows/release.yml", 2, "from the top"},
		{"--workflow .github/workflows/release.yml@refs/heads/main", 2, "--ref refs/heads/main"},
		{"--workflow .github/workflows/release.yml", 0, "was built from"},
		{"--workflow ci.yml --issuer https://gitlab.com", 1, "demanded"},
		{"--issuer token.actions.githubusercontent.com", 2, "begins with https://"},
		{"--source-digest 26d1651", 2, "no whole commit"},
		{"--signer-identity acme/left", 2, "no workflow at a ref"},
	} {
		r := w.run(append([]string{"verify", "left@1.0.0", "--trusted-root", "trusted_root.json"}, strings.Fields(tt.args)...)...)
		if flat := strings.Join(strings.Fields(r.stdout+r.stderr), " "); r.code != tt.code || !strings.Contains(flat, tt.want) {
			t.Errorf("%s: exit %d, want %d with %q\n%s%s", tt.args, r.code, tt.code, tt.want, r.stdout, r.stderr)
		}
	}
}

// TestPURLs audits a list on standard input.
func TestPURLs(t *testing.T) {
	w := newWorld(t)
	w.publish(lab.Release{Package: lab.Package{Name: "@acme/left"}, CI: lab.GitHub("acme/left")})
	w.publish(lab.Release{Package: lab.Package{Name: "plain"}})
	w.stdin = "# a list\npkg:npm/%40acme/left@1.0.0\n\npkg:npm/plain@1.0.0\n"
	r := w.audit("-")
	if r.code != 0 || r.pkg("@acme/left").Verdict != "provenance" || r.pkg("plain").Verdict != "signed" {
		t.Errorf("exit %d\n%.600s%s", r.code, r.stdout, r.stderr)
	}
	if p := r.pkg("plain"); p.File != "standard input" || p.Line != 4 || p.Bound != "none" {
		t.Errorf("%+v", p)
	}
	for in, want := range map[string]string{
		"": "names no package", "pkg:npm/plain": "standard input:1", "\n\nnonsense": "standard input:3",
	} {
		w.stdin = in
		if r := w.audit("-"); r.code != 2 || !strings.Contains(r.stderr, want) {
			t.Errorf("%q: exit %d: %s", in, r.code, r.stderr)
		}
	}
	if r := w.audit("-", "-"); r.code != 2 || !strings.Contains(r.stderr, "once") {
		t.Errorf("twice: exit %d: %s", r.code, r.stderr)
	}
}

// TestSBOM: an SBOM that comes in goes out with what was found added.
func TestSBOM(t *testing.T) {
	w := newWorld(t)
	w.publish(lab.Release{Package: lab.Package{Name: "left"}, CI: lab.GitHub("acme/left")})
	in := `{"bomFormat":"CycloneDX","specVersion":"1.6","version":1,"x-kept":[1, 2],"components":[{"type":"library","bom-ref":"a","name":"left","version":"1.0.0","purl":"pkg:npm/left@1.0.0"}]}`
	w.write("bom.json", []byte(in))
	r := w.run("audit", "bom.json", "--trusted-root", "trusted_root.json", "--format", "cyclonedx")
	if r.code != 0 || !strings.Contains(r.stdout, `"x-kept":[1, 2]`) || !strings.Contains(r.stdout, "assay:verdict") || !json.Valid([]byte(r.stdout)) {
		t.Errorf("exit %d\n%s%s", r.code, r.stdout, r.stderr)
	}
}

// TestManagerRegistries: packages are asked for where the project's own package manager is told to, and a registry
// that only the project names is not believed about its keys.
func TestManagerRegistries(t *testing.T) {
	const yarn = `__metadata:
  version: 8
  cacheKey: 10c0

"app@workspace:.":
  version: 0.0.0-use.local
  resolution: "app@workspace:."
  dependencies:
    left: "npm:^1.0.0"
  languageName: unknown
  linkType: soft

"left@npm:^1.0.0":
  version: 1.0.0
  resolution: "left@npm:1.0.0"
  checksum: 10c0/` + "9f6d1c8bb9e4f3a1d3d2f3c3a4b5c6d7e8f90123456789abcdef0123456789abcdef9f6d1c8bb9e4f3a1d3d2f3c3a4b5c6d7e8f90123456789abcdef012345" + `
  languageName: node
  linkType: hard
`
	const bun = `{
  "lockfileVersion": 1,
  "workspaces": {"": {"name": "app", "dependencies": {"left": "^1.0.0"}}},
  "packages": {"left": ["left@1.0.0", "", {}, "INTEGRITY"]}
}
`
	const pnpm = `lockfileVersion: '9.0'

importers:

  .:
    dependencies:
      left:
        specifier: ^1.0.0
        version: 1.0.0

packages:

  left@1.0.0:
    resolution: {integrity: INTEGRITY}

snapshots:

  left@1.0.0: {}
`
	for _, tt := range []struct{ lockfile, text, file, config, home string }{
		{"yarn.lock", yarn, ".yarnrc.yml", "npmRegistryServer: URL\n", ".yarnrc.yml"},
		{"bun.lock", bun, "bunfig.toml", "[install]\nregistry = \"URL\"\n", ".bunfig.toml"},
		{"pnpm-lock.yaml", pnpm, "pnpm-workspace.yaml", "registries:\n  default: URL\n", ".npmrc"},
	} {
		t.Run(tt.lockfile, func(t *testing.T) {
			w := newWorld(t)
			w.named = false
			p := w.publish(lab.Release{Package: lab.Package{Name: "left"}, CI: lab.GitHub("acme/left")})
			w.write("package.json", []byte(`{"name": "app", "dependencies": {"left": "^1.0.0"}}`))
			w.write(tt.lockfile, []byte(strings.ReplaceAll(tt.text, "INTEGRITY", p.Integrity)))
			config := strings.ReplaceAll(tt.config, "URL", w.server.URL)
			w.write(tt.file, []byte(config))
			r := w.audit()
			if got := r.pkg("left"); got.Registry != w.server.URL || got.Verdict != "unchecked" || !strings.Contains(rows(got), "untrusted-registry") {
				t.Errorf("registry %s, verdict %s: %s\n%s", got.Registry, got.Verdict, rows(got), r.stderr)
			}
			if tt.home == ".npmrc" {
				config = "registry=" + w.server.URL + "\n"
			}
			if err := os.WriteFile(filepath.Join(w.home, tt.home), []byte(config), 0o644); err != nil {
				t.Fatal(err)
			}
			if got := w.audit().pkg("left"); got.Registry != w.server.URL || got.Verdict != "provenance" {
				t.Errorf("with the user's word: registry %s, verdict %s: %s", got.Registry, got.Verdict, rows(got))
			}
			w.write(tt.file, []byte("npmRegistryServer: [\n[install\n"))
			if r := w.audit(); r.code != 2 || !strings.Contains(r.stderr, tt.file) {
				t.Errorf("a file that cannot be read: exit %d: %s", r.code, r.stderr)
			}
		})
	}
}

// TestSeveralPaths: several projects share a run where they share what it goes by.
func TestSeveralPaths(t *testing.T) {
	w := newWorld(t)
	w.lock(w.publish(lab.Release{Package: lab.Package{Name: "left"}, CI: lab.GitHub("acme/left")}))
	for _, dir := range []string{"a", "b"} {
		for _, name := range []string{"package.json", "package-lock.json"} {
			w.write(dir+"/"+name, []byte(w.read(name)))
		}
	}
	if r := w.audit("a", "b"); r.code != 0 || r.report().Summary.Packages != 2 {
		t.Errorf("exit %d: %s", r.code, r.stderr)
	}
	w.write("b/.npmrc", []byte("registry=https://elsewhere.example\n"))
	if r := w.audit("a", "b"); r.code != 2 || !strings.Contains(r.stderr, "a and b do not have the same .npmrc") || !strings.Contains(r.stderr, "one after the other") {
		t.Errorf("another .npmrc: exit %d: %s", r.code, r.stderr)
	}
	w.write("a/.npmrc", []byte("registry=https://elsewhere.example\n"))
	w.write("a/assay.yaml", []byte("version: 1\n"))
	if r := w.audit("a", "b", "--registry", w.server.URL); r.code != 2 || !strings.Contains(r.stderr, "assay.yaml") {
		t.Errorf("another policy: exit %d: %s", r.code, r.stderr)
	}
	if r := w.audit("a", "b", "--registry", w.server.URL, "--policy", "a/assay.yaml"); r.code != 0 {
		t.Errorf("one policy for both: exit %d: %s", r.code, r.stderr)
	}
}

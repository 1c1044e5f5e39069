package cli_test

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"assay/internal/lab"
	"assay/internal/policy"
	"assay/internal/report"
	"assay/internal/verify"

	"github.com/google/go-cmp/cmp"
)

// A manager is a package manager that writes a lockfile of its own.
type manager struct {
	name, spec, program string
	args                []string // that lock and install nothing, if it can
	lockfile            string
	files               func(registry string) map[string]string
}

var managers = []manager{
	{name: "npm", program: "npm", args: []string{"install", "--package-lock-only"}, lockfile: "package-lock.json"},
	{name: "pnpm", spec: "pnpm@10", program: "pnpm", args: []string{"install", "--lockfile-only"}, lockfile: "pnpm-lock.yaml",
		files: func(string) map[string]string {
			return map[string]string{"pnpm-workspace.yaml": "packages:\n  - packages/*\n"}
		}},
	{name: "yarn 1", spec: "yarn@1", program: "yarn", args: []string{"install", "--non-interactive", "--ignore-scripts", "--ignore-platform"}, lockfile: "yarn.lock"},
	{name: "yarn 4", spec: "@yarnpkg/cli-dist@4", program: "yarn", args: []string{"install", "--mode=update-lockfile"}, lockfile: "yarn.lock",
		files: func(registry string) map[string]string {
			return map[string]string{"yarn.lock": "", ".yarnrc.yml": "enableTelemetry: false\nnpmRegistryServer: \"" + registry + "\"\nunsafeHttpWhitelist:\n  - 127.0.0.1\n"}
		}},
	{name: "bun", spec: "bun@1", program: "bun", args: []string{"install", "--lockfile-only"}, lockfile: "bun.lock"},
}

// lock lets a package manager lock the project in a directory of its own, which becomes the world's project.
func (m *manager) lock(t *testing.T, w *world, files map[string]string) {
	t.Helper()
	program := tool(t, m.spec, m.program)
	w.project = t.TempDir()
	w.write("trusted_root.json", w.TrustedRoot())
	w.write(".npmrc", []byte("registry="+w.server.URL+"/\n"))
	for name, text := range files {
		w.write(name, []byte(text))
	}
	if m.files != nil {
		for name, text := range m.files(w.server.URL) {
			w.write(name, []byte(text))
		}
	}
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, program, m.args...)
	cmd.Dir = w.project
	home := t.TempDir()
	cmd.Env = append(os.Environ(), "HOME="+home, "XDG_CACHE_HOME="+filepath.Join(home, "cache"), "XDG_DATA_HOME="+filepath.Join(home, "data"),
		"npm_config_cache="+filepath.Join(home, "npm"), "npm_config_registry="+w.server.URL+"/", "BUN_INSTALL_CACHE_DIR="+filepath.Join(home, "bun"),
		"YARN_CACHE_FOLDER="+filepath.Join(home, "yarn"), "YARN_IGNORE_PATH=1", "YARN_ENABLE_IMMUTABLE_INSTALLS=false",
		"COREPACK_ENABLE_STRICT=0", "CI=", "HTTP_PROXY=", "HTTPS_PROXY=", "http_proxy=", "https_proxy=")
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%s does not lock the project: %v\n%s", m.name, err, out)
	}
	if _, err := os.Stat(filepath.Join(w.project, m.lockfile)); err != nil {
		t.Fatalf("%s writes no lockfile: %v", m.name, err)
	}
}

// publishTree publishes packages of every kind, and returns the files of a project that uses them all.
func publishTree(w *world) map[string]string {
	at := w.Now().Add(-30 * 24 * time.Hour)
	publish := func(name, version string, ci lab.CI, manifest map[string]any, change func(*lab.Release)) {
		r := lab.Release{Package: lab.Package{Name: name, Version: version, Manifest: manifest}, CI: ci, At: at}
		if change != nil {
			change(&r)
		}
		w.publish(r)
	}
	asks := func(pairs ...string) map[string]any {
		m := map[string]any{}
		for i := 0; i < len(pairs); i += 2 {
			m[pairs[i]] = pairs[i+1]
		}
		return m
	}
	publish("leaf", "1.4.0", lab.GitHub("acme/leaf"), nil, nil)
	publish("leaf", "2.1.0", lab.GitHub("acme/leaf"), nil, nil)
	publish("mid", "1.0.0", lab.GitLab("acme/tools/mid"), map[string]any{"dependencies": asks("leaf", "^1.0.0")}, nil)
	publish("top", "3.2.1", lab.GitHub("acme/top"), map[string]any{"dependencies": asks("mid", "~1.0.0", "signed", "*")}, nil)
	publish("signed", "1.0.0", nil, nil, nil)
	publish("bare", "0.9.0", nil, nil, func(r *lab.Release) { r.Unsigned = true })
	publish("forked", "1.0.0", lab.GitHub("mallory/forked"), map[string]any{"repository": "acme/forked"}, nil)
	publish("@acme/scoped", "2.0.0", lab.GitHub("acme/scoped"), map[string]any{"dependencies": asks("bare", "^0.9.0")}, nil)
	publish("@acme/real-name", "1.1.0", lab.GitHub("acme/real-name"), nil, nil)
	publish("native", "1.0.0", lab.GitHub("acme/native"), map[string]any{"optionalDependencies": asks("@acme/native-linux", "1.0.0", "@acme/native-aix", "1.0.0")}, nil)
	publish("@acme/native-linux", "1.0.0", lab.GitHub("acme/native"), map[string]any{"os": []any{"linux", "darwin", "win32"}}, nil)
	publish("@acme/native-aix", "1.0.0", lab.GitHub("acme/native"), map[string]any{"os": []any{"aix"}, "cpu": []any{"ppc64"}}, nil)
	publish("lint", "1.0.0", lab.GitLab("acme/lint"), map[string]any{"dependencies": asks("lint-rules", "^1.0.0")}, nil)
	publish("lint-rules", "1.0.3", nil, nil, nil)
	publish("part-only", "1.0.0", lab.GitHub("acme/part-only"), nil, nil)
	return map[string]string{
		"package.json": `{"name": "app", "version": "1.0.0", "private": true, "workspaces": ["packages/*"],
"dependencies": {"top": "^3.0.0", "leaf": "^2.0.0", "forked": "1.0.0", "@acme/scoped": "^2.0.0", "nick": "npm:@acme/real-name@^1.0.0"},
"devDependencies": {"lint": "^1.0.0"}, "optionalDependencies": {"native": "^1.0.0"}}`,
		"packages/part/package.json": `{"name": "part", "version": "1.0.0", "dependencies": {"leaf": "^1.0.0", "part-only": "^1.0.0"}, "devDependencies": {"lint-rules": "^1.0.0"}}`,
	}
}

// told is what a report says of each package: its bytes, who made them, what holds, what is decided and why it is there.
// What ties that to bytes is apart, and so are places, which each package manager chooses for itself.
func told(rep *report.Report) (packages map[string]string, bound map[string]int) {
	packages, bound = map[string]string{}, map[string]int{}
	tell := func(key, text string) {
		for packages[key] != "" {
			key += " again"
		}
		packages[key] = text
	}
	for i := range rep.Packages {
		p := &rep.Packages[i]
		if n := len(p.Path) - 1; p.Name == "@acme/real-name" && p.Path[n] == "nick" {
			p.Path[n] = p.Name // npm and bun have a place for each name, pnpm and yarn one entry for all names
		}
		text := fmt.Sprintf("%s %s direct=%t dev=%t path=%s %s", p.Verdict, p.Decision, p.Direct, p.Dev, strings.Join(p.Path, ">"), p.Integrity)
		if p.Publisher != nil {
			text += " " + p.Publisher.Repository + "@" + p.Publisher.Commit
		}
		tell(p.Name+"@"+p.Version, text+" "+rows(p))
		bound[p.Bound]++
	}
	for _, o := range rep.Others {
		tell(o.Name, fmt.Sprintf("%s %s", o.Source, o.Decision))
	}
	return packages, bound
}

// unbound takes back what the rule unbound adds to a report whose lockfile ties nothing to bytes: a warning on each
// package that is not denied. It returns on how many it stands.
func unbound(rep *report.Report) int {
	n := 0
	for i := range rep.Packages {
		p := &rep.Packages[i]
		had := len(p.Findings)
		p.Findings = slices.DeleteFunc(p.Findings, func(f policy.Finding) bool { return f.Rule == "unbound" && f.Level == policy.Warn })
		if len(p.Findings) == had {
			continue
		}
		n++
		if !slices.ContainsFunc(p.Findings, func(f policy.Finding) bool { return f.Level != policy.Note }) {
			p.Decision = policy.Decision(policy.Allow)
		}
	}
	return n
}

// TestManagers locks one project with five package managers, from one registry, and audits what they write: the packages,
// their bytes, who made them and what is decided are the same, whoever wrote the lockfile. Only yarn 4 writes nothing of
// bytes, so that all it locks is unbound until the tarballs are looked at.
func TestManagers(t *testing.T) {
	if testing.Short() {
		t.Skip("real package managers not run in short mode")
	}
	w := newWorld(t)
	files := publishTree(w)
	wantVerdicts := map[string]verify.Verdict{
		"leaf@1.4.0": verify.Provenance, "leaf@2.1.0": verify.Provenance, "mid@1.0.0": verify.Provenance, "top@3.2.1": verify.Provenance,
		"signed@1.0.0": verify.Signed, "bare@0.9.0": verify.Unsigned, "forked@1.0.0": verify.Invalid, "@acme/scoped@2.0.0": verify.Provenance,
		"@acme/real-name@1.1.0": verify.Provenance, "native@1.0.0": verify.Provenance, "@acme/native-linux@1.0.0": verify.Provenance,
		"@acme/native-aix@1.0.0": verify.Provenance, "lint@1.0.0": verify.Provenance, "lint-rules@1.0.3": verify.Signed, "part-only@1.0.0": verify.Provenance,
	}
	all := len(wantVerdicts)
	locked := map[string]map[string]string{} // what is told, by --tarballs or not, of the first that ran
	for _, m := range managers {
		t.Run(m.name, func(t *testing.T) {
			w.t = t
			m.lock(t, w, files)
			for _, args := range [][]string{nil, {"--tarballs"}, {"--omit", "dev"}, {"--omit", "optional"}, {"--workspace", "part"}} {
				how := strings.Join(args, " ")
				r := w.audit(args...)
				rep := r.report()
				wantUnbound, wantBound := 0, "lockfile"
				switch {
				case m.name != "yarn 4":
				case how == "--tarballs":
					wantBound = "tarball"
				default:
					wantUnbound, wantBound = len(rep.Packages)-rep.Summary.Deny, "none" // of what is denied that is not told as well
				}
				if n := unbound(rep); n != wantUnbound {
					t.Errorf("%s: %d packages are unbound, want %d", how, n, wantUnbound)
				}
				got, bound := told(rep)
				if bound[wantBound] != len(rep.Packages) {
					t.Errorf("%s: %d packages are bound by %v, want all by %s", how, len(rep.Packages), bound, wantBound)
				}
				if how == "" || how == "--tarballs" {
					verdicts := map[string]verify.Verdict{}
					for i := range rep.Packages {
						verdicts[rep.Packages[i].Name+"@"+rep.Packages[i].Version] = rep.Packages[i].Verdict
					}
					if diff := cmp.Diff(wantVerdicts, verdicts); diff != "" || len(rep.Packages) != all || r.code != 1 {
						t.Errorf("%s: %d packages, exit code %d, verdicts (-want +got):\n%s", how, len(rep.Packages), r.code, diff)
					}
				}
				want := locked[how]
				if want == nil {
					locked[how] = got
				} else if diff := cmp.Diff(want, got); diff != "" {
					t.Errorf("%s: what is told of a lockfile of %s and of %s (-first +this):\n%s", how, managers[0].name, m.name, diff)
				}
			}
		})
	}
}

// TestRegistriesOfEveryPath: the settings of the project's package manager say where packages are asked for, whatever
// names the project.
func TestRegistriesOfEveryPath(t *testing.T) {
	for _, tt := range []struct{ mark, file, config string }{
		{"node_modules/.yarn-state.yml", ".yarnrc.yml", "npmRegistryServer: URL\n"},
		{"", ".yarnrc.yml", "npmRegistryServer: URL\n"},
		{"", "bunfig.toml", "[install]\nregistry = \"URL\"\n"},
		{"", "pnpm-workspace.yaml", "registries:\n  default: URL\n"},
	} {
		w := newWorld(t)
		w.named = false
		w.publish(lab.Release{Package: lab.Package{Name: "left"}})
		w.write("package.json", []byte(`{"name": "app", "dependencies": {"left": "^1.0.0"}}`))
		w.write(tt.file, []byte(strings.ReplaceAll(tt.config, "URL", w.server.URL)))
		if tt.mark != "" {
			w.write(tt.mark, nil)
		}
		w.write("node_modules/left/package.json", []byte(`{"name": "left", "version": "1.0.0"}`))
		w.write("bom.json", []byte(`{"bomFormat":"CycloneDX","specVersion":"1.6","components":[{"type":"library","bom-ref":"a","name":"left","version":"1.0.0","purl":"pkg:npm/left@1.0.0"}]}`))
		w.stdin = "pkg:npm/left@1.0.0\n"
		for _, path := range []string{"node_modules", ".", "bom.json", "-"} {
			if got := w.audit(path).pkg("left"); got.Registry != w.server.URL {
				t.Errorf("%s of a project with %s: registry %s", path, tt.file, got.Registry)
			}
		}
		w.write("bunfig.toml", []byte("[install]\nregistry = \"https://other.example\"\n"))
		if r := w.audit("bom.json"); tt.mark == "" && tt.file != "bunfig.toml" && (r.code != 2 || !strings.Contains(r.stderr, "two registries")) {
			t.Errorf("%s and bunfig.toml: exit %d: %s", tt.file, r.code, r.stderr)
		} else if tt.mark != "" && r.pkg("left").Registry != w.server.URL {
			t.Errorf("%s: registry %s", tt.mark, r.pkg("left").Registry)
		}
	}
}

// TestListWithoutPackages: a list with nothing of npm's in it is as good as an empty one.
func TestListWithoutPackages(t *testing.T) {
	w := newWorld(t)
	for _, list := range []string{"", "# pkg:npm/left@1.0.0\n", "pkg:cargo/serde@1.0.0\npkg:pypi/x@1\n"} {
		w.stdin = list
		if r := w.audit("-"); r.code != 2 || !strings.Contains(r.stderr, "names no package of npm's") {
			t.Errorf("%q: exit %d: %s", list, r.code, r.stderr)
		}
	}
}

// TestWorkspaceWithLinks: a workspace of pnpm holds links to what is installed elsewhere, and the directory to name is
// the one with the lockfile.
func TestWorkspaceWithLinks(t *testing.T) {
	w := newWorld(t)
	w.lock(w.publish(lab.Release{Package: lab.Package{Name: "left"}}))
	w.write("node_modules/.pnpm/left@1.0.0/node_modules/left/package.json", []byte(`{"name": "left", "version": "1.0.0"}`))
	w.write("packages/a/package.json", []byte(`{"name": "a", "dependencies": {"left": "^1.0.0", "@acme/b": "workspace:*"}}`))
	w.write("packages/b/package.json", []byte(`{"name": "@acme/b"}`))
	w.write("packages/a/node_modules/.bin/left", nil)
	w.write("packages/a/node_modules/@acme/.x", nil)
	for name, to := range map[string]string{
		"packages/a/node_modules/left":    "../../../node_modules/.pnpm/left@1.0.0/node_modules/left",
		"packages/a/node_modules/@acme/b": "../../../b",
	} {
		if err := os.Symlink(to, filepath.Join(w.project, name)); err != nil {
			t.Skip("no links here:", err)
		}
	}
	for _, path := range []string{"packages/a", "packages/a/node_modules"} {
		if r := w.audit(path); r.code != 2 || !strings.Contains(r.stderr, "assay audit . -w packages/a") || strings.Count(r.stderr, "\n") > 3 {
			t.Errorf("%s: exit %d: %s", path, r.code, r.stderr)
		}
	}
	w.write("packages/a/node_modules/own/package.json", []byte(`{"name": "left", "version": "1.0.0"}`))
	if r := w.audit("packages/a"); r.code == 2 {
		t.Errorf("with a package of its own: exit %d: %s", r.code, r.stderr)
	}
}

// TestSigningFlagsWithoutSign: what says how to sign is no use where nothing is signed.
func TestSigningFlagsWithoutSign(t *testing.T) {
	w := newWorld(t)
	w.lock(w.publish(lab.Release{Package: lab.Package{Name: "left"}}))
	for _, flag := range []string{"--allow-private", "--signing-config=signing.json", "--tsa-url=https://tsa.example"} {
		name, _, _ := strings.Cut(flag, "=")
		if r := w.audit(flag); r.code != 2 || !strings.Contains(r.stderr, name+" is about --sign") {
			t.Errorf("%s: exit %d: %s", flag, r.code, r.stderr)
		}
	}
	if r := w.audit(); r.code != 0 {
		t.Errorf("exit %d: %s", r.code, r.stderr)
	}
}

// TestStrippedQuietly: with -q the cause of a hundred denials is told, and first.
func TestStrippedQuietly(t *testing.T) {
	w := newWorld(t)
	var packages []*lab.Published
	for i := range 12 {
		packages = append(packages, w.publish(lab.Release{Package: lab.Package{Name: fmt.Sprintf("pkg-%d", i)}}))
	}
	w.lock(packages...)
	w.server.Misbehave(lab.Match{Endpoint: lab.EndpointVersion}, lab.StripDist("signatures", "attestations"), 0)
	r := w.run("audit", "-q", "--trusted-root", "trusted_root.json")
	if r.code != 1 || !strings.HasPrefix(r.stdout, "signatures-stripped: ") || strings.Count(r.stdout, "registry-signature") != 1 {
		t.Errorf("exit %d\n%s%s", r.code, r.stdout, r.stderr)
	}
}

// TestPageOfArchive: the page tells of which archive it is, and the same each time.
func TestPageOfArchive(t *testing.T) {
	w := newWorld(t)
	w.lock(w.publish(lab.Release{Package: lab.Package{Name: "left"}}))
	w.write("keys.json", w.RegistryKeys())
	if r := w.run("evidence", "export", "-o", "e.tar.gz", "--trusted-root", "trusted_root.json", "--registry-keys", "keys.json"); r.code != 0 {
		t.Fatalf("exit %d: %s", r.code, r.stderr)
	}
	page := func() string {
		r := w.run("audit", "--format", "html", "--evidence", "e.tar.gz", "--trusted-root", "trusted_root.json", "--registry-keys", "keys.json")
		if r.code != 0 {
			t.Fatalf("exit %d: %s", r.code, r.stderr)
		}
		return r.stdout
	}
	first := page()
	if !strings.Contains(first, "<dt>made by</dt><dd>Assay ") || !strings.Contains(first, "<dt>evidence of</dt><dd>") || strings.Contains(first, "<dt>made</dt>") {
		t.Errorf("%s", first[strings.Index(first, "<footer>"):])
	}
	if page() != first {
		t.Error("the same archive gives another page")
	}
}

package e2e_test

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"assay/internal/lab"
)

// checkout makes a git repository with a package in it, and returns its directory and commit.
func (d *desk) checkout(name, version, repository string) (dir, commit string) {
	d.Helper()
	dir = filepath.Join(d.home, "checkout")
	d.write(filepath.Join(dir, "package.json"), fmt.Appendf(nil,
		`{"name":%q,"version":%q,"license":"MIT","files":["dist"],"repository":{"type":"git","url":%q},"scripts":{"build":"mkdir -p dist && echo built > dist/index.js"}}`,
		name, version, repository))
	d.write(filepath.Join(dir, ".gitignore"), []byte("dist\n"))
	git := func(args ...string) string {
		out := d.run(dir, []string{"GIT_CONFIG_GLOBAL=" + os.DevNull, "GIT_CONFIG_SYSTEM=" + os.DevNull}, "git",
			append([]string{"-c", "user.name=e2e", "-c", "user.email=e2e@e2e.assay.test"}, args...)...)
		if out.code != 0 {
			d.Fatalf("git %v: %v", args, out)
		}
		return strings.TrimSpace(out.stdout)
	}
	git("init", "-q", "-b", "main")
	git("add", "-A")
	git("commit", "-q", "-m", "a package")
	return dir, git("rev-parse", "HEAD")
}

// TestAssayPublishes: assay publish as a job runs it, with no flag but the trusted root: it builds, packs with npm, signs
// with the real services and uploads; then npm installs and audits the package, and assay names its commit.
func TestAssayPublishes(t *testing.T) {
	tests := []struct {
		ci      string
		trusted bool // as a trusted publisher, else with the token of .npmrc
		flags   []string
	}{
		{"GitHub", true, []string{"--auth", "trusted"}},
		{"GitHub", false, []string{"--auth", "token", "--access", "public"}},
		{"GitLab", true, []string{"--auth", "trusted"}},
	}
	for i, tt := range tests {
		t.Run(fmt.Sprint(tt.ci, ", ", tt.flags[1]), func(t *testing.T) {
			d := newDesk(t)
			name := fmt.Sprintf("@acme/published-%d", i)
			var env []string
			var dir, commit string
			if tt.ci == "GitHub" {
				run := lab.GitHub("acme/published")
				dir, commit = d.checkout(name, "2.0.0", "git+https://github.com/acme/published.git")
				run.SHA = commit
				env = d.Issuers.GitHubEnv(run)
			} else {
				run := lab.GitLab("acme/published")
				dir, commit = d.checkout(name, "2.0.0", "git+https://gitlab.com/acme/published.git")
				run.SHA = commit
				env = d.Issuers.GitLabEnv(run, lab.HostRegistry)
			}
			if tt.trusted { // only a package that is there already has a trusted publisher
				if _, err := d.Lab.Publish(lab.Release{Package: lab.Package{Name: name, Version: "1.0.0"}}); err != nil {
					t.Fatal(err)
				}
			}
			args := append([]string{"publish", "--build", "npm run build", "--watch", "--watch-timeout", "60s", "--json"}, append(tt.flags, d.trusted()...)...)
			out := d.assay(dir, env, args...)
			var answer struct {
				Outcome string
				Trusted bool `json:"trusted_publishing"`
				Verdict string
			}
			if err := json.Unmarshal([]byte(out.stdout), &answer); err != nil || out.code != 0 {
				t.Fatalf("assay publish: %v", out)
			}
			if answer.Outcome != "published" || answer.Trusted != tt.trusted || answer.Verdict != "provenance" {
				t.Errorf("assay publish: %+v", answer)
			}
			r := &row{artifact: artifact{name: name, version: "2.0.0"}}
			if c := d.auditSignatures(d.install(d.env, []*row{r}), d.env, []*row{r})[name+"@2.0.0"]; c != "" {
				t.Errorf("npm audit signatures: %s", c)
			}
			verify := append([]string{"verify", name + "@2.0.0", "--source-digest", commit}, d.trusted()...)
			if out := d.assay(d.home, nil, verify...); out.code != 0 {
				t.Errorf("assay verify: %v", out)
			}
			again := d.assay(dir, env, args...)
			if again.code != 0 || !strings.Contains(again.stdout, `"already-published"`) {
				t.Errorf("a second run: %v", again)
			}
		})
	}
}

// TestNPMPublishes: an unmodified npm publishes as a trusted publisher, which turns provenance on by itself, and assay
// says who built the package, and that another repository did not.
func TestNPMPublishes(t *testing.T) {
	for _, newJob := range []func(string) job{github, gitlab} {
		j := newJob("acme/trusted")
		t.Run(j.ci, func(t *testing.T) {
			d := newDesk(t)
			name := "@acme/trusted-" + strings.ToLower(j.ci)
			if _, err := d.Lab.Publish(lab.Release{Package: lab.Package{Name: name, Version: "1.0.0"}}); err != nil {
				t.Fatal(err)
			}
			a := d.pack(name, "1.1.0", j)
			d.write(".npmrc", nil) // no token: the job's identity has to do
			if out := d.npm(a.dir, j.environ(d.Issuers), "publish", "--access", "public"); out.code != 0 {
				t.Fatalf("npm publish: %v", out)
			}
			host := map[string]string{"GitHub": "https://github.com/", "GitLab": "https://gitlab.com/"}[j.ci]
			for repository, want := range map[string]int{host + "acme/trusted": 0, host + "acme/other": 1} {
				out := d.assay(d.home, nil, append([]string{"verify", a.spec(), "--repo", repository}, d.trusted()...)...)
				if out.code != want {
					t.Errorf("assay verify --repo %s: %v", repository, out)
				}
			}
		})
	}
}

// TestRefusals: what every consumer accepts it refuses with one member of another bundle, so that yes means something.
func TestRefusals(t *testing.T) {
	d := newDesk(t)
	j := github("acme/refused")
	a := d.pack("@acme/refused", "1.0.0", j)
	good := d.signWithSigstoreGo(d.statement(a, j), d.Lab.Token(j.run, "sigstore"), 1, true)
	other := d.signWithSigstoreGo(d.statement(a, j), d.Lab.Token(j.run, "sigstore"), 1, true)

	// with is the bundle with a member taken from another one: well-formed, and wrong.
	with := func(path ...string) []byte {
		t.Helper()
		text, err := json.Marshal(graft(decode(t, good), decode(t, other), path))
		d.must(err)
		return text
	}
	tests := []struct {
		name   string
		bundle []byte
		refuse bool
		but    string // who accepts it all the same
	}{
		{"as it was signed", good, false, ""},
		{"another signature", with("dsseEnvelope", "signatures", "sig"), true, ""},
		{"another certificate", with("verificationMaterial", "certificate", "rawBytes"), true, ""},
		{"another log entry", with("verificationMaterial", "tlogEntries", "canonicalizedBody"), true, ""},
		{"another promise of the log", with("verificationMaterial", "tlogEntries", "inclusionPromise"), true, ""},
		// sigstore-go passes over a timestamp that does not verify where another clock, here the log's, is enough.
		{"another timestamp", with("verificationMaterial", "timestampVerificationData", "rfc3161Timestamps"), true, "sigstore-go"},
	}
	bundles := map[string]json.RawMessage{}
	for _, tt := range tests {
		bundles[tt.name] = tt.bundle
	}
	node := d.verifyWithNode(d.TrustedRoot, nil, bundles)
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			d := d.in(t)
			said := map[string]bool{}
			file := d.write("bundle.json", tt.bundle)
			out := d.assay(d.home, nil, append([]string{"verify", a.file, "--bundle", file}, d.trusted()...)...)
			if out.code != 0 && out.code != 1 {
				t.Errorf("assay verify: %v", out)
			}
			said["assay"] = out.code != 0
			said["sigstore-go"] = verifyWithSigstoreGo(d.TrustedRoot, tt.bundle, a.sha512[:], j.run) != nil
			for _, n := range node {
				said["@sigstore/verify "+n.Version] = n.Results[tt.name] != ""
			}
			if !tt.refuse || tt.name == "another signature" { // npm takes a second; the verifier is the same
				out := d.npm(d.home, nil, "publish", a.file, "--provenance-file", file, "--access", "public")
				said["npm publish --provenance-file"] = out.code != 0
			}
			for who, refused := range said {
				if refused != (tt.refuse && who != tt.but) {
					t.Errorf("%s: refused %v, want %v", who, refused, tt.refuse)
				}
			}
		})
	}
	t.Run("another job", func(t *testing.T) {
		d := d.in(t)
		file := d.write("bundle.json", good)
		out := d.assay(d.home, nil, append([]string{"verify", a.file, "--bundle", file, "--repo", "acme/other"}, d.trusted()...)...)
		if out.code != 1 {
			t.Errorf("assay verify: %v", out)
		}
		if verifyWithSigstoreGo(d.TrustedRoot, good, a.sha512[:], lab.GitHub("acme/other")) == nil {
			t.Error("sigstore-go accepts it")
		}
	})
	t.Run("another tarball", func(t *testing.T) {
		d := d.in(t)
		changed := d.pack("@acme/refused", "1.0.1", j)
		file := d.write("bundle.json", good)
		if out := d.assay(d.home, nil, append([]string{"verify", changed.file, "--bundle", file}, d.trusted()...)...); out.code != 1 {
			t.Errorf("assay verify: %v", out)
		}
		if verifyWithSigstoreGo(d.TrustedRoot, good, changed.sha512[:], j.run) == nil {
			t.Error("sigstore-go accepts it")
		}
		if out := d.npm(d.home, nil, "publish", changed.file, "--provenance-file", file, "--access", "public"); out.code == 0 {
			t.Error("npm publishes it")
		}
	})
}

func decode(t *testing.T, text []byte) any {
	t.Helper()
	var v any
	if err := json.Unmarshal(text, &v); err != nil {
		t.Fatal(err)
	}
	return v
}

// graft replaces the member at a path of a JSON value by that of another one, and returns the value. Of an array the
// path means the first element.
func graft(to, from any, path []string) any {
	if list, ok := to.([]any); ok {
		graft(list[0], from.([]any)[0], path)
		return to
	}
	a, b := to.(map[string]any), from.(map[string]any)
	if len(path) == 1 {
		a[path[0]] = b[path[0]]
	} else {
		graft(a[path[0]], b[path[0]], path[1:])
	}
	return to
}

// TestFirstEntry: the index of a log's first entry is 0, which the JSON form of a bundle leaves out.
func TestFirstEntry(t *testing.T) {
	d := newDesk(t)
	bundles := map[string]json.RawMessage{}
	for i, text := range firstEntries {
		if entry := decode(t, text).(map[string]any)["verificationMaterial"].(map[string]any)["tlogEntries"].([]any)[0].(map[string]any); entry["logIndex"] != nil {
			t.Fatalf("Rekor v%d: this is not the first entry: %v", i+1, entry["logIndex"])
		}
		if b := parse(t, d.TrustedRoot, text); b.Entries[0].LogIndex != 0 {
			t.Errorf("Rekor v%d: index %d", i+1, b.Entries[0].LogIndex)
		}
		if err := verifyWithSigstoreGo(d.TrustedRoot, text, make([]byte, 64), lab.GitHub("acme/first")); err != nil {
			t.Errorf("Rekor v%d: sigstore-go: %v", i+1, err)
		}
		bundles[fmt.Sprint("v", i+1)] = text
	}
	for _, n := range d.verifyWithNode(d.TrustedRoot, nil, map[string]json.RawMessage{"v1": bundles["v1"]}) {
		if why := n.Results["v1"]; why != "" {
			t.Errorf("%s %s: %s", n.Package, n.Version, why)
		}
	}
}

// TestNothingBeyondLoopback: no service of the stack listens where other machines could reach it.
func TestNothingBeyondLoopback(t *testing.T) {
	if _, err := os.Stat("/proc/net/tcp"); err != nil {
		t.Skip("there is no /proc here to look at listeners in")
	}
	d := newDesk(t)
	processes, err := d.Processes()
	d.must(err)
	inodes := map[string]string{} // socket to process
	for name, pid := range processes {
		dir := fmt.Sprintf("/proc/%d/fd", pid)
		entries, err := os.ReadDir(dir)
		if err != nil {
			t.Fatalf("%s does not run: %v", name, err)
		}
		for _, e := range entries {
			if link, err := os.Readlink(filepath.Join(dir, e.Name())); err == nil && strings.HasPrefix(link, "socket:[") {
				inodes[strings.TrimSuffix(strings.TrimPrefix(link, "socket:["), "]")] = name
			}
		}
	}
	listening := map[string]int{}
	for _, table := range []string{"/proc/net/tcp", "/proc/net/tcp6"} {
		text, err := os.ReadFile(table)
		d.must(err)
		for _, line := range strings.Split(string(text), "\n")[1:] {
			f := strings.Fields(line)
			if len(f) < 10 || f[3] != "0A" || inodes[f[9]] == "" { // 0A: listening
				continue
			}
			listening[inodes[f[9]]]++
			address, _, _ := strings.Cut(f[1], ":")
			if address != "0100007F" && address != "00000000000000000000000001000000" && address != "0000000000000000FFFF00000100007F" {
				t.Errorf("%s listens on %s (hexadecimal)", inodes[f[9]], f[1])
			}
		}
	}
	for name := range processes {
		if listening[name] == 0 {
			t.Errorf("%s listens nowhere, so this test saw nothing of it", name)
		}
	}
}

// TestFulcioRefuses: what the real Fulcio says of a token that it does not take is told, with an exit code of its own,
// and no bundle is written.
func TestFulcioRefuses(t *testing.T) {
	d := newDesk(t)
	j := gitlab("acme/denied")
	a := d.pack("@acme/denied", "1.0.0", j)
	stranger, err := lab.New(lab.Options{})
	d.must(err)
	services, err := stranger.ListenServices("")
	d.must(err)
	defer services.Close()
	env := j.environ(services)
	bundle := filepath.Join(d.home, "bundle.json")
	out := d.assay(d.home, env, "attest", a.file, "-o", bundle, "--trusted-root", filepath.Join(d.home, "trusted_root.json"))
	if out.code != 3 || !strings.Contains(out.stderr, "asking for a signing certificate at https://fulcio.sigstore.dev") || !strings.Contains(out.stderr, "processing the identity token") {
		t.Errorf("assay attest: %v", out)
	}
	if _, err := os.Stat(bundle); err == nil {
		t.Error("there is a bundle")
	}
	for _, variable := range env {
		name, value, _ := strings.Cut(variable, "=")
		if strings.HasSuffix(name, "_ID_TOKEN") && strings.Contains(out.stdout+out.stderr, value) {
			t.Errorf("%s is printed", name)
		}
	}
}

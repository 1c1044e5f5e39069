package cli_test

import (
	"encoding/base64"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"assay/internal/lab"
	"assay/internal/report"
	"assay/internal/verify"
)

func TestAudit(t *testing.T) {
	w := newWorld(t)
	attested := w.publish(lab.Release{Package: lab.Package{Name: "@acme/attested"}, CI: lab.GitHub("acme/attested")})
	signed := w.publish(lab.Release{Package: lab.Package{Name: "signed"}})
	unsigned := w.publish(lab.Release{Package: lab.Package{Name: "unsigned"}, Unsigned: true})
	stranger := w.publish(lab.Release{Package: lab.Package{Name: "stranger", Manifest: map[string]any{"repository": "acme/stranger"}}, CI: lab.GitHub("mallory/stranger")})
	w.lock(attested, signed)
	r := w.audit()
	if r.code != 0 || r.report().Summary.Provenance != 1 || r.report().Summary.Signed != 1 {
		t.Fatalf("exit %d, summary %+v; %s", r.code, r.report().Summary, r.stderr)
	}
	p := r.pkg("@acme/attested")
	if p.Publisher == nil || p.Publisher.Repository != "https://github.com/acme/attested" || p.Publisher.Workflow != ".github/workflows/release.yml" {
		t.Errorf("publisher %+v", p.Publisher)
	}
	if p.Bound != "lockfile" || p.PURL != "pkg:npm/%40acme/attested@1.0.0" || p.File != "package-lock.json" || p.Line == 0 || !p.Direct {
		t.Errorf("row %+v", p)
	}
	var ids []string
	for _, c := range p.Checks {
		ids = append(ids, c.ID)
	}
	if !slices.Equal(ids, verify.IDs()) {
		t.Errorf("rows %v", ids)
	}

	w.lock(attested, signed, unsigned, stranger)
	r = w.audit("--include-attestations")
	rep := r.report()
	if r.code != 1 || rep.Summary.Invalid != 1 || rep.Summary.Unsigned != 1 || rep.Summary.Deny != 2 {
		t.Errorf("exit %d, summary %+v", r.code, rep.Summary)
	}
	if len(rep.Missing) != 1 || rep.Missing[0].Name != "unsigned" || rep.Missing[0].Location != "node_modules/unsigned" {
		t.Errorf("missing %+v", rep.Missing)
	}
	if len(rep.Invalid) != 1 || rep.Invalid[0].Name != "stranger" || rep.Invalid[0].Code != "EATTESTATIONVERIFY" {
		t.Errorf("invalid %+v", rep.Invalid)
	}
	if rep.Verified == nil || len(*rep.Verified) != 1 || (*rep.Verified)[0].Name != "@acme/attested" {
		t.Errorf("verified %+v", rep.Verified)
	}
	text := w.run("audit", "--trusted-root", "trusted_root.json")
	for _, want := range []string{"stranger@1.0.0", "workflow-identity", "https://github.com/mallory/stranger", "unsigned@1.0.0", "package-lock.json:"} {
		if !strings.Contains(strings.ReplaceAll(text.stdout, "\n", ""), want) {
			t.Errorf("the text does not mention %q:\n%s", want, text.stdout)
		}
	}
	for _, never := range []string{"safe", "secure", "✓", "✔"} {
		if strings.Contains(strings.ToLower(text.stdout), never) {
			t.Errorf("the text says %q", never)
		}
	}
}

// TestWarm: a second audit asks the network for nothing about packages that it knows.
func TestWarm(t *testing.T) {
	w := newWorld(t)
	var packages []*lab.Published
	for i := range 20 {
		release := lab.Release{Package: lab.Package{Name: fmt.Sprintf("pkg-%d", i)}}
		if i%2 == 0 {
			release.CI = lab.GitHub(fmt.Sprintf("acme/pkg-%d", i))
		}
		packages = append(packages, w.publish(release))
	}
	w.lock(packages...)
	cold := w.audit()
	if got := w.server.Traffic().Requests; got > 20+10+5 {
		t.Errorf("%d requests for 20 packages, 10 of them attested", got)
	}
	w.server.ResetTraffic()
	warm := w.audit()
	if got := w.server.Traffic().Requests; got != 0 {
		t.Errorf("%d requests the second time: %+v", got, w.server.Requests())
	}
	if cold.stdout != warm.stdout || cold.code != warm.code {
		t.Error("the report differs the second time")
	}
	offline := w.audit("--offline")
	if cold.stdout != offline.stdout {
		t.Errorf("the report differs without a network:\n%s", cmp.Diff(cold.stdout, offline.stdout))
	}
	// Without the cache's key verdicts are computed again, and come out the same.
	if err := os.RemoveAll(filepath.Join(w.home, ".config")); err != nil {
		t.Fatal(err)
	}
	if again := w.audit(); again.stdout != cold.stdout {
		t.Error("the report differs without the cache's key")
	}
}

// TestMirror: where nothing at all is signed, the place to look is between here and the registry.
func TestMirror(t *testing.T) {
	w := newWorld(t)
	var packages []*lab.Published
	for i := range 12 {
		packages = append(packages, w.publish(lab.Release{Package: lab.Package{Name: fmt.Sprintf("pkg-%d", i)}}))
	}
	w.lock(packages...)
	w.server.Misbehave(lab.Match{Endpoint: lab.EndpointVersion}, lab.StripDist("signatures", "attestations"), 0)
	r := w.audit()
	if r.code != 1 || !slices.ContainsFunc(r.report().Notes, func(n report.Note) bool { return n.Code == "signatures-stripped" }) {
		t.Errorf("exit %d, notes %+v", r.code, r.report().Notes)
	}
}

// TestPoisonedCache: whoever filled the cache changes no verdict.
func TestPoisonedCache(t *testing.T) {
	build := func(w *world) {
		w.lock(
			w.publish(lab.Release{Package: lab.Package{Name: "attested"}, CI: lab.GitHub("acme/attested")}),
			w.publish(lab.Release{Package: lab.Package{Name: "signed"}}),
			w.publish(lab.Release{Package: lab.Package{Name: "stranger", Manifest: map[string]any{"repository": "acme/stranger"}}, CI: lab.GitHub("mallory/stranger")}),
		)
	}
	for _, tt := range []struct {
		name   string
		poison func(*world)
	}{
		{"documents stripped", func(w *world) {
			w.server.Misbehave(lab.Match{Endpoint: lab.EndpointVersion}, lab.StripDist("attestations", "signatures"), 0)
		}},
		{"a repository that fits the stranger", func(w *world) {
			w.server.Misbehave(lab.Match{Endpoint: lab.EndpointVersion, Name: "stranger"}, lab.Edit(func(d map[string]any) { d["repository"] = "mallory/stranger" }), 0)
		}},
		{"attestations that do not verify", func(w *world) {
			w.server.Misbehave(lab.Match{Endpoint: lab.EndpointAttestations}, lab.Body("application/json", []byte(`{"attestations":[]}`)), 0)
		}},
		{"keys of the attacker", func(w *world) {
			w.server.Misbehave(lab.Match{Endpoint: lab.EndpointKeys}, lab.Body("application/json", w.Stranger().RegistryKeys()), 0)
		}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			w := newWorld(t)
			build(w)
			want := w.audit("--cache", filepath.Join(w.home, "clean"))
			poisoned := filepath.Join(w.home, "poisoned")
			tt.poison(w)
			w.env["ASSAY_CACHE_KEY"] = "the attacker's own key"
			w.audit("--cache", poisoned)
			w.server.Behave()
			w.env["ASSAY_CACHE_KEY"] = "the key of this machine"
			got := w.audit("--cache", poisoned)
			if got.stdout != want.stdout || got.code != want.code {
				t.Errorf("exit %d, want %d; the report differs from one without the poisoned cache:\n%s", got.code, want.code, got.stdout)
			}
			delete(w.env, "ASSAY_CACHE_KEY")
			w.env["XDG_CONFIG_HOME"] = filepath.Join(poisoned, "config") // the key would lie in the cache
			if got := w.audit("--cache", poisoned); got.report().Summary != want.report().Summary || got.code != want.code {
				t.Errorf("without a key: exit %d, want %d; %+v", got.code, want.code, got.report().Summary)
			}
		})
	}
}

// TestStripped: a registry that stops serving what it served before is noticed.
func TestStripped(t *testing.T) {
	w := newWorld(t)
	p := w.publish(lab.Release{Package: lab.Package{Name: "left"}, CI: lab.GitHub("acme/left")})
	w.lock(p)
	if r := w.audit(); r.code != 0 {
		t.Fatalf("exit %d", r.code)
	}
	if err := w.Strip("left", "1.0.0"); err != nil {
		t.Fatal(err)
	}
	// Within the stated time the cache answers; a run that has to ask again notices.
	later := time.Now().Add(48 * time.Hour)
	w.now = func() time.Time { return later }
	r := w.run("verify", "left@1.0.0", "--json", "--trusted-root", "trusted_root.json")
	if p := r.pkg("left"); r.code != 1 || !strings.Contains(rows(p), "evidence-complete attestation-stripped") {
		t.Errorf("exit %d, verdict %s, rows %s", r.code, p.Verdict, rows(p))
	}
}

func TestUntrustedRegistry(t *testing.T) {
	w := newWorld(t)
	w.lock(w.publish(lab.Release{Package: lab.Package{Name: "left"}, CI: lab.GitHub("acme/left")}))
	w.named = false // only the project's .npmrc names the registry
	r := w.audit()
	if p := r.pkg("left"); p.Verdict != verify.Unchecked || !strings.Contains(rows(p), "registry-signature untrusted-registry") || r.code != 3 {
		t.Errorf("verdict %s, exit %d; rows: %s", p.Verdict, r.code, rows(p))
	}
	// Nor does it help to hide the keys, and the signatures with them.
	w.server.Misbehave(lab.Match{Endpoint: lab.EndpointKeys}, lab.Status(404), 0)
	w.server.Misbehave(lab.Match{Endpoint: lab.EndpointVersion}, lab.StripDist("signatures", "attestations"), 0)
	if r := w.audit("--cache", t.TempDir()); r.code != 3 || r.pkg("left").Verdict != verify.Unchecked {
		t.Errorf("without keys: verdict %s, exit %d", r.pkg("left").Verdict, r.code)
	}
	w.server.Behave()
	if r := w.audit("--registry", w.server.URL); r.code != 0 {
		t.Errorf("named by a flag: exit %d; %s", r.code, r.stdout)
	}
	w.write("assay.yaml", []byte("version: 1\nregistries:\n  "+w.server.URL+": {signs: always}\n"))
	if r := w.audit(); r.code != 0 {
		t.Errorf("named by the policy: exit %d", r.code)
	}
	w.write("assay.yaml", []byte("version: 1\nregistriez: {}\n"))
	if r := w.audit(); r.code != 2 || !strings.Contains(r.stderr, "assay.yaml:2") {
		t.Errorf("a misspelt policy: exit %d; %s", r.code, r.stderr)
	}
}

// TestChangeRequest: what a change says about itself counts once it is merged.
func TestChangeRequest(t *testing.T) {
	if _, err := exec.LookPath("git"); err != nil {
		t.Skip("git is not installed")
	}
	w := newWorld(t)
	w.lock(w.publish(lab.Release{Package: lab.Package{Name: "left"}, Unsigned: true}))
	git := func(args ...string) {
		t.Helper()
		cmd := exec.Command("git", append([]string{"-c", "user.name=t", "-c", "user.email=t@example.com", "-c", "init.defaultBranch=main"}, args...)...)
		cmd.Dir = w.project
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Fatalf("git %v: %v: %s", args, err, out)
		}
	}
	git("init", "-q")
	git("add", "package.json", "package-lock.json")
	git("commit", "-q", "-m", "base")
	git("update-ref", "refs/remotes/origin/main", "HEAD")
	w.write("assay.yaml", []byte("version: 1\ndefault: {unsigned: allow}\n"))
	git("add", "assay.yaml")
	git("commit", "-q", "-m", "let it through")
	if r := w.audit(); r.code != 0 {
		t.Fatalf("on the branch itself: exit %d: %s", r.code, r.stderr)
	}
	w.env["GITHUB_EVENT_NAME"], w.env["GITHUB_BASE_REF"] = "pull_request", "main"
	r := w.audit()
	if r.code != 1 || !slices.ContainsFunc(r.report().Notes, func(n report.Note) bool { return n.Code == "policy-changed" }) {
		t.Errorf("in a pull request: exit %d, notes %+v", r.code, r.report().Notes)
	}
	w.env["GITHUB_BASE_REF"] = "nowhere"
	if r := w.audit(); r.code != 2 || !strings.Contains(r.stderr, "fetch-depth") {
		t.Errorf("in a shallow clone: exit %d: %s", r.code, r.stderr)
	}
	delete(w.env, "GITHUB_EVENT_NAME")
	if r := w.audit("--policy-from", "origin/main"); r.code != 1 {
		t.Errorf("--policy-from: exit %d: %s", r.code, r.stderr)
	}
	git("update-ref", "refs/remotes/origin/main", "HEAD")
	if r := w.audit("--policy-from", "origin/main"); r.code != 0 {
		t.Errorf("once it is merged: exit %d: %s", r.code, r.stderr)
	}
	if r := w.audit("--policy-from", "--output=x"); r.code != 2 {
		t.Errorf("an option in place of a revision: exit %d", r.code)
	}
}

// TestUnbound: a lockfile without integrity binds nothing, and that is told.
func TestUnbound(t *testing.T) {
	w := newWorld(t)
	p := w.publish(lab.Release{Package: lab.Package{Name: "left"}, CI: lab.GitHub("acme/left")})
	p.Integrity = ""
	w.lock(p)
	if r := w.audit("--fail-on", "warn"); r.code != 1 || len(r.pkg("left").Findings) != 1 || r.pkg("left").Findings[0].Rule != "unbound" {
		t.Errorf("exit %d, findings %+v", r.code, r.pkg("left").Findings)
	}
	if r := w.audit("--fail-on", "warn", "--tarballs"); r.code != 0 || r.pkg("left").Bound != "tarball" {
		t.Errorf("with the tarball: exit %d, bound %s, findings %+v", r.code, r.pkg("left").Bound, r.pkg("left").Findings)
	}
}

// TestKeyless: a registry without keys whose packages are attested by CI identities only.
func TestKeyless(t *testing.T) {
	w := newWorld(t)
	w.lock(w.publish(lab.Release{Package: lab.Package{Name: "left"}, CI: lab.GitHub("acme/builds"), Unsigned: true, NoPublish: true,
		PublishAttestation: lab.Tamper{}}))
	w.server.Misbehave(lab.Match{Endpoint: lab.EndpointKeys}, lab.Status(404), 0)
	if r := w.audit(); r.code == 0 {
		t.Error("a 404 on keys makes a registry keyless")
	}
	w.write("assay.yaml", []byte("version: 1\nregistries:\n  "+w.server.URL+": {keys: none}\n"))
	if r := w.audit(); r.code != 2 {
		t.Errorf("keyless without a publisher: exit %d", r.code)
	}
	w.write("assay.yaml", []byte("version: 1\nregistries:\n  "+w.server.URL+": {keys: none, publisher: {repository: acme/builds}}\n"))
	if r := w.audit(); r.code != 0 || r.pkg("left").Verdict != verify.Provenance {
		t.Errorf("keyless with its publisher: exit %d, %s", r.code, rows(r.pkg("left")))
	}
	w.write("assay.yaml", []byte("version: 1\nregistries:\n  "+w.server.URL+": {keys: none, publisher: {repository: acme/other}}\n"))
	if r := w.audit(); r.code != 1 || !strings.Contains(rows(r.pkg("left")), "workflow-identity publisher-unexpected") {
		t.Errorf("keyless with another publisher: exit %d, %s", r.code, rows(r.pkg("left")))
	}
}

func TestVerify(t *testing.T) {
	w := newWorld(t)
	p := w.publish(lab.Release{Package: lab.Package{Name: "@acme/left", Version: "1.2.3"}, CI: lab.GitHub("acme/left")})
	w.publish(lab.Release{Package: lab.Package{Name: "signed"}})
	none := w.publish(lab.Release{Package: lab.Package{Name: "nowhere", Manifest: map[string]any{"repository": nil}}, CI: lab.GitHub("acme/nowhere")})
	_ = none
	w.write("left-1.2.3.tgz", p.Tarball)
	w.write("other-1.2.3.tgz", append(slices.Clone(p.Tarball), 0))
	w.write("answer.json", p.Attestations)
	w.write("bare.json", p.Provenance.JSON)
	w.write("lines.jsonl", append(append(slices.Clone(p.Provenance.JSON), '\n'), p.Publish.JSON...))
	w.write("broken.json", []byte(`{"mediaType":`))
	w.write("empty.json", []byte(`{"attestations":[]}`))
	w.write("keys.json", w.RegistryKeys())
	const root, keys = "--trusted-root=trusted_root.json", "--registry-keys=keys.json"
	sri := "--integrity=" + p.Integrity
	for _, tt := range []struct {
		args string
		code int
		want string // in the output
	}{
		{"@acme/left@1.2.3", 0, "was built from"},
		{"@acme/left", 0, "@acme/left@1.2.3 was built from"},
		{"@acme/left@latest", 0, "@acme/left@1.2.3 was built from"},
		{"@acme/left@^1.0.0", 2, "range"},
		{"@acme/left@9.9.9", 3, "version-absent"},
		{"../evil", 2, "not a package"},
		{"left-1.2.3.tgz", 0, "was built from"},
		{"other-1.2.3.tgz", 1, "tarball-mismatch"},
		{"missing.tgz", 2, "no such file"},
		{"@acme/left@1.2.3 " + sri, 0, "was built from"},
		{"@acme/left@1.2.3 --integrity=sha512-" + strings.Repeat("A", 86) + "==", 1, "tarball-mismatch"},
		{"@acme/left@1.2.3 --integrity=sha1-AAAAAAAAAAAAAAAAAAAAAAAAAAA=", 2, "sha512"},
		{"@acme/left@1.2.3 --bundle answer.json " + keys + " " + sri, 0, "was built from"},
		{"@acme/left@1.2.3 --bundle bare.json " + sri, 0, "identity-unchecked"},
		{"@acme/left@1.2.3 --bundle bare.json --repo acme/left " + sri, 0, "was built from"},
		{"@acme/left@1.2.3 --bundle lines.jsonl " + keys + " " + sri, 0, "was built from"},
		{"@acme/left@1.2.3 --bundle bare.json", 3, "digest-unknown"},
		{"left-1.2.3.tgz --bundle bare.json", 0, "was built from"},
		{"left-1.2.3.tgz --bundle answer.json " + keys, 0, "was built from"},
		{"@acme/left@1.2.4 --bundle bare.json " + sri, 1, "subject-name"},
		{"@acme/left@1.2.3 --bundle broken.json " + sri, 1, "bundle-format"},
		{"@acme/left@1.2.3 --bundle empty.json " + sri, 1, "list-empty"},
		{"@acme/left@1.2.3 --bundle nowhere.json " + sri, 2, "no such file"},
		{"@acme/left@1.2.3 --repo acme/left", 0, "was built from"},
		{"@acme/left@1.2.3 --repo ACME/Left", 0, "was built from"},
		{"@acme/left@1.2.3 --repo https://github.com/acme/left", 0, "was built from"},
		{"@acme/left@1.2.3 --repo acme/left-evil", 1, "acme/left-evil"},
		{"@acme/left@1.2.3 --repo acme/lef", 1, "demanded"},
		{"@acme/left@1.2.3 --owner acme", 0, "was built from"},
		{"@acme/left@1.2.3 --owner acm", 1, "demanded"},
		{"@acme/left@1.2.3 --workflow .github/workflows/release.yml --ref refs/heads/main --event push", 0, "was built from"},
		{"@acme/left@1.2.3 --ref refs/heads/mai", 1, "demanded"},
		{"@acme/left@1.2.3 --event release", 1, "demanded"},
		{"@acme/left@1.2.3 --issuer https://token.actions.githubusercontent.com", 0, "was built from"},
		{"@acme/left@1.2.3 --certificate-oidc-issuer https://token.actions.githubusercontent.com/acme", 1, "demanded"},
		{"@acme/left@1.2.3 --signer-identity https://github.com/acme/left/.github/workflows/release.yml@refs/heads/main", 0, "was built from"},
		{"@acme/left@1.2.3 --cert-identity-regex https://github.com/acme/left/.*", 0, "was built from"},
		{"@acme/left@1.2.3 --cert-identity-regex github.com/acme/left", 1, "demanded"},
		{"@acme/left@1.2.3 --signer-identity-regexp (", 2, "regexp"},
		{"@acme/left@1.2.3 --repo=", 2, "--repo is empty"},
		{"@acme/left@1.2.3 --signer-identity-regexp=", 2, "is empty"},
		{"@acme/left@1.2.3 --repo gitlab.com/acme/left", 1, "demanded"},
		{"@acme/left@1.2.3 --deny-self-hosted-runners --signer-repo acme/left", 0, "was built from"},
		{"signed@1.0.0", 0, "signature"},
		{"signed@1.0.0 --repo acme/signed", 1, "no verified provenance"},
		{"nowhere@1.0.0", 0, "identity-unchecked"},
		{"nowhere@1.0.0 --repo acme/nowhere", 0, "was built from"},
		{"", 2, "one package"},
		{"--nonsense", 2, "nonsense"},
	} {
		t.Run(tt.args, func(t *testing.T) {
			r := w.run(append([]string{"verify", root}, strings.Fields(tt.args)...)...)
			flat := strings.Join(strings.Fields(r.stdout+r.stderr), " ")
			if r.code != tt.code || !strings.Contains(flat, tt.want) {
				t.Errorf("exit %d, want %d with %q\n%s%s", r.code, tt.code, tt.want, r.stdout, r.stderr)
			}
		})
	}
}

// TestNoNetwork: with a bundle and a trusted root at hand, and with --offline, nothing is asked.
func TestNoNetwork(t *testing.T) {
	w := newWorld(t)
	p := w.publish(lab.Release{Package: lab.Package{Name: "left"}, CI: lab.GitHub("acme/left")})
	w.lock(p)
	w.write("answer.json", p.Attestations)
	w.env["ASSAY_TUF_URL"] = w.server.URL + "/tuf"
	w.run("verify", "left@1.0.0", "--bundle", "answer.json", "--trusted-root", "trusted_root.json", "--integrity", p.Integrity)
	w.audit("--offline")
	w.run("verify", "left@1.0.0", "--offline")
	w.run("trust", "show", "--offline")
	if n := w.server.Traffic().Requests; n != 0 {
		t.Errorf("%d requests: %+v", n, w.server.Requests())
	}
}

func TestStrictTime(t *testing.T) {
	w := newWorld(t)
	old := w.publish(lab.Release{Package: lab.Package{Name: "old"}, SigningKey: w.RetiredKey, At: w.Start().Add(24 * time.Hour)})
	late := w.publish(lab.Release{Package: lab.Package{Name: "late"}, SigningKey: w.RetiredKey})
	w.lock(old, late)
	r := w.audit()
	if r.code != 0 || r.report().Summary.TimeUnknown != 2 {
		t.Errorf("exit %d, summary %+v", r.code, r.report().Summary)
	}
	if n := w.server.Count(lab.EndpointPackument); n != 0 {
		t.Errorf("%d package documents were asked for", n)
	}
	r = w.audit("--strict-time")
	if p := r.pkg("late"); p.Verdict != verify.Invalid || !strings.Contains(rows(p), "registry-signature key-expired") {
		t.Errorf("late: %s, %s", p.Verdict, rows(p))
	}
	if p := r.pkg("old"); p.Verdict != verify.Signed || r.report().Summary.TimeUnknown != 0 {
		t.Errorf("old: %s, %+v", p.Verdict, r.report().Summary)
	}
}

func TestTarballs(t *testing.T) {
	w := newWorld(t)
	good := w.publish(lab.Release{Package: lab.Package{Name: "good"}, CI: lab.GitHub("acme/good")})
	bad := w.publish(lab.Release{Package: lab.Package{Name: "bad"}, CI: lab.GitHub("acme/bad")})
	w.lock(good, bad)
	w.server.Misbehave(lab.Match{Endpoint: lab.EndpointTarball, Name: "bad"}, lab.Body("application/octet-stream", good.Tarball), 0)
	if r := w.audit(); r.code != 0 {
		t.Errorf("without tarballs: exit %d", r.code)
	}
	r := w.audit("--tarballs")
	if p := r.pkg("bad"); r.code != 1 || !strings.Contains(rows(p), "tarball-integrity tarball-mismatch") {
		t.Errorf("exit %d, %s", r.code, rows(p))
	}
	if p := r.pkg("good"); p.Verdict != verify.Provenance {
		t.Errorf("good: %s, %s", p.Verdict, rows(p))
	}
}

// TestOthers: what comes from no registry is listed and decided on.
func TestOthers(t *testing.T) {
	w := newWorld(t)
	w.write("package.json", []byte(`{"name":"app","version":"1.0.0","dependencies":{"g":"github:acme/g","u":"https://evil.example/u.tgz"}}`))
	w.write("package-lock.json", []byte(`{"name":"app","version":"1.0.0","lockfileVersion":3,"packages":{
"":{"name":"app","version":"1.0.0","dependencies":{"g":"github:acme/g","u":"https://evil.example/u.tgz"}},
"node_modules/g":{"version":"1.0.0","resolved":"git+ssh://git@github.com/acme/g.git#0123456789abcdef0123456789abcdef01234567"},
"node_modules/u":{"version":"1.0.0","resolved":"https://evil.example/u.tgz","integrity":"sha512-`+base64.StdEncoding.EncodeToString(make([]byte, 64))+`"}}}`))
	r := w.audit()
	sources := map[string]string{}
	for _, o := range r.report().Others {
		sources[o.Name] = o.Source + " " + string(o.Decision)
	}
	if r.code != 1 || sources["g"] != "git warn" || sources["u"] != "url deny" {
		t.Errorf("exit %d, %v", r.code, sources)
	}
}

// TestEditedLockfile: another package under the name of one that was asked for may be as well signed as it likes.
func TestEditedLockfile(t *testing.T) {
	w := newWorld(t)
	left := w.publish(lab.Release{Package: lab.Package{Name: "left"}, CI: lab.GitHub("acme/left")})
	evil := w.publish(lab.Release{Package: lab.Package{Name: "evil"}, CI: lab.GitHub("mallory/evil")})
	w.lock(left)
	w.write("package-lock.json", []byte(`{"name":"app","version":"1.0.0","lockfileVersion":3,"packages":{
"":{"name":"app","version":"1.0.0","dependencies":{"left":"^1.0.0"}},
"node_modules/left":{"name":"evil","version":"1.0.0","resolved":"`+w.server.URL+`/evil/-/evil-1.0.0.tgz","integrity":"`+evil.Integrity+`"}}}`))
	r := w.audit()
	p := r.pkg("evil")
	if r.code != 1 || p.Decision != "deny" || len(p.Findings) == 0 || p.Findings[0].Rule != "source" {
		t.Errorf("exit %d, decision %s, findings %+v", r.code, p.Decision, p.Findings)
	}
}

func TestTrust(t *testing.T) {
	w := newWorld(t)
	w.env["ASSAY_TUF_URL"] = w.server.URL + "/tuf"
	r := w.run("trust", "show", "--offline")
	if r.code != 0 || !strings.Contains(r.stdout, "rekor.sigstore.dev") || !strings.Contains(r.stdout, "SHA256:DhQ8wR5APBvFHLF/+Tc+AYvPOdTpcIDqOhxsBHRwC7U") {
		t.Errorf("exit %d: %s%s", r.code, r.stdout, r.stderr)
	}
	r = w.run("trust", "show", "--offline", "--json")
	if !json.Valid([]byte(r.stdout)) {
		t.Errorf("not JSON: %s", r.stdout)
	}
	r = w.run("trust", "export", "--offline", "-o", "out")
	if r.code != 0 {
		t.Fatalf("exit %d: %s", r.code, r.stderr)
	}
	again := w.run("trust", "show", "--trusted-root", "out/trusted_root.json", "--registry-keys", "out/registry-keys.json")
	if again.code != 0 || !strings.Contains(again.stdout, "SHA256:DhQ8wR5APBvFHLF/+Tc+AYvPOdTpcIDqOhxsBHRwC7U") {
		t.Errorf("exit %d: %s%s", again.code, again.stdout, again.stderr)
	}
	if r := w.run("trust", "update"); r.code != 3 {
		t.Errorf("an update that fails: exit %d: %s", r.code, r.stderr)
	}
}

func TestUsage(t *testing.T) {
	w := newWorld(t)
	w.write("bun.lockb", nil)
	w.write("packages/a/package.json", []byte(`{"name": "a"}`))
	w.write("packages/alone/package.json", []byte(`{"name": "alone"}`))
	w.write("packages/alone/.git/HEAD", nil)
	w.lock(w.publish(lab.Release{Package: lab.Package{Name: "plain"}}))
	for _, tt := range []struct {
		args string
		code int
		want string
	}{
		{"version", 0, "assay "},
		{"--version", 0, "assay "},
		{"", 0, "Usage:"},
		{"audit --help", 0, "Exit codes"},
		{"completion bash", 0, "bash completion"},
		{"nonsense", 2, "unknown command"},
		{"audit nowhere", 2, "nowhere"},
		{"audit bun.lockb", 2, "bun.lockb"},
		{"audit --format xml", 2, "format"},
		{"audit --report json", 2, "FORMAT=FILE"},
		{"audit --omit everything", 2, "omit"},
		{"audit -w nowhere", 2, "-w takes the name or the directory of a workspace"},
		{"audit packages/a", 2, "hint: there is a package-lock.json above; if this is a workspace of it: assay audit . -w packages/a"},
		{"audit packages/alone", 2, "hint: npm install --package-lock-only"},
		{"audit --registry ftp://example.com", 2, "registry"},
		{"audit --trusted-root nowhere.json", 2, "nowhere.json"},
		{"audit --concurrency 0", 2, "concurrency"},
	} {
		r := w.run(strings.Fields(tt.args)...)
		if r.code != tt.code || !strings.Contains(r.stdout+r.stderr, tt.want) {
			t.Errorf("assay %s: exit %d, want %d with %q\n%s%s", tt.args, r.code, tt.code, tt.want, r.stdout, r.stderr)
		}
		if strings.Contains(r.stderr, "goroutine") {
			t.Errorf("assay %s: %s", tt.args, r.stderr)
		}
	}
}

func TestReportFiles(t *testing.T) {
	w := newWorld(t)
	w.lock(w.publish(lab.Release{Package: lab.Package{Name: "left"}, CI: lab.GitHub("acme/left")}))
	r := w.run("audit", "--trusted-root", "trusted_root.json", "--report", "json=out.json", "--report", "text=out.txt")
	if r.code != 0 {
		t.Fatalf("exit %d: %s", r.code, r.stderr)
	}
	data, err := os.ReadFile(filepath.Join(w.project, "out.json"))
	if err != nil || !json.Valid(data) {
		t.Errorf("out.json: %v", err)
	}
	if text, err := os.ReadFile(filepath.Join(w.project, "out.txt")); err != nil || len(text) == 0 {
		t.Errorf("out.txt: %v", err)
	}
	w.lock(w.publish(lab.Release{Package: lab.Package{Name: "signed"}}))
	if r := w.audit("--fail-on", "warn"); r.code != 1 {
		t.Errorf("--fail-on warn: exit %d", r.code)
	}
}

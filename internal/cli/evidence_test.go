package cli_test

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"assay/internal/evidence"
	"assay/internal/lab"
)

// evidenceWorld is a project with a package of each verdict, and trust files that the user names.
func evidenceWorld(t *testing.T) *world {
	t.Helper()
	w := newWorld(t)
	packages := []*lab.Published{
		w.publish(lab.Release{Package: lab.Package{Name: "@acme/widget", Version: "1.2.3"}, CI: lab.GitHub("acme/widget")}),
		w.publish(lab.Release{Package: lab.Package{Name: "plain"}}),
		w.publish(lab.Release{Package: lab.Package{Name: "bare"}, Unsigned: true}),
		w.publish(lab.Release{Package: lab.Package{Name: "stranger", Manifest: map[string]any{"repository": "acme/stranger"}}, CI: lab.GitHub("mallory/stranger")}),
		w.publish(lab.Release{Package: lab.Package{Name: "shaky"}, CI: lab.GitHub("acme/shaky")}),
	}
	w.server.Misbehave(lab.Match{Endpoint: lab.EndpointAttestations, Name: "shaky"}, lab.Status(500), 0)
	w.lock(packages...)
	w.write("keys.json", w.RegistryKeys())
	return w
}

// trusting are the flags that vouch for the lab's trust.
var trusting = []string{"--trusted-root", "trusted_root.json", "--registry-keys", "keys.json"}

// elsewhere turns the world into another machine ten years later: nothing of the first is there but the named files of the
// project.
func (w *world) elsewhere(files ...string) {
	w.t.Helper()
	w.server.Close()
	was := w.project
	w.home, w.project = w.t.TempDir(), w.t.TempDir()
	w.env["HOME"], w.env["XDG_CACHE_HOME"], w.env["XDG_CONFIG_HOME"] = w.home, filepath.Join(w.home, ".cache"), filepath.Join(w.home, ".config")
	w.env["npm_config_globalconfig"] = filepath.Join(w.home, "none")
	w.named = false
	w.now = func() time.Time { return time.Now().AddDate(10, 0, 0) }
	for _, name := range files {
		data, err := os.ReadFile(filepath.Join(was, name))
		if err != nil {
			w.t.Fatal(err)
		}
		w.write(name, data)
	}
}

func (w *world) flags(args ...string) []string { return append(args, trusting...) }

// TestEvidenceReplay: the report out of an archive is the one that was printed online, byte for byte, on another machine
// ten years later without a network, with the project and without.
func TestEvidenceReplay(t *testing.T) {
	for _, flags := range [][]string{nil, {"--tarballs"}, {"--deep", "--include-attestations", "--strict-time"}} {
		t.Run(strings.Join(flags, " "), func(t *testing.T) {
			w := evidenceWorld(t)
			exported := w.run(append(w.flags("evidence", "export", "-o", "evidence.tar.gz"), flags...)...)
			exported.want(0, "5 packages", "1 package something could not be had", "2 denied and 1 could not be told",
				"next: assay audit --offline --evidence evidence.tar.gz --trusted-root trusted_root.json --registry-keys keys.json\n")
			again := w.run(append(w.flags("evidence", "export", "-o", "again.tar.gz"), flags...)...)
			again.want(0)
			one, two := w.read("evidence.tar.gz"), w.read("again.tar.gz")
			if one != two {
				t.Error("the same evidence makes another archive")
			}
			online := w.run(append(w.flags("audit", "--json"), flags...)...)
			online.want(1)
			w.elsewhere("evidence.tar.gz", "trusted_root.json", "keys.json", "package.json", "package-lock.json")
			replayed := w.run(w.flags("audit", "--json", "--offline", "--evidence", "evidence.tar.gz")...)
			replayed.want(1, "byte for byte", "nobody attests this archive")
			if replayed.stdout != online.stdout {
				t.Errorf("another report:\n%s", firstDifference(online.stdout, replayed.stdout))
			}
			for _, verdict := range []string{"provenance", "signed", "unsigned", "invalid", "unchecked"} {
				if !strings.Contains(replayed.stdout, `"verdict": "`+verdict+`"`) {
					t.Errorf("no package is %s", verdict)
				}
			}
			w.elsewhere("evidence.tar.gz", "trusted_root.json", "keys.json")
			listed := w.run(w.flags("audit", "--json", "--offline", "--evidence", "evidence.tar.gz")...)
			listed.want(1, "byte for byte", "there is no project here")
			if listed.stdout != online.stdout {
				t.Errorf("another report without the project:\n%s", firstDifference(online.stdout, listed.stdout))
			}
			w.run(w.flags("audit", "--evidence", "evidence.tar.gz", ".")...).want(2)
		})
	}
}

func (w *world) read(name string) string {
	w.t.Helper()
	data, err := os.ReadFile(filepath.Join(w.project, name))
	if err != nil {
		w.t.Fatal(err)
	}
	return string(data)
}

func firstDifference(a, b string) string {
	x, y := strings.Split(a, "\n"), strings.Split(b, "\n")
	for i := range min(len(x), len(y)) {
		if x[i] != y[i] {
			return strings.Join(x[max(0, i-5):min(len(x), i+3)], "\n") + "\n--- is ---\n" + strings.Join(y[max(0, i-5):min(len(y), i+3)], "\n")
		}
	}
	return "one is longer"
}

// What an archive does not hold is undecided, and never an absence.
func TestNotInArchive(t *testing.T) {
	w := evidenceWorld(t)
	w.run(w.flags("evidence", "export", "-o", "evidence.tar.gz")...).want(0)
	added := w.publish(lab.Release{Package: lab.Package{Name: "added"}})
	w.lock(added)
	w.elsewhere("evidence.tar.gz", "trusted_root.json", "keys.json", "package.json", "package-lock.json")
	r := w.run(w.flags("audit", "--json", "--offline", "--evidence", "evidence.tar.gz")...)
	r.want(3, "another than the one that the archive holds")
	if p := r.pkg("added"); p.Verdict != "unchecked" || !strings.Contains(rows(p), "not-in-archive") {
		t.Errorf("%s: %s", p.Verdict, rows(p))
	}

	w = evidenceWorld(t)
	w.run(w.flags("evidence", "export", "-o", "evidence.tar.gz")...).want(0)
	w.elsewhere("evidence.tar.gz", "trusted_root.json", "keys.json", "package.json", "package-lock.json")
	for _, flag := range []string{"--tarballs", "--deep"} {
		r := w.run(w.flags("audit", "--json", "--evidence", "evidence.tar.gz", flag)...)
		if p := r.pkg("plain"); p.Verdict != "unchecked" || !strings.Contains(rows(p), "not-in-archive") {
			t.Errorf("%s: %s: %s", flag, p.Verdict, rows(p))
		}
	}
	// A single package is looked at with what there is.
	w.run(w.flags("verify", "@acme/widget", "--evidence", "evidence.tar.gz", "--repo", "acme/widget")...).want(0, "was built from")
	w.run(w.flags("verify", "plain@1.0.0", "--evidence", "evidence.tar.gz")...).want(0)
	w.run(w.flags("verify", "plain@9.9.9", "--evidence", "evidence.tar.gz")...).want(3, "not-in-archive")
	w.run(w.flags("verify", "plain@1.0.0", "--evidence", "evidence.tar.gz", "--repo", "acme/plain")...).want(3)
}

// TestArchiveTrust: an archive's trust counts only where something other than the archive vouches for it.
func TestArchiveTrust(t *testing.T) {
	w := evidenceWorld(t)
	w.run(w.flags("evidence", "export", "-o", "flags.tar.gz")...).want(0)
	w.run("evidence", "export", "-o", "endpoint.tar.gz", "--trusted-root", "trusted_root.json").want(0)
	online := w.run("audit", "--json", "--trusted-root", "trusted_root.json")

	evil := evidenceWorld(t)
	evil.run(evil.flags("evidence", "export", "-o", "evil.tar.gz")...).want(0)
	evil.run("evidence", "export", "-o", "evil-endpoint.tar.gz", "--trusted-root", "trusted_root.json").want(0)
	for _, name := range []string{"evil.tar.gz", "evil-endpoint.tar.gz"} {
		w.write(name, []byte(evil.read(name)))
	}
	w.write("evil-root.json", []byte(evil.read("trusted_root.json")))
	w.write("evil-keys.json", []byte(evil.read("keys.json")))

	w.elsewhere("flags.tar.gz", "endpoint.tar.gz", "evil.tar.gz", "evil-endpoint.tar.gz", "trusted_root.json", "keys.json", "evil-root.json", "evil-keys.json",
		"package.json", "package-lock.json")
	const root, keys = "--trusted-root=trusted_root.json", "--registry-keys=keys.json"
	for _, tt := range []struct {
		archive string
		flags   []string
		ok      bool
	}{
		{"flags.tar.gz", []string{root, keys}, true},
		{"flags.tar.gz", nil, false},
		{"flags.tar.gz", []string{root}, false},
		{"flags.tar.gz", []string{keys}, false},
		{"flags.tar.gz", []string{"--trusted-root=evil-root.json", keys}, false},
		{"flags.tar.gz", []string{root, "--registry-keys=evil-keys.json"}, false},
		{"evil.tar.gz", []string{root, keys}, false},
		{"evil.tar.gz", nil, false},
		// The registry's own keys, which nothing but the archive vouches for.
		{"endpoint.tar.gz", []string{root}, false},
		{"endpoint.tar.gz", []string{root, keys}, true},
		{"endpoint.tar.gz", []string{root, "--registry-keys=evil-keys.json"}, false},
		{"evil-endpoint.tar.gz", []string{root, keys}, false},
		{"evil-endpoint.tar.gz", []string{"--trusted-root=evil-root.json", keys}, false},
	} {
		r := w.run(append([]string{"audit", "--json", "--offline", "--evidence", tt.archive}, tt.flags...)...)
		if tt.ok {
			r.want(1)
			if tt.archive == "endpoint.tar.gz" && r.stdout != online.stdout {
				t.Errorf("another report:\n%s", firstDifference(online.stdout, r.stdout))
			}
			continue
		}
		if r.code != 3 || !strings.Contains(r.stderr, "archive-trust") || r.stdout != "" {
			t.Errorf("%s %v: exit %d\n%.300s\n%s", tt.archive, tt.flags, r.code, r.stdout, r.stderr)
		}
	}
}

// A registry's word that it has no keys is believed from an archive only where the registry is named here.
func TestArchiveKeyless(t *testing.T) {
	w := newWorld(t)
	w.server.Misbehave(lab.Match{Endpoint: lab.EndpointKeys}, lab.Status(404), 0)
	w.lock(w.publish(lab.Release{Package: lab.Package{Name: "bare"}, Unsigned: true}))
	online := w.audit()
	online.want(0)
	w.run("evidence", "export", "-o", "evidence.tar.gz", "--trusted-root", "trusted_root.json").want(0)
	url := w.server.URL
	w.elsewhere("evidence.tar.gz", "trusted_root.json", "package.json", "package-lock.json")
	w.audit("--evidence", "evidence.tar.gz").want(3, "archive-trust")
	r := w.audit("--evidence", "evidence.tar.gz", "--registry", url)
	r.want(0)
	if r.stdout != online.stdout {
		t.Errorf("another report:\n%s", firstDifference(online.stdout, r.stdout))
	}
}

// A file that is no archive is wrong usage; one that is damaged is told with what is damaged.
func TestNoArchive(t *testing.T) {
	w := evidenceWorld(t)
	w.run(w.flags("evidence", "export", "-o", "evidence.tar.gz")...).want(0)
	whole := w.read("evidence.tar.gz")
	w.write("short.tar.gz", []byte(whole[:len(whole)/2]))
	w.write("text", []byte("not an archive"))
	w.write("package.tgz", w.publish(lab.Release{Package: lab.Package{Name: "tgz"}}).Tarball)
	for _, command := range [][]string{{"audit", "--evidence"}, {"evidence", "show"}, {"evidence", "import", "-o", "out.tar.gz"}} {
		w.run(append(command, "text")...).want(2, "no evidence archive")
		w.run(append(command, "package.tgz")...).want(2, "no evidence archive")
		w.run(append(command, "missing")...).want(2)
		w.run(append(command, "short.tar.gz")...).want(3, "damaged")
	}
	w.run("evidence", "export").want(2)
	w.run("audit", "--evidence-repo", "acme/app").want(2)
	w.run("audit", "--evidence", "evidence.tar.gz", "--evidence-repo", "acme/app").want(2)
	w.run("audit", "--evidence", "evidence.tar.gz", "--evidence-bundle", "x").want(2)
	w.now = func() time.Time { return time.Now().AddDate(-1, 0, 0) }
	w.run(w.flags("audit", "--evidence", "evidence.tar.gz")...).want(3, "archive-time")
}

func TestEvidenceShow(t *testing.T) {
	w := evidenceWorld(t)
	w.run(w.flags("evidence", "export", "-o", "evidence.tar.gz", "--tarballs")...).want(0)
	w.run(w.flags("evidence", "show", "evidence.tar.gz")...).want(0, "its trust counts here", "@acme/widget@1.2.3  document", "shaky@1.0.0", "attestations not to be had (http-status)")
	w.run("evidence", "show", "evidence.tar.gz").want(0, "does not count here: archive-trust")
	w.run("evidence", "show", "evidence.tar.gz", "@acme/widget").want(0, "attestations  served", "sha256", "tarball")
	w.run("evidence", "show", "evidence.tar.gz", "@acme/widget@9.9.9").want(3, "not-in-archive")
	var got struct {
		Schema      string
		TrustCounts bool `json:"trust_counts"`
		SHA512      string
		Packages    []evidence.PackageSummary
	}
	r := w.run(w.flags("evidence", "show", "evidence.tar.gz", "--json")...)
	if err := json.Unmarshal([]byte(r.stdout), &got); err != nil || got.Schema != evidence.SummarySchema || !got.TrustCounts || len(got.SHA512) != 128 || len(got.Packages) != 5 {
		t.Errorf("%v: %.500s", err, r.stdout)
	}
}

// Two archives make one that answers for both; in the cache they are remembered and not believed.
func TestEvidenceImport(t *testing.T) {
	w := newWorld(t)
	w.write("keys.json", w.RegistryKeys())
	widget := w.publish(lab.Release{Package: lab.Package{Name: "widget"}, CI: lab.GitHub("acme/widget")})
	plain := w.publish(lab.Release{Package: lab.Package{Name: "plain"}})
	w.lock(widget)
	w.run(w.flags("evidence", "export", "-o", "a.tar.gz")...).want(0)
	w.lock(plain)
	w.run(w.flags("evidence", "export", "-o", "b.tar.gz")...).want(0)
	w.run("evidence", "import", "a.tar.gz", "b.tar.gz", "-o", "ab.tar.gz").want(0, "2 packages")
	w.run("evidence", "import", "b.tar.gz", "a.tar.gz", "b.tar.gz", "-o", "ba.tar.gz").want(0, "2 packages")
	w.run("evidence", "import", "a.tar.gz", "-o", "aa.tar.gz").want(0)
	if w.read("ab.tar.gz") != w.read("ba.tar.gz") || w.read("a.tar.gz") != w.read("aa.tar.gz") {
		t.Error("the order of merging matters, or merging one archive makes another")
	}
	w.lock(widget, plain)

	// The registry strips the attestations, and this machine has never seen the package.
	w.server.Misbehave(lab.Match{Endpoint: lab.EndpointVersion, Name: "widget"}, lab.StripDist("attestations"), 0)
	w.server.Misbehave(lab.Match{Endpoint: lab.EndpointAttestations, Name: "widget"}, lab.Status(404), 0)
	w.home = t.TempDir()
	w.env["HOME"], w.env["XDG_CACHE_HOME"], w.env["XDG_CONFIG_HOME"] = w.home, filepath.Join(w.home, ".cache"), filepath.Join(w.home, ".config")
	unaware := w.run(append(w.flags("audit", "--json"), "--cache", "other")...)
	unaware.want(0)
	w.run("evidence", "import", "a.tar.gz").want(0, "1 package in the cache as earlier evidence")
	offline := w.run(w.flags("audit", "--json", "--offline")...)
	if p := offline.pkg("widget"); p.Verdict != "unchecked" || !strings.Contains(rows(p), "cache-unauthenticated") {
		t.Errorf("what was imported is believed: %s: %s", p.Verdict, rows(p))
	}
	aware := w.run(w.flags("audit", "--json")...)
	aware.want(1)
	if p := aware.pkg("widget"); p.Verdict != "invalid" || !strings.Contains(rows(p), "attestation-stripped") {
		t.Errorf("what was stripped is not missed: %s: %s", p.Verdict, rows(p))
	}
	if p := aware.pkg("plain"); p.Verdict != "signed" {
		t.Errorf("plain: %s", p.Verdict)
	}

	// The same, out of an archive of the stripped answers merged with the first one.
	w.run(append(w.flags("evidence", "export", "-o", "stripped.tar.gz"), "--cache", "other2")...).want(0)
	w.run("evidence", "import", "stripped.tar.gz", "a.tar.gz", "-o", "both.tar.gz").want(0)
	r := w.run(w.flags("audit", "--json", "--evidence", "both.tar.gz")...)
	r.want(1)
	if p := r.pkg("widget"); !strings.Contains(rows(p), "attestation-stripped") {
		t.Errorf("merged: %s: %s", p.Verdict, rows(p))
	}

	evil := evidenceWorld(t)
	evil.run(evil.flags("evidence", "export", "-o", "evil.tar.gz")...).want(0)
	w.write("evil.tar.gz", []byte(evil.read("evil.tar.gz")))
	w.run("evidence", "import", "a.tar.gz", "evil.tar.gz", "-o", "mixed.tar.gz").want(3, "different trust")
}

// TestDamagedEvidence flips bits of what is packed, repacked so that no checksum tells: every piece is named, or the
// archive was made anew and then no package has a better verdict than before.
func TestDamagedEvidence(t *testing.T) {
	w := evidenceWorld(t)
	w.run(w.flags("evidence", "export", "-o", "evidence.tar.gz", "--tarballs")...).want(0)
	whole := []byte(w.read("evidence.tar.gz"))
	step := max(1, len(whole)/60)
	for i := 0; i < len(whole); i += step {
		broken := append([]byte{}, whole...)
		broken[i] ^= 0x10
		w.write("broken.tar.gz", broken)
		r := w.run(w.flags("audit", "--json", "--evidence", "broken.tar.gz")...)
		if i < 3 && r.code != 2 || i >= 3 && (r.code != 3 || !strings.Contains(r.stderr, "damaged: ")) {
			t.Errorf("byte %d: exit %d: %.300s", i, r.code, r.stderr)
		}
		w.write("broken.tar.gz", whole[:i])
		r = w.run(w.flags("audit", "--json", "--evidence", "broken.tar.gz")...)
		if r.code != 3 && r.code != 2 || r.stdout != "" {
			t.Errorf("%d bytes: exit %d: %.300s", i, r.code, r.stderr)
		}
	}
}

// TestAttestedEvidence: an archive that a job attested is that job's word; one that was changed, or that another job
// attested, is refused.
func TestAttestedEvidence(t *testing.T) {
	p := newPublishing(t)
	p.github()
	widget := p.world.publish(lab.Release{Package: lab.Package{Name: "widget"}, CI: lab.GitHub("acme/widget")})
	w := p.world
	dir := w.project
	w.project = t.TempDir()
	w.write("trusted_root.json", w.TrustedRoot())
	w.write("keys.json", w.RegistryKeys())
	w.lock(widget)
	w.run(w.flags("evidence", "export", "-o", "evidence.tar.gz")...).want(0)
	w.run(append(w.flags("evidence", "export", "-o", "other.tar.gz"), "--deep")...).want(0)
	archive := filepath.Join(w.project, "evidence.tar.gz")
	w.project, dir = dir, w.project
	r := p.do(append([]string{"attest", archive}, p.flags()...)...)
	r.want(0, "--evidence-repo acme/widget")
	p.do(append([]string{"attest", archive, "--json"}, p.flags()...)...).want(0, "assay/file-attestation/v1")
	w.project = dir
	bundle, data := w.read("evidence.sigstore.json"), w.read("evidence.tar.gz")
	p.sigstoreGo([]byte(bundle), []byte(data), lab.IssuerGitHub, "https://github.com/acme/widget/.github/workflows/release.yml@refs/heads/main")

	audit := func(archive string, args ...string) result {
		return w.run(append(append(w.flags("audit", "--json", "--evidence", archive), "--evidence-bundle", "evidence.sigstore.json"), args...)...)
	}
	audit("evidence.tar.gz", "--evidence-repo", "acme/widget").want(0, "the archive was made in a job of https://github.com/acme/widget@")
	audit("evidence.tar.gz", "--evidence-signer", "https://github.com/acme/widget/.github/workflows/release.yml@refs/heads/main").want(0)
	for _, r := range []result{
		audit("evidence.tar.gz", "--evidence-repo", "acme/other"),
		audit("evidence.tar.gz", "--evidence-signer", "https://github.com/acme/widget/.github/workflows/other.yml@refs/heads/main"),
		audit("other.tar.gz", "--evidence-repo", "acme/widget"),
	} {
		r.want(1, "archive-attestation")
		if r.stdout != "" {
			t.Errorf("a report all the same: %.200s", r.stdout)
		}
	}
	// A package's provenance is no archive's, and a broken bundle is none at all.
	w.write("evidence.sigstore.json", widget.Provenance.JSON)
	audit("evidence.tar.gz", "--evidence-repo", "acme/widget").want(1, "subject")
	for _, broken := range []string{"{}", "", bundle[:len(bundle)/2], strings.Replace(bundle, `"payload":"`, `"payload":"e`, 1)} {
		w.write("evidence.sigstore.json", []byte(broken))
		if r := audit("evidence.tar.gz", "--evidence-repo", "acme/widget"); r.code == 0 || strings.Contains(r.stderr, "see bundle-format") || r.stdout != "" {
			t.Errorf("%.30q: exit %d", broken, r.code)
		}
	}
}

// What makes the report another than the archive's is told, installed files among it; a PATH that is named is not replaced.
func TestEvidenceInstalledOrNot(t *testing.T) {
	w := newWorld(t)
	w.lock(w.publish(lab.Release{Package: lab.Package{Name: "plain"}}))
	w.write("keys.json", w.RegistryKeys())
	w.run(w.flags("evidence", "export", "-o", "without.tar.gz")...).want(0)
	w.run(w.flags("evidence", "export", "-o", "with.tar.gz", "--installed")...)
	audit := func(args ...string) result {
		return w.run(w.flags(append([]string{"audit", "--evidence"}, args...)...)...)
	}
	tells := func(r result, want string) {
		t.Helper()
		if !strings.Contains(r.stderr, want) {
			t.Errorf("no %q in\n%s", want, r.stderr)
		}
	}
	tells(audit("without.tar.gz", "--installed"), "the export did not look at installed files")
	tells(audit("with.tar.gz"), "and this run does not (--installed)")
	w.elsewhere("with.tar.gz", "trusted_root.json", "keys.json")
	tells(audit("with.tar.gz", "--installed"), "no project that could have them")
	w.write("empty/.git/HEAD", nil)
	if r := audit("with.tar.gz", "empty"); r.code != 2 || strings.Contains(r.stderr, "there is no project here") {
		t.Errorf("exit %d\n%s", r.code, r.stderr)
	}
}

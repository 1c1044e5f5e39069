package cli_test

import (
	"bytes"
	"crypto/sha512"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/sigstore/sigstore-go/pkg/bundle"
	"github.com/sigstore/sigstore-go/pkg/root"
	sigstoregoverify "github.com/sigstore/sigstore-go/pkg/verify"

	"assay/internal/lab"
	"assay/internal/sigstore"
)

// verdicts are the verdicts of a report by package.
func (r result) verdicts() map[string]string {
	r.t.Helper()
	out := map[string]string{}
	for _, p := range r.report().Packages {
		out[p.Name+"@"+p.Version+" "+p.Integrity] = string(p.Verdict)
	}
	return out
}

func read(t testing.TB, name string) []byte {
	t.Helper()
	data, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	return data
}

// TestSBOMs: an SBOM of a project is audited to the same verdicts as the project, and goes out with what was found.
func TestSBOMs(t *testing.T) {
	w := newWorld(t)
	w.lock(
		w.publish(lab.Release{Package: lab.Package{Name: "@acme/attested"}, CI: lab.GitHub("acme/attested")}),
		w.publish(lab.Release{Package: lab.Package{Name: "plain"}}),
		w.publish(lab.Release{Package: lab.Package{Name: "broken"}, CI: lab.GitHub("acme/broken"), Document: func(d map[string]any) { d["repository"] = "github:other/broken" }}),
	)
	first := w.audit("--report", "cyclonedx=a.cdx.json", "--report", "spdx=a.spdx.json", "--report", "vsa=a.jsonl")
	want := first.verdicts()
	if len(want) != 3 {
		t.Fatalf("%v\n%s", want, first.stderr)
	}
	for _, name := range []string{"a.cdx.json", "a.spdx.json"} {
		format := map[string]string{"a.cdx.json": "cyclonedx", "a.spdx.json": "spdx"}[name]
		again := w.audit(name, "--report", format+"=b.json")
		if got := again.verdicts(); fmt.Sprint(got) != fmt.Sprint(want) {
			t.Errorf("%s: %v, want %v\n%s", name, got, want, again.stderr)
		}
		b := read(t, filepath.Join(w.project, "b.json"))
		if !bytes.Contains(b, []byte("assay:verdict")) || !bytes.Contains(b, []byte("https://github.com/acme/attested")) {
			t.Errorf("%s: what was found was not added:\n%s", name, b)
		}
		// What goes out may come in again, and then nothing changes any more, on stdout either.
		if third := w.audit("b.json", "--format", format, "--report", format+"=c.json"); third.code != first.code {
			t.Errorf("exit %d: %s", third.code, third.stderr)
		} else if c := read(t, filepath.Join(w.project, "c.json")); !bytes.Equal(b, c) || third.stdout != "" && third.stdout[0] == '{' && !strings.Contains(third.stdout, `"summary"`) && third.stdout != string(c) {
			t.Errorf("%s changes when it is enriched again", name)
		}
	}
	for _, line := range strings.Split(strings.TrimSpace(string(read(t, filepath.Join(w.project, "a.jsonl")))), "\n") {
		var s struct{ PredicateType string }
		if err := json.Unmarshal([]byte(line), &s); err != nil || s.PredicateType != "https://slsa.dev/verification_summary/v1" {
			t.Errorf("%v: %s", err, line)
		}
	}
}

// TestSBOMRefused: what cannot be enriched is told, and no file is touched, least of all the SBOM itself.
func TestSBOMRefused(t *testing.T) {
	w := newWorld(t)
	w.lock(w.publish(lab.Release{Package: lab.Package{Name: "plain"}}))
	w.audit("--report", "cyclonedx=bom.json")
	signed := bytes.Replace(read(t, filepath.Join(w.project, "bom.json")), []byte(`"version": 1,`), []byte(`"signature": {"algorithm": "ES256"},`), 1)
	w.write("bom.json", signed)
	r := w.audit("bom.json", "--report", "cyclonedx=bom.json")
	r.want(2, "the SBOM is signed")
	if !bytes.Equal(signed, read(t, filepath.Join(w.project, "bom.json"))) {
		t.Error("the SBOM was overwritten")
	}
	w.run("audit", "bom.json", "--trusted-root", "trusted_root.json", "--format", "cyclonedx").want(2, "the SBOM is signed")
	w.run("audit", "bom.json", "package-lock.json", "--trusted-root", "trusted_root.json", "--format", "cyclonedx").want(2, "audit it alone")
	w.env["SOURCE_DATE_EPOCH"] = "yesterday"
	w.audit().want(2, "SOURCE_DATE_EPOCH")
	w.env["SOURCE_DATE_EPOCH"] = "1700000000"
	w.run("audit", "--trusted-root", "trusted_root.json", "--format", "cyclonedx").want(0, `"timestamp": "2023-11-14T22:13:20Z"`)
}

// summary is one verification summary out of a bundle.
type summary struct {
	Subject []struct {
		Name   string
		Digest map[string]string
	}
	PredicateType string
	Predicate     struct {
		Verifier struct {
			ID      string
			Version map[string]string
		}
		TimeVerified       string
		ResourceURI        string `json:"resourceUri"`
		Policy             struct{ URI, Digest any }
		VerificationResult string
		VerifiedLevels     []string
	}
}

// TestSignedSummaries: each line is a bundle that sigstore-go and our own verifier take, for the job's identity and for
// the tarball, and all of them have one certificate.
func TestSignedSummaries(t *testing.T) {
	for _, tt := range []struct {
		name, version string
		gitlab        bool
	}{{"GitHub v1", "1", false}, {"GitHub v2", "2", false}, {"GitLab v1", "1", true}} {
		t.Run(tt.name, func(t *testing.T) {
			p := newPublishing(t)
			issuer, san := lab.IssuerGitHub, "https://github.com/acme/widget/.github/workflows/release.yml@refs/heads/main"
			if tt.gitlab {
				p.gitlab()
				issuer, san = lab.IssuerGitLab, "https://gitlab.com/acme/widget//.gitlab-ci.yml@refs/heads/main"
			} else {
				p.github(func(r *lab.GitHubRun) { r.Runner = "self-hosted" })
			}
			var packages []*lab.Published
			for i := range 11 {
				packages = append(packages, p.world.publish(lab.Release{Package: lab.Package{Name: fmt.Sprintf("attested-%d", i)}, CI: lab.GitHub("acme/attested")}))
			}
			packages = append(packages, p.world.publish(lab.Release{Package: lab.Package{Name: "plain"}}),
				p.world.publish(lab.Release{Package: lab.Package{Name: "broken"}, CI: lab.GitHub("acme/broken"), Document: func(d map[string]any) { d["repository"] = "github:other/broken" }}))
			p.lock(packages...)
			p.write("assay.yaml", []byte("version: 1\n"))
			flags := append(p.flags(), "--sign", "--report", "vsa=summaries.jsonl")
			if tt.version == "2" {
				flags = append(flags, "--rekor-url", p.sigstore.URL+lab.PathRekorV2, "--rekor-version", "2", "--tsa-url", p.sigstore.URL+lab.PathTSA+"/api/v1/timestamp")
			}
			p.do(append([]string{"audit"}, flags...)...).want(1, "entering into the transparency log")
			lines := bytes.Split(bytes.TrimSpace(read(t, filepath.Join(p.project, "summaries.jsonl"))), []byte("\n"))
			if len(lines) != len(packages) {
				t.Fatalf("%d lines for %d packages", len(lines), len(packages))
			}
			tr, err := root.NewTrustedRootFromJSON(p.TrustedRoot())
			if err != nil {
				t.Fatal(err)
			}
			verifier, err := sigstoregoverify.NewVerifier(tr, sigstoregoverify.WithTransparencyLog(1), sigstoregoverify.WithObserverTimestamps(1), sigstoregoverify.WithSignedCertificateTimestamps(1))
			if err != nil {
				t.Fatal(err)
			}
			identity, err := sigstoregoverify.NewShortCertificateIdentity(issuer, "", san, "")
			if err != nil {
				t.Fatal(err)
			}
			own, err := sigstore.ParseTrustedRoot(p.TrustedRoot())
			if err != nil {
				t.Fatal(err)
			}
			certificates, indices := map[string]bool{}, map[string]bool{}
			for _, line := range lines {
				parsed, err := sigstore.ParseBundle(line)
				if err != nil {
					t.Fatal(err)
				}
				v := own.Verify(parsed, sigstore.Options{})
				if !v.OK() {
					t.Errorf("our own verifier refuses it: %+v", v)
				}
				certificates[string(parsed.Leaf)], indices[fmt.Sprint(v.LogID, v.LogIndex)] = true, true
				var s summary
				if err := json.Unmarshal(parsed.Envelope.Payload, &s); err != nil {
					t.Fatal(err)
				}
				var of *lab.Published
				for _, x := range packages {
					if "pkg:npm/"+x.Name+"@"+x.Version == s.Subject[0].Name {
						of = x
					}
				}
				if of == nil {
					t.Fatalf("a summary of %v", s.Subject)
				}
				sum := sha512.Sum512(of.Tarball)
				if s.Subject[0].Digest["sha512"] != hex.EncodeToString(sum[:]) {
					t.Errorf("%s has another digest", of.Name)
				}
				var b bundle.Bundle
				if err := b.UnmarshalJSON(line); err != nil {
					t.Fatal(err)
				}
				if _, err := verifier.Verify(&b, sigstoregoverify.NewPolicy(sigstoregoverify.WithArtifactDigest("sha512", sum[:]), sigstoregoverify.WithCertificateIdentity(identity))); err != nil {
					t.Errorf("sigstore-go refuses it: %v", err)
				}
				want, level := "PASSED", "SLSA_BUILD_LEVEL_2"
				switch of.Name {
				case "plain":
					level = "SLSA_BUILD_LEVEL_0"
				case "broken":
					want, level = "FAILED", "FAILED"
				}
				if s.PredicateType != "https://slsa.dev/verification_summary/v1" || s.Predicate.Verifier.ID != san || s.Predicate.TimeVerified == "" ||
					s.Predicate.VerificationResult != want || s.Predicate.VerifiedLevels[0] != level || s.Predicate.Policy.URI != "file:assay.yaml" {
					t.Errorf("%s: %+v", of.Name, s)
				}
				if want := "pkg:npm/" + of.Name + "@1.0.0?repository_url=" + p.server.URL; s.Predicate.ResourceURI != want {
					t.Errorf("the resource is %s, want %s", s.Predicate.ResourceURI, want)
				}
			}
			if len(certificates) != 1 || len(indices) != len(lines) {
				t.Errorf("%d certificates and %d log entries for %d statements", len(certificates), len(indices), len(lines))
			}
		})
	}
}

// TestSummariesUnsigned: without an identity there is no signature, and a word about it; where one was refused or could
// not be had nothing is written.
func TestSummariesUnsigned(t *testing.T) {
	p := newPublishing(t)
	p.lock(p.world.publish(lab.Release{Package: lab.Package{Name: "plain"}}))
	file := filepath.Join(p.project, "summaries.jsonl")
	audit := func(more ...string) result { return p.do(append(append([]string{"audit"}, p.flags()...), more...)...) }
	audit("--sign").want(2, "none are asked for")
	audit("--sign", "--report", "vsa=summaries.jsonl").want(0, "are not signed, because there is no identity at hand")
	if text := read(t, file); !bytes.HasPrefix(text, []byte(`{"_type":"https://in-toto.io/Statement/v1"`)) || !bytes.Contains(text, []byte(`"id":"pkg:generic/assay"`)) || bytes.Contains(text, []byte("timeVerified")) {
		t.Errorf("%s", text)
	}
	os.Remove(file)
	p.github(func(r *lab.GitHubRun) { r.Visibility = "private" })
	audit("--sign", "--report", "vsa=summaries.jsonl").want(1, "the repository is private")
	audit("--sign", "--report", "vsa=summaries.jsonl", "--trusted-root", strangersRoot(p)).want(1, "private")
	if _, err := os.Stat(file); err == nil {
		t.Error("something was written all the same")
	}
	audit("--sign", "--format", "vsa", "--allow-private").want(0, `"mediaType":"application/vnd.dev.sigstore.bundle.v0.3+json"`)
	delete(p.env, "ACTIONS_ID_TOKEN_REQUEST_URL")
	audit("--sign", "--format", "vsa").want(2, "id-token: write")
	p.gitlab()
	delete(p.env, "SIGSTORE_ID_TOKEN")
	r := audit("--sign", "--format", "vsa")
	r.want(2, "SIGSTORE_ID_TOKEN")
	if strings.Contains(r.stderr, "NPM_ID_TOKEN") {
		t.Errorf("a token is asked for that is not needed: %s", r.stderr)
	}
	p.github()
	audit("--sign", "--format", "vsa", "--trusted-root", strangersRoot(p)).want(1, "a consumer would refuse this attestation")
	p.sigstore.on("POST entries", 0, answer(503, "gone fishing"))
	audit("--sign", "--report", "vsa=summaries.jsonl").want(3, "Rekor")
	if _, err := os.Stat(file); err == nil {
		t.Error("something was written all the same")
	}
}

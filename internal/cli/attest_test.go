package cli_test

import (
	"crypto/sha512"
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/sigstore/sigstore-go/pkg/bundle"
	"github.com/sigstore/sigstore-go/pkg/root"
	"github.com/sigstore/sigstore-go/pkg/verify"

	"assay/internal/lab"
)

// sigstoreGo verifies a bundle for a tarball with a verifier that nobody here wrote, for exactly one identity.
func (p *publishing) sigstoreGo(text, tarball []byte, issuer, san string) {
	p.t.Helper()
	tr, err := root.NewTrustedRootFromJSON(p.TrustedRoot())
	if err != nil {
		p.t.Fatal(err)
	}
	v, err := verify.NewVerifier(tr, verify.WithTransparencyLog(1), verify.WithObserverTimestamps(1), verify.WithSignedCertificateTimestamps(1))
	if err != nil {
		p.t.Fatal(err)
	}
	id, err := verify.NewShortCertificateIdentity(issuer, "", san, "")
	if err != nil {
		p.t.Fatal(err)
	}
	var b bundle.Bundle
	if err := b.UnmarshalJSON(text); err != nil {
		p.t.Fatal(err)
	}
	sum := sha512.Sum512(tarball)
	if _, err := v.Verify(&b, verify.NewPolicy(verify.WithArtifactDigest("sha512", sum[:]), verify.WithCertificateIdentity(id))); err != nil {
		p.t.Errorf("sigstore-go refuses it: %v\n%s", err, text)
	}
}

// TestAttest signs in both CI systems, to both kinds of log; sigstore-go and assay verify accept what comes of it.
func TestAttest(t *testing.T) {
	for _, gitlab := range []bool{false, true} {
		for _, version := range []string{"1", "2"} {
			t.Run(map[bool]string{false: "GitHub", true: "GitLab"}[gitlab]+" v"+version, func(t *testing.T) {
				p := newPublishing(t)
				issuer, san := lab.IssuerGitHub, "https://github.com/acme/widget/.github/workflows/release.yml@refs/heads/main"
				if gitlab {
					p.write("package.json", []byte(strings.Replace(manifest, "github:", "gitlab:", 1)))
					p.gitlab()
					issuer, san = lab.IssuerGitLab, "https://gitlab.com/acme/widget//.gitlab-ci.yml@refs/heads/main"
				} else {
					p.github()
				}
				tarball := p.pack()
				flags := p.flags()
				if version == "2" {
					flags = append(p.flags()[:6], "--rekor-url", p.sigstore.URL+lab.PathRekorV2, "--rekor-version", "2", "--tsa-url", p.sigstore.URL+lab.PathTSA+"/api/v1/timestamp")
				}
				r := p.do(append([]string{"attest", tarball, "--json"}, flags...)...)
				r.want(0)
				v := r.json()
				file := strings.TrimSuffix(tarball, ".tgz") + ".sigstore.json"
				if v["bundle"] != file || v["purl"] != "pkg:npm/%40acme/widget@1.2.3" || v["schema"] != "assay/attestation/v1" {
					t.Errorf("%v", v)
				}
				text, err := os.ReadFile(file)
				if err != nil {
					t.Fatal(err)
				}
				bytes, err := os.ReadFile(tarball)
				if err != nil {
					t.Fatal(err)
				}
				p.sigstoreGo(text, bytes, issuer, san)
				root := filepath.Join(p.home, "root.json")
				p.run("verify", tarball, "--bundle", file, "--trusted-root", root, "--repo", v["publisher"].(map[string]any)["repository"].(string)).want(0)
				p.do(append([]string{"attest", tarball, "-o", "-"}, flags...)...).want(0, `"mediaType":"application/vnd.dev.sigstore.bundle.v0.3+json"`)
			})
		}
	}
}

// TestAttestRefuses: the same refusals as publish, for a tarball.
func TestAttestRefuses(t *testing.T) {
	p := newPublishing(t)
	p.github()
	tarball := p.pack()
	flags := p.flags()
	run := func(code int, want string, args ...string) {
		t.Helper()
		p.do(append(append([]string{"attest"}, args...), flags...)...).want(code, want)
	}
	p.github(func(r *lab.GitHubRun) { r.Repository = "fork/widget" })
	run(1, "this job runs for https://github.com/fork/widget", tarball)
	p.github(func(r *lab.GitHubRun) { r.Visibility = "internal" })
	run(1, "the repository is internal", tarball)
	run(0, "built from", tarball, "--allow-private")
	p.github(func(r *lab.GitHubRun) { r.Runner = "self-hosted" })
	run(1, "self-hosted", tarball)
	p.github()
	run(2, "reading the tarball", "nowhere.tgz")
	run(2, "takes one tarball")
	junk := filepath.Join(p.home, "junk.tgz")
	writeFile(t, junk, []byte("junk"))
	run(1, "tarball", junk)
	run(2, "writing the bundle", tarball, "-o", filepath.Join(p.home, "no", "such", "dir"))
	flags = flags[4:]
	run(1, "a consumer would refuse this attestation", tarball, "--trusted-root", strangersRoot(p)) // another Sigstore than the one trusted
}

func strangersRoot(p *publishing) string {
	name := filepath.Join(p.home, "stranger.json")
	writeFile(p.t, name, p.Stranger().TrustedRoot())
	return name
}

// TestAttestForNPM signs through a proxy at the public addresses, which are the defaults; an unmodified npm publishes
// the bundle, installs the package and audits it.
func TestAttestForNPM(t *testing.T) {
	if testing.Short() {
		t.Skip("it starts npm several times")
	}
	for _, gitlab := range []bool{false, true} {
		t.Run(map[bool]string{false: "GitHub", true: "GitLab"}[gitlab], func(t *testing.T) {
			p := newPublishing(t)
			// A lab whose documents name the public registry, which the proxy answers for.
			l, err := lab.New(lab.Options{})
			if err != nil {
				t.Fatal(err)
			}
			proxy, err := l.ListenProxy()
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { proxy.Close() })
			services, err := l.ListenServices("")
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { services.Close() })
			p.Lab, p.services, p.sigstore = l, services, newTroublemaker(t, services.URL)
			writeFile(t, filepath.Join(p.home, "root.json"), l.TrustedRoot())
			env, err := proxy.NPMEnv(t.TempDir())
			if err != nil {
				t.Fatal(err)
			}
			p.set(env)
			if gitlab {
				p.write("package.json", []byte(strings.Replace(manifest, "github:", "gitlab:", 1)))
				p.gitlab()
			} else {
				p.github()
			}
			tarball := p.pack()
			bundle := filepath.Join(p.home, "b.json")
			p.do("attest", tarball, "-o", bundle, "--trusted-root", filepath.Join(p.home, "root.json")).want(0, "built from")
			npm := func(dir string, args ...string) string {
				t.Helper()
				cmd := exec.Command("npm", args...)
				cmd.Dir = dir
				cmd.Env = append(append(os.Environ(), env...), "GITHUB_ACTIONS=", "GITLAB_CI=", "npm_config_registry=https://registry.npmjs.org/")
				out, err := cmd.CombinedOutput()
				if err != nil {
					t.Fatalf("npm %v: %v\n%s\nrefused: %v", args, err, out, proxy.Refused())
				}
				return string(out)
			}
			npm(p.home, "publish", tarball, "--provenance-file", bundle, "--access", "public", "--//registry.npmjs.org/:_authToken=x")
			got := l.Lookup("@acme/widget", "1.2.3")
			if got == nil || len(got.List) != 2 {
				t.Fatal("the registry does not have it with two attestations")
			}
			if _, err := l.Publish(lab.Release{Package: lab.Package{Name: "left", Version: "1.0.0"}, CI: lab.GitHub("acme/left")}); err != nil {
				t.Fatal(err)
			}
			app := t.TempDir()
			npm(app, "install", "@acme/widget@1.2.3")
			if out := npm(app, "audit", "signatures"); !strings.Contains(out, "2 packages have verified attestations") {
				t.Errorf("npm audit signatures: %s", out)
			}
			// The bundle that npm made its own of is the one that was signed.
			want, err := os.ReadFile(bundle)
			if err != nil {
				t.Fatal(err)
			}
			var a, b any
			if json.Unmarshal(want, &a) != nil || json.Unmarshal(got.List[1].Bundle, &b) != nil {
				t.Fatal("not JSON")
			}
			if x, _ := json.Marshal(a); string(x) != func() string { y, _ := json.Marshal(b); return string(y) }() {
				t.Error("npm uploaded another bundle")
			}
		})
	}
}

package cli_test

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/json"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"assay/internal/cli"
	"assay/internal/lab"
)

// TestPublish publishes from both CI systems to both kinds of log, as a consumer sees it afterwards.
func TestPublish(t *testing.T) {
	config := func(p *publishing) string {
		text := strings.ReplaceAll(string(p.services.SigningConfig()), p.services.URL, p.sigstore.URL)
		name := filepath.Join(p.home, "signing.json")
		writeFile(p.t, name, []byte(text))
		return name
	}
	tests := []struct {
		name   string
		gitlab bool
		flags  func(p *publishing) []string
		stamps int
		set    bool // the entry has a signed entry timestamp
	}{
		{"GitHub, Rekor v1", false, func(p *publishing) []string { return p.flags() }, 0, true},
		{"GitHub, Rekor v1 and a timestamp", false, func(p *publishing) []string {
			return p.flags("--tsa-url", p.sigstore.URL+lab.PathTSA+"/api/v1/timestamp")
		}, 1, true},
		{"GitHub, signing configuration", false, func(p *publishing) []string { return append(p.flags()[:4], "--signing-config", config(p)) }, 1, true},
		{"GitLab, Rekor v1", true, func(p *publishing) []string { return p.flags() }, 0, true},
		{"GitLab, Rekor v2", true, func(p *publishing) []string {
			return append(p.flags()[:4], "--signing-config", config(p), "--rekor-version", "2")
		}, 1, false},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			p := newPublishing(t)
			who := "built from https://github.com/acme/widget@"
			if tt.gitlab {
				p.write("package.json", bytes.Replace([]byte(manifest), []byte("github:"), []byte("gitlab:"), 1))
				p.commit()
				p.gitlab()
				who = "built from https://gitlab.com/acme/widget@"
			} else {
				p.github()
			}
			// The build's output is what is published, although git does not track it.
			args := append([]string{"publish", "--watch", "--watch-timeout", "20s", "--build", "mkdir -p dist && env > $HOME/env && echo built > dist/x.js"}, tt.flags(p)...)
			r := p.do(args...)
			r.want(0, "published to", "a consumer can verify it: "+who, "trusted publishing did not work", "instead")
			got := p.Lookup("@acme/widget", "1.2.3")
			if got == nil || len(got.List) != 2 {
				t.Fatal("the registry does not have it with two attestations")
			}
			var b lab.Bundle
			if err := json.Unmarshal(got.List[1].Bundle, &b); err != nil {
				t.Fatal(err)
			}
			m := b.VerificationMaterial
			if n := len(m.Timestamps.RFC3161); n != tt.stamps {
				t.Errorf("%d timestamps, want %d", n, tt.stamps)
			}
			if (m.Entries[0].InclusionPromise != nil) != tt.set {
				t.Errorf("signed entry timestamp: %v, want %v", !tt.set, tt.set)
			}
			// The build saw no token.
			env, err := os.ReadFile(filepath.Join(p.home, "env"))
			if err != nil {
				t.Fatal(err)
			}
			for _, s := range append(p.secrets, "ID_TOKEN") {
				if strings.Contains(string(env), s) {
					t.Errorf("the build's environment holds %.20s", s)
				}
			}
			if got.Manifest["gitHead"] != git(t, p.project, "rev-parse", "HEAD") || got.Manifest["_npmVersion"] == nil || got.Manifest["_resolved"] != nil {
				t.Errorf("document: %v", got.Manifest)
			}

			// Once more, as a job that is run again: nothing is signed twice.
			size := p.Rekor.Size() + p.RekorV2.Size()
			again := p.do(args...)
			again.want(0, "already published", "a consumer can verify it")
			if p.Rekor.Size()+p.RekorV2.Size() != size {
				t.Error("the second run made a log entry")
			}
		})
	}
}

// TestPublishTrusted: as a trusted publisher, with and without a token beside it.
func TestPublishTrusted(t *testing.T) {
	p := newPublishing(t)
	if _, err := p.Publish(lab.Release{Package: lab.Package{Name: "@acme/widget", Version: "1.0.0"}, CI: lab.GitHub("acme/widget")}); err != nil {
		t.Fatal(err)
	}
	p.github()
	r := p.publish("--json", "--watch", "--watch-timeout", "20s")
	r.want(0, "the token that npm's configuration holds is not used")
	if v := r.json(); v["outcome"] != "published" || v["trusted_publishing"] != true || v["verdict"] != "provenance" || v["schema"] != "assay/publish/v1" {
		t.Errorf("%v", v)
	}
	delete(p.env, "NODE_AUTH_TOKEN") // what npm's configuration then holds is no token
	p.Forget("@acme/widget", "1.2.3")
	p.publish("--auth", "trusted").want(0, "published to")

	p.Forget("@acme/widget", "1.2.3")
	p.registry.on("POST @acme%2fwidget", 0, answer(404, `{"message":"OIDC token exchange error - package not found"}`))
	p.publish().want(3, "package not found", "workflow release.yml", "repository acme/widget")
	p.token()
	p.publish("--auth", "trusted").want(3, "package not found")
	p.publish("--auth", "token").want(0, "published to")
}

// TestPublishRefuses: what the registry or a consumer would refuse is refused before anything is signed.
func TestPublishRefuses(t *testing.T) {
	edit := func(old, new string) func(p *publishing) {
		return func(p *publishing) {
			text := strings.Replace(manifest, old, new, 1)
			if text == manifest {
				p.t.Fatalf("%q is not in the manifest", old)
			}
			p.write("package.json", []byte(text))
			p.commit()
			p.github()
		}
	}
	tests := []struct {
		name    string
		prepare func(p *publishing)
		flags   []string
		code    int
		want    string
		hint    string
	}{
		{"no CI", func(p *publishing) { delete(p.env, "GITHUB_ACTIONS") }, nil, 2, "neither GITHUB_ACTIONS nor GITLAB_CI", "GitHub Actions"},
		{"no permission", func(p *publishing) { delete(p.env, "ACTIONS_ID_TOKEN_REQUEST_URL") }, nil, 2, "may not have an identity token", "\n    permissions:\n      contents: read\n      id-token: write\n"},
		{"permission denied", func(p *publishing) {
			p.sigstore.on("GET token", 0, answer(403, `{"message":"no"}`))
		}, nil, 3, "answered 403", "id-token: write"},
		{"no token on GitLab", func(p *publishing) {
			edit("github:", "gitlab:")(p)
			p.gitlab()
			delete(p.env, "SIGSTORE_ID_TOKEN")
		}, nil, 2, "SIGSTORE_ID_TOKEN is not set", "aud: sigstore"},
		{"wrong audience", func(p *publishing) {
			edit("github:", "gitlab:")(p)
			job := p.gitlab()
			p.env["SIGSTORE_ID_TOKEN"] = p.Token(job, "npm:registry.npmjs.org")
		}, nil, 2, `is for audience "npm:registry.npmjs.org"`, "aud: \"sigstore\""},
		{"expired token", func(p *publishing) {
			edit("github:", "gitlab:")(p)
			p.gitlab()
			p.now = func() time.Time { return time.Now().Add(time.Hour) }
		}, nil, 2, "expired at", "job of its own"},
		{"not a token", func(p *publishing) {
			edit("github:", "gitlab:")(p)
			p.gitlab()
			p.env["SIGSTORE_ID_TOKEN"] = "nonsense-that-is-secret"
			p.secrets = append(p.secrets, "nonsense-that-is-secret")
		}, nil, 2, "is not a JWT", ""},
		{"environment changed", func(p *publishing) { p.env["GITHUB_RUN_ID"] = "1" }, nil, 1, "GITHUB_RUN_ID is \"1\"", "consumers compare"},
		{"private repository", func(p *publishing) { p.github(func(r *lab.GitHubRun) { r.Visibility = "private" }) }, nil, 1, "the repository is private", "--allow-private"},
		{"self-hosted runner", func(p *publishing) { p.github(func(r *lab.GitHubRun) { r.Runner = "self-hosted" }) }, nil, 1, "self-hosted runner", "ubuntu-latest"},
		{"other repository", edit("github:acme/widget", "github:acme/other"), nil, 1, "package.json names the repository https://github.com/acme/other", "git+https://github.com/acme/widget.git"},
		{"other case", edit("github:acme/widget", "github:Acme/widget"), nil, 1, "upper from lower case", ""},
		{"no repository", edit(`"repository":"github:acme/widget",`, ""), nil, 1, "names no repository", "git+https://github.com/acme/widget.git"},
		{"private package", edit(`"version"`, `"private":true,"version"`), nil, 1, "marked private", ""},
		{"prerelease", edit("1.2.3", "1.2.3-rc.1"), nil, 1, "is a prerelease", "--tag next"},
		{"bad tag", func(p *publishing) {}, []string{"--tag", "v1"}, 2, "cannot be a distribution tag", ""},
		{"other git tag", func(p *publishing) { p.github(func(r *lab.GitHubRun) { r.Ref = "refs/tags/v1.2.4" }) }, nil, 1, `git tag "v1.2.4"`, "--tag-pattern"},
		{"other commit", func(p *publishing) {
			p.github()
			p.commit()
		}, nil, 1, "the working tree is at commit", "actions/checkout"},
		{"dirty tree", func(p *publishing) { p.write("index.js", []byte("module.exports = 2\n")) }, nil, 1, `["index.js"]`, "npm ci"},
		{"no checkout", func(p *publishing) { os.RemoveAll(filepath.Join(p.project, ".git")) }, nil, 2, "git cannot tell", ".git"},
		{"restricted", edit(`"access":"public"`, `"access":"restricted"`), nil, 1, "provenance is for public packages", ""},
		{"new and not public", edit(`"publishConfig":{"access":"public"},`, ""), nil, 1, "is new or not public", "--access public"},
		{"no credential", func(p *publishing) {
			edit("github:", "gitlab:")(p)
			p.gitlab()
			delete(p.env, "NPM_ID_TOKEN")
			p.env["NODE_AUTH_TOKEN"] = "XXXXX-XXXXX-XXXXX-XXXXX"
		}, nil, 2, "there is nothing to publish", "NPM_ID_TOKEN"},
		{"version exists", func(p *publishing) {
			p.world.publish(lab.Release{Package: lab.Package{Name: "@acme/widget", Version: "1.2.3"}, CI: lab.GitHub("acme/widget")})
		}, nil, 1, "is published already with other bytes", "raise the version"},
		{"lower than latest", func(p *publishing) {
			p.world.publish(lab.Release{Package: lab.Package{Name: "@acme/widget", Version: "2.0.0"}, CI: lab.GitHub("acme/widget")})
		}, nil, 1, "is lower than the published 2.0.0", "--tag release-1"},
		{"lower, and latest by publishConfig", func(p *publishing) {
			edit(`"access":"public"`, `"access":"public","tag":"latest"`)(p)
			p.world.publish(lab.Release{Package: lab.Package{Name: "@acme/widget", Version: "2.0.0"}, CI: lab.GitHub("acme/widget")})
		}, nil, 1, "is lower than the published 2.0.0", "--tag latest"},
		{"lower than what is published during the build", func(p *publishing) {
			p.world.publish(lab.Release{Package: lab.Package{Name: "@acme/widget", Version: "2.0.0"}, CI: lab.GitHub("acme/widget")})
			p.registry.on("GET @acme%2fwidget", 1, answer(404, "{}")) // the look before the build
		}, nil, 1, "is lower than the published 2.0.0", "--tag release-1"},
		{"build fails", func(p *publishing) {}, []string{"--build", "echo no good; exit 3"}, 1, "exit status 3", ""},
		{"build changes the version", func(p *publishing) {}, []string{"--build", "sed -i s/1.2.3/1.2.4/ package.json"}, 1, "said @acme/widget@1.2.3 before the build", ""},
		{"build changes the repository", func(p *publishing) {}, []string{"--build", "sed -i s/acme.widget.,.publish/acme\\\\/other\\\",\\\"publish/ package.json"}, 1, "names the repository https://github.com/acme/other", ""},
		{"no package.json", func(p *publishing) {}, []string{"nowhere"}, 2, "there is no package.json", ""},
		{"http to elsewhere", func(p *publishing) {}, []string{"--fulcio-url", "http://fulcio.example"}, 2, "https only", ""},
		{"Rekor v2 without a clock", func(p *publishing) {}, []string{"--rekor-version", "2", "--rekor-url", "https://log.example"}, 2, "timestamp authority is needed", "--tsa-url"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			p := newPublishing(t)
			p.github()
			if tt.prepare != nil {
				tt.prepare(p)
			}
			size := p.Rekor.Size()
			r := p.publish(tt.flags...)
			r.want(tt.code, "assay: error: ", tt.want, tt.hint)
			if tt.hint != "" && !strings.Contains(r.stderr, "assay: hint: ") {
				t.Errorf("no hint: %s", r.stderr)
			}
			if p.Rekor.Size() != size {
				t.Error("it was signed, and the log has an entry for it")
			}
			if n := p.registry.count("PUT @acme%2fwidget"); n > 0 {
				t.Error("it was uploaded")
			}
		})
	}
}

// TestPublishAllows: what looks like the refused cases and is fine.
func TestPublishAllows(t *testing.T) {
	tests := []struct {
		name  string
		run   func(r *lab.GitHubRun)
		text  string
		flags []string
		tag   string
	}{
		{"git tag", func(r *lab.GitHubRun) { r.Ref = "refs/tags/v1.2.3" }, manifest, nil, "latest"},
		{"git tag with name", func(r *lab.GitHubRun) { r.Ref = "refs/tags/@acme/widget@1.2.3" }, manifest, nil, "latest"},
		{"pattern", func(r *lab.GitHubRun) { r.Ref = "refs/tags/widget-v1.2.3" }, manifest, []string{"--tag-pattern", "{unscoped}-v{version}"}, "latest"},
		{"prerelease with tag", nil, strings.Replace(manifest, "1.2.3", "1.2.3-rc.1", 1), []string{"--tag", "next"}, "next"},
		{"build metadata", nil, strings.Replace(manifest, "1.2.3", "1.2.3+b.7", 1), nil, "latest"},
		{"environment's and reusable workflow", func(r *lab.GitHubRun) {
			r.Environment, r.Signer = "npm", "acme/ci/.github/workflows/publish.yml@refs/heads/main"
		}, manifest, nil, "latest"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			p := newPublishing(t)
			p.write("package.json", []byte(tt.text))
			p.commit()
			p.github(func(r *lab.GitHubRun) {
				if tt.run != nil {
					tt.run(r)
				}
			})
			p.publish(append(tt.flags, "--watch", "--watch-timeout", "10s")...).want(0, "a consumer can verify it")
			var doc struct {
				Tags map[string]string `json:"dist-tags"`
			}
			if err := json.Unmarshal(p.Packument("@acme/widget"), &doc); err != nil || doc.Tags[tt.tag] == "" {
				t.Errorf("tags: %v", doc.Tags)
			}
		})
	}
}

// TestPublishTrouble: services that are down, slow or lying. Nothing is half published, nothing secret printed.
func TestPublishTrouble(t *testing.T) {
	rewrite := func(m *troublemaker, change func(body []byte) []byte) http.HandlerFunc {
		return func(w http.ResponseWriter, r *http.Request) {
			rec := &recorder{header: http.Header{}, status: 200}
			m.to.ServeHTTP(rec, r)
			w.Header().Set("Content-Type", rec.header.Get("Content-Type"))
			w.WriteHeader(rec.status)
			w.Write(change(rec.body.Bytes()))
		}
	}
	echo := func(status int) http.HandlerFunc { // a server that repeats what it was sent
		return func(w http.ResponseWriter, r *http.Request) {
			body, _ := io.ReadAll(r.Body)
			text, _ := json.Marshal(map[string]string{"message": "cannot take " + r.Header.Get("Authorization") + string(body)})
			w.WriteHeader(status)
			w.Write(text)
		}
	}
	const cert, entry, stamp, put = "POST signingCert", "POST entries", "POST timestamp", "PUT @acme%2fwidget"
	tests := []struct {
		name   string
		spoil  func(p *publishing)
		code   int
		want   string
		logged bool // the log has an entry all the same
	}{
		{"Fulcio refuses", func(p *publishing) {
			p.sigstore.on(cert, 0, answer(400, `{"code":3,"message":"There was an error processing the identity token","details":[]}`))
		}, 3, "Fulcio answered 400: There was an error processing the identity token", false},
		{"Fulcio repeats the token", func(p *publishing) { p.sigstore.on(cert, 0, echo(400)) }, 3, "[hidden]", false},
		{"Fulcio down", func(p *publishing) { p.sigstore.on(cert, 0, cut) }, 3, "asking for a signing certificate", false},
		{"Fulcio redirects", func(p *publishing) { p.sigstore.on(cert, 0, answer(307, "", "Location", "http://127.0.0.1:1/")) }, 3, "not followed", false},
		{"Fulcio sends much", func(p *publishing) {
			p.sigstore.on(cert, 0, func(w http.ResponseWriter, r *http.Request) { w.Write(bytes.Repeat([]byte("x"), 5<<20)) })
		}, 3, "larger than", false},
		{"Fulcio sends no JSON", func(p *publishing) { p.sigstore.on(cert, 0, answer(200, "<html>")) }, 3, "not the JSON", false},
		{"certificate for another key", func(p *publishing) {
			other, err := p.Sign(lab.Signing{Artifact: []byte("x"), Identity: lab.GitHub("acme/widget").Identity()})
			if err != nil {
				p.t.Fatal(err)
			}
			p.sigstore.on(cert, 0, func(w http.ResponseWriter, r *http.Request) {
				text, _ := json.Marshal("-----BEGIN CERTIFICATE-----\n" + base64.StdEncoding.EncodeToString(other.Leaf.Raw) + "\n-----END CERTIFICATE-----\n")
				answer(200, `{"signedCertificateEmbeddedSct":{"chain":{"certificates":[`+string(text)+`]}}}`)(w, r)
			})
		}, 3, "for another key", false},
		{"timestamp authority down", func(p *publishing) { p.sigstore.on(stamp, 0, answer(503, `{"message":"busy"}`)) }, 3, "timestamp authority answered 503", false},
		{"timestamp authority sends nonsense", func(p *publishing) { p.sigstore.on(stamp, 0, answer(201, `nonsense`)) }, 3, "not a timestamp response", false},
		{"timestamp of something else", func(p *publishing) {
			first := []byte(nil)
			p.sigstore.on(stamp, 0, func(w http.ResponseWriter, r *http.Request) {
				io.Copy(io.Discard, r.Body)
				if first == nil {
					s, err := p.Sign(lab.Signing{Artifact: []byte("x"), Identity: lab.GitHub("acme/widget").Identity(), Timestamp: true})
					if err != nil {
						panic(err)
					}
					first = s.Bundle.VerificationMaterial.Timestamps.RFC3161[0].Signed
				}
				w.WriteHeader(201)
				w.Write(first)
			})
		}, 1, "timestamp-imprint", true},
		{"Rekor down", func(p *publishing) { p.sigstore.on(entry, 0, answer(500, `{"code":500,"message":"unavailable"}`)) }, 3, "Rekor answered 500: unavailable", false},
		{"entry for something else", func(p *publishing) {
			p.sigstore.on(entry, 0, rewrite(p.sigstore, func(body []byte) []byte {
				s, err := p.Sign(lab.Signing{Statement: lab.GitHub("acme/widget").Statement("x", "1.0.0", nil), Identity: lab.GitHub("acme/widget").Identity()})
				if err != nil {
					panic(err)
				}
				var doc map[string]map[string]any
				json.Unmarshal(body, &doc)
				for _, v := range doc {
					v["body"] = s.Bundle.VerificationMaterial.Entries[0].CanonicalizedBody
				}
				out, _ := json.Marshal(doc)
				return out
			}))
		}, 1, "transparency-log (log-", true},
		{"bad signed entry timestamp", func(p *publishing) {
			p.sigstore.on(entry, 0, rewrite(p.sigstore, func(body []byte) []byte {
				return bytes.Replace(body, []byte(`"integratedTime":1`), []byte(`"integratedTime":2`), 1)
			}))
		}, 1, "a consumer would refuse", true},
		{"registry refuses the provenance", func(p *publishing) {
			p.registry.on(put, 0, answer(422, `{"error":"Error verifying sigstore provenance bundle: Failed to validate repository information"}`))
		}, 1, "Failed to validate repository information", true},
		{"payment", func(p *publishing) { p.registry.on(put, 0, answer(402, `{"error":"payment required"}`)) }, 1, "paid plan", true},
		{"forbidden", func(p *publishing) { p.registry.on(put, 0, answer(403, `{"error":"You do not have permission"}`)) }, 1, "not allowed", true},
		{"published before and removed", func(p *publishing) {
			p.registry.on(put, 0, answer(403, `{"error":"You cannot publish over the previously published versions: 1.2.3."}`))
		}, 1, "exists or existed", true},
		{"not found", func(p *publishing) { p.registry.on(put, 0, answer(404, `{"error":"Not found"}`)) }, 1, "may not write to it", true},
		{"one-time password", func(p *publishing) {
			p.registry.on(put, 0, answer(401, `{"error":"no"}`, "WWW-Authenticate", "OTP"))
		}, 1, "--otp", true},
		{"token repeated", func(p *publishing) { p.registry.on(put, 0, echo(401)) }, 1, "not, or no longer, valid", true},
		{"registry down", func(p *publishing) { p.registry.on(put, 0, answer(503, `{"error":"later"}`)) }, 3, "run it again", true},
		{"registry cuts", func(p *publishing) { p.registry.on(put, 0, cut) }, 3, "run it again", true},
		{"registry cannot be read", func(p *publishing) { p.registry.on("GET @acme%2fwidget", 0, answer(500, "")) }, 3, "looking up @acme/widget", false},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			p := newPublishing(t)
			p.github()
			flags := []string{}
			if strings.Contains(tt.name, "timestamp") && !strings.Contains(tt.name, "entry") {
				flags = append(flags, "--tsa-url", p.sigstore.URL+lab.PathTSA+"/api/v1/timestamp")
			}
			tt.spoil(p)
			size := p.Rekor.Size()
			r := p.publish(flags...)
			r.want(tt.code, tt.want, "assay: error: ")
			if logged := p.Rekor.Size() > size; logged != tt.logged {
				t.Errorf("log entry: %v, want %v", logged, tt.logged)
			}
			if p.Lookup("@acme/widget", "1.2.3") != nil {
				t.Error("it was published")
			}
			// Once the trouble is over, the same command succeeds.
			p.sigstore.clear()
			p.registry.clear()
			p.publish(append(flags, "--watch", "--watch-timeout", "10s")...).want(0, "a consumer can verify it")
		})
	}
}

type recorder struct {
	header http.Header
	status int
	body   bytes.Buffer
}

func (r *recorder) Header() http.Header         { return r.header }
func (r *recorder) WriteHeader(status int)      { r.status = status }
func (r *recorder) Write(p []byte) (int, error) { return r.body.Write(p) }

func (m *troublemaker) clear() {
	m.mu.Lock()
	defer m.mu.Unlock()
	clear(m.plan)
}

// TestPublishRecovers: trouble that one more attempt, or a second look, gets over.
func TestPublishRecovers(t *testing.T) {
	const cert, entry, put = "POST signingCert", "POST entries", "PUT @acme%2fwidget"
	tests := []struct {
		name  string
		spoil func(p *publishing)
		want  string
	}{
		{"each service stumbles once", func(p *publishing) {
			p.sigstore.on("GET token", 1, cut)
			p.sigstore.on(cert, 1, answer(503, ""))
			p.sigstore.on(entry, 2, answer(429, "", "Retry-After", "0"))
			p.registry.on(put, 1, answer(500, "{}"))
		}, "published to"},
		{"the registry is busy", func(p *publishing) { p.registry.on(put, 2, answer(409, `{"error":"Failed to save packument"}`)) }, "published to"},
		{"the registry's answer is lost, and it shows the version late", func(p *publishing) {
			p.registry.on(put, 1, p.registry.cutAfter)
			p.registry.on("GET 1.2.3", 3, answer(404, "{}"))
		}, "published to"},
		{"the log's answer is lost", func(p *publishing) { p.sigstore.on(entry, 1, p.sigstore.cutAfter) }, "published to"},
		{"the registry's answer is lost", func(p *publishing) { p.registry.on(put, 1, p.registry.cutAfter) }, "published to"},
		{"another run is faster", func(p *publishing) {
			p.registry.on(put, 1, func(w http.ResponseWriter, r *http.Request) {
				body, _ := io.ReadAll(r.Body)
				for range 2 {
					again := r.Clone(context.Background())
					again.Body = io.NopCloser(bytes.NewReader(body))
					rec := &recorder{header: http.Header{}, status: 200}
					p.registry.to.ServeHTTP(rec, again)
					if rec.status == 403 {
						w.WriteHeader(403)
						w.Write(rec.body.Bytes())
					}
				}
			})
		}, "already published"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			p := newPublishing(t)
			p.github()
			tt.spoil(p)
			p.publish("--watch", "--watch-timeout", "10s").want(0, tt.want, "a consumer can verify it")
		})
	}
}

// TestPublishInterrupted is interrupted at each step in turn and run again.
func TestPublishInterrupted(t *testing.T) {
	p := newPublishing(t)
	p.github()
	for _, step := range []struct {
		at  *troublemaker
		key string
	}{
		{p.sigstore, "GET token"}, {p.registry, "GET @acme%2fwidget"}, {p.registry, "POST @acme%2fwidget"}, {p.sigstore, "POST signingCert"},
		{p.sigstore, "POST entries"}, {p.registry, "PUT @acme%2fwidget"},
	} {
		ctx, cancel := context.WithCancel(context.Background())
		step.at.on(step.key, 1, func(w http.ResponseWriter, r *http.Request) {
			io.Copy(io.Discard, r.Body) // a server notices that a client has gone only when it has read it all
			cancel()
			<-r.Context().Done()
		})
		r := p.runContext(ctx, append([]string{"publish"}, p.flags()...)...)
		r.want(130, "interrupted")
		if p.Lookup("@acme/widget", "1.2.3") != nil {
			t.Fatalf("interrupted at %s: it was published", step.key)
		}
		step.at.clear()
	}
	ctx, cancel := context.WithCancel(context.Background())
	p.registry.on("PUT @acme%2fwidget", 1, func(w http.ResponseWriter, r *http.Request) {
		again := r.Clone(context.Background()) // the upload is complete, and only the answer is missing
		p.registry.to.ServeHTTP(&recorder{header: http.Header{}}, again)
		cancel()
		<-r.Context().Done()
	})
	p.runContext(ctx, append([]string{"publish"}, p.flags()...)...).want(130, "interrupted")
	p.publish("--watch", "--watch-timeout", "10s").want(0, "already published", "a consumer can verify it")
}

func (p *publishing) runContext(ctx context.Context, args ...string) result {
	p.t.Helper()
	var stdout, stderr bytes.Buffer
	p.env["npm_config_registry"] = p.registry.URL
	environ := []string{}
	for k, v := range p.env {
		environ = append(environ, k+"="+v)
	}
	code := cli.Main(ctx, args, cli.Environment{
		Stdin: strings.NewReader(""), Stdout: &stdout, Stderr: &stderr, Dir: p.project, Width: 100, Now: p.now, Environ: environ,
		Getenv: func(key string) (string, bool) { v, ok := p.env[key]; return v, ok },
	})
	return result{p.t, code, stdout.String(), stderr.String()}
}

// TestPublishWorkspace publishes a member of workspaces: npm reads the .npmrc of their root.
func TestPublishWorkspace(t *testing.T) {
	p := newPublishing(t)
	p.write("package.json", []byte(`{"name":"root","version":"1.0.0","private":true,"workspaces":["packages/*"]}`))
	p.write("packages/widget/package.json", []byte(manifest))
	p.write("packages/widget/index.js", nil)
	p.write(".npmrc", []byte("@acme:registry="+p.registry.URL+"/\n"))
	p.commit()
	p.github()
	p.named = false
	p.env["npm_config_registry"] = "http://127.0.0.1:1"
	writeFile(t, filepath.Join(p.home, ".npmrc"), []byte(strings.TrimPrefix(p.registry.URL, "http:")+"/:_authToken=${NODE_AUTH_TOKEN}\n"))
	p.publish("packages/widget", "--watch", "--watch-timeout", "10s").want(0, "published to "+p.registry.URL, "a consumer can verify it")
}

// TestPublishDryRun does everything but the upload, and says that the signature is public.
func TestPublishDryRun(t *testing.T) {
	p := newPublishing(t)
	p.github()
	p.publish("--dry-run", "--bundle-out", filepath.Join(p.home, "b.json")).want(0, "not uploaded", "the signature is public all the same")
	if p.sigstore.count("POST entries") != 1 || p.registry.count("PUT @acme%2fwidget") != 0 {
		t.Error("a dry run signs and does not upload")
	}
	// What it kept can be published without signing again.
	p.publish("--provenance-file", filepath.Join(p.home, "b.json"), "--watch", "--watch-timeout", "10s").want(0, "a consumer can verify it")
	if n := p.sigstore.count("POST entries"); n != 1 {
		t.Errorf("%d signatures", n)
	}
}

// TestPublishProvenanceFile: a bundle for another tarball is not uploaded.
func TestPublishProvenanceFile(t *testing.T) {
	p := newPublishing(t)
	p.github()
	other, err := p.Sign(lab.Signing{Statement: lab.GitHub("acme/widget").Statement("@acme/widget", "1.2.3", make([]byte, 64)), Identity: lab.GitHub("acme/widget").Identity()})
	if err != nil {
		t.Fatal(err)
	}
	name := filepath.Join(p.home, "other.json")
	writeFile(t, name, other.JSON)
	p.publish("--provenance-file", name).want(1, "a consumer would refuse this attestation: subject")
}

// TestPublishWatch: the registry takes its time, and a registry that loses the attestation is told of.
func TestPublishWatch(t *testing.T) {
	p := newPublishing(t)
	p.github()
	p.registry.on("GET @acme%2fwidget@1.2.3", 2, answer(404, "{}"))
	p.publish("--watch", "--watch-timeout", "20s").want(0, "looking again", "a consumer can verify it")
	if err := p.Strip("@acme/widget", "1.2.3"); err != nil {
		t.Fatal(err)
	}
	p.publish().want(1, "already published", "serves no provenance for it")
}

package cli_test

import (
	"crypto/sha1"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"strings"
	"testing"

	"assay/internal/lab"
	"assay/internal/report"
)

// row returns "status reason" of one check of a package.
func row(p *report.Package, id string) string {
	for _, c := range p.Checks {
		if c.ID == id {
			return strings.TrimSpace(string(c.Status) + " " + c.Reason)
		}
	}
	return ""
}

// A locked says what a lockfile's entry holds.
type locked struct{ integrity, resolved string }

// lockKinds writes lockfiles of one package, left 1.0.0, in each format that has a place for what is locked.
var lockKinds = []struct {
	name  string
	write func(w *world, l locked)
	// reads says what of the entry the format can hold.
	noIntegrity, sha1, resolved bool
}{
	{"npm", func(w *world, l locked) {
		entry := map[string]any{"version": "1.0.0"}
		if l.integrity != "" {
			entry["integrity"] = l.integrity
		}
		if l.resolved != "" {
			entry["resolved"] = l.resolved
		}
		data, err := json.Marshal(map[string]any{"name": "app", "lockfileVersion": 3, "packages": map[string]any{
			"": map[string]any{"name": "app", "dependencies": map[string]string{"left": "1.0.0"}}, "node_modules/left": entry,
		}})
		if err != nil {
			w.t.Fatal(err)
		}
		w.write("package-lock.json", data)
	}, true, true, true},
	{"yarn 1", func(w *world, l locked) {
		resolved := l.resolved
		if resolved == "" {
			resolved = w.server.URL + "/left/-/left-1.0.0.tgz"
		}
		text := "# yarn lockfile v1\n\n\nleft@1.0.0:\n  version \"1.0.0\"\n"
		if sum, ok := strings.CutPrefix(l.integrity, "sha1-"); ok {
			raw, err := base64.StdEncoding.DecodeString(sum)
			if err != nil {
				w.t.Fatal(err)
			}
			text += "  resolved \"" + resolved + "#" + hex.EncodeToString(raw) + "\"\n"
		} else if text += "  resolved \"" + resolved + "\"\n"; l.integrity != "" {
			text += "  integrity " + l.integrity + "\n"
		}
		w.write("yarn.lock", []byte(text))
	}, true, true, true},
	{"yarn 4", func(w *world, l locked) {
		w.write("yarn.lock", []byte("__metadata:\n  version: 8\n  cacheKey: 10c0\n\n\"app@workspace:.\":\n  version: 0.0.0-use.local\n  resolution: \"app@workspace:.\"\n  dependencies:\n    left: \"npm:1.0.0\"\n  languageName: unknown\n  linkType: soft\n\n"+
			"\"left@npm:1.0.0\":\n  version: 1.0.0\n  resolution: \"left@npm:1.0.0\"\n  checksum: 10c0/"+strings.Repeat("0", 128)+"\n  languageName: node\n  linkType: hard\n"))
	}, true, false, false},
	{"pnpm", func(w *world, l locked) {
		resolution := ""
		if l.integrity != "" {
			resolution = "integrity: " + l.integrity
		}
		if l.resolved != "" {
			resolution = strings.TrimPrefix(resolution+", tarball: "+l.resolved, ", ")
		}
		w.write("pnpm-lock.yaml", []byte("lockfileVersion: '9.0'\n\nimporters:\n\n  .:\n    dependencies:\n      left:\n        specifier: 1.0.0\n        version: 1.0.0\n\npackages:\n\n  left@1.0.0:\n    resolution: {"+resolution+"}\n\nsnapshots:\n\n  left@1.0.0: {}\n"))
	}, false, true, true},
	{"bun", func(w *world, l locked) {
		w.write("bun.lock", []byte(fmt.Sprintf("{\n  \"lockfileVersion\": 1,\n  \"workspaces\": {\"\": {\"name\": \"app\", \"dependencies\": {\"left\": \"1.0.0\"}}},\n  \"packages\": {\n    \"left\": [\"left@1.0.0\", %q, {}, %q]\n  }\n}\n", l.resolved, l.integrity)))
	}, true, true, true},
}

// TestLockedBytes: whatever the lockfile's format, what it holds of a package's bytes is compared with the registry's,
// and what ties the verdict to bytes is the strongest of what there is.
func TestLockedBytes(t *testing.T) {
	for _, kind := range lockKinds {
		t.Run(kind.name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			p := w.publish(lab.Release{Package: lab.Package{Name: "left"}, CI: lab.GitHub("acme/left")})
			w.publish(lab.Release{Package: lab.Package{Name: "left", Version: "2.0.0"}, CI: lab.GitHub("acme/left")})
			sum := sha1.Sum(p.Tarball)
			weak := "sha1-" + base64.StdEncoding.EncodeToString(sum[:])
			other := sha1.Sum([]byte("evil"))
			w.write("package.json", []byte(`{"name": "app", "dependencies": {"left": "1.0.0"}}`))
			w.write(".npmrc", []byte("registry="+w.server.URL+"/\n"))
			policy := w.write("policy.yaml", []byte("version: 1\nunbound: allow\n"))
			own := w.server.URL + "/left/-/left-1.0.0.tgz"
			for _, tt := range []struct {
				name        string
				skip        bool
				locked      locked
				want        string // of lockfile-integrity
				bound, with string // without and with --tarballs; "" where the verdict is invalid
			}{
				{"a sha512", kind.name == "yarn 4", locked{p.Integrity, ""}, "pass", "lockfile", "lockfile"},
				{"a sha512 and an address", !kind.resolved, locked{p.Integrity, own}, "pass", "lockfile", "lockfile"},
				{"nothing", !kind.noIntegrity, locked{}, "skip integrity-absent", "none", "tarball"},
				{"a sha1", !kind.sha1, locked{weak, ""}, "skip integrity-weak", "none", "tarball"},
				{"another sha512", kind.name == "yarn 4", locked{"sha512-" + base64.StdEncoding.EncodeToString(make([]byte, 64)), ""}, "fail integrity-mismatch", "", ""},
				{"another sha1", !kind.sha1, locked{"sha1-" + base64.StdEncoding.EncodeToString(other[:]), ""}, "fail integrity-mismatch", "", ""},
				{"another host", !kind.resolved, locked{p.Integrity, "https://evil.example/left/-/left-1.0.0.tgz"}, "fail resolved-elsewhere", "", ""},
				{"another version", !kind.resolved, locked{p.Integrity, w.server.URL + "/left/-/left-2.0.0.tgz"}, "fail resolved-elsewhere", "", ""},
				{"another package", !kind.resolved, locked{p.Integrity, w.server.URL + "/evil/-/left-1.0.0.tgz"}, "fail resolved-elsewhere", "", ""},
				{"another host, and no integrity", !kind.resolved || !kind.noIntegrity, locked{"", "https://evil.example/left/-/left-1.0.0.tgz"}, "fail resolved-elsewhere", "", ""},
				{"a password in the address", !kind.resolved, locked{p.Integrity, strings.Replace(own, "://", "://a:b@", 1)}, "fail resolved-elsewhere", "", ""},
				{"a query", !kind.resolved, locked{p.Integrity, own + "?evil"}, "fail resolved-elsewhere", "", ""},
			} {
				if tt.skip {
					continue
				}
				kind.write(w, tt.locked)
				for flag, bound := range map[string]string{"": tt.bound, "--tarballs": tt.with} {
					args := []string{"--policy", policy}
					if flag != "" {
						args = append(args, flag)
					}
					r := w.audit(args...)
					rep := r.report()
					if len(rep.Packages) != 1 {
						t.Errorf("%s %s: %d packages, others %+v, %s", tt.name, flag, len(rep.Packages), rep.Others, r.stderr)
						continue
					}
					got := &rep.Packages[0]
					if s := row(got, "lockfile-integrity"); s != tt.want {
						t.Errorf("%s %s: %q, want %q", tt.name, flag, s, tt.want)
					}
					wantVerdict, code := "provenance", 0
					if strings.HasPrefix(tt.want, "fail") {
						wantVerdict, code = "invalid", 1
					}
					if string(got.Verdict) != wantVerdict || r.code != code || bound != "" && got.Bound != bound {
						t.Errorf("%s %s: verdict %s, exit %d, bound to %q, want %s, %d, %q; %s", tt.name, flag, got.Verdict, r.code, got.Bound, wantVerdict, code, bound, rows(got))
					}
					wantTarball := "skip not-asked"
					if flag != "" && wantVerdict == "provenance" {
						wantTarball = "pass"
					}
					if s := row(got, "tarball-integrity"); s != wantTarball && wantVerdict == "provenance" {
						t.Errorf("%s %s: tarball-integrity %q, want %q", tt.name, flag, s, wantTarball)
					}
				}
			}
		})
	}
}

// TestTwoIntegrities: two places of one version that the lockfile gives different bytes are two packages, of which each
// has a verdict of its own.
func TestTwoIntegrities(t *testing.T) {
	w := newWorld(t)
	p := w.publish(lab.Release{Package: lab.Package{Name: "left"}, CI: lab.GitHub("acme/left")})
	top := w.publish(lab.Release{Package: lab.Package{Name: "top", Manifest: map[string]any{"dependencies": map[string]string{"left": "1.0.0"}}}, CI: lab.GitHub("acme/top")})
	w.lock(p, top)
	evil := "sha512-" + base64.StdEncoding.EncodeToString(make([]byte, 64))
	w.editLock(func(packages map[string]any) {
		packages["node_modules/top/node_modules/left"] = map[string]any{"version": "1.0.0", "resolved": packages["node_modules/left"].(map[string]any)["resolved"], "integrity": evil}
	})
	r := w.audit("--tarballs")
	var got []string
	rep := r.report()
	for i := range rep.Packages {
		if k := &rep.Packages[i]; k.Name == "left" {
			got = append(got, fmt.Sprintf("%s %s %s %s", k.Integrity, strings.Join(k.Locations, " "), k.Verdict, row(k, "lockfile-integrity")))
		}
	}
	want := []string{evil + " node_modules/top/node_modules/left invalid fail integrity-mismatch", p.Integrity + " node_modules/left provenance pass"}
	if evil > p.Integrity {
		want[0], want[1] = want[1], want[0]
	}
	if strings.Join(got, "\n") != strings.Join(want, "\n") || r.code != 1 {
		t.Errorf("exit %d, packages\n%s\nwant\n%s", r.code, strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
}

// Of a package that is not on disk no tarball is fetched to be compared.
func TestInstalledFetchesOnlyWhatIsThere(t *testing.T) {
	w := newWorld(t)
	here := w.publish(lab.Release{Package: lab.Package{Name: "here"}, CI: lab.GitHub("acme/here")})
	away := w.publish(lab.Release{Package: lab.Package{Name: "away"}, CI: lab.GitHub("acme/away")})
	w.lock(here, away)
	w.unpack("node_modules/here", here)
	r := w.audit("--installed")
	if got := row(r.pkg("here"), "tarball-integrity"); got != "pass" {
		t.Errorf("of what is installed: %q", got)
	}
	if p := r.pkg("away"); row(p, "tarball-integrity") != "skip not-asked" || row(p, "installed-files") != "skip not-installed" || string(p.Verdict) != "provenance" || r.code != 0 {
		t.Errorf("of what is not: tarball-integrity %q, installed-files %q, %s, exit %d", row(p, "tarball-integrity"), row(p, "installed-files"), p.Verdict, r.code)
	}
	if p := w.audit("--installed", "--tarballs").pkg("away"); row(p, "tarball-integrity") != "pass" {
		t.Errorf("with --tarballs: %q", row(p, "tarball-integrity"))
	}
}

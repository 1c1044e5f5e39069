package verify_test

import (
	"bytes"
	"crypto/sha512"
	"slices"
	"strings"
	"testing"
	"time"

	"assay/internal/evidence"
	"assay/internal/lab"
	"assay/internal/verify"
)

func TestHonestPackages(t *testing.T) {
	w := newWorld(t, now)
	for _, tt := range []struct {
		name    string
		release lab.Release
		want    verify.Verdict
	}{
		{"github", lab.Release{CI: lab.GitHub("acme/widget")}, verify.Provenance},
		{"github in the form of early 2023", lab.Release{CI: func() lab.CI { g := lab.GitHub("acme/widget"); g.V02 = true; return g }()}, verify.Provenance},
		{"gitlab", lab.Release{CI: lab.GitLab("acme/group/widget")}, verify.Provenance},
		{"rekor v2", lab.Release{CI: lab.GitHub("acme/widget"), Log: w.RekorV2}, verify.Provenance},
		{"intoto entry", lab.Release{CI: lab.GitHub("acme/widget"), Kind: lab.Intoto}, verify.Provenance},
		{"reusable workflow", lab.Release{CI: func() lab.CI {
			g := lab.GitHub("acme/widget")
			g.Signer = "acme/workflows/.github/workflows/publish.yml@refs/tags/v1"
			return g
		}()}, verify.Provenance},
		{"signature only", lab.Release{}, verify.Signed},
		{"nothing", lab.Release{Unsigned: true}, verify.Unsigned},
	} {
		t.Run(tt.name, func(t *testing.T) {
			o := verify.Run(w.input(w.publish(tt.release)))
			if o.Verdict != tt.want {
				t.Errorf("verdict %q, want %q; failing: %s; errors: %s; skipped: %s", o.Verdict, tt.want,
					failing(o, verify.Fail), failing(o, verify.Error), failing(o, verify.Skip))
			}
			if (o.Publisher != nil) != (tt.want == verify.Provenance) {
				t.Errorf("publisher %+v with verdict %s", o.Publisher, o.Verdict)
			}
		})
	}
}

// The public registry counts as this one under both of its names, whatever else a name has in common with them.
func TestPublicNames(t *testing.T) {
	w := newWorld(t, now)
	in := w.input(w.publish(lab.Release{CI: lab.GitHub("acme/widget")}))
	for address, want := range map[string]string{
		"https://registry.npmjs.org/@acme/widget/-/widget-1.2.3.tgz":                "",
		"https://registry.yarnpkg.com/@acme/widget/-/widget-1.2.3.tgz":              "",
		"https://Registry.YarnPkg.com/@acme%2fwidget/-/widget-1.2.3.tgz":            "",
		"https://registry.yarnpkg.com/@acme/widget/-/widget-1.2.4.tgz":              "lockfile-integrity resolved-elsewhere",
		"https://registry.yarnpkg.com/widget/-/widget-1.2.3.tgz":                    "lockfile-integrity resolved-elsewhere",
		"https://registry.yarnpkg.com:8443/@acme/widget/-/widget-1.2.3.tgz":         "lockfile-integrity resolved-elsewhere",
		"https://registry.yarnpkg.com.evil.example/@acme/widget/-/widget-1.2.3.tgz": "lockfile-integrity resolved-elsewhere",
		"https://u@registry.yarnpkg.com/@acme/widget/-/widget-1.2.3.tgz":            "lockfile-integrity resolved-elsewhere",
		"https://yarnpkg.com/@acme/widget/-/widget-1.2.3.tgz":                       "lockfile-integrity resolved-elsewhere",
		"https://registry.npmjs.com/@acme/widget/-/widget-1.2.3.tgz":                "lockfile-integrity resolved-elsewhere",
	} {
		in.Package.Resolved = address
		if got := failing(verify.Run(in), verify.Fail); got != want {
			t.Errorf("%s: %q, want %q", address, got, want)
		}
	}
}

// TestOneCheckFails makes, for each check, exactly one thing wrong and demands that exactly that check
// fails: a check that fails along with another has not been shown to work.
func TestOneCheckFails(t *testing.T) {
	w := newWorld(t, now)
	github := func() *lab.GitHubRun { return lab.GitHub("acme/widget") }
	other := w.Stranger()
	for _, tt := range []struct {
		name    string
		want    string // "id reason" of every failing row
		release lab.Release
		input   func(*verify.Input)
	}{
		{name: "lockfile of other bytes", want: "lockfile-integrity integrity-mismatch",
			release: lab.Release{CI: github()},
			input:   func(in *verify.Input) { in.Package.Integrity = sri(make([]byte, 64)) }},
		{name: "lockfile that accepts a second tarball", want: "lockfile-integrity integrity-mismatch",
			release: lab.Release{CI: github()},
			input:   func(in *verify.Input) { in.Package.Integrity += " " + sri(make([]byte, 64)) }},
		{name: "lockfile that fetches from elsewhere", want: "lockfile-integrity resolved-elsewhere",
			release: lab.Release{CI: github()},
			input: func(in *verify.Input) {
				in.Package.Resolved = "https://registry.npmjs.org.evil.example/@acme/widget/-/widget-1.2.3.tgz"
			}},
		{name: "lockfile that fetches another version", want: "lockfile-integrity resolved-elsewhere",
			release: lab.Release{CI: github()},
			input: func(in *verify.Input) {
				in.Package.Resolved = strings.Replace(in.Package.Resolved, "1.2.3", "1.2.4", 1)
			}},
		{name: "lockfile that fetches from elsewhere without integrity", want: "lockfile-integrity resolved-elsewhere",
			release: lab.Release{CI: github()},
			input: func(in *verify.Input) {
				in.Package.Integrity, in.Package.Resolved = "", "https://evil.example/widget-1.2.3.tgz"
			}},
		{name: "lockfile with a wrong sha1", want: "lockfile-integrity integrity-mismatch",
			release: lab.Release{CI: github()},
			input:   func(in *verify.Input) { in.Package.Integrity = "sha1-AAAAAAAAAAAAAAAAAAAAAAAAAAA=" }},
		{name: "registry signature over another version", want: "registry-signature signature-invalid",
			release: lab.Release{CI: github(), SignedMessage: "@acme/widget@1.2.4:sha512-x"}},
		{name: "registry signature by an unknown key", want: "registry-signature key-unknown",
			release: lab.Release{CI: github(), SigningKey: w.UnlistedKey("stranger")}},
		{name: "registry signature by a key that had expired", want: "registry-signature key-expired",
			release: lab.Release{CI: github(), SigningKey: w.RetiredKey}},
		{name: "registry signature missing beside attestations", want: "registry-signature signature-missing",
			release: lab.Release{CI: github(), Unsigned: true}},
		{name: "empty list of attestations", want: "evidence-complete list-empty",
			release: lab.Release{CI: github()},
			input:   func(in *verify.Input) { in.Evidence.Attestations = served([]byte(`{"attestations":[]}`)) }},
		{name: "list without provenance", want: "evidence-complete provenance-absent",
			release: lab.Release{CI: github(), NoProvenance: true, Announce: new(true)}},
		{name: "attestations stripped, known from assay.lock", want: "evidence-complete attestation-stripped",
			release: lab.Release{},
			input:   func(in *verify.Input) { in.Options.AttestationExpected = true }},
		{name: "two signatures in the envelope", want: "bundle-format",
			release: lab.Release{CI: github(), Provenance: lab.Tamper{Bundle: func(b *lab.Bundle) {
				b.DSSEEnvelope.Signatures = append(b.DSSEEnvelope.Signatures, b.DSSEEnvelope.Signatures[0])
			}}}},
		{name: "certificate of a stranger's authority", want: "certificate-chain",
			release: lab.Release{CI: github(), Provenance: lab.Tamper{CA: other.CA, SCTIssuer: w.CA}}},
		{name: "certificate timestamp by an unknown log", want: "certificate-transparency",
			release: lab.Release{CI: github(), Provenance: lab.Tamper{CT: []*lab.CTLog{other.CT}}}},
		{name: "certificate without timestamp", want: "certificate-transparency",
			release: lab.Release{CI: github(), Provenance: lab.Tamper{NoSCT: true}}},
		{name: "logged after the certificate expired", want: "signing-time",
			release: lab.Release{CI: github(), Provenance: lab.Tamper{LogTime: now.Add(time.Hour)}}},
		{name: "signed by another key", want: "envelope-signature",
			release: lab.Release{CI: github(), Provenance: lab.Tamper{SigningKey: w.NewKey()}}},
		{name: "statement about another package", want: "subject subject-name",
			release: lab.Release{CI: github(), Provenance: lab.Tamper{Statement: func(s *lab.Statement) { s.Subject[0].Name = "pkg:npm/left-pad@1.2.3" }}}},
		{name: "statement about two packages", want: "subject subject-count",
			release: lab.Release{CI: github(), Provenance: lab.Tamper{Statement: func(s *lab.Statement) { s.Subject = append(s.Subject, s.Subject[0]) }}}},
		{name: "statement about other bytes", want: "subject subject-digest",
			release: lab.Release{CI: github(), Provenance: lab.Tamper{Statement: func(s *lab.Statement) {
				s.Subject[0].Digest = map[string]string{"sha512": strings.Repeat("0", 128)}
			}}}},
		{name: "statement of another event than the certificate", want: "predicate predicate-mismatch",
			release: lab.Release{CI: github(), Provenance: lab.Tamper{Payload: replace(`"event_name":"push"`, `"event_name":"release"`)}}},
		{name: "list that labels the provenance as another type", want: "predicate predicate-type",
			release: lab.Release{CI: github(), Attestations: func(l []lab.Attestation) []lab.Attestation {
				l[len(l)-1].PredicateType = "https://slsa.dev/provenance/v0.2"
				return l
			}}},
		{name: "subject alternative name of another workflow", want: "workflow-identity extension-mismatch",
			release: lab.Release{CI: github(), Provenance: lab.Tamper{Identity: func(id *lab.Identity) {
				id.SAN = "https://github.com/acme/widget/.github/workflows/evil.yml@refs/heads/main"
			}}}},
		{name: "an enterprise's own issuer", want: "workflow-identity issuer-not-accepted",
			release: lab.Release{CI: github(), Provenance: lab.Tamper{Identity: func(id *lab.Identity) {
				id.Extensions[1], id.Extensions[8] = lab.IssuerGitHub+"/acme", lab.IssuerGitHub+"/acme"
			}}}},
		{name: "certificate without visibility", want: "workflow-identity extension-missing",
			release: lab.Release{CI: github(), Provenance: lab.Tamper{Identity: func(id *lab.Identity) { delete(id.Extensions, 22) }}}},
		{name: "two provenances of two commits", want: "source-repository publishers-differ",
			release: lab.Release{CI: github(), Also: []lab.Provenance{{CI: func() lab.CI { g := github(); g.SHA = strings.Repeat("a", 40); return g }()}}}},
		{name: "statement whose dependency is another repository", want: "source-repository source-mismatch",
			release: lab.Release{CI: github(), Provenance: lab.Tamper{Payload: replace("git+https://github.com/acme/widget@", "git+https://github.com/acme/widget-evil@")}}},
		{name: "publish attestation for another registry", want: "publish-attestation publish-registry",
			release: lab.Release{CI: github(), PublishAttestation: lab.Tamper{Payload: replace(`"registry":"`, `"registry":"https://evil.example`)}}},
		{name: "publish attestation that names another version", want: "publish-attestation publish-other",
			release: lab.Release{CI: github(), PublishAttestation: lab.Tamper{Payload: replace(`"version":"1.2.3"`, `"version":"1.2.4"`)}}},
		{name: "tarball of other bytes", want: "tarball-integrity tarball-mismatch, subject subject-digest",
			release: lab.Release{CI: github()},
			input: func(in *verify.Input) {
				sum := sha512.Sum512([]byte("something else"))
				in.Evidence.Tarball = &evidence.Tarball{SHA512: sum[:]}
			}},
		{name: "tarball of other bytes, without attestations", want: "tarball-integrity tarball-mismatch",
			release: lab.Release{},
			input: func(in *verify.Input) {
				sum := sha512.Sum512([]byte("something else"))
				in.Evidence.Tarball = &evidence.Tarball{SHA512: sum[:]}
			}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			in := w.input(w.publish(tt.release))
			if tt.input != nil {
				tt.input(&in)
			}
			o := verify.Run(in)
			got := failing(o, verify.Fail, verify.Error)
			if !matches(got, tt.want) {
				t.Errorf("failing rows: %q, want %q", got, tt.want)
			}
			if o.Verdict != verify.Invalid {
				t.Errorf("verdict %q, want invalid", o.Verdict)
			}
			if o.Publisher != nil {
				t.Errorf("a package that is invalid has publisher %+v", o.Publisher)
			}
		})
	}
}

// matches compares lists of "id reason"; a wanted row without reason takes any.
func matches(got, want string) bool {
	g, w := strings.Split(got, ", "), strings.Split(want, ", ")
	return slices.EqualFunc(g, w, func(g, w string) bool {
		return g == w || !strings.Contains(w, " ") && strings.HasPrefix(g, w+" ")
	})
}

func replace(old, new string) func([]byte) []byte {
	return func(b []byte) []byte {
		if !bytes.Contains(b, []byte(old)) {
			panic("nothing to replace: " + old + " in " + string(b))
		}
		return bytes.Replace(b, []byte(old), []byte(new), 1)
	}
}

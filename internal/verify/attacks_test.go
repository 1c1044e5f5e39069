package verify_test

import (
	"slices"
	"strings"
	"testing"
	"time"

	"assay/internal/evidence"
	"assay/internal/lab"
	"assay/internal/verify"
)

// TestAttacks plays what npm's own audit does not see, or sees as something else. Several rows may fail;
// what counts are the verdict and that the row whose question it is says so.
func TestAttacks(t *testing.T) {
	w := newWorld(t, now)
	github := func() *lab.GitHubRun { return lab.GitHub("acme/widget") }
	other := w.publish(lab.Release{Package: lab.Package{Name: "left", Version: "1.0.0"}, CI: lab.GitHub("acme/left")})
	for _, tt := range []struct {
		name    string
		release lab.Release
		input   func(*verify.Input)
		verdict verify.Verdict
		rows    string // "id reason" of rows that must be among the failing and undecided
	}{
		{name: "a valid certificate of a stranger's repository",
			release: lab.Release{Package: lab.Package{Manifest: map[string]any{"repository": "github:acme/widget"}}, CI: lab.GitHub("mallory/widget")},
			verdict: verify.Invalid, rows: "workflow-identity repository-mismatch, source-repository repository-mismatch"},
		{name: "a stranger's repository whose name only begins alike",
			release: lab.Release{Package: lab.Package{Manifest: map[string]any{"repository": "github:acme/widget"}}, CI: lab.GitHub("acme/widget-evil")},
			verdict: verify.Invalid, rows: "workflow-identity repository-mismatch"},
		{name: "a statement whose repository differs from the certificate",
			release: lab.Release{CI: github(), Provenance: lab.Tamper{Payload: func(b []byte) []byte {
				return []byte(strings.ReplaceAll(string(b), "github.com/acme/widget", "github.com/acme/gadget"))
			}}},
			verdict: verify.Invalid, rows: "predicate predicate-mismatch, source-repository source-mismatch"},
		{name: "a statement whose commit differs from the certificate",
			release: lab.Release{CI: github(), Provenance: lab.Tamper{Payload: replace(`"gitCommit":"`+github().SHA, `"gitCommit":"`+strings.Repeat("b", 40))}},
			verdict: verify.Invalid, rows: "predicate predicate-mismatch, source-repository commit-mismatch"},
		{name: "one package's valid attestations served for another",
			release: lab.Release{CI: github()},
			input:   func(in *verify.Input) { in.Evidence.Attestations = served(other.Attestations) },
			verdict: verify.Invalid, rows: "evidence-complete other-version, subject subject-name"},
		{name: "attestations stripped from the document while served",
			release: lab.Release{CI: github(), Announce: new(false)},
			verdict: verify.Provenance},
		{name: "announced attestations answered with 404",
			release: lab.Release{CI: github()},
			input: func(in *verify.Input) {
				in.Evidence.Attestations = evidence.Answer{State: evidence.Absent, Status: 404}
			},
			verdict: verify.Unchecked, rows: "evidence-complete announced-absent"},
		{name: "announced attestations that time out",
			release: lab.Release{CI: github()},
			input: func(in *verify.Input) {
				in.Evidence.Attestations = evidence.Answer{State: evidence.Unavailable, Reason: "timeout"}
			},
			verdict: verify.Unchecked, rows: "evidence-complete timeout"},
		{name: "an empty list",
			release: lab.Release{CI: github()},
			input:   func(in *verify.Input) { in.Evidence.Attestations = served([]byte(`{"attestations":[]}`)) },
			verdict: verify.Invalid, rows: "evidence-complete list-empty"},
		{name: "a list that is an object",
			release: lab.Release{CI: github()},
			input:   func(in *verify.Input) { in.Evidence.Attestations = served([]byte(`{"attestations":{}}`)) },
			verdict: verify.Invalid, rows: "evidence-complete list-format"},
		{name: "a list with two members of one name",
			release: lab.Release{CI: github()},
			input: func(in *verify.Input) {
				in.Evidence.Attestations = served([]byte(`{"attestations":[],"attestations":[]}`))
			},
			verdict: verify.Invalid, rows: "evidence-complete list-format"},
		{name: "the publish attestation left out",
			release: lab.Release{CI: github(), NoPublish: true},
			verdict: verify.Invalid, rows: "evidence-complete publish-absent, publish-attestation publish-absent"},
		{name: "two publish attestations",
			release: lab.Release{CI: github(), Attestations: func(l []lab.Attestation) []lab.Attestation { return append(l, l[0]) }},
			verdict: verify.Invalid, rows: "publish-attestation duplicate"},
		{name: "a publish attestation by an unlisted key",
			release: lab.Release{CI: github(), AttestationKey: w.UnlistedKey("x")},
			verdict: verify.Invalid, rows: "envelope-signature key-unknown, publish-attestation key-unknown"},
		{name: "attestations stripped that were served before",
			release: lab.Release{},
			input: func(in *verify.Input) {
				was := w.publish(lab.Release{CI: github()})
				in.Evidence.Earlier = []evidence.Earlier{{Attestations: was.Attestations, Document: was.Document}}
			},
			verdict: verify.Invalid, rows: "evidence-complete attestation-stripped"},
		{name: "attestations of the lab's stranger put into the cache as earlier evidence",
			release: lab.Release{},
			input: func(in *verify.Input) {
				was := newStranger(t, w).publish(lab.Release{CI: github()})
				in.Evidence.Earlier = []evidence.Earlier{{Attestations: was.Attestations, Document: was.Document}}
			},
			verdict: verify.Signed},
		{name: "a provenance of anybody put into the cache as earlier evidence",
			release: lab.Release{},
			input: func(in *verify.Input) {
				was := w.publish(lab.Release{CI: lab.GitHub("mallory/widget"), NoPublish: true})
				in.Evidence.Earlier = []evidence.Earlier{{Attestations: was.Attestations}}
			},
			verdict: verify.Signed},
		{name: "signature and attestations stripped that were served before",
			release: lab.Release{Unsigned: true},
			input: func(in *verify.Input) {
				in.Evidence.Earlier = []evidence.Earlier{{Document: w.publish(lab.Release{}).Document}}
			},
			verdict: verify.Invalid, rows: "registry-signature signature-missing"},
		{name: "a document of another version",
			release: lab.Release{Package: lab.Package{Version: "1.2.4"}},
			input:   func(in *verify.Input) { in.Package.ID.Version = "1.2.3" },
			verdict: verify.Invalid, rows: "evidence-complete other-version, registry-signature signature-invalid"},
		{name: "a document with two integrities",
			release: lab.Release{CI: github(), Document: func(d map[string]any) {
				dist := d["dist"].(map[string]any)
				dist["integrity"] = dist["integrity"].(string) + " " + sri(make([]byte, 64))
			}},
			verdict: verify.Invalid, rows: "registry-signature signature-invalid"},
		{name: "a document with two members of one name",
			release: lab.Release{CI: github()},
			input: func(in *verify.Input) {
				in.Evidence.Document = served([]byte(`{"name":"a",` + string(in.Evidence.Document.Body[1:])))
			},
			verdict: verify.Invalid, rows: "evidence-complete document-format"},
		{name: "a newer bundle version",
			release: lab.Release{CI: github(), Provenance: lab.Tamper{MediaType: "application/vnd.dev.sigstore.bundle.v0.9+json"}},
			verdict: verify.Unchecked, rows: "bundle-format media-type-unknown"},
		{name: "an unknown build type",
			release: lab.Release{CI: github(), Provenance: lab.Tamper{Payload: replace("github-actions-buildtypes/workflow/v1", "github-actions-buildtypes/workflow/v9")}},
			verdict: verify.Unchecked, rows: "predicate build-type-unknown"},
		{name: "another GitLab instance that claims gitlab.com",
			release: lab.Release{CI: lab.GitLab("acme/widget"), Provenance: lab.Tamper{Identity: func(id *lab.Identity) {
				id.Extensions[8], id.Extensions[1] = "https://gitlab.evil.example", "https://gitlab.evil.example"
			}}},
			verdict: verify.Invalid, rows: "workflow-identity issuer-not-accepted"},
		{name: "GitLab's issuer over a project of GitHub",
			release: lab.Release{CI: github(), Provenance: lab.Tamper{Identity: func(id *lab.Identity) {
				id.Extensions[8], id.Extensions[1] = lab.IssuerGitLab, lab.IssuerGitLab
			}}},
			verdict: verify.Invalid, rows: "workflow-identity extension-mismatch"},
		{name: "a company's GitLab that speaks for gitlab.com, accepted by the policy",
			release: lab.Release{CI: lab.GitLab("acme/widget"), Provenance: lab.Tamper{Identity: func(id *lab.Identity) {
				id.Extensions[8], id.Extensions[1] = "https://gitlab.corp.example", "https://gitlab.corp.example"
			}}},
			input:   func(in *verify.Input) { in.Options.Issuers = []string{"https://gitlab.corp.example"} },
			verdict: verify.Invalid, rows: "workflow-identity extension-mismatch"},
		{name: "the same for its own host, against a claim of gitlab.com",
			release: lab.Release{CI: lab.GitLab("acme/widget"), Provenance: lab.Tamper{Identity: func(id *lab.Identity) {
				id.Extensions[8], id.Extensions[1] = "https://gitlab.corp.example", "https://gitlab.corp.example"
				for _, n := range []int{9, 18} {
					id.Extensions[n] = strings.Replace(id.Extensions[n], "https://gitlab.com/", "https://gitlab.corp.example/", 1)
				}
				id.SAN = id.Extensions[9]
			}}},
			input:   func(in *verify.Input) { in.Options.Issuers = []string{"https://gitlab.corp.example"} },
			verdict: verify.Invalid, rows: "workflow-identity repository-mismatch"},
		{name: "a workflow file whose name holds another's with its ref",
			release: lab.Release{CI: func() lab.CI {
				g := github()
				g.Workflow = ".github/workflows/release.yml@refs/heads/x.yml"
				return g
			}()},
			verdict: verify.Invalid, rows: "workflow-identity extension-mismatch"},
		{name: "a second provenance of another event",
			release: lab.Release{CI: github(), Also: []lab.Provenance{{CI: func() lab.CI { g := github(); g.Event = "pull_request_target"; return g }()}}},
			verdict: verify.Invalid, rows: "source-repository publishers-differ"},
		{name: "a log entry of another envelope",
			release: lab.Release{CI: github(), Provenance: lab.Tamper{Record: func(r *lab.Record) { r.Payload = []byte("{}") }}},
			verdict: verify.Invalid, rows: "transparency-log log-digest-mismatch"},
		{name: "a package.json that claims no repository",
			release: lab.Release{Package: lab.Package{Manifest: map[string]any{"repository": nil}}, CI: github()},
			verdict: verify.Provenance},
		{name: "a document that could not be had",
			release: lab.Release{CI: github()},
			input: func(in *verify.Input) {
				in.Evidence.Document = evidence.Answer{State: evidence.Unavailable, Reason: "http-status", Status: 500}
				in.Evidence.Attestations = evidence.Answer{}
			},
			verdict: verify.Unchecked, rows: "evidence-complete http-status"},
		{name: "a version that was removed",
			release: lab.Release{},
			input: func(in *verify.Input) {
				in.Evidence.Document = evidence.Answer{State: evidence.Absent, Status: 404}
				in.Evidence.Attestations = evidence.Answer{}
			},
			verdict: verify.Unchecked, rows: "evidence-complete version-absent"},
		{name: "an attacker's cache without a network",
			release: lab.Release{CI: github()},
			input:   func(in *verify.Input) { in.Options.Unauthenticated = true },
			verdict: verify.Unchecked, rows: "evidence-complete cache-unauthenticated"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			in := w.input(w.publish(tt.release))
			if tt.input != nil {
				tt.input(&in)
			}
			o := verify.Run(in)
			got := failing(o, verify.Fail, verify.Error)
			if o.Verdict != tt.verdict {
				t.Errorf("verdict %s, want %s; failing: %s", o.Verdict, tt.verdict, got)
			}
			for want := range strings.SplitSeq(tt.rows, ", ") {
				if want != "" && !slices.Contains(strings.Split(got, ", "), want) {
					t.Errorf("%q is not among the failing rows: %s", want, got)
				}
			}
			if tt.verdict != verify.Provenance && o.Publisher != nil {
				t.Errorf("publisher %+v without provenance", o.Publisher)
			}
		})
	}
}

func newStranger(t *testing.T, w *world) *world {
	return &world{Lab: w.Stranger(), t: t}
}

// TestRegistries: what is known of a registry decides what a missing signature means.
func TestRegistries(t *testing.T) {
	w := newWorld(t, now)
	expected := &verify.Expected{Repository: "https://github.com/acme/widget"}
	for _, tt := range []struct {
		name    string
		release lab.Release
		input   func(*verify.Input)
		verdict verify.Verdict
		row     string
	}{
		{"a registry without keys", lab.Release{Unsigned: true},
			func(in *verify.Input) { in.Trust.Keys, in.Trust.KeyState = nil, verify.KeysNone }, verify.Unsigned, "registry-signature keys-absent"},
		{"a registry without keys that serves attestations", lab.Release{CI: lab.GitHub("acme/widget"), Unsigned: true},
			func(in *verify.Input) { in.Trust.Keys, in.Trust.KeyState = nil, verify.KeysNone }, verify.Invalid, "registry-signature signature-missing"},
		{"a registry that only the project names", lab.Release{CI: lab.GitHub("acme/widget")},
			func(in *verify.Input) { in.Trust.Keys, in.Trust.KeyState = nil, verify.KeysUntrusted }, verify.Unchecked, "registry-signature untrusted-registry"},
		{"a registry whose keys could not be had", lab.Release{CI: lab.GitHub("acme/widget")},
			func(in *verify.Input) { in.Trust.Keys, in.Trust.KeyState = nil, verify.KeysUnavailable }, verify.Unchecked, "registry-signature keys-unavailable"},
		{"a mirror of npm without keys of its own", lab.Release{CI: lab.GitHub("acme/widget")},
			func(in *verify.Input) {
				in.Trust.KeyState = verify.KeysNone
				in.Package.Registry, in.Evidence.Registry = "https://mirror.example", "https://mirror.example"
			}, verify.Provenance, ""},
		{"a company registry that signs some packages, undeclared", lab.Release{Unsigned: true},
			nil, verify.Unsigned, "registry-signature signature-missing"},
		{"a company registry that signs some packages, declared", lab.Release{Unsigned: true},
			func(in *verify.Input) { in.Options.Signs = verify.SignsPartly }, verify.Unsigned, "registry-signature signs-partly"},
		{"a keyless registry with the publisher that the policy names", lab.Release{CI: lab.GitHub("acme/widget"), Unsigned: true, NoPublish: true},
			func(in *verify.Input) {
				in.Trust.Keys, in.Trust.KeyState = nil, verify.KeysNone
				in.Options.Keyless, in.Options.Expected = true, expected
			}, verify.Provenance, "registry-signature keyless"},
		{"a keyless registry with another publisher", lab.Release{CI: lab.GitHub("mallory/widget"), Unsigned: true, NoPublish: true},
			func(in *verify.Input) {
				in.Trust.Keys, in.Trust.KeyState = nil, verify.KeysNone
				in.Options.Keyless, in.Options.Expected = true, expected
			}, verify.Invalid, "workflow-identity publisher-unexpected"},
		{"a keyless registry for which the policy names nobody", lab.Release{CI: lab.GitHub("acme/widget"), Unsigned: true, NoPublish: true},
			func(in *verify.Input) {
				in.Trust.Keys, in.Trust.KeyState = nil, verify.KeysNone
				in.Options.Keyless = true
			}, verify.Invalid, "evidence-complete publish-absent"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			in := w.input(w.publish(tt.release))
			if tt.input != nil {
				tt.input(&in)
			}
			o := verify.Run(in)
			got := failing(o, verify.Fail, verify.Error, verify.Skip)
			if o.Verdict != tt.verdict || tt.row != "" && !slices.Contains(strings.Split(got, ", "), tt.row) {
				t.Errorf("verdict %s, want %s with %q; rows: %s", o.Verdict, tt.verdict, tt.row, got)
			}
		})
	}
}

// TestRetiredKey: a key that has expired since still vouches for what it signed in its time, and says when
// nobody knows that time.
func TestRetiredKey(t *testing.T) {
	w := newWorld(t, now)
	old := w.Start().Add(30 * 24 * time.Hour)
	for _, tt := range []struct {
		name    string
		release lab.Release
		time    string // of publishing, by the package document
		want    string
	}{
		{"in its time, by the publish attestation's log time", lab.Release{CI: lab.GitHub("acme/widget"), At: old, SigningKey: w.RetiredKey, AttestationKey: w.RetiredKey}, "", "pass "},
		{"in its time, by the package document", lab.Release{SigningKey: w.RetiredKey}, old.Format(time.RFC3339), "pass "},
		{"afterwards, by the package document", lab.Release{SigningKey: w.RetiredKey}, now.Format(time.RFC3339), "fail key-expired"},
		{"nobody knows when", lab.Release{SigningKey: w.RetiredKey}, "", "pass time-unknown"},
		{"a time that is no time", lab.Release{SigningKey: w.RetiredKey}, "yesterday", "pass time-unknown"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			in := w.input(w.publish(tt.release))
			if tt.time != "" {
				in.Evidence.Packument = served(mustJSON(map[string]any{"time": map[string]string{"1.2.3": tt.time}}))
			}
			o := verify.Run(in)
			r := row(t, o, "registry-signature")
			if got := string(r.Status) + " " + r.Reason; got != tt.want {
				t.Errorf("registry-signature: %s, want %s", got, tt.want)
			}
			if o.TimeUnknown != (r.Reason == "time-unknown") {
				t.Errorf("TimeUnknown = %t with reason %q", o.TimeUnknown, r.Reason)
			}
		})
	}
}

// TestEncode: an outcome kept between runs comes back as it was.
func TestEncode(t *testing.T) {
	w := newWorld(t, now)
	for _, r := range []lab.Release{{CI: lab.GitHub("acme/widget")}, {}, {Unsigned: true}, {CI: lab.GitHub("mallory/widget"), Package: lab.Package{Manifest: map[string]any{"repository": "acme/widget"}}}} {
		o := verify.Run(w.input(w.publish(r)))
		b, err := o.Encode()
		if err != nil {
			t.Fatal(err)
		}
		got, err := verify.Decode(b)
		if err != nil {
			t.Fatal(err)
		}
		if string(mustJSON(got)) != string(mustJSON(o)) {
			t.Errorf("came back as\n%s\nand was\n%s", mustJSON(got), mustJSON(o))
		}
		for i := range b {
			if _, err := verify.Decode(b[:i]); err == nil {
				t.Fatalf("the first %d of %d bytes are read as an outcome", i, len(b))
			}
		}
	}
}

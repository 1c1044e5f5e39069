package report

import (
	"bytes"
	"encoding/json"
	"regexp"
	"strings"
	"testing"

	vsa "github.com/in-toto/attestation/go/predicates/vsa/v1"
	intoto "github.com/in-toto/attestation/go/v1"
	"google.golang.org/protobuf/encoding/protojson"

	"assay/internal/policy"
	"assay/internal/verify"
)

// summaries reads what WriteVSA wrote with in-toto's own reader, which takes no unknown member.
func summaries(t *testing.T, r *Report, o TextOptions) (statements []*intoto.Statement, predicates []*vsa.VerificationSummary) {
	t.Helper()
	text := written(t, WriteVSA, r, o)
	if again := written(t, WriteVSA, r, o); !bytes.Equal(text, again) {
		t.Error("the same report gives two texts")
	}
	for _, line := range bytes.Split(bytes.TrimSuffix(text, []byte("\n")), []byte("\n")) {
		if len(line) == 0 {
			continue
		}
		var s intoto.Statement
		if err := protojson.Unmarshal(line, &s); err != nil {
			t.Fatalf("%v: %s", err, line)
		}
		if err := s.Validate(); err != nil {
			t.Errorf("%v: %s", err, line)
		}
		// The reader is older than this member (SLSA 1.1), and takes no unknown one.
		verifier := s.Predicate.Fields["verifier"].GetStructValue().GetFields()
		if o.Version != "" && verifier["version"].GetStructValue().GetFields()["assay"].GetStringValue() != o.Version {
			t.Errorf("the verifier is %v", verifier)
		}
		delete(verifier, "version")
		predicate, err := s.Predicate.MarshalJSON()
		if err != nil {
			t.Fatal(err)
		}
		var p vsa.VerificationSummary
		if err := (protojson.UnmarshalOptions{}).Unmarshal(predicate, &p); err != nil {
			t.Fatalf("%v: %s", err, predicate)
		}
		if p.Verifier.GetId() == "" || p.ResourceUri == "" || p.Policy.GetUri() == "" || p.SlsaVersion != "1.2" {
			t.Errorf("a member that has to be there is missing: %s", predicate)
		}
		statements, predicates = append(statements, &s), append(predicates, &p)
	}
	return statements, predicates
}

func TestVSA(t *testing.T) {
	for name, r := range sbomReports() {
		t.Run(name, func(t *testing.T) {
			statements, predicates := summaries(t, r, sbomOptions)
			made, left := VSAs(r, sbomOptions)
			if len(made) != len(statements) || len(made)+left != len(r.Packages) {
				t.Fatalf("%d statements and %d left out of %d packages, %d lines", len(made), left, len(r.Packages), len(statements))
			}
			for i, s := range statements {
				p, v := made[i].Package, predicates[i]
				if s.Type != "https://in-toto.io/Statement/v1" || s.PredicateType != "https://slsa.dev/verification_summary/v1" || len(s.Subject) != 1 {
					t.Errorf("the statement is %v", s)
				}
				if d := digests(p.Integrity); s.Subject[0].Digest["sha512"] != d[0].hex {
					t.Errorf("%s has the digest %v", p.Name, s.Subject[0].Digest)
				}
				denied := p.Decision == policy.Decision(policy.Deny)
				if denied != (v.VerificationResult == "FAILED") || denied != (v.VerifiedLevels[0] == "FAILED") {
					t.Errorf("%s is decided %s and its summary says %s, %v", p.Name, p.Decision, v.VerificationResult, v.VerifiedLevels)
				}
				if v.VerificationResult != "FAILED" && v.VerificationResult != "PASSED" || len(v.VerifiedLevels) != 1 {
					t.Errorf("%s: %s, %v", p.Name, v.VerificationResult, v.VerifiedLevels)
				}
				if v.DependencyLevels != nil {
					t.Errorf("%s: something is said of dependencies: %v", p.Name, v.DependencyLevels)
				}
			}
		})
	}
	golden(t, "graphed.vsa.jsonl", written(t, WriteVSA, graphed(), sbomOptions))
}

func TestVSAFields(t *testing.T) {
	one := func(o TextOptions, change func(*Package)) *vsa.VerificationSummary {
		t.Helper()
		r := New()
		r.Packages = []Package{pkg("@acme/widget@1.0.0+build.1", verify.Provenance, policy.Allow)}
		if change != nil {
			change(&r.Packages[0])
		}
		_, predicates := summaries(t, r, o)
		if len(predicates) != 1 {
			t.Fatalf("%d statements", len(predicates))
		}
		return predicates[0]
	}
	v := one(sbomOptions, nil)
	if v.Verifier.Id != sbomOptions.Documents.Verifier || v.Policy.Uri != "file:assay.yaml" || v.Policy.Digest["sha256"] != strings.Repeat("0c", 32) ||
		v.TimeVerified.AsTime() != sbomOptions.Documents.Time || v.ResourceUri != "pkg:npm/%40acme/widget@1.0.0+build.1" {
		t.Errorf("the summary is %v", v)
	}
	v = one(TextOptions{Version: "1.2.3+x y"}, func(p *Package) { p.Registry = "https://npm.example.com/a b" })
	if v.Verifier.Id != DefaultVerifier || v.Policy.Uri != "pkg:generic/assay@1.2.3+x%20y#docs/policy.md" || v.Policy.Digest != nil || v.TimeVerified != nil {
		t.Errorf("the summary is %v", v)
	}
	if v.ResourceUri != "pkg:npm/%40acme/widget@1.0.0+build.1?repository_url=https://npm.example.com/a%20b" {
		t.Errorf("the resource is %q", v.ResourceUri)
	}
}

func TestVSALevels(t *testing.T) {
	for _, tt := range []struct {
		name, want string
		change     func(*Package)
	}{
		{"hosted by GitHub", "SLSA_BUILD_LEVEL_2", func(p *Package) {}},
		{"hosted by GitLab", "SLSA_BUILD_LEVEL_2", func(p *Package) { p.Publisher.Runner = "gitlab-hosted" }},
		{"the maintainer's own runner", "SLSA_BUILD_LEVEL_1", func(p *Package) { p.Publisher.Runner = "self-hosted" }},
		{"a runner nobody tells of", "SLSA_BUILD_LEVEL_1", func(p *Package) { p.Publisher.Runner = "" }},
		{"a runner nobody knows", "SLSA_BUILD_LEVEL_1", func(p *Package) { p.Publisher.Runner = "github-hosted-not" }},
		{"a generator outside of the build", "SLSA_BUILD_LEVEL_2", func(p *Package) {
			p.Publisher.SignerRepository, p.Publisher.SignerWorkflow, p.Publisher.SignerRef =
				"https://github.com/slsa-framework/slsa-github-generator", ".github/workflows/delegator_generic_slsa3.yml", "refs/tags/v2.0.0"
		}},
		{"signed", "SLSA_BUILD_LEVEL_0", func(p *Package) { p.Verdict, p.Publisher = verify.Signed, nil }},
		{"unsigned", "SLSA_BUILD_LEVEL_0", func(p *Package) { p.Verdict, p.Publisher = verify.Unsigned, nil }},
		{"let through", "SLSA_BUILD_LEVEL_UNEVALUATED", func(p *Package) { p.Verdict, p.Publisher = verify.Invalid, nil }},
		{"let through unseen", "SLSA_BUILD_LEVEL_UNEVALUATED", func(p *Package) { p.Verdict, p.Publisher = verify.Unchecked, nil }},
		{"a verdict without a publisher", "SLSA_BUILD_LEVEL_UNEVALUATED", func(p *Package) { p.Publisher = nil }},
		{"denied", "FAILED", func(p *Package) { p.Decision = policy.Decision(policy.Deny) }},
	} {
		for _, decision := range []policy.Level{policy.Allow, policy.Warn} {
			p := pkg("a@1.0.0", verify.Provenance, decision)
			tt.change(&p)
			r := New()
			r.Packages = []Package{p}
			if _, v := summaries(t, r, sbomOptions); len(v) != 1 || v[0].VerifiedLevels[0] != tt.want {
				t.Errorf("%s, %s: %v, want %s", tt.name, decision, v, tt.want)
			}
		}
	}
}

// Nothing is said of a package whose bytes nobody knows, or on which nobody could decide.
func TestVSALeftOut(t *testing.T) {
	for name, change := range map[string]func(*Package){
		"undecided":   func(p *Package) { p.Decision = policy.Decision(policy.Error) },
		"no digest":   func(p *Package) { p.Integrity = "" },
		"no hash":     func(p *Package) { p.Integrity = "md5-xxx" },
		"SHA-1":       func(p *Package) { p.Integrity = "sha1-2jmj7l5rSw0yVb/vlWAYkK/YBwk=" },
		"two digests": func(p *Package) { p.Integrity = integrityA + " " + integrityB },
		"odd":         func(p *Package) { p.Decision = "maybe" },
	} {
		r := New()
		r.Packages = []Package{pkg("a@1.0.0", verify.Provenance, policy.Allow)}
		change(&r.Packages[0])
		if made, left := VSAs(r, sbomOptions); len(made) != 0 || left != 1 {
			t.Errorf("%s: %d statements, %d left out", name, len(made), left)
		}
	}
}

// A statement is one line of strict JSON, whatever a report holds.
func TestVSAHostile(t *testing.T) {
	made, _ := VSAs(hostile(), sbomOptions)
	control := regexp.MustCompile(`[\x00-\x1f\x7f]`)
	for _, v := range made {
		if !json.Valid(v.Statement) || control.Match(v.Statement) {
			t.Errorf("%q", v.Statement)
		}
	}
}

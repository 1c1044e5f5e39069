package report

import (
	"io"
	"net/url"
	"time"

	"assay/internal/npm"
	"assay/internal/policy"
	"assay/internal/verify"
)

// DefaultVerifier is who verified, as a URI, where nobody says who ran assay. It stands in unsigned
// statements only: who reads a signed one has to know the signer, and finds it here too.
const DefaultVerifier = "pkg:generic/" + tool

// DefaultPolicy is the URI of what assay decides by where there is no policy, for a version of it: the
// document that says so, in that version.
func DefaultPolicy(version string) string {
	if version != "" {
		version = "@" + url.PathEscape(version)
	}
	return "pkg:generic/" + tool + version + "#docs/policy.md"
}

// A VSA is one verification summary: an in-toto statement about one tarball.
type VSA struct {
	Package   *Package
	Statement []byte // JSON on one line, without a line's end
}

// WriteVSA writes the verification summaries of a report, one in-toto statement a line, unsigned: see [VSAs].
// It returns the error of w.
func WriteVSA(w io.Writer, r *Report, o TextOptions) error {
	statements, _ := VSAs(r, o)
	for _, s := range statements {
		if _, err := w.Write(append(s.Statement, '\n')); err != nil {
			return err
		}
	}
	return nil
}

// VSAs makes a verification summary of each package, in the report's order: statements of in-toto v1 with the
// predicate https://slsa.dev/verification_summary/v1 (SLSA 1.2, verification_summary.md). The subject is the
// tarball, by the strongest of its digests but never by SHA-1 alone; the resource is the package URL, with the
// registry in it where that is not npm's public one. What is allowed, with a warning or without, has PASSED,
// what is denied has FAILED. Nothing is said of dependencies, which are those of a project and not of a
// tarball.
//
// left counts the packages without one: no digest is known, or the decision could not be made, and a summary
// would have to say that it was.
//
// Of the options it reads Version and Documents.
func VSAs(r *Report, o TextOptions) (made []VSA, left int) {
	for i := range r.Packages {
		p := &r.Packages[i]
		if s := p.vsa(o); s != nil {
			made = append(made, VSA{p, s})
		} else {
			left++
		}
	}
	return made, left
}

// Values of a summary (SLSA 1.2, verification_summary.md).
const (
	statementType    = "https://in-toto.io/Statement/v1"
	vsaPredicateType = "https://slsa.dev/verification_summary/v1"
	slsaVersion      = "1.2"
	slsaPassed       = "PASSED"
	slsaFailed       = "FAILED"
	slsaUnevaluated  = "SLSA_BUILD_LEVEL_UNEVALUATED"
)

func (p *Package) vsa(o TextOptions) []byte {
	known := digests(p.Integrity)
	if len(known) == 0 || known[0].intoto == "sha1" {
		return nil
	}
	result, level := slsaPassed, p.level()
	switch p.Decision {
	case policy.Decision(policy.Allow), policy.Decision(policy.Warn):
	case policy.Decision(policy.Deny):
		result, level = slsaFailed, slsaFailed
	default:
		return nil
	}
	d := o.Documents
	verifier := object{{"id", d.Verifier}}
	if d.Verifier == "" {
		verifier[0].value = DefaultVerifier
	}
	if o.Version != "" {
		verifier = verifier.and("version", object{{tool, o.Version}})
	}
	rules := object{{"uri", d.PolicyURI}}
	if d.PolicyURI == "" {
		rules[0].value = DefaultPolicy(o.Version)
	}
	if d.PolicySHA256 != "" {
		rules = rules.and("digest", object{{"sha256", d.PolicySHA256}})
	}
	predicate := object{{"verifier", verifier}}
	if !d.Time.IsZero() {
		predicate = predicate.and("timeVerified", d.Time.UTC().Format(time.RFC3339))
	}
	predicate = predicate.and("resourceUri", p.resource()).and("policy", rules)
	predicate = predicate.and("verificationResult", result).and("verifiedLevels", []any{level}).and("slsaVersion", slsaVersion)
	statement := object{
		{"_type", statementType},
		{"subject", []any{object{{"name", p.PURL}, {"digest", object{{known[0].intoto, known[0].hex}}}}}},
		{"predicateType", vsaPredicateType},
		{"predicate", predicate},
	}
	return jsonLayout{colon: ":"}.append(nil, statement, "")
}

// resource is the package URL, with the registry unless that is npm's public one (ECMA-427, type npm: the
// default repository).
func (p *Package) resource() string {
	if p.Registry == npmRegistry || p.Registry == "" {
		return p.PURL
	}
	return npm.PURLParts{ID: npm.ID{Name: p.Name, Version: p.Version}, Qualifiers: map[string]string{"repository_url": p.Registry}}.String()
}

// level is the highest level of SLSA's build track (version 1.2) that the evidence shows.
//
// Provenance that verifies and comes from a hosted runner is level 2, as SLSA itself says of npm's: the build
// ran on a hosted platform and the provenance is authenticated, and it was made inside the job that ran the
// build, so what level 3 asks for, signing secrets out of that job's reach, it cannot be
// (slsa.dev/blog/2023/05/bringing-improved-supply-chain-security-to-the-nodejs-ecosystem;
// slsa.dev/blog/2026/05/mini-shai-hulud-what-slsa-can-and-cannot-do). Level 3 is never claimed: the workflows of
// slsa-github-generator sign outside of the build, for any builder that calls them, and which one that was
// stands in the statement and not in the certificate. From a maintainer's own runner, or from one that the
// certificate does not tell of, it is level 1: provenance exists. Without provenance it is level 0. What the
// policy lets pass although it contradicts itself or could not be told is not evaluated.
func (p *Package) level() string {
	switch p.Verdict {
	case verify.Signed, verify.Unsigned:
		return "SLSA_BUILD_LEVEL_0"
	case verify.Provenance:
	default:
		return slsaUnevaluated
	}
	b := p.Publisher
	switch {
	case b == nil:
		return slsaUnevaluated
	case b.Runner == "github-hosted" || b.Runner == "gitlab-hosted":
		return "SLSA_BUILD_LEVEL_2"
	}
	return "SLSA_BUILD_LEVEL_1"
}

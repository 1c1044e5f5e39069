// Package verify decides what the evidence about one package proves. It runs a fixed list of checks over
// evidence collected earlier: no network, no clock, no globals. The time that counts is the time of
// signing, so the same evidence and the same trust give the same results years later.
//
// A check ends in one of four ways. [Fail] says that the evidence contradicts the claim, [Error] that
// nobody could tell, [Skip] that the question does not arise. Only [Pass] is good news, and a check passes
// only on a path that compared two values, at least one of them verified or local: a missing field, an
// unknown type or an unasked question is never a pass.
//
// Attested is not safe. A verdict says which workflow of which repository made these bytes, not that the
// workflow was honest.
package verify

import (
	"strings"
	"time"

	"assay/internal/evidence"
	"assay/internal/npm"
	"assay/internal/publisher"
	"assay/internal/sigstore"
)

// Version changes whenever a check may answer differently for the same input. Cached verdicts of another
// version are not used.
const Version = "5"

// Status is how a check ended.
type Status string

// The four ways in which a check ends.
const (
	Pass  Status = "pass"
	Fail  Status = "fail"  // the evidence contradicts
	Error Status = "error" // could not be carried out
	Skip  Status = "skip"  // the question does not arise
)

// A Result is what one check found. It is written to the report as it stands.
type Result struct {
	ID       string `json:"id"`       // stable; listed by [IDs]
	Status   Status `json:"status"`   // pass, fail, error or skip
	Reason   string `json:"reason"`   // stable code in kebab-case; empty when a pass has nothing to tell
	Message  string `json:"message"`  // the reason's sentence, for a person
	Expected string `json:"expected"` // in the check's unit: a purl, a hex digest, RFC 3339 in UTC
	Actual   string `json:"actual"`   // same unit; hostile text, escape before printing
}

// A Verdict sums up the checks of one package.
type Verdict string

// The verdicts, from the best known to the least.
const (
	Provenance Verdict = "provenance" // attestations, and every check that applies to them holds
	Signed     Verdict = "signed"     // the registry's signature only
	Unsigned   Verdict = "unsigned"   // neither
	Invalid    Verdict = "invalid"    // a security check failed
	Unchecked  Verdict = "unchecked"  // a security check could not be carried out
)

// A Package is what a project asks for, as it stands in the lockfile or on the command line.
type Package struct {
	ID        npm.ID
	Registry  string // base URL without a trailing slash
	Lockfile  bool   // the package stands in a lockfile, whatever that says of it
	Integrity string // SRI as the lockfile holds it; "" if none
	Resolved  string // URL as the lockfile holds it; "" if none
}

// A RegistryKey is a key that may speak for registries.
type RegistryKey struct {
	npm.Key
	// Registries are the base URLs, without trailing slash, that the key's attestations may name.
	Registries []string
}

// A KeyState says what is known of the keys of the registry that served the evidence, beyond [Trust.Keys].
type KeyState string

// The states of a registry's own key list.
const (
	KeysKnown       KeyState = "known"              // the registry's keys are among Trust.Keys
	KeysNone        KeyState = "keys-absent"        // the registry says that it has none
	KeysUntrusted   KeyState = "untrusted-registry" // it has keys, but nobody but the project itself named the registry
	KeysUnavailable KeyState = "keys-unavailable"   // the list could not be had, or could not be read
	KeysNotAsked    KeyState = "keys-not-asked"     // no registry was asked, as with a bundle from a file
)

// Trust is what verification starts from.
type Trust struct {
	Root       *sigstore.TrustedRoot
	RootDigest string // hex SHA-256 of the trusted root's bytes
	Keys       []RegistryKey
	KeyState   KeyState
	KeyDetail  string // for KeysUnavailable: what went wrong
}

// Signs says whether a registry is known to sign its packages.
type Signs string

// What may be known of a registry's signing.
const (
	SignsUnknown Signs = ""       // then a registry with keys signs, one without does not
	SignsAlways  Signs = "always" // every package
	SignsPartly  Signs = "partly" // such as a company's registry that passes signed packages through
)

// An Expected publisher is one that the user's policy names for a package. "" matches anything.
type Expected struct {
	Issuer, Repository, RepositoryID, Workflow string
}

// NamesSomebody reports whether e can stand in for a repository claim: it names a repository, or one by its
// number and the issuer that gave it.
func (e *Expected) NamesSomebody() bool {
	return e != nil && (e.Repository != "" || e.Issuer != "" && e.RepositoryID != "")
}

// Options are what the user's configuration says about the question.
type Options struct {
	Signs    Signs
	Keyless  bool      // the registry is declared to have no keys: attestations by CI identities only
	Expected *Expected // needed for a keyless registry, where it stands in for the repository claim
	Upstream string    // base URL of the registry that this one passes on: its tarballs count as this one's
	Issuers  []string  // OIDC issuers accepted beyond GitHub's and GitLab.com's, exact

	// AttestationExpected says that assay.lock knows the package as attested.
	AttestationExpected bool
	// Unauthenticated says that there is no network and that the evidence came out of a cache which anyone may
	// have written: what no signature covers, an absence above all, is then not believed.
	Unauthenticated bool
	// BundleGiven says that the attestations came from the user's file and that no registry was asked.
	BundleGiven bool
}

// An Input is everything that a verdict depends on.
type Input struct {
	Package  Package
	Evidence *evidence.Evidence
	Trust    Trust
	Options  Options
}

// An Outcome is what the checks found of one package.
type Outcome struct {
	Verdict   Verdict
	Checks    []Result             // every check, in the order of [IDs]
	Publisher *publisher.Publisher // set only when the verdict is Provenance
	Bound     string               // what ties the verdict to bytes: "lockfile", "tarball", "disk" or "none"

	// RepositoryAbsent says that the package claims no repository, so nothing it says of itself was
	// compared with the publisher.
	RepositoryAbsent bool
	// TimeUnknown says that an expired registry key was accepted because no publish time is known.
	TimeUnknown bool
	// RegistrySigns says that the registry is known to sign its packages.
	RegistrySigns bool
	// Attested says that the registry announced or served attestations.
	Attested bool
	// Locked says that a lockfile asked for the package.
	Locked bool
	// Integrity is the registry's integrity, "" if unknown.
	Integrity string
	// Published is when the registry's publish attestation for the version was logged; the zero time where none
	// verifies.
	Published time.Time
	// Further lists predicate types of attestations beyond provenance and publish whose envelope, log and
	// subject hold.
	Further []string
}

// A check is one row: its function looks at the facts and answers.
type check struct {
	id       string
	security bool // counts towards invalid and unchecked
	run      func(*facts) outcome
}

// checks lists every check in report order. A released ID never changes its meaning.
var checks = []check{
	{"lockfile-integrity", true, checkLockfileIntegrity},
	{"tarball-integrity", true, checkTarballIntegrity},
	{"installed-files", true, checkInstalledFiles},
	{"registry-signature", true, checkRegistrySignature},
	{"evidence-complete", true, checkEvidenceComplete},
	{"bundle-format", true, checkBundleFormat},
	{"certificate-chain", true, checkCertificateChain},
	{"certificate-transparency", true, checkCertificateTransparency},
	{"signing-time", true, checkSigningTime},
	{"envelope-signature", true, checkEnvelopeSignature},
	{"transparency-log", true, checkTransparencyLog},
	{"subject", true, checkSubject},
	{"manifest", true, checkManifest},
	{"predicate", true, checkPredicate},
	{"workflow-identity", true, checkWorkflowIdentity},
	{"source-repository", true, checkSourceRepository},
	{"publish-attestation", true, checkPublishAttestation},
	{"release-ref", false, checkReleaseRef},
}

// IDs returns the IDs of all checks in report order.
func IDs() []string {
	ids := make([]string, len(checks))
	for i, c := range checks {
		ids[i] = c.id
	}
	return ids
}

// Run carries out every check over in and sums them up. It never fails: what could not be done is a
// result like any other.
func Run(in Input) *Outcome {
	f := gather(in)
	out := &Outcome{
		Checks:           make([]Result, len(checks)),
		Bound:            "none",
		RepositoryAbsent: !f.claim.present && f.claim.err == nil,
		RegistrySigns:    f.registrySigns(),
		Attested:         f.announced || len(f.attestations) > 0,
		Integrity:        f.doc.Dist.Integrity,
		Locked:           in.Package.Lockfile,
	}
	for i, c := range checks {
		o := c.run(f)
		out.Checks[i] = Result{
			ID: c.id, Status: o.status, Reason: o.reason,
			Message: shorten(sentence(c.id, o)), Expected: shorten(o.expected), Actual: shorten(o.actual),
		}
	}
	out.Verdict = judge(f, out.Checks)
	out.TimeUnknown = out.status("registry-signature") == Pass && out.reason("registry-signature") == reasonTimeUnknown
	switch {
	case out.status("lockfile-integrity") == Pass:
		out.Bound = "lockfile"
	case out.status("tarball-integrity") == Pass,
		f.in.Options.BundleGiven && f.in.Evidence.Tarball != nil && out.status("subject") == Pass:
		out.Bound = "tarball"
	case out.status("installed-files") == Pass:
		out.Bound = "disk"
	}
	if out.Verdict == Provenance {
		out.Publisher = f.publisher()
	}
	if t, verified := f.publishTime(); verified && out.Verdict != Invalid {
		out.Published = t
	}
	for _, a := range f.attestations {
		if a.kind == kindOther && a.verified() && f.compareSubject(a, true).status == Pass {
			out.Further = append(out.Further, a.statement.PredicateType)
		}
	}
	return out
}

// shorten cuts a text that is longer than any result needs.
func shorten(s string) string {
	if len(s) <= maxText {
		return s
	}
	return strings.ToValidUTF8(s[:maxText], "") + "…"
}

// Status returns the status of the check with the given ID, "" for an ID that does not exist.
func (o *Outcome) status(id string) Status { return o.find(id).Status }

func (o *Outcome) reason(id string) string { return o.find(id).Reason }

func (o *Outcome) find(id string) Result {
	for _, r := range o.Checks {
		if r.ID == id {
			return r
		}
	}
	return Result{}
}

// judge sums up the rows: a failed security check makes the package invalid, one that could not be carried
// out leaves it unchecked, and provenance needs a pass in every row that applies.
func judge(f *facts, rows []Result) Verdict {
	failed, undecided := false, false
	for i, c := range checks {
		if !c.security {
			continue
		}
		switch rows[i].Status {
		case Fail:
			// A missing signature contradicts nothing unless something says that there was one.
			if rows[i].Reason == reasonSignatureMissing && !f.signatureKnown() {
				continue
			}
			failed = true
		case Error:
			undecided = true
		case Pass, Skip:
		default:
			undecided = true // a check that did not end in one of the four ways has told nothing
		}
	}
	switch {
	case failed:
		return Invalid
	}
	signature := Result{}
	for i, c := range checks {
		if c.id == "registry-signature" {
			signature = rows[i]
		}
	}
	// What else could not be told does not make up for a signature that is not there.
	if undecided && !(signature.Reason == reasonSignatureMissing && len(f.attestations) == 0) {
		return Unchecked
	}
	if len(f.attestations) == 0 {
		switch {
		case f.in.Options.BundleGiven:
			return Unchecked
		case signature.Status == Pass:
			return Signed
		case signature.Reason == reasonSignatureMissing, signature.Reason == string(KeysNone), signature.Reason == reasonSignsPartly,
			signature.Reason == reasonKeyless:
			return Unsigned
		}
		return Unchecked
	}
	for i, c := range checks {
		if c.security && rows[i].Status != Pass && !mayBeSkipped(f, rows[i]) {
			return Unchecked
		}
	}
	return Provenance
}

// mayBeSkipped reports whether a skipped row leaves the verdict provenance. Every other skip means that
// something about an attestation was not looked at.
func mayBeSkipped(f *facts, r Result) bool {
	if r.Status != Skip {
		return false
	}
	switch r.ID {
	case "lockfile-integrity", "tarball-integrity", "installed-files", "manifest":
		return true
	case "workflow-identity", "source-repository":
		return r.Reason == reasonRepositoryAbsent
	case "registry-signature", "publish-attestation":
		return f.keyless() || f.in.Options.BundleGiven && r.Reason == reasonBundleGiven
	case "evidence-complete":
		return f.in.Options.BundleGiven && r.Reason == reasonBundleGiven
	}
	return false
}

// An outcome is how one check ended, before its sentence is looked up.
type outcome struct {
	status           Status
	reason           string
	expected, actual string
	detail           string // more for a person: which attestation, what exactly
	sentence         string // said in place of the reason's own sentence, where that does not fit; "" usually
}

func pass() outcome { return outcome{status: Pass} }

func passWith(reason, expected, actual string) outcome {
	return outcome{status: Pass, reason: reason, expected: expected, actual: actual}
}

func fail(reason, expected, actual string) outcome {
	return outcome{status: Fail, reason: reason, expected: expected, actual: actual}
}

func undecided(reason, detail string) outcome {
	return outcome{status: Error, reason: reason, detail: detail}
}

func skip(reason string) outcome { return outcome{status: Skip, reason: reason} }

func (o outcome) with(detail string) outcome {
	if o.detail != "" && detail != "" {
		detail += ": " + o.detail
	}
	if detail != "" {
		o.detail = detail
	}
	return o
}

// worst returns the worse of two outcomes, the first where they are equally bad: a fail outweighs an error,
// that a question left open, that a pass that has something to tell, that any other pass, and that a
// question that does not arise for this attestation.
func worst(a, b outcome) outcome {
	if badness(b) > badness(a) {
		return b
	}
	return a
}

func badness(o outcome) int {
	switch o.status {
	case Fail:
		return 6
	case Error:
		return 5
	case Skip:
		switch o.reason {
		case reasonNotApplicable:
			return 0
		case reasonSignedByKey, reasonNotProvenance:
			return 1 // another attestation answers
		}
		return 4
	case Pass:
		if o.reason != "" {
			return 3
		}
		return 2
	}
	return 7
}

// Package report is what Assay tells: plain structs that every output format reads, and one file per
// format. Field names are a contract, schema assay/report/v1; nothing here decides anything.
package report

import (
	"time"

	"github.com/go-json-experiment/json/jsontext"

	"assay/internal/policy"
	"assay/internal/publisher"
	"assay/internal/verify"
)

// Schema names the form of a [Report].
const Schema = "assay/report/v1"

// A Report is the result of one run. The same evidence, trust and options give the same bytes.
type Report struct {
	Schema  string    `json:"schema"`
	Summary Summary   `json:"summary"`
	Trust   Trust     `json:"trust"`
	Notes   []Note    `json:"notes"`
	Invalid []Invalid `json:"invalid"` // in the form of `npm audit signatures --json`, sorted by name
	Missing []Missing `json:"missing"` // likewise
	// Verified is there only with --include-attestations; likewise.
	Verified *[]Verified `json:"verified,omitempty"`
	Others   []Other     `json:"others"`
	Packages []Package   `json:"packages"`
	// Projects are the graphs behind the lists, one for each PATH of an audit; nil where none was read.
	Projects []Project `json:"-"`
}

// A Summary counts packages by verdict and by decision. Others are not counted: see [Report.Exit].
type Summary struct {
	Packages    int `json:"packages"`
	Provenance  int `json:"provenance"`
	Signed      int `json:"signed"`
	Unsigned    int `json:"unsigned"`
	Invalid     int `json:"invalid"`
	Unchecked   int `json:"unchecked"`
	TimeUnknown int `json:"time_unknown"` // signed by a key that has expired since, at a time nobody knows
	Allow       int `json:"allow"`
	Warn        int `json:"warn"`
	Deny        int `json:"deny"`
	Error       int `json:"error"`
}

// Trust says what the verdicts start from.
type Trust struct {
	Root       string `json:"root"`        // where the trusted root came from: "tuf", "tuf-cache", "embedded" or "file"
	RootSHA256 string `json:"root_sha256"` // hex digest of its bytes
	Keys       string `json:"keys"`        // where npm's registry keys came from, likewise
	KeysSHA256 string `json:"keys_sha256"`
	Stale      string `json:"stale"` // "trust-root-stale" where the refresh failed, else ""
	// Detail says why, for a person. It is of the run and not of the evidence, so it stays out of the JSON.
	Detail string `json:"-"`
}

// A Note is something about the run itself, not about one package.
type Note struct {
	Code    string `json:"code"`    // stable, kebab-case
	Message string `json:"message"` // one sentence
}

// A Package is one package of one registry with everything that was found.
type Package struct {
	Name      string               `json:"name"`
	Version   string               `json:"version"`
	PURL      string               `json:"purl"`
	Registry  string               `json:"registry"`
	Integrity string               `json:"integrity"` // the lockfile's, else the registry's; "" if neither has one
	Resolved  string               `json:"resolved"`  // as the lockfile holds it
	Bound     string               `json:"bound"`     // lockfile, tarball, disk or none
	Locations []string             `json:"locations"` // "node_modules/a"; "" for a package asked for by name
	File      string               `json:"file"`      // lockfile that holds it, "" if none
	Line      int                  `json:"line"`      // of its first entry there, 1-based; 0 if unknown
	Path      []string             `json:"path"`      // why it is there, from the project to the package
	Direct    bool                 `json:"direct"`
	Dev       bool                 `json:"dev"`
	Verdict   verify.Verdict       `json:"verdict"`
	Decision  policy.Decision      `json:"decision"`
	Publisher *publisher.Publisher `json:"publisher"` // null unless the verdict is provenance
	Checks    []verify.Result      `json:"checks"`
	Findings  []policy.Finding     `json:"findings"`
	Further   []string             `json:"further"` // predicate types of further attestations that verify
	// Target is the index of what was asked to be looked at, among all that was.
	Target int `json:"-"`
	// Published is when the registry's publish attestation was logged, verified; zero if it is not known.
	Published time.Time `json:"-"`
}

// Failed reports whether the check with the given ID failed.
func (p *Package) Failed(id string) bool {
	for _, c := range p.Checks {
		if c.ID == id {
			return c.Status == verify.Fail
		}
	}
	return false
}

// An Other is a dependency that comes from no registry.
type Other struct {
	Name      string           `json:"name"`
	Version   string           `json:"version"`
	Source    string           `json:"source"` // workspace, git, file, link, url, bundled or unknown
	Resolved  string           `json:"resolved"`
	Locations []string         `json:"locations"`
	File      string           `json:"file"`
	Line      int              `json:"line"`
	Decision  policy.Decision  `json:"decision"`
	Findings  []policy.Finding `json:"findings"`
}

// Invalid is one entry of npm's own list of what does not verify, one for each place it is installed in
// (npm/cli lib/utils/verify-signatures.js).
type Invalid struct {
	Code          string `json:"code"` // EINTEGRITYSIGNATURE or EATTESTATIONVERIFY
	Message       string `json:"message"`
	Integrity     string `json:"integrity,omitempty"`
	KeyID         string `json:"keyid,omitempty"`
	Location      string `json:"location"`
	Name          string `json:"name"`
	Registry      string `json:"registry"`
	Resolved      string `json:"resolved,omitempty"`
	Signature     string `json:"signature,omitempty"`
	PredicateType string `json:"predicateType,omitempty"`
	Type          string `json:"type,omitempty"`
	Version       string `json:"version"`
}

// Missing is one entry of npm's own list of packages without a signature.
type Missing struct {
	Integrity string `json:"integrity,omitempty"`
	Location  string `json:"location"`
	Name      string `json:"name"`
	Registry  string `json:"registry"`
	Resolved  string `json:"resolved,omitempty"`
	Version   string `json:"version"`
}

// Verified is one entry of npm's own list of packages whose attestations verify.
type Verified struct {
	Name               string         `json:"name"`
	Version            string         `json:"version"`
	Location           string         `json:"location"`
	Registry           string         `json:"registry"`
	Attestations       jsontext.Value `json:"attestations"`
	AttestationBundles jsontext.Value `json:"attestationBundles"`
}

// New returns an empty report; its lists are empty, never null.
func New() *Report {
	return &Report{Schema: Schema, Notes: []Note{}, Invalid: []Invalid{}, Missing: []Missing{}, Others: []Other{}, Packages: []Package{}}
}

// Sum counts the packages that the report holds into its summary.
func (r *Report) Sum() {
	s := Summary{Packages: len(r.Packages)}
	for i := range r.Packages {
		p := &r.Packages[i]
		switch p.Verdict {
		case verify.Provenance:
			s.Provenance++
		case verify.Signed:
			s.Signed++
		case verify.Unsigned:
			s.Unsigned++
		case verify.Invalid:
			s.Invalid++
		default:
			s.Unchecked++
		}
		for _, c := range p.Checks {
			if c.ID == "registry-signature" && c.Status == verify.Pass && c.Reason == "time-unknown" {
				s.TimeUnknown++
			}
		}
		s.decide(p.Decision)
	}
	r.Summary = s
}

func (s *Summary) decide(d policy.Decision) {
	switch d {
	case policy.Decision(policy.Allow):
		s.Allow++
	case policy.Decision(policy.Warn):
		s.Warn++
	case policy.Decision(policy.Deny):
		s.Deny++
	default:
		s.Error++
	}
}

// Exit returns the process's exit code, from the decisions on packages and others: 1 where something is
// denied, else 3 where something could not be told, else 0.
func (r *Report) Exit() int {
	var s Summary
	for i := range r.Packages {
		s.decide(r.Packages[i].Decision)
	}
	for i := range r.Others {
		s.decide(r.Others[i].Decision)
	}
	switch {
	case s.Deny > 0:
		return 1
	case s.Error > 0:
		return 3
	}
	return 0
}

// Warns reports whether a decision is a warning.
func (r *Report) Warns() bool {
	for i := range r.Packages {
		if r.Packages[i].Decision == policy.Decision(policy.Warn) {
			return true
		}
	}
	for i := range r.Others {
		if r.Others[i].Decision == policy.Decision(policy.Warn) {
			return true
		}
	}
	return false
}

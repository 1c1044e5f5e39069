package audit

import (
	"cmp"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"math"
	"slices"
	"strings"

	"github.com/go-json-experiment/json"

	"assay/internal/evidence"
	"assay/internal/npm"
	"assay/internal/policy"
	"assay/internal/publisher"
	"assay/internal/report"
	"assay/internal/trust"
	"assay/internal/verify"
)

// RequestSchema names the form of a [Request].
const RequestSchema = "assay/request/v1"

// A Request is what an audit was asked, as an evidence archive keeps it: what was to be looked at, and what was
// told about the run that made the archive. It is only a list. Whoever audits a project of their own has a lockfile to read,
// and then nothing in a request counts but Notes.
type Request struct {
	Schema  string                       `json:"schema"`
	Targets evidence.Checked[Asked]      `json:"targets"`
	Others  evidence.Checked[AskedOther] `json:"others"`
	// Notes are about the run and the machine it ran on; ProjectNotes are about the project's files.
	Notes        evidence.Checked[AskedNote] `json:"notes"`
	ProjectNotes evidence.Checked[AskedNote] `json:"project_notes"`
	// Policy is the policy file that counted, for reading; "" for none. A policy is never taken from an archive.
	Policy string `json:"policy"`
}

// An Asked is a [Target] without what lies on disk.
type Asked struct {
	Name      string   `json:"name"`
	Version   string   `json:"version"`
	Registry  string   `json:"registry"`
	Lockfile  bool     `json:"lockfile"`
	Integrity string   `json:"integrity"`
	Resolved  string   `json:"resolved"`
	Locations []string `json:"locations"`
	File      string   `json:"file"`
	Line      int      `json:"line"`
	Path      []string `json:"path"`
	Direct    bool     `json:"direct"`
	Dev       bool     `json:"dev"`
	Oddity    string   `json:"oddity"`
}

// Check refuses what names no package, and no place.
func (a Asked) Check() error {
	return cmp.Or(npm.CheckName(a.Name), npm.CheckVersion(a.Version), checkPlace(a.File, a.Line))
}

// checkPlace refuses a place that an export does not write: its files are below the directory that it ran in, or named from
// the root. What reads a report may open the file, or link to it, from wherever its own root is.
func checkPlace(file string, line int) error {
	if slices.Contains(strings.Split(file, "/"), "..") || line < 0 || line > math.MaxInt32 {
		return fmt.Errorf("%.200q, line %d, is no place of a dependency", file, line)
	}
	return nil
}

// An AskedOther is a dependency from no registry.
type AskedOther struct{ report.Other }

// Check refuses what names no kind of source, and no place.
func (o AskedOther) Check() error {
	if o.Source == "" {
		return errors.New("a dependency without a source")
	}
	return checkPlace(o.File, o.Line)
}

// An AskedNote is a note of the report.
type AskedNote struct{ report.Note }

// Check refuses what has no code.
func (n AskedNote) Check() error {
	if n.Code == "" {
		return errors.New("a note without a code")
	}
	return nil
}

// NewRequest writes down what is asked.
func NewRequest(targets []Target, others []report.Other, notes, projectNotes []report.Note, policy string) *Request {
	q := &Request{Schema: RequestSchema, Targets: make([]Asked, len(targets)), Others: make([]AskedOther, len(others)), Policy: policy}
	for i, o := range others {
		q.Others[i].Other = o
	}
	for _, n := range notes {
		q.Notes = append(q.Notes, AskedNote{n})
	}
	for _, n := range projectNotes {
		q.ProjectNotes = append(q.ProjectNotes, AskedNote{n})
	}
	for i := range targets {
		t := &targets[i]
		q.Targets[i] = Asked{
			t.Package.ID.Name, t.Package.ID.Version, t.Package.Registry, t.Package.Lockfile, t.Package.Integrity, t.Package.Resolved,
			slices.Clone(t.Locations), t.File, t.Line, slices.Clone(t.Path), t.Direct, t.Dev, t.Oddity,
		}
	}
	return q
}

// Encode writes the request; the same request gives the same bytes.
func (q *Request) Encode() ([]byte, error) {
	b, err := json.Marshal(q, json.Deterministic(true), json.FormatNilSliceAsNull(false))
	return append(b, '\n'), err
}

// Bounds of a request: of the notes that a report takes over, and of what is listed, where each line of a few bytes gets a row
// of a report that takes thousands.
const (
	maxArchiveNotes  = 10_000
	maxArchiveListed = 250_000
)

// DecodeRequest reads what Encode wrote.
func DecodeRequest(data []byte) (*Request, error) {
	q := new(Request)
	if err := json.Unmarshal(data, q, json.RejectUnknownMembers(true)); err != nil {
		return nil, fmt.Errorf("reading the request: %w", err)
	}
	switch {
	case q.Schema != RequestSchema:
		return nil, fmt.Errorf("reading the request: schema %q is not known", q.Schema)
	case len(q.Targets)+len(q.Others) > maxArchiveListed:
		return nil, fmt.Errorf("reading the request: more than %d packages", maxArchiveListed)
	case len(q.Notes)+len(q.ProjectNotes) > maxArchiveNotes:
		return nil, fmt.Errorf("reading the request: more than %d notes", maxArchiveNotes)
	}
	return q, nil
}

// Listed returns the targets of the request.
func (q *Request) Listed() []Target {
	targets := make([]Target, len(q.Targets))
	for i := range q.Targets {
		a := &q.Targets[i]
		targets[i] = Target{
			Package: verify.Package{
				ID: npm.ID{Name: a.Name, Version: a.Version}, Registry: a.Registry,
				Lockfile: a.Lockfile, Integrity: a.Integrity, Resolved: a.Resolved,
			},
			Locations: a.Locations, File: a.File, Line: a.Line, Path: a.Path, Direct: a.Direct, Dev: a.Dev, Oddity: a.Oddity,
		}
	}
	return targets
}

// TrustOf is an archive's trust in package trust's words. Nothing in it counts before it is admitted.
func TrustOf(a *evidence.Archive) (*trust.Archived, error) {
	t, err := a.Trust()
	if err != nil {
		return nil, err
	}
	return archived(t), nil
}

func archived(t evidence.ArchivedTrust) *trust.Archived {
	source := func(f evidence.TrustFile) trust.Source {
		return trust.Source{Origin: trust.Origin(f.Origin), Location: f.Location, At: f.At, Stale: f.Stale, Reason: f.Reason, Detail: f.Detail}
	}
	out := &trust.Archived{RootJSON: t.Root.Body, RootSource: source(t.Root), KeysJSON: t.Keys.Body, KeysSource: source(t.Keys)}
	if t.Metadata != nil {
		m := trust.Metadata(*t.Metadata)
		out.Metadata = &m
	}
	return out
}

// ArchiveTrust is trust in the words of an evidence archive.
func ArchiveTrust(a *trust.Archived) evidence.ArchivedTrust {
	file := func(body []byte, s trust.Source) evidence.TrustFile {
		return evidence.TrustFile{Origin: string(s.Origin), Location: s.Location, At: s.At, Stale: s.Stale, Reason: s.Reason, Detail: s.Detail, Body: body}
	}
	out := evidence.ArchivedTrust{Root: file(a.RootJSON, a.RootSource), Keys: file(a.KeysJSON, a.KeysSource)}
	if a.Metadata != nil {
		m := evidence.TrustMetadata(*a.Metadata)
		out.Metadata = &m
	}
	return out
}

// MergeArchives makes one archive of several, see [evidence.MergeArchives], with the trust of the newest TUF metadata.
func MergeArchives(archives ...*evidence.Archive) (*evidence.Archive, error) {
	return evidence.MergeArchives(func(a, b evidence.ArchivedTrust) (evidence.ArchivedTrust, error) {
		newer, err := trust.NewerArchived(archived(a), archived(b))
		if err != nil {
			return evidence.ArchivedTrust{}, err
		}
		return ArchiveTrust(newer), nil
	}, archives...)
}

// An AttestationError says that an evidence archive is not attested by whom it has to be.
type AttestationError struct {
	Detail string
	// Undecided says that nobody could tell, as with formats newer than known.
	Undecided bool
}

func (e *AttestationError) Error() string { return "archive-attestation: " + e.Detail }

// Attested verifies a bundle over an evidence archive, given the archive's SHA-512, and returns who made the archive.
// The filter has to name somebody: anyone with a workflow could attest an archive of their own. The error is an
// [*AttestationError].
func Attested(bundle, sha512 []byte, m *trust.Material, filter policy.Filter, issuers []string) (*publisher.Publisher, error) {
	if !filter.NamesPublisher() {
		return nil, &AttestationError{Detail: "nobody is named who has to have made the archive"}
	}
	root := sha256.Sum256(m.RootJSON)
	out := verify.File(bundle, sha512, verify.Trust{Root: m.Root, RootDigest: hex.EncodeToString(root[:]), KeyState: verify.KeysNotAsked}, issuers)
	if out.Publisher == nil {
		e := &AttestationError{Undecided: true}
		var rows []string
		unread := slices.ContainsFunc(out.Checks, func(c verify.Result) bool { return c.ID == "bundle-format" })
		for _, c := range out.Checks {
			e.Undecided = e.Undecided && c.Status != verify.Fail
			if unread && (c.Reason == "bundle-unreadable" || c.Reason == "statement-unreadable") {
				continue // they say no more than that
			}
			rows = append(rows, fmt.Sprintf("%s (%s): %s", c.ID, c.Reason, c.Message))
		}
		e.Detail = "the bundle does not attest this archive: " + strings.Join(rows, "; ")
		return nil, e
	}
	if wrong := filter.Mismatch(out.Publisher); wrong != "" {
		return nil, &AttestationError{Detail: wrong}
	}
	return out.Publisher, nil
}

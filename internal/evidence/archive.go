package evidence

import (
	"bytes"
	"cmp"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"
)

// ArchiveSchema names the form of an evidence archive. docs/evidence.md describes it.
const ArchiveSchema = "assay/evidence/v1"

// ReasonNotInArchive is the reason of an answer that an evidence archive does not hold. It is never an absence:
// whoever made the archive may not have asked.
const ReasonNotInArchive = "not-in-archive"

// Bounds of an archive, well above what any real one has.
const (
	maxArchive       = 8 << 30   // bytes, compressed or not
	maxIndex         = 64 << 20  // bytes of the index, and of a request
	maxPiece         = 256 << 20 // bytes of one piece; the largest answer that is asked of a registry
	maxPieces        = 1 << 20
	maxArchiveRatio  = 300 // of what is unpacked to what was read for it, beyond archiveGrace
	archiveGrace     = 256 << 20
	maxArchivedText  = 16 << 10 // bytes of one text
	maxAnswer        = 8 << 20  // bytes of an answer that is no full document, of a file of the trust, and of a package.json
	maxTrustFiles    = 256      // of each kind
	maxTarballsOfOne = 64       // of one package
)

// ErrNotArchive says that a file is no evidence archive at all.
var ErrNotArchive = errors.New("this is no evidence archive")

// An ArchiveVersionError says that an archive is of a form that this program does not know.
type ArchiveVersionError struct{ Schema string }

func (e *ArchiveVersionError) Error() string {
	return fmt.Sprintf("the evidence archive is of the form %q, and %q is the one that is known here", e.Schema, ArchiveSchema)
}

// An ArchiveError says that an evidence archive is damaged, and where.
type ArchiveError struct {
	Piece string // what is damaged or missing, such as "the document of left@1.0.0 (https://registry.npmjs.org)"
	Err   error  // how
}

func (e *ArchiveError) Error() string {
	return fmt.Sprintf("the evidence archive is damaged: %s: %v", e.Piece, e.Err)
}

// Unwrap returns the cause.
func (e *ArchiveError) Unwrap() error { return e.Err }

// An Archive is evidence in one file: what was served, what vouches for the trust that it is judged by, and which
// audits it was collected for. Nothing in it is authenticated. An answer from it is worth what an answer from a registry is
// worth that nobody authenticated: signatures in it count, and what is only claimed is a claim. Its trust is
// nobody's before somebody has vouched for it.
//
// It is safe for concurrent reading.
type Archive struct {
	index  archiveIndex
	pieces *pieces
	// What was read: digests of the file and of its content, and its size. Zero for one made by a Recorder.
	file archiveFile

	packages   map[subject]*archivedPackage
	packuments map[subject]*archivedPackument
	registries map[string]*archivedRegistry
	names      map[string][]string // registries by package name
}

type archiveFile struct {
	sha512  []byte
	content []byte // SHA-256 of what is compressed, up to the last entry
	size    int64
}

// archiveIndex is the first entry of an archive: everything but bytes that somebody else made, which stand
// behind it as pieces. Lists are sorted, so that there is one spelling.
type archiveIndex struct {
	Schema string `json:"schema"`
	Tool   string `json:"tool"` // "assay 1.2.0"
	// At is when the last of the answers arrived: the archive says what was known then.
	At         time.Time                  `json:"at"`
	Trust      archivedTrust              `json:"trust"`
	Registries Checked[archivedRegistry]  `json:"registries"`
	Packages   Checked[archivedPackage]   `json:"packages"`
	Packuments Checked[archivedPackument] `json:"packuments"`
	Audits     Checked[archivedAudit]     `json:"audits"`
	// Advisories came later: an archive that never asked has no such list.
	Advisories Checked[archivedAdvisories] `json:"advisories,omitzero"`
}

// A pieceRef names bytes that stand behind the index.
type pieceRef struct {
	SHA256 string `json:"sha256"` // hex
	Size   int64  `json:"size"`
}

type namedPiece struct {
	Name  string   `json:"name"`
	Piece pieceRef `json:"piece"`
}

type archivedTrust struct {
	Root      archivedTrustFile   `json:"root"`
	Keys      archivedTrustFile   `json:"keys"`
	Roots     Checked[pieceRef]   `json:"tuf_roots"`
	Timestamp *pieceRef           `json:"tuf_timestamp"`
	Snapshot  *pieceRef           `json:"tuf_snapshot"`
	Targets   *pieceRef           `json:"tuf_targets"`
	Delegated Checked[namedPiece] `json:"tuf_delegated"`
	Files     Checked[namedPiece] `json:"tuf_files"`
}

type archivedTrustFile struct {
	Origin   string    `json:"origin"`
	Location string    `json:"location"`
	At       time.Time `json:"at,omitzero"`
	Stale    bool      `json:"stale"`
	Reason   string    `json:"reason"`
	Detail   string    `json:"detail"`
	Body     *pieceRef `json:"body"`
}

type archivedRegistry struct {
	Registry string         `json:"registry"`
	Named    bool           `json:"named"` // by the user, not only by the project
	Keys     archivedAnswer `json:"keys"`
}

type archivedPackage struct {
	Registry        string                   `json:"registry"`
	Name            string                   `json:"name"`
	Version         string                   `json:"version"`
	Document        archivedAnswer           `json:"document"`
	Attestations    archivedAnswer           `json:"attestations"`
	Tarballs        Checked[archivedTarball] `json:"tarballs"` // by URL
	Earlier         Checked[archivedEarlier] `json:"earlier"`  // in the order of Evidence.Earlier
	Unauthenticated bool                     `json:"unauthenticated"`
}

type archivedPackument struct {
	Registry string         `json:"registry"`
	Name     string         `json:"name"`
	Document archivedAnswer `json:"document"`
}

// archivedAdvisories is what a registry answered to one question about its advisories.
type archivedAdvisories struct {
	Registry string         `json:"registry"`
	Question string         `json:"question"` // SHA-256 of what was asked, hex
	Answer   archivedAnswer `json:"answer"`
}

// An archivedAnswer is an [Answer], whose URL follows from what was asked. Without one that was given there is no time, since nothing of that is evidence.
type archivedAnswer struct {
	State  string    `json:"state"`
	Status int       `json:"status,omitzero"`
	At     time.Time `json:"at,omitzero"`
	Reason string    `json:"reason,omitzero"`
	Detail string    `json:"detail,omitzero"`
	Body   *pieceRef `json:"body,omitzero"`
}

type archivedTarball struct {
	URL      string    `json:"url"`
	Size     int64     `json:"size"`
	SHA512   string    `json:"sha512,omitzero"` // hex, as the next three
	SHA384   string    `json:"sha384,omitzero"`
	SHA256   string    `json:"sha256,omitzero"`
	SHA1     string    `json:"sha1,omitzero"`
	Manifest *pieceRef `json:"manifest,omitzero"`
	Files    *pieceRef `json:"files,omitzero"`
	Problem  string    `json:"problem,omitzero"`
	Gyp      bool      `json:"gyp,omitzero"` // see Tarball
	Reason   string    `json:"reason,omitzero"`
	Detail   string    `json:"detail,omitzero"`
}

type archivedEarlier struct {
	Document     *pieceRef `json:"document,omitzero"`
	Attestations *pieceRef `json:"attestations,omitzero"`
	At           time.Time `json:"at,omitzero"`
}

type archivedAudit struct {
	Subjects []string        `json:"subjects"`
	Settings ArchiveSettings `json:"settings"`
	Request  pieceRef        `json:"request"`
	Report   pieceRef        `json:"report"`
}

// ArchiveSettings are the options of an audit that decide what of the evidence it looks at.
type ArchiveSettings struct {
	Tarballs            bool     `json:"tarballs"`
	Installed           bool     `json:"installed"`
	Deep                bool     `json:"deep"`
	StrictTime          bool     `json:"strict_time"`
	IncludeAttestations bool     `json:"include_attestations"`
	Omit                []string `json:"omit"`
	Workspaces          []string `json:"workspaces"`
	PolicySHA256        string   `json:"policy_sha256"` // hex, of the policy file; "" for none
}

// An ArchivedAudit is one audit that an archive was made for.
type ArchivedAudit struct {
	Subjects []string // what was audited, as the text report names it
	Settings ArchiveSettings
	Request  []byte // package audit's word on what was asked, JSON
	Report   []byte // the JSON report, byte for byte
}

// A Checked list is checked element by element while it is read as JSON, so that no more memory is taken than the
// text could fill with elements that are in order.
type Checked[T interface{ Check() error }] []T

// UnmarshalJSONFrom reads an array.
func (l *Checked[T]) UnmarshalJSONFrom(d *jsontext.Decoder) error {
	if d.PeekKind() != '[' {
		return errors.New("not an array")
	}
	if _, err := d.ReadToken(); err != nil {
		return err
	}
	*l = Checked[T]{}
	for d.PeekKind() != ']' {
		if len(*l) == maxPieces {
			return errors.New("too many elements")
		}
		var v T
		if err := json.UnmarshalDecode(d, &v); err != nil {
			return err
		}
		if err := v.Check(); err != nil {
			return err
		}
		*l = append(*l, v)
	}
	_, err := d.ReadToken()
	return err
}

// encode writes the index in its one spelling.
func (x *archiveIndex) encode() ([]byte, error) {
	b, err := json.Marshal(x, json.Deterministic(true), json.FormatNilSliceAsNull(false))
	if err != nil {
		return nil, fmt.Errorf("writing the index: %w", err)
	}
	return append(b, '\n'), nil
}

// decodeIndex reads an index. It takes nothing that encode would not have written.
func decodeIndex(b []byte) (*archiveIndex, error) {
	var form struct {
		Schema string `json:"schema"`
	}
	if err := json.Unmarshal(b, &form, jsontext.AllowDuplicateNames(true), jsontext.AllowInvalidUTF8(true)); err == nil &&
		form.Schema != ArchiveSchema && strings.HasPrefix(form.Schema, "assay/evidence/") {
		return nil, &ArchiveVersionError{form.Schema}
	}
	x := new(archiveIndex)
	if err := json.Unmarshal(b, x, json.RejectUnknownMembers(true)); err != nil {
		return nil, err
	}
	if err := x.check(); err != nil {
		return nil, err
	}
	again, err := x.encode()
	if err != nil {
		return nil, err
	}
	if !bytes.Equal(again, b) {
		return nil, errors.New("it is not spelled as an archive's index is")
	}
	return x, nil
}

// check holds the index to its order: each thing stands once, in its place.
func (x *archiveIndex) check() error {
	if x.Schema != ArchiveSchema {
		return fmt.Errorf("schema %q is not known", x.Schema)
	}
	if !slices.IsSortedFunc(x.Registries, before(archivedRegistry.compare)) ||
		!slices.IsSortedFunc(x.Packages, before(archivedPackage.compare)) ||
		!slices.IsSortedFunc(x.Packuments, before(archivedPackument.compare)) ||
		!slices.IsSortedFunc(x.Audits, before(archivedAudit.compare)) ||
		!slices.IsSortedFunc(x.Advisories, before(archivedAdvisories.compare)) {
		return errors.New("an entry stands twice, or not in its place")
	}
	if at := x.latest(); at.After(x.At) {
		return fmt.Errorf("an answer is of %s, which is later than the archive", at.Format(time.RFC3339))
	}
	return errors.Join(checkText(x.Tool), x.Trust.check())
}

// before makes a comparison strict: what is equal is out of order too.
func before[T any](compare func(a, b T) int) func(a, b T) int {
	return func(a, b T) int {
		if compare(a, b) > 0 {
			return 1
		}
		return -1
	}
}

func (a archivedRegistry) compare(b archivedRegistry) int { return cmp.Compare(a.Registry, b.Registry) }

func (a archivedPackage) compare(b archivedPackage) int {
	return cmp.Or(cmp.Compare(a.Registry, b.Registry), cmp.Compare(a.Name, b.Name), cmp.Compare(a.Version, b.Version))
}

func (a archivedPackument) compare(b archivedPackument) int {
	return cmp.Or(cmp.Compare(a.Registry, b.Registry), cmp.Compare(a.Name, b.Name))
}

func (a archivedAdvisories) compare(b archivedAdvisories) int {
	return cmp.Or(cmp.Compare(a.Registry, b.Registry), cmp.Compare(a.Question, b.Question))
}

func (a archivedAudit) compare(b archivedAudit) int {
	return cmp.Or(slices.Compare(a.Subjects, b.Subjects), cmp.Compare(a.Request.SHA256, b.Request.SHA256), cmp.Compare(a.Report.SHA256, b.Report.SHA256))
}

func (a archivedTarball) compare(b archivedTarball) int { return cmp.Compare(a.URL, b.URL) }

func (a namedPiece) compare(b namedPiece) int { return cmp.Compare(a.Name, b.Name) }

// The checks below are of one thing by itself.

func checkText(texts ...string) error {
	for _, s := range texts {
		if len(s) > maxArchivedText {
			return fmt.Errorf("a text is longer than %d bytes", maxArchivedText)
		}
	}
	return nil
}

func checkHex(s string, size int) error {
	if b, err := hex.DecodeString(s); err != nil || len(b) != size || s != strings.ToLower(s) {
		return fmt.Errorf("%.200q is not the digest of anything", s)
	}
	return nil
}

// Check holds it to its form.
func (p pieceRef) Check() error {
	if p.Size < 0 || p.Size > maxPiece {
		return fmt.Errorf("a piece of %d bytes", p.Size)
	}
	return checkHex(p.SHA256, sha256.Size)
}

// checkPieces checks pieces of at most max bytes each; nil ones are none.
func checkPieces(max int64, list ...*pieceRef) error {
	for _, p := range list {
		if p == nil {
			continue
		}
		if err := p.Check(); err != nil {
			return err
		}
		if p.Size > max {
			return fmt.Errorf("a piece of %d bytes, where there are none of more than %d", p.Size, max)
		}
	}
	return nil
}

// Check holds it to its form.
func (p namedPiece) Check() error { return errors.Join(checkText(p.Name), p.Piece.Check()) }

func (t *archivedTrust) check() error {
	if !slices.IsSortedFunc(t.Delegated, before(namedPiece.compare)) || !slices.IsSortedFunc(t.Files, before(namedPiece.compare)) {
		return errors.New("a name of the trust stands twice, or not in its place")
	}
	if t.Root.Body == nil {
		return errors.New("there is no trusted root")
	}
	if len(t.Roots) > maxTrustFiles || len(t.Delegated) > maxTrustFiles || len(t.Files) > maxTrustFiles {
		return fmt.Errorf("more than %d files of one kind in the trust", maxTrustFiles)
	}
	for i := range t.Roots {
		if err := checkPieces(maxAnswer, &t.Roots[i]); err != nil {
			return err
		}
	}
	for _, list := range [][]namedPiece{t.Delegated, t.Files} {
		for i := range list {
			if err := checkPieces(maxAnswer, &list[i].Piece); err != nil {
				return err
			}
		}
	}
	return errors.Join(t.Root.check(), t.Keys.check(), checkPieces(maxAnswer, t.Timestamp, t.Snapshot, t.Targets))
}

func (f *archivedTrustFile) check() error {
	return errors.Join(checkText(f.Origin, f.Location, f.Reason, f.Detail), checkPieces(maxAnswer, f.Body))
}

// Check holds it to its form.
func (r archivedRegistry) Check() error {
	return errors.Join(checkText(r.Registry), r.Keys.check(maxAnswer))
}

// Check holds it to its form.
func (p archivedPackage) Check() error {
	if p.Registry == "" || p.Name == "" || p.Version == "" {
		return errors.New("a package without a name")
	}
	if len(p.Tarballs) > maxTarballsOfOne || len(p.Earlier) > maxEarlier {
		return fmt.Errorf("more tarballs or earlier answers of %s@%s than there may be", p.Name, p.Version)
	}
	if !slices.IsSortedFunc(p.Tarballs, before(archivedTarball.compare)) {
		return fmt.Errorf("a tarball of %s@%s stands twice, or not in its place", p.Name, p.Version)
	}
	return errors.Join(checkText(p.Registry, p.Name, p.Version), p.Document.check(maxAnswer), p.Attestations.check(maxAnswer))
}

// Check holds it to its form.
func (p archivedPackument) Check() error {
	if p.Registry == "" || p.Name == "" {
		return errors.New("a package without a name")
	}
	return errors.Join(checkText(p.Registry, p.Name), p.Document.check(maxPiece))
}

// Check says what is wrong with the entry.
func (a archivedAdvisories) Check() error {
	if a.Registry == "" {
		return errors.New("advisories of no registry")
	}
	return errors.Join(checkText(a.Registry), checkHex(a.Question, sha256.Size), a.Answer.check(maxPiece))
}

func (a archivedAnswer) check(max int64) error {
	state := a.state()
	if state < 0 {
		return fmt.Errorf("a state %.100q", a.State)
	}
	if (a.Body != nil) != (state == Served) || (a.Reason != "") != (state == Unavailable) || a.Status < 0 || a.Status > 999 {
		return fmt.Errorf("an answer that is %s and does not look it", a.State)
	}
	if state != Served && state != Absent && !a.At.IsZero() || state == NotAsked && a != (archivedAnswer{State: a.State}) {
		return fmt.Errorf("an answer that is %s and does not look it", a.State)
	}
	return errors.Join(checkText(a.Reason, a.Detail), checkPieces(max, a.Body))
}

// state is what State stands for, -1 for nothing.
func (a archivedAnswer) state() State {
	for s := NotAsked; s <= Unavailable; s++ {
		if s.String() == a.State {
			return s
		}
	}
	return -1
}

// Check holds it to its form.
func (t archivedTarball) Check() error {
	if t.URL == "" || t.Size < 0 || (t.SHA512 == "") != (t.Reason != "") {
		return errors.New("a tarball without an address, or without a digest and without a reason for that")
	}
	for i, d := range t.digests() {
		if *d != "" {
			if err := checkHex(*d, digestSizes[i]); err != nil {
				return err
			}
		}
	}
	return errors.Join(checkText(t.URL, t.Problem, t.Reason, t.Detail), checkPieces(maxAnswer, t.Manifest), checkPieces(maxPiece, t.Files))
}

// digestSizes are in bytes, in the order of digestNames.
var digestSizes = [4]int{64, 48, 32, 20}

// digests returns the digest fields in the order of digestNames.
func (t *archivedTarball) digests() [4]*string {
	return [4]*string{&t.SHA512, &t.SHA384, &t.SHA256, &t.SHA1}
}

// Check holds it to its form.
func (e archivedEarlier) Check() error {
	if e.Document == nil && e.Attestations == nil {
		return errors.New("an earlier answer without any")
	}
	return checkPieces(maxAnswer, e.Document, e.Attestations)
}

// Check holds it to its form.
func (a archivedAudit) Check() error {
	if len(a.Subjects) > maxPieces {
		return errors.New("too many subjects")
	}
	if a.Request.Size > maxIndex { // it is read into memory as a whole, as the index is
		return fmt.Errorf("a request of more than %d bytes", maxIndex)
	}
	return errors.Join(checkText(a.Settings.PolicySHA256), a.Request.Check(), a.Report.Check())
}

// walk calls fn for every piece that the index names, in the order in which they stand in the file, with what it is
// in words. A piece that is named twice comes twice.
func (x *archiveIndex) walk(fn func(what string, p *pieceRef)) {
	one := func(what string, p *pieceRef) {
		if p != nil {
			fn(what, p)
		}
	}
	t := &x.Trust
	one("the trusted root", t.Root.Body)
	one("npm's registry keys", t.Keys.Body)
	for i := range t.Roots {
		one(fmt.Sprintf("TUF root %d of %d", i+1, len(t.Roots)), &t.Roots[i])
	}
	one("the TUF timestamp", t.Timestamp)
	one("the TUF snapshot", t.Snapshot)
	one("the TUF targets", t.Targets)
	for i := range t.Delegated {
		one(fmt.Sprintf("the TUF role %q", t.Delegated[i].Name), &t.Delegated[i].Piece)
	}
	for i := range t.Files {
		one(fmt.Sprintf("the TUF target %q", t.Files[i].Name), &t.Files[i].Piece)
	}
	for i := range x.Registries {
		r := &x.Registries[i]
		one("the keys of "+r.Registry, r.Keys.Body)
	}
	for i := range x.Packages {
		p := &x.Packages[i]
		of := p.label()
		one("the document of "+of, p.Document.Body)
		one("the attestations of "+of, p.Attestations.Body)
		for j := range p.Tarballs {
			one("package.json in the tarball of "+of, p.Tarballs[j].Manifest)
			one("the list of files in the tarball of "+of, p.Tarballs[j].Files)
		}
		for j := range p.Earlier {
			one("an earlier document of "+of, p.Earlier[j].Document)
			one("earlier attestations of "+of, p.Earlier[j].Attestations)
		}
	}
	for i := range x.Packuments {
		one(fmt.Sprintf("the full document of %s (%s)", x.Packuments[i].Name, x.Packuments[i].Registry), x.Packuments[i].Document.Body)
	}
	for i := range x.Advisories {
		one("the advisories of "+x.Advisories[i].Registry, x.Advisories[i].Answer.Body)
	}
	for i := range x.Audits {
		a := &x.Audits[i]
		one("the request of the audit of "+strings.Join(a.Subjects, ", "), &a.Request)
		one("the report of the audit of "+strings.Join(a.Subjects, ", "), &a.Report)
	}
}

// label names the package for a person.
func (p *archivedPackage) label() string {
	return fmt.Sprintf("%s@%s (%s)", p.Name, p.Version, p.Registry)
}

// link makes the index findable.
func (a *Archive) link() {
	a.packages = make(map[subject]*archivedPackage, len(a.index.Packages))
	a.packuments = make(map[subject]*archivedPackument, len(a.index.Packuments))
	a.registries = make(map[string]*archivedRegistry, len(a.index.Registries))
	a.names = make(map[string][]string)
	for i := range a.index.Packages {
		p := &a.index.Packages[i]
		a.packages[subject{p.Registry, p.Name, p.Version}] = p
		if of := a.names[p.Name]; !slices.Contains(of, p.Registry) {
			a.names[p.Name] = append(of, p.Registry)
		}
	}
	for i := range a.index.Packuments {
		p := &a.index.Packuments[i]
		a.packuments[subject{registry: p.Registry, name: p.Name}] = p
	}
	for i := range a.index.Registries {
		a.registries[a.index.Registries[i].Registry] = &a.index.Registries[i]
	}
}

// Close lets go of what the archive was unpacked to. The archive must not be used afterwards.
func (a *Archive) Close() error { return a.pieces.close() }

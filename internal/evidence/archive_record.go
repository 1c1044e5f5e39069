package evidence

import (
	"bytes"
	"cmp"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"sync"
	"time"
)

// A Recorder writes down what a [Collector] hands out, to make an [Archive] of it. It is safe for concurrent use.
type Recorder struct {
	mu         sync.Mutex
	pieces     *pieces
	packages   map[subject]*archivedPackage
	packuments map[subject]*archivedPackument
	registries map[string]*archivedRegistry
	advised    map[string]*archivedAdvisories // by registry and question
	err        error                          // the first one
}

// NewRecorder returns a recorder that has heard nothing yet.
func NewRecorder() *Recorder {
	return &Recorder{
		pieces: newPieces(), packages: map[subject]*archivedPackage{},
		packuments: map[subject]*archivedPackument{}, registries: map[string]*archivedRegistry{},
		advised: map[string]*archivedAdvisories{},
	}
}

// collected writes down the evidence that a request gave. Of several answers to one question the last counts, but
// not having asked is no answer.
func (r *Recorder) collected(req Request, ev *Evidence) {
	r.mu.Lock()
	defer r.mu.Unlock()
	about := req.subject()
	p := r.packages[about]
	if p == nil {
		none := archivedAnswer{State: NotAsked.String()}
		p = &archivedPackage{Registry: req.Registry, Name: req.ID.Name, Version: req.ID.Version, Document: none, Attestations: none}
		r.packages[about] = p
	}
	r.answer(&p.Document, ev.Document)
	r.answer(&p.Attestations, ev.Attestations)
	p.Unauthenticated = ev.FromCache && !ev.Authenticated
	if t := ev.Tarball; t != nil && t.URL != "" {
		kept := r.tarball(t)
		i := slices.IndexFunc(p.Tarballs, func(o archivedTarball) bool { return o.URL == kept.URL })
		switch {
		case i < 0:
			p.Tarballs = append(p.Tarballs, kept)
		case kept.Reason != "" && p.Tarballs[i].Reason == "":
		case kept.Files == nil && p.Tarballs[i].Files != nil && kept.SHA512 == p.Tarballs[i].SHA512:
		default:
			p.Tarballs[i] = kept
		}
	}
	p.Earlier = nil
	for _, e := range ev.Earlier {
		p.Earlier = append(p.Earlier, archivedEarlier{r.piece(e.Document), r.piece(e.Attestations), e.At})
	}
	if ev.Packument.State != NotAsked {
		r.packumentOf(req.Registry, req.ID.Name, ev.Packument)
	}
}

// packument writes down an answer that is about all versions of a package.
func (r *Recorder) packument(registry, name string, a Answer) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.packumentOf(registry, name, a)
}

func (r *Recorder) packumentOf(registry, name string, a Answer) {
	about := subject{registry: registry, name: name}
	m := r.packuments[about]
	if m == nil {
		m = &archivedPackument{Registry: registry, Name: name}
		r.packuments[about] = m
	}
	r.answer(&m.Document, a)
}

// advisories writes down what a registry's advisories say.
func (r *Recorder) advisories(registry, question string, a Answer) {
	r.mu.Lock()
	defer r.mu.Unlock()
	k := r.advised[registry+"\x00"+question]
	if k == nil {
		k = &archivedAdvisories{Registry: registry, Question: question}
		r.advised[registry+"\x00"+question] = k
	}
	r.answer(&k.Answer, a)
}

// asked writes down what a registry says of its keys.
func (r *Recorder) asked(registry string, a Answer) {
	r.mu.Lock()
	defer r.mu.Unlock()
	k := r.registries[registry]
	if k == nil {
		k = &archivedRegistry{Registry: registry}
		r.registries[registry] = k
	}
	r.answer(&k.Keys, a)
}

func (r *Recorder) answer(to *archivedAnswer, a Answer) {
	if a.State == NotAsked {
		return
	}
	was := *to
	*to = archivedAnswer{State: a.State.String(), Status: a.Status, Detail: clipped(a.Detail)}
	switch a.State {
	case Served:
		to.Body, to.At = r.piece(append([]byte{}, a.Body...)), a.At.UTC()
	case Absent:
		to.At = a.At.UTC()
	case Unavailable:
		to.Reason = cmp.Or(a.Reason, "unknown")
	}
	if was.State == to.State && !was.At.IsZero() && was.At.Before(to.At) && samePiece(was.Body, to.Body) {
		to.At = was.At // the same answer again: it counts from when it was first given
	}
}

func samePiece(a, b *pieceRef) bool { return a == b || a != nil && b != nil && *a == *b }

// clipped is a text that fits an archive; what is cut off says nothing that a verdict could rest on.
func clipped(s string) string { return s[:min(len(s), maxArchivedText)] }

func (r *Recorder) tarball(t *Tarball) archivedTarball {
	k := archivedTarball{URL: t.URL, Size: t.Size, Manifest: r.piece(t.Manifest), Problem: t.Problem, Gyp: t.Gyp, Reason: t.Reason, Detail: clipped(t.Detail)}
	for i, d := range t.digests() {
		*k.digests()[i] = hex.EncodeToString(*d)
	}
	if t.Files != nil {
		b, err := json.Marshal(filesOf(t))
		if err != nil {
			r.fail(err)
		}
		k.Files = r.piece(b)
	}
	return k
}

// An archivedFile is one [File] of a tarball.
type archivedFile struct {
	Path    string `json:"path"`
	Size    int64  `json:"size"`
	SHA256  string `json:"sha256"`
	Shebang string `json:"shebang,omitempty"`
	Bundled []byte `json:"bundled,omitempty"` // see Tarball.Bundled
}

// Check holds it to its form.
func (a archivedFile) Check() error {
	if a.Shebang != "" {
		if err := checkHex(a.Shebang, sha256.Size); err != nil {
			return err
		}
	}
	return checkHex(a.SHA256, sha256.Size)
}

// filesOf lists files by path. Paths are bytes to npm, and JSON knows text: what would not come back as it was is quoted.
func filesOf(t *Tarball) []archivedFile {
	list := make([]archivedFile, 0, len(t.Files))
	for _, path := range slices.Sorted(maps.Keys(t.Files)) {
		f := t.Files[path]
		a := archivedFile{Path: hexPath(path), Size: f.Size, SHA256: hex.EncodeToString(f.SHA256[:]), Bundled: t.Bundled[path]}
		if f.Shebang != (File{}).Shebang {
			a.Shebang = hex.EncodeToString(f.Shebang[:])
		}
		list = append(list, a)
	}
	return list
}

func (r *Recorder) piece(b []byte) *pieceRef {
	if b == nil {
		return nil
	}
	p, err := r.pieces.put(b)
	if err != nil {
		r.fail(err)
	}
	return &p
}

func (r *Recorder) fail(err error) {
	if r.err == nil {
		r.err = err
	}
}

// TrustMetadata is TUF metadata as package trust has it.
type TrustMetadata struct {
	Roots     [][]byte
	Timestamp []byte
	Snapshot  []byte
	Targets   []byte
	Delegated map[string][]byte
	Files     map[string][]byte
}

// A TrustFile is a trusted root, or registry keys, and where it comes from, in package trust's words.
type TrustFile struct {
	Origin, Location string
	At               time.Time
	Stale            bool
	Reason, Detail   string
	Body             []byte // nil: there is none
}

// ArchivedTrust is the trust that an archive's evidence was judged by. It is only bytes: see package trust for whether
// they count.
type ArchivedTrust struct {
	Root, Keys TrustFile
	Metadata   *TrustMetadata // nil: nothing vouches for the files
}

// ArchiveOptions say what is to be known of an archive beside its evidence.
type ArchiveOptions struct {
	Tool  string // "assay 1.2.0"
	Trust ArchivedTrust
	// Named reports whether the user, and not only the project, names a registry.
	Named func(registry string) bool
	// Now is the archive's time where no answer has one.
	Now time.Time
}

// Archive makes an archive of what was recorded. The recorder must not be used afterwards.
func (r *Recorder) Archive(o ArchiveOptions) (*Archive, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	a := &Archive{pieces: r.pieces}
	x := &a.index
	x.Schema, x.Tool = ArchiveSchema, o.Tool
	for _, p := range r.packages {
		slices.SortFunc(p.Tarballs, archivedTarball.compare)
		x.Packages = append(x.Packages, *p)
		if r.registries[p.Registry] == nil {
			r.registries[p.Registry] = &archivedRegistry{Registry: p.Registry, Keys: archivedAnswer{State: NotAsked.String()}}
		}
	}
	for _, p := range r.packuments {
		x.Packuments = append(x.Packuments, *p)
	}
	for _, k := range r.advised {
		x.Advisories = append(x.Advisories, *k)
	}
	for _, k := range r.registries {
		k.Named = o.Named(k.Registry)
		x.Registries = append(x.Registries, *k)
	}
	a.setTrust(o.Trust, r.piece)
	if r.err != nil {
		return nil, fmt.Errorf("recording evidence: %w", r.err)
	}
	x.sort()
	if x.At = x.latest(); x.At.IsZero() {
		x.At = o.Now.UTC().Truncate(time.Second)
	}
	a.link()
	return a, x.check()
}

func (x *archiveIndex) sort() {
	slices.SortFunc(x.Registries, archivedRegistry.compare)
	slices.SortFunc(x.Packages, archivedPackage.compare)
	slices.SortFunc(x.Packuments, archivedPackument.compare)
	slices.SortFunc(x.Audits, archivedAudit.compare)
	slices.SortFunc(x.Advisories, archivedAdvisories.compare)
}

// latest is when the last of the answers arrived.
func (x *archiveIndex) latest() (t time.Time) {
	take := func(a archivedAnswer) {
		if a.At.After(t) {
			t = a.At
		}
	}
	for i := range x.Packages {
		take(x.Packages[i].Document)
		take(x.Packages[i].Attestations)
	}
	for i := range x.Packuments {
		take(x.Packuments[i].Document)
	}
	for i := range x.Registries {
		take(x.Registries[i].Keys)
	}
	for i := range x.Advisories {
		take(x.Advisories[i].Answer)
	}
	return t
}

func (a *Archive) setTrust(t ArchivedTrust, piece func([]byte) *pieceRef) {
	file := func(f TrustFile) archivedTrustFile {
		return archivedTrustFile{f.Origin, clipped(f.Location), f.At.UTC(), f.Stale, f.Reason, clipped(f.Detail), piece(f.Body)}
	}
	named := func(m map[string][]byte) (list []namedPiece) {
		for _, name := range slices.Sorted(maps.Keys(m)) {
			list = append(list, namedPiece{name, *piece(append([]byte{}, m[name]...))})
		}
		return list
	}
	to := archivedTrust{Root: file(t.Root), Keys: file(t.Keys)}
	if m := t.Metadata; m != nil {
		for _, root := range m.Roots {
			to.Roots = append(to.Roots, *piece(append([]byte{}, root...)))
		}
		to.Timestamp, to.Snapshot, to.Targets = piece(m.Timestamp), piece(m.Snapshot), piece(m.Targets)
		to.Delegated, to.Files = named(m.Delegated), named(m.Files)
	}
	a.index.Trust = to
}

// AddAudit adds an audit that the archive was made for.
func (a *Archive) AddAudit(audit ArchivedAudit) error {
	request, err := a.pieces.put(audit.Request)
	if err != nil {
		return err
	}
	report, err := a.pieces.put(audit.Report)
	if err != nil {
		return err
	}
	added := archivedAudit{audit.Subjects, audit.Settings, request, report}
	if err := added.Check(); err != nil {
		return fmt.Errorf("recording the audit: %w", err)
	}
	x := &a.index
	if !slices.ContainsFunc(x.Audits, func(o archivedAudit) bool { return o.compare(added) == 0 }) {
		x.Audits = append(x.Audits, added)
	}
	x.sort()
	return x.check()
}

// hexPath is a path as it stands in an archive: itself if it is plain text, else "hex:" and its bytes.
func hexPath(path string) string {
	if b, err := json.Marshal(path); err == nil && bytes.IndexByte(b, '\\') < 0 && !bytes.HasPrefix(b, []byte(`"hex:`)) {
		var again string
		if json.Unmarshal(b, &again) == nil && again == path {
			return path
		}
	}
	return "hex:" + hex.EncodeToString([]byte(path))
}

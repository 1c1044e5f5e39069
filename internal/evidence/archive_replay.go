package evidence

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/go-json-experiment/json"

	"assay/internal/budget"
	"assay/internal/npm"
)

// bigPiece is the size in bytes from which on pieces are read one at a time.
const bigPiece = 256 << 10

// collect answers a request out of the archive as the [Collector] would that recorded it.
func (a *Archive) collect(ctx context.Context, big *budget.Pool, req Request) *Evidence {
	ev := &Evidence{ID: req.ID, Registry: req.Registry, Authenticated: true}
	p := a.packages[req.subject()]
	if p == nil {
		ev.Document = notInArchive()
		return ev
	}
	ev.FromCache, ev.Authenticated = p.Unauthenticated, !p.Unauthenticated
	r := &replay{ctx, a, big}
	ev.Document = r.answer(p.Document)
	for _, e := range p.Earlier {
		was := Earlier{At: e.At}
		was.Document, was.Attestations = r.optional(e.Document), r.optional(e.Attestations)
		if was.Document != nil || was.Attestations != nil {
			ev.Earlier = append(ev.Earlier, was)
		}
	}
	if ev.Document.State != Served {
		return ev
	}
	switch {
	case p.Attestations.state() == Served, glance(ev.Document.Body)&announces != 0, req.Expected:
		ev.Attestations = r.answer(p.Attestations)
	case p.Attestations.state() != NotAsked && len(p.Earlier) > 0: // earlier answers were the reason to ask
		ev.Attestations = r.answer(p.Attestations)
	}
	if req.Tarball != nil {
		if url, digests := req.Tarball(ev.Document.Body); url != "" {
			ev.Tarball = r.tarball(p, url, digests)
		}
	}
	if req.WantPackument {
		ev.Packument = a.packument(ctx, big, req.Registry, req.ID.Name)
	}
	return ev
}

// packument answers for all versions of a package.
func (a *Archive) packument(ctx context.Context, big *budget.Pool, registry, name string) Answer {
	m := a.packuments[subject{registry: registry, name: name}]
	if m == nil {
		return notInArchive()
	}
	r := &replay{ctx, a, big}
	return r.answer(m.Document)
}

// advisories answers a question about a registry's advisories.
func (a *Archive) advisories(ctx context.Context, big *budget.Pool, registry, question string) Answer {
	i, ok := slices.BinarySearchFunc(a.index.Advisories, archivedAdvisories{Registry: registry, Question: question}, archivedAdvisories.compare)
	if !ok {
		return notInArchive()
	}
	r := &replay{ctx, a, big}
	return r.answer(a.index.Advisories[i].Answer)
}

// keys answers for a registry's own keys.
func (a *Archive) keys(ctx context.Context, big *budget.Pool, registry string) Answer {
	k := a.registries[registry]
	if k == nil {
		return notInArchive()
	}
	r := &replay{ctx, a, big}
	return r.answer(k.Keys)
}

func notInArchive() Answer { return Answer{State: Unavailable, Reason: ReasonNotInArchive} }

// A replay reads pieces for one request.
type replay struct {
	ctx context.Context
	a   *Archive
	big *budget.Pool
}

func (r *replay) bytes(p pieceRef) ([]byte, error) {
	if holder := budget.From(r.ctx); p.Size > bigPiece && holder != nil {
		if err := holder.Wait(r.ctx, r.big); err != nil {
			return nil, err
		}
	}
	return r.a.pieces.get(p)
}

// optional returns what earlier runs were served; what cannot be read is not there.
func (r *replay) optional(p *pieceRef) []byte {
	if p == nil {
		return nil
	}
	b, err := r.bytes(*p)
	if err != nil {
		return nil
	}
	return b
}

func (r *replay) answer(k archivedAnswer) Answer {
	a := Answer{State: k.state(), Status: k.Status, Reason: k.Reason, Detail: k.Detail, At: k.At}
	switch a.State {
	case NotAsked:
		return notInArchive()
	case Served:
		var err error
		if a.Body, err = r.bytes(*k.Body); err != nil {
			return Answer{State: Unavailable, Reason: ReasonNotInArchive, Detail: err.Error()}
		}
	}
	return a
}

func (r *replay) tarball(p *archivedPackage, url string, digests []string) *Tarball {
	missing := func(detail string) *Tarball {
		return &Tarball{URL: url, Reason: ReasonNotInArchive, Detail: detail}
	}
	i := slices.IndexFunc(p.Tarballs, func(t archivedTarball) bool { return t.URL == url })
	if i < 0 {
		return missing("")
	}
	k := &p.Tarballs[i]
	t := &Tarball{URL: url, Size: k.Size, Problem: k.Problem, Gyp: k.Gyp, Reason: k.Reason, Detail: k.Detail}
	if k.Reason != "" {
		return t
	}
	for i, d := range t.digests() {
		*d, _ = hex.DecodeString(*k.digests()[i]) // it was checked when it was read
		if len(*d) == 0 {
			*d = nil
		}
	}
	for _, name := range digests {
		if i := digestIndex(name); i >= 0 && *t.digests()[i] == nil {
			return missing("the evidence archive does not hold the tarball's " + name)
		}
	}
	if k.Manifest != nil {
		b, err := r.bytes(*k.Manifest)
		if err != nil {
			return missing(err.Error())
		}
		t.Manifest = b
	}
	if k.Files != nil && slices.Contains(digests, WithFiles) {
		b, err := r.bytes(*k.Files)
		if err == nil {
			t.Files, t.Bundled, err = parseFiles(b)
		}
		if err != nil {
			return missing("the list of files of the tarball: " + err.Error())
		}
	} else if slices.Contains(digests, WithFiles) && (t.Problem == "" || t.Problem == ProblemTrailing || t.Problem == ProblemManifestMissing || t.Problem == ProblemManifestTwice) {
		return missing("the evidence archive does not hold the list of files of the tarball")
	}
	return t
}

// parseFiles reads what filesOf lists.
func parseFiles(b []byte) (files map[string]File, bundled map[string][]byte, err error) {
	var list Checked[archivedFile]
	if err := json.Unmarshal(b, &list); err != nil {
		return nil, nil, err
	}
	files = make(map[string]File, len(list))
	for _, a := range list {
		f := File{Size: a.Size}
		path := a.Path
		if h, ok := strings.CutPrefix(path, "hex:"); ok {
			raw, err := hex.DecodeString(h)
			if err != nil {
				return nil, nil, fmt.Errorf("the path %.100q: %w", path, err)
			}
			path = string(raw)
		}
		hex.Decode(f.SHA256[:], []byte(a.SHA256)) // they were checked when they were read
		hex.Decode(f.Shebang[:], []byte(a.Shebang))
		if _, twice := files[path]; twice {
			return nil, nil, fmt.Errorf("the path %.100q stands twice", path)
		}
		files[path] = f
		if a.Bundled == nil {
			continue
		}
		if sha256.Sum256(a.Bundled) != f.SHA256 {
			return nil, nil, fmt.Errorf("the bytes of %.100q are not those of its digest", path)
		}
		if bundled == nil {
			bundled = map[string][]byte{}
		}
		bundled[path] = a.Bundled
	}
	return files, bundled, nil
}

// At is when the last of the archive's answers arrived, UTC, as whoever made it says.
func (a *Archive) At() time.Time { return a.index.At }

// Named reports whether whoever made the archive named a registry, rather than only the project.
func (a *Archive) Named(registry string) bool {
	r := a.registries[registry]
	return r != nil && r.Named
}

// Registries returns the registries that the archive has evidence from for a package's name, in order.
func (a *Archive) Registries(name string) []string { return a.names[name] }

// Versions returns the versions of a package of a registry that the archive has evidence about, in the order of bytes.
func (a *Archive) Versions(registry, name string) []string {
	var versions []string
	for i := range a.index.Packages {
		if p := &a.index.Packages[i]; p.Registry == registry && p.Name == name {
			versions = append(versions, p.Version)
		}
	}
	return versions
}

// ServesKeys reports whether a registry answered with just these bytes when it was asked for its own keys.
func (a *Archive) ServesKeys(keys []byte) bool {
	want := refOf(keys)
	return slices.ContainsFunc(a.index.Registries, func(r archivedRegistry) bool { return r.Keys.Body != nil && *r.Keys.Body == want })
}

// Trust returns the trust that the archive's evidence was judged by.
func (a *Archive) Trust() (ArchivedTrust, error) {
	var first error
	get := func(p *pieceRef) []byte {
		if p == nil {
			return nil
		}
		b, err := a.pieces.get(*p)
		if first == nil && err != nil {
			first = err
		}
		return b
	}
	file := func(f archivedTrustFile) TrustFile {
		return TrustFile{f.Origin, f.Location, f.At, f.Stale, f.Reason, f.Detail, get(f.Body)}
	}
	named := func(list []namedPiece) map[string][]byte {
		m := make(map[string][]byte, len(list))
		for i := range list {
			m[list[i].Name] = get(&list[i].Piece)
		}
		return m
	}
	x := &a.index.Trust
	t := ArchivedTrust{Root: file(x.Root), Keys: file(x.Keys)}
	if x.Timestamp != nil {
		t.Metadata = &TrustMetadata{
			Timestamp: get(x.Timestamp), Snapshot: get(x.Snapshot), Targets: get(x.Targets),
			Delegated: named(x.Delegated), Files: named(x.Files),
		}
		for i := range x.Roots {
			t.Metadata.Roots = append(t.Metadata.Roots, get(&x.Roots[i]))
		}
	}
	return t, first
}

// Audit returns the audit that the archive was made for; nil where it was made for none, or for several.
func (a *Archive) Audit() (*ArchivedAudit, error) {
	if len(a.index.Audits) != 1 {
		return nil, nil
	}
	k := &a.index.Audits[0]
	request, err := a.pieces.get(k.Request)
	if err != nil {
		return nil, err
	}
	report, err := a.pieces.get(k.Report)
	if err != nil {
		return nil, err
	}
	return &ArchivedAudit{k.Subjects, k.Settings, request, report}, nil
}

// HasTarball reports whether the archive says what reading a tarball of the package showed.
func (a *Archive) HasTarball(registry string, id npm.ID) bool {
	p := a.packages[subject{registry, id.Name, id.Version}]
	return p != nil && len(p.Tarballs) > 0
}

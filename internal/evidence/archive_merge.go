package evidence

import (
	"bytes"
	"cmp"
	"encoding/hex"
	"errors"
	"fmt"
	"time"

	"github.com/go-json-experiment/json"
)

// MergeArchives makes one archive of several. Of several answers to one question the newest counts; what it is
// contradicted by stays as earlier evidence, as in a [Store]. One archive alone, or twice, gives itself, and the order does
// not matter. trust chooses whose trust the result has, and is asked only where two archives differ.
//
// The archives may be closed afterwards; the result is to be closed too.
func MergeArchives(trust func(a, b ArchivedTrust) (ArchivedTrust, error), archives ...*Archive) (_ *Archive, err error) {
	if len(archives) == 0 {
		return nil, errors.New("there is nothing to merge")
	}
	m := &merger{Archive: &Archive{pieces: newPieces()}, own: map[subject]map[sum]bool{}}
	defer func() {
		if err != nil {
			m.Close()
		}
	}()
	for _, a := range archives {
		m.owns(a)
	}
	var chosen ArchivedTrust
	for i, a := range archives {
		t, err := a.Trust()
		if err != nil {
			return nil, err
		}
		if i == 0 {
			chosen = t
		} else if !t.equal(chosen) {
			if chosen, err = trust(chosen, t); err != nil {
				return nil, err
			}
		}
		if err := m.add(a); err != nil {
			return nil, err
		}
	}
	m.setTrust(chosen, m.piece)
	if m.err != nil {
		return nil, m.err
	}
	m.index.sort()
	m.link()
	return m.Archive, m.index.check()
}

func (t ArchivedTrust) equal(o ArchivedTrust) bool {
	a, errA := json.Marshal(t, json.Deterministic(true))
	b, errB := json.Marshal(o, json.Deterministic(true))
	return errA == nil && errB == nil && bytes.Equal(a, b)
}

type merger struct {
	*Archive
	// What each of the archives had as its current answer: it is kept before what an archive only says was served once,
	// of which anybody can write down as much as there is room for.
	own map[subject]map[sum]bool
	err error
}

func (m *merger) piece(b []byte) *pieceRef {
	if b == nil {
		return nil
	}
	p, err := m.pieces.put(b)
	if err != nil && m.err == nil {
		m.err = err
	}
	return &p
}

// owns notes what an archive has as current answers.
func (m *merger) owns(a *Archive) {
	for i := range a.index.Packages {
		p := &a.index.Packages[i]
		about := subject{p.Registry, p.Name, p.Version}
		if m.own[about] == nil {
			m.own[about] = map[sum]bool{}
		}
		for _, piece := range []*pieceRef{p.Document.Body, p.Attestations.Body} {
			if piece != nil {
				m.own[about][sumOf(*piece)] = true
			}
		}
	}
}

// add takes in another archive, its trust aside.
func (m *merger) add(a *Archive) error {
	var first error
	a.index.walk(func(what string, p *pieceRef) {
		if first != nil || m.pieces.has(*p) {
			return
		}
		b, err := a.pieces.get(*p)
		if err == nil {
			_, err = m.pieces.put(b)
		}
		if err != nil {
			first = &ArchiveError{what, err}
		}
	})
	if first != nil {
		return first
	}
	x, y := &m.index, &a.index
	x.Schema, x.Tool = ArchiveSchema, max(x.Tool, y.Tool)
	if y.At.After(x.At) {
		x.At = y.At
	}
	x.Registries = mergeList(x.Registries, y.Registries, archivedRegistry.compare, mergeRegistry)
	x.Packages = mergeList(x.Packages, y.Packages, archivedPackage.compare, m.mergePackage)
	x.Packuments = mergeList(x.Packuments, y.Packuments, archivedPackument.compare, func(p, q archivedPackument) archivedPackument {
		p.Document = newest(p.Document, q.Document)
		return p
	})
	if len(x.Advisories)+len(y.Advisories) > 0 {
		x.Advisories = mergeList(x.Advisories, y.Advisories, archivedAdvisories.compare, func(p, q archivedAdvisories) archivedAdvisories {
			p.Answer = newest(p.Answer, q.Answer)
			return p
		})
	}
	x.Audits = mergeList(x.Audits, y.Audits, archivedAudit.compare, func(p, _ archivedAudit) archivedAudit { return p })
	return nil
}

// mergeList merges two sorted lists; what stands in both is made one by join.
func mergeList[T any](a, b []T, compare func(a, b T) int, join func(a, b T) T) []T {
	out := make([]T, 0, len(a)+len(b))
	for len(a) > 0 && len(b) > 0 {
		switch c := compare(a[0], b[0]); {
		case c < 0:
			out, a = append(out, a[0]), a[1:]
		case c > 0:
			out, b = append(out, b[0]), b[1:]
		default:
			out, a, b = append(out, join(a[0], b[0])), a[1:], b[1:]
		}
	}
	return append(append(out, a...), b...)
}

func mergeRegistry(a, b archivedRegistry) archivedRegistry {
	a.Named = a.Named || b.Named
	a.Keys = newest(a.Keys, b.Keys)
	return a
}

// newest is the newer of two answers. Not having had one is none.
func newest(a, b archivedAnswer) archivedAnswer {
	given := func(k archivedAnswer) int {
		switch k.state() {
		case Served, Absent:
			return 2
		case Unavailable:
			return 1
		}
		return 0
	}
	if c := cmp.Or(cmp.Compare(given(a), given(b)), a.At.Compare(b.At), compareEncoded(a, b)); c < 0 {
		return b
	}
	return a
}

// compareEncoded puts any two things into some order.
func compareEncoded(a, b any) int {
	x, _ := json.Marshal(a, json.Deterministic(true))
	y, _ := json.Marshal(b, json.Deterministic(true))
	return bytes.Compare(x, y)
}

func (m *merger) mergePackage(a, b archivedPackage) archivedPackage {
	if compareEncoded(a, b) == 0 {
		return a
	}
	// What was served together stays together: an older list of attestations is not the registry's beside a newer
	// document, which may announce none.
	if c := newest(a.Document, b.Document); c != a.Document {
		a, b = b, a
	}
	out := archivedPackage{
		Registry: a.Registry, Name: a.Name, Version: a.Version, Document: a.Document, Attestations: a.Attestations,
		Unauthenticated: a.Unauthenticated || b.Unauthenticated,
	}
	if a.Document.State == b.Document.State && samePiece(a.Document.Body, b.Document.Body) {
		out.Attestations = newest(a.Attestations, b.Attestations)
	}
	out.Tarballs = mergeList(a.Tarballs, b.Tarballs, archivedTarball.compare, mergeTarball)
	about := subject{out.Registry, out.Name, out.Version}
	current := m.pairOf(archivedEarlier{Document: out.Document.Body, Attestations: out.Attestations.Body})
	var pairs []pair
	for _, p := range []*archivedPackage{&a, &b} {
		for _, e := range append([]archivedEarlier{p.current()}, p.Earlier...) {
			if q := m.pairOf(e).without(current); q.rank() > 0 {
				if m.own[about][q.bytes()] {
					q.traits |= held
				}
				pairs = append(pairs, q)
			}
		}
	}
	for _, q := range boundEarlier(pairs) {
		e := archivedEarlier{At: q.at}
		e.Document, e.Attestations = m.refFor(q.document), m.refFor(q.attestations)
		out.Earlier = append(out.Earlier, e)
	}
	return out
}

// current is what the package was served together.
func (p *archivedPackage) current() archivedEarlier {
	own := archivedEarlier{Document: p.Document.Body, Attestations: p.Attestations.Body, At: p.Document.At}
	if p.Attestations.At.After(own.At) {
		own.At = p.Attestations.At
	}
	return own
}

// mergeTarball makes one of two words on the bytes under one address. Neither is the newer, so where they contradict each
// other nothing is known.
func mergeTarball(s, t archivedTarball) archivedTarball {
	contradicted := archivedTarball{URL: s.URL, Reason: ReasonNotInArchive, Detail: "archives that were merged have different bytes under this address"}
	rank := func(t archivedTarball) int {
		switch {
		case t == contradicted:
			return 3
		case t.Reason != "":
			return 0
		case t.Files == nil:
			return 1
		}
		return 2
	}
	if s.Reason == "" && t.Reason == "" && s.contradicts(t) {
		return contradicted
	}
	if cmp.Or(cmp.Compare(rank(s), rank(t)), compareEncoded(s, t)) < 0 {
		return t
	}
	return s
}

// contradicts reports whether two tarballs that were read are not the same. That one was read more of is no difference.
func (a *archivedTarball) contradicts(b archivedTarball) bool {
	for i, d := range a.digests() {
		if other := *b.digests()[i]; *d != "" && other != "" && *d != other {
			return true
		}
	}
	return a.Size != b.Size || a.Problem != b.Problem || a.Gyp != b.Gyp || !samePiece(a.Manifest, b.Manifest) ||
		a.Files != nil && b.Files != nil && *a.Files != *b.Files
}

// pairOf is what an index entry of the cache would hold of an earlier answer.
func (m *merger) pairOf(e archivedEarlier) pair {
	p := pair{at: e.At}
	if e.Document != nil {
		p.document = sumOf(*e.Document)
		if b, err := m.pieces.get(*e.Document); err == nil {
			p.traits = glance(b)
		}
	}
	if e.Attestations != nil {
		p.attestations = sumOf(*e.Attestations)
	}
	return p
}

func sumOf(p pieceRef) (s sum) {
	hex.Decode(s[:], []byte(p.SHA256)) // it was checked when it was read
	return s
}

// refFor finds the piece with a digest.
func (m *merger) refFor(s sum) *pieceRef {
	if s == (sum{}) {
		return nil
	}
	return m.pieces.named(hex.EncodeToString(s[:]))
}

// Import takes the archive's answers into a cache directory, as what somebody else says: none becomes this machine's
// own word, whatever key the cache has. What an entry of this machine's own says stays, and so does what the
// registry is asked. Left of an import are earlier answers, which count for what the signatures in them prove: that a
// version had attestations that are gone, for one. It returns for how many packages there was something to keep.
func (a *Archive) Import(dir string, now func() time.Time) (packages int, err error) {
	s, err := OpenStore(StoreOptions{Dir: dir, Now: now}) // without a key, no MAC
	if err != nil {
		return 0, err
	}
	for i := range a.index.Packages {
		p := &a.index.Packages[i]
		e := &entry{subject: subject{p.Registry, p.Name, p.Version}, at: p.Document.At}
		if p.Attestations.At.After(e.at) {
			e.at = p.Attestations.At
		}
		var errs [2]error
		e.document, errs[0] = a.importAnswer(s, p.Document)
		e.attestations, errs[1] = a.importAnswer(s, p.Attestations)
		e.attestations.traits = 0
		if err := errors.Join(errs[:]...); err != nil {
			s.Close()
			return packages, fmt.Errorf("importing %s: %w", p.label(), err)
		}
		for _, was := range p.Earlier {
			q := pair{at: was.At, traits: adopted}
			for ref, to := range map[*pieceRef]*sum{was.Document: &q.document, was.Attestations: &q.attestations} {
				if ref == nil || ref.Size > maxEarlierBlob {
					continue
				}
				b, err := a.pieces.get(*ref)
				if err != nil {
					s.Close()
					return packages, fmt.Errorf("importing %s: %w", p.label(), err)
				}
				*to = s.putBlob(b)
				if ref == was.Document {
					q.traits |= glance(b)
				}
			}
			if q.rank() > 0 {
				e.earlier = append(e.earlier, q)
			}
		}
		if e.document.state != Served && e.attestations.state != Served && e.earlier == nil {
			continue
		}
		e.earlier = boundEarlier(e.earlier)
		s.putEntry(e)
		packages++
	}
	return packages, s.Close()
}

// importAnswer keeps an answer that was served. That there was none is not remembered on somebody else's word.
func (a *Archive) importAnswer(s *Store, k archivedAnswer) (kept, error) {
	if k.state() != Served || k.Body.Size > maxBlob {
		return kept{}, nil
	}
	b, err := a.pieces.get(*k.Body)
	if err != nil {
		return kept{}, err
	}
	return kept{state: Served, status: k.Status, sum: s.putBlob(b), at: k.At, traits: glance(b)}, nil
}

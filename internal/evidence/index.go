package evidence

import (
	"bytes"
	"cmp"
	"encoding/binary"
	"errors"
	"slices"
	"time"
)

// Bounds of an index entry. What breaks them is not written, and not read.
const (
	maxEarlier = 4    // pairs kept of one package
	maxText    = 4096 // bytes of one text: a URL, a name, an ETag
	maxEntry   = 64 << 10
)

// A subject is what an index entry is about. An empty version means the whole package (its full document),
// an empty name the registry itself (its keys).
type subject struct{ registry, name, version string }

func (s subject) key() sum {
	return digest(domainSubject, []byte(s.registry), []byte(s.name), []byte(s.version))
}

// An entry says which answers were given about a subject. The bytes are blobs; the entry has their digests.
type entry struct {
	subject
	at           time.Time // when it was written
	document     kept      // also the full document, or the keys, where the subject is one of those
	attestations kept
	tarball      *keptTarball // nil: none was read
	earlier      []pair       // see [mergeEntries] for the order
}

// A kept is one answer: Served (with the digest of its bytes) or Absent. Unavailable is never kept.
type kept struct {
	state  State
	status int
	sum    sum
	etag   string // as received; "" for none
	at     time.Time
	traits traits
}

// Traits are what was seen in passing when an answer was kept.
type traits byte

const (
	announces traits = 1 << iota // a version document with dist.attestations
	signed                       // a version document with dist.signatures
	adopted                      // bytes taken from an entry whose MAC did not verify
	allTraits        = announces | signed | adopted

	held traits = 1 << 7 // while archives are merged: one of them had it as its current answer; never written
)

// A keptTarball is what reading a tarball showed. It is believed only in an authenticated entry: the
// digests are this machine's own work and nothing else vouches for them.
type keptTarball struct {
	url         string
	at          time.Time
	size        int64
	digests     [4][]byte // SHA-512, SHA-384, SHA-256, SHA-1; nil: not computed
	hasManifest bool
	manifest    sum
	problem     string
	gyp         bool
}

// A pair is what was served together once. A zero digest stands for nothing.
type pair struct {
	document, attestations sum
	at                     time.Time
	traits                 traits // of the document; adopted counts for both
}

// rank tells how much a pair could prove: attestations most, a document that once announced some next,
// then one that was signed. Zero proves nothing and is not kept.
func (p pair) rank() int {
	switch {
	case p.attestations != sum{}:
		return 3
	case p.document != sum{} && p.traits&announces != 0:
		return 2
	case p.document != sum{} && p.traits&signed != 0:
		return 1
	}
	return 0
}

// class is what comes before time when pairs are compared: first what this machine saw itself (somebody
// else's pairs must not push it out of a short list), then what could prove more.
func (p pair) class() int { return int(p.traits&adopted)<<8 - int(p.traits&held) - p.rank() }

// bytes are what a pair is of: its attestations, else its document.
func (p pair) bytes() sum {
	if p.attestations != (sum{}) {
		return p.attestations
	}
	return p.document
}

// compare orders by class, then the newer first.
func (p pair) compare(q pair) int {
	return cmp.Or(
		cmp.Compare(p.class(), q.class()),
		q.at.Compare(p.at),
		bytes.Compare(p.document[:], q.document[:]),
		bytes.Compare(p.attestations[:], q.attestations[:]),
	)
}

// better reports whether p is to stand for q, which has the same to prove: on a better word, else because
// it was seen earlier.
func (p pair) better(q pair) bool {
	if a, b := p.traits&adopted, q.traits&adopted; a != b {
		return a < b
	}
	return cmp.Or(p.at.Compare(q.at), bytes.Compare(p.document[:], q.document[:]), cmp.Compare(p.traits, q.traits)) < 0
}

// current is the pair of the entry's own answers.
func (e *entry) current() pair {
	var p pair
	if e.document.state == Served {
		p.document, p.at, p.traits = e.document.sum, e.document.at, e.document.traits
	}
	if e.attestations.state == Served {
		p.attestations = e.attestations.sum
		if e.attestations.at.After(p.at) {
			p.at = e.attestations.at
		}
	}
	p.traits |= e.attestations.traits & adopted
	return p
}

// A candidate is one entry read for a subject, and whether its MAC verified.
type candidate struct {
	*entry
	authenticated bool
}

// mergeEntries makes one of everything that is kept about a subject: processes that wrote at the same time
// did not know of each other. The newest authenticated entry leads, else the newest. What the others
// say becomes earlier evidence. It returns nil where there is none.
//
// Merging is idempotent, and the order of the candidates does not matter. Pairs whose bytes are gone, as has
// tells, are left out.
func mergeEntries(all []candidate, has func(sum) bool) (lead *entry, authenticated bool) {
	if len(all) == 0 {
		return nil, false
	}
	best := all[0]
	for _, c := range all[1:] {
		if c.authenticated != best.authenticated {
			if c.authenticated {
				best = c
			}
		} else if d := c.at.Compare(best.at); d > 0 || d == 0 && bytes.Compare(c.encode(), best.encode()) > 0 {
			best = c
		}
	}
	lead = new(entry)
	*lead = *best.entry
	lead.earlier = foldEarlier(all, lead.current(), has)
	return lead, best.authenticated
}

// foldEarlier collects the pairs of all candidates, save the one that is current.
func foldEarlier(all []candidate, current pair, has func(sum) bool) []pair {
	var pairs []pair
	for _, c := range all {
		for _, p := range append([]pair{c.current()}, c.earlier...) {
			if !c.authenticated {
				p.traits |= adopted
			}
			p = p.without(current)
			if !has(p.document) {
				p.document = sum{}
			}
			if !has(p.attestations) {
				p.attestations = sum{}
			}
			if p.rank() > 0 {
				pairs = append(pairs, p)
			}
		}
	}
	return boundEarlier(pairs)
}

// boundEarlier returns the few pairs worth keeping: each list of attestations once, each other document
// once. Where there are too many, the newest are kept and the oldest: a registry that serves one thing
// after the other cannot make us forget what it served at first.
func boundEarlier(pairs []pair) []pair {
	var out []pair
	for _, p := range pairs {
		if slices.ContainsFunc(pairs, p.within) {
			continue
		}
		i := slices.IndexFunc(out, func(q pair) bool {
			return p.attestations == q.attestations && (p.attestations != sum{} || p.document == q.document)
		})
		if i < 0 {
			out = append(out, p)
		} else if p.better(out[i]) {
			out[i] = p
		}
	}
	slices.SortFunc(out, pair.compare)
	if len(out) > maxEarlier {
		oldest := maxEarlier - 1
		for oldest+1 < len(out) && out[oldest+1].class() == out[maxEarlier-1].class() {
			oldest++
		}
		out[maxEarlier-1] = out[oldest]
		out = out[:maxEarlier]
	}
	return out
}

// within reports whether q has the bytes of p, and attestations besides, on no worse a word.
func (p pair) within(q pair) bool {
	return p.attestations == sum{} && q.attestations != sum{} && p.document == q.document &&
		p.traits&adopted >= q.traits&adopted
}

// without returns the pair without the bytes that the current one has too.
func (p pair) without(current pair) pair {
	if p.document == current.document {
		p.document = sum{}
	}
	if p.attestations == current.attestations {
		p.attestations = sum{}
	}
	return p
}

// The encoding of an entry: a format number, then the fields in order. Numbers are varints, texts and
// digests have their length before them, times are nanoseconds since 1970 (0: the zero time).
const entryFormat = 2

var errEntry = errors.New("malformed index entry")

func (e *entry) encode() []byte {
	b := make([]byte, 0, 512)
	b = append(b, entryFormat)
	b = appendText(b, e.registry)
	b = appendText(b, e.name)
	b = appendText(b, e.version)
	b = appendTime(b, e.at)
	b = e.document.append(b)
	b = e.attestations.append(b)
	if t := e.tarball; t == nil {
		b = append(b, 0)
	} else {
		b = t.append(append(b, 1))
	}
	b = binary.AppendUvarint(b, uint64(len(e.earlier)))
	for _, p := range e.earlier {
		b = append(b, p.document[:]...)
		b = append(b, p.attestations[:]...)
		b = appendTime(b, p.at)
		b = append(b, byte(p.traits))
	}
	return b
}

func (k kept) append(b []byte) []byte {
	b = append(b, byte(k.state))
	if k.state == NotAsked {
		return b
	}
	b = binary.AppendUvarint(b, uint64(k.status))
	if k.state == Served {
		b = append(b, k.sum[:]...)
	}
	b = appendText(b, k.etag)
	b = appendTime(b, k.at)
	return append(b, byte(k.traits))
}

func (t *keptTarball) append(b []byte) []byte {
	b = appendText(b, t.url)
	b = appendTime(b, t.at)
	b = binary.AppendUvarint(b, uint64(t.size))
	for _, d := range t.digests {
		b = appendText(b, string(d))
	}
	if t.hasManifest {
		b = append(b, 1)
		b = append(b, t.manifest[:]...)
	} else {
		b = append(b, 0)
	}
	b = appendText(b, t.problem)
	if t.gyp {
		return append(b, 1)
	}
	return append(b, 0)
}

func appendText(b []byte, s string) []byte {
	return append(binary.AppendUvarint(b, uint64(len(s))), s...)
}

func appendTime(b []byte, t time.Time) []byte {
	if t.IsZero() {
		return append(b, 0)
	}
	return binary.AppendVarint(b, t.UnixNano())
}

// decodeEntry reads an entry. It returns errEntry for anything that encode would not have written.
func decodeEntry(b []byte) (*entry, error) {
	if len(b) > maxEntry {
		return nil, errEntry
	}
	d := &decoder{rest: b}
	e := new(entry)
	if d.byte() != entryFormat {
		return nil, errEntry
	}
	e.registry, e.name, e.version = d.text(), d.text(), d.text()
	e.at = d.time()
	e.document = d.kept()
	e.attestations = d.kept()
	if d.flag() {
		t := &keptTarball{url: d.text(), at: d.time(), size: int64(d.number(1 << 50))}
		for i := range t.digests {
			if s := d.text(); s != "" {
				t.digests[i] = []byte(s)
			}
		}
		if t.hasManifest = d.flag(); t.hasManifest {
			t.manifest = d.sum()
		}
		t.problem = d.text()
		t.gyp = d.flag()
		e.tarball = t
	}
	if n := int(d.number(maxEarlier)); n > 0 && !d.bad {
		e.earlier = make([]pair, n)
		for i := range e.earlier {
			e.earlier[i] = pair{document: d.sum(), attestations: d.sum(), at: d.time(), traits: d.traits()}
		}
	}
	// Numbers have longer spellings, and so would entries: only one spelling is ours.
	if d.bad || len(d.rest) > 0 || !bytes.Equal(e.encode(), b) {
		return nil, errEntry
	}
	return e, nil
}

// A decoder reads fields off the front of rest. After a field that is malformed it reads zeros, and bad is set.
type decoder struct {
	rest []byte
	bad  bool
}

func (d *decoder) take(n uint64) []byte {
	if d.bad || n > uint64(len(d.rest)) {
		d.bad = true
		return nil
	}
	b := d.rest[:n]
	d.rest = d.rest[n:]
	return b
}

func (d *decoder) byte() byte {
	if b := d.take(1); b != nil {
		return b[0]
	}
	return 0
}

func (d *decoder) flag() bool {
	b := d.byte()
	d.bad = d.bad || b > 1
	return b == 1
}

func (d *decoder) traits() traits {
	t := traits(d.byte())
	d.bad = d.bad || t&^allTraits != 0
	return t
}

func (d *decoder) number(max uint64) uint64 {
	v, n := binary.Uvarint(d.rest)
	if d.bad || n <= 0 || v > max {
		d.bad = true
		return 0
	}
	d.rest = d.rest[n:]
	return v
}

func (d *decoder) text() string { return string(d.take(d.number(maxText))) }

func (d *decoder) sum() sum {
	var s sum
	copy(s[:], d.take(uint64(len(s))))
	return s
}

func (d *decoder) time() time.Time {
	v, n := binary.Varint(d.rest)
	if d.bad || n <= 0 {
		d.bad = true
		return time.Time{}
	}
	d.rest = d.rest[n:]
	if v == 0 {
		return time.Time{}
	}
	return time.Unix(0, v).UTC()
}

func (d *decoder) kept() kept {
	k := kept{state: State(d.byte())}
	switch k.state {
	case NotAsked:
		return k
	case Served, Absent:
	default:
		d.bad = true
		return k
	}
	k.status = int(d.number(999))
	if k.state == Served {
		k.sum = d.sum()
	}
	k.etag = d.text()
	k.at = d.time()
	k.traits = d.traits()
	return k
}

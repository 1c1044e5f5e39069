package evidence

import (
	"crypto/sha256"
	"encoding/binary"
	"time"
)

// A Class says for how long the result of verification may be kept. The zero value is never kept, which is
// right for everything that is trouble: an error, a failure, an answer that nobody could give.
type Class int

const (
	Unkept  Class = iota
	Passing       // for Lifetimes.Row: results that hang on something being absent
	Lasting       // as long as all inputs are the same
)

// A Query names everything that a result depends on: the evidence that the request would give, and these.
type Query struct {
	Request

	Integrity string // what the lockfile holds; empty for none
	Resolved  string // likewise
	TrustRoot [sha256.Size]byte
	Keys      [sha256.Size]byte // of the registry keys in use, their source included
	Options   string            // every option of verification, in one canonical form
	Checks    string            // version of the checks
}

// Lookup returns the row kept for a query, without a request and without reading any evidence. It is there
// only if [Collector.Collect] would need no request either and everything it would take from the cache is
// authenticated: so a row is never older, and never rests on less, than the evidence would.
func (c *Collector) Lookup(q Query) (value []byte, ok bool) {
	if c.recorder != nil || c.store == nil || !c.store.Keyed() || q.Fresh {
		return nil, false
	}
	old := c.recall(q.subject())
	if !old.authenticated || !c.documentUsable(&old, c.lifetime.Document) {
		return nil, false
	}
	var none kept
	p := prints{old.document.print(), none.print(), none.print(), nil, old.earlierPrints()}
	announced := old.document.traits&announces != 0
	if old.expected(&q.Request, announced) {
		if !c.attestationsUsable(&old, announced) || old.attestations.traits&adopted != 0 {
			return nil, false
		}
		p.attestations = old.attestations.print()
	}
	if q.WantPackument {
		whole := c.recall(subject{registry: q.Registry, name: q.ID.Name})
		if !whole.authenticated || !c.documentUsable(&whole, c.lifetime.Document) {
			return nil, false
		}
		p.packument = whole.document.print()
	}
	if q.Tarball != nil {
		body, ok := c.store.blob(old.document.sum)
		if !ok {
			return nil, false
		}
		if url, digests := q.Tarball(body); url != "" {
			if !c.tarballUsable(&old, url, digests) {
				return nil, false
			}
			p.tarball = old.tarball.print()
		}
	}
	return c.rowFor(&q, &p)
}

// LookupEvidence returns the row kept for a query whose evidence is at hand.
func (c *Collector) LookupEvidence(q Query, ev *Evidence) (value []byte, ok bool) {
	if c.store == nil || !c.store.Keyed() || !ev.Authenticated {
		return nil, false
	}
	p := ev.prints()
	return c.rowFor(&q, &p)
}

// KeepRow keeps a result for a query and the evidence it was made from; the bytes are handed back as they
// are. The result must be a function of the query and the evidence, all times and the answers' URLs aside.
// Nothing is kept of class [Unkept], nor where evidence came out of the cache unauthenticated.
func (c *Collector) KeepRow(q Query, ev *Evidence, class Class, value []byte) {
	if c.store == nil || !c.store.Keyed() || !ev.Authenticated || class != Passing && class != Lasting {
		return
	}
	p := ev.prints()
	key := p.rowKey(&q)
	r := row{class, c.now().UTC(), sha256.Sum256(value)}
	_, known := c.store.row(key, func(old row) bool {
		return old.class == class && old.value == r.value && (class == Lasting || !old.at.Before(r.at))
	})
	if !known {
		c.store.putBlob(value)
		c.store.putRow(key, r)
	}
}

func (c *Collector) rowFor(q *Query, p *prints) (value []byte, ok bool) {
	return c.store.row(p.rowKey(q), func(r row) bool {
		return r.class == Lasting || r.class == Passing && c.fresh(r.at, c.lifetime.Row)
	})
}

// Prints are what is left of evidence when only equality matters: the same whether made from the bytes or
// from the index.
type prints struct {
	document, attestations, packument, tarball []byte
	earlier                                    [][]byte
}

// rowKey is the digest of all inputs of verification.
func (p *prints) rowKey(q *Query) sum {
	parts := append([][]byte{p.document, p.attestations, p.packument, p.tarball}, p.earlier...)
	evidence := digest(domainEvidence, parts...)
	return digest(domainRowKey,
		[]byte(q.ID.Name), []byte(q.ID.Version), []byte(q.Registry), []byte(q.Integrity), []byte(q.Resolved),
		evidence[:], q.TrustRoot[:], q.Keys[:], []byte(q.Options), []byte(q.Checks))
}

func (ev *Evidence) prints() prints {
	p := prints{
		document:     ev.Document.print(),
		attestations: ev.Attestations.print(),
		packument:    ev.Packument.print(),
	}
	if t := ev.Tarball; t != nil {
		k := t.keep()
		if t.Manifest != nil {
			k.manifest = sha256.Sum256(t.Manifest)
		}
		p.tarball = append(k.print(), t.Reason...)
	}
	for _, e := range ev.Earlier {
		var was pair
		if e.Document != nil {
			was.document = sha256.Sum256(e.Document)
		}
		if e.Attestations != nil {
			was.attestations = sha256.Sum256(e.Attestations)
		}
		p.earlier = append(p.earlier, was.print())
	}
	return p
}

func (e *entry) earlierPrints() [][]byte {
	var out [][]byte
	for _, p := range e.earlier {
		out = append(out, p.print())
	}
	return out
}

func (a Answer) print() []byte {
	k := kept{state: a.State, status: a.Status}
	if a.State == Served {
		k.sum = sha256.Sum256(a.Body)
	}
	return append(k.print(), a.Reason...)
}

func (k kept) print() []byte {
	b := []byte{byte(k.state)}
	b = binary.AppendUvarint(b, uint64(k.status))
	return append(b, k.sum[:]...)
}

func (k *keptTarball) print() []byte {
	c := *k
	c.at = time.Time{}
	return c.append(nil)
}

func (p pair) print() []byte {
	return append(p.document[:], p.attestations[:]...)
}

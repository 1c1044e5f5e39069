package evidence

import (
	"context"
	"crypto/sha256"
	"errors"
	"io"
	"sync"
	"time"

	"assay/internal/budget"
	"assay/internal/npm"
)

// Lifetimes say for how long an authenticated answer stands for the registry's own, without a request.
// Zero takes the default; a negative one means never.
type Lifetimes struct {
	Document     time.Duration // version documents, full documents, tarballs; 24 hours
	Attestations time.Duration // attestation lists, which do not change once published; 30 days
	Absent       time.Duration // "there are no attestations", where none were announced; 6 hours
	Keys         time.Duration // a registry's own keys; 24 hours
	Row          time.Duration // rows of class [Passing]; 24 hours
}

func (l Lifetimes) withDefaults() Lifetimes {
	for _, d := range []struct {
		value *time.Duration
		def   time.Duration
	}{
		{&l.Document, 24 * time.Hour},
		{&l.Attestations, 30 * 24 * time.Hour},
		{&l.Absent, 6 * time.Hour},
		{&l.Keys, 24 * time.Hour},
		{&l.Row, 24 * time.Hour},
	} {
		if *d.value == 0 {
			*d.value = d.def
		}
	}
	return l
}

// How long a registry that gave no keys is left alone.
const keysRetry = time.Minute

// CollectorOptions make a collector.
type CollectorOptions struct {
	Fetcher   Fetcher           // nil: offline
	Store     *Store            // nil: nothing is kept
	Explain   func(error) Fault // reads a Fetcher's errors; nil: by their methods Reason and NotFound
	Lifetimes Lifetimes
	Now       func() time.Time // nil: time.Now

	// Archive answers every question by itself, without Fetcher and Store; nil: there is none.
	Archive *Archive
	// Recorder is told of everything that is handed out. No result is then taken from the Store in place of the
	// evidence that it rests on.
	Recorder *Recorder
}

// A Collector gathers evidence, with as few requests as the questions allow. It is safe for concurrent use.
//
// What it takes from the [Store] depends on whether the entry is authenticated:
//
//   - Authenticated: answers are used within their lifetime, without a request.
//   - Not authenticated, online: everything is asked for again, since whoever filled the cache could alter what
//     no signature covers, and could put in a list that verifies and is not what the registry serves: with
//     another's provenance of the same bytes in it, or of a version whose attestations are gone.
//   - Not authenticated, offline: documents and attestations are used, and the evidence says so. Whatever an
//     unsigned claim in it decides is then undecided. An absence is not believed.
//   - Keys and tarball digests are never taken from an entry that is not authenticated: whoever chose the
//     keys could sign anything.
//
// A caller that sees evidence with FromCache fail asks again with [Request].Fresh before it reports that.
type Collector struct {
	fetcher  Fetcher
	store    *Store
	explain  func(error) Fault
	lifetime Lifetimes
	now      func() time.Time
	archive  *Archive
	big      *budget.Pool // for the archive's large pieces
	recorder *Recorder

	keyFlights, packuments flights
	mu                     sync.Mutex
	keys                   map[string]Answer // by registry: what this run was told
}

// NewCollector makes a collector.
func NewCollector(o CollectorOptions) *Collector {
	c := &Collector{
		fetcher:  o.Fetcher,
		store:    o.Store,
		explain:  o.Explain,
		lifetime: o.Lifetimes.withDefaults(),
		now:      o.Now,
		keys:     make(map[string]Answer),
		archive:  o.Archive,
		big:      budget.NewPool(1),
		recorder: o.Recorder,
	}
	if c.archive != nil {
		c.fetcher, c.store = nil, nil
	}
	if c.explain == nil {
		c.explain = explain
	}
	if c.now == nil {
		c.now = time.Now
	}
	return c
}

// A Request says what is to be known about one package version.
type Request struct {
	ID       npm.ID
	Registry string // base URL without a trailing slash

	// Expected: attestations are asked for though none are announced, because they are known of from
	// elsewhere (a pin, a policy), or because their absence is to be certain.
	Expected bool

	// WantPackument: the package's full document is wanted too, for the time of publishing.
	WantPackument bool

	// Tarball chooses which tarball to read, given the version document, and which digests to compute beside
	// SHA-512: "sha384", "sha256", "sha1". An empty URL means none. Nil: no tarball is wanted.
	Tarball func(document []byte) (url string, digests []string)

	// Fresh: nothing is taken from the cache.
	Fresh bool
}

func (r Request) subject() subject { return subject{r.Registry, r.ID.Name, r.ID.Version} }

// recall is what the store has for a request.
type recall struct {
	entry
	authenticated bool
}

func (c *Collector) recall(about subject) recall {
	if c.store == nil {
		return recall{}
	}
	e, authenticated := c.store.entry(about)
	if e == nil {
		return recall{}
	}
	return recall{*e, authenticated}
}

func (c *Collector) offline() bool { return c.fetcher == nil }

// fresh reports whether a time lies within a lifetime.
func (c *Collector) fresh(at time.Time, lifetime time.Duration) bool {
	age := c.now().Sub(at)
	return age < lifetime && age > -clockSkew
}

// The three rules of use. They look at what is kept, not at the bytes, which may turn out to be gone.

func (c *Collector) documentUsable(r *recall, lifetime time.Duration) bool {
	return r.document.state == Served &&
		(c.offline() || r.authenticated && c.fresh(r.document.at, lifetime))
}

func (c *Collector) attestationsUsable(r *recall, announced bool) bool {
	switch r.attestations.state {
	case Served:
		return c.offline() ||
			r.authenticated && r.attestations.traits&adopted == 0 && c.fresh(r.attestations.at, c.lifetime.Attestations)
	case Absent:
		// Announced and not there is trouble, and trouble is looked at again.
		return r.authenticated && !announced &&
			(c.offline() || c.fresh(r.attestations.at, c.lifetime.Absent))
	}
	return false
}

func (c *Collector) tarballUsable(r *recall, url string, digests []string) bool {
	t := r.tarball
	if t == nil || t.url != url || !r.authenticated || !c.offline() && !c.fresh(t.at, c.lifetime.Document) {
		return false
	}
	for _, name := range digests {
		if i := digestIndex(name); i >= 0 && t.digests[i] == nil || name == WithFiles {
			return false // its files are not kept
		}
	}
	return true
}

// expected reports whether attestations must be asked for, given that the document's own announcement is known.
func (r *recall) expected(req *Request, announced bool) bool {
	if announced || req.Expected || r.attestations.state == Served {
		return true
	}
	for _, p := range r.earlier {
		if p.rank() > 1 { // attestations, or a document that announced some
			return true
		}
	}
	return false
}

// Collect gathers what a request asks for. Trouble with the package is part of the evidence, never an
// error: an answer that could not be had is Unavailable. Keys are not among it, see [Collector.Keys].
func (c *Collector) Collect(ctx context.Context, req Request) *Evidence {
	var ev *Evidence
	if c.archive != nil {
		ev = c.archive.collect(ctx, c.big, req)
	} else {
		ev = c.collect(ctx, req)
	}
	if c.recorder != nil {
		c.recorder.collected(req, ev)
	}
	return ev
}

// Replays reports whether the collector answers out of an archive.
func (c *Collector) Replays() bool { return c.archive != nil }

func (c *Collector) collect(ctx context.Context, req Request) *Evidence {
	ev := &Evidence{ID: req.ID, Registry: req.Registry, Authenticated: true}
	old := c.recall(req.subject())
	next := entry{subject: req.subject()}

	changed := c.document(ctx, &req, &old, ev, &next)
	if ev.Document.State == Served {
		changed = c.attestations(ctx, &req, &old, ev, &next) || changed
		changed = c.tarball(ctx, &req, &old, ev, &next) || changed
		if req.WantPackument {
			ev.Packument = c.packument(ctx, &req, ev)
		}
	}
	if c.store == nil {
		return ev
	}
	next.earlier = foldEarlier([]candidate{{&old.entry, old.authenticated}}, next.current(), c.store.has)
	ev.Earlier = c.earlier(&next)
	if c.recorder != nil && req.Fresh && old.authenticated && next.sameAnswers(&old.entry) {
		changed = false // so that recording twice what is the same gives the same
	}
	if changed && next.document.state != NotAsked {
		next.at = c.now().UTC()
		if !next.at.After(old.at) { // a coarse clock, or one that was set back: the later word counts all the same
			next.at = old.at.Add(1)
		}
		c.store.putEntry(&next)
	}
	return ev
}

// sameAnswers reports whether two entries hold the same bytes, whenever they came.
func (e *entry) sameAnswers(o *entry) bool {
	return e.document.state == o.document.state && e.document.sum == o.document.sum &&
		(e.attestations.state == NotAsked || e.attestations.state == o.attestations.state && e.attestations.sum == o.attestations.sum) &&
		e.tarball == nil == (o.tarball == nil)
}

// document answers for the version document, and reports whether there is something new to keep.
func (c *Collector) document(ctx context.Context, req *Request, old *recall, ev *Evidence, next *entry) bool {
	if !req.Fresh && c.documentUsable(old, c.lifetime.Document) {
		if a, ok := c.cached(old.document); ok {
			ev.Document, next.document = a, old.document
			ev.FromCache = true
			ev.Authenticated = ev.Authenticated && old.authenticated
			return false
		}
	}
	a, etag := c.ask(func() (Response, error) { return c.fetcher.Document(ctx, req.Registry, req.ID) })
	ev.Document, next.document = a, c.keep(a, etag)
	next.document.traits = 0
	if a.State == Served {
		next.document.traits = glance(a.Body)
	}
	return a.State != Unavailable
}

// attestations answers for the attestation list where there is reason to ask, and reports whether there is
// something new to keep.
func (c *Collector) attestations(ctx context.Context, req *Request, old *recall, ev *Evidence, next *entry) bool {
	announced := next.document.traits&announces != 0
	if !old.expected(req, announced) {
		if old.authenticated {
			next.attestations = old.attestations
		}
		return false
	}
	// A document that was asked for just now and announces nothing contradicts a list that is kept: whether
	// the registry still serves it is then the question, and the cache cannot answer that.
	contradicted := !announced && next.document != old.document && old.attestations.state == Served
	if !req.Fresh && !(contradicted && !c.offline()) && c.attestationsUsable(old, announced) {
		if a, ok := c.cached(old.attestations); ok {
			ev.Attestations, next.attestations = a, old.attestations
			ev.FromCache = true
			if !old.authenticated {
				next.attestations.traits |= adopted
			}
			ev.Authenticated = ev.Authenticated && next.attestations.traits&adopted == 0
			return false
		}
	}
	a, etag := c.ask(func() (Response, error) { return c.fetcher.Attestations(ctx, req.Registry, req.ID) })
	ev.Attestations, next.attestations = a, c.keep(a, etag)
	return a.State != Unavailable
}

// tarball reads the tarball where one is wanted, and reports whether there is something new to keep.
func (c *Collector) tarball(ctx context.Context, req *Request, old *recall, ev *Evidence, next *entry) bool {
	if old.authenticated {
		next.tarball = old.tarball
	}
	if req.Tarball == nil {
		return false
	}
	url, digests := req.Tarball(ev.Document.Body)
	if url == "" {
		return false
	}
	if !req.Fresh && c.tarballUsable(old, url, digests) {
		if t, ok := c.cachedTarball(old.tarball); ok {
			ev.Tarball, ev.FromCache = t, true
			return false
		}
	}
	if c.offline() {
		ev.Tarball = &Tarball{URL: url, Reason: "offline", Detail: offlineDetail}
		return false
	}
	var t *Tarball
	err := c.fetcher.TarballFrom(ctx, req.Registry, req.ID.Name, url, func(r io.Reader) (err error) {
		t, err = ReadTarball(r, digests...)
		return err
	})
	if err == nil && t == nil {
		err = errors.New("the registry client gave no bytes")
	}
	if err != nil {
		reason := c.explain(err).Reason
		if limit := new(LimitError); errors.As(err, &limit) {
			reason = limit.Reason() // ours, which an Explain need not know
		}
		ev.Tarball = &Tarball{URL: url, Reason: reason, Detail: err.Error()}
		return false
	}
	t.URL = url
	ev.Tarball = t
	if c.store == nil {
		return false
	}
	next.tarball = t.keep()
	next.tarball.at = c.now().UTC()
	if t.Manifest != nil {
		next.tarball.manifest = c.store.putBlob(t.Manifest)
	}
	return true
}

// keep makes of a tarball what an index entry holds of it, time and manifest aside.
func (t *Tarball) keep() *keptTarball {
	k := &keptTarball{url: t.URL, size: t.Size, hasManifest: t.Manifest != nil, problem: t.Problem, gyp: t.Gyp}
	for i, d := range t.digests() {
		k.digests[i] = *d
	}
	return k
}

// earlier returns what earlier runs were served and what is not current.
func (c *Collector) earlier(e *entry) []Earlier {
	var out []Earlier
	for _, p := range e.earlier {
		was := Earlier{At: p.at}
		if p.document != (sum{}) {
			was.Document, _ = c.store.blobUpTo(p.document, maxEarlierBlob)
		}
		if p.attestations != (sum{}) {
			was.Attestations, _ = c.store.blobUpTo(p.attestations, maxEarlierBlob)
		}
		if was.Document != nil || was.Attestations != nil {
			out = append(out, was)
		}
	}
	return out
}

// packument answers for the full document of a package, once for all its versions that ask meanwhile.
func (c *Collector) packument(ctx context.Context, req *Request, ev *Evidence) Answer {
	about := subject{registry: req.Registry, name: req.ID.Name}
	old := c.recall(about)
	if !req.Fresh && c.documentUsable(&old, c.lifetime.Document) {
		if a, ok := c.cached(old.document); ok {
			ev.FromCache = true
			ev.Authenticated = ev.Authenticated && old.authenticated
			return a
		}
	}
	return c.packuments.do(ctx, req.Registry+"\x00"+req.ID.Name, func() Answer {
		a, etag := c.ask(func() (Response, error) { return c.fetcher.Packument(ctx, req.Registry, req.ID.Name) })
		c.put(about, a, etag)
		return a
	})
}

// Keys answers for a registry's own keys, GET /-/npm/v1/keys, once for all that ask. Bytes out of the cache
// are authenticated, always. What the keys are worth is not decided here: that the registry was named by
// somebody who may, for one thing.
func (c *Collector) Keys(ctx context.Context, registry string) Answer {
	if c.archive != nil {
		return c.archive.keys(ctx, c.big, registry)
	}
	a := c.askKeys(ctx, registry)
	if c.recorder != nil {
		c.recorder.asked(registry, a)
	}
	return a
}

func (c *Collector) askKeys(ctx context.Context, registry string) Answer {
	return c.keyFlights.do(ctx, registry, func() Answer {
		c.mu.Lock()
		a, ok := c.keys[registry]
		c.mu.Unlock()
		lifetime := c.lifetime.Keys
		if a.State == Unavailable {
			lifetime = keysRetry
		}
		if ok && c.fresh(a.At, lifetime) {
			return a
		}
		about := subject{registry: registry}
		old := c.recall(about)
		a, ok = Answer{}, false
		if old.authenticated && c.documentUsable(&old, c.lifetime.Keys) {
			a, ok = c.cached(old.document)
		}
		if !ok {
			var etag string
			a, etag = c.ask(func() (Response, error) { return c.fetcher.Keys(ctx, registry) })
			c.put(about, a, etag)
		}
		if ctx.Err() == nil {
			c.mu.Lock()
			c.keys[registry] = a
			c.mu.Unlock()
		}
		return a
	})
}

const offlineDetail = "there is no network to ask, and the cache has nothing that may be used"

// ask puts a question to the registry.
func (c *Collector) ask(question func() (Response, error)) (a Answer, etag string) {
	if c.offline() {
		return Answer{State: Unavailable, Reason: "offline", Detail: offlineDetail, At: c.now().UTC()}, ""
	}
	r, err := question()
	if err != nil {
		f := c.explain(err)
		a = Answer{State: Unavailable, URL: f.URL, Status: f.Status, At: c.now().UTC()}
		if f.Absent {
			a.State = Absent
			if a.Status == 0 {
				a.Status = 404
			}
		} else {
			a.Reason, a.Detail = f.Reason, err.Error()
		}
		return a, ""
	}
	a = Answer{State: Served, URL: r.URL, Status: r.Status, Body: r.Body, At: r.At.Round(0).UTC()}
	if r.At.IsZero() {
		a.At = c.now().UTC()
	}
	if a.Body == nil {
		a.Body = []byte{}
	}
	return a, r.ETag
}

// keep stores an answer's bytes and says what an index entry should hold of it: nothing of one that is
// larger than maxBlob.
func (c *Collector) keep(a Answer, etag string) kept {
	if c.store == nil || a.State != Served && a.State != Absent || len(a.Body) > maxBlob {
		return kept{}
	}
	k := kept{state: a.State, status: a.Status, at: a.At}
	if len(etag) <= maxText {
		k.etag = etag
	}
	if a.State == Served {
		k.sum = c.store.putBlob(a.Body)
	}
	return k
}

// put keeps an answer that makes an entry of its own.
func (c *Collector) put(about subject, a Answer, etag string) {
	if c.store == nil || a.State != Served {
		return
	}
	k := c.keep(a, etag)
	if len(a.Body) > maxBlob {
		// The digest alone, by which results are found again that rest on the answer.
		k = kept{state: a.State, status: a.Status, at: a.At, sum: sha256.Sum256(a.Body)}
	}
	c.store.putEntry(&entry{subject: about, at: c.now().UTC(), document: k})
}

// maxBlob bounds an answer that is kept, in bytes. Real ones but for full documents stay below, and a
// registry that serves larger ones cannot fill the disk, nor the memory of the runs to come: what is read
// from the cache takes no place in any budget. maxEarlierBlob bounds one of the answers of earlier runs, of
// which there may be several for a package.
const (
	maxBlob        = 1 << 20
	maxEarlierBlob = 256 << 10
)

// cached makes an answer of what is kept. It is not ok if the bytes are gone or damaged.
func (c *Collector) cached(k kept) (a Answer, ok bool) {
	a = Answer{State: k.state, Status: k.status, At: k.at}
	if k.state == Served {
		if a.Body, ok = c.store.blob(k.sum); !ok {
			return Answer{}, false
		}
	}
	return a, true
}

func (c *Collector) cachedTarball(k *keptTarball) (*Tarball, bool) {
	t := &Tarball{URL: k.url, Size: k.size, Problem: k.problem, Gyp: k.gyp}
	for i, d := range t.digests() {
		*d = k.digests[i]
	}
	if k.hasManifest {
		var ok bool
		if t.Manifest, ok = c.store.blob(k.manifest); !ok {
			return nil, false
		}
	}
	return t, true
}

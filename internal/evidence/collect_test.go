package evidence

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"assay/internal/npm"
)

const registry = "https://registry.example"

var (
	testKey  = bytes.Repeat([]byte{7}, KeySize)
	otherKey = bytes.Repeat([]byte{8}, KeySize)
	noon     = time.Date(2026, 5, 4, 12, 0, 0, 0, time.UTC)
)

// A refusal is what the fake registry's client returns instead of an answer.
type refusal struct {
	reason string
	absent bool
}

func (r *refusal) Error() string  { return "registry: " + r.reason }
func (r *refusal) Reason() string { return r.reason }
func (r *refusal) NotFound() bool { return r.absent }

var (
	errNotFound = &refusal{"not-found", true}
	errTimeout  = &refusal{"timeout", false}
)

// fakeRegistry answers from maps and records what it was asked.
type fakeRegistry struct {
	mu                                                             sync.Mutex
	documents, attestations, keys, packuments, tarball, advisories map[string]any // []byte, string or error
	asked                                                          []string
	gate                                                           chan struct{} // not nil: answers wait for it
}

func newFakeRegistry() *fakeRegistry {
	return &fakeRegistry{
		documents: map[string]any{}, attestations: map[string]any{}, keys: map[string]any{},
		packuments: map[string]any{}, tarball: map[string]any{}, advisories: map[string]any{},
	}
}

func (f *fakeRegistry) answer(ctx context.Context, what string, m map[string]any, key string) ([]byte, error) {
	f.mu.Lock()
	f.asked = append(f.asked, what+" "+key)
	v := m[key]
	f.mu.Unlock()
	if f.gate != nil {
		select {
		case <-f.gate:
		case <-ctx.Done():
		}
	}
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	switch v := v.(type) {
	case error:
		return nil, fmt.Errorf("getting %s of %s: %w", what, key, v)
	case string:
		return []byte(v), nil
	}
	return nil, errNotFound
}

// took returns what was asked since the last call, sorted.
func (f *fakeRegistry) took() []string {
	f.mu.Lock()
	defer f.mu.Unlock()
	a := f.asked
	f.asked = nil
	slices.Sort(a)
	return a
}

type reply struct{ body []byte } // stands for the client's own type of response

func (f *fakeRegistry) reply(b []byte, err error) (*reply, error) {
	if err != nil {
		return nil, err
	}
	return &reply{b}, nil
}

func (f *fakeRegistry) Document(ctx context.Context, r string, id npm.ID) (*reply, error) {
	return f.reply(f.answer(ctx, "document", f.documents, id.String()))
}
func (f *fakeRegistry) Attestations(ctx context.Context, r string, id npm.ID) (*reply, error) {
	return f.reply(f.answer(ctx, "attestations", f.attestations, id.String()))
}
func (f *fakeRegistry) Keys(ctx context.Context, r string) (*reply, error) {
	return f.reply(f.answer(ctx, "keys", f.keys, r))
}
func (f *fakeRegistry) Packument(ctx context.Context, r, name string) (*reply, error) {
	return f.reply(f.answer(ctx, "packument", f.packuments, name))
}
func (f *fakeRegistry) Advisories(ctx context.Context, r string, versions map[string][]string) (*reply, error) {
	return f.reply(f.answer(ctx, "advisories", f.advisories, r))
}
func (f *fakeRegistry) TarballFrom(ctx context.Context, registry, name, url string, fn func(io.Reader) error) error {
	b, err := f.answer(ctx, "tarball", f.tarball, url)
	if err != nil {
		return err
	}
	return fn(bytes.NewReader(b))
}

// A bench is a registry, a cache directory and a clock.
type bench struct {
	t        *testing.T
	registry *fakeRegistry
	dir      string
	now      time.Time
}

func newBench(t *testing.T) *bench {
	return &bench{t: t, registry: newFakeRegistry(), dir: t.TempDir(), now: noon}
}

// run opens the cache, lets fn collect, and closes it, as one process would.
func (b *bench) run(key []byte, offline bool, fn func(*Collector)) {
	b.t.Helper()
	store, err := OpenStore(StoreOptions{Dir: b.dir, Key: key, Now: func() time.Time { return b.now }})
	if err != nil {
		b.t.Fatal(err)
	}
	o := CollectorOptions{Store: store, Now: func() time.Time { return b.now }}
	if !offline {
		o.Fetcher = FetcherFor(b.registry, func(r *reply) Response {
			return Response{URL: "https://asked.example/", Status: 200, ETag: `"e"`, Body: r.body, At: b.now}
		})
	}
	fn(NewCollector(o))
	if err := store.Close(); err != nil {
		b.t.Fatal(err)
	}
}

// collect is one run for one request.
func (b *bench) collect(key []byte, req Request) *Evidence {
	b.t.Helper()
	var ev *Evidence
	b.run(key, false, func(c *Collector) { ev = c.Collect(context.Background(), req) })
	return ev
}

func (b *bench) offline(key []byte, req Request) *Evidence {
	b.t.Helper()
	var ev *Evidence
	b.run(key, true, func(c *Collector) { ev = c.Collect(context.Background(), req) })
	return ev
}

// wantAsked checks what the registry was asked since the last check.
func (b *bench) wantAsked(want ...string) {
	b.t.Helper()
	if got := b.registry.took(); !slices.Equal(got, want) {
		b.t.Errorf("the registry was asked %q, want %q", got, want)
	}
}

func want(id npm.ID) Request { return Request{ID: id, Registry: registry} }

var (
	plain    = npm.ID{Name: "plain", Version: "1.0.0"}
	attested = npm.ID{Name: "@acme/attested", Version: "2.0.0"}
)

const (
	plainDoc    = `{"name":"plain","version":"1.0.0","dist":{"integrity":"sha512-AA==","signatures":[{"keyid":"k","sig":"s"}]}}`
	attestedDoc = `{"name":"@acme/attested","version":"2.0.0","dist":{"attestations":{"url":"u"},"signatures":[{"keyid":"k","sig":"s"}]}}`
	strippedDoc = `{"name":"@acme/attested","version":"2.0.0","dist":{"signatures":[{"keyid":"k","sig":"s"}]}}`
	attList     = `{"attestations":[{"predicateType":"p","bundle":{}}]}`
	badList     = `{"attestations":[{"predicateType":"p","bundle":"altered"}]}`
)

func (b *bench) serveBoth() {
	b.registry.documents[plain.String()] = plainDoc
	b.registry.documents[attested.String()] = attestedDoc
	b.registry.attestations[attested.String()] = attList
}

func check(t *testing.T, what string, a Answer, state State, body string) {
	t.Helper()
	if a.State != state || string(a.Body) != body {
		t.Errorf("%s is %v %q, want %v %q", what, a.State, a.Body, state, body)
	}
}

func checkFlags(t *testing.T, ev *Evidence, fromCache, authenticated bool) {
	t.Helper()
	if ev.FromCache != fromCache || ev.Authenticated != authenticated {
		t.Errorf("FromCache %v, Authenticated %v, want %v, %v", ev.FromCache, ev.Authenticated, fromCache, authenticated)
	}
}

func TestCollectAsksForTheLeast(t *testing.T) {
	b := newBench(t)
	b.serveBoth()

	ev := b.collect(testKey, want(plain))
	check(t, "document", ev.Document, Served, plainDoc)
	check(t, "attestations", ev.Attestations, NotAsked, "")
	checkFlags(t, ev, false, true)
	if ev.Document.URL == "" || ev.Document.Status != 200 || !ev.Document.At.Equal(noon) {
		t.Errorf("document is %+v", ev.Document)
	}
	b.wantAsked("document plain@1.0.0")

	ev = b.collect(testKey, want(attested))
	check(t, "document", ev.Document, Served, attestedDoc)
	check(t, "attestations", ev.Attestations, Served, attList)
	b.wantAsked("attestations @acme/attested@2.0.0", "document @acme/attested@2.0.0")

	// Within the lifetime there is nothing to ask; at its end the document is asked for again, and the
	// attestations, which do not change, are not.
	for range 2 {
		b.now = b.now.Add(11 * time.Hour)
		ev = b.collect(testKey, want(attested))
		check(t, "document", ev.Document, Served, attestedDoc)
		check(t, "attestations", ev.Attestations, Served, attList)
		checkFlags(t, ev, true, true)
		b.wantAsked()
	}
	b.now = b.now.Add(3 * time.Hour)
	ev = b.collect(testKey, want(attested))
	checkFlags(t, ev, true, true)
	b.wantAsked("document @acme/attested@2.0.0")
	b.collect(testKey, want(attested))
	b.wantAsked()

	// Expected ones are asked for, and that there are none is remembered for a while.
	req := want(plain)
	req.Expected = true
	for range 2 {
		ev = b.collect(testKey, req)
		check(t, "attestations", ev.Attestations, Absent, "")
		if ev.Attestations.Status != 404 {
			t.Errorf("status %d, want 404", ev.Attestations.Status)
		}
	}
	b.wantAsked("attestations plain@1.0.0", "document plain@1.0.0")
	b.now = b.now.Add(7 * time.Hour)
	b.collect(testKey, req)
	b.wantAsked("attestations plain@1.0.0")

	// Fresh passes the cache by.
	req = want(attested)
	req.Fresh = true
	ev = b.collect(testKey, req)
	checkFlags(t, ev, false, true)
	b.wantAsked("attestations @acme/attested@2.0.0", "document @acme/attested@2.0.0")
}

func TestCollectWithoutStore(t *testing.T) {
	f := newFakeRegistry()
	f.documents[attested.String()] = attestedDoc
	f.attestations[attested.String()] = attList
	c := NewCollector(CollectorOptions{Fetcher: FetcherFor(f, func(r *reply) Response { return Response{Status: 200, Body: r.body} })})
	ev := c.Collect(context.Background(), want(attested))
	check(t, "document", ev.Document, Served, attestedDoc)
	check(t, "attestations", ev.Attestations, Served, attList)
	checkFlags(t, ev, false, true)
	if ev.Document.At.IsZero() {
		t.Error("an answer without a time got none")
	}
	q := Query{Request: want(attested)}
	c.KeepRow(q, ev, Lasting, []byte("row"))
	if _, ok := c.Lookup(q); ok {
		t.Error("a row came from nowhere")
	}
	if _, ok := c.LookupEvidence(q, ev); ok {
		t.Error("a row came from nowhere")
	}
}

func TestCollectRecordsTrouble(t *testing.T) {
	b := newBench(t)
	b.serveBoth()
	b.registry.attestations[attested.String()] = errTimeout
	ev := b.collect(testKey, want(attested))
	check(t, "document", ev.Document, Served, attestedDoc)
	check(t, "attestations", ev.Attestations, Unavailable, "")
	if a := ev.Attestations; a.Reason != "timeout" || !strings.Contains(a.Detail, "attestations of @acme/attested@2.0.0") {
		t.Errorf("attestations are %+v", a)
	}
	b.registry.took()

	// It is not remembered: what was announced is asked for again, the document is not.
	b.registry.attestations[attested.String()] = errNotFound
	ev = b.collect(testKey, want(attested))
	check(t, "attestations", ev.Attestations, Absent, "")
	b.wantAsked("attestations @acme/attested@2.0.0")

	// Nor is it that what is announced is not there.
	b.registry.attestations[attested.String()] = attList
	ev = b.collect(testKey, want(attested))
	check(t, "attestations", ev.Attestations, Served, attList)
	b.wantAsked("attestations @acme/attested@2.0.0")

	// An unreachable document leaves what is kept as it was.
	b.registry.documents[attested.String()] = errTimeout
	b.now = b.now.Add(25 * time.Hour)
	ev = b.collect(testKey, want(attested))
	check(t, "document", ev.Document, Unavailable, "")
	check(t, "attestations", ev.Attestations, NotAsked, "")
	if len(ev.Earlier) != 1 || string(ev.Earlier[0].Attestations) != attList || string(ev.Earlier[0].Document) != attestedDoc {
		t.Errorf("earlier is %q", ev.Earlier)
	}
	b.registry.took()
	b.registry.documents[attested.String()] = attestedDoc
	ev = b.collect(testKey, want(attested))
	check(t, "attestations", ev.Attestations, Served, attList)
	b.wantAsked("document @acme/attested@2.0.0")

	// A version that is gone.
	b.registry.documents[attested.String()] = errNotFound
	req := want(attested)
	req.Fresh = true
	ev = b.collect(testKey, req)
	check(t, "document", ev.Document, Absent, "")
	b.registry.took()
	ev = b.collect(testKey, want(attested))
	check(t, "document", ev.Document, Absent, "")
	if len(ev.Earlier) != 1 {
		t.Errorf("earlier is %q", ev.Earlier)
	}
	b.wantAsked("document @acme/attested@2.0.0")

	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	b.run(testKey, false, func(c *Collector) { ev = c.Collect(ctx, want(plain)) })
	check(t, "document", ev.Document, Unavailable, "")
	if ev.Document.Reason != "canceled" {
		t.Errorf("reason %q", ev.Document.Reason)
	}
}

func TestEarlierEvidenceIsKept(t *testing.T) {
	b := newBench(t)
	b.serveBoth()
	b.collect(testKey, want(attested))
	b.registry.took()

	// The registry now serves less: the announcement is gone, and so is the list.
	b.registry.documents[attested.String()] = strippedDoc
	delete(b.registry.attestations, attested.String())
	b.now = b.now.Add(31 * 24 * time.Hour)
	for range 3 {
		ev := b.collect(testKey, want(attested))
		check(t, "document", ev.Document, Served, strippedDoc)
		check(t, "attestations", ev.Attestations, Absent, "")
		if len(ev.Earlier) != 1 || string(ev.Earlier[0].Document) != attestedDoc ||
			string(ev.Earlier[0].Attestations) != attList || !ev.Earlier[0].At.Equal(noon) {
			t.Errorf("earlier is %+v", ev.Earlier)
		}
		b.now = b.now.Add(25 * time.Hour)
		b.wantAsked("attestations @acme/attested@2.0.0", "document @acme/attested@2.0.0")
	}

	// It serves the same again: the list is current, the announcement as well, the stripped document is earlier.
	b.serveBoth()
	ev := b.collect(testKey, want(attested))
	check(t, "attestations", ev.Attestations, Served, attList)
	if len(ev.Earlier) != 1 || string(ev.Earlier[0].Document) != strippedDoc || ev.Earlier[0].Attestations != nil {
		t.Errorf("earlier is %+v", ev.Earlier)
	}

	// However often it changes, little is kept, and the lists before all else.
	for i := range 20 {
		b.registry.documents[attested.String()] = strings.Replace(strippedDoc, "k", fmt.Sprint("k", i), 1)
		b.now = b.now.Add(25 * time.Hour)
		b.collect(testKey, want(attested))
	}
	b.registry.attestations[attested.String()] = errNotFound
	req := want(attested)
	req.Fresh = true
	ev = b.collect(testKey, req)
	if len(ev.Earlier) != maxEarlier || string(ev.Earlier[0].Attestations) != attList {
		t.Errorf("earlier is %d long: %+v", len(ev.Earlier), ev.Earlier)
	}

	// Nor does serving one list after the other make us forget the first.
	for i := range 20 {
		b.registry.attestations[attested.String()] = fmt.Sprintf(`{"attestations":[%d]}`, i)
		b.now = b.now.Add(time.Hour)
		ev = b.collect(testKey, req)
		if !slices.ContainsFunc(ev.Earlier, func(e Earlier) bool { return string(e.Attestations) == attList }) {
			t.Fatalf("after %d other lists the first one is forgotten", i)
		}
	}
	if len(ev.Earlier) != maxEarlier || string(ev.Earlier[0].Attestations) != `{"attestations":[18]}` {
		t.Errorf("earlier is %+v", ev.Earlier)
	}
}

func TestEarlierEvidenceOfConcurrentRuns(t *testing.T) {
	b := newBench(t)
	b.serveBoth()
	b.run(testKey, false, func(c *Collector) {
		b.run(testKey, false, func(d *Collector) { // does not see what c writes, nor c what d does
			d.Collect(context.Background(), want(attested))
			b.now = b.now.Add(time.Minute)
			b.registry.documents[attested.String()] = strippedDoc
			b.registry.attestations[attested.String()] = errNotFound
			c.Collect(context.Background(), want(attested))
		})
	})
	b.registry.took()
	ev := b.collect(testKey, want(attested))
	check(t, "document", ev.Document, Served, strippedDoc)
	if len(ev.Earlier) != 1 || string(ev.Earlier[0].Attestations) != attList {
		t.Errorf("earlier is %+v", ev.Earlier)
	}
	// That there were some is reason to ask.
	b.wantAsked("attestations @acme/attested@2.0.0")
}

func TestKeys(t *testing.T) {
	b := newBench(t)
	b.registry.keys[registry] = `{"keys":[]}`
	b.registry.gate = make(chan struct{})
	b.run(testKey, false, func(c *Collector) {
		// One request for all that ask, though the first asker gives up.
		ctx, cancel := context.WithCancel(context.Background())
		var wg sync.WaitGroup
		wg.Go(func() {
			if a := c.Keys(ctx, registry); a.State != Unavailable {
				t.Errorf("a canceled request gave %+v", a)
			}
		})
		for len(b.registry.took()) == 0 {
			time.Sleep(time.Millisecond)
		}
		var served atomic.Int32
		for range 20 {
			wg.Go(func() {
				if a := c.Keys(context.Background(), registry); a.State == Served {
					served.Add(1)
				}
			})
		}
		cancel()
		close(b.registry.gate)
		wg.Wait()
		if served.Load() != 20 {
			t.Errorf("%d of 20 were served", served.Load())
		}
		if got := b.registry.took(); len(got) != 1 {
			t.Errorf("asked %q", got)
		}
	})
	b.run(testKey, false, func(c *Collector) { check(t, "keys", c.Keys(context.Background(), registry), Served, `{"keys":[]}`) })
	b.run(testKey, true, func(c *Collector) { check(t, "keys", c.Keys(context.Background(), registry), Served, `{"keys":[]}`) })
	b.wantAsked()

	// Keys that anybody may have put there are no keys, with and without a network.
	for _, key := range [][]byte{nil, otherKey} {
		b.run(key, true, func(c *Collector) {
			a := c.Keys(context.Background(), registry)
			check(t, "keys", a, Unavailable, "")
			if a.Reason != "offline" {
				t.Errorf("reason %q", a.Reason)
			}
		})
		b.wantAsked()
		b.run(key, false, func(c *Collector) {
			for range 3 {
				check(t, "keys", c.Keys(context.Background(), registry), Served, `{"keys":[]}`)
			}
		})
		b.wantAsked("keys " + registry)
	}

	// A registry that gives none is left alone for a moment.
	b.run(testKey, false, func(c *Collector) {
		other := "https://other.example"
		b.registry.keys[other] = errTimeout
		for range 3 {
			check(t, "keys", c.Keys(context.Background(), other), Unavailable, "")
		}
		b.wantAsked("keys " + other)
		b.now = b.now.Add(2 * time.Minute)
		delete(b.registry.keys, other)
		for range 3 {
			check(t, "keys", c.Keys(context.Background(), other), Absent, "")
		}
		b.wantAsked("keys " + other)
	})
}

func TestPackument(t *testing.T) {
	b := newBench(t)
	b.serveBoth()
	b.registry.packuments["plain"] = `{"time":{}}`
	req := want(plain)
	req.WantPackument = true
	ev := b.collect(testKey, req)
	check(t, "packument", ev.Packument, Served, `{"time":{}}`)
	b.wantAsked("document plain@1.0.0", "packument plain")
	ev = b.collect(testKey, req)
	check(t, "packument", ev.Packument, Served, `{"time":{}}`)
	checkFlags(t, ev, true, true)
	b.wantAsked()
	ev = b.collect(nil, req)
	checkFlags(t, ev, false, true)
	b.wantAsked("document plain@1.0.0", "packument plain")
	ev = b.offline(nil, req)
	check(t, "packument", ev.Packument, Served, `{"time":{}}`)
	checkFlags(t, ev, true, false)
}

func TestCollectTarball(t *testing.T) {
	b := newBench(t)
	b.serveBoth()
	url := "https://registry.example/plain.tgz"
	b.registry.tarball[url] = string(pack(t, file("package/package.json", `{"name":"plain"}`)))
	digests := []string{}
	req := want(plain)
	req.Tarball = func(doc []byte) (string, []string) {
		if string(doc) != plainDoc {
			t.Errorf("the document is %q", doc)
		}
		return url, digests
	}
	ev := b.collect(testKey, req)
	first := ev.Tarball
	if first == nil || first.URL != url || string(first.Manifest) != `{"name":"plain"}` || len(first.SHA512) != 64 || first.SHA1 != nil {
		t.Fatalf("tarball is %+v", first)
	}
	b.wantAsked("document plain@1.0.0", "tarball "+url)
	ev = b.collect(testKey, req)
	checkFlags(t, ev, true, true)
	if got := ev.Tarball; got == nil || !bytes.Equal(got.SHA512, first.SHA512) || string(got.Manifest) != `{"name":"plain"}` || got.Size != first.Size {
		t.Errorf("tarball is %+v, want %+v", got, first)
	}
	b.wantAsked()

	// What is wanted beyond what is kept is read again, and so is everything that is not our own word.
	digests = []string{"sha1"}
	if ev = b.collect(testKey, req); len(ev.Tarball.SHA1) != 20 {
		t.Errorf("tarball is %+v", ev.Tarball)
	}
	b.wantAsked("tarball " + url)
	if ev = b.offline(otherKey, req); ev.Tarball.Reason != "offline" || ev.Tarball.SHA512 != nil {
		t.Errorf("tarball is %+v", ev.Tarball)
	}
	b.wantAsked()
	b.collect(otherKey, req)
	b.wantAsked("document plain@1.0.0", "tarball "+url)

	b.registry.tarball[url] = errTimeout
	req.Fresh = true
	if ev = b.collect(testKey, req); ev.Tarball.Reason != "timeout" || ev.Tarball.Detail == "" || ev.Tarball.SHA512 != nil {
		t.Errorf("tarball is %+v", ev.Tarball)
	}
}

func TestExplain(t *testing.T) {
	tests := []struct {
		err  error
		want Fault
	}{
		{fmt.Errorf("getting: %w", errNotFound), Fault{Absent: true, Reason: "not-found"}},
		{errTimeout, Fault{Reason: "timeout"}},
		{fmt.Errorf("x: %w", context.Canceled), Fault{Reason: "canceled"}},
		{context.DeadlineExceeded, Fault{Reason: "timeout"}},
		{&LimitError{"tarball", 5}, Fault{Reason: "too-large"}},
		{errors.New("no route"), Fault{Reason: "connection"}},
	}
	for _, tt := range tests {
		if got := explain(tt.err); got != tt.want {
			t.Errorf("explain(%v) = %+v, want %+v", tt.err, got, tt.want)
		}
	}
}

func TestGlance(t *testing.T) {
	tests := []struct {
		document string
		want     traits
	}{
		{attestedDoc, announces | signed},
		{strippedDoc, signed},
		{`{"dist":{}}`, 0},
		{`{"dist":{"attestations":null,"signatures":null}}`, 0},
		{`{"dist":{"attestations":null,"attestations":{}}}`, announces},
		{`{"dist":{"attestations":{}},"dist":{}}`, announces},
		{`{"dist":{"\u0061ttestations":{}}}`, announces},
		{`{"attestations":{},"readme":"\"attestations\"","x":{"dist":{"attestations":1}}}`, 0},
		{`{"dist":[{"attestations":{}}]}`, 0},
		{"{\"a\":\"\xff\",\"dist\":{\"attestations\":{}}}", announces},
		{`{"dist":{"attestations"`, announces},
		{`{"dist":{`, 0},
		{``, 0},
		{`[]`, 0},
		{`null`, 0},
		{strings.Repeat(`{"dist":`, 1<<20), 0},
		{`{"x":` + strings.Repeat(`[`, 1<<20) + `,"attestations"`, announces},
	}
	for _, tt := range tests {
		if got := glance([]byte(tt.document)); got != tt.want {
			t.Errorf("glance(%.80q) = %b, want %b", tt.document, got, tt.want)
		}
	}
}

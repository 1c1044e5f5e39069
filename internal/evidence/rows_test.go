package evidence

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"assay/internal/npm"
)

func TestRows(t *testing.T) {
	b := newBench(t)
	b.serveBoth()
	q := Query{Request: want(attested), Integrity: "sha512-x", Resolved: "r", Options: "o", Checks: "1"}
	weak := Query{Request: want(plain)}
	b.run(testKey, false, func(c *Collector) {
		if _, ok := c.Lookup(q); ok {
			t.Error("a row came from nowhere")
		}
		ev := c.Collect(context.Background(), q.Request)
		c.KeepRow(q, ev, Unkept, []byte("trouble"))
		if _, ok := c.Lookup(q); ok {
			t.Error("a row of class Unkept was kept")
		}
		c.KeepRow(q, ev, Lasting, []byte("provenance"))
		c.KeepRow(weak, c.Collect(context.Background(), weak.Request), Passing, []byte("signed"))
	})
	b.registry.took()
	lookup := func(key []byte, offline bool, q Query, want string) {
		t.Helper()
		b.run(key, offline, func(c *Collector) {
			if got, ok := c.Lookup(q); string(got) != want || ok != (want != "") {
				t.Errorf("row is %q, %v, want %q", got, ok, want)
			}
		})
		b.wantAsked()
	}
	lookup(testKey, false, q, "provenance")
	lookup(testKey, false, weak, "signed")
	lookup(otherKey, false, q, "")
	lookup(nil, false, q, "")

	// Every input counts.
	for what, change := range map[string]func(*Query){
		"name":       func(q *Query) { q.ID.Name = "x" },
		"version":    func(q *Query) { q.ID.Version = "x" },
		"registry":   func(q *Query) { q.Registry = "x" },
		"integrity":  func(q *Query) { q.Integrity = "x" },
		"resolved":   func(q *Query) { q.Resolved = "x" },
		"trust root": func(q *Query) { q.TrustRoot[0]++ },
		"keys":       func(q *Query) { q.Keys[0]++ },
		"options":    func(q *Query) { q.Options = "x" },
		"checks":     func(q *Query) { q.Checks = "x" },
		"boundary":   func(q *Query) { q.Options, q.Checks = "o1", "" },
		"packument":  func(q *Query) { q.WantPackument = true },
		"tarball":    func(q *Query) { q.Tarball = func([]byte) (string, []string) { return "u", nil } },
		"fresh":      func(q *Query) { q.Fresh = true },
	} {
		changed := q
		change(&changed)
		b.run(testKey, false, func(c *Collector) {
			if got, ok := c.Lookup(changed); ok {
				t.Errorf("with another %s the row is %q", what, got)
			}
		})
	}
	expected := weak
	expected.Expected = true
	lookup(testKey, false, expected, "") // attestations were not asked for
	expected = q
	expected.Expected = true
	lookup(testKey, false, expected, "provenance")

	// A stale index sends us to the registry, and the row is there for what comes of it.
	b.now = b.now.Add(25 * time.Hour)
	lookup(testKey, false, q, "")
	lookup(testKey, true, q, "provenance")
	lookup(testKey, true, weak, "") // too old for its class
	b.run(testKey, false, func(c *Collector) {
		ev := c.Collect(context.Background(), q.Request)
		if got, ok := c.LookupEvidence(q, ev); !ok || string(got) != "provenance" {
			t.Errorf("row is %q, %v", got, ok)
		}
		b.wantAsked("document @acme/attested@2.0.0")
		ev = c.Collect(context.Background(), weak.Request)
		if _, ok := c.LookupEvidence(weak, ev); ok {
			t.Error("a row outlived its class")
		}
		c.KeepRow(weak, ev, Passing, []byte("signed again"))
	})
	b.registry.took()
	lookup(testKey, false, q, "provenance")
	lookup(testKey, false, weak, "signed again")

	// Other evidence, other row.
	b.registry.documents[attested.String()] = attestedDoc + " "
	b.now = b.now.Add(25 * time.Hour)
	b.run(testKey, false, func(c *Collector) {
		if _, ok := c.LookupEvidence(q, c.Collect(context.Background(), q.Request)); ok {
			t.Error("a row was used for other evidence")
		}
		if _, ok := c.Lookup(q); ok {
			t.Error("a row was used for other evidence")
		}
	})
}

// TestRowsFromIndexAndBytes: what Lookup makes of the index is what KeepRow makes of the evidence, whatever
// the evidence holds.
func TestRowsFromIndexAndBytes(t *testing.T) {
	b := newBench(t)
	b.serveBoth()
	b.registry.packuments[attested.Name] = `{}`
	b.registry.tarball["u"] = string(pack(t, file("package/package.json", "{}")))
	b.collect(testKey, want(attested))
	b.registry.documents[attested.String()] = strippedDoc
	delete(b.registry.attestations, attested.String())
	b.now = b.now.Add(31 * 24 * time.Hour)
	for _, packument := range []bool{false, true} {
		for _, tarball := range []string{"", "u"} {
			for _, expected := range []bool{false, true} {
				q := Query{Request: Request{ID: attested, Registry: registry, WantPackument: packument, Expected: expected}}
				q.Tarball = func([]byte) (string, []string) { return tarball, []string{"sha256"} }
				b.run(testKey, false, func(c *Collector) {
					ev := c.Collect(context.Background(), q.Request)
					if len(ev.Earlier) != 1 {
						t.Errorf("earlier is %+v", ev.Earlier)
					}
					c.KeepRow(q, ev, Lasting, []byte("row"))
				})
				b.registry.took()
				b.run(testKey, false, func(c *Collector) {
					if _, ok := c.Lookup(q); !ok {
						t.Errorf("packument %v, tarball %q, expected %v: no row", packument, tarball, expected)
					}
				})
				b.wantAsked()
			}
		}
	}
}

// warm fills a cache as an audit of 1,500 packages does, 300 of them attested, and returns its queries.
func warm(tb testing.TB, dir string, key []byte) ([]Query, *fakeRegistry) {
	tb.Helper()
	f := newFakeRegistry()
	var queries []Query
	for i := range 1500 {
		id := npm.ID{Name: fmt.Sprintf("package-%d", i), Version: "1.0.0"}
		dist := `{"integrity":"sha512-x","signatures":[{}]}`
		if i%5 == 0 {
			dist = `{"integrity":"sha512-x","signatures":[{}],"attestations":{}}`
			f.attestations[id.String()] = fmt.Sprintf(`{"attestations":[%d,%q]}`, i, strings.Repeat("x", 12000))
		}
		f.documents[id.String()] = fmt.Sprintf(`{"name":%q,"dist":%s,"x":%q}`, id.Name, dist, strings.Repeat("x", 4000))
		queries = append(queries, Query{Request: want(id), Integrity: "sha512-x"})
	}
	store, err := OpenStore(StoreOptions{Dir: dir, Key: key})
	if err != nil {
		tb.Fatal(err)
	}
	c := NewCollector(CollectorOptions{Store: store, Fetcher: FetcherFor(f, func(r *reply) Response { return Response{Status: 200, Body: r.body} })})
	for _, q := range queries {
		ev := c.Collect(context.Background(), q.Request)
		c.KeepRow(q, ev, Lasting, append(bytes.Repeat([]byte("row "), 1000), q.ID.Name...))
	}
	if err := store.Close(); err != nil {
		tb.Fatal(err)
	}
	f.took()
	return queries, f
}

// parallel runs fn for each query on as many goroutines as there are processors.
func parallel(queries []Query, fn func(Query)) {
	var wg sync.WaitGroup
	n := runtime.GOMAXPROCS(0)
	for w := range n {
		wg.Go(func() {
			for i := w; i < len(queries); i += n {
				fn(queries[i])
			}
		})
	}
	wg.Wait()
}

func TestWarmAuditAsksNothing(t *testing.T) {
	dir := t.TempDir()
	queries, f := warm(t, dir, testKey)
	store, err := OpenStore(StoreOptions{Dir: dir, Key: testKey})
	if err != nil {
		t.Fatal(err)
	}
	c := NewCollector(CollectorOptions{Store: store, Fetcher: FetcherFor(f, func(r *reply) Response { return Response{Status: 200, Body: r.body} })})
	parallel(queries, func(q Query) {
		if row, ok := c.Lookup(q); !ok || len(row) != 4000+len(q.ID.Name) {
			t.Errorf("%s: row of %d bytes, %v", q.ID, len(row), ok)
		}
		if ev := c.Collect(context.Background(), q.Request); ev.Document.State != Served || !ev.FromCache {
			t.Errorf("%s: %+v", q.ID, ev)
		}
	})
	if asked := f.took(); len(asked) > 0 {
		t.Errorf("asked %q", asked)
	}
	if err := store.Close(); err != nil {
		t.Fatal(err)
	}
	if n := len(segments(t, dir)); n != 1 {
		t.Errorf("%d segments, want 1", n)
	}
}

// BenchmarkWarm is the cache's part of a warm audit of 1,500 packages: open, look up every row (or read all
// evidence), close.
func BenchmarkWarm(b *testing.B) {
	dir := b.TempDir()
	queries, f := warm(b, dir, testKey)
	for _, bb := range []struct {
		name string
		key  []byte
		fn   func(b *testing.B, c *Collector, q Query)
	}{
		{"rows", testKey, func(b *testing.B, c *Collector, q Query) {
			if _, ok := c.Lookup(q); !ok {
				b.Error("no row")
			}
		}},
		{"evidence", testKey, func(b *testing.B, c *Collector, q Query) {
			if ev := c.Collect(context.Background(), q.Request); !ev.Authenticated {
				b.Error("not authenticated")
			}
		}},
		{"offline unauthenticated", otherKey, func(b *testing.B, c *Collector, q Query) {
			if ev := c.Collect(context.Background(), q.Request); ev.Document.State != Served {
				b.Error("no document")
			}
		}},
	} {
		b.Run(bb.name, func(b *testing.B) {
			for b.Loop() {
				store, err := OpenStore(StoreOptions{Dir: dir, Key: bb.key})
				if err != nil {
					b.Fatal(err)
				}
				o := CollectorOptions{Store: store}
				if bb.name == "evidence" {
					o.Fetcher = FetcherFor(f, func(*reply) Response { panic("asked") })
				}
				c := NewCollector(o)
				parallel(queries, func(q Query) { bb.fn(b, c, q) })
				if err := store.Close(); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

// BenchmarkCold is the cache's part of a cold audit: writing all of it.
func BenchmarkCold(b *testing.B) {
	for b.Loop() {
		warm(b, b.TempDir(), testKey)
	}
}

// BenchmarkReadTarball hashes and searches 16 MB.
func BenchmarkReadTarball(b *testing.B) {
	var text strings.Builder
	for i := 0; text.Len() < 16<<20; i++ {
		fmt.Fprintf(&text, "exports.v%d = %x\n", i, i*i*7919)
	}
	data := pack(b, file("package/package.json", "{}"), file("package/x", text.String()))
	b.SetBytes(int64(text.Len()))
	for b.Loop() {
		if _, err := ReadTarball(io.NewSectionReader(bytes.NewReader(data), 0, int64(len(data)))); err != nil {
			b.Fatal(err)
		}
	}
}

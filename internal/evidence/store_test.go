package evidence

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"hash/crc32"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"assay/internal/npm"
)

func openTest(t testing.TB, dir string, key []byte, maxBytes int64) *Store {
	t.Helper()
	s, err := OpenStore(StoreOptions{Dir: dir, Key: key, MaxBytes: maxBytes, Now: func() time.Time { return noon }})
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func segments(t testing.TB, dir string) []string {
	t.Helper()
	names, err := filepath.Glob(filepath.Join(dir, storeFormat, segmentPrefix+"*"))
	if err != nil {
		t.Fatal(err)
	}
	return names
}

func dirSize(t testing.TB, dir string) (total int64) {
	t.Helper()
	list, err := os.ReadDir(filepath.Join(dir, storeFormat))
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range list {
		if info, err := e.Info(); err == nil {
			total += info.Size()
		}
	}
	return total
}

func TestStoreOptions(t *testing.T) {
	if _, err := OpenStore(StoreOptions{}); err == nil {
		t.Error("opened a cache without a directory")
	}
	if _, err := OpenStore(StoreOptions{Dir: t.TempDir(), Key: []byte("short")}); err == nil {
		t.Error("opened a cache with a short key")
	}
	name := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(name, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := OpenStore(StoreOptions{Dir: name}); err == nil {
		t.Error("opened a cache in a file")
	}
}

func TestStoreSeesWhatItWrote(t *testing.T) {
	dir := t.TempDir()
	s := openTest(t, dir, testKey, 0)
	other := openTest(t, dir, testKey, 0)
	key := s.putBlob([]byte("hello"))
	for _, b := range [][]byte{{}, []byte("hello")} {
		if got, ok := s.blob(s.putBlob(b)); !ok || !bytes.Equal(got, b) {
			t.Errorf("blob is %q, %v", got, ok)
		}
	}
	if _, ok := other.blob(key); ok {
		t.Error("an unfinished segment is visible")
	}
	if err := s.Flush(); err != nil {
		t.Fatal(err)
	}
	if got, ok := s.blob(key); !ok || string(got) != "hello" {
		t.Errorf("after a flush, blob is %q, %v", got, ok)
	}
	if err := other.Flush(); err != nil {
		t.Fatal(err)
	}
	if got, ok := other.blob(key); !ok || string(got) != "hello" {
		t.Errorf("elsewhere, blob is %q, %v", got, ok)
	}
	other.Close()
	s.Close()
	if n := len(segments(t, dir)); n != 1 {
		t.Errorf("%d segments, want 1", n)
	}
	list, _ := os.ReadDir(filepath.Join(dir, storeFormat))
	for _, e := range list {
		if strings.Trim(e.Name(), "abcdefghijklmnopqrstuvwxyz0123456789-") != "" {
			t.Errorf("file name %q is not safe everywhere", e.Name())
		}
	}
}

// TestStoreUnwritable: a cache that cannot be written to is a slower cache.
func TestStoreUnwritable(t *testing.T) {
	dir := t.TempDir()
	s := openTest(t, dir, testKey, 0)
	if err := os.RemoveAll(filepath.Join(dir, storeFormat)); err != nil {
		t.Fatal(err)
	}
	for range 3 {
		s.putBlob([]byte("x"))
	}
	if _, ok := s.blob(sha256.Sum256([]byte("x"))); ok {
		t.Error("a blob was kept nowhere")
	}
	if err := s.Close(); err == nil {
		t.Error("an error of writing was not told")
	}
}

func TestStoreStaysWithinBounds(t *testing.T) {
	dir := t.TempDir()
	const limit = 1 << 20
	blob := func(run, i int) []byte {
		return bytes.Repeat([]byte(fmt.Sprintf("%03d %03d ", run, i)), 1000)
	}
	for run := range 40 {
		s := openTest(t, dir, testKey, limit)
		if run > 0 {
			if _, ok := s.blob(sha256.Sum256(blob(0, 0))); !ok {
				t.Errorf("run %d: what every run uses was evicted", run)
			}
		}
		for i := range 20 {
			s.putBlob(blob(run, i))
		}
		// Used now, and long ago: segments by age, save the one in use.
		for _, g := range s.segments {
			if g.used.Load() {
				g.modified = time.Time{}
			} else if g.modified.Year() > 2000 {
				old := noon.Add(time.Duration(run-100) * time.Hour)
				os.Chtimes(filepath.Join(s.dir, g.name), old, old)
			}
		}
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
		if size := dirSize(t, dir); size > limit {
			t.Errorf("run %d: the cache has %d bytes, bound %d", run, size, limit)
		}
		if n := len(segments(t, dir)); n > 2*manySegments {
			t.Errorf("run %d: %d segments", run, n)
		}
	}
}

func TestStoreMerges(t *testing.T) {
	dir := t.TempDir()
	about := subject{registry, "plain", "1.0.0"}
	var want []sum
	for i := range 3 * manySegments {
		s := openTest(t, dir, testKey, 0)
		want = append(want, s.putBlob(fmt.Append(nil, "blob ", i)))
		s.putBlob([]byte("the same"))
		e := &entry{subject: about, at: noon.Add(time.Duration(i-1000) * time.Minute)}
		e.document = kept{state: Served, sum: want[i], at: e.at, traits: signed}
		s.putEntry(e)
		s.putRow(want[0], row{Lasting, noon.Add(time.Duration(i) * time.Second), s.putBlob([]byte("the same"))})
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
	}
	if n := len(segments(t, dir)); n > manySegments+1 {
		t.Errorf("%d segments", n)
	}
	s := openTest(t, dir, testKey, 0)
	defer s.Close()
	for i, key := range want {
		if b, ok := s.blob(key); !ok || string(b) != fmt.Sprint("blob ", i) {
			t.Errorf("blob %d is %q, %v", i, b, ok)
		}
	}
	e, authenticated := s.entry(about)
	if e == nil || !authenticated || e.document.sum != want[len(want)-1] || len(e.earlier) != maxEarlier ||
		e.earlier[0].document != want[len(want)-2] {
		t.Errorf("entry is %+v, %v", e, authenticated)
	}
	last := noon.Add((3*manySegments - 1) * time.Second)
	if r, ok := s.row(want[0], func(r row) bool { return r.at.Equal(last) }); !ok || string(r) != "the same" {
		t.Errorf("row is %q, %v", r, ok)
	}
	n := 0
	for range s.find(kindRow, want[0]) {
		n++
	}
	if n > manySegments+1 {
		t.Errorf("the row is kept %d times", n)
	}
}

// Merging must not take another machine's word for our own, nor away from it.
func TestMergeKeepsOtherMachinesEntries(t *testing.T) {
	dir := t.TempDir()
	about := subject{registry, "plain", "1.0.0"}
	for i := range manySegments + 1 {
		key := otherKey
		if i > 2 {
			key = bytes.Repeat([]byte{byte(100 + i)}, KeySize)
		}
		s := openTest(t, dir, key, 0)
		e := &entry{subject: about, at: noon.Add(time.Duration(-i) * time.Minute)}
		e.document = kept{state: Served, sum: s.putBlob(fmt.Append(nil, i)), at: e.at, traits: signed}
		s.putEntry(e)
		if i == manySegments {
			s.auth = newAuthenticator(testKey) // merging is done by one that can authenticate none
		}
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
	}
	if n := len(segments(t, dir)); n != 1 {
		t.Fatalf("%d segments, want 1", n)
	}
	s := openTest(t, dir, testKey, 0)
	if e, authenticated := s.entry(about); e == nil || authenticated {
		t.Errorf("entry is %+v, %v", e, authenticated)
	}
	s.Close()
	s = openTest(t, dir, otherKey, 0)
	if e, authenticated := s.entry(about); e == nil || !authenticated {
		t.Errorf("entry is %+v, %v", e, authenticated)
	}
	s.Close()
}

// TestDamage flips each byte of a segment in turn, and cuts it at each length. Whatever is read then is
// what was written, or is not there.
func TestDamage(t *testing.T) {
	b := newBench(t)
	b.serveBoth()
	q := Query{Request: want(attested), Integrity: "sha512-x"}
	b.run(testKey, false, func(c *Collector) {
		c.KeepRow(q, c.Collect(context.Background(), q.Request), Lasting, []byte("the row"))
	})
	names := segments(t, b.dir)
	if len(names) != 1 {
		t.Fatalf("%d segments", len(names))
	}
	whole, err := os.ReadFile(names[0])
	if err != nil {
		t.Fatal(err)
	}
	examine := func(what string, data []byte) (entry, row bool) {
		t.Helper()
		dir := t.TempDir()
		path := filepath.Join(dir, storeFormat, filepath.Base(names[0]))
		if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, data, 0o600); err != nil {
			t.Fatal(err)
		}
		d := &bench{t: t, registry: b.registry, dir: dir, now: noon}
		d.registry.took()
		d.run(testKey, false, func(c *Collector) {
			value, ok := c.Lookup(q)
			if row = ok; ok && string(value) != "the row" {
				t.Fatalf("%s: the row is %q", what, value)
			}
			e, authenticated := c.store.entry(q.subject())
			if entry = e != nil; entry && !authenticated {
				t.Fatalf("%s: a damaged entry was read", what)
			}
			ev := c.Collect(context.Background(), q.Request)
			if string(ev.Document.Body) != attestedDoc || string(ev.Attestations.Body) != attList || !ev.Authenticated {
				t.Fatalf("%s: evidence is %+v", what, ev)
			}
		})
		// It is whole again.
		d.registry.took()
		d.run(testKey, false, func(c *Collector) { c.Collect(context.Background(), q.Request) })
		if asked := d.registry.took(); len(asked) > 0 {
			t.Fatalf("%s: damage lasted: asked %q", what, asked)
		}
		return entry, row
	}
	if entry, row := examine("whole", whole); !entry || !row {
		t.Fatal("nothing is read from a whole segment")
	}
	for i := range whole {
		data := slices.Clone(whole)
		data[i] ^= 0x10
		examine(fmt.Sprintf("byte %d of %d", i, len(whole)), data)
		if entry, row := examine(fmt.Sprintf("cut at %d", i), whole[:i]); entry || row {
			t.Fatalf("cut at %d: something was read", i)
		}
	}
	if entry, _ := examine("longer", append(slices.Clone(whole), 0)); entry {
		t.Error("a segment with a byte too many was read")
	}
}

// tamper changes every record of the cache's one segment. The checksums are made to fit, as an attacker would.
func tamper(t *testing.T, dir string, change func(kind, sum, []byte) (sum, []byte)) {
	t.Helper()
	for _, name := range segments(t, dir) {
		g, err := openSegment(name)
		if err != nil {
			t.Fatal(err)
		}
		d, err := newDraft(name + "x")
		if err != nil {
			t.Fatal(err)
		}
		for i := range g.len() {
			at := g.slot(i)
			record, err := place{segment: g, file: g.file, slot: at}.read()
			if err != nil {
				t.Fatal(err)
			}
			key, record := change(at.kind, at.key, record)
			if err := d.add(at.kind, key, record); err != nil {
				t.Fatal(err)
			}
		}
		g.file.Close()
		if err := d.seal(name); err != nil {
			t.Fatal(err)
		}
	}
}

func TestAttackerChangesWhatClaimsSay(t *testing.T) {
	// The cache holds a document of the attacker's making under an entry that points to it.
	b := newBench(t)
	b.serveBoth()
	const lie = `{"name":"@acme/attested","version":"2.0.0","repository":"evil/evil","dist":{"attestations":{}}}`
	b.registry.documents[attested.String()] = lie
	b.registry.attestations[attested.String()] = badList
	q := Query{Request: want(attested)}
	b.run(otherKey, false, func(c *Collector) {
		c.KeepRow(q, c.Collect(context.Background(), q.Request), Lasting, []byte("all is well"))
	})
	b.serveBoth()
	b.registry.took()

	for _, key := range [][]byte{nil, testKey} {
		filled := t.TempDir()
		if err := os.CopyFS(filled, os.DirFS(b.dir)); err != nil {
			t.Fatal(err)
		}
		d := &bench{t: t, registry: b.registry, dir: filled, now: b.now}
		var ev *Evidence
		d.run(key, false, func(c *Collector) {
			if row, ok := c.Lookup(q); ok {
				t.Errorf("the attacker's row was used: %q", row)
			}
			ev = c.Collect(context.Background(), q.Request)
			if row, ok := c.LookupEvidence(q, ev); ok {
				t.Errorf("the attacker's row was used: %q", row)
			}
		})
		check(t, "document", ev.Document, Served, attestedDoc)
		check(t, "attestations", ev.Attestations, Served, attList)
		checkFlags(t, ev, false, true)
		d.wantAsked("attestations @acme/attested@2.0.0", "document @acme/attested@2.0.0")

		// From then on the registry's own bytes are used.
		ev = d.collect(key, q.Request)
		check(t, "attestations", ev.Attestations, Served, attList)
		d.registry.took()

		ev = (&bench{t: t, registry: b.registry, dir: b.dir, now: b.now}).offline(key, q.Request)
		check(t, "document", ev.Document, Served, lie)
		checkFlags(t, ev, true, false)
		d.wantAsked()
	}
}

func TestAttackerClaimsAbsence(t *testing.T) {
	b := newBench(t)
	b.serveBoth()
	b.registry.documents[attested.String()] = strippedDoc
	delete(b.registry.attestations, attested.String())
	req := want(attested)
	req.Expected = true
	ev := b.collect(otherKey, req)
	check(t, "attestations", ev.Attestations, Absent, "")
	b.serveBoth()
	b.registry.took()
	ev = b.offline(testKey, req)
	check(t, "attestations", ev.Attestations, Unavailable, "")
	ev = b.collect(testKey, req)
	check(t, "document", ev.Document, Served, attestedDoc)
	check(t, "attestations", ev.Attestations, Served, attList)
	checkFlags(t, ev, false, true)
}

func TestAttackerMovesRecords(t *testing.T) {
	other := npm.ID{Name: "@acme/attested", Version: "2.0.1"}
	queryOf := func(id npm.ID) Query { return Query{Request: want(id), Integrity: "i"} }
	prepare := func() *bench {
		b := newBench(t)
		b.serveBoth()
		b.registry.documents[other.String()] = `{"version":"2.0.1"}`
		b.run(testKey, false, func(c *Collector) {
			for _, id := range []npm.ID{attested, other} {
				q := queryOf(id)
				c.KeepRow(q, c.Collect(context.Background(), q.Request), Lasting, []byte("row of "+id.String()))
			}
		})
		b.registry.took()
		b.run(testKey, false, func(c *Collector) {
			for _, id := range []npm.ID{attested, other} {
				if row, ok := c.Lookup(queryOf(id)); !ok || string(row) != "row of "+id.String() {
					t.Fatalf("row is %q, %v", row, ok)
				}
			}
		})
		return b
	}
	from, to := subject{registry, attested.Name, attested.Version}, subject{registry, other.Name, other.Version}
	verify := func(t *testing.T, b *bench, rows bool) {
		t.Helper()
		b.run(testKey, false, func(c *Collector) {
			for _, id := range []npm.ID{attested, other} {
				if row, ok := c.Lookup(queryOf(id)); ok && (!rows || string(row) != "row of "+id.String()) {
					t.Errorf("row of %s is %q", id, row)
				}
				ev := c.Collect(context.Background(), want(id))
				if got := string(ev.Document.Body); got != b.registry.documents[id.String()] {
					t.Errorf("document of %s is %q", id, got)
				}
				if !ev.Authenticated {
					t.Errorf("evidence of %s is not authenticated", id)
				}
			}
		})
	}

	t.Run("entry of another version", func(t *testing.T) {
		b := prepare()
		tamper(t, b.dir, func(k kind, key sum, r []byte) (sum, []byte) {
			if k == kindEntry && key == from.key() {
				return to.key(), r
			} else if k == kindEntry && key == to.key() {
				return from.key(), r
			}
			return key, r
		})
		verify(t, b, false)
	})
	t.Run("entry renamed", func(t *testing.T) {
		b := prepare()
		tamper(t, b.dir, func(k kind, key sum, r []byte) (sum, []byte) {
			if k == kindEntry && key == from.key() {
				e, err := decodeEntry(r[32:])
				if err != nil {
					t.Fatal(err)
				}
				e.subject = to
				return to.key(), append(slices.Clone(r[:32]), e.encode()...)
			}
			return key, r
		})
		verify(t, b, true)
	})
	t.Run("entry of another registry", func(t *testing.T) {
		b := prepare()
		elsewhere := from
		elsewhere.registry = "https://evil.example"
		tamper(t, b.dir, func(k kind, key sum, r []byte) (sum, []byte) {
			if k == kindEntry {
				return elsewhere.key(), r
			}
			return key, r
		})
		b.run(testKey, false, func(c *Collector) {
			if e, _ := c.store.entry(elsewhere); e != nil {
				t.Errorf("entry is %+v", e)
			}
		})
		verify(t, b, false)
	})
	t.Run("entry with altered time", func(t *testing.T) {
		b := prepare()
		b.now = noon.Add(25 * time.Hour)
		tamper(t, b.dir, func(k kind, key sum, r []byte) (sum, []byte) {
			if k == kindEntry {
				e, err := decodeEntry(r[32:])
				if err != nil {
					t.Fatal(err)
				}
				e.at, e.document.at, e.attestations.at = b.now, b.now, b.now
				return key, append(slices.Clone(r[:32]), e.encode()...)
			}
			return key, r
		})
		b.run(testKey, false, func(c *Collector) {
			if _, ok := c.Lookup(queryOf(attested)); ok {
				t.Error("a row was found by way of an altered entry")
			}
			c.Collect(context.Background(), want(attested))
		})
		b.wantAsked("attestations @acme/attested@2.0.0", "document @acme/attested@2.0.0")
	})
	t.Run("rows swapped", func(t *testing.T) {
		b := prepare()
		var keys []sum
		tamper(t, b.dir, func(k kind, key sum, r []byte) (sum, []byte) {
			if k == kindRow {
				keys = append(keys, key)
			}
			return key, r
		})
		if len(keys) != 2 {
			t.Fatalf("%d rows", len(keys))
		}
		tamper(t, b.dir, func(k kind, key sum, r []byte) (sum, []byte) {
			if k == kindRow {
				return keys[1-slices.Index(keys, key)], r
			}
			return key, r
		})
		verify(t, b, false)
	})
	t.Run("row of another class", func(t *testing.T) {
		b := prepare()
		tamper(t, b.dir, func(k kind, key sum, r []byte) (sum, []byte) {
			if k == kindRow {
				r = slices.Clone(r)
				r[32] = byte(Passing)
			}
			return key, r
		})
		verify(t, b, false)
	})
	t.Run("entry as row and row as entry", func(t *testing.T) {
		b := prepare()
		var rowKey sum
		var entryRecord []byte
		tamper(t, b.dir, func(k kind, key sum, r []byte) (sum, []byte) {
			if k == kindRow {
				rowKey = key
			} else if k == kindEntry {
				entryRecord = r
			}
			return key, r
		})
		tamper(t, b.dir, func(k kind, key sum, r []byte) (sum, []byte) {
			if k == kindRow && key == rowKey {
				return key, entryRecord
			}
			return key, r
		})
		verify(t, b, true)
	})
	t.Run("blobs swapped", func(t *testing.T) {
		b := prepare()
		tamper(t, b.dir, func(k kind, key sum, r []byte) (sum, []byte) {
			if k == kindBlob {
				return key, []byte(`{"a":"lie"}`)
			}
			return key, r
		})
		verify(t, b, true)
	})
}

func TestAttackerReplaysOlderEntries(t *testing.T) {
	b := newBench(t)
	b.serveBoth()
	b.registry.documents[attested.String()] = strippedDoc
	b.registry.attestations[attested.String()] = errNotFound
	q := Query{Request: want(attested)}
	b.run(testKey, false, func(c *Collector) {
		c.KeepRow(q, c.Collect(context.Background(), q.Request), Passing, []byte("signed"))
	})
	old := t.TempDir()
	if err := os.CopyFS(old, os.DirFS(b.dir)); err != nil {
		t.Fatal(err)
	}
	b.serveBoth()
	b.now = b.now.Add(25 * time.Hour)
	b.collect(testKey, want(attested))
	b.registry.took()

	// Beside the newer entry the older one is only earlier evidence; alone it is as old as it says.
	for _, name := range segments(t, old) {
		data, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		later := filepath.Join(b.dir, storeFormat, segmentPrefix+"ffffffffffffffff-00")
		if err := os.WriteFile(later, data, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	b.run(testKey, false, func(c *Collector) {
		if row, ok := c.Lookup(q); ok {
			t.Errorf("row is %q", row)
		}
	})
	ev := b.collect(testKey, want(attested))
	check(t, "attestations", ev.Attestations, Served, attList)
	b.wantAsked()
	b.dir = old
	b.run(testKey, false, func(c *Collector) {
		if row, ok := c.Lookup(q); ok {
			t.Errorf("row is %q", row)
		}
	})
	ev = b.collect(testKey, want(attested))
	check(t, "attestations", ev.Attestations, Served, attList)
	b.wantAsked("attestations @acme/attested@2.0.0", "document @acme/attested@2.0.0")
}

// Entries that somebody else left must not push out what this machine saw, nor outlast what it sees later.
func TestAttackerFillsEarlier(t *testing.T) {
	b := newBench(t)
	b.serveBoth()
	b.collect(testKey, want(attested))
	for i := range 10 {
		b.run(otherKey, false, func(c *Collector) {
			e := &entry{subject: subject{registry, attested.Name, attested.Version}, at: noon.Add(time.Duration(i) * time.Second)}
			if i == 9 {
				e.at = noon.Add(1000 * time.Hour)
			}
			e.document = kept{state: Served, sum: c.store.putBlob(fmt.Append(nil, "doc", i)), at: e.at, traits: announces}
			e.attestations = kept{state: Served, sum: c.store.putBlob(fmt.Append(nil, "att", i)), at: e.at}
			c.store.putEntry(e)
		})
	}
	b.registry.documents[attested.String()] = strippedDoc
	b.registry.attestations[attested.String()] = errNotFound
	b.now = b.now.Add(31 * 24 * time.Hour)
	for range 3 {
		ev := b.collect(testKey, want(attested))
		check(t, "document", ev.Document, Served, strippedDoc)
		check(t, "attestations", ev.Attestations, Absent, "")
		if len(ev.Earlier) != maxEarlier || string(ev.Earlier[0].Attestations) != attList {
			t.Errorf("earlier is %q", ev.Earlier)
		}
	}
	// In a cache without a key somebody's entry from the future does not stay for ever.
	ev := b.collect(nil, want(attested))
	check(t, "document", ev.Document, Served, strippedDoc)
	check(t, "attestations", ev.Attestations, Absent, "")
}

func TestHostileSegments(t *testing.T) {
	table := func(slots ...slot) []byte {
		var b []byte
		for _, s := range slots {
			b = s.append(b)
		}
		return b
	}
	build := func(records, table []byte, count uint32) []byte {
		b := append(slices.Clone(records), table...)
		b = binary.BigEndian.AppendUint64(b, uint64(len(records)))
		b = binary.BigEndian.AppendUint32(b, count)
		b = binary.BigEndian.AppendUint32(b, crc32.Checksum(table, castagnoli))
		return append(b, segmentMagic...)
	}
	dir := t.TempDir()
	s := openTest(t, dir, testKey, 0)
	key := s.putBlob([]byte("good"))
	s.Close()
	tests := []struct {
		name string
		open bool // it is a segment, though nothing can be read from it
		data []byte
	}{
		{"empty", false, nil},
		{"short", false, []byte(segmentMagic)},
		{"zeros", false, make([]byte, 4096)},
		{"many slots", false, build(nil, nil, 1<<32-1)},
		{"offset beyond", true, build([]byte("abc"), table(slot{kindBlob, key, 4, 1, 0}), 1)},
		{"length beyond", true, build([]byte("abc"), table(slot{kindBlob, key, 1, 3, 0}), 1)},
		{"negative offset", true, build([]byte("abc"), table(slot{kindBlob, key, -1, 1, 0}), 1)},
		{"wrap", true, build([]byte("abc"), table(slot{kindBlob, key, 1<<63 - 1, 1<<32 - 1, 0}), 1)},
		{"huge", true, build([]byte("abc"), table(slot{kindBlob, key, 0, 1<<32 - 1, 0}), 1)},
		{"unsorted", true, build([]byte("abc"), table(slot{kindRow, key, 0, 1, 0}, slot{kindBlob, key, 0, 1, 0}), 2)},
	}
	open := 1
	for i, tt := range tests {
		name := filepath.Join(dir, storeFormat, segmentPrefix+strconv.Itoa(i))
		if err := os.WriteFile(name, tt.data, 0o600); err != nil {
			t.Fatal(err)
		}
		if g, err := openSegment(name); (err == nil) != tt.open {
			t.Errorf("%s: opened %v, error %v", tt.name, g, err)
		} else if err == nil {
			open++
			g.find(kindBlob, key, func(p place) bool {
				if b, err := p.read(); err == nil {
					t.Errorf("%s: read %q", tt.name, b)
				}
				return true
			})
			g.file.Close()
		}
	}
	if err := os.Mkdir(filepath.Join(dir, storeFormat, segmentPrefix+"directory"), 0o700); err != nil {
		t.Fatal(err)
	}
	_ = os.Symlink("/dev/zero", filepath.Join(dir, storeFormat, segmentPrefix+"link"))
	s = openTest(t, dir, testKey, 0)
	if len(s.segments) != open {
		t.Errorf("%d segments are open, want %d", len(s.segments), open)
	}
	if _, ok := s.blob(key); !ok {
		t.Error("bad segments hide a good one")
	}
	if err := s.Close(); err != nil {
		t.Error(err)
	}
}

func TestKeyFile(t *testing.T) {
	path := filepath.Join(t.TempDir(), "config", "assay", "key")
	var mu sync.Mutex
	var keys [][]byte
	var wg sync.WaitGroup
	for range 20 {
		wg.Go(func() {
			key, err := KeyFile(path)
			if err != nil {
				t.Error(err)
			}
			mu.Lock()
			keys = append(keys, key)
			mu.Unlock()
		})
	}
	wg.Wait()
	for _, k := range keys {
		if len(k) != KeySize || !bytes.Equal(k, keys[0]) || bytes.Equal(k, make([]byte, KeySize)) {
			t.Fatalf("keys are %x", keys)
		}
	}
	list, _ := os.ReadDir(filepath.Dir(path))
	if len(list) != 1 {
		t.Errorf("files beside the key: %v", list)
	}
	if runtime.GOOS != "windows" {
		if info, _ := os.Stat(path); info.Mode().Perm() != 0o600 {
			t.Errorf("mode %o", info.Mode().Perm())
		}
		for _, mode := range []os.FileMode{0o640, 0o604, 0o660} {
			os.Chmod(path, mode)
			if _, err := KeyFile(path); err == nil {
				t.Errorf("a key of mode %o was used", mode)
			}
		}
		os.Chmod(path, 0o600)
	}
	for _, data := range []string{"", "short", strings.Repeat("x", KeySize+1)} {
		if err := os.WriteFile(path, []byte(data), 0o600); err != nil {
			t.Fatal(err)
		}
		if _, err := KeyFile(path); err == nil {
			t.Errorf("a key of %d bytes was used", len(data))
		}
	}
	if _, err := KeyFile(filepath.Dir(path)); err == nil {
		t.Error("a directory was used as a key")
	}
}

// TestSeveralProcesses runs this test's binary several times over one directory, with bounds so small that
// they evict and merge all the time, and kills one in the middle.
func TestSeveralProcesses(t *testing.T) {
	if dir := os.Getenv("ASSAY_TEST_CACHE"); dir != "" {
		hammer(t, dir)
		return
	}
	exe, err := os.Executable()
	if err != nil {
		t.Skip(err)
	}
	dir := t.TempDir()
	var wg sync.WaitGroup
	for i := range 5 {
		cmd := exec.Command(exe, "-test.run=^TestSeveralProcesses$", "-test.count=1")
		cmd.Env = append(os.Environ(), "ASSAY_TEST_CACHE="+dir, "ASSAY_TEST_WORKER="+strconv.Itoa(i))
		var out bytes.Buffer
		cmd.Stdout, cmd.Stderr = &out, &out
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		wg.Go(func() {
			if i == 0 {
				time.Sleep(200 * time.Millisecond)
				cmd.Process.Kill()
				cmd.Wait()
			} else if err := cmd.Wait(); err != nil {
				t.Errorf("worker %d: %v\n%s", i, err, out.String())
			}
		})
	}
	wg.Wait()
	s := openTest(t, dir, testKey, 1<<20)
	defer s.Close()
	damaged := 0
	for _, g := range s.segments {
		for i := range g.len() {
			if _, err := (place{segment: g, file: g.file, slot: g.slot(i)}).read(); err != nil {
				damaged++
			}
		}
	}
	if damaged > 0 || len(s.segments) != len(segments(t, dir)) {
		t.Errorf("%d damaged records, %d of %d segments open", damaged, len(s.segments), len(segments(t, dir)))
	}
}

func hammer(t *testing.T, dir string) {
	worker := os.Getenv("ASSAY_TEST_WORKER")
	f := newFakeRegistry()
	for i := range 40 {
		id := npm.ID{Name: fmt.Sprint("p", i), Version: "1.0.0"}
		f.documents[id.String()] = fmt.Sprintf(`{"name":"p%d","dist":{"attestations":{},"x":%q}}`, i, strings.Repeat("x", 3000))
		f.attestations[id.String()] = fmt.Sprintf(`{"attestations":[%d]}`, i)
	}
	hits := 0
	for round := range 60 {
		s, err := OpenStore(StoreOptions{Dir: dir, Key: testKey, MaxBytes: 1 << 20})
		if err != nil {
			t.Fatal(err)
		}
		c := NewCollector(CollectorOptions{Store: s, Fetcher: FetcherFor(f, func(r *reply) Response { return Response{Status: 200, Body: r.body} })})
		for i := range 40 {
			q := Query{Request: want(npm.ID{Name: fmt.Sprint("p", i), Version: "1.0.0"})}
			q.Integrity = fmt.Sprint(round % 7)
			value := fmt.Sprintf("row %d %d", i, round%7)
			if row, ok := c.Lookup(q); ok {
				if hits++; string(row) != value {
					t.Fatalf("row is %q, want %q", row, value)
				}
				continue
			}
			q.Fresh = (i+round)%11 == 0
			ev := c.Collect(context.Background(), q.Request)
			if string(ev.Document.Body) != f.documents[q.ID.String()] || string(ev.Attestations.Body) != f.attestations[q.ID.String()] {
				t.Fatalf("evidence is %+v", ev)
			}
			c.KeepRow(q, ev, Lasting, []byte(value))
		}
		s.putBlob(fmt.Append(bytes.Repeat([]byte("waste "), 5000), worker, round))
		if round%10 == 5 {
			if err := s.Flush(); err != nil {
				t.Fatal(err)
			}
		}
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
	}
	if hits == 0 {
		t.Error("the cache never helped")
	}
}

package evidence

import (
	"bytes"
	"math/rand/v2"
	"reflect"
	"slices"
	"testing"
	"time"

	"pgregory.net/rapid"
)

func times() *rapid.Generator[time.Time] {
	return rapid.Custom(func(t *rapid.T) time.Time {
		n := rapid.Int64().Draw(t, "nanos")
		if n == 0 {
			return time.Time{}
		}
		return time.Unix(0, n).UTC()
	})
}

// sums draws from few digests, so that they often are the same.
func sums() *rapid.Generator[sum] {
	return rapid.Map(rapid.ByteMax(5), func(b byte) sum { return sum{b} })
}

func keeps() *rapid.Generator[kept] {
	return rapid.Custom(func(t *rapid.T) kept {
		k := kept{state: rapid.SampledFrom([]State{NotAsked, Served, Absent}).Draw(t, "state")}
		if k.state == NotAsked {
			return k
		}
		k.status = rapid.IntRange(0, 999).Draw(t, "status")
		if k.state == Served {
			k.sum = sums().Draw(t, "sum")
		}
		k.etag = rapid.StringN(0, 20, 40).Draw(t, "etag")
		k.at = times().Draw(t, "at")
		k.traits = traits(rapid.ByteMax(byte(allTraits)).Draw(t, "traits"))
		return k
	})
}

func entries() *rapid.Generator[*entry] {
	return rapid.Custom(func(t *rapid.T) *entry {
		text := rapid.StringN(0, 30, 60)
		e := &entry{subject: subject{text.Draw(t, "registry"), text.Draw(t, "name"), text.Draw(t, "version")}}
		e.at = times().Draw(t, "at")
		e.document = keeps().Draw(t, "document")
		e.attestations = keeps().Draw(t, "attestations")
		if rapid.Bool().Draw(t, "tarball") {
			k := &keptTarball{url: text.Draw(t, "url"), at: times().Draw(t, "read"), size: rapid.Int64Range(0, 1<<50).Draw(t, "size")}
			for i := range k.digests {
				if b := rapid.SliceOfN(rapid.Byte(), 0, 64).Draw(t, "digest"); len(b) > 0 {
					k.digests[i] = b
				}
			}
			if k.hasManifest = rapid.Bool().Draw(t, "manifest"); k.hasManifest {
				k.manifest = sums().Draw(t, "manifest sum")
			}
			k.problem = text.Draw(t, "problem")
			e.tarball = k
		}
		for range rapid.IntRange(0, maxEarlier).Draw(t, "earlier") {
			e.earlier = append(e.earlier, pair{sums().Draw(t, "d"), sums().Draw(t, "a"), times().Draw(t, "t"), traits(rapid.ByteMax(byte(allTraits)).Draw(t, "traits"))})
		}
		return e
	})
}

func TestEntryEncoding(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		e := entries().Draw(t, "entry")
		b := e.encode()
		got, err := decodeEntry(b)
		if err != nil {
			t.Fatal(err)
		}
		if !reflect.DeepEqual(got, e) {
			t.Fatalf("decoded %+v, want %+v", got, e)
		}
		for n := range b {
			if _, err := decodeEntry(b[:n]); err == nil {
				t.Fatalf("decoded %d of %d bytes", n, len(b))
			}
		}
		if _, err := decodeEntry(append(b, 0)); err == nil {
			t.Fatal("decoded a byte too many")
		}
	})
}

func TestEntryBounds(t *testing.T) {
	long := string(make([]byte, maxText+1))
	for _, e := range []*entry{
		{subject: subject{name: long}},
		{document: kept{state: Served, etag: long}},
		{document: kept{state: Unavailable}},
		{document: kept{state: Served, status: 1000}},
		{tarball: &keptTarball{size: -1}},
		{earlier: make([]pair, maxEarlier+1)},
	} {
		if _, err := decodeEntry(e.encode()); err == nil {
			t.Errorf("decoded %+v", e)
		}
	}
	s := openTest(t, t.TempDir(), testKey, 0)
	defer s.Close()
	e := &entry{subject: subject{name: long}}
	s.putEntry(e)
	if got, _ := s.entry(e.subject); got != nil {
		t.Error("an entry out of bounds was kept")
	}
}

// TestMergeProperties: the order of candidates is nothing, and merging what was merged changes nothing.
func TestMergeProperties(t *testing.T) {
	have := func(s sum) bool { return s[0] != 5 }
	rapid.Check(t, func(t *rapid.T) {
		all := rapid.SliceOfN(rapid.Custom(func(t *rapid.T) candidate {
			e := entries().Draw(t, "entry")
			e.subject, e.tarball = subject{}, nil
			return candidate{e, rapid.Bool().Draw(t, "authenticated")}
		}), 1, 5).Draw(t, "candidates")
		lead, authenticated := mergeEntries(all, have)
		shuffled := slices.Clone(all)
		rand.Shuffle(len(all), func(i, j int) { shuffled[i], shuffled[j] = shuffled[j], shuffled[i] })
		if got, a := mergeEntries(shuffled, have); a != authenticated || !bytes.Equal(got.encode(), lead.encode()) {
			t.Fatalf("in another order: %+v, want %+v", got, lead)
		}
		if got, a := mergeEntries([]candidate{{lead, authenticated}}, have); a != authenticated || !bytes.Equal(got.encode(), lead.encode()) {
			t.Fatalf("merged again: %+v, want %+v", got, lead)
		}
		if _, err := decodeEntry(lead.encode()); err != nil {
			t.Fatal(err)
		}
		for _, p := range lead.earlier {
			if p.rank() == 0 || p != p.without(lead.current()) {
				t.Fatalf("earlier %+v proves nothing", p)
			}
		}
	})
}

func FuzzDecodeEntry(f *testing.F) {
	f.Add((&entry{}).encode())
	f.Add((&entry{
		subject:      subject{"https://registry.example", "a", "1.0.0"},
		at:           noon,
		document:     kept{state: Served, status: 200, sum: sum{1}, etag: `"x"`, at: noon, traits: announces},
		attestations: kept{state: Absent, status: 404, at: noon},
		tarball:      &keptTarball{url: "u", size: 5, digests: [4][]byte{{1, 2}}, hasManifest: true},
		earlier:      []pair{{sum{1}, sum{2}, noon, signed}},
	}).encode())
	f.Fuzz(func(t *testing.T, b []byte) {
		e, err := decodeEntry(b)
		if err != nil {
			return
		}
		if !bytes.Equal(e.encode(), b) {
			t.Error("an entry has two encodings")
		}
	})
}

package sigstore

import (
	"encoding/json"
	"slices"
	"testing"
	"time"

	"github.com/sigstore/sigstore-go/pkg/root"
)

// A pair is what a registry serves for one version: provenance and publish attestation.
type pair struct {
	name    string
	root    []byte
	bundles []corpusBundle
}

// benchPairs returns the pairs of the corpus that verify, or the single provenance of sigstore-go's module.
func benchPairs(b *testing.B) []pair {
	var pairs []pair
	dir := findCorpus()
	if dir == "" {
		b.Skip("there is no corpus of real bundles here; set ASSAY_CORPUS to its folder")
	}
	byCase := map[string]*pair{}
	order := []string{}
	for _, c := range corpusBundles(b, dir) {
		id := c.name
		if n := len(id); n > 2 && id[n-2] == '/' {
			id = id[:n-2]
		} else {
			continue
		}
		if byCase[id] == nil {
			byCase[id] = &pair{name: id, root: c.root}
			order = append(order, id)
		}
		byCase[id].bundles = append(byCase[id].bundles, c)
	}
	for _, id := range order {
		p := byCase[id]
		good := len(p.bundles) == 2
		for _, c := range p.bundles {
			good = good && c.pass
		}
		if good {
			pairs = append(pairs, *p)
		}
	}
	return pairs
}

// BenchmarkPair measures parsing and verifying a pair, beside the bare signature checks of the same pair.
func BenchmarkPair(b *testing.B) {
	pairs := benchPairs(b)
	for _, p := range pairs {
		r, err := ParseTrustedRoot(p.root)
		if err != nil {
			b.Fatal(err)
		}
		b.Run("floor/"+p.name, func(b *testing.B) {
			var checks []SignatureCheck
			for _, c := range p.bundles {
				parsed, err := ParseBundle(c.data)
				if err != nil {
					b.Fatal(err)
				}
				checks = append(checks, r.SignatureChecks(parsed, c.options)...)
			}
			for b.Loop() {
				for _, c := range checks {
					if !c.Run() {
						b.Fatal(c.Name)
					}
				}
			}
		})
		b.Run("assay/"+p.name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				verifyPair(b, r, p)
			}
		})
		b.Run("sigstore-go/"+p.name, func(b *testing.B) {
			o, err := root.NewTrustedRootFromJSON(p.root)
			if err != nil {
				b.Fatal(err)
			}
			for b.Loop() {
				for _, c := range p.bundles {
					if err := oracle(o, c.data, c.options); err != nil {
						b.Fatal(err)
					}
				}
			}
		})
	}
}

// BenchmarkOverhead takes turns between verifying a pair and its bare signature checks, over all pairs, and reports the
// ratio of what both take at best. On a busy machine that says more than two averages.
func BenchmarkOverhead(b *testing.B) {
	pairs := benchPairs(b)
	roots, floors := make([]*TrustedRoot, len(pairs)), make([][]SignatureCheck, len(pairs))
	for i, p := range pairs {
		var err error
		if roots[i], err = ParseTrustedRoot(p.root); err != nil {
			b.Fatal(err)
		}
		for _, c := range p.bundles {
			parsed, err := ParseBundle(c.data)
			if err != nil {
				b.Fatal(err)
			}
			floors[i] = append(floors[i], roots[i].SignatureChecks(parsed, c.options)...)
		}
	}
	times := make([][2][]time.Duration, len(pairs))
	for b.Loop() {
		for i, p := range pairs {
			start := time.Now()
			verifyPair(b, roots[i], p)
			mid := time.Now()
			for _, c := range floors[i] {
				if !c.Run() {
					b.Fatal(c.Name)
				}
			}
			times[i][0] = append(times[i][0], mid.Sub(start))
			times[i][1] = append(times[i][1], time.Since(mid))
		}
	}
	var sum [2]time.Duration
	for i := range pairs {
		for j := range sum {
			slices.Sort(times[i][j])
			sum[j] += times[i][j][len(times[i][j])/10]
		}
	}
	b.ReportMetric(float64(sum[0])/float64(sum[1]), "assay/floor")
	b.ReportMetric(float64(sum[1].Microseconds())/float64(len(pairs)), "floor-µs")
	b.ReportMetric(0, "ns/op")
}

func verifyPair(b *testing.B, r *TrustedRoot, p pair) {
	for _, c := range p.bundles {
		parsed, err := ParseBundle(c.data)
		if err != nil {
			b.Fatal(err)
		}
		if !r.Verify(parsed, c.options).OK() {
			b.Fatal("does not verify")
		}
		if _, err := ParseStatement(parsed.Envelope.Payload); err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkParse measures the parts of BenchmarkPair that are no signature check.
func BenchmarkParse(b *testing.B) {
	p := benchPairs(b)[0]
	b.Run("ParseBundle", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			for _, c := range p.bundles {
				if _, err := ParseBundle(c.data); err != nil {
					b.Fatal(err)
				}
			}
		}
	})
	b.Run("ParseStatement", func(b *testing.B) {
		b.ReportAllocs()
		var payloads [][]byte
		for _, c := range p.bundles {
			var bundle struct {
				DSSEEnvelope struct{ Payload []byte }
			}
			if err := json.Unmarshal(c.data, &bundle); err != nil {
				b.Fatal(err)
			}
			payloads = append(payloads, bundle.DSSEEnvelope.Payload)
		}
		for b.Loop() {
			for _, payload := range payloads {
				if _, err := ParseStatement(payload); err != nil {
					b.Fatal(err)
				}
			}
		}
	})
	b.Run("ParseTrustedRoot", func(b *testing.B) {
		for b.Loop() {
			if _, err := ParseTrustedRoot(p.root); err != nil {
				b.Fatal(err)
			}
		}
	})
}

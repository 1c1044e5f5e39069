package lab

import (
	"crypto/sha256"
	"fmt"
	"testing"
)

// rootByDefinition is MTH of RFC 6962 section 2.1, straight from the text.
func rootByDefinition(leaves [][]byte) [32]byte {
	switch n := len(leaves); n {
	case 0:
		return sha256.Sum256(nil)
	case 1:
		return leafHash(leaves[0])
	default:
		k := 1
		for k*2 < n {
			k *= 2
		}
		return nodeHash(rootByDefinition(leaves[:k]), rootByDefinition(leaves[k:]))
	}
}

// climb computes the root from a leaf and its audit path (RFC 9162 section 2.1.3.2).
func climb(h [32]byte, index, size int64, path [][32]byte) ([32]byte, bool) {
	fn, sn := index, size-1
	for _, p := range path {
		if sn == 0 {
			return h, false
		}
		if fn&1 == 1 || fn == sn {
			h = nodeHash(p, h)
			for fn&1 == 0 && fn != 0 {
				fn, sn = fn>>1, sn>>1
			}
		} else {
			h = nodeHash(h, p)
		}
		fn, sn = fn>>1, sn>>1
	}
	return h, sn == 0
}

func TestTree(t *testing.T) {
	var tr tree
	var leaves [][]byte
	for n := int64(1); n <= 40; n++ {
		leaf := fmt.Appendf(nil, "leaf %d", n)
		leaves = append(leaves, leaf)
		if got := tr.add(leafHash(leaf)); got != n-1 {
			t.Fatalf("leaf %d was given index %d", n-1, got)
		}
		root := rootByDefinition(leaves)
		if tr.root(n) != root {
			t.Fatalf("wrong root at size %d", n)
		}
		for i := range n {
			got, ok := climb(leafHash(leaves[i]), i, n, tr.inclusion(i, n))
			if !ok || got != root {
				t.Fatalf("the path of leaf %d does not lead to the root of size %d", i, n)
			}
		}
	}
	for m := int64(1); m <= 40; m++ {
		if got := tr.root(m); got != rootByDefinition(leaves[:m]) {
			t.Fatalf("wrong root of the first %d of 40", m)
		}
		checkConsistency(t, &tr, m, 40)
	}
}

// checkConsistency verifies a consistency proof (RFC 9162 section 2.1.4.2).
func checkConsistency(t *testing.T, tr *tree, m, n int64) {
	t.Helper()
	proof := tr.consistency(m, n)
	if m == n {
		if len(proof) != 0 {
			t.Errorf("proof from %d to itself is not empty", m)
		}
		return
	}
	if m&(m-1) == 0 {
		proof = append([][32]byte{tr.root(m)}, proof...)
	}
	fn, sn := m-1, n-1
	for fn&1 == 1 {
		fn, sn = fn>>1, sn>>1
	}
	fr, sr := proof[0], proof[0]
	for _, c := range proof[1:] {
		if fn&1 == 1 || fn == sn {
			fr, sr = nodeHash(c, fr), nodeHash(c, sr)
			for fn&1 == 0 && fn != 0 {
				fn, sn = fn>>1, sn>>1
			}
		} else {
			sr = nodeHash(sr, c)
		}
		fn, sn = fn>>1, sn>>1
	}
	if fr != tr.root(m) || sr != tr.root(n) || sn != 0 {
		t.Errorf("the proof that %d leaves became %d does not hold", m, n)
	}
}

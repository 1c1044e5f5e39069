package lab

import (
	"crypto/sha256"
	"math/bits"
)

// A tree is an append-only Merkle tree (RFC 6962 section 2.1) that keeps every complete subtree: levels[h][i] is
// the hash over the leaves i·2^h to (i+1)·2^h − 1.
type tree struct{ levels [][][32]byte }

func leafHash(leaf []byte) [32]byte { return sha256.Sum256(append([]byte{0}, leaf...)) }

func nodeHash(left, right [32]byte) [32]byte {
	return sha256.Sum256(append(append([]byte{1}, left[:]...), right[:]...))
}

func (t *tree) size() int64 {
	if len(t.levels) == 0 {
		return 0
	}
	return int64(len(t.levels[0]))
}

// add appends a leaf hash and returns its index.
func (t *tree) add(h [32]byte) int64 {
	for level := 0; ; level++ {
		if level == len(t.levels) {
			t.levels = append(t.levels, nil)
		}
		t.levels[level] = append(t.levels[level], h)
		n := len(t.levels[level])
		if n%2 == 1 {
			return t.size() - 1
		}
		h = nodeHash(t.levels[level][n-2], t.levels[level][n-1])
	}
}

// split is the largest power of two smaller than n, n > 1.
func split(n int64) int64 { return 1 << (bits.Len64(uint64(n-1)) - 1) }

// hash is MTH(D[from:to]) for a range that begins where a subtree begins.
func (t *tree) hash(from, to int64) [32]byte {
	n := to - from
	if n == 0 {
		return sha256.Sum256(nil)
	}
	if n&(n-1) == 0 {
		h := bits.TrailingZeros64(uint64(n))
		return t.levels[h][from>>h]
	}
	k := split(n)
	return nodeHash(t.hash(from, from+k), t.hash(from+k, to))
}

// root is the root of the tree's first n leaves.
func (t *tree) root(n int64) [32]byte { return t.hash(0, n) }

// inclusion is PATH(index, D[0:n]), the lowest sibling first.
func (t *tree) inclusion(index, n int64) [][32]byte { return t.path(index, 0, n) }

func (t *tree) path(index, from, to int64) [][32]byte {
	if to-from == 1 {
		return nil
	}
	k := from + split(to-from)
	if index < k {
		return append(t.path(index, from, k), t.hash(k, to))
	}
	return append(t.path(index, k, to), t.hash(from, k))
}

// consistency is PROOF(m, D[0:n]), 0 < m <= n.
func (t *tree) consistency(m, n int64) [][32]byte { return t.subproof(m, 0, n, true) }

func (t *tree) subproof(m, from, to int64, whole bool) [][32]byte {
	if m == to {
		if whole {
			return nil
		}
		return [][32]byte{t.hash(from, to)}
	}
	k := from + split(to-from)
	if m <= k {
		return append(t.subproof(m, from, k, whole), t.hash(k, to))
	}
	return append(t.subproof(m, k, to, false), t.hash(from, k))
}

package sigstore

import (
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"math/bits"
	"strconv"
	"strings"
	"unicode/utf8"

	"assay/internal/sigstore/strictjson"
)

// A checkpoint is a signed tree head in the form of a signed note (C2SP tlog-checkpoint and signed-note).
type checkpoint struct {
	origin     string
	size       int64
	root       []byte
	text       string // what the signatures cover
	signatures []noteSignature
}

type noteSignature struct {
	name      string
	hint      [4]byte
	signature []byte
}

const (
	maxCheckpoint     = 64 << 10
	maxNoteSignatures = 100 // as golang.org/x/mod/sumdb/note
)

var errCheckpoint = errors.New("not a checkpoint in the form of a signed note")

// parseCheckpoint reads a checkpoint: origin, size and root hash in a line each, further lines that are signed as well,
// an empty line, and the signature lines.
func parseCheckpoint(note string) (*checkpoint, error) {
	if len(note) > maxCheckpoint || !utf8.ValidString(note) {
		return nil, errCheckpoint
	}
	for i := range len(note) {
		if note[i] < ' ' && note[i] != '\n' {
			return nil, errCheckpoint
		}
	}
	split := strings.LastIndex(note, "\n\n")
	if split < 0 {
		return nil, errCheckpoint
	}
	c := &checkpoint{text: note[:split+1]}
	var size, root string
	var ok [3]bool
	rest := c.text
	c.origin, rest, ok[0] = strings.Cut(rest, "\n")
	size, rest, ok[1] = strings.Cut(rest, "\n")
	root, _, ok[2] = strings.Cut(rest, "\n")
	if ok != [3]bool{true, true, true} || c.origin == "" {
		return nil, errCheckpoint
	}
	var err error
	if c.size, err = strconv.ParseInt(size, 10, 64); err != nil || c.size < 0 || strconv.FormatInt(c.size, 10) != size {
		return nil, errCheckpoint
	}
	var valid bool
	if c.root, valid = strictjson.DecodeBase64([]byte(root)); !valid || len(c.root) != sha256.Size {
		return nil, errCheckpoint
	}
	lines, terminated := strings.CutSuffix(note[split+2:], "\n")
	if !terminated {
		return nil, errCheckpoint
	}
	for line := range strings.SplitSeq(lines, "\n") {
		line, dash := strings.CutPrefix(line, "\u2014 ")
		name, sig, space := strings.Cut(line, " ")
		b, valid := strictjson.DecodeBase64([]byte(sig))
		if !dash || !space || name == "" || !valid || len(b) < 5 || len(c.signatures) == maxNoteSignatures {
			return nil, errCheckpoint
		}
		c.signatures = append(c.signatures, noteSignature{name: name, hint: [4]byte(b), signature: b[4:]})
	}
	return c, nil
}

// rekorV1Origin splits the origin of a checkpoint of Rekor v1, "rekor.sigstore.dev - 2605736670972794746": host name and
// tree ID.
func rekorV1Origin(origin string) (host string, ok bool) {
	host, tree, ok := strings.Cut(origin, " - ")
	if !ok || host == "" || tree == "" {
		return "", false
	}
	for _, c := range []byte(tree) {
		if c < '0' || c > '9' {
			return "", false
		}
	}
	return host, true
}

// inclusionRoot computes the root of the tree of the given size from a leaf and its inclusion proof (RFC 6962 section
// 2.1.1, RFC 9162 section 2.1.3.2). It returns nil where the number of hashes is not exactly right.
func inclusionRoot(leaf [sha256.Size]byte, index, size int64, hashes [][]byte) []byte {
	if index < 0 || index >= size {
		return nil
	}
	inner := bits.Len64(uint64(index ^ (size - 1)))
	border := bits.OnesCount64(uint64(index) >> inner)
	if len(hashes) != inner+border {
		return nil
	}
	var node [1 + 2*sha256.Size]byte
	node[0] = 1
	h := leaf
	for i, sibling := range hashes {
		if len(sibling) != sha256.Size {
			return nil
		}
		if i < inner && index>>i&1 == 0 {
			copy(node[1:], h[:])
			copy(node[1+sha256.Size:], sibling)
		} else {
			copy(node[1:], sibling)
			copy(node[1+sha256.Size:], h[:])
		}
		h = sha256.Sum256(node[:])
	}
	return h[:]
}

// appendLeaf appends what the hash of an entry in the tree is over (RFC 6962 section 2.1).
func appendLeaf(dst, body []byte) []byte { return append(append(dst, 0), body...) }

func b64(b []byte) string { return base64.StdEncoding.EncodeToString(b) }

package npm

import (
	"bytes"
	"encoding/base64"
	"errors"
	"fmt"
	"slices"
	"strings"
)

// maxIntegrityLength bounds an integrity string; a real one is some 95 characters a hash.
const maxIntegrityLength = 16 << 10

// hashAlgorithms are the algorithms that count, strongest first, with the size of their digests in bytes.
var hashAlgorithms = []struct {
	name string
	size int
}{
	{"sha512", 64}, {"sha384", 48}, {"sha256", 32}, {"sha1", 20},
}

// A Hash is one hash of an integrity string.
type Hash struct {
	Algorithm string // "sha512", "sha384", "sha256" or "sha1"
	Digest    []byte // raw, of the algorithm's size
	Options   string // what follows the digest from its first "?" on, such as "?foo"; mostly ""
}

// String returns the hash as it stands in an integrity string: "sha512-" and base64, then the options.
func (h Hash) String() string {
	return h.Algorithm + "-" + base64.StdEncoding.EncodeToString(h.Digest) + h.Options
}

// An Integrity is the list of hashes in an integrity string of subresource integrity, in order.
// A nil Integrity binds nothing.
type Integrity []Hash

// ParseIntegrity reads an integrity string: hashes separated by white space, each "ALGORITHM-BASE64" with
// options after a "?". As ssri does, it passes over hashes with an algorithm that it does not know (md5
// counts as one of them) and over words that are no hash at all; where nothing is left it returns nil and no error.
//
// A hash of a known algorithm whose base64 is not canonical or whose digest has the wrong size is an
// error, unlike in ssri: to pass over a damaged sha512 would mean to make do with a sha1 beside it.
// Source: W3C Subresource Integrity, section 3.5; npm's ssri, not in strict mode.
func ParseIntegrity(s string) (Integrity, error) {
	if len(s) > maxIntegrityLength {
		return nil, fmt.Errorf("integrity string is longer than %d characters", maxIntegrityLength)
	}
	var in Integrity
	for word := range strings.FieldsFuncSeq(s, isSpaceJS) {
		text, options := word, ""
		if i := strings.IndexByte(word, '?'); i >= 0 {
			text, options = word[:i], word[i:]
		}
		algorithm, digest, ok := strings.Cut(text, "-")
		if !ok {
			continue
		}
		size := digestSize(algorithm)
		if size == 0 {
			continue
		}
		raw, err := decodeBase64(digest)
		if err != nil {
			return nil, fmt.Errorf("integrity %s: %w", quoteShort(word), err)
		}
		if len(raw) != size {
			return nil, fmt.Errorf("integrity %s: digest has %d bytes, %s has %d", quoteShort(word), len(raw), algorithm, size)
		}
		in = append(in, Hash{algorithm, raw, options})
	}
	return in, nil
}

// String returns the integrity as ssri prints it: hashes of one algorithm together, algorithms in the
// order of their first hash, one space between hashes. It is "" for a nil Integrity.
func (in Integrity) String() string {
	var words, done []string
	for _, h := range in {
		if slices.Contains(done, h.Algorithm) {
			continue
		}
		done = append(done, h.Algorithm)
		for _, same := range in.Find(h.Algorithm) {
			words = append(words, same.String())
		}
	}
	return strings.Join(words, " ")
}

// Strongest returns the first hash of the strongest algorithm, in the order sha512, sha384, sha256, sha1.
// It is false if there is none.
func (in Integrity) Strongest() (Hash, bool) {
	for _, a := range hashAlgorithms {
		if found := in.Find(a.name); found != nil {
			return found[0], true
		}
	}
	return Hash{}, false
}

// Find returns all hashes of one algorithm in order, nil if there is none.
func (in Integrity) Find(algorithm string) []Hash {
	var found []Hash
	for _, h := range in {
		if h.Algorithm == algorithm {
			found = append(found, h)
		}
	}
	return found
}

// StrongestCommon returns the strongest algorithm of which both a and b have a hash. It is false if there is none.
func StrongestCommon(a, b Integrity) (algorithm string, ok bool) {
	for _, h := range hashAlgorithms {
		if a.Find(h.name) != nil && b.Find(h.name) != nil {
			return h.name, true
		}
	}
	return "", false
}

// Match compares two integrities by their strongest common algorithm, which it returns; they are equal
// if a hash of one is a hash of the other. Without a common algorithm it returns "" and false.
// Source: ssri, Integrity.match.
func (in Integrity) Match(other Integrity) (algorithm string, equal bool) {
	algorithm, ok := StrongestCommon(in, other)
	if !ok {
		return "", false
	}
	for _, a := range in.Find(algorithm) {
		for _, b := range other.Find(algorithm) {
			if bytes.Equal(a.Digest, b.Digest) {
				return algorithm, true
			}
		}
	}
	return algorithm, false
}

func digestSize(algorithm string) int {
	for _, a := range hashAlgorithms {
		if a.name == algorithm {
			return a.size
		}
	}
	return 0
}

// decodeBase64 decodes the standard alphabet with padding in its only canonical form. Go's decoder
// would pass over line breaks and, when not strict, over stray trailing bits: two texts for one value.
func decodeBase64(s string) ([]byte, error) {
	if strings.ContainsAny(s, "\r\n") {
		return nil, errors.New("base64 has a line break")
	}
	raw, err := base64.StdEncoding.Strict().DecodeString(s)
	if err != nil {
		return nil, errors.New("base64 is malformed")
	}
	return raw, nil
}

// isSpaceJS reports whether JavaScript counts r as white space: what its trim removes and \s matches.
// Source: ECMA-262, WhiteSpace and LineTerminator.
func isSpaceJS(r rune) bool {
	switch r {
	case '\t', '\n', '\v', '\f', '\r', ' ', 0xa0, 0x1680, 0x2028, 0x2029, 0x202f, 0x205f, 0x3000, 0xfeff:
		return true
	}
	return 0x2000 <= r && r <= 0x200a
}

package evidence

import (
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"hash"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"sync"
)

// KeySize is the length in bytes of the key that [KeyFile] makes.
const KeySize = 32

// A sum is a SHA-256 digest or a MAC of that size.
type sum = [sha256.Size]byte

// Domains keep the things that are hashed or authenticated apart, so that bytes of one kind never pass for
// another. A change of what is hashed takes a new number.
const (
	domainSubject  = "assay evidence subject 1"
	domainEntry    = "assay evidence entry 1"
	domainEvidence = "assay evidence fingerprint 1"
	domainRowKey   = "assay evidence row key 1"
	domainRow      = "assay evidence row 1"
)

// writeParts writes a domain and parts to h, each with its length before it: no two different lists of
// parts are the same bytes.
func writeParts(h hash.Hash, domain string, parts [][]byte) {
	var n [8]byte
	binary.BigEndian.PutUint64(n[:], uint64(len(domain)))
	h.Write(n[:])
	h.Write([]byte(domain))
	for _, p := range parts {
		binary.BigEndian.PutUint64(n[:], uint64(len(p)))
		h.Write(n[:])
		h.Write(p)
	}
}

// digest is SHA-256 over a domain and parts.
func digest(domain string, parts ...[]byte) sum {
	h := sha256.New()
	writeParts(h, domain, parts)
	var d sum
	h.Sum(d[:0])
	return d
}

// An authenticator makes and checks MACs, HMAC-SHA-256 (RFC 2104) under one key. Without a key it makes
// zero MACs and believes none. It is safe for concurrent use.
type authenticator struct {
	keyed bool
	pool  sync.Pool // of hash.Hash; a keyed hash is dearer to make than to reset
}

func newAuthenticator(key []byte) *authenticator {
	a := &authenticator{keyed: len(key) > 0}
	key = append([]byte(nil), key...)
	a.pool.New = func() any { return hmac.New(sha256.New, key) }
	return a
}

// mac returns the MAC of the parts under a domain.
func (a *authenticator) mac(domain string, parts ...[]byte) sum {
	var m sum
	if !a.keyed {
		return m
	}
	h := a.pool.Get().(hash.Hash)
	h.Reset()
	writeParts(h, domain, parts)
	h.Sum(m[:0])
	a.pool.Put(h)
	return m
}

// holds reports whether m is the MAC of the parts. It never is where there is no key.
func (a *authenticator) holds(m []byte, domain string, parts ...[]byte) bool {
	if !a.keyed {
		return false
	}
	want := a.mac(domain, parts...)
	return hmac.Equal(m, want[:])
}

// KeyFile returns the key kept in a file, which it makes (mode 0600, random) where there is none. The file
// must lie outside of the cache directory: whoever can write both can forge entries. A file that others
// than its owner may read or write is refused, except on Windows, where modes say nothing.
func KeyFile(path string) ([]byte, error) {
	for range 3 { // another process may make it, or remove it, at the same moment
		key, err := readKey(path)
		if err == nil || !errors.Is(err, fs.ErrNotExist) {
			return key, err
		}
		if err := makeKey(path); err != nil {
			return nil, err
		}
	}
	return nil, fmt.Errorf("cache key %s: it keeps vanishing", path)
}

func readKey(path string) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, fmt.Errorf("reading the cache key: %w", err)
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return nil, fmt.Errorf("reading the cache key: %w", err)
	}
	if !info.Mode().IsRegular() {
		return nil, fmt.Errorf("cache key %s: not a regular file", path)
	}
	if runtime.GOOS != "windows" && info.Mode().Perm()&0o077 != 0 {
		return nil, fmt.Errorf("cache key %s: mode %04o lets others at it, want 0600", path, info.Mode().Perm())
	}
	key := make([]byte, KeySize+1)
	n, _ := f.ReadAt(key, 0)
	if n != KeySize {
		return nil, fmt.Errorf("cache key %s: not %d bytes long", path, KeySize)
	}
	return key[:KeySize], nil
}

// makeKey puts a complete key file in place, unless there is one by then.
func makeKey(path string) error {
	dir := filepath.Dir(path)
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return fmt.Errorf("making the cache key: %w", err)
	}
	f, err := os.CreateTemp(dir, ".assay-key-*") // mode 0600
	if err != nil {
		return fmt.Errorf("making the cache key: %w", err)
	}
	defer os.Remove(f.Name())
	key := make([]byte, KeySize)
	rand.Read(key) // never fails: crypto/rand
	_, err = f.Write(key)
	if cerr := f.Close(); err == nil {
		err = cerr
	}
	if err != nil {
		return fmt.Errorf("making the cache key: %w", err)
	}
	// A link, unlike a rename, never replaces the key that another process just made and uses.
	err = os.Link(f.Name(), path)
	if err == nil || errors.Is(err, fs.ErrExist) {
		return nil
	}
	if err := os.Rename(f.Name(), path); err != nil { // file systems without links
		return fmt.Errorf("making the cache key: %w", err)
	}
	return nil
}

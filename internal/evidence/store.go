package evidence

import (
	"cmp"
	"crypto/rand"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"iter"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

// StoreOptions say where a cache lies and what bounds it.
type StoreOptions struct {
	Dir      string           // made if it is not there; Assay's alone
	Key      []byte           // authenticates entries; at least 16 bytes, or empty: nothing read is authenticated
	MaxBytes int64            // of all files; 0: DefaultMaxBytes
	Now      func() time.Time // nil: time.Now
}

// DefaultMaxBytes bounds a cache where nothing else is said.
const DefaultMaxBytes = 1 << 30

// A Store is a cache directory: blobs by the SHA-256 of their content, index entries saying which blobs
// answered what, and rows, the results of verification. Any number of processes may use one directory at
// once; none ever waits for another. It is safe for concurrent use. Bodies of more than 1 MiB are not kept,
// whether anything in them verifies or not: no real package needs them to be.
//
// What is written is seen by this process at once, and by others after [Store.Flush] or [Store.Close].
//
// Nothing in the directory is trusted for being there. A blob that does not hash to its name is no blob. An
// entry or a row counts as this machine's own word only if its MAC verifies under [StoreOptions].Key,
// which lies elsewhere; the MAC covers the entry's subject or the row's inputs, so moving one does not help.
// An older entry that was authentic once can be put back, but then it is as old as its times say.
// What an unauthenticated entry is still good for is up to the [Collector].
//
// Trouble with the directory never stops an audit: what cannot be read is not there, and after the first
// error of writing nothing more is written; Close returns that error.
type Store struct {
	dir      string
	auth     *authenticator
	maxBytes int64
	now      func() time.Time

	mu       sync.RWMutex
	segments []*segment // the newest first
	last     atomic.Pointer[segment]
	draft    *draft
	err      error // the first one of writing
}

const (
	storeFormat   = "v1" // directory under Dir; another layout takes another number
	segmentPrefix = "seg-"
	draftPrefix   = "tmp-"

	maxSegments   = 64       // each costs every search a little
	maxTables     = 64 << 20 // bytes, of all segments
	smallSegment  = 8 << 20  // bytes
	manySegments  = 12       // small ones; more are merged
	mergedSegment = 64 << 20 // bytes, about
	draftLifetime = 24 * time.Hour
	touchEvery    = time.Hour
)

// OpenStore opens a cache directory. It returns an error for options that make no sense or a directory that
// cannot be made; damaged files in it are passed over.
func OpenStore(o StoreOptions) (*Store, error) {
	if n := len(o.Key); n > 0 && n < 16 {
		return nil, fmt.Errorf("opening the cache: a key of %d bytes is too short", n)
	}
	if o.Dir == "" {
		return nil, errors.New("opening the cache: no directory given")
	}
	s := &Store{
		dir:      filepath.Join(o.Dir, storeFormat),
		auth:     newAuthenticator(o.Key),
		maxBytes: cmp.Or(o.MaxBytes, DefaultMaxBytes),
		now:      o.Now,
	}
	if s.now == nil {
		s.now = time.Now
	}
	if err := os.MkdirAll(s.dir, 0o700); err != nil {
		return nil, fmt.Errorf("opening the cache: %w", err)
	}
	s.load()
	return s, nil
}

// Keyed reports whether entries can be authenticated at all.
func (s *Store) Keyed() bool { return s.auth.keyed }

// load opens the directory's segments, the newest first. s.mu is held, or s is new.
func (s *Store) load() {
	for range 3 { // another process may replace several segments by one while we look
		vanished := false
		tables := 0
		for _, name := range listSegments(s.dir) {
			if len(s.segments) == maxSegments || tables > maxTables {
				break
			}
			g, err := openSegment(filepath.Join(s.dir, name))
			if errors.Is(err, fs.ErrNotExist) {
				vanished = true
			} else if err == nil {
				s.segments = append(s.segments, g)
				tables += len(g.table)
			}
		}
		if !vanished {
			return
		}
		s.closeSegments()
	}
}

func (s *Store) closeSegments() {
	for _, g := range s.segments {
		g.file.Close()
	}
	s.segments = nil
	s.last.Store(nil)
}

// listSegments returns the names of the segments in a directory, the newest first.
func listSegments(dir string) []string {
	list, err := os.ReadDir(dir)
	if err != nil {
		return nil
	}
	var names []string
	for _, e := range slices.Backward(list) { // names begin with the time of writing
		if e.Type().IsRegular() && strings.HasPrefix(e.Name(), segmentPrefix) {
			names = append(names, e.Name())
		}
	}
	return names
}

// newName returns a file name that no other process makes: the time, then chance. Hexadecimal only, since
// file systems differ in what else they bear.
func (s *Store) newName(prefix string) string {
	var b [8]byte
	rand.Read(b[:])
	return fmt.Sprintf("%s%016x-%s", prefix, uint64(s.now().UnixNano()), hex.EncodeToString(b[:]))
}

// Flush makes what was written visible to other processes, and what they wrote visible here.
func (s *Store) Flush() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.flush()
	s.load()
	return s.err
}

// Close flushes and closes the store, and keeps the directory within its bounds. It returns the first error
// of writing. The store must not be used afterwards.
func (s *Store) Close() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.flush()
	return s.err
}

// flush seals the draft, lets go of all files and tidies up. s.mu is held.
func (s *Store) flush() {
	wrote := s.draft != nil
	s.seal()
	now := s.now()
	for _, g := range s.segments {
		if g.used.Load() && now.Sub(g.modified) > touchEvery {
			// The time of last use, for eviction; only a hint, so an error does not matter.
			_ = os.Chtimes(filepath.Join(s.dir, g.name), now, now)
		}
	}
	s.closeSegments()
	if wrote && s.err == nil {
		s.tidy()
	}
}

// seal completes the draft, if there is one, and opens it as a segment. s.mu is held.
func (s *Store) seal() {
	d := s.draft
	if d == nil {
		return
	}
	s.draft = nil
	path := filepath.Join(s.dir, s.newName(segmentPrefix))
	if err := d.seal(path); err != nil {
		s.fail(err)
		return
	}
	if g, err := openSegment(path); err == nil {
		s.segments = append([]*segment{g}, s.segments...)
	}
}

func (s *Store) fail(err error) {
	if s.err == nil && err != nil {
		s.err = fmt.Errorf("writing to the cache: %w", err)
	}
}

// draftBytes is the size at which a draft becomes a segment: a part of the bound, since segments are evicted whole.
func (s *Store) draftBytes() int64 { return min(mergedSegment, max(s.maxBytes/8, 1)) }

// add writes one record. s.mu is held for writing.
func (s *Store) add(k kind, key sum, record []byte) {
	if s.draft != nil && s.draft.full(s.draftBytes()) {
		s.seal()
	}
	if s.err != nil {
		return
	}
	if s.draft == nil {
		d, err := newDraft(filepath.Join(s.dir, s.newName(draftPrefix)))
		if err != nil {
			s.fail(err)
			return
		}
		s.draft = d
	}
	if err := s.draft.add(k, key, record); err != nil {
		s.fail(err)
		s.draft.drop()
		s.draft = nil
	}
}

// find ranges over where records of a key lie. s.mu is held. The segment that the last one was read from
// comes first: what one audit wrote, another reads, and the first record that is found mostly ends a search.
func (s *Store) find(k kind, key sum) iter.Seq[place] {
	return func(yield func(place) bool) {
		if s.draft != nil && !s.draft.find(k, key, yield) {
			return
		}
		last := s.last.Load()
		if last != nil && !last.find(k, key, yield) {
			return
		}
		for _, g := range s.segments {
			if g != last && !g.find(k, key, yield) {
				return
			}
		}
	}
}

// read returns the record at a place.
func (s *Store) read(p place) ([]byte, error) {
	b, err := p.read()
	if err == nil && p.segment != nil && s.last.Load() != p.segment {
		s.last.Store(p.segment)
	}
	return b, err
}

// blob returns the bytes with a digest. A damaged blob is not there, nor one that is larger than what is kept.
func (s *Store) blob(key sum) ([]byte, bool) { return s.blobUpTo(key, maxBlob) }

// blobUpTo is blob for one of at most max bytes.
func (s *Store) blobUpTo(key sum, max int) ([]byte, bool) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	return s.readBlob(key, max)
}

func (s *Store) readBlob(key sum, max int) ([]byte, bool) {
	for p := range s.find(kindBlob, key) {
		if int64(p.slot.length) > int64(max) {
			continue
		}
		if b, err := s.read(p); err == nil && sha256.Sum256(b) == key {
			return b, true
		}
	}
	return nil, false
}

// has reports whether there is a blob with a digest, whole or damaged.
func (s *Store) has(key sum) bool {
	s.mu.RLock()
	defer s.mu.RUnlock()
	return s.hasLocked(key)
}

func (s *Store) hasLocked(key sum) bool {
	for range s.find(kindBlob, key) {
		return true
	}
	return false
}

// putBlob keeps bytes and returns their digest. More than maxBlob are not kept.
func (s *Store) putBlob(b []byte) sum {
	key := sha256.Sum256(b)
	if len(b) > maxBlob {
		return key
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if _, ok := s.readBlob(key, maxBlob); !ok {
		s.add(kindBlob, key, b)
	}
	return key
}

// clockSkew is how far in the future a time may lie and still be believed.
const clockSkew = 5 * time.Minute

// entry returns what is kept about a subject, nil for nothing. An entry is authenticated if its MAC
// verifies; the others must at least be well-formed and about the subject. One from the future, which
// would outlast all that come after it, is passed over.
func (s *Store) entry(about subject) (e *entry, authenticated bool) {
	key := about.key()
	s.mu.RLock()
	defer s.mu.RUnlock()
	var all []candidate
	for p := range s.find(kindEntry, key) {
		if b, err := s.read(p); err == nil {
			if c, ok := s.parseEntry(key, b); ok && c.subject == about && s.believable(c.at) {
				all = append(all, c)
			}
		}
	}
	return mergeEntries(all, s.hasLocked)
}

func (s *Store) believable(at time.Time) bool { return at.Before(s.now().Add(clockSkew)) }

// parseEntry reads the record of an entry: a MAC, then the entry.
func (s *Store) parseEntry(key sum, record []byte) (candidate, bool) {
	var mac sum
	if len(record) < len(mac) {
		return candidate{}, false
	}
	e, err := decodeEntry(record[len(mac):])
	if err != nil {
		return candidate{}, false
	}
	return candidate{e, s.auth.holds(record[:len(mac)], domainEntry, key[:], record[len(mac):])}, true
}

func (s *Store) entryRecord(key sum, e *entry) []byte {
	b := e.encode()
	mac := s.auth.mac(domainEntry, key[:], b)
	return append(mac[:], b...)
}

// putEntry keeps an entry. One that is out of bounds is not kept.
func (s *Store) putEntry(e *entry) {
	key := e.key()
	record := s.entryRecord(key, e)
	if _, ok := s.parseEntry(key, record); !ok {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.add(kindEntry, key, record)
}

// A row says which result some inputs gave. The result is a blob, so that keeping it again costs little.
type row struct {
	class Class
	at    time.Time
	value sum
}

const rowSize = 32 + 1 + 8 + 32 // MAC, class, nanoseconds since 1970, digest

// row returns an authenticated row of a key that is acceptable, and its value.
func (s *Store) row(key sum, accept func(row) bool) (value []byte, ok bool) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	for p := range s.find(kindRow, key) {
		b, err := s.read(p)
		if err != nil {
			continue
		}
		if r, ok := s.parseRow(key, b); ok && accept(r) {
			if value, ok := s.readBlob(r.value, maxBlob); ok {
				return value, true
			}
		}
	}
	return nil, false
}

func (s *Store) parseRow(key sum, b []byte) (row, bool) {
	if len(b) != rowSize || !s.auth.holds(b[:32], domainRow, key[:], b[32:]) {
		return row{}, false
	}
	nanos := int64(binary.BigEndian.Uint64(b[33:]))
	return row{Class(b[32]), time.Unix(0, nanos).UTC(), sum(b[41:])}, true
}

// putRow keeps a row; without a key there is no use in it.
func (s *Store) putRow(key sum, r row) {
	if !s.auth.keyed {
		return
	}
	b := make([]byte, 32, rowSize)
	b = append(b, byte(r.class))
	b = binary.BigEndian.AppendUint64(b, uint64(r.at.UnixNano()))
	b = append(b, r.value[:]...)
	mac := s.auth.mac(domainRow, key[:], b[32:])
	copy(b, mac[:])
	s.mu.Lock()
	defer s.mu.Unlock()
	s.add(kindRow, key, b)
}

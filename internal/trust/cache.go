package trust

import (
	"context"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"time"
)

// cacheSchema names the form of the cache file.
const cacheSchema = "assay/tuf-cache/v1"

// cacheFile is the form of the cache: one file, so that whoever reads it sees one state and not two halves.
// Nothing in it is trusted; Metadata is verified whenever it is read.
type cacheFile struct {
	Schema    string    `json:"schema"`
	URL       string    `json:"url"`       // of the TUF repository
	CheckedAt time.Time `json:"checkedAt"` // when the repository was last asked and answered
	Metadata  *Metadata `json:"metadata"`
}

// A cacheEntry is what the cache holds, or what a refresh brought.
type cacheEntry struct {
	state    *state // verified from the root to start from, expiry aside; nil if there is none
	lastRoot int64  // version of the newest TUF root that the entry claims
	at       time.Time
	notes    []Note
}

// cachePath is the cache file's path without extension. Different repositories, and different roots to start
// from, do not share one. Empty: there is no cache.
func (o *Options) cachePath() string {
	if o.CacheDir == "" {
		return ""
	}
	u, err := url.Parse(o.TUFURL)
	if err != nil {
		return ""
	}
	host := strings.Map(func(r rune) rune {
		if r >= 'a' && r <= 'z' || r >= '0' && r <= '9' || r == '.' || r == '-' {
			return r
		}
		return '-'
	}, strings.ToLower(u.Host))
	sum := sha256.Sum256(append([]byte(o.TUFURL+"\x00"), o.TUFRoot...))
	return filepath.Join(o.CacheDir, "tuf", fmt.Sprintf("%.64s-%x", host, sum[:6]))
}

// cached reads and verifies the cache. What does not verify is told in notes and otherwise ignored.
func (o *Options) cached(names []string) (c cacheEntry) {
	path := o.cachePath()
	if path == "" {
		return c
	}
	data, err := readFile(path+".json", maxMetadata)
	if errors.Is(err, fs.ErrNotExist) {
		return c
	}
	var file cacheFile
	if err == nil {
		err = json.Unmarshal(data, &file)
	}
	if err == nil && (file.Schema != cacheSchema || file.URL != o.TUFURL || file.Metadata == nil) {
		err = errors.New("not a cache of this TUF repository")
	}
	if err == nil {
		for _, r := range file.Metadata.Roots {
			if v, err := rootVersion(r); err == nil {
				c.lastRoot = max(c.lastRoot, v)
			}
		}
		var st *state
		if st, err = file.Metadata.verify(o.start(), time.Time{}, names); err == nil {
			c.state, c.at = st, file.CheckedAt
			err = st.wrong()
			for name, m := range st.missing {
				// The embedded file may be the very one.
				if data := embeddedState().files[name]; data != nil && m.info != nil && checkFile(m.info, data) == nil {
					st.files[name], st.metadata.Files[name] = data, data
					delete(st.missing, name)
				}
			}
		} else if start, _ := rootVersion(o.start()); c.lastRoot < start {
			return cacheEntry{} // written by an earlier release, under keys that were replaced since
		}
	}
	if err != nil {
		c.notes = append(c.notes, Note{NoteCacheInvalid, fmt.Sprintf("cached TUF metadata %s.json: %v", path, err)})
	}
	return c
}

// keep writes the cache, replacing the file at one go.
func (o *Options) keep(c cacheEntry) error {
	path := o.cachePath()
	if path == "" {
		return nil
	}
	data, err := json.Marshal(cacheFile{cacheSchema, o.TUFURL, c.at.UTC(), c.state.metadata})
	if err != nil {
		return fmt.Errorf("keeping TUF metadata: %w", err)
	}
	if err := writeFile(path+".json", data, 0o600); err != nil {
		return fmt.Errorf("keeping TUF metadata: %w", err)
	}
	return nil
}

// pause notes that the repository could not be reached. Whoever can write to the cache can keep a refresh
// from happening for as long as a pause lasts, and no longer: a note from the future is none.
func (o *Options) pause(failed *RefreshError) {
	switch failed.Reason {
	case reasonConnection, reasonTimeout, reasonStatus:
	default:
		return
	}
	if path := o.cachePath(); path != "" && o.Pause > 0 {
		data, err := json.Marshal(pauseFile{failed.Reason, o.Now().UTC()})
		if err == nil {
			err = writeFile(path+".failed", data, 0o600)
		}
		_ = err // without the note the next run tries again
	}
}

type pauseFile struct {
	Reason string    `json:"reason"`
	At     time.Time `json:"at"`
}

// paused returns why no refresh is tried now, nil if one may be.
func (o *Options) paused() *RefreshError {
	path := o.cachePath()
	if path == "" || o.Pause <= 0 {
		return nil
	}
	data, err := readFile(path+".failed", 4096)
	if err != nil {
		return nil
	}
	var note pauseFile
	if json.Unmarshal(data, &note) != nil {
		return nil
	}
	switch age := o.Now().Sub(note.At); {
	case age < 0 || age >= o.Pause:
		return nil
	}
	if note.Reason != reasonTimeout && note.Reason != reasonStatus {
		note.Reason = reasonConnection
	}
	return &RefreshError{o.TUFURL, note.Reason, fmt.Errorf("it could not be reached at %s, and is left alone for %v", note.At.Format(time.RFC3339), o.Pause)}
}

// lock takes the lock that keeps several processes from refreshing at once. It waits until ctx is done.
// Without a cache, or where the lock cannot be made, there is nothing to lock and nothing to break: the cache
// file is replaced at one go.
func (o *Options) lock(ctx context.Context) (unlock func(), err error) {
	path := o.cachePath()
	if path == "" {
		return func() {}, nil
	}
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return func() {}, nil
	}
	f, err := os.OpenFile(path+".lock", os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return func() {}, nil
	}
	for {
		ok, err := tryLock(f)
		if ok || err != nil { // a file system without locks is no reason to stay on old roots
			return func() { f.Close() }, nil // closing ends the lock
		}
		select {
		case <-ctx.Done():
			f.Close()
			return nil, ctx.Err()
		case <-time.After(20 * time.Millisecond):
		}
	}
}

// readFile reads a file of at most limit bytes.
func readFile(path string, limit int64) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	data, err := io.ReadAll(io.LimitReader(f, limit+1))
	if err != nil {
		return nil, err
	}
	if int64(len(data)) > limit {
		return nil, fmt.Errorf("%s is larger than %d bytes", path, limit)
	}
	return data, nil
}

// writeFile replaces a file at one go, making its directory where there is none.
func writeFile(path string, data []byte, mode fs.FileMode) (err error) {
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return err
	}
	f, err := os.CreateTemp(filepath.Dir(path), filepath.Base(path)+".new-")
	if err != nil {
		return err
	}
	defer func() {
		if err != nil {
			f.Close()
			os.Remove(f.Name())
		}
	}()
	if err := f.Chmod(mode); err != nil {
		return err
	}
	if _, err := f.Write(data); err != nil {
		return err
	}
	if err := f.Close(); err != nil {
		return err
	}
	return os.Rename(f.Name(), path)
}

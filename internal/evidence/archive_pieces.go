package evidence

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"sync"
)

// pieces keeps bytes by their SHA-256: a few of them in memory, many in a file that no other process finds.
// It is safe for concurrent use.
type pieces struct {
	mu    sync.RWMutex
	at    map[pieceRef]int64  // offset in what was written
	names map[string]pieceRef // by digest
	small []byte
	file  *os.File // nil as long as everything is in memory
	size  int64
}

// maxSmallPieces is how many bytes are kept in memory before a file is made, and then none.
const maxSmallPieces = 32 << 20

func newPieces() *pieces {
	return &pieces{at: make(map[pieceRef]int64), names: make(map[string]pieceRef)}
}

// refOf names bytes.
func refOf(b []byte) pieceRef {
	sum := sha256.Sum256(b)
	return pieceRef{hex.EncodeToString(sum[:]), int64(len(b))}
}

// put keeps bytes, once.
func (s *pieces) put(b []byte) (pieceRef, error) {
	p := refOf(b)
	if p.Size > maxPiece {
		return p, &LimitError{"a piece of evidence", maxPiece}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if _, ok := s.at[p]; ok {
		return p, nil
	}
	at := s.size
	if err := s.write(b); err != nil {
		return p, err
	}
	s.at[p], s.names[p.SHA256] = at, p
	return p, nil
}

// copyFrom keeps as many bytes of r as the piece has. It is no error here if they are not the piece's: holds tells.
func (s *pieces) copyFrom(r io.Reader, p pieceRef) (holds bool, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	at := s.size
	sum := sha256.New()
	buf := make([]byte, min(p.Size, 64<<10))
	for left := p.Size; left > 0; {
		n := min(left, int64(len(buf)))
		if _, err := io.ReadFull(r, buf[:n]); err != nil {
			return false, err
		}
		sum.Write(buf[:n])
		if err := s.write(buf[:n]); err != nil {
			return false, err
		}
		left -= n
	}
	if hex.EncodeToString(sum.Sum(nil)) != p.SHA256 {
		return false, nil
	}
	s.at[p], s.names[p.SHA256] = at, p
	return true, nil
}

// write appends bytes. s.mu is held.
func (s *pieces) write(b []byte) error {
	if s.file == nil && s.size+int64(len(b)) > maxSmallPieces {
		f, err := os.CreateTemp("", "assay-evidence-")
		if err != nil {
			return fmt.Errorf("unpacking evidence: %w", err)
		}
		s.file = f
		_ = os.Remove(f.Name()) // so that nothing is left behind; where an open file cannot be removed, close does it
		if _, err := f.Write(s.small); err != nil {
			return fmt.Errorf("unpacking evidence: %w", err)
		}
		s.small = nil
	}
	s.size += int64(len(b))
	if s.file == nil {
		s.small = append(s.small, b...)
		return nil
	}
	if _, err := s.file.Write(b); err != nil {
		return fmt.Errorf("unpacking evidence: %w", err)
	}
	return nil
}

func (s *pieces) has(p pieceRef) bool {
	s.mu.RLock()
	defer s.mu.RUnlock()
	_, ok := s.at[p]
	return ok
}

// named finds the piece with a digest, nil if there is none.
func (s *pieces) named(digest string) *pieceRef {
	s.mu.RLock()
	defer s.mu.RUnlock()
	if p, ok := s.names[digest]; ok {
		return &p
	}
	return nil
}

// get returns a piece's bytes.
func (s *pieces) get(p pieceRef) ([]byte, error) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	at, ok := s.at[p]
	if !ok {
		return nil, errors.New("there is no such piece")
	}
	b := make([]byte, p.Size)
	if s.file == nil {
		copy(b, s.small[at:])
	} else if _, err := s.file.ReadAt(b, at); err != nil {
		return nil, fmt.Errorf("reading unpacked evidence: %w", err)
	}
	if refOf(b) != p {
		return nil, errors.New("unpacked evidence was changed on disk")
	}
	return b, nil
}

// close removes the file.
func (s *pieces) close() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	f := s.file
	s.at, s.small, s.file = nil, nil, nil
	if f == nil {
		return nil
	}
	err := f.Close()
	if gone := os.Remove(f.Name()); gone != nil && !errors.Is(gone, fs.ErrNotExist) {
		err = errors.Join(err, gone)
	}
	return err
}

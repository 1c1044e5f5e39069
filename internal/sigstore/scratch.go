package sigstore

import (
	"sync"

	"assay/internal/sigstore/strictjson"
)

// A scratch is memory that one call of this package uses and the next one uses again. Nothing in it outlives the call:
// without it, a garbage collection every few hundred bundles costs as much as reading them.
type scratch struct {
	json strictjson.Scanner
	body body
	room []byte // for base64
	text []byte // for base64 of the signer's certificate
	buf  []byte // for what is hashed
}

var scratches = sync.Pool{New: func() any { return new(scratch) }}

func getScratch() *scratch { return scratches.Get().(*scratch) }

// release gives s back. A caller must not hold anything of it.
func (s *scratch) release() {
	const max = 1 << 20 // what one huge bundle needed is not kept
	if cap(s.room)+cap(s.text)+cap(s.buf) > max {
		return
	}
	s.json.Reset(nil, nil)
	s.body = body{}
	scratches.Put(s)
}

// scan makes the scanner one over data, with room for the base64 in it.
func (s *scratch) scan(data []byte) *strictjson.Scanner {
	if n := len(data) / 4 * 3; cap(s.room) < n {
		s.room = make([]byte, n)
	}
	s.json.Reset(data, s.room[:cap(s.room)])
	return &s.json
}

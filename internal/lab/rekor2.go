package lab

import (
	"crypto/ed25519"
	"crypto/sha256"
	"sync"
	"time"
)

// A RekorV2 is a tile-based transparency log like log2025-1.rekor.sigstore.dev: hashedrekord entries only, an
// Ed25519 key, no promise and no time of its own.
type RekorV2 struct {
	host string
	key  ed25519.PrivateKey

	mu     sync.Mutex
	tree   tree
	leaves [][]byte
}

func newRekorV2(l *Lab, label, host string) *RekorV2 {
	r := &RekorV2{host: host, key: l.edKey(label)}
	for range firstEntries {
		r.push(filler(r.tree.size()))
	}
	return r
}

func (r *RekorV2) push(body []byte) int64 {
	r.leaves = append(r.leaves, body)
	return r.tree.add(leafHash(body))
}

// ID is the log's identifier: the signed note key id, all 32 bytes (C2SP signed-note).
func (r *RekorV2) ID() [32]byte {
	return sha256.Sum256(append([]byte(r.host+"\n\x01"), r.key.Public().(ed25519.PublicKey)...))
}

// Size is how many entries the log holds.
func (r *RekorV2) Size() int64 {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.tree.size()
}

func (r *RekorV2) add(rec *Record, _ time.Time, t *LogTamper) (*Entry, error) {
	body, err := rec.body()
	if err != nil {
		return nil, err
	}
	if t.Body != nil {
		body = t.Body(body)
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	index := r.push(body)
	for range index % 3 {
		r.push(filler(r.tree.size()))
	}
	id := r.ID()
	e := &Entry{LogIndex: index, LogID: LogID{id[:]}, KindVersion: rec.Kind, CanonicalizedBody: body}
	if !t.NoProof {
		e.InclusionProof = prove(&r.tree, index, CheckpointParts{Origin: r.host, Name: r.host, Hint: id[:4], Key: r.key}, t)
	}
	if t.Entry != nil {
		t.Entry(e)
	}
	return e, nil
}

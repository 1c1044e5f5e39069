package lab

import (
	"crypto"
	"crypto/elliptic"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"sync"
	"time"
)

// A Log takes records. Both kinds of log do: [RekorV1] and [RekorV2].
type Log interface {
	add(r *Record, at time.Time, t *LogTamper) (*Entry, error)
}

// Where the trees of the lab's logs begin: some entries of others, and for v1 an offset between the index in the
// tree and the index over all shards, as at rekor.sigstore.dev.
const (
	firstEntries = 11
	shardOffset  = 4163431
	treeID       = 2605736670972790000
)

// A RekorV1 is a transparency log like rekor.sigstore.dev: it signs a promise with the time for each entry (SET),
// and checkpoints of its Merkle tree.
type RekorV1 struct {
	host string
	key  signer

	mu     sync.Mutex
	tree   tree
	leaves []logged
	byHash map[[32]byte]int64 // index by leaf hash
}

// logged is one leaf with the time it was added.
type logged struct {
	body []byte
	at   int64    // Unix seconds
	keys []string // what the search index finds it by
}

func newRekorV1(l *Lab, label, host string) *RekorV1 {
	r := &RekorV1{host: host, key: l.ecKey(elliptic.P256(), label), byHash: map[[32]byte]int64{}}
	for range firstEntries {
		r.push(filler(r.tree.size()), l.start.Unix(), nil)
	}
	return r
}

func (r *RekorV1) push(body []byte, at int64, keys []string) int64 {
	r.leaves = append(r.leaves, logged{body, at, keys})
	h := leafHash(body)
	n := r.tree.add(h)
	r.byHash[h] = n
	return n
}

// ID is the log's identifier, SHA-256 over its DER public key.
func (r *RekorV1) ID() [32]byte { return sha256.Sum256(spki(r.key.Public())) }

// Size is how many entries the log holds.
func (r *RekorV1) Size() int64 {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.tree.size()
}

func (r *RekorV1) origin() string { return fmt.Sprintf("%s - %d", r.host, int64(treeID)) }

// CheckpointParts is a checkpoint before it is signed.
type CheckpointParts struct {
	Origin        string // first line
	Size          int64
	Root          [32]byte
	More          []string // further signed lines after the root
	Name          string   // the log's name in its signature line
	Hint          []byte   // first four bytes of the key's identifier
	Key           crypto.Signer
	Before, After []string // signature lines of others, without line end, around the log's own
	NoSignature   bool     // leave the log's own signature line out
}

func (c *CheckpointParts) sign() string {
	text := checkpointText(c.Origin, c.Size, c.Root)
	for _, line := range c.More {
		text += line + "\n"
	}
	note := text + "\n"
	for _, line := range c.Before {
		note += line + "\n"
	}
	if !c.NoSignature {
		note += noteLine(c.Name, c.Hint, signSHA256(c.Key, []byte(text)))
	}
	for _, line := range c.After {
		note += line + "\n"
	}
	return note
}

// LogTamper says what a log does wrong. The zero value is an honest log.
type LogTamper struct {
	Body       func(body []byte) []byte // what is stored, before it is hashed and signed
	SETKey     crypto.Signer            // signs the SET in place of the log's key
	SETTime    time.Time                // the time inside the signed SET where it differs from integratedTime
	Checkpoint func(*CheckpointParts)   // before the checkpoint is signed
	NoSET      bool
	NoProof    bool
	Entry      func(*Entry) // last change, nothing is signed again
}

func (r *RekorV1) add(rec *Record, at time.Time, t *LogTamper) (*Entry, error) {
	body, err := rec.body()
	if err != nil {
		return nil, err
	}
	if t.Body != nil {
		body = t.Body(body)
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	index := r.push(body, at.Unix(), rec.indexKeys())
	for range index % 3 { // others get in before the checkpoint is made
		r.push(filler(r.tree.size()), at.Unix(), nil)
	}
	e := r.entry(index, rec.Kind, t)
	if t.Entry != nil {
		t.Entry(e)
	}
	return e, nil
}

// entry describes a leaf as a bundle does, against the tree of this moment. The caller holds the lock.
func (r *RekorV1) entry(index int64, kind KindVersion, t *LogTamper) *Entry {
	id := r.ID()
	leaf := r.leaves[index]
	e := &Entry{
		LogIndex: shardOffset + index, LogID: LogID{id[:]}, KindVersion: kind,
		IntegratedTime: leaf.at, CanonicalizedBody: leaf.body,
	}
	if !t.NoSET {
		at := e.IntegratedTime
		if !t.SETTime.IsZero() {
			at = t.SETTime.Unix()
		}
		var key crypto.Signer = r.key
		if t.SETKey != nil {
			key = t.SETKey
		}
		e.InclusionPromise = &Promise{signSHA256(key, marshal(map[string]any{
			"body": leaf.body, "integratedTime": at, "logID": hex.EncodeToString(id[:]), "logIndex": e.LogIndex,
		}))}
	}
	if !t.NoProof {
		e.InclusionProof = prove(&r.tree, index, CheckpointParts{Origin: r.origin(), Name: r.host, Hint: id[:4], Key: r.key}, t)
	}
	return e
}

// prove makes an inclusion proof against the tree as it is.
func prove(tree *tree, index int64, c CheckpointParts, t *LogTamper) *InclusionProof {
	c.Size = tree.size()
	c.Root = tree.root(c.Size)
	p := &InclusionProof{LogIndex: index, RootHash: append([]byte{}, c.Root[:]...), TreeSize: c.Size, Hashes: [][]byte{}}
	for _, h := range tree.inclusion(index, c.Size) {
		p.Hashes = append(p.Hashes, h[:])
	}
	if t.Checkpoint != nil {
		t.Checkpoint(&c)
	}
	p.Checkpoint.Envelope = c.sign()
	return p
}

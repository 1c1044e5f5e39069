// Package tuftest makes TUF repositories with the layout of Sigstore's public-good one: consistent snapshots,
// root and targets signed by a threshold of keys, and a delegated role "registry.npmjs.org" for the npm
// registry's keys. A [Repo] is served over HTTP and may be damaged at will. It is for tests and for the lab.
package tuftest

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"net/http"
	"path"
	"strings"
	"sync"
	"time"

	"github.com/sigstore/sigstore/pkg/signature"
	"github.com/theupdateframework/go-tuf/v2/metadata"
)

// Delegated is the role for targets below "registry.npmjs.org/".
const Delegated = "registry.npmjs.org"

const threshold = 2 // of the three root keys

// A Repo is a TUF repository. Its methods are safe for concurrent use.
type Repo struct {
	// Expires says when each role's metadata expires, by role name; it takes effect when the role is next
	// signed. Set it before the Repo is served.
	Expires map[string]time.Time
	// Hook, where set, sees each request first and reports whether it answered it.
	Hook func(w http.ResponseWriter, r *http.Request) bool

	mu       sync.Mutex
	files    map[string][]byte // what is served, by path without the leading slash
	requests []string

	rootKeys, targetsKeys                   []signature.Signer
	timestampKey, snapshotKey, delegatedKey signature.Signer
	root                                    *metadata.Metadata[metadata.RootType]
	timestamp                               *metadata.Metadata[metadata.TimestampType]
	snapshot                                *metadata.Metadata[metadata.SnapshotType]
	targets, delegated                      *metadata.Metadata[metadata.TargetsType]
	targetsChanged, delegatedChanged        bool
}

// New makes a repository without targets at root version 1. Nothing in it expires within a year of now, save
// the timestamp, which lasts a week.
func New(now time.Time) (*Repo, error) {
	year := now.UTC().Truncate(time.Second).AddDate(1, 0, 0)
	r := &Repo{
		Expires: map[string]time.Time{
			metadata.ROOT: year, metadata.TARGETS: year, metadata.SNAPSHOT: year, Delegated: year,
			metadata.TIMESTAMP: now.UTC().Truncate(time.Second).AddDate(0, 0, 7),
		},
		files:     make(map[string][]byte),
		root:      metadata.Root(year),
		timestamp: metadata.Timestamp(year),
		snapshot:  metadata.Snapshot(year),
		targets:   metadata.Targets(year),
		delegated: metadata.Targets(year),
	}
	for _, s := range []*signature.Signer{&r.timestampKey, &r.snapshotKey} {
		k, err := ecdsaKey()
		if err != nil {
			return nil, err
		}
		*s = k
	}
	var err error
	if r.delegatedKey, err = ecdsaKey(); err != nil {
		return nil, err
	}
	if r.rootKeys, err = ed25519Keys(3); err != nil {
		return nil, err
	}
	r.targetsKeys = r.rootKeys
	delegatedKey, id, err := publicKey(r.delegatedKey)
	if err != nil {
		return nil, err
	}
	r.targets.Signed.Delegations = &metadata.Delegations{
		Keys: map[string]*metadata.Key{id: delegatedKey},
		Roles: []metadata.DelegatedRole{{
			Name: Delegated, KeyIDs: []string{id}, Threshold: 1, Terminating: true, Paths: []string{Delegated + "/*"},
		}},
	}
	r.root.Signed.Version = 0
	r.targets.Signed.Version, r.delegated.Signed.Version = 0, 0
	r.snapshot.Signed.Version, r.timestamp.Signed.Version = 0, 0
	r.targetsChanged, r.delegatedChanged = true, true
	if err := r.signRoot(r.rootKeys); err != nil {
		return nil, err
	}
	return r, r.Publish()
}

// Root returns the root metadata of a version, as a client's start; nil if there is none.
func (r *Repo) Root(version int) []byte {
	return r.File(fmt.Sprintf("%d.root.json", version))
}

// SetTarget adds or replaces a target; [Repo.Publish] makes it known. Targets below "registry.npmjs.org/" go to
// the delegated role. Nil data removes it.
func (r *Repo) SetTarget(name string, data []byte) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	role := r.targets
	if strings.HasPrefix(name, Delegated+"/") {
		role, r.delegatedChanged = r.delegated, true
	} else {
		r.targetsChanged = true
	}
	if data == nil {
		delete(role.Signed.Targets, name)
		return nil
	}
	info, err := metadata.TargetFile().FromBytes(name, data, "sha256")
	if err != nil {
		return err
	}
	role.Signed.Targets[name] = info
	r.files[TargetPath(name, data)] = data
	return nil
}

// TargetPath is the path under which a target is served: "targets/dir/<sha256>.name".
func TargetPath(name string, data []byte) string {
	sum := sha256.Sum256(data)
	dir, base := path.Split(name)
	return "targets/" + dir + hex.EncodeToString(sum[:]) + "." + base
}

// Publish signs what has changed, and a new snapshot and timestamp over it.
func (r *Repo) Publish() error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.delegatedChanged {
		if err := put(r, r.delegated, Delegated, &r.delegated.Signed.Version, &r.delegated.Signed.Expires, r.delegatedKey); err != nil {
			return err
		}
	}
	if r.targetsChanged {
		if err := put(r, r.targets, metadata.TARGETS, &r.targets.Signed.Version, &r.targets.Signed.Expires, r.targetsKeys[:threshold]...); err != nil {
			return err
		}
	}
	if r.delegatedChanged || r.targetsChanged || r.snapshot.Signed.Version == 0 {
		r.snapshot.Signed.Meta = map[string]*metadata.MetaFiles{
			metadata.TARGETS + ".json": metadata.MetaFile(r.targets.Signed.Version),
			Delegated + ".json":        metadata.MetaFile(r.delegated.Signed.Version),
		}
		if err := put(r, r.snapshot, metadata.SNAPSHOT, &r.snapshot.Signed.Version, &r.snapshot.Signed.Expires, r.snapshotKey); err != nil {
			return err
		}
	}
	r.targetsChanged, r.delegatedChanged = false, false
	r.timestamp.Signed.Meta = map[string]*metadata.MetaFiles{metadata.SNAPSHOT + ".json": metadata.MetaFile(r.snapshot.Signed.Version)}
	return put(r, r.timestamp, metadata.TIMESTAMP, &r.timestamp.Signed.Version, &r.timestamp.Signed.Expires, r.timestampKey)
}

// RotateRoot makes the next root version with new root keys, signed by a threshold of the old and of the new
// ones, and a new timestamp key. A role's next signing uses what the root says by then; the timestamp is
// signed at once.
func (r *Repo) RotateRoot() error {
	r.mu.Lock()
	old := r.rootKeys
	keys, err := ed25519Keys(3)
	if err == nil {
		r.rootKeys = keys
		r.timestampKey, err = ecdsaKey()
	}
	if err == nil {
		err = r.signRoot(old, keys)
	}
	r.mu.Unlock()
	if err != nil {
		return err
	}
	return r.Publish()
}

// RenewRoot makes the next root version with the same keys, signed by the given number of them.
func (r *Repo) RenewRoot(signatures int) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.signRoot(r.rootKeys[:signatures])
}

// signRoot writes the next root, signed by each of the given sets of keys. The caller holds mu.
func (r *Repo) signRoot(sets ...[]signature.Signer) error {
	s := &r.root.Signed
	s.Version++
	s.Expires = r.Expires[metadata.ROOT]
	s.Keys = make(map[string]*metadata.Key)
	for role, signers := range map[string][]signature.Signer{
		metadata.ROOT: r.rootKeys, metadata.TARGETS: r.targetsKeys,
		metadata.SNAPSHOT: {r.snapshotKey}, metadata.TIMESTAMP: {r.timestampKey},
	} {
		s.Roles[role] = &metadata.Role{Threshold: 1}
		if len(signers) > 1 {
			s.Roles[role].Threshold = threshold
		}
		for _, signer := range signers {
			key, _, err := publicKey(signer)
			if err != nil {
				return err
			}
			if err := s.AddKey(key, role); err != nil {
				return err
			}
		}
	}
	r.root.ClearSignatures()
	for _, set := range sets {
		for _, signer := range set {
			if _, err := r.root.Sign(signer); err != nil {
				return err
			}
		}
	}
	data, err := r.root.ToBytes(false)
	if err != nil {
		return err
	}
	r.files[fmt.Sprintf("%d.root.json", s.Version)] = data
	return nil
}

// put signs the next version of a role's metadata and serves it. The caller holds mu.
func put[T metadata.Roles](r *Repo, m *metadata.Metadata[T], role string, version *int64, expires *time.Time, signers ...signature.Signer) error {
	*version++
	*expires = r.Expires[role]
	m.ClearSignatures()
	for _, s := range signers {
		if _, err := m.Sign(s); err != nil {
			return err
		}
	}
	data, err := m.ToBytes(false)
	if err != nil {
		return err
	}
	name := role + ".json"
	if role != metadata.TIMESTAMP {
		name = fmt.Sprintf("%d.%s", *version, name)
	}
	r.files[name] = data
	return nil
}

// File returns what is served under a path such as "timestamp.json" or "1.root.json"; nil for nothing.
func (r *Repo) File(path string) []byte {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.files[path]
}

// SetFile replaces what is served under a path, properly signed or not. Nil removes it.
func (r *Repo) SetFile(path string, data []byte) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if data == nil {
		delete(r.files, path)
	} else {
		r.files[path] = data
	}
}

// Requests returns the paths asked for so far, in order, and forgets them.
func (r *Repo) Requests() []string {
	r.mu.Lock()
	defer r.mu.Unlock()
	out := r.requests
	r.requests = nil
	return out
}

// ServeHTTP serves the repository at the root of a server.
func (r *Repo) ServeHTTP(w http.ResponseWriter, req *http.Request) {
	name := strings.TrimPrefix(req.URL.Path, "/")
	r.mu.Lock()
	r.requests = append(r.requests, name)
	data, ok := r.files[name]
	r.mu.Unlock()
	if r.Hook != nil && r.Hook(w, req) {
		return
	}
	if !ok {
		http.NotFound(w, req)
		return
	}
	w.Write(data)
}

func ed25519Keys(n int) ([]signature.Signer, error) {
	var out []signature.Signer
	for range n {
		_, key, err := ed25519.GenerateKey(rand.Reader)
		if err != nil {
			return nil, err
		}
		s, err := signature.LoadSigner(key, crypto.Hash(0))
		if err != nil {
			return nil, err
		}
		out = append(out, s)
	}
	return out, nil
}

func ecdsaKey() (signature.Signer, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, err
	}
	return signature.LoadSigner(key, crypto.SHA256)
}

func publicKey(s signature.Signer) (*metadata.Key, string, error) {
	pub, err := s.PublicKey()
	if err != nil {
		return nil, "", err
	}
	key, err := metadata.KeyFromPublicKey(pub)
	if err != nil {
		return nil, "", err
	}
	id, err := key.ID()
	return key, id, err
}

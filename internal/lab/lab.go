// Package lab is a whole npm provenance world in one process: a certificate authority like Fulcio, a
// certificate transparency log, transparency logs like Rekor v1 and v2, a timestamp authority, a CI that
// describes its runs, and an npm registry that signs what it accepts. It serves the demo and the tests.
//
// What it makes is signed the way the real services sign, so a verifier needs no test switch; but every
// certificate says "lab" in its subject, every key is made for the one [Lab] it belongs to, and nothing
// trusts either unless its [Lab.TrustedRoot] and [Lab.RegistryKeys] are named. Its servers listen on loopback
// addresses only.
//
// The writing side is independent of the verifying side on purpose: this package shares no code with the
// verifier, so that one mistake cannot hide on both sides. Every step can be made wrong on its own with a
// [Tamper], everything after it being signed again, so that a test can have exactly one thing wrong.
package lab

import (
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"sync"
	"time"
)

// Options says how a [Lab] is made. The zero value is a lab with random keys on the machine's clock.
type Options struct {
	// Now is the clock; nil means time.Now. [Fixed] makes one that stands still.
	Now func() time.Time
	// Seed makes every key, serial number and signature a function of this text, so that the same calls give
	// the same bytes. Empty means random keys. Whoever knows the seed knows the keys.
	Seed string
	// Start is when every authority and key becomes valid; zero means two years before Now.
	Start time.Time
	// Registry is the base URL that documents and publish attestations name, without trailing slash;
	// empty means npm's public registry until [Lab.Listen] replaces it with the server's own.
	Registry string
}

// A Lab holds the authorities, the logs and the registry's keys. All its methods are safe for concurrent use.
type Lab struct {
	CA      *CA      // issues certificates to CI runs; in the trusted root
	CT      *CTLog   // signs the embedded certificate timestamps
	Rekor   *RekorV1 // the log that npm writes to
	RekorV2 *RekorV2 // the newer, tile-based log
	TSA     *TSA     // the timestamp authority

	Key        *RegistryKey // what the registry signs with today; valid from Start on
	RetiredKey *RegistryKey // the key before it, whose validity ended a year after Start

	now      func() time.Time
	seed     []byte
	start    time.Time
	stranger func() (*Lab, error)

	mu       sync.Mutex
	serial   uint64
	registry string
	keys     []*RegistryKey
	store    store
}

// DefaultRegistry is npm's public registry, the name that a lab's documents carry unless told otherwise.
const DefaultRegistry = "https://registry.npmjs.org"

// Fixed returns a clock that stands still at t.
func Fixed(t time.Time) func() time.Time { return func() time.Time { return t } }

// New makes a lab. Nothing listens until [Lab.Listen] is called.
func New(o Options) (*Lab, error) {
	l := &Lab{now: o.Now, registry: o.Registry, start: o.Start}
	if l.now == nil {
		l.now = time.Now
	}
	if o.Seed != "" {
		sum := sha256.Sum256([]byte("assay lab seed\x00" + o.Seed))
		l.seed = sum[:]
	} else {
		l.seed = make([]byte, 32)
		rand.Read(l.seed) // never fails
	}
	if l.start.IsZero() {
		l.start = l.now().AddDate(-2, 0, 0)
	}
	l.start = l.start.UTC().Truncate(time.Second)
	var err error
	if l.CA, err = newCA(l, "fulcio"); err != nil {
		return nil, fmt.Errorf("making the lab's certificate authority: %w", err)
	}
	l.CT = newCTLog(l, "ct")
	l.Rekor = newRekorV1(l, "rekor", "rekor.lab.assay.test")
	l.RekorV2 = newRekorV2(l, "rekor2", "log2026-1.rekor.lab.assay.test")
	if l.TSA, err = newTSA(l, "tsa"); err != nil {
		return nil, fmt.Errorf("making the lab's timestamp authority: %w", err)
	}
	l.Key = l.newRegistryKey("registry key", l.start, time.Time{})
	l.RetiredKey = l.newRegistryKey("retired registry key", l.start.AddDate(-5, 0, 0), l.start.AddDate(1, 0, 0))
	l.keys = []*RegistryKey{l.RetiredKey, l.Key}
	l.store = newStore()
	l.stranger = sync.OnceValues(func() (*Lab, error) {
		return New(Options{Now: l.now, Seed: "stranger to " + hex.EncodeToString(l.seed), Start: l.start, Registry: o.Registry})
	})
	return l, nil
}

// Stranger returns another lab, the same at every call, that nothing in this one's trusted root knows. Its
// subjects and host names are the same; only its keys differ. It is what a [Tamper] borrows a wrong authority from.
func (l *Lab) Stranger() *Lab {
	s, err := l.stranger()
	if err != nil {
		panic(err) // the same construction has already succeeded once, for l
	}
	return s
}

// Now is the lab's clock in UTC, to the second.
func (l *Lab) Now() time.Time { return l.now().UTC().Truncate(time.Second) }

// Start is when the lab's authorities became valid.
func (l *Lab) Start() time.Time { return l.start }

// Registry is the base URL that the lab's documents name, without trailing slash.
func (l *Lab) Registry() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.registry == "" {
		return DefaultRegistry
	}
	return l.registry
}

// next returns a number never returned before; the order of calls decides which.
func (l *Lab) next() uint64 {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.serial++
	return l.serial
}

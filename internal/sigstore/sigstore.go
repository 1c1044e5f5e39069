// Package sigstore decides whether a Sigstore bundle holds: whether its certificate chains to a trusted
// root, a certificate transparency log saw the certificate, a trusted clock saw the signature, the
// signature fits, and a transparency log binds all of it. It knows nothing of npm or of identities:
// who signed is for the caller to judge, from [Verification.Leaf], once every step held.
//
// Verification is pure: no network, no files, no clock. The time that counts is the time of signing, so
// the same bundle and trusted root give the same answer years later.
//
// Each step is recorded on its own and none stops the others, see [Verification]. A step is [Held] only
// where two values were compared; its zero value is [NotDone].
package sigstore

import (
	"crypto"
	"crypto/x509"
	"time"
)

// Status says how one step of verification ended. The zero value is NotDone.
type Status uint8

const (
	// NotDone says that the step was never reached. It is never good news.
	NotDone Status = iota
	// Held says that the step compared what it had to compare, and that it agreed.
	Held
	// Failed says that the bundle contradicts itself or the trusted root, or lacks what the step needs.
	Failed
	// Undecided says that the bundle uses something newer than this package knows.
	Undecided
	// NotApplicable says that the question does not arise, such as the chain of a key-signed bundle.
	NotApplicable
)

// String returns the status in kebab-case, such as "held" or "not-applicable".
func (s Status) String() string {
	switch s {
	case NotDone:
		return "not-done"
	case Held:
		return "held"
	case Failed:
		return "failed"
	case Undecided:
		return "undecided"
	case NotApplicable:
		return "not-applicable"
	}
	return "unknown"
}

// A Step is how one step of verification ended. Expected, Actual and Detail may hold text from the bundle:
// escape before printing.
type Step struct {
	Status   Status
	Reason   string // stable code in kebab-case, see [Reasons]; empty when Held
	Expected string // what was compared with, where two values were compared
	Actual   string // what was found, in the same unit
	Detail   string // one sentence more for a person; may be empty
}

// A Key is the public key that a bundle without certificate is expected to be signed with.
type Key struct {
	ID     string           // the key's id as bundles name it (publicKey.hint); empty: the hint is not compared
	Public crypto.PublicKey // *ecdsa.PublicKey, *rsa.PublicKey or ed25519.PublicKey
	Start  time.Time        // zero: open; inclusive
	End    time.Time        // zero: open; inclusive
}

// Options are what the caller expects of a bundle.
type Options struct {
	// Key is the key of a key-signed bundle. It is required for those and ignored for others.
	Key *Key
	// Artifact lists the digests of the signed artifact by algorithm: "sha256", "sha384", "sha512". It is
	// required for a bundle that holds a message signature. For an envelope it is not looked at: comparing
	// the statement's subjects is the caller's part.
	Artifact map[string][]byte
}

// A Verification says how each step ended.
//
// A certificate-signed bundle holds when Format, Chain, CT, Time, Signature and Log all are [Held]. For a
// key-signed bundle, Chain and CT are [NotApplicable].
type Verification struct {
	Format    Step // the bundle's media type has what it must have, and nothing else
	Chain     Step // leaf certificate up to a certificate authority of the trusted root, at every trusted time
	CT        Step // an embedded timestamp (SCT) by a known certificate transparency log
	Time      Step // at least one trusted time; each within the leaf's (or the key's) validity
	Signature Step // the envelope's or message's signature by the leaf's key (or by [Options.Key])
	Log       Step // every log entry binds this bundle and was included by a known log

	// Leaf is the parsed leaf certificate, nil for a key-signed bundle or where it does not parse. It is set
	// also when steps failed: nothing in it may be believed unless [Verification.OK].
	Leaf *x509.Certificate
	// SignedAt is the earliest trusted time of signing, in UTC; zero unless Time is Held.
	SignedAt time.Time
	// LogIndex, LogID (hex) and IntegratedTime are of the first log entry. They are zero unless Log is Held;
	// IntegratedTime is zero also where no signed entry timestamp vouches for it.
	LogIndex       int64
	LogID          string
	IntegratedTime time.Time
}

// OK reports whether every step that applies held, and none was left undone.
func (v *Verification) OK() bool {
	if v == nil || v.Format.Status != Held || v.Time.Status != Held || v.Signature.Status != Held || v.Log.Status != Held {
		return false
	}
	if v.Leaf == nil {
		return v.Chain.Status == NotApplicable && v.CT.Status == NotApplicable
	}
	return v.Chain.Status == Held && v.CT.Status == Held
}

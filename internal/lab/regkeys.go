package lab

import (
	"crypto/elliptic"
	"crypto/sha256"
	"encoding/base64"
	"slices"
	"time"
)

// Usages of registry keys, as npm's key list in the TUF repository names them.
const (
	UsageSignatures   = "npm:signatures"
	UsageAttestations = "npm:attestations"
)

// A RegistryKey is what a registry signs with.
type RegistryKey struct {
	ID     string    // OpenSSH fingerprint, "SHA256:" and unpadded base64
	Start  time.Time // valid from, zero for always
	End    time.Time // valid until, zero for ever
	Usages []string  // where the TUF form lists it; both unless changed before [Lab.RegistryKeysTUF] is called
	key    signer
}

// SPKI is the public key in DER.
func (k *RegistryKey) SPKI() []byte { return spki(k.key.Public()) }

func (l *Lab) newRegistryKey(label string, start, end time.Time) *RegistryKey {
	k := l.ecKey(elliptic.P256(), label)
	point, err := k.PublicKey.Bytes()
	if err != nil {
		panic(err) // a key just made is on its curve
	}
	wire := appendString(nil, "ecdsa-sha2-nistp256")
	wire = appendString(wire, "nistp256")
	wire = appendString(wire, string(point))
	sum := sha256.Sum256(wire)
	return &RegistryKey{
		ID: "SHA256:" + base64.RawStdEncoding.EncodeToString(sum[:]), Start: start.UTC(), End: end.UTC(),
		Usages: []string{UsageSignatures, UsageAttestations}, key: k,
	}
}

// AddKey makes a further registry key and lists it. A zero time leaves that end open; no usages means both.
func (l *Lab) AddKey(label string, start, end time.Time, usages ...string) *RegistryKey {
	k := l.newRegistryKey("added "+label, start, end)
	if len(usages) > 0 {
		k.Usages = usages
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.keys = append(l.keys, k)
	return k
}

// UnlistedKey makes a registry key that no list holds.
func (l *Lab) UnlistedKey(label string) *RegistryKey {
	return l.newRegistryKey("unlisted "+label, l.start, time.Time{})
}

// jsTime is how npm writes times.
func jsTime(t time.Time) string { return t.UTC().Format("2006-01-02T15:04:05.000Z") }

// RegistryKeys is the answer of the registry's own endpoint, /-/npm/v1/keys.
func (l *Lab) RegistryKeys() []byte {
	type key struct {
		Expires *string `json:"expires"`
		KeyID   string  `json:"keyid"`
		Type    string  `json:"keytype"`
		Scheme  string  `json:"scheme"`
		Key     []byte  `json:"key"`
	}
	keys := []key{}
	for _, k := range l.listed() {
		out := key{KeyID: k.ID, Type: "ecdsa-sha2-nistp256", Scheme: "ecdsa-sha2-nistp256", Key: k.SPKI()}
		if !k.End.IsZero() {
			end := jsTime(k.End)
			out.Expires = &end
		}
		keys = append(keys, out)
	}
	return marshal(map[string]any{"keys": keys})
}

// RegistryKeysTUF is the same list in the form of the TUF target registry.npmjs.org/keys.json: one element for
// each key and usage.
func (l *Lab) RegistryKeysTUF() []byte {
	type key struct {
		KeyID     string         `json:"keyId"`
		KeyUsage  string         `json:"keyUsage"`
		PublicKey map[string]any `json:"publicKey"`
	}
	keys := []key{}
	for _, k := range l.listed() {
		valid := map[string]any{"start": "1999-01-01T00:00:00.000Z"}
		if !k.Start.IsZero() {
			valid["start"] = jsTime(k.Start)
		}
		if !k.End.IsZero() {
			valid["end"] = jsTime(k.End)
		}
		for _, usage := range k.Usages {
			keys = append(keys, key{k.ID, usage, map[string]any{
				"rawBytes": k.SPKI(), "keyDetails": "PKIX_ECDSA_P256_SHA_256", "validFor": valid}})
		}
	}
	return marshal(map[string]any{"keys": keys})
}

func (l *Lab) listed() []*RegistryKey {
	l.mu.Lock()
	defer l.mu.Unlock()
	return slices.Clone(l.keys)
}

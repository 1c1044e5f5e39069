package npm

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"
)

// maxKeysLength and maxKeys bound a file of keys; npm's own has two.
const (
	maxKeysLength = 1 << 20
	maxKeys       = 256
)

// What a registry's key may sign. Source: the keys.json target of Sigstore's TUF repository, keyUsage.
const (
	UsageSignatures   = "npm:signatures"   // name@version:integrity of every version
	UsageAttestations = "npm:attestations" // publish attestations
)

// A Key is one public key of a registry, for one usage and one span of time. A file may hold the same
// key several times, once for each usage.
type Key struct {
	ID     string           // such as "SHA256:DhQ8wR5APBvFHLF/+Tc+AYvPOdTpcIDqOhxsBHRwC7U"
	Usage  string           // UsageSignatures, UsageAttestations, or "" for both
	Public *ecdsa.PublicKey // on P-256

	// The key is good from Start on and before End, both in UTC. A zero time leaves that side open.
	Start, End time.Time
}

// For reports whether the key may sign what usage names.
func (k Key) For(usage string) bool { return k.Usage == "" || k.Usage == usage }

// ValidAt reports whether the key was good at t: from Start on, and before End.
func (k Key) ValidAt(t time.Time) bool {
	return (k.Start.IsZero() || !t.Before(k.Start)) && (k.End.IsZero() || t.Before(k.End))
}

// KeyID returns the id that npm gives to a P-256 key: "SHA256:" and the unpadded base64 of SHA-256 over
// the key's OpenSSH wire encoding. It is not the hash of the DER. For nil and other curves it is "".
// Source: RFC 5656, section 3.1; ssh-keygen's fingerprint.
func KeyID(pub *ecdsa.PublicKey) string {
	if pub == nil || pub.Curve != elliptic.P256() {
		return ""
	}
	point, err := pub.Bytes()
	if err != nil {
		return ""
	}
	var wire []byte
	for _, field := range []string{"ecdsa-sha2-nistp256", "nistp256", string(point)} {
		wire = binary.BigEndian.AppendUint32(wire, uint32(len(field)))
		wire = append(wire, field...)
	}
	sum := sha256.Sum256(wire)
	return "SHA256:" + base64.RawStdEncoding.EncodeToString(sum[:])
}

// ParseKeys reads a file of registry keys in either form, told apart by the names of an entry's members:
// what the registry serves at /-/npm/v1/keys (keyid, key, expires; Usage is ""), or the keys.json of
// Sigstore's TUF repository (keyId, publicKey, keyUsage).
//
// An entry that cannot be used never costs the others: ParseKeys returns the good keys together with an
// error that joins what is wrong with each bad one. An entry is bad if its key is not a P-256 key in canonical base64,
// names another algorithm, has a malformed time, or has an id that starts with "SHA256:" and is not the
// key's own; in the TUF form also if it lacks a usage or the start of its validity. Where two entries
// give one id to different keys, nobody can tell which is meant, and both are bad.
// Source: npm documentation, "ECDSA registry signatures"; sigstore protobuf-specs, PublicKey.
func ParseKeys(data []byte) ([]Key, error) {
	if len(data) > maxKeysLength {
		return nil, fmt.Errorf("registry keys: file is larger than %d bytes", maxKeysLength)
	}
	var file map[string]json.RawMessage
	if err := json.Unmarshal(data, &file); err != nil {
		return nil, fmt.Errorf("registry keys: %w", err)
	}
	var entries []json.RawMessage
	if raw := file["keys"]; !isJSONValue(raw) {
		return nil, errors.New("registry keys: file has no keys")
	} else if err := json.Unmarshal(raw, &entries); err != nil {
		return nil, errors.New("registry keys: keys is not an array")
	}
	if len(entries) > maxKeys {
		return nil, fmt.Errorf("registry keys: file has more than %d keys", maxKeys)
	}
	var keys []Key
	var errs []error
	bad := func(i int, id string, err error) {
		errs = append(errs, fmt.Errorf("registry key %d (%s): %w", i+1, quoteShort(id), err))
	}
	ambiguous := make(map[string]bool)
	for i, raw := range entries {
		key, err := parseKey(raw)
		if err != nil {
			bad(i, key.ID, err)
			continue
		}
		repeated := false
		for _, k := range keys {
			if k.ID == key.ID && !k.Public.Equal(key.Public) {
				ambiguous[key.ID] = true
			}
			repeated = repeated || k.ID == key.ID && k.Public.Equal(key.Public) &&
				k.Usage == key.Usage && k.Start.Equal(key.Start) && k.End.Equal(key.End)
		}
		if ambiguous[key.ID] {
			bad(i, key.ID, errors.New("another entry gives this id to a different key"))
		}
		if !repeated {
			keys = append(keys, key)
		}
	}
	keys = slices.DeleteFunc(keys, func(k Key) bool { return ambiguous[k.ID] })
	return keys, errors.Join(errs...)
}

// parseKey reads one entry. The key it returns beside an error has at most its ID set.
func parseKey(raw json.RawMessage) (Key, error) {
	// Into a map, because a struct would take "keyId" for "keyid".
	var entry map[string]json.RawMessage
	if err := json.Unmarshal(raw, &entry); err != nil || entry == nil {
		return Key{}, errors.New("is not an object")
	}
	_, endpoint := entry["keyid"]
	_, tuf := entry["keyId"]
	var key Key
	var err error
	switch {
	case endpoint && tuf:
		return Key{}, errors.New("has both keyid and keyId")
	case endpoint:
		key, err = parseEndpointKey(entry)
	case tuf:
		key, err = parseTUFKey(entry)
	default:
		return Key{}, errors.New("has neither keyid nor keyId")
	}
	if err != nil {
		return Key{ID: key.ID}, err
	}
	if own := KeyID(key.Public); strings.HasPrefix(key.ID, "SHA256:") && key.ID != own {
		return Key{ID: key.ID}, fmt.Errorf("the key's own id is %s", own)
	}
	if !key.Start.IsZero() && !key.End.IsZero() && !key.Start.Before(key.End) {
		return Key{ID: key.ID}, errors.New("ends before it starts")
	}
	return key, nil
}

func parseEndpointKey(entry map[string]json.RawMessage) (key Key, err error) {
	if key.ID, err = jsonString(entry, "keyid"); err != nil {
		return key, err
	}
	for _, name := range []string{"keytype", "scheme"} {
		if !isJSONValue(entry[name]) {
			continue // npm does not ask for them, and the key itself says what it is
		}
		if algorithm, err := jsonString(entry, name); err != nil {
			return key, err
		} else if algorithm != "ecdsa-sha2-nistp256" {
			return key, fmt.Errorf("%s %s is not known", name, quoteShort(algorithm))
		}
	}
	text, err := jsonString(entry, "key")
	if err != nil {
		return key, err
	}
	if key.Public, err = parsePublicKey(text); err != nil {
		return key, err
	}
	if isJSONValue(entry["expires"]) {
		key.End, err = jsonTime(entry, "expires")
	}
	return key, err
}

func parseTUFKey(entry map[string]json.RawMessage) (key Key, err error) {
	if key.ID, err = jsonString(entry, "keyId"); err != nil {
		return key, err
	}
	// No usage would mean every usage, which this form never says.
	if key.Usage, err = jsonString(entry, "keyUsage"); err != nil {
		return key, err
	}
	var public, validFor map[string]json.RawMessage
	if json.Unmarshal(entry["publicKey"], &public) != nil || public == nil {
		return key, errors.New("publicKey is not an object")
	}
	if details, err := jsonString(public, "keyDetails"); err != nil {
		return key, err
	} else if details != "PKIX_ECDSA_P256_SHA_256" {
		return key, fmt.Errorf("keyDetails %s is not known", quoteShort(details))
	}
	text, err := jsonString(public, "rawBytes")
	if err != nil {
		return key, err
	}
	if key.Public, err = parsePublicKey(text); err != nil {
		return key, err
	}
	// A missing start is a damaged file and not a key without beginning.
	if json.Unmarshal(public["validFor"], &validFor) != nil || validFor == nil {
		return key, errors.New("validFor is not an object")
	}
	if key.Start, err = jsonTime(validFor, "start"); err != nil {
		return key, err
	}
	if isJSONValue(validFor["end"]) {
		key.End, err = jsonTime(validFor, "end")
	}
	return key, err
}

// parsePublicKey reads a DER SubjectPublicKeyInfo in base64 without PEM armour.
func parsePublicKey(text string) (*ecdsa.PublicKey, error) {
	der, err := decodeBase64(text)
	if err != nil {
		return nil, fmt.Errorf("its key: %w", err)
	}
	parsed, err := x509.ParsePKIXPublicKey(der)
	if err != nil {
		return nil, fmt.Errorf("its key: %w", err)
	}
	public, ok := parsed.(*ecdsa.PublicKey)
	if !ok || public.Curve != elliptic.P256() {
		return nil, errors.New("its key is not a P-256 key")
	}
	return public, nil
}

// isJSONValue reports whether a member is there and not null.
func isJSONValue(raw json.RawMessage) bool {
	return len(raw) > 0 && !bytes.Equal(bytes.TrimSpace(raw), []byte("null"))
}

// jsonString returns a member that has to be a string and not empty.
func jsonString(object map[string]json.RawMessage, name string) (string, error) {
	var s string
	if !isJSONValue(object[name]) {
		return "", fmt.Errorf("has no %s", name)
	}
	if err := json.Unmarshal(object[name], &s); err != nil {
		return "", fmt.Errorf("%s is not a string", name)
	}
	if s == "" {
		return "", fmt.Errorf("%s is empty", name)
	}
	return s, nil
}

// jsonTime returns a member that has to be an instant such as "2025-01-29T00:00:00.000Z".
func jsonTime(object map[string]json.RawMessage, name string) (time.Time, error) {
	s, err := jsonString(object, name)
	if err != nil {
		return time.Time{}, err
	}
	t, err := time.Parse(time.RFC3339, s)
	if err != nil {
		return time.Time{}, fmt.Errorf("%s %s is not a time of RFC 3339", name, quoteShort(s))
	}
	if t.IsZero() {
		return time.Time{}, fmt.Errorf("%s is the year 1", name) // it would read as an open end
	}
	return t.UTC(), nil
}

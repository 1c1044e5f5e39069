package npm_test

import (
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"assay/internal/npm"
	"github.com/google/go-cmp/cmp"
)

// npm's two public keys, as in the documentation of its registry signatures.
const (
	oldKeyID = "SHA256:jl3bwswu80PjjokCgh0o2w5c2U4LhQAE57gj9cz1kzA"
	oldKey   = "MFkwEwYHKoZIzj0CAQYIKoZIzj0DAQcDQgAE1Olb3zMAFFxXKHiIkQO5cJ3Yhl5i6UPp+IhuteBJbuHcA5UogKo0EWtlWwW6KSaKoTNEYL7JlCQiVnkhBktUgg=="
	newKeyID = "SHA256:DhQ8wR5APBvFHLF/+Tc+AYvPOdTpcIDqOhxsBHRwC7U"
	newKey   = "MFkwEwYHKoZIzj0CAQYIKoZIzj0DAQcDQgAEY6Ya7W++7aUPzvMTrezH6Ycx3c+HOKYCcNGybJZSCJq/fd7Qa8uuAKtdIkUQtQiEKERhAmE5lMMJhP8OkDOa2g=="
)

// keyLine describes a parsed key in one line.
func keyLine(k npm.Key) string {
	date := func(t time.Time) string {
		if t.IsZero() {
			return "open"
		}
		return t.Format(time.RFC3339)
	}
	return fmt.Sprintf("%s %q %s..%s", k.ID, k.Usage, date(k.Start), date(k.End))
}

func endpointKey(id, key, rest string) string {
	return fmt.Sprintf(`{"keyid":%q,"keytype":"ecdsa-sha2-nistp256","scheme":"ecdsa-sha2-nistp256","key":%q%s}`, id, key, rest)
}

func tufKey(id, usage, key, validFor string) string {
	return fmt.Sprintf(`{"keyId":%q,"keyUsage":%q,"publicKey":{"rawBytes":%q,"keyDetails":"PKIX_ECDSA_P256_SHA_256","validFor":%s}}`, id, usage, key, validFor)
}

func spki(t *testing.T, public any) string {
	t.Helper()
	der, err := x509.MarshalPKIXPublicKey(public)
	if err != nil {
		t.Fatal(err)
	}
	return base64.StdEncoding.EncodeToString(der)
}

func TestParseKeys(t *testing.T) {
	p384, err := ecdsa.GenerateKey(elliptic.P384(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	ed, _, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	const open = `{"start":"2025-01-13T00:00:00.000Z"}`
	good := endpointKey(newKeyID, newKey, `,"expires":null`)
	goodLine := newKeyID + ` "" open..open`
	goodTUF := tufKey(newKeyID, "npm:signatures", newKey, open)
	goodTUFLine := newKeyID + ` "npm:signatures" 2025-01-13T00:00:00Z..open`
	tests := []struct {
		name    string
		keys    []string // the elements of the array
		want    []string // as keyLine
		wantErr string
	}{
		{"endpoint form", []string{endpointKey(oldKeyID, oldKey, `,"expires":"2025-01-29T00:00:00.000Z"`), good},
			[]string{oldKeyID + ` "" open..2025-01-29T00:00:00Z`, goodLine}, ""},
		{"TUF form, a key for each usage", []string{
			tufKey(oldKeyID, "npm:signatures", oldKey, `{"start":"1999-01-01T00:00:00.000Z","end":"2025-01-29T00:00:00.000Z"}`),
			tufKey(oldKeyID, "npm:attestations", oldKey, `{"start":"2022-12-01T00:00:00.000Z","end":"2025-01-29T00:00:00.000Z"}`), goodTUF},
			[]string{oldKeyID + ` "npm:signatures" 1999-01-01T00:00:00Z..2025-01-29T00:00:00Z`,
				oldKeyID + ` "npm:attestations" 2022-12-01T00:00:00Z..2025-01-29T00:00:00Z`, goodTUFLine}, ""},
		{"no keys", nil, nil, ""},
		{"expires left out", []string{endpointKey(newKeyID, newKey, "")}, []string{goodLine}, ""},
		{"another zone", []string{endpointKey(newKeyID, newKey, `,"expires":"2025-01-29T02:00:00+02:00"`)}, []string{newKeyID + ` "" open..2025-01-29T00:00:00Z`}, ""},
		{"no scheme", []string{fmt.Sprintf(`{"keyid":%q,"key":%q}`, newKeyID, newKey)}, []string{goodLine}, ""},
		{"a private registry's own id", []string{endpointKey("key-1", newKey, "")}, []string{`key-1 "" open..open`}, ""},
		{"the same entry twice", []string{good, good}, []string{goodLine}, ""},
		{"end null", []string{tufKey(newKeyID, "npm:signatures", newKey, `{"start":"2025-01-13T00:00:00Z","end":null}`)}, []string{goodTUFLine}, ""},

		{"id of another key", []string{endpointKey(oldKeyID, newKey, ""), good}, []string{goodLine}, "own id is " + newKeyID},
		{"TUF id of another key", []string{tufKey(oldKeyID, "npm:signatures", newKey, open), goodTUF}, []string{goodTUFLine}, "own id is " + newKeyID},
		{"id in the way of OpenSSL", []string{endpointKey("SHA256:"+derHash(newKey), newKey, ""), good}, []string{goodLine}, "own id is"},
		{"padded id", []string{endpointKey(newKeyID+"=", newKey, ""), good}, []string{goodLine}, "own id is"},
		{"one id for two keys", []string{endpointKey("a", newKey, ""), good, endpointKey("a", oldKey, "")}, []string{goodLine}, "to a different key"},
		{"empty id", []string{endpointKey("", newKey, ""), good}, []string{goodLine}, "keyid is empty"},
		{"no id", []string{fmt.Sprintf(`{"key":%q}`, newKey), good}, []string{goodLine}, "neither keyid nor keyId"},
		{"both forms in one", []string{strings.Replace(good, "{", `{"keyId":"x",`, 1), good}, []string{goodLine}, "both keyid and keyId"},
		{"letter case of a member", []string{strings.Replace(good, `"key"`, `"Key"`, 1), good}, []string{goodLine}, "has no key"},
		{"unknown scheme", []string{strings.Replace(good, `"scheme":"ecdsa-sha2-nistp256"`, `"scheme":"ssh-ed25519"`, 1), good}, []string{goodLine}, `scheme "ssh-ed25519"`},
		{"unknown key type", []string{strings.Replace(good, `"keytype":"ecdsa-sha2-nistp256"`, `"keytype":"rsa"`, 1), good}, []string{goodLine}, `keytype "rsa"`},
		{"P-384", []string{endpointKey("x", spki(t, p384.Public()), ""), good}, []string{goodLine}, "not a P-256 key"},
		{"Ed25519", []string{endpointKey("x", spki(t, ed), ""), good}, []string{goodLine}, "not a P-256 key"},
		{"no base64", []string{endpointKey(newKeyID, "***", ""), good}, []string{goodLine}, "base64 is malformed"},
		{"base64 with a line break", []string{endpointKey(newKeyID, newKey[:64]+"\n"+newKey[64:], ""), good}, []string{goodLine}, "line break"},
		{"PEM", []string{endpointKey(newKeyID, "-----BEGIN PUBLIC KEY-----"+newKey, ""), good}, []string{goodLine}, "base64 is malformed"},
		{"truncated key", []string{endpointKey(newKeyID, newKey[:80], ""), good}, []string{goodLine}, "its key"},
		{"point off the curve", []string{endpointKey(newKeyID, strings.Replace(newKey, "Y6Ya", "Y6Yb", 1), ""), good}, []string{goodLine}, "its key"},
		{"expires empty", []string{endpointKey(newKeyID, newKey, `,"expires":""`)}, nil, "expires is empty"},
		{"expires a number", []string{endpointKey(newKeyID, newKey, `,"expires":1`)}, nil, "expires is not a string"},
		{"expires in words", []string{endpointKey(newKeyID, newKey, `,"expires":"tomorrow"`)}, nil, "not a time of RFC 3339"},
		{"expires in the year 1", []string{endpointKey(newKeyID, newKey, `,"expires":"0001-01-01T00:00:00Z"`)}, nil, "year 1"},
		{"no usage", []string{strings.Replace(goodTUF, `"keyUsage":"npm:signatures",`, "", 1), goodTUF}, []string{goodTUFLine}, "has no keyUsage"},
		{"no start", []string{tufKey(newKeyID, "npm:signatures", newKey, `{}`), goodTUF}, []string{goodTUFLine}, "has no start"},
		{"no validity", []string{tufKey(newKeyID, "npm:signatures", newKey, `null`), goodTUF}, []string{goodTUFLine}, "validFor is not an object"},
		{"ends before it starts", []string{tufKey(newKeyID, "npm:signatures", newKey, `{"start":"2025-01-13T00:00:00Z","end":"2025-01-13T00:00:00Z"}`)}, nil, "ends before it starts"},
		{"unknown details", []string{strings.Replace(goodTUF, "PKIX_ECDSA_P256_SHA_256", "PKIX_ED25519", 1)}, nil, `keyDetails "PKIX_ED25519"`},
		{"no key at all", []string{`{"keyId":"x","keyUsage":"npm:signatures"}`}, nil, "publicKey is not an object"},
		{"entry null", []string{`null`, good}, []string{goodLine}, "is not an object"},
		{"entry a string", []string{`"x"`, good}, []string{goodLine}, "is not an object"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			keys, err := npm.ParseKeys([]byte(`{"keys":[` + strings.Join(tt.keys, ",") + `]}`))
			checkError(t, err, tt.wantErr)
			var got []string
			for _, k := range keys {
				got = append(got, keyLine(k))
				if strings.HasPrefix(k.ID, "SHA256:") && npm.KeyID(k.Public) != k.ID {
					t.Errorf("%s belongs to another key", k.ID)
				}
			}
			if diff := cmp.Diff(tt.want, got); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
	for in, wantErr := range map[string]string{
		``: "registry keys", `x`: "registry keys", `[]`: "registry keys", `null`: "has no keys", `{}`: "has no keys", `{"keys":null}`: "has no keys",
		`{"Keys":[]}`: "has no keys", `{"keys":{}}`: "not an array", `{"keys":[]} x`: "registry keys",
		`{"keys":[` + strings.Repeat(`0,`, 300) + `0]}`: "more than 256 keys", strings.Repeat(" ", 2<<20): "larger than",
	} {
		if keys, err := npm.ParseKeys([]byte(in)); err == nil || !strings.Contains(err.Error(), wantErr) || keys != nil {
			t.Errorf("ParseKeys(%.30q) = %v, %v, want %q", in, keys, err, wantErr)
		}
	}
}

func derHash(key string) string {
	der, _ := base64.StdEncoding.DecodeString(key)
	sum := sha256.Sum256(der)
	return base64.RawStdEncoding.EncodeToString(sum[:])
}

func TestKey(t *testing.T) {
	start, end := time.Date(2025, 1, 13, 0, 0, 0, 0, time.UTC), time.Date(2025, 1, 29, 0, 0, 0, 0, time.UTC)
	k := npm.Key{Usage: npm.UsageSignatures, Start: start, End: end}
	for at, want := range map[time.Time]bool{
		start.Add(-1): false, start: true, end.Add(-1): true, end: false, end.Add(time.Hour): false,
	} {
		if got := k.ValidAt(at); got != want {
			t.Errorf("ValidAt(%s) = %t", at, got)
		}
	}
	if !(npm.Key{}).ValidAt(time.Time{}) || !(npm.Key{}).ValidAt(end) {
		t.Error("an open key is not valid at any time")
	}
	if !k.For(npm.UsageSignatures) || k.For(npm.UsageAttestations) || !(npm.Key{}).For(npm.UsageAttestations) {
		t.Error("usage is not told apart")
	}
	if npm.KeyID(nil) != "" || npm.KeyID(&ecdsa.PublicKey{Curve: elliptic.P384()}) != "" {
		t.Error("what is no P-256 key has an id")
	}
}

// corpusFile reads a file of the corpus of real cases, and skips the test where it is absent.
func corpusFile(t *testing.T, path string) []byte {
	t.Helper()
	root := os.Getenv("ASSAY_CORPUS")
	if root == "" {
		root = "../../../shared/corpus"
	}
	data, err := os.ReadFile(filepath.Join(root, path))
	if err != nil {
		t.Skip("corpus of real cases not found (set ASSAY_CORPUS):", err)
	}
	return data
}

// TestRealSignatures verifies every signature of the corpus with the keys of both forms: message, key
// id and validity have to be what the registry used.
func TestRealSignatures(t *testing.T) {
	fromTUF, err := npm.ParseKeys(corpusFile(t, "trust/npm/keys-tuf.json"))
	if err != nil || len(fromTUF) != 4 {
		t.Fatalf("%d TUF keys, %v", len(fromTUF), err)
	}
	fromEndpoint, err := npm.ParseKeys(corpusFile(t, "trust/npm/keys-registry-api.json"))
	if err != nil || len(fromEndpoint) != 2 {
		t.Fatalf("%d endpoint keys, %v", len(fromEndpoint), err)
	}
	verified := 0
	for line := range strings.Lines(string(corpusFile(t, "signatures.jsonl"))) {
		var record struct {
			Name, Version, Integrity string
			Signatures               []struct{ KeyID, Sig string }
		}
		if err := json.Unmarshal([]byte(line), &record); err != nil {
			t.Fatal(err)
		}
		id := npm.ID{Name: record.Name, Version: record.Version}
		if err := id.Check(); err != nil {
			t.Error(err)
		}
		in, err := npm.ParseIntegrity(record.Integrity)
		if err != nil || in.String() != record.Integrity {
			t.Errorf("%s: integrity %q, %v", id, in, err)
		}
		if got, err := npm.ParsePURL(id.PURL()); err != nil || got != id {
			t.Errorf("%s: purl %q, %v", id, id.PURL(), err)
		}
		sum := sha256.Sum256([]byte(id.String() + ":" + in.String()))
		for _, s := range record.Signatures {
			sig, err := base64.StdEncoding.DecodeString(s.Sig)
			if err != nil {
				t.Fatal(err)
			}
			for _, k := range append(fromTUF, fromEndpoint...) {
				if k.ID == s.KeyID && k.For(npm.UsageSignatures) {
					if !ecdsa.VerifyASN1(k.Public, sum[:], sig) {
						t.Errorf("%s: signature by %s does not verify", id, k.ID)
					}
					verified++
				}
			}
		}
	}
	if verified < 8000 {
		t.Errorf("only %d signatures verified", verified)
	}
}

func FuzzParseKeys(f *testing.F) {
	f.Add([]byte(`{"keys":[` + endpointKey(oldKeyID, oldKey, `,"expires":"2025-01-29T00:00:00.000Z"`) + `]}`))
	f.Add([]byte(`{"keys":[` + tufKey(newKeyID, "npm:signatures", newKey, `{"start":"2025-01-13T00:00:00Z"}`) + `]}`))
	f.Add([]byte(`{"keys":[null,{"keyid":1},{}]}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		keys, _ := npm.ParseKeys(data)
		for _, k := range keys {
			if k.ID == "" || k.Public == nil || npm.KeyID(k.Public) == "" {
				t.Errorf("unusable key %+v", k)
			}
			if strings.HasPrefix(k.ID, "SHA256:") && k.ID != npm.KeyID(k.Public) {
				t.Errorf("%s belongs to another key", k.ID)
			}
		}
	})
}

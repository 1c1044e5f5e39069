package sigstore

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"encoding/pem"
	"errors"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/transparency-dev/merkle/proof"
	"github.com/transparency-dev/merkle/rfc6962"
	"golang.org/x/crypto/ssh"
)

// checkFormatError checks an error's reason; "" means that there must be none.
func checkFormatError(t *testing.T, err error, reason string, unsupported bool) {
	t.Helper()
	var format *FormatError
	switch {
	case reason == "" && err != nil:
		t.Errorf("error is %v", err)
	case reason != "" && (!errors.As(err, &format) || format.Reason != reason || format.Unsupported != unsupported):
		t.Errorf("error is %v, want reason %s, unsupported %v", err, reason, unsupported)
	}
}

func TestParseBundle(t *testing.T) {
	const media = `"mediaType":"application/vnd.dev.sigstore.bundle.v0.3+json"`
	const content = `"dsseEnvelope":{"payload":"AAAA","payloadType":"x","signatures":[{"sig":"AAAA"}]}`
	const entry = `"verificationMaterial":{"tlogEntries":[{`
	repeat := func(s string, n int) string { return strings.TrimSuffix(strings.Repeat(s+",", n), ",") }
	tests := []struct {
		name, in, reason string
		unsupported      bool
	}{
		{name: "smallest", in: `{` + media + `,` + content + `}`},
		{name: "nulls", in: `{` + media + `,` + content + `,"verificationMaterial":null,"messageSignature":null}`},
		{name: "numbers as numbers", in: `{` + media + `,` + content + `,` + entry + `"logIndex":5,"integratedTime":6}]}}`},
		{name: "32 entries", in: `{` + media + `,` + content + `,"verificationMaterial":{"tlogEntries":[` + repeat(`{}`, 32) + `]}}`},
		{name: "33 entries", in: `{` + media + `,` + content + `,"verificationMaterial":{"tlogEntries":[` + repeat(`{}`, 33) + `]}}`, reason: "too-many"},
		{name: "33 timestamps", in: `{` + media + `,` + content + `,"verificationMaterial":{"timestampVerificationData":{"rfc3161Timestamps":[` + repeat(`{}`, 33) + `]}}}`, reason: "too-many"},
		{name: "17 certificates", in: `{` + media + `,` + content + `,"verificationMaterial":{"x509CertificateChain":{"certificates":[` + repeat(`{}`, 17) + `]}}}`, reason: "too-many"},
		{name: "65 hashes", in: `{` + media + `,` + content + `,` + entry + `"inclusionProof":{"hashes":[` + repeat(`"AAAA"`, 65) + `]}}]}}`, reason: "too-many"},
		{name: "empty", in: ``, reason: "json-malformed"},
		{name: "null", in: `null`, reason: "json-malformed"},
		{name: "trailing", in: `{` + media + `,` + content + `}x`, reason: "json-malformed"},
		{name: "duplicate", in: `{` + media + `,` + media + `,` + content + `}`, reason: "json-duplicate-name"},
		{name: "unknown", in: `{` + media + `,` + content + `,"x":1}`, reason: "json-unknown-member"},
		{name: "unknown null", in: `{` + media + `,` + content + `,"x":null}`, reason: "json-unknown-member"},
		{name: "unknown deep", in: `{` + media + `,` + content + `,` + entry + `"x":1}]}}`, reason: "json-unknown-member"},
		{name: "field name", in: `{` + media + `,"dsse_envelope":{}}`, reason: "json-unknown-member"},
		{name: "null in array", in: `{` + media + `,` + content + `,"verificationMaterial":{"tlogEntries":[null]}}`, reason: "json-malformed"},
		{name: "fraction", in: `{` + media + `,` + content + `,` + entry + `"logIndex":5.0}]}}`, reason: "json-malformed"},
		{name: "negative index", in: `{` + media + `,` + content + `,` + entry + `"logIndex":"-5"}]}}`, reason: "number-negative"},
		{name: "negative size", in: `{` + media + `,` + content + `,` + entry + `"inclusionProof":{"treeSize":"-1"}}]}}`, reason: "number-negative"},
		{name: "not base64", in: `{` + media + `,"dsseEnvelope":{"payload":"A","signatures":[{}]}}`, reason: "base64-malformed"},
		{name: "no content", in: `{` + media + `}`, reason: "content-missing"},
		{name: "both contents", in: `{` + media + `,` + content + `,"messageSignature":{}}`, reason: "content-ambiguous"},
		{name: "both materials", in: `{` + media + `,` + content + `,"verificationMaterial":{"publicKey":{},"certificate":{}}}`, reason: "material-ambiguous"},
		{name: "no signature", in: `{` + media + `,"dsseEnvelope":{"signatures":[]}}`, reason: "signature-count"},
		{name: "signatures absent", in: `{` + media + `,"dsseEnvelope":{}}`, reason: "signature-count"},
		{name: "two signatures", in: `{` + media + `,"dsseEnvelope":{"signatures":[{},{}]}}`, reason: "signature-count"},
		{name: "no media type", in: `{` + content + `}`, reason: "media-type-unknown"},
		{name: "other media type", in: `{"mediaType":"text/plain",` + content + `}`, reason: "media-type-unknown"},
		{name: "older media type", in: `{"mediaType":"application/vnd.dev.sigstore.bundle.v0.1+json",` + content + `}`, reason: "media-type-unknown"},
		{name: "newer media type", in: `{"mediaType":"application/vnd.dev.sigstore.bundle.v0.4+json","x":{"y":[1]}}`, reason: "media-type-unknown", unsupported: true},
		{name: "much newer media type", in: `{"x":{"y":[1]},"mediaType":"application/vnd.dev.sigstore.bundle+json;version=99.9"}`, reason: "media-type-unknown", unsupported: true},
		{name: "newer patch", in: `{"mediaType":"application/vnd.dev.sigstore.bundle.v0.3.1+json",` + content + `}`, reason: "media-type-unknown", unsupported: true},
		{name: "version that is none", in: `{"mediaType":"application/vnd.dev.sigstore.bundle.vx+json",` + content + `}`, reason: "media-type-unknown"},
		{name: "newer and broken", in: `{"mediaType":"application/vnd.dev.sigstore.bundle.v0.4+json",`, reason: "json-malformed"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			b, err := ParseBundle([]byte(tt.in))
			if b != nil && b.unknownMember != "" { // told by the Format step, so that the others can speak too
				if v := new(TrustedRoot).Verify(b, Options{}); v.Format.Status != Failed || v.Format.Reason != tt.reason {
					t.Errorf("Format is %+v, want reason %s", v.Format, tt.reason)
				}
				return
			}
			checkFormatError(t, err, tt.reason, tt.unsupported)
			if (b == nil) != (err != nil) {
				t.Error("bundle and error do not exclude each other")
			}
		})
	}
}

func TestParseStatement(t *testing.T) {
	want := &Statement{
		Type: StatementV1, PredicateType: "p", Predicate: []byte(`{"a": [1, {"b":2}]}`),
		Subject: []Subject{{Name: "n", Digest: map[string]string{"sha512": "aa", "sha1": "bb"}}, {}},
	}
	got, err := ParseStatement([]byte(`{"_type":"https://in-toto.io/Statement/v1","subject":[{"name":"n","digest":{"sha512":"aa","sha1":"bb"},"uri":"x"},{}],
		"predicateType":"p","predicate":{"a": [1, {"b":2}]},"unknown":{"more":null}}`))
	if err != nil || !reflect.DeepEqual(got, want) {
		t.Errorf("got %+v, %v", got, err)
	}
	tests := []struct {
		name, in, reason string
		unsupported      bool
	}{
		{name: "v0.1", in: `{"_type":"https://in-toto.io/Statement/v0.1"}`},
		{name: "null members", in: `{"_type":"https://in-toto.io/Statement/v1","subject":null,"predicate":null,"predicateType":null}`},
		{name: "v2", in: `{"_type":"https://in-toto.io/Statement/v2"}`, reason: "statement-type-unknown", unsupported: true},
		{name: "no type", in: `{}`, reason: "statement-type-unknown", unsupported: true},
		{name: "not JSON", in: `x`, reason: "json-malformed"},
		{name: "array", in: `[]`, reason: "json-malformed"},
		{name: "trailing", in: `{"_type":"https://in-toto.io/Statement/v1"}{}`, reason: "json-malformed"},
		{name: "type twice", in: `{"_type":"a","_type":"b"}`, reason: "json-duplicate-name"},
		{name: "name twice in predicate", in: `{"_type":"https://in-toto.io/Statement/v1","predicate":{"a":{"b":1,"b":2}}}`, reason: "json-duplicate-name"},
		{name: "name twice in unknown", in: `{"_type":"https://in-toto.io/Statement/v1","x":[{"b":1,"b":2}]}`, reason: "json-duplicate-name"},
		{name: "algorithm twice", in: `{"_type":"https://in-toto.io/Statement/v1","subject":[{"digest":{"a":"","a":""}}]}`, reason: "json-duplicate-name"},
		{name: "predicate is text", in: `{"_type":"https://in-toto.io/Statement/v1","predicate":"x"}`, reason: "statement-malformed"},
		{name: "subject is null", in: `{"_type":"https://in-toto.io/Statement/v1","subject":[null]}`, reason: "json-malformed"},
		{name: "digest is number", in: `{"_type":"https://in-toto.io/Statement/v1","subject":[{"digest":{"a":1}}]}`, reason: "json-malformed"},
		{name: "many subjects", in: `{"_type":"https://in-toto.io/Statement/v1","subject":[` + strings.Repeat("{},", 1024) + `{}]}`, reason: "too-many"},
		{name: "too deep", in: `{"x":` + strings.Repeat("[", 500) + strings.Repeat("]", 500) + `}`, reason: "json-malformed"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			_, err := ParseStatement([]byte(tt.in))
			checkFormatError(t, err, tt.reason, tt.unsupported)
		})
	}
}

func TestParseTrustedRoot(t *testing.T) {
	l := newLab(t)
	tests := []struct {
		name        string
		change      func(map[string]any)
		reason      string
		unsupported bool
	}{
		{name: "as it is", change: func(map[string]any) {}},
		{name: "unknown members", change: func(r map[string]any) {
			r["x"] = 1
			at(r, "tlogs", 0).(map[string]any)["operator"] = "o"
			at(r, "tlogs", 0, "publicKey").(map[string]any)["x"] = []any{1}
		}},
		{name: "nothing in it", change: func(r map[string]any) {
			clear(r)
			r["mediaType"] = trustedRootMediaType
		}},
		{name: "unknown kind of key", change: func(r map[string]any) { at(r, "tlogs", 0, "publicKey").(map[string]any)["keyDetails"] = "NEW" }},
		{name: "no media type", change: func(r map[string]any) { delete(r, "mediaType") }, reason: "trusted-root-media-type-unknown", unsupported: true},
		{name: "newer media type", change: func(r map[string]any) { r["mediaType"] = "application/vnd.dev.sigstore.trustedroot.v0.2+json" }, reason: "trusted-root-media-type-unknown", unsupported: true},
		{name: "no start", change: func(r map[string]any) { at(r, "tlogs", 0, "publicKey").(map[string]any)["validFor"] = map[string]any{} }, reason: "trusted-root-malformed"},
		{name: "no validity", change: func(r map[string]any) { delete(at(r, "ctlogs", 0, "publicKey").(map[string]any), "validFor") }, reason: "trusted-root-malformed"},
		{name: "no log ID", change: func(r map[string]any) { delete(at(r, "tlogs", 0).(map[string]any), "logId") }, reason: "trusted-root-malformed"},
		{name: "no key", change: func(r map[string]any) { delete(at(r, "tlogs", 0).(map[string]any), "publicKey") }, reason: "trusted-root-malformed"},
		{name: "key of another kind", change: func(r map[string]any) { at(r, "tlogs", 0, "publicKey").(map[string]any)["keyDetails"] = "PKIX_ED25519" }, reason: "trusted-root-malformed"},
		{name: "key is garbage", change: func(r map[string]any) { at(r, "tlogs", 0, "publicKey").(map[string]any)["rawBytes"] = "AAAA" }, reason: "trusted-root-malformed"},
		{name: "other tree hash", change: func(r map[string]any) { at(r, "tlogs", 0).(map[string]any)["hashAlgorithm"] = "SHA2_512" }, reason: "trusted-root-malformed"},
		{name: "no certificates", change: func(r map[string]any) {
			at(r, "certificateAuthorities", 0).(map[string]any)["certChain"] = map[string]any{}
		}, reason: "trusted-root-malformed"},
		{name: "certificate is garbage", change: func(r map[string]any) {
			at(r, "certificateAuthorities", 0, "certChain", "certificates", 0).(map[string]any)["rawBytes"] = "AAAA"
		}, reason: "trusted-root-malformed"},
		{name: "only a signer", change: func(r map[string]any) {
			chain := at(r, "timestampAuthorities", 0, "certChain").(map[string]any)
			chain["certificates"] = chain["certificates"].([]any)[:1]
		}, reason: "trusted-root-malformed"},
		{name: "time is garbage", change: func(r map[string]any) {
			at(r, "certificateAuthorities", 0, "validFor").(map[string]any)["start"] = "yesterday"
		}, reason: "trusted-root-malformed"},
		{name: "base64 is garbage", change: func(r map[string]any) { at(r, "tlogs", 0, "logId").(map[string]any)["keyId"] = "A" }, reason: "base64-malformed"},
		{name: "many logs", change: func(r map[string]any) { r["tlogs"] = make([]any, 300) }, reason: "too-many"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			tree := decodeTree(t, encodeTree(l.trustedRoot()))
			tt.change(tree)
			_, err := ParseTrustedRoot(encodeTree(tree))
			checkFormatError(t, err, tt.reason, tt.unsupported)
		})
	}
}

func TestParseCheckpoint(t *testing.T) {
	root := std(make([]byte, 32))
	sig := "\u2014 a.example " + std([]byte{1, 2, 3, 4, 5}) + "\n"
	tests := []struct {
		name, note string
		ok         bool
	}{
		{"plain", "a.example\n5\n" + root + "\n\n" + sig, true},
		{"more lines", "a.example - 1\n5\n" + root + "\nTimestamp: 1\n\n" + sig + sig, true},
		{"empty tree", "a.example\n0\n" + root + "\n\n" + sig, true},
		{"no signature", "a.example\n5\n" + root + "\n\n", false},
		{"no blank line", "a.example\n5\n" + root + "\n" + sig, false},
		{"no final newline", "a.example\n5\n" + root + "\n\n" + strings.TrimSuffix(sig, "\n"), false},
		{"empty origin", "\n5\n" + root + "\n\n" + sig, false},
		{"size with zero", "a\n05\n" + root + "\n\n" + sig, false},
		{"size with sign", "a\n+5\n" + root + "\n\n" + sig, false},
		{"negative size", "a\n-5\n" + root + "\n\n" + sig, false},
		{"huge size", "a\n9223372036854775808\n" + root + "\n\n" + sig, false},
		{"short root", "a\n5\nAAAA\n\n" + sig, false},
		{"root not base64", "a\n5\n" + root[1:] + "\n\n" + sig, false},
		{"no root", "a\n5\n\n" + sig, false},
		{"hyphen for dash", "a\n5\n" + root + "\n\n- a AAAAAAA=\n", false},
		{"short signature", "a\n5\n" + root + "\n\n\u2014 a AAAAAA==\n", false},
		{"control character", "a\n5\n" + root + "\n\x00\n\n" + sig, false},
		{"not UTF-8", "a\xff\n5\n" + root + "\n\n" + sig, false},
		{"many signatures", "a\n5\n" + root + "\n\n" + strings.Repeat(sig, 101), false},
		{"empty", "", false},
	}
	for _, tt := range tests {
		if c, err := parseCheckpoint(tt.note); (err == nil) != tt.ok {
			t.Errorf("%s: got %+v, %v", tt.name, c, err)
		}
	}
}

// TestInclusionRoot compares with transparency-dev/merkle over every index of small trees, and every wrong length.
func TestInclusionRoot(t *testing.T) {
	leaf := sha256.Sum256(appendLeaf(nil, []byte("leaf")))
	for size := int64(1); size <= 33; size++ {
		for index := int64(-1); index <= size; index++ {
			for n := range 8 {
				hashes := make([][]byte, n)
				for i := range hashes {
					hashes[i] = sum256([]byte{byte(i)})
				}
				got := inclusionRoot(leaf, index, size, hashes)
				want, err := proof.RootFromInclusionProof(rfc6962.DefaultHasher, uint64(index), uint64(size), leaf[:], hashes)
				if err != nil {
					want = nil
				}
				if !bytes.Equal(got, want) {
					t.Fatalf("index %d of %d with %d hashes: got %x, want %x", index, size, n, got, want)
				}
			}
		}
	}
	if inclusionRoot(leaf, 0, 2, [][]byte{{1}}) != nil {
		t.Error("a short hash is taken")
	}
}

func TestFingerprint(t *testing.T) {
	p384, _ := ecdsa.GenerateKey(elliptic.P384(), rand.Reader)
	p521, _ := ecdsa.GenerateKey(elliptic.P521(), rand.Reader)
	rsaKey, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	ed, _, _ := ed25519.GenerateKey(rand.Reader)
	for _, key := range []any{&newKey(t).PublicKey, &p384.PublicKey, &p521.PublicKey, &rsaKey.PublicKey, ed} {
		s, err := ssh.NewPublicKey(key)
		if err != nil {
			t.Fatal(err)
		}
		if got, want := Fingerprint(key), ssh.FingerprintSHA256(s); got != want {
			t.Errorf("%T: got %s, want %s", key, got, want)
		}
	}
	if got := Fingerprint("no key"); got != "" {
		t.Errorf("got %s", got)
	}
}

// TestVerifyMessage covers the kinds of keys that the bundles at hand do not have.
func TestVerifyMessage(t *testing.T) {
	e := &Envelope{PayloadType: "type", Payload: []byte("message")}
	message := appendPAE(nil, e)
	if want := "DSSEv1 4 type 7 message"; string(message) != want {
		t.Errorf("encoding is %q, want %q", message, want)
	}
	p384, _ := ecdsa.GenerateKey(elliptic.P384(), rand.Reader)
	p521, _ := ecdsa.GenerateKey(elliptic.P521(), rand.Reader)
	rsaKey, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	_, edKey, _ := ed25519.GenerateKey(rand.Reader)
	for _, key := range []crypto.Signer{newKey(t), p384, p521, rsaKey, edKey} {
		public := key.Public()
		hashes := keyHashes(public)
		if _, ok := public.(ed25519.PublicKey); ok {
			hashes = []crypto.Hash{0}
		}
		for _, h := range hashes {
			signed := message
			if h != 0 {
				signed = hashOf(h, message)
			}
			e.Payload = []byte("message")
			if e.Signature, err = key.Sign(rand.Reader, signed, h); err != nil {
				t.Fatal(err)
			}
			if !verifyMessage(public, appendPAE(nil, e), e.Signature) {
				t.Errorf("%T with %v: does not verify", public, h)
			}
			if e.Payload = []byte("Message"); verifyMessage(public, appendPAE(nil, e), e.Signature) {
				t.Errorf("%T with %v: verifies something else", public, h)
			}
		}
		if want := spki(t, public); !bytes.Equal(marshalKey(public), want) {
			t.Errorf("%T is %x, want %x", public, marshalKey(public), want)
		}
	}
	if verifyMessage(nil, message, nil) || verifyMessage(ed25519.PublicKey{1}, message, nil) || marshalKey(nil) != nil {
		t.Error("a key that is none verifies")
	}
}

// TestSignerText compares with encoding/pem, over lengths around those of a line.
func TestSignerText(t *testing.T) {
	for n := range 200 {
		der := bytes.Repeat([]byte{1}, n+1)
		for _, certificate := range []bool{true, false} {
			label := map[bool]string{true: "CERTIFICATE", false: "PUBLIC KEY"}[certificate]
			block := pem.EncodeToMemory(&pem.Block{Type: label, Bytes: der})
			oneLine := []byte("-----BEGIN " + label + "-----\n" + std(der) + "\n-----END " + label + "-----")
			s := newSignerText(nil, der, certificate)
			is := func(der []byte, certificate bool) bool {
				s := newSignerText(nil, der, certificate)
				return s.is(block)
			}
			if !s.is(block) || !s.is(block[:len(block)-1]) || !s.is(oneLine) {
				t.Fatalf("%d bytes: is not %s", n, block)
			}
			if is(der, !certificate) || is(der[:n], certificate) || is(append(der, 1), certificate) {
				t.Fatalf("%d bytes: something else is %s", n, block)
			}
			for i := range block {
				bad := bytes.Clone(block)
				bad[i] ^= 1
				if decoded, _ := pem.Decode(bad); s.is(bad) && (decoded == nil || !bytes.Equal(decoded.Bytes, der) || decoded.Type != label) {
					t.Fatalf("%d bytes: is %s", n, bad)
				}
			}
		}
	}
}

func TestTimesOfDER(t *testing.T) {
	tests := []struct {
		in, want string
	}{
		{"20250601120000Z", "2025-06-01T12:00:00Z"}, {"20250601120000.5Z", "2025-06-01T12:00:00.5Z"}, {"20250601120000.50Z", ""}, {"20250601120000,5Z", ""},
		{"20250601120000.Z", ""}, {"20250601120000", ""}, {"20250601120000+0100", ""}, {"202506011200Z", ""}, {"20251301120000Z", ""}, {"20250601120000.1234567891Z", ""}, {"", ""},
	}
	for _, tt := range tests {
		got, err := generalizedTime([]byte(tt.in))
		if (err != nil) != (tt.want == "") || err == nil && got.Format(time.RFC3339Nano) != tt.want {
			t.Errorf("%q: got %v, %v", tt.in, got, err)
		}
	}
	if got, err := utcTime([]byte("500101000000Z")); err != nil || got.Year() != 1950 {
		t.Errorf("got %v, %v", got, err)
	}
	if _, err := utcTime([]byte("5001010000Z")); err == nil {
		t.Error("a UTCTime without seconds is taken")
	}
}

func TestDER(t *testing.T) {
	for _, n := range []int{0, 1, 127, 128, 255, 256, 65535, 65536, 1 << 24} {
		b := der(appendDER(nil, tagSequence, make([]byte, n)))
		if content, err := b.only(tagSequence); err != nil || len(content) != n {
			t.Errorf("%d bytes: got %d, %v", n, len(content), err)
		}
	}
	for _, b := range [][]byte{{}, {0x30}, {0x30, 1}, {0x30, 0x80}, {0x30, 0x81, 1, 0}, {0x30, 0x82, 0, 0x80}, {0x30, 0x85, 1, 0, 0, 0, 0}, {0x30, 0x84, 0xff, 0xff, 0xff, 0xff}, {0x3f, 0}} {
		d := der(b)
		if _, _, _, err := d.next(); err == nil {
			t.Errorf("%x is taken", b)
		}
	}
}

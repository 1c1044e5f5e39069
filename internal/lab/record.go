package lab

import (
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"fmt"
)

// Kinds of log entry.
var (
	DSSE           = KindVersion{"dsse", "0.0.1"}         // what npm writes today
	Intoto         = KindVersion{"intoto", "0.0.2"}       // what npm wrote before, and what publish attestations still are
	HashedRekord   = KindVersion{"hashedrekord", "0.0.1"} // Rekor v1, for artifact signatures
	HashedRekordV2 = KindVersion{"hashedrekord", "0.0.2"} // Rekor v2, the only kind it takes
)

// A Record is what a log is told about one signature. What the log stores, its body, is made from it.
type Record struct {
	Kind        KindVersion
	PayloadType string
	Payload     []byte   // its hash is logged; for an artifact signature the artifact's digest stands in SHA256
	Signature   []byte   // raw, ASN.1 DER
	KeyID       string   // of the envelope's signature; "" leaves it out
	Certificate []byte   // DER; nil where a bare key signed
	PublicKey   []byte   // DER SubjectPublicKeyInfo; used where Certificate is nil
	SHA256      [32]byte // what hashedrekord entries hold: SHA-256 of the artifact, or of the envelope's PAE
	KeyDetails  string   // Rekor v2: PKIX_ECDSA_P256_SHA_256
}

// pem is the verifier as Rekor v1 stores it.
func (r *Record) pem() []byte {
	if r.Certificate != nil {
		return pemBlock("CERTIFICATE", r.Certificate)
	}
	return pemBlock("PUBLIC KEY", r.PublicKey)
}

// envelope is the uploaded envelope; npm leaves an empty keyid out.
func (r *Record) envelope() []byte {
	sig := map[string]any{"sig": r.Signature}
	if r.KeyID != "" {
		sig["keyid"] = r.KeyID
	}
	return marshal(map[string]any{"payload": r.Payload, "payloadType": r.PayloadType, "signatures": []any{sig}})
}

func hexSHA256(b []byte) map[string]any {
	sum := sha256.Sum256(b)
	return map[string]any{"algorithm": "sha256", "value": hex.EncodeToString(sum[:])}
}

// body is the canonicalised body, the log's leaf (rekor pkg/types/{dsse,intoto,hashedrekord},
// rekor-tiles api/proto/rekor/v2).
func (r *Record) body() ([]byte, error) {
	var spec map[string]any
	switch r.Kind {
	case DSSE:
		spec = map[string]any{
			"envelopeHash": hexSHA256(r.envelope()),
			"payloadHash":  hexSHA256(r.Payload),
			"signatures":   []any{map[string]any{"signature": r.Signature, "verifier": r.pem()}},
		}
	case Intoto:
		// The signature is encoded twice: the client's base64 text is itself a byte field.
		sig := map[string]any{
			"sig":       []byte(base64.StdEncoding.EncodeToString(r.Signature)),
			"publicKey": r.pem(),
		}
		if r.KeyID != "" {
			sig["keyid"] = r.KeyID
		}
		spec = map[string]any{"content": map[string]any{
			"envelope":    map[string]any{"payloadType": r.PayloadType, "signatures": []any{sig}},
			"hash":        hexSHA256(r.envelope()),
			"payloadHash": hexSHA256(r.Payload),
		}}
	case HashedRekord:
		spec = map[string]any{
			"data":      map[string]any{"hash": map[string]any{"algorithm": "sha256", "value": hex.EncodeToString(r.SHA256[:])}},
			"signature": map[string]any{"content": r.Signature, "publicKey": map[string]any{"content": r.pem()}},
		}
	case HashedRekordV2:
		verifier := map[string]any{"keyDetails": r.KeyDetails}
		if r.Certificate != nil {
			verifier["x509Certificate"] = map[string]any{"rawBytes": r.Certificate}
		} else {
			verifier["publicKey"] = map[string]any{"rawBytes": r.PublicKey}
		}
		spec = map[string]any{"hashedRekordV002": map[string]any{
			"data":      map[string]any{"algorithm": "SHA2_256", "digest": r.SHA256[:]},
			"signature": map[string]any{"content": r.Signature, "verifier": verifier},
		}}
	default:
		return nil, fmt.Errorf("the lab's logs do not know entries of kind %s %s", r.Kind.Kind, r.Kind.Version)
	}
	return marshal(map[string]any{"apiVersion": r.Kind.Version, "kind": r.Kind.Kind, "spec": spec}), nil
}

// filler is a leaf that is nobody's, so that proofs have neighbours to prove against.
func filler(n int64) []byte {
	return marshal(map[string]any{"apiVersion": "0.0.1", "kind": "hashedrekord", "spec": map[string]any{
		"data": map[string]any{"hash": hexSHA256(fmt.Appendf(nil, "filler %d", n))}}})
}

package lab

import (
	"bytes"
	"encoding/json"
)

// The structs below are the Sigstore bundle in its JSON form (protobuf-specs sigstore_bundle.proto): byte
// fields as base64, 64-bit numbers as strings. They are this package's own, so that what it writes does not
// depend on how a verifier reads.

// Media types of bundles.
const (
	MediaTypeV01    = "application/vnd.dev.sigstore.bundle+json;version=0.1"
	MediaTypeV02    = "application/vnd.dev.sigstore.bundle+json;version=0.2"
	MediaTypeV03Old = "application/vnd.dev.sigstore.bundle+json;version=0.3"
	MediaTypeV03    = "application/vnd.dev.sigstore.bundle.v0.3+json"
)

// A Bundle is one signature with all that is needed to verify it.
type Bundle struct {
	MediaType            string            `json:"mediaType"`
	VerificationMaterial Material          `json:"verificationMaterial"`
	DSSEEnvelope         *Envelope         `json:"dsseEnvelope,omitempty"`
	MessageSignature     *MessageSignature `json:"messageSignature,omitempty"`
}

// Material is who signed, and what logs and timestamp authorities say about it.
type Material struct {
	PublicKey   *PublicKeyHint  `json:"publicKey,omitempty"`
	Chain       *Chain          `json:"x509CertificateChain,omitempty"` // bundles up to v0.2
	Certificate *RawCertificate `json:"certificate,omitempty"`          // bundles from v0.3 on
	Entries     []*Entry        `json:"tlogEntries"`
	Timestamps  *Timestamps     `json:"timestampVerificationData,omitempty"`
}

// PublicKeyHint names a key that the verifier must know.
type PublicKeyHint struct {
	Hint string `json:"hint"`
}

// Chain is a leaf and, in some early bundles, its issuers.
type Chain struct {
	Certificates []RawCertificate `json:"certificates"`
}

// RawCertificate is a certificate in DER.
type RawCertificate struct {
	RawBytes []byte `json:"rawBytes"`
}

// Timestamps holds RFC 3161 responses.
type Timestamps struct {
	RFC3161 []Timestamp `json:"rfc3161Timestamps"`
}

// Timestamp is one whole TimeStampResp in DER.
type Timestamp struct {
	Signed []byte `json:"signedTimestamp"`
}

// An Envelope is a DSSE envelope.
type Envelope struct {
	Payload     []byte              `json:"payload"`
	PayloadType string              `json:"payloadType"`
	Signatures  []EnvelopeSignature `json:"signatures"`
}

// EnvelopeSignature is one signature over the envelope's pre-authentication encoding.
type EnvelopeSignature struct {
	Sig   []byte `json:"sig"`
	KeyID string `json:"keyid"`
}

// MessageSignature signs an artifact by its digest.
type MessageSignature struct {
	Digest    MessageDigest `json:"messageDigest"`
	Signature []byte        `json:"signature"`
}

// MessageDigest is the digest of the artifact.
type MessageDigest struct {
	Algorithm string `json:"algorithm"` // SHA2_256
	Digest    []byte `json:"digest"`
}

// An Entry is a transparency log entry.
type Entry struct {
	LogIndex          int64           `json:"logIndex,string"`
	LogID             LogID           `json:"logId"`
	KindVersion       KindVersion     `json:"kindVersion"`
	IntegratedTime    int64           `json:"integratedTime,string,omitempty"`
	InclusionPromise  *Promise        `json:"inclusionPromise,omitempty"`
	InclusionProof    *InclusionProof `json:"inclusionProof,omitempty"`
	CanonicalizedBody []byte          `json:"canonicalizedBody"`
}

// LogID names a log.
type LogID struct {
	KeyID []byte `json:"keyId"`
}

// KindVersion says what an entry's body is.
type KindVersion struct {
	Kind    string `json:"kind"`
	Version string `json:"version"`
}

// Promise is the log's signed entry timestamp.
type Promise struct {
	SignedEntryTimestamp []byte `json:"signedEntryTimestamp"`
}

// InclusionProof is a Merkle path with the checkpoint it leads to.
type InclusionProof struct {
	LogIndex   int64      `json:"logIndex,string"`
	RootHash   []byte     `json:"rootHash"`
	TreeSize   int64      `json:"treeSize,string"`
	Hashes     [][]byte   `json:"hashes"`
	Checkpoint Checkpoint `json:"checkpoint"`
}

// Checkpoint is a signed note.
type Checkpoint struct {
	Envelope string `json:"envelope"`
}

// marshal is compact JSON without HTML escapes and, for maps, with sorted keys: for the ASCII strings and
// integers that this package puts in log bodies it is the canonical form of RFC 8785.
func marshal(v any) []byte {
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	if err := enc.Encode(v); err != nil {
		panic(err) // only for values that JSON cannot hold
	}
	return bytes.TrimSuffix(b.Bytes(), []byte("\n"))
}

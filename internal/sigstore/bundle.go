package sigstore

import "fmt"

// A Bundle is a parsed Sigstore bundle (sigstore/protobuf-specs, sigstore_bundle.proto). Exactly one of
// Envelope and Message is set. Nothing in it is verified.
type Bundle struct {
	MediaType  string // as it stands in the bundle
	Leaf       []byte // DER of the leaf certificate; nil for a key-signed bundle
	KeyHint    string // publicKey.hint of a key-signed bundle; may be empty
	Envelope   *Envelope
	Message    *MessageSignature
	Entries    []LogEntry
	Timestamps [][]byte // RFC 3161 TimeStampResp, DER
}

// An Envelope is a DSSE envelope with exactly one signature (secure-systems-lab/dsse, envelope.md).
type Envelope struct {
	PayloadType string
	Payload     []byte // decoded
	Signature   []byte // decoded
	KeyID       string // unauthenticated hint; empty if absent
}

// A MessageSignature is a signature over an artifact itself.
type MessageSignature struct {
	Algorithm string // of Digest, as protobuf-specs names it: "SHA2_256"; empty if absent
	Digest    []byte // unauthenticated copy of the artifact's digest; nil if absent
	Signature []byte
}

// A LogEntry is one entry of a transparency log, as the bundle tells it.
type LogEntry struct {
	LogIndex       int64
	LogID          []byte
	Kind, Version  string
	IntegratedTime int64  // seconds since 1970; 0 if absent
	SET            []byte // signed entry timestamp; nil if absent
	Proof          *InclusionProof
	Body           []byte // canonicalizedBody, decoded
}

// An InclusionProof is a Merkle inclusion proof with the checkpoint it leads to.
type InclusionProof struct {
	LogIndex   int64
	RootHash   []byte
	TreeSize   int64
	Hashes     [][]byte
	Checkpoint string // signed note
}

// A FormatError says why bytes are not an acceptable bundle, statement or trusted root.
type FormatError struct {
	Reason      string // stable code, kebab-case
	Detail      string // may quote hostile text
	Unsupported bool   // newer than this package knows, rather than malformed
}

func (e *FormatError) Error() string {
	return fmt.Sprintf("%s: %s", e.Reason, e.Detail)
}

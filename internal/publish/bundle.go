package publish

import (
	"bytes"
	"encoding/json"
	"strconv"
)

// The structs below are a Sigstore bundle in its JSON form (protobuf-specs, sigstore_bundle.proto), as far as it is
// written here: bytes as base64, 64-bit numbers as text, members in the order in which npm writes them.

// bundleMediaType is the form that npm writes.
const bundleMediaType = "application/vnd.dev.sigstore.bundle.v0.3+json"

type bundle struct {
	MediaType string   `json:"mediaType"`
	Material  material `json:"verificationMaterial"`
	Envelope  envelope `json:"dsseEnvelope"`
}

type material struct {
	Certificate certificate `json:"certificate"`
	Entries     []*entry    `json:"tlogEntries"`
	Timestamps  struct {
		RFC3161 []timestamp `json:"rfc3161Timestamps"`
	} `json:"timestampVerificationData"`
}

type certificate struct {
	RawBytes []byte `json:"rawBytes"`
}

type timestamp struct {
	Signed []byte `json:"signedTimestamp"`
}

type envelope struct {
	Payload     []byte      `json:"payload"`
	PayloadType string      `json:"payloadType"`
	Signatures  []signature `json:"signatures"`
}

type signature struct {
	Sig   []byte `json:"sig"`
	KeyID string `json:"keyid"`
}

type entry struct {
	LogIndex       int64       `json:"logIndex,string"`
	LogID          logID       `json:"logId"`
	Kind           kindVersion `json:"kindVersion"`
	IntegratedTime int64       `json:"integratedTime,string,omitempty"`
	Promise        *promise    `json:"inclusionPromise,omitempty"`
	Proof          *proof      `json:"inclusionProof"`
	Body           []byte      `json:"canonicalizedBody"`
}

type logID struct {
	KeyID []byte `json:"keyId"`
}

type kindVersion struct {
	Kind    string `json:"kind"`
	Version string `json:"version"`
}

type promise struct {
	SET []byte `json:"signedEntryTimestamp"`
}

type proof struct {
	LogIndex   int64      `json:"logIndex,string"`
	RootHash   []byte     `json:"rootHash"`
	TreeSize   int64      `json:"treeSize,string"`
	Hashes     [][]byte   `json:"hashes"`
	Checkpoint checkpoint `json:"checkpoint"`
}

type checkpoint struct {
	Envelope string `json:"envelope"`
}

// pae is what an envelope signs: the pre-authentication encoding (secure-systems-lab/dsse, protocol.md).
func (e *envelope) pae() []byte {
	b := append([]byte("DSSEv1 "), strconv.Itoa(len(e.PayloadType))...)
	b = append(b, ' ')
	b = append(b, e.PayloadType...)
	b = append(b, ' ')
	b = strconv.AppendInt(b, int64(len(e.Payload)), 10)
	b = append(b, ' ')
	return append(b, e.Payload...)
}

// json is the bundle as text, without HTML escapes.
func (b *bundle) json() ([]byte, error) {
	if b.Material.Timestamps.RFC3161 == nil {
		b.Material.Timestamps.RFC3161 = []timestamp{}
	}
	var out bytes.Buffer
	enc := json.NewEncoder(&out)
	enc.SetEscapeHTML(false)
	if err := enc.Encode(b); err != nil {
		return nil, err
	}
	return bytes.TrimSuffix(out.Bytes(), []byte("\n")), nil
}

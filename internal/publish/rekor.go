package publish

import (
	"context"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"net/http"
	"net/url"
	"regexp"
	"strings"
	"time"
)

// Rekor v2 answers when a checkpoint covers the entry, which takes seconds (rekor-tiles CLIENTS.md).
const rekorV2Timeout = 60 * time.Second

// uuidPattern is an entry's name at Rekor v1: the leaf hash, or tree id and leaf hash (rekor pkg/sharding).
var uuidPattern = regexp.MustCompile(`^([0-9a-f]{64}|[0-9a-f]{80})$`)

// logV1 enters a signature into a Rekor v1 as kind dsse 0.0.1 (rekor openapi.yaml, POST /api/v1/log/entries; the
// request is npm's, see sigstore-js sign/src/witness/tlog). Where the log has the very entry already, as after an
// answer that got lost, it answers 409 and says where: then that one is read.
func (c *client) logV1(ctx context.Context, base string, e *envelope, leaf []byte) (*entry, error) {
	inner := object{
		{"payload", base64.StdEncoding.EncodeToString(e.Payload)},
		{"payloadType", e.PayloadType},
		{"signatures", []any{object{{"sig", base64.StdEncoding.EncodeToString(e.Signatures[0].Sig)}}}},
	}.json()
	verifier := base64.StdEncoding.EncodeToString(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: leaf}))
	body := object{
		{"apiVersion", "0.0.1"}, {"kind", "dsse"},
		{"spec", object{{"proposedContent", object{{"envelope", string(inner)}, {"verifiers", []any{verifier}}}}}},
	}.json()
	q := call{service: "Rekor", op: "entering the signature into the transparency log", method: http.MethodPost,
		url: join(base, "/api/v1/log/entries"), header: map[string]string{"Content-Type": "application/json"}, body: body,
		ok: []int{http.StatusOK, http.StatusCreated, http.StatusConflict}}
	a, err := c.do(ctx, q)
	if err != nil {
		return nil, err
	}
	if a.status == http.StatusConflict {
		where, err := url.Parse(a.header.Get("Location"))
		uuid := ""
		if err == nil {
			uuid = where.Path[strings.LastIndexByte(where.Path, '/')+1:]
		}
		if !uuidPattern.MatchString(uuid) {
			return nil, &ServiceError{Service: q.service, Op: q.op, URL: publicURL(q.url), Status: a.status, Message: "the entry exists already, and the answer does not say where"}
		}
		// Only the name is taken from the answer, never the host.
		q = call{service: "Rekor", op: "reading the entry that exists already", method: http.MethodGet, url: join(base, "/api/v1/log/entries/"+uuid)}
		if a, err = c.do(ctx, q); err != nil {
			return nil, err
		}
	}
	got, err := readEntryV1(a.body)
	if err != nil {
		return nil, &ServiceError{Service: q.service, Op: q.op, URL: publicURL(q.url), Message: err.Error()}
	}
	return got, nil
}

// readEntryV1 turns Rekor v1's form of an entry into that of bundles: hex becomes base64, numbers become text, kind
// and version come from the body (sigstore-js bundle/src/build.ts and sign/src/witness/tlog).
func readEntryV1(data []byte) (*entry, error) {
	var doc map[string]struct {
		Body         []byte `json:"body"`
		Time         int64  `json:"integratedTime"`
		LogID        string `json:"logID"`
		LogIndex     int64  `json:"logIndex"`
		Verification struct {
			SET   []byte `json:"signedEntryTimestamp"`
			Proof *struct {
				Checkpoint string   `json:"checkpoint"`
				Hashes     []string `json:"hashes"`
				LogIndex   int64    `json:"logIndex"`
				RootHash   string   `json:"rootHash"`
				TreeSize   int64    `json:"treeSize"`
			} `json:"inclusionProof"`
		} `json:"verification"`
	}
	if err := json.Unmarshal(data, &doc); err != nil {
		return nil, fmt.Errorf("the answer is not the JSON that was expected: %w", err)
	}
	if len(doc) != 1 {
		return nil, fmt.Errorf("the answer holds %d entries, and one was expected", len(doc))
	}
	for _, v := range doc {
		e := &entry{LogIndex: v.LogIndex, IntegratedTime: v.Time, Body: v.Body}
		var err error
		if e.LogID.KeyID, err = hex.DecodeString(v.LogID); err != nil {
			return nil, fmt.Errorf("logID is not hex")
		}
		var kind struct {
			Kind    string `json:"kind"`
			Version string `json:"apiVersion"`
		}
		if err := json.Unmarshal(v.Body, &kind); err != nil || kind.Kind != "dsse" || kind.Version != "0.0.1" {
			return nil, fmt.Errorf("the entry is of kind %q version %q, and dsse 0.0.1 was sent", kind.Kind, kind.Version)
		}
		e.Kind = kindVersion{kind.Kind, kind.Version}
		if len(v.Verification.SET) == 0 || v.Verification.Proof == nil {
			return nil, fmt.Errorf("the entry lacks its signed timestamp or its inclusion proof")
		}
		e.Promise = &promise{v.Verification.SET}
		p := v.Verification.Proof
		e.Proof = &proof{LogIndex: p.LogIndex, TreeSize: p.TreeSize, Hashes: [][]byte{}, Checkpoint: checkpoint{p.Checkpoint}}
		if e.Proof.RootHash, err = hex.DecodeString(p.RootHash); err != nil {
			return nil, fmt.Errorf("rootHash is not hex")
		}
		for _, h := range p.Hashes {
			raw, err := hex.DecodeString(h)
			if err != nil {
				return nil, fmt.Errorf("a hash of the inclusion proof is not hex")
			}
			e.Proof.Hashes = append(e.Proof.Hashes, raw)
		}
		return e, nil
	}
	panic("unreachable")
}

// logV2 enters a signature into a Rekor v2 as hashedrekord 0.0.2 over the SHA-256 of what the envelope signs
// (rekor-tiles api/proto/rekor/v2, CLIENTS.md). The answer is an entry in the form of bundles.
func (c *client) logV2(ctx context.Context, base string, e *envelope, leaf []byte) (*entry, error) {
	digest := sha256.Sum256(e.pae())
	body := object{{"hashedRekordRequestV002", object{
		{"digest", base64.StdEncoding.EncodeToString(digest[:])},
		{"signature", object{
			{"content", base64.StdEncoding.EncodeToString(e.Signatures[0].Sig)},
			{"verifier", object{
				{"x509Certificate", object{{"rawBytes", base64.StdEncoding.EncodeToString(leaf)}}},
				{"keyDetails", "PKIX_ECDSA_P256_SHA_256"},
			}},
		}},
	}}}.json()
	q := call{service: "Rekor", op: "entering the signature into the transparency log", method: http.MethodPost,
		url: join(base, "/api/v2/log/entries"), header: map[string]string{"Content-Type": "application/json"}, body: body, timeout: rekorV2Timeout}
	a, err := c.do(ctx, q)
	if err != nil {
		return nil, err
	}
	fail := func(message string) error {
		return &ServiceError{Service: q.service, Op: q.op, URL: publicURL(q.url), Message: message}
	}
	var got entry
	if err := json.Unmarshal(a.body, &got); err != nil {
		return nil, fail("the answer is not the JSON that was expected")
	}
	if got.Kind != (kindVersion{"hashedrekord", "0.0.2"}) {
		return nil, fail(fmt.Sprintf("the entry is of kind %q version %q, and hashedrekord 0.0.2 was sent", got.Kind.Kind, got.Kind.Version))
	}
	if got.Proof == nil || len(got.Body) == 0 {
		return nil, fail("the entry lacks its body or its inclusion proof")
	}
	// Rekor v2 tells no time, and what it says of one is not signed.
	got.IntegratedTime, got.Promise = 0, nil
	return &got, nil
}

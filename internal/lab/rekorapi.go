package lab

import (
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"strings"
)

// uuid is an entry's name at Rekor v1: tree id and leaf hash in hex.
func uuid(body []byte) string {
	h := leafHash(body)
	return fmt.Sprintf("%016x%x", int64(treeID), h[:])
}

// kindOf reads what an entry's body is.
func kindOf(body []byte) KindVersion {
	var v struct {
		Kind    string `json:"kind"`
		Version string `json:"apiVersion"`
	}
	json.Unmarshal(body, &v) // the log holds its own bodies only; others have no kind
	return KindVersion{v.Kind, v.Version}
}

// view is an entry as Rekor's API gives it. The caller holds the lock.
func (r *RekorV1) view(index int64) map[string]any {
	leaf := r.leaves[index]
	e := r.entry(index, kindOf(leaf.body), &LogTamper{})
	hashes := []string{}
	for _, h := range e.InclusionProof.Hashes {
		hashes = append(hashes, hex.EncodeToString(h))
	}
	return object{uuid(leaf.body): object{
		"body": leaf.body, "integratedTime": e.IntegratedTime, "logID": hex.EncodeToString(e.LogID.KeyID), "logIndex": e.LogIndex,
		"verification": object{
			"signedEntryTimestamp": e.InclusionPromise.SignedEntryTimestamp,
			"inclusionProof": object{"checkpoint": e.InclusionProof.Checkpoint.Envelope, "hashes": hashes,
				"logIndex": e.InclusionProof.LogIndex, "rootHash": hex.EncodeToString(e.InclusionProof.RootHash), "treeSize": e.InclusionProof.TreeSize},
		},
	}}
}

// find looks an entry up by its UUID, with or without the tree id; -1 if there is none. The caller holds the lock.
func (r *RekorV1) find(name string) int64 {
	h, err := hex.DecodeString(name[max(0, len(name)-2*sha256.Size):])
	if err != nil || len(h) != sha256.Size {
		return -1
	}
	if n, ok := r.byHash[[32]byte(h)]; ok {
		return n
	}
	return -1
}

func rekorError(w http.ResponseWriter, status int, err error) {
	reply(w, status, object{"code": status, "message": err.Error()})
}

// handler serves Rekor v1's API (rekor openapi.yaml).
func (r *RekorV1) handler(l *Lab) http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("POST /api/v1/log/entries", func(w http.ResponseWriter, req *http.Request) { r.serveAdd(l, w, req) })
	mux.HandleFunc("GET /api/v1/log/entries", func(w http.ResponseWriter, req *http.Request) {
		n, err := strconv.ParseInt(req.URL.Query().Get("logIndex"), 10, 64)
		r.mu.Lock()
		defer r.mu.Unlock()
		if n -= shardOffset; err != nil || n < 0 || n >= r.tree.size() {
			rekorError(w, http.StatusNotFound, errors.New("entry not found"))
			return
		}
		reply(w, http.StatusOK, r.view(n))
	})
	mux.HandleFunc("GET /api/v1/log/entries/{uuid}", func(w http.ResponseWriter, req *http.Request) {
		r.mu.Lock()
		defer r.mu.Unlock()
		if n := r.find(req.PathValue("uuid")); n >= 0 {
			reply(w, http.StatusOK, r.view(n))
			return
		}
		rekorError(w, http.StatusNotFound, errors.New("entry not found"))
	})
	mux.HandleFunc("POST /api/v1/log/entries/retrieve", r.serveRetrieve)
	mux.HandleFunc("POST /api/v1/index/retrieve", r.serveIndex)
	mux.HandleFunc("GET /api/v1/log", func(w http.ResponseWriter, _ *http.Request) {
		r.mu.Lock()
		defer r.mu.Unlock()
		id := r.ID()
		c := CheckpointParts{Origin: r.origin(), Name: r.host, Hint: id[:4], Key: r.key, Size: r.tree.size(), Root: r.tree.root(r.tree.size())}
		reply(w, http.StatusOK, object{"rootHash": hex.EncodeToString(c.Root[:]), "treeSize": c.Size, "signedTreeHead": c.sign(),
			"treeID": fmt.Sprint(int64(treeID)), "inactiveShards": []any{}})
	})
	mux.HandleFunc("GET /api/v1/log/proof", r.serveConsistency)
	mux.HandleFunc("GET /api/v1/log/publicKey", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/x-pem-file")
		w.Write(pemBlock("PUBLIC KEY", spki(r.key.Public())))
	})
	return mux
}

func (r *RekorV1) serveConsistency(w http.ResponseWriter, req *http.Request) {
	q := req.URL.Query()
	first, err1 := strconv.ParseInt(or(q.Get("firstSize"), "1"), 10, 64)
	last, err2 := strconv.ParseInt(q.Get("lastSize"), 10, 64)
	r.mu.Lock()
	defer r.mu.Unlock()
	if err := errors.Join(err1, err2); err != nil || first < 1 || first > last || last > r.tree.size() {
		rekorError(w, http.StatusBadRequest, errors.New("firstSize and lastSize must be sizes that the tree has had"))
		return
	}
	hashes := []string{}
	for _, h := range r.tree.consistency(first, last) {
		hashes = append(hashes, hex.EncodeToString(h[:]))
	}
	root := r.tree.root(last)
	reply(w, http.StatusOK, object{"rootHash": hex.EncodeToString(root[:]), "hashes": hashes})
}

func (r *RekorV1) serveRetrieve(w http.ResponseWriter, req *http.Request) {
	body, err := readBody(req, 1<<20)
	var ask struct {
		Indexes []int64  `json:"logIndexes"`
		UUIDs   []string `json:"entryUUIDs"`
	}
	if err == nil {
		err = json.Unmarshal(body, &ask)
	}
	if err == nil && len(ask.Indexes)+len(ask.UUIDs) > 10 {
		err = errors.New("at most 10 entries at a time")
	}
	if err != nil {
		rekorError(w, http.StatusUnprocessableEntity, err)
		return
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	out := []any{}
	for _, n := range ask.Indexes {
		if n -= shardOffset; n >= 0 && n < r.tree.size() {
			out = append(out, r.view(n))
		}
	}
	for _, name := range ask.UUIDs {
		if n := r.find(name); n >= 0 {
			out = append(out, r.view(n))
		}
	}
	reply(w, http.StatusOK, out)
}

// serveIndex is the search index: hash, subject (the certificate's SAN) or both.
func (r *RekorV1) serveIndex(w http.ResponseWriter, req *http.Request) {
	body, err := readBody(req, 1<<20)
	var ask struct {
		Hash     string `json:"hash"`
		Subject  string `json:"subject"`
		Operator string `json:"operator"`
	}
	if err == nil {
		err = json.Unmarshal(body, &ask)
	}
	if err != nil {
		rekorError(w, http.StatusBadRequest, err)
		return
	}
	var keys []string
	for _, k := range []string{ask.Hash, ask.Subject} {
		if k != "" {
			keys = append(keys, strings.ToLower(k))
		}
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	out := []string{}
	for _, leaf := range r.leaves {
		hits := 0
		for _, k := range keys {
			if slices.Contains(leaf.keys, k) {
				hits++
			}
		}
		if hits > 0 && (ask.Operator == "or" || hits == len(keys)) {
			out = append(out, uuid(leaf.body))
		}
	}
	reply(w, http.StatusOK, out)
}

// indexKeys are what an entry is found by: the hashes of payload and verifier, the SANs, the subjects' digests
// (rekor pkg/types/dsse/v0.0.1 IndexKeys).
func (r *Record) indexKeys() []string {
	hash := func(b []byte) string { sum := sha256.Sum256(b); return "sha256:" + hex.EncodeToString(sum[:]) }
	keys := []string{hash(r.pem())}
	if r.Payload == nil {
		return append(keys, "sha256:"+hex.EncodeToString(r.SHA256[:]))
	}
	keys = append(keys, hash(r.Payload))
	if c, err := x509.ParseCertificate(r.Certificate); err == nil {
		for _, u := range c.URIs {
			keys = append(keys, strings.ToLower(u.String()))
		}
	}
	var st Statement
	if json.Unmarshal(r.Payload, &st) == nil {
		for _, s := range st.Subject {
			for algorithm, value := range s.Digest {
				keys = append(keys, algorithm+":"+strings.ToLower(value))
			}
		}
	}
	return keys
}

// serveAdd takes a proposed entry: dsse 0.0.1, intoto 0.0.2 or hashedrekord 0.0.1.
func (r *RekorV1) serveAdd(l *Lab, w http.ResponseWriter, req *http.Request) {
	body, err := readBody(req, 16<<20)
	var rec *Record
	if err == nil {
		rec, err = parseProposal(body)
	}
	if err == nil {
		var leaf []byte
		if leaf, err = rec.body(); err == nil {
			r.mu.Lock()
			n := r.find(uuid(leaf))
			r.mu.Unlock()
			if n >= 0 {
				w.Header().Set("Location", "/api/v1/log/entries/"+uuid(leaf))
				rekorError(w, http.StatusConflict, fmt.Errorf("an equivalent entry already exists in the transparency log with UUID %s", uuid(leaf)))
				return
			}
		}
	}
	var e *Entry
	if err == nil {
		e, err = r.add(rec, l.Now(), &LogTamper{})
	}
	if err != nil {
		rekorError(w, http.StatusBadRequest, err)
		return
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	w.Header().Set("Location", "/api/v1/log/entries/"+uuid(e.CanonicalizedBody))
	reply(w, http.StatusCreated, r.view(e.LogIndex-shardOffset))
}

// parseProposal reads a proposed entry of Rekor v1.
func parseProposal(body []byte) (*Record, error) {
	var p struct {
		Kind    string          `json:"kind"`
		Version string          `json:"apiVersion"`
		Spec    json.RawMessage `json:"spec"`
	}
	if err := json.Unmarshal(body, &p); err != nil {
		return nil, err
	}
	rec := &Record{Kind: KindVersion{p.Kind, p.Version}}
	switch rec.Kind {
	case DSSE:
		return rec, rec.parseDSSE(p.Spec)
	case Intoto:
		return rec, rec.parseIntoto(p.Spec)
	case HashedRekord:
		return rec, rec.parseHashedRekord(p.Spec)
	}
	return nil, fmt.Errorf("the lab's log does not take %s %s", p.Kind, p.Version)
}

func (r *Record) parseDSSE(spec []byte) error {
	var s struct {
		Content struct {
			Envelope  string   `json:"envelope"`
			Verifiers [][]byte `json:"verifiers"`
		} `json:"proposedContent"`
	}
	if err := json.Unmarshal(spec, &s); err != nil {
		return err
	}
	var e Envelope
	if err := json.Unmarshal([]byte(s.Content.Envelope), &e); err != nil {
		return fmt.Errorf("envelope: %w", err)
	}
	if len(e.Signatures) != 1 || len(s.Content.Verifiers) != 1 {
		return errors.New("the lab's log takes one signature and one verifier")
	}
	r.Payload, r.PayloadType, r.Signature, r.KeyID = e.Payload, e.PayloadType, e.Signatures[0].Sig, e.Signatures[0].KeyID
	return r.setVerifier(s.Content.Verifiers[0])
}

func (r *Record) parseIntoto(spec []byte) error {
	var s struct {
		Content struct {
			Envelope struct {
				Payload     []byte `json:"payload"` // twice base64, as the signature
				PayloadType string `json:"payloadType"`
				Signatures  []struct {
					KeyID     string `json:"keyid"`
					Sig       []byte `json:"sig"`
					PublicKey []byte `json:"publicKey"`
				} `json:"signatures"`
			} `json:"envelope"`
		} `json:"content"`
	}
	if err := json.Unmarshal(spec, &s); err != nil {
		return err
	}
	e := s.Content.Envelope
	if len(e.Signatures) != 1 {
		return errors.New("the lab's log takes one signature")
	}
	var err1, err2 error
	r.Payload, err1 = base64.StdEncoding.DecodeString(string(e.Payload))
	r.Signature, err2 = base64.StdEncoding.DecodeString(string(e.Signatures[0].Sig))
	if err := errors.Join(err1, err2); err != nil {
		return err
	}
	r.PayloadType, r.KeyID = e.PayloadType, e.Signatures[0].KeyID
	return r.setVerifier(e.Signatures[0].PublicKey)
}

func (r *Record) parseHashedRekord(spec []byte) error {
	var s struct {
		Data struct {
			Hash struct{ Algorithm, Value string } `json:"hash"`
		} `json:"data"`
		Signature struct {
			Content   []byte `json:"content"`
			PublicKey struct {
				Content []byte `json:"content"`
			} `json:"publicKey"`
		} `json:"signature"`
	}
	if err := json.Unmarshal(spec, &s); err != nil {
		return err
	}
	digest, err := hex.DecodeString(s.Data.Hash.Value)
	if err != nil || len(digest) != sha256.Size || s.Data.Hash.Algorithm != "sha256" {
		return errors.New("the lab's log takes SHA-256 digests only")
	}
	r.SHA256, r.Signature = [32]byte(digest), s.Signature.Content
	return r.setVerifier(s.Signature.PublicKey.Content)
}

// setVerifier takes a PEM certificate or key.
func (r *Record) setVerifier(text []byte) error {
	block, _ := pem.Decode(text)
	switch {
	case block != nil && block.Type == "CERTIFICATE":
		r.Certificate = block.Bytes
	case block != nil && block.Type == "PUBLIC KEY":
		r.PublicKey = block.Bytes
	default:
		return errors.New("the verifier is neither a PEM certificate nor a PEM public key")
	}
	return nil
}

// handler serves Rekor v2's API (rekor-tiles api/proto/rekor/v2, C2SP tlog-tiles).
func (r *RekorV2) handler(l *Lab) http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("POST /api/v2/log/entries", func(w http.ResponseWriter, req *http.Request) { r.serveAdd(l, w, req) })
	mux.HandleFunc("GET /api/v2/checkpoint", func(w http.ResponseWriter, _ *http.Request) {
		r.mu.Lock()
		defer r.mu.Unlock()
		id := r.ID()
		c := CheckpointParts{Origin: r.host, Name: r.host, Hint: id[:4], Key: r.key, Size: r.tree.size(), Root: r.tree.root(r.tree.size())}
		w.Header().Set("Content-Type", "text/plain; charset=utf-8")
		w.Write([]byte(c.sign()))
	})
	mux.HandleFunc("GET /api/v2/tile/{level}/{n...}", r.serveTile)
	return mux
}

func (r *RekorV2) serveAdd(l *Lab, w http.ResponseWriter, req *http.Request) {
	body, err := readBody(req, 1<<20)
	var ask struct {
		Request *struct {
			Digest    []byte `json:"digest"`
			Signature struct {
				Content  []byte `json:"content"`
				Verifier struct {
					Certificate *RawCertificate `json:"x509Certificate"`
					PublicKey   *RawCertificate `json:"publicKey"`
					KeyDetails  string          `json:"keyDetails"`
				} `json:"verifier"`
			} `json:"signature"`
		} `json:"hashedRekordRequestV002"`
	}
	if err == nil {
		err = json.Unmarshal(body, &ask)
	}
	if err == nil && (ask.Request == nil || len(ask.Request.Digest) != sha256.Size) {
		err = errors.New("must be hashedrekord with a SHA-256 digest")
	}
	if err != nil {
		gatewayError(w, http.StatusBadRequest, 3, err)
		return
	}
	v := ask.Request.Signature.Verifier
	rec := &Record{Kind: HashedRekordV2, SHA256: [32]byte(ask.Request.Digest), Signature: ask.Request.Signature.Content, KeyDetails: v.KeyDetails}
	switch {
	case v.Certificate != nil:
		rec.Certificate = v.Certificate.RawBytes
	case v.PublicKey != nil:
		rec.PublicKey = v.PublicKey.RawBytes
	default:
		gatewayError(w, http.StatusBadRequest, 3, errors.New("no verifier"))
		return
	}
	e, err := r.add(rec, l.Now(), &LogTamper{})
	if err != nil {
		gatewayError(w, http.StatusBadRequest, 3, err)
		return
	}
	reply(w, http.StatusCreated, e)
}

// tileWidth is how many hashes or entries a whole tile has.
const tileWidth = 256

// serveTile is /api/v2/tile/{level}/{n}[.p/{width}], level a number or "entries", n in groups of three digits.
func (r *RekorV2) serveTile(w http.ResponseWriter, req *http.Request) {
	name, partial, isPartial := strings.Cut(req.PathValue("n"), ".p/")
	n, err := strconv.ParseInt(strings.NewReplacer("x", "", "/", "").Replace(name), 10, 64)
	width := int64(tileWidth)
	if isPartial && err == nil {
		width, err = strconv.ParseInt(partial, 10, 64)
	}
	if err != nil || n < 0 || n > 1<<40 || width < 1 || width > tileWidth {
		http.NotFound(w, req)
		return
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	var out []byte
	if level := req.PathValue("level"); level == "entries" {
		for i := n * tileWidth; i < n*tileWidth+width; i++ {
			if i >= int64(len(r.leaves)) {
				http.NotFound(w, req)
				return
			}
			out = append(binary.BigEndian.AppendUint16(out, uint16(len(r.leaves[i]))), r.leaves[i]...)
		}
	} else {
		h, err := strconv.Atoi(level)
		if err != nil || h < 0 || 8*h >= len(r.tree.levels) || n*tileWidth+width > int64(len(r.tree.levels[8*h])) {
			http.NotFound(w, req)
			return
		}
		for _, hash := range r.tree.levels[8*h][n*tileWidth : n*tileWidth+width] {
			out = append(out, hash[:]...)
		}
	}
	w.Header().Set("Content-Type", "application/octet-stream")
	w.Write(out)
}

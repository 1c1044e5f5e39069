package sigstore

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rsa"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"strconv"
	"time"

	"assay/internal/sigstore/strictjson"
)

// checkEntry verifies one entry: that it is about this bundle, and that a known log included it, by everything that the
// bundle has as evidence of that. It also reports whether the signed entry timestamp verified, so that the log vouches
// for the entry's time, whatever else is wrong.
func (v *verifier) checkEntry(e *LogEntry) (_ Step, vouched bool) {
	fail := func(reason, detail string) Step { return Step{Status: Failed, Reason: reason, Detail: detail} }
	kind := findKind(e.Kind, e.Version)
	l := v.root.logs[string(e.LogID)]
	var set Step
	if e.SET != nil {
		set = checkSET(e, l, kind, v.scratch)
		vouched = set.Status == Held
	}
	if step := v.checkBody(e, kind); step.Status != Held {
		return step, vouched
	}
	switch {
	case v.bundle.MediaType == mediaTypeV01 && e.SET == nil:
		return fail(reasonPromiseMissing, "a bundle of version 0.1 needs a signed entry timestamp"), vouched
	case v.bundle.MediaType != mediaTypeV01 && e.Proof == nil, kind != nil && kind.rekorV2 && e.Proof == nil:
		return fail(reasonProofMissing, "a bundle of version 0.2 or later needs an inclusion proof"), vouched
	case l == nil:
		return unknownLog(e), vouched
	case l.key == nil:
		return Step{Status: Undecided, Reason: reasonLogKey, Detail: "the kind of key of the log is not known"}, vouched
	case e.SET != nil && !vouched:
		return set, vouched
	}
	if e.Proof != nil {
		if step := checkInclusion(e, l, kind, v.scratch); step.Status != Held {
			return step, vouched
		}
	}
	if kind == nil {
		// The log included it, so this is not a bundle made up to look new.
		return Step{Status: Undecided, Reason: reasonEntryUnknown, Actual: clip(e.Kind + " " + e.Version), Detail: "the kind of log entry is not known"}, vouched
	}
	return Step{Status: Held}, vouched
}

func unknownLog(e *LogEntry) Step {
	return Step{Status: Failed, Reason: reasonLogUnknown, Actual: hex.EncodeToString(e.LogID), Detail: "the trusted root does not know the log"}
}

// checkSET verifies the signed entry timestamp of Rekor v1: a signature over body, index, log and time as JSON by RFC
// 8785 (sigstore/rekor, pkg/verify). The log's key must have been valid at that time.
func checkSET(e *LogEntry, l *log, kind *entryKind, sc *scratch) Step {
	fail := func(reason, detail string) Step { return Step{Status: Failed, Reason: reason, Detail: detail} }
	if l == nil {
		return unknownLog(e)
	}
	if kind != nil && kind.rekorV2 {
		return fail(reasonSET, "Rekor v2 gives no signed entry timestamps")
	}
	key, ok := l.key.(*ecdsa.PublicKey)
	if !ok {
		return fail(reasonSET, "signed entry timestamps are only known by ECDSA keys")
	}
	if at := time.Unix(e.IntegratedTime, 0).UTC(); !l.valid.covers(at) {
		return Step{
			Status: Failed, Reason: reasonLogTime, Expected: l.valid.String(), Actual: at.Format(time.RFC3339),
			Detail: "the trusted root does not count the log's key at the time that the log states",
		}
	}
	sc.buf = e.appendSigned(sc.buf[:0])
	digest := sha256.Sum256(sc.buf)
	if !ecdsa.VerifyASN1(key, digest[:], e.SET) {
		return fail(reasonSET, "the signed entry timestamp does not verify by the key of the log")
	}
	return Step{Status: Held}
}

// appendSigned appends what a signed entry timestamp covers.
func (e *LogEntry) appendSigned(dst []byte) []byte {
	dst = append(dst, `{"body":"`...)
	dst = base64.StdEncoding.AppendEncode(dst, e.Body)
	dst = append(dst, `","integratedTime":`...)
	dst = strconv.AppendInt(dst, e.IntegratedTime, 10)
	dst = append(dst, `,"logID":"`...)
	dst = hex.AppendEncode(dst, e.LogID)
	dst = append(dst, `","logIndex":`...)
	dst = strconv.AppendInt(dst, e.LogIndex, 10)
	return append(dst, '}')
}

// checkInclusion verifies the inclusion proof up to the root of its checkpoint, and the checkpoint's signature by the
// log. Root and size beside the proof are signed by nobody: they have to agree where they are given.
func checkInclusion(e *LogEntry, l *log, kind *entryKind, sc *scratch) Step {
	fail := func(reason, detail string) Step { return Step{Status: Failed, Reason: reason, Detail: detail} }
	p := e.Proof
	if p.Checkpoint == "" {
		return fail(reasonCheckpointMissing, "the inclusion proof leads to no checkpoint, so nobody signed its root")
	}
	c, err := parseCheckpoint(p.Checkpoint)
	if err != nil {
		return fail(reasonCheckpoint, err.Error())
	}
	v2 := kind != nil && kind.rekorV2
	if step := c.verify(l, v2); step.Status != Held {
		return step
	}
	index := p.LogIndex
	if v2 {
		index = e.LogIndex // one index in Rekor v2; that of the proof may be absent
		if p.LogIndex != 0 && p.LogIndex != index {
			return Step{Status: Failed, Reason: reasonProofIndex, Expected: fmt.Sprint(index), Actual: fmt.Sprint(p.LogIndex), Detail: "the inclusion proof is for another index"}
		}
	}
	if !v2 && p.RootHash == nil || p.RootHash != nil && !bytes.Equal(p.RootHash, c.root) {
		return Step{
			Status: Failed, Reason: reasonProofRoot, Expected: hex.EncodeToString(c.root), Actual: hex.EncodeToString(p.RootHash),
			Detail: "the root hash beside the proof is not the one that the log signed",
		}
	}
	if p.TreeSize != c.size && (!v2 || p.TreeSize != 0) {
		return Step{
			Status: Failed, Reason: reasonProofSize, Expected: fmt.Sprint(c.size), Actual: fmt.Sprint(p.TreeSize),
			Detail: "the tree size beside the proof is not the one that the log signed",
		}
	}
	sc.buf = appendLeaf(sc.buf[:0], e.Body)
	root := inclusionRoot(sha256.Sum256(sc.buf), index, c.size, p.Hashes)
	if root == nil {
		return fail(reasonProof, "the inclusion proof does not have the form for its index and tree size")
	}
	if !bytes.Equal(root, c.root) {
		return Step{
			Status: Failed, Reason: reasonProof, Expected: hex.EncodeToString(c.root), Actual: hex.EncodeToString(root),
			Detail: "the inclusion proof leads from the entry to another root than the log signed",
		}
	}
	return Step{Status: Held}
}

// verify checks that the log signed the checkpoint. In Rekor v1 nobody else does: any other signature line is refused.
// In Rekor v2 there may be lines of witnesses, which are passed over.
func (c *checkpoint) verify(l *log, v2 bool) Step {
	fail := func(reason, detail string) Step { return Step{Status: Failed, Reason: reason, Detail: detail} }
	name, hint := l.host, l.hintV2
	if v2 {
		if c.origin != l.host || l.host == "" {
			return Step{Status: Failed, Reason: reasonCheckpointOrigin, Expected: l.host, Actual: clip(c.origin), Detail: "the checkpoint is of another log"}
		}
	} else {
		host, ok := rekorV1Origin(c.origin)
		if !ok {
			return Step{Status: Failed, Reason: reasonCheckpointOrigin, Actual: clip(c.origin), Detail: "the origin of the checkpoint is not a host name and a tree ID"}
		}
		name, hint = host, l.hint
	}
	signed := false
	for _, s := range c.signatures {
		if s.name != name || s.hint != hint {
			if !v2 {
				return fail(reasonCheckpointSigner, fmt.Sprintf("the checkpoint has a signature line of %q, which is not the log", clip(s.name)))
			}
			continue
		}
		if !verifyCheckpoint(l.key, v2, c.text, s.signature) {
			return fail(reasonCheckpointSignature, "the checkpoint's signature does not verify by the key of the log")
		}
		signed = true
	}
	if !signed {
		return fail(reasonCheckpointSigner, "the checkpoint has no signature line of the log")
	}
	return Step{Status: Held}
}

func verifyCheckpoint(key crypto.PublicKey, v2 bool, text string, sig []byte) bool {
	switch key := key.(type) {
	case ed25519.PublicKey:
		return len(key) == ed25519.PublicKeySize && ed25519.Verify(key, []byte(text), sig)
	case *ecdsa.PublicKey:
		h := crypto.SHA256
		if v2 && key.Curve != elliptic.P256() {
			h = keyHashes(key)[0]
		}
		return verifyDigest(key, h, hashOf(h, []byte(text)), sig)
	case *rsa.PublicKey:
		return verifyDigest(key, crypto.SHA256, sum256([]byte(text)), sig)
	}
	return false
}

// checkBody compares what the entry says with the bundle: kind, signature, certificate or key, and digest. Of an entry of
// unknown kind (nil), it only compares that.
func (v *verifier) checkBody(e *LogEntry, kind *entryKind) Step {
	differ := func(reason string, expected, actual, detail string) Step {
		return Step{Status: Failed, Reason: reason, Expected: expected, Actual: actual, Detail: detail}
	}
	var signer *signerText
	if kind != nil && !kind.rekorV2 {
		signer = v.signerText()
	}
	b, err := v.scratch.parseBody(e.Body, kind, signer)
	if err != nil {
		var duplicate *strictjson.DuplicateError
		if errors.Is(err, errBodySignatures) {
			return Step{Status: Failed, Reason: reasonBodySignatures, Detail: err.Error()}
		} else if errors.As(err, &duplicate) {
			return Step{Status: Failed, Reason: reasonBody, Detail: err.Error()}
		}
		return Step{Status: Failed, Reason: reasonBody, Detail: "parsing the entry: " + err.Error()}
	}
	if b.kind != e.Kind || b.version != e.Version {
		return differ(reasonEntryKind, clip(e.Kind+" "+e.Version), clip(b.kind+" "+b.version), "the entry is of another kind than the bundle says")
	}
	if kind == nil {
		return Step{Status: Held}
	}
	if kind.refused != "" {
		return Step{Status: Failed, Reason: kind.refused, Actual: e.Kind + " " + e.Version, Detail: "entries of this kind are never taken"}
	}
	if v.bundle.Envelope != nil && !kind.envelope || v.bundle.Message != nil && !kind.message {
		return Step{Status: Failed, Reason: reasonEntryContent, Actual: e.Kind + " " + e.Version, Detail: "entries of this kind are not for what the bundle holds"}
	}
	if !bytes.Equal(b.signature, v.signature) {
		return differ(reasonBodySignature, clip(b64(v.signature)), clip(b64(b.signature)), "the entry is about another signature")
	}
	if step := v.checkBodyKey(b); step.Status != Held {
		return step
	}
	var want []byte
	var algorithm string // as this kind spells it
	switch {
	case kind.rekorV2:
		hashes := keyHashes(v.key)
		if len(hashes) == 0 {
			return Step{Status: Failed, Reason: reasonKeyKind, Detail: "the kind of the signer's key is not known"}
		}
		if details := keyDetails(v.key); b.keyDetails != details {
			return differ(reasonBodyKeyDetails, details, clip(b.keyDetails), "the entry names another algorithm than the key's")
		}
		algorithm = hashName(hashes[0])
		if v.bundle.Envelope != nil {
			want = hashOf(hashes[0], v.pae())
		} else {
			want = v.bundle.Message.Digest
		}
	case v.bundle.Envelope != nil:
		want, algorithm = sum256(v.bundle.Envelope.Payload), "sha256"
	default:
		want = v.bundle.Message.Digest
		switch v.bundle.Message.Algorithm {
		case "SHA2_256":
			algorithm = "sha256"
		case "SHA2_384":
			algorithm = "sha384"
		case "SHA2_512":
			algorithm = "sha512"
		}
	}
	if b.hashAlgorithm != algorithm {
		return differ(reasonBodyHash, algorithm, clip(b.hashAlgorithm), "the entry names another hash")
	}
	if !bytes.Equal(b.hash, want) {
		return differ(reasonBodyHash, clip(hex.EncodeToString(want)), clip(hex.EncodeToString(b.hash)), "the entry is about another content")
	}
	// Rekor v2 writes an entry in one form only. Nothing may hide in another.
	if kind.rekorV2 && !bytes.Equal(e.Body, b.canonicalV2()) {
		return Step{Status: Failed, Reason: reasonBodyForm, Detail: "the entry is not in the form that Rekor v2 writes"}
	}
	return Step{Status: Held}
}

// checkBodyKey compares the certificate or key that the entry names with the signer's.
func (v *verifier) checkBodyKey(b *body) Step {
	fail := func(reason, detail string) Step { return Step{Status: Failed, Reason: reason, Detail: detail} }
	if v.bundle.KeySigned() {
		if v.key == nil {
			return fail(reasonKeyMissing, "no key is known for this bundle")
		}
		if b.key == nil {
			return fail(reasonBodyKey, "the entry names a certificate, the bundle a key")
		}
		if want := marshalKey(v.key); want != nil && bytes.Equal(b.key, want) {
			return Step{Status: Held}
		}
		return fail(reasonBodyKey, "the entry names another key")
	}
	if len(v.bundle.Leaf) == 0 {
		return fail(reasonCertificateMissing, "the bundle has no certificate that the entry could name")
	}
	if !bytes.Equal(b.certificate, v.bundle.Leaf) {
		return Step{
			Status: Failed, Reason: reasonBodyCertificate, Expected: hex.EncodeToString(sum256(v.bundle.Leaf)),
			Actual: hex.EncodeToString(sum256(b.certificate)), Detail: "the entry names another certificate; compared by SHA-256",
		}
	}
	return Step{Status: Held}
}

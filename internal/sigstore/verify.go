package sigstore

import (
	"bytes"
	"crypto"
	"crypto/x509"
	"encoding/hex"
	"fmt"
	"time"
)

// A verifier is one run of [TrustedRoot.Verify].
type verifier struct {
	root      *TrustedRoot
	bundle    *Bundle
	options   Options
	key       crypto.PublicKey // the signer's; nil if not known
	signature []byte           // of the envelope or message
	signer    signerText       // of the certificate or key, once it was asked for
	scratch   *scratch
}

// pae returns the pre-authentication encoding of the envelope, until the scratch's buffer is used again.
func (v *verifier) pae() []byte {
	v.scratch.buf = appendPAE(v.scratch.buf[:0], v.bundle.Envelope)
	return v.scratch.buf
}

// signerText returns how a log entry of Rekor v1 writes the signer; nil where the signer is not known.
func (v *verifier) signerText() *signerText {
	if v.signer.der == nil {
		der, certificate := v.bundle.Leaf, true
		if len(der) == 0 && v.key != nil {
			der, certificate = marshalKey(v.key), false
		}
		if len(der) == 0 {
			return nil
		}
		v.signer = newSignerText(v.scratch.text[:0], der, certificate)
		v.scratch.text = v.signer.text
	}
	return &v.signer
}

// Verify runs every step over b, which must come from [ParseBundle], and records how each ended. It never stops at the
// first failure. The answer depends on r, b and o alone.
func (r *TrustedRoot) Verify(b *Bundle, o Options) *Verification {
	v := &verifier{root: r, bundle: b, options: o, scratch: getScratch()}
	defer v.scratch.release()
	out := &Verification{Format: v.checkFormat()}

	var leafErr error
	switch {
	case b.KeySigned():
		if o.Key != nil {
			v.key = o.Key.Public
		}
	case len(b.Leaf) > 0:
		if out.Leaf, leafErr = x509.ParseCertificate(b.Leaf); leafErr == nil {
			v.key = out.Leaf.PublicKey
		}
	}
	switch {
	case b.Envelope != nil:
		v.signature = b.Envelope.Signature
	case b.Message != nil:
		v.signature = b.Message.Signature
	}

	// The log comes first, because the other steps need a time that it vouches for.
	times, first := v.checkLog(out)
	times, timeStep := v.checkTimestamps(times)
	out.Time = v.checkTime(out.Leaf, times, timeStep)

	switch {
	case b.KeySigned():
		out.Chain = Step{Status: NotApplicable, Reason: reasonKeySigned, Detail: "the bundle is signed by a key and has no certificate"}
		out.CT = out.Chain
	case out.Leaf == nil:
		out.Chain = Step{Status: Failed, Reason: reasonCertificateMissing, Detail: "the bundle has no certificate"}
		if leafErr != nil {
			out.Chain = Step{Status: Failed, Reason: reasonCertificateMalformed, Detail: "parsing the leaf certificate: " + leafErr.Error()}
		}
		out.CT = out.Chain
	default:
		var by *issuer
		out.Chain, by = r.checkChain(out.Leaf, times)
		out.CT = r.checkSCT(out.Leaf, by, v.scratch)
	}
	out.Signature = v.checkSignature(out.Leaf)

	if out.Log.Status == Held {
		e := &b.Entries[0]
		out.LogIndex, out.LogID = e.LogIndex, hex.EncodeToString(e.LogID)
		out.IntegratedTime = first
		if out.Time.Status == Held {
			for i, t := range times {
				if i == 0 || t.Before(out.SignedAt) {
					out.SignedAt = t
				}
			}
		}
	}
	return out
}

// checkFormat judges what parsing could not: what the media type demands of the content.
func (v *verifier) checkFormat() Step {
	b := v.bundle
	fail := func(reason, expected, actual, detail string) Step {
		return Step{Status: Failed, Reason: reason, Expected: expected, Actual: clip(actual), Detail: detail}
	}
	switch {
	case b.unknownMember != "":
		return fail(reasonJSONUnknown, "", "", b.unknownMember)
	case b.looseBase64 != 0:
		return fail(reasonBase64, "", "", fmt.Sprintf("the base64 at byte %d of the bundle is not in its standard, padded, canonical form", b.looseBase64))
	case b.material == materialNone:
		return fail(reasonCertificateMissing, "", "", "the bundle has neither certificate nor public key")
	case b.material != materialKey && len(b.Leaf) == 0:
		return fail(reasonCertificateMissing, "", "", "the bundle's certificate is empty")
	case b.material == materialChain && (b.MediaType == mediaTypeV03 || b.MediaType == mediaTypeV03Old):
		return fail(reasonChainInV03, "", "", "a bundle of version 0.3 has one certificate, not a chain")
	case b.Envelope != nil && b.Envelope.PayloadType != InTotoPayloadType:
		return fail(reasonPayloadType, InTotoPayloadType, b.Envelope.PayloadType, "the envelope does not hold an in-toto statement")
	case b.Envelope != nil && (len(b.Envelope.Payload) == 0 || len(b.Envelope.Signature) == 0):
		return fail(reasonContentEmpty, "", "", "payload or signature of the envelope is empty")
	case b.Message != nil && (len(b.Message.Digest) == 0 || len(b.Message.Signature) == 0):
		return fail(reasonContentEmpty, "", "", "digest or signature of the message is empty")
	}
	return Step{Status: Held}
}

// checkLog records the Log step: every entry has to hold, and the step is the worst that one of them gives. It returns the
// times that signed entry timestamps vouch for, and the one of the first entry.
func (v *verifier) checkLog(out *Verification) (times []time.Time, first time.Time) {
	entries := v.bundle.Entries
	if len(entries) == 0 {
		out.Log = Step{Status: Failed, Reason: reasonEntryMissing, Detail: "the bundle has no log entry"}
		return nil, first
	}
	out.Log = Step{Status: Held}
	for i := range entries {
		e := &entries[i]
		step, set := v.checkEntry(e)
		if set {
			at := time.Unix(e.IntegratedTime, 0).UTC()
			times = append(times, at)
			if i == 0 {
				first = at
			}
		}
		for j := range entries[:i] {
			if entries[j].LogIndex == e.LogIndex && bytes.Equal(entries[j].LogID, e.LogID) {
				step = Step{Status: Failed, Reason: reasonEntryTwice, Actual: fmt.Sprint(e.LogIndex), Detail: "the bundle has the same log entry twice"}
			}
		}
		if out.Log.Status == Held || out.Log.Status == Undecided && step.Status == Failed {
			out.Log = step
		}
	}
	return times, first
}

// checkTimestamps adds the times of RFC 3161 timestamps. A timestamp by an authority that the trusted root does not know
// says nothing; any other has to hold.
func (v *verifier) checkTimestamps(times []time.Time) ([]time.Time, Step) {
	var failed, unknown Step
	for _, data := range v.bundle.Timestamps {
		at, known, step := v.root.checkTimestamp(data, v.signature)
		switch {
		case step.Status == Held:
			times = append(times, at)
		case known && failed.Status == NotDone:
			failed = step
		case !known:
			unknown = step
		}
	}
	if failed.Status != NotDone {
		return times, failed
	}
	return times, unknown
}

// checkTime holds when there is a trusted time, and all trusted times lie in the validity of the leaf or of the key, both
// ends included. timestamps is what checkTimestamps found wrong.
func (v *verifier) checkTime(leaf *x509.Certificate, times []time.Time, timestamps Step) Step {
	if timestamps.Status == Failed && timestamps.Reason != reasonTSAUnknown {
		return timestamps
	}
	if len(times) == 0 {
		if timestamps.Status == Failed {
			return timestamps
		}
		return Step{
			Status: Failed, Reason: reasonNoTime,
			Detail: "neither a signed entry timestamp nor an RFC 3161 timestamp vouches for the time of signing",
		}
	}
	var valid window
	switch {
	case v.bundle.KeySigned() && v.options.Key != nil:
		valid = window{v.options.Key.Start, v.options.Key.End}
	case v.bundle.KeySigned():
		return Step{Status: Failed, Reason: reasonKeyMissing, Detail: "no key is known for this bundle, so nor is its validity"}
	case leaf != nil:
		valid = window{leaf.NotBefore, leaf.NotAfter}
	default:
		return Step{Status: Failed, Reason: reasonCertificateMissing, Detail: "there is no certificate whose validity could be compared"}
	}
	for _, t := range times {
		if !valid.covers(t) {
			return Step{
				Status: Failed, Reason: reasonTimeOutside, Expected: valid.String(), Actual: t.Format(time.RFC3339),
				Detail: "the certificate or key was not valid at the time of signing",
			}
		}
	}
	for i := range v.bundle.Entries {
		e := &v.bundle.Entries[i]
		// A time that nobody vouches for cannot help, but it must not contradict.
		if t := time.Unix(e.IntegratedTime, 0).UTC(); e.IntegratedTime != 0 && !valid.covers(t) {
			return Step{
				Status: Failed, Reason: reasonTimeOutside, Expected: valid.String(), Actual: t.Format(time.RFC3339),
				Detail: "the certificate or key was not valid at the time that the log entry states",
			}
		}
		// Without a signed entry timestamp, only the other clock says when the log's key was in use.
		if l := v.root.logs[string(e.LogID)]; l != nil && e.SET == nil {
			for _, t := range times {
				if !l.valid.covers(t) {
					return Step{
						Status: Failed, Reason: reasonLogTime, Expected: l.valid.String(), Actual: t.Format(time.RFC3339),
						Detail: "the trusted root does not count the log's key at the time of signing",
					}
				}
			}
		}
	}
	return Step{Status: Held}
}

// checkSignature verifies the signature of the envelope or message by the leaf's key or, where the bundle names a key, by
// the one expected.
func (v *verifier) checkSignature(leaf *x509.Certificate) Step {
	b := v.bundle
	fail := func(reason, detail string) Step { return Step{Status: Failed, Reason: reason, Detail: detail} }
	differ := func(reason, expected, actual, detail string) Step {
		return Step{Status: Failed, Reason: reason, Expected: expected, Actual: clip(actual), Detail: detail}
	}
	switch {
	case b.KeySigned() && v.key == nil:
		return fail(reasonKeyMissing, "no key is known for this bundle")
	case b.KeySigned() && v.options.Key.ID != "" && b.KeyHint != v.options.Key.ID:
		return differ(reasonKeyHint, v.options.Key.ID, b.KeyHint, "the bundle names another key")
	case !b.KeySigned() && v.options.Key != nil:
		return fail(reasonKeyExpected, "a signature by a key is expected, the bundle has a certificate")
	case !b.KeySigned() && leaf == nil:
		return fail(reasonCertificateMissing, "there is no certificate whose key could verify the signature")
	case keyHashes(v.key) == nil:
		return fail(reasonKeyKind, "the kind of the signer's key is not known")
	}
	if b.Envelope != nil {
		if id := b.Envelope.KeyID; id != "" {
			if fingerprint := Fingerprint(v.key); id != fingerprint {
				return differ(reasonKeyID, fingerprint, id, "the envelope's signature names another key than the signer's")
			}
		}
		if !verifyMessage(v.key, v.pae(), b.Envelope.Signature) {
			return fail(reasonSignature, "the envelope's signature does not verify by the signer's key")
		}
		return Step{Status: Held}
	}
	if b.Message == nil {
		return fail(reasonContentMissing, "the bundle holds nothing that is signed")
	}
	return v.checkMessage(b.Message)
}

// checkMessage verifies a signature over an artifact, of which only the digest is known.
func (v *verifier) checkMessage(m *MessageSignature) Step {
	fail := func(reason, detail string) Step { return Step{Status: Failed, Reason: reason, Detail: detail} }
	for _, h := range keyHashes(v.key) {
		if hashName(h) != m.Algorithm {
			continue
		}
		name := map[crypto.Hash]string{crypto.SHA256: "sha256", crypto.SHA384: "sha384", crypto.SHA512: "sha512"}[h]
		digest := v.options.Artifact[name]
		switch {
		case len(digest) != h.Size():
			return fail(reasonArtifactMissing, "the "+name+" of the artifact is needed")
		case !bytes.Equal(digest, m.Digest):
			return Step{
				Status: Failed, Reason: reasonArtifact, Expected: hex.EncodeToString(digest), Actual: clip(hex.EncodeToString(m.Digest)),
				Detail: "the bundle is about another artifact",
			}
		case !verifyDigest(v.key, h, digest, m.Signature):
			return fail(reasonSignature, "the message's signature does not verify by the signer's key")
		}
		return Step{Status: Held}
	}
	return Step{Status: Failed, Reason: reasonMessageHash, Actual: clip(m.Algorithm), Detail: "the digest is not one that the signer's key signs"}
}

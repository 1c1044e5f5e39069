package sigstore

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/sha256"
	"crypto/x509"
)

// A SignatureCheck is one of the signature checks that a bundle takes, stripped to the public-key operation.
type SignatureCheck struct {
	Name string // such as "certificate", "sct", "envelope", "set", "checkpoint"
	run  func() bool
}

// Run carries the check out and reports whether the signature is good.
func (c SignatureCheck) Run() bool { return c.run() }

// SignatureChecks returns the public-key operations that verifying b takes, for measuring what [TrustedRoot.Verify]
// adds to them: parsing and hashing are done beforehand, and the certificate authority's own chain is taken as
// checked. RFC 3161 timestamps are left out. It returns nil for a bundle that does not verify.
func (r *TrustedRoot) SignatureChecks(b *Bundle, o Options) []SignatureCheck {
	v := r.Verify(b, o)
	if !v.OK() {
		return nil
	}
	var checks []SignatureCheck
	add := func(name string, key crypto.PublicKey, h crypto.Hash, message, sig []byte) {
		switch key := key.(type) {
		case ed25519.PublicKey:
			checks = append(checks, SignatureCheck{name, func() bool { return ed25519.Verify(key, message, sig) }})
		case *ecdsa.PublicKey:
			digest := hashOf(h, message)
			checks = append(checks, SignatureCheck{name, func() bool { return ecdsa.VerifyASN1(key, digest, sig) }})
		default:
			digest := hashOf(h, message)
			checks = append(checks, SignatureCheck{name, func() bool { return verifyDigest(key, h, digest, sig) }})
		}
	}
	var key crypto.PublicKey
	if leaf := v.Leaf; leaf != nil {
		key = leaf.PublicKey
		_, by := r.checkChain(leaf, nil)
		h := map[x509.SignatureAlgorithm]crypto.Hash{
			x509.ECDSAWithSHA256: crypto.SHA256, x509.ECDSAWithSHA384: crypto.SHA384, x509.ECDSAWithSHA512: crypto.SHA512,
			x509.SHA256WithRSA: crypto.SHA256, x509.SHA384WithRSA: crypto.SHA384, x509.SHA512WithRSA: crypto.SHA512,
		}[leaf.SignatureAlgorithm]
		add("certificate", by.cert.PublicKey, h, leaf.RawTBSCertificate, leaf.Signature)
		for _, e := range leaf.Extensions {
			if !e.Id.Equal(oidSCTList) {
				continue
			}
			scts, _ := parseSCTs(e.Value)
			for i := range scts {
				if l := r.ctlogs[string(scts[i].logID)]; l != nil {
					signed, _ := scts[i].appendSigned(nil, leaf.RawTBSCertificate, by)
					digest := sha256.Sum256(signed)
					key, sig := l.key, scts[i].signature
					checks = append(checks, SignatureCheck{"sct", func() bool { return verifyDigest(key, crypto.SHA256, digest[:], sig) }})
				}
			}
		}
	} else {
		key = o.Key.Public
	}
	if b.Envelope != nil {
		add("envelope", key, keyHashes(key)[0], appendPAE(nil, b.Envelope), b.Envelope.Signature)
	} else {
		h := keyHashes(key)[0]
		digest, sig := b.Message.Digest, b.Message.Signature
		checks = append(checks, SignatureCheck{"message", func() bool { return verifyDigest(key, h, digest, sig) }})
	}
	for i := range b.Entries {
		e := &b.Entries[i]
		l := r.logs[string(e.LogID)]
		if e.SET != nil {
			digest, key := sha256.Sum256(e.appendSigned(nil)), l.key
			checks = append(checks, SignatureCheck{"set", func() bool { return verifyDigest(key, crypto.SHA256, digest[:], e.SET) }})
		}
		if e.Proof == nil {
			continue
		}
		c, err := parseCheckpoint(e.Proof.Checkpoint)
		if err != nil {
			continue
		}
		for _, s := range c.signatures {
			if s.hint == l.hint || s.hint == l.hintV2 {
				add("checkpoint", l.key, crypto.SHA256, []byte(c.text), s.signature)
			}
		}
	}
	return checks
}

package sigstore

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/binary"
	"math/big"
	"strconv"

	_ "crypto/sha512" // registers SHA-384 and SHA-512
)

// appendPAE appends the pre-authentication encoding of an envelope: what its signature covers (secure-systems-lab/dsse,
// protocol.md). Lengths are of bytes.
func appendPAE(dst []byte, e *Envelope) []byte {
	dst = append(dst, "DSSEv1 "...)
	dst = strconv.AppendInt(dst, int64(len(e.PayloadType)), 10)
	dst = append(dst, ' ')
	dst = append(dst, e.PayloadType...)
	dst = append(dst, ' ')
	dst = strconv.AppendInt(dst, int64(len(e.Payload)), 10)
	dst = append(dst, ' ')
	return append(dst, e.Payload...)
}

// keyHashes returns the hashes that a signature by key may be over, the usual one first; nil for kinds of keys that are
// not known. Old clients signed with SHA-256 by keys of P-384 and P-521 too (sigstore-go, pkg/verify/signature.go).
func keyHashes(key crypto.PublicKey) []crypto.Hash {
	switch key := key.(type) {
	case *ecdsa.PublicKey:
		switch key.Curve {
		case elliptic.P256():
			return []crypto.Hash{crypto.SHA256}
		case elliptic.P384():
			return []crypto.Hash{crypto.SHA384, crypto.SHA256}
		case elliptic.P521():
			return []crypto.Hash{crypto.SHA512, crypto.SHA256}
		}
	case *rsa.PublicKey:
		switch key.N.BitLen() {
		case 2048, 3072, 4096:
			return []crypto.Hash{crypto.SHA256}
		}
	case ed25519.PublicKey:
		return []crypto.Hash{crypto.SHA512}
	}
	return nil
}

// keyDetails names the default algorithm of a key as an entry of Rekor v2 does (sigstore/protobuf-specs, PublicKeyDetails).
func keyDetails(key crypto.PublicKey) string {
	switch key := key.(type) {
	case *ecdsa.PublicKey:
		return ecdsaDetails(key)
	case *rsa.PublicKey:
		switch n := key.N.BitLen(); n {
		case 2048, 3072, 4096:
			return "PKIX_RSA_PKCS1V15_" + strconv.Itoa(n) + "_SHA256"
		}
	case ed25519.PublicKey:
		return "PKIX_ED25519_PH"
	}
	return ""
}

// hashName names a hash as protobuf-specs does.
func hashName(h crypto.Hash) string {
	switch h {
	case crypto.SHA256:
		return "SHA2_256"
	case crypto.SHA384:
		return "SHA2_384"
	case crypto.SHA512:
		return "SHA2_512"
	}
	return ""
}

// verifyDigest reports whether sig is a signature by key over something whose digest by h is given. For Ed25519 that is
// Ed25519ph (RFC 8032 section 5.1).
func verifyDigest(key crypto.PublicKey, h crypto.Hash, digest, sig []byte) bool {
	switch key := key.(type) {
	case *ecdsa.PublicKey:
		return ecdsa.VerifyASN1(key, digest, sig)
	case *rsa.PublicKey:
		return rsa.VerifyPKCS1v15(key, h, digest, sig) == nil
	case ed25519.PublicKey:
		return len(key) == ed25519.PublicKeySize && ed25519.VerifyWithOptions(key, digest, sig, &ed25519.Options{Hash: h}) == nil
	}
	return false
}

func hashOf(h crypto.Hash, b []byte) []byte {
	if h == crypto.SHA256 {
		return sum256(b)
	}
	w := h.New()
	w.Write(b)
	return w.Sum(nil)
}

// verifyMessage reports whether sig is a signature by key over message.
func verifyMessage(key crypto.PublicKey, message, sig []byte) bool {
	if key, ok := key.(ed25519.PublicKey); ok {
		return len(key) == ed25519.PublicKeySize && ed25519.Verify(key, message, sig)
	}
	for _, h := range keyHashes(key) {
		if verifyDigest(key, h, hashOf(h, message), sig) {
			return true
		}
	}
	return false
}

// derP256 is the SubjectPublicKeyInfo of a P-256 key up to the point (RFC 5480).
var derP256 = []byte{
	0x30, 0x59, 0x30, 0x13, 0x06, 0x07, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x02, 0x01, 0x06, 0x08, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x03, 0x01, 0x07, 0x03, 0x42, 0x00,
}

// marshalKey returns the SubjectPublicKeyInfo of a key, nil for kinds of keys that are not known.
func marshalKey(key crypto.PublicKey) []byte {
	if key, ok := key.(*ecdsa.PublicKey); ok && key.Curve == elliptic.P256() {
		if point, err := key.Bytes(); err == nil {
			return append(derP256[:len(derP256):len(derP256)], point...)
		}
	}
	spki, err := x509.MarshalPKIXPublicKey(key)
	if err != nil {
		return nil
	}
	return spki
}

// Fingerprint returns a key's fingerprint as OpenSSH prints it, "SHA256:" and unpadded base64: the id that npm's
// registry keys have, and that an envelope's keyid must equal where it has one. It returns "" for kinds of keys that
// are not known.
func Fingerprint(key crypto.PublicKey) string {
	var blob []byte
	field := func(b []byte) {
		blob = binary.BigEndian.AppendUint32(blob, uint32(len(b)))
		blob = append(blob, b...)
	}
	mpint := func(n *big.Int) { // RFC 4251 section 5
		b := n.Bytes()
		if len(b) > 0 && b[0]&0x80 != 0 {
			b = append([]byte{0}, b...)
		}
		field(b)
	}
	switch key := key.(type) {
	case *ecdsa.PublicKey: // RFC 5656 section 3.1
		curve := ""
		switch key.Curve {
		case elliptic.P256():
			curve = "nistp256"
		case elliptic.P384():
			curve = "nistp384"
		case elliptic.P521():
			curve = "nistp521"
		default:
			return ""
		}
		point, err := key.Bytes()
		if err != nil {
			return ""
		}
		field([]byte("ecdsa-sha2-" + curve))
		field([]byte(curve))
		field(point)
	case *rsa.PublicKey: // RFC 4253 section 6.6
		field([]byte("ssh-rsa"))
		mpint(big.NewInt(int64(key.E)))
		mpint(key.N)
	case ed25519.PublicKey: // RFC 8709 section 4
		field([]byte("ssh-ed25519"))
		field(key)
	default:
		return ""
	}
	sum := sha256.Sum256(blob)
	return "SHA256:" + base64.RawStdEncoding.EncodeToString(sum[:])
}

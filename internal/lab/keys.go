package lab

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/hmac"
	"crypto/sha256"
	"crypto/sha512"
	"crypto/x509"
	"encoding/binary"
	"encoding/pem"
	"io"
	"math/big"
	"strconv"
)

// derive returns 64 bytes that depend on the lab's seed and the label only.
func (l *Lab) derive(label string) []byte {
	mac := hmac.New(sha512.New, l.seed)
	io.WriteString(mac, label)
	return mac.Sum(nil)
}

// A signer is an ECDSA key whose signatures are deterministic (RFC 6979), whatever reader the caller passes.
type signer struct{ *ecdsa.PrivateKey }

// Sign signs a digest, in ASN.1 DER.
func (s signer) Sign(_ io.Reader, digest []byte, opts crypto.SignerOpts) ([]byte, error) {
	return s.PrivateKey.Sign(nil, digest, opts)
}

// ecKey derives a key for a label. Too large a scalar, which no one will ever see, moves on to the next.
func (l *Lab) ecKey(curve elliptic.Curve, label string) signer {
	size := (curve.Params().BitSize + 7) / 8
	for i := 0; ; i++ {
		k, err := ecdsa.ParseRawPrivateKey(curve, l.derive("key\x00" + label + "\x00" + strconv.Itoa(i))[:size])
		if err == nil {
			return signer{k}
		}
	}
}

func (l *Lab) edKey(label string) ed25519.PrivateKey {
	return ed25519.NewKeyFromSeed(l.derive("key\x00" + label)[:ed25519.SeedSize])
}

// serialNumber derives a positive 159-bit certificate serial number.
func (l *Lab) serialNumber() *big.Int {
	b := l.derive("serial\x00" + strconv.FormatUint(l.next(), 10))[:20]
	b[0] = b[0]&0x3f | 0x40
	return new(big.Int).SetBytes(b)
}

// spki is the DER SubjectPublicKeyInfo of a key.
func spki(pub crypto.PublicKey) []byte {
	der, err := x509.MarshalPKIXPublicKey(pub)
	if err != nil {
		panic(err) // only for key types that this package does not make
	}
	return der
}

// signSHA256 signs SHA-256(data) in ASN.1 DER; an Ed25519 key signs the data itself.
func signSHA256(k crypto.Signer, data []byte) []byte {
	digest, opts := data, crypto.SignerOpts(crypto.Hash(0))
	if _, ok := k.(ed25519.PrivateKey); !ok {
		sum := sha256.Sum256(data)
		digest, opts = sum[:], crypto.SHA256
	}
	sig, err := k.Sign(nil, digest, opts)
	if err != nil {
		panic(err) // in-memory keys do not fail
	}
	return sig
}

func pemBlock(kind string, der []byte) []byte {
	return pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der})
}

// appendString appends an SSH wire string (RFC 4251 section 5).
func appendString(b []byte, s string) []byte {
	return append(binary.BigEndian.AppendUint32(b, uint32(len(s))), s...)
}

package publish

import (
	"context"
	"crypto/ecdsa"
	"crypto/rand"
	"crypto/sha256"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"net/http"
)

// sign signs the SHA-256 of a message, ASN.1 DER.
func sign(key *ecdsa.PrivateKey, message []byte) ([]byte, error) {
	digest := sha256.Sum256(message)
	return ecdsa.SignASN1(rand.Reader, key, digest[:])
}

// certificate asks Fulcio for a certificate of the token's identity for a key: POST /api/v2/signingCert, with proof
// that the key is at hand (fulcio.proto, CreateSigningCertificateRequest; the request is npm's, see sigstore-js,
// sign/src/signer/fulcio). The answer is refused where its leaf is for another key.
func (c *client) certificate(ctx context.Context, base string, t *IDToken, key *ecdsa.PrivateKey) (*x509.Certificate, error) {
	der, err := x509.MarshalPKIXPublicKey(&key.PublicKey)
	if err != nil {
		return nil, err
	}
	proof, err := sign(key, []byte(t.challenge()))
	if err != nil {
		return nil, err
	}
	type publicKey struct {
		Algorithm string `json:"algorithm"`
		Content   string `json:"content"`
	}
	body, err := json.Marshal(map[string]any{
		"credentials": map[string]string{"oidcIdentityToken": t.raw.value},
		"publicKeyRequest": map[string]any{
			"publicKey":         publicKey{"ECDSA", string(pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der}))},
			"proofOfPossession": proof,
		},
	})
	if err != nil {
		return nil, err
	}
	q := call{service: "Fulcio", op: "asking for a signing certificate", method: http.MethodPost, url: join(base, "/api/v2/signingCert"),
		header: map[string]string{"Content-Type": "application/json"}, body: body}
	fail := func(message string) error {
		return &ServiceError{Service: q.service, Op: q.op, URL: publicURL(q.url), Message: message}
	}
	a, err := c.do(ctx, q)
	if err != nil {
		return nil, err
	}
	type chain struct {
		Chain struct {
			Certificates []string `json:"certificates"`
		} `json:"chain"`
	}
	var doc struct {
		Embedded chain `json:"signedCertificateEmbeddedSct"`
		Detached chain `json:"signedCertificateDetachedSct"`
	}
	if err := json.Unmarshal(a.body, &doc); err != nil {
		return nil, fail("the answer is not the JSON that was expected")
	}
	list := doc.Embedded.Chain.Certificates
	if len(list) == 0 && len(doc.Detached.Chain.Certificates) > 0 {
		return nil, fail("the certificate's timestamp (SCT) is not inside the certificate, and a bundle has no place for it elsewhere")
	}
	if len(list) == 0 {
		return nil, fail("the answer holds no certificate")
	}
	block, _ := pem.Decode([]byte(list[0]))
	if block == nil || block.Type != "CERTIFICATE" {
		return nil, fail("the certificate is not PEM")
	}
	leaf, err := x509.ParseCertificate(block.Bytes)
	if err != nil {
		return nil, fail("the certificate cannot be read")
	}
	if pub, ok := leaf.PublicKey.(*ecdsa.PublicKey); !ok || !pub.Equal(&key.PublicKey) {
		return nil, fail("the certificate is for another key than the one that was sent")
	}
	return leaf, nil
}

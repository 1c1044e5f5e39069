package stack

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"math/big"
	"os"
	"path/filepath"
	"time"
)

// hostRekorV2 is the name of the Rekor v2 log: the origin of its checkpoints.
const hostRekorV2 = "log2026-1.rekor.e2e.assay.test"

// keys is what the services sign with, as files, and what a verifier has to trust.
type keys struct {
	dir           string
	start         time.Time
	fulcio        []*x509.Certificate // intermediate, root
	tsa           []*x509.Certificate // leaf, intermediate, root
	ct, rekor     crypto.PublicKey
	rekorV2       ed25519.PublicKey
	https         *x509.Certificate // authority of the proxy's certificates
	httpsKey      crypto.Signer
	err           error // the first one
	serialNumbers int64
}

// newKeys makes all keys before anything runs, so that the trusted root is known before anything runs.
func newKeys(dir string) (*keys, error) {
	k := &keys{dir: dir, start: time.Now().Add(-time.Hour).UTC().Truncate(time.Second)}

	fulcioRootKey := k.ec("fulcio-root", elliptic.P384())
	fulcioRoot := k.authority("e2e fulcio", nil, nil, fulcioRootKey)
	fulcioKey := k.ec("fulcio", elliptic.P384())
	intermediate := k.authority("e2e fulcio intermediate", fulcioRoot, fulcioRootKey, fulcioKey, x509.ExtKeyUsageCodeSigning)
	k.fulcio = []*x509.Certificate{intermediate, fulcioRoot}
	k.certificates("fulcio-chain", k.fulcio...)
	k.certificates("fulcio-root", fulcioRoot)

	tsaRootKey := k.ec("tsa-root", elliptic.P384())
	tsaRoot := k.authority("e2e timestamps", nil, nil, tsaRootKey)
	tsaIntermediateKey := k.ec("tsa-intermediate", elliptic.P384())
	tsaIntermediate := k.authority("e2e timestamps intermediate", tsaRoot, tsaRootKey, tsaIntermediateKey, x509.ExtKeyUsageTimeStamping)
	tsaKey := k.ec("tsa", elliptic.P256())
	// The one usage of a timestamp signer has to be critical (RFC 3161 section 2.3).
	usage, err := asn1.Marshal([]asn1.ObjectIdentifier{{1, 3, 6, 1, 5, 5, 7, 3, 8}})
	k.fail(err)
	tsaLeaf := k.certify(&x509.Certificate{
		Subject: pkix.Name{Organization: []string{"assay e2e"}, CommonName: "e2e timestamps signer"}, KeyUsage: x509.KeyUsageDigitalSignature,
		ExtraExtensions: []pkix.Extension{{Id: asn1.ObjectIdentifier{2, 5, 29, 37}, Critical: true, Value: usage}},
	}, tsaIntermediate, tsaIntermediateKey, tsaKey)
	k.tsa = []*x509.Certificate{tsaLeaf, tsaIntermediate, tsaRoot}
	k.certificates("tsa-chain", k.tsa...)

	ct, rekor := k.ec("ct", elliptic.P256()), k.ec("rekor", elliptic.P256())
	k.ct, k.rekor = ct.Public(), rekor.Public()
	k.write("ct.pub", "PUBLIC KEY", k.spki(k.ct))
	public, private, err := ed25519.GenerateKey(nil)
	k.fail(err)
	k.rekorV2 = public
	k.private("rekor-v2", private)

	k.httpsKey = k.ec("https", elliptic.P256())
	k.https = k.authority("e2e https", nil, nil, k.httpsKey)
	k.certificates("https", k.https)
	return k, k.err
}

func (k *keys) fail(err error) {
	if k.err == nil {
		k.err = err
	}
}

func (k *keys) file(name string) string { return filepath.Join(k.dir, name) }

func (k *keys) write(name, kind string, blocks ...[]byte) {
	var text []byte
	for _, der := range blocks {
		text = append(text, pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der})...)
	}
	k.fail(os.WriteFile(k.file(name), text, 0o600))
}

func (k *keys) private(name string, key crypto.Signer) {
	der, err := x509.MarshalPKCS8PrivateKey(key)
	k.fail(err)
	k.write(name+".key", "PRIVATE KEY", der)
}

func (k *keys) ec(name string, curve elliptic.Curve) *ecdsa.PrivateKey {
	key, err := ecdsa.GenerateKey(curve, rand.Reader)
	k.fail(err)
	k.private(name, key)
	return key
}

func (k *keys) spki(pub crypto.PublicKey) []byte {
	der, err := x509.MarshalPKIXPublicKey(pub)
	k.fail(err)
	return der
}

func (k *keys) certificates(name string, chain ...*x509.Certificate) {
	var blocks [][]byte
	for _, c := range chain {
		blocks = append(blocks, c.Raw)
	}
	k.write(name+".pem", "CERTIFICATE", blocks...)
}

// authority makes a certificate authority; parent nil means one that signs itself.
func (k *keys) authority(name string, parent *x509.Certificate, parentKey, key crypto.Signer, usage ...x509.ExtKeyUsage) *x509.Certificate {
	return k.certify(&x509.Certificate{
		Subject: pkix.Name{Organization: []string{"assay e2e"}, CommonName: name}, KeyUsage: x509.KeyUsageCertSign | x509.KeyUsageCRLSign,
		ExtKeyUsage: usage, BasicConstraintsValid: true, IsCA: true, MaxPathLenZero: parent != nil,
	}, parent, parentKey, key)
}

func (k *keys) certify(template, parent *x509.Certificate, parentKey, key crypto.Signer) *x509.Certificate {
	if k.err != nil {
		return &x509.Certificate{}
	}
	k.serialNumbers++
	template.SerialNumber = big.NewInt(k.serialNumbers)
	template.NotBefore, template.NotAfter = k.start, k.start.AddDate(5, 0, 0)
	if parent == nil {
		parent, parentKey = template, key
	}
	der, err := x509.CreateCertificate(rand.Reader, template, parent, key.Public(), parentKey)
	k.fail(err)
	c, err := x509.ParseCertificate(der)
	k.fail(err)
	return c
}

// trustedRoot is the trusted_root.json of these keys (protobuf-specs, sigstore_trustroot.proto), with further logs.
func (k *keys) trustedRoot(moreLogs ...json.RawMessage) ([]byte, error) {
	type object map[string]any
	valid := object{"start": k.start.Format(time.RFC3339)}
	log := func(url string, key crypto.PublicKey, details string, id []byte) any {
		return object{"baseUrl": url, "hashAlgorithm": "SHA2_256", "logId": object{"keyId": id},
			"publicKey": object{"rawBytes": k.spki(key), "keyDetails": details, "validFor": valid}}
	}
	logID := func(key crypto.PublicKey) []byte {
		id := sha256.Sum256(k.spki(key))
		return id[:]
	}
	authority := func(uri string, chain []*x509.Certificate) any {
		var certs []any
		for _, c := range chain {
			certs = append(certs, object{"rawBytes": c.Raw})
		}
		return object{"subject": object{"organization": "assay e2e", "commonName": chain[len(chain)-1].Subject.CommonName}, "uri": uri,
			"certChain": object{"certificates": certs}, "validFor": valid}
	}
	// A Rekor v2 log is known by the note key ID (C2SP signed-note), not cut to four bytes.
	noteID := sha256.Sum256(fmt.Appendf(nil, "%s\n\x01%s", hostRekorV2, []byte(k.rekorV2)))
	logs := []any{
		log("https://rekor.sigstore.dev", k.rekor, "PKIX_ECDSA_P256_SHA_256", logID(k.rekor)),
		log("https://"+hostRekorV2, k.rekorV2, "PKIX_ED25519", noteID[:]),
	}
	for _, l := range moreLogs {
		logs = append(logs, l)
	}
	text, err := json.MarshalIndent(object{
		"mediaType":              "application/vnd.dev.sigstore.trustedroot+json;version=0.1",
		"tlogs":                  logs,
		"ctlogs":                 []any{log("https://ctfe.sigstore.dev/"+ctPrefix, k.ct, "PKIX_ECDSA_P256_SHA_256", logID(k.ct))},
		"certificateAuthorities": []any{authority("https://fulcio.sigstore.dev", k.fulcio)},
		"timestampAuthorities":   []any{authority("https://timestamp.sigstore.dev/api/v1/timestamp", k.tsa)},
	}, "", "  ")
	if k.err != nil {
		return nil, k.err
	}
	return text, err
}

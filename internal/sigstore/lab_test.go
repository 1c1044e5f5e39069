package sigstore

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
	"encoding/base64"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"math/big"
	"net/url"
	"testing"
	"time"

	tsp "github.com/digitorus/timestamp"
)

// A lab is a Sigstore instance of one test: certificate authority, logs and timestamp authority, with the keys to make
// them lie.
type lab struct {
	t                   testing.TB
	now                 time.Time
	keys                int
	rootCert, interCert *x509.Certificate
	rootKey, interKey   *ecdsa.PrivateKey
	ctKey, rekorKey     *ecdsa.PrivateKey
	rekor2Key           ed25519.PrivateKey
	tsaRoot, tsaCert    *x509.Certificate
	tsaRootKey, tsaKey  *ecdsa.PrivateKey
}

const rekor2Host = "log2.example"

// newKey makes the next key of the lab. Two labs make the same keys, and the same certificates of them, so that the seeds
// of a fuzz target mean something to each of its workers.
func (l *lab) newKey() *ecdsa.PrivateKey {
	l.t.Helper()
	l.keys++
	key, err := ecdsa.ParseRawPrivateKey(elliptic.P256(), sum256(fmt.Appendf(nil, "key %d", l.keys)))
	if err != nil {
		l.t.Fatal(err)
	}
	return key
}

func newKey(t testing.TB) *ecdsa.PrivateKey {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return key
}

func (l *lab) issue(template, parent *x509.Certificate, public crypto.PublicKey, key crypto.Signer) *x509.Certificate {
	l.t.Helper()
	der, err := x509.CreateCertificate(nil, template, parent, public, key)
	if err != nil {
		l.t.Fatal(err)
	}
	c, err := x509.ParseCertificate(der)
	if err != nil {
		l.t.Fatal(err)
	}
	return c
}

// caTemplate returns a template for a CA certificate that is valid from a day before to a year after now.
func (l *lab) caTemplate(name string) *x509.Certificate {
	return &x509.Certificate{
		SerialNumber: big.NewInt(int64(len(name)) + 1000), Subject: pkix.Name{CommonName: name, Organization: []string{"lab"}},
		NotBefore: l.now.AddDate(0, 0, -1), NotAfter: l.now.AddDate(1, 0, 0),
		KeyUsage: x509.KeyUsageCertSign, BasicConstraintsValid: true, IsCA: true,
	}
}

func (l *lab) tsaTemplate() *x509.Certificate {
	usage, err := asn1.Marshal([]asn1.ObjectIdentifier{{1, 3, 6, 1, 5, 5, 7, 3, 8}})
	if err != nil {
		l.t.Fatal(err)
	}
	return &x509.Certificate{
		SerialNumber: big.NewInt(7), Subject: pkix.Name{CommonName: "tsa"}, NotBefore: l.now.AddDate(0, 0, -1), NotAfter: l.now.AddDate(50, 0, 0), // timestamps also state when they were really made
		KeyUsage:        x509.KeyUsageDigitalSignature,
		ExtraExtensions: []pkix.Extension{{Id: oidExtKeyUsage, Critical: true, Value: usage}},
	}
}

func newLab(t testing.TB) *lab {
	t.Helper()
	l := &lab{t: t, now: time.Date(2025, 6, 1, 12, 0, 0, 0, time.UTC)}
	l.rootKey, l.interKey, l.ctKey, l.rekorKey = l.newKey(), l.newKey(), l.newKey(), l.newKey()
	l.tsaRootKey, l.tsaKey = l.newKey(), l.newKey()
	l.rekor2Key = ed25519.NewKeyFromSeed(make([]byte, ed25519.SeedSize))
	root := l.caTemplate("root")
	l.rootCert = l.issue(root, root, l.rootKey.Public(), l.rootKey)
	inter := l.caTemplate("intermediate")
	inter.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageCodeSigning}
	inter.MaxPathLenZero = true
	l.interCert = l.issue(inter, l.rootCert, l.interKey.Public(), l.rootKey)
	tsaRoot := l.caTemplate("tsa root")
	tsaRoot.NotAfter = l.now.AddDate(50, 0, 0)
	l.tsaRoot = l.issue(tsaRoot, tsaRoot, l.tsaRootKey.Public(), l.tsaRootKey)
	l.tsaCert = l.issue(l.tsaTemplate(), l.tsaRoot, l.tsaKey.Public(), l.tsaRootKey)
	return l
}

func spki(t testing.TB, key crypto.PublicKey) []byte {
	t.Helper()
	b, err := x509.MarshalPKIXPublicKey(key)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func std(b []byte) string { return base64.StdEncoding.EncodeToString(b) }

// trustedRoot returns the lab's trusted root as a tree, for a test to change.
func (l *lab) trustedRoot() map[string]any {
	always := map[string]any{"start": l.now.AddDate(0, -1, 0).Format(time.RFC3339)}
	instance := func(url, details string, key, id []byte) map[string]any {
		return map[string]any{
			"baseUrl": url, "hashAlgorithm": "SHA2_256", "logId": map[string]any{"keyId": std(id)},
			"publicKey": map[string]any{"rawBytes": std(key), "keyDetails": details, "validFor": always},
		}
	}
	authority := func(certs ...*x509.Certificate) map[string]any {
		var list []any
		for _, c := range certs {
			list = append(list, map[string]any{"rawBytes": std(c.Raw)})
		}
		return map[string]any{"uri": "https://ca.example", "certChain": map[string]any{"certificates": list}, "validFor": always}
	}
	rekor, ct := spki(l.t, l.rekorKey.Public()), spki(l.t, l.ctKey.Public())
	return map[string]any{
		"mediaType": trustedRootMediaType,
		"tlogs": []any{
			instance("https://rekor.example", "PKIX_ECDSA_P256_SHA_256", rekor, sum256(rekor)),
			instance("https://"+rekor2Host, "PKIX_ED25519", spki(l.t, l.rekor2Key.Public()), l.rekor2ID()),
		},
		"ctlogs":                 []any{instance("https://ct.example", "PKIX_ECDSA_P256_SHA_256", ct, sum256(ct))},
		"certificateAuthorities": []any{authority(l.interCert, l.rootCert)},
		"timestampAuthorities":   []any{authority(l.tsaCert, l.tsaRoot)},
	}
}

func (l *lab) rekor2ID() []byte {
	return sum256(append([]byte(rekor2Host+"\n\x01"), l.rekor2Key.Public().(ed25519.PublicKey)...))
}

// A labBundle says how to make a bundle. Its zero values make one that holds; a test changes what it is about.
type labBundle struct {
	rekor2, message, key bool
	mediaType            string

	leaf      func(*x509.Certificate)     // changes the template before it is issued
	issuer    *x509.Certificate           // issuer of the leaf
	issuerKey *ecdsa.PrivateKey           //
	leafTime  time.Time                   // leaf is valid for ten minutes from here
	ctKey     *ecdsa.PrivateKey           // signs the SCT
	sctTime   time.Time                   //
	noSCT     bool                        //
	logTime   time.Time                   // integratedTime
	tsTime    time.Time                   // set: there is a timestamp
	tsKey     *ecdsa.PrivateKey           //
	tsCert    *x509.Certificate           //
	body      func(body map[string]any)   // changes the log entry before it is logged
	tree      func(bundle map[string]any) // changes the bundle when all is signed
	payload   []byte                      //
	signer    *ecdsa.PrivateKey           // key of a key-signed bundle
	root      func(trustedRoot map[string]any)
}

var artifact = []byte("hello, artifact")

// make returns the bundle, the trusted root, and what to verify by.
func (l *lab) make(o labBundle) (bundleJSON, rootJSON []byte, options Options) {
	l.t.Helper()
	or := func(t, def time.Time) time.Time {
		if t.IsZero() {
			return def
		}
		return t
	}
	if o.issuer == nil {
		o.issuer, o.issuerKey = l.interCert, l.interKey
	}
	if o.ctKey == nil {
		o.ctKey = l.ctKey
	}
	if o.tsKey == nil {
		o.tsKey = l.tsaKey
	}
	if o.tsCert == nil {
		o.tsCert = l.tsaCert
	}
	leafTime := or(o.leafTime, l.now)
	signer := l.newKey()
	material := map[string]any{}
	var verifier []byte // PEM
	var leaf *x509.Certificate
	if o.key {
		if o.signer == nil {
			o.signer = signer
		}
		signer = o.signer
		options.Key = &Key{ID: Fingerprint(signer.Public()), Public: signer.Public()}
		material["publicKey"] = map[string]any{"hint": options.Key.ID}
		verifier = pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: spki(l.t, signer.Public())})
	} else {
		san, _ := url.Parse("https://github.com/o/r/.github/workflows/release.yml@refs/heads/main")
		issuerExt, _ := asn1.MarshalWithParams("https://token.actions.githubusercontent.com", "utf8")
		template := &x509.Certificate{
			SerialNumber: big.NewInt(99), NotBefore: leafTime, NotAfter: leafTime.Add(10 * time.Minute), URIs: []*url.URL{san},
			KeyUsage: x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageCodeSigning},
			ExtraExtensions: []pkix.Extension{{Id: asn1.ObjectIdentifier{1, 3, 6, 1, 4, 1, 57264, 1, 8}, Value: issuerExt}},
		}
		if o.leaf != nil {
			o.leaf(template)
		}
		leaf = l.issue(template, o.issuer, signer.Public(), o.issuerKey)
		if !o.noSCT {
			// The certificate without the extension is what the log signs.
			template.ExtraExtensions = append(template.ExtraExtensions, pkix.Extension{
				Id: oidSCTList, Value: l.sct(o.ctKey, or(o.sctTime, l.now), leaf.RawTBSCertificate, o.issuer),
			})
			leaf = l.issue(template, o.issuer, signer.Public(), o.issuerKey)
		}
		material["certificate"] = map[string]any{"rawBytes": std(leaf.Raw)}
		verifier = pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: leaf.Raw})
	}

	mediaType := mediaTypeV03
	if o.mediaType != "" {
		mediaType = o.mediaType
	}
	bundle := map[string]any{"mediaType": mediaType, "verificationMaterial": material}
	payload := o.payload
	if payload == nil {
		payload = []byte(`{"_type":"https://in-toto.io/Statement/v1","subject":[{"name":"pkg:npm/a@1.0.0","digest":{"sha256":"00"}}],"predicateType":"https://slsa.dev/provenance/v1","predicate":{}}`)
	}
	signed, digest := artifact, sum256(artifact)
	if !o.message {
		signed = appendPAE(nil, &Envelope{PayloadType: InTotoPayloadType, Payload: payload})
		digest = sum256(payload)
	} else {
		options.Artifact = artifactDigests(artifact)
	}
	sig := l.sign(signer, signed)
	if o.message {
		bundle["messageSignature"] = map[string]any{"messageDigest": map[string]any{"algorithm": "SHA2_256", "digest": std(digest)}, "signature": std(sig)}
	} else {
		bundle["dsseEnvelope"] = map[string]any{"payload": std(payload), "payloadType": InTotoPayloadType, "signatures": []any{map[string]any{"sig": std(sig)}}}
	}

	// The log entry.
	var body map[string]any
	hash := map[string]any{"algorithm": "sha256", "value": hex.EncodeToString(digest)}
	switch {
	case o.rekor2:
		verifierJSON := map[string]any{"keyDetails": "PKIX_ECDSA_P256_SHA_256"}
		if o.key {
			verifierJSON["publicKey"] = map[string]any{"rawBytes": std(spki(l.t, signer.Public()))}
		} else {
			verifierJSON["x509Certificate"] = map[string]any{"rawBytes": std(leaf.Raw)}
		}
		body = map[string]any{"apiVersion": "0.0.2", "kind": "hashedrekord", "spec": map[string]any{"hashedRekordV002": map[string]any{
			"data":      map[string]any{"algorithm": "SHA2_256", "digest": std(sum256(signed))},
			"signature": map[string]any{"content": std(sig), "verifier": verifierJSON},
		}}}
	case o.message:
		body = map[string]any{"apiVersion": "0.0.1", "kind": "hashedrekord", "spec": map[string]any{
			"data": map[string]any{"hash": hash}, "signature": map[string]any{"content": std(sig), "publicKey": map[string]any{"content": std(verifier)}},
		}}
	default:
		body = map[string]any{"apiVersion": "0.0.1", "kind": "dsse", "spec": map[string]any{
			"envelopeHash": hash, "payloadHash": hash, "signatures": []any{map[string]any{"signature": std(sig), "verifier": std(verifier)}},
		}}
	}
	if o.body != nil {
		o.body(body)
	}
	raw := encodeTree(body)
	kind := map[string]any{"kind": body["kind"], "version": body["apiVersion"]}
	material["tlogEntries"] = []any{l.entry(o, raw, kind, or(o.logTime, l.now.Add(time.Minute)))}
	if !o.tsTime.IsZero() {
		ts := l.timestamp(o.tsCert, o.tsKey, o.tsTime, sig)
		material["timestampVerificationData"] = map[string]any{"rfc3161Timestamps": []any{map[string]any{"signedTimestamp": std(ts)}}}
	}
	if o.tree != nil {
		// Let every test see the same kinds of values.
		bundle = decodeTree(l.t, encodeTree(bundle))
		o.tree(bundle)
	}
	trusted := decodeTree(l.t, encodeTree(l.trustedRoot()))
	if o.root != nil {
		o.root(trusted)
	}
	return encodeTree(bundle), encodeTree(trusted), options
}

func (l *lab) sign(key crypto.Signer, message []byte) []byte {
	l.t.Helper()
	sig, err := key.Sign(nil, sum256(message), crypto.SHA256)
	if err != nil {
		l.t.Fatal(err)
	}
	return sig
}

// sct returns the value of the extension, with one timestamp for the TBSCertificate.
func (l *lab) sct(key *ecdsa.PrivateKey, at time.Time, tbs []byte, issuer *x509.Certificate) []byte {
	l.t.Helper()
	s := sct{timestamp: uint64(at.UnixMilli())}
	signed := binary.BigEndian.AppendUint64([]byte{0, 0}, s.timestamp)
	signed = append(signed, 0, 1)
	signed = append(signed, sum256(issuer.RawSubjectPublicKeyInfo)...)
	signed = append(signed, byte(len(tbs)>>16), byte(len(tbs)>>8), byte(len(tbs)))
	signed = append(append(signed, tbs...), 0, 0)
	sig := l.sign(key, signed)
	one := append([]byte{0}, sum256(spki(l.t, l.ctKey.Public()))...)
	one = binary.BigEndian.AppendUint64(one, s.timestamp)
	one = append(one, 0, 0, 4, 3)
	one = binary.BigEndian.AppendUint16(one, uint16(len(sig)))
	one = append(one, sig...)
	list := binary.BigEndian.AppendUint16(nil, uint16(len(one)))
	list = append(list, one...)
	list = append(binary.BigEndian.AppendUint16(nil, uint16(len(list))), list...)
	value, err := asn1.Marshal(list)
	if err != nil {
		l.t.Fatal(err)
	}
	return value
}

// entry logs a body as the third of five entries.
func (l *lab) entry(o labBundle, body []byte, kind map[string]any, at time.Time) map[string]any {
	l.t.Helper()
	const index, size = 2, 5
	var leaves [size][sha256.Size]byte
	for i := range leaves {
		leaves[i] = sha256.Sum256(appendLeaf(nil, []byte{byte(i)}))
	}
	leaves[index] = sha256.Sum256(appendLeaf(nil, body))
	node := func(a, b [sha256.Size]byte) [sha256.Size]byte {
		return sha256.Sum256(append(append([]byte{1}, a[:]...), b[:]...))
	}
	left, right := node(leaves[0], leaves[1]), node(leaves[2], leaves[3])
	root := node(node(left, right), leaves[4])
	hashes := []any{std(leaves[3][:]), std(left[:]), std(leaves[4][:])}

	id := sum256(spki(l.t, l.rekorKey.Public()))
	origin, name := "rekor.example - 123456", "rekor.example"
	if o.rekor2 {
		id, origin, name = l.rekor2ID(), rekor2Host, rekor2Host
	}
	text := fmt.Sprintf("%s\n%d\n%s\n", origin, size, std(root[:]))
	var sig []byte
	if o.rekor2 {
		sig = ed25519.Sign(l.rekor2Key, []byte(text))
	} else {
		sig = l.sign(l.rekorKey, []byte(text))
	}
	checkpoint := text + "\n\u2014 " + name + " " + std(append(id[:4:4], sig...)) + "\n"
	entry := map[string]any{
		"logIndex": "2", "logId": map[string]any{"keyId": std(id)}, "kindVersion": kind, "canonicalizedBody": std(body),
		"inclusionProof": map[string]any{
			"logIndex": "2", "treeSize": "5", "rootHash": std(root[:]), "hashes": hashes, "checkpoint": map[string]any{"envelope": checkpoint},
		},
	}
	if !o.rekor2 {
		payload, err := json.Marshal(map[string]any{"body": std(body), "integratedTime": at.Unix(), "logID": hex.EncodeToString(id), "logIndex": 2})
		if err != nil {
			l.t.Fatal(err)
		}
		entry["integratedTime"] = fmt.Sprint(at.Unix())
		entry["inclusionPromise"] = map[string]any{"signedEntryTimestamp": std(l.sign(l.rekorKey, payload))}
	}
	return entry
}

// timestamp returns an RFC 3161 response over a signature.
func (l *lab) timestamp(cert *x509.Certificate, key crypto.Signer, at time.Time, sig []byte) []byte {
	l.t.Helper()
	ts := tsp.Timestamp{
		HashAlgorithm: crypto.SHA256, HashedMessage: sum256(sig), Time: at, Policy: asn1.ObjectIdentifier{1, 2, 3}, AddTSACertificate: true,
	}
	b, err := ts.CreateResponseWithOpts(cert, key, crypto.SHA256)
	if err != nil {
		l.t.Fatal(err)
	}
	return b
}

func pemCertificate(c *x509.Certificate) []byte {
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: c.Raw})
}

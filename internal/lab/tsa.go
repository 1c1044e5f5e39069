package lab

import (
	"crypto"
	"crypto/elliptic"
	"crypto/sha256"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"fmt"
	"math/big"
	"slices"
	"time"
)

// A TSA is a timestamp authority (RFC 3161) like timestamp.sigstore.dev.
type TSA struct {
	Root, Leaf *x509.Certificate
	key        signer
	lab        *Lab
}

func newTSA(l *Lab, label string) (*TSA, error) {
	rootKey := l.ecKey(elliptic.P384(), label+" root")
	t := &TSA{key: l.ecKey(elliptic.P384(), label+" leaf"), lab: l}
	var err error
	t.Root, err = certify(&x509.Certificate{
		SerialNumber: l.serialNumber(),
		Subject:      pkix.Name{Organization: []string{"lab.assay.test"}, CommonName: "lab-tsa-selfsigned"},
		NotBefore:    l.start, NotAfter: l.start.AddDate(10, 0, 0), KeyUsage: x509.KeyUsageCertSign | x509.KeyUsageCRLSign,
		BasicConstraintsValid: true, IsCA: true, MaxPathLenZero: true, SubjectKeyId: keyID(rootKey.Public()),
	}, nil, rootKey.Public(), rootKey)
	if err != nil {
		return nil, err
	}
	usage, err := asn1.Marshal([]asn1.ObjectIdentifier{{1, 3, 6, 1, 5, 5, 7, 3, 8}})
	if err != nil {
		return nil, err
	}
	t.Leaf, err = certify(&x509.Certificate{
		SerialNumber: l.serialNumber(),
		Subject:      pkix.Name{Organization: []string{"lab.assay.test"}, CommonName: "lab-tsa"},
		NotBefore:    l.start, NotAfter: l.start.AddDate(10, 0, 0), KeyUsage: x509.KeyUsageDigitalSignature,
		SubjectKeyId: keyID(t.key.Public()),
		// RFC 3161 section 2.3: the only extended usage, and critical, which x509 would not make it.
		ExtraExtensions: []pkix.Extension{{Id: asn1.ObjectIdentifier{2, 5, 29, 37}, Critical: true, Value: usage}},
	}, t.Root, t.key.Public(), rootKey)
	return t, err
}

var (
	oidSignedData         = asn1.ObjectIdentifier{1, 2, 840, 113549, 1, 7, 2}
	oidTSTInfo            = asn1.ObjectIdentifier{1, 2, 840, 113549, 1, 9, 16, 1, 4}
	oidContentType        = asn1.ObjectIdentifier{1, 2, 840, 113549, 1, 9, 3}
	oidMessageDigest      = asn1.ObjectIdentifier{1, 2, 840, 113549, 1, 9, 4}
	oidSigningTime        = asn1.ObjectIdentifier{1, 2, 840, 113549, 1, 9, 5}
	oidSigningCertificate = asn1.ObjectIdentifier{1, 2, 840, 113549, 1, 9, 16, 2, 47}
	oidSHA256             = asn1.ObjectIdentifier{2, 16, 840, 1, 101, 3, 4, 2, 1}
	oidECDSAWithSHA256    = asn1.ObjectIdentifier{1, 2, 840, 10045, 4, 3, 2}
	oidSigstorePolicy     = asn1.ObjectIdentifier{1, 3, 6, 1, 4, 1, 57264, 2}
)

// TSTInfo is the signed content of a timestamp (RFC 3161 section 2.4.2).
type TSTInfo struct {
	Version        int
	Policy         asn1.ObjectIdentifier
	MessageImprint MessageImprint
	SerialNumber   *big.Int
	GenTime        time.Time `asn1:"generalized"`
	Accuracy       Accuracy  `asn1:"optional"`
	Nonce          *big.Int  `asn1:"optional"`
}

// MessageImprint is the hash of what was stamped.
type MessageImprint struct {
	HashAlgorithm pkix.AlgorithmIdentifier
	HashedMessage []byte
}

// Accuracy is how far the time may be off.
type Accuracy struct {
	Seconds int `asn1:"optional"`
}

// TimestampTamper says what a timestamp authority does wrong. The zero value is an honest one.
type TimestampTamper struct {
	Info            func(*TSTInfo)      // before it is signed
	Key             crypto.Signer       // signs in place of the authority's key
	Certificate     *x509.Certificate   // embeds this certificate
	NoSignedAttrs   bool                // signs the content itself (allowed by CMS, refused by RFC 3161 verifiers)
	DigestAttribute []byte              // replaces the message digest attribute
	Response        func([]byte) []byte // last change to the DER
}

type attribute struct {
	Type   asn1.ObjectIdentifier
	Values []asn1.RawValue `asn1:"set"`
}

type issuerAndSerial struct {
	Issuer asn1.RawValue
	Serial *big.Int
}

type signerInfo struct {
	Version            int
	Issuer             issuerAndSerial
	DigestAlgorithm    pkix.AlgorithmIdentifier
	SignedAttrs        asn1.RawValue `asn1:"optional"`
	SignatureAlgorithm pkix.AlgorithmIdentifier
	Signature          []byte
}

type encapsulated struct {
	Type    asn1.ObjectIdentifier
	Content []byte `asn1:"explicit,tag:0"`
}

type signedData struct {
	Version          int
	DigestAlgorithms []pkix.AlgorithmIdentifier `asn1:"set"`
	Content          encapsulated
	Certificates     asn1.RawValue `asn1:"optional"`
	SignerInfos      []signerInfo  `asn1:"set"`
}

type contentInfo struct {
	Type    asn1.ObjectIdentifier
	Content signedData `asn1:"explicit,tag:0"`
}

type timeStampResp struct {
	Status struct{ Status int }
	Token  contentInfo
}

// stamp timestamps a message: for a bundle, the raw bytes of the envelope's signature.
func (t *TSA) stamp(message []byte, at time.Time, tamper *TimestampTamper) ([]byte, error) {
	imprint := sha256.Sum256(message)
	return t.stampHash(imprint[:], at, nil, false, tamper)
}

func (t *TSA) stampHash(imprint []byte, at time.Time, nonce *big.Int, withCertificate bool, tamper *TimestampTamper) ([]byte, error) {
	sha := pkix.AlgorithmIdentifier{Algorithm: oidSHA256}
	info := TSTInfo{
		Version: 1, Policy: oidSigstorePolicy,
		MessageImprint: MessageImprint{pkix.AlgorithmIdentifier{Algorithm: oidSHA256, Parameters: asn1.NullRawValue}, imprint},
		SerialNumber:   t.lab.serialNumber(), GenTime: at.UTC().Truncate(time.Second), Accuracy: Accuracy{1}, Nonce: nonce,
	}
	if tamper.Info != nil {
		tamper.Info(&info)
	}
	content, err := asn1.Marshal(info)
	if err != nil {
		return nil, fmt.Errorf("encoding a timestamp: %w", err)
	}
	si := signerInfo{
		Version:         1,
		Issuer:          issuerAndSerial{asn1.RawValue{FullBytes: t.Leaf.RawIssuer}, t.Leaf.SerialNumber},
		DigestAlgorithm: sha, SignatureAlgorithm: pkix.AlgorithmIdentifier{Algorithm: oidECDSAWithSHA256},
	}
	signed := content
	if !tamper.NoSignedAttrs {
		if signed, err = t.signedAttributes(content, at, tamper); err != nil {
			return nil, fmt.Errorf("encoding signed attributes: %w", err)
		}
		// What is signed has the tag SET; what is sent has the context tag 0 (RFC 5652 section 5.4).
		sent := slices.Clone(signed)
		sent[0] = 0xa0
		si.SignedAttrs = asn1.RawValue{FullBytes: sent}
	}
	var key crypto.Signer = t.key
	if tamper.Key != nil {
		key = tamper.Key
	}
	si.Signature = signSHA256(key, signed)

	sd := signedData{Version: 3, DigestAlgorithms: []pkix.AlgorithmIdentifier{sha}, Content: encapsulated{oidTSTInfo, content}, SignerInfos: []signerInfo{si}}
	if c := tamper.Certificate; c != nil || withCertificate {
		if c == nil {
			c = t.Leaf
		}
		sd.Certificates = asn1.RawValue{Class: asn1.ClassContextSpecific, Tag: 0, IsCompound: true, Bytes: c.Raw}
	}
	der, err := asn1.Marshal(timeStampResp{Token: contentInfo{oidSignedData, sd}})
	if err != nil {
		return nil, fmt.Errorf("encoding a timestamp response: %w", err)
	}
	if tamper.Response != nil {
		der = tamper.Response(der)
	}
	return der, nil
}

// signedAttributes is the DER SET of the attributes that a timestamp signs (RFC 3161 section 2.4.2, RFC 5816).
func (t *TSA) signedAttributes(content []byte, at time.Time, tamper *TimestampTamper) ([]byte, error) {
	digest := sha256.Sum256(content)
	if tamper.DigestAttribute != nil {
		copy(digest[:], tamper.DigestAttribute)
	}
	leaf := sha256.Sum256(t.Leaf.Raw)
	type issuerSerial struct {
		Names  []asn1.RawValue
		Serial *big.Int
	}
	type certID struct {
		Hash   []byte
		Issuer issuerSerial
	}
	directoryName := asn1.RawValue{Class: asn1.ClassContextSpecific, Tag: 4, IsCompound: true, Bytes: t.Leaf.RawIssuer}
	values := []struct {
		oid asn1.ObjectIdentifier
		v   any
	}{
		{oidContentType, oidTSTInfo},
		{oidSigningTime, at.UTC()},
		{oidMessageDigest, digest[:]},
		{oidSigningCertificate, struct{ Certs []certID }{[]certID{{leaf[:], issuerSerial{[]asn1.RawValue{directoryName}, t.Leaf.SerialNumber}}}}},
	}
	var attrs []attribute
	for _, a := range values {
		der, err := asn1.Marshal(a.v)
		if err != nil {
			return nil, err
		}
		attrs = append(attrs, attribute{a.oid, []asn1.RawValue{{FullBytes: der}}})
	}
	return asn1.MarshalWithParams(attrs, "set")
}

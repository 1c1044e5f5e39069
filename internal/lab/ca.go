package lab

import (
	"crypto"
	"crypto/elliptic"
	"crypto/sha1"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"fmt"
	"maps"
	"net/url"
	"slices"
	"time"
)

// A CA issues short-lived code-signing certificates to CI runs, the way Fulcio does: root and intermediate on
// P-384, leaves on P-256, valid for ten minutes, the identity in the SAN and in extensions of arc 1.3.6.1.4.1.57264.1.
type CA struct {
	Root, Intermediate *x509.Certificate
	key                signer // the intermediate's
	lab                *Lab
}

// LeafLife is how long a leaf is valid, as at Fulcio.
const LeafLife = 10 * time.Minute

// An Identity is what a certificate says of its owner. Extension N is 1.3.6.1.4.1.57264.1.N; 1 to 6 are written as
// raw strings, all others as DER UTF8String, and an empty value leaves the extension out
// (fulcio docs/oid-info.md).
type Identity struct {
	SAN        string         // the one URI of the subject alternative name
	Extensions map[int]string // by N
	Raw        map[int][]byte // replaces extension N, value as it stands in the certificate
}

func (id Identity) clone() Identity {
	id.Extensions, id.Raw = maps.Clone(id.Extensions), maps.Clone(id.Raw)
	if id.Extensions == nil {
		id.Extensions = map[int]string{}
	}
	if id.Raw == nil {
		id.Raw = map[int][]byte{}
	}
	return id
}

// keyID is the SHA-1 of the public key bits, RFC 5280 section 4.2.1.2 method 1, as Fulcio writes it.
func keyID(pub crypto.PublicKey) []byte {
	var info struct {
		Algorithm pkix.AlgorithmIdentifier
		Key       asn1.BitString
	}
	if _, err := asn1.Unmarshal(spki(pub), &info); err != nil {
		panic(err) // spki made it
	}
	sum := sha1.Sum(info.Key.Bytes)
	return sum[:]
}

func newCA(l *Lab, label string) (*CA, error) {
	rootKey := l.ecKey(elliptic.P384(), label+" root")
	ca := &CA{key: l.ecKey(elliptic.P384(), label+" intermediate"), lab: l}
	var err error
	ca.Root, err = certify(&x509.Certificate{
		SerialNumber: l.serialNumber(),
		Subject:      pkix.Name{Organization: []string{"lab.assay.test"}, CommonName: "lab-sigstore"},
		NotBefore:    l.start, NotAfter: l.start.AddDate(10, 0, 0),
		KeyUsage: x509.KeyUsageCertSign | x509.KeyUsageCRLSign, BasicConstraintsValid: true, IsCA: true,
		SubjectKeyId: keyID(rootKey.Public()),
	}, nil, rootKey.Public(), rootKey)
	if err != nil {
		return nil, err
	}
	ca.Intermediate, err = certify(&x509.Certificate{
		SerialNumber: l.serialNumber(),
		Subject:      pkix.Name{Organization: []string{"lab.assay.test"}, CommonName: "lab-sigstore-intermediate"},
		NotBefore:    l.start, NotAfter: l.start.AddDate(10, 0, 0),
		KeyUsage: x509.KeyUsageCertSign | x509.KeyUsageCRLSign, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageCodeSigning},
		BasicConstraintsValid: true, IsCA: true, MaxPathLenZero: true, SubjectKeyId: keyID(ca.key.Public()),
	}, ca.Root, ca.key.Public(), rootKey)
	return ca, err
}

// certify signs a template and parses the outcome; parent nil means self-signed.
func certify(template, parent *x509.Certificate, pub crypto.PublicKey, key crypto.Signer) (*x509.Certificate, error) {
	if parent == nil {
		parent = template
	}
	der, err := x509.CreateCertificate(nil, template, parent, pub, key)
	if err != nil {
		return nil, err
	}
	return x509.ParseCertificate(der)
}

// fulcioOID is 1.3.6.1.4.1.57264.1.N.
func fulcioOID(n int) asn1.ObjectIdentifier {
	return asn1.ObjectIdentifier{1, 3, 6, 1, 4, 1, 57264, 1, n}
}

func (id Identity) extensions() ([]pkix.Extension, error) {
	numbers := slices.AppendSeq(slices.Collect(maps.Keys(id.Extensions)), maps.Keys(id.Raw))
	slices.Sort(numbers)
	var exts []pkix.Extension
	for _, n := range slices.Compact(numbers) {
		value, raw := id.Raw[n]
		text := id.Extensions[n]
		switch {
		case raw:
		case text == "":
			continue
		case n <= 6:
			value = []byte(text)
		default:
			var err error
			if value, err = asn1.MarshalWithParams(text, "utf8"); err != nil {
				return nil, fmt.Errorf("encoding extension %d: %w", n, err)
			}
		}
		exts = append(exts, pkix.Extension{Id: fulcioOID(n), Value: value})
	}
	return exts, nil
}

// issueOptions are the ways in which a certificate can be out of the ordinary.
type issueOptions struct {
	template  func(*x509.Certificate) // last change to the template
	ct        []*CTLog                // logs whose SCTs are embedded
	sctTime   time.Time               // zero: the time of issue
	sctIssuer *x509.Certificate       // nil: the true one
	afterSCT  func(*x509.Certificate) // changes the template once the SCTs are made, so that they are for another certificate
}

// issue makes a leaf for a key and identity, valid from at.
func (ca *CA) issue(pub crypto.PublicKey, id Identity, at time.Time, o issueOptions) (*x509.Certificate, error) {
	exts, err := id.extensions()
	if err != nil {
		return nil, err
	}
	at = at.UTC().Truncate(time.Second)
	t := &x509.Certificate{
		SerialNumber: ca.lab.serialNumber(), NotBefore: at, NotAfter: at.Add(LeafLife),
		KeyUsage: x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageCodeSigning},
		SubjectKeyId: keyID(pub), ExtraExtensions: exts,
	}
	if id.SAN != "" {
		u, err := url.Parse(id.SAN)
		if err != nil {
			return nil, fmt.Errorf("subject alternative name: %w", err)
		}
		t.URIs = []*url.URL{u} // critical, since the subject is empty
	}
	if o.template != nil {
		o.template(t)
	}
	// What a CT log signs is the certificate without the SCT extension; added last, it leaves the rest as it was.
	pre, err := certify(t, ca.Intermediate, pub, ca.key)
	if err != nil || len(o.ct) == 0 {
		return pre, err
	}
	when := at
	if !o.sctTime.IsZero() {
		when = o.sctTime
	}
	issuer := ca.Intermediate
	if o.sctIssuer != nil {
		issuer = o.sctIssuer
	}
	sct, err := sctExtension(o.ct, issuer, pre.RawTBSCertificate, when)
	if err != nil {
		return nil, err
	}
	t.ExtraExtensions = append(t.ExtraExtensions, sct)
	if o.afterSCT != nil {
		o.afterSCT(t)
	}
	return certify(t, ca.Intermediate, pub, ca.key)
}

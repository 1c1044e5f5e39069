package sigstore

import (
	"bytes"
	"crypto/sha256"
	"crypto/x509"
	"encoding/asn1"
	"fmt"
	"slices"
	"time"
	"unicode/utf8"
)

// An authority is a certificate authority of the trusted root: Fulcio, or a timestamp authority. Whatever can be said
// of its certificates without a leaf is worked out once, when the trusted root is parsed.
type authority struct {
	uri     string
	valid   window
	issuers []*issuer
	signer  *x509.Certificate // the only certificate that signs timestamps; nil for Fulcio, and where the root names none
	signers []*issuer         // those of issuers that issued signer
}

// An issuer is a certificate that may issue leaves, with one path up to the authority's root.
type issuer struct {
	cert     *x509.Certificate
	spki     [sha256.Size]byte // SHA-256 of its SubjectPublicKeyInfo: the issuer key hash of a timestamp by a CT log
	path     []*x509.Certificate
	validity window // what all certificates of the path have in common
	// full says that the path has name or policy constraints, which x509.Certificate.Verify has to apply.
	full bool
}

const (
	maxPath  = 8  // certificates from issuer to root
	maxPaths = 64 // of one authority
)

var (
	oidSAN            = asn1.ObjectIdentifier{2, 5, 29, 17}
	oidExtKeyUsage    = asn1.ObjectIdentifier{2, 5, 29, 37}
	oidsForFullVerify = []asn1.ObjectIdentifier{
		{2, 5, 29, 30}, // name constraints
		{2, 5, 29, 33}, // policy mappings
		{2, 5, 29, 36}, // policy constraints
		{2, 5, 29, 54}, // inhibit any policy
	}
)

// newAuthority works out the paths of an authority. For timestamp authorities, a first certificate that is no CA is the
// one that signs (sigstore-go, pkg/root/trusted_root.go).
func newAuthority(raw rawAuthority, usage x509.ExtKeyUsage) (*authority, error) {
	a := &authority{uri: raw.uri, valid: raw.valid}
	if len(raw.certs) == 0 {
		return nil, fmt.Errorf("no certificates")
	}
	var certs []*x509.Certificate
	for i, b := range raw.certs {
		c, err := x509.ParseCertificate(b)
		if err != nil {
			return nil, fmt.Errorf("certificate %d: %v", i, err)
		}
		if i == 0 && usage == x509.ExtKeyUsageTimeStamping && !c.IsCA {
			a.signer = c
			continue
		}
		certs = append(certs, c)
	}
	if len(certs) == 0 {
		return nil, fmt.Errorf("no CA certificate")
	}
	root := certs[len(certs)-1]
	var walk func(path []*x509.Certificate)
	walk = func(path []*x509.Certificate) {
		if len(a.issuers) == maxPaths {
			return
		}
		last := path[len(path)-1]
		if last.Equal(root) {
			if i := newIssuer(path, usage); i != nil {
				a.issuers = append(a.issuers, i)
			}
			return
		}
		if len(path) == maxPath {
			return
		}
		for _, parent := range certs {
			if !bytes.Equal(parent.RawSubject, last.RawIssuer) || slices.ContainsFunc(path, parent.Equal) {
				continue
			}
			if last.CheckSignatureFrom(parent) == nil {
				walk(append(slices.Clone(path), parent))
			}
		}
	}
	for i, c := range certs {
		if !slices.ContainsFunc(certs[:i], c.Equal) {
			walk([]*x509.Certificate{c})
		}
	}
	if a.signer != nil {
		a.signers = a.issuersOf(a.signer)
	}
	return a, nil
}

// issuersOf returns those issuers of a that issued c.
func (a *authority) issuersOf(c *x509.Certificate) (by []*issuer) {
	for _, i := range a.issuers {
		if bytes.Equal(i.cert.RawSubject, c.RawIssuer) && i.cert.CheckSignature(c.SignatureAlgorithm, c.RawTBSCertificate, c.Signature) == nil {
			by = append(by, i)
		}
	}
	return by
}

// newIssuer returns nil where path[0] must not issue certificates of the usage: it applies to CA certificates what
// x509.Certificate.Verify does (RFC 5280 section 6.1), save the time.
func newIssuer(path []*x509.Certificate, usage x509.ExtKeyUsage) *issuer {
	i := &issuer{cert: path[0], path: path, spki: sha256.Sum256(path[0].RawSubjectPublicKeyInfo)}
	for below, c := range path {
		if len(c.UnhandledCriticalExtensions) > 0 ||
			!mayIssue(c, below < len(path)-1) ||
			c.BasicConstraintsValid && c.MaxPathLen >= 0 && below > c.MaxPathLen ||
			!allows(c, usage) {
			return nil
		}
		if c.NotBefore.After(i.validity.start) {
			i.validity.start = c.NotBefore
		}
		if i.validity.end.IsZero() || c.NotAfter.Before(i.validity.end) {
			i.validity.end = c.NotAfter
		}
		i.full = i.full || needsFullVerify(c)
	}
	return i
}

func mayIssue(c *x509.Certificate, intermediate bool) bool {
	if c.KeyUsage != 0 && c.KeyUsage&x509.KeyUsageCertSign == 0 || c.PublicKeyAlgorithm == x509.UnknownPublicKeyAlgorithm {
		return false
	}
	if c.BasicConstraintsValid {
		return c.IsCA
	}
	return c.Version != 3 && !intermediate
}

// allows reports whether c, a CA certificate, does not exclude the usage.
func allows(c *x509.Certificate, usage x509.ExtKeyUsage) bool {
	if len(c.ExtKeyUsage) == 0 && len(c.UnknownExtKeyUsage) == 0 {
		return true
	}
	return slices.Contains(c.ExtKeyUsage, usage) || slices.Contains(c.ExtKeyUsage, x509.ExtKeyUsageAny)
}

func needsFullVerify(c *x509.Certificate) bool {
	for i := range c.Extensions {
		if slices.ContainsFunc(oidsForFullVerify, c.Extensions[i].Id.Equal) {
			return true
		}
	}
	return false
}

// verifyPath lets x509.Certificate.Verify judge leaf over the issuer's path, with its name and policy constraints.
func (i *issuer) verifyPath(leaf *x509.Certificate, usage x509.ExtKeyUsage, at time.Time) error {
	roots, intermediates := x509.NewCertPool(), x509.NewCertPool()
	roots.AddCert(i.path[len(i.path)-1])
	for _, c := range i.path[:len(i.path)-1] {
		intermediates.AddCert(c)
	}
	c := *leaf
	c.UnhandledCriticalExtensions = unhandled(leaf)
	_, err := c.Verify(x509.VerifyOptions{
		Roots: roots, Intermediates: intermediates, CurrentTime: at, KeyUsages: []x509.ExtKeyUsage{usage},
	})
	return err
}

// unhandled returns the critical extensions of c that nobody looked at. Go counts a critical subjectAltName among
// them where it holds nothing but an otherName, as Fulcio writes for user names.
func unhandled(c *x509.Certificate) []asn1.ObjectIdentifier {
	var oids []asn1.ObjectIdentifier
	for _, oid := range c.UnhandledCriticalExtensions {
		if !oid.Equal(oidSAN) {
			oids = append(oids, oid)
		}
	}
	return oids
}

// checkChain judges the leaf and its chain: it is a certificate for signing code, issued by a Fulcio certificate
// authority of the trusted root, whose certificates and whose entry in the trusted root were valid at all the given
// times. The validity of the leaf itself is checkTime's part.
//
// Without any trusted time, the authority must have been valid for as long as the leaf is: then whatever time checkTime
// would have accepted, the authority was valid.
//
// It also returns the issuer for the SCT check, which may be set though the step failed.
func (r *TrustedRoot) checkChain(leaf *x509.Certificate, times []time.Time) (Step, *issuer) {
	if len(times) == 0 {
		times = []time.Time{leaf.NotBefore, leaf.NotAfter}
	}
	var found *issuer // has the right name
	var failed Step
	for _, a := range r.fulcio {
		for _, i := range a.issuers {
			if !bytes.Equal(i.cert.RawSubject, leaf.RawIssuer) {
				continue
			}
			step := checkIssued(leaf, a, i, times)
			if step.Status == Held {
				return checkLeaf(leaf), i
			}
			// The later the step failed, the more it says: a valid signature identifies the issuer.
			if found == nil || failed.Reason == reasonCertSignature {
				found, failed = i, step
			}
		}
	}
	if found == nil {
		return Step{
			Status: Failed, Reason: reasonIssuerUnknown, Actual: clip(leaf.Issuer.String()),
			Detail: "no certificate authority of the trusted root has the name of the leaf's issuer",
		}, nil
	}
	return failed, found
}

func checkIssued(leaf *x509.Certificate, a *authority, i *issuer, times []time.Time) Step {
	if err := i.cert.CheckSignature(leaf.SignatureAlgorithm, leaf.RawTBSCertificate, leaf.Signature); err != nil {
		return Step{Status: Failed, Reason: reasonCertSignature, Detail: "checking the leaf by " + i.cert.Subject.String() + ": " + err.Error()}
	}
	for _, t := range times {
		if !i.validity.covers(t) {
			return Step{
				Status: Failed, Reason: reasonCATime, Expected: i.validity.String(), Actual: t.UTC().Format(time.RFC3339),
				Detail: "a certificate between the leaf and the root was not valid at the time of signing",
			}
		}
		if !a.valid.covers(t) {
			return Step{
				Status: Failed, Reason: reasonCAEntryTime, Expected: a.valid.String(), Actual: t.UTC().Format(time.RFC3339),
				Detail: "the trusted root does not count this certificate authority at the time of signing",
			}
		}
		if i.full || needsFullVerify(leaf) {
			if err := i.verifyPath(leaf, x509.ExtKeyUsageCodeSigning, t); err != nil {
				return Step{Status: Failed, Reason: reasonCAConstraint, Detail: err.Error()}
			}
		}
	}
	return Step{Status: Held}
}

// checkLeaf judges what a Fulcio leaf must be (sigstore/fulcio, docs/certificate-specification.md).
func checkLeaf(leaf *x509.Certificate) Step {
	fail := func(detail string) Step {
		return Step{Status: Failed, Reason: reasonLeaf, Detail: detail}
	}
	switch {
	case leaf.Version != 3:
		return fail("leaf is not an X.509 certificate of version 3")
	case len(unhandled(leaf)) > 0:
		return fail(fmt.Sprintf("leaf has a critical extension %v that is not known", unhandled(leaf)[0]))
	case !slices.Contains(leaf.ExtKeyUsage, x509.ExtKeyUsageCodeSigning):
		return fail("extended key usage of the leaf does not name code signing")
	case leaf.KeyUsage&x509.KeyUsageDigitalSignature == 0:
		return fail("key usage of the leaf does not name digital signatures")
	case leaf.IsCA:
		return fail("leaf is the certificate of an authority")
	case len(leaf.URIs) == 0 && len(leaf.EmailAddresses) == 0 && !hasOtherName(leaf):
		return fail("leaf names no identity")
	}
	for i := range leaf.Extensions {
		n, ok := fulcioExtension(leaf.Extensions[i].Id)
		if !ok || n < 8 {
			continue
		}
		value := der(leaf.Extensions[i].Value)
		if text, err := value.only(tagUTF8String); err != nil || !utf8.Valid(text) {
			return fail(fmt.Sprintf("extension 1.3.6.1.4.1.57264.1.%d of the leaf is not a UTF8String", n))
		}
	}
	return Step{Status: Held}
}

// fulcioExtension returns n of an identifier 1.3.6.1.4.1.57264.1.n (sigstore/fulcio, docs/oid-info.md).
func fulcioExtension(oid asn1.ObjectIdentifier) (n int, ok bool) {
	if len(oid) != 9 || oid[6] != 57264 || oid[7] != 1 ||
		oid[0] != 1 || oid[1] != 3 || oid[2] != 6 || oid[3] != 1 || oid[4] != 4 || oid[5] != 1 {
		return 0, false
	}
	return oid[8], true
}

// oidOtherName is the DER of 1.3.6.1.4.1.57264.1.7, the type of otherName in which Fulcio writes user names.
var oidOtherName = []byte{tagOID, 10, 0x2b, 0x06, 0x01, 0x04, 0x01, 0x83, 0xbf, 0x30, 0x01, 0x07}

func hasOtherName(leaf *x509.Certificate) bool {
	for _, e := range leaf.Extensions {
		if !e.Id.Equal(oidSAN) {
			continue
		}
		names := der(e.Value)
		list, err := names.only(tagSequence)
		for err == nil && len(list) > 0 {
			var tag byte
			var name der
			if tag, name, _, err = list.next(); err == nil && tag == tagContext && bytes.HasPrefix(name, oidOtherName) {
				return len(name) > len(oidOtherName)
			}
		}
	}
	return false
}

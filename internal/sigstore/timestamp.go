package sigstore

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/rsa"
	"crypto/x509"
	"encoding/hex"
	"errors"
	"fmt"
	"math/big"
	"slices"
	"time"
	"unicode/utf8"
)

// Object identifiers in DER, as they stand in a timestamp.
var (
	derSignedData       = []byte{0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x07, 0x02}             // 1.2.840.113549.1.7.2
	derTSTInfo          = []byte{0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x09, 0x10, 0x01, 0x04} // 1.2.840.113549.1.9.16.1.4
	derContentType      = []byte{0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x09, 0x03}
	derMessageDigest    = []byte{0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x09, 0x04}
	derSigningTime      = []byte{0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x09, 0x05}
	derSigningCertV2    = []byte{0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x09, 0x10, 0x02, 0x2f} // RFC 5035
	derSHA256           = []byte{0x60, 0x86, 0x48, 0x01, 0x65, 0x03, 0x04, 0x02, 0x01}
	derSHA384           = []byte{0x60, 0x86, 0x48, 0x01, 0x65, 0x03, 0x04, 0x02, 0x02}
	derSHA512           = []byte{0x60, 0x86, 0x48, 0x01, 0x65, 0x03, 0x04, 0x02, 0x03}
	derECDSAWithSHA256  = []byte{0x2a, 0x86, 0x48, 0xce, 0x3d, 0x04, 0x03, 0x02}
	derECDSAWithSHA384  = []byte{0x2a, 0x86, 0x48, 0xce, 0x3d, 0x04, 0x03, 0x03}
	derECDSAWithSHA512  = []byte{0x2a, 0x86, 0x48, 0xce, 0x3d, 0x04, 0x03, 0x04}
	derRSAEncryption    = []byte{0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x01, 0x01}
	derSHA256WithRSA    = []byte{0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x01, 0x0b}
	derSHA384WithRSA    = []byte{0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x01, 0x0c}
	derSHA512WithRSA    = []byte{0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x01, 0x0d}
	derExtendedKeyUsage = []byte{tagSequence, 10, 0x06, 0x08, 0x2b, 0x06, 0x01, 0x05, 0x05, 0x07, 0x03, 0x08} // only id-kp-timeStamping
)

const maxTimestampSize = 64 << 10

// A timestamp is a granted RFC 3161 response, parsed. Nothing in it is verified.
type timestamp struct {
	info        der // TSTInfo, what the signature covers by way of its digest
	imprintHash crypto.Hash
	imprint     []byte
	time        time.Time
	certs       []*x509.Certificate // that came along

	issuer     der // of the signer's certificate
	serial     *big.Int
	digestHash crypto.Hash
	algorithm  der // of the signature
	attributes der // signed attributes, as a SET OF: tag and length mended
	signature  []byte

	messageDigest []byte
	signingTime   time.Time // zero if absent
	certHash      []byte    // SHA-256 of the signer's certificate, as the signer names it; nil if absent
}

// parseTimestamp reads a TimeStampResp (RFC 3161 section 2.4.2) whose token is CMS SignedData (RFC 5652 section 5) of
// one signer, in DER.
func parseTimestamp(data []byte) (*timestamp, error) {
	if len(data) > maxTimestampSize {
		return nil, errors.New("timestamp is larger than 64 KiB")
	}
	t := new(timestamp)
	p := derParser{}
	response := p.only(data, tagSequence)
	status := p.take(&response, tagSequence)
	if code := p.take(&status, tagInteger); p.err == nil && !bytes.Equal(code, []byte{0}) {
		return nil, errors.New("timestamp was not granted")
	}
	if status.has(tagSequence) {
		for text := p.take(&status, tagSequence); len(text) > 0 && p.err == nil; {
			if !utf8.Valid(p.take(&text, tagUTF8String)) {
				p.fail()
			}
		}
	}
	p.end(status)
	token := p.take(&response, tagSequence)
	p.end(response)
	if oid := p.take(&token, tagOID); p.err == nil && !bytes.Equal(oid, derSignedData) {
		return nil, errors.New("timestamp token is not signed data")
	}
	content := p.take(&token, tagContext)
	p.end(token)
	signed := p.only(content, tagSequence)
	p.version(&signed)
	for algorithms := p.take(&signed, tagSet); len(algorithms) > 0 && p.err == nil; {
		p.algorithm(&algorithms) // again in the signer's information
	}
	encapsulated := p.take(&signed, tagSequence)
	if oid := p.take(&encapsulated, tagOID); p.err == nil && !bytes.Equal(oid, derTSTInfo) {
		return nil, errors.New("timestamp token holds no timestamp information")
	}
	octets := p.take(&encapsulated, tagContext)
	p.end(encapsulated)
	t.info = p.only(octets, tagOctetString)
	if signed.has(tagContext) {
		certs := p.take(&signed, tagContext)
		for len(certs) > 0 && p.err == nil {
			raw := p.takeWhole(&certs, tagSequence)
			c, err := x509.ParseCertificate(raw)
			if err != nil || len(t.certs) == maxCerts {
				p.fail()
			}
			t.certs = append(t.certs, c)
		}
	}
	signers := p.take(&signed, tagSet)
	p.end(signed)
	signer := p.take(&signers, tagSequence)
	p.end(signers)
	p.signer(t, signer)
	p.tstInfo(t)
	if p.err != nil {
		return nil, fmt.Errorf("timestamp is %w", p.err)
	}
	return t, nil
}

// A derParser remembers the first error, after which it returns nothing.
type derParser struct{ err error }

func (p *derParser) take(d *der, tag byte) der {
	if p.err != nil {
		return nil
	}
	content, err := d.take(tag)
	p.err = err
	return content
}

func (p *derParser) takeWhole(d *der, tag byte) der {
	if p.err != nil {
		return nil
	}
	whole, err := d.takeWhole(tag)
	p.err = err
	return whole
}

func (p *derParser) only(d der, tag byte) der {
	content := p.take(&d, tag)
	p.end(d)
	return content
}

func (p *derParser) end(d der) {
	if p.err == nil && len(d) > 0 {
		p.err = errDER
	}
}

func (p *derParser) fail() {
	if p.err == nil {
		p.err = errDER
	}
}

// integer reads a non-negative INTEGER.
func (p *derParser) integer(d *der) *big.Int {
	b := p.take(d, tagInteger)
	if p.err != nil {
		return nil
	}
	if len(b) == 0 || b[0]&0x80 != 0 || len(b) > 1 && b[0] == 0 && b[1]&0x80 == 0 {
		p.err = errDER
		return nil
	}
	return new(big.Int).SetBytes(b)
}

// version reads a version number, which says nothing that the form would not.
func (p *derParser) version(d *der) {
	if b := p.take(d, tagInteger); len(b) != 1 || b[0] > 5 {
		p.fail()
	}
}

// algorithm reads an AlgorithmIdentifier and returns its object identifier, with parameters that are absent or NULL.
func (p *derParser) algorithm(d *der) der {
	algorithm := p.take(d, tagSequence)
	oid := p.take(&algorithm, tagOID)
	if len(oid) == 0 || oid[len(oid)-1]&0x80 != 0 || len(algorithm) > 0 && !bytes.Equal(algorithm, []byte{0x05, 0x00}) {
		p.fail()
	}
	return oid
}

// hash reads an AlgorithmIdentifier of a hash.
func (p *derParser) hash(d *der) crypto.Hash {
	oid := p.algorithm(d)
	if p.err != nil {
		return 0
	}
	switch {
	case bytes.Equal(oid, derSHA256):
		return crypto.SHA256
	case bytes.Equal(oid, derSHA384):
		return crypto.SHA384
	case bytes.Equal(oid, derSHA512):
		return crypto.SHA512
	}
	p.err = errors.New("over a hash that is weak or not known")
	return 0
}

// signer reads a SignerInfo (RFC 5652 section 5.3) that names its certificate by issuer and serial number.
func (p *derParser) signer(t *timestamp, info der) {
	p.version(&info)
	id := p.take(&info, tagSequence)
	t.issuer = p.takeWhole(&id, tagSequence)
	t.serial = p.integer(&id)
	p.end(id)
	t.digestHash = p.hash(&info)
	attributes := p.take(&info, tagContext) // RFC 5652 demands them where the content is not plain data
	t.algorithm = p.algorithm(&info)
	t.signature = p.take(&info, tagOctetString)
	p.end(info) // nobody signed what could follow
	if p.err != nil {
		return
	}
	t.attributes = appendDER(make(der, 0, len(attributes)+6), tagSet, attributes)
	var contentType der
	seen := make(map[string]bool)
	for len(attributes) > 0 && p.err == nil {
		attribute := p.take(&attributes, tagSequence)
		oid := p.take(&attribute, tagOID)
		values := p.take(&attribute, tagSet)
		p.end(attribute)
		if p.err == nil && seen[string(oid)] {
			p.err = errors.New("signed with an attribute twice")
		}
		seen[string(oid)] = true
		switch {
		case bytes.Equal(oid, derContentType):
			contentType = p.only(values, tagOID)
		case bytes.Equal(oid, derMessageDigest):
			t.messageDigest = p.only(values, tagOctetString)
		case bytes.Equal(oid, derSigningTime):
			t.signingTime = p.time(values)
		case bytes.Equal(oid, derSigningCertV2):
			p.signingCert(t, values)
		}
	}
	if p.err == nil && (!bytes.Equal(contentType, derTSTInfo) || t.messageDigest == nil) {
		p.err = errors.New("signed without content type and digest")
	}
}

// signingCert reads a SigningCertificateV2 (RFC 5035 section 3), whose first entry is the signer's certificate. A hash
// other than SHA-256, the default, is left out: issuer and serial number still name the certificate.
func (p *derParser) signingCert(t *timestamp, values der) {
	value := p.only(values, tagSequence)
	list := p.take(&value, tagSequence)
	first := p.take(&list, tagSequence)
	h := crypto.SHA256
	if first.has(tagSequence) {
		rest := first
		inner := derParser{err: p.err}
		if h = inner.hash(&rest); inner.err != nil {
			return
		}
		first = rest
	}
	hash := p.take(&first, tagOctetString)
	if h == crypto.SHA256 {
		t.certHash = hash
	}
}

func (p *derParser) time(values der) time.Time {
	if p.err != nil {
		return time.Time{}
	}
	var t time.Time
	var err error
	if values.has(tagUTCTime) {
		t, err = utcTime(p.only(values, tagUTCTime))
	} else {
		t, err = generalizedTime(p.only(values, tagGeneralizedTime))
	}
	if p.err == nil {
		p.err = err
	}
	return t
}

// tstInfo reads the TSTInfo (RFC 3161 section 2.4.2).
func (p *derParser) tstInfo(t *timestamp) {
	info := p.only(t.info, tagSequence)
	if version := p.take(&info, tagInteger); p.err == nil && !bytes.Equal(version, []byte{1}) {
		p.err = errors.New("of a version that is not known")
	}
	p.take(&info, tagOID) // policy
	imprint := p.take(&info, tagSequence)
	t.imprintHash = p.hash(&imprint)
	t.imprint = p.take(&imprint, tagOctetString)
	p.end(imprint)
	p.take(&info, tagInteger) // serial number
	if when := p.take(&info, tagGeneralizedTime); p.err == nil {
		t.time, p.err = generalizedTime(when)
	}
	// Accuracy, ordering, nonce, TSA name and extensions are all optional and in this order.
	for _, tag := range []byte{tagSequence, 0x01, tagInteger, tagContext} {
		if info.has(tag) {
			p.take(&info, tag)
		}
	}
	if info.has(tagContext | 1) {
		extensions := p.take(&info, tagContext|1)
		for len(extensions) > 0 && p.err == nil {
			e := p.take(&extensions, tagSequence)
			p.take(&e, tagOID)
			if e.has(0x01) {
				p.err = errors.New("with a critical extension")
			}
		}
	}
	p.end(info)
	if p.err == nil && len(t.imprint) != t.imprintHash.Size() {
		p.fail()
	}
}

// signedBy reports whether c is the certificate that the signer names.
func (t *timestamp) signedBy(c *x509.Certificate) bool {
	return c.SerialNumber.Cmp(t.serial) == 0 && bytes.Equal(c.RawIssuer, t.issuer)
}

// signatureAlgorithm names the signature for x509, or returns 0.
func (t *timestamp) signatureAlgorithm(key crypto.PublicKey) x509.SignatureAlgorithm {
	type pair struct {
		oid  []byte
		hash crypto.Hash
	}
	is := func(pairs ...pair) bool {
		return slices.ContainsFunc(pairs, func(p pair) bool { return bytes.Equal(p.oid, t.algorithm) && p.hash == t.digestHash })
	}
	switch key.(type) {
	case *ecdsa.PublicKey:
		switch {
		case is(pair{derECDSAWithSHA256, crypto.SHA256}):
			return x509.ECDSAWithSHA256
		case is(pair{derECDSAWithSHA384, crypto.SHA384}):
			return x509.ECDSAWithSHA384
		case is(pair{derECDSAWithSHA512, crypto.SHA512}):
			return x509.ECDSAWithSHA512
		}
	case *rsa.PublicKey:
		switch {
		case is(pair{derSHA256WithRSA, crypto.SHA256}, pair{derRSAEncryption, crypto.SHA256}):
			return x509.SHA256WithRSA
		case is(pair{derSHA384WithRSA, crypto.SHA384}, pair{derRSAEncryption, crypto.SHA384}):
			return x509.SHA384WithRSA
		case is(pair{derSHA512WithRSA, crypto.SHA512}, pair{derRSAEncryption, crypto.SHA512}):
			return x509.SHA512WithRSA
		}
	}
	return 0
}

// checkTimestamp verifies one RFC 3161 timestamp over a signature and returns its time. known says whether a timestamp
// authority of the trusted root made it, as far as the certificate that it names tells: one by an unknown authority
// says nothing, one by a known authority has to hold.
func (r *TrustedRoot) checkTimestamp(data, signature []byte) (at time.Time, known bool, step Step) {
	t, err := parseTimestamp(data)
	if err != nil {
		return time.Time{}, true, Step{Status: Failed, Reason: reasonTSMalformed, Detail: err.Error()}
	}
	var failed Step
	for _, a := range r.tsas {
		signer, by := a.timestampSigner(t)
		if signer == nil {
			continue
		}
		step := t.check(a, signer, by, signature)
		if step.Status == Held {
			return t.time, true, step
		}
		// The same certificate may stand in several entries of the trusted root, of which one counts.
		if !known || failed.Reason == reasonTSSignature {
			known, failed = true, step
		}
	}
	if !known {
		return time.Time{}, false, Step{
			Status: Failed, Reason: reasonTSAUnknown, Actual: "serial number " + t.serial.String(),
			Detail: "the certificate that signed the timestamp is of no timestamp authority of the trusted root",
		}
	}
	return time.Time{}, true, failed
}

// timestampSigner returns the certificate of authority a that signed t, and which certificates of a issued it; nil
// where a did not. Where the trusted root names the signer, it alone counts, and must be the one that came along, if any
// did; else the one that came along counts, if a certificate of a issued it.
func (a *authority) timestampSigner(t *timestamp) (*x509.Certificate, []*issuer) {
	i := slices.IndexFunc(t.certs, t.signedBy)
	switch {
	case a.signer != nil && t.signedBy(a.signer) && (len(t.certs) == 0 || i >= 0 && t.certs[i].Equal(a.signer)):
		return a.signer, a.signers
	case a.signer == nil && i >= 0:
		if by := a.issuersOf(t.certs[i]); by != nil {
			return t.certs[i], by
		}
	}
	return nil, nil
}

// check verifies t as made by signer, a certificate that authority a stands for.
func (t *timestamp) check(a *authority, signer *x509.Certificate, by []*issuer, signature []byte) Step {
	algorithm := t.signatureAlgorithm(signer.PublicKey)
	if t.certHash != nil && !bytes.Equal(t.certHash, sum256(signer.Raw)) ||
		!bytes.Equal(t.messageDigest, hashOf(t.digestHash, t.info)) ||
		algorithm == 0 || signer.CheckSignature(algorithm, t.attributes, t.signature) != nil {
		return Step{Status: Failed, Reason: reasonTSSignature, Detail: "the timestamp does not verify by the certificate of its authority"}
	}
	if want := hashOf(t.imprintHash, signature); !bytes.Equal(t.imprint, want) {
		return Step{
			Status: Failed, Reason: reasonTSImprint, Expected: hex.EncodeToString(want), Actual: hex.EncodeToString(t.imprint),
			Detail: "the timestamp is over another signature",
		}
	}
	if detail := checkTSACertificate(signer); detail != "" {
		return Step{Status: Failed, Reason: reasonTSACertificate, Detail: detail}
	}
	outside := func(reason string, w window, detail string) Step {
		return Step{Status: Failed, Reason: reason, Expected: w.String(), Actual: t.time.Format(time.RFC3339Nano), Detail: detail}
	}
	validity := window{signer.NotBefore, signer.NotAfter}
	if !validity.covers(t.time) || !t.signingTime.IsZero() && !validity.covers(t.signingTime) {
		return outside(reasonTSACertTime, validity, "the certificate of the timestamp authority was not valid at the time that it states")
	}
	if !a.valid.covers(t.time) {
		return outside(reasonTSAEntryTime, a.valid, "the trusted root does not count this timestamp authority at the time that it states")
	}
	failed := Step{Status: Failed, Reason: reasonTSACertificate, Detail: "no path from the certificate of the timestamp authority to its root"}
	for _, i := range by {
		if !i.validity.covers(t.time) {
			failed = outside(reasonTSACertTime, i.validity, "a certificate above the timestamp authority's was not valid at the time that it states")
			continue
		}
		if i.full || needsFullVerify(signer) {
			if err := i.verifyPath(signer, x509.ExtKeyUsageTimeStamping, t.time); err != nil {
				failed = Step{Status: Failed, Reason: reasonTSACertificate, Detail: err.Error()}
				continue
			}
		}
		return Step{Status: Held}
	}
	return failed
}

// checkTSACertificate judges the certificate of a timestamp authority (RFC 3161 section 2.3): for timestamping only, and
// that critical. It returns what is wrong.
func checkTSACertificate(c *x509.Certificate) string {
	if c.IsCA {
		return "certificate of the timestamp authority is one of a certificate authority"
	}
	if len(unhandled(c)) > 0 {
		return fmt.Sprintf("certificate of the timestamp authority has a critical extension %v that is not known", unhandled(c)[0])
	}
	for _, e := range c.Extensions {
		if e.Id.Equal(oidExtKeyUsage) {
			switch {
			case !e.Critical:
				return "extended key usage of the timestamp authority's certificate is not critical"
			case !bytes.Equal(e.Value, derExtendedKeyUsage):
				return "extended key usage of the timestamp authority's certificate is not timestamping alone"
			}
			return ""
		}
	}
	return "certificate of the timestamp authority has no extended key usage"
}

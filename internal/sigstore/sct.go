package sigstore

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"encoding/asn1"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"time"
)

var oidSCTList = asn1.ObjectIdentifier{1, 3, 6, 1, 4, 1, 11129, 2, 4, 2}

// derSCTList is oidSCTList in DER.
var derSCTList = []byte{tagOID, 10, 0x2b, 0x06, 0x01, 0x04, 0x01, 0xd6, 0x79, 0x02, 0x04, 0x02}

// An sct is a signed certificate timestamp of version 1 (RFC 6962 section 3.2).
type sct struct {
	logID      []byte // SHA-256 of the log's key
	timestamp  uint64 // milliseconds since 1970
	extensions []byte
	hash, alg  byte // of the signature, as TLS 1.2 numbers them
	signature  []byte
}

func (s *sct) time() time.Time {
	return time.UnixMilli(int64(s.timestamp)).UTC()
}

// maxSCTs is how many timestamps a certificate may have: each may take a signature check. Real ones have one.
const maxSCTs = 16

var errSCT = errors.New("not a list of signed certificate timestamps")

// parseSCTs reads the value of the SCT extension: an OCTET STRING with a SignedCertificateTimestampList (RFC 6962
// section 3.3). Timestamps of other versions are left out.
func parseSCTs(value []byte) ([]sct, error) {
	d := der(value)
	list, err := d.only(tagOctetString)
	if err != nil {
		return nil, errSCT
	}
	rest, ok := prefixed(&list)
	if !ok || len(list) > 0 || len(rest) == 0 {
		return nil, errSCT
	}
	var scts []sct
	for len(rest) > 0 {
		one, ok := prefixed(&rest)
		if !ok || len(one) == 0 || len(scts) == maxSCTs {
			return nil, errSCT
		}
		if one[0] != 0 {
			continue
		}
		if len(one) < 1+sha256.Size+8 {
			return nil, errSCT
		}
		s := sct{logID: one[1 : 1+sha256.Size], timestamp: binary.BigEndian.Uint64(one[1+sha256.Size:])}
		one = one[1+sha256.Size+8:]
		if s.extensions, ok = prefixed(&one); !ok || len(one) < 2 {
			return nil, errSCT
		}
		s.hash, s.alg = one[0], one[1]
		one = one[2:]
		if s.signature, ok = prefixed(&one); !ok || len(one) > 0 || s.timestamp > 1<<62 {
			return nil, errSCT
		}
		scts = append(scts, s)
	}
	return scts, nil
}

// prefixed takes bytes off b that a length of two bytes precedes.
func prefixed[B ~[]byte](b *B) (B, bool) {
	if len(*b) < 2 {
		return nil, false
	}
	n := int(binary.BigEndian.Uint16(*b))
	if len(*b) < 2+n {
		return nil, false
	}
	out := (*b)[2 : 2+n]
	*b = (*b)[2+n:]
	return out, true
}

// appendPrecert appends the TBSCertificate without its SCT extension (RFC 6962 section 3.2). It cuts the extension out
// of the bytes and mends the three lengths around it: everything else stays as the authority signed it.
func appendPrecert(dst []byte, tbs []byte) ([]byte, error) {
	whole := der(tbs)
	fields, err := whole.only(tagSequence)
	if err != nil {
		return nil, err
	}
	rest := fields
	for !rest.has(tagContext | 3) {
		if _, _, _, err := rest.next(); err != nil {
			return nil, errDER
		}
	}
	before := fields[:len(fields)-len(rest)]
	explicit, err := rest.only(tagContext | 3)
	if err != nil {
		return nil, err
	}
	extensions, err := explicit.only(tagSequence)
	if err != nil {
		return nil, err
	}
	for list := extensions; len(list) > 0; {
		start := len(extensions) - len(list)
		e, err := list.take(tagSequence)
		if err != nil {
			return nil, err
		}
		if !bytes.HasPrefix(e, derSCTList) {
			continue
		}
		head, tail := extensions[:start], extensions[len(extensions)-len(list):]
		var header [2][6]byte
		inner := appendHeader(header[0][:0], tagSequence, len(head)+len(tail))
		outer := appendHeader(header[1][:0], tagContext|3, len(inner)+len(head)+len(tail))
		return appendDER(dst, tagSequence, before, outer, inner, head, tail), nil
	}
	return nil, errDER
}

// checkSCT holds when the leaf has an embedded timestamp that verifies by a certificate transparency log of the trusted
// root, made while the trusted root counts that log. Timestamps by other logs say nothing.
func (r *TrustedRoot) checkSCT(leaf *x509.Certificate, by *issuer, sc *scratch) Step {
	var value []byte
	for i := range leaf.Extensions {
		if leaf.Extensions[i].Id.Equal(oidSCTList) {
			value = leaf.Extensions[i].Value
		}
	}
	if value == nil {
		return Step{Status: Failed, Reason: reasonSCTMissing, Detail: "leaf has no embedded certificate timestamp"}
	}
	scts, err := parseSCTs(value)
	if err != nil {
		return Step{Status: Failed, Reason: reasonSCTMalformed, Detail: err.Error()}
	}
	if by == nil {
		return Step{Status: Failed, Reason: reasonSCTIssuer, Detail: "the timestamp covers the key of the leaf's issuer, which is not known"}
	}
	// An SCT by an unknown log is the weakest thing to report, a wrong signature the strongest.
	failed := Step{Status: Failed, Reason: reasonSCTMissing, Detail: "leaf has no certificate timestamp of version 1"}
	for i := range scts {
		s := &scts[i]
		l := r.ctlogs[string(s.logID)]
		if l == nil {
			if failed.Reason == reasonSCTMissing {
				failed = Step{Status: Failed, Reason: reasonSCTLog, Actual: hex.EncodeToString(s.logID), Detail: "the timestamp is by a log that the trusted root does not know"}
			}
			continue
		}
		if l.key == nil {
			failed = Step{Status: Undecided, Reason: reasonLogKey, Detail: "the kind of key of the certificate transparency log is not known"}
			continue
		}
		if t := s.time(); !l.valid.covers(t) {
			failed = Step{
				Status: Failed, Reason: reasonSCTTime, Expected: l.valid.String(), Actual: t.Format(time.RFC3339Nano),
				Detail: "the trusted root does not count this log at the time of the timestamp",
			}
			continue
		}
		if s.verify(l.key, leaf.RawTBSCertificate, by, sc) {
			return Step{Status: Held}
		}
		failed = Step{Status: Failed, Reason: reasonSCTSignature, Detail: "the certificate timestamp does not verify by the key of its log"}
	}
	return failed
}

// appendSigned appends what the timestamp's signature covers (RFC 6962 section 3.2, digitally-signed struct), for
// a certificate with the given TBSCertificate.
func (s *sct) appendSigned(dst, tbs []byte, by *issuer) ([]byte, error) {
	dst = append(dst, 0, 0) // v1, certificate_timestamp
	dst = binary.BigEndian.AppendUint64(dst, s.timestamp)
	dst = append(dst, 0, 1) // precert_entry
	dst = append(dst, by.spki[:]...)
	at := len(dst)
	dst, err := appendPrecert(append(dst, 0, 0, 0), tbs)
	if err != nil {
		return nil, err
	}
	n := len(dst) - at - 3
	dst[at], dst[at+1], dst[at+2] = byte(n>>16), byte(n>>8), byte(n)
	dst = binary.BigEndian.AppendUint16(dst, uint16(len(s.extensions)))
	return append(dst, s.extensions...), nil
}

func (s *sct) verify(key crypto.PublicKey, tbs []byte, by *issuer, sc *scratch) bool {
	const sha256TLS, rsaTLS, ecdsaTLS = 4, 1, 3 // RFC 5246 section 7.4.1.4.1
	signed, err := s.appendSigned(sc.buf[:0], tbs, by)
	if err != nil || s.hash != sha256TLS {
		return false
	}
	sc.buf = signed
	digest := sha256.Sum256(signed)
	switch key.(type) {
	case *ecdsa.PublicKey:
		return s.alg == ecdsaTLS && verifyDigest(key, crypto.SHA256, digest[:], s.signature)
	case *rsa.PublicKey:
		return s.alg == rsaTLS && verifyDigest(key, crypto.SHA256, digest[:], s.signature)
	}
	return false
}

package lab

import (
	"crypto/elliptic"
	"crypto/sha256"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"encoding/binary"
	"time"
)

// A CTLog promises to log certificates: it signs certificate timestamps (RFC 6962 section 3.2).
type CTLog struct {
	key signer
	url string
}

func newCTLog(l *Lab, label string) *CTLog {
	return &CTLog{key: l.ecKey(elliptic.P256(), label), url: "https://ctfe.lab.assay.test/2026"}
}

// ID is the log's identifier, SHA-256 over its DER public key.
func (c *CTLog) ID() [32]byte { return sha256.Sum256(spki(c.key.Public())) }

// sct signs a timestamp for a precertificate and returns the TLS structure.
func (c *CTLog) sct(issuer *x509.Certificate, tbs []byte, at time.Time) []byte {
	ms := binary.BigEndian.AppendUint64(nil, uint64(at.UnixMilli()))
	issuerKey := sha256.Sum256(issuer.RawSubjectPublicKeyInfo)

	signed := []byte{0, 0} // version v1, certificate_timestamp
	signed = append(signed, ms...)
	signed = append(signed, 0, 1) // precert_entry
	signed = append(signed, issuerKey[:]...)
	signed = append(signed, byte(len(tbs)>>16), byte(len(tbs)>>8), byte(len(tbs)))
	signed = append(signed, tbs...)
	signed = append(signed, 0, 0) // no CT extensions
	sig := signSHA256(c.key, signed)

	id := c.ID()
	out := append([]byte{0}, id[:]...)
	out = append(out, ms...)
	out = append(out, 0, 0, 4, 3) // no extensions; sha256, ecdsa
	return append(binary.BigEndian.AppendUint16(out, uint16(len(sig))), sig...)
}

// sctExtension is the certificate extension that holds one timestamp of each log.
func sctExtension(logs []*CTLog, issuer *x509.Certificate, tbs []byte, at time.Time) (pkix.Extension, error) {
	var list []byte
	for _, c := range logs {
		sct := c.sct(issuer, tbs, at)
		list = append(binary.BigEndian.AppendUint16(list, uint16(len(sct))), sct...)
	}
	value, err := asn1.Marshal(append(binary.BigEndian.AppendUint16(nil, uint16(len(list))), list...))
	return pkix.Extension{Id: asn1.ObjectIdentifier{1, 3, 6, 1, 4, 1, 11129, 2, 4, 2}, Value: value}, err
}

package lab

import (
	"crypto"
	"crypto/elliptic"
	"crypto/sha256"
	"crypto/x509"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"time"
)

// A Signing is one signing ceremony, from what is signed to the finished bundle: certificate, signature, log
// entry, timestamp.
type Signing struct {
	Statement *Statement   // signed in a DSSE envelope
	Artifact  []byte       // signed by its digest, where Statement is nil
	Identity  Identity     // of the certificate, where Key is nil
	Key       *RegistryKey // signs without a certificate
	At        time.Time    // when the certificate is issued; zero means now. The log is a second later.
	Log       Log          // nil means the lab's Rekor v1
	Kind      KindVersion  // of the log entry; zero means what the log is given today
	MediaType string       // empty means MediaTypeV03
	Timestamp bool         // adds an RFC 3161 timestamp; a bundle for Rekor v2 always has one
	Tamper    Tamper
}

// A Tamper says what goes wrong in a signing. Each field changes one step; every later step works on what that
// step made, so all the rest is still validly signed. The zero value changes nothing.
type Tamper struct {
	Statement   func(*Statement)            // before it is signed
	Payload     func(json []byte) []byte    // the same, on its bytes
	PayloadType string                      // signed in place of application/vnd.in-toto+json
	Identity    func(*Identity)             // before the certificate is issued
	Template    func(*x509.Certificate)     // the certificate's template, before it is issued
	CA          *CA                         // issues in place of the lab's
	NoSCT       bool                        // the certificate has no certificate timestamp
	CT          []*CTLog                    // logs that sign certificate timestamps, in place of the lab's
	SCTIssuer   *CA                         // the certificate timestamp is for this issuer
	SCTTime     time.Time                   // time of the certificate timestamp
	SCTAfter    func(tbs *x509.Certificate) // changes the template after the certificate timestamp is made
	SigningKey  crypto.Signer               // signs the envelope, while certificate and log stay with the right key
	Signature   func(sig []byte) []byte     // the signature, before it is logged
	Envelope    func(*Envelope)             // the envelope, before it is logged
	Record      func(*Record)               // what the log is told
	LogTime     time.Time                   // when the entry is logged
	InLog       LogTamper                   // what the log does wrong
	MoreEntries func(*Entry) []*Entry       // entries for the bundle in place of the one made

	NoTimestamp bool
	TSA         *TSA            // stamps in place of the lab's
	StampTime   time.Time       // when the stamp is made
	StampOf     []byte          // stamped in place of the signature
	InStamp     TimestampTamper // what the timestamp authority does wrong

	Hint      string                   // key hint and keyid in place of the registry key's
	MediaType string                   // written over the bundle's, without changing its form
	Bundle    func(*Bundle)            // the finished bundle; nothing is signed again
	JSON      func(json []byte) []byte // the finished bundle's bytes
}

// Signed is the outcome of a signing.
type Signed struct {
	Bundle *Bundle
	JSON   []byte            // what is served
	Leaf   *x509.Certificate // nil where a bare key signed
	Time   time.Time         // when it was logged
}

// pae is DSSE's pre-authentication encoding.
func pae(payloadType string, payload []byte) []byte {
	b := append([]byte("DSSEv1 "), strconv.Itoa(len(payloadType))...)
	b = append(b, ' ')
	b = append(b, payloadType...)
	b = append(b, ' ')
	b = strconv.AppendInt(b, int64(len(payload)), 10)
	b = append(b, ' ')
	return append(b, payload...)
}

// NewKey is a fresh P-256 key of the lab, for a [Tamper] that needs a wrong one.
func (l *Lab) NewKey() crypto.Signer {
	return l.ecKey(elliptic.P256(), "fresh "+strconv.FormatUint(l.next(), 10))
}

// Sign holds a signing ceremony.
func (l *Lab) Sign(s Signing) (*Signed, error) {
	t := &s.Tamper
	if (s.Statement == nil) == (s.Artifact == nil) {
		return nil, errors.New("lab: a signing needs a statement or an artifact")
	}
	if s.At.IsZero() {
		s.At = l.Now()
	}
	if s.MediaType == "" {
		s.MediaType = MediaTypeV03
	}
	log, kind := s.logAndKind(l)

	out := &Signed{Bundle: &Bundle{MediaType: s.MediaType}, Time: s.At.Add(time.Second)}
	m := &out.Bundle.VerificationMaterial
	rec := &Record{Kind: kind, KeyDetails: "PKIX_ECDSA_P256_SHA_256"}

	// Who signs.
	var key crypto.Signer
	var keyID string
	if s.Key != nil {
		key, keyID = s.Key.key, or(t.Hint, s.Key.ID)
		rec.PublicKey = s.Key.SPKI()
		m.PublicKey = &PublicKeyHint{keyID}
	} else {
		leafKey := l.NewKey()
		leaf, err := l.certificate(leafKey.Public(), s.Identity, s.At, t)
		if err != nil {
			return nil, fmt.Errorf("lab: issuing a certificate: %w", err)
		}
		key, keyID, out.Leaf, rec.Certificate = leafKey, t.Hint, leaf, leaf.Raw
		if s.MediaType == MediaTypeV01 || s.MediaType == MediaTypeV02 {
			m.Chain = &Chain{[]RawCertificate{{leaf.Raw}}}
		} else {
			m.Certificate = &RawCertificate{leaf.Raw}
		}
	}
	if t.SigningKey != nil {
		key = t.SigningKey
	}

	// What is signed.
	signature := s.signContent(out.Bundle, rec, key, keyID)
	if e := out.Bundle.DSSEEnvelope; e != nil {
		rec.PayloadType, rec.Payload, rec.KeyID = e.PayloadType, e.Payload, keyID
		rec.SHA256 = sha256.Sum256(pae(e.PayloadType, e.Payload))
	}
	rec.Signature = signature

	// What the log says.
	if !t.LogTime.IsZero() {
		out.Time = t.LogTime
	}
	if t.Record != nil {
		t.Record(rec)
	}
	entry, err := log.add(rec, out.Time, &t.InLog)
	if err != nil {
		return nil, fmt.Errorf("lab: logging a signature: %w", err)
	}
	m.Entries = []*Entry{entry}
	if t.MoreEntries != nil {
		m.Entries = t.MoreEntries(entry)
	}

	// What the timestamp authority says.
	m.Timestamps = &Timestamps{[]Timestamp{}}
	if _, v2 := log.(*RekorV2); (s.Timestamp || v2) && !t.NoTimestamp {
		stamp, err := l.timestamp(signature, s.At.Add(time.Second), t)
		if err != nil {
			return nil, fmt.Errorf("lab: stamping a signature: %w", err)
		}
		m.Timestamps.RFC3161 = append(m.Timestamps.RFC3161, Timestamp{stamp})
	}

	if t.MediaType != "" {
		out.Bundle.MediaType = t.MediaType
	}
	if t.Bundle != nil {
		t.Bundle(out.Bundle)
	}
	out.JSON = marshal(out.Bundle)
	if t.JSON != nil {
		out.JSON = t.JSON(out.JSON)
	}
	return out, nil
}

func (s *Signing) logAndKind(l *Lab) (Log, KindVersion) {
	log, kind := s.Log, s.Kind
	if log == nil {
		log = l.Rekor
	}
	if kind == (KindVersion{}) {
		kind = DSSE
		if _, v2 := log.(*RekorV2); v2 {
			kind = HashedRekordV2
		} else if s.Statement == nil {
			kind = HashedRekord
		}
	}
	return log, kind
}

// signContent signs the statement or artifact, puts it into the bundle, and returns the signature to be logged.
func (s *Signing) signContent(b *Bundle, rec *Record, key crypto.Signer, keyID string) []byte {
	t := &s.Tamper
	change := t.Signature
	if change == nil {
		change = func(sig []byte) []byte { return sig }
	}
	if s.Statement == nil {
		rec.SHA256 = sha256.Sum256(s.Artifact)
		sig := change(signSHA256(key, s.Artifact))
		b.MessageSignature = &MessageSignature{Digest: MessageDigest{"SHA2_256", slices.Clone(rec.SHA256[:])}, Signature: sig}
		return sig
	}
	if t.Statement != nil {
		t.Statement(s.Statement)
	}
	payload := marshal(s.Statement)
	if t.Payload != nil {
		payload = t.Payload(payload)
	}
	payloadType := or(t.PayloadType, PayloadTypeInToto)
	sig := change(signSHA256(key, pae(payloadType, payload)))
	b.DSSEEnvelope = &Envelope{Payload: payload, PayloadType: payloadType, Signatures: []EnvelopeSignature{{sig, keyID}}}
	if t.Envelope != nil {
		t.Envelope(b.DSSEEnvelope)
	}
	if len(b.DSSEEnvelope.Signatures) > 0 {
		sig = b.DSSEEnvelope.Signatures[0].Sig
	}
	return sig
}

func (l *Lab) certificate(pub crypto.PublicKey, id Identity, at time.Time, t *Tamper) (*x509.Certificate, error) {
	id = id.clone()
	if t.Identity != nil {
		t.Identity(&id)
	}
	ca := l.CA
	if t.CA != nil {
		ca = t.CA
	}
	o := issueOptions{template: t.Template, ct: []*CTLog{l.CT}, sctTime: t.SCTTime, afterSCT: t.SCTAfter}
	if t.SCTIssuer != nil {
		o.sctIssuer = t.SCTIssuer.Intermediate
	}
	if t.CT != nil {
		o.ct = t.CT
	}
	if t.NoSCT {
		o.ct = nil
	}
	return ca.issue(pub, id, at, o)
}

func (l *Lab) timestamp(signature []byte, at time.Time, t *Tamper) ([]byte, error) {
	tsa, message := l.TSA, signature
	if t.TSA != nil {
		tsa = t.TSA
	}
	if t.StampOf != nil {
		message = t.StampOf
	}
	if !t.StampTime.IsZero() {
		at = t.StampTime
	}
	return tsa.stamp(message, at, &t.InStamp)
}

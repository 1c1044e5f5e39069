package sigstore

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"fmt"
	"net/url"
	"time"

	"assay/internal/sigstore/strictjson"
)

const (
	trustedRootMediaType = "application/vnd.dev.sigstore.trustedroot+json;version=0.1"
	maxTrustedRootSize   = 4 << 20
)

// A TrustedRoot holds the certificate authorities, logs and timestamp authorities that count (sigstore/protobuf-specs,
// sigstore_trustroot.proto). It is immutable and safe for concurrent use.
type TrustedRoot struct {
	fulcio []*authority
	tsas   []*authority
	logs   map[string]*log // by log ID, the raw bytes
	ctlogs map[string]*log
}

// A window is a span of time, both ends inclusive. A zero end is open.
type window struct{ start, end time.Time }

func (w window) covers(t time.Time) bool {
	return (w.start.IsZero() || !t.Before(w.start)) && (w.end.IsZero() || !t.After(w.end))
}

func (w window) String() string {
	end := func(t time.Time) string {
		if t.IsZero() {
			return "open"
		}
		return t.UTC().Format(time.RFC3339)
	}
	return end(w.start) + " to " + end(w.end)
}

// A log is a transparency log or a certificate transparency log.
type log struct {
	url    string
	host   string // host name of url, the origin of a Rekor v2 log's checkpoints
	id     []byte
	key    crypto.PublicKey // nil: of a kind that this package does not know
	hint   [4]byte          // key hint in checkpoints of Rekor v1: of SHA-256(SPKI)
	hintV2 [4]byte          // key hint in checkpoints of Rekor v2
	valid  window           // start is never zero
}

// ParseTrustedRoot reads a trusted_root.json, media type version 0.1. Members that it does not know are ignored; a log
// whose kind of key it does not know is kept as such, and nothing verifies by it. A log without start of validity is
// refused: it must not be taken as unbounded. Errors are *FormatError.
func ParseTrustedRoot(data []byte) (*TrustedRoot, error) {
	if len(data) > maxTrustedRootSize {
		return nil, &FormatError{Reason: reasonTooLarge, Detail: fmt.Sprintf("trusted root is larger than %d bytes", maxTrustedRootSize)}
	}
	p := rootParser{s: strictjson.New(data)}
	err := p.root()
	if err == nil {
		err = p.s.End()
	}
	if err != nil {
		return nil, formatError("parsing the trusted root", err)
	}
	if p.mediaType != trustedRootMediaType {
		return nil, &FormatError{Reason: reasonRootMediaType, Detail: fmt.Sprintf("trusted root has media type %q", clip(p.mediaType)), Unsupported: true}
	}
	r := &TrustedRoot{logs: make(map[string]*log), ctlogs: make(map[string]*log)}
	for i, raw := range p.tlogs {
		l, err := raw.parse()
		if err != nil {
			return nil, rootError("tlogs[%d]: %v", i, err)
		}
		r.logs[string(l.id)] = l
	}
	for i, raw := range p.ctlogs {
		l, err := raw.parse()
		if err != nil {
			return nil, rootError("ctlogs[%d]: %v", i, err)
		}
		r.ctlogs[string(l.id)] = l
	}
	for i, raw := range p.cas {
		a, err := newAuthority(raw, x509.ExtKeyUsageCodeSigning)
		if err != nil {
			return nil, rootError("certificateAuthorities[%d]: %v", i, err)
		}
		r.fulcio = append(r.fulcio, a)
	}
	for i, raw := range p.tsas {
		a, err := newAuthority(raw, x509.ExtKeyUsageTimeStamping)
		if err != nil {
			return nil, rootError("timestampAuthorities[%d]: %v", i, err)
		}
		r.tsas = append(r.tsas, a)
	}
	return r, nil
}

func rootError(format string, args ...any) error {
	return &FormatError{Reason: reasonRoot, Detail: "trusted root: " + fmt.Sprintf(format, args...)}
}

// rawLog and rawAuthority are what stands in the JSON.
type rawLog struct {
	url, hashAlgorithm, keyDetails string
	key, id                        []byte
	valid                          window
}

type rawAuthority struct {
	uri   string
	certs [][]byte // issuer first, root last
	valid window
}

type rootParser struct {
	s            *strictjson.Scanner
	mediaType    string
	tlogs        []rawLog
	ctlogs       []rawLog
	cas, tsas    []rawAuthority
	instances    int
	certificates int
}

const (
	maxInstances        = 256 // logs and authorities of a trusted root
	maxRootCertificates = 1024
)

// object reads an object, or null, calling member for each member that is not null; member skips what it does not know.
func (p *rootParser) object(member func(name string) error) error {
	if p.s.Null() {
		return nil
	}
	return p.s.Object(func(name []byte) error {
		if p.s.Null() {
			return nil
		}
		return member(string(name))
	})
}

func (p *rootParser) root() error {
	return p.object(func(name string) (err error) {
		switch name {
		case "mediaType":
			p.mediaType, err = p.s.String()
		case "tlogs":
			p.tlogs, err = p.logs()
		case "ctlogs":
			p.ctlogs, err = p.logs()
		case "certificateAuthorities":
			p.cas, err = p.authorities()
		case "timestampAuthorities":
			p.tsas, err = p.authorities()
		default:
			err = p.s.Skip()
		}
		return err
	})
}

func (p *rootParser) instance() error {
	if p.instances++; p.instances > maxInstances {
		return &FormatError{Reason: reasonTooMany, Detail: fmt.Sprintf("trusted root has more than %d logs and authorities", maxInstances)}
	}
	return nil
}

func (p *rootParser) logs() (logs []rawLog, err error) {
	err = p.s.Array(func() error {
		if err := p.instance(); err != nil {
			return err
		}
		logs = append(logs, rawLog{})
		l := &logs[len(logs)-1]
		return p.object(func(name string) (err error) {
			switch name {
			case "baseUrl":
				l.url, err = p.s.String()
			case "hashAlgorithm":
				l.hashAlgorithm, err = p.s.String()
			case "publicKey":
				err = p.object(func(name string) (err error) {
					switch name {
					case "rawBytes":
						l.key, err = p.s.Base64()
					case "keyDetails":
						l.keyDetails, err = p.s.String()
					case "validFor":
						l.valid, err = p.window()
					default:
						err = p.s.Skip()
					}
					return err
				})
			case "logId":
				err = p.object(func(name string) (err error) {
					if name == "keyId" {
						l.id, err = p.s.Base64()
						return err
					}
					return p.s.Skip()
				})
			default:
				err = p.s.Skip()
			}
			return err
		})
	})
	return logs, err
}

func (p *rootParser) authorities() (authorities []rawAuthority, err error) {
	err = p.s.Array(func() error {
		if err := p.instance(); err != nil {
			return err
		}
		authorities = append(authorities, rawAuthority{})
		a := &authorities[len(authorities)-1]
		return p.object(func(name string) (err error) {
			switch name {
			case "uri":
				a.uri, err = p.s.String()
			case "certChain":
				err = p.object(func(name string) error {
					if name != "certificates" {
						return p.s.Skip()
					}
					return p.s.Array(func() error {
						if p.certificates++; p.certificates > maxRootCertificates {
							return &FormatError{Reason: reasonTooMany, Detail: fmt.Sprintf("trusted root has more than %d certificates", maxRootCertificates)}
						}
						a.certs = append(a.certs, nil)
						return p.object(func(name string) (err error) {
							if name != "rawBytes" {
								return p.s.Skip()
							}
							a.certs[len(a.certs)-1], err = p.s.Base64()
							return err
						})
					})
				})
			case "validFor":
				a.valid, err = p.window()
			default:
				err = p.s.Skip()
			}
			return err
		})
	})
	return authorities, err
}

func (p *rootParser) window() (w window, err error) {
	instant := func() (time.Time, error) {
		s, err := p.s.String()
		if err != nil {
			return time.Time{}, err
		}
		t, err := time.Parse(time.RFC3339Nano, s)
		if err != nil {
			return time.Time{}, rootError("%q is not a time as RFC 3339 has it", clip(s))
		}
		return t.UTC(), nil
	}
	err = p.object(func(name string) (err error) {
		switch name {
		case "start":
			w.start, err = instant()
		case "end":
			w.end, err = instant()
		default:
			err = p.s.Skip()
		}
		return err
	})
	return w, err
}

// parse turns the JSON of a log into a log. Which kinds of key there are follows sigstore-go, pkg/root/trusted_root.go.
func (raw *rawLog) parse() (*log, error) {
	if raw.hashAlgorithm != "SHA2_256" {
		return nil, fmt.Errorf("hash algorithm of the tree is %q", clip(raw.hashAlgorithm))
	}
	if len(raw.id) == 0 {
		return nil, fmt.Errorf("no log ID")
	}
	if len(raw.key) == 0 {
		return nil, fmt.Errorf("no public key")
	}
	if raw.valid.start.IsZero() {
		return nil, fmt.Errorf("no start of validity")
	}
	l := &log{url: raw.url, id: raw.id, valid: raw.valid}
	if u, err := url.Parse(raw.url); err == nil {
		l.host = u.Hostname()
	}
	var err error
	switch raw.keyDetails {
	case "PKIX_ECDSA_P256_SHA_256", "PKIX_ECDSA_P384_SHA_384", "PKIX_ECDSA_P521_SHA_512", "PKIX_ED25519",
		"PKIX_RSA_PKCS1V15_2048_SHA256", "PKIX_RSA_PKCS1V15_3072_SHA256", "PKIX_RSA_PKCS1V15_4096_SHA256":
		l.key, err = x509.ParsePKIXPublicKey(raw.key)
	case "PKCS1_RSA_PKCS1V5": // deprecated, in use by Sigstore's staging instance
		l.key, err = x509.ParsePKCS1PublicKey(raw.key)
	default:
		return l, nil
	}
	if err != nil {
		return nil, fmt.Errorf("public key: %v", err)
	}
	matches := false
	switch key := l.key.(type) {
	case *ecdsa.PublicKey:
		matches = raw.keyDetails == ecdsaDetails(key)
	case *rsa.PublicKey:
		matches = bytes.Contains([]byte(raw.keyDetails), []byte("_RSA_"))
	case ed25519.PublicKey:
		matches = raw.keyDetails == "PKIX_ED25519"
	}
	if !matches {
		return nil, fmt.Errorf("public key is not %s", raw.keyDetails)
	}
	l.hint, l.hintV2 = keyHints(l.host, l.key)
	return l, nil
}

// ecdsaDetails names a key as protobuf-specs does (sigstore_common.proto, PublicKeyDetails), "" for unknown curves.
func ecdsaDetails(key *ecdsa.PublicKey) string {
	switch key.Curve {
	case elliptic.P256():
		return "PKIX_ECDSA_P256_SHA_256"
	case elliptic.P384():
		return "PKIX_ECDSA_P384_SHA_384"
	case elliptic.P521():
		return "PKIX_ECDSA_P521_SHA_512"
	}
	return ""
}

// keyHints returns the key hints in signature lines of checkpoints: of Rekor v1, and of Rekor v2 (C2SP signed-note for
// Ed25519; rekor-tiles, pkg/note, for ECDSA). Rekor v1 also uses SHA-256 of the SPKI for RSA and Ed25519.
func keyHints(origin string, key crypto.PublicKey) (v1, v2 [4]byte) {
	spki, err := x509.MarshalPKIXPublicKey(key)
	if err != nil {
		return v1, v2
	}
	sum := sha256.Sum256(spki)
	copy(v1[:], sum[:])
	switch key := key.(type) {
	case ed25519.PublicKey:
		sum = sha256.Sum256(append([]byte(origin+"\n\x01"), key...))
	case *rsa.PublicKey:
		sum = sha256.Sum256(append([]byte(origin+"\n\xffPKIX-RSA-PKCS#1v1.5"), spki...))
	}
	copy(v2[:], sum[:])
	return v1, v2
}

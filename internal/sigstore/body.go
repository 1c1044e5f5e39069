package sigstore

import (
	"bytes"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"encoding/pem"
	"errors"
	"fmt"

	"assay/internal/sigstore/strictjson"
)

// A body is what an entry of a transparency log says: who signed what.
type body struct {
	kind, version string
	signature     []byte
	certificate   []byte // DER; nil if the entry names a key
	key           []byte // DER of a SubjectPublicKeyInfo; nil if the entry has a certificate
	hashAlgorithm string // of hash, as the entry spells it
	hash          []byte
	keyDetails    string // Rekor v2 only

	want *signerText // what to compare the certificate or key with before decoding it; may be nil
	room [64]byte    // for hash
}

// A signerText is how PEM writes the signer's certificate or key. An entry that is right has it, so that comparing takes
// the place of decoding.
type signerText struct {
	der         []byte
	certificate bool
	text        []byte // base64 of der
}

// newSignerText returns the text of a certificate or key, appended to buf.
func newSignerText(buf, der []byte, certificate bool) signerText {
	return signerText{der, certificate, base64.StdEncoding.AppendEncode(buf, der)}
}

// is reports whether block is a PEM block of the certificate or key, whatever the length of its lines. Rekor passes on
// what it was given: lines of 64 characters, or one line, with or without a newline at the end.
func (t *signerText) is(block []byte) bool {
	begin, end := "-----BEGIN PUBLIC KEY-----\n", "-----END PUBLIC KEY-----"
	if t.certificate {
		begin, end = "-----BEGIN CERTIFICATE-----\n", "-----END CERTIFICATE-----"
	}
	block, begins := bytes.CutPrefix(block, []byte(begin))
	block, ends := bytes.CutSuffix(bytes.TrimSuffix(block, []byte{'\n'}), []byte(end))
	if !begins || !ends {
		return false
	}
	rest := t.text
	for len(block) > 0 {
		var line []byte
		var newline, prefix bool
		line, block, newline = bytes.Cut(block, []byte{'\n'})
		rest, prefix = bytes.CutPrefix(rest, line)
		if !newline || !prefix || len(line) == 0 {
			return false
		}
	}
	return len(rest) == 0
}

// An entryKind reads the spec of one kind and version of entry.
type entryKind struct {
	kind, version string
	// envelope and message say which content of a bundle the kind is for.
	envelope, message bool
	rekorV2           bool
	refused           string // the reason why entries of this kind are never taken; then spec is nil
	spec              func(s *strictjson.Scanner, b *body) error
}

// entryKinds lists the kinds of entries known. Those of Rekor v1 are what sigstore-go 1.3.0 takes (pkg/tlog/entry.go).
// intoto 0.0.1 is not among them: it names no signature that could be compared with the bundle's.
var entryKinds = []entryKind{
	{kind: "intoto", version: "0.0.2", envelope: true, spec: intotoSpec},
	{kind: "dsse", version: "0.0.1", envelope: true, spec: dsseSpec},
	{kind: "hashedrekord", version: "0.0.1", message: true, spec: hashedRekordSpec},
	{kind: "hashedrekord", version: "0.0.2", envelope: true, message: true, rekorV2: true, spec: hashedRekordV2Spec},
	{kind: "intoto", version: "0.0.1", refused: reasonEntryUnbound},
	{kind: "dsse", version: "0.0.2", refused: reasonEntryWithdrawn},
}

func findKind(kind, version string) *entryKind {
	for i := range entryKinds {
		if entryKinds[i].kind == kind && entryKinds[i].version == version {
			return &entryKinds[i]
		}
	}
	return nil
}

// parseBody reads the canonicalized body of an entry of kind k. Members that say nothing about who signed what are
// passed over. Where k is nil or refused, or the body is of another kind, it reads kind and version only. want may be
// nil. The result is part of sc.
func (sc *scratch) parseBody(data []byte, k *entryKind, want *signerText) (*body, error) {
	if k != nil && k.spec != nil {
		b, err := sc.readBody(data, k.spec, want)
		if err == nil && b.kind == k.kind && b.version == k.version {
			if len(b.signature) == 0 || len(b.hash) == 0 || b.certificate == nil && b.key == nil {
				return nil, errors.New("signature, hash or key is missing")
			}
			return b, nil
		}
		// It may be of another kind, which comes first.
		if other, e := sc.readBody(data, skipSpec, nil); e == nil && (other.kind != k.kind || other.version != k.version) {
			return other, nil
		}
		return nil, err
	}
	return sc.readBody(data, skipSpec, nil)
}

func skipSpec(s *strictjson.Scanner, _ *body) error { return s.Skip() }

func (sc *scratch) readBody(data []byte, spec func(*strictjson.Scanner, *body) error, want *signerText) (*body, error) {
	b := &sc.body
	*b = body{want: want}
	s := sc.scan(data)
	err := s.Object(func(name []byte) (err error) {
		switch string(name) {
		case "kind":
			b.kind, err = text(s)
		case "apiVersion":
			b.version, err = text(s)
		case "spec":
			err = spec(s, b)
		default:
			err = s.Skip()
		}
		return err
	})
	if err == nil {
		err = s.End()
	}
	if err != nil {
		return nil, err
	}
	return b, nil
}

// text reads a string, and takes no memory for those that occur in most bundles.
func text(s *strictjson.Scanner) (string, error) {
	b, err := s.Bytes()
	switch string(b) {
	case "intoto":
		return "intoto", err
	case "dsse":
		return "dsse", err
	case "hashedrekord":
		return "hashedrekord", err
	case "0.0.1":
		return "0.0.1", err
	case "0.0.2":
		return "0.0.2", err
	case "sha256":
		return "sha256", err
	case "SHA2_256":
		return "SHA2_256", err
	case mediaTypeV01:
		return mediaTypeV01, err
	case mediaTypeV02:
		return mediaTypeV02, err
	case mediaTypeV03:
		return mediaTypeV03, err
	case InTotoPayloadType:
		return InTotoPayloadType, err
	case StatementV01:
		return StatementV01, err
	case StatementV1:
		return StatementV1, err
	}
	return string(b), err
}

// object reads an object, which must be one, and calls member for each name; what member does not know is skipped.
func object(s *strictjson.Scanner, member func(name []byte) (known bool, err error)) error {
	return s.Object(func(name []byte) error {
		known, err := member(name)
		if err == nil && !known {
			err = s.Skip()
		}
		return err
	})
}

// hash reads {"algorithm": "sha256", "value": "<hex>"}.
func (b *body) readHash(s *strictjson.Scanner) error {
	return object(s, func(name []byte) (_ bool, err error) {
		switch string(name) {
		case "algorithm":
			b.hashAlgorithm, err = text(s)
			return true, err
		case "value":
			var text []byte
			if text, err = s.Bytes(); err == nil && len(text) > 2*len(b.room) {
				return true, errors.New("hash is longer than any that is known")
			}
			if err == nil {
				var n int
				n, err = hex.Decode(b.room[:], text)
				b.hash = b.room[:n]
			}
			return true, err
		}
		return false, nil
	})
}

// readVerifier reads base64 of the PEM of a certificate or a public key.
func (b *body) readVerifier(s *strictjson.Scanner) error {
	text, err := s.Base64()
	if err != nil {
		return err
	}
	if b.want != nil && b.want.is(text) {
		if b.want.certificate {
			b.certificate = b.want.der
		} else {
			b.key = b.want.der
		}
		return nil
	}
	block, rest := pem.Decode(text)
	if block == nil || len(bytes.TrimSpace(rest)) > 0 {
		return errors.New("key is not one PEM block")
	}
	switch block.Type {
	case "CERTIFICATE":
		b.certificate = block.Bytes
	case "PUBLIC KEY":
		b.key = block.Bytes
	default:
		return fmt.Errorf("key is a PEM block of type %q", clip(block.Type))
	}
	return nil
}

// one reads an array of exactly one object.
func one(s *strictjson.Scanner, member func(name []byte) (bool, error)) error {
	n := 0
	err := s.Array(func() error {
		if n++; n > 1 {
			return errBodySignatures
		}
		return object(s, member)
	})
	if err == nil && n == 0 {
		err = errBodySignatures
	}
	return err
}

var errBodySignatures = errors.New("entry does not have exactly one signature")

// intotoSpec reads {"content": {"envelope": {"signatures": [{"sig", "publicKey"}]}, "payloadHash"}} (sigstore/rekor,
// pkg/types/intoto/v0.0.2). The signature is base64 of base64.
func intotoSpec(s *strictjson.Scanner, b *body) error {
	return object(s, func(name []byte) (bool, error) {
		if string(name) != "content" {
			return false, nil
		}
		return true, object(s, func(name []byte) (bool, error) {
			switch string(name) {
			case "payloadHash":
				return true, b.readHash(s)
			case "envelope":
				return true, object(s, func(name []byte) (bool, error) {
					if string(name) != "signatures" {
						return false, nil
					}
					return true, one(s, func(name []byte) (bool, error) {
						switch string(name) {
						case "sig":
							text, err := s.Base64()
							if err != nil {
								return true, err
							}
							var ok bool
							if b.signature, ok = strictjson.DecodeBase64(text); !ok {
								return true, errors.New("signature is not base64 of base64")
							}
							return true, nil
						case "publicKey":
							return true, b.readVerifier(s)
						}
						return false, nil
					})
				})
			}
			return false, nil
		})
	})
}

// dsseSpec reads {"payloadHash", "signatures": [{"signature", "verifier"}]} (sigstore/rekor, pkg/types/dsse/v0.0.1).
func dsseSpec(s *strictjson.Scanner, b *body) error {
	return object(s, func(name []byte) (bool, error) {
		switch string(name) {
		case "payloadHash":
			return true, b.readHash(s)
		case "signatures":
			return true, one(s, func(name []byte) (_ bool, err error) {
				switch string(name) {
				case "signature":
					b.signature, err = s.Base64()
					return true, err
				case "verifier":
					return true, b.readVerifier(s)
				}
				return false, nil
			})
		}
		return false, nil
	})
}

// hashedRekordSpec reads {"data": {"hash"}, "signature": {"content", "publicKey": {"content"}}} (sigstore/rekor,
// pkg/types/hashedrekord/v0.0.1).
func hashedRekordSpec(s *strictjson.Scanner, b *body) error {
	return object(s, func(name []byte) (bool, error) {
		switch string(name) {
		case "data":
			return true, object(s, func(name []byte) (bool, error) {
				if string(name) == "hash" {
					return true, b.readHash(s)
				}
				return false, nil
			})
		case "signature":
			return true, object(s, func(name []byte) (_ bool, err error) {
				switch string(name) {
				case "content":
					b.signature, err = s.Base64()
					return true, err
				case "publicKey":
					return true, object(s, func(name []byte) (bool, error) {
						if string(name) == "content" {
							return true, b.readVerifier(s)
						}
						return false, nil
					})
				}
				return false, nil
			})
		}
		return false, nil
	})
}

// hashedRekordV2Spec reads {"hashedRekordV002": {"data": {"algorithm", "digest"}, "signature": {"content", "verifier":
// {"keyDetails", "x509Certificate" or "publicKey": {"rawBytes"}}}}} (sigstore/rekor-tiles, api/proto/rekor/v2).
func hashedRekordV2Spec(s *strictjson.Scanner, b *body) error {
	raw := func(to *[]byte) error {
		return object(s, func(name []byte) (_ bool, err error) {
			if string(name) != "rawBytes" {
				return false, nil
			}
			*to, err = s.Base64()
			return true, err
		})
	}
	return object(s, func(name []byte) (bool, error) {
		if string(name) != "hashedRekordV002" {
			return false, nil
		}
		return true, object(s, func(name []byte) (bool, error) {
			switch string(name) {
			case "data":
				return true, object(s, func(name []byte) (_ bool, err error) {
					switch string(name) {
					case "algorithm":
						b.hashAlgorithm, err = text(s)
						return true, err
					case "digest":
						b.hash, err = s.Base64()
						return true, err
					}
					return false, nil
				})
			case "signature":
				return true, object(s, func(name []byte) (_ bool, err error) {
					switch string(name) {
					case "content":
						b.signature, err = s.Base64()
						return true, err
					case "verifier":
						return true, object(s, func(name []byte) (_ bool, err error) {
							switch string(name) {
							case "keyDetails":
								b.keyDetails, err = text(s)
								return true, err
							case "x509Certificate":
								return true, raw(&b.certificate)
							case "publicKey":
								return true, raw(&b.key)
							}
							return false, nil
						})
					}
					return false, nil
				})
			}
			return false, nil
		})
	})
}

// canonicalV2 writes a hashedrekord 0.0.2 entry as Rekor v2 does: JSON by RFC 8785.
func (b *body) canonicalV2() []byte {
	verifier, der := "x509Certificate", b.certificate
	if b.certificate == nil {
		verifier, der = "publicKey", b.key
	}
	out := make([]byte, 0, 512+base64.StdEncoding.EncodedLen(len(der)))
	out = append(out, `{"apiVersion":"0.0.2","kind":"hashedrekord","spec":{"hashedRekordV002":{"data":{"algorithm":"`...)
	out = append(out, b.hashAlgorithm...)
	out = append(out, `","digest":"`...)
	out = base64.StdEncoding.AppendEncode(out, b.hash)
	out = append(out, `"},"signature":{"content":"`...)
	out = base64.StdEncoding.AppendEncode(out, b.signature)
	out = append(out, `","verifier":{`...)
	if verifier == "publicKey" {
		// Names in order: keyDetails, then publicKey or x509Certificate; k comes before both.
		out = append(out, `"keyDetails":"`+b.keyDetails+`","publicKey":{"rawBytes":"`...)
	} else {
		out = append(out, `"keyDetails":"`+b.keyDetails+`","x509Certificate":{"rawBytes":"`...)
	}
	out = base64.StdEncoding.AppendEncode(out, der)
	return append(out, `"}}}}}}`...)
}

func sum256(b []byte) []byte {
	sum := sha256.Sum256(b)
	return sum[:]
}

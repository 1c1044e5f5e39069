package sigstore

import (
	"errors"
	"fmt"
	"strings"

	"assay/internal/sigstore/strictjson"
)

// Limits on what a bundle may hold. MaxEntries and MaxTimestamps are those of sigstore-go (internal/limits).
const (
	MaxBundleSize = 32 << 20 // bytes of JSON
	MaxEntries    = 32       // log entries
	MaxTimestamps = 32       // RFC 3161 timestamps
	maxHashes     = 64       // of one inclusion proof: a tree of 2^63 entries is no deeper
	maxCerts      = 16       // certificates of a chain; all but the first are ignored
)

// Media types of bundles (sigstore/protobuf-specs, sigstore_bundle.proto). Version 0.3 has two spellings.
const (
	mediaTypePrefix = "application/vnd.dev.sigstore.bundle"
	mediaTypeV01    = mediaTypePrefix + "+json;version=0.1"
	mediaTypeV02    = mediaTypePrefix + "+json;version=0.2"
	mediaTypeV03Old = mediaTypePrefix + "+json;version=0.3"
	mediaTypeV03    = mediaTypePrefix + ".v0.3+json"
)

// A Bundle is a parsed Sigstore bundle (sigstore/protobuf-specs, sigstore_bundle.proto), as [ParseBundle] returns it.
// Exactly one of Envelope and Message is set. Nothing in it is verified.
type Bundle struct {
	MediaType  string // as it stands in the bundle
	Leaf       []byte // DER of the leaf certificate; nil for a key-signed bundle
	KeyHint    string // publicKey.hint of a key-signed bundle; may be empty
	Envelope   *Envelope
	Message    *MessageSignature
	Entries    []LogEntry
	Timestamps [][]byte // RFC 3161 TimeStampResp, DER

	material    material
	looseBase64 int // where the first base64 stands that is not written strictly; 0: nowhere
	// unknownMember says which member of the bundle its format does not know, the first of them; "" for none.
	unknownMember string
}

// material says which verification material a bundle holds.
type material uint8

const (
	materialNone material = iota
	materialKey
	materialCertificate
	materialChain
)

// KeySigned reports whether the bundle names a public key and holds no certificate.
func (b *Bundle) KeySigned() bool { return b.material == materialKey }

// An Envelope is a DSSE envelope with exactly one signature (secure-systems-lab/dsse, envelope.md).
type Envelope struct {
	PayloadType string
	Payload     []byte // decoded
	Signature   []byte // decoded
	KeyID       string // unauthenticated hint; empty if absent
}

// A MessageSignature is a signature over an artifact itself.
type MessageSignature struct {
	Algorithm string // of Digest, as protobuf-specs names it, such as "SHA2_256"; empty if absent
	Digest    []byte // unauthenticated copy of the artifact's digest; nil if absent
	Signature []byte
}

// A LogEntry is one entry of a transparency log, as the bundle tells it.
type LogEntry struct {
	LogIndex       int64
	LogID          []byte
	Kind, Version  string
	IntegratedTime int64  // seconds since 1970; 0 if absent
	SET            []byte // signed entry timestamp; nil if absent
	Proof          *InclusionProof
	Body           []byte // canonicalizedBody, decoded
}

// An InclusionProof is a Merkle inclusion proof with the checkpoint that it leads to.
type InclusionProof struct {
	LogIndex   int64
	RootHash   []byte // nil if absent
	TreeSize   int64  // 0 if absent
	Hashes     [][]byte
	Checkpoint string // signed note; empty if absent
}

// A FormatError says why bytes are not an acceptable bundle, statement or trusted root.
type FormatError struct {
	Reason      string // stable code, see [Reasons]
	Detail      string // may quote hostile text
	Unsupported bool   // newer than this package knows, rather than malformed
}

func (e *FormatError) Error() string { return e.Reason + ": " + e.Detail }

// formatError turns an error of reading JSON into a FormatError. It passes a FormatError on.
func formatError(doing string, err error) error {
	var format *FormatError
	var duplicate *strictjson.DuplicateError
	var base64 *strictjson.Base64Error
	switch {
	case errors.As(err, &format):
		return format
	case errors.As(err, &duplicate):
		return &FormatError{Reason: reasonJSONDuplicate, Detail: doing + ": " + err.Error()}
	case errors.As(err, &base64):
		return &FormatError{Reason: reasonBase64, Detail: doing + ": " + err.Error()}
	}
	return &FormatError{Reason: reasonJSON, Detail: doing + ": " + err.Error()}
}

// ParseBundle reads a bundle in its JSON form. It is as strict as the JSON mapping of Protocol Buffers, and stricter
// where that admits several spellings of one value; see [Reasons]. Members that the format does not know, what
// a media type demands of the content, and base64 written carelessly are for [TrustedRoot.Verify] to judge, so that
// it can tell what else is wrong. Errors are *FormatError.
func ParseBundle(data []byte) (*Bundle, error) {
	if len(data) > MaxBundleSize {
		return nil, &FormatError{Reason: reasonTooLarge, Detail: fmt.Sprintf("bundle is larger than %d bytes", MaxBundleSize)}
	}
	b := new(Bundle)
	sc := getScratch()
	defer sc.release()
	sc.json.Reset(data, nil) // the bundle keeps what is decoded
	r := reader{&sc.json, b}
	err := r.bundle(b)
	if err == nil {
		err = r.End()
	}
	if err != nil {
		// A bundle of a newer version may hold anything. Say that, rather than what it stumbled over.
		if unsupported := checkMediaType(findMediaType(data)); unsupported != nil && unsupported.Unsupported {
			return nil, unsupported
		}
		return nil, formatError("parsing the bundle", err)
	}
	if err := checkMediaType(b.MediaType); err != nil {
		return nil, err
	}
	if b.Envelope == nil && b.Message == nil {
		if b.unknownMember != "" { // perhaps the content, by another name
			return nil, &FormatError{Reason: reasonJSONUnknown, Detail: b.unknownMember}
		}
		return nil, &FormatError{Reason: reasonContentMissing, Detail: "bundle has neither dsseEnvelope nor messageSignature"}
	}
	return b, nil
}

func checkMediaType(s string) *FormatError {
	switch s {
	case mediaTypeV01, mediaTypeV02, mediaTypeV03Old, mediaTypeV03:
		return nil
	}
	return &FormatError{
		Reason:      reasonMediaType,
		Detail:      fmt.Sprintf("bundle media type is %q", clip(s)),
		Unsupported: newerMediaType(s),
	}
}

// newerMediaType reports whether s names a version of bundles above 0.3, in either spelling.
func newerMediaType(s string) bool {
	version, ok := strings.CutPrefix(s, mediaTypePrefix)
	if !ok {
		return false
	}
	if v, ok := strings.CutPrefix(version, "+json;version="); ok {
		version = v
	} else if v, ok := strings.CutPrefix(version, ".v"); ok && strings.HasSuffix(v, "+json") {
		version = strings.TrimSuffix(v, "+json")
	} else {
		return false
	}
	major, rest, _ := strings.Cut(version, ".")
	minor, _, _ := strings.Cut(rest, ".")
	if !number(major) || rest != "" && !number(minor) {
		return false
	}
	if major != "0" {
		return true
	}
	return len(minor) > 1 || minor > "3" || strings.Count(version, ".") > 1
}

// number reports whether s is a decimal number without leading zero.
func number(s string) bool {
	for _, c := range []byte(s) {
		if c < '0' || c > '9' {
			return false
		}
	}
	return s == "0" || s != "" && s[0] != '0' && len(s) < 10
}

// findMediaType returns the mediaType of a JSON object, or "" where there is none.
func findMediaType(data []byte) string {
	s := strictjson.New(data)
	found := ""
	err := s.Object(func(name []byte) error {
		if string(name) == "mediaType" && s.Kind() == '"' {
			var err error
			found, err = s.String()
			return err
		}
		return s.Skip()
	})
	if err != nil {
		return ""
	}
	return found
}

// A reader reads the messages of a bundle.
type reader struct {
	*strictjson.Scanner
	to *Bundle
}

// errUnknownMember is what the member function of [reader.message] returns for a name it does not know.
var errUnknownMember = errors.New("unknown member")

// message reads an object and calls member for each name whose value is not null: a member that is null is as good as
// absent. The names that member knows are listed in members, separated by spaces.
func (r reader) message(what, members string, member func(name []byte) error) error {
	return r.Object(func(name []byte) error {
		if r.Null() {
			if !listed(members, name) {
				r.unknown(what, name)
			}
			return nil
		}
		err := member(name)
		if err == errUnknownMember {
			r.unknown(what, name)
			err = r.Skip()
		}
		return err
	})
}

// unknown notes a member that the format does not know. As with careless base64, the other steps may have more to say.
func (r reader) unknown(what string, name []byte) {
	if r.to.unknownMember == "" {
		r.to.unknownMember = fmt.Sprintf("%s has an unknown member %q", what, clip(string(name)))
	}
}

func listed(members string, name []byte) bool {
	for members != "" {
		var member string
		if member, members, _ = strings.Cut(members, " "); member == string(name) {
			return true
		}
	}
	return false
}

// single reads an object of one member.
func (r reader) single(what, member string, read func() error) error {
	return r.message(what, member, func(name []byte) error {
		if string(name) == member {
			return read()
		}
		return errUnknownMember
	})
}

func (r reader) string(to *string) (err error) {
	*to, err = text(r.Scanner)
	return err
}

// base64 decodes also what is not written strictly: that fails the Format step, not the parsing, so that the other steps
// can say what else is wrong.
func (r reader) base64(to *[]byte) (err error) {
	at := r.Offset()
	var strict bool
	*to, strict, err = r.LooseBase64()
	if err == nil && !strict && r.to.looseBase64 == 0 {
		r.to.looseBase64 = at
	}
	return err
}

func (r reader) int64(to *int64) (err error) {
	*to, err = r.Int64()
	return err
}

var (
	errTwoContents  = &FormatError{Reason: reasonContentTwice, Detail: "bundle has both dsseEnvelope and messageSignature"}
	errTwoMaterials = &FormatError{Reason: reasonMaterialTwice, Detail: "bundle has more than one of publicKey, certificate and x509CertificateChain"}
)

func tooMany(what string, max int) error {
	return &FormatError{Reason: reasonTooMany, Detail: fmt.Sprintf("bundle has more than %d %s", max, what)}
}

func (r reader) bundle(b *Bundle) error {
	return r.message("bundle", "mediaType verificationMaterial dsseEnvelope messageSignature", func(name []byte) error {
		switch string(name) {
		case "mediaType":
			return r.string(&b.MediaType)
		case "verificationMaterial":
			return r.verificationMaterial(b)
		case "dsseEnvelope":
			if b.Message != nil {
				return errTwoContents
			}
			b.Envelope = new(Envelope)
			return r.envelope(b.Envelope)
		case "messageSignature":
			if b.Envelope != nil {
				return errTwoContents
			}
			b.Message = new(MessageSignature)
			return r.messageSignature(b.Message)
		}
		return errUnknownMember
	})
}

func (r reader) verificationMaterial(b *Bundle) error {
	const members = "publicKey certificate x509CertificateChain tlogEntries timestampVerificationData"
	return r.message("verificationMaterial", members, func(name []byte) error {
		found := materialNone
		switch string(name) {
		case "publicKey":
			found = materialKey
		case "certificate":
			found = materialCertificate
		case "x509CertificateChain":
			found = materialChain
		case "tlogEntries":
			return r.Array(func() error {
				if len(b.Entries) == MaxEntries {
					return tooMany("log entries", MaxEntries)
				}
				b.Entries = append(b.Entries, LogEntry{})
				return r.logEntry(&b.Entries[len(b.Entries)-1])
			})
		case "timestampVerificationData":
			return r.single("timestampVerificationData", "rfc3161Timestamps", func() error { return r.timestamps(b) })
		default:
			return errUnknownMember
		}
		if b.material != materialNone {
			return errTwoMaterials
		}
		switch b.material = found; found {
		case materialKey:
			return r.single("publicKey", "hint", func() error { return r.string(&b.KeyHint) })
		case materialCertificate:
			return r.certificate(&b.Leaf)
		default:
			return r.single("x509CertificateChain", "certificates", func() error { return r.chain(b) })
		}
	})
}

// chain reads the certificates of a chain. Those after the leaf have to be well-formed as JSON, no more: a chain is
// built from the trusted root alone.
func (r reader) chain(b *Bundle) error {
	n := 0
	return r.Array(func() error {
		if n++; n > maxCerts {
			return tooMany("certificates", maxCerts)
		}
		if n == 1 {
			return r.certificate(&b.Leaf)
		}
		var ignored []byte
		return r.certificate(&ignored)
	})
}

func (r reader) certificate(to *[]byte) error {
	return r.single("certificate", "rawBytes", func() error { return r.base64(to) })
}

func (r reader) timestamps(b *Bundle) error {
	return r.Array(func() error {
		if len(b.Timestamps) == MaxTimestamps {
			return tooMany("timestamps", MaxTimestamps)
		}
		b.Timestamps = append(b.Timestamps, nil)
		return r.single("timestamp", "signedTimestamp", func() error { return r.base64(&b.Timestamps[len(b.Timestamps)-1]) })
	})
}

func (r reader) logEntry(e *LogEntry) error {
	const members = "logIndex logId kindVersion integratedTime inclusionPromise inclusionProof canonicalizedBody"
	err := r.message("log entry", members, func(name []byte) error {
		switch string(name) {
		case "logIndex":
			return r.int64(&e.LogIndex)
		case "logId":
			return r.single("logId", "keyId", func() error { return r.base64(&e.LogID) })
		case "kindVersion":
			return r.message("kindVersion", "kind version", func(name []byte) error {
				switch string(name) {
				case "kind":
					return r.string(&e.Kind)
				case "version":
					return r.string(&e.Version)
				}
				return errUnknownMember
			})
		case "integratedTime":
			return r.int64(&e.IntegratedTime)
		case "inclusionPromise":
			return r.single("inclusionPromise", "signedEntryTimestamp", func() error { return r.base64(&e.SET) })
		case "inclusionProof":
			e.Proof = new(InclusionProof)
			return r.inclusionProof(e.Proof)
		case "canonicalizedBody":
			return r.base64(&e.Body)
		}
		return errUnknownMember
	})
	if len(e.SET) == 0 {
		e.SET = nil
	}
	if err == nil && (e.LogIndex < 0 || e.IntegratedTime < 0 || e.Proof != nil && (e.Proof.LogIndex < 0 || e.Proof.TreeSize < 0)) {
		return &FormatError{Reason: reasonNegative, Detail: "log entry has a negative index, size or time"}
	}
	return err
}

func (r reader) inclusionProof(p *InclusionProof) error {
	return r.message("inclusionProof", "logIndex rootHash treeSize hashes checkpoint", func(name []byte) error {
		switch string(name) {
		case "logIndex":
			return r.int64(&p.LogIndex)
		case "rootHash":
			return r.base64(&p.RootHash)
		case "treeSize":
			return r.int64(&p.TreeSize)
		case "hashes":
			return r.Array(func() error {
				if len(p.Hashes) == maxHashes {
					return tooMany("hashes in an inclusion proof", maxHashes)
				}
				p.Hashes = append(p.Hashes, nil)
				return r.base64(&p.Hashes[len(p.Hashes)-1])
			})
		case "checkpoint":
			return r.single("checkpoint", "envelope", func() error { return r.string(&p.Checkpoint) })
		}
		return errUnknownMember
	})
}

func (r reader) envelope(e *Envelope) error {
	signatures := 0
	err := r.message("dsseEnvelope", "payload payloadType signatures", func(name []byte) error {
		switch string(name) {
		case "payload":
			return r.base64(&e.Payload)
		case "payloadType":
			return r.string(&e.PayloadType)
		case "signatures":
			return r.Array(func() error {
				if signatures++; signatures > 1 {
					return signatureCount("more than one")
				}
				return r.message("signature", "sig keyid", func(name []byte) error {
					switch string(name) {
					case "sig":
						return r.base64(&e.Signature)
					case "keyid":
						return r.string(&e.KeyID)
					}
					return errUnknownMember
				})
			})
		}
		return errUnknownMember
	})
	if err == nil && signatures == 0 {
		return signatureCount("no")
	}
	return err
}

func signatureCount(n string) error {
	return &FormatError{Reason: reasonSignatureCount, Detail: "envelope has " + n + " signature; a bundle's has exactly one"}
}

func (r reader) messageSignature(m *MessageSignature) error {
	return r.message("messageSignature", "messageDigest signature", func(name []byte) error {
		switch string(name) {
		case "messageDigest":
			return r.message("messageDigest", "algorithm digest", func(name []byte) error {
				switch string(name) {
				case "algorithm":
					return r.string(&m.Algorithm)
				case "digest":
					return r.base64(&m.Digest)
				}
				return errUnknownMember
			})
		case "signature":
			return r.base64(&m.Signature)
		}
		return errUnknownMember
	})
}

// clip shortens text of unknown length for an error message.
func clip(s string) string {
	const max = 200
	if len(s) <= max {
		return s
	}
	return strings.ToValidUTF8(s[:max], "") + "…"
}

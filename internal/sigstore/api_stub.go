package sigstore

import "encoding/json"

// TrustedRoot holds the certificate authorities, logs and timestamp authorities that count. It is immutable
// and safe for concurrent use.
type TrustedRoot struct{}

// ParseTrustedRoot reads a trusted_root.json of media type version 0.1 or 0.2.
func ParseTrustedRoot(data []byte) (*TrustedRoot, error) {
	return nil, &FormatError{Reason: "not-written"}
}

// ParseBundle reads a bundle. Errors are *FormatError.
func ParseBundle(data []byte) (*Bundle, error) { return nil, &FormatError{Reason: "not-written"} }

// Verify runs every step over b and records each.
func (r *TrustedRoot) Verify(b *Bundle, o Options) *Verification { return &Verification{} }

// A Statement is an in-toto statement, v0.1 or v1.
type Statement struct {
	Type          string
	PredicateType string
	Subject       []Subject
	Predicate     json.RawMessage // the predicate's exact bytes; nil if absent
}

// A Subject is what a statement is about.
type Subject struct {
	Name   string
	Digest map[string]string // algorithm to hex, as it stands
}

// ParseStatement reads an in-toto statement, v0.1 or v1. Errors are *FormatError.
func ParseStatement(payload []byte) (*Statement, error) {
	return nil, &FormatError{Reason: "not-written"}
}

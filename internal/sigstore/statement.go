package sigstore

import (
	"encoding/json"
	"fmt"

	"assay/internal/sigstore/strictjson"
)

// Types of in-toto statements and the payload type of the envelopes that hold them (in-toto/attestation,
// spec/v0.1/statement.md, spec/v1/statement.md, spec/v1/envelope.md).
const (
	StatementV01       = "https://in-toto.io/Statement/v0.1"
	StatementV1        = "https://in-toto.io/Statement/v1"
	InTotoPayloadType  = "application/vnd.in-toto+json"
	maxSubjects        = 1024 // as sigstore-go, pkg/verify/signature.go
	maxSubjectDigests  = 32
	maxStatementLength = MaxBundleSize
)

// A Statement is an in-toto statement, of version 0.1 or 1. It is only as good as the envelope around it.
type Statement struct {
	Type          string // StatementV01 or StatementV1
	PredicateType string // may be empty
	Subject       []Subject
	Predicate     json.RawMessage // the predicate's exact bytes, a JSON object; nil if absent
}

// A Subject is what a statement is about.
type Subject struct {
	Name   string            // may be empty
	Digest map[string]string // algorithm to hex, as they stand; nil if absent
}

// ParseStatement reads an in-toto statement. Members that it does not know are ignored, as the specification demands,
// but no name may occur twice in any object, however deep. A _type other than of version 0.1 or 1 is an error
// with Unsupported set. Errors are *FormatError.
func ParseStatement(payload []byte) (*Statement, error) {
	if len(payload) > maxStatementLength {
		return nil, &FormatError{Reason: reasonTooLarge, Detail: fmt.Sprintf("statement is larger than %d bytes", maxStatementLength)}
	}
	sc := getScratch()
	defer sc.release()
	s := &sc.json
	s.Reset(payload, nil)
	st := new(Statement)
	err := s.Object(func(name []byte) (err error) {
		if s.Null() {
			return nil
		}
		switch string(name) {
		case "_type":
			st.Type, err = text(s)
		case "predicateType":
			st.PredicateType, err = s.String()
		case "predicate":
			if s.Kind() != '{' {
				return &FormatError{Reason: reasonStatement, Detail: "predicate is not an object"}
			}
			st.Predicate, err = s.Raw()
		case "subject":
			err = s.Array(func() error {
				if len(st.Subject) == maxSubjects {
					return &FormatError{Reason: reasonTooMany, Detail: fmt.Sprintf("statement has more than %d subjects", maxSubjects)}
				}
				st.Subject = append(st.Subject, Subject{})
				return parseSubject(s, &st.Subject[len(st.Subject)-1])
			})
		default:
			err = s.Skip()
		}
		return err
	})
	if err == nil {
		err = s.End()
	}
	if err != nil {
		return nil, formatError("parsing the statement", err)
	}
	if st.Type != StatementV01 && st.Type != StatementV1 {
		return nil, &FormatError{Reason: reasonStatementType, Detail: fmt.Sprintf("statement has _type %q", clip(st.Type)), Unsupported: true}
	}
	return st, nil
}

func parseSubject(s *strictjson.Scanner, to *Subject) error {
	return s.Object(func(name []byte) (err error) {
		if s.Null() {
			return nil
		}
		switch string(name) {
		case "name":
			to.Name, err = s.String()
		case "digest":
			to.Digest = make(map[string]string)
			err = s.Object(func(algorithm []byte) error {
				if len(to.Digest) == maxSubjectDigests {
					return &FormatError{Reason: reasonTooMany, Detail: fmt.Sprintf("subject has more than %d digests", maxSubjectDigests)}
				}
				// The name is only valid until the value is read.
				key := string(algorithm)
				value, err := s.String()
				to.Digest[key] = value
				return err
			})
		default:
			err = s.Skip()
		}
		return err
	})
}

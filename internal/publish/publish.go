// Package publish is the publisher's side: from a CI job to a package that anyone can verify. It reads what the
// job says of itself, gets its identity token, signs provenance the way npm does (Fulcio, Rekor, timestamp
// authority), verifies its own bundle as a consumer will, and puts the package on the registry.
//
// The package guarantees that
//   - nothing is signed that the registry or a consumer would refuse for a reason that can be known before: a
//     signature is public for ever, in a transparency log, also where the upload is refused afterwards;
//   - nothing is uploaded that does not verify with the trusted root in use;
//   - tokens and keys are sent to the one service they are for, over TLS or on this machine, never along with a
//     redirection, and stand in no error and no output;
//   - what is signed is what is uploaded: one slice of bytes.
//
// Errors are a [*Refusal] where the answer is no, a [*ServiceError] where a service gave no usable answer, and a
// [*SetupError] where the job or its configuration lacks something.
package publish

import (
	"errors"
	"fmt"
	"strings"
)

// A Refusal says that the package must not be published or signed as it is, or that the registry refused it.
type Refusal struct {
	Reason string // stable code in kebab-case, such as "repository-mismatch"
	Text   string // what differs, one sentence
	Hint   string // what to do, may have several lines; "" if there is nothing to say
}

func (e *Refusal) Error() string { return e.Text }

func refuse(reason, hint, format string, args ...any) error {
	return &Refusal{Reason: reason, Text: fmt.Sprintf(format, args...), Hint: hint}
}

// A SetupError says that the job lacks what publishing needs: a permission, a token, a program.
type SetupError struct {
	Reason string // stable code in kebab-case, such as "id-token-permission"
	Text   string
	Hint   string // the lines to add, or the command to type
}

func (e *SetupError) Error() string { return e.Text }

func setup(reason, hint, format string, args ...any) error {
	return &SetupError{Reason: reason, Text: fmt.Sprintf(format, args...), Hint: hint}
}

// A ServiceError says that a service gave no usable answer. Its text holds no secret.
type ServiceError struct {
	Service string // such as "Fulcio"
	Op      string // what was being done, such as "asking for a certificate"
	URL     string // without user information and query
	Status  int    // HTTP status of the last answer; 0 where none came
	Message string // what the service said of it, cleaned and shortened; may be empty
	Hint    string
	Err     error // the cause, where no answer came
}

func (e *ServiceError) Error() string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s at %s", e.Op, e.URL)
	switch {
	case e.Status != 0 && e.Message != "":
		fmt.Fprintf(&b, ": %s answered %d: %s", e.Service, e.Status, e.Message)
	case e.Status != 0:
		fmt.Fprintf(&b, ": %s answered %d", e.Service, e.Status)
	case e.Err != nil:
		fmt.Fprintf(&b, ": %v", e.Err)
	case e.Message != "":
		fmt.Fprintf(&b, ": %s", e.Message)
	}
	return b.String()
}

func (e *ServiceError) Unwrap() error { return e.Err }

// ReasonOf returns the stable code of an error of this package, "" for any other; a [*ServiceError] has
// "service".
func ReasonOf(err error) string {
	var r *Refusal
	var s *SetupError
	var v *ServiceError
	switch {
	case errors.As(err, &r):
		return r.Reason
	case errors.As(err, &s):
		return s.Reason
	case errors.As(err, &v):
		return "service"
	}
	return ""
}

// HintOf returns what an error of this package advises to do, "" if nothing.
func HintOf(err error) string {
	var r *Refusal
	var s *SetupError
	var v *ServiceError
	switch {
	case errors.As(err, &r):
		return r.Hint
	case errors.As(err, &s):
		return s.Hint
	case errors.As(err, &v):
		return v.Hint
	}
	return ""
}

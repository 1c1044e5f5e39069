package registry

import (
	"fmt"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"unicode/utf8"
)

// A Kind says why a call gave no usable answer. Only [NotFound] is an answer about the package; every
// other kind means that nobody could tell.
type Kind int

const (
	NotFound     Kind = iota + 1 // HTTP 404 or 410
	Unauthorized                 // HTTP 401 or 403
	Status                       // any other HTTP status that is not a success; see Error.Status
	Timeout                      // the whole answer did not arrive in time
	Connection                   // no connection, or it broke
	TooLarge                     // more bytes than the limit, or a compression ratio that only a bomb has
	TooDeep                      // JSON nested deeper than the limit
	NotJSON                      // the body is not one JSON value, or its content coding is broken or unknown
	Truncated                    // the body is not of the announced length
	Redirect                     // a redirection that is not followed; the error says why
	TLS                          // no trustworthy TLS connection, or a client certificate that cannot be used
	Offline                      // the client was told not to use the network
	Canceled                     // the caller gave up
	InvalidURL                   // the registry, name or version makes no URL; nothing was sent
)

var kindCodes = map[Kind]string{
	NotFound: "not-found", Unauthorized: "unauthorized", Status: "http-status", Timeout: "timeout",
	Connection: "connection", TooLarge: "too-large", TooDeep: "too-deep", NotJSON: "not-json",
	Truncated: "truncated", Redirect: "redirect", TLS: "tls", Offline: "offline", Canceled: "canceled",
	InvalidURL: "invalid-url",
}

// String returns the kind's stable code in kebab-case, such as "not-found".
func (k Kind) String() string {
	if s, ok := kindCodes[k]; ok {
		return s
	}
	return "unknown"
}

// An Error is what every call returns that gave no usable answer. Its text holds no credentials and no
// character that could act on a terminal; what a server said is quoted.
type Error struct {
	Op       string // what was being done, such as "fetching attestations of vite@7.1.0"
	URL      string // what was asked, without user information and query
	Kind     Kind
	Status   int   // HTTP status of the last answer; 0 where none came
	Attempts int   // how often it was tried; 0 where nothing was sent
	Err      error // the cause, such as a *LimitError; its text may be hostile and is cleaned only by Error.Error
}

func (e *Error) Error() string {
	s := e.Op + ": " + e.Err.Error()
	if e.Attempts > 1 {
		s += fmt.Sprintf(" (%d attempts)", e.Attempts)
	}
	return printable(s)
}

// Unwrap returns the cause, so that errors.Is finds context.Canceled and the like.
func (e *Error) Unwrap() error { return e.Err }

// A LimitError says that the registry sent more than the client is willing to read.
type LimitError struct {
	What string // what was being read, such as "attestation response"
	Max  int64  // bytes after content decoding
}

func (e *LimitError) Error() string {
	return fmt.Sprintf("%s is larger than %d bytes", e.What, e.Max)
}

// A ratioError says that a compressed body grows as only a decompression bomb does.
type ratioError struct{ what string }

func (e *ratioError) Error() string {
	return fmt.Sprintf("%s grows more than %d-fold when decompressed", e.what, maxRatio)
}

// A statusError is an HTTP status that is not a success, and what the server said about it.
type statusError struct {
	status int
	text   string // the body's "error" member, cut and cleaned of credentials; hostile text
}

func (e *statusError) Error() string {
	s := "the server answered " + strconv.Itoa(e.status)
	if name := http.StatusText(e.status); name != "" {
		s += " " + name
	}
	if e.text != "" {
		s += ": " + strconv.Quote(e.text)
	}
	return s
}

// printable returns s with every rune replaced by its Go escape that is not a printable character: control
// characters, terminal escapes, bidirectional overrides, invalid UTF-8.
func printable(s string) string {
	clean := true
	for _, r := range s {
		if r == utf8.RuneError || !strconv.IsPrint(r) {
			clean = false
			break
		}
	}
	if clean {
		return s
	}
	var b strings.Builder
	for i := 0; i < len(s); {
		r, size := utf8.DecodeRuneInString(s[i:])
		switch {
		case r == utf8.RuneError && size <= 1:
			fmt.Fprintf(&b, `\x%02x`, s[i])
		case !strconv.IsPrint(r):
			q := strconv.QuoteRune(r)
			b.WriteString(q[1 : len(q)-1])
		default:
			b.WriteRune(r)
		}
		i += size
	}
	return b.String()
}

// shown returns u as it may be printed: without user information, query and fragment. A query is dropped
// because redirections to file stores carry their signature there.
func shown(u *url.URL) string {
	v := *u
	v.User = nil
	v.RawQuery, v.ForceQuery = "", false
	v.Fragment, v.RawFragment = "", ""
	return v.String()
}

package publish

import (
	"fmt"
	"io"
	"regexp"
	"slices"
	"strings"
	"sync"
)

// A Secret is a token. Every way to print it hides it.
type Secret struct{ value string }

// NewSecret wraps a token.
func NewSecret(value string) Secret { return Secret{value} }

// Empty reports whether there is no token at all.
func (s Secret) Empty() bool { return s.value == "" }

// Format keeps every verb of package fmt from printing the secret.
func (s Secret) Format(f fmt.State, _ rune) { io.WriteString(f, "[hidden]") }

// MarshalText keeps encoding/json and log/slog from printing the secret.
func (s Secret) MarshalText() ([]byte, error) { return []byte("[hidden]"), nil }

// A vault knows every secret of a run, so that what others say can be cleaned of them: servers repeat in their
// errors what they were sent. It is safe for concurrent use.
type vault struct {
	mu     sync.Mutex
	values []string
}

// add takes in a secret. Of a JWT each part counts by itself, since errors quote parts. What is shorter than a one-time password would be found in every other text.
func (v *vault) add(s Secret) {
	v.mu.Lock()
	defer v.mu.Unlock()
	values := []string{s.value}
	if parts := strings.Split(s.value, "."); len(parts) == 3 {
		values = append(values, parts...)
	}
	for _, x := range values {
		if (len(x) >= 8 || x == s.value && len(x) >= 6) && !slices.Contains(v.values, x) {
			v.values = append(v.values, x)
		}
	}
	slices.SortFunc(v.values, func(a, b string) int { return len(b) - len(a) })
}

// secretShapes are what tokens look like, known or not: JWTs, npm's tokens, authorization headers.
var secretShapes = regexp.MustCompile(`eyJ[A-Za-z0-9_-]{8,}(\.[A-Za-z0-9_-]+){0,2}|npm_[A-Za-z0-9]{16,}|(?i:bearer|basic)\s+[A-Za-z0-9._~+/=-]{8,}`)

// hide replaces every secret in a text.
func (v *vault) hide(text string) string {
	v.mu.Lock()
	defer v.mu.Unlock()
	for _, s := range v.values {
		text = strings.ReplaceAll(text, s, "[hidden]")
	}
	return secretShapes.ReplaceAllString(text, "[hidden]")
}

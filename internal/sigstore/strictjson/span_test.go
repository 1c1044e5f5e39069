package strictjson

import (
	"bytes"
	"strings"
	"testing"
)

// FuzzSpan: what Span and Raw both accept is the same bytes, whatever was in them.
func FuzzSpan(f *testing.F) {
	for _, s := range []string{`{}`, `[]`, `{"a":"}"}`, `{"a":"\""}`, `{"a":"\\"}x`, `[{"b":[1,"]"]}] `, `{`, `{"a`, `{"a\`, `"x"`, ` {"long":"` + strings.Repeat("A", 100) + `\"]}"}`} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		span, err := New(data).Span()
		raw, rawErr := New(data).Raw()
		if rawErr == nil && len(raw) > 0 && (raw[0] == '{' || raw[0] == '[') && (err != nil || !bytes.Equal(span, raw)) {
			t.Errorf("Span gives %q, %v and Raw %q", span, err, raw)
		}
	})
}

// TestPlain: the fast path over strings sees every byte that the slow one sees.
func TestPlain(t *testing.T) {
	for length := range 40 {
		for at := range length {
			for c := range 256 {
				data := bytes.Repeat([]byte("A"), length)
				data[at] = byte(c)
				special := c < ' ' || c == '"' || c == '\\' || c >= 0x80
				if got := plain(data, 0); special && got > at || got > length {
					t.Fatalf("plain passes over %#x at %d of %d", c, at, length)
				}
			}
		}
	}
}

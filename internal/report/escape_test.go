package report

import (
	"strconv"
	"strings"
	"testing"
	"unicode/utf8"
)

func TestEscape(t *testing.T) {
	tests := []struct{ in, want string }{
		{"", ""},
		{"@scope/name@1.0.0-rc.1+build", "@scope/name@1.0.0-rc.1+build"},
		{`C:\users\x`, `C:\users\x`},
		{"naïve résumé 日本語 עברית", "naïve résumé 日本語 עברית"},
		{"e\u0301", "e\u0301"},
		{"\x1b[31mred\x1b[0m", `\u{1b}[31mred\u{1b}[0m`},
		{"\x1b]8;;https://x\x07", `\u{1b}]8;;https://x\u{7}`},
		{"a\r\nb\tc", `a\u{d}\u{a}b\u{9}c`},
		{"\u009b2J", `\u{9b}2J`},
		{"\x7f\x00\b", `\u{7f}\u{0}\u{8}`},
		{"\u202eabc\u202c", `\u{202e}abc\u{202c}`},
		{"\u202a\u202b\u202c\u202d\u2066\u2067\u2068\u2069\u200e\u200f\u061c", `\u{202a}\u{202b}\u{202c}\u{202d}\u{2066}\u{2067}\u{2068}\u{2069}\u{200e}\u{200f}\u{61c}`},
		{"a\u200bb\u200cc\u200dd\u2060e\ufefff\u00adg\u180eh", `a\u{200b}b\u{200c}c\u{200d}d\u{2060}e\u{feff}f\u{ad}g\u{180e}h`},
		{"\u115f\u1160\u3164\uffa0\u034f\u2800", `\u{115f}\u{1160}\u{3164}\u{ffa0}\u{34f}\u{2800}`},
		{"x\ufe0f\U000e0101\U000e0041", `x\u{fe0f}\u{e0101}\u{e0041}`},
		{"\u2028\u2029\u00a0\u3000\u2003", `\u{2028}\u{2029}\u{a0}\u{3000}\u{2003}`},
		{"\ue000\U00100000\u0378", `\u{e000}\u{100000}\u{378}`},
		{"\xff\xc0\xaf\xed\xa0\x80", `\x{ff}\x{c0}\x{af}\x{ed}\x{a0}\x{80}`},
		{"\ufffd", "\ufffd"}, // told apart from a byte that is none
		{`\u{1b}`, `\u{5c}u{1b}`},
		{`\x{ff} \\u{`, `\u{5c}x{ff} \\u{5c}u{`},
		{" a  b ", `\u{20}a \u{20}b\u{20}`},
		{"\u0301a", `\u{301}a`},
		{"a" + strings.Repeat("\u0335", 5), "a" + strings.Repeat("\u0335", 3) + `\u{335}\u{335}`},
		{"a\u200b\u0301", `a\u{200b}\u{301}`},
	}
	for _, tt := range tests {
		if got := Escape(tt.in); got != tt.want {
			t.Errorf("Escape(%q) = %q, want %q", tt.in, got, tt.want)
		}
	}
}

func TestEscapeASCII(t *testing.T) {
	tests := []struct{ in, want string }{
		{"github.com/sigstore", "github.com/sigstore"},
		{"github.com/sigst\u043ere", `github.com/sigst\u{43e}re`},
		{"א1", `\u{5d0}1`},
		{"e\u0301", `e\u{301}`},
		{"\xff", `\x{ff}`},
	}
	for _, tt := range tests {
		if got := EscapeASCII(tt.in); got != tt.want {
			t.Errorf("EscapeASCII(%q) = %q, want %q", tt.in, got, tt.want)
		}
	}
}

func TestEscapeBound(t *testing.T) {
	for _, s := range []string{strings.Repeat("a", 5_000_000), strings.Repeat("\x1b", 5_000_000), strings.Repeat("é\u0301\u202e", 1_000_000)} {
		got := Escape(s)
		if len(got) > 10*maxShown {
			t.Errorf("a text of %d bytes is shown as %d bytes", len(s), len(got))
		}
		if want := "... [" + count(utf8.RuneCountInString(s)-maxShown) + " more characters cut]"; !strings.HasSuffix(got, want) {
			t.Errorf("the cut is told as %q, want %q", got[len(got)-40:], want)
		}
	}
	whole := strings.Repeat("é", maxShown)
	if Escape(whole) != whole {
		t.Error("a text of exactly the bound is cut")
	}
}

// Whatever comes in, what goes out steers no terminal and says what came in.
func FuzzEscape(f *testing.F) {
	for _, s := range attack {
		f.Add(s)
	}
	f.Add(`\u{`)
	f.Add("a\\\u200bx{")
	f.Add(" \\ ")
	f.Fuzz(func(t *testing.T, s string) {
		for _, escaper := range []func(string) string{Escape, EscapeASCII} {
			got := escaper(s)
			if !utf8.ValidString(got) {
				t.Fatalf("%q is shown as %q, which is not UTF-8", s, got)
			}
			for _, r := range got {
				if hidden(r, false) {
					t.Fatalf("%q is shown as %q, with %U in it", s, got, r)
				}
			}
			if strings.Contains(got, "  ") || strings.HasPrefix(got, " ") || strings.HasSuffix(got, " ") {
				t.Fatalf("%q is shown as %q, with spaces that nobody sees", s, got)
			}
			if utf8.RuneCountInString(s) <= maxShown {
				if back := unescape(t, got); back != s {
					t.Fatalf("%q is shown as %q, which says %q", s, got, back)
				}
			}
		}
		if got := EscapeASCII(s); strings.ContainsFunc(got, func(r rune) bool { return r > '~' }) {
			t.Fatalf("%q is shown as %q", s, got)
		}
	})
}

// unescape reads what Escape writes.
func unescape(t *testing.T, s string) string {
	t.Helper()
	var b strings.Builder
	for s != "" {
		if len(s) < 4 || s[0] != '\\' || s[1] != 'u' && s[1] != 'x' || s[2] != '{' {
			b.WriteByte(s[0])
			s = s[1:]
			continue
		}
		digits, rest, _ := strings.Cut(s[3:], "}")
		n, err := strconv.ParseUint(digits, 16, 32)
		if err != nil {
			t.Fatalf("%q is no code point", digits)
		}
		if s[1] == 'x' {
			b.WriteByte(byte(n))
		} else {
			b.WriteRune(rune(n))
		}
		s = rest
	}
	return b.String()
}

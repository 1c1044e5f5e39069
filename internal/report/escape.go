package report

import (
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"
)

// maxShown bounds how many characters of one piece of text a terminal gets to see.
const maxShown = 2000

// maxMarks is how many combining marks one character may carry. Real scripts need two or three; text
// that piles up dozens paints over the lines around it.
const maxMarks = 3

// Escape makes text from outside fit for a terminal or a log, on one line. What would move the cursor,
// change colours, reorder, hide or vanish is shown as its code point instead: "\u{1b}" for ESC, "\u{a}" for a
// newline, "\u{202e}" for a right-to-left override, "\u{200b}" for a zero-width space; a byte that is not
// UTF-8 is "\x{ff}". So are spaces that cannot be seen or that could imitate a column: at either end, or
// after another. A backslash before "u{" or "x{" is "\u{5c}", so that two texts never look the same, up to
// the 2,000th character; after that the text is cut and the number of characters left out is told.
//
// Escape is idempotent only for text that needs no escaping. Text that needs none and is short enough is
// returned as it stands.
func Escape(s string) string { return escape(s, false) }

// EscapeASCII is [Escape] for names, versions, URLs, digests and other text that is compared by eye: every
// character outside ASCII is shown as its code point, since "а" (Cyrillic) and "a" look the same, and
// right-to-left letters move their neighbours.
func EscapeASCII(s string) string { return escape(s, true) }

func escape(s string, ascii bool) string {
	if harmless(s) {
		return s
	}
	var b strings.Builder
	b.Grow(min(len(s), 4*maxShown) + 16)
	shown, marks := 0, maxMarks // a mark at the beginning has nothing to stand on
	for i := 0; i < len(s); {
		r, size := utf8.DecodeRuneInString(s[i:])
		if shown == maxShown {
			b.WriteString("... [")
			b.WriteString(count(utf8.RuneCountInString(s[i:])))
			b.WriteString(" more characters cut]")
			break
		}
		shown++
		next := i + size
		switch {
		case r == utf8.RuneError && size == 1:
			b.WriteString(`\x{`)
			b.WriteString(strconv.FormatUint(uint64(s[i]), 16))
			b.WriteByte('}')
			marks = maxMarks
		case hidden(r, ascii),
			r == ' ' && (i == 0 || next == len(s) || s[i-1] == ' '),
			r == '\\' && (strings.HasPrefix(s[next:], "u{") || strings.HasPrefix(s[next:], "x{")),
			unicode.Is(unicode.M, r) && marks >= maxMarks:
			b.WriteString(`\u{`)
			b.WriteString(strconv.FormatUint(uint64(r), 16))
			b.WriteByte('}')
			marks = maxMarks
		default:
			if unicode.Is(unicode.M, r) {
				marks++
			} else {
				marks = 0
			}
			b.WriteString(s[i:next])
		}
		i = next
	}
	return b.String()
}

// harmless reports whether s is short printable ASCII that no rule of [Escape] touches.
func harmless(s string) bool {
	if len(s) > maxShown {
		return false
	}
	for i := 0; i < len(s); i++ {
		c := s[i]
		if c < ' ' || c > '~' || c == '\\' || c == ' ' && (i == 0 || i == len(s)-1 || s[i-1] == ' ') {
			return false
		}
	}
	return true
}

// hidden reports whether r has to be shown as its code point. unicode.IsPrint leaves out controls, formats
// (bidi controls, zero-width characters, tags), every space but U+0020, line and paragraph separators,
// surrogates, private use and unassigned code points. The others are printable by category and yet draw
// nothing.
func hidden(r rune, ascii bool) bool {
	if r < utf8.RuneSelf {
		return r < ' ' || r > '~'
	}
	return ascii || !unicode.IsPrint(r) ||
		unicode.In(r, unicode.Other_Default_Ignorable_Code_Point, unicode.Variation_Selector) ||
		r == '\u2800' || // a braille pattern without dots
		r == '\U0001D159' || // a musical note head that is not drawn
		r == '\U00016FE4' // a filler of the Khitan script
}

// count writes n with commas: "1,204".
func count(n int) string {
	s := strconv.Itoa(n)
	for i := len(s) - 3; i > 0 && s[i-1] != '-'; i -= 3 {
		s = s[:i] + "," + s[i:]
	}
	return s
}

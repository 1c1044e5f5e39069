package report

import (
	"bufio"
	"io"
	"strings"
	"unicode"
	"unicode/utf8"

	"golang.org/x/text/width"
)

// A style is how a piece of text stands out where colours are shown. Styles only add to what the words
// say: take the colours away and the text is the same. None is green, as no verdict here means "safe".
type style string

const (
	plain   style = ""
	bold    style = "1"
	dim     style = "2"
	denied  style = "1;31" // bold red
	unknown style = "1;35" // bold magenta
	caution style = "1;33" // bold yellow
	known   style = "36"   // cyan
	link    style = "4"    // underlined
)

// A span is text of one style, escaped already.
type span struct {
	text  string
	style style
}

func t(text string) span              { return span{text, plain} }
func st(s style, text string) span    { return span{text, s} }
func spans(texts ...string) []span    { return []span{t(strings.Join(texts, ""))} }
func (s span) styled(color bool) bool { return color && s.style != plain }

const (
	minWidth     = 40
	maxProse     = 100 // columns of prose on a wide terminal; longer lines are hard to read
	defaultWidth = 80  // for bars and columns where lines are not wrapped
)

// A printer lays out lines. Errors of the writer stick and come back from flush.
type printer struct {
	w     *bufio.Writer
	color bool
	width int    // columns; 0: lines are not wrapped
	hang  string // what a wrapped line begins with instead of spaces; as wide as it is indented
}

func newPrinter(w io.Writer, o TextOptions) *printer {
	p := &printer{w: bufio.NewWriterSize(w, 32<<10), color: o.Color}
	if o.Width > 0 {
		p.width = max(o.Width, minWidth)
	}
	return p
}

func (p *printer) flush() error { return p.w.Flush() }

const fieldColumns = 10

// field prints a name and a value that wraps under itself; nothing for an empty value.
func (p *printer) field(indent int, name, value string) {
	if value != "" {
		p.item(indent, []span{st(dim, pad(name, fieldColumns))}, indent+fieldColumns, t(value))
	}
}

// value is field for what is compared by eye: it uses the whole width.
func (p *printer) value(indent int, name, value string) {
	p.paragraph(p.width, indent, []span{st(dim, pad(name, fieldColumns))}, indent+fieldColumns, []span{t(value)})
}

// whole is field for an address or a command: it stays on one line, however long, so that it can be
// followed and copied. A terminal wraps it by itself.
func (p *printer) whole(indent int, name, value string) {
	if value != "" {
		p.spaces(indent)
		p.put(st(dim, pad(name, fieldColumns)))
		p.put(t(value))
		p.blank()
	}
}

// link is whole for an address, and field for what turned out to be none.
func (p *printer) link(indent int, name, value string) {
	if strings.HasPrefix(value, "https://") && !strings.Contains(value, " ") {
		p.whole(indent, name, value)
	} else {
		p.field(indent, name, value)
	}
}

// columns returns the width that columns and bars are made for.
func (p *printer) columns() int {
	if p.width > 0 {
		return p.width
	}
	return defaultWidth
}

func (p *printer) blank() { p.w.WriteByte('\n') }

// heading prints a line that begins a section, after an empty line.
func (p *printer) heading(s style, word, rest string) {
	p.blank()
	p.line(0, 0, st(s, word), t(rest))
}

// line prints spans as one paragraph: its first line begins at column first, those it wraps to at column
// rest. It breaks at spaces, and inside a word only where the word is longer than a line: a name or a
// digest wraps, but is never cut short.
func (p *printer) line(first, rest int, text ...span) { p.item(first, nil, rest, text...) }

// item is line with a lead: columns that stand before the paragraph as they are.
func (p *printer) item(first int, lead []span, rest int, text ...span) {
	p.paragraph(min(p.width, maxProse), first, lead, rest, text)
}

// paragraph is item within the given columns; 0: as long as it takes.
func (p *printer) paragraph(limit, first int, lead []span, rest int, text []span) {
	if limit > 0 && p.hang == "" {
		first, rest = min(first, limit/2), min(rest, limit/2) // leave room to read in
	}
	p.spaces(first)
	column := first
	for _, s := range lead {
		p.put(s)
		column += textColumns(s.text)
	}
	begin, space := first, false // a line holds nothing yet while column is begin
	if len(lead) > 0 {
		begin = min(rest, column)
	}
	for _, w := range words(text) {
		if w.space {
			space = column > begin
			continue
		}
		need := w.columns()
		if space {
			need++
		}
		if limit > 0 && column+need > limit && column > begin {
			p.wrap(rest)
			column, begin, space = rest, rest, false
		}
		if space {
			p.w.WriteByte(' ')
			column++
			space = false
		}
		for _, s := range w.parts {
			column, begin = p.hard(s, limit, column, begin, rest)
		}
	}
	p.w.WriteByte('\n')
}

// hard prints a part of a word, breaking it wherever the line is full.
func (p *printer) hard(s span, limit, column, begin, rest int) (int, int) {
	text := s.text
	for text != "" {
		n, w := len(text), 0
		if limit > 0 {
			n, w = fit(text, limit-column)
			if n == 0 { // not even one character is left on this line
				if column > begin {
					p.wrap(rest)
					column, begin = rest, rest
					continue
				}
				_, n = utf8.DecodeRuneInString(text)
			}
		} else {
			w = textColumns(text)
		}
		p.put(span{text[:n], s.style})
		column += w
		text = text[n:]
	}
	return column, begin
}

// wrap begins a further line of a paragraph.
func (p *printer) wrap(rest int) {
	p.w.WriteByte('\n')
	if p.hang != "" {
		p.put(st(dim, p.hang))
		return
	}
	p.spaces(rest)
}

// put writes one span that stays on its line.
func (p *printer) put(s span) {
	if s.styled(p.color) {
		p.w.WriteString("\x1b[" + string(s.style) + "m")
		p.w.WriteString(s.text)
		p.w.WriteString("\x1b[0m")
		return
	}
	p.w.WriteString(s.text)
}

const blanks = "                                                                "

func (p *printer) spaces(n int) {
	for n > len(blanks) {
		p.w.WriteString(blanks)
		n -= len(blanks)
	}
	p.w.WriteString(blanks[:max(n, 0)])
}

// A word is what stands between two spaces; it may change its style on the way.
type word struct {
	parts []span
	space bool // it is a space between words
}

func (w word) columns() int {
	n := 0
	for _, s := range w.parts {
		n += textColumns(s.text)
	}
	return n
}

// words splits spans at their spaces; several in a row count as one, and [Escape] leaves none in text from
// outside.
func words(text []span) []word {
	var out []word
	var current word
	end := func() {
		if len(current.parts) > 0 {
			out = append(out, current)
			current = word{}
		}
	}
	for _, s := range text {
		rest := s.text
		for rest != "" {
			i := strings.IndexByte(rest, ' ')
			if i < 0 {
				current.parts = append(current.parts, span{rest, s.style})
				break
			}
			if i > 0 {
				current.parts = append(current.parts, span{rest[:i], s.style})
			}
			end()
			out = append(out, word{space: true})
			rest = rest[i+1:]
		}
	}
	end()
	return out
}

// fit returns how many bytes of s fit into n columns, and how many columns they take.
func fit(s string, n int) (int, int) {
	w := 0
	for i, r := range s {
		c := runeColumns(r)
		if w+c > n {
			return i, w
		}
		w += c
	}
	return len(s), w
}

func textColumns(s string) int {
	n := 0
	for _, r := range s {
		n += runeColumns(r)
	}
	return n
}

// runeColumns returns how many columns a terminal gives to r, which is printable.
func runeColumns(r rune) int {
	if r < utf8.RuneSelf {
		return 1
	}
	if unicode.In(r, unicode.Mn, unicode.Me) {
		return 0
	}
	switch width.LookupRune(r).Kind() {
	case width.EastAsianWide, width.EastAsianFullwidth:
		return 2
	}
	return 1
}

// pad fills s up to n columns.
func pad(s string, n int) string {
	if w := textColumns(s); w < n {
		return s + strings.Repeat(" ", n-w)
	}
	return s
}

// padLeft fills s up to n columns from the left.
func padLeft(s string, n int) string {
	if w := textColumns(s); w < n {
		return strings.Repeat(" ", n-w) + s
	}
	return s
}

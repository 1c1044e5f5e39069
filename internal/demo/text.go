package demo

import (
	"bufio"
	"fmt"
	"io"
	"strings"
	"unicode/utf8"
)

// A style is how a piece of text stands out where colours are shown. None is green: no verdict here praises a package.
type style string

const (
	plain   style = ""
	strong  style = "1"
	denied  style = "1;31" // bold red
	caution style = "1;33" // bold yellow
)

const (
	minColumns     = 40
	maxColumns     = 100 // longer lines are hard to read
	defaultColumns = 80
)

// A printer lays out lines. Errors of the writer stick and come back from flush.
type printer struct {
	w       *bufio.Writer
	color   bool
	columns int
}

func newPrinter(w io.Writer, o TextOptions) *printer {
	columns := defaultColumns
	if o.Width > 0 {
		columns = min(max(o.Width, minColumns), maxColumns)
	}
	return &printer{bufio.NewWriter(w), o.Color, columns}
}

func (p *printer) flush() error { return p.w.Flush() }

func (p *printer) blank() { p.w.WriteByte('\n') }

// put writes spaces and a text that stays on its line.
func (p *printer) put(indent int, s style, text string) {
	p.w.WriteString(strings.Repeat(" ", indent))
	if p.color && s != plain {
		text = "\x1b[" + string(s) + "m" + text + "\x1b[0m"
	}
	p.w.WriteString(text)
}

// heading begins a section, after an empty line.
func (p *printer) heading(format string, args ...any) {
	p.blank()
	p.put(0, strong, fmt.Sprintf(format, args...))
	p.blank()
	p.blank()
}

// whole prints a line that is to be copied: a terminal may wrap it by itself.
func (p *printer) whole(indent int, name, text string) {
	if name != "" {
		name = fmt.Sprintf("%-10s", name)
	}
	p.put(indent, plain, name+text)
	p.blank()
}

// line prints a paragraph under an indent; nothing for an empty text.
func (p *printer) line(indent int, text string) { p.led(indent, "", text) }

// led is line with a lead under which the text does not go.
func (p *printer) led(indent int, lead, text string) {
	if text == "" {
		return
	}
	p.put(indent, strong, lead)
	column := indent + utf8.RuneCountInString(lead)
	begin := true
	for word := range strings.FieldsSeq(text) {
		n := utf8.RuneCountInString(word)
		switch {
		case begin:
		case column+1+n > p.columns:
			p.blank()
			p.put(indent, plain, "")
			column = indent
		default:
			p.put(1, plain, "")
			column++
		}
		p.put(0, plain, word)
		column += n
		begin = false
	}
	p.blank()
}

package inventory

import (
	"strings"
	"unicode/utf8"
)

// oneLine reads a scalar: all of a quoted one, of a plain one what is on this line. n is the column of
// what it belongs to.
func (p *yamlParser) oneLine(n int, inFlow bool) (yamlNode, error) {
	ch := p.text[p.pos]
	switch ch {
	case '"', '\'':
		return p.quoted(n, ch)
	case '&':
		return yamlNode{}, p.errorf("anchors (&) are not supported")
	case '*':
		return yamlNode{}, p.errorf("aliases (*) are not supported; a name that begins with * must be quoted")
	case '!':
		return yamlNode{}, p.errorf("tags (!) are not supported; a text that begins with ! must be quoted")
	case ',', '[', ']', '{', '}', '#', '|', '>', '%', '@', '`':
		return yamlNode{}, p.errorf("a text that begins with %q must be quoted", ch)
	case '-', '?', ':':
		if p.blankAt(p.pos+1) || inFlow && (ch != '-' || strings.IndexByte(",[]{}", p.text[p.pos+1]) >= 0) {
			return yamlNode{}, p.errorf("a text that begins with %q must be quoted", ch)
		}
	}
	n0 := yamlNode{at: uint32(p.pos), bits: uint32(p.line) << yamlLineShift}
	end, err := p.plainLine(inFlow)
	n0.end = uint32(end)
	return n0, err
}

// plainLine passes over a plain scalar as far as it goes on this line, and returns where its text ends.
func (p *yamlParser) plainLine(inFlow bool) (end int, err error) {
	i := p.pos
	s := p.text
	end = i
scan:
	for i < len(s) {
		switch c := s[i]; c {
		case ' ':
			i++
			continue
		case '\n', '\r':
			break scan
		case '\t':
			return 0, p.errorf("has a tab in a text without quotes")
		case ':':
			if p.blankAt(i + 1) {
				break scan
			}
			if inFlow && strings.IndexByte(",[]{}", s[i+1]) >= 0 {
				return 0, p.errorf("has a colon without a space behind it")
			}
		case '?':
			if inFlow && (p.blankAt(i+1) || strings.IndexByte(",[]{}", s[i+1]) >= 0) {
				return 0, p.errorf("a text with a question mark at the end of a word must be quoted within brackets")
			}
		case '#':
			if s[i-1] == ' ' {
				break scan
			}
		case ',', '[', ']', '{', '}':
			if inFlow {
				break scan
			}
		}
		i++
		end = i
	}
	p.pos = end
	return end, nil
}

// decode sets the text of a scalar that does not stand in the file as it is.
func (p *yamlParser) decode(n *yamlNode, text string) {
	n.at, n.end = uint32(len(p.decoded)), 0
	n.bits |= yamlDecoded
	p.decoded = append(p.decoded, text)
}

// continuePlain adds the lines below to a plain scalar of which one line was read.
func (p *yamlParser) continuePlain(scalar *yamlNode, n int) error {
	var b []byte
	for {
		i, breaks := p.pos, 0
		for i < len(p.text) && p.text[i] == ' ' {
			i++
		}
		if !p.eol(i) {
			break // a comment, or what endLine complains about
		}
		bol := p.bol
		for p.eol(i) && i < len(p.text) {
			i += 1 + strings.IndexByte(p.text[i:], '\n')
			breaks++
			bol = i
			for i < len(p.text) && p.text[i] == ' ' {
				i++
			}
		}
		if i >= len(p.text) || i-bol <= n || p.text[i] == '#' || i == bol && p.marker(i) {
			break
		}
		if b == nil {
			b = append(b, p.text[scalar.at:scalar.end]...)
		}
		p.pos, p.bol, p.line = i, bol, p.line+breaks
		if strings.IndexByte("-?:,[]{}&*!|>'\"%@`\t", p.text[i]) >= 0 {
			return p.errorf("continues a text of several lines with %q; quote it", p.text[i])
		}
		end, err := p.plainLine(false)
		if err != nil {
			return err
		}
		b = append(appendBreaks(b, breaks), p.text[i:end]...)
		if p.colon() {
			return p.errorf("has a key in a text of several lines, or is indented too far")
		}
	}
	if b != nil {
		p.decode(scalar, string(b))
	}
	return nil
}

// appendBreaks folds line breaks: one is a space, of several the first counts as nothing.
func appendBreaks(b []byte, breaks int) []byte {
	if breaks == 1 {
		return append(b, ' ')
	}
	for range breaks - 1 {
		b = append(b, '\n')
	}
	return b
}

// quoted reads a scalar in quotes.
func (p *yamlParser) quoted(n int, quote byte) (yamlNode, error) {
	scalar := yamlNode{bits: uint32(p.line)<<yamlLineShift | uint32(yamlQuoted)}
	p.pos++
	from, at := p.pos, p.pos // of what is not in b yet
	var b []byte
	decoded := false
	for {
		if p.pos >= len(p.text) {
			return scalar, &FormatError{p.file, int(scalar.bits >> yamlLineShift), "has a quote that does not end"}
		}
		switch c := p.text[p.pos]; {
		case c == quote && quote == '\'' && strings.HasPrefix(p.text[p.pos+1:], "'"):
			p.pos++
			b, decoded = append(b, p.text[at:p.pos]...), true
			p.pos++
			at = p.pos
		case c == quote:
			if !decoded {
				scalar.at, scalar.end = uint32(from), uint32(p.pos)
			} else {
				p.decode(&scalar, string(append(b, p.text[at:p.pos]...)))
			}
			p.pos++
			return scalar, nil
		case c == '\\' && quote == '"':
			b, decoded = append(b, p.text[at:p.pos]...), true
			p.pos++
			if p.pos < len(p.text) && p.eol(p.pos) {
				breaks, err := p.fold(n)
				if err != nil {
					return scalar, err
				}
				for range breaks - 1 {
					b = append(b, '\n')
				}
			} else {
				var err error
				if b, err = p.escape(b); err != nil {
					return scalar, err
				}
			}
			at = p.pos
		case c == '\n' || c == '\r':
			b, decoded = append(b, strings.TrimRight(p.text[at:p.pos], " \t")...), true
			breaks, err := p.fold(n)
			if err != nil {
				return scalar, err
			}
			b = appendBreaks(b, breaks)
			at = p.pos
		default:
			p.pos++
		}
	}
}

// fold passes over the line breaks in a quoted scalar and the blanks behind them.
func (p *yamlParser) fold(n int) (breaks int, err error) {
	for p.pos < len(p.text) && p.eol(p.pos) {
		p.newLine()
		breaks++
		if p.marker(p.pos) {
			return 0, p.errorf("begins or ends a document inside quotes")
		}
		p.skipSpaces()
		if p.pos < len(p.text) && !p.eol(p.pos) && p.pos-p.bol <= n {
			return 0, p.errorf("is not indented, though quotes are open")
		}
		for p.pos < len(p.text) && (p.text[p.pos] == ' ' || p.text[p.pos] == '\t') {
			p.pos++
		}
	}
	return breaks, nil
}

// escape reads what follows a backslash.
func (p *yamlParser) escape(b []byte) ([]byte, error) {
	if p.pos >= len(p.text) {
		return b, p.errorf("has a quote that does not end")
	}
	c := p.text[p.pos]
	p.pos++
	digits := 0
	switch c {
	case '0':
		return append(b, 0), nil
	case 'a':
		return append(b, '\a'), nil
	case 'b':
		return append(b, '\b'), nil
	case 't', '\t':
		return append(b, '\t'), nil
	case 'n':
		return append(b, '\n'), nil
	case 'v':
		return append(b, '\v'), nil
	case 'f':
		return append(b, '\f'), nil
	case 'r':
		return append(b, '\r'), nil
	case 'e':
		return append(b, 0x1b), nil
	case ' ', '"', '\\':
		return append(b, c), nil
	case 'N':
		return append(b, "\u0085"...), nil
	case '_':
		return append(b, "\u00a0"...), nil
	case 'L':
		return append(b, "\u2028"...), nil
	case 'P':
		return append(b, "\u2029"...), nil
	case 'x':
		digits = 2
	case 'u':
		digits = 4
	case 'U':
		digits = 8
	default:
		return b, p.errorf(`has the unknown escape "\%c"`, c)
	}
	var r uint32
	for range digits {
		var d byte
		if p.pos < len(p.text) {
			d = p.text[p.pos]
		}
		p.pos++
		switch {
		case '0' <= d && d <= '9':
			d -= '0'
		case 'a' <= d|0x20 && d|0x20 <= 'f':
			d = d | 0x20 - 'a' + 10
		default:
			return b, p.errorf(`has an escape "\%c" without %d hexadecimal digits`, c, digits)
		}
		r = r<<4 | uint32(d)
	}
	if r > utf8.MaxRune || 0xd800 <= r && r <= 0xdfff {
		return b, p.errorf("has an escape for %#x, which is no character", r)
	}
	return utf8.AppendRune(b, rune(r)), nil
}

// blockScalar reads a scalar that begins with | or >.
func (p *yamlParser) blockScalar(n int) error {
	scalar := yamlNode{bits: uint32(p.line)<<yamlLineShift | uint32(yamlQuoted)}
	folded := p.text[p.pos] == '>'
	p.pos++
	chomp, indent := byte(0), 0
	for p.pos < len(p.text) {
		c := p.text[p.pos]
		if (c == '-' || c == '+') && chomp == 0 {
			chomp = c
		} else if '1' <= c && c <= '9' && indent == 0 {
			indent = max(n, 0) + int(c-'0')
		} else {
			break
		}
		p.pos++
	}
	if p.skipSpaces(); !p.atEnd() {
		return p.errorf("has something behind | or > that is not understood")
	}
	p.newLine()
	var b []byte
	breaks := 0       // empty lines since the last one with text
	text := false     // some line had text
	indented := false // the last one began with a blank
	newline := false  // it ended with a line break
	deepest, deep := 0, 0
	for p.pos < len(p.text) {
		i := p.pos
		for i < len(p.text) && p.text[i] == ' ' && (indent == 0 || i-p.pos < indent) {
			i++
		}
		width := i - p.pos
		if p.eol(i) {
			if width > deepest {
				deepest, deep = width, p.line
			}
			if i < len(p.text) {
				breaks++
			}
			p.newLine()
			continue
		}
		if indent == 0 {
			if width <= n {
				break
			}
			indent = max(width, 1)
			if deepest > indent {
				return &FormatError{p.file, deep, "is an empty line with more blanks than the text below it"}
			}
		}
		if width < indent {
			break
		}
		if p.text[i] == '\t' && (!text || folded) {
			return p.errorf("has a tab at the beginning of a line of text")
		}
		blank := p.text[i] == ' '
		if text {
			switch {
			case !folded || indented || blank:
				b = append(b, '\n')
			case breaks == 0:
				b = append(b, ' ')
			}
		}
		for range breaks {
			b = append(b, '\n')
		}
		breaks, text, indented = 0, true, blank
		p.pos = i
		line := p.rest()
		b = append(b, line...)
		newline = p.pos+len(line) < len(p.text)
		p.newLine()
	}
	if text && newline && chomp != '-' {
		b = append(b, '\n')
	}
	if chomp == '+' {
		for range breaks {
			b = append(b, '\n')
		}
	}
	p.decode(&scalar, string(b))
	if err := p.push(scalar); err != nil {
		return err
	}
	return p.token()
}

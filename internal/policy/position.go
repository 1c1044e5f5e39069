package policy

import (
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"

	"gopkg.in/yaml.v3"
)

// position finds where in a file a place in a scalar's value stands: at is the number of characters before it in the
// value. YAML folds lines, strips indents and unescapes, and none of that touches what is not white space; so the
// characters that are not are counted in the value and found again in the file.
func position(lines []string, n *yaml.Node, value string, at int) (line, column int) {
	skip := 0 // characters other than white space before the place
	for i, c := range []rune(value) {
		if i >= at {
			break
		}
		if !unicode.IsSpace(c) {
			skip++
		}
	}
	s := &source{lines: lines, line: n.Line, column: n.Column, style: n.Style}
	switch n.Style {
	case yaml.LiteralStyle, yaml.FoldedStyle:
		s.line, s.column = n.Line+1, 1
	case yaml.SingleQuotedStyle, yaml.DoubleQuotedStyle:
		s.column++
	}
	for {
		c, line, column, ok := s.next()
		if !ok {
			return n.Line, n.Column
		}
		if unicode.IsSpace(c) {
			continue
		}
		if skip == 0 {
			return line, column
		}
		skip--
		if skip == 0 {
			// The end of the value is right behind its last character.
			if end := strings.TrimRightFunc(value, unicode.IsSpace); at >= utf8.RuneCountInString(end) {
				return s.line, s.column
			}
		}
	}
}

// A source reads the characters of a scalar as they stand in a file.
type source struct {
	lines        []string
	line, column int // of the next character, from 1
	style        yaml.Style
	text         []rune // of the line numbered at
	at           int
}

// take reads the next character of the file, a line's end among them.
func (s *source) take() (c rune, ok bool) {
	if s.line < 1 || s.line > len(s.lines) {
		return 0, false
	}
	if s.at != s.line {
		s.text, s.at = []rune(s.lines[s.line-1]), s.line
	}
	if s.column > len(s.text) {
		s.line, s.column = s.line+1, 1
		return '\n', true
	}
	s.column++
	return s.text[s.column-2], true
}

// next reads the next character of the value, and where it stands.
func (s *source) next() (c rune, line, column int, ok bool) {
	line, column = s.line, s.column
	if c, ok = s.take(); !ok {
		return 0, 0, 0, false
	}
	switch {
	case s.style == yaml.SingleQuotedStyle && c == '\'':
		_, ok = s.take() // two stand for one
		return c, line, column, ok
	case s.style == yaml.DoubleQuotedStyle && c == '\\':
		if c, ok = s.take(); !ok {
			return 0, 0, 0, false
		}
		if digits := map[rune]int{'x': 2, 'u': 4, 'U': 8}[c]; digits > 0 {
			var hex strings.Builder
			for range digits {
				d, _ := s.take()
				hex.WriteRune(d)
			}
			v, _ := strconv.ParseUint(hex.String(), 16, 32)
			return rune(v), line, column, true
		}
		if strings.ContainsRune("ntrvf \tN_LP", c) {
			c = ' '
		}
	}
	return c, line, column, true
}

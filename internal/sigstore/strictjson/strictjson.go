// Package strictjson reads JSON from a byte slice, value by value, without building a tree. It is as strict as
// a verifier needs: RFC 8259 grammar with nothing added, valid UTF-8, no name twice in one object (RFC 7493,
// I-JSON), no unpaired surrogate, bounded depth. Two readers that accept the same bytes here cannot disagree
// about what the bytes say.
//
//	s := strictjson.New(data)
//	err := s.Object(func(name []byte) error {
//		switch string(name) {
//		case "mediaType":
//			mediaType, err = s.String()
//			return err
//		}
//		return s.Skip()
//	})
//	if err == nil {
//		err = s.End()
//	}
package strictjson

import (
	"bytes"
	"encoding/base64"
	"encoding/binary"
	"fmt"
	"unicode/utf16"
	"unicode/utf8"
)

// MaxDepth is how deep arrays and objects may nest.
const MaxDepth = 128

// A SyntaxError says where bytes are not the JSON that was expected.
type SyntaxError struct {
	Offset int    // of the first byte that does not fit
	What   string // such as "expected ':'"
}

func (e *SyntaxError) Error() string { return fmt.Sprintf("at byte %d: %s", e.Offset, e.What) }

// A Base64Error says that a JSON string is not base64 in the one form accepted: the standard alphabet, padded,
// without line breaks, unused bits zero (RFC 4648 section 3.5).
type Base64Error struct{ Offset int }

func (e *Base64Error) Error() string {
	return fmt.Sprintf("at byte %d: not base64 in its standard, padded, canonical form", e.Offset)
}

// A DuplicateError says that an object has the same name twice.
type DuplicateError struct {
	Offset int
	Name   string
}

func (e *DuplicateError) Error() string {
	return fmt.Sprintf("at byte %d: name %q occurs twice", e.Offset, e.Name)
}

// A Kind says what a value is, by its first byte: 'n' for null, 't' and 'f' for booleans, '"' for strings, '0' for
// numbers, '{' and '[' for objects and arrays, 0 for the end of the input or anything else.
type Kind byte

// A Scanner reads one JSON text. It is not safe for concurrent use.
type Scanner struct {
	data  []byte
	pos   int
	depth int
	names [][]byte // names of all objects now open, innermost last
	room  []byte   // where base64 is decoded to

	firstNames [24][]byte
}

// New returns a scanner over data. Values that the scanner returns may share data's memory.
func New(data []byte) *Scanner {
	s := new(Scanner)
	s.Reset(data, nil)
	return s
}

// Reset makes s a scanner over data, whatever it was before. Base64 is decoded into room as far as that reaches, so that
// what [Scanner.Base64] returns is valid until room is used again; nil lets the scanner allocate.
func (s *Scanner) Reset(data, room []byte) {
	*s = Scanner{data: data, room: room}
	s.names = s.firstNames[:0]
}

// Offset returns the position of the next unread byte.
func (s *Scanner) Offset() int { return s.pos }

func (s *Scanner) fail(what string) error { return &SyntaxError{s.pos, what} }

func (s *Scanner) space() {
	for s.pos < len(s.data) {
		switch s.data[s.pos] {
		case ' ', '\t', '\n', '\r':
			s.pos++
		default:
			return
		}
	}
}

// Kind returns the kind of the next value without consuming it.
func (s *Scanner) Kind() Kind {
	s.space()
	if s.pos == len(s.data) {
		return 0
	}
	switch c := s.data[s.pos]; c {
	case 'n', 't', 'f', '"', '{', '[':
		return Kind(c)
	case '-', '0', '1', '2', '3', '4', '5', '6', '7', '8', '9':
		return '0'
	}
	return 0
}

// End returns an error unless only white space is left.
func (s *Scanner) End() error {
	s.space()
	if s.pos != len(s.data) {
		return s.fail("more follows after the value")
	}
	return nil
}

func (s *Scanner) next(c byte) bool {
	s.space()
	if s.pos < len(s.data) && s.data[s.pos] == c {
		s.pos++
		return true
	}
	return false
}

func (s *Scanner) literal(word string) error {
	if len(s.data)-s.pos < len(word) || string(s.data[s.pos:s.pos+len(word)]) != word {
		return s.fail("expected " + word)
	}
	s.pos += len(word)
	return nil
}

// Null consumes a null and reports whether there was one.
func (s *Scanner) Null() bool {
	return s.Kind() == 'n' && s.literal("null") == nil
}

// Object reads an object and calls member for each name, which must consume the value. The name is only valid
// until member returns. An error of member ends the reading and is returned.
func (s *Scanner) Object(member func(name []byte) error) error {
	if !s.next('{') {
		return s.fail("expected an object")
	}
	if s.depth++; s.depth > MaxDepth {
		return s.fail("nested too deep")
	}
	first := len(s.names)
	var set map[string]struct{} // takes over from the list in large objects
	for !s.next('}') {
		if len(s.names) > first && !s.next(',') {
			return s.fail("expected ',' or '}'")
		}
		s.space()
		at := s.pos
		name, err := s.Bytes()
		if err != nil {
			return err
		}
		if set == nil {
			for _, n := range s.names[first:] {
				if bytes.Equal(n, name) {
					return &DuplicateError{at, string(name)}
				}
			}
			if len(s.names)-first >= 32 {
				set = make(map[string]struct{}, 128)
				for _, n := range s.names[first:] {
					set[string(n)] = struct{}{}
				}
				set[string(name)] = struct{}{}
			}
			s.names = append(s.names, name)
		} else {
			if _, twice := set[string(name)]; twice {
				return &DuplicateError{at, string(name)}
			}
			set[string(name)] = struct{}{}
		}
		if !s.next(':') {
			return s.fail("expected ':'")
		}
		if err := member(name); err != nil {
			return err
		}
	}
	s.names = s.names[:first]
	s.depth--
	return nil
}

// Array reads an array and calls element before each element, which must consume it. An error of element ends
// the reading and is returned.
func (s *Scanner) Array(element func() error) error {
	if !s.next('[') {
		return s.fail("expected an array")
	}
	if s.depth++; s.depth > MaxDepth {
		return s.fail("nested too deep")
	}
	for n := 0; !s.next(']'); n++ {
		if n > 0 && !s.next(',') {
			return s.fail("expected ',' or ']'")
		}
		if err := element(); err != nil {
			return err
		}
	}
	s.depth--
	return nil
}

// String reads a string.
func (s *Scanner) String() (string, error) {
	b, err := s.Bytes()
	return string(b), err
}

// Bytes reads a string and returns its UTF-8. The result shares the input's memory where the string has no escape
// sequence: it must not be modified.
func (s *Scanner) Bytes() ([]byte, error) {
	if !s.next('"') {
		return nil, s.fail("expected a string")
	}
	start, ascii := s.pos, true
	for i := plain(s.data, s.pos); i < len(s.data); i++ {
		switch c := s.data[i]; {
		case c == '"':
			text := s.data[start:i]
			if !ascii && !utf8.Valid(text) {
				return nil, s.fail("not valid UTF-8")
			}
			s.pos = i + 1
			return text, nil
		case c == '\\':
			return s.unescape(start, i)
		case c < ' ':
			s.pos = i
			return nil, s.fail("control character in a string")
		case c >= utf8.RuneSelf:
			ascii = false
		}
	}
	s.pos = len(s.data)
	return nil, s.fail("string without end")
}

// plain returns a position at or after i up to which data holds only printable ASCII without quotes and
// backslashes. It looks at eight bytes at once, for the long base64 of which bundles are made
// (https://graphics.stanford.edu/~seander/bithacks.html#HasLessInWord).
func plain(data []byte, i int) int {
	const ones, high = 0x0101010101010101, 0x8080808080808080
	for ; i+8 <= len(data); i += 8 {
		x := binary.LittleEndian.Uint64(data[i:])
		quote, escape := x^(ones*'"'), x^(ones*'\\')
		if (x|(x-ones*' ')&^x|(quote-ones)&^quote|(escape-ones)&^escape)&high != 0 {
			break
		}
	}
	return i
}

// unescape reads the rest of a string that starts at start and has its first escape sequence at i.
func (s *Scanner) unescape(start, i int) ([]byte, error) {
	out := append(make([]byte, 0, i-start+64), s.data[start:i]...)
	for i < len(s.data) {
		c := s.data[i]
		switch {
		case c == '"':
			if !utf8.Valid(out) {
				return nil, s.fail("not valid UTF-8")
			}
			s.pos = i + 1
			return out, nil
		case c < ' ':
			s.pos = i
			return nil, s.fail("control character in a string")
		case c != '\\':
			// Copy the run up to the next byte that matters.
			j := i + 1
			for j < len(s.data) && s.data[j] != '"' && s.data[j] != '\\' && s.data[j] >= ' ' {
				j++
			}
			out = append(out, s.data[i:j]...)
			i = j
			continue
		}
		if i+1 >= len(s.data) {
			break
		}
		switch e := s.data[i+1]; e {
		case '"', '\\', '/':
			out = append(out, e)
		case 'b':
			out = append(out, '\b')
		case 'f':
			out = append(out, '\f')
		case 'n':
			out = append(out, '\n')
		case 'r':
			out = append(out, '\r')
		case 't':
			out = append(out, '\t')
		case 'u':
			r, ok := s.hex4(i + 2)
			if !ok {
				s.pos = i
				return nil, s.fail(`expected four hex digits after \u`)
			}
			i += 6
			if utf16.IsSurrogate(r) {
				var low rune
				if i+1 < len(s.data) && s.data[i] == '\\' && s.data[i+1] == 'u' {
					low, _ = s.hex4(i + 2)
				}
				if r = utf16.DecodeRune(r, low); r == utf8.RuneError {
					s.pos = i
					return nil, s.fail("surrogate without its pair")
				}
				i += 6
			}
			out = utf8.AppendRune(out, r)
			continue
		default:
			s.pos = i
			return nil, s.fail("unknown escape sequence")
		}
		i += 2
	}
	s.pos = len(s.data)
	return nil, s.fail("string without end")
}

func (s *Scanner) hex4(i int) (rune, bool) {
	if i+4 > len(s.data) {
		return 0, false
	}
	var r rune
	for _, c := range s.data[i : i+4] {
		switch {
		case '0' <= c && c <= '9':
			c -= '0'
		case 'a' <= c && c <= 'f':
			c -= 'a' - 10
		case 'A' <= c && c <= 'F':
			c -= 'A' - 10
		default:
			return 0, false
		}
		r = r<<4 | rune(c)
	}
	return r, true
}

// Base64 reads a string and decodes it. The result is never nil without an error, and shares no memory with the input.
// Errors are *SyntaxError or *Base64Error.
func (s *Scanner) Base64() ([]byte, error) {
	out, strict, err := s.LooseBase64()
	if err == nil && !strict {
		return nil, &Base64Error{s.pos}
	}
	return out, err
}

// LooseBase64 is Base64 for text that was written carelessly. It also decodes the URL-safe alphabet, missing padding,
// line breaks and unused bits that are not zero; strict reports that there was nothing of that kind.
func (s *Scanner) LooseBase64() (out []byte, strict bool, err error) {
	s.space()
	at := s.pos
	if at == len(s.data) || s.data[at] != '"' {
		return nil, false, s.fail("expected a string")
	}
	// Every byte between the quotes has to be of the alphabet, which the decoder checks: no need to look at them
	// as JSON, unless there is an escape sequence.
	n := bytes.IndexByte(s.data[at+1:], '"')
	if n < 0 {
		s.pos = len(s.data)
		return nil, false, s.fail("string without end")
	}
	text := s.data[at+1 : at+1+n]
	if bytes.IndexByte(text, '\\') < 0 {
		if s.room == nil {
			// All the base64 that is still to come decodes to no more than this.
			s.room = make([]byte, (len(s.data)-at)/4*3)
		}
		if len(text)/4*3 > len(s.room) { // not all of a room from outside is left
			s.room = make([]byte, len(text)/4*3)
		}
		if n, ok := decodeBase64(s.room, text); ok {
			out, s.room = s.room[:n:n], s.room[n:]
			s.pos = at + len(text) + 2
			return out, true, nil
		}
	}
	if text, err = s.Bytes(); err != nil {
		return nil, false, err
	}
	if out, ok := DecodeBase64(text); ok {
		return out, true, nil
	}
	plain := bytes.Map(func(r rune) rune {
		switch r {
		case '\r', '\n':
			return -1
		case '-':
			return '+'
		case '_':
			return '/'
		}
		return r
	}, text)
	plain = bytes.TrimRight(plain, "=")
	out = make([]byte, base64.RawStdEncoding.DecodedLen(len(plain)))
	if n, err = base64.RawStdEncoding.Decode(out, plain); err != nil {
		return nil, false, &Base64Error{at}
	}
	return out[:n:n], false, nil
}

// DecodeBase64 decodes base64 of the standard alphabet, padded, without line breaks and with unused bits zero. The
// result is not nil if ok.
func DecodeBase64(text []byte) (out []byte, ok bool) {
	out = make([]byte, len(text)/4*3)
	n, ok := decodeBase64(out, text)
	if !ok {
		return nil, false
	}
	return out[:n:n], true
}

// decodeBase64 decodes into dst, which must have room.
func decodeBase64(dst, text []byte) (n int, ok bool) {
	if len(text)%4 != 0 || bytes.IndexByte(text, '\n') >= 0 || bytes.IndexByte(text, '\r') >= 0 {
		return 0, false // Go's decoder skips line breaks
	}
	n, err := strictBase64.Decode(dst, text)
	return n, err == nil
}

var strictBase64 = base64.StdEncoding.Strict()

// Int64 reads an integer, written as a JSON number or, as the JSON form of Protocol Buffers has it, as a string.
// Fractions and exponents are refused even where the value is an integer.
func (s *Scanner) Int64() (int64, error) {
	quoted := s.next('"')
	at := s.pos
	i, negative := at, false
	if i < len(s.data) && s.data[i] == '-' {
		negative = true
		i++
	}
	first := i
	var v uint64
	for ; i < len(s.data) && '0' <= s.data[i] && s.data[i] <= '9'; i++ {
		if i-first >= 19 {
			return 0, s.fail("integer out of range")
		}
		v = v*10 + uint64(s.data[i]-'0')
	}
	if i == first || s.data[first] == '0' && i > first+1 {
		return 0, s.fail("expected an integer")
	}
	if quoted {
		if i == len(s.data) || s.data[i] != '"' {
			return 0, s.fail("expected an integer")
		}
		i++
	} else if i < len(s.data) && (s.data[i] == '.' || s.data[i] == 'e' || s.data[i] == 'E') {
		return 0, s.fail("expected an integer without fraction or exponent")
	}
	if v > 1<<63-1 && (!negative || v > 1<<63) {
		return 0, s.fail("integer out of range")
	}
	s.pos = i
	if negative {
		return -int64(v), nil
	}
	return int64(v), nil
}

// Skip reads one value of any kind and drops it, having checked all of it.
func (s *Scanner) Skip() error {
	switch s.Kind() {
	case 'n':
		return s.literal("null")
	case 't':
		return s.literal("true")
	case 'f':
		return s.literal("false")
	case '"':
		_, err := s.Bytes()
		return err
	case '0':
		return s.number()
	case '{':
		return s.Object(func([]byte) error { return s.Skip() })
	case '[':
		return s.Array(s.Skip)
	}
	return s.fail("expected a value")
}

// Raw reads one value of any kind and returns its bytes, having checked all of it. The result shares the input's
// memory.
func (s *Scanner) Raw() ([]byte, error) {
	s.space()
	start := s.pos
	if err := s.Skip(); err != nil {
		return nil, err
	}
	return s.data[start:s.pos:s.pos], nil
}

// Span returns the bytes of one object or array without checking what is in it, for a reader that checks them
// itself. Only strings and brackets are looked at. The result shares the input's memory.
func (s *Scanner) Span() ([]byte, error) {
	if k := s.Kind(); k != '{' && k != '[' {
		return nil, s.fail("expected an object or an array")
	}
	start, depth := s.pos, 0
	for i := s.pos; i < len(s.data); i++ {
		switch s.data[i] {
		case '"':
			for i++; ; i++ {
				if i = plain(s.data, i); i >= len(s.data) {
					return nil, s.fail("string without end")
				}
				if s.data[i] == '"' {
					break
				}
				if s.data[i] == '\\' {
					i++
				}
			}
		case '{', '[':
			depth++
		case '}', ']':
			if depth--; depth == 0 {
				s.pos = i + 1
				return s.data[start:s.pos:s.pos], nil
			}
		}
	}
	return nil, s.fail("object or array without end")
}

func (s *Scanner) number() error {
	i := s.pos
	digits := func() bool {
		first := i
		for i < len(s.data) && '0' <= s.data[i] && s.data[i] <= '9' {
			i++
		}
		return i > first
	}
	at := func(c byte) bool { return i < len(s.data) && s.data[i] == c }
	if at('-') {
		i++
	}
	if at('0') {
		i++
	} else if !digits() {
		return s.fail("expected digits")
	}
	if at('.') {
		i++
		if !digits() {
			return s.fail("expected digits after '.'")
		}
	}
	if at('e') || at('E') {
		i++
		if at('+') || at('-') {
			i++
		}
		if !digits() {
			return s.fail("expected digits in the exponent")
		}
	}
	s.pos = i
	return nil
}

package registry

import (
	"encoding/binary"
	"fmt"
	"math/bits"
)

// A depthError says that a JSON text is nested deeper than the client lets through.
type depthError struct{ max int }

func (e *depthError) Error() string {
	return fmt.Sprintf("JSON is nested deeper than %d levels", e.max)
}

// A syntaxError says where a body stops being one JSON value.
type syntaxError struct {
	offset int // bytes into the decoded body
	what   string
}

func (e *syntaxError) Error() string {
	return fmt.Sprintf("not JSON at byte %d: %s", e.offset, e.what)
}

// checkJSON reports whether data is exactly one JSON text (RFC 8259 section 2, with the grammar of
// sections 3 to 7) and nests at most maxDepth arrays and objects. The error is a *syntaxError or a
// *depthError; whichever stands first in data is reported.
//
// Two things are deliberately not judged: whether strings are valid UTF-8, and whether an object has a
// name twice. Both are questions about content that arrived whole, so they belong to the reader of the
// document, whose answer may be "the evidence contradicts" where this one can only be "the transport
// failed". Nothing here allocates for depths up to 256, and no recursion depends on the input.
func checkJSON(data []byte, maxDepth int) error {
	var few [4]uint64
	objects := few[:] // one bit per open container: set for an object, clear for an array
	if maxDepth > 64*len(few) {
		objects = make([]uint64, maxDepth/64+1)
	}
	depth, i, n := 0, 0, len(data)

value:
	i = skipSpace(data, i)
	if i >= n {
		return &syntaxError{i, "a value is missing"}
	}
	switch c := data[i]; {
	case c == '"':
		end, err := skipString(data, i)
		if err != nil {
			return err
		}
		i = end
	case c == '{':
		if depth >= maxDepth {
			return &depthError{maxDepth}
		}
		objects[depth/64] |= 1 << (depth % 64)
		depth++
		i = skipSpace(data, i+1)
		if i < n && data[i] == '}' {
			i++
			depth--
			break
		}
		goto name
	case c == '[':
		if depth >= maxDepth {
			return &depthError{maxDepth}
		}
		objects[depth/64] &^= 1 << (depth % 64)
		depth++
		i = skipSpace(data, i+1)
		if i < n && data[i] == ']' {
			i++
			depth--
			break
		}
		goto value
	case c == '-' || '0' <= c && c <= '9':
		end, ok := skipNumber(data, i)
		if !ok {
			return &syntaxError{end, "a number is malformed"}
		}
		i = end
	case c == 't' && i+4 <= n && string(data[i:i+4]) == "true":
		i += 4
	case c == 'f' && i+5 <= n && string(data[i:i+5]) == "false":
		i += 5
	case c == 'n' && i+4 <= n && string(data[i:i+4]) == "null":
		i += 4
	default:
		return &syntaxError{i, "no value starts here"}
	}

after:
	i = skipSpace(data, i)
	if depth == 0 {
		if i < n {
			return &syntaxError{i, "something follows the value"}
		}
		return nil
	}
	if i >= n {
		return &syntaxError{i, "the text ends inside an array or object"}
	}
	if objects[(depth-1)/64]>>((depth-1)%64)&1 == 1 {
		switch data[i] {
		case ',':
			i = skipSpace(data, i+1)
			goto name
		case '}':
			i++
			depth--
			goto after
		}
		return &syntaxError{i, "a comma or a closing brace is missing"}
	}
	switch data[i] {
	case ',':
		i++
		goto value
	case ']':
		i++
		depth--
		goto after
	}
	return &syntaxError{i, "a comma or a closing bracket is missing"}

name:
	if i >= n || data[i] != '"' {
		return &syntaxError{i, "an object's name is missing"}
	}
	end, err := skipString(data, i)
	if err != nil {
		return err
	}
	i = skipSpace(data, end)
	if i >= n || data[i] != ':' {
		return &syntaxError{i, "a colon is missing"}
	}
	i++
	goto value
}

func skipSpace(data []byte, i int) int {
	for i < len(data) {
		switch data[i] {
		case ' ', '\n', '\r', '\t':
			i++
		default:
			return i
		}
	}
	return i
}

// skipString returns the index after the string that starts with the quotation mark at i. Nearly all
// bytes of a package document are inside strings, so eight of them are looked at together.
func skipString(data []byte, i int) (int, error) {
	const (
		ones  = 0x0101010101010101
		highs = 0x8080808080808080
	)
	i++
	for {
		for i+8 <= len(data) {
			w := binary.LittleEndian.Uint64(data[i:])
			quote, slash := w^('"'*ones), w^('\\'*ones)
			// The high bit of a byte is set where that byte is a quotation mark, a backslash or a control
			// character. A borrow can set it wrongly only above a byte where it is set rightly.
			hit := ((quote-ones)&^quote | (slash-ones)&^slash | (w-0x20*ones)&^w) & highs
			if hit != 0 {
				i += bits.TrailingZeros64(hit) / 8
				break
			}
			i += 8
		}
		if i >= len(data) {
			return i, &syntaxError{i, "the text ends inside a string"}
		}
		switch c := data[i]; {
		case c == '"':
			return i + 1, nil
		case c == '\\':
			if i+1 >= len(data) {
				return i, &syntaxError{i, "the text ends inside a string"}
			}
			switch data[i+1] {
			case '"', '\\', '/', 'b', 'f', 'n', 'r', 't':
				i += 2
			case 'u':
				if i+6 > len(data) || !isHex(data[i+2]) || !isHex(data[i+3]) || !isHex(data[i+4]) || !isHex(data[i+5]) {
					return i, &syntaxError{i, "an escape sequence is malformed"}
				}
				i += 6
			default:
				return i, &syntaxError{i, "an escape sequence is malformed"}
			}
		case c < 0x20:
			return i, &syntaxError{i, "a control character stands inside a string"}
		default:
			i++
		}
	}
}

func isHex(c byte) bool {
	return '0' <= c && c <= '9' || 'a' <= c && c <= 'f' || 'A' <= c && c <= 'F'
}

// skipNumber returns the index after the number that starts at i, or where it goes wrong.
func skipNumber(data []byte, i int) (end int, ok bool) {
	digits := func() bool {
		start := i
		for i < len(data) && '0' <= data[i] && data[i] <= '9' {
			i++
		}
		return i > start
	}
	if data[i] == '-' {
		i++
	}
	if i < len(data) && data[i] == '0' {
		i++ // nothing but a fraction or an exponent may follow
	} else if !digits() {
		return i, false
	}
	if i < len(data) && data[i] == '.' {
		i++
		if !digits() {
			return i, false
		}
	}
	if i < len(data) && (data[i] == 'e' || data[i] == 'E') {
		i++
		if i < len(data) && (data[i] == '+' || data[i] == '-') {
			i++
		}
		if !digits() {
			return i, false
		}
	}
	return i, true
}

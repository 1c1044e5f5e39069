package inventory

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/go-json-experiment/json/jsontext"
)

// A jsonReader reads one JSON document token by token and knows on which line it is. It refuses what
// could be read in two ways: duplicate names, invalid UTF-8, anything after the end.
type jsonReader struct {
	file     string
	data     []byte
	dec      *jsontext.Decoder
	counted  int // bytes of data whose newlines are counted
	newlines int
	interned map[string]string // names, versions and specs occur many times in a lockfile
	bom      bool
}

// newJSONReader returns a reader of data, which must not change while it is used. duplicates allows
// duplicate names; the last one counts, as in JavaScript.
func newJSONReader(file string, data []byte, duplicates bool) *jsonReader {
	r := &jsonReader{file: file, data: data, interned: make(map[string]string)}
	if rest, ok := bytes.CutPrefix(data, []byte("\ufeff")); ok {
		r.bom, r.data = true, rest // npm skips it as well
	}
	opts := []jsontext.Options{jsontext.AllowDuplicateNames(duplicates), jsontext.AllowInvalidUTF8(duplicates)}
	r.dec = jsontext.NewDecoder(bytes.NewBuffer(r.data), opts...)
	return r
}

// relaxJSON turns what bun.lock may have beside JSON into spaces, in place: comments, and a comma after the last
// member or element. Everything stays where it is, so that lines and offsets are the file's.
func relaxJSON(data []byte) []byte {
	comma := -1       // a comma that nothing but space follows so far
	last := byte('[') // the latest byte that is no space: a comma can be a last one only after a value
	for i := 0; i < len(data); i++ {
		switch data[i] {
		case ' ', '\t', '\n', '\r':
			continue
		case '/':
			end := commentEnd(data, i)
			if end < 0 {
				return data // the reader will say what is wrong here
			}
			for ; i < end; i++ {
				if data[i] != '\n' && data[i] != '\r' {
					data[i] = ' '
				}
			}
			i--
			continue
		case '"':
			for i++; i < len(data) && data[i] != '"'; i++ {
				if data[i] == '\\' {
					i++
				}
			}
			comma = -1
		case ',':
			if comma = -1; last != '[' && last != '{' && last != ',' && last != ':' {
				comma = i
			}
		case ']', '}':
			if comma >= 0 {
				data[comma] = ' '
			}
			comma = -1
		default:
			comma = -1
		}
		if i < len(data) {
			last = data[i]
		}
	}
	return data
}

// commentEnd is where the comment that begins at an offset ends, -1 if none begins or it has no end.
func commentEnd(data []byte, at int) int {
	if at+1 >= len(data) {
		return -1
	}
	switch data[at+1] {
	case '/':
		if n := bytes.IndexByte(data[at:], '\n'); n >= 0 {
			return at + n
		}
		return len(data)
	case '*':
		if n := bytes.Index(data[at+2:], []byte("*/")); n >= 0 {
			return at + 2 + n + 2
		}
	}
	return -1
}

// line returns the line on which the token read last ends.
func (r *jsonReader) line() int { return r.lineAt(int(r.dec.InputOffset())) }

// lineAt returns the line of an offset. Offsets mostly grow, so every byte is looked at once.
func (r *jsonReader) lineAt(offset int) int {
	offset = min(max(offset, 0), len(r.data))
	if offset < r.counted {
		return 1 + bytes.Count(r.data[:offset], []byte{'\n'})
	}
	r.newlines += bytes.Count(r.data[r.counted:offset], []byte{'\n'})
	r.counted = offset
	return 1 + r.newlines
}

// errorf returns a *FormatError for the current line.
func (r *jsonReader) errorf(format string, args ...any) error {
	return &FormatError{r.file, r.line(), fmt.Sprintf(format, args...)}
}

// syntax turns a decoder's error into a *FormatError with its line.
func (r *jsonReader) syntax(err error) error {
	if err == io.EOF {
		return &FormatError{r.file, r.lineAt(len(r.data)), "ends too early"}
	}
	var se *jsontext.SyntacticError
	if !errors.As(err, &se) {
		return &FormatError{r.file, r.line(), err.Error()}
	}
	line := r.lineAt(int(se.ByteOffset))
	if errors.Is(err, jsontext.ErrDuplicateName) {
		return &FormatError{r.file, line, fmt.Sprintf("duplicate name %q: readers disagree about which one counts", se.JSONPointer.LastToken())}
	}
	for _, mark := range []string{"<<<<<<< ", "=======", ">>>>>>> "} {
		if bytes.HasPrefix(r.data, []byte(mark)) || bytes.Contains(r.data, []byte("\n"+mark)) {
			return &FormatError{r.file, line, "has unresolved merge conflicts"}
		}
	}
	if errors.Is(se.Err, io.ErrUnexpectedEOF) {
		return &FormatError{r.file, line, "ends too early"}
	}
	return &FormatError{r.file, line, fmt.Sprintf("not valid JSON: %v", se.Err)}
}

// peek returns the kind of the next token; KindInvalid where the next read will say what is wrong.
func (r *jsonReader) peek() jsontext.Kind { return r.dec.PeekKind() }

// object calls member for each member of the object that comes next, after its name was read.
// member must read the value.
func (r *jsonReader) object(what string, member func(name string) error) error {
	return r.members(what, true, member)
}

// members is object; intern says whether the names are likely to occur again.
func (r *jsonReader) members(what string, intern bool, member func(name string) error) error {
	if k := r.peek(); k != jsontext.KindBeginObject {
		return r.unexpected(k, what, "an object")
	}
	if _, err := r.dec.ReadToken(); err != nil {
		return r.syntax(err)
	}
	for {
		if r.peek() == jsontext.KindEndObject {
			_, err := r.dec.ReadToken()
			return r.orNil(err)
		}
		raw, err := r.dec.ReadValue()
		if err != nil {
			return r.syntax(err)
		}
		name, err := r.unquote(raw, intern)
		if err != nil {
			return err
		}
		if err := member(name); err != nil {
			return err
		}
	}
}

// array calls element for each element of the array that comes next. element must read the value.
func (r *jsonReader) array(what string, element func() error) error {
	if k := r.peek(); k != jsontext.KindBeginArray {
		return r.unexpected(k, what, "an array")
	}
	if _, err := r.dec.ReadToken(); err != nil {
		return r.syntax(err)
	}
	for r.peek() != jsontext.KindEndArray {
		if r.peek() == jsontext.KindInvalid {
			break // the read below says why
		}
		if err := element(); err != nil {
			return err
		}
	}
	_, err := r.dec.ReadToken()
	return r.orNil(err)
}

func (r *jsonReader) orNil(err error) error {
	if err != nil {
		return r.syntax(err)
	}
	return nil
}

// unexpected says that a value has another type than it must have.
func (r *jsonReader) unexpected(k jsontext.Kind, what, want string) error {
	if k == jsontext.KindInvalid {
		_, err := r.dec.ReadToken()
		if err == nil {
			err = io.EOF
		}
		return r.syntax(err)
	}
	if err := r.dec.SkipValue(); err != nil {
		return r.syntax(err)
	}
	return r.errorf("%s must be %s, not %s", what, want, kindWord(k))
}

func kindWord(k jsontext.Kind) string {
	switch k {
	case jsontext.KindString:
		return "a string"
	case jsontext.KindNumber:
		return "a number"
	case jsontext.KindTrue, jsontext.KindFalse:
		return "true or false"
	case jsontext.KindNull:
		return "null"
	case jsontext.KindBeginObject:
		return "an object"
	default:
		return "an array"
	}
}

// str reads a string. null and false count as absent, "": npm 5 wrote `"resolved": false`.
func (r *jsonReader) str(what string, intern bool) (string, error) {
	switch k := r.peek(); k {
	case jsontext.KindString:
		raw, err := r.dec.ReadValue()
		if err != nil {
			return "", r.syntax(err)
		}
		return r.unquote(raw, intern)
	case jsontext.KindNull, jsontext.KindFalse:
		return "", r.skip()
	default:
		return "", r.unexpected(k, what, "a string")
	}
}

// boolean reads true, false or null. Another value would be true or false depending on the reader.
func (r *jsonReader) boolean(what string) (bool, error) {
	switch k := r.peek(); k {
	case jsontext.KindTrue:
		return true, r.skip()
	case jsontext.KindFalse, jsontext.KindNull:
		return false, r.skip()
	default:
		return false, r.unexpected(k, what, "true or false")
	}
}

// skip passes over the next value, whatever it is.
func (r *jsonReader) skip() error { return r.orNil(r.dec.SkipValue()) }

// end makes sure that nothing follows.
func (r *jsonReader) end() error {
	_, err := r.dec.ReadToken()
	if err == io.EOF {
		return nil
	}
	if err == nil {
		return r.errorf("something follows the end of the document")
	}
	return r.syntax(err)
}

// unquote returns the string that raw, a JSON string with its quotes, stands for.
func (r *jsonReader) unquote(raw jsontext.Value, intern bool) (string, error) {
	b := []byte(raw)
	if len(b) >= 2 && bytes.IndexByte(b, '\\') < 0 {
		b = b[1 : len(b)-1]
	} else {
		var err error
		if b, err = jsontext.AppendUnquote(nil, b); err != nil {
			return "", r.errorf("not a valid string: %v", err)
		}
	}
	if !intern || len(b) > 128 {
		return string(b), nil
	}
	if s, ok := r.interned[string(b)]; ok {
		return s, nil
	}
	s := string(b)
	r.interned[s] = s
	return s, nil
}

// intern returns a text that does not keep a longer one in memory, and only once.
func (r *jsonReader) intern(s string) string {
	if t, ok := r.interned[s]; ok {
		return t
	}
	s = strings.Clone(s)
	r.interned[s] = s
	return s
}

// nextLine returns the line on which the next token begins.
func (r *jsonReader) nextLine() int {
	at := int(r.dec.InputOffset())
	for at < len(r.data) && strings.IndexByte(" \t\n\r,:", r.data[at]) >= 0 {
		at++
	}
	return r.lineAt(at)
}

// maybe reads a value that may be null.
func (r *jsonReader) maybe(read func() error) error {
	if r.peek() == jsontext.KindNull {
		return r.skip()
	}
	return read()
}

// each reads an array that may be null.
func (r *jsonReader) each(what string, element func() error) error {
	return r.maybe(func() error { return r.array(what, element) })
}

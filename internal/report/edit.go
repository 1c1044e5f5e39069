package report

import (
	"bytes"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/go-json-experiment/json/jsontext"
)

// This file writes JSON, and changes single places of a JSON document without touching a byte of the rest: an
// SBOM that came in holds what its maker wanted in it, unknown members and spellings of numbers included.

// An object is JSON to be written, its members in order. Values are string, int64, bool, object or []any.
type object []member

type member struct {
	name  string
	value any
}

// with returns the object with another member, or as it is where the value is "".
func (o object) with(name, value string) object {
	if value == "" {
		return o
	}
	return append(o, member{name, value})
}

// A jsonLayout says how JSON is spaced.
type jsonLayout struct {
	newline string // "\n" or "\r\n"; "" for all on one line
	unit    string // one step of indentation
	colon   string // between name and value: ": "
}

// append appends a value that begins on a line with the given indentation.
func (l jsonLayout) append(dst []byte, v any, indent string) []byte {
	switch v := v.(type) {
	case string:
		return appendText(dst, v)
	case int64:
		return strconv.AppendInt(dst, v, 10)
	case bool:
		return strconv.AppendBool(dst, v)
	case object:
		if len(v) == 0 {
			return append(dst, "{}"...)
		}
		dst = append(dst, '{')
		for i, m := range v {
			dst = l.next(dst, i, indent+l.unit)
			dst = appendText(dst, m.name)
			dst = append(dst, l.colon...)
			dst = l.append(dst, m.value, indent+l.unit)
		}
		return append(l.line(dst, indent), '}')
	case []any:
		if len(v) == 0 {
			return append(dst, "[]"...)
		}
		dst = append(dst, '[')
		for i, e := range v {
			dst = l.append(l.next(dst, i, indent+l.unit), e, indent+l.unit)
		}
		return append(l.line(dst, indent), ']')
	}
	panic(fmt.Sprintf("report: %T is no JSON", v)) // only this package makes such values
}

func (l jsonLayout) next(dst []byte, i int, indent string) []byte {
	if i > 0 {
		dst = append(dst, l.comma("")...)
	}
	return l.line(dst, indent)
}

// comma is what stands between two members or elements, before the white space that follows the line.
func (l jsonLayout) comma(space string) string {
	if l.newline == "" && space == "" && strings.HasSuffix(l.colon, " ") {
		return ", "
	}
	return "," + space
}

func (l jsonLayout) line(dst []byte, indent string) []byte {
	if l.newline == "" {
		return dst
	}
	return append(append(dst, l.newline...), indent...)
}

// pretty is how assay lays out documents of its own.
var pretty = jsonLayout{newline: "\n", unit: "  ", colon: ": "}

// An editor replaces places of a document.
type editor struct {
	file  string // for errors
	src   []byte
	d     *jsontext.Decoder
	base  int // of what d reads, in src
	l     jsonLayout
	edits []edit
	added map[int]bool // objects without members that have got one, by where they start
}

// An edit puts text in place of src[start:end].
type edit struct {
	start, end int
	text       []byte
}

// A stretch is a value's place in the document.
type stretch struct{ start, end int }

// An extent is an object's or an array's: last is where its last member or element ends, 0 if it has none.
type extent struct {
	stretch
	last int
}

// newEditor begins to read a document. A byte order mark is passed over and stays.
func newEditor(file string, document []byte) *editor {
	e := &editor{file: file, src: document, added: map[int]bool{}}
	if bytes.HasPrefix(document, []byte("\ufeff")) {
		e.base = 3
	}
	e.d = jsontext.NewDecoder(bytes.NewBuffer(document[e.base:]))
	return e
}

// at is where the reading stands.
func (e *editor) at() int { return e.base + int(e.d.InputOffset()) }

func (e *editor) errorf(at int, format string, args ...any) error {
	line := 1 + bytes.Count(e.src[:min(at, len(e.src))], []byte("\n"))
	return fmt.Errorf("%s:%d: %s", cmpFile(e.file), line, fmt.Sprintf(format, args...))
}

func cmpFile(file string) string {
	if file == "" {
		return "SBOM"
	}
	return file
}

// wrap gives an error of the decoder its file and line.
func (e *editor) wrap(err error) error {
	var syntax *jsontext.SyntacticError
	if errors.As(err, &syntax) {
		text := "it is not JSON that can be read in one way only"
		if syntax.Err != nil {
			text += ": " + syntax.Err.Error()
		}
		return e.errorf(e.base+int(syntax.ByteOffset), "%s", text)
	}
	return e.errorf(e.at(), "it ends before its end")
}

// value reads any value and tells where it stands.
func (e *editor) value() (stretch, error) {
	v, err := e.d.ReadValue()
	if err != nil {
		return stretch{}, e.wrap(err)
	}
	return stretch{e.at() - len(v), e.at()}, nil
}

// text reads a value, "" if it is no string.
func (e *editor) text() (string, stretch, error) {
	kind := e.d.PeekKind()
	s, err := e.value()
	if err != nil || kind != '"' {
		return "", s, err
	}
	return unquote(e.src[s.start:s.end]), s, nil
}

func unquote(raw []byte) string {
	text, err := jsontext.AppendUnquote(nil, raw)
	if err != nil {
		return ""
	}
	return string(text)
}

// list reads an array and tells where its elements stand.
func (e *editor) list(what string) (extent, []stretch, error) {
	var elements []stretch
	p, err := e.array(what, func() error {
		s, err := e.value()
		elements = append(elements, s)
		return err
	})
	return p, elements, err
}

// object reads an object; read is called at the value of each member and has to consume it.
func (e *editor) object(what string, read func(name string) error) (extent, error) {
	return e.nested('{', "an object", what, func() error {
		name, err := e.d.ReadToken()
		if err != nil {
			return e.wrap(err)
		}
		return read(name.String())
	})
}

// array reads an array; read is called at each element and has to consume it.
func (e *editor) array(what string, read func() error) (extent, error) {
	return e.nested('[', "an array", what, read)
}

func (e *editor) nested(kind jsontext.Kind, a, what string, read func() error) (p extent, err error) {
	if k := e.d.PeekKind(); k != kind {
		if k == 0 {
			_, err := e.d.ReadToken()
			return p, e.wrap(err)
		}
		return p, e.errorf(e.at(), "%s is not %s", what, a)
	}
	if _, err := e.d.ReadToken(); err != nil {
		return p, e.wrap(err)
	}
	p.start = e.at() - 1
	for {
		switch e.d.PeekKind() {
		case '}', ']':
			if _, err := e.d.ReadToken(); err != nil {
				return p, e.wrap(err)
			}
			p.end = e.at()
			return p, nil
		case 0:
			_, err := e.d.ReadToken()
			return p, e.wrap(err)
		}
		if err := read(); err != nil {
			return p, err
		}
		p.last = e.at()
	}
}

// end makes sure that nothing follows the document.
func (e *editor) end() error {
	if rest := bytes.TrimLeft(e.src[e.at():], " \t\r\n"); len(rest) > 0 {
		return e.errorf(len(e.src)-len(rest), "something follows the end of the document")
	}
	return nil
}

// spacing is the white space that begins an object or an array.
func (e *editor) spacing(p extent) string {
	i := p.start + 1
	for i < p.end && strings.IndexByte(" \t\r\n", e.src[i]) >= 0 {
		i++
	}
	return string(e.src[p.start+1 : i])
}

// learn takes the document's layout from its outermost object.
func (e *editor) learn(p extent) {
	newline, unit := split(e.spacing(p))
	e.l = jsonLayout{newline: newline, unit: unit, colon: ":"}
	i := p.start + 1
	i += bytes.IndexByte(e.src[i:], '"')
	d := jsontext.NewDecoder(bytes.NewBuffer(e.src[i:]))
	name, err := d.ReadValue()
	if err != nil || p.last == 0 {
		e.l.colon = ": "
		return
	}
	i += len(name)
	end := i
	for end < len(e.src) && strings.IndexByte(" \t\r\n:", e.src[end]) >= 0 {
		end++
	}
	e.l.colon = string(e.src[i:end])
}

// split takes apart the white space before a member: the line's end, and the indentation after it.
func split(space string) (newline, indent string) {
	i := strings.LastIndexByte(space, '\n')
	if i < 0 {
		return "", ""
	}
	if i > 0 && space[i-1] == '\r' {
		return "\r\n", space[i+1:]
	}
	return "\n", space[i+1:]
}

// inside is the layout of what is put into an object or array that is spaced in this way.
func (e *editor) inside(space string) (l jsonLayout, indent string) {
	l = e.l
	l.newline, indent = split(space)
	return l, indent
}

func (e *editor) replace(s stretch, text []byte) {
	if !bytes.Equal(e.src[s.start:s.end], text) {
		e.edits = append(e.edits, edit{s.start, s.end, text})
	}
}

// add puts a member after the last one of an object.
func (e *editor) add(owner extent, name string, value any) {
	space := e.spacing(owner)
	l, indent := e.inside(space)
	var text []byte
	at := owner.last
	if at == 0 {
		at = owner.start + 1
		space = ""
		if e.added[owner.start] {
			text = append(text, ',')
		}
	} else {
		text = append(text, l.comma(space)...)
	}
	e.added[owner.start] = true
	text = append(appendText(text, name), l.colon...)
	e.edits = append(e.edits, edit{at, at, l.append(text, value, indent)})
}

// An entries is an array that may hold entries of an earlier run.
type entries struct {
	extent
	elements []stretch
	ours     []bool // parallel to elements
}

// entries reads an array; ours says of an element's bytes whether an earlier run wrote it.
func (e *editor) entries(what string, ours func(raw []byte) bool) (*entries, error) {
	p, elements, err := e.list(what)
	if err != nil {
		return nil, err
	}
	out := &entries{p, elements, make([]bool, len(elements))}
	for i, s := range elements {
		out.ours[i] = ours(e.src[s.start:s.end])
	}
	return out, nil
}

// any reports whether an earlier run wrote one of the entries.
func (n *entries) any() bool { return n != nil && slices.Contains(n.ours, true) }

// set makes an object hold the wanted entries in one of its arrays, in place of those of an earlier run; have
// is the array, nil if there is none. The other entries stay as they are.
func (e *editor) set(owner extent, name string, have *entries, want []any) {
	if have == nil {
		if len(want) > 0 {
			e.add(owner, name, want)
		}
		return
	}
	space := e.spacing(have.extent)
	first, kept := slices.Index(have.ours, true), slices.Index(have.ours, false)
	switch {
	case len(have.elements) == 0 && len(want) > 0:
		l, indent := e.inside(e.spacing(owner))
		e.replace(have.stretch, l.append(nil, want, indent))
	case first < 0 && len(want) > 0:
		l, indent := e.inside(space)
		at := have.last
		text := []byte(l.comma(space))
		e.edits = append(e.edits, edit{at, at, append(text, l.each(want, indent, space)...)})
	case first < 0:
	case len(want) > 0:
		l, indent := e.inside(space)
		e.replaceRun(have, first, l.each(want, indent, space))
	case kept < 0:
		e.replace(have.stretch, []byte("[]"))
	default:
		if kept > 0 {
			e.replace(stretch{have.elements[0].start, have.elements[kept].start}, nil)
		}
		for i := kept + 1; i < len(have.elements); i++ {
			if have.ours[i] {
				e.replace(stretch{have.elements[i-1].end, have.elements[i].end}, nil)
			}
		}
	}
}

// replaceRun puts text in place of the entries of an earlier run, at the first of them. Where they stand
// together, as they were written, nothing is an edit if nothing changes.
func (e *editor) replaceRun(have *entries, first int, text []byte) {
	end := first + 1
	for end < len(have.ours) && have.ours[end] {
		end++
	}
	e.replace(stretch{have.elements[first].start, have.elements[end-1].end}, text)
	for i := end; i < len(have.ours); i++ {
		if have.ours[i] {
			e.replace(stretch{have.elements[i-1].end, have.elements[i].end}, nil)
		}
	}
}

// each writes elements one after another as they stand in an array with this spacing.
func (l jsonLayout) each(values []any, indent, space string) (dst []byte) {
	for i, v := range values {
		if i > 0 {
			dst = append(dst, l.comma(space)...)
		}
		dst = l.append(dst, v, indent)
	}
	return dst
}

// result is the document with all edits made.
func (e *editor) result() []byte {
	slices.SortStableFunc(e.edits, func(a, b edit) int { return a.start - b.start })
	size := len(e.src)
	for _, c := range e.edits {
		size += len(c.text)
	}
	out := make([]byte, 0, size)
	at := 0
	for _, c := range e.edits {
		out = append(append(out, e.src[at:c.start]...), c.text...)
		at = c.end
	}
	return append(out, e.src[at:]...)
}

// mayBeOurs reports whether a value can hold the name of the tool at all, which most do not.
func mayBeOurs(raw []byte) bool {
	return len(raw) > 0 && raw[0] == '{' && (bytes.Contains(raw, []byte(tool)) || bytes.IndexByte(raw, '\\') >= 0)
}

// textMember returns a text member of an object's bytes, "" if there is none or it is no text.
func textMember(raw []byte, name string) string {
	d := jsontext.NewDecoder(bytes.NewBuffer(raw))
	if d.PeekKind() != '{' {
		return ""
	}
	d.ReadToken()
	for d.PeekKind() == '"' {
		n, err := d.ReadToken()
		if err != nil {
			return ""
		}
		found := n.String() == name
		if found && d.PeekKind() == '"' {
			v, err := d.ReadToken()
			if err != nil {
				return ""
			}
			return v.String()
		}
		if d.SkipValue() != nil || found {
			return ""
		}
	}
	return ""
}

package inventory

import (
	"fmt"
	"hash/maphash"
	"strings"
	"unicode/utf8"
)

// parseYAML reads every document of a file; none is left out, not even an empty one. text is kept. Of a
// file that is empty or all comments there are no documents. The error is a *FormatError.
func parseYAML(file, text string) ([]yamlValue, error) {
	p := &yamlParser{yamlText: yamlText{file: file, text: strings.TrimPrefix(text, "\ufeff")}, line: 1}
	docs, err := p.documents()
	if err == nil {
		return docs, nil
	}
	// Both sides of a merge conflict stand in the file: say that, whatever it broke.
	line := 1
	for l := range strings.Lines(text) {
		if strings.HasPrefix(l, "<<<<<<< ") || strings.HasPrefix(l, "=======") || strings.HasPrefix(l, ">>>>>>> ") {
			return nil, &FormatError{file, line, "has unresolved merge conflicts"}
		}
		line++
	}
	return nil, err
}

// A yamlParser reads one file from front to back. Between two constructs it stands at the first byte of
// the next one, which is in column col.
type yamlParser struct {
	yamlText
	pos   int // in text
	line  int
	bol   int // where the line begins
	col   int // of what comes next; -1 at the end of a document
	depth int
	seed  maphash.Seed
}

func (p *yamlParser) errorf(format string, args ...any) error {
	return &FormatError{p.file, p.line, fmt.Sprintf(format, args...)}
}

// checkText looks for characters that no text file has, and for line ends that only some readers take for such.
func (p *yamlParser) checkText() error {
	if len(p.text) > maxYAMLText {
		return &FormatError{p.file, 0, fmt.Sprintf("larger than %d bytes", maxYAMLText)}
	}
	bad := func(i int, format string, args ...any) error {
		return &FormatError{p.file, 1 + strings.Count(p.text[:i], "\n"), fmt.Sprintf(format, args...)}
	}
	for i := 0; i < len(p.text); i++ {
		switch c := p.text[i]; {
		case ' ' <= c && c < 0x7f, c == '\n', c == '\t':
		case c == '\r':
			if i+1 == len(p.text) || p.text[i+1] != '\n' {
				return bad(i, "has a carriage return without line feed, which not every reader takes for a line end")
			}
		case c < utf8.RuneSelf:
			return bad(i, "has the control character %#02x", c)
		default:
			r, size := utf8.DecodeRuneInString(p.text[i:])
			switch {
			case r == utf8.RuneError && size == 1:
				return bad(i, "is not valid UTF-8")
			case r < 0xa0, r == 0x2028, r == 0x2029, r == 0xfeff, r == 0xfffe, r == 0xffff:
				return bad(i, "has the character %U", r)
			}
			i += size - 1
		}
	}
	return nil
}

func (p *yamlParser) documents() ([]yamlValue, error) {
	if err := p.checkText(); err != nil {
		return nil, err
	}
	var docs []yamlValue
	if err := p.token(); err != nil {
		return nil, err
	}
	for p.col >= 0 || p.pos < len(p.text) {
		if p.col < 0 {
			if p.text[p.pos] == '.' {
				return nil, p.errorf(`"..." is not supported`)
			}
			p.pos += len("---")
			if p.skipSpaces(); !p.atEnd() {
				return nil, p.errorf(`something follows "---" on its line`)
			}
			if err := p.endLine(); err != nil {
				return nil, err
			}
		}
		if len(docs) == maxYAMLDocs {
			return nil, p.errorf("more than %d documents", maxYAMLDocs)
		}
		docs = append(docs, yamlValue{&p.yamlText, p.count})
		if p.col < 0 {
			if err := p.push(yamlNode{bits: uint32(p.line) << yamlLineShift}); err != nil {
				return nil, err
			}
			continue
		}
		if err := p.block(-1, true); err != nil {
			return nil, err
		}
		if p.col >= 0 {
			return nil, p.errorf("something follows that does not belong to the document, or is not indented like it")
		}
	}
	return docs, nil
}

// push adds a node.
func (p *yamlParser) push(n yamlNode) error {
	if p.count == maxYAMLNodes {
		return p.errorf("more than %d values", maxYAMLNodes)
	}
	if p.count%yamlPiece == 0 {
		size := yamlPiece
		if p.count == 0 {
			size = min(size, len(p.text)/2+2)
		}
		p.nodes = append(p.nodes, make([]yamlNode, 0, size))
	}
	last := &p.nodes[len(p.nodes)-1]
	*last = append(*last, n)
	p.count++
	return nil
}

// open adds a collection, which close ends.
func (p *yamlParser) open(kind yamlKind) (int32, error) {
	if p.depth++; p.depth > maxYAMLDepth {
		return 0, p.errorf("is nested more than %d deep", maxYAMLDepth)
	}
	at := p.count
	return at, p.push(yamlNode{bits: uint32(p.line)<<yamlLineShift | uint32(kind)})
}

func (p *yamlParser) close(at int32) {
	p.depth--
	p.node(at).end = uint32(p.count)
}

// blankAt reports whether a blank or the line's end is at i.
func (p *yamlParser) blankAt(i int) bool {
	return i >= len(p.text) || p.text[i] == ' ' || p.text[i] == '\n' || p.text[i] == '\r'
}

// eol reports whether the line ends at i.
func (p *yamlParser) eol(i int) bool {
	return i >= len(p.text) || p.text[i] == '\n' || p.text[i] == '\r'
}

func (p *yamlParser) skipSpaces() {
	for p.pos < len(p.text) && p.text[p.pos] == ' ' {
		p.pos++
	}
}

// atEnd reports whether nothing but a comment comes on this line.
func (p *yamlParser) atEnd() bool {
	return p.eol(p.pos) || p.text[p.pos] == '#' && (p.pos == p.bol || p.text[p.pos-1] == ' ')
}

// newLine goes to the beginning of the next line.
func (p *yamlParser) newLine() {
	i := strings.IndexByte(p.text[p.pos:], '\n')
	if i < 0 {
		p.pos = len(p.text)
		return
	}
	p.pos += i + 1
	p.bol = p.pos
	p.line++
}

// marker reports whether a document begins or ends at the line that begins at i.
func (p *yamlParser) marker(i int) bool {
	s := p.text[i:]
	return len(s) >= 3 && (s[:3] == "---" || s[:3] == "...") && (len(s) == 3 || s[3] == '\t' || p.blankAt(i+3))
}

// token goes from the beginning of a line to what comes next.
func (p *yamlParser) token() error {
	for {
		p.skipSpaces()
		switch {
		case p.pos >= len(p.text):
			p.col = -1
			return nil
		case p.atEnd():
			p.newLine()
			continue
		case p.text[p.pos] == '\t':
			return p.errorf("is indented with a tab")
		}
		p.col = p.pos - p.bol
		if p.col == 0 {
			if p.marker(p.pos) {
				p.col = -1
			} else if p.text[p.pos] == '%' {
				return p.errorf("directives (%%) are not supported")
			}
		}
		return nil
	}
}

// endLine makes sure that the line has nothing more to say, and goes to what comes next.
func (p *yamlParser) endLine() error {
	p.skipSpaces()
	if !p.atEnd() {
		switch p.text[p.pos] {
		case '\t':
			return p.errorf("has a tab where only spaces are understood")
		case ':':
			return p.errorf("has a value where none can stand")
		}
		return p.errorf("something follows the end of a value: %s", quoteShort(p.rest()))
	}
	p.newLine()
	return p.token()
}

// rest is the rest of the line.
func (p *yamlParser) rest() string {
	s, _, _ := strings.Cut(p.text[p.pos:], "\n")
	return strings.TrimSuffix(s, "\r")
}

// block reads the node that begins here and belongs to a collection in column n. With collections it may
// be one in block style; what stands behind a key on its line may not.
func (p *yamlParser) block(n int, collections bool) error {
	c := p.pos - p.bol
	switch ch := p.text[p.pos]; ch {
	case '-', '?':
		if !p.blankAt(p.pos + 1) {
			break
		}
		if !collections {
			return p.errorf("%q cannot stand here", ch)
		}
		if ch == '-' {
			return p.sequence(c)
		}
		key, err := p.explicitKey(c)
		if err != nil {
			return err
		}
		return p.mapping(c, key, true)
	case '[', '{':
		if err := p.flow(n); err != nil {
			return err
		}
		return p.endLine()
	case '|', '>':
		return p.blockScalar(n)
	}
	scalar, err := p.oneLine(n, false)
	if err != nil {
		return err
	}
	if p.colon() {
		if !collections {
			return p.errorf("has a second key on one line")
		}
		return p.mapping(c, scalar, false)
	}
	if yamlKind(scalar.bits&3) == yamlPlain {
		if err := p.continuePlain(&scalar, n); err != nil {
			return err
		}
	}
	if err := p.push(scalar); err != nil {
		return err
	}
	return p.endLine()
}

// colon passes over a colon that makes a key of what is before it.
func (p *yamlParser) colon() bool {
	i := p.pos
	for i < len(p.text) && p.text[i] == ' ' {
		i++
	}
	if i == len(p.text) || p.text[i] != ':' || !p.blankAt(i+1) {
		return false
	}
	p.pos = i + 1
	return true
}

// checkKey looks at a key that was read last and began at from.
func (p *yamlParser) checkKey(key *yamlNode, from int, implicit bool) error {
	switch {
	case int(key.bits>>yamlLineShift) != p.line:
		return p.errorf("has a key of several lines")
	case implicit && p.pos-from > maxImplicitKey:
		return p.errorf(`has a key of more than %d bytes without "? "`, maxImplicitKey)
	case p.pos-from > maxYAMLKey:
		return p.errorf("has a key of more than %d bytes", maxYAMLKey)
	case yamlKind(key.bits&3) == yamlPlain && p.text[key.at:key.end] == "<<":
		return p.errorf("merge keys (<<) are not supported")
	}
	return nil
}

// explicitKey reads "? key", the line of the ":" and that colon.
func (p *yamlParser) explicitKey(c int) (yamlNode, error) {
	p.pos++
	p.skipSpaces()
	if p.atEnd() {
		return yamlNode{}, p.errorf(`has no key behind "? "`)
	}
	if ch := p.text[p.pos]; ch == '[' || ch == '{' || ch == '|' || ch == '>' || (ch == '-' || ch == '?') && p.blankAt(p.pos+1) {
		return yamlNode{}, p.errorf("has a key that is no plain or quoted string")
	}
	from := p.pos
	key, err := p.oneLine(c, false)
	if err == nil {
		err = p.checkKey(&key, from, false)
	}
	if err == nil {
		err = p.endLine()
	}
	if err != nil {
		return key, err
	}
	if p.col != c || p.text[p.pos] != ':' || !p.blankAt(p.pos+1) {
		return key, p.errorf(`has no ":" below "?"`)
	}
	p.pos++
	return key, nil
}

// mapping reads a mapping in column c, whose first key and colon were read.
func (p *yamlParser) mapping(c int, key yamlNode, explicit bool) error {
	line := p.line
	p.line = int(key.bits >> yamlLineShift)
	at, err := p.open(yamlMap)
	p.line = line
	if err != nil {
		return err
	}
	if !explicit {
		if err := p.checkKey(&key, p.bol+c, true); err != nil {
			return err
		}
	}
	ordered, last := true, ""
	for first := true; ; first = false {
		name := p.scalar(&key)
		ordered = ordered && (first || last < name)
		last = name
		if err := p.push(key); err != nil {
			return err
		}
		if err := p.value(c, int(key.bits>>yamlLineShift), explicit); err != nil {
			return err
		}
		if p.col < c {
			break
		}
		if p.col > c {
			return p.errorf("is indented more than the keys around it")
		}
		ch := p.text[p.pos]
		switch {
		case ch == '-' && p.blankAt(p.pos+1):
			return p.errorf("has an item of a sequence among keys")
		case ch == '[' || ch == '{' || ch == '|' || ch == '>':
			return p.errorf("has a key that is no plain or quoted string")
		}
		if explicit = ch == '?' && p.blankAt(p.pos+1); explicit {
			if key, err = p.explicitKey(c); err != nil {
				return err
			}
			continue
		}
		from := p.pos
		if key, err = p.oneLine(c, false); err != nil {
			return err
		}
		if !p.colon() {
			return p.errorf(`%s is no key: ":" and a space are missing`, quoteShort(p.scalar(&key)))
		}
		if err := p.checkKey(&key, from, true); err != nil {
			return err
		}
	}
	p.close(at)
	if ordered {
		return nil
	}
	return p.checkDuplicates(at)
}

// value reads what follows the colon of a key in column c.
func (p *yamlParser) value(c, line int, explicit bool) error {
	p.skipSpaces()
	if !p.atEnd() {
		return p.block(c, explicit)
	}
	if err := p.endLine(); err != nil {
		return err
	}
	switch {
	case p.col > c:
		return p.block(c, true)
	case p.col == c && !explicit && p.text[p.pos] == '-' && p.blankAt(p.pos+1):
		return p.sequence(c)
	}
	return p.push(yamlNode{bits: uint32(line) << yamlLineShift})
}

// sequence reads a sequence whose dashes are in column c.
func (p *yamlParser) sequence(c int) error {
	at, err := p.open(yamlSeq)
	if err != nil {
		return err
	}
	for {
		line := p.line
		p.pos++
		p.skipSpaces()
		if !p.atEnd() {
			err = p.block(c, true)
		} else if err = p.endLine(); err == nil {
			if p.col > c {
				err = p.block(c, true)
			} else {
				err = p.push(yamlNode{bits: uint32(line) << yamlLineShift})
			}
		}
		if err != nil {
			return err
		}
		if p.col > c {
			return p.errorf("is indented more than the items around it")
		}
		if p.col < c || p.text[p.pos] != '-' || !p.blankAt(p.pos+1) {
			break
		}
	}
	p.close(at)
	return nil
}

// flow reads a collection in brackets or braces.
func (p *yamlParser) flow(n int) error {
	kind, end := yamlSeq, byte(']')
	if p.text[p.pos] == '{' {
		kind, end = yamlMap, '}'
	}
	at, err := p.open(kind)
	if err != nil {
		return err
	}
	p.pos++
	ordered, last := true, ""
	for first := true; ; first = false {
		c, err := p.flowToken()
		if err != nil {
			return err
		}
		if c == end {
			break
		}
		if kind == yamlMap {
			name, err := p.flowKey(n)
			if err != nil {
				return err
			}
			ordered = ordered && (first || last < name)
			last = name
		} else if err := p.flowValue(n); err != nil {
			return err
		}
		if c, err = p.flowToken(); err != nil {
			return err
		}
		if c == end {
			break
		}
		if c != ',' {
			return p.errorf("has %q where a comma or %q must be", c, end)
		}
		p.pos++
	}
	p.pos++
	p.close(at)
	if ordered {
		return nil
	}
	return p.checkDuplicates(at)
}

// flowToken passes over blanks, line breaks and comments and returns the byte that follows.
func (p *yamlParser) flowToken() (byte, error) {
	for {
		p.skipSpaces()
		if p.pos >= len(p.text) {
			return 0, p.errorf("ends within brackets")
		}
		if !p.atEnd() {
			break
		}
		if p.newLine(); p.marker(p.pos) {
			return 0, p.errorf("begins or ends a document within brackets")
		}
	}
	if p.text[p.pos] == '\t' {
		return 0, p.errorf("has a tab where only spaces are understood")
	}
	return p.text[p.pos], nil
}

// flowKey reads a key, its colon and its value.
func (p *yamlParser) flowKey(n int) (string, error) {
	from, line := p.pos, p.line
	if c := p.text[p.pos]; c == '[' || c == '{' {
		return "", p.errorf("has a key that is no plain or quoted string")
	}
	key, err := p.oneLine(n, true)
	if err != nil {
		return "", err
	}
	if !p.colon() {
		// As in JSON, no space is needed behind a key in quotes.
		if yamlKind(key.bits&3) != yamlQuoted || p.pos >= len(p.text) || p.text[p.pos] != ':' {
			return "", p.errorf(`%s is no key: ":" and a space are missing`, quoteShort(p.scalar(&key)))
		}
		p.pos++
	}
	if err := p.checkKey(&key, from, true); err != nil {
		return "", err
	}
	name := p.scalar(&key)
	if err := p.push(key); err != nil {
		return "", err
	}
	c, err := p.flowToken()
	if err != nil {
		return "", err
	}
	if c == ',' || c == '}' {
		return name, p.push(yamlNode{bits: uint32(line) << yamlLineShift})
	}
	return name, p.flowValue(n)
}

// flowValue reads a value inside brackets or braces.
func (p *yamlParser) flowValue(n int) error {
	if c := p.text[p.pos]; c == '[' || c == '{' {
		return p.flow(n)
	}
	scalar, err := p.oneLine(n, true)
	if err != nil {
		return err
	}
	return p.push(scalar)
}

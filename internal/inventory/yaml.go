package inventory

import (
	"fmt"
	"hash/maphash"
	"iter"
	"slices"
)

// This file reads the YAML that package managers write and people write for them: pnpm-lock.yaml,
// pnpm-workspace.yaml, yarn.lock of Yarn 2 and later, .yarnrc.yml. It is a strict part of YAML 1.2:
// block and flow collections, plain, quoted and block scalars, explicit keys, comments, several
// documents. What could make one small file mean something huge, or mean one thing to one reader and
// another to the next, is refused by name and line: anchors, aliases, merge keys, tags, directives,
// duplicate keys, tabs for blanks, keys that are no scalars. Whatever is accepted means to every YAML
// reader what it means here.
//
//	docs, err := parseYAML("pnpm-lock.yaml", text)
//	for key, value := range docs[0].members() { … key.text() … value.line() … }
//
// A document is a flat list of nodes of 12 bytes that point into the text, so texts cost nothing and
// keep the whole file in memory; strings.Clone those that shall outlive it.
// Source: https://yaml.org/spec/1.2.2/.

// Limits on YAML.
const (
	maxYAMLDepth = 100        // collections inside one another
	maxYAMLKey   = 64 << 10   // bytes of one key
	maxYAMLNodes = 10_000_000 // keys, values and collections of one file
	maxYAMLDocs  = 100

	maxImplicitKey = 1024 // bytes of a key without "? "; YAML's own limit
	maxYAMLText    = 1<<28 + 1<<10
)

// A yamlKind is what a yamlValue is.
type yamlKind uint8

const (
	yamlPlain  yamlKind = iota // a scalar without quotes: string, number, boolean or null; "" where nothing is written
	yamlQuoted                 // a scalar in quotes or a block scalar: always a string
	yamlMap
	yamlSeq
)

// String is the kind with its article, for messages.
func (k yamlKind) String() string {
	return [...]string{"a plain scalar", "a string", "a mapping", "a sequence"}[k&3]
}

// A yamlValue is one node of a document: a scalar, a mapping, a sequence, or the key of a mapping.
type yamlValue struct {
	y *yamlText
	i int32
}

// A yamlText holds the nodes of all documents of one file. A collection comes before what is in it, a
// key before its value.
type yamlText struct {
	file    string
	text    string
	nodes   [][]yamlNode // in pieces of one size, so that growing copies nothing
	count   int32
	decoded []string // scalars that are not in the text as they are
}

type yamlNode struct {
	at, end uint32 // of a scalar: its place in the text, or at is the index in decoded; of a collection: end is the node after it
	bits    uint32 // line, isDecoded, kind
}

const (
	yamlDecoded   = 1 << 2
	yamlLineShift = 3
	yamlPiece     = 1 << 14 // nodes
)

func (y *yamlText) node(i int32) *yamlNode { return &y.nodes[i/yamlPiece][i%yamlPiece] }

// after is the node that follows i and what is in it.
func (y *yamlText) after(i int32) int32 {
	if n := y.node(i); yamlKind(n.bits&3) >= yamlMap {
		return int32(n.end)
	}
	return i + 1
}

// scalar is the text of a scalar.
func (y *yamlText) scalar(n *yamlNode) string {
	if n.bits&yamlDecoded != 0 {
		return y.decoded[n.at]
	}
	return y.text[n.at:n.end]
}

func (v yamlValue) kind() yamlKind { return yamlKind(v.y.node(v.i).bits & 3) }

// line is the line, from 1, on which the value begins; of an empty one that of its key.
func (v yamlValue) line() int { return int(v.y.node(v.i).bits >> yamlLineShift) }

// text is a scalar's text without quotes and escapes; "" for a collection.
func (v yamlValue) text() string {
	n := v.y.node(v.i)
	if yamlKind(n.bits&3) >= yamlMap {
		return ""
	}
	return v.y.scalar(n)
}

// isNull reports whether nothing is written, or null.
func (v yamlValue) isNull() bool {
	if v.kind() != yamlPlain {
		return false
	}
	switch v.text() {
	case "", "~", "null", "Null", "NULL":
		return true
	}
	return false
}

// members ranges over the keys and values of a mapping, in the file's order. Of anything else there are none.
func (v yamlValue) members() iter.Seq2[yamlValue, yamlValue] {
	return func(yield func(key, value yamlValue) bool) {
		n := v.y.node(v.i)
		if yamlKind(n.bits&3) != yamlMap {
			return
		}
		for k := v.i + 1; k < int32(n.end); k = v.y.after(k + 1) {
			if !yield(yamlValue{v.y, k}, yamlValue{v.y, k + 1}) {
				return
			}
		}
	}
}

// items ranges over the items of a sequence. Of anything else there are none.
func (v yamlValue) items() iter.Seq[yamlValue] {
	return func(yield func(yamlValue) bool) {
		n := v.y.node(v.i)
		if yamlKind(n.bits&3) != yamlSeq {
			return
		}
		for k := v.i + 1; k < int32(n.end); k = v.y.after(k) {
			if !yield(yamlValue{v.y, k}) {
				return
			}
		}
	}
}

// get returns the value of a key of a mapping. It looks at every key before it.
func (v yamlValue) get(key string) (yamlValue, bool) {
	for k, value := range v.members() {
		if k.text() == key {
			return value, true
		}
	}
	return yamlValue{}, false
}

// errorf returns a *FormatError for the line of the value.
func (v yamlValue) errorf(format string, args ...any) error {
	return &FormatError{v.y.file, v.line(), fmt.Sprintf(format, args...)}
}

// str returns a scalar as a string, "" for null. what names it in the error for a collection.
func (v yamlValue) str(what string) (string, error) {
	switch {
	case v.kind() >= yamlMap:
		return "", v.errorf("%s must be a string, not %s", what, v.kind())
	case v.isNull():
		return "", nil
	}
	return v.text(), nil
}

// boolean returns true or false, false for null. Another value would be true or false depending on the reader.
func (v yamlValue) boolean(what string) (bool, error) {
	if v.isNull() {
		return false, nil
	}
	if v.kind() == yamlPlain {
		switch v.text() {
		case "true":
			return true, nil
		case "false":
			return false, nil
		}
	}
	return false, v.errorf("%s must be true or false, not %s", what, v.describe())
}

// expect makes sure that a value is a mapping or a sequence; null counts as an empty one.
func (v yamlValue) expect(kind yamlKind, what string) error {
	if v.kind() != kind && !v.isNull() {
		return v.errorf("%s must be %s, not %s", what, kind, v.describe())
	}
	return nil
}

func (v yamlValue) describe() string {
	if v.kind() >= yamlMap {
		return v.kind().String()
	}
	return quoteShort(v.text())
}

// checkDuplicates looks for a key that a mapping has twice.
func (p *yamlParser) checkDuplicates(at int32) error {
	m := yamlValue{&p.yamlText, at}
	const few = 12
	names := make([]string, 0, few)
	count := 0
	for k := range m.members() {
		if count++; count <= few {
			if slices.Contains(names, k.text()) {
				return duplicateKey(k)
			}
			names = append(names, k.text())
		}
	}
	if count <= few {
		return nil
	}
	if p.seed == (maphash.Seed{}) {
		p.seed = maphash.MakeSeed()
	}
	hashes := make([]uint64, 0, count)
	for k := range m.members() {
		hashes = append(hashes, maphash.String(p.seed, k.text()))
	}
	slices.Sort(hashes)
	twice := make(map[uint64]string)
	for i, h := range hashes[1:] {
		if h == hashes[i] {
			twice[h] = ""
		}
	}
	if len(twice) == 0 {
		return nil
	}
	seen := make(map[string]bool)
	for k := range m.members() {
		if _, ok := twice[maphash.String(p.seed, k.text())]; ok {
			if seen[k.text()] {
				return duplicateKey(k)
			}
			seen[k.text()] = true
		}
	}
	return nil
}

func duplicateKey(k yamlValue) error {
	return k.errorf("duplicate name %s: readers disagree about which one counts", quoteShort(k.text()))
}

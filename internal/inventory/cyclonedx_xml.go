package inventory

import (
	"bytes"
	"encoding/xml"
	"errors"
	"fmt"
	"io"
	"strings"
)

// cycloneDXNamespace begins the namespaces of CycloneDX's versions.
const cycloneDXNamespace = "http://cyclonedx.org/schema/bom/"

// maxXMLDepth bounds elements within elements: a few for each of nested components.
const maxXMLDepth = 4*maxNesting + 20

// An xmlReader reads one XML document token by token and knows on which line it is. It refuses document type
// declarations, and with them entities of the document's own; attributes that occur twice; anything after the end.
type xmlReader struct {
	file      string
	dec       *xml.Decoder
	namespace string // elements of others are passed over
	depth     int
	line      int // on which the token read last begins
}

// next reads a token.
func (x *xmlReader) next() (xml.Token, error) {
	x.line, _ = x.dec.InputPos()
	token, err := x.dec.Token()
	switch t := token.(type) {
	case xml.StartElement:
		if x.depth++; x.depth > maxXMLDepth {
			return nil, x.errorf("elements are nested deeper than %d", maxXMLDepth)
		}
		for i, a := range t.Attr {
			for _, b := range t.Attr[:i] {
				if a.Name == b.Name {
					return nil, x.errorf("the attribute %s occurs twice: readers disagree about which one counts", quoteShort(a.Name.Local))
				}
			}
			if i > maxAttributes {
				return nil, x.errorf("the element %s has more than %d attributes", quoteShort(t.Name.Local), maxAttributes)
			}
		}
	case xml.EndElement:
		x.depth--
	case xml.Directive:
		return nil, x.errorf("has a document type declaration, which could define entities; such documents are not read")
	}
	if err != nil {
		return nil, x.syntax(err)
	}
	return token, nil
}

// maxAttributes bounds the attributes of one element; CycloneDX has up to four.
const maxAttributes = 64

func (x *xmlReader) errorf(format string, args ...any) error {
	return &FormatError{x.file, x.line, fmt.Sprintf(format, args...)}
}

// syntax turns a decoder's error into a *FormatError with its line.
func (x *xmlReader) syntax(err error) error {
	line, _ := x.dec.InputPos()
	if err == io.EOF {
		return &FormatError{x.file, line, "ends too early"}
	}
	if se, ok := errors.AsType[*xml.SyntaxError](err); ok {
		msg := se.Msg
		if strings.Contains(msg, "unexpected EOF") {
			msg = "ends too early"
		} else {
			msg = "not valid XML: " + printableText(msg)
		}
		return &FormatError{x.file, se.Line, msg}
	}
	return &FormatError{x.file, line, "not valid XML: " + printableText(err.Error())}
}

// printableText quotes a message that has hostile text in it.
func printableText(s string) string {
	if q := quoteShort(s); len(q) != len(s)+2 {
		return q
	}
	return s
}

// children calls child for each element of the reader's namespace in the element that was opened last. child must
// read up to its end.
func (x *xmlReader) children(child func(name string, attrs []xml.Attr) error) error {
	for {
		token, err := x.next()
		if err != nil {
			return err
		}
		switch t := token.(type) {
		case xml.StartElement:
			if t.Name.Space != x.namespace {
				err = x.skip()
			} else {
				err = child(t.Name.Local, t.Attr)
			}
			if err != nil {
				return err
			}
		case xml.EndElement:
			return nil
		}
	}
}

// skip passes over the rest of the element that was opened last.
func (x *xmlReader) skip() error {
	for until := x.depth - 1; x.depth > until; {
		if _, err := x.next(); err != nil {
			return err
		}
	}
	return nil
}

// text reads the text of the element that was opened last, without space around it.
func (x *xmlReader) text(to *string) error {
	var b []byte
	for {
		token, err := x.next()
		if err != nil {
			return err
		}
		switch t := token.(type) {
		case xml.CharData:
			b = append(b, t...)
		case xml.StartElement:
			if err := x.skip(); err != nil {
				return err
			}
		case xml.EndElement:
			*to = string(bytes.TrimSpace(b))
			return nil
		}
	}
}

func attribute(attrs []xml.Attr, name string) string {
	for _, a := range attrs {
		if a.Name.Local == name && a.Name.Space == "" {
			return a.Value
		}
	}
	return ""
}

// A cycloneDXXML reads a CycloneDX document in XML.
type cycloneDXXML struct {
	xmlReader
	b *sbom
}

func parseCycloneDXXML(file string, data []byte) (*tree, error) {
	dec := xml.NewDecoder(bytes.NewReader(bytes.TrimPrefix(data, []byte("\ufeff"))))
	x := &cycloneDXXML{xmlReader{file: file, dec: dec}, newSBOM(file, data)}
	for x.namespace == "" {
		token, err := x.next()
		if err != nil {
			return nil, err
		}
		root, ok := token.(xml.StartElement)
		if !ok {
			continue
		}
		version, ok := strings.CutPrefix(root.Name.Space, cycloneDXNamespace)
		if !ok || root.Name.Local != "bom" {
			return nil, x.errorf("is no CycloneDX document: its root element is %s in the namespace %s", quoteShort(root.Name.Local), quoteShort(root.Name.Space))
		}
		if err := knownCycloneDX(file, x.line, version); err != nil {
			return nil, err
		}
		x.namespace = root.Name.Space
	}
	if err := x.document(); err != nil {
		return nil, err
	}
	for {
		x.line, _ = dec.InputPos()
		token, err := dec.Token()
		if err == io.EOF {
			return x.b.tree()
		}
		if err != nil {
			return nil, x.syntax(err)
		}
		switch t := token.(type) {
		case xml.Comment, xml.ProcInst:
		case xml.CharData:
			if len(bytes.TrimSpace(t)) > 0 {
				return nil, x.errorf("something follows the end of the document")
			}
		default:
			return nil, x.errorf("something follows the end of the document")
		}
	}
}

func (x *cycloneDXXML) document() error {
	return x.children(func(name string, _ []xml.Attr) error {
		switch name {
		case "metadata":
			return x.children(func(name string, attrs []xml.Attr) error {
				if name != "component" {
					return x.skip()
				}
				return x.component(attrs, -1, 0, true)
			})
		case "components":
			return x.components(-1, 0)
		case "dependencies":
			return x.children(func(_ string, attrs []xml.Attr) error { return x.dependency(attribute(attrs, "ref")) })
		}
		return x.skip()
	})
}

func (x *cycloneDXXML) components(parent int32, depth int) error {
	if depth > maxNesting {
		return x.errorf("components are nested too deeply")
	}
	return x.children(func(name string, attrs []xml.Attr) error {
		if name != "component" {
			return x.skip()
		}
		return x.component(attrs, parent, depth, false)
	})
}

func (x *cycloneDXXML) component(attrs []xml.Attr, parent int32, depth int, subject bool) error {
	e := sbomEntry{parent: parent, line: x.line, ref: attribute(attrs, "bom-ref")}
	self := int32(-1)
	if !subject {
		var err error
		if self, err = x.b.reserve(e.line); err != nil {
			return err
		}
	}
	group := ""
	seen := make(map[string]bool, 8)
	err := x.children(func(name string, _ []xml.Attr) error {
		switch name {
		case "group", "name", "version", "purl", "scope", "hashes", "externalReferences", "properties", "components":
			if seen[name] {
				return x.errorf("a component has two elements %s: readers disagree about which one counts", quoteShort(name))
			}
			seen[name] = true
		}
		switch name {
		case "group":
			return x.text(&group)
		case "name":
			return x.text(&e.name)
		case "version":
			return x.text(&e.version)
		case "purl":
			return x.text(&e.purl)
		case "scope":
			var scope string
			err := x.text(&scope)
			e.scope(scope)
			return err
		case "hashes":
			return x.hashes(&e.ownHashes)
		case "externalReferences":
			return x.children(func(_ string, attrs []xml.Attr) error { return x.reference(&e, attribute(attrs, "type")) })
		case "properties":
			return x.children(func(_ string, attrs []xml.Attr) error {
				var value string
				err := x.text(&value)
				e.property(attribute(attrs, "name"), value)
				return err
			})
		case "components":
			return x.components(self, depth+1)
		}
		return x.skip()
	})
	if err != nil {
		return err
	}
	e.name = joinPath(group, e.name)
	if subject {
		x.b.subject(&e)
		return nil
	}
	return x.b.add(self, &e)
}

func (x *cycloneDXXML) hashes(to *[]sbomHash) error {
	return x.children(func(_ string, attrs []xml.Attr) error {
		h := sbomHash{algorithm: attribute(attrs, "alg")}
		err := x.text(&h.value)
		if *to = append(*to, h); len(*to) > maxHashes {
			return x.errorf("more than %d hashes of one thing", maxHashes)
		}
		return err
	})
}

func (x *cycloneDXXML) reference(e *sbomEntry, kind string) error {
	var address string
	var hashes []sbomHash
	err := x.children(func(name string, _ []xml.Attr) error {
		switch name {
		case "url":
			return x.text(&address)
		case "hashes":
			return x.hashes(&hashes)
		}
		return x.skip()
	})
	e.reference(kind, address, hashes)
	return err
}

// dependency reads the dependencies of what a reference names.
func (x *cycloneDXXML) dependency(ref string) error {
	return x.children(func(name string, attrs []xml.Attr) error {
		if name == "dependency" {
			if err := x.b.link(ref, attribute(attrs, "ref"), Prod, x.line); err != nil {
				return err
			}
		}
		return x.skip()
	})
}

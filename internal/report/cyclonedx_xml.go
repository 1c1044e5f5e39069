package report

import (
	"bytes"
	"encoding/xml"
	"errors"
	"io"
	"slices"
	"strconv"
	"strings"
)

// cyclonedxNamespace is the namespace of CycloneDX in XML, without the version that ends it.
const cyclonedxNamespace = "http://cyclonedx.org/schema/bom/"

// signatureNamespace is that of XML signatures, which cover what is added, too.
const signatureNamespace = "http://www.w3.org/2000/09/xmldsig#"

// Members of the elements that get new ones, in the order that the schemas ask for (CycloneDX, bom-1.3.xsd to
// bom-1.7.xsd, of which each allows what those before it do).
var (
	componentOrder = []string{"supplier", "manufacturer", "authors", "author", "publisher", "group", "name", "version", "versionRange", "description",
		"scope", "hashes", "licenses", "copyright", "patentAssertions", "cpe", "purl", "omniborId", "swhid", "swid", "modified", "pedigree",
		"externalReferences", "properties", "components", "evidence", "releaseNotes", "modelCard", "data", "cryptoProperties", "tags"}
	metadataOrder = []string{"timestamp", "lifecycles", "tools", "authors", "component", "manufacturer", "manufacture", "supplier", "licenses",
		"properties", "distributionConstraints"}
	bomOrder   = []string{"metadata", "components"}
	toolsOrder = []string{"components", "services"}
)

// An element is an element of an XML document and where it stands.
type element struct {
	name          xml.Name
	attributes    []xml.Attr
	stretch       // from "<" to ">" of its end
	inner         stretch
	children      []*element
	text          []byte // of elements in which text counts
	selfContained bool   // "<a/>"
}

// child returns the first child of this name in the element's own namespace, nil if there is none.
func (x *element) child(name string) *element {
	for _, c := range x.children {
		if c.name.Local == name && c.name.Space == x.name.Space {
			return c
		}
	}
	return nil
}

func (x *element) textOf(name string) string {
	if c := x.child(name); c != nil {
		return strings.TrimSpace(string(c.text))
	}
	return ""
}

func (x *element) attribute(name string) string {
	for _, a := range x.attributes {
		if a.Name.Space == "" && a.Name.Local == name {
			return a.Value
		}
	}
	return ""
}

// An xmlEditor adds provenance to a CycloneDX document in XML.
type xmlEditor struct {
	*editor  // its file, source and edits
	r        *Report
	o        TextOptions
	subjects subjects
	prefix   string // of CycloneDX's names, with its colon
	unit     string // one step of indentation
	opened   map[*element][]byte
}

func enrichCycloneDXXML(r *Report, p *Project, o TextOptions) ([]byte, error) {
	x := &xmlEditor{editor: newEditor(p.File, p.Document), r: r, o: o, subjects: r.subjects(p)}
	root, err := x.read()
	if err != nil {
		return nil, err
	}
	if err := x.document(root); err != nil {
		return nil, err
	}
	return x.result(), nil
}

// maxXMLDepth bounds elements within elements.
const maxXMLDepth = 1024

// elementBytes is how many bytes of the document there are at least for each element, after some thousand: no SBOM
// comes near it, and it bounds what reading one costs.
const elementBytes = 10

// read reads the document into elements.
func (x *xmlEditor) read() (*element, error) {
	d := xml.NewDecoder(bytes.NewReader(x.src))
	d.Entity = map[string]string{}
	var root *element
	var open []*element
	left := len(x.src)/elementBytes + 4096
	for {
		start := int(d.InputOffset())
		token, err := d.Token()
		end := int(d.InputOffset())
		switch {
		case errors.Is(err, io.EOF) && root != nil:
			return root, nil
		case errors.Is(err, io.EOF):
			return nil, x.errorf(end, "it holds no element")
		case err != nil:
			text := err.Error()
			var syntax *xml.SyntaxError
			if errors.As(err, &syntax) {
				text = syntax.Msg
			}
			return nil, x.errorf(end, "it is no XML that can be read: %s", text)
		}
		switch token := token.(type) {
		case xml.StartElement:
			if token.Name.Space == signatureNamespace {
				return nil, x.errorf(start, "the SBOM is signed, and the signature would not hold for what is added: enrich it first and sign it then")
			}
			e := &element{name: token.Name, attributes: slices.Clone(token.Attr), stretch: stretch{start, end}, inner: stretch{end, end}}
			e.selfContained = x.src[end-2] == '/'
			switch left--; {
			case left < 0:
				return nil, x.errorf(start, "it has too many elements for its size")
			case len(open) == maxXMLDepth:
				return nil, x.errorf(start, "elements are nested deeper than %d", maxXMLDepth)
			case len(open) > 0:
				open[len(open)-1].children = append(open[len(open)-1].children, e)
			case root != nil:
				return nil, x.errorf(start, "something follows the end of the document")
			default:
				root = e
			}
			for i, a := range e.attributes {
				for _, b := range e.attributes[:i] {
					if a.Name == b.Name {
						return nil, x.errorf(start, "an element has the attribute %.40q twice", a.Name.Local)
					}
				}
			}
			open = append(open, e)
		case xml.EndElement:
			e := open[len(open)-1]
			open = open[:len(open)-1]
			e.end = end
			if !e.selfContained {
				e.inner.end = start
			}
		case xml.CharData:
			if len(open) == 0 {
				continue
			}
			e := open[len(open)-1]
			switch e.name.Local {
			case "purl", "comment", "name", "vendor", "group", "version":
				e.text = append(e.text, token...)
			}
		case xml.Directive:
			return nil, x.errorf(start, "it has a document type or another declaration, which an SBOM has no use for")
		}
	}
}

func (x *xmlEditor) document(root *element) error {
	version, ok := strings.CutPrefix(root.name.Space, cyclonedxNamespace)
	if root.name.Local != "bom" || !ok {
		return x.errorf(root.start, "it is no CycloneDX document")
	}
	if !slices.Contains(cyclonedxVersions, version) {
		return x.errorf(root.start, "CycloneDX %.20q cannot be enriched, only %s to %s", version, cyclonedxVersions[0], cyclonedxVersions[len(cyclonedxVersions)-1])
	}
	tag := string(x.src[root.start+1 : root.inner.start])
	if i := strings.IndexAny(tag, ": \t\r\n/>"); i >= 0 && tag[i] == ':' {
		x.prefix = tag[:i+1]
	}
	_, x.unit = split(x.spacingBefore(root))
	if version == "1.2" {
		old := []byte(root.name.Space)
		if n := bytes.Count(x.src, old); n != 1 {
			return x.errorf(root.start, "CycloneDX 1.2 has no place for what is added, and the document names it %d times, so it cannot be made 1.3: convert it first", n)
		}
		at := bytes.Index(x.src, old)
		x.replace(stretch{at, at + len(old)}, []byte(cyclonedxNamespace+"1.3"))
		version = "1.3"
	}
	parents := []*element{root}
	if metadata := root.child("metadata"); metadata != nil {
		if about := metadata.child("component"); about != nil {
			parents = append(parents, about)
		}
	}
	for _, parent := range parents {
		x.claim(parent)
	}
	for _, parent := range parents {
		if err := x.components(parent, version, 0); err != nil {
			return err
		}
	}
	x.describe(root, version)
	x.close()
	if len(x.edits) > 0 {
		x.count(root)
	}
	return nil
}

// identity is what a component is called, and its package URLs.
func (e *element) identity() (name string, purls []string) {
	purl := e.textOf("purl")
	if purl != "" {
		purls = []string{purl}
	}
	return key(e.attribute("bom-ref"), purl, e.textOf("group"), e.textOf("name"), e.textOf("version")), purls
}

// claim notes the components that components looks at.
func (x *xmlEditor) claim(parent *element) {
	list := parent.child("components")
	if list == nil {
		return
	}
	for _, c := range list.children {
		if c.name.Local != "component" || c.name.Space != parent.name.Space {
			continue
		}
		name, purls := c.identity()
		x.subjects.claim(name, x.src[c.start:c.end], purls...)
		x.claim(c)
	}
}

func (x *xmlEditor) components(parent *element, version string, depth int) error {
	list := parent.child("components")
	if list == nil {
		return nil
	}
	if depth > maxNesting {
		return x.errorf(list.start, "components are nested deeper than %d", maxNesting)
	}
	for _, c := range list.children {
		if c.name.Local != "component" || c.name.Space != parent.name.Space {
			continue
		}
		name, purls := c.identity()
		found, clear := x.subjects.of(name, purls...)
		if len(found) > 1 || !clear {
			return x.errorf(c.start, "several components are called %.200q, so it cannot be told what was found of which", name)
		}
		var s told
		if len(found) == 1 {
			s = found[0]
		}
		var references, properties []xmlNode
		for _, r := range referenceList(s.references(), version) {
			r := r.(object)
			references = append(references, xmlNode{name: "reference", attribute: "type", value: textOf(r, "type"),
				children: []xmlNode{{name: "url", text: textOf(r, "url")}, {name: "comment", text: textOf(r, "comment")}}})
		}
		for _, p := range s.properties() {
			properties = append(properties, propertyNode(p))
		}
		x.set(c, "externalReferences", componentOrder, references, func(e *element) bool {
			return e.name.Local == "reference" && strings.HasPrefix(e.textOf("comment"), strings.TrimSpace(referenceMark))
		})
		x.set(c, "properties", componentOrder, properties, assayPropertyElement)
		if err := x.components(c, version, depth+1); err != nil {
			return err
		}
	}
	return nil
}

func textOf(o object, name string) string {
	for _, m := range o {
		if m.name == name {
			s, _ := m.value.(string)
			return s
		}
	}
	return ""
}

func propertyNode(p property) xmlNode {
	return xmlNode{name: "property", attribute: "name", value: p.name, text: p.value}
}

func assayPropertyElement(e *element) bool {
	return e.name.Local == "property" && strings.HasPrefix(e.attribute("name"), assayPrefix)
}

// describe adds assay to the tools, and the properties of the run.
func (x *xmlEditor) describe(root *element, version string) {
	named := []xmlNode{{name: "name", text: tool}}
	if x.o.Version != "" {
		named = append(named, xmlNode{name: "version", text: x.o.Version})
	}
	component := xmlNode{name: "component", attribute: "type", value: "application", children: named}
	legacy := xmlNode{name: "tool", children: named}
	var properties []xmlNode
	for _, p := range x.r.properties() {
		properties = append(properties, propertyNode(p))
	}
	ours := func(local string) func(*element) bool {
		return func(e *element) bool {
			return e.name.Local == local && e.textOf("name") == tool && e.textOf("vendor") == "" && e.textOf("group") == "" && e.attribute("bom-ref") == ""
		}
	}
	metadata := root.child("metadata")
	if metadata == nil {
		tools := xmlNode{name: "tools", children: []xmlNode{{name: "components", children: []xmlNode{component}}}}
		if older(version, "1.5") {
			tools.children = []xmlNode{legacy}
		}
		x.insert(root, bomOrder, xmlNode{name: "metadata", children: []xmlNode{tools, {name: "properties", children: properties}}})
		return
	}
	switch tools := metadata.child("tools"); {
	case tools != nil && (tools.child("components") != nil || tools.child("services") != nil):
		x.set(tools, "components", toolsOrder, []xmlNode{component}, ours("component"))
	case tools != nil || older(version, "1.5"):
		x.set(metadata, "tools", metadataOrder, []xmlNode{legacy}, ours("tool"))
	default:
		x.insert(metadata, metadataOrder, xmlNode{name: "tools", children: []xmlNode{{name: "components", children: []xmlNode{component}}}})
	}
	x.set(metadata, "properties", metadataOrder, properties, assayPropertyElement)
}

// count makes the BOM's version one higher; without one it is 1. One that is no plain number stays.
func (x *xmlEditor) count(root *element) {
	tag := x.src[root.start:root.inner.start]
	at := attributeAt(tag, "version")
	if at.end == 0 {
		i := bytes.IndexAny(tag, " \t\r\n/>")
		x.edits = append(x.edits, edit{root.start + i, root.start + i, []byte(` version="2"`)})
		return
	}
	if n, err := strconv.ParseInt(string(tag[at.start:at.end]), 10, 64); err == nil && n > 0 && n < 1<<53-1 {
		x.replace(stretch{root.start + at.start, root.start + at.end}, strconv.AppendInt(nil, n+1, 10))
	}
}

// attributeAt is where the value of an attribute stands in a tag that has been read before.
func attributeAt(tag []byte, name string) stretch {
	for i := bytes.IndexAny(tag, " \t\r\n"); i >= 0 && i < len(tag); {
		for i < len(tag) && strings.IndexByte(" \t\r\n", tag[i]) >= 0 {
			i++
		}
		equals := bytes.IndexByte(tag[i:], '=')
		if equals < 0 {
			break
		}
		found := string(bytes.TrimSpace(tag[i : i+equals]))
		i += equals + 1
		for i < len(tag) && tag[i] != '"' && tag[i] != '\'' {
			i++
		}
		if i == len(tag) {
			break
		}
		length := bytes.IndexByte(tag[i+1:], tag[i])
		if length < 0 {
			break
		}
		if found == name {
			return stretch{i + 1, i + 1 + length}
		}
		i += length + 2
	}
	return stretch{}
}

// A xmlNode is an element to be written, with at most one attribute, and text or children.
type xmlNode struct {
	name             string
	attribute, value string
	text             string
	children         []xmlNode
}

// write writes an element that begins after the white space given, its children on lines of their own.
func (x *xmlEditor) write(dst []byte, n xmlNode, space string) []byte {
	dst = append(append(append(dst, '<'), x.prefix...), n.name...)
	if n.attribute != "" {
		dst = append(append(append(dst, ' '), n.attribute...), `="`...)
		dst = append(appendXML(dst, n.value), '"')
	}
	dst = append(dst, '>')
	dst = appendXML(dst, n.text)
	dst = x.writeAll(dst, n.children, space)
	return append(append(append(append(dst, "</"...), x.prefix...), n.name...), '>')
}

// writeAll writes the children of an element that begins after the white space given, and that space again.
func (x *xmlEditor) writeAll(dst []byte, children []xmlNode, space string) []byte {
	inner := space
	if strings.Contains(space, "\n") {
		inner += x.unit
	}
	for _, c := range children {
		dst = x.write(append(dst, inner...), c, inner)
	}
	if len(children) > 0 {
		dst = append(dst, space...)
	}
	return dst
}

func appendXML(dst []byte, s string) []byte {
	var b bytes.Buffer
	xml.EscapeText(&b, []byte(s)) // a buffer takes everything
	return append(dst, b.Bytes()...)
}

// spacingBefore is the white space before the first child of an element, "" if there is none.
func (x *xmlEditor) spacingBefore(parent *element) string {
	if len(parent.children) == 0 {
		return ""
	}
	return x.spaceUpTo(parent.inner.start, parent.children[0].start)
}

// spaceUpTo is the white space that ends at a place.
func (x *xmlEditor) spaceUpTo(from, to int) string {
	start := to
	for start > from && strings.IndexByte(" \t\r\n", x.src[start-1]) >= 0 {
		start--
	}
	return string(x.src[start:to])
}

// insert puts a new child into an element, where the schema has it in the order of children.
func (x *xmlEditor) insert(parent *element, order []string, n xmlNode) {
	rank := slices.Index(order, n.name)
	space := x.spacingBefore(parent)
	at := parent.inner.start
	for _, c := range parent.children {
		if r := slices.Index(order, c.name.Local); c.name.Space == parent.name.Space && r >= 0 && r < rank {
			at = c.end
		}
	}
	if parent.selfContained {
		x.open(parent, x.write(nil, n, space))
		return
	}
	x.edits = append(x.edits, edit{at, at, x.write([]byte(space), n, space)})
}

// open puts content into an element that is written as "<a/>", after what was put into it before.
func (x *xmlEditor) open(e *element, content []byte) {
	if x.opened == nil {
		x.opened = map[*element][]byte{}
	}
	x.opened[e] = append(x.opened[e], content...)
}

// close makes the edits of elements that have got content.
func (x *xmlEditor) close() {
	for e, content := range x.opened {
		tag := x.src[e.start:e.end]
		name := tag[1 : 1+bytes.IndexAny(tag[1:], " \t\r\n/>")]
		text := append(append(append([]byte{'>'}, content...), "</"...), name...)
		x.replace(stretch{e.end - 2, e.end}, append(text, '>'))
	}
}

// set makes an element hold the wanted nodes in one of its children, in place of those of an earlier run.
func (x *xmlEditor) set(owner *element, name string, order []string, want []xmlNode, ours func(*element) bool) {
	have := owner.child(name)
	if have == nil {
		if len(want) > 0 {
			x.insert(owner, order, xmlNode{name: name, children: want})
		}
		return
	}
	if len(have.children) == 0 {
		if len(want) == 0 {
			return
		}
		content := x.writeAll(nil, want, x.spacingBefore(owner))
		if have.selfContained {
			x.open(have, content)
		} else {
			x.replace(have.inner, content)
		}
		return
	}
	space := x.spacingBefore(have)
	var text []byte
	for i, n := range want {
		if i > 0 {
			text = append(text, space...)
		}
		text = x.write(text, n, space)
	}
	first := slices.IndexFunc(have.children, ours)
	if first < 0 {
		if len(want) > 0 {
			at := have.children[len(have.children)-1].end
			x.edits = append(x.edits, edit{at, at, append([]byte(space), text...)})
		}
		return
	}
	end := first
	for end+1 < len(have.children) && ours(have.children[end+1]) && x.onlySpace(have.children[end].end, have.children[end+1].start) {
		end++
	}
	run := stretch{have.children[first].start, have.children[end].end}
	if len(want) == 0 {
		run.start -= len(x.spaceUpTo(have.inner.start, run.start))
	}
	x.replace(run, text)
	for _, c := range have.children[end+1:] {
		if ours(c) {
			x.replace(stretch{c.start - len(x.spaceUpTo(have.inner.start, c.start)), c.end}, nil)
		}
	}
}

func (x *xmlEditor) onlySpace(from, to int) bool { return len(x.spaceUpTo(from, to)) == to-from }

package report

import (
	"cmp"
	"io"
	"slices"
	"strconv"
	"strings"
	"time"

	"assay/internal/verify"
)

// WriteCycloneDX writes an SBOM of what was audited, CycloneDX 1.6 in JSON, with what was found of each
// component (ECMA-424; docs/sbom.md says what stands where).
//
// Where the one project of the report is itself a CycloneDX document, that document is written, in its own
// form, JSON or XML, and version, with what the report says of its components added and every other byte as it
// was: properties named "assay:…", external references whose comments begin with "assay: ", assay among the
// tools, and properties of the run in the metadata. What an earlier run added is replaced; a document that says
// all this already comes out as it is. Otherwise the BOM's version is one higher, as the specification asks for
// when a BOM is modified, under the same serial number.
//
// A component is found by its bom-ref, else its package URL, else its name and version, which is the path of the
// project's node, and gets nothing where its package URL is another package's. A document is refused, with file and line, if it is no document of a known
// version, if it could be read in two ways, or if it is signed: a signature over it would no longer hold. It is
// an error, too, if there are several projects and one of them is such a document.
//
// Of the options it reads Version, Documents.Time and, as the name where the report has no project or several,
// Subject. It returns the error of w.
func WriteCycloneDX(w io.Writer, r *Report, o TextOptions) error {
	p, err := r.incoming("cyclonedx")
	if err != nil {
		return err
	}
	var text []byte
	if p != nil {
		if text, err = enrichCycloneDX(r, p, o); err != nil {
			return err
		}
	} else {
		text = newCycloneDX(r, o)
	}
	_, err = w.Write(text)
	return err
}

// newCycloneDX makes an SBOM of the report's graph.
func newCycloneDX(r *Report, o TextOptions) []byte {
	b := newBill(r)
	refs := make([]string, len(b.parts))
	for i, p := range b.parts {
		refs[i] = p.ref()
	}
	root, made := -1, false // where in refs the root component is, and whether it stands for no one project
	switch {
	case b.roots == 1:
		root = 0
	case b.roots > 1 || o.Subject != "":
		refs = append(refs, "project:"+Escape(o.Subject))
		root, made = len(b.parts), true
	}
	unique(refs, "#")

	metadata := object{}
	if t := o.Documents.Time; !t.IsZero() {
		metadata = metadata.with("timestamp", t.UTC().Format(time.RFC3339))
	}
	metadata = append(metadata, member{"tools", object{{"components", []any{toolComponent(o)}}}})
	switch {
	case made:
		metadata = append(metadata, member{"component", object{{"type", "application"}, {"bom-ref", refs[root]}, {"name", cmp.Or(Escape(o.Subject), "projects")}}})
	case root == 0:
		metadata = append(metadata, member{"component", projectComponent(b.parts[0].project, refs[0])})
	}
	metadata = append(metadata, member{"properties", propertyList(r.properties())})

	components := []any{}
	for i, p := range b.parts {
		if i != root {
			components = append(components, p.component(refs[i]))
		}
	}
	asks := make([][]string, len(refs))
	for _, e := range b.edges {
		if list := asks[e.from]; len(list) == 0 || list[len(list)-1] != refs[e.to] {
			asks[e.from] = append(asks[e.from], refs[e.to])
		}
	}
	if b.roots > 1 {
		asks[root] = refs[:b.roots]
	}
	dependencies := []any{}
	if b.roots > 0 { // without a graph nothing is said, rather than that nothing depends on anything
		for i, ref := range refs {
			d := object{{"ref", ref}}
			if len(asks[i]) > 0 {
				d = append(d, member{"dependsOn", texts(asks[i])})
			}
			dependencies = append(dependencies, d)
		}
	}
	document := object{
		{"$schema", "http://cyclonedx.org/schema/bom-1.6.schema.json"},
		{"bomFormat", "CycloneDX"},
		{"specVersion", "1.6"},
		{"version", int64(1)},
		{"metadata", metadata},
		{"components", components},
		{"dependencies", dependencies},
	}
	serial := member{"serialNumber", "urn:uuid:" + uuid(pretty.append(nil, document, ""))}
	return append(pretty.append(nil, slices.Insert(document, 3, serial), ""), '\n')
}

func texts(list []string) []any {
	out := make([]any, len(list))
	for i, s := range list {
		out[i] = s
	}
	return out
}

// ref names a part in a document. Those of packages are their package URLs, as other tools have it.
func (p part) ref() string {
	switch {
	case p.project != nil:
		return "project:" + Escape(cmp.Or(p.project.Name, p.project.File, "project"))
	case p.pkg != nil:
		return cmp.Or(p.pkg.purl(), "npm:"+Escape(p.pkg.Name+"@"+p.pkg.Version))
	}
	return p.other.Source + ":" + Escape(p.other.Name+"@"+p.other.Version)
}

func (p part) component(ref string) object {
	switch {
	case p.project != nil:
		return projectComponent(p.project, ref)
	case p.pkg != nil:
		return p.pkg.component(ref)
	}
	return p.other.component(ref)
}

func toolComponent(o TextOptions) object {
	return object{{"type", "application"}, {"name", tool}}.with("version", o.Version)
}

func projectComponent(p *Project, ref string) object {
	return object{{"type", "application"}, {"bom-ref", ref}}.named(cmp.Or(p.Name, p.File, "project")).with("version", shortVersion(p.Version))
}

// shortVersion is a version of the length that CycloneDX allows.
func shortVersion(s string) string {
	if s = Escape(s); len(s) > 1024 {
		s = strings.ToValidUTF8(s[:1024], "")
	}
	return s
}

// named adds a name, taken apart into group and name as package URLs do.
func (o object) named(name string) object {
	if scope, rest, ok := strings.Cut(name, "/"); ok && strings.HasPrefix(scope, "@") {
		return append(o, member{"group", Escape(scope)}, member{"name", Escape(rest)})
	}
	return append(o, member{"name", Escape(name)})
}

func propertyList(properties []property) []any {
	out := make([]any, len(properties))
	for i, p := range properties {
		out[i] = object{{"name", p.name}, {"value", p.value}}
	}
	return out
}

// component is a package as component. Scope and the property for development are as npm sbom writes them
// (npm/cli lib/utils/sbom-cyclonedx.js, and the property taxonomy's cdx:npm).
func (p *Package) component(ref string) object {
	o := object{{"type", "library"}, {"bom-ref", ref}}.named(p.Name)
	o = append(o, member{"version", shortVersion(p.Version)})
	scope := "required"
	if p.Dev {
		scope = "optional"
	}
	o = append(o, member{"scope", scope})
	var hashes []any
	for _, d := range digests(p.Integrity) {
		hashes = append(hashes, object{{"alg", d.cyclonedx}, {"content", d.hex}})
	}
	if hashes != nil {
		o = append(o, member{"hashes", hashes})
	}
	o = o.with("purl", p.purl())
	var references []any
	if address := p.tarballURL(); address != "" {
		distribution := object{{"type", "distribution"}, {"url", address}}
		if hashes != nil {
			distribution = append(distribution, member{"hashes", hashes}, member{"comment", "the tarball that the hashes are of"})
		}
		references = append(references, distribution)
	}
	references = append(references, referenceList(p.references(), "1.6")...)
	if references != nil {
		o = append(o, member{"externalReferences", references})
	}
	if identity := p.identity(); identity != nil {
		o = append(o, member{"evidence", object{{"identity", identity}}})
	}
	properties := p.properties()
	if p.Dev {
		properties = append(properties, property{"cdx:npm:package:development", "true"})
	}
	return append(o, member{"properties", propertyList(properties)})
}

// identity is what the package URL of a package with provenance rests on: an attestation names it together
// with the digest of the tarball, and that digest is the registry's and the lockfile's.
func (p *Package) identity() []any {
	if p.Verdict != verify.Provenance || p.Publisher == nil || p.purl() == "" {
		return nil
	}
	methods := []any{object{{"technique", "attestation"}, {"confidence", int64(1)}}.with("value", p.built())}
	for _, c := range p.Checks {
		if c.ID == "lockfile-integrity" && c.Status == verify.Pass {
			methods = append(methods, object{{"technique", "hash-comparison"}, {"confidence", int64(1)}, {"value", Escape(p.Integrity)}})
		}
	}
	return []any{object{{"field", "purl"}, {"confidence", int64(1)}, {"concludedValue", p.PURL}, {"methods", methods}}}
}

func (o *Other) component(ref string) object {
	kind := "library"
	if o.Source == "workspace" {
		kind = "application"
	}
	c := object{{"type", kind}, {"bom-ref", ref}}.named(cmp.Or(o.Name, "unknown")).with("version", shortVersion(o.Version)).with("purl", o.purl())
	if address := otherURL(o); address != "" {
		reference := "vcs"
		if o.Source != "git" {
			reference = "distribution"
		}
		c = append(c, member{"externalReferences", []any{object{{"type", reference}, {"url", address}}}})
	}
	return append(c, member{"properties", propertyList(o.properties())})
}

// referenceList writes references for a version of CycloneDX: "attestation" is a type since 1.5.
func referenceList(references []reference, version string) []any {
	out := make([]any, len(references))
	for i, r := range references {
		if r.kind == "attestation" && older(version, "1.5") {
			r.kind = "other"
		}
		out[i] = object{{"type", r.kind}, {"url", r.url}, {"comment", r.comment}}
	}
	return out
}

// older reports whether one version of CycloneDX comes before another, both "1.N".
func older(version, than string) bool {
	minor := func(s string) int { n, _ := strconv.Atoi(strings.TrimPrefix(s, "1.")); return n }
	return minor(version) < minor(than)
}

// Versions of CycloneDX whose documents can be enriched. Components have properties since 1.3; a document of
// 1.2 becomes one of 1.3, to which it conforms already.
var cyclonedxVersions = []string{"1.2", "1.3", "1.4", "1.5", "1.6", "1.7"}

// enrichCycloneDX returns the document of a project with provenance added: see [WriteCycloneDX].
func enrichCycloneDX(r *Report, p *Project, o TextOptions) ([]byte, error) {
	if isXML(p.Document) {
		return enrichCycloneDXXML(r, p, o)
	}
	e := newEditor(p.File, p.Document)
	c := &cyclonedxEditor{editor: e, r: r, o: o, subjects: r.subjects(p)}
	if err := c.document(); err != nil {
		return nil, err
	}
	return e.result(), nil
}

// A cyclonedxEditor adds provenance to a CycloneDX document in JSON.
type cyclonedxEditor struct {
	*editor
	r        *Report
	o        TextOptions
	subjects subjects
	found    []cyclonedxComponent
	depth    int
}

// A cyclonedxComponent is a component of the document.
type cyclonedxComponent struct {
	extent
	key, purl              string
	signed                 int // where its signature stands, -1 for none
	properties, references *entries
}

func (c *cyclonedxEditor) document() error {
	var format, version, schema string
	var versionAt, schemaAt, numberAt stretch
	var metadata *cyclonedxMetadata
	top, err := c.object("the document", func(name string) (err error) {
		switch name {
		case "bomFormat":
			format, _, err = c.text()
		case "specVersion":
			version, versionAt, err = c.text()
		case "$schema":
			schema, schemaAt, err = c.text()
		case "version":
			numberAt, err = c.value()
		case "metadata":
			metadata, err = c.metadata()
		case "components":
			err = c.components()
		case "signature":
			return c.errorf(c.at(), "the SBOM is signed, and the signature would not hold for what is added: enrich it first and sign it then")
		default:
			_, err = c.value()
		}
		return err
	})
	if err == nil {
		err = c.end()
	}
	if err != nil {
		return err
	}
	if format != "CycloneDX" {
		return c.errorf(0, "it is no CycloneDX document: bomFormat is %.40q", format)
	}
	if !slices.Contains(cyclonedxVersions, version) {
		return c.errorf(versionAt.start, "CycloneDX %.20q cannot be enriched, only %s to %s", version, cyclonedxVersions[0], cyclonedxVersions[len(cyclonedxVersions)-1])
	}
	c.learn(top)
	if version == "1.2" {
		version = "1.3"
		c.replace(versionAt, []byte(`"1.3"`))
		if schema == "http://cyclonedx.org/schema/bom-1.2a.schema.json" || schema == "http://cyclonedx.org/schema/bom-1.2.schema.json" {
			c.replace(schemaAt, []byte(`"http://cyclonedx.org/schema/bom-1.3.schema.json"`))
		}
	}
	for i := range c.found {
		f := &c.found[i]
		c.subjects.claim(f.key, c.src[f.start:f.end], f.purls()...)
	}
	for i := range c.found {
		f := &c.found[i]
		s, err := c.told(f)
		if err != nil {
			return err
		}
		if f.signed >= 0 && s != (told{}) {
			return c.errorf(f.signed, "the component %.200q is signed, and the signature would not hold for what is added", f.key)
		}
		c.set(f.extent, "externalReferences", f.references, referenceList(s.references(), version))
		c.set(f.extent, "properties", f.properties, propertyList(s.properties()))
	}
	c.describe(top, metadata, version)
	if len(c.edits) > 0 {
		c.count(top, numberAt)
	}
	return nil
}

// count makes the BOM's version one higher; without one it is 1. One that is no plain number stays.
func (c *cyclonedxEditor) count(top extent, at stretch) {
	if at.end == 0 {
		c.add(top, "version", int64(2))
		return
	}
	raw := string(c.src[at.start:at.end])
	if n, err := strconv.ParseInt(raw, 10, 64); err == nil && n > 0 && n < 1<<53-1 {
		c.replace(at, strconv.AppendInt(nil, n+1, 10))
	}
}

// maxNesting bounds components within components.
const maxNesting = 256

func (f *cyclonedxComponent) purls() []string {
	if f.purl == "" {
		return nil
	}
	return []string{f.purl}
}

// told is what the report says of a component.
func (c *cyclonedxEditor) told(f *cyclonedxComponent) (told, error) {
	found, clear := c.subjects.of(f.key, f.purls()...)
	switch {
	case len(found) > 1 || !clear:
		return told{}, c.errorf(f.start, "several components are called %.200q, so it cannot be told what was found of which", f.key)
	case len(found) == 0:
		return told{}, nil
	}
	return found[0], nil
}

// components reads a list of components and, within them, theirs.
func (c *cyclonedxEditor) components() error {
	if c.depth++; c.depth > maxNesting {
		return c.errorf(c.at(), "components are nested deeper than %d", maxNesting)
	}
	defer func() { c.depth-- }()
	_, err := c.array("components", c.component)
	return err
}

func (c *cyclonedxEditor) component() error {
	var f cyclonedxComponent
	var ref, group, name, version string
	f.signed = -1
	var err error
	f.extent, err = c.object("a component", func(member string) (err error) {
		switch member {
		case "bom-ref":
			ref, _, err = c.text()
		case "purl":
			f.purl, _, err = c.text()
		case "group":
			group, _, err = c.text()
		case "name":
			name, _, err = c.text()
		case "version":
			version, _, err = c.text()
		case "properties":
			f.properties, err = c.entries("properties", assayProperty)
		case "externalReferences":
			f.references, err = c.entries("externalReferences", assayReference)
		case "components":
			err = c.components()
		case "signature":
			f.signed = c.at()
			_, err = c.value()
		default:
			_, err = c.value()
		}
		return err
	})
	if err != nil {
		return err
	}
	f.key = key(ref, f.purl, group, name, version)
	if c.subjects.named[f.key] == nil && !f.properties.any() && !f.references.any() {
		return nil // a document can hold far more of these than of what was found
	}
	c.found = append(c.found, f)
	return nil
}

func assayProperty(raw []byte) bool {
	return mayBeOurs(raw) && strings.HasPrefix(textMember(raw, "name"), assayPrefix)
}

func assayReference(raw []byte) bool {
	return mayBeOurs(raw) && strings.HasPrefix(textMember(raw, "comment"), referenceMark)
}

// assayTool recognises assay among tools, in the form since 1.5 and the one before.
func assayTool(raw []byte) bool {
	return mayBeOurs(raw) && textMember(raw, "name") == tool && textMember(raw, "vendor") == "" && textMember(raw, "group") == "" && textMember(raw, "bom-ref") == ""
}

// A cyclonedxMetadata is what is changed of a document's metadata.
type cyclonedxMetadata struct {
	extent
	properties *entries
	legacy     *entries // tools as a list
	tools      *extent  // tools as an object
	components *entries // of it
}

func (c *cyclonedxEditor) metadata() (*cyclonedxMetadata, error) {
	var m cyclonedxMetadata
	var err error
	m.extent, err = c.object("metadata", func(name string) (err error) {
		switch {
		case name == "properties":
			m.properties, err = c.entries("properties", assayProperty)
		case name == "tools" && c.d.PeekKind() == '[':
			m.legacy, err = c.entries("tools", assayTool)
		case name == "tools":
			var tools extent
			tools, err = c.object("tools", func(name string) (err error) {
				if name == "components" {
					m.components, err = c.entries("components", assayTool)
				} else {
					_, err = c.value()
				}
				return err
			})
			m.tools = &tools
		case name == "component": // it is what the document is about, and not looked at; what is in it is
			_, err = c.object(name, func(name string) error {
				if name == "components" {
					return c.components()
				}
				_, err := c.value()
				return err
			})
		default:
			_, err = c.value()
		}
		return err
	})
	return &m, err
}

// describe adds assay to the tools, and the properties of the run.
func (c *cyclonedxEditor) describe(top extent, m *cyclonedxMetadata, version string) {
	component, legacy := []any{toolComponent(c.o)}, []any{object{{"name", tool}}.with("version", c.o.Version)}
	properties := propertyList(c.r.properties())
	if m == nil {
		tools := any(object{{"components", component}})
		if older(version, "1.5") {
			tools = legacy
		}
		c.add(top, "metadata", object{{"tools", tools}, {"properties", properties}})
		return
	}
	switch {
	case m.legacy != nil:
		c.set(m.extent, "tools", m.legacy, legacy)
	case m.tools != nil:
		c.set(*m.tools, "components", m.components, component)
	case older(version, "1.5"):
		c.add(m.extent, "tools", legacy)
	default:
		c.add(m.extent, "tools", object{{"components", component}})
	}
	c.set(m.extent, "properties", m.properties, properties)
}

// isXML reports whether a document is XML rather than JSON.
func isXML(document []byte) bool {
	text := strings.TrimLeft(strings.TrimPrefix(string(document[:min(len(document), 512)]), "\ufeff"), " \t\r\n")
	return strings.HasPrefix(text, "<")
}

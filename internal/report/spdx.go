package report

import (
	"cmp"
	"io"
	"regexp"
	"slices"
	"strings"
	"time"
)

// WriteSPDX writes an SBOM of what was audited, SPDX 2.3 in JSON, with what was found of each package
// (docs/sbom.md says what stands where). It is 2.3 rather than 3.0 because that is what npm writes, and what
// the tools that take SPDX read.
//
// Where the one project of the report is itself an SPDX document, that document is written with what the
// report says of its packages added and every other byte as it was: an annotation whose comment begins with
// "assay:", external references of types that begin with "assay-", assay among the creators, and an
// annotation of the document. What an earlier run added is replaced; a document that says all this already
// comes out as it is. Its namespace gets the ending "-assay-" and a UUID of its bytes, since the specification
// asks for a new one when a document is updated (section 6.5).
//
// A package is found by its SPDX identifier, which is the path of the project's node, and gets nothing where
// its package URL is another package's. A document is refused, with file and line, if it is not SPDX 2.2 or
// 2.3, or if it could be read in two ways. It is an error, too, if there are several projects and one of them
// is such a document.
//
// SPDX demands a time for documents and annotations. Without Documents.Time it is that of the document that
// came in, else 1970-01-01. Of the options it reads Version, Documents.Time and, as the name where the report
// has no project or several, Subject. It returns the error of w.
func WriteSPDX(w io.Writer, r *Report, o TextOptions) error {
	p, err := r.incoming("spdx")
	if err != nil {
		return err
	}
	var text []byte
	if p != nil {
		if text, err = enrichSPDX(r, p, o); err != nil {
			return err
		}
	} else {
		text = newSPDX(r, o)
	}
	_, err = w.Write(text)
	return err
}

const (
	spdxDocument = "SPDXRef-DOCUMENT"
	noAssertion  = "NOASSERTION"
)

// spdxTime is a time as SPDX writes it, or another where it is zero.
func spdxTime(t time.Time, otherwise string) string {
	if t.IsZero() {
		return otherwise
	}
	return t.UTC().Format("2006-01-02T15:04:05Z")
}

// epoch stands for a time that nobody told.
const epoch = "1970-01-01T00:00:00Z"

// spdxTool names assay as SPDX names tools.
func spdxTool(o TextOptions) string {
	if o.Version == "" {
		return "Tool: " + tool
	}
	return "Tool: " + tool + "-" + o.Version
}

// newSPDX makes an SBOM of the report's graph.
func newSPDX(r *Report, o TextOptions) []byte {
	b := newBill(r)
	at := spdxTime(o.Documents.Time, epoch)
	ids := make([]string, len(b.parts))
	for i, p := range b.parts {
		ids[i] = p.spdxID()
	}
	unique(ids, "-")
	packages := make([]any, len(b.parts))
	for i, p := range b.parts {
		packages[i] = p.spdxPackage(ids[i], at, o)
	}
	relationships := []any{}
	relate := func(from, kind, to string) {
		relationships = append(relationships, object{{"spdxElementId", from}, {"relationshipType", kind}, {"relatedSpdxElement", to}})
	}
	described := b.roots
	if described == 0 {
		described = len(ids)
	}
	for _, id := range ids[:described] {
		relate(spdxDocument, "DESCRIBES", id)
	}
	for _, e := range b.edges {
		kind := "DEPENDENCY_OF"
		switch e.kind {
		case "dev":
			kind = "DEV_DEPENDENCY_OF"
		case "optional", "peerOptional":
			kind = "OPTIONAL_DEPENDENCY_OF"
		case "peer":
			kind = "PREREQUISITE_FOR"
		}
		relate(ids[e.to], kind, ids[e.from])
	}
	name := Escape(cmp.Or(o.Subject, "packages"))
	if b.name != "" {
		name = Escape(b.name)
		if b.version != "" {
			name += "@" + Escape(b.version)
		}
	}
	document := object{
		{"spdxVersion", "SPDX-2.3"},
		{"dataLicense", "CC0-1.0"},
		{"SPDXID", spdxDocument},
		{"name", name},
		{"creationInfo", object{{"created", at}, {"creators", []any{spdxTool(o)}}}},
		{"documentDescribes", texts(ids[:described])},
		{"packages", packages},
		{"relationships", relationships},
		{"annotations", []any{spdxAnnotation(r.properties(), at, o)}},
	}
	namespace := "https://spdx.org/spdxdocs/" + spdxName(name) + "-" + uuid(pretty.append(nil, document, ""))
	return append(pretty.append(nil, slices.Insert(document, 4, member{"documentNamespace", namespace}), ""), '\n')
}

// spdxName makes a text fit for identifiers, as npm does: "@scope/name" becomes "scope.name".
func spdxName(s string) string {
	s = strings.Map(func(r rune) rune {
		switch {
		case r >= 'a' && r <= 'z', r >= 'A' && r <= 'Z', r >= '0' && r <= '9', r == '-':
			return r
		}
		return '.'
	}, s)
	return cmp.Or(strings.TrimLeft(s, "."), "unnamed")
}

func (p part) spdxID() string {
	name, version := "", ""
	switch {
	case p.project != nil:
		name, version = cmp.Or(p.project.Name, p.project.File, "project"), p.project.Version
	case p.pkg != nil:
		name, version = p.pkg.Name, p.pkg.Version
	default:
		name, version = p.other.Name, p.other.Version
	}
	id := "SPDXRef-Package-" + spdxName(Escape(name))
	if version != "" {
		id += "-" + spdxName(Escape(version))
	}
	return id
}

func (p part) spdxPackage(id, at string, o TextOptions) object {
	switch {
	case p.project != nil:
		return object{{"name", Escape(cmp.Or(p.project.Name, p.project.File, "project"))}, {"SPDXID", id}}.
			with("versionInfo", Escape(p.project.Version)).with("primaryPackagePurpose", "APPLICATION").with("downloadLocation", noAssertion).and("filesAnalyzed", false)
	case p.pkg != nil:
		return p.pkg.spdxPackage(id, at, o)
	}
	other := p.other
	location := noAssertion
	if address, commit, ok := strings.Cut(otherURL(other), "#"); address != "" {
		location = address
		if ok && other.Source == "git" {
			location += "@" + commit // SPDX names revisions so (section 7.7)
		}
	}
	out := object{{"name", Escape(cmp.Or(other.Name, "unknown"))}, {"SPDXID", id}}.
		with("versionInfo", Escape(other.Version)).with("downloadLocation", location).and("filesAnalyzed", false)
	if purl := other.purl(); purl != "" {
		out = out.and("externalRefs", []any{purlReference(purl)})
	}
	return out.and("annotations", []any{spdxAnnotation(other.properties(), at, o)})
}

// and returns the object with another member.
func (o object) and(name string, value any) object { return append(o, member{name, value}) }

func purlReference(purl string) object {
	return object{{"referenceCategory", "PACKAGE-MANAGER"}, {"referenceType", "purl"}, {"referenceLocator", purl}}
}

func (p *Package) spdxPackage(id, at string, o TextOptions) object {
	out := object{{"name", Escape(p.Name)}, {"SPDXID", id}, {"versionInfo", Escape(p.Version)}}.
		with("primaryPackagePurpose", "LIBRARY").with("downloadLocation", cmp.Or(p.tarballURL(), noAssertion)).and("filesAnalyzed", false)
	var checksums []any
	for _, d := range digests(p.Integrity) {
		checksums = append(checksums, object{{"algorithm", d.spdx}, {"checksumValue", d.hex}})
	}
	if checksums != nil {
		out = out.and("checksums", checksums)
	}
	out = out.with("sourceInfo", p.built())
	references := spdxReferences(p.references())
	if purl := p.purl(); purl != "" {
		references = slices.Insert(references, 0, any(purlReference(purl)))
	}
	if len(references) > 0 {
		out = out.and("externalRefs", references)
	}
	return out.and("annotations", []any{spdxAnnotation(told{pkg: p}.annotation(), at, o)})
}

// annotation is what an annotation says: of a package first which one, since one with several package URLs has
// several annotations.
func (s told) annotation() []property {
	if s.pkg == nil {
		return s.properties()
	}
	return append([]property{{"assay:package", s.pkg.purl()}}, s.properties()...)
}

// spdxReferenceMark begins the types of the external references that assay adds.
const spdxReferenceMark = "assay-"

func spdxReferences(references []reference) []any {
	out := make([]any, len(references))
	for i, r := range references {
		out[i] = object{{"referenceCategory", "OTHER"}, {"referenceType", spdxReferenceMark + r.kind}, {"referenceLocator", r.url}, {"comment", r.comment}}
	}
	return out
}

// spdxAnnotation says properties, one a line.
func spdxAnnotation(properties []property, at string, o TextOptions) object {
	var text strings.Builder
	for i, p := range properties {
		if i > 0 {
			text.WriteByte('\n')
		}
		text.WriteString(p.name + ": " + p.value)
	}
	return object{{"annotationDate", at}, {"annotationType", "OTHER"}, {"annotator", spdxTool(o)}, {"comment", text.String()}}
}

// An spdxEditor adds provenance to an SPDX document.
type spdxEditor struct {
	*editor
	r        *Report
	o        TextOptions
	subjects subjects
	found    []spdxFound
	seen     map[string]int // how many packages have an identifier
}

// An spdxFound is a package of the document.
type spdxFound struct {
	extent
	id                      string
	purls                   []string
	references, annotations *entries
}

var spdxVersions = []string{"SPDX-2.2", "SPDX-2.3"}

// enrichSPDX returns the document of a project with provenance added: see [WriteSPDX].
func enrichSPDX(r *Report, p *Project, o TextOptions) ([]byte, error) {
	e := &spdxEditor{editor: newEditor(p.File, p.Document), r: r, o: o, subjects: r.subjects(p), seen: map[string]int{}}
	if err := e.document(); err != nil {
		return nil, err
	}
	return e.result(), nil
}

// spdxMoment is the form of SPDX's times.
var spdxMoment = regexp.MustCompile(`^[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}Z$`)

// enrichedNamespace is the ending that the namespace of a document gets.
var enrichedNamespace = regexp.MustCompile(`-assay-[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$`)

func (e *spdxEditor) document() error {
	var version, namespace string
	var versionAt, namespaceAt stretch
	created := ""
	var creation extent
	var creators, annotations *entries
	top, err := e.object("the document", func(name string) (err error) {
		switch name {
		case "spdxVersion":
			version, versionAt, err = e.text()
		case "documentNamespace":
			namespace, namespaceAt, err = e.text()
		case "creationInfo":
			creation, err = e.object(name, func(name string) (err error) {
				switch name {
				case "created":
					created, _, err = e.text()
				case "creators":
					creators, err = e.entries(name, assayCreator)
				default:
					_, err = e.value()
				}
				return err
			})
		case "annotations":
			annotations, err = e.entries(name, assayAnnotation)
		case "packages":
			_, err = e.array(name, e.pkg)
		default:
			_, err = e.value()
		}
		return err
	})
	if err == nil {
		err = e.end()
	}
	if err != nil {
		return err
	}
	if !slices.Contains(spdxVersions, version) {
		return e.errorf(versionAt.start, "SPDX version %.40q cannot be enriched, only %s", version, strings.Join(spdxVersions, " and "))
	}
	e.learn(top)
	if !spdxMoment.MatchString(created) {
		created = epoch
	}
	at := spdxTime(e.o.Documents.Time, created)
	for i := range e.found {
		f := &e.found[i]
		e.subjects.claim(f.id, e.src[f.start:f.end], f.purls...)
	}
	for i := range e.found {
		f := &e.found[i]
		found, clear := e.subjects.of(f.id, f.purls...)
		if !clear || len(found) > 1 && e.seen[f.id] > 1 {
			return e.errorf(f.start, "several packages have the SPDXID %.200q, so it cannot be told what was found of which", f.id)
		}
		var references, notes []any
		for _, s := range found { // a package with several package URLs is several
			references = append(references, spdxReferences(s.references())...)
			notes = append(notes, spdxAnnotation(s.annotation(), at, e.o))
		}
		e.set(f.extent, "externalRefs", f.references, references)
		e.set(f.extent, "annotations", f.annotations, notes)
	}
	if creation.end > 0 {
		e.set(creation, "creators", creators, []any{spdxTool(e.o)})
	}
	e.set(top, "annotations", annotations, []any{spdxAnnotation(e.r.properties(), at, e.o)})
	if namespace != "" {
		base := enrichedNamespace.ReplaceAllString(namespace, "")
		kept := slices.Clone(e.edits)
		e.replace(namespaceAt, appendText(nil, base))
		id := uuid(e.result())
		e.edits = kept
		e.replace(namespaceAt, appendText(nil, base+"-assay-"+id))
	}
	return nil
}

func (e *spdxEditor) pkg() error {
	var f spdxFound
	var err error
	f.extent, err = e.object("a package", func(name string) (err error) {
		switch name {
		case "SPDXID":
			f.id, _, err = e.text()
		case "annotations":
			f.annotations, err = e.entries(name, assayAnnotation)
		case "externalRefs":
			f.references, err = e.entries(name, func(raw []byte) bool {
				if purl := textMember(raw, "referenceLocator"); textMember(raw, "referenceType") == "purl" {
					f.purls = append(f.purls, purl)
				}
				return assaySPDXReference(raw)
			})
		default:
			_, err = e.value()
		}
		return err
	})
	if err != nil {
		return err
	}
	if e.subjects.named[f.id] == nil && !f.references.any() && !f.annotations.any() {
		return nil // a document can hold far more of these than of what was found
	}
	e.seen[f.id]++
	e.found = append(e.found, f)
	return nil
}

func assaySPDXReference(raw []byte) bool {
	return mayBeOurs(raw) && textMember(raw, "referenceCategory") == "OTHER" && strings.HasPrefix(textMember(raw, "referenceType"), spdxReferenceMark)
}

func assayAnnotation(raw []byte) bool {
	return mayBeOurs(raw) && assayCreatorName(textMember(raw, "annotator")) && strings.HasPrefix(textMember(raw, "comment"), assayPrefix)
}

func assayCreator(raw []byte) bool { return assayCreatorName(unquote(raw)) }

// assayCreatorName recognises assay among tools, "Tool: assay" with or without a version, and not another tool
// whose name begins the same.
func assayCreatorName(s string) bool {
	rest, ok := strings.CutPrefix(s, "Tool: "+tool)
	return ok && (rest == "" || assayVersion.MatchString(rest))
}

var assayVersion = regexp.MustCompile(`^-v?[0-9][0-9A-Za-z.+-]*$`)

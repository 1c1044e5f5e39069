package inventory

import (
	"bytes"
	"fmt"
	"strings"

	"github.com/go-json-experiment/json/jsontext"
)

// readSPDX reads an SPDX document of version 2.2 or 2.3 in JSON.
//
// The package that the document describes is the project, where there is just one; the others are what it uses.
// downloadLocation and checksums are those of the tarball, as npm writes them.
// Source: SPDX specification 2.3, clauses 6, 7 and 11; npm/cli, lib/utils/sbom-spdx.js.
func readSPDX(s *source, file string) (*tree, error) {
	data, err := s.readFile(file, maxFile)
	if err != nil {
		return nil, err
	}
	s.files = append(s.files, file)
	if text := bytes.TrimLeft(bytes.TrimPrefix(data, []byte("\ufeff")), " \t\r\n"); len(text) > 0 && text[0] != '{' {
		return nil, &FormatError{file, 1, "is an SPDX document in another form than JSON (tag-value, RDF, YAML), which is not read: " +
			"convert it, for example with `java -jar tools-java.jar Convert FILE FILE.spdx.json`"}
	}
	return parseSPDX(file, data)
}

// An spdxReader reads a document in JSON.
type spdxReader struct {
	*jsonReader
	b         *sbom
	describes []string // SPDXIDs
	byNPM     bool     // npm wrote the document
	npmPlaces []spdxPlace
}

// An spdxPlace is where npm says that a package lies, and nothing where it was fetched.
type spdxPlace struct {
	entry int32
	place string
}

// An spdxRelation is what a relationship says of dependencies.
type spdxRelation struct {
	kind    EdgeKind
	reverse bool // the second element depends on the first
}

// spdxRelations are the relationships by which one package needs another. The rest tells of other things.
// Source: SPDX specification 2.3, table 68.
var spdxRelations = map[string]spdxRelation{
	"DEPENDS_ON":             {Prod, false},
	"DEPENDENCY_OF":          {Prod, true},
	"RUNTIME_DEPENDENCY_OF":  {Prod, true},
	"PROVIDED_DEPENDENCY_OF": {Prod, true},
	"OPTIONAL_DEPENDENCY_OF": {Optional, true},
	"DEV_DEPENDENCY_OF":      {Dev, true},
	"BUILD_DEPENDENCY_OF":    {Dev, true},
	"TEST_DEPENDENCY_OF":     {Dev, true},
	"DEV_TOOL_OF":            {Dev, true},
	"BUILD_TOOL_OF":          {Dev, true},
	"TEST_TOOL_OF":           {Dev, true},
	"PREREQUISITE_FOR":       {Peer, true},
	"HAS_PREREQUISITE":       {Peer, false},
	"CONTAINS":               {Prod, false},
	"CONTAINED_BY":           {Prod, true},
	"STATIC_LINK":            {Prod, false},
	"DYNAMIC_LINK":           {Prod, false},
	"OPTIONAL_COMPONENT_OF":  {Optional, true},
	"PACKAGE_OF":             {Prod, true},
}

func parseSPDX(file string, data []byte) (*tree, error) {
	r := &spdxReader{jsonReader: newJSONReader(file, data, false), b: newSBOM(file, data)}
	var version, id string
	wrapped, graph := false, false
	versionLine := 1
	err := r.object("the document", func(field string) (err error) {
		switch field {
		case "spdxVersion":
			version, err = r.str(field, false)
			versionLine = r.line()
		case "SPDXID":
			id, err = r.str(field, false)
		case "name":
			r.b.t.nodes[0].realName, err = r.str(field, false)
		case "creationInfo":
			err = r.maybe(r.creation)
		case "documentDescribes":
			var ids []string
			err = r.maybe(func() (err error) { ids, err = r.strings(field); return err })
			r.describes = append(r.describes, ids...)
		case "packages":
			err = r.each(field, r.spdxPackage)
		case "relationships":
			err = r.each(field, func() error { return r.relationship(id) })
		case "sbom":
			wrapped, err = true, r.skip()
		case "@graph":
			graph, err = true, r.skip()
		default:
			err = r.skip()
		}
		return err
	})
	if err == nil {
		err = r.end()
	}
	if err != nil {
		return nil, err
	}
	switch {
	case version == "SPDX-2.2" || version == "SPDX-2.3":
	case version == "" && wrapped:
		return nil, &FormatError{file, 1, `holds an SPDX document as its member "sbom", as GitHub's API answers: save that member's value as the file`}
	case version == "" && graph:
		return nil, &FormatError{file, 1, "is an SPDX document of version 3 (JSON-LD), which is not read; supported are 2.2 and 2.3"}
	default:
		return nil, &FormatError{file, versionLine, fmt.Sprintf("SPDX version %s is not supported; supported are SPDX-2.2 and SPDX-2.3", quoteShort(version))}
	}
	if r.byNPM {
		r.directories()
	}
	r.b.describe(r.describes)
	return r.b.tree()
}

// creation finds out which tool wrote the document.
func (r *spdxReader) creation() error {
	return r.object("creationInfo", func(field string) error {
		if field != "creators" || r.peek() != jsontext.KindBeginArray {
			return r.skip()
		}
		creators, err := r.strings(field)
		for _, c := range creators {
			r.byNPM = r.byNPM || strings.HasPrefix(c, "Tool: npm/cli-")
		}
		return err
	})
}

func (r *spdxReader) spdxPackage() error {
	e := sbomEntry{parent: -1, line: r.nextLine()}
	self, err := r.b.reserve(e.line)
	if err != nil {
		return err
	}
	var purls []string
	var place string
	err = r.object("a package", func(field string) (err error) {
		switch field {
		case "SPDXID":
			e.ref, err = r.str(field, false)
		case "name":
			e.name, err = r.str(field, true)
		case "versionInfo":
			e.version, err = r.str(field, true)
		case "packageFileName":
			place, err = r.str(field, false)
		case "downloadLocation":
			e.address, err = r.str(field, false)
		case "checksums":
			e.hashes, err = r.hashes("algorithm", "checksumValue")
		case "externalRefs":
			err = r.each(field, func() error {
				purl, err := r.purl()
				if purl != "" {
					purls = append(purls, purl)
				}
				return err
			})
		default:
			err = r.skip()
		}
		return err
	})
	if err != nil {
		return err
	}
	if e.ref == "" {
		return &FormatError{r.file, e.line, fmt.Sprintf("the package %s has no SPDXID", quoteShort(e.name))}
	}
	// NOASSERTION and NONE are no addresses either.
	if e.address = strings.TrimSpace(e.address); !tarballAddress(e.address, len(e.hashes) > 0) {
		e.address = ""
	}
	for _, purl := range purls {
		if e.purl == "" || isNPM(purl) && !isNPM(e.purl) {
			e.purl = purl
		}
	}
	if place != "" && e.address == "" && len(e.hashes) == 0 {
		r.npmPlaces = append(r.npmPlaces, spdxPlace{self, place})
	}
	if err := r.b.add(self, &e); err != nil {
		return err
	}
	// Whatever else the package is said to be is a row of its own.
	for _, purl := range purls {
		if purl == e.purl || !isNPM(purl) {
			continue
		}
		self, err := r.b.reserve(e.line)
		if err != nil {
			return err
		}
		other := sbomEntry{ref: e.ref, name: e.name, version: "", purl: purl, parent: -1, line: e.line}
		if err := r.b.add(self, &other); err != nil {
			return err
		}
	}
	return nil
}

// purl reads an external reference, and returns it if it is a package URL.
func (r *spdxReader) purl() (string, error) {
	var kind, locator string
	err := r.object("an external reference", func(field string) (err error) {
		switch field {
		case "referenceType":
			kind, err = r.str(field, true)
		case "referenceLocator":
			locator, err = r.str(field, false)
		default:
			err = r.skip()
		}
		return err
	})
	if kind != "purl" && !strings.HasSuffix(kind, "/purl") {
		return "", err
	}
	return strings.TrimSpace(locator), err
}

// relationship reads one relationship; document is the SPDXID of the document, as far as it is known.
func (r *spdxReader) relationship(document string) error {
	line := r.nextLine()
	var from, to, kind string
	err := r.object("a relationship", func(field string) (err error) {
		switch field {
		case "spdxElementId":
			from, err = r.str(field, true)
		case "relatedSpdxElement":
			to, err = r.str(field, true)
		case "relationshipType":
			kind, err = r.str(field, true)
		default:
			err = r.skip()
		}
		return err
	})
	if err != nil {
		return err
	}
	if kind == "DESCRIBED_BY" {
		from, to, kind = to, from, "DESCRIBES"
	}
	if kind == "DESCRIBES" {
		if from == "SPDXRef-DOCUMENT" || from == document {
			r.describes = append(r.describes, to)
		}
		return nil
	}
	rel, ok := spdxRelations[kind]
	if !ok {
		return nil
	}
	if rel.reverse {
		from, to = to, from
	}
	return r.b.link(from, to, rel.kind, line)
}

// directories finds directories of the project among what npm lists: what lies outside node_modules.
func (r *spdxReader) directories() {
	for _, p := range r.npmPlaces {
		if v := &r.b.verdicts[p.entry]; v.other == "" && !strings.Contains("/"+p.place+"/", "/"+nodeModules+"/") {
			*v = verdict{other: SourceFile, spec: v.spec}
		}
	}
}

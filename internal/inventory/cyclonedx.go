package inventory

import (
	"bytes"
	"fmt"
	"strings"

	"assay/internal/npm"

	"github.com/go-json-experiment/json/jsontext"
)

// cycloneDXVersions are the versions of CycloneDX that are known.
var cycloneDXVersions = []string{"1.0", "1.1", "1.2", "1.3", "1.4", "1.5", "1.6", "1.7"}

// readCycloneDX reads a CycloneDX document in JSON or XML, from version 1.0 on.
//
// What of its metadata.component is said is the project; components, nested ones too, are what it uses, and
// dependencies say what asks for what. The tools that made the document, services and pedigrees are no part of it.
// Hashes are those of the tarball, as npm, cyclonedx-npm and cdxgen write them: of the reference to where it was
// fetched where that has some, else the component's own.
//
// A component with an npm package URL is a package. It is none where the URL says that it comes from a repository or
// an address. Nor is it where nothing says that it was fetched, no address and no hash, and it is marked as bundled
// (cdx:npm:package:bundled), as a workspace, as private or as a link.
// Source: https://cyclonedx.org/specification/overview/; CycloneDX/cyclonedx-property-taxonomy, cdx/npm.md.
func readCycloneDX(s *source, file string) (*tree, error) {
	data, err := s.readFile(file, maxFile)
	if err != nil {
		return nil, err
	}
	s.files = append(s.files, file)
	if text := bytes.TrimLeft(bytes.TrimPrefix(data, []byte("\ufeff")), " \t\r\n"); len(text) > 0 && text[0] == '<' {
		return parseCycloneDXXML(file, data)
	}
	return parseCycloneDX(file, data)
}

// knownCycloneDX is an error where a CycloneDX document has a version that is not known.
func knownCycloneDX(file string, line int, version string) error {
	for _, v := range cycloneDXVersions {
		if v == version {
			return nil
		}
	}
	return &FormatError{file, line, fmt.Sprintf("CycloneDX %s is not supported; supported are %s to %s", quoteShort(version), cycloneDXVersions[0], cycloneDXVersions[len(cycloneDXVersions)-1])}
}

// A cycloneDXReader reads a document in JSON.
type cycloneDXReader struct {
	*jsonReader
	b *sbom
}

func parseCycloneDX(file string, data []byte) (*tree, error) {
	r := &cycloneDXReader{newJSONReader(file, data, false), newSBOM(file, data)}
	var format, version string
	versionLine := 1
	err := r.object("the document", func(field string) (err error) {
		switch field {
		case "bomFormat":
			format, err = r.str(field, false)
		case "specVersion":
			version, err = r.str(field, false)
			versionLine = r.line()
		case "metadata":
			err = r.maybe(func() error {
				return r.object(field, func(field string) error {
					if field != "component" {
						return r.skip()
					}
					return r.maybe(func() error { return r.component(-1, 0, true) })
				})
			})
		case "components":
			err = r.components(-1, 0)
		case "dependencies":
			err = r.each(field, r.dependency)
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
	if format != "CycloneDX" {
		return nil, &FormatError{file, 1, fmt.Sprintf("is no CycloneDX document: its bomFormat is %s", quoteShort(format))}
	}
	if err := knownCycloneDX(file, versionLine, version); err != nil {
		return nil, err
	}
	return r.b.tree()
}

func (r *cycloneDXReader) components(parent int32, depth int) error {
	if depth > maxNesting {
		return r.errorf("components are nested too deeply")
	}
	return r.each("components", func() error { return r.component(parent, depth, false) })
}

// component reads one component and what is nested in it: one of the project's, or the project itself.
func (r *cycloneDXReader) component(parent int32, depth int, subject bool) error {
	e := sbomEntry{parent: parent, line: r.nextLine()}
	self := int32(-1)
	if !subject {
		var err error
		if self, err = r.b.reserve(e.line); err != nil {
			return err
		}
	}
	group := ""
	err := r.object("a component", func(field string) (err error) {
		switch field {
		case "bom-ref":
			e.ref, err = r.str(field, false)
		case "group":
			group, err = r.str(field, true)
		case "name":
			e.name, err = r.str(field, true)
		case "version":
			e.version, err = r.str(field, true)
		case "purl":
			e.purl, err = r.str(field, false)
		case "scope":
			var scope string
			scope, err = r.str(field, true)
			e.scope(scope)
		case "hashes":
			e.ownHashes, err = r.hashes("alg", "content")
		case "externalReferences":
			err = r.each(field, func() error { return r.reference(&e) })
		case "properties":
			err = r.each(field, func() error { return r.property(&e) })
		case "components":
			err = r.components(self, depth+1)
		default:
			err = r.skip()
		}
		return err
	})
	if err != nil {
		return err
	}
	e.name = joinPath(group, e.name)
	if subject {
		r.b.subject(&e)
		return nil
	}
	return r.b.add(self, &e)
}

// hashes reads a list of digests, in which each names its algorithm and value in fields of these names.
func (r *jsonReader) hashes(algorithm, value string) (list []sbomHash, err error) {
	err = r.each("hashes", func() error {
		var h sbomHash
		err := r.object("a hash", func(field string) (err error) {
			switch field {
			case algorithm:
				h.algorithm, err = r.str(field, true)
			case value:
				h.value, err = r.str(field, false)
			default:
				err = r.skip()
			}
			return err
		})
		if list = append(list, h); len(list) > maxHashes {
			return r.errorf("more than %d hashes of one thing", maxHashes)
		}
		return err
	})
	return list, err
}

func (r *cycloneDXReader) reference(e *sbomEntry) error {
	var kind, address string
	var hashes []sbomHash
	err := r.object("an external reference", func(field string) (err error) {
		switch field {
		case "type":
			kind, err = r.str(field, true)
		case "url":
			address, err = r.str(field, false)
		case "hashes":
			hashes, err = r.hashes("alg", "content")
		default:
			err = r.skip()
		}
		return err
	})
	e.reference(kind, address, hashes)
	return err
}

func (r *cycloneDXReader) property(e *sbomEntry) error {
	var name, value string
	err := r.object("a property", func(field string) (err error) {
		switch field {
		case "name":
			name, err = r.str(field, true)
		case "value":
			value, err = r.str(field, true)
		default:
			err = r.skip()
		}
		return err
	})
	e.property(name, value)
	return err
}

func (r *cycloneDXReader) dependency() error {
	line := r.nextLine()
	var ref string
	var on []string
	err := r.object("a dependency", func(field string) (err error) {
		switch field {
		case "ref":
			ref, err = r.str(field, false)
		case "dependsOn":
			err = r.each(field, func() error {
				if k := r.peek(); k != jsontext.KindString {
					return r.unexpected(k, field, "a string")
				}
				s, err := r.str(field, true)
				if on = append(on, s); len(on) > maxListedEdges {
					return r.errorf("more than %d dependencies", maxListedEdges)
				}
				return err
			})
		default:
			err = r.skip()
		}
		return err
	})
	for i := 0; i < len(on) && err == nil; i++ {
		err = r.b.link(ref, on[i], Prod, line)
	}
	return err
}

// scope takes over a component's scope. One that is excluded is not among what runs.
func (e *sbomEntry) scope(scope string) {
	if scope == "optional" || scope == "excluded" {
		e.flags |= isOptional
	}
}

// reference takes over where a component was fetched. Of several the first counts.
func (e *sbomEntry) reference(kind, address string, hashes []sbomHash) {
	address = strings.TrimSpace(address)
	if kind != "distribution" || e.address != "" || !tarballAddress(address, len(hashes) > 0) {
		return
	}
	e.address, e.hashes = address, hashes
}

// property takes over what tools tell of a component by names of their own.
// Source: CycloneDX/cyclonedx-property-taxonomy, cdx/npm.md; CycloneDX/cdxgen, lib/helpers/utils.js; anchore/syft,
// syft/format/internal/cyclonedxutil/helpers; aquasecurity/trivy, pkg/sbom/io/encode.go.
func (e *sbomEntry) property(name, value string) {
	yes := value == "true"
	switch name {
	case "cdx:npm:package:development":
		e.flag(isDev, yes)
	case "cdx:npm:package:extraneous":
		e.flag(isExtraneous, yes)
	case "cdx:npm:package:bundled":
		e.flag(isBundled, yes)
	case "cdx:npm:package:private", "cdx:npm:isWorkspace", "internal:is_workspace":
		if yes {
			e.local = SourceWorkspace
		}
	case "cdx:npm:isLink":
		if yes && e.local == "" {
			e.local = SourceLink
		}
	case "assay:source":
		e.workspace = value == SourceWorkspace
	case "ResolvedUrl", "syft:metadata:resolved":
		e.reference("distribution", value, nil)
	case "syft:metadata:integrity":
		if in, err := npm.ParseIntegrity(value); err == nil && in != nil {
			e.sri = value
		}
	default:
		// Trivy hashes the package.json that it has found.
		e.otherHashes = e.otherHashes || strings.HasPrefix(name, "aquasecurity:trivy:")
	}
}

func (e *sbomEntry) flag(f flags, on bool) {
	if on {
		e.flags |= f
	}
}

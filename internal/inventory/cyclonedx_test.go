package inventory

import (
	"encoding/json"
	"encoding/xml"
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"
)

const (
	sha512Hex = "ee26b0dd4af7e749aa1a8ee3c10ae9923f618980772e473f8819a5d4940e0db27ac185f8a0e1d5f84f88bc887fd67b143732c304cc5fa9ad8e6f57f50028a8ff"
	sha1Hex   = "a94a8fe5ccb19ba61c4c0873d391e987982fbbd3"
)

// cdxKinds has one component of each kind; cdxKindsXML says the same in XML.
const cdxKinds = `{
  "bomFormat": "CycloneDX",
  "specVersion": "1.6",
  "metadata": {
    "tools": { "components": [ { "type": "application", "name": "npm", "purl": "pkg:npm/npm@11.0.0" } ] },
    "component": { "bom-ref": "root", "type": "application", "name": "app", "version": "1.0.0", "purl": "pkg:npm/app@1.0.0" }
  },
  "components": [
    {
      "bom-ref": "a", "type": "library", "group": "@acme", "name": "a", "version": "1.0.0", "purl": "pkg:npm/%40acme/a@1.0.0",
      "externalReferences": [
        { "type": "website", "url": "https://example.com/a.tgz" },
        { "type": "distribution", "url": "https://registry.npmjs.org/@acme/a/-/a-1.0.0.tgz", "hashes": [ { "alg": "SHA-512", "content": "` + sha512Hex + `" } ] }
      ],
      "components": [ { "bom-ref": "a|b", "type": "library", "name": "b", "version": "2.0.0", "purl": "pkg:npm/b@2.0.0", "scope": "optional",
        "hashes": [ { "alg": "SHA-1", "content": "` + sha1Hex + `" }, { "alg": "MD5", "content": "00" } ] } ]
    },
    { "bom-ref": "dev", "type": "library", "name": "dev", "version": "1.0.0", "purl": "pkg:npm/dev@1.0.0", "properties": [ { "name": "cdx:npm:package:development", "value": "true" }, { "name": "ResolvedUrl", "value": "https://registry.npmjs.org/dev/-/dev-1.0.0.tgz" } ] },
    { "bom-ref": "in", "type": "library", "name": "in", "version": "1.0.0", "purl": "pkg:npm/in@1.0.0", "properties": [ { "name": "cdx:npm:package:bundled", "value": "true" } ] },
    { "bom-ref": "inner", "type": "library", "name": "inner", "version": "1.0.0", "purl": "pkg:npm/inner@1.0.0", "properties": [ { "name": "cdx:npm:package:bundled", "value": "true" } ] },
    { "bom-ref": "ws", "type": "library", "name": "ws", "version": "1.0.0", "purl": "pkg:npm/ws@1.0.0", "properties": [ { "name": "cdx:npm:package:private", "value": "true" } ] },
    { "bom-ref": "git", "type": "library", "name": "git", "version": "1.0.0", "purl": "pkg:npm/git@1.0.0?vcs_url=git%2Bssh%3A%2F%2Fgit%40github.com%2Facme%2Fgit.git%230123abc" },
    { "bom-ref": "short", "type": "library", "name": "short", "version": "1.0.0", "purl": "pkg:npm/short@1.0.0", "externalReferences": [ { "type": "distribution", "url": "git+ssh://git@github.com/acme/short.git#0123abc" } ] },
    { "bom-ref": "meta", "type": "library", "name": "meta", "version": "1.0.0", "purl": "pkg:npm/meta@1.0.0", "externalReferences": [ { "type": "distribution", "url": "git+https://github.com/acme/meta.git" } ] },
    { "bom-ref": "tar", "type": "library", "name": "tar", "version": "1.0.0", "purl": "pkg:npm/tar@1.0.0?download_url=https://npm.jsr.io/~/11/tar/1.0.0.tgz#sub/dir" },
    { "bom-ref": "disk", "type": "library", "name": "disk", "version": "1.0.0", "purl": "pkg:npm/disk@1.0.0", "externalReferences": [ { "type": "distribution", "url": "file:disk.tgz" } ] },
    { "bom-ref": "py", "type": "library", "name": "Django", "version": "5.0", "purl": "pkg:pypi/django@5.0" },
    { "bom-ref": "os", "type": "operating-system", "name": "debian", "version": "12" },
    { "bom-ref": "trivy", "type": "library", "name": "trivy", "version": "1.0.0", "purl": "pkg:npm/trivy@1.0.0", "hashes": [ { "alg": "SHA-1", "content": "` + sha1Hex + `" } ], "properties": [ { "name": "aquasecurity:trivy:PkgType", "value": "node-pkg" } ] },
    { "type": "library", "name": "unnamed", "version": "1.0.0", "purl": "pkg:npm/unnamed@1.0.0", "properties": [ { "name": "cdx:npm:package:extraneous", "value": "true" } ] }
  ],
  "dependencies": [
    { "ref": "root", "dependsOn": [ "a", "dev", "ws", "git", "short", "meta", "tar", "disk", "py", "os", "trivy" ] },
    { "ref": "a", "dependsOn": [ "in" ] },
    { "ref": "in", "dependsOn": [ "inner", "nowhere" ] },
    { "ref": "dev", "dependsOn": [ "a|b" ] }
  ]
}`

const cdxKindsWant = `@acme/a@1.0.0 direct at a:9 via app>@acme/a
b@2.0.0 resolved= dev optional at a|b:15 via app>dev>b
dev@1.0.0 no-integrity direct dev at dev:18 via app>dev
meta@1.0.0 no-integrity resolved= direct at meta:24 via app>meta
tar@1.0.0 no-integrity resolved=https://npm.jsr.io/~/11/tar/1.0.0.tgz direct at tar:25 via app>tar
trivy@1.0.0 no-integrity resolved= direct at trivy:29 via app>trivy
unnamed@1.0.0 no-integrity resolved= extraneous at pkg:npm/unnamed@1.0.0:30
foreign: Django@5.0 spec=pkg:pypi/django@5.0 direct at py:27 via app>Django
foreign: debian@12 direct at os:28 via app>debian
file: disk@1.0.0 spec=pkg:npm/disk@1.0.0 resolved=file:disk.tgz direct at disk:26 via app>disk
git: git@1.0.0 spec=pkg:npm/git@1.0.0?vcs_url=git%2Bssh%3A%2F%2Fgit%40github.com%2Facme%2Fgit.git%230123abc resolved=git+ssh://git@github.com/acme/git.git#0123abc direct at git:22 via app>git
bundled: in@1.0.0 in=@acme/a@1.0.0 at in:19 via app>@acme/a>in
bundled: inner@1.0.0 in=@acme/a@1.0.0 at inner:20 via app>@acme/a>in>inner
git: short@1.0.0 spec=pkg:npm/short@1.0.0 resolved=git+ssh://git@github.com/acme/short.git#0123abc direct at short:23 via app>short
workspace: ws@1.0.0 spec=pkg:npm/ws@1.0.0 direct at ws:21 via app>ws
`

// cdxToXML writes a document in JSON as the same in XML.
func cdxToXML(t interface{ Fatal(...any) }, text string) string {
	type component struct {
		Ref                                     string `json:"bom-ref"`
		Type, Group, Name, Version, Scope, Purl string
		Hashes                                  []struct{ Alg, Content string }
		ExternalReferences                      []struct {
			Type, URL string
			Hashes    []struct{ Alg, Content string }
		}
		Properties []struct{ Name, Value string }
		Components json.RawMessage
	}
	var doc struct {
		SpecVersion  string
		Metadata     struct{ Component *component }
		Components   json.RawMessage
		Dependencies []struct {
			Ref       string
			DependsOn []string
		}
	}
	if err := json.Unmarshal([]byte(text), &doc); err != nil {
		t.Fatal(err)
	}
	var b strings.Builder
	esc := func(s string) string {
		var e strings.Builder
		if err := xml.EscapeText(&e, []byte(s)); err != nil {
			t.Fatal(err)
		}
		return e.String()
	}
	text1 := func(name, value string) {
		if value != "" {
			fmt.Fprintf(&b, "<%s>%s</%s>\n", name, esc(value), name)
		}
	}
	hashes := func(hs []struct{ Alg, Content string }) {
		if len(hs) > 0 {
			b.WriteString("<hashes>")
			for _, h := range hs {
				fmt.Fprintf(&b, "<hash alg=%q>%s</hash>", h.Alg, h.Content)
			}
			b.WriteString("</hashes>\n")
		}
	}
	var list func(raw json.RawMessage)
	one := func(c *component) {
		fmt.Fprintf(&b, "<component type=%q", c.Type)
		if c.Ref != "" {
			fmt.Fprintf(&b, " bom-ref=\"%s\"", esc(c.Ref))
		}
		b.WriteString(">\n<!-- a comment --><x:own xmlns:x=\"urn:x\"><purl>pkg:npm/evil@1.0.0</purl></x:own>")
		text1("group", c.Group)
		text1("name", c.Name)
		text1("version", c.Version)
		text1("scope", c.Scope)
		hashes(c.Hashes)
		text1("purl", c.Purl)
		if len(c.ExternalReferences) > 0 {
			b.WriteString("<externalReferences>")
			for _, r := range c.ExternalReferences {
				fmt.Fprintf(&b, "<reference type=%q>", r.Type)
				text1("url", r.URL)
				hashes(r.Hashes)
				b.WriteString("</reference>")
			}
			b.WriteString("</externalReferences>")
		}
		if len(c.Properties) > 0 {
			b.WriteString("<properties>")
			for _, p := range c.Properties {
				fmt.Fprintf(&b, "<property name=%q>%s</property>", p.Name, esc(p.Value))
			}
			b.WriteString("</properties>")
		}
		list(c.Components)
		b.WriteString("</component>\n")
	}
	list = func(raw json.RawMessage) {
		var cs []*component
		if len(raw) == 0 || string(raw) == "null" {
			return
		}
		if err := json.Unmarshal(raw, &cs); err != nil {
			t.Fatal(err)
		}
		b.WriteString("<components>\n")
		for _, c := range cs {
			one(c)
		}
		b.WriteString("</components>\n")
	}
	fmt.Fprintf(&b, "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<bom xmlns=\"http://cyclonedx.org/schema/bom/%s\" version=\"1\">\n<metadata><tools><tool><name>npm</name></tool></tools>\n", doc.SpecVersion)
	if c := doc.Metadata.Component; c != nil {
		one(c)
	}
	b.WriteString("</metadata>\n")
	list(doc.Components)
	b.WriteString("<dependencies>\n")
	for _, d := range doc.Dependencies {
		fmt.Fprintf(&b, "<dependency ref=\"%s\">", esc(d.Ref))
		for _, on := range d.DependsOn {
			fmt.Fprintf(&b, "<dependency ref=\"%s\"/>", esc(on))
		}
		b.WriteString("</dependency>\n")
	}
	b.WriteString("</dependencies>\n</bom>\n")
	return b.String()
}

func openSBOM(text string) (*Project, error) {
	return OpenFS(files(map[string]string{"bom": text}), "bom", Options{})
}

func TestCycloneDX(t *testing.T) {
	p, err := openSBOM(cdxKinds)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(cdxKindsWant, summary(p)); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	if p.Name != "app" || p.Version != "1.0.0" || p.Kind != "cyclonedx" || string(p.Document) != cdxKinds {
		t.Errorf("%s %s of kind %q", p.Name, p.Version, p.Kind)
	}
	if got := p.Packages[0].Integrity; got != "sha512-7iaw3Ur350mqGo7jwQrpkj9hiYB3Lkc/iBml1JQODbJ6wYX4oOHV+E+IvIh/1nsUNzLDBMxfqa2Ob1f1ACio/w==" {
		t.Errorf("integrity %q", got)
	}
	if got := p.Packages[1].Integrity; got != "sha1-qUqP5cyxm6YcTAhz05Hph5gvu9M=" {
		t.Errorf("integrity %q", got)
	}
	checkComplete(t, p, nil)
	x, err := openSBOM(cdxToXML(t, cdxKinds))
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(withoutLines(p), withoutLines(x)); diff != "" {
		t.Errorf("(-JSON +XML):\n%s", diff)
	}
	for _, q := range x.Packages {
		if q.Locations[0].Line < 5 {
			t.Errorf("%s is in line %d", q.Name, q.Locations[0].Line)
		}
	}
	omitted, err := OpenFS(files(map[string]string{"bom": cdxKinds}), "bom", Options{Omit: []string{"dev", "optional"}})
	if err != nil || strings.Contains(strings.Join(names(omitted), " "), "dev@") || len(omitted.Packages) != len(p.Packages)-2 {
		t.Errorf("without development: %q, %v", names(omitted), err)
	}
}

// cdx is a document of components, with a root that depends on what is listed.
func cdx(components string, dependsOn ...string) string {
	on, _ := json.Marshal(dependsOn)
	return fmt.Sprintf(`{"bomFormat": "CycloneDX", "specVersion": "1.5", "metadata": {"component": {"bom-ref": "root", "name": "app"}}, "components": [%s], "dependencies": [{"ref": "root", "dependsOn": %s}]}`, components, on)
}

func TestCycloneDXOddities(t *testing.T) {
	lib := func(ref, purl, more string) string {
		return fmt.Sprintf(`{"bom-ref": %q, "type": "library", "name": "x", "purl": %q%s}`, ref, purl, more)
	}
	tests := []struct{ name, doc, want string }{
		{"a package in three components", cdx(lib("1", "pkg:npm/x@1.0.0", "")+","+lib("2", "pkg:npm/x@1.0.0", "")+","+lib("3", "pkg:npm/x@1.0.0", `, "hashes": [{"alg": "SHA-1", "content": "`+sha1Hex+`"}]`), "1"),
			"x@1.0.0 no-integrity resolved= direct at 1:1 2:1 via app>x\nx@1.0.0 resolved= extraneous at 3:1\n"},
		{"a reference twice, the same", cdx(lib("1", "pkg:npm/x@1.0.0", "")+","+lib("1", "pkg:npm/x@1.0.0", ""), "1"), `warning reference-twice at bom:1: "1" is listed twice`},
		{"a reference twice, two packages", cdx(lib("1", "pkg:npm/x@1.0.0", "")+","+lib("1", "pkg:npm/y@1.0.0", ""), "1"),
			"x@1.0.0 no-integrity resolved= direct at 1:1 via app>x\ny@1.0.0 no-integrity resolved= direct at 1:1 via app>y\nwarning reference-twice"},
		{"no version", cdx(lib("1", "pkg:npm/x", ""), "1"), "unknown: x@ spec=pkg:npm/x direct at 1:1 via app>x\nwarning version-missing"},
		{"a range", cdx(lib("1", "pkg:npm/x@%5E1.0.0", ""), "1"), "unknown: x@^1.0.0 spec=pkg:npm/x@%5E1.0.0"},
		{"a version of the component's own", cdx(lib("1", "pkg:npm/x", `, "version": "1.2.3"`), "1"), "x@1.2.3 no-integrity"},
		{"two versions", cdx(lib("1", "pkg:npm/x@1.0.0", `, "version": "1.2.3"`), "1"), "warning version-differs at bom:1: \"1\" has the version \"1.2.3\""},
		{"no name that npm has", cdx(lib("1", "pkg:npm/x%20y@1.0.0", ""), "1"), "warning purl-unreadable"},
		{"a hash that is none", cdx(lib("1", "pkg:npm/x@1.0.0", `, "hashes": [{"alg": "SHA-512", "content": "00"}]`), "1"), "warning hash-unreadable"},
		{"two hashes", cdx(lib("1", "pkg:npm/x@1.0.0", `, "hashes": [{"alg": "SHA-1", "content": "`+strings.Repeat("0", 40)+`"}], "externalReferences": [{"type": "distribution", "url": "https://r/x.tgz", "hashes": [{"alg": "SHA-1", "content": "`+sha1Hex+`"}]}]`), "1"), "warning hashes-differ"},
		{"a registry by qualifier", cdx(lib("1", "pkg:npm/%40s/x@1.0.0?repository_url=https://npm.example.com/", ""), "1"), "@s/x@1.0.0 no-integrity resolved=https://npm.example.com/@s/x/-/x-1.0.0.tgz"},
		{"a registry that is none", cdx(lib("1", "pkg:npm/x@1.0.0?repository_url=file:///etc", ""), "1"), "warning repository-unreadable"},
		{"a checksum by qualifier", cdx(lib("1", "pkg:npm/x@1.0.0?checksum=sha1:"+sha1Hex, ""), "1"), "x@1.0.0 resolved= direct"},
		{"assay's own workspace", cdx(`{"bom-ref": "1", "type": "library", "name": "part", "properties": [{"name": "assay:source", "value": "workspace"}]}`, "1"), "workspace: part@ direct"},
		{"marked as a workspace, and a package", cdx(lib("1", "pkg:npm/x@1.0.0", `, "properties": [{"name": "assay:source", "value": "workspace"}]`), "1"), "x@1.0.0 no-integrity resolved= direct"},
		{"marked as a workspace, and of another ecosystem", cdx(lib("1", "pkg:cargo/x@1.0.0", `, "properties": [{"name": "assay:source", "value": "workspace"}]`), "1"), "foreign: x@ spec=pkg:cargo/x@1.0.0 direct"},
		{"marked as a workspace, and fetched", cdx(`{"bom-ref": "1", "type": "library", "name": "part", "properties": [{"name": "assay:source", "value": "workspace"}], "externalReferences": [{"type": "distribution", "url": "https://e.example/x.tgz"}]}`, "1"), "foreign: part@ resolved=https://e.example/x.tgz direct"},
		{"marked as a workspace, and hashed", cdx(`{"bom-ref": "1", "type": "library", "name": "part", "properties": [{"name": "assay:source", "value": "workspace"}], "hashes": [{"alg": "SHA-1", "content": "`+sha1Hex+`"}]}`, "1"), "foreign: part@ direct"},
		{"marked as something else by assay", cdx(`{"bom-ref": "1", "type": "library", "name": "part", "properties": [{"name": "assay:source", "value": "link"}]}`, "1"), "foreign: part@ direct"},
		{"private, and fetched all the same", cdx(lib("1", "pkg:npm/x@1.0.0", `, "properties": [{"name": "cdx:npm:package:private", "value": "true"}], "hashes": [{"alg": "SHA-1", "content": "`+sha1Hex+`"}]`), "1"), "x@1.0.0 resolved= direct"},
		{"bundled, and nothing asks for it", cdx(lib("1", "pkg:npm/x@1.0.0", `, "properties": [{"name": "cdx:npm:package:bundled", "value": "true"}]`)), "x@1.0.0 no-integrity resolved= direct"},
		{"bundled, and fetched all the same", cdx(lib("0", "pkg:npm/y@1.0.0", "")+","+lib("1", "pkg:npm/x@1.0.0", `, "properties": [{"name": "cdx:npm:package:bundled", "value": "true"}], "externalReferences": [{"type": "distribution", "url": "https://evil/x.tgz"}]`), "0", "1"), "x@1.0.0 no-integrity resolved=https://evil/x.tgz direct"},
		{"no graph", `{"bomFormat": "CycloneDX", "specVersion": "1.2", "components": [` + lib("1", "pkg:npm/x@1.0.0", "") + `]}`, "x@1.0.0 no-integrity resolved= direct at 1:1 via .>x"},
		{"a graph without root", `{"bomFormat": "CycloneDX", "specVersion": "1.2", "components": [` + lib("1", "pkg:npm/x@1.0.0", "") + "," + lib("2", "pkg:npm/y@1.0.0", "") + `], "dependencies": [{"ref": "1", "dependsOn": ["2", "2", "1"]}]}`, "y@1.0.0 no-integrity resolved= at 2:1 via .>x>y"},
		{"nulls", `{"bomFormat": "CycloneDX", "specVersion": "1.2", "metadata": null, "components": null, "dependencies": null}`, ""},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			p, err := openSBOM(tt.doc)
			if err != nil {
				t.Fatal(err)
			}
			if got := summary(p); !strings.Contains(got, tt.want) {
				t.Errorf("no %q in\n%s", tt.want, got)
			}
			checkComplete(t, p, nil)
			x, err := openSBOM(cdxToXML(t, tt.doc))
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(withoutLines(p), withoutLines(x)); diff != "" && tt.name[0] != 'a' { // which line is named differs
				t.Errorf("(-JSON +XML):\n%s", diff)
			}
		})
	}
}

func TestCycloneDXErrors(t *testing.T) {
	deep := func(n int) string {
		return `{"bomFormat": "CycloneDX", "specVersion": "1.5", "components": ` + strings.Repeat(`[{"components": `, n) + "[]" + strings.Repeat("}]", n) + "}"
	}
	inXML := func(text string) string {
		return `<?xml version="1.0"?>` + "\n" + `<bom xmlns="http://cyclonedx.org/schema/bom/1.4">` + "\n" + text + "</bom>"
	}
	deepXML := func(n int) string {
		return inXML(strings.Repeat("<components><component>", n) + strings.Repeat("</component></components>", n))
	}
	lol := `<!DOCTYPE bom [<!ENTITY a "lol"><!ENTITY b "&a;&a;&a;&a;&a;&a;&a;&a;&a;&a;"><!ENTITY c "&b;&b;&b;&b;&b;&b;&b;&b;&b;&b;">]>`
	tests := []struct{ name, doc, err string }{
		{"another format", `{"bomFormat": "Other", "specVersion": "1.5"}`, "bom:1: is no CycloneDX document"},
		{"a later version", "{\"bomFormat\": \"CycloneDX\",\n\"specVersion\": \"2.0\"}", `bom:2: CycloneDX "2.0" is not supported; supported are 1.0 to 1.7`},
		{"a name twice", `{"bomFormat": "CycloneDX", "specVersion": "1.5", "components": [{"purl": "pkg:npm/a@1.0.0",` + "\n" + `"purl": "pkg:npm/b@1.0.0"}]}`, `bom:2: duplicate name "purl"`},
		{"a component that is none", `{"bomFormat": "CycloneDX", "specVersion": "1.5", "components": ["x"]}`, "a component must be an object, not a string"},
		{"a package URL that is none", `{"bomFormat": "CycloneDX", "specVersion": "1.5", "components": [{"purl": 1}]}`, "purl must be a string, not a number"},
		{"a reference with an escape", `{"bomFormat": "CycloneDX", "specVersion": "1.5", "components": [{"bom-ref": "a\u001b[2J"}]}`, "has a control character"},
		{"a long reference", `{"bomFormat": "CycloneDX", "specVersion": "1.5", "components": [{"bom-ref": "` + strings.Repeat("a", 5000) + `"}]}`, "is longer than 4096 bytes"},
		{"nested", deep(200), "nested too deeply"},
		{"nested beyond reason", `{"bomFormat": "CycloneDX", "x": ` + strings.Repeat("[", 20_000), "not valid JSON"},
		{"many of nothing", `{"bomFormat": "CycloneDX", "specVersion": "1.5", "components": [` + strings.Repeat("{},", 99_999) + "{}]}", "too many entries for the size of the file"},
		{"too many", `{"bomFormat": "CycloneDX", "specVersion": "1.5", "components": [` + strings.Repeat(`{"name": "`+strings.Repeat("x", 40)+`"},`, 100_001) + "{}]}", "more than 100000 entries"},
		{"ends early", `{"bomFormat": "CycloneDX", "components": [`, "ends too early"},
		{"more after the end", `{"bomFormat": "CycloneDX", "specVersion": "1.5"} {}`, "something follows the end"},

		{"XML of another kind", `<bom xmlns="http://cyclonedx.org/schema/bomb/1.4"/>`, `is no CycloneDX document: its root element is "bom" in the namespace`},
		{"XML of a later version", "\n" + `<bom xmlns="http://cyclonedx.org/schema/bom/2.0"/>`, `bom:2: CycloneDX "2.0" is not supported`},
		{"entities", "<?xml version=\"1.0\"?>\n" + lol + "\n" + `<bom xmlns="http://cyclonedx.org/schema/bom/1.4"><x>&c;</x></bom>`, "bom:2: has a document type declaration"},
		{"a document type inside", inXML("<components>\n" + lol + "</components>"), "bom:4: has a document type declaration"},
		{"an external entity", `<!DOCTYPE bom SYSTEM "file:///etc/passwd"><bom xmlns="http://cyclonedx.org/schema/bom/1.4"/>`, "bom:1: has a document type declaration"},
		{"an entity of nobody", inXML("<components>\n<component><name>&lol;</name></component></components>"), "bom:4: not valid XML: invalid character entity &lol;"},
		{"nested XML", deepXML(150), "nested too deeply"},
		{"elements beyond reason", inXML(strings.Repeat("<a>", 20_000)), "elements are nested deeper than"},
		{"an attribute twice", inXML("\n" + `<components><component bom-ref="a" bom-ref="b"/></components>`), `bom:4: the attribute "bom-ref" occurs twice`},
		{"many attributes", inXML("<components a1=\"\"" + manyAttributes(100) + "/>"), "more than 64 attributes"},
		{"an element twice", inXML("<components><component><purl>pkg:npm/a@1.0.0</purl>\n<purl>pkg:npm/b@1.0.0</purl></component></components>"), `bom:4: a component has two elements "purl"`},
		{"XML that ends early", "<bom xmlns=\"http://cyclonedx.org/schema/bom/1.4\">\n<components>", "bom:2: ends too early"},
		{"XML that is not closed right", inXML("<components></component>"), "bom:3: not valid XML"},
		{"XML and more", inXML("") + "<bom/>", "something follows the end of the document"},
		{"XML and text", inXML("") + "x", "something follows the end of the document"},
		{"another encoding", `<?xml version="1.0" encoding="ISO-8859-1"?><bom xmlns="http://cyclonedx.org/schema/bom/1.4"/>`, "not valid XML"},
		{"an escape in XML", inXML("<components><component bom-ref=\"a\x1b[2J\"/></components>"), "not valid XML"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			_, err := openSBOM(tt.doc)
			checkError(t, err, tt.err)
			if _, ok := errors.AsType[*FormatError](err); !ok {
				t.Errorf("%T", err)
			}
		})
	}
}

func manyAttributes(n int) string {
	var b strings.Builder
	for i := range n {
		fmt.Fprintf(&b, " b%d=\"\"", i)
	}
	return b.String()
}

// The order of what a document lists, its line endings and its form do not change what it says.
func TestCycloneDXOrder(t *testing.T) {
	refs := []string{"1", "2", "3", "4", "5"}
	rapid.Check(t, func(t *rapid.T) {
		var components []string
		for _, ref := range refs[:rapid.IntRange(0, 5).Draw(t, "components")] {
			purl := rapid.SampledFrom([]string{"pkg:npm/a@1.0.0", "pkg:npm/b@1.0.0", "pkg:npm/%40s/c@2.0.0", "pkg:npm/g@1.0.0?vcs_url=git%2Bhttps://h/x.git", "pkg:pypi/p@1", ""}).Draw(t, "purl")
			scope := rapid.SampledFrom([]string{"", "optional", "required"}).Draw(t, "scope")
			property := rapid.SampledFrom([]string{"development", "bundled", "extraneous", "private", "other"}).Draw(t, "property")
			components = append(components, fmt.Sprintf(`{"type": "library", "bom-ref": %q, "name": "n", "version": "1.0.0", "scope": %q, "purl": %q, "properties": [{"name": "cdx:npm:package:%s", "value": "true"}]}`, ref, scope, purl, property))
		}
		var dependencies []string
		for _, ref := range append([]string{"root"}, refs...) {
			on := rapid.SliceOfN(rapid.SampledFrom(refs), 0, 3).Draw(t, "on")
			text, _ := json.Marshal(on)
			dependencies = append(dependencies, fmt.Sprintf(`{"ref": %q, "dependsOn": %s}`, ref, text))
		}
		write := func(first bool, newline string) string {
			parts := []string{`"metadata": {"component": {"bom-ref": "root", "name": "app"}}`, `"components": [` + strings.Join(components, ",\n") + `]`, `"dependencies": [` + strings.Join(dependencies, ",\n") + `]`}
			if !first {
				parts = rapid.Permutation(parts).Draw(t, "parts")
			}
			return strings.ReplaceAll(`{"bomFormat": "CycloneDX", "specVersion": "1.4",`+"\n"+strings.Join(parts, ",\n")+"\n}\n", "\n", newline)
		}
		doc := write(true, "\n")
		a, err := openSBOM(doc)
		if err != nil {
			t.Fatal(err)
		}
		checkComplete(t, a, nil)
		components, dependencies = rapid.Permutation(components).Draw(t, "order"), rapid.Permutation(dependencies).Draw(t, "order")
		again := write(false, "\r\n")
		for _, text := range []string{again, cdxToXML(t, again)} {
			b, err := openSBOM(text)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(withoutLines(a), withoutLines(b)); diff != "" {
				t.Fatalf("(-first +reordered):\n%s", diff)
			}
		}
	})
}

func FuzzCycloneDX(f *testing.F) {
	f.Add([]byte(cdxKinds))
	f.Add([]byte(cdx(`{"bom-ref": "1", "purl": "pkg:npm/x@1.0.0?checksum=sha1:00&repository_url=https://h"}, {"bom-ref": "1"}`, "1")))
	f.Fuzz(func(t *testing.T, data []byte) {
		fuzzed(t, func() (*Project, error) { return parsed(parseCycloneDX("bom.json", data)) })
	})
}

func FuzzCycloneDXXML(f *testing.F) {
	f.Add([]byte(cdxToXML(f, cdxKinds)))
	f.Add([]byte(`<!DOCTYPE bom [<!ENTITY a "x">]><bom xmlns="http://cyclonedx.org/schema/bom/1.4">&a;</bom>`))
	f.Fuzz(func(t *testing.T, data []byte) {
		fuzzed(t, func() (*Project, error) { return parsed(parseCycloneDXXML("bom.xml", data)) })
	})
}

// parsed makes a Project of what a parser returns.
func parsed(t *tree, err error) (*Project, error) {
	if err != nil {
		return nil, err
	}
	return t.project(Options{})
}

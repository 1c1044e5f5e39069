package report

import (
	"bytes"
	"encoding/json"
	"encoding/xml"
	"errors"
	"io"
	"maps"
	"os"
	"path/filepath"
	"reflect"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/CycloneDX/cyclonedx-go"
	"github.com/google/go-cmp/cmp"

	"assay/internal/policy"
	"assay/internal/verify"
)

const smallXML = `<?xml version="1.0" encoding="utf-8"?>
<!-- made by hand -->
<bom xmlns="http://cyclonedx.org/schema/bom/1.6" xmlns:x="https://example.com/x" serialNumber="urn:uuid:3e671687-395b-41f5-a30f-a58921a69b79" version="3">
  <metadata>
    <timestamp>2024-01-01T00:00:00Z</timestamp>
    <component type="application" bom-ref="root"><name>app</name></component>
  </metadata>
  <components>
    <component type="library" bom-ref="a" x:mine='"yes"'>
      <name>a</name>
      <version>1.0.0</version>
      <description><![CDATA[ <b>&amp; ]]></description>
      <purl>pkg:npm/a@1.0.0</purl>
      <!-- before -->
      <properties>
        <property name="mine">1 &#x41;</property>
        <!-- between -->
      </properties>
      <components>
        <component type="library" bom-ref="b">
          <name>b</name>
          <purl>pkg:npm/%40s/b@1.0.0</purl>
          <externalReferences><reference type="website"><url>https://b.example</url></reference></externalReferences>
          <evidence/>
        </component>
      </components>
      <x:other>kept</x:other>
    </component>
    <component type="library" bom-ref="c">
      <name>c</name>
      <purl>pkg:npm/c@1.0.0</purl>
      <properties/>
    </component>
    <component type="library" bom-ref="d">
      <name>d</name>
      <purl>pkg:npm/d@1.0.0</purl>
    </component>
  </components>
</bom>
`

// xmlSBOMs are one document in the spellings that there are.
func xmlSBOMs(t testing.TB) []incoming {
	t.Helper()
	flat := smallXML
	for strings.Contains(flat, "\n ") || strings.Contains(flat, ">\n<") {
		flat = strings.NewReplacer("\n ", "\n", ">\n<", "><").Replace(flat)
	}
	prefixed := strings.NewReplacer("<x:", "<x:", "</x:", "</x:", "<!", "<!", "<?", "<?", "</", "</cdx:", "<", "<cdx:", "xmlns=", "xmlns:cdx=", "&", "&", "<b>", "<b>").Replace(smallXML)
	var out []incoming
	for name, text := range map[string]string{
		"small": smallXML, "flat": flat, "prefixed": prefixed, "crlf": strings.ReplaceAll(smallXML, "\n", "\r\n"),
		"mark":    "\ufeff" + smallXML,
		"old":     strings.NewReplacer("bom/1.6", "bom/1.4", "<evidence/>", "").Replace(smallXML),
		"raised":  strings.NewReplacer("bom/1.6", "bom/1.2", "<properties/>", "", `version="3"`, "").Replace(smallXML),
		"tools":   strings.Replace(smallXML, "<component type=\"application\"", "<tools><tool><vendor>acme</vendor><name>bom</name></tool></tools>\n    <component type=\"application\"", 1),
		"modern":  strings.Replace(smallXML, "<component type=\"application\"", "<tools><components><component type=\"application\"><name>bom</name></component></components></tools>\n    <component type=\"application\"", 1),
		"service": strings.Replace(smallXML, "<component type=\"application\"", "<tools><services><service><name>bom</name></service></services></tools>\n    <component type=\"application\"", 1),
		"bare":    strings.Replace(smallXML, smallXML[strings.Index(smallXML, "<metadata>"):strings.Index(smallXML, "<components>")], "", 1),
	} {
		out = append(out, incoming{name, about(t, "cyclonedx", name+".xml", []byte(text))})
	}
	return out
}

// tokens are the tokens of an XML document without those that assay adds, and without white space.
func tokens(t *testing.T, document []byte) (out []string) {
	t.Helper()
	d := xml.NewDecoder(bytes.NewReader(document))
	skip := func() {
		if err := d.Skip(); err != nil {
			t.Fatal(err)
		}
	}
	for {
		token, err := d.Token()
		if errors.Is(err, io.EOF) {
			return out
		} else if err != nil {
			t.Fatalf("%v:\n%s", err, document)
		}
		switch token := token.(type) {
		case xml.StartElement:
			if token.Name.Local == "property" && strings.HasPrefix(token.Attr[0].Value, "assay:") {
				skip()
				continue
			}
			if token.Name.Local == "reference" {
				at := d.InputOffset()
				rest := document[at:]
				if bytes.Contains(rest[:bytes.Index(rest, []byte("reference>"))], []byte("assay: ")) {
					skip()
					continue
				}
			}
			if token.Name.Local == "tool" || token.Name.Local == "component" {
				rest := document[d.InputOffset():]
				if end := bytes.Index(rest, []byte(token.Name.Local+">")); bytes.Contains(rest[:end], []byte("name>assay<")) {
					skip()
					continue
				}
			}
			token.Attr = slices.DeleteFunc(slices.Clone(token.Attr), func(a xml.Attr) bool {
				return a.Name.Local == "version" || a.Name.Local == "xmlns" || a.Name.Space == "xmlns"
			})
			out = append(out, token.Name.Local, cmp.Diff(nil, token.Attr))
		case xml.EndElement:
			// A list that was made for what is added holds nothing now.
			if n := len(out); n >= 2 && out[n-2] == token.Name.Local && slices.Contains([]string{"properties", "externalReferences", "tools", "components", "metadata"}, token.Name.Local) {
				out = out[:n-2]
				continue
			}
			out = append(out, "/"+token.Name.Local)
		case xml.CharData:
			if text := strings.TrimSpace(string(token)); text != "" {
				out = append(out, text)
			}
		case xml.Comment:
			out = append(out, "comment "+string(token))
		case xml.ProcInst:
			out = append(out, "instruction "+string(token.Inst))
		}
	}
}

func TestEnrichCycloneDXXML(t *testing.T) {
	for _, s := range xmlSBOMs(t) {
		t.Run(s.name, func(t *testing.T) {
			before := s.report.Projects[0].Document
			got := written(t, WriteCycloneDX, s.report, sbomOptions)
			if s.name != "flat" && s.name != "raised" {
				keeps(t, before, got)
			}
			if diff := cmp.Diff(tokens(t, before), tokens(t, got)); diff != "" {
				t.Errorf("something was lost or changed (-want +got):\n%s\n%s", diff, got)
			}
			second := *s.report
			second.Projects = slices.Clone(s.report.Projects)
			second.Projects[0].Document = got
			if again := written(t, WriteCycloneDX, &second, sbomOptions); !bytes.Equal(got, again) {
				t.Errorf("enriching twice changes the document:\n%s", cmp.Diff(string(got), string(again)))
			}
			var bom cyclonedx.BOM
			if err := cyclonedx.NewBOMDecoder(bytes.NewReader(got), cyclonedx.BOMFileFormatXML).Decode(&bom); err != nil {
				t.Fatal(err)
			}
			if n := countVerdicts(bom.Components); n != 4 {
				t.Errorf("%d components have a verdict, of 4:\n%s", n, got)
			}
			want := 4
			if s.name == "raised" {
				want = 2
			}
			if bom.Version != want {
				t.Errorf("revision %d, want %d", bom.Version, want)
			}
			inOrder(t, got)
			if s.name == "small" {
				golden(t, "enriched-small.cdx.xml", got)
			}
			empty := New()
			empty.Projects = slices.Clone(second.Projects)
			empty.Projects[0].Nodes = nil
			if left := written(t, WriteCycloneDX, empty, sbomOptions); bytes.Contains(left, []byte("assay:verdict")) || bytes.Contains(left, []byte("assay: ")) {
				t.Errorf("what an earlier run said stays although nothing is known:\n%s", left)
			}
		})
	}
}

// inOrder makes sure that elements follow one another as the schemas ask for.
func inOrder(t *testing.T, document []byte) {
	t.Helper()
	x := &xmlEditor{editor: newEditor("", document)}
	root, err := x.read()
	if err != nil {
		t.Fatal(err)
	}
	var walk func(*element)
	walk = func(e *element) {
		order := map[string][]string{"bom": bomOrder, "metadata": metadataOrder, "component": componentOrder, "tools": toolsOrder}[e.name.Local]
		at := 0
		for _, c := range e.children {
			if i := slices.Index(order, c.name.Local); i >= 0 && c.name.Space == e.name.Space {
				if i < at {
					t.Errorf("%s comes too late in %s", c.name.Local, e.name.Local)
				}
				at = i
			} else if c.name.Space != e.name.Space {
				at = len(order)
			}
			walk(c)
		}
	}
	walk(root)
}

// An earlier run's entries may have been moved, and stand in the midst of others.
func TestEnrichReplaces(t *testing.T) {
	document := `{"bomFormat":"CycloneDX","specVersion":"1.6","version":1,"metadata":{},"components":[
  {"type":"library","bom-ref":"a","name":"a","purl":"pkg:npm/a@1.0.0","properties":[
    {"name":"assay:verdict","value":"invalid"}, {"name":"one","value":"1"},
    {"value":"unsafe","name":"assay:old"},{"name":"two","value":"2"} , {"name":"assay:verdict","value":"invalid"}],
   "externalReferences":[{"type":"vcs","url":"https://old.example","comment":"assay: no longer true"},{"type":"vcs","url":"https://v.example","comment":"of assay"}]},
  {"type":"library","bom-ref":"gone","name":"gone","properties":[{"name":"assay:verdict","value":"provenance"}]},
  {"type":"library","bom-ref":"first","name":"first","properties":[{"name":"one","value":"1"},{"name":"assay:verdict","value":"provenance"},{"name":"two","value":"2"}]},
  {"type":"library","bom-ref":"last","name":"last","properties":[{"name":"assay:verdict","value":"provenance"},{"name":"two","value":"2"},{"name":"assay:x","value":""}]}
]}`
	r := about(t, "cyclonedx", "moved.json", []byte(document))
	r.Projects[0].Nodes = r.Projects[0].Nodes[:2]
	got := enriched(t, WriteCycloneDX, r)
	validate(t, cyclonedxSchema(t, "1.6"), got)
	for _, gone := range []string{"invalid\"}", "assay:old", "unsafe", "no longer true", "assay:x"} {
		if bytes.Contains(got, []byte(gone)) {
			t.Errorf("%q is still there", gone)
		}
	}
	if n := bytes.Count(got, []byte(`"assay:verdict"`)); n != 1 {
		t.Errorf("%d verdicts", n)
	}
	equal(t, []byte(document), got, "version")
	if !bytes.Contains(got, []byte(`"bom-ref":"first","name":"first","properties":[{"name":"one","value":"1"},{"name":"two","value":"2"}]`)) {
		t.Errorf("the middle of a list is wrong:\n%s", got)
	}
}

// The revision goes up once for each change, and not where nothing changes.
func TestEnrichRevision(t *testing.T) {
	r := about(t, "cyclonedx", "x", []byte(smallBOM))
	first := written(t, WriteCycloneDX, r, sbomOptions)
	r.Projects[0].Document = first
	r.Packages[1].Verdict = verifyUnchecked
	second := written(t, WriteCycloneDX, r, sbomOptions)
	if !bytes.Contains(first, []byte(`"version": 8,`)) || !bytes.Contains(second, []byte(`"version": 9,`)) {
		t.Error("the revision does not follow the changes")
	}
	for _, odd := range []string{`"7"`, `7.0`, `-1`, `null`, `99999999999999999999`} {
		document := strings.Replace(smallBOM, `"version": 7,`, `"version": `+odd+`,`, 1)
		got := written(t, WriteCycloneDX, about(t, "cyclonedx", "x", []byte(smallBOM)).at([]byte(document)), sbomOptions)
		if !bytes.Contains(got, []byte(`"version": `+odd+`,`)) {
			t.Errorf("the revision %s was not left alone", odd)
		}
	}
}

const verifyUnchecked = "unchecked"

// at is the report with another document.
func (r *Report) at(document []byte) *Report {
	c := *r
	c.Projects = slices.Clone(r.Projects)
	c.Projects[0].Document = document
	return &c
}

// One component must not get what another has earned.
func TestEnrichMistaken(t *testing.T) {
	for name, change := range map[string]func(string) string{
		"another purl":    func(s string) string { return strings.Replace(s, "pkg:npm/a@1.0.0", "pkg:npm/evil@1.0.0", 1) },
		"another version": func(s string) string { return strings.Replace(s, "pkg:npm/a@1.0.0", "pkg:npm/a@1.0.1", 1) },
		"no purl at all":  func(s string) string { return strings.Replace(s, "pkg:npm/a@1.0.0", "not a purl", 1) },
		"another ref":     func(s string) string { return strings.Replace(s, `"bom-ref": "a"`, `"bom-ref": "A"`, 1) },
	} {
		r := about(t, "cyclonedx", "x", []byte(smallBOM))
		got := written(t, WriteCycloneDX, r.at([]byte(change(smallBOM))), sbomOptions)
		if bytes.Contains(got, []byte("sigstore-js")) {
			t.Errorf("%s: the component has another's provenance", name)
		}
	}
}

func TestEnrichRefuses(t *testing.T) {
	deep := func(n int) string {
		return strings.Repeat(`{"type":"library","name":"x","components":[`, n) + strings.Repeat(`]}`, n)
	}
	for _, tt := range []struct{ name, kind, document, want string }{
		{"no JSON", "cyclonedx", `{"bomFormat": "CycloneDX",` + "\n" + `"specVersion" "1.6"}`, "x.json:2: it is not JSON"},
		{"cut off", "cyclonedx", smallBOM[:700], "it is not JSON"},
		{"twice", "cyclonedx", strings.Replace(smallBOM, `"version": 7,`, "\"version\": 7,\n\"components\": [],", 1), "duplicate"},
		{"twice in one", "cyclonedx", strings.Replace(smallBOM, `"properties": [],`, `"properties": [], "properties": [],`, 1), "duplicate"},
		{"no UTF-8", "cyclonedx", strings.Replace(smallBOM, "ünï", "\xff", 1), "UTF-8"},
		{"empty", "cyclonedx", "", "x.json:1:"},
		{"a list", "cyclonedx", "[]", "the document is not an object"},
		{"more", "cyclonedx", smallBOM + "{}", "something follows the end"},
		{"another format", "cyclonedx", `{"spdxVersion":"SPDX-2.3"}`, "no CycloneDX document"},
		{"old", "cyclonedx", strings.Replace(smallBOM, `"1.5"`, `"1.1"`, 1), `CycloneDX "1.1" cannot be enriched, only 1.2 to 1.7`},
		{"new", "cyclonedx", strings.Replace(smallBOM, `"1.5"`, `"2.0"`, 1), `CycloneDX "2.0" cannot be enriched`},
		{"signed", "cyclonedx", strings.Replace(smallBOM, `"version": 7,`, `"version": 7, "signature": {"algorithm": "ES256"},`, 1), "x.json:6: the SBOM is signed"},
		{"signed part", "cyclonedx", strings.Replace(smallBOM, `"properties": [],`, `"signature": {"algorithm": "ES256"},`, 1), `component "a" is signed`},
		{"no list", "cyclonedx", `{"bomFormat":"CycloneDX","specVersion":"1.6","components":{}}`, "components is not an array"},
		{"no objects", "cyclonedx", `{"bomFormat":"CycloneDX","specVersion":"1.6","components":[1]}`, "a component is not an object"},
		{"odd properties", "cyclonedx", strings.Replace(smallBOM, `"properties": [],`, `"properties": {},`, 1), "properties is not an array"},
		{"deep parts", "cyclonedx", `{"bomFormat":"CycloneDX","specVersion":"1.6","components":[` + deep(300) + `]}`, "nested deeper than 256"},
		{"deep", "cyclonedx", `{"x":` + strings.Repeat("[", 1<<20), "depth"},
		{"SPDX 3", "spdx", `{"@context":"https://spdx.org/rdf/3.0.1/spdx-context.jsonld","@graph":[]}`, "cannot be enriched, only SPDX-2.2 and SPDX-2.3"},
		{"SPDX packages", "spdx", `{"spdxVersion":"SPDX-2.3","packages":[[]]}`, "a package is not an object"},
		{"XML entities", "cyclonedx", `<!DOCTYPE x [<!ENTITY a "b">]><bom xmlns="http://cyclonedx.org/schema/bom/1.6"/>`, "document type"},
		{"XML entity", "cyclonedx", `<bom xmlns="http://cyclonedx.org/schema/bom/1.6">&a;</bom>`, "invalid character entity"},
		{"XML cut off", "cyclonedx", smallXML[:700], "no XML that can be read"},
		{"XML crossed", "cyclonedx", `<bom xmlns="http://cyclonedx.org/schema/bom/1.6"><a></b></bom>`, "no XML that can be read"},
		{"XML two", "cyclonedx", `<bom xmlns="http://cyclonedx.org/schema/bom/1.6"/>` + "\n" + `<bom xmlns="http://cyclonedx.org/schema/bom/1.6"/>`, "x.json:2: something follows"},
		{"XML attributes", "cyclonedx", strings.Replace(smallXML, `bom-ref="a"`, `bom-ref="a" bom-ref="b"`, 1), "twice"},
		{"XML encoding", "cyclonedx", strings.Replace(smallXML, "utf-8", "utf-16", 1), "no XML that can be read"},
		{"XML no BOM", "cyclonedx", `<html/>`, "no CycloneDX document"},
		{"XML nothing", "cyclonedx", `<!-- -->`, "holds no element"},
		{"XML old", "cyclonedx", `<bom xmlns="http://cyclonedx.org/schema/bom/1.0"/>`, `CycloneDX "1.0" cannot be enriched`},
		{"XML raised twice", "cyclonedx", `<bom xmlns="http://cyclonedx.org/schema/bom/1.2"><x xmlns="http://cyclonedx.org/schema/bom/1.2"/></bom>`, "convert it first"},
		{"XML signed", "cyclonedx", strings.Replace(smallXML, "<x:other>kept</x:other>", `<Signature xmlns="http://www.w3.org/2000/09/xmldsig#"/>`, 1), "the SBOM is signed"},
		{"XML many", "cyclonedx", `<bom xmlns="http://cyclonedx.org/schema/bom/1.6">` + strings.Repeat("<a/>", 1<<20) + "</bom>", "too many elements"},
		{"XML deep", "cyclonedx", `<bom xmlns="http://cyclonedx.org/schema/bom/1.6">` + strings.Repeat("<a>", 1<<18), "nested deeper than 1024"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			r := about(t, "cyclonedx", "x.json", []byte(smallBOM))
			write := WriteCycloneDX
			if tt.kind == "spdx" {
				r, write = about(t, "spdx", "x.json", []byte(smallSPDX)), WriteSPDX
			}
			var b bytes.Buffer
			start := time.Now()
			err := write(&b, r.at([]byte(tt.document)), sbomOptions)
			if err == nil || !strings.Contains(err.Error(), tt.want) || !strings.HasPrefix(err.Error(), "x.json:") {
				t.Errorf("the error is %.300v, want %q", err, tt.want)
			}
			if b.Len() > 0 {
				t.Error("something was written all the same")
			}
			if took := time.Since(start); took > 5*time.Second {
				t.Errorf("it took %v", took)
			}
		})
	}
}

// What one name stands for twice is no trouble as long as it is the same; else it cannot be told which is which.
func TestEnrichTwins(t *testing.T) {
	component := `{"type":"library","bom-ref":"a","name":"a","version":"1.0.0","purl":"pkg:npm/a@1.0.0"}`
	bare := `{"type":"library","group":"@s","name":"b","version":"2.0.0"}`
	for _, tt := range []struct{ kind, document string }{
		{"cyclonedx", `{"bomFormat":"CycloneDX","specVersion":"1.6","metadata":{"component":{"name":"app","components":[` + component + `]}},"components":[` + component + `,` + bare + `]}`},
		{"cyclonedx", `<bom xmlns="http://cyclonedx.org/schema/bom/1.6"><metadata><component><name>app</name><components><component bom-ref="a"><name>a</name><purl>pkg:npm/a@1.0.0</purl></component></components></component></metadata><components><component bom-ref="a"><name>a</name><purl>pkg:npm/a@1.0.0</purl></component><component><group>@s</group><name>b</name><version>2.0.0</version></component></components></bom>`},
		{"spdx", `{"spdxVersion":"SPDX-2.3","packages":[` + strings.Repeat(`{"SPDXID":"a","externalRefs":[{"referenceType":"purl","referenceLocator":"pkg:npm/a@1.0.0"}]},`, 2) + `{"SPDXID":"@s/b@2.0.0"}]}`},
	} {
		write := map[string]writer{"cyclonedx": WriteCycloneDX, "spdx": WriteSPDX}[tt.kind]
		r := New()
		a, twin, b := pkg("a@1.0.0", verify.Provenance, policy.Allow), pkg("a@1.0.0", verify.Provenance, policy.Allow), pkg("@s/b@2.0.0", verify.Signed, policy.Warn)
		r.Packages = []Package{a, twin, b}
		r.Projects = []Project{{Kind: tt.kind, File: "x", Document: []byte(tt.document), Nodes: []Node{
			{Package: -1, Other: -1}, {Path: "a", Package: 0, Other: -1}, {Path: "a", Package: 1, Other: -1}, {Path: "@s/b@2.0.0", Package: 2, Other: -1}}}}
		got := written(t, write, r, sbomOptions)
		if n := bytes.Count(got, []byte("assay:verdict")); n != 3 {
			t.Errorf("%d verdicts, want 3:\n%s", n, got)
		}
		r.Packages[1].Verdict = verify.Invalid
		if err := write(io.Discard, r, sbomOptions); err == nil || !strings.Contains(err.Error(), "it cannot be told what was found of which") {
			t.Errorf("the error is %v", err)
		}
	}
}

// One SPDX package that has several package URLs is several packages.
func TestEnrichSeveralPURLs(t *testing.T) {
	document := `{"spdxVersion":"SPDX-2.3","packages":[{"SPDXID":"a","externalRefs":[{"referenceType":"purl","referenceLocator":"pkg:npm/a@1.0.0"},{"referenceType":"purl","referenceLocator":"pkg:npm/evil@1.0.0"}]}]}`
	r := New()
	r.Packages = []Package{pkg("a@1.0.0", verify.Provenance, policy.Allow), pkg("evil@1.0.0", verify.Invalid, policy.Deny)}
	r.Projects = []Project{{Kind: "spdx", File: "x", Document: []byte(document), Nodes: []Node{
		{Package: -1, Other: -1}, {Path: "a", Package: 0, Other: -1}, {Path: "a", Package: 1, Other: -1}}}}
	got := enriched(t, WriteSPDX, r)
	for _, want := range []string{`assay:package: pkg:npm/a@1.0.0\nassay:verdict: provenance`, `assay:package: pkg:npm/evil@1.0.0\nassay:verdict: invalid`} {
		if !bytes.Contains(got, []byte(want)) {
			t.Errorf("it does not say %q:\n%s", want, got)
		}
	}
}

// Of several projects no one document can go out.
func TestEnrichOneOnly(t *testing.T) {
	r := about(t, "cyclonedx", "a.json", []byte(smallBOM))
	r.Projects = append(r.Projects, graphed().Projects...)
	if err := WriteCycloneDX(io.Discard, r, sbomOptions); err == nil || !strings.Contains(err.Error(), "a.json") {
		t.Errorf("the error is %v", err)
	}
	checkSPDX(t, written(t, WriteSPDX, r, sbomOptions)) // that is no document of its kind, so one is made
}

// A document of the other kind is read for its graph, and a new one made.
func TestConvert(t *testing.T) {
	checkSPDX(t, written(t, WriteSPDX, about(t, "cyclonedx", "a.json", []byte(smallBOM)), sbomOptions))
	validate(t, cyclonedxSchema(t, "1.6"), written(t, WriteCycloneDX, about(t, "spdx", "a.json", []byte(smallSPDX)), sbomOptions))
}

// TestEnrichTruncated and every flipped byte: an error, or a document of which nothing is lost.
func TestEnrichDamaged(t *testing.T) {
	for _, s := range []struct {
		kind, document string
		write          writer
	}{{"cyclonedx", smallBOM, WriteCycloneDX}, {"spdx", smallSPDX, WriteSPDX}, {"cyclonedx", smallXML, WriteCycloneDX}} {
		r := about(t, s.kind, "x", []byte(s.document))
		for i := range s.document {
			if err := s.write(io.Discard, r.at([]byte(s.document[:i])), sbomOptions); err == nil && strings.TrimSpace(s.document[i:]) != "" {
				t.Errorf("%.10s: cut off at %d it still passes", s.document, i)
			}
			damaged := []byte(s.document)
			damaged[i] ^= 0x04
			stable(t, s.write, r, damaged)
		}
	}
}

// stable makes sure that a document is refused, or that it goes out well formed with all that was in it and
// stays as it is from then on.
func stable(t *testing.T, write writer, r *Report, document []byte) {
	t.Helper()
	var once, twice bytes.Buffer
	if write(&once, r.at(document), sbomOptions) != nil {
		return
	}
	if err := write(&twice, r.at(once.Bytes()), sbomOptions); err != nil {
		t.Fatalf("what was written is refused: %v\n%s\n%s", err, document, once.Bytes())
	}
	if !bytes.Equal(once.Bytes(), twice.Bytes()) {
		t.Fatalf("enriching twice changes the document:\n%q\n%q\n%q", document, once.Bytes(), twice.Bytes())
	}
	if isXML(document) {
		return
	}
	text := bytes.TrimPrefix(document, []byte("\ufeff"))
	var before, after map[string]any
	d, e := json.NewDecoder(bytes.NewReader(text)), json.NewDecoder(bytes.NewReader(bytes.TrimPrefix(once.Bytes(), []byte("\ufeff"))))
	d.UseNumber()
	e.UseNumber()
	if d.Decode(&before) != nil {
		return
	}
	if err := e.Decode(&after); err != nil {
		t.Fatalf("%v: %s", err, once.Bytes())
	}
	for _, name := range []string{"version", "specVersion", "documentNamespace", "$schema"} {
		delete(before, name)
		delete(after, name)
	}
	if w, g := without(before), without(after); !reflect.DeepEqual(w, g) {
		t.Fatalf("something was lost or changed:\n%q\n%q\n%s", document, once.Bytes(), cmp.Diff(w, g))
	}
}

func FuzzEnrichCycloneDX(f *testing.F) {
	f.Add([]byte(smallBOM))
	f.Add([]byte(compact(f, smallBOM)))
	f.Add([]byte(smallXML))
	f.Add([]byte(`{"bomFormat":"CycloneDX","specVersion":"1.2"}`))
	f.Add([]byte(`{ "bomFormat" : "CycloneDX" , "specVersion" : "1.6" , "metadata" : { } , "components" : [ { "bom-ref" : "a" , "properties" : [ ] } ] }`))
	f.Add([]byte(`{"bomFormat":"CycloneDX","specVersion":"1.6","metadata":{"tools":{}},"components":[{"bom-ref":"a","properties":[{"name":"x"},{"name":"assay:x"},1]}]}`))
	f.Add([]byte(`<bom xmlns="http://cyclonedx.org/schema/bom/1.6"><metadata/><components><component bom-ref="a"><properties/></component></components></bom>`))
	f.Add([]byte(`<b:bom xmlns:b="http://cyclonedx.org/schema/bom/1.2" version="1"><b:components><b:component bom-ref='a'/></b:components></b:bom>`))
	r := about(f, "cyclonedx", "x", []byte(smallBOM))
	f.Fuzz(func(t *testing.T, document []byte) { stable(t, WriteCycloneDX, r, document) })
}

func FuzzEnrichSPDX(f *testing.F) {
	f.Add([]byte(smallSPDX))
	f.Add([]byte(compact(f, smallSPDX)))
	f.Add([]byte(`{"spdxVersion":"SPDX-2.2","packages":[{"SPDXID":"SPDXRef-a","annotations":[{"annotator":"Tool: assay-1","comment":"assay:x"}]}],"creationInfo":{}}`))
	r := about(f, "spdx", "x", []byte(smallSPDX))
	f.Fuzz(func(t *testing.T, document []byte) { stable(t, WriteSPDX, r, document) })
}

// TestEnrichBound holds the memory and the time that large documents cost, real and made to cost much.
func TestEnrichBound(t *testing.T) {
	if testing.Short() {
		t.Skip("large")
	}
	part := `{"type":"library","bom-ref":"x","name":"x","purl":"pkg:npm/x@1.0.0","properties":[{"name":"one","value":"1"}]},`
	element := `<component type="library" bom-ref="x"><name>x</name><purl>pkg:npm/x@1.0.0</purl></component>`
	const size = 8 << 20
	for name, document := range map[string]string{
		"parts":      `{"bomFormat":"CycloneDX","specVersion":"1.6","components":[` + strings.Repeat(part, size/len(part)) + `{}]}`,
		"empty":      `{"bomFormat":"CycloneDX","specVersion":"1.6","components":[` + strings.Repeat("{},", size/3) + `{}]}`,
		"properties": `{"bomFormat":"CycloneDX","specVersion":"1.6","components":[{"bom-ref":"a","properties":[` + strings.Repeat("1,", size/2) + `1]}]}`,
		"spaces":     `{"bomFormat":"CycloneDX","specVersion":"1.6","components":[` + strings.Repeat(" ", size) + `]}`,
		"XML":        `<bom xmlns="http://cyclonedx.org/schema/bom/1.6"><components>` + strings.Repeat(element, size/len(element)) + `</components></bom>`,
		"XML text":   `<bom xmlns="http://cyclonedx.org/schema/bom/1.6"><components><component bom-ref="a"><name>` + strings.Repeat("&amp;", size/5) + `</name></component></components></bom>`,
	} {
		t.Run(name, func(t *testing.T) {
			r := about(t, "cyclonedx", "x", []byte(smallBOM)).at([]byte(document))
			var before, after runtime.MemStats
			runtime.ReadMemStats(&before)
			start := time.Now()
			if err := WriteCycloneDX(io.Discard, r, sbomOptions); err != nil {
				t.Fatal(err)
			}
			took := time.Since(start)
			runtime.ReadMemStats(&after)
			if n := after.TotalAlloc - before.TotalAlloc; n > 64*size { // all that was ever asked for, not what is held at once
				t.Errorf("%d bytes cost %d", len(document), n)
			}
			if took > 30*time.Second {
				t.Errorf("%d bytes took %v", len(document), took)
			}
			t.Logf("%v, %d times the document's size", took, (after.TotalAlloc-before.TotalAlloc)/size)
		})
	}
}

// The names of the properties are documented, each of them.
func TestSBOMDocument(t *testing.T) {
	text, err := os.ReadFile(filepath.Join("..", "..", "docs", "sbom.md"))
	if err != nil {
		t.Fatal(err)
	}
	names := map[string]bool{}
	collect := func(list []property) {
		for _, p := range list {
			name := p.name
			for _, family := range []string{"assay:publisher:", "assay:check:", "assay:summary:"} {
				if strings.HasPrefix(name, family) {
					name = family + "…"
				}
			}
			names[name] = true
		}
	}
	for _, r := range reports() {
		collect(r.properties())
		for i := range r.Packages {
			collect(r.Packages[i].properties())
		}
		for i := range r.Others {
			collect(r.Others[i].properties())
		}
	}
	for _, name := range slices.Sorted(maps.Keys(names)) {
		if !bytes.Contains(text, []byte("`"+name+"`")) {
			t.Errorf("docs/sbom.md does not tell of %q", name)
		}
	}
}

package report

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/CycloneDX/cyclonedx-go"
	"github.com/google/go-cmp/cmp"
	"github.com/santhosh-tekuri/jsonschema/v6"
	spdxjson "github.com/spdx/tools-golang/json"
	"github.com/spdx/tools-golang/spdx/v2/v2_3"

	"assay/internal/policy"
	"assay/internal/verify"
)

// sbomOptions are those of the tests, with everything that can be told.
var sbomOptions = TextOptions{Version: "1.2.3", Subject: subject, Documents: DocumentOptions{
	Time: time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC), Verifier: "https://github.com/acme/app/.github/workflows/audit.yml@refs/heads/main",
	PolicyURI: "file:assay.yaml", PolicySHA256: strings.Repeat("0c", 32),
}}

// graphed is a small project with a graph: a workspace, two places of one package, a circle, a dependency from
// git, development.
func graphed() *Report {
	r := New()
	dev := pkg("@scope/builder@2.0.0-rc.1", verify.Invalid, policy.Deny,
		row("lockfile-integrity", verify.Fail, "integrity-mismatch", mismatch, integrityA, integrityB))
	dev.Dev = true
	plain := pkg("plain@1.0.0", verify.Signed, policy.Warn)
	plain.Integrity, plain.Resolved = integrityB, "https://user:secret@registry.npmjs.org/plain/-/plain-1.0.0.tgz"
	twin := plain
	twin.Integrity = integrityA
	r.Packages = []Package{dev, plain, twin, pkg("sigstore@2.0.0", verify.Provenance, policy.Allow)}
	r.Others = []Other{
		{Name: "app-utils", Version: "1.0.0", Source: "workspace", Locations: []string{"packages/utils"}, Decision: policy.Decision(policy.Allow)},
		{Name: "forked", Version: "2.0.0", Source: "git", Resolved: "git+ssh://git@github.com/someone/forked.git#" + commitB, Locations: []string{"node_modules/forked"},
			Decision: policy.Decision(policy.Warn), Findings: []policy.Finding{{Rule: "source", Level: policy.Warn, Message: fromGit}}},
	}
	r.Projects = []Project{{Name: "app", Version: "1.0.0", Kind: "package-lock", File: "package-lock.json", Nodes: []Node{
		{Name: "app", Package: -1, Other: -1, Edges: []Edge{{Name: "@scope/builder", Kind: "dev", To: 1}, {Name: "app-utils", Kind: "workspace", To: 5}, {Name: "plain", Kind: "prod", To: 2}}},
		{Name: "@scope/builder", Path: "node_modules/@scope/builder", Package: 0, Other: -1, Edges: []Edge{{Name: "plain", Kind: "prod", To: 3}}},
		{Name: "plain", Path: "node_modules/plain", Package: 1, Other: -1, Edges: []Edge{{Name: "gone", Kind: "optional", To: -1}, {Name: "sigstore", Kind: "peer", To: 4}}},
		{Name: "plain", Path: "node_modules/@scope/builder/node_modules/plain", Package: 2, Other: -1, Edges: []Edge{{Name: "sigstore", Kind: "optional", To: 4}}},
		{Name: "sigstore", Path: "node_modules/sigstore", Package: 3, Other: -1, Edges: []Edge{{Name: "plain", Kind: "prod", To: 2}}},
		{Name: "app-utils", Path: "packages/utils", Package: -1, Other: 0, Edges: []Edge{{Name: "forked", Kind: "prod", To: 6}}},
		{Name: "forked", Path: "node_modules/forked", Package: -1, Other: 1},
	}}}
	r.Trust = Trust{Root: "tuf", RootSHA256: strings.Repeat("0a", 32), KeysSHA256: strings.Repeat("0b", 32)}
	r.Sum()
	return r
}

// several is a run over two projects that share packages.
func several() *Report {
	r := graphed()
	r.Projects = append(r.Projects, Project{Name: "app", Kind: "package-lock", File: "other/package-lock.json", Nodes: []Node{
		{Name: "app", Package: -1, Other: -1, Edges: []Edge{{Name: "plain", Kind: "prod", To: 1}}},
		{Name: "plain", Path: "node_modules/plain", Package: 1, Other: -1},
	}})
	return r
}

func sbomReports() map[string]*Report {
	all := reports()
	delete(all, "filled") // its integrity and its URLs are none
	all["graphed"], all["several"] = graphed(), several()
	return all
}

// goModule is the directory of a module that the tests need, such as one that holds official schemas.
func goModule(t testing.TB, path string) string {
	t.Helper()
	out, err := exec.Command("go", "list", "-m", "-f", "{{.Dir}}", path).Output()
	dir := strings.TrimSpace(string(out))
	if err != nil || dir == "" {
		t.Skipf("the module %s is not here: %v", path, err)
	}
	return dir
}

var schemas sync.Map

// cyclonedxSchema compiles the official schema of a version, as cyclonedx-go carries it.
func cyclonedxSchema(t *testing.T, version string) *jsonschema.Schema {
	t.Helper()
	if s, ok := schemas.Load(version); ok {
		return s.(*jsonschema.Schema)
	}
	dir := filepath.Join(goModule(t, "github.com/CycloneDX/cyclonedx-go"), "schema")
	name := "bom-" + version + ".schema.json"
	if version == "1.3" {
		name = "bom-1.3-strict.schema.json" // the other takes any member
	}
	c := jsonschema.NewCompiler()
	c.AssertFormat()
	for id, file := range map[string]string{
		"bom.schema.json": name, "spdx.schema.json": "spdx.schema.json", "jsf-0.82.schema.json": "jsf-0.82.schemax.json",
	} {
		data, err := os.ReadFile(filepath.Join(dir, file))
		if err != nil {
			t.Fatal(err)
		}
		doc, err := jsonschema.UnmarshalJSON(bytes.NewReader(data))
		if err != nil {
			t.Fatal(err)
		}
		if id == "bom.schema.json" {
			doc.(map[string]any)["$id"] = "http://cyclonedx.org/schema/bom.schema.json"
		}
		if err := c.AddResource("http://cyclonedx.org/schema/"+id, doc); err != nil {
			t.Fatal(err)
		}
	}
	s, err := c.Compile("http://cyclonedx.org/schema/bom.schema.json")
	if err != nil {
		t.Fatal(err)
	}
	schemas.Store(version, s)
	return s
}

// The official schema of SPDX 2.3, and the digest of the file that the tag v2.3 of spdx/spdx-spec has. It is
// licensed CC-BY-3.0 and in no package, so it is fetched, or taken from a file.
const (
	spdxSchemaURL    = "https://raw.githubusercontent.com/spdx/spdx-spec/v2.3/schemas/spdx-schema.json"
	spdxSchemaSHA256 = "239208b7ac287b3cf5d9a9af23f9d69863971102a5e1587a27a398b43490b89b"
)

var spdxSchemaBytes = sync.OnceValues(func() ([]byte, error) {
	if file := os.Getenv("ASSAY_SPDX_SCHEMA"); file != "" {
		return os.ReadFile(file)
	}
	client := http.Client{Timeout: 10 * time.Second}
	resp, err := client.Get(spdxSchemaURL)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("%s", resp.Status)
	}
	return io.ReadAll(io.LimitReader(resp.Body, 1<<20))
})

func spdxSchema(t *testing.T) *jsonschema.Schema {
	t.Helper()
	data, err := spdxSchemaBytes()
	if err != nil {
		t.Skipf("the schema of SPDX 2.3 cannot be had: %v (set ASSAY_SPDX_SCHEMA to a copy)", err)
	}
	if sum := sha256.Sum256(data); hex.EncodeToString(sum[:]) != spdxSchemaSHA256 {
		t.Fatalf("the schema of SPDX has the digest %x", sum)
	}
	doc, err := jsonschema.UnmarshalJSON(bytes.NewReader(data))
	if err != nil {
		t.Fatal(err)
	}
	c := jsonschema.NewCompiler()
	if err := c.AddResource("http://spdx.org/rdf/terms/2.3", doc); err != nil {
		t.Fatal(err)
	}
	s, err := c.Compile("http://spdx.org/rdf/terms/2.3")
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func validate(t *testing.T, s *jsonschema.Schema, document []byte) {
	t.Helper()
	v, err := jsonschema.UnmarshalJSON(bytes.NewReader(bytes.TrimPrefix(document, []byte("\ufeff"))))
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Validate(v); err != nil {
		t.Errorf("%.2000v", err)
	}
}

type writer func(io.Writer, *Report, TextOptions) error

func written(t testing.TB, write writer, r *Report, o TextOptions) []byte {
	t.Helper()
	var b bytes.Buffer
	if err := write(&b, r, o); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func golden(t *testing.T, name string, got []byte) {
	t.Helper()
	file := filepath.Join("testdata", name)
	if *update {
		if err := os.WriteFile(file, got, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(file)
	if err != nil {
		t.Fatalf("%v; run the test with -update", err)
	}
	if diff := cmp.Diff(string(want), string(got)); diff != "" {
		t.Errorf("%s (-want +got):\n%s", name, diff)
	}
}

func TestCycloneDX(t *testing.T) {
	for name, r := range sbomReports() {
		t.Run(name, func(t *testing.T) {
			got := written(t, WriteCycloneDX, r, sbomOptions)
			validate(t, cyclonedxSchema(t, "1.6"), got)
			if again := written(t, WriteCycloneDX, r, sbomOptions); !bytes.Equal(got, again) {
				t.Error("the same report gives two documents")
			}
			var bom cyclonedx.BOM
			if err := cyclonedx.NewBOMDecoder(bytes.NewReader(got), cyclonedx.BOMFileFormatJSON).Decode(&bom); err != nil {
				t.Fatal(err)
			}
			want := len(r.Packages) + len(r.Others)
			if len(r.Projects) > 1 {
				want += len(r.Projects)
			}
			if n := len(*bom.Components); n != want {
				t.Errorf("%d components, want %d", n, want)
			}
			refs := map[string]bool{bom.Metadata.Component.BOMRef: true}
			for _, c := range *bom.Components {
				if refs[c.BOMRef] {
					t.Errorf("the bom-ref %q stands for two", c.BOMRef)
				}
				refs[c.BOMRef] = true
			}
			for _, d := range *bom.Dependencies {
				for _, on := range append([]string{d.Ref}, *cmpOr(d.Dependencies)...) {
					if !refs[on] {
						t.Errorf("the graph names %q, which is no component", on)
					}
				}
			}
		})
	}
	golden(t, "graphed.cdx.json", written(t, WriteCycloneDX, graphed(), sbomOptions))
	if bytes.Contains(written(t, WriteCycloneDX, graphed(), sbomOptions), []byte("secret")) {
		t.Error("a password of the lockfile is in the SBOM")
	}
}

func cmpOr(list *[]string) *[]string {
	if list == nil {
		return &[]string{}
	}
	return list
}

// Where nobody tells a time there is none, and the document is still complete.
func TestSBOMWithoutOptions(t *testing.T) {
	got := written(t, WriteCycloneDX, graphed(), TextOptions{})
	validate(t, cyclonedxSchema(t, "1.6"), got)
	if bytes.Contains(got, []byte("timestamp")) {
		t.Error("a time out of nowhere")
	}
	got = written(t, WriteSPDX, graphed(), TextOptions{})
	checkSPDX(t, got)
	if !bytes.Contains(got, []byte(`"created": "1970-01-01T00:00:00Z"`)) {
		t.Error("a time out of nowhere")
	}
}

func TestSPDX(t *testing.T) {
	for name, r := range sbomReports() {
		t.Run(name, func(t *testing.T) {
			got := written(t, WriteSPDX, r, sbomOptions)
			if again := written(t, WriteSPDX, r, sbomOptions); !bytes.Equal(got, again) {
				t.Error("the same report gives two documents")
			}
			doc := checkSPDX(t, got)
			if n, want := len(doc.Packages), len(r.Packages)+len(r.Others)+len(r.Projects); n != want {
				t.Errorf("%d packages, want %d", n, want)
			}
		})
	}
	golden(t, "graphed.spdx.json", written(t, WriteSPDX, graphed(), sbomOptions))
}

// The official schema is the measure, where it can be had.
func TestSPDXSchema(t *testing.T) {
	schema := spdxSchema(t)
	for name, r := range sbomReports() {
		t.Run(name, func(t *testing.T) { validate(t, schema, written(t, WriteSPDX, r, sbomOptions)) })
	}
	for _, s := range corpusSBOMs(t, "spdx") {
		t.Run(s.name, func(t *testing.T) { validate(t, schema, written(t, WriteSPDX, s.report, sbomOptions)) })
	}
}

var (
	spdxID      = regexp.MustCompile(`^SPDXRef-[a-zA-Z0-9.-]+$`)
	absoluteURI = regexp.MustCompile(`^[a-z][a-z0-9+.-]*://[!-"$-~]+$`)
)

// checkSPDX reads a document with the official reader and checks what the specification demands of it, such
// as that every identifier is well formed, unique, and known where it is referred to.
func checkSPDX(t *testing.T, document []byte) *v2_3.Document {
	t.Helper()
	var doc v2_3.Document
	if err := spdxjson.ReadInto(bytes.NewReader(document), &doc); err != nil {
		t.Fatal(err)
	}
	if doc.SPDXVersion != "SPDX-2.3" || doc.DataLicense != "CC0-1.0" || doc.SPDXIdentifier != "DOCUMENT" || doc.DocumentName == "" {
		t.Errorf("the document calls itself %q, %q, %q, %q", doc.SPDXVersion, doc.DataLicense, doc.SPDXIdentifier, doc.DocumentName)
	}
	if !absoluteURI.MatchString(doc.DocumentNamespace) {
		t.Errorf("the namespace %q is no URI", doc.DocumentNamespace)
	}
	if doc.CreationInfo == nil || !spdxMoment.MatchString(doc.CreationInfo.Created) || len(doc.CreationInfo.Creators) == 0 {
		t.Errorf("the creation is %+v", doc.CreationInfo)
	}
	ids := map[string]bool{"DOCUMENT": true}
	annotated := func(list []v2_3.Annotation) {
		for _, a := range list {
			if !spdxMoment.MatchString(a.AnnotationDate) || a.AnnotationType != "OTHER" || a.Annotator.AnnotatorType != "Tool" || a.AnnotationComment == "" {
				t.Errorf("an annotation is %+v", a)
			}
		}
	}
	for _, p := range doc.Packages {
		id := string(p.PackageSPDXIdentifier)
		if !spdxID.MatchString("SPDXRef-"+id) || ids[id] {
			t.Errorf("the identifier %q is malformed or stands for two", id)
		}
		ids[id] = true
		if p.PackageName == "" || p.PackageDownloadLocation == "" {
			t.Errorf("%s lacks a name or where it comes from", id)
		}
		for _, x := range p.PackageExternalReferences {
			if x.Category == "" || x.RefType == "" || x.Locator == "" || strings.ContainsAny(x.Locator, " \n") {
				t.Errorf("%s: an external reference is %+v", id, *x)
			}
		}
		notes := make([]v2_3.Annotation, len(p.Annotations))
		for i, a := range p.Annotations {
			notes[i] = v2_3.Annotation(a)
		}
		annotated(notes)
	}
	for _, a := range doc.Annotations {
		annotated([]v2_3.Annotation{*a})
	}
	for _, r := range doc.Relationships {
		if !ids[string(r.RefA.ElementRefID)] || !ids[string(r.RefB.ElementRefID)] {
			t.Errorf("a relationship names %q and %q", r.RefA.ElementRefID, r.RefB.ElementRefID)
		}
	}
	return &doc
}

// An incoming is an SBOM with a report about it.
type incoming struct {
	name   string
	report *Report
}

// about makes a report in which every component of an SBOM that is a package of the registry has a verdict, in
// turn, and the others are others.
func about(t testing.TB, kind, file string, document []byte) *Report {
	t.Helper()
	r := New()
	project := Project{Kind: kind, File: file, Document: document, Nodes: []Node{{Package: -1, Other: -1}}}
	add := func(id, purl string) {
		node := Node{Path: id, Package: -1, Other: -1}
		name, ok := strings.CutPrefix(strings.SplitN(purl, "#", 2)[0], "pkg:npm/")
		name = strings.Replace(name, "%40", "@", 1)
		if ok && !strings.Contains(purl, "?") && strings.LastIndexByte(name, '@') > 0 {
			node.Package = len(r.Packages)
			verdict := []verify.Verdict{verify.Provenance, verify.Signed, verify.Invalid}[len(r.Packages)%3]
			p := pkg(name, verdict, policy.Allow)
			p.Locations = []string{id}
			r.Packages = append(r.Packages, p)
		} else {
			node.Other = len(r.Others)
			r.Others = append(r.Others, Other{Name: "other", Source: "git", Locations: []string{id}, Decision: policy.Decision(policy.Warn)})
		}
		project.Nodes = append(project.Nodes, node)
	}
	if kind == "spdx" {
		var doc struct {
			DocumentDescribes []string
			Packages          []struct {
				SPDXID       string
				ExternalRefs []struct{ ReferenceType, ReferenceLocator string }
			}
		}
		if err := json.Unmarshal(bytes.TrimPrefix(document, []byte("\ufeff")), &doc); err != nil {
			t.Fatal(err)
		}
		for _, p := range doc.Packages {
			if slices.Contains(doc.DocumentDescribes, p.SPDXID) {
				continue
			}
			for _, x := range p.ExternalRefs {
				if x.ReferenceType == "purl" {
					add(p.SPDXID, x.ReferenceLocator)
				}
			}
		}
	} else {
		var bom cyclonedx.BOM
		format := cyclonedx.BOMFileFormatJSON
		if isXML(document) {
			format = cyclonedx.BOMFileFormatXML
		}
		if err := cyclonedx.NewBOMDecoder(bytes.NewReader(bytes.TrimPrefix(document, []byte("\ufeff"))), format).Decode(&bom); err != nil {
			t.Fatal(err)
		}
		var walk func(*[]cyclonedx.Component)
		walk = func(list *[]cyclonedx.Component) {
			if list == nil {
				return
			}
			for _, c := range *list {
				add(c.BOMRef, c.PackageURL)
				walk(c.Components)
			}
		}
		walk(bom.Components)
	}
	r.Projects = []Project{project}
	r.Trust = Trust{RootSHA256: strings.Repeat("0a", 32), KeysSHA256: strings.Repeat("0b", 32)}
	r.Sum()
	return r
}

// corpusSBOMs are the real documents of a kind; nil, with a word, where the corpus is not here.
func corpusSBOMs(t testing.TB, kind string) (out []incoming) {
	t.Helper()
	dir := os.Getenv("ASSAY_CORPUS")
	if dir == "" {
		dir = "../../../shared/corpus"
	}
	pattern := map[string]string{"cyclonedx": "*cdx*", "spdx": "*spdx*"}[kind]
	files, err := filepath.Glob(filepath.Join(dir, "lockfiles", pattern, "*.json"))
	if err != nil || len(files) == 0 {
		t.Logf("the corpus is not here, so no real SBOM is tried (set ASSAY_CORPUS)")
	}
	for _, file := range files {
		data, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		name := filepath.Base(filepath.Dir(file))
		out = append(out, incoming{name, about(t, kind, name, data)})
	}
	return out
}

const smallBOM = `{
  "$schema": "http://cyclonedx.org/schema/bom-1.5.schema.json",
  "bomFormat": "CycloneDX",
  "specVersion": "1.5",
  "serialNumber": "urn:uuid:3e671687-395b-41f5-a30f-a58921a69b79",
  "version": 7,
  "metadata": {"timestamp": "2024-01-01T00:00:00Z", "tools": [{"vendor": "acme", "name": "bom"}]},
  "components": [
    {
      "type": "library",
      "bom-ref": "a",
      "name": "ünï\u0063\/ode",
      "version": "1.0.0",
      "purl": "pkg:npm/a@1.0.0",
      "properties": [],
      "components": [
        {"type": "library", "bom-ref": "b", "name": "b", "purl": "pkg:npm/%40s/b@1.0.0",
         "externalReferences": [{"type": "website", "url": "https://b.example"}], "properties": [{"name": "mine", "value": "1"}]}
      ]
    },
    {
      "type": "library",
      "bom-ref": "c",
      "name": "c",
      "purl": "pkg:npm/c@1.0.0?vcs_url=git%2Bhttps://x",
      "evidence": {"identity": {"field": "purl", "confidence": 1.0e0}}
    }
  ],
  "dependencies": [{"ref": "a", "dependsOn": ["b"]}]
}
`

const smallSPDX = `{
  "spdxVersion" : "SPDX-2.3",
  "dataLicense" : "CC0-1.0",
  "SPDXID" : "SPDXRef-DOCUMENT",
  "name" : "app",
  "documentNamespace" : "https://example.com/app",
  "creationInfo" : {
    "created" : "2024-01-01T00:00:00Z",
    "creators" : [ "Tool: other-1", "Person: me" ]
  },
  "documentDescribes" : [ "SPDXRef-app" ],
  "packages" : [ {
    "SPDXID" : "SPDXRef-app",
    "name" : "app",
    "downloadLocation" : "NOASSERTION"
  }, {
    "SPDXID" : "SPDXRef-a",
    "name" : "a",
    "downloadLocation" : "NONE",
    "externalRefs" : [ {
      "referenceCategory" : "PACKAGE-MANAGER",
      "referenceType" : "purl",
      "referenceLocator" : "pkg:npm/a@1.0.0"
    } ],
    "annotations" : [ {
      "annotationDate" : "2024-01-01T00:00:00Z",
      "annotationType" : "REVIEW",
      "annotator" : "Person: me",
      "comment" : "assay: not of that tool"
    } ]
  } ],
  "relationships" : [ {
    "spdxElementId" : "SPDXRef-app",
    "relationshipType" : "DEPENDS_ON",
    "relatedSpdxElement" : "SPDXRef-a"
  } ]
}`

// compact is a JSON document without white space.
func compact(t testing.TB, document string) string {
	t.Helper()
	var b bytes.Buffer
	if err := json.Compact(&b, []byte(document)); err != nil {
		t.Fatal(err)
	}
	return b.String()
}

// smallSBOMs are one document of a kind in the spellings that there are.
func smallSBOMs(t testing.TB, kind, document string) []incoming {
	t.Helper()
	tabs := regexp.MustCompile(`(?m)^( +)`).ReplaceAllStringFunc(document, func(s string) string { return strings.Repeat("\t", len(s)/2) })
	var out []incoming
	for name, text := range map[string]string{
		"small": document, "compact": compact(t, document), "crlf": strings.ReplaceAll(document, "\n", "\r\n"), "tabs": tabs,
		"mark": "\ufeff" + document, "no newline": strings.TrimSpace(document),
	} {
		out = append(out, incoming{name, about(t, kind, name+".json", []byte(text))})
	}
	return out
}

// decoded is a JSON document as values, numbers as they are spelt.
func decoded(t testing.TB, document []byte) map[string]any {
	t.Helper()
	d := json.NewDecoder(bytes.NewReader(bytes.TrimPrefix(document, []byte("\ufeff"))))
	d.UseNumber()
	var v map[string]any
	if err := d.Decode(&v); err != nil {
		t.Fatalf("%v: %.200s", err, document)
	}
	return v
}

// without takes out of a decoded document what assay adds: the entries of lists, and lists and objects that
// were made for them.
func without(v any) any {
	switch v := v.(type) {
	case map[string]any:
		for name, value := range v {
			value = without(value)
			if list, ok := value.([]any); ok && len(list) == 0 || value == nil {
				delete(v, name)
				continue
			}
			if o, ok := value.(map[string]any); ok && len(o) == 0 {
				delete(v, name)
				continue
			}
			v[name] = value
		}
		return v
	case []any:
		return slices.DeleteFunc(v, func(e any) bool {
			raw, err := json.Marshal(e)
			if err != nil {
				return false
			}
			if assayCreator(raw) || assayProperty(raw) || assayReference(raw) || assayTool(raw) || assayAnnotation(raw) || assaySPDXReference(raw) {
				return true
			}
			without(e)
			return false
		})
	}
	return v
}

// keeps makes sure that every line of a document is in another, in order, but for a comma or brackets at its
// end and for the members that say which document it is.
func keeps(t *testing.T, before, after []byte) {
	t.Helper()
	identity := regexp.MustCompile(`"(version|specVersion|documentNamespace)" ?:|xmlns=|<(cdx:)?bom |properties/>|tools>|assay:`)
	bare := func(line string) string { return strings.TrimRight(line, "{}[], \r") }
	lines := strings.Split(string(after), "\n")
	at := 0
	for n, line := range strings.Split(string(before), "\n") {
		if identity.MatchString(line) || bare(line) == "" {
			continue
		}
		from := at
		for at < len(lines) && !strings.HasPrefix(lines[at], bare(line)) {
			at++
		}
		if at == len(lines) {
			t.Errorf("line %d is not there any more after line %d: %s", n+1, from, line)
			return
		}
	}
}

// enriched tries everything that holds for a document that comes in and goes out.
func enriched(t *testing.T, write writer, r *Report) []byte {
	t.Helper()
	before := bytes.Clone(r.Projects[0].Document)
	got := written(t, write, r, sbomOptions)
	if !bytes.Equal(before, r.Projects[0].Document) {
		t.Fatal("the document that came in was written to")
	}
	keeps(t, before, got)
	second := *r
	second.Projects = slices.Clone(r.Projects)
	second.Projects[0].Document = got
	if again := written(t, write, &second, sbomOptions); !bytes.Equal(got, again) {
		t.Errorf("enriching twice changes the document:\n%s", cmp.Diff(string(got), string(again)))
	}

	// Where nothing is known any more, what an earlier run said is gone.
	empty := New()
	empty.Projects = slices.Clone(second.Projects)
	empty.Projects[0].Nodes = empty.Projects[0].Nodes[:1]
	left := written(t, write, empty, sbomOptions)
	if bytes.Contains(left, []byte("assay:verdict")) || bytes.Contains(left, []byte(`"assay-attestation"`)) {
		t.Error("what an earlier run said stays although nothing is known")
	}
	return got
}

// equal compares two decoded documents but for the members that say which document it is.
func equal(t *testing.T, before, after []byte, identity ...string) {
	t.Helper()
	want, got := decoded(t, before), decoded(t, after)
	for _, name := range identity {
		delete(want, name)
		delete(got, name)
	}
	// Lists that were empty stay; those taken away with all that is in them are compared as if they had not been.
	if w, g := without(want), without(got); !reflect.DeepEqual(w, g) {
		t.Errorf("something was lost or changed (-want +got):\n%.4000s", cmp.Diff(w, g))
	}
}

func TestEnrichCycloneDX(t *testing.T) {
	for _, s := range append(smallSBOMs(t, "cyclonedx", smallBOM), corpusSBOMs(t, "cyclonedx")...) {
		t.Run(s.name, func(t *testing.T) {
			before := s.report.Projects[0].Document
			got := enriched(t, WriteCycloneDX, s.report)
			identity := []string{"version"}
			version := decoded(t, before)["specVersion"].(string)
			if version == "1.2" {
				identity, version = append(identity, "specVersion"), "1.3"
			}
			equal(t, before, got, identity...)
			after := decoded(t, got)
			if after["specVersion"] != version {
				t.Errorf("version %v", after["specVersion"])
			}
			if was, _ := decoded(t, before)["version"].(json.Number).Int64(); after["version"] != json.Number(fmt.Sprint(was+1)) {
				t.Errorf("revision %v after %v", after["version"], was)
			}
			if version != "1.3" { // that one document breaks the strict schema of 1.2 to begin with
				validate(t, cyclonedxSchema(t, version), got)
			}
			var bom cyclonedx.BOM
			if err := cyclonedx.NewBOMDecoder(bytes.NewReader(bytes.TrimPrefix(got, []byte("\ufeff"))), cyclonedx.BOMFileFormatJSON).Decode(&bom); err != nil {
				t.Fatal(err)
			}
			said := countVerdicts(bom.Components)
			if said != len(s.report.Packages) {
				t.Errorf("%d components have a verdict, of %d packages", said, len(s.report.Packages))
			}
		})
	}
	small := smallSBOMs(t, "cyclonedx", smallBOM)
	for _, s := range small {
		if s.name == "small" || s.name == "compact" {
			golden(t, "enriched-"+s.name+".cdx.json", written(t, WriteCycloneDX, s.report, sbomOptions))
		}
	}
}

func countVerdicts(list *[]cyclonedx.Component) (n int) {
	if list == nil {
		return 0
	}
	for _, c := range *list {
		if c.Properties != nil {
			for _, p := range *c.Properties {
				if p.Name == "assay:verdict" {
					n++
				}
			}
		}
		n += countVerdicts(c.Components)
	}
	return n
}

func TestEnrichSPDX(t *testing.T) {
	for _, s := range append(smallSBOMs(t, "spdx", smallSPDX), corpusSBOMs(t, "spdx")...) {
		t.Run(s.name, func(t *testing.T) {
			before := s.report.Projects[0].Document
			got := enriched(t, WriteSPDX, s.report)
			equal(t, before, got, "documentNamespace")
			was, is := decoded(t, before)["documentNamespace"].(string), decoded(t, got)["documentNamespace"].(string)
			if is == was || !strings.HasPrefix(is, was+"-assay-") {
				t.Errorf("the namespace is %s after %s", is, was)
			}
			n := bytes.Count(got, []byte("assay:verdict: "))
			if n != len(s.report.Packages) {
				t.Errorf("%d packages have a verdict, of %d", n, len(s.report.Packages))
			}
			if s.name != "mark" {
				var doc v2_3.Document
				if err := spdxjson.ReadInto(bytes.NewReader(got), &doc); err != nil {
					t.Fatal(err)
				}
			}
		})
	}
	golden(t, "enriched-small.spdx.json", written(t, WriteSPDX, about(t, "spdx", "small.json", []byte(smallSPDX)), sbomOptions))
}

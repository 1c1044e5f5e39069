package report

import (
	"bytes"
	"fmt"
	"io"
	"strconv"
	"strings"
	"testing"
	"time"

	"assay/internal/policy"
	"assay/internal/verify"
)

// twins is a report of a document in which the package a@1.0.0, with provenance, is called "a", and nothing else was
// looked at.
func twins(kind, document string) *Report {
	r := New()
	r.Packages = []Package{pkg("a@1.0.0", verify.Provenance, policy.Allow)}
	r.Projects = []Project{{Kind: kind, File: "x", Document: []byte(document), Nodes: []Node{{Package: -1, Other: -1}, {Path: "a", Package: 0, Other: -1}}}}
	return r
}

// What has the identifier of another component does not get that one's provenance: not without a package URL, not with one
// that leaves the version open or is of another kind, and not with the same one and another hash. Whether the inventory
// looked at it, or left it out, makes no difference.
func TestEnrichLends(t *testing.T) {
	const honest, honestXML, honestSPDX = `{"bom-ref":"a","name":"a","version":"1.0.0","purl":"pkg:npm/a@1.0.0","hashes":[{"alg":"SHA-512","content":"aa"}]}`,
		`<component bom-ref="a"><name>a</name><purl>pkg:npm/a@1.0.0</purl></component>`,
		`{"SPDXID":"a","externalRefs":[{"referenceType":"purl","referenceLocator":"pkg:npm/a@1.0.0"}]}`
	for _, tt := range []struct{ name, kind, first, second string }{
		{"no package URL", "cyclonedx", honest, `{"bom-ref":"a","name":"evil","version":"6.6.6"}`},
		{"a package URL without a version", "cyclonedx", honest, `{"bom-ref":"a","name":"a","version":"6.6.6","purl":"pkg:npm/a"}`},
		{"another hash", "cyclonedx", honest, strings.Replace(honest, `"aa"`, `"bb"`, 1)},
		{"a package URL spelled otherwise, another hash", "cyclonedx", honest, strings.NewReplacer(`"aa"`, `"bb"`, "npm/a@", "npm/%61@").Replace(honest)},
		{"XML, no package URL", "cyclonedx", honestXML, `<component bom-ref="a"><name>evil</name></component>`},
		{"XML, a package URL without a version", "cyclonedx", honestXML, `<component bom-ref="a"><name>a</name><version>6.6.6</version><purl>pkg:npm/a</purl></component>`},
		{"XML, another hash", "cyclonedx", honestXML, strings.Replace(honestXML, "<purl>", "<hashes><hash alg=\"SHA-512\">bb</hash></hashes><purl>", 1)},
		{"SPDX, no package URL", "spdx", honestSPDX, `{"SPDXID":"a","name":"evil"}`},
		{"SPDX, a package URL without a version", "spdx", honestSPDX, strings.Replace(honestSPDX, "@1.0.0", "", 1)},
		{"SPDX, another hash", "spdx", honestSPDX, strings.Replace(honestSPDX, "{", `{"checksums":[],`, 1)},
	} {
		for order, pair := range [][2]string{{tt.first, tt.second}, {tt.second, tt.first}} {
			document, write := `{"bomFormat":"CycloneDX","specVersion":"1.6","components":[`+pair[0]+","+pair[1]+"]}", writer(WriteCycloneDX)
			if tt.kind == "spdx" {
				document, write = `{"spdxVersion":"SPDX-2.3","packages":[`+pair[0]+","+pair[1]+"]}", WriteSPDX
			} else if strings.HasPrefix(tt.first, "<") {
				document = `<bom xmlns="http://cyclonedx.org/schema/bom/1.6"><components>` + pair[0] + pair[1] + "</components></bom>"
			}
			var got bytes.Buffer
			err := write(&got, twins(tt.kind, document), sbomOptions)
			if err == nil && bytes.Count(got.Bytes(), []byte("assay:verdict")) != 1 {
				t.Errorf("%s (%d): both have the verdict:\n%s", tt.name, order, got.Bytes())
			} else if err != nil && !strings.Contains(err.Error(), "it cannot be told what was found of which") {
				t.Errorf("%s (%d): %v", tt.name, order, err)
			}
			if hashes := strings.Contains(tt.name, "hash"); hashes != (err != nil) {
				t.Errorf("%s (%d): the error is %v", tt.name, order, err)
			}
		}
	}
	for _, document := range []string{
		`{"spdxVersion":"SPDX-2.3","packages":[{"SPDXID":"a","externalRefs":[{"referenceType":"purl","referenceLocator":"pkg:cargo/a@1.0.0"}]}]}`,
		`{"spdxVersion":"SPDX-2.3","packages":[{"SPDXID":"a","externalRefs":[{"referenceType":"purl","referenceLocator":"PKG:npm/evil@1.0.0"}]}]}`,
	} {
		if got := written(t, WriteSPDX, twins("spdx", document), sbomOptions); bytes.Contains(got, []byte("assay:verdict")) {
			t.Errorf("it has another's verdict:\n%s", got)
		}
	}
}

// Many components of one identifier cost about what as many of their own do, not as much as their square.
func TestEnrichSharedIdentifier(t *testing.T) {
	const n = 20_000
	cost := func(ref func(i int) string) time.Duration {
		var list []string
		r := New()
		r.Projects = []Project{{Kind: "cyclonedx", File: "x", Nodes: []Node{{Package: -1, Other: -1}}}}
		for i := range n {
			list = append(list, fmt.Sprintf(`{"bom-ref":%q,"name":"p%d","purl":"pkg:npm/p%d@1.0.0"}`, ref(i), i, i))
			r.Packages = append(r.Packages, pkg(fmt.Sprintf("p%d@1.0.0", i), verify.Provenance, policy.Allow))
			r.Projects[0].Nodes = append(r.Projects[0].Nodes, Node{Path: ref(i), Package: i, Other: -1})
		}
		r.Projects[0].Document = []byte(`{"bomFormat":"CycloneDX","specVersion":"1.6","components":[` + strings.Join(list, ",") + `]}`)
		start := time.Now()
		if err := WriteCycloneDX(io.Discard, r, sbomOptions); err != nil {
			t.Fatal(err)
		}
		return time.Since(start)
	}
	own := cost(strconv.Itoa)
	if shared := cost(func(int) string { return "a" }); shared > 30*own {
		t.Errorf("it took %v, and %v where each has its own", shared, own)
	}
}

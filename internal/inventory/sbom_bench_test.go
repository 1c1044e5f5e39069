//go:build unix

package inventory

import (
	"bytes"
	"fmt"
	"runtime"
	"runtime/debug"
	"strings"
	"testing"
	"time"
)

// bigDocument makes a document of about size bytes in the shape of real ones: bun.lock, cdx.json, cdx.xml, spdx.json
// or purls.
func bigDocument(kind string, size int) []byte {
	var b bytes.Buffer
	b.Grow(size + 4096)
	hash := func(i int) string { return fmt.Sprintf("%0128x", i) }
	tarball := func(i int) string {
		return fmt.Sprintf("https://registry.npmjs.org/package-%d/-/package-%d-1.%d.0.tgz", i, i, i%9)
	}
	n := 0
	list := func(until int, separator string, write func(i int)) {
		for i := 0; b.Len() < until; i++ {
			if i > 0 {
				b.WriteString(separator)
			}
			write(i)
			n = i + 1
		}
	}
	to := func(i, j int) int { return min((i/4+1)*4*j/5*4+j, n-1) }
	switch kind {
	case "bun.lock":
		b.WriteString("{\n  \"lockfileVersion\": 1,\n  \"workspaces\": {\n    \"\": {\n      \"name\": \"app\",\n      \"dependencies\": {\n        \"package-0\": \"^1.0.0\",\n      },\n    },\n  },\n  \"packages\": {\n")
		last := size/230 - 50
		list(size, ",\n\n", func(i int) {
			key := fmt.Sprintf("package-%d", i)
			if i%10 == 9 {
				key = fmt.Sprintf("package-%d/package-%d", i-1, i/2)
			}
			fmt.Fprintf(&b, "    %q: [\"package-%d@1.%d.0\", \"\", { \"dependencies\": { ", key, i, i%9)
			for j := 1; j <= i%4; j++ {
				to := min((i/4+1)*4*j/5*4+j, last+10*j)
				if to%10 == 9 {
					to--
				}
				fmt.Fprintf(&b, "\"package-%d\": \"^%d.0.0\", ", to, j)
			}
			fmt.Fprintf(&b, "}, \"bin\": { \"package\": \"bin/package.js\" } }, \"sha512-%086d==\"]", i)
		})
		b.WriteString(",\n  }\n}\n")
	case "cdx.json":
		b.WriteString("{\n  \"bomFormat\": \"CycloneDX\",\n  \"specVersion\": \"1.6\",\n  \"metadata\": {\n    \"component\": { \"bom-ref\": \"root\", \"type\": \"application\", \"name\": \"app\" }\n  },\n  \"components\": [\n")
		list(size*8/10, ",\n", func(i int) {
			fmt.Fprintf(&b, "    {\n      \"type\": \"library\",\n      \"name\": \"package-%d\",\n      \"version\": \"1.%d.0\",\n      \"bom-ref\": \"app|package-%d@1.%d.0\",\n      \"author\": \"Somebody\",\n      \"description\": \"Does what it does\",\n      \"licenses\": [ { \"license\": { \"id\": \"MIT\" } } ],\n      \"purl\": \"pkg:npm/package-%d@1.%d.0\",\n      \"externalReferences\": [\n        {\n          \"url\": %q,\n          \"type\": \"distribution\",\n          \"hashes\": [ { \"alg\": \"SHA-512\", \"content\": %q } ]\n        }\n      ],\n      \"properties\": [ { \"name\": \"cdx:npm:package:path\", \"value\": \"node_modules/package-%d\" } ]\n    }", i, i%9, i, i%9, i, i%9, tarball(i), hash(i), i)
		})
		b.WriteString("\n  ],\n  \"dependencies\": [\n    { \"ref\": \"root\", \"dependsOn\": [ \"app|package-0@1.0.0\" ] }")
		for i := range n {
			fmt.Fprintf(&b, ",\n    { \"ref\": \"app|package-%d@1.%d.0\", \"dependsOn\": [ \"app|package-%d@1.%d.0\", \"app|package-%d@1.%d.0\" ] }", i, i%9, to(i, 1), to(i, 1)%9, to(i, 3), to(i, 3)%9)
		}
		b.WriteString("\n  ]\n}\n")
	case "cdx.xml":
		b.WriteString("<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<bom xmlns=\"http://cyclonedx.org/schema/bom/1.6\" version=\"1\">\n  <metadata>\n    <component type=\"application\" bom-ref=\"root\"><name>app</name></component>\n  </metadata>\n  <components>\n")
		list(size*8/10, "", func(i int) {
			fmt.Fprintf(&b, "    <component type=\"library\" bom-ref=\"app|package-%d@1.%d.0\">\n      <author>Somebody</author>\n      <name>package-%d</name>\n      <version>1.%d.0</version>\n      <description>Does what it does</description>\n      <licenses>\n        <license>\n          <id>MIT</id>\n        </license>\n      </licenses>\n      <purl>pkg:npm/package-%d@1.%d.0</purl>\n      <externalReferences>\n        <reference type=\"distribution\">\n          <url>%s</url>\n          <hashes>\n            <hash alg=\"SHA-512\">%s</hash>\n          </hashes>\n        </reference>\n      </externalReferences>\n      <properties>\n        <property name=\"cdx:npm:package:path\">node_modules/package-%d</property>\n      </properties>\n    </component>\n", i, i%9, i, i%9, i, i%9, tarball(i), hash(i), i)
		})
		b.WriteString("  </components>\n  <dependencies>\n    <dependency ref=\"root\"><dependency ref=\"app|package-0@1.0.0\"/></dependency>\n")
		for i := range n {
			fmt.Fprintf(&b, "    <dependency ref=\"app|package-%d@1.%d.0\">\n      <dependency ref=\"app|package-%d@1.%d.0\"/>\n      <dependency ref=\"app|package-%d@1.%d.0\"/>\n    </dependency>\n", i, i%9, to(i, 1), to(i, 1)%9, to(i, 3), to(i, 3)%9)
		}
		b.WriteString("  </dependencies>\n</bom>\n")
	case "spdx.json":
		b.WriteString("{\n  \"spdxVersion\": \"SPDX-2.3\",\n  \"SPDXID\": \"SPDXRef-DOCUMENT\",\n  \"name\": \"app\",\n  \"documentDescribes\": [ \"SPDXRef-Package-root\" ],\n  \"packages\": [\n    { \"name\": \"app\", \"SPDXID\": \"SPDXRef-Package-root\" },\n")
		list(size*65/100, ",\n", func(i int) {
			fmt.Fprintf(&b, "    {\n      \"name\": \"package-%d\",\n      \"SPDXID\": \"SPDXRef-Package-package-%d-1.%d.0\",\n      \"versionInfo\": \"1.%d.0\",\n      \"packageFileName\": \"node_modules/package-%d\",\n      \"downloadLocation\": %q,\n      \"filesAnalyzed\": false,\n      \"homepage\": \"NOASSERTION\",\n      \"licenseDeclared\": \"MIT\",\n      \"externalRefs\": [\n        {\n          \"referenceCategory\": \"PACKAGE-MANAGER\",\n          \"referenceType\": \"purl\",\n          \"referenceLocator\": \"pkg:npm/package-%d@1.%d.0\"\n        }\n      ],\n      \"checksums\": [\n        {\n          \"algorithm\": \"SHA512\",\n          \"checksumValue\": %q\n        }\n      ]\n    }", i, i, i%9, i%9, i, tarball(i), i, i%9, hash(i))
		})
		b.WriteString("\n  ],\n  \"relationships\": [\n    { \"spdxElementId\": \"SPDXRef-Package-package-0-1.0.0\", \"relatedSpdxElement\": \"SPDXRef-Package-root\", \"relationshipType\": \"DEPENDENCY_OF\" }")
		for i := range n {
			for _, j := range []int{1, 3} {
				fmt.Fprintf(&b, ",\n    {\n      \"spdxElementId\": \"SPDXRef-Package-package-%d-1.%d.0\",\n      \"relatedSpdxElement\": \"SPDXRef-Package-package-%d-1.%d.0\",\n      \"relationshipType\": \"DEPENDENCY_OF\"\n    }", to(i, j), to(i, j)%9, i, i%9)
			}
		}
		b.WriteString("\n  ]\n}\n")
	case "purls":
		for i := 0; b.Len() < size && i < maxListed; i++ {
			fmt.Fprintf(&b, "pkg:npm/%%40scope/package-%d@1.%d.0\n", i, i%9)
		}
	default:
		panic(kind)
	}
	return b.Bytes()
}

var bigKinds = []string{"bun.lock", "cdx.json", "cdx.xml", "spdx.json"}

// worstDocuments are documents made to cost more than their size.
func worstDocuments(size int) map[string]string {
	cases := make(map[string]string)
	add := func(name, head, tail string, entry func(i int) string) {
		var b strings.Builder
		b.WriteString(head)
		for i := 0; b.Len() < size; i++ {
			b.WriteString(entry(i))
		}
		b.WriteString(tail)
		cases[name] = b.String()
	}
	sep := func(i int, s string) string {
		if i == 0 {
			return s
		}
		return "," + s
	}
	for _, kind := range append(bigKinds, "purls") {
		cases["ordinary "+kind] = string(bigDocument(kind, size))
	}
	cdx := `{"bomFormat":"CycloneDX","specVersion":"1.6","components":[`
	add("tiny components", cdx, `]}`, func(i int) string { return sep(i, `{}`) })
	add("small components", cdx, `]}`, func(i int) string { return sep(i, fmt.Sprintf(`{"bom-ref":"%d","purl":"pkg:npm/a@1.0.%d"}`, i, i)) })
	add("one reference", cdx, `],"dependencies":[{"ref":"a","dependsOn":["a"]}]}`, func(i int) string { return sep(i, fmt.Sprintf(`{"bom-ref":"a","purl":"pkg:npm/a@1.0.%d"}`, i)) })
	same := strings.Repeat(`{"bom-ref":"a","name":"x"},{"bom-ref":"b","name":"x"},`, 2000)
	add("references to many of one", cdx+same[:len(same)-1]+`],"dependencies":[`, `]}`, func(i int) string { return sep(i, `{"ref":"a","dependsOn":["b"]}`) })
	add("many edges", cdx+`{"bom-ref":"a","name":"x"}],"dependencies":[{"ref":"a","dependsOn":[`, `]}]}`, func(i int) string { return sep(i, fmt.Sprintf(`"%d"`, i)) })
	add("short edges", cdx+`{"bom-ref":"a","name":"x"},{"bom-ref":"b","name":"y"}],"dependencies":[{"ref":"a","dependsOn":[`, `]}]}`, func(i int) string { return sep(i, `"b"`) })
	add("many hashes", cdx+`{"bom-ref":"a","purl":"pkg:npm/a@1.0.0","hashes":[`, `]}]}`, func(i int) string { return sep(i, fmt.Sprintf(`{"alg":"SHA-1","content":"%040x"}`, i)) })
	add("many bad hashes", cdx+`{"bom-ref":"a","purl":"pkg:npm/a@1.0.0","hashes":[`, `]}]}`, func(i int) string { return sep(i, `{"alg":"SHA-1","content":"0"}`) })
	add("many properties", cdx+`{"bom-ref":"a","properties":[`, `]}]}`, func(i int) string { return sep(i, fmt.Sprintf(`{"name":"%d","value":"%d"}`, i, i)) })
	add("skipped nesting", cdx, `]}`, func(i int) string {
		return sep(i, `{"x":`+strings.Repeat("[", 5000)+strings.Repeat("]", 5000)+`}`)
	})
	xml := `<bom xmlns="http://cyclonedx.org/schema/bom/1.6"><components>`
	add("tiny elements", xml, `</components></bom>`, func(i int) string { return `<component/>` })
	add("skipped elements", xml, `</components></bom>`, func(i int) string { return `<a/>` })
	add("comments", xml, `</components></bom>`, func(i int) string { return `<!---->` })
	add("attributes", xml, `</components></bom>`, func(i int) string { return `<a` + manyAttributes(60) + `/>` })
	add("namespaces", xml, `</components></bom>`, func(i int) string { return fmt.Sprintf(`<a xmlns="urn:%d"/>`, i) })
	spdx := `{"spdxVersion":"SPDX-2.3","packages":[`
	add("tiny packages", spdx, `]}`, func(i int) string { return sep(i, `{"SPDXID":"a"}`) })
	add("many purls", spdx+`{"SPDXID":"a","externalRefs":[`, `]}]}`, func(i int) string {
		return sep(i, fmt.Sprintf(`{"referenceType":"purl","referenceLocator":"pkg:npm/a@1.0.%d"}`, i))
	})
	add("many subjects", spdx+`],"documentDescribes":[`, `]}`, func(i int) string { return sep(i, fmt.Sprintf(`"%d"`, i)) })
	bun := `{"lockfileVersion":1,"workspaces":{"":{}},"packages":{`
	add("tiny rows", bun, `}}`, func(i int) string { return sep(i, fmt.Sprintf(`"%d":["a@1.0.0","",{},""]`, i)) })
	add("deep rows", bun, `}}`, func(i int) string {
		return sep(i, fmt.Sprintf(`"%s%d":["a@1.0.0","",{},""]`, strings.Repeat("a/", i%maxNesting), i))
	})
	add("bundled rows", bun+`"a":["a@1.0.0","",{"dependencies":{"0":"","1":""}},""],`, `}}`, func(i int) string { return sep(i, fmt.Sprintf(`"a/%d":["a@1.0.0","",{"bundled":true},""]`, i)) })
	add("workspaces", `{"lockfileVersion":1,"workspaces":{"":{}`, `},"packages":{}}`, func(i int) string { return fmt.Sprintf(`,"w/%d":{"name":"%d"}`, i, i) })
	add("patches", bun+`"a":["a@1.0.0","",{},""]},"patchedDependencies":{`, `}}`, func(i int) string { return sep(i, fmt.Sprintf(`"%d":""`, i)) })
	add("trusted", bun+`"a":["a@1.0.0","",{},""]},"trustedDependencies":[`, `]}`, func(i int) string { return sep(i, fmt.Sprintf(`"%d"`, i)) })
	add("catalog", bun+`"a":["a@1.0.0","",{},""]},"catalog":{`, `}}`, func(i int) string { return sep(i, fmt.Sprintf(`"%d":""`, i)) })
	add("catalogs", bun+`},"catalogs":{`, `}}`, func(i int) string { return sep(i, fmt.Sprintf(`"%d":{"a":""}`, i)) })
	add("overrides", bun+`},"overrides":{`, `}}`, func(i int) string { return sep(i, fmt.Sprintf(`"%d":""`, i)) })
	add("optional peers", bun, `}}`, func(i int) string {
		return sep(i, fmt.Sprintf(`"%d":["a@1.0.0","",{"optionalPeers":["%d","%d","%d","%d"]},""]`, i, i*4, i*4+1, i*4+2, i*4+3))
	})
	add("comments in JSON", bun, `}}`, func(i int) string { return "/**/" })
	add("short lines", "", "", func(i int) string { return fmt.Sprintf("pkg:npm/a@1.0.%d\n", i) })
	return cases
}

// openBig opens a document by its contents.
func openBig(name, text string) (*Project, error) {
	switch {
	case strings.HasPrefix(text, "pkg:"):
		return ReadPURLs(strings.NewReader(text), "list", Options{})
	case strings.Contains(name, "row") || strings.Contains(text[:min(len(text), 100)], "lockfileVersion"):
		return OpenFS(files(map[string]string{"bun.lock": text}), "bun.lock", Options{})
	}
	return openSBOM(text)
}

// No document may cost more than one second for 10 MB, or more than 20 times its size in memory.
func TestWorstDocuments(t *testing.T) {
	if testing.Short() {
		t.Skip("slow")
	}
	defer debug.SetGCPercent(debug.SetGCPercent(25))
	const size = 10 << 20
	for name, text := range worstDocuments(size) {
		t.Run(strings.ReplaceAll(name, " ", "-"), func(t *testing.T) {
			runtime.GC()
			var before runtime.MemStats
			runtime.ReadMemStats(&before)
			stop := make(chan struct{})
			highest := peak(stop)
			start, clock := cpu(t), time.Now()
			p, err := openBig(name, text)
			took, wall := cpu(t)-start, time.Since(clock)
			close(stop)
			used := float64(int64(<-highest-before.HeapAlloc)) / size
			t.Logf("%v of processor time, %v by the clock, %.1f times the size in memory, error %v", took.Round(time.Millisecond), wall.Round(time.Millisecond), used, err)
			if strings.HasPrefix(name, "ordinary") && err != nil {
				t.Error(err)
			}
			if took > 8*time.Second { // see TestWorstCases
				t.Errorf("took %v", took)
			}
			if used > 20 {
				t.Errorf("used %.1f times the size in memory", used)
			}
			runtime.KeepAlive(p)
		})
	}
}

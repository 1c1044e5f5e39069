package inventory

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"
)

const spdxKinds = `{
  "spdxVersion": "SPDX-2.3",
  "SPDXID": "SPDXRef-DOCUMENT",
  "name": "app@1.0.0",
  "creationInfo": { "created": "2026-01-01T00:00:00Z", "creators": [ "Tool: npm/cli-11.0.0" ] },
  "packages": [
    { "name": "app", "SPDXID": "SPDXRef-app", "versionInfo": "1.0.0", "downloadLocation": "NOASSERTION", "externalRefs": [ { "referenceCategory": "PACKAGE-MANAGER", "referenceType": "purl", "referenceLocator": "pkg:npm/app@1.0.0" } ] },
    { "name": "@acme/a", "SPDXID": "SPDXRef-a", "versionInfo": "1.0.0", "packageFileName": "node_modules/@acme/a", "downloadLocation": "https://registry.npmjs.org/@acme/a/-/a-1.0.0.tgz",
      "externalRefs": [ { "referenceCategory": "SECURITY", "referenceType": "cpe23Type", "referenceLocator": "cpe:2.3:a" }, { "referenceCategory": "PACKAGE_MANAGER", "referenceType": "http://spdx.org/rdf/references/purl", "referenceLocator": "pkg:npm/%40acme/a@1.0.0" } ],
      "checksums": [ { "algorithm": "SHA1", "checksumValue": "` + sha1Hex + `" }, { "algorithm": "SHA512", "checksumValue": "` + sha512Hex + `" } ] },
    { "name": "b", "SPDXID": "SPDXRef-b", "versionInfo": "2.0.0", "downloadLocation": "NONE", "externalRefs": [ { "referenceType": "purl", "referenceLocator": "pkg:npm/b@2.0.0" } ] },
    { "name": "peer", "SPDXID": "SPDXRef-peer", "versionInfo": "1.0.0", "downloadLocation": "git+https://github.com/acme/peer.git", "externalRefs": [ { "referenceType": "purl", "referenceLocator": "pkg:npm/peer@1.0.0" } ] },
    { "name": "git", "SPDXID": "SPDXRef-git", "versionInfo": "1.0.0", "downloadLocation": "git+ssh://git@github.com/acme/git.git@0123abcdef", "externalRefs": [ { "referenceType": "purl", "referenceLocator": "pkg:npm/git@1.0.0" } ] },
    { "name": "dir", "SPDXID": "SPDXRef-dir", "versionInfo": "1.0.0", "packageFileName": "packages/dir", "downloadLocation": "NOASSERTION", "externalRefs": [ { "referenceType": "purl", "referenceLocator": "pkg:npm/dir@1.0.0" } ] },
    { "name": "opt", "SPDXID": "SPDXRef-opt", "versionInfo": "1.0.0", "packageFileName": "node_modules/opt", "downloadLocation": "NOASSERTION", "externalRefs": [ { "referenceType": "purl", "referenceLocator": "pkg:npm/opt@1.0.0" }, { "referenceType": "purl", "referenceLocator": "pkg:npm/also@3.0.0" } ] },
    { "name": "glibc", "SPDXID": "SPDXRef-glibc", "versionInfo": "2.41" }
  ],
  "relationships": [
    { "spdxElementId": "SPDXRef-DOCUMENT", "relationshipType": "DESCRIBES", "relatedSpdxElement": "SPDXRef-app" },
    { "spdxElementId": "SPDXRef-app", "relationshipType": "DEPENDS_ON", "relatedSpdxElement": "SPDXRef-a" },
    { "spdxElementId": "SPDXRef-b", "relationshipType": "DEV_DEPENDENCY_OF", "relatedSpdxElement": "SPDXRef-app" },
    { "spdxElementId": "SPDXRef-peer", "relationshipType": "PREREQUISITE_FOR", "relatedSpdxElement": "SPDXRef-a" },
    { "spdxElementId": "SPDXRef-git", "relationshipType": "DEPENDENCY_OF", "relatedSpdxElement": "SPDXRef-a" },
    { "spdxElementId": "SPDXRef-dir", "relationshipType": "DEPENDENCY_OF", "relatedSpdxElement": "SPDXRef-app" },
    { "spdxElementId": "SPDXRef-opt", "relationshipType": "OPTIONAL_DEPENDENCY_OF", "relatedSpdxElement": "SPDXRef-app" },
    { "spdxElementId": "SPDXRef-app", "relationshipType": "CONTAINS", "relatedSpdxElement": "SPDXRef-glibc" },
    { "spdxElementId": "SPDXRef-a", "relationshipType": "DEPENDS_ON", "relatedSpdxElement": "NOASSERTION" },
    { "spdxElementId": "SPDXRef-a", "relationshipType": "GENERATED_FROM", "relatedSpdxElement": "SPDXRef-b" }
  ]
}`

const spdxKindsWant = `@acme/a@1.0.0 direct at SPDXRef-a:8 via app>@acme/a
also@3.0.0 no-integrity resolved= direct optional at SPDXRef-opt:15 via app>also
b@2.0.0 no-integrity resolved= direct dev at SPDXRef-b:11 via app>b
opt@1.0.0 no-integrity resolved= direct optional at SPDXRef-opt:15 via app>opt
peer@1.0.0 no-integrity resolved= peer at SPDXRef-peer:12 via app>@acme/a>peer
file: dir@1.0.0 direct at SPDXRef-dir:14 via app>dir
git: git@1.0.0 spec=pkg:npm/git@1.0.0 resolved=git+ssh://git@github.com/acme/git.git@0123abcdef at SPDXRef-git:13 via app>@acme/a>git
foreign: glibc@2.41 direct at SPDXRef-glibc:16 via app>glibc
warning reference-twice at bom:15: "SPDXRef-opt" names two entries, see also line 15: what depends on one of them counts as depending on both
`

func TestSPDX(t *testing.T) {
	p, err := openSBOM(spdxKinds)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(spdxKindsWant, summary(p)); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	if p.Name != "app" || p.Version != "1.0.0" || p.Kind != "spdx" || string(p.Document) != spdxKinds {
		t.Errorf("%s %s of kind %q", p.Name, p.Version, p.Kind)
	}
	if got := p.Packages[0].Integrity; !strings.HasPrefix(got, "sha512-7iaw3") || !strings.HasSuffix(got, " sha1-qUqP5cyxm6YcTAhz05Hph5gvu9M=") {
		t.Errorf("integrity %q", got)
	}
	checkComplete(t, p, nil)

	// Of several subjects each is something that the project asks for; a document without one names nothing.
	two, err := openSBOM(strings.Replace(spdxKinds, `"name": "app@1.0.0",`, `"documentDescribes": ["SPDXRef-b"],`, 1))
	if err != nil || !slices.Contains(names(two), "app@1.0.0") || two.Name != "" {
		t.Errorf("two subjects: %q, %v", names(two), err)
	}
	none, err := openSBOM(strings.Replace(spdxKinds, `"DESCRIBES"`, `"AMENDS"`, 1))
	if err != nil || len(none.Packages) != 6 || none.Name != "app@1.0.0" {
		t.Errorf("no subject: %q of %q, %v", names(none), none.Name, err)
	}
}

func TestSPDXErrors(t *testing.T) {
	tests := []struct{ name, doc, err string }{
		{"an early version", "{\n" + `"spdxVersion": "SPDX-2.1"}`, `bom:2: SPDX version "SPDX-2.1" is not supported; supported are SPDX-2.2 and SPDX-2.3`},
		{"version 3", `{"@context": "https://spdx.org/rdf/3.0.1/spdx-context.jsonld", "@graph": []}`, "bom:1: is an SPDX document of version 3 (JSON-LD), which is not read"},
		{"tag-value", "SPDXVersion: SPDX-2.3\nDataLicense: CC0-1.0\n", "bom:1: is an SPDX document in another form than JSON"},
		{"YAML", "---\nspdxVersion: SPDX-2.3\n", "bom:1: is an SPDX document in another form than JSON"},
		{"an answer of GitHub", `{"sbom": {"spdxVersion": "SPDX-2.3", "packages": []}}`, `holds an SPDX document as its member "sbom"`},
		{"no SPDXID", `{"spdxVersion": "SPDX-2.3", "packages": [{"name": "a"}]}`, `bom:1: the package "a" has no SPDXID`},
		{"a name twice", `{"spdxVersion": "SPDX-2.3", "packages": [{"name": "a",` + "\n" + `"name": "b"}]}`, `bom:2: duplicate name "name"`},
		{"packages that are none", `{"spdxVersion": "SPDX-2.3", "packages": {}}`, "packages must be an array, not an object"},
		{"ends early", `{"spdxVersion": "SPDX-2.3", "packages": [`, "ends too early"},
		{"nested", `{"spdxVersion": "SPDX-2.3", "x": ` + strings.Repeat("[", 20_000), "not valid JSON"},
		{"many of little", `{"spdxVersion": "SPDX-2.3", "packages": [` + strings.Repeat(`{"SPDXID":"a"},`, 99_999) + "{}]}", "too many entries for the size of the file"},
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

func TestSPDXOrder(t *testing.T) {
	ids := []string{"SPDXRef-1", "SPDXRef-2", "SPDXRef-3", "SPDXRef-4"}
	rapid.Check(t, func(t *rapid.T) {
		var packages, relationships []string
		for _, id := range ids[:rapid.IntRange(0, 4).Draw(t, "packages")] {
			purl := rapid.SampledFrom([]string{"pkg:npm/a@1.0.0", "pkg:npm/b@1.0.0", "pkg:npm/g@1.0.0?vcs_url=git%2Bhttps://h/x.git", "pkg:deb/d@1"}).Draw(t, "purl")
			packages = append(packages, fmt.Sprintf(`{"SPDXID": %q, "name": "n", "versionInfo": "1.0.0", "externalRefs": [{"referenceType": "purl", "referenceLocator": %q}]}`, id, purl))
		}
		for range rapid.IntRange(0, 8).Draw(t, "relationships") {
			kind := rapid.SampledFrom([]string{"DESCRIBES", "DEPENDS_ON", "DEPENDENCY_OF", "DEV_DEPENDENCY_OF", "CONTAINS", "OTHER"}).Draw(t, "kind")
			from := rapid.SampledFrom(append(ids, "SPDXRef-DOCUMENT")).Draw(t, "from")
			relationships = append(relationships, fmt.Sprintf(`{"spdxElementId": %q, "relationshipType": %q, "relatedSpdxElement": %q}`, from, kind, rapid.SampledFrom(ids).Draw(t, "to")))
		}
		write := func(first bool, newline string) string {
			parts := []string{`"packages": [` + strings.Join(packages, ",\n") + `]`, `"relationships": [` + strings.Join(relationships, ",\n") + `]`, `"SPDXID": "SPDXRef-DOCUMENT"`}
			if !first {
				parts = rapid.Permutation(parts).Draw(t, "parts")
			}
			return strings.ReplaceAll(`{"spdxVersion": "SPDX-2.3",`+"\n"+strings.Join(parts, ",\n")+"\n}\n", "\n", newline)
		}
		a, errA := openSBOM(write(true, "\n"))
		packages, relationships = rapid.Permutation(packages).Draw(t, "order"), rapid.Permutation(relationships).Draw(t, "order")
		b, errB := openSBOM(write(false, "\r\n"))
		if errA != nil || errB != nil {
			t.Fatal(errA, errB)
		}
		checkComplete(t, a, nil)
		if diff := cmp.Diff(withoutLines(a), withoutLines(b)); diff != "" {
			t.Fatalf("(-first +reordered):\n%s", diff)
		}
	})
}

func FuzzSPDX(f *testing.F) {
	f.Add([]byte(spdxKinds))
	f.Fuzz(func(t *testing.T, data []byte) {
		fuzzed(t, func() (*Project, error) { return parsed(parseSPDX("sbom.json", data)) })
	})
}

// What npm and cyclonedx-npm make of a real lockfile holds the packages that the lockfile does.
func TestRealSBOMs(t *testing.T) {
	cyclonedx := installTool(t, "@cyclonedx/cyclonedx-npm@6.0.1", "cyclonedx-npm")
	dir := writeTree(t, map[string]string{
		"package.json": `{"name": "app", "version": "1.0.0", "workspaces": ["packages/*"],
			"dependencies": {"left": "npm:left-pad@1.3.0", "is-odd": "3.0.1", "chalk": "4.1.2"},
			"devDependencies": {"@npmcli/arborist": "8.0.0"}, "optionalDependencies": {"fsevents": "2.3.3"}}`,
		"packages/a/package.json": `{"name": "@acme/a", "version": "1.0.0", "private": true, "dependencies": {"is-number": "4.0.0"}}`,
	})
	runTool(t, dir, "npm", "install", "--package-lock-only", "--ignore-scripts", "--no-audit", "--no-fund")
	lock, err := Open(dir, Options{})
	if err != nil {
		t.Fatal(err)
	}
	write := func(name, text string) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
		return path
	}
	documents := []string{
		write("npm.cdx.json", runTool(t, dir, "npm", "sbom", "--sbom-format", "cyclonedx", "--package-lock-only")),
		write("npm.spdx.json", runTool(t, dir, "npm", "sbom", "--sbom-format", "spdx", "--package-lock-only")),
	}
	for _, as := range [][2]string{{"JSON", "1.2"}, {"JSON", "1.6"}, {"XML", "1.4"}, {"XML", "1.6"}} {
		documents = append(documents, write("bom."+as[1]+"."+strings.ToLower(as[0]), runTool(t, dir, cyclonedx, "--package-lock-only", "--of", as[0], "--sv", as[1])))
	}
	describe := func(p *Project, early bool) (list []string) {
		for _, q := range p.Packages {
			integrity, dev := q.Integrity, q.Dev
			if early { // CycloneDX 1.2 has neither hashes of references nor properties
				integrity, dev = "", false
			}
			list = append(list, strings.Join([]string{q.Name, q.Version, integrity, q.Resolved, fmt.Sprint(dev)}, " "))
		}
		return slices.Compact(list)
	}
	for _, path := range documents {
		t.Run(filepath.Base(path), func(t *testing.T) {
			p, err := Open(path, Options{})
			if err != nil {
				t.Fatal(err)
			}
			early := strings.Contains(path, ".1.2.")
			got, want := describe(p, early), describe(lock, early)
			// Only npm's CycloneDX says that the workspace is private.
			got = slices.DeleteFunc(got, func(s string) bool {
				return strings.HasPrefix(s, "@acme/a ") && !strings.HasSuffix(path, "npm.cdx.json")
			})
			if diff := cmp.Diff(want, got); diff != "" {
				t.Errorf("(-lockfile +document):\n%s", diff)
			}
			for _, w := range p.Warnings {
				t.Errorf("warning: %+v", w)
			}
			checkComplete(t, p, nil)
		})
	}
}

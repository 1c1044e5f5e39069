package inventory

import (
	"fmt"
	"strings"
	"testing"
)

// pnpSummary is what was read, one line for each package.
func pnpSummary(p *pnpData) string {
	var b strings.Builder
	for i := range p.packages {
		k := &p.packages[i]
		where, err := k.place()
		name, version := k.id()
		fmt.Fprintf(&b, "%s %s at %s %v is %s@%s:", k.name, k.reference, where, err, name, version)
		for _, d := range k.dependencies {
			fmt.Fprintf(&b, " %s=%s@%s", d.alias, d.name, d.reference)
		}
		b.WriteString("\n")
	}
	return b.String()
}

const pnpSmall = `{"__info": ["a 'quoted' \\ word"], "packageRegistryData": [
[null, [[null, {"packageLocation": "./", "packageDependencies": [["a", "npm:1.0.0"], ["b", ["a", "npm:2.0.0"]], ["c", null]], "linkType": "SOFT"}]]],
["a", [
["npm:1.0.0", {"packageLocation": "./.yarn/cache/a-npm-1.0.0-0.zip/node_modules/a/", "packageDependencies": [["a", "npm:1.0.0"]], "discardFromLookup": false}],
["virtual:0123#npm:2.0.0", {"packageLocation": "./.yarn/__virtual__/a-virtual-0123/1/berry/cache/a-npm-2.0.0-0.zip/node_modules/a/", "packageDependencies": []}],
["npm:2.0.0::__archiveUrl=x", {"packageLocation": "../../cache/a.zip/node_modules/a", "packageDependencies": []}],
["patch:a@npm%3A1.0.0#~/x.patch::version=1.0.0&hash=0", {"packageLocation": "./$$virtual/a/0/x/", "packageDependencies": []}]]]]}`

func TestParsePnP(t *testing.T) {
	const want = ` ` + ` at . <nil> is @: a=a@npm:1.0.0 b=a@npm:2.0.0 c=c@
a npm:1.0.0 at .yarn/cache/a-npm-1.0.0-0.zip/node_modules/a <nil> is a@1.0.0: a=a@npm:1.0.0
a virtual:0123#npm:2.0.0 at berry/cache/a-npm-2.0.0-0.zip/node_modules/a <nil> is a@2.0.0:
a npm:2.0.0::__archiveUrl=x at ../../cache/a.zip/node_modules/a <nil> is a@2.0.0:
a patch:a@npm%3A1.0.0#~/x.patch::version=1.0.0&hash=0 at x <nil> is a@:
`
	literal := strings.NewReplacer(`\`, `\\`, `'`, `\'`, "\n", "\\\n").Replace(pnpSmall)
	for _, tt := range []struct{ name, file, data string }{
		{"alone", ".pnp.data.json", pnpSmall},
		{"as a string", ".pnp.cjs", "#!/usr/bin/env node\n\"use strict\";\n\nconst RAW_RUNTIME_STATE =\n'" + literal + "';\n\nfunction x() {}\n"},
		{"as an object", ".pnp.cjs", "function $$SETUP_STATE(hydrateRuntimeState, basePath) {\n  return hydrateRuntimeState(" + pnpSmall + ", {basePath: basePath || __dirname});\n}\n"},
		{"as an object, by yarn 2", ".pnp.js", "  return hydrateRuntimeState(" + pnpSmall + ", {});\n"},
	} {
		p, err := parsePnP(tt.file, []byte(tt.data))
		if err != nil {
			t.Errorf("%s: %v", tt.name, err)
			continue
		}
		if got := pnpSummary(p); got != want {
			t.Errorf("%s:\n%s\nwant\n%s", tt.name, got, want)
		}
	}
}

func TestParsePnPRefused(t *testing.T) {
	const program = "\nconst RAW_RUNTIME_STATE =\n'"
	for _, tt := range []struct{ file, data, want string }{
		{".pnp.data.json", ``, "x"},
		{".pnp.data.json", `{}`, ".pnp.data.json: has no packageRegistryData"},
		{".pnp.data.json", `{"packageRegistryData": {}}`, "must be an array"},
		{".pnp.data.json", `{"packageRegistryData": []} x`, ".pnp.data.json:1"},
		{".pnp.data.json", `{"packageRegistryData": [], "packageRegistryData": []}`, "duplicate"},
		{".pnp.data.json", `{"packageRegistryData": [["a", [], []]]}`, "more than two elements"},
		{".pnp.data.json", `{"packageRegistryData": [["a", [["npm:1", {}, 1]]]]}`, "more than two elements"},
		{".pnp.data.json", `{"packageRegistryData": [["a", [["npm:1", {"packageDependencies": [["a", "b", "c"]]}]]]]}`, "more than two elements"},
		{".pnp.data.json", strings.Repeat(`{"packageRegistryData": `, 1<<16), ".pnp.data.json:1"},
		{".pnp.cjs", "module.exports = {}", "in a form that yarn writes"},
		{".pnp.cjs", program + "{}'" + program + "{}'", "more than once"},
		{".pnp.cjs", "hydrateRuntimeState({}) hydrateRuntimeState({})", "more than once"},
		{".pnp.cjs", "hydrateRuntimeState({a: 1})", "is no JSON object"},
		{".pnp.cjs", program + `{}`, ".pnp.cjs:2: its data does not end"},
		{".pnp.cjs", program + `{}\`, "does not end"},
		{".pnp.cjs", program + "{}\n'", "ends within a line"},
		{".pnp.cjs", program + `{\u0022a\u0022: 1}'`, `the escape "\\u"`},
	} {
		if _, err := parsePnP(tt.file, []byte(tt.data)); err == nil || tt.want != "x" && !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%.60q: %v, want %q", tt.data, err, tt.want)
		}
	}
	for _, location := range []string{"./__virtual__/x", "./__virtual__/x/", "./__virtual__/x/10/y", "./__virtual__/x/-/y", `.\x`, "./a\x00b"} {
		if where, err := (&pnpPackage{location: location}).place(); err == nil {
			t.Errorf("location %q is %q", location, where)
		}
	}
}

func TestInZip(t *testing.T) {
	for _, tt := range []struct {
		place, file, inner string
		ok                 bool
	}{
		{".yarn/cache/a.zip/node_modules/a", ".yarn/cache/a.zip", "node_modules/a", true},
		{"../c/a.zip/node_modules/b.zip/x", "../c/a.zip", "node_modules/b.zip/x", true},
		{"node_modules/a", "", "", false}, {"node_modules/jszip/x", "", "", false}, {".zip/x", ".zip", "x", false}, {"a.zip", "", "", false},
	} {
		if file, inner, ok := InZip(tt.place); ok != tt.ok || ok && (file != tt.file || inner != tt.inner) {
			t.Errorf("InZip(%q) = %q, %q, %v", tt.place, file, inner, ok)
		}
	}
}

func FuzzParsePnP(f *testing.F) {
	f.Add(".pnp.data.json", []byte(pnpSmall))
	f.Add(".pnp.cjs", []byte("hydrateRuntimeState("+pnpSmall+", {})"))
	f.Add(".pnp.cjs", []byte("\nconst RAW_RUNTIME_STATE =\n'{\"packageRegistryData\":\\\n[]}';"))
	f.Fuzz(func(t *testing.T, file string, data []byte) {
		p, err := parsePnP(file, data)
		if err != nil {
			return
		}
		for i := range p.packages {
			k := &p.packages[i]
			k.id()
			if where, err := k.place(); err == nil && (where == "" || strings.ContainsAny(where, "\\\x00")) {
				t.Errorf("location %q is %q", k.location, where)
			}
		}
	})
}

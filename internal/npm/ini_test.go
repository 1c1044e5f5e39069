package npm_test

import (
	"encoding/json"
	"strings"
	"testing"

	"assay/internal/npm"
	"github.com/google/go-cmp/cmp"
)

// iniTests are files, in JSON what they hold.
var iniTests = []struct{ file, want string }{
	{"", `{}`},
	{"a=b", `{"a":"b"}`},
	{"  a  =  b c  \n", `{"a":"b c"}`},
	{"a=1\r\nb=2\rc=3", `{"a":"1","b":"2","c":"3"}`},
	{"\ufeffregistry=x\n", `{"registry":"x"}`},
	{"a = b ; comment\nc = d # comment", `{"a":"b","c":"d"}`},
	{"; comment\n  # comment\n\ufeff; comment\na=b", `{"a":"b"}`},
	{`a = b\;c\#d\\e\f`, `{"a":"b;c#d\\e\\f"}`},
	{`a = b\`, `{"a":"b\\"}`},
	{`a = "b ; # \" c"`, `{"a":"b ; # \" c"}`},
	{`a = "line\nline"`, `{"a":"line\nline"}`},
	{`a = "b" ; comment`, `{"a":"\"b\""}`},
	{`a = "C:\path"`, `{"a":"\"C:\\path\""}`},
	{`a = 'b "c" ; d'`, `{"a":"b \"c\" ; d"}`},
	{`a = '"b"'`, `{"a":"b"}`},
	{`a = '7'`, `{"a":"7"}`},
	{`a = "`, `{"a":"\""}`},
	{`a = '`, `{"a":""}`},
	{`a = ''`, `{"a":""}`},
	{`a = ""`, `{"a":""}`},
	{`a = "b"]"`, `{"a":"\"b\"]\""}`},
	{`"a" = b`, `{"a":"b"}`},
	{"a", `{"a":true}`},
	{"a=", `{"a":""}`},
	{"a=true\nb=false\nc=null\nd='null'\ne=\"true\"", `{"a":true,"b":false,"c":null,"d":null,"e":true}`},
	{"=b", `{}`},
	{"a=b=c", `{"a":"b=c"}`},
	{"a=1\na=2", `{"a":"2"}`},
	{"a[]=1\na[]=2", `{"a":["1","2"]}`},
	{"a=1\na[]=2", `{"a":["1","2"]}`},
	{"a[]=1\na=2", `{"a":["1","2"]}`},
	{"a[]", `{"a":["true"]}`},
	{"[]=1", `{"[]":"1"}`},
	{`a=["b","c"]`, `{"a":"[\"b\",\"c\"]"}`},
	{`a='["b",7,true]'`, `{"a":["b","7","true"]}`},
	{"a=1\n[section]\nb=2\n[other]\nc=3", `{"a":"1"}`},
	{" [section]\nb=2", `{"[section]":true,"b":"2"}`},
	{"[section] ; x\nb=2", `{"[section]":true,"b":"2"}`},
	{"__proto__=x\n__proto__[]=x\na=b", `{"a":"b"}`},
	{"constructor=x\ntoString=y", `{"constructor":"x","toString":"y"}`},
	{"a=b\u2028c\nd=e", `{"d":"e"}`},
	{"a=\xff", "{\"a\":\"\ufffd\"}"},
	{"//registry.npmjs.org/:_authToken=abc==", `{"//registry.npmjs.org/:_authToken":"abc=="}`},
	{"@acme:registry = https://npm.example.com/ ; ours", `{"@acme:registry":"https://npm.example.com/"}`},
}

func TestParseINI(t *testing.T) {
	for _, tt := range iniTests {
		var want map[string]any
		if err := json.Unmarshal([]byte(tt.want), &want); err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(want, npm.ParseINI([]byte(tt.file))); diff != "" {
			t.Errorf("%q (-want +got):\n%s", tt.file, diff)
		}
	}
}

// TestParseINILikeNPM compares with npm's ini on the table and on random lines.
func TestParseINILikeNPM(t *testing.T) {
	var files []string
	for _, tt := range iniTests {
		files = append(files, tt.file)
	}
	files = append(files, randomStrings(6000, "ab=[];#\\\"' \n\r.\ufeff", 14)...)
	// Values are compared as npm uses them: sections have no meaning to it, elements of lists are text, and
	// what is an object or a list inside a list is no setting. A key that ini cannot read breaks npm.
	results := npmJS[map[string]any](t, `s => {
		const out = require("ini").parse(s), all = {};
		for (const [k, v] of Object.entries(out)) {
			if (Array.isArray(v)) all[k] = v.flat().filter(x => x !== null && typeof x !== "object").map(String);
			else if (typeof v === "number") all[k] = String(v);
			else if (v === null || typeof v !== "object") all[k] = v;
			else if (Object.getPrototypeOf(v) !== null) all[k] = null;
		}
		return all}`, files)
	for i, file := range files {
		if results[i] == nil {
			continue
		}
		if strings.Contains("\n"+strings.ReplaceAll(file, "\r", "\n"), "\n[") {
			continue // what sections do to keys of the same name is not npm's business
		}
		if diff := cmp.Diff(results[i], npm.ParseINI([]byte(file))); diff != "" {
			t.Errorf("%q (-npm +got):\n%s", file, diff)
		}
	}
}

func TestExpandEnv(t *testing.T) {
	env := map[string]string{"A": "1", "EMPTY": "", "NESTED": "${A}", "A B": "2"}
	lookup := func(name string) (string, bool) { value, ok := env[name]; return value, ok }
	tests := []struct{ in, want, names, unset string }{
		{"plain", "plain", "", ""},
		{"${A}", "1", "A", ""},
		{"x${A}y${A}z", "x1y1z", "A A", ""},
		{"${EMPTY}", "", "EMPTY", ""},
		{"${NO}", "${NO}", "NO", "NO"},
		{"${NO?}", "", "NO", ""},
		{"${A?}", "1", "A", ""},
		{"${NESTED}", "${A}", "NESTED", ""},
		{"${A B}", "2", "A B", ""},
		{`\${A}`, "${A}", "", ""},
		{`\\${A}`, `\1`, "A", ""},
		{`\\\${A}`, `\${A}`, "", ""},
		{`\\\\${A}`, `\\1`, "A", ""},
		{`\${A}${A}`, "${A}1", "A", ""},
		{"$A", "$A", "", ""},
		{"${}", "${}", "", ""},
		{"${?}", "${?}", "", ""},
		{"${A", "${A", "", ""},
		{"${A$}", "${A$}", "", ""},
		{"${${A}}", "${1}", "A", ""},
		{"$${A}", "$1", "A", ""},
		{"${A??}", "${A??}", "", ""},
		{`\\x\${`, `\\x\${`, "", ""},
	}
	for _, tt := range tests {
		got, names, unset := npm.ExpandEnv(tt.in, lookup)
		if got != tt.want || strings.Join(names, " ") != tt.names || strings.Join(unset, " ") != tt.unset {
			t.Errorf("expandEnv(%q) = %q, %q, %q, want %q, %q, %q", tt.in, got, names, unset, tt.want, tt.names, tt.unset)
		}
	}
	inputs := randomStrings(5000, `\\$${{A}}?N `, 12)
	for _, tt := range tests {
		inputs = append(inputs, tt.in)
	}
	big := func(string) (string, bool) { return strings.Repeat("x", 1000), true }
	if got, _, _ := npm.ExpandEnv(strings.Repeat("${A}", 100_000), big); len(got) > 2<<20 {
		t.Errorf("expands without end, to %d bytes", len(got))
	}
	results := npmJS[string](t, `s => require(process.argv[1] + "/node_modules/@npmcli/config/lib/env-replace.js")(s, {A: "1", EMPTY: "", NESTED: "${A}", "A B": "2"})`, inputs)
	for i, in := range inputs {
		if got, _, _ := npm.ExpandEnv(in, lookup); got != results[i] {
			t.Errorf("expandEnv(%q) = %q, npm says %q", in, got, results[i])
		}
	}
}

package inventory

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"gopkg.in/yaml.v3"
)

// printYAML writes a value in one line: plain scalars as they are, others quoted, @ the line of each.
func printYAML(b *strings.Builder, v yamlValue, lines bool) {
	at := func() {
		if lines && !(v.kind() == yamlPlain && v.text() == "") {
			fmt.Fprintf(b, "@%d", v.line())
		}
	}
	switch v.kind() {
	case yamlMap:
		b.WriteByte('{')
		at()
		for k, m := range v.members() {
			b.WriteByte(' ')
			printYAML(b, k, lines)
			b.WriteByte(':')
			printYAML(b, m, lines)
		}
		b.WriteByte('}')
	case yamlSeq:
		b.WriteByte('[')
		at()
		for m := range v.items() {
			b.WriteByte(' ')
			printYAML(b, m, lines)
		}
		b.WriteByte(']')
	case yamlQuoted:
		fmt.Fprintf(b, "%q", v.text())
		at()
	default:
		b.WriteString(v.text())
		at()
	}
}

// printOracle is printYAML for what yaml.v3 read.
func printOracle(b *strings.Builder, n *yaml.Node, lines bool) {
	plain := n.Kind == yaml.ScalarNode && n.Style&(yaml.SingleQuotedStyle|yaml.DoubleQuotedStyle|yaml.LiteralStyle|yaml.FoldedStyle) == 0
	at := func() {
		if lines && !(plain && n.Value == "") {
			fmt.Fprintf(b, "@%d", n.Line)
		}
	}
	switch n.Kind {
	case yaml.DocumentNode:
		printOracle(b, n.Content[0], lines)
	case yaml.MappingNode:
		b.WriteByte('{')
		at()
		for i := 0; i < len(n.Content); i += 2 {
			b.WriteByte(' ')
			printOracle(b, n.Content[i], lines)
			b.WriteByte(':')
			printOracle(b, n.Content[i+1], lines)
		}
		b.WriteByte('}')
	case yaml.SequenceNode:
		b.WriteByte('[')
		at()
		for _, m := range n.Content {
			b.WriteByte(' ')
			printOracle(b, m, lines)
		}
		b.WriteByte(']')
	case yaml.ScalarNode:
		if plain {
			b.WriteString(n.Value)
		} else {
			fmt.Fprintf(b, "%q", n.Value)
		}
		at()
	default:
		b.WriteString("?")
	}
}

// oracle reads documents with yaml.v3.
func oracle(text string, lines bool) (string, error) {
	var b strings.Builder
	dec := yaml.NewDecoder(strings.NewReader(text))
	for {
		var n yaml.Node
		err := dec.Decode(&n)
		if err == io.EOF {
			return b.String(), nil
		}
		if err != nil {
			return b.String(), err
		}
		printOracle(&b, &n, lines)
		b.WriteByte('\n')
	}
}

func printDocs(docs []yamlValue, lines bool) string {
	var b strings.Builder
	for _, d := range docs {
		printYAML(&b, d, lines)
		b.WriteByte('\n')
	}
	return b.String()
}

// yamlAccepted are texts and what they mean; yaml.v3 is asked as well.
var yamlAccepted = []struct{ text, want string }{
	{"", ""},
	{"# nothing\n\n", ""},
	{"---\n", "\n"},
	{"---\n---\na: 1\n", "\n{ a:1}\n"},
	{"--- # first\na: 1\n---\n\nb: 2", "{ a:1}\n{ b:2}\n"},
	{"\ufeffa: 1\n", "{ a:1}\n"},
	{"a: 1\r\nb:\r\n  - x\r\n", "{ a:1 b:[ x]}\n"},
	{"a:\nb: ~\nc: ''\nd: null", "{ a: b:~ c:\"\" d:null}\n"},
	{"lockfileVersion: '9.0'\n\nsettings:\n  autoInstallPeers: true\n", "{ lockfileVersion:\"9.0\" settings:{ autoInstallPeers:true}}\n"},
	{"p:\n  '@a/b@1.0.0(c@2)':\n    resolution: {integrity: sha512-aa+/==, tarball: https://x.y/z.tgz}\n    cpu: [x64, arm64]\n", `{ p:{ "@a/b@1.0.0(c@2)":{ resolution:{ integrity:sha512-aa+/== tarball:https://x.y/z.tgz} cpu:[ x64 arm64]}}}` + "\n"},
	{"a: [\n  'x', # one\n  y z,\n]\nb: {}\nc: []\nd: {e: {f: [g]}, h: , i:\n j}\n", `{ a:[ "x" y z] b:{} c:[] d:{ e:{ f:[ g]} h: i:j}}` + "\n"},
	{"{\"a\":1, 'b':[\"c\"], d: e}", `{ "a":1 "b":[ "c"] d:e}` + "\n"},
	{"- a\n- b: 1\n  c: 2\n-\n  - d\n- - e\n  - f\n-\n", "[ a { b:1 c:2} [ d] [ e f] ]\n"},
	{"a:\n- 1\n- 2\nb:\n  - 3\n", "{ a:[ 1 2] b:[ 3]}\n"},
	{"? \"a@npm:1, b\"\n: x: 1\n  y: 2\n? c\n:\n  d\n? e\n:\nf: 1\n", `{ "a@npm:1, b":{ x:1 y:2} c:d e: f:1}` + "\n"},
	{"a: \"\\\"\\\\\\b\\n\\x41\\u00e9\\U0001F600\\N\\_\\L\\P\\e\\0\\a\\v\\f\\r\\t\\ \"\nb: 'it''s'\n", "{ a:\"\\\"\\\\\\b\\nAé😀\\u0085\\u00a0\\u2028\\u2029\\x1b\\x00\\a\\v\\f\\r\\t \" b:\"it's\"}\n"},
	{"a: one\n  two\n\n  three # four\nb: 'x\n\n  y  \n  z'\nc: \"p\\\n  q  \n   r\"\n", `{ a:one two\nthree b:"x\ny z" c:"pq r"}` + "\n"},
	{"a: |\n  one\n   two\n\n  three\n\nb: |-\n  x\nc: |+\n  y\n\nd: 1\n", `{ a:"one\n two\n\nthree\n" b:"x" c:"y\n\n" d:1}` + "\n"},
	{"a: >\n  one\n  two\n\n  three\n   four\n  five\nb: >-\n  x\n  y\n", `{ a:"one two\nthree\n four\nfive\n" b:"x y"}` + "\n"},
	{"a: |2\n    x\nb: |1-\n  y\n", `{ a:"  x\n" b:" y"}` + "\n"},
	{"a: |\nb: >-\n", `{ a:"" b:""}` + "\n"},
	{"a: b#c:d\ne: -f\ng: ?h\ni: :j\nk: l, [m]\nn: http://x:1/\n", "{ a:b#c:d e:-f g:?h i::j k:l, [m] n:http://x:1/}\n"},
	{"a : 1\n'b' : 2\n", `{ a:1 "b":2}` + "\n"},
	{"a: {b: https://x.y/z.tgz?q=1#f}\n", "{ a:{ b:https://x.y/z.tgz?q=1#f}}\n"},
	{"a: 1 # c\n # d\nb: 2\n", "{ a:1 b:2}\n"},
}

func TestYAML(t *testing.T) {
	for _, tt := range yamlAccepted {
		docs, err := parseYAML("x.yaml", tt.text)
		if err != nil {
			t.Errorf("%q: %v", tt.text, err)
			continue
		}
		want := strings.Replace(tt.want, `two\nthree b`, "two\nthree b", 1) // plain scalars are printed as they are
		if diff := cmp.Diff(want, printDocs(docs, false)); diff != "" {
			t.Errorf("%q (-want +got):\n%s", tt.text, diff)
		}
		checkOracle(t, tt.text)
	}
}

// yamlRefused are texts and what is said of them; the line follows the message.
var yamlRefused = []struct{ text, want string }{
	{"a: &x 1\n", "1: anchors"},
	{"a:\n  b: *x\n", "2: aliases"},
	{"a: [*x]\n", "1: aliases"},
	{"a: !!str 1\n", "1: tags"},
	{"!x a: 1\n", "1: tags"},
	{"&a a: 1\n", "1: anchors"},
	{"a:\n  <<: {b: 1}\n", "2: merge keys"},
	{"%YAML 1.2\n---\na: 1\n", "1: directives"},
	{"a: 1\n...\n", `2: "..." is not supported`},
	{"--- a\n", `1: something follows "---"`},
	{"a: 1\na: 2\n", `2: duplicate name "a"`},
	{"a: 1\n'a': 2\n", `2: duplicate name "a"`},
	{"a: {b: 1, c: 2, \"b\": 3}\n", `1: duplicate name "b"`},
	{"a:\n\tb: 1\n", "2: is indented with a tab"},
	{"a: b\tc\n", "1: has a tab"},
	{"a:\tb\n", "1: has a tab"},
	{"a: 'b'\t# c\n", "1: has a tab"},
	{"a: 1\rb: 2\n", "1: has a carriage return"},
	{"a: \x00\n", "1: has the control character 0x00"},
	{"a: 1\nb: \xff\n", "2: is not valid UTF-8"},
	{"a: b\u2028c: d\n", "1: has the character U+2028"},
	{"a: b\u0085c: d\n", "1: has the character U+0085"},
	{"a\n", ""}, // a document may be a scalar
	{"a: 1\nb\n", `2: "b" is no key`},
	{"a:\n  b: 1\n c: 2\n", "3: is indented more than the keys around it"},
	{"a: 1\n  b: 2\n", "2: has a key in a text of several lines, or is indented too far"},
	{"a: 'x'\n  b: 2\n", "2: is indented more"},
	{"a: b: c\n", "1: has a second key"},
	{"a: 'b': c\n", "1: has a second key"},
	{"a: - b\n", "1: '-' cannot stand here"},
	{"- a\nb: 1\n", "2: something follows that does not belong"},
	{"a:\n  - b\n  c: 1\n", "3: is indented more than the keys"},
	{"a: 1\n- b\n", "2: has an item of a sequence among keys"},
	{"[a]: 1\n", "1: has a value where none can stand"},
	{"a: 1\n[b]: 1\n", "2: has a key that is no plain or quoted string"},
	{"? [a]\n: 1\n", "1: has a key that is no plain or quoted string"},
	{"? a\nb: 1\n", `2: has no ":" below "?"`},
	{"'a\n  b': 1\n", "2: has a key of several lines"},
	{"a: 'b\n", "1: has a quote that does not end"},
	{"a: \"\\q\"\n", `1: has the unknown escape "\q"`},
	{"a: \"\\ud800\"\n", "1: has an escape for 0xd800"},
	{"a: \"\\x4\"\n", "1: has an escape"},
	{"a: [b\n", "ends within brackets"},
	{"a: [b\n---\nc]\n", "2: begins or ends a document within brackets"},
	{"a: {b}\n", `1: "b" is no key`},
	{"a: {b:c}\n", `1: "b:c" is no key`},
	{"a: [b c: d]\n", "1: has ':' where a comma"},
	{"a: [b]]\n", "1: something follows the end of a value"},
	{"a: 'b' c\n", "1: something follows the end of a value"},
	{"a: @b\n", "1: a text that begins with '@' must be quoted"},
	{"a: `b`\n", "1: a text that begins with '`' must be quoted"},
	{"a: one\n  - two\n", "2: continues a text of several lines with '-'"},
	{"a: |x\n  b\n", "1: has something behind | or >"},
	{"a: |\n     \n  b\n", "2: is an empty line with more blanks"},
	{"a: |\n  b\n c\n", `3: is indented more than the keys around it`},
	{strings.Repeat("k", 1100) + ": 1\n", "1: has a key of more than 1024 bytes"},
	{"? " + strings.Repeat("k", 70_000) + "\n: 1\n", "1: has a key of more than 65536 bytes"},
	{"a: " + strings.Repeat("[", 1000) + strings.Repeat("]", 1000), "1: is nested more than 100 deep"},
	{strings.Repeat("- ", 1000) + "x\n", "1: is nested more than 100 deep"},
	{strings.Repeat("? ", 1000) + "x\n", "1: has a key that is no plain"},
	{strings.Repeat("---\n", 200), "more than 100 documents"},
	{"a: 1\n<<<<<<< HEAD\nb: 2\n=======\nb: 3\n>>>>>>> other\n", "2: has unresolved merge conflicts"},
	{"a:\n  x: 1\n<<<<<<< HEAD\n  b: 2\n=======\n  b: 3\n>>>>>>> other\n", "3: has unresolved merge conflicts"},
}

func TestYAMLRefused(t *testing.T) {
	for _, tt := range yamlRefused {
		_, err := parseYAML("x.yaml", tt.text)
		if tt.want == "" {
			if err != nil {
				t.Errorf("%.60q: %v", tt.text, err)
			}
			continue
		}
		fe, ok := errors.AsType[*FormatError](err)
		if !ok || !strings.Contains(err.Error(), tt.want) || fe.Line == 0 {
			t.Errorf("%.60q: got error %v, want %q", tt.text, err, tt.want)
		}
	}
}

// Many keys out of order are compared as few are.
func TestYAMLDuplicates(t *testing.T) {
	var b strings.Builder
	for i := range 1000 {
		fmt.Fprintf(&b, "k%d: 1\n", (i*7919)%1000)
	}
	if _, err := parseYAML("x", b.String()); err != nil {
		t.Fatal(err)
	}
	b.WriteString("\"k500\": 2\n")
	_, err := parseYAML("x", b.String())
	checkError(t, err, `x:1001: duplicate name "k500"`)
}

// checkOracle makes sure that yaml.v3 reads the same from what is accepted, with the same lines.
func checkOracle(t *testing.T, text string) {
	t.Helper()
	docs, err := parseYAML("x.yaml", text)
	if err != nil {
		if _, ok := errors.AsType[*FormatError](err); !ok {
			t.Fatalf("%q: not a FormatError: %v", text, err)
		}
		return
	}
	want, err := oracle(text, true)
	if err != nil && strings.Contains(text, "?") {
		// yaml.v3 ends a text within brackets at a question mark, which YAML does not.
		checkOracle(t, strings.ReplaceAll(text, "?", "q"))
		return
	}
	if err != nil {
		t.Fatalf("%q: yaml.v3 refuses it (%v), here it is %s", text, err, printDocs(docs, true))
	}
	if got := printDocs(docs, true); got != want {
		t.Fatalf("%q:\ngot  %s\nwant %s", text, got, want)
	}
}

// Real lockfiles are read as yaml.v3 reads them.
func TestYAMLCorpus(t *testing.T) {
	dir := corpusDir(t)
	files, _ := filepath.Glob(filepath.Join(dir, "lockfiles", "*", "pnpm-lock.yaml"))
	berry, _ := filepath.Glob(filepath.Join(dir, "lockfiles", "*-berry", "yarn.lock"))
	for _, file := range append(files, berry...) {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		docs, err := parseYAML(file, string(text))
		if err != nil {
			t.Error(err)
			continue
		}
		want, err := oracle(string(text), true)
		if err != nil || want != printDocs(docs, true) {
			t.Errorf("%s: differs from yaml.v3 (%v)", file, err)
		}
		crlf, err := parseYAML(file, string(bytes.ReplaceAll(text, []byte("\n"), []byte("\r\n"))))
		if err != nil || printDocs(crlf, true) != want {
			t.Errorf("%s: differs with other line ends (%v)", file, err)
		}
	}
}

func FuzzYAML(f *testing.F) {
	for _, tt := range yamlAccepted {
		f.Add(tt.text)
	}
	for _, tt := range yamlRefused {
		if len(tt.text) < 200 {
			f.Add(tt.text)
		}
	}
	f.Fuzz(func(t *testing.T, text string) { checkOracle(t, text) })
}

func BenchmarkYAML(b *testing.B) {
	dir := corpusDir(b)
	text, err := os.ReadFile(filepath.Join(dir, "lockfiles", "pnpm-pnpm9-two-documents", "pnpm-lock.yaml"))
	if err != nil {
		b.Fatal(err)
	}
	b.SetBytes(int64(len(text)))
	b.ReportAllocs()
	for b.Loop() {
		if _, err := parseYAML("x", string(text)); err != nil {
			b.Fatal(err)
		}
	}
}

package registry

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestCheckJSON(t *testing.T) {
	tests := []struct{ in, want string }{ // want: "" for fine, else a substring of the error
		{`{}`, ""}, {`[]`, ""}, {` [ ] `, ""}, {`null`, ""}, {`true`, ""}, {`false`, ""}, {`0`, ""}, {`-0.5e+10`, ""},
		{`"a"`, ""}, {`{"a":[1,2,{"b":null}],"c":"d"}`, ""}, {"\t{\r\n\"a\" : 1 }\n", ""},
		{"\"\xff\xfe\"", ""},      // invalid UTF-8 is the reader's question
		{`{"a":1,"a":2}`, ""},     // so are duplicate names
		{`"\ud800 \"\\\/\b"`, ""}, // and lone surrogates
		{`"0123456789abcdef\n0123456789abcdef"`, ""},
		{``, "value is missing"}, {`  `, "value is missing"}, {`{`, "name is missing"}, {`{"a"`, "colon is missing"},
		{`{"a":`, "value is missing"}, {`{"a":1`, "ends inside"}, {`{"a":1,}`, "name is missing"}, {`{"a" 1}`, "colon"},
		{`[1,]`, "no value starts"}, {`[1 2]`, "comma"}, {`{"a":1 "b":2}`, "comma"}, {`[1}`, "comma"}, {`{"a":1]`, "comma"},
		{`{} {}`, "follows"}, {`nul`, "no value"}, {`truE`, "no value"}, {`01`, "follows"}, {`-`, "number"}, {`1.`, "number"},
		{`1e`, "number"}, {`+1`, "no value"}, {`"a`, "inside a string"}, {`"a\`, "inside a string"}, {`"\x"`, "escape"},
		{`"\u12g4"`, "escape"}, {`"\u12`, "escape"}, {"\"a\nb\"", "control"}, {"\"0123456789\x1b[31m\"", "control"},
		{"\ufeff{}", "no value"}, {`<!DOCTYPE html>`, "no value"}, {"{}\x00", "follows"}, {`]`, "no value"}, {`'a'`, "no value"},
	}
	for _, tt := range tests {
		err := checkJSON([]byte(tt.in), 100)
		if tt.want == "" && err != nil || tt.want != "" && (err == nil || !strings.Contains(err.Error(), tt.want)) {
			t.Errorf("checkJSON(%q) = %v, want %q", tt.in, err, tt.want)
		}
		if got := err == nil; got != json.Valid([]byte(tt.in)) {
			t.Errorf("checkJSON(%q) = %v, encoding/json disagrees", tt.in, err)
		}
	}
}

func TestCheckJSONDepth(t *testing.T) {
	for _, depth := range []int{1, 63, 64, 65, 100, 256, 300} {
		for _, pair := range []struct{ open, shut string }{{"[", "]"}, {`{"a":`, "}"}} {
			inner := "1"
			at := strings.Repeat(pair.open, depth) + inner + strings.Repeat(pair.shut, depth)
			if err := checkJSON([]byte(at), depth); err != nil {
				t.Errorf("%d levels of %q with a limit of %d: %v", depth, pair.open, depth, err)
			}
			var tooDeep *depthError
			if err := checkJSON([]byte(at), depth-1); !errors.As(err, &tooDeep) {
				t.Errorf("%d levels of %q with a limit of %d: %v, want a depthError", depth, pair.open, depth-1, err)
			}
		}
	}
	// Arrays and objects by turns: each closing mark must be that of the innermost container.
	mixed := strings.Repeat(`[{"a":`, 40) + "0" + strings.Repeat("}]", 40)
	if err := checkJSON([]byte(mixed), 100); err != nil {
		t.Errorf("mixed nesting: %v", err)
	}
	if err := checkJSON([]byte(strings.Replace(mixed, "}]", "]}", 1)), 100); err == nil {
		t.Error("crossed brackets were accepted")
	}
	bomb := bytes.Repeat([]byte("["), 100_000)
	var tooDeep *depthError
	if err := checkJSON(bomb, 100); !errors.As(err, &tooDeep) {
		t.Errorf("100,000 open arrays: %v", err)
	}
}

// Every byte of the vocabulary at every position of a window must be noticed by the eight-at-a-time scan.
func TestCheckJSONStringPositions(t *testing.T) {
	for pos := range 24 {
		for c := range 256 {
			text := []byte(`"` + strings.Repeat("x", 24) + `"`)
			text[1+pos] = byte(c)
			if got, want := checkJSON(text, 1) == nil, json.Valid(text); got != want {
				t.Fatalf("byte %#x at %d: checkJSON says %v, encoding/json says %v", c, pos, got, want)
			}
		}
	}
}

// FuzzCheckJSON states that checkJSON and encoding/json accept the same texts, and that a depth limit
// only ever turns "accepted" into "too deep".
func FuzzCheckJSON(f *testing.F) {
	for _, s := range []string{`{"a":[1,-2.5e3,true,false,null,"x\u00e9\n"]}`, `[[[[]]]]`, `{"a":{"b":{}}}`, `"`, `{`, "\"\x80\xff12345678\"",
		`{"dist":{"integrity":"sha512-AA==","signatures":[{"keyid":"SHA256:x","sig":"MEUC"}]}}`, `1e999`, `-0`, "\ufeff1", `[1,2`} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		err := checkJSON(data, 10000) // encoding/json's own limit
		if valid := json.Valid(data); valid != (err == nil) {
			t.Fatalf("checkJSON = %v, json.Valid = %v", err, valid)
		}
		var tooDeep *depthError
		if shallow := checkJSON(data, 3); (shallow == nil) != (err == nil) && !errors.As(shallow, &tooDeep) {
			t.Fatalf("limit 3 gives %v, limit 10000 gives %v", shallow, err)
		}
	})
}

// sampleDocument is a packument-like text of about the wanted size.
func sampleDocument(size int) []byte {
	var b bytes.Buffer
	b.WriteString(`{"name":"left","versions":{`)
	for i := 0; b.Len() < size; i++ {
		if i > 0 {
			b.WriteByte(',')
		}
		fmt.Fprintf(&b, `"1.0.%d":{"name":"left","version":"1.0.%d","dependencies":{"a":"^1.2.3","@b/c":"~4.5.6","d":"*"},`+
			`"scripts":{"test":"node --test","build":"tsc -p ."},"engines":{"node":">=18"},"dist":{"integrity":`+
			`"sha512-z4PhNX7vuL3xVChQ1m2AB9Yg5AULVxXcg/SpIdNs6c5H0NE8XYXysP+DGNKHfuwvY7kxvUdBeoGlODJ6+SfaPg==",`+
			`"shasum":"da39a3ee5e6b4b0d3255bfef95601890afd80709","fileCount":%d,"unpackedSize":34567,"signatures":[{"keyid":`+
			`"SHA256:DhQ8wR5APBvFHLF/+Tc+AYvPOdTpcIDqOhxsBHRwC7U","sig":"MEUCIQDabc"}]}}`, i, i, i)
	}
	b.WriteString("}}")
	return b.Bytes()
}

func BenchmarkCheckJSON(b *testing.B) {
	data := sampleDocument(1 << 20)
	b.SetBytes(int64(len(data)))
	b.ReportAllocs()
	for b.Loop() {
		if err := checkJSON(data, 100); err != nil {
			b.Fatal(err)
		}
	}
}

// Nothing real comes near the depth limit.
func TestCheckJSONCorpus(t *testing.T) {
	root := os.Getenv("ASSAY_CORPUS")
	if root == "" {
		root = "../../../shared/corpus"
	}
	if _, err := os.Stat(root); err != nil {
		t.Skip("no corpus of real data: set ASSAY_CORPUS")
	}
	files := 0
	err := filepath.WalkDir(root, func(path string, d os.DirEntry, err error) error {
		if err != nil || d.IsDir() || filepath.Ext(path) != ".json" {
			return err
		}
		data, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		files++
		got := checkJSON(data, 100)
		if (got == nil) != json.Valid(data) {
			t.Errorf("%s: checkJSON says %v, encoding/json disagrees", path, got)
		}
		return nil
	})
	if err != nil || files == 0 {
		t.Errorf("read %d files: %v", files, err)
	}
}

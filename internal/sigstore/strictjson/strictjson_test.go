package strictjson

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"errors"
	"strings"
	"testing"
	"unicode/utf8"
)

func TestSkip(t *testing.T) {
	tests := []struct {
		in      string
		wantErr string // substring; empty means success
	}{
		{in: `null`}, {in: `true`}, {in: `false`}, {in: `""`}, {in: ` [ ] `}, {in: "\t{\r\n}"}, {in: `0`}, {in: `-0.5e+10`}, {in: `1E3`},
		{in: `{"a":[1,2,{"b":null}],"c":"d"}`}, {in: `"\"\\\/\b\f\n\r\té\ud83d\ude00"`}, {in: `"é😀"`},
		{in: ``, wantErr: "expected a value"}, {in: `nul`, wantErr: "expected null"}, {in: `True`, wantErr: "expected a value"},
		{in: `01`, wantErr: "more follows"}, {in: `-`, wantErr: "expected digits"}, {in: `1.`, wantErr: "after '.'"}, {in: `1e`, wantErr: "in the exponent"},
		{in: `.5`, wantErr: "expected a value"}, {in: `+1`, wantErr: "expected a value"}, {in: `[1,]`, wantErr: "expected a value"},
		{in: `[1 2]`, wantErr: "',' or ']'"}, {in: `[`, wantErr: "expected a value"}, {in: `{"a":1,}`, wantErr: "expected a string"},
		{in: `{"a" 1}`, wantErr: "':'"}, {in: `{"a":1 "b":2}`, wantErr: "',' or '}'"}, {in: `{a:1}`, wantErr: "expected a string"},
		{in: `{"a":1,"a":2}`, wantErr: `name "a" occurs twice`}, {in: `{"a":1,"\u0061":2}`, wantErr: `name "a" occurs twice`},
		{in: `{"a":{"a":1},"b":{"a":1}}`}, {in: `[{"x":{"y":1,"y":2}}]`, wantErr: "occurs twice"},
		{in: "\"\xff\"", wantErr: "UTF-8"}, {in: "\"\\n\xff\"", wantErr: "UTF-8"}, {in: "\"a\nb\"", wantErr: "control"}, {in: "\"\\na\tb\"", wantErr: "control"},
		{in: `"\x"`, wantErr: "escape"}, {in: `"\u12g4"`, wantErr: "four hex"}, {in: `"\ud800"`, wantErr: "surrogate"}, {in: `"\ud800A"`, wantErr: "surrogate"},
		{in: `"\udc00\ud800"`, wantErr: "surrogate"}, {in: `"abc`, wantErr: "without end"}, {in: `"abc\`, wantErr: "without end"}, {in: `"\n`, wantErr: "without end"},
		{in: `1 2`, wantErr: "more follows"}, {in: "\ufeff1", wantErr: "expected a value"},
		{in: strings.Repeat("[", MaxDepth) + strings.Repeat("]", MaxDepth)},
		{in: strings.Repeat("[", MaxDepth+1) + strings.Repeat("]", MaxDepth+1), wantErr: "too deep"},
		{in: strings.Repeat(`{"a":`, MaxDepth+1), wantErr: "too deep"},
		{in: manyNames(100, false)}, {in: manyNames(100, true), wantErr: "occurs twice"},
	}
	for _, tt := range tests {
		s := New([]byte(tt.in))
		err := s.Skip()
		if err == nil {
			err = s.End()
		}
		if (err == nil) != (tt.wantErr == "") || err != nil && !strings.Contains(err.Error(), tt.wantErr) {
			t.Errorf("%.60q: error is %v, want %q", tt.in, err, tt.wantErr)
		}
	}
}

// manyNames returns an object of n names and, if asked, the last of them once more.
func manyNames(n int, twice bool) string {
	var b strings.Builder
	for i := range n {
		b.WriteString(",\"" + strings.Repeat("x", i) + "\":" + "0")
	}
	if twice {
		b.WriteString(",\"" + strings.Repeat("x", n-1) + "\":0")
	}
	return "{" + b.String()[1:] + "}"
}

func TestInt64(t *testing.T) {
	tests := []struct {
		in   string
		want int64
		ok   bool
	}{
		{`0`, 0, true}, {`"0"`, 0, true}, {`-1`, -1, true}, {`"-1"`, -1, true}, {`9223372036854775807`, 1<<63 - 1, true},
		{`"-9223372036854775808"`, -1 << 63, true}, {`9223372036854775808`, 0, false}, {`"-9223372036854775809"`, 0, false},
		{`18446744073709551616`, 0, false}, {`00`, 0, false}, {`"01"`, 0, false}, {`1.0`, 0, false}, {`1e3`, 0, false}, {`"1.0"`, 0, false},
		{`""`, 0, false}, {`" 1"`, 0, false}, {`"1 "`, 0, false}, {`"+1"`, 0, false}, {`-`, 0, false}, {`"1`, 0, false}, {`null`, 0, false}, {``, 0, false},
	}
	for _, tt := range tests {
		got, err := New([]byte(tt.in)).Int64()
		if got != tt.want || (err == nil) != tt.ok {
			t.Errorf("%s: got %d, %v", tt.in, got, err)
		}
	}
}

func TestBase64(t *testing.T) {
	tests := []struct {
		in         string
		want       string
		ok, strict bool
	}{
		{`""`, "", true, true}, {`"AAEC"`, "\x00\x01\x02", true, true}, {`"AA=="`, "\x00", true, true}, {`"\u0041A=="`, "\x00", true, true},
		{`"+\/8="`, "\xfb\xff", true, true}, {`"-_8="`, "\xfb\xff", true, false}, {`"AA"`, "\x00", true, false}, {`"AB=="`, "\x00", true, false},
		{`"AA\nEC"`, "\x00\x01\x02", true, false}, {`"AAEC="`, "\x00\x01\x02", true, false}, {`"A"`, "", false, false}, {`"AA=A"`, "", false, false},
		{`"AA EC"`, "", false, false}, {"\"AA\nEC\"", "", false, false}, {`"AAEC`, "", false, false}, {`1`, "", false, false}, {`"AA` + "\xff" + `E"`, "", false, false},
	}
	for _, tt := range tests {
		got, strict, err := New([]byte(tt.in)).LooseBase64()
		if string(got) != tt.want || strict != tt.strict || (err == nil) != tt.ok {
			t.Errorf("%q loosely: got %q, strict %v, %v", tt.in, got, strict, err)
		}
		got, err = New([]byte(tt.in)).Base64()
		if (err == nil) != tt.strict || err == nil && (string(got) != tt.want || got == nil) {
			t.Errorf("%q strictly: got %q, %v", tt.in, got, err)
		}
		var form *Base64Error
		if tt.ok && !tt.strict && !errors.As(err, &form) {
			t.Errorf("%q: error is %T", tt.in, err)
		}
	}
}

func TestRawAndNull(t *testing.T) {
	s := New([]byte(` {"a": null , "b": {"c" : [1, 2]} , "d": "x\u0041" } `))
	var raw []byte
	var text string
	nulls := 0
	err := s.Object(func(name []byte) (err error) {
		if s.Null() {
			nulls++
			return nil
		}
		switch string(name) {
		case "b":
			raw, err = s.Raw()
		case "d":
			text, err = s.String()
		}
		return err
	})
	if err != nil || s.End() != nil || nulls != 1 || string(raw) != `{"c" : [1, 2]}` || text != "xA" {
		t.Errorf("got %q, %q, %d nulls, %v", raw, text, nulls, err)
	}
}

// FuzzSkip compares with encoding/json: whatever passes here is valid there, and what is valid there but fails here is
// stricter on purpose.
func FuzzSkip(f *testing.F) {
	for _, s := range []string{`{"a":[1,-2.5e3,"x\n\u00e9\ud83d\ude00",null,true,false,{}]}`, `"é"`, `[[[]]]`, `{"a":1,"a":2}`, `"\ud800"`, "\"\xff\"", ` 1 `} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		s := New(data)
		raw, err := s.Raw()
		if err == nil {
			err = s.End()
		}
		if err == nil {
			if !json.Valid(data) || !utf8.Valid(data) {
				t.Fatalf("%q passes", data)
			}
			if !bytes.Equal(raw, bytes.Trim(data, " \t\r\n")) {
				t.Fatalf("raw value of %q is %q", data, raw)
			}
			if s.Kind() == 0 && len(raw) > 0 && raw[0] == '"' {
				var want string
				got, err := New(data).String()
				if json.Unmarshal(data, &want) != nil || err != nil || got != want {
					t.Fatalf("string %q is %q, want %q", data, got, want)
				}
			}
			return
		}
		var duplicate *DuplicateError
		var syntax *SyntaxError
		if !errors.As(err, &duplicate) && !errors.As(err, &syntax) {
			t.Fatalf("error is %T", err)
		}
		if json.Valid(data) && utf8.Valid(data) && syntax != nil && syntax.What != "nested too deep" && syntax.What != "surrogate without its pair" {
			t.Fatalf("%q is valid, but: %v", data, err)
		}
	})
}

// FuzzBase64 compares with encoding/base64.
func FuzzBase64(f *testing.F) {
	for _, s := range []string{"AAEC", "AA==", "AB==", "-_8=", "AA\nEC", "A"} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, text []byte) {
		got, ok := DecodeBase64(text)
		if want, err := base64.StdEncoding.DecodeString(string(text)); ok != (err == nil && base64.StdEncoding.EncodeToString(want) == string(text)) || ok && !bytes.Equal(got, want) {
			t.Fatalf("%q: got %q, %v; want %q, %v", text, got, ok, want, err)
		}
	})
}

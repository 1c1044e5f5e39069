package report

import (
	"bytes"
	"errors"
	"fmt"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"
	"github.com/google/go-cmp/cmp"
	"github.com/santhosh-tekuri/jsonschema/v6"

	"assay/internal/policy"
	"assay/internal/verify"
)

// reports are the reports that every form is tried on.
func reports() map[string]*Report {
	return map[string]*Report{
		"mixed": mixed(), "clean": clean(), "attested": allAttested(), "outage": outage(), "ruled": ruled(), "hostile": hostile(), "empty": New(),
		"filled": filled(),
	}
}

// filled is a report in which no field has its zero value, so that a forgotten one shows.
func filled() *Report {
	r := New()
	n := 0
	fill(reflect.ValueOf(r).Elem(), &n)
	r.Schema = Schema
	return r
}

// fillers give fields with a fixed set of values one of them.
var fillers = map[string]string{
	"Bound": "disk", "Verdict": "unsigned", "Decision": "warn", "Status": "skip", "Level": "note", "Source": "link", "Code": "EATTESTATIONVERIFY",
}

func TestWriteJSONSameAsStructs(t *testing.T) {
	for name, r := range reports() {
		if name == "hostile" {
			continue // there the characters are escaped otherwise: see TestWriteJSONHostile
		}
		var got, want bytes.Buffer
		if err := WriteJSON(&got, r); err != nil {
			t.Fatal(err)
		}
		if err := json.MarshalWrite(&want, r, jsontext.WithIndent("  ")); err != nil {
			t.Fatal(err)
		}
		want.WriteByte('\n')
		if diff := cmp.Diff(want.String(), got.String()); diff != "" {
			t.Errorf("%s: WriteJSON differs from the structs (-structs +WriteJSON):\n%s", name, diff)
		}
	}
}

func TestWriteJSONHostile(t *testing.T) {
	r := hostile()
	var b, again bytes.Buffer
	if err := WriteJSON(&b, r); err != nil {
		t.Fatal(err)
	}
	if err := WriteJSON(&again, r); err != nil || !bytes.Equal(b.Bytes(), again.Bytes()) {
		t.Errorf("writing the same report again gives other bytes (%v)", err)
	}
	if !utf8.Valid(b.Bytes()) {
		t.Error("the report is not UTF-8")
	}
	for i, c := range b.String() {
		if c != '\n' && hidden(c, false) {
			t.Fatalf("%U stands in the report as it is, after %q", c, b.String()[max(0, i-60):i])
		}
	}
	if v := jsontext.Value(bytes.TrimSpace(b.Bytes())); !v.IsValid() {
		t.Error("the report is not strict JSON")
	}
	var got, want any
	reference, err := json.Marshal(r, jsontext.AllowInvalidUTF8(true))
	if err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(reference, &want); err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(b.Bytes(), &got); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("the report reads back as something else (-want +got):\n%s", diff)
	}
}

func TestWriteJSONRaw(t *testing.T) {
	tests := []struct{ in, want string }{
		{`{"b":1,"a":[true,null,"x"]}`, `{"b":1,"a":[true,null,"x"]}`},
		{"{\"a\":\"\u202e\x7f\"}", `{"a":"\u202e\u007f"}`},
		{`{"a":"\u001b[31m"}`, `{"a":"\u001b[31m"}`},
		{`{"a":1,"a":2}`, `null`},
		{"{\"a\":\"\xff\"}", `null`},
		{`{"a":1`, `null`},
		{`{"a":1} {}`, `null`},
		{``, `null`},
		{`"` + strings.Repeat("é", 10) + `"`, `"éééééééééé"`},
	}
	for _, tt := range tests {
		r := New()
		before := jsontext.Value(tt.in)
		r.Verified = &[]Verified{{Name: "a", Attestations: before, AttestationBundles: before}}
		var b bytes.Buffer
		if err := WriteJSON(&b, r); err != nil {
			t.Fatal(err)
		}
		if string(before) != tt.in {
			t.Errorf("WriteJSON changed the report's own bytes %q to %q", tt.in, before)
		}
		var v jsontext.Value = bytes.TrimSpace(b.Bytes())
		if err := v.Compact(jsontext.PreserveRawStrings(true)); err != nil {
			t.Fatal(err)
		}
		if want := `"attestationBundles":` + tt.want + `}`; !strings.Contains(string(v), want) {
			t.Errorf("%q: got %s, want it to contain %s", tt.in, v, want)
		}
	}
}

// A broken pipe ends the writing; a row told twice must not hide it.
func TestWriteJSONError(t *testing.T) {
	broken := errors.New("broken pipe")
	for _, after := range []int{0, 100_000} {
		if err := WriteJSON(&brokenWriter{after, broken}, bigReport(300)); !errors.Is(err, broken) {
			t.Errorf("after %d bytes: got %v, want %v", after, err, broken)
		}
	}
}

type brokenWriter struct {
	left int
	err  error
}

func (w *brokenWriter) Write(b []byte) (int, error) {
	if w.left -= len(b); w.left < 0 {
		return 0, w.err
	}
	return len(b), nil
}

// Rows that are all different must neither be mixed up nor pile up.
func TestWriteJSONManyRows(t *testing.T) {
	r := New()
	for i := range 2 * maxRows {
		r.Packages = append(r.Packages, Package{Checks: []verify.Result{{ID: "subject", Actual: fmt.Sprint(i)}, {ID: "subject", Actual: fmt.Sprint(i % 2)}}})
	}
	var b bytes.Buffer
	if err := WriteJSON(&b, r); err != nil {
		t.Fatal(err)
	}
	var got Report
	if err := json.Unmarshal(b.Bytes(), &got); err != nil {
		t.Fatal(err)
	}
	for i, p := range got.Packages {
		if p.Checks[0].Actual != fmt.Sprint(i) || p.Checks[1].Actual != fmt.Sprint(i%2) {
			t.Fatalf("package %d has the rows %v", i, p.Checks)
		}
	}
}

func compileSchema(t *testing.T) *jsonschema.Schema {
	t.Helper()
	doc, err := jsonschema.UnmarshalJSON(bytes.NewReader(SchemaJSON()))
	if err != nil {
		t.Fatal(err)
	}
	c := jsonschema.NewCompiler()
	c.DefaultDraft(jsonschema.Draft2020)
	c.AssertFormat()
	if err := c.AddResource("urn:assay:report:v1", doc); err != nil {
		t.Fatal(err)
	}
	s, err := c.Compile("urn:assay:report:v1")
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func TestSchemaAcceptsReports(t *testing.T) {
	schema := compileSchema(t)
	for name, r := range reports() {
		var b bytes.Buffer
		if err := WriteJSON(&b, r); err != nil {
			t.Fatal(err)
		}
		v, err := jsonschema.UnmarshalJSON(&b)
		if err != nil {
			t.Fatal(err)
		}
		if err := schema.Validate(v); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestSchemaRefuses(t *testing.T) {
	schema := compileSchema(t)
	var b bytes.Buffer
	if err := WriteJSON(&b, mixed()); err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct{ old, new string }{
		{`"schema": "assay/report/v1"`, `"schema": "assay/report/v2"`},
		{`"verdict": "provenance"`, `"verdict": "safe"`},
		{`"decision": "deny"`, `"decision": "block"`},
		{`"status": "fail"`, `"status": "failed"`},
		{`"bound": "lockfile"`, `"bound": ""`},
		{`"others": [`, `"other": [`},
		{`"publisher": null`, `"publisher": {}`},
		{`"signed_at": "2023-08-17T20:34:51Z"`, `"signed_at": "yesterday"`},
		{`"checks": [`, `"checks": null, "x": [`},
	} {
		changed := strings.Replace(b.String(), tt.old, tt.new, 1)
		if changed == b.String() {
			t.Fatalf("the report does not hold %s", tt.old)
		}
		v, err := jsonschema.UnmarshalJSON(strings.NewReader(changed))
		if err != nil {
			t.Fatal(err)
		}
		if schema.Validate(v) == nil {
			t.Errorf("the schema accepts %s", tt.new)
		}
	}
}

// The schema and the structs name the same members, and those that may be absent.
func TestSchemaDescribesStructs(t *testing.T) {
	type object struct {
		Required   []string                  `json:"required"`
		Properties map[string]jsontext.Value `json:"properties"`
	}
	var schema struct {
		object `json:",inline"`
		Defs   map[string]object `json:"$defs"`
	}
	if err := json.Unmarshal(SchemaJSON(), &schema); err != nil {
		t.Fatal(err)
	}
	compare := func(name string, o object, of reflect.Type) {
		t.Helper()
		var want, wantRequired []string
		for i := range of.NumField() {
			tag, options, _ := strings.Cut(of.Field(i).Tag.Get("json"), ",")
			if tag == "-" {
				continue
			}
			want = append(want, tag)
			if options != "omitempty" {
				wantRequired = append(wantRequired, tag)
			}
		}
		var got []string
		for p := range o.Properties {
			got = append(got, p)
		}
		slices.Sort(got)
		slices.Sort(want)
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("members of %s (-struct +schema):\n%s", name, diff)
		}
		if diff := cmp.Diff(wantRequired, o.Required); diff != "" {
			t.Errorf("required members of %s (-struct +schema):\n%s", name, diff)
		}
	}
	compare("report", schema.object, reflect.TypeFor[Report]())
	defs := map[string]reflect.Type{
		"summary": reflect.TypeFor[Summary](), "trust": reflect.TypeFor[Trust](), "note": reflect.TypeFor[Note](),
		"package": reflect.TypeFor[Package](), "other": reflect.TypeFor[Other](), "check": reflect.TypeFor[verify.Result](),
		"finding": reflect.TypeFor[policy.Finding](), "publisher": reflect.TypeOf(Package{}.Publisher).Elem(),
		"npmInvalid": reflect.TypeFor[Invalid](), "npmMissing": reflect.TypeFor[Missing](), "npmVerified": reflect.TypeFor[Verified](),
	}
	for name, of := range defs {
		compare(name, schema.Defs[name], of)
	}
	if len(schema.Defs) != len(defs) {
		t.Errorf("the schema has %d definitions, want %d", len(schema.Defs), len(defs))
	}
	for _, id := range verify.IDs() {
		if !bytes.Contains(SchemaJSON(), []byte(id)) {
			t.Errorf("the schema does not name the check %s", id)
		}
	}
}

// fill sets every field below v to a value that is its own and not zero.
func fill(v reflect.Value, n *int) {
	*n++
	switch v.Kind() {
	case reflect.Pointer:
		v.Set(reflect.New(v.Type().Elem()))
		fill(v.Elem(), n)
	case reflect.Struct:
		if v.Type() == reflect.TypeFor[time.Time]() {
			v.Set(reflect.ValueOf(time.Date(2024, 1, 2, 3, 4, 5, 678, time.UTC)))
			return
		}
		for i := range v.NumField() {
			f := v.Type().Field(i)
			if f.Tag.Get("json") == "-" {
				continue
			}
			if s, ok := fillers[f.Name]; ok && f.Type.Kind() == reflect.String {
				v.Field(i).SetString(s)
				continue
			}
			fill(v.Field(i), n)
		}
	case reflect.Slice:
		if v.Type() == reflect.TypeFor[jsontext.Value]() {
			v.SetBytes(fmt.Appendf(nil, `{"n":%d,"list":[{},[],"é"]}`, *n))
			return
		}
		v.Set(reflect.MakeSlice(v.Type(), 2, 2))
		fill(v.Index(0), n)
		fill(v.Index(1), n)
	case reflect.String:
		v.SetString(fmt.Sprintf("text %d \"\\ é", *n))
	case reflect.Int, reflect.Int64:
		v.SetInt(int64(*n))
	case reflect.Bool:
		v.SetBool(true)
	default:
		panic("a report holds a " + v.Kind().String())
	}
}

package audit

import (
	"runtime"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"assay/internal/npm"
	"assay/internal/policy"
	"assay/internal/report"
	"assay/internal/verify"
)

func TestRequestRoundTrip(t *testing.T) {
	targets := []Target{{
		Package:   verify.Package{ID: npm.ID{Name: "left", Version: "1.0.0"}, Registry: "https://registry.example.com", Lockfile: true, Integrity: "sha512-AA==", Resolved: "u"},
		Locations: []string{"node_modules/left"}, File: "package-lock.json", Line: 3, Path: []string{"app", "left"}, Direct: true, Dev: true, Oddity: "odd",
	}}
	others := []report.Other{{Name: "forked", Source: "git", Locations: []string{"x"}, Decision: "warn", Findings: []policy.Finding{{Rule: "source", Level: policy.Warn}}}}
	notes := []report.Note{{Code: "npmrc", Message: "m"}}
	q := NewRequest(targets, others, notes, nil, "version: 1")
	data, err := q.Encode()
	if err != nil {
		t.Fatal(err)
	}
	got, err := DecodeRequest(data)
	if err != nil {
		t.Fatal(err)
	}
	if again, err := got.Encode(); err != nil || string(again) != string(data) {
		t.Errorf("another request: %v\n%s\n%s", err, data, again)
	}
	listed := got.Listed()
	if diff := cmp.Diff(targets[0].Package, listed[0].Package); diff != "" || listed[0].Line != 3 || listed[0].Oddity != "odd" || !listed[0].Dev {
		t.Errorf("%+v\n%s", listed, diff)
	}
	if got.Others[0].Findings[0].Rule != "source" || got.Notes[0].Code != "npmrc" || got.Policy != "version: 1" {
		t.Errorf("%+v", got)
	}
}

// A hostile request takes no more memory than its text is worth.
func TestHostileRequest(t *testing.T) {
	for name, text := range map[string]string{
		"not JSON":            "{",
		"another schema":      `{"schema":"assay/request/v9"}`,
		"unknown member":      `{"schema":"assay/request/v1","more":1}`,
		"no name":             `{"schema":"assay/request/v1","targets":[{"version":"1.0.0"}]}`,
		"a path for a name":   `{"schema":"assay/request/v1","targets":[{"name":"../../x","version":"1.0.0"}]}`,
		"no version":          `{"schema":"assay/request/v1","targets":[{"name":"x","version":"latest"}]}`,
		"targets without end": `{"schema":"assay/request/v1","targets":[` + strings.Repeat("{},", 3_000_000) + `{}]}`,
		"others without end":  `{"schema":"assay/request/v1","others":[` + strings.Repeat("{},", 3_000_000) + `{}]}`,
		"notes without end":   `{"schema":"assay/request/v1","notes":[` + strings.Repeat("{},", 3_000_000) + `{}]}`,
		"too many notes":      `{"schema":"assay/request/v1","notes":[` + strings.Repeat(`{"code":"x"},`, maxArchiveNotes) + `{"code":"x"}]}`,
	} {
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		if _, err := DecodeRequest([]byte(text)); err == nil {
			t.Errorf("%s: it is read", name)
		}
		runtime.ReadMemStats(&after)
		if grown := after.TotalAlloc - before.TotalAlloc; grown > 64<<20 {
			t.Errorf("%s: %d MiB were taken", name, grown>>20)
		}
	}
}

func FuzzRequest(f *testing.F) {
	f.Add([]byte(`{"schema":"assay/request/v1","targets":[{"name":"x","version":"1.0.0"}],"others":[{"source":"git"}],"notes":[{"code":"x"}]}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		q, err := DecodeRequest(data)
		if err != nil {
			return
		}
		q.Listed()
		if _, err := q.Encode(); err != nil {
			t.Error(err)
		}
	})
}

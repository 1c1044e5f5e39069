package doctor

import (
	"bufio"
	"bytes"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/fstest"
)

func corpus(t testing.TB) string {
	t.Helper()
	dir := os.Getenv("ASSAY_CORPUS")
	if dir == "" {
		dir = "../../../shared/corpus"
	}
	if _, err := os.Stat(filepath.Join(dir, "cases.jsonl")); err != nil {
		t.Skipf("the corpus is not here: %v (set ASSAY_CORPUS)", err)
	}
	return dir
}

// TestCorpus judges every real workflow of the corpus by itself, as its repository has it.
func TestCorpus(t *testing.T) {
	dir := corpus(t)
	cases, err := os.ReadFile(filepath.Join(dir, "cases.jsonl"))
	if err != nil {
		t.Fatal(err)
	}
	seen := 0
	lines := bufio.NewScanner(bytes.NewReader(cases))
	lines.Buffer(nil, 4<<20)
	for lines.Scan() {
		var tt struct{ ID, Kind, File, Expect, Source string }
		if err := json.Unmarshal(lines.Bytes(), &tt); err != nil {
			t.Fatal(err)
		}
		if tt.Kind != "workflow" {
			continue
		}
		seen++
		t.Run(tt.ID, func(t *testing.T) {
			data, err := os.ReadFile(filepath.Join(dir, tt.File))
			if err != nil {
				t.Fatal(err)
			}
			_, name, _ := strings.Cut(tt.Source, ":")
			r, err := Check(fstest.MapFS{name: {Data: data}}, Options{})
			if err != nil {
				t.Fatal(err)
			}
			want := map[string]Level{"fail": Error, "warn": Warn, "pass": Info}[tt.Expect]
			if got := r.Worst(); got != want && !(want == Info && got == "") {
				t.Errorf("worst finding is %q, want %q", got, want)
			}
			if testing.Verbose() {
				for _, p := range r.Publishes {
					t.Logf("PUBLISH %d %s %s -> %s via=%s guessed=%v", p.Line, p.Job, p.Tool, p.Registry, p.Via, p.Guessed)
				}
				for _, f := range r.Findings {
					t.Logf("%s %s:%d [%s] %s", f.Level, f.Rule, f.Line, f.Job, f.Message)
				}
			}
		})
	}
	if seen == 0 {
		t.Fatal("the corpus has no workflow")
	}
}

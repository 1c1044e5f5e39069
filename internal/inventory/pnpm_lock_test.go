package inventory

import (
	"bufio"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// Real lockfiles give the packages that an independent count gives.
func TestPnpmCorpus(t *testing.T) {
	dir := corpusDir(t)
	f, err := os.Open(filepath.Join(dir, "cases.jsonl"))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	seen := 0
	sc := bufio.NewScanner(f)
	sc.Buffer(nil, 1<<20)
	for sc.Scan() {
		var c corpusCase
		if json.Unmarshal(sc.Bytes(), &c) != nil || !strings.HasPrefix(c.Format, "pnpm") {
			continue
		}
		seen++
		t.Run(c.ID, func(t *testing.T) {
			p, err := Open(filepath.Join(dir, c.File), Options{})
			if err != nil {
				t.Fatal(err)
			}
			packages := make(map[string]bool)
			for _, q := range p.Packages {
				packages[q.Name+"@"+q.Version] = true
				if q.Integrity == "" || q.Extraneous || q.Oddity != "" {
					t.Errorf("%+v", q)
				}
				for _, l := range q.Locations {
					if l.Line <= 1 || l.File != pnpmLockfile {
						t.Errorf("%s@%s: %+v", q.Name, q.Version, l)
					}
				}
			}
			if len(packages) != c.ExpectedPackages {
				t.Errorf("%d packages, want %d", len(packages), c.ExpectedPackages)
			}
			for _, o := range p.Others {
				if o.Missing || o.Extraneous || o.Oddity != "" {
					t.Errorf("%+v", o)
				}
			}
			for _, w := range p.Warnings {
				if w.Code != "patched" && w.Code != "pnpmfile" {
					t.Errorf("%+v", w)
				}
			}
		})
	}
	if seen < 8 {
		t.Errorf("only %d lockfiles", seen)
	}
}

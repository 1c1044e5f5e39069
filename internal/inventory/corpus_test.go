package inventory

import (
	"bufio"
	"encoding/json"
	"os"
	"path/filepath"
	"slices"
	"testing"
)

// A corpusCase is one line of the corpus that describes a lockfile.
type corpusCase struct {
	ID, Kind, File, Format         string
	ExpectedPackages, OtherEntries int
}

// corpusDir returns the folder of real lockfiles, or skips the test.
func corpusDir(t testing.TB) string {
	dir := os.Getenv("ASSAY_CORPUS")
	if dir == "" {
		dir = filepath.Join("..", "..", "..", "shared", "corpus")
	}
	if _, err := os.Stat(filepath.Join(dir, "cases.jsonl")); err != nil {
		t.Skip("the corpus of real lockfiles is absent; set ASSAY_CORPUS to its folder")
	}
	return dir
}

// npmFormats are the corpus's words for npm's lockfiles.
var npmFormats = []string{"npm1", "npm2", "npm3", "shrink1", "shrink2", "shrink3"}

// corpusLockfiles returns the npm lockfiles of the corpus.
func corpusLockfiles(t testing.TB) (string, []corpusCase) { return corpusFormats(t, npmFormats...) }

// corpusFormats returns the lockfiles of the corpus that have one of the formats.
func corpusFormats(t testing.TB, formats ...string) (string, []corpusCase) {
	dir := corpusDir(t)
	f, err := os.Open(filepath.Join(dir, "cases.jsonl"))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	var cases []corpusCase
	sc := bufio.NewScanner(f)
	sc.Buffer(nil, 1<<20)
	for sc.Scan() {
		var c corpusCase
		if err := json.Unmarshal(sc.Bytes(), &c); err != nil {
			continue // another kind, whose fields have other types
		}
		if c.Kind == "lockfile" && slices.Contains(formats, c.Format) {
			cases = append(cases, c)
		}
	}
	if err := sc.Err(); err != nil {
		t.Fatal(err)
	}
	if len(cases) == 0 {
		t.Fatalf("the corpus lists no lockfiles of formats %q", formats)
	}
	return dir, cases
}

func TestCorpusCounts(t *testing.T) {
	dir, cases := corpusFormats(t, slices.Concat(npmFormats, []string{"yarn1", "berry", "bun"})...)
	for _, c := range cases {
		t.Run(c.ID, func(t *testing.T) {
			p, err := Open(filepath.Join(dir, c.File), Options{})
			if err != nil {
				t.Fatal(err)
			}
			packages := make(map[string]bool)
			for _, pkg := range p.Packages {
				packages[pkg.Name+"@"+pkg.Version] = true
				for _, l := range pkg.Locations {
					if l.Line <= 1 || l.File == "" {
						t.Errorf("%s@%s has no line: %+v", pkg.Name, pkg.Version, l)
					}
				}
			}
			if len(packages) != c.ExpectedPackages {
				t.Errorf("%d packages, want %d", len(packages), c.ExpectedPackages)
			}
			// The corpus counts bundled versions that are not in the lockfile as packages too.
			bundled := make(map[string]bool)
			for _, o := range p.Others {
				if id := o.Name + "@" + o.Version; o.Source == SourceBundled && !packages[id] {
					bundled[id] = true
				}
			}
			if len(bundled) != c.OtherEntries {
				t.Errorf("%d bundled, want %d", len(bundled), c.OtherEntries)
			}
			for _, w := range p.Warnings {
				if w.Suspicious {
					t.Errorf("suspicious in a real lockfile: %+v", w)
				}
			}
		})
	}
}

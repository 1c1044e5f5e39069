package inventory

import (
	"path/filepath"
	"testing"
)

// The corpus counts what comes from a repository among the other entries, and of SPDX documents the project itself.
func TestCorpusSBOMs(t *testing.T) {
	dir, cases := corpusFormats(t, "cdx", "spdx")
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
					if l.Line <= 1 || l.Path == "" || l.File == "" {
						t.Errorf("%s@%s has no line: %+v", pkg.Name, pkg.Version, l)
					}
				}
			}
			if len(packages) != c.ExpectedPackages {
				t.Errorf("%d packages, want %d", len(packages), c.ExpectedPackages)
			}
			others := len(p.Others)
			if c.Format == "spdx" {
				others++
			}
			if others != c.OtherEntries {
				t.Errorf("%d others, want %d", others, c.OtherEntries)
			}
			for _, w := range p.Warnings {
				t.Errorf("warning about a real document: %+v", w)
			}
			if len(p.Document) == 0 {
				t.Error("the document was not kept")
			}
			checkComplete(t, p, nil)
		})
	}
}

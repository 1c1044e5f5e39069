package npm_test

import (
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"assay/internal/npm"
)

// TestRealLockfiles reads every package URL, integrity and resolved tarball in the corpus's lockfiles and SBOMs.
func TestRealLockfiles(t *testing.T) {
	corpusFile(t, "INDEX.md")
	root := os.Getenv("ASSAY_CORPUS")
	if root == "" {
		root = "../../../shared/corpus"
	}
	var (
		purl      = regexp.MustCompile(`pkg:npm/[^"\s\\]+`)
		integrity = regexp.MustCompile(`\bsha(?:512|1)-[A-Za-z0-9+/]{27,86}=+`)
		tarball   = regexp.MustCompile(`https://registry\.npmjs\.org/((?:@[^/"\s]+/)?[^/"\s]+)/-/[^/"#\s]+-(\d[^/"#\s]*)\.tgz`)
	)
	purls, integrities, tarballs := make(map[string]bool), make(map[string]bool), 0
	err := filepath.WalkDir(filepath.Join(root, "lockfiles"), func(path string, entry fs.DirEntry, err error) error {
		if err != nil || entry.IsDir() {
			return err
		}
		data, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		text := string(data)
		for _, s := range purl.FindAllString(text, -1) {
			purls[s] = true
		}
		for _, s := range integrity.FindAllString(text, -1) {
			integrities[s] = true
		}
		for _, m := range tarball.FindAllStringSubmatch(text, -1) {
			id := npm.ID{Name: m[1], Version: m[2]}
			if id.Check() != nil {
				continue // a name with dashes and digits, cut in the wrong place
			}
			if want := "https://registry.npmjs.org/" + npm.TarballPath(id); want != m[0] {
				t.Errorf("TarballPath(%s) = %s, the lockfile has %s", id, want, m[0])
			}
			tarballs++
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	plain := 0
	for s := range purls {
		p, err := npm.ParsePURLParts(s)
		if err != nil {
			t.Error(err)
			continue
		}
		if strings.Contains(s, "_url=") != (p.Qualifiers != nil) {
			t.Errorf("ParsePURLParts(%q) loses the qualifiers", s)
		}
		if id, err := npm.ParsePURL(s); err == nil {
			plain++
			if again, err := npm.ParsePURL(id.PURL()); err != nil || again != id {
				t.Errorf("%q became %v, %v", s, again, err)
			}
		}
	}
	for s := range integrities {
		if in, err := npm.ParseIntegrity(s); err != nil || in.String() != s {
			t.Errorf("ParseIntegrity(%q) = %q, %v", s, in, err)
		}
	}
	if plain < 1000 || len(integrities) < 1000 || tarballs < 1000 {
		t.Errorf("only %d package URLs, %d integrities and %d tarballs", plain, len(integrities), tarballs)
	}
}

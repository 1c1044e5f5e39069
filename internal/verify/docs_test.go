package verify

import (
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// TestDocument holds docs/checks.md equal to the checks and to the reasons that they may give.
func TestDocument(t *testing.T) {
	data, err := os.ReadFile(filepath.Join("..", "..", "docs", "checks.md"))
	if err != nil {
		t.Fatal(err)
	}
	text := string(data)

	var headings []string
	for _, m := range regexp.MustCompile("(?m)^## `(.+)`$").FindAllStringSubmatch(text, -1) {
		headings = append(headings, m[1])
	}
	if !slices.Equal(headings, IDs()) {
		t.Errorf("docs/checks.md has the checks\n%v\nand there are\n%v", headings, IDs())
	}

	known := maps.Clone(sentences)
	maps.Copy(known, bundleSentences)
	told := map[string]bool{}
	for _, m := range regexp.MustCompile("(?m)^\\| `([^`]+)` \\| ([^|]*) \\|").FindAllStringSubmatch(text, -1) {
		code, status := m[1], m[2]
		if slices.Contains([]string{"pass", "fail", "error", "skip", "invalid", "unchecked", "provenance", "signed", "unsigned"}, code) {
			continue // statuses and verdicts
		}
		if told[code] {
			t.Errorf("docs/checks.md tells of %q twice", code)
		}
		told[code] = true
		if known[code] == "" {
			t.Errorf("docs/checks.md tells of a reason %q, and there is none", code)
		}
		for _, s := range strings.Split(status, " or ") {
			if !slices.Contains([]Status{Pass, Fail, Error, Skip}, Status(s)) {
				t.Errorf("docs/checks.md gives %q the status %q", code, s)
			}
		}
	}
	for code := range known {
		if !told[code] {
			t.Errorf("docs/checks.md does not tell of the reason %q", code)
		}
	}
	for _, id := range IDs() {
		if holds[id] == "" {
			t.Errorf("no sentence says what it means that %s passes", id)
		}
	}
}

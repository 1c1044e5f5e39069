package policy

import (
	"strconv"
	"strings"
	"testing"
	"time"

	"assay/internal/npm"
	"assay/internal/verify"
)

// TestProposeNewLine: the first version of another release line is not accepted without a question where it is weaker
// than what is pinned of the package's other lines.
func TestProposeNewLine(t *testing.T) {
	ours, theirs := ci("acme/left", "release.yml", "refs/heads/main", "push"), ci("evil/left", "release.yml", "refs/heads/main", "push")
	first, _ := Accept(ours, npm.ID{Name: "left", Version: "1.0.0"})
	old := &Lock{Pins: map[string][]Pin{"left": {{Line: "1", Floor: verify.Provenance, Versions: []string{"1.0.0"}, Publishers: []Pinned{first}}}}}
	id := npm.ID{Name: "left", Version: "2.0.0"}
	for _, tt := range []struct {
		name  string
		found Found
		asks  bool
	}{
		{"the same publisher", Found{ID: id, Verdict: verify.Provenance, Publisher: ours}, false},
		{"another publisher", Found{ID: id, Verdict: verify.Provenance, Publisher: theirs}, true},
		{"no provenance", Found{ID: id, Verdict: verify.Signed, Publisher: nil}, true},
		{"not even a signature", Found{ID: id, Verdict: verify.Unsigned, Publisher: nil}, true},
		{"what is new about it", Found{ID: id, Verdict: verify.Provenance, Publisher: ours, News: News([]Finding{{Rule: "min-age", Level: Deny}})}, true},
		{"a note", Found{ID: id, Verdict: verify.Provenance, Publisher: ours, News: News([]Finding{{Rule: "min-age", Level: Note}})}, false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			for _, used := range [][]Found{{tt.found}, {tt.found, {ID: npm.ID{Name: "left", Version: "1.0.0"}, Verdict: verify.Provenance, Publisher: ours}}} {
				asks := false
				for _, p := range Propose(old, used, nil) {
					asks = asks || p.New != nil && p.Line() == "2" && p.Asks()
				}
				if asks != tt.asks {
					t.Errorf("asks: %v, want %v", asks, tt.asks)
				}
			}
		})
	}
	signed := &Lock{Pins: map[string][]Pin{"left": {{Line: "1", Floor: verify.Signed, Versions: []string{"1.0.0"}}}}}
	if p := Propose(signed, []Found{{ID: id, Verdict: verify.Unsigned}}, nil); !p[0].Asks() && !p[1].Asks() {
		t.Error("from signed to unsigned nobody asks")
	}
}

// TestManyLines: an assay.lock of the size that is read, with as many release lines of one package as fit in, takes no
// longer than its size lets expect.
func TestManyLines(t *testing.T) {
	var b strings.Builder
	b.WriteString("version: 1\npackages:\n  left:\n")
	for i := 0; b.Len() < maxLock-100; i++ {
		b.WriteString("    \"")
		b.WriteString(strconv.Itoa(i + 1))
		b.WriteString("\":\n      floor: signed\n")
	}
	start := time.Now()
	_, err := ParseLock([]byte(b.String()), "assay.lock")
	if took := time.Since(start); took > 10*time.Second {
		t.Errorf("%v (%v)", took, err)
	}
}

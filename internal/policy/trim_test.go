package policy

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"pgregory.net/rapid"

	"assay/internal/npm"
	"assay/internal/publisher"
	"assay/internal/verify"
)

// drawHistory is a history of as many versions as are drawn, and a subject that is one of them.
func drawHistory(t *rapid.T, n int) *Subject {
	publishers := []*publisher.Publisher{
		ci("acme/left", "release.yml", "refs/heads/main", "push"), ci("acme/left", "release.yml", "refs/heads/evil", "push"), ci("evil/left", "release.yml", "refs/heads/main", "push"),
	}
	at := time.Date(2024, 1, 1, 0, 0, 0, 0, time.UTC)
	seen := map[string]bool{}
	h := &History{}
	steps := []time.Duration{time.Minute, 20 * time.Minute, 2 * time.Hour, 24 * time.Hour, 20 * 24 * time.Hour, 400 * 24 * time.Hour}
	random := rapid.IntRange(0, 1<<30)
	h.Versions = append(h.Versions, Version{Version: "9.0.0", Time: at, Verdict: verify.Signed, User: "a"})
	for len(h.Versions) < n {
		r := random.Draw(t, "row")
		pick := func(n int) int { x := r % n; r /= n; return x }
		version := fmt.Sprintf("%d.%d.%d", pick(3), pick(4), len(h.Versions))
		if pick(6) == 0 {
			version += "-rc.1"
		}
		if seen[version] {
			continue
		}
		seen[version] = true
		at = at.Add(steps[pick(len(steps))])
		v := Version{Version: version, Time: at, Verdict: verify.Signed, User: []string{"a", "b", "c", ""}[pick(4)], Trusted: pick(3) == 0,
			Manifest: Manifest{Scripts: map[string]string{}, Dependencies: map[string]string{fmt.Sprint("d", pick(3)): "1"}}}
		switch pick(8) {
		case 0, 1, 2:
			v.Verdict, v.Publisher, v.Announced, v.Logged = verify.Provenance, publishers[pick(3)], true, at
		case 3:
			v.Verdict, v.Announced = "", true
		case 4:
			v = Version{Version: version, Time: at, Removed: true}
		}
		if pick(20) == 0 {
			v.Time, v.Logged = time.Time{}, time.Time{}
		}
		h.Versions = append(h.Versions, v)
	}
	slices.SortStableFunc(h.Versions, func(a, b Version) int { return a.Time.Compare(b.Time) })
	standing := slices.DeleteFunc(slices.Clone(h.Versions), func(v Version) bool { return v.Removed || v.Verdict == "" })
	own := standing[rapid.IntRange(max(0, len(standing)-30), len(standing)-1).Draw(t, "own")]
	s := &Subject{ID: npm.ID{Name: "left", Version: own.Version}, History: h, Now: own.Time.Add(steps[rapid.IntRange(0, 4).Draw(t, "age")]),
		Outcome: &verify.Outcome{Verdict: own.Verdict, Publisher: own.Publisher, Published: own.Logged, Locked: true, Bound: "lockfile"}}
	if rapid.Bool().Draw(t, "pinned") {
		before := standing[rapid.IntRange(0, len(standing)-1).Draw(t, "before")]
		s.Lock = &Lock{File: LockFile, Pins: map[string][]Pin{"left": {pinOf("left", &before)}}}
	}
	return s
}

// TestTrim: what is kept of a long history decides as the whole does.
func TestTrim(t *testing.T) {
	p, err := Parse([]byte(Recommended()), "assay.yaml", nil)
	if err != nil {
		t.Fatal(err)
	}
	rapid.Check(t, func(t *rapid.T) {
		s := drawHistory(t, rapid.IntRange(1, 600).Draw(t, "versions"))
		whole := *s
		whole.History = &History{Versions: slices.Clone(s.History.Versions)}
		s.History = &History{Versions: slices.Clone(s.History.Versions)}
		want, advised := fmt.Sprint(p.Decide(&whole, Filter{})), p.Advised(&whole)
		s.Trim()
		if got := fmt.Sprint(p.Decide(s, Filter{})); got != want {
			t.Fatalf("%s of %d versions, %d kept:\n%s\nwant\n%s", s.ID.Version, len(whole.History.Versions), len(s.History.Versions), got, want)
		}
		if n := len(s.History.Versions); len(whole.History.Versions) > 512 && n >= len(whole.History.Versions) {
			t.Errorf("nothing was let go of %d versions", n)
		}
		// An advisory that comes later takes precedents away, from both alike.
		if len(advised) == 0 {
			return
		}
		bad := rapid.SampledFrom(advised).Draw(t, "bad")
		for _, h := range []*History{whole.History, s.History} {
			for i := range h.Versions {
				if v := &h.Versions[i]; v.Version == bad {
					v.Vulnerable, v.Malicious, v.Advisory = true, true, "malware"
				}
			}
		}
		if a, b := fmt.Sprint(p.Decide(s, Filter{})), fmt.Sprint(p.Decide(&whole, Filter{})); a != b {
			t.Fatalf("after an advisory on %s:\n%s\nwant\n%s", bad, a, b)
		}
	})
}

// TestHistoryNeverHelps: whatever more is known to the subject's disadvantage, no decision becomes lighter; and of what
// is not known nothing is allowed that was not.
func TestHistoryNeverHelps(t *testing.T) {
	p, err := Parse([]byte(Recommended()), "assay.yaml", nil)
	if err != nil {
		t.Fatal(err)
	}
	order := map[Decision]int{"allow": 0, "warn": 1, "error": 2, "deny": 3}
	rapid.Check(t, func(t *rapid.T) {
		s := drawHistory(t, rapid.IntRange(1, 60).Draw(t, "versions"))
		s.Lock = nil // what pins say stands in a table of its own
		before, _ := p.Decide(s, Filter{})
		worse := *s
		out := *s.Outcome
		worse.Outcome = &out
		worse.History = &History{Versions: slices.Clone(s.History.Versions)}
		i := slices.IndexFunc(worse.History.Versions, func(v Version) bool { return v.Version == s.ID.Version })
		own := &worse.History.Versions[i]
		what := rapid.SampledFrom([]string{"provenance lost", "time unknown", "history gone", "new script", "another publisher"}).Draw(t, "what")
		switch what {
		case "provenance lost":
			out.Verdict, out.Publisher, out.Published = verify.Signed, nil, time.Time{}
			own.Verdict, own.Publisher, own.Logged = verify.Signed, nil, time.Time{}
		case "time unknown":
			own.Time, own.Logged, out.Published = time.Time{}, time.Time{}, time.Time{}
		case "history gone":
			worse.History = &History{Problem: "the registry is down"}
		case "new script":
			own.Manifest.Scripts = map[string]string{"preinstall": "node x.js"}
		case "another publisher":
			if out.Publisher == nil {
				return
			}
			out.Publisher = ci("mallory/left", "x.yml", "refs/heads/x", "issue_comment")
			own.Publisher = out.Publisher
		}
		after, findings := p.Decide(&worse, Filter{})
		// Without its history nobody can tell that a version was denied for it. Then it is an error, and no more.
		if order[after] < order[before] && !(what == "history gone" && after == "error") &&
			!(what == "time unknown" && after == "error") && !(what == "history gone" && out.Verdict == verify.Provenance) {
			t.Fatalf("%s: %s becomes %s\n%+v", what, before, after, findings)
		}
	})
}

package cli_test

import (
	"encoding/json"
	"strings"
	"testing"
	"time"

	"assay/internal/cli"
	"assay/internal/lab"
)

// TestPolicyReplay: what a thief did to a package is stopped where it came in, and nothing else is.
func TestPolicyReplay(t *testing.T) {
	w := newWorld(t)
	start := time.Now().Add(-60 * 24 * time.Hour).Truncate(time.Second)
	day := func(n int) time.Time { return start.Add(time.Duration(n) * 24 * time.Hour) }
	ours := lab.GitHub("acme/left")
	left := func(version string, ci lab.CI, at time.Time) *lab.Published {
		return w.publish(lab.Release{Package: lab.Package{Name: "left", Version: version}, CI: ci, At: at})
	}
	good, fix := left("1.0.0", ours, day(0)), left("1.0.1", ours, day(10))
	stolen := left("1.0.2", nil, day(19))
	gone := left("1.0.3", ours, day(25))
	w.policy("default: {signed: note}\ndowngrade: {line: deny}\nmin-age: {attested: 1h, unattested: 48h}\n")
	w.write(".gitignore", []byte("assay.yaml\ntrusted_root.json\n"))
	at := func(when time.Time) { w.now = lab.Fixed(when) }
	at(day(1))
	w.lock(good)
	w.commit("first \x1b[31m::error::x")
	at(day(11))
	w.lock(fix)
	w.commit("upgrade")
	w.write("README", []byte("x"))
	w.commit("no lockfile")
	at(day(20))
	w.lock(stolen)
	w.commit("stolen")
	at(day(26))
	w.lock(gone)
	last := w.commit("taken down since")
	w.Unpublish("left", "1.0.3")
	at(day(50))
	replay := func(args ...string) (*cli.ReplayReport, result) {
		r := w.run(append([]string{"policy", "replay", "--trusted-root", "trusted_root.json"}, args...)...)
		var rep cli.ReplayReport
		if err := json.Unmarshal([]byte(r.stdout), &rep); err != nil {
			t.Fatalf("exit %d: %v\n%s%s", r.code, err, r.stdout, r.stderr)
		}
		return &rep, r
	}
	rep, r := replay("--json")
	if r.code != 0 || rep.Summary != (cli.ReplaySummary{Commits: 4, Stopped: 1, Untold: 1, Passed: 2}) {
		t.Fatalf("exit %d, %+v\n%s", r.code, rep.Summary, r.stdout)
	}
	stop := rep.Commits[1]
	rules := map[string]bool{}
	for _, f := range stop.Packages[0].Findings {
		rules[f.Rule] = true
	}
	if stop.Subject != "stolen" || stop.Brought != 1 || stop.Packages[0].Version != "1.0.2" || !rules["downgrade-line"] || !rules["min-age"] {
		t.Errorf("%+v", stop)
	}
	if first := rep.Commits[3]; first.Decision != "allow" || first.Brought != 1 || strings.Contains(r.stdout, "\x1b") {
		t.Errorf("%+v", first)
	}
	if rep.Commits[0].Commit != last || rep.Commits[0].Decision != "error" {
		t.Errorf("%+v", rep.Commits[0])
	}
	text := w.run("policy", "replay", "--trusted-root", "trusted_root.json")
	for _, want := range []string{"STOPPED  ", "1 new  stolen\n", "left@1.0.2 downgrade-line [assay.yaml:3]: ", "passed   ", "4 changes of the lockfile: 1 would have been stopped, 1 could not be told, 0 warned of, 2 passed"} {
		if !strings.Contains(text.stdout, want) {
			t.Errorf("the table lacks %q:\n%s", want, text.stdout)
		}
	}
	if strings.Contains(text.stdout, "\x1b") {
		t.Errorf("an escape passed through: %q", text.stdout)
	}
	if rep, _ := replay("--json", "--limit", "2"); rep.Summary.Commits != 2 || !rep.Summary.Limited {
		t.Errorf("%+v", rep.Summary)
	}
	if rep, _ := replay("--json", "--since", "HEAD~2"); rep.Summary.Commits != 2 || rep.Summary.Limited {
		t.Errorf("%+v", rep.Summary)
	}
	if rep, _ := replay("--json", "--since", day(15).Format(time.DateOnly), "package-lock.json"); rep.Summary.Commits != 2 {
		t.Errorf("%+v", rep.Summary)
	}
	for _, args := range [][]string{{"--since", "nowhere"}, {"--limit", "0"}, {"a", "b"}} {
		if r := w.run(append([]string{"policy", "replay"}, args...)...); r.code != 2 {
			t.Errorf("%v: exit %d", args, r.code)
		}
	}
	w.policy("min-age: {unattested: 48h, level: warn}\ndowngrade: {line: warn}\n")
	text = w.run("policy", "replay", "--trusted-root", "trusted_root.json")
	if !strings.Contains(text.stdout, " stolen\n         1 × downgrade-line, 1 × downgrade-package, 1 × min-age, 1 × signed; -v names them\n") {
		t.Errorf("what is warned of is not said:\n%s", text.stdout)
	}
	// Pins as they held before each commit.
	at(day(12))
	w.git("checkout", "-q", "-b", "pinned", "HEAD~3")
	if r := w.pin(); r.code != 0 {
		t.Fatalf("exit %d: %s%s", r.code, r.stdout, r.stderr)
	}
	w.commit("pins")
	at(day(30))
	w.lock(left("1.0.4", lab.GitHub("evil/left"), day(29)))
	w.commit("another publisher")
	w.policy("downgrade: {line: allow}\n")
	if rep, r := replay("--json", "--since", "main~3"); rep.Summary.Stopped != 1 || !strings.Contains(r.stdout, `"drift"`) {
		t.Errorf("%s", r.stdout)
	}
}

// TestPolicyReplayNothing: without a repository there is one clear error, and a broken state is that commit's row.
func TestPolicyReplayNothing(t *testing.T) {
	w := newWorld(t)
	w.lock(w.publish(lab.Release{Package: lab.Package{Name: "left"}}))
	if r := w.run("policy", "replay"); r.code != 2 || !strings.Contains(r.stderr, "no git work tree") {
		t.Errorf("exit %d: %s", r.code, r.stderr)
	}
	w.commit("first")
	w.write("package-lock.json", []byte("{"))
	w.commit("broken")
	r := w.run("policy", "replay", "--trusted-root", "trusted_root.json")
	if r.code != 0 || !strings.Contains(r.stdout, "untold") || !strings.Contains(r.stdout, "package-lock.json:1") || !strings.Contains(r.stdout, "2 changes of the lockfile") {
		t.Errorf("exit %d: %s%s", r.code, r.stdout, r.stderr)
	}
}

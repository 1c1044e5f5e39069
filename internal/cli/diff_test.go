package cli_test

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"assay/internal/lab"
	"assay/internal/policy"
	"assay/internal/report"
	"assay/internal/verify"
)

// diff runs assay diff --json.
func (w *world) diff(args ...string) (result, *report.Diff) {
	w.t.Helper()
	r := w.run(append([]string{"diff", "--json", "--trusted-root", "trusted_root.json"}, args...)...)
	var d report.Diff
	if err := json.Unmarshal([]byte(r.stdout), &d); err != nil && r.code != 2 {
		w.t.Fatalf("exit %d: %v\n%s%s", r.code, err, r.stdout, r.stderr)
	}
	return r, &d
}

// change is a package's row.
func change(t *testing.T, d *report.Diff, name string) *report.Change {
	t.Helper()
	for i := range d.Changes {
		if d.Changes[i].Name == name {
			return &d.Changes[i]
		}
	}
	t.Fatalf("%s is not in the diff: %+v", name, d.Changes)
	return nil
}

// TestDiff: what a reviewer has to see of each kind of change.
func TestDiff(t *testing.T) {
	w := newWorld(t)
	at := time.Now().Add(-26 * time.Hour)
	ours := lab.GitHub("acme/left")
	scripted := map[string]any{"scripts": map[string]any{"postinstall": "node steal.js"}, "dependencies": map[string]any{"evil": "^1.0.0"}, "bin": map[string]any{"left": "x.js"}}
	by := func(account string) func(map[string]any) {
		return func(d map[string]any) { d["_npmUser"] = map[string]any{"name": account} }
	}
	publish := func(name, version string, ci lab.CI, manifest map[string]any, account string) *lab.Published {
		return w.publish(lab.Release{Package: lab.Package{Name: name, Version: version, Manifest: manifest}, CI: ci, At: at, Document: by(account)})
	}
	stays := publish("stays", "1.0.0", nil, nil, "a")
	leaves := publish("leaves", "1.0.0", nil, nil, "a")
	left0, left1 := publish("left", "1.0.0", ours, nil, "alice"), publish("left", "1.0.1", nil, scripted, "mallory")
	right0, right1 := publish("right", "1.0.0", lab.GitHub("acme/right"), nil, "a"), publish("right", "1.1.0", lab.GitHub("acme/right"), nil, "a")
	moved0, moved1 := publish("moved", "2.0.0", lab.GitHub("acme/moved"), nil, "a"), publish("moved", "2.0.1", lab.GitHub("evil/moved"), nil, "a")
	fresh := publish("fresh", "3.0.0", nil, map[string]any{"scripts": map[string]any{"install": "node-gyp rebuild"}, "dependencies": map[string]any{"other": "1"}}, "b")
	w.policy("default: {signed: note}\ncritical:\n  - {packages: [left], require: provenance}\n")
	evil, other := publish("evil", "1.0.0", nil, nil, "m"), publish("other", "1.0.0", nil, nil, "m")
	w.lock(stays, leaves, left0, right1, moved0, evil, other)
	w.commit("first")
	w.git("checkout", "-q", "-b", "topic")
	w.lock(stays, left1, right0, moved1, fresh, evil, other)

	before := w.server.Count(lab.EndpointVersion)
	r, d := w.diff("main")
	if r.code != 1 {
		t.Fatalf("exit %d: %s%s", r.code, r.stdout, r.stderr)
	}
	for _, req := range w.server.Requests()[before:] {
		if strings.Contains(req.Path, "stays") {
			t.Errorf("what did not change was asked for: %s", req.Path)
		}
	}
	if d.Summary != (report.DiffSummary{Added: 1, Removed: 1, Upgraded: 2, Downgraded: 1, Worse: 2, Allow: 3, Deny: 1}) || len(d.Changes) != 5 {
		t.Errorf("%+v", d.Summary)
	}
	left := change(t, d, "left")
	if left.Kind != report.Upgraded || left.Trust != "worse" || left.Before.Verdict != verify.Provenance || left.After.Verdict != verify.Signed || left.Decision != policy.Decision(policy.Deny) ||
		len(left.Findings) == 0 || left.Findings[len(left.Findings)-1].File != "assay.yaml" || !left.Direct || left.Line == 0 {
		t.Errorf("left: %+v", left)
	}
	if got := strings.Join(left.Manifest, "; "); got != `new postinstall script "node steal.js"; new dependency evil ^1.0.0; new command left` {
		t.Errorf("left brings %s", got)
	}
	if len(left.Claims) != 1 || left.Claims[0] != (report.ClaimChange{What: "npm account", Old: "alice", New: "mallory"}) {
		t.Errorf("left: %+v", left.Claims)
	}
	if left.After.Published.IsZero() || left.After.PublishedBy != "registry" || left.Before.PublishedBy != "log" {
		t.Errorf("left: %+v, %+v", left.Before, left.After)
	}
	if right := change(t, d, "right"); right.Kind != report.Downgraded || right.Trust != "same" || len(right.Publisher) != 0 || right.Decision != policy.Decision(policy.Allow) {
		t.Errorf("right: %+v", right)
	}
	moved := change(t, d, "moved")
	if moved.Trust != "worse" || len(moved.Publisher) == 0 || !moved.Publisher[0].Drift {
		t.Errorf("moved: %+v", moved)
	}
	if gone := change(t, d, "leaves"); gone.Kind != report.Removed || gone.After != nil || gone.Before.Verdict != verify.Signed {
		t.Errorf("leaves: %+v", gone)
	}
	if added := change(t, d, "fresh"); added.Kind != report.Added || added.Before != nil || len(added.Manifest) == 0 || !strings.Contains(added.Manifest[0], "install script") || strings.Contains(strings.Join(added.Manifest, ";"), "new dependency") {
		t.Errorf("fresh: %+v", added)
	}

	text := w.run("diff", "main", "--trusted-root", "trusted_root.json")
	for _, want := range []string{
		"main (", ") → the work tree: 1 added, 1 removed, 2 upgraded, 1 downgraded; 2 worse than",
		"DENY  left 1.0.0 → 1.0.1 upgraded", "verdict   provenance → signed", "github.com/acme/left .github/workflows/release.yml (refs/heads/main, push) → nobody\n", "claimed   npm account: alice → mallory",
		"age       25 hours (by the registry's word)", "DENY critical [assay.yaml:4]", "ok    right 1.1.0 → 1.0.0 downgraded", "the same: github.com/acme/right",
		"gone  leaves 1.0.0 removed", "Denied: 1 change (exit 1).",
	} {
		if !strings.Contains(text.stdout, want) {
			t.Errorf("the text lacks %q:\n%s", want, text.stdout)
		}
	}
	if text.code != 1 || strings.Index(text.stdout, "DENY  left") > strings.Index(text.stdout, "ok    right") {
		t.Errorf("exit %d, or what is denied does not come first", text.code)
	}
	md := w.run("diff", "main", "--trusted-root", "trusted_root.json", "--format", "markdown", "--report", "json=diff.json", "-q")
	for _, want := range []string{"## Assay: 1 change is denied", "| **DENY** | `left` | `1.0.0` | `1.0.1` | provenance → signed |", "claimed by the registry: npm account: alice → mallory", "new: new postinstall script"} {
		if !strings.Contains(md.stdout, want) {
			t.Errorf("the Markdown lacks %q:\n%s", want, md.stdout)
		}
	}
	if data, err := os.ReadFile(w.project + "/diff.json"); err != nil || !strings.Contains(string(data), `"schema": "assay/diff/v1"`) {
		t.Errorf("diff.json: %v", err)
	}
}

// TestDiffSides: two lockfiles, two revisions, a revision and a path, and what CI says of a change request.
func TestDiffSides(t *testing.T) {
	w := newWorld(t)
	at := time.Now().Add(-time.Hour)
	one := w.publish(lab.Release{Package: lab.Package{Name: "left", Version: "1.0.0"}, At: at})
	two := w.publish(lab.Release{Package: lab.Package{Name: "left", Version: "1.0.1"}, At: at})
	w.lock(one)
	w.write("app/package-lock.json", lab.Lockfile(w.server.URL, map[string]any{"left": "1"}, []*lab.Published{one}))
	w.write("empty/readme", nil)
	w.write("other/package-lock.json", lab.Lockfile(w.server.URL, map[string]any{"left": "1"}, []*lab.Published{two}))
	first := w.commit("first")
	w.git("update-ref", "refs/remotes/origin/main", "HEAD")
	w.lock(two)
	w.write("app/package-lock.json", lab.Lockfile(w.server.URL, map[string]any{"left": "1"}, []*lab.Published{two}))
	w.write("new/package-lock.json", lab.Lockfile(w.server.URL, map[string]any{"left": "1"}, []*lab.Published{two}))
	w.commit("second")
	elsewhere := t.TempDir()
	if err := os.WriteFile(filepath.Join(elsewhere, "package-lock.json"), lab.Lockfile(w.server.URL, map[string]any{"left": "1"}, []*lab.Published{two}), 0o644); err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		args  []string
		env   map[string]string
		kinds string
	}{
		{args: []string{first, elsewhere}, kinds: "upgraded"}, // nothing of the project lay there
		{args: []string{first, "HEAD"}, kinds: "upgraded"},
		{args: []string{first[:10]}, kinds: "upgraded"},
		{args: []string{"HEAD", first}, kinds: "downgraded"},
		{args: nil, kinds: ""}, // nothing is uncommitted
		{args: nil, env: map[string]string{"GITHUB_EVENT_NAME": "pull_request", "GITHUB_BASE_REF": "main"}, kinds: "upgraded"},
		{args: []string{first + ":app"}, kinds: "upgraded"},
		{args: []string{first + ":app/package-lock.json", "HEAD:app"}, kinds: "upgraded"},
		{args: []string{"HEAD:package-lock.json", "package-lock.json"}, kinds: ""},
		{args: []string{first, "app"}, kinds: "upgraded"},
		{args: []string{first, "other"}, kinds: ""}, // with what lay there, and not with the project above it
		{args: []string{first, "new"}, kinds: "added"},
		{args: []string{first + ":empty", "HEAD"}, kinds: "added"},
	} {
		t.Run(strings.Join(tt.args, " "), func(t *testing.T) {
			for k, v := range tt.env {
				w.env[k] = v
				defer delete(w.env, k)
			}
			r, d := w.diff(tt.args...)
			var kinds []string
			for _, c := range d.Changes {
				kinds = append(kinds, c.Kind)
			}
			if got := strings.Join(kinds, " "); r.code != 0 || got != tt.kinds {
				t.Errorf("exit %d, %q, want %q: %s", r.code, got, tt.kinds, r.stderr)
			}
		})
	}
	for _, args := range [][]string{{"nowhere"}, {"HEAD:nowhere"}, {"HEAD:../x"}, {first + ":empty", "HEAD:empty"}, {"HEAD", "--policy-from", ""}, {"HEAD", "--policy="}, {"a", "b", "c"}, {"HEAD", "--report", "sarif=x"}, {"HEAD", "--report", "markdown"}, {"--", "--all"}} {
		if r, _ := w.diff(args...); r.code != 2 || !strings.Contains(r.stderr, "assay: error: ") {
			t.Errorf("%v: exit %d, %s", args, r.code, r.stderr)
		}
	}
}

// TestDiffUndecided: what cannot be checked is exit 3, and a package from no registry counts too.
func TestDiffUndecided(t *testing.T) {
	w := newWorld(t)
	one := w.publish(lab.Release{Package: lab.Package{Name: "left", Version: "1.0.0"}})
	two := w.publish(lab.Release{Package: lab.Package{Name: "left", Version: "1.0.1"}})
	w.lock(one)
	w.commit("first")
	w.lock(two)
	w.server.Misbehave(lab.Match{Name: "left", Version: "1.0.1"}, lab.Status(503), 0)
	if r, d := w.diff(); r.code != 3 || change(t, d, "left").Trust != "unknown" {
		t.Errorf("exit %d: %s", r.code, r.stdout)
	}
	w.server.Behave()
	w.write("package.json", []byte(`{"name":"app","version":"1.0.0","dependencies":{"left":"^1.0.0","x":"https://example.com/x.tgz"}}`))
	w.write("package-lock.json", []byte(`{"name":"app","version":"1.0.0","lockfileVersion":3,"packages":{"":{"name":"app","version":"1.0.0","dependencies":{"left":"^1.0.0","x":"https://example.com/x.tgz"}},
		"node_modules/left":{"version":"1.0.0","resolved":"`+w.server.URL+`/left/-/left-1.0.0.tgz","integrity":"`+one.Integrity+`"},"node_modules/x":{"version":"1.0.0","resolved":"https://example.com/x.tgz"}}}`))
	r, d := w.diff()
	if r.code != 1 || len(d.Others) != 1 || d.Others[0].Kind != report.Added || len(d.Changes) != 0 {
		t.Errorf("exit %d: %s", r.code, r.stdout)
	}
	if r := w.run("diff", "--trusted-root", "trusted_root.json", "--format", "markdown"); !strings.Contains(r.stdout, "not from a registry") || !strings.Contains(r.stdout, "`https://example.com/x.tgz`") {
		t.Errorf("%s", r.stdout)
	}
}

// TestDiffHostile: nothing that a registry says becomes a command, a link, or a cell of the table.
func TestDiffHostile(t *testing.T) {
	w := newWorld(t)
	evil := lab.HostileText + "@mallory #1 [x](https://evil.example) ![y](z) | → |`|\n\n## hello"
	old := w.publish(lab.Release{Package: lab.Package{Name: "left", Version: "1.0.0"}})
	new := w.publish(lab.Release{
		Package:  lab.Package{Name: "left", Version: "1.0.1", Manifest: map[string]any{"scripts": map[string]any{"install": evil}, "dependencies": map[string]any{"a": evil, evil: "1"}, "bin": map[string]any{evil: "x"}}},
		Document: func(d map[string]any) { d["_npmUser"] = map[string]any{"name": evil} },
	})
	w.lock(old)
	w.commit("first")
	w.lock(new)
	for _, form := range []string{"text", "markdown", "json"} {
		r := w.run("diff", "--trusted-root", "trusted_root.json", "--format", form)
		for _, bad := range []string{"\x1b", "\r", "\u202e", "\n::error", "\n## hello", "(https://evil.example)\n"} {
			if strings.Contains(r.stdout, bad) {
				t.Errorf("%s holds %q:\n%s", form, bad, r.stdout)
			}
		}
		if form != "markdown" {
			continue
		}
		if len(r.stdout) > 65_536 {
			t.Errorf("%d characters", len(r.stdout))
		}
		// Outside of code nothing is left that means anything.
		var plain strings.Builder
		for i, part := range strings.Split(r.stdout, "`") {
			if i%2 == 0 {
				plain.WriteString(part)
			}
		}
		for _, bad := range []string{"@mallory", "#1", "](", "![", "evil.example"} {
			if strings.Contains(plain.String(), bad) {
				t.Errorf("outside of code stands %q:\n%s", bad, plain.String())
			}
		}
	}
}

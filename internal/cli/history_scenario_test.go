package cli_test

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"assay/internal/lab"
	"assay/internal/policy"
	"assay/internal/report"
)

const day = 24 * time.Hour

// A scene is a project that used left, which was built by ours, and pinned it.
type scene struct {
	*world
	plain *lab.Published
}

func newScene(t *testing.T) *scene {
	t.Helper()
	s := &scene{world: newWorld(t)}
	s.plain = s.publish(lab.Release{Package: lab.Package{Name: "plain"}, At: time.Now().Add(-300 * day)})
	s.release("1.0.0", ours(), 90)
	s.use("1.0.0")
	s.write("assay.yaml", []byte(policy.Recommended()))
	if r := s.pin(); r.code != 0 {
		t.Fatalf("pin: exit %d: %s%s", r.code, r.stdout, r.stderr)
	}
	return s
}

// ours is a run of the workflow that usually builds left.
func ours(change ...func(*lab.GitHubRun)) *lab.GitHubRun {
	run := lab.GitHub("acme/left")
	for _, c := range change {
		c(run)
	}
	return run
}

// release publishes a version of left as many days ago as given; a nil run is a publish by a token.
func (s *scene) release(version string, run *lab.GitHubRun, daysAgo float64, change ...func(*lab.Release)) *lab.Published {
	s.t.Helper()
	r := lab.Release{Package: lab.Package{Name: "left", Version: version}, At: time.Now().Add(-time.Duration(daysAgo * float64(day)))}
	if run != nil {
		r.CI = run
	} else {
		r.Package.Manifest = map[string]any{"repository": "github:acme/left"}
	}
	for _, c := range change {
		c(&r)
	}
	return s.publish(r)
}

// use makes the project use versions of left, beside plain.
func (s *scene) use(version string) {
	s.t.Helper()
	p := s.Lookup("left", version)
	if p == nil {
		s.t.Fatalf("left@%s was not published", version)
	}
	s.lock(p, s.plain)
}

// manifested changes what the package says of itself.
func manifested(key string, value any) func(*lab.Release) {
	return func(r *lab.Release) {
		if r.Package.Manifest == nil {
			r.Package.Manifest = map[string]any{}
		}
		r.Package.Manifest[key] = value
	}
}

// by is the account that the registry says published it.
func by(name string) func(*lab.Release) {
	return func(r *lab.Release) {
		r.Document = func(doc map[string]any) { doc["_npmUser"] = map[string]any{"name": name, "email": name + "@x.test"} }
	}
}

// said lists what was said of a package: "level rule: message".
func said(p *report.Package) string {
	var list []string
	for _, f := range p.Findings {
		list = append(list, fmt.Sprintf("%s %s: %s", f.Level, f.Rule, f.Message))
	}
	return strings.Join(list, "\n")
}

// expect audits and holds what is said of left to what must be said and what must not.
func (s *scene) expect(code int, says []string, not ...string) *report.Package {
	s.t.Helper()
	r := s.audit()
	p := r.pkg("left")
	text := said(p)
	if r.code != code {
		s.t.Errorf("exit %d, want %d\n%s\n%s", r.code, code, text, r.stderr)
	}
	for _, w := range says {
		if !strings.Contains(text, w) {
			s.t.Errorf("does not say %q\n%s", w, text)
		}
	}
	for _, w := range not {
		if strings.Contains(text, w) {
			s.t.Errorf("says %q\n%s", w, text)
		}
	}
	return p
}

// TestPublisherScenarios: what may become of a publisher, to a project that pinned it.
func TestPublisherScenarios(t *testing.T) {
	for _, tt := range []struct {
		name string
		run  *lab.GitHubRun
		code int
		says []string
		not  []string
	}{
		{"the same", ours(), 0, nil, []string{"drift", "downgrade", "burst", "manifest-change"}},
		{"a fork with the same workflow", lab.GitHub("mallory/left"), 1, []string{"deny drift: ", "repository https://github.com/acme/left → https://github.com/mallory/left", "repository id"}, nil},
		{"re-created under the same name", ours(func(r *lab.GitHubRun) { r.RepositoryID = "999" }), 1, []string{"deny drift: ", "repository id"}, []string{"repository https"}},
		{"repository renamed", ours(func(r *lab.GitHubRun) { r.Repository = "acme/left-pad" }), 0, []string{"note drift: ", "https://github.com/acme/left → https://github.com/acme/left-pad"}, []string{"deny"}},
		{"organisation renamed", ours(func(r *lab.GitHubRun) { r.Repository = "acme-inc/left" }), 0, []string{"note drift: ", "owner https://github.com/acme → https://github.com/acme-inc"}, []string{"deny"}},
		{"transferred to another organisation", ours(func(r *lab.GitHubRun) { r.Repository, r.OwnerID = "others/left", "77" }), 1, []string{"deny drift: ", "owner id"}, []string{"repository id"}},
		{"workflow renamed", ours(func(r *lab.GitHubRun) { r.Workflow = ".github/workflows/publish.yml" }), 1, []string{"workflow .github/workflows/release.yml → .github/workflows/publish.yml"}, nil},
		{"from a snapshot branch", ours(func(r *lab.GitHubRun) { r.Ref = "refs/heads/snapshot-x9" }), 1, []string{"deny drift: ", "ref refs/heads/main → refs/heads/snapshot-x9"}, nil},
		{"started by hand", ours(func(r *lab.GitHubRun) { r.Event = "workflow_dispatch" }), 0, []string{"note drift: ", "event push → workflow_dispatch"}, []string{"deny"}},
		{"started by a pull request", ours(func(r *lab.GitHubRun) { r.Event = "pull_request_target" }), 1, []string{"deny drift: ", "event push → pull_request_target"}, nil},
		{"started by a comment", ours(func(r *lab.GitHubRun) { r.Event = "issue_comment" }), 1, []string{"deny drift: ", "event push → issue_comment"}, nil},
		{"on a machine of their own", ours(func(r *lab.GitHubRun) { r.Runner = "self-hosted" }), 1, []string{"deny drift: ", "runner github-hosted → self-hosted"}, nil},
	} {
		t.Run(tt.name, func(t *testing.T) {
			s := newScene(t)
			s.release("1.0.1", tt.run, 5)
			s.use("1.0.1")
			p := s.expect(tt.code, tt.says, tt.not...)
			if tt.code == 1 {
				if i := slices.IndexFunc(p.Findings, func(f policy.Finding) bool { return f.Rule == "drift" }); i < 0 || p.Findings[i].File != "assay.yaml" || p.Findings[i].Line == 0 {
					t.Errorf("drift names no place: %+v", p.Findings)
				}
				// What a person looked at and accepted is not asked for again.
				if r := s.pin("--update", "left", "--yes"); r.code != 0 {
					t.Fatalf("pin: exit %d: %s%s", r.code, r.stdout, r.stderr)
				}
				s.expect(0, nil, "drift")
			}
		})
	}
}

// TestTransferScenario: fourteen packages move with their repository, and one answer accepts that (repobuddy/jest-watch-suspend#68).
func TestTransferScenario(t *testing.T) {
	s := newScene(t)
	before, after := lab.GitHub("unional/tools"), lab.GitHub("unional/tools")
	after.Repository, after.OwnerID = "repobuddy/tools", "4711"
	var old, now []*lab.Published
	for i := range 14 {
		name := fmt.Sprintf("tool-%d", i)
		old = append(old, s.publish(lab.Release{Package: lab.Package{Name: name}, CI: before, At: time.Now().Add(-60 * day)}))
		now = append(now, s.publish(lab.Release{Package: lab.Package{Name: name, Version: "1.0.1"}, CI: after, At: time.Now().Add(-5 * day)}))
	}
	s.lock(old...)
	if r := s.pin(); r.code != 0 {
		t.Fatalf("exit %d: %s", r.code, r.stdout)
	}
	s.lock(now...)
	r := s.audit()
	denied := 0
	for _, p := range r.report().Packages {
		if strings.Contains(said(&p), "deny drift: ") && strings.Contains(said(&p), "owner id") && !strings.Contains(said(&p), "repository id") {
			denied++
		}
	}
	if r.code != 1 || denied != 14 {
		t.Errorf("exit %d, %d packages denied, want 14", r.code, denied)
	}
	if r := s.pin("--update", "--repo", "unional/tools=repobuddy/tools"); r.code == 0 {
		t.Error("a move was accepted by nobody")
	}
	if r := s.pin("--update", "--repo", "unional/tools=repobuddy/tools", "--yes"); r.code != 0 {
		t.Errorf("exit %d: %s%s", r.code, r.stdout, r.stderr)
	}
	if r := s.audit(); r.code != 0 {
		t.Errorf("exit %d after one answer", r.code)
	}
}

// TestLossScenarios: provenance that was there and is not.
func TestLossScenarios(t *testing.T) {
	t.Run("in a patch release", func(t *testing.T) {
		s := newScene(t)
		s.release("1.0.1", nil, 5)
		s.use("1.0.1")
		s.expect(1, []string{"deny downgrade-line: release line 1 is pinned as provenance by github.com/acme/left", "warn downgrade-package: 1.0.0 had provenance, by .github/workflows/release.yml"})
		if r := s.pin("--update", "left", "--yes"); r.code != 0 {
			t.Fatalf("exit %d: %s%s", r.code, r.stdout, r.stderr)
		}
		s.expect(0, nil, "downgrade")
		s.release("1.0.2", nil, 4)
		s.use("1.0.2")
		s.expect(0, []string{"note downgrade-line: 1.0.0 had provenance", "so is 1.0.1, which was accepted here"})
	})
	t.Run("without pins", func(t *testing.T) {
		s := newScene(t)
		if err := os.Remove(filepath.Join(s.project, "assay.lock")); err != nil {
			t.Fatal(err)
		}
		s.release("1.0.1", nil, 5)
		s.use("1.0.1")
		s.expect(1, []string{"deny downgrade-line: 1.0.0 had provenance, by .github/workflows/release.yml of github.com/acme/left on refs/heads/main (push)"})
	})
	t.Run("without pins, the one before is announced and does not verify", func(t *testing.T) {
		s := newScene(t)
		if err := os.Remove(filepath.Join(s.project, "assay.lock")); err != nil {
			t.Fatal(err)
		}
		s.release("1.0.1", nil, 5)
		s.use("1.0.1")
		defer s.server.Misbehave(lab.Match{Endpoint: lab.EndpointAttestations, Name: "left", Version: "1.0.0"}, lab.Status(500), 0)()
		s.env["XDG_CACHE_HOME"] = t.TempDir()
		s.expect(1, []string{"deny downgrade-line: the registry announces provenance of 1.0.0, which was not verified"})
	})
	t.Run("a token beside a trusted publisher", func(t *testing.T) {
		s := newScene(t)
		s.release("1.0.1", ours(), 20, by("GitHub Actions"))
		s.release("1.0.2", nil, 5, by("a-person"))
		s.use("1.0.2")
		s.expect(1, []string{"deny downgrade-line", "warn burst: by an account that is new to it, where a workflow published before: a-person"})
	})
	t.Run("an old line by hand", func(t *testing.T) {
		s := newScene(t)
		s.release("0.9.0", nil, 80)
		s.release("0.9.1", nil, 5)
		s.use("0.9.1")
		s.expect(0, []string{"warn downgrade-package: "}, "downgrade-line")
	})
	t.Run("an old line by hand, years ago", func(t *testing.T) {
		s := newScene(t)
		if err := os.Remove(filepath.Join(s.project, "assay.lock")); err != nil {
			t.Fatal(err)
		}
		s.release("0.9.1", nil, 60)
		s.use("0.9.1")
		s.expect(0, nil, "downgrade")
	})
	t.Run("the registry took the one before down", func(t *testing.T) {
		s := newScene(t)
		if err := os.Remove(filepath.Join(s.project, "assay.lock")); err != nil {
			t.Fatal(err)
		}
		s.release("1.0.1", nil, 5)
		s.Unpublish("left", "1.0.0")
		s.use("1.0.1")
		s.expect(0, nil, "downgrade")
	})
	t.Run("the one before was made to do harm", func(t *testing.T) {
		s := newScene(t)
		if err := os.Remove(filepath.Join(s.project, "assay.lock")); err != nil {
			t.Fatal(err)
		}
		s.release("1.0.1", nil, 5)
		s.use("1.0.1")
		s.Advise("left", "1.0.0", "high", "Left leaks")
		s.expect(1, []string{"deny downgrade-line"})
		s.Advise("left", "1.0.0", "critical", "Malware in left")
		s.expect(0, nil, "downgrade")
	})
	t.Run("pnpm's words", func(t *testing.T) {
		s := newScene(t)
		if err := os.Remove(filepath.Join(s.project, "assay.lock")); err != nil {
			t.Fatal(err)
		}
		s.release("1.0.1", nil, 5)
		s.use("1.0.1")
		for text, code := range map[string]int{
			"downgrade: no-downgrade": 1, "downgrade: off": 0,
			"downgrade: {line: deny, exclude: [left@1.0.1]}": 0, "downgrade: {line: deny, exclude: [left@1.0.0]}": 1,
			"downgrade: {line: deny, ignore-after: 2d}": 0, "downgrade: {line: deny, ignore-after: 30d}": 1,
		} {
			s.write("assay.yaml", []byte("version: 1\n"+text+"\n"))
			if r := s.audit(); r.code != code {
				t.Errorf("%s: exit %d, want %d\n%s", text, r.code, code, said(r.pkg("left")))
			}
		}
	})
	t.Run("waived, and until when", func(t *testing.T) {
		s := newScene(t)
		s.release("1.0.1", nil, 5)
		s.use("1.0.1")
		waiver := func(until time.Time) {
			s.write("assay.yaml", fmt.Appendf(nil, "%swaivers:\n  - {package: left@1.0.1, rule: downgrade-line, reason: by hand, by: sec, until: %s}\n", policy.Recommended(), until.Format(time.DateOnly)))
		}
		waiver(time.Now().Add(60 * day))
		s.expect(0, nil, "waiver-expired")
		waiver(time.Now().Add(-2 * day))
		s.expect(1, []string{"deny downgrade-line", "waiver-expired"})
	})
}

// TestAgeScenarios: how old a version has to be that is new to the project.
func TestAgeScenarios(t *testing.T) {
	for _, tt := range []struct {
		name string
		run  *lab.GitHubRun
		days float64
		code int
		says string
	}{
		{"attested, of today", ours(), 0.5, 1, "deny min-age: it is 11h old (by the transparency log); a version with provenance that is new here has to be 24h old"},
		{"attested, of yesterday", ours(), 1.1, 0, ""},
		{"unattested, of yesterday", nil, 2, 1, "deny min-age: it is 47h old (by the registry's word); a version without provenance that is new here has to be 3d old"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			s := newScene(t)
			s.release("1.0.1", tt.run, tt.days)
			s.use("1.0.1")
			if tt.says != "" {
				s.expect(tt.code, []string{tt.says})
			} else {
				s.expect(tt.code, nil, "min-age")
			}
		})
	}
	t.Run("an advisory names the one before", func(t *testing.T) {
		s := newScene(t)
		s.release("1.0.1", ours(), 0.1)
		s.use("1.0.1")
		s.expect(1, []string{"deny min-age"})
		before := s.pins()
		if r := s.pin(); r.code != 1 || s.pins() != before || !strings.Contains(r.stdout, "look twice: min-age: it is 2h old") {
			t.Errorf("pinning what is too young: exit %d\n%s%s", r.code, r.stdout, r.stderr)
		}
		s.Advise("left", "<1.0.1", "high", "Left leaks")
		s.server.ResetTraffic()
		s.expect(0, []string{"note min-age: it is 2h old, and mends what an advisory names in 1.0.0: Left leaks"})
		if n := s.server.Count(lab.EndpointAdvisories); n != 1 {
			t.Errorf("%d questions about advisories", n)
		}
	})
	t.Run("an advisory names both", func(t *testing.T) {
		s := newScene(t)
		s.release("1.0.1", ours(), 0.1)
		s.use("1.0.1")
		s.Advise("left", "<=1.0.1", "high", "Left leaks")
		s.expect(1, []string{"deny min-age", "note history: an advisory names this version: Left leaks"})
	})
	t.Run("advisories cannot be had", func(t *testing.T) {
		s := newScene(t)
		s.release("1.0.1", ours(), 0.1)
		s.use("1.0.1")
		s.Advise("left", "<1.0.1", "high", "Left leaks")
		for _, f := range []lab.Fault{lab.Status(404), lab.Status(503), lab.Garbage(), lab.Endless(), lab.DeepNesting(1000), lab.Body("application/json", []byte(`{"left":[{"vulnerable_versions":7}]}`))} {
			restore := s.server.Misbehave(lab.Match{Endpoint: lab.EndpointAdvisories}, f, 0)
			s.expect(1, []string{"deny min-age"})
			restore()
		}
		defer s.server.Misbehave(lab.Match{Endpoint: lab.EndpointAdvisories}, lab.Status(404), 0)()
		s.expect(1, []string{"whether it mends what an advisory names is not known: the registry has no advisories"})
	})
	t.Run("nobody knows", func(t *testing.T) {
		s := newScene(t)
		s.release("1.0.1", nil, 5)
		s.use("1.0.1")
		s.pin("--update", "left", "--yes")
		s.release("1.0.2", nil, 5)
		s.use("1.0.2")
		defer s.server.Misbehave(lab.Match{Endpoint: lab.EndpointPackument, Name: "left"}, lab.Edit(func(doc map[string]any) { delete(doc, "time") }), 0)()
		s.expect(3, []string{"error min-age: it has to be 3d old, and nothing tells when it was published"})
	})
}

// TestChangeScenarios: what comes along on install and did not before.
func TestChangeScenarios(t *testing.T) {
	for _, tt := range []struct {
		name   string
		change func(*lab.Release)
		says   string
	}{
		{"script", manifested("scripts", map[string]any{"postinstall": "node x.js", "test": "y"}), `since 1.0.0: new postinstall script "node x.js"`},
		{"binding.gyp", manifested("gypfile", true), "new binding.gyp"},
		{"dependency", manifested("dependencies", map[string]any{"plain": "^1.0.0"}), "new dependency plain ^1.0.0"},
		{"dependency from git", manifested("optionalDependencies", map[string]any{"setup": "github:x/y#abc"}), "new dependency setup from github:x/y#abc"},
		{"command", manifested("bin", map[string]any{"left": "x.js"}), "new command left"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			s := newScene(t)
			s.release("1.0.1", ours(), 5, tt.change)
			s.use("1.0.1")
			s.expect(0, []string{"warn manifest-change: ", tt.says})
			s.pin("--yes")
			s.expect(0, nil, "manifest-change")
		})
	}
	t.Run("several lines at once", func(t *testing.T) {
		s := newScene(t)
		s.release("2.0.0", nil, 2.02)
		s.release("1.0.1", ours(func(r *lab.GitHubRun) { r.Ref = "refs/heads/x" }), 2.01)
		s.release("0.1.0", nil, 2)
		s.use("1.0.1")
		s.expect(1, []string{"warn burst: 3 release lines within an hour"})
	})
	t.Run("once and again within minutes", func(t *testing.T) {
		s := newScene(t)
		s.release("1.0.1", ours(), 2.004)
		s.release("1.0.2", ours(), 2)
		s.use("1.0.2")
		s.expect(0, []string{"warn burst: 2 versions within a quarter of an hour"})
		s.now = func() time.Time { return time.Now().Add(2 * day) }
		s.expect(0, nil, "burst")
	})
}

// TestHistoryTrouble: a history that cannot be had is an error where a rule that denies hangs on it, and told where none does.
func TestHistoryTrouble(t *testing.T) {
	for _, fault := range []lab.Fault{lab.Status(500), lab.Status(404), lab.Garbage(), lab.Truncate()} {
		s := newScene(t)
		s.release("1.0.1", ours(), 5)
		s.release("2.0.0", nil, 5)
		restore := s.server.Misbehave(lab.Match{Endpoint: lab.EndpointPackument, Name: "left"}, fault, 0)
		s.use("1.0.1")
		s.expect(0, []string{"warn history: its other versions could not be looked at"})
		s.use("2.0.0")
		s.expect(3, []string{"error history: its other versions could not be looked at", "error min-age"})
		restore()
		s.expect(0, []string{"warn downgrade-package"}, "history")
	}
	t.Run("the list of an earlier run", func(t *testing.T) {
		s := newScene(t)
		s.release("1.0.1", ours(), 5)
		s.use("1.0.1")
		s.expect(0, nil, "history")
		s.release("1.0.2", ours(), 4) // what is cached does not list it
		s.use("1.0.2")
		s.expect(0, nil, "history")
	})
	t.Run("a list without it", func(t *testing.T) {
		s := newScene(t)
		s.release("1.0.1", ours(), 5)
		s.use("1.0.1")
		defer s.server.Misbehave(lab.Match{Endpoint: lab.EndpointPackument, Name: "left"}, lab.Edit(func(doc map[string]any) {
			delete(doc["versions"].(map[string]any), "1.0.1")
			delete(doc["time"].(map[string]any), "1.0.1")
		}), 0)()
		s.expect(0, []string{"warn history: its other versions could not be looked at: the registry's list of versions does not hold it"})
	})
}

// TestHistoryRequests: only what is new to the project is asked about, and a warm run over what is not asks nothing.
func TestHistoryRequests(t *testing.T) {
	s := newScene(t)
	var all, more []*lab.Published
	for i := range 20 {
		all = append(all, s.publish(lab.Release{Package: lab.Package{Name: fmt.Sprintf("p%d", i)}, CI: ours(), At: time.Now().Add(-90 * day)}))
	}
	s.lock(all...)
	if r := s.pin(); r.code != 0 {
		t.Fatalf("exit %d: %s", r.code, r.stdout)
	}
	s.server.ResetTraffic()
	if r := s.audit(); r.code != 0 || s.server.Count(lab.EndpointPackument)+s.server.Count(lab.EndpointAdvisories) != 0 || s.server.Count(lab.EndpointVersion)+s.server.Count(lab.EndpointAttestations) != 0 {
		t.Errorf("exit %d; a warm run asked %+v", r.code, s.server.Requests())
	}
	for i := range 5 {
		more = append(more, s.publish(lab.Release{Package: lab.Package{Name: fmt.Sprintf("p%d", i), Version: "1.0.1"}, CI: ours(), At: time.Now().Add(-5 * day)}))
	}
	s.lock(append(more, all[5:]...)...)
	s.server.ResetTraffic()
	r := s.audit()
	if n := s.server.Count(lab.EndpointPackument); r.code != 0 || n != 5 {
		t.Errorf("exit %d, %d full documents for 5 new versions", r.code, n)
	}
	if n := len(s.server.Requests()); n > 5*3+5 {
		t.Errorf("%d requests for 5 new versions", n)
	}
	s.server.ResetTraffic()
	if r := s.audit(); r.code != 0 || s.server.Count(lab.EndpointVersion)+s.server.Count(lab.EndpointAttestations)+s.server.Count(lab.EndpointPackument) != 0 {
		t.Errorf("exit %d; a second run asked %+v", r.code, s.server.Requests())
	}
}

// TestHistoryArchive: a report that rests on histories and advisories is the same out of the archive, whenever that is.
func TestHistoryArchive(t *testing.T) {
	s := newScene(t)
	s.release("1.0.1", ours(), 20, manifested("scripts", map[string]any{"postinstall": "node x.js"}))
	s.release("1.0.2", nil, 0.1)
	s.release("0.9.0", nil, 0.11)
	s.Advise("left", "<1.0.2", "high", "Left leaks")
	s.use("1.0.2")
	s.write("keys.json", s.RegistryKeys())
	r := s.run("evidence", "export", "-o", "e.tar.gz", "--trusted-root", "trusted_root.json", "--registry-keys", "keys.json")
	if r.code != 0 {
		t.Fatalf("exit %d: %s%s", r.code, r.stdout, r.stderr)
	}
	text := ""
	for _, later := range []time.Duration{0, 500 * day} {
		s.now = func() time.Time { return time.Now().Add(later) }
		s.server.ResetTraffic()
		r := s.audit("--offline", "--evidence", "e.tar.gz", "--registry-keys", "keys.json")
		if !strings.Contains(r.stderr, "byte for byte") {
			t.Errorf("%v later: %s", later, r.stderr)
		}
		if n := len(s.server.Requests()); n > 0 {
			t.Errorf("%d requests", n)
		}
		got := said(r.pkg("left"))
		for _, want := range []string{"mends what an advisory names in 1.0.0", "deny downgrade-line", "warn burst: 2 release lines"} {
			if !strings.Contains(got, want) {
				t.Errorf("does not say %q\n%s", want, got)
			}
		}
		if text != "" && r.stdout != text {
			t.Error("another report, later")
		}
		text = r.stdout
	}
	// An archive that never asked does not know.
	s.now = time.Now
	s.write("assay.yaml", []byte("version: 1\n"))
	if r := s.run("evidence", "export", "-o", "plain.tar.gz", "--trusted-root", "trusted_root.json", "--registry-keys", "keys.json"); r.code != 0 {
		t.Fatalf("exit %d: %s%s", r.code, r.stdout, r.stderr)
	}
	s.write("assay.yaml", []byte(policy.Recommended()))
	a := s.audit("--offline", "--evidence", "plain.tar.gz", "--registry-keys", "keys.json")
	if got := said(a.pkg("left")); a.code != 1 || !strings.Contains(got, "error history") || !strings.Contains(got, "error min-age") {
		t.Errorf("exit %d\n%s", a.code, got)
	}
}

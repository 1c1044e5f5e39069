package cli_test

import (
	"encoding/json"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"assay/internal/lab"
	"assay/internal/policy"
	"assay/internal/report"
)

// git runs git in the project, by a person who is nobody's configuration.
func (w *world) git(args ...string) string {
	w.t.Helper()
	cmd := exec.Command("git", args...)
	cmd.Dir = w.project
	at := w.now().UTC().Format(time.RFC3339)
	cmd.Env = append(os.Environ(), "GIT_CONFIG_GLOBAL=/dev/null", "GIT_CONFIG_SYSTEM=/dev/null", "GIT_AUTHOR_NAME=a", "GIT_AUTHOR_EMAIL=a@example.com",
		"GIT_COMMITTER_NAME=a", "GIT_COMMITTER_EMAIL=a@example.com", "GIT_AUTHOR_DATE="+at, "GIT_COMMITTER_DATE="+at)
	out, err := cmd.CombinedOutput()
	if err != nil {
		w.t.Fatalf("git %v: %v: %s", args, err, out)
	}
	return strings.TrimSpace(string(out))
}

// commit commits all that lies in the project.
func (w *world) commit(message string) string {
	w.t.Helper()
	if _, err := os.Stat(w.project + "/.git"); err != nil {
		w.git("init", "-q", "-b", "main")
	}
	w.git("add", "-A")
	w.git("commit", "-q", "--allow-empty", "-m", message)
	return w.git("rev-parse", "HEAD")
}

// policy writes assay.yaml.
func (w *world) policy(text string) { w.t.Helper(); w.write("assay.yaml", []byte("version: 1\n"+text)) }

// findings are a package's findings of a rule.
func findings(p *report.Package, rule string) []policy.Finding {
	var list []policy.Finding
	for _, f := range p.Findings {
		if f.Rule == rule {
			list = append(list, f)
		}
	}
	return list
}

// TestRatchet: nothing may become worse than where the change began.
func TestRatchet(t *testing.T) {
	w := newWorld(t)
	ours, theirs := lab.GitHub("acme/left"), lab.GitHub("other/left")
	at := time.Now().Add(-time.Hour)
	left := func(version string, ci lab.CI) *lab.Published {
		return w.publish(lab.Release{Package: lab.Package{Name: "left", Version: version}, CI: ci, At: at})
	}
	attested, better, worse, stranger := left("1.0.0", ours), left("1.0.1", ours), left("1.0.2", nil), left("1.0.3", theirs)
	plain := w.publish(lab.Release{Package: lab.Package{Name: "plain"}, At: at})
	fresh := w.publish(lab.Release{Package: lab.Package{Name: "fresh"}, At: at})
	w.policy("ratchet: {base: main}\n")
	w.lock(attested, plain)
	w.commit("first")
	w.git("checkout", "-q", "-b", "topic")
	for _, tt := range []struct {
		name     string
		packages []*lab.Published
		code     int
		level    policy.Level // of the ratchet's finding on left; "" for none
		message  string
	}{
		{"nothing changed", []*lab.Published{attested, plain}, 0, "", ""},
		{"as good", []*lab.Published{better, plain}, 0, "", ""},
		{"another package", []*lab.Published{attested, plain, fresh}, 0, "", ""},
		{"provenance lost", []*lab.Published{worse, plain}, 1, policy.Deny, "1.0.0 was provenance by github.com/acme/left .github/workflows/release.yml at main ("},
		{"another publisher", []*lab.Published{stranger, plain}, 0, policy.Warn, "repository id"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			w.lock(tt.packages...)
			r := w.audit()
			p := r.pkg("left")
			got := findings(p, "ratchet")
			if r.code != tt.code || tt.level == "" && len(got) > 0 {
				t.Fatalf("exit %d, %+v", r.code, p.Findings)
			}
			if tt.level != "" && (len(got) != 1 || got[0].Level != tt.level || !strings.Contains(got[0].Message, tt.message) || got[0].File != "assay.yaml" || got[0].Line != 2) {
				t.Errorf("%+v", p.Findings)
			}
		})
	}
	// main moves on; where the change began stays.
	w.lock(better, plain)
	w.git("checkout", "-q", "main")
	w.commit("second")
	w.git("checkout", "-q", "topic")
	w.lock(attested, plain)
	if r := w.audit(); r.code != 0 {
		t.Errorf("a change that began earlier: exit %d, %+v", r.code, r.pkg("left").Findings)
	}
	if r := w.audit("--base", "main"); r.code != 0 || len(findings(r.pkg("left"), "ratchet")) != 0 {
		t.Errorf("an older version that is as good: exit %d, %+v", r.code, r.pkg("left").Findings)
	}
	// What cannot be told is not let through.
	w.server.Misbehave(lab.Match{Name: "left", Version: "1.0.0"}, lab.Status(503), 0)
	w.lock(worse, plain)
	w.env["XDG_CACHE_HOME"] = t.TempDir()
	if r := w.audit("--base", "topic"); r.code != 3 || findings(r.pkg("left"), "ratchet")[0].Level != policy.Error {
		t.Errorf("a base that cannot be checked: exit %d, %+v", r.code, r.pkg("left").Findings)
	}
	w.server.Behave()
	// And what the registry took down does not stand in the way of what mends it.
	w.Unpublish("left", "1.0.0")
	w.env["XDG_CACHE_HOME"] = t.TempDir()
	if r := w.audit("--base", "topic"); r.code != 0 || findings(r.pkg("left"), "ratchet")[0].Level != policy.Warn {
		t.Errorf("a base that was taken down: exit %d, %+v", r.code, r.pkg("left").Findings)
	}
}

// TestBaseInCI: on a change request the lockfile where the change began says what is new, and ages count for that only.
func TestBaseInCI(t *testing.T) {
	w := newWorld(t)
	old := w.publish(lab.Release{Package: lab.Package{Name: "old"}})
	w.lock(old)
	w.policy("min-age: {attested: 1h, unattested: 1h}\n")
	w.commit("first")
	w.git("update-ref", "refs/remotes/origin/main", "HEAD")
	w.git("checkout", "-q", "-b", "topic")
	fresh := w.publish(lab.Release{Package: lab.Package{Name: "fresh"}})
	w.lock(old, fresh)
	w.commit("second")
	if r := w.audit(); len(findings(r.pkg("old"), "min-age")) != 1 || len(findings(r.pkg("fresh"), "min-age")) != 1 {
		t.Errorf("without a base everything is new: %s", r.stdout)
	}
	for name, env := range map[string]map[string]string{
		"GitHub":    {"GITHUB_EVENT_NAME": "pull_request", "GITHUB_BASE_REF": "main"},
		"GitLab":    {"CI_MERGE_REQUEST_IID": "7", "CI_MERGE_REQUEST_DIFF_BASE_SHA": w.git("rev-parse", "main")},
		"Bitbucket": {"BITBUCKET_PR_ID": "7", "BITBUCKET_PR_DESTINATION_BRANCH": "main"},
		"Azure":     {"SYSTEM_PULLREQUEST_PULLREQUESTID": "7", "SYSTEM_PULLREQUEST_TARGETBRANCH": "refs/heads/main"},
	} {
		t.Run(name, func(t *testing.T) {
			for k, v := range env {
				w.env[k] = v
				defer delete(w.env, k)
			}
			r := w.audit()
			if r.code != 1 || len(findings(r.pkg("old"), "min-age")) != 0 || len(findings(r.pkg("fresh"), "min-age")) != 1 {
				t.Errorf("exit %d, old %+v, fresh %+v", r.code, r.pkg("old").Findings, r.pkg("fresh").Findings)
			}
		})
	}
	t.Run("no such base", func(t *testing.T) {
		w.env["GITHUB_EVENT_NAME"], w.env["GITHUB_BASE_REF"] = "pull_request", "gone"
		defer delete(w.env, "GITHUB_EVENT_NAME")
		if r := w.audit(); r.code != 2 || !strings.Contains(r.stderr, "fetch-depth: 0") {
			t.Errorf("exit %d: %s", r.code, r.stderr)
		}
	})
	t.Run("ratchet's own branch", func(t *testing.T) {
		w.policy("min-age: {attested: 1h, unattested: 1h}\nratchet: {base: topic}\n")
		if r := w.audit(); len(findings(r.pkg("fresh"), "min-age")) != 0 {
			t.Errorf("on one's own machine HEAD is what there was: %+v", r.pkg("fresh").Findings)
		}
		w.env["CI"] = "true"
		defer delete(w.env, "CI")
		if r := w.audit(); r.code != 1 || len(findings(r.pkg("old"), "min-age")) != 0 || len(findings(r.pkg("fresh"), "min-age")) != 1 {
			t.Errorf("in CI HEAD is what is new: exit %d, old %+v, fresh %+v", r.code, r.pkg("old").Findings, r.pkg("fresh").Findings)
		}
	})
}

// TestBaseMistakes: each has one clear error.
func TestBaseMistakes(t *testing.T) {
	w := newWorld(t)
	left := w.publish(lab.Release{Package: lab.Package{Name: "left"}, CI: lab.GitHub("acme/left")})
	w.lock(left)
	if r := w.audit("--base", "main"); r.code != 2 || !strings.Contains(r.stderr, "no git work tree") {
		t.Errorf("no repository: exit %d, %s", r.code, r.stderr)
	}
	w.policy("ratchet: {base: origin/main}\n")
	if r := w.audit(); r.code != 3 || len(findings(r.pkg("left"), "ratchet")) != 1 {
		t.Errorf("a ratchet without repository: exit %d, %s", r.code, r.stdout)
	}
	w.commit("first")
	if r := w.audit(); r.code != 2 || !strings.Contains(r.stderr, "origin/main parted cannot be found") || !strings.Contains(r.stderr, "hint: fetch the whole history") {
		t.Errorf("a ratchet whose base was not fetched: exit %d, %s", r.code, r.stderr)
	}
	for _, rev := range []string{"nowhere", "--all", "HEAD~9"} {
		if r := w.audit("--base=" + rev); r.code != 2 || !strings.Contains(r.stderr, "is not a revision") {
			t.Errorf("%s: exit %d, %s", rev, r.code, r.stderr)
		}
	}
	// A lockfile that was broken then, and is mended now.
	w.policy("ratchet: {base: HEAD}\n")
	good, err := os.ReadFile(w.project + "/package-lock.json")
	if err != nil {
		t.Fatal(err)
	}
	w.write("package-lock.json", []byte("{"))
	w.commit("broken")
	w.write("package-lock.json", good)
	if r := w.audit(); r.code != 2 || !strings.Contains(r.stderr, "reading what HEAD held: package-lock.json:1") {
		t.Errorf("exit %d, %s", r.code, r.stderr)
	}
	// And one that was not there at all.
	w.git("rm", "-q", "--cached", "package-lock.json")
	w.git("commit", "-q", "-m", "none")
	if r := w.audit(); r.code != 0 {
		t.Errorf("no lockfile then: exit %d, %s", r.code, r.stderr)
	}
}

// TestBaseOfWorkspaces: what a pnpm workspace held is read from the revision's own files.
func TestBaseOfWorkspaces(t *testing.T) {
	w := newWorld(t)
	left := w.publish(lab.Release{Package: lab.Package{Name: "left"}, At: time.Now().Add(-time.Minute)})
	w.write(".npmrc", []byte("registry="+w.server.URL+"/\n"))
	w.write("package.json", []byte(`{"name":"root","version":"1.0.0","private":true}`))
	w.write("pnpm-workspace.yaml", []byte("packages: ['packages/*']\n"))
	manifest, _ := json.Marshal(map[string]any{"name": "one", "version": "1.0.0", "dependencies": map[string]any{"left": "1.0.0"}})
	w.write("packages/one/package.json", manifest)
	w.write("pnpm-lock.yaml", []byte("lockfileVersion: '9.0'\nsettings:\n  autoInstallPeers: true\n  excludeLinksFromLockfile: false\nimporters:\n  .: {}\n  packages/one:\n    dependencies:\n      left:\n        specifier: 1.0.0\n        version: 1.0.0\npackages:\n  left@1.0.0:\n    resolution: {integrity: "+left.Integrity+"}\nsnapshots:\n  left@1.0.0: {}\n"))
	w.policy("min-age: 1h\n")
	w.commit("first")
	if r := w.audit(); r.code != 1 || len(findings(r.pkg("left"), "min-age")) != 1 {
		t.Fatalf("exit %d: %s%s", r.code, r.stdout, r.stderr)
	}
	os.RemoveAll(w.project + "/node_modules")
	if r := w.audit("--base", "HEAD"); r.code != 0 || len(findings(r.pkg("left"), "min-age")) != 0 {
		t.Errorf("exit %d: %s%s", r.code, r.stdout, r.stderr)
	}
}

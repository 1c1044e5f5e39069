package cli_test

import (
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"assay/internal/lab"
	"assay/internal/report"
)

// pullRequest makes a repository whose main branch has a project in app, and a policy beside it, and makes what
// follows a pull request against it. The package in the project is one that the policies of main deny, and that the
// author wants to have let through.
func pullRequest(t *testing.T) *world {
	t.Helper()
	if _, err := exec.LookPath("git"); err != nil {
		t.Skip("git is not installed")
	}
	w := newWorld(t)
	left := w.publish(lab.Release{Package: lab.Package{Name: "left"}})
	w.lock(left)
	for _, name := range []string{"package.json", "package-lock.json", ".npmrc"} {
		data, err := os.ReadFile(filepath.Join(w.project, name))
		if err != nil {
			t.Fatal(err)
		}
		w.write("app/"+name, data)
	}
	strict := []byte("version: 1\ndefault: {signed: deny}\n")
	w.write("app/assay.yaml", strict)
	w.write("policies/assay.yaml", strict)
	w.write("assay.yaml", strict)
	w.write("trusted_root.json", w.TrustedRoot())
	w.commit("main")
	w.git("update-ref", "refs/remotes/origin/main", "HEAD")
	w.git("checkout", "-q", "-b", "topic")
	w.env["GITHUB_EVENT_NAME"], w.env["GITHUB_BASE_REF"] = "pull_request", "main"
	w.env["CI"] = "true"
	return w
}

// lax is the policy that the author of the pull request would like to have.
const lax = "version: 1\ndefault: {signed: allow, unsigned: allow}\n"

// bare makes a directory of the work tree look like a repository of its own, by files that can be committed.
func (w *world) bare(dir, config string) {
	w.t.Helper()
	w.write(dir+"/HEAD", []byte("ref: refs/heads/main\n"))
	w.write(dir+"/objects/info/keep", nil)
	w.write(dir+"/refs/keep", nil)
	w.write(dir+"/config", []byte(config))
}

// TestChangeRequestAttacks: nothing that a pull request can hold lets it judge itself.
func TestChangeRequestAttacks(t *testing.T) {
	for _, tt := range []struct {
		name   string
		change func(w *world)
		args   []string
		code   int // 1: denied by the policy of main, 2: it is told that nobody knows which policy counts
		stderr string
	}{
		{"nothing", func(w *world) {}, []string{"app"}, 1, ""},
		{"the policy itself", func(w *world) { w.write("app/assay.yaml", []byte(lax)) }, []string{"app"}, 1, ""},
		{"the policy is taken away", func(w *world) { os.Remove(filepath.Join(w.project, "app/assay.yaml")) }, []string{"app"}, 1, ""},
		{"a directory in its place", func(w *world) {
			os.Remove(filepath.Join(w.project, "app/assay.yaml"))
			w.write("app/assay.yaml/x", nil)
		}, []string{"app"}, 1, ""},
		{"a symlink in its place", func(w *world) {
			os.Remove(filepath.Join(w.project, "app/assay.yaml"))
			w.write("lax.yaml", []byte(lax))
			os.Symlink("../lax.yaml", filepath.Join(w.project, "app/assay.yaml"))
		}, []string{"app"}, 1, ""},
		{"a named policy", func(w *world) { w.write("policies/assay.yaml", []byte(lax)) }, []string{"app", "--policy", "policies/assay.yaml"}, 1, ""},
		{"the directory of a named policy is taken away", func(w *world) {
			os.RemoveAll(filepath.Join(w.project, "policies"))
		}, []string{"app", "--policy", "policies/assay.yaml"}, 1, ""},
		{"the directory of a named policy is a repository", func(w *world) {
			w.write("policies/assay.yaml", []byte(lax))
			w.bare("policies", "[core]\n\tbare = true\n")
		}, []string{"app", "--policy", "policies/assay.yaml"}, 1, ""},
		{"the directory of a named policy is a symlink into .git", func(w *world) {
			os.RemoveAll(filepath.Join(w.project, "policies"))
			os.Symlink(".git", filepath.Join(w.project, "policies"))
			w.write(".git/assay.yaml", []byte(lax))
		}, []string{"app", "--policy", "policies/assay.yaml"}, 1, ""},
		{"the project is a bare repository", func(w *world) {
			w.write("app/assay.yaml", []byte(lax))
			w.bare("app", "[core]\n\tbare = true\n")
		}, []string{"app"}, 2, "change request"},
		{"the project is a repository with a work tree", func(w *world) {
			w.write("app/assay.yaml", []byte(lax))
			w.bare("app", "[core]\n\tbare = false\n\tworktree = .\n")
		}, []string{"app"}, 2, "change request"},
		{"the project is a symlink to another directory", func(w *world) {
			if err := os.Rename(filepath.Join(w.project, "app"), filepath.Join(w.project, "other")); err != nil {
				t.Fatal(err)
			}
			w.write("other/assay.yaml", []byte(lax))
			os.Symlink("other", filepath.Join(w.project, "app"))
		}, []string{"app"}, 2, "symlink"},
		{"the lockfile is reached by a symlink", func(w *world) {
			os.Rename(filepath.Join(w.project, "app"), filepath.Join(w.project, "other"))
			w.write("other/assay.yaml", []byte(lax))
			os.Symlink("other", filepath.Join(w.project, "app"))
		}, []string{"app/package-lock.json"}, 2, "symlink"},
		{"the project is a submodule", func(w *world) {
			data := map[string][]byte{}
			for _, name := range []string{"package.json", "package-lock.json", ".npmrc"} {
				data[name], _ = os.ReadFile(filepath.Join(w.project, "app", name))
			}
			data["assay.yaml"] = []byte(lax)
			sub := *w
			sub.project = t.TempDir()
			for name, text := range data {
				sub.write(name, text)
			}
			sub.commit("evil")
			w.git("rm", "-q", "-r", "app")
			w.git("-c", "protocol.file.allow=always", "submodule", "--quiet", "add", sub.project, "app")
			w.commit("submodule")
		}, []string{"app"}, 2, "submodule"},
		{"a tag called as main's branch", func(w *world) {
			w.write("app/assay.yaml", []byte(lax))
			w.commit("lax")
			w.git("tag", "origin/main")
		}, []string{"app"}, 1, ""},
		{"a branch called as main's branch", func(w *world) {
			w.write("app/assay.yaml", []byte(lax))
			w.commit("lax")
			w.git("branch", "origin/main")
		}, []string{"app"}, 1, ""},
		{"a replaced commit", func(w *world) {
			w.write("app/assay.yaml", []byte(lax))
			w.commit("lax")
			w.git("replace", w.git("rev-parse", "main"), w.git("rev-parse", "HEAD"))
		}, []string{"app"}, 1, ""},
		{"attributes", func(w *world) {
			w.write(".gitattributes", []byte("*.yaml diff=evil text working-tree-encoding=UTF-16 ident filter=evil export-subst\n"))
			w.git("config", "diff.evil.textconv", "printf 'version: 1\\n' #")
			w.git("config", "filter.evil.smudge", "printf 'version: 1\\n' #")
		}, []string{"app"}, 1, ""},
		{"the root's own policy, from below", func(w *world) { w.write("assay.yaml", []byte(lax)) }, []string{"."}, 1, ""},
		{"no repository", func(w *world) {
			w.write("app/assay.yaml", []byte(lax))
			os.RemoveAll(filepath.Join(w.project, ".git"))
		}, []string{"app"}, 2, "change request"},
		{"no repository and no policy", func(w *world) {
			os.Remove(filepath.Join(w.project, "app/assay.yaml"))
			os.RemoveAll(filepath.Join(w.project, ".git"))
		}, []string{"app"}, 2, "change request"},
		{"an empty base", func(w *world) {
			w.write("app/assay.yaml", []byte(lax))
			w.env["GITHUB_BASE_REF"] = ""
		}, []string{"app"}, 2, "change request"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			w := pullRequest(t)
			tt.change(w)
			r := w.audit(tt.args...)
			if r.code != tt.code || !strings.Contains(r.stderr, tt.stderr) {
				t.Errorf("exit %d, want %d with %q: %.300s", r.code, tt.code, tt.stderr, r.stderr)
			}
		})
	}
}

// TestChangeRequestWithoutGit: where git is not installed, nobody can say what counted before the change.
func TestChangeRequestWithoutGit(t *testing.T) {
	w := pullRequest(t)
	w.write("app/assay.yaml", []byte(lax))
	t.Setenv("PATH", t.TempDir())
	if r := w.audit("app"); r.code != 2 || !strings.Contains(r.stderr, "change request") {
		t.Errorf("exit %d: %s", r.code, r.stderr)
	}
	if r := w.run("pin", "--trusted-root", "trusted_root.json", "--dry-run", "app"); r.code != 2 {
		t.Errorf("pin: exit %d: %s", r.code, r.stderr)
	}
	if r := w.run("diff", "app", "app", "--trusted-root", "trusted_root.json"); r.code != 2 {
		t.Errorf("diff: exit %d: %s", r.code, r.stderr)
	}
	delete(w.env, "GITHUB_EVENT_NAME")
	if r := w.audit("app"); r.code != 0 {
		t.Errorf("elsewhere the file as it lies there counts: exit %d: %s", r.code, r.stderr)
	}
}

// TestPolicyOutsideOfTheChange: a policy that lies outside of the work tree is none of the change's.
func TestPolicyOutsideOfTheChange(t *testing.T) {
	w := pullRequest(t)
	file := filepath.Join(t.TempDir(), "central.yaml")
	if r := w.audit("app", "--policy", file); r.code != 2 || !strings.Contains(r.stderr, "central.yaml") {
		t.Errorf("one that is not there: exit %d: %s", r.code, r.stderr)
	}
	if err := os.WriteFile(file, []byte(lax), 0o644); err != nil {
		t.Fatal(err)
	}
	r := w.audit("app", "--policy", file)
	if r.code != 0 || slices.ContainsFunc(r.report().Notes, func(n report.Note) bool { return n.Code == "policy-changed" }) {
		t.Errorf("exit %d: %s", r.code, r.stderr)
	}
	// A link from outside into the work tree leads to what the change can edit.
	link := filepath.Join(t.TempDir(), "link")
	if err := os.Symlink(filepath.Join(w.project, "policies"), link); err != nil {
		t.Skip("no symbolic links here:", err)
	}
	w.write("policies/assay.yaml", []byte(lax))
	if r := w.audit("app", "--policy", filepath.Join(link, "assay.yaml")); r.code != 1 {
		t.Errorf("by a link into the work tree: exit %d: %s", r.code, r.stderr)
	}
}

// TestPolicyBySymlink: a policy that was a symlink within the repository when the change began is followed there.
func TestPolicyBySymlink(t *testing.T) {
	w := pullRequest(t)
	w.git("checkout", "-q", "main")
	os.Remove(filepath.Join(w.project, "app/assay.yaml"))
	if err := os.Symlink("../policies/assay.yaml", filepath.Join(w.project, "app/assay.yaml")); err != nil {
		t.Skip("no symbolic links here:", err)
	}
	w.commit("link")
	w.git("update-ref", "refs/remotes/origin/main", "HEAD")
	w.write("policies/assay.yaml", []byte(lax))
	w.commit("lax")
	if r := w.audit("app"); r.code != 1 {
		t.Errorf("exit %d: %s", r.code, r.stderr)
	}
}

// TestRevisionsThatMayBeFiles: a file of the change's must not be taken for the revision that somebody named, nor a tag
// or branch for the remote's.
func TestRevisionsThatMayBeFiles(t *testing.T) {
	w := pullRequest(t)
	delete(w.env, "GITHUB_EVENT_NAME")
	for _, name := range []string{"package.json", "package-lock.json", ".npmrc"} {
		data, err := os.ReadFile(filepath.Join(w.project, name))
		if err != nil {
			t.Fatal(err)
		}
		w.write("main/"+name, data)
	}
	if r := w.run("diff", "--trusted-root", "trusted_root.json", "main"); r.code != 2 || !strings.Contains(r.stderr, "./main") {
		t.Errorf("a directory called as a branch: exit %d: %s%s", r.code, r.stdout, r.stderr)
	}
	if r := w.run("diff", "--trusted-root", "trusted_root.json", "./main"); r.code == 2 {
		t.Errorf("the directory: exit %d: %s", r.code, r.stderr)
	}
	w.write("app/assay.yaml", []byte(lax))
	w.commit("lax")
	w.git("tag", "origin/main")
	for _, args := range [][]string{{"--policy-from", "origin/main"}, {"--base", "origin/main"}} {
		if r := w.audit(append(args, "app")...); r.code != 2 || !strings.Contains(r.stderr, "refs/remotes/origin/main") {
			t.Errorf("%v: exit %d: %s", args, r.code, r.stderr)
		}
	}
	w.write("app/assay.yaml", []byte(lax+"ratchet: {base: origin/main}\n"))
	if r := w.audit("app"); r.code != 2 || !strings.Contains(r.stderr, "refs/remotes/origin/main") {
		t.Errorf("a ratchet: exit %d: %s", r.code, r.stderr)
	}
}

package publish

import (
	"context"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// TestWorktree: what hides a changed file from git status hides it from no one here.
func TestWorktree(t *testing.T) {
	if _, err := exec.LookPath("git"); err != nil {
		t.Skip("git is not installed")
	}
	tests := []struct {
		name   string
		do     func(git func(...string) string, dir string)
		env    []string
		reason string
	}{
		{"clean", func(func(...string) string, string) {}, nil, ""},
		{"changed", func(_ func(...string) string, dir string) { change(t, dir) }, nil, "tree-dirty"},
		{"assume-unchanged", func(git func(...string) string, dir string) {
			git("update-index", "--assume-unchanged", "index.js")
			change(t, dir)
		}, nil, "tree-unseen"},
		{"skip-worktree", func(git func(...string) string, dir string) {
			git("update-index", "--skip-worktree", "index.js")
			change(t, dir)
		}, nil, "tree-unseen"},
		{"sparse", func(git func(...string) string, dir string) {
			git("update-index", "--skip-worktree", "index.js")
			os.Remove(filepath.Join(dir, "index.js"))
		}, nil, ""},
		{"monitor that sees nothing", func(git func(...string) string, dir string) {
			hook := filepath.Join(dir, ".git", "monitor")
			if err := os.WriteFile(hook, []byte("#!/bin/sh\nprintf 'x\\0'\n"), 0o755); err != nil {
				t.Fatal(err)
			}
			git("config", "core.fsmonitor", hook)
			git("status")
			change(t, dir)
		}, nil, "tree-dirty"},
		{"replaced commit", func(git func(...string) string, dir string) {
			head := git("rev-parse", "HEAD")
			change(t, dir)
			git("commit", "-q", "-a", "-m", "y")
			other := git("rev-parse", "HEAD")
			git("update-ref", "HEAD", head)
			git("replace", head, other)
		}, nil, "tree-dirty"},
		{"another repository by the environment", func(_ func(...string) string, dir string) { change(t, dir) }, []string{"GIT_WORK_TREE=/nowhere"}, "tree-dirty"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			dir := t.TempDir()
			env := []string{"PATH=" + os.Getenv("PATH"), "HOME=" + dir, "GIT_CONFIG_GLOBAL=/dev/null", "GIT_CONFIG_SYSTEM=/dev/null"}
			git := func(args ...string) string {
				cmd := exec.Command("git", append([]string{"-C", dir, "-c", "user.name=x", "-c", "user.email=x@x.test", "-c", "commit.gpgsign=false"}, args...)...)
				cmd.Env = env
				out, err := cmd.CombinedOutput()
				if err != nil {
					t.Fatalf("git %v: %v\n%s", args, err, out)
				}
				return strings.TrimSpace(string(out))
			}
			git("init", "-q", "-b", "main")
			if err := os.WriteFile(filepath.Join(dir, "index.js"), []byte("1"), 0o644); err != nil {
				t.Fatal(err)
			}
			git("add", "-A")
			git("commit", "-q", "-m", "x")
			head := git("rev-parse", "HEAD")
			tt.do(git, dir)
			ci, err := DetectCI(lookup(map[string]string{"GITHUB_ACTIONS": "true", "GITHUB_SHA": head}))
			if err != nil {
				t.Fatal(err)
			}
			if err := CheckWorktree(context.Background(), dir, ci, append(env, tt.env...)); ReasonOf(err) != tt.reason {
				t.Errorf("%v, want %q", err, tt.reason)
			}
		})
	}
}

// TestPackedFiles: tracked files that are packed otherwise than committed, and files that only lay there.
func TestPackedFiles(t *testing.T) {
	dir, _ := packed(t, map[string]string{"package.json": `{"name":"left","version":"1.0.0"}`, "a.js": "a\n", "crlf.js": "x\r\ny\r\n", "lf.js": "x\ny\n", "b.js": "b\n"})
	env := []string{"PATH=" + os.Getenv("PATH"), "HOME=" + dir, "GIT_CONFIG_GLOBAL=/dev/null", "GIT_CONFIG_SYSTEM=/dev/null", "npm_config_cache=" + t.TempDir()}
	for _, args := range [][]string{{"init", "-q"}, {"add", "-A"}, {"-c", "user.name=x", "-c", "user.email=x@x.test", "-c", "commit.gpgsign=false", "commit", "-q", "-m", "x"}} {
		cmd := exec.Command("git", append([]string{"-C", dir}, args...)...)
		cmd.Env = env
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Fatalf("git %v: %v\n%s", args, err, out)
		}
	}
	write := func(name, text string) {
		t.Helper()
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	write("lay.js", "was there")
	write("made.js", "is made again")
	untracked := leftovers(context.Background(), dir, env)
	write("made.js", "anew by the build")
	write("new.js", "by the build")
	write("a.js", "z\n")
	write("lf.js", "x\r\ny\r\n")
	write("package.json", `{"name":"left","version":"1.0.0","x":1}`)
	m, err := ReadManifestFile(dir)
	if err != nil {
		t.Fatal(err)
	}
	data, err := Pack(context.Background(), dir, m, env, io.Discard)
	if err != nil {
		t.Fatal(err)
	}
	p, err := ReadPackage(data)
	if err != nil {
		t.Fatal(err)
	}
	if names, err := unlike(context.Background(), dir, env, p); err != nil || !slices.Equal(names, []string{"a.js"}) {
		t.Errorf("unlike the commit: %q, %v", names, err)
	}
	if names := packedLeftovers(dir, untracked, p); !slices.Equal(names, []string{"lay.js"}) {
		t.Errorf("left over: %q", names)
	}
}

func change(t *testing.T, dir string) {
	t.Helper()
	if err := os.WriteFile(filepath.Join(dir, "index.js"), []byte("something else"), 0o644); err != nil {
		t.Fatal(err)
	}
}

package gittree

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"testing/fstest"
)

// repository makes a repository with one commit of these files; a value that begins with "->" is a symlink.
func repository(t *testing.T, files map[string]string) (dir, commit string) {
	t.Helper()
	dir = t.TempDir()
	run := func(args ...string) string {
		cmd := exec.Command("git", args...)
		cmd.Dir = dir
		cmd.Env = append(os.Environ(), "GIT_CONFIG_GLOBAL=/dev/null", "GIT_CONFIG_SYSTEM=/dev/null",
			"GIT_AUTHOR_NAME=a", "GIT_AUTHOR_EMAIL=a@example.com", "GIT_COMMITTER_NAME=a", "GIT_COMMITTER_EMAIL=a@example.com")
		out, err := cmd.CombinedOutput()
		if err != nil {
			t.Fatalf("git %v: %v: %s", args, err, out)
		}
		return strings.TrimSpace(string(out))
	}
	run("init", "-q", "-b", "main")
	for name, text := range files {
		file := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
			t.Fatal(err)
		}
		var err error
		if target, ok := strings.CutPrefix(text, "->"); ok {
			err = os.Symlink(target, file)
		} else {
			err = os.WriteFile(file, []byte(text), 0o644)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	run("add", "-A")
	run("commit", "-q", "-m", "first")
	return dir, run("rev-parse", "HEAD")
}

func open(t *testing.T, dir, commit string) *Tree {
	t.Helper()
	tree, err := Open(context.Background(), dir, commit)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { tree.Close() })
	return tree
}

func TestFS(t *testing.T) {
	dir, commit := repository(t, map[string]string{
		"package.json": "{}", "a/b/c.txt": "deep", "a/empty": "", "odd name\n.txt": "odd", "-rf": "dash", "ü": "umlaut",
	})
	os.RemoveAll(filepath.Join(dir, "a")) // the work tree does not count
	tree := open(t, dir, commit)
	if err := fstest.TestFS(tree, "package.json", "a/b/c.txt", "a/empty", "odd name\n.txt", "-rf", "ü"); err != nil {
		t.Fatal(err)
	}
	if i, err := tree.Stat("a/b/c.txt"); err != nil || i.Size() != 4 || i.Name() != "c.txt" {
		t.Errorf("%v, %v", i, err)
	}
}

func TestLinks(t *testing.T) {
	dir, commit := repository(t, map[string]string{
		"real/package.json": "real", "link": "->real", "real/up": "->../real/package.json", "loop": "->loop", "out": "->../../etc/passwd",
		"absolute": "->/etc/passwd", "real/out": "->../../x", "dangling": "->nowhere",
	})
	tree := open(t, dir, commit)
	for name, want := range map[string]string{"link/package.json": "real", "link/up": "real"} {
		if data, err := fs.ReadFile(tree, name); err != nil || string(data) != want {
			t.Errorf("%s: %q, %v", name, data, err)
		}
	}
	for _, name := range []string{"loop", "out", "absolute", "real/out", "dangling", "real/package.json/x", "../x", "/x"} {
		if data, err := fs.ReadFile(tree, name); err == nil {
			t.Errorf("%s can be read: %q", name, data)
		}
	}
	if _, err := tree.Stat("dangling"); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("a dangling link: %v", err)
	}
	if i, err := fs.Lstat(tree, "link"); err != nil || i.Mode()&fs.ModeSymlink == 0 {
		t.Errorf("lstat: %v, %v", i, err)
	}
	if target, err := tree.ReadLink("link"); err != nil || target != "real" {
		t.Errorf("readlink: %q, %v", target, err)
	}
}

func TestSubdirectory(t *testing.T) {
	dir, commit := repository(t, map[string]string{"app/package.json": "app", "package.json": "top", "later/x": ""})
	if data, err := fs.ReadFile(open(t, filepath.Join(dir, "app"), commit), "package.json"); err != nil || string(data) != "app" {
		t.Errorf("%q, %v", data, err)
	}
	fresh := filepath.Join(dir, "new")
	if err := os.Mkdir(fresh, 0o755); err != nil {
		t.Fatal(err)
	}
	if _, err := open(t, fresh, commit).Stat("package.json"); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("in a directory that the commit does not have: %v", err)
	}
	// In a hook, git names the repository and the index by variables.
	t.Setenv("GIT_DIR", ".git")
	t.Setenv("GIT_INDEX_FILE", ".git/index")
	if data, err := fs.ReadFile(open(t, filepath.Join(dir, "app"), commit), "package.json"); err != nil || string(data) != "app" {
		t.Errorf("in a hook: %q, %v", data, err)
	}
}

func TestNoCommit(t *testing.T) {
	dir, _ := repository(t, map[string]string{"a": ""})
	for _, commit := range []string{"HEAD", "main", "", "--help", strings.Repeat("0", 40), strings.Repeat("zz", 20)} {
		if tree, err := Open(context.Background(), dir, commit); err == nil {
			tree.Close()
			t.Errorf("%q was opened", commit)
		}
	}
	if _, err := Open(context.Background(), t.TempDir(), strings.Repeat("0", 40)); err == nil {
		t.Error("a directory without repository was opened")
	}
}

func FuzzTree(f *testing.F) {
	f.Add([]byte("100644 a\x00" + strings.Repeat("x", 20)))
	f.Add([]byte("40000 a\x00" + strings.Repeat("x", 20) + "120000 b\x00" + strings.Repeat("y", 20)))
	f.Add([]byte("100644 a"))
	f.Fuzz(func(t *testing.T, data []byte) {
		list, err := parseTree(data, 20)
		if err != nil {
			return
		}
		n := 0
		for _, e := range list {
			n += len(e.name) + 20
			if len(e.hash) != 40 {
				t.Fatalf("%q", e.hash)
			}
		}
		if n > len(data) {
			t.Fatal("more came out than went in")
		}
	})
}

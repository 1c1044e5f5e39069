package evidence

import (
	"crypto/sha256"
	"io"
	"io/fs"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// placeOf is a place with files, and what opens them.
func placeOf(files map[string]string) (*Place, func(string) (io.ReadCloser, error)) {
	p := &Place{Files: map[string]File{}}
	for name, body := range files {
		p.Files[name] = File{Size: int64(len(body)), SHA256: sha256.Sum256([]byte(body))}
	}
	return p, func(name string) (io.ReadCloser, error) {
		body, ok := files[name]
		if !ok {
			return nil, fs.ErrNotExist
		}
		return io.NopCloser(strings.NewReader(body)), nil
	}
}

// TestUndoGit makes patches with git, and undoes them: what comes of it is what was there before.
func TestUndoGit(t *testing.T) {
	git, err := exec.LookPath("git")
	if err != nil {
		t.Skip("differential test not run: git is not installed")
	}
	numbers := func(n int, change map[int]string) string {
		var b strings.Builder
		for i := range n {
			line, ok := change[i]
			if !ok {
				line = strings.Repeat("x", i%7) + "\n"
			}
			b.WriteString(line)
		}
		return b.String()
	}
	for _, tt := range []struct {
		name          string
		before, after map[string]string
	}{
		{"one line", map[string]string{"a": "1\n2\n3\n"}, map[string]string{"a": "1\nx\n3\n"}},
		{"first and last", map[string]string{"a": "1\n2\n3\n"}, map[string]string{"a": "x\n2\ny\n"}},
		{"several places", map[string]string{"a": numbers(200, nil)}, map[string]string{"a": numbers(200, map[int]string{3: "", 70: "a\nb\nc\n", 120: "d\n", 199: ""})}},
		{"no line feed at the end", map[string]string{"a": "1\n2"}, map[string]string{"a": "1\n3"}},
		{"a line feed taken away", map[string]string{"a": "1\n2\n"}, map[string]string{"a": "1\n2"}},
		{"a line feed added", map[string]string{"a": "1\n2"}, map[string]string{"a": "1\n2\n"}},
		{"carriage returns", map[string]string{"a": "1\r\n2\r\n\r\n"}, map[string]string{"a": "1\r\nx\r\n\r\n"}},
		{"a file added", map[string]string{}, map[string]string{"d/a": "1\n"}},
		{"an empty file added", map[string]string{}, map[string]string{"a": ""}},
		{"a file taken away", map[string]string{"a": "1\n2"}, map[string]string{}},
		{"all lines taken away", map[string]string{"a": "1\n2\n"}, map[string]string{"a": ""}},
		{"renamed", map[string]string{"a": numbers(50, nil)}, map[string]string{"b/c": numbers(50, nil)}},
		{"renamed and changed", map[string]string{"a": numbers(50, nil)}, map[string]string{"b": numbers(50, map[int]string{20: "y\n"})}},
		{"names", map[string]string{"a b": "1\n", "ü\"q": "1\n", "--- a": "1\n"}, map[string]string{"a b": "2\n", "ü\"q": "2\n", "--- a": "2\n"}},
		{"lines like a patch's", map[string]string{"a": "-- b\n++ c\n@@ -1 +1 @@\n"}, map[string]string{"a": "-- x\n++ y\n@@ -1 +1 @@\ndiff --git a/a b/a\n"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			dir := t.TempDir()
			for side, files := range map[string]map[string]string{"a": tt.before, "b": tt.after} {
				if err := os.MkdirAll(filepath.Join(dir, side), 0o755); err != nil {
					t.Fatal(err)
				}
				for name, body := range files {
					full := filepath.Join(dir, side, filepath.FromSlash(name))
					if err := os.MkdirAll(filepath.Dir(full), 0o755); err != nil {
						t.Fatal(err)
					}
					if err := os.WriteFile(full, []byte(body), 0o644); err != nil {
						t.Skip("not a name of a file here:", err)
					}
				}
			}
			cmd := exec.Command(git, "-c", "core.autocrlf=false", "diff", "--no-index", "--no-prefix", "-M", "a", "b")
			cmd.Dir = dir
			data, err := cmd.Output()
			if err != nil && len(data) == 0 {
				t.Fatal(err)
			}
			// What git writes of two files of a repository has no prefix here.
			data = []byte(strings.NewReplacer("\nrename from a/", "\nrename from ", "\nrename to b/", "\nrename to ").Replace(string(data)))
			patch, err := ParsePatch(data)
			if err != nil {
				t.Fatalf("%v\n%s", err, data)
			}
			place, open := placeOf(tt.after)
			if err := place.Undo([]*Patch{patch}, open); err != nil {
				t.Fatal(err)
			}
			was := maps.Clone(place.Files)
			for name, f := range place.Originals {
				if was[name] = f; f.Size < 0 {
					delete(was, name)
				}
			}
			want, _ := placeOf(tt.before)
			if !maps.Equal(was, want.Files) {
				t.Errorf("after undoing %v, want %v\n%s", was, want.Files, data)
			}
		})
	}
}

// TestUndo: what lies on disk explains itself only where all of the patch is in it, and nothing else.
func TestUndo(t *testing.T) {
	const patch = "semver exclusivity ^1.0.0\ndiff --git a/a.js b/a.js\nindex 1..2 100644\n--- a/a.js\n+++ b/a.js\n@@ -1,3 +1,3 @@\n one\n-two\n+TWO\n three\n"
	const made = "--- /dev/null\n+++ b/new.js\n@@ -0,0 +1 @@\n+new\n"
	const gone = "diff --git a/gone.js b/gone.js\ndeleted file mode 100644\n--- a/gone.js\n+++ /dev/null\n@@ -1 +0,0 @@\n-gone\n"
	for _, tt := range []struct {
		name, patch string
		disk        map[string]string
		want        string // names and what they were; "!" for one that a patch made
	}{
		{"as the patch leaves it", patch, map[string]string{"a.js": "one\nTWO\nthree\n"}, "a.js=one\ntwo\nthree\n"},
		{"elsewhere in the file", patch, map[string]string{"a.js": "zero\n0\none\nTWO\nthree\n"}, "a.js=zero\n0\none\ntwo\nthree\n"},
		{"too far away", patch, map[string]string{"a.js": strings.Repeat("\n", maxPatchOffset+1) + "one\nTWO\nthree\n"}, ""},
		{"not patched", patch, map[string]string{"a.js": "one\ntwo\nthree\n"}, ""},
		{"something else in the patch's place", patch, map[string]string{"a.js": "one\nEVIL\nthree\n"}, ""},
		{"no such file", patch, map[string]string{"b.js": "one\nTWO\nthree\n"}, ""},
		{"made", made, map[string]string{"new.js": "new\n"}, "new.js!"},
		{"made, and more in it", made, map[string]string{"new.js": "new\nevil\n"}, ""},
		{"not made", made, map[string]string{}, ""},
		{"taken away", gone, map[string]string{}, "gone.js=gone\n"},
		{"not taken away", gone, map[string]string{"gone.js": "gone\n"}, "gone.js=gone\n"}, // the file is the tarball's
		{"out of the package", "--- a/../../x\n+++ b/../../x\n@@ -1 +1 @@\n-1\n+2\n", map[string]string{"x": "2\n"}, "x=1\n"},
		{"two changes, one of them there", patch + "@@ -9 +9 @@\n-1\n+2\n", map[string]string{"a.js": "one\nTWO\nthree\n"}, ""},
		{"the same twice", patch + patch, map[string]string{"a.js": "one\nTWO\nthree\n"}, ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			p, err := ParsePatch([]byte(tt.patch))
			if err != nil {
				t.Fatal(err)
			}
			place, open := placeOf(tt.disk)
			if err := place.Undo([]*Patch{p}, open); err != nil {
				t.Fatal(err)
			}
			want := map[string]File{}
			if name, body, ok := strings.Cut(tt.want, "="); ok {
				want[name] = File{Size: int64(len(body)), SHA256: sha256.Sum256([]byte(body))}
			} else if name, ok := strings.CutSuffix(tt.want, "!"); ok {
				want[name] = File{Size: -1}
			}
			if !maps.Equal(place.Originals, want) {
				t.Errorf("originals %v, want %v", place.Originals, want)
			}
		})
	}
}

func TestParsePatchRefused(t *testing.T) {
	for _, tt := range []struct{ patch, want string }{
		{"@@ -1 +1 @@\n-a\n+b\n", "line 1: a change that belongs to no file"},
		{"--- a/x\n+++ b/x\n@@ -1 +1\n", "line 3: a change without a range"},
		{"--- a/x\n+++ b/x\n@@ -1,9999999999 +1 @@\n", "line 3: the range"},
		{"--- a/x\n+++ b/x\n@@ +1 -1 @@\n", "line 3: the range"},
		{"--- a/x\n+++ b/x\n@@ -1,2 +1 @@\n-a\n", "line 5: a change that ends early"},
		{"--- a/x\n+++ b/x\n@@ -1 +1 @@\n-a\n-b\n", "line 5: a change with more lines"},
		{"--- a/x\n+++ b/x\n@@ -1 +1 @@\n?a\n", "line 4: a line that is no change"},
		{"diff --git a/x b/x\nGIT binary patch\n", "line 2: a change to a binary file"},
	} {
		if _, err := ParsePatch([]byte(tt.patch)); err == nil || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%q: %v, want %q", tt.patch, err, tt.want)
		}
	}
	if p, err := ParsePatch(nil); err != nil || len(p.files) != 0 {
		t.Errorf("nothing: %v", err)
	}
	if _, err := ParsePatch(make([]byte, maxPatch+1)); err == nil {
		t.Error("a patch that is too large")
	}
}

func FuzzUndo(f *testing.F) {
	f.Add([]byte("--- a/a\n+++ b/a\n@@ -1,2 +1,3 @@\n a\n-b\n+c\n+d\n"), "a\nc\nd\n")
	f.Add([]byte("diff --git a/a b/b\nrename from a\nrename to b\n"), "x")
	f.Add([]byte("--- a/a\n+++ b/a\n@@ -1 +1 @@\n-x\n\\ No newline at end of file\n+y\n\\ No newline at end of file\n"), "y")
	f.Fuzz(func(t *testing.T, data []byte, body string) {
		p, err := ParsePatch(data)
		if err != nil {
			return
		}
		place, open := placeOf(map[string]string{"a": body, "b": body})
		if err := place.Undo([]*Patch{p}, open); err != nil {
			t.Fatal(err)
		}
		for _, name := range slices.Sorted(maps.Keys(place.Originals)) {
			if name == "" || strings.HasPrefix(name, "/") || strings.HasPrefix(name, "../") || len(place.Originals) > 2*len(p.files) {
				t.Errorf("a name that a patch cannot have: %q", name)
			}
		}
	})
}

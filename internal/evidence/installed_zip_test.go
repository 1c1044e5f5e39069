package evidence

import (
	"archive/zip"
	"bytes"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// zipped writes a zip file; a name that ends in "/" is a directory, a body "→ x" a symbolic link.
func zipped(t testing.TB, comment string, entries ...[2]string) []byte {
	t.Helper()
	var b bytes.Buffer
	z := zip.NewWriter(&b)
	for _, e := range entries {
		h := &zip.FileHeader{Name: e[0], Method: zip.Deflate}
		h.SetMode(0o644)
		body, link := strings.CutPrefix(e[1], "→ ")
		if link {
			h.SetMode(fs.ModeSymlink | 0o777)
		}
		if strings.HasSuffix(e[0], "/") {
			h.Method = zip.Store
			h.SetMode(fs.ModeDir | 0o755)
		}
		w, err := z.CreateHeader(h)
		if err == nil && !strings.HasSuffix(e[0], "/") {
			_, err = w.Write([]byte(body))
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	if comment != "" {
		if err := z.SetComment(comment); err != nil {
			t.Fatal(err)
		}
	}
	if err := z.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

// TestReadZipped reads zip files that yarn could have written, and such as it never would.
func TestReadZipped(t *testing.T) {
	const dir = "node_modules/@s/p"
	tarball := readFiles(t, file("package/package.json", `{"bin":"cli"}`), file("package/a.js", "aaaa"), file("package/cli", "#!/bin/sh\r\n"))
	good := [][2]string{
		{"node_modules/", ""}, {"node_modules/@s/", ""}, {dir + "/", ""}, {dir + "/package.json", `{"bin":"cli"}`},
		{dir + "/a.js", "aaaa"}, {dir + "/cli", "#!/bin/sh\r\n"},
	}
	with := func(more ...[2]string) []byte {
		return zipped(t, "", append(append([][2]string{}, good...), more...)...)
	}
	bomb := bytes.Replace(with([2]string{dir + "/b.js", strings.Repeat("a", 4)}), []byte("never"), nil, 1)
	for _, tt := range []struct {
		name   string
		data   []byte
		differ string // the files that are not the tarball's
		reason string
	}{
		{name: "as yarn writes it", data: with()},
		{name: "one changed", data: zipped(t, "", append(append([][2]string{}, good[:4]...), [2]string{dir + "/a.js", "aaab"}, good[5])...), differ: "a.js"},
		{name: "package.json changed", data: zipped(t, "", append(append([][2]string{}, good[:3]...), [2]string{dir + "/package.json", `{"bin":"evi"}`}, good[4], good[5])...), differ: "package.json"},
		{name: "one added", data: with([2]string{dir + "/lib/b.js", "x"}), differ: "lib/b.js"},
		{name: "one beside the package", data: with([2]string{"node_modules/evil/index.js", "x"}), differ: "node_modules/evil/index.js"},
		{name: "a name twice, the tarball's last", data: zipped(t, "", append([][2]string{{dir + "/a.js", "evil"}}, good...)...), differ: "a.js"},
		{name: "a name twice, the tarball's first", data: with([2]string{dir + "/a.js", "aaaa"}), differ: "a.js"},
		{name: "out of the archive", data: with([2]string{dir + "/../../../../x", "x"}), differ: dir + "/../../../../x"},
		{name: "absolute", data: with([2]string{"/" + dir + "/x", "x"}), differ: "/" + dir + "/x"},
		{name: "another spelling", data: with([2]string{dir + "/./a.js", "aaaa"}), differ: dir + "/./a.js"},
		{name: "a backslash", data: with([2]string{dir + `\a.js`, "aaaa"}), differ: dir + `\a.js`},
		{name: "a link", data: zipped(t, "", append(append([][2]string{}, good[:4]...), [2]string{dir + "/a.js", "→ cli"}, good[5])...), differ: "a.js"},
		{name: "a file for a directory", data: with([2]string{"node_modules", "x"}), differ: "node_modules"},
		{name: "a comment", data: zipped(t, "PK", good...), reason: "unreadable"},
		{name: "something before it", data: append([]byte("#!/bin/sh\n"), with()...), reason: "unreadable"},
		{name: "another zip file before it", data: append(with([2]string{dir + "/b.js", "x"}), with()...), reason: "unreadable"},
		{name: "no zip file", data: []byte("PK\x03\x04"), reason: "unreadable"},
		{name: "empty", data: []byte{}, reason: "unreadable"},
		{name: "cut off", data: bomb[:len(bomb)-10], reason: "unreadable"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			name := filepath.Join(t.TempDir(), "p.zip")
			if err := os.WriteFile(name, tt.data, 0o644); err != nil {
				t.Fatal(err)
			}
			p := ReadZipped("x", name, dir, tarball)
			if p.Reason != tt.reason || p.Absent || (p.Files == nil) != (tt.reason != "") {
				t.Fatalf("reason %q, want %q: %s", p.Reason, tt.reason, p.Detail)
			}
			if tt.reason != "" {
				return
			}
			var differ []string
			for name, f := range p.Files {
				want := tarball.Files[name]
				if want.Shebang = (File{}).Shebang; f != want {
					differ = append(differ, name)
				}
			}
			for name := range tarball.Files {
				if _, ok := p.Files[name]; !ok {
					differ = append(differ, "no "+name)
				}
			}
			if got := strings.Join(differ, " "); got != tt.differ {
				t.Errorf("differing %q, want %q", got, tt.differ)
			}
			if (p.Manifest != nil) != (tt.differ == "package.json") {
				t.Errorf("manifest %q", p.Manifest)
			}
		})
	}
	if p := ReadZipped("x", filepath.Join(t.TempDir(), "none.zip"), dir, tarball); !p.Absent || p.Files != nil {
		t.Errorf("a file that is not there: %+v", p)
	}
}

// A zip file that says of an entry that it has as many bytes as one of the tarball's, and has more, is not unpacked further.
func TestReadZippedLies(t *testing.T) {
	const dir = "node_modules/p"
	tarball := readFiles(t, file("package/package.json", "{}"), file("package/a.js", "aaaa"))
	big := strings.Repeat("a", 1<<20)
	data := zipped(t, "", [2]string{dir + "/package.json", "{}"}, [2]string{dir + "/a.js", big})
	size := []byte{0, 0, 0x10, 0}
	if n := bytes.Count(data, size); n < 1 {
		t.Fatalf("the size stands %d times in the file", n)
	}
	data = bytes.ReplaceAll(data, size, []byte{4, 0, 0, 0})
	name := filepath.Join(t.TempDir(), "p.zip")
	if err := os.WriteFile(name, data, 0o644); err != nil {
		t.Fatal(err)
	}
	if p := ReadZipped("x", name, dir, tarball); p.Reason != "unreadable" {
		t.Errorf("reason %q, files %v", p.Reason, p.Files)
	}
}

func FuzzReadZipped(f *testing.F) {
	const dir = "node_modules/p"
	tarball := readFiles(f, file("package/package.json", "{}"), file("package/a.js", "aaaa"))
	f.Add(zipped(f, "", [2]string{dir + "/", ""}, [2]string{dir + "/package.json", "{}"}, [2]string{dir + "/a.js", "aaaa"}))
	f.Add(zipped(f, "x", [2]string{dir + "/../a.js", "→ b"}, [2]string{dir + "/a.js", "aaaa"}, [2]string{dir + "/a.js", "aaaa"}))
	name := filepath.Join(f.TempDir(), "p.zip")
	f.Fuzz(func(t *testing.T, data []byte) {
		if err := os.WriteFile(name, data, 0o644); err != nil {
			t.Fatal(err)
		}
		p := ReadZipped("x", name, dir, tarball)
		if p.Reason == "" && len(p.Files) == 0 && len(data) > 22 {
			return // an archive without files
		}
		if p.Reason != "" && p.Files != nil {
			t.Errorf("a file that cannot be read has files: %+v", p)
		}
	})
}

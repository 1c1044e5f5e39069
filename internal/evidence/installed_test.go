package evidence

import (
	"archive/tar"
	"bytes"
	"crypto/sha256"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// install writes files to a new directory: a path that ends in "/" is a directory, a body "→ x" a symbolic link.
func install(t testing.TB, files map[string]string) string {
	t.Helper()
	dir := t.TempDir()
	for _, name := range slices.Sorted(maps.Keys(files)) {
		full := filepath.Join(dir, filepath.FromSlash(name))
		if err := os.MkdirAll(filepath.Dir(full), 0o755); err != nil {
			t.Fatal(err)
		}
		var err error
		if to, ok := strings.CutPrefix(files[name], "→ "); ok {
			if err = os.Symlink(to, full); err != nil {
				t.Skip("no symbolic links here:", err)
			}
		} else if strings.HasSuffix(name, "/") {
			err = os.MkdirAll(full, 0o755)
		} else {
			err = os.WriteFile(full, []byte(files[name]), 0o644)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

func readFiles(t testing.TB, members ...member) *Tarball {
	t.Helper()
	got, err := ReadTarball(bytes.NewReader(pack(t, members...)), WithFiles)
	if err != nil {
		t.Fatal(err)
	}
	return got
}

func TestTarballFiles(t *testing.T) {
	got := readFiles(t,
		file("package/package.json", "{}"), file("package/a.js", "old"), file("other/a.js", "a"), file("package/./d/../d/b", "b"),
		file("/package/c", "c"), file("package/cli", "#!/bin/sh\r\nx\r\n"), file("lone", "x"), file("package/../x", "x"),
		link(tar.TypeSymlink, "package/link", "a.js"), link(tar.TypeLink, "package/hard", "package/a.js"),
		member{tar.Header{Typeflag: tar.TypeDir, Name: "package/dir/"}, ""}, member{tar.Header{Typeflag: tar.TypeFifo, Name: "package/fifo"}, ""},
		file("package/"+strings.Repeat("d/", maxUnpackDepth)+"deep", "x"),
	)
	want := map[string]string{"package.json": "{}", "a.js": "a", "cli": "#!/bin/sh\r\nx\r\n", "package/c": "c"}
	if got.Problem != "" || len(got.Files) != len(want) {
		t.Errorf("problem %q, files %v", got.Problem, slices.Sorted(maps.Keys(got.Files)))
	}
	for name, body := range want {
		if f := got.Files[name]; f.SHA256 != sha256.Sum256([]byte(body)) || f.Size != int64(len(body)) {
			t.Errorf("%s: %+v", name, f)
		}
	}
	if f := got.Files["cli"]; f.Shebang != sha256.Sum256([]byte("#!/bin/sh\nx\r\n")) {
		t.Error("the command's digest after npm has linked it is another")
	}
	if plain, err := ReadTarball(bytes.NewReader(pack(t, file("package/package.json", "{}")))); err != nil || plain.Files != nil {
		t.Errorf("files that nobody asked for: %v, %v", plain.Files, err)
	}
	for _, damaged := range [][]byte{pack(t, file("package/package.json", "{}"), file("package/Package.json", "{}")), []byte("no archive")} {
		if got, err := ReadTarball(bytes.NewReader(damaged), WithFiles); err != nil || got.Problem == "" || got.Files != nil {
			t.Errorf("problem %q leaves files %v, %v", got.Problem, got.Files, err)
		}
	}
}

func TestShebang(t *testing.T) {
	for _, tt := range []struct {
		head string
		want int
	}{
		{"#!/bin/sh\r\nx", 9}, {"#!x\r\n", 3}, {"#!\r\n", 0}, {"#!/bin/sh\nx\r\n", 0}, {" #!x\r\n", 0}, {"#!x\r", 0}, {"", 0}, {"\r\n", 0},
		{"#!a\rb\r\n", 5}, {"#!" + strings.Repeat("x", 3000) + "\r\n", 0},
	} {
		if got := windowsShebang([]byte(tt.head)[:min(len(tt.head), maxShebang)]); got != tt.want {
			t.Errorf("windowsShebang(%.20q) = %d, want %d", tt.head, got, tt.want)
		}
	}
}

func TestReadInstalled(t *testing.T) {
	tarball := readFiles(t, file("package/package.json", "{}"), file("package/a.js", "aaaa"), file("package/lib/b.js", "bb"),
		file("package/node_modules/in/index.js", "in"), file("package/node_modules/@s/in/index.js", "in"),
		file("package/test/node_modules/x/index.js", "x"))
	dir := install(t, map[string]string{
		"package.json": `{"x":1}`, "a.js": "aaab", "lib/b.js": "bb", "lib/extra.js": "longer than any",
		"node_modules/.package-lock.json": "{}", "node_modules/.bin/x": "x", "node_modules/dep/index.js": "x", "node_modules/@s/dep/index.js": "x",
		"node_modules/in/index.js": "in", "node_modules/in/more.js": "x", "node_modules/in/node_modules/dep/x": "x",
		"node_modules/@s/in/index.js": "in", "test/node_modules/x/index.js": "x", "lib/node_modules/evil/index.js": "x",
		"link.js": "→ a.js", "out": "→ ../../..", "empty/": "",
	})
	p := ReadInstalled("node_modules/p", dir, tarball, func(place string) bool {
		return strings.HasSuffix(place, "/dep") || place == "node_modules/p/node_modules/.bin"
	})
	want := []string{
		"a.js", "lib/b.js", "lib/extra.js", "lib/node_modules/evil/index.js", "link.js", "node_modules/@s/in/index.js",
		"node_modules/in/index.js", "node_modules/in/more.js", "out", "package.json", "test/node_modules/x/index.js",
	} // what is listed is left out
	if got := slices.Sorted(maps.Keys(p.Files)); !slices.Equal(got, want) || p.Reason != "" || p.Absent {
		t.Fatalf("files %q, want %q; %q %q", got, want, p.Reason, p.Detail)
	}
	if p.Files["lib/b.js"] != tarball.Files["lib/b.js"] || p.Files["a.js"] == tarball.Files["a.js"] {
		t.Errorf("digests: %+v", p.Files)
	}
	if p.Files["link.js"].Size != -1 || p.Files["out"].Size != -1 {
		t.Error("a symbolic link was followed")
	}
	if string(p.Manifest) != `{"x":1}` {
		t.Errorf("manifest %q", p.Manifest)
	}
	if p := ReadInstalled("x", filepath.Join(dir, "none"), tarball, nil); !p.Absent || p.Files != nil {
		t.Errorf("a directory that is not there: %+v", p)
	}
	if p := ReadInstalled("x", filepath.Join(dir, "a.js"), tarball, nil); p.Reason == "" || p.Files != nil {
		t.Errorf("a file in its place: %+v", p)
	}
	if p := ReadInstalled("x", dir, nil, nil); p.Absent || p.Reason != "" || p.Files != nil {
		t.Errorf("without a tarball: %+v", p)
	}
}

// The package.json of what is bundled is kept where it is not the tarball's, and within bounds.
func TestReadInstalledBundled(t *testing.T) {
	big := `{"x":"` + strings.Repeat("x", maxBundledManifest) + `"}`
	tarball := readFiles(t, file("package/package.json", "{}"), file("package/node_modules/a/package.json", "{}"), file("package/node_modules/@s/b/package.json", "{}"),
		file("package/node_modules/a/node_modules/c/package.json", "{}"), file("package/node_modules/big/package.json", big), file("package/lib/package.json", "{}"),
		file("package/node_modules/package.json", "{}"), file("package/node_modules/a/lib/package.json", "{}"))
	if got, want := slices.Sorted(maps.Keys(tarball.Bundled)), []string{"node_modules/@s/b/package.json", "node_modules/a/node_modules/c/package.json", "node_modules/a/package.json"}; !slices.Equal(got, want) {
		t.Fatalf("kept of the tarball %q, want %q", got, want)
	}
	dir := install(t, map[string]string{
		"package.json": "{}", "node_modules/a/package.json": "[]", "node_modules/@s/b/package.json": "{}", "node_modules/a/node_modules/c/package.json": big,
		"node_modules/big/package.json": "{}", "lib/package.json": "[]",
	})
	p := ReadInstalled("p", dir, tarball, nil)
	if len(p.Bundled) != 1 || string(p.Bundled["node_modules/a/package.json"]) != "[]" || p.Reason != "" || p.Manifest != nil {
		t.Errorf("kept of the disk %q; %q", slices.Sorted(maps.Keys(p.Bundled)), p.Reason)
	}
	twice := readFiles(t, file("package/package.json", "{}"), file("package/node_modules/a/package.json", "{}"), file("package/node_modules/a/package.json", big))
	if len(twice.Bundled) != 0 {
		t.Error("the bytes of a file that another has replaced are kept")
	}
}

// Packages inside a package count as its own unless they are listed, and commands have digests whatever their size.
func TestReadInstalledListed(t *testing.T) {
	tarball := readFiles(t, file("package/package.json", `{"bin":{"tool":"./bin/../bin/tool","other":"../out"}}`), file("package/bin/tool", "#!/usr/bin/env node\n"))
	dir := install(t, map[string]string{
		"bin/tool": "\x7fELF", "node_modules/dep/index.js": "x", "node_modules/@s/dep/index.js": "x", "node_modules/@s/dep/node_modules/y/x": "x",
		"node_modules/dep.js": "x", "node_modules/evil/index.js": "x", "node_modules/@s/evil/index.js": "x", "node_modules/.evil/x": "x",
		"node_modules/.cache/x": "x", "lib/node_modules/dep/x": "x", "lib/.bin/x": "x", "node_modules/.bin/node_modules/x/x": "x", "node_modules/.modules.yaml/x": "x",
	})
	var asked []string
	p := ReadInstalled("node_modules/p", dir, tarball, func(place string) bool {
		asked = append(asked, place)
		return strings.HasSuffix(place, "/dep")
	})
	want := []string{
		"bin/tool", "lib/.bin/x", "lib/node_modules/dep/x", "node_modules/.bin/node_modules/x/x", "node_modules/.evil/x", "node_modules/.modules.yaml/x", "node_modules/@s/evil/index.js", "node_modules/dep.js", "node_modules/evil/index.js",
	}
	if got := slices.Sorted(maps.Keys(p.Files)); !slices.Equal(got, want) || p.Reason != "" {
		t.Errorf("files %q, want %q; %q", got, want, p.Reason)
	}
	if p.Files["bin/tool"].SHA256 != sha256.Sum256([]byte("\x7fELF")) {
		t.Error("a command without a digest")
	}
	if !slices.Contains(asked, "node_modules/p/node_modules/@s/dep") || slices.Contains(asked, "node_modules/p/lib/node_modules/dep") {
		t.Errorf("asked for %q", asked)
	}
}

func TestRelations(t *testing.T) {
	for _, tt := range []struct{ manifest, commands, optional string }{
		{`{"bin":"./cli.js"}`, "cli.js", ""},
		{`{"bin":{"a":"/x/a","b":"../../b","c":1,"d":""},"optionalDependencies":{"@s/x":"1","../evil":"1","a/../b":"1","c:d":1,"z":{}}}`, "b x/a", "@s/x z"},
		{"\xef\xbb\xbf" + `{"bin":["a"],"optionalDependencies":["a"]}`, "", ""},
		{`{"bin":null}`, "", ""}, {`{`, "", ""}, {``, "", ""},
	} {
		tarball := &Tarball{Manifest: []byte(tt.manifest)}
		commands := tarball.Commands()
		slices.Sort(commands)
		if got := strings.Join(commands, " "); got != tt.commands {
			t.Errorf("%s: commands %q, want %q", tt.manifest, got, tt.commands)
		}
		if got := strings.Join(tarball.OptionalDependencies(), " "); got != tt.optional {
			t.Errorf("%s: optional dependencies %q, want %q", tt.manifest, got, tt.optional)
		}
	}
}

func TestOfOthers(t *testing.T) {
	for name, want := range map[string]bool{
		"node_modules": true, "node_modules/x": true, "node_modules/@s": true, "node_modules/@s/x": true, "node_modules/x/node_modules": true,
		"node_modules/@s/x/node_modules/@t/y": true, "lib": false, "lib/node_modules": false, "node_modules/x/lib": false,
		"node_modules/x/lib/node_modules": false, "node_modules/@s/x/lib": false, "x/node_modules/y": false,
	} {
		if got := ofOthers(name); got != want {
			t.Errorf("ofOthers(%q) = %v", name, got)
		}
	}
}

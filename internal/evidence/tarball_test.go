package evidence

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"crypto/sha512"
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"testing/iotest"
)

type member struct {
	header tar.Header
	body   string
}

func file(name, body string) member {
	return member{tar.Header{Typeflag: tar.TypeReg, Name: name, Size: int64(len(body)), Mode: 0o644}, body}
}

func link(kind byte, name, to string) member {
	return member{tar.Header{Typeflag: kind, Name: name, Linkname: to}, ""}
}

func archive(t testing.TB, members ...member) []byte {
	t.Helper()
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	for _, m := range members {
		if err := w.WriteHeader(&m.header); err != nil {
			t.Fatal(err)
		}
		if _, err := io.WriteString(w, m.body); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func compress(t testing.TB, data []byte) []byte {
	t.Helper()
	var b bytes.Buffer
	w := gzip.NewWriter(&b)
	if _, err := w.Write(data); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func pack(t testing.TB, members ...member) []byte { return compress(t, archive(t, members...)) }

func TestReadTarball(t *testing.T) {
	const p = "package/package.json"
	whole := pack(t, file(p, "{}"), file("package/index.js", strings.Repeat("x", 1000)))
	unpacked := archive(t, file(p, "{}"))
	tests := []struct {
		name          string
		data          []byte
		want, problem string // want "-": no manifest
	}{
		{"usual", whole, "{}", ""},
		{"another first component", pack(t, file("whatever v1/package.json", "{}")), "{}", ""},
		{"empty manifest", pack(t, file(p, "")), "", ""},
		{"empty component", pack(t, file("package//package.json", "{}")), "{}", ""},
		{"dot component", pack(t, file("package/./package.json", "{}")), "{}", ""},
		{"absolute", pack(t, file("/package.json", "{}")), "{}", ""},
		{"one deeper", pack(t, file("./package/package.json", "{}")), "-", ProblemManifestMissing},
		{"at the top", pack(t, file("package.json", "{}")), "-", ProblemManifestMissing},
		{"dot dot", pack(t, file("package/x/../package.json", "{}")), "-", ProblemManifestMissing},
		{"nested ones", pack(t, file("package/a/package.json", "1"), file(p, "{}"), file("package/b/package.json", "2")), "{}", ""},
		{"last of two", pack(t, file(p, "1"), file(p, "2")), "2", ProblemManifestTwice},
		{"twice the same", pack(t, file(p, "1"), file(p, "1")), "1", ""},
		{"a directory of its name", pack(t, file(p, "1"), file("package/package.json/x", "2")), "-", ProblemManifestAmbiguous},
		{"last of two roots", pack(t, file(p, "1"), file("other/package.json", "2")), "2", ProblemManifestTwice},
		{"case", pack(t, file(p, "1"), file("package/Package.json", "2")), "-", ProblemManifestAmbiguous},
		{"long s", pack(t, file(p, "1"), file("package/package.jſon", "2")), "-", ProblemManifestAmbiguous},
		{"backslash", pack(t, file(p, "1"), file(`package\package.json`, "2")), "-", ProblemManifestAmbiguous},
		{"links do not count", pack(t, file(p, "{}"), link(tar.TypeSymlink, p, "x"), link(tar.TypeLink, p, "x")), "{}", ""},
		{"only a link", pack(t, link(tar.TypeSymlink, p, "x")), "-", ProblemManifestMissing},
		{"directory", pack(t, file(p, "{}"), member{tar.Header{Typeflag: tar.TypeDir, Name: p + "/"}, ""}), "-", ProblemManifestType},
		{"device", pack(t, link(tar.TypeFifo, p, ""), file(p, "{}")), "-", ProblemManifestType},
		{"no entries", pack(t), "-", ProblemManifestMissing},
		{"empty", nil, "-", ProblemManifestMissing},
		{"not compressed", unpacked, "{}", ""},
		{"two gzip members", slices.Concat(compress(t, unpacked[:700]), compress(t, unpacked[700:])), "{}", ""},
		{"trailing data", slices.Concat(whole, []byte("more")), "{}", ProblemTrailing},
		{"second member broken", slices.Concat(whole, []byte("\x1f\x8bmore")), "-", ProblemGzip},
		{"truncated gzip", whole[:len(whole)-5], "-", ProblemGzip},
		{"gzip header only", whole[:10], "-", ProblemGzip},
		{"half a gzip header", whole[:5], "-", ProblemGzip},
		{"checksum", slices.Concat(whole[:len(whole)-8], []byte("12345678")), "-", ProblemGzip},
		{"truncated tar", compress(t, unpacked[:513]), "-", ProblemTar},
		{"no tar", compress(t, bytes.Repeat([]byte("x"), 2000)), "-", ProblemTar},
		{"text", []byte("404 not found"), "-", ProblemTar},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			for _, r := range []io.Reader{bytes.NewReader(tt.data), iotest.OneByteReader(bytes.NewReader(tt.data)), iotest.DataErrReader(bytes.NewReader(tt.data))} {
				got, err := ReadTarball(r, "sha1", "sha384", "sha256", "md5")
				if err != nil {
					t.Fatal(err)
				}
				manifest := "-"
				if got.Manifest != nil {
					manifest = string(got.Manifest)
				}
				if manifest != tt.want || got.Problem != tt.problem {
					t.Errorf("manifest %.40q, problem %q, want %q, %q", manifest, got.Problem, tt.want, tt.problem)
				}
				sum := sha512.Sum512(tt.data)
				if !bytes.Equal(got.SHA512, sum[:]) || got.Size != int64(len(tt.data)) ||
					len(got.SHA384) != 48 || len(got.SHA256) != 32 || len(got.SHA1) != 20 {
					t.Errorf("digests are not those of all bytes: %+v", got)
				}
			}
		})
	}
}

func TestReadTarballReaderFails(t *testing.T) {
	data := pack(t, file("package/package.json", "{}"))
	boom := errors.New("boom")
	for _, n := range []int{0, 1, 5, 30, len(data) - 1, len(data)} {
		_, err := ReadTarball(io.MultiReader(bytes.NewReader(data[:n]), iotest.ErrReader(boom)))
		if !errors.Is(err, boom) {
			t.Errorf("after %d bytes the error is %v", n, err)
		}
	}
}

// zeros reads as zero bytes without end.
type zeros struct{}

func (zeros) Read(p []byte) (int, error) { clear(p); return len(p), nil }

func TestReadTarballBounds(t *testing.T) {
	bounds := tarballBounds{compressed: 1 << 20, expanded: 1 << 22, entries: 1000, manifest: 1 << 10}
	read := func(data []byte) *Tarball {
		t.Helper()
		got, err := bounds.read(bytes.NewReader(data), nil)
		if err != nil {
			t.Fatal(err)
		}
		return got
	}
	if _, err := bounds.read(zeros{}, nil); err == nil {
		t.Error("endless input was read to its end")
	} else if limit := new(LimitError); !errors.As(err, &limit) || limit.Max != bounds.compressed {
		t.Errorf("the error is %v", err)
	}

	const p = "package/package.json"
	first := file(p, "{}")
	large := file("package/large", strings.Repeat("x", 1<<22))
	many := slices.Repeat([]member{file("package/x", "")}, 1000)
	for _, tt := range []struct {
		name, problem string
		data          []byte
	}{
		{"expanded", ProblemExpanded, pack(t, first, large)},
		{"expanded behind the archive", ProblemExpanded, compress(t, append(archive(t, first), make([]byte, 1<<22)...))},
		{"entries", ProblemExpanded, pack(t, append(many, first)...)},
		{"manifest", ProblemManifestSize, pack(t, file(p, strings.Repeat(" ", 1<<10+1)), first)},
		{"nothing", "", pack(t, append(many[:999], first)...)},
	} {
		if got := read(tt.data); got.Problem != tt.problem || (got.Manifest == nil) != (tt.problem != "") {
			t.Errorf("%s: problem %q, manifest %.20q", tt.name, got.Problem, got.Manifest)
		}
	}
}

func corpus(t testing.TB) string {
	dir := os.Getenv("ASSAY_CORPUS")
	if dir == "" {
		dir = filepath.Join("..", "..", "..", "shared", "corpus")
	}
	if _, err := os.Stat(dir); err != nil {
		t.Skip("the corpus of real data is not here: set ASSAY_CORPUS")
	}
	return dir
}

func TestReadRealTarballs(t *testing.T) {
	files, _ := filepath.Glob(filepath.Join(corpus(t), "attestations", "tarballs", "*.tgz"))
	if len(files) == 0 {
		t.Fatal("the corpus has no tarballs")
	}
	for _, name := range files {
		f, err := os.Open(name)
		if err != nil {
			t.Fatal(err)
		}
		got, err := ReadTarball(f)
		f.Close()
		if err != nil || got.Problem != "" || !bytes.Contains(got.Manifest, []byte(`"version"`)) {
			t.Errorf("%s: problem %q, manifest %.60q, error %v", name, got.Problem, got.Manifest, err)
		}
	}
}

func FuzzReadTarball(f *testing.F) {
	f.Add(pack(f, file("package/package.json", `{"a":1}`), file("x/Package.json", "")))
	f.Add(archive(f, file("package/package.json", `{}`), link(tar.TypeSymlink, "package/a", "b")))
	f.Add([]byte("\x1f\x8b\x08\x00"))
	f.Fuzz(func(t *testing.T, data []byte) {
		got, err := ReadTarball(bytes.NewReader(data))
		if err != nil {
			t.Fatal(err)
		}
		sum := sha512.Sum512(data)
		if !bytes.Equal(got.SHA512, sum[:]) || got.Size != int64(len(data)) {
			t.Error("the digest is not that of the data")
		}
		if got.Manifest == nil && got.Problem == "" {
			t.Error("there is no manifest and no reason why")
		}
		with, err := ReadTarball(bytes.NewReader(data), WithFiles)
		if err != nil {
			t.Fatal(err)
		}
		if with.Problem != got.Problem && with.Problem != ProblemTar || with.Problem == "" && !bytes.Equal(with.Manifest, got.Manifest) {
			t.Errorf("with its files the tarball is another: problem %q and %q", with.Problem, got.Problem)
		}
		for name := range with.Files {
			if !fs.ValidPath(name) || name == "." {
				t.Errorf("a file would be unpacked as %q", name)
			}
		}
	})
}

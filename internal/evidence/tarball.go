package evidence

import (
	"archive/tar"
	"bufio"
	"bytes"
	"compress/gzip"
	"crypto/sha1"
	"crypto/sha256"
	"crypto/sha512"
	"errors"
	"fmt"
	"hash"
	"io"
	"path"
	"slices"
	"strings"
)

// Bounds of a tarball.
type tarballBounds struct {
	compressed int64 // bytes of the file
	expanded   int64 // bytes that the tar archive comes to
	entries    int
	manifest   int64 // bytes of package.json
}

var usualBounds = tarballBounds{compressed: 512 << 20, expanded: 2 << 30, entries: 500_000, manifest: 8 << 20}

// What npm unpacks no deeper (node-tar, Unpack, maxDepth), and bytes of all paths that Files may come to.
const (
	maxUnpackDepth = 1024
	maxNames       = 64 << 20
)

// Bytes that are kept of the package.json of one bundled package, and of all in a tarball.
const (
	maxBundledManifest  = 1 << 20
	maxBundledManifests = 8 << 20
)

// Problems of a tarball, as in [Tarball].Problem. Each but the last two leaves Manifest nil.
const (
	ProblemGzip              = "gzip-damaged"       // the compression ends early, or is broken
	ProblemTar               = "tar-damaged"        // the archive ends early, or is broken
	ProblemExpanded          = "expands-too-far"    // more bytes or entries than Assay unpacks
	ProblemManifestMissing   = "manifest-missing"   // no package.json
	ProblemManifestType      = "manifest-not-file"  // package.json is a directory, a device, or sparse
	ProblemManifestSize      = "manifest-too-large" // package.json
	ProblemManifestAmbiguous = "manifest-ambiguous" // which file is package.json depends on the file system
	ProblemManifestTwice     = "manifest-duplicate" // several that differ; Manifest is the last, which npm installs
	ProblemTrailing          = "trailing-data"      // bytes after the compressed archive, which npm ignores
)

// A LimitError says that there was more to read than Assay is willing to.
type LimitError struct {
	What string // what was being read
	Max  int64  // bytes
}

func (e *LimitError) Error() string { return fmt.Sprintf("%s is larger than %d bytes", e.What, e.Max) }

// Reason returns the stable code "too-large".
func (e *LimitError) Reason() string { return "too-large" }

// NotFound reports false.
func (e *LimitError) NotFound() bool { return false }

// digestNames are the algorithms in the order of keptTarball.digests.
var digestNames = [4]string{"sha512", "sha384", "sha256", "sha1"}

func digestIndex(name string) int { return slices.Index(digestNames[:], name) }

// digests returns the tarball's digest fields in the order of digestNames.
func (t *Tarball) digests() [4]*[]byte { return [4]*[]byte{&t.SHA512, &t.SHA384, &t.SHA256, &t.SHA1} }

// WithFiles asks [ReadTarball] for the tarball's Files.
const WithFiles = "files"

// ReadTarball reads a package's tarball to its end, once and without unpacking it: its digests (SHA-512,
// and of "sha384", "sha256" and "sha1" those named; other names mean nothing), its package.json, and, with
// [WithFiles] among the names, the digests of its files. Errors are the reader's, or a [*LimitError];
// whatever is wrong with the content is the tarball's Problem.
//
// package.json is the file that npm would leave in node_modules: npm takes off the first component of every
// path, whatever it is called, passes over links and paths with "..", and lets later entries replace
// earlier ones (pacote lib/fetcher.js; node-tar, Unpack). An archive that is not compressed is read too.
func ReadTarball(r io.Reader, digests ...string) (*Tarball, error) {
	return usualBounds.read(r, digests)
}

func (bounds tarballBounds) read(r io.Reader, digests []string) (*Tarball, error) {
	t := new(Tarball)
	hashes := [4]hash.Hash{0: sha512.New()}
	for i, name := range digestNames {
		if i > 0 && slices.Contains(digests, name) {
			hashes[i] = [4]func() hash.Hash{nil, sha512.New384, sha256.New, sha1.New}[i]()
		}
	}
	in := &meter{r: r, max: bounds.compressed, what: "tarball"}
	for _, h := range hashes {
		if h != nil {
			in.to = append(in.to, h)
		}
	}
	if slices.Contains(digests, WithFiles) {
		t.Files = map[string]File{}
	}
	t.readArchive(bufio.NewReaderSize(in, 64<<10), bounds)
	if t.Problem != "" && t.Problem != ProblemTrailing && t.Problem != ProblemManifestMissing && t.Problem != ProblemManifestTwice {
		t.Files, t.Bundled = nil, nil // what npm would make of it is not known in full
	}
	if _, err := io.Copy(io.Discard, in); err != nil && in.err == nil {
		in.err = err
	}
	if in.err != nil {
		return nil, in.err
	}
	t.Size = in.n
	for i, d := range t.digests() {
		if hashes[i] != nil {
			*d = hashes[i].Sum(nil)
		}
	}
	return t, nil
}

// A meter counts and passes on what is read through it, up to a bound. It remembers its error: whoever reads
// through layers above may see another.
type meter struct {
	r    io.Reader
	n    int64
	max  int64
	what string
	to   []hash.Hash
	err  error // what ended the reading, io.EOF excepted
}

func (m *meter) Read(p []byte) (int, error) {
	if m.err != nil {
		return 0, m.err
	}
	n, err := m.r.Read(p)
	m.n += int64(n)
	if m.n > m.max {
		m.err = &LimitError{m.what, m.max}
		return 0, m.err
	}
	for _, h := range m.to {
		h.Write(p[:n])
	}
	if err != nil && err != io.EOF {
		m.err = err
	}
	return n, err
}

// readArchive sets Manifest and Problem. It may stop before the end of r.
func (t *Tarball) readArchive(r *bufio.Reader, bounds tarballBounds) {
	var plain io.Reader = r
	damaged := ProblemTar
	if magic, _ := r.Peek(2); string(magic) == "\x1f\x8b" {
		damaged = ProblemGzip
		z, err := gzip.NewReader(r)
		if err != nil {
			t.Problem = ProblemGzip
			return
		}
		plain = &members{z: z, r: r}
	}
	expanded := &meter{r: plain, max: bounds.expanded, what: "archive"}
	t.readTar(expanded, bounds)
	if t.Problem != ProblemExpanded {
		// What follows the end of the archive is padding, but a checksum stands behind it.
		if _, err := io.Copy(io.Discard, expanded); err != nil && expanded.err == nil {
			expanded.err = err
		}
	}
	var limit *LimitError
	switch {
	case errors.As(expanded.err, &limit):
		t.Problem, t.Manifest = ProblemExpanded, nil
	case expanded.err != nil:
		t.Problem, t.Manifest = damaged, nil
	case t.Problem == "":
		if m, ok := plain.(*members); ok && m.trailing {
			t.Problem = ProblemTrailing
		}
	}
}

// members reads the members of a gzip file one after the other, as zlib does: what follows the last one and
// is none is passed over.
type members struct {
	z        *gzip.Reader
	r        *bufio.Reader
	began    bool
	done     bool
	trailing bool
}

func (m *members) Read(p []byte) (int, error) {
	if m.done {
		return 0, io.EOF
	}
	if !m.began {
		m.began = true
		m.z.Multistream(false)
	}
	for {
		n, err := m.z.Read(p)
		if err != io.EOF {
			return n, err
		}
		if magic, _ := m.r.Peek(2); string(magic) != "\x1f\x8b" {
			m.done, m.trailing = true, len(magic) > 0
			return n, io.EOF
		}
		if err := m.z.Reset(m.r); err != nil {
			return n, err
		}
		m.z.Multistream(false)
		if n > 0 {
			return n, nil
		}
	}
}

// readTar looks for package.json, and reads the other files too where they are wanted.
func (t *Tarball) readTar(r io.Reader, bounds tarballBounds) {
	names := 0 // bytes of all paths
	bundled := int64(0)
	found, differ := 0, false
	ambiguous := false
	a := tar.NewReader(r)
	for n := 0; ; n++ {
		h, err := a.Next()
		if err == io.EOF {
			break
		}
		if err != nil && !(errors.Is(err, tar.ErrInsecurePath) && h != nil) {
			t.Problem, t.Manifest = ProblemTar, nil
			return
		}
		if n >= bounds.entries {
			t.Problem, t.Manifest = ProblemExpanded, nil
			return
		}
		switch h.Typeflag {
		case tar.TypeLink, tar.TypeSymlink:
			continue
		}
		if name, ok := unpackedAs(h.Name); ok && plainFile(h) && strings.HasSuffix(name, ".gyp") && !strings.ContainsAny(name, "/") && name[0] != '.' {
			t.Gyp = true
		}
		same, alike := isManifest(h.Name)
		ambiguous = ambiguous || alike
		if !same {
			if t.Files == nil || !plainFile(h) {
				continue
			}
			name, ok := unpackedAs(h.Name)
			if !ok || name == "" || strings.Count(name, "/") >= maxUnpackDepth {
				continue
			}
			if names += len(name); names > maxNames {
				t.Problem, t.Manifest = ProblemExpanded, nil
				return
			}
			var f File
			if ofBundled(name) && h.Size <= maxBundledManifest && bundled+h.Size <= maxBundledManifests {
				var b []byte
				if b, err = io.ReadAll(a); err == nil {
					f, err = hashFile(bytes.NewReader(b))
				}
				if t.Bundled == nil {
					t.Bundled = map[string][]byte{}
				}
				t.Bundled[name] = b
				bundled += h.Size
			} else {
				delete(t.Bundled, name)
				f, err = hashFile(a)
			}
			if err != nil {
				t.Problem, t.Manifest = ProblemTar, nil
				return
			}
			t.Files[name] = f
			continue
		}
		found++
		if !plainFile(h) {
			t.Problem = ProblemManifestType
			continue
		}
		b, err := io.ReadAll(io.LimitReader(a, bounds.manifest+1))
		switch {
		case err != nil:
			t.Problem, t.Manifest = ProblemTar, nil
			return
		case int64(len(b)) > bounds.manifest:
			t.Problem = ProblemManifestSize
		default:
			if t.Files != nil {
				t.Files["package.json"] = File{Size: int64(len(b)), SHA256: sha256.Sum256(b)}
			}
			differ = differ || t.Manifest != nil && !bytes.Equal(b, t.Manifest)
			t.Manifest = b
		}
	}
	switch {
	case t.Problem != "":
		t.Manifest = nil
	case ambiguous:
		t.Problem, t.Manifest = ProblemManifestAmbiguous, nil
	case found == 0:
		t.Problem = ProblemManifestMissing
	case differ:
		t.Problem = ProblemManifestTwice
	}
}

func plainFile(h *tar.Header) bool {
	for k := range h.PAXRecords {
		if strings.HasPrefix(k, "GNU.sparse.") {
			return false
		}
	}
	switch h.Typeflag {
	case tar.TypeReg, '\x00', tar.TypeCont: // '\x00' is how old archives spell a regular file
		return true
	}
	return false
}

// isManifest reports whether npm unpacks an entry as package.json, and whether it would do so on some
// systems only: those that fold case, or take a backslash for a separator.
func isManifest(name string) (same, alike bool) {
	const manifest = "package.json"
	got, ok := unpackedAs(name)
	switch {
	case ok && got == manifest:
		return true, false
	case ok && strings.EqualFold(got, manifest), ok && len(got) > len(manifest) && strings.EqualFold(got[:len(manifest)+1], manifest+"/"):
		return false, true // a directory of that name: which of both stays depends on their order
	}
	got, ok = unpackedAs(strings.ReplaceAll(name, `\`, "/"))
	return false, ok && strings.EqualFold(got, manifest)
}

// unpackedAs returns where npm unpacks an entry, below the package's directory.
func unpackedAs(name string) (string, bool) {
	parts := strings.Split(name, "/")
	if len(parts) < 2 || slices.Contains(parts, "..") {
		return "", false
	}
	return strings.TrimPrefix(path.Clean("/"+strings.Join(parts[1:], "/")), "/"), true
}

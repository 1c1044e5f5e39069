package evidence

import (
	"bytes"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"strings"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"
)

// Bounds of what is read as one installed package.
const (
	maxInstalledEntries = 500_000 // files and directories
	maxInstalledNames   = 64 << 20
	maxInstalledJSON    = 8 << 20 // bytes of a package.json
)

// A File is the content of one file, known by its size and digest.
type File struct {
	Size   int64 // bytes; -1 for what is no regular file, such as a symbolic link
	SHA256 [sha256.Size]byte
	// Shebang is the digest that the file has, one byte shorter, once npm has linked it as a command: it takes
	// the CR off the end of a line "#!…" (bin-links lib/fix-bin.js). Zero where there is none.
	Shebang [sha256.Size]byte
}

// A Place is what lies on disk in one directory, as one package.
type Place struct {
	Path   string // where, as a lockfile has it: "node_modules/express"
	Absent bool   // there is no such directory

	// Files are its files by path below the directory, with slashes. Directories node_modules in it are other
	// packages' places, save what the tarball has in them. The digest stands only where some file of the
	// tarball has the same size; without it nothing could be equal.
	Files map[string]File

	// Manifest is the bytes of package.json, where they are not the tarball's.
	Manifest []byte

	// Borrowed names, for files that are not the tarball's, a file of the same bytes in one of the package's own
	// dependencies: some packages replace their command by a binary that came as an optional dependency.
	Borrowed map[string]string // path → "@esbuild/linux-x64/bin/esbuild"

	// Reason and Detail say why the directory could not be read; then Files is nil.
	Reason string // stable kebab-case code: "unreadable" or "too-large"
	Detail string // one sentence for a person, hostile text included
}

// ReadInstalled reads the directory of an installed package, to be compared with its tarball, which was read
// [WithFiles]; without its Files nothing but whether the package is there is looked at. Symbolic links in the
// directory are not followed. A directory that is not there, or cannot be read, is told in the Place.
func ReadInstalled(place, dir string, t *Tarball) Place {
	p := Place{Path: place}
	root, err := os.OpenRoot(dir)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		p.Absent = true
		return p
	case err != nil:
		p.Reason, p.Detail = "unreadable", err.Error()
		return p
	}
	defer root.Close()
	if t == nil || t.Files == nil {
		return p
	}
	p.read(root.FS(), t)
	if p.Reason == "" {
		p.borrow(root.FS(), dir, t)
	}
	return p
}

// read fills in Files and Manifest.
func (p *Place) read(dir fs.FS, t *Tarball) {
	wanted := make(map[int64]bool, len(t.Files)) // sizes that some file of the tarball has
	within := map[string]bool{}                  // directories that the tarball has files in
	for name, f := range t.Files {
		wanted[f.Size] = true
		if f.Shebang != ([sha256.Size]byte{}) {
			wanted[f.Size-1] = true
		}
		for d := path.Dir(name); d != "." && !within[d]; d = path.Dir(d) {
			within[d] = true
		}
	}
	p.Files = make(map[string]File, len(t.Files))
	entries, names := 0, 0
	err := fs.WalkDir(dir, ".", func(name string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if name == "." {
			return nil
		}
		if entries, names = entries+1, names+len(name); entries > maxInstalledEntries || names > maxInstalledNames {
			return &LimitError{"installed package", maxInstalledEntries}
		}
		if d.IsDir() {
			if ofOthers(name) && !within[name] {
				return fs.SkipDir
			}
			return nil
		}
		if in := path.Dir(name); path.Base(in) == "node_modules" && ofOthers(in) {
			if _, ok := t.Files[name]; !ok {
				return nil // an installer's notes, such as .package-lock.json
			}
		}
		f := File{Size: -1}
		if d.Type().IsRegular() {
			info, err := d.Info()
			if err != nil {
				return err
			}
			f.Size = info.Size()
			if wanted[f.Size] {
				if f, err = hashAt(dir, name); err != nil {
					return err
				}
			}
		}
		p.Files[name] = f
		return nil
	})
	if err == nil {
		err = p.readManifest(dir, t)
	}
	if err != nil {
		p.Files, p.Reason, p.Detail = nil, "unreadable", err.Error()
		if limit := new(LimitError); errors.As(err, &limit) {
			p.Reason = limit.Reason()
		}
	}
}

// ofOthers reports whether a directory is where package managers put other packages: node_modules in the
// package's directory, what lies in it, and so on. A node_modules elsewhere in a package is not one: nobody
// but an attacker or the publisher puts anything there.
func ofOthers(name string) bool {
	rest := strings.Split(name, "/")
	for {
		if rest[0] != "node_modules" {
			return false
		}
		switch {
		case len(rest) <= 2, len(rest) == 3 && strings.HasPrefix(rest[1], "@"):
			return true
		case strings.HasPrefix(rest[1], "@"):
			rest = rest[3:]
		default:
			rest = rest[2:]
		}
	}
}

// readManifest keeps package.json where it is not the tarball's.
func (p *Place) readManifest(dir fs.FS, t *Tarball) error {
	const name = "package.json"
	f, ok := p.Files[name]
	if !ok || f.Size < 0 || f.Size > maxInstalledJSON || f == t.Files[name] {
		return nil
	}
	file, err := dir.Open(name)
	if err != nil {
		return err
	}
	defer file.Close()
	p.Manifest, err = io.ReadAll(io.LimitReader(file, maxInstalledJSON))
	return err
}

// borrow looks for files that are not the tarball's in the package's dependencies, where Node.js would find
// those from dir.
func (p *Place) borrow(root fs.FS, dir string, t *Tarball) {
	changed := map[int64][]string{} // size → paths
	for name, want := range t.Files {
		got, ok := p.Files[name]
		unlike := got.SHA256 == [sha256.Size]byte{} || got.SHA256 != want.SHA256 && got.SHA256 != want.Shebang
		if ok && unlike && got.Size > 0 && name != "package.json" {
			changed[got.Size] = append(changed[got.Size], name)
		}
	}
	if len(changed) == 0 {
		return
	}
	sums := map[[sha256.Size]byte][]string{}
	for _, names := range changed {
		for _, name := range names {
			f, err := hashAt(root, name)
			if err != nil {
				continue // it stays unexplained
			}
			p.Files[name] = f
			sums[f.SHA256] = append(sums[f.SHA256], name)
		}
	}
	for _, dependency := range dependencyNames(t.Manifest) {
		from, ok := resolve(dir, dependency)
		if !ok {
			continue
		}
		entries := 0
		_ = fs.WalkDir(from.FS(), ".", func(name string, d fs.DirEntry, err error) error {
			if entries++; err != nil || entries > maxInstalledEntries {
				return fs.SkipAll
			}
			if d.IsDir() {
				if path.Base(name) == "node_modules" {
					return fs.SkipDir
				}
				return nil
			}
			info, err := d.Info()
			if err != nil || !d.Type().IsRegular() || changed[info.Size()] == nil {
				return nil
			}
			f, err := hashAt(from.FS(), name)
			if err != nil {
				return nil
			}
			for _, mine := range sums[f.SHA256] {
				if p.Borrowed == nil {
					p.Borrowed = map[string]string{}
				}
				p.Borrowed[mine] = dependency + "/" + name
			}
			return nil
		})
		from.Close()
	}
}

// dependencyNames returns the names that a package.json has among its dependencies and may have on disk.
func dependencyNames(manifest []byte) []string {
	var m struct {
		Dependencies         map[string]jsontext.Value `json:"dependencies"`
		OptionalDependencies map[string]jsontext.Value `json:"optionalDependencies"`
	}
	_ = json.Unmarshal(bytes.TrimPrefix(manifest, []byte("\xef\xbb\xbf")), &m, jsontext.AllowInvalidUTF8(true), jsontext.AllowDuplicateNames(true))
	var names []string
	for _, of := range []map[string]jsontext.Value{m.OptionalDependencies, m.Dependencies} {
		for name := range of {
			if filepath.IsLocal(name) && !strings.ContainsAny(name, `\:`) && path.Clean(name) == name {
				names = append(names, name)
			}
		}
	}
	return names
}

// resolve opens the directory that a package in dir finds a dependency in: the nearest node_modules upwards
// that has it. Source: Node.js documentation, "Loading from node_modules folders".
func resolve(dir, dependency string) (*os.Root, bool) {
	dir, err := filepath.Abs(dir)
	if err != nil {
		return nil, false
	}
	if real, err := filepath.EvalSymlinks(dir); err == nil {
		dir = real
	}
	for range 100 {
		if filepath.Base(dir) != "node_modules" {
			if root, err := os.OpenRoot(filepath.Join(dir, "node_modules", filepath.FromSlash(dependency))); err == nil {
				return root, true
			}
		}
		parent := filepath.Dir(dir)
		if parent == dir {
			break
		}
		dir = parent
	}
	return nil, false
}

func hashAt(dir fs.FS, name string) (File, error) {
	file, err := dir.Open(name)
	if err != nil {
		return File{}, err
	}
	defer file.Close()
	if info, err := file.Stat(); err != nil {
		return File{}, err
	} else if !info.Mode().IsRegular() {
		return File{}, fmt.Errorf("%s: is no regular file", name) // it was one a moment ago
	}
	f, err := hashFile(file)
	f.Shebang = [sha256.Size]byte{}
	return f, err
}

// hashFile reads a file to its end.
func hashFile(r io.Reader) (File, error) {
	var f File
	head := make([]byte, maxShebang)
	n, err := io.ReadFull(r, head)
	if err != nil && err != io.EOF && err != io.ErrUnexpectedEOF {
		return f, err
	}
	head = head[:n]
	as := sha256.New()
	as.Write(head)
	var to io.Writer = as
	linked := sha256.New()
	cr := windowsShebang(head)
	if cr > 0 {
		linked.Write(head[:cr])
		linked.Write(head[cr+1:])
		to = io.MultiWriter(as, linked)
	}
	rest, err := io.Copy(to, r)
	if err != nil {
		return f, err
	}
	f.Size = int64(n) + rest
	as.Sum(f.SHA256[:0])
	if cr > 0 {
		linked.Sum(f.Shebang[:0])
	}
	return f, nil
}

// maxShebang is how far npm looks for the end of a file's first line.
const maxShebang = 2048

// windowsShebang returns where the CR stands that ends a first line "#!…", 0 if there is none.
func windowsShebang(head []byte) int {
	if !bytes.HasPrefix(head, []byte("#!")) {
		return 0
	}
	end := bytes.IndexByte(head, '\n')
	if end < 4 || head[end-1] != '\r' {
		return 0
	}
	return end - 1
}

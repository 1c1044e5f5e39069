package evidence

import (
	"bytes"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"os"
	"path"
	"path/filepath"
	"slices"
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

	// Files are its files by path below the directory, with slashes, and what else is no directory. Packages in
	// its node_modules that are listed are left out, save what the tarball has in them, and so are the notes of
	// installers. The digest stands only for commands, and where some file of the tarball has the same size;
	// without it nothing could be equal.
	Files map[string]File

	// Manifest is the bytes of package.json, where they are not the tarball's; Bundled those of the package.json of
	// packages in the tarball's node_modules, likewise.
	Manifest []byte
	Bundled  map[string][]byte

	// Originals are what files were before patches of the project changed them, by path, see [Place.Undo]: Size -1 for
	// one that a patch made. Those that no patch can have made, as they lie there, are not among them. Builtin are
	// files that a patch of the package manager's own may have changed, which is not at hand.
	Originals map[string]File
	Builtin   []string

	// Reason and Detail say why the directory could not be read; then Files is nil.
	Reason string // stable kebab-case code: "unreadable" or "too-large"
	Detail string // one sentence for a person, hostile text included
}

// A Relative is a package that another one shares files with: packages with binaries for each platform
// have them in optional dependencies, from which their install script takes one, or moves it.
type Relative struct {
	Name  string          // the name it is installed under
	Files map[string]File // by path
}

// ReadInstalled reads the directory of an installed package, to be compared with its tarball, which was read
// [WithFiles]; without its Files nothing but whether the package is there is looked at. Symbolic links in the
// directory are not followed. A directory that is not there, or cannot be read, is told in the Place.
//
// Packages that lie in its node_modules, and the commands in ".bin" there, are looked at by themselves where listed says so
// of their place; else, and where listed is nil, their files count as this package's.
func ReadInstalled(place, dir string, t *Tarball, listed func(place string) bool) Place {
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
	p.read(root.FS(), t, listed)
	return p
}

// read fills in Files and Manifest.
func (p *Place) read(dir fs.FS, t *Tarball, listed func(string) bool) {
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
	commands := map[string]bool{}
	for _, name := range t.Commands() {
		commands[name] = true
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
		if _, packed := t.Files[name]; !packed && !within[name] && ofOthers(name) {
			base := path.Base(name)
			switch {
			case path.Base(path.Dir(name)) == "node_modules" && isNote(d),
				base != "node_modules" && listed != nil && listed(p.Path+"/"+name):
				if d.IsDir() {
					return fs.SkipDir
				}
				return nil
			}
		}
		if d.IsDir() {
			return nil
		}
		f := File{Size: -1}
		if d.Type().IsRegular() {
			info, err := d.Info()
			if err != nil {
				return err
			}
			f.Size = info.Size()
			if wanted[f.Size] || commands[name] {
				if f, err = hashAt(dir, name); err != nil {
					return err
				}
			}
		}
		p.Files[name] = f
		return nil
	})
	if err == nil {
		err = p.readManifests(dir, t)
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

// ofBundled reports whether a path is that of the package.json of a package in the package's node_modules.
func ofBundled(name string) bool {
	dir, base := path.Split(name)
	dir = strings.TrimSuffix(dir, "/")
	return base == "package.json" && dir != "" && path.Base(path.Dir(dir)) != "." && ofOthers(dir)
}

// readManifests keeps package.json where it is not the tarball's, and those of what is bundled.
func (p *Place) readManifests(dir fs.FS, t *Tarball) error {
	var err error
	if p.Manifest, err = p.differing(dir, "package.json", t, maxInstalledJSON); err != nil {
		return err
	}
	left := int64(maxBundledManifests)
	for name := range t.Bundled {
		b, err := p.differing(dir, name, t, min(left, maxBundledManifest))
		if err != nil {
			return err
		}
		if b == nil {
			continue
		}
		if p.Bundled == nil {
			p.Bundled = map[string][]byte{}
		}
		p.Bundled[name] = b
		left -= int64(len(b))
	}
	return nil
}

// differing returns the bytes of a file that is not the tarball's, nil for one that is, or is longer than max.
func (p *Place) differing(dir fs.FS, name string, t *Tarball, max int64) ([]byte, error) {
	f, ok := p.Files[name]
	if !ok || f.Size < 0 || f.Size > max || f == t.Files[name] {
		return nil, nil
	}
	file, err := dir.Open(name)
	if err != nil {
		return nil, err
	}
	defer file.Close()
	return io.ReadAll(io.LimitReader(file, max))
}

// installerNotes are what package managers put into a node_modules inside a package for themselves: true for directories,
// false for files.
var installerNotes = map[string]bool{
	".cache": true, ".package-lock.json": false, ".yarn-integrity": false, ".modules.yaml": false, ".DS_Store": false,
}

// isNote reports whether an entry of a node_modules is one of installerNotes.
func isNote(d fs.DirEntry) bool {
	dir, known := installerNotes[d.Name()]
	return known && (dir || !d.IsDir())
}

// OptionalDependencies returns the names that package.json has there, sorted, but none that is no plain path.
func (t *Tarball) OptionalDependencies() []string {
	var m struct {
		Optional map[string]jsontext.Value `json:"optionalDependencies"`
	}
	_ = json.Unmarshal(bytes.TrimPrefix(t.Manifest, []byte("\xef\xbb\xbf")), &m, jsontext.AllowInvalidUTF8(true), jsontext.AllowDuplicateNames(true))
	var names []string
	for _, name := range slices.Sorted(maps.Keys(m.Optional)) {
		if filepath.IsLocal(name) && !strings.ContainsAny(name, `\:`) && path.Clean(name) == name {
			names = append(names, name)
		}
	}
	return names
}

// Commands returns the paths of the files that package.json names as commands ("bin"), in no order.
func (t *Tarball) Commands() []string {
	var m struct {
		Bin jsontext.Value `json:"bin"`
	}
	options := []jsontext.Options{jsontext.AllowInvalidUTF8(true), jsontext.AllowDuplicateNames(true)}
	_ = json.Unmarshal(bytes.TrimPrefix(t.Manifest, []byte("\xef\xbb\xbf")), &m, options...)
	var one string
	var several map[string]jsontext.Value
	var paths []string
	if json.Unmarshal(m.Bin, &one) == nil {
		several = map[string]jsontext.Value{"": m.Bin}
	} else if json.Unmarshal(m.Bin, &several, options...) != nil {
		return nil
	}
	for _, v := range several {
		if json.Unmarshal(v, &one) == nil && one != "" {
			paths = append(paths, strings.TrimPrefix(path.Clean("/"+one), "/"))
		}
	}
	return paths
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

package evidence

import (
	"archive/zip"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"slices"
	"strings"
)

// Bounds of a zip file with one package, as yarn keeps it.
const (
	maxZip      = 1 << 30 // bytes of the file
	maxUnzipped = 2 << 30 // bytes that are read out of it
)

// ReadZipped reads the package that lies in a directory of a zip file, such as "node_modules/ms", as
// [ReadInstalled] reads a directory. Yarn's cache has one package in each, and what lies beside its directory
// counts as added: require("../other") would find it.
//
// Two entries of one name, names that lead out of the archive, links, and bytes before or after it are no
// package's, and are told: of a name that stands twice neither is the tarball's file.
func ReadZipped(place, file, dir string, t *Tarball) Place {
	p := Place{Path: place}
	f, err := os.Open(file)
	if errors.Is(err, fs.ErrNotExist) {
		p.Absent = true
		return p
	}
	if err == nil {
		defer f.Close()
		if t == nil || t.Files == nil {
			return p
		}
		p.Files = make(map[string]File, len(t.Files))
		err = p.unzip(f, dir, t)
	}
	if err != nil {
		p.Files, p.Manifest, p.Reason, p.Detail = nil, nil, "unreadable", err.Error()
		if limit := new(LimitError); errors.As(err, &limit) {
			p.Reason = limit.Reason()
		}
	}
	return p
}

func (p *Place) unzip(f *os.File, dir string, t *Tarball) error {
	fi, err := f.Stat()
	switch {
	case err != nil:
		return err
	case !fi.Mode().IsRegular():
		return fmt.Errorf("%s: is no regular file", f.Name())
	case fi.Size() > maxZip:
		return &LimitError{"zip file", maxZip}
	}
	// Readers look for the list of entries from the end, and differ in where they stop. Yarn writes neither a
	// comment nor anything before the first entry.
	z, err := zip.NewReader(f, fi.Size())
	if err != nil && !errors.Is(err, zip.ErrInsecurePath) {
		return fmt.Errorf("%s: %w", f.Name(), err)
	}
	header := make([]byte, 30)
	if _, err := f.ReadAt(header, 0); err != nil {
		return err
	}
	first := int64(len(header)) + int64(binary.LittleEndian.Uint16(header[26:])) + int64(binary.LittleEndian.Uint16(header[28:]))
	begins := string(header[:4]) == "PK\x03\x04" && slices.ContainsFunc(z.File, func(e *zip.File) bool {
		at, err := e.DataOffset()
		return err == nil && at == first
	})
	if z.Comment != "" || !begins {
		return fmt.Errorf("%s: has more in it than the entries of a zip file", f.Name())
	}
	if len(z.File) > maxInstalledEntries {
		return &LimitError{"installed package", maxInstalledEntries}
	}
	sizes := make(map[int64]bool, len(t.Files))
	for _, f := range t.Files {
		sizes[f.Size] = true
	}
	commands := map[string]bool{}
	for _, name := range t.Commands() {
		commands[name] = true
	}
	left, names := int64(maxUnzipped), 0
	for _, e := range z.File {
		if names += len(e.Name); names > maxInstalledNames {
			return &LimitError{"installed package", maxInstalledEntries}
		}
		name, ours := within(e.Name, dir)
		mode := e.Mode()
		switch {
		case strings.HasSuffix(e.Name, "/") && mode.IsDir() && ours:
			continue
		case name == "", !ours, !mode.IsRegular():
			if !ours {
				name = e.Name
			}
			p.Files[name] = File{Size: -1}
			continue
		}
		if _, twice := p.Files[name]; twice {
			p.Files[name] = File{Size: -1}
			continue
		}
		size := int64(min(e.UncompressedSize64, 1<<62))
		got := File{Size: size}
		if sizes[size] || commands[name] || name == "package.json" && size <= maxInstalledJSON {
			if left -= size; left < 0 {
				return &LimitError{"installed package", maxUnzipped}
			}
			if got, err = p.unzipOne(e, name, t); err != nil {
				return fmt.Errorf("%s: %s: %w", f.Name(), e.Name, err)
			}
		}
		p.Files[name] = got
	}
	return nil
}

// unzipOne hashes one entry. What it says of its size bounds what is read of it.
func (p *Place) unzipOne(e *zip.File, name string, t *Tarball) (File, error) {
	r, err := e.Open()
	if err != nil {
		return File{}, err
	}
	defer r.Close()
	if name == "package.json" && e.UncompressedSize64 <= maxInstalledJSON {
		data, err := io.ReadAll(io.LimitReader(r, maxInstalledJSON+1)) // at its end the checksum is compared
		if err != nil {
			return File{}, err
		}
		got, err := hashFile(strings.NewReader(string(data)))
		got.Shebang = File{}.Shebang
		if got != t.Files[name] {
			p.Manifest = data
		}
		return got, err
	}
	got, err := hashFile(io.LimitReader(r, int64(e.UncompressedSize64)+1))
	got.Shebang = File{}.Shebang
	return got, err
}

// within returns an entry's path below a directory of the archive. It is not ours where it lies elsewhere, or
// is spelled in a way that another reader may take for elsewhere. Entries for the directories above are ours.
func within(name, dir string) (string, bool) {
	plain := strings.TrimSuffix(name, "/")
	if plain == "" || path.Clean("/"+plain) != "/"+plain || strings.ContainsAny(plain, "\\\x00") {
		return "", false
	}
	if rest, ok := strings.CutPrefix(plain, dir+"/"); ok {
		return rest, true
	}
	return "", strings.HasSuffix(name, "/") && (plain == dir || strings.HasPrefix(dir, plain+"/"))
}

package evidence

import (
	"archive/zip"
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
	"strconv"
	"strings"
)

// Bounds of what patches are read, and undone in.
const (
	maxPatch       = 16 << 20 // bytes of a patch file
	maxPatched     = 16 << 20 // bytes of a file that is patched
	maxPatchFiles  = 10_000
	maxPatchOffset = 200 // lines that a change may lie away from where the patch says
)

// A Patch is a change to the files of a package that a project makes after unpacking them, as pnpm, yarn and bun do with
// patchedDependencies and patch:.
type Patch struct {
	files []patchedFile
}

// A patchedFile is what a patch does to one file.
type patchedFile struct {
	before, after string // paths in the package; "" for a file that is not there
	hunks         []patchHunk
}

// A patchHunk replaces lines, which have their line feeds, from a line on, counted from 0.
type patchHunk struct {
	at            int // in the file after
	before, after []string
}

// ParsePatch reads a patch in the form that git diff writes. What it does to the mode of files is passed over.
func ParsePatch(data []byte) (*Patch, error) {
	if len(data) > maxPatch {
		return nil, &LimitError{"patch", maxPatch}
	}
	p := &Patch{}
	lines := slices.Collect(bytes.Lines(data))
	text := func(i int) string { return strings.TrimRight(string(lines[i]), "\r\n") }
	for i := 0; i < len(lines); {
		line := text(i)
		switch {
		case strings.HasPrefix(line, "diff --git "), strings.HasPrefix(line, "--- ") && i+1 < len(lines) && strings.HasPrefix(text(i+1), "+++ "):
			f, next, err := parsePatched(lines, i)
			if err != nil {
				return nil, fmt.Errorf("line %d: %w", next+1, err)
			}
			if i = next; f.before != f.after || f.hunks != nil {
				p.files = append(p.files, f)
			}
			if len(p.files) > maxPatchFiles {
				return nil, fmt.Errorf("line %d: more than %d files", next+1, maxPatchFiles)
			}
		case strings.HasPrefix(line, "@@ "):
			return nil, fmt.Errorf("line %d: a change that belongs to no file", i+1)
		default:
			i++ // words before the first file, such as those of yarn
		}
	}
	return p, nil
}

// parsePatched reads what a patch does to one file.
func parsePatched(lines [][]byte, i int) (f patchedFile, next int, err error) {
	text := func(i int) string { return strings.TrimRight(string(lines[i]), "\r\n") }
	if rest, ok := strings.CutPrefix(text(i), "diff --git "); ok {
		if half := len(rest) / 2; len(rest)%2 == 1 && rest[half] == ' ' { // for a file that only changes its mode
			f.before, f.after = patchPath(rest[:half]), patchPath(rest[half+1:])
		}
		i++
	}
	for ; i < len(lines); i++ {
		line := text(i)
		switch {
		case strings.HasPrefix(line, "diff --git "):
			return f, i, nil
		case strings.HasPrefix(line, "--- "):
			f.before = patchPath(line[4:])
		case strings.HasPrefix(line, "+++ "):
			f.after = patchPath(line[4:])
		case strings.HasPrefix(line, "rename from "):
			f.before = cleanPatchPath(line[len("rename from "):])
		case strings.HasPrefix(line, "rename to "):
			f.after = cleanPatchPath(line[len("rename to "):])
		case strings.HasPrefix(line, "new file mode "):
			f.before = ""
		case strings.HasPrefix(line, "deleted file mode "):
			f.after = ""
		case strings.HasPrefix(line, "GIT binary patch"), strings.HasPrefix(line, "Binary files "):
			return f, i, errors.New("a change to a binary file")
		case strings.HasPrefix(line, "@@ "):
			for i < len(lines) && bytes.HasPrefix(lines[i], []byte("@@ ")) {
				var h patchHunk
				if h, i, err = parseHunk(lines, i); err != nil {
					return f, i, err
				}
				f.hunks = append(f.hunks, h)
			}
			return f, i, nil
		}
	}
	return f, i, nil
}

// patchPath is a path in a patch without what stands before it: "a/index.js". /dev/null is none.
func patchPath(s string) string {
	s, _, _ = strings.Cut(s, "\t")
	if s == "/dev/null" {
		return ""
	}
	if unquoted, err := strconv.Unquote(s); err == nil && s[0] == '"' {
		s = unquoted
	}
	_, rest, ok := strings.Cut(s, "/")
	if !ok {
		return ""
	}
	return cleanPatchPath(rest)
}

func cleanPatchPath(s string) string {
	if s = path.Clean("/" + s); s == "/" {
		return ""
	}
	return s[1:]
}

// parseHunk reads a change: "@@ -1,2 +1,3 @@" and its lines.
func parseHunk(lines [][]byte, i int) (h patchHunk, next int, err error) {
	var removed, added int
	header := strings.Fields(string(lines[i]))
	if len(header) < 4 || header[3] != "@@" {
		return h, i, errors.New("a change without a range")
	}
	if _, removed, err = hunkRange(header[1], "-"); err != nil {
		return h, i, err
	}
	if h.at, added, err = hunkRange(header[2], "+"); err != nil {
		return h, i, err
	}
	if added > 0 {
		h.at--
	}
	for i++; removed > 0 || added > 0; i++ {
		if i == len(lines) {
			return h, i, errors.New("a change that ends early")
		}
		line := lines[i]
		mark, rest := line[0], string(line[1:])
		if mark == '\n' || mark == '\r' && rest == "\n" { // an empty line whose blank an editor took away
			mark, rest = ' ', string(line)
		}
		switch mark {
		case ' ':
			removed, added = removed-1, added-1
			h.before, h.after = append(h.before, rest), append(h.after, rest)
		case '-':
			removed--
			h.before = append(h.before, rest)
		case '+':
			added--
			h.after = append(h.after, rest)
		case '\\':
			h.unend(lines[i-1][0])
		default:
			return h, i, errors.New("a line that is no change")
		}
		if removed < 0 || added < 0 {
			return h, i, errors.New("a change with more lines than its range has")
		}
	}
	if i < len(lines) && lines[i][0] == '\\' {
		h.unend(lines[i-1][0])
		i++
	}
	return h, i, nil
}

// unend takes the line feed from the end of a file: "\ No newline at end of file" follows a line.
func (h *patchHunk) unend(above byte) {
	trim := func(lines []string) {
		if n := len(lines); n > 0 {
			lines[n-1] = strings.TrimSuffix(lines[n-1], "\n")
		}
	}
	if above != '+' {
		trim(h.before)
	}
	if above != '-' {
		trim(h.after)
	}
}

// hunkRange reads "-12,3": the line and how many.
func hunkRange(s, mark string) (line, count int, err error) {
	rest, ok := strings.CutPrefix(s, mark)
	first, more, several := strings.Cut(rest, ",")
	count = 1
	if several {
		count, err = strconv.Atoi(more)
	}
	if err == nil {
		line, err = strconv.Atoi(first)
	}
	if !ok || err != nil || line < 0 || count < 0 || line > maxPatch || count > maxPatch {
		return 0, 0, fmt.Errorf("the range %.40q", s)
	}
	return line, count, nil
}

// undo returns what a file was before a patch changed it, and whether that can be: wherever the patch has put lines
// they have to be there.
func (f *patchedFile) undo(data []byte) ([]byte, bool) {
	lines := slices.Collect(strings.Lines(string(data)))
	var out []string
	from := 0 // of lines, what is not yet in out
	moved := 0
	for _, h := range f.hunks {
		at, ok := find(lines, h.after, h.at+moved, from)
		if !ok {
			return nil, false
		}
		moved = at - h.at
		out = append(append(out, lines[from:at]...), h.before...)
		from = at + len(h.after)
	}
	out = append(out, lines[from:]...)
	return []byte(strings.Join(out, "")), true
}

// find looks for lines near a place, not before from.
func find(lines, want []string, at, from int) (int, bool) {
	for away := 0; away <= maxPatchOffset; away++ {
		for _, i := range [...]int{at + away, at - away} {
			if i >= from && i+len(want) <= len(lines) && slices.Equal(lines[i:i+len(want)], want) {
				return i, true
			}
		}
	}
	return 0, false
}

// Undo says in the Place what files were before patches changed them, by undoing these, the last one first. file opens
// a file of the package at the place, and fails with [fs.ErrNotExist] where there is none.
func (p *Place) Undo(patches []*Patch, file func(name string) (io.ReadCloser, error)) error {
	if p.Files == nil {
		return nil
	}
	type state struct {
		data  []byte
		there bool
	}
	now := map[string]*state{}
	load := func(name string) (*state, error) {
		if s := now[name]; s != nil {
			return s, nil
		}
		s := &state{}
		now[name] = s
		if got, ok := p.Files[name]; !ok || got.Size < 0 || got.Size > maxPatched {
			return s, nil
		}
		r, err := file(name)
		if errors.Is(err, fs.ErrNotExist) {
			return s, nil
		} else if err != nil {
			return nil, err
		}
		defer r.Close()
		if s.data, err = io.ReadAll(io.LimitReader(r, maxPatched+1)); err != nil {
			return nil, err
		}
		s.there = len(s.data) <= maxPatched
		return s, nil
	}
	undone := map[string]bool{}
	failed := map[string]bool{}
	for _, patch := range slices.Backward(patches) {
		for i := range slices.Backward(patch.files) {
			f := &patch.files[i]
			var after state
			if f.after != "" {
				s, err := load(f.after)
				if err != nil {
					return err
				}
				after = *s
			}
			data, ok := f.undo(after.data)
			ok = ok && after.there == (f.after != "") && (f.before != "" || len(data) == 0)
			for _, name := range []string{f.before, f.after} {
				if name != "" {
					undone[name], failed[name] = true, failed[name] || !ok
				}
			}
			if !ok {
				continue
			}
			if f.after != "" {
				*now[f.after] = state{}
			}
			if f.before != "" {
				now[f.before] = &state{data, true}
			}
		}
	}
	for _, name := range slices.Sorted(maps.Keys(undone)) {
		if failed[name] {
			continue
		}
		if p.Originals == nil {
			p.Originals = map[string]File{}
		}
		was := File{Size: -1}
		if s := now[name]; s.there {
			was = File{Size: int64(len(s.data)), SHA256: sha256.Sum256(s.data)}
		}
		p.Originals[name] = was
	}
	return nil
}

// ReadPatch reads a patch file of a project.
func ReadPatch(dir, name string) ([]byte, error) {
	f, err := os.OpenInRoot(dir, filepath.FromSlash(name))
	if err != nil {
		return nil, err
	}
	defer f.Close()
	if fi, err := f.Stat(); err != nil {
		return nil, err
	} else if !fi.Mode().IsRegular() {
		return nil, fmt.Errorf("%s: is no regular file", name)
	}
	data, err := io.ReadAll(io.LimitReader(f, maxPatch+1))
	if err == nil && len(data) > maxPatch {
		err = &LimitError{"patch", maxPatch}
	}
	return data, err
}

// BuiltinPatch returns the files that one of the patches changes that yarn comes with, such as
// "builtin<compat/resolve>", for its Plug'n'Play. Nil for another.
// Source: yarnpkg/berry, packages/plugin-compat/sources/patches.
func BuiltinPatch(name string) []string { return slices.Clone(builtinPatches[name]) }

var builtinPatches = map[string][]string{
	"builtin<compat/fsevents>": {"fsevents.js", "install.js", "vfs.js"},
	"builtin<compat/resolve>":  {"lib/normalize-options.js"},
	"builtin<compat/typescript>": {
		"lib/_tsc.js", "lib/_tsserver.js", "lib/_typingsInstaller.js", "lib/tsc.js", "lib/tsserver.js", "lib/tsserverlibrary.js", "lib/typescript.js",
		"lib/typescriptServices.js", "lib/typingsInstaller.js",
	},
}

// InstalledFile opens a file of a package in a directory, for [Place.Undo]. Symbolic links are not followed out of it.
func InstalledFile(dir string) func(name string) (io.ReadCloser, error) {
	return func(name string) (io.ReadCloser, error) {
		return os.OpenInRoot(dir, filepath.FromSlash(name))
	}
}

// ZippedFile opens a file of a package in a zip file, likewise.
func ZippedFile(file, dir string) func(name string) (io.ReadCloser, error) {
	return func(name string) (io.ReadCloser, error) {
		z, err := zip.OpenReader(file)
		if err != nil {
			return nil, err
		}
		for _, e := range z.File {
			if e.Name == dir+"/"+name {
				r, err := e.Open()
				if err != nil {
					return nil, errors.Join(err, z.Close())
				}
				return &zippedFile{r, z}, nil
			}
		}
		return nil, errors.Join(fs.ErrNotExist, z.Close())
	}
}

type zippedFile struct {
	io.ReadCloser
	z *zip.ReadCloser
}

func (f *zippedFile) Close() error { return errors.Join(f.ReadCloser.Close(), f.z.Close()) }

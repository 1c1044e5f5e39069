package inventory

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"syscall"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"
)

// commands looks at a directory of commands (".bin"), which npm and others put before all else in the search path of
// scripts. Each command is a link to the file that some package, or a directory of the project, names so in the "bin" of its
// package.json, or a script that runs that file, in the words of the package managers that write such scripts. What is in no
// such words, as programs are that bun writes on Windows, nobody can tell anything of.
func (s *strays) commands(where string, has func(place string) bool) {
	fi, err := os.Lstat(s.p.onDisk(where))
	if errors.Is(err, fs.ErrNotExist) || errors.Is(err, syscall.ENOTDIR) {
		return
	}
	if err != nil || !fi.IsDir() {
		s.add(where, "%s is no directory", quoteShort(where))
		return
	}
	for _, e := range s.list(where) {
		place := where + "/" + e.Name()
		switch {
		case e.Type()&fs.ModeSymlink != 0:
			real, err := filepath.EvalSymlinks(s.p.onDisk(place))
			if err != nil {
				continue // of what is not installed; nothing runs
			}
			if to := s.below(where, real); !s.names(to, e.Name(), has) && !s.lent(where, to, e.Name(), has) {
				s.add(place, "%s is a command, and a link to %s, which no package that the lockfile lists names so", quoteShort(place), quoteShort(to))
			}
		case !e.Type().IsRegular():
			s.add(place, "%s is no file, and lies where commands do", quoteShort(place))
		case inert(e.Name()):
		default:
			s.command(where, place, has)
		}
	}
}

// command looks at a command that is a file.
func (s *strays) command(where, place string, has func(string) bool) {
	const maxShim = 64 << 10
	name, ext := path.Base(place), strings.ToLower(path.Ext(place))
	if ext == ".exe" || ext == ".bunx" {
		s.add(place, "%s is a program or belongs to one, as bun has them on Windows, and nothing tells what it runs", quoteShort(place))
		return
	}
	kind := shimKinds[""]
	if k := shimKinds[ext]; k != nil {
		kind, name = k, name[:len(name)-len(ext)]
	}
	data, err := readStart(s.p.onDisk(place), maxShim)
	if err != nil {
		s.add(place, "%s is a command, and cannot be read: %s", quoteShort(place), quoteShort(err.Error()))
		return
	}
	shim, err := kind.read(string(data))
	if err != nil {
		s.add(place, "%s is a command that no package manager writes: %s", quoteShort(place), err)
		return
	}
	if up := path.Clean(shim.target); up != shim.target || path.IsAbs(up) {
		s.add(place, "%s is a command that no package manager writes: it runs %s", quoteShort(place), quoteShort(shim.target))
		return
	}
	to, by := path.Join(where, shim.target), []runner{{}, {prog: "node"}}
	file, err := filepath.EvalSymlinks(s.p.onDisk(to))
	switch fi, missing := os.Stat(filepath.Dir(s.p.onDisk(to))); {
	case err == nil:
		to = s.below(where, file)
		first, err := firstLine(file)
		if err != nil || !s.names(to, name, has) {
			s.add(place, "%s is a command that runs %s, which no package that the lockfile lists names so", quoteShort(place), quoteShort(to))
			return
		}
		by = runners(first, file)
	case missing == nil && fi.IsDir() && !s.named(to, name, has): // Node.js also looks for it with another ending
		s.add(place, "%s is a command that runs %s, which is not there, and which no package that the lockfile lists names so", quoteShort(place), quoteShort(to))
		return
	}
	if !kind.is(shim, by) {
		s.add(place, "%s is a command that no package manager writes: it has other words, or another program or other flags than the first line of %s asks for", quoteShort(place), quoteShort(to))
		return
	}
	for _, list := range shim.paths {
		if dir := s.foreignPath(list, where, shim.target); dir != "" {
			s.add(place, "%s is a command that has Node.js look for packages in %s, which is none of the project's", quoteShort(place), quoteShort(dir))
			return
		}
	}
}

// readStart reads a file of no more than max bytes.
func readStart(name string, max int64) ([]byte, error) {
	f, err := os.Open(name)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	data, err := io.ReadAll(io.LimitReader(f, max+1))
	if err == nil && int64(len(data)) > max {
		return nil, fmt.Errorf("it has more than %d bytes", max)
	}
	return data, err
}

// foreignPath returns a directory in the value of a NODE_PATH where Node.js would not look for packages anyway, "" for none:
// it looks in each node_modules beside and above the file that is run. pnpm adds that of its store.
// Source: Node.js documentation, Modules: CommonJS, NODE_MODULES_PATHS; pnpm, packages link-bins (getBinNodePaths).
func (s *strays) foreignPath(list, where, target string) string {
	known := map[string]bool{}
	root := absolute(s.p.Dir)
	dirs := []string{root}
	if real, err := filepath.EvalSymlinks(root); err == nil {
		dirs = append(dirs, absolute(real))
	}
	for _, dir := range dirs {
		for _, store := range storeNames {
			known[slashed(filepath.Join(dir, nodeModules, store.name, nodeModules))] = true
		}
		from := filepath.Dir(filepath.Join(dir, filepath.FromSlash(where), filepath.FromSlash(target)))
		froms := []string{from}
		if real, err := filepath.EvalSymlinks(from); err == nil {
			froms = append(froms, absolute(real))
		}
		for _, from := range froms {
			for {
				known[slashed(filepath.Join(from, nodeModules))] = true
				up := filepath.Dir(from)
				if up == from {
					break
				}
				from = up
			}
		}
	}
	sep := ":"
	if strings.Contains(list, `\`) {
		sep = ";"
	}
	for dir := range strings.SplitSeq(list, sep) {
		if !known[slashed(dir)] {
			return dir
		}
	}
	return ""
}

// mounted is how shells on Windows call the root of a drive.
var mounted = regexp.MustCompile(`^(?:/mnt|/proc/cygdrive)/([A-Za-z])(/|$)`)

// slashed is one spelling of the path of a directory.
func slashed(dir string) string {
	dir = mounted.ReplaceAllString(strings.ReplaceAll(dir, `\`, "/"), "$1:$2")
	if len(dir) > 1 && dir[1] == ':' {
		dir = strings.ToLower(dir[:1]) + dir[1:]
	}
	return dir
}

// names reports whether the package that a file lies in, or the directory of the project, names it as a command.
func (s *strays) names(file, command string, has func(place string) bool) bool {
	fi, err := os.Lstat(s.p.onDisk(file))
	return err == nil && fi.Mode().IsRegular() && s.named(file, command, has)
}

// named is names for a file that need not be there.
func (s *strays) named(file, command string, has func(place string) bool) bool {
	if !vouched(file, has) {
		return false
	}
	dir := packageOf(file, has)
	return slices.Contains(s.commandsOf(dir).files[command], strings.TrimPrefix(file, dir+"/"))
}

// packageOf is the directory of the package that a file lies in, "." for the project's.
func packageOf(file string, has func(place string) bool) string {
	dir := path.Dir(file)
	for dir != "." && dir != "/" && !has(dir) && !inModules(dir) {
		dir = path.Dir(dir)
	}
	return dir
}

// lent reports whether bun makes a command of a file in an optional dependency of the package beside it that names the command,
// where that is a program for this platform: the file of the same path, or of the command's name.
// Source: bun, src/install, postinstall_optimizer and bin ("native binlink").
func (s *strays) lent(where, file, command string, has func(place string) bool) bool {
	if !strings.HasPrefix(s.p.Kind, "bun") || !vouched(file, has) {
		return false
	}
	modules := path.Dir(where)
	if _, known := s.lends[modules]; !known {
		if s.lends == nil {
			s.lends = map[string][]string{}
		}
		s.lends[modules] = nil
		for _, e := range s.list(modules) {
			inside := []string{e.Name()}
			if strings.HasPrefix(e.Name(), "@") && e.IsDir() {
				inside = nil
				for _, in := range s.list(modules + "/" + e.Name()) {
					inside = append(inside, e.Name()+"/"+in.Name())
				}
			}
			for _, name := range inside {
				real, err := filepath.EvalSymlinks(s.p.onDisk(modules + "/" + name))
				if dir := s.below(where, real); err == nil && has(dir) && len(s.commandsOf(dir).optional) > 0 {
					s.lends[modules] = append(s.lends[modules], dir)
				}
			}
		}
	}
	dir := packageOf(file, has)
	rest := strings.TrimPrefix(file, dir+"/")
	for _, by := range s.lends[modules] {
		c := s.commandsOf(by)
		for name := range c.optional {
			if strings.HasSuffix("/"+dir, "/"+nodeModules+"/"+name) && len(c.files[command]) > 0 && (rest == command || slices.Contains(c.files[command], rest)) {
				return true
			}
		}
	}
	return false
}

// inModules reports whether a directory lies in a node_modules, as a package does.
func inModules(dir string) bool {
	in := path.Dir(dir)
	return path.Base(in) == nodeModules || strings.HasPrefix(path.Base(in), "@") && path.Base(path.Dir(in)) == nodeModules
}

// claimed is what the package.json of a directory says of commands.
type claimed struct {
	files    map[string][]string       // by the names that npm, pnpm, yarn or bun may give them
	optional map[string]jsontext.Value // optional dependencies
}

// commandsOf reads what a directory's package.json says of commands, once.
func (s *strays) commandsOf(dir string) *claimed {
	if c, known := s.bins[dir]; known {
		return c
	}
	c := &claimed{files: map[string][]string{}}
	if s.bins == nil {
		s.bins = map[string]*claimed{}
	}
	s.bins[dir] = c
	data, err := readStart(s.p.onDisk(joinPath(dir, "package.json")), maxManifest)
	if err != nil {
		return c
	}
	var m struct {
		Name        jsontext.Value `json:"name"`
		Bin         jsontext.Value `json:"bin"`
		Directories jsontext.Value `json:"directories"`
		Optional    jsontext.Value `json:"optionalDependencies"`
	}
	var in struct {
		Bin string `json:"bin"`
	}
	options := []jsontext.Options{jsontext.AllowInvalidUTF8(true), jsontext.AllowDuplicateNames(true)}
	_ = json.Unmarshal(bytes.TrimPrefix(data, []byte("\xef\xbb\xbf")), &m, options...) // what was read of it counts
	add := func(name, file string) {
		name = path.Base(strings.NewReplacer(`\`, "/", ":", "/").Replace(name))
		c.files[name] = append(c.files[name], strings.TrimPrefix(path.Clean("/"+file), "/"))
	}
	_ = json.Unmarshal(m.Optional, &c.optional, options...)
	var one string
	var several map[string]jsontext.Value
	switch {
	case json.Unmarshal(m.Bin, &one) == nil:
		file := one
		add(dir, file) // its name or alias
		if json.Unmarshal(m.Name, &one) == nil {
			add(one, file)
		}
	case json.Unmarshal(m.Bin, &several, options...) == nil && m.Bin != nil:
		for name, v := range several {
			if json.Unmarshal(v, &one) == nil {
				add(name, one)
			}
		}
	case json.Unmarshal(m.Directories, &in, options...) == nil && in.Bin != "":
		from := strings.TrimPrefix(path.Clean("/"+in.Bin), "/")
		left := maxEdges
		_ = filepath.WalkDir(s.p.onDisk(joinPath(dir, from)), func(name string, e fs.DirEntry, err error) error {
			if left--; err != nil || left < 0 {
				return fs.SkipAll
			}
			if rel, err := filepath.Rel(s.p.onDisk(dir), name); err == nil && !e.IsDir() {
				add(e.Name(), filepath.ToSlash(rel))
			}
			return nil
		})
	}
	return c
}

// below is where a file lies in the project, though its node_modules may be kept elsewhere.
func (s *strays) below(where, real string) string {
	for _, modules := range []string{path.Dir(where), nodeModules} {
		if to, err := filepath.EvalSymlinks(s.p.onDisk(modules)); err == nil {
			if rel, err := filepath.Rel(to, real); err == nil && filepath.IsLocal(rel) {
				return modules + "/" + filepath.ToSlash(rel)
			}
		}
	}
	return s.relative(real)
}

// relative is the path of a real directory or file below the project, or from it.
func (s *strays) relative(real string) string {
	base := absolute(s.p.Dir)
	if r, err := filepath.EvalSymlinks(base); err == nil {
		base = absolute(r)
	}
	rel, err := filepath.Rel(base, absolute(real))
	if err != nil {
		return filepath.ToSlash(real)
	}
	if rel == "." {
		return ""
	}
	return filepath.ToSlash(rel)
}

// vouched reports whether a file lies in a package that has knows, or is the project's own, such as a workspace's. What tools
// keep in a node_modules for themselves is neither.
func vouched(file string, has func(place string) bool) bool {
	const modules = "/" + nodeModules + "/"
	for dir := path.Dir(file); dir != "." && dir != "/" && path.Base(dir) != ".."; dir = path.Dir(dir) {
		if !has(dir) {
			continue
		}
		rest := strings.TrimPrefix(file, dir)
		if strings.Contains("/"+dir+"/", modules) {
			return !strings.Contains(rest, modules+".")
		}
		return !strings.Contains(rest, modules)
	}
	return !strings.Contains("/"+file, modules) && file != ".." && !strings.HasPrefix(file, "../") && !path.IsAbs(file)
}

// listed reports whether the lockfile lists a package in a directory.
func (s *strays) listed(place string) bool {
	l := s.p.find(place)
	return l != nil && !l.link
}

// has reports whether a package lies in a directory, or it is one of the project's own.
func (d *disk) has(place string) bool {
	_, ok := d.places[place]
	_, own := d.work[place]
	return ok || own
}

package inventory

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
)

// A listed is a place in node_modules, or a directory of the project, that the lockfile has an entry for.
type listed struct {
	path     string
	target   string // for a link: where it leads, as the lockfile has it
	link     bool
	modules  bool // what lies in its node_modules is looked at by [Project.Strays]: no tarball says what belongs there
	bundled  bool // it comes in the tarball of a registry's package, and has to be in there
	packaged bool // it lies in a node_modules
}

// listed keeps what the lockfile lists, whatever Options leave out of the rest of the Project.
func (t *tree) listed(verdicts []verdict) []listed {
	all := make([]listed, 0, len(t.nodes))
	for i := range t.nodes {
		n, v := &t.nodes[i], &verdicts[i]
		l := listed{path: n.path, link: n.has(isLink), packaged: n.has(isInstalled)}
		l.bundled = v.other == SourceBundled && verdicts[v.bundler].other == ""
		if l.link {
			l.target = n.resolved
		} else {
			l.modules = !l.packaged || v.other != "" && !l.bundled
		}
		all = append(all, l)
	}
	return all
}

// Lists reports whether the lockfile lists a package at a place ("node_modules/a/node_modules/b") and there is
// on disk what it lists: a directory, or a link that leads to where it says. Whatever Options left out is listed
// all the same. What a package bundles is not, since it comes in that package's tarball. A directory of commands
// ("node_modules/a/node_modules/.bin") is listed where [Project.Strays] looks at it; without a lockfile each is.
func (p *Project) Lists(place string) bool {
	if d := p.disk(); d != nil {
		_, looked := slices.BinarySearch(d.bins, place)
		return looked || d.lists(place)
	}
	if in, ok := strings.CutSuffix(place, "/"+nodeModules+"/.bin"); ok {
		l := p.find(in)
		return p.Kind == kindNodeModules || l != nil && !l.link
	}
	l := p.find(place)
	return l != nil && !l.bundled && p.unlike(l) == ""
}

func (p *Project) find(place string) *listed {
	i, ok := slices.BinarySearchFunc(p.listed, place, func(l listed, place string) int { return strings.Compare(l.path, place) })
	if !ok {
		return nil
	}
	return &p.listed[i]
}

// onDisk is the path of a place.
func (p *Project) onDisk(place string) string { return filepath.Join(p.Dir, filepath.FromSlash(place)) }

// unlike says how what lies at a listed place differs in kind from what the lockfile lists, "" for not at all.
func (p *Project) unlike(l *listed) string {
	if !l.link {
		if fi, err := os.Lstat(p.onDisk(l.path)); err != nil || fi.IsDir() {
			return ""
		}
		return fmt.Sprintf("%s is no directory, though the lockfile lists one", quoteShort(l.path))
	}
	target := l.target
	if !filepath.IsAbs(target) {
		target = p.onDisk(target)
	}
	want, err := os.Stat(target)
	got, err2 := os.Stat(p.onDisk(l.path))
	if err == nil && err2 == nil && os.SameFile(want, got) {
		return ""
	}
	return fmt.Sprintf("%s is no link to %s, though the lockfile lists one", quoteShort(l.path), quoteShort(l.target))
}

// maxStrays bounds the rows for what nobody lists.
const maxStrays = 1000

// installerNotes are names in node_modules that package managers, and tools that keep their caches there,
// use for themselves: true for directories, false for files.
var installerNotes = map[string]bool{
	".bin": true, ".package-lock.json": false, // npm
	".yarn-integrity": false, ".yarn-state.yml": false, ".store": true, ".package-map.json": false, // yarn
	".bun": true, ".bun-tag": false,
	".modules.yaml": false, ".pnpm": true, ".pnpm-workspace-state.json": false, ".pnpm-workspace-state-v1.json": false,
	".cache": true, ".vite": true, ".vite-temp": true, ".vitest": true,
	".DS_Store": false, "Thumbs.db": false, "desktop.ini": false, // systems
}

// isNote reports whether an entry of a node_modules is one of installerNotes.
func isNote(e fs.DirEntry) bool {
	dir, known := installerNotes[e.Name()]
	return known && (dir || !e.IsDir())
}

// Strays looks at what really lies in node_modules, of the project and of its directories that the lockfile
// lists, and returns what nobody lists there, as Others of SourceUnknown with an Oddity: packages, files (Node.js
// loads node_modules/a.js rather than node_modules/a), links that lead elsewhere, directories with a name that
// begins with a dot unless a package manager is known to use it. What lies in the node_modules of a package from a
// registry is not looked at, save commands: what belongs there depends on its tarball. Nothing is where no lockfile was read,
// since then what lies there is what was read. At most 1000 are returned, and one more that counts the rest.
//
// Only a Project that [Open] returned can tell.
func (p *Project) Strays() []Other {
	if d := p.disk(); d != nil {
		return d.found
	}
	if p.Kind != kindPackageLock && p.Kind != kindShrinkwrap {
		return nil
	}
	s := &strays{p: p}
	for i := range p.listed {
		// What lies outside the project is not npm's to install.
		if l := &p.listed[i]; l.modules && l.path != ".." && !strings.HasPrefix(l.path, "../") {
			s.modules(joinPath(l.path, nodeModules), l.packaged)
		} else if !l.modules && !l.link {
			s.commands(l.path+"/"+nodeModules+"/.bin", s.listed)
		}
	}
	s.sort()
	return s.found
}

type strays struct {
	p     *Project
	found []Other
	count int
	bins  map[string]*claimed // see commandsOf
	lends map[string][]string // see lent
}

// add notes something that nobody lists.
func (s *strays) add(place, format string, args ...any) {
	name := path.Base(place)
	if i := strings.LastIndex(place, nodeModules+"/"); i >= 0 {
		name = place[i+len(nodeModules)+1:]
	}
	s.found = append(s.found, Other{
		Name: printable(name), Source: SourceUnknown, Extraneous: true, Oddity: fmt.Sprintf(format, args...),
		Locations: []Location{{Path: printablePath(place)}},
	})
}

// modules looks at one node_modules. inPackage says that it lies in another: then it may be no link.
func (s *strays) modules(where string, inPackage bool) {
	fi, err := os.Lstat(s.p.onDisk(where))
	if errors.Is(err, fs.ErrNotExist) || errors.Is(err, syscall.ENOTDIR) {
		return
	}
	if err == nil && fi.Mode()&fs.ModeSymlink != 0 {
		// Node.js looks for what a package needs beside where it really lies.
		real, err := filepath.EvalSymlinks(s.p.onDisk(where))
		if err != nil || inPackage || filepath.Base(real) != nodeModules {
			s.add(where, "%s is a link, and not to a directory of that name", quoteShort(where))
			return
		}
	}
	for _, e := range s.list(where) {
		place := joinPath(where, e.Name())
		switch name := e.Name(); {
		case name == ".bin":
			s.commands(place, s.listed)
		case isNote(e):
		case strings.HasPrefix(name, "@") && e.IsDir():
			for _, e := range s.list(place) {
				if !inert(e.Name()) {
					s.entry(place+"/"+e.Name(), e)
				}
			}
		default:
			s.entry(place, e)
		}
	}
}

// inert are names that systems leave behind, and Node.js loads as nothing.
func inert(name string) bool {
	return name == ".DS_Store" || name == "Thumbs.db" || name == "desktop.ini"
}

// entry looks at one place.
func (s *strays) entry(place string, e fs.DirEntry) {
	switch l := s.p.find(place); {
	case l == nil || l.bundled:
		what := "a package"
		switch {
		case e.Type()&fs.ModeSymlink != 0:
			what = "a link"
		case !e.IsDir():
			what = "a file"
		}
		s.add(place, "%s lies on disk, and the lockfile lists no such package: %s that nothing vouches for, and that Node.js may load", quoteShort(place), what)
	default:
		if why := s.p.unlike(l); why != "" {
			s.add(place, "%s", why)
		}
	}
}

func (s *strays) list(dir string) []fs.DirEntry {
	if s.count > maxWalk {
		return nil
	}
	entries, err := os.ReadDir(s.p.onDisk(dir))
	if err != nil {
		s.add(dir, "%s cannot be read, so nothing is known of what lies there: %s", quoteShort(dir), quoteShort(err.Error()))
	}
	if s.count += len(entries); s.count > maxWalk {
		s.add(dir, "node_modules has more than %d entries, and the rest was not looked at", maxWalk)
		return nil
	}
	return entries
}

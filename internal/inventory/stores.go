package inventory

import (
	"io/fs"
	"os"
	"path"
	"slices"
	"strings"
)

// A store is a directory in node_modules that has one directory for each package, or for each way in which its peer
// dependencies are met, with links to its dependencies beside it.
type store struct {
	name string
	// inside is where the package lies in its directory: "node_modules", below which is its name, or "package".
	inside string
	// key begins the name of a package's directory; what may follow begins with one of the bytes of ends.
	key  func(name, version string) string
	ends string
}

// storeNames lists the stores that package managers have.
//
// Sources: pnpm, packages/dependency-path (depPathToFilename): "@s+x@1.0.0_react@18.2.0"; bun, src/install/isolated_install:
// "@s+x@1.0.0+0123456789abcdef"; yarn, packages/plugin-pnpm and structUtils.slugifyLocator: "@s-x-npm-1.0.0-0123456789".
var storeNames = [...]store{
	{".pnpm", nodeModules, plusKey, "_("},
	{".bun", nodeModules, plusKey, "+"},
	{".store", "package", func(name, version string) string { return slug(name) + "-npm-" + version }, "-"},
}

func plusKey(name, version string) string {
	return strings.ReplaceAll(name, "/", "+") + "@" + strings.Map(func(c rune) rune {
		if strings.ContainsRune(`\/:*?"<>|#`, c) {
			return '+'
		}
		return c
	}, version)
}

func slug(name string) string { return strings.ReplaceAll(name, "/", "-") }

// tenants says whose directory in a store this is, by its name. Several are given where the name leaves the version open.
func (s *store) tenants(d *disk, keys map[string][]tenant, dir string) []tenant {
	match := func(dir string) []tenant {
		for n := len(dir); n > 0; n-- {
			if n < len(dir) && !strings.ContainsRune(s.ends, rune(dir[n])) {
				continue
			}
			if found := keys[dir[:n]]; found != nil {
				return found
			}
		}
		return nil
	}
	if found := match(dir); found != nil {
		return found
	}
	if s.inside == nodeModules {
		// pnpm up to 8 writes the host before the packages of another registry than the usual.
		if host, rest, ok := strings.Cut(dir, "+"); ok && strings.ContainsAny(host, ".:") && !strings.HasPrefix(host, "@") {
			if found := match(rest); found != nil {
				return found
			}
		}
		// A name that is too long ends early, with a digest of the whole.
		if stem, _, ok := cutLast(dir, "_"); ok && len(stem) > 60 {
			var found []tenant
			for key, who := range keys {
				if strings.HasPrefix(key, stem) {
					found = append(found, who...)
				}
			}
			slices.Sort(found)
			return found
		}
		return nil
	}
	// What has peer dependencies, or is patched, has no version in its name.
	for _, mark := range [...]string{"-virtual-", "-patch-"} {
		if name, _, ok := cutLast(dir, mark); ok {
			var found []tenant
			for i := range d.p.Packages {
				if slug(d.p.Packages[i].Name) == name {
					found = append(found, tenant(i))
				}
			}
			for i := range d.p.Others {
				if slug(d.p.Others[i].Name) == name {
					found = append(found, others-tenant(i))
				}
			}
			return found
		}
	}
	return nil
}

func cutLast(s, mark string) (before, after string, ok bool) {
	i := strings.LastIndex(s, mark)
	if i < 0 {
		return s, "", false
	}
	return s[:i], s[i+len(mark):], true
}

// storeOf tells the kind of a store by its directory's name.
func storeOf(where string) *store {
	for i := range storeNames {
		if path.Base(where) == storeNames[i].name {
			return &storeNames[i]
		}
	}
	return nil
}

// readStore notes what lies in a store's directories.
func (d *disk) readStore(where string) {
	fi, err := os.Lstat(d.p.onDisk(where))
	if err != nil {
		return
	}
	if !fi.IsDir() {
		d.add(where, "%s is no directory", quoteShort(where))
		return
	}
	s := storeOf(where)
	d.stores = append(d.stores, where)
	keys := make(map[string][]tenant, len(d.p.Packages))
	for i := range d.p.Packages {
		k := s.key(d.p.Packages[i].Name, d.p.Packages[i].Version)
		keys[k] = append(keys[k], tenant(i))
	}
	for _, e := range d.list(where) {
		dir := where + "/" + e.Name()
		switch {
		case e.Name() == nodeModules: // links for all
		case e.IsDir():
			d.storeEntry(s, keys, dir)
		case e.Type()&fs.ModeSymlink != 0:
			d.add(dir, "%s is a link in a place where package managers make none", quoteShort(dir))
		}
	}
}

// storeEntry looks at the directory of one package in a store.
func (d *disk) storeEntry(s *store, keys map[string][]tenant, dir string) {
	from := s.tenants(d, keys, path.Base(dir))
	if s.inside != nodeModules {
		place := dir + "/" + s.inside
		if fi, err := os.Lstat(d.p.onDisk(place)); err != nil {
			return // of a package that is not installed
		} else if !fi.IsDir() {
			d.add(place, "%s is no directory", quoteShort(place))
			return
		}
		d.storePackage(place, "", from)
		return
	}
	for _, e := range d.list(dir + "/" + nodeModules) {
		place := dir + "/" + nodeModules + "/" + e.Name()
		switch name := e.Name(); {
		case e.Type()&fs.ModeSymlink != 0, name == ".bin", isNote(e):
		case !e.IsDir():
			d.add(place, "%s lies on disk, and no package manager puts files there: nothing vouches for it, and Node.js may load it", quoteShort(place))
		case strings.HasPrefix(name, "@"):
			for _, e := range d.list(place) {
				if place := place + "/" + e.Name(); e.IsDir() {
					d.storePackage(place, name+"/"+e.Name(), from)
				} else if e.Type()&fs.ModeSymlink == 0 && !inert(e.Name()) {
					d.add(place, "%s lies on disk, and no package manager puts files there: nothing vouches for it, and Node.js may load it", quoteShort(place))
				}
			}
		default:
			d.storePackage(place, name, from)
		}
	}
}

// storePackage looks at a package in a store, which may be one of several. name is "" where its place does not tell it.
func (d *disk) storePackage(place, name string, from []tenant) {
	c := d.claim(place)
	var fits []tenant
	for _, h := range from {
		if h < 0 || name == "" || d.p.Packages[h].Name == name {
			fits = append(fits, h)
		}
	}
	h, ok := d.choose(fits, c)
	if called := d.names[name]; len(from) == 0 && called != nil { // from no registry, or nobody's
		h, ok = d.foreign(called.foreign, c)
	}
	if !ok {
		d.add(place, "%s lies on disk, and the lockfile lists no such package: nothing vouches for it, and Node.js may load it", quoteShort(place))
		return
	}
	d.put(place, h)
	d.modules(place, h, d.bundle(place, c), 1)
}

// storeLinks looks at the links beside the packages of a store.
func (d *disk) storeLinks(where string) {
	s := storeOf(where)
	for _, e := range d.list(where) {
		dir := where + "/" + e.Name()
		if !e.IsDir() {
			continue
		}
		by, modules := anybody, dir
		if e.Name() != nodeModules {
			modules = dir + "/" + nodeModules
			by = d.beside(s, dir)
		}
		if fi, err := os.Lstat(d.p.onDisk(modules)); err != nil || !fi.IsDir() {
			if err == nil {
				d.add(modules, "%s is no directory", quoteShort(modules))
			}
			continue
		}
		for _, e := range d.list(modules) {
			place := modules + "/" + e.Name()
			switch name := e.Name(); {
			case name == ".bin":
				d.bins = append(d.bins, place)
			case e.Type()&fs.ModeSymlink != 0:
				d.link(place, name, by)
			case strings.HasPrefix(name, "@") && e.IsDir():
				for _, e := range d.list(place) {
					if e.Type()&fs.ModeSymlink != 0 {
						d.link(place+"/"+e.Name(), name+"/"+e.Name(), by)
					}
				}
			}
		}
	}
}

// beside returns whose directory in a store it is.
func (d *disk) beside(s *store, dir string) tenant {
	if s.inside != nodeModules {
		if h, ok := d.places[dir+"/"+s.inside]; ok {
			return h
		}
		return anybody
	}
	found := anybody
	for _, e := range d.list(dir + "/" + nodeModules) {
		place := dir + "/" + nodeModules + "/" + e.Name()
		if h, ok := d.places[place]; ok {
			return h
		}
		if strings.HasPrefix(e.Name(), "@") && e.IsDir() {
			for _, e := range d.list(place) {
				if h, ok := d.places[place+"/"+e.Name()]; ok {
					return h
				}
			}
		}
	}
	return found
}

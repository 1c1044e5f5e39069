package inventory

import (
	"path"
	"path/filepath"
	"slices"
	"strings"
	"sync"
)

// Dirs returns the directories that hold the files of package i, sorted: relative to Dir, with slashes. One in a zip
// file has the file's path before it, as yarn writes it: ".yarn/cache/ms-npm-2.1.3-81ff.zip/node_modules/ms". It
// is empty for a package that is not installed, as those for other platforms are not, and nil for a Project that
// names no places at all, such as an SBOM.
//
// npm's lockfiles name the places. Those of yarn, pnpm and bun do not, and what lies on disk is looked at, once, when the
// first of Dirs, Lists, Strays and Resolve is called: node_modules of the project and its workspaces, flat or
// as links into a store in it (pnpm's .pnpm, bun's .bun, yarn's .store), and the data of yarn's Plug'n'Play. Which
// package a directory holds follows from its name where that has the version in it, and else from its package.json,
// whose word is believed because all that lies there is compared with that package's tarball.
//
// Only a Project that [Open] returned can tell.
func (p *Project) Dirs(i int) []string {
	if p.namesPlaces() {
		dirs := []string{}
		for _, l := range p.Packages[i].Locations {
			if filepath.IsLocal(l.Path) { // else a lockfile's word, and no place of this project
				dirs = append(dirs, l.Path)
			}
		}
		return dirs
	}
	if d := p.disk(); d != nil {
		return d.dirs[i]
	}
	return nil
}

// Resolve returns the place of the package that another one gets when it asks for a name, as Node.js or yarn's
// Plug'n'Play finds it; from is a place as in Dirs. "" where nothing that the lockfile lists is found.
func (p *Project) Resolve(from, name string) string {
	if p.namesPlaces() {
		for base := from; ; base = above(base) {
			where := joinPath(base, nodeModules+"/"+name)
			if l := p.find(where); l != nil && l.link {
				return path.Clean(l.target) // in a store
			} else if l != nil {
				return where
			}
			if base == "" {
				return ""
			}
		}
	}
	if d := p.disk(); d != nil {
		where, _ := d.resolve(from, name)
		return where
	}
	return ""
}

// above is the directory that the node_modules is in which a place lies in, "" for the project's.
func above(place string) string {
	i := strings.LastIndex("/"+place, "/"+nodeModules+"/")
	return place[:max(0, i-1)]
}

func (p *Project) namesPlaces() bool {
	return p.Kind == kindPackageLock || p.Kind == kindShrinkwrap || p.Kind == kindNodeModules
}

// hasModules reports whether the package manager of a lockfile's kind puts packages on disk by rules of its own.
func hasModules(kind string) bool {
	return strings.HasPrefix(kind, "yarn") || strings.HasPrefix(kind, "pnpm") || strings.HasPrefix(kind, "bun")
}

// disk looks at what lies on disk, once. It is nil where there is nothing to look at.
func (p *Project) disk() *disk {
	if p.looked == nil {
		return nil
	}
	return p.looked()
}

// lookLater prepares for disk. whole returns the Project without the Options that leave something out.
func (p *Project) lookLater(whole func() (*Project, error)) {
	if !hasModules(p.Kind) {
		return
	}
	p.looked = sync.OnceValue(func() *disk {
		all, err := whole()
		d := newDisk(p.Dir, all)
		if err != nil {
			d.add("", "what lies on disk cannot be compared with the lockfile: %s", quoteShort(err.Error()))
		} else {
			d.look()
		}
		if all == p {
			return d
		}
		// The same packages, by the indices of the whole.
		key := func(k *Package) [4]string { return [4]string{k.Name, k.Version, k.Integrity, k.Resolved} }
		dirs := make(map[[4]string][]string, len(d.dirs))
		for i := range d.dirs {
			dirs[key(&all.Packages[i])] = d.dirs[i]
		}
		d.dirs = make([][]string, len(p.Packages))
		for i := range p.Packages {
			if d.dirs[i] = dirs[key(&p.Packages[i])]; d.dirs[i] == nil {
				d.dirs[i] = []string{}
			}
		}
		return d
	})
}

// A disk is what lies on disk of a project whose lockfile names no places.
type disk struct {
	strays
	p      *Project
	dirs   [][]string         // as in Project.Dirs
	places map[string]tenant  // what lies at each place that is known
	links  map[string]string  // places that are links, and the place that each leads to
	names  map[string]*called // who may lie under a name
	ids    map[string]tenant  // packages by name@version
	asked  map[ask]*called    // who should be found under a name
	pnp    map[string]map[string]string
	work   map[string]tenant // directories of the project itself
	stores []string          // stores that were read
	bins   []string          // directories of commands, looked at when all packages are known
	told   map[string]bool   // places that were told of
}

// tenant says what lies at a place: the index of a package, or one of these.
type tenant int32

const (
	nobody  tenant = -1      // what satisfies an edge is not known
	project tenant = -2      // the project's root
	others  tenant = -3      // less the index of an Other
	maxHold        = 1 << 30 // bounds indices; lockfiles stay far below
)

// A called is who may be meant by a name.
type called struct {
	all     map[tenant]bool
	first   tenant   // of the packages; nobody for none
	foreign []tenant // those from no registry
}

func (c *called) add(h tenant) {
	if c.all == nil {
		c.all, c.first = map[tenant]bool{}, nobody
	}
	switch {
	case c.all[h]:
		return
	case h >= 0 && (c.first < 0 || h < c.first):
		c.first = h
	case h <= others:
		c.foreign = append(c.foreign, h)
	}
	c.all[h] = true
}

func (c *called) has(h tenant) bool { return c != nil && c.all[h] }

type ask struct {
	by   tenant
	name string
}

func newDisk(dir string, p *Project) *disk {
	d := &disk{
		strays: strays{p: p}, p: p, dirs: make([][]string, len(p.Packages)), places: map[string]tenant{}, links: map[string]string{},
		names: map[string]*called{}, ids: map[string]tenant{}, asked: map[ask]*called{}, work: map[string]tenant{"": project}, told: map[string]bool{},
	}
	for i := range d.dirs {
		d.dirs[i] = []string{}
	}
	d.index()
	return d
}

// tenantOf is what a node holds.
func tenantOf(n *Node) tenant {
	switch {
	case n.Package >= 0:
		return tenant(n.Package)
	case n.Other >= 0:
		return others - tenant(n.Other)
	}
	return project
}

func (h tenant) other() int { return int(others - h) }

// index collects who may be found where, from the lockfile.
func (d *disk) index() {
	name := func(name string, h tenant) {
		if d.names[name] == nil {
			d.names[name] = &called{}
		}
		d.names[name].add(h)
	}
	for i := range d.p.Packages {
		k := &d.p.Packages[i]
		name(k.Name, tenant(i))
		id := k.Name + "@" + k.Version
		if _, twice := d.ids[id]; !twice {
			d.ids[id] = tenant(i)
		}
		if k.Alias != "" {
			name(k.Alias, tenant(i))
		}
	}
	for i := range d.p.Others {
		o := &d.p.Others[i]
		if o.Missing {
			continue
		}
		h := others - tenant(i)
		name(o.Name, h)
		switch o.Source {
		case SourceWorkspace, SourceLink, SourceFile:
			for _, l := range o.Locations {
				if where := path.Clean(l.Path); where != "." && !strings.Contains("/"+where+"/", "/"+nodeModules+"/") && !path.IsAbs(where) {
					d.work[where] = h
				}
			}
		}
	}
	for i := range d.p.Nodes {
		n := &d.p.Nodes[i]
		by := tenantOf(n)
		for _, e := range n.Edges {
			to := nobody
			if e.To >= 0 && e.To < len(d.p.Nodes) {
				to = tenantOf(&d.p.Nodes[e.To])
				if to >= 0 {
					name(e.Name, to)
				}
			}
			if e.Kind == Peer || e.Kind == PeerOptional {
				to = nobody // what is beside it, whichever that is
			}
			key := ask{by, e.Name}
			if d.asked[key] == nil {
				d.asked[key] = &called{}
			}
			d.asked[key].add(to)
			if to <= others && by < 0 {
				d.linked(n, &e, to)
			}
		}
	}
}

// linked notes which directory of the project an edge to a link leads to.
func (d *disk) linked(n *Node, e *Edge, to tenant) {
	switch d.p.Others[to.other()].Source {
	case SourceLink, SourceFile:
	default:
		return
	}
	spec, _, _ := strings.Cut(e.Spec, "::")
	if where, ok := specPath(n.Path, spec); ok && where != "" && !strings.Contains("/"+where+"/", "/"+nodeModules+"/") {
		if _, known := d.work[where]; !known {
			d.work[where] = to
		}
	}
}

// addPatches notes that files of the project change a package once it is unpacked. dir is the directory that their
// paths start from.
func (t *tree) addPatches(id, dir string, files ...string) {
	for _, file := range files {
		file = strings.TrimPrefix(file, "optional!")
		switch rest, root := strings.CutPrefix(file, "~/"); {
		case strings.HasPrefix(strings.TrimPrefix(file, "~"), "builtin<"):
			file = strings.TrimPrefix(file, "~")
		case root:
			file = path.Clean(rest)
		default:
			file = path.Join(dir, file)
		}
		if t.patched == nil {
			t.patched = map[string][]string{}
		}
		if !slices.Contains(t.patched[id], file) && len(t.patched[id]) < maxPatches {
			t.patched[id] = append(t.patched[id], file)
		}
	}
}

// maxPatches bounds the patches of one package.
const maxPatches = 100

package inventory

import (
	"cmp"
	"encoding/json"
	"errors"
	"io/fs"
	"os"
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
			if where := joinPath(base, nodeModules+"/"+name); p.find(where) != nil {
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
	dirs   [][]string          // as in Project.Dirs
	places map[string]tenant   // what lies at each place that is known
	links  map[string]string   // places that are links, and the place that each leads to
	names  map[string][]tenant // who may lie under a name
	ids    map[string]tenant   // packages by name@version
	asked  map[ask][]tenant    // who should be found under a name
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

type ask struct {
	by   tenant
	name string
}

func newDisk(dir string, p *Project) *disk {
	d := &disk{
		strays: strays{p: p}, p: p, dirs: make([][]string, len(p.Packages)), places: map[string]tenant{}, links: map[string]string{},
		names: map[string][]tenant{}, ids: map[string]tenant{}, asked: map[ask][]tenant{}, work: map[string]tenant{"": project}, told: map[string]bool{},
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
		if !slices.Contains(d.names[name], h) {
			d.names[name] = append(d.names[name], h)
		}
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
			if key := (ask{by, e.Name}); !slices.Contains(d.asked[key], to) {
				d.asked[key] = append(d.asked[key], to)
			}
		}
	}
}

// look reads what lies on disk.
func (d *disk) look() {
	d.readPnP()
	modules := make([]string, 0, len(d.work))
	for where := range d.work {
		if where != ".." && !strings.HasPrefix(where, "../") {
			modules = append(modules, where)
		}
	}
	slices.Sort(modules)
	for _, store := range storeNames {
		d.readStore(nodeModules + "/" + store.name)
	}
	for _, where := range modules {
		d.modules(where, d.work[where], nil, 0)
	}
	for _, store := range d.stores {
		d.storeLinks(store)
	}
	for _, where := range d.bins {
		d.commands(where, d.has)
	}
	d.compareAsked()
	for i := range d.dirs {
		slices.Sort(d.dirs[i])
		d.dirs[i] = slices.Compact(d.dirs[i])
	}
	d.sort()
}

// put notes what lies at a place.
func (d *disk) put(place string, h tenant) {
	if _, twice := d.places[place]; twice {
		return
	}
	d.places[place] = h
	if h >= 0 && !d.mocked(place) {
		d.dirs[h] = append(d.dirs[h], place)
	}
}

// mocked reports whether a directory has nothing in it but the file that yarn writes for a package of another platform.
func (d *disk) mocked(place string) bool {
	entries, err := os.ReadDir(d.p.onDisk(place))
	if err != nil || len(entries) != 1 || entries[0].Name() != "package.json" {
		return false
	}
	data, err := os.ReadFile(d.p.onDisk(place + "/package.json"))
	if err != nil || len(data) > maxKey {
		return false
	}
	var m map[string]any
	if json.Unmarshal(data, &m) != nil || m["mocked"] != true {
		return false
	}
	delete(m, "mocked")
	delete(m, "name")
	return len(m) == 0
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

// A claim is what a package.json on disk says of itself.
type claim struct {
	*manifest
	err error
}

func (d *disk) claim(place string) claim {
	m, err := readClaim(d.p.onDisk(place + "/package.json"))
	if m == nil {
		m = &manifest{}
	}
	return claim{m, err}
}

func readClaim(name string) (*manifest, error) {
	f, err := os.Open(name)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	if fi, err := f.Stat(); err != nil {
		return nil, err
	} else if !fi.Mode().IsRegular() || fi.Size() > maxManifest {
		return nil, errors.New("package.json is no regular file of a usual size")
	}
	data := make([]byte, 0, 4096)
	for len(data) <= maxManifest {
		data = slices.Grow(data, 4096)
		n, err := f.Read(data[len(data):cap(data)])
		data = data[:len(data)+n]
		if err != nil {
			break
		}
	}
	return parseManifest(name, data)
}

// who says what lies in a directory under a name: of those that may lie there the one whose version package.json
// has. Where none fits, and a package may lie there, that one is it: its tarball will show what is wrong.
func (d *disk) who(name string, c claim) (tenant, bool) { return d.choose(d.names[name], c) }

func (d *disk) choose(from []tenant, c claim) (tenant, bool) {
	best, found := nobody, false
	for _, h := range from {
		switch {
		case h >= 0:
			k := &d.p.Packages[h]
			if k.Version == c.version && (k.Name == c.name || c.name == "") {
				return h, true
			}
			if best < 0 {
				best, found = h, true
			}
		case h <= others:
			switch o := &d.p.Others[h.other()]; {
			case o.Source == SourceWorkspace: // never copied
			case o.Version != "" && o.Version == c.version:
				best, found = h, true
			case !found:
				best, found = h, true
			}
		}
	}
	return best, found
}

// modules looks at the node_modules of what lies at a place. bundled are names that belong to its tarball.
func (d *disk) modules(in string, by tenant, bundled map[string]bool, depth int) {
	where := joinPath(in, nodeModules)
	fi, err := os.Lstat(d.p.onDisk(where))
	if err != nil {
		return
	}
	if depth > maxNesting {
		d.add(where, "%s is nested too deeply to be looked at", quoteShort(where))
		return
	}
	own := by < 0 // then nobody else answers for what lies there
	if fi.Mode()&fs.ModeSymlink != 0 {
		real, err := filepath.EvalSymlinks(d.p.onDisk(where))
		if err != nil || !own || filepath.Base(real) != nodeModules {
			if own {
				d.add(where, "%s is a link, and not to a directory of that name", quoteShort(where))
			}
			return
		}
	} else if !fi.IsDir() {
		if own {
			d.add(where, "%s is no directory", quoteShort(where))
		}
		return
	}
	for _, e := range d.list(where) {
		place, name := joinPath(where, e.Name()), e.Name()
		switch {
		case name == ".bin":
			d.bins = append(d.bins, place)
		case installerNotes[name], strings.HasPrefix(name, ".") && !own:
		case strings.HasPrefix(name, "@") && e.IsDir():
			for _, e := range d.list(place) {
				if !inert(e.Name()) {
					d.entry(place+"/"+e.Name(), name+"/"+e.Name(), e, by, bundled, depth)
				}
			}
		default:
			d.entry(place, name, e, by, bundled, depth)
		}
	}
}

// entry looks at one entry of a node_modules.
func (d *disk) entry(place, name string, e fs.DirEntry, by tenant, bundled map[string]bool, depth int) {
	own := by < 0
	if bundled[name] {
		return
	}
	if e.Type()&fs.ModeSymlink != 0 {
		d.link(place, name, by)
		return
	}
	if !e.IsDir() {
		if own {
			d.add(place, "%s lies on disk, and the lockfile lists no such package: a file that nothing vouches for, and that Node.js may load", quoteShort(place))
		}
		return
	}
	c := d.claim(place)
	h, ok := d.who(name, c)
	if !ok {
		if own {
			d.add(place, "%s lies on disk, and the lockfile lists no such package: a package that nothing vouches for, and that Node.js may load", quoteShort(place))
		}
		return
	}
	d.put(place, h)
	d.modules(place, h, d.bundle(place, c), depth+1)
}

// bundle returns the names of packages that come in the tarball of the one at a place: those that its package.json
// bundles, and what these need, as far as it lies beside them.
func (d *disk) bundle(place string, c claim) map[string]bool {
	names := bundleNames(c.bundle, c.bundleAll, c.edges)
	if len(names) == 0 {
		return nil
	}
	all := map[string]bool{}
	for len(names) > 0 && len(all) < maxEdges {
		name := names[0]
		names = names[1:]
		if all[name] || !filepath.IsLocal(name) {
			continue
		}
		all[name] = true
		for _, e := range d.claim(place + "/" + nodeModules + "/" + name).edges {
			if e.Kind != Dev && !all[e.Name] {
				if _, err := os.Lstat(d.p.onDisk(place + "/" + nodeModules + "/" + e.Name)); err == nil {
					names = append(names, e.Name)
				}
			}
		}
	}
	return all
}

// link looks at a symbolic link in a node_modules. It may lead to a directory of the project that is asked for under this
// name, or to a package in a store.
func (d *disk) link(place, name string, by tenant) {
	real, err := filepath.EvalSymlinks(d.p.onDisk(place))
	if err != nil {
		d.add(place, "%s is a link that leads nowhere: %s", quoteShort(place), quoteShort(err.Error()))
		return
	}
	to := d.relative(real)
	h, known := d.places[to]
	if !known {
		if h, known = d.work[to]; known && !d.named(h, name) {
			known = false
		}
	}
	if !known && strings.Contains("/"+to, "/"+nodeModules+"/") && strings.HasSuffix(to, "/"+path.Base(name)) {
		// A store outside the project, or one of another workspace's.
		c := d.claim(to)
		if h, known = d.who(name, c); known && (h < 0 || d.p.Packages[h].Version != c.version) {
			known = false
		}
		if known {
			d.put(to, h)
		}
	}
	if !known {
		d.add(place, "%s is a link to %s, which the lockfile does not list under this name", quoteShort(place), quoteShort(to))
		return
	}
	d.links[place] = to
	d.compare(place, name, by, h)
}

// named reports whether something may be found under a name.
func (d *disk) named(h tenant, name string) bool {
	if h == project {
		return name == d.p.Name
	}
	return slices.Contains(d.names[name], h) || slices.ContainsFunc(d.asked[ask{project, name}], func(o tenant) bool { return o == h })
}

// anybody is who links for all packages are made for.
const anybody tenant = -maxHold

// compare tells where something finds under a name what the lockfile does not give it there.
func (d *disk) compare(place, name string, by, got tenant) {
	if got == project {
		return // it may ask for itself
	}
	want := d.asked[ask{by, name}]
	if len(want) == 0 {
		if d.named(got, name) {
			return // hoisted
		}
	} else if slices.ContainsFunc(want, func(h tenant) bool { return h == nobody && d.named(got, name) || d.alike(h, got) }) {
		return
	}
	if d.told[place] {
		return
	}
	d.told[place] = true
	who := "the project"
	if by >= 0 || by <= others && by > anybody {
		who = d.describe(by)
	}
	if len(want) == 0 || want[0] == nobody {
		d.add(place, "%s holds %s, which the lockfile does not list under this name", quoteShort(place), d.describe(got))
		return
	}
	d.add(place, "%s is what %s finds under the name %s: it holds %s, and the lockfile says %s", quoteShort(place), who, quoteShort(name), d.describe(got), d.describe(want[0]))
}

// alike reports whether two are the same, or two entries for the same version.
func (d *disk) alike(a, b tenant) bool {
	if a == b {
		return true
	}
	switch {
	case a >= 0 && b >= 0:
		x, y := &d.p.Packages[a], &d.p.Packages[b]
		return x.Name == y.Name && x.Version == y.Version
	case a <= others && b <= others:
		return d.p.Others[a.other()].Name == d.p.Others[b.other()].Name
	case a <= others && b >= 0:
		return d.alike(b, a)
	case a >= 0 && b <= others: // yarn's patch of a package beside the package
		x, y := &d.p.Packages[a], &d.p.Others[b.other()]
		return x.Name == y.Name && (x.Version == y.Version || y.Version == "")
	}
	return false
}

func (d *disk) describe(h tenant) string {
	switch {
	case h >= 0:
		return quoteShort(d.p.Packages[h].Name + "@" + d.p.Packages[h].Version)
	case h <= others && h > anybody:
		o := &d.p.Others[h.other()]
		return quoteShort(strings.TrimSuffix(o.Name+"@"+cmp.Or(o.Version, o.Spec), "@"))
	case h == project:
		return "the project"
	}
	return "something else"
}

// resolve finds what a place gets under a name.
func (d *disk) resolve(from, name string) (string, tenant) {
	if deps, ok := d.pnp[from]; ok {
		where := deps[name]
		return where, d.at(where)
	}
	// Node.js looks in every directory above, save in those that are called node_modules.
	for dir := from; ; dir = path.Dir(dir) {
		if dir == "." || dir == "/" {
			dir = ""
		}
		if path.Base(dir) != nodeModules {
			where := joinPath(dir, nodeModules+"/"+name)
			if to, ok := d.links[where]; ok {
				return to, d.at(to)
			}
			if h, ok := d.places[where]; ok {
				return where, h
			}
		}
		if dir == "" || path.Base(dir) == ".." {
			return "", nobody
		}
	}
}

func (d *disk) at(place string) tenant {
	if h, ok := d.places[place]; ok {
		return h
	}
	if h, ok := d.work[place]; ok {
		return h
	}
	return nobody
}

// compareAsked looks for packages that find under a name another package than the lockfile gives them, though one that
// it lists: somebody put an older version, with a hole in it, in the place of the other.
func (d *disk) compareAsked() {
	byTenant := map[tenant][]string{}
	for key := range d.asked {
		byTenant[key.by] = append(byTenant[key.by], key.name)
	}
	for _, names := range byTenant {
		slices.Sort(names)
	}
	places := make([]string, 0, len(d.places)+len(d.work))
	for place := range d.places {
		places = append(places, place)
	}
	for place := range d.work {
		places = append(places, place)
	}
	slices.Sort(places)
	for _, place := range places {
		by, ok := d.places[place]
		if !ok {
			by = d.work[place]
		}
		for _, name := range byTenant[by] {
			if where, h := d.resolve(place, name); where != "" && h != nobody {
				d.compare(where, name, by, h)
			}
		}
	}
}

// lists reports whether something that the lockfile lists lies at a place.
func (d *disk) lists(place string) bool {
	_, there := d.places[place]
	_, linked := d.links[place]
	return there || linked
}

// sort puts what was found in order, and counts what is too much.
func (s *strays) sort() {
	slices.SortStableFunc(s.found, func(a, b Other) int { return cmp.Compare(a.Locations[0].Path, b.Locations[0].Path) })
	if n := len(s.found) - maxStrays; n > 0 {
		s.found = s.found[:maxStrays]
		s.add(nodeModules, "%d more that the lockfile does not list", n)
	}
}

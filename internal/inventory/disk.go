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
)

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
	slices.Sort(d.bins)
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
func (d *disk) who(name string, c claim) (tenant, bool) {
	from := d.names[name]
	if from == nil {
		return nobody, false
	}
	if h, ok := d.ids[c.name+"@"+c.version]; ok && from.all[h] {
		return h, true
	}
	if h, ok := d.ids[name+"@"+c.version]; ok && c.name == "" && from.all[h] {
		return h, true
	}
	if from.first >= 0 {
		if h, ok := d.foreign(from.foreign, c); ok && d.p.Others[h.other()].Version == c.version && c.version != "" {
			return h, true
		}
		return from.first, true
	}
	return d.foreign(from.foreign, c)
}

// foreign chooses among those that are from no registry.
func (d *disk) foreign(from []tenant, c claim) (tenant, bool) {
	best, found := nobody, false
	for i, h := range from {
		if i == maxForeign {
			break
		}
		switch o := &d.p.Others[h.other()]; {
		case o.Source == SourceWorkspace: // never copied
		case o.Version != "" && o.Version == c.version:
			return h, true
		case !found:
			best, found = h, true
		}
	}
	return best, found
}

// maxForeign bounds how many of one name that are from no registry are looked at for one directory.
const maxForeign = 100

// choose is who, of those that a store's directory may belong to.
func (d *disk) choose(from []tenant, c claim) (tenant, bool) {
	best, found := nobody, false
	for _, h := range from {
		if h < 0 {
			best, found = h, true
			continue
		}
		if k := &d.p.Packages[h]; k.Version == c.version && (k.Name == c.name || c.name == "") {
			return h, true
		}
		if best < 0 {
			best, found = h, true
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
		case isNote(e), strings.HasPrefix(name, ".") && !own:
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
	return d.names[name].has(h) || d.asked[ask{project, name}].has(h)
}

// anybody is who links for all packages are made for.
const anybody tenant = -maxHold

// compare tells where something finds under a name what the lockfile does not give it there.
func (d *disk) compare(place, name string, by, got tenant) {
	if got == project {
		return // it may ask for itself
	}
	want := d.asked[ask{by, name}]
	switch {
	case want == nil:
		if d.named(got, name) {
			return // hoisted
		}
	case want.all[got], want.all[nobody] && d.named(got, name):
		return
	default:
		for _, h := range want.foreign {
			if d.alike(h, got) {
				return
			}
		}
		if got <= others && want.first >= 0 && d.alike(want.first, got) {
			return
		}
		if got >= 0 { // another entry for the same version
			if h, ok := d.ids[d.id(got)]; ok && want.all[h] || want.first >= 0 && d.id(want.first) == d.id(got) {
				return
			}
		}
	}
	if d.told[place] {
		return
	}
	d.told[place] = true
	who := "the project"
	if by >= 0 || by <= others && by > anybody {
		who = d.describe(by)
	}
	if want == nil || want.first < 0 && len(want.foreign) == 0 {
		d.add(place, "%s holds %s, which the lockfile does not list under this name", quoteShort(place), d.describe(got))
		return
	}
	d.add(place, "%s is what %s finds under the name %s: it holds %s, and the lockfile says %s", quoteShort(place), who, quoteShort(name), d.describe(got), d.describe(want.one()))
}

// one is who is meant, the first of several.
func (c *called) one() tenant {
	if c.first < 0 && len(c.foreign) > 0 {
		return c.foreign[0]
	}
	return c.first
}

func (d *disk) id(h tenant) string { return d.p.Packages[h].Name + "@" + d.p.Packages[h].Version }

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

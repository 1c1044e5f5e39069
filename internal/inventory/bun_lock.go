package inventory

import (
	"bytes"
	"fmt"
	"path"
	"strings"

	"assay/internal/npm"

	"github.com/go-json-experiment/json/jsontext"
)

// bunVersions are the lockfileVersions of bun.lock that are known. 1 lists the dependencies of workspaces once, 2
// asks for an integrity where a tarball is on another host, 3 has overrides that hold for one parent only.
const bunVersions = 3

// readBunLock reads bun.lock, the text lockfile of bun 1.2 and later.
//
// A row of `packages` is keyed by the place that the package has where all are hoisted, its names from the top:
// "a/b" is node_modules/a/node_modules/b, and below a workspace the first name is the workspace's. So nodes have
// these places; bun's isolated linker puts them into a store instead, and Project.Dirs knows where they are.
//
// A row says itself whether its package comes from the registry, and that is what bun installs. What is marked as
// bundled is never fetched: bun takes what the tarball of the package above it holds, whatever version that is.
// Source: oven-sh/bun, src/install/lockfile/bun.lock.rs and src/install/resolution.zig.
func readBunLock(s *source, file string) (*tree, error) {
	data, err := s.readFile(file, maxFile)
	if err != nil {
		return nil, err
	}
	if path.Ext(file) == ".lockb" || bytes.HasPrefix(data, []byte("#!/usr/bin/env bun")) {
		return nil, &UnsupportedError{file, "bun", "only bun reads its binary lockfile; " +
			"bun install --save-text-lockfile --frozen-lockfile --lockfile-only writes it as bun.lock"}
	}
	s.files = append(s.files, file)
	r := &bunReader{
		lockReader: lockReader{jsonReader: newJSONReader(file, relaxJSON(data), false), bundles: make(map[string][]string)},
		locked:     &manifest{}, dirs: make(map[string]string),
	}
	t, err := r.parse()
	if err != nil {
		return nil, err
	}
	return t, r.useManifest(t, s)
}

// A bunReader collects what bun.lock holds.
type bunReader struct {
	lockReader
	version    int
	root       node
	workspaces []node
	rows       []node            // path is the key until they are placed
	dirs       map[string]string // directories of workspaces by name
	locked     *manifest         // overrides and catalogs as the lockfile repeats them
	patched    map[string]string // patch files by name@version
	trusted    map[string]bool   // names of packages whose install scripts bun runs
}

func (r *bunReader) parse() (*tree, error) {
	version := ""
	err := r.object("the lockfile", func(field string) (err error) {
		switch field {
		case "lockfileVersion":
			if k := r.peek(); k != jsontext.KindNumber {
				return r.unexpected(k, field, "a number")
			}
			var v jsontext.Value
			if v, err = r.dec.ReadValue(); err != nil {
				return r.syntax(err)
			}
			if version = string(v); len(version) != 1 || version[0] < '0' || version[0] > '0'+bunVersions {
				return r.errorf("lockfileVersion %s is not supported; supported are 0 to %d", quoteShort(version), bunVersions)
			}
			r.version = int(version[0] - '0')
		case "workspaces":
			err = r.members(field, false, r.workspace)
		case "packages":
			r.rows = make([]node, 0, room(r.data, `": ["`)+1)
			err = r.members(field, false, r.row)
		case "overrides":
			if r.peek() != jsontext.KindBeginObject {
				return r.unexpected(r.peek(), field, "an object")
			}
			err = r.overrideRules(r.locked, "", 0)
		case "catalog":
			err = r.catalog(r.locked, "")
		case "catalogs":
			err = r.namedCatalogs(r.locked)
		case "patchedDependencies":
			var list []Edge
			list, err = r.deps(field, Prod, nil, false)
			r.patched = make(map[string]string, len(list))
			for _, e := range list {
				r.patched[e.Name] = e.Spec
			}
		case "trustedDependencies":
			var names []string
			names, err = r.strings(field)
			r.trusted = make(map[string]bool, len(names))
			for _, name := range names {
				r.trusted[name] = true
			}
		default:
			err = r.skip()
		}
		return err
	})
	if err == nil {
		err = r.end()
	}
	if err != nil {
		return nil, err
	}
	if version == "" {
		return nil, &FormatError{r.file, 1, fmt.Sprintf("has no lockfileVersion; supported are 0 to %d", bunVersions)}
	}
	if !r.rootSeen {
		return nil, &FormatError{r.file, 1, `has no workspace "", the project itself`}
	}
	t := &tree{
		file: r.file, version: r.version, rootKnown: true, peersMayMiss: true,
		bundles: r.bundles, overrides: r.locked.overrides, nodes: make([]node, 1, 1+len(r.rows)+2*len(r.workspaces)),
	}
	if r.bom {
		t.warnings = append(t.warnings, Warning{Code: "byte-order-mark", Message: "begins with a byte order mark", File: r.file, Line: 1})
	}
	t.nodes[0] = r.root
	for i := range r.workspaces {
		t.workspaces = append(t.workspaces, r.workspaces[i].path)
	}
	if err := r.place(t); err != nil {
		return nil, err
	}
	return t, t.sortNodes()
}

// workspace reads one member of `workspaces`, whose name was read last: a directory of the project, "" for its own.
func (r *bunReader) workspace(dir string) error {
	n, err := newNode(dir, r.file, r.line())
	if err != nil {
		return err
	}
	if n.has(isInstalled) {
		return r.errorf("workspace %s lies in a node_modules", quoteShort(dir))
	}
	info, err := r.info("workspace "+quoteShort(dir), &n)
	if err != nil {
		return err
	}
	n.setEdges(info)
	if err := r.count(int(n.line), len(n.edges)); err != nil {
		return err
	}
	if dir == "" {
		n.line = max(n.line, 1)
		r.root, r.rootSeen = n, true
		return nil
	}
	if n.realName == "" {
		return &FormatError{r.file, int(n.line), fmt.Sprintf("workspace %s has no name", quoteShort(dir))}
	}
	if other, ok := r.dirs[n.realName]; ok {
		return &FormatError{r.file, int(n.line), fmt.Sprintf("workspaces %s and %s have one name, %s", quoteShort(other), quoteShort(dir), quoteShort(n.realName))}
	}
	if r.directories++; r.directories > maxDirectories {
		return r.errorf("more than %d directories", maxDirectories)
	}
	r.dirs[n.realName] = dir
	r.workspaces = append(r.workspaces, n)
	return nil
}

// info reads what a workspace or a row says of its package into n, and returns its dependencies.
func (r *bunReader) info(what string, n *node) ([]Edge, error) {
	var edges []Edge
	var optional map[string]bool
	err := r.object(what, func(field string) (err error) {
		var f flags
		switch field {
		case "name":
			n.realName, err = r.str(field, true)
		case "version":
			n.version, err = r.str(field, true)
		case "dependencies":
			edges, err = r.deps(field, Prod, edges, false)
		case "devDependencies":
			if n.has(isInstalled) {
				return r.skip() // installed packages do not install theirs
			}
			edges, err = r.deps(field, Dev, edges, false)
		case "optionalDependencies":
			edges, err = r.deps(field, Optional, edges, false)
		case "peerDependencies":
			edges, err = r.deps(field, Peer, edges, false)
		case "optionalPeers":
			var names []string
			names, err = r.strings(field)
			optional = make(map[string]bool, len(names))
			for _, name := range names {
				optional[name] = true
			}
		case "bundled":
			f = isBundled
		case "hasInstallScript":
			f = hasScript
		default:
			err = r.skip()
		}
		if f != 0 {
			var on bool
			on, err = r.boolean(field)
			n.set(f, on)
		}
		return err
	})
	markOptionalPeers(edges, optional)
	return edges, err
}

// row reads one member of `packages`, whose name was read last.
func (r *bunReader) row(key string) error {
	n := node{path: key, line: int32(r.line()), link: notLink, flags: isInstalled}
	what := "package " + quoteShort(key)
	bad := func(format string, args ...any) error {
		return &FormatError{r.file, int(n.line), what + " " + fmt.Sprintf(format, args...)}
	}
	var parts []string // what each element is to be, in order
	at := 0
	err := r.array(what, func() error {
		if at == 0 {
			at++
			if k := r.peek(); k != jsontext.KindString {
				return r.unexpected(k, "the first element of "+what, "a string")
			}
			id, err := r.str(what, false)
			if err != nil {
				return err
			}
			if parts = r.identify(&n, id); parts == nil {
				return bad("is %s, which is neither a version nor a place that bun fetches packages from", quoteShort(id))
			}
			return nil
		}
		if at > len(parts) {
			return bad("has more elements than are known")
		}
		part := strings.TrimSuffix(parts[at-1], "?")
		at++
		switch part {
		case "info":
			name, version := n.realName, n.version
			edges, err := r.info(what, &n)
			n.realName, n.version = name, version
			n.setEdges(edges)
			return err
		case "registry", "integrity", "tag":
			if k := r.peek(); k != jsontext.KindString {
				return r.unexpected(k, "the "+part+" of "+what, "a string")
			}
			s, err := r.str(part, false)
			switch part {
			case "registry":
				n.resolved = s
			case "integrity":
				n.integrity = s
			}
			return err
		}
		return r.skip()
	})
	if err != nil {
		return err
	}
	if at == 0 {
		return bad("is empty")
	}
	for _, part := range parts[at-1:] {
		if !strings.HasSuffix(part, "?") {
			return bad("has no %s", part)
		}
	}
	if err := r.count(int(n.line), len(n.edges)); err != nil {
		return err
	}
	r.rows = append(r.rows, n)
	return nil
}

// identify takes apart the first element of a row, such as "a@1.0.0" or "a@github:o/r#01", and returns what the
// others are; nil if it is none that bun writes. A "?" marks what may be left out.
func (r *bunReader) identify(n *node, id string) []string {
	name, from := splitSpec(id)
	if rest, ok := strings.CutPrefix(id, "@root:"); ok {
		name, from = "", "root:"+rest // a project without a name
	}
	if npm.CheckVersion(from) == nil {
		n.realName, n.version = r.intern(name), r.intern(from)
		n.flags |= isPinned
		return []string{"registry", "info", "integrity"}
	}
	n.realName, n.resolved = r.intern(name), from
	if dir, ok := strings.CutPrefix(from, "workspace:"); ok {
		n.resolved = dir
		n.flags |= isLink
		return []string{"info?"}
	}
	switch kind, _ := parseSpec(from); {
	case strings.HasPrefix(from, "root:"):
		n.resolved = ""
		n.flags |= isLink
		return []string{"info"}
	case strings.HasPrefix(from, "link:"):
		n.flags |= isLink
		return []string{"info"}
	case strings.HasPrefix(from, "file:"):
		n.flags |= isFrom
		return []string{"info"}
	case kind == specGit:
		n.flags |= isFrom
		return []string{"info", "tag", "integrity?"}
	case kind == specURL && !strings.HasPrefix(from, "catalog:"), kind == specFile && isTarball(from):
		n.flags |= isFrom
		return []string{"info", "integrity?"}
	}
	return nil
}

// place gives rows their places, and workspaces the links that lead to them.
func (r *bunReader) place(t *tree) error {
	var names []string
	listed := make(map[string]bool, len(r.workspaces)) // names of workspaces with a row
	byDir := make(map[string]bool, len(r.workspaces))
	for i := range r.workspaces {
		byDir[r.workspaces[i].path] = true
	}
	for i := range r.rows {
		n := &r.rows[i]
		if names = splitPlace(names[:0], n.path); names == nil {
			return &FormatError{r.file, int(n.line), fmt.Sprintf("%s is not a path of package names", quoteShort(n.path))}
		}
		if !n.has(isLink) || n.resolved == "" || strings.HasPrefix(n.resolved, "link:") {
			continue
		}
		if !byDir[n.resolved] {
			return &FormatError{r.file, int(n.line), fmt.Sprintf("package %s is the workspace %s, which is not listed", quoteShort(n.path), quoteShort(n.resolved))}
		}
		if len(names) == 1 {
			r.dirs[n.path], listed[n.path] = n.resolved, true
		}
	}
	for i := range r.rows {
		n := &r.rows[i]
		names = splitPlace(names[:0], n.path)
		var b strings.Builder
		for k, name := range names {
			if dir, ok := r.dirs[name]; ok && k == 0 && len(names) > 1 {
				b.WriteString(dir)
				continue
			}
			if b.Len() > 0 {
				b.WriteByte('/')
			}
			b.WriteString(nodeModules + "/" + name)
		}
		where, name := b.String(), names[len(names)-1]
		// Places are not in the file but made of all the names above.
		if err := r.spend(int(n.line), 4*len(where)); err != nil {
			return err
		}
		placed, err := newNode(where, r.file, int(n.line))
		if err != nil {
			return err
		}
		placed.realName, placed.version, placed.resolved, placed.integrity = n.realName, n.version, n.resolved, n.integrity
		placed.edges, placed.flags = n.edges, placed.flags|n.flags
		placed.set(hasScript, r.trusted[name])
		if placed.realName == placed.name() || n.has(isLink) {
			placed.realName = ""
		}
		t.nodes = append(t.nodes, placed)
	}
	for i := range r.workspaces {
		w := &r.workspaces[i]
		t.nodes = append(t.nodes, *w)
		if listed[w.realName] {
			continue
		}
		link, err := newNode(nodeModules+"/"+w.realName, r.file, int(w.line))
		if err != nil {
			return err
		}
		link.flags |= isLink
		link.resolved = w.path
		t.nodes = append(t.nodes, link)
	}
	r.bundle(t)
	return nil
}

// bundle finds out which rows come in the tarball of the package above them. What bun would have fetched instead,
// and never does, is left out. A mark on what nothing bundles is left for classify to find.
func (r *bunReader) bundle(t *tree) {
	packages := make(map[string]int)
	for i := range t.nodes {
		if n := &t.nodes[i]; n.has(isInstalled) && !n.has(isLink) {
			packages[n.path] = i
		}
	}
	for i := range t.nodes {
		n := &t.nodes[i]
		if !n.has(isBundled) {
			continue
		}
		above, ok := packages[n.dir()]
		if !ok || t.nodes[above].has(isBundled) {
			continue
		}
		for _, e := range t.nodes[above].edges {
			if e.Name == n.name() {
				t.setBundle(n.dir(), append(t.bundles[n.dir()], n.name()))
				n.resolved, n.integrity = "", ""
				n.flags &^= isPinned
				break
			}
		}
	}
}

// splitPlace appends the package names that a key of `packages` consists of; nil if it is none.
func splitPlace(names []string, key string) []string {
	for rest := key; ; {
		name, after, more := strings.Cut(rest, "/")
		if strings.HasPrefix(name, "@") && more {
			var base string
			base, after, more = strings.Cut(after, "/")
			name += "/" + base
		}
		if name == "" || name == nodeModules || len(names) >= maxNesting {
			return nil
		}
		if names = append(names, name); !more {
			return names
		}
		rest = after
	}
}

// useManifest replaces what the lockfile repeats of package.json by what that says today.
func (r *bunReader) useManifest(t *tree, s *source) error {
	m, err := s.manifest("")
	if err != nil {
		return err
	}
	catalogs := r.locked.catalogs
	if m != nil {
		catalogs = m.catalogs
		alignPeers(t.nodes[0].edges, m.edges)
	}
	if err := t.useManifests(s); err != nil {
		return err
	}
	if m != nil {
		for _, rule := range m.resolutions {
			if t.overrides == nil {
				t.overrides = make(map[string][]string)
			}
			name := rule.pattern
			if names := splitPlace(nil, name); names != nil {
				name = names[len(names)-1]
			}
			name, _ = splitSpec(name)
			t.overrides[name] = append(t.overrides[name], rule.spec)
		}
	}
	for i := range t.nodes {
		if n := &t.nodes[i]; !n.has(isInstalled) {
			for j := range n.edges {
				n.edges[j].Spec = fromCatalog(catalogs, n.edges[j].Name, n.edges[j].Spec)
			}
		}
	}
	for name, specs := range t.overrides {
		for i := range specs {
			specs[i] = fromCatalog(catalogs, name, specs[i])
		}
	}
	for i := range t.nodes {
		n := &t.nodes[i]
		if file, ok := r.patched[n.packageName()+"@"+n.version]; ok && n.has(isPinned) {
			t.addPatches(n.packageName()+"@"+n.version, "", file)
			t.warn(n, "patched", false, "%s is changed by the patch %s after it is fetched: what is installed is not what its publisher made", quoteShort(n.packageName()+"@"+n.version), quoteShort(file))
		}
	}
	return nil
}

// alignPeers takes back what bun makes of peer dependencies that nothing provides: it locks them as optional ones.
func alignPeers(locked, asked []Edge) {
	peers := make(map[string]bool)
	for _, e := range asked {
		peers[e.Name] = peers[e.Name] || e.Kind == Peer
	}
	for i := range locked {
		if e := &locked[i]; e.Kind == PeerOptional && peers[e.Name] {
			e.Kind = Peer
		}
	}
}

// fromCatalog is what a manifest asks for where it refers to a catalog: "catalog:" or "catalog:NAME". A reference that
// leads nowhere asks for any version.
func fromCatalog(catalogs map[string]map[string]string, name, spec string) string {
	catalog, ok := strings.CutPrefix(strings.TrimSpace(spec), "catalog:")
	if !ok {
		return spec
	}
	return catalogs[strings.TrimSpace(catalog)][name]
}

// maxCatalogs bounds the catalogs of one project.
const maxCatalogs = 1000

// catalog reads one catalog, names to specifiers. The default one has the name "".
func (r *jsonReader) catalog(m *manifest, name string) error {
	list, err := r.deps("catalog", Prod, nil, true)
	if err != nil || len(list) == 0 {
		return err
	}
	if m.catalogs == nil {
		m.catalogs = make(map[string]map[string]string)
	}
	if len(m.catalogs) > maxCatalogs {
		return r.errorf("more than %d catalogs", maxCatalogs)
	}
	if m.catalogs[name] == nil {
		m.catalogs[name] = make(map[string]string, len(list))
	}
	for _, e := range list {
		m.catalogs[name][e.Name] = e.Spec
	}
	return nil
}

// namedCatalogs reads the catalogs that have names.
func (r *jsonReader) namedCatalogs(m *manifest) error {
	if r.peek() != jsontext.KindBeginObject {
		return r.skip()
	}
	return r.object("catalogs", func(name string) error { return r.catalog(m, name) })
}

package inventory

import (
	"cmp"
	"fmt"
	"maps"
	"net/url"
	"slices"
	"strconv"
	"strings"

	"assay/internal/npm"
)

// Versions of the lockfile that yarn 2 and later write: 4 is that of yarn 2.0, 10 that of yarn 4.18.
const (
	minBerry = 4
	maxBerry = 10
)

// A berryReference is what a resolution says behind the name, taken apart: "npm:1.0.0::__archiveUrl=https%3A…".
// Source: yarnpkg/berry, packages/yarnpkg-core/sources/structUtils.ts, parseRange.
type berryReference struct {
	protocol string // with its colon, "" if there is none
	source   string
	selector string // behind #
	params   string // behind ::, as in the query of an address
}

func parseReference(s string) berryReference {
	var r berryReference
	if i := strings.IndexAny(s, "#:"); i >= 0 && s[i] == ':' {
		r.protocol, s = s[:i+1], s[i+1:]
	}
	s, r.params, _ = strings.Cut(s, "::")
	r.source, r.selector, _ = strings.Cut(s, "#")
	return r
}

// param returns one of the parameters, decoded.
func (r *berryReference) param(name string) string {
	for _, p := range strings.Split(r.params, "&") {
		if value, ok := strings.CutPrefix(p, name+"="); ok {
			if s, err := url.QueryUnescape(value); err == nil {
				return s
			}
		}
	}
	return ""
}

// address is the reference without its parameters.
func (r *berryReference) address() string {
	if r.selector == "" || r.protocol == "file:" {
		return r.protocol + r.source
	}
	return r.protocol + r.source + "#" + r.selector
}

// A berryLock is a yarn.lock of yarn 2 or later that is being read.
type berryLock struct {
	*yarnLock
	locked    []Edge   // what the lockfile says that the root asks for
	locators  []string // by node: what its entry resolves to
	checksums []string
	bound     map[string]int32 // descriptors that hold for one asker: descriptor, "::" and the asker's locator
	builtin   map[string]int32 // descriptors of packages that yarn patches by itself: nodes of what comes of it
	patches   []berryPatch
	asked     map[int32]bool               // patches that package.json asks for
	names     map[string]int32             // nodes by name, -1 for several; see only
	catalogs  map[string]map[string]string // specifiers by name, by catalog; the default one is ""
	added     map[string][]Edge            // packageExtensions by name
}

// A berryPatch is an entry that patches another.
type berryPatch struct {
	node  int32
	files string // the patches
	asker string // locator of what asks for it, where its patches are relative to that
}

// readBerry reads the yarn.lock of yarn 2 and later.
// Source: yarnpkg/berry, packages/yarnpkg-core/sources/Project.ts, setupResolutions and generateLockfile.
func (y *yarnLock) readBerry(text string) error {
	for line := range strings.Lines(text) {
		if strings.HasPrefix(line, "# yarn lockfile v1") {
			return &FormatError{y.t.file, 1, "is a lockfile of yarn 1 by its comment and one of yarn 2 or later by its __metadata: each reads it in another way"}
		} else if !strings.HasPrefix(line, "#") {
			break
		}
	}
	b := &berryLock{yarnLock: y, bound: make(map[string]int32), builtin: make(map[string]int32), asked: make(map[int32]bool), locators: make([]string, 1), checksums: make([]string, 1)}
	y.onMoved = b.moved
	docs, err := parseYAML(y.t.file, text)
	if err != nil {
		return err
	}
	if len(docs) != 1 || docs[0].kind() != yamlMap {
		return &FormatError{y.t.file, 1, "must be one YAML document with entries"}
	}
	if err := y.readManifests(); err != nil {
		return err
	}
	if err := b.entries(docs[0]); err != nil {
		return err
	}
	if err := b.project(); err != nil {
		return err
	}
	if err := y.link(b.target); err != nil {
		return err
	}
	return b.linkPatches()
}

// entries reads the metadata and all entries.
func (b *berryLock) entries(doc yamlValue) error {
	meta, ok := doc.get("__metadata")
	if !ok {
		return &FormatError{b.t.file, 1, "has no __metadata at its top level"}
	}
	if err := meta.expect(yamlMap, "__metadata"); err != nil {
		return err
	}
	cacheKey := ""
	for key, value := range meta.members() {
		s, err := value.str("__metadata")
		if err != nil {
			return err
		}
		switch key.text() {
		case "version":
			n, err := strconv.Atoi(s)
			if err != nil || n < minBerry || n > maxBerry {
				return value.errorf("__metadata version %s is not supported; supported are %d to %d", quoteShort(s), minBerry, maxBerry)
			}
			b.t.version = n
		case "cacheKey":
			cacheKey = s
		}
	}
	if b.t.version < minBerry {
		return meta.errorf("__metadata has no version")
	}
	for key, value := range doc.members() {
		if key.text() == "__metadata" {
			continue
		}
		if err := b.entry(key, value, cacheKey); err != nil {
			return err
		}
	}
	return nil
}

// entry reads one entry: descriptors, and what they lead to.
func (b *berryLock) entry(key, value yamlValue, cacheKey string) error {
	if value.kind() != yamlMap {
		return value.errorf("entry %s must be a mapping", quoteShort(key.text()))
	}
	var version, resolution, checksum string
	var edges []Edge
	var optional map[string]bool
	for field, v := range value.members() {
		var err error
		switch field.text() {
		case "version":
			version, err = v.str("version")
		case "resolution":
			resolution, err = v.str("resolution")
		case "checksum":
			checksum, err = v.str("checksum")
		case "dependencies":
			edges, err = b.dependencies(v)
		case "dependenciesMeta":
			optional, err = berryMeta(v)
		case "linkType", "languageName", "conditions":
			_, err = v.str(field.text())
		}
		if err != nil {
			return err
		}
	}
	if resolution == "" {
		return key.errorf("entry %s has no resolution", quoteShort(key.text()))
	}
	if checksum != "" && cacheKey != "" && !strings.Contains(checksum, "/") {
		checksum = cacheKey + "/" + checksum
	}
	for i := range edges {
		if optional[edges[i].Name] {
			edges[i].Kind = Optional
		}
	}
	i, err := b.addEntry(key.line(), version, resolution, edges)
	if err != nil {
		return err
	}
	b.checksums[i] = checksum
	return b.descriptors(key, i)
}

// dependencies reads names and ranges.
func (b *berryLock) dependencies(v yamlValue) ([]Edge, error) {
	if err := v.expect(yamlMap, "dependencies"); err != nil {
		return nil, err
	}
	var edges []Edge
	for name, value := range v.members() {
		spec, err := value.str("dependencies of " + quoteShort(name.text()))
		if err != nil {
			return nil, err
		}
		if edges = append(edges, Edge{Name: name.text(), Spec: spec, To: Missing}); len(edges) > maxEdges {
			return nil, value.errorf("more than %d dependencies in one place", maxEdges)
		}
	}
	return edges, nil
}

// berryMeta reads dependenciesMeta: the names that are optional.
func berryMeta(v yamlValue) (map[string]bool, error) {
	if err := v.expect(yamlMap, "dependenciesMeta"); err != nil {
		return nil, err
	}
	optional := make(map[string]bool)
	for name, meta := range v.members() {
		if err := meta.expect(yamlMap, "dependenciesMeta"); err != nil {
			return nil, err
		}
		if o, ok := meta.get("optional"); ok {
			on, err := o.boolean("optional")
			if err != nil {
				return nil, err
			}
			if on {
				optional[name.text()] = true
			}
		}
	}
	return optional, nil
}

// addEntry adds the node of a resolution and returns its index.
func (b *berryLock) addEntry(line int, version, resolution string, edges []Edge) (int32, error) {
	fail := func(format string, args ...any) (int32, error) {
		return 0, &FormatError{b.t.file, line, fmt.Sprintf(format, args...)}
	}
	name, reference := splitSpec(resolution)
	if reference == "" {
		return fail("resolution %s has no reference", quoteShort(resolution))
	}
	r := parseReference(reference)
	if r.protocol == "virtual:" {
		// An instance of a package for one set of peers. yarn itself leaves these out of the file.
		r = parseReference(r.selector)
	}
	if r.protocol == "workspace:" {
		return b.addDirectory(line, name, version, resolution, r.source, edges)
	}
	n, err := newKeyNode(resolution, name, line)
	if err != nil {
		return fail("%v", err)
	}
	n.version = version
	switch r.protocol {
	case "npm:":
		if alias, v := splitSpec(r.source); v != "" {
			n.realName, r.source = alias, v
		}
		if n.version = r.source; version != n.version {
			b.t.warn(&n, "version-differs", true, "%s has the version %s, but what yarn installs is %s", quoteShort(resolution), quoteShort(version), quoteShort(n.version))
		}
		n.resolved = r.param("__archiveUrl")
	case "patch:":
		base, err := url.PathUnescape(r.source)
		if err != nil {
			return fail("resolution %s: %v", quoteShort(resolution), err)
		}
		n.flags |= isLink
		n.resolved = base
		b.patches = append(b.patches, berryPatch{node: int32(len(b.t.nodes)), files: r.selector, asker: r.param("locator")})
	default:
		n.resolved = r.address()
	}
	n.setEdges(b.plain(edges))
	return b.addNode(n, resolution)
}

// plain takes from ranges what yarn adds to those of a manifest.
func (b *berryLock) plain(edges []Edge) []Edge {
	for i := range edges {
		e := &edges[i]
		e.Spec = bareRange(e.Spec)
		e.Spec, _ = jsrSpec(e.Name, e.Spec)
	}
	return edges
}

func (b *berryLock) addNode(n node, locator string) (int32, error) {
	i, err := b.add(n)
	if err != nil {
		return 0, err
	}
	b.locators = append(b.locators, locator)
	b.checksums = append(b.checksums, "")
	return i, nil
}

// addDirectory adds a workspace.
func (b *berryLock) addDirectory(line int, name, version, locator, dir string, edges []Edge) (int32, error) {
	if err := npm.CheckName(name); err != nil {
		return 0, &FormatError{b.t.file, line, err.Error()}
	}
	if dir == "." {
		root := &b.t.nodes[0]
		if b.locators[0] != "" {
			return 0, &FormatError{b.t.file, line, fmt.Sprintf("the project's root occurs twice, see also line %d", root.line)}
		}
		b.locators[0] = locator
		root.line = int32(line)
		root.setEdges(b.plain(edges))
		if !b.t.rootKnown {
			root.realName, b.t.rootKnown = name, true
		}
		b.locked = root.edges
		return 0, nil
	}
	n, err := newNode(dir, b.t.file, line)
	if err != nil {
		return 0, err
	}
	if n.has(isInstalled) {
		return 0, &FormatError{b.t.file, line, fmt.Sprintf("workspace %s lies in a node_modules", quoteShort(dir))}
	}
	n.realName = name
	if version != "0.0.0-use.local" {
		n.version = version
	}
	n.setEdges(b.plain(edges))
	return b.addNode(n, locator)
}

// descriptors takes in what leads to a node: the key of its entry.
func (b *berryLock) descriptors(key yamlValue, i int32) error {
	for d := range strings.SplitSeq(key.text(), ",") {
		d = strings.Trim(d, " ")
		name, spec := splitSpec(d)
		if spec == "" {
			return key.errorf("%s is no descriptor", quoteShort(d))
		}
		if err := b.addKey(d, key.line(), i); err != nil {
			return err
		}
		r := parseReference(spec)
		if locator := r.param("locator"); locator != "" {
			short, _, _ := strings.Cut(d, "::")
			if err := b.addBound(short+"::"+locator, key.line(), i); err != nil {
				return err
			}
		}
		if r.protocol != "patch:" || !isBuiltin(name, r.selector) {
			continue
		}
		if source, err := url.PathUnescape(r.source); err == nil {
			of, spec := splitSpec(source)
			if !strings.Contains(spec, ":") {
				spec = "npm:" + spec // as versions before 7 wrote it
			}
			if of == name {
				b.builtin[of+"@"+spec] = i
			}
		}
	}
	return nil
}

func (b *berryLock) addBound(key string, line int, i int32) error {
	b.bound[key] = i
	return b.spend(line, keyCost+len(key))
}

// isBuiltin reports whether the patches of a package are the one that yarn comes with, for its Plug'n'Play.
// Source: yarnpkg/berry, packages/plugin-compat/sources/index.ts.
func isBuiltin(name, files string) bool {
	switch name {
	case "fsevents", "resolve", "typescript":
	default:
		return false
	}
	files = strings.TrimPrefix(strings.TrimPrefix(files, "optional!"), "~")
	return files == "builtin<compat/"+name+">"
}

// project replaces what the file says about the project's own directories by what their package.json says today.
func (b *berryLock) project() error {
	root := &b.t.nodes[0]
	if b.root == nil {
		for i := range b.t.nodes {
			if n := &b.t.nodes[i]; !n.has(isInstalled) && i > 0 {
				n.flags |= isWorkspace
			}
		}
		return nil
	}
	for _, r := range b.root.resolutions {
		b.addRule(r)
	}
	b.readSettings()
	b.useManifest(root, b.root)
	b.plain(root.edges)
	if b.locked != nil {
		b.compareLocked(root)
	} else {
		root.flags |= onDisk
	}
	found, err := b.findWorkspaces(true)
	if err != nil {
		return err
	}
	set := newWorkspaceSet(b.root.workspaces)
	for i := 1; i < len(b.t.nodes); i++ {
		n := &b.t.nodes[i]
		if n.has(isInstalled | onDisk) {
			continue
		}
		m := found[n.path]
		if m == nil && !set.match(n.path) && !insideAny(n.path, found) {
			b.t.warn(n, "workspace-unlisted", false, "%s is a workspace to the lockfile, but not to package.json", quoteShort(n.path))
			continue
		}
		n.flags |= isWorkspace
		if m != nil {
			b.s.files = append(b.s.files, joinPath(n.path, "package.json"))
			b.useManifest(n, m)
			b.plain(n.edges)
			delete(found, n.path)
		}
	}
	for _, dir := range slices.Sorted(maps.Keys(found)) {
		b.t.warnings = append(b.t.warnings, Warning{Code: "out-of-sync", Message: fmt.Sprintf("the lockfile does not have the workspace %s", quoteShort(dir)), File: joinPath(dir, "package.json")})
		count := len(b.t.nodes)
		if err := b.addWorkspace(dir, found[dir]); err != nil {
			return err
		}
		if len(b.t.nodes) > count {
			b.plain(b.t.nodes[count].edges)
			b.locators = append(b.locators, found[dir].name+"@workspace:"+dir)
			b.checksums = append(b.checksums, "")
		}
	}
	return nil
}

// insideAny reports whether a directory lies below a workspace that names workspaces of its own.
func insideAny(dir string, found map[string]*manifest) bool {
	for i := len(dir) - 1; i > 0; i-- {
		if dir[i] != '/' {
			continue
		}
		if m := found[dir[:i]]; m != nil && newWorkspaceSet(m.workspaces).match(dir[i+1:]) {
			return true
		}
	}
	return false
}

// compareLocked warns where the lockfile's copy of the root manifest is not what package.json says. It does not
// tell dependencies from devDependencies.
func (b *berryLock) compareLocked(root *node) {
	kinds := make(map[string]EdgeKind)
	for _, e := range root.edges {
		kinds[e.Name] = e.Kind
	}
	locked := slices.Clone(b.locked)
	for i := range locked {
		if kind, ok := kinds[locked[i].Name]; ok {
			locked[i].Kind = kind
		}
	}
	b.t.compareRoot(locked, root.edges)
}

// addRule takes in one of the resolutions: "left", "left@npm:^1.0.0", "a/left", "a@npm:1.0.0/left".
// Source: yarnpkg/berry, packages/yarnpkg-parsers/sources/grammars/resolution.pegjs.
func (b *berryLock) addRule(r resolution) {
	names := splitNames(r.pattern)
	var rule yarnRule
	var name string
	switch len(names) {
	case 1:
		name, rule.only = splitSpec(names[0])
	case 2:
		rule.from, rule.fromRange = splitSpec(names[0])
		name, rule.only = splitSpec(names[1])
	default:
		return // yarn warns, and leaves it out
	}
	if strings.Contains(r.pattern, "*/") {
		return
	}
	rule.spec = bareRange(r.spec)
	b.yarnLock.addRule(name, rule)
}

// readSettings reads what .yarnrc.yml says about dependencies: catalogs and packageExtensions.
func (b *berryLock) readSettings() {
	const file = ".yarnrc.yml"
	data, err := b.s.readFile(file, maxManifest)
	if err != nil {
		return
	}
	docs, err := parseYAML(file, string(data))
	if err != nil || len(docs) > 1 {
		b.t.warnings = append(b.t.warnings, Warning{Code: "settings-unreadable", Message: fmt.Sprintf("its catalogs and packageExtensions are not known: %v", err), File: file})
		return
	}
	if len(docs) == 0 {
		return
	}
	b.s.files = append(b.s.files, file)
	b.catalogs, b.added = make(map[string]map[string]string), make(map[string][]Edge)
	catalog := func(name string, v yamlValue) {
		all := make(map[string]string)
		for key, value := range v.members() {
			all[key.text()] = value.text()
		}
		b.catalogs[name] = all
	}
	for key, value := range docs[0].members() {
		switch key.text() {
		case "catalog":
			catalog("", value)
		case "catalogs":
			for name, v := range value.members() {
				catalog(name.text(), v)
			}
		case "packageExtensions":
			for of, v := range value.members() {
				name, _ := splitSpec(of.text())
				deps, _ := v.get("dependencies")
				if deps.y == nil {
					continue
				}
				for dep, spec := range deps.members() {
					b.added[name] = append(b.added[name], Edge{Name: dep.text(), Spec: bareRange(spec.text()), To: Missing})
				}
			}
		}
	}
	for i := range b.t.nodes {
		n := &b.t.nodes[i]
		for _, e := range b.added[n.packageName()] {
			has := func(o Edge) bool { return o.Name == e.Name }
			if _, listed := b.keys[e.Name+"@npm:"+e.Spec]; listed && n.has(isInstalled) && !slices.ContainsFunc(n.edges, has) {
				n.setEdges(append(slices.Clone(n.edges), e))
			}
		}
	}
}

// target finds what yarn installs for an edge.
// Source: yarnpkg/berry, packages/yarnpkg-core/sources/CorePlugin.ts, reduceDependency, and plugin-compat.
func (b *berryLock) target(from int32, e *Edge) int32 {
	if name, ok := strings.CutPrefix(e.Spec, "catalog:"); ok {
		if spec := b.catalogs[name][e.Name]; spec != "" {
			e.Spec = bareRange(spec)
		} else if to := b.only(e.Name); to >= 0 {
			return to
		}
	}
	for _, r := range b.rules[e.Name] {
		if !b.applies(&r, from, e) {
			continue
		}
		if to := b.find(0, e.Name, r.spec); to >= 0 {
			b.markAsked(to, r.spec)
			return to
		}
	}
	to := b.find(from, e.Name, e.Spec)
	if to >= 0 && b.t.say(int(from)) == sayProject {
		b.markAsked(to, e.Spec)
	}
	if to >= 0 {
		return to
	}
	if i, ok := b.workspaces[e.Name]; ok {
		return i
	}
	return Missing
}

// applies reports whether a resolution replaces an edge.
func (b *berryLock) applies(r *yarnRule, from int32, e *Edge) bool {
	if r.only != "" && bareRange(r.only) != e.Spec {
		return false
	}
	if r.from == "" {
		return true
	}
	n := &b.t.nodes[from]
	if r.from != n.packageName() {
		return false
	}
	_, reference := splitSpec(b.locators[from])
	return r.fromRange == "" || bareRange(r.fromRange) == bareRange(reference)
}

// find finds the node of a descriptor that a node asks for. yarn patches some packages by itself.
func (b *berryLock) find(from int32, name, spec string) int32 {
	if to := b.lookUp(b.builtin, name, "@npm:", spec); to >= 0 {
		return to
	}
	if to := b.lookUp(b.builtin, name, "@", spec); to >= 0 {
		return to
	}
	if to := b.lookUp(b.keys, name, "@npm:", spec); to >= 0 {
		return to
	}
	if to := b.lookUp(b.keys, name, "@", spec); to >= 0 {
		return to
	}
	return b.lookUp(b.bound, name, "@", spec, "::", b.locators[from])
}

// only returns the one node that descriptors of a name lead to, if it is one.
func (b *berryLock) only(name string) int32 {
	if b.names == nil {
		b.names = make(map[string]int32)
		for key, i := range b.keys {
			n, _ := splitSpec(key)
			if other, ok := b.names[n]; ok && other != i {
				i = Missing
			}
			b.names[n] = i
		}
	}
	return b.lookUp(b.names, name)
}

// markAsked notes that package.json asks for a patch.
func (b *berryLock) markAsked(to int32, spec string) {
	if strings.HasPrefix(spec, "patch:") {
		b.asked[to] = true
	}
}

// moved follows the nodes to where they are once they are in order.
func (b *berryLock) moved(now []int32) {
	locators, checksums := make([]string, len(now)), make([]string, len(now))
	for i, to := range now {
		locators[to], checksums[to] = b.locators[i], b.checksums[i]
	}
	b.locators, b.t.checksums = locators, checksums
	for i := range b.patches {
		b.patches[i].node = now[b.patches[i].node]
	}
	for _, m := range []map[string]int32{b.bound, b.builtin} {
		for key, i := range m {
			m[key] = now[i]
		}
	}
}

// linkPatches joins patched packages to those they are made of. What is listed is the registry's package, of
// which the patch changes files.
func (b *berryLock) linkPatches() error {
	more := make(map[int32][]Edge) // what patches add to the dependencies
	for i := range b.patches {
		p := &b.patches[i]
		n := &b.t.nodes[p.node]
		n.link = noTarget
		base := b.t.find(n.resolved)
		for range 8 { // a patch of a patch
			if base < 0 || !b.t.nodes[base].has(isLink) {
				break
			}
			base = b.t.find(b.t.nodes[base].resolved)
		}
		if base <= 0 || b.t.nodes[base].has(isLink) {
			b.t.warn(n, "link-target-missing", true, "%s patches %s, which is not listed", quoteShort(n.path), quoteShort(n.resolved))
			continue
		}
		n.link = base
		target := &b.t.nodes[base]
		more[base] = append(more[base], n.edges...)
		dir := "" // that the paths of patches start from
		if _, workspace, ok := strings.Cut(p.asker, "@workspace:"); ok {
			dir = workspace
		}
		b.t.addPatches(target.packageName()+"@"+target.version, dir, strings.Split(p.files, "&")...)
		switch {
		case isBuiltin(n.packageName(), p.files):
		case b.asked[p.node] || b.root == nil:
			b.t.warn(target, "patched", false, "%s is patched with %s: what is installed are not the registry's files", quoteShort(target.path), quoteShort(p.files))
		default:
			b.t.warn(target, "patch-unasked", true, "%s is patched with %s, which package.json does not ask for", quoteShort(target.path), quoteShort(p.files))
		}
	}
	for base, edges := range more {
		n := &b.t.nodes[base]
		edges = append(edges, n.edges...)
		slices.SortFunc(edges, func(a, b Edge) int {
			return cmp.Or(strings.Compare(a.Name, b.Name), cmp.Compare(a.To, b.To), cmp.Compare(a.Kind, b.Kind), strings.Compare(a.Spec, b.Spec))
		})
		n.edges = slices.CompactFunc(edges, func(a, b Edge) bool { return a.Name == b.Name && a.To == b.To })
	}
	return nil
}

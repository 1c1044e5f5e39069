package inventory

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strings"

	"assay/internal/npm"
)

// asked sums up what the edges that lead to one node ask for. Only the edges with the most say count:
// those of the project's own manifests, else those of packages in use, else those of extraneous ones.
// An edited lockfile must not turn what package.json asks for by version into a tarball of somebody's.
type asked struct {
	say     int8
	kinds   specKind // of all edges with that say
	matched bool     // an edge asks for exactly the address that `resolved` has
	alias   bool     // an edge asks for the entry's real name by alias
	named   bool     // an edge asks for the entry's real name, without alias
	others  bool     // an edge asks for another package by version, and no override says that it gets this one
	spec    string   // first spec that is not a registry's, else the first
}

// verdict is what a node turned out to be.
type verdict struct {
	other   string // Source of an Other; "" for a package, whose name and version the node has
	spec    string // for an Other: what asked for it
	bundler int32  // for SourceBundled: the node in whose tarball it is
	unasked bool   // see Package.Unasked
	skip    bool   // stands for another node: the root, a link with a target
}

// project turns the tree into what callers see: classified, filtered, merged and sorted.
func (t *tree) project(opts Options) (*Project, error) {
	t.resolve()
	if t.legacy {
		t.inferKinds()
		t.inferBundles()
	}
	t.setFlags()
	if err := t.checkOverrides(); err != nil {
		return nil, err
	}
	verdicts, err := t.classify()
	if err != nil {
		return nil, err
	}
	if !t.rootKnown {
		t.inferRoot()
	}
	keep, err := t.filter(opts, verdicts)
	if err != nil {
		return nil, err
	}
	missing, err := t.missing(opts, keep)
	if err != nil {
		return nil, err
	}
	p := t.build(keep, verdicts)
	p.Warnings = t.sortWarnings()
	p.addOthers(missing)
	t.markOdd(p, keep)
	p.listed = t.listed(verdicts)
	return p, nil
}

// inferKinds tells optional dependencies in version 1, which says of packages that they are optional but
// not of edges: the edge from a package that is not optional to one that is must be.
// Source: npm/cli, workspaces/arborist/lib/shrinkwrap.js, #fixDependencies.
func (t *tree) inferKinds() {
	for i := 1; i < len(t.nodes); i++ {
		n := &t.nodes[i]
		if n.has(isOptional) {
			continue
		}
		for j := range n.edges {
			if e := &n.edges[j]; e.To >= 0 && e.Kind == Prod && t.nodes[e.To].has(isOptional) {
				e.Kind = Optional
			}
		}
	}
}

// inferBundles gives version 1 entries the bundleDependencies that the format only marks on the bundled.
// Source: npm/cli, workspaces/arborist/lib/arborist/load-virtual.js, assignBundles.
func (t *tree) inferBundles() {
	for i := range t.nodes {
		n := &t.nodes[i]
		if !n.has(isBundled) || !n.has(isInstalled) {
			continue
		}
		above := t.find(n.dir())
		if above <= 0 || t.nodes[above].has(isBundled) {
			continue
		}
		p := &t.nodes[above]
		if _, ok := slices.BinarySearchFunc(p.edges, n.name(), func(e Edge, name string) int { return strings.Compare(e.Name, name) }); ok {
			t.setBundle(p.path, append(t.bundles[p.path], n.name()))
		}
	}
}

// classify decides for each node what it is.
func (t *tree) classify() ([]verdict, error) {
	if t.verdicts != nil {
		return t.verdicts, nil
	}
	all, links := t.asked(), t.linksAsked()
	bundlers := t.bundlers()
	verdicts := make([]verdict, len(t.nodes))
	verdicts[0] = verdict{skip: true}
	targets := make([]bool, len(t.nodes)) // some link leads there
	for i := range t.nodes {
		if l := t.nodes[i].link; l >= 0 {
			targets[l] = true
		}
	}
	for i := 1; i < len(t.nodes); i++ {
		n, a := &t.nodes[i], &all[i]
		v, err := t.classifyNode(n, a, links[int32(i)], bundlers[i], targets[i])
		if err != nil {
			return nil, err
		}
		if v.other == "" && !v.skip && a.kinds != 0 && (!a.alias && !a.named || a.others && a.say < sayProject) && n.has(isInstalled) && (n.name() != n.packageName() || a.kinds == specRegistry) {
			v.unasked = true
			t.warn(n, "alias-unasked", true, "%s holds %s, but what asks for it (%s) does not name that package", quoteShort(n.path), quoteShort(n.packageName()), quoteShort(a.spec))
		}
		if n.version == "" && (v.other == SourceURL || v.other == SourceFile) {
			if id, ok := fromTarball(n.packageName(), n.resolved); ok {
				n.version = id.Version
			}
		}
		verdicts[i] = v
	}
	return verdicts, nil
}

// How much say a node's edges have.
const (
	sayExtraneous int8 = iota + 1
	sayLocked          // packages, whose edges stand in the lockfile
	sayProject         // the root and the workspaces
)

// say is how much say the edges of node i have.
func (t *tree) say(i int) int8 {
	switch n := &t.nodes[i]; {
	case i == 0 || n.has(isWorkspace):
		return sayProject
	case n.has(isExtraneous):
		return sayExtraneous
	}
	return sayLocked
}

// asked collects what edges ask of each node.
func (t *tree) asked() []asked {
	all := make([]asked, len(t.nodes))
	collect := func(edges []Edge, say int8) {
		for _, e := range edges {
			if e.To < 0 || e.Kind == Workspace {
				continue
			}
			kind, alias := parseSpec(e.Spec)
			ask := func(i int32) {
				n, a := &t.nodes[i], &all[i]
				if say < a.say {
					return
				} else if say > a.say {
					*a = asked{say: say}
				}
				if a.kinds == 0 || a.kinds == specRegistry && kind != specRegistry {
					a.spec = e.Spec
				}
				a.kinds |= kind
				a.alias = a.alias || alias != "" && alias == n.packageName()
				a.matched = a.matched || kind == specURL && sameAddress(e.Spec, n.resolved)
				a.named = a.named || alias == "" && kind == specRegistry && e.Name == n.packageName()
				if t.linked && t.replaced(e.Name, n, a) {
					return
				}
				a.others = a.others || kind == specRegistry && !n.has(isLink) && i == int32(e.To) && cmp.Or(alias, e.Name) != n.packageName()
			}
			if t.linked && alias != "" {
				t.noteAlias(t.target(int32(e.To)), e.Name)
			}
			to := int32(e.To)
			ask(to)
			if target := t.target(to); target != to {
				ask(target) // behind the link: a package of a store, or a directory
			}
		}
	}
	for i := range t.nodes {
		collect(t.nodes[i].edges, t.say(i))
	}
	collect(t.keyed, sayExtraneous)
	if len(t.overrides) == 0 || t.linked {
		return all
	}
	for i := range t.nodes {
		n, a := &t.nodes[i], &all[i]
		if n.has(isPinned) && n.name() != n.packageName() && len(t.overrides[n.packageName()]) > 0 {
			a.alias, a.others = true, false // bun replaces what is asked for as a tarball by the name in it
		}
		for _, spec := range t.overrides[n.name()] {
			kind, alias := parseSpec(spec)
			if alias != "" && alias == n.packageName() {
				a.alias, a.others = true, false
			}
			// An override speaks for the edges it replaces; only package.json can hold one.
			if kind != specRegistry && kind&resolvedKind(n.resolved) != 0 {
				a.kinds |= kind
				a.spec = spec
				a.matched = a.matched || kind == specURL && sameAddress(spec, n.resolved)
			}
		}
	}
	return all
}

// replaced reports whether an override says that who asks for a name gets the package of a node without place, and
// notes what it asks for. As in asked, an override speaks for the edges it replaces.
func (t *tree) replaced(name string, n *node, a *asked) bool {
	for _, spec := range t.overrides[name] {
		kind, alias := parseSpec(bareRange(spec))
		if alias != "" && alias == n.packageName() {
			a.alias = true
			return true
		}
		if kind != specRegistry && kind&resolvedKind(n.resolved) != 0 {
			a.kinds |= kind
			a.spec = spec
			a.matched = a.matched || kind == specURL && sameAddress(spec, n.resolved)
			return true
		}
	}
	return false
}

// noteAlias notes the name that a node without a place is installed under, the first of several.
func (t *tree) noteAlias(i int32, name string) {
	if n := &t.nodes[i]; n.nameAt != noPlace || n.realName == name {
		return
	}
	if t.aliases == nil {
		t.aliases = make(map[int32]string)
	}
	if a, ok := t.aliases[i]; !ok || name < a {
		t.aliases[i] = name
	}
}

func sameAddress(spec, resolved string) bool {
	spec, _, _ = strings.Cut(strings.TrimSpace(spec), "#")
	resolved, _, _ = strings.Cut(resolved, "#")
	return spec == resolved
}

func (t *tree) classifyNode(n *node, a *asked, link *linkAsk, bundler int32, isTarget bool) (verdict, error) {
	if n.has(isLink) {
		return t.classifyLink(n, a, link), nil
	}
	if !n.has(isInstalled) && n.resolved == "" && n.integrity == "" {
		switch {
		case n.has(isWorkspace):
			return verdict{other: SourceWorkspace}, nil
		case isTarget:
			return verdict{other: SourceLink, spec: a.spec}, nil
		}
		return verdict{other: SourceFile}, nil
	}
	if n.has(isBundled) && bundler > 0 && n.resolved == "" && n.integrity == "" {
		// With a `resolved` of its own npm would fetch it where the tarball turns out not to hold it.
		if !t.nodes[bundler].has(isWorkspace) {
			return verdict{other: SourceBundled, spec: a.spec, bundler: bundler}, nil
		}
	}
	if n.has(isBundled) && bundler < 0 && !n.has(onDisk) && n.dir() != "" {
		t.warn(n, "bundled-unproven", true, "%s is marked as bundled, but nothing above it bundles it", quoteShort(n.path))
	}

	from := resolvedKind(n.resolved)
	others := a.kinds &^ specRegistry
	registry := a.kinds&specRegistry != 0
	switch {
	case n.has(isPinned):
		if others != 0 && !registry && !a.alias {
			t.warn(n, "resolved-differs", true, "%s is asked for as %s but the lockfile has version %s of the registry's %s", quoteShort(n.name()), quoteShort(a.spec), quoteShort(n.version), quoteShort(n.packageName()))
		}
		return t.registryNode(n, a, from)
	case others != 0 && !registry:
		// Nothing asks for it by version.
		if n.resolved != "" && (from&others == 0 || others == specURL && !a.matched) {
			t.warn(n, "resolved-differs", true, "%s is asked for as %s but resolved to %s", quoteShort(n.name()), quoteShort(a.spec), quoteShort(n.resolved))
		}
		return verdict{other: sourceOf(others, from), spec: a.spec}, nil
	case others != 0 && from&others != 0 && (from != specURL || a.matched):
		// Asked for both ways, and what lies there is what one of them names.
		return verdict{other: sourceOf(from, from), spec: a.spec}, nil
	case !registry && from != 0 && (from != specURL || n.has(isFrom)):
		// Nothing known asks for it, and it is no registry's by its own word.
		return verdict{other: sourceOf(from, from), spec: n.from()}, nil
	}
	if !n.has(isInstalled) {
		t.warn(n, "outside-node-modules", true, "%s has resolved or integrity, but lies in no node_modules", quoteShort(n.path))
	}
	return t.registryNode(n, a, from)
}

// classifyLink judges a symlink. What it leads to is listed in its own place.
func (t *tree) classifyLink(n *node, a *asked, ask *linkAsk) verdict {
	problem := ""
	if ask != nil {
		problem = ask.problem()
	}
	switch {
	case problem != "":
		t.warn(n, "link-unasked", ask.other != "" || !ask.gentle, "%s", problem)
	case ask == nil && n.link >= 0 && n.name() != t.nodes[n.link].packageName() && t.rootKnown:
		t.warn(n, "link-unasked", false, "nothing asks for %s, which is a link to %s and holds %s", quoteShort(n.path), quoteShort(cmp.Or(t.nodes[n.link].path, ".")), quoteShort(t.nodes[n.link].packageName()))
	}
	switch {
	case n.link >= 0:
		return verdict{skip: true}
	case problem != "":
		return verdict{other: SourceUnknown, spec: a.spec}
	}
	return verdict{other: SourceLink, spec: a.spec}
}

// registryNode names the package that a node asked for by version holds.
func (t *tree) registryNode(n *node, a *asked, from specKind) (verdict, error) {
	id := npm.ID{Name: n.packageName(), Version: n.version}
	unknown := func(why string) (verdict, error) {
		if n.has(onDisk) {
			t.warn(n, "unnamed", false, "%s: %s", quoteShort(n.path), why)
			return verdict{other: SourceUnknown, spec: a.spec}, nil
		}
		return verdict{}, t.errorf(n, "%s: %s", quoteShort(n.path), why)
	}
	if err := npm.CheckName(id.Name); err != nil {
		return unknown(err.Error())
	}
	if id.Version == "" {
		if fromTar, ok := fromTarball(id.Name, n.resolved); ok {
			// The path of the tarball names it. Where that is another package, the name is the attack and must be seen.
			if fromTar.Name == id.Name || n.realName == "" {
				t.warn(n, "version-missing", true, "%s has no version; %s is taken from where it was resolved", quoteShort(n.path), fromTar)
				n.realName, n.version = fromTar.Name, fromTar.Version
				return verdict{}, nil
			}
		}
		if n.has(isFrom) {
			t.warn(n, "source-unasked", true, "%s is asked for by version (%s) but the lockfile takes it from %s", quoteShort(n.name()), quoteShort(a.spec), quoteShort(n.resolved))
			return verdict{other: sourceOf(from, from), spec: n.from()}, nil
		}
		if n.resolved == "" && n.integrity == "" {
			// npm leaves such an entry where an optional package could not be fetched; it installs nothing.
			t.warn(n, "unnamed", false, "%s has no version", quoteShort(n.path))
			return verdict{other: SourceUnknown, spec: a.spec}, nil
		}
		return unknown("has no version")
	}
	if err := npm.CheckVersion(id.Version); err != nil {
		return unknown(err.Error())
	}
	if t.linked && a.kinds != 0 {
		t.judgeResolved(n, a, id, from)
	}
	return verdict{}, nil
}

// judgeResolved warns where something asked for by version is taken from what is no registry, or where the path
// of its tarball names another package. A registry may lay its files out in a way that names none.
func (t *tree) judgeResolved(n *node, a *asked, id npm.ID, from specKind) {
	if from != 0 && from != specURL {
		t.warn(n, "source-unasked", true, "%s is asked for by version (%s) but the lockfile takes it from %s", quoteShort(id.Name), quoteShort(a.spec), quoteShort(n.resolved))
		return
	}
	if tar, ok := fromTarball(id.Name, n.resolved); ok && from == specURL && (tar.Name != id.Name || withoutBuild(tar.Version) != withoutBuild(id.Version)) {
		t.warn(n, "resolved-differs", true, "%s is asked for (%s), but the lockfile takes it from the tarball of %s: %s", id, quoteShort(a.spec), tar, quoteShort(n.resolved))
	}
}

// withoutBuild is a version without its build metadata, which registries leave out.
func withoutBuild(version string) string {
	version, _, _ = strings.Cut(version, "+")
	return version
}

// from is what a version 1 entry says in the place of its version; "" if it says nothing there.
func (n *node) from() string {
	if n.has(isFrom) {
		return n.resolved
	}
	return ""
}

// sourceOf names the source of something asked for in the given ways; of several, the one it was fetched from.
func sourceOf(kinds, from specKind) string {
	if from&kinds != 0 {
		kinds = from & kinds
	}
	switch {
	case kinds&specURL != 0:
		return SourceURL
	case kinds&specGit != 0:
		return SourceGit
	case kinds&specWorkspace != 0:
		return SourceWorkspace
	case kinds&specLink != 0:
		return SourceLink
	case kinds&specFile != 0:
		return SourceFile
	}
	return SourceUnknown
}

// printable returns a name as it is if npm accepts it, else quoted.
func printable(name string) string {
	if name == "" || name == "." || npm.CheckName(name) == nil {
		return name
	}
	return quoteShort(name)
}

// filter says which nodes Options leave.
func (t *tree) filter(opts Options, verdicts []verdict) ([]bool, error) {
	keep := make([]bool, len(t.nodes))
	for i := range keep {
		keep[i] = true
	}
	if len(opts.Workspaces) > 0 {
		chosen, err := t.chosen(opts.Workspaces)
		if err != nil {
			return nil, err
		}
		root := &t.nodes[0]
		if opts.IncludeWorkspaceRoot {
			root.edges = slices.DeleteFunc(slices.Clone(root.edges), func(e Edge) bool {
				return e.Kind == Workspace && !slices.Contains(chosen, int32(e.To))
			})
			chosen = append(chosen, 0)
		} else {
			root.edges = slices.DeleteFunc(slices.Clone(root.edges), func(e Edge) bool {
				return e.Kind != Workspace || !slices.Contains(chosen, int32(e.To))
			})
		}
		keep = t.reach(func(EdgeKind) bool { return true }, chosen...)
		keep[0] = true
		if t.linked {
			// What nothing listed asks for is there for a reason that the file does not tell, such as yarn's packageExtensions.
			for i := range keep {
				keep[i] = keep[i] || t.nodes[i].has(isExtraneous)
			}
		}
	}
	if omit := omitted(opts.Omit); omit != 0 {
		for i := 1; i < len(t.nodes); i++ {
			if t.nodes[i].omits(omit) {
				keep[i] = false
			}
		}
	}
	return keep, nil
}

// omitted are the flags of what Options.Omit names.
func omitted(types []string) (omit flags) {
	for _, o := range types {
		omit |= map[string]flags{"dev": isDev, "optional": isOptional, "peer": isPeer}[o]
	}
	return omit
}

// chosen returns the workspaces that names stand for.
func (t *tree) chosen(names []string) ([]int32, error) {
	var chosen []int32
	for _, name := range names {
		found := false
		dir := strings.TrimSuffix(strings.TrimPrefix(name, "./"), "/")
		for i := range t.nodes {
			n := &t.nodes[i]
			if n.has(isWorkspace) && (n.packageName() == name || n.path == dir || strings.HasPrefix(n.path, dir+"/")) {
				found = true
				if !slices.Contains(chosen, int32(i)) {
					chosen = append(chosen, int32(i))
				}
			}
		}
		if !found {
			return nil, &WorkspaceError{name}
		}
	}
	return chosen, nil
}

// build merges the kept nodes into packages and others.
func (t *tree) build(keep []bool, verdicts []verdict) *Project {
	p := &Project{Name: t.nodes[0].realName, Version: t.nodes[0].version, Kind: t.kind, FormatVersion: t.version, Document: t.document}
	newIndex := make([]int, len(t.nodes))
	kept := 0
	for i := range t.nodes {
		if keep[i] && (i == 0 || !verdicts[i].skip) {
			kept++
		}
	}
	p.Nodes = make([]Node, 0, kept)
	for i := range t.nodes {
		newIndex[i] = Omitted
		if keep[i] && (i == 0 || !verdicts[i].skip) {
			newIndex[i] = len(p.Nodes)
			n := &t.nodes[i]
			name := n.name()
			if i == 0 || !n.has(isInstalled) {
				name = cmp.Or(n.packageName(), ".")
			}
			p.Nodes = append(p.Nodes, Node{Name: printable(name), Path: n.path, Package: -1, Other: -1, Via: -1, Edges: n.edges})
		}
	}
	for i := range p.Nodes {
		for j := range p.Nodes[i].Edges {
			if e := &p.Nodes[i].Edges[j]; e.To >= 0 {
				e.To = newIndex[t.target(int32(e.To))]
			}
		}
	}
	direct := t.paths(p, newIndex)
	t.buildPackages(p, newIndex, verdicts, direct)
	t.buildOthers(p, newIndex, keep, verdicts, direct)
	return p
}

// paths finds the shortest way to each node, and which nodes the project's own manifests ask for.
func (t *tree) paths(p *Project, newIndex []int) (direct []bool) {
	p.depth = make([]int32, len(p.Nodes))
	p.start = make([]int32, len(p.Nodes))
	direct = make([]bool, len(p.Nodes))
	for i := range p.depth {
		p.depth[i] = -1
	}
	var queue []int
	for i := range t.nodes {
		if n := newIndex[i]; n >= 0 && (i == 0 || t.nodes[i].has(isWorkspace)) {
			p.depth[n], p.start[n] = 0, int32(n)
			queue = append(queue, n)
		}
	}
	for k := 0; k < len(queue); k++ {
		i := queue[k]
		for _, e := range p.Nodes[i].Edges {
			if e.To < 0 {
				continue
			}
			if p.depth[i] == 0 && e.Kind != Workspace {
				direct[e.To] = true
			}
			if p.depth[e.To] < 0 {
				p.depth[e.To], p.start[e.To] = p.depth[i]+1, p.start[i]
				p.Nodes[e.To].Via = i
				queue = append(queue, e.To)
			}
		}
	}
	return direct
}

func (t *tree) buildPackages(p *Project, newIndex []int, verdicts []verdict, direct []bool) {
	order := t.chosenBy(func(i int) bool { return newIndex[i] >= 0 && verdicts[i].other == "" && !verdicts[i].skip })
	slices.SortFunc(order, func(a, b int) int {
		na, nb := &t.nodes[a], &t.nodes[b]
		if c := strings.Compare(na.packageName(), nb.packageName()); c != 0 {
			return c
		}
		if na.version != nb.version {
			// Versions that differ in build metadata only are equal in precedence.
			return cmp.Or(npm.CompareVersions(na.version, nb.version), strings.Compare(na.version, nb.version))
		}
		return cmp.Or(strings.Compare(na.integrity, nb.integrity), strings.Compare(na.resolved, nb.resolved), cmp.Compare(a, b))
	})
	distinct := 0
	for k, i := range order {
		if k == 0 || !t.nodes[order[k-1]].same(&t.nodes[i]) {
			distinct++
		}
	}
	p.Packages = make([]Package, 0, distinct)
	locations, nodes := make([]Location, len(order)), make([]int, len(order))
	common := ^flags(0)
	for k, i := range order {
		n, v := &t.nodes[i], &verdicts[i]
		last := len(p.Packages) - 1
		if k == 0 || !t.nodes[order[k-1]].same(n) {
			p.Packages = append(p.Packages, Package{
				Name: n.packageName(), Version: n.version, Integrity: n.integrity, Resolved: n.resolved,
			})
			last++
			p.Packages[last].Patches = t.patched[n.packageName()+"@"+n.version]
			if p.Packages[last].Patches == nil {
				p.Packages[last].Patches = t.patched[n.packageName()]
			}
			p.Packages[last].Locations, p.Packages[last].Nodes = locations[k:k:k], nodes[k:k:k]
			common = ^flags(0)
		}
		pkg := &p.Packages[last]
		if n.name() != pkg.Name && pkg.Alias == "" && n.has(isInstalled) {
			pkg.Alias = n.name()
		}
		if pkg.Alias == "" {
			pkg.Alias = t.aliases[int32(i)]
		}
		if t.checksums != nil && pkg.Checksum == "" {
			pkg.Checksum = t.checksums[i]
		}
		locations[k], nodes[k] = t.location(n), newIndex[i]
		pkg.Locations = locations[k-len(pkg.Locations) : k+1 : k+1]
		pkg.Nodes = nodes[k-len(pkg.Nodes) : k+1 : k+1]
		p.Nodes[newIndex[i]].Package = last
		pkg.Direct = pkg.Direct || direct[newIndex[i]]
		pkg.Unasked = pkg.Unasked || v.unasked
		if n.has(isOdd) {
			pkg.Oddity = oddMore
		}
		pkg.HasInstallScript = pkg.HasInstallScript || n.has(hasScript)
		common = n.everywhere(common)
		pkg.Dev, pkg.Optional = common&isDev != 0, common&isOptional != 0
		pkg.DevOptional = common&isDevOptional != 0 && !pkg.Dev && !pkg.Optional
		pkg.Peer, pkg.Extraneous = common&isPeer != 0, common&isExtraneous != 0
	}
}

// chosenBy returns the indices of the nodes that choose accepts.
func (t *tree) chosenBy(choose func(i int) bool) []int {
	count := 0
	for i := range t.nodes {
		if choose(i) {
			count++
		}
	}
	order := make([]int, 0, count)
	for i := range t.nodes {
		if choose(i) {
			order = append(order, i)
		}
	}
	return order
}

// same reports whether two nodes are places of one package.
func (n *node) same(o *node) bool {
	return n.packageName() == o.packageName() && n.version == o.version && n.integrity == o.integrity && n.resolved == o.resolved
}

// everywhere joins a node's flags with those of the same package's earlier places: what is left holds
// for all of them. Something dev here and optional there is devOptional.
func (n *node) everywhere(earlier flags) flags {
	f := n.flags
	if n.has(isDev | isOptional) {
		f |= isDevOptional
	}
	return earlier & f
}

func (t *tree) buildOthers(p *Project, newIndex []int, keep []bool, verdicts []verdict, direct []bool) {
	// The places of the links to a node come before its own.
	links := make(map[int32][]int)
	for i := range t.nodes {
		if l := t.nodes[i].link; l >= 0 && keep[i] {
			links[l] = append(links[l], i)
		}
	}
	order := t.chosenBy(func(i int) bool { return newIndex[i] >= 0 && verdicts[i].other != "" })
	name := func(i int) string {
		n := &t.nodes[i]
		if ls := links[int32(i)]; len(ls) > 0 && n.realName == "" && verdicts[i].other != SourceFile {
			return t.nodes[ls[0]].name()
		}
		return n.packageName()
	}
	bundler := func(i int) string {
		if verdicts[i].other != SourceBundled {
			return ""
		}
		b := &t.nodes[verdicts[i].bundler]
		return printable(b.packageName()) + "@" + b.version
	}
	compare := func(i, j int) int {
		a, b, va, vb := &t.nodes[i], &t.nodes[j], &verdicts[i], &verdicts[j]
		if c := cmp.Or(strings.Compare(name(i), name(j)), strings.Compare(a.version, b.version), strings.Compare(va.other, vb.other),
			strings.Compare(va.spec, vb.spec), strings.Compare(a.resolved, b.resolved)); c != 0 || va.bundler == vb.bundler {
			return c
		}
		return strings.Compare(bundler(i), bundler(j))
	}
	slices.SortFunc(order, func(i, j int) int { return cmp.Or(compare(i, j), cmp.Compare(i, j)) })
	distinct, places := 0, 0
	for k, i := range order {
		if k == 0 || compare(order[k-1], i) != 0 {
			distinct++
		}
		places += 1 + len(links[int32(i)])
	}
	p.Others = slices.Grow(p.Others, distinct)
	locations, nodes := make([]Location, 0, places), make([]int, 0, len(order))
	for k := 0; k < len(order); {
		firstLocation, firstNode := len(locations), len(nodes)
		first := order[k]
		n, v := &t.nodes[first], &verdicts[first]
		other := Other{Name: printable(name(first)), Version: n.version, Source: v.other, Spec: v.spec, Resolved: n.resolved, Bundler: bundler(first)}
		common, odd := ^flags(0), flags(0)
		for ; k < len(order) && compare(first, order[k]) == 0; k++ {
			i := order[k]
			for _, l := range links[int32(i)] {
				locations = append(locations, t.location(&t.nodes[l]))
				odd |= t.nodes[l].flags & isOdd
			}
			odd |= t.nodes[i].flags & isOdd
			locations = append(locations, t.location(&t.nodes[i]))
			nodes = append(nodes, newIndex[i])
			p.Nodes[newIndex[i]].Other = len(p.Others)
			other.Direct = other.Direct || direct[newIndex[i]]
			common = t.nodes[i].everywhere(common)
		}
		other.Dev, other.Optional = common&isDev != 0, common&isOptional != 0
		other.DevOptional = common&isDevOptional != 0 && !other.Dev && !other.Optional
		other.Peer, other.Extraneous = common&isPeer != 0, common&isExtraneous != 0
		if odd != 0 {
			other.Oddity = oddMore
		}
		other.Locations = locations[firstLocation:len(locations):len(locations)]
		other.Nodes = nodes[firstNode:len(nodes):len(nodes)]
		p.Others = append(p.Others, other)
	}
}

// sortWarnings sorts the warnings and adds the counts of those that were left out.
func (t *tree) sortWarnings() []Warning {
	slices.SortStableFunc(t.warnings, func(a, b Warning) int {
		return cmp.Or(strings.Compare(a.File, b.File), cmp.Compare(a.Line, b.Line), strings.Compare(a.Code, b.Code), strings.Compare(a.Path, b.Path), strings.Compare(a.Message, b.Message))
	})
	for _, code := range slices.Sorted(maps.Keys(t.warned)) {
		if more := t.warned[code] - maxSameWarn; more > 0 {
			suspicious := slices.ContainsFunc(t.warnings, func(w Warning) bool { return w.Code == code && w.Suspicious })
			t.warnings = append(t.warnings, Warning{Code: code, Message: fmt.Sprintf("%d more of this kind", more), File: t.file, Suspicious: suspicious})
		}
	}
	return t.warnings
}

package inventory

import (
	"cmp"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"assay/internal/npm"
)

// A tree is what a format's reader found: entries by place, with what they ask for. Places are those of
// Node.js, directories and node_modules directories inside them, so that edges can be resolved the same way.
type tree struct {
	kind    string
	file    string // the lockfile; nodes read from the disk are in their own package.json
	version int    // of the lockfile's format
	nodes   []node
	// legacy says that it comes from npm's lockfileVersion 1, which leaves out what inferKinds and
	// inferBundles work out.
	legacy bool
	// linked says that the format names the target of each edge, so that the reader has set Edge.To,
	// the workspaces' flag and the root's edges to them, on nodes in their final order, the root first.
	// Otherwise edges are resolved by place.
	linked bool
	// repeats says that one place may have several entries, all of which are listed.
	repeats bool
	// rootKnown says that nodes[0] has the root project's own edges. Where it has not, whatever at the
	// top nobody asks for counts as asked for by the root, and the lockfile's flags are all there is.
	rootKnown bool
	// verdicts are those of a document that says itself what each of its entries is; nil: they are to be found out.
	verdicts []verdict
	document []byte // see Project.Document
	// peersMayMiss says that the package manager may leave out peer dependencies.
	peersMayMiss bool
	workspaces   []string            // patterns, as package.json has them
	overrides    map[string][]string // replacements by name, see manifest
	bundles      map[string][]string // bundleDependencies by the path of the node that has them
	// aliases are names that key nodes are installed under where those differ from their own, and checksums are yarn's,
	// by node; nil where no node has one.
	aliases map[int32]string
	// keyed are what the file's own keys ask for, where the reader knows of no other edge that leads to the node.
	keyed     []Edge
	checksums []string
	// patched are the patches of packages by "name@version", or by "name" for all versions, as in Package.Patches.
	patched  map[string][]string
	warnings []Warning
	warned   map[string]int // warnings by code, those that were only counted included
}

// A node is one entry of a tree. nodes[0] is the root project.
type node struct {
	path                         string
	realName                     string // the entry's own `name`, "" if it has none
	version, resolved, integrity string
	edges                        []Edge
	nameAt                       int32 // where in path the name begins
	line                         int32
	link                         int32 // link: index of the target, noTarget if there is none; else notLink
	flags                        flags
}

// newKeyNode returns the node of a format that has no places, such as one that lists each package once:
// key is the entry's own name in the file, name the package's.
func newKeyNode(key, name string, line int) (node, error) {
	n := node{path: key, realName: name, nameAt: noPlace, line: int32(line), link: notLink, flags: isInstalled}
	if why := oddText(key); why != "" {
		return n, fmt.Errorf("entry %s %s", quoteShort(key), why)
	}
	return n, npm.CheckName(name)
}

const oddControl = "has a control character"

// oddText says why a text cannot be the key of a node, "" if it can.
func oddText(s string) string {
	if len(s) > maxKey {
		return fmt.Sprintf("is longer than %d bytes", maxKey)
	}
	for _, r := range s {
		if r < ' ' || r == 0x7f || 0x80 <= r && r < 0xa0 {
			return oddControl
		}
		if 0x202a <= r && r <= 0x202e || 0x2066 <= r && r <= 0x2069 {
			return "has a character that changes the direction of text"
		}
	}
	return ""
}

// noPlace in nameAt says that path is no place.
const noPlace = -1

// name is the name that a node is installed under, or the base name of its directory.
func (n *node) name() string {
	if n.nameAt == noPlace {
		return n.realName
	}
	return n.path[n.nameAt:]
}

// dir is the directory whose node_modules holds an installed node, "" for the root.
func (n *node) dir() string {
	return strings.TrimSuffix(n.path[:max(0, int(n.nameAt)-len(nodeModules)-1)], "/")
}

// location is the node's place as callers see it.
func (t *tree) location(n *node) Location { return Location{n.path, t.fileOf(n), int(n.line)} }

// fileOf is the file that a node was read from.
func (t *tree) fileOf(n *node) string {
	switch {
	case n.has(onDisk) && n.line == 0:
		return n.path // no package at all
	case n.has(onDisk):
		return joinPath(n.path, "package.json")
	case n.has(isConfig):
		return pnpmWorkspaceFile
	}
	return t.file
}

const (
	notLink  = -1
	noTarget = -2
)

type flags uint16

const (
	isInstalled flags = 1 << iota // lies in a node_modules
	isLink
	isBundled // the lockfile says that it comes in its parent's tarball
	isDev
	isOptional
	isDevOptional
	isPeer
	isExtraneous
	hasScript
	onDisk      // read from the disk, not from a lockfile
	isWorkspace // set by findWorkspaces
	isOdd       // a suspicious warning concerns it
	isConfig    // stands in pnpm-workspace.yaml and not in the lockfile
	isPinned    // the entry names a version of a registry's package, and the package manager installs that, whatever asks for it
	isFrom      // version 1: `version` was no version but said where it is from, as resolved does now
)

func (n *node) has(f flags) bool { return n.flags&f != 0 }

// packageName is the name of the package that a node holds, as npm sees it.
func (n *node) packageName() string {
	if n.realName != "" {
		return n.realName
	}
	return n.name()
}

func (t *tree) warn(n *node, code string, suspicious bool, format string, args ...any) {
	if t.warned == nil {
		t.warned = make(map[string]int)
	}
	n.set(isOdd, suspicious)
	if t.warned[code]++; t.warned[code] <= maxSameWarn {
		t.warnings = append(t.warnings, Warning{code, fmt.Sprintf(format, args...), t.fileOf(n), int(n.line), n.path, suspicious, false})
	}
}

func (t *tree) errorf(n *node, format string, args ...any) error {
	return &FormatError{t.fileOf(n), int(n.line), fmt.Sprintf(format, args...)}
}

// newNode returns the node at a place, or what is wrong with the place. Only the one spelling of a path
// that a package manager writes is accepted: npm resolves "node_modules/a/../b" to another entry's place.
func newNode(where, file string, line int) (node, error) {
	n := node{path: where, line: int32(line), link: notLink}
	if where == "" {
		return n, nil
	}
	bad := func(why string) (node, error) {
		return n, &FormatError{file, line, fmt.Sprintf("location %s %s", quoteShort(where), why)}
	}
	if why := oddText(where); why == oddControl || strings.IndexByte(where, '\\') >= 0 {
		return bad(oddControl + " or a backslash")
	} else if why != "" {
		return bad(why)
	}
	if where[0] == '/' || len(where) > 1 && where[1] == ':' && isLetter(where[0]) {
		return bad("is absolute")
	}
	segments, nested, last, at := 0, 0, "", -1
	ups := true // still in the leading ".."
	for i := 0; i <= len(where); {
		end := strings.IndexByte(where[i:], '/')
		if end < 0 {
			end = len(where)
		} else {
			end += i
		}
		switch s := where[i:end]; s {
		case "", ".":
			return bad("is not in its plain form")
		case "..":
			if !ups {
				return bad("is not in its plain form")
			}
			last = s
		case nodeModules:
			if last == nodeModules {
				return bad("has node_modules in node_modules")
			}
			nested++
			at, last, ups = i, s, false
		default:
			last, ups = s, false
		}
		segments++
		i = end + 1
	}
	if segments > maxSegments || nested > maxNesting {
		return bad("is nested too deeply")
	}
	if last == nodeModules || last == ".." && at >= 0 {
		return bad("names no package")
	}
	if at >= 0 {
		name := where[at+len(nodeModules)+1:]
		scoped := strings.HasPrefix(name, "@")
		if slash := strings.IndexByte(name, '/'); slash < 0 && !scoped || scoped && slash >= 0 && strings.IndexByte(name[slash+1:], '/') < 0 {
			n.nameAt = int32(at + len(nodeModules) + 1)
			n.flags |= isInstalled
			if err := npm.CheckName(name); err != nil {
				return n, &FormatError{file, line, err.Error()}
			}
			return n, nil
		}
	}
	// A directory that is no node_modules entry: a workspace, or what a link points at.
	slash := strings.LastIndexByte(where, '/')
	n.nameAt = int32(slash + 1)
	if slash > 0 {
		if above := strings.LastIndexByte(where[:slash], '/') + 1; where[above] == '@' {
			n.nameAt = int32(above)
		}
	}
	return n, nil
}

// quoteShort quotes hostile text for a message, and cuts what is long.
func quoteShort(s string) string {
	if len(s) > 200 {
		return strconv.Quote(s[:160]) + "…"
	}
	return strconv.Quote(s)
}

// setEdges joins the dependency fields of one manifest. A name in several of them counts once, as npm
// counts it: optional before prod before peer. One in both dependencies and devDependencies is prod.
// Source: npm/cli, workspaces/arborist/lib/node.js, _loadDeps.
func (n *node) setEdges(edges []Edge) {
	slices.SortStableFunc(edges, func(a, b Edge) int {
		if c := cmp.Compare(a.Name, b.Name); c != 0 {
			return c
		}
		return cmp.Compare(edgeRank(a.Kind), edgeRank(b.Kind))
	})
	kept := edges[:0]
	for _, e := range edges {
		if k := len(kept); k > 0 && kept[k-1].Name == e.Name {
			if e.Kind != Dev || kept[k-1].Kind != Prod {
				kept[k-1] = e
			}
			continue
		}
		kept = append(kept, e)
	}
	n.edges = slices.Clip(kept)
}

// edgeRank orders the kinds that one name may have: the last wins.
func edgeRank(k EdgeKind) int {
	switch k {
	case Peer, PeerOptional:
		return 0
	case Prod:
		return 1
	case Optional:
		return 2
	case Dev:
		return 3
	default:
		return 4
	}
}

// A place is a name in the node_modules of a directory.
type place struct {
	dir  int32 // index in containers
	name string
}

// A namesake is the first installed node of a name; next leads to the others.
type namesake struct{ first, count int32 }

// containers are the directories that have a node_modules.
type containers struct {
	index  map[string]int32 // by directory; also what nearest found, -1 for none
	parent []int32          // the nearest container above, -1 at the top
	depth  []int32
	paths  []string
}

func (c *containers) add(dir string) int32 {
	if i, ok := c.index[dir]; ok {
		return i
	}
	i := int32(len(c.parent))
	c.index[dir] = i
	c.parent = append(c.parent, -1)
	c.depth = append(c.depth, 0)
	c.paths = append(c.paths, dir)
	return i
}

// nearest returns the container that Node.js looks into first from a directory: its own node_modules,
// else that of the nearest directory above it.
func (c *containers) nearest(dir string) int32 {
	for {
		if i, ok := c.index[dir]; ok {
			return i
		}
		if dir == "" || strings.HasSuffix(dir, "..") && (len(dir) == 2 || dir[len(dir)-3] == '/') {
			return -1 // the project's root, or as far above it as the lockfile knows
		}
		i := strings.LastIndexByte(dir, '/')
		dir = dir[:max(i, 0)]
	}
}

// find returns the node at a path, -1 if there is none. Nodes are sorted.
func (t *tree) find(where string) int32 {
	if where == "" {
		return 0
	}
	i, ok := slices.BinarySearchFunc(t.nodes[1:], where, func(n node, where string) int { return strings.Compare(n.path, where) })
	if !ok {
		return -1
	}
	return int32(i) + 1
}

// resolve finds the targets of links and of edges.
func (t *tree) resolve() {
	if t.linked {
		return
	}
	c := &containers{index: make(map[string]int32)}
	c.add("")
	dirs := make([]int32, len(t.nodes)) // container of each installed node
	for i := range t.nodes {
		if t.nodes[i].has(isInstalled) {
			dirs[i] = c.add(t.nodes[i].dir())
		}
	}
	c.order()
	next := make([]int32, len(t.nodes))
	names := make(map[string]namesake, len(t.nodes))
	for i := range t.nodes {
		if n := &t.nodes[i]; n.has(isInstalled) {
			s, ok := names[n.name()]
			next[i] = -1
			if ok {
				next[i] = s.first
			}
			names[n.name()] = namesake{int32(i), s.count + 1}
		}
	}
	// Of names that lie in many places, an index by place.
	const many = 8
	index := make(map[place]int32)
	for i := range t.nodes {
		if n := &t.nodes[i]; n.has(isInstalled) && names[n.name()].count > many {
			index[place{dirs[i], n.name()}] = int32(i)
		}
	}
	t.resolveLinks()
	t.findWorkspaces()

	for i := range t.nodes {
		n := &t.nodes[i]
		if len(n.edges) == 0 || n.has(isLink) {
			continue
		}
		from := c.nearest(n.path)
		for j := range n.edges {
			e := &n.edges[j]
			if e.Kind == Workspace {
				continue
			}
			e.To = Missing
			found, ok := names[e.Name]
			if !ok || from < 0 {
				continue
			}
			if found.count > many {
				for d := from; d >= 0; d = c.parent[d] {
					if to, ok := index[place{d, e.Name}]; ok {
						e.To = int(to)
						break
					}
				}
				continue
			}
			best := int32(-1)
			for k := found.first; k >= 0; k = next[k] {
				if d := dirs[k]; (best < 0 || c.depth[d] > c.depth[best]) && c.above(d, from) {
					best, e.To = d, int(k)
				}
			}
		}
	}
}

// order links each container to the nearest one above it, once all are added.
func (c *containers) order() {
	byLength := make([]int32, len(c.paths))
	for i, dir := range c.paths {
		byLength[i] = int32(i)
		if j := strings.LastIndexByte(dir, '/'); dir != "" && (j >= 0 || !strings.HasPrefix(dir, "..")) {
			c.parent[i] = c.nearest(dir[:max(j, 0)])
		}
	}
	// What is above has a shorter path.
	slices.SortFunc(byLength, func(a, b int32) int { return cmp.Compare(len(c.paths[a]), len(c.paths[b])) })
	for _, i := range byLength {
		if p := c.parent[i]; p >= 0 {
			c.depth[i] = c.depth[p] + 1
		}
	}
}

// above reports whether a is b or a directory above it, as far as Node.js would look.
func (c *containers) above(a, b int32) bool {
	pa, pb := c.paths[a], c.paths[b]
	switch {
	case a == b:
		return true
	case c.depth[a] >= c.depth[b]:
		return false
	case pa == "":
		return !strings.HasPrefix(pb, "../") && pb != ".."
	}
	return len(pb) > len(pa) && pb[len(pa)] == '/' && pb[:len(pa)] == pa
}

// sortNodes puts the root first and the rest in order of path, so that the order in the file does not matter.
func (t *tree) sortNodes() error {
	slices.SortFunc(t.nodes[1:], func(a, b node) int {
		return cmp.Or(strings.Compare(a.path, b.path), cmp.Compare(a.line, b.line))
	})
	kept := t.nodes[:1]
	for _, b := range t.nodes[1:] {
		if a := &kept[len(kept)-1]; len(kept) > 1 && a.path == b.path && !t.repeats {
			// A version 1 lockfile lists what lies under a linked directory once for every link.
			if !t.legacy || a.version != b.version || a.integrity != b.integrity || a.resolved != b.resolved || a.realName != b.realName {
				return t.errorf(&b, "location %s occurs twice, see also line %d", quoteShort(b.path), a.line)
			}
			continue
		}
		kept = append(kept, b)
	}
	t.nodes = kept
	return nil
}

// resolveLinks finds what links point at.
func (t *tree) resolveLinks() {
	for i := range t.nodes {
		n := &t.nodes[i]
		if !n.has(isLink) {
			continue
		}
		n.link = noTarget
		target := strings.TrimSuffix(strings.TrimPrefix(n.resolved, "./"), "/")
		// A link to a link is followed a few steps; a loop ends nowhere.
		for range 8 {
			to := t.find(target)
			if to < 0 {
				break
			}
			if !t.nodes[to].has(isLink) {
				n.link = to
				break
			}
			target = t.nodes[to].resolved
		}
		if n.link == noTarget {
			t.warn(n, "link-target-missing", false, "%s is a link to %s, which is not listed", quoteShort(n.path), quoteShort(n.resolved))
		}
	}
}

// target follows a link: the index of what i stands for; i itself if it is no link or leads nowhere.
func (t *tree) target(i int32) int32 {
	if l := t.nodes[i].link; l >= 0 {
		return l
	}
	return i
}

// findWorkspaces marks the directories that are workspaces and gives the root an edge to each.
// Source: npm/cli, node_modules/@npmcli/map-workspaces/lib/index.js.
func (t *tree) findWorkspaces() {
	if len(t.workspaces) == 0 {
		return
	}
	w := newWorkspaceSet(t.workspaces)
	if work := len(w.globs); work > 0 {
		dirs := 0
		for i := range t.nodes {
			if !t.nodes[i].has(isInstalled) {
				dirs++
			}
		}
		if dirs*work > 5_000_000 {
			t.warn(&t.nodes[0], "workspaces-too-many", true, "%d workspace patterns on %d directories: not matched", work, dirs)
			return
		}
	}
	root := &t.nodes[0]
	edges := slices.Clone(root.edges)
	for i := 1; i < len(t.nodes); i++ {
		n := &t.nodes[i]
		if n.has(isInstalled|isLink) || strings.Contains(n.path, nodeModules) || !w.match(n.path) {
			continue
		}
		n.flags |= isWorkspace
		edges = append(edges, Edge{Name: n.packageName(), Spec: "file:" + n.path, Kind: Workspace, To: i})
	}
	root.setEdges(edges)
}

// inferRoot gives the root the edges that a file without the root's manifest does not tell: one to
// everything at the top that nothing else asks for.
func (t *tree) inferRoot() {
	asked := make([]bool, len(t.nodes))
	for i := range t.nodes {
		for _, e := range t.nodes[i].edges {
			if e.To >= 0 {
				asked[e.To] = true
			}
		}
	}
	root := &t.nodes[0]
	direct := func(i int) bool {
		n := &t.nodes[i]
		return n.has(isInstalled) && n.dir() == "" && !asked[i] && !n.has(isExtraneous)
	}
	count := len(root.edges)
	for i := 1; i < len(t.nodes); i++ {
		if direct(i) {
			count++
		}
	}
	edges := append(make([]Edge, 0, count), root.edges...)
	for i := 1; i < len(t.nodes); i++ {
		n := &t.nodes[i]
		if !direct(i) {
			continue
		}
		kind := Prod
		switch {
		case n.has(isDev):
			kind = Dev
		case n.has(isOptional):
			kind = Optional
		case n.has(isPeer):
			kind = Peer
		}
		edges = append(edges, Edge{Name: n.name(), Kind: kind, To: i})
	}
	root.setEdges(edges)
}

// bundlers says for each node which node's tarball it comes in, -1 for none. What the root or a
// workspace bundles is fetched from the registry before it is packed, so there the bundler is the root
// or the workspace.
// Source: npm/cli, workspaces/arborist/lib/node.js, getBundler.
func (t *tree) bundlers() []int32 {
	result := make([]int32, len(t.nodes))
	for i := range result {
		result[i] = -1
	}
	if len(t.bundles) == 0 {
		return result
	}
	children := make(map[string][]int32) // installed nodes by the path of the node that holds them
	for i := range t.nodes {
		n := &t.nodes[i]
		if n.has(isInstalled) {
			children[n.dir()] = append(children[n.dir()], int32(i))
		}
	}
	// Nodes are sorted by path, so what is above comes first.
	for i := range t.nodes {
		p := &t.nodes[i]
		bundle := t.bundles[p.path]
		if len(bundle) == 0 || result[i] >= 0 {
			continue
		}
		var todo []int32
		take := func(c int32) {
			if result[c] < 0 {
				result[c] = int32(i)
				todo = append(todo, c)
			}
		}
		listed := make(map[string]bool, len(bundle))
		for _, name := range bundle {
			listed[name] = true
		}
		for _, c := range children[p.path] {
			if listed[t.nodes[c].name()] {
				take(c)
			}
		}
		for len(todo) > 0 {
			c := todo[len(todo)-1]
			todo = todo[:len(todo)-1]
			for _, k := range children[t.nodes[c].path] {
				take(k)
			}
			for _, e := range t.nodes[c].edges {
				// A dependency beside its dependent comes along in the tarball; one further up does not.
				if e.To >= 0 && t.nodes[e.To].has(isInstalled) && t.nodes[e.To].dir() == p.path {
					take(int32(e.To))
				}
			}
		}
	}
	return result
}

// reach marks what can be reached from the root over edges that follow accepts.
func (t *tree) reach(follow func(EdgeKind) bool, from ...int32) []bool {
	seen := make([]bool, len(t.nodes))
	for _, i := range from {
		seen[i] = true
	}
	todo := from
	for len(todo) > 0 {
		i := todo[len(todo)-1]
		todo = todo[:len(todo)-1]
		for _, e := range t.nodes[i].edges {
			if e.To < 0 || !follow(e.Kind) {
				continue
			}
			to := int32(e.To)
			for range 2 { // the node, and the target if it is a link
				if !seen[to] {
					seen[to] = true
					todo = append(todo, to)
				}
				to = t.target(to)
			}
		}
	}
	return seen
}

// setFlags computes dev, optional, devOptional, peer and extraneous for every node. Each says that all
// ways from the root to the node go through edges of a kind.
// Source: npm/cli, workspaces/arborist/lib/calc-dep-flags.js.
func (t *tree) setFlags() {
	if !t.rootKnown {
		return
	}
	optional := func(k EdgeKind) bool { return k == Optional || k == PeerOptional }
	noDev := t.reach(func(k EdgeKind) bool { return k != Dev }, 0)
	noOptional := t.reach(func(k EdgeKind) bool { return !optional(k) }, 0)
	neither := t.reach(func(k EdgeKind) bool { return k != Dev && !optional(k) }, 0)
	noPeer := t.reach(func(k EdgeKind) bool { return k != Peer && k != PeerOptional }, 0)
	// An optional peer dependency that nothing else needs is extraneous to npm.
	any := t.reach(func(k EdgeKind) bool { return k != PeerOptional }, 0)
	for i := range t.nodes {
		n := &t.nodes[i]
		n.flags &^= isDev | isOptional | isDevOptional | isPeer | isExtraneous
		if !any[i] {
			n.flags |= isExtraneous
			continue
		}
		n.set(isDev, !noDev[i])
		n.set(isOptional, !noOptional[i])
		n.set(isDevOptional, noDev[i] && noOptional[i] && !neither[i])
		n.set(isPeer, !noPeer[i])
	}
}

func (n *node) set(f flags, on bool) {
	if on {
		n.flags |= f
	}
}

// omits reports whether npm would leave a node out.
// Source: npm/cli, workspaces/arborist/lib/node.js, shouldOmit.
func (n *node) omits(omit flags) bool {
	return n.flags&omit&(isDev|isOptional|isPeer) != 0 ||
		n.has(isDevOptional) && omit&isDev != 0 && omit&isOptional != 0
}

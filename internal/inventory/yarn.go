package inventory

import (
	"cmp"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"path"
	"slices"
	"strings"
	"unicode/utf8"

	"assay/internal/npm"
)

// readYarn reads yarn.lock: that of yarn 1, in a format of its own, and that of yarn 2 and later, in YAML.
func readYarn(s *source, file string) (*tree, error) {
	data, err := s.readFile(file, maxFile)
	if err != nil {
		return nil, err
	}
	s.files = append(s.files, file)
	y := &yarnLock{
		s: s, size: len(data), keys: make(map[string]int32),
		t: &tree{file: file, linked: true, version: 1, nodes: make([]node, 1, room(data, "version ")+room(data, "version:")+1)},
	}
	y.t.nodes[0] = node{line: 1, link: notLink}
	text := string(data)
	if rest, ok := strings.CutPrefix(text, "\ufeff"); ok {
		text = rest // yarn skips it as well
		y.t.warnings = append(y.t.warnings, Warning{Code: "byte-order-mark", Message: "begins with a byte order mark", File: file, Line: 1})
	}
	if err := checkLines(file, text); err != nil {
		return nil, err
	}
	if strings.HasPrefix(text, "__metadata:") || strings.Contains(text, "\n__metadata:") {
		return y.t, y.readBerry(text)
	}
	return y.t, y.readClassic(text)
}

// checkLines refuses what only some readers take for the end of a line, or for a text file at all.
func checkLines(file, text string) error {
	bad := func(i int, what string) error {
		return &FormatError{file, 1 + strings.Count(text[:i], "\n"), what}
	}
	ascii := true
	for i := 0; i < len(text); i++ {
		switch c := text[i]; {
		case c >= utf8.RuneSelf:
			ascii = false
		case c == '\r' && (i+1 == len(text) || text[i+1] != '\n'):
			return bad(i, "has a carriage return in a line")
		case c < ' ' && c != '\n' && c != '\r' || c == 0x7f:
			return bad(i, fmt.Sprintf("has the control character %#02x", c))
		}
	}
	if !ascii && !utf8.ValidString(text) {
		for i, r := range text {
			if r == utf8.RuneError && !strings.HasPrefix(text[i:], string(utf8.RuneError)) {
				return bad(i, "is not valid UTF-8")
			}
		}
	}
	return nil
}

// A yarnLock is a yarn.lock that is being read. Its entries become nodes without places; what asks for them
// says so by a descriptor ("left@^1.0.0"), and the file says which entry that is.
type yarnLock struct {
	s    *source
	t    *tree
	size int              // of the file
	cost int              // bytes of memory that what was read will need, about
	keys map[string]int32 // descriptors to indices of nodes

	entries, edges int
	mirrored       int // entries of yarn 1 that come from its offline mirror

	root         *manifest             // package.json, nil if there is none
	rules        map[string][]yarnRule // resolutions, by the name of what they replace
	workspaces   map[string]int32      // by name
	replacements map[string]bool       // descriptors of what resolutions of yarn 1 put in the place of something
	onMoved      func(now []int32)     // told where each node is once they are in order
	key          []byte
}

// A yarnRule is one of the resolutions in package.json: it replaces what is asked for under a name.
type yarnRule struct {
	spec string
	path []string // yarn 1: names from the top of the tree to what is replaced, with globs
	// Later: what asks, and what is asked for; "" for anything. Both may be a reference or a range.
	from, fromRange, only string
}

// Limits on looking for workspaces, and on resolutions times what they might replace.
const (
	maxWorkspaceDirs = 20_000  // directories with a package.json
	maxLooked        = 200_000 // directory entries looked at
	maxRuleWork      = 5_000_000
)

// What one descriptor needs in memory, beside its text.
const keyCost = 64

// add takes a node in.
func (y *yarnLock) add(n node) (int32, error) {
	line := int(n.line)
	if y.entries++; y.entries > maxEntries {
		return 0, &FormatError{y.t.file, line, fmt.Sprintf("more than %d entries", maxEntries)}
	}
	if y.edges += len(n.edges); y.edges > maxAllEdges {
		return 0, &FormatError{y.t.file, line, fmt.Sprintf("more than %d dependencies", maxAllEdges)}
	}
	if err := y.spend(line, entryCost+edgeCost*len(n.edges)); err != nil {
		return 0, err
	}
	i := int32(len(y.t.nodes))
	y.t.nodes = append(y.t.nodes, n)
	return i, nil
}

// spend accounts for memory, as for npm's lockfiles.
func (y *yarnLock) spend(line, bytes int) error {
	if y.cost += bytes; y.cost > 16*y.size+maxFloor {
		return &FormatError{y.t.file, line, "too many entries for the size of the file"}
	}
	return nil
}

// addKey says that a descriptor leads to a node.
func (y *yarnLock) addKey(key string, line int, i int32) error {
	if at, ok := y.keys[key]; ok {
		return &FormatError{y.t.file, line, fmt.Sprintf("duplicate entry %s, see also line %d: readers disagree about which one counts", quoteShort(key), y.t.nodes[at].line)}
	}
	if err := y.spend(line, keyCost); err != nil {
		return err
	}
	y.keys[key] = i
	return nil
}

// readManifests reads the package.json of the project, before the lockfile's entries are read.
func (y *yarnLock) readManifests() error {
	m, err := y.s.manifest("")
	if err != nil || m == nil {
		return err
	}
	y.s.files = append(y.s.files, "package.json")
	y.root = m
	root := &y.t.nodes[0]
	root.realName, root.version = m.name, m.version
	y.t.rootKnown = true
	y.rules = make(map[string][]yarnRule)
	y.replacements = make(map[string]bool)
	y.t.overrides = make(map[string][]string)
	return nil
}

// addRule adds a resolution.
func (y *yarnLock) addRule(name string, r yarnRule) {
	y.rules[name] = append(y.rules[name], r)
	y.t.overrides[name] = append(y.t.overrides[name], r.spec)
}

// useManifest gives a directory of the project what its own package.json asks for. Peer dependencies are left
// out: yarn does not install what only they ask for.
func (y *yarnLock) useManifest(n *node, m *manifest) {
	if m.name != "" {
		n.realName = m.name
	}
	if m.version != "" {
		n.version = m.version
	}
	edges := slices.DeleteFunc(m.edges, func(e Edge) bool { return e.Kind == Peer || e.Kind == PeerOptional })
	for i := range edges {
		if slices.Contains(m.optionals, edges[i].Name) && edges[i].Kind == Prod {
			edges[i].Kind = Optional
		}
	}
	n.setEdges(edges)
}

// findWorkspaces looks for the workspaces that package.json names, and with nested in the workspaces for those
// that they name. It returns their manifests by directory.
func (y *yarnLock) findWorkspaces(nested bool) (map[string]*manifest, error) {
	found := make(map[string]*manifest)
	w := &workspaceWalk{s: y.s}
	todo := []string{""}
	found[""] = y.root
	for len(todo) > 0 {
		dir := todo[0]
		todo = todo[1:]
		if dir != "" && !nested {
			continue
		}
		dirs, err := w.find(dir, found[dir].workspaces)
		if err != nil {
			return nil, &FormatError{joinPath(dir, "package.json"), 1, err.Error()}
		}
		for _, d := range dirs {
			if found[d] != nil {
				continue
			}
			m, err := y.s.manifest(d)
			if err != nil {
				y.t.warnings = append(y.t.warnings, Warning{Code: "manifest-unreadable", Message: err.Error(), File: joinPath(d, "package.json")})
				continue
			}
			if m == nil {
				continue
			}
			if found[d] = m; len(found) > maxWorkspaceDirs {
				return nil, &FormatError{joinPath(dir, "package.json"), 1, fmt.Sprintf("more than %d workspaces", maxWorkspaceDirs)}
			}
			todo = append(todo, d)
		}
	}
	delete(found, "")
	return found, nil
}

// addWorkspace adds a workspace that the lockfile has no entry for: where it was found is its package.json.
func (y *yarnLock) addWorkspace(dir string, m *manifest) error {
	n, err := newNode(dir, joinPath(dir, "package.json"), 1)
	if err != nil {
		return err
	}
	if n.has(isInstalled) {
		return nil // something in a node_modules is no workspace
	}
	n.flags |= onDisk | isWorkspace
	y.s.files = append(y.s.files, joinPath(dir, "package.json"))
	y.useManifest(&n, m)
	_, err = y.add(n)
	return err
}

// link puts the nodes in order and finds the target of each edge.
func (y *yarnLock) link(target func(from int32, e *Edge) int32) error {
	t := y.t
	for i := range t.nodes {
		t.nodes[i].link = int32(i) // where it was
	}
	if err := t.sortNodes(); err != nil {
		return err
	}
	now := make([]int32, len(t.nodes))
	for i := range t.nodes {
		now[t.nodes[i].link] = int32(i)
		t.nodes[i].link = notLink
	}
	for key, i := range y.keys {
		y.keys[key] = now[i]
	}
	if y.onMoved != nil {
		y.onMoved(now)
	}
	y.workspaces = make(map[string]int32)
	root := &t.nodes[0]
	var members []Edge
	for i := 1; i < len(t.nodes); i++ {
		if n := &t.nodes[i]; n.has(isWorkspace) {
			y.workspaces[n.packageName()] = int32(i)
			members = append(members, Edge{Name: n.packageName(), Spec: "file:" + n.path, Kind: Workspace, To: i})
		}
	}
	if err := y.checkRules(); err != nil {
		return err
	}
	led := make([]bool, len(t.nodes))
	for i := range t.nodes {
		for j := range t.nodes[i].edges {
			e := &t.nodes[i].edges[j]
			if e.To = int(target(int32(i), e)); e.To >= 0 {
				led[e.To] = true
			}
		}
	}
	y.askByKey(led)
	if len(members) > 0 {
		// What the root asks for by itself counts beside the edges to its workspaces.
		root.edges = slices.Concat(root.edges, members)
		slices.SortStableFunc(root.edges, func(a, b Edge) int { return strings.Compare(a.Name, b.Name) })
	}
	return nil
}

// checkRules makes sure that applying the resolutions to every edge is not too much work.
func (y *yarnLock) checkRules() error {
	work := 0
	for i := range y.t.nodes {
		for _, e := range y.t.nodes[i].edges {
			work += len(y.rules[e.Name])
		}
	}
	if work > maxRuleWork {
		return &FormatError{"package.json", 1, "too many resolutions of names that the lockfile is full of"}
	}
	return nil
}

// askByKey lets the descriptors of a node speak where no edge leads to it: the root's package.json is not there, or
// something that the file does not tell asks for it.
func (y *yarnLock) askByKey(led []bool) {
	keys := make(map[int32]string)
	for key, i := range y.keys {
		if first, ok := keys[i]; !led[i] && (!ok || key < first) {
			keys[i] = key
		}
	}
	for _, i := range slices.Sorted(maps.Keys(keys)) {
		name, spec := splitSpec(keys[i])
		if npm.CheckName(name) != nil {
			name, spec = y.t.nodes[i].packageName(), keys[i] // an address without a name
		}
		y.t.keyed = append(y.t.keyed, Edge{Name: name, Spec: bareRange(spec), To: int(i)})
	}
}

// lookUp finds the node of the descriptor that the parts make up, -1 if there is none.
func (y *yarnLock) lookUp(in map[string]int32, parts ...string) int32 {
	if len(in) == 0 {
		return Missing
	}
	y.key = y.key[:0]
	for _, p := range parts {
		y.key = append(y.key, p...)
	}
	if i, ok := in[string(y.key)]; ok {
		return i
	}
	return Missing
}

// A workspaceWalk looks for directories that patterns name.
type workspaceWalk struct {
	s      *source
	looked int
	seen   map[workspaceStep]bool
	found  map[string]bool
}

type workspaceStep struct {
	dir  string
	left int
}

var errWorkspaces = errors.New("its workspaces are spread over too many directories to look at all of them")

// find returns the directories below base that the patterns name and that hold a package.json, sorted.
func (w *workspaceWalk) find(base string, patterns []string) ([]string, error) {
	w.found, w.seen = make(map[string]bool), nil
	set := newWorkspaceSet(patterns)
	for dir := range set.literal {
		if err := w.expand(base, []string{dir}); err != nil {
			return nil, err
		}
	}
	for _, g := range set.globs {
		w.seen = make(map[workspaceStep]bool)
		if g[0] == "!" {
			continue
		}
		if err := w.expand(base, g); err != nil {
			return nil, err
		}
	}
	for dir := range w.found {
		below := strings.TrimPrefix(strings.TrimPrefix(dir, base), "/")
		if !set.match(below) {
			delete(w.found, dir)
		}
	}
	return slices.Sorted(maps.Keys(w.found)), nil
}

// expand follows the segments of a pattern from a directory.
func (w *workspaceWalk) expand(dir string, segments []string) error {
	if w.looked++; w.looked > maxLooked {
		return errWorkspaces
	}
	if len(segments) == 0 {
		file := joinPath(dir, "package.json")
		if !fs.ValidPath(file) || dir == "" || strings.Contains("/"+dir+"/", "/"+nodeModules+"/") {
			return nil
		}
		if _, err := fs.Stat(w.s.fsys, file); err == nil {
			w.found[dir] = true
		}
		return nil
	}
	if step := (workspaceStep{dir, len(segments)}); w.seen[step] || strings.Count(dir, "/") > maxSegments {
		return nil
	} else if w.seen != nil {
		w.seen[step] = true
	}
	first, rest := segments[0], segments[1:]
	if first == "**" {
		if err := w.expand(dir, rest); err != nil {
			return err
		}
	} else if !strings.ContainsAny(first, "*?[") {
		return w.expand(path.Join(dir, first), rest)
	}
	if !fs.ValidPath(cmp.Or(dir, ".")) {
		return nil
	}
	entries, err := fs.ReadDir(w.s.fsys, cmp.Or(dir, "."))
	if err != nil {
		return nil // no directory, as npm and yarn take it
	}
	for _, e := range entries {
		if w.looked++; w.looked > maxLooked {
			return errWorkspaces
		}
		name := e.Name()
		if name == nodeModules || !e.IsDir() && e.Type()&fs.ModeSymlink == 0 {
			continue
		}
		sub := joinPath(dir, name)
		switch {
		case first == "**":
			if name[0] != '.' && e.IsDir() {
				if err := w.expand(sub, segments); err != nil {
					return err
				}
			}
		case matchSegment(first, name):
			if err := w.expand(sub, rest); err != nil {
				return err
			}
		}
	}
	return nil
}

package inventory

import (
	"bytes"
	"fmt"
	"path"
	"slices"
	"strings"

	"assay/internal/npm"

	"github.com/go-json-experiment/json/jsontext"
)

// readPackageLock reads package-lock.json and npm-shrinkwrap.json of lockfileVersion 1, 2 and 3.
// Source: npm/cli, docs/lib/content/configuring-npm/package-lock-json.md and
// workspaces/arborist/lib/shrinkwrap.js.
func readPackageLock(s *source, file string) (*tree, error) {
	data, err := s.readFile(file, maxFile)
	if err != nil {
		return nil, err
	}
	s.files = append(s.files, file)
	t, err := parsePackageLock(file, data)
	if err != nil {
		return nil, err
	}
	return t, t.useManifests(s)
}

// A lockReader collects the two halves that a lockfile may have: `packages` (npm 7 and later) and
// `dependencies` (npm 5 and 6).
type lockReader struct {
	*jsonReader
	packages []node
	bundles  map[string][]string
	// Of version 1 entries path is only the name until placeLegacy: what lies under a linked directory
	// belongs to the directory, and `version`, which says so, may come last. above is, for each, the
	// index of the entry it is nested in, -1 for the root.
	legacy                 []node
	above                  []int32
	directories            int
	entries, edges         int
	cost                   int // bytes of memory that what was read will need, about
	hasPackages, hasLegacy bool
	rootSeen               bool // packages has the entry "", or a version 1 file its own name
	workspaces             []string
}

func parsePackageLock(file string, data []byte) (*tree, error) {
	r := &lockReader{jsonReader: newJSONReader(file, data, false), bundles: make(map[string][]string)}
	root := node{line: 1, link: notLink}
	r.packages = append(make([]node, 0, room(data, `"node_modules/`)+1), root)
	version, versionLine := "", 0
	err := r.object("the lockfile", func(field string) (err error) {
		switch field {
		case "name":
			root.realName, err = r.str(field, false)
		case "version":
			root.version, err = r.str(field, false)
		case "lockfileVersion":
			var v jsontext.Value
			if k := r.peek(); k != jsontext.KindNumber {
				return r.unexpected(k, field, "a number")
			}
			if v, err = r.dec.ReadValue(); err != nil {
				return r.syntax(err)
			}
			version, versionLine = string(v), r.line()
		case "packages":
			r.hasPackages = true
			err = r.members(field, false, r.packageEntry)
		case "dependencies":
			if r.peek() == jsontext.KindNull {
				return r.skip()
			}
			r.hasLegacy = true
			r.legacy = make([]node, 0, room(data, `"version"`)+1)
			err = r.members(field, false, func(name string) error { return r.legacyMember(name, -1, 0) })
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
	t := &tree{file: file, workspaces: r.workspaces, bundles: r.bundles}
	if r.bom {
		t.warnings = append(t.warnings, Warning{Code: "byte-order-mark", Message: "begins with a byte order mark", File: file, Line: 1})
	}
	switch version {
	case "":
		return nil, &FormatError{file, 1, "has no lockfileVersion; supported are 1, 2 and 3"}
	case "1", "2", "3":
		t.version = int(version[0] - '0')
	default:
		return nil, &FormatError{file, versionLine, fmt.Sprintf("lockfileVersion %s is not supported; supported are 1, 2 and 3", version)}
	}
	// Which half counts depends on the npm that reads; a file must not say one thing to each.
	switch {
	case t.version == 1 && r.hasPackages:
		return nil, &FormatError{file, versionLine, "lockfileVersion 1 has no packages, but this file does"}
	case t.version > 1 && !r.hasPackages && r.hasLegacy:
		return nil, &FormatError{file, versionLine, fmt.Sprintf("lockfileVersion %s has packages, but this file only dependencies", version)}
	}
	legacy, err := r.placeLegacy()
	if err != nil {
		return nil, err
	}
	if t.version == 1 {
		t.legacy = true
		t.nodes = slices.Insert(legacy, 0, root)
		return t, t.sortNodes()
	}
	if first := &r.packages[0]; !r.rootSeen {
		*first = root
	} else {
		if first.realName == "" {
			first.realName = root.realName
		}
		if first.version == "" {
			first.version = root.version
		}
	}
	t.nodes, t.rootKnown = r.packages, r.rootSeen
	if !r.rootSeen && path.Base(file) != path.Base(hiddenLockfile) {
		t.warnings = append(t.warnings, Warning{Code: "root-missing", Message: "packages has no entry for the project itself", File: file, Line: 1, Suspicious: true})
		for i := range t.nodes {
			// Nothing supports the flags that would leave a package out.
			t.nodes[i].flags &^= isDev | isOptional | isDevOptional | isPeer
		}
	}
	if err := t.sortNodes(); err != nil {
		return nil, err
	}
	if r.hasLegacy {
		t.compareHalves(legacy)
	}
	return t, nil
}

// spend accounts for memory. A lockfile of real packages needs a few times its size; one of countless
// empty entries would need far more, and is refused.
func (r *lockReader) spend(line, bytes int) error {
	if r.cost += bytes; r.cost > 16*len(r.data)+maxFloor {
		return &FormatError{r.file, line, "too many entries for the size of the file"}
	}
	return nil
}

// count counts an entry and its edges towards the limits on all of them.
func (r *lockReader) count(line, edges int) error {
	if r.entries++; r.entries > maxEntries {
		return &FormatError{r.file, line, fmt.Sprintf("more than %d entries", maxEntries)}
	}
	if r.edges += edges; r.edges > maxAllEdges {
		return &FormatError{r.file, line, fmt.Sprintf("more than %d dependencies", maxAllEdges)}
	}
	return r.spend(line, entryCost+edgeCost*edges)
}

// What one entry and one of its edges need at most, from reading to the finished Project.
const (
	entryCost = 560
	edgeCost  = 2 * 48
	maxFloor  = 8 << 20
)

// room guesses how many entries a lockfile has by a mark that most of them bear, so that growing does
// not keep two copies of them. A file that is full of the mark and nothing else gains little by it.
func room(data []byte, mark string) int {
	return min(bytes.Count(data, []byte(mark)), len(data)/32, maxEntries)
}

// packageEntry reads one member of `packages`, whose name was read last.
func (r *lockReader) packageEntry(where string) error {
	n, err := newNode(where, r.file, r.line())
	if err != nil {
		return err
	}
	if !n.has(isInstalled) {
		if r.directories++; r.directories > maxDirectories {
			return r.errorf("more than %d directories", maxDirectories)
		}
	}
	var edges []Edge
	var optionalPeers map[string]bool
	var bundle []string
	var bundleAll bool
	err = r.object("entry "+quoteShort(where), func(field string) (err error) {
		var f flags
		switch field {
		case "version":
			n.version, err = r.str(field, true)
		case "resolved":
			n.resolved, err = r.str(field, false)
		case "integrity":
			n.integrity, err = r.str(field, false)
		case "name":
			n.realName, err = r.str(field, true)
		case "link":
			f = isLink
		case "inBundle":
			f = isBundled
		case "dev":
			f = isDev
		case "optional":
			f = isOptional
		case "devOptional":
			f = isDevOptional
		case "peer":
			f = isPeer
		case "extraneous":
			f = isExtraneous
		case "hasInstallScript":
			f = hasScript
		case "dependencies":
			edges, err = r.deps(field, Prod, edges, false)
		case "devDependencies":
			edges, err = r.deps(field, Dev, edges, false)
		case "optionalDependencies":
			edges, err = r.deps(field, Optional, edges, false)
		case "peerDependencies":
			edges, err = r.deps(field, Peer, edges, false)
		case "peerDependenciesMeta":
			optionalPeers, err = r.peerMeta(false)
		case "bundleDependencies", "bundledDependencies":
			bundle, bundleAll, err = r.bundled()
		case "workspaces":
			if where == "" {
				r.workspaces, err = r.workspacePatterns(&manifest{})
			} else {
				err = r.skip()
			}
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
	if err != nil {
		return err
	}
	markOptionalPeers(edges, optionalPeers)
	if n.has(isInstalled) {
		// Installed packages do not install their devDependencies.
		kept := edges[:0]
		for _, e := range edges {
			if e.Kind != Dev {
				kept = append(kept, e)
			}
		}
		edges = kept
	}
	if bundle = bundleNames(bundle, bundleAll, edges); len(bundle) > 0 {
		r.bundles[where] = bundle
	}
	n.setEdges(edges)
	if err := r.count(r.line(), len(edges)); err != nil {
		return err
	}
	if where == "" {
		r.packages[0], r.rootSeen = n, true
		return nil
	}
	r.packages = append(r.packages, n)
	return nil
}

// legacyMember reads one member of a version 1 `dependencies`, whose name was read last.
func (r *lockReader) legacyMember(name string, above int32, depth int) error {
	if depth > maxNesting {
		return r.errorf("dependencies are nested too deeply")
	}
	at := int32(len(r.legacy))
	n := node{path: name, line: int32(r.line()), link: notLink}
	r.legacy, r.above = append(r.legacy, n), append(r.above, above)
	err := r.object("entry "+quoteShort(name), func(field string) (err error) {
		var f flags
		switch field {
		case "version":
			n.version, err = r.str(field, true)
		case "resolved":
			n.resolved, err = r.str(field, false)
		case "integrity":
			n.integrity, err = r.str(field, false)
		case "bundled":
			f = isBundled
		case "dev":
			f = isDev
		case "optional":
			f = isOptional
		case "devOptional":
			f = isDevOptional
		case "peer":
			f = isPeer
		case "extraneous":
			f = isExtraneous
		case "requires":
			if r.peek() != jsontext.KindBeginObject {
				return r.skip()
			}
			n.edges, err = r.deps(field, Prod, n.edges, false)
		case "dependencies":
			if r.peek() == jsontext.KindNull {
				return r.skip()
			}
			err = r.members(field, false, func(name string) error { return r.legacyMember(name, at, depth+1) })
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
	if err != nil {
		return err
	}
	if err := r.count(r.line(), len(n.edges)); err != nil {
		return err
	}
	n.setEdges(n.edges)
	n.takeVersion()
	r.legacy[at] = n
	return nil
}

// takeVersion sorts out a version 1 entry's `version`, which may be an alias, a repository, a tarball
// address or a directory instead of a version.
// Source: npm/cli, workspaces/arborist/lib/shrinkwrap.js, #metaFromLock, and spec-from-lock.js.
func (n *node) takeVersion() {
	if npm.CheckVersion(n.version) == nil {
		return
	}
	kind, alias := parseSpec(n.version)
	switch {
	case alias != "":
		_, version := splitSpec(strings.TrimSpace(n.version)[len("npm:"):])
		n.realName, n.version = alias, version
	case kind == specRegistry:
		// Neither a version nor a place: classify refuses it.
	default:
		// npm does not look at resolved then.
		n.resolved, n.version = n.version, ""
		n.flags |= isFrom
	}
}

// linkedDirectory returns the directory that a version 1 entry links to, relative to the root.
func (n *node) linkedDirectory() (string, bool) {
	dir, ok := strings.CutPrefix(n.resolved, "file:")
	if !ok || !n.has(isFrom) || dir == "" || dir[0] == '/' || isTarball(dir) {
		return "", false
	}
	dir = path.Clean(dir)
	return dir, dir != "."
}

// placeLegacy gives version 1 entries their locations.
func (r *lockReader) placeLegacy() ([]node, error) {
	var directories []node
	inner := make([]string, len(r.legacy)) // per entry: the directory that what is nested in it belongs to
	targets := make(map[string]bool)
	for i := range r.legacy {
		l := &r.legacy[i]
		dir := ""
		if above := r.above[i]; above >= 0 {
			dir = inner[above]
		}
		where := joinPath(dir, nodeModules+"/"+l.path)
		// Locations are not in the file but made of all the names above.
		if err := r.spend(int(l.line), len(where)); err != nil {
			return nil, err
		}
		n, err := newNode(where, r.file, int(l.line))
		if err == nil && (!n.has(isInstalled) || n.name() != l.path) {
			err = &FormatError{r.file, int(l.line), quoteShort(l.path) + " is not a package name"}
		}
		if err != nil {
			return nil, err
		}
		l.path, l.nameAt, l.flags = n.path, n.nameAt, l.flags|n.flags
		inner[i] = where
		if target, ok := l.linkedDirectory(); ok {
			t, err := newNode(target, r.file, int(l.line))
			if err != nil {
				return nil, err
			}
			if !targets[target] {
				targets[target] = true
				t.edges = l.edges
				directories = append(directories, t)
			}
			l.flags |= isLink
			l.resolved, l.edges = target, nil
			l.flags &^= isFrom
			inner[i] = target
		}
	}
	return append(r.legacy, directories...), nil
}

// compareHalves compares the `dependencies` that npm 6 reads with the `packages` that npm 7 and later
// read: what reviewers and machines see must not depend on the half they look at.
func (t *tree) compareHalves(legacy []node) {
	for i := range legacy {
		l := &legacy[i]
		if !l.has(isInstalled) {
			continue
		}
		j := t.find(l.path)
		if j < 0 {
			t.warn(l, "halves-differ", true, "%s stands only in the dependencies that npm 6 reads", quoteShort(l.path))
			continue
		}
		n := &t.nodes[j]
		same := n.version == l.version && n.packageName() == l.packageName() && n.integrity == l.integrity && n.resolved == l.resolved
		switch {
		case n.has(isLink) || l.has(isLink):
			same = n.has(isLink) == l.has(isLink)
		case l.has(isFrom):
			// From elsewhere. The halves spell directories and repositories in different ways.
			same = n.resolved == l.resolved || resolvedKind(n.resolved) != specURL && resolvedKind(n.resolved) == resolvedKind(l.resolved)
		}
		if !same {
			t.warn(l, "halves-differ", true, "%s is %s in packages (line %d) but %s in the dependencies that npm 6 reads",
				quoteShort(l.path), describeEntry(n), n.line, describeEntry(l))
		}
	}
}

func describeEntry(n *node) string {
	return quoteShort(strings.TrimSpace(n.packageName() + "@" + n.version + " " + n.resolved + " " + n.integrity))
}

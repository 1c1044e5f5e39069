package inventory

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strings"
)

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
	if b.locators[0] != "" {
		b.compareLocked(root)
	} else {
		root.flags |= onDisk
	}
	found, err := b.findWorkspaces(true)
	if err != nil {
		return err
	}
	byVersion := make(map[int32]bool) // what something asks for in another way than as a part of the project
	for key, i := range b.keys {
		if _, spec := splitSpec(key); !strings.HasPrefix(spec, "workspace:") {
			byVersion[i] = true
		}
	}
	sets := map[string]*workspaceSet{"": newWorkspaceSet(b.root.workspaces)}
	for dir, m := range found {
		if len(m.workspaces) > 0 {
			sets[dir] = newWorkspaceSet(m.workspaces)
		}
	}
	work := 0
	for i := 1; i < len(b.t.nodes); i++ {
		n := &b.t.nodes[i]
		if n.has(isInstalled | onDisk) {
			continue
		}
		m := found[n.path]
		if m == nil {
			listed := listedWorkspace(n.path, sets, &work)
			if work > maxRuleWork {
				return &FormatError{"package.json", 1, "too many workspace patterns for the workspaces that the lockfile lists"}
			}
			if odd := byVersion[int32(i)]; odd || !listed {
				what := "is a workspace to the lockfile, but not to package.json"
				if odd {
					what = "stands in the lockfile for what is asked for by version, but is no workspace that can be seen: yarn takes no notice and installs what the registry has"
				}
				b.t.warn(n, "workspace-unlisted", odd, "%s %s", quoteShort(n.path), what)
				continue
			}
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

// listedWorkspace reports whether the patterns of the project, or of a workspace above it, name a directory. work grows
// by the patterns that were looked at.
func listedWorkspace(dir string, sets map[string]*workspaceSet, work *int) bool {
	for i := len(dir) - 1; i >= 0; i-- {
		above, below := "", dir
		if i > 0 {
			if dir[i] != '/' {
				continue
			}
			above, below = dir[:i], dir[i+1:]
		}
		if set := sets[above]; set != nil {
			if *work += 1 + len(set.globs); set.match(below) {
				return true
			}
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
	for name, added := range b.added {
		// What the lockfile does not list is none that counts: it holds few of many.
		b.added[name] = slices.DeleteFunc(added, func(e Edge) bool { return b.lookUp(b.keys, e.Name, "@npm:", e.Spec) < 0 })
	}
	work := 0
	for i := range b.t.nodes {
		n := &b.t.nodes[i]
		added := b.added[n.packageName()]
		if len(added) == 0 || !n.has(isInstalled) {
			continue
		}
		if work += len(added) + len(n.edges); work > maxAllEdges {
			b.t.warnings = append(b.t.warnings, Warning{Code: "settings-unreadable", Message: "it has too many packageExtensions for names that the lockfile is full of, and the rest is left out", File: file, Doubtful: true})
			return
		}
		has := make(map[string]bool, len(n.edges)+len(added))
		for _, e := range n.edges {
			has[e.Name] = true
		}
		edges := slices.Clone(n.edges)
		for _, e := range added {
			if !has[e.Name] {
				has[e.Name] = true
				edges = append(edges, e)
			}
		}
		n.setEdges(edges)
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

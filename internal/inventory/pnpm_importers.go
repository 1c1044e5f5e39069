package inventory

import (
	"cmp"
	"fmt"
	"path"
	"slices"
	"strings"

	"assay/internal/npm"
)

// A pnpmDep is one dependency of an importer as the lockfile has it.
type pnpmDep struct {
	name, spec, ref string
	kind            EdgeKind
	tool            bool // of pnpm itself
	at              yamlValue
}

// readDeps reads the dependencies of an importer. Since version 6 each has its specifier beside it, before they
// stand in one place.
func (r *pnpmReader) readDeps(im *pnpmImporter) ([]pnpmDep, error) {
	var specifiers map[string]string
	var deps []pnpmDep
	for k, v := range im.value.members() {
		kind, tool := Prod, false
		switch k.text() {
		case "dependencies":
		case "devDependencies":
			kind = Dev
		case "optionalDependencies":
			kind = Optional
		case "configDependencies", "packageManagerDependencies":
			tool = true
		case "specifiers":
			if err := v.expect(yamlMap, "specifiers"); err != nil {
				return nil, err
			}
			specifiers = make(map[string]string)
			for k, v := range v.members() {
				spec, err := v.str("specifier")
				if err != nil {
					return nil, err
				}
				specifiers[k.text()] = spec
			}
			continue
		default:
			continue
		}
		if err := v.expect(yamlMap, k.text()); err != nil {
			return nil, err
		}
		for k, v := range v.members() {
			d := pnpmDep{name: k.text(), kind: kind, tool: tool, at: k}
			var err error
			if v.kind() == yamlMap {
				for k, v := range v.members() {
					switch k.text() {
					case "specifier":
						d.spec, err = v.str("specifier")
					case "version":
						d.ref, err = v.str("version")
					}
					if err != nil {
						return nil, err
					}
				}
			} else if d.ref, err = v.str("version"); err != nil {
				return nil, err
			}
			if len(deps) == maxEdges {
				return nil, r.errorf(k, "more than %d dependencies in one place", maxEdges)
			}
			deps = append(deps, d)
		}
	}
	for i := range deps {
		if d := &deps[i]; d.spec == "" {
			d.spec = specifiers[d.name]
		}
	}
	return deps, r.count(im.value.line(), 0, len(deps))
}

// markImporters says which directories are part of the project, and how their packages are named.
func (r *pnpmReader) markImporters() error {
	p := r.project
	if p.globs != nil {
		for _, dir := range p.members {
			if _, ok := r.dirs[dir]; ok {
				continue
			}
			n, err := newNode(dir, r.file, 0)
			if err != nil {
				return err
			}
			if err := r.count(1, 1, 0); err != nil {
				return err
			}
			r.dirs[dir] = int32(len(r.t.nodes))
			r.t.nodes = append(r.t.nodes, n)
			r.t.warn(&r.t.nodes[len(r.t.nodes)-1], "workspace-unlisted", false, "%s belongs to the workspace, but the lockfile does not list what it uses", quoteShort(dir))
			r.imports = append(r.imports, pnpmImporter{doc: r.docs[len(r.docs)-1], id: dir, node: r.dirs[dir]})
		}
	}
	for dir, at := range r.dirs {
		n := &r.t.nodes[at]
		if m := p.manifests[dir]; m != nil {
			n.realName, n.version = m.name, m.version
		}
		if dir == "" {
			continue
		}
		if n.set(isWorkspace, p.member(dir)); !n.has(isWorkspace) {
			r.t.warn(n, "importer-unknown", false, "%s is an importer of the lockfile, but no part of the workspace that can be seen", quoteShort(dir))
		}
	}
	// What another package of the workspace links to may be a directory inside an importer.
	for i := range r.imports {
		im := &r.imports[i]
		if im.value.y == nil {
			continue
		}
		if v, ok := im.value.get("publishDirectory"); ok && v.kind() < yamlMap {
			if where := path.Join(r.t.nodes[im.node].path, v.text()); where != "." {
				if _, ok := r.dirs[where]; !ok {
					r.dirs[where] = im.node
				}
			}
		}
	}
	return nil
}

// linkImporters makes the edges of the projects.
func (r *pnpmReader) linkImporters() error {
	last := r.docs[len(r.docs)-1]
	edges := make(map[int32][]Edge)
	for i := range r.imports {
		im := &r.imports[i]
		var deps []pnpmDep
		if im.value.y != nil {
			var err error
			if deps, err = r.readDeps(im); err != nil {
				return err
			}
		}
		var tools, locked []pnpmDep
		for _, d := range deps {
			switch {
			case d.tool:
				tools = append(tools, d)
			case im.doc == last:
				locked = append(locked, d)
			default:
				r.t.warn(&r.t.nodes[im.node], "document-odd", true, "%s stands in the document for pnpm's own packages, where pnpm does not look for what the project uses", quoteShort(d.name))
			}
		}
		more, err := r.toolEdges(im, tools)
		if err != nil {
			return err
		}
		edges[im.node] = append(edges[im.node], more...)
		if im.doc != last {
			continue
		}
		n := &r.t.nodes[im.node]
		m := r.project.manifests[n.path]
		if m != nil && (im.node == 0 || n.has(isWorkspace)) {
			more, err = r.askedEdges(im, m, locked)
		} else {
			more, err = r.lockedEdges(im, locked)
		}
		if err != nil {
			return err
		}
		edges[im.node] = append(edges[im.node], more...)
	}
	done := make(map[int32]bool)
	for i := range r.imports {
		at := r.imports[i].node
		if at != 0 && !done[at] {
			done[at] = true
			n := &r.t.nodes[at]
			edges[0] = append(edges[0], Edge{Name: n.packageName(), Spec: "workspace:" + n.path, Kind: Workspace, To: int(at)})
		}
	}
	r.configEdges(edges)
	for at, list := range edges {
		sortEdges(list)
		r.t.nodes[at].edges = list
	}
	return nil
}

// toolEdges are those to pnpm itself and to the packages that it takes hooks and settings from: they run first of all.
func (r *pnpmReader) toolEdges(im *pnpmImporter, tools []pnpmDep) (edges []Edge, err error) {
	for _, d := range tools {
		to, err := r.target(im.doc, r.t.nodes[im.node].path, d.name, d.ref, d.at)
		if err != nil {
			return nil, err
		}
		e := Edge{Name: d.name, Spec: cmp.Or(d.spec, d.ref), To: int(to)}
		if to < 0 {
			e.To = Missing
		} else if !registrySpec(e.Spec) {
			e.Spec = r.t.nodes[to].version // nothing else can be asked for here
		}
		edges = append(edges, e)
	}
	return edges, nil
}

// configEdges adds the packages that pnpm-workspace.yaml lists with their integrity, as pnpm 10 does, unless the lockfile has them.
func (r *pnpmReader) configEdges(edges map[int32][]Edge) {
	if len(r.project.config) == 0 {
		return
	}
	listed := make(map[npm.ID]bool, len(edges[0]))
	for _, e := range edges[0] {
		if e.To >= 0 {
			listed[npm.ID{Name: e.Name, Version: r.t.nodes[e.To].version}] = true
		}
	}
	for _, c := range r.project.config {
		if listed[npm.ID{Name: c.name, Version: c.version}] {
			continue
		}
		e := Edge{Name: c.name, Spec: c.version, To: Missing}
		if c.integrity != "" && npm.CheckName(c.name) == nil && npm.CheckVersion(c.version) == nil {
			n := node{path: pnpmWorkspaceFile + "#" + c.name, realName: c.name, version: c.version, integrity: c.integrity, resolved: c.tarball,
				nameAt: noPlace, line: int32(c.line), link: notLink, flags: isInstalled | isConfig}
			e.To = len(r.t.nodes)
			r.t.nodes = append(r.t.nodes, n)
		}
		edges[0] = append(edges[0], e)
	}
}

// lockedEdges are the edges of an importer of which there is only the lockfile.
func (r *pnpmReader) lockedEdges(im *pnpmImporter, locked []pnpmDep) ([]Edge, error) {
	edges := make([]Edge, 0, len(locked))
	for _, d := range locked {
		e := Edge{Name: d.name, Kind: d.kind}
		e.Spec = r.wanted(im, d.name, cmp.Or(d.spec, d.ref))
		if err := r.aim(im, &e, &d); err != nil {
			return nil, err
		}
		edges = append(edges, e)
	}
	return edges, nil
}

// wanted is what a specifier of an importer asks for, without pnpm's own ways to say it.
func (r *pnpmReader) wanted(im *pnpmImporter, name, spec string) string {
	spec = r.project.catalog(name, spec, im.doc.catalogs)
	spec, _ = jsrSpec(name, spec)
	return spec
}

// aim sets the target of an importer's edge and looks whether it is what was asked for, as far as a path or a
// repository tells. The rest is the business of classify.
func (r *pnpmReader) aim(im *pnpmImporter, e *Edge, d *pnpmDep) error {
	dir := r.t.nodes[im.node].path
	to, err := r.target(im.doc, dir, d.name, d.ref, d.at)
	if err != nil {
		return err
	}
	if e.To = int(to); to < 0 {
		e.To = Missing
		return nil
	}
	n := &r.t.nodes[to]
	kind, alias := parseSpec(e.Spec)
	want := cmp.Or(alias, e.Name)
	wrong := ""
	switch {
	case n.has(isInstalled) && kind == specGit:
		if asked, got := hostedRepo(e.Spec), hostedRepo(n.resolved); asked != "" && got != "" && asked != got {
			r.t.warn(n, "resolved-differs", true, "%s is asked for as %s but resolved to %s", quoteShort(e.Name), quoteShort(e.Spec), quoteShort(n.resolved))
		}
	case n.has(isInstalled):
		if where, ok := specPath(dir, e.Spec); ok && kind == specFile && strings.HasPrefix(n.resolved, "file:") && where != strings.TrimPrefix(path.Clean(strings.TrimPrefix(n.resolved, "file:")), ".") {
			r.t.warn(n, "resolved-differs", true, "%s is asked for as %s but resolved to %s", quoteShort(e.Name), quoteShort(e.Spec), quoteShort(n.resolved))
		}
	// A directory.
	case kind == specRegistry:
		if !n.has(isWorkspace) || n.realName != "" && n.realName != want || to == 0 && n.realName == "" {
			wrong = "by version"
			n.resolved = "" // what lies there is no package of a registry all the same
		}
	case kind == specWorkspace:
		name, _ := splitSpec(strings.TrimPrefix(strings.TrimSpace(e.Spec), "workspace:"))
		where, byPath := path.Join(dir, name), strings.HasPrefix(name, ".")
		switch {
		case byPath && strings.TrimPrefix(where, ".") == n.path:
		case n.has(isWorkspace) && (n.realName == "" || n.realName == e.Name || n.realName == name):
		case to == 0 && (n.realName == e.Name || n.realName == name):
		default:
			wrong = "from the workspace"
		}
	case kind&(specLink|specFile) != 0:
		if where, ok := specPath(dir, e.Spec); ok && r.dirs[where] != to && where != n.path {
			wrong = "by path"
		}
	default:
		wrong = "from elsewhere"
	}
	if wrong != "" {
		r.t.warn(n, "link-unasked", true, "%s is asked for %s (%s) but is a link to %s, which holds %s", quoteShort(e.Name), wrong, quoteShort(e.Spec), quoteShort(cmp.Or(n.path, ".")), quoteShort(n.packageName()))
	}
	return nil
}

func lockedRank(k EdgeKind) int { return slices.Index([]EdgeKind{Optional, Prod, Dev}, k) }

// askedEdges are the edges of an importer by its package.json, with warnings where the lockfile was made for another one.
func (r *pnpmReader) askedEdges(im *pnpmImporter, m *manifest, locked []pnpmDep) ([]Edge, error) {
	// Of one name in several fields optional counts before prod before dev.
	slices.SortStableFunc(locked, func(a, b pnpmDep) int { return cmp.Compare(lockedRank(a.kind), lockedRank(b.kind)) })
	byName := make(map[string]*pnpmDep, len(locked))
	for i := range locked {
		d := &locked[i]
		if old := byName[d.name]; old != nil && (old.spec != d.spec || old.ref != d.ref) {
			return nil, r.errorf(d.at, "dependency %s occurs twice, see also line %d", quoteShort(d.name), old.at.line())
		}
		if byName[d.name] == nil {
			byName[d.name] = d
		}
	}
	at := im.node
	differ := func(name, lock, manifest string) {
		where := joinPath(r.t.nodes[at].path, "package.json")
		r.t.warn(&r.t.nodes[at], "out-of-sync", false, "the lockfile has %s as %s, %s has it as %s", quoteShort(name), lock, where, manifest)
	}
	describe := func(kind EdgeKind, spec string) string { return fmt.Sprintf("%s (%s)", quoteShort(spec), kind) }
	var own node
	own.setEdges(slices.Clone(m.edges))
	edges := make([]Edge, 0, len(own.edges))
	for _, e := range own.edges {
		rules := r.project.overrides[e.Name]
		d := byName[e.Name]
		delete(byName, e.Name)
		raw := e.Spec
		e.Spec = r.wanted(im, e.Name, raw)
		if d == nil {
			kind, _ := parseSpec(e.Spec)
			switch {
			case slices.Contains(rules, "-"), e.Kind == PeerOptional, e.Kind == Peer && !im.doc.autoPeers:
				continue
			case kind&(specLink|specWorkspace) != 0 && im.doc.noLinks:
				if where, ok := specPath(r.t.nodes[at].path, e.Spec); ok && kind == specLink {
					to, err := r.directory(cmp.Or(where, "."), "", e.Name, im.doc.value)
					if err != nil {
						return nil, err
					}
					e.To = int(to)
					edges = append(edges, e)
				}
				continue
			}
			if e.Kind == Prod || e.Kind == Dev {
				differ(e.Name, "nothing", describe(e.Kind, raw))
			}
			edges = append(edges, e)
			continue
		}
		switch {
		case slices.Contains(rules, d.spec) && d.spec != raw:
			e.Spec, _ = jsrSpec(e.Name, d.spec)
		case d.spec != raw && d.spec != e.Spec:
			differ(e.Name, describe(d.kind, d.spec), describe(e.Kind, raw))
		case d.kind != e.Kind && e.Kind != Peer && e.Kind != PeerOptional:
			differ(e.Name, describe(d.kind, d.spec), describe(e.Kind, raw))
		}
		if e.Kind == PeerOptional || e.Kind == Peer && d.kind != Prod {
			e.Kind = d.kind
		}
		if err := r.aim(im, &e, d); err != nil {
			return nil, err
		}
		edges = append(edges, e)
	}
	for i := range locked {
		d := &locked[i]
		if byName[d.name] != d {
			continue
		}
		if strings.HasPrefix(d.spec, "runtime:") && strings.HasPrefix(d.ref, "runtime:") {
			// Asked for by devEngines or engines.
			e := Edge{Name: d.name, Kind: d.kind, Spec: d.spec}
			if err := r.aim(im, &e, d); err != nil {
				return nil, err
			}
			edges = append(edges, e)
			continue
		}
		differ(d.name, describe(d.kind, d.spec), "nothing")
	}
	return edges, nil
}

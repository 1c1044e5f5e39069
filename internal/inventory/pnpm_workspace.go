package inventory

import (
	"cmp"
	"errors"
	"fmt"
	"io/fs"
	"path"
	"slices"
	"strings"

	"assay/internal/npm"

	"github.com/go-json-experiment/json/jsontext"
)

const pnpmWorkspaceFile = "pnpm-workspace.yaml"

// A pnpmProject is what the files beside a lockfile say that people wrote: pnpm-workspace.yaml and the
// package.json of each importer. Whoever may edit the lockfile only must not change what these ask for.
type pnpmProject struct {
	manifests map[string]*manifest // by directory; "" is the root
	workspace bool                 // pnpm-workspace.yaml was read
	globs     *workspaceSet
	catalogs  map[string]map[string]string
	overrides map[string][]string // names to what replaces them, "-" for nothing
	config    []pnpmConfigDep
	members   []string // directories that belong to the workspace, importers or not; sorted
}

// A pnpmConfigDep is one of the packages that pnpm takes settings and hooks from, before it installs anything else.
type pnpmConfigDep struct {
	name, version, integrity, tarball string
	line                              int
}

// pnpmProject reads what lies beside the lockfile. importers are the directories that it lists.
// Source: pnpm/pnpm, workspace/read-manifest/src/index.ts and https://pnpm.io/settings.
func (s *source) pnpmProject(t *tree, importers []string) (*pnpmProject, error) {
	p := &pnpmProject{manifests: make(map[string]*manifest), overrides: make(map[string][]string)}
	root, err := s.manifest("")
	if err != nil {
		return nil, err
	}
	if root != nil {
		s.files = append(s.files, "package.json")
		p.manifests[""] = root
		if err := p.readPackageFields(s); err != nil {
			return nil, err
		}
	}
	if err := p.readWorkspace(s, t); err != nil {
		return nil, err
	}
	for name, specs := range p.overrides {
		for i, spec := range specs {
			if ref, ok := cutReference(spec); ok && root != nil {
				specs[i] = specOf(root.edges, ref)
			}
			specs[i] = p.catalog(name, specs[i], nil)
		}
	}
	dirs := importers
	if p.globs != nil {
		if p.members, err = s.pnpmMembers(p.globs, t); err != nil {
			return nil, err
		}
		dirs = slices.Compact(slices.Sorted(slices.Values(append(slices.Clone(importers), p.members...))))
	}
	for _, dir := range dirs {
		if dir == "" {
			continue
		}
		m, err := s.manifest(dir)
		if err != nil {
			t.warn(&node{path: dir}, "manifest-unreadable", false, "%v", err)
			continue
		}
		if m != nil {
			s.files = append(s.files, joinPath(dir, "package.json"))
			p.manifests[dir] = m
		}
	}
	return p, nil
}

// readPackageFields reads pnpm.overrides and resolutions of the root's package.json.
func (p *pnpmProject) readPackageFields(s *source) error {
	data, err := s.readFile("package.json", maxManifest)
	if err != nil {
		return err
	}
	r := newJSONReader("package.json", data, true)
	rules := func(field string) error {
		edges, err := r.deps(field, Prod, nil, true)
		for _, e := range edges {
			p.override(e.Name, e.Spec)
		}
		return err
	}
	return r.object("the document", func(field string) error {
		switch {
		case field == "resolutions":
			return rules(field)
		case field == "pnpm" && r.peek() == jsontext.KindBeginObject:
			return r.object(field, func(field string) error {
				if field == "overrides" {
					return rules(field)
				}
				return r.skip()
			})
		}
		return r.skip()
	})
}

// override notes a rule such as "parent@1>child@^2": for whom it holds is left out.
func (p *pnpmProject) override(selector, spec string) {
	if i := strings.LastIndexByte(selector, '>'); i > 0 && !strings.ContainsAny(selector[i-1:i], "@ |") {
		selector = selector[i+1:]
	}
	if i := strings.LastIndex(selector, "**/"); i >= 0 {
		selector = selector[i+3:] // yarn's
	}
	name, _ := splitSpec(selector)
	p.overrides[name] = append(p.overrides[name], spec)
}

// readWorkspace reads pnpm-workspace.yaml, if there is one.
func (p *pnpmProject) readWorkspace(s *source, t *tree) error {
	data, err := s.readFile(pnpmWorkspaceFile, maxManifest)
	if err != nil {
		if _, ok := errors.AsType[*FormatError](err); ok {
			return err
		}
		return nil
	}
	s.files = append(s.files, pnpmWorkspaceFile)
	docs, err := parseYAML(pnpmWorkspaceFile, string(data))
	if err == nil {
		err = p.readSettings(docs)
	}
	if fe, ok := errors.AsType[*FormatError](err); ok {
		// People write this file: what pnpm may understand and Assay does not is no reason to say nothing at all.
		t.warnings = append(t.warnings, Warning{Code: "workspace-unreadable", Message: fmt.Sprintf("what %s asks for is not known: %s", pnpmWorkspaceFile, fe.Msg), File: pnpmWorkspaceFile, Line: fe.Line, Doubtful: true})
		p.workspace, p.globs, p.catalogs = false, nil, nil
		return nil
	}
	return err
}

func (p *pnpmProject) readSettings(docs []yamlValue) error {
	p.workspace = true
	var patterns []string
	for _, doc := range docs {
		if err := doc.expect(yamlMap, "the file"); err != nil {
			return err
		}
		for k, v := range doc.members() {
			switch field := k.text(); field {
			case "packages":
				if err := v.expect(yamlSeq, field); err != nil {
					return err
				}
				for v := range v.items() {
					pattern, err := v.str(field)
					if err != nil {
						return err
					}
					patterns = append(patterns, pattern)
				}
			case "catalog", "catalogs":
				if err := v.expect(yamlMap, field); err != nil {
					return err
				}
				if p.catalogs == nil {
					p.catalogs = make(map[string]map[string]string)
				}
				if field == "catalog" {
					one := make(map[string]string)
					for k, v := range v.members() {
						one[k.text()] = v.text()
					}
					p.catalogs["default"] = one
					continue
				}
				all, err := readCatalogs(v)
				if err != nil {
					return err
				}
				for name, one := range all {
					p.catalogs[name] = one
				}
			case "overrides":
				if err := v.expect(yamlMap, field); err != nil {
					return err
				}
				for k, v := range v.members() {
					spec, err := v.str(field)
					if err != nil {
						return err
					}
					p.override(k.text(), spec)
				}
			case "configDependencies":
				if err := v.expect(yamlMap, field); err != nil {
					return err
				}
				for k, v := range v.members() {
					p.config = append(p.config, configDep(k, v))
				}
			}
		}
	}
	if patterns != nil {
		p.globs = newWorkspaceSet(patterns)
	}
	return nil
}

// configDep reads one of configDependencies: "1.0.0", before pnpm 11 "1.0.0+sha512-…", or that as the integrity of a mapping.
func configDep(k, v yamlValue) pnpmConfigDep {
	c := pnpmConfigDep{name: k.text(), version: v.text(), line: k.line()}
	for k, v := range v.members() {
		switch k.text() {
		case "integrity":
			c.version = v.text()
		case "tarball":
			c.tarball = v.text()
		}
	}
	if version, integrity, ok := strings.Cut(c.version, "+"); ok && strings.HasPrefix(integrity, "sha") {
		c.version, c.integrity = version, integrity
	}
	return c
}

// pnpmMembers returns the directories below the project that patterns name and that have a package.json, without those that
// have a lockfile of their own.
// Source: pnpm/pnpm, fs/find-packages/src/index.ts.
func (s *source) pnpmMembers(globs *workspaceSet, t *tree) ([]string, error) {
	depth := 1
	for dir := range globs.literal {
		depth = max(depth, strings.Count(dir, "/")+1)
	}
	for _, g := range globs.globs {
		if g[0] == "!" {
			continue
		}
		if depth = max(depth, len(g)); slices.Contains(g, "**") {
			depth = maxSegments
		}
	}
	const maxSeen = 200_000
	seen := 0
	var found []string
	level := []string{""}
	for ; len(level) > 0 && depth > 0; depth-- {
		var next []string
		for _, dir := range level {
			entries, err := fs.ReadDir(s.fsys, cmp.Or(dir, "."))
			if err != nil {
				continue // nothing that pnpm could read either
			}
			if seen += len(entries); seen > maxSeen {
				t.warnings = append(t.warnings, Warning{Code: "workspaces-too-many", File: pnpmWorkspaceFile, Doubtful: true,
					Message: "there are too many directories to look for all that belong to the workspace"})
				return found, nil
			}
			for _, e := range entries {
				name := e.Name()
				if !e.IsDir() || name == nodeModules || name == "bower_components" || strings.HasPrefix(name, ".") {
					continue
				}
				sub := joinPath(dir, name)
				next = append(next, sub)
				if !globs.match(sub) {
					continue
				}
				if _, err := fs.Stat(s.fsys, sub+"/package.json"); err != nil {
					continue
				}
				if _, err := fs.Stat(s.fsys, sub+"/"+pnpmLockfile); err != nil {
					found = append(found, sub)
				}
			}
		}
		level = next
	}
	slices.Sort(found)
	return found, nil
}

// member reports whether a directory is part of the project by what people wrote. Without a package.json of the root
// there is only the lockfile to believe.
func (p *pnpmProject) member(dir string) bool {
	switch {
	case p.manifests[""] == nil || dir == "":
		return true
	case p.manifests[dir] == nil:
		return false
	case p.globs != nil:
		return p.globs.match(dir) || strings.HasPrefix(dir, "../")
	}
	return !p.workspace
}

// catalog resolves "catalog:" and "catalog:name" by pnpm-workspace.yaml, or where there is none by the lockfile's copy.
// What neither has asks for any version.
func (p *pnpmProject) catalog(name, spec string, locked map[string]map[string]string) string {
	which, ok := strings.CutPrefix(strings.TrimSpace(spec), "catalog:")
	if !ok {
		return spec
	}
	which = cmp.Or(strings.TrimSpace(which), "default")
	if p.catalogs != nil {
		locked = nil
	}
	for _, all := range []map[string]map[string]string{p.catalogs, locked} {
		if found := all[which][name]; found != "" && !strings.HasPrefix(found, "catalog:") {
			return found
		}
	}
	return ""
}

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
	for _, c := range r.project.config {
		if slices.ContainsFunc(edges[0], func(e Edge) bool { return e.Name == c.name && e.To >= 0 && r.t.nodes[e.To].version == c.version }) {
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

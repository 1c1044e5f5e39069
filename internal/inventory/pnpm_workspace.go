package inventory

import (
	"cmp"
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"strings"

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
	patches   []resolution        // patchedDependencies: "name", "name@1.0.0" or "name@^1.0.0" to a patch file
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
	var asked map[string]string
	if root != nil {
		asked = specsByName(root.edges)
	}
	for name, specs := range p.overrides {
		for i, spec := range specs {
			if ref, ok := cutReference(spec); ok && root != nil {
				specs[i] = asked[ref]
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

// readPackageFields reads resolutions and pnpm's field of the root's package.json.
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
				switch field {
				case "overrides":
					return rules(field)
				case "patchedDependencies":
					edges, err := r.deps(field, Prod, nil, true)
					for _, e := range edges {
						p.patches = append(p.patches, resolution{e.Name, e.Spec})
					}
					return err
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
			case "patchedDependencies":
				if err := v.expect(yamlMap, field); err != nil {
					return err
				}
				for k, v := range v.members() {
					p.patches = append(p.patches, resolution{k.text(), v.text()})
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

package inventory

import (
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"slices"
	"strconv"
	"strings"

	"github.com/go-json-experiment/json/jsontext"
)

// A manifest is what a package.json says, as far as it matters here.
type manifest struct {
	name, version string
	edges         []Edge
	bundle        []string
	bundleAll     bool // bundleDependencies: true
	workspaces    []string
	overrides     map[string][]string          // names to what replaces them, however deep the rule is nested
	resolutions   []resolution                 // of yarn and bun, in the file's order
	optionals     []string                     // names that dependenciesMeta marks as optional, as yarn 2 and later take it
	catalogs      map[string]map[string]string // of bun: specifiers by name; the default catalog is ""
	script        bool                         // has a script that runs on installation
	manager       string                       // name of the package manager that packageManager, else devEngines, demands
	resolved      string                       // _resolved, which npm 6 and older wrote into installed packages
}

// A resolution replaces what is asked for: by a name, or by a path of names or patterns that ends in it.
type resolution struct{ pattern, spec string }

// deps reads a field such as "dependencies": names to specifiers.
func (r *jsonReader) deps(field string, kind EdgeKind, edges []Edge, lenient bool) ([]Edge, error) {
	if k := r.peek(); k == jsontext.KindNull || lenient && k != jsontext.KindBeginObject {
		return edges, r.skip()
	}
	err := r.object(field, func(name string) error {
		if lenient && r.peek() != jsontext.KindString {
			return r.skip()
		}
		if k := r.peek(); k != jsontext.KindString {
			return r.unexpected(k, field+" of "+quoteShort(name), "a string")
		}
		spec, err := r.str(field, true)
		if err != nil {
			return err
		}
		if edges = append(edges, Edge{Name: name, Spec: spec, Kind: kind, To: Missing}); len(edges) > maxEdges {
			return r.errorf("more than %d dependencies in one place", maxEdges)
		}
		return nil
	})
	return edges, err
}

// peerMeta reads peerDependenciesMeta: the names that are optional.
func (r *jsonReader) peerMeta(lenient bool) (map[string]bool, error) {
	optional := make(map[string]bool)
	if k := r.peek(); k == jsontext.KindNull || lenient && k != jsontext.KindBeginObject {
		return nil, r.skip()
	}
	err := r.object("peerDependenciesMeta", func(name string) error {
		if k := r.peek(); k != jsontext.KindBeginObject {
			return r.skip()
		}
		return r.object("peerDependenciesMeta", func(field string) error {
			if field == "optional" && r.peek() == jsontext.KindTrue {
				optional[name] = true
			}
			return r.skip()
		})
	})
	return optional, err
}

// markOptionalPeers turns peer edges into peerOptional ones.
func markOptionalPeers(edges []Edge, optional map[string]bool) {
	for i := range edges {
		if edges[i].Kind == Peer && optional[edges[i].Name] {
			edges[i].Kind = PeerOptional
		}
	}
}

// bundled reads bundleDependencies: names, or true for all.
func (r *jsonReader) bundled() (names []string, all bool, err error) {
	switch r.peek() {
	case jsontext.KindTrue:
		return nil, true, r.skip()
	case jsontext.KindBeginArray:
		names, err = r.strings("bundleDependencies")
		return names, false, err
	default:
		return nil, false, r.skip()
	}
}

// strings reads an array and keeps its strings.
func (r *jsonReader) strings(what string) ([]string, error) {
	var list []string
	err := r.array(what, func() error {
		if r.peek() != jsontext.KindString {
			return r.skip()
		}
		s, err := r.str(what, true)
		if list = append(list, s); len(list) > maxEntries {
			return r.errorf("%s has more than %d elements", what, maxEntries)
		}
		return err
	})
	return list, err
}

// workspacePatterns reads `workspaces`: an array of patterns, or an object that has one as `packages`, and with bun
// catalogs beside it.
func (r *jsonReader) workspacePatterns(m *manifest) (patterns []string, err error) {
	switch r.peek() {
	case jsontext.KindBeginArray:
		return r.strings("workspaces")
	case jsontext.KindBeginObject:
		err = r.object("workspaces", func(field string) error {
			if field == "packages" && r.peek() == jsontext.KindBeginArray {
				var err error
				patterns, err = r.strings("workspaces")
				return err
			}
			switch field {
			case "catalog":
				return r.catalog(m, "")
			case "catalogs":
				return r.namedCatalogs(m)
			}
			return r.skip()
		})
		return patterns, err
	default:
		return nil, r.skip()
	}
}

// overrideRules collects the rules of `overrides`, whose nesting says where they apply: that is left
// out, since it matters only whether the project itself names a replacement.
func (r *jsonReader) overrideRules(m *manifest, above string, depth int) error {
	return r.object("overrides", func(key string) error {
		name, _ := splitSpec(key)
		if key == "." {
			name = above
		}
		switch r.peek() {
		case jsontext.KindString:
			spec, err := r.str("overrides", true)
			if m.overrides == nil {
				m.overrides = make(map[string][]string)
			}
			m.overrides[name] = append(m.overrides[name], spec)
			if len(m.overrides) > maxEntries {
				return r.errorf("more than %d overrides", maxEntries)
			}
			return err
		case jsontext.KindBeginObject:
			if depth >= maxNesting {
				return r.errorf("overrides are nested too deeply")
			}
			return r.overrideRules(m, name, depth+1)
		default:
			return r.skip()
		}
	})
}

// parseManifest reads a package.json. What is odd in it is left out as npm does when it normalises a
// manifest; only what is no JSON object is an error.
func parseManifest(file string, data []byte) (*manifest, error) {
	r := newJSONReader(file, data, true)
	m := &manifest{}
	var optionalPeers map[string]bool
	var engines []string
	lenientString := func(to *string) error {
		if r.peek() != jsontext.KindString {
			return r.skip()
		}
		s, err := r.str("", true)
		*to = s
		return err
	}
	err := r.object("the document", func(field string) (err error) {
		switch field {
		case "name":
			err = lenientString(&m.name)
		case "version":
			err = lenientString(&m.version)
		case "_resolved":
			err = lenientString(&m.resolved)
		case "packageManager":
			var s string
			if err = lenientString(&s); s != "" {
				m.manager, _ = splitSpec(s)
			}
		case "devEngines":
			engines, err = r.devEngines()
		case "dependencies":
			m.edges, err = r.deps(field, Prod, m.edges, true)
		case "devDependencies":
			m.edges, err = r.deps(field, Dev, m.edges, true)
		case "optionalDependencies":
			m.edges, err = r.deps(field, Optional, m.edges, true)
		case "peerDependencies":
			m.edges, err = r.deps(field, Peer, m.edges, true)
		case "peerDependenciesMeta":
			optionalPeers, err = r.peerMeta(true)
		case "bundleDependencies", "bundledDependencies":
			m.bundle, m.bundleAll, err = r.bundled()
		case "workspaces":
			m.workspaces, err = r.workspacePatterns(m)
		case "catalog":
			err = r.catalog(m, "")
		case "catalogs":
			err = r.namedCatalogs(m)
		case "overrides":
			if r.peek() != jsontext.KindBeginObject {
				return r.skip()
			}
			err = r.overrideRules(m, "", 0)
		case "resolutions":
			var list []Edge
			list, err = r.deps(field, Prod, nil, true)
			for _, e := range list {
				m.resolutions = append(m.resolutions, resolution{e.Name, e.Spec})
			}
		case "dependenciesMeta":
			var optional map[string]bool
			optional, err = r.peerMeta(true)
			m.optionals = slices.Sorted(maps.Keys(optional))
		case "scripts":
			if r.peek() != jsontext.KindBeginObject {
				return r.skip()
			}
			err = r.object(field, func(name string) error {
				switch name {
				case "preinstall", "install", "postinstall":
					m.script = true
				}
				return r.skip()
			})
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
	markOptionalPeers(m.edges, optionalPeers)
	if m.manager == "" && len(engines) > 0 {
		m.manager = engines[0]
		if slices.Contains(engines, "npm") {
			m.manager = "npm" // one of several that may be used
		}
	}
	m.manager = strings.ToLower(strings.TrimSpace(m.manager))
	return m, nil
}

// devEngines reads the names of the package managers that devEngines allows: one object, or a list of them.
// Source: npm/cli, docs/lib/content/configuring-npm/package-json.md, devEngines.
func (r *jsonReader) devEngines() (names []string, err error) {
	engine := func() error {
		if r.peek() != jsontext.KindBeginObject {
			return r.skip()
		}
		return r.object("devEngines", func(field string) error {
			if field != "name" || r.peek() != jsontext.KindString {
				return r.skip()
			}
			s, err := r.str("devEngines", true)
			names = append(names, s)
			return err
		})
	}
	if r.peek() != jsontext.KindBeginObject {
		return nil, r.skip()
	}
	err = r.object("devEngines", func(field string) error {
		switch {
		case field != "packageManager":
			return r.skip()
		case r.peek() == jsontext.KindBeginArray:
			return r.array("devEngines", engine)
		}
		return engine()
	})
	return names, err
}

// bundleNames are the names that a manifest bundles.
func bundleNames(names []string, all bool, edges []Edge) []string {
	if !all {
		return names
	}
	for _, e := range edges {
		if e.Kind == Prod || e.Kind == Optional {
			names = append(names, e.Name)
		}
	}
	return names
}

// setBundle notes the bundleDependencies of a node.
func (t *tree) setBundle(where string, names []string) {
	if t.bundles == nil {
		t.bundles = make(map[string][]string)
	}
	delete(t.bundles, where)
	if len(names) > 0 {
		t.bundles[where] = names
	}
}

// manifest reads the package.json in a directory of the project; nil if there is none that can be read.
func (s *source) manifest(dir string) (*manifest, error) {
	file := joinPath(dir, "package.json")
	if !fs.ValidPath(file) {
		return nil, nil // above the project
	}
	data, err := s.readFile(file, maxManifest)
	if err != nil {
		if _, ok := errors.AsType[*FormatError](err); ok {
			return nil, err
		}
		return nil, nil
	}
	return parseManifest(file, data)
}

// joinPath joins a directory, "" for the root, and what is in it.
func joinPath(dir, name string) string {
	if dir == "" {
		return name
	}
	return dir + "/" + name
}

// useManifests replaces what the file says about the project's own directories by what their
// package.json says today, as npm does: an attacker who may edit the lockfile only must not change what
// was asked for.
func (t *tree) useManifests(s *source) error {
	root := &t.nodes[0]
	m, err := s.manifest("")
	if err != nil {
		return err
	}
	if m != nil {
		s.files = append(s.files, "package.json")
		locked := root.edges
		if m.name != "" {
			root.realName = m.name
		}
		if m.version != "" {
			root.version = m.version
		}
		root.edges = nil
		root.setEdges(m.edges)
		asked := specsByName(root.edges)
		for name, specs := range m.overrides {
			for i, spec := range specs {
				if ref, ok := cutReference(spec); ok {
					specs[i] = asked[ref]
				}
			}
			m.overrides[name] = specs
		}
		if t.rootKnown && !t.legacy {
			t.compareRoot(locked, root.edges)
		}
		t.setBundle("", bundleNames(m.bundle, m.bundleAll, root.edges))
		t.workspaces, t.overrides, t.rootKnown = m.workspaces, m.overrides, true
	}
	for i := 1; i < len(t.nodes); i++ {
		n := &t.nodes[i]
		if n.has(isInstalled | isLink | onDisk) {
			continue
		}
		m, err := s.manifest(n.path)
		if err != nil {
			t.warn(n, "manifest-unreadable", false, "%v", err)
			continue
		}
		if m == nil {
			continue
		}
		s.files = append(s.files, joinPath(n.path, "package.json"))
		if m.name != "" {
			n.realName = m.name
		}
		if m.version != "" {
			n.version = m.version
		}
		t.setBundle(n.path, bundleNames(m.bundle, m.bundleAll, m.edges))
		n.setEdges(m.edges)
	}
	return nil
}

// cutReference cuts the $ of an override that refers to a direct dependency of the root.
func cutReference(spec string) (string, bool) {
	if len(spec) > 1 && spec[0] == '$' {
		return spec[1:], true
	}
	return "", false
}

// specsByName are the specifiers of dependencies; of one name the first counts.
func specsByName(edges []Edge) map[string]string {
	specs := make(map[string]string, len(edges))
	for _, e := range edges {
		if _, ok := specs[e.Name]; !ok {
			specs[e.Name] = e.Spec
		}
	}
	return specs
}

// checkOverrides makes sure that looking at the overrides of a name for each place and each edge that has it is not
// too much work.
func (t *tree) checkOverrides() error {
	if len(t.overrides) == 0 {
		return nil
	}
	work := 0
	for i := range t.nodes {
		n := &t.nodes[i]
		work += len(t.overrides[n.name()])
		for j := range n.edges {
			work += len(t.overrides[n.edges[j].Name])
		}
	}
	if work > maxRuleWork {
		return &FormatError{"package.json", 1, "too many overrides of names that the lockfile is full of"}
	}
	return nil
}

// compareRoot warns where the lockfile's copy of the root manifest is not what package.json says.
func (t *tree) compareRoot(locked, asked []Edge) {
	root := &t.nodes[0]
	was := make(map[string]Edge, len(locked))
	for _, e := range locked {
		was[e.Name] = e
	}
	differ := func(name, lock, manifest string) {
		t.warn(root, "out-of-sync", false, "the lockfile has %s as %s, package.json has it as %s", quoteShort(name), lock, manifest)
	}
	describe := func(e Edge) string { return fmt.Sprintf("%s (%s)", strconv.Quote(e.Spec), e.Kind) }
	for _, e := range asked {
		old, ok := was[e.Name]
		delete(was, e.Name)
		if !ok {
			differ(e.Name, "nothing", describe(e))
		} else if old.Spec != e.Spec || old.Kind != e.Kind {
			differ(e.Name, describe(old), describe(e))
		}
	}
	for _, e := range locked {
		if _, ok := was[e.Name]; ok {
			differ(e.Name, describe(e), "nothing")
		}
	}
}

package inventory

import (
	"cmp"
	"fmt"
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

// param returns one of the parameters, decoded; "" where there is none. As in the query of an address its name may be
// written in other ways, too, and yarn understands them. What yarn does not write, and would not take for what is
// understood here, is an error.
func (r *berryReference) param(name string) (value string, err error) {
	found := false
	for p := range strings.SplitSeq(r.params, "&") {
		key, v, _ := strings.Cut(p, "=")
		if key, err = url.QueryUnescape(key); err != nil {
			return "", fmt.Errorf("its parameters: %w", err)
		}
		if key != name {
			continue
		}
		if value, err = url.QueryUnescape(v); err != nil {
			return "", fmt.Errorf("its parameter %s: %w", name, err)
		}
		if found || value == "" {
			return "", fmt.Errorf("its parameter %s is empty or occurs twice", name)
		}
		found = true
	}
	return value, nil
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
		if classicHeader(line) {
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

// classicHeader reports whether yarn 2 and later read a file with such a line among its first comments by the grammar
// of yarn 1.
// Source: yarnpkg/berry, packages/yarnpkg-parsers/sources/syml.ts, LEGACY_REGEXP.
func classicHeader(line string) bool {
	words := strings.Fields(strings.ToLower(strings.TrimPrefix(line, "#")))
	return slices.Equal(words, []string{"yarn", "lockfile", "v1"})
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
		_, inner, _ := strings.Cut(reference, "#")
		r = parseReference(inner)
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
		var err error
		if n.resolved, err = r.param("__archiveUrl"); err != nil {
			return fail("resolution %s: %v", quoteShort(resolution), err)
		}
	case "patch:":
		base, err := url.PathUnescape(r.source)
		if err != nil {
			return fail("resolution %s: %v", quoteShort(resolution), err)
		}
		n.flags |= isLink
		n.resolved = base
		asker, err := r.param("locator")
		if err != nil {
			return fail("resolution %s: %v", quoteShort(resolution), err)
		}
		b.patches = append(b.patches, berryPatch{node: int32(len(b.t.nodes)), files: r.selector, asker: asker})
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
	if strings.Trim(key.text(), " ") != key.text() {
		return key.errorf("%s begins or ends with a blank, which makes another name of it to yarn", quoteShort(key.text()))
	}
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
		if own, _ := splitSpec(b.locators[i]); !b.t.nodes[i].has(isInstalled) && r.protocol != "workspace:" {
			// A workspace is taken where something asks for it by version. Where its name is another yarn takes no notice
			// of the entry, and installs what it likes.
			_, alias := parseSpec(bareRange(spec))
			if asked := cmp.Or(alias, name); asked != own {
				return key.errorf("%s leads to %s, a directory of the project with another name", quoteShort(d), quoteShort(b.locators[i]))
			}
		}
		locator, err := r.param("locator")
		if err != nil {
			return key.errorf("%s: %v", quoteShort(d), err)
		}
		if locator != "" {
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

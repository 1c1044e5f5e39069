package inventory

import (
	"cmp"
	"fmt"
	"path"
	"slices"
	"strconv"
	"strings"
)

const (
	kindPnpm     = "pnpm"
	pnpmLockfile = "pnpm-lock.yaml"

	maxPatched  = 100 // versions of one package that one patch is for
	packageCost = 300 // bytes of memory for an entry of packages beside its snapshots, at most
)

// readPnpmLock reads pnpm-lock.yaml of lockfileVersion 5 to 9, and what pnpm-workspace.yaml and the
// package.json files of the importers ask for.
// Source: pnpm/pnpm, lockfile/types/src/index.ts and lockfile/fs/src/lockfileFormatConverters.ts.
func readPnpmLock(s *source, file string) (*tree, error) {
	data, err := s.readFile(file, maxFile)
	if err != nil {
		return nil, err
	}
	s.files = append(s.files, file)
	r, err := newPnpmReader(file, string(data))
	if err != nil {
		return nil, err
	}
	data = nil
	if err := r.readDocuments(); err != nil {
		return nil, err
	}
	if r.project, err = s.pnpmProject(r.t, r.importerNames()); err != nil {
		return nil, err
	}
	if err := r.link(); err != nil {
		return nil, err
	}
	r.notePatches(s)
	return r.finish(), nil
}

// A pnpmReader makes a tree of a lockfile: first a node for each entry and importer, in the file's order,
// then the edges.
type pnpmReader struct {
	file    string
	text    string
	values  []yamlValue // documents
	t       *tree
	docs    []*pnpmDoc
	project *pnpmProject
	dirs    map[string]int32 // importers, and directories that links lead to
	imports []pnpmImporter
	// nameless are nodes whose name the file does not tell, until something asks for one by a name.
	nameless map[int32]bool

	entries, edges, cost int
	key                  []byte // scratch
}

// A pnpmDoc is one document of the file.
type pnpmDoc struct {
	major    int // that tells how keys are written
	version  int // lockfileVersion, without what follows the point
	value    yamlValue
	packages map[string]*pnpmPackage // without peers
	index    map[string]int32        // nodes by key
	snaps    []pnpmSnap
	catalogs map[string]map[string]string // of the file: catalog, name, specifier

	autoPeers, noLinks bool // settings autoInstallPeers and excludeLinksFromLockfile
	patched, pnpmfile  yamlValue
}

// A pnpmPackage is what the lockfile says of one package, whichever peers it has.
type pnpmPackage struct {
	pnpmKey
	resolved, integrity string
	directory           string // for a directory: relative to the project
	kind                string // resolution's type
	line                int
	used                bool // some snapshot is of this package
	nameless            bool // the name is a guess
	script              bool
	peersOf             yamlValue
	peers               map[string]bool // names in peerDependencies, once asked for
}

// A pnpmSnap is one package with its peers.
type pnpmSnap struct {
	node  int32
	of    *pnpmPackage
	value yamlValue
}

// A pnpmImporter is one project of a workspace.
type pnpmImporter struct {
	node  int32
	doc   *pnpmDoc
	id    string
	value yamlValue
}

func newPnpmReader(file, text string) (*pnpmReader, error) {
	values, err := parseYAML(file, text)
	if err != nil {
		return nil, err
	}
	r := &pnpmReader{file: file, text: text, values: values, t: &tree{file: file, linked: true, rootKnown: true}, dirs: make(map[string]int32)}
	if strings.HasPrefix(text, "\ufeff") {
		r.t.warnings = append(r.t.warnings, Warning{Code: "byte-order-mark", Message: "begins with a byte order mark", File: file, Line: 1})
	}
	if len(values) > 0 {
		r.cost = len(text) + 12*int(values[0].y.count)
	}
	r.t.nodes = []node{{line: 1, link: notLink}}
	r.dirs[""] = 0
	return r, nil
}

func (r *pnpmReader) errorf(v yamlValue, format string, args ...any) error {
	return &FormatError{r.file, v.line(), fmt.Sprintf(format, args...)}
}

// count counts an entry and its edges towards the limits on all of them, and accounts for memory.
func (r *pnpmReader) count(line, entries, edges int) error {
	if r.entries += entries; r.entries > maxEntries {
		return &FormatError{r.file, line, fmt.Sprintf("more than %d entries", maxEntries)}
	}
	if len(r.dirs) > maxDirectories {
		return &FormatError{r.file, line, fmt.Sprintf("more than %d directories", maxDirectories)}
	}
	if r.edges += edges; r.edges > maxAllEdges {
		return &FormatError{r.file, line, fmt.Sprintf("more than %d dependencies", maxAllEdges)}
	}
	if r.cost += entries*entryCost + edges*edgeCost; r.cost > 16*len(r.text)+maxFloor {
		return &FormatError{r.file, line, "too many entries for the size of the file"}
	}
	return nil
}

// readDocuments makes a node of each package and of each importer.
func (r *pnpmReader) readDocuments() error {
	for _, v := range r.values {
		if v.isNull() && len(r.values) > 1 {
			continue
		}
		if v.kind() != yamlMap {
			return r.errorf(v, "the lockfile must be a mapping, not %s", v.describe())
		}
		d := &pnpmDoc{value: v, packages: make(map[string]*pnpmPackage), index: make(map[string]int32)}
		if err := r.readVersion(d); err != nil {
			return err
		}
		r.docs = append(r.docs, d)
		if err := r.readDocument(d); err != nil {
			return err
		}
	}
	if len(r.docs) == 0 {
		return &FormatError{r.file, 1, "is empty"}
	}
	if err := r.checkDocuments(); err != nil {
		return err
	}
	r.t.version = r.docs[len(r.docs)-1].version
	return nil
}

// checkDocuments makes sure that pnpm takes the same document for the project's. It does not look for documents as YAML
// has them, but for a first line "---", and the next one; what is between them is for pnpm's own packages.
// Source: pnpm/pnpm, lockfile/fs/src/yamlDocuments.ts.
func (r *pnpmReader) checkDocuments() error {
	text := strings.TrimPrefix(r.text, "\ufeff")
	marked := strings.HasPrefix(text, "---\n") || strings.HasPrefix(text, "---\r\n")
	switch {
	case len(r.values) == 1 && !marked:
		return nil
	case len(r.values) == 1:
		// Since version 11 this is no project's.
		for _, im := range r.imports {
			if im.value.y == nil {
				continue
			}
			for k, v := range im.value.members() {
				switch k.text() {
				case "dependencies", "devDependencies", "optionalDependencies":
					return r.errorf(v, `stands in a document that begins with "---", and pnpm takes the first of these for its own packages`)
				}
			}
		}
		return nil
	case len(r.values) > 2:
		return r.errorf(r.values[2], "is a third document, and pnpm reads two")
	case !marked:
		return r.errorf(r.values[1], `is a second document, but the file does not begin with "---": pnpm does not read it`)
	}
	rest := text[len("---"):]
	if i := strings.Index(rest[2:], "\n---\n"); i < 0 && !strings.Contains(rest[2:], "\n---\r\n") {
		return r.errorf(r.values[1], `does not begin with a line "---" that pnpm would find`)
	}
	return nil
}

// readVersion reads lockfileVersion: 5.4, '6.0', '9.0', 5.4-inlineSpecifiers.
func (r *pnpmReader) readVersion(d *pnpmDoc) error {
	v, ok := d.value.get("lockfileVersion")
	if !ok || v.isNull() {
		return r.errorf(d.value, "has no lockfileVersion; supported are 5, 6, 7 and 9")
	}
	text := strings.TrimSuffix(v.text(), "-inlineSpecifiers")
	major, minor, _ := strings.Cut(text, ".")
	n, err := strconv.Atoi(major)
	if _, err2 := strconv.Atoi(cmp.Or(minor, "0")); err != nil || err2 != nil || v.kind() >= yamlMap || !slices.Contains([]int{5, 6, 7, 9}, n) {
		return r.errorf(v, "lockfileVersion %s is not supported; supported are 5, 6, 7 and 9", v.describe())
	}
	d.major, d.version = n, n
	if n == 7 {
		d.major = 9 // what pnpm 9 wrote before its release: keys as in version 9
	}
	return nil
}

func (r *pnpmReader) readDocument(d *pnpmDoc) error {
	var snapshots, packages yamlValue
	hasSnapshots := false
	single := pnpmImporter{doc: d, id: ".", value: d.value}
	hasImporters := false
	for k, v := range d.value.members() {
		var err error
		switch field := k.text(); field {
		case "importers":
			hasImporters = true
			if err = v.expect(yamlMap, field); err == nil {
				err = r.readImporters(d, v)
			}
		case "packages":
			packages, err = v, v.expect(yamlMap, field)
		case "snapshots":
			snapshots, hasSnapshots, err = v, true, v.expect(yamlMap, field)
		case "settings":
			if err = v.expect(yamlMap, field); err == nil {
				err = d.readSettings(v)
			}
		case "catalogs":
			if err = v.expect(yamlMap, field); err == nil {
				d.catalogs, err = readCatalogs(v)
			}
		case "patchedDependencies":
			d.patched, err = v, v.expect(yamlMap, field)
		case "pnpmfileChecksum":
			d.pnpmfile = v
		}
		if err != nil {
			return err
		}
	}
	if !hasImporters {
		r.imports = append(r.imports, single)
	}
	if packages.y != nil {
		for k, v := range packages.members() {
			p, err := r.readPackage(d, k, v)
			if err != nil {
				return err
			}
			if len(d.packages) == maxEntries {
				return r.errorf(k, "more than %d entries", maxEntries)
			}
			r.cost += packageCost
			id := k.text()
			if d.major >= 9 {
				d.packages[id] = p
			} else if err := r.addSnapshot(d, p, k, v); err != nil {
				return err
			}
		}
	}
	if d.major < 9 {
		if hasSnapshots {
			return r.errorf(snapshots, "has snapshots, which lockfileVersion %d does not have", d.major)
		}
		return nil
	}
	if hasSnapshots {
		for k, v := range snapshots.members() {
			if err := r.readSnapshot(d, k, v); err != nil {
				return err
			}
		}
	}
	// Nothing leads to what has no snapshot, but the file lists it.
	if packages.y != nil {
		for k, v := range packages.members() {
			p := d.packages[k.text()]
			if p.used {
				continue
			}
			if !hasSnapshots {
				// Written before pnpm 9 was released: version 7 has all in one.
				if err := r.addSnapshot(d, p, k, v); err != nil {
					return err
				}
				continue
			}
			if err := r.addSnapshot(d, p, k, yamlValue{}); err != nil {
				return err
			}
		}
	}
	return nil
}

func (d *pnpmDoc) readSettings(v yamlValue) (err error) {
	for k, v := range v.members() {
		switch k.text() {
		case "autoInstallPeers":
			d.autoPeers, err = v.boolean(k.text())
		case "excludeLinksFromLockfile":
			d.noLinks, err = v.boolean(k.text())
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// readCatalogs reads the catalogs of a lockfile, name to {specifier, version}, or of pnpm-workspace.yaml, name to specifier.
func readCatalogs(v yamlValue) (map[string]map[string]string, error) {
	all := make(map[string]map[string]string)
	for k, v := range v.members() {
		if err := v.expect(yamlMap, "catalog"); err != nil {
			return nil, err
		}
		one := make(map[string]string)
		for k, v := range v.members() {
			if v.kind() == yamlMap {
				v, _ = v.get("specifier")
				if v.y == nil {
					continue
				}
			}
			spec, err := v.str("catalog")
			if err != nil {
				return nil, err
			}
			one[k.text()] = spec
		}
		all[k.text()] = one
	}
	return all, nil
}

// plainKey makes sure that a key can be shown and compared.
func (r *pnpmReader) plainKey(k yamlValue) (string, error) {
	key := k.text()
	if key == "" {
		return "", r.errorf(k, "has an entry without a name")
	}
	for _, c := range key {
		if c < ' ' || 0x7f <= c && c < 0xa0 || 0x202a <= c && c <= 0x202e || 0x2066 <= c && c <= 0x2069 {
			return "", r.errorf(k, "entry %s has a control character", quoteShort(key))
		}
	}
	return key, nil
}

// readPackage reads an entry of `packages`.
func (r *pnpmReader) readPackage(d *pnpmDoc, k, v yamlValue) (*pnpmPackage, error) {
	key, err := r.plainKey(k)
	if err != nil {
		return nil, err
	}
	if err := v.expect(yamlMap, "entry "+quoteShort(key)); err != nil {
		return nil, err
	}
	p := &pnpmPackage{pnpmKey: parsePnpmKey(key, d.major), line: k.line()}
	name, version := "", ""
	var resolution yamlValue
	for k, v := range v.members() {
		switch field := k.text(); field {
		case "name":
			name, err = v.str(field)
		case "version":
			version, err = v.str(field)
		case "resolution":
			resolution, err = v, v.expect(yamlMap, field)
		case "requiresBuild":
			p.script, err = v.boolean(field)
		case "peerDependencies":
			p.peersOf, err = v, v.expect(yamlMap, field)
		}
		if err != nil {
			return nil, err
		}
	}
	// pnpm takes these fields for what the key says, but fetches what the key says.
	if p.from == "" && (name != "" && name != p.name || version != "" && version != p.version) {
		return nil, r.errorf(k, "entry %s says that it is %s", quoteShort(key), quoteShort(cmp.Or(name, p.name)+"@"+cmp.Or(version, p.version)))
	}
	p.version = cmp.Or(p.version, version)
	if p.name == "" || d.major < 9 && name != "" {
		p.name = name
	}
	if p.name == "" && p.from != "" {
		from, _, _ := strings.Cut(p.from, "#")
		p.name = path.Base(strings.TrimSuffix(strings.TrimPrefix(from, "file:"), ".git"))
		p.nameless = true
	}
	if err := r.readResolution(d, p, resolution); err != nil {
		return nil, err
	}
	return p, nil
}

// readResolution reads where a package is fetched from.
// Source: pnpm/pnpm, resolving/resolver-base/src/index.ts.
func (r *pnpmReader) readResolution(d *pnpmDoc, p *pnpmPackage, v yamlValue) error {
	var tarball, registry, directory, repo, commit, address string
	if v.y != nil {
		for k, v := range v.members() {
			var to *string
			switch k.text() {
			case "integrity":
				to = &p.integrity
			case "type":
				to = &p.kind
			case "tarball":
				to = &tarball
			case "registry":
				to = &registry
			case "directory":
				to = &directory
			case "repo":
				to = &repo
			case "commit":
				to = &commit
			case "url":
				to = &address
			default:
				continue
			}
			var err error
			if *to, err = v.str("resolution's " + k.text()); err != nil {
				return err
			}
		}
	}
	if p.kind == "" && directory == "" && tarball == "" && strings.HasPrefix(p.from, "file:") && !isTarball(p.from) {
		p.kind, directory = "directory", strings.TrimPrefix(p.from, "file:")
	}
	switch {
	case p.kind == "directory":
		p.directory, p.resolved = directory, "file:"+directory
	case p.kind == "git":
		p.resolved = repo + "#" + commit
		if kind, _ := parseSpec(repo); kind != specGit || strings.HasPrefix(repo, "http") {
			p.resolved = "git+" + p.resolved
		}
	case p.kind == "binary" && address != "":
		p.resolved = address
	case p.kind != "" && p.from == "":
		p.resolved = p.kind + ":" + p.name + "@" + p.version
	case p.kind != "":
		// Of several variants the one for the machine is taken, and only that has an address.
	case tarball == "":
		if p.from != "" {
			p.resolved = p.from
			if !strings.HasPrefix(p.from, "file:") {
				p.resolved = ""
			}
			break
		}
		switch {
		case registry != "":
			p.resolved = pnpmTarball(registry, p.name, p.version)
		case p.registry != "" && d.major < 9:
			p.resolved = pnpmTarball("https://"+p.registry, p.name, p.version)
		}
	default:
		p.resolved = tarball
		if d.major < 9 && p.from == "" && !strings.Contains(tarball, ":") {
			// Relative to the registry.
			if base := cmp.Or(registry, "https://"+p.registry); base != "https://" {
				p.resolved = strings.TrimSuffix(base, "/") + "/" + strings.TrimPrefix(tarball, "/")
			} else if "/"+strings.TrimPrefix(tarball, "/") == pnpmTarball("", p.name, p.version) {
				p.resolved = ""
			}
		}
	}
	return nil
}

// readSnapshot reads an entry of `snapshots`.
func (r *pnpmReader) readSnapshot(d *pnpmDoc, k, v yamlValue) error {
	key, err := r.plainKey(k)
	if err != nil {
		return err
	}
	if err := v.expect(yamlMap, "snapshot "+quoteShort(key)); err != nil {
		return err
	}
	id, _ := cutPeers(key)
	p := d.packages[id]
	if p == nil {
		p = &pnpmPackage{pnpmKey: parsePnpmKey(key, d.major), line: k.line()}
		if err := r.readResolution(d, p, yamlValue{}); err != nil {
			return err
		}
		d.packages[id] = p
	}
	p.used = true
	return r.addSnapshot(d, p, k, v)
}

// addSnapshot adds the node of a package with its peers.
func (r *pnpmReader) addSnapshot(d *pnpmDoc, p *pnpmPackage, k, v yamlValue) error {
	if err := r.count(k.line(), 1, 0); err != nil {
		return err
	}
	n := node{
		path: k.text(), realName: p.name, version: p.version, resolved: p.resolved, integrity: p.integrity,
		nameAt: noPlace, line: int32(p.line), link: notLink, flags: isInstalled,
	}
	n.set(hasScript, p.script)
	n.set(isFrom, p.from != "")
	at := int32(len(r.t.nodes))
	d.index[n.path] = at
	r.t.nodes = append(r.t.nodes, n)
	d.snaps = append(d.snaps, pnpmSnap{at, p, v})
	if p.nameless {
		if r.nameless == nil {
			r.nameless = make(map[int32]bool)
		}
		r.nameless[at] = true
	}
	if p.from == "" && p.kind != "" {
		r.t.warn(&r.t.nodes[at], "resolution-odd", true, "%s is a version of a registry's package but fetched as %s (%s)", quoteShort(n.path), quoteShort(p.kind), quoteShort(p.resolved))
	}
	return nil
}

// readImporters makes a node of each project of the workspace.
func (r *pnpmReader) readImporters(d *pnpmDoc, v yamlValue) error {
	for k, v := range v.members() {
		if err := v.expect(yamlMap, "importer "+quoteShort(k.text())); err != nil {
			return err
		}
		if err := r.count(k.line(), 1, 0); err != nil {
			return err
		}
		id := k.text()
		im := pnpmImporter{doc: d, id: id, value: v}
		where := strings.TrimSuffix(id, "/")
		if where == "." {
			where = ""
		}
		if where != "" {
			if at, ok := r.dirs[where]; ok {
				im.node = at
			} else {
				n, err := newNode(where, r.file, k.line())
				if err != nil {
					return err
				}
				if n.has(isInstalled) {
					return r.errorf(k, "importer %s lies in node_modules", quoteShort(where))
				}
				im.node = int32(len(r.t.nodes))
				r.dirs[where] = im.node
				r.t.nodes = append(r.t.nodes, n)
			}
		} else if r.t.nodes[0].line == 1 {
			r.t.nodes[0].line = int32(k.line())
		}
		r.imports = append(r.imports, im)
	}
	return nil
}

func (r *pnpmReader) importerNames() []string {
	var names []string
	for where := range r.dirs {
		names = append(names, where)
	}
	slices.Sort(names)
	return names
}

package inventory

import (
	"cmp"
	"encoding/base64"
	"encoding/hex"
	"fmt"
	"maps"
	"path"
	"slices"
	"strings"

	"assay/internal/npm"

	"github.com/go-json-experiment/json/jsontext"
)

// readClassic reads the yarn.lock of yarn 1. The format looks like YAML and is none. What is accepted here is
// what yarn writes; its own reader is laxer, and lays down the rest of a file without a word after an empty line
// in an entry.
// Source: yarnpkg/yarn, src/lockfile/parse.js, stringify.js and index.js.
func (y *yarnLock) readClassic(text string) error {
	if err := y.readManifests(); err != nil {
		return err
	}
	if y.root != nil {
		for _, r := range y.root.resolutions {
			y.addClassicRule(r)
		}
		y.useManifest(&y.t.nodes[0], y.root)
		y.t.nodes[0].flags |= onDisk
	}
	y.t.repeats = true
	if err := y.parseClassic(text); err != nil {
		return err
	}
	if y.root != nil && len(y.root.workspaces) > 0 {
		found, err := y.findWorkspaces(false)
		if err != nil {
			return err
		}
		for _, dir := range slices.Sorted(maps.Keys(found)) {
			m := found[dir]
			if m.name == "" || m.version == "" {
				y.t.warnings = append(y.t.warnings, Warning{Code: "workspace-unnamed", File: joinPath(dir, "package.json"),
					Message: fmt.Sprintf("%s has no name or no version, so yarn does not take it for a workspace", quoteShort(dir))})
				continue
			}
			if err := y.addWorkspace(dir, m); err != nil {
				return err
			}
		}
	}
	if y.mirrored > 0 {
		y.t.warnings = append(y.t.warnings, Warning{Code: "offline-mirror", File: y.t.file,
			Message: fmt.Sprintf("%d entries come from yarn's offline mirror and do not say from which registry", y.mirrored)})
	}
	return y.link(y.classicTarget)
}

// addClassicRule takes in one of the resolutions: "left", "**/left", "a/left", "a/**/left".
// Source: yarnpkg/yarn, src/resolution-map.js and src/util/parse-package-path.js.
func (y *yarnLock) addClassicRule(r resolution) {
	if strings.HasSuffix(r.pattern, "/") || strings.HasSuffix(r.pattern, "*") || strings.Contains(r.pattern, "//") {
		return // yarn warns, and leaves it out
	}
	segments := splitNames(r.pattern)
	if len(segments) == 1 {
		segments = []string{"**", segments[0]}
	}
	name := segments[len(segments)-1]
	y.addRule(name, yarnRule{spec: r.spec, path: segments})
	y.replacements[name+"@"+r.spec] = true
}

// splitNames splits a path of package names, scopes kept.
func splitNames(p string) []string {
	var names []string
	for _, s := range strings.Split(p, "/") {
		if k := len(names) - 1; k >= 0 && strings.HasPrefix(names[k], "@") && !strings.Contains(names[k], "/") {
			names[k] += "/" + s
			continue
		}
		names = append(names, s)
	}
	return names
}

// A classicEntry is one block of the file.
type classicEntry struct {
	keys                               []string
	name, version, resolved, integrity string
	edges                              []Edge
	line                               int
	fields                             []string // that were read, to find duplicates
	prebuilt                           bool     // it names files to be installed in the place of what is resolved
}

// parseClassic reads the blocks.
func (y *yarnLock) parseClassic(text string) error {
	p := &classicParser{y: y, file: y.t.file}
	for len(text) > 0 {
		line, rest, _ := strings.Cut(text, "\n")
		text = rest
		p.line++
		if err := p.take(strings.TrimSuffix(line, "\r")); err != nil {
			return err
		}
	}
	return p.endEntry()
}

type classicParser struct {
	y     *yarnLock
	file  string
	line  int
	entry classicEntry
	open  bool   // an entry is being read
	block string // the field whose block is being read: "dependencies"; "" for none
}

func (p *classicParser) errorf(format string, args ...any) error {
	return &FormatError{p.file, p.line, fmt.Sprintf(format, args...)}
}

// take reads one line.
func (p *classicParser) take(line string) error {
	body := strings.TrimLeft(line, " ")
	indent := len(line) - len(body)
	switch {
	case indent > 0 && (body == "" || body[0] == '#'):
		return p.errorf("is indented and empty or a comment, where yarn may stop reading the file")
	case body == "":
		return p.endEntry()
	case body[0] == '#':
		if version, ok := strings.CutPrefix(strings.TrimSpace(body[1:]), "yarn lockfile v"); ok && version != "1" && strings.Trim(version, "0123456789") == "" {
			return p.errorf("yarn lockfile v%s is not supported; supported is v1", quoteShort(version))
		}
		return p.endEntry()
	case strings.HasPrefix(line, "<<<<<<<"), strings.HasPrefix(line, "======="), strings.HasPrefix(line, ">>>>>>>"), strings.HasPrefix(line, "|||||||"):
		return p.errorf("has unresolved merge conflicts")
	case indent == 0:
		if err := p.endEntry(); err != nil {
			return err
		}
		return p.takeKeys(body)
	case !p.open:
		return p.errorf("is indented, but belongs to no entry")
	case indent == 2:
		return p.takeField(body)
	case indent == 4 && p.block != "":
		return p.takeMember(body)
	}
	return p.errorf("is indented by %d spaces, which does not fit here", indent)
}

// token reads a string, and what follows it.
func (p *classicParser) token(s string) (value, rest string, quoted bool, err error) {
	if s == "" {
		return "", "", false, p.errorf("ends too early")
	}
	if s[0] == '"' {
		end := 1
		for end < len(s) && s[end] != '"' {
			if s[end] == '\\' {
				end++
			}
			end++
		}
		if end >= len(s) {
			return "", "", false, p.errorf("has a quote that does not end")
		}
		value, rest = s[1:end], s[end+1:]
		if strings.IndexByte(value, '\\') >= 0 {
			b, err := jsontext.AppendUnquote(nil, s[:end+1])
			if err != nil {
				return "", "", false, p.errorf("not a valid string: %v", err)
			}
			value = string(b)
		}
		return value, rest, true, nil
	}
	if c := s[0]; !isLetter(c) && c != '/' && c != '.' && c != '-' {
		return "", "", false, p.errorf("has %q where a string must be", c)
	}
	end := strings.IndexAny(s, ": ,")
	if end < 0 {
		end = len(s)
	}
	switch value = s[:end]; {
	case strings.HasPrefix(value, "true"), strings.HasPrefix(value, "false"):
		return "", "", false, p.errorf("has %s without quotes where a string must be", quoteShort(value))
	case strings.ContainsAny(value, `"\[]`):
		return "", "", false, p.errorf("has %s without quotes", quoteShort(value))
	}
	return value, s[end:], false, nil
}

// takeKeys reads the line that begins an entry: descriptors, separated by commas.
func (p *classicParser) takeKeys(s string) error {
	p.entry = classicEntry{line: p.line, keys: p.entry.keys[:0], fields: p.entry.fields[:0], edges: p.entry.edges[:0]}
	for {
		key, rest, _, err := p.token(s)
		if err != nil {
			return err
		}
		if key == "" {
			return p.errorf("has an empty key")
		}
		if key == "__metadata" {
			return p.errorf("has __metadata as yarn 2 and later write it, but not in their form")
		}
		p.entry.keys = append(p.entry.keys, key)
		if len(p.entry.keys) > maxAllEdges {
			return p.errorf("more than %d descriptors", maxAllEdges)
		}
		if err := p.y.spend(p.line, 16); err != nil {
			return err
		}
		more, isMore := strings.CutPrefix(rest, ",")
		switch {
		case isMore:
			s = strings.TrimLeft(more, " ")
		case strings.TrimRight(rest, " ") == ":":
			p.open = true
			return nil
		default:
			return p.errorf("%s is not followed by a colon at the end of the line", quoteShort(key))
		}
	}
}

// takeField reads a field of an entry.
func (p *classicParser) takeField(s string) error {
	field, rest, _, err := p.token(s)
	if err != nil {
		return err
	}
	if slices.Contains(p.entry.fields, field) && field != "dependencies" && field != "optionalDependencies" {
		return p.errorf("duplicate %s: readers disagree about which one counts", quoteShort(field))
	}
	if p.entry.fields = append(p.entry.fields, field); len(p.entry.fields) > 100 {
		return p.errorf("has more than 100 fields")
	}
	p.entry.prebuilt = p.entry.prebuilt || field == "prebuiltVariants"
	p.block = ""
	if strings.TrimRight(rest, " ") == ":" {
		switch field {
		case "name", "version", "resolved", "integrity", "uid", "registry":
			return p.errorf("%s must be a string", field)
		}
		p.block = field
		return nil
	}
	value, err := p.value(field, rest)
	switch field {
	case "name":
		p.entry.name = value
	case "version":
		p.entry.version = value
	case "resolved":
		p.entry.resolved = value
	case "integrity":
		p.entry.integrity = value
	case "dependencies", "optionalDependencies":
		if err == nil {
			return p.errorf("%s must be a block", field)
		}
	}
	return err
}

// value reads what stands behind a name and fills the line.
func (p *classicParser) value(name, rest string) (string, error) {
	s := strings.TrimLeft(strings.TrimPrefix(rest, ":"), " ")
	if s == rest || s == "" {
		return "", p.errorf("%s has no value", quoteShort(name))
	}
	switch s {
	case "true", "false":
		return s, nil // in permissions
	}
	if strings.Trim(s, "0123456789") == "" {
		return s, nil
	}
	value, rest, _, err := p.token(s)
	if err == nil && strings.TrimRight(rest, " ") != "" {
		err = p.errorf("something follows the value of %s", quoteShort(name))
	}
	return value, err
}

// takeMember reads a line of a block in an entry, such as one dependency.
func (p *classicParser) takeMember(s string) error {
	name, rest, _, err := p.token(s)
	if err != nil {
		return err
	}
	value, err := p.value(name, rest)
	if err != nil {
		return err
	}
	kind := Prod
	switch p.block {
	case "dependencies":
	case "optionalDependencies":
		kind = Optional
	default:
		return nil
	}
	if p.entry.edges = append(p.entry.edges, Edge{Name: name, Spec: value, Kind: kind, To: Missing}); len(p.entry.edges) > maxEdges {
		return p.errorf("more than %d dependencies in one place", maxEdges)
	}
	return nil
}

// endEntry takes the entry in that was read.
func (p *classicParser) endEntry() error {
	if !p.open {
		return nil
	}
	p.open, p.block = false, ""
	e := &p.entry
	slices.SortFunc(e.edges, func(a, b Edge) int {
		return cmp.Or(strings.Compare(a.Name, b.Name), cmp.Compare(a.Kind, b.Kind), strings.Compare(a.Spec, b.Spec))
	})
	// bun writes several blocks of dependencies in one entry; yarn takes the last, here they are joined.
	e.edges = slices.Compact(e.edges)
	for i := 1; i < len(e.edges); i++ {
		if a, b := &e.edges[i-1], &e.edges[i]; a.Name == b.Name && a.Kind == b.Kind {
			return &FormatError{p.file, e.line, fmt.Sprintf("duplicate dependency %s: readers disagree about which one counts", quoteShort(a.Name))}
		}
	}
	return p.y.addClassic(e)
}

// addClassic adds the nodes of an entry. Descriptors that ask for the same package share one; those that do
// not have one each, so that what was put in the place of another is seen.
func (y *yarnLock) addClassic(e *classicEntry) error {
	fail := func(format string, args ...any) error {
		return &FormatError{y.t.file, e.line, fmt.Sprintf(format, args...)}
	}
	if e.version == "" {
		return fail("%s has no version", quoteShort(e.keys[0]))
	}
	slices.Sort(e.keys)
	real := make([]string, len(e.keys)) // names of the packages
	order := make([]int, len(e.keys))
	named := e.name == ""
	var replaced map[string]string
	if len(y.replacements) > 0 && len(e.keys) > 1 {
		replaced = make(map[string]string)
		for _, key := range e.keys {
			if name, spec := splitSpec(key); y.replacements[key] {
				replaced[name] = spec
			}
		}
	}
	for i, key := range e.keys {
		real[i], order[i] = classicName(key, e, replaced), i
		name, _ := splitSpec(key)
		named = named || e.name == name || e.name == real[i]
	}
	slices.SortFunc(order, func(a, b int) int { return cmp.Or(strings.Compare(real[a], real[b]), cmp.Compare(a, b)) })
	for len(order) > 0 {
		// The first descriptor is the place in the tree: it does not depend on the order in the file.
		first := order[0]
		count, kinds := 0, specKind(0)
		for count < len(order) && real[order[count]] == real[first] {
			kinds |= classicKind(e.keys[order[count]])
			count++
		}
		n, err := newKeyNode(e.keys[first], real[first], e.line)
		if err != nil && (kinds&specRegistry != 0 || oddText(n.path) != "") {
			return fail("%v", err)
		}
		n.version, n.resolved, n.integrity = e.version, e.resolved, e.integrity
		n.setEdges(slices.Clone(e.edges))
		if kinds == specRegistry && !named {
			y.t.warn(&n, "name-differs", true, "%s is named %s, which nothing asks for by that name", quoteShort(n.path), quoteShort(e.name))
		}
		if e.prebuilt {
			y.t.warn(&n, "prebuilt", true, "%s has prebuiltVariants: yarn may install a file of its offline mirror in the place of what is resolved", quoteShort(n.path))
		}
		y.placeClassic(&n, kinds)
		at, err := y.add(n)
		if err != nil {
			return err
		}
		for _, i := range order[:count] {
			key := e.keys[i]
			if old, ok := y.keys[key]; ok {
				// bun writes such files. Both are listed; what yarn installs is the last.
				y.t.warn(&y.t.nodes[old], "duplicate-entry", false, "%s stands here and on line %d, which counts", quoteShort(key), e.line)
				delete(y.keys, key)
			}
			if err := y.addKey(key, e.line, at); err != nil {
				return err
			}
		}
		order = order[count:]
	}
	return nil
}

// classicName is the real name of what a descriptor of an entry asks for. Where a resolution applies, yarn lists what
// was asked for beside what it gets: replaced are those of the entry, by name.
func classicName(key string, e *classicEntry, replaced map[string]string) string {
	name, spec := splitSpec(key)
	if npm.CheckName(name) != nil && e.name != "" {
		return e.name // an address without a name, as old versions wrote it
	}
	if to, ok := replaced[name]; ok {
		spec = to
	}
	if _, alias := parseSpec(spec); alias != "" {
		return alias
	}
	return name
}

// classicKind says where a descriptor asks for something.
func classicKind(key string) specKind {
	name, spec := splitSpec(key)
	if npm.CheckName(name) != nil {
		spec = key
	}
	kind, _ := parseSpec(spec)
	return kind
}

// placeClassic makes of `resolved` what it means: an address, and behind # the SHA-1 of the tarball, which is the
// integrity of an entry that has no other. kinds says how the node is asked for.
func (y *yarnLock) placeClassic(n *node, kinds specKind) {
	address, sum, _ := strings.Cut(n.resolved, "#")
	if raw, err := hex.DecodeString(sum); err == nil && len(raw) == 20 && !strings.HasPrefix(address, "git") && resolvedKind(address)&(specURL|specFile) != 0 {
		n.resolved = address
		if n.integrity == "" {
			n.integrity = "sha1-" + base64.StdEncoding.EncodeToString(raw)
		}
	}
	if kinds&specRegistry == 0 {
		if n.resolved == "" {
			_, n.resolved = splitSpec(n.path) // file: and link: have nothing but the descriptor
		}
		return
	}
	if n.resolved == "" {
		if kinds == specRegistry {
			y.t.warn(n, "resolved-missing", true, "%s has no resolved: yarn takes no notice of such an entry and installs what the registry has by then", quoteShort(n.path))
		}
		return
	}
	if n.resolved == mirrorName(n.realName, n.version) {
		// A file of yarn's offline mirror, named as yarn names those of the registry: it says nothing of where it is from.
		n.resolved = ""
		y.mirrored++
	}
}

// mirrorName is the file name of a registry's tarball in yarn's offline mirror.
// Source: yarnpkg/yarn, src/fetchers/tarball-fetcher.js, getTarballMirrorPath.
func mirrorName(name, version string) string {
	file := path.Base(name) + "-" + version + ".tgz"
	if scope, _, ok := strings.Cut(name, "/"); ok {
		return scope + "-" + file
	}
	return file
}

// classicTarget finds what yarn installs for an edge.
func (y *yarnLock) classicTarget(from int32, e *Edge) int32 {
	if from == 0 {
		// yarn looks for the bare name first, for the root's own dependencies.
		if i := y.lookUp(y.keys, e.Name); i >= 0 {
			return i
		}
	}
	likely := int32(Missing)
	for _, r := range y.rules[e.Name] {
		to := y.lookUp(y.keys, e.Name, "@", r.spec)
		if to < 0 {
			continue
		}
		above := r.path[:len(r.path)-1]
		if len(above) == 1 && above[0] == "**" {
			return to
		}
		// Which way leads here is not looked at, only where it ends.
		last := above[len(above)-1]
		if likely < 0 && (last == "**" || matchSegment(last, y.t.nodes[from].packageName())) {
			likely = to
		}
	}
	if i := y.lookUp(y.keys, e.Name, "@", e.Spec); i >= 0 {
		return i
	}
	if likely >= 0 {
		return likely
	}
	if i, ok := y.workspaces[e.Name]; ok {
		return i
	}
	return Missing
}

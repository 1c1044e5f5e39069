package verify

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"maps"
	"path"
	"slices"
	"strings"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"
)

// A manifest is what installers act on of one package.json, after the changes that npm makes to it on
// publish: to the file inside the tarball they have still to be made, to the registry's document they were
// made by whichever tool published it, so both go through the same rules and meet in the same form.
//
// Source: npm, @npmcli/package-json lib/normalize.js and lib/normalize-data.js, and what they replaced:
// read-package-json and normalize-package-data; yarn 1, src/util/normalize-manifest/fix.js.
type manifest struct {
	name       string
	version    string
	repository jsontext.Value // nil where there is none

	scripts      map[string]string
	dependencies map[string]string // the optional ones among them
	optional     map[string]string
	peers        map[string]string
	bin          map[string]string // command → cleaned path in the package

	binDirectory string          // directories.bin, cleaned; counts only where bin is empty
	bundled      map[string]bool // bundleDependencies
	gyp          bool            // of a tarball: it has a file *.gyp
}

// Of names that stand more than once JavaScript takes the last, and so does npm; some other readers take
// the first.
type choice int

const (
	lastOfName choice = iota
	firstOfName
)

// errProto is the answer to a member "__proto__": JSON.parse makes a plain member of it, the first
// assignment in JavaScript after that a prototype, whose members then count as the object's own.
var errProto = errors.New(`it has a member "__proto__", which JavaScript reads in two ways`)

// readManifest reads a package.json or a version document. repeated says that some name that counts stands
// in it more than once, so that [firstOfName] and [lastOfName] may differ.
func readManifest(data []byte, which choice) (m *manifest, repeated bool, err error) {
	r := manifestReader{which: which}
	top, err := r.object(bytes.TrimPrefix(data, []byte("\xef\xbb\xbf")))
	if err != nil {
		return nil, false, err
	}
	m = &manifest{}
	m.name = trimJS(text(top["name"]))
	m.version = text(top["version"])
	m.repository = repositoryOf(top)

	scripts, err := r.member(top, "scripts")
	if err != nil {
		return nil, false, err
	}
	m.scripts = make(map[string]string, len(scripts))
	for name, value := range scripts {
		if value.Kind() == '"' {
			m.scripts[name] = withoutBinPath(text(value))
		}
	}

	if m.dependencies, err = r.dependencies(top, "dependencies"); err != nil {
		return nil, false, err
	}
	if m.optional, err = r.dependencies(top, "optionalDependencies"); err != nil {
		return nil, false, err
	}
	if m.peers, err = r.dependencies(top, "peerDependencies"); err != nil {
		return nil, false, err
	}
	// An optional dependency may stand among the others as well, and which tool repeats it or takes it out has
	// changed over the years. Where it stands in both, installers take the optional one's range.
	for name, spec := range m.optional {
		m.dependencies[name] = spec
	}
	if err := r.bundle(top, m); err != nil {
		return nil, false, err
	}
	if err := r.bins(top, m); err != nil {
		return nil, false, err
	}
	return m, r.repeated, nil
}

type manifestReader struct {
	which    choice
	repeated bool
}

// object reads a JSON object's members as they are spelled: names are case-sensitive, as in JavaScript.
func (r *manifestReader) object(data []byte) (map[string]jsontext.Value, error) {
	d := jsontext.NewDecoder(bytes.NewReader(data), jsontext.AllowDuplicateNames(true), jsontext.AllowInvalidUTF8(true))
	open, err := d.ReadToken()
	if err != nil {
		return nil, err
	}
	if open.Kind() != '{' {
		return nil, errors.New("it is not an object")
	}
	members := map[string]jsontext.Value{}
	for d.PeekKind() != '}' {
		t, err := d.ReadToken()
		if err != nil {
			return nil, err
		}
		name := t.String()
		value, err := d.ReadValue()
		if err != nil {
			return nil, err
		}
		if name == "__proto__" {
			return nil, errProto
		}
		if _, twice := members[name]; twice {
			r.repeated = true
			if r.which == firstOfName {
				continue
			}
		}
		members[name] = value.Clone()
	}
	if _, err := d.ReadToken(); err != nil {
		return nil, err
	}
	if _, err := d.ReadToken(); err != io.EOF {
		return nil, errors.New("something follows the object")
	}
	return members, nil
}

// member reads a member that should be an object. Anything else is as good as none.
func (r *manifestReader) member(of map[string]jsontext.Value, name string) (map[string]jsontext.Value, error) {
	value := of[name]
	if value.Kind() != '{' {
		return nil, nil
	}
	members, err := r.object(value)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	return members, nil
}

// dependencies reads one of the lists of dependencies. Ancient packages have them as an array of
// "name@range", or as one string of those.
func (r *manifestReader) dependencies(top map[string]jsontext.Value, field string) (map[string]string, error) {
	deps := map[string]string{}
	var list []string
	switch value := top[field]; value.Kind() {
	case '{':
		members, err := r.member(top, field)
		if err != nil {
			return nil, err
		}
		for name, spec := range members {
			if spec.Kind() == '"' {
				deps[name] = trimJS(text(spec))
			}
		}
		return deps, nil
	case '"':
		list = strings.FieldsFunc(text(value), func(c rune) bool { return c == ',' || isSpace(c) })
	case '[':
		for _, item := range array(value) {
			if item.Kind() == '"' {
				list = append(list, text(item))
			}
		}
	}
	for _, item := range list {
		name, spec := splitDependency(trimJS(item))
		deps[name] = spec
	}
	return deps, nil
}

// splitDependency takes "name@1.x" or "name >= 1" apart.
func splitDependency(item string) (name, spec string) {
	i := strings.IndexFunc(item, func(c rune) bool { return strings.ContainsRune("@><=", c) || isSpace(c) })
	if i < 0 {
		return item, ""
	}
	if i > 0 && item[i-1] == ':' {
		i-- // npm takes a colon for a part of the range, which then is none
	}
	return item[:i], trimJS(strings.TrimPrefix(item[i:], "@"))
}

// bundle reads bundleDependencies in all its spellings: an array of names, an object whose names count, or
// true for all dependencies.
func (r *manifestReader) bundle(top map[string]jsontext.Value, m *manifest) error {
	m.bundled = map[string]bool{}
	for _, field := range []string{"bundleDependencies", "bundledDependencies"} {
		switch value := top[field]; value.Kind() {
		case '[':
			for _, item := range array(value) {
				if item.Kind() == '"' {
					m.bundled[text(item)] = true
				}
			}
		case '{':
			members, err := r.member(top, field)
			if err != nil {
				return err
			}
			for name := range members {
				m.bundled[name] = true
			}
		case 't':
			for name := range m.dependencies {
				m.bundled[name] = true
			}
		}
	}
	return nil
}

// bins reads bin: an object, one path for the command that is called like the package, or an array of paths
// whose last components are the commands.
func (r *manifestReader) bins(top map[string]jsontext.Value, m *manifest) error {
	m.bin = map[string]string{}
	add := func(name, target string) {
		name, target = path.Base("/"+insidePackage(name)), insidePackage(target)
		if name != "/" && target != "" {
			m.bin[name] = target
		}
	}
	switch value := top["bin"]; value.Kind() {
	case '"':
		if m.name != "" {
			add(m.name, text(value))
		}
	case '[':
		for _, item := range array(value) {
			if item.Kind() == '"' {
				add(path.Base("/"+text(item)), text(item))
			}
		}
	case '{':
		members, err := r.member(top, "bin")
		if err != nil {
			return err
		}
		for _, name := range slices.Sorted(maps.Keys(members)) {
			if members[name].Kind() == '"' {
				add(name, text(members[name]))
			}
		}
	}
	directories, err := r.member(top, "directories")
	if err != nil {
		return err
	}
	if value := directories["bin"]; value.Kind() == '"' {
		m.binDirectory = insidePackage(text(value))
		if m.binDirectory == "" {
			m.binDirectory = "."
		}
	}
	return nil
}

// insidePackage cleans a path as npm does before it links a command: separators of every system count, and
// nothing leads out of the package. It returns "" for the package itself.
func insidePackage(p string) string {
	p = strings.NewReplacer(`\`, "/", ":", "/").Replace(p)
	return strings.TrimPrefix(path.Clean("/"+p), "/")
}

// withoutBinPath drops "node_modules/.bin/" before a script's command: npm runs scripts with that directory
// in the search path, and takes it off on publish.
func withoutBinPath(script string) string {
	rest := script
	if strings.HasPrefix(rest, "./") || strings.HasPrefix(rest, `.\`) {
		rest = rest[2:]
	}
	rest, ok := strings.CutPrefix(rest, "node_modules")
	if !ok || len(rest) < len("/.bin/") || !isSeparator(rest[0]) || rest[2:5] != "bin" || !isSeparator(rest[5]) {
		return script
	}
	return rest[len("/.bin/"):]
}

func isSeparator(c byte) bool { return c == '/' || c == '\\' }

// repositoryOf returns the repository, or, as npm does, the first of the "repositories" that some packages
// have instead.
func repositoryOf(top map[string]jsontext.Value) jsontext.Value {
	value := top["repository"]
	if list := top["repositories"]; list.Kind() == '[' {
		if items := array(list); len(items) > 0 {
			value = items[0]
		}
	}
	switch value.Kind() {
	case 'n', 'f':
		return nil
	}
	return value
}

func array(value jsontext.Value) []jsontext.Value {
	var items []jsontext.Value
	if err := json.Unmarshal(value, &items, jsontext.AllowInvalidUTF8(true), jsontext.AllowDuplicateNames(true)); err != nil {
		return nil
	}
	return items
}

// text returns the content of a JSON string, "" for anything else.
func text(value jsontext.Value) string {
	if value.Kind() != '"' {
		return ""
	}
	s, err := jsontext.AppendUnquote(nil, value)
	if err != nil && len(s) == 0 {
		return ""
	}
	return string(s)
}

// trimJS trims what JavaScript takes for white space.
func trimJS(s string) string { return strings.TrimFunc(s, isSpace) }

// isSpace reports whether JavaScript takes c for white space. Source: ECMA-262, WhiteSpace and LineTerminator.
func isSpace(c rune) bool {
	switch c {
	case '\t', '\n', '\v', '\f', '\r', ' ', 0xa0, 0x1680, 0x2028, 0x2029, 0x202f, 0x205f, 0x3000, 0xfeff:
		return true
	}
	return 0x2000 <= c && c <= 0x200a
}

// repositoryText is the address in a repository's value, whatever else it holds.
func repositoryText(value jsontext.Value) string {
	if value.Kind() == '[' {
		if items := array(value); len(items) > 0 {
			value = items[0]
		}
	}
	if value.Kind() == '{' {
		var r manifestReader
		members, err := r.object(value)
		if err != nil {
			return ""
		}
		value = members["url"]
	}
	return trimJS(text(value))
}

package inventory

import (
	"cmp"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"strings"

	"github.com/go-json-experiment/json/jsontext"
)

// The files of yarn's Plug'n'Play: a program with its data in it, as yarn has it by default, and the data alone.
var pnpFiles = [...]string{".pnp.data.json", ".pnp.cjs", ".pnp.js"}

const maxPnP = 64 << 20 // bytes of one of them

// pnpData is what yarn's Plug'n'Play goes by.
// Source: yarn, packages/yarnpkg-pnp/sources/types.ts (SerializedState), and docs, advanced/pnp-spec.
type pnpData struct {
	packages []pnpPackage
}

// A pnpPackage is one package with what it finds under each name.
type pnpPackage struct {
	name, reference string // both "" for the project's root; a reference is such as "npm:1.0.0" or "virtual:0abc#npm:1.0.0"
	location        string // as written, relative to the file: "./.yarn/cache/x-npm-1.0.0-0123.zip/node_modules/x/"
	dependencies    []pnpDependency
}

type pnpDependency struct{ alias, name, reference string } // reference "" where nothing is there

// parsePnP reads the data of Plug'n'Play out of a file: of the data alone, or of the program that holds it as
// the literal of a string or of an object. The program is not run.
func parsePnP(file string, data []byte) (*pnpData, error) {
	if path.Ext(file) != ".json" {
		var err error
		if data, err = pnpLiteral(file, data); err != nil {
			return nil, err
		}
	}
	r := newJSONReader(file, data, false)
	p := &pnpData{}
	found := false
	err := r.object("the data", func(field string) error {
		if field != "packageRegistryData" {
			return r.skip()
		}
		found = true
		return r.array(field, func() error { return p.byName(r) })
	})
	if err == nil {
		err = r.end()
	}
	if err == nil && !found {
		err = &FormatError{File: file, Msg: "has no packageRegistryData"}
	}
	if err != nil {
		return nil, err
	}
	return p, nil
}

// pnpLiteral finds the data in the program: yarn 2 and 3 write an object, later ones a string that is parsed.
func pnpLiteral(file string, program []byte) ([]byte, error) {
	text := string(program)
	const asString, asObject = "\nconst RAW_RUNTIME_STATE =\n'", "hydrateRuntimeState({"
	switch strings.Count(text, asString) {
	case 1:
		before, literal, _ := strings.Cut(text, asString)
		data, err := unquoteJS(literal)
		if err != nil {
			return nil, &FormatError{File: file, Line: strings.Count(before, "\n") + 2, Msg: err.Error()}
		}
		return data, nil
	case 0:
	default:
		return nil, &FormatError{File: file, Msg: "has its data more than once"}
	}
	switch strings.Count(text, asObject) {
	case 1:
		_, rest, _ := strings.Cut(text, strings.TrimSuffix(asObject, "{"))
		d := jsontext.NewDecoder(strings.NewReader(rest), jsontext.AllowDuplicateNames(true))
		value, err := d.ReadValue()
		if err != nil {
			return nil, &FormatError{File: file, Msg: fmt.Sprintf("its data is no JSON object: %v", err)}
		}
		return value, nil
	case 0:
		return nil, &FormatError{File: file, Msg: "does not hold the data of Plug'n'Play in a form that yarn writes"}
	}
	return nil, &FormatError{File: file, Msg: "has its data more than once"}
}

// unquoteJS reads a JavaScript string up to its closing quote. Of the escapes only those are known that yarn writes.
func unquoteJS(s string) ([]byte, error) {
	out := make([]byte, 0, len(s))
	for i := 0; i < len(s); i++ {
		switch c := s[i]; c {
		case '\'':
			return out, nil
		case '\n':
			return nil, errors.New("its data ends within a line")
		case '\\':
			i++
			if i == len(s) {
				return nil, errors.New("its data does not end")
			}
			switch s[i] {
			case '\n': // the string goes on in the next line
			case '\\', '\'':
				out = append(out, s[i])
			default:
				return nil, fmt.Errorf("its data has the escape %q", `\`+s[i:i+1])
			}
		default:
			out = append(out, c)
		}
	}
	return nil, errors.New("its data does not end")
}

// byName reads the packages of one name: [name, [[reference, {…}], …]].
func (p *pnpData) byName(r *jsonReader) error {
	name, at := "", 0
	return r.array("packages of one name", func() error {
		at++
		switch at {
		case 1:
			return r.nullOr(&name)
		case 2:
			return r.array("packages of one name", func() error { return p.one(r, name) })
		}
		return r.errorf("a list of packages has more than two elements")
	})
}

// nullOr reads a string, or null as "".
func (r *jsonReader) nullOr(to *string) error {
	if r.peek() == jsontext.KindNull {
		*to = ""
		return r.skip()
	}
	s, err := r.str("a name", true)
	*to = s
	return err
}

func (p *pnpData) one(r *jsonReader, name string) error {
	k := pnpPackage{name: name}
	at := 0
	err := r.array("a package", func() error {
		at++
		switch at {
		case 1:
			return r.nullOr(&k.reference)
		case 2:
			return r.object("a package", func(field string) (err error) {
				switch field {
				case "packageLocation":
					k.location, err = r.str(field, false)
					return err
				case "packageDependencies":
					return r.array(field, func() error { return k.dependency(r) })
				}
				return r.skip()
			})
		}
		return r.errorf("a package has more than two elements")
	})
	if err != nil {
		return err
	}
	if len(p.packages) >= maxEntries {
		return r.errorf("more than %d packages", maxEntries)
	}
	p.packages = append(p.packages, k)
	return nil
}

// dependency reads [name, null], [name, reference] or [alias, [name, reference]].
func (k *pnpPackage) dependency(r *jsonReader) error {
	var d pnpDependency
	at := 0
	err := r.array("a dependency", func() error {
		at++
		switch {
		case at == 1:
			err := r.nullOr(&d.alias)
			d.name = d.alias
			return err
		case at > 2:
			return r.errorf("a dependency has more than two elements")
		case r.peek() == jsontext.KindBeginArray:
			inner := 0
			return r.array("a dependency", func() error {
				inner++
				switch inner {
				case 1:
					return r.nullOr(&d.name)
				case 2:
					return r.nullOr(&d.reference)
				}
				return r.errorf("a dependency has more than two elements")
			})
		}
		return r.nullOr(&d.reference)
	})
	if len(k.dependencies) >= maxEdges {
		return r.errorf("more than %d dependencies in one place", maxEdges)
	}
	k.dependencies = append(k.dependencies, d)
	return err
}

// place is where a package lies, without what makes it another for each way in which its peer dependencies are met:
// "./.yarn/__virtual__/x-virtual-0abc/1/cache/x.zip/…" is what lies in "./.yarn/../cache/x.zip/…".
// Source: yarn, packages/yarnpkg-fslib/sources/VirtualFS.ts (resolveVirtual).
func (k *pnpPackage) place() (string, error) {
	parts := strings.Split(strings.TrimSuffix(k.location, "/"), "/")
	for i, part := range parts {
		if part != "__virtual__" && part != "$$virtual" {
			continue
		}
		if i+2 >= len(parts) || len(parts[i+2]) != 1 || parts[i+2][0] < '0' || parts[i+2][0] > '9' {
			return "", fmt.Errorf("location %s cannot be read", quoteShort(k.location))
		}
		up := strings.Repeat("../", int(parts[i+2][0]-'0'))
		parts = append(append(parts[:i:i], strings.TrimSuffix(up, "/")), parts[i+3:]...)
		break
	}
	where := path.Clean(strings.Join(parts, "/"))
	if strings.ContainsAny(where, "\x00\\") {
		return "", fmt.Errorf("location %s cannot be read", quoteShort(k.location))
	}
	return where, nil
}

// id takes a reference apart: the version in a registry's, "" for what comes from elsewhere or is patched.
func (k *pnpPackage) id() (name, version string) {
	reference := k.reference
	if strings.HasPrefix(reference, "virtual:") {
		_, reference, _ = strings.Cut(reference, "#")
	}
	version, ok := strings.CutPrefix(reference, "npm:")
	if !ok {
		return k.name, ""
	}
	version, _, _ = strings.Cut(version, "::") // what follows says where it was fetched
	if i := strings.LastIndexByte(version, '@'); i > 0 {
		return version[:i], version[i+1:] // an alias
	}
	return k.name, version
}

// InZip takes a place in a zip file apart: ".yarn/cache/ms.zip/node_modules/ms" is "node_modules/ms" in
// ".yarn/cache/ms.zip".
func InZip(place string) (file, inner string, ok bool) {
	i := strings.Index(place, ".zip/")
	if i <= 0 {
		return "", "", false
	}
	return place[:i+len(".zip")], place[i+len(".zip/"):], true
}

// readPnP looks at what Plug'n'Play finds, where the project has it.
func (d *disk) readPnP() {
	var p *pnpData
	var file string
	for _, file = range pnpFiles {
		data, err := readPnPFile(d.p.onDisk(file))
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err == nil {
			p, err = parsePnP(file, data)
		}
		if err != nil {
			d.add(file, "%s cannot be read, so nothing is known of what is loaded: %s", quoteShort(file), quoteShort(err.Error()))
			return
		}
		break
	}
	if p == nil {
		return
	}
	d.pnp = make(map[string]map[string]string, len(p.packages))
	type key struct{ name, reference string }
	at := make(map[key]string, len(p.packages))
	for i := range p.packages {
		k := &p.packages[i]
		where, err := k.place()
		if err != nil {
			d.add(file, "%s: %s", file, err)
			continue
		}
		if where == "." {
			where = ""
		}
		at[key{k.name, k.reference}] = where
		h, ok := d.pnpTenant(k, where)
		switch {
		case !ok:
			d.add(cmp.Or(where, file), "%s gives %s, which the lockfile does not list: nothing vouches for it, and Node.js may load it", file, quoteShort(k.name+"@"+k.reference))
		case d.work[where] == h && h < 0: // part of the project
		case h >= 0 && !d.cached(where, h):
			// Not installed: as for another platform, or a cache that was not filled.
			d.places[where] = h
		default:
			d.put(where, h)
		}
	}
	for i := range p.packages {
		k := &p.packages[i]
		from, ok := at[key{k.name, k.reference}]
		if !ok {
			continue
		}
		deps := d.pnp[from]
		if deps == nil {
			deps = make(map[string]string, len(k.dependencies))
			d.pnp[from] = deps
		}
		by := d.at(from)
		for _, e := range k.dependencies {
			if e.reference == "" || e.name == k.name && e.reference == k.reference {
				continue
			}
			to, ok := at[key{e.name, e.reference}]
			if !ok {
				d.add(file, "%s gives %s under the name %s to %s, and does not list it", file, quoteShort(e.name+"@"+e.reference), quoteShort(e.alias), quoteShort(k.name))
				continue
			}
			deps[e.alias] = to
			if got := d.at(to); got != nobody {
				d.compare(to, e.alias, by, got)
			}
		}
	}
}

// pnpTenant says which package of the lockfile an entry is.
func (d *disk) pnpTenant(k *pnpPackage, where string) (tenant, bool) {
	if h, ok := d.work[where]; ok {
		return h, true
	}
	name, version := k.id()
	if version != "" {
		h, ok := d.ids[name+"@"+version]
		return h, ok
	}
	// What is patched is the registry's package, with files changed.
	if _, patched, ok := strings.Cut(k.reference, "::version="); ok && strings.Contains(k.reference, "patch:") {
		version, _, _ := strings.Cut(patched, "&")
		if h, ok := d.ids[k.name+"@"+version]; ok {
			return h, true
		}
	}
	if called := d.names[k.name]; called != nil && len(called.foreign) > 0 {
		return called.foreign[0], true
	}
	return nobody, false
}

// cached reports whether what should lie at a place does.
func (d *disk) cached(where string, h tenant) bool {
	file, _, zipped := InZip(where)
	if !zipped {
		file = where
	}
	fi, err := os.Lstat(d.p.onDisk(file))
	if err != nil {
		return !errors.Is(err, fs.ErrNotExist)
	}
	if zipped {
		return fi.Mode().IsRegular() || fi.Mode()&fs.ModeSymlink != 0
	}
	return true
}

func readPnPFile(name string) ([]byte, error) {
	f, err := os.Open(name)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	fi, err := f.Stat()
	if err != nil {
		return nil, err
	}
	if !fi.Mode().IsRegular() || fi.Size() > maxPnP {
		return nil, fmt.Errorf("%s is no regular file of at most %d bytes", filepath.Base(name), maxPnP)
	}
	return os.ReadFile(name)
}

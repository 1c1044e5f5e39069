package cli

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"

	"github.com/BurntSushi/toml"
	"gopkg.in/yaml.v3"

	"assay/internal/inventory"
	"assay/internal/npm"
	"assay/internal/report"
)

// maxManagerFile bounds a configuration file of yarn, pnpm or bun. They hold a handful of lines.
const maxManagerFile = 64 << 10

// A managerFile is a file in which a package manager other than npm is told of registries. Nothing but the addresses
// is taken from it, and no credential: those are npm's to keep, in .npmrc, beside the host that they are for.
type managerFile struct {
	kind  string // begins the kind of inventory that it counts for
	name  string
	read  func([]byte) (map[string]string, error) // registries by npm's key: "registry", "@scope:registry"
	home  []string                                // where else it lies, below the user's home, under the same name or another; nil: nowhere
	below bool                                    // .npmrc counts before it, the user's too
}

// managerFiles lists them, of one kind the weakest first.
var managerFiles = []managerFile{
	{kind: "yarn", name: ".yarnrc", read: readYarnrc, home: []string{".yarnrc"}},
	{kind: "yarn", name: ".yarnrc.yml", read: readYarnrcYAML, home: []string{".yarnrc.yml"}},
	{kind: "pnpm", name: "pnpm-workspace.yaml", read: readPnpmWorkspace},
	{kind: "bun", name: "bunfig.toml", read: readBunfig, home: []string{".bunfig.toml"}, below: true},
}

// readManager reads what the package manager of a project is told of registries. A project's own file names
// registries as its .npmrc does: packages are asked for there, and nothing that such a registry says about its own
// keys is believed until somebody else names it (see [npm.Config.Named]).
//
// Of several projects the first says what counts; another that says something else is an error.
func (s *session) readManager(project string, p *inventory.Project, first bool) error {
	var sources []npm.Source
	dir, managers := managersOf(project, p)
	said := map[string][3]string{} // of a key: the manager, its file and the address
	for _, f := range managerFiles {
		if !slices.Contains(managers, f.kind) {
			continue
		}
		files := map[npm.Level]string{npm.LevelProject: filepath.Join(dir, f.name)}
		if home := s.home(); home != "" && f.home != nil {
			files[npm.LevelUser] = filepath.Join(append([]string{home}, f.home...)...)
		}
		for _, level := range []npm.Level{npm.LevelUser, npm.LevelProject} {
			file := files[level]
			if file == "" || level == npm.LevelProject && sameFile(file, files[npm.LevelUser]) {
				continue
			}
			data, err := readFile(file, maxManagerFile)
			if errors.Is(err, fs.ErrNotExist) {
				continue
			}
			var registries map[string]string
			if err == nil {
				registries, err = f.read(data)
			}
			if err != nil {
				return usagef("", "reading %s's configuration: %s: %w", f.kind, s.shown("", file), err)
			}
			for _, key := range slices.Sorted(maps.Keys(registries)) {
				now := [3]string{f.kind, s.shown("", file), registries[key]}
				if was, ok := said[key]; ok && was[0] != now[0] && was[2] != now[2] {
					return usagef("audit the lockfile, which tells whose it is, or name the registry: --registry", "%s and %s name two registries (%s), and nothing tells which package manager counts", was[1], now[1], key)
				}
				said[key] = now
			}
			source, refused := f.source(s.config, level, s.shown("", file), registries)
			for _, key := range refused {
				s.notes = append(s.notes, report.Note{Code: "npmrc", Message: fmt.Sprintf("%s: %q: ignored: it is not the URL of a registry", source.Path, key)})
			}
			if len(source.Data) > 0 {
				sources = append(sources, source)
			}
		}
	}
	if slices.EqualFunc(sources, s.manager, func(a, b npm.Source) bool { return bytes.Equal(a.Data, b.Data) }) {
		return nil
	}
	if !first {
		return usagef(oneByOne, "%s names other registries than the PATH before it", s.shown("", project))
	}
	s.manager = sources
	if err := s.readConfig(project); err != nil {
		return err
	}
	if s.client != nil {
		return s.connect()
	}
	return nil
}

// managersOf names the package managers other than npm whose files say where the packages of a project come from, and
// the directory that those files lie in. A lockfile tells whose it is. Installed packages, an SBOM and a list do not: what
// counts is what the package manager left in node_modules, else the lockfiles beside it, else whose files of settings lie
// there, in the directory itself or, where none of that does, in the next one above it within the git work tree, as for
// a workspace.
func managersOf(project string, p *inventory.Project) (dir string, managers []string) {
	for _, f := range managerFiles {
		if strings.HasPrefix(p.Kind, f.kind) {
			return project, []string{f.kind}
		}
	}
	if strings.HasPrefix(p.Kind, "npm") || strings.HasPrefix(p.Kind, "package-lock") {
		return project, nil
	}
	top := project
	if dir, ok := above(project, func(dir string) bool { return lies(dir, ".git") }); ok {
		top = dir
	}
	for dir := project; ; dir = filepath.Dir(dir) {
		for _, marks := range managerMarks {
			var found []string
			for _, m := range marks {
				if lies(dir, m.file) && !slices.Contains(found, m.manager) {
					found = append(found, m.manager)
				}
			}
			if found != nil {
				return dir, found
			}
		}
		if dir == top || dir == filepath.Dir(dir) {
			return project, nil
		}
	}
}

// A managerMark is a file that a package manager leaves in a project, or that is written for it.
type managerMark struct{ manager, file string }

// managerMarks lists them, the surest first: what an installation leaves, lockfiles, settings.
var managerMarks = [][]managerMark{
	{
		{"npm", "node_modules/.package-lock.json"},
		{"pnpm", "node_modules/.modules.yaml"}, {"pnpm", "node_modules/.pnpm"},
		{"yarn", "node_modules/.yarn-state.yml"}, {"yarn", "node_modules/.yarn-integrity"},
		{"bun", "node_modules/.bun"},
	},
	{
		{"npm", "npm-shrinkwrap.json"}, {"npm", "package-lock.json"}, {"yarn", "yarn.lock"}, {"pnpm", "pnpm-lock.yaml"},
		{"bun", "bun.lock"}, {"bun", "bun.lockb"},
	},
	{
		{"yarn", ".yarnrc"}, {"yarn", ".yarnrc.yml"}, {"pnpm", "pnpm-workspace.yaml"}, {"bun", "bunfig.toml"},
	},
}

func lies(dir, name string) bool {
	_, err := os.Lstat(filepath.Join(dir, filepath.FromSlash(name)))
	return err == nil
}

// above finds the next directory upwards, from one on, of which is holds.
func above(dir string, is func(dir string) bool) (string, bool) {
	for {
		if is(dir) {
			return dir, true
		}
		if dir == filepath.Dir(dir) {
			return "", false
		}
		dir = filepath.Dir(dir)
	}
}

// oneByOne is what to do about projects that cannot be audited in one run.
const oneByOne = "audit them one after the other"

// checkAlike refuses a further project that has another .npmrc or policy than the first, whose settings count for the
// whole run.
func (s *session) checkAlike(first, other string) error {
	for _, name := range []string{".npmrc", "assay.yaml"} {
		if name == "assay.yaml" && s.flags.policy != "" {
			continue
		}
		a, errA := readFile(filepath.Join(first, name), 1<<20)
		b, errB := readFile(filepath.Join(other, name), 1<<20)
		if (errA == nil) != (errB == nil) || !bytes.Equal(a, b) {
			return usagef(oneByOne, "%s and %s do not have the same %s, and one run has one", s.shown("", first), s.shown("", other), name)
		}
	}
	return nil
}

// environment is a variable in yarn's form, with or without what stands in for it. That is left out: the project's
// word on a registry counts as npm's does, which has no such thing.
var environment = regexp.MustCompile(`\$\{(\w+)[^}]*\}`)

// source writes registries as npm would have them in an .npmrc, and names those that cannot stand there.
func (f *managerFile) source(config *npm.Config, level npm.Level, name string, registries map[string]string) (source npm.Source, refused []string) {
	source = npm.Source{Level: level, Path: name}
	var keys []string
	for key := range registries {
		keys = append(keys, key)
	}
	slices.Sort(keys)
	for _, key := range keys {
		value := environment.ReplaceAllString(registries[key], "$${$1}")
		if f.kind == "bun" && strings.HasPrefix(value, "$") && !strings.HasPrefix(value, "${") {
			value = "${" + value[1:] + "}"
		}
		scope, scoped := strings.CutSuffix(key, ":registry")
		if scoped && npm.CheckName(scope+"/x") != nil || !scoped && key != "registry" ||
			len(value) > 2048 || value == "" || strings.ContainsFunc(value, func(r rune) bool { return r <= ' ' || r >= 0x7f || strings.ContainsRune("\"';#\\=[]", r) }) {
			refused = append(refused, key)
			continue
		}
		if _, set, ok := config.Get(key); f.below && ok && set != npm.LevelDefault {
			continue
		}
		source.Data = append(source.Data, key+"="+value+"\n"...)
	}
	return source, refused
}

// home is the user's home directory, "" where there is none.
func (s *session) home() string {
	if home, ok := s.env.Getenv("HOME"); ok && home != "" {
		return home
	}
	home, err := os.UserHomeDir()
	if err != nil {
		return ""
	}
	return home
}

// readYarnrc reads the file of yarn 1: lines of a key and a value, either of them in quotes or not (yarn v1,
// src/rc.js and src/lockfile/parse.js).
func readYarnrc(data []byte) (map[string]string, error) {
	registries := map[string]string{}
	for line := range strings.Lines(string(data)) {
		line = strings.TrimSpace(line)
		if line == "" || line[0] == '#' {
			continue
		}
		key, rest := yarnWord(line)
		value, _ := yarnWord(rest)
		if key == "registry" || strings.HasPrefix(key, "@") && strings.HasSuffix(key, ":registry") {
			registries[key] = value
		}
	}
	return registries, nil
}

// yarnWord cuts the first word off a line of .yarnrc.
func yarnWord(line string) (word, rest string) {
	line = strings.TrimLeft(line, " \t:=")
	if quoted, ok := strings.CutPrefix(line, `"`); ok {
		word, rest, _ = strings.Cut(quoted, `"`)
		return word, rest
	}
	end := strings.IndexAny(line, " \t")
	if end < 0 {
		end = len(line)
	}
	return line[:end], line[end:]
}

// readYarnrcYAML reads the file of yarn from 2 on: npmRegistryServer, and npmScopes with one each (yarnpkg.com,
// Configuration, Yarnrc files).
func readYarnrcYAML(data []byte) (map[string]string, error) {
	root, err := yamlMapping(data)
	if err != nil {
		return nil, err
	}
	registries := map[string]string{}
	if v, ok := yamlText(root["npmRegistryServer"]); ok {
		registries["registry"] = v
	}
	for scope, node := range yamlMap(root["npmScopes"]) {
		if v, ok := yamlText(yamlMap(node)["npmRegistryServer"]); ok {
			registries["@"+strings.TrimPrefix(scope, "@")+":registry"] = v
		}
	}
	return registries, nil
}

// readPnpmWorkspace reads pnpm's: registry, and registries in either of its two forms, by scope with an address each,
// or by address with the scopes that go there, of which "@" is the rest (pnpm.io, Settings and Registries).
func readPnpmWorkspace(data []byte) (map[string]string, error) {
	root, err := yamlMapping(data)
	if err != nil {
		return nil, err
	}
	registries := map[string]string{}
	if v, ok := yamlText(root["registry"]); ok {
		registries["registry"] = v
	}
	put := func(scope, address string) {
		switch {
		case scope == "default" || scope == "@":
			registries["registry"] = address
		case strings.HasPrefix(scope, "@"):
			registries[scope+":registry"] = address
		}
	}
	for key, node := range yamlMap(root["registries"]) {
		if v, ok := yamlText(node); ok {
			put(key, v)
			continue
		}
		scopes := resolved(yamlMap(node)["scopes"])
		if scopes == nil || scopes.Kind != yaml.SequenceNode {
			continue
		}
		for _, x := range scopes.Content {
			if scope, ok := yamlText(x); ok {
				put(scope, key)
			}
		}
	}
	return registries, nil
}

// readBunfig reads bun's: install.registry, and install.scopes, each an address or a table with one (bun.com,
// bunfig.toml).
func readBunfig(data []byte) (map[string]string, error) {
	var file struct {
		Install struct {
			Registry any            `toml:"registry"`
			Scopes   map[string]any `toml:"scopes"`
		} `toml:"install"`
	}
	// The reader's time grows with the square of how deep tables lie in one another, and more.
	if bytes.Count(data, []byte("{"))+bytes.Count(data, []byte("["))+bytes.Count(data, []byte(".")) > 1000 {
		return nil, errors.New("it has more tables than anybody writes")
	}
	if _, err := toml.NewDecoder(bytes.NewReader(data)).Decode(&file); err != nil {
		return nil, err
	}
	address := func(v any) (string, bool) {
		if table, ok := v.(map[string]any); ok {
			v = table["url"]
		}
		s, ok := v.(string)
		return s, ok
	}
	registries := map[string]string{}
	if v, ok := address(file.Install.Registry); ok {
		registries["registry"] = v
	}
	for scope, x := range file.Install.Scopes {
		if v, ok := address(x); ok {
			registries["@"+strings.TrimPrefix(scope, "@")+":registry"] = v
		}
	}
	return registries, nil
}

// yamlMapping reads a YAML document that is a mapping, or nothing at all. Nodes are not expanded, so aliases cost
// nothing.
func yamlMapping(data []byte) (map[string]*yaml.Node, error) {
	var doc yaml.Node
	if err := yaml.Unmarshal(data, &doc); err != nil {
		return nil, err
	}
	if doc.Kind == 0 || len(doc.Content) == 0 {
		return nil, nil
	}
	root := resolved(doc.Content[0])
	if root.Kind == yaml.ScalarNode && root.Tag == "!!null" {
		return nil, nil
	}
	if root.Kind != yaml.MappingNode {
		return nil, fmt.Errorf("line %d: it is no mapping", root.Line)
	}
	return yamlMap(root), nil
}

// yamlMap is a mapping by its keys, nil for anything else; of a key twice the last counts.
func yamlMap(n *yaml.Node) map[string]*yaml.Node {
	n = resolved(n)
	if n == nil || n.Kind != yaml.MappingNode {
		return nil
	}
	m := make(map[string]*yaml.Node, len(n.Content)/2)
	for i := 0; i+1 < len(n.Content); i += 2 {
		m[n.Content[i].Value] = n.Content[i+1]
	}
	return m
}

func yamlText(n *yaml.Node) (string, bool) {
	n = resolved(n)
	if n == nil || n.Kind != yaml.ScalarNode || n.Tag == "!!null" {
		return "", false
	}
	return n.Value, true
}

// resolved is what an alias stands for.
func resolved(n *yaml.Node) *yaml.Node {
	if n != nil && n.Kind == yaml.AliasNode {
		return n.Alias
	}
	return n
}

package doctor

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"path"
	"slices"
	"strings"

	"assay/internal/npm"
)

// Limits on a monorepo.
const (
	maxManifests = 3000
	maxEntries   = 200_000 // directory entries looked at while members are found
	maxDirDepth  = 12
)

// A manifest is a package.json.
type manifest struct {
	path  string // of the file
	dir   string // "" for the root
	lines []string
	keys  map[string]int // line of each top-level key, and of each key of publishConfig and repository as "publishConfig.access"

	name, version  string
	private        bool
	repository     json.RawMessage
	publishConfig  publishConfig
	scripts        map[string]string
	packageManager string
	workspaces     []string
	dependencies   map[string]string // of every kind
	raw            map[string]json.RawMessage
}

type publishConfig struct {
	registry, access string
	provenance       *bool
}

// manifests are a project's package.json files.
type manifests struct {
	root    *manifest // nil: there is none
	members []*manifest
	byDir   map[string]*manifest
	// access of .changeset/config.json, and its line
	changesetAccess string
	changesetLine   int
	ignored         []string        // packages that changesets does not publish, as patterns
	releaseItOff    bool            // release-it is told not to publish to npm
	files           map[string]bool // lockfiles and configuration at the root
}

// at returns the package.json of a directory, nil where there is none or dir cannot be known.
func (m *manifests) at(dir string) *manifest {
	if dir == "?" {
		return nil
	}
	return m.byDir[cleanDir(dir)]
}

func cleanDir(dir string) string {
	if dir = path.Clean("./" + dir); dir == "." {
		return ""
	}
	return dir
}

// script returns the body of a package.json script, looked for in a directory and then at the root.
func (m *manifests) script(dir, name string) (body string, ok bool) {
	for _, f := range []*manifest{m.at(dir), m.root} {
		if f != nil {
			if body, ok := f.scripts[name]; ok {
				return body, true
			}
		}
	}
	return "", false
}

// publishable returns the packages that can be published: with a name and a version, and not private.
func (m *manifests) publishable() []*manifest {
	var all []*manifest
	for _, f := range m.members {
		if f.name != "" && f.version != "" && !f.private {
			all = append(all, f)
		}
	}
	return all
}

func (c *checker) loadManifests() *manifests {
	m := &manifests{byDir: map[string]*manifest{}, files: map[string]bool{}}
	for _, name := range []string{"package-lock.json", "npm-shrinkwrap.json", "pnpm-lock.yaml", "yarn.lock", "bun.lock", "bun.lockb", "nx.json", "lerna.json", "pnpm-workspace.yaml", ".yarnrc.yml"} {
		if info, err := fs.Stat(c.root, name); err == nil && info.Mode().IsRegular() {
			m.files[name] = true
		}
	}
	m.root = c.loadManifest(m, "")
	var patterns []string
	if m.root != nil {
		patterns = append(patterns, m.root.workspaces...)
	}
	patterns = append(patterns, c.otherWorkspaces(m)...)
	if len(patterns) > 0 {
		c.findMembers(m, patterns)
	}
	c.loadChangesets(m)
	var releaseIt []byte
	if data, err := c.read(".release-it.json"); err == nil {
		releaseIt = data
	} else if m.root != nil {
		releaseIt = m.root.raw["release-it"]
	}
	var settings struct {
		NPM json.RawMessage `json:"npm"`
	}
	if json.Unmarshal(releaseIt, &settings) == nil {
		var publish struct {
			Publish *bool `json:"publish"`
		}
		_ = json.Unmarshal(settings.NPM, &publish)
		m.releaseItOff = string(settings.NPM) == "false" || publish.Publish != nil && !*publish.Publish
	}
	return m
}

// sideDirectories hold packages that are there to be tried out; few of them say private, and none is published.
var sideDirectories = set("playground playgrounds test tests __tests__ fixture fixtures __fixtures__ example examples e2e demo demos benchmark benchmarks bench sandbox integration docs website")

// aside reports whether a package is likely not meant to be published, though nothing forbids it.
func (m *manifests) aside(f *manifest) bool {
	for _, pattern := range m.ignored {
		if ok, _ := path.Match(pattern, f.name); ok || pattern == f.name {
			return true
		}
	}
	return slices.ContainsFunc(strings.Split(f.dir, "/"), func(s string) bool { return sideDirectories[s] })
}

// otherWorkspaces reads the member patterns of pnpm and lerna.
func (c *checker) otherWorkspaces(m *manifests) (patterns []string) {
	if m.files["pnpm-workspace.yaml"] {
		if data, err := c.read("pnpm-workspace.yaml"); err == nil {
			if docs, err := parseYAML(data); err == nil && len(docs) > 0 && len(docs[0].Content) > 0 {
				packages, _ := field(docs[0].Content[0], "packages")
				for _, n := range texts(packages) {
					patterns = append(patterns, n.Value)
				}
			}
		}
	}
	if m.files["lerna.json"] {
		if data, err := c.read("lerna.json"); err == nil {
			var l struct {
				Packages []string `json:"packages"`
			}
			if json.Unmarshal(data, &l) == nil {
				patterns = append(patterns, l.Packages...)
			}
		}
	}
	return patterns
}

func (c *checker) loadChangesets(m *manifests) {
	data, err := c.read(".changeset/config.json")
	if err != nil {
		return
	}
	var config struct {
		Access string   `json:"access"`
		Ignore []string `json:"ignore"`
	}
	if json.Unmarshal(data, &config) == nil {
		m.changesetAccess, m.ignored = config.Access, config.Ignore
		for i, line := range splitLines(data) {
			if strings.Contains(line, `"access"`) {
				m.changesetLine = i + 1
				break
			}
		}
	}
}

// loadManifest reads the package.json of a directory; nil where there is none.
func (c *checker) loadManifest(m *manifests, dir string) *manifest {
	if f, ok := m.byDir[dir]; ok {
		return f
	}
	name := path.Join(dir, "package.json")
	data, err := c.read(name)
	if err != nil {
		if !errors.Is(err, fs.ErrNotExist) {
			c.add(Finding{Rule: "file-unreadable", File: name, Line: 1, Message: err.Error()})
		}
		return nil
	}
	f, err := parseManifest(name, dir, data)
	if err != nil {
		c.add(Finding{Rule: "file-unreadable", File: name, Line: 1, Message: err.Error()})
		return nil
	}
	m.byDir[dir] = f
	m.members = append(m.members, f)
	return f
}

func parseManifest(name, dir string, data []byte) (*manifest, error) {
	data = bytes.TrimPrefix(data, []byte("\ufeff"))
	f := &manifest{path: name, dir: dir, lines: splitLines(data), keys: map[string]int{}, dependencies: map[string]string{}}
	if err := json.Unmarshal(data, &f.raw); err != nil || f.raw == nil {
		if err == nil {
			err = errors.New("is not an object")
		}
		return nil, fmt.Errorf("parsing %s: %w", name, err)
	}
	keyLines(data, 0, "", f.keys, data)
	str := func(key string) string {
		var s string
		_ = json.Unmarshal(f.raw[key], &s) // another type counts as absent, as it does for npm's publish
		return s
	}
	f.name, f.version, f.packageManager = str("name"), str("version"), str("packageManager")
	_ = json.Unmarshal(f.raw["private"], &f.private)
	f.repository = f.raw["repository"]
	var pc map[string]json.RawMessage
	_ = json.Unmarshal(f.raw["publishConfig"], &pc)
	_ = json.Unmarshal(pc["registry"], &f.publishConfig.registry)
	_ = json.Unmarshal(pc["access"], &f.publishConfig.access)
	var provenance bool
	if json.Unmarshal(pc["provenance"], &provenance) == nil && string(pc["provenance"]) != "null" {
		f.publishConfig.provenance = &provenance
	}
	var scripts map[string]json.RawMessage
	_ = json.Unmarshal(f.raw["scripts"], &scripts)
	f.scripts = map[string]string{}
	for name, raw := range scripts {
		var body string
		if json.Unmarshal(raw, &body) == nil {
			f.scripts[name] = body
		}
	}
	for _, kind := range []string{"dependencies", "devDependencies", "optionalDependencies", "peerDependencies"} {
		var deps map[string]json.RawMessage
		_ = json.Unmarshal(f.raw[kind], &deps)
		for name, raw := range deps {
			var want string
			_ = json.Unmarshal(raw, &want)
			f.dependencies[name] = want
		}
	}
	if json.Unmarshal(f.raw["workspaces"], &f.workspaces) != nil {
		var object struct {
			Packages []string `json:"packages"`
		}
		_ = json.Unmarshal(f.raw["workspaces"], &object)
		f.workspaces = object.Packages
	}
	return f, nil
}

// keyLines notes the line of every key of an object in a file, and of those of publishConfig and repository.
func keyLines(object []byte, offset int, prefix string, lines map[string]int, file []byte) {
	d := json.NewDecoder(bytes.NewReader(object))
	if t, err := d.Token(); err != nil || t != json.Delim('{') {
		return
	}
	for d.More() {
		t, err := d.Token()
		key, ok := t.(string)
		if err != nil || !ok {
			return
		}
		end := int(d.InputOffset()) // behind the key
		lines[prefix+key] = 1 + bytes.Count(file[:offset+end], []byte("\n"))
		var value json.RawMessage
		if d.Decode(&value) != nil {
			return
		}
		if prefix == "" && (key == "publishConfig" || key == "repository") {
			keyLines(value, offset+int(d.InputOffset())-len(value), key+".", lines, file)
		}
	}
}

// line returns the line of the first of these keys that there is, 1 for none.
func (f *manifest) line(keys ...string) int {
	for _, k := range keys {
		if n := f.keys[k]; n > 0 {
			return n
		}
	}
	return 1
}

// findMembers reads the package.json files that the workspace patterns name.
func (c *checker) findMembers(m *manifests, patterns []string) {
	var include, exclude [][]string
	for _, p := range patterns[:min(len(patterns), 500)] {
		negated := strings.HasPrefix(p, "!")
		segments := strings.Split(cleanDir(strings.TrimPrefix(p, "!")), "/")
		if negated {
			exclude = append(exclude, segments)
		} else {
			include = append(include, segments)
		}
	}
	entries := 0
	var walk func(dir string, depth int)
	walk = func(dir string, depth int) {
		list, err := fs.ReadDir(c.root, cmpDot(dir))
		if err != nil {
			return
		}
		for _, e := range list {
			if entries++; entries > maxEntries || len(m.members) >= maxManifests {
				return
			}
			name := e.Name()
			if !e.IsDir() || name == "node_modules" || strings.HasPrefix(name, ".") {
				continue
			}
			child := path.Join(dir, name)
			segments := strings.Split(child, "/")
			matches := func(pattern []string) bool { return matchDir(pattern, segments, false) }
			if slices.ContainsFunc(include, matches) && !slices.ContainsFunc(exclude, matches) {
				c.loadManifest(m, child)
			}
			if depth < maxDirDepth && slices.ContainsFunc(include, func(pattern []string) bool { return matchDir(pattern, segments, true) }) {
				walk(child, depth+1)
			}
		}
	}
	walk("", 0)
}

func cmpDot(dir string) string {
	if dir == "" {
		return "."
	}
	return dir
}

// matchDir matches a directory with a workspace pattern, both split into segments; with prefix, whether a
// directory under it can match.
func matchDir(pattern, dir []string, prefix bool) bool {
	// reach[i]: the directory's segments so far are matched by pattern[:i].
	reach := make([]bool, len(pattern)+1)
	reach[0] = true
	skip := func() {
		for i, p := range pattern {
			if p == "**" && reach[i] {
				reach[i+1] = true
			}
		}
	}
	skip()
	for _, segment := range dir {
		next := make([]bool, len(pattern)+1)
		for i, p := range pattern {
			if !reach[i] {
				continue
			}
			if p == "**" {
				next[i] = true
			} else if ok, _ := path.Match(expandBraces(p, segment), segment); ok {
				next[i+1] = true
			}
		}
		reach = next
		skip()
	}
	if prefix {
		return slices.Contains(reach[:len(pattern)], true)
	}
	return reach[len(pattern)]
}

// expandBraces picks the alternative of one {a,b} that fits the segment.
func expandBraces(p, segment string) string {
	open, end := strings.IndexByte(p, '{'), strings.IndexByte(p, '}')
	if open < 0 || end < open {
		return p
	}
	for _, alt := range strings.Split(p[open+1:end], ",") {
		if candidate := p[:open] + alt + p[end+1:]; candidate == segment {
			return candidate
		} else if ok, _ := path.Match(candidate, segment); ok {
			return candidate
		}
	}
	return p
}

// toNPM reports whether the package goes to npm's registry, by its own word and the project's .npmrc.
func (c *checker) toNPM(f *manifest) bool {
	if r := f.publishConfig.registry; r != "" {
		return registryName(r) == registryNPM
	}
	if scope := npm.Scope(f.name); scope != "" {
		if r := c.config.scopes[scope]; r != "" {
			return registryName(r) == registryNPM
		}
	}
	return registryName(c.config.registry) == registryNPM
}

func (c *checker) checkManifests() {
	m := c.manifests
	if m == nil || m.root == nil && len(m.members) == 0 {
		return
	}
	// Directories that a publish step names are packages too, if they are there.
	published := false
	for _, p := range c.publishSteps() {
		if p.NPM() {
			published = true
		}
		if p.dir != "?" && p.NPM() {
			if dir := cleanDir(p.dir); !strings.HasPrefix(dir, "..") {
				c.loadManifest(m, dir)
			}
			c.checkPrivate(p)
		}
	}
	slices.SortFunc(m.members, func(a, b *manifest) int { return strings.Compare(a.path, b.path) })
	packages := m.publishable()
	npmPackages := packages[:0:0]
	for _, f := range packages {
		if c.toNPM(f) {
			npmPackages = append(npmPackages, f)
		} else {
			c.add(Finding{Rule: "other-registry", File: f.path, Line: f.line("publishConfig.registry", "publishConfig", "name"), Package: f.name,
				Message: fmt.Sprintf("%s is published to another registry than npm's", f.name)})
		}
	}
	if len(npmPackages) == 0 {
		return
	}
	if !published && len(c.externalPublish()) == 0 {
		c.add(Finding{Rule: "no-publish", File: npmPackages[0].path, Line: npmPackages[0].line("name"),
			Message: fmt.Sprintf("%s can be published, and no workflow publishes to npm", count(len(npmPackages), "package"))})
	}
	if c.options.Repository.Host == "" {
		c.add(Finding{Rule: "repository-unknown", File: npmPackages[0].path, Line: npmPackages[0].line("repository", "name"),
			Message: "the building repository is not known: there is no git remote named origin, and no CI says it"})
	}
	c.checkAccess(npmPackages)
	for _, f := range npmPackages {
		c.checkRepository(f, published)
		if p := f.publishConfig.provenance; p != nil && !*p {
			c.add(Finding{Rule: "provenance-off", File: f.path, Line: f.line("publishConfig.provenance"), Package: f.name,
				Message: fmt.Sprintf("publishConfig.provenance of %s is false", f.name), edits: f.replaceOn("publishConfig.provenance", "false", "true")})
		}
	}
}

func count(n int, what string) string {
	if n == 1 {
		return "1 " + what
	}
	return fmt.Sprintf("%d %ss", n, what)
}

// publishSteps returns all publishing steps of GitHub and GitLab.
func (c *checker) publishSteps() []*publishStep {
	var all []*publishStep
	for _, w := range c.workflows {
		for _, j := range w.jobs {
			all = append(all, j.publishes...)
		}
	}
	for _, g := range c.gitlab {
		for _, j := range g.jobs {
			all = append(all, j.publishes...)
		}
	}
	return all
}

// checkPrivate finds a plain publish of a directory whose package.json says private.
func (c *checker) checkPrivate(p *publishStep) {
	if p.tool == nil || !p.tool.plain {
		return
	}
	for _, f := range []string{"workspace", "workspaces", "filter"} {
		if _, ok := hasFlag(p.flags, f); ok {
			return
		}
	}
	if slices.Contains(p.flags, "-w") || slices.Contains(p.flags, "-ws") || slices.Contains(p.flags, "-F") || slices.Contains(p.flags, "workspaces") || slices.Contains(p.flags, "workspace") {
		return
	}
	f := c.manifests.at(p.dir)
	if f == nil || !f.private || c.edits(p) {
		return
	}
	c.add(Finding{Rule: "private-package", File: f.path, Line: f.line("private"), Package: f.name,
		Message: fmt.Sprintf("%s:%d publishes this package, and it is private", p.File, p.Line)})
}

// edits reports whether the job rewrites a package.json before the step, so that the file here says little.
func (c *checker) edits(p *publishStep) bool {
	for _, cmd := range p.step.commands {
		if slices.ContainsFunc(cmd.words, func(w string) bool { return strings.HasSuffix(w, "package.json") }) || len(cmd.words) > 2 && cmd.words[0] == "npm" && cmd.words[1] == "pkg" {
			return true
		}
	}
	return false
}

func (c *checker) checkRepository(f *manifest, published bool) {
	aside := c.manifests.aside(f)
	level := func(l Level) Level {
		if aside {
			return Info
		}
		if !published && l == Error {
			return Warn // nothing will be refused as long as nothing is published from here
		}
		return l
	}
	home := c.options.Repository
	want := home.String()
	if want == "" {
		want = "https://github.com/OWNER/REPO"
	}
	object := fmt.Sprintf(`"repository": { "type": "git", "url": "git+%s.git"`, want)
	if f.dir != "" {
		object += fmt.Sprintf(`, "directory": %s`, quoteJSON(f.dir))
	}
	object += " }"
	claimed, ok, err := npm.RepositoryFromManifest(f.repository)
	switch {
	case err != nil:
		c.add(Finding{Rule: "repository-mismatch", Level: level(Error), File: f.path, Line: f.line("repository"), Package: f.name,
			Message: fmt.Sprintf("the repository of %s cannot be read: %v", f.name, err), Fix: object})
		return
	case !ok:
		finding := Finding{Rule: "repository-missing", Level: level(Error), File: f.path, Line: f.line("name"), Package: f.name,
			Message: fmt.Sprintf("%s names no repository", f.name), Fix: object}
		if aside {
			finding.Message += "; if it is not to be published, say private: true"
		}
		if home.Host != "" && f.keys["repository"] == 0 && !aside {
			finding.edits = f.insertAfter("version", object)
		}
		c.add(finding)
		return
	case home.Host == "":
	default:
		equal, caseOnly := home.Match(claimed)
		line := f.line("repository.url", "repository")
		switch {
		case equal:
		case caseOnly:
			l := Warn
			if c.options.Canonical {
				l = level(Error)
			}
			c.add(Finding{Rule: "repository-case", Level: l, File: f.path, Line: line, Package: f.name,
				Message: fmt.Sprintf("%s names %s, and %s says %s", f.name, claimed.Path, c.source(), home.Path),
				Fix:     "Spell it " + home.Path + ".", edits: c.fixCase(f, line, claimed.Path, home.Path)})
		default:
			message := fmt.Sprintf("%s names %s, and %s is %s", f.name, claimed, c.source(), home)
			if up := c.options.Upstream; up.Host != "" {
				if same, almost := up.Match(claimed); same || almost {
					message += "; this is a fork of it, and what a fork publishes must name the fork"
				}
			}
			c.add(Finding{Rule: "repository-mismatch", Level: level(Error), File: f.path, Line: line, Package: f.name, Message: message, Fix: object})
			return
		}
	}
	// The directory is informative, save that a wrong one leads a reader to other source.
	if f.repository[0] != '{' && f.dir == "" {
		return
	}
	got := strings.Trim(path.Clean("/"+claimed.Directory), "/")
	switch {
	case got == f.dir:
	case got == "":
		finding := Finding{Rule: "repository-directory", File: f.path, Line: f.line("repository"), Package: f.name,
			Message: fmt.Sprintf("%s is in %s, and its repository has no directory", f.name, f.dir), Fix: `"directory": ` + quoteJSON(f.dir)}
		if f.keys["repository.url"] > 0 && f.keys["repository.url"] > f.keys["repository"] && f.keys["repository.directory"] == 0 {
			finding.edits = f.insertAfter("repository.url", `"directory": `+quoteJSON(f.dir))
		}
		c.add(finding)
	default:
		where := f.dir
		if where == "" {
			where = "the root"
		}
		c.add(Finding{Rule: "repository-directory", Level: Warn, File: f.path, Line: f.line("repository.directory", "repository"), Package: f.name,
			Message: fmt.Sprintf("%s is in %s, and its repository.directory says %s", f.name, where, claimed.Directory), Fix: `"directory": ` + quoteJSON(f.dir)})
	}
}

func (c *checker) source() string {
	if c.options.Source == "" {
		return "the building repository"
	}
	return c.options.Source
}

func quoteJSON(s string) string {
	b, err := json.Marshal(s)
	if err != nil {
		return `""`
	}
	return string(b)
}

func (c *checker) checkAccess(packages []*manifest) {
	m := c.manifests
	var open []*manifest // scoped, and nothing in them says public
	for _, f := range packages {
		switch {
		case f.publishConfig.access == "restricted":
			c.add(Finding{Rule: "access-not-public", Level: Error, File: f.path, Line: f.line("publishConfig.access"), Package: f.name,
				Message: fmt.Sprintf("publishConfig.access of %s is restricted", f.name)})
		case npm.Scope(f.name) != "" && f.publishConfig.access != "public" && !m.aside(f):
			open = append(open, f)
		}
	}
	if len(open) == 0 || c.config.access == "public" || m.changesetAccess == "public" {
		return
	}
	if m.changesetAccess == "restricted" {
		c.add(Finding{Rule: "access-not-public", File: ".changeset/config.json", Line: m.changesetLine,
			Message: "changesets publishes scoped packages restricted", Fix: `"access": "public"`})
		return
	}
	for _, p := range c.publishSteps() {
		v, _ := hasFlag(p.flags, "access")
		if v == "public" || p.step.with["access"].value == "public" {
			return
		}
		if _, env, ok := p.lookup(isAccess); ok && env.value == "public" {
			return
		}
	}
	message := fmt.Sprintf("nothing says that %s is public, which its first version needs", open[0].name)
	if n := len(open) - 1; n > 0 {
		message = fmt.Sprintf("nothing says that %s and %d more are public, which their first versions need", open[0].name, n)
	}
	c.add(Finding{Rule: "access-not-public", Level: Info, File: open[0].path, Line: open[0].line("name"), Package: open[0].name, Message: message})
}

func isAccess(name string) bool { return strings.EqualFold(name, "npm_config_access") }

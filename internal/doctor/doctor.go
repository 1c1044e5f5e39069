// Package doctor reads a project's publishing set-up before it runs and says what will stop the publish, what
// will leave a package without provenance, and what lets somebody else's code into a package that the
// attestation calls the project's own.
//
// It reads files only: GitHub workflows, GitLab's CI file, package.json of every publishable workspace
// member, .npmrc and the configuration of monorepo tools. It asks no network and runs nothing, so it knows
// neither npm's side (which workflow a trusted publisher is bound to) nor the settings of the forge (who
// may approve an environment); what it cannot see it does not report.
package doctor

import (
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"io/fs"
	"path"
	"regexp"
	"slices"
	"strings"
	"unicode/utf8"

	"assay/internal/npm"
)

// A Level says how much a finding matters.
type Level string

// The levels, the worst first. Errors are what makes a publish fail, or a package come out without an
// attestation, or what lets an outsider run code in the publishing job.
const (
	Error Level = "error"
	Warn  Level = "warn"
	Info  Level = "info"
)

func (l Level) rank() int { return slices.Index([]Level{Info, Warn, Error}, l) }

// Schema names the form of a [Report] in JSON.
const Schema = "assay/doctor/v1"

// A Report is what [Check] found. It is written to JSON as it stands.
type Report struct {
	Schema     string    `json:"schema"`     // [Schema]
	Repository string    `json:"repository"` // the building repository's web address, "" where unknown
	Source     string    `json:"source"`     // where Repository is known from, such as "git remote origin"
	Packages   []Package `json:"packages"`   // publishable packages, by path
	Publishes  []Publish `json:"publishes"`  // steps that publish, also those that publish elsewhere than to npm
	Findings   []Finding `json:"findings"`   // by file and line
	Summary    Summary   `json:"summary"`
}

// A Package is a package.json that can be published.
type Package struct {
	Name string `json:"name"` // hostile text
	Path string `json:"path"` // of its package.json, with slashes, relative to the root
}

// A Publish is a step that publishes something.
type Publish struct {
	File     string `json:"file"`
	Line     int    `json:"line"`
	Job      string `json:"job"`      // hostile text
	Tool     string `json:"tool"`     // such as "npm publish" or "changesets/action"
	Registry string `json:"registry"` // "npm", or where it goes instead, such as "JSR"; hostile text
	Via      string `json:"via"`      // the script that hides it, "" where the workflow says it itself; hostile text
	// Guessed says that the script was not read, and that its name and the job's credentials say that it publishes.
	Guessed bool `json:"guessed"`
}

// NPM reports whether the step publishes to npm's public registry, as far as can be seen.
func (p Publish) NPM() bool { return p.Registry == registryNPM }

// A Finding is one thing to mend, or to know.
type Finding struct {
	Rule    string `json:"rule"` // stable; listed by [Rules]
	Level   Level  `json:"level"`
	File    string `json:"file"`    // with slashes, relative to the root
	Line    int    `json:"line"`    // from 1
	Job     string `json:"job"`     // the job, "" where the finding is not about one; hostile text
	Package string `json:"package"` // the package, likewise; hostile text
	Message string `json:"message"` // what is so, in one sentence; hostile text
	Why     string `json:"why"`     // why it matters for the attestation
	Fix     string `json:"fix"`     // the lines to write, or what to do; hostile text
	Fixable bool   `json:"fixable"` // whether --fix writes it
	edits   []edit
}

// A Summary counts findings.
type Summary struct {
	Error int `json:"error"`
	Warn  int `json:"warn"`
	Info  int `json:"info"`
}

// Options say what the files cannot.
type Options struct {
	// Repository is the repository that builds, as the CI or git's remote names it. The zero value: unknown.
	Repository npm.Repository
	// Source says where Repository is from. Canonical says that the forge itself spelled it, so that its case counts.
	Source    string
	Canonical bool
	// Upstream is the repository that git's remote "upstream" names, which makes this one a fork.
	Upstream npm.Repository
	// Visibility is the source repository's: "public", "private", "internal", or "" where unknown.
	Visibility string
	// Only, if not empty, is the one CI file to look at.
	Only string
}

// Limits on what is read. A real workflow has tens of kilobytes, a real monorepo hundreds of packages.
const (
	maxFile      = 1 << 20
	maxWorkflows = 500
	maxNodes     = 50_000 // of one YAML file, aliases expanded
	maxJobs      = 500    // of one workflow
	maxPublishes = 200    // of one job
	maxExpr      = 5000   // expressions judged in one workflow
	maxDepth     = 200
)

// ErrNothing says that there is neither a CI file nor a package.json.
var ErrNothing = errors.New("neither a package.json nor a CI file that Assay reads")

// Check looks at the project in root.
func Check(root fs.FS, o Options) (*Report, error) {
	c := &checker{root: root, options: o, seen: map[string]bool{}, comments: map[string][]string{}}
	if err := c.load(); err != nil {
		return nil, err
	}
	c.checkWorkflows()
	c.checkGitLab()
	c.checkManifests()
	c.checkConfiguration()
	return c.report(), nil
}

// A checker is one run of [Check].
type checker struct {
	root    fs.FS
	options Options

	workflows []*workflow
	calledBy  map[*workflow][]*job  // jobs of other workflows that call one
	composite map[string]*composite // local actions, by directory
	gitlab    []*gitlabFile
	manifests *manifests
	config    *npmrc

	publishes      []Publish
	publishesKnown bool
	findings       []Finding
	seen           map[string]bool
	comments       map[string][]string // lines of the files with comments that ask to leave findings out
}

func (c *checker) load() error {
	found := false
	if c.options.Only == "" {
		c.manifests = c.loadManifests()
		c.config = c.loadConfig()
		_, err := fs.Stat(c.root, "package.json")
		found = err == nil
	} else {
		c.manifests, c.config = &manifests{}, &npmrc{}
	}
	names, err := c.ciFiles()
	if err != nil {
		return err
	}
	for _, name := range names {
		found = true
		data, err := c.read(name)
		if err != nil {
			if c.options.Only != "" {
				return err
			}
			c.add(Finding{Rule: "file-unreadable", File: name, Line: 1, Message: err.Error()})
			continue
		}
		if isGitLab(name, data) {
			c.loadGitLab(name, data)
		} else {
			c.loadWorkflow(name, data)
		}
	}
	if !found {
		return ErrNothing
	}
	return nil
}

// ciFiles lists the CI files, sorted.
func (c *checker) ciFiles() ([]string, error) {
	if c.options.Only != "" {
		return []string{c.options.Only}, nil
	}
	var names []string
	entries, err := fs.ReadDir(c.root, ".github/workflows")
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("listing .github/workflows: %w", err)
	}
	for _, e := range entries {
		if ext := path.Ext(e.Name()); !e.IsDir() && (ext == ".yml" || ext == ".yaml") {
			names = append(names, ".github/workflows/"+e.Name())
		}
	}
	if len(names) > maxWorkflows {
		return nil, fmt.Errorf("reading .github/workflows: more than %d workflows", maxWorkflows)
	}
	if _, err := fs.Stat(c.root, gitlabName); err == nil {
		names = append(names, gitlabName)
	}
	// A GitLab project of components has its jobs in templates/NAME.yml or templates/NAME/template.yml.
	for _, pattern := range []string{"templates/*.yml", "templates/*/template.yml"} {
		matches, _ := fs.Glob(c.root, pattern)
		for _, name := range matches[:min(len(matches), maxWorkflows)] {
			if data, err := c.read(name); err == nil && isComponent(data) {
				names = append(names, name)
			}
		}
	}
	return names, nil
}

// read reads one file, and none that is too large or not text.
func (c *checker) read(name string) ([]byte, error) {
	f, err := c.root.Open(name)
	if err != nil {
		return nil, fmt.Errorf("reading %s: %w", name, cause(err))
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return nil, fmt.Errorf("reading %s: %w", name, cause(err))
	}
	if !info.Mode().IsRegular() {
		return nil, fmt.Errorf("reading %s: is not a regular file", name)
	}
	data, err := readLimited(f)
	if err != nil {
		return nil, fmt.Errorf("reading %s: %w", name, cause(err))
	}
	if !utf8.Valid(data) {
		return nil, fmt.Errorf("reading %s: is not UTF-8", name)
	}
	return data, nil
}

// cause drops the path from a file system's error, which the caller names.
func cause(err error) error {
	var p *fs.PathError
	if errors.As(err, &p) {
		return p.Err
	}
	return err
}

// add keeps a finding, filling in what its rule says. The same finding at the same place is kept once.
func (c *checker) add(f Finding) {
	r, ok := ruleByID(f.Rule)
	if !ok {
		panic("doctor: no rule " + f.Rule) // a mistake in this package, which its tests find
	}
	if f.Level == "" {
		f.Level = r.Level
	}
	if f.Fix == "" {
		f.Fix = r.Fix
	}
	if f.Line < 1 {
		f.Line = 1
	}
	f.Why = r.Why
	f.Fixable = len(f.edits) > 0
	if c.isIgnored(f) {
		return
	}
	key := strings.Join([]string{f.Rule, f.File, fmt.Sprint(f.Line), f.Job, f.Package, f.Message}, "\x00")
	if c.seen[key] {
		return
	}
	c.seen[key] = true
	c.findings = append(c.findings, f)
}

var ignoring = regexp.MustCompile(`#.*\bassay: ignore\[([a-z, -]+)\]`)

// isIgnored reports whether a comment at the finding's line, or on lines of its own above, asks to leave the
// rule out: "# assay: ignore[cache-in-publish]".
func (c *checker) isIgnored(f Finding) bool {
	if ext := path.Ext(f.File); ext != ".yml" && ext != ".yaml" && f.File != ".npmrc" || f.Rule == "file-unreadable" {
		return false
	}
	lines, ok := c.comments[f.File]
	if !ok {
		if data, err := c.read(f.File); err == nil && bytes.Contains(data, []byte("assay: ignore[")) {
			lines = splitLines(data)
		}
		c.comments[f.File] = lines
	}
	for n := f.Line; n >= 1 && n <= len(lines); n-- {
		line := strings.TrimSpace(lines[n-1])
		if n < f.Line && !strings.HasPrefix(line, "#") {
			break
		}
		if m := ignoring.FindStringSubmatch(line); m != nil {
			for _, id := range strings.Split(m[1], ",") {
				if strings.TrimSpace(id) == f.Rule {
					return true
				}
			}
		}
	}
	return false
}

func (c *checker) report() *Report {
	r := &Report{Schema: Schema, Source: c.options.Source, Repository: c.options.Repository.String(),
		Packages: []Package{}, Publishes: []Publish{}, Findings: []Finding{}}
	for _, m := range c.manifests.publishable() {
		r.Packages = append(r.Packages, Package{Name: m.name, Path: m.path})
	}
	r.Publishes = append(r.Publishes, c.publishes...)
	r.Findings = append(r.Findings, c.findings...)
	slices.SortStableFunc(r.Publishes, func(a, b Publish) int {
		return cmp.Or(cmp.Compare(a.File, b.File), cmp.Compare(a.Line, b.Line))
	})
	slices.SortStableFunc(r.Findings, func(a, b Finding) int {
		return cmp.Or(cmp.Compare(a.File, b.File), cmp.Compare(a.Line, b.Line),
			cmp.Compare(b.Level.rank(), a.Level.rank()), cmp.Compare(ruleIndex(a.Rule), ruleIndex(b.Rule)))
	})
	for _, f := range r.Findings {
		switch f.Level {
		case Error:
			r.Summary.Error++
		case Warn:
			r.Summary.Warn++
		default:
			r.Summary.Info++
		}
	}
	return r
}

// Worst returns the worst level among the findings, "" where there is none.
func (r *Report) Worst() Level {
	switch s := r.Summary; {
	case s.Error > 0:
		return Error
	case s.Warn > 0:
		return Warn
	case s.Info > 0:
		return Info
	}
	return ""
}

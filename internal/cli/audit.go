package cli

import (
	"cmp"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"assay/internal/audit"
	"assay/internal/inventory"
	"assay/internal/npm"
	"assay/internal/policy"
	"assay/internal/report"
	"assay/internal/verify"
)

type auditFlags struct {
	common
	omit                []string
	workspaces          []string
	base                string
	tarballs            bool
	installed           bool
	includeAttestations bool
	export              *exporting // nil unless the evidence is what is wanted
	summaries           summaryFlags
	tree                bool
	why                 string
}

func newAudit(env Environment) *cobra.Command {
	var f auditFlags
	cmd := &cobra.Command{
		Use:   "audit [PATH ...]",
		Short: "Verify every package that a project uses",
		Long: `Audit verifies every package of a project; without PATH, of the current directory. For each package it says which
workflow of which repository at which commit made it, or which check does not hold.

PATH is a directory, a lockfile (` + lockfiles + `), a node_modules
directory, an SBOM (CycloneDX or SPDX), or - for a list of package URLs on standard input, one a line. Lockfiles of
yarn 2 and later have no integrity: --tarballs or --installed ties verdicts to bytes. bun.lockb is not read.

Exit codes: 0 nothing denied, 1 something denied, 2 wrong usage, 3 could not tell.

What leaves this machine: the names and versions of packages go to the registries that .npmrc, or the
settings of yarn, pnpm or bun, name, and nothing else, save that --tarballs and --installed fetch tarballs and
that a registry gets the credentials that .npmrc has for it; Sigstore's trust root is fetched from its public
repository once a day.`,
		Example: `  assay audit
  assay audit --json --omit dev ./app/package-lock.json
  assay audit --report sarif=assay.sarif --report cyclonedx=sbom.json
  assay audit - < purls.txt`,
		RunE: func(cmd *cobra.Command, args []string) error { return f.run(cmd, env, args) },
	}
	f.add(cmd)
	f.addAudit(cmd)
	fl := cmd.Flags()
	fl.BoolVar(&f.tree, "tree", false, "print who asks for what, with verdicts and publishers")
	f.summaries.add(fl)
	fl.StringVar(&f.why, "why", "", "print why the package of this `NAME` is there: all ways to it, shortest first")
	return cmd
}

// addAudit adds the flags that say what is audited, and how.
func (f *auditFlags) addAudit(cmd *cobra.Command) {
	fl := cmd.Flags()
	fl.StringSliceVar(&f.omit, "omit", nil, "leave out dependencies of a `TYPE`: dev, optional or peer")
	fl.StringArrayVarP(&f.workspaces, "workspace", "w", nil, "only what this workspace uses; may be repeated")
	fl.StringVar(&f.base, "base", "", "compare with the lockfile at this git `REV` (in CI on a change request: where the change began)")
	fl.BoolVar(&f.tarballs, "tarballs", false, "fetch and hash every tarball")
	fl.BoolVar(&f.installed, "installed", false, "compare what is installed, in node_modules or by Plug'n'Play, with every tarball")
	fl.BoolVar(&f.deep, "deep", false, "ask for attestations of packages that announce none, too")
	fl.BoolVar(&f.includeAttestations, "include-attestations", false, "list verified attestations in the JSON report, as npm does")
}

// newFlags returns the flags that a function adds, for a command that wants some of them.
func newFlags(add func(cmd *cobra.Command)) *pflag.FlagSet {
	cmd := &cobra.Command{}
	add(cmd)
	return cmd.Flags()
}

func (f *auditFlags) run(cmd *cobra.Command, env Environment, args []string) error {
	if err := f.check(); err != nil {
		return err
	}
	if err := f.summaries.check(&f.common); err != nil {
		return err
	}
	for _, o := range f.omit {
		if !slices.Contains([]string{"dev", "optional", "peer"}, o) {
			return usagef("for example --omit dev", "--omit %q is not dev, optional or peer", o)
		}
	}
	asksWhy := cmd.Flags().Changed("why")
	switch {
	case f.tree && asksWhy:
		return usagef("one at a time", "--tree and --why exclude one another")
	case (f.tree || asksWhy) && f.format != "text":
		return usagef("--report "+f.format+"=FILE writes that report beside the text", "--tree and --why print text, and --format is %s", f.format)
	}
	if n := slices.Index(args, "-"); n >= 0 && slices.Contains(args[n+1:], "-") {
		return usagef("give - once", "standard input can be read once only")
	}
	unnamed := len(args) == 0
	if unnamed {
		args = []string{"."}
	}
	start := env.Now()
	project := projectDir(env, args[0])
	s, err := f.open(cmd.Context(), env, project, true)
	if err != nil {
		return err
	}
	defer s.close()
	f.take(s)
	omit := f.omit
	if !cmd.Flags().Changed("omit") {
		omit = s.omit()
	}
	legacyPeers, _, _ := s.config.Get("legacy-peer-deps")
	var targets []audit.Target
	var others []report.Other
	var graphs []graph
	var subjects []string
	for i, arg := range args {
		p, err := s.inventory(arg, inventory.Options{Omit: omit, Workspaces: f.workspaces, LegacyPeerDeps: legacyPeers == "true"})
		if unnamed {
			if q := s.listed(err); q != nil {
				targets, others = q.Listed(), s.listedOthers(q)
				s.notes = append(s.notes, notesOf(q.ProjectNotes)...)
				subjects = s.replay.audit.Subjects
				break
			}
		}
		if err != nil {
			return usagef(s.inventoryHint(err), "%w", err)
		}
		dir := projectDir(env, arg)
		if err := s.checkAlike(project, dir); err != nil {
			return err
		}
		if err := s.readManager(dir, p, i == 0); err != nil {
			return err
		}
		for _, w := range p.Warnings {
			if w.Doubtful {
				others = append(others, s.doubt(p, w))
				continue
			}
			s.notes = append(s.notes, note(w))
		}
		graphs = append(graphs, graph{p, len(targets), len(others)})
		for i := range p.Packages {
			t := s.target(p, i)
			if f.installed {
				t.Places, t.Patches = p.Dirs(i), p.Packages[i].Patches
			}
			targets = append(targets, t)
		}
		for i := range p.Others {
			o := s.other(&p.Others[i])
			o.File = s.shown(p.Dir, o.File)
			others = append(others, o)
		}
		if f.installed {
			for _, o := range p.Strays() {
				others = append(others, s.other(&o))
			}
		}
		subjects = append(subjects, subject(env, p))
	}
	if asksWhy { // before anything is asked of the network
		if err := s.named(f.why, targets, others, graphs); err != nil {
			return err
		}
	}
	options := s.auditOptions(policy.Filter{})
	options.Tarballs, options.Installed = f.tarballs, f.installed
	options.IncludeAttestations = f.includeAttestations
	if options.Base, err = s.base(cmd.Context(), args, f.base, inventory.Options{LegacyPeerDeps: legacyPeers == "true"}, targets, options); err != nil {
		return err
	}
	if !f.quiet {
		s.bar.Store(newProgress(env.Stderr, env.Terminal, cmp.Or(env.Width, 80), len(targets), env.Now))
	}
	bar := s.bar.Load() // nil says nothing
	options.Done = bar.Done
	stop := tick(bar)
	rep := audit.NewRunner(options).Run(cmd.Context(), targets)
	stop()
	bar.Finish()
	if err := cmd.Context().Err(); err != nil {
		return err
	}
	if f.export != nil {
		return f.export.write(cmd.Context(), s, f, options, targets, others, omit, subjects)
	}
	if s.replay != nil && s.replay.refused != nil {
		return unknown(fmt.Errorf("%s: %w", s.replay.name, s.replay.refused))
	}
	rep.Others = append(rep.Others, others...)
	rep.Notes = append(rep.Notes, s.notes...)
	rep.Projects = s.projects(rep, graphs)
	if s.replay != nil && !f.quiet {
		s.replay.compare(env, rep, f, omit, digest(s.policyData))
	}
	o, err := s.textOptions(strings.Join(subjects, ", "), env.Now().Sub(start))
	if err != nil {
		return err
	}
	if s.signed, err = f.summaries.summaries(cmd.Context(), s, rep, o); err != nil {
		return signingError(cmd.Context(), env, err)
	}
	var write func(io.Writer) error
	switch {
	case f.tree:
		write = func(w io.Writer) error { return report.WriteTree(w, rep, o) }
	case asksWhy:
		write = func(w io.Writer) error { return report.WriteWhy(w, rep, f.why, o) }
	case f.format == "text":
		defer s.annotate(rep, o)
	}
	return s.finish(rep, o, write)
}

// named refuses a name that nothing in the projects has.
func (s *session) named(name string, targets []audit.Target, others []report.Other, graphs []graph) error {
	rep := &report.Report{Packages: make([]report.Package, len(targets)), Others: others}
	for i, t := range targets {
		rep.Packages[i] = report.Package{Name: t.Package.ID.Name, Version: t.Package.ID.Version, Target: i}
	}
	rep.Projects = s.projects(rep, graphs)
	err := report.WriteWhy(io.Discard, rep, name, report.TextOptions{})
	var unknown *report.UnknownNameError
	if !errors.As(err, &unknown) {
		return err
	}
	hint := "assay audit --tree shows what there is"
	if len(unknown.Near) > 0 {
		hint = "is it " + strings.Join(unknown.Near, " or ") + "?"
	}
	return usagef(hint, "%w", err)
}

// lockfiles are those that can be read.
const lockfiles = "package-lock.json, npm-shrinkwrap.json, yarn.lock, pnpm-lock.yaml, bun.lock"

// inventory reads what one PATH names.
func (s *session) inventory(path string, o inventory.Options) (*inventory.Project, error) {
	if path != "-" {
		p, err := inventory.Open(s.path(path), o)
		if err == nil {
			err = s.inMember(path, p)
		}
		return p, err
	}
	p, err := inventory.ReadPURLs(s.env.Stdin, "standard input", o)
	if err == nil && len(p.Packages) == 0 && !slices.ContainsFunc(p.Others, func(o inventory.Other) bool { return o.Source != inventory.SourceForeign }) {
		// What made the list may have failed, and nothing at all is never denied.
		return nil, errors.New("standard input names no package of npm's")
	}
	return p, err
}

// project reads one project, with what its package manager says of registries.
func (s *session) project(path string, o inventory.Options) (*inventory.Project, error) {
	p, err := s.inventory(path, o)
	if err != nil {
		return nil, usagef(s.inventoryHint(err), "%w", err)
	}
	return p, s.readManager(projectDir(s.env, path), p, true)
}

// inventoryHint is what to do about a project that could not be read.
func (s *session) inventoryHint(err error) string {
	const takes = "assay audit PATH takes a directory, a lockfile (" + lockfiles + "), node_modules, an SBOM (CycloneDX, SPDX), or - for package URLs on standard input"
	var unsupported *inventory.UnsupportedError
	var missing *inventory.NotFoundError
	var format *inventory.FormatError
	var workspace *inventory.WorkspaceError
	switch {
	case hintOf(err) != "":
		return hintOf(err)
	case errors.As(err, &workspace):
		return "-w takes the name or the directory of a workspace; assay audit --tree shows them"
	case errors.As(err, &unsupported):
		return "install it, and audit what that put on disk: assay audit node_modules"
	case errors.As(err, &missing):
		if above := s.lockedAbove(missing.Path); above != "" {
			return above
		}
		return "npm install --package-lock-only makes a lockfile; " + takes
	case errors.As(err, &format):
		return ""
	}
	return takes
}

// lockedAbove is what to do where a directory may be a workspace: a directory above has the lockfile. "" if none has,
// up to the top of the git work tree.
func (s *session) lockedAbove(path string) string {
	path = s.path(path)
	for dir := path; ; {
		if _, err := os.Lstat(filepath.Join(dir, ".git")); err == nil || dir == filepath.Dir(dir) {
			return ""
		}
		dir = filepath.Dir(dir)
		for name := range strings.SplitSeq(lockfiles, ", ") {
			if _, err := os.Lstat(filepath.Join(dir, name)); err != nil {
				continue
			}
			member, err := filepath.Rel(dir, path)
			if err != nil {
				return ""
			}
			root, err := filepath.Rel(s.env.Dir, dir)
			if err != nil {
				root = dir
			}
			return fmt.Sprintf("there is a %s above; if this is a workspace of it: assay audit %s -w %s", name, filepath.ToSlash(root), filepath.ToSlash(member))
		}
	}
}

// tick lets the bar show that a run goes on, or stands still, until stop is called.
func tick(bar *progress) (stop func()) {
	done := make(chan struct{})
	ticker := time.NewTicker(time.Second)
	go func() {
		defer ticker.Stop()
		for {
			select {
			case <-ticker.C:
				bar.Tick()
			case <-done:
				return
			}
		}
	}()
	return sync.OnceFunc(func() { close(done) })
}

// note tells of an oddity of a lockfile, with the place.
func note(w inventory.Warning) report.Note {
	place := w.File
	if w.Line > 0 {
		place = fmt.Sprintf("%s:%d", w.File, w.Line)
	}
	if place != "" {
		place += ": "
	}
	return report.Note{Code: w.Code, Message: place + w.Message}
}

// doubt is the row of a warning that something else may be installed than what was read.
func (s *session) doubt(p *inventory.Project, w inventory.Warning) report.Other {
	return report.Other{
		Name: w.File, Source: inventory.SourceUnknown, Decision: policy.Decision(policy.Warn),
		Findings:  []policy.Finding{{Rule: "source", Level: policy.Warn, Message: w.Message}},
		Locations: []string{w.File}, File: s.shown(p.Dir, w.File), Line: w.Line,
	}
}

// omit lists what the configuration leaves out, as npm would. The project's own file has no say: a change
// request could hide in it what it adds. Where it says something, everything is audited.
func (s *session) omit() []string {
	omit := s.config.Omit()
	for _, key := range []string{"omit", "only", "production", "optional"} {
		if _, level, ok := s.config.Get(key); ok && level == npm.LevelProject && len(omit) > 0 {
			s.notes = append(s.notes, report.Note{Code: "npmrc", Message: fmt.Sprintf("the project's .npmrc may not leave out dependencies (%s), so all are audited; say it with --omit", key)})
			return nil
		}
	}
	return omit
}

// projectDir is the directory whose .npmrc and policy count for a path.
func projectDir(env Environment, path string) string {
	if path == "-" {
		return env.Dir
	}
	if !filepath.IsAbs(path) {
		path = filepath.Join(env.Dir, path)
	}
	if info, err := os.Stat(path); err == nil && !info.IsDir() {
		path = filepath.Dir(path)
	}
	if filepath.Base(path) == "node_modules" {
		path = filepath.Dir(path)
	}
	return path
}

// target is the i-th package of the inventory with the registry that the configuration gives for its name.
func (s *session) target(project *inventory.Project, i int) audit.Target {
	p := &project.Packages[i]
	base := s.registryFor(p.Name)
	t := audit.Target{
		Package: verify.Package{
			ID: npm.ID{Name: p.Name, Version: p.Version}, Registry: base,
			Lockfile: true, Integrity: p.Integrity, Resolved: p.Resolved,
		},
		Path: project.Path(i), Direct: p.Direct, Dev: p.Dev, Dir: project.Dir, Listed: project.Lists, Resolve: project.Resolve,
	}
	t.Locations, t.File, t.Line = places(p.Locations)
	t.Oddity = p.Oddity
	t.File = s.shown(project.Dir, t.File)
	return t
}

// A graph is a project with where its packages and others begin in the lists of the whole run.
type graph struct {
	project       *inventory.Project
	target, other int
}

// projects turns inventories into the report's graphs.
func (s *session) projects(rep *report.Report, graphs []graph) []report.Project {
	at := make([]int, len(rep.Packages)) // where a target is in the report
	for i := range rep.Packages {
		at[rep.Packages[i].Target] = i
	}
	projects := make([]report.Project, 0, len(graphs))
	for _, g := range graphs {
		p := g.project
		r := report.Project{Name: p.Name, Version: p.Version, Kind: p.Kind, Document: p.Document, Nodes: make([]report.Node, len(p.Nodes))}
		if len(p.Files) > 0 {
			r.File = s.shown(p.Dir, p.Files[0])
		}
		for i := range p.Nodes {
			n := &p.Nodes[i]
			node := report.Node{Name: n.Name, Path: n.Path, Package: -1, Other: -1, Edges: make([]report.Edge, len(n.Edges))}
			if n.Package >= 0 {
				node.Package = at[g.target+n.Package]
			}
			if n.Other >= 0 {
				node.Other = g.other + n.Other
			}
			for j, e := range n.Edges {
				node.Edges[j] = report.Edge{Name: e.Name, Spec: e.Spec, Kind: e.Kind.String(), To: max(e.To, -1)}
			}
			r.Nodes[i] = node
		}
		projects = append(projects, r)
	}
	return projects
}

// shown is a file of a project as the user would name it: relative to the working directory where it lies
// under it, else as it was given.
func (s *session) shown(dir, file string) string {
	if file == "" {
		return ""
	}
	path := s.path(filepath.Join(dir, filepath.FromSlash(file)))
	if rel, err := filepath.Rel(s.env.Dir, path); err == nil && filepath.IsLocal(rel) {
		return filepath.ToSlash(rel)
	}
	return filepath.ToSlash(path)
}

func places(locations []inventory.Location) (paths []string, file string, line int) {
	paths = []string{}
	for i, l := range locations {
		paths = append(paths, l.Path)
		if i == 0 {
			file, line = l.File, l.Line
		}
	}
	return paths, file, line
}

// other is a dependency from no registry, with the policy's word on its source.
func (s *session) other(o *inventory.Other) report.Other {
	locations, file, line := places(o.Locations)
	decision, findings := s.policy.DecideSource(policy.Dependency{ID: npm.ID{Name: o.Name, Version: o.Version}, Source: o.Source, Oddity: o.Oddity, Now: s.env.Now()})
	for i := range findings {
		if o.Missing && findings[i].Level == policy.Error {
			findings[i].Message = "is asked for and not in the lockfile, so nothing is known of it"
		}
	}
	r := report.Other{
		Name: o.Name, Version: o.Version, Source: o.Source, Resolved: cmp.Or(o.Resolved, o.Spec),
		Decision: decision, Findings: findings, Locations: locations, File: file, Line: line,
	}
	if r.Findings == nil {
		r.Findings = []policy.Finding{}
	}
	return r
}

// subject names what was audited, relative to the working directory where it lies under it.
func subject(env Environment, p *inventory.Project) string {
	if len(p.Files) == 0 {
		return p.Kind
	}
	file := filepath.Join(p.Dir, p.Files[0])
	if rel, err := filepath.Rel(env.Dir, file); err == nil && filepath.IsLocal(rel) {
		file = rel
	}
	return file
}

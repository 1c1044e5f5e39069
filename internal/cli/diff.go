package cli

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"assay/internal/audit"
	"assay/internal/gittree"
	"assay/internal/inventory"
	"assay/internal/npm"
	"assay/internal/policy"
	"assay/internal/report"
	"assay/internal/verify"
)

type diffFlags struct {
	common
	format  string
	json    bool
	reports []string
}

// diffForms are the forms that a diff can take.
var diffForms = map[string]func(io.Writer, *report.Diff, report.TextOptions) error{
	"text":     report.WriteDiffText,
	"json":     func(w io.Writer, d *report.Diff, _ report.TextOptions) error { return report.WriteDiffJSON(w, d) },
	"markdown": report.WriteDiffMarkdown,
}

const diffFormNames = "text, json and markdown"

func newDiff(env Environment) *cobra.Command {
	var f diffFlags
	cmd := &cobra.Command{
		Use:   "diff [BASE [HEAD]]",
		Short: "Show what a change of dependencies changes in trust",
		Long: `Diff compares two states of a project and says of every package that was added, removed or changed who
published it before and who does now, what it can run or bring along on install that it could not before,
how old it is, and what the policy says of it. Packages that stay as they are are not looked at.

BASE and HEAD are each a directory or lockfile, else a git revision of the project in this directory, else
REVISION:PATH. A revision that is compared with a directory below this one stands for what lay there. Without
HEAD it is this directory as it lies there. Without BASE it is where the change began in CI on a change
request, and HEAD elsewhere.

Exit codes: 0 nothing that changed is denied, 1 something is, 2 wrong usage, 3 could not tell.

What leaves this machine is what audit sends, for the packages that changed.`,
		Example: `  assay diff main
  assay diff v1.2.0 v1.3.0 --format markdown
  assay diff old/package-lock.json new/package-lock.json`,
		RunE: func(cmd *cobra.Command, args []string) error { return f.run(cmd, env, args) },
	}
	all := newFlags(func(cmd *cobra.Command) { f.add(cmd) })
	for _, name := range []string{"policy", "policy-from", "registry", "registry-keys", "trusted-root", "cache", "offline", "fail-on", "concurrency", "quiet", "verbose", "no-color"} {
		cmd.Flags().AddFlag(all.Lookup(name))
	}
	fl := cmd.Flags()
	fl.StringVar(&f.format, "format", "text", "form of the answer: "+diffFormNames)
	fl.BoolVar(&f.json, "json", false, "the same as --format json")
	fl.StringArrayVar(&f.reports, "report", nil, "also write it to a file, as `FORMAT=FILE`; may be repeated")
	return cmd
}

func (f *diffFlags) check(args []string) error {
	if f.json {
		f.format = "json"
	}
	if diffForms[f.format] == nil {
		return usagef("formats are "+diffFormNames, "unknown format %q", f.format)
	}
	for _, r := range f.reports {
		if form, file, ok := strings.Cut(r, "="); !ok || file == "" || diffForms[form] == nil {
			return usagef("for example --report markdown=diff.md", "--report %q is not FORMAT=FILE with one of the formats %s", r, diffFormNames)
		}
	}
	if len(args) > 2 {
		return usagef("assay diff BASE HEAD", "diff compares two states, and %d were named", len(args))
	}
	f.common.format = "text"
	return f.common.check()
}

func (f *diffFlags) run(cmd *cobra.Command, env Environment, args []string) error {
	if err := f.check(args); err != nil {
		return err
	}
	ctx := cmd.Context()
	project := "."
	if len(args) == 2 && exists(env, args[1]) {
		project = args[1]
	}
	s, err := f.open(ctx, env, projectDir(env, project), true)
	if err != nil {
		return err
	}
	defer s.close()
	was, is, err := s.sides(ctx, args)
	if err != nil {
		return err
	}
	d := newDiffing(s, was, is)
	if err := d.look(ctx); err != nil {
		return err
	}
	o := report.TextOptions{Color: env.Colour && !f.noColor, Width: env.Width, Verbose: f.verbose, Quiet: f.quiet, FailOnWarn: f.failOn == "warn"}
	text, err := diffText(f.format, &d.diff, o)
	if err != nil {
		return err
	}
	if f.format == "json" {
		text = bytes.ReplaceAll(text, []byte("##["), []byte(`#\u0023[`))
	} else {
		text = []byte(inert(string(text)))
	}
	if _, err := env.Stdout.Write(text); err != nil {
		return fmt.Errorf("writing the diff: %w", err)
	}
	o.Color, o.Width = false, 0
	for _, r := range f.reports {
		form, file, _ := strings.Cut(r, "=")
		text, err := diffText(form, &d.diff, o)
		if err == nil {
			err = os.WriteFile(s.path(file), text, 0o666)
		}
		if err != nil {
			return usagef("", "writing the %s report: %w", form, err)
		}
	}
	code := d.diff.Exit()
	if code == ExitAllowed && f.failOn == "warn" && d.diff.Summary.Warn > 0 {
		code = ExitDenied
	}
	if code != ExitAllowed {
		return exitError(code)
	}
	return nil
}

func diffText(form string, d *report.Diff, o report.TextOptions) ([]byte, error) {
	var text bytes.Buffer
	err := diffForms[form](&text, d, o)
	return text.Bytes(), err
}

func exists(env Environment, name string) bool {
	if !filepath.IsAbs(name) {
		name = filepath.Join(env.Dir, name)
	}
	_, err := os.Stat(name)
	return err == nil
}

// isRevision reports whether git takes a name for a revision.
func (s *session) isRevision(ctx context.Context, name string) bool {
	if strings.HasPrefix(name, "-") || strings.HasPrefix(name, ".") || filepath.IsAbs(name) {
		return false
	}
	_, err := gittree.Git(ctx, s.env.Dir, "rev-parse", "--verify", "--quiet", name+"^{commit}")
	return err == nil
}

// A side is one of the two states.
type side struct {
	name    string // for people
	project *inventory.Project
	missing bool // there is no lockfile
}

// sides reads the two states.
func (s *session) sides(ctx context.Context, args []string) (was, is *side, err error) {
	if len(args) == 0 {
		if target, ok := s.changeTarget(); ok {
			commit, err := began(ctx, s.env.Dir, target)
			if err != nil {
				return nil, nil, err
			}
			args = []string{commit}
		} else {
			args = []string{"HEAD"}
		}
	}
	base := args[0]
	if len(args) == 2 && args[1] != "." && filepath.IsLocal(args[1]) && exists(s.env, args[1]) && !exists(s.env, base) && !strings.Contains(base, ":") {
		base += ":" + filepath.ToSlash(args[1]) // a directory of the project is compared with what lay there
	}
	was, err = s.side(ctx, base)
	if err != nil && base != args[0] && errors.Is(err, fs.ErrNotExist) {
		was, err = &side{name: base, project: &inventory.Project{}, missing: true}, nil
	}
	if err != nil {
		return nil, nil, err
	}
	head := "."
	if len(args) == 2 {
		head = args[1]
	} else if file := was.lockfile(args[0]); file != "" && exists(s.env, file) {
		head = file // "main:app/package-lock.json" is compared with app/package-lock.json
	}
	if is, err = s.side(ctx, head); err != nil {
		return nil, nil, err
	}
	if was.missing && is.missing {
		return nil, nil, usagef("name one as REVISION:PATH", "neither %s nor %s has a lockfile", was.name, is.name)
	}
	return was, is, nil
}

// lockfile is the PATH of REVISION:PATH, "" for anything else.
func (b *side) lockfile(arg string) string {
	_, file, ok := strings.Cut(arg, ":")
	if !ok || b.project.Dir != "" {
		return ""
	}
	return file
}

// side reads one state.
func (s *session) side(ctx context.Context, arg string) (*side, error) {
	if exists(s.env, arg) {
		if s.isRevision(ctx, arg) {
			return nil, usagef("write ./"+arg+" for the file, and refs/heads/"+arg+" or the like for the revision", "%s is a file here and a revision as well", arg)
		}
		p, err := s.project(arg, inventory.Options{})
		if err != nil {
			return nil, err
		}
		name := subject(s.env, p)
		if arg == "." {
			name = "the work tree"
		}
		return &side{name, p, false}, nil
	}
	rev, file, _ := strings.Cut(arg, ":")
	if !workTree(ctx, s.env.Dir) {
		return nil, usagef("assay diff BASE HEAD takes directories, lockfiles, and git revisions in a work tree", "there is no file %s here, and this is no git work tree", arg)
	}
	commit, err := commitOf(ctx, s.env.Dir, rev)
	if err != nil {
		return nil, err
	}
	tree, err := gittree.Open(ctx, s.env.Dir, commit)
	if err != nil {
		return nil, err
	}
	defer tree.Close()
	var fsys fs.FS = tree
	base := "."
	if file = path.Clean(filepath.ToSlash(cmp.Or(file, "."))); file != "." {
		if !fs.ValidPath(file) {
			return nil, usagef("name it from this directory on", "%q does not lie in this directory", file)
		}
		info, err := fs.Stat(tree, file)
		if err != nil {
			return nil, usagef("", "%s at %s: %w", file, rev, err)
		}
		dir := file
		if !info.IsDir() {
			dir, base = path.Dir(file), path.Base(file)
		}
		if fsys, err = fs.Sub(tree, dir); err != nil {
			return nil, usagef("", "%s at %s: %w", file, rev, err)
		}
	}
	p, err := inventory.OpenFS(fsys, base, inventory.Options{})
	var missing *inventory.NotFoundError
	none := errors.As(err, &missing)
	if none {
		p, err = &inventory.Project{}, nil // there was none yet, so everything is new
	}
	if err != nil {
		return nil, usagef("", "reading %s: %w", arg, err)
	}
	name := arg
	if !strings.HasPrefix(commit, rev) {
		name = fmt.Sprintf("%s (%.12s)", arg, commit)
	} else if len(rev) == len(commit) {
		name = commit[:12] + strings.TrimPrefix(arg, rev)
	}
	return &side{name, p, none}, nil
}

// A diffing compares two inventories.
type diffing struct {
	s       *session
	was, is *side
	diff    report.Diff
	pairs   []pair
}

// A pair is one change: indices in the two inventories' packages, -1 for none.
type pair struct{ old, new int }

func newDiffing(s *session, was, is *side) *diffing {
	d := &diffing{s: s, was: was, is: is}
	d.diff = report.Diff{Schema: report.DiffSchema, Base: was.name, Head: is.name, At: s.env.Now().UTC(), Notes: []report.Note{}, Changes: []report.Change{}, Others: []report.OtherChange{}}
	d.pairs = paired(was.project.Packages, is.project.Packages)
	return d
}

// paired finds what changed between two sorted lists, and which of the new packages takes which old one's place.
func paired(old, new []inventory.Package) []pair {
	type key struct{ name, version, integrity, resolved string }
	keyOf := func(p *inventory.Package) key { return key{p.Name, p.Version, p.Integrity, p.Resolved} }
	there := map[key]bool{}
	for i := range new {
		there[keyOf(&new[i])] = true
	}
	gone := map[string][]int{}
	stays := map[key]bool{}
	for i := range old {
		if k := keyOf(&old[i]); there[k] {
			stays[k] = true
		} else {
			gone[old[i].Name] = append(gone[old[i].Name], i)
		}
	}
	var pairs []pair
	for i := range new {
		if !stays[keyOf(&new[i])] {
			pairs = append(pairs, pair{-1, i})
		}
	}
	// The likest go together first: the same version, then the same release line, then whatever is left.
	for _, like := range []func(a, b *inventory.Package) bool{
		func(a, b *inventory.Package) bool { return a.Version == b.Version },
		func(a, b *inventory.Package) bool { return npm.ReleaseLine(a.Version) == npm.ReleaseLine(b.Version) },
		func(a, b *inventory.Package) bool { return true },
	} {
		for i := range pairs {
			p := &pairs[i]
			if p.old >= 0 {
				continue
			}
			list := gone[new[p.new].Name]
			for k := len(list) - 1; k >= 0; k-- { // from the highest version down
				if like(&old[list[k]], &new[p.new]) {
					p.old = list[k]
					gone[new[p.new].Name] = slices.Delete(list, k, k+1)
					break
				}
			}
		}
	}
	for _, list := range gone {
		for _, i := range list {
			pairs = append(pairs, pair{i, -1})
		}
	}
	name := func(p pair) *inventory.Package {
		if p.new >= 0 {
			return &new[p.new]
		}
		return &old[p.old]
	}
	slices.SortFunc(pairs, func(a, b pair) int {
		x, y := name(a), name(b)
		return cmp.Or(cmp.Compare(x.Name, y.Name), npm.CompareVersions(x.Version, y.Version), cmp.Compare(x.Version, y.Version), cmp.Compare(a.old, b.old), cmp.Compare(a.new, b.new))
	})
	return pairs
}

// look verifies what changed, and fills in the diff.
func (d *diffing) look(ctx context.Context) error {
	s := d.s
	base := &policy.Base{Revision: d.was.name, Packages: map[string][]policy.BasePackage{}}
	s.addBase(base, d.was.project)
	var old, new []audit.Target
	oldAt, newAt := make([]int, len(d.pairs)), make([]int, len(d.pairs))
	for i, p := range d.pairs {
		if oldAt[i] = -1; p.old >= 0 {
			oldAt[i] = len(old)
			old = append(old, bare(s.target(d.was.project, p.old)))
		}
		if newAt[i] = -1; p.new >= 0 {
			newAt[i] = len(new)
			new = append(new, bare(s.target(d.is.project, p.new)))
		}
	}
	options := s.auditOptions(policy.Filter{})
	if !s.flags.quiet {
		s.bar.Store(newProgress(s.env.Stderr, s.env.Terminal, cmp.Or(s.env.Width, 80), len(old)+len(new), s.env.Now))
	}
	bar := s.bar.Load()
	options.Done = bar.Done
	stop := tick(bar)
	plain := options
	plain.Policy, plain.Lock = s.policy.Plain(), nil
	before := rows(audit.NewRunner(plain).Run(ctx, old), len(old))
	for i := range old {
		r := before[i]
		for k := range base.Packages[r.Name] {
			if b := &base.Packages[r.Name][k]; b.Version == r.Version && b.Integrity == old[i].Package.Integrity {
				if b.Verdict, b.Publisher = r.Verdict, r.Publisher; gone(r) {
					b.Verdict = ""
				}
			}
		}
	}
	options.Base = base
	runner := audit.NewRunner(options)
	rep := runner.Run(ctx, new)
	after := rows(rep, len(new))
	ids, registries := make([]npm.ID, len(new)), make([]string, len(new))
	for i := range new {
		ids[i], registries[i] = new[i].Package.ID, new[i].Package.Registry
	}
	histories := runner.Versions(ctx, ids, registries)
	stop()
	bar.Finish()
	if err := ctx.Err(); err != nil {
		return err
	}
	for i, p := range d.pairs {
		var was, is *report.Package
		var h *policy.History
		if oldAt[i] >= 0 {
			was = before[oldAt[i]]
		}
		if newAt[i] >= 0 {
			is, h = after[newAt[i]], histories[newAt[i]]
		}
		d.diff.Changes = append(d.diff.Changes, d.change(p, was, is, h))
	}
	d.others()
	d.diff.Notes = append(append(d.diff.Notes, rep.Notes...), s.notes...)
	d.diff.Sum()
	return nil
}

// bare is a target of which nothing lies on disk.
func bare(t audit.Target) audit.Target {
	t.Dir, t.Resolve, t.Listed = "", nil, nil
	return t
}

// rows are a report's packages in the order of its targets.
func rows(rep *report.Report, n int) []*report.Package {
	list := make([]*report.Package, n)
	for i := range rep.Packages {
		list[rep.Packages[i].Target] = &rep.Packages[i]
	}
	return list
}

// change says what became of one package.
func (d *diffing) change(p pair, was, is *report.Package, h *policy.History) report.Change {
	c := report.Change{
		Beside: []string{}, Publisher: []report.PublisherChange{}, Manifest: []string{}, Claims: []report.ClaimChange{},
		Path: []string{}, Findings: []policy.Finding{}, Decision: policy.Decision(policy.Allow),
	}
	var then, now *policy.Version
	if was != nil {
		c.Name, c.Before, then = was.Name, state(was), inHistory(h, was.Version)
		date(c.Before, was, then)
		c.Kind, c.Path, c.Direct, c.Dev = report.Removed, was.Path, was.Direct, was.Dev
	}
	if is != nil {
		c.Name, c.After, now = is.Name, state(is), inHistory(h, is.Version)
		date(c.After, is, now)
		c.Kind, c.Path, c.Direct, c.Dev, c.File, c.Line = report.Added, is.Path, is.Direct, is.Dev, is.File, is.Line
		c.Decision, c.Findings = is.Decision, is.Findings
		for i := range d.is.project.Packages {
			if o := &d.is.project.Packages[i]; o.Name == is.Name && o.Version != is.Version && !slices.Contains(c.Beside, o.Version) {
				c.Beside = append(c.Beside, o.Version)
			}
		}
	}
	if was != nil && is != nil {
		switch n := npm.CompareVersions(was.Version, is.Version); {
		case was.Version == is.Version:
			c.Kind = report.Changed
		case n > 0:
			c.Kind = report.Downgraded
		default:
			c.Kind = report.Upgraded
		}
		compare(&c, was, is)
	}
	if now != nil && (then != nil || was == nil) {
		from := &policy.Manifest{}
		if then != nil {
			from = &then.Manifest
		}
		for _, text := range now.Manifest.Since(from) {
			// All that a package that was not there before depends on is new; what it runs on install is news.
			if then != nil || !strings.HasPrefix(text, "new dependency") && !strings.HasPrefix(text, "new command") {
				c.Manifest = append(c.Manifest, text)
			}
		}
	}
	if then != nil && now != nil {
		c.Claims = claims(then, now)
	}
	return c
}

// state is one version with what was found of it.
func state(r *report.Package) *report.State {
	return &report.State{Version: r.Version, PURL: r.PURL, Registry: r.Registry, Integrity: r.Integrity, Verdict: r.Verdict, Publisher: r.Publisher}
}

// date fills in when a version was published: the verified time, else what the registry says.
func date(s *report.State, r *report.Package, v *policy.Version) {
	switch {
	case !r.Published.IsZero():
		s.Published, s.PublishedBy = r.Published.UTC(), "log"
	case v != nil && !v.Time.IsZero():
		s.Published, s.PublishedBy = v.Time.UTC(), "registry"
	}
}

// inHistory is what the registry says of one version, nil for nothing.
func inHistory(h *policy.History, v string) *policy.Version {
	if h == nil {
		return nil
	}
	for i := range h.Versions {
		if h.Versions[i].Version == v && !h.Versions[i].Removed {
			return &h.Versions[i]
		}
	}
	return nil
}

// compare says whether what holds became better or worse, and in what the publishers differ.
func compare(c *report.Change, was, is *report.Package) {
	order := []verify.Verdict{verify.Invalid, verify.Unsigned, verify.Signed, verify.Provenance}
	a, b := slices.Index(order, was.Verdict), slices.Index(order, is.Verdict)
	c.Publisher = append(c.Publisher, publisherChanges(was, is)...)
	switch {
	case a < 0 || b < 0:
		c.Trust = "unknown"
	case b < a || slices.ContainsFunc(c.Publisher, func(p report.PublisherChange) bool { return p.Drift }):
		c.Trust = "worse"
	case b > a:
		c.Trust = "better"
	default:
		c.Trust = "same"
	}
}

// publisherChanges is in what two verified publishers differ, in the words of pins.
func publisherChanges(was, is *report.Package) []report.PublisherChange {
	old, new := was.Publisher, is.Publisher
	if old == nil || new == nil {
		return nil
	}
	accepted, _ := policy.Accept(old, npm.ID{Name: was.Name, Version: was.Version})
	var list []report.PublisherChange
	for _, c := range accepted.Compare(new, npm.ID{Name: is.Name, Version: is.Version}) {
		list = append(list, report.PublisherChange{What: c.What, Old: c.Old, New: c.New, Drift: c.Drift})
	}
	return list
}

// claims is what the registry says otherwise of who published two versions.
func claims(was, is *policy.Version) []report.ClaimChange {
	list := []report.ClaimChange{}
	yes := map[bool]string{true: "yes", false: "no"}
	if was.User != is.User {
		list = append(list, report.ClaimChange{What: "npm account", Old: was.User, New: is.User})
	}
	if was.Trusted != is.Trusted {
		list = append(list, report.ClaimChange{What: "trusted publishing", Old: yes[was.Trusted], New: yes[is.Trusted]})
	}
	if was.Approved != is.Approved {
		list = append(list, report.ClaimChange{What: "approved by a person", Old: yes[was.Approved], New: yes[is.Approved]})
	}
	return list
}

// others compares what comes from no registry.
func (d *diffing) others() {
	key := func(o *report.Other) string {
		return strings.Join([]string{o.Name, o.Version, o.Source, o.Resolved}, "\x00")
	}
	all := func(p *inventory.Project) (list []report.Other) {
		for i := range p.Others {
			if o := &p.Others[i]; o.Source != inventory.SourceWorkspace && o.Source != inventory.SourceLink {
				list = append(list, d.s.other(o))
			}
		}
		for _, w := range p.Warnings {
			if w.Doubtful {
				list = append(list, d.s.doubt(p, w))
			}
		}
		return list
	}
	was, is := all(d.was.project), all(d.is.project)
	stays := map[string]bool{}
	for i := range was {
		stays[key(&was[i])] = true
	}
	var gone []*report.Other
	now := map[string]bool{}
	for i := range is {
		now[key(&is[i])] = true
	}
	for i := range was {
		if !now[key(&was[i])] {
			gone = append(gone, &was[i])
		}
	}
	for i := range is {
		o := &is[i]
		if stays[key(o)] {
			continue
		}
		c := report.OtherChange{Kind: report.Added, After: o}
		if k := slices.IndexFunc(gone, func(g *report.Other) bool { return g.Name == o.Name }); k >= 0 {
			c.Kind, c.Before = report.Changed, gone[k]
			gone = slices.Delete(gone, k, k+1)
		}
		d.diff.Others = append(d.diff.Others, c)
	}
	for _, g := range gone {
		d.diff.Others = append(d.diff.Others, report.OtherChange{Kind: report.Removed, Before: g})
	}
	name := func(c report.OtherChange) *report.Other { return cmp.Or(c.After, c.Before) }
	slices.SortStableFunc(d.diff.Others, func(a, b report.OtherChange) int {
		return cmp.Or(cmp.Compare(name(a).Name, name(b).Name), cmp.Compare(name(a).Version, name(b).Version))
	})
}

package cli

import (
	"bufio"
	"cmp"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"assay/internal/audit"
	"assay/internal/inventory"
	"assay/internal/npm"
	"assay/internal/policy"
	"assay/internal/report"
	"assay/internal/verify"
)

type pinFlags struct {
	common
	update []string
	all    bool
	repo   string
	yes    bool
	dryRun bool
}

func newPin(env Environment) *cobra.Command {
	var f pinFlags
	cmd := &cobra.Command{
		Use:   "pin [PATH]",
		Short: "Accept today's publishers into assay.lock",
		Long: `Pin verifies every package that a project uses and writes down who published it, in assay.lock beside the
lockfile: from then on, audit tells where a publisher is another than the accepted one.

What was not pinned is added, and what is no longer used is taken out. Whatever is weaker than what is pinned
(another publisher, a lower verdict), whatever deserves a second look (a branch that releases are not
usually made from, a certificate without ids), and what the policy says of a version for being new (its age, what
it brings along) is asked for in a terminal, and needs --yes elsewhere. Without an answer it stays as it is.

Exit codes: 0 all is pinned, 1 something was not accepted, 2 wrong usage, 3 something could not be verified.`,
		Example: `  assay pin
  assay pin --update left-pad
  assay pin --update --repo old-owner/tools=new-owner/tools`,
		Args: cobra.ArbitraryArgs,
		RunE: func(cmd *cobra.Command, args []string) error { return f.run(cmd, env, args) },
	}
	f.addPin(cmd)
	return cmd
}

func (f *pinFlags) addPin(cmd *cobra.Command) {
	all := newFlags(func(cmd *cobra.Command) { f.add(cmd) })
	for _, name := range []string{"policy", "registry", "registry-keys", "trusted-root", "cache", "offline", "concurrency", "quiet", "no-color"} {
		cmd.Flags().AddFlag(all.Lookup(name))
	}
	fl := cmd.Flags()
	fl.BoolVar(&f.all, "update", false, "only what is pinned otherwise: of the packages named, or with --repo of all that moved")
	fl.StringVar(&f.repo, "repo", "", "with --update: accept the move of a repository, as `OLD=NEW`, for all its packages at once")
	fl.BoolVar(&f.yes, "yes", false, "answer yes to what would be asked")
	fl.BoolVar(&f.dryRun, "dry-run", false, "say what would change, and write nothing")
}

func (f *pinFlags) run(cmd *cobra.Command, env Environment, args []string) error {
	f.format, f.failOn = "text", "deny"
	if err := f.check(); err != nil {
		return err
	}
	path := "."
	switch {
	case f.all:
		f.update = args
	case len(args) > 1:
		return usagef("assay pin --update NAME ... accepts single packages", "pin takes one PATH")
	case len(args) == 1:
		if path = args[0]; path != "-" && !exists(env, path) {
			return usagef("assay pin --update NAME ... accepts single packages", "there is no %s here: pin takes the PATH of a project", path)
		}
	}
	from, to, err := f.move()
	if err != nil {
		return err
	}
	if f.all && len(f.update) == 0 && f.repo == "" {
		return usagef("assay pin --update NAME, or assay pin --update --repo OLD=NEW", "--update needs to know what")
	}
	project := projectDir(env, path)
	file := filepath.Join(project, policy.LockFile)
	old, disputed, err := f.read(env, file)
	if err != nil {
		return err
	}
	f.pinning = true
	s, err := f.open(cmd.Context(), env, project, true)
	if err != nil {
		return err
	}
	defer s.close()
	p, err := s.project(path, inventory.Options{})
	if err != nil {
		return err
	}
	var targets []audit.Target
	for i := range p.Packages {
		targets = append(targets, s.target(p, i))
	}
	options := s.auditOptions(policy.Filter{})
	options.Lock = old
	if !f.quiet {
		s.bar.Store(newProgress(env.Stderr, env.Terminal, cmp.Or(env.Width, 80), len(targets), env.Now))
	}
	bar := s.bar.Load()
	options.Done = bar.Done
	stop := tick(bar)
	rep := audit.NewRunner(options).Run(cmd.Context(), targets)
	stop()
	bar.Finish()
	if err := cmd.Context().Err(); err != nil {
		return err
	}
	found := make([]policy.Found, len(rep.Packages))
	for i := range rep.Packages {
		r := &rep.Packages[i]
		found[i] = policy.Found{ID: npm.ID{Name: r.Name, Version: r.Version}, Verdict: r.Verdict, Publisher: r.Publisher, News: policy.News(r.Findings)}
	}
	proposals := policy.Propose(old, found, disputed)
	if f.all {
		known := func(name string) bool {
			return slices.ContainsFunc(found, func(f policy.Found) bool { return f.ID.Name == name })
		}
		for _, name := range f.update {
			if !known(name) {
				return usagef("assay audit --why NAME says what is there", "%s is no package of this project", name)
			}
		}
		proposals = slices.DeleteFunc(proposals, func(p policy.Proposal) bool {
			moved := f.repo != "" && strings.EqualFold(p.Moved, from) && p.New != nil && allFrom(p.New, to)
			return !moved && !slices.Contains(f.update, p.Package)
		})
	}
	pr := &pinning{env: env, flags: f, in: bufio.NewReader(env.Stdin)}
	accepted := pr.decide(proposals, from, to)
	open := undecided(disputed, found, accepted)
	if len(open) > 0 {
		// Both sides' pins of a line cannot be written down, and leaving both out would let anybody publish it.
		accepted = nil
	}
	if err := f.write(env, file, old.With(accepted), len(accepted) > 0 || disputed != nil && len(open) == 0); err != nil {
		return err
	}
	if f.repo != "" && !f.quiet && !slices.ContainsFunc(proposals, func(p policy.Proposal) bool { return strings.EqualFold(p.Moved, from) }) {
		fmt.Fprintf(env.Stdout, "no package that is pinned to %s is published by %s now\n", inert(report.Escape(from)), inert(report.Escape(to)))
	}
	return pr.finish(rep, proposals, accepted, open, s.shown("", file))
}

// undecided are the release lines that the two sides of a merge pin differently, that are in use, and about which
// nobody has decided, as "name line".
func undecided(disputed map[string]policy.Dispute, found []policy.Found, accepted []policy.Proposal) (open []string) {
	for _, line := range slices.Sorted(maps.Keys(disputed)) {
		used := func(f policy.Found) bool { return f.ID.Name+" "+npm.ReleaseLine(f.ID.Version) == line }
		decided := func(p policy.Proposal) bool { return p.Package+" "+p.Line() == line }
		if slices.ContainsFunc(found, used) && !slices.ContainsFunc(accepted, decided) {
			open = append(open, line)
		}
	}
	return open
}

// move reads --repo.
func (f *pinFlags) move() (from, to string, err error) {
	if f.repo == "" {
		return "", "", nil
	}
	if !f.all {
		return "", "", usagef("assay pin --update --repo OLD=NEW", "--repo is for --update")
	}
	a, b, ok := strings.Cut(f.repo, "=")
	from, to = policy.RepositoryURL(a), policy.RepositoryURL(b)
	if !ok || strings.Count(from, "/") < 4 || strings.Count(to, "/") < 4 {
		return "", "", usagef("for example --repo old-owner/tools=new-owner/tools", "--repo %q is not OLD=NEW with two repositories", f.repo)
	}
	return from, to, nil
}

func allFrom(p *policy.Pin, repository string) bool {
	return !slices.ContainsFunc(p.Publishers, func(a policy.Pinned) bool { return !strings.EqualFold(a.Repository, repository) })
}

// read returns the pins as they lie there, whatever a base revision says: they are what is to be changed.
func (f *pinFlags) read(env Environment, file string) (*policy.Lock, map[string]policy.Dispute, error) {
	data, err := readFile(file, 16<<20)
	if errors.Is(err, os.ErrNotExist) {
		return nil, nil, nil
	}
	if err != nil {
		return nil, nil, usagef("", "reading the pins: %w", err)
	}
	lock, err := policy.ParseLock(data, filepath.Base(file))
	if policy.Conflicted(data) {
		var disputed map[string]policy.Dispute
		if lock, disputed, err = policy.Merge(data, filepath.Base(file)); err == nil {
			fmt.Fprintf(env.Stderr, "assay: merging the two sides of %s; they disagree about %s\n", filepath.Base(file), counted(len(disputed), "release line"))
			return lock, disputed, nil
		}
	}
	if err != nil {
		return nil, nil, usagef("docs/pins.md describes the file", "reading the pins: %w", err)
	}
	return lock, nil, nil
}

// write puts the file in place as a whole, or not at all.
func (f *pinFlags) write(env Environment, file string, lock *policy.Lock, changed bool) error {
	if f.dryRun || !changed {
		return nil
	}
	data := lock.Format()
	if _, err := policy.ParseLock(data, policy.LockFile); err != nil {
		return fmt.Errorf("writing the pins: they would not be readable: %w", err)
	}
	if err := writeWhole(file, data); err != nil {
		return usagef("", "writing the pins: %w", err)
	}
	return nil
}

// A pinning asks a person and tells what becomes of the proposals.
type pinning struct {
	env   Environment
	flags *pinFlags
	in    *bufio.Reader
	over  bool // there is nobody to answer any more
}

// decide returns the proposals that are accepted.
func (p *pinning) decide(proposals []policy.Proposal, from, to string) []policy.Proposal {
	var accepted []policy.Proposal
	var moved []policy.Proposal
	for _, one := range proposals {
		switch {
		case from != "" && strings.EqualFold(one.Moved, from):
			moved = append(moved, one)
		case !one.Asks():
			accepted = append(accepted, one)
			p.tell(&one, "")
		default:
			p.tell(&one, "? ")
			if p.ask(fmt.Sprintf("accept this for %s %s?", one.Package, one.Line())) {
				accepted = append(accepted, one)
			}
		}
	}
	if len(moved) == 0 {
		return accepted
	}
	for i := range moved {
		p.tell(&moved[i], "? ")
	}
	if p.ask(fmt.Sprintf("accept the move from %s to %s for %s?", from, to, counted(len(moved), "release line"))) {
		accepted = append(accepted, moved...)
	}
	return accepted
}

// tell writes what a proposal changes, old and new side by side.
func (p *pinning) tell(one *policy.Proposal, mark string) {
	if p.flags.quiet && mark == "" {
		return
	}
	line := func(indent, format string, a ...any) {
		fmt.Fprintf(p.env.Stdout, "%s%s\n", indent, inert(report.Escape(fmt.Sprintf(format, a...))))
	}
	switch {
	case one.New == nil:
		line(mark, "- %s %s: no longer used", one.Package, one.Line())
	case one.Old == nil:
		line(mark, "+ %s %s: %s", one.Package, one.Line(), one.New.Describe())
	case len(one.Changes) == 0:
		line(mark, "~ %s %s: %s", one.Package, one.Line(), strings.Join(one.New.Versions, ", "))
	default:
		line(mark, "~ %s %s:", one.Package, one.Line())
	}
	indent := strings.Repeat(" ", len(mark)+4)
	for _, c := range one.Changes {
		line(indent, "%s", c)
	}
	for _, d := range one.Doubts {
		line(indent, "look twice: %s", d)
	}
}

// ask puts a question to a person at a terminal.
func (p *pinning) ask(question string) bool {
	if p.flags.yes {
		return true
	}
	if ci, ok := p.env.Getenv("CI"); ok && ci != "" && ci != "false" || !p.env.Terminal || p.over {
		return false
	}
	fmt.Fprintf(p.env.Stderr, "%s [y/N] ", report.Escape(question))
	answer, err := p.in.ReadString('\n')
	p.over = err != nil
	answer = strings.ToLower(strings.TrimSpace(answer))
	return answer == "y" || answer == "yes"
}

// finish says what came of it, in words and as exit code.
func (p *pinning) finish(rep *report.Report, proposals, accepted []policy.Proposal, open []string, file string) error {
	invalid, unsettled := 0, 0
	for i := range rep.Packages {
		r := &rep.Packages[i]
		switch r.Verdict {
		case verify.Invalid:
			invalid++
			fmt.Fprintf(p.env.Stdout, "! %s\n", inert(report.Escape(fmt.Sprintf("%s@%s is invalid and was not pinned: assay audit says why", r.Name, r.Version))))
		case verify.Provenance, verify.Signed, verify.Unsigned:
		default:
			unsettled++
			fmt.Fprintf(p.env.Stdout, "! %s\n", inert(report.Escape(fmt.Sprintf("%s@%s could not be checked and was not pinned: assay audit says why", r.Name, r.Version))))
		}
	}
	left := len(proposals) - len(accepted)
	if !p.flags.quiet {
		verb := "written"
		switch {
		case p.flags.dryRun:
			verb = "not written (--dry-run)"
		case len(accepted) == 0:
			verb = "unchanged"
		}
		fmt.Fprintf(p.env.Stdout, "%s %s: %s changed, %d not accepted\n", report.Escape(file), verb, counted(len(accepted), "release line"), left)
	}
	if len(open) > 0 {
		fmt.Fprintf(p.env.Stderr, "assay: %s keeps its merge conflicts: nobody decided about %s\n", report.Escape(file), inert(report.Escape(strings.Join(open, ", "))))
	}
	switch {
	case left > 0 && !p.env.Terminal && !p.flags.yes:
		fmt.Fprintln(p.env.Stderr, "assay: hint: look at what is marked with ?, and accept it with --yes")
		return exitError(ExitDenied)
	case left > 0 || invalid > 0 || len(open) > 0:
		return exitError(ExitDenied)
	case unsettled > 0:
		return exitError(ExitUnknown)
	}
	return nil
}

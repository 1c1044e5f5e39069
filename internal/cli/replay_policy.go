package cli

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"path"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"
	"github.com/spf13/cobra"

	"assay/internal/audit"
	"assay/internal/gittree"
	"assay/internal/inventory"
	"assay/internal/npm"
	"assay/internal/policy"
	"assay/internal/report"
)

type replayFlags struct {
	common
	since string
	limit int
}

func newPolicyReplay(env Environment) *cobra.Command {
	var f replayFlags
	cmd := &cobra.Command{
		Use:   "replay [PATH]",
		Short: "Say which commits of the past today's policy would have stopped",
		Long: `Replay runs today's policy over the git history of a project's lockfile: for every commit of this branch that
changed it, what the policy says of the packages that the commit brought, at the time of the commit and with the
pins that held before it, as a check of the change request would have.

Evidence is today's: what the registry has taken down since could not be told, and an advisory that it knows by now
it may not have known then. Times of commits are whatever their makers wrote.

Exit codes: 0 replayed, whatever was stopped, 2 wrong usage.`,
		Example: `  assay policy replay
  assay policy replay --since v1.0.0 --json
  assay policy replay --since 2026-01-01 ./app`,
		RunE: func(cmd *cobra.Command, args []string) error { return f.run(cmd, env, args) },
	}
	all := newFlags(func(cmd *cobra.Command) { f.add(cmd) })
	for _, name := range []string{"json", "policy", "registry", "registry-keys", "trusted-root", "cache", "offline", "concurrency", "quiet", "verbose", "no-color"} {
		cmd.Flags().AddFlag(all.Lookup(name))
	}
	cmd.Flags().StringVar(&f.since, "since", "", "only what came after this `REV` or date (2026-01-31)")
	cmd.Flags().IntVar(&f.limit, "limit", 100, "at most so many changes of the lockfile, the latest (1000 at most)")
	return cmd
}

// ReplaySchema names the form of a replay.
const ReplaySchema = "assay/replay/v1"

// A ReplayReport is what today's policy says of a lockfile's history.
type ReplayReport struct {
	Schema  string         `json:"schema"`
	Path    string         `json:"path"`
	Policy  string         `json:"policy"` // file; "" for the built-in rules
	Summary ReplaySummary  `json:"summary"`
	Commits []ReplayCommit `json:"commits"` // newest first
}

// A ReplaySummary counts commits by what would have become of them.
type ReplaySummary struct {
	Commits int  `json:"commits"`
	Stopped int  `json:"stopped"`
	Untold  int  `json:"untold"` // could not be told
	Warned  int  `json:"warned"`
	Passed  int  `json:"passed"`
	Limited bool `json:"limited"` // there are older changes that were not looked at
}

// A ReplayCommit is one commit that changed the lockfile.
type ReplayCommit struct {
	Commit   string          `json:"commit"`
	Time     time.Time       `json:"time"`
	Subject  string          `json:"subject"` // hostile text
	Brought  int             `json:"brought"` // packages that were not there before, and dependencies from elsewhere
	Decision policy.Decision `json:"decision"`
	Problem  string          `json:"problem"` // why the commit could not be looked at, "" if it was
	Packages []ReplayPackage `json:"packages"`
}

// A ReplayPackage is one package that the policy says something of.
type ReplayPackage struct {
	Name     string           `json:"name"`
	Version  string           `json:"version"`
	Verdict  string           `json:"verdict"` // today's; "" for what comes from no registry
	Decision policy.Decision  `json:"decision"`
	Findings []policy.Finding `json:"findings"`
}

func (f *replayFlags) run(cmd *cobra.Command, env Environment, args []string) error {
	f.format, f.failOn = "text", "deny"
	if err := f.check(); err != nil {
		return err
	}
	if len(args) > 1 {
		return usagef("assay policy replay PATH", "replay takes one PATH")
	}
	if f.limit < 1 || f.limit > 1000 {
		return usagef("", "--limit must be between 1 and 1000, and it is %d", f.limit)
	}
	target := "."
	if len(args) == 1 {
		target = args[0]
	}
	ctx := cmd.Context()
	s, err := f.openReplay(ctx, env, target)
	if err != nil {
		return err
	}
	defer s.close()
	dir, base := s.place(target)
	commits, limited, err := f.commits(ctx, dir, base)
	if err != nil {
		return err
	}
	r := &replaying{s: s, dir: dir, base: base, collected: s.auditOptions(policy.Filter{}), inventories: map[string]*inventory.Project{}}
	rep := &ReplayReport{Schema: ReplaySchema, Path: target, Policy: s.policy.File, Commits: []ReplayCommit{}}
	rep.Summary.Limited = limited
	if !f.quiet {
		s.bar.Store(newProgress(env.Stderr, env.Terminal, cmp.Or(env.Width, 80), len(commits), env.Now))
	}
	bar := s.bar.Load()
	stop := tick(bar)
	for _, c := range commits {
		if err = r.replay(ctx, &c); err != nil {
			break
		}
		rep.Commits = append(rep.Commits, c)
		bar.Done()
	}
	stop()
	bar.Finish()
	if err = cmp.Or(ctx.Err(), err); err != nil {
		return err
	}
	rep.sum()
	if f.format == "json" {
		text, err := json.Marshal(rep, json.Deterministic(true), jsontext.EscapeForHTML(true), jsontext.WithIndent("  "))
		if err != nil {
			return fmt.Errorf("writing the replay: %w", err)
		}
		_, err = fmt.Fprintf(env.Stdout, "%s\n", strings.ReplaceAll(string(report.VisibleJSON(text)), "##[", `#\u0023[`))
		return err
	}
	f.print(env, rep)
	return nil
}

// openReplay opens a session whose policy is the one that lies there, also in CI: it is what is tried out.
func (f *replayFlags) openReplay(ctx context.Context, env Environment, target string) (*session, error) {
	project := projectDir(env, target)
	if !workTree(ctx, project) {
		return nil, usagef("", "%s is in no git work tree, so there is no history to replay", target)
	}
	f.unjudged = true
	s, err := f.open(ctx, env, project, true)
	if err != nil {
		return nil, err
	}
	file := s.path(cmp.Or(f.policy, ""))
	if file == "" {
		file = filepath.Join(project, "assay.yaml")
	}
	data, err := readFile(file, 1<<20)
	if errors.Is(err, fs.ErrNotExist) && f.policy == "" {
		return s, nil
	}
	if err == nil {
		s.policyData = data
		s.policy, err = policy.Parse(data, s.shown("", file), func(name string) ([]byte, error) { return readFile(s.path(filepath.FromSlash(name)), 1<<20) })
	}
	if err != nil {
		s.close()
		return nil, usagef("docs/policy.md lists the keys", "reading the policy: %w", err)
	}
	return s, nil
}

// lockfileNames are those that a project's lockfile may have had in its history.
var lockfileNames = []string{"package-lock.json", "npm-shrinkwrap.json", "yarn.lock", "pnpm-lock.yaml", "bun.lock"}

// commits lists the commits of this branch that changed the lockfile, newest first; limited says that there are older
// ones. A merge counts once, for what it brought into the branch.
func (f *replayFlags) commits(ctx context.Context, dir, base string) (list []ReplayCommit, limited bool, err error) {
	args := []string{"log", "--first-parent", "-z", "--no-color", "--format=%H %ct %s", "--max-count=" + strconv.Itoa(f.limit+1)}
	switch t, dateErr := time.Parse(time.DateOnly, f.since); {
	case f.since == "":
	case dateErr == nil:
		args = append(args, "--since="+t.Format(time.RFC3339))
	default:
		commit, err := commitOf(ctx, dir, f.since)
		if err != nil {
			return nil, false, err
		}
		args = append(args, "^"+commit)
	}
	args = append(args, "HEAD", "--")
	if base != "." {
		args = append(args, "./"+base)
	} else {
		for _, name := range lockfileNames {
			args = append(args, "./"+name)
		}
	}
	out, err := gittree.Git(ctx, dir, args...)
	if err != nil {
		return nil, false, usagef("", "reading the history: %w", err)
	}
	for record := range strings.SplitSeq(strings.TrimSuffix(out, "\x00"), "\x00") {
		hash, rest, _ := strings.Cut(strings.TrimLeft(record, "\n"), " ")
		at, subject, ok := strings.Cut(rest, " ")
		seconds, err := strconv.ParseInt(at, 10, 64)
		if !ok && rest == "" || err != nil {
			continue
		}
		if len(list) == f.limit {
			return list, true, nil
		}
		list = append(list, ReplayCommit{Commit: hash, Time: time.Unix(seconds, 0).UTC(), Subject: subject, Packages: []ReplayPackage{}, Decision: policy.Decision(policy.Allow)})
	}
	return list, false, nil
}

// A replaying looks at one commit after the other.
type replaying struct {
	s           *session
	dir, base   string
	collected   audit.Options
	inventories map[string]*inventory.Project // by commit, of the last two
}

// project is the project as it was at a commit; empty where there was none.
func (r *replaying) project(ctx context.Context, commit string) (*inventory.Project, error) {
	if p := r.inventories[commit]; p != nil {
		return p, nil
	}
	p, err := at(ctx, r.dir, r.base, commit, inventory.Options{})
	if err != nil {
		return nil, err
	}
	if p == nil {
		p = &inventory.Project{}
	}
	if len(r.inventories) > 1 {
		clear(r.inventories)
	}
	r.inventories[commit] = p
	return p, nil
}

// replay fills in what the policy says of one commit.
func (r *replaying) replay(ctx context.Context, c *ReplayCommit) error {
	fail := func(err error) error {
		if ctx.Err() != nil {
			return ctx.Err()
		}
		c.Problem, c.Decision = err.Error(), policy.Decision(policy.Error)
		return nil
	}
	now, err := r.project(ctx, c.Commit)
	if err != nil {
		return fail(err)
	}
	was, parent := &inventory.Project{}, ""
	if hash, err := gittree.Git(ctx, r.dir, "rev-parse", "--verify", "--quiet", c.Commit+"^1"); err == nil {
		parent = strings.TrimSpace(hash)
		if was, err = r.project(ctx, parent); err != nil {
			return fail(fmt.Errorf("the state before it: %w", err))
		}
	} else if shallow, err := gittree.Git(ctx, r.dir, "rev-parse", "--is-shallow-repository"); err == nil && strings.TrimSpace(shallow) == "true" {
		return fail(errors.New("the history ends here, so what it changed is not known: git fetch --unshallow"))
	}
	options := r.collected
	options.Policy, options.Now, options.Lock = r.s.policy, c.Time, nil
	if parent != "" {
		if options.Lock, err = r.pins(ctx, parent); err != nil {
			return fail(err)
		}
	}
	base := &policy.Base{Revision: fmt.Sprintf("%.12s", parent), Packages: map[string][]policy.BasePackage{}}
	old := r.s.addBase(base, was)
	var brought []audit.Target
	for _, p := range paired(was.Packages, now.Packages) {
		if p.new >= 0 {
			brought = append(brought, bare(r.s.target(now, p.new)))
		}
	}
	if r.s.policy.Ratchet.Base != "" {
		r.s.verifyBase(ctx, base, old, brought, options)
	}
	options.Base = base
	rep := audit.NewRunner(options).Run(ctx, brought)
	for i := range rep.Packages {
		p := &rep.Packages[i]
		c.add(p.Name, p.Version, string(p.Verdict), p.Decision, p.Findings)
	}
	c.Brought = len(rep.Packages)
	known := map[string]bool{}
	for i := range was.Others {
		o := &was.Others[i]
		known[o.Name+"\x00"+o.Source+"\x00"+o.Resolved] = true
	}
	for i := range now.Others {
		o := &now.Others[i]
		if o.Source == inventory.SourceWorkspace || o.Source == inventory.SourceLink || known[o.Name+"\x00"+o.Source+"\x00"+o.Resolved] {
			continue
		}
		c.Brought++
		row := r.s.other(o)
		c.add(row.Name, row.Version, "", row.Decision, row.Findings)
	}
	slices.SortStableFunc(c.Packages, func(a, b ReplayPackage) int {
		return cmp.Or(severity(b.Decision)-severity(a.Decision), strings.Compare(a.Name, b.Name), npm.CompareVersions(a.Version, b.Version))
	})
	return nil
}

// pins are those that held at a commit, nil for none.
func (r *replaying) pins(ctx context.Context, commit string) (*policy.Lock, error) {
	tree, err := gittree.Open(ctx, r.dir, commit)
	if err != nil {
		return nil, err
	}
	defer tree.Close()
	data, err := fs.ReadFile(tree, policy.LockFile)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	return policy.ParseLock(data, path.Base(policy.LockFile))
}

func (c *ReplayCommit) add(name, version, verdict string, decision policy.Decision, findings []policy.Finding) {
	if severity(decision) > severity(c.Decision) {
		c.Decision = decision
	}
	if decision != policy.Decision(policy.Allow) {
		c.Packages = append(c.Packages, ReplayPackage{name, version, verdict, decision, findings})
	}
}

func (r *ReplayReport) sum() {
	s := &r.Summary
	s.Commits = len(r.Commits)
	for i := range r.Commits {
		switch policy.Level(r.Commits[i].Decision) {
		case policy.Deny:
			s.Stopped++
		case policy.Error:
			s.Untold++
		case policy.Warn:
			s.Warned++
		default:
			s.Passed++
		}
	}
}

// warnings says how often each rule warns of what a commit brought, as "2 × signed", most often first.
func warnings(c *ReplayCommit) []string {
	times := map[string]int{}
	for i := range c.Packages {
		for _, x := range c.Packages[i].Findings {
			if x.Level == policy.Warn {
				times[x.Rule]++
			}
		}
	}
	rules := slices.SortedFunc(maps.Keys(times), func(a, b string) int { return cmp.Or(times[b]-times[a], strings.Compare(a, b)) })
	for i, rule := range rules {
		rules[i] = fmt.Sprintf("%d × %s", times[rule], rule)
	}
	return rules
}

// print writes the table, and under each commit that would have been stopped why.
func (f *replayFlags) print(env Environment, rep *ReplayReport) {
	words := map[policy.Level]string{policy.Deny: "STOPPED", policy.Error: "untold", policy.Warn: "warned", policy.Allow: "passed"}
	line := func(format string, args ...any) {
		fmt.Fprintln(env.Stdout, inert(fmt.Sprintf(format, args...)))
	}
	for i := range rep.Commits {
		c := &rep.Commits[i]
		word := words[policy.Level(c.Decision)]
		if f.quiet && word != "STOPPED" && word != "untold" {
			continue
		}
		line("%-7s  %.10s  %s  %4d new  %s", word, c.Commit, c.Time.Format(time.DateOnly), c.Brought, report.Escape(c.Subject))
		if c.Problem != "" {
			line("         %s", report.Escape(c.Problem))
		}
		if word == "warned" && !f.verbose {
			line("         %s; -v names them", report.Escape(strings.Join(warnings(c), ", ")))
		}
		told := 0
		for k := range c.Packages {
			p := &c.Packages[k]
			for _, x := range p.Findings {
				if policy.Decision(x.Level) != p.Decision || word == "warned" && !f.verbose || x.Rule == "signed" && x.Level == policy.Warn {
					continue
				}
				if told++; told > 20 && !f.verbose {
					continue
				}
				place := ""
				if x.File != "" {
					place = fmt.Sprintf(" [%s:%d]", report.Escape(x.File), x.Line)
				}
				line("         %s %s%s: %s", report.EscapeASCII(p.Name+"@"+p.Version), report.Escape(x.Rule), place, report.Escape(x.Message))
			}
		}
		if told > 20 && !f.verbose {
			line("         and %d more; -v lists them", told-20)
		}
	}
	s := rep.Summary
	line("%s of the lockfile: %d would have been stopped, %d could not be told, %d warned of, %d passed", counted(s.Commits, "change"), s.Stopped, s.Untold, s.Warned, s.Passed)
	if s.Limited {
		line("there are older ones: only the latest %d were looked at (--limit)", f.limit)
	}
}

package cli

import (
	"cmp"
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"

	"assay/internal/audit"
	"assay/internal/inventory"
	"assay/internal/npm"
	"assay/internal/policy"
	"assay/internal/report"
)

// newPolicy is assay policy with all that stands under it.
func newPolicy(env Environment) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "policy",
		Short: "Write, check, explain and try out a policy",
		Args:  noArgs,
		RunE:  func(cmd *cobra.Command, args []string) error { return cmd.Help() },
	}
	cmd.AddCommand(newPolicyInit(env), newPolicyCheck(env), newPolicyExplain(env), newPolicyTest(env), newPolicyReplay(env), newPolicySchema(env))
	return cmd
}

// policyFile reads a policy as it lies there, and what it extends.
func policyFile(env Environment, file string) (*policy.Policy, error) {
	s := &session{env: env, flags: &common{}}
	data, err := readFile(s.path(file), 1<<20)
	if err != nil {
		return nil, usagef("assay policy init writes one", "reading the policy: %w", err)
	}
	read := func(name string) ([]byte, error) { return readFile(s.path(filepath.FromSlash(name)), 1<<20) }
	p, err := policy.Parse(data, s.shown("", file), read)
	if err != nil {
		return nil, usagef("docs/policy.md lists the keys", "%w", err)
	}
	return p, nil
}

func newPolicyCheck(env Environment) *cobra.Command {
	return &cobra.Command{
		Use:   "check [FILE]",
		Short: "Check that a policy can be read, and say what in it may not be meant",
		Long: `Check reads a policy (assay.yaml), what it extends, and the assay.lock beside it, and says what is wrong, with line
and column. It warns of waivers that have ended or soon will, and of levels that let through what others
would stop. Without an assay.yaml it reads assay.lock alone. It sends nothing.

Exit codes: 0 it is in order, warnings or not, 2 it is not.`,
		Example: `  assay policy check
  assay policy check policies/base.yaml`,
		Args: cobra.MaximumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			file := "assay.yaml"
			if len(args) == 1 {
				file = args[0]
			}
			s := &session{env: env, flags: &common{}}
			if len(args) == 0 && !exists(env, file) && exists(env, policy.LockFile) {
				file = policy.LockFile // pins count without a policy
			}
			var p *policy.Policy
			if filepath.Base(file) != policy.LockFile {
				var err error
				if p, err = policyFile(env, file); err != nil {
					return err
				}
			}
			lockFile := filepath.Join(filepath.Dir(file), policy.LockFile)
			data, err := readFile(s.path(lockFile), 16<<20)
			switch {
			case errors.Is(err, fs.ErrNotExist) && p != nil:
			case err != nil:
				return usagef("", "reading the pins: %w", err)
			default:
				lock, err := policy.ParseLock(data, s.shown("", lockFile))
				if err != nil {
					return usagef("docs/pins.md describes the file", "%w", err)
				}
				fmt.Fprintf(env.Stdout, "%s is in order: %s\n", inert(report.Escape(lock.File)), counted(len(lock.Pins), "package"))
			}
			if p == nil {
				return nil
			}
			doubts := p.Doubts(env.Now())
			for _, d := range doubts {
				fmt.Fprintln(env.Stdout, inert(report.Escape(fmt.Sprintf("%s:%d: warning: %s", d.File, d.Line, d.Text))))
			}
			parts := []string{counted(len(p.Critical), "critical entry"), counted(len(p.Publishers), "publisher"), counted(len(p.Rules), "rule"), counted(len(p.Waivers), "waiver")}
			fmt.Fprintf(env.Stdout, "%s is in order: %s\n", inert(report.Escape(p.File)), strings.Join(parts, ", "))
			return nil
		},
	}
}

// counted is a number with its noun.
func counted(n int, noun string) string {
	switch {
	case n == 1:
		return "1 " + noun
	case strings.HasSuffix(noun, "y"):
		noun = strings.TrimSuffix(noun, "y") + "ie"
	}
	return fmt.Sprintf("%d %ss", n, noun)
}

func newPolicySchema(env Environment) *cobra.Command {
	return &cobra.Command{
		Use:   "schema",
		Short: "Print the JSON Schema of policies, for an editor",
		Long: `Schema prints the JSON Schema (draft 7) of assay.yaml. With it an editor completes keys and marks mistakes:
write it to a file, and name that in the policy's first line as
  # yaml-language-server: $schema=assay.schema.json`,
		Example: `  assay policy schema > assay.schema.json`,
		Args:    noArgs,
		RunE: func(cmd *cobra.Command, args []string) error {
			_, err := env.Stdout.Write(policy.SchemaJSON())
			return err
		},
	}
}

func newPolicyTest(env Environment) *cobra.Command {
	var file string
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "test [FILE]",
		Short: "Run your own cases against a policy",
		Long: `Test reads cases (assay.test.yaml): packages as they may come, and what the policy has to say of each. It decides
about them by the policy beside that file, as it lies there, and says which are not as they should be. It sends
nothing. docs/policy.md describes the file.

Exit codes: 0 all cases are as they should be, 1 some are not, 2 a file cannot be read.`,
		Example: `  assay policy test
  assay policy test --policy strict.yaml cases.yaml`,
		Args: cobra.MaximumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			cases := policy.CasesFile
			if len(args) == 1 {
				cases = args[0]
			}
			return testPolicy(env, cmp.Or(file, filepath.Join(filepath.Dir(cases), "assay.yaml")), cases, asJSON)
		},
	}
	cmd.Flags().StringVar(&file, "policy", "", "policy `FILE` (default: assay.yaml beside the cases)")
	cmd.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	return cmd
}

// A testedCase is one case in JSON.
type testedCase struct {
	Name     string           `json:"name"`
	File     string           `json:"file"`
	Line     int              `json:"line"`
	Want     policy.Decision  `json:"want"`
	Got      policy.Decision  `json:"got"`
	Problem  string           `json:"problem"`
	Findings []policy.Finding `json:"findings"`
}

func testPolicy(env Environment, file, casesFile string, asJSON bool) error {
	p, err := policyFile(env, file)
	if err != nil {
		return err
	}
	s := &session{env: env, flags: &common{}}
	data, err := readFile(s.path(casesFile), 1<<20)
	if err != nil {
		return usagef("docs/policy.md shows what cases look like", "reading the cases: %w", err)
	}
	cases, err := policy.ParseCases(data, s.shown("", casesFile))
	if err != nil {
		return usagef("docs/policy.md shows what cases look like", "%w", err)
	}
	failed := 0
	all := []testedCase{}
	for _, r := range cases.Run(p, env.Now()) {
		if r.Problem != "" {
			failed++
		}
		if asJSON {
			all = append(all, testedCase{r.Case.Title(), r.Case.File, r.Case.Line, r.Case.Want, r.Got, r.Problem, append([]policy.Finding{}, r.Findings...)})
			continue
		}
		line := fmt.Sprintf("ok    %s", inert(report.Escape(fmt.Sprintf("%s: %s", r.Case.Title(), r.Got))))
		if r.Problem != "" {
			line = fmt.Sprintf("FAIL  %s", inert(report.Escape(fmt.Sprintf("%s:%d: %s: %s", r.Case.File, r.Case.Line, r.Case.Title(), r.Problem))))
		}
		fmt.Fprintln(env.Stdout, line)
	}
	if asJSON {
		if err := printJSON(env, all); err != nil {
			return err
		}
	} else {
		fmt.Fprintf(env.Stdout, "%s, %d failed\n", counted(len(cases.Cases), "case"), failed)
	}
	if failed > 0 {
		return exitError(ExitDenied)
	}
	return nil
}

type explainFlags struct {
	common
	asJSON bool
}

func newPolicyExplain(env Environment) *cobra.Command {
	var f explainFlags
	cmd := &cobra.Command{
		Use:   "explain PKG [PATH]",
		Short: "Say which rule decides about a package, and all that was looked at",
		Long: `Explain audits the project as assay audit does, and tells of one package, NAME or NAME@VERSION, what the policy
decides, by which rule, written in which file and line, and of everything else that was looked at why it said
nothing.

Exit codes: 0 explained, whatever the decision, 2 wrong usage.

What leaves this machine is what assay audit sends.`,
		Example: `  assay policy explain react
  assay policy explain @babel/core@7.24.0 ./app --json`,
		Args: cobra.RangeArgs(1, 2),
		RunE: func(cmd *cobra.Command, args []string) error { return f.run(cmd, env, args) },
	}
	all := newFlags(func(cmd *cobra.Command) { f.add(cmd) })
	for _, name := range []string{"policy", "policy-from", "registry", "registry-keys", "trusted-root", "cache", "offline", "strict-time", "concurrency", "quiet"} {
		cmd.Flags().AddFlag(all.Lookup(name))
	}
	cmd.Flags().BoolVar(&f.asJSON, "json", false, "print JSON")
	return cmd
}

// An explained package is one in JSON.
type explained struct {
	Name      string           `json:"name"`
	Version   string           `json:"version"`
	Verdict   string           `json:"verdict"` // "" of a dependency from no registry
	Decision  policy.Decision  `json:"decision"`
	Findings  []policy.Finding `json:"findings"`
	Looks     []policy.Look    `json:"looks"`
	Locations []string         `json:"locations"`
}

func (f *explainFlags) run(cmd *cobra.Command, env Environment, args []string) error {
	f.format, f.failOn = "text", "deny"
	if err := f.check(); err != nil {
		return err
	}
	name, version := args[0], ""
	if i := strings.LastIndexByte(name, '@'); i > 0 {
		name, version = name[:i], name[i+1:]
	}
	path := "."
	if len(args) == 2 {
		path = args[1]
	}
	project := projectDir(env, path)
	s, err := f.open(cmd.Context(), env, project, true)
	if err != nil {
		return err
	}
	defer s.close()
	legacyPeers, _, _ := s.config.Get("legacy-peer-deps")
	p, err := s.project(path, inventory.Options{Omit: s.omit(), LegacyPeerDeps: legacyPeers == "true"})
	if err != nil {
		return err
	}
	var targets []audit.Target
	for i := range p.Packages {
		targets = append(targets, s.target(p, i))
	}
	var others []report.Other
	for i := range p.Others {
		others = append(others, s.other(&p.Others[i]))
	}
	wanted := func(id npm.ID) bool { return id.Name == name && (version == "" || id.Version == version) }
	if err := s.named(name, targets, others, []graph{{p, 0, 0}}); err != nil { // before anything is asked of the network
		return err
	}
	// The whole project is looked at, since packages that come together say something of each other.
	options := s.auditOptions(policy.Filter{})
	var found []explained
	options.Look = func(i int, subject *policy.Subject) {
		if wanted(subject.ID) {
			e := explained{Name: subject.ID.Name, Version: subject.ID.Version, Verdict: string(subject.Outcome.Verdict), Locations: targets[i].Locations}
			e.Decision, e.Findings, e.Looks = s.policy.Explain(subject, policy.Filter{})
			found = append(found, e)
		}
	}
	if !f.quiet {
		s.bar.Store(newProgress(env.Stderr, env.Terminal, cmp.Or(env.Width, 80), len(targets), env.Now))
	}
	bar := s.bar.Load()
	options.Done = bar.Done
	stop := tick(bar)
	audit.NewRunner(options).Run(cmd.Context(), targets)
	stop()
	bar.Finish()
	if err := cmd.Context().Err(); err != nil {
		return err
	}
	for _, o := range others {
		if wanted(npm.ID{Name: o.Name, Version: o.Version}) {
			found = append(found, explained{Name: o.Name, Version: o.Version, Decision: o.Decision, Findings: o.Findings, Looks: []policy.Look{}, Locations: o.Locations})
		}
	}
	if len(found) == 0 {
		return usagef("assay audit --why "+name+" says what is there", "%s is not in this project in version %s", name, version)
	}
	for i := range found {
		found[i].Findings = append([]policy.Finding{}, found[i].Findings...)
	}
	if f.asJSON {
		return printJSON(env, found)
	}
	for i := range found {
		if i > 0 {
			fmt.Fprintln(env.Stdout)
		}
		found[i].print(env)
	}
	return nil
}

func (e *explained) print(env Environment) {
	say := func(format string, args ...string) {
		escaped := make([]any, len(args))
		for i, a := range args {
			escaped[i] = inert(report.Escape(a))
		}
		fmt.Fprintf(env.Stdout, format+"\n", escaped...)
	}
	id := e.Name
	if e.Version != "" {
		id += "@" + e.Version
	}
	say("%s: %s", id, strings.TrimPrefix(e.Verdict+" → "+string(e.Decision), " → "))
	decided := false
	for _, f := range e.Findings {
		if policy.Decision(f.Level) == e.Decision {
			say("  decided by %s, %s: %s", f.Rule, place(f.File, f.Line), f.Message)
			decided = true
		}
	}
	if !decided {
		say("  no rule speaks against it")
	}
	for _, f := range e.Findings {
		if policy.Decision(f.Level) != e.Decision {
			say("  also %s at %s, %s: %s", f.Rule, string(f.Level), place(f.File, f.Line), f.Message)
		}
	}
	if len(e.Looks) == 0 {
		return
	}
	say("what was looked at:")
	for _, l := range e.Looks {
		say("  %-6s %-18s %-16s %s", cmp.Or(string(l.Level), "-"), l.Rule, place(l.File, l.Line), l.Text)
	}
}

// place is where a rule was written.
func place(file string, line int) string {
	if file == "" {
		return "default"
	}
	return fmt.Sprintf("%s:%d", file, line)
}

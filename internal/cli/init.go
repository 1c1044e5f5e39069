package cli

import (
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"assay/internal/audit"
	"assay/internal/inventory"
	"assay/internal/npm"
	"assay/internal/policy"
	"assay/internal/report"
	"assay/internal/verify"
)

type initFlags struct {
	common
	force  bool
	stdout bool
}

func newPolicyInit(env Environment) *cobra.Command {
	var f initFlags
	cmd := &cobra.Command{
		Use:   "init [DIR]",
		Short: "Write a policy to start with, made for this project",
		Long: `Init writes assay.yaml: the recommended rules, and a list of critical packages proposed from what the project
uses, each with its reason: the core of React and TypeScript, build tools, what runs scripts on install, what
most others depend on, and what has provenance and is asked for directly. Those of them that have no provenance
today are proposed as comments, since the rule would fail at once.

What the package manager is told already is taken over: pnpm's trustPolicy, trustPolicyExclude,
trustPolicyIgnoreAfter, minimumReleaseAge and minimumReleaseAgeExclude, npm's min-release-age, yarn's
npmMinimalAgeGate and npmPreapprovedPackages, bun's minimumReleaseAge. The project is audited under the new
policy, and what a rule would stop today for its age or its history alone is excepted by name and version.

Exit codes: 0 written, 2 wrong usage, 3 something could not be checked, so the proposal may lack it.`,
		Example: `  assay policy init
  assay policy init --stdout ./app`,
		RunE: func(cmd *cobra.Command, args []string) error { return f.run(cmd, env, args) },
	}
	all := newFlags(func(cmd *cobra.Command) { f.add(cmd) })
	for _, name := range []string{"registry", "registry-keys", "trusted-root", "cache", "offline", "concurrency", "quiet"} {
		cmd.Flags().AddFlag(all.Lookup(name))
	}
	cmd.Flags().BoolVar(&f.force, "force", false, "write over an assay.yaml that is there")
	cmd.Flags().BoolVar(&f.stdout, "stdout", false, "print it, and write nothing")
	return cmd
}

func (f *initFlags) run(cmd *cobra.Command, env Environment, args []string) error {
	f.format, f.failOn = "text", "deny"
	if err := f.check(); err != nil {
		return err
	}
	if len(args) > 1 {
		return usagef("assay policy init DIR", "init takes one DIR")
	}
	dir := "."
	if len(args) == 1 {
		dir = args[0]
	}
	project := projectDir(env, dir)
	file := filepath.Join(project, "assay.yaml")
	if _, err := os.Lstat(file); err == nil && !f.force && !f.stdout {
		return usagef("assay policy init --force writes over it, --stdout only prints", "%s is there already", file)
	} else if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return usagef("", "looking for a policy: %w", err)
	}
	f.unjudged = true
	s, err := f.open(cmd.Context(), env, project, true)
	if err != nil {
		return err
	}
	defer s.close()
	if err := s.pinsHere(project); err != nil {
		return err
	}
	p, err := s.project(dir, inventory.Options{})
	if err != nil {
		return err
	}
	d := &drafting{s: s, project: p, settings: s.managerSettings(project)}
	if d.policy, err = policy.Parse([]byte(d.draft()), "assay.yaml", nil); err != nil {
		return fmt.Errorf("the proposed policy cannot be read: %w", err)
	}
	rep, err := d.audit(cmd, f.quiet)
	if err != nil {
		return err
	}
	d.except(rep)
	d.propose(rep)
	text := d.draft()
	if _, err := policy.Parse([]byte(text), "assay.yaml", nil); err != nil {
		return fmt.Errorf("the proposed policy cannot be read: %w", err)
	}
	if f.stdout {
		fmt.Fprint(env.Stdout, text)
	} else if err := writeWhole(file, []byte(text)); err != nil {
		return usagef("", "writing the policy: %w", err)
	}
	return d.finish(rep, s.shown("", file), f.stdout)
}

// pinsHere reads the pins as they lie there.
func (s *session) pinsHere(project string) (err error) {
	data, err := readFile(filepath.Join(project, policy.LockFile), 16<<20)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err == nil {
		s.lock, err = policy.ParseLock(data, policy.LockFile)
	}
	if err != nil {
		return usagef("docs/pins.md describes the file", "reading the pins: %w", err)
	}
	return nil
}

// A drafting is a policy in the making.
type drafting struct {
	s        *session
	project  *inventory.Project
	settings managerSettings
	policy   *policy.Policy
	critical []proposed
	young    []excepted // excepted from min-age
	lost     []excepted // excepted from downgrade
}

type excepted struct{ pattern, reason string }

// A proposed is a package for the critical list.
type proposed struct {
	name    string
	reasons []string
	fails   string // why it would fail today, or is not to be taken as it is; "" if neither
}

// audit looks at everything that the project uses under the draft.
func (d *drafting) audit(cmd *cobra.Command, quiet bool) (*report.Report, error) {
	s := d.s
	var targets []audit.Target
	for i := range d.project.Packages {
		targets = append(targets, bare(s.target(d.project, i)))
	}
	options := s.auditOptions(policy.Filter{})
	options.Policy = d.policy
	if !quiet {
		s.bar.Store(newProgress(s.env.Stderr, s.env.Terminal, cmp.Or(s.env.Width, 80), len(targets), s.env.Now))
	}
	bar := s.bar.Load()
	options.Done = bar.Done
	stop := tick(bar)
	rep := audit.NewRunner(options).Run(cmd.Context(), targets)
	stop()
	bar.Finish()
	return rep, cmd.Context().Err()
}

// except excepts what a rule would stop for its age or its history alone: it is in use today, and nothing about it
// contradicts itself.
func (d *drafting) except(rep *report.Report) {
	for i := range rep.Packages {
		p := &rep.Packages[i]
		if p.Verdict == verify.Invalid || strings.Contains(p.Name, "*") {
			continue
		}
		for _, f := range p.Findings {
			one := excepted{p.Name + "@" + p.Version, f.Message}
			if f.Level != policy.Deny || slices.ContainsFunc(slices.Concat(d.young, d.lost), func(e excepted) bool { return e == one }) {
				continue
			}
			switch f.Rule {
			case "min-age":
				d.young = append(d.young, one)
			case "downgrade-line", "downgrade-package":
				d.lost = append(d.lost, one)
			}
		}
	}
}

// Packages that many builds rest on, by what they are.
var (
	reactCore = []string{"react", "react-dom", "react-is", "scheduler", "react-native", "next", "react-router"}
	tsCore    = []string{"typescript", "tslib", "ts-node", "tsx", "@types/node", "@types/react"}
	tools     = []string{
		"vite", "esbuild", "rollup", "webpack", "webpack-cli", "parcel", "turbo", "nx", "lerna", "@swc/core", "@babel/core", "@babel/cli", "babel-loader",
		"postcss", "tailwindcss", "sass", "less", "eslint", "prettier", "@biomejs/biome", "jest", "vitest", "mocha", "playwright", "@playwright/test",
		"cypress", "husky", "lint-staged", "semantic-release", "@changesets/cli", "node-gyp", "prebuild-install", "electron", "electron-builder", "rspack", "@rspack/core", "tsup",
	}
)

const (
	maxProposed  = 150 // names in the proposal
	mostAskedFor = 10  // of the most depended-upon
	leastAsking  = 5   // packages that have to depend on one for that
)

// propose makes the critical list.
func (d *drafting) propose(rep *report.Report) {
	reasons := map[string][]string{}
	var order []string
	add := func(name, reason string) {
		if strings.Contains(name, "*") || slices.Contains(reasons[name], reason) {
			return
		}
		if reasons[name] == nil {
			order = append(order, name)
		}
		reasons[name] = append(reasons[name], reason)
	}
	attested := map[string]bool{}
	lacking := map[string]verify.Verdict{}
	proposals := map[string]string{} // built where anybody's proposal runs: how
	for i := range rep.Packages {
		p := &rep.Packages[i]
		attested[p.Name] = true
		if b := p.Publisher; b != nil && (strings.HasPrefix(b.Ref, "refs/pull/") || strings.HasPrefix(b.Ref, "refs/merge-requests/") || strings.HasPrefix(b.Event, "pull_request")) {
			proposals[p.Name] = fmt.Sprintf("%s was built by %s on %s, which may be anybody's: look first", p.Version, report.EscapeASCII(cmp.Or(b.Event, "a run")), report.EscapeASCII(b.Ref))
		}
		if p.Verdict != verify.Provenance {
			lacking[p.Name] = p.Verdict
		}
	}
	for _, group := range []struct {
		names  []string
		reason string
	}{{reactCore, "React's core"}, {tsCore, "TypeScript's core"}, {tools, "builds or checks what you ship"}} {
		for _, name := range group.names {
			if attested[name] {
				add(name, group.reason)
			}
		}
	}
	for i := range d.project.Packages {
		if p := &d.project.Packages[i]; p.Direct && lacking[p.Name] == "" {
			add(p.Name, "asked for directly")
		}
	}
	for i := range d.project.Packages {
		if p := &d.project.Packages[i]; p.HasInstallScript {
			add(p.Name, "runs a script on install")
		}
	}
	for _, a := range d.mostAskedFor() {
		add(a.name, fmt.Sprintf("%d packages depend on it", a.n))
	}
	for _, name := range order {
		one := proposed{name: name, reasons: reasons[name]}
		switch v := lacking[name]; v {
		case "":
			one.fails = proposals[name]
		case verify.Unchecked:
			one.fails = "could not be checked today"
		case verify.Invalid:
			one.fails = "is invalid today: see assay audit"
		default:
			one.fails = "has none today: would fail"
		}
		d.critical = append(d.critical, one)
	}
	d.critical = d.critical[:min(len(d.critical), maxProposed)]
}

type askedFor struct {
	name string
	n    int
}

// mostAskedFor are the packages that most others in the project depend on.
func (d *drafting) mostAskedFor() []askedFor {
	by := map[string]map[string]bool{}
	for i := range d.project.Nodes {
		n := &d.project.Nodes[i]
		for _, e := range n.Edges {
			if e.To < 0 || n.Package < 0 || d.project.Nodes[e.To].Package < 0 {
				continue
			}
			name := d.project.Packages[d.project.Nodes[e.To].Package].Name
			if by[name] == nil {
				by[name] = map[string]bool{}
			}
			by[name][d.project.Packages[n.Package].Name] = true
		}
	}
	var list []askedFor
	for name, who := range by {
		if len(who) >= leastAsking {
			list = append(list, askedFor{name, len(who)})
		}
	}
	slices.SortFunc(list, func(a, b askedFor) int { return cmp.Or(b.n-a.n, strings.Compare(a.name, b.name)) })
	return list[:min(len(list), mostAskedFor)]
}

// draft writes the policy.
func (d *drafting) draft() string {
	var b strings.Builder
	b.WriteString("# What this project accepts of its packages; docs/policy.md of Assay lists all keys.\n")
	b.WriteString("# Pin today's publishers with `assay pin`, and see what would be stopped with `assay policy replay`.\n")
	for line := range strings.Lines(policy.Recommended()) {
		switch {
		case strings.HasPrefix(line, "min-age:"):
			b.WriteString(d.minAge(line))
		case strings.HasPrefix(line, "downgrade:"):
			b.WriteString(d.downgrade(line))
		default:
			b.WriteString(line)
		}
	}
	if len(d.critical) == 0 {
		return b.String()
	}
	width, active := 0, false
	for _, c := range d.critical {
		width = max(width, len(quotedYAML(c.name)))
		active = active || c.fails == ""
	}
	b.WriteString("\n# Provenance is required of these, and a lack of it always denied. What is proposed with a # in front has none today, or one to look at.\n")
	off := ""
	if !active {
		off = "# "
	}
	b.WriteString(off + "critical:\n" + off + "  - require: provenance\n" + off + "    packages:\n")
	for _, c := range d.critical {
		mark, reasons := "      - ", strings.Join(c.reasons, "; ")
		if c.fails != "" {
			mark, reasons = "#     - ", reasons+"; "+c.fails
		}
		fmt.Fprintf(&b, "%s%-*s  # %s\n", mark, width, quotedYAML(c.name), reasons)
	}
	return b.String()
}

// minAge is the line on ages, with what the package manager demands already.
func (d *drafting) minAge(recommended string) string {
	m := &d.settings
	if m.age == 0 && len(d.young)+len(m.ageExclude) == 0 {
		return recommended
	}
	attested, unattested := 24*time.Hour, 72*time.Hour
	var b strings.Builder
	if m.age > 0 {
		attested, unattested = m.age, max(m.age, unattested)
		fmt.Fprintf(&b, "# %s demands %s already.\n", m.agePlace, inMinutes(m.age))
	}
	fmt.Fprintf(&b, "min-age:\n  attested: %s\n  unattested: %s\n  except:\n    - advisory-fix\n", inMinutes(attested), inMinutes(unattested))
	writeExcepted(&b, m.ageExclude, d.young)
	return b.String()
}

// downgrade is the line on lost provenance, with what pnpm's trust policy says.
func (d *drafting) downgrade(recommended string) string {
	m := &d.settings
	if m.trust != "no-downgrade" && len(d.lost)+len(m.trustExclude) == 0 && m.trustAfter == 0 {
		if m.trust == "off" {
			return "# " + m.trustPlace + " turns pnpm's trustPolicy off; this holds for Assay.\n" + recommended
		}
		return recommended
	}
	level, quiet := policy.Warn, 30*24*time.Hour
	var b strings.Builder
	if m.trust == "no-downgrade" {
		level = policy.Deny
		fmt.Fprintf(&b, "# %s says no-downgrade, which is about the whole package.\n", m.trustPlace)
	}
	if m.trustAfter > 0 {
		quiet = m.trustAfter
	}
	fmt.Fprintf(&b, "downgrade:\n  line: deny\n  package: %s\n  quiet-after: %s\n", level, inMinutes(quiet))
	if len(m.trustExclude)+len(d.lost) > 0 {
		b.WriteString("  exclude:\n")
		writeExcepted(&b, m.trustExclude, d.lost)
	}
	return b.String()
}

func writeExcepted(b *strings.Builder, taken []string, found []excepted) {
	for _, p := range taken {
		fmt.Fprintf(b, "    - %s  # as the package manager has it\n", quotedYAML(p))
	}
	for _, e := range found {
		fmt.Fprintf(b, "    - %s  # in use today: %s\n", quotedYAML(e.pattern), plainComment(e.reason))
	}
}

// plainComment makes text from outside fit for the end of a line.
func plainComment(s string) string {
	if s = report.EscapeASCII(s); len(s) > 200 {
		s = s[:200] + "..."
	}
	return s
}

var plainYAML = regexp.MustCompile(`^[a-z][a-z0-9._/-]*$`)

// quotedYAML is a name as YAML takes it for text.
func quotedYAML(s string) string {
	switch {
	case plainYAML.MatchString(s) && !slices.Contains([]string{"true", "false", "null", "yes", "no", "on", "off", "y", "n"}, s):
		return s
	}
	return strconv.QuoteToASCII(s)
}

// inMinutes writes a duration as policies do.
func inMinutes(d time.Duration) string {
	switch {
	case d%(24*time.Hour) == 0 && d > 24*time.Hour:
		return strconv.Itoa(int(d/(24*time.Hour))) + "d"
	case d%time.Hour == 0:
		return strconv.Itoa(int(d/time.Hour)) + "h"
	}
	return strconv.Itoa(int((d+time.Minute-1)/time.Minute)) + "m"
}

// finish says what was done, and what stands against it.
func (d *drafting) finish(rep *report.Report, file string, printed bool) error {
	errout := d.s.env.Stderr
	tell := func(format string, args ...any) {
		fmt.Fprintf(errout, "assay: %s\n", inert(report.Escape(fmt.Sprintf(format, args...))))
	}
	for _, w := range d.settings.odd {
		tell("%s", w)
	}
	active, off, unsettled := 0, 0, 0
	for _, c := range d.critical {
		if c.fails == "" {
			active++
		} else {
			off++
		}
	}
	for i := range rep.Packages {
		p := &rep.Packages[i]
		id := versionOf(npm.ID{Name: p.Name, Version: p.Version})
		if p.Verdict == verify.Unchecked {
			unsettled++
		}
		for _, f := range p.Findings {
			if f.Level == policy.Deny && f.Rule != "min-age" && f.Rule != "downgrade-line" && f.Rule != "downgrade-package" {
				tell("%s is denied under this policy, by %s: %s", id, f.Rule, f.Message)
			}
		}
	}
	if !printed && !d.s.flags.quiet {
		fmt.Fprintf(d.s.env.Stdout, "%s written: %s, %d more proposed that have no provenance today, %s\n", report.Escape(file), counted(active, "critical package"), off, counted(len(d.young)+len(d.lost), "exception"))
		fmt.Fprintln(d.s.env.Stdout, "next: read it, then assay pin, and commit both")
	}
	if unsettled > 0 {
		tell("%s could not be checked and may be lacking in the proposal: assay audit says why", counted(unsettled, "package"))
		return exitError(ExitUnknown)
	}
	return nil
}

// managerSettings is what the package manager is told already.
type managerSettings struct {
	age          time.Duration // least age of a version; 0: none
	agePlace     string        // "pnpm-workspace.yaml:4 (minimumReleaseAge)"
	ageExclude   []string      // patterns
	trust        string        // pnpm's trustPolicy: "no-downgrade", "off", or ""
	trustPlace   string
	trustExclude []string
	trustAfter   time.Duration
	odd          []string // what could not be taken over, in words
}

// managerSettings reads the files beside the lockfile. Of several ages the longest counts.
func (s *session) managerSettings(project string) managerSettings {
	var m managerSettings
	read := func(name string) []byte {
		data, err := readFile(filepath.Join(project, name), 1<<20)
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			m.odd = append(m.odd, fmt.Sprintf("%s is not taken over: %v", name, err))
		}
		return data
	}
	age := func(place, value string, unit time.Duration) {
		d, ok := durationIn(value, unit)
		if !ok {
			m.odd = append(m.odd, fmt.Sprintf("%s: %q is not understood", place, value))
		} else if d > m.age {
			m.age, m.agePlace = d, place
		}
	}
	exclude := func(to *[]string, place string, values []string) {
		for _, v := range values {
			for _, p := range splitVersions(v) {
				if _, err := policy.ParsePattern(p); err != nil {
					m.odd = append(m.odd, fmt.Sprintf("%s: %v", place, err))
				} else if !slices.Contains(*to, p) {
					*to = append(*to, p)
				}
			}
		}
	}
	const workspace = "pnpm-workspace.yaml"
	pnpm := read(workspace)
	if v, _, line := topLevel(pnpm, "minimumReleaseAge", ":"); v != "" {
		age(fmt.Sprintf("%s:%d (minimumReleaseAge)", workspace, line), v, time.Minute)
	}
	_, list, line := topLevel(pnpm, "minimumReleaseAgeExclude", ":")
	exclude(&m.ageExclude, fmt.Sprintf("%s:%d", workspace, line), list)
	if v, _, line := topLevel(pnpm, "trustPolicy", ":"); v != "" {
		m.trust, m.trustPlace = v, fmt.Sprintf("%s:%d (trustPolicy)", workspace, line)
		if v != "no-downgrade" && v != "off" {
			m.odd = append(m.odd, fmt.Sprintf("%s: %q is not understood", m.trustPlace, v))
		}
	}
	_, list, line = topLevel(pnpm, "trustPolicyExclude", ":")
	exclude(&m.trustExclude, fmt.Sprintf("%s:%d", workspace, line), list)
	if v, _, line := topLevel(pnpm, "trustPolicyIgnoreAfter", ":"); v != "" {
		var ok bool
		if m.trustAfter, ok = durationIn(v, time.Minute); !ok {
			m.odd = append(m.odd, fmt.Sprintf("%s:%d: %q is not understood", workspace, line, v))
		}
	}
	yarn := read(".yarnrc.yml")
	if v, _, line := topLevel(yarn, "npmMinimalAgeGate", ":"); v != "" {
		age(fmt.Sprintf(".yarnrc.yml:%d (npmMinimalAgeGate)", line), v, time.Minute)
	}
	_, list, line = topLevel(yarn, "npmPreapprovedPackages", ":")
	exclude(&m.ageExclude, fmt.Sprintf(".yarnrc.yml:%d", line), list)
	npmrc := read(".npmrc")
	if v, _, line := topLevel(npmrc, "min-release-age", "="); v != "" {
		age(fmt.Sprintf(".npmrc:%d (min-release-age)", line), v, 24*time.Hour)
	}
	_, list, line = topLevel(npmrc, "min-release-age-exclude", "=")
	exclude(&m.ageExclude, fmt.Sprintf(".npmrc:%d", line), list)
	if _, install, ok := bytes.Cut(read("bunfig.toml"), []byte("[install]")); ok {
		if v, _, _ := topLevel(install, "minimumReleaseAge", "="); v != "" {
			age("bunfig.toml (minimumReleaseAge)", v, time.Second)
		}
	}
	return m
}

// topLevel finds a key at the beginning of a line of YAML, or of a file with "=", and returns its value as one text
// or as a list: "[a, b]", lines that begin with a hyphen, or lines "key[]=a". It knows no more of either format,
// which is enough for the settings in question as people write them. line is 0 where the key is not there.
func topLevel(data []byte, key, sign string) (value string, list []string, line int) {
	n, inside := 0, false
	for raw := range bytes.Lines(data) {
		n++
		text := strings.TrimRight(string(raw), " \t\r\n")
		trimmed := strings.TrimSpace(text)
		if trimmed == "" || trimmed[0] == '#' || trimmed[0] == ';' {
			continue
		}
		if item, ok := strings.CutPrefix(trimmed, "- "); ok && inside {
			list = append(list, scalar(item))
			continue
		}
		inside = false
		name, rest, ok := strings.Cut(text, sign)
		if !ok || strings.TrimRight(strings.TrimSuffix(strings.TrimRight(name, " \t"), "[]"), " \t") != key {
			continue
		}
		line = n
		switch rest = strings.TrimSpace(rest); {
		case strings.HasSuffix(strings.TrimSpace(name), "[]"):
			list = append(list, scalar(rest))
		case strings.HasPrefix(rest, "["):
			rest, _, _ = strings.Cut(strings.TrimPrefix(rest, "["), "]")
			for part := range strings.SplitSeq(rest, ",") {
				if v := scalar(part); v != "" {
					list = append(list, v)
				}
			}
		case rest == "" || rest[0] == '#':
			inside = true
		default:
			value = scalar(rest)
		}
	}
	return value, list, line
}

// scalar is a value without quotes and comment.
func scalar(s string) string {
	s = strings.TrimSpace(s)
	if len(s) > 1 && (s[0] == '"' || s[0] == '\'') {
		if end := strings.IndexByte(s[1:], s[0]); end >= 0 {
			return s[1 : 1+end]
		}
	}
	s, _, _ = strings.Cut(s, " #")
	return strings.TrimSpace(s)
}

// splitVersions takes pnpm's "webpack@4.47.0 || 5.102.1" apart into one pattern for each version.
func splitVersions(s string) []string {
	first, rest, ok := strings.Cut(s, "||")
	if !ok {
		return []string{s}
	}
	first = strings.TrimSpace(first)
	at := strings.LastIndexByte(first, '@')
	if at <= 0 {
		return []string{s}
	}
	list := []string{first}
	for v := range strings.SplitSeq(rest, "||") {
		list = append(list, first[:at]+"@"+strings.TrimSpace(v))
	}
	return list
}

// durationIn reads a number of units, or a number with one of its own: "3d" (yarn).
func durationIn(s string, unit time.Duration) (time.Duration, bool) {
	for suffix, u := range map[string]time.Duration{"s": time.Second, "m": time.Minute, "h": time.Hour, "d": 24 * time.Hour, "w": 7 * 24 * time.Hour} {
		if number, ok := strings.CutSuffix(s, suffix); ok {
			s, unit = number, u
			break
		}
	}
	n, err := strconv.ParseFloat(s, 64)
	if err != nil || n < 0 || n*float64(unit) > float64(10*366*24*time.Hour) {
		return 0, false
	}
	return time.Duration(n * float64(unit)), true
}

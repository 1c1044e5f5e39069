package cli

import (
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/url"
	"os"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"

	"assay/internal/doctor"
	"assay/internal/npm"
	"assay/internal/report"
)

type doctorFlags struct {
	format string
	json   bool
	repo   string
	fix    bool
	quiet  bool
}

// newDoctor looks at a publisher's set-up before it runs.
func newDoctor(env Environment) *cobra.Command {
	var f doctorFlags
	cmd := &cobra.Command{
		Use:   "doctor [DIR | WORKFLOW]",
		Short: "Find what will stop a publish, or leave it without provenance, before it runs",
		Long: `Doctor reads the workflows in .github/workflows, .gitlab-ci.yml, the package.json of every workspace member that
can be published, .npmrc, and the files of release tools, and says what will make a publish fail, what
will leave the package without provenance, and what lets other code than the attested into it. Given one
workflow, it reads only that.

It asks no network. It cannot see which workflow a trusted publisher on npmjs.com is bound to, nor who may
approve an environment. The building repository is --repo, else what the CI says, else git's remote origin.

--fix writes what takes nothing away: a missing permission, npm ci for npm install, a missing repository in
package.json and the like. It changes lines, and keeps comments and layout.

Exit codes: 0 no error, 1 an error was found (or is left after --fix), 2 wrong usage.`,
		Example: `  assay doctor                                         the project in this directory
  assay doctor --format sarif > doctor.sarif           for code scanning
  assay doctor .github/workflows/release.yml           one workflow`,
		RunE: func(cmd *cobra.Command, args []string) error { return f.run(env, args) },
	}
	fl := cmd.Flags()
	fl.StringVar(&f.format, "format", "text", "form of the findings: text, json or sarif")
	fl.BoolVar(&f.json, "json", false, "the same as --format json")
	fl.StringVarP(&f.repo, "repo", "R", "", "the building repository, as `OWNER/REPO` or URL")
	fl.BoolVar(&f.fix, "fix", false, "write the changes that are safe to make")
	fl.BoolVarP(&f.quiet, "quiet", "q", false, "leave out what is only worth knowing")
	return cmd
}

func (f *doctorFlags) run(env Environment, args []string) error {
	if f.json {
		f.format = "json"
	}
	switch f.format {
	case "text", "json", "sarif":
	default:
		return usagef("formats are text, json and sarif", "unknown format %q", f.format)
	}
	if len(args) > 1 {
		return usagef("assay doctor --help", "doctor takes one directory or workflow, and %d were given", len(args))
	}
	dir := env.Dir
	if len(args) == 1 {
		if dir = args[0]; !filepath.IsAbs(dir) {
			dir = filepath.Join(env.Dir, dir)
		}
	}
	info, err := os.Stat(dir)
	if err != nil {
		return usagef("", "looking at %s: %w", dir, errors.Unwrap(err))
	}
	var o doctor.Options
	if info.IsDir() {
		dir = projectRoot(dir)
	} else {
		o.Only = filepath.Base(dir)
		dir = filepath.Dir(dir)
	}
	if err := f.building(env, dir, &o); err != nil {
		return err
	}
	root, err := os.OpenRoot(dir)
	if err != nil {
		return usagef("", "opening %s: %w", dir, err)
	}
	defer root.Close()

	var r *doctor.Report
	if f.fix {
		var done []doctor.Fixed
		done, r, err = doctor.Fix(root.FS(), o, func(name string, data []byte) error { return rewrite(root, name, data) })
		for _, d := range done {
			what, why := "mended", d.Message
			if d.Left != "" {
				what, why = "left", d.Left
			}
			fmt.Fprint(env.Stderr, inert(fmt.Sprintf("%s %s:%d %s: %s\n", what, report.Escape(d.File), d.Line, d.Rule, report.Escape(why))))
		}
	} else {
		r, err = doctor.Check(root.FS(), o)
	}
	if err != nil {
		hint := ""
		if errors.Is(err, doctor.ErrNothing) {
			hint = "assay doctor DIR, where DIR is the project's root"
		}
		return usagef(hint, "looking at %s: %w", dir, err)
	}
	switch f.format {
	case "json":
		err = r.WriteJSON(env.Stdout)
	case "sarif":
		err = r.WriteSARIF(env.Stdout, Version())
	default:
		err = writeDoctor(env.Stdout, r, f.quiet)
	}
	if err != nil {
		return err
	}
	if r.Summary.Error > 0 {
		return exitError(ExitDenied)
	}
	return nil
}

// rewrite replaces a file as a whole, its permissions kept: a crash leaves either the old file or the new one.
func rewrite(root *os.Root, name string, data []byte) (err error) {
	name = filepath.FromSlash(name)
	info, err := root.Lstat(name)
	if err != nil {
		return err
	}
	if !info.Mode().IsRegular() {
		return errors.New("is not a regular file")
	}
	temp := filepath.Join(filepath.Dir(name), ".assay-"+rand.Text())
	w, err := root.OpenFile(temp, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, root.Remove(temp))
		}
	}()
	_, err = w.Write(data)
	if err = errors.Join(err, w.Chmod(info.Mode().Perm()), w.Sync(), w.Close()); err != nil {
		return err
	}
	return root.Rename(temp, name)
}

// projectRoot returns the directory that git takes for the work tree's root, if dir lies in one and has no CI
// files of its own: workflows are only ever at the root.
func projectRoot(dir string) string {
	exists := func(dir, name string) bool {
		_, err := os.Stat(filepath.Join(dir, name))
		return err == nil
	}
	if exists(dir, ".github") || exists(dir, ".gitlab-ci.yml") {
		return dir
	}
	for d := dir; ; d = filepath.Dir(d) {
		if exists(d, ".git") {
			if exists(d, ".github/workflows") || exists(d, ".gitlab-ci.yml") {
				return d
			}
			return dir
		}
		if d == filepath.Dir(d) {
			return dir
		}
	}
}

// building fills in which repository builds.
func (f *doctorFlags) building(env Environment, dir string, o *doctor.Options) error {
	get := func(name string) string { v, _ := env.Getenv(name); return v }
	switch {
	case f.repo != "":
		r, err := npm.ParseRepository(f.repo, "")
		if err != nil {
			return usagef("for example --repo acme/widget", "--repo: %w", err)
		}
		o.Repository, o.Source, o.Canonical = r, "--repo", true
		return nil
	case get("GITHUB_ACTIONS") == "true" && get("GITHUB_REPOSITORY") != "":
		server := get("GITHUB_SERVER_URL")
		if server == "" {
			server = "https://github.com"
		}
		if r, err := npm.ParseRepositoryURI(server + "/" + get("GITHUB_REPOSITORY")); err == nil {
			o.Repository, o.Source, o.Canonical = r, "GITHUB_REPOSITORY", true
		}
		o.Visibility = visibility(get("GITHUB_EVENT_PATH"))
		return nil
	case get("GITLAB_CI") == "true" && get("CI_PROJECT_URL") != "":
		if u, err := url.Parse(get("CI_PROJECT_URL")); err == nil {
			if r, err := npm.ParseRepositoryURI(u.String()); err == nil {
				o.Repository, o.Source, o.Canonical = r, "CI_PROJECT_URL", true
			}
		}
		o.Visibility = get("CI_PROJECT_VISIBILITY")
		return nil
	}
	for d := dir; ; d = filepath.Dir(d) {
		if _, err := os.Stat(filepath.Join(d, ".git")); err == nil {
			if origin, upstream, err := doctor.Remotes(d); err == nil {
				o.Repository, o.Upstream = origin, upstream
				if origin.Host != "" {
					o.Source = "git remote origin"
				}
			}
			return nil
		}
		if d == filepath.Dir(d) {
			return nil
		}
	}
}

// visibility reads the repository's visibility from the event that started the workflow, "" where it does not say.
func visibility(path string) string {
	if path == "" {
		return ""
	}
	file, err := os.Open(path)
	if err != nil {
		return ""
	}
	defer file.Close()
	data, err := io.ReadAll(io.LimitReader(file, 32<<20))
	if err != nil {
		return ""
	}
	var event struct {
		Repository struct {
			Visibility string `json:"visibility"`
			Private    bool   `json:"private"`
		} `json:"repository"`
	}
	switch err := json.Unmarshal(data, &event); {
	case err != nil:
		return ""
	case event.Repository.Visibility == "" && event.Repository.Private:
		return "private"
	}
	return event.Repository.Visibility
}

// writeDoctor prints findings by file, then what publishes, then the counts.
func writeDoctor(w io.Writer, r *doctor.Report, quiet bool) error {
	var b strings.Builder
	file := ""
	fixable := 0
	told := map[string]bool{} // rules whose reason stands above already
	for _, f := range r.Findings {
		if quiet && f.Level == doctor.Info {
			continue
		}
		if f.File != file {
			file = f.File
			fmt.Fprintf(&b, "%s\n", report.Escape(file))
		}
		if f.Fixable {
			fixable++
		}
		fmt.Fprintf(&b, "  %4d  %-5s  %s: %s\n", f.Line, f.Level, f.Rule, report.Escape(f.Message))
		if told[f.Rule] {
			continue
		}
		told[f.Rule] = true
		for _, line := range wrap(f.Why, 88) {
			fmt.Fprintf(&b, "               %s\n", line)
		}
		for _, line := range strings.Split(f.Fix, "\n") {
			fmt.Fprintf(&b, "               | %s%s\n", line[:len(line)-len(strings.TrimLeft(line, " "))], report.Escape(strings.TrimLeft(line, " ")))
		}
	}
	if b.Len() > 0 {
		b.WriteByte('\n')
	}
	for _, p := range r.Publishes {
		what := p.Tool
		if p.Via != "" && p.Via != p.Tool {
			what += " by " + p.Via
		}
		if p.Guessed {
			what = p.Via + ", by its name"
		}
		fmt.Fprintf(&b, "publishes to %s: %s (%s:%d, job %s)\n", report.Escape(p.Registry), report.Escape(what), report.Escape(p.File), p.Line, report.Escape(p.Job))
	}
	if len(r.Packages) > 0 {
		names := make([]string, 0, 5)
		for _, p := range r.Packages[:min(len(r.Packages), 5)] {
			names = append(names, report.Escape(p.Name))
		}
		more := ""
		if n := len(r.Packages) - len(names); n > 0 {
			more = fmt.Sprintf(" and %d more", n)
		}
		fmt.Fprintf(&b, "packages: %s%s\n", strings.Join(names, ", "), more)
	}
	if r.Repository != "" {
		fmt.Fprintf(&b, "built by: %s (%s)\n", report.Escape(r.Repository), r.Source)
	}
	fmt.Fprintf(&b, "errors: %d, warnings: %d, notes: %d", r.Summary.Error, r.Summary.Warn, r.Summary.Info)
	if fixable > 0 {
		fmt.Fprintf(&b, "; --fix mends %d of them", fixable)
	}
	b.WriteByte('\n')
	_, err := io.WriteString(w, inert(b.String()))
	return err
}

// inert breaks what a CI's runner would take for a command to itself in what is printed: GitHub reads lines that
// begin with "::", and "##[" anywhere in a line.
func inert(text string) string {
	lines := strings.Split(text, "\n")
	for i, l := range lines {
		l = strings.ReplaceAll(l, "##[", `#\u{23}[`)
		if t := strings.TrimSpace(l); strings.HasPrefix(t, "::") {
			l = strings.Replace(l, "::", `\u{3a}:`, 1)
		}
		lines[i] = l
	}
	return strings.Join(lines, "\n")
}

// wrap breaks a sentence into lines of at most width characters.
func wrap(s string, width int) (lines []string) {
	line := ""
	for _, word := range strings.Fields(s) {
		if line != "" && len(line)+1+len(word) > width {
			lines = append(lines, line)
			line = ""
		}
		if line != "" {
			line += " "
		}
		line += word
	}
	return append(lines, line)
}

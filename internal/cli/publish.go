package cli

import (
	"cmp"
	"context"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"time"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"
	"github.com/spf13/cobra"

	"assay/internal/audit"
	"assay/internal/npm"
	"assay/internal/policy"
	"assay/internal/publish"
	"assay/internal/publisher"
	"assay/internal/report"
	"assay/internal/verify"
)

type publishFlags struct {
	signing
	build        string
	tag          string
	tagPatterns  []string
	access       string
	otp          string
	auth         string
	provenance   string
	bundleOut    string
	dryRun       bool
	watch        bool
	watchTimeout time.Duration
}

// published is what publish --json prints.
type published struct {
	Schema    string               `json:"schema"` // "assay/publish/v1"
	Package   string               `json:"package"`
	Version   string               `json:"version"`
	PURL      string               `json:"purl"`
	Registry  string               `json:"registry"`
	Integrity string               `json:"integrity"`
	Outcome   string               `json:"outcome"` // "published", "already-published" or "dry-run"
	Trusted   bool                 `json:"trusted_publishing"`
	Log       string               `json:"log"` // base URL; "" where nothing was signed in this run
	LogIndex  int64                `json:"log_index"`
	Publisher *publisher.Publisher `json:"publisher"` // null where already published
	Verdict   verify.Verdict       `json:"verdict"`   // what a consumer sees; "" where nobody looked
}

func newPublish(env Environment) *cobra.Command {
	var f publishFlags
	cmd := &cobra.Command{
		Use:   "publish [DIR]",
		Short: "Build, pack, attest and publish a package in one process",
		Long: `Publish makes a package out of the checkout of a CI job (GitHub Actions, GitLab CI) and publishes it with
provenance: it runs the build, packs with npm, signs as assay attest does, verifies its own bundle as a
consumer will, and uploads the very bytes that it signed.

Before it signs, it refuses what the registry or a consumer would: another commit than the job's, changed
tracked files, a package.json whose repository is not the job's, a version that exists with other bytes, a
git tag that does not fit the version, a prerelease without --tag, a private package or repository, a
self-hosted runner. A version that exists with the same bytes is no error: publish may be run again
after any interruption.

The build, npm and their scripts do not find the known publishing tokens in their environment, nor what
npm's configuration takes credentials from (GITHUB_TOKEN stays unless it is that). This is hygiene and no
boundary: they run as the same user, and the step's shell still holds the tokens. Install what needs a
token in a step before. Scripts run as with npm publish: prepublishOnly, prepack, prepare and
postpack; publish and postpublish are not run.

It publishes as a trusted publisher where the job has an identity token and the registry knows the
workflow, else with the token in npm's configuration; it says which, and why the first did not work.

--dry-run does everything but the upload. It signs, so there is a public log entry afterwards. npm's own
dry run leaves provenance out.

Over the network go: identity token and certificate request (certificate authority), signature and
certificate (transparency log, public), identity token or npm token and the package (registry).

Exit codes: 0 published, or published before; 1 refused; 2 wrong usage, a missing token or permission;
3 a service did not answer, or --watch ran out of time.`,
		Example: `  assay publish --build "npm run build" --access public --watch
  assay publish packages/widget --tag-pattern "{unscoped}-v{version}"`,
		RunE: func(cmd *cobra.Command, args []string) error { return f.run(cmd.Context(), env, args) },
	}
	f.add(cmd)
	fl := cmd.Flags()
	fl.StringVar(&f.registry, "registry", "", "registry `URL` (default: as npm finds it)")
	fl.StringVar(&f.build, "build", "", "`COMMAND` to run before packing")
	fl.StringVar(&f.tag, "tag", "", "distribution `TAG` (default: latest)")
	fl.StringArrayVar(&f.tagPatterns, "tag-pattern", nil, "what git tags look like, with {version}, {name} and {unscoped}; may be repeated (default: v{version}, {version}, {name}@{version})")
	fl.StringVar(&f.access, "access", "", "`public`, for a package that is new")
	fl.StringVar(&f.otp, "otp", "", "one-time `PASSWORD`, where the account wants one")
	fl.StringVar(&f.auth, "auth", "auto", "how to publish: trusted (as a trusted publisher), token, or auto (the first that works)")
	fl.StringVar(&f.provenance, "provenance-file", "", "`FILE` with a bundle for this very tarball, in place of signing")
	fl.StringVar(&f.bundleOut, "bundle-out", "", "keep the bundle in `FILE`")
	fl.BoolVar(&f.dryRun, "dry-run", false, "do everything but the upload; signs, and so makes a public log entry")
	fl.BoolVar(&f.watch, "watch", false, "wait until a consumer can verify the package")
	fl.DurationVar(&f.watchTimeout, "watch-timeout", 10*time.Minute, "how long to wait with --watch")
	return cmd
}

func (f *publishFlags) run(ctx context.Context, env Environment, args []string) error {
	dir := env.Dir
	switch {
	case len(args) > 1:
		return usagef("for example assay publish packages/widget", "publish takes one directory, and %d were given", len(args))
	case len(args) == 1 && filepath.IsAbs(args[0]):
		dir = args[0]
	case len(args) == 1:
		dir = filepath.Join(env.Dir, args[0])
	}
	switch publish.Auth(f.auth) {
	case publish.AuthAuto, publish.AuthTrusted, publish.AuthToken:
	default:
		return usagef("auto, trusted or token", "--auth %q is no way to publish", f.auth)
	}
	ci, err := publish.DetectCI(env.Getenv)
	if err != nil {
		if f.provenance == "" || publish.ReasonOf(err) != "no-ci" {
			return signingError(ctx, env, err)
		}
		ci = nil // a bundle made elsewhere can be published from anywhere
	}
	f.concurrency = 16
	s, err := f.open(ctx, env, configDir(dir), true)
	if err != nil {
		return err
	}
	defer s.close()
	f.notes(s)
	out, registry, err := f.publish(ctx, s, ci, dir)
	if err != nil {
		return signingError(ctx, env, err)
	}
	return f.conclude(ctx, s, out, registry)
}

func (f *publishFlags) publish(ctx context.Context, s *session, ci *publish.CI, dir string) (*publish.Published, string, error) {
	m, err := publish.ReadManifestFile(dir)
	if err != nil {
		return nil, "", err
	}
	o, err := f.options(s, ci)
	if err != nil {
		return nil, "", err
	}
	if o.Registry, err = publish.RegistryFor(m, s.config, f.registry); err != nil {
		return nil, "", err
	}
	setting := func(flag, key string) string {
		configured, level, _ := s.config.Get(key)
		if level == npm.LevelDefault {
			configured = ""
		}
		return cmp.Or(flag, m.Setting(key), configured)
	}
	o.Auth, o.Access, o.Tag = publish.Auth(f.auth), setting(f.access, "access"), setting(f.tag, "tag")
	otp, _, _ := s.config.Get("otp")
	o.OTP, o.Reader = publish.NewSecret(cmp.Or(f.otp, otp)), s.client
	if s.client == nil {
		return nil, "", usagef("", "publishing needs the network")
	}
	r := publish.Release{
		Dir: dir, Build: f.build, TagPatterns: f.tagPatterns, TagExplicit: o.Tag != "", AllowLower: f.tag == "latest", DryRun: f.dryRun,
		Environ: s.env.Environ, SecretNames: s.authVariables(configDir(dir)), Output: s.env.Stderr,
	}
	if f.quiet {
		r.Output = io.Discard
	}
	if f.provenance != "" {
		if r.Bundle, err = readFile(s.path(f.provenance), maxBundleFile); err != nil {
			return nil, "", usagef("", "reading the provenance: %w", err)
		}
	}
	if f.bundleOut != "" {
		r.KeepBundle = func(b []byte) error {
			if err := writeWhole(s.path(f.bundleOut), b); err != nil {
				return usagef("", "writing the bundle: %w", err)
			}
			return nil
		}
	}
	j, err := publish.New(o)
	if err != nil {
		return nil, "", err
	}
	out, err := j.Publish(ctx, r)
	return out, o.Registry, err
}

// authVariables are the variables that npm's files take credentials from.
func (s *session) authVariables(project string) []string {
	own := filepath.Join(project, ".npmrc")
	projectBytes, err := readFile(own, 1<<20)
	if err != nil {
		projectBytes = nil // opening the session would have told
	}
	setting := func(key string) string { return npm.EnvSetting(key, s.env.Environ, projectBytes) }
	user := setting("userconfig")
	if user == "" {
		home, _ := s.env.Getenv("HOME")
		if home == "" {
			home, _ = os.UserHomeDir()
		}
		user = filepath.Join(home, ".npmrc")
	}
	names := publish.AuthVariables(projectBytes)
	for _, file := range []string{s.globalConfig(setting), user} {
		if data, err := readFile(file, 1<<20); err == nil {
			names = append(names, publish.AuthVariables(data)...)
		}
	}
	return names
}

// configDir is where npm looks for the project's .npmrc: at the root of the workspaces that a directory is one of,
// else in the directory itself (@npmcli/config, loadLocalPrefix). The search ends at the repository's root.
func configDir(dir string) string {
	for at := dir; ; {
		data, err := readFile(filepath.Join(at, "package.json"), 16<<20)
		var m struct {
			Workspaces jsontext.Value `json:"workspaces"`
		}
		if err == nil && json.Unmarshal(data, &m, jsontext.AllowInvalidUTF8(true), jsontext.AllowDuplicateNames(true)) == nil && len(m.Workspaces) > 0 {
			return at
		}
		up := filepath.Dir(at)
		if _, err := os.Lstat(filepath.Join(at, ".git")); err == nil || up == at {
			return dir
		}
		at = up
	}
}

// conclude says what became of it, and looks at the package as a consumer does where that is asked for, or where
// another run published it.
func (f *publishFlags) conclude(ctx context.Context, s *session, out *publish.Published, registry string) error {
	res := published{
		Schema: "assay/publish/v1", Package: out.ID.Name, Version: out.ID.Version, PURL: out.ID.PURL(), Registry: registry,
		Integrity: out.Integrity, Outcome: "published", Trusted: out.Trusted,
	}
	if a := out.Attestation; a != nil {
		res.Log, res.LogIndex, res.Publisher = a.Log, a.LogIndex, a.Publisher
	}
	id := report.Escape(out.ID.String())
	w := s.env.Stdout
	say := func(format string, args ...any) {
		if !f.json {
			fmt.Fprintf(w, format+"\n", args...)
		}
	}
	switch {
	case out.Already:
		res.Outcome = "already-published"
		say("%s: already published with these very bytes; nothing was signed or uploaded", id)
	case out.DryRun:
		res.Outcome = "dry-run"
		say("%s: not uploaded (--dry-run); everything before it holds", id)
		if out.Attestation.Signed {
			say("the signature is public all the same: %s, log index %d", report.Escape(res.Log), res.LogIndex)
		}
	default:
		say("%s: published to %s", id, report.Escape(registry))
	}
	if res.Publisher != nil {
		say("%s: %s", id, builtBy(res.Publisher))
	}
	code := ExitAllowed
	if !out.DryRun && (f.watch || out.Already) {
		patience := time.Duration(0)
		if f.watch {
			patience = f.watchTimeout
		}
		row, err := f.await(ctx, s, out, registry, patience)
		if err != nil {
			return signingError(ctx, s.env, err)
		}
		res.Verdict = row.Verdict
		code = f.judge(s, row, id, say)
	}
	if f.json {
		if err := printJSON(s.env, res); err != nil {
			return err
		}
	}
	if code != ExitAllowed {
		return exitError(code)
	}
	return nil
}

// await looks at the package on the registry as a consumer does, without a cache, until it verifies or patience is
// at its end. A registry needs a while for its own signature and attestation.
func (f *publishFlags) await(ctx context.Context, s *session, out *publish.Published, registry string, patience time.Duration) (*report.Package, error) {
	options := s.auditOptions(policy.Filter{})
	options.Deep, options.Tarballs = true, true
	end := time.Now().Add(patience)
	for wait := time.Second; ; wait = min(2*wait, 15*time.Second) {
		options.Collector = s.freshCollector()
		rep := audit.NewRunner(options).Run(ctx, []audit.Target{{Package: verify.Package{ID: out.ID, Registry: registry, Lockfile: true, Integrity: out.Integrity}}})
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		row := &rep.Packages[0]
		left := time.Until(end)
		if row.Verdict == verify.Provenance || left <= 0 {
			return row, nil
		}
		if !f.quiet {
			tell(s.env, "assay: ", fmt.Sprintf("a consumer cannot verify %s yet (%s); looking again", out.ID, row.Verdict))
		}
		timer := time.NewTimer(min(wait, left))
		select {
		case <-timer.C:
		case <-ctx.Done():
			timer.Stop()
			return nil, ctx.Err()
		}
	}
}

// judge says what a consumer sees, and gives the exit code for it.
func (f *publishFlags) judge(s *session, row *report.Package, id string, say func(string, ...any)) int {
	if row.Verdict == verify.Provenance {
		say("%s: a consumer can verify it: %s", id, builtBy(row.Publisher))
		return ExitAllowed
	}
	for _, c := range row.Checks {
		if c.Status == verify.Fail || c.Status == verify.Error {
			tell(s.env, "assay: ", fmt.Sprintf("%s: %s (%s): %s", row.Name, c.ID, c.Reason, c.Message))
		}
	}
	switch row.Verdict {
	case verify.Invalid:
		tell(s.env, "assay: error: ", "the package is published, and a consumer refuses it")
		return ExitDenied
	case verify.Signed, verify.Unsigned:
		tell(s.env, "assay: error: ", "the package is published, and the registry serves no provenance for it")
		tell(s.env, "assay: hint: ", "a version cannot be published again: publish the next one with provenance")
		return ExitDenied
	}
	tell(s.env, "assay: error: ", "the package is published, and a consumer cannot tell yet whether its provenance holds")
	tell(s.env, "assay: hint: ", "the registry may need longer: assay verify "+row.Name+"@"+row.Version)
	return ExitUnknown
}

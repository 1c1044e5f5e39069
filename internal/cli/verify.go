package cli

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"
	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"assay/internal/audit"
	"assay/internal/evidence"
	"assay/internal/npm"
	"assay/internal/policy"
	"assay/internal/publisher"
	"assay/internal/registry"
	"assay/internal/report"
)

// Limits on the files that a user names: npm refuses nothing, but nobody publishes more.
const (
	maxBundleFile = 64 << 20
	maxTarball    = 1 << 30
)

type verifyFlags struct {
	common
	bundle    string
	integrity string
	filter    policy.Filter
	pattern   string
	tarball   bool
}

// aliases are the spellings of cosign and gh for the identity filters.
var aliases = map[string]string{
	"certificate-identity":                   "signer-identity",
	"cert-identity":                          "signer-identity",
	"certificate-identity-regexp":            "signer-identity-regexp",
	"cert-identity-regex":                    "signer-identity-regexp",
	"certificate-oidc-issuer":                "issuer",
	"cert-oidc-issuer":                       "issuer",
	"certificate-github-workflow-repository": "repo",
	"certificate-github-workflow-ref":        "ref",
	"certificate-github-workflow-sha":        "source-digest",
	"certificate-github-workflow-trigger":    "event",
	"source-ref":                             "ref",
	"source-repo":                            "repo",
}

func newVerify(env Environment) *cobra.Command {
	var f verifyFlags
	cmd := &cobra.Command{
		Use:   "verify PKG[@VERSION] | FILE.tgz",
		Short: "Verify one package: every check, and who built it",
		Long: `Verify runs every check over one package and says in words who built it, or what does not hold.

PKG is a package of the registry; without a version, or with a tag, the version that the tag names now.
FILE.tgz is a tarball at hand, which has to be the one that the registry's evidence is about. With --bundle
the attestations come from a file (a Sigstore bundle, a registry's answer, or JSON lines) and no registry is
asked; with --trusted-root as well, nothing touches the network.

A filter (--repo, --workflow, --ref, --event, --issuer, --signer-identity, …) demands that publisher, and
with it that there is provenance. The spellings of cosign and gh are understood.

Exit codes: 0 nothing denied, 1 something denied, 2 wrong usage, 3 could not tell.`,
		Example: `  assay verify sigstore@2.0.0 --repo sigstore/sigstore-js
  assay verify left-1.0.0.tgz --bundle left.sigstore.json --trusted-root root.json`,
		RunE: func(cmd *cobra.Command, args []string) error { return f.run(cmd.Context(), env, args) },
	}
	f.add(cmd)
	fl := cmd.Flags()
	fl.StringVar(&f.bundle, "bundle", "", "`FILE` with the attestations, instead of the registry's")
	fl.StringVar(&f.integrity, "integrity", "", "`SRI` of the tarball, in place of the tarball")
	fl.BoolVar(&f.tarball, "tarball", true, "fetch and hash the tarball")
	fl.StringVarP(&f.filter.Repository, "repo", "R", "", "built from this `OWNER/REPO` or URL")
	fl.StringVarP(&f.filter.Owner, "owner", "o", "", "built from a repository of this `OWNER`")
	fl.StringVar(&f.filter.Workflow, "workflow", "", "by the workflow at this `PATH` of that repository")
	fl.StringVar(&f.filter.Ref, "ref", "", "on this `REF`, such as refs/heads/main")
	fl.StringVar(&f.filter.Event, "event", "", "on this `EVENT`, such as push")
	fl.StringVar(&f.filter.Commit, "source-digest", "", "at this `COMMIT`")
	fl.StringVar(&f.filter.Issuer, "issuer", "", "with a token of this OIDC issuer `URL`, exactly")
	fl.StringVar(&f.filter.Signer, "signer-identity", "", "signed by exactly this workflow at a ref, as a `URI`")
	fl.StringVar(&f.pattern, "signer-identity-regexp", "", "signed by a workflow at a ref that matches this `PATTERN` as a whole")
	fl.StringVar(&f.filter.SignerRepo, "signer-repo", "", "signed by a workflow of this `OWNER/REPO`")
	fl.StringVar(&f.filter.SignerFlow, "signer-workflow", "", "signed by this workflow: `[HOST/]OWNER/REPO/PATH`")
	fl.BoolVar(&f.filter.GitHubHosted, "deny-self-hosted-runners", false, "not on a self-hosted runner")
	fl.SetNormalizeFunc(func(_ *pflag.FlagSet, name string) pflag.NormalizedName {
		if to, ok := aliases[name]; ok {
			name = to
		}
		return pflag.NormalizedName(name)
	})
	return cmd
}

func (f *verifyFlags) run(ctx context.Context, env Environment, args []string) error {
	if err := f.check(); err != nil {
		return err
	}
	if len(args) != 1 {
		return usagef("for example assay verify sigstore@2.0.0", "verify takes one package or tarball, and %d were given", len(args))
	}
	if f.bundle != "" && f.evidence.file != "" {
		return usagef("--evidence-bundle attests an archive", "--bundle and --evidence are two sources of attestations: give one")
	}
	if err := f.checkFilter(); err != nil {
		return err
	}
	if f.pattern != "" {
		p, err := policy.AnchoredPattern(f.pattern)
		if err != nil {
			return usagef("", "--signer-identity-regexp: %w", err)
		}
		f.filter.SignerPattern = p
	}
	start := env.Now()
	s, err := f.open(ctx, env, env.Dir, f.bundle == "")
	if err != nil {
		return err
	}
	defer s.close()
	t, err := f.target(ctx, s, args[0])
	if err != nil {
		return err
	}
	options := s.auditOptions(f.filter)
	options.Deep = true
	if s.replay != nil {
		f.look(s, &t, &options)
	} else if f.bundle != "" {
		options.Collector = nil
	} else {
		options.Tarballs = f.tarball && t.Tarball == nil
	}
	rep := audit.NewRunner(options).Run(ctx, []audit.Target{t})
	if err := ctx.Err(); err != nil {
		return err
	}
	if s.replay != nil && s.replay.refused != nil {
		return unknown(fmt.Errorf("%s: %w", s.replay.name, s.replay.refused))
	}
	rep.Notes = append(rep.Notes, s.notes...)
	o, err := s.textOptions(args[0], env.Now().Sub(start))
	if err != nil {
		return err
	}
	if f.format != "text" {
		return s.finish(rep, o, nil)
	}
	return s.finish(rep, o, func(w io.Writer) error { return report.WriteMatrix(w, &rep.Packages[0], o) })
}

// checkFilter refuses demands that no certificate meets as they are written: a package would be denied for a slip of
// the pen.
func (f *verifyFlags) checkFilter() error {
	d := &f.filter
	if d.Ref != "" && !strings.HasPrefix(d.Ref, "refs/") {
		return usagef(fmt.Sprintf("--ref refs/heads/%s for a branch, --ref refs/tags/%s for a tag", d.Ref, d.Ref), "--ref %q is no whole ref", d.Ref)
	}
	for _, r := range []struct{ flag, value string }{{"--repo", d.Repository}, {"--signer-repo", d.SignerRepo}} {
		rest, isURL := strings.CutPrefix(r.value, "https://")
		if r.value != "" && (!strings.Contains(strings.Trim(rest, "/"), "/") || !isURL && strings.ContainsAny(r.value, ":@?#")) {
			return usagef("for example "+r.flag+" sigstore/sigstore-js, or a URL that begins with https://", "%s %q is not OWNER/REPO", r.flag, r.value)
		}
	}
	if d.Owner != "" && !strings.HasPrefix(d.Owner, "https://") && strings.Contains(d.Owner, "/") {
		return usagef("--repo names a repository", "--owner %q is more than an owner", d.Owner)
	}
	if w := d.Workflow; w != "" {
		github := d.Issuer == "" || d.Issuer == publisher.GitHubIssuer
		switch name, ref, cut := strings.Cut(w, "@"); {
		case cut:
			return usagef("--workflow "+name+" --ref "+ref, "--workflow %q is a path with a ref", w)
		case strings.HasPrefix(w, "/") || strings.HasPrefix(w, "./"):
			return usagef("--workflow "+strings.TrimLeft(w, "./"), "--workflow %q is no path from the top of the repository", w)
		case github && !strings.Contains(w, "/") && !strings.HasPrefix(w, "."):
			return usagef("--workflow .github/workflows/"+w+"; with --issuer of a GitLab, --workflow is the path there", "--workflow %q is a name, and certificates have the path", w)
		}
	}
	if d.Issuer != "" && !strings.HasPrefix(d.Issuer, "https://") {
		return usagef("for example --issuer "+publisher.GitHubIssuer, "--issuer %q is no URL that begins with https://", d.Issuer)
	}
	if c := strings.ToLower(d.Commit); c != "" && (len(c) != 40 && len(c) != 64 || strings.Trim(c, "0123456789abcdef") != "") {
		return usagef("git rev-parse "+d.Commit+" prints it", "--source-digest %q is no whole commit", d.Commit)
	}
	if d.Signer != "" && (!strings.HasPrefix(d.Signer, "https://") || !strings.Contains(d.Signer, "@")) {
		return usagef("for example --signer-identity https://github.com/OWNER/REPO/.github/workflows/release.yml@refs/heads/main", "--signer-identity %q is no workflow at a ref", d.Signer)
	}
	return nil
}

// target works out which package is meant and what of its evidence the user brings along.
func (f *verifyFlags) target(ctx context.Context, s *session, arg string) (audit.Target, error) {
	var t audit.Target
	if isTarball(s.path(arg)) {
		tarball, id, err := readTarball(s.path(arg))
		if err != nil {
			return t, usagef("", "reading %s: %w", arg, err)
		}
		t.Tarball, t.Package.ID = tarball, id
	} else {
		id, err := f.resolve(ctx, s, arg)
		if err != nil {
			return t, err
		}
		t.Package.ID = id
	}
	t.Package.Registry = s.registryFor(t.Package.ID.Name)
	if f.integrity != "" {
		standIn, err := tarballOf(f.integrity)
		if err != nil {
			return t, usagef("for example --integrity sha512-…", "--integrity: %w", err)
		}
		if t.Tarball != nil && !bytes.Equal(t.Tarball.SHA512, standIn.SHA512) {
			return t, usagef("", "--integrity is not the digest of %s", arg)
		}
		if t.Tarball == nil {
			t.Tarball = standIn
		}
	}
	if f.bundle != "" {
		body, err := readFile(s.path(f.bundle), maxBundleFile)
		if err != nil {
			return t, usagef("", "reading the bundle: %w", err)
		}
		t.Evidence = &evidence.Evidence{
			ID: t.Package.ID, Registry: t.Package.Registry,
			Attestations: evidence.Answer{State: evidence.Served, Body: body},
		}
	}
	return t, nil
}

// isTarball reports whether an argument means a file: it is called like one, or there is one and it could
// not be a package.
func isTarball(path string) bool {
	return strings.HasSuffix(path, ".tgz") || strings.HasSuffix(path, ".tar.gz")
}

// readTarball hashes a tarball and takes the package's name and version from its package.json.
func readTarball(path string) (*evidence.Tarball, npm.ID, error) {
	file, err := os.Open(path)
	if err != nil {
		return nil, npm.ID{}, err
	}
	defer file.Close()
	t, err := evidence.ReadTarball(io.LimitReader(file, maxTarball), "sha1", "sha256", "sha384")
	if err != nil {
		return nil, npm.ID{}, err
	}
	if t.Manifest == nil {
		return nil, npm.ID{}, fmt.Errorf("it is not an npm package: %s", t.Problem)
	}
	var m struct {
		Name    string `json:"name"`
		Version string `json:"version"`
	}
	if err := json.Unmarshal(t.Manifest, &m, jsontext.AllowInvalidUTF8(true)); err != nil {
		return nil, npm.ID{}, fmt.Errorf("its package.json: %w", err)
	}
	id := npm.ID{Name: m.Name, Version: m.Version}
	if err := errors.Join(npm.CheckName(id.Name), npm.CheckVersion(id.Version)); err != nil {
		return nil, npm.ID{}, fmt.Errorf("its package.json: %w", err)
	}
	return t, id, nil
}

// tarballOf makes what a digest says of a tarball stand in for it.
func tarballOf(sri string) (*evidence.Tarball, error) {
	in, err := npm.ParseIntegrity(sri)
	if err != nil {
		return nil, err
	}
	t := &evidence.Tarball{}
	for _, h := range in {
		switch h.Algorithm {
		case "sha512":
			if t.SHA512 != nil && !bytes.Equal(t.SHA512, h.Digest) {
				return nil, errors.New("it holds two sha512 digests")
			}
			t.SHA512 = h.Digest
		case "sha384":
			t.SHA384 = h.Digest
		case "sha256":
			t.SHA256 = h.Digest
		case "sha1":
			t.SHA1 = h.Digest
		}
	}
	if t.SHA512 == nil {
		return nil, errors.New("it holds no sha512 digest, and attestations name nothing else")
	}
	return t, nil
}

// resolve reads PKG[@VERSION]. A missing version or a tag is looked up at the registry.
func (f *verifyFlags) resolve(ctx context.Context, s *session, arg string) (npm.ID, error) {
	name, version := arg, ""
	if i := strings.LastIndexByte(arg, '@'); i > 0 {
		name, version = arg[:i], arg[i+1:]
	}
	if err := npm.CheckName(name); err != nil {
		return npm.ID{}, usagef("for example assay verify @scope/name@1.0.0, or ./name-1.0.0.tgz", "%q is not a package: %w", arg, err)
	}
	if npm.CheckVersion(version) == nil {
		return npm.ID{Name: name, Version: version}, nil
	}
	if version == "" {
		version = "latest"
	}
	if strings.ContainsAny(version, "^~<>=*| /\\?#%") || len(version) > 128 {
		return npm.ID{}, usagef("give the exact version, or a tag", "%q is a range of versions", version)
	}
	if s.replay != nil && version == "latest" {
		if id, ok := s.replay.only(s.registryFor(name), name); ok {
			return id, nil
		}
	}
	if s.client == nil {
		return npm.ID{}, usagef("for example assay verify "+name+"@1.0.0", "without a network the exact version is needed")
	}
	base, _ := s.config.Registry(name)
	resp, err := s.client.Document(ctx, base, npm.ID{Name: name, Version: version})
	if registry.KindOf(err) == registry.NotFound {
		return npm.ID{}, &unknownError{fmt.Errorf("%s has no package %s with the tag %q: check the spelling, or name another registry with --registry", base, name, version)}
	}
	if err != nil {
		return npm.ID{}, unknown(fmt.Errorf("looking up the tag %q of %s: %w", version, name, err))
	}
	var doc struct {
		Name    string `json:"name"`
		Version string `json:"version"`
	}
	if err := json.Unmarshal(resp.Body, &doc, jsontext.AllowInvalidUTF8(true)); err != nil || doc.Name != name || npm.CheckVersion(doc.Version) != nil {
		return npm.ID{}, unknown(fmt.Errorf("the registry's answer for the tag %q of %s is not a version of it", version, name))
	}
	return npm.ID{Name: name, Version: doc.Version}, nil
}

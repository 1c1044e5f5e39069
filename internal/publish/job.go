package publish

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"time"

	"assay/internal/npm"
	"assay/internal/sigstore"
)

// Options are what a [Job] works with.
type Options struct {
	CI         *CI // nil only where nothing is signed
	Services   Services
	Root       *sigstore.TrustedRoot
	RootDigest string
	Issuers    []string // OIDC issuers accepted beyond GitHub's and GitLab.com's, as the policy names them
	HTTP       HTTPOptions
	Registry   string // base URL, without trailing slash
	Reader     Reader // nil only where nothing is published
	Now        func() time.Time

	AllowPrivate    bool // sign though the repository is not public
	AllowSelfHosted bool // sign though the runner is the maintainer's own

	Auth   Auth
	Access string // "" where the registry decides
	Tag    string // distribution tag; "" for "latest"
	OTP    Secret

	// Say and Warn are told what happens, one line at a time; nil: nobody.
	Say, Warn func(string)
}

// A Job signs and publishes.
type Job struct {
	o Options
	c *client
}

// New returns a job. It sends nothing.
func New(o Options) (*Job, error) {
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.HTTP.ReadFile == nil {
		o.HTTP.ReadFile = os.ReadFile
	}
	if o.Auth == "" {
		o.Auth = AuthAuto
	}
	if o.CI != nil {
		if err := o.Services.check(); err != nil {
			return nil, err
		}
	}
	c, err := newClient(o.HTTP)
	if err != nil {
		return nil, err
	}
	return &Job{o, c}, nil
}

func (j *Job) say(format string, args ...any) {
	if j.o.Say != nil {
		j.o.Say(j.c.secrets.hide(fmt.Sprintf(format, args...)))
	}
}

func (j *Job) warn(format string, args ...any) {
	if j.o.Warn != nil {
		j.o.Warn(j.c.secrets.hide(fmt.Sprintf(format, args...)))
	}
}

// Hide takes the job's secrets out of a text.
func (j *Job) Hide(text string) string { return j.c.secrets.hide(text) }

// Preflight makes sure that this job can sign provenance for a manifest that the registry will take: token, permission,
// what the token says, the repository. It sends the token nowhere.
func (j *Job) Preflight(ctx context.Context, m *Manifest) error {
	if err := m.CheckRepository(j.o.CI); err != nil {
		return err
	}
	// Variables that the statement is made of are missed now rather than after the build.
	if _, err := j.o.CI.Statement(npm.ID{Name: m.Name, Version: m.Version}, make([]byte, 64)); err != nil {
		return err
	}
	if j.o.CI.RiskyEvent() {
		j.warn("the job was set off by %q, which people without write access can cause: consumers may refuse what it publishes", j.o.CI.Event())
	}
	_, err := j.preflightToken(ctx)
	return err
}

func (j *Job) preflightToken(ctx context.Context) (*IDToken, error) {
	t, err := j.c.sigstoreToken(ctx, j.o.CI, j.o.Registry, j.o.Now())
	if err != nil {
		return nil, err
	}
	return t, t.acceptable(j.o.CI.Provider, j.o.AllowPrivate, j.o.AllowSelfHosted)
}

// A Release says what is published, and how.
type Release struct {
	Dir         string
	Build       string   // command line run before packing; "" for none
	TagPatterns []string // nil: [DefaultTagPatterns]
	TagExplicit bool     // somebody chose the distribution tag
	AllowLower  bool     // the tag "latest" was asked for in so many words, so it may go back to a lower version
	Bundle      []byte   // provenance made elsewhere; nil: it is signed here
	DryRun      bool     // everything but the upload
	Environ     []string // NAME=VALUE
	SecretNames []string // variables that the build does not get, beside those that [Clean] knows
	Output      io.Writer
	// KeepBundle is given the bundle before the upload; nil: it is not kept.
	KeepBundle func([]byte) error
}

// A Published says what became of a release.
type Published struct {
	ID        npm.ID
	Integrity string
	Package   *Package
	// Attestation is nil where the version was there already, with the same bytes.
	Attestation *Attestation
	Already     bool // the registry had these very bytes
	Provenance  bool // where Already: the registry announces attestations for them
	Trusted     bool // by trusted publishing
	DryRun      bool
}

// Publish builds, packs, attests and publishes a directory, in this order and in this process, and refuses before it
// signs whatever would be refused later. It may be run again after any end: a version that is there with the same
// bytes is an answer and no error.
func (j *Job) Publish(ctx context.Context, r Release) (*Published, error) {
	j.c.secrets.add(j.o.OTP)
	env := j.clean(r.Environ, r.SecretNames)
	m, err := ReadManifestFile(r.Dir)
	if err != nil {
		return nil, err
	}
	if err := errors.Join(m.CheckPublishable(), m.CheckDistTag(j.tag(m), r.TagExplicit), m.CheckAccess(j.o.Access)); err != nil {
		return nil, first(err)
	}
	head := ""
	if j.o.CI != nil {
		if err := m.CheckTag(j.o.CI, r.TagPatterns); err != nil {
			return nil, err
		}
		if err := CheckWorktree(ctx, r.Dir, j.o.CI, env); err != nil {
			return nil, err
		}
		head = j.o.CI.Commit()
	}
	if r.Bundle == nil {
		if err := j.Preflight(ctx, m); err != nil {
			return nil, err
		}
	}
	before, err := j.look(ctx, m.ID())
	if err != nil {
		return nil, err
	}
	if err := j.checkLatest(m, before, r.AllowLower); err != nil {
		return nil, err
	}

	var untracked map[string]leftover
	if r.Build != "" {
		untracked = leftovers(ctx, r.Dir, env)
		j.say("building: %s", r.Build)
		if err := Build(ctx, r.Dir, r.Build, env, r.Output); err != nil {
			return nil, err
		}
	}
	j.say("packing")
	data, err := Pack(ctx, r.Dir, m, env, r.Output)
	if err != nil {
		return nil, err
	}
	p, err := ReadPackage(data)
	if err != nil {
		return nil, err
	}
	if p.ID() != m.ID() {
		return nil, refuse("manifest-changed", "", "package.json said %s before the build, and the tarball says %s", m.ID(), p.ID())
	}
	if err := p.CheckPublishable(); err != nil {
		return nil, err
	}
	if j.o.CI != nil && r.Bundle == nil {
		if err := p.CheckRepository(j.o.CI); err != nil { // the build may have changed it
			return nil, err
		}
	}
	if j.o.CI != nil {
		var dirty *Refusal
		if err := CheckWorktree(ctx, r.Dir, j.o.CI, env); errors.As(err, &dirty) {
			j.warn("the build changed tracked files: %s", dirty.Text)
		} else if names, err := unlike(ctx, r.Dir, env, p); err != nil {
			return nil, err
		} else if len(names) > 0 {
			j.warn("the tarball holds tracked files that are not as commit %s has them: %s", head, some(names))
		}
	}
	if names := packedLeftovers(r.Dir, untracked, p); len(names) > 0 {
		j.warn("the tarball holds files that are not in the commit, and that the build found and did not make: %s", some(names))
	}
	out := &Published{ID: p.ID(), Integrity: p.Integrity(), Package: p, DryRun: r.DryRun}
	if before.found {
		return j.already(out, before)
	}

	document, err := NewDocument(ctx, p, DocumentOptions{Registry: j.o.Registry, Access: j.o.Access, Tag: j.tag(m), GitHead: head, Environ: env})
	if err != nil {
		return nil, err
	}
	if err := j.CheckDocument(p, document); err != nil {
		return nil, err
	}
	cred, err := j.authorise(ctx, p.Name)
	if err != nil {
		return nil, err
	}
	out.Trusted = cred.trusted
	if err := j.public(ctx, p.Name, cred); err != nil {
		return nil, err
	}
	// Another release may have ended while this one was built.
	now, err := j.look(ctx, p.ID())
	if err != nil {
		return nil, err
	}
	if now.found {
		return j.already(out, now)
	}
	if err := j.checkLatest(m, now, r.AllowLower); err != nil {
		return nil, err
	}
	if r.Bundle != nil {
		checked, err := j.Check(p, r.Bundle)
		if err != nil {
			return nil, err
		}
		out.Attestation = &Attestation{Bundle: r.Bundle, Publisher: checked.Publisher, LogIndex: checked.Publisher.LogIndex}
	} else if out.Attestation, err = j.Attest(ctx, p); err != nil {
		return nil, err
	}
	if r.KeepBundle != nil {
		if err := r.KeepBundle(out.Attestation.Bundle); err != nil {
			return nil, err
		}
	}
	if r.DryRun {
		return out, nil
	}
	body, err := document.With(out.Attestation.Bundle)
	if err != nil {
		return nil, err
	}
	j.say("publishing %s to %s", p.ID(), j.o.Registry)
	out.Already, err = j.put(ctx, p, body, cred)
	if err != nil {
		return nil, err
	}
	if out.Already { // another run was faster
		after, err := j.lookAgain(ctx, p.ID())
		if err != nil {
			return nil, err
		}
		return j.already(out, after)
	}
	return out, nil
}

// checkLatest refuses a version that would take "latest" back from a higher one.
func (j *Job) checkLatest(m *Manifest, e *existing, allowed bool) error {
	if e.found || allowed || j.tag(m) != "latest" || e.highest == "" || npm.CompareVersions(e.highest, m.Version) < 0 {
		return nil
	}
	return refuse("tag-latest", "for example --tag release-"+npm.ReleaseLine(m.Version)+", or --tag latest if everybody is to go back",
		"%s is lower than the published %s, and with the tag latest it would become what everybody installs", m.ID(), e.highest)
}

// already is the end where the version is there.
func (j *Job) already(out *Published, e *existing) (*Published, error) {
	if !sameBytes(e.integrity, out.Package) {
		return nil, j.taken(out.Package, e)
	}
	out.Already, out.Provenance, out.Attestation = true, e.provenance, nil
	return out, nil
}

func (j *Job) tag(m *Manifest) string {
	switch {
	case m.Tag != "":
		return m.Tag
	case j.o.Tag != "":
		return j.o.Tag
	}
	return "latest"
}

// first returns the first of joined errors.
func first(err error) error {
	if list, ok := err.(interface{ Unwrap() []error }); ok {
		return list.Unwrap()[0]
	}
	return err
}

// maxManifest bounds a package.json, in bytes.
const maxManifest = 16 << 20

// ReadManifestFile reads the package.json of a directory.
func ReadManifestFile(dir string) (*Manifest, error) {
	f, err := os.Open(filepath.Join(dir, "package.json"))
	if err != nil {
		return nil, setup("manifest-missing", "name the package's directory: assay publish DIR", "there is no package.json to publish: %v", err)
	}
	defer f.Close()
	data, err := io.ReadAll(io.LimitReader(f, maxManifest+1))
	if err != nil || len(data) > maxManifest {
		return nil, refuse("manifest-unreadable", "", "package.json cannot be read, or is larger than %d bytes", maxManifest)
	}
	return ReadManifest(data)
}

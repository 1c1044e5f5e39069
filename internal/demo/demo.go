// Package demo tells on one machine what Assay is for: it starts a lab with a registry of its own, publishes packages
// that went wrong in one way each, installs an application that uses them, looks at it the way a user would, and says
// what was done and what Assay makes of it. What Assay has to say of each package stands in the code, so a demo that
// tells of a catch has made it.
//
// Nothing leaves the machine: every server listens on loopback, and all files lie under one directory.
package demo

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"time"

	"assay/internal/lab"
	"assay/internal/report"
)

// Options say where a demo runs and what it may use.
type Options struct {
	// Dir is an empty directory for every file of the demo. The caller removes it.
	Dir string
	// Assay runs one of Assay's commands and returns what it prints and its exit code. The working directory is
	// Dir; the cache and the files of trust are named in args. Each call is made as if on a machine of its
	// own: what another call left in the cache counts only if it can be verified.
	Assay func(ctx context.Context, args ...string) (stdout []byte, code int)
	// NPM is npm's executable; "" means that there is none. Environ is the environment to start it in.
	NPM     string
	Environ []string
	// Patience bounds what the whole story may wait for npm.
	Patience time.Duration
	// Now is the clock; nil: time.Now.
	Now func() time.Time
}

// A Demo is a lab with its story. It is made by [New] and ended by [Demo.Close].
type Demo struct {
	o         Options
	lab       *lab.Lab
	registry  *lab.Server
	elsewhere *lab.Server // a server that is not the registry, of nobody whom the registry knows
	proxy     *lab.Proxy  // nil without npm
	npmEnv    []string
	stories   []story
	used      []*lab.Published // what the application uses, as it was published

	installed     bool   // npm installed the application
	why           string // why npm did not; "" where it did
	deadline      time.Time
	signatures    chan npmSays
	first, second *report.Report
	exit          int // of the second look
}

// Files of a demo, under its directory.
const (
	appDir   = "app"
	cacheDir = "cache"
	rootFile = "root.json"
	keysFile = "keys.json"
	npmDir   = "npm"
)

// New starts the lab and publishes its packages.
func New(o Options) (*Demo, error) {
	if o.Now == nil {
		o.Now = time.Now
	}
	d := &Demo{o: o, stories: stories(), deadline: o.Now().Add(o.Patience)}
	if err := d.start(); err != nil {
		return nil, errors.Join(fmt.Errorf("starting the lab: %w", err), d.Close())
	}
	if err := d.publish(); err != nil {
		return nil, errors.Join(err, d.Close())
	}
	return d, nil
}

func (d *Demo) start() (err error) {
	if d.lab, err = lab.New(lab.Options{Now: d.o.Now}); err != nil {
		return err
	}
	if d.registry, err = d.lab.Listen(lab.ServerOptions{}); err != nil {
		return err
	}
	if d.elsewhere, err = d.lab.Stranger().Listen(lab.ServerOptions{}); err != nil {
		return err
	}
	if err := d.write(rootFile, d.lab.TrustedRoot()); err != nil {
		return err
	}
	if err := d.write(keysFile, d.lab.RegistryKeys()); err != nil {
		return err
	}
	if d.o.NPM == "" {
		d.why = "npm is not installed here"
		return nil
	}
	if d.proxy, err = d.lab.ListenProxy(d.registry); err != nil {
		return err
	}
	d.npmEnv, err = d.proxy.NPMEnv(filepath.Join(d.o.Dir, npmDir))
	return err
}

// Close ends every server. Files stay for the caller to remove.
func (d *Demo) Close() error {
	var errs []error
	if d.signatures != nil {
		<-d.signatures // npm has ended
		d.signatures = nil
	}
	if d.proxy != nil {
		errs = append(errs, d.proxy.Close())
	}
	for _, s := range []*lab.Server{d.registry, d.elsewhere} {
		if s != nil {
			errs = append(errs, s.Close())
		}
	}
	return errors.Join(errs...)
}

func (d *Demo) write(name string, data []byte) error {
	path := filepath.Join(d.o.Dir, filepath.FromSlash(name))
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return err
	}
	return os.WriteFile(path, data, 0o644)
}

// publish fills the registry. Everything is nine days old, an hour apart.
func (d *Demo) publish() error {
	at := d.lab.Now().Add(-9 * 24 * time.Hour)
	for i := range d.stories {
		s := &d.stories[i]
		var last *lab.Published
		for _, r := range s.publish(d.lab) {
			r.Package.Name, r.At = s.name, at
			if r.Package.Version == "" {
				r.Package.Version = s.version
			}
			at = at.Add(time.Hour)
			p, err := d.lab.Publish(r)
			if err != nil {
				return err
			}
			last = p
		}
		d.used = append(d.used, last)
	}
	return nil
}

// lookFirst has Assay look at the application while the registry is honest.
func (d *Demo) lookFirst(ctx context.Context) (err error) {
	d.first, _, err = d.audit(ctx, d.audited(false))
	return err
}

// goWrong lets happen what happens after the first look.
func (d *Demo) goWrong() error {
	for i := range d.stories {
		if s := &d.stories[i]; s.later != nil {
			if err := s.later(d); err != nil {
				return fmt.Errorf("preparing %s: %w", s.id(), err)
			}
		}
	}
	return nil
}

// lookAgain has npm and Assay look at what became of it, side by side.
func (d *Demo) lookAgain(ctx context.Context) (err error) {
	d.askNPM(ctx)
	d.second, d.exit, err = d.audit(ctx, d.audited(true))
	return err
}

// audited are the arguments of an audit of the application.
func (d *Demo) audited(tarballs bool) []string {
	args := []string{"audit", appDir}
	if tarballs {
		args = append(args, "--tarballs")
	}
	return append(args, d.common()...)
}

// common are the flags that name the lab's trust, which nothing else does.
func (d *Demo) common() []string {
	return []string{"--trusted-root", rootFile, "--registry-keys", keysFile, "--cache", cacheDir}
}

func (d *Demo) audit(ctx context.Context, args []string) (*report.Report, int, error) {
	stdout, code := d.o.Assay(ctx, append(args, "--json")...)
	if err := ctx.Err(); err != nil {
		return nil, code, err
	}
	var rep report.Report
	if err := json.Unmarshal(stdout, &rep); err != nil {
		return nil, code, fmt.Errorf("assay %v ended with %d and without a report: %w", args, code, err)
	}
	return &rep, code, nil
}

// row is what the report says of a story's package; nil if it says nothing.
func (s *story) row(rep *report.Report) *report.Package {
	i := slices.IndexFunc(rep.Packages, func(p report.Package) bool { return p.Name == s.name && p.Version == s.version })
	if i < 0 {
		return nil
	}
	return &rep.Packages[i]
}

// Missed lists what Assay should have said and did not; empty if everything went as it should.
func (d *Demo) Missed() []string {
	var out []string
	for i := range d.stories {
		s := &d.stories[i]
		if m := s.want.missed(s.row(d.second)); m != "" {
			out = append(out, s.id()+": "+m)
		}
	}
	if d.exit != 1 {
		out = append(out, fmt.Sprintf("the audit: expected exit code 1, and it is %d", d.exit))
	}
	if n := d.second.Exit(); n != d.exit {
		out = append(out, fmt.Sprintf("the audit: its decisions give exit code %d, and it ended with %d", n, d.exit))
	}
	if n := len(d.second.Packages); n != len(d.stories) {
		out = append(out, fmt.Sprintf("the audit: expected %d packages, and there are %d", len(d.stories), n))
	}
	return out
}

// install makes the application: by npm where there is one that answers in time, else by writing its lockfile.
func (d *Demo) install(ctx context.Context) error {
	deps := map[string]any{}
	for _, p := range d.used {
		deps[p.Name] = "^" + p.Version
	}
	manifest, err := json.MarshalIndent(map[string]any{"name": "app", "version": "1.0.0", "private": true, "dependencies": deps}, "", "  ")
	if err != nil {
		return err
	}
	if err := d.write(appDir+"/package.json", append(manifest, '\n')); err != nil {
		return err
	}
	if err := d.write(appDir+"/.npmrc", []byte("registry="+d.registry.URL+"/\n")); err != nil {
		return err
	}
	if d.o.NPM != "" {
		if d.installed, err = d.npmInstall(ctx); err != nil || d.installed {
			return err
		}
	}
	if err := os.RemoveAll(filepath.Join(d.o.Dir, appDir, "node_modules")); err != nil {
		return err
	}
	return d.write(appDir+"/package-lock.json", lab.Lockfile(d.registry.URL, deps, d.used))
}

// What goes wrong after the first look.

// otherBytes is a release of the same name and version that is not the one that was published.
func otherBytes(p *lab.Published) lab.Package {
	return lab.Package{Name: p.Name, Version: p.Version, Files: map[string]string{"index.js": "module.exports = 'something else';\n"}}
}

func (d *Demo) published(name string) *lab.Published {
	i := slices.IndexFunc(d.used, func(p *lab.Published) bool { return p.Name == name })
	return d.used[i]
}

// elsewhereHas publishes other bytes at the other server, whose keys nobody knows here.
func (d *Demo) elsewhereHas(name string) (*lab.Published, error) {
	return d.lab.Stranger().Publish(lab.Release{Package: otherBytes(d.published(name))})
}

func (d *Demo) replaceTarball() error {
	other, err := d.elsewhereHas("tampered")
	if err != nil {
		return err
	}
	d.registry.Misbehave(lab.Match{Endpoint: lab.EndpointTarball, Name: "tampered"}, lab.Body("application/octet-stream", other.Tarball), 0)
	return nil
}

func (d *Demo) lockOtherBytes() error {
	other, err := d.elsewhereHas("other-bytes")
	if err != nil {
		return err
	}
	return d.editLockfile(d.published("other-bytes").Integrity, other.Integrity)
}

func (d *Demo) lockOtherHost() error {
	other, err := d.elsewhereHas("other-host")
	if err != nil {
		return err
	}
	const path = "/other-host/-/other-host-1.0.0.tgz"
	if err := d.editLockfile(d.published("other-host").Integrity, other.Integrity); err != nil {
		return err
	}
	return d.editLockfile(d.registry.URL+path, d.elsewhere.URL+path)
}

// editLockfile replaces a text that stands in the lockfile once.
func (d *Demo) editLockfile(from, to string) error {
	const name = appDir + "/package-lock.json"
	data, err := os.ReadFile(filepath.Join(d.o.Dir, filepath.FromSlash(name)))
	if err != nil {
		return err
	}
	if n := bytes.Count(data, []byte(from)); n != 1 {
		return fmt.Errorf("%q stands in the lockfile %d times", from, n)
	}
	return d.write(name, bytes.Replace(data, []byte(from), []byte(to), 1))
}

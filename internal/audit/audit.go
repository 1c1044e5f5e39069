// Package audit runs the steps over many packages: collect evidence, verify it, decide by policy, report.
// It is what every front calls; it owns no flags, prints nothing and knows no lockfile format. One
// package's trouble never ends a run: it is that package's row.
package audit

import (
	"bytes"
	"cmp"
	"context"
	"crypto/sha256"
	"crypto/x509"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/url"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"

	"assay/internal/budget"
	"assay/internal/evidence"
	"assay/internal/inventory"
	"assay/internal/npm"
	"assay/internal/policy"
	"assay/internal/report"
	"assay/internal/trust"
	"assay/internal/verify"
)

// A Target is one package to look at, with what the report tells of it.
type Target struct {
	Package   verify.Package
	Locations []string
	File      string
	Line      int
	Path      []string
	Direct    bool
	Dev       bool
	Oddity    string // what no package manager writes by itself, see [policy.Policy.Decide]; "" for none

	// Dir is the directory of the project; Places are the directories in it, or in zip files, that hold the package's
	// files, as [inventory.Project.Dirs] has them. Empty: it is not installed. Nil, or Dir "": not looked at.
	Dir    string
	Places []string
	// Patches are what the project changes in the files, as inventory's Package has them.
	Patches []string
	// Resolve returns the place that a package at a place gets for a name, "" for none; nil: none is found.
	Resolve func(place, name string) string
	// Listed says whether the lockfile lists a package at a place below Dir, such as
	// "node_modules/a/node_modules/b", and that is what lies there; nil: none is listed.
	Listed func(place string) bool

	// Tarball is a tarball at hand, or what stands in for it; nil: it is fetched where that is asked for.
	Tarball *evidence.Tarball
	// Evidence is given by the user; then no registry is asked.
	Evidence *evidence.Evidence

	// What other packages of the run may explain of what lies on disk; see [Runner.relatives].
	all             *places
	lenders, takers []evidence.Relative
}

// Options say how packages are looked at.
type Options struct {
	Collector *evidence.Collector // nil only where every target brings its own evidence
	Trust     *trust.Material
	Config    *npm.Config
	Policy    *policy.Policy
	Filter    policy.Filter
	Now       time.Time    // for ages and waivers
	Lock      *policy.Lock // the pins in force; nil: none
	Base      *policy.Base // what the project used before; nil: nothing to compare with

	Offline             bool
	Deep                bool // attestations are asked for though none are announced
	Tarballs            bool // tarballs are fetched and hashed
	Installed           bool // tarballs are compared with what is installed at each target's Places
	StrictTime          bool // the time of publishing is asked for where an expired key leaves it open
	IncludeAttestations bool // the report lists verified attestations as npm's does
	KeysFromFile        bool // the registry keys came from the user's file: no registry is asked for its own

	// Named reports whether somebody other than the project names a registry; nil: as Config says.
	Named func(registry string) bool
	// TrustKeys says why what a registry answers about its own keys is not to be believed, where the answer did not come
	// from the registry; nil: it did.
	TrustKeys func(registry string, a evidence.Answer) error

	// Concurrency bounds the packages worked on at once; 0: 64.
	Concurrency int
	// ReadFile reads a file that the policy names (registry keys).
	ReadFile func(string) ([]byte, error)
	// Done is told after each package, from the goroutines that do the work; nil: nobody.
	Done func()
	// Look is shown what the policy decides about, target by target and one at a time, before it decides; nil: nobody.
	Look func(target int, s *policy.Subject)
}

// A Runner looks at packages. It is safe for concurrent use.
type Runner struct {
	o          Options
	rootSum    [sha256.Size]byte
	rootDigest string
	keysDigest string
	cpu        chan struct{}

	mu         sync.Mutex
	registries map[string]*registryTrust
	notes      []report.Note
}

// registryTrust is what is known of one registry, worked out once.
type registryTrust struct {
	once    sync.Once
	trust   verify.Trust
	options verify.Options
	digest  [sha256.Size]byte // of the keys in use and where they come from
}

// NewRunner returns a runner.
func NewRunner(o Options) *Runner {
	if o.Concurrency <= 0 {
		o.Concurrency = 64
	}
	if o.Named == nil {
		o.Named = func(registry string) bool { return o.Config != nil && o.Config.Named(registry) }
	}
	r := &Runner{
		o:          o,
		cpu:        make(chan struct{}, max(1, runtime.GOMAXPROCS(0))),
		registries: map[string]*registryTrust{},
	}
	root, keys := sha256.Sum256(o.Trust.RootJSON), sha256.Sum256(o.Trust.KeysJSON)
	r.rootSum = root
	r.rootDigest, r.keysDigest = hex.EncodeToString(root[:]), hex.EncodeToString(keys[:])
	return r
}

// Run looks at every target and returns the report, its packages sorted by name and version.
func (r *Runner) Run(ctx context.Context, targets []Target) *report.Report {
	rep := report.New()
	if r.o.Installed {
		targets = placed(targets)
	}
	subjects := make([]*policy.Subject, len(targets))
	quotes := make([]quote, len(targets))
	r.each(len(targets), func(i int) {
		subjects[i], quotes[i] = r.subject(ctx, &targets[i])
		if r.o.Done != nil {
			r.o.Done()
		}
	})
	r.advise(ctx, subjects)
	tree := policy.NewTree(subjects)
	rep.Packages = make([]report.Package, len(targets))
	for i, s := range subjects {
		s.Tree = tree
		if r.o.Look != nil {
			r.o.Look(i, s)
		}
		rep.Packages[i] = r.row(&targets[i], s)
		rep.Packages[i].Target = i
	}
	r.fillNPM(rep, quotes)
	slices.SortStableFunc(rep.Packages, func(a, b report.Package) int {
		return cmp.Or(
			cmp.Compare(a.Name, b.Name),
			npm.CompareVersions(a.Version, b.Version),
			cmp.Compare(a.Version, b.Version),
			cmp.Compare(a.Registry, b.Registry),
			cmp.Compare(a.Integrity, b.Integrity),
			cmp.Compare(a.Resolved, b.Resolved),
		)
	})
	rep.Trust = report.Trust{
		Root: string(r.o.Trust.RootSource.Origin), RootSHA256: r.rootDigest,
		Keys: string(r.o.Trust.KeysSource.Origin), KeysSHA256: r.keysDigest,
	}
	r.noteStripped(rep)
	if s := r.o.Trust.RootSource; s.Stale {
		rep.Trust.Stale, rep.Trust.Detail = trust.ReasonStale, s.Reason
	} else if s := r.o.Trust.KeysSource; s.Stale && r.o.Collector != nil {
		r.note("registry-keys-stale", "npm's registry keys could not be refreshed; the last ones that verified are used")
	}
	r.mu.Lock()
	rep.Notes = append(rep.Notes, r.notes...)
	r.mu.Unlock()
	slices.SortFunc(rep.Notes, func(a, b report.Note) int {
		return cmp.Or(cmp.Compare(a.Code, b.Code), cmp.Compare(a.Message, b.Message))
	})
	rep.Sum()
	return rep
}

// noteStripped tells where not one package of a registry that signs has a signature: rather than all of them
// being at fault, something in between leaves signatures out, as some mirrors do.
func (r *Runner) noteStripped(rep *report.Report) {
	type count struct{ all, missing int }
	counts := map[string]*count{}
	for i := range rep.Packages {
		p := &rep.Packages[i]
		c := counts[p.Registry]
		if c == nil {
			c = &count{}
			counts[p.Registry] = c
		}
		if p.Verdict == verify.Unchecked {
			continue // nothing is known of its signature
		}
		c.all++
		if p.Verdict == verify.Unsigned && p.Failed("registry-signature") {
			c.missing++
		}
	}
	for registry, c := range counts {
		if c.all >= 3 && c.missing == c.all {
			r.note("signatures-stripped", "not one of the %d packages of %s has a signature, so something between here and there leaves them out, as some mirrors and proxies do: ask from where the registry can be reached directly", c.all, registry)
		}
	}
}

// each calls do for every index below n, several at once.
func (r *Runner) each(n int, do func(i int)) {
	work := make(chan int)
	var group sync.WaitGroup
	for range min(r.o.Concurrency, max(1, n)) {
		group.Go(func() {
			for i := range work {
				do(i)
			}
		})
	}
	for i := range n {
		work <- i
	}
	close(work)
	group.Wait()
}

// subject looks at one target: what the checks find, and what else the policy's rules look at.
func (r *Runner) subject(ctx context.Context, t *Target) (*policy.Subject, quote) {
	rt := r.registry(ctx, t.Package.Registry)
	out, quoted := r.outcome(ctx, t, rt, rt.options)
	s := &policy.Subject{
		ID: t.Package.ID, Registry: t.Package.Registry, Integrity: cmp.Or(t.Package.Integrity, out.Integrity), Outcome: out,
		Oddity: t.Oddity, Path: t.Path, Direct: t.Direct, Dev: t.Dev, Lock: r.o.Lock, Base: r.o.Base, Now: r.o.Now,
	}
	if t.Evidence == nil && r.o.Policy.NeedsHistory(s) {
		s.History = r.history(ctx, s, rt)
	}
	return s, quoted
}

// row decides about one target and writes down what the report tells of it.
func (r *Runner) row(t *Target, s *policy.Subject) report.Package {
	out := s.Outcome
	decision, findings := r.o.Policy.Decide(s, r.o.Filter)
	row := report.Package{
		Name: t.Package.ID.Name, Version: t.Package.ID.Version, PURL: t.Package.ID.PURL(), Registry: t.Package.Registry,
		Integrity: s.Integrity, Resolved: t.Package.Resolved, Bound: out.Bound,
		Locations: t.Locations, File: t.File, Line: t.Line, Path: t.Path, Direct: t.Direct, Dev: t.Dev,
		Verdict: out.Verdict, Decision: decision, Publisher: out.Publisher, Checks: out.Checks, Findings: findings, Further: out.Further,
		Published: out.Published,
	}
	if row.Integrity == "" && t.Tarball != nil && t.Tarball.SHA512 != nil {
		row.Integrity = npm.Integrity{{Algorithm: "sha512", Digest: t.Tarball.SHA512}}.String()
	}
	if row.Locations == nil {
		row.Locations = []string{}
	}
	if row.Path == nil {
		row.Path = []string{}
	}
	if row.Findings == nil {
		row.Findings = []policy.Finding{}
	}
	if row.Further == nil {
		row.Further = []string{}
	}
	return row
}

// outcome collects and verifies, using what an earlier run found where every input is the same.
func (r *Runner) outcome(ctx context.Context, t *Target, rt *registryTrust, options verify.Options) (*verify.Outcome, quote) {
	if t.Evidence != nil {
		options.BundleGiven = true
		out := r.verify(t, t.Evidence, rt, options)
		return out, r.quote(t, out, t.Evidence)
	}
	req := evidence.Request{
		ID:       t.Package.ID,
		Registry: t.Package.Registry,
		Expected: r.o.Deep || options.Keyless || !r.o.Filter.Empty() || r.o.Policy.Expects(t.Package.ID.Name, t.Package.ID.Version, r.o.Lock),
	}
	if r.o.Tarballs || r.o.Installed && t.onDisk() {
		req.Tarball = func(document []byte) (string, []string) { return r.tarball(t, document) }
	}
	if r.o.IncludeAttestations || r.o.Installed || t.Tarball != nil {
		return r.look(ctx, t, req, rt, options)
	}
	// The time of publishing is a question of its own, asked only where an expired key leaves it open.
	q := r.query(t, req, rt, options)
	out := r.kept(q)
	var quoted quote
	if out == nil {
		out, quoted = r.look(ctx, t, req, rt, options)
	}
	if !out.TimeUnknown || !r.o.StrictTime {
		return out, quoted
	}
	q.WantPackument = true
	if out := r.kept(q); out != nil {
		return out, quote{}
	}
	req.WantPackument = true
	return r.look(ctx, t, req, rt, options)
}

// kept returns what an earlier run found for the same inputs, nil if nothing is kept.
func (r *Runner) kept(q evidence.Query) *verify.Outcome {
	row, ok := r.o.Collector.Lookup(q)
	if !ok {
		return nil
	}
	out, err := verify.Decode(row)
	if err != nil {
		return nil
	}
	return out
}

// look collects and verifies, and keeps what it finds.
func (r *Runner) look(ctx context.Context, t *Target, req evidence.Request, rt *registryTrust, options verify.Options) (*verify.Outcome, quote) {
	out, quoted := r.lookTwice(ctx, t, req, rt, options)
	if related := r.relatives(ctx, t, out); related != nil {
		return r.lookTwice(ctx, related, req, rt, options)
	}
	return out, quoted
}

// lookTwice looks once, and again where that is needed.
func (r *Runner) lookTwice(ctx context.Context, t *Target, req evidence.Request, rt *registryTrust, options verify.Options) (*verify.Outcome, quote) {
	out, quoted, again := r.lookOnce(ctx, t, req, rt, options)
	if again {
		req.Fresh = true
		out, quoted, _ = r.lookOnce(ctx, t, req, rt, options)
	}
	return out, quoted
}

// lookOnce looks once. Large answers take up a place of the client's from when they arrive until it
// returns, so nothing of the evidence leaves it but what the report quotes. It tells whether to look again:
// what fails from cached bytes may be the cache's fault, so the registry is asked before it is reported;
// what an unauthenticated cache says short of provenance may be missing something.
func (r *Runner) lookOnce(ctx context.Context, t *Target, req evidence.Request, rt *registryTrust, options verify.Options) (out *verify.Outcome, quoted quote, again bool) {
	ctx, release := budget.With(ctx)
	defer release()
	ev := r.o.Collector.Collect(ctx, req)
	options.Unauthenticated = r.o.Offline && ev.FromCache && !ev.Authenticated
	out = r.verify(t, ev, rt, options)
	suspicious := out.Verdict == verify.Invalid || out.Verdict == verify.Unchecked || !ev.Authenticated && out.Verdict != verify.Provenance
	if ev.FromCache && suspicious && !r.o.Offline && !req.Fresh {
		return nil, quote{}, true
	}
	if class := keep(out.Verdict); class != evidence.Unkept && t.Tarball == nil && !r.o.Installed && !options.Unauthenticated {
		if row, err := out.Encode(); err == nil {
			options.Unauthenticated = false
			q := r.query(t, req, rt, options)
			q.Fresh = false
			r.o.Collector.KeepRow(q, ev, class, row)
		}
	}
	return out, r.quote(t, out, ev), false
}

// keep says how long a verdict stands. Provenance rests on signatures alone; what rests on something being
// absent has to be looked at again, and trouble always.
func keep(v verify.Verdict) evidence.Class {
	switch v {
	case verify.Provenance:
		return evidence.Lasting
	case verify.Signed, verify.Unsigned:
		return evidence.Passing
	}
	return evidence.Unkept
}

// query names every input of the verdict.
func (r *Runner) query(t *Target, req evidence.Request, rt *registryTrust, options verify.Options) evidence.Query {
	canonical, err := json.Marshal(options, json.Deterministic(true))
	if err != nil {
		canonical = nil // never: the struct holds text and booleans
	}
	return evidence.Query{
		Request: req, Integrity: t.Package.Integrity, Resolved: t.Package.Resolved,
		TrustRoot: r.rootSum, Keys: rt.digest,
		Options: fmt.Sprintf("%t %s", t.Package.Lockfile, canonical), Checks: verify.Version,
	}
}

// verify runs the checks, as many at once as there are processors: more would only hold more memory.
func (r *Runner) verify(t *Target, ev *evidence.Evidence, rt *registryTrust, options verify.Options) *verify.Outcome {
	r.cpu <- struct{}{}
	defer func() { <-r.cpu }()
	if t.Tarball != nil {
		ev.Tarball = t.Tarball
	}
	if r.o.Installed && t.Dir != "" && t.Places != nil {
		ev.Installed = installed(t, ev.Tarball)
		ev.Lenders, ev.Takers = t.lenders, t.takers
	}
	return verify.Run(verify.Input{Package: t.Package, Evidence: ev, Trust: rt.trust, Options: options})
}

// installed reads what lies on disk as the package.
func installed(t *Target, tarball *evidence.Tarball) []evidence.Place {
	places := []evidence.Place{}
	for _, place := range t.Places {
		places = append(places, t.read(place, tarball))
	}
	return places
}

// read reads one of the places.
func (t *Target) read(place string, tarball *evidence.Tarball) evidence.Place {
	if file, inner, ok := inventory.InZip(place); ok {
		p := evidence.ReadZipped(place, t.path(file), inner, tarball)
		t.undo(&p, evidence.ZippedFile(t.path(file), inner))
		return p
	}
	p := evidence.ReadInstalled(place, t.path(place), tarball, t.Listed)
	t.undo(&p, evidence.InstalledFile(t.path(place)))
	return p
}

// undo undoes the project's patches. One that cannot be read explains nothing of what lies on disk.
func (t *Target) undo(p *evidence.Place, file func(string) (io.ReadCloser, error)) {
	var patches []*evidence.Patch
	for _, name := range t.Patches {
		if files := evidence.BuiltinPatch(name); files != nil {
			p.Builtin = append(p.Builtin, files...)
			continue
		}
		if !filepath.IsLocal(filepath.FromSlash(name)) {
			continue
		}
		data, err := evidence.ReadPatch(t.Dir, name)
		if err != nil {
			continue
		}
		if patch, err := evidence.ParsePatch(data); err == nil {
			patches = append(patches, patch)
		}
	}
	if len(patches) == 0 {
		return
	}
	if err := p.Undo(patches, file); err != nil {
		p.Files, p.Reason, p.Detail = nil, "unreadable", err.Error()
	}
}

// path is a place's on this machine.
func (t *Target) path(place string) string {
	if place = filepath.FromSlash(place); filepath.IsAbs(place) {
		return place
	}
	return filepath.Join(t.Dir, place)
}

// onDisk reports whether there is anything at one of the places.
func (t *Target) onDisk() bool {
	return t.Dir != "" && slices.ContainsFunc(t.Places, func(place string) bool { return t.exists(place) })
}

func (t *Target) exists(place string) bool {
	if file, _, ok := inventory.InZip(place); ok {
		place = file
	}
	_, err := os.Stat(t.path(place))
	return !errors.Is(err, fs.ErrNotExist)
}

// tarball says where the tarball is fetched from: where the lockfile says, else where the registry says, on
// this registry's host where either names npm's.
func (r *Runner) tarball(t *Target, document []byte) (string, []string) {
	var doc struct {
		Dist struct {
			Integrity string `json:"integrity"`
			Tarball   string `json:"tarball"`
		} `json:"dist"`
	}
	if json.Unmarshal(document, &doc, jsontext.AllowInvalidUTF8(true), jsontext.AllowDuplicateNames(true)) != nil {
		return "", nil
	}
	address := cmp.Or(t.Package.Resolved, doc.Dist.Tarball, t.Package.Registry+"/"+npm.TarballPath(t.Package.ID))
	address = npm.PublicName(address)
	if r.o.Config != nil {
		address = r.o.Config.ReplaceRegistryHost(address, t.Package.Registry)
	}
	u, err := url.Parse(address)
	if err != nil {
		return "", nil
	}
	// A lockfile that fetches from elsewhere fails for that, and gets no request out of us.
	if own, err := url.Parse(t.Package.Registry); t.Package.Resolved != "" && (err != nil || !strings.EqualFold(u.Host, own.Host)) {
		upstream, err := url.Parse(r.o.Policy.Registries[t.Package.Registry].Upstream)
		if err != nil || !strings.EqualFold(u.Host, upstream.Host) {
			return "", nil
		}
	}
	u.Fragment = ""
	address = u.String()
	digests := []string{"sha1"}
	if in, err := npm.ParseIntegrity(doc.Dist.Integrity); err == nil {
		for _, h := range in {
			digests = append(digests, h.Algorithm)
		}
	}
	if r.o.Installed {
		digests = append(digests, evidence.WithFiles)
	}
	return address, digests
}

// registry works out, once, which keys may speak for a registry and what is known of it.
func (r *Runner) registry(ctx context.Context, base string) *registryTrust {
	r.mu.Lock()
	rt := r.registries[base]
	if rt == nil {
		rt = &registryTrust{}
		r.registries[base] = rt
	}
	r.mu.Unlock()
	rt.once.Do(func() { r.fill(ctx, base, rt) })
	return rt
}

func (r *Runner) note(code, format string, args ...any) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.notes = append(r.notes, report.Note{Code: code, Message: fmt.Sprintf(format, args...)})
}

// fill decides whose keys count. npm's keys come from TUF and count whatever mirror serves their
// signatures. A registry's own keys count only if somebody other than the project names the registry: the
// user's configuration, a flag or the policy.
func (r *Runner) fill(ctx context.Context, base string, rt *registryTrust) {
	declared := r.o.Policy.Registries[base]
	rt.options = verify.Options{Signs: declared.Signs, Upstream: declared.Upstream, Issuers: r.o.Policy.Issuers}
	rt.trust = verify.Trust{Root: r.o.Trust.Root, RootDigest: r.rootDigest, KeyState: verify.KeysNotAsked}
	npmNames := []string{trust.NPMRegistry}
	if r.o.KeysFromFile {
		npmNames = append(npmNames, base)
	}
	rt.trust.Keys = named(r.o.Trust.Keys, npmNames...)
	switch {
	case declared.Keys == "none":
		rt.options.Keyless, rt.options.Expected = true, declared.Publisher
		rt.trust.KeyState = verify.KeysNone
	case r.o.KeysFromFile, base == trust.NPMRegistry, declared.Keys == "tuf":
		rt.trust.KeyState = verify.KeysKnown
		if len(rt.trust.Keys) == 0 {
			rt.trust.KeyState, rt.trust.KeyDetail = verify.KeysUnavailable, "no keys are known for it"
		}
		if base == trust.NPMRegistry && !r.o.KeysFromFile {
			r.compareKeys(ctx, base)
		}
	case declared.Keys != "":
		data, err := r.o.ReadFile(declared.Keys)
		if err == nil {
			err = r.add(rt, data, base)
		}
		if err != nil {
			rt.trust.KeyState, rt.trust.KeyDetail = verify.KeysUnavailable, err.Error()
		}
	case r.o.Collector == nil:
	default:
		r.ask(ctx, base, rt, declared.Place.Line > 0)
	}
	digest := sha256.New()
	for _, k := range rt.trust.Keys {
		spki, err := x509.MarshalPKIXPublicKey(k.Public)
		if err != nil {
			spki = nil // never: the key was parsed from that form
		}
		fmt.Fprintf(digest, "%q %x %q %q %v %v\n", k.ID, spki, k.Usage, k.Registries, k.Start.UTC(), k.End.UTC())
	}
	fmt.Fprintf(digest, "%q", rt.trust.KeyState)
	digest.Sum(rt.digest[:0])
}

// ask gets the registry's own keys from its endpoint. Where only the project names the registry, whatever that
// answers counts for nothing: to hide its keys must not serve it better than to show them.
func (r *Runner) ask(ctx context.Context, base string, rt *registryTrust, inPolicy bool) {
	if !inPolicy && !r.o.Named(base) {
		rt.trust.KeyState = verify.KeysUntrusted
		r.note("untrusted-registry", "only the project names the registry %q, so neither its keys nor their absence is believed; name it in your own .npmrc, with --registry, or in the policy", base)
		return
	}
	a := r.o.Collector.Keys(ctx, base)
	if r.o.TrustKeys != nil {
		if err := r.o.TrustKeys(base, a); err != nil {
			rt.trust.KeyState, rt.trust.KeyDetail = verify.KeysUnavailable, err.Error()
			return
		}
	}
	switch a.State {
	case evidence.Served:
		if err := r.add(rt, a.Body, base); err != nil {
			rt.trust.KeyState, rt.trust.KeyDetail = verify.KeysUnavailable, err.Error()
		}
	case evidence.Absent:
		rt.trust.KeyState = verify.KeysNone
	default:
		rt.trust.KeyState, rt.trust.KeyDetail = verify.KeysUnavailable, a.Detail
	}
}

// add takes in the registry's own keys. A list without keys is a registry without keys.
func (r *Runner) add(rt *registryTrust, data []byte, base string) error {
	keys, err := npm.ParseKeys(data)
	if err != nil {
		if len(keys) == 0 {
			return err
		}
		r.note("registry-keys", "a key of %s cannot be used: %v", base, err)
	}
	if len(keys) == 0 {
		rt.trust.KeyState = verify.KeysNone
		return nil
	}
	// An upstream's keys passed on by a mirror are the upstream's: TUF knows them already.
	for _, k := range named(keys, base) {
		if !slices.ContainsFunc(rt.trust.Keys, func(o verify.RegistryKey) bool { return o.ID == k.ID && o.Public.Equal(k.Public) }) {
			rt.trust.Keys = append(rt.trust.Keys, k)
		}
	}
	rt.trust.KeyState = verify.KeysKnown
	return nil
}

// compareKeys tells where npm's own endpoint disagrees with TUF. TUF wins either way.
func (r *Runner) compareKeys(ctx context.Context, base string) {
	if r.o.Collector == nil || r.o.Offline && !r.o.Collector.Replays() {
		return
	}
	a := r.o.Collector.Keys(ctx, base)
	if a.State != evidence.Served {
		return
	}
	keys, err := npm.ParseKeys(a.Body)
	if err != nil {
		r.note("registry-keys", "the key list of %s cannot be read (%v); the keys from TUF are used", base, err)
	}
	for _, d := range trust.Compare(r.o.Trust.Keys, keys) {
		r.note("registry-keys", "the key list of %s disagrees with TUF, whose keys are used: %v", base, d)
	}
}

func named(keys []npm.Key, registries ...string) []verify.RegistryKey {
	out := make([]verify.RegistryKey, len(keys))
	for i, k := range keys {
		out[i] = verify.RegistryKey{Key: k, Registries: registries}
	}
	return out
}

// A quote is what the report shows of the evidence itself.
type quote struct {
	tarball               string         // URL that the version document names
	keyID, signature      string         // the first of its signatures
	attestations, bundles jsontext.Value // dist.attestations, and the list of the registry's answer; nil for nothing to list
}

// Limits on what is quoted of one package, in bytes: of one text, and of its attestations. Who serves more
// could fill memory with what fits into no report.
const (
	maxQuotedText    = 4 << 10
	maxQuotedBundles = 1 << 20
)

// quote takes from the evidence what the report shows of a package with this outcome. It shares no memory with it.
func (r *Runner) quote(t *Target, out *verify.Outcome, ev *evidence.Evidence) (q quote) {
	listed := out.Verdict == verify.Provenance && r.o.IncludeAttestations
	if ev == nil || ev.Document.State != evidence.Served || !listed && out.Verdict != verify.Invalid {
		return q
	}
	var doc struct {
		Dist struct {
			Tarball      string         `json:"tarball"`
			Attestations jsontext.Value `json:"attestations"`
			Signatures   jsontext.Value `json:"signatures"`
		} `json:"dist"`
	}
	if json.Unmarshal(ev.Document.Body, &doc, jsontext.AllowInvalidUTF8(true), jsontext.AllowDuplicateNames(true)) != nil {
		doc.Dist.Attestations = nil
	}
	text := func(s string) string {
		if len(s) > maxQuotedText {
			return ""
		}
		return strings.Clone(s)
	}
	q.tarball = text(doc.Dist.Tarball)
	if !listed {
		var first struct {
			KeyID string `json:"keyid"`
			Sig   string `json:"sig"`
		}
		d := jsontext.NewDecoder(bytes.NewBuffer(doc.Dist.Signatures))
		if begin, err := d.ReadToken(); err == nil && begin.Kind() == '[' && json.UnmarshalDecode(d, &first) == nil {
			q.keyID, q.signature = text(first.KeyID), text(first.Sig)
		}
		return q
	}
	var list struct {
		Attestations jsontext.Value `json:"attestations"`
	}
	if len(doc.Dist.Attestations) == 0 || json.Unmarshal(ev.Attestations.Body, &list) != nil {
		return q
	}
	if n := len(doc.Dist.Attestations) + len(list.Attestations); n > maxQuotedBundles {
		r.note("attestations-not-listed", "the attestations of %v verify, but with %d bytes they are too large to be listed", t.Package.ID, n)
		return q
	}
	q.attestations, q.bundles = bytes.Clone(doc.Dist.Attestations), bytes.Clone(list.Attestations)
	return q
}

// fillNPM writes the lists that npm's own report has.
func (r *Runner) fillNPM(rep *report.Report, quotes []quote) {
	var verified []report.Verified
	for i := range rep.Packages {
		p, q := &rep.Packages[i], &quotes[i]
		locations := p.Locations
		if len(locations) == 0 {
			locations = []string{""}
		}
		for _, location := range locations {
			switch p.Verdict {
			case verify.Invalid:
				rep.Invalid = append(rep.Invalid, invalidEntry(p, location, q))
			case verify.Unsigned:
				if !p.Failed("registry-signature") {
					continue // npm asks for signatures only where the registry has keys
				}
				rep.Missing = append(rep.Missing, report.Missing{
					Integrity: p.Integrity, Location: location, Name: p.Name, Registry: p.Registry + "/",
					Resolved: cmp.Or(p.Resolved, p.Registry+"/"+npm.TarballPath(npm.ID{Name: p.Name, Version: p.Version})), Version: p.Version,
				})
			case verify.Provenance:
				if q.bundles != nil {
					verified = append(verified, report.Verified{
						Name: p.Name, Version: p.Version, Location: location, Registry: p.Registry + "/",
						Attestations: q.attestations, AttestationBundles: q.bundles,
					})
				}
			}
		}
	}
	slices.SortStableFunc(rep.Invalid, func(a, b report.Invalid) int {
		return cmp.Or(strings.Compare(a.Name, b.Name), strings.Compare(a.Location, b.Location))
	})
	slices.SortStableFunc(rep.Missing, func(a, b report.Missing) int {
		return cmp.Or(strings.Compare(a.Name, b.Name), strings.Compare(a.Location, b.Location))
	})
	slices.SortStableFunc(verified, func(a, b report.Verified) int {
		return cmp.Or(strings.Compare(a.Name, b.Name), strings.Compare(a.Location, b.Location))
	})
	if r.o.IncludeAttestations {
		if verified == nil {
			verified = []report.Verified{}
		}
		rep.Verified = &verified
	}
}

// invalidEntry tells of a failed package as npm would: by the registry's signature if that failed, else by
// the attestations.
func invalidEntry(p *report.Package, location string, q *quote) report.Invalid {
	e := report.Invalid{
		Code: "EATTESTATIONVERIFY", Integrity: p.Integrity, Location: location, Name: p.Name,
		Registry: p.Registry + "/", Resolved: cmp.Or(p.Resolved, q.tarball), Type: "dependencies", Version: p.Version,
	}
	if p.Dev {
		e.Type = "devDependencies"
	}
	for _, c := range p.Checks {
		if c.Status != verify.Fail {
			continue
		}
		if e.Message == "" {
			e.Message = fmt.Sprintf("%s@%s failed %s: %s", p.Name, p.Version, c.ID, c.Message)
		}
		if c.ID == "registry-signature" {
			e.Code = "EINTEGRITYSIGNATURE"
			e.KeyID, e.Signature = q.keyID, q.signature
		}
	}
	return e
}

package cli

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"github.com/spf13/cobra"

	"assay/internal/audit"
	"assay/internal/evidence"
	"assay/internal/npm"
	"assay/internal/policy"
	"assay/internal/registry"
	"assay/internal/report"
	"assay/internal/trust"
)

// common are the flags that audit and verify share.
type common struct {
	format      string
	json        bool
	reports     []string
	outputs     []output // of reports, once they are checked
	policy      string
	policyFrom  string
	registry    string
	keys        string
	trustedRoot string
	cache       string
	offline     bool
	deep        bool
	strictTime  bool
	failOn      string
	concurrency int
	noColor     bool
	quiet       bool
	verbose     bool
	evidence    archived
	unjudged    bool // no flag: neither the policy nor the pins that lie there count
	pinning     bool // no flag: the pins are what is to be changed, and not what counts
}

func (c *common) add(cmd *cobra.Command) {
	f := cmd.Flags()
	f.StringVar(&c.format, "format", "text", "form of the report: "+sentence(formNames(), "or"))
	f.BoolVar(&c.json, "json", false, "the same as --format json")
	f.StringArrayVar(&c.reports, "report", nil, "also write a report, as `FORMAT=FILE`; may be repeated")
	f.StringVar(&c.policy, "policy", "", "policy `FILE` (default: assay.yaml beside the lockfile, if there is one)")
	f.StringVar(&c.policyFrom, "policy-from", "", "take the policy from this git `REV` (in CI on a change request: from where the change began)")
	f.StringVar(&c.registry, "registry", "", "registry `URL` (default: from .npmrc)")
	f.StringVar(&c.keys, "registry-keys", "", "`FILE` with the registry's keys, in the form of its /-/npm/v1/keys or of TUF's keys.json")
	f.StringVar(&c.trustedRoot, "trusted-root", "", "`FILE` with the Sigstore trusted root (default: Sigstore's public one, by TUF)")
	f.StringVar(&c.cache, "cache", "", "cache `DIR` (default: assay in the user's cache directory)")
	f.BoolVar(&c.offline, "offline", false, "make no network request")
	f.BoolVar(&c.strictTime, "strict-time", false, "ask for the time of publishing where an expired key leaves it open")
	f.StringVar(&c.failOn, "fail-on", "deny", "lowest `LEVEL` that makes the exit code 1: deny or warn")
	f.IntVar(&c.concurrency, "concurrency", 64, "at most this many requests at once")
	f.BoolVar(&c.noColor, "no-color", false, "no colours (as NO_COLOR)")
	f.BoolVarP(&c.quiet, "quiet", "q", false, "print only what is denied or could not be told")
	f.BoolVarP(&c.verbose, "verbose", "v", false, "print more")
	c.evidence.add(f)
}

func (c *common) check() error {
	if c.json {
		c.format = "json"
	}
	if formOf(c.format) == nil {
		return usagef(formHint(c.format), "unknown format %q", c.format)
	}
	var err error
	if c.outputs, err = outputs(c.reports); err != nil {
		return err
	}
	if c.failOn != "deny" && c.failOn != "warn" {
		return usagef("levels are deny and warn", "unknown level %q", c.failOn)
	}
	if c.concurrency < 1 || c.concurrency > 1024 {
		return usagef("", "--concurrency must be between 1 and 1024, and it is %d", c.concurrency)
	}
	if c.registry != "" {
		u, err := url.Parse(c.registry)
		if err != nil || u.Scheme != "https" && u.Scheme != "http" || u.Host == "" || strings.ContainsAny(c.registry, "\r\n") {
			return usagef("for example --registry https://registry.npmjs.org", "--registry %q is not the URL of a registry", c.registry)
		}
	}
	return c.evidence.check()
}

// session is everything that a run needs, made from flags, files and environment.
type session struct {
	env    Environment
	flags  *common
	config *npm.Config
	// manager is what yarn, pnpm or bun are told of registries; nil for nothing.
	manager []npm.Source
	client  *registry.Client
	store   *evidence.Store
	trust   *trust.Material
	policy  *policy.Policy
	// policyData is the policy file that counts; nil for none.
	policyData []byte
	lock       *policy.Lock // the pins in force; nil: there is no assay.lock
	notes      []report.Note
	signed     []byte                   // verification summaries, signed; nil where they are not
	replay     *replayed                // nil where registries are asked
	recorder   *evidence.Recorder       // nil where nothing is recorded
	bar        atomic.Pointer[progress] // nil before there is one, and where nobody wants it
}

// open makes a session for a project directory; network says whether the registry may be asked at all.
func (c *common) open(ctx context.Context, env Environment, project string, network bool) (*session, error) {
	s := &session{env: env, flags: c}
	if err := s.checkOutputs(c.outputs); err != nil {
		return nil, err
	}
	if err := s.readConfig(project); err != nil {
		return nil, err
	}
	if err := s.readPolicy(ctx, project); err != nil {
		return nil, err
	}
	if c.evidence.file != "" {
		if err := s.openArchive(); err != nil {
			return nil, err
		}
		return s, nil
	}
	cache := c.cacheDir(env)
	var err error
	s.trust, err = trust.Load(ctx, s.trustOptions(cache, network))
	if err != nil {
		return nil, usagef("", "%w", err)
	}
	for _, n := range s.trust.Notes {
		s.notes = append(s.notes, report.Note{Code: n.Code, Message: n.Detail})
	}
	if !network {
		return s, nil
	}
	if !c.offline {
		if err := s.connect(); err != nil {
			return nil, err
		}
	}
	if cache != "" {
		key, err := cacheKey(env, cache)
		if err != nil {
			s.notes = append(s.notes, report.Note{Code: "cache-key", Message: err.Error()})
		}
		s.store, err = evidence.OpenStore(evidence.StoreOptions{Dir: filepath.Join(cache, "evidence"), Key: key, Now: env.Now})
		if err != nil {
			s.store = nil
			s.notes = append(s.notes, report.Note{Code: "cache", Message: err.Error()})
		}
	}
	return s, nil
}

// connect makes the client that asks registries, by the configuration as it is now.
func (s *session) connect() error {
	extra, _ := s.env.Getenv("NODE_EXTRA_CA_CERTS")
	client, err := registry.New(registry.Options{
		Config: s.config, UserAgent: "assay/" + Version(), MaxInFlight: s.flags.concurrency, ExtraCAFile: extra,
		Progress: func(e registry.Event) {
			bar := s.bar.Load()
			bar.Bytes(e.Bytes)
			bar.Host(e.Host)
		},
	})
	if err != nil {
		return usagef("", "%w", err)
	}
	if s.client != nil {
		s.client.Close()
	}
	s.client = client
	return nil
}

func (s *session) trustOptions(cache string, network bool) trust.Options {
	o := trust.Options{
		TrustedRootFile: s.path(s.flags.trustedRoot), KeysFile: s.path(s.flags.keys), Now: s.env.Now,
		UserAgent: "assay/" + Version(), Pause: 10 * time.Minute,
		// With a bundle and a trusted root at hand nothing touches the network, not even for npm's keys.
		Offline: s.flags.offline || !network && s.flags.trustedRoot != "",
	}
	if cache != "" {
		o.CacheDir = filepath.Join(cache, "trust")
	}
	if mirror, ok := s.env.Getenv("ASSAY_TUF_URL"); ok && mirror != "" {
		o.TUFURL = mirror
	}
	return o
}

// path resolves a file that a flag names against the working directory.
func (s *session) path(file string) string {
	if file == "" || filepath.IsAbs(file) {
		return file
	}
	return filepath.Join(s.env.Dir, file)
}

// close writes out what the run learnt. Trouble with the cache is told and changes nothing.
func (s *session) close() {
	if s.replay != nil {
		if err := s.replay.archive.Close(); err != nil {
			fmt.Fprintf(s.env.Stderr, "assay: warning: %s\n", report.Escape(err.Error()))
		}
	}
	if s.store != nil {
		if err := s.store.Close(); err != nil {
			fmt.Fprintf(s.env.Stderr, "assay: warning: %s\n", report.Escape(err.Error()))
		}
	}
	if s.client != nil {
		s.client.Close()
	}
}

// collector makes the collector of the session.
func (s *session) collector() *evidence.Collector {
	o := evidence.CollectorOptions{Store: s.store, Now: s.env.Now, Explain: explain, Recorder: s.recorder}
	if s.replay != nil {
		o.Archive = s.replay.archive
	}
	if s.client != nil {
		o.Fetcher = evidence.FetcherFor(s.client, func(r *registry.Response) evidence.Response {
			return evidence.Response{URL: r.URL, Status: r.Status, ETag: r.Header.Get("Etag"), Body: r.Body, At: r.At}
		})
	}
	return evidence.NewCollector(o)
}

// explain reads the registry client's errors for the collector.
func explain(err error) evidence.Fault {
	var e *registry.Error
	if !errors.As(err, &e) {
		return evidence.Fault{Reason: "connection"}
	}
	return evidence.Fault{Absent: e.Kind == registry.NotFound, Reason: e.Kind.String(), Status: e.Status, URL: e.URL}
}

func (s *session) auditOptions(filter policy.Filter) audit.Options {
	o := audit.Options{
		Collector: s.collector(), Trust: s.trust, Config: s.config, Policy: s.policy, Filter: filter, Now: s.env.Now(), Lock: s.lock,
		Offline: s.flags.offline, Deep: s.flags.deep, StrictTime: s.flags.strictTime, KeysFromFile: s.flags.keys != "",
		Concurrency: s.flags.concurrency,
		ReadFile: func(name string) ([]byte, error) {
			if !filepath.IsAbs(name) && s.policy.File != "" {
				name = s.path(filepath.Join(filepath.Dir(s.policy.File), name))
			}
			return readFile(name, 1<<20)
		},
	}
	if s.replay != nil {
		o.KeysFromFile = s.trust.KeysSource.Origin == trust.OriginFile
		o.Named, o.TrustKeys = s.replay.archive.Named, s.trustKeys
	}
	return o
}

// readConfig reads .npmrc at all its levels, weakest first, as npm does.
func (s *session) readConfig(project string) error {
	var sources []npm.Source
	add := func(level npm.Level, path string) error {
		data, err := readFile(path, 1<<20)
		switch {
		case errors.Is(err, fs.ErrNotExist) || path == "":
			return nil
		case err != nil:
			return usagef("", "reading npm's configuration: %w", err)
		}
		sources = append(sources, npm.Source{Level: level, Path: path, Data: data})
		return nil
	}
	own := ""
	if project != "" {
		own = filepath.Join(project, ".npmrc")
	}
	projectBytes, err := readFile(own, 1<<20)
	if err != nil {
		projectBytes = nil // told below, where it is read in its turn
	}
	// Under npm run, npm exports what the project's own file says: such a variable is not the user's word.
	setting := func(key string) string { return npm.EnvSetting(key, s.env.Environ, projectBytes) }
	user := setting("userconfig")
	if user == "" {
		if home := s.home(); home != "" {
			user = filepath.Join(home, ".npmrc")
		}
	}
	if err := add(npm.LevelGlobal, s.globalConfig(setting)); err != nil {
		return err
	}
	if err := add(npm.LevelUser, user); err != nil {
		return err
	}
	if own != "" && !sameFile(own, user) {
		if err := add(npm.LevelProject, own); err != nil {
			return err
		}
	}
	sources = append(sources, s.manager...) // of one level the later is the stronger
	sources = append(sources, npm.EnvSource(s.env.Environ))
	if s.flags.registry != "" {
		sources = append(sources, npm.FlagSource(map[string]string{"registry": s.flags.registry}))
	}
	config, warnings, err := npm.ParseConfig(sources, s.env.Getenv)
	if err != nil {
		return usagef("", "reading npm's configuration: %w", err)
	}
	for _, w := range warnings {
		if n := (report.Note{Code: "npmrc", Message: w.String()}); !slices.Contains(s.notes, n) {
			s.notes = append(s.notes, n)
		}
	}
	s.config = config
	return nil
}

// globalConfig is npm's global file: {prefix}/etc/npmrc, the prefix being where node is installed unless
// the environment says otherwise (npm/cli workspaces/config, lib/index.js loadGlobalPrefix).
func (s *session) globalConfig(setting func(string) string) string {
	if f := setting("globalconfig"); f != "" {
		return f
	}
	prefix := setting("prefix")
	if prefix == "" {
		if p, ok := s.env.Getenv("PREFIX"); ok {
			prefix = p
		}
	}
	if prefix == "" {
		node, err := exec.LookPath("node")
		if err != nil {
			return ""
		}
		if real, err := filepath.EvalSymlinks(node); err == nil {
			node = real
		}
		prefix = filepath.Dir(filepath.Dir(node))
	}
	return filepath.Join(prefix, "etc", "npmrc")
}

func sameFile(a, b string) bool {
	x, errA := os.Stat(a)
	y, errB := os.Stat(b)
	return errA == nil && errB == nil && os.SameFile(x, y)
}

// cacheDir is where evidence and trust are kept between runs; "" where there is no place for them.
func (c *common) cacheDir(env Environment) string {
	if c.cache != "" {
		if filepath.IsAbs(c.cache) {
			return c.cache
		}
		return filepath.Join(env.Dir, c.cache)
	}
	if dir, ok := env.Getenv("ASSAY_CACHE"); ok && dir != "" {
		return dir
	}
	if dir, ok := env.Getenv("XDG_CACHE_HOME"); ok && filepath.IsAbs(dir) {
		return filepath.Join(dir, "assay")
	}
	dir, err := os.UserCacheDir()
	if err != nil {
		return ""
	}
	return filepath.Join(dir, "assay")
}

// cacheKey is the key that authenticates the cache. It lies outside the cache directory, or is given in
// ASSAY_CACHE_KEY: whoever can fill the cache must not be able to vouch for what is in it.
func cacheKey(env Environment, cache string) ([]byte, error) {
	if v, ok := env.Getenv("ASSAY_CACHE_KEY"); ok && v != "" {
		sum := sha256.Sum256([]byte("assay cache key\x00" + v))
		return sum[:], nil
	}
	dir := ""
	if v, ok := env.Getenv("XDG_CONFIG_HOME"); ok && filepath.IsAbs(v) {
		dir = v
	} else if d, err := os.UserConfigDir(); err == nil {
		dir = d
	}
	if dir == "" {
		return nil, errors.New("there is no place for the cache's key, so cached verdicts are computed again; set ASSAY_CACHE_KEY")
	}
	file := filepath.Join(dir, "assay", "cache.key")
	if rel, err := filepath.Rel(cache, file); err == nil && filepath.IsLocal(rel) {
		return nil, fmt.Errorf("the cache's key would lie inside the cache (%s), so cached verdicts are computed again; choose another --cache", file)
	}
	return evidence.KeyFile(file)
}

// readFile reads a file of at most max bytes.
func readFile(name string, max int64) ([]byte, error) {
	f, err := os.Open(name)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	data, err := io.ReadAll(io.LimitReader(f, max+1))
	if err != nil {
		return nil, err
	}
	if int64(len(data)) > max {
		return nil, fmt.Errorf("%s is larger than %d bytes", name, max)
	}
	return data, nil
}

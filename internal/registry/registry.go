// Package registry asks an npm registry for version documents, attestations, keys, packuments and
// tarballs, and takes everything it hears for hostile.
//
// A call ends in one of two ways: a [Response] whose body arrived whole, within its limits, and is one JSON
// value; or an [*Error] whose [Kind] says why not. Nothing is judged beyond that: "not found" is as much an
// answer as any, and whether the JSON means what it should is for the reader of the document.
//
// The package guarantees that
//   - every answer ends, within a time that covers all of it and not only the wait for its next byte;
//   - memory is bounded, whatever is sent: sizes before and after decompression, compression ratio, JSON
//     depth, and how many packages have large bodies at once: while they are read, and after that until a
//     caller who came with a budget (see package budget) is done with the package;
//   - credentials and client certificates go to the origin they were found for and never along with a
//     redirection to another one, where origin means scheme, host and port compared exactly;
//   - a redirection never leads from https to http, nor from a registry on the public network to a private
//     address;
//   - no error shows credentials or unquoted text of a server.
package registry

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/netip"
	"net/url"
	"os"
	"strings"
	"sync"
	"time"

	"assay/internal/npm"
)

// Options are the client's settings; the zero value is usable.
type Options struct {
	// Config gives credentials, proxies, CA list, strict-ssl, fetch-timeout, fetch-retries and maxsockets.
	// Nil means no credentials, no proxy, and the defaults below.
	Config *npm.Config

	UserAgent   string        // default "assay"
	MaxInFlight int           // answers being received at once, all hosts together; default 64, at most what maxsockets says where it is set
	Timeout     time.Duration // for one whole answer, without waiting for a free place; default fetch-timeout where it is set, else 30 s (packuments and tarballs: 5 min)
	Retry       Retry
	Limits      Limits
	Offline     bool // every call fails with kind Offline and touches nothing

	CA          []string // PEM; replaces the CA list, before settings ca and cafile
	ExtraCAFile string   // PEM file whose certificates are added to the system's; default NODE_EXTRA_CA_CERTS as Config has it

	// Proxy returns the proxy for a URL, nil for none; it replaces Config's.
	Proxy func(*url.URL) (*url.URL, error)

	// Progress is told what happens, one event at a time, from the goroutines that do the work: it must be
	// quick and must not call the client.
	Progress func(Event)

	// Transport replaces all networking: connection pools, TLS settings, proxies, client certificates and
	// the guard against private addresses are then its own matter.
	Transport http.RoundTripper

	ReadFile func(name string) ([]byte, error)                // reads CA and certificate files; default os.ReadFile
	Now      func() time.Time                                 // default time.Now
	Sleep    func(ctx context.Context, d time.Duration) error // waits between attempts; default a timer; returns early with ctx's error
}

// Retry says how failed attempts are repeated: after 408, 429 and 5xx, and after connections that failed,
// broke or took too long. Nothing else is repeated. A zero field takes its default.
type Retry struct {
	Attempts int           // per question, the first one included; default fetch-retries + 1 where it is set, else 3; at most 10
	Min, Max time.Duration // wait before the second attempt, and longest wait; default fetch-retry-mintimeout and -maxtimeout where set, else 250 ms and 10 s
	Factor   float64       // growth of the wait per attempt; default fetch-retry-factor where it is set, else 4
	AfterMax time.Duration // longest wait a server's Retry-After may ask for; default 60 s
	Budget   time.Duration // no attempt starts later than this after the call; default 3 min

	// Total is how many repetitions may be outstanding against answers: each takes one, each answer gives
	// one back. When a registry is down, an audit of thousands of packages stops repeating after this many.
	// Default 256.
	Total int
}

// Limits are sizes in bytes after decoding, and the depth of JSON in levels. A zero field takes its default.
type Limits struct {
	// Version documents have a few KiB, and below 1 MiB where somebody publishes long lists in theirs; two
	// attestations, which is what a package has, have 20 KiB together. A registry needs no more than the
	// defaults of 4 MiB, and what it could make every check hold in memory grows with them.
	Document, Attestations int64

	Keys, Packument, Tarball int64 // defaults 1 MiB, 256 MiB, 512 MiB
	Depth                    int   // default 100
}

// A Client asks registries. It is safe for concurrent use.
type Client struct {
	opts        Options
	maxInFlight int
	places      chan struct{} // one token per answer being received
	answers     *bodyPlaces   // for what every package has: version documents and attestations
	bodies      *bodyPlaces   // for packuments and keys
	transports  *transports
	flights     flights
	progress    progress
	counters    counters
	retries     chan struct{} // tokens for repetitions, see Retry.Total
	private     func(netip.Addr) bool
	publicHosts sync.Map // host[:port] → bool: its last answer came from a public address
	baseFirst   sync.Map // registry → true: attestations were found under the base path
}

// New returns a client. It reads the CA files that the settings name; errors are about them.
func New(o Options) (*Client, error) {
	set := func(key string) bool {
		if o.Config == nil {
			return false
		}
		_, level, ok := o.Config.Get(key)
		return ok && level > npm.LevelDefault
	}
	if o.UserAgent == "" {
		o.UserAgent = "assay"
	}
	if o.MaxInFlight <= 0 {
		o.MaxInFlight = 64
	}
	if set("maxsockets") && o.Config.MaxSockets() > 0 {
		o.MaxInFlight = min(o.MaxInFlight, o.Config.MaxSockets())
	}
	if o.Timeout <= 0 && set("fetch-timeout") {
		o.Timeout = o.Config.FetchTimeout()
	}
	r := &o.Retry
	if r.Attempts <= 0 {
		r.Attempts = 3
		if set("fetch-retries") {
			r.Attempts = o.Config.FetchRetries() + 1
		}
	}
	r.Attempts = max(1, min(r.Attempts, 10))
	if r.Min <= 0 {
		r.Min = 250 * time.Millisecond
		if set("fetch-retry-mintimeout") {
			r.Min = o.Config.FetchRetryMinTimeout()
		}
	}
	if r.Max <= 0 {
		r.Max = 10 * time.Second
		if set("fetch-retry-maxtimeout") {
			r.Max = o.Config.FetchRetryMaxTimeout()
		}
	}
	r.Max = max(r.Max, r.Min)
	if r.Factor < 1 {
		r.Factor = 4
		if set("fetch-retry-factor") {
			r.Factor = max(1, o.Config.FetchRetryFactor())
		}
	}
	if r.AfterMax <= 0 {
		r.AfterMax = time.Minute
	}
	if r.Budget <= 0 {
		r.Budget = 3 * time.Minute
	}
	if r.Total <= 0 {
		r.Total = 256
	}
	l := &o.Limits
	for _, f := range []struct {
		field *int64
		mib   int64
	}{{&l.Document, 4}, {&l.Attestations, 4}, {&l.Keys, 1}, {&l.Packument, 256}, {&l.Tarball, 512}} {
		if *f.field <= 0 {
			*f.field = f.mib << 20
		}
	}
	if l.Depth <= 0 {
		l.Depth = 100
	}
	if o.ExtraCAFile == "" && o.Config != nil {
		o.ExtraCAFile = o.Config.ExtraCAFile()
	}
	if o.ReadFile == nil {
		o.ReadFile = os.ReadFile
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.Sleep == nil {
		o.Sleep = sleep
	}

	c := &Client{
		opts: o, maxInFlight: o.MaxInFlight, places: make(chan struct{}, o.MaxInFlight), answers: newBodyPlaces(), bodies: newBodyPlaces(),
		progress: progress{call: o.Progress, now: o.Now}, retries: make(chan struct{}, r.Total), private: isPrivate,
	}
	for range r.Total {
		c.retries <- struct{}{}
	}
	var err error
	c.transports, err = newTransports(&c.opts, c)
	if err != nil {
		return nil, err
	}
	return c, nil
}

// Close drops idle connections. The client stays usable.
func (c *Client) Close() { c.transports.closeIdle() }

// A Resource is something that a registry serves as JSON.
type Resource int

const (
	DocumentResource     Resource = iota + 1 // one version's document
	AttestationsResource                     // one version's attestation bundles
	KeysResource                             // the registry's signing keys
	PackumentResource                        // all versions of one package, full form
)

// A Request is one question. ID is not used for keys, its Version not for packuments.
type Request struct {
	Resource Resource
	Registry string // base URL; a trailing slash does not matter
	ID       npm.ID

	// Validators of an answer that the caller has: its ETag and Last-Modified headers, as they came. With
	// either of them the response may be NotModified.
	ETag, LastModified string
}

// A Response is an answer that arrived whole. It may be shared with other callers: read it only.
type Response struct {
	URL         string // what was asked, without user information and query; not where redirections led
	Status      int    // 200, 203, or 304
	NotModified bool   // the answer the caller has still holds; Body is nil
	Header      http.Header
	Body        []byte    // exact bytes after content decoding: one JSON value; nil only if NotModified
	At          time.Time // when the answer had arrived
}

// isTag reports whether s may be a dist-tag. npm takes more than these; what is left out needs escaping.
func isTag(s string) bool {
	for _, c := range s {
		if !(c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' || c == '-' || c == '_' || c == '.') {
			return false
		}
	}
	return s != "" && len(s) <= 128 && s != "." && s != ".."
}

// Document asks for one version's document, the version given or the one that a tag names now: GET {registry}/{name}/{version}, the scope's slash as %2f.
// Errors are *Error.
func (c *Client) Document(ctx context.Context, registry string, id npm.ID) (*Response, error) {
	return c.Get(ctx, Request{Resource: DocumentResource, Registry: registry, ID: id})
}

// Attestations asks for one version's attestations: GET {origin}/-/npm/v1/attestations/{name}@{version}.
// See [Client.Get] about registries mounted under a path. Errors are *Error.
func (c *Client) Attestations(ctx context.Context, registry string, id npm.ID) (*Response, error) {
	return c.Get(ctx, Request{Resource: AttestationsResource, Registry: registry, ID: id})
}

// Keys asks for a registry's signing keys: GET {registry}/-/npm/v1/keys. npm takes 404 and 400 for "this
// registry has no keys" (npm/cli, lib/utils/verify-signatures.js); here both are errors, of kinds NotFound
// and Status. Errors are *Error.
func (c *Client) Keys(ctx context.Context, registry string) (*Response, error) {
	return c.Get(ctx, Request{Resource: KeysResource, Registry: registry})
}

// Packument asks for the full document of all versions of a package: GET {registry}/{name} with Accept:
// application/json, the form that has publish times. Errors are *Error.
func (c *Client) Packument(ctx context.Context, registry string, name string) (*Response, error) {
	return c.Get(ctx, Request{Resource: PackumentResource, Registry: registry, ID: npm.ID{Name: name}})
}

// Get asks one question. The same question asked by several callers at once is asked of the registry once.
//
// Where things are follows npm. Version document and packument lie under the registry's base path (pacote,
// lib/registry.js), keys too (npm/cli, lib/utils/verify-signatures.js hands "/-/npm/v1/keys" to
// npm-registry-fetch, which joins it to the registry's URL by string). Attestations lie at the registry's
// origin: pacote resolves their path with new URL(path, registry), which drops the base path. Registries
// mounted under a path mostly serve them under that path only, so where the origin has none the base path
// is asked as well; "not found" is the answer only if both say so.
//
// Errors are *Error.
func (c *Client) Get(ctx context.Context, r Request) (*Response, error) {
	a, base, err := c.plan(r)
	if err != nil {
		return nil, err
	}
	if base == nil {
		return c.getShared(ctx, a)
	}
	if _, ok := c.baseFirst.Load(r.Registry); ok {
		resp, err := c.getShared(ctx, base)
		if KindOf(err) == NotFound {
			return c.getShared(ctx, a)
		}
		return resp, err
	}
	resp, err := c.getShared(ctx, a)
	if err == nil || !elsewhere(err) {
		return resp, err
	}
	resp, baseErr := c.getShared(ctx, base)
	switch {
	case baseErr == nil:
		c.baseFirst.Store(r.Registry, true)
		return resp, nil
	case KindOf(err) == NotFound:
		return nil, baseErr
	}
	return nil, err
}

// elsewhere reports whether an answer of the origin may come from something else than the registry: a
// front page, a login, another service.
func elsewhere(err error) bool {
	var e *Error
	if !errors.As(err, &e) {
		return false
	}
	switch e.Kind {
	case NotFound, Unauthorized, NotJSON, Redirect:
		return true
	case Status:
		return e.Status < 500 && e.Status != http.StatusTooManyRequests
	}
	return false
}

// KindOf returns the kind of an error that this package returned, 0 for any other.
func KindOf(err error) Kind {
	var e *Error
	if errors.As(err, &e) {
		return e.Kind
	}
	return 0
}

// An ask is a question on its way: everything that an attempt needs to know.
type ask struct {
	op           string // "fetching attestations of vite@7.1.0"
	what         string // "attestation response"
	url          *url.URL
	registry     *url.URL // whose credentials serve for all of its origin; nil: none in particular
	named        bool     // the URL was named by the registry, not by the user
	limit        int64
	places       *bodyPlaces // where a body that grows takes its place
	patient      bool        // waits for it half-way, and does not ask again
	timeout      time.Duration
	etag         string
	lastModified string
	name         string                // of the package, tarballs only
	body         func(io.Reader) error // tarballs: gets the body as it comes; nil: the body is read as JSON
	question     []byte                // JSON that is posted; nil: nothing is
}

// key tells apart the questions that may not share an answer.
func (a *ask) key() string {
	return strings.Join([]string{a.url.String(), a.what, a.etag, a.lastModified, string(a.question)}, "\x00")
}

// plan turns a request into what to ask; base is where to ask next, nil for nowhere.
func (c *Client) plan(r Request) (a, base *ask, err error) {
	id := r.ID.Name
	if r.ID.Version != "" {
		id = r.ID.String()
	}
	a = &ask{etag: r.ETag, lastModified: r.LastModified, places: c.answers}
	if r.Resource == KeysResource || r.Resource == PackumentResource {
		// Large ones are common, so none is to be asked for twice. Whoever got one of these asks nothing more
		// that may wait, and so the ones that wait hold nobody up (see package budget about the order).
		a.places, a.patient = c.bodies, true
	}
	var path string
	versioned := false
	switch r.Resource {
	case DocumentResource:
		a.op, a.what, a.limit, a.timeout = "fetching the version document of "+id, "version document", c.opts.Limits.Document, c.timeout(30*time.Second)
		path, versioned = "/"+npm.EscapeName(r.ID.Name)+"/"+r.ID.Version, true
	case AttestationsResource:
		a.op, a.what, a.limit, a.timeout = "fetching attestations of "+id, "attestation response", c.opts.Limits.Attestations, c.timeout(30*time.Second)
		path, versioned = "/-/npm/v1/attestations/"+npm.EscapeName(r.ID.Name)+"@"+r.ID.Version, true
	case KeysResource:
		a.op, a.what, a.limit, a.timeout = "fetching the keys of "+r.Registry, "key list", c.opts.Limits.Keys, c.timeout(30*time.Second)
		path = "/-/npm/v1/keys"
	case PackumentResource:
		a.op, a.what, a.limit, a.timeout = "fetching the packument of "+id, "packument", c.opts.Limits.Packument, c.timeout(5*time.Minute)
		path = "/" + npm.EscapeName(r.ID.Name)
	default:
		return nil, nil, &Error{Op: "asking a registry", Kind: InvalidURL, Err: fmt.Errorf("resource %d does not exist", r.Resource)}
	}
	fail := func(err error) (*ask, *ask, error) {
		return nil, nil, &Error{Op: a.op, Kind: InvalidURL, Err: err}
	}
	a.registry, err = parseURL(r.Registry)
	if err != nil {
		if r.Resource == KeysResource {
			a.op = "fetching the keys of a registry" // its URL is not known to be free of a password
		}
		return fail(err)
	}
	if r.Resource == KeysResource {
		a.op = "fetching the keys of " + shown(a.registry)
	} else if err := npm.CheckName(r.ID.Name); err != nil {
		return fail(err)
	}
	if versioned {
		if err := npm.CheckVersion(r.ID.Version); err != nil && !(r.Resource == DocumentResource && isTag(r.ID.Version)) {
			return fail(err)
		}
	}
	basePath := joined(a.registry.EscapedPath(), "")
	if r.Resource == AttestationsResource && basePath != "" {
		b := *a
		if b.url, err = withPath(a.registry, basePath+path); err != nil {
			return fail(err)
		}
		base = &b
		basePath = ""
	}
	if a.url, err = withPath(a.registry, basePath+path); err != nil {
		return fail(err)
	}
	return a, base, nil
}

func (c *Client) timeout(usual time.Duration) time.Duration {
	if c.opts.Timeout > 0 {
		return c.opts.Timeout
	}
	return usual
}

// parseURL reads an absolute http or https URL. Its errors do not show the URL, which may hold a password.
func parseURL(s string) (*url.URL, error) {
	u, err := url.Parse(strings.TrimSpace(s))
	switch {
	case err != nil || u.Hostname() == "" || u.Opaque != "":
		return nil, errors.New("not an absolute URL with a host")
	case u.Scheme != "https" && u.Scheme != "http":
		return nil, fmt.Errorf("%.20q is no scheme of a registry, only https and http are", u.Scheme)
	}
	u.Fragment, u.RawFragment = "", ""
	return u, nil
}

// joined is a path below a registry's base path.
func joined(base, path string) string { return strings.TrimRight(base, "/") + path }

// withPath returns base with its path replaced by one that is already escaped, and without query.
func withPath(base *url.URL, escaped string) (*url.URL, error) {
	path, err := url.PathUnescape(escaped)
	if err != nil {
		return nil, errors.New("the path of the URL is malformed")
	}
	u := *base
	u.Path, u.RawPath = path, escaped
	u.RawQuery, u.ForceQuery = "", false
	if u.EscapedPath() != escaped {
		return nil, fmt.Errorf("%q makes no path of a URL", escaped)
	}
	return &u, nil
}

// Tarball fetches url, a package's tarball, and hands it to fn as it comes: fn reads to the end and does
// its own hashing. The bytes are those of the file; no content coding is asked for and none is undone.
//
// Where a connection breaks half-way, fn is called again with the tarball from its start: what fn keeps,
// such as a hash, has to begin inside it. An error of fn's own is returned as it is and ends the call, so a
// reader that cannot begin again refuses its second call. The tarball is not in order unless Tarball
// returns nil: a connection that broke, a limit that was passed or a length that does not hold is an *Error
// even if fn took no notice. fn occupies one of the client's places: it must not call the client.
func (c *Client) Tarball(ctx context.Context, url string, fn func(io.Reader) error) error {
	return c.tarball(ctx, "", "", url, fn)
}

// TarballFrom is Tarball for a URL that a registry's document or a lockfile names as the tarball of a
// package. As in npm (npm-registry-fetch, lib/auth.js), a URL on the registry's own origin gets the
// registry's credentials where it has none of its own. What comes from a registry on the public network
// cannot name a private address.
func (c *Client) TarballFrom(ctx context.Context, registry, name, url string, fn func(io.Reader) error) error {
	return c.tarball(ctx, registry, name, url, fn)
}

func (c *Client) tarball(ctx context.Context, registry, name, url string, fn func(io.Reader) error) error {
	a := &ask{op: "fetching a tarball", what: "tarball", limit: c.opts.Limits.Tarball, timeout: c.timeout(5 * time.Minute), name: name, body: fn}
	var err error
	if a.url, err = parseURL(url); err != nil {
		return &Error{Op: a.op, Kind: InvalidURL, Err: err}
	}
	a.op = "fetching tarball " + shown(a.url)
	if registry != "" {
		if a.registry, err = parseURL(registry); err != nil {
			return &Error{Op: a.op, Kind: InvalidURL, Err: fmt.Errorf("the registry: %w", err)}
		}
		a.named = true
	}
	_, err = c.get(ctx, a)
	return err
}

func (c *Client) getShared(ctx context.Context, a *ask) (*Response, error) {
	if c.opts.Offline {
		return c.get(ctx, a)
	}
	resp, err := c.flights.share(ctx, a.key(), &c.counters.shared, func(ctx context.Context) (*Response, error) {
		return c.get(ctx, a)
	})
	if err != nil && KindOf(err) == 0 { // this caller left
		return nil, a.left(ctx, 0)
	}
	return resp, err
}

// left is the error of a caller whose context ended.
func (a *ask) left(ctx context.Context, attempts int) *Error {
	e := &Error{Op: a.op, URL: shown(a.url), Kind: Canceled, Attempts: attempts, Err: context.Cause(ctx)}
	if errors.Is(ctx.Err(), context.DeadlineExceeded) {
		e.Kind = Timeout
	}
	return e
}

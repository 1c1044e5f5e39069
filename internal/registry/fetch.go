package registry

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"math/rand/v2"
	"net/http"
	"net/http/httptrace"
	"net/url"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	"assay/internal/budget"
	"assay/internal/npm"
)

const maxRedirects = 5

// errSlow ends an answer that did not arrive whole in time.
var errSlow = errors.New("the answer took too long")

// get asks until there is an answer or nothing more to try.
func (c *Client) get(ctx context.Context, a *ask) (*Response, error) {
	if c.opts.Offline {
		return nil, &Error{Op: a.op, URL: shown(a.url), Kind: Offline, Err: errors.New("the network is not to be used")}
	}
	c.progress.tell(Event{Kind: Started, Op: a.op, Host: a.url.Host})
	resp, err := c.attempts(ctx, a)
	if err != nil {
		c.progress.tell(Event{Kind: Finished, Op: a.op, Host: a.url.Host, Err: err})
		return nil, err
	}
	c.progress.tell(Event{Kind: Finished, Op: a.op, Host: a.url.Host})
	return resp, nil
}

func (c *Client) attempts(ctx context.Context, a *ask) (*Response, error) {
	start := c.opts.Now()
	for n := 1; ; n++ {
		resp, f := c.attempt(ctx, a)
		for noRoom := new(noRoomError); f != nil && errors.As(f.err, &noRoom); {
			since := c.opts.Now()
			if budget.From(ctx).Wait(ctx, noRoom.pool) != nil {
				return nil, a.left(ctx, n)
			}
			start = start.Add(c.opts.Now().Sub(since)) // the wait is the client's own doing
			resp, f = c.attempt(ctx, a)
		}
		if f != nil && a.body == nil {
			budget.From(ctx).Drop() // what failed needs no room, and must not keep it while others could go on
		}
		if f == nil || !f.retry {
			select {
			case c.retries <- struct{}{}:
			default: // nothing outstanding
			}
		}
		if f == nil {
			return resp, nil
		}
		if ctx.Err() != nil {
			return nil, a.left(ctx, n)
		}
		if f.final != nil {
			return nil, f.final
		}
		e := &Error{Op: a.op, URL: shown(a.url), Kind: f.kind, Status: f.status, Attempts: n, Err: f.err}
		wait := c.wait(n, f.after)
		if !f.retry || n >= c.opts.Retry.Attempts || c.opts.Now().Sub(start)+wait > c.opts.Retry.Budget {
			return nil, e
		}
		select {
		case <-c.retries:
		default:
			return nil, e
		}
		atomic.AddInt64(&c.counters.retries, 1)
		c.progress.tell(Event{Kind: Retrying, Op: a.op, Host: a.url.Host, Wait: wait, Err: e})
		if err := c.opts.Sleep(ctx, wait); err != nil {
			return nil, a.left(ctx, n)
		}
	}
}

// wait returns how long to wait after the nth attempt: exponentially more, half of it by chance so that
// clients that failed together do not come back together, and at least what the server asked for.
func (c *Client) wait(n int, after time.Duration) time.Duration {
	r := c.opts.Retry
	d := time.Duration(min(float64(r.Min)*math.Pow(r.Factor, float64(n-1)), float64(r.Max)))
	d = d/2 + rand.N(d/2+1)
	return max(d, min(after, r.AfterMax))
}

func sleep(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// A failure is what became of one attempt that gave no answer.
type failure struct {
	kind   Kind
	status int
	err    error
	retry  bool
	after  time.Duration // the server's Retry-After
	final  error         // returned as it is: the error of a tarball's reader
}

// attempt asks once, redirections included, and receives the whole answer.
func (c *Client) attempt(ctx context.Context, a *ask) (*Response, *failure) {
	select {
	case c.places <- struct{}{}:
		defer func() { <-c.places }()
	case <-ctx.Done():
		return nil, &failure{err: ctx.Err()}
	}
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	watch := startStopwatch(a.timeout, func() { cancel(errSlow) })
	defer watch.stop()

	// Whatever failed when the time was up, failed because it was up.
	fail := func(f *failure) (*Response, *failure) {
		if errors.Is(context.Cause(ctx), errSlow) && f.kind != Redirect && f.status == 0 {
			return nil, &failure{kind: Timeout, retry: true, err: fmt.Errorf("no whole answer within %v", a.timeout)}
		}
		return nil, f
	}
	resp, f := c.follow(ctx, a)
	if f != nil {
		return fail(f)
	}
	defer resp.Body.Close()
	heard := c.hearing(a, resp)
	switch {
	case resp.StatusCode == http.StatusOK, resp.StatusCode == http.StatusNonAuthoritativeInfo:
	case resp.StatusCode == http.StatusNotModified && (a.etag != "" || a.lastModified != ""):
		return &Response{URL: shown(a.url), Status: resp.StatusCode, NotModified: true, Header: resp.Header, At: c.opts.Now()}, nil
	default:
		return nil, c.refusal(a, resp)
	}
	if a.body != nil {
		if f := a.stream(resp, heard); f != nil {
			if f.final != nil {
				return nil, f
			}
			return fail(f)
		}
		return &Response{}, nil
	}
	body, err := c.readJSON(ctx, resp, a, watch, heard)
	heard(0)
	if err != nil {
		return fail(bodyFailure(err))
	}
	return &Response{URL: shown(a.url), Status: resp.StatusCode, Header: resp.Header, Body: body, At: c.opts.Now()}, nil
}

func bodyFailure(err error) *failure {
	if noRoom := new(noRoomError); errors.As(err, &noRoom) {
		return &failure{err: err}
	}
	if kind, ok := bodyKind(err); ok {
		return &failure{kind: kind, err: err, retry: kind == Truncated}
	}
	kind, retry := transportKind(err)
	return &failure{kind: kind, err: fmt.Errorf("receiving the answer: %w", err), retry: retry}
}

// hearing returns the function that is told how many bytes of a body arrived. It passes them on in
// portions worth an event; 0 passes on what is left.
func (c *Client) hearing(a *ask, resp *http.Response) func(int) {
	host, pending := resp.Request.URL.Host, 0
	return func(n int) {
		atomic.AddInt64(&c.counters.bodies, int64(n))
		pending += n
		if pending >= 64<<10 || n == 0 && pending > 0 {
			c.progress.tell(Event{Kind: Received, Op: a.op, Host: host, Bytes: int64(pending), Total: resp.ContentLength})
			pending = 0
		}
	}
}

// stream hands a tarball to its reader, once something of it is there.
func (a *ask) stream(resp *http.Response, heard func(int)) *failure {
	if resp.ContentLength > a.limit {
		return &failure{kind: TooLarge, err: &LimitError{a.what, a.limit}}
	}
	m := &meter{r: resp.Body, max: a.limit, what: a.what, heard: heard}
	first := make([]byte, 4<<10)
	n, err := m.Read(first)
	for n == 0 && err == nil {
		n, err = m.Read(first)
	}
	if n == 0 && err != io.EOF {
		return bodyFailure(err)
	}
	r := &tarballReader{ahead: first[:n], rest: m, err: err}
	fnErr := a.body(r)
	heard(0)
	if r.err != nil && r.err != io.EOF {
		return bodyFailure(r.err)
	}
	if fnErr != nil {
		return &failure{final: fnErr}
	}
	return nil
}

// tarballReader reads what was read ahead and then the rest, and remembers how that ended.
type tarballReader struct {
	ahead []byte
	rest  io.Reader
	err   error
}

func (r *tarballReader) Read(p []byte) (int, error) {
	if len(r.ahead) > 0 {
		n := copy(p, r.ahead)
		r.ahead = r.ahead[n:]
		return n, nil
	}
	if r.err != nil {
		return 0, r.err
	}
	n, err := r.rest.Read(p)
	r.err = err
	return n, err
}

// follow sends the request and follows redirections. The response's body is open.
//
// Once a redirection has left the origin where the question started, the request carries no credentials
// any more, not even back to that origin: who sends it back chose the path.
func (c *Client) follow(ctx context.Context, a *ask) (*http.Response, *failure) {
	redirect := func(format string, args ...any) *failure {
		return &failure{kind: Redirect, err: fmt.Errorf(format, args...)}
	}
	start := a.url
	if a.named {
		start = a.registry
	}
	u, cred, foreign := a.url, c.credentials(a), false
	seen := map[string]bool{}
	for hops := 0; ; hops++ {
		guarded := false
		if (hops > 0 || a.named) && !sameOrigin(u, start) && c.public(ctx, start) {
			if c.privateName(u.Hostname()) {
				return nil, &failure{kind: Redirect, err: &privateError{u.Host}}
			}
			p, err := c.proxy(u)
			guarded = p == nil && err == nil // a proxy resolves names itself, and may well be at a private address
		}
		resp, f := c.send(ctx, a, u, cred, guarded)
		if f != nil {
			return nil, f
		}
		switch resp.StatusCode {
		default:
			return resp, nil
		case http.StatusMovedPermanently, http.StatusFound, http.StatusSeeOther, http.StatusTemporaryRedirect, http.StatusPermanentRedirect:
		}
		location := resp.Header.Get("Location")
		discard(resp)
		if a.question != nil {
			return nil, &failure{kind: Redirect, err: errMoved}
		}
		next, err := u.Parse(location)
		switch {
		case location == "":
			return nil, redirect("a redirection (%d) names no target", resp.StatusCode)
		case hops >= maxRedirects:
			return nil, redirect("more than %d redirections", maxRedirects)
		case err != nil:
			return nil, redirect("redirected to what is no URL")
		case next.Scheme != "https" && next.Scheme != "http":
			return nil, redirect("redirected to a URL of scheme %.20q", next.Scheme)
		case next.Hostname() == "" || next.Opaque != "":
			return nil, redirect("redirected to what is no URL")
		case u.Scheme == "https" && next.Scheme == "http":
			return nil, redirect("redirected from https to http, to %.200q", shown(next))
		}
		next.User, next.Fragment, next.RawFragment = nil, "", ""
		seen[u.String()] = true
		if seen[next.String()] {
			return nil, redirect("redirected in a circle, to %.200q", shown(next))
		}
		if !sameOrigin(next, a.url) {
			foreign = true
		}
		if foreign {
			cred = npm.Credentials{}
		}
		u = next
	}
}

// send sends one request and returns its response with the body open.
func (c *Client) send(ctx context.Context, a *ask, u *url.URL, cred npm.Credentials, guarded bool) (*http.Response, *failure) {
	plain := *u
	plain.User = nil // credentials hold what it said; a transport must not see it
	req := (&http.Request{
		Method: http.MethodGet, URL: &plain, Host: plain.Host,
		Proto: "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1,
		Header: http.Header{
			"User-Agent":      {c.opts.UserAgent},
			"Accept":          {"application/json"},
			"Accept-Encoding": {"gzip"},
		},
	}).WithContext(ctx)
	if a.question != nil {
		req.Method, req.ContentLength = http.MethodPost, int64(len(a.question))
		req.Body = io.NopCloser(bytes.NewReader(a.question))
		req.GetBody = func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(a.question)), nil }
		req.Header["Content-Type"] = []string{"application/json"}
	}
	if a.body != nil {
		req.Header["Accept"] = []string{"*/*"}
		req.Header["Accept-Encoding"] = []string{"identity"}
	}
	if a.etag != "" {
		req.Header["If-None-Match"] = []string{a.etag}
	}
	if a.lastModified != "" {
		req.Header["If-Modified-Since"] = []string{a.lastModified}
	}
	if cred.Authorization != "" {
		req.Header["Authorization"] = []string{cred.Authorization}
	}
	rt, err := c.transports.pick(guarded, cred)
	if err != nil {
		return nil, &failure{kind: TLS, err: err}
	}
	connected := func() {}
	if u.Scheme == "https" && c.transports.fixed == nil {
		if connected, err = c.transports.pioneer(ctx, rt, u.Host); err != nil {
			return nil, &failure{kind: Connection, retry: true, err: err}
		}
		defer connected()
	}
	req = req.WithContext(httptrace.WithClientTrace(ctx, &httptrace.ClientTrace{GotConn: func(info httptrace.GotConnInfo) {
		connected()
		c.reached(u, info.Conn.RemoteAddr())
	}}))
	atomic.AddInt64(&c.counters.requests, 1)
	resp, err := rt.RoundTrip(req)
	if err != nil {
		kind, retry := transportKind(err)
		if p, perr := c.proxy(u); p != nil && perr == nil {
			err = fmt.Errorf("through proxy %s: %w", p.Host, err)
		}
		return nil, &failure{kind: kind, retry: retry, err: fmt.Errorf("asking %s: %w", u.Host, err)}
	}
	resp.Request = req
	return resp, nil
}

// credentials returns what the first request carries: what is configured for its URL, else, as npm does,
// what is configured for the registry if the URL is on the registry's origin (npm-registry-fetch,
// lib/auth.js; npm compares host and port, this the scheme too), else the registry URL's own user
// information. A tarball's URL is a document's or a lockfile's choice, so what may follow it there is left
// to npm.Config, which keeps a secret that a project's file took from the environment to its path.
func (c *Client) credentials(a *ask) npm.Credentials {
	near := a.registry != nil && sameOrigin(a.url, a.registry)
	if config := c.opts.Config; config != nil {
		cred, ok := config.Credentials(a.url)
		if !ok && near && a.body != nil {
			cred, ok = config.TarballCredentials(a.name, a.url)
		} else if !ok && near {
			base := *a.registry
			base.Path, base.RawPath = strings.TrimRight(base.Path, "/")+"/", ""
			cred, ok = config.Credentials(&base)
		}
		if ok {
			return cred
		}
	}
	user := a.url.User
	if user == nil && near {
		user = a.registry.User
	}
	if user == nil {
		return npm.Credentials{}
	}
	password, _ := user.Password()
	return npm.Credentials{Authorization: "Basic " + base64.StdEncoding.EncodeToString([]byte(user.Username()+":"+password))}
}

// sameOrigin reports whether scheme, host and port are the same (RFC 6454 section 5).
func sameOrigin(a, b *url.URL) bool {
	return a.Scheme == b.Scheme && strings.EqualFold(a.Hostname(), b.Hostname()) && port(a) == port(b)
}

func port(u *url.URL) string {
	if p := u.Port(); p != "" {
		return p
	}
	if u.Scheme == "https" {
		return "443"
	}
	return "80"
}

// refusal turns a response that is not a success into a failure.
func (c *Client) refusal(a *ask, resp *http.Response) *failure {
	f := &failure{kind: Status, status: resp.StatusCode}
	switch s := resp.StatusCode; {
	case s == http.StatusNotFound, s == http.StatusGone:
		f.kind = NotFound
	case s == http.StatusUnauthorized, s == http.StatusForbidden:
		f.kind = Unauthorized
	case s == http.StatusRequestTimeout, s == http.StatusTooManyRequests, s >= 500:
		f.retry = true
		f.after = retryAfter(resp.Header.Get("Retry-After"), c.opts.Now())
	}
	f.err = &statusError{resp.StatusCode, serverSays(resp, resp.Request.Header.Get("Authorization"))}
	return f
}

// serverSays returns the "error" member of a small JSON body, which is what npm shows of a refusal
// (npm-registry-fetch, lib/errors.js), cut to 200 bytes and without the request's credentials, which a
// server could echo. Anything else a body may hold, such as an HTML page, is not for showing.
func serverSays(resp *http.Response, authorization string) string {
	defer discard(resp)
	r, done, err := decoder(resp.Header, &meter{r: resp.Body, max: 16 << 10, what: "error body", heard: func(int) {}})
	if err != nil {
		return ""
	}
	defer done()
	body, err := io.ReadAll(io.LimitReader(r, 16<<10))
	if err != nil || checkJSON(body, 10) != nil {
		return ""
	}
	var said struct{ Error string }
	if json.Unmarshal(body, &said) != nil {
		return ""
	}
	text := said.Error
	for _, secret := range secrets(authorization) {
		text = strings.ReplaceAll(text, secret, "[credentials]")
	}
	if len(text) > 200 {
		text = strings.ToValidUTF8(text[:200], "") + "…"
	}
	return text
}

// secrets returns the parts of an Authorization header that must not be shown.
func secrets(authorization string) []string {
	_, token, _ := strings.Cut(authorization, " ")
	found := []string{}
	for _, s := range []string{authorization, token} {
		if s != "" {
			found = append(found, s)
		}
	}
	if plain, err := base64.StdEncoding.DecodeString(token); err == nil && len(plain) > 0 {
		found = append(found, string(plain))
		if _, password, ok := strings.Cut(string(plain), ":"); ok && password != "" {
			found = append(found, password)
		}
	}
	return found
}

// retryAfter reads a Retry-After header, in seconds or as a date (RFC 9110 section 10.2.3). What it cannot
// read, or lies in the past, is 0.
func retryAfter(s string, now time.Time) time.Duration {
	s = strings.TrimSpace(s)
	if n, err := strconv.ParseUint(s, 10, 31); err == nil {
		return time.Duration(n) * time.Second
	}
	if t, err := http.ParseTime(s); err == nil {
		return max(0, t.Sub(now))
	}
	return 0
}

// discard reads a little of what is left of a body, so that its connection can be used again, and closes it.
func discard(resp *http.Response) {
	_, _ = io.CopyN(io.Discard, resp.Body, 64<<10)
	_ = resp.Body.Close()
}

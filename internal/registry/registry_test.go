package registry

import (
	"bytes"
	"compress/gzip"
	"context"
	"errors"
	"fmt"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"assay/internal/npm"
)

var left = npm.ID{Name: "left", Version: "1.0.0"}

// newClient returns a client that does not really wait between attempts.
func newClient(t *testing.T, o Options) *Client {
	t.Helper()
	if o.Sleep == nil {
		o.Sleep = func(ctx context.Context, _ time.Duration) error { return ctx.Err() }
	}
	c, err := New(o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	return c
}

// serve starts a server for the time of the test and returns its URL.
func serve(t *testing.T, h http.HandlerFunc) string {
	t.Helper()
	s := httptest.NewServer(h)
	t.Cleanup(s.Close)
	return s.URL
}

// userConfig is npm's configuration with text as the user's .npmrc.
func userConfig(t *testing.T, text string) *npm.Config {
	t.Helper()
	config, _, err := npm.ParseConfig([]npm.Source{{Level: npm.LevelUser, Path: "/home/u/.npmrc", Data: []byte(text)}},
		func(string) (string, bool) { return "", false })
	if err != nil {
		t.Fatal(err)
	}
	return config
}

// wantKind fails the test unless err is an *Error of that kind, tried that often, and fit to be printed.
func wantKind(t *testing.T, err error, kind Kind, attempts int) *Error {
	t.Helper()
	var e *Error
	if !errors.As(err, &e) {
		t.Fatalf("got %v, want an *Error of kind %v", err, kind)
	}
	if e.Kind != kind || e.Attempts != attempts {
		t.Fatalf("got kind %v after %d attempts (%v), want %v after %d", e.Kind, e.Attempts, e, kind, attempts)
	}
	if text := e.Error(); text != printable(text) || e.Op == "" {
		t.Errorf("error is not printable or says not what was done: %q", text)
	}
	return e
}

func gzipped(data []byte) []byte {
	var b bytes.Buffer
	w, _ := gzip.NewWriterLevel(&b, gzip.BestSpeed)
	w.Write(data)
	w.Close()
	return b.Bytes()
}

func TestPaths(t *testing.T) {
	scoped := npm.ID{Name: "@acme/widget", Version: "1.0.0-rc.1"}
	document := func(c *Client, reg string, id npm.ID) (*Response, error) { return c.Document(t.Context(), reg, id) }
	attestations := func(c *Client, reg string, id npm.ID) (*Response, error) {
		return c.Attestations(t.Context(), reg, id)
	}
	keys := func(c *Client, reg string, id npm.ID) (*Response, error) { return c.Keys(t.Context(), reg) }
	packument := func(c *Client, reg string, id npm.ID) (*Response, error) {
		return c.Packument(t.Context(), reg, id.Name)
	}
	tests := []struct {
		call func(*Client, string, npm.ID) (*Response, error)
		base string
		id   npm.ID
		want string
	}{
		{document, "", left, "/left/1.0.0"},
		{document, "/", scoped, "/@acme%2fwidget/1.0.0-rc.1"},
		{document, "/npm//", scoped, "/npm/@acme%2fwidget/1.0.0-rc.1"},
		{document, "/a%20b/", left, "/a%20b/left/1.0.0"},
		{document, "", npm.ID{Name: "left", Version: "1.0.0+build.5"}, "/left/1.0.0+build.5"},
		{attestations, "", scoped, "/-/npm/v1/attestations/@acme%2fwidget@1.0.0-rc.1"},
		{attestations, "/npm/", left, "/-/npm/v1/attestations/left@1.0.0"},
		{keys, "/", left, "/-/npm/v1/keys"},
		{keys, "/npm/", left, "/npm/-/npm/v1/keys"},
		{packument, "/npm", scoped, "/npm/@acme%2fwidget"},
	}
	for _, tt := range tests {
		var got atomic.Pointer[http.Request]
		base := serve(t, func(w http.ResponseWriter, r *http.Request) {
			got.Store(r)
			io.WriteString(w, "{}")
		})
		c := newClient(t, Options{UserAgent: "assay/test"})
		resp, err := tt.call(c, base+tt.base, tt.id)
		if err != nil {
			t.Errorf("%s: %v", tt.want, err)
			continue
		}
		r := got.Load()
		if r.RequestURI != tt.want || resp.URL != base+tt.want {
			t.Errorf("asked %q (response says %q), want %q", r.RequestURI, resp.URL, tt.want)
		}
		if r.Header.Get("User-Agent") != "assay/test" || r.Header.Get("Accept") != "application/json" || r.Header.Get("Accept-Encoding") != "gzip" {
			t.Errorf("%s: headers %v", tt.want, r.Header)
		}
		if string(resp.Body) != "{}" || resp.Status != 200 || resp.At.IsZero() {
			t.Errorf("%s: response %+v", tt.want, resp)
		}
	}
}

func TestBadURLs(t *testing.T) {
	c := newClient(t, Options{Transport: forbidden{t}})
	for _, reg := range []string{"", "registry.example", "ftp://registry.example", "file:///etc/passwd", "https://", "https:opaque",
		"https://user:secret@bad host/", "https://user:secret@%zz/", "javascript:alert(1)"} {
		_, err := c.Document(t.Context(), reg, left)
		wantKind(t, err, InvalidURL, 0)
		_, err = c.Keys(t.Context(), reg)
		wantKind(t, err, InvalidURL, 0)
		if strings.Contains(err.Error(), "secret") {
			t.Errorf("%q shows the password", err)
		}
	}
	for _, id := range []npm.ID{{Name: "", Version: "1.0.0"}, {Name: "../../etc", Version: "1.0.0"}, {Name: "@a/..", Version: "1.0.0"},
		{Name: "a?b", Version: "1.0.0"}, {Name: "a#b", Version: "1.0.0"}, {Name: "a\r\nX: y", Version: "1.0.0"}, {Name: "a", Version: ""},
		{Name: "a", Version: "../x"}, {Name: "a", Version: "1.0.0/../../x"}, {Name: "a\x1b[31m", Version: "1.0.0"}} {
		_, err := c.Document(t.Context(), "https://registry.example", id)
		wantKind(t, err, InvalidURL, 0)
		_, err = c.Attestations(t.Context(), "https://registry.example", id)
		wantKind(t, err, InvalidURL, 0)
	}
	_, err := c.Attestations(t.Context(), "https://registry.example", npm.ID{Name: "a", Version: "latest"}) // a document may be asked for by tag
	wantKind(t, err, InvalidURL, 0)
	wantKind(t, c.Tarball(t.Context(), "/relative.tgz", nil), InvalidURL, 0)
	_, err = c.Get(t.Context(), Request{Registry: "https://registry.example"})
	wantKind(t, err, InvalidURL, 0)
}

// forbidden fails the test when anything is sent.
type forbidden struct{ t *testing.T }

func (f forbidden) RoundTrip(r *http.Request) (*http.Response, error) {
	f.t.Errorf("a request for %s was sent", r.URL)
	return nil, errors.New("forbidden")
}

func TestOffline(t *testing.T) {
	c := newClient(t, Options{Offline: true, Transport: forbidden{t}})
	_, err := c.Document(t.Context(), "https://registry.example", left)
	wantKind(t, err, Offline, 0)
	_, err = c.Attestations(t.Context(), "https://registry.example/npm", left)
	wantKind(t, err, Offline, 0)
	_, err = c.Keys(t.Context(), "https://registry.example")
	wantKind(t, err, Offline, 0)
	err = c.Tarball(t.Context(), "https://registry.example/a.tgz", func(io.Reader) error { return nil })
	wantKind(t, err, Offline, 0)
}

func TestStatuses(t *testing.T) {
	tests := []struct {
		status   int
		kind     Kind
		attempts int
	}{
		{404, NotFound, 1}, {410, NotFound, 1}, {401, Unauthorized, 1}, {403, Unauthorized, 1}, {400, Status, 1}, {402, Status, 1},
		{418, Status, 1}, {451, Status, 1}, {204, Status, 1}, {206, Status, 1}, {304, Status, 1}, {300, Status, 1},
		{408, Status, 3}, {429, Status, 3}, {500, Status, 3}, {502, Status, 3}, {503, Status, 3}, {504, Status, 3}, {599, Status, 3},
	}
	for _, tt := range tests {
		var asked atomic.Int32
		base := serve(t, func(w http.ResponseWriter, r *http.Request) {
			asked.Add(1)
			w.WriteHeader(tt.status)
		})
		c := newClient(t, Options{})
		_, err := c.Document(t.Context(), base, left)
		e := wantKind(t, err, tt.kind, tt.attempts)
		if e.Status != tt.status || int(asked.Load()) != tt.attempts || e.URL != base+"/left/1.0.0" {
			t.Errorf("%d: error %+v after %d requests", tt.status, e, asked.Load())
		}
	}
}

func TestRetryThenFine(t *testing.T) {
	var asked atomic.Int32
	base := serve(t, func(w http.ResponseWriter, r *http.Request) {
		if asked.Add(1) < 3 {
			w.WriteHeader(503)
			return
		}
		io.WriteString(w, `{"ok":true}`)
	})
	var waits []time.Duration
	c := newClient(t, Options{Retry: Retry{Min: time.Second, Factor: 10, Max: 4 * time.Second},
		Sleep: func(_ context.Context, d time.Duration) error { waits = append(waits, d); return nil }})
	resp, err := c.Document(t.Context(), base, left)
	if err != nil || string(resp.Body) != `{"ok":true}` {
		t.Fatalf("%v %v", resp, err)
	}
	if len(waits) != 2 || waits[0] < time.Second/2 || waits[0] > time.Second || waits[1] < 2*time.Second || waits[1] > 4*time.Second {
		t.Errorf("waited %v, want about [1s 4s] with jitter below", waits)
	}
	if n := c.Counters(); n.Requests != 3 || n.Retries != 2 {
		t.Errorf("counters %+v", n)
	}
}

func TestRetryAfter(t *testing.T) {
	now := time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
	tests := []struct {
		header   string
		min, max time.Duration
	}{
		{"7", 7 * time.Second, 7 * time.Second},
		{now.Add(20 * time.Second).Format(http.TimeFormat), 20 * time.Second, 20 * time.Second},
		{now.Add(-time.Hour).Format(http.TimeFormat), 0, time.Second},
		{"86400", time.Minute, time.Minute}, // capped
		{"99999999999999999999", 0, time.Second},
		{"-5", 0, time.Second},
		{"soon", 0, time.Second},
		{"", 0, time.Second},
	}
	for _, tt := range tests {
		var asked atomic.Int32
		base := serve(t, func(w http.ResponseWriter, r *http.Request) {
			if asked.Add(1) == 1 {
				w.Header().Set("Retry-After", tt.header)
				w.WriteHeader(429)
				return
			}
			io.WriteString(w, "{}")
		})
		var waited time.Duration
		c := newClient(t, Options{Now: func() time.Time { return now }, Sleep: func(_ context.Context, d time.Duration) error { waited = d; return nil }})
		if _, err := c.Document(t.Context(), base, left); err != nil {
			t.Fatal(err)
		}
		if waited < tt.min || waited > tt.max {
			t.Errorf("Retry-After %q: waited %v, want %v to %v", tt.header, waited, tt.min, tt.max)
		}
	}
}

func TestRetryBudgets(t *testing.T) {
	base := serve(t, func(w http.ResponseWriter, r *http.Request) { w.WriteHeader(500) })
	// Time: the clock moves only by waiting.
	now := time.Unix(0, 0)
	c := newClient(t, Options{Retry: Retry{Attempts: 10, Min: 10 * time.Second, Factor: 1, Budget: 25 * time.Second}, Now: func() time.Time { return now },
		Sleep: func(_ context.Context, d time.Duration) error { now = now.Add(10 * time.Second); return nil }})
	_, err := c.Document(t.Context(), base, left)
	var e *Error
	if !errors.As(err, &e) || e.Attempts < 3 || e.Attempts > 4 {
		t.Errorf("%v, want an end after 25 s", err)
	}
	// Number, over all calls.
	c = newClient(t, Options{Retry: Retry{Total: 5}})
	for range 20 {
		c.Document(t.Context(), base, left)
	}
	if n := c.Counters(); n.Requests != 25 || n.Retries != 5 {
		t.Errorf("20 questions to a dead registry: %+v, want 5 repetitions", n)
	}
}

func TestConfiguredRetries(t *testing.T) {
	base := serve(t, func(w http.ResponseWriter, r *http.Request) { w.WriteHeader(500) })
	var waits []time.Duration
	c := newClient(t, Options{Config: userConfig(t, "fetch-retries=1\nfetch-retry-mintimeout=40\nfetch-retry-maxtimeout=40\nfetch-timeout=1234\nmaxsockets=7\n"),
		Sleep: func(_ context.Context, d time.Duration) error { waits = append(waits, d); return nil }})
	_, err := c.Document(t.Context(), base, left)
	wantKind(t, err, Status, 2)
	if len(waits) != 1 || waits[0] < 20*time.Millisecond || waits[0] > 40*time.Millisecond {
		t.Errorf("waited %v", waits)
	}
	if c.opts.Timeout != 1234*time.Millisecond || c.maxInFlight != 7 {
		t.Errorf("timeout %v, places %d", c.opts.Timeout, c.maxInFlight)
	}
	if c := newClient(t, Options{Config: userConfig(t, "")}); c.opts.Timeout != 0 || c.opts.Retry.Attempts != 3 || c.maxInFlight != 64 {
		t.Errorf("without settings: %+v", c.opts)
	}
}

func TestConditional(t *testing.T) {
	base := serve(t, func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("ETag", `"v2"`)
		if r.Header.Get("If-None-Match") == `"v2"` || r.Header.Get("If-Modified-Since") == "Sun, 01 Mar 2026 12:00:00 GMT" {
			w.WriteHeader(304)
			return
		}
		io.WriteString(w, `{"v":2}`)
	})
	c := newClient(t, Options{})
	ask := func(etag, modified string) *Response {
		t.Helper()
		resp, err := c.Get(t.Context(), Request{Resource: DocumentResource, Registry: base, ID: left, ETag: etag, LastModified: modified})
		if err != nil {
			t.Fatal(err)
		}
		return resp
	}
	if r := ask("", ""); r.NotModified || r.Header.Get("ETag") != `"v2"` {
		t.Errorf("first: %+v", r)
	}
	if r := ask(`"v1"`, ""); r.NotModified || len(r.Body) == 0 {
		t.Errorf("old: %+v", r)
	}
	if r := ask(`"v2"`, ""); !r.NotModified || r.Body != nil || r.Status != 304 {
		t.Errorf("same: %+v", r)
	}
	if r := ask("", "Sun, 01 Mar 2026 12:00:00 GMT"); !r.NotModified {
		t.Errorf("same by date: %+v", r)
	}
	// A validator that is no header value makes an error, not two headers.
	_, err := c.Get(t.Context(), Request{Resource: DocumentResource, Registry: base, ID: left, ETag: "\"a\"\r\nX-Evil: 1"})
	if err == nil {
		t.Error("a line break in an ETag was sent")
	}
}

func TestGzip(t *testing.T) {
	doc := sampleDocument(200 << 10)
	base := serve(t, func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Encoding", "gzip")
		w.Write(gzipped(doc))
	})
	c := newClient(t, Options{})
	for range 3 { // decoders are used again
		resp, err := c.Document(t.Context(), base, left)
		if err != nil || !bytes.Equal(resp.Body, doc) {
			t.Fatalf("%v", err)
		}
	}
	n := c.Counters()
	if n.Decoded != int64(3*len(doc)) || n.Bodies != int64(3*len(gzipped(doc))) || n.Received < n.Bodies || n.Received > n.Bodies+3000 {
		t.Errorf("counters %+v, document %d bytes", n, len(doc))
	}
}

// Registries mounted under a path: attestations at the origin first, as npm asks for them, then below the path.
func TestAttestationsUnderBasePath(t *testing.T) {
	tests := []struct {
		name         string
		origin, base int    // what they answer; 200 is JSON, 1 is an HTML page
		kind         Kind   // 0: answered
		paths        string // of two questions for different versions
	}{
		{"origin has it", 200, 404, 0, "oo"},
		{"base has it", 404, 200, 0, "obb"},
		{"a page at the origin", 1, 200, 0, "obb"},
		{"a login at the origin", 401, 200, 0, "obb"},
		{"nobody has it", 404, 404, NotFound, "obob"},
		{"base does not say", 404, 403, Unauthorized, "obob"},
		{"origin does not say", 403, 404, Unauthorized, "obob"},
		{"a page and nothing", 1, 404, NotJSON, "obob"},
		{"origin is down", 503, 200, Status, "oooooo"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			var mu sync.Mutex
			paths := ""
			url := serve(t, func(w http.ResponseWriter, r *http.Request) {
				status, who := tt.origin, "o"
				if strings.HasPrefix(r.URL.Path, "/npm/") {
					status, who = tt.base, "b"
				}
				mu.Lock()
				paths += who
				mu.Unlock()
				switch status {
				case 200:
					io.WriteString(w, `{"attestations":[]}`)
				case 1:
					io.WriteString(w, `<html>`)
				default:
					w.WriteHeader(status)
				}
			})
			c := newClient(t, Options{})
			for _, v := range []string{"1.0.0", "1.0.1"} {
				_, err := c.Attestations(t.Context(), url+"/npm/", npm.ID{Name: "left", Version: v})
				if KindOf(err) != tt.kind {
					t.Errorf("%s: %v, want kind %v", v, err, tt.kind)
				}
			}
			if paths != tt.paths {
				t.Errorf("asked %q, want %q", paths, tt.paths)
			}
		})
	}
}

func TestBoundedConcurrency(t *testing.T) {
	const places, questions = 4, 60
	var now, most atomic.Int32
	conns := make(map[string]bool)
	var mu sync.Mutex
	full := make(chan struct{})
	base := serve(t, func(w http.ResponseWriter, r *http.Request) {
		n := now.Add(1)
		defer now.Add(-1)
		mu.Lock()
		conns[r.RemoteAddr] = true
		mu.Unlock()
		for {
			m := most.Load()
			if n <= m || most.CompareAndSwap(m, n) {
				break
			}
		}
		if n == places {
			select {
			case <-full:
			default:
				close(full)
			}
		}
		<-full // nobody gets on before all places were taken
		io.WriteString(w, "{}")
	})
	c := newClient(t, Options{MaxInFlight: places})
	var wg sync.WaitGroup
	for i := range questions {
		wg.Go(func() {
			if _, err := c.Document(t.Context(), base, npm.ID{Name: "left", Version: fmt.Sprintf("1.0.%d", i)}); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	if most.Load() != places {
		t.Errorf("%d requests at once, want %d", most.Load(), places)
	}
	if len(conns) > places+2 { // the transport may open a connection more than it ends up using
		t.Errorf("%d connections for %d places: they are not used again", len(conns), places)
	}
}

func TestSharedQuestions(t *testing.T) {
	var asked atomic.Int32
	release := make(chan struct{})
	base := serve(t, func(w http.ResponseWriter, r *http.Request) {
		asked.Add(1)
		<-release
		io.WriteString(w, `{"keys":[]}`)
	})
	c := newClient(t, Options{})
	first, leave := context.WithCancel(t.Context())
	gone := make(chan error)
	go func() {
		_, err := c.Keys(first, base)
		gone <- err
	}()
	for asked.Load() == 0 {
		time.Sleep(time.Millisecond) // until the request is there
	}
	var wg sync.WaitGroup
	for range 9 {
		wg.Go(func() {
			if resp, err := c.Keys(t.Context(), base+"/"); err != nil || len(resp.Body) == 0 {
				t.Error(err)
			}
		})
	}
	for c.Counters().Shared < 9 {
		time.Sleep(time.Millisecond)
	}
	leave() // whose request it was goes; the others still get their answer
	e := wantKind(t, <-gone, Canceled, 0)
	if !errors.Is(e, context.Canceled) {
		t.Errorf("%v is no context.Canceled", e)
	}
	close(release)
	wg.Wait()
	if asked.Load() != 1 {
		t.Errorf("%d requests, want 1", asked.Load())
	}
	if _, err := c.Keys(t.Context(), base); err != nil || asked.Load() != 2 {
		t.Errorf("a later question gave %v after %d requests: answers must not be kept", err, asked.Load())
	}
}

func TestCancel(t *testing.T) {
	reached, stopped := make(chan struct{}, 10), make(chan struct{}, 10)
	base := serve(t, func(w http.ResponseWriter, r *http.Request) {
		reached <- struct{}{}
		<-r.Context().Done()
		stopped <- struct{}{}
	})
	c := newClient(t, Options{MaxInFlight: 1})
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 2)
	go func() { _, err := c.Document(ctx, base, left); done <- err }()
	<-reached
	// A second one waits for the only place.
	go func() { _, err := c.Packument(ctx, base, "left"); done <- err }()
	cancel()
	wantKind(t, <-done, Canceled, 0)
	wantKind(t, <-done, Canceled, 0)
	<-stopped // the request was called off on the wire too

	_, err := c.Document(ctx, base, left)
	wantKind(t, err, Canceled, 0)
	if err := c.Tarball(ctx, base+"/a.tgz", func(io.Reader) error { return nil }); KindOf(err) != Canceled {
		t.Errorf("tarball: %v", err)
	}
	short, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
	defer cancel()
	_, err = c.Document(short, base, left)
	e := wantKind(t, err, Timeout, 0)
	if !errors.Is(e, context.DeadlineExceeded) {
		t.Errorf("%v is no context.DeadlineExceeded", e)
	}

	// While waiting for the next attempt.
	down := serve(t, func(w http.ResponseWriter, r *http.Request) { w.WriteHeader(500) })
	ctx, cancel = context.WithCancel(t.Context())
	c = newClient(t, Options{Sleep: func(sctx context.Context, _ time.Duration) error { cancel(); return sleep(sctx, time.Hour) }})
	_, err = c.Document(ctx, down, left)
	wantKind(t, err, Canceled, 0)
}

func TestProgress(t *testing.T) {
	var asked atomic.Int32
	doc := sampleDocument(300 << 10)
	base := serve(t, func(w http.ResponseWriter, r *http.Request) {
		if asked.Add(1) == 1 {
			w.WriteHeader(502)
			return
		}
		w.Header().Set("Content-Length", fmt.Sprint(len(doc)))
		w.Write(doc)
	})
	var kinds string
	var bytes int64
	c := newClient(t, Options{Progress: func(e Event) {
		if kinds += []string{"?", "s", ".", "r", "f"}[e.Kind]; e.Kind == Received {
			bytes += e.Bytes
			if e.Total != int64(len(doc)) {
				t.Errorf("announced %d", e.Total)
			}
		}
		if e.Host != strings.TrimPrefix(base, "http://") || e.Op != "fetching the version document of left@1.0.0" || e.At.IsZero() ||
			(e.Kind == Retrying) != (e.Err != nil) {
			t.Errorf("event %+v", e)
		}
	}})
	if _, err := c.Document(t.Context(), base, left); err != nil {
		t.Fatal(err)
	}
	if !strings.HasPrefix(kinds, "sr.") || !strings.HasSuffix(kinds, ".f") || bytes != int64(len(doc)) {
		t.Errorf("events %q, %d bytes", kinds, bytes)
	}
}

func TestKindCodes(t *testing.T) {
	seen := map[string]bool{}
	for k := NotFound; k <= InvalidURL; k++ {
		if s := k.String(); s == "unknown" || seen[s] || strings.ToLower(s) != s {
			t.Errorf("kind %d has code %q", k, s)
		}
		seen[k.String()] = true
	}
	if Kind(0).String() != "unknown" || KindOf(io.EOF) != 0 {
		t.Error("no kind has a code")
	}
}

// quiet is for servers that are meant to be broken.
var quiet = log.New(io.Discard, "", 0)

// TestMain silences net/http, which reports bytes that nobody asked for through the default logger.
func TestMain(m *testing.M) {
	log.SetOutput(io.Discard)
	os.Exit(m.Run())
}

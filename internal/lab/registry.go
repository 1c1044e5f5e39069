package lab

import (
	"bytes"
	"compress/gzip"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"time"
)

// An Endpoint is what a request asks for.
type Endpoint string

// Endpoints. An endpoint in a [Match] may also be empty, for all of them.
const (
	EndpointPackument    Endpoint = "packument"    // GET /name, full form
	EndpointAbbreviated  Endpoint = "abbreviated"  // GET /name, install form
	EndpointVersion      Endpoint = "version"      // GET /name/version
	EndpointTarball      Endpoint = "tarball"      // GET /name/-/name-version.tgz
	EndpointAttestations Endpoint = "attestations" // GET /-/npm/v1/attestations/name@version
	EndpointKeys         Endpoint = "keys"         // GET /-/npm/v1/keys
	EndpointPublish      Endpoint = "publish"      // PUT /name
	EndpointDistTags     Endpoint = "dist-tags"
	EndpointVisibility   Endpoint = "visibility"
	EndpointAdvisories   Endpoint = "advisories"
	EndpointSearch       Endpoint = "search"
	EndpointExchange     Endpoint = "exchange" // POST /-/npm/v1/oidc/token/exchange/package/name
	EndpointOther        Endpoint = "other"    // ping, whoami, and what the registry does not know
)

// A target is what a request is about.
type target struct {
	kind          Endpoint
	name, version string // version: a version, a tag, a file name for tarballs, a tag name for dist-tags
	path          string // under the base path, as sent
}

// route reads a request. The path is taken as it was sent, since %2f in a scoped name is not a separator.
func (s *Server) route(r *http.Request) target {
	path, ok := strings.CutPrefix(r.URL.EscapedPath(), s.path)
	if !ok {
		path = r.URL.EscapedPath() // npm takes some paths from the origin, whatever the registry's base path is
	}
	t := target{kind: EndpointOther, path: path}
	rest, special := strings.CutPrefix(path, "/-/")
	if special {
		s.routeSpecial(&t, rest)
		return t
	}
	// @scope%2fname, @scope%2Fname and @scope/name are all one name.
	name, more, _ := strings.Cut(strings.TrimPrefix(path, "/"), "/")
	if strings.HasPrefix(name, "@") || strings.HasPrefix(name, "%40") {
		if !strings.Contains(strings.ToLower(name), "%2f") {
			second, rest, _ := strings.Cut(more, "/")
			name, more = name+"/"+second, rest
		}
	}
	t.name = unescape(name)
	file, isFile := strings.CutPrefix(more, "-/")
	switch {
	case r.Method == http.MethodPut:
		t.kind = EndpointPublish
	case isFile:
		t.kind, t.version = EndpointTarball, unescape(lastElement(file))
	case more != "":
		t.kind, t.version = EndpointVersion, unescape(more)
	case strings.Contains(r.Header.Get("Accept"), "application/vnd.npm.install-v1+json"):
		t.kind = EndpointAbbreviated
	default:
		t.kind = EndpointPackument
	}
	return t
}

func (s *Server) routeSpecial(t *target, rest string) {
	if spec, ok := strings.CutPrefix(rest, "npm/v1/attestations/"); ok {
		t.kind = EndpointAttestations
		spec = unescape(spec)
		if at := strings.LastIndex(spec, "@"); at > 0 {
			t.name, t.version = spec[:at], spec[at+1:]
		}
		return
	}
	if spec, ok := strings.CutPrefix(rest, "npm/v1/oidc/token/exchange/package/"); ok {
		t.kind, t.name = EndpointExchange, unescape(spec)
		return
	}
	if spec, ok := strings.CutPrefix(rest, "package/"); ok {
		if name, ok := strings.CutSuffix(spec, "/visibility"); ok {
			t.kind, t.name = EndpointVisibility, unescape(name)
		} else if name, tag, ok := strings.Cut(spec, "/dist-tags"); ok {
			t.kind, t.name, t.version = EndpointDistTags, unescape(name), unescape(strings.TrimPrefix(tag, "/"))
		}
		return
	}
	switch rest {
	case "npm/v1/keys":
		t.kind = EndpointKeys
	case "npm/v1/security/advisories/bulk":
		t.kind = EndpointAdvisories
	case "v1/search":
		t.kind = EndpointSearch
	}
}

func unescape(s string) string {
	u, err := url.PathUnescape(s)
	if err != nil {
		return s
	}
	return u
}

// serve answers every request: it counts, waits, misbehaves where told to, and else does what npm's registry does.
func (s *Server) serve(w http.ResponseWriter, r *http.Request) {
	t := s.route(r)
	s.mu.Lock()
	index := len(s.requests)
	s.requests = append(s.requests, Request{
		Method: r.Method, Path: r.URL.RequestURI(), Endpoint: t.kind, Accept: r.Header.Get("Accept"), Authorized: r.Header.Get("Authorization") != "",
	})
	fault := s.fault(t)
	s.mu.Unlock()
	if d := time.Duration(s.latency.Load()); d > 0 {
		timer := time.NewTimer(d)
		defer timer.Stop()
		select {
		case <-timer.C:
		case <-r.Context().Done():
			return
		}
	}
	honest := func(w http.ResponseWriter, r *http.Request) { s.answer(w, r, t, index) }
	if fault != nil {
		fault.do(w, r, honest)
		return
	}
	honest(w, r)
}

// answerKey names a rendered answer.
type answerKey struct {
	kind          Endpoint
	name, version string
}

// An answer is a rendered body, in both encodings.
type answer struct {
	edition     int
	contentType string
	caching     string // Cache-Control
	plain, gzip []byte
	etag        string
}

// rendered keeps answers until the package changes.
type rendered struct {
	mu      sync.Mutex
	answers map[answerKey]*answer
}

func newAnswer(edition int, contentType string, body []byte) *answer {
	sum := sha256.Sum256(body)
	a := &answer{edition: edition, contentType: contentType, plain: body, caching: "no-cache", etag: `"` + base64.RawURLEncoding.EncodeToString(sum[:16]) + `"`}
	if contentType != "application/octet-stream" && len(body) > 1000 {
		var b bytes.Buffer
		zw := gzip.NewWriter(&b)
		zw.Write(body) // to memory
		zw.Close()
		a.gzip = b.Bytes()
	}
	return a
}

// cached returns the answer for a key if the package has not changed since it was rendered.
func (r *rendered) cached(k answerKey, edition int) *answer {
	r.mu.Lock()
	defer r.mu.Unlock()
	if a := r.answers[k]; a != nil && a.edition == edition {
		return a
	}
	return nil
}

func (r *rendered) keep(k answerKey, a *answer) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.answers[k] = a
}

func reply(w http.ResponseWriter, status int, v any) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	w.Write(marshal(v))
}

func notFound(w http.ResponseWriter) { reply(w, http.StatusNotFound, object{"error": "Not found"}) }

// send writes an answer with npm's caching headers; a client that has it gets 304.
func (s *Server) send(w http.ResponseWriter, r *http.Request, a *answer, index int) {
	h := w.Header()
	h.Set("Content-Type", a.contentType)
	h.Set("ETag", a.etag)
	h.Set("Cache-Control", a.caching)
	h.Set("Vary", "Accept, Accept-Encoding")
	if r.Header.Get("If-None-Match") == a.etag {
		s.mu.Lock()
		if index < len(s.requests) {
			s.requests[index].Cached = true
		}
		s.mu.Unlock()
		w.WriteHeader(http.StatusNotModified)
		return
	}
	body := a.plain
	if a.gzip != nil && strings.Contains(r.Header.Get("Accept-Encoding"), "gzip") {
		body = a.gzip
		h.Set("Content-Encoding", "gzip")
	}
	h.Set("Content-Length", fmt.Sprint(len(body)))
	if r.Method != http.MethodHead {
		w.Write(body)
	}
}

// answer is the honest registry.
func (s *Server) answer(w http.ResponseWriter, r *http.Request, t target, index int) {
	l := s.lab
	switch t.kind {
	case EndpointKeys:
		s.send(w, r, newAnswer(0, "application/json", l.RegistryKeys()), index)
	case EndpointSearch:
		reply(w, http.StatusOK, l.search(r.URL.Query().Get("text")))
	case EndpointAdvisories:
		s.advisories(w, r)
	case EndpointVisibility:
		if l.has(t.name) {
			reply(w, http.StatusOK, object{"public": true})
		} else {
			notFound(w)
		}
	case EndpointDistTags:
		s.distTags(w, r, t)
	case EndpointExchange:
		s.exchange(w, r, t)
	case EndpointPublish:
		s.put(w, r, t)
	case EndpointOther:
		switch t.path {
		case "/-/ping":
			reply(w, http.StatusOK, object{})
		case "/-/whoami":
			reply(w, http.StatusOK, object{"username": "lab"})
		default:
			notFound(w)
		}
	default:
		if r.Method != http.MethodGet && r.Method != http.MethodHead {
			reply(w, http.StatusMethodNotAllowed, object{"error": "Method Not Allowed"})
			return
		}
		if a := s.find(t); a != nil {
			s.send(w, r, a, index)
		} else {
			notFound(w)
		}
	}
}

// find renders what is in the store for a request; nil if it is not there.
func (s *Server) find(t target) *answer {
	key := answerKey{t.kind, t.name, t.version}
	body, edition := s.content(t)
	if body == nil {
		return nil
	}
	if a := s.rendered.cached(key, edition); a != nil {
		return a
	}
	contentType := "application/json"
	switch t.kind {
	case EndpointAbbreviated:
		contentType = "application/vnd.npm.install-v1+json"
	case EndpointTarball:
		contentType = "application/octet-stream"
	}
	a := newAnswer(edition, contentType, body())
	if t.kind == EndpointPackument || t.kind == EndpointAbbreviated || t.kind == EndpointTarball {
		a.caching = "public, max-age=300"
	}
	s.rendered.keep(key, a)
	return a
}

// content finds what a request asks for, and the edition of the package it is from. The function returned makes the
// bytes; it takes the lab's lock only for as long as it reads the store. Nil means that there is nothing.
func (s *Server) content(t target) (body func() []byte, edition int) {
	l := s.lab
	l.mu.Lock()
	defer l.mu.Unlock()
	pkg := l.store.packages[t.name]
	if pkg == nil {
		return nil, 0
	}
	edition = pkg.edition
	switch t.kind {
	case EndpointPackument, EndpointAbbreviated:
		return func() []byte {
			l.mu.Lock()
			var doc map[string]any
			if l.store.packages[t.name] != nil {
				doc = l.packument(t.name, s.URL, t.kind == EndpointPackument)
			}
			l.mu.Unlock()
			return marshal(doc)
		}, edition
	case EndpointVersion:
		if p := pkg.tagOrVersion(t.version); p != nil {
			return func() []byte { return marshal(p.based(s.URL)) }, edition
		}
	case EndpointAttestations:
		if p := pkg.versions[t.version]; p != nil && p.Attestations != nil {
			return func() []byte { return p.Attestations }, edition
		}
	case EndpointTarball:
		version, ok := strings.CutPrefix(strings.TrimSuffix(t.version, ".tgz"), unscoped(t.name)+"-")
		if p := pkg.versions[version]; ok && p != nil {
			return func() []byte { return p.Tarball }, edition
		}
	}
	return nil, 0
}

// has reports whether any version of a package is published.
func (l *Lab) has(name string) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.store.packages[name] != nil
}

// advisories answers npm's bulk question, whose body npm sends compressed.
func (s *Server) advisories(w http.ResponseWriter, r *http.Request) {
	body, err := readBody(r, 16<<20)
	var asked map[string][]string
	if err == nil {
		err = json.Unmarshal(body, &asked)
	}
	if err != nil {
		reply(w, http.StatusBadRequest, object{"error": err.Error()})
		return
	}
	s.lab.mu.Lock()
	defer s.lab.mu.Unlock()
	out := object{}
	for name := range asked {
		if a := s.lab.store.advisories[name]; a != nil {
			out[name] = a
		}
	}
	reply(w, http.StatusOK, out)
}

// readBody reads a request's body, decompressed, of at most max bytes.
func readBody(r *http.Request, max int64) ([]byte, error) {
	var in io.Reader = r.Body
	if r.Header.Get("Content-Encoding") == "gzip" {
		zr, err := gzip.NewReader(r.Body)
		if err != nil {
			return nil, err
		}
		in = zr
	}
	body, err := io.ReadAll(io.LimitReader(in, max+1))
	if err == nil && int64(len(body)) > max {
		err = fmt.Errorf("the body is larger than %d bytes", max)
	}
	return body, err
}

func (s *Server) distTags(w http.ResponseWriter, r *http.Request, t target) {
	l := s.lab
	l.mu.Lock()
	defer l.mu.Unlock()
	pkg := l.store.packages[t.name]
	if pkg == nil {
		notFound(w)
		return
	}
	switch r.Method {
	case http.MethodPut:
		body, err := readBody(r, 1000)
		var version string
		if err == nil {
			err = json.Unmarshal(body, &version)
		}
		if err != nil || pkg.versions[version] == nil {
			reply(w, http.StatusBadRequest, object{"error": "no such version"})
			return
		}
		pkg.tags[t.version] = version
		pkg.edition++
	case http.MethodDelete:
		delete(pkg.tags, t.version)
		pkg.edition++
	}
	reply(w, http.StatusOK, pkg.tags)
}

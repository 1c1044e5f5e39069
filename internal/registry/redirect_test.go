package registry

import (
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"net/url"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
)

// token is an .npmrc line with a token for all of a server.
func token(base string) string {
	return base[strings.Index(base, "//"):] + "/:_authToken=s3cr3t-token\n"
}

func TestRedirects(t *testing.T) {
	for _, code := range []int{301, 302, 303, 307, 308} {
		var paths []string
		base := serve(t, func(w http.ResponseWriter, r *http.Request) {
			paths = append(paths, r.URL.Path)
			if r.URL.Path == "/moved" {
				io.WriteString(w, "{}")
				return
			}
			w.Header().Set("Location", "../moved#part")
			w.WriteHeader(code)
		})
		resp, err := newClient(t, Options{}).Document(t.Context(), base, left)
		if err != nil || resp.URL != base+"/left/1.0.0" || fmt.Sprint(paths) != "[/left/1.0.0 /moved]" {
			t.Errorf("%d: %v, %+v, asked %v", code, err, resp, paths)
		}
	}
}

func TestRedirectsNotFollowed(t *testing.T) {
	tests := []struct{ name, location, want string }{
		{"no target", "", "names no target"},
		{"a script", "javascript:alert(1)", "scheme"},
		{"a file", "file:///etc/passwd", "scheme"},
		{"no host", "http:///x", "no URL"},
		{"rubbish", "http://[::1", "no URL"},
		{"itself", "/left/1.0.0", "circle"},
		{"hostile text", "ftp://evil/\x1b[31m", "no URL"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			var asked atomic.Int32
			base := serve(t, func(w http.ResponseWriter, r *http.Request) {
				asked.Add(1)
				raw(w, "HTTP/1.1 302 Found\r\nContent-Length: 0\r\nLocation: "+strings.ReplaceAll(tt.location, "\x1b", "%1b%zz")+"\r\n\r\n", false)
			})
			_, err := newClient(t, Options{}).Document(t.Context(), base, left)
			e := wantKind(t, err, Redirect, 1)
			if !strings.Contains(e.Error(), tt.want) || asked.Load() != 1 {
				t.Errorf("%v after %d requests, want %q", e, asked.Load(), tt.want)
			}
		})
	}
}

func TestRedirectLoops(t *testing.T) {
	var asked atomic.Int32
	base := serve(t, func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Location", fmt.Sprintf("/%d", asked.Add(1)))
		w.WriteHeader(302)
	})
	_, err := newClient(t, Options{}).Document(t.Context(), base, left)
	wantKind(t, err, Redirect, 1)
	if asked.Load() != 1+maxRedirects {
		t.Errorf("%d requests", asked.Load())
	}
	// Two servers that send to each other.
	asked.Store(0)
	var one, two string
	one = serve(t, func(w http.ResponseWriter, r *http.Request) { asked.Add(1); http.Redirect(w, r, two, http.StatusFound) })
	two = serve(t, func(w http.ResponseWriter, r *http.Request) {
		asked.Add(1)
		http.Redirect(w, r, one+"/left/1.0.0", http.StatusFound)
	})
	_, err = newClient(t, Options{}).Document(t.Context(), one, left)
	wantKind(t, err, Redirect, 1)
	if asked.Load() != 2 {
		t.Errorf("%d requests", asked.Load())
	}
}

// credentialsSeen is a server that notes what it was sent besides the question.
type credentialsSeen struct {
	mu   sync.Mutex
	seen []string
}

func (s *credentialsSeen) note(r *http.Request) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for name, values := range r.Header {
		switch name {
		case "User-Agent", "Accept", "Accept-Encoding":
		default:
			s.seen = append(s.seen, name+": "+strings.Join(values, ","))
		}
	}
}

func (s *credentialsSeen) String() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return strings.Join(s.seen, "; ")
}

// A redirection takes no credentials along to another origin: another port is another origin, and so is the
// same address by another name. Not even credentials configured for that origin are sent, and none when it
// sends back.
func TestRedirectDropsCredentials(t *testing.T) {
	var other, home credentialsSeen
	var base, away string
	away = serve(t, func(w http.ResponseWriter, r *http.Request) {
		other.note(r)
		if r.URL.Path == "/back" {
			http.Redirect(w, r, base+"/home", http.StatusFound)
			return
		}
		io.WriteString(w, "{}")
	})
	byName := strings.Replace(away, "127.0.0.1", "localhost", 1)
	target := ""
	base = serve(t, func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/home" {
			home.note(r)
			io.WriteString(w, "{}")
			return
		}
		if got := r.Header.Get("Authorization"); got != "Bearer s3cr3t-token" {
			t.Errorf("the registry was sent %q", got)
		}
		w.Header().Set("Set-Cookie", "session=s3cr3t-cookie")
		w.Header().Set("Location", target)
		w.WriteHeader(307)
	})
	c := newClient(t, Options{Config: userConfig(t, token(base)+token(away)+token(byName))})
	for _, target = range []string{away + "/x", byName + "/x", strings.Replace(away, "//", "//user:word@", 1) + "/x", away + "/back", base + "/home"} {
		if _, err := c.Document(t.Context(), base, left); err != nil {
			t.Errorf("%s: %v", target, err)
		}
		if err := c.Tarball(t.Context(), base+"/left.tgz", func(r io.Reader) error { _, err := io.ReadAll(r); return err }); err != nil {
			t.Errorf("%s: %v", target, err)
		}
		want := ""
		if target == base+"/home" { // the same origin keeps what it was given, and nothing else
			want = "Authorization: Bearer s3cr3t-token; Authorization: Bearer s3cr3t-token"
		}
		if other.String() != "" || home.String() != want {
			t.Errorf("%s: the other host was sent %q, the registry itself %q", target, &other, &home)
		}
	}
}

func TestRedirectHTTPSToHTTP(t *testing.T) {
	var asked atomic.Int32
	plain := serve(t, func(w http.ResponseWriter, r *http.Request) { asked.Add(1); io.WriteString(w, "{}") })
	secure, ca := serveTLS(t, nil, func(w http.ResponseWriter, r *http.Request) {
		http.Redirect(w, r, plain+"/x?X-Amz-Signature=s3cr3t", http.StatusFound)
	})
	c := newClient(t, Options{CA: []string{ca}})
	_, err := c.Document(t.Context(), secure, left)
	e := wantKind(t, err, Redirect, 1)
	if asked.Load() != 0 || !strings.Contains(e.Error(), "from https to http") || strings.Contains(e.Error(), "s3cr3t") {
		t.Errorf("%v after %d requests", e, asked.Load())
	}
	// The other way is fine, and from https to https.
	up := serve(t, func(w http.ResponseWriter, r *http.Request) { http.Redirect(w, r, secure, http.StatusFound) })
	_, err = c.Document(t.Context(), up, left)
	wantKind(t, err, Redirect, 1) // from there to http
}

// A registry on the public network cannot send the client into a private one. In this test 127.0.0.1 plays
// the public network and 127.0.0.2 the private one.
func TestRedirectToPrivateAddress(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.2:0")
	if err != nil {
		t.Skipf("no second loopback address: %v", err)
	}
	var asked atomic.Int32
	inner := &httptest.Server{Listener: l, Config: &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		asked.Add(1)
		io.WriteString(w, "{}")
	})}}
	inner.Start()
	t.Cleanup(inner.Close)

	target := inner.URL
	outer := serve(t, func(w http.ResponseWriter, r *http.Request) { http.Redirect(w, r, target+"/x", http.StatusFound) })
	c := newClient(t, Options{})
	c.private = func(a netip.Addr) bool { return a.Unmap() != netip.MustParseAddr("127.0.0.1") }
	_, port, _ := net.SplitHostPort(l.Addr().String())
	for _, target = range []string{inner.URL, "http://localhost:" + port, "http://127.2:" + port, "http://0x7f000002:" + port, "http://2130706434:" + port, "http://[::ffff:127.0.0.2]:" + port} {
		_, err := c.Document(t.Context(), outer, left)
		e := wantKind(t, err, Redirect, 1)
		if !strings.Contains(e.Error(), "private address") {
			t.Errorf("%s: %v", target, e)
		}
		// The same when a document of the registry names such an address for its tarball.
		err = c.TarballFrom(t.Context(), outer, "left", target+"/x.tgz", func(io.Reader) error { return nil })
		wantKind(t, err, Redirect, 1)
	}
	// The name gives nothing away; only the address that the socket would go to does.
	c.private = func(a netip.Addr) bool { return a.Unmap() != netip.MustParseAddr("127.0.0.2") }
	t.Run("at the socket", func(t *testing.T) {
		rt, err := c.transports.pick(true, c.credentials(&ask{url: &url.URL{}}))
		if err != nil {
			t.Fatal(err)
		}
		req, _ := http.NewRequest("GET", outer, nil)
		_, err = rt.RoundTrip(req)
		if kind, retry := transportKind(err); kind != Redirect || retry {
			t.Errorf("%v", err)
		}
	})
	if asked.Load() != 0 {
		t.Errorf("the private server was asked %d times", asked.Load())
	}
	// A registry that is there itself may send to its neighbours.
	c = newClient(t, Options{})
	target = inner.URL
	if _, err := c.Document(t.Context(), outer, left); err != nil || asked.Load() != 1 {
		t.Errorf("%v after %d requests", err, asked.Load())
	}
	if err := c.TarballFrom(t.Context(), outer, "left", inner.URL+"/x.tgz", func(r io.Reader) error { _, err := io.ReadAll(r); return err }); err != nil {
		t.Error(err)
	}
}

// Whether a registry is on the public network is where its answers come from, not what its name resolves to
// at another moment: the name's owner may point it to a private address to be taken for a neighbour.
func TestPublicIsWhereAnswersComeFrom(t *testing.T) {
	base := serve(t, func(w http.ResponseWriter, r *http.Request) { io.WriteString(w, "{}") })
	u, _ := url.Parse(base)
	u.Host = "registry.invalid:" + u.Port()
	c := newClient(t, Options{})
	if !c.public(t.Context(), u) {
		t.Error("a name that does not resolve was taken for private")
	}
	c.reached(u, &net.TCPAddr{IP: net.IPv4(10, 0, 0, 1), Port: 443})
	if c.public(t.Context(), u) {
		t.Error("a registry at 10.0.0.1 was taken for public")
	}
	c.reached(u, &net.TCPAddr{IP: net.IPv4(8, 8, 8, 8), Port: 443})
	if !c.public(t.Context(), u) {
		t.Error("a registry at 8.8.8.8 was taken for private")
	}
	if _, err := c.Document(t.Context(), base, left); err != nil {
		t.Fatal(err)
	}
	if known, ok := c.publicHosts.Load(strings.TrimPrefix(base, "http://")); !ok || known != false {
		t.Errorf("after an answer from 127.0.0.1: %v, %v", known, ok)
	}
}

func TestIsPrivate(t *testing.T) {
	for _, s := range []string{"127.0.0.1", "127.255.0.9", "10.1.2.3", "172.16.0.1", "172.31.255.255", "192.168.1.1", "169.254.169.254", "100.64.0.1", "0.0.0.0",
		"0.1.2.3", "224.0.0.1", "255.255.255.255", "240.0.0.1", "198.18.0.1", "192.0.0.8", "::1", "::", "fe80::1", "fe80::1%eth0", "fc00::1", "fd12::1", "ff02::1", "fec0::1",
		"::ffff:10.0.0.1", "::ffff:169.254.169.254", "64:ff9b::a00:1", "2002:7f00:1::", "2002:a9fe:a9fe::1", "::10.0.0.1", "64:ff9b:1::1"} {
		if !isPrivate(netip.MustParseAddr(s)) {
			t.Errorf("%s is taken for public", s)
		}
	}
	for _, s := range []string{"104.16.1.34", "8.8.8.8", "172.32.0.1", "172.15.0.1", "100.128.0.1", "192.0.1.1", "2606:4700::6810:122", "64:ff9b::808:808", "::ffff:8.8.8.8", "2002:808:808::1"} {
		if isPrivate(netip.MustParseAddr(s)) {
			t.Errorf("%s is taken for private", s)
		}
	}
	c := newClient(t, Options{})
	for host, want := range map[string]bool{"localhost": true, "LOCALHOST.": true, "a.localhost": true, "127.1": true, "0x7f.1": true, "0x7f000001": true, "017700000001": true, "10.0.0.1": true,
		"registry.npmjs.org": false, "8.8.8.8": false, "1password.com": false, "x.y1": false, "localhost.example": false} {
		if got := c.privateName(host); got != want {
			t.Errorf("privateName(%q) = %v", host, got)
		}
	}
}

func TestSameOrigin(t *testing.T) {
	tests := []struct {
		a, b string
		want bool
	}{
		{"https://r.example", "https://R.Example:443/x", true}, {"http://r.example", "http://r.example:80", true},
		{"https://r.example", "http://r.example", false}, {"https://r.example", "https://r.example:8443", false},
		{"https://r.example", "https://r.example.evil", false}, {"https://r.example", "https://x.r.example", false},
		{"https://r.example:80", "http://r.example:80", false}, {"https://[::1]:1", "https://[::1]:1", true}, {"https://r.example.", "https://r.example", false},
	}
	for _, tt := range tests {
		a, _ := url.Parse(tt.a)
		b, _ := url.Parse(tt.b)
		if got := sameOrigin(a, b); got != tt.want {
			t.Errorf("sameOrigin(%s, %s) = %v", tt.a, tt.b, got)
		}
	}
}

// Credentials are npm's: those of the URL itself, else on the registry's own origin the registry's.
func TestCredentials(t *testing.T) {
	var got atomic.Value
	base := serve(t, func(w http.ResponseWriter, r *http.Request) {
		got.Store(r.Header.Get("Authorization"))
		io.WriteString(w, `{}`)
	})
	host := strings.TrimPrefix(base, "http:")
	elsewhere := serve(t, func(w http.ResponseWriter, r *http.Request) {
		got.Store(r.Header.Get("Authorization"))
	})
	read := func(r io.Reader) error { _, err := io.ReadAll(r); return err }
	for _, slash := range []string{"", "/"} { // of the setting's key
		for _, registry := range []string{base + "/npm", base + "/npm/"} {
			c := newClient(t, Options{Config: userConfig(t, "registry="+registry+"\n"+host+"/npm"+slash+":_authToken=T1\n"+host+"/other/:_authToken=T2\n")})
			calls := []struct {
				name, want string
				call       func() error
			}{
				{"document", "Bearer T1", func() error { _, err := c.Document(t.Context(), registry, left); return err }},
				{"attestations at the origin", "Bearer T1", func() error { _, err := c.Attestations(t.Context(), registry, left); return err }},
				{"another registry of the host", "Bearer T2", func() error { _, err := c.Document(t.Context(), base+"/other", left); return err }},
				{"no registry of the host", "", func() error { _, err := c.Document(t.Context(), base, left); return err }},
				{"a path that only begins alike", "", func() error { _, err := c.Document(t.Context(), base+"/npmx", left); return err }},
				{"its tarball", "Bearer T1", func() error { return c.Tarball(t.Context(), base+"/npm/left/-/left.tgz", read) }},
				{"a tarball elsewhere on the host", "", func() error { return c.Tarball(t.Context(), base+"/files/left.tgz", read) }},
				{"the same, named by the registry", "Bearer T1", func() error { return c.TarballFrom(t.Context(), registry, "left", base+"/files/left.tgz", read) }},
				{"on another host, named by the registry", "", func() error { return c.TarballFrom(t.Context(), registry, "left", elsewhere+"/npm/left.tgz", read) }},
			}
			for _, tt := range calls {
				got.Store("nothing was asked")
				if err := tt.call(); err != nil || got.Load() != tt.want {
					t.Errorf("key %q, registry %s, %s: sent %q (%v), want %q", slash, registry, tt.name, got.Load(), err, tt.want)
				}
			}
		}
	}
	// User information in the registry's URL is sent there, and shown nowhere.
	c := newClient(t, Options{})
	resp, err := c.Keys(t.Context(), strings.Replace(base, "//", "//user:w0rd@", 1))
	if err != nil || got.Load() != "Basic dXNlcjp3MHJk" || strings.Contains(resp.URL, "w0rd") {
		t.Errorf("%v, sent %q, response %+v", err, got.Load(), resp)
	}
	down := serve(t, func(w http.ResponseWriter, r *http.Request) {
		w.WriteHeader(403)
		fmt.Fprintf(w, `{"error":"%s, that is user:w0rd"}`, r.Header.Get("Authorization"))
	})
	_, err = c.Keys(t.Context(), strings.Replace(down, "//", "//user:w0rd@", 1))
	e := wantKind(t, err, Unauthorized, 1)
	if text := e.Error() + e.URL + e.Op; strings.Contains(text, "w0rd") || strings.Contains(text, "dXNlcjp3MHJk") {
		t.Errorf("%s", text)
	}
}

package registry

import (
	"bufio"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"math/big"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"assay/internal/npm"
)

// serveTLS starts a server that speaks HTTP/2 and returns its URL and its certificate as PEM.
func serveTLS(t *testing.T, config *tls.Config, h http.HandlerFunc) (base, ca string) {
	t.Helper()
	s := httptest.NewUnstartedServer(h)
	s.EnableHTTP2 = true
	s.TLS = config
	s.Config.ErrorLog = quiet
	s.StartTLS()
	t.Cleanup(s.Close)
	return s.URL, string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: s.Certificate().Raw}))
}

func TestHTTP2(t *testing.T) {
	var other atomic.Int32
	doc := sampleDocument(100 << 10)
	base, ca := serveTLS(t, nil, func(w http.ResponseWriter, r *http.Request) {
		if r.ProtoMajor != 2 {
			other.Add(1)
		}
		switch r.URL.Path {
		case "/left/9.9.9":
			w.Header().Set("Content-Length", fmt.Sprint(len(doc)+1))
		case "/left/9.9.8":
			panic(http.ErrAbortHandler) // a reset of the stream
		}
		w.Write(doc)
	})
	c := newClient(t, Options{CA: []string{ca}})
	var wg sync.WaitGroup
	for i := range 200 {
		wg.Go(func() {
			if resp, err := c.Document(t.Context(), base, npm.ID{Name: "left", Version: fmt.Sprintf("1.0.%d", i)}); err != nil || len(resp.Body) != len(doc) {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	if n := c.Counters().Connections; n != 1 || other.Load() > 0 {
		t.Errorf("%d connections, %d requests not by HTTP/2", n, other.Load())
	}
	_, err := c.Document(t.Context(), base, npm.ID{Name: "left", Version: "9.9.9"})
	if k := KindOf(err); k != Truncated && k != Connection {
		t.Errorf("less than announced: %v", err)
	}
	_, err = c.Document(t.Context(), base, npm.ID{Name: "left", Version: "9.9.8"})
	wantKind(t, err, Connection, 3)
}

// A server that takes few streams per connection gets more connections, and nobody waits for ever.
func TestHTTP2FewStreams(t *testing.T) {
	s := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { io.WriteString(w, "{}") }))
	s.EnableHTTP2 = true
	s.Config.HTTP2 = &http.HTTP2Config{MaxConcurrentStreams: 3}
	s.StartTLS()
	t.Cleanup(s.Close)
	c := newClient(t, Options{CA: []string{string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: s.Certificate().Raw}))}})
	var wg sync.WaitGroup
	for i := range 300 {
		wg.Go(func() {
			if _, err := c.Document(t.Context(), s.URL, npm.ID{Name: "left", Version: fmt.Sprintf("1.0.%d", i)}); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	t.Logf("%d connections", c.Counters().Connections)
}

func TestTLSErrors(t *testing.T) {
	var asked atomic.Int32
	base, ca := serveTLS(t, nil, func(w http.ResponseWriter, r *http.Request) { asked.Add(1); io.WriteString(w, "{}") })
	plain := serve(t, func(w http.ResponseWriter, r *http.Request) { asked.Add(1) })
	c := newClient(t, Options{})
	_, err := c.Document(t.Context(), base, left)
	e := wantKind(t, err, TLS, 1)
	var unknown x509.UnknownAuthorityError
	if !errors.As(e, &unknown) {
		t.Errorf("%v", e)
	}
	trusting := newClient(t, Options{CA: []string{ca}})
	_, err = trusting.Document(t.Context(), strings.Replace(base, "127.0.0.1", "localhost", 1), left) // the certificate is for example.com and 127.0.0.1
	wantKind(t, err, TLS, 1)
	_, err = trusting.Document(t.Context(), strings.Replace(plain, "http:", "https:", 1), left)
	wantKind(t, err, TLS, 1)
	old, oldCA := serveTLS(t, &tls.Config{MaxVersion: tls.VersionTLS11}, func(w http.ResponseWriter, r *http.Request) { asked.Add(1) })
	_, err = newClient(t, Options{CA: []string{oldCA}}).Document(t.Context(), old, left)
	wantKind(t, err, TLS, 1)
	if asked.Load() != 0 {
		t.Errorf("%d requests got through", asked.Load())
	}
}

func TestCAs(t *testing.T) {
	base, ca := serveTLS(t, nil, func(w http.ResponseWriter, r *http.Request) { io.WriteString(w, "{}") })
	_, otherCA := clientCert(t)
	files := map[string]string{"/ca.pem": ca, "/other.pem": otherCA, "/both.pem": otherCA + ca, "/empty.pem": "no certificate"}
	read := func(name string) ([]byte, error) {
		if s, ok := files[name]; ok {
			return []byte(s), nil
		}
		return nil, &os.PathError{Op: "open", Path: name, Err: os.ErrNotExist}
	}
	line := `"` + strings.ReplaceAll(ca, "\n", `\n`) + `"`
	tests := []struct{ npmrc, extra, want string }{
		{"cafile=/ca.pem", "", ""},
		{"cafile=/both.pem", "", ""},
		{"cafile=/other.pem", "", "tls"},
		{"cafile=/other.pem", "/ca.pem", "tls"}, // the list was replaced: NODE_EXTRA_CA_CERTS does not count
		{"ca=" + line, "", ""},
		{"", "/ca.pem", ""},
		{"", "", "tls"},
		{"", "/other.pem", "tls"},
		{"strict-ssl=false", "", ""},
		{"cafile=/none.pem", "", "cafile"},
		{"cafile=/empty.pem", "", "no PEM"},
		{"", "/none.pem", "NODE_EXTRA_CA_CERTS"},
		{"", "/empty.pem", "no PEM"},
	}
	for _, tt := range tests {
		c, err := New(Options{Config: userConfig(t, tt.npmrc+"\n"), ExtraCAFile: tt.extra, ReadFile: read})
		if err == nil {
			_, err = c.Document(t.Context(), base, left)
			c.Close()
			if k := KindOf(err); k != 0 && k.String() == tt.want {
				continue
			}
		}
		if tt.want == "" && err != nil || tt.want != "" && (err == nil || !strings.Contains(err.Error(), tt.want)) {
			t.Errorf("%.20q with %q: %v, want %q", tt.npmrc, tt.extra, err, tt.want)
		}
	}
	// A project's own .npmrc cannot switch verification off, nor choose who is trusted.
	config, _, err := npm.ParseConfig([]npm.Source{{Level: npm.LevelProject, Path: "/p/.npmrc", Data: []byte("strict-ssl=false\ncafile=/ca.pem\n")}},
		func(string) (string, bool) { return "", false })
	if err != nil {
		t.Fatal(err)
	}
	_, err = newClient(t, Options{Config: config, ReadFile: read}).Document(t.Context(), base, left)
	wantKind(t, err, TLS, 1)
}

// clientCert makes a certificate for a client; both strings are PEM, the first with the key behind it.
func clientCert(t *testing.T) (pair, cert string) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "client"}, NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}, IsCA: true, BasicConstraintsValid: true}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	keyDER, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	cert = string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}))
	return cert + string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: keyDER})), cert
}

// A client certificate is for its own server: neither another server nor one that it redirects to sees it.
func TestClientCertificates(t *testing.T) {
	pair, cert := clientCert(t)
	pool := x509.NewCertPool()
	pool.AppendCertsFromPEM([]byte(cert))
	var shownElsewhere atomic.Int32
	away, awayCA := serveTLS(t, &tls.Config{ClientAuth: tls.RequestClientCert}, func(w http.ResponseWriter, r *http.Request) {
		shownElsewhere.Add(int32(len(r.TLS.PeerCertificates)))
		io.WriteString(w, "{}")
	})
	base, ca := serveTLS(t, &tls.Config{ClientAuth: tls.RequireAndVerifyClientCert, ClientCAs: pool}, func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/away/1.0.0" {
			http.Redirect(w, r, away, http.StatusFound)
			return
		}
		io.WriteString(w, "{}")
	})
	host := strings.TrimPrefix(base, "https:")
	npmrc := host + "/:certfile=/client.pem\n" + host + "/:keyfile=/client.pem\n"
	o := Options{Config: userConfig(t, npmrc), CA: []string{ca, awayCA}, ReadFile: func(string) ([]byte, error) { return []byte(pair), nil }}
	c := newClient(t, o)
	for _, call := range []func() error{
		func() error { _, err := c.Document(t.Context(), base, left); return err },
		func() error { _, err := c.Attestations(t.Context(), base, left); return err },
		func() error { _, err := c.Document(t.Context(), away, left); return err },
		func() error {
			_, err := c.Document(t.Context(), base, npm.ID{Name: "away", Version: "1.0.0"})
			return err
		},
	} {
		if err := call(); err != nil {
			t.Error(err)
		}
	}
	if shownElsewhere.Load() != 0 {
		t.Error("the other server was shown the certificate")
	}
	// In TLS 1.3 the server's alert comes after the handshake and may lose a race against the closed connection.
	_, err := newClient(t, Options{CA: []string{ca}}).Document(t.Context(), base, left)
	if k := KindOf(err); k != TLS && k != Connection {
		t.Errorf("without a certificate: %v", err)
	}
	for _, content := range []string{"", cert} {
		o.ReadFile = func(name string) ([]byte, error) {
			if content == "" {
				return nil, os.ErrNotExist
			}
			return []byte(content), nil
		}
		_, err = newClient(t, o).Document(t.Context(), base, left)
		wantKind(t, err, TLS, 1)
	}
}

// proxyServer is a forward proxy for both forms: absolute URLs and CONNECT.
func proxyServer(t *testing.T, asked *sync.Map) string {
	return serve(t, func(w http.ResponseWriter, r *http.Request) {
		asked.Store(r.Method+" "+r.Host, r.Header.Get("Proxy-Authorization"))
		if r.Method != http.MethodConnect {
			io.WriteString(w, `{"from":"proxy"}`)
			return
		}
		_, port, _ := net.SplitHostPort(r.Host)
		up, err := net.Dial("tcp", "127.0.0.1:"+port)
		if err != nil {
			w.WriteHeader(502)
			return
		}
		defer up.Close()
		conn, buffered, err := w.(http.Hijacker).Hijack()
		if err != nil {
			t.Error(err)
			return
		}
		defer conn.Close()
		io.WriteString(conn, "HTTP/1.1 200 OK\r\n\r\n")
		go io.Copy(up, bufio.NewReader(buffered))
		io.Copy(conn, up)
	})
}

func TestProxy(t *testing.T) {
	var asked sync.Map
	proxy := proxyServer(t, &asked)
	secure, ca := serveTLS(t, nil, func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("Proxy-Authorization") != "" {
			t.Error("the registry was sent the proxy's password")
		}
		fmt.Fprintf(w, `{"from":%q}`, r.Proto)
	})
	withPassword := strings.Replace(proxy, "//", "//user:pr0xyword@", 1)
	// npm's settings never send a request for this machine through a proxy, so the name is one that only the
	// proxy knows; example.com is what httptest's certificate is for.
	away := "https://example.com:" + secure[strings.LastIndexByte(secure, ':')+1:]
	c := newClient(t, Options{CA: []string{ca}, Config: userConfig(t, "proxy="+withPassword+"\nhttps-proxy="+withPassword+"\nnoproxy=direct.invalid\n")})
	for reg, want := range map[string]string{"http://registry.invalid": `{"from":"proxy"}`, away: `{"from":"HTTP/2.0"}`} {
		if resp, err := c.Document(t.Context(), reg, left); err != nil || string(resp.Body) != want {
			t.Errorf("%s: %v %v", reg, resp, err)
		}
	}
	for _, k := range []string{"GET registry.invalid", "CONNECT " + strings.TrimPrefix(away, "https://")} {
		if auth, ok := asked.Load(k); !ok || auth != "Basic dXNlcjpwcjB4eXdvcmQ=" {
			t.Errorf("%s: proxy was sent %q, %v", k, auth, ok)
		}
	}
	_, err := c.Document(t.Context(), "http://a.direct.invalid", left)
	if KindOf(err) != Connection {
		t.Errorf("noproxy: %v", err)
	}
	if _, ok := asked.Load("GET a.direct.invalid"); ok {
		t.Error("noproxy was not heeded")
	}
	// A proxy that is down, and a setting that is no URL: no password in the error.
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	l.Close()
	c = newClient(t, Options{Proxy: func(*url.URL) (*url.URL, error) { return url.Parse("http://user:pr0xyword@" + l.Addr().String()) }})
	for _, reg := range []string{"http://registry.invalid", "https://registry.invalid"} {
		_, err = c.Document(t.Context(), reg, left)
		e := wantKind(t, err, Connection, 3)
		if strings.Contains(e.Error(), "pr0xyword") || !strings.Contains(e.Error(), "proxy") {
			t.Errorf("%v", e)
		}
	}
	for _, bad := range []string{"http://user:pr0xyword@h:bad port", "socks4://user:pr0xyword@h"} {
		c = newClient(t, Options{Proxy: func(*url.URL) (*url.URL, error) { return url.Parse(bad) }})
		_, err = c.Document(t.Context(), "https://registry.invalid", left)
		e := wantKind(t, err, Connection, 1)
		if strings.Contains(e.Error(), "pr0xyword") {
			t.Errorf("%v", e)
		}
	}
}

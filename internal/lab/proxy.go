package lab

import (
	"bytes"
	"crypto/elliptic"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"
)

// Hosts of the public services that a [Proxy] answers for.
const (
	HostRegistry = "registry.npmjs.org"
	HostTUF      = "tuf-repo-cdn.sigstore.dev"
	HostFulcio   = "fulcio.sigstore.dev"
	HostRekor    = "rekor.sigstore.dev"
	HostTSA      = "timestamp.sigstore.dev"
	HostGitHub   = "token.actions.githubusercontent.com" // the issuer of GitHub's tokens
	HostGitLab   = "gitlab.com"                          // likewise
)

// A Proxy is an HTTPS proxy on loopback that stands in for the public services: it answers for their names itself,
// with certificates of the lab, and refuses every other name. Nothing leaves the machine. With it, programs
// whose addresses are fixed, such as npm's signature audit, run against the lab as they are.
type Proxy struct {
	URL      string  // for HTTPS_PROXY
	CA       []byte  // PEM, for NODE_EXTRA_CA_CERTS or SSL_CERT_FILE
	Registry *Server // what answers for registry.npmjs.org; it can misbehave like any other
	lab      *Lab
	hosts    map[string]http.Handler
	tuf      TUFOptions
	tufMu    sync.Mutex
	tufNow   *TUF
	server   *http.Server
	served   chan struct{}
	ca       *x509.Certificate
	caKey    signer
	hostKey  signer

	mu      sync.Mutex
	certs   map[string]*tls.Certificate
	refused []string
	conns   map[net.Conn]bool
}

// ListenProxy starts a proxy. Registries are the servers that get a keys target in the TUF repository.
func (l *Lab) ListenProxy(registries ...*Server) (*Proxy, error) {
	ln, err := listenLoopback("")
	if err != nil {
		return nil, err
	}
	p := &Proxy{
		URL: "http://" + ln.Addr().String(), lab: l, served: make(chan struct{}),
		caKey: l.ecKey(elliptic.P256(), "tls ca"), hostKey: l.ecKey(elliptic.P256(), "tls host"),
		certs: map[string]*tls.Certificate{}, conns: map[net.Conn]bool{},
		Registry: &Server{URL: "https://" + HostRegistry, Origin: "https://" + HostRegistry, lab: l},
	}
	p.Registry.rendered.answers = map[answerKey]*answer{}
	// TLS clients look at the machine's clock, whatever the lab's says.
	p.ca, err = certify(&x509.Certificate{
		SerialNumber: l.serialNumber(), Subject: pkix.Name{Organization: []string{"lab.assay.test"}, CommonName: "lab-tls"},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().AddDate(0, 0, 30),
		KeyUsage: x509.KeyUsageCertSign, BasicConstraintsValid: true, IsCA: true, SubjectKeyId: keyID(p.caKey.Public()),
	}, nil, p.caKey.Public(), p.caKey)
	if err != nil {
		ln.Close()
		return nil, fmt.Errorf("lab: making the proxy's authority: %w", err)
	}
	p.CA = pemBlock("CERTIFICATE", p.ca.Raw)
	for _, r := range registries {
		p.tuf.Registries = append(p.tuf.Registries, strings.TrimPrefix(r.URL, "http://"))
	}
	p.hosts = map[string]http.Handler{
		HostTUF: http.HandlerFunc(p.serveTUF), HostRegistry: http.HandlerFunc(p.Registry.serve),
		HostFulcio: l.fulcioHandler(), HostRekor: l.Rekor.handler(l), HostTSA: l.tsaHandler(),
		HostGitHub: l.issuer(IssuerGitHub, IssuerGitHub), HostGitLab: l.issuer(IssuerGitLab, IssuerGitLab),
	}
	p.server = &http.Server{ErrorLog: quiet, Handler: http.HandlerFunc(p.connect), ReadHeaderTimeout: 30 * time.Second}
	go func() {
		defer close(p.served)
		p.server.Serve(ln) // ends with Close
	}()
	return p, nil
}

// SetTUF changes what the TUF repository holds; the registries' keys stay.
func (p *Proxy) SetTUF(o TUFOptions) {
	p.tufMu.Lock()
	defer p.tufMu.Unlock()
	o.Registries = append(o.Registries, p.tuf.Registries...)
	p.tuf, p.tufNow = o, nil
}

// TUF is the repository that the proxy serves: made when it is first asked for, or anew after [Proxy.SetTUF].
func (p *Proxy) TUF() *TUF {
	p.tufMu.Lock()
	defer p.tufMu.Unlock()
	if p.tufNow == nil {
		p.tufNow = p.lab.TUF(p.tuf)
	}
	return p.tufNow
}

func (p *Proxy) serveTUF(w http.ResponseWriter, r *http.Request) { p.TUF().ServeHTTP(w, r) }

// Refused lists the names that were asked for and are not the lab's, in order.
func (p *Proxy) Refused() []string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return slices.Clone(p.refused)
}

// Close ends the proxy and every connection through it.
func (p *Proxy) Close() error {
	err := p.server.Close()
	<-p.served
	p.mu.Lock()
	defer p.mu.Unlock()
	for c := range p.conns {
		c.Close()
	}
	return err
}

func (p *Proxy) connect(w http.ResponseWriter, r *http.Request) {
	host, _, err := net.SplitHostPort(r.Host)
	if err != nil {
		host = r.Host
	}
	h := p.hosts[host]
	if r.Method != http.MethodConnect || h == nil {
		p.mu.Lock()
		p.refused = append(p.refused, r.Host)
		p.mu.Unlock()
		http.Error(w, "the lab does not answer for "+r.Host, http.StatusForbidden)
		return
	}
	conn, _, err := http.NewResponseController(w).Hijack()
	if err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	p.mu.Lock()
	p.conns[conn] = true
	p.mu.Unlock()
	defer func() {
		p.mu.Lock()
		delete(p.conns, conn)
		p.mu.Unlock()
		conn.Close()
	}()
	io.WriteString(conn, "HTTP/1.1 200 Connection established\r\n\r\n") // a client that has gone is met below
	secure := tls.Server(conn, &tls.Config{
		GetCertificate: func(*tls.ClientHelloInfo) (*tls.Certificate, error) { return p.certificate(host) },
		NextProtos:     []string{"http/1.1"},
	})
	ln := &oneConn{conn: secure, closed: make(chan struct{})}
	srv := &http.Server{Handler: h, ErrorLog: quiet, ReadHeaderTimeout: 30 * time.Second, ConnState: func(_ net.Conn, state http.ConnState) {
		if state == http.StateClosed || state == http.StateHijacked {
			ln.Close()
		}
	}}
	srv.Serve(ln) // ends with the connection
}

// quiet drops what net/http would log of clients that leave in the middle; on a lab's page and in a test it is noise.
var quiet = log.New(io.Discard, "", 0)

// certificate makes a server certificate for a host, once.
func (p *Proxy) certificate(host string) (*tls.Certificate, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if c := p.certs[host]; c != nil {
		return c, nil
	}
	leaf, err := certify(&x509.Certificate{
		SerialNumber: p.lab.serialNumber(), Subject: pkix.Name{CommonName: "lab " + host}, DNSNames: []string{host},
		NotBefore: p.ca.NotBefore, NotAfter: p.ca.NotAfter,
		KeyUsage: x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
	}, p.ca, p.hostKey.Public(), p.caKey)
	if err != nil {
		return nil, err
	}
	c := &tls.Certificate{Certificate: [][]byte{leaf.Raw}, PrivateKey: p.hostKey}
	p.certs[host] = c
	return c, nil
}

// oneConn is a listener that yields one connection and ends when that one does.
type oneConn struct {
	conn   net.Conn
	once   sync.Once
	end    sync.Once
	closed chan struct{}
}

// Accept returns the connection the first time, and waits for its end the second.
func (l *oneConn) Accept() (net.Conn, error) {
	var c net.Conn
	l.once.Do(func() { c = l.conn })
	if c != nil {
		return c, nil
	}
	<-l.closed
	return nil, net.ErrClosed
}

// Close lets Accept return.
func (l *oneConn) Close() error {
	l.end.Do(func() { close(l.closed) })
	return nil
}

// Addr is the connection's local address.
func (l *oneConn) Addr() net.Addr { return l.conn.LocalAddr() }

// NPMEnv prepares a directory for an unmodified npm that is to use the lab through the proxy (cache, TUF root, TLS
// authority, empty user configuration), and returns the environment variables for it, as NAME=value.
func (p *Proxy) NPMEnv(dir string) ([]string, error) {
	ca, cache, rc := filepath.Join(dir, "lab-tls.pem"), filepath.Join(dir, "npm-cache"), filepath.Join(dir, "npmrc")
	files := map[string][]byte{
		ca: p.CA,
		rc: []byte("audit=false\nfund=false\nupdate-notifier=false\n"),
		// npm writes the production root here unless there is one, and then believes this copy.
		filepath.Join(cache, "_tuf", HostTUF, "root.json"):              p.TUF().Root,
		filepath.Join(dir, "data", "sigstore-js", HostTUF, "root.json"): p.TUF().Root,
	}
	for name, data := range files {
		if err := os.MkdirAll(filepath.Dir(name), 0o755); err != nil {
			return nil, fmt.Errorf("lab: preparing for npm: %w", err)
		}
		if err := os.WriteFile(name, bytes.Clone(data), 0o644); err != nil {
			return nil, fmt.Errorf("lab: preparing for npm: %w", err)
		}
	}
	return []string{
		"HTTPS_PROXY=" + p.URL, "https_proxy=" + p.URL, "NO_PROXY=127.0.0.1,localhost", "no_proxy=127.0.0.1,localhost",
		"HTTP_PROXY=", "http_proxy=", "NODE_EXTRA_CA_CERTS=" + ca, "npm_config_cache=" + cache, "npm_config_userconfig=" + rc,
		// Where a machine's own npm configuration names a cafile, NODE_EXTRA_CA_CERTS does not count for the registry.
		"npm_config_cafile=" + ca,
		"XDG_DATA_HOME=" + filepath.Join(dir, "data"),
	}, nil
}

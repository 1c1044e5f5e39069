package registry

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"assay/internal/npm"
)

// transports are the connection pools of one client. Which one a request uses decides what may happen on
// its connection: a client certificate is presented only on connections of its own pool, and connections
// of the guarded pool never lead to a private address.
type transports struct {
	fixed    http.RoundTripper // Options.Transport: used for everything when set
	plain    *http.Transport
	guarded  *http.Transport
	readFile func(string) ([]byte, error)

	mu    sync.Mutex
	certs map[[2]string]*http.Transport // by certfile and keyfile

	pioneers sync.Map // pool and host → chan struct{}, closed once the first connection stands
}

// pioneer lets the first request to a host go ahead until it has a connection. Whether a server speaks
// HTTP/2 is known only then, and sixty-four requests that start together would otherwise make sixty-four
// connections of which sixty-three are dropped. The function is to be called once connected or failed; all
// but the first caller wait for that.
func (t *transports) pioneer(ctx context.Context, pool http.RoundTripper, host string) (connected func(), err error) {
	type key struct {
		pool http.RoundTripper
		host string
	}
	ready := make(chan struct{})
	first, loaded := t.pioneers.LoadOrStore(key{pool, host}, ready)
	if !loaded {
		return sync.OnceFunc(func() { close(ready) }), nil
	}
	select {
	case <-first.(chan struct{}):
		return func() {}, nil
	case <-ctx.Done():
		return nil, fmt.Errorf("waiting for the first connection to %s: %w", host, ctx.Err())
	}
}

func newTransports(o *Options, c *Client) (*transports, error) {
	t := &transports{fixed: o.Transport, readFile: o.ReadFile, certs: make(map[[2]string]*http.Transport)}
	roots, err := trustedCAs(o)
	if err != nil {
		return nil, err
	}
	dial := func(guarded bool) func(context.Context, string, string) (net.Conn, error) {
		d := &net.Dialer{Timeout: 30 * time.Second, KeepAlive: 30 * time.Second}
		if guarded {
			// Looking at the address when the socket is made, not at the name before, leaves nothing between
			// check and use for a name that resolves differently the second time.
			d.Control = func(network, address string, _ syscall.RawConn) error {
				if addr, err := netip.ParseAddrPort(address); err != nil || c.private(addr.Addr()) {
					return &privateError{address}
				}
				return nil
			}
		}
		return func(ctx context.Context, network, address string) (net.Conn, error) {
			conn, err := d.DialContext(ctx, network, address)
			if err != nil {
				return nil, err
			}
			atomic.AddInt64(&c.counters.connections, 1)
			return &countedConn{conn, &c.counters}, nil
		}
	}
	t.plain = &http.Transport{
		Proxy:                  func(r *http.Request) (*url.URL, error) { return c.proxy(r.URL) },
		DialContext:            dial(false),
		ForceAttemptHTTP2:      true, // a custom dialer or TLS configuration would turn it off
		DisableCompression:     true, // content codings are undone here, under limits
		MaxIdleConnsPerHost:    c.maxInFlight,
		MaxConnsPerHost:        c.maxInFlight,
		IdleConnTimeout:        90 * time.Second,
		TLSHandshakeTimeout:    30 * time.Second,
		MaxResponseHeaderBytes: 256 << 10,
		ReadBufferSize:         16 << 10,
		// A connection that died silently would otherwise take every request on it down by timeout.
		HTTP2: &http.HTTP2Config{
			SendPingTimeout: 15 * time.Second, PingTimeout: 10 * time.Second,
			// What a server may send before it is read, on each of many streams; Go would take 4 MiB.
			MaxReceiveBufferPerStream: 512 << 10,
		},
		TLSClientConfig: &tls.Config{
			MinVersion:         tls.VersionTLS12,
			RootCAs:            roots,
			InsecureSkipVerify: o.Config != nil && !o.Config.StrictSSL(), // npm.Config ignores a project's own strict-ssl
			ClientSessionCache: tls.NewLRUClientSessionCache(64),
		},
	}
	t.guarded = t.plain.Clone()
	t.guarded.DialContext = dial(true)
	return t, nil
}

// pick returns the pool for a request.
func (t *transports) pick(guarded bool, cred npm.Credentials) (http.RoundTripper, error) {
	switch {
	case t.fixed != nil:
		return t.fixed, nil
	case guarded:
		return t.guarded, nil
	case cred.CertFile == "" || cred.KeyFile == "":
		return t.plain, nil
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	key := [2]string{cred.CertFile, cred.KeyFile}
	if tr := t.certs[key]; tr != nil {
		return tr, nil
	}
	certPEM, err := t.readFile(cred.CertFile)
	if err != nil {
		return nil, fmt.Errorf("reading the client certificate: %w", err)
	}
	keyPEM, err := t.readFile(cred.KeyFile)
	if err != nil {
		return nil, fmt.Errorf("reading the client certificate's key: %w", err)
	}
	pair, err := tls.X509KeyPair(certPEM, keyPEM)
	if err != nil {
		return nil, fmt.Errorf("using client certificate %q: %w", cred.CertFile, err)
	}
	tr := t.plain.Clone()
	tr.TLSClientConfig.Certificates = []tls.Certificate{pair}
	tr.TLSClientConfig.ClientSessionCache = tls.NewLRUClientSessionCache(64) // a resumed session keeps its identity
	t.certs[key] = tr
	return tr, nil
}

func (t *transports) closeIdle() {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.plain.CloseIdleConnections()
	t.guarded.CloseIdleConnections()
	for _, tr := range t.certs {
		tr.CloseIdleConnections()
	}
}

// trustedCAs returns the CA list that npm's settings ask for, nil for the system's. Settings `ca` and
// `cafile` replace the list; NODE_EXTRA_CA_CERTS adds to it, and, as in Node.js, does not count where the
// list was replaced (Node.js documentation, command-line API, NODE_EXTRA_CA_CERTS).
func trustedCAs(o *Options) (*x509.CertPool, error) {
	var pems []string
	if len(o.CA) > 0 {
		pems = append(pems, o.CA...)
	} else if o.Config != nil {
		if file := o.Config.CAFile(); file != "" { // npm lets cafile win over ca (@npmcli/config, definitions.js)
			data, err := o.ReadFile(file)
			if err != nil {
				return nil, fmt.Errorf("reading the CA file of setting cafile: %w", err)
			}
			pems = append(pems, string(data))
		} else {
			pems = o.Config.CA()
		}
	}
	if len(pems) > 0 {
		pool := x509.NewCertPool()
		for i, text := range pems {
			// npm writes line breaks inside an .npmrc value as the two characters \n.
			if !pool.AppendCertsFromPEM([]byte(strings.ReplaceAll(text, `\n`, "\n"))) {
				return nil, fmt.Errorf("CA list of setting ca or cafile: entry %d holds no PEM certificate", i+1)
			}
		}
		return pool, nil
	}
	if o.ExtraCAFile == "" {
		return nil, nil
	}
	data, err := o.ReadFile(o.ExtraCAFile)
	if err != nil {
		return nil, fmt.Errorf("reading the CA file of NODE_EXTRA_CA_CERTS: %w", err)
	}
	pool, err := x509.SystemCertPool()
	if err != nil {
		return nil, fmt.Errorf("reading the system's CA list: %w", err)
	}
	if !pool.AppendCertsFromPEM(data) {
		return nil, fmt.Errorf("CA file of NODE_EXTRA_CA_CERTS, %q, holds no PEM certificate", o.ExtraCAFile)
	}
	return pool, nil
}

// proxy returns the proxy for u, nil for none.
func (c *Client) proxy(u *url.URL) (*url.URL, error) {
	var p *url.URL
	var err error
	switch {
	case c.opts.Proxy != nil:
		p, err = c.opts.Proxy(u)
	case c.opts.Config != nil:
		p, err = c.opts.Config.Proxy(u)
	}
	if err != nil {
		// The parser's error would show the value, and the value may hold a password.
		return nil, &proxyError{u.Host, "is not a usable URL"}
	}
	if p == nil {
		return nil, nil
	}
	switch p.Scheme {
	case "http", "https", "socks5", "socks5h":
		return p, nil
	case "socks": // npm's agent takes it for SOCKS 5 with names resolved by the proxy
		q := *p
		q.Scheme = "socks5h"
		return &q, nil
	}
	return nil, &proxyError{u.Host, "asks for a protocol that is not supported; http, https and socks5 are"}
}

// A proxyError is a proxy setting that cannot be used.
type proxyError struct{ host, problem string }

func (e *proxyError) Error() string {
	return fmt.Sprintf("the proxy setting for %s %s", e.host, e.problem)
}

// countedConn counts the bytes of a connection.
type countedConn struct {
	net.Conn
	n *counters
}

func (c *countedConn) Read(p []byte) (int, error) {
	n, err := c.Conn.Read(p)
	atomic.AddInt64(&c.n.received, int64(n))
	return n, err
}

func (c *countedConn) Write(p []byte) (int, error) {
	n, err := c.Conn.Write(p)
	atomic.AddInt64(&c.n.sent, int64(n))
	return n, err
}

// A privateError is a refusal to follow a redirection from the public network into a private one.
type privateError struct{ address string }

func (e *privateError) Error() string {
	return fmt.Sprintf("redirected from the public network to the private address %q", e.address)
}

// reserved holds what the netip predicates leave out (IANA special-purpose address registries, RFC 6890).
var reserved = []netip.Prefix{
	netip.MustParsePrefix("0.0.0.0/8"),     // this network
	netip.MustParsePrefix("100.64.0.0/10"), // shared by carriers and cloud providers
	netip.MustParsePrefix("192.0.0.0/24"),  // protocol assignments
	netip.MustParsePrefix("198.18.0.0/15"), // benchmarks
	netip.MustParsePrefix("240.0.0.0/4"),   // reserved, broadcast
	netip.MustParsePrefix("64:ff9b:1::/48"),
	netip.MustParsePrefix("fec0::/10"),
}

// isPrivate reports whether addr is not an address of the public internet, looking through the IPv6 forms
// that carry an IPv4 address (RFC 4291 section 2.5.5.2, RFC 6052, RFC 3056).
func isPrivate(addr netip.Addr) bool {
	addr = addr.Unmap().WithZone("")
	if addr.Is6() {
		b := addr.As16()
		switch {
		case netip.MustParsePrefix("64:ff9b::/96").Contains(addr), netip.MustParsePrefix("::/96").Contains(addr):
			addr = netip.AddrFrom4([4]byte(b[12:16]))
		case netip.MustParsePrefix("2002::/16").Contains(addr):
			addr = netip.AddrFrom4([4]byte(b[2:6]))
		}
	}
	if !addr.IsGlobalUnicast() || addr.IsPrivate() {
		return true
	}
	for _, p := range reserved {
		if p.Contains(addr) {
			return true
		}
	}
	return false
}

// privateName reports whether a host is private by its very spelling. An IPv4 address in one of the old
// spellings (127.1, 0x7f000001) counts: resolvers differ in what they make of it.
func (c *Client) privateName(host string) bool {
	host = strings.ToLower(strings.TrimSuffix(host, "."))
	if addr, err := netip.ParseAddr(host); err == nil {
		return c.private(addr)
	}
	if host == "" || host == "localhost" || strings.HasSuffix(host, ".localhost") {
		return true
	}
	last := host[strings.LastIndexByte(host, '.')+1:]
	return last != "" && (strings.Trim(last, "0123456789") == "" || strings.HasPrefix(last, "0x"))
}

// public reports whether the host of u, where a question started, belongs to the public network: where its
// answers came from, if there was one, else what its name resolves to. A host that resolves to nothing or
// also to public addresses counts as public, which is the careful answer: its owner chooses its addresses.
// What lies behind a proxy is judged by its spelling, because only the proxy resolves it.
func (c *Client) public(ctx context.Context, u *url.URL) bool {
	host := u.Hostname()
	if c.privateName(host) {
		return false
	}
	if known, ok := c.publicHosts.Load(u.Host); ok {
		return known.(bool)
	}
	if _, err := netip.ParseAddr(host); err == nil {
		return true
	}
	if p, err := c.proxy(u); p != nil || err != nil {
		return true
	}
	addrs, err := net.DefaultResolver.LookupNetIP(ctx, "ip", host)
	if err != nil || len(addrs) == 0 {
		return true
	}
	for _, a := range addrs {
		if !c.private(a) {
			return true
		}
	}
	return false
}

// reached notes where an answer of u's host came from. Behind a proxy nobody can tell.
func (c *Client) reached(u *url.URL, remote net.Addr) {
	addr, ok := remote.(*net.TCPAddr)
	if p, err := c.proxy(u); !ok || p != nil || err != nil {
		return
	}
	public := !c.private(addr.AddrPort().Addr())
	if known, ok := c.publicHosts.Load(u.Host); !ok || known != public {
		c.publicHosts.Store(u.Host, public)
	}
}

// transportKind says what it means that a request got no answer.
func transportKind(err error) (kind Kind, retry bool) {
	var private *privateError
	var proxy *proxyError
	var verification *tls.CertificateVerificationError
	var record tls.RecordHeaderError
	var op *net.OpError
	var dns *net.DNSError
	var timeout interface{ Timeout() bool }
	switch {
	case errors.As(err, &private):
		return Redirect, false
	case errors.As(err, &proxy):
		return Connection, false
	case errors.As(err, &verification), errors.As(err, &record), errors.Is(err, http.ErrSchemeMismatch),
		errors.As(err, &op) && (op.Op == "remote error" || op.Op == "local error"), // TLS alerts
		strings.Contains(err.Error(), "tls: "), strings.Contains(err.Error(), "x509: "):
		return TLS, false
	case strings.Contains(err.Error(), "server response headers exceeded"):
		return TooLarge, false
	case errors.As(err, &dns) && dns.IsNotFound:
		return Connection, false // npm does not repeat ENOTFOUND either (make-fetch-happen, remote.js)
	case errors.As(err, &timeout) && timeout.Timeout():
		return Timeout, true
	}
	return Connection, true
}

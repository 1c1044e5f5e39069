package stack

import (
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"fmt"
	"io"
	"log"
	"maps"
	"net"
	"net/http"
	"net/http/httputil"
	"net/url"
	"slices"
	"sync"
	"time"

	"assay/internal/lab"
)

// A proxy leads programs whose addresses are fixed to the services of this machine. It is an HTTP proxy that takes
// CONNECT for the names it knows, and a TLS server that all such connections end at. Every other name is refused,
// so nothing leaves the machine.
type proxy struct {
	url     string
	hosts   map[string]http.Handler
	front   *http.Server // CONNECT
	back    *http.Server // TLS
	address string       // of back
	serving sync.WaitGroup

	mu      sync.Mutex
	refused []string
}

func newProxy(k *keys, hosts map[string]http.Handler) (*proxy, error) {
	quiet := log.New(io.Discard, "", 0) // clients that leave in the middle are no news
	p := &proxy{hosts: hosts}
	leaf := k.certify(&x509.Certificate{
		Subject: pkix.Name{CommonName: "e2e hosts"}, DNSNames: slices.Sorted(maps.Keys(hosts)),
		KeyUsage: x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
	}, k.https, k.httpsKey, k.httpsKey)
	if k.err != nil {
		return nil, k.err
	}
	backListener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	frontListener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		backListener.Close()
		return nil, err
	}
	p.url, p.address = "http://"+frontListener.Addr().String(), backListener.Addr().String()
	p.back = &http.Server{ErrorLog: quiet, ReadHeaderTimeout: time.Minute, Handler: http.HandlerFunc(p.serve), TLSConfig: &tls.Config{
		Certificates: []tls.Certificate{{Certificate: [][]byte{leaf.Raw}, PrivateKey: k.httpsKey}},
	}}
	p.front = &http.Server{ErrorLog: quiet, ReadHeaderTimeout: time.Minute, Handler: http.HandlerFunc(p.connect)}
	p.serving.Go(func() { p.back.ServeTLS(backListener, "", "") }) // both end with close
	p.serving.Go(func() { p.front.Serve(frontListener) })
	return p, nil
}

func (p *proxy) close() {
	p.front.Close()
	p.back.Close()
	p.serving.Wait()
}

func (p *proxy) serve(w http.ResponseWriter, r *http.Request) {
	host := r.Host
	if h, _, err := net.SplitHostPort(host); err == nil {
		host = h
	}
	handler := p.hosts[host]
	if handler == nil {
		http.Error(w, "no such host here: "+host, http.StatusMisdirectedRequest)
		return
	}
	handler.ServeHTTP(w, r)
}

func (p *proxy) connect(w http.ResponseWriter, r *http.Request) {
	host, _, err := net.SplitHostPort(r.Host)
	if r.Method != http.MethodConnect || err != nil || p.hosts[host] == nil {
		p.mu.Lock()
		p.refused = append(p.refused, r.Method+" "+r.Host)
		p.mu.Unlock()
		http.Error(w, "this proxy does not know "+r.Host, http.StatusForbidden)
		return
	}
	back, err := net.Dial("tcp", p.address)
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadGateway)
		return
	}
	client, buffered, err := http.NewResponseController(w).Hijack()
	if err != nil {
		back.Close()
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	fmt.Fprint(client, "HTTP/1.1 200 Connection established\r\n\r\n")
	go func() {
		io.Copy(back, buffered) // until the client ends
		back.(*net.TCPConn).CloseWrite()
	}()
	io.Copy(client, back)
	client.Close()
	back.Close()
}

// to passes requests on to an address of this machine.
func to(address string) http.Handler { return passOn(address, http.DefaultTransport) }

// through passes requests for a host on to a lab's proxy, which answers in its name.
func through(p *lab.Proxy, host string) http.Handler {
	authorities := x509.NewCertPool()
	authorities.AppendCertsFromPEM(p.CA)
	return passOn("https://"+host, &http.Transport{
		Proxy:           func(*http.Request) (*url.URL, error) { return url.Parse(p.URL) },
		TLSClientConfig: &tls.Config{RootCAs: authorities},
	})
}

func passOn(address string, transport http.RoundTripper) http.Handler {
	u, err := url.Parse(address)
	if err != nil {
		panic(err) // all addresses are made here
	}
	return &httputil.ReverseProxy{ErrorLog: log.New(io.Discard, "", 0), Transport: transport, Rewrite: func(r *httputil.ProxyRequest) {
		r.SetURL(u)
		r.Out.Host = u.Host
	}}
}

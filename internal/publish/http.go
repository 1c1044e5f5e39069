package publish

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"
	"unicode"

	"assay/internal/npm"
)

// HTTPOptions say how the services are reached.
type HTTPOptions struct {
	Config    *npm.Config // proxies for all; the registry's CA list, strict-ssl and client certificates
	UserAgent string
	// ExtraCAFile is a PEM file whose certificates count beside the system's (NODE_EXTRA_CA_CERTS).
	ExtraCAFile string
	ReadFile    func(string) ([]byte, error)
	Timeout     time.Duration // of one attempt at a service; 0: 30 s (Rekor v2 and uploads have longer ones)
	Attempts    int           // 0: 3
	Wait        time.Duration // before the second attempt, four times as long before the third; 0: 500 ms
}

// maxAnswer bounds the answer of a service, in bytes. Certificates, log entries and timestamps are far smaller.
const maxAnswer = 4 << 20

// A client speaks to the services and to the registry.
type client struct {
	o        HTTPOptions
	services *http.Client
	registry *http.Client
	secrets  vault
}

func newClient(o HTTPOptions) (*client, error) {
	if o.Timeout <= 0 {
		o.Timeout = 30 * time.Second
	}
	if o.Attempts <= 0 {
		o.Attempts = 3
	}
	if o.Wait <= 0 {
		o.Wait = 500 * time.Millisecond
	}
	c := &client{o: o}
	roots, err := extraRoots(o)
	if err != nil {
		return nil, err
	}
	transport := &http.Transport{
		Proxy: func(r *http.Request) (*url.URL, error) {
			if o.Config == nil {
				return nil, nil
			}
			p, err := o.Config.Proxy(r.URL)
			if err != nil { // the parser's error would show the value, and the value may hold a password
				return nil, fmt.Errorf("the proxy setting for %s is not a usable URL", r.URL.Host)
			}
			return p, nil
		},
		DialContext:            (&net.Dialer{Timeout: 15 * time.Second, KeepAlive: 30 * time.Second}).DialContext,
		ForceAttemptHTTP2:      true,
		TLSHandshakeTimeout:    15 * time.Second,
		MaxResponseHeaderBytes: 256 << 10,
		TLSClientConfig:        &tls.Config{MinVersion: tls.VersionTLS12, RootCAs: roots},
	}
	// A redirection would take a token along to wherever it points; no service here needs one.
	stay := func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
	c.services = &http.Client{Transport: transport, CheckRedirect: stay}
	forRegistry := transport.Clone()
	if o.Config != nil {
		forRegistry.TLSClientConfig.InsecureSkipVerify = !o.Config.StrictSSL() // npm.Config ignores a project's own
		own, err := registryRoots(o)
		if err != nil {
			return nil, err
		}
		if own != nil {
			forRegistry.TLSClientConfig.RootCAs = own
		}
	}
	c.registry = &http.Client{Transport: forRegistry, CheckRedirect: stay}
	return c, nil
}

// extraRoots are the system's certificates and those of NODE_EXTRA_CA_CERTS; nil for the system's alone.
func extraRoots(o HTTPOptions) (*x509.CertPool, error) {
	if o.ExtraCAFile == "" {
		return nil, nil
	}
	data, err := o.ReadFile(o.ExtraCAFile)
	if err != nil {
		return nil, setup("ca-file", "", "reading the CA file of NODE_EXTRA_CA_CERTS: %v", err)
	}
	pool, err := x509.SystemCertPool()
	if err != nil {
		return nil, setup("ca-file", "", "reading the system's CA list: %v", err)
	}
	if !pool.AppendCertsFromPEM(data) {
		return nil, setup("ca-file", "", "CA file of NODE_EXTRA_CA_CERTS, %q, holds no PEM certificate", o.ExtraCAFile)
	}
	return pool, nil
}

// registryRoots is the CA list of npm's settings cafile and ca, which replaces the system's; nil for none.
func registryRoots(o HTTPOptions) (*x509.CertPool, error) {
	pems := o.Config.CA()
	if file := o.Config.CAFile(); file != "" {
		data, err := o.ReadFile(file)
		if err != nil {
			return nil, setup("ca-file", "", "reading the CA file of setting cafile: %v", err)
		}
		pems = []string{string(data)}
	}
	if len(pems) == 0 {
		return nil, nil
	}
	pool := x509.NewCertPool()
	for _, text := range pems {
		if !pool.AppendCertsFromPEM([]byte(strings.ReplaceAll(text, `\n`, "\n"))) {
			return nil, setup("ca-file", "", "the CA list of setting ca or cafile holds an entry that is no PEM certificate")
		}
	}
	return pool, nil
}

// certified is the client for the registry with a client certificate, where the credentials name one.
func (c *client) certified(cred npm.Credentials) (*http.Client, error) {
	if cred.CertFile == "" || cred.KeyFile == "" {
		return c.registry, nil
	}
	certPEM, err := c.o.ReadFile(cred.CertFile)
	if err != nil {
		return nil, setup("client-certificate", "", "reading the client certificate: %v", err)
	}
	keyPEM, err := c.o.ReadFile(cred.KeyFile)
	if err != nil {
		return nil, setup("client-certificate", "", "reading the client certificate's key: %v", err)
	}
	pair, err := tls.X509KeyPair(certPEM, keyPEM)
	if err != nil {
		return nil, setup("client-certificate", "", "client certificate %q cannot be used", cred.CertFile)
	}
	t := c.registry.Transport.(*http.Transport).Clone()
	t.TLSClientConfig.Certificates = []tls.Certificate{pair}
	return &http.Client{Transport: t, CheckRedirect: c.registry.CheckRedirect}, nil
}

// A call is one question to a service.
type call struct {
	service, op string
	method, url string
	header      map[string]string
	auth        Secret // value of the Authorization header
	body        []byte
	http        *http.Client  // nil: the services' client
	timeout     time.Duration // of one attempt; 0: the usual one
	attempts    int           // 0: the usual number
	ok          []int         // statuses that are an answer; nil: 200 and 201
}

// An answer is what a service said.
type answer struct {
	status int
	header http.Header
	body   []byte
}

// do asks, and asks again after 408, 429, 5xx and where no answer came. Nothing goes over http but to this machine.
func (c *client) do(ctx context.Context, q call) (*answer, error) {
	if err := checkServiceURL(q.service, q.url); err != nil {
		return nil, err
	}
	if q.http == nil {
		q.http = c.services
	}
	if q.timeout == 0 {
		q.timeout = c.o.Timeout
	}
	if q.attempts == 0 {
		q.attempts = c.o.Attempts
	}
	if q.ok == nil {
		q.ok = []int{http.StatusOK, http.StatusCreated}
	}
	if !q.auth.Empty() {
		c.secrets.add(q.auth)
		if _, token, ok := strings.Cut(q.auth.value, " "); ok {
			c.secrets.add(Secret{token})
		}
	}
	wait := c.o.Wait
	for attempt := 1; ; attempt++ {
		a, err := c.once(ctx, q)
		again := err != nil
		var delay time.Duration
		if err == nil {
			for _, status := range q.ok {
				if a.status == status {
					return a, nil
				}
			}
			again = a.status == http.StatusRequestTimeout || a.status == http.StatusTooManyRequests || a.status >= 500
			delay = retryAfter(a.header)
			err = &ServiceError{Service: q.service, Op: q.op, URL: publicURL(q.url), Status: a.status, Message: c.message(a)}
		}
		var too *tooLargeError
		if ctx.Err() != nil {
			return nil, fmt.Errorf("%s: %w", q.op, context.Cause(ctx))
		}
		if !again || attempt >= q.attempts || errors.As(err, &too) {
			return a, err
		}
		delay = max(delay, time.Duration(float64(wait)*(0.75+rand.Float64()/2)))
		wait *= 4
		if !pause(ctx, delay) {
			return nil, fmt.Errorf("%s: %w", q.op, context.Cause(ctx))
		}
	}
}

// pause waits, and reports whether it waited to the end.
func pause(ctx context.Context, d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-ctx.Done():
		return false
	}
}

type tooLargeError struct{}

func (*tooLargeError) Error() string {
	return fmt.Sprintf("the answer is larger than %d bytes", maxAnswer)
}

func (c *client) once(ctx context.Context, q call) (*answer, error) {
	ctx, cancel := context.WithTimeout(ctx, q.timeout)
	defer cancel()
	fail := func(err error) error {
		// An error of net/http quotes the URL, query included.
		var u *url.Error
		if errors.As(err, &u) {
			err = u.Err
		}
		if errors.Is(err, context.DeadlineExceeded) {
			err = fmt.Errorf("no answer within %v", q.timeout)
		}
		var large *tooLargeError
		if !errors.As(err, &large) {
			err = errors.New(c.secrets.hide(oneLine(err.Error(), 400)))
		}
		return &ServiceError{Service: q.service, Op: q.op, URL: publicURL(q.url), Err: err}
	}
	req, err := http.NewRequestWithContext(ctx, q.method, q.url, bytes.NewReader(q.body))
	if err != nil {
		return nil, fail(err)
	}
	if c.o.UserAgent != "" {
		req.Header.Set("User-Agent", c.o.UserAgent)
	}
	req.Header.Set("Accept", "application/json")
	for name, value := range q.header {
		req.Header.Set(name, value)
	}
	if !q.auth.Empty() {
		req.Header.Set("Authorization", q.auth.value)
	}
	res, err := q.http.Do(req)
	if err != nil {
		return nil, fail(err)
	}
	defer res.Body.Close()
	body, err := io.ReadAll(io.LimitReader(res.Body, maxAnswer+1))
	if err != nil {
		return nil, fail(fmt.Errorf("reading the answer: %w", err))
	}
	if len(body) > maxAnswer {
		return nil, fail(&tooLargeError{})
	}
	return &answer{res.StatusCode, res.Header, body}, nil
}

// message is what a service says of an error: gRPC's gateway, Rekor and the token exchange have "message", npm's
// registry has "error" (npm-registry-fetch, lib/errors.js). Anything else is quoted as it is.
func (c *client) message(a *answer) string {
	var doc struct {
		Message string `json:"message"`
		Error   string `json:"error"`
		Reason  string `json:"reason"`
	}
	text := ""
	if json.Unmarshal(a.body, &doc) == nil {
		for _, s := range []string{doc.Error, doc.Message, doc.Reason} {
			if s != "" {
				text = s
				break
			}
		}
	} else if !strings.Contains(a.header.Get("Content-Type"), "html") {
		text = string(a.body[:min(len(a.body), 300)])
	}
	if a.status >= 300 && a.status < 400 {
		text = "a redirection, which is not followed: a token would go along with it"
	}
	return c.secrets.hide(oneLine(text, 600))
}

// oneLine makes a foreign text fit for a message: one line, no control characters, not longer than max bytes.
func oneLine(s string, max int) string {
	s = strings.Join(strings.FieldsFunc(strings.ToValidUTF8(s, "\ufffd"), func(r rune) bool {
		return unicode.IsSpace(r) || unicode.IsControl(r) || unicode.Is(unicode.Cf, r)
	}), " ")
	if len(s) > max {
		s = strings.ToValidUTF8(s[:max], "") + "…"
	}
	return strings.TrimSpace(s)
}

// retryAfter is how long a server asks to be left alone, half a minute at most.
func retryAfter(h http.Header) time.Duration {
	seconds, err := strconv.Atoi(h.Get("Retry-After"))
	if err != nil || seconds < 0 {
		return 0
	}
	return min(time.Duration(seconds)*time.Second, 30*time.Second)
}

// publicURL is a URL without what may be secret in it.
func publicURL(raw string) string {
	u, err := url.Parse(raw)
	if err != nil {
		return "an address that is no URL"
	}
	u.User, u.RawQuery, u.Fragment = nil, "", ""
	return u.String()
}

// checkServiceURL refuses addresses to which a token would travel in the clear. On the machine itself http is fine.
func checkServiceURL(service, raw string) error {
	u, err := url.Parse(raw)
	if err != nil || u.Host == "" || u.User != nil || u.Scheme != "https" && u.Scheme != "http" {
		return setup("service-url", "", "the address of %s is not a usable URL", service)
	}
	if u.Scheme == "http" && !isLoopback(u.Hostname()) {
		return setup("service-url", "", "the address of %s, %s, is http: tokens are sent over https only, or on this machine", service, publicURL(raw))
	}
	return nil
}

func isLoopback(host string) bool {
	ip := net.ParseIP(host)
	return host == "localhost" || ip != nil && ip.IsLoopback()
}

// join puts a path behind a base URL that may or may not end in a slash.
func join(base, path string) string { return strings.TrimRight(base, "/") + path }

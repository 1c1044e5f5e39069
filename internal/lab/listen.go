package lab

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"sync"
	"sync/atomic"
	"time"
)

// ErrNotLoopback is returned where a lab is asked to listen on an address that other machines can reach.
var ErrNotLoopback = errors.New("a lab listens on loopback addresses only")

// ServerOptions says how a [Server] listens.
type ServerOptions struct {
	Addr string // host and port; empty means 127.0.0.1 and a free port
	Path string // the registry's base path, such as /npm; empty means the root
}

// A Server is the lab's registry on a loopback address. Its methods are safe for concurrent use.
type Server struct {
	URL    string // the registry's base, without trailing slash
	Origin string // scheme, host and port

	lab      *Lab
	path     string
	http     *http.Server
	listener net.Listener
	served   chan struct{}
	rendered rendered
	latency  atomic.Int64
	sent     atomic.Int64
	received atomic.Int64

	mu       sync.Mutex
	faults   []*Fault
	requests []Request
}

// Listen serves the lab's registry. If the lab was not told a registry name, its documents and publish
// attestations made from now on name this server.
func (l *Lab) Listen(o ServerOptions) (*Server, error) {
	ln, err := listenLoopback(o.Addr)
	if err != nil {
		return nil, err
	}
	s := &Server{lab: l, path: o.Path, Origin: "http://" + ln.Addr().String(), served: make(chan struct{})}
	s.URL = s.Origin + o.Path
	s.rendered.answers = map[answerKey]*answer{}
	s.listener = &countingListener{ln, &s.sent, &s.received}
	s.http = &http.Server{ErrorLog: quiet, Handler: http.HandlerFunc(s.serve), ReadHeaderTimeout: 30 * time.Second}
	l.mu.Lock()
	if l.registry == "" {
		l.registry = s.URL
	}
	l.mu.Unlock()
	go func() {
		defer close(s.served)
		s.http.Serve(s.listener) // ends with Close
	}()
	return s, nil
}

// listenLoopback listens on a loopback address and nowhere else.
func listenLoopback(addr string) (net.Listener, error) {
	if addr == "" {
		addr = "127.0.0.1:0"
	}
	host, _, err := net.SplitHostPort(addr)
	if err != nil {
		return nil, fmt.Errorf("lab: address %q: %w", addr, err)
	}
	ips := []net.IP{net.ParseIP(host)}
	if ips[0] == nil {
		if ips, err = net.DefaultResolver.LookupIP(context.Background(), "ip", host); err != nil {
			return nil, fmt.Errorf("lab: address %q: %w", addr, err)
		}
	}
	for _, ip := range ips {
		if !ip.IsLoopback() {
			return nil, fmt.Errorf("lab: address %q: %w", addr, ErrNotLoopback)
		}
	}
	ln, err := net.Listen("tcp", addr)
	if err != nil {
		return nil, fmt.Errorf("lab: %w", err)
	}
	if a, ok := ln.Addr().(*net.TCPAddr); !ok || !a.IP.IsLoopback() { // a name may resolve otherwise the second time
		ln.Close()
		return nil, fmt.Errorf("lab: address %q: %w", addr, ErrNotLoopback)
	}
	return ln, nil
}

// Close ends the server and every request in it, also those that hang.
func (s *Server) Close() error {
	err := s.http.Close()
	<-s.served
	return err
}

// SetLatency makes every request wait before it is answered.
func (s *Server) SetLatency(d time.Duration) { s.latency.Store(int64(d)) }

// A Request is one request that was served.
type Request struct {
	Method, Path string // path as it was sent, escapes and query included
	Endpoint     Endpoint
	Accept       string
	Authorized   bool // an Authorization header was sent
	Cached       bool // the answer was 304
}

// Traffic is what went over a server's connections.
type Traffic struct {
	Requests       int
	Sent, Received int64 // bytes on the wire, headers included, from the server's view
}

// Traffic counts since the server began or [Server.ResetTraffic].
func (s *Server) Traffic() Traffic {
	s.mu.Lock()
	defer s.mu.Unlock()
	return Traffic{len(s.requests), s.sent.Load(), s.received.Load()}
}

// Requests lists the requests since the server began or [Server.ResetTraffic].
func (s *Server) Requests() []Request {
	s.mu.Lock()
	defer s.mu.Unlock()
	return append([]Request{}, s.requests...)
}

// Count is how many of [Server.Requests] were to an endpoint.
func (s *Server) Count(e Endpoint) int {
	n := 0
	for _, r := range s.Requests() {
		if r.Endpoint == e {
			n++
		}
	}
	return n
}

// ResetTraffic starts the counters and the list of requests anew.
func (s *Server) ResetTraffic() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.requests = nil
	s.sent.Store(0)
	s.received.Store(0)
}

type countingListener struct {
	net.Listener
	sent, received *atomic.Int64
}

func (l *countingListener) Accept() (net.Conn, error) {
	c, err := l.Listener.Accept()
	if err != nil {
		return nil, err
	}
	return &countingConn{c, l}, nil
}

type countingConn struct {
	net.Conn
	l *countingListener
}

func (c *countingConn) Read(b []byte) (int, error) {
	n, err := c.Conn.Read(b)
	c.l.received.Add(int64(n))
	return n, err
}

func (c *countingConn) Write(b []byte) (int, error) {
	n, err := c.Conn.Write(b)
	c.l.sent.Add(int64(n))
	return n, err
}

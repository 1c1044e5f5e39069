package registry

import (
	"sync"
	"sync/atomic"
	"time"
)

// An EventKind says what happened to one question.
type EventKind int

const (
	Started  EventKind = iota + 1 // a question is about to be asked; it may wait for a free place first
	Received                      // bytes of a body arrived
	Retrying                      // an attempt failed and will be repeated after Wait
	Finished                      // the question is answered, or given up where Err is set
)

// An Event is one step in the life of one question. Counting Started and Finished gives what is left to
// do, adding up Bytes of Received over time gives the rate, and the ratio of the two a remaining time.
type Event struct {
	Kind  EventKind
	Op    string        // what is being done, such as "fetching attestations of vite@7.1.0"
	Host  string        // host[:port] that is asked, or that sent the bytes
	Bytes int64         // Received: bytes of the body as sent, in this step; else 0
	Total int64         // Received: the length announced, -1 where none was; else 0
	Wait  time.Duration // Retrying: how long until the next attempt
	Err   error         // Retrying and Finished: what went wrong; nil where it was answered
	At    time.Time
}

// progress hands events to the callback one after another.
type progress struct {
	mu   sync.Mutex
	call func(Event)
	now  func() time.Time
}

func (p *progress) tell(e Event) {
	if p.call == nil {
		return
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	e.At = p.now()
	p.call(e)
}

// Counters are totals since the client was made.
type Counters struct {
	Requests    int64 // HTTP requests sent: redirections and repeated attempts count
	Retries     int64 // attempts that repeated an earlier one
	Shared      int64 // calls answered by another call's request
	Connections int64 // connections made; 0 with Options.Transport
	Received    int64 // bytes read from connections, headers and TLS included; 0 with Options.Transport
	Sent        int64 // bytes written to connections, likewise
	Bodies      int64 // bytes of bodies as sent, still compressed; error pages not counted
	Decoded     int64 // bytes of bodies after decoding; tarballs not counted
}

type counters struct {
	requests, retries, shared, connections, received, sent, bodies, decoded int64
}

// Counters returns the totals so far. It may be called at any time.
func (c *Client) Counters() Counters {
	n := &c.counters
	return Counters{
		Requests: atomic.LoadInt64(&n.requests), Retries: atomic.LoadInt64(&n.retries), Shared: atomic.LoadInt64(&n.shared),
		Connections: atomic.LoadInt64(&n.connections),
		Received:    atomic.LoadInt64(&n.received), Sent: atomic.LoadInt64(&n.sent),
		Bodies: atomic.LoadInt64(&n.bodies), Decoded: atomic.LoadInt64(&n.decoded),
	}
}

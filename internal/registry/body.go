package registry

import (
	"compress/flate"
	"compress/gzip"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

const (
	// maxRatio is how much larger than on the wire a body may become, past its first MiB. DEFLATE reaches
	// 1032 at most; packuments, which repeat themselves from version to version, stay under 100.
	maxRatio   = 300
	ratioGrace = 1 << 20

	smallBody  = 512 << 10 // up to here a body needs no leave to grow
	mediumBody = 8 << 20   // up to here one of mediumSlots
	// How many bodies of a size may be in memory at once while they are read. A registry that answers all
	// of 64 requests with the largest body allowed would otherwise cost limit × 64.
	mediumSlots, largeSlots = 4, 1
)

// bodySlots bounds the memory of bodies being read. A body that grows takes a medium slot first and then,
// still holding it, the large one: always in this order, so nobody waits in a circle.
type bodySlots struct{ medium, large chan struct{} }

func newBodySlots() *bodySlots {
	return &bodySlots{make(chan struct{}, mediumSlots), make(chan struct{}, largeSlots)}
}

// A stopwatch cuts an answer off after a time of its own that can be halted while the client makes the
// answer wait.
type stopwatch struct {
	timer *time.Timer
	left  time.Duration
	since time.Time
}

func startStopwatch(d time.Duration, expired func()) *stopwatch {
	return &stopwatch{timer: time.AfterFunc(d, expired), left: d, since: time.Now()}
}

func (s *stopwatch) halt() {
	if s.timer.Stop() {
		s.left -= time.Since(s.since)
	}
}

func (s *stopwatch) resume() {
	s.since = time.Now()
	s.timer.Reset(max(s.left, time.Millisecond))
}

func (s *stopwatch) stop() { s.timer.Stop() }

// A meter counts what passes on its way from the network and stops it at max bytes.
type meter struct {
	r     io.Reader
	n     int64 // bytes so far
	max   int64
	what  string
	heard func(n int) // told about every read that brought something
}

func (m *meter) Read(p []byte) (int, error) {
	// One byte more than allowed tells "exactly the limit" from "larger".
	if room := m.max - m.n + 1; int64(len(p)) > room {
		p = p[:room]
	}
	n, err := m.r.Read(p)
	m.n += int64(n)
	if n > 0 {
		m.heard(n)
	}
	if m.n > m.max {
		return n, &LimitError{m.what, m.max}
	}
	return n, err
}

var gzipReaders sync.Pool // of *gzip.Reader

// decoder returns what undoes the response's content coding, and a function to call when done with it.
// gzip is all the client asks for; anything else is refused, several codings on top of each other too.
func decoder(h http.Header, r io.Reader) (io.Reader, func(), error) {
	coding := strings.ToLower(strings.TrimSpace(strings.Join(h.Values("Content-Encoding"), ", ")))
	switch coding {
	case "", "identity":
		return r, func() {}, nil
	case "gzip", "x-gzip":
		zr, _ := gzipReaders.Get().(*gzip.Reader)
		var err error
		if zr == nil {
			zr, err = gzip.NewReader(r)
		} else {
			err = zr.Reset(r)
		}
		if err != nil {
			if errors.Is(err, io.EOF) { // nothing at all came, not even a header
				err = io.ErrUnexpectedEOF
			}
			return nil, nil, err
		}
		return zr, func() { gzipReaders.Put(zr) }, nil
	}
	return nil, nil, &codingError{coding}
}

// A codingError is a content coding that nobody asked for.
type codingError struct{ coding string }

func (e *codingError) Error() string {
	return fmt.Sprintf("the body has content coding %.40q, only gzip was asked for", e.coding)
}

var scratch = sync.Pool{New: func() any { b := make([]byte, 0, 64<<10); return &b }}

// readJSON reads a whole body, decoded, of at most limit bytes, and sees that it is one JSON value.
func (c *Client) readJSON(ctx context.Context, resp *http.Response, limit int64, what string, watch *stopwatch, heard func(int)) ([]byte, error) {
	if resp.ContentLength > limit {
		return nil, &LimitError{what, limit}
	}
	wire := &meter{r: resp.Body, max: limit, what: what, heard: heard}
	r, done, err := decoder(resp.Header, wire)
	if err != nil {
		return nil, err
	}
	defer done()

	// The body is collected in pieces and joined at the end: growing one slice would leave three times its
	// size behind as garbage.
	first := scratch.Get().(*[]byte)
	defer scratch.Put(first)
	pieces, last, size := [][]byte{}, (*first)[:0], int64(0)
	held := 0 // slots taken: 0, 1 (medium) or 2 (medium and large)
	defer func() {
		if held > 1 {
			<-c.bodies.large
		}
		if held > 0 {
			<-c.bodies.medium
		}
	}()
	for {
		if len(last) == cap(last) {
			for want, slots := range []chan struct{}{c.bodies.medium, c.bodies.large} {
				if held == want && size >= []int64{smallBody, mediumBody}[want] {
					watch.halt()
					select {
					case slots <- struct{}{}:
						held++
					case <-ctx.Done():
						return nil, ctx.Err()
					}
					watch.resume()
				}
			}
			pieces = append(pieces, last)
			last = make([]byte, 0, min(size, limit+1-size, 4<<20)) // size is at most limit here
		}
		n, err := r.Read(last[len(last):cap(last)])
		last, size = last[:len(last)+n], size+int64(n)
		atomic.AddInt64(&c.counters.decoded, int64(n))
		if size > limit {
			return nil, &LimitError{what, limit}
		}
		if size > ratioGrace && size > wire.n*maxRatio {
			return nil, &ratioError{what}
		}
		if err == io.EOF {
			break
		} else if err != nil {
			return nil, err
		}
	}
	body := make([]byte, 0, size)
	for _, p := range append(pieces, last) {
		body = append(body, p...)
	}
	watch.stop()
	// Still holding the slots: a body that turns out to be no JSON is dropped before the next one grows.
	if err := checkJSON(body, c.opts.Limits.Depth); err != nil {
		return nil, fmt.Errorf("%s: %w", what, err)
	}
	return body, nil
}

// bodyKind says what it means that reading a body ended in err.
func bodyKind(err error) (Kind, bool) {
	var limit *LimitError
	var ratio *ratioError
	var coding *codingError
	var corrupt flate.CorruptInputError
	var syntax *syntaxError
	var depth *depthError
	switch {
	case errors.As(err, &depth):
		return TooDeep, true
	case errors.As(err, &limit), errors.As(err, &ratio):
		return TooLarge, true
	case errors.Is(err, io.ErrUnexpectedEOF), strings.Contains(err.Error(), "more than declared Content-Length"):
		return Truncated, true // the second is HTTP/2's, which has no name for it
	case errors.As(err, &syntax), errors.As(err, &coding), errors.As(err, &corrupt), errors.Is(err, gzip.ErrHeader), errors.Is(err, gzip.ErrChecksum):
		return NotJSON, true
	}
	return 0, false
}

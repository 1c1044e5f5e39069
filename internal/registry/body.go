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

	"assay/internal/budget"
)

const (
	// maxRatio is how much larger than on the wire a body may become, past its first MiB. DEFLATE reaches
	// 1032 at most; packuments, which repeat themselves from version to version, stay under 100.
	maxRatio   = 300
	ratioGrace = 1 << 20

	smallBody  = 512 << 10 // up to here a body needs no leave to grow
	mediumBody = 8 << 20   // up to here one of mediumPlaces
	// How many packages may have bodies of a size at once, from when a body grows until nobody needs it any
	// more (see package budget). A registry that answers all of 64 requests with the largest body allowed
	// would otherwise cost limit × 64.
	mediumPlaces, largePlaces = 4, 1
)

// bodyPlaces bounds the memory of large bodies. A body that grows takes a medium place first and then,
// still holding it, the large one: always in this order, so nobody waits in a circle.
type bodyPlaces struct{ medium, large *budget.Pool }

func newBodyPlaces() *bodyPlaces {
	return &bodyPlaces{budget.NewPool(mediumPlaces), budget.NewPool(largePlaces)}
}

// needed returns the pools of which a body of a size needs a place.
func (p *bodyPlaces) needed(size int64) []*budget.Pool {
	switch {
	case size < smallBody:
		return nil
	case size < mediumBody:
		return []*budget.Pool{p.medium}
	}
	return []*budget.Pool{p.medium, p.large}
}

// A noRoomError ends an answer that may not grow now. It is asked for again when it may: until then it
// keeps neither memory nor a connection, of which those that may grow could run out.
type noRoomError struct{ pool *budget.Pool }

func (*noRoomError) Error() string { return "too many large answers at once" }

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

// readJSON reads a whole body, decoded, of at most the ask's limit, and sees that it is one JSON value. The
// holder that ctx carries is left with the places that the body needs.
func (c *Client) readJSON(ctx context.Context, resp *http.Response, a *ask, watch *stopwatch, heard func(int)) ([]byte, error) {
	limit, what, room := a.limit, a.what, budget.From(ctx)
	grow := func(size int64) error {
		for _, pool := range a.places.needed(size) {
			if room.Has(pool) {
				continue
			}
			if !a.patient {
				return &noRoomError{pool}
			}
			watch.halt()
			if err := room.Wait(ctx, pool); err != nil {
				return err
			}
			watch.resume()
		}
		return nil
	}
	if resp.ContentLength > limit {
		return nil, &LimitError{what, limit}
	}
	if err := grow(resp.ContentLength); err != nil {
		return nil, err
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
	for {
		if len(last) == cap(last) {
			if err := grow(size); err != nil {
				return nil, err
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

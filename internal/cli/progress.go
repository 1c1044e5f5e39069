package cli

import (
	"fmt"
	"io"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"assay/internal/report"
)

const (
	quietFor   = 2 * time.Second        // what is done sooner needs no telling
	drawEvery  = 100 * time.Millisecond // on a terminal
	printEvery = 5 * time.Second        // without one
	rateOver   = 10 * time.Second       // the rate is that of the last seconds
)

// A progress tells how far a run over many packages is: a bar that redraws itself on a terminal, a line every
// few seconds elsewhere, nothing at all in a run of less than two seconds. Its methods are safe for
// concurrent use, and do nothing on a nil progress, which is what -q uses.
//
// A progress has no goroutine of its own. It is drawn by whoever reports something; [progress.Tick] draws it
// while nothing happens.
type progress struct {
	w          io.Writer
	isTerminal bool
	width      int
	total      int64
	now        func() time.Time
	start      time.Time
	every      time.Duration

	done, bytes atomic.Int64
	host        atomic.Pointer[string]
	due         atomic.Int64 // when to draw next, in nanoseconds since start

	mu       sync.Mutex
	finished bool
	shown    bool // a bar stands on the terminal, or a line was printed
	samples  []sample
}

// A sample is how much was done at a time.
type sample struct {
	at   time.Duration // since start
	done int64
}

// newProgress begins to count towards total packages. The bar is drawn on w, at most width columns wide; now
// is the clock.
func newProgress(w io.Writer, isTerminal bool, width, total int, now func() time.Time) *progress {
	p := &progress{w: w, isTerminal: isTerminal, width: width, total: int64(total), now: now, start: now(), every: printEvery}
	if isTerminal {
		p.every = drawEvery
	}
	p.due.Store(int64(quietFor))
	p.samples = []sample{{}}
	return p
}

// Done counts one package.
func (p *progress) Done() {
	if p == nil {
		return
	}
	p.done.Add(1)
	p.Tick()
}

// Bytes counts n bytes that were received.
func (p *progress) Bytes(n int64) {
	if p == nil {
		return
	}
	p.bytes.Add(n)
	p.Tick()
}

// Host names who is being asked.
func (p *progress) Host(host string) {
	if p == nil {
		return
	}
	if old := p.host.Load(); old == nil || *old != host {
		p.host.Store(&host)
	}
}

// Tick draws if it is time to.
func (p *progress) Tick() {
	if p == nil {
		return
	}
	at := p.now().Sub(p.start)
	due := p.due.Load()
	// Of all who come now one draws; the others have better things to do.
	if int64(at) < due || !p.due.CompareAndSwap(due, int64(at+p.every)) {
		return
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if !p.finished {
		p.draw(at)
	}
}

// Finish takes the bar away. Where lines were printed it prints a last one.
func (p *progress) Finish() {
	if p == nil {
		return
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.finished {
		return
	}
	p.finished = true
	switch {
	case !p.shown:
	case p.isTerminal:
		io.WriteString(p.w, eraseLine)
	default:
		at := p.now().Sub(p.start)
		fmt.Fprintf(p.w, "assay: %s of %s packages looked at in %s%s\n", thousands(p.done.Load()), thousands(p.total), roughly(at), p.received(", "))
	}
}

// eraseLine goes back to the first column and clears the line.
const eraseLine = "\r\x1b[K"

// draw shows the state as of at.
func (p *progress) draw(at time.Duration) {
	done := p.done.Load()
	p.samples = append(p.samples, sample{at, done})
	for len(p.samples) > 2 && at-p.samples[1].at >= rateOver {
		p.samples = p.samples[1:]
	}
	p.shown = true
	rate := p.rate()
	if p.isTerminal {
		io.WriteString(p.w, eraseLine+p.bar(done, rate))
		return
	}
	line := fmt.Sprintf("assay: %s of %s packages looked at", thousands(done), thousands(p.total))
	for _, part := range p.parts(done, rate) {
		line += ", " + part
	}
	io.WriteString(p.w, line+"\n")
}

// rate is how many packages a second were done lately.
func (p *progress) rate() float64 {
	first, last := p.samples[0], p.samples[len(p.samples)-1]
	if last.at <= first.at {
		return 0
	}
	return float64(last.done-first.done) / (last.at - first.at).Seconds()
}

// parts are what may follow the count, most telling first.
func (p *progress) parts(done int64, rate float64) []string {
	var parts []string
	left := p.total - done
	switch {
	case left <= 0:
	case rate > 0:
		parts = append(parts, roughly(time.Duration(float64(left)/rate*float64(time.Second)))+" left")
	default:
		parts = append(parts, "waiting")
	}
	switch {
	case rate >= 10:
		parts = append(parts, thousands(int64(rate+0.5))+"/s")
	case rate > 0:
		parts = append(parts, strconv.FormatFloat(rate, 'f', 1, 64)+"/s")
	}
	if received := p.received(""); received != "" {
		parts = append(parts, received)
	}
	if host := p.host.Load(); host != nil && *host != "" {
		parts = append(parts, report.EscapeASCII(*host))
	}
	return parts
}

// received is how many bytes arrived, "" for none.
func (p *progress) received(before string) string {
	n := float64(p.bytes.Load())
	switch {
	case n <= 0:
		return ""
	case n < 1e6:
		return before + strconv.FormatInt(max(1, int64(n/1e3)), 10) + " kB"
	}
	return before + strconv.FormatFloat(n/1e6, 'f', 1, 64) + " MB"
}

// bar is the line on a terminal. A line as wide as the terminal would wrap and could not be erased, so one
// column stays free; what does not fit is left out from the end.
func (p *progress) bar(done int64, rate float64) string {
	room := p.width - 1
	line := thousands(done) + "/" + thousands(p.total)
	const bar = 20
	if p.total > 0 && room >= bar+3+len(line) {
		filled := int(min(done, p.total) * bar / p.total)
		line = "[" + strings.Repeat("#", filled) + strings.Repeat(".", bar-filled) + "] " + line
	}
	if len(line) > room {
		return ""
	}
	for _, part := range p.parts(done, rate) {
		if len(line)+2+len(part) > room {
			continue
		}
		line += "  " + part
	}
	return line
}

// thousands writes n with commas.
func thousands(n int64) string {
	s := strconv.FormatInt(n, 10)
	for i := len(s) - 3; i > 0 && s[i-1] != '-'; i -= 3 {
		s = s[:i] + "," + s[i:]
	}
	return s
}

// roughly writes a duration as people say it: "8s", "3m20s", "1h5m".
func roughly(d time.Duration) string {
	s := int64((d + time.Second/2) / time.Second)
	switch {
	case d > 99*time.Hour:
		return "days"
	case s < 60:
		return strconv.FormatInt(max(s, 1), 10) + "s"
	case s < 3600:
		return fmt.Sprintf("%dm%ds", s/60, s%60)
	}
	return fmt.Sprintf("%dh%dm", s/3600, s/60%60)
}

package cli

import (
	"bytes"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"
)

// A testClock stands still until it is told otherwise.
type testClock struct {
	mu sync.Mutex
	at time.Time
}

func newTestClock() *testClock { return &testClock{at: time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)} }

func (c *testClock) now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.at
}

func (c *testClock) add(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.at = c.at.Add(d)
}

// screen plays what was written to a terminal of one line: what stands there at the end, and every state.
func screen(t *testing.T, text string) (states []string) {
	t.Helper()
	for _, s := range strings.Split(text, eraseLine) {
		if strings.ContainsAny(s, "\r\x1b") {
			t.Errorf("the bar steers the terminal with %q", s)
		}
		states = append(states, s)
	}
	return states
}

func TestProgressBar(t *testing.T) {
	var b bytes.Buffer
	c := newTestClock()
	p := newProgress(&b, true, 80, 1204, c.now)
	p.Host("registry.npmjs.org")
	for range 40 { // 20 a second for two seconds
		c.add(50 * time.Millisecond)
		p.Done()
		p.Bytes(1000)
	}
	for range 280 { // then 100 a second
		c.add(10 * time.Millisecond)
		p.Done()
	}
	p.Bytes(5_000_000)
	c.add(time.Second)
	p.Tick()
	states := screen(t, b.String())
	if got, want := states[1], "[....................] 40/1,204  58s left  20/s  39 kB  registry.npmjs.org"; got != want {
		t.Errorf("the first bar is %q, want %q", got, want)
	}
	if got, want := states[len(states)-1], "[#####...............] 320/1,204  16s left  55/s  5.0 MB  registry.npmjs.org"; got != want {
		t.Errorf("the last bar is %q, want %q", got, want)
	}
	if n := len(states); n < 25 || n > 35 {
		t.Errorf("the bar was drawn %d times in 3.8 s", n)
	}
	b.Reset()
	p.Finish()
	if got := b.String(); got != eraseLine {
		t.Errorf("Finish writes %q, want the line erased", got)
	}
	b.Reset()
	c.add(time.Minute)
	p.Done()
	p.Tick()
	p.Finish()
	if b.Len() > 0 {
		t.Errorf("after Finish it writes %q", &b)
	}
}

// A fast run says nothing, on a terminal or without.
func TestProgressQuick(t *testing.T) {
	for _, terminal := range []bool{true, false} {
		var b bytes.Buffer
		c := newTestClock()
		p := newProgress(&b, terminal, 80, 1500, c.now)
		for range 1500 {
			c.add(time.Millisecond)
			p.Done()
			p.Bytes(10)
		}
		c.add(499 * time.Millisecond)
		p.Tick()
		p.Finish()
		if b.Len() > 0 {
			t.Errorf("terminal %t: a run of less than two seconds writes %q", terminal, &b)
		}
	}
}

func TestProgressLines(t *testing.T) {
	var b bytes.Buffer
	c := newTestClock()
	p := newProgress(&b, false, 80, 2000, c.now)
	for range 140 { // 14 s, ten packages each tenth of a second
		c.add(100 * time.Millisecond)
		for range 10 {
			p.Done()
		}
	}
	p.Bytes(1_500_000)
	p.Host("npm.example.com")
	for range 60 { // nothing happens for 6 s
		c.add(100 * time.Millisecond)
		p.Tick()
	}
	for range 600 {
		p.Done()
	}
	c.add(100 * time.Millisecond)
	p.Finish()
	want := `assay: 191 of 2,000 packages looked at, 19s left, 96/s
assay: 691 of 2,000 packages looked at, 13s left, 99/s
assay: 1,191 of 2,000 packages looked at, 8s left, 100/s
assay: 1,400 of 2,000 packages looked at, 8s left, 71/s, 1.5 MB, npm.example.com
assay: 2,000 of 2,000 packages looked at in 20s, 1.5 MB
`
	if got := b.String(); got != want {
		t.Errorf("got\n%swant\n%s", got, want)
	}
}

// A registry that stopped answering is told as such, not as a time that is never reached.
func TestProgressStalls(t *testing.T) {
	var b bytes.Buffer
	c := newTestClock()
	p := newProgress(&b, true, 80, 10, c.now)
	for range 5 {
		p.Done()
	}
	for range 200 {
		c.add(200 * time.Millisecond)
		p.Tick()
	}
	states := screen(t, b.String())
	if got, want := states[len(states)-1], "[##########..........] 5/10  waiting"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
}

// The bar never wraps, whatever the terminal and the host's name are like.
func TestProgressNarrow(t *testing.T) {
	for width := -1; width < 120; width++ {
		var b bytes.Buffer
		c := newTestClock()
		p := newProgress(&b, true, width, 1_000_000, c.now)
		p.Host("\x1b[2J\u202ehost\nname" + strings.Repeat("long", 10))
		p.Bytes(123_456_789_012)
		for range 30 {
			c.add(100 * time.Millisecond)
			p.Done()
		}
		for _, s := range screen(t, b.String()) {
			if len(s) >= max(width, 1) && s != "" {
				t.Fatalf("a bar of %d columns on a terminal of %d: %q", len(s), width, s)
			}
			if strings.ContainsAny(s, "\n\u202e") {
				t.Fatalf("the host's name is drawn as it is: %q", s)
			}
		}
	}
}

func TestProgressNothingToDo(t *testing.T) {
	var b bytes.Buffer
	c := newTestClock()
	p := newProgress(&b, true, 80, 0, c.now)
	c.add(3 * time.Second)
	p.Tick()
	if got, want := b.String(), eraseLine+"0/0"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
	var none *progress // what -q uses
	none.Done()
	none.Bytes(1)
	none.Host("x")
	none.Tick()
	none.Finish()
}

func TestProgressManyGoroutines(t *testing.T) {
	for _, terminal := range []bool{true, false} {
		var b bytes.Buffer
		c := newTestClock()
		p := newProgress(&b, terminal, 80, 6400, c.now)
		var group sync.WaitGroup
		for i := range 64 {
			group.Go(func() {
				for range 100 {
					c.add(time.Millisecond)
					p.Done()
					p.Bytes(10)
					p.Host(fmt.Sprint("host-", i))
				}
			})
		}
		group.Wait()
		p.Finish()
		if got := p.done.Load(); got != 6400 {
			t.Errorf("%d packages counted, want 6400", got)
		}
	}
}

func TestRoughly(t *testing.T) {
	for d, want := range map[time.Duration]string{
		0: "1s", 400 * time.Millisecond: "1s", 59400 * time.Millisecond: "59s", 59600 * time.Millisecond: "1m0s",
		200 * time.Second: "3m20s", time.Hour + 5*time.Minute: "1h5m", 1 << 62: "days",
	} {
		if got := roughly(d); got != want {
			t.Errorf("roughly(%v) = %q, want %q", d, got, want)
		}
	}
}

func BenchmarkProgressDone(b *testing.B) {
	p := newProgress(&bytes.Buffer{}, true, 80, 1<<40, time.Now)
	b.RunParallel(func(pb *testing.PB) {
		for pb.Next() {
			p.Done()
		}
	})
}

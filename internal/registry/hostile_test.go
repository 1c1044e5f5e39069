package registry

import (
	"bytes"
	"crypto/sha512"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"runtime"
	"runtime/debug"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"assay/internal/npm"
)

// raw takes the connection over and writes exactly this, then closes it; reset makes that a TCP reset.
func raw(w http.ResponseWriter, answer string, reset bool) {
	conn, _, err := w.(http.Hijacker).Hijack()
	if err != nil {
		panic(err)
	}
	io.WriteString(conn, answer)
	if reset {
		conn.(*net.TCPConn).SetLinger(0)
	}
	conn.Close()
}

func TestHang(t *testing.T) {
	base := serve(t, func(w http.ResponseWriter, r *http.Request) { <-r.Context().Done() })
	c := newClient(t, Options{Timeout: 30 * time.Millisecond, Retry: Retry{Attempts: 2}})
	start := time.Now()
	_, err := c.Document(t.Context(), base, left)
	wantKind(t, err, Timeout, 2)
	if d := time.Since(start); d > 5*time.Second {
		t.Errorf("took %v", d)
	}
}

// Every byte of a slow drip comes well within any idle timeout: only one over the whole answer ends it.
func TestSlowDrip(t *testing.T) {
	base := serve(t, func(w http.ResponseWriter, r *http.Request) {
		io.WriteString(w, `{"a":"`)
		for r.Context().Err() == nil {
			io.WriteString(w, "x")
			w.(http.Flusher).Flush()
			time.Sleep(2 * time.Millisecond)
		}
	})
	c := newClient(t, Options{Timeout: 60 * time.Millisecond, Retry: Retry{Attempts: 1}})
	_, err := c.Document(t.Context(), base, left)
	wantKind(t, err, Timeout, 1)
	err = c.Tarball(t.Context(), base+"/a.tgz", func(r io.Reader) error { _, err := io.Copy(io.Discard, r); return err })
	wantKind(t, err, Timeout, 1)
}

// A refusal whose page never ends is still the refusal.
func TestHangingErrorPage(t *testing.T) {
	for status, kind := range map[int]Kind{404: NotFound, 403: Unauthorized, 500: Status} {
		base := serve(t, func(w http.ResponseWriter, r *http.Request) {
			w.WriteHeader(status)
			io.WriteString(w, `{"error":"wait`)
			w.(http.Flusher).Flush()
			<-r.Context().Done()
		})
		c := newClient(t, Options{Timeout: 30 * time.Millisecond, Retry: Retry{Attempts: 1}})
		_, err := c.Document(t.Context(), base, left)
		wantKind(t, err, kind, 1)
	}
}

func TestWrongLength(t *testing.T) {
	tests := []struct {
		name, answer string
		kind         Kind
		attempts     int
	}{
		{"less than announced", "HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n{\"a\":1}", Truncated, 3},
		{"nothing of what was announced", "HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n", Truncated, 3},
		{"chunks without an end", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n7\r\n{\"a\":1}\r\n", Truncated, 3},
		{"a chunk cut off", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nff\r\n{\"a\":1}", Truncated, 3},
		{"less than the text needs", "HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\n{\"a\":1}", NotJSON, 1},
		{"more than announced", "HTTP/1.1 200 OK\r\nContent-Length: 7\r\n\r\n{\"a\":1}HTTP/1.1 200 OK\r\n\r\n{\"evil\":1}", 0, 1},
		{"gzip cut off", "HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nConnection: close\r\n\r\n" + string(gzipped(sampleDocument(9000))[:400]), Truncated, 3},
		{"an empty gzip", "HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nConnection: close\r\n\r\n", Truncated, 3},
		{"no answer", "", Connection, 3},
		{"no HTTP", "SSH-2.0-OpenSSH_9.9\r\n\r\n", Connection, 3},
		{"two lengths", "HTTP/1.1 200 OK\r\nContent-Length: 7\r\nContent-Length: 8\r\n\r\n{\"a\":1}", Connection, 3},
		{"endless headers", "HTTP/1.1 200 OK\r\nX: " + strings.Repeat("x", 1<<20) + "\r\n\r\n{}", TooLarge, 1},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			base := serve(t, func(w http.ResponseWriter, r *http.Request) { raw(w, tt.answer, false) })
			c := newClient(t, Options{})
			resp, err := c.Document(t.Context(), base, left)
			if tt.kind == 0 {
				if err != nil || string(resp.Body) != `{"a":1}` {
					t.Fatalf("%v %v", resp, err)
				}
				// What followed belongs to no question and must not become the answer of the next one.
				if resp, err := c.Document(t.Context(), base, left); err != nil || string(resp.Body) != `{"a":1}` {
					t.Fatalf("%v %v", resp, err)
				}
				return
			}
			wantKind(t, err, tt.kind, tt.attempts)
		})
	}
}

func TestConnectionReset(t *testing.T) {
	var asked atomic.Int32
	base := serve(t, func(w http.ResponseWriter, r *http.Request) {
		if asked.Add(1) < 3 {
			raw(w, "HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\n{\"a\":", true)
			return
		}
		io.WriteString(w, "{}")
	})
	c := newClient(t, Options{})
	if _, err := c.Document(t.Context(), base, left); err != nil || asked.Load() != 3 {
		t.Errorf("%v after %d requests", err, asked.Load())
	}
	asked.Store(-100)
	_, err := c.Document(t.Context(), base, left)
	if k := KindOf(err); k != Connection && k != Truncated {
		t.Errorf("%v", err)
	}
	// Nobody there.
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	l.Close()
	_, err = c.Document(t.Context(), "http://"+l.Addr().String(), left)
	wantKind(t, err, Connection, 3)
	_, err = c.Document(t.Context(), "http://name.invalid", left)
	if KindOf(err) != Connection {
		t.Errorf("%v", err)
	}
}

func TestTooLarge(t *testing.T) {
	var written atomic.Int64
	for _, announced := range []bool{true, false} {
		written.Store(0)
		base := serve(t, func(w http.ResponseWriter, r *http.Request) {
			const size = 100 << 20
			if announced {
				w.Header().Set("Content-Length", fmt.Sprint(size))
			}
			io.WriteString(w, `{"a":"`)
			chunk := bytes.Repeat([]byte("x"), 1<<16)
			for i := 0; i < size; i += len(chunk) {
				n, err := w.Write(chunk)
				written.Add(int64(n))
				if err != nil {
					return
				}
			}
		})
		c := newClient(t, Options{})
		_, err := c.Document(t.Context(), base, left)
		e := wantKind(t, err, TooLarge, 1)
		var limit *LimitError
		if !errors.As(e, &limit) || limit.Max != 4<<20 {
			t.Errorf("%v", e)
		}
		if got := c.Counters().Received; got > 10<<20 {
			t.Errorf("read %d bytes of 100 MiB", got)
		}
	}
}

func TestLimitsAreExact(t *testing.T) {
	body := func(size int) []byte {
		b := []byte(`"` + strings.Repeat("x", size-2) + `"`)
		random := rand.New(rand.NewPCG(1, 2))
		for i := 1; i < size-1; i += 20 { // else compression would look like a bomb
			b[i] = "abcdefgh"[random.IntN(8)]
		}
		return b
	}
	for _, size := range []int{2, 100, 63 << 10, 64 << 10, 64<<10 + 1, 1 << 20, 3 << 20} {
		for _, coded := range []bool{false, true} {
			var send []byte
			base := serve(t, func(w http.ResponseWriter, r *http.Request) {
				if coded {
					w.Header().Set("Content-Encoding", "gzip")
					w.Write(gzipped(send))
					return
				}
				w.(http.Flusher).Flush() // no length
				w.Write(send)
			})
			c := newClient(t, Options{Limits: Limits{Document: int64(size)}})
			send = body(size)
			if resp, err := c.Document(t.Context(), base, left); err != nil {
				if !coded || size > 1<<10 { // a few bytes grow when compressed: the limit holds on the wire too
					t.Errorf("%d bytes, gzip %v: %v", size, coded, err)
				}
			} else if !bytes.Equal(resp.Body, send) {
				t.Errorf("%d bytes, gzip %v: body differs", size, coded)
			}
			send = body(size + 1)
			if _, err := c.Document(t.Context(), base, left); KindOf(err) != TooLarge {
				t.Errorf("%d bytes, gzip %v: %v", size+1, coded, err)
			}
		}
	}
}

func TestTooDeep(t *testing.T) {
	depth := 100_000
	base := serve(t, func(w http.ResponseWriter, r *http.Request) {
		io.WriteString(w, strings.Repeat("[", depth)+strings.Repeat("]", depth))
	})
	c := newClient(t, Options{})
	_, err := c.Attestations(t.Context(), base, left)
	wantKind(t, err, TooDeep, 1)
	depth = 100
	if _, err := c.Attestations(t.Context(), base, left); err != nil {
		t.Error(err)
	}
}

func TestNotJSON(t *testing.T) {
	tests := []struct{ name, coding, body string }{
		{"empty", "", ""},
		{"page", "", "<!DOCTYPE html><script>alert(1)</script>"},
		{"two values", "", "{}{}"},
		{"terminal escape", "", "\x1b[31m{}"},
		{"brotli", "br", "{}"},
		{"twice gzip", "gzip, gzip", "{}"},
		{"no gzip at all", "gzip", "{\"a\":\"no gzip\"}"},
		{"hostile coding", "<script>\xff\u202e", "{}"},
		{"damaged gzip", "gzip", func() string {
			b := gzipped(sampleDocument(9000))
			b[len(b)/2] ^= 0xff
			return string(b)
		}()},
		{"wrong checksum", "gzip", func() string {
			b := gzipped(sampleDocument(9000))
			b[len(b)-6] ^= 0xff
			return string(b)
		}()},
		{"something after the gzip", "gzip", string(gzipped([]byte("{}"))) + "trailing rubbish"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			base := serve(t, func(w http.ResponseWriter, r *http.Request) {
				if tt.coding != "" {
					w.Header()["Content-Encoding"] = []string{tt.coding}
				}
				io.WriteString(w, tt.body)
			})
			_, err := newClient(t, Options{}).Document(t.Context(), base, left)
			wantKind(t, err, NotJSON, 1)
		})
	}
	// Not this package's question: strings that are no UTF-8, and names that come twice.
	body := "{\"a\":\"\xff\xfe\",\"a\":2}"
	base := serve(t, func(w http.ResponseWriter, r *http.Request) { io.WriteString(w, body) })
	if resp, err := newClient(t, Options{}).Document(t.Context(), base, left); err != nil || string(resp.Body) != body {
		t.Errorf("%v %v", resp, err)
	}
}

func TestGzipBomb(t *testing.T) {
	bomb := gzipped(append([]byte(`"`), bytes.Repeat([]byte("x"), 48<<20)...)) // about 200 KB
	base := serve(t, func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Encoding", "gzip")
		w.Write(bomb)
	})
	c := newClient(t, Options{})
	for _, call := range []func() error{
		func() error { _, err := c.Document(t.Context(), base, left); return err },
		func() error { _, err := c.Attestations(t.Context(), base, left); return err },
		func() error { _, err := c.Packument(t.Context(), base, "left"); return err },
		func() error { _, err := c.Keys(t.Context(), base); return err },
	} {
		wantKind(t, call(), TooLarge, 1)
	}
	if n := c.Counters(); n.Decoded > 30<<20 {
		t.Errorf("%d bytes were decompressed", n.Decoded)
	}
	// A bomb as an error page costs nothing either.
	down := serve(t, func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Encoding", "gzip")
		w.WriteHeader(404)
		w.Write(bomb)
	})
	_, err := c.Document(t.Context(), down, left)
	wantKind(t, err, NotFound, 1)
}

// What servers say about a refusal is quoted, cut, without the request's credentials; pages are left out.
func TestErrorText(t *testing.T) {
	tests := []struct{ name, body, want, not string }{
		{"npm's form", `{"error":"Not found"}`, `"Not found"`, ""},
		{"terminal escapes", `{"error":"\u001b]0;owned\u0007\u001b[2J\u202eevil"}`, `\x1b]0;owned\a`, "\x1b"},
		{"line breaks", `{"error":"a\nassay: error: forged"}`, `a\nassay`, "\n"},
		{"raw escapes", "{\"error\":\"\x1b[31m\"}", "401 Unauthorized", "[31m"},
		{"a page", `<html><script>alert(1)</script>`, "401 Unauthorized", "script"},
		{"no UTF-8", "{\"error\":\"a\xffb\"}", "a", "\xff"},
		{"long", `{"error":"` + strings.Repeat("y", 10000) + `"}`, "yyy", strings.Repeat("y", 300)},
		{"an echo of the token", `{"error":"Bearer s3cr3t-token is not valid"}`, "[credentials]", "s3cr3t"},
		{"another type", `{"error":{"message":"x"}}`, "401 Unauthorized", "message"},
		{"nothing", ``, "401 Unauthorized", ""},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			var sent string
			base := serve(t, func(w http.ResponseWriter, r *http.Request) {
				sent = r.Header.Get("Authorization")
				w.WriteHeader(401)
				io.WriteString(w, tt.body)
			})
			c := newClient(t, Options{Config: userConfig(t, strings.TrimPrefix(base, "http:")+"/:_authToken=s3cr3t-token\n")})
			_, err := c.Document(t.Context(), base, left)
			e := wantKind(t, err, Unauthorized, 1)
			if sent != "Bearer s3cr3t-token" {
				t.Errorf("sent %q", sent)
			}
			if text := e.Error(); !strings.Contains(text, tt.want) || tt.not != "" && strings.Contains(text, tt.not) {
				t.Errorf("error is %q, want %q and not %q", text, tt.want, tt.not)
			}
		})
	}
	if got := printable("a\x1b[1m\u202eb\xff\u200bé\n"); got != `a\x1b[1m\u202eb\xff\u200bé\n` {
		t.Errorf("printable = %q", got)
	}
}

// Memory stays bounded when a registry answers every request with as much as is allowed.
func TestMemory(t *testing.T) {
	const size = 15 << 20
	chunk := bytes.Repeat([]byte("x"), 1<<16)
	base := serve(t, func(w http.ResponseWriter, r *http.Request) {
		io.WriteString(w, `"`)
		for i := 0; i < size; i += len(chunk) {
			if _, err := w.Write(chunk); err != nil {
				return
			}
		} // and no closing quotation mark: the body is read whole and then dropped
	})
	runtime.GC()                                     // what other tests left behind does not count
	defer debug.SetGCPercent(debug.SetGCPercent(25)) // so that the heap is what is held, not what is left over
	c := newClient(t, Options{Timeout: 5 * time.Minute, Limits: Limits{Attestations: 16 << 20}})
	stop, peak := make(chan struct{}), make(chan uint64)
	go func() {
		var m runtime.MemStats
		var most uint64
		for {
			runtime.ReadMemStats(&m)
			most = max(most, m.HeapAlloc)
			select {
			case <-stop:
				peak <- most
				return
			case <-time.After(2 * time.Millisecond):
			}
		}
	}()
	var wg sync.WaitGroup
	for i := range 20 {
		wg.Go(func() {
			_, err := c.Attestations(t.Context(), base, npm.ID{Name: "left", Version: fmt.Sprintf("1.0.%d", i)})
			if KindOf(err) != NotJSON {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	close(stop)
	if most := <-peak; most > 160<<20 {
		t.Errorf("%d MiB of heap for 20 answers of 15 MiB", most>>20)
	} else {
		t.Logf("%d MiB of heap at most", most>>20)
	}
	if c.answers.medium.Taken()+c.answers.large.Taken() != 0 || len(c.places) != 0 {
		t.Error("places were not given back")
	}
}

func TestTarball(t *testing.T) {
	content := bytes.Repeat([]byte("tarball "), 100_000)
	base := serve(t, func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("Accept-Encoding") != "identity" {
			t.Errorf("asked for coding %q", r.Header.Get("Accept-Encoding"))
		}
		w.Header().Set("Content-Encoding", "gzip") // some servers say so of every .tgz; the file is still the file
		w.Write(content)
	})
	c := newClient(t, Options{})
	h := sha512.New()
	if err := c.Tarball(t.Context(), base+"/left/-/left-1.0.0.tgz", func(r io.Reader) error { _, err := io.Copy(h, r); return err }); err != nil {
		t.Fatal(err)
	}
	if want := sha512.Sum512(content); !bytes.Equal(h.Sum(nil), want[:]) {
		t.Error("the digest differs")
	}
	mine := errors.New("mine")
	if err := c.Tarball(t.Context(), base+"/a.tgz", func(r io.Reader) error { return mine }); err != mine {
		t.Errorf("%v, want the reader's own error", err)
	}
	for _, announced := range []bool{true, false} {
		url := serve(t, func(w http.ResponseWriter, r *http.Request) {
			if announced {
				w.Header().Set("Content-Length", "100001")
			} else {
				w.(http.Flusher).Flush()
			}
			w.Write(content[:100001])
		})
		small := newClient(t, Options{Limits: Limits{Tarball: 100000}})
		// The reader takes no notice of the error, and still the call fails.
		err := small.Tarball(t.Context(), url, func(r io.Reader) error { io.Copy(io.Discard, r); return nil })
		wantKind(t, err, TooLarge, 1)
		big := newClient(t, Options{Limits: Limits{Tarball: 100001}})
		if err := big.Tarball(t.Context(), url, func(r io.Reader) error { _, err := io.Copy(io.Discard, r); return err }); err != nil {
			t.Error(err)
		}
	}
}

// A tarball's reader begins again where a connection broke, unless it says that it cannot.
func TestTarballRetry(t *testing.T) {
	var asked atomic.Int32
	const whole = "HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\n0123456789"
	var answers []string
	base := serve(t, func(w http.ResponseWriter, r *http.Request) { raw(w, answers[asked.Add(1)-1], false) })
	c := newClient(t, Options{Retry: Retry{Attempts: 5}})
	calls, got := 0, ""
	read := func(r io.Reader) error {
		calls++
		b, err := io.ReadAll(r)
		got = string(b)
		return err
	}
	answers = []string{"", "HTTP/1.1 503 Busy\r\nContent-Length: 0\r\n\r\n", whole[:len(whole)-10], whole[:len(whole)-5], whole}
	if err := c.Tarball(t.Context(), base, read); err != nil || calls != 2 || got != "0123456789" {
		t.Errorf("%v, %d calls, %q", err, calls, got)
	}
	asked.Store(0)
	answers, calls = []string{whole[:len(whole)-5], whole}, 0
	once := errors.New("cannot begin again")
	err := c.Tarball(t.Context(), base, func(r io.Reader) error {
		if calls > 0 {
			return once
		}
		return read(r)
	})
	if err != once || calls != 1 {
		t.Errorf("%v, %d calls", err, calls)
	}
	asked.Store(0)
	answers = []string{whole[:len(whole)-5], whole[:len(whole)-1], whole[:len(whole)-9], whole[:len(whole)-5], whole[:len(whole)-5]}
	wantKind(t, c.Tarball(t.Context(), base, read), Truncated, 5)
	empty := serve(t, func(w http.ResponseWriter, r *http.Request) {})
	if err := c.Tarball(t.Context(), empty, read); err != nil || got != "" {
		t.Errorf("an empty file: %v %q", err, got)
	}
}

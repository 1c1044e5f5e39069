package lab

import (
	"bytes"
	"compress/gzip"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"net"
	"net/http"
	"strings"
	"time"
)

// A Match says which requests a fault is for. Empty fields match everything.
type Match struct {
	Endpoint Endpoint
	Name     string
	Version  string // version, tag or tarball's file name
}

func (m Match) matches(t target) bool {
	return (m.Endpoint == "" || m.Endpoint == t.kind) && (m.Name == "" || m.Name == t.name) && (m.Version == "" || m.Version == t.version)
}

// A Fault is a way in which the registry misbehaves. The functions below make them.
type Fault struct {
	match Match
	times int // how often it still strikes; negative for ever
	do    func(w http.ResponseWriter, r *http.Request, honest http.HandlerFunc)
}

// Misbehave makes matching requests meet a fault, for ever, or times times if that is positive. The latest call
// that matches wins. The function returned takes the fault away again.
func (s *Server) Misbehave(m Match, f Fault, times int) (restore func()) {
	if times <= 0 {
		times = -1
	}
	f.match, f.times = m, times
	s.mu.Lock()
	defer s.mu.Unlock()
	s.faults = append(s.faults, &f)
	return func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		f.times = 0
	}
}

// Behave takes all faults away.
func (s *Server) Behave() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.faults = nil
}

// fault is what a request meets; nil for none. The caller holds the lock.
func (s *Server) fault(t target) *Fault {
	for i := len(s.faults) - 1; i >= 0; i-- {
		f := s.faults[i]
		if f.times == 0 || !f.match.matches(t) {
			continue
		}
		if f.times > 0 {
			f.times--
		}
		return f
	}
	return nil
}

// Status answers with a status and npm's form of an error.
func Status(code int) Fault {
	return Fault{do: func(w http.ResponseWriter, _ *http.Request, _ http.HandlerFunc) {
		reply(w, code, object{"error": http.StatusText(code)})
	}}
}

// RetryAfter is 429 or 503 with a Retry-After header.
func RetryAfter(code int, seconds int) Fault {
	return Fault{do: func(w http.ResponseWriter, _ *http.Request, _ http.HandlerFunc) {
		w.Header().Set("Retry-After", fmt.Sprint(seconds))
		reply(w, code, object{"error": http.StatusText(code)})
	}}
}

// RequireToken answers 401 unless the request carries this bearer token.
func RequireToken(token string) Fault {
	return Fault{do: func(w http.ResponseWriter, r *http.Request, honest http.HandlerFunc) {
		if r.Header.Get("Authorization") != "Bearer "+token {
			w.Header().Set("WWW-Authenticate", "Bearer")
			reply(w, http.StatusUnauthorized, object{"error": "authentication required"})
			return
		}
		honest(w, r)
	}}
}

// Body answers 200 with these bytes.
func Body(contentType string, body []byte) Fault {
	return Fault{do: func(w http.ResponseWriter, _ *http.Request, _ http.HandlerFunc) {
		w.Header().Set("Content-Type", contentType)
		w.Write(body)
	}}
}

// Delay waits before it answers honestly.
func Delay(d time.Duration) Fault {
	return Fault{do: func(w http.ResponseWriter, r *http.Request, honest http.HandlerFunc) {
		select {
		case <-time.After(d):
			honest(w, r)
		case <-r.Context().Done():
		}
	}}
}

// Hang takes the request and never answers.
func Hang() Fault {
	return Fault{do: func(_ http.ResponseWriter, r *http.Request, _ http.HandlerFunc) { <-r.Context().Done() }}
}

// HangBody sends the header and half the body, and then nothing more.
func HangBody() Fault {
	return recorded(func(w http.ResponseWriter, r *http.Request, a *recorder) {
		a.head(w, len(a.body.Bytes()))
		w.Write(a.body.Bytes()[:a.body.Len()/2])
		http.NewResponseController(w).Flush() // fails only for a client that has gone
		<-r.Context().Done()
	})
}

// Drip sends the honest answer some bytes at a time.
func Drip(bytes int, every time.Duration) Fault {
	return recorded(func(w http.ResponseWriter, r *http.Request, a *recorder) {
		a.head(w, a.body.Len())
		ticker := time.NewTicker(every)
		defer ticker.Stop()
		for a.body.Len() > 0 {
			select {
			case <-ticker.C:
			case <-r.Context().Done():
				return
			}
			if _, err := w.Write(a.body.Next(bytes)); err != nil {
				return
			}
			http.NewResponseController(w).Flush() // as in HangBody
		}
	})
}

// Truncate announces the whole length and closes the connection after half the body.
func Truncate() Fault {
	return recorded(func(w http.ResponseWriter, r *http.Request, a *recorder) {
		a.head(w, a.body.Len())
		w.Write(a.body.Bytes()[:a.body.Len()/2])
		http.NewResponseController(w).Flush() // as in HangBody
		panic(http.ErrAbortHandler)
	})
}

// TruncateUnannounced ends the body early in a way that HTTP cannot show: complete chunks, half the JSON.
func TruncateUnannounced() Fault {
	return recorded(func(w http.ResponseWriter, _ *http.Request, a *recorder) {
		a.head(w, -1)
		w.Write(a.body.Bytes()[:a.body.Len()/2])
	})
}

// Reset closes the connection with a TCP reset before any answer.
func Reset() Fault {
	return Fault{do: func(w http.ResponseWriter, _ *http.Request, _ http.HandlerFunc) {
		conn, _, err := http.NewResponseController(w).Hijack()
		if err != nil {
			panic(http.ErrAbortHandler)
		}
		if c, ok := conn.(*countingConn); ok {
			if tcp, ok := c.Conn.(*net.TCPConn); ok {
				tcp.SetLinger(0) // makes the close below a reset; without it the connection is still closed
			}
		}
		conn.Close()
	}}
}

// Garbage answers with bytes that are no HTTP.
func Garbage() Fault {
	return Fault{do: func(w http.ResponseWriter, _ *http.Request, _ http.HandlerFunc) {
		conn, _, err := http.NewResponseController(w).Hijack()
		if err != nil {
			panic(http.ErrAbortHandler)
		}
		io.WriteString(conn, "\x00\xff\r\n\r\nthis is not HTTP")
		conn.Close()
	}}
}

// repeated answers 200 with prefix, then unit until about n bytes are sent, then suffix.
func repeated(prefix, unit, suffix string, n int64) Fault {
	return Fault{do: func(w http.ResponseWriter, _ *http.Request, _ http.HandlerFunc) {
		w.Header().Set("Content-Type", "application/json")
		io.WriteString(w, prefix)
		block := strings.Repeat(unit, max(1, 64<<10/len(unit)))
		for sent := int64(0); sent < n; sent += int64(len(block)) {
			if _, err := io.WriteString(w, block); err != nil {
				return
			}
		}
		io.WriteString(w, suffix)
	}}
}

// OverLong answers with about n bytes of valid JSON, chunked, so that no length warns of it.
func OverLong(n int64) Fault { return repeated(`{"padding":"`, "a", `"}`, n) }

// Endless never stops sending JSON.
func Endless() Fault { return repeated(`{"padding":"`, "a", "", 1<<62) }

// AnnouncedLength claims a body of n bytes and sends the honest one.
func AnnouncedLength(n int64) Fault {
	return recorded(func(w http.ResponseWriter, _ *http.Request, a *recorder) {
		a.head(w, int(n))
		w.Write(a.body.Bytes())
		http.NewResponseController(w).Flush() // as in HangBody
		panic(http.ErrAbortHandler)
	})
}

// ManyMembers answers with an object of about n bytes in small members.
func ManyMembers(n int64) Fault { return repeated(`{"a":[0`, `,{"b":1}`, `]}`, n) }

// DeepNesting answers with arrays nested to a depth.
func DeepNesting(depth int) Fault {
	return Body("application/json", []byte(`{"a":`+strings.Repeat("[", depth)+strings.Repeat("]", depth)+"}"))
}

// GzipBomb answers with n bytes of JSON compressed to about a thousandth.
func GzipBomb(n int64) Fault {
	return Fault{do: func(w http.ResponseWriter, _ *http.Request, _ http.HandlerFunc) {
		w.Header().Set("Content-Type", "application/json")
		w.Header().Set("Content-Encoding", "gzip")
		zw := gzip.NewWriter(w)
		defer zw.Close() // a client that has gone is no error here
		io.WriteString(zw, `{"padding":"`)
		block := bytes.Repeat([]byte(" "), 1<<20)
		for sent := int64(0); sent < n; sent += int64(len(block)) {
			if _, err := zw.Write(block); err != nil {
				return
			}
		}
		io.WriteString(zw, `"}`)
	}}
}

// BadGzip says that the body is compressed, and sends one that is not.
func BadGzip() Fault {
	return recorded(func(w http.ResponseWriter, _ *http.Request, a *recorder) {
		w.Header().Set("Content-Encoding", "gzip")
		a.head(w, -1)
		w.Write(a.body.Bytes())
	})
}

// RedirectLoop redirects for ever.
func RedirectLoop() Fault {
	return Fault{do: func(w http.ResponseWriter, r *http.Request, _ http.HandlerFunc) {
		http.Redirect(w, r, r.URL.RequestURI(), http.StatusFound)
	}}
}

// RedirectTo redirects to the same path at another origin, such as http://127.0.0.1:PORT.
func RedirectTo(origin string) Fault {
	return Fault{do: func(w http.ResponseWriter, r *http.Request, _ http.HandlerFunc) {
		http.Redirect(w, r, origin+r.URL.RequestURI(), http.StatusFound)
	}}
}

// Rewrite answers honestly, but for what f makes of the body.
func Rewrite(f func(body []byte) []byte) Fault {
	return recorded(func(w http.ResponseWriter, _ *http.Request, a *recorder) {
		body := f(a.body.Bytes())
		a.head(w, len(body))
		w.Write(body)
	})
}

// Edit answers honestly, but for what f does to the JSON object. Answers other than objects stay as they are.
func Edit(f func(map[string]any)) Fault {
	return Rewrite(func(body []byte) []byte {
		var v map[string]any
		if json.Unmarshal(body, &v) != nil || v == nil {
			return body
		}
		f(v)
		return marshal(v)
	})
}

// EditVersions is [Edit] for every version object, in a packument or alone.
func EditVersions(f func(version map[string]any)) Fault {
	return Edit(func(doc map[string]any) {
		versions, ok := doc["versions"].(map[string]any)
		if !ok {
			f(doc)
			return
		}
		for v := range maps.Values(versions) {
			if doc, ok := v.(map[string]any); ok {
				f(doc)
			}
		}
	})
}

// StripDist leaves members of dist out, such as "attestations" or "signatures", as some mirrors do.
func StripDist(members ...string) Fault {
	return EditVersions(func(doc map[string]any) {
		if dist, ok := doc["dist"].(map[string]any); ok {
			for _, m := range members {
				delete(dist, m)
			}
		}
	})
}

// DuplicateKey puts a second member of a name in front of the honest ones, with a value of JSON text, at the top level.
func DuplicateKey(name, value string) Fault {
	return Rewrite(func(body []byte) []byte {
		return append(fmt.Appendf(nil, "{%s:%s,", marshal(name), value), bytes.TrimPrefix(body, []byte("{"))...)
	})
}

// InvalidUTF8 puts bytes that are no UTF-8 into every string that is not a URL or a hash.
func InvalidUTF8() Fault { return hostileText("\xff\xfe\xc0\xaf") }

// Escapes puts terminal escapes, HTML and workflow commands into every string that is free text.
func Escapes() Fault { return hostileText(HostileText) }

// HostileText tries what a careless report would pass on: terminal escapes that clear the screen, set the title
// and turn text green, HTML, a carriage return over a verdict, right-to-left override, and a workflow command.
const HostileText = "\x1b[2J\x1b]0;owned\x07\x1b[32m<script>alert(1)</script>\rprovenance\u202e\n::error::injected\n|a|b|"

// freeText are the members that only people read.
var freeText = []string{"description", "readme", "homepage", "author", "deprecated", "license", "keywords", "gitHead", "_npmVersion", "_nodeVersion"}

func hostileText(text string) Fault {
	const mark = "assay-lab-hostile-text"
	quoted := []byte(text)
	if bytes.Equal([]byte(strings.ToValidUTF8(text, "")), quoted) {
		quoted = bytes.Trim(marshal(text), `"`)
	}
	return Rewrite(func(body []byte) []byte {
		var doc map[string]any
		if json.Unmarshal(body, &doc) != nil {
			return body
		}
		set := func(m map[string]any) {
			for _, member := range freeText {
				m[member] = mark
			}
			m["_npmUser"] = object{"name": mark, "email": mark}
			m["maintainers"] = []any{object{"name": mark, "email": mark}}
		}
		set(doc)
		if versions, ok := doc["versions"].(map[string]any); ok {
			for _, v := range versions {
				if m, ok := v.(map[string]any); ok {
					set(m)
				}
			}
		}
		return bytes.ReplaceAll(marshal(doc), []byte(mark), quoted)
	})
}

// A recorder keeps an honest answer.
type recorder struct {
	header http.Header
	status int
	body   bytes.Buffer
}

func (a *recorder) Header() http.Header         { return a.header }
func (a *recorder) WriteHeader(status int)      { a.status = status }
func (a *recorder) Write(b []byte) (int, error) { return a.body.Write(b) }

// head writes the recorded header with another length; negative for none.
func (a *recorder) head(w http.ResponseWriter, length int) {
	maps.Copy(w.Header(), a.header)
	w.Header().Del("Content-Length")
	w.Header().Del("ETag")
	if length >= 0 {
		w.Header().Set("Content-Length", fmt.Sprint(length))
	}
	w.WriteHeader(a.status)
}

// recorded makes a fault out of what is done with an honest, uncompressed answer.
func recorded(f func(w http.ResponseWriter, r *http.Request, a *recorder)) Fault {
	return Fault{do: func(w http.ResponseWriter, r *http.Request, honest http.HandlerFunc) {
		plain := r.Clone(r.Context())
		plain.Header.Del("Accept-Encoding")
		plain.Header.Del("If-None-Match")
		a := &recorder{header: http.Header{}, status: http.StatusOK}
		honest(a, plain)
		f(w, r, a)
	}}
}

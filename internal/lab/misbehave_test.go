package lab_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"assay/internal/lab"
)

// outcome is what a plain client sees.
type outcome struct {
	status int
	body   []byte
	err    error
}

func fetch(url string) outcome { return fetchWithin(time.Minute, url) }

func fetchWithin(d time.Duration, url string) outcome {
	ctx, cancel := context.WithTimeout(context.Background(), d)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, "GET", url, nil)
	if err != nil {
		return outcome{err: err}
	}
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		return outcome{err: err}
	}
	defer res.Body.Close()
	body, err := io.ReadAll(io.LimitReader(res.Body, 8<<20))
	return outcome{res.StatusCode, body, err}
}

func TestFaults(t *testing.T) {
	l := newLab(t)
	s := listen(t, l, lab.ServerOptions{})
	elsewhere := listen(t, l, lab.ServerOptions{})
	publish(t, l, lab.Release{Package: lab.Package{Name: "left", Version: "1.0.0"}, CI: lab.GitHub("acme/left")})
	tests := []struct {
		name  string
		fault lab.Fault
		ok    func(outcome) bool // nil: the client's patience ends
	}{
		{"status", lab.Status(500), func(o outcome) bool { return o.status == 500 }},
		{"retry after", lab.RetryAfter(503, 1), func(o outcome) bool { return o.status == 503 }},
		{"hang", lab.Hang(), nil},
		{"hang in the body", lab.HangBody(), nil},
		{"drip", lab.Drip(10, 20*time.Millisecond), nil},
		{"delay", lab.Delay(time.Millisecond), func(o outcome) bool { return o.err == nil && json.Valid(o.body) }},
		{"truncate", lab.Truncate(), func(o outcome) bool { return errors.Is(o.err, io.ErrUnexpectedEOF) }},
		{"truncate unannounced", lab.TruncateUnannounced(), func(o outcome) bool { return o.err == nil && !json.Valid(o.body) }},
		{"reset", lab.Reset(), func(o outcome) bool { return o.err != nil }},
		{"garbage", lab.Garbage(), func(o outcome) bool { return o.err != nil }},
		{"over-long", lab.OverLong(1 << 20), func(o outcome) bool { return len(o.body) > 1<<20 && json.Valid(o.body) }},
		{"endless", lab.Endless(), func(o outcome) bool { return len(o.body) == 8<<20 }},
		{"announced length", lab.AnnouncedLength(1 << 20), func(o outcome) bool { return errors.Is(o.err, io.ErrUnexpectedEOF) }},
		{"many members", lab.ManyMembers(1 << 20), func(o outcome) bool { return len(o.body) > 1<<20 && json.Valid(o.body) }},
		{"deep nesting", lab.DeepNesting(5000), func(o outcome) bool { return json.Valid(o.body) && bytes.Count(o.body, []byte("[")) == 5000 }},
		{"gzip bomb", lab.GzipBomb(4 << 20), func(o outcome) bool { return len(o.body) > 4<<20 }},
		{"bad gzip", lab.BadGzip(), func(o outcome) bool { return o.err != nil }},
		{"redirect loop", lab.RedirectLoop(), func(o outcome) bool { return o.err != nil && strings.Contains(o.err.Error(), "10 redirects") }},
		{"redirect elsewhere", lab.RedirectTo(elsewhere.Origin), func(o outcome) bool {
			return o.status == 200 && elsewhere.Count(lab.EndpointVersion) == 1
		}},
		{"strip", lab.StripDist("attestations", "signatures"), func(o outcome) bool {
			return !bytes.Contains(o.body, []byte("attestations")) && bytes.Contains(o.body, []byte("integrity"))
		}},
		{"duplicate key", lab.DuplicateKey("dist", `{"integrity":"sha512-AAAA"}`), func(o outcome) bool {
			return json.Valid(o.body) && bytes.Count(o.body, []byte(`"dist":`)) == 2
		}},
		{"invalid UTF-8", lab.InvalidUTF8(), func(o outcome) bool { return !utf8.Valid(o.body) && bytes.Contains(o.body, []byte("integrity")) }},
		{"escapes", lab.Escapes(), func(o outcome) bool { return json.Valid(o.body) && bytes.Contains(o.body, []byte(`\u001b[2J`)) }},
		{"token", lab.RequireToken("secret"), func(o outcome) bool { return o.status == 401 }},
		{"html", lab.Body("text/html", []byte("<html>")), func(o outcome) bool { return string(o.body) == "<html>" }},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			s.Behave()
			s.Misbehave(lab.Match{Endpoint: lab.EndpointVersion, Name: "left"}, tt.fault, 0)
			patience := time.Minute
			if tt.ok == nil {
				patience = 200 * time.Millisecond
				tt.ok = func(o outcome) bool { return errors.Is(o.err, context.DeadlineExceeded) }
			}
			if o := fetchWithin(patience, s.URL+"/left/1.0.0"); !tt.ok(o) {
				t.Errorf("a client sees %d, %v, %d bytes: %.300q", o.status, o.err, len(o.body), o.body)
			}
			if o := fetch(s.URL + "/-/npm/v1/keys"); o.status != 200 {
				t.Errorf("the fault strikes another request: %d", o.status)
			}
		})
	}
}

func TestFaultsEnd(t *testing.T) {
	l := newLab(t)
	s := listen(t, l, lab.ServerOptions{})
	publish(t, l, lab.Release{Package: lab.Package{Name: "left", Version: "1.0.0"}})
	restore := s.Misbehave(lab.Match{}, lab.Status(500), 0)
	s.Misbehave(lab.Match{Endpoint: lab.EndpointPackument}, lab.Status(503), 2)
	var got []int
	for range 3 {
		got = append(got, fetch(s.URL+"/left").status)
	}
	restore()
	if got = append(got, fetch(s.URL+"/left").status); got[0] != 503 || got[1] != 503 || got[2] != 500 || got[3] != 200 {
		t.Errorf("statuses %v, want 503 503 500 200", got)
	}
}

func TestLatency(t *testing.T) {
	l := newLab(t)
	s := listen(t, l, lab.ServerOptions{})
	s.SetLatency(30 * time.Millisecond)
	start := time.Now()
	fetch(s.URL + "/-/ping")
	if d := time.Since(start); d < 30*time.Millisecond {
		t.Errorf("answered after %v", d)
	}
}

func TestCloseEndsHangingRequests(t *testing.T) {
	l := newLab(t)
	s := listen(t, l, lab.ServerOptions{})
	s.Misbehave(lab.Match{}, lab.Hang(), 0)
	done := make(chan error, 1)
	go func() {
		res, err := http.Get(s.URL + "/-/ping")
		if err == nil {
			res.Body.Close()
		}
		done <- err
	}()
	for s.Traffic().Requests == 0 {
		time.Sleep(time.Millisecond)
	}
	s.Close()
	if err := <-done; err == nil {
		t.Error("a hanging request was answered")
	}
}

package publish

import (
	"context"
	"errors"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"assay/internal/npm"
	"assay/internal/registry"
)

// TestClient: what is tried again, what is not, and what an error says.
func TestClient(t *testing.T) {
	tests := []struct {
		name    string
		serve   func(n int64, w http.ResponseWriter, r *http.Request)
		tries   int64
		wantErr string
	}{
		{"at once", func(_ int64, w http.ResponseWriter, r *http.Request) { w.WriteHeader(201) }, 1, ""},
		{"third time", func(n int64, w http.ResponseWriter, r *http.Request) {
			if n < 3 {
				w.WriteHeader([]int{0, 408, 502}[n])
			}
		}, 3, ""},
		{"never", func(_ int64, w http.ResponseWriter, r *http.Request) { w.WriteHeader(503) }, 3, "the service answered 503"},
		{"no", func(_ int64, w http.ResponseWriter, r *http.Request) {
			w.WriteHeader(400)
			w.Write([]byte(`{"code":3,"message":"bad \u001b[2J\nthing"}`))
		}, 1, "the service answered 400: bad [2J thing"},
		{"slow", func(_ int64, w http.ResponseWriter, r *http.Request) { <-r.Context().Done() }, 3, "no answer within 50ms"},
		{"slow in the middle", func(_ int64, w http.ResponseWriter, r *http.Request) {
			w.Write([]byte("{"))
			http.NewResponseController(w).Flush()
			<-r.Context().Done()
		}, 3, "no answer within 50ms"},
		{"cut", func(_ int64, w http.ResponseWriter, r *http.Request) { panic(http.ErrAbortHandler) }, 3, "EOF"},
		{"elsewhere", func(_ int64, w http.ResponseWriter, r *http.Request) {
			http.Redirect(w, r, "http://127.0.0.1:1/", http.StatusFound)
		}, 1, "not followed"},
		{"endless", func(_ int64, w http.ResponseWriter, r *http.Request) { w.Write(make([]byte, maxAnswer+1)) }, 1, "larger than"},
		{"repeats the token", func(_ int64, w http.ResponseWriter, r *http.Request) {
			w.WriteHeader(401)
			w.Write([]byte(`{"error":"not ` + r.Header.Get("Authorization") + `"}`))
		}, 1, "[hidden]"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			var n atomic.Int64
			s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { tt.serve(n.Add(1), w, r) }))
			defer s.Close()
			timeout := 30 * time.Second
			if strings.HasPrefix(tt.name, "slow") {
				timeout = 50 * time.Millisecond
			}
			c, err := newClient(HTTPOptions{Timeout: timeout, Wait: time.Millisecond})
			if err != nil {
				t.Fatal(err)
			}
			_, err = c.do(context.Background(), call{service: "the service", op: "asking", method: "GET", url: s.URL + "/x?token=inTheQuery", auth: NewSecret("Bearer theSecretToken")})
			checkError(t, tt.name, err, tt.wantErr)
			if err != nil && (strings.Contains(err.Error(), "theSecret") || strings.Contains(err.Error(), "inTheQuery") || !strings.Contains(err.Error(), s.URL+"/x")) {
				t.Errorf("%v", err)
			}
			if n.Load() != tt.tries {
				t.Errorf("%d attempts, want %d", n.Load(), tt.tries)
			}
		})
	}
}

func TestServiceURL(t *testing.T) {
	for _, good := range []string{"https://fulcio.example", "http://127.0.0.1:5555/x", "http://[::1]:1", "http://localhost:80"} {
		if err := checkServiceURL("x", good); err != nil {
			t.Errorf("%s: %v", good, err)
		}
	}
	for _, bad := range []string{"http://fulcio.example", "http://localhost.example", "ftp://x", "https://u:p@x", "", "https://", "://"} {
		if err := checkServiceURL("x", bad); err == nil || strings.Contains(err.Error(), "u:p") {
			t.Errorf("%q: %v", bad, err)
		}
	}
}

// TestClearText: no token goes over http to another machine, whatever the caller checked.
func TestClearText(t *testing.T) {
	config, _, err := npm.ParseConfig(nil, nil)
	if err != nil {
		t.Fatal(err)
	}
	j, err := New(Options{Registry: "http://registry.example", HTTP: HTTPOptions{Config: config, Wait: time.Millisecond}})
	if err != nil {
		t.Fatal(err)
	}
	sent := 0
	j.c.registry = &http.Client{Transport: roundTripper(func(*http.Request) (*http.Response, error) {
		sent++
		return nil, errors.New("sent")
	})}
	p := &Package{Manifest: &Manifest{Name: "left", Version: "1.0.0"}}
	cred := &credential{authorization: NewSecret("Bearer theSecretToken"), http: j.c.registry}
	_, err = j.put(context.Background(), p, []byte("{}"), cred)
	checkError(t, "put", err, "https only")
	checkError(t, "public", j.public(context.Background(), "left", cred), "https only")
	if sent > 0 {
		t.Errorf("%d requests were sent", sent)
	}
}

type roundTripper func(*http.Request) (*http.Response, error)

func (f roundTripper) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }

type packument string

func (p packument) Packument(context.Context, string, string) (*registry.Response, error) {
	return &registry.Response{Body: []byte(p)}, nil
}

func (p packument) Document(context.Context, string, npm.ID) (*registry.Response, error) {
	return nil, errors.New("not asked for")
}

func TestLook(t *testing.T) {
	tests := []struct{ name, body, wantErr string }{
		{"new", `{"name":"left","versions":{"1.0.0":{}},"time":{"created":"x","1.0.0":"x"}}`, ""},
		{"there", `{"name":"left","versions":{"1.1.0":{}},"time":{"1.1.0":"x"}}`, ""},
		{"unpublished", `{"name":"left","versions":{"1.0.0":{}},"time":{"1.0.0":"x","1.1.0":"x"}}`, "left@1.1.0 was published before and is gone"},
		{"another package", `{"name":"right","versions":{}}`, "not the JSON that was expected"},
		{"no JSON", `<html>`, "not the JSON that was expected"},
	}
	for _, tt := range tests {
		j, err := New(Options{Registry: "https://r.example", Reader: packument(tt.body)})
		if err != nil {
			t.Fatal(err)
		}
		_, err = j.look(context.Background(), npm.ID{Name: "left", Version: "1.1.0"})
		checkError(t, tt.name, err, tt.wantErr)
	}
}

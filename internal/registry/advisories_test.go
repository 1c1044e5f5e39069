package registry

import (
	"encoding/json"
	"io"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
)

func TestAdvisories(t *testing.T) {
	for _, base := range []string{"", "/npm/"} {
		var body, path, contentType, auth string
		url := serve(t, func(w http.ResponseWriter, r *http.Request) {
			b, _ := io.ReadAll(r.Body)
			body, path, contentType, auth = string(b), r.Method+" "+r.URL.Path, r.Header.Get("Content-Type"), r.Header.Get("Authorization")
			io.WriteString(w, `{"left":[{"id":1}]}`)
		})
		c := newClient(t, Options{Config: userConfig(t, strings.TrimPrefix(url, "http:")+strings.TrimRight(base, "/")+"/:_authToken=secret\n")})
		resp, err := c.Advisories(t.Context(), url+base, map[string][]string{"left": {"1.0.0", "1.1.0"}, "@a/b": {"2.0.0"}})
		if err != nil || string(resp.Body) != `{"left":[{"id":1}]}` {
			t.Fatalf("%v, %+v", err, resp)
		}
		var asked map[string][]string
		if json.Unmarshal([]byte(body), &asked) != nil || len(asked) != 2 || len(asked["left"]) != 2 || contentType != "application/json" {
			t.Errorf("asked %s (%s)", body, contentType)
		}
		if want := "POST " + strings.TrimRight(base, "/") + "/-/npm/v1/security/advisories/bulk"; path != want {
			t.Errorf("%s, want %s", path, want)
		}
		if auth != "Bearer secret" {
			t.Errorf("authorization %q", auth)
		}
	}
}

// The question goes to the registry that was named, whatever it answers, and a broken answer is asked for again with all of it.
func TestAdvisoriesHostile(t *testing.T) {
	versions := map[string][]string{"private-name": {"1.0.0"}}
	elsewhere := serve(t, func(w http.ResponseWriter, r *http.Request) { t.Errorf("%s was asked of elsewhere", r.URL) })
	for _, status := range []int{301, 302, 303, 307, 308} {
		base := serve(t, func(w http.ResponseWriter, r *http.Request) { http.Redirect(w, r, elsewhere+"/x", status) })
		_, err := newClient(t, Options{}).Advisories(t.Context(), base, versions)
		wantKind(t, err, Redirect, 1)
	}
	for status, kind := range map[int]Kind{404: NotFound, 403: Unauthorized, 400: Status} {
		base := serve(t, func(w http.ResponseWriter, r *http.Request) { w.WriteHeader(status) })
		_, err := newClient(t, Options{}).Advisories(t.Context(), base, versions)
		wantKind(t, err, kind, 1)
	}
	for answer, kind := range map[string]Kind{"<html>": NotJSON, `{"a":"` + strings.Repeat("x", 5<<20) + `"}`: TooLarge, strings.Repeat("[", 200) + strings.Repeat("]", 200): TooDeep} {
		base := serve(t, func(w http.ResponseWriter, r *http.Request) { io.WriteString(w, answer) })
		_, err := newClient(t, Options{}).Advisories(t.Context(), base, versions)
		wantKind(t, err, kind, 1)
	}
	var asked atomic.Int32
	base := serve(t, func(w http.ResponseWriter, r *http.Request) {
		b, _ := io.ReadAll(r.Body)
		if string(b) != `{"private-name":["1.0.0"]}` {
			t.Errorf("asked %s", b)
		}
		if asked.Add(1) < 3 {
			w.WriteHeader(503)
			return
		}
		io.WriteString(w, `{}`)
	})
	if _, err := newClient(t, Options{}).Advisories(t.Context(), base, versions); err != nil || asked.Load() != 3 {
		t.Errorf("%v after %d requests", err, asked.Load())
	}
	c := newClient(t, Options{Transport: forbidden{t}})
	for _, bad := range []map[string][]string{{"../x": {"1.0.0"}}, {"a": {"latest"}}, {"a": {"1.0.0\n"}}} {
		_, err := c.Advisories(t.Context(), "https://registry.example", bad)
		wantKind(t, err, InvalidURL, 0)
	}
	_, err := c.Advisories(t.Context(), "ftp://x", versions)
	wantKind(t, err, InvalidURL, 0)
	_, err = newClient(t, Options{Offline: true, Transport: forbidden{t}}).Advisories(t.Context(), "https://registry.example", versions)
	wantKind(t, err, Offline, 0)
}

package lab_test

import (
	"bytes"
	"compress/gzip"
	"crypto/ecdsa"
	"crypto/sha256"
	"crypto/sha512"
	"encoding/base64"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"assay/internal/lab"
)

func listen(t testing.TB, l *lab.Lab, o lab.ServerOptions) *lab.Server {
	t.Helper()
	s, err := l.Listen(o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	return s
}

// get fetches a URL and returns status, header and body.
func get(t testing.TB, url string, header ...string) (int, http.Header, []byte) {
	t.Helper()
	req, err := http.NewRequest("GET", url, nil)
	if err != nil {
		t.Fatal(err)
	}
	for i := 0; i < len(header); i += 2 {
		req.Header.Set(header[i], header[i+1])
	}
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	body, err := io.ReadAll(res.Body)
	if err != nil {
		t.Fatal(err)
	}
	return res.StatusCode, res.Header, body
}

func decode(t testing.TB, body []byte) map[string]any {
	t.Helper()
	var v map[string]any
	if err := json.Unmarshal(body, &v); err != nil {
		t.Fatalf("%v in %.200q", err, body)
	}
	return v
}

func publish(t testing.TB, l *lab.Lab, r lab.Release) *lab.Published {
	t.Helper()
	p, err := l.Publish(r)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func TestListenRefusesOtherAddresses(t *testing.T) {
	l := newLab(t)
	for _, addr := range []string{"0.0.0.0:0", ":0", "[::]:0", "192.0.2.1:80", "example.invalid:80"} {
		if s, err := l.Listen(lab.ServerOptions{Addr: addr}); err == nil {
			s.Close()
			t.Errorf("it listens on %s", addr)
		} else if addr == "0.0.0.0:0" && !errors.Is(err, lab.ErrNotLoopback) {
			t.Errorf("error for %s: %v", addr, err)
		}
	}
	listen(t, l, lab.ServerOptions{Addr: "localhost:0"})
}

func TestRegistryAnswers(t *testing.T) {
	for _, path := range []string{"", "/npm"} {
		t.Run("at "+path, func(t *testing.T) {
			l := newLab(t)
			s := listen(t, l, lab.ServerOptions{Path: path})
			p := publish(t, l, lab.Release{Package: lab.Package{Name: "@acme/widget", Version: "1.0.0"}, CI: lab.GitHub("acme/widget")})
			publish(t, l, lab.Release{Package: lab.Package{Name: "left", Version: "2.0.0"}})
			tests := []struct {
				url    string
				status int
				want   string // substring of the body
			}{
				{s.URL + "/@acme%2fwidget", 200, `"time":{`},
				{s.URL + "/@acme%2Fwidget", 200, `"time":{`},
				{s.URL + "/@acme/widget", 200, `"time":{`},
				{s.URL + "/%40acme%2fwidget", 200, `"time":{`},
				{s.URL + "/@acme%2fwidget/1.0.0", 200, `"_id":"@acme/widget@1.0.0"`},
				{s.URL + "/@acme/widget/1.0.0", 200, `"_id":"@acme/widget@1.0.0"`},
				{s.URL + "/@acme%2fwidget/latest", 200, `"tarball":"` + s.URL + `/@acme/widget/-/widget-1.0.0.tgz"`},
				{s.URL + "/@acme%2fwidget/9.9.9", 404, `"error"`},
				{s.URL + "/left/2.0.0", 200, `"signatures":[{"keyid":"SHA256:`},
				{s.URL + "/nothing", 404, `{"error":"Not found"}`},
				{s.Origin + "/-/npm/v1/attestations/@acme%2fwidget@1.0.0", 200, `{"attestations":[{"predicateType":"https://github.com/npm/`},
				{s.Origin + "/-/npm/v1/attestations/@acme/widget@1.0.0", 200, `{"attestations":[`},
				{s.URL + "/-/npm/v1/attestations/@acme%2fwidget@1.0.0", 200, `{"attestations":[`},
				{s.Origin + "/-/npm/v1/attestations/left@2.0.0", 404, `"error"`},
				{s.URL + "/-/npm/v1/keys", 200, `"keytype":"ecdsa-sha2-nistp256"`},
				{s.URL + "/-/package/@acme%2fwidget/dist-tags", 200, `{"latest":"1.0.0"}`},
				{s.URL + "/-/package/left/visibility", 200, `{"public":true}`},
				{s.URL + "/-/package/none/visibility", 404, `"error"`},
				{s.URL + "/-/ping", 200, `{}`},
				{s.URL + "/-/whoami", 200, `"lab"`},
				{s.URL + "/-/v1/search?text=wid", 200, `"@acme/widget"`},
				{s.URL + "/-/nonsense", 404, `"error"`},
			}
			for _, tt := range tests {
				status, _, body := get(t, tt.url)
				if status != tt.status || !strings.Contains(string(body), tt.want) {
					t.Errorf("GET %s: %d %.300s, want %d with %s", tt.url, status, body, tt.status, tt.want)
				}
			}
			_, _, tarball := get(t, s.URL+"/@acme/widget/-/widget-1.0.0.tgz")
			if !bytes.Equal(tarball, p.Tarball) {
				t.Error("another tarball than the published one")
			}
			doc := decode(t, p.Document)
			if got := doc["dist"].(map[string]any)["attestations"].(map[string]any)["url"]; got != s.URL+"/-/npm/v1/attestations/@acme%2fwidget@1.0.0" {
				t.Errorf("attestations are announced at %v", got)
			}
		})
	}
}

func TestAbbreviatedAndCaching(t *testing.T) {
	l := newLab(t)
	s := listen(t, l, lab.ServerOptions{})
	publish(t, l, lab.Release{Package: lab.Package{Name: "left", Version: "1.0.0", Manifest: map[string]any{"scripts": map[string]any{"postinstall": "x"}}}})
	status, h, body := get(t, s.URL+"/left", "Accept", "application/vnd.npm.install-v1+json; q=1.0, application/json; q=0.8, */*")
	doc := decode(t, body)
	version := doc["versions"].(map[string]any)["1.0.0"].(map[string]any)
	if status != 200 || h.Get("Content-Type") != "application/vnd.npm.install-v1+json" || doc["time"] != nil || version["_npmUser"] != nil || version["hasInstallScript"] != true {
		t.Errorf("abbreviated form: %d %s %s", status, h, body)
	}
	if status, _, body := get(t, s.URL+"/left", "Accept", "application/vnd.npm.install-v1+json", "If-None-Match", h.Get("ETag")); status != 304 || len(body) != 0 {
		t.Errorf("with the ETag: %d and %d bytes", status, len(body))
	}
	if !s.Requests()[1].Cached || s.Count(lab.EndpointAbbreviated) != 2 {
		t.Errorf("requests: %+v", s.Requests())
	}
	publish(t, l, lab.Release{Package: lab.Package{Name: "left", Version: "1.1.0"}})
	if status, _, body := get(t, s.URL+"/left", "If-None-Match", h.Get("ETag")); status != 200 || !strings.Contains(string(body), "1.1.0") {
		t.Errorf("after another publish: %d %s", status, body)
	}
	if _, _, body := get(t, s.URL+"/left"); !bytes.Equal(body, l.Packument("left")) || l.Packument("none") != nil {
		t.Error("Packument is not what is served")
	}
	if tr := s.Traffic(); tr.Requests != 4 || tr.Sent < 1000 || tr.Received < 100 {
		t.Errorf("traffic: %+v", tr)
	}
	s.ResetTraffic()
	if tr := s.Traffic(); tr != (lab.Traffic{}) {
		t.Errorf("traffic after the reset: %+v", tr)
	}
}

// TestSignature checks the registry signature by the text of npm's documentation: ECDSA over name@version:integrity.
func TestSignature(t *testing.T) {
	l := newLab(t)
	p := publish(t, l, lab.Release{Package: lab.Package{Name: "@acme/widget", Version: "1.0.0"}})
	dist := decode(t, p.Document)["dist"].(map[string]any)
	sum := sha512.Sum512(p.Tarball)
	integrity := "sha512-" + base64.StdEncoding.EncodeToString(sum[:])
	if dist["integrity"] != integrity {
		t.Fatalf("integrity %v, want %s", dist["integrity"], integrity)
	}
	sig := dist["signatures"].([]any)[0].(map[string]any)
	raw, err := base64.StdEncoding.DecodeString(sig["sig"].(string))
	if err != nil {
		t.Fatal(err)
	}
	digest := sha256.Sum256([]byte("@acme/widget@1.0.0:" + integrity))
	if sig["keyid"] != l.Key.ID || !ecdsa.VerifyASN1(parseKey(t, l.Key.SPKI()).(*ecdsa.PublicKey), digest[:], raw) {
		t.Error("the registry signature does not verify")
	}
}

func TestChangeStripUnpublish(t *testing.T) {
	l := newLab(t)
	s := listen(t, l, lab.ServerOptions{})
	publish(t, l, lab.Release{Package: lab.Package{Name: "left", Version: "1.0.0"}, CI: lab.GitHub("acme/left")})
	publish(t, l, lab.Release{Package: lab.Package{Name: "left", Version: "1.1.0"}, CI: lab.GitHub("acme/left")})
	if err := l.Strip("left", "1.1.0"); err != nil {
		t.Fatal(err)
	}
	if status, _, _ := get(t, s.URL+"/-/npm/v1/attestations/left@1.1.0"); status != 404 {
		t.Errorf("stripped attestations: %d", status)
	}
	if _, _, body := get(t, s.URL+"/left/1.1.0"); strings.Contains(string(body), "attestations") {
		t.Error("stripped attestations are announced")
	}
	other := l.Lookup("left", "1.0.0").List
	if err := l.Change("left", "1.1.0", func(map[string]any, []lab.Attestation) []lab.Attestation { return other }); err != nil {
		t.Fatal(err)
	}
	_, _, a := get(t, s.URL+"/-/npm/v1/attestations/left@1.0.0")
	if _, _, b := get(t, s.URL+"/-/npm/v1/attestations/left@1.1.0"); !bytes.Equal(a, b) {
		t.Error("another version's attestations are not served as told")
	}
	l.Unpublish("left", "1.1.0")
	if _, _, body := get(t, s.URL+"/-/package/left/dist-tags"); string(body) != `{"latest":"1.0.0"}` {
		t.Errorf("tags after an unpublish: %s", body)
	}
	l.Unpublish("left", "1.0.0")
	if status, _, _ := get(t, s.URL+"/left"); status != 404 {
		t.Errorf("unpublished package: %d", status)
	}
	if err := l.Strip("left", "1.0.0"); err == nil {
		t.Error("what is not there can be stripped")
	}
}

func TestAdvisories(t *testing.T) {
	l := newLab(t)
	s := listen(t, l, lab.ServerOptions{})
	l.Advise("left", "<2.0.0", "critical", "malware")
	var body bytes.Buffer
	zw := gzip.NewWriter(&body)
	io.WriteString(zw, `{"left":["1.0.0"],"right":["1.0.0"]}`)
	zw.Close()
	req, _ := http.NewRequest("POST", s.URL+"/-/npm/v1/security/advisories/bulk", &body)
	req.Header.Set("Content-Encoding", "gzip")
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	got, _ := io.ReadAll(res.Body)
	if !strings.Contains(string(got), `"vulnerable_versions":"<2.0.0"`) || strings.Contains(string(got), "right") {
		t.Errorf("advisories: %s", got)
	}
}

func TestGenerate(t *testing.T) {
	l := newLab(t)
	s := listen(t, l, lab.ServerOptions{})
	start := time.Now()
	w, err := l.Generate(lab.WorldOptions{Packages: 150, Attested: 30, Direct: 10})
	if err != nil {
		t.Fatal(err)
	}
	s.Warm()
	t.Logf("150 packages in %v", time.Since(start))
	attested, reached := 0, map[string]bool{}
	for name := range w.Dependencies() {
		reached[name] = true
	}
	for _, p := range w.Packages {
		if p.Attestations != nil {
			attested++
		}
		if deps, ok := p.Manifest["dependencies"].(map[string]any); ok {
			for name := range deps {
				reached[name] = true
			}
		}
	}
	if attested != 30 || len(reached) != 150 {
		t.Errorf("%d attested and %d reached, want 30 and 150", attested, len(reached))
	}
	dir := t.TempDir()
	if err := w.WriteProject(dir, s.URL, true); err != nil {
		t.Fatal(err)
	}
	lock := decode(t, w.Lockfile(s.URL))
	if n := len(lock["packages"].(map[string]any)); n != 151 {
		t.Errorf("%d entries in the lockfile", n)
	}
	_, _, body := get(t, s.URL+"/"+strings.Replace(w.Packages[0].Name, "/", "%2f", 1))
	if n := len(decode(t, body)["versions"].(map[string]any)); n < 1 {
		t.Errorf("a packument with %d versions", n)
	}
}

package lab_test

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"io"
	"net/http"
	"strings"
	"testing"

	"github.com/sigstore/sigstore-go/pkg/verify"

	"assay/internal/lab"
)

// upload publishes as npm does, with a bundle if it is not empty.
func upload(t *testing.T, s *lab.Server, name, version string, manifest map[string]any, tarball []byte, bundle string) (int, string) {
	t.Helper()
	attachments := map[string]any{name + "-" + version + ".tgz": map[string]any{
		"content_type": "application/octet-stream", "data": base64.StdEncoding.EncodeToString(tarball), "length": len(tarball)}}
	if bundle != "" {
		attachments[name+"-"+version+".sigstore"] = map[string]any{"content_type": lab.MediaTypeV03, "data": bundle, "length": len(bundle)}
	}
	manifest["name"], manifest["version"] = name, version
	body, err := json.Marshal(map[string]any{
		"_id": name, "name": name, "dist-tags": map[string]any{"latest": version}, "versions": map[string]any{version: manifest},
		"access": "public", "_attachments": attachments,
	})
	if err != nil {
		t.Fatal(err)
	}
	req, err := http.NewRequest("PUT", s.URL+"/"+strings.Replace(name, "/", "%2f", 1), bytes.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Authorization", "Bearer lab")
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	answer, err := io.ReadAll(res.Body)
	if err != nil {
		t.Fatal(err)
	}
	return res.StatusCode, string(answer)
}

func TestPut(t *testing.T) {
	l := newLab(t)
	s := listen(t, l, lab.ServerOptions{})
	// A release elsewhere makes the tarball and the provenance; what is under test is the upload of both.
	elsewhere := l.Stranger()
	made := func(ci *lab.GitHubRun) (tarball []byte, bundle string) {
		p := publish(t, elsewhere, lab.Release{Package: lab.Package{Name: "@acme/widget", Version: "1.0.0"}})
		signed, err := l.Sign(lab.Signing{Statement: ci.Statement("@acme/widget", "1.0.0", p.SHA512[:]), Identity: ci.Identity()})
		if err != nil {
			t.Fatal(err)
		}
		return p.Tarball, string(signed.JSON)
	}
	github := map[string]any{"repository": map[string]any{"type": "git", "url": "git+https://github.com/acme/widget.git"}}
	private := lab.GitHub("acme/widget")
	private.Visibility = "private"
	hosted := lab.GitHub("acme/widget")
	hosted.Runner = "self-hosted"
	tests := []struct {
		name     string
		manifest map[string]any
		ci       *lab.GitHubRun
		status   int
		want     string
	}{
		{"other repository", map[string]any{"repository": "https://github.com/acme/other"}, lab.GitHub("acme/widget"), 422, `\"repository.url\" is \"https://github.com/acme/other\", expected to match \"https://github.com/acme/widget\"`},
		{"private", github, private, 422, `visibility: \"private\"`},
		{"self-hosted", github, hosted, 422, "runner environment"},
		{"good", github, lab.GitHub("acme/widget"), 201, "ok"},
		{"again", github, lab.GitHub("acme/widget"), 403, "cannot publish over"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			tarball, bundle := made(tt.ci)
			status, answer := upload(t, s, "@acme/widget", "1.0.0", tt.manifest, tarball, bundle)
			if status != tt.status || !strings.Contains(answer, tt.want) {
				t.Errorf("%d %s, want %d with %s", status, answer, tt.status, tt.want)
			}
		})
	}
	p := l.Lookup("@acme/widget", "1.0.0")
	checkErr(t, verifyKey(t, l, l.Key, p.Publish.JSON, p.SHA512[:]), "")
	checkErr(t, verifyCertificate(t, l, p.List[1].Bundle, verify.WithArtifactDigest("sha512", p.SHA512[:])), "")
	if _, _, body := get(t, s.URL+"/@acme%2fwidget/1.0.0"); !strings.Contains(string(body), "https://slsa.dev/provenance/v1") {
		t.Errorf("the uploaded provenance is not announced: %s", body)
	}
}

package publish

import (
	"bytes"
	"context"
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"reflect"
	"runtime"
	"strings"
	"testing"
	"unicode/utf16"

	"assay/internal/npm"
)

func packed(t *testing.T, files map[string]string) (dir string, p *Package) {
	t.Helper()
	for _, program := range []string{"npm", "git"} {
		if _, err := exec.LookPath(program); err != nil {
			t.Skip(program + " is not installed")
		}
	}
	dir = t.TempDir()
	for name, text := range files {
		if err := os.MkdirAll(filepath.Dir(filepath.Join(dir, name)), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	m, err := ReadManifest([]byte(files["package.json"]))
	if err != nil {
		t.Fatal(err)
	}
	var out bytes.Buffer
	data, err := Pack(context.Background(), dir, m, npmEnvironment(t), &out)
	if err != nil {
		t.Fatalf("%v\n%s", err, &out)
	}
	if p, err = ReadPackage(data); err != nil {
		t.Fatal(err)
	}
	return dir, p
}

func npmEnvironment(t *testing.T) []string {
	return []string{"PATH=" + os.Getenv("PATH"), "HOME=" + t.TempDir(), "npm_config_cache=" + t.TempDir(), "npm_config_update_notifier=false",
		"NPM_ID_TOKEN=secret", "NODE_AUTH_TOKEN=secret", "GITHUB_ACTIONS=true", "HTTP_PROXY=http://127.0.0.1:1", "HTTPS_PROXY=http://127.0.0.1:1"}
}

// TestDocumentIsNPMs compares the document with what npm publish sends for the directory.
func TestDocumentIsNPMs(t *testing.T) {
	dir, p := packed(t, map[string]string{
		"package.json": `{"name":"@acme/widget","version":"v1.2.3+b.7","description":"ein Gerät \u2028 \ud83d\udd27","repository":"github:acme/widget",
 "bin":"./cli.js","author":"Ann <ann@example.com> (https://example.com)","scripts":{"prepublishOnly":"echo made > made.js","prepack":"echo {noise}","install":"node-gyp rebuild"},
 "keywords":"a, b","bugs":"https://example.com","dependencies":{"left":"1"},"publishConfig":{"access":"public","registry":"http://127.0.0.1:1/","@acme:registry":"http://127.0.0.1:1/"}}`,
		"cli.js": "#!/usr/bin/env node\n", "README.md": "# x\n\U0001f527", "AUTHORS": "Bob <bob@example.com>\n",
	})
	if p.ID().String() != "@acme/widget@1.2.3" {
		t.Fatalf("%s", p.ID())
	}
	const registry = "https://npm.example.com/path"
	d, err := NewDocument(context.Background(), p, DocumentOptions{Registry: registry, Tag: "next", Environ: npmEnvironment(t)})
	if err != nil {
		t.Fatal(err)
	}
	bundle := []byte(`{"mediaType":"application/x","text":"<ü\ud83d\udd27` + "\U0001f527" + `>"}`)
	body, err := d.With(bundle)
	if err != nil {
		t.Fatal(err)
	}

	var want []byte
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Method == http.MethodPut {
			want, _ = io.ReadAll(r.Body)
		} else {
			w.WriteHeader(404)
		}
		io.WriteString(w, "{}")
	}))
	defer s.Close()
	host := strings.TrimPrefix(s.URL, "http:")
	cmd := exec.Command("npm", "publish", "--registry="+s.URL+"/path/", "--@acme:registry="+s.URL+"/path/", "--"+host+"/path/:_authToken=x", "--tag=next", "--ignore-scripts")
	cmd.Dir, cmd.Env = dir, []string{"PATH=" + os.Getenv("PATH"), "HOME=" + t.TempDir(), "npm_config_cache=" + t.TempDir()}
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	var got, npms map[string]any
	if err := json.Unmarshal(body, &got); err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(bytes.ReplaceAll(want, []byte(s.URL), []byte("http://npm.example.com")), &npms); err != nil {
		t.Fatal(err)
	}
	attachments := got["_attachments"].(map[string]any)
	att := attachments["@acme/widget-1.2.3.sigstore"].(map[string]any)
	if att["content_type"] != "application/x" || att["data"] != string(bundle) || att["length"] != float64(len(utf16.Encode([]rune(string(bundle))))) {
		t.Errorf("attachment: %v", att)
	}
	delete(attachments, "@acme/widget-1.2.3.sigstore")
	if !reflect.DeepEqual(got, npms) {
		a, _ := json.MarshalIndent(got, "", " ")
		b, _ := json.MarshalIndent(npms, "", " ")
		t.Errorf("got %s\nnpm sends %s", a, b)
	}
	// The top level keeps npm's order.
	if i, j := bytes.Index(body, []byte(`"dist-tags"`)), bytes.Index(body, []byte(`"_attachments"`)); i < 0 || j < i {
		t.Error("the order is not npm's")
	}
}

// TestDocumentRefuses: a document that is not about the tarball is not used.
func TestDocumentRefuses(t *testing.T) {
	_, p := packed(t, map[string]string{"package.json": `{"name":"left","version":"1.0.0"}`})
	body, base, err := recordPublish(context.Background(), p, DocumentOptions{Environ: npmEnvironment(t)})
	if err != nil {
		t.Fatal(err)
	}
	o := DocumentOptions{Registry: "https://r.example"}
	if _, err := readDocument(body, p, o, base); err != nil {
		t.Fatal(err)
	}
	for _, change := range [][2]string{
		{`"name":"left"`, `"name":"right"`}, {`"1.0.0":{`, `"1.0.1":{`}, {p.Integrity(), "sha512-AAAA"}, {`"data":"H4sI`, `"data":"AAAA`},
		{base, "http://elsewhere/"}, {`"versions"`, `"version"`}, {`"_attachments":{`, `"_attachments":{"x":{},`}, {`}`, ``},
		{`"latest":`, `"beta":`}, {`"latest":"1.0.0"`, `"latest":"1.0.0","beta":"1.0.0"`}, {`"dist-tags"`, `"dist-tag"`}, {`{"_id":"left"`, `{"_id":"right"`},
		{`{"_id":"left"`, `{"readme":"","_id":"left"`}, {`{"_id":"left"`, `{"_id":"left","access":"public"`}, {`{"_id":"left"`, `{"_id":"left","_id":"left"`},
		{`"version":"1.0.0"`, `"version":"1.0.0","deprecated":"use right"`}, {`"_id":"left@1.0.0"`, `"_id":"left@1.0.1"`},
	} {
		if !bytes.Contains(body, []byte(change[0])) {
			t.Errorf("%q is not in the document", change[0])
		}
		if _, err := readDocument(bytes.ReplaceAll(body, []byte(change[0]), []byte(change[1])), p, o, base); err == nil {
			t.Errorf("%q in place of %q is taken", change[1], change[0])
		}
	}
}

func TestClean(t *testing.T) {
	got := Clean([]string{"PATH=/bin", "NODE_AUTH_TOKEN=x", "ACTIONS_ID_TOKEN_REQUEST_TOKEN=x", "SIGSTORE_ID_TOKEN=x", "npm_config_//r.example/:_authToken=x",
		"NPM_CONFIG__AUTH=x", "npm_config_otp=1", "npm_config_registry=https://r.example", "CI=true"})
	if want := []string{"PATH=/bin", "npm_config_registry=https://r.example", "CI=true"}; !reflect.DeepEqual(got, want) {
		t.Errorf("%v", got)
	}
}

// TestBuildLeavesProcess: a build that ends well has worked, also where something it started goes on.
func TestBuildLeavesProcess(t *testing.T) {
	if testing.Short() || runtime.GOOS == "windows" {
		t.Skip("waits five seconds for the process that is left, and wants a shell")
	}
	t.Parallel()
	var out bytes.Buffer
	if err := Build(context.Background(), t.TempDir(), "sleep 7 & echo built", []string{"PATH=" + os.Getenv("PATH")}, &out); err != nil {
		t.Fatal(err)
	}
	if text := out.String(); !strings.Contains(text, "built") || !strings.Contains(text, "left a process running") {
		t.Errorf("%q", text)
	}
	if err := Build(context.Background(), t.TempDir(), "sleep 7 & exit 3", []string{"PATH=" + os.Getenv("PATH")}, &out); err == nil {
		t.Error("a build that fails is taken")
	}
}

// TestDocumentFromElsewhere: what another process sends to the listener is not taken for npm's, whoever is first.
func TestDocumentFromElsewhere(t *testing.T) {
	_, p := packed(t, map[string]string{"package.json": `{"name":"left","version":"1.0.0"}`})
	if runtime.GOOS == "windows" {
		t.Skip("wants a shell")
	}
	real, err := exec.LookPath("npm")
	if err != nil {
		t.Fatal(err)
	}
	node, err := exec.LookPath("node")
	if err != nil {
		t.Skip("node is not installed")
	}
	put := `"` + node + `" -e 'fetch(process.argv[1]+"left",{method:"PUT",body:"{}"}).then(()=>0)' "$base"`
	for _, order := range []string{put + "\n\"" + real + "\" \"$@\"", "\"" + real + "\" \"$@\"\n" + put} {
		bin := t.TempDir()
		script := "#!/bin/sh\nfor a; do case $a in --registry=*) base=${a#--registry=};; esac; done\n" + order + "\n"
		if err := os.WriteFile(filepath.Join(bin, "npm"), []byte(script), 0o755); err != nil {
			t.Fatal(err)
		}
		t.Setenv("PATH", bin+string(os.PathListSeparator)+os.Getenv("PATH"))
		_, err := NewDocument(context.Background(), p, DocumentOptions{Registry: "https://r.example", Environ: npmEnvironment(t)})
		checkError(t, "two documents", err, "2 documents were sent")
	}
}

// TestCleanCredentials: what npm's configuration sends goes to no build, whatever the variable is called.
func TestCleanCredentials(t *testing.T) {
	npmrc := "//r.example/:_authToken=${MY_PUBLISHER}\n@x:registry=https://${HOST}/\n//o.example/:_password = \"${OTHER?}\"\n# _auth=${COMMENT}\n"
	if got := AuthVariables([]byte(npmrc)); !reflect.DeepEqual(got, []string{"MY_PUBLISHER", "OTHER"}) {
		t.Errorf("%v", got)
	}
	for _, tt := range []struct{ npmrc, environ string }{
		{"//r.example/:_authToken=theSecretToken", "OWN=theSecretToken"},
		{"//r.example/:_authToken=theSecretToken", "OWN=//r.example/:_authToken=theSecretToken"},
		{"//r.example/:_auth=dXNlcjp0aGVQYXNzd29yZA==", "OWN=thePassword"},
		{"//r.example/:username=user\n//r.example/:_password=dGhlUGFzc3dvcmQ=", "OWN=dGhlUGFzc3dvcmQ="},
	} {
		config, _, err := npm.ParseConfig([]npm.Source{{Level: npm.LevelUser, Data: []byte(tt.npmrc)}}, nil)
		if err != nil {
			t.Fatal(err)
		}
		j, err := New(Options{Registry: "https://r.example", HTTP: HTTPOptions{Config: config}})
		if err != nil {
			t.Fatal(err)
		}
		got := j.clean([]string{tt.environ, "NAMED=x", "CI_JOB_TOKEN=x", "GITHUB_TOKEN=x", "A=b"}, []string{"NAMED"})
		if !reflect.DeepEqual(got, []string{"GITHUB_TOKEN=x", "A=b"}) {
			t.Errorf("%s: %v", tt.npmrc, got)
		}
		if _, err := j.configured(); err != nil {
			t.Fatal(err)
		}
		_, value, _ := strings.Cut(tt.environ, "=")
		if text := j.Hide("it said " + value); strings.Contains(text, "theSecret") || strings.Contains(text, "thePassword") || strings.Contains(text, "dGhl") {
			t.Errorf("%s", text)
		}
	}
}

package cli_test

import (
	"bytes"
	"encoding/json"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"testing"

	"assay/internal/lab"
)

// publishing is a world with the lab's Sigstore and a job of CI in it, whose project is a git checkout.
type publishing struct {
	*world
	services *lab.Services
	sigstore *troublemaker // stands before the services
	registry *troublemaker // stands before the registry
	secrets  []string
}

// A troublemaker passes requests on, but for those that a test has plans for.
type troublemaker struct {
	URL  string
	mu   sync.Mutex
	plan map[string]http.HandlerFunc // by method and the path's last part
	log  []string
	to   http.Handler
}

func newTroublemaker(t testing.TB, target string) *troublemaker {
	m := &troublemaker{plan: map[string]http.HandlerFunc{}}
	s := httptest.NewServer(m)
	s.Config.ErrorLog = log.New(io.Discard, "", 0)
	t.Cleanup(s.Close)
	m.URL = s.URL
	if target != "" {
		m.before(t, target)
	}
	return m
}

// before says what requests are passed on to.
func (m *troublemaker) before(t testing.TB, target string) {
	u, err := url.Parse(target)
	if err != nil {
		t.Fatal(err)
	}
	m.to = &httputil.ReverseProxy{ErrorLog: log.New(io.Discard, "", 0), Rewrite: func(r *httputil.ProxyRequest) {
		r.SetURL(u)
		r.Out.Host = u.Host
	}}
}

func (m *troublemaker) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	path := r.URL.EscapedPath()
	key := r.Method + " " + path[strings.LastIndexByte(path, '/')+1:]
	m.mu.Lock()
	m.log = append(m.log, key)
	h := m.plan[key]
	m.mu.Unlock()
	if h != nil {
		h(w, r)
		return
	}
	m.to.ServeHTTP(w, r)
}

// on makes requests meet a handler: all of them, or the first times ones.
func (m *troublemaker) on(key string, times int, h http.HandlerFunc) {
	m.mu.Lock()
	defer m.mu.Unlock()
	left := times
	m.plan[key] = func(w http.ResponseWriter, r *http.Request) {
		m.mu.Lock()
		left--
		strike := times == 0 || left >= 0
		m.mu.Unlock()
		if strike {
			h(w, r)
			return
		}
		m.to.ServeHTTP(w, r)
	}
}

func (m *troublemaker) count(key string) int {
	m.mu.Lock()
	defer m.mu.Unlock()
	n := 0
	for _, k := range m.log {
		if k == key {
			n++
		}
	}
	return n
}

func answer(status int, body string, header ...string) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		io.Copy(io.Discard, r.Body)
		w.Header().Set("Content-Type", "application/json")
		for i := 0; i+1 < len(header); i += 2 {
			w.Header().Set(header[i], header[i+1])
		}
		w.WriteHeader(status)
		io.WriteString(w, body)
	}
}

// cut breaks the connection before any answer.
func cut(w http.ResponseWriter, r *http.Request) { panic(http.ErrAbortHandler) }

// cutAfter lets a request through and loses the answer.
func (m *troublemaker) cutAfter(w http.ResponseWriter, r *http.Request) {
	m.to.ServeHTTP(httptest.NewRecorder(), r)
	panic(http.ErrAbortHandler)
}

func git(t testing.TB, dir string, args ...string) string {
	t.Helper()
	cmd := exec.Command("git", append([]string{"-C", dir, "-c", "user.name=lab", "-c", "user.email=lab@lab.assay.test", "-c", "commit.gpgsign=false"}, args...)...)
	cmd.Env = append(os.Environ(), "GIT_CONFIG_GLOBAL=/dev/null", "GIT_CONFIG_SYSTEM=/dev/null")
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("git %v: %v\n%s", args, err, out)
	}
	return strings.TrimSpace(string(out))
}

// manifest is the package.json of the package that tests publish.
const manifest = `{"name":"@acme/widget","version":"1.2.3","description":"a widget","main":"index.js","bin":"cli.js","license":"MIT",
 "repository":"github:acme/widget","publishConfig":{"access":"public"},"files":["index.js","cli.js","dist"],"dependencies":{"left":"^1.0.0"}}`

func newPublishing(t testing.TB) *publishing {
	t.Helper()
	for _, program := range []string{"npm", "git"} {
		if _, err := exec.LookPath(program); err != nil {
			t.Skip(program + " is not installed")
		}
	}
	front := newTroublemaker(t, "")
	w := newWorldOf(t, lab.Options{Registry: front.URL})
	front.before(t, w.server.URL)
	services, err := w.ListenServices("")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { services.Close() })
	p := &publishing{world: w, services: services, sigstore: newTroublemaker(t, services.URL), registry: front}
	w.server.URL = front.URL // what commands are told
	os.Remove(filepath.Join(w.project, "trusted_root.json"))
	writeFile(t, filepath.Join(w.home, "root.json"), w.TrustedRoot())
	writeFile(t, filepath.Join(w.home, "keys.json"), w.RegistryKeys())
	w.write("package.json", []byte(manifest))
	w.write("index.js", []byte("module.exports = 1\n"))
	w.write("cli.js", []byte("#!/usr/bin/env node\n"))
	w.write("README.md", []byte("# widget – ein Gerät \U0001f527\n"))
	w.write(".gitignore", []byte("dist\n"))
	git(t, w.project, "init", "-q", "-b", "main")
	p.commit()
	w.env["PATH"] = os.Getenv("PATH")
	w.env["npm_config_cache"] = filepath.Join(w.home, "npm-cache")
	w.env["npm_config_update_notifier"] = "false"
	w.env["GIT_CONFIG_GLOBAL"] = "/dev/null"
	p.token()
	return p
}

func writeFile(t testing.TB, name string, data []byte) {
	t.Helper()
	if err := os.WriteFile(name, data, 0o600); err != nil {
		t.Fatal(err)
	}
}

func (p *publishing) commit() {
	git(p.t, p.project, "add", "-A")
	git(p.t, p.project, "commit", "-q", "--allow-empty", "-m", "x")
}

// token gives the job a token for the registry.
func (p *publishing) token() {
	host := strings.TrimPrefix(p.registry.URL, "http:")
	p.secrets = append(p.secrets, "npm_theSecretOfTheConfiguration")
	writeFile(p.t, filepath.Join(p.home, ".npmrc"), []byte(host+"/:_authToken=${NODE_AUTH_TOKEN}\n"))
	p.env["NODE_AUTH_TOKEN"] = "npm_theSecretOfTheConfiguration"
}

func (p *publishing) set(environ []string) {
	for _, e := range environ {
		name, value, _ := strings.Cut(e, "=")
		p.env[name] = value
	}
}

// github makes the job one of GitHub Actions.
func (p *publishing) github(change ...func(*lab.GitHubRun)) *lab.GitHubRun {
	run := lab.GitHub("acme/widget")
	run.SHA = git(p.t, p.project, "rev-parse", "HEAD")
	for _, f := range change {
		f(run)
	}
	p.set(p.services.GitHubEnv(run))
	p.env["ACTIONS_ID_TOKEN_REQUEST_URL"] = strings.Replace(p.env["ACTIONS_ID_TOKEN_REQUEST_URL"], p.services.URL, p.sigstore.URL, 1)
	p.env["ACTIONS_ID_TOKEN_REQUEST_TOKEN"] = "theSecretOfTheTokenRequest"
	p.secrets = append(p.secrets, "theSecretOfTheTokenRequest")
	return run
}

// gitlab makes the job one of GitLab CI.
func (p *publishing) gitlab(change ...func(*lab.GitLabJob)) *lab.GitLabJob {
	job := lab.GitLab("acme/widget")
	job.SHA = git(p.t, p.project, "rev-parse", "HEAD")
	for _, f := range change {
		f(job)
	}
	p.set(p.services.GitLabEnv(job, "127.0.0.1"))
	p.secrets = append(p.secrets, p.env["SIGSTORE_ID_TOKEN"], p.env["NPM_ID_TOKEN"])
	return job
}

// flags are those of every command that signs in the lab.
func (p *publishing) flags(more ...string) []string {
	return append([]string{"--trusted-root", filepath.Join(p.home, "root.json"), "--registry-keys", filepath.Join(p.home, "keys.json"),
		"--fulcio-url", p.sigstore.URL + lab.PathFulcio, "--rekor-url", p.sigstore.URL + lab.PathRekor}, more...)
}

var jwt = regexp.MustCompile(`eyJ[A-Za-z0-9_-]{6,}`)

// do runs a command and checks that nothing secret is printed.
func (p *publishing) do(args ...string) result {
	p.t.Helper()
	r := p.run(args...)
	for _, s := range append(p.secrets, "BEGIN EC", "BEGIN PRIVATE", "Bearer ") {
		if strings.Contains(r.stdout+r.stderr, s) {
			p.t.Errorf("%v prints the secret %.20s…\n%s%s", args, s, r.stdout, r.stderr)
		}
	}
	if m := jwt.FindString(r.stderr); m != "" {
		p.t.Errorf("%v prints a token: %s", args, m)
	}
	return r
}

func (p *publishing) publish(more ...string) result {
	p.t.Helper()
	return p.do(append([]string{"publish"}, p.flags(more...)...)...)
}

func (p *publishing) pack() string {
	p.t.Helper()
	cmd := exec.Command("npm", "pack", "--pack-destination", p.home)
	cmd.Dir, cmd.Env = p.project, append(os.Environ(), "npm_config_cache="+filepath.Join(p.home, "npm-cache"))
	if out, err := cmd.CombinedOutput(); err != nil {
		p.t.Fatalf("npm pack: %v\n%s", err, out)
	}
	return filepath.Join(p.home, "acme-widget-1.2.3.tgz")
}

func (r result) want(code int, texts ...string) {
	r.t.Helper()
	if r.code != code {
		r.t.Errorf("exit %d, want %d\nstdout: %s\nstderr: %s", r.code, code, r.stdout, r.stderr)
	}
	for _, text := range texts {
		if !strings.Contains(r.stdout+r.stderr, text) {
			r.t.Errorf("it does not say %q\nstdout: %s\nstderr: %s", text, r.stdout, r.stderr)
		}
	}
}

func (r result) json() map[string]any {
	r.t.Helper()
	var v map[string]any
	if err := json.NewDecoder(bytes.NewBufferString(r.stdout)).Decode(&v); err != nil {
		r.t.Fatalf("stdout is not JSON: %v\n%s\n%s", err, r.stdout, r.stderr)
	}
	return v
}

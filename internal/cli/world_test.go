package cli_test

import (
	"bytes"
	"context"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"assay/internal/cli"
	"assay/internal/lab"
	"assay/internal/report"
)

// world is a lab whose registry listens, and a project that uses it, for commands to be run against.
type world struct {
	*lab.Lab
	t       testing.TB
	server  *lab.Server
	home    string // HOME, with configuration and cache
	project string
	env     map[string]string
	// named says that the user, and not only the project, names the registry.
	named bool
	now   func() time.Time
	stdin string
}

func newWorld(t testing.TB) *world { return newWorldOf(t, lab.Options{}) }

func newWorldOf(t testing.TB, o lab.Options) *world {
	t.Helper()
	l, err := lab.New(o)
	if err != nil {
		t.Fatal(err)
	}
	server, err := l.Listen(lab.ServerOptions{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { server.Close() })
	w := &world{Lab: l, t: t, server: server, home: t.TempDir(), project: t.TempDir(), named: true, now: time.Now}
	w.write("trusted_root.json", l.TrustedRoot())
	w.env = map[string]string{
		"HOME": w.home, "XDG_CACHE_HOME": filepath.Join(w.home, ".cache"), "XDG_CONFIG_HOME": filepath.Join(w.home, ".config"),
		"npm_config_globalconfig": filepath.Join(w.home, "none"), "npm_config_fetch_retry_mintimeout": "1", "npm_config_fetch_retry_maxtimeout": "2",
	}
	return w
}

// write writes a file into the project.
func (w *world) write(name string, data []byte) string {
	w.t.Helper()
	path := filepath.Join(w.project, filepath.FromSlash(name))
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		w.t.Fatal(err)
	}
	if err := os.WriteFile(path, data, 0o644); err != nil {
		w.t.Fatal(err)
	}
	return path
}

func (w *world) publish(r lab.Release) *lab.Published {
	w.t.Helper()
	if r.Package.Version == "" {
		r.Package.Version = "1.0.0"
	}
	p, err := w.Publish(r)
	if err != nil {
		w.t.Fatal(err)
	}
	return p
}

// lock writes a project that depends on the packages.
func (w *world) lock(packages ...*lab.Published) {
	w.t.Helper()
	deps := map[string]any{}
	for _, p := range packages {
		deps[p.Name] = "^" + p.Version
	}
	w.write("package-lock.json", lab.Lockfile(w.server.URL, deps, packages))
	manifest, err := json.Marshal(map[string]any{"name": "app", "version": "1.0.0", "dependencies": deps})
	if err != nil {
		w.t.Fatal(err)
	}
	w.write("package.json", manifest)
	w.write(".npmrc", []byte("registry="+w.server.URL+"/\n"))
}

// result is what a command did.
type result struct {
	t              testing.TB
	code           int
	stdout, stderr string
}

// run runs a command in the project.
func (w *world) run(args ...string) result {
	w.t.Helper()
	var stdout, stderr bytes.Buffer
	environ := []string{}
	if w.named {
		w.env["npm_config_registry"] = w.server.URL
	} else {
		delete(w.env, "npm_config_registry")
	}
	for k, v := range w.env {
		environ = append(environ, k+"="+v)
	}
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	code := cli.Main(ctx, args, cli.Environment{
		Stdin: strings.NewReader(w.stdin), Stdout: &stdout, Stderr: &stderr, Dir: w.project, Width: 100, Now: w.now, Environ: environ,
		Getenv: func(key string) (string, bool) { v, ok := w.env[key]; return v, ok },
	})
	return result{w.t, code, stdout.String(), stderr.String()}
}

// audit runs assay audit --json with the lab's trusted root.
func (w *world) audit(args ...string) result {
	w.t.Helper()
	return w.run(append([]string{"audit", "--json", "--trusted-root", "trusted_root.json"}, args...)...)
}

func (r result) report() *report.Report {
	r.t.Helper()
	var rep report.Report
	if err := json.Unmarshal([]byte(r.stdout), &rep); err != nil {
		r.t.Fatalf("the report is not JSON: %v\nexit %d\nstdout: %.400s\nstderr: %s", err, r.code, r.stdout, r.stderr)
	}
	return &rep
}

// pkg returns the row of a package.
func (r result) pkg(name string) *report.Package {
	r.t.Helper()
	rep := r.report()
	for i := range rep.Packages {
		if rep.Packages[i].Name == name {
			return &rep.Packages[i]
		}
	}
	r.t.Fatalf("%s is not in the report: %.400s", name, r.stdout)
	return nil
}

// rows lists the failing and undecided rows of a package, as "id reason".
func rows(p *report.Package) string {
	var list []string
	for _, c := range p.Checks {
		if c.Status == "fail" || c.Status == "error" {
			list = append(list, c.ID+" "+c.Reason)
		}
	}
	return strings.Join(list, ", ")
}

package cli_test

import (
	"archive/zip"
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"assay/internal/cli"
	"assay/internal/report"
)

// toolsDir is where package managers are installed for tests, once for all runs.
func toolsDir(t *testing.T) string {
	t.Helper()
	cache, err := os.UserCacheDir()
	if err != nil {
		t.Skip("real package managers not run: there is no directory for them:", err)
	}
	return filepath.Join(cache, "assay-test-tools")
}

var installTool sync.Mutex

// tool returns the program of an npm package, which is installed if it is not yet there.
func tool(t *testing.T, spec, program string) string {
	t.Helper()
	if spec == "" {
		return program
	}
	npm, err := exec.LookPath("npm")
	if err != nil {
		t.Skip("real package managers not run: npm is not installed")
	}
	dir := filepath.Join(toolsDir(t), strings.NewReplacer("/", "+", ":", "+").Replace(spec))
	path := filepath.Join(dir, "node_modules", ".bin", program)
	installTool.Lock()
	defer installTool.Unlock()
	if _, err := os.Stat(path); err == nil {
		return path
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(npm, "install", "--no-audit", "--no-fund", "--no-save", "--prefix", dir, spec)
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Skipf("%s not run: npm cannot install it: %v\n%s", spec, err, out)
	}
	return path
}

// An installation is one way to put packages on disk.
type installation struct {
	name, spec, program string
	args                []string
	files               map[string]string // of the project beside package.json
}

var installations = []installation{
	{name: "npm", program: "npm", args: []string{"install"}},
	{name: "npm 6", spec: "npm@6.14.18", program: "npm", args: []string{"install"}},
	{name: "pnpm 9", spec: "pnpm@9", program: "pnpm", args: []string{"install"}, files: map[string]string{"pnpm-workspace.yaml": "packages:\n  - packages/*\n"}},
	{name: "pnpm 10", spec: "pnpm@10", program: "pnpm", args: []string{"install"}, files: map[string]string{"pnpm-workspace.yaml": "packages:\n  - packages/*\nonlyBuiltDependencies:\n  - esbuild\n"}},
	{name: "pnpm 10, flat", spec: "pnpm@10", program: "pnpm", args: []string{"install"}, files: map[string]string{
		"pnpm-workspace.yaml": "packages:\n  - packages/*\nonlyBuiltDependencies:\n  - esbuild\nnodeLinker: hoisted\n"}},
	{name: "yarn 1", spec: "yarn@1", program: "yarn", args: []string{"install", "--non-interactive"}},
	{name: "yarn 4", spec: "@yarnpkg/cli-dist@4", program: "yarn", args: []string{"install"}, files: map[string]string{"yarn.lock": "", ".yarnrc.yml": "enableTelemetry: false\nenableGlobalCache: false\n"}},
	{name: "yarn 4, data apart", spec: "@yarnpkg/cli-dist@4", program: "yarn", args: []string{"install"}, files: map[string]string{
		"yarn.lock": "", ".yarnrc.yml": "enableTelemetry: false\nenableGlobalCache: true\npnpEnableInlining: false\n"}},
	{name: "yarn 4, flat", spec: "@yarnpkg/cli-dist@4", program: "yarn", args: []string{"install"}, files: map[string]string{
		"yarn.lock": "", ".yarnrc.yml": "enableTelemetry: false\nenableGlobalCache: false\nnodeLinker: node-modules\n"}},
	{name: "yarn 4, links", spec: "@yarnpkg/cli-dist@4", program: "yarn", args: []string{"install"}, files: map[string]string{
		"yarn.lock": "", ".yarnrc.yml": "enableTelemetry: false\nenableGlobalCache: false\nnodeLinker: pnpm\n"}},
	{name: "bun", spec: "bun@1", program: "bun", args: []string{"install", "--linker", "hoisted"}},
	{name: "bun, links", spec: "bun@1", program: "bun", args: []string{"install", "--linker", "isolated"}},
}

// TestInstalledByTools installs a project of about thirty packages, with two versions of one, an alias, a workspace, a
// package with an install script that replaces its command, and one with peer dependencies, by the real package managers,
// and compares what they leave on disk with the tarballs: no false alarm, and no change without one.
func TestInstalledByTools(t *testing.T) {
	if testing.Short() {
		t.Skip("real package managers not run in short mode")
	}
	npm, err := exec.LookPath("npm")
	if err != nil {
		t.Skip("real package managers not run: npm is not installed")
	}
	out, err := exec.Command(npm, "config", "get", "registry").Output()
	if err != nil {
		t.Skip("real package managers not run: npm does not say which registry to ask:", err)
	}
	registry := strings.TrimRight(strings.TrimSpace(string(out)), "/")
	if out, err := exec.Command(npm, "view", "ms@2.1.3", "version", "--fetch-retries=0", "--fetch-timeout=10000").CombinedOutput(); err != nil || !bytes.Contains(out, []byte("2.1.3")) {
		t.Skipf("real package managers not run: %s cannot be reached", registry)
	}
	home := t.TempDir()
	root := newWorld(t) // for its trusted root: what is signed is not the question
	for _, in := range installations {
		t.Run(in.name, func(t *testing.T) {
			t.Parallel()
			p := &installed{world: root, t: t, dir: t.TempDir(), home: home, registry: registry}
			p.write("package.json", `{"name":"app","version":"1.0.0","private":true,"workspaces":["packages/*"],
"dependencies":{"body-parser":"1.20.1","chalk":"4.1.2","esbuild":"0.25.0","ms-alias":"npm:ms@2.1.3","react":"18.2.0","resolve":"1.22.2","rimraf":"3.0.2","semver":"7.5.4","use-sync-external-store":"1.2.0"},
"devDependencies":{"mkdirp":"0.5.6"}}`)
			p.write("packages/part/package.json", `{"name":"part","version":"1.0.0","dependencies":{"semver":"6.3.1"}}`)
			for name, body := range in.files {
				p.write(name, body)
			}
			program := tool(t, in.spec, in.program)
			ctx, cancel := context.WithTimeout(context.Background(), 2*time.Minute)
			defer cancel()
			cmd := exec.CommandContext(ctx, program, in.args...)
			cmd.Dir = p.dir
			cmd.Env = append(os.Environ(), "HOME="+filepath.Join(home, strings.ReplaceAll(in.name, " ", "-")), "YARN_IGNORE_PATH=1", "COREPACK_ENABLE_STRICT=0", "CI=",
				"npm_config_registry="+registry+"/", "YARN_NPM_REGISTRY_SERVER="+registry, "YARN_ENABLE_IMMUTABLE_INSTALLS=false")
			if out, err := cmd.CombinedOutput(); err != nil {
				t.Skipf("%s does not install here: %v\n%s", in.name, err, out)
			}
			if told := p.audit(); len(told) > 0 {
				t.Fatalf("false alarms:\n%s", strings.Join(told, "\n"))
			}
			p.tamper("chalk", "4.1.2", func(files map[string][]byte) { files["source/index.js"] = append(files["source/index.js"], "//"...) })
			p.tamper("semver", "7.5.4", func(files map[string][]byte) { delete(files, "README.md") })
			p.tamper("rimraf", "3.0.2", func(files map[string][]byte) { files["lib/more.js"] = []byte("evil") })
			want := []string{"chalk@4.1.2 files-changed source/index.js", "rimraf@3.0.2 files-added lib/more.js", "semver@7.5.4 files-missing README.md"}
			if told := p.audit(); !slices.Equal(told, want) {
				t.Errorf("after changing three packages:\n%s\nwant\n%s", strings.Join(told, "\n"), strings.Join(want, "\n"))
			}
		})
	}
}

// installed is a project with packages on disk.
type installed struct {
	world               *world
	t                   *testing.T
	dir, home, registry string
}

func (p *installed) write(name, body string) {
	p.t.Helper()
	full := filepath.Join(p.dir, filepath.FromSlash(name))
	if err := os.MkdirAll(filepath.Dir(full), 0o755); err != nil {
		p.t.Fatal(err)
	}
	if err := os.WriteFile(full, []byte(body), 0o644); err != nil {
		p.t.Fatal(err)
	}
}

// audit runs assay audit --installed and returns what it says against files: of packages "name@version reason files",
// and whatever else is denied.
func (p *installed) audit() []string {
	p.t.Helper()
	env := map[string]string{"HOME": p.home, "XDG_CACHE_HOME": filepath.Join(p.home, ".cache"), "XDG_CONFIG_HOME": filepath.Join(p.home, ".config"), "npm_config_registry": p.registry}
	var stdout, stderr bytes.Buffer
	environ := []string{}
	for k, v := range env {
		environ = append(environ, k+"="+v)
	}
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	code := cli.Main(ctx, []string{"audit", "--installed", "--json", "--trusted-root", filepath.Join(p.world.project, "trusted_root.json")}, cli.Environment{
		Stdin: strings.NewReader(""), Stdout: &stdout, Stderr: &stderr, Dir: p.dir, Width: 100, Now: time.Now, Environ: environ,
		Getenv: func(key string) (string, bool) { v, ok := env[key]; return v, ok },
	})
	var rep report.Report
	if err := json.Unmarshal(stdout.Bytes(), &rep); err != nil {
		p.t.Fatalf("exit %d: %v\n%s", code, err, stderr.String())
	}
	told, compared := []string{}, 0
	for i := range rep.Packages {
		k := &rep.Packages[i]
		for _, c := range k.Checks {
			switch {
			case c.ID == "manifest" && c.Status == "fail", c.ID == "tarball-integrity" && c.Status != "pass" && c.Status != "skip", c.ID == "lockfile-integrity" && c.Status == "fail":
				told = append(told, fmt.Sprintf("%s@%s %s %s: %s", k.Name, k.Version, c.ID, c.Reason, c.Message))
			case c.ID != "installed-files", c.Status == "pass" && c.Reason == "", c.Status == "skip" && (c.Reason == "not-installed" || c.Reason == "patch-unknown" && k.Name == "resolve"):
			case c.Status == "pass" && c.Reason == "files-made" && k.Name == "esbuild":
			default:
				_, files, _ := strings.Cut(c.Message, ": ")
				if i := strings.LastIndex(files, ": "); i >= 0 {
					files = files[i+2:]
				}
				told = append(told, fmt.Sprintf("%s@%s %s %s", k.Name, k.Version, c.Reason, strings.TrimSuffix(files, ")")))
			}
			if c.ID == "installed-files" && c.Status == "pass" {
				compared++
			}
		}
	}
	for _, o := range rep.Others {
		if len(o.Findings) > 0 {
			told = append(told, o.Name+" "+o.Findings[len(o.Findings)-1].Message)
		}
	}
	if compared < 30 {
		told = append(told, fmt.Sprintf("only %d packages were compared", compared))
	}
	slices.Sort(told)
	return told
}

// tamper changes the files of a package wherever it lies.
func (p *installed) tamper(name, version string, change func(files map[string][]byte)) {
	p.t.Helper()
	found := 0
	roots := []string{p.dir}
	if home, err := os.ReadDir(p.home); err == nil {
		for _, e := range home {
			if cache := filepath.Join(p.home, e.Name(), ".yarn", "berry", "cache"); strings.Contains(p.t.Name(), "data_apart") {
				roots = append(roots, cache)
			}
		}
	}
	for _, root := range roots {
		err := filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
			switch {
			case err != nil:
				return nil
			case d.Type().IsRegular() && strings.HasPrefix(d.Name(), name+"-npm-"+version+"-") && strings.HasSuffix(d.Name(), ".zip"):
				if strings.Contains(filepath.ToSlash(path), "/.yarn/cache/") || root != p.dir {
					rezip(p.t, path, "node_modules/"+name+"/", change)
					found++
				}
			case d.IsDir() && (filepath.Base(path) == name || filepath.Base(path) == "package"):
				data, err := os.ReadFile(filepath.Join(path, "package.json"))
				var m struct{ Name, Version string }
				if err == nil && json.Unmarshal(data, &m) == nil && m.Name == name && m.Version == version {
					redirect(p.t, path, change)
					found++
				}
			}
			return nil
		})
		if err != nil {
			p.t.Fatal(err)
		}
	}
	if found == 0 {
		p.t.Fatalf("%s@%s is nowhere", name, version)
	}
}

// redirect changes the files of a directory. Each is written anew, so that other links to the same file stay as they are.
func redirect(t *testing.T, dir string, change func(map[string][]byte)) {
	t.Helper()
	files := map[string][]byte{}
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || !d.Type().IsRegular() {
			return err
		}
		rel, err := filepath.Rel(dir, path)
		if err != nil {
			return err
		}
		files[filepath.ToSlash(rel)], err = os.ReadFile(path)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	before := len(files)
	was := map[string][]byte{}
	for name, body := range files {
		was[name] = slices.Clone(body)
	}
	change(files)
	for name := range was {
		if _, kept := files[name]; !kept {
			if err := os.Remove(filepath.Join(dir, filepath.FromSlash(name))); err != nil {
				t.Fatal(err)
			}
		}
	}
	for name, body := range files {
		if bytes.Equal(body, was[name]) && was[name] != nil {
			continue
		}
		full := filepath.Join(dir, filepath.FromSlash(name))
		_ = os.Remove(full)
		if err := os.MkdirAll(filepath.Dir(full), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(full, body, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	if before == 0 {
		t.Fatalf("%s is empty", dir)
	}
}

// rezip changes the files of a package in a zip file.
func rezip(t testing.TB, name, prefix string, change func(map[string][]byte)) {
	t.Helper()
	z, err := zip.OpenReader(name)
	if err != nil {
		t.Fatal(err)
	}
	files := map[string][]byte{}
	for _, e := range z.File {
		if strings.HasSuffix(e.Name, "/") {
			continue
		}
		r, err := e.Open()
		if err != nil {
			t.Fatal(err)
		}
		if files[strings.TrimPrefix(e.Name, prefix)], err = io.ReadAll(r); err != nil {
			t.Fatal(err)
		}
		r.Close()
	}
	z.Close()
	change(files)
	var b bytes.Buffer
	w := zip.NewWriter(&b)
	for name, body := range files {
		f, err := w.Create(prefix + name)
		if err == nil {
			_, err = f.Write(body)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(name, b.Bytes(), 0o644); err != nil {
		t.Fatal(err)
	}
}

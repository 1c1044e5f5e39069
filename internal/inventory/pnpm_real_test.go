package inventory

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"
)

// npmPackage installs a package by npm, once for all tests on this machine, and returns its directory. The test is skipped
// where npm or the registry is missing.
func npmPackage(t *testing.T, name, version string) string {
	if testing.Short() {
		t.Skip("slow: it installs " + name)
	}
	if _, err := exec.LookPath("npm"); err != nil {
		t.Skip("npm is not installed")
	}
	cache, err := os.UserCacheDir()
	if err != nil {
		cache = os.TempDir()
	}
	dir := filepath.Join(cache, "assay-test", name+"-"+version)
	installed := filepath.Join(dir, nodeModules, name)
	if _, err := os.Stat(filepath.Join(installed, "package.json")); err == nil {
		return installed
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "package.json"), []byte(`{"private": true}`), 0o644); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, "npm", "install", "--no-audit", "--no-fund", "--ignore-scripts", name+"@"+version)
	cmd.Dir = dir
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Skipf("npm cannot install %s@%s: %v\n%s", name, version, err, out)
	}
	return installed
}

// pnpmCommand returns what runs a version of pnpm, or skips the test where Node.js is too old for it.
func pnpmCommand(t *testing.T, major string) []string {
	out, err := exec.Command("node", "--version").Output()
	if err != nil {
		t.Skip("node is not installed")
	}
	node, _, _ := strings.Cut(strings.TrimPrefix(string(out), "v"), ".")
	if n, _ := strconv.Atoi(node); major == "11" && n < 22 {
		t.Skip("pnpm 11 needs a newer Node.js than " + strings.TrimSpace(string(out)))
	}
	dir := npmPackage(t, "pnpm", major)
	for _, bin := range []string{"bin/pnpm.mjs", "bin/pnpm.cjs"} {
		if _, err := os.Stat(filepath.Join(dir, bin)); err == nil {
			return []string{"node", filepath.Join(dir, bin)}
		}
	}
	return []string{filepath.Join(filepath.Dir(dir), ".bin", "pnpm")}
}

// A pnpmListing is what pnpm list says of a project or of a package.
type pnpmListing struct {
	From, Version                                       string
	Dependencies, DevDependencies, OptionalDependencies map[string]pnpmListing
}

func (l pnpmListing) collect(into map[string]bool) {
	for _, deps := range []map[string]pnpmListing{l.Dependencies, l.DevDependencies, l.OptionalDependencies} {
		for _, d := range deps {
			if !strings.Contains(d.Version, ":") && !strings.Contains(d.Version, "/") {
				into[d.From+"@"+d.Version] = true
			}
			d.collect(into)
		}
	}
}

// pnpmProjectFiles are a workspace with all that pnpm knows how to ask for and that needs no other host than the registry.
func pnpmProjectFiles(major int, repository string) map[string]string {
	more, settings, pnpm := "", "", ""
	if repository != "" {
		more = `"gitdep": "git+file://` + repository + `", `
	}
	catalog := ""
	if major >= 10 {
		catalog = `, "ansi-styles": "catalog:", "chalk": "catalog:old"`
		settings = "overrides:\n  \"ms@2.1.2\": 2.1.1\n  \"is-odd>is-number\": 6.0.0\ncatalog:\n  ansi-styles: ^6.0.0\ncatalogs:\n  old:\n    chalk: ^4.0.0\nblockExoticSubdeps: false\nminimumReleaseAge: 0\nstrictDepBuilds: false\n"
	} else {
		pnpm = `, "pnpm": {"overrides": {"ms@2.1.2": "2.1.1", "is-odd>is-number": "6.0.0"}}`
	}
	return map[string]string{
		"package.json": `{"name": "root", "version": "1.0.0", "private": true,
			"dependencies": {"lodash4": "npm:lodash@4.17.21", "react-dom": "18.2.0", "react": "18.2.0", "filedep": "file:./filedep", "linked": "link:./linked", ` + more + `"msaddress": "https://registry.npmjs.org/ms/-/ms-2.1.2.tgz"},
			"devDependencies": {"esbuild": "0.19.12", "use-sync-external-store": "1.2.0"},
			"optionalDependencies": {"fsevents": "2.3.3"}` + pnpm + `}`,
		"filedep/package.json":      `{"name": "filedep", "version": "0.1.0", "dependencies": {"is-odd": "3.0.1"}}`,
		"linked/package.json":       `{"name": "linked", "version": "0.1.0"}`,
		"packages/a/package.json":   `{"name": "@w/a", "version": "1.0.0", "dependencies": {"@w/b": "workspace:*", "semver": "7.5.0", "debug": "4.3.4"}}`,
		"packages/b/package.json":   `{"name": "@w/b", "version": "1.0.0", "dependencies": {"react": "17.0.2", "use-sync-external-store": "1.2.0"` + catalog + `}, "peerDependencies": {"is-number": "*"}}`,
		"packages/out/package.json": `{"name": "@w/out", "version": "1.0.0", "dependencies": {"left-pad": "1.0.0"}}`,
		"pnpm-workspace.yaml":       "packages:\n  - 'packages/*'\n  - '!packages/out'\n" + settings,
	}
}

// A lockfile and a node_modules that pnpm made hold the packages that pnpm lists.
func TestRealPnpm(t *testing.T) {
	repository := t.TempDir()
	git := exec.Command("sh", "-c", `git init -q . && echo '{"name": "gitdep", "version": "1.2.3", "dependencies": {"ms": "2.1.3"}}' > package.json && git add -A && git -c user.email=a@b -c user.name=a commit -q -m x`)
	git.Dir = repository
	if err := git.Run(); err != nil {
		repository = ""
	}
	for _, major := range []string{"7", "8", "9", "10", "11", "12"} {
		for _, linker := range []string{"isolated", "hoisted"} {
			t.Run(major+"/"+linker, func(t *testing.T) {
				command := pnpmCommand(t, major)
				n, _ := strconv.Atoi(major)
				repo := repository
				if n < 9 {
					repo = "" // these cannot list, or write, a repository of this machine
				}
				dir := writeTree(t, pnpmProjectFiles(n, repo))
				run := func(args ...string) ([]byte, error) {
					ctx, cancel := context.WithTimeout(context.Background(), 3*time.Minute)
					defer cancel()
					cmd := exec.CommandContext(ctx, command[0], append(slices.Clone(command[1:]), args...)...)
					cmd.Dir = dir
					store := filepath.Join(filepath.Dir(dir), "store")
					cmd.Env = append(os.Environ(), "CI=1", "npm_config_store_dir="+store, "pnpm_config_store_dir="+store, "npm_config_node_linker="+linker, "pnpm_config_node_linker="+linker)
					var stdout, stderr bytes.Buffer
					cmd.Stdout, cmd.Stderr = &stdout, &stderr
					err := cmd.Run()
					if err != nil {
						err = fmt.Errorf("%w\n%s%s", err, stdout.String(), stderr.String())
					}
					return stdout.Bytes(), err
				}
				if out, err := run("install", "--no-frozen-lockfile", "--ignore-scripts"); err != nil {
					if ee := (*exec.ExitError)(nil); !errors.As(err, &ee) || strings.Contains(err.Error(), "ENOTFOUND") {
						t.Skipf("pnpm cannot install: %v %s", err, out)
					}
					t.Fatal(err)
				}
				out, err := run("list", "-r", "--depth", "Infinity", "--json")
				if err != nil {
					t.Fatal(err)
				}
				var projects []pnpmListing
				if err := json.Unmarshal(out, &projects); err != nil {
					t.Fatalf("%v\n%s", err, out)
				}
				listed := make(map[string]bool)
				for _, l := range projects {
					l.collect(listed)
				}
				if len(listed) < 20 {
					t.Fatalf("pnpm lists only %d packages", len(listed))
				}

				p, err := Open(dir, Options{})
				if err != nil {
					t.Fatal(err)
				}
				checkComplete(t, p, nil)
				locked := make(map[string]string)
				for _, q := range p.Packages {
					id := q.Name + "@" + q.Version
					locked[id] = q.Integrity
					if q.Integrity == "" || q.Extraneous || q.Oddity != "" {
						t.Errorf("%+v", q)
					}
					if !listed[id] && !q.Optional {
						t.Errorf("pnpm does not list %s", id)
					}
				}
				others := make(map[string]bool)
				for _, o := range p.Others {
					others[o.Name+"@"+o.Version] = true
					if o.Oddity != "" || o.Missing || o.Extraneous {
						t.Errorf("%+v", o)
					}
				}
				for id := range listed {
					if locked[id] == "" && !others[id] {
						t.Errorf("only pnpm lists %s", id)
					}
				}
				for _, w := range p.Warnings {
					t.Errorf("%+v", w)
				}

				// What lies on disk.
				disk, err := Open(filepath.Join(dir, nodeModules), Options{})
				if err != nil {
					t.Fatal(err)
				}
				found := make(map[string]bool)
				for _, q := range disk.Packages {
					id := q.Name + "@" + q.Version
					found[id] = true
					if q.Integrity != locked[id] || q.Oddity != "" {
						t.Errorf("on disk: %+v, locked %s", q, locked[id])
					}
					for _, l := range q.Locations {
						if _, err := os.Stat(filepath.Join(dir, l.Path, "package.json")); err != nil {
							t.Error(err)
						}
					}
				}
				for _, q := range p.Packages {
					if id := q.Name + "@" + q.Version; !q.Optional && !found[id] {
						t.Errorf("not found on disk: %s", id)
					}
				}
				for _, w := range disk.Warnings {
					t.Errorf("on disk: %+v", w)
				}
			})
		}
	}
}

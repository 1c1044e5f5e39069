// Package stack builds the programs of the real Sigstore and runs them on this machine: Fulcio, its certificate
// transparency log, Rekor v1 over Trillian's in-memory storage, Rekor v2 over files, and the timestamp authority.
// The identity tokens, the npm registry and the TUF repository are those of package lab.
//
// Everything listens on 127.0.0.1, and every process ends with the program that started it.
package stack

import (
	"bytes"
	"context"
	"crypto/sha256"
	"debug/buildinfo"
	"encoding/hex"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"
)

// A program is what has to be built: a package of one of the modules beside this one. They are modules of their own
// because what they depend on cannot be together in one, and must not be in the product's.
type program struct {
	name   string
	module string // directory
	pkg    string
	patch  *patch
}

// A patch replaces one line of a program's own module: the released programs open a listener for their metrics on
// every interface, at a port that cannot be chosen, and these tests may not listen beyond loopback. Nothing else of
// any program is changed.
type patch struct {
	module, file string
	from, to     string
}

var programs = []program{
	{name: "trillian", module: "servers", pkg: "./trillian"},
	{name: "tsa", module: "servers", pkg: "./tsa"},
	{name: "rekor-server", module: "servers", pkg: "github.com/sigstore/rekor/cmd/rekor-server", patch: &patch{
		"github.com/sigstore/rekor", "cmd/rekor-server/app/serve.go",
		`Addr:         ":2112"`, `Addr:         "127.0.0.1:0"`}},
	{name: "fulcio", module: "servers", pkg: "github.com/sigstore/fulcio", patch: &patch{
		"github.com/sigstore/fulcio", "cmd/app/serve.go",
		`fmt.Sprintf(":%v", viper.GetString("metrics-port"))`, `fmt.Sprintf("127.0.0.1:%v", viper.GetString("metrics-port"))`}},
	{name: "ct_server", module: "ctlog", pkg: "github.com/google/certificate-transparency-go/trillian/ctfe/ct_server"},
	{name: "rekor-v2", module: "rekor2", pkg: "github.com/sigstore/rekor-tiles/v2/cmd/rekor-server/posix"},
}

// fulcioConfig is the configuration that Fulcio's release ships, kept beside the programs.
const fulcioConfig = "fulcio.yaml"

// Build builds the programs, unless the user's cache has them already, and returns the directory they are in. Root
// is the directory of the module assay/e2e. What is cached belongs to one state of the modules' files and one Go.
func Build(ctx context.Context, root string, say func(format string, args ...any)) (string, error) {
	key, err := buildKey(ctx, root)
	if err != nil {
		return "", err
	}
	cache, err := os.UserCacheDir()
	if err != nil {
		return "", err
	}
	cache = filepath.Join(cache, "assay-e2e")
	dir := filepath.Join(cache, key)
	if err := os.MkdirAll(cache, 0o755); err != nil {
		return "", err
	}
	lock, err := os.OpenFile(filepath.Join(cache, "lock"), os.O_CREATE|os.O_RDWR, 0o644)
	if err != nil {
		return "", err
	}
	defer lock.Close()
	// Whoever comes second waits here, and finds the programs built.
	if err := syscall.Flock(int(lock.Fd()), syscall.LOCK_EX); err != nil {
		return "", fmt.Errorf("locking %s: %w", lock.Name(), err)
	}
	if _, err := os.Stat(filepath.Join(dir, fulcioConfig)); err == nil {
		return dir, nil
	}
	say("building the servers, which takes minutes the first time")
	work := filepath.Join(cache, "building") // one path always, so that Go's own cache knows the patched sources again
	if err := os.RemoveAll(work); err != nil {
		return "", err
	}
	defer os.RemoveAll(work)
	out := filepath.Join(work, "bin")
	if err := os.MkdirAll(out, 0o755); err != nil {
		return "", err
	}
	for _, p := range programs {
		say("  %s", p.name)
		if err := p.build(ctx, root, work, out); err != nil {
			return "", fmt.Errorf("building %s: %w", p.name, err)
		}
	}
	source, err := moduleDir(ctx, filepath.Join(root, "servers"), "github.com/sigstore/fulcio")
	if err != nil {
		return "", err
	}
	config, err := os.ReadFile(filepath.Join(source, "config", "identity", "config.yaml"))
	if err != nil {
		return "", err
	}
	if err := os.WriteFile(filepath.Join(out, fulcioConfig), config, 0o644); err != nil {
		return "", err
	}
	if err := os.Rename(out, dir); err != nil {
		return "", err
	}
	return dir, removeOthers(cache, key)
}

// removeOthers removes the programs of earlier states, all but the newest: they are 300 MB each.
func removeOthers(cache, key string) error {
	entries, err := os.ReadDir(cache)
	if err != nil {
		return err
	}
	entries = slices.DeleteFunc(entries, func(e fs.DirEntry) bool { return !e.IsDir() || len(e.Name()) != len(key) || e.Name() == key })
	built := func(e fs.DirEntry) time.Time {
		info, err := e.Info()
		if err != nil {
			return time.Time{} // it has gone already
		}
		return info.ModTime()
	}
	slices.SortFunc(entries, func(a, b fs.DirEntry) int { return built(b).Compare(built(a)) })
	for i, e := range entries {
		if i > 0 {
			if err := os.RemoveAll(filepath.Join(cache, e.Name())); err != nil {
				return err
			}
		}
	}
	return nil
}

func (p *program) build(ctx context.Context, root, work, out string) error {
	dir := filepath.Join(root, p.module)
	args := []string{"build", "-mod=readonly"}
	if p.patch != nil {
		modfile, err := p.patch.apply(ctx, dir, work)
		if err != nil {
			return err
		}
		args = append(args, "-modfile="+modfile)
	}
	_, err := goCommand(ctx, dir, append(args, "-o", filepath.Join(out, p.name), p.pkg)...)
	return err
}

// apply copies the module, changes the line, and writes a go.mod that takes the copy.
func (p *patch) apply(ctx context.Context, dir, work string) (modfile string, err error) {
	source, err := moduleDir(ctx, dir, p.module)
	if err != nil {
		return "", err
	}
	base := filepath.Join(work, filepath.Base(p.module))
	changed := filepath.Join(base, "src")
	if err := os.CopyFS(changed, os.DirFS(source)); err != nil {
		return "", err
	}
	file := filepath.Join(changed, p.file)
	text, err := os.ReadFile(file)
	if err != nil {
		return "", err
	}
	if n := bytes.Count(text, []byte(p.from)); n != 1 {
		return "", fmt.Errorf("%s of %s has %d times %s, and once was expected", p.file, p.module, n, p.from)
	}
	if err := os.Chmod(file, 0o644); err != nil {
		return "", err
	}
	if err := os.WriteFile(file, bytes.Replace(text, []byte(p.from), []byte(p.to), 1), 0o644); err != nil {
		return "", err
	}
	modfile = filepath.Join(base, "go.mod")
	for _, name := range []string{"go.mod", "go.sum"} {
		data, err := os.ReadFile(filepath.Join(dir, name))
		if err != nil {
			return "", err
		}
		if err := os.WriteFile(filepath.Join(base, name), data, 0o644); err != nil {
			return "", err
		}
	}
	_, err = goCommand(ctx, dir, "mod", "edit", "-replace="+p.module+"="+changed, modfile)
	return modfile, err
}

func moduleDir(ctx context.Context, dir, module string) (string, error) {
	if _, err := goCommand(ctx, dir, "mod", "download", module); err != nil {
		return "", err
	}
	return goCommand(ctx, dir, "list", "-mod=readonly", "-m", "-f", "{{.Dir}}", module)
}

// buildKey is a digest of all that the programs are made from.
func buildKey(ctx context.Context, root string) (string, error) {
	version, err := goCommand(ctx, root, "version")
	if err != nil {
		return "", err
	}
	h := sha256.New()
	fmt.Fprintln(h, version)
	for _, p := range programs {
		fmt.Fprintln(h, p.name, p.module, p.pkg)
		if p.patch != nil {
			fmt.Fprintln(h, *p.patch)
		}
	}
	for _, dir := range []string{"servers", "ctlog", "rekor2"} {
		err := filepath.WalkDir(filepath.Join(root, dir), func(path string, e fs.DirEntry, err error) error {
			if err != nil || e.IsDir() {
				return err
			}
			data, err := os.ReadFile(path)
			fmt.Fprintf(h, "%s %d\n%s", filepath.ToSlash(strings.TrimPrefix(path, root)), len(data), data)
			return err
		})
		if err != nil {
			return "", err
		}
	}
	return hex.EncodeToString(h.Sum(nil)[:8]), nil
}

func goCommand(ctx context.Context, dir string, args ...string) (string, error) {
	cmd := exec.CommandContext(ctx, "go", args...)
	cmd.Dir = dir
	cmd.Env = append(os.Environ(), "GOWORK=off", "GOFLAGS="+strings.TrimSpace(os.Getenv("GOFLAGS")+" -buildvcs=false"), "PWD="+dir)
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		return "", fmt.Errorf("go %s: %w\n%s", strings.Join(args, " "), err, stderr.Bytes())
	}
	return strings.TrimSpace(string(out)), nil
}

// Version is the version of a module that a built program contains, such as v1.8.8; "" if it contains none.
func Version(bin, program, module string) string {
	info, err := buildinfo.ReadFile(filepath.Join(bin, program))
	if err != nil {
		return ""
	}
	for _, m := range append(info.Deps, &info.Main) {
		if m.Path == module {
			return m.Version
		}
	}
	return ""
}

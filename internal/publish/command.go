package publish

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
)

// secretVariables are what a build has no business with: whoever runs in it could publish. Dependencies' scripts run
// there.
var secretVariables = []string{
	"ACTIONS_ID_TOKEN_REQUEST_TOKEN", "ACTIONS_ID_TOKEN_REQUEST_URL", variableSigstore, variableNPM, "NODE_AUTH_TOKEN", "NPM_TOKEN", "NPM_AUTH_TOKEN",
}

// Clean returns an environment, given as NAME=VALUE, without the variables that hold tokens: what builds and npm get.
func Clean(environ []string) []string {
	var out []string
	for _, e := range environ {
		name, _, _ := strings.Cut(e, "=")
		if secretName(name) {
			continue
		}
		out = append(out, e)
	}
	return out
}

func secretName(name string) bool {
	for _, s := range secretVariables {
		if strings.EqualFold(name, s) {
			return true
		}
	}
	lower := strings.ToLower(name)
	if !strings.HasPrefix(lower, "npm_config_") {
		return false
	}
	return strings.HasSuffix(lower, "_authtoken") || strings.HasSuffix(lower, ":_auth") || strings.HasSuffix(lower, "_password") || strings.HasSuffix(lower, "npm_config__auth") || strings.HasSuffix(lower, "_otp")
}

// Build runs a command line in a directory with the shell, as npm runs scripts. What it prints goes to out.
func Build(ctx context.Context, dir, command string, env []string, out io.Writer) error {
	name, args := "sh", []string{"-c", command}
	if runtime.GOOS == "windows" {
		name, args = "cmd", []string{"/d", "/s", "/c", command}
	}
	if err := run(ctx, dir, env, out, name, args...); err != nil {
		return fmt.Errorf("building: %w", err)
	}
	return nil
}

// Pack packs a directory with npm and returns the tarball's bytes. As npm publish does it runs prepublishOnly first,
// then what npm pack runs: prepack, prepare and postpack.
func Pack(ctx context.Context, dir string, m *Manifest, env []string, out io.Writer) ([]byte, error) {
	if m.Scripts["prepublishOnly"] != "" {
		if err := run(ctx, dir, env, out, "npm", "run", "prepublishOnly"); err != nil {
			return nil, fmt.Errorf("running prepublishOnly: %w", err)
		}
	}
	temp, err := os.MkdirTemp("", "assay-pack-")
	if err != nil {
		return nil, fmt.Errorf("packing: %w", err)
	}
	defer os.RemoveAll(temp)
	// What scripts print stands among what npm prints, so the file is looked for, not read about.
	if err := run(ctx, dir, env, out, "npm", "pack", "--pack-destination", temp); err != nil {
		return nil, fmt.Errorf("packing: %w", err)
	}
	found, err := filepath.Glob(filepath.Join(temp, "*.tgz"))
	if err != nil || len(found) != 1 {
		return nil, fmt.Errorf("packing: npm pack made %d tarballs, and one was expected", len(found))
	}
	f, err := os.Open(found[0])
	if err != nil {
		return nil, fmt.Errorf("packing: %w", err)
	}
	defer f.Close()
	data, err := io.ReadAll(io.LimitReader(f, maxPackage+1))
	if err != nil {
		return nil, fmt.Errorf("packing: %w", err)
	}
	return data, nil
}

// run runs a program and waits for it. Both its streams go to out.
func run(ctx context.Context, dir string, env []string, out io.Writer, name string, args ...string) error {
	cmd := exec.CommandContext(ctx, name, args...)
	cmd.Dir, cmd.Env = dir, env
	var last tail
	w := io.MultiWriter(out, &last)
	cmd.Stdout, cmd.Stderr = w, w
	endsTogether(cmd)
	err := cmd.Run()
	switch {
	case err == nil:
		return nil
	case errors.Is(err, exec.ErrWaitDelay): // it ended well, and something that it started keeps its streams open
		fmt.Fprintf(out, "assay: warning: %s ended well and left a process running, which is not waited for\n", name)
		return nil
	case ctx.Err() != nil:
		return fmt.Errorf("%s: %w", name, context.Cause(ctx))
	case errors.Is(err, exec.ErrNotFound):
		return setup("program-missing", "in the workflow, actions/setup-node before this step", "%s is not installed", name)
	}
	text := strings.Join(append([]string{name}, args...), " ")
	if s := last.String(); s != "" && out == io.Discard {
		text += ": " + oneLine(s, 600)
	}
	return refuse("command-failed", "", "%s: %v", text, err)
}

// tail keeps the end of what is written to it.
type tail struct{ b bytes.Buffer }

func (t *tail) Write(p []byte) (int, error) {
	t.b.Write(p)
	if n := t.b.Len() - 4096; n > 0 {
		t.b.Next(n)
	}
	return len(p), nil
}

func (t *tail) String() string { return t.b.String() }

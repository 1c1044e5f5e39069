package publish

import (
	"bytes"
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"slices"
	"strings"
)

// secretVariables are what a build has no business with: whoever runs in it could publish. Dependencies' scripts run
// there. GITHUB_TOKEN is not among them: builds need it, and it publishes only where npm's configuration names it.
var secretVariables = []string{
	"ACTIONS_ID_TOKEN_REQUEST_TOKEN", "ACTIONS_ID_TOKEN_REQUEST_URL", variableSigstore, variableNPM, "NODE_AUTH_TOKEN", "NPM_TOKEN", "NPM_AUTH_TOKEN",
	"NPM_PUBLISH_TOKEN", "NPM_ACCESS_TOKEN", "YARN_NPM_AUTH_TOKEN", "BUN_AUTH_TOKEN", "ACTIONS_RUNTIME_TOKEN", "CI_JOB_TOKEN",
}

// Clean returns an environment, given as NAME=VALUE, without the variables that are known to hold tokens: what builds
// and npm get. That is hygiene and no boundary: a process of the same user can read the environment of those that
// started it, and npm's own files.
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

// authLine is a line of an .npmrc that sets a credential.
var authLine = regexp.MustCompile(`(?m)^[^\n=;#]*(?:_authToken|_auth|_password|username)[^\n=]*=[^\n]*`)

// expanded is a variable in an .npmrc (@npmcli/config lib/env-replace.js).
var expanded = regexp.MustCompile(`\$\{([^}?]+)\??\}`)

// AuthVariables returns the names of the variables that an .npmrc takes credentials from, for whatever registry.
func AuthVariables(npmrc []byte) []string {
	var names []string
	for _, line := range authLine.FindAllString(string(npmrc), -1) {
		for _, m := range expanded.FindAllStringSubmatch(line, -1) {
			names = append(names, m[1])
		}
	}
	return names
}

// clean is [Clean], and drops also variables by name, and those in whose values the configured credential stands.
func (j *Job) clean(environ, names []string) []string {
	var values []string
	if u, err := url.Parse(j.o.Registry + "/"); err == nil && j.o.HTTP.Config != nil {
		if cred, ok := j.o.HTTP.Config.Credentials(u); ok {
			values = credentialParts(cred.Authorization)
		}
	}
	return slices.DeleteFunc(Clean(environ), func(e string) bool {
		name, value, _ := strings.Cut(e, "=")
		return slices.ContainsFunc(names, func(n string) bool { return strings.EqualFold(n, name) }) ||
			slices.ContainsFunc(values, func(v string) bool { return len(v) >= 8 && strings.Contains(value, v) })
	})
}

// credentialParts are what is secret in the value of an Authorization header: the token, or else the base64 text that
// is sent, the user with the password, and the password, plain and in base64 as an .npmrc has it.
func credentialParts(authorization string) []string {
	scheme, token, ok := strings.Cut(authorization, " ")
	if !ok || token == "" {
		return nil
	}
	parts := []string{token}
	if strings.EqualFold(scheme, "basic") {
		if plain, err := base64.StdEncoding.DecodeString(token); err == nil {
			_, password, _ := strings.Cut(string(plain), ":")
			parts = append(parts, string(plain), password, base64.StdEncoding.EncodeToString([]byte(password)))
		}
	}
	return parts
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
	if err := run(ctx, dir, env, out, "npm", "pack", "--pack-destination", temp, "--dry-run=false", "--workspaces=false"); err != nil {
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

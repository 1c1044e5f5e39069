package cli

import (
	"bytes"
	"cmp"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"time"

	"github.com/spf13/cobra"

	"assay/internal/demo"
)

// patience bounds what a demo waits for npm, so that it is ready within five seconds.
const patience = 3500 * time.Millisecond

type demoFlags struct {
	once     bool
	noColor  bool
	patience time.Duration
	lie      func(report []byte) []byte // for tests: replaces what Assay reports; nil: nothing does
}

func newDemo(env Environment) *cobra.Command {
	f := demoFlags{patience: patience}
	cmd := &cobra.Command{
		Use:   "demo",
		Short: "Show on this machine alone what Assay tells, in a lab",
		Long: `Demo starts a lab in this process, with an npm registry and all of Sigstore that it takes, and publishes
packages there that went wrong in one way each: built from a fork, changed after publishing, stripped of
their provenance, and so on. It installs an application that uses them, with npm if npm is there, audits it
and tells what was done and what Assay makes of it. Then the lab stays for you to try commands on, until
Ctrl-C, and leaves nothing behind.

Nothing leaves this machine: every server listens on loopback. Nothing trusts the lab's keys but commands
that name them.

Exit codes: 0, or 1 where Assay did not say what it should have said.`,
		Example: `  assay demo
  assay demo --once        tell the story and end`,
		Args: noArgs,
		RunE: func(cmd *cobra.Command, args []string) error { return f.run(cmd.Context(), env) },
	}
	fl := cmd.Flags()
	fl.BoolVar(&f.once, "once", false, "tell the story and end")
	fl.BoolVar(&f.noColor, "no-color", false, "no colours (as NO_COLOR)")
	return cmd
}

func (f *demoFlags) run(ctx context.Context, env Environment) error {
	// A terminal that is closed and a reader that has gone must not leave files behind either.
	ctx, stop := signal.NotifyContext(ctx, syscall.SIGHUP, syscall.SIGPIPE)
	defer stop()
	err := f.show(ctx, env)
	switch {
	case errors.Is(err, syscall.EPIPE):
		return exitError(141) // as a shell calls a program that SIGPIPE ended
	case err != nil && ctx.Err() != nil:
		fmt.Fprintln(env.Stderr, "assay: interrupted")
		return exitError(130)
	}
	return err
}

// show runs a demo in a directory of its own and leaves nothing of it behind.
func (f *demoFlags) show(ctx context.Context, env Environment) (err error) {
	dir, err := os.MkdirTemp("", "assay-demo-")
	if err != nil {
		return fmt.Errorf("starting the demo: %w", err)
	}
	defer func() { err = cmp.Or(err, os.RemoveAll(dir)) }()
	o := demo.Options{Dir: dir, Assay: f.inLab(env, dir), Environ: env.Environ, Patience: f.patience, Now: env.Now}
	if npm, err := exec.LookPath("npm"); err == nil {
		o.NPM = npm
	}
	d, err := demo.New(o)
	if err != nil {
		return err
	}
	defer func() { err = cmp.Or(err, d.Close()) }()
	text := demo.TextOptions{Color: env.Colour && !f.noColor, Width: env.Width}
	missed, err := d.Tell(ctx, env.Stdout, text)
	if err != nil {
		return err
	}
	if !f.once {
		if err := d.TellCommands(env.Stdout, text, program()); err != nil {
			return err
		}
		<-ctx.Done()
	}
	if len(missed) > 0 {
		return exitError(ExitDenied)
	}
	return nil
}

// inLab runs commands as somebody whose machine has nothing on it but what the demo put there: no configuration, no
// cache, no proxy. What they find goes to the demo.
func (f *demoFlags) inLab(env Environment, dir string) func(context.Context, ...string) ([]byte, int) {
	home := filepath.Join(dir, "home")
	settings := map[string]string{
		"HOME": home, "XDG_CACHE_HOME": filepath.Join(home, "cache"), "XDG_CONFIG_HOME": filepath.Join(home, "config"),
		"npm_config_userconfig": filepath.Join(home, ".npmrc"), "npm_config_globalconfig": filepath.Join(home, "npmrc"),
	}
	return func(ctx context.Context, args ...string) ([]byte, int) {
		vars := maps.Clone(settings)
		vars["ASSAY_CACHE_KEY"] = rand.Text() // each time a machine of its own
		var environ []string
		for k, v := range vars {
			environ = append(environ, k+"="+v)
		}
		var stdout, stderr bytes.Buffer
		code := Main(ctx, args, Environment{
			Stdin: strings.NewReader(""), Stdout: &stdout, Stderr: &stderr, Dir: dir, Environ: environ,
			Getenv: func(key string) (string, bool) { v, ok := vars[key]; return v, ok },
			Now:    env.Now,
		})
		if code != ExitAllowed && code != ExitDenied && ctx.Err() == nil {
			env.Stderr.Write(stderr.Bytes())
		}
		if f.lie != nil {
			return f.lie(stdout.Bytes()), code
		}
		return stdout.Bytes(), code
	}
}

// program is what to type to run this program once more.
func program() string {
	self, err := os.Executable()
	if err != nil {
		return "assay"
	}
	if found, err := exec.LookPath("assay"); err == nil && sameFile(found, self) {
		return "assay"
	}
	if runtime.GOOS != "windows" && strings.ContainsAny(self, " '\"$") {
		return "'" + strings.ReplaceAll(self, "'", `'\''`) + "'"
	}
	return self
}

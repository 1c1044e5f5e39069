package demo

import (
	"bytes"
	"context"
	"errors"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"time"

	"assay/internal/report"
)

// npmSays is what `npm audit signatures` printed.
type npmSays struct {
	lines []string // those that count packages, or name one
	why   string   // why there are none
}

// npm runs npm in the application, within what is left of the story's patience.
func (d *Demo) npm(ctx context.Context, args ...string) (stdout []byte, err error) {
	ctx, cancel := context.WithTimeoutCause(ctx, d.deadline.Sub(d.o.Now()), errImpatient)
	defer cancel()
	cmd := exec.CommandContext(ctx, d.o.NPM, args...)
	cmd.Dir = filepath.Join(d.o.Dir, appDir)
	cmd.Env = append(unsettled(d.o.Environ), d.npmEnv...)
	// A machine's own configuration has no say here.
	cmd.Env = append(cmd.Env, "npm_config_globalconfig="+filepath.Join(d.o.Dir, npmDir, "none"))
	cmd.WaitDelay = time.Second
	endsTogether(cmd)
	stdout, err = cmd.Output()
	if ctx.Err() != nil {
		err = context.Cause(ctx)
	}
	return stdout, err
}

var errImpatient = errors.New("npm takes long here")

// unsettled leaves out of an environment what would set up npm or its node otherwise.
func unsettled(environ []string) []string {
	var out []string
	for _, e := range environ {
		key, _, _ := strings.Cut(strings.ToLower(e), "=")
		if !strings.HasPrefix(key, "npm_") && key != "node_options" {
			out = append(out, e)
		}
	}
	return out
}

// npmInstall reports whether npm installed the application. The error is ctx's alone: a demo goes on without npm.
func (d *Demo) npmInstall(ctx context.Context) (bool, error) {
	_, err := d.npm(ctx, "install", "--ignore-scripts", "--no-audit", "--no-fund")
	if cause := ctx.Err(); cause != nil {
		return false, cause
	}
	if err != nil {
		d.why = "npm did not install it"
		if errors.Is(err, errImpatient) {
			d.why = errImpatient.Error()
		}
	}
	return err == nil, nil
}

// askNPM starts `npm audit signatures` beside what follows.
func (d *Demo) askNPM(ctx context.Context) {
	if !d.installed {
		return
	}
	says := make(chan npmSays, 1)
	d.signatures = says
	go func() {
		defer close(says)
		stdout, err := d.npm(ctx, "audit", "signatures", "--prefer-online") // what it fetched to install is too old to ask about
		if errors.Is(err, errImpatient) {
			says <- npmSays{why: err.Error()}
			return
		}
		// It ends with 1 where it finds something, which is no reason not to quote it.
		says <- npmSays{lines: counted(stdout), why: "it ended without saying"}
	}()
}

// counted picks the lines in which npm counts packages or names one.
func counted(stdout []byte) []string {
	var out []string
	for line := range bytes.Lines(stdout) {
		text := report.Escape(strings.TrimSpace(string(line)))
		if len(out) < 12 && countLine.MatchString(text) {
			out = append(out, text)
		}
	}
	return out
}

// countLine matches "12 packages have verified registry signatures" and "left@1.0.0 (http://127.0.0.1:4873/)"
// (npm/cli lib/utils/verify-signatures.js).
var countLine = regexp.MustCompile(`^\d+ packages? (has|have) .*(signature|attestation)|^\S+@\S+ \(http`)

package cli

import (
	"bytes"
	"context"
	"io"
	"net"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"
)

// A told is a stream that a test can read while a command still writes it.
type told struct {
	mu   sync.Mutex
	text bytes.Buffer
	fail error // of every further write
}

func (s *told) Write(b []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.fail != nil {
		return 0, s.fail
	}
	return s.text.Write(b)
}

func (s *told) String() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.text.String()
}

// await returns the text once it holds what is looked for.
func (s *told) await(t *testing.T, want string) string {
	t.Helper()
	for end := time.Now().Add(time.Minute); time.Now().Before(end); time.Sleep(5 * time.Millisecond) {
		if text := s.String(); strings.Contains(text, want) {
			return text
		}
	}
	t.Fatalf("%q is never told: %s", want, s.String())
	return ""
}

// demoWorld gives demos a place for their files, without npm unless it is asked for, and returns the place.
func demoWorld(t *testing.T, npm bool) (temp string) {
	t.Helper()
	temp = t.TempDir()
	t.Setenv("TMPDIR", temp)
	t.Setenv("TMP", temp)
	if !npm {
		t.Setenv("PATH", t.TempDir())
	} else if _, err := exec.LookPath("npm"); err != nil {
		t.Skip("npm is not installed")
	}
	return temp
}

func demoEnvironment(stdout, stderr io.Writer) Environment {
	return Environment{
		Stdin: strings.NewReader(""), Stdout: stdout, Stderr: stderr, Dir: ".", Environ: os.Environ(), Getenv: os.LookupEnv, Now: time.Now,
	}
}

// leavesNothing checks that no file is left and nobody listens any more.
func leavesNothing(t *testing.T, temp, text string) {
	t.Helper()
	left, err := os.ReadDir(temp)
	if err != nil || len(left) > 0 {
		t.Errorf("left behind: %v %v", left, err)
	}
	if m := regexp.MustCompile(`http://(127\.0\.0\.1:\d+)`).FindStringSubmatch(text); m != nil {
		if c, err := net.Dial("tcp", m[1]); err == nil {
			c.Close()
			t.Errorf("somebody still listens on %s", m[1])
		}
	}
}

// oneLine undoes the wrapping.
func oneLine(text string) string { return strings.Join(strings.Fields(text), " ") }

func TestDemoOnce(t *testing.T) {
	temp := demoWorld(t, false)
	var stdout, stderr told
	start := time.Now()
	code := Main(context.Background(), []string{"demo", "--once"}, demoEnvironment(&stdout, &stderr))
	if elapsed := time.Since(start); elapsed > 5*time.Second {
		t.Errorf("it takes %v", elapsed)
	}
	text := stdout.String()
	if code != ExitAllowed || stderr.String() != "" {
		t.Errorf("exit %d, stderr %q", code, stderr.String())
	}
	for _, want := range []string{
		"Its lockfile was written without npm, as npm is not installed here.",
		"from-fork@1.0.0 invalid, denied", "workflow-identity (repository-mismatch)",
		"tampered@1.0.0 invalid, denied", "tarball-integrity (tarball-mismatch)",
		"stripped@1.0.0 invalid, denied", "evidence-complete (attestation-stripped)",
		"other-bytes@1.0.0 invalid, denied", "lockfile-integrity (integrity-mismatch)",
		"other-host@1.0.0 invalid, denied", "lockfile-integrity (resolved-elsewhere)",
		"unsigned@1.0.0 unsigned, denied", "registry-signature (signature-missing)",
		"downgraded@1.1.0 signed, let through with a warning",
		"from-pull-request@1.0.0 provenance, let through", "release-ref (pull-request)",
		"self-hosted@1.0.0 provenance, let through", "on a self-hosted runner",
		"honest@2.1.0 provenance, let through", "reusable-workflow@1.0.0 provenance, let through", "which calls .github/workflows/publish.yml",
		"from-gitlab@1.0.0 provenance, let through", "@acme/rekor-v2@1.0.0 provenance, let through", "signed-only@1.0.0 signed, let through with a warning",
		"10 packages with provenance, 2 signed by the registry only, 1 unsigned, 1 invalid",
		"Each of the 14 packages got the verdict",
	} {
		if !strings.Contains(oneLine(text), want) {
			t.Errorf("%q is not told", want)
		}
	}
	if strings.Contains(text, "Try next") || strings.Contains(text, "\x1b") || strings.Contains(text, "MISSED") {
		t.Errorf("told once, without a terminal: %s", text)
	}
	if m := regexp.MustCompile(`(?i)\b(safe|secure)\b`).FindString(text); m != "" {
		t.Errorf("it calls something %q", m)
	}
	for line := range strings.Lines(text) {
		if n := len(strings.TrimRight(line, "\n")); n > 80 {
			t.Errorf("a line of %d columns: %s", n, line)
		}
	}
	leavesNothing(t, temp, text)
}

// TestDemoMissed: what Assay should have said and did not is told, and ends in exit code 1.
func TestDemoMissed(t *testing.T) {
	for _, tt := range []struct{ name, from, to, want string }{
		{"another verdict", `"verdict":"unsigned"`, `"verdict":"signed"`, "unsigned@1.0.0: expected verdict unsigned, and it is signed"},
		{"another reason", "tarball-mismatch", "timeout", "tampered@1.0.0: expected tarball-integrity fail tarball-mismatch, and it is fail timeout"},
		{"another runner", `"runner":"self-hosted"`, `"runner":""`, "self-hosted@1.0.0: expected runner self-hosted, and it is none"},
		{"nothing denied", `"decision":"deny"`, `"decision":"allow"`, "the audit: its decisions give exit code 0, and it ended with 1"},
		{"another package", `"name":"from-fork"`, `"name":"spoon"`, "from-fork@1.0.0: it is not in the report"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			temp := demoWorld(t, false)
			f := demoFlags{once: true, patience: patience, lie: func(b []byte) []byte {
				b = regexp.MustCompile(`: "`).ReplaceAll(b, []byte(`:"`))
				return bytes.ReplaceAll(b, []byte(tt.from), []byte(tt.to))
			}}
			var stdout, stderr told
			err := f.run(context.Background(), demoEnvironment(&stdout, &stderr))
			if err != exitError(ExitDenied) {
				t.Errorf("error %v; %s", err, stderr.String())
			}
			if text := stdout.String(); !strings.Contains(text, "MISSED") || !strings.Contains(oneLine(text), tt.want) {
				t.Errorf("%q is not told: %s", tt.want, text)
			}
			leavesNothing(t, temp, stdout.String())
		})
	}
}

// TestDemoInterrupted ends a demo at any point of its story.
func TestDemoInterrupted(t *testing.T) {
	for _, after := range []time.Duration{0, 20 * time.Millisecond, 100 * time.Millisecond, 250 * time.Millisecond} {
		temp := demoWorld(t, false)
		ctx, cancel := context.WithTimeout(context.Background(), after)
		var stdout, stderr told
		code := Main(ctx, []string{"demo"}, demoEnvironment(&stdout, &stderr))
		cancel()
		if code != 130 && !strings.Contains(stdout.String(), "Ctrl-C") {
			t.Errorf("after %v: exit %d", after, code)
		}
		leavesNothing(t, temp, stdout.String())
	}
}

// TestDemoReaderGone: whoever reads the story may leave before its end.
func TestDemoReaderGone(t *testing.T) {
	temp := demoWorld(t, false)
	stdout := told{fail: io.ErrClosedPipe}
	if code := Main(context.Background(), []string{"demo"}, demoEnvironment(&stdout, io.Discard)); code == ExitAllowed {
		t.Error("exit 0")
	}
	leavesNothing(t, temp, "")
}

// TestDemoCommands types what a demo proposes, as a user with a machine of their own, and ends it.
func TestDemoCommands(t *testing.T) {
	temp := demoWorld(t, false)
	ctx, cancel := context.WithCancel(context.Background())
	var stdout, stderr told
	env := demoEnvironment(&stdout, &stderr)
	env.Width = 60
	ended := make(chan int)
	go func() { ended <- Main(ctx, []string{"demo"}, env) }()
	text := stdout.await(t, "Ctrl-C")
	home := t.TempDir()
	settings := map[string]string{"HOME": home, "XDG_CONFIG_HOME": filepath.Join(home, "config"), "npm_config_globalconfig": filepath.Join(home, "none")}
	dir := ""
	for _, line := range strings.Split(text, "\n") {
		if d, ok := strings.CutPrefix(line, "  cd "); ok {
			dir = d
		}
	}
	wants := []struct {
		command string
		code    int
		says    string
	}{
		{"audit app --tarballs", 1, "attestation-stripped"},
		{"verify from-fork@1.0.0", 1, "repository-mismatch"},
		{"verify honest@2.1.0 --repo acme/honest", 0, "https://github.com/acme/honest"},
		{"verify from-pull-request@1.0.0 --event push", 1, "pull_request"},
		{"verify self-hosted@1.0.0 --deny-self-hosted-runners", 1, "self-hosted"},
		{"verify downgraded@1.0.0", 0, "https://github.com/acme/downgraded"},
	}
	for range 2 { // the second time from a warm cache
		n := 0
		for _, line := range strings.Split(text, "\n") {
			_, typed, ok := strings.Cut(line, " "+strings.Fields(wants[min(n, len(wants)-1)].command)[0]+" ")
			if !ok || !strings.Contains(line, "--trusted-root") || n == len(wants) {
				continue
			}
			want := wants[n]
			n++
			args := append(strings.Fields(want.command)[:1], strings.Fields(typed)...)
			if !strings.HasPrefix(strings.Join(args, " "), want.command) {
				t.Errorf("command %q, want %q", args, want.command)
			}
			var out, errs bytes.Buffer
			code := Main(context.Background(), args, Environment{
				Stdin: strings.NewReader(""), Stdout: &out, Stderr: &errs, Dir: dir, Now: time.Now,
				Getenv: func(key string) (string, bool) { v, ok := settings[key]; return v, ok },
			})
			if code != want.code || !strings.Contains(out.String(), want.says) {
				t.Errorf("%s: exit %d, want %d; %s%s", want.command, code, want.code, out.String(), errs.String())
			}
		}
		if n != len(wants) {
			t.Fatalf("%d commands in: %s", n, text)
		}
	}
	cancel()
	if code := <-ended; code != ExitAllowed {
		t.Errorf("exit %d; %s", code, stderr.String())
	}
	leavesNothing(t, temp, text)
}

// TestDemoNPM lets an unmodified npm install the application and say what it makes of it.
func TestDemoNPM(t *testing.T) {
	if testing.Short() {
		t.Skip("it starts npm")
	}
	temp := demoWorld(t, true)
	f := demoFlags{once: true, patience: time.Minute}
	var stdout, stderr told
	env := demoEnvironment(&stdout, &stderr)
	// Whatever npm is set up for here does not count.
	env.Environ = append(env.Environ, "npm_config_registry=http://127.0.0.1:1/", "NPM_CONFIG_OFFLINE=true", "NODE_OPTIONS=--nonsense")
	if err := f.run(context.Background(), env); err != nil {
		t.Fatalf("%v; %s%s", err, stdout.String(), stderr.String())
	}
	text := oneLine(stdout.String())
	for _, want := range []string{
		"npm installed it", "packages have verified registry signatures", "packages have verified attestations",
		"1 package has a missing registry signature", "unsigned@1.0.0 (http://127.0.0.1:", "Each of the 14 packages",
	} {
		if !strings.Contains(text, want) {
			t.Errorf("%q is not told: %s", want, text)
		}
	}
	leavesNothing(t, temp, stdout.String())
}

// TestDemoImpatient: an npm that takes long, or does not work, is done without.
func TestDemoImpatient(t *testing.T) {
	sh, errSh := exec.LookPath("sh")
	sleep, errSleep := exec.LookPath("sleep")
	if errSh != nil || errSleep != nil {
		t.Skip("there is no shell to play npm")
	}
	for _, tt := range []struct {
		script   string
		patience time.Duration
		want     string
	}{
		{sleep + " 60", 300 * time.Millisecond, "as npm takes long here"},
		{"exit 7", time.Minute, "as npm did not install it"},
	} {
		temp := demoWorld(t, false)
		bin := t.TempDir()
		t.Setenv("PATH", bin)
		if err := os.WriteFile(filepath.Join(bin, "npm"), []byte("#!"+sh+"\n"+tt.script+"\n"), 0o755); err != nil {
			t.Fatal(err)
		}
		f := demoFlags{once: true, patience: tt.patience}
		var stdout, stderr told
		start := time.Now()
		if err := f.run(context.Background(), demoEnvironment(&stdout, &stderr)); err != nil {
			t.Fatalf("%v; %s", err, stderr.String())
		}
		if elapsed := time.Since(start); elapsed > 5*time.Second {
			t.Errorf("%s: it takes %v", tt.script, elapsed)
		}
		if !strings.Contains(oneLine(stdout.String()), tt.want) {
			t.Errorf("%q is not told: %s", tt.want, stdout.String())
		}
		leavesNothing(t, temp, stdout.String())
	}
}

// TestDemoTouchesNoNetwork lets every address in the story be one of this machine.
func TestDemoTouchesNoNetwork(t *testing.T) {
	demoWorld(t, false)
	t.Setenv("HTTPS_PROXY", "http://127.0.0.1:1") // whoever would ask the world asks here, and fails
	f := demoFlags{once: true, patience: patience}
	var stdout, stderr told
	if err := f.run(context.Background(), demoEnvironment(&stdout, &stderr)); err != nil {
		t.Fatalf("%v; %s", err, stderr.String())
	}
	for _, m := range regexp.MustCompile(`http://[^\s/]+`).FindAllString(stdout.String(), -1) {
		if u, err := url.Parse(m); err != nil || !net.ParseIP(u.Hostname()).IsLoopback() {
			t.Errorf("address %q", m)
		}
	}
}

package cli_test

import (
	"runtime"
	"strings"
	"testing"
	"time"

	"assay/internal/lab"
	"assay/internal/verify"
)

// TestHostileRegistry audits two packages, one of which meets a registry that misbehaves. The other's verdict
// must not change, the reason must be plain, the exit code right, and time and memory bounded.
func TestHostileRegistry(t *testing.T) {
	for _, tt := range []struct {
		name     string
		endpoint lab.Endpoint
		fault    lab.Fault
		times    int
		args     []string
		verdict  verify.Verdict
		rows     string // among the rows of the package
		code     int
	}{
		{"500s", lab.EndpointVersion, lab.Status(500), 0, nil, verify.Unchecked, "evidence-complete http-status", 3},
		{"503 then fine", lab.EndpointVersion, lab.Status(503), 1, nil, verify.Provenance, "", 0},
		{"429 then fine", lab.EndpointAttestations, lab.RetryAfter(429, 0), 1, nil, verify.Provenance, "", 0},
		{"401", lab.EndpointVersion, lab.Status(401), 0, nil, verify.Unchecked, "evidence-complete unauthorized", 3},
		{"404 for announced attestations", lab.EndpointAttestations, lab.Status(404), 0, nil, verify.Unchecked, "evidence-complete announced-absent", 3},
		{"500 for announced attestations", lab.EndpointAttestations, lab.Status(500), 0, nil, verify.Unchecked, "evidence-complete http-status", 3},
		{"404 for the version", lab.EndpointVersion, lab.Status(404), 0, nil, verify.Unchecked, "evidence-complete version-absent", 3},
		{"hang", lab.EndpointVersion, lab.Hang(), 0, nil, verify.Unchecked, "evidence-complete timeout", 3},
		{"hang in the body", lab.EndpointAttestations, lab.HangBody(), 0, nil, verify.Unchecked, "evidence-complete timeout", 3},
		{"slow drip", lab.EndpointVersion, lab.Drip(1, 50*time.Millisecond), 0, nil, verify.Unchecked, "evidence-complete timeout", 3},
		{"truncated", lab.EndpointVersion, lab.Truncate(), 0, nil, verify.Unchecked, "evidence-complete truncated", 3},
		{"reset", lab.EndpointVersion, lab.Reset(), 0, nil, verify.Unchecked, "", 3},
		{"over-long", lab.EndpointVersion, lab.OverLong(100 << 20), 0, nil, verify.Unchecked, "evidence-complete too-large", 3},
		{"endless", lab.EndpointAttestations, lab.Endless(), 0, nil, verify.Unchecked, "evidence-complete too-large", 3},
		{"100,000 nested arrays", lab.EndpointAttestations, lab.DeepNesting(100_000), 0, nil, verify.Unchecked, "evidence-complete too-deep", 3},
		{"gzip bomb", lab.EndpointVersion, lab.GzipBomb(1 << 30), 0, nil, verify.Unchecked, "", 3},
		{"redirect loop", lab.EndpointVersion, lab.RedirectLoop(), 0, nil, verify.Unchecked, "evidence-complete redirect", 3},
		{"not JSON", lab.EndpointVersion, lab.Body("text/html", []byte("<html>\x1b[2J")), 0, nil, verify.Unchecked, "evidence-complete not-json", 3},
		{"not HTTP", lab.EndpointVersion, lab.Garbage(), 0, nil, verify.Unchecked, "evidence-complete connection", 3},
		{"two members of one name", lab.EndpointVersion, lab.DuplicateKey("name", `"left"`), 0, nil, verify.Invalid, "evidence-complete document-format", 1},
		{"attestations stripped while served", lab.EndpointVersion, lab.StripDist("attestations"), 0, []string{"--deep"}, verify.Provenance, "", 0},
		{"signatures stripped", lab.EndpointVersion, lab.StripDist("signatures"), 0, nil, verify.Invalid, "registry-signature signature-missing", 1},
		{"empty list", lab.EndpointAttestations, lab.Body("application/json", []byte(`{"attestations":[]}`)), 0, nil, verify.Invalid, "evidence-complete list-empty", 1},
		{"null list", lab.EndpointAttestations, lab.Body("application/json", []byte(`null`)), 0, nil, verify.Invalid, "evidence-complete list-format", 1},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			w.env["npm_config_fetch_timeout"] = "700"
			good := w.publish(lab.Release{Package: lab.Package{Name: "good"}, CI: lab.GitHub("acme/good")})
			bad := w.publish(lab.Release{Package: lab.Package{Name: "bad"}, CI: lab.GitHub("acme/bad")})
			w.lock(good, bad)
			w.server.Misbehave(lab.Match{Endpoint: tt.endpoint, Name: "bad"}, tt.fault, tt.times)
			start := time.Now()
			r := w.audit(tt.args...)
			if took := time.Since(start); took > 30*time.Second {
				t.Errorf("took %v", took)
			}
			if p := r.pkg("good"); p.Verdict != verify.Provenance {
				t.Errorf("the other package is %s: %s", p.Verdict, rows(p))
			}
			p := r.pkg("bad")
			if p.Verdict != tt.verdict || !strings.Contains(rows(p), tt.rows) {
				t.Errorf("verdict %s, want %s with %q; rows: %s", p.Verdict, tt.verdict, tt.rows, rows(p))
			}
			if r.code != tt.code {
				t.Errorf("exit code %d, want %d", r.code, tt.code)
			}
			if strings.Contains(r.stderr, "panic") {
				t.Error(r.stderr)
			}
		})
	}
}

// TestHostileText: nothing that a registry says reaches a terminal as it is.
func TestHostileText(t *testing.T) {
	w := newWorld(t)
	p := w.publish(lab.Release{Package: lab.Package{Name: "bad"}, CI: lab.GitHub("acme/bad")})
	w.lock(p)
	for _, e := range []lab.Endpoint{lab.EndpointVersion, lab.EndpointAttestations, lab.EndpointKeys} {
		for _, fault := range []lab.Fault{lab.Escapes(), lab.InvalidUTF8()} {
			w.server.Behave()
			w.server.Misbehave(lab.Match{Endpoint: e}, fault, 0)
			for _, args := range [][]string{{"audit", "-v"}, {"verify", "bad@1.0.0"}, {"audit", "--json"}} {
				r := w.run(append(args, "--trusted-root", "trusted_root.json", "--cache", t.TempDir())...)
				for _, out := range []string{r.stdout, r.stderr} {
					if strings.ContainsFunc(out, func(c rune) bool { return c < 0x20 && c != '\n' || c == 0x7f || c >= 0x80 && c < 0xa0 || c == 0x202e }) {
						t.Errorf("%s, %v: control characters get through: %q", e, args, out)
					}
				}
			}
		}
	}
}

// TestMemory: a registry that sends as much as it can does not make the audit grow without bound.
func TestMemory(t *testing.T) {
	w := newWorld(t)
	var packages []*lab.Published
	for _, name := range strings.Fields("a b c d e f g h i j k l m n o p") {
		packages = append(packages, w.publish(lab.Release{Package: lab.Package{Name: "pkg-" + name}, CI: lab.GitHub("acme/" + name)}))
	}
	w.lock(packages...)
	w.server.Misbehave(lab.Match{Endpoint: lab.EndpointAttestations}, lab.ManyMembers(15<<20), 0)
	stop, peak := make(chan struct{}), make(chan uint64)
	go func() {
		var max uint64
		for {
			var m runtime.MemStats
			runtime.ReadMemStats(&m)
			if m.HeapInuse > max {
				max = m.HeapInuse
			}
			select {
			case <-stop:
				peak <- max
				return
			case <-time.After(5 * time.Millisecond):
			}
		}
	}()
	r := w.audit()
	close(stop)
	if max := <-peak; max > 512<<20 {
		t.Errorf("heap of %d MiB", max>>20)
	}
	if r.code != 1 && r.code != 3 {
		t.Errorf("exit code %d", r.code)
	}
}

// TestRunnerCommands: nothing that a registry says is a command to the CI's runner, whatever the format.
func TestRunnerCommands(t *testing.T) {
	w := newWorld(t)
	p := w.publish(lab.Release{Package: lab.Package{Name: "bad", Manifest: map[string]any{"repository": "https://evil.example/##[set-output name=x;]y"}}, CI: lab.GitHub("acme/bad")})
	w.lock(p)
	for _, args := range [][]string{
		{"audit", "-v"}, {"audit", "--json"}, {"verify", "bad@1.0.0"}, {"audit", "--format", "sarif"}, {"audit", "--format", "gitlab"},
		{"audit", "--format", "markdown"}, {"audit", "--format", "cyclonedx"}, {"audit", "--format", "spdx"},
	} {
		r := w.run(append(args, "--trusted-root", "trusted_root.json")...)
		if !strings.Contains(r.stdout, "set-output") {
			t.Errorf("%v: the text is not in the report, so this shows nothing: %.300s", args, r.stdout)
		}
		for line := range strings.Lines(r.stdout + r.stderr) {
			if strings.Contains(line, "##[") || strings.HasPrefix(strings.TrimSpace(line), "::") {
				t.Errorf("%v prints a command: %q", args, line)
			}
		}
	}
}

package cli_test

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"assay/internal/lab"
	"assay/internal/verify"
)

// npmWorld is a world in which an unmodified npm finds its way too.
type npmWorld struct {
	*world
	npmEnv []string
}

func newNPMWorld(t testing.TB) *npmWorld {
	t.Helper()
	if _, err := exec.LookPath("npm"); err != nil {
		t.Skip("npm is not installed")
	}
	w := &npmWorld{world: newWorld(t)}
	proxy, err := w.ListenProxy(w.server)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { proxy.Close() })
	w.npmEnv, err = proxy.NPMEnv(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	return w
}

// npm runs npm in the project.
func (w *npmWorld) npm(args ...string) (stdout string, ok bool) {
	w.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, "npm", args...)
	cmd.Dir = w.project
	cmd.Env = append(os.Environ(), w.npmEnv...)
	out, err := cmd.Output()
	return string(out), err == nil
}

// TestBesideNPM audits the same tree with npm and with Assay. Whatever npm finds wrong with a package, Assay
// finds wrong too; what only Assay finds is one of the attacks that npm is known to miss.
func TestBesideNPM(t *testing.T) {
	if testing.Short() {
		t.Skip("it starts npm many times")
	}
	github := func(name string) *lab.GitHubRun { return lab.GitHub("acme/" + name) }
	at := time.Now().Add(-time.Hour)
	for _, tt := range []struct {
		name    string
		release func(w *npmWorld, name string) lab.Release
		after   func(w *npmWorld, name string)
		npm     string // what npm says of the package: "", "invalid", "missing" or "abort"
		verdict verify.Verdict
	}{
		{name: "honest", npm: "", verdict: verify.Provenance},
		{name: "unsigned", npm: "missing", verdict: verify.Unsigned,
			release: func(w *npmWorld, name string) lab.Release { return lab.Release{Unsigned: true} }},
		{name: "signed-other", npm: "invalid", verdict: verify.Invalid,
			release: func(w *npmWorld, name string) lab.Release { return lab.Release{SignedMessage: "other@1.0.0:sha512-x"} }},
		{name: "unknown-key", npm: "abort", verdict: verify.Invalid,
			release: func(w *npmWorld, name string) lab.Release {
				return lab.Release{SigningKey: w.UnlistedKey(name)}
			}},
		{name: "bad-envelope", npm: "invalid", verdict: verify.Invalid,
			release: func(w *npmWorld, name string) lab.Release {
				return lab.Release{CI: github(name), Provenance: lab.Tamper{SigningKey: w.NewKey()}}
			}},
		{name: "bad-authority", npm: "invalid", verdict: verify.Invalid,
			release: func(w *npmWorld, name string) lab.Release {
				return lab.Release{CI: github(name), Provenance: lab.Tamper{CA: w.Stranger().CA, SCTIssuer: w.CA}}
			}},
		{name: "bad-sct", npm: "invalid", verdict: verify.Invalid,
			release: func(w *npmWorld, name string) lab.Release {
				return lab.Release{CI: github(name), Provenance: lab.Tamper{CT: []*lab.CTLog{w.Stranger().CT}}}
			}},
		{name: "late", npm: "invalid", verdict: verify.Invalid,
			release: func(w *npmWorld, name string) lab.Release {
				return lab.Release{CI: github(name), Provenance: lab.Tamper{LogTime: at.Add(30 * time.Minute)}}
			}},
		{name: "stranger", npm: "", verdict: verify.Invalid, // npm never compares the certificate with the package
			release: func(w *npmWorld, name string) lab.Release {
				return lab.Release{CI: lab.GitHub("mallory/x"), Package: lab.Package{Manifest: map[string]any{"repository": "acme/stranger"}}}
			}},
		{name: "empty-list", npm: "", verdict: verify.Invalid, // npm counts an empty list as verified
			release: func(w *npmWorld, name string) lab.Release {
				return lab.Release{CI: github(name), Announce: new(true), Attestations: func([]lab.Attestation) []lab.Attestation { return []lab.Attestation{} }}
			}},
		{name: "one-sided", npm: "", verdict: verify.Invalid, // and one without provenance as attested
			release: func(w *npmWorld, name string) lab.Release {
				return lab.Release{CI: github(name), NoProvenance: true, Announce: new(true)}
			}},
		{name: "locked-other", npm: "", verdict: verify.Invalid}, // and never reads the lockfile's integrity: set below
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			w := newNPMWorld(t)
			release := lab.Release{CI: github(tt.name)}
			if tt.release != nil {
				release = tt.release(w, tt.name)
			}
			release.Package.Name, release.At = tt.name, at
			bad := w.publish(release)
			good := w.publish(lab.Release{Package: lab.Package{Name: "good"}, CI: github("good"), At: at})
			if tt.name == "locked-other" {
				bad.Integrity = good.Integrity
			}
			w.lock(good, bad)
			for _, p := range []*lab.Published{good, bad} {
				w.write("node_modules/"+p.Name+"/package.json", mustMarshal(t, p.Manifest))
			}
			npm := npmVerdict(t, w, tt.name)
			if npm != tt.npm {
				t.Errorf("npm says %q, want %q", npm, tt.npm)
			}
			r := w.audit()
			p := r.pkg(tt.name)
			if p.Verdict != tt.verdict {
				t.Errorf("verdict %s, want %s: %s", p.Verdict, tt.verdict, rows(p))
			}
			if npm != "" && r.code == 0 {
				t.Errorf("npm refuses it (%s), and here it is let through", npm)
			}
			if r.pkg("good").Verdict != verify.Provenance {
				t.Errorf("the other package is %s: %s", r.pkg("good").Verdict, rows(r.pkg("good")))
			}
			// npm's own lists are in the report for whoever reads them.
			rep := r.report()
			names := []string{}
			for _, e := range rep.Invalid {
				names = append(names, "invalid "+e.Name)
			}
			for _, e := range rep.Missing {
				names = append(names, "missing "+e.Name)
			}
			if (npm == "invalid" || npm == "missing") && !slices.Contains(names, npm+" "+tt.name) {
				t.Errorf("npm's lists: %v, want %s %s", names, npm, tt.name)
			}
		})
	}
}

func mustMarshal(t testing.TB, v any) []byte {
	t.Helper()
	b, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// npmVerdict is what npm audit signatures says of one package.
func npmVerdict(t *testing.T, w *npmWorld, name string) string {
	t.Helper()
	out, ok := w.npm("audit", "signatures", "--json")
	var rep struct {
		Error            *struct{ Code string }
		Invalid, Missing []struct{ Name string }
	}
	if err := json.Unmarshal([]byte(out), &rep); err != nil {
		t.Fatalf("npm's report: %v: %.300s", err, out)
	}
	if rep.Error != nil {
		return "abort"
	}
	for _, e := range rep.Invalid {
		if e.Name == name {
			return "invalid"
		}
	}
	for _, e := range rep.Missing {
		if e.Name == name {
			return "missing"
		}
	}
	if !ok {
		t.Errorf("npm fails and blames nobody: %.300s", out)
	}
	return ""
}

// peakFile names the file that a process started through this one writes its figures to. A process inherits its
// parent's peak, so what is to be measured must not be started by a process as large as a benchmark's.
const peakFile = "ASSAY_TEST_PEAK_FILE"

func TestMain(m *testing.M) {
	file := os.Getenv(peakFile)
	if file == "" {
		os.Exit(m.Run())
	}
	cmd := exec.Command(os.Args[1], os.Args[2:]...)
	cmd.Stdout, cmd.Stderr = os.Stdout, os.Stderr
	start := time.Now()
	err := cmd.Run()
	took := time.Since(start)
	if cmd.ProcessState == nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(2)
	}
	if err := os.WriteFile(file, fmt.Appendln(nil, peakMiB(cmd.ProcessState), took.Seconds()), 0o600); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(2)
	}
	os.Exit(cmd.ProcessState.ExitCode())
}

// BenchmarkAudit measures whole processes over a project of 1,500 packages, 300 of them attested, at 40 ms latency:
// npm audit signatures and assay audit against the same registry in the same run. It reports, beside the times,
// requests, bytes and peak memory.
//
//	go test -run '^$' -bench Audit -benchtime 1x -timeout 30m ./internal/cli
func BenchmarkAudit(b *testing.B) {
	w := newNPMWorld(b)
	// 75 versions are the mean over 80 packages drawn from nodejs/undici's lockfile in November 2026.
	world, err := w.Generate(lab.WorldOptions{History: 75})
	if err != nil {
		b.Fatal(err)
	}
	if err := world.WriteProject(w.project, w.server.URL, true); err != nil {
		b.Fatal(err)
	}
	w.write("trusted_root.json", w.TrustedRoot())
	w.write("keys.json", w.RegistryKeysTUF())
	w.server.Warm()
	w.server.SetLatency(40 * time.Millisecond)
	binary := filepath.Join(b.TempDir(), "assay")
	build := exec.Command("go", "build", "-trimpath", "-ldflags", "-s -w", "-o", binary, "assay/cmd/assay")
	if out, err := build.CombinedOutput(); err != nil {
		b.Fatalf("building: %v: %s", err, out)
	}
	assay := func(b *testing.B, cache string) (took time.Duration, peak float64) {
		cmd := exec.Command(os.Args[0], binary, "audit", "--trusted-root", "trusted_root.json", "--registry-keys", "keys.json", "--cache", cache)
		cmd.Dir = w.project
		cmd.Env = []string{"npm_config_registry=" + w.server.URL, "PATH=" + os.Getenv("PATH"), peakFile + "=" + filepath.Join(w.home, "peak")}
		for k, v := range w.env {
			cmd.Env = append(cmd.Env, k+"="+v)
		}
		if out, err := cmd.CombinedOutput(); err != nil {
			b.Fatalf("assay audit: %v: %.2000s", err, out)
		}
		data, err := os.ReadFile(filepath.Join(w.home, "peak"))
		if err != nil {
			b.Fatal(err)
		}
		var seconds float64
		if _, err := fmt.Sscan(string(data), &peak, &seconds); err != nil {
			b.Fatal(err)
		}
		return time.Duration(seconds * float64(time.Second)), peak
	}
	report := func(b *testing.B, took time.Duration, peak float64) {
		traffic := w.server.Traffic()
		b.ReportMetric(took.Seconds(), "s")
		b.ReportMetric(float64(traffic.Requests), "requests")
		b.ReportMetric(float64(traffic.Sent)/1e6, "MB")
		if peak > 0 {
			b.ReportMetric(peak, "MiB-peak")
		}
		b.ReportMetric(0, "ns/op")
	}
	caches := 0
	b.Run("npm/cold", func(b *testing.B) {
		for b.Loop() {
			for i, v := range w.npmEnv {
				if key, _, _ := strings.Cut(v, "="); key == "npm_config_cache" {
					w.npmEnv[i] = v + fmt.Sprint("-", caches) // the TUF root has to be there, so the folder is copied
					_, old, _ := strings.Cut(v, "=")
					if err := os.CopyFS(old+fmt.Sprint("-", caches), os.DirFS(old)); err != nil {
						b.Fatal(err)
					}
				}
			}
			w.server.ResetTraffic()
			start := time.Now()
			if out, ok := w.npm("audit", "signatures"); !ok {
				b.Fatalf("npm audit signatures: %s", out)
			}
			report(b, time.Since(start), 0)
		}
	})
	b.Run("npm/warm", func(b *testing.B) {
		for b.Loop() {
			w.server.ResetTraffic()
			start := time.Now()
			if out, ok := w.npm("audit", "signatures"); !ok {
				b.Fatalf("npm audit signatures: %s", out)
			}
			report(b, time.Since(start), 0)
		}
	})
	var cache string
	b.Run("assay/cold", func(b *testing.B) {
		for b.Loop() {
			caches++
			cache = filepath.Join(w.home, fmt.Sprint("cache-", caches))
			w.server.ResetTraffic()
			took, peak := assay(b, cache)
			report(b, took, peak)
		}
	})
	b.Run("assay/warm", func(b *testing.B) {
		if cache == "" {
			cache = filepath.Join(w.home, "cache-warm")
			assay(b, cache)
		}
		for b.Loop() {
			w.server.ResetTraffic()
			took, peak := assay(b, cache)
			report(b, took, peak)
		}
	})
	// The same under a policy of 100 rules, and then with all packages pinned, in turn with none of it.
	for _, with := range []string{"rules", "pins"} {
		b.Run("assay/warm/"+with, func(b *testing.B) {
			if cache == "" {
				cache = filepath.Join(w.home, "cache-warm")
				assay(b, cache)
			}
			file := w.write("assay.yaml", hundredRules())
			defer os.Remove(file)
			if with == "pins" {
				if r := w.run("pin", "--trusted-root", "trusted_root.json", "--registry-keys", "keys.json", "--cache", cache, "--yes", "-q"); r.code != 0 {
					b.Fatalf("assay pin: exit %d: %.2000s", r.code, r.stdout+r.stderr)
				}
				defer os.Remove(filepath.Join(w.project, "assay.lock"))
			}
			var plain, ruled time.Duration
			n := 0
			for b.Loop() {
				took, _ := assay(b, cache)
				ruled += took
				for _, name := range []string{"assay.yaml", "assay.lock"} {
					os.Rename(filepath.Join(w.project, name), filepath.Join(w.project, "not-"+name))
				}
				took, _ = assay(b, cache)
				plain += took
				for _, name := range []string{"assay.yaml", "assay.lock"} {
					os.Rename(filepath.Join(w.project, "not-"+name), filepath.Join(w.project, name))
				}
				n++
			}
			b.ReportMetric(float64(plain.Milliseconds())/float64(n), "ms-without")
			b.ReportMetric(float64(ruled.Milliseconds())/float64(n), "ms")
			b.ReportMetric(float64((ruled-plain).Milliseconds())/float64(n), "ms-more")
			b.ReportMetric(0, "ns/op")
		})
	}
}

// hundredRules is a policy of a hundred rules that all have to be asked, and none of which speaks.
func hundredRules() []byte {
	var text strings.Builder
	text.WriteString("version: 1\nrules:\n")
	for i := range 100 {
		fmt.Fprintf(&text, "  - {id: rule-%d, when: 'publisher.event == \"pull_request\" && publisher.repository.startsWith(\"https://github.com/evil%d/\") || pkg.name.startsWith(\"evil%d-\")', then: deny}\n", i, i, i)
	}
	return []byte(text.String())
}

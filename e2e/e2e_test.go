// Package e2e_test proves Assay against programs that nobody here wrote: the real Fulcio, Rekor and timestamp authority,
// an unmodified npm, npm's own verifier and sigstore-go.
package e2e_test

import (
	"bytes"
	"context"
	"crypto/sha512"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"errors"
	"flag"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/sigstore/sigstore-go/pkg/bundle"
	"github.com/sigstore/sigstore-go/pkg/fulcio/certificate"
	"github.com/sigstore/sigstore-go/pkg/root"
	"github.com/sigstore/sigstore-go/pkg/sign"
	"github.com/sigstore/sigstore-go/pkg/verify"
	"google.golang.org/protobuf/encoding/protojson"

	"assay/e2e/stack"
	"assay/internal/lab"
)

var update = flag.Bool("update", false, "write docs/interop.md instead of comparing it")

// The stack and the program under test are made once, when the first test wants them.
var (
	real = sync.OnceValues(func() (*stack.Stack, error) {
		dir, err := os.Getwd()
		if err != nil {
			return nil, err
		}
		began := time.Now()
		bin, err := stack.Build(context.Background(), dir, func(format string, args ...any) { fmt.Printf(format+"\n", args...) })
		if err != nil {
			return nil, err
		}
		built := time.Now()
		s, err := stack.Start(context.Background(), bin)
		if err == nil {
			fmt.Printf("servers: %.1f s for the build, %.1f s until they answer\n", built.Sub(began).Seconds(), time.Since(built).Seconds())
			logs = s.Logs
			stop = func() error {
				var outside error
				if hosts := s.Refused(); len(hosts) > 0 {
					outside = fmt.Errorf("something beyond this machine was asked for: %q", hosts)
				}
				return errors.Join(outside, s.Close())
			}
		}
		return s, err
	})
	program = sync.OnceValues(func() (string, error) {
		file := filepath.Join(scratch, "assay")
		cmd := exec.Command("go", "build", "-buildvcs=false", "-o", file, "./cmd/assay")
		cmd.Dir = ".." // so that it is built of the product's own modules
		if out, err := cmd.CombinedOutput(); err != nil {
			return "", fmt.Errorf("building assay: %w\n%s", err, out)
		}
		return file, nil
	})
	first        sync.Once
	firstEntries [][]byte // the bundles whose entries are the first ones of Rekor v1 and of v2
	scratch      string
	whole        context.Context // ends when the run is interrupted
	stop         = func() error { return nil }
	logs         = func() string { return "" } // of the servers
)

func TestMain(m *testing.M) {
	flag.Parse()
	code, err := run(m)
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		code = max(code, 1)
	}
	os.Exit(code)
}

func run(m *testing.M) (code int, err error) {
	if scratch, err = os.MkdirTemp("", "assay-e2e-"); err != nil {
		return 1, err
	}
	if err := os.Setenv("TMPDIR", scratch); err != nil { // every temporary directory is in this one
		return 1, err
	}
	var release context.CancelFunc
	whole, release = signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer release()
	tidy := sync.OnceValue(func() error { return errors.Join(stop(), os.RemoveAll(scratch)) })
	over := make(chan struct{})
	go func() {
		select {
		case <-over:
		case <-whole.Done():
			time.Sleep(500 * time.Millisecond) // what the tests had started ends
			tidy()
			os.Exit(130)
		}
	}()
	code = m.Run()
	close(over)
	if code != 0 {
		fmt.Print(logs())
	}
	return code, tidy()
}

// A desk is a place to work at: a home directory and an environment in which the public services are the stack's.
type desk struct {
	*testing.T
	*stack.Stack
	home string
	env  []string
}

func newDesk(t *testing.T) *desk {
	t.Helper()
	if _, err := program(); err != nil {
		t.Fatal(err)
	}
	s, err := real()
	if err != nil {
		t.Fatal(err)
	}
	d := &desk{T: t, Stack: s, home: t.TempDir()}
	if d.env, err = s.Environ(d.home); err != nil {
		t.Fatal(err)
	}
	bin, err := filepath.Abs("npm/node_modules/.bin")
	d.must(err)
	d.env = append(d.env, "PATH="+bin+string(os.PathListSeparator)+os.Getenv("PATH"))
	first.Do(func() {
		j := github("acme/first")
		statement := d.statement(artifact{name: "@acme/first", version: "1.0.0"}, j)
		for _, rekor := range []int{1, 2} {
			firstEntries = append(firstEntries, d.signWithSigstoreGo(statement, d.Lab.Token(j.run, "sigstore"), rekor, rekor == 2))
		}
	})
	return d
}

// in is the same desk in a subtest.
func (d *desk) in(t *testing.T) *desk {
	sub := *d
	sub.T = t
	return &sub
}

func (d *desk) must(err error) {
	d.Helper()
	if err != nil {
		d.Fatal(err)
	}
}

func (d *desk) write(name string, data []byte) string {
	d.Helper()
	if !filepath.IsAbs(name) {
		name = filepath.Join(d.home, name)
	}
	d.must(os.MkdirAll(filepath.Dir(name), 0o755))
	d.must(os.WriteFile(name, data, 0o644))
	return name
}

// An outcome is what became of a program.
type outcome struct {
	code           int
	stdout, stderr string
}

func (o outcome) String() string {
	return fmt.Sprintf("exit code %d\nstdout: %s\nstderr: %s", o.code, o.stdout, o.stderr)
}

func (d *desk) run(dir string, env []string, name string, args ...string) outcome {
	d.Helper()
	ctx, cancel := context.WithTimeout(whole, 5*time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, name, args...)
	cmd.WaitDelay = 5 * time.Second // for what it started itself
	cmd.Dir = dir
	cmd.Env = append(append(append([]string{}, d.env...), env...), "PWD="+dir)
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	err := cmd.Run()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		d.Fatalf("%s %v: %v", name, args, err)
	}
	return outcome{cmd.ProcessState.ExitCode(), stdout.String(), stderr.String()}
}

// npm runs the npm of e2e/npm, which has nothing to do with the machine's.
func (d *desk) npm(dir string, env []string, args ...string) outcome {
	d.Helper()
	cli, err := filepath.Abs("npm/node_modules/npm/bin/npm-cli.js")
	d.must(err)
	if _, err := os.Stat(cli); err != nil {
		d.Fatal("npm is not installed: npm ci --prefix e2e/npm --ignore-scripts")
	}
	return d.run(dir, env, "node", append([]string{cli}, args...)...)
}

func (d *desk) assay(dir string, env []string, args ...string) outcome {
	d.Helper()
	file, err := program()
	d.must(err)
	return d.run(dir, env, file, args...)
}

// trusted are the flags with which assay trusts the stack.
func (d *desk) trusted() []string {
	return []string{"--trusted-root", filepath.Join(d.home, "trusted_root.json"), "--registry-keys", filepath.Join(d.home, "keys.json")}
}

// A job is a job of a CI system that publishes.
type job struct {
	ci         string // GitHub, GitLab
	run        lab.CI
	repository string // for package.json
	environ    func(*lab.Services) []string
}

func github(repository string) job {
	run := lab.GitHub(repository)
	return job{"GitHub", run, "git+https://github.com/" + repository + ".git", func(s *lab.Services) []string { return s.GitHubEnv(run) }}
}

func gitlab(project string) job {
	run := lab.GitLab(project)
	return job{"GitLab", run, "git+https://gitlab.com/" + project + ".git", func(s *lab.Services) []string { return s.GitLabEnv(run, lab.HostRegistry) }}
}

// An artifact is a packed package.
type artifact struct {
	name, version string
	file          string // the tarball
	dir           string // what it was packed of
	sha512        [64]byte
}

func (a artifact) spec() string { return a.name + "@" + a.version }

// pack makes a package with npm.
func (d *desk) pack(name, version string, j job) artifact {
	d.Helper()
	dir := filepath.Join(d.home, "src", strings.ReplaceAll(name, "/", "-")+"-"+version)
	manifest, err := json.MarshalIndent(map[string]any{
		"name": name, "version": version, "license": "MIT", "main": "index.js",
		"repository": map[string]string{"type": "git", "url": j.repository},
	}, "", "  ")
	d.must(err)
	d.write(filepath.Join(dir, "package.json"), manifest)
	d.write(filepath.Join(dir, "index.js"), fmt.Appendf(nil, "module.exports = %q\n", name))
	out := d.npm(dir, nil, "pack", "--silent", "--pack-destination", d.home)
	if out.code != 0 {
		d.Fatalf("npm pack: %v", out)
	}
	file := filepath.Join(d.home, strings.TrimSpace(out.stdout))
	data, err := os.ReadFile(file)
	d.must(err)
	return artifact{name, version, file, dir, sha512.Sum512(data)}
}

// statement is what npm writes of a package.
func (d *desk) statement(a artifact, j job) []byte {
	d.Helper()
	text, err := json.Marshal(j.run.Statement(a.name, a.version, a.sha512[:]))
	d.must(err)
	return text
}

// provenance is the provenance that the registry has of a package.
func (d *desk) provenance(a artifact) []byte {
	d.Helper()
	p := d.Lab.Lookup(a.name, a.version)
	if p == nil {
		d.Fatalf("the registry does not have %s", a.spec())
	}
	for _, at := range p.List {
		if strings.HasPrefix(at.PredicateType, "https://slsa.dev/") {
			return at.Bundle
		}
	}
	d.Fatalf("the registry has no provenance of %s", a.spec())
	return nil
}

// signWithSigstoreGo signs a statement as sigstore-go does.
func (d *desk) signWithSigstoreGo(statement []byte, token string, rekor int, stamped bool) []byte {
	d.Helper()
	key, err := sign.NewEphemeralKeypair(nil)
	d.must(err)
	const patience = 30 * time.Second
	log := &sign.RekorOptions{BaseURL: d.Rekor, Timeout: patience}
	if rekor == 2 {
		log.BaseURL, log.Version = d.RekorV2, 2
	}
	o := sign.BundleOptions{
		Context:                    d.Context(),
		CertificateProvider:        sign.NewFulcio(&sign.FulcioOptions{BaseURL: d.Fulcio, Timeout: patience}),
		CertificateProviderOptions: &sign.CertificateProviderOptions{IDToken: token},
		TransparencyLogs:           []sign.Transparency{sign.NewRekor(log)},
	}
	if stamped {
		o.TimestampAuthorities = []*sign.TimestampAuthority{sign.NewTimestampAuthority(&sign.TimestampAuthorityOptions{URL: d.TSA, Timeout: patience})}
	}
	b, err := sign.Bundle(&sign.DSSEData{Data: statement, PayloadType: "application/vnd.in-toto+json"}, key, o)
	d.must(err)
	text, err := protojson.Marshal(b)
	d.must(err)
	return text
}

// verifyWithSigstoreGo verifies that a job signed a provenance for a tarball's digest.
func verifyWithSigstoreGo(trustedRoot, text, sha512 []byte, run lab.CI) error {
	trust, err := root.NewTrustedRootFromJSON(trustedRoot)
	if err != nil {
		return err
	}
	v, err := verify.NewVerifier(trust, verify.WithSignedCertificateTimestamps(1), verify.WithTransparencyLog(1), verify.WithObserverTimestamps(1))
	if err != nil {
		return err
	}
	var b bundle.Bundle
	if err := b.UnmarshalJSON(text); err != nil {
		return err
	}
	const issuer, source = 8, 12 // extensions of Fulcio's certificates
	want := run.Identity()
	san, err := verify.NewSANMatcher(want.SAN, "")
	if err != nil {
		return err
	}
	by, err := verify.NewIssuerMatcher(want.Extensions[issuer], "")
	if err != nil {
		return err
	}
	id, err := verify.NewCertificateIdentity(san, by, certificate.Extensions{SourceRepositoryURI: want.Extensions[source]})
	if err != nil {
		return err
	}
	_, err = v.Verify(&b, verify.NewPolicy(verify.WithArtifactDigest("sha512", sha512), verify.WithCertificateIdentity(id)))
	return err
}

// A nodeVerifier is the answer of one version of @sigstore/verify.
type nodeVerifier struct {
	Package, Version string
	Results          map[string]string // by name; "" is accepted
}

// verifyWithNode verifies bundles with each version of @sigstore/verify.
func (d *desk) verifyWithNode(trustedRoot []byte, keys map[string]string, bundles map[string]json.RawMessage) []nodeVerifier {
	d.Helper()
	in, err := json.Marshal(map[string]any{"trustedRoot": json.RawMessage(trustedRoot), "keys": keys, "bundles": bundles})
	d.must(err)
	cmd := exec.CommandContext(d.Context(), "node", "npm/verify.cjs")
	cmd.Stdin, cmd.Env = bytes.NewReader(in), d.env
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		d.Fatalf("verify.cjs: %v\n%s", err, stderr.String())
	}
	var list []nodeVerifier
	d.must(json.Unmarshal(out, &list))
	return list
}

// post sends JSON and returns the answer's body.
func post(t *testing.T, url string, body any) []byte {
	t.Helper()
	text, err := json.Marshal(body)
	if err != nil {
		t.Fatal(err)
	}
	res, err := http.Post(url, "application/json", bytes.NewReader(text))
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	answer, err := io.ReadAll(res.Body)
	if err != nil {
		t.Fatal(err)
	}
	if res.StatusCode/100 != 2 {
		t.Fatalf("%s: %s: %s", url, res.Status, answer)
	}
	return answer
}

// pemCertificate reads the first certificate of a PEM text.
func pemCertificate(t *testing.T, text string) *x509.Certificate {
	t.Helper()
	block, _ := pem.Decode([]byte(text))
	if block == nil {
		t.Fatalf("no PEM: %q", text)
	}
	c, err := x509.ParseCertificate(block.Bytes)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func base64Text(b []byte) string { return base64.StdEncoding.EncodeToString(b) }

func pemText(der []byte) string {
	return string(pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der}))
}

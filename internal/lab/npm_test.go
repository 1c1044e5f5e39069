package lab_test

import (
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"assay/internal/lab"
)

// npm runs the real npm against the lab, and returns what it prints and whether it succeeded.
func npm(t *testing.T, dir string, env []string, args ...string) (string, bool) {
	t.Helper()
	cmd := exec.Command("npm", args...)
	cmd.Dir = dir
	cmd.Env = append(os.Environ(), env...)
	out, err := cmd.CombinedOutput()
	return string(out), err == nil
}

// TestNPM lets an unmodified npm install from the lab and audit it. A verifier that nobody here wrote must accept
// what the lab makes, over the wire and through TUF.
func TestNPM(t *testing.T) {
	if testing.Short() {
		t.Skip("it starts npm several times")
	}
	if _, err := exec.LookPath("npm"); err != nil {
		t.Skip("npm is not installed")
	}
	l, err := lab.New(lab.Options{}) // npm looks at the machine's clock
	if err != nil {
		t.Fatal(err)
	}
	s := listen(t, l, lab.ServerOptions{Path: "/npm"})
	p, err := l.ListenProxy(s)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { p.Close() })
	env, err := p.NPMEnv(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	at := l.Now().Add(-time.Hour)
	publish(t, l, lab.Release{Package: lab.Package{Name: "@acme/widget", Version: "1.0.0"}, CI: lab.GitHub("acme/widget"), At: at})
	publish(t, l, lab.Release{Package: lab.Package{Name: "left", Version: "1.2.0"}, At: at})
	publish(t, l, lab.Release{Package: lab.Package{Name: "old", Version: "1.0.0"}, CI: lab.GitLab("acme/old"), Kind: lab.Intoto, MediaType: lab.MediaTypeV02, At: at})

	dir := t.TempDir()
	write := func(name, text string) {
		if err := os.WriteFile(dir+"/"+name, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	write("package.json", `{"name":"app","version":"1.0.0","dependencies":{"@acme/widget":"^1.0.0","left":"^1.0.0","old":"*"}}`)
	write(".npmrc", "registry="+s.URL+"/\n")
	if out, ok := npm(t, dir, env, "install"); !ok {
		t.Fatalf("npm install: %s", out)
	}
	out, ok := npm(t, dir, env, "audit", "signatures")
	if !ok || !strings.Contains(out, "3 packages have verified registry signatures") || !strings.Contains(out, "2 packages have verified attestations") {
		t.Fatalf("npm audit signatures: %s\nrefused: %v", out, p.Refused())
	}
	// A registry that serves another version's attestations is caught.
	other := publish(t, l, lab.Release{Package: lab.Package{Name: "old", Version: "2.0.0"}, CI: lab.GitLab("acme/old"), At: at, Tag: "next"})
	if err := l.Change("old", "1.0.0", func(map[string]any, []lab.Attestation) []lab.Attestation { return other.List }); err != nil {
		t.Fatal(err)
	}
	if out, ok := npm(t, dir, env, "audit", "signatures"); ok {
		t.Errorf("npm accepts another version's attestations: %s", out)
	}
}

// TestNPMPublish lets an unmodified npm publish with provenance as a job of GitHub Actions, by a trusted publisher's
// token, and audit the outcome.
func TestNPMPublish(t *testing.T) {
	if testing.Short() {
		t.Skip("it starts npm several times")
	}
	if _, err := exec.LookPath("npm"); err != nil {
		t.Skip("npm is not installed")
	}
	l, err := lab.New(lab.Options{})
	if err != nil {
		t.Fatal(err)
	}
	p, err := l.ListenProxy()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { p.Close() })
	services := listenServices(t, l)
	env, err := p.NPMEnv(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	publish(t, l, lab.Release{Package: lab.Package{Name: "@acme/widget", Version: "0.9.0"}, At: l.Now().Add(-time.Hour)}) // a trusted publisher needs a package
	dir := t.TempDir()
	manifest := `{"name":"@acme/widget","version":"1.0.0","repository":"github:acme/widget"}`
	if err := os.WriteFile(dir+"/package.json", []byte(manifest), 0o644); err != nil {
		t.Fatal(err)
	}
	job := append(env, services.GitHubEnv(lab.GitHub("acme/widget"))...)
	if out, ok := npm(t, dir, job, "publish", "--access", "public"); !ok {
		t.Fatalf("npm publish: %s\nrefused: %v\nrequests: %+v", out, p.Refused(), p.Registry.Requests())
	}
	app := t.TempDir()
	if out, ok := npm(t, app, env, "install", "@acme/widget@1.0.0"); !ok {
		t.Fatalf("npm install: %s", out)
	}
	out, ok := npm(t, app, env, "audit", "signatures")
	if !ok || !strings.Contains(out, "1 package has a verified attestation") {
		t.Errorf("npm audit signatures: %s", out)
	}
}

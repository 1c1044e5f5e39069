package cli_test

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"assay/internal/evidence"
	"assay/internal/lab"
	"assay/internal/report"
	"assay/internal/verify"
)

// TestInstalled: what lies in node_modules is compared with the tarballs, also where earlier runs have left
// verdicts and digests in the cache.
func TestInstalled(t *testing.T) {
	w := newWorld(t)
	good := w.publish(lab.Release{Package: lab.Package{Name: "good", Files: map[string]string{"index.js": "1", ".gitignore": "x"}}, CI: lab.GitHub("acme/good")})
	bad := w.publish(lab.Release{Package: lab.Package{Name: "bad", Files: map[string]string{"index.js": "1"}}, CI: lab.GitHub("acme/bad")})
	w.lock(good, bad)
	for _, p := range []*lab.Published{good, bad} {
		w.write("node_modules/"+p.Name+"/package.json", manifestOf(t, p))
		w.write("node_modules/"+p.Name+"/index.js", []byte("1"))
	}
	w.write("node_modules/good/.npmignore", []byte("x"))
	status := func(p *report.Package) string {
		for _, c := range p.Checks {
			if c.ID == "installed-files" {
				return string(c.Status) + " " + c.Reason
			}
		}
		return ""
	}
	for range 2 {
		r := w.audit("--installed")
		for _, name := range []string{"good", "bad"} {
			if p := r.pkg(name); p.Verdict != verify.Provenance || status(p) != "pass " {
				t.Errorf("%s: %s, %s; %s", name, p.Verdict, status(p), rows(p))
			}
		}
		if r.code != 0 {
			t.Errorf("exit %d: %s", r.code, r.stderr)
		}
		if r := w.audit("--tarballs"); status(r.pkg("bad")) != "skip not-asked" {
			t.Errorf("without the flag: %s", status(r.pkg("bad")))
		}
	}
	w.write("node_modules/bad/index.js", []byte("2"))
	r := w.audit("--installed")
	if p := r.pkg("bad"); r.code != 1 || rows(p) != "installed-files files-changed" {
		t.Errorf("exit %d, %s", r.code, rows(p))
	}
	if p := r.pkg("good"); p.Verdict != verify.Provenance {
		t.Errorf("good: %s, %s", p.Verdict, rows(p))
	}
	if r := w.audit(); r.code != 0 {
		t.Errorf("without the flag: exit %d", r.code)
	}
	if err := os.RemoveAll(filepath.Join(w.project, "node_modules", "bad")); err != nil {
		t.Fatal(err)
	}
	if r := w.audit("--installed"); r.code != 0 || status(r.pkg("bad")) != "skip not-installed" {
		t.Errorf("not installed: exit %d, %s", r.code, status(r.pkg("bad")))
	}
	if r := w.audit("--installed", "--offline"); r.code != 3 || !strings.Contains(rows(r.pkg("good")), "installed-files ") {
		t.Errorf("offline, where no list of files can be had: exit %d, %s", r.code, rows(r.pkg("good")))
	}
}

// manifestOf returns the bytes of package.json in a tarball.
func manifestOf(t *testing.T, p *lab.Published) []byte {
	t.Helper()
	tarball, err := evidence.ReadTarball(bytes.NewReader(p.Tarball))
	if err != nil || tarball.Manifest == nil {
		t.Fatalf("reading the tarball: %v %s", err, tarball.Problem)
	}
	return tarball.Manifest
}

package cli_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"assay/internal/lab"
)

func (w *world) pin(args ...string) result {
	w.t.Helper()
	return w.run(append([]string{"pin", "--trusted-root", "trusted_root.json"}, args...)...)
}

func (w *world) pins() string {
	w.t.Helper()
	data, err := os.ReadFile(filepath.Join(w.project, "assay.lock"))
	if err != nil {
		w.t.Fatal(err)
	}
	return string(data)
}

// TestPin: what is verified today is accepted, and another publisher tomorrow is not.
func TestPin(t *testing.T) {
	w := newWorld(t)
	ours := lab.GitHub("acme/left")
	left := w.publish(lab.Release{Package: lab.Package{Name: "left"}, CI: ours})
	plain := w.publish(lab.Release{Package: lab.Package{Name: "plain"}})
	w.lock(left, plain)
	if r := w.pin(); r.code != 0 {
		t.Fatalf("exit %d: %s%s", r.code, r.stdout, r.stderr)
	}
	first := w.pins()
	for _, want := range []string{"  left:\n    \"1\":\n      floor: provenance\n", "repository: https://github.com/acme/left", "  plain:\n    \"1\":\n      floor: signed\n"} {
		if !strings.Contains(first, want) {
			t.Errorf("assay.lock lacks %q:\n%s", want, first)
		}
	}
	if r := w.pin(); r.code != 0 || w.pins() != first {
		t.Errorf("pinning twice: exit %d, %s", r.code, w.pins())
	}
	if r := w.audit(); r.code != 0 || len(r.pkg("left").Findings) != 0 {
		t.Errorf("exit %d, %+v", r.code, r.pkg("left").Findings)
	}
	fork := w.publish(lab.Release{Package: lab.Package{Name: "left", Version: "1.0.1"}, CI: lab.GitHub("evil/left")})
	w.lock(fork, plain)
	r := w.audit()
	p := r.pkg("left")
	if r.code != 1 || len(p.Findings) == 0 || p.Findings[0].Rule != "drift" || p.Findings[0].File != "assay.lock" || p.Findings[0].Line == 0 {
		t.Fatalf("exit %d, %s %+v", r.code, p.Verdict, p.Findings)
	}
	if r := w.pin(); r.code != 1 || w.pins() != first {
		t.Errorf("another publisher was accepted without --yes: exit %d\n%s\n%s", r.code, r.stdout, w.pins())
	} else if !strings.HasPrefix(r.stdout, "? ~ left 1:\n      repository id ") || strings.Contains(r.stdout, `\u{`) {
		t.Errorf("told as\n%s", r.stdout)
	}
	if r := w.pin("left"); r.code != 2 || !strings.Contains(r.stderr, "assay pin --update NAME") {
		t.Errorf("a package in place of a path: exit %d\n%s", r.code, r.stderr)
	}
	if r := w.pin("--update", "--repo", "acme/left=acme/right"); r.code != 0 || !strings.Contains(r.stdout, "no package that is pinned to https://github.com/acme/left is published by https://github.com/acme/right now\n") {
		t.Errorf("a move that nobody made: exit %d\n%s%s", r.code, r.stdout, r.stderr)
	}
	if r := w.pin("--update", "left", "--yes"); r.code != 0 || !strings.Contains(w.pins(), "evil/left") {
		t.Errorf("exit %d\n%s%s\n%s", r.code, r.stdout, r.stderr, w.pins())
	}
}

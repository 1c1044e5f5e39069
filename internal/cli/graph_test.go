package cli_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"assay/internal/lab"
)

// grown is a project with a package that is asked for twice, and one of them unsigned.
func grown(t *testing.T) *world {
	w := newWorld(t)
	left := w.publish(lab.Release{Package: lab.Package{Name: "left"}, CI: lab.GitHub("acme/left")})
	plain := w.publish(lab.Release{Package: lab.Package{Name: "plain", Manifest: map[string]any{"dependencies": map[string]any{"left": "^1.0.0"}}}})
	w.lock(left, plain)
	return w
}

func TestTree(t *testing.T) {
	w := grown(t)
	r := w.run("audit", "--tree", "--trusted-root", "trusted_root.json", "--report", "json=report.json")
	for _, want := range []string{
		"app@1.0.0 (package-lock.json)\n", "├─ left@1.0.0 # provenance, built from github.com/acme/left@", "└─ plain@1.0.0 = signed\n",
		"   └─ left@1.0.0 # provenance, deduped\n", "Nothing is denied (exit 0).",
	} {
		if !strings.Contains(r.stdout, want) {
			t.Errorf("the tree lacks %q", want)
		}
	}
	if r.code != 0 || t.Failed() {
		t.Fatalf("exit %d\n%s%s", r.code, r.stdout, r.stderr)
	}
	if data, err := os.ReadFile(filepath.Join(w.project, "report.json")); err != nil || !strings.Contains(string(data), `"assay/report/v1"`) {
		t.Errorf("the report beside it: %v", err)
	}
}

func TestWhy(t *testing.T) {
	w := grown(t)
	r := w.run("audit", "--why", "left", "--trusted-root", "trusted_root.json")
	for _, want := range []string{
		"left@1.0.0 # provenance", "It was built from https://github.com/acme/left@", "allow: let through",
		"app@1.0.0 > left@1.0.0 (asked for as ^1.0.0)\n", "app@1.0.0 > plain@1.0.0 > left@1.0.0 (asked for as ^1.0.0)\n",
	} {
		if !strings.Contains(r.stdout, want) {
			t.Errorf("the answer lacks %q", want)
		}
	}
	if r.code != 0 || t.Failed() {
		t.Fatalf("exit %d\n%s%s", r.code, r.stdout, r.stderr)
	}
}

// TestWhyUnknown: a name that nothing has is a wrong call, told before anything is asked of a registry.
func TestWhyUnknown(t *testing.T) {
	w := grown(t)
	for _, tt := range []struct {
		args []string
		want string
	}{
		{[]string{"--why", "lefft"}, "is it left?"},
		{[]string{"--why", "left@2.0.0"}, "is it left@1.0.0?"},
		{[]string{"--why", ""}, "--why is empty"},
		{[]string{"--why", "another"}, "--tree"},
		{[]string{"--why", "left", "--tree"}, "exclude"},
		{[]string{"--why", "left", "--json"}, "json"},
		{[]string{"--tree", "--format", "json"}, "json"},
	} {
		before := len(w.server.Requests())
		r := w.run(append([]string{"audit", "--trusted-root", "trusted_root.json"}, tt.args...)...)
		if r.code != 2 || r.stdout != "" || !strings.Contains(r.stderr, tt.want) {
			t.Errorf("%q: exit %d, %q, %q", tt.args, r.code, r.stdout, r.stderr)
		}
		if n := len(w.server.Requests()) - before; n != 0 {
			t.Errorf("%q: %d requests", tt.args, n)
		}
	}
}

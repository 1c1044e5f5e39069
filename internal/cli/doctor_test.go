package cli_test

import (
	"bytes"
	"context"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"assay/internal/cli"
	"assay/internal/doctor"
)

// publisher is a project whose publish lacks the permission, with a comment that --fix has to keep.
const publisher = `name: Release
on:
  push:
    tags: ['v*'] # versions
permissions: {}
jobs:
  publish:
    runs-on: ubuntu-latest
    environment: npm
    permissions:
      contents: read # to check out
    steps:
      - run: echo "$GITHUB_REF_NAME"
      - run: npm publish --provenance
`

func doctorRun(t *testing.T, dir string, env map[string]string, args ...string) (code int, stdout, stderr string) {
	t.Helper()
	var out, errs bytes.Buffer
	code = cli.Main(context.Background(), append([]string{"doctor"}, args...), cli.Environment{
		Stdin: strings.NewReader(""), Stdout: &out, Stderr: &errs, Dir: dir, Width: 100,
		Getenv: func(name string) (string, bool) { v, ok := env[name]; return v, ok },
	})
	return code, out.String(), errs.String()
}

func publisherDir(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	for name, text := range map[string]string{
		".github/workflows/release.yml": publisher,
		".git/config":                   "[remote \"origin\"]\n\turl = git@github.com:acme/widget.git\n",
		"package.json":                  `{"name": "widget", "version": "1.0.0", "repository": "acme/widget"}`,
		"packages/x/.keep":              "",
	} {
		path := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

func TestDoctor(t *testing.T) {
	dir := publisherDir(t)
	code, out, stderr := doctorRun(t, dir, nil)
	if code != 1 || stderr != "" {
		t.Errorf("exit %d, %s", code, stderr)
	}
	for _, want := range []string{"release.yml", "error  id-token-missing", "| permissions:", "npm publish (.github/workflows/release.yml:14, job publish)", "packages: widget", "https://github.com/acme/widget (git remote origin)", "errors: 1, warnings: 0, notes: 0; --fix mends 1 of them"} {
		if !strings.Contains(out, want) {
			t.Errorf("the text lacks %q:\n%s", want, out)
		}
	}
	// The same from a directory below, and for the workflow alone.
	if code, below, _ := doctorRun(t, filepath.Join(dir, "packages/x"), nil); code != 1 || below != out {
		t.Errorf("exit %d below:\n%s", code, below)
	}
	if code, alone, _ := doctorRun(t, dir, nil, ".github/workflows/release.yml"); code != 1 || !strings.Contains(alone, "id-token-missing") {
		t.Errorf("exit %d for the workflow:\n%s", code, alone)
	}

	code, out, _ = doctorRun(t, dir, nil, "--json")
	var r doctor.Report
	if err := json.Unmarshal([]byte(out), &r); err != nil || code != 1 {
		t.Fatalf("exit %d, %v", code, err)
	}
	if r.Schema != "assay/doctor/v1" || len(r.Findings) != 1 || r.Findings[0].Rule != "id-token-missing" || r.Findings[0].Line != 10 || !r.Findings[0].Fixable {
		t.Errorf("%+v", r)
	}
	if code, out, _ = doctorRun(t, dir, nil, "--format", "sarif"); code != 1 || !strings.Contains(out, `"version": "2.1.0"`) || !json.Valid([]byte(out)) {
		t.Errorf("exit %d:\n%s", code, out)
	}

	code, _, stderr = doctorRun(t, dir, nil, "--fix")
	if code != 0 || !strings.Contains(stderr, "mended .github/workflows/release.yml:10 id-token-missing") {
		t.Errorf("exit %d: %s", code, stderr)
	}
	got, err := os.ReadFile(filepath.Join(dir, ".github/workflows/release.yml"))
	if err != nil {
		t.Fatal(err)
	}
	want := strings.Replace(publisher, "# to check out\n", "# to check out\n      id-token: write\n", 1)
	if string(got) != want {
		t.Errorf("--fix wrote\n%s", got)
	}
	if code, _, stderr = doctorRun(t, dir, nil, "--fix"); code != 0 || stderr != "" {
		t.Errorf("a second --fix: exit %d: %s", code, stderr)
	}
}

// TestDoctorRewrites: --fix replaces a file as a whole, keeps its permissions, leaves nothing beside it, and
// tells what it left.
func TestDoctorRewrites(t *testing.T) {
	dir := publisherDir(t)
	workflows := filepath.Join(dir, ".github/workflows")
	file := filepath.Join(workflows, "release.yml")
	if err := os.Chmod(file, 0o640); err != nil {
		t.Fatal(err)
	}
	if code, _, stderr := doctorRun(t, dir, nil, "--fix"); code != 0 {
		t.Fatalf("exit %d: %s", code, stderr)
	}
	entries, err := os.ReadDir(workflows)
	if err != nil || len(entries) != 1 {
		t.Errorf("beside the workflow: %v, %v", entries, err)
	}
	if info, err := os.Stat(file); err != nil || info.Mode().Perm() != 0o640 {
		t.Errorf("permissions: %v, %v", info.Mode(), err)
	}
	shared := strings.Replace(publisher, "permissions:\n      contents", "permissions: &p\n      contents", 1) +
		"  other:\n    runs-on: ubuntu-latest\n    permissions: *p\n    steps:\n      - run: echo\n"
	if err := os.WriteFile(file, []byte(shared), 0o644); err != nil {
		t.Fatal(err)
	}
	code, _, stderr := doctorRun(t, dir, nil, "--fix")
	if code != 1 || !strings.Contains(stderr, "left .github/workflows/release.yml:") || strings.Contains(stderr, "mended") {
		t.Errorf("a shared block: exit %d: %s", code, stderr)
	}
}

// TestDoctorInert: what a workflow says is no command to the runner that prints it.
func TestDoctorInert(t *testing.T) {
	dir := publisherDir(t)
	text := strings.Replace(publisher, "  publish:\n", "  \"##[error]x\":\n", 1)
	if err := os.WriteFile(filepath.Join(dir, ".github/workflows", "release.yml"), []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "::error::x.yml"), []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
	for _, args := range [][]string{nil, {"::error::x.yml"}, {"--fix"}} {
		_, out, stderr := doctorRun(t, dir, nil, args...)
		if all := out + stderr; strings.Contains(all, "##[") || strings.HasPrefix(strings.TrimSpace(all), "::") || strings.Contains(all, "\n::") {
			t.Errorf("doctor %q prints a command:\n%s", args, all)
		}
		if !strings.Contains(out+stderr, `#\u{23}[error]x`) {
			t.Errorf("doctor %q does not show the job:\n%s%s", args, out, stderr)
		}
	}
}

// TestDoctorBuilding: which repository builds is the flag's, the CI's or git's word, in this order.
func TestDoctorBuilding(t *testing.T) {
	dir := publisherDir(t)
	event := filepath.Join(dir, "event.json")
	if err := os.WriteFile(event, []byte(`{"repository": {"private": true}}`), 0o644); err != nil {
		t.Fatal(err)
	}
	github := map[string]string{"GITHUB_ACTIONS": "true", "GITHUB_REPOSITORY": "Acme/Widget", "GITHUB_EVENT_PATH": event}
	_, out, _ := doctorRun(t, dir, github)
	for _, want := range []string{"error  repository-case", "error  private-repository", "(GITHUB_REPOSITORY)"} {
		if !strings.Contains(out, want) {
			t.Errorf("in GitHub Actions the text lacks %q:\n%s", want, out)
		}
	}
	if _, out, _ = doctorRun(t, dir, github, "--repo", "acme/other"); !strings.Contains(out, "error  repository-mismatch") {
		t.Errorf("with --repo:\n%s", out)
	}
	gitlab := map[string]string{"GITLAB_CI": "true", "CI_PROJECT_URL": "https://gitlab.com/acme/widget"}
	if _, out, _ = doctorRun(t, dir, gitlab); !strings.Contains(out, "error  repository-mismatch") {
		t.Errorf("in GitLab CI:\n%s", out)
	}
}

func TestDoctorUsage(t *testing.T) {
	dir := publisherDir(t)
	for _, tt := range []struct {
		args []string
		want string
	}{
		{[]string{"nowhere"}, "looking at"},
		{[]string{"a", "b"}, "one directory or workflow"},
		{[]string{"--format", "html"}, `unknown format "html"`},
		{[]string{"--repo", "a b c"}, "--repo"},
		{[]string{t.TempDir()}, "neither a package.json nor a CI file"},
	} {
		if code, _, stderr := doctorRun(t, dir, nil, tt.args...); code != 2 || !strings.Contains(stderr, tt.want) {
			t.Errorf("doctor %q: exit %d, %s", tt.args, code, stderr)
		}
	}
}

package publish

import (
	"bytes"
	"crypto/sha512"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"assay/internal/lab"
	"assay/internal/npm"
)

func lookup(env map[string]string) func(string) (string, bool) {
	return func(name string) (string, bool) { v, ok := env[name]; return v, ok }
}

func environment(list []string) map[string]string {
	env := map[string]string{}
	for _, e := range list {
		name, value, _ := strings.Cut(e, "=")
		if value != "" {
			env[name] = value
		}
	}
	return env
}

// jobs are the environments of jobs, from the plain to the odd.
func jobs(t *testing.T) map[string]map[string]string {
	t.Helper()
	l, err := lab.New(lab.Options{Seed: "jobs"})
	if err != nil {
		t.Fatal(err)
	}
	s, err := l.ListenServices("")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	out := map[string]map[string]string{
		"GitHub": environment(s.GitHubEnv(lab.GitHub("acme/widget"))),
		"GitLab": environment(s.GitLabEnv(lab.GitLab("acme/sub/widget"), "registry.npmjs.org")),
	}
	odd := environment(s.GitHubEnv(lab.GitHub("acme/widget")))
	odd["GITHUB_WORKFLOW_REF"] = "acme/widget/.github/workflows/re lease.yml@refs/tags/@acme/widget@1.0.0"
	odd["GITHUB_REF"] = "refs/heads/<ümläut>&\"\\\u2028\U0001f600\x7f"
	out["GitHub, odd"] = odd
	full := environment(s.GitLabEnv(lab.GitLab("acme/widget"), "registry.npmjs.org"))
	for i, name := range gitlabParameters {
		if _, ok := full[name]; !ok {
			full[name] = fmt.Sprintf("value %d <&>\n\t\"\u00e9\u2029\x01", i)
		}
	}
	full["CI_COMMIT_TITLE"], full["CI_RUNNER_TAGS"] = "a \\ \b\f\r \U0001f4a9", `["saas-linux-small-amd64"]`
	out["GitLab, everything"] = full
	empty := environment(s.GitLabEnv(lab.GitLab("acme/widget"), "registry.npmjs.org"))
	empty["CI_PROJECT_DESCRIPTION"], empty["CI_COMMIT_TITLE"] = "", ""
	delete(empty, "CI_RUNNER_DESCRIPTION")
	delete(empty, "CI_CONFIG_PATH")
	out["GitLab, empty and unset"] = empty
	return out
}

// npmRoot is where npm itself lies.
func npmRoot(t *testing.T) string {
	t.Helper()
	npm, err := exec.LookPath("npm")
	if err != nil {
		t.Skip("npm is not installed, so its own statement cannot be had")
	}
	real, err := filepath.EvalSymlinks(npm)
	if err != nil {
		t.Fatal(err)
	}
	root := filepath.Dir(filepath.Dir(real))
	if _, err := os.Stat(filepath.Join(root, "node_modules", "libnpmpublish")); err != nil {
		t.Skip("npm's own modules are not where npm is")
	}
	return root
}

// TestStatementIsNPMs runs npm's own module up to the point where it would sign, and compares bytes.
func TestStatementIsNPMs(t *testing.T) {
	root := npmRoot(t)
	script := `
const path = require('path'), root = process.argv[1]
const sigstore = require.resolve('sigstore', {paths: [root]})
require.cache[sigstore] = {id: sigstore, filename: sigstore, loaded: true, exports: {attest: async (payload) => { process.stdout.write(payload) }}}
const {generateProvenance} = require(path.join(root, 'node_modules/libnpmpublish/lib/provenance.js'))
const npa = require(require.resolve('npm-package-arg', {paths: [root]}))
generateProvenance([{name: npa.toPurl(npa.resolve(process.argv[2], process.argv[3])), digest: {sha512: process.argv[4]}}], {})`
	for name, env := range jobs(t) {
		for _, id := range []npm.ID{{Name: "@acme/widget", Version: "1.2.3-rc.1"}, {Name: "left", Version: "0.0.1"}} {
			digest := sha512.Sum512([]byte(name))
			ci, err := DetectCI(lookup(env))
			if err != nil {
				t.Fatal(err)
			}
			got, err := ci.Statement(id, digest[:])
			if err != nil {
				t.Fatalf("%s: %v", name, err)
			}
			cmd := exec.Command("node", "-e", script, root, id.Name, id.Version, fmt.Sprintf("%x", digest))
			cmd.Env = []string{"PATH=" + os.Getenv("PATH")}
			for k, v := range env {
				cmd.Env = append(cmd.Env, k+"="+v)
			}
			var stderr bytes.Buffer
			cmd.Stderr = &stderr
			want, err := cmd.Output()
			if err != nil {
				t.Fatalf("%s: %v\n%s", name, err, &stderr)
			}
			if !bytes.Equal(got, want) {
				t.Errorf("%s, %s:\n got %s\nwant %s", name, id, got, want)
			}
		}
	}
}

// TestStatement has what holds without npm.
func TestStatement(t *testing.T) {
	for name, env := range jobs(t) {
		ci, err := DetectCI(lookup(env))
		if err != nil {
			t.Fatal(err)
		}
		text, err := ci.Statement(npm.ID{Name: "@acme/widget", Version: "1.2.3"}, []byte{1, 2})
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		var st struct {
			Subject []struct {
				Name   string
				Digest map[string]string
			}
			PredicateType string
		}
		if err := json.Unmarshal(text, &st); err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		if len(st.Subject) != 1 || st.Subject[0].Name != "pkg:npm/%40acme/widget@1.2.3" || st.Subject[0].Digest["sha512"] != "0102" {
			t.Errorf("%s: subject %v", name, st.Subject)
		}
		if want := map[Provider]string{GitHub: slsaV1, GitLab: slsaV02}[ci.Provider]; st.PredicateType != want {
			t.Errorf("%s: %s, want %s", name, st.PredicateType, want)
		}
		if bytes.Contains(text, []byte("undefined")) {
			t.Errorf("%s: %s", name, text)
		}
		// A variable that is missing is named.
		for _, variable := range []string{"GITHUB_SHA", "RUNNER_ENVIRONMENT", "CI_PROJECT_URL", "CI_RUNNER_ID"} {
			if v, ok := env[variable]; ok {
				delete(env, variable)
				if _, err := ci.Statement(npm.ID{}, nil); err == nil || !strings.Contains(err.Error(), variable) {
					t.Errorf("%s without %s: %v", name, variable, err)
				}
				env[variable] = v
			}
		}
	}
}

func TestDetectCI(t *testing.T) {
	tests := []struct {
		env     string
		want    Provider
		wantErr string
	}{
		{"GITHUB_ACTIONS=true", GitHub, ""},
		{"GITLAB_CI=true", GitLab, ""},
		{"GITHUB_ACTIONS=true GITLAB_CI=", GitHub, ""},
		{"GITHUB_ACTIONS=", "", "not a CI job"},
		{"CIRCLECI=true", "", "not a CI job"},
		{"GITHUB_ACTIONS=true GITLAB_CI=true", "", "both"},
	}
	for _, tt := range tests {
		env := map[string]string{}
		for _, e := range strings.Fields(tt.env) {
			name, value, _ := strings.Cut(e, "=")
			env[name] = value
		}
		ci, err := DetectCI(lookup(env))
		checkError(t, tt.env, err, tt.wantErr)
		if err == nil && ci.Provider != tt.want {
			t.Errorf("%s: %s", tt.env, ci.Provider)
		}
	}
}

func checkError(t *testing.T, what string, err error, want string) {
	t.Helper()
	switch {
	case want == "" && err != nil:
		t.Errorf("%s: %v", what, err)
	case want != "" && (err == nil || !strings.Contains(err.Error(), want)):
		t.Errorf("%s: error %v, want one with %q", what, err, want)
	}
}

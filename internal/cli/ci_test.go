package cli_test

import (
	"bytes"
	"context"
	"flag"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/rhysd/actionlint"
	"gopkg.in/yaml.v3"

	"assay/internal/cli"
	"assay/internal/lab"
	"assay/internal/policy"
)

// TestAsCommand is this test binary as the program itself, for scripts that run it: see [world.bin].
func TestAsCommand(t *testing.T) {
	if os.Getenv("ASSAY_AS_COMMAND") == "" {
		return
	}
	os.Exit(cli.Main(context.Background(), flag.Args(), cli.OS()))
}

// bin makes a directory for PATH with a program assay.
func (w *world) bin() string {
	w.t.Helper()
	self, err := os.Executable()
	if err != nil {
		w.t.Fatal(err)
	}
	dir := w.t.TempDir()
	script := fmt.Sprintf("#!/bin/sh\nASSAY_AS_COMMAND=1 exec '%s' -test.run='^TestAsCommand$' -- \"$@\"\n", self)
	if err := os.WriteFile(filepath.Join(dir, "assay"), []byte(script), 0o755); err != nil {
		w.t.Fatal(err)
	}
	return dir
}

// builder makes a directory for PATH with a program go that builds nothing, but puts assay where it is asked to.
func (w *world) builder() string {
	w.t.Helper()
	dir := w.bin()
	script := "#!/bin/sh\n[ \"$1\" = build ] || exit 1\n[ -d cmd/assay ] || { echo 'not in the sources' >&2; exit 1; }\nwhile [ \"$1\" != -o ]; do shift; done\nmkdir -p \"$(dirname \"$2\")\" && cp '" + dir + "/assay' \"$2\"\n"
	bin := w.t.TempDir()
	if err := os.WriteFile(filepath.Join(bin, "go"), []byte(script), 0o755); err != nil {
		w.t.Fatal(err)
	}
	return bin
}

// shell runs a script in the project, as a CI's runner does.
func (w *world) shell(dir, script, path string, env map[string]string) (code int, output string) {
	w.t.Helper()
	file := filepath.Join(w.t.TempDir(), "step")
	if err := os.WriteFile(file, []byte(script), 0o644); err != nil {
		w.t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, "bash", "--noprofile", "--norc", "-eo", "pipefail", file)
	cmd.Dir = dir
	cmd.Env = append(cmd.Env, "PATH="+path+string(os.PathListSeparator)+os.Getenv("PATH"), "npm_config_registry="+w.server.URL,
		"ASSAY_TUF_URL="+w.server.URL+"/tuf", "GIT_CONFIG_GLOBAL=/dev/null", "GIT_CONFIG_SYSTEM=/dev/null",
		"GIT_AUTHOR_NAME=a", "GIT_AUTHOR_EMAIL=a@example.com", "GIT_COMMITTER_NAME=a", "GIT_COMMITTER_EMAIL=a@example.com")
	for _, set := range []map[string]string{w.env, env} {
		for k, v := range set {
			cmd.Env = append(cmd.Env, k+"="+v)
		}
	}
	out, err := cmd.CombinedOutput()
	if cmd.ProcessState == nil {
		w.t.Fatal(err)
	}
	return cmd.ProcessState.ExitCode(), string(out)
}

type step struct {
	ID   string            `yaml:"id"`
	Uses string            `yaml:"uses"`
	Run  string            `yaml:"run"`
	Dir  string            `yaml:"working-directory"`
	Env  map[string]string `yaml:"env"`
	With map[string]string `yaml:"with"`
}

type action struct {
	Inputs map[string]struct {
		Default string `yaml:"default"`
	} `yaml:"inputs"`
	Outputs map[string]struct {
		Value string `yaml:"value"`
	} `yaml:"outputs"`
	Runs struct {
		Steps []step `yaml:"steps"`
	} `yaml:"runs"`
}

// ofRepository is a file of this repository.
func ofRepository(t testing.TB, name string) string {
	t.Helper()
	path, err := filepath.Abs(filepath.Join("..", "..", filepath.FromSlash(name)))
	if err != nil {
		t.Fatal(err)
	}
	return path
}

func readYAML(t testing.TB, name string, into any) {
	t.Helper()
	data, err := os.ReadFile(ofRepository(t, name))
	if err != nil {
		t.Fatal(err)
	}
	if err := yaml.Unmarshal(data, into); err != nil {
		t.Fatalf("%s: %v", name, err)
	}
}

var expression = regexp.MustCompile(`\$\{\{\s*(.*?)\s*\}\}`)

// uses runs the action with inputs, its steps in turn with bash, and returns its outputs.
func (w *world) uses(inputs, env map[string]string) (code int, output string, outputs map[string]string) {
	w.t.Helper()
	var a action
	readYAML(w.t, "action.yml", &a)
	for name := range inputs {
		if _, ok := a.Inputs[name]; !ok {
			w.t.Fatalf("the action has no input %s", name)
		}
	}
	results := map[string]map[string]string{}
	temp := w.t.TempDir()
	fill := func(text string) string {
		return expression.ReplaceAllStringFunc(text, func(e string) string {
			name := expression.FindStringSubmatch(e)[1]
			part := strings.Split(name, ".")
			switch {
			case name == "github.action_path":
				return ofRepository(w.t, ".")
			case part[0] == "inputs" && len(part) == 2:
				in, ok := a.Inputs[part[1]]
				if !ok {
					w.t.Fatalf("%s is no input", name)
				}
				if v, ok := inputs[part[1]]; ok {
					return v
				}
				return in.Default
			case part[0] == "steps" && len(part) == 4:
				return results[part[1]][part[3]]
			}
			w.t.Fatalf("the expression %s is not known here", name)
			return ""
		})
	}
	builder := w.builder()
	for _, s := range a.Runs.Steps {
		if s.Uses != "" {
			continue
		}
		if strings.Contains(s.Run, "${{") {
			w.t.Fatalf("a script holds an expression, through which an input could bring commands:\n%s", s.Run)
		}
		file := filepath.Join(temp, "output-"+s.ID)
		if err := os.WriteFile(file, nil, 0o644); err != nil {
			w.t.Fatal(err)
		}
		all := map[string]string{"RUNNER_TEMP": temp, "GITHUB_OUTPUT": file, "GITHUB_STEP_SUMMARY": filepath.Join(temp, "summary.md"), "GITHUB_ACTIONS": "true", "CI": "true"}
		for k, v := range env {
			all[k] = v
		}
		for k, v := range s.Env {
			all[k] = fill(v)
		}
		dir := w.project
		if s.Dir != "" {
			dir = fill(s.Dir)
		}
		var text string
		code, text = w.shell(dir, s.Run, builder, all)
		output += text
		data, err := os.ReadFile(file)
		if err != nil {
			w.t.Fatal(err)
		}
		results[s.ID] = map[string]string{}
		for line := range strings.Lines(string(data)) {
			k, v, _ := strings.Cut(strings.TrimSuffix(line, "\n"), "=")
			results[s.ID][k] = v
		}
		if code != 0 {
			break
		}
	}
	outputs = map[string]string{}
	for name, o := range a.Outputs {
		outputs[name] = fill(o.Value)
	}
	if summary, err := os.ReadFile(filepath.Join(temp, "summary.md")); err == nil {
		outputs["summary"] = string(summary)
	}
	return code, output, outputs
}

// ciWorld is a project under git whose branch topic brings a package that was built from elsewhere than it claims.
func ciWorld(t *testing.T) *world {
	w := newWorld(t)
	good := w.publish(lab.Release{Package: lab.Package{Name: "left", Version: "1.0.0"}, CI: lab.GitHub("acme/left")})
	w.lock(good)
	w.write(".gitignore", []byte("*.json\n!package*.json\n*.md\n*.sarif\n"))
	w.commit("first")
	w.git("update-ref", "refs/remotes/origin/main", "HEAD")
	w.git("checkout", "-q", "-b", "topic")
	bad := w.publish(lab.Release{Package: lab.Package{Name: "left", Version: "1.0.1", Manifest: map[string]any{"repository": "acme/left"}}, CI: lab.GitHub("mallory/left")})
	w.lock(bad)
	w.commit("second")
	return w
}

// moveTo moves the project into a directory, as in a repository of several, with the same two states.
func (w *world) moveTo(dir string) {
	w.t.Helper()
	bad := w.git("show", "topic:package-lock.json")
	w.git("checkout", "-q", "main")
	for _, name := range []string{"package-lock.json", "package.json", ".npmrc"} {
		data, err := os.ReadFile(filepath.Join(w.project, name))
		if err != nil {
			w.t.Fatal(err)
		}
		w.write(dir+"/"+name, data)
		w.git("rm", "-q", name)
	}
	w.commit("moved")
	w.git("update-ref", "refs/remotes/origin/main", "HEAD")
	w.git("checkout", "-q", "-b", "moved")
	w.write(dir+"/package-lock.json", []byte(bad))
	w.commit("second")
}

// TestAction runs the steps of action.yml as GitHub's runner would.
func TestAction(t *testing.T) {
	w := ciWorld(t)
	pull := map[string]string{"GITHUB_EVENT_NAME": "pull_request", "GITHUB_BASE_REF": "main"}
	root := "--trusted-root=trusted_root.json"
	t.Run("denied", func(t *testing.T) {
		w.t = t
		inputs := map[string]string{"args": root + "\n--no-color\n", "sarif": "assay.sarif"}
		code, output, got := w.uses(inputs, pull)
		if code != 1 || got["exit-code"] != "1" || !strings.Contains(output, "left@1.0.1") {
			t.Fatalf("exit %d, %v\n%s", code, got, output)
		}
		if data, err := os.ReadFile(got["report"]); err != nil || !strings.Contains(string(data), `"schema":"assay/report/v1"`) && !strings.Contains(string(data), `"schema": "assay/report/v1"`) {
			t.Errorf("the report: %v\n%.300s", err, data)
		}
		if data, err := os.ReadFile(got["diff"]); err != nil || !strings.Contains(string(data), "| **DENY** | `left` | `1.0.0` | `1.0.1` |") || !strings.Contains(got["summary"], "`1.0.0` | `1.0.1`") {
			t.Errorf("the diff: %v\n%s\nthe summary:\n%s", err, data, got["summary"])
		}
		if data, err := os.ReadFile(filepath.Join(w.project, "assay.sarif")); err != nil || !strings.Contains(string(data), "2.1.0") {
			t.Errorf("SARIF: %v", err)
		}
	})
	t.Run("reported only", func(t *testing.T) {
		w.t = t
		code, output, got := w.uses(map[string]string{"args": root, "fail-on": "never", "summary": "false"}, nil)
		if code != 0 || got["exit-code"] != "1" || got["diff"] != "" || got["summary"] != "" {
			t.Errorf("exit %d, %v\n%s", code, got, output)
		}
	})
	t.Run("mistakes fail in any case", func(t *testing.T) {
		w.t = t
		for _, inputs := range []map[string]string{
			{"args": root, "fail-on": "never", "policy": "nowhere.yaml"}, {"args": "--nonsense", "fail-on": "never"}, {"fail-on": "always"}, {"version": "v9.9.9"}, {"args": root, "path": "nowhere"},
		} {
			if code, output, _ := w.uses(inputs, nil); code != 2 {
				t.Errorf("%v: exit %d\n%s", inputs, code, output)
			}
		}
	})
	t.Run("several paths", func(t *testing.T) {
		w.t = t
		w.git("checkout", "-q", "main")
		defer w.git("checkout", "-q", "topic")
		code, output, got := w.uses(map[string]string{"args": root, "path": ".\npackage-lock.json\n\n", "version": cli.Version()}, nil)
		if code != 0 || got["exit-code"] != "0" {
			t.Errorf("exit %d, %v\n%s", code, got, output)
		}
	})
	t.Run("a project in a directory", func(t *testing.T) {
		w := ciWorld(t)
		w.moveTo("the app")
		// Both paths are of one project, and a file's name is looked for from where the action stands.
		code, output, got := w.uses(map[string]string{"args": root, "path": "the app\nthe app/package-lock.json"}, pull)
		if code != 1 || strings.Contains(output, "assay: error") {
			t.Errorf("exit %d, %v\n%s", code, got, output)
		}
		if data, err := os.ReadFile(got["diff"]); err != nil || strings.Count(string(data), "| **DENY** | `left` | `1.0.0` | `1.0.1` |") != 1 || !strings.Contains(got["summary"], "`1.0.0` | `1.0.1`") {
			t.Errorf("the diff: %v\n%s\nthe summary:\n%s", err, data, got["summary"])
		}
	})
	t.Run("an input is no command", func(t *testing.T) {
		w.t = t
		evil := "$(touch pwned)`touch pwned`\"; touch pwned; '; touch pwned #\n; touch pwned"
		for _, name := range []string{"path", "policy", "fail-on", "args", "version", "sarif", "summary"} {
			inputs := map[string]string{"args": root, name: evil}
			w.uses(inputs, pull)
			if _, err := os.Stat(filepath.Join(w.project, "pwned")); err == nil {
				t.Fatalf("the input %s is run as a command", name)
			}
		}
	})
	t.Run("no history", func(t *testing.T) {
		w.t = t
		if code, output, _ := w.uses(map[string]string{"args": root}, map[string]string{"GITHUB_EVENT_NAME": "pull_request", "GITHUB_BASE_REF": "gone"}); code != 2 || !strings.Contains(output, "fetch-depth: 0") {
			t.Errorf("exit %d\n%s", code, output)
		}
	})
}

// TestReusableWorkflow: what it hands to the action is what that takes, and it takes a commit only.
func TestReusableWorkflow(t *testing.T) {
	var flow struct {
		On struct {
			Call struct {
				Inputs map[string]struct {
					Default string `yaml:"default"`
				} `yaml:"inputs"`
			} `yaml:"workflow_call"`
		} `yaml:"on"`
		Jobs map[string]struct {
			Steps []step `yaml:"steps"`
		} `yaml:"jobs"`
	}
	readYAML(t, ".github/workflows/assay.yml", &flow)
	w := ciWorld(t)
	ran := 0
	for _, s := range flow.Jobs["audit"].Steps {
		if strings.Contains(s.Run, "${{") {
			t.Errorf("a script holds an expression:\n%s", s.Run)
		}
		switch {
		case s.Run != "":
			for commit, want := range map[string]int{strings.Repeat("0a", 20): 0, "main": 2, "v1": 2, "": 2, strings.Repeat("0a", 20) + "\nx": 2, "0a0a0a0": 2} {
				ran++
				if code, output := w.shell(w.project, s.Run, w.bin(), map[string]string{"COMMIT": commit}); code != want {
					t.Errorf("commit %q: exit %d, want %d: %s", commit, code, want, output)
				}
			}
		case s.Uses == "./.assay-action":
			ran++
			inputs := map[string]string{}
			for name, value := range s.With {
				inputs[name] = expression.ReplaceAllStringFunc(value, func(e string) string {
					in, ok := flow.On.Call.Inputs[strings.TrimPrefix(expression.FindStringSubmatch(e)[1], "inputs.")]
					if !ok {
						t.Fatalf("%s is no input of the workflow", e)
					}
					return in.Default
				})
			}
			inputs["args"] = "--trusted-root=trusted_root.json"
			if code, output, got := w.uses(inputs, nil); code != 1 || got["exit-code"] != "1" {
				t.Errorf("exit %d, %v\n%s", code, got, output)
			}
		}
	}
	if ran < 7 {
		t.Errorf("only %d steps were run", ran)
	}
}

// TestWorkflowLint: actionlint finds nothing in the workflows, and every action is named by its commit.
func TestWorkflowLint(t *testing.T) {
	files, err := filepath.Glob(ofRepository(t, ".github/workflows/*.yml"))
	if err != nil || len(files) == 0 {
		t.Fatalf("%v, %v", files, err)
	}
	linter, err := actionlint.NewLinter(io.Discard, &actionlint.LinterOptions{})
	if err != nil {
		t.Fatal(err)
	}
	for _, file := range files {
		found, err := linter.LintFile(file, nil)
		if err != nil {
			t.Fatal(err)
		}
		for _, e := range found {
			t.Errorf("%v", e)
		}
	}
	pinned := regexp.MustCompile(`^[\w.-]+/[\w./-]+@[0-9a-f]{40} # v\d+\.\d+\.\d+$`)
	uses := regexp.MustCompile(`(?m)^[ -]*uses: (.*)$`)
	n := 0
	for _, file := range append(files, ofRepository(t, "action.yml"), ofRepository(t, "docs/ci.md")) {
		data, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		for _, m := range uses.FindAllSubmatch(data, -1) {
			n++
			what := string(bytes.TrimSpace(m[1]))
			if !pinned.MatchString(what) && !strings.HasPrefix(what, "./") && !strings.HasPrefix(what, "OWNER/assay") {
				t.Errorf("%s: %s is not pinned to a commit with its version as a comment", filepath.Base(file), what)
			}
		}
	}
	if n < 6 {
		t.Errorf("only %d actions were found", n)
	}
}

// TestGitLabTemplate runs the job of ci/gitlab.yml as GitLab's runner would.
func TestGitLabTemplate(t *testing.T) {
	var file map[string]struct {
		Variables map[string]string `yaml:"variables"`
		Before    []string          `yaml:"before_script"`
		Script    []string          `yaml:"script"`
		Artifacts struct {
			Paths   []string          `yaml:"paths"`
			Reports map[string]string `yaml:"reports"`
		} `yaml:"artifacts"`
	}
	readYAML(t, "ci/gitlab.yml", &file)
	job := file["assay"]
	w := ciWorld(t)
	script := strings.Join(append(append([]string{}, job.Before...), job.Script...), "\n")
	run := func(path string, env map[string]string) (int, string) {
		all := map[string]string{"CI": "true", "GITLAB_CI": "true", "CI_PROJECT_DIR": w.project}
		for _, set := range []map[string]string{job.Variables, {"ASSAY_ARGS": "--trusted-root=trusted_root.json --no-color"}, env} {
			for k, v := range set {
				all[k] = v
			}
		}
		return w.shell(w.project, script, path, all)
	}
	base := w.git("rev-parse", "main")
	code, output := run(w.bin(), map[string]string{"CI_MERGE_REQUEST_IID": "7", "CI_MERGE_REQUEST_DIFF_BASE_SHA": base})
	if code != 1 || !strings.Contains(output, "left@1.0.1") {
		t.Fatalf("exit %d\n%s", code, output)
	}
	for name, want := range map[string]string{job.Artifacts.Reports["codequality"]: `"fingerprint"`, job.Artifacts.Paths[0]: "assay/report/v1", job.Artifacts.Paths[1]: "`1.0.0` | `1.0.1`"} {
		if data, err := os.ReadFile(filepath.Join(w.project, name)); err != nil || !strings.Contains(string(data), want) {
			t.Errorf("the artifact %s: %v\n%.500s", name, err, data)
		}
	}
	in := ciWorld(t)
	in.moveTo("app")
	base, w.project, w.server = in.git("rev-parse", "main"), in.project, in.server
	code, output = run(w.bin(), map[string]string{"CI_MERGE_REQUEST_IID": "7", "CI_MERGE_REQUEST_DIFF_BASE_SHA": base, "ASSAY_PATH": "app"})
	if data, err := os.ReadFile(filepath.Join(w.project, job.Artifacts.Paths[1])); code != 1 || err != nil || !strings.Contains(string(data), "`1.0.0` | `1.0.1`") {
		t.Errorf("a project in a directory: exit %d\n%s%s", code, output, data)
	}
	w = ciWorld(t)
	w.git("checkout", "-q", "main")
	if code, output := run(w.bin(), nil); code != 0 {
		t.Errorf("on the default branch: exit %d\n%s", code, output)
	}
	// Built from a commit of somewhere.
	source := &world{t: t, project: t.TempDir(), now: w.now}
	source.write("cmd/assay/main.go", []byte("package main\n"))
	commit := source.commit("assay")
	for _, tt := range []struct {
		env  map[string]string
		code int
		says string
	}{
		{map[string]string{"ASSAY_REPOSITORY": source.project, "ASSAY_COMMIT": commit}, 0, "nothing is denied"},
		{map[string]string{"ASSAY_REPOSITORY": source.project, "ASSAY_COMMIT": "main"}, 2, "all 40 hex digits"},
		{map[string]string{"ASSAY_REPOSITORY": source.project}, 2, "all 40 hex digits"},
		{map[string]string{"ASSAY_COMMIT": commit}, 1, "is the address"},
		{map[string]string{"ASSAY_REPOSITORY": source.project, "ASSAY_COMMIT": strings.Repeat("0", 40)}, 128, ""},
	} {
		code, output := run(w.builder(), tt.env)
		if code != tt.code && !(tt.code == 1 && code == 127) || !strings.Contains(strings.ToLower(output), strings.ToLower(tt.says)) {
			t.Errorf("%v: exit %d, want %d\n%s", tt.env, code, tt.code, output)
		}
	}
}

// TestHooks runs the hook for git, and the one for pre-commit, on a commit that brings a bad package.
func TestHooks(t *testing.T) {
	w := ciWorld(t)
	hook, err := os.ReadFile(ofRepository(t, "ci/husky/pre-commit"))
	if err != nil {
		t.Fatal(err)
	}
	if info, err := os.Stat(ofRepository(t, "ci/husky/pre-commit")); err != nil || info.Mode()&0o111 == 0 {
		t.Errorf("the hook cannot be run: %v", err)
	}
	bin := w.bin()
	// What is needed here and no user needs: the lab's trusted root.
	wrapped := strings.ReplaceAll(string(hook), "assay audit", "assay audit --trusted-root trusted_root.json")
	if err := os.MkdirAll(filepath.Join(w.project, ".git", "hooks"), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(w.project, ".git", "hooks", "pre-commit"), []byte(wrapped), 0o755); err != nil {
		t.Fatal(err)
	}
	commit := func() (int, string) {
		return w.shell(w.project, "git commit -q -m x", bin, nil)
	}
	bad, err := os.ReadFile(filepath.Join(w.project, "package-lock.json"))
	if err != nil {
		t.Fatal(err)
	}
	w.git("checkout", "-q", "main")
	w.write("sub dir/package-lock.json", bad)
	w.git("add", "-A")
	if code, output := commit(); code == 0 || !strings.Contains(output, "left@1.0.1") {
		t.Errorf("exit %d\n%s", code, output)
	}
	w.git("reset", "-q")
	os.RemoveAll(filepath.Join(w.project, "sub dir"))
	w.write("code.js", []byte("1"))
	w.git("add", "code.js")
	if code, output := commit(); code != 0 {
		t.Errorf("a commit without a lockfile: exit %d\n%s", code, output)
	}
	better := w.publish(lab.Release{Package: lab.Package{Name: "left", Version: "1.0.2"}, CI: lab.GitHub("acme/left")})
	w.lock(better)
	w.git("add", "-A")
	if code, output := commit(); code != 0 {
		t.Errorf("a commit with a good lockfile: exit %d\n%s", code, output)
	}

	var hooks []struct{ ID, Name, Entry, Language, Files, Exclude string }
	readYAML(t, ".pre-commit-hooks.yaml", &hooks)
	if len(hooks) != 1 || hooks[0].Language != "golang" {
		t.Fatalf("%+v", hooks)
	}
	files, exclude := regexp.MustCompile(hooks[0].Files), regexp.MustCompile(hooks[0].Exclude)
	for name, want := range map[string]bool{"package-lock.json": true, "app/yarn.lock": true, "a/pnpm-lock.yaml": true, "package.json": false, "node_modules/a/package-lock.json": false, "my-package-lock.json": false} {
		if got := files.MatchString(name) && !exclude.MatchString(name); got != want {
			t.Errorf("%s: %v, want %v", name, got, want)
		}
	}
	if code, output := w.shell(w.project, hooks[0].Entry+" --trusted-root trusted_root.json package-lock.json", bin, nil); code != 0 {
		t.Errorf("exit %d\n%s", code, output)
	}
	w.write("package-lock.json", bad)
	if code, output := w.shell(w.project, hooks[0].Entry+" --trusted-root trusted_root.json package-lock.json", bin, nil); code != 1 || !strings.Contains(output, "left@1.0.1") {
		t.Errorf("exit %d\n%s", code, output)
	}
}

// TestRolloutPolicies reads the policies that docs/rollout.md shows, each as a whole file.
func TestRolloutPolicies(t *testing.T) {
	n := 0
	for _, b := range blocks(t, "docs/rollout.md") {
		if b.kind != "yaml" {
			continue
		}
		n++
		if _, err := policy.Parse([]byte(b.text), "docs/rollout.md", nil); err != nil {
			t.Errorf("the policy at line %d: %v", b.line, err)
		}
	}
	if n == 0 {
		t.Error("no policy was found")
	}
}

// TestScriptRecipe: the recipe for package.json is JSON, and its commands are commands.
func TestScriptRecipe(t *testing.T) {
	for _, b := range blocks(t, "docs/ci.md") {
		if b.kind != "json" {
			continue
		}
		var manifest struct {
			Scripts map[string]string `yaml:"scripts"`
		}
		if err := yaml.Unmarshal([]byte(b.text), &manifest); err != nil || len(manifest.Scripts) == 0 {
			t.Fatalf("line %d: %v", b.line, err)
		}
		w := ciWorld(t)
		for name, want := range map[string]int{"trust": 1, "trust:diff": 0} {
			script := manifest.Scripts[name] + " --trusted-root trusted_root.json"
			if code, output := w.shell(w.project, script, w.bin(), nil); code != want {
				t.Errorf("%s: exit %d, want %d\n%s", name, code, want, output)
			}
		}
		// npm runs them in a shell of its own; what the first part denies keeps the second from running.
		script := strings.Replace(manifest.Scripts["install:checked"], "assay audit", "assay audit --trusted-root trusted_root.json", 1)
		script = strings.Replace(script, "npm ci", "touch installed #", 1)
		if code, _ := w.shell(w.project, "set +e\n"+script, w.bin(), nil); code != 1 {
			t.Errorf("install:checked: exit %d", code)
		}
		if _, err := os.Stat(filepath.Join(w.project, "installed")); err == nil {
			t.Error("what is denied is installed")
		}
		return
	}
	t.Error("docs/ci.md has no recipe for package.json")
}

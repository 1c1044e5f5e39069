package cli_test

import (
	"fmt"
	"os"
	"regexp"
	"strings"
	"testing"
	"time"

	"assay/internal/lab"
	"assay/internal/policy"
)

func (w *world) initPolicy(args ...string) result {
	w.t.Helper()
	return w.run(append([]string{"policy", "init", "--trusted-root", "trusted_root.json"}, args...)...)
}

// TestPolicyInit: the proposal fits the project, and its own audit is not stopped by it.
func TestPolicyInit(t *testing.T) {
	w := newWorld(t)
	old := time.Now().Add(-60 * 24 * time.Hour)
	release := func(name string, ci lab.CI, manifest map[string]any) *lab.Published {
		return w.publish(lab.Release{Package: lab.Package{Name: name, Version: "1.2.0", Manifest: manifest}, CI: ci, At: old})
	}
	all := []*lab.Published{
		release("react", nil, nil), release("vite", lab.GitHub("vitejs/vite"), nil), release("@acme/mine", lab.GitHub("acme/mine"), nil),
		release("native", nil, map[string]any{"scripts": map[string]any{"install": "node x"}}), release("popular", lab.GitHub("acme/popular"), nil),
	}
	fork := lab.GitHub("acme/forked")
	fork.Event, fork.Ref = "pull_request_target", "refs/pull/7/merge"
	all = append(all, release("forked", fork, nil))
	for i := range 5 {
		all = append(all, release(fmt.Sprintf("user%d", i), nil, map[string]any{"dependencies": map[string]any{"popular": "1"}}))
	}
	fresh := w.publish(lab.Release{Package: lab.Package{Name: "fresh", Version: "0.0.1"}})
	w.lock(append(all, fresh)...)
	lockfile, err := os.ReadFile(w.project + "/package-lock.json")
	if err != nil {
		t.Fatal(err)
	}
	marked := regexp.MustCompile(`("node_modules/native":\s*\{)`).ReplaceAll(lockfile, []byte(`$1"hasInstallScript":true,`))
	w.write("package-lock.json", marked)
	r := w.initPolicy()
	if r.code != 0 || !strings.Contains(r.stdout, "assay.yaml written: ") {
		t.Fatalf("exit %d: %s%s", r.code, r.stdout, r.stderr)
	}
	text, err := os.ReadFile(w.project + "/assay.yaml")
	if err != nil {
		t.Fatal(err)
	}
	got := string(text)
	for _, want := range []string{
		"\ncritical:\n  - require: provenance\n    packages:\n",
		"      - vite          # builds or checks what you ship; asked for directly\n",
		"      - \"@acme/mine\"  # asked for directly\n",
		"#     - react         # React's core; has none today: would fail\n",
		"      - popular       # asked for directly; 5 packages depend on it\n",
		"\n    - \"fresh@0.0.1\"  # in use today: it ",
		"#     - forked        # asked for directly; 1.2.0 was built by pull_request_target on refs/pull/7/merge, which may be anybody's: look first\n",
		"#     - native        # runs a script on install; has none today: would fail\n",
	} {
		if !strings.Contains(got, want) {
			t.Errorf("the policy lacks %q:\n%s", want, got)
		}
	}
	if strings.Contains(got, "user0") {
		t.Errorf("a package without provenance that nothing speaks for is proposed:\n%s", got)
	}
	if p, err := policy.Parse(text, "assay.yaml", nil); err != nil || len(p.Critical) != 1 || len(p.Critical[0].Packages) != 3 {
		t.Errorf("%+v, %v", p, err)
	}
	if r := w.audit(); r.code != 0 {
		t.Errorf("the project fails under its own policy: exit %d\n%.2000s", r.code, r.stdout)
	}
	// What comes later is held to it.
	fresh2 := w.publish(lab.Release{Package: lab.Package{Name: "fresh", Version: "0.0.2"}})
	w.lock(append(all, fresh2)...)
	if r := w.audit(); r.code != 1 || len(findings(r.pkg("fresh"), "min-age")) != 1 {
		t.Errorf("exit %d, %+v", r.code, r.pkg("fresh").Findings)
	}
	if r := w.initPolicy(); r.code != 2 || !strings.Contains(r.stderr, "--force") {
		t.Errorf("an assay.yaml is written over: exit %d, %s", r.code, r.stderr)
	}
	if r := w.initPolicy("--stdout"); r.code != 0 || !strings.Contains(r.stdout, "fresh@0.0.2") {
		t.Errorf("exit %d, %s", r.code, r.stderr)
	}
	if now, _ := os.ReadFile(w.project + "/assay.yaml"); string(now) != got {
		t.Error("--stdout wrote")
	}
	if r := w.initPolicy("--force"); r.code != 0 {
		t.Errorf("exit %d, %s", r.code, r.stderr)
	}
	// What is wrong is not excused.
	w.lock(append(all, w.publish(lab.Release{Package: lab.Package{Name: "bare"}, Unsigned: true, At: old}))...)
	if r := w.initPolicy("--force"); r.code != 0 || !strings.Contains(r.stderr, "bare@1.0.0 is denied under this policy, by unsigned") {
		t.Errorf("exit %d, %s", r.code, r.stderr)
	}
	if r := w.audit(); r.code != 1 {
		t.Errorf("exit %d", r.code)
	}
}

// TestPolicyInitSettings: what the package manager is told already is taken over.
func TestPolicyInitSettings(t *testing.T) {
	for _, tt := range []struct {
		name, file, text string
		want             []string
		stderr           string
	}{
		{name: "pnpm", file: "pnpm-workspace.yaml", text: "packages: ['a']\nminimumReleaseAge: 10080 # a week\nminimumReleaseAgeExclude:\n  - '@acme/*'\n  - left@1.0.0 || 1.0.1\ntrustPolicy: no-downgrade\ntrustPolicyExclude: [chokidar@4.0.3, \"semver\"]\ntrustPolicyIgnoreAfter: 43200\n",
			want: []string{"# pnpm-workspace.yaml:2 (minimumReleaseAge) demands 7d already.", "attested: 7d\n  unattested: 7d\n", "    - \"@acme/*\"  #", "    - \"left@1.0.0\"", "    - \"left@1.0.1\"",
				"# pnpm-workspace.yaml:6 (trustPolicy) says no-downgrade", "  package: deny\n  quiet-after: 30d\n  exclude:\n    - \"chokidar@4.0.3\"", "    - semver  #"}},
		{name: "pnpm off", file: "pnpm-workspace.yaml", text: "trustPolicy: off\n", want: []string{"turns pnpm's trustPolicy off", "downgrade: {line: deny, package: warn, quiet-after: 30d}"}},
		{name: "npm", file: ".npmrc", text: "min-release-age = 5\nmin-release-age-exclude[]=@acme/*\n", want: []string{".npmrc:2 (min-release-age) demands 5d already", "attested: 5d\n  unattested: 5d\n", "\"@acme/*\""}},
		{name: "yarn", file: ".yarnrc.yml", text: "nodeLinker: node-modules\nnpmMinimalAgeGate: '1d'\nnpmPreapprovedPackages:\n  - react\n  - \"@types/*@1\"\n", want: []string{".yarnrc.yml:2 (npmMinimalAgeGate) demands 24h already", "attested: 24h\n  unattested: 3d\n", "    - react  #"}, stderr: ".yarnrc.yml:3"},
		{name: "yarn, minutes", file: ".yarnrc.yml", text: "npmMinimalAgeGate: 90\n", want: []string{"attested: 90m\n  unattested: 3d\n"}},
		{name: "bun", file: "bunfig.toml", text: "[install]\nminimumReleaseAge = 604800\n", want: []string{"attested: 7d\n"}},
		{name: "nonsense", file: "pnpm-workspace.yaml", text: "minimumReleaseAge: soon\ntrustPolicy: [x]\nminimumReleaseAgeExclude: ['../x', \"a\\nb: deny\"]\n", want: []string{"min-age: {attested: 24h, unattested: 72h, except: [advisory-fix]}"}, stderr: `"soon" is not understood`},
	} {
		t.Run(tt.name, func(t *testing.T) {
			w := newWorld(t)
			left := w.publish(lab.Release{Package: lab.Package{Name: "left"}, At: time.Now().Add(-90 * 24 * time.Hour)})
			w.lock(left)
			text := tt.text
			if tt.file == ".npmrc" {
				text = "registry=" + w.server.URL + "/\n" + text
			}
			w.write(tt.file, []byte(text))
			r := w.initPolicy("--stdout")
			if r.code != 0 || !strings.Contains(r.stderr, tt.stderr) {
				t.Fatalf("exit %d: %s%s", r.code, r.stdout, r.stderr)
			}
			for _, want := range tt.want {
				if !strings.Contains(r.stdout, want) {
					t.Errorf("the policy lacks %q:\n%s", want, r.stdout)
				}
			}
			if _, err := policy.Parse([]byte(r.stdout), "assay.yaml", nil); err != nil {
				t.Error(err)
			}
		})
	}
}

// TestPolicyInitUndecided: what could not be checked is told, and the policy is written all the same.
func TestPolicyInitUndecided(t *testing.T) {
	w := newWorld(t)
	w.lock(w.publish(lab.Release{Package: lab.Package{Name: "left"}}))
	w.server.Misbehave(lab.Match{Name: "left"}, lab.Status(503), 0)
	if r := w.initPolicy(); r.code != 3 || !strings.Contains(r.stderr, "1 package could not be checked") {
		t.Errorf("exit %d: %s%s", r.code, r.stdout, r.stderr)
	}
	if _, err := os.Stat(w.project + "/assay.yaml"); err != nil {
		t.Error(err)
	}
}

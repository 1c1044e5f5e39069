package doctor

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"testing/fstest"
	"time"

	"github.com/google/go-cmp/cmp"

	"assay/internal/npm"
)

func TestCommands(t *testing.T) {
	for _, tt := range []struct {
		script string
		want   []string // words joined by |, after the line and a colon
	}{
		{"npm publish", []string{"0:npm|publish"}},
		{"cd x && npm  publish --tag 'a b'; echo done", []string{"0:cd|x", "0:npm|publish|--tag|a b", "0:echo|done"}},
		{"npm publish \\\n  --provenance\necho x", []string{"0:npm|publish|--provenance", "2:echo|x"}},
		{"# npm publish\necho '# no comment' #yes", []string{"1:echo|# no comment"}},
		{"if [ -n \"$X\" ]; then\n  npm publish\nfi", []string{"0:[|-n|$X|]", "1:npm|publish", "2:fi"}},
		{"NODE_AUTH_TOKEN=\"\" npm publish", []string{"0:npm|publish"}},
		{"(cd \"$dir\" && $NPM publish)", []string{"0:cd|$dir", "0:$NPM|publish"}},
		{"NPM=\"$(pwd)/bin/npm\"\n$NPM publish", []string{"0:pwd", "1:npm|publish"}},
		{"V=\"$(npm version patch -m \"a $(date)\")\"", []string{"0:date", "0:npm|version|patch|-m|a $(date)"}},
		{"npm publish $(cat flags) --provenance", []string{"0:cat|flags", "0:npm|publish|$(cat flags)|--provenance"}},
		{"cat <<EOF > f\nnpm publish\nEOF\necho x", []string{"0:cat|>|f", "3:echo|x"}},
		{"cat <<-'END'\n\tnpm publish\n\tEND\nnpm pack", []string{"0:cat", "3:npm|pack"}},
		{"npm publish > log 2>&1 || exit 1", []string{"0:npm|publish|>|log|2>&1", "0:exit|1"}},
		{"echo ${{ inputs.x || 'a b' }} \"${{ fromJSON('\"') }}\"", []string{"0:echo|${{ inputs.x || 'a b' }}|${{ fromJSON('\"') }}"}},
		{"a | b & c\r\nd", []string{"0:a", "0:b", "0:c", "1:d"}},
		{"'unclosed", []string{"0:unclosed"}},
		{"\"unclosed $(", []string{"0:unclosed $("}},
		{"<<", nil},
		{"", nil},
	} {
		var got []string
		for _, c := range commands(tt.script) {
			got = append(got, string(rune('0'+c.line))+":"+strings.Join(c.words, "|"))
		}
		if diff := cmp.Diff(tt.want, got); diff != "" {
			t.Errorf("commands(%q) (-want +got):\n%s", tt.script, diff)
		}
	}
	if c := commands(`A=1 NODE_AUTH_TOKEN="" npm publish`); c[0].env["A"] != "1" || c[0].env["NODE_AUTH_TOKEN"] != "" || len(c[0].env) != 2 {
		t.Errorf("environment %v", c[0].env)
	}
	deep := commands(strings.Repeat("$(", 100_000) + "npm publish")
	if len(deep) > maxCommands {
		t.Errorf("%d commands", len(deep))
	}
}

func TestPublishing(t *testing.T) {
	for command, want := range map[string]string{
		"npm publish":                                    "npm publish",
		"npm publish --dry-run":                          "",
		"npm publish --dry-run=false":                    "npm publish",
		"npm --workspace a publish":                      "npm publish",
		"npm publish -w a --access public":               "npm publish",
		"npm stage publish":                              "npm stage publish",
		"npm stage list":                                 "",
		"npm run publish":                                "",
		"npm pack":                                       "",
		"npm view publish":                               "",
		"sudo npm publish":                               "npm publish",
		"npx npm@11 publish":                             "npm publish",
		"corepack npm publish":                           "npm publish",
		"pnpm publish --no-git-checks":                   "pnpm publish",
		"pnpm -r publish":                                "pnpm -r publish",
		"pnpm publish -r --filter a":                     "pnpm -r publish",
		"pnpm --filter ./packages/* publish":             "pnpm -r publish",
		"pnpm recursive publish":                         "pnpm -r publish",
		"pnpm run publish":                               "",
		"yarn publish":                                   "yarn publish",
		"yarn npm publish":                               "yarn npm publish",
		"yarn workspaces foreach -A npm publish":         "yarn npm publish",
		"yarn workspace a npm publish":                   "yarn npm publish",
		"bun publish":                                    "bun publish",
		"vlt publish --access=public":                    "vlt publish",
		"changeset publish":                              "changeset publish",
		"npx changeset publish":                          "changeset publish",
		"npx @changesets/cli@2 publish":                  "changeset publish",
		"pnpm changeset publish":                         "changeset publish",
		"pnpm exec changeset publish":                    "changeset publish",
		"yarn changeset publish":                         "changeset publish",
		"node ./node_modules/.bin/changeset publish":     "changeset publish",
		"pnpm changeset version":                         "",
		"npx lerna publish from-package":                 "lerna publish",
		"lerna version":                                  "",
		"npx nx release":                                 "nx release",
		"nx release publish":                             "nx release",
		"nx release version":                             "",
		"nx release --skip-publish":                      "",
		"npx semantic-release@25.0.1":                    "semantic-release",
		"npx -p semantic-release semantic-release":       "semantic-release",
		"npx semantic-release --dry-run":                 "",
		"yarn semantic-release":                          "semantic-release",
		"npx np":                                         "np",
		"npx release-it --ci":                            "release-it",
		"release-it --no-npm.publish":                    "",
		"rush publish --apply":                           "rush publish",
		"npx beachball publish":                          "beachball publish",
		"npx auto shipit":                                "auto shipit",
		"assay publish":                                  "assay publish",
		"npx jsr publish":                                "jsr publish > JSR",
		"pnpm jsr publish --allow-slow-types":            "jsr publish > JSR",
		"deno publish":                                   "deno publish > JSR",
		"deno run -A jsr:@david/publish-on-tag@0.1.4":    "deno publish > JSR",
		"deno task build":                                "",
		"pnpm exec pkg-pr-new publish --compact":         "pkg-pr-new publish > pkg.pr.new",
		"npx vsce publish -p x":                          "vsce publish > Visual Studio Marketplace",
		"npx ovsx publish":                               "ovsx publish > Open VSX",
		"cargo publish":                                  "",
		"gh release create v1":                           "",
		"npx changelogithub":                             "",
		"node scripts/release.ts":                        "",
		"npm publish --registry https://npm.example.com": "npm publish",
	} {
		got := ""
		if tool, registry, ok := publishing(commands(command)[0]); ok {
			got = tool.name
			if registry != "" {
				got += " > " + registry
			}
		}
		if got != want {
			t.Errorf("%q is %q, want %q", command, got, want)
		}
	}
}

// job makes a workflow of steps that holds everything right around them.
func workflowOf(head, steps string) string {
	return "on:\n  push:\n    branches: [main]\npermissions: {}\njobs:\n  publish:\n    runs-on: ubuntu-latest\n    environment: npm\n    permissions:\n      contents: read\n      id-token: write\n" +
		head + "    steps:\n" + steps
}

func findings(t *testing.T, files map[string]string, o Options) []string {
	t.Helper()
	root := fstest.MapFS{}
	for name, text := range files {
		root[name] = &fstest.MapFile{Data: []byte(text)}
	}
	var all []string
	for _, f := range check(t, root, o).Findings {
		all = append(all, string(f.Level)+" "+f.Rule)
	}
	slices.Sort(all)
	return slices.Compact(all)
}

// TestSteps: what single steps beside a publish lead to.
func TestSteps(t *testing.T) {
	const publish = "      - run: npm publish --provenance\n"
	for _, tt := range []struct {
		name, head, steps string
		want              []string
	}{
		{"nothing", "", publish, nil},
		{"a token for another registry", "", publish + "      - run: npm publish --registry=https://npm.pkg.github.com\n        env:\n          NODE_AUTH_TOKEN: ${{ secrets.GITHUB_TOKEN }}\n", []string{"info other-registry"}},
		{"verdaccio by setting", "", "      - run: npm config set registry http://localhost:4873/\n      - run: npm publish\n", []string{"info other-registry"}},
		{"GitHub Packages by setup-node", "", "      - uses: actions/setup-node@820762786026740c76f36085b0efc47a31fe5020\n        with:\n          registry-url: https://npm.pkg.github.com\n      - run: npm publish\n", []string{"info other-registry"}},
		{"registry in a variable", "", "      - run: npm publish --provenance --registry $REGISTRY\n", nil},
		{"registry by environment", "    env:\n      NPM_CONFIG_REGISTRY: http://127.0.0.1:4873\n", "      - run: npm publish\n", []string{"info other-registry"}},
		{"token written to .npmrc", "", "      - run: echo \"//registry.npmjs.org/:_authToken=${{ secrets.NPM_TOKEN }}\" > .npmrc\n" + publish, []string{"warn long-lived-token"}},
		{"changesets without publish", "", "      - uses: changesets/action@a45c4d594aa4e2c509dc14a9f2b3b67ba3780d0d\n", nil},
		{"old changesets action", "", "      - uses: changesets/action@a45c4d594aa4e2c509dc14a9f2b3b67ba3780d0d # v1.5.3\n        with:\n          publish: npx changeset publish\n        env:\n          NPM_CONFIG_PROVENANCE: true\n", []string{"warn tool-not-told"}},
		{"old changesets action, told", "", "      - uses: changesets/action@a45c4d594aa4e2c509dc14a9f2b3b67ba3780d0d # v1.5.3\n        with:\n          publish: npx changeset publish\n        env:\n          NPM_CONFIG_PROVENANCE: true\n          NPM_TOKEN: ''\n", nil},
		{"guess by name", "", "      - run: node scripts/publish.mjs\n", []string{"info hidden-publish"}},
		{"no guess beside a certain one", "", "      - run: node scripts/release.mjs\n" + publish, nil},
		{"release notes are no guess", "", "      - run: node scripts/release-notes.mjs\n", nil},
		{"no input that matters", "", "      - run: echo ${{ github.run_id }} ${{ github.event.release.id }} ${{ needs.x.result }} ${{ contains(github.ref, 'x') && 'a' || 'b' }}\n" + publish, nil},
		{"a ref name", "", "      - run: echo ${{ github.ref_name }}\n" + publish, []string{"warn template-injection"}},
		{"an index", "", "      - run: echo ${{ github['head_ref'] }}\n" + publish, []string{"warn template-injection"}},
		{"everything", "", "      - run: echo '${{ toJSON(github.event) }}'\n" + publish, []string{"warn template-injection"}},
		{"a literal variable", "    env:\n      DIR: dist\n", "      - run: ls ${{ env.DIR }}\n" + publish, nil},
		{"a variable from outside", "    env:\n      T: ${{ github.event.head_commit.message }}\n", "      - run: ls ${{ env.T }}\n" + publish, []string{"warn template-injection"}},
		{"github-script", "", "      - uses: actions/github-script@3a2844b7e9c422d3c10d287c895573f7108da1b3\n        with:\n          script: console.log(\"${{ steps.x.outputs.y }}\")\n" + publish, []string{"warn template-injection"}},
		{"cache action", "", "      - uses: actions/cache@820762786026740c76f36085b0efc47a31fe5020\n        with: {path: node_modules, key: x}\n" + publish, []string{"warn cache-in-publish"}},
		{"npx of a moving tag", "", "      - run: npx tsx@latest x\n" + publish, []string{"warn unpinned-tool"}},
		{"corepack prepare", "", "      - run: corepack prepare pnpm@latest --activate\n" + publish, []string{"warn unpinned-tool"}},
		{"install of a package", "", "      - run: npm install --ignore-scripts left-pad@1.0.0\n" + publish, nil},
		{"old npm with trusted publishing", "", "      - run: npm install -g npm@10.9.0\n" + publish, []string{"error npm-too-old"}},
		{"enough npm", "", "      - run: npm install -g npm@11.5.1\n" + publish, nil},
		{"node 22 with its own npm", "", "      - uses: actions/setup-node@820762786026740c76f36085b0efc47a31fe5020\n        with:\n          node-version: 22.x\n" + publish, []string{"error npm-too-old"}},
		{"node lts", "", "      - uses: actions/setup-node@820762786026740c76f36085b0efc47a31fe5020\n        with:\n          node-version: lts/*\n" + publish, nil},
		{"node 24.3", "", "      - uses: actions/setup-node@820762786026740c76f36085b0efc47a31fe5020\n        with:\n          node-version: 24.3.0\n" + publish, []string{"error npm-too-old"}},
		{"yarn npm publish", "", "      - run: yarn npm publish --provenance\n", nil},
		{"dry run only", "", "      - run: npm publish --dry-run\n", nil},
		{"a comment names it", "", "      - run: |\n          # npm publish\n          echo nothing\n", nil},
	} {
		t.Run(tt.name, func(t *testing.T) {
			got := findings(t, map[string]string{".github/workflows/w.yml": workflowOf(tt.head, tt.steps)}, home)
			if diff := cmp.Diff(tt.want, got); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}

func TestWorkspaces(t *testing.T) {
	const (
		root   = `{"name": "root", "private": true, "workspaces": ["packages/*", "!packages/skipped", "deep/**"]}`
		member = `{"name": "NAME", "version": "1.0.0", "repository": "acme/other"}`
	)
	files := fstest.MapFS{"package.json": {Data: []byte(root)}, "pnpm-workspace.yaml": {Data: []byte("packages:\n  - tools/{a,b}\n")}}
	for _, dir := range []string{"packages/a", "packages/skipped", "packages/a/nested", "deep/x/y", "tools/a", "tools/c", "node_modules/x", "packages/a/node_modules/b"} {
		files[dir+"/package.json"] = &fstest.MapFile{Data: []byte(strings.Replace(member, "NAME", strings.ReplaceAll(dir, "/", "-"), 1))}
	}
	files["packages/private/package.json"] = &fstest.MapFile{Data: []byte(`{"name": "p", "version": "1.0.0", "private": true}`)}
	r := check(t, files, home)
	var got []string
	for _, p := range r.Packages {
		got = append(got, p.Path)
	}
	want := []string{"deep/x/y/package.json", "packages/a/package.json", "tools/a/package.json"}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("packages (-want +got):\n%s", diff)
	}
	mismatch := 0
	for _, f := range r.Findings {
		if f.Rule == "repository-mismatch" {
			mismatch++
		}
	}
	if mismatch != 3 {
		t.Errorf("%d mismatches, want one for each publishable member", mismatch)
	}
}

// TestIgnore: a comment at the line or above it leaves one rule out, and no other.
func TestIgnore(t *testing.T) {
	const cache = "      - uses: actions/setup-node@v6"
	for _, tt := range []struct {
		steps string
		want  []string
	}{
		{cache + " # assay: ignore[unpinned-action] reviewed\n", nil},
		{"      # assay: ignore[unpinned-action, cache-in-publish]\n      # because\n" + cache + "\n", nil},
		{"      # assay: ignore[cache-in-publish]\n" + cache + "\n", []string{"warn unpinned-action"}},
		{"      # assay: ignore[unpinned-action]\n      - run: \"true\"\n" + cache + "\n", []string{"warn unpinned-action"}},
	} {
		got := findings(t, map[string]string{".github/workflows/w.yml": workflowOf("", tt.steps+"      - run: npm publish --provenance\n")}, home)
		if diff := cmp.Diff(tt.want, got); diff != "" {
			t.Errorf("%s(-want +got):\n%s", tt.steps, diff)
		}
	}
}

// TestProjects: what files beside the workflow change.
func TestProjects(t *testing.T) {
	const wf = ".github/workflows/w.yml"
	pkg := func(members string) string {
		return `{"name": "widget", "version": "1.0.0", "repository": "acme/widget"` + members + `}`
	}
	for _, tt := range []struct {
		name  string
		files map[string]string
		want  []string
	}{
		{"release-it told not to publish", map[string]string{wf: workflowOf("", "      - run: npx release-it --ci\n"), "package.json": pkg(`, "release-it": {"npm": {"publish": false}}`)}, []string{"info no-publish"}},
		{"release-it by a script with --no-npm", map[string]string{wf: workflowOf("", "      - run: npm run release -- --no-npm\n"), "package.json": pkg(`, "scripts": {"release": "release-it"}`)}, []string{"info no-publish"}},
		{"a rented runner by matrix", map[string]string{wf: strings.Replace(workflowOf("", "      - run: npm publish --provenance\n"), "runs-on: ubuntu-latest", "strategy:\n      matrix:\n        os: [ubuntu-latest, blacksmith-4vcpu-ubuntu-2404]\n    runs-on: ${{ matrix.os }}", 1)}, []string{"error self-hosted-runner"}},
		{"a larger runner", map[string]string{wf: strings.Replace(workflowOf("", "      - run: npm publish --provenance\n"), "ubuntu-latest", "our-large-runner", 1)}, []string{"info self-hosted-runner"}},
		{"old lerna", map[string]string{wf: workflowOf("", "      - run: npx lerna publish from-package\n"), ".npmrc": "provenance=true\n", "package.json": pkg(`, "devDependencies": {"lerna": "^8.1.0"}`)}, []string{"warn tool-not-told"}},
		{"old semantic-release", map[string]string{wf: workflowOf("", "      - run: npx semantic-release\n"), "package.json": pkg(`, "publishConfig": {"provenance": true}, "devDependencies": {"semantic-release": "24.2.0"}`)}, []string{"warn tool-not-told"}},
		{"pnpm 10", map[string]string{wf: workflowOf("", "      - run: pnpm publish --provenance\n"), "package.json": pkg(`, "packageManager": "pnpm@10.20.0"`)}, []string{"info tool-not-told"}},
		{"provenance off in .npmrc", map[string]string{wf: workflowOf("", "      - run: npm publish\n"), ".npmrc": "provenance=false\n", "package.json": pkg("")}, []string{"error provenance-off"}},
		{"another registry in .npmrc", map[string]string{wf: workflowOf("", "      - run: npm publish\n"), ".npmrc": "registry=https://npm.acme.example\n", "package.json": pkg("")}, []string{"info other-registry"}},
		{"another registry in publishConfig", map[string]string{wf: workflowOf("", "      - run: npm publish\n"), "package.json": pkg(`, "publishConfig": {"registry": "https://npm.pkg.github.com"}`)}, []string{"info other-registry"}},
		{"restricted", map[string]string{wf: workflowOf("", "      - run: npm publish --provenance\n"), "package.json": pkg(`, "publishConfig": {"access": "restricted"}`)}, []string{"error access-not-public"}},
		{"changesets restricted", map[string]string{wf: workflowOf("", "      - run: npx changeset publish\n        env:\n          NPM_CONFIG_PROVENANCE: true\n"), ".changeset/config.json": `{"access": "restricted"}`, "package.json": strings.Replace(pkg(""), "widget", "@acme/widget", 1)}, []string{"warn access-not-public"}},
		{"a package to play with", map[string]string{wf: workflowOf("", "      - run: npm publish --provenance\n"), "package.json": pkg(`, "workspaces": ["playground/*"]`), "playground/a/package.json": `{"name": "a", "version": "1.0.0"}`}, []string{"info repository-missing"}},
		{"a wrong directory", map[string]string{wf: workflowOf("", "      - run: npm publish --provenance\n"), "package.json": pkg(`, "workspaces": ["packages/*"]`), "packages/a/package.json": `{"name": "a", "version": "1.0.0", "repository": {"url": "https://github.com/acme/widget", "directory": "packages/b"}}`}, []string{"warn repository-directory"}},
		{"a package that the step names", map[string]string{wf: workflowOf("", "      - run: npm publish --provenance ./types\n"), "package.json": pkg(""), "types/package.json": `{"name": "types", "version": "1.0.0", "repository": "acme/typo"}`}, []string{"error repository-mismatch"}},
		{"nothing publishes", map[string]string{wf: workflowOf("", "      - run: npm test\n"), "package.json": `{"name": "widget", "version": "1.0.0"}`}, []string{"info no-publish", "warn repository-missing"}},
		{"pnpm without a lockfile", map[string]string{wf: workflowOf("", "      - run: pnpm install --ignore-scripts\n      - run: pnpm publish --provenance\n"), "package.json": pkg("")}, []string{"warn unlocked-install"}},
		{"an input that the caller sets", map[string]string{wf: workflowOf("", "      - uses: ./.github/actions/x\n        with:\n          what: build\n      - run: npm publish --provenance\n"), ".github/actions/x/action.yml": "inputs:\n  what: {required: true}\nruns:\n  using: composite\n  steps:\n    - run: ls ${{ inputs.what }}\n      shell: bash\n", "package.json": pkg("")}, nil},
		{"an input that the caller is given", map[string]string{wf: workflowOf("", "      - uses: ./.github/actions/x\n        with:\n          what: ${{ github.ref_name }}\n      - run: npm publish --provenance\n"), ".github/actions/x/action.yml": "inputs:\n  what: {required: true}\nruns:\n  using: composite\n  steps:\n    - run: ls ${{ inputs.what }}\n      shell: bash\n", "package.json": pkg("")}, []string{"warn template-injection"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if diff := cmp.Diff(tt.want, findings(t, tt.files, home)); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}

// TestFork: a fork that publishes under the upstream's repository is told so.
func TestFork(t *testing.T) {
	root, _, _ := fixture(t, "repository-mismatch", "good")
	o := Options{Repository: npm.Repository{Host: "github.com", Path: "mallory/widget"}, Upstream: npm.Repository{Host: "github.com", Path: "acme/widget"}, Source: "git remote origin"}
	r := check(t, root, o)
	if len(r.Findings) != 1 || r.Findings[0].Rule != "repository-mismatch" || !strings.Contains(r.Findings[0].Message, "fork") {
		t.Errorf("%+v", r.Findings)
	}
}

func TestComposite(t *testing.T) {
	root, o, _ := fixture(t, "unusual-action-reference", "good")
	root[".github/actions/setup/action.yml"] = &fstest.MapFile{Data: []byte("runs:\n  using: composite\n  steps:\n    - uses: actions/setup-node@v6\n      with:\n        cache: npm\n    - run: npm i -g npm@latest\n      shell: bash\n")}
	got := broken(check(t, root, o))
	if want := []string{"cache-in-publish", "unpinned-action", "unpinned-tool"}; !slices.Equal(got, want) {
		t.Errorf("got %v, want %v", got, want)
	}
}

func TestRemotes(t *testing.T) {
	dir := t.TempDir()
	write := func(name, text string) {
		t.Helper()
		p := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(p), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(p, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	write("main/.git/config", "[core]\n\turl = no\n[remote \"origin\"]\n\turl = git@github.com:mallory/widget.git\n\tpushurl = x\n[remote \"upstream\"]\n\tURL = https://github.com/acme/widget\n")
	write("main/.git/worktrees/w/commondir", "../..\n")
	write("tree/.git", "gitdir: ../main/.git/worktrees/w\n")
	for _, d := range []string{"main", "tree"} {
		origin, upstream, err := Remotes(filepath.Join(dir, d))
		if err != nil || origin.Path != "mallory/widget" || upstream.Path != "acme/widget" {
			t.Errorf("%s: %v, %v, %v", d, origin, upstream, err)
		}
	}
	if _, _, err := Remotes(dir); err == nil {
		t.Error("a directory without git has remotes")
	}
}

// TestHostile: files that are made to cost, to loop or to overflow end in a finding.
func TestHostile(t *testing.T) {
	bomb := "a0: &a0 [x,x,x,x,x,x,x,x,x,x]\n"
	for i := 1; i < 10; i++ {
		p, n := string(rune('0'+i-1)), string(rune('0'+i))
		bomb += "a" + n + ": &a" + n + " [" + strings.Repeat("*a"+p+",", 9) + "*a" + p + "]\n"
	}
	for name, text := range map[string]string{
		"bomb":     bomb + "jobs: {x: {steps: *a9}}\n",
		"self":     "jobs: &a\n  x: *a\n",
		"merge":    "a: &a\n  <<: *a\njobs: {}\n",
		"brackets": "jobs: " + strings.Repeat("[", 50_000),
		"braces":   strings.Repeat("{a: ", 50_000),
		"indent":   nested(2000),
		"large":    "# " + strings.Repeat("x", maxFile),
		"binary":   "\xff\xfe",
		"empty":    "",
		"list":     "- a\n",
		"no jobs":  "on: push\n",
	} {
		for _, file := range []string{".github/workflows/w.yml", ".gitlab-ci.yml"} {
			r := check(t, fstest.MapFS{file: {Data: []byte(text)}, "package.json": {Data: []byte(`{"private": true}`)}}, Options{})
			if file != ".gitlab-ci.yml" && !slices.Contains(broken(r), "file-unreadable") {
				t.Errorf("%s as %s: %v", name, file, broken(r))
			}
		}
	}
	r := check(t, fstest.MapFS{"package.json": {Data: []byte(strings.Repeat("[", 100_000))}, ".github/workflows/w.yml": {Data: []byte(workflowOf("", "      - run: npm publish --provenance\n"))}}, Options{})
	if !slices.Contains(broken(r), "file-unreadable") {
		t.Errorf("a package.json of brackets: %v", broken(r))
	}
	if _, err := Check(fstest.MapFS{}, Options{}); err != ErrNothing {
		t.Errorf("an empty directory: %v", err)
	}
}

func nested(depth int) string {
	var b strings.Builder
	for i := range depth {
		b.WriteString(strings.Repeat(" ", i) + "a:\n")
	}
	return b.String()
}

// FuzzCheck: no workflow, CI file or package.json makes a run fail or point outside the file, and --fix
// leaves what parses.
func FuzzCheck(f *testing.F) {
	for _, rule := range Rules() {
		root, _, _ := fixture(f, rule.ID, "bad")
		var ci []byte
		for name, file := range root {
			if strings.HasSuffix(name, ".yml") {
				ci = file.Data
			}
		}
		manifest := []byte("{}")
		if m := root["package.json"]; m != nil {
			manifest = m.Data
		}
		f.Add(ci, manifest, rule.ID[0] == 'g')
	}
	f.Add([]byte("jobs: {a: {steps: [{run: \"${{ a[b].c }}\"}]}}"), []byte("[]"), false)
	f.Fuzz(func(t *testing.T, ci, manifest []byte, gitlab bool) {
		name := ".github/workflows/w.yml"
		if gitlab {
			name = gitlabName
		}
		root := fstest.MapFS{name: {Data: ci}, "package.json": {Data: manifest}, "package-lock.json": {Data: []byte("{}")}}
		r, err := Check(root, home)
		if err != nil {
			t.Fatal(err)
		}
		for _, f := range r.Findings {
			if f.Line < 1 || root[f.File] == nil {
				t.Errorf("%s points to %q:%d", f.Rule, f.File, f.Line)
			}
		}
		if _, _, err := Fix(root, home, func(name string, data []byte) error {
			root[name] = &fstest.MapFile{Data: data}
			return nil
		}); err != nil && !strings.Contains(err.Error(), "does not parse") {
			t.Fatal(err)
		}
	})
}

// TestCost: files of the permitted size that are made to be slow are read in bounded time.
func TestCost(t *testing.T) {
	fill := func(unit string, n int) string { return strings.Repeat(unit, n/len(unit)) }
	const size = maxFile - 2000
	block := func(script string) string { return workflowOf("", "      - run: |\n          "+script+"\n") }
	jobs := "on: push\njobs:\n"
	for i := range maxJobs {
		jobs += "  j" + string(rune('a'+i%26)) + strings.Repeat("x", i/26) + ":\n    permissions: {id-token: write}\n    needs: [ja, jb, jc]\n    runs-on: x\n    steps:\n      - run: npm publish\n"
	}
	for name, text := range map[string]string{
		"expansions":   block(fill("${{", size)),
		"shells":       block(strings.Repeat("sh -c \"$(", 9) + fill("a $(b) ", size)),
		"shell words":  block(fill("sh -c 'a;b' ; ", size)),
		"assignments":  block(fill("A=$A$A; ", size)),
		"variables":    block("A=" + fill("$A", 5000) + "; " + fill("npm publish --registry "+fill("$A", 2000)+"; ", size-6000)),
		"quoted":       block("\"" + fill("${{", size)),
		"braces":       block(fill("${", size)),
		"nested":       block(fill("$(", size)),
		"quotes":       block(fill("\"$(", size)),
		"here":         block(fill("<<a ", size)),
		"expressions":  block(fill("${{inputs.a}}", size)),
		"publishes":    block(fill("npm publish;", size)),
		"steps":        workflowOf("", fill("      - run: npm publish\n", 300_000)),
		"guesses":      workflowOf("", fill("      - run: ./publish\n", 300_000)),
		"jobs":         jobs,
		"words":        block(fill("a ", size)),
		"dereferences": block("${{ a" + fill(".a", 3000) + " }} ${{ " + fill("a[", 3000) + " }} ${{ " + fill("!", 3900) + "a }}"),
	} {
		start := time.Now()
		check(t, fstest.MapFS{".github/workflows/w.yml": {Data: []byte(text)}}, home)
		if d := time.Since(start); d > 20*time.Second {
			t.Errorf("%s took %v", name, d)
		} else {
			t.Logf("%s %v", name, d.Round(time.Millisecond))
		}
	}
}

// TestGitLabRegistry: what goes to GitLab's own registry, through variables too, is no publish to npm.
func TestGitLabRegistry(t *testing.T) {
	for text, want := range map[string]string{
		"script:\n    - REG=\"${CI_API_V4_URL}/projects/1/packages/npm/\"\n    - npm publish --registry \"$REG\"\n":                  registryGitLab,
		"script:\n    - npm publish --registry=https://git.example/api/v4/projects/1/packages/npm/\n":                                registryGitLab,
		"variables:\n    BASE: https://${CI_SERVER_HOST}/api/v4\n    REG: $BASE/x\n  script:\n    - npm publish --registry ${REG}\n": registryGitLab,
		"before_script:\n    - export NPM_CONFIG_REGISTRY=$CI_API_V4_URL/packages/npm/\n  script:\n    - npm publish\n":              registryGitLab,
		"script:\n    - REG=$REG\n    - npm publish --registry $REG\n":                                                               registryNPM,
		"script:\n    - npm publish --registry $UNKNOWN\n":                                                                           registryNPM,
		"script:\n    - npm publish --registry $REG\n    - REG=$CI_API_V4_URL\n":                                                     registryNPM,
		"script:\n    - bash -ec 'REG=https://npm.pkg.github.com; npm publish --registry $REG'\n":                                    "GitHub Packages",
		"script:\n    - REG=https://registry.npmjs.org\n    - npm publish --registry $REG\n":                                         registryNPM,
	} {
		r := check(t, fstest.MapFS{".gitlab-ci.yml": {Data: []byte("publish:\n  " + text)}}, Options{})
		if len(r.Publishes) != 1 || r.Publishes[0].Registry != want {
			t.Errorf("%q publishes %+v, want %s", text, r.Publishes, want)
		}
		if want == registryGitLab && r.Summary.Error > 0 {
			t.Errorf("%q: %+v", text, r.Findings)
		}
	}
}

// TestCommandsVars: each command has what was assigned before it, and later assignments change nothing there.
func TestCommandsVars(t *testing.T) {
	var got []string
	for _, c := range commands("A=1\nx\nA=2\ny $(A=3; z)\nexport A=4\nw") {
		got = append(got, c.words[0]+c.vars["A"])
	}
	if want := []string{"x1", "z3", "y2", "export4", "w4"}; !slices.Equal(got, want) {
		t.Errorf("%v, want %v", got, want)
	}
}

func TestShellArgument(t *testing.T) {
	for script, want := range map[string]int{
		"bash -c 'cd x; npm publish'":         1,
		"sudo sh -ec \"npm publish\"":         1,
		"bash -o pipefail -c 'npm publish'":   1,
		"bash publish.sh -c 'npm publish'":    0,
		"sh -c \"sh -c 'npm publish'\"":       1,
		"echo bash -c 'npm publish'":          0,
		"bash -c":                             0,
		"bash -c 'echo; # npm publish' npm x": 0,
	} {
		got := 0
		for _, c := range commands(script) {
			if _, _, ok := publishing(c); ok {
				got++
			}
		}
		if got != want {
			t.Errorf("%s: %d publishes, want %d", script, got, want)
		}
	}
}

// TestNPMVersions: the npm of a container and one fetched for a single command count too.
func TestNPMVersions(t *testing.T) {
	for text, want := range map[string]bool{
		"    container: node:20\n    steps:\n      - run: npm publish\n":                                                                                 true,
		"    container: node:20-alpine@sha256:00\n    steps:\n      - run: npm publish\n":                                                                true,
		"    container:\n      image: docker.io/library/node:24\n    steps:\n      - run: npm publish\n":                                                 false,
		"    container: node:lts\n    steps:\n      - run: npm publish\n":                                                                                false,
		"    container: acme/node:20\n    steps:\n      - run: npm publish\n":                                                                            false,
		"    steps:\n      - run: npx npm@10 publish\n":                                                                                                  true,
		"    steps:\n      - run: npx --yes --package=npm@10.9.0 npm publish\n":                                                                          true,
		"    steps:\n      - run: npx npm@11.5.1 publish\n":                                                                                              false,
		"    steps:\n      - run: npm publish npm@10\n":                                                                                                  false,
		"    container: node:22\n    steps:\n      - run: npx npm@11.5.1 publish\n":                                                                      false,
		"    container: node:20\n    steps:\n      - uses: actions/setup-node@v6\n        with:\n          node-version: 24\n      - run: npm publish\n": false,
	} {
		workflow := "on: push\npermissions: {}\njobs:\n  publish:\n    runs-on: ubuntu-latest\n    permissions:\n      id-token: write\n" + text
		r := check(t, fstest.MapFS{".github/workflows/release.yml": {Data: []byte(workflow)}}, home)
		if got := slices.Contains(broken(r), "npm-too-old"); got != want {
			t.Errorf("npm-too-old is %v, want %v:\n%s", got, want, text)
		}
	}
}

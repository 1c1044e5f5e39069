package inventory

import (
	"fmt"
	"strings"
	"testing"
	"time"
)

const (
	berryMeta10 = "__metadata:\n  version: 10\n  cacheKey: 10c0\n\n"
	pnpmMS      = "lockfileVersion: '9.0'\nimporters:\n  .:\n    dependencies:\n      ms: {specifier: ^2.0.0, version: 2.0.0}\n" +
		"packages:\n  ms@2.0.0: {resolution: {integrity: sha512-a}}\nsnapshots:\n  ms@2.0.0: {}\n"
	classicMS = "ms@^2.0.0:\n  version \"2.0.0\"\n  resolved \"https://registry.yarnpkg.com/ms/-/ms-2.0.0.tgz#5608aeadfc00be6c2901df5f9861788de0d597c8\"\n"
	bunMS     = `{"lockfileVersion": 1, "workspaces": {"": {"name": "app", "dependencies": {"ms": "^2.0.0"}}}, "packages": {"ms": ["ms@2.0.0", "", {}, "sha512-a"]}}`
	wantsMS   = `{"name": "app", "dependencies": {"ms": "^2.0.0"}}`
)

// Each of these was tried with the package manager: it installs something else than the file seems to say. So either
// the file is refused, or what is wrong is told, or what is listed has the address that the bytes come from.
func TestOtherThanInstalled(t *testing.T) {
	berry := func(keys, resolution string) map[string]string {
		return map[string]string{"package.json": wantsMS, "yarn.lock": berryMeta10 + berryRow(keys, "2.0.0", resolution)}
	}
	with := func(name, text string, more ...string) map[string]string {
		all := map[string]string{"package.json": wantsMS, name: text}
		for i := 0; i+1 < len(more); i += 2 {
			all[more[i]] = more[i+1]
		}
		return all
	}
	evil := "http%3A%2F%2Fevil.example%2Fx.tgz"
	pnpm := func(file, text string) map[string]string { return with("pnpm-lock.yaml", pnpmMS, file, text) }
	tests := []struct {
		name     string
		files    map[string]string
		err      string
		odd      string // code of a suspicious warning
		doubtful string // code of one that is doubtful
		resolved string
	}{
		{name: "yarn: parameter", files: berry("ms@npm:^2.0.0", "ms@npm:2.0.0::__archiveUrl="+evil), resolved: "http://evil.example/x.tgz"},
		{name: "yarn: parameter's name escaped", files: berry("ms@npm:^2.0.0", "ms@npm:2.0.0::%5F_archive%55rl="+evil), resolved: "http://evil.example/x.tgz"},
		{name: "yarn: parameter among others", files: berry("ms@npm:^2.0.0", "ms@npm:2.0.0::a=b&__archiveUrl="+evil+"&c"), resolved: "http://evil.example/x.tgz"},
		{name: "yarn: parameter twice", files: berry("ms@npm:^2.0.0", "ms@npm:2.0.0::__archiveUrl=a&__archiveUrl="+evil), err: "parameter __archiveUrl is empty or occurs twice"},
		{name: "yarn: parameter empty", files: berry("ms@npm:^2.0.0", "ms@npm:2.0.0::__archiveUrl="), err: "parameter __archiveUrl is empty or occurs twice"},
		{name: "yarn: parameter broken", files: berry("ms@npm:^2.0.0", "ms@npm:2.0.0::__archiveUrl="+evil+"%zz"), err: "invalid URL escape"},
		{name: "yarn: name of a parameter broken", files: berry("ms@npm:^2.0.0", "ms@npm:2.0.0::%zz=a&__archiveUrl="+evil), err: "invalid URL escape"},
		{name: "yarn: parameter of an instance", files: berry("ms@npm:^2.0.0", "ms@virtual:0123#npm:2.0.0::__archiveUrl="+evil), resolved: "http://evil.example/x.tgz"},
		{name: "yarn: the project in the place of a package", files: berry("app@workspace:., ms@npm:^2.0.0", "app@workspace:."), err: `"ms@npm:^2.0.0" leads to "app@workspace:."`},
		{name: "yarn: a workspace in the place of a package", files: with("yarn.lock", berryMeta10+berryRow("lib@workspace:lib, ms@npm:^2.0.0", "0.0.0-use.local", "lib@workspace:lib"),
			"package.json", `{"workspaces": ["lib"], "dependencies": {"ms": "^2.0.0"}}`, "lib/package.json", `{"name": "lib"}`), err: `"ms@npm:^2.0.0" leads to "lib@workspace:lib"`},
		{name: "yarn: a directory in the place of a package", files: berry("ms@npm:^2.0.0", "ms@workspace:lib"), odd: "workspace-unlisted"},
		{name: "yarn: a workspace that is not there", files: with("yarn.lock", berryMeta10+berryRow("ms@npm:^2.0.0", "2.0.0", "ms@workspace:packages/ms"),
			"package.json", `{"workspaces": ["packages/*"], "dependencies": {"ms": "^2.0.0"}}`), odd: "workspace-unlisted"},
		{name: "yarn: a workspace that is there", files: with("yarn.lock", berryMeta10+berryRow("ms@npm:^2.0.0, ms@workspace:packages/ms", "0.0.0-use.local", "ms@workspace:packages/ms"),
			"package.json", `{"workspaces": ["packages/*"], "dependencies": {"ms": "^2.0.0"}}`, "packages/ms/package.json", `{"name": "ms", "version": "2.0.0"}`)},
		{name: "yarn: a blank before a key", files: berry(" ms@npm:^2.0.0", "ms@npm:2.0.0"), err: "begins or ends with a blank"},
		{name: "yarn: read as a file of yarn 1", files: with("yarn.lock", "#  Yarn  lockfile V1\n"+berryMeta10), err: "is a lockfile of yarn 1 by its comment"},

		{name: "yarn 1: blanks that end the file", files: with("yarn.lock", classicHead+"a@1:\n  version \"1.0.0\"\n\n    \n"+classicMS), err: "yarn.lock:8: is indented and empty or a comment"},
		{name: "yarn 1: a comment that ends the file", files: with("yarn.lock", classicHead+"a@1:\n  version \"1.0.0\"\n\n    # b\n"+classicMS), err: "yarn.lock:8: is indented and empty or a comment"},
		{name: "yarn 1: prebuilt", files: with("yarn.lock", classicHead+classicMS+"  prebuiltVariants:\n    \"ms-v2.0.0-linux-x64-115\" \"0123\"\n"), odd: "prebuilt"},
		{name: "yarn 1: no lockfile", files: with("yarn.lock", classicHead+classicMS, ".yarnrc", "# a\n\n--install.no-lockfile true\n"), odd: "setting-odd"},
		{name: "yarn 1: no lockfile for any command", files: with("yarn.lock", classicHead+classicMS, ".yarnrc", "\"--no-lockfile\" \"true\"\n"), odd: "setting-odd"},
		{name: "yarn 1: lockfile after all", files: with("yarn.lock", classicHead+classicMS, ".yarnrc", "--no-lockfile false\nlastUpdateCheck 1\n"), resolved: "https://registry.yarnpkg.com/ms/-/ms-2.0.0.tgz"},
		{name: "yarn 1: elsewhere", files: with("yarn.lock", classicHead+classicMS, ".yarnrc", "--cwd \"./sub\"\n"), odd: "setting-odd"},
		{name: "yarn 1: cache in the project", files: with("yarn.lock", classicHead+classicMS, ".yarnrc", "cache-folder \"./yc\"\n", "yc/a", ""), doubtful: "setting-odd"},
		{name: "yarn 1: cache elsewhere", files: with("yarn.lock", classicHead+classicMS, ".yarnrc", "cache-folder \"/tmp/yc\"\n"), resolved: "https://registry.yarnpkg.com/ms/-/ms-2.0.0.tgz"},

		{name: "pnpm: lockfile of a branch", files: pnpm("pnpm-workspace.yaml", "packages: []\ngitBranchLockfile: true\n"), odd: "setting-odd"},
		{name: "pnpm: lockfile of a branch in .npmrc", files: pnpm(".npmrc", "; a\n git-branch-lockfile = true\n"), odd: "setting-odd"},
		{name: "pnpm: lockfile of a branch without a value", files: pnpm(".npmrc", "\"git-branch-lockfile\"\n"), odd: "setting-odd"},
		{name: "pnpm: no lockfile of a branch", files: pnpm(".npmrc", "git-branch-lockfile=false\nlockfile=true\nlockfile-dir=./\n")},
		{name: "pnpm: no lockfile", files: pnpm(".npmrc", "lockfile=false\n"), odd: "setting-odd"},
		{name: "pnpm: lockfile elsewhere", files: pnpm("pnpm-workspace.yaml", "packages: []\nlockfileDir: sub\n"), odd: "setting-odd"},
		{name: "pnpm: lockfiles elsewhere", files: pnpm("pnpm-workspace.yaml", "packages: []\nsharedWorkspaceLockfile: false\n"), doubtful: "setting-odd"},
		{name: "pnpm: store in the project", files: with("pnpm-lock.yaml", pnpmMS, "pnpm-workspace.yaml", "packages: []\nstoreDir: ./st\n", "st/v10/index/a.json", "{}"), doubtful: "setting-odd"},
		{name: "pnpm: a document for pnpm", files: with("pnpm-lock.yaml", "---\n"+pnpmMS), err: `stands in a document that begins with "---"`},
		{name: "pnpm: a document of its own", files: with("pnpm-lock.yaml", "---\nlockfileVersion: '9.0'\nimporters:\n  .:\n    configDependencies: {}\n", "package.json", "{}")},
		{name: "pnpm: a second document behind none", files: with("pnpm-lock.yaml", "# a\n---\nlockfileVersion: '9.0'\n---\n"+pnpmMS), err: `is a second document, but the file does not begin with "---"`},
		{name: "pnpm: a third document", files: with("pnpm-lock.yaml", "---\nlockfileVersion: '9.0'\n---\n"+pnpmMS+"---\n"+pnpmMS), err: "is a third document"},
		{name: "pnpm: a second document that it does not find", files: with("pnpm-lock.yaml", "---\nlockfileVersion: '9.0'\n--- # a\n"+pnpmMS), err: `does not begin with a line "---"`},
		{name: "pnpm: two documents", files: with("pnpm-lock.yaml", "---\nlockfileVersion: '9.0'\n---\n"+pnpmMS)},
		{name: "pnpm: two documents, CRLF", files: with("pnpm-lock.yaml", strings.ReplaceAll("---\nlockfileVersion: '9.0'\n---\n"+pnpmMS, "\n", "\r\n"))},

		{name: "npm: no lockfile", files: with("package-lock.json", lock3(`"ms": "^2.0.0"`, `"node_modules/ms": {"version": "2.0.0"}`), ".npmrc", "package-lock=false\n"), odd: "setting-odd"},
		{name: "bun: cache in the project", files: with("bun.lock", bunMS, "bunfig.toml", "[install.cache]\ndir = \"./bc\"\n", "bc/a", ""), doubtful: "setting-odd"},
		{name: "bun: cache in the project, short", files: with("bun.lock", bunMS, "bunfig.toml", "[install]\ncache = \"bc\"\n", "bc/a", ""), doubtful: "setting-odd"},
		{name: "bun: settings that are none", files: with("bun.lock", bunMS, "bunfig.toml", "[install\n")},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			p, err := OpenFS(files(tt.files), ".", Options{})
			checkError(t, err, tt.err)
			if err != nil {
				return
			}
			checkOddities(t, p)
			odd, doubtful := "", ""
			for _, w := range p.Warnings {
				if w.Suspicious {
					odd = w.Code
				}
				if w.Doubtful {
					doubtful = w.Code
				}
			}
			if odd != tt.odd || doubtful != tt.doubtful {
				t.Errorf("suspicious %q, want %q; doubtful %q, want %q\n%s", odd, tt.odd, doubtful, tt.doubtful, summary(p))
			}
			if tt.resolved != "" && (len(p.Packages) != 1 || p.Packages[0].Resolved != tt.resolved) {
				t.Errorf("not resolved to %s:\n%s", tt.resolved, summary(p))
			}
		})
	}
}

// Two lists in two files must not be compared each with each.
func TestSettingsTakeLittleTime(t *testing.T) {
	rows := func(n int, format string) string {
		var b strings.Builder
		for i := range n {
			b.WriteString(strings.ReplaceAll(format, "%d", fmt.Sprint(i)))
		}
		return b.String()
	}
	const empty = "lockfileVersion: '9.0'\nimporters:\n  .: {}\n"
	deps := strings.TrimSuffix(rows(19_000, `"d%d":"1",`), ",")
	tests := []struct {
		name  string
		files map[string]string
		err   string
	}{
		{name: "configDependencies", files: map[string]string{"pnpm-lock.yaml": empty, "pnpm-workspace.yaml": "configDependencies:\n" + rows(300_000, "  a%d: 1.0.0+sha512-x\n")}},
		{name: "patchedDependencies", files: map[string]string{"pnpm-lock.yaml": "patchedDependencies:\n" + rows(300_000, "  a%d: h\n") + empty, "pnpm-workspace.yaml": "patchedDependencies:\n" + rows(500_000, "  b%d: p\n")}},
		{name: "overrides that refer", files: map[string]string{"pnpm-lock.yaml": empty, "package.json": `{"dependencies": {` + deps + `}}`, "pnpm-workspace.yaml": "overrides:\n" + rows(450_000, "  b%d: $zz\n")}, err: "more than 1000 packages are asked for"},
		{name: "packageExtensions", files: map[string]string{"package.json": "{}", ".yarnrc.yml": "packageExtensions:\n  x:\n    dependencies:\n" + rows(400_000, "      d%d: 1\n"),
			"yarn.lock": berryMeta10 + rows(90_000, "\"x@npm:%d\":\n  version: %d.0.0\n  resolution: \"x@npm:%d.0.0\"\n")}},
		{name: "packageExtensions that count", files: map[string]string{"package.json": "{}", ".yarnrc.yml": "packageExtensions:\n  x:\n    dependencies:\n" + rows(2000, "      d%d: 1\n"),
			"yarn.lock": berryMeta10 + rows(5000, "\"x@npm:%d\":\n  version: %d.0.0\n  resolution: \"x@npm:%d.0.0\"\n") + rows(2000, "\"d%d@npm:1\":\n  version: 1.0.0\n  resolution: \"d%d@npm:1.0.0\"\n")}},
		{name: "workspaces", files: map[string]string{"package.json": `{"workspaces": ["p/*"` + rows(400, `,"x%d{`+strings.TrimSuffix(rows(99, "%d,"), ",")+`}*"`) + `]}`,
			"yarn.lock": berryMeta10 + rows(90_000, "\"w%d@workspace:n/%d\":\n  version: 0.0.0-use.local\n  resolution: \"w%d@workspace:n/%d\"\n")}, err: "too many workspace patterns"},
		{name: "workspaces of a workspace", files: map[string]string{"package.json": `{"workspaces": ["p/*"]}`, "p/a/package.json": `{"name": "a", "version": "1.0.0", "workspaces": ["b"` + rows(999, `,"!x%d{`+strings.TrimSuffix(rows(99, "y%d,"), ",")+`}*"`) + `]}`,
			"yarn.lock": berryMeta10 + rows(90_000, "\"w%d@workspace:p/a/n%d\":\n  version: 0.0.0-use.local\n  resolution: \"w%d@workspace:p/a/n%d\"\n")}, err: "too many workspace patterns"},
		{name: "resolutions", files: map[string]string{"package.json": `{"resolutions": {` + strings.TrimSuffix(rows(19_000, `"p%d/x": "1.0.%d",`), ",") + `}}`,
			"bun.lock": `{"lockfileVersion": 1, "workspaces": {"": {}}, "packages": {` + rows(90_000, "\n\"a%d\": [\"a%d@1.0.0\", \"\", {}, \"\"], \"a%d/x\": [\"x@1.0.%d\", \"\", {}, \"\"],") + `}}`}, err: "too many overrides"},
		{name: "overrides", files: map[string]string{"package.json": `{"overrides": {` + strings.TrimSuffix(rows(19_000, `"p%d": {"x": "1.0.%d"},`), ",") + `}}`,
			"package-lock.json": lock3("", strings.Split(strings.TrimSuffix(rows(90_000, `"node_modules/a%d/node_modules/x": {"version": "1.0.%d"}|`), "|"), "|")...)}, err: "too many overrides"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			start := time.Now()
			_, err := OpenFS(files(tt.files), ".", Options{})
			checkError(t, err, tt.err)
			if took := time.Since(start); took > 20*time.Second {
				t.Errorf("took %v", took)
			}
		})
	}
}

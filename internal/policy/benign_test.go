package policy

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"assay/internal/publisher"
)

// An outcome is how loud the rules about histories and pins may be, as a user meets it.
type loudness string

const (
	quiet loudness = "quiet" // not one of them speaks
	note  loudness = "note"  // something is shown, and the exit code is 0
	ask   loudness = "ask"   // denied until it is pinned or waived
	open  loudness = "open"  // could not tell
)

func (o told) loudness() loudness {
	l := quiet
	for _, f := range o.findings {
		switch {
		case f.Level == Deny:
			return ask
		case f.Level == Error:
			l = open
		case l == quiet && (slices.Contains(spoken, f.Rule) || f.Rule == "unpinned" || f.Rule == "history"):
			l = note
		}
	}
	return l
}

func renamed(owner, repository string) func(*publisher.Publisher) {
	return func(p *publisher.Publisher) {
		p.Owner, p.Repository = "https://github.com/"+owner, "https://github.com/"+owner+"/"+repository
	}
}

// calls is a publisher whose workflow calls another of its repository to sign.
func calls(workflow string) func(*publisher.Publisher) {
	return func(p *publisher.Publisher) {
		p.SignerRepository, p.SignerWorkflow, p.SignerRef = p.Repository, ".github/workflows/"+workflow, p.Ref
	}
}

// TestBenign: changes that were taken for attacks, or could be, and were none. Most are what really happened
// (the source is named); the others differ from those in what tells them apart.
func TestBenign(t *testing.T) {
	semverCI := ci("npm/node-semver", "release-integration.yml", "refs/heads/main", "push")
	tinyexec := ci("tinylibs/tinyexec", "publish.yml", "refs/tags/1", "release")
	chokidarCI := ci("paulmillr/chokidar", "publish-npm.yml", "refs/heads/main", "workflow_dispatch")
	fastqCI := ci("mcollina/fastq", "release.yml", "refs/heads/master", "workflow_dispatch")
	pnpmCI := ci("pnpm/pnpm", "release.yml", "refs/heads/main", "push")
	mergeCI := ci("dcastil/tailwind-merge", "npm-publish.yml", "refs/heads/main", "release")
	viteCI := ci("vitejs/vite", "publish.yml", "refs/tags/v6", "push")
	pwCI := ci("microsoft/playwright-cli", "publish.yml", "refs/heads/main", "release")
	rqbCI := ci("react-querybuilder/react-querybuilder", "release.yml", "refs/heads/main", "push")
	muxCI := ci("coder/mux", "release.yml", "refs/heads/main", "push")
	rrdCI := ci("forge-42/react-router-devtools", "publish.yml", "refs/heads/main", "push")
	decoCI := ci("decocms/studio", "release-mesh.yaml", "refs/heads/main", "push")
	intlCI := ci("amannn/next-intl", "release.yml", "refs/heads/main", "push")
	edsCI := ci("equinor/design-system", "publish.yaml", "refs/heads/main", "push")

	semver := func(version string) func(testing.TB) *tale {
		return pkg("semver", version, v("5.7.1", "2019-08-12", account("isaacs")), v("6.3.0", "2019-07-23", account("isaacs")), v("7.3.8", "2022-10-04", account("lukekarrys")),
			v("7.5.0", "2023-04-17", account("npm-cli-ops")), v("7.5.1", "2023-05-12", account("npm-cli-ops")),
			v("7.5.2", "2023-07-06", att(semverCI), account("npm-cli-ops")), v("7.5.4", "2023-07-07", att(semverCI), account("npm-cli-ops")),
			v("6.3.1", "2023-07-10 20:58", account("lukekarrys")), v("5.7.2", "2023-07-10 22:30", account("lukekarrys")))
	}
	chokidar := func(version string) func(testing.TB) *tale {
		return pkg("chokidar", version, v("4.0.0", "2024-09-13", att(chokidarCI), account("paulmillr")), v("4.0.1", "2024-09-22", att(chokidarCI), account("paulmillr")),
			v("4.0.2", "2024-12-18 01:00", account("paulmillr")), v("4.0.3", "2024-12-18 15:00", account("paulmillr")), v("5.0.0", "2025-11-25", att(chokidarCI), account("paulmillr")))
	}
	fix := pkg("eslint-config-prettier", "8.10.2",
		v("8.10.0", "2023-08-03", account("jounqin")), v("9.1.0", "2023-12-03", account("jounqin")), v("10.1.4", "2025-05-09", att(prettierCI), account("jounqin")), v("10.1.5", "2025-05-13", att(prettierCI), account("jounqin")),
		v("8.10.1", "2025-07-18 15:00", removed), v("9.1.1", "2025-07-18 15:04", removed), v("10.1.6", "2025-07-18 15:08", removed), v("10.1.7", "2025-07-18 16:30", removed),
		v("8.10.2", "2025-07-19 01:18", account("jounqin")), v("9.1.2", "2025-07-19 01:19", account("jounqin")))
	tailwind := func(version string) func(testing.TB) *tale {
		return pkg("tailwind-merge", version, v("2.5.4", "2024-10-14", att(mergeCI)), v("2.5.5", "2024-11-18", att(mergeCI)), v("2.6.0-dev.1", "2024-12-20", att(mergeCI)),
			v("2.6.0", "2024-12-26"), v("3.0.0", "2025-01-26", att(mergeCI)), v("3.4.0", "2025-11-09", tp(mergeCI)), v("2.6.1", "2026-01-28"))
	}
	query := func(version string) func(testing.TB) *tale {
		return pkg("react-querybuilder", version, v("8.12.0", "2026-01-10", att(rqbCI), account("jake")), v("8.13.0", "2026-02-01", att(rqbCI), account("jake")),
			v("8.14.0", "2026-03-01", account("jake")), v("8.14.2", "2026-03-10", account("jake")), v("8.14.3", "2026-03-26", att(rqbCI), account("jake")))
	}
	reusable := ci("coder/mux", "release.yml", "refs/heads/main", "push", calls("_npm-publish.yml"))
	mastra := func(name string) func(testing.TB) *tale {
		return pkg(name, "1.20.6", v("1.20.4", "2026-06-11", tp(mastraCI)), v("1.20.5", "2026-06-17 01:20", removed), v("1.20.6", "2026-06-17 01:50", tp(mastraCI)))
	}

	for _, tt := range []struct {
		name  string
		story func(testing.TB) *story
		want  loudness
		says  string // part of a finding
	}{
		// npm/node-semver#838, #886; pnpm/pnpm#10202
		{name: "F01 old lines by hand, 5.7.2", story: on("2023-07-15", semver("5.7.2")), want: quiet},
		{name: "F01 old lines by hand, 6.3.1", story: on("2023-07-15", semver("6.3.1")), want: quiet},
		{name: "F01 years later", story: on("2026-11-01", semver("6.3.1")), want: quiet},
		{name: "F01 years later, not pinned", story: bare(on("2026-11-01", semver("6.3.1"))), want: quiet},

		// prettier/eslint-config-prettier#339
		{name: "F02 repair after a theft", story: on("2025-07-24", fix), want: note, says: "10.1.5 had provenance"},
		{name: "F02 repair after a theft, that mends what an advisory names", story: on("2025-07-19 03:00", advised(fix, "8.10.1")), want: note, says: "mends what an advisory names in 8.10.1"},

		// microsoft/FluidFramework#27046; axios/axios#10639
		{name: "F03 line always by hand", story: on("2026-02-24", axios("0.30.3")), want: note, says: "1.13.5 had provenance"},

		// unjs/c12#287; TanStack/router#7643
		{name: "F04 local publish within a line", story: on("2024-12-24", chokidar("4.0.2")), want: ask, says: "4.0.1"},
		{name: "F04 not pinned", story: bare(on("2024-12-24", chokidar("4.0.2"))), want: ask, says: "4.0.1 had provenance"},
		{name: "F04 remembered", story: from("4.0.2", on("2024-12-24", chokidar("4.0.3"))), want: note, says: "4.0.2, which was accepted here"},
		{name: "F04 years later", story: bare(on("2026-11-01", chokidar("4.0.3"))), want: note, says: "since 2024-12-18"},
		{name: "F04 afterwards", story: from("4.0.3", on("2025-12-01", chokidar("5.0.0"))), want: note, says: "release line 5 is new"},

		// pnpm/pnpm#11887, #12056; tinylibs/tinyexec#131, #136
		{name: "F05 staged publish approved by a person", story: at5(pkg("tinyexec", "1.2.1", v("1.1.0", "2026-03-01", tp(tinyexec)), v("1.2.1", "2026-05-01", att(tinyexec), account("a-person"),
			func(v *Version) { v.Approved = true }))), want: quiet},
		// AriPerkkio/ast-v8-to-istanbul#166
		{name: "F06 approver's field appears", story: at5(pkg("ast-v8-to-istanbul", "1.0.3", v("1.0.2", "2026-04-01", tp(ci("a/b", "release.yml", "refs/heads/main", "push"))),
			v("1.0.3", "2026-05-01", att(ci("a/b", "release.yml", "refs/heads/main", "push")), account("a-person"), func(v *Version) { v.Approved = true }))), want: quiet},
		// mcollina/fastq#109
		{name: "F07 published from a laptop", story: at5(pkg("fastq", "1.20.2", v("1.19.1", "2025-02-27", account("matteo.collina")), v("1.20.0", "2025-12-22", tp(fastqCI)), v("1.20.1", "2025-12-23", tp(fastqCI)),
			v("1.20.2", "2026-08-28", account("matteo.collina")))), want: ask, says: "1.20.1"},
		// pnpm/pnpm#11391
		{name: "F08 last version under an old name", story: at5(pkg("@pnpm/modules-yaml", "1002.0.1", v("1000.0.0", "2025-01-01", account("zkochan")), v("1002.0.0", "2026-03-01", tp(pnpmCI)),
			v("1002.0.1", "2026-04-20", account("zkochan"), deprecated("use @pnpm/installing.modules-yaml")))), want: ask},
		// dcastil/tailwind-merge#668, #720
		{name: "F09 maintenance line by hand", story: on("2026-02-03", tailwind("2.6.1")), want: note, says: "so is 2.6.0"},
		{name: "F09 maintenance line by hand, not pinned", story: bare(on("2026-02-03", tailwind("2.6.1"))), want: note, says: "for some time"},
		{name: "F09 a prerelease is no precedent", story: on("2024-12-30", pkg("x", "2.6.0", v("2.5.5", "2024-11-18"), v("2.6.0-dev.1", "2024-12-20", att(mergeCI)), v("2.6.0", "2024-12-23"))), want: quiet},
		// pnpm/pnpm#10622
		{name: "F10 trusted publisher, then a token", story: at5(pkg("vite", "6.4.1", v("6.3.9", "2025-09-01", tp(viteCI)), v("6.4.1", "2025-10-20", att(viteCI), account("vitebot")))), want: quiet},
		// microsoft/playwright#42675, #42711
		{name: "F11 moved to a company's pipeline", story: at5(pkg("@playwright/cli", "0.1.19", v("0.1.17", "2026-07-01", tp(pwCI)), v("0.1.18", "2026-08-10", tp(pwCI)), v("0.1.19", "2026-09-01", account("microsoft1es")))), want: ask},
		{name: "F11 for good", story: from("0.1.19", on("2026-11-10", pkg("@playwright/cli", "0.2.0", v("0.1.17", "2026-07-01", tp(pwCI)), v("0.1.18", "2026-08-10", tp(pwCI)), v("0.1.19", "2026-09-01", account("microsoft1es")),
			v("0.2.0", "2026-11-01", account("microsoft1es"))))), want: note, says: "release line 0.2 is new"},
		// react-querybuilder/react-querybuilder#1009
		{name: "F12 lost", story: on("2026-03-08", query("8.14.0")), want: ask},
		{name: "F12 restored, pinned before", story: from("8.13.0", on("2026-03-31", query("8.14.3"))), want: quiet},
		{name: "F12 restored, the loss accepted", story: from("8.14.2", on("2026-03-31", query("8.14.3"))), want: note, says: "again, by the publisher of 8.13.0"},
		// coder/xum#3898
		{name: "F13 repository renamed", story: at5(pkg("mux", "0.31.0", v("0.31.0-x", "2026-07-01"), v("0.30.0", "2026-08-01", tp(muxCI)), v("0.31.0", "2026-08-21", tp(ci("coder/mux", "release.yml", "refs/heads/main", "push", renamed("coder", "shux")))))), want: note},
		{name: "F13 repository renamed within the line", story: at5(pkg("mux", "1.31.0", v("1.30.0", "2026-08-01", tp(muxCI)), v("1.31.0", "2026-08-21", tp(ci("coder/mux", "release.yml", "refs/heads/main", "push", renamed("coder", "shux")))))),
			want: note, says: "repository https://github.com/coder/mux → https://github.com/coder/shux"},
		// code-forge-io/react-router-devtools#259
		{name: "F14 organisation renamed", story: at5(pkg("react-router-devtools", "6.2.1", v("6.2.0", "2026-04-01", tp(rrdCI)), v("6.2.1", "2026-06-01", tp(ci("forge-42/react-router-devtools", "publish.yml", "refs/heads/main", "push", renamed("code-forge-io", "react-router-devtools")))))), want: note},
		{name: "F14 organisation is another", story: at5(pkg("react-router-devtools", "6.2.1", v("6.2.0", "2026-04-01", tp(rrdCI)), v("6.2.1", "2026-06-01", tp(ci("forge-42/react-router-devtools", "publish.yml", "refs/heads/main", "push", renamed("code-forge-io", "react-router-devtools"), owner("code-forge-io")))))), want: ask, says: "owner id"},
		// repobuddy/jest-watch-suspend#68
		{name: "F15 repository transferred", story: at5(pkg("jest-watch-suspend", "1.1.3", v("1.1.2", "2026-04-01", tp(ci("unional/jest-watch-suspend", "release.yml", "refs/heads/main", "push"))),
			v("1.1.3", "2026-09-02", tp(ci("unional/jest-watch-suspend", "release.yml", "refs/heads/main", "push", renamed("repobuddy", "jest-watch-suspend"), owner("repobuddy")))))), want: ask, says: "owner id"},
		// decocms/studio#5186
		{name: "F16 workflow renamed", story: at5(pkg("decocms", "2.300.1", v("2.300.0", "2026-07-20", tp(decoCI)), v("2.300.1", "2026-07-24", tp(ci("decocms/studio", "release-studio.yaml", "refs/heads/main", "push"))))), want: ask, says: "workflow .github/workflows/release-mesh.yaml → .github/workflows/release-studio.yaml"},
		{name: "F16 name restored", story: at5(pkg("decocms", "2.300.2", v("2.300.0", "2026-07-20", tp(decoCI)), v("2.300.2", "2026-07-24", tp(decoCI)))), want: quiet},
		// amannn/next-intl#2363, #2364
		{name: "F17 recovery of a release", story: at5(pkg("next-intl", "4.13.4", v("4.13.3", "2026-07-20", tp(intlCI)), v("4.13.4", "2026-07-23", tp(ci("amannn/next-intl", "release.yml", "refs/heads/main", "workflow_dispatch"))))), want: note, says: "event push → workflow_dispatch"},
		// coder/xum#2820
		{name: "F18 reusable workflow", story: at5(pkg("mux", "1.20.0", v("1.19.0", "2026-03-01", tp(muxCI)), v("1.20.0", "2026-03-06", tp(reusable)))), want: ask, says: "called workflow"},
		{name: "F18 both recorded", story: others([]string{"1.20.0"}, from("1.19.0", at5(pkg("mux", "1.21.0", v("1.19.0", "2026-03-01", tp(muxCI)), v("1.20.0", "2026-03-06", tp(reusable)), v("1.21.0", "2026-03-12", tp(muxCI)))))), want: quiet},
		{name: "F18 both recorded, called", story: others([]string{"1.20.0"}, from("1.19.0", at5(pkg("mux", "1.21.0", v("1.19.0", "2026-03-01", tp(muxCI)), v("1.20.0", "2026-03-06", tp(reusable)), v("1.21.0", "2026-03-12", tp(reusable)))))), want: quiet},
		// equinor/design-system#5110
		{name: "F19 published by hand, as the registry refused", story: at5(pkg("@equinor/eds-icons", "1.5.0", v("1.4.0", "2026-02-01", att(edsCI), account("eds")), v("1.5.0", "2026-05-20", account("eds")))), want: ask},
		// nrwl/nx#32849
		{name: "F20 could not be told", story: at5(pkg("nx", "21.5.3", v("21.5.2", "2025-09-08", tagged("21.5.2")), v("21.5.3", "2025-09-15", tagged("21.5.3"), unchecked))), want: open},
		{name: "F20 could not be told, while attested ones are old enough", story: on("2025-09-17", pkg("nx", "21.5.3", v("21.5.2", "2025-09-08", tagged("21.5.2")), v("21.5.3", "2025-09-15", tagged("21.5.3"), unchecked))), want: open, says: "could not be checked"},
		// mastra-ai/mastra#18069
		{name: "F21 numbers burnt by an attack", story: at5(alike([]string{"@mastra/a", "@mastra/b", "@mastra/c", "@mastra/d", "@mastra/e", "@mastra/f", "@mastra/g"}, mastra)...), want: quiet},

		{name: "several lines by their usual publisher", story: at5(pkg("undici", "7.18.2", v("5.28.1", "2025-01-01", tp(fastqCI)), v("6.20.0", "2025-11-01", tp(fastqCI)), v("7.18.1", "2025-12-01", tp(fastqCI)),
			v("5.28.2", "2026-01-10 10:00", tp(fastqCI)), v("6.20.1", "2026-01-10 10:05", tp(fastqCI)), v("7.18.2", "2026-01-10 10:10", tp(fastqCI)))), want: quiet},
		{name: "several lines by their usual publisher, not pinned", story: bare(at5(pkg("undici", "7.18.2", v("5.28.1", "2025-01-01", tp(fastqCI)), v("6.20.0", "2025-11-01", tp(fastqCI)), v("7.18.1", "2025-12-01", tp(fastqCI)),
			v("5.28.2", "2026-01-10 10:00", tp(fastqCI)), v("6.20.1", "2026-01-10 10:05", tp(fastqCI)), v("7.18.2", "2026-01-10 10:10", tp(fastqCI))))), want: quiet},
		{name: "a monorepo by one account", story: at5(alike([]string{"@babel/a", "@babel/b", "@babel/c", "@babel/d", "@babel/e", "@babel/f"}, func(name string) func(testing.TB) *tale {
			return pkg(name, "7.28.5", v("7.28.4", "2025-09-01", account("babel-bot"), repo("babel/babel")), v("7.28.5", "2025-10-20", account("babel-bot"), repo("babel/babel")))
		})...), want: quiet},
		{name: "a candidate and its release minutes later", story: at5(pkg("x", "2.0.0", v("2.0.0-rc.1", "2026-01-01"), v("1.9.0", "2025-12-01"), v("2.0.0-rc.2", "2026-02-01 10:00"), v("2.0.0", "2026-02-01 10:08"))), want: note, says: "release line 2 is new"},
		{name: "builds of every commit", story: from("19.0.0-c.1", at5(pkg("x", "19.0.0-c.4", v("19.0.0-c.1", "2026-01-01"), v("19.0.0-c.2", "2026-02-01 10:00"), v("19.0.0-c.3", "2026-02-01 10:08"), v("19.0.0-c.4", "2026-02-01 10:20")))), want: quiet},
		{name: "a new maintainer, in a package that is alive", story: at5(pkg("x", "1.2.0", v("1.0.0", "2025-10-01", account("old")), v("1.1.0", "2025-12-01", account("old")), v("1.2.0", "2026-02-01", account("new")))), want: quiet},
		{name: "the old maintainer, after a long silence", story: at5(pkg("x", "1.2.0", v("1.0.0", "2015-10-01", account("old")), v("1.1.0", "2019-12-01", account("old")), v("1.2.0", "2026-02-01", account("old")))), want: quiet},
		{name: "first provenance, not pinned", story: bare(at5(pkg("x", "1.2.0", v("1.0.0", "2025-10-01"), v("1.1.0", "2025-12-01"), v("1.2.0", "2026-02-01", tp(muxCI))))), want: quiet},
		{name: "first provenance", story: at5(pkg("x", "1.2.0", v("1.0.0", "2025-10-01"), v("1.1.0", "2025-12-01"), v("1.2.0", "2026-02-01", tp(muxCI)))), want: note, says: "look at it and run `assay pin`"},
		{name: "trusted publishing from a private repository", story: at5(pkg("x", "1.2.0", v("1.0.0", "2023-10-01", account("old")), v("1.2.0", "2026-02-01", account("GitHub Actions"), func(v *Version) { v.Trusted = true }))), want: quiet},
		{name: "a repair after the only attested version was made to do harm", story: at5(pkg("x", "1.2.2", v("1.2.0", "2026-01-01"), v("1.2.1", "2026-02-01", tp(muxCI), malicious), v("1.2.2", "2026-02-02"))), want: quiet},
		{name: "dependencies from years ago, new here", story: bare(on("2026-11-01", pkg("x", "1.2.0", v("1.1.0", "2020-01-01"), v("1.2.0", "2021-01-01", dep("tslib", "^2.0.0"), script("postinstall", "node x.js"))))), want: quiet},
		{name: "a burst of years ago", story: at2026(pkg("x", "1.2.2", v("1.1.0", "2020-01-01"), v("1.2.0", "2021-01-01 10:00"), v("1.2.1", "2021-01-01 10:10"), v("2.0.0", "2021-01-01 10:12"), v("1.2.2", "2021-01-01 10:20"))), want: quiet},
		{name: "deprecated precedents count", story: at5(pkg("x", "1.2.2", v("1.2.0", "2026-01-01", tp(muxCI), deprecated("broken")), v("1.2.2", "2026-02-02"))), want: ask},
	} {
		t.Run(tt.name, func(t *testing.T) {
			all := tt.story(t).tell(t)
			for _, got := range all {
				if got.loudness() != tt.want {
					t.Errorf("%s, want %s\n%s", got.loudness(), tt.want, got)
				}
				if tt.says != "" && !strings.Contains(got.String(), tt.says) {
					t.Errorf("does not say %q\n%s", tt.says, got)
				}
			}
		})
	}
}

func owner(name string) func(*publisher.Publisher) {
	return func(p *publisher.Publisher) { p.OwnerID = id(name) }
}

// at5 is a story five days after the new version came out.
func at5(packages ...func(testing.TB) *tale) func(testing.TB) *story {
	return func(t testing.TB) *story {
		s := at(packages...)(t)
		for i := range s.packages[0].rows {
			if r := &s.packages[0].rows[i]; r.Version == s.packages[0].version {
				s.now = r.Time.AddDate(0, 0, 5).Format("2006-01-02 15:04")
			}
		}
		return s
	}
}

func at2026(packages ...func(testing.TB) *tale) func(testing.TB) *story {
	return on("2026-11-01", packages...)
}

// bare is a story of a project without an assay.lock.
func bare(make func(testing.TB) *story) func(testing.TB) *story {
	return func(t testing.TB) *story {
		s := make(t)
		s.unpinned = true
		return s
	}
}

// from is a story of a project that held and pinned a version.
func from(version string, make func(testing.TB) *story) func(testing.TB) *story {
	return func(t testing.TB) *story {
		s := make(t)
		s.packages[0].from = version
		return s
	}
}

// others is a story of a project that accepted the publishers of further versions.
func others(versions []string, make func(testing.TB) *story) func(testing.TB) *story {
	return func(t testing.TB) *story {
		s := make(t)
		s.packages[0].others = versions
		return s
	}
}

// advised is a package of which an advisory names a version, which the project held.
func advised(make func(testing.TB) *tale, version string) func(testing.TB) *tale {
	return func(t testing.TB) *tale {
		p := make(t)
		p.from = version
		for i := range p.rows {
			if r := &p.rows[i]; r.Version == version {
				at := r.Time
				*r = v(version, "2025-01-01", malicious)(t)
				r.Time = at
			}
		}
		return p
	}
}

// TestAnswers: a question that was answered once is not put again, and the answer is good for nothing else.
func TestAnswers(t *testing.T) {
	ours := ci("acme/left", "release.yml", "refs/heads/main", "push")
	for _, tt := range []struct {
		name  string
		story func(testing.TB) *story
		want  loudness
	}{
		{"accepted before it ever had provenance", from("1.0.0", at5(pkg("x", "1.3.0", v("1.0.0", "2025-01-01"), v("1.1.0", "2025-06-01", tp(ours)), v("1.2.0", "2025-07-01", tp(ours)), v("1.3.0", "2026-02-01")))), ask},
		{"a burst of bad versions is no precedent", bare(at5(pkg("x", "1.3.2", v("1.2.0", "2025-07-01", tp(ours)), v("1.3.0", "2026-02-01 10:00"), v("1.3.1", "2026-02-01 10:05"), v("1.3.2", "2026-02-01 10:10")))), ask},
		{"nor is one that the registry took down", bare(at5(pkg("x", "1.3.2", v("1.2.0", "2025-07-01", tp(ours)), v("1.3.0", "2025-08-01", removed), v("1.3.2", "2026-02-01 10:10")))), ask},
		{"nor one that was made to do harm", bare(at5(pkg("x", "1.3.2", v("1.2.0", "2025-07-01", tp(ours)), v("1.3.0", "2025-08-01", malicious), v("1.3.2", "2026-02-01 10:10")))), ask},
		{"a vulnerability does not make forget", bare(at5(pkg("x", "1.3.2", v("1.2.0", "2025-07-01", tp(ours), func(v *Version) { v.Vulnerable = true }), v("1.3.2", "2026-02-01 10:10")))), ask},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if got := tt.story(t).tell(t)[0]; got.loudness() != tt.want {
				t.Errorf("%s, want %s\n%s", got.loudness(), tt.want, got)
			}
		})
	}
}

// TestRuleOverAllLines: a pin is about one line; a rule about a publisher is about all, the good versions of the others included.
func TestRuleOverAllLines(t *testing.T) {
	for _, version := range []string{"0.30.3", "0.30.4"} {
		s := on("2026-03-31 02:00", axios(version))(t)
		s.policy = fmt.Sprintf("%s\npublishers:\n  - {packages: [axios], repository: axios/axios}\n", Recommended())
		got := s.tell(t)[0]
		if !slices.ContainsFunc(got.findings, func(f Finding) bool { return f.Rule == "publisher" && f.Level == Deny }) {
			t.Errorf("%s", got)
		}
	}
}

package policy

import "testing"

// The facts are from the sources that each incident names; times of day that none gives are in the order that they give.

var (
	rspackCI   = ci("web-infra-dev/rspack", "release.yml", "refs/heads/main", "workflow_dispatch")
	prettierCI = ci("prettier/eslint-config-prettier", "release.yml", "refs/heads/main", "push")
	nxCI       = ci("nrwl/nx", "publish.yml", "refs/tags/{v}", "release")
	clineCI    = ci("cline/cline", "publish.yml", "refs/heads/main", "workflow_dispatch")
	axiosCI    = ci("axios/axios", "publish.yml", "refs/heads/v1.x", "workflow_dispatch")
	bwCI       = ci("bitwarden/clients", "publish-cli.yml", "refs/heads/main", "workflow_dispatch")
	capCI      = ci("cap-js/cds-dbs", "release.yml", "refs/heads/main", "push")
	tanstackCI = ci("TanStack/router", "release.yml", "refs/heads/main", "push")
	antvCI     = ci("antvis/thing", "release.yml", "refs/heads/master", "push")
	redhatCI   = ci("RedHatInsights/frontend-components", "ci.yml", "refs/heads/master", "push")
	aiCI       = ci("jagreehal/ai-sdk-ollama", "release.yml", "refs/heads/main", "push")
	mastraCI   = ci("mastra-ai/mastra", "npm-publish.yml", "refs/heads/main", "push")
	injCI      = ci("InjectiveLabs/injective-ts", "publish.yml", "refs/heads/master", "push")
	asyncCI    = ci("asyncapi/generator", "if-nodejs-release.yml", "refs/heads/master", "push")
	nohCI      = ci("7nohe/openapi-react-query-codegen", "release.yml", "refs/heads/main", "push")
	posthogCI  = ci("PostHog/posthog-js", "release.yml", "refs/heads/main", "push")
	ngxCI      = ci("valor-software/ngx-bootstrap", "release.yml", "refs/heads/development", "push")
)

// tagged is a publisher at the tag of a version.
func tagged(tag string) trait {
	p := *nxCI
	p.Ref, p.SignerRef = "refs/tags/"+tag, "refs/tags/"+tag
	return att(&p)
}

var incidents = []incident{
	{
		id: "I01", when: "2018-10-05", what: "event-stream 3.3.6, on the day when its dependency flatmap-stream turned bad, 26 days after it came",
		sources: "dominictarr/event-stream#115, #116; GHSA-mh6f-8j2x-4483",
		unseen:  "the payload came later, in the dependency only, and ran in one application only",
		cases: []incidentCase{{readings: []reading{{story: on("2018-10-05 12:00", pkg("event-stream", "3.3.6",
			v("3.3.3", "2016-05-01", account("dominictarr")), v("3.3.4", "2016-07-01", account("dominictarr")),
			v("3.3.5", "2018-09-05", account("right9ctrl")), v("3.3.6", "2018-09-09", account("right9ctrl"), dep("flatmap-stream", "^0.1.0")))),
			marks: "------FF"}}}},
	},
	{
		id: "I02", when: "2021-10-22", what: "ua-parser-js 0.7.29, 0.8.0, 1.0.0", sources: "faisalman/ua-parser-js#536",
		cases: []incidentCase{{readings: []reading{{story: at(pkg("ua-parser-js", "0.7.29",
			v("0.7.28", "2021-04-10"), v("0.7.29", "2021-10-22 12:15", script("preinstall", "node preinstall.js")),
			v("0.8.0", "2021-10-22 12:16", script("preinstall", "node preinstall.js")), v("1.0.0", "2021-10-22 12:26", script("preinstall", "node preinstall.js")))),
			marks: "-----BFF"}}}},
	},
	{
		id: "I03", when: "2022-01", what: "colors 1.4.1, faker 6.6.6, by their maintainer", sources: "Marak/colors.js#285",
		unseen: "what the publisher himself is up to",
		cases: []incidentCase{{readings: []reading{{story: at(pkg("colors", "1.4.1",
			v("1.3.0", "2018-05-01", account("marak")), v("1.4.0", "2019-09-22", account("marak")), v("1.4.1", "2022-01-08", account("marak")))),
			marks: "-----B--"}}}},
	},
	{
		id: "I04", when: "2024-10-30", what: "@lottiefiles/lottie-player 2.0.5–2.0.7", sources: "LottieFiles/lottie-player#254; airbnb/lottie-web#3127",
		unseen: "module code, and pages that load `latest` from a CDN",
		cases: []incidentCase{{readings: []reading{
			{name: "never attested", story: at(pkg("@lottiefiles/lottie-player", "2.0.5",
				v("2.0.4", "2024-01-10"), v("2.0.5", "2024-10-30 20:12"), v("2.0.6", "2024-10-30 20:40"), v("2.0.7", "2024-10-30 21:05"))), marks: "-----B-F"},
			{name: "another line attested", story: at(pkg("@lottiefiles/lottie-player", "2.0.7",
				v("1.7.1", "2023-01-10", att(ci("LottieFiles/lottie-player", "release.yml", "refs/heads/master", "push"))), v("2.0.4", "2024-01-10"),
				v("2.0.5", "2024-10-30 20:12"), v("2.0.6", "2024-10-30 20:40"), v("2.0.7", "2024-10-30 21:05"))), marks: "--F--B-F"},
		}}},
	},
	{
		id: "I05", when: "2024-12-03", what: "@solana/web3.js 1.95.6, 1.95.7", sources: "GHSA-jcxm-7wvp-g6p5; LayerZero-Labs/devtools#1104",
		unseen: "module code; two versions hours apart look like any second attempt at a repair",
		cases: []incidentCase{{readings: []reading{
			{name: "by a usual account", story: at(pkg("@solana/web3.js", "1.95.7",
				v("1.95.5", "2024-11-20"), v("1.95.6", "2024-12-03 15:20"), v("1.95.7", "2024-12-03 20:25"))), marks: "-----B--"},
			{name: "by an account that never published it, where a workflow did", story: at(pkg("@solana/web3.js", "1.95.6",
				v("1.95.5", "2024-11-20", func(v *Version) { v.User, v.Trusted = "GitHub Actions", true }), v("1.95.6", "2024-12-03 15:20", account("phished")))), marks: "-----B-F"},
		}}},
	},
	{
		id: "I06", when: "2024-12-19", what: "@rspack/core 1.1.7", sources: "web-infra-dev/rspack#8767, #6896",
		cases: []incidentCase{{readings: []reading{
			{name: "attested before", story: at(pkg("@rspack/core", "1.1.7", v("1.1.5", "2024-12-01", att(rspackCI), account("rspackbot")), v("1.1.6", "2024-12-12", att(rspackCI), account("rspackbot")),
				v("1.1.7", "2024-12-19 02:00", account("rspackbot"), script("postinstall", "node ./dist/util/support.js")))), marks: "-BFBBBF-"},
			{name: "not attested before", story: at(pkg("@rspack/core", "1.1.7", v("1.1.6", "2024-12-12", account("rspackbot")),
				v("1.1.7", "2024-12-19 02:00", account("rspackbot"), script("postinstall", "node ./dist/util/support.js")))), marks: "-----BF-"},
		}}},
	},
	{
		id: "I07", when: "2025-03-14", what: "tj-actions/changed-files, an Action whose tags were moved; no npm package", sources: "tj-actions/changed-files#2463; CVE-2025-30066",
		unseen: "third-party Actions inside a build: provenance does not list them",
	},
	{
		id: "I08", when: "2025-06-06", what: "@react-native-aria/*, @gluestack-ui/utils", sources: "gluestack/gluestack-ui#2894; ossf/malicious-packages#927",
		unseen: "module code, in packages of which nothing was attested before",
		cases: []incidentCase{{readings: []reading{
			{name: "several within an hour", story: at(alike([]string{"@react-native-aria/focus", "@react-native-aria/utils", "@react-native-aria/overlays", "@react-native-aria/button", "@gluestack-ui/utils"}, gluestack("21:33"))...), marks: "-----B-F"},
			{name: "hours apart", story: func(t testing.TB) *story {
				return at(gluestack("01:00")("@react-native-aria/focus"), gluestack("09:00")("@react-native-aria/utils"), gluestack("17:00")("@gluestack-ui/utils"))(t)
			}, marks: "-----B--"},
		}}},
	},
	{
		id: "I09", when: "2025-07-18", what: "eslint-config-prettier", sources: "prettier/eslint-config-prettier#339, #361; CVE-2025-54313; MAL-2025-6022",
		unseen: "a pin over lines 8 and 9 would have refused every good version of them too",
		cases: []incidentCase{
			{what: "10.1.6", readings: []reading{{story: at(prettier("10.1.6")), marks: "-BFBBBFF"}}},
			{what: "8.10.1 (9.1.1 likewise)", readings: []reading{{story: at(prettier("8.10.1")), marks: "--F--BFF"}}},
		},
	},
	{
		id: "I10", when: "2025-08-26", what: "nx 20.9.0–20.12.0, 21.5.0–21.8.0", sources: "nrwl/nx#32522; nrwl/nx-console#2723; GHSA-cxm3-wv7p-598c",
		cases: []incidentCase{{readings: []reading{{story: at(pkg("nx", "21.5.0",
			v("20.7.0", "2025-03-01", tagged("20.7.0"), account("nrwl")), v("21.3.0", "2025-08-01", tagged("21.3.0"), account("nrwl")), v("20.8.2", "2025-08-10", tagged("20.8.2"), account("nrwl")),
			v("21.4.1", "2025-08-20", tagged("21.4.1"), account("nrwl")),
			v("21.5.0", "2025-08-26 22:32", account("nrwl"), script("postinstall", "node telemetry.js")), v("20.9.0", "2025-08-26 22:39", account("nrwl"), script("postinstall", "node telemetry.js")))),
			marks: "-BFBBBFF"}}}},
	},
	{
		id: "I11", when: "2025-09-08", what: "debug 4.4.2, chalk 5.6.1 and others of one account, in a project that uses several of them", sources: "chalk/chalk#656; debug-js/debug#1005",
		unseen: "module code, in packages of which nothing was attested before",
		cases: []incidentCase{{readings: []reading{{story: at(alike([]string{"debug", "chalk", "ansi-regex", "color-convert", "supports-color"}, func(name string) func(testing.TB) *tale {
			return pkg(name, "4.4.2", v("4.4.1", "2025-05-13", account("qix")), v("4.4.2", "2025-09-08 13:16", account("qix")))
		})...), marks: "-----B-F"}}}},
	},
	{
		id: "I12", when: "2025-09-15", what: "ngx-bootstrap 18.1.4, 19.0.3, 20.0.3–20.0.6 and 500 more", sources: "scttcper/tinycolor#256, #257; valor-software/ngx-bootstrap#6776",
		unseen: "the file in 20.0.3, planted without the script that runs it",
		cases: []incidentCase{{readings: []reading{
			{name: "not attested before", story: at(ngx(nil)), marks: "-----BFF"},
			{name: "attested before", story: at(ngx(att(ngxCI))), marks: "-BFBBBFF"},
		}}},
	},
	{
		id: "I13", when: "2025-11-24", what: "PostHog's packages and hundreds more", sources: "PostHog's post-mortem",
		cases: []incidentCase{{readings: []reading{
			{name: "not attested before", story: at(alike([]string{"posthog-js", "posthog-node", "posthog-react-native"}, posthog(nil))...), marks: "-----BFF"},
			{name: "attested before", story: at(alike([]string{"posthog-js", "posthog-node", "posthog-react-native"}, posthog(att(posthogCI)))...), marks: "-BFBBBFF"},
		}}},
	},
	{
		id: "I14", when: "2026-02-17", what: "cline 2.3.0", sources: "GHSA-9ppg-jx86-fqw7",
		cases: []incidentCase{{readings: []reading{{story: at(pkg("cline", "2.3.0", v("2.2.2", "2026-02-05", att(clineCI)), v("2.2.3", "2026-02-12", att(clineCI)),
			v("2.3.0", "2026-02-17 11:26", account("clinebot"), script("postinstall", "npm install -g openclaw@latest")))), marks: "-BFBBBFF"}}}},
	},
	{
		id: "I15", when: "2026-03-31", what: "axios", sources: "axios/axios#10636, #10619, #10639, #10604",
		cases: []incidentCase{
			{what: "1.14.1", readings: []reading{{story: on("2026-03-31 02:00", axios("1.14.1")), marks: "-BFBBBFF"}}},
			{what: "0.30.4, whose line always came by hand", readings: []reading{{story: on("2026-03-31 02:00", axios("0.30.4")), marks: "--F--BFF"}}},
		},
	},
	{
		id: "I16", when: "2026-04-22", what: "@bitwarden/cli 2026.4.0", sources: "bitwarden/clients#20353; the vendor's statement of 2026-04-23",
		unseen: "that no release of the source belongs to it (`forge`)",
		cases: []incidentCase{{readings: []reading{
			{name: "attested before", story: at(bitwarden(tp(bwCI))), marks: "-BFBBBF-"},
			{name: "not attested before", story: at(bitwarden(func(v *Version) { v.User, v.Trusted = "GitHub Actions", true })), marks: "-----BF-"},
		}}},
	},
	{
		id: "I17", when: "2026-04-29", what: "in a project that uses mbt and @cap-js/*:", sources: "cap-js/cds-dbs#1586, #1591; CVE-2026-46421",
		unseen: "the branch, where nothing is attested (`forge`)",
		cases: []incidentCase{
			{what: "@cap-js/db-service 2.10.1", readings: []reading{
				{name: "not attested", story: at(capjs("@cap-js/db-service", "2.10.1", nil), capjs("@cap-js/postgres", "2.2.2", nil), capjs("@cap-js/sqlite", "2.2.2", nil), mbt), marks: "-BFBBBFF"},
				{name: "attested from the branch", story: at(capjs("@cap-js/db-service", "2.10.1", capBranch), capjs("@cap-js/postgres", "2.2.2", capBranch), capjs("@cap-js/sqlite", "2.2.2", capBranch), mbt), marks: "----BBFF"},
			}},
			{what: "mbt 1.2.48, never attested", readings: []reading{
				{name: "beside the others", story: at(mbt, capjs("@cap-js/db-service", "2.10.1", nil), capjs("@cap-js/postgres", "2.2.2", nil)), marks: "-----BFF"},
			}},
		},
	},
	{
		id: "I18", when: "2026-05-11", what: "84 versions of 42 @tanstack/* packages, and others", sources: "TanStack's post-mortem; TanStack/router#7383; GHSA-g7cv-rxg3-hmpx; mistralai/client-ts#217",
		unseen: "cache and memory of the runner: everything in the certificate is as ever; that the run failed (`forge`)",
		cases: []incidentCase{{readings: []reading{{story: at(pkg("@tanstack/history", "1.161.12", v("1.161.8", "2026-04-20", tp(tanstackCI)), v("1.161.9", "2026-05-01", tp(tanstackCI)),
			v("1.161.12", "2026-05-11 19:20", tp(tanstackCI), dep("@tanstack/setup", "github:tanstack/router#79ac49eedf774dd4b0cfa308722bc463cfe5885c")),
			v("1.161.13", "2026-05-11 19:26", tp(tanstackCI), dep("@tanstack/setup", "github:tanstack/router#79ac49eedf774dd4b0cfa308722bc463cfe5885c")))), marks: "-----BFF"}}}},
	},
	{
		id: "I19", when: "2026-05-14", what: "node-ipc 9.1.6, 9.2.3, 12.0.1", sources: "Socket and StepSecurity, 2026-05-14",
		unseen: "module code, in a package of which nothing was attested before",
		cases: []incidentCase{{readings: []reading{{story: at(pkg("node-ipc", "12.0.1", v("9.1.5", "2022-03-10"), v("9.2.2", "2022-03-12"), v("12.0.0", "2024-08-01"),
			v("9.1.6", "2026-05-14 10:00", account("dormant")), v("9.2.3", "2026-05-14 10:02", account("dormant")), v("12.0.1", "2026-05-14 10:05", account("dormant")))), marks: "-----B-F"}}}},
	},
	{
		id: "I20", when: "2026-05-19", what: "633 versions of @antv/*, echarts-for-react, size-sensor and others", sources: "hustcc/echarts-for-react#624, #625; Endor Labs, Socket, SafeDep",
		cases: []incidentCase{{readings: []reading{
			{name: "never attested", story: at(echarts(nil, nil)), marks: "-----BFF"},
			{name: "attested for the first time", story: at(echarts(nil, tp(ci("worm/build", "x.yml", "refs/heads/main", "push")))), marks: "-----BFF"},
			{name: "attested before, and by another now", story: at(echarts(att(antvCI), tp(ci("worm/build", "x.yml", "refs/heads/master", "push")))), marks: "---B-BFF"},
		}}},
	},
	{
		id: "I21", when: "2026-06-01", what: "96 versions of 32 @redhat-cloud-services/* packages", sources: "RedHatInsights/frontend-components#2329; Cobenian/shai-hulud-detect#144; RHSB-2026-006",
		cases: []incidentCase{{readings: []reading{{story: at(pkg("@redhat-cloud-services/types", "3.6.1", v("3.6.0", "2026-04-01", tp(redhatCI)),
			v("3.6.1", "2026-06-01 10:00:00", tp(redhatBranch), script("preinstall", "node setup.mjs")), v("3.6.2", "2026-06-01 10:00:30", tp(redhatBranch), script("preinstall", "node setup.mjs")),
			v("3.6.3", "2026-06-01 10:01:10", tp(redhatBranch), script("preinstall", "node setup.mjs")))), marks: "----BBFF"}}}},
	},
	{
		id: "I22", when: "2026-06-04", what: "ai-sdk-ollama 0.13.1, 1.1.1, 2.2.1, 3.8.5 and 280 versions of 53 packages", sources: "arrangeactassert.com 2026-06-08; StepSecurity 2026-06-03; williamzujkowski's evidence record",
		unseen: "that the commit has no parents (`forge`)",
		cases: []incidentCase{{readings: []reading{{story: at(pkg("ai-sdk-ollama", "3.8.5", v("2.2.0", "2026-02-01", tp(aiCI)), v("3.8.4", "2026-05-20", tp(aiCI)),
			v("0.13.1", "2026-06-04 00:25:27", tp(aiSnapshot), gyp), v("1.1.1", "2026-06-04 00:26", tp(aiSnapshot), gyp), v("2.2.1", "2026-06-04 00:27", tp(aiSnapshot), gyp),
			v("3.8.5", "2026-06-04 00:28", tp(aiSnapshot), gyp))), marks: "----BBFF"}}}},
	},
	{
		id: "I23", when: "2026-06-17", what: "@mastra/core 1.42.1 and 115 more", sources: "mastra-ai/mastra#18046, #18048, #18061, #18069",
		cases: []incidentCase{{readings: []reading{{story: at(pkg("@mastra/core", "1.42.1", v("1.41.0", "2026-06-03", tp(mastraCI)), v("1.42.0", "2026-06-11", tp(mastraCI)),
			v("1.42.1", "2026-06-17 01:20", account("a-person"), dep("easy-day-js", "^1.11.21")))), marks: "-BFBBBFF"}}}},
	},
	{
		id: "I24", when: "2026-07-08", what: "@injectivelabs/sdk-ts 1.20.21", sources: "Datadog, StepSecurity; williamzujkowski's evidence record",
		unseen: "malicious source in the default branch, built as ever; that the run is marked failed (`forge`)",
		cases: []incidentCase{{readings: []reading{{story: at(pkg("@injectivelabs/sdk-ts", "1.20.21", v("1.20.19", "2026-06-25", tp(injCI)), v("1.20.20", "2026-07-01", tp(injCI)),
			v("1.20.21", "2026-07-08 20:59:28", tp(injCI)))), marks: "-----B--"}}}},
	},
	{
		id: "I25", when: "2026-07-14", what: "@asyncapi/generator 3.3.1, @asyncapi/specs 6.11.2 and others", sources: "AsyncAPI's post-mortem (asyncapi/website#5628)",
		unseen: "malicious source in release branches, built as ever",
		cases: []incidentCase{{readings: []reading{
			{name: "from the branch that is pinned", story: at(pkg("@asyncapi/specs", "6.11.2", v("6.11.1", "2026-05-01", tp(asyncCI)), v("6.11.2-alpha.1", "2026-07-14 07:30", tp(asyncAlpha)), v("6.11.2", "2026-07-14 08:00", tp(asyncCI)))), marks: "-----B--"},
			{name: "from another", story: at(pkg("@asyncapi/generator", "3.3.1", v("3.3.0", "2026-05-01", tp(asyncCI)), v("3.3.1", "2026-07-14 06:58", tp(asyncNext)))), marks: "----BB--"},
		}}},
	},
	{
		id: "I26", when: "2026-08-04", what: "keyv 6.0.0, cacheable 2.5.1 and four more, in a project that uses them", sources: "jaredwray/keyv#2051; jaredwray/cacheable#1692; ossf/malicious-packages#1426; Snyk, Socket",
		unseen: "malicious source in the default branch, through the real way of releasing",
		cases:  []incidentCase{{readings: []reading{{story: at(alike([]string{"keyv", "cacheable", "flat-cache", "file-entry-cache", "cache-manager", "cacheable-request"}, keyv)...), marks: "-----BFF"}}}},
	},
	{
		id: "I27", when: "2026-08-28", what: "@7nohe/openapi-react-query-codegen 0.5.4–3.0.4", sources: "7nohe/openapi-react-query-codegen#217, #218; JFrog 2026-08-30",
		unseen: "that the commit which the certificate names is not the code that was built",
		cases: []incidentCase{{readings: []reading{{story: at(pkg("@7nohe/openapi-react-query-codegen", "3.0.3", v("2.2.0", "2026-03-01", att(nohCI)), v("3.0.2", "2026-06-01", att(nohCI)),
			v("0.5.4", "2026-08-28 20:00", att(nohComment), gyp), v("1.6.3", "2026-08-28 20:05", att(nohComment), gyp), v("2.2.1", "2026-08-28 20:10", att(nohComment), gyp),
			v("3.0.3", "2026-08-28 20:15", att(nohComment), gyp), v("3.0.4", "2026-08-28 20:21", att(nohComment), script("preinstall", "node x.js")))), marks: "----BBFF"}}}},
	},
}

var (
	capBranch    = tp(ci("cap-js/cds-dbs", "release.yml", "refs/heads/update/releases", "push"))
	redhatBranch = ci("RedHatInsights/frontend-components", "ci.yml", "refs/heads/oidc-9f1c", "push")
	aiSnapshot   = ci("jagreehal/ai-sdk-ollama", "release.yml", "refs/heads/snapshot-k3x9q", "push")
	asyncNext    = ci("asyncapi/generator", "if-nodejs-release.yml", "refs/heads/next", "push")
	asyncAlpha   = ci("asyncapi/generator", "if-nodejs-release.yml", "refs/heads/alpha", "push")
	nohComment   = ci("7nohe/openapi-react-query-codegen", "release.yml", "refs/heads/main", "issue_comment")
	mbt          = pkg("mbt", "1.2.48", v("1.2.46", "2026-03-01", account("mbtbot")), v("1.2.47", "2026-04-01", account("mbtbot")), v("1.2.48", "2026-04-29 09:55", account("mbtbot"), script("preinstall", "node setup.mjs")))
)

func gluestack(hour string) func(string) func(testing.TB) *tale {
	return func(name string) func(testing.TB) *tale {
		from := repo("gluestack/react-native-aria")
		if name == "@gluestack-ui/utils" {
			from = repo("gluestack/gluestack-ui")
		}
		return pkg(name, "0.2.10", v("0.2.9", "2025-01-20", account("contributor"), from), v("0.2.10", "2025-06-06 "+hour, account("contributor"), from))
	}
}

func prettier(version string) func(testing.TB) *tale {
	bad := script("install", "node install.js")
	return pkg("eslint-config-prettier", version,
		v("8.10.0", "2023-08-03", account("jounqin")), v("9.1.0", "2023-12-03", account("jounqin")), v("10.1.3", "2025-05-05", account("jounqin")),
		v("10.1.4", "2025-05-09", att(prettierCI), account("jounqin")), v("10.1.5", "2025-05-13", att(prettierCI), account("jounqin")),
		v("8.10.1", "2025-07-18 15:00", account("jounqin"), bad), v("9.1.1", "2025-07-18 15:04", account("jounqin"), bad),
		v("10.1.6", "2025-07-18 15:08", account("jounqin"), bad), v("10.1.7", "2025-07-18 16:30", account("jounqin"), bad))
}

func ngx(before trait) func(testing.TB) *tale {
	if before == nil {
		before = func(*Version) {}
	}
	bad := script("postinstall", "node bundle.js")
	return pkg("ngx-bootstrap", "19.0.3", v("18.1.3", "2024-11-01", before, account("valorkin")), v("19.0.2", "2025-02-01", before, account("valorkin")), v("20.0.2", "2025-08-01", before, account("valorkin")),
		v("20.0.3", "2025-09-15 18:00", account("valorkin")), v("20.0.4", "2025-09-15 18:30", account("valorkin"), bad), v("19.0.3", "2025-09-15 18:40", account("valorkin"), bad), v("18.1.4", "2025-09-15 18:42", account("valorkin"), bad))
}

func posthog(before trait) func(string) func(testing.TB) *tale {
	if before == nil {
		before = func(*Version) {}
	}
	return func(name string) func(testing.TB) *tale {
		return pkg(name, "5.13.3", v("5.13.1", "2025-11-10", before, account("posthog-bot")), v("5.13.2", "2025-11-20", before, account("posthog-bot")),
			v("5.13.3", "2025-11-24 04:11", account("posthog-bot"), script("preinstall", "node setup_bun.js")))
	}
}

func axios(version string) func(testing.TB) *tale {
	return pkg("axios", version,
		v("0.30.1", "2025-08-01", account("jasonsaayman")), v("0.30.2", "2025-10-01", account("jasonsaayman")),
		v("1.13.4", "2026-01-27", tp(axiosCI)), v("1.13.5", "2026-02-08", tp(axiosCI)), v("0.30.3", "2026-02-18", account("jasonsaayman")), v("1.14.0", "2026-03-27", tp(axiosCI)),
		v("1.14.1", "2026-03-31 00:21", account("jasonsaayman"), dep("plain-crypto-js", "^4.2.1")), v("0.30.4", "2026-03-31 01:00", account("jasonsaayman"), dep("plain-crypto-js", "^4.2.1")))
}

func bitwarden(before trait) func(testing.TB) *tale {
	return pkg("@bitwarden/cli", "2026.4.0", v("2026.2.0", "2026-02-20", before), v("2026.3.0", "2026-03-20", before),
		v("2026.4.0", "2026-04-22 21:57", func(v *Version) { v.User, v.Trusted = "GitHub Actions", true }, script("preinstall", "node bw_setup.js")))
}

func capjs(name, version string, now trait) func(testing.TB) *tale {
	if now == nil {
		now = func(v *Version) { v.User, v.Trusted = "GitHub Actions", true }
	}
	before := "2.10.0"
	if version == "2.2.2" {
		before = "2.2.1"
	}
	return pkg(name, version, v(before, "2026-03-20", tp(capCI)), v(version, "2026-04-29 12:14", now, script("preinstall", "node setup.mjs")))
}

func echarts(before, now trait) func(testing.TB) *tale {
	none := func(*Version) {}
	if before == nil {
		before = none
	}
	if now == nil {
		now = none
	}
	bad := script("preinstall", "bun run index.js")
	return pkg("echarts-for-react", "3.0.7", v("3.0.5", "2025-06-01", before, account("atool")), v("3.0.6", "2026-01-20", before, account("atool")),
		v("3.0.7", "2026-05-19 01:56", now, bad), v("3.1.7", "2026-05-19 02:05", now, bad), v("3.2.7", "2026-05-19 02:18", now, bad))
}

func keyv(name string) func(testing.TB) *tale {
	from := "jaredwray/cacheable"
	before, now := "2.5.0", "2.5.1"
	if name == "keyv" {
		from, before, now = "jaredwray/keyv", "5.6.0", "6.0.0"
	}
	release := func(version string) trait { return tp(ci(from, "release.yaml", "refs/tags/v"+version, "release")) }
	return pkg(name, now, v(before, "2026-06-01", release(before)), v(now, "2026-08-04 09:35", release(now), script("preinstall", "node setup.js")))
}

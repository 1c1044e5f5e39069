package doctor

import "slices"

// A Rule is one thing that [Check] looks for. A released ID never changes its meaning.
type Rule struct {
	ID    string
	Level Level // the usual one; a finding may be of another where its circumstances are better or worse
	Title string
	Why   string // why it matters for the attestation
	Fix   string // what to do, where a finding has no lines of its own to propose
}

// Rules lists every rule, in the order of the documentation.
func Rules() []Rule { return slices.Clone(rules) }

func ruleIndex(id string) int {
	return slices.IndexFunc(rules, func(r Rule) bool { return r.ID == id })
}

func ruleByID(id string) (Rule, bool) {
	if i := ruleIndex(id); i >= 0 {
		return rules[i], true
	}
	return Rule{}, false
}

var rules = []Rule{
	// Permission to sign.
	{"id-token-missing", Error, "The publishing job lacks id-token: write",
		"Without this permission the job gets no identity token: npm cannot sign provenance and trusted publishing cannot log in.",
		"permissions:\n  contents: read\n  id-token: write"},
	{"id-token-caller", Error, "The caller does not grant id-token: write",
		"A called workflow has at most the permissions of the job that calls it, so the publish inside gets no identity token.",
		"permissions:\n  contents: read\n  id-token: write"},
	{"id-token-workflow-level", Warn, "id-token: write is given to every job",
		"Every job of the workflow, and each action and dependency that runs in it, can sign as this workflow; the attestation cannot tell which of them did.",
		"Write permissions: {} at the top, and id-token: write in the publishing job only."},
	{"permissions-missing", Warn, "No permissions at the top of the workflow",
		"Jobs that state no permissions get the repository's default token, which may write to the repository that the attestation vouches for.",
		"permissions: {}"},
	{"secrets-inherit", Warn, "Every secret is handed to a called workflow",
		"The called workflow gets all secrets, a publish token among them, whatever it needs.",
		"secrets:\n  NAME: ${{ secrets.NAME }}   # the ones it needs"},

	// Who starts it.
	{"risky-trigger", Warn, "An event that outsiders can influence starts the job",
		"The certificate names this event and its ref (refs/pull/N/merge, or the default branch whatever was built), so a consumer's policy that wants a branch or tag refuses the package; incidents began with such triggers.",
		"on:\n  push:\n    tags: ['v*']"},
	{"trigger-unfiltered", Warn, "Every push starts the job",
		"A push to any branch runs the job with its rights, and the certificate then names that branch.",
		"on:\n  push:\n    tags: ['v*']"},
	{"trigger-mixed", Warn, "Branches and tags both start a plain publish",
		"The certificate names a branch one time and a tag the next, which looks like another way of publishing to whoever pins it.",
		"Let one of the two start the publish."},
	{"tag-pattern", Warn, "Any tag starts the publish",
		"Whoever may push any tag publishes, and no tag protection by pattern can help.",
		"on:\n  push:\n    tags: ['v*']"},
	{"tag-version", Info, "Nothing compares the tag with package.json's version",
		"The attestation names the tag; where it differs from the published version, a consumer cannot find the source of that version by its tag.",
		`run: test "$GITHUB_REF_NAME" = "v$(node -p 'require("./package.json").version')"`},

	// What runs beside the credentials.
	{"build-with-credentials", Warn, "Dependencies and build run where the publish credentials are",
		"Every dependency's install script and every build tool in this job can publish, or change the files before they are packed; the attestation looks the same.",
		"Build and pack in a job without id-token, and give this one the tarball only; or install with --ignore-scripts, and let an environment approve the job."},
	{"split-build", Info, "The package is built in another job",
		"The attestation covers the job that publishes. That the artifact comes from the job before is not proven by it, only by the workflow's text at that commit.",
		"Pin everything in the building job too, and give it no write permission."},
	{"foreign-artifact", Warn, "The artifact comes from another run",
		"The attestation names this run and commit, while the files come from a run that may have been started by anybody.",
		"Build in a job of the same run, and download its artifact by name."},
	{"template-injection", Warn, "An expression is pasted into a script",
		"GitHub puts the value into the script's text before the shell reads it: a value with a quote or $( in it runs as code beside the publish credentials.",
		"Hand it over in env: and use \"$NAME\" in the script."},
	{"cache-in-publish", Warn, "A cache is restored in the publishing job",
		"Caches are shared between workflows of the repository: one that a less guarded run has poisoned gets into the package, under a genuine attestation.",
		"package-manager-cache: false"},
	{"unlocked-install", Warn, "Dependencies are installed without holding to the lockfile",
		"The build may use other versions than those in the attested commit.",
		"npm ci"},
	{"unpinned-tool", Warn, "A tool is installed without a fixed version",
		"What runs in the publishing job is then decided by whoever publishes that tool next, not by the attested commit.",
		"Name an exact version."},
	{"tree-changed", Info, "The job changes the source before publishing",
		"The published files are not those of the commit that the attestation names.",
		"Make the change in a commit before the release, and publish that commit."},
	{"commit-mismatch", Warn, "What is published is not the commit that starts the run",
		"The attestation names the commit of the event (github.sha), so it is not the one that holds the published version.",
		"Commit the version first, and let that push or its tag start the publish."},
	{"persist-credentials", Info, "The repository's write token stays in the work tree",
		"actions/checkout leaves the token in .git/config, where every script of the job can read it and push.",
		"with:\n  persist-credentials: false"},
	{"debug-logging", Warn, "Debug logging is always on",
		"Debug logs print far more of what the publishing job does and holds, for everybody to read.",
		"Delete the variable; a single run can be repeated with debug logging."},

	// What it refers to.
	{"unpinned-action", Warn, "An action is not pinned to a commit",
		"A tag or branch can be moved: the code that runs beside the credentials is not the code that was reviewed, and the attestation does not name it.",
		"uses: OWNER/ACTION@<40 hex digits> # vX.Y.Z"},
	{"unpinned-workflow", Warn, "A called workflow is not pinned to a commit",
		"Another repository decides, whenever its branch or tag moves, what runs with these permissions and how the package is built.",
		"uses: OWNER/REPO/.github/workflows/FILE.yml@<40 hex digits>"},
	{"pin-comment", Info, "The comment beside a pin is another commit",
		"A reader takes the comment for the version; a bot that updates pins by their comment may go wrong.",
		"uses: OWNER/ACTION@<40 hex digits> # vX.Y.Z"},
	{"unusual-action-reference", Info, "An unusual reference to an action",
		"What it means was not checked: neither pin nor content of this action was read.",
		"Nothing, if it is meant so."},
	{"reusable-publisher", Warn, "A called workflow publishes",
		"npm compares a trusted publisher with the calling workflow's file name, while the certificate's signer is the called file: bound to the wrong one, the publish fails with a bare 404.",
		"Bind the trusted publisher on npmjs.com to the calling workflow's file name, without its path."},
	{"publish-elsewhere", Info, "A called workflow that was not read may publish",
		"Its steps were not judged, and the certificate's signer (SAN) will be the called file: in another repository, that repository's, not this one's.",
		"Run assay doctor where it is, too."},
	{"hidden-publish", Info, "A script publishes",
		"What the step runs is not in the workflow; it was followed one level at most.",
		"Nothing, if it is meant so; a reader finds a publish that stands in the workflow more easily."},

	// Where it runs.
	{"self-hosted-runner", Error, "The publishing job runs on a self-hosted runner",
		"npm refuses provenance and trusted publishing from runners that are not hosted by GitHub or GitLab: nobody vouches for what else runs there.",
		"runs-on: ubuntu-latest"},
	{"environment-missing", Info, "The publishing job has no environment",
		"An environment lets somebody approve each publish, and restricts which branches may; the certificate names it, so it can be pinned.",
		"environment: npm"},

	// Logging in, and provenance.
	{"long-lived-token", Warn, "A long-lived npm token is used",
		"Whoever steals it publishes from anywhere, without provenance. Beside id-token: write it also takes the place of trusted publishing without a word where the exchange fails.",
		"Bind a trusted publisher on npmjs.com to this workflow, and delete the secret."},
	{"token-in-file", Error, "A token is in a file of the repository",
		"It is public to all who can read the repository, for ever.",
		"Revoke it now, and delete the line."},
	{"token-shadows", Warn, "An auth line takes the place of trusted publishing",
		"npm sends a token that is configured, even an empty or dead one, where the exchange fails, and reports a bare 404.",
		"Delete the line."},
	{"registry-url-missing", Warn, "NODE_AUTH_TOKEN is set, and nothing reads it",
		"Only the .npmrc that setup-node writes for its registry-url reads NODE_AUTH_TOKEN; without it the publish fails with ENEEDAUTH.",
		"with:\n  registry-url: https://registry.npmjs.org"},
	{"provenance-missing", Warn, "Nothing asks for provenance",
		"With a token, npm signs only when it is told to: the run is green and the package has no attestation.",
		"npm publish --provenance"},
	{"provenance-off", Error, "Provenance is switched off",
		"The package comes out without an attestation.",
		"Delete the setting, or set it to true."},
	{"provenance-implicit", Info, "Provenance depends on trusted publishing alone",
		"npm adds it by itself only after a trusted-publishing login of a public repository; should the login fall back to a token, the package comes out without, and the run stays green.",
		"npm publish --provenance"},
	{"npm-too-old", Error, "npm is too old",
		"Trusted publishing needs npm 11.5.1 and Node.js 22.14, provenance npm 9.5: an older npm signs but cannot log in, or does not know the flag.",
		"node-version: 24"},
	{"tool-not-told", Warn, "The release tool does not support or was not told to do this",
		"The tool publishes in its own way: without this it sends no provenance, or the registry refuses it with a bare 404.",
		"See the tool's documentation on provenance."},
	{"access-not-public", Warn, "The package's access is not public",
		"npm makes no provenance for a package that is not public, and takes a new scoped one for restricted unless it is told otherwise.",
		"\"publishConfig\": { \"access\": \"public\" }"},
	{"private-package", Error, "package.json says private: true",
		"npm refuses to publish it (EPRIVATE).",
		"Delete the line, or publish the directory that is meant."},
	{"private-repository", Error, "The source repository is not public",
		"The registry refuses provenance from a repository that is not public, after the signature has gone into the public log.",
		"Make the repository public, or publish without provenance."},
	{"other-registry", Info, "Publishes elsewhere than to npm",
		"It was not looked at as a publish to npm.",
		"Nothing, if it is meant so."},

	// package.json.
	{"repository-missing", Error, "package.json names no repository",
		"The registry compares it with the building repository and refuses the upload (E422); a consumer cannot link the package with its source.",
		"\"repository\": { \"type\": \"git\", \"url\": \"git+https://github.com/OWNER/REPO.git\" }"},
	{"repository-mismatch", Error, "package.json names another repository than the one that builds",
		"The registry refuses the upload (E422: Failed to validate repository information). It is the commonest reason of all: after a rename, in a fork, by a typo.",
		"\"repository\": { \"type\": \"git\", \"url\": \"git+https://github.com/OWNER/REPO.git\" }"},
	{"repository-case", Warn, "package.json spells the repository with other capital letters",
		"The registry compares letter by letter with the spelling in the certificate, and refuses the upload (E422).",
		"Spell it as GitHub does."},
	{"repository-directory", Info, "repository.directory does not say where the package is",
		"The comparison ignores it, but a consumer looks there for the package's source.",
		"\"directory\": \"packages/NAME\""},
	{"repository-unknown", Info, "The building repository is not known",
		"package.json could not be compared with it, which is the commonest reason why a publish fails.",
		"assay doctor --repo OWNER/REPO"},
	{"no-publish", Info, "No step that publishes to npm was found",
		"A package that is published by hand has no provenance.",
		"Publish from a CI job."},

	// GitLab.
	{"gitlab-sigstore-token", Error, "The publishing job has no SIGSTORE_ID_TOKEN",
		"npm signs in GitLab CI with the ID token of this name and the audience sigstore, and makes no provenance without it.",
		"id_tokens:\n  SIGSTORE_ID_TOKEN:\n    aud: sigstore"},
	{"gitlab-npm-token", Error, "The publishing job cannot log in",
		"Trusted publishing takes the ID token NPM_ID_TOKEN with the audience npm:registry.npmjs.org; there is neither that nor another token.",
		"id_tokens:\n  NPM_ID_TOKEN:\n    aud: \"npm:registry.npmjs.org\""},
	{"gitlab-unprotected", Warn, "The publishing job is not restricted to protected refs",
		"Whoever may push any branch can publish, and the certificate does not say whether the ref was protected.",
		"rules:\n  - if: $CI_COMMIT_TAG && $CI_COMMIT_REF_PROTECTED == \"true\""},
	{"image-unpinned", Warn, "The job's image is named by a tag",
		"A tag can be moved: what builds and publishes is then not what was reviewed.",
		"image: node:24@sha256:<64 hex digits>"},
	{"include-unpinned", Warn, "A CI file of another project is included at a moving ref",
		"That project decides, whenever the ref moves, what runs in this pipeline; its jobs were not read.",
		"include:\n  - project: group/project\n    ref: <40 hex digits>\n    file: /template.yml"},

	// The files themselves.
	{"file-unreadable", Error, "A file could not be read",
		"Nothing in it was checked.",
		"Mend the file."},
}

package publish

import (
	"encoding/hex"
	"strings"

	"assay/internal/npm"
)

// Types of the statements that npm writes.
const (
	payloadType   = "application/vnd.in-toto+json"
	slsaV1        = "https://slsa.dev/provenance/v1"
	slsaV02       = "https://slsa.dev/provenance/v0.2"
	buildGitHub   = "https://slsa-framework.github.io/github-actions-buildtypes/workflow/v1"
	buildGitLab   = "https://github.com/npm/cli/gitlab/v0alpha1"
	builderGitHub = "https://github.com/actions/runner/"
)

// Statement is the provenance of a tarball as npm writes it in this job, byte for byte: SLSA v1 on GitHub Actions,
// SLSA v0.2 on GitLab CI (npm/cli, libnpmpublish lib/provenance.js). The error is a [*SetupError] that names
// variables which are not set, where npm would write "undefined".
func (c *CI) Statement(id npm.ID, sha512 []byte) ([]byte, error) {
	subject := []any{object{{"name", id.PURL()}, {"digest", object{{"sha512", hex.EncodeToString(sha512)}}}}}
	if c.Provider == GitLab {
		return c.gitlabStatement(subject)
	}
	return c.githubStatement(subject)
}

func (c *CI) githubStatement(subject []any) ([]byte, error) {
	if err := c.require("GITHUB_SERVER_URL", "GITHUB_REPOSITORY", "GITHUB_REPOSITORY_ID", "GITHUB_REPOSITORY_OWNER_ID", "GITHUB_WORKFLOW_REF",
		"GITHUB_EVENT_NAME", "GITHUB_REF", "GITHUB_SHA", "GITHUB_RUN_ID", "GITHUB_RUN_ATTEMPT", "RUNNER_ENVIRONMENT"); err != nil {
		return nil, err
	}
	// The path is what stands before the first "@" and not before the last: a ref may hold one too.
	path, ref, ok := strings.Cut(strings.Replace(c.get("GITHUB_WORKFLOW_REF"), c.get("GITHUB_REPOSITORY")+"/", "", 1), "@")
	if !ok {
		return nil, setup("ci-environment", "", "GITHUB_WORKFLOW_REF is %q, which names no ref", c.get("GITHUB_WORKFLOW_REF"))
	}
	repository := c.RepositoryURL()
	return object{
		{"_type", "https://in-toto.io/Statement/v1"},
		{"subject", subject},
		{"predicateType", slsaV1},
		{"predicate", object{
			{"buildDefinition", object{
				{"buildType", buildGitHub},
				{"externalParameters", object{{"workflow", object{{"ref", ref}, {"repository", repository}, {"path", path}}}}},
				{"internalParameters", object{{"github", object{
					{"event_name", c.get("GITHUB_EVENT_NAME")},
					{"repository_id", c.get("GITHUB_REPOSITORY_ID")},
					{"repository_owner_id", c.get("GITHUB_REPOSITORY_OWNER_ID")},
				}}}},
				{"resolvedDependencies", []any{object{
					{"uri", "git+" + repository + "@" + c.get("GITHUB_REF")},
					{"digest", object{{"gitCommit", c.get("GITHUB_SHA")}}},
				}}},
			}},
			{"runDetails", object{
				{"builder", object{{"id", builderGitHub + c.get("RUNNER_ENVIRONMENT")}}},
				{"metadata", object{{"invocationId", repository + "/actions/runs/" + c.get("GITHUB_RUN_ID") + "/attempts/" + c.get("GITHUB_RUN_ATTEMPT")}}},
			}},
		}},
	}.json(), nil
}

// gitlabParameters are the variables that npm writes down of a GitLab job, in its order.
var gitlabParameters = strings.Fields(`
CI CI_API_GRAPHQL_URL CI_API_V4_URL CI_BUILD_BEFORE_SHA CI_BUILD_ID CI_BUILD_NAME CI_BUILD_REF CI_BUILD_REF_NAME
CI_BUILD_REF_SLUG CI_BUILD_STAGE CI_COMMIT_BEFORE_SHA CI_COMMIT_BRANCH CI_COMMIT_REF_NAME CI_COMMIT_REF_PROTECTED
CI_COMMIT_REF_SLUG CI_COMMIT_SHA CI_COMMIT_SHORT_SHA CI_COMMIT_TIMESTAMP CI_COMMIT_TITLE CI_CONFIG_PATH CI_DEFAULT_BRANCH
CI_DEPENDENCY_PROXY_DIRECT_GROUP_IMAGE_PREFIX CI_DEPENDENCY_PROXY_GROUP_IMAGE_PREFIX CI_DEPENDENCY_PROXY_SERVER
CI_DEPENDENCY_PROXY_USER CI_JOB_ID CI_JOB_NAME CI_JOB_NAME_SLUG CI_JOB_STAGE CI_JOB_STARTED_AT CI_JOB_URL CI_NODE_TOTAL
CI_PAGES_DOMAIN CI_PAGES_URL CI_PIPELINE_CREATED_AT CI_PIPELINE_ID CI_PIPELINE_IID CI_PIPELINE_SOURCE CI_PIPELINE_URL
CI_PROJECT_CLASSIFICATION_LABEL CI_PROJECT_DESCRIPTION CI_PROJECT_ID CI_PROJECT_NAME CI_PROJECT_NAMESPACE
CI_PROJECT_NAMESPACE_ID CI_PROJECT_PATH CI_PROJECT_PATH_SLUG CI_PROJECT_REPOSITORY_LANGUAGES CI_PROJECT_ROOT_NAMESPACE
CI_PROJECT_TITLE CI_PROJECT_URL CI_PROJECT_VISIBILITY CI_REGISTRY CI_REGISTRY_IMAGE CI_REGISTRY_USER CI_RUNNER_DESCRIPTION
CI_RUNNER_ID CI_RUNNER_TAGS CI_SERVER_HOST CI_SERVER_NAME CI_SERVER_PORT CI_SERVER_PROTOCOL CI_SERVER_REVISION
CI_SERVER_SHELL_SSH_HOST CI_SERVER_SHELL_SSH_PORT CI_SERVER_URL CI_SERVER_VERSION CI_SERVER_VERSION_MAJOR
CI_SERVER_VERSION_MINOR CI_SERVER_VERSION_PATCH CI_TEMPLATE_REGISTRY_HOST GITLAB_CI GITLAB_FEATURES GITLAB_USER_ID
GITLAB_USER_LOGIN RUNNER_GENERATE_ARTIFACTS_METADATA`)

func (c *CI) gitlabStatement(subject []any) ([]byte, error) {
	if err := c.require("CI_PROJECT_URL", "CI_PROJECT_PATH", "CI_RUNNER_ID", "CI_COMMIT_SHA", "CI_JOB_NAME", "CI_JOB_ID", "CI_JOB_URL",
		"CI_PIPELINE_ID", "CI_SERVER_URL"); err != nil {
		return nil, err
	}
	parameters := object{}
	for _, name := range gitlabParameters {
		parameters = append(parameters, member{name, c.optional(name)})
	}
	source := "git+" + c.get("CI_PROJECT_URL")
	commit := object{{"sha1", c.get("CI_COMMIT_SHA")}}
	return object{
		{"_type", "https://in-toto.io/Statement/v0.1"},
		{"subject", subject},
		{"predicateType", slsaV02},
		{"predicate", object{
			{"buildType", buildGitLab},
			{"builder", object{{"id", c.get("CI_PROJECT_URL") + "/-/runners/" + c.get("CI_RUNNER_ID")}}},
			{"invocation", object{
				{"configSource", object{{"uri", source}, {"digest", commit}, {"entryPoint", c.get("CI_JOB_NAME")}}},
				{"parameters", parameters},
				{"environment", object{
					{"name", c.optional("CI_RUNNER_DESCRIPTION")},
					{"architecture", c.optional("CI_RUNNER_EXECUTABLE_ARCH")},
					{"server", c.optional("CI_SERVER_URL")},
					{"project", c.optional("CI_PROJECT_PATH")},
					{"job", object{{"id", c.optional("CI_JOB_ID")}}},
					{"pipeline", object{{"id", c.optional("CI_PIPELINE_ID")}, {"ref", c.optional("CI_CONFIG_PATH")}}},
				}},
			}},
			{"metadata", object{
				{"buildInvocationId", c.get("CI_JOB_URL")},
				{"completeness", object{{"parameters", true}, {"environment", true}, {"materials", false}}},
				{"reproducible", false},
			}},
			{"materials", []any{object{{"uri", source}, {"digest", commit}}}},
		}},
	}.json(), nil
}

// optional is a variable that is left out where it is not set; set and empty is written.
func (c *CI) optional(name string) any {
	if v, ok := c.env(name); ok {
		return v
	}
	return nil
}

package publish

import (
	"net/url"
	"strings"
)

// A Provider is a CI system from which npm takes provenance (npm documentation, "Generating provenance statements").
type Provider string

// The providers.
const (
	GitHub Provider = "GitHub Actions"
	GitLab Provider = "GitLab CI"
)

// A CI is the job that the program runs in, as its environment describes it. A job's own steps can change their
// environment: what counts is compared with the identity token before anything is signed.
type CI struct {
	Provider Provider
	env      func(string) (string, bool)
}

// DetectCI recognises the job from its environment, as ci-info does for npm: GITHUB_ACTIONS or GITLAB_CI is set and
// not empty. Where neither is, or both are, the error is a [*SetupError].
func DetectCI(env func(string) (string, bool)) (*CI, error) {
	ci := &CI{env: env}
	github, gitlab := ci.get("GITHUB_ACTIONS") != "", ci.get("GITLAB_CI") != ""
	switch {
	case github && gitlab:
		return nil, setup("ci-ambiguous", "unset the one that this job does not run in", "both GITHUB_ACTIONS and GITLAB_CI are set, so which CI this is cannot be told")
	case github:
		ci.Provider = GitHub
	case gitlab:
		ci.Provider = GitLab
	default:
		return nil, setup("no-ci", "run it in a workflow of GitHub Actions, or in a job of GitLab CI",
			"this is not a CI job that can sign provenance: neither GITHUB_ACTIONS nor GITLAB_CI is set")
	}
	return ci, nil
}

func (c *CI) get(name string) string {
	v, _ := c.env(name)
	return v
}

// require returns an error that names the variables which are not set.
func (c *CI) require(names ...string) error {
	var missing []string
	for _, name := range names {
		if c.get(name) == "" {
			missing = append(missing, name)
		}
	}
	if missing == nil {
		return nil
	}
	return setup("ci-environment", "in a container, pass the job's environment on to it",
		"%s sets variables that are missing here: %s", c.Provider, strings.Join(missing, ", "))
}

// RepositoryURL is the web address of the repository that the job runs for, such as https://github.com/owner/repo.
func (c *CI) RepositoryURL() string {
	if c.Provider == GitHub {
		return c.get("GITHUB_SERVER_URL") + "/" + c.get("GITHUB_REPOSITORY")
	}
	return c.get("CI_PROJECT_URL")
}

// Commit is the commit that the job runs for.
func (c *CI) Commit() string {
	if c.Provider == GitHub {
		return c.get("GITHUB_SHA")
	}
	return c.get("CI_COMMIT_SHA")
}

// CommitVariable is the name of the variable that [CI.Commit] reads.
func (c *CI) CommitVariable() string {
	if c.Provider == GitHub {
		return "GITHUB_SHA"
	}
	return "CI_COMMIT_SHA"
}

// Tag is the git tag that the job runs for; "" where it runs for a branch or anything else.
func (c *CI) Tag() string {
	if c.Provider == GitHub {
		tag, ok := strings.CutPrefix(c.get("GITHUB_REF"), "refs/tags/")
		if !ok {
			return ""
		}
		return tag
	}
	return c.get("CI_COMMIT_TAG")
}

// Event is what set the job off, such as "push".
func (c *CI) Event() string {
	if c.Provider == GitHub {
		return c.get("GITHUB_EVENT_NAME")
	}
	return c.get("CI_PIPELINE_SOURCE")
}

// RiskyEvent reports whether the job was set off by something that people without write access can cause, so that
// consumers may refuse what it publishes.
func (c *CI) RiskyEvent() bool {
	switch c.Event() {
	case "pull_request", "pull_request_target", "issue_comment", "issues", "workflow_run", "discussion_comment", "merge_request_event", "external_pull_request_event":
		return true
	}
	return false
}

// Lines to add to a workflow, where a permission or a token is missing.
const (
	hintGitHubPermission = `let the job have an identity token; in the workflow, beside the job's steps:
  permissions:
    contents: read
    id-token: write
A workflow that is called by another one (workflow_call) needs the permission in the calling job too; pull requests from forks never have it.`
	hintGitLabSigstore = `let the job have the token; in .gitlab-ci.yml, in the job:
  id_tokens:
    SIGSTORE_ID_TOKEN:
      aud: sigstore`
	hintGitLabToken = `let the job have the tokens; in .gitlab-ci.yml, in the job:
  id_tokens:
    SIGSTORE_ID_TOKEN:
      aud: sigstore
    NPM_ID_TOKEN:
      aud: "npm:%s"`
)

// hostname is the host of a registry, without port: what the audience of a publish token names.
func hostname(registry string) string {
	u, err := url.Parse(registry)
	if err != nil {
		return ""
	}
	return u.Hostname()
}

package lab

import (
	"crypto/sha1"
	"encoding/binary"
	"encoding/hex"
	"strconv"
	"strings"
)

// A CI is one run that publishes a package: it knows what its certificate says and what provenance it writes.
// [GitHubRun] and [GitLabJob] are the two that npm takes provenance from.
type CI interface {
	// Identity is what the certificate authority writes into the certificate of this run.
	Identity() Identity
	// Statement is the provenance that npm generates in this run.
	Statement(name, version string, sha512 []byte) *Statement
	// claims are those of its identity token; an empty one is left out.
	claims() map[string]string
	// predicateType is what the registry announces for it.
	predicateType() string
}

// Issuers of CI identity tokens.
const (
	IssuerGitHub = "https://token.actions.githubusercontent.com"
	IssuerGitLab = "https://gitlab.com"
)

// A GitHubRun is a job of GitHub Actions. [GitHub] makes one with everything filled in; the fields may be changed
// before use. An empty field leaves the certificate extension out.
type GitHubRun struct {
	Issuer       string // IssuerGitHub
	Repository   string // owner/repo
	RepositoryID string
	OwnerID      string
	Workflow     string // path of the top-level workflow: .github/workflows/release.yml
	WorkflowName string // free text
	WorkflowRef  string // ref of the workflow file; empty means Ref
	WorkflowSHA  string // empty means SHA
	Signer       string // reusable workflow that signs: owner/repo/.github/workflows/x.yml@ref; empty means the top-level one
	SignerSHA    string // empty means WorkflowSHA
	Ref          string // refs/heads/main
	SHA          string // 40 hex
	Event        string // push
	Runner       string // github-hosted
	Visibility   string // public
	Environment  string // usually empty
	RunID        string
	RunAttempt   string
	Subject      string // the token's sub
	V02          bool   // provenance in the form of early 2023: SLSA v0.2, build type npm/cli/gha/v2
}

// id derives a stable decimal identifier, as forges give out.
func id(of string) string {
	sum := sha1.Sum([]byte("id " + of))
	return strconv.FormatUint(uint64(binary.BigEndian.Uint32(sum[:])>>2)+1000, 10)
}

// commit derives a stable commit hash.
func commit(of string) string {
	sum := sha1.Sum([]byte("commit " + of))
	return hex.EncodeToString(sum[:])
}

// GitHub is a push to main of owner/repo that runs .github/workflows/release.yml on a hosted runner.
func GitHub(repository string) *GitHubRun {
	owner, _, _ := strings.Cut(repository, "/")
	return &GitHubRun{
		Issuer: IssuerGitHub, Repository: repository, RepositoryID: id("repository " + repository), OwnerID: id("owner " + owner),
		Workflow: ".github/workflows/release.yml", WorkflowName: "Release", Ref: "refs/heads/main", SHA: commit(repository),
		Event: "push", Runner: "github-hosted", Visibility: "public", RunID: id("run " + repository), RunAttempt: "1",
		Subject: "repo:" + repository + ":ref:refs/heads/main",
	}
}

func or(s, fallback string) string {
	if s != "" {
		return s
	}
	return fallback
}

func (g *GitHubRun) workflowRef() string {
	return g.Repository + "/" + g.Workflow + "@" + or(g.WorkflowRef, g.Ref)
}

func (g *GitHubRun) invocation() string {
	return "https://github.com/" + g.Repository + "/actions/runs/" + g.RunID + "/attempts/" + g.RunAttempt
}

// Identity is what the certificate authority writes for this run's token.
func (g *GitHubRun) Identity() Identity { return githubIdentity(g.claims()) }

// claims are those of the run's identity token (docs.github.com, OpenID Connect reference).
func (g *GitHubRun) claims() map[string]string {
	owner, _, _ := strings.Cut(g.Repository, "/")
	kind := "branch"
	if strings.HasPrefix(g.Ref, "refs/tags/") {
		kind = "tag"
	}
	configSHA := or(g.WorkflowSHA, g.SHA)
	return map[string]string{
		"iss": g.Issuer, "sub": g.Subject, "repository": g.Repository, "repository_id": g.RepositoryID,
		"repository_owner": owner, "repository_owner_id": g.OwnerID, "repository_visibility": g.Visibility,
		"ref": g.Ref, "ref_type": kind, "ref_protected": "true", "sha": g.SHA, "event_name": g.Event, "actor": "lab",
		"workflow": g.WorkflowName, "workflow_ref": g.workflowRef(), "workflow_sha": configSHA,
		"job_workflow_ref": or(g.Signer, g.workflowRef()), "job_workflow_sha": or(g.SignerSHA, configSHA),
		"runner_environment": g.Runner, "environment": g.Environment, "run_id": g.RunID, "run_number": "1", "run_attempt": g.RunAttempt,
	}
}

// githubIdentity turns claims into a certificate's content (fulcio config/identity/config.yaml, github-workflow).
func githubIdentity(c map[string]string) Identity {
	const url = "https://github.com/"
	signer := url + c["job_workflow_ref"]
	return Identity{SAN: signer, Extensions: map[int]string{
		1: c["iss"], 2: c["event_name"], 3: c["sha"], 4: c["workflow"], 5: c["repository"], 6: c["ref"],
		8: c["iss"], 9: signer, 10: c["job_workflow_sha"], 11: c["runner_environment"],
		12: url + c["repository"], 13: c["sha"], 14: c["ref"], 15: c["repository_id"],
		16: url + c["repository_owner"], 17: c["repository_owner_id"],
		18: url + c["workflow_ref"], 19: c["workflow_sha"], 20: c["event_name"],
		21: url + c["repository"] + "/actions/runs/" + c["run_id"] + "/attempts/" + c["run_attempt"],
		22: c["repository_visibility"], 23: c["environment"], 24: c["sub"],
	}}
}

func (g *GitHubRun) predicateType() string {
	if g.V02 {
		return PredicateSLSAv02
	}
	return PredicateSLSAv1
}

// Statement is the provenance that npm writes on GitHub Actions (npm/cli libnpmpublish lib/provenance.js).
func (g *GitHubRun) Statement(name, version string, sha512 []byte) *Statement {
	source := "git+https://github.com/" + g.Repository + "@" + g.Ref
	if g.V02 {
		return &Statement{Type: StatementV01, Subject: npmSubject(name, version, sha512), PredicateType: PredicateSLSAv02, Predicate: object{
			"buildType": BuildTypeGitHubV02,
			"builder":   object{"id": "https://github.com/actions/runner"},
			"invocation": object{
				"configSource": object{"uri": source, "digest": object{"sha1": g.SHA}, "entryPoint": g.Workflow},
				"parameters":   object{},
				"environment": object{
					"GITHUB_EVENT_NAME": g.Event, "GITHUB_REF": g.Ref, "GITHUB_REPOSITORY": g.Repository,
					"GITHUB_REPOSITORY_ID": g.RepositoryID, "GITHUB_REPOSITORY_OWNER_ID": g.OwnerID,
					"GITHUB_RUN_ATTEMPT": g.RunAttempt, "GITHUB_RUN_ID": g.RunID, "GITHUB_SHA": g.SHA,
					"GITHUB_WORKFLOW_REF": g.workflowRef(), "GITHUB_WORKFLOW_SHA": or(g.WorkflowSHA, g.SHA),
				},
			},
			"metadata": object{
				"buildInvocationId": g.RunID + "-" + g.RunAttempt, "reproducible": false,
				"completeness": object{"parameters": false, "environment": false, "materials": false},
			},
			"materials": []any{object{"uri": source, "digest": object{"sha1": g.SHA}}},
		}}
	}
	return &Statement{Type: StatementV1, Subject: npmSubject(name, version, sha512), PredicateType: PredicateSLSAv1, Predicate: object{
		"buildDefinition": object{
			"buildType": BuildTypeGitHub,
			"externalParameters": object{"workflow": object{
				"ref": or(g.WorkflowRef, g.Ref), "repository": "https://github.com/" + g.Repository, "path": g.Workflow}},
			"internalParameters": object{"github": object{
				"event_name": g.Event, "repository_id": g.RepositoryID, "repository_owner_id": g.OwnerID}},
			"resolvedDependencies": []any{object{"uri": source, "digest": object{"gitCommit": g.SHA}}},
		},
		"runDetails": object{
			"builder":  object{"id": "https://github.com/actions/runner/" + g.Runner},
			"metadata": object{"invocationId": g.invocation()},
		},
	}}
}

// A GitLabJob is a job of GitLab CI. [GitLab] makes one with everything filled in.
type GitLabJob struct {
	Issuer      string // IssuerGitLab
	Host        string // gitlab.com; what the token claims about where the configuration lies
	Project     string // group/sub/project
	ProjectID   string
	NamespaceID string
	Config      string // .gitlab-ci.yml
	ConfigSHA   string // empty means SHA
	Ref         string // refs/heads/main
	SHA         string
	Source      string // pipeline source: push
	Runner      string // gitlab-hosted
	Visibility  string // public
	Environment string
	JobID       string
	JobName     string
	PipelineID  string
	RunnerID    string
	Subject     string
}

// GitLab is a push pipeline on main of group/project, run on a hosted runner.
func GitLab(project string) *GitLabJob {
	namespace := project[:max(strings.LastIndex(project, "/"), 0)]
	return &GitLabJob{
		Issuer: IssuerGitLab, Host: "gitlab.com", Project: project, ProjectID: id("project " + project), NamespaceID: id("namespace " + namespace),
		Config: ".gitlab-ci.yml", Ref: "refs/heads/main", SHA: commit(project), Source: "push", Runner: "gitlab-hosted", Visibility: "public",
		JobID: id("job " + project), JobName: "publish", PipelineID: id("pipeline " + project), RunnerID: "12270852",
		Subject: "project_path:" + project + ":ref_type:branch:ref:main",
	}
}

// Identity is what the certificate authority writes for this job's token.
func (g *GitLabJob) Identity() Identity { return gitlabIdentity(g.claims()) }

// ref is the job's ref as GitLab has it: the short name, and branch or tag.
func (g *GitLabJob) ref() (short, kind string) {
	if tag, ok := strings.CutPrefix(g.Ref, "refs/tags/"); ok {
		return tag, "tag"
	}
	return strings.TrimPrefix(g.Ref, "refs/heads/"), "branch"
}

func (g *GitLabJob) namespace() string { return g.Project[:max(strings.LastIndex(g.Project, "/"), 0)] }

// claims are those of the job's identity token (docs.gitlab.com, ID token authentication).
func (g *GitLabJob) claims() map[string]string {
	short, kind := g.ref()
	return map[string]string{
		"iss": g.Issuer, "sub": g.Subject, "project_path": g.Project, "project_id": g.ProjectID, "project_visibility": g.Visibility,
		"namespace_path": g.namespace(), "namespace_id": g.NamespaceID, "ref": short, "ref_type": kind, "ref_path": g.Ref,
		"ref_protected": "true", "sha": g.SHA, "pipeline_source": g.Source, "pipeline_id": g.PipelineID, "job_id": g.JobID,
		"ci_config_ref_uri": g.Host + "/" + g.Project + "//" + g.Config + "@" + g.Ref, "ci_config_sha": or(g.ConfigSHA, g.SHA),
		"runner_id": g.RunnerID, "runner_environment": g.Runner, "environment": g.Environment, "user_login": "lab",
	}
}

// gitlabIdentity turns claims into a certificate's content (fulcio config/identity/config.yaml, gitlab-pipeline).
// Fulcio writes https://gitlab.com into the URLs of 12, 16 and 21 whichever instance the token is from.
func gitlabIdentity(c map[string]string) Identity {
	const url = "https://gitlab.com/"
	config, ref := "https://"+c["ci_config_ref_uri"], "refs/tags/"+c["ref"]
	if c["ref_type"] == "branch" {
		ref = "refs/heads/" + c["ref"]
	}
	return Identity{SAN: config, Extensions: map[int]string{
		1: c["iss"], 8: c["iss"], 9: config, 10: c["ci_config_sha"], 11: c["runner_environment"],
		12: url + c["project_path"], 13: c["sha"], 14: ref, 15: c["project_id"], 16: url + c["namespace_path"], 17: c["namespace_id"],
		18: config, 19: c["ci_config_sha"], 20: c["pipeline_source"], 21: url + c["project_path"] + "/-/jobs/" + c["job_id"],
		22: c["project_visibility"], 23: c["environment"], 24: c["sub"],
	}}
}

func (g *GitLabJob) predicateType() string { return PredicateSLSAv02 }

// Statement is the provenance that npm writes on GitLab CI (npm/cli libnpmpublish lib/provenance.js).
func (g *GitLabJob) Statement(name, version string, sha512 []byte) *Statement {
	project := "https://gitlab.com/" + g.Project
	slash := strings.LastIndex(g.Project, "/")
	short, kind := g.ref()
	parameters := object{
		"CI": "true", "CI_API_V4_URL": "https://gitlab.com/api/v4", "CI_COMMIT_REF_NAME": short, "CI_COMMIT_REF_PROTECTED": "true",
		"CI_COMMIT_REF_SLUG": short, "CI_COMMIT_SHA": g.SHA, "CI_COMMIT_SHORT_SHA": g.SHA[:min(8, len(g.SHA))],
		"CI_CONFIG_PATH": g.Config, "CI_DEFAULT_BRANCH": "main", "CI_JOB_ID": g.JobID, "CI_JOB_NAME": g.JobName,
		"CI_JOB_STAGE": "deploy", "CI_JOB_URL": project + "/-/jobs/" + g.JobID, "CI_PIPELINE_ID": g.PipelineID,
		"CI_PIPELINE_SOURCE": g.Source, "CI_PIPELINE_URL": project + "/-/pipelines/" + g.PipelineID,
		"CI_PROJECT_ID": g.ProjectID, "CI_PROJECT_NAME": g.Project[slash+1:], "CI_PROJECT_NAMESPACE": g.Project[:max(slash, 0)],
		"CI_PROJECT_NAMESPACE_ID": g.NamespaceID, "CI_PROJECT_PATH": g.Project, "CI_PROJECT_URL": project,
		"CI_PROJECT_VISIBILITY": g.Visibility, "CI_RUNNER_ID": g.RunnerID, "CI_SERVER_HOST": "gitlab.com", "CI_SERVER_NAME": "GitLab",
		"CI_SERVER_URL": "https://gitlab.com", "GITLAB_CI": "true", "GITLAB_USER_LOGIN": "lab", "RUNNER_GENERATE_ARTIFACTS_METADATA": "true",
	}
	if kind == "branch" {
		parameters["CI_COMMIT_BRANCH"] = short
	} else {
		parameters["CI_COMMIT_TAG"] = short
	}
	return &Statement{Type: StatementV01, Subject: npmSubject(name, version, sha512), PredicateType: PredicateSLSAv02, Predicate: object{
		"buildType": BuildTypeGitLab,
		"builder":   object{"id": project + "/-/runners/" + g.RunnerID},
		"invocation": object{
			"configSource": object{"uri": "git+" + project, "digest": object{"sha1": g.SHA}, "entryPoint": g.JobName},
			"parameters":   parameters,
			"environment": object{
				"name": "blue-1.saas-linux-small-amd64.runners-manager.gitlab.com/default", "architecture": "linux/amd64",
				"server": "https://gitlab.com", "project": g.Project,
				"job": object{"id": g.JobID}, "pipeline": object{"id": g.PipelineID, "ref": g.Config},
			},
		},
		"metadata": object{
			"buildInvocationId": project + "/-/jobs/" + g.JobID, "reproducible": false,
			"completeness": object{"parameters": true, "environment": true, "materials": false},
		},
		"materials": []any{object{"uri": "git+" + project, "digest": object{"sha1": g.SHA}}},
	}}
}

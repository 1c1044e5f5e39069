package verify

import (
	"fmt"
	"slices"
	"strings"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"

	"assay/internal/publisher"
	"assay/internal/sigstore"
)

// Build types of the provenance that npm's registry holds. Each says by which rules its predicate was
// written; one that is not listed cannot be read.
const (
	buildTypeGitHubV1     = "https://slsa-framework.github.io/github-actions-buildtypes/workflow/v1" // npm ≥ 9.8, actions/attest-build-provenance
	buildTypeGitHubV02    = "https://github.com/npm/cli/gha/v2"                                      // npm 9.5 to 9.7
	buildTypeGitHubV02Old = "https://github.com/npm/cli/gha@v1"                                      // npm 9.5.0: the material's URI lacks the ref
	buildTypeGitHubV02Pre = "https://github.com/npm/cli/gha@v0"                                      // npm 9.2 to 9.4, likewise
	buildTypeGitLab       = "https://github.com/npm/cli/gitlab/v0alpha1"
	buildTypeDelegator    = "https://github.com/slsa-framework/slsa-github-generator/delegator-generic@v0"
)

// A field is one value of a predicate that has a counterpart in the certificate.
type field struct {
	path  string              // where it stands in the predicate
	ext   publisher.Extension // what it must equal
	value string
	want  string // the certificate's value, in the predicate's spelling; "" if the certificate lacks it
}

// predicate is a provenance predicate in the one form that the checks use.
type predicate struct {
	fields  []field
	sources []source
}

// checkPredicate holds when every provenance's predicate is of the type that was announced beside it, of a
// build type whose rules are known, has the fields that those rules demand, and each equals the
// certificate's extension. Every job writes its own predicate out of variables that its steps can change:
// only equality with the certificate makes it worth reading.
func checkPredicate(f *facts) outcome {
	return f.each(func(a *attestation) outcome {
		if a.statement == nil {
			return skip(reasonStatementUnreadable)
		}
		if a.outer && a.outerType != a.statement.PredicateType {
			return fail(reasonPredicateType, a.outerType, a.statement.PredicateType)
		}
		if a.kind != kindProvenance {
			return skip(reasonNotProvenance)
		}
		if a.byKey() || a.cert == nil {
			return skip(reasonBundleUnreadable)
		}
		p, o := readPredicate(a.statement, a.cert)
		if o.status != Pass {
			return o
		}
		compared := 0
		for _, fd := range p.fields {
			if fd.want == "" && old(a.cert) {
				continue // written by Fulcio later than this certificate
			}
			if fd.value == "" {
				return fail(reasonPredicateField, fd.want, "absent").with(fd.path)
			}
			if fd.value != fd.want {
				return fail(reasonPredicateMismatch, fd.want, fd.value).with(fd.path + " and " + fd.ext.String())
			}
			compared++
		}
		if compared == 0 {
			return fail(reasonPredicateField, "fields to compare", "none")
		}
		return pass()
	})
}

// old reports whether a certificate has only the deprecated extensions.
func old(c *publisher.Certificate) bool { return !c.Has(publisher.ExtRepository) }

// readPredicate reads a predicate by the rules of its build type, with what each field has to equal.
func readPredicate(s *sigstore.Statement, c *publisher.Certificate) (predicate, outcome) {
	switch s.PredicateType {
	case provenanceTypeV1:
		return readSLSAv1(s, c)
	case provenanceTypeV02:
		return readSLSAv02(s, c)
	}
	return predicate{}, undecided(reasonPredicateUnknown, fmt.Sprintf("predicate type %q", s.PredicateType))
}

// readSources reads only the sources, for a certificate that need not be there.
func readSources(s *sigstore.Statement) ([]source, string) {
	p, o := readPredicate(s, &publisher.Certificate{})
	if o.status != Pass {
		return nil, reasonPredicateUnreadable
	}
	return p.sources, ""
}

// decode reads JSON strictly: a member given twice reads differently to different readers.
func decode(raw []byte, into any) outcome {
	if len(raw) == 0 {
		return fail(reasonPredicateField, "a predicate", "absent")
	}
	if err := json.Unmarshal(raw, into, json.MatchCaseInsensitiveNames(false)); err != nil {
		return fail(reasonPredicateFormat, "", "").with(err.Error())
	}
	return pass()
}

type resourceDescriptor struct {
	URI    string            `json:"uri"`
	Digest map[string]string `json:"digest"`
}

// slsaV1 is the part of SLSA provenance v1 that GitHub's build type defines
// (slsa-framework/github-actions-buildtypes, workflow/v1).
type slsaV1 struct {
	BuildDefinition struct {
		BuildType          string `json:"buildType"`
		ExternalParameters struct {
			Workflow struct {
				Ref        string `json:"ref"`
				Repository string `json:"repository"`
				Path       string `json:"path"`
			} `json:"workflow"`
		} `json:"externalParameters"`
		InternalParameters struct {
			GitHub struct {
				EventName         string `json:"event_name"`
				RepositoryID      string `json:"repository_id"`
				RepositoryOwnerID string `json:"repository_owner_id"`
				RunnerEnvironment string `json:"runner_environment"`
			} `json:"github"`
		} `json:"internalParameters"`
		ResolvedDependencies []resourceDescriptor `json:"resolvedDependencies"`
	} `json:"buildDefinition"`
	RunDetails struct {
		Builder struct {
			ID string `json:"id"`
		} `json:"builder"`
		Metadata struct {
			InvocationID string `json:"invocationId"`
		} `json:"metadata"`
	} `json:"runDetails"`
}

// runnerBuilder begins the builder id that npm writes; the rest is the runner environment.
const runnerBuilder = "https://github.com/actions/runner/"

func readSLSAv1(s *sigstore.Statement, c *publisher.Certificate) (predicate, outcome) {
	var head struct {
		BuildDefinition struct {
			BuildType string `json:"buildType"`
		} `json:"buildDefinition"`
	}
	if o := decode(s.Predicate, &head); o.status != Pass {
		return predicate{}, o
	}
	if t := head.BuildDefinition.BuildType; t != buildTypeGitHubV1 {
		return predicate{}, unknownBuildType(t)
	}
	var v slsaV1
	if o := decode(s.Predicate, &v); o.status != Pass {
		return predicate{}, o
	}
	b := v.BuildDefinition
	if n := len(b.ResolvedDependencies); n != 1 {
		return predicate{}, fail(reasonPredicateField, "one resolved dependency", fmt.Sprint(n)).with("buildDefinition.resolvedDependencies")
	}
	dep := b.ResolvedDependencies[0]
	workflow := b.ExternalParameters.Workflow
	p := predicate{
		fields: []field{
			{"externalParameters.workflow.repository", publisher.ExtRepository, workflow.Repository, sourceRepository(c)},
			{"externalParameters.workflow", publisher.ExtConfigURI, workflow.Repository + "/" + workflow.Path + "@" + workflow.Ref, c.Get(publisher.ExtConfigURI)},
			{"resolvedDependencies[0].uri", publisher.ExtRef, refOf(dep.URI), sourceRef(c)},
			{"resolvedDependencies[0].digest.gitCommit", publisher.ExtCommit, dep.Digest["gitCommit"], sourceCommit(c)},
			{"internalParameters.github.event_name", publisher.ExtTrigger, b.InternalParameters.GitHub.EventName, sourceTrigger(c)},
			{"internalParameters.github.repository_id", publisher.ExtRepositoryID, b.InternalParameters.GitHub.RepositoryID, c.Get(publisher.ExtRepositoryID)},
			{"internalParameters.github.repository_owner_id", publisher.ExtOwnerID, b.InternalParameters.GitHub.RepositoryOwnerID, c.Get(publisher.ExtOwnerID)},
			{"runDetails.metadata.invocationId", publisher.ExtRun, v.RunDetails.Metadata.InvocationID, c.Get(publisher.ExtRun)},
		},
		sources: []source{
			{"externalParameters.workflow.repository", workflow.Repository, ""},
			{"resolvedDependencies[0]", dep.URI, dep.Digest["gitCommit"]},
		},
	}
	if runner := b.InternalParameters.GitHub.RunnerEnvironment; runner != "" {
		p.fields = append(p.fields, field{"internalParameters.github.runner_environment", publisher.ExtRunner, runner, c.Get(publisher.ExtRunner)})
	}
	// npm names the kind of runner, GitHub's own attest action the workflow that signs.
	builder := v.RunDetails.Builder.ID
	if runner, ok := strings.CutPrefix(builder, runnerBuilder); ok {
		p.fields = append(p.fields, field{"runDetails.builder.id", publisher.ExtRunner, runner, c.Get(publisher.ExtRunner)})
	} else {
		p.fields = append(p.fields, field{"runDetails.builder.id", publisher.ExtSignerURI, builder, c.SubjectURI})
	}
	return p, pass()
}

// slsaV02 is the part of SLSA provenance v0.2 that npm writes (npm/cli workspaces/libnpmpublish, provenance.js).
type slsaV02 struct {
	BuildType string `json:"buildType"`
	Builder   struct {
		ID string `json:"id"`
	} `json:"builder"`
	Invocation struct {
		ConfigSource struct {
			URI        string            `json:"uri"`
			Digest     map[string]string `json:"digest"`
			EntryPoint string            `json:"entryPoint"`
		} `json:"configSource"`
		Parameters  jsontext.Value `json:"parameters"`
		Environment jsontext.Value `json:"environment"`
	} `json:"invocation"`
	Metadata struct {
		BuildInvocationID string `json:"buildInvocationId"`
	} `json:"metadata"`
	Materials []resourceDescriptor `json:"materials"`
}

func readSLSAv02(s *sigstore.Statement, c *publisher.Certificate) (predicate, outcome) {
	var v slsaV02
	if o := decode(s.Predicate, &v); o.status != Pass {
		return predicate{}, o
	}
	switch v.BuildType {
	case buildTypeGitHubV02, buildTypeGitHubV02Old, buildTypeGitHubV02Pre, buildTypeDelegator:
		return readGitHubV02(&v, c)
	case buildTypeGitLab:
		return readGitLabV02(&v, c)
	}
	return predicate{}, unknownBuildType(v.BuildType)
}

func unknownBuildType(t string) outcome {
	if t == "" {
		return fail(reasonPredicateField, "a build type", "absent").with("buildType")
	}
	return undecided(reasonBuildTypeUnknown, fmt.Sprintf("build type %q", t))
}

// environment reads an object whose other members may be anything.
func environment(raw jsontext.Value, names ...string) (map[string]string, outcome) {
	var all map[string]jsontext.Value
	if o := decode(raw, &all); o.status != Pass {
		return nil, o
	}
	got := map[string]string{}
	for _, name := range names {
		var s string
		if v, ok := all[name]; ok {
			if err := json.Unmarshal(v, &s); err != nil {
				return nil, fail(reasonPredicateFormat, "a string", string(v)).with(name)
			}
			got[name] = s
		}
	}
	return got, pass()
}

func readGitHubV02(v *slsaV02, c *publisher.Certificate) (predicate, outcome) {
	env, o := environment(v.Invocation.Environment, "GITHUB_EVENT_NAME", "GITHUB_REF", "GITHUB_REPOSITORY", "GITHUB_REPOSITORY_ID",
		"GITHUB_REPOSITORY_OWNER_ID", "GITHUB_RUN_ATTEMPT", "GITHUB_RUN_ID", "GITHUB_SHA", "GITHUB_WORKFLOW_REF", "GITHUB_WORKFLOW_SHA")
	if o.status != Pass {
		return predicate{}, o
	}
	if len(v.Materials) == 0 {
		return predicate{}, fail(reasonPredicateField, "a material", "none").with("materials")
	}
	config, material := v.Invocation.ConfigSource, v.Materials[0]
	prefix := func(name string) string {
		if env[name] == "" {
			return ""
		}
		return "https://github.com/" + env[name]
	}
	commit := sourceCommit(c)
	p := predicate{
		fields: []field{
			{"environment.GITHUB_REPOSITORY", publisher.ExtRepository, prefix("GITHUB_REPOSITORY"), sourceRepository(c)},
			{"configSource.digest.sha1", publisher.ExtCommit, config.Digest["sha1"], commit},
			{"materials[0].digest.sha1", publisher.ExtCommit, material.Digest["sha1"], commit},
			{"environment.GITHUB_SHA", publisher.ExtCommit, env["GITHUB_SHA"], commit},
			{"environment.GITHUB_REF", publisher.ExtRef, env["GITHUB_REF"], sourceRef(c)},
			{"environment.GITHUB_EVENT_NAME", publisher.ExtTrigger, env["GITHUB_EVENT_NAME"], sourceTrigger(c)},
		},
		sources: []source{
			{"invocation.configSource", config.URI, config.Digest["sha1"]},
			{"materials[0]", material.URI, material.Digest["sha1"]},
		},
	}
	// npm 9.5.0 wrote fewer variables than its successors; what it wrote has to fit all the same.
	for _, fd := range []field{
		{"environment.GITHUB_REPOSITORY_ID", publisher.ExtRepositoryID, env["GITHUB_REPOSITORY_ID"], c.Get(publisher.ExtRepositoryID)},
		{"environment.GITHUB_REPOSITORY_OWNER_ID", publisher.ExtOwnerID, env["GITHUB_REPOSITORY_OWNER_ID"], c.Get(publisher.ExtOwnerID)},
		{"environment.GITHUB_WORKFLOW_REF", publisher.ExtConfigURI, prefix("GITHUB_WORKFLOW_REF"), c.Get(publisher.ExtConfigURI)},
		{"environment.GITHUB_WORKFLOW_SHA", publisher.ExtConfigDigest, env["GITHUB_WORKFLOW_SHA"], c.Get(publisher.ExtConfigDigest)},
		{"environment.GITHUB_RUN_ID", publisher.ExtRun, runURL(env), c.Get(publisher.ExtRun)},
	} {
		if fd.value != "" || v.BuildType == buildTypeGitHubV02 {
			p.fields = append(p.fields, fd)
		}
	}
	if v.BuildType == buildTypeDelegator {
		return p, checkDelegator(v, c)
	}
	if id := v.Metadata.BuildInvocationID; id != "" && env["GITHUB_RUN_ID"] != "" && id != env["GITHUB_RUN_ID"]+"-"+env["GITHUB_RUN_ATTEMPT"] {
		return predicate{}, fail(reasonPredicateMismatch, env["GITHUB_RUN_ID"]+"-"+env["GITHUB_RUN_ATTEMPT"], id).with("metadata.buildInvocationId")
	}
	if v.BuildType != buildTypeGitHubV02 {
		if want := env["GITHUB_WORKFLOW_REF"]; config.EntryPoint != want {
			return predicate{}, fail(reasonPredicateMismatch, want, config.EntryPoint).with("invocation.configSource.entryPoint")
		}
	} else if ref, ok := publisher.SplitWorkflow(c.Get(publisher.ExtConfigURI)); ok && config.EntryPoint != ref.Path {
		return predicate{}, fail(reasonPredicateMismatch, ref.Path, config.EntryPoint).with("invocation.configSource.entryPoint")
	}
	return p, pass()
}

// checkDelegator compares the builder of slsa-github-generator's provenance with the workflow that signed:
// the builder that the predicate names is believed only at the tag of the signer.
// Source: slsa-framework/slsa-verifier, verifiers/internal/gha/verifier.go.
func checkDelegator(v *slsaV02, c *publisher.Certificate) outcome {
	if c.SubjectURI == "" {
		return pass() // only the sources were asked for
	}
	const home = "https://github.com/slsa-framework/slsa-github-generator/.github/workflows/"
	signer, okSigner := publisher.SplitWorkflow(c.SubjectURI)
	builder, okBuilder := publisher.SplitWorkflow(v.Builder.ID)
	if !okSigner || !okBuilder || !strings.HasPrefix(c.SubjectURI, home) || !strings.HasPrefix(v.Builder.ID, home) || signer.Ref != builder.Ref ||
		!slices.Contains(delegators, signer.Path) || !strings.HasPrefix(signer.Ref, "refs/tags/v") {
		return fail(reasonPredicateMismatch, c.SubjectURI, v.Builder.ID).with("builder.id")
	}
	return pass()
}

// delegators are the workflows that sign for slsa-github-generator's builders.
var delegators = []string{".github/workflows/delegator_generic_slsa3.yml", ".github/workflows/delegator_lowperms-generic_slsa3.yml"}

func runURL(env map[string]string) string {
	if env["GITHUB_REPOSITORY"] == "" || env["GITHUB_RUN_ID"] == "" {
		return ""
	}
	return "https://github.com/" + env["GITHUB_REPOSITORY"] + "/actions/runs/" + env["GITHUB_RUN_ID"] + "/attempts/" + env["GITHUB_RUN_ATTEMPT"]
}

func readGitLabV02(v *slsaV02, c *publisher.Certificate) (predicate, outcome) {
	env, o := environment(v.Invocation.Parameters, "CI_COMMIT_REF_NAME", "CI_COMMIT_SHA", "CI_PROJECT_ID", "CI_PROJECT_NAMESPACE_ID",
		"CI_PROJECT_URL", "CI_PIPELINE_SOURCE", "CI_JOB_URL")
	if o.status != Pass {
		return predicate{}, o
	}
	if len(v.Materials) == 0 {
		return predicate{}, fail(reasonPredicateField, "a material", "none").with("materials")
	}
	config, material := v.Invocation.ConfigSource, v.Materials[0]
	uri, ok := strings.CutPrefix(config.URI, "git+")
	if !ok {
		uri = ""
	}
	return predicate{
		fields: []field{
			{"configSource.uri", publisher.ExtRepository, uri, c.Get(publisher.ExtRepository)},
			{"configSource.digest.sha1", publisher.ExtCommit, config.Digest["sha1"], c.Get(publisher.ExtCommit)},
			{"parameters.CI_COMMIT_REF_NAME", publisher.ExtRef, refName(c.Get(publisher.ExtRef), env["CI_COMMIT_REF_NAME"]), c.Get(publisher.ExtRef)},
			{"parameters.CI_PROJECT_ID", publisher.ExtRepositoryID, env["CI_PROJECT_ID"], c.Get(publisher.ExtRepositoryID)},
			{"parameters.CI_PROJECT_NAMESPACE_ID", publisher.ExtOwnerID, env["CI_PROJECT_NAMESPACE_ID"], c.Get(publisher.ExtOwnerID)},
			{"parameters.CI_PIPELINE_SOURCE", publisher.ExtTrigger, env["CI_PIPELINE_SOURCE"], c.Get(publisher.ExtTrigger)},
			{"metadata.buildInvocationId", publisher.ExtRun, v.Metadata.BuildInvocationID, c.Get(publisher.ExtRun)},
		},
		sources: []source{
			{"invocation.configSource", config.URI, config.Digest["sha1"]},
			{"materials[0]", material.URI, material.Digest["sha1"]},
		},
	}, pass()
}

// refName puts a bare ref name under the kind of ref that the certificate names: GitLab's variable has the
// name only.
func refName(ref, name string) string {
	if name == "" {
		return ""
	}
	if kind, _, ok := cutRef(ref); ok {
		return kind + name
	}
	return name
}

func cutRef(ref string) (kind, name string, ok bool) {
	for _, kind := range []string{"refs/heads/", "refs/tags/"} {
		if name, ok := strings.CutPrefix(ref, kind); ok {
			return kind, name, true
		}
	}
	return "", ref, false
}

// refOf returns what stands after the "@" of "git+https://github.com/o/r@refs/heads/main".
func refOf(uri string) string {
	rest, ok := strings.CutPrefix(uri, "git+https://")
	if !ok {
		return ""
	}
	_, ref, _ := strings.Cut(rest, "@")
	return ref
}

// sourceRef is the certificate's ref, by its own extension or by GitHub's deprecated one.
func sourceRef(c *publisher.Certificate) string {
	if c.Has(publisher.ExtRef) {
		return c.Get(publisher.ExtRef)
	}
	return c.Get(publisher.ExtGitHubRef)
}

// sourceTrigger is the certificate's event, likewise.
func sourceTrigger(c *publisher.Certificate) string {
	if c.Has(publisher.ExtTrigger) {
		return c.Get(publisher.ExtTrigger)
	}
	return c.Get(publisher.ExtGitHubTrigger)
}

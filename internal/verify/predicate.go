package verify

import (
	"fmt"
	"slices"
	"strconv"
	"strings"

	"assay/internal/publisher"
	"assay/internal/sigstore"
	"assay/internal/sigstore/strictjson"
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
		if a.predicateErr.status != Pass {
			return a.predicateErr
		}
		compared := 0
		for _, fd := range a.predicate.fields {
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
func readPredicate(s *sigstore.Statement, c *publisher.Certificate) (*predicate, outcome) {
	switch s.PredicateType {
	case provenanceTypeV1:
		return readSLSAv1(s, c)
	case provenanceTypeV02:
		return readSLSAv02(s, c)
	}
	return nil, undecided(reasonPredicateUnknown, fmt.Sprintf("predicate type %q", s.PredicateType))
}

// values are the texts of a predicate by their paths, as "runDetails.builder.id" or "materials[0].uri"; an
// array's own path has the number of its elements.
type values map[string]string

// memberPaths are the paths that the rules of some build type name. What leads to one of them has to be an
// object or an array, and what stands there a string; all else may be anything.
var memberPaths = paths(
	// SLSA v1, by slsa-framework/github-actions-buildtypes, workflow/v1.
	"buildDefinition.buildType",
	"buildDefinition.externalParameters.workflow.{ref,repository,path}",
	"buildDefinition.internalParameters.github.{event_name,repository_id,repository_owner_id,runner_environment}",
	"buildDefinition.resolvedDependencies[0].{uri,digest.gitCommit}",
	"runDetails.{builder.id,metadata.invocationId}",
	// SLSA v0.2, by npm/cli workspaces/libnpmpublish, provenance.js.
	"buildType",
	"builder.id",
	"invocation.configSource.{uri,digest.sha1,entryPoint}",
	"invocation.environment.{GITHUB_EVENT_NAME,GITHUB_REF,GITHUB_REPOSITORY,GITHUB_REPOSITORY_ID,GITHUB_REPOSITORY_OWNER_ID,GITHUB_RUN_ATTEMPT,GITHUB_RUN_ID,GITHUB_SHA,GITHUB_WORKFLOW_REF,GITHUB_WORKFLOW_SHA}",
	"invocation.parameters.{CI_COMMIT_REF_NAME,CI_COMMIT_SHA,CI_PROJECT_ID,CI_PROJECT_NAMESPACE_ID,CI_PROJECT_URL,CI_PIPELINE_SOURCE,CI_JOB_URL}",
	"metadata.buildInvocationId",
	"materials[0].{uri,digest.sha1}",
)

// A node is one step on the way to a path.
type node struct {
	path  string // "" for a step that leads on only
	array *node  // the first element of an array
	next  map[string]*node
}

// paths makes a tree of paths; the last step may name several in braces.
func paths(list ...string) *node {
	root := &node{next: map[string]*node{}}
	for _, p := range list {
		prefix, names, _ := strings.Cut(p, "{")
		for name := range strings.SplitSeq(strings.TrimSuffix(names, "}"), ",") {
			n := root
			for part := range strings.SplitSeq(prefix+name, ".") {
				member, isArray := strings.CutSuffix(part, "[0]")
				if n.next[member] == nil {
					n.next[member] = &node{next: map[string]*node{}}
				}
				n = n.next[member]
				if isArray {
					if n.array == nil {
						n.path, n.array = strings.TrimSuffix(prefix, "[0]."), &node{next: map[string]*node{}}
					}
					n = n.array
				}
			}
			n.path = prefix + name
		}
	}
	return root
}

// texts reads what a tree of paths names. It returns what it has read even where it fails.
func texts(raw []byte, tree *node) (values, outcome) {
	r := textReader{strictjson.New(raw), make(values, 24), pass()}
	if len(raw) == 0 {
		return r.values, fail(reasonPredicateField, "a predicate", "absent")
	}
	err := r.read(tree, "")
	if err == nil {
		err = r.End()
	}
	if err != nil {
		return r.values, fail(reasonPredicateFormat, "", "").with(err.Error())
	}
	return r.values, r.form
}

type textReader struct {
	*strictjson.Scanner
	values values
	form   outcome // the first member that has another form than it should
}

func (r *textReader) read(n *node, name string) error {
	if n == nil {
		return r.Skip()
	}
	if r.Null() {
		return nil
	}
	want, form := strictjson.Kind('"'), "a string"
	switch {
	case n.array != nil:
		want, form = '[', "an array"
	case len(n.next) > 0:
		want, form = '{', "an object"
	}
	if r.Kind() != want {
		if r.form.status == Pass {
			r.form = fail(reasonPredicateFormat, form, "something else").with(name)
		}
		return r.Skip()
	}
	switch want {
	case '[':
		count := 0
		err := r.Array(func() error {
			count++
			if count > 1 {
				return r.Skip()
			}
			return r.read(n.array, name)
		})
		r.values[n.path] = strconv.Itoa(count)
		return err
	case '{':
		return r.Object(func(name []byte) error {
			if next := n.next[string(name)]; next != nil {
				return r.read(next, string(name))
			}
			return r.Skip()
		})
	}
	text, err := r.String()
	r.values[n.path] = text
	return err
}

// runnerBuilder begins the builder id that npm writes; the rest is the runner environment.
const runnerBuilder = "https://github.com/actions/runner/"

func readSLSAv1(s *sigstore.Statement, c *publisher.Certificate) (*predicate, outcome) {
	v, o := texts(s.Predicate, memberPaths)
	if t := v["buildDefinition.buildType"]; t != buildTypeGitHubV1 {
		return nil, unknownBuildType(t, o)
	}
	if o.status != Pass {
		return nil, o
	}
	if n := v["buildDefinition.resolvedDependencies"]; n != "1" {
		return nil, fail(reasonPredicateField, "one resolved dependency", n).with("buildDefinition.resolvedDependencies")
	}
	const (
		workflow = "buildDefinition.externalParameters.workflow."
		github   = "buildDefinition.internalParameters.github."
		source0  = "buildDefinition.resolvedDependencies[0]."
	)
	repository, uri, commit := v[workflow+"repository"], v[source0+"uri"], v[source0+"digest.gitCommit"]
	p := predicate{
		fields: []field{
			{"externalParameters.workflow.repository", publisher.ExtRepository, repository, sourceRepository(c)},
			{"externalParameters.workflow", publisher.ExtConfigURI, repository + "/" + v[workflow+"path"] + "@" + v[workflow+"ref"], c.Get(publisher.ExtConfigURI)},
			{"resolvedDependencies[0].uri", publisher.ExtRef, refOf(uri), sourceRef(c)},
			{"resolvedDependencies[0].digest.gitCommit", publisher.ExtCommit, commit, sourceCommit(c)},
			{"internalParameters.github.event_name", publisher.ExtTrigger, v[github+"event_name"], sourceTrigger(c)},
			{"internalParameters.github.repository_id", publisher.ExtRepositoryID, v[github+"repository_id"], c.Get(publisher.ExtRepositoryID)},
			{"internalParameters.github.repository_owner_id", publisher.ExtOwnerID, v[github+"repository_owner_id"], c.Get(publisher.ExtOwnerID)},
			{"runDetails.metadata.invocationId", publisher.ExtRun, v["runDetails.metadata.invocationId"], c.Source(publisher.ExtRun)},
		},
		sources: []source{
			{"externalParameters.workflow.repository", repository, ""},
			{"resolvedDependencies[0]", uri, commit},
		},
	}
	if runner := v[github+"runner_environment"]; runner != "" {
		p.fields = append(p.fields, field{"internalParameters.github.runner_environment", publisher.ExtRunner, runner, c.Get(publisher.ExtRunner)})
	}
	// npm names the kind of runner, GitHub's own attest action the workflow that signs.
	builder := v["runDetails.builder.id"]
	if runner, ok := strings.CutPrefix(builder, runnerBuilder); ok {
		p.fields = append(p.fields, field{"runDetails.builder.id", publisher.ExtRunner, runner, c.Get(publisher.ExtRunner)})
	} else {
		p.fields = append(p.fields, field{"runDetails.builder.id", publisher.ExtSignerURI, builder, c.SubjectURI})
	}
	return &p, pass()
}

func readSLSAv02(s *sigstore.Statement, c *publisher.Certificate) (*predicate, outcome) {
	v, o := texts(s.Predicate, memberPaths)
	var read func(values, *publisher.Certificate) (*predicate, outcome)
	switch v["buildType"] {
	case buildTypeGitHubV02, buildTypeGitHubV02Old, buildTypeGitHubV02Pre, buildTypeDelegator:
		read = readGitHubV02
	case buildTypeGitLab:
		read = readGitLabV02
	default:
		return nil, unknownBuildType(v["buildType"], o)
	}
	if o.status != Pass {
		return nil, o
	}
	if n := v["materials"]; n == "" || n == "0" {
		return nil, fail(reasonPredicateField, "a material", "none").with("materials")
	}
	return read(v, c)
}

// unknownBuildType says what it means that the build type is none of those whose rules are known, the
// predicate having been read as o says.
func unknownBuildType(t string, o outcome) outcome {
	if t == "" && o.status != Pass {
		return o
	}
	if t == "" {
		return fail(reasonPredicateField, "a build type", "absent").with("buildType")
	}
	return undecided(reasonBuildTypeUnknown, fmt.Sprintf("build type %q", t))
}

func readGitHubV02(v values, c *publisher.Certificate) (*predicate, outcome) {
	env := func(name string) string { return v["invocation.environment."+name] }
	configURI, configCommit := v["invocation.configSource.uri"], v["invocation.configSource.digest.sha1"]
	materialURI, materialCommit := v["materials[0].uri"], v["materials[0].digest.sha1"]
	entryPoint := v["invocation.configSource.entryPoint"]
	prefix := func(name string) string {
		if env(name) == "" {
			return ""
		}
		return "https://github.com/" + env(name)
	}
	commit := sourceCommit(c)
	p := predicate{
		fields: []field{
			{"environment.GITHUB_REPOSITORY", publisher.ExtRepository, prefix("GITHUB_REPOSITORY"), sourceRepository(c)},
			{"configSource.digest.sha1", publisher.ExtCommit, configCommit, commit},
			{"materials[0].digest.sha1", publisher.ExtCommit, materialCommit, commit},
			{"environment.GITHUB_SHA", publisher.ExtCommit, env("GITHUB_SHA"), commit},
			{"environment.GITHUB_REF", publisher.ExtRef, env("GITHUB_REF"), sourceRef(c)},
			{"environment.GITHUB_EVENT_NAME", publisher.ExtTrigger, env("GITHUB_EVENT_NAME"), sourceTrigger(c)},
		},
		sources: []source{
			{"invocation.configSource", configURI, configCommit},
			{"materials[0]", materialURI, materialCommit},
		},
	}
	// npm 9.5.0 wrote fewer variables than its successors; what it wrote has to fit all the same.
	for _, fd := range []field{
		{"environment.GITHUB_REPOSITORY_ID", publisher.ExtRepositoryID, env("GITHUB_REPOSITORY_ID"), c.Get(publisher.ExtRepositoryID)},
		{"environment.GITHUB_REPOSITORY_OWNER_ID", publisher.ExtOwnerID, env("GITHUB_REPOSITORY_OWNER_ID"), c.Get(publisher.ExtOwnerID)},
		{"environment.GITHUB_WORKFLOW_REF", publisher.ExtConfigURI, prefix("GITHUB_WORKFLOW_REF"), c.Get(publisher.ExtConfigURI)},
		{"environment.GITHUB_WORKFLOW_SHA", publisher.ExtConfigDigest, env("GITHUB_WORKFLOW_SHA"), c.Get(publisher.ExtConfigDigest)},
		{"environment.GITHUB_RUN_ID", publisher.ExtRun, runURL(env), c.Source(publisher.ExtRun)},
	} {
		if fd.value != "" || v["buildType"] == buildTypeGitHubV02 {
			p.fields = append(p.fields, fd)
		}
	}
	if v["buildType"] == buildTypeDelegator {
		return &p, checkDelegator(v, c)
	}
	if id := v["metadata.buildInvocationId"]; id != "" && env("GITHUB_RUN_ID") != "" && id != env("GITHUB_RUN_ID")+"-"+env("GITHUB_RUN_ATTEMPT") {
		return nil, fail(reasonPredicateMismatch, env("GITHUB_RUN_ID")+"-"+env("GITHUB_RUN_ATTEMPT"), id).with("metadata.buildInvocationId")
	}
	if v["buildType"] != buildTypeGitHubV02 {
		if want := env("GITHUB_WORKFLOW_REF"); entryPoint != want {
			return nil, fail(reasonPredicateMismatch, want, entryPoint).with("invocation.configSource.entryPoint")
		}
	} else if ref, ok := publisher.SplitWorkflow(c.Get(publisher.ExtConfigURI)); ok && entryPoint != ref.Path {
		return nil, fail(reasonPredicateMismatch, ref.Path, entryPoint).with("invocation.configSource.entryPoint")
	}
	return &p, pass()
}

// checkDelegator compares the builder of slsa-github-generator's provenance with the workflow that signed:
// the builder that the predicate names is believed only at the tag of the signer.
// Source: slsa-framework/slsa-verifier, verifiers/internal/gha/verifier.go.
func checkDelegator(v values, c *publisher.Certificate) outcome {
	const home = "https://github.com/slsa-framework/slsa-github-generator/.github/workflows/"
	signer, okSigner := publisher.SplitWorkflow(c.SubjectURI)
	builder, okBuilder := publisher.SplitWorkflow(v["builder.id"])
	if !okSigner || !okBuilder || !strings.HasPrefix(c.SubjectURI, home) || !strings.HasPrefix(v["builder.id"], home) || signer.Ref != builder.Ref ||
		!slices.Contains(delegators, signer.Path) || !strings.HasPrefix(signer.Ref, "refs/tags/v") {
		return fail(reasonPredicateMismatch, c.SubjectURI, v["builder.id"]).with("builder.id")
	}
	return pass()
}

// delegators are the workflows that sign for slsa-github-generator's builders.
var delegators = []string{".github/workflows/delegator_generic_slsa3.yml", ".github/workflows/delegator_lowperms-generic_slsa3.yml"}

func runURL(env func(string) string) string {
	if env("GITHUB_REPOSITORY") == "" || env("GITHUB_RUN_ID") == "" {
		return ""
	}
	return "https://github.com/" + env("GITHUB_REPOSITORY") + "/actions/runs/" + env("GITHUB_RUN_ID") + "/attempts/" + env("GITHUB_RUN_ATTEMPT")
}

func readGitLabV02(v values, c *publisher.Certificate) (*predicate, outcome) {
	env := func(name string) string { return v["invocation.parameters."+name] }
	configURI, configCommit := v["invocation.configSource.uri"], v["invocation.configSource.digest.sha1"]
	uri, ok := strings.CutPrefix(configURI, "git+")
	if !ok {
		uri = ""
	}
	return &predicate{
		fields: []field{
			{"configSource.uri", publisher.ExtRepository, uri, c.Source(publisher.ExtRepository)},
			{"configSource.digest.sha1", publisher.ExtCommit, configCommit, c.Get(publisher.ExtCommit)},
			{"parameters.CI_COMMIT_REF_NAME", publisher.ExtRef, refName(c.Get(publisher.ExtRef), env("CI_COMMIT_REF_NAME")), c.Get(publisher.ExtRef)},
			{"parameters.CI_PROJECT_ID", publisher.ExtRepositoryID, env("CI_PROJECT_ID"), c.Get(publisher.ExtRepositoryID)},
			{"parameters.CI_PROJECT_NAMESPACE_ID", publisher.ExtOwnerID, env("CI_PROJECT_NAMESPACE_ID"), c.Get(publisher.ExtOwnerID)},
			{"parameters.CI_PIPELINE_SOURCE", publisher.ExtTrigger, env("CI_PIPELINE_SOURCE"), c.Get(publisher.ExtTrigger)},
			{"metadata.buildInvocationId", publisher.ExtRun, v["metadata.buildInvocationId"], c.Source(publisher.ExtRun)},
		},
		sources: []source{
			{"invocation.configSource", configURI, configCommit},
			{"materials[0]", v["materials[0].uri"], v["materials[0].digest.sha1"]},
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

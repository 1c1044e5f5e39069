package publish

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"time"
)

// AudienceSigstore is the audience of the token that Fulcio takes.
const AudienceSigstore = "sigstore"

// maxToken bounds an identity token, in bytes.
const maxToken = 64 << 10

// An IDToken is a job's identity token with what it says. Nobody verified it here: it is the job's own, and whoever
// it is sent to verifies it.
type IDToken struct {
	raw    Secret
	claims map[string]any
}

// Claim returns a claim as text, "" if it is not there; numbers and booleans as JSON writes them.
func (t *IDToken) Claim(name string) string {
	switch v := t.claims[name].(type) {
	case string:
		return v
	case json.Number:
		return v.String()
	case bool:
		return fmt.Sprint(v)
	}
	return ""
}

// audiences returns the claim aud, which is one text or a list (RFC 7519 section 4.1.3).
func (t *IDToken) audiences() []string {
	switch v := t.claims["aud"].(type) {
	case string:
		return []string{v}
	case []any:
		var list []string
		for _, e := range v {
			if s, ok := e.(string); ok {
				list = append(list, s)
			}
		}
		return list
	}
	return nil
}

// challenge is the claim over which possession of the key is proven: the subject for CI jobs, the e-mail address
// where the token has no repository (fulcio.proto, PublicKeyRequest.proof_of_possession; sigstore-js, util/oidc.js).
func (t *IDToken) challenge() string {
	if t.Claim("repository") == "" && t.Claim("project_path") == "" {
		if email := t.Claim("email"); email != "" {
			return email
		}
	}
	return t.Claim("sub")
}

// parseToken reads a JWT's claims (RFC 7519), without verifying its signature.
func parseToken(raw Secret) (*IDToken, error) {
	parts := strings.Split(raw.value, ".")
	if len(parts) != 3 || len(raw.value) > maxToken {
		return nil, setup("id-token-malformed", "", "the identity token is not a JWT")
	}
	payload, err := base64.RawURLEncoding.DecodeString(strings.TrimRight(parts[1], "="))
	if err != nil {
		return nil, setup("id-token-malformed", "", "the identity token is not a JWT: its second part is not base64url")
	}
	dec := json.NewDecoder(strings.NewReader(string(payload)))
	dec.UseNumber()
	t := &IDToken{raw: raw}
	if err := dec.Decode(&t.claims); err != nil || t.claims == nil {
		return nil, setup("id-token-malformed", "", "the identity token is not a JWT: its second part is not a JSON object")
	}
	return t, nil
}

// check says what is wrong with the token for an audience at a time.
func (t *IDToken) check(variable, audience string, now time.Time) error {
	found := false
	for _, a := range t.audiences() {
		found = found || a == audience
	}
	if !found {
		return setup("id-token-audience", fmt.Sprintf("in .gitlab-ci.yml, in the job:\n  id_tokens:\n    %s:\n      aud: %q", variable, audience),
			"%s is for audience %q, and %q is needed", variable, strings.Join(t.audiences(), ", "), audience)
	}
	if number, ok := t.claims["exp"].(json.Number); ok {
		if seconds, err := number.Int64(); err == nil && !now.Before(time.Unix(seconds, 0)) {
			return setup("id-token-expired", "the job took longer than its token lives: publish in a job of its own, or raise the job's timeout (GitLab's tokens live as long as it)",
				"%s expired at %s", variable, time.Unix(seconds, 0).UTC().Format(time.RFC3339))
		}
	}
	if t.challenge() == "" {
		return setup("id-token-malformed", "", "%s has no subject", variable)
	}
	return nil
}

// token gets the job's identity token for an audience. On GitHub it is asked for (docs.github.com, OpenID Connect
// reference, "Methods for requesting the OIDC token"); on GitLab, and where variable is set, it stands in the
// environment. It is nil without an error where the job has none to give.
func (c *client) token(ctx context.Context, ci *CI, variable, audience string, now time.Time) (*IDToken, error) {
	if raw := ci.get(variable); raw != "" && (ci.Provider == GitLab || variable == variableNPM || ci.get("ACTIONS_ID_TOKEN_REQUEST_URL") == "") {
		secret := NewSecret(strings.TrimSpace(raw))
		c.secrets.add(secret)
		t, err := parseToken(secret)
		if err != nil {
			return nil, fmt.Errorf("reading %s: %w", variable, err)
		}
		return t, t.check(variable, audience, now)
	}
	if ci.Provider != GitHub {
		return nil, nil
	}
	address, bearer := ci.get("ACTIONS_ID_TOKEN_REQUEST_URL"), ci.get("ACTIONS_ID_TOKEN_REQUEST_TOKEN")
	if address == "" || bearer == "" {
		return nil, nil
	}
	if err := checkServiceURL("GitHub's token service", address); err != nil {
		return nil, err
	}
	c.secrets.add(NewSecret(bearer))
	separator := "&" // the address that GitHub gives has a query already
	if !strings.Contains(address, "?") {
		separator = "?"
	}
	a, err := c.do(ctx, call{
		service: "GitHub's token service", op: "asking for the job's identity token", method: http.MethodGet,
		url: address + separator + "audience=" + url.QueryEscape(audience), auth: NewSecret("Bearer " + bearer),
	})
	if err != nil {
		if s, ok := err.(*ServiceError); ok && (s.Status == http.StatusForbidden || s.Status == http.StatusUnauthorized) {
			s.Hint = hintGitHubPermission
		}
		return nil, err
	}
	var doc struct {
		Value string `json:"value"`
	}
	if err := json.Unmarshal(a.body, &doc); err != nil || doc.Value == "" {
		return nil, &ServiceError{Service: "GitHub's token service", Op: "asking for the job's identity token", URL: publicURL(address),
			Message: "the answer holds no token"}
	}
	secret := NewSecret(doc.Value)
	c.secrets.add(secret)
	t, err := parseToken(secret)
	if err != nil {
		return nil, err
	}
	return t, t.check("the job's identity token", audience, now)
}

// Variables that hold identity tokens (npm/cli lib/utils/oidc.js, sigstore-js identity/ci.js).
const (
	variableSigstore = "SIGSTORE_ID_TOKEN"
	variableNPM      = "NPM_ID_TOKEN"
)

// sigstoreToken gets the token that Fulcio takes, and compares it with the environment. registry is where something is
// to be published, "" for nowhere.
func (c *client) sigstoreToken(ctx context.Context, ci *CI, registry string, now time.Time) (*IDToken, error) {
	t, err := c.token(ctx, ci, variableSigstore, AudienceSigstore, now)
	if err != nil {
		return nil, err
	}
	if t == nil && ci.Provider == GitHub {
		return nil, setup("id-token-permission", hintGitHubPermission,
			"the job may not have an identity token: ACTIONS_ID_TOKEN_REQUEST_URL and ACTIONS_ID_TOKEN_REQUEST_TOKEN are not set")
	}
	if t == nil {
		hint := hintGitLabSigstore
		if registry != "" {
			hint = fmt.Sprintf(hintGitLabToken, hostname(registry))
		}
		return nil, setup("id-token-permission", hint, "the job has no identity token: SIGSTORE_ID_TOKEN is not set")
	}
	return t, ci.agree(t)
}

// githubClaims and gitlabClaims say which variable tells the same as which claim of the token.
var (
	githubClaims = []struct{ claim, variable string }{
		{"repository", "GITHUB_REPOSITORY"}, {"repository_id", "GITHUB_REPOSITORY_ID"}, {"repository_owner_id", "GITHUB_REPOSITORY_OWNER_ID"},
		{"sha", "GITHUB_SHA"}, {"ref", "GITHUB_REF"}, {"event_name", "GITHUB_EVENT_NAME"}, {"workflow_ref", "GITHUB_WORKFLOW_REF"},
		{"run_id", "GITHUB_RUN_ID"}, {"run_attempt", "GITHUB_RUN_ATTEMPT"}, {"runner_environment", "RUNNER_ENVIRONMENT"},
	}
	gitlabClaims = []struct{ claim, variable string }{
		{"project_path", "CI_PROJECT_PATH"}, {"project_id", "CI_PROJECT_ID"}, {"namespace_id", "CI_PROJECT_NAMESPACE_ID"}, {"sha", "CI_COMMIT_SHA"},
		{"ref", "CI_COMMIT_REF_NAME"}, {"pipeline_source", "CI_PIPELINE_SOURCE"}, {"job_id", "CI_JOB_ID"}, {"pipeline_id", "CI_PIPELINE_ID"},
	}
)

// agree compares what the environment says of the job with its token. The statement is written from the environment
// (as npm's), the certificate from the token, and consumers compare the two.
func (c *CI) agree(t *IDToken) error {
	pairs := gitlabClaims
	if c.Provider == GitHub {
		pairs = githubClaims
	}
	for _, p := range pairs {
		value := c.get(p.variable)
		if claim := t.Claim(p.claim); claim != "" && claim != value {
			return refuse("environment-differs", "a step of the job changed the variable, or the token is another job's; consumers compare the two and would refuse the package",
				"%s is %q, and the job's identity token says %q (%s)", p.variable, value, claim, p.claim)
		}
	}
	if c.Provider == GitLab {
		project := c.get("CI_PROJECT_URL")
		if path := t.Claim("project_path"); path != "" && !strings.HasSuffix(project, "/"+path) {
			return refuse("environment-differs", "", "CI_PROJECT_URL is %q, and the job's identity token says %q (project_path)", project, path)
		}
		if want := project + "/-/jobs/" + c.get("CI_JOB_ID"); c.get("CI_JOB_URL") != want {
			return refuse("environment-differs", "", "CI_JOB_URL is %q, and this job is %q", c.get("CI_JOB_URL"), want)
		}
	}
	return nil
}

// acceptable refuses jobs from which the registry takes no provenance: those of a repository that is not public, and
// those on a machine of the maintainer's own (npm documentation, "Generating provenance statements", prerequisites).
func (t *IDToken) acceptable(provider Provider, allowPrivate, allowSelfHosted bool) error {
	visibility := t.Claim("repository_visibility")
	if provider == GitLab {
		visibility = t.Claim("project_visibility")
	}
	if visibility != "" && visibility != "public" && !allowPrivate {
		return refuse("repository-not-public", "publish without provenance, or from a public repository; --allow-private signs all the same, for a registry that takes it",
			"the repository is %s: the signature's public log entry would show its name, workflow and commit, and npm's registry takes provenance from public repositories only", visibility)
	}
	if runner := t.Claim("runner_environment"); runner == "self-hosted" && !allowSelfHosted {
		hint := "run the publishing job on a hosted runner, such as\n  runs-on: ubuntu-latest"
		if provider == GitLab {
			hint = "run the publishing job on a hosted runner of GitLab.com, for example by its tag:\n  tags: [saas-linux-small-amd64]"
		}
		return refuse("runner-self-hosted", hint, "the job runs on a self-hosted runner, and npm's registry takes provenance from hosted ones only")
	}
	return nil
}

package publish

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"time"

	"assay/internal/npm"
	"assay/internal/registry"
)

// A Reader is the part of *registry.Client that publishing needs.
type Reader interface {
	Document(ctx context.Context, registry string, id npm.ID) (*registry.Response, error)
	Packument(ctx context.Context, registry string, name string) (*registry.Response, error)
}

// RegistryFor is the registry that npm would publish a package to (npm/cli lib/commands/publish.js and
// npm-registry-fetch, pickRegistry): the scope's, by publishConfig before the configuration; else the command
// line's, publishConfig's, the configuration's. It has to have https, or lie on this machine: a token that may
// publish goes there.
func RegistryFor(m *Manifest, config *npm.Config, flag string) (string, error) {
	base, _ := config.Registry(m.Name)
	fromPackage := ""
	scoped := false
	if scope := npm.Scope(m.Name); scope != "" {
		_, _, scoped = config.Get(scope + ":registry")
		if v := m.Setting(scope + ":registry"); v != "" {
			fromPackage, scoped = v, true
		}
	}
	if fromPackage == "" && !scoped && flag == "" {
		fromPackage = m.Setting("registry")
	}
	if fromPackage != "" {
		base = strings.TrimRight(fromPackage, "/")
	}
	u, err := url.Parse(base)
	if err != nil || u.Scheme != "https" && u.Scheme != "http" || u.Host == "" || u.User != nil || u.RawQuery != "" {
		return "", setup("registry", "", "%q is not the URL of a registry", base)
	}
	if err := checkServiceURL("the registry", base); err != nil {
		return "", err
	}
	return base, nil
}

// existing is what the registry has of a package.
type existing struct {
	found      bool   // the version is there
	integrity  string // of the version
	provenance bool   // the registry announces attestations for it
	highest    string // highest version that is neither a prerelease nor deprecated
	known      bool   // the package is there
}

// look asks the registry for all versions. A version that was unpublished is refused, since it can never be published
// again (npm documentation, "npm unpublish policy").
func (j *Job) look(ctx context.Context, id npm.ID) (*existing, error) {
	res, err := j.o.Reader.Packument(ctx, j.o.Registry, id.Name)
	if registry.KindOf(err) == registry.NotFound {
		return &existing{}, nil
	}
	if err != nil {
		return nil, j.readError("looking up "+id.Name, err)
	}
	var doc struct {
		Name     string                     `json:"name"`
		Time     map[string]json.RawMessage `json:"time"`
		Versions map[string]struct {
			Deprecated any  `json:"deprecated"`
			Dist       dist `json:"dist"`
		} `json:"versions"`
	}
	if err := json.Unmarshal(res.Body, &doc); err != nil || doc.Name != id.Name {
		return nil, &ServiceError{Service: "the registry", Op: "looking up " + id.Name, URL: j.o.Registry, Message: "the answer is not the JSON that was expected"}
	}
	e := &existing{known: true}
	for v, d := range doc.Versions {
		if v == id.Version {
			e.found, e.integrity, e.provenance = true, d.Dist.Integrity, d.Dist.announced()
		}
		deprecated := d.Deprecated != nil && d.Deprecated != false && d.Deprecated != ""
		if npm.CheckVersion(v) == nil && !npm.IsPrerelease(v) && !deprecated && (e.highest == "" || npm.CompareVersions(v, e.highest) > 0) {
			e.highest = v
		}
	}
	if _, was := doc.Time[id.Version]; was && !e.found {
		return nil, refuse("version-exists", "raise the version: one that was published once, even if unpublished since, cannot be used again",
			"%s was published before and is gone from the registry", id)
	}
	return e, nil
}

type dist struct {
	Integrity    string          `json:"integrity"`
	Attestations json.RawMessage `json:"attestations"`
}

func (d dist) announced() bool { return len(d.Attestations) > 0 && string(d.Attestations) != "null" }

// lookAgain asks the registry for one version, past the caches that a document of all versions goes through.
func (j *Job) lookAgain(ctx context.Context, id npm.ID) (*existing, error) {
	res, err := j.o.Reader.Document(ctx, j.o.Registry, id)
	if registry.KindOf(err) == registry.NotFound {
		return &existing{}, nil
	}
	if err != nil {
		return nil, j.readError("looking up "+id.String(), err)
	}
	var doc struct {
		Version string `json:"version"`
		Dist    dist   `json:"dist"`
	}
	if err := json.Unmarshal(res.Body, &doc); err != nil || doc.Version != id.Version {
		return nil, &ServiceError{Service: "the registry", Op: "looking up " + id.String(), URL: j.o.Registry, Message: "the answer is not the JSON that was expected"}
	}
	return &existing{known: true, found: true, integrity: doc.Dist.Integrity, provenance: doc.Dist.announced()}, nil
}

func (j *Job) readError(op string, err error) error {
	var e *registry.Error
	if errors.As(err, &e) {
		return &ServiceError{Service: "the registry", Op: op, URL: j.o.Registry, Status: e.Status, Message: j.c.secrets.hide(oneLine(e.Error(), 400))}
	}
	return fmt.Errorf("%s: %w", op, err)
}

// sameBytes reports whether a registry's integrity is that of a tarball.
func sameBytes(integrity string, p *Package) bool {
	in, err := npm.ParseIntegrity(integrity)
	if err != nil {
		return false
	}
	own, err := npm.ParseIntegrity(p.Integrity())
	if err != nil {
		return false
	}
	algorithm, equal := in.Match(own)
	return equal && algorithm == "sha512"
}

// Auth says how a publish is authorised.
type Auth string

// The ways.
const (
	AuthAuto    Auth = "auto"    // trusted publishing, else a configured token, saying so
	AuthTrusted Auth = "trusted" // trusted publishing and nothing else
	AuthToken   Auth = "token"   // a configured token and nothing else
)

// A credential authorises the requests of a publish.
type credential struct {
	authorization Secret
	http          *http.Client
	trusted       bool // by trusted publishing
}

// dummyToken is what actions/setup-node puts into NODE_AUTH_TOKEN where a workflow gives it none.
const dummyToken = "XXXXX-XXXXX-XXXXX-XXXXX"

// configured returns the credential that npm's configuration holds for the registry, nil for none.
func (j *Job) configured() (*credential, error) {
	u, err := url.Parse(j.o.Registry + "/")
	if err != nil {
		return nil, err
	}
	cred, ok := j.o.HTTP.Config.Credentials(u)
	if !ok {
		return nil, nil
	}
	// A variable that is not set stays as it was written.
	if strings.Contains(cred.Authorization, dummyToken) || strings.Contains(cred.Authorization, "${") || strings.TrimSpace(strings.TrimPrefix(cred.Authorization, "Bearer")) == "" {
		cred.Authorization = ""
	}
	if cred.Authorization == "" && cred.CertFile == "" {
		return nil, nil
	}
	client, err := j.c.certified(cred)
	if err != nil {
		return nil, err
	}
	c := &credential{authorization: NewSecret(cred.Authorization), http: client}
	for _, part := range credentialParts(cred.Authorization) {
		j.c.secrets.add(NewSecret(part))
	}
	return c, nil
}

// authorise finds out how this publish is authorised. npm passes in silence from a failed token exchange to whatever
// token there is (npm/cli lib/utils/oidc.js); here every such step is told.
func (j *Job) authorise(ctx context.Context, name string) (*credential, error) {
	token, err := j.configured()
	if err != nil {
		return nil, err
	}
	var trouble error
	if j.o.Auth != AuthToken && j.o.CI != nil {
		got, err := j.exchange(ctx, name)
		switch {
		case err == nil && got != nil:
			if token != nil {
				j.say("publishing as a trusted publisher; the token that npm's configuration holds is not used and may be removed")
			}
			got.http = j.c.registry
			return got, nil
		case ctx.Err() != nil:
			return nil, err
		}
		trouble = err
	}
	if j.o.Auth != AuthTrusted && token != nil {
		switch {
		case trouble != nil:
			j.warn("trusted publishing did not work: %v", trouble)
			if hint := HintOf(trouble); hint != "" {
				j.warn("%s", hint)
			}
			j.warn("publishing with the token that npm's configuration holds instead")
		case j.o.Auth == AuthAuto:
			j.say("publishing with the token that npm's configuration holds")
		}
		return token, nil
	}
	if trouble != nil {
		return nil, trouble
	}
	return nil, setup("need-auth", j.authHint(), "there is nothing to publish to %s with: no identity token for trusted publishing, and no token in npm's configuration", j.o.Registry)
}

func (j *Job) authHint() string {
	host := hostname(j.o.Registry)
	if j.o.CI != nil && j.o.CI.Provider == GitLab {
		return fmt.Sprintf("for trusted publishing: "+hintGitLabToken+"\nor with a token, in .npmrc:\n  //%s/:_authToken=${NPM_TOKEN}", host, host)
	}
	return fmt.Sprintf("for trusted publishing: %s\nor with a token, in the step:\n  env:\n    NODE_AUTH_TOKEN: ${{ secrets.NPM_TOKEN }}\nand with actions/setup-node before it:\n  with:\n    registry-url: https://%s", hintGitHubPermission, host)
}

// exchange trades the job's identity token for one that may publish this one package (npm documentation, "Trusted
// publishing"; npm/cli lib/utils/oidc.js): the path lies at the registry's origin, the audience is its host without
// port. It returns nil without an error where the job has no identity token for it.
func (j *Job) exchange(ctx context.Context, name string) (*credential, error) {
	t, err := j.c.token(ctx, j.o.CI, variableNPM, "npm:"+hostname(j.o.Registry), j.o.Now())
	if err != nil || t == nil {
		return nil, err
	}
	a, err := j.c.do(ctx, call{
		service: "the registry", op: "asking for a publish token as a trusted publisher", method: http.MethodPost, http: j.c.registry,
		url:  originOf(j.o.Registry) + "/-/npm/v1/oidc/token/exchange/package/" + npm.EscapeName(name),
		auth: NewSecret("Bearer " + t.raw.value), header: map[string]string{"npm-command": "publish"},
	})
	if err != nil {
		var s *ServiceError
		if errors.As(err, &s) && s.Status >= 400 && s.Status < 500 {
			s.Hint = j.trustedHint(name, t)
		}
		return nil, err
	}
	var doc struct {
		Token string `json:"token"`
	}
	if err := json.Unmarshal(a.body, &doc); err != nil || doc.Token == "" {
		return nil, &ServiceError{Service: "the registry", Op: "asking for a publish token as a trusted publisher", URL: j.o.Registry, Message: "the answer holds no token"}
	}
	j.c.secrets.add(NewSecret(doc.Token))
	return &credential{authorization: NewSecret("Bearer " + doc.Token), trusted: true}, nil
}

// trustedHint says what the registry compared, so that a person can compare it with what was entered there. It is the
// calling workflow that counts, also where a reusable one publishes.
func (j *Job) trustedHint(name string, t *IDToken) string {
	environment := cmp.Or(t.Claim("environment"), "(none)")
	if j.o.CI.Provider == GitLab {
		config := t.Claim("ci_config_ref_uri")
		if _, file, ok := strings.Cut(config, "//"); ok {
			config, _, _ = strings.Cut(file, "@")
		}
		return fmt.Sprintf("the package must exist, and its trusted publisher must be exactly: GitLab, project %s, top-level CI file %s, environment %s; see the settings of %s at the registry", t.Claim("project_path"), config, environment, name)
	}
	workflow, _, _ := strings.Cut(t.Claim("workflow_ref"), "@")
	workflow = workflow[strings.LastIndexByte(workflow, '/')+1:]
	hint := fmt.Sprintf("the package must exist, and its trusted publisher must be exactly: GitHub, repository %s, workflow %s, environment %s; see the settings of %s at the registry", t.Claim("repository"), workflow, environment, name)
	if called := t.Claim("job_workflow_ref"); called != "" && called != t.Claim("workflow_ref") {
		hint += fmt.Sprintf("\nThe job runs in the called workflow %s: what counts is the calling one, %s.", called, workflow)
	}
	return hint
}

// public makes sure that the package will be public: by the access asked for, or because it is already
// (libnpmpublish lib/publish.js, ensureProvenanceGeneration).
func (j *Job) public(ctx context.Context, name string, cred *credential) error {
	if j.o.Access == "public" {
		return nil
	}
	a, err := j.c.do(ctx, call{
		service: "the registry", op: "asking whether " + name + " is public", method: http.MethodGet, http: cred.http,
		url: j.o.Registry + "/-/package/" + npm.EscapeName(name) + "/visibility", auth: cred.authorization,
		ok: []int{http.StatusOK, http.StatusNotFound},
	})
	if err != nil {
		return err
	}
	var doc struct {
		Public bool `json:"public"`
	}
	if a.status == http.StatusOK && json.Unmarshal(a.body, &doc) == nil && doc.Public {
		return nil
	}
	return refuse("access-not-public", "--access public, or in package.json:\n  \"publishConfig\": { \"access\": \"public\" }",
		"%s is new or not public, and provenance is for public packages", name)
}

// uploadTimeout is for one attempt at sending the whole package.
const uploadTimeout = 5 * time.Minute

// put uploads the package. Where no answer came, or an error of the server, it looks whether the version is there all
// the same before it tries again: what was cut was perhaps only the answer.
func (j *Job) put(ctx context.Context, p *Package, body []byte, cred *credential) (already bool, err error) {
	if err := checkServiceURL("the registry", j.o.Registry); err != nil {
		return false, err
	}
	header := map[string]string{"Content-Type": "application/json", "npm-command": "publish", "Accept": "*/*"}
	if !j.o.OTP.Empty() {
		j.c.secrets.add(j.o.OTP)
		header["npm-otp"] = j.o.OTP.value
	}
	attempts := j.c.o.Attempts
	for attempt := 1; ; attempt++ {
		a, err := j.c.do(ctx, call{
			service: "the registry", op: "publishing " + p.ID().String(), method: http.MethodPut, http: cred.http,
			url: j.o.Registry + "/" + npm.EscapeName(p.Name), auth: cred.authorization, header: header, body: body,
			timeout: uploadTimeout, attempts: 1,
		})
		if err == nil {
			return false, nil
		}
		if ctx.Err() != nil {
			return false, err
		}
		unsure := a == nil || a.status >= 500 || a.status == http.StatusRequestTimeout
		conflict := a != nil && (a.status == http.StatusForbidden || a.status == http.StatusConflict)
		looks := 0
		switch {
		case conflict && attempt > 1:
			looks = 4 // an earlier attempt may have arrived, and what was read before may come from a cache for a while
		case unsure || conflict:
			looks = 1
		}
		for i := range looks {
			if i > 0 && !pause(ctx, j.c.o.Wait<<(2*i)) {
				break
			}
			if e, lookErr := j.lookAgain(ctx, p.ID()); lookErr == nil && e.found {
				if sameBytes(e.integrity, p) {
					return conflict && attempt == 1, nil
				}
				return false, j.taken(p, e)
			}
		}
		// npm's registry answers 409 where two changes to one package meet.
		busy := a != nil && (a.status == http.StatusTooManyRequests || a.status == http.StatusConflict)
		if !unsure && !busy || attempt >= attempts {
			return false, j.putError(p, a, err, cred)
		}
		j.warn("%v; trying again", err)
		if !pause(ctx, j.c.o.Wait<<(2*(attempt-1))) {
			return false, fmt.Errorf("publishing %s: %w", p.ID(), context.Cause(ctx))
		}
	}
}

func (j *Job) taken(p *Package, e *existing) error {
	return refuse("version-exists", "raise the version: a version that was published once cannot be published again",
		"%s is published already with other bytes: the registry has %s, and this tarball is %s", p.ID(), e.integrity, p.Integrity())
}

// putError says what the registry's refusal means and what to do about it.
func (j *Job) putError(p *Package, a *answer, err error, cred *credential) error {
	var s *ServiceError
	if !errors.As(err, &s) {
		return err
	}
	if a == nil {
		s.Hint = "it is not known whether it was published: run it again, which is safe: if the package arrived all the same, that will be seen"
		return s
	}
	again := "nothing was published; the signature's log entry stays and does no harm"
	no := func(reason, hint, text string) error {
		if s.Message != "" {
			text += ": " + s.Message
		}
		return &Refusal{Reason: reason, Text: fmt.Sprintf("publishing %s: the registry answered %d: %s", p.ID(), s.Status, text), Hint: strings.TrimSpace(hint + "\n" + again)}
	}
	message := strings.ToLower(s.Message)
	otp := strings.Contains(strings.ToLower(a.header.Get("Www-Authenticate")), "otp") || strings.Contains(message, "one-time pass")
	switch {
	case a.status == http.StatusUnauthorized && otp:
		return no("otp", "the account wants a one-time password with each publish: give it with --otp, use trusted publishing, or a token that may publish without", "a one-time password is needed")
	case a.status == http.StatusUnauthorized:
		return no("unauthorized", "make a new token, or use trusted publishing", "the token is not, or no longer, valid")
	case a.status == http.StatusPaymentRequired:
		return no("payment", "--access public", "restricted packages of this scope need a paid plan")
	case a.status == http.StatusForbidden && strings.Contains(message, "previously published"):
		return no("version-exists", "raise the version: one that was published once, even if unpublished since, cannot be used again", "the version exists or existed")
	case a.status == http.StatusForbidden:
		return no("forbidden", "the token or the trusted publisher may not publish this package, the name is too like another's, or the account demands two-factor authentication", "not allowed")
	case a.status == http.StatusNotFound && cred.trusted:
		return no("not-found", "trusted publishing cannot create a package: publish the first version with a token", "the package is not there, or this publisher may not write to it")
	case a.status == http.StatusNotFound:
		return no("not-found", "npm's registry says \"not found\" also to tokens that are expired, or have no right to write to this package or scope", "the package is not there, or the token may not write to it")
	case a.status == http.StatusUnprocessableEntity:
		return no("provenance-refused", "the registry compares the provenance with package.json (repository), and wants a public repository and a hosted runner", "the registry refused the provenance")
	case a.status == http.StatusRequestEntityTooLarge:
		return no("too-large", "see what npm pack --dry-run lists, and leave out what nobody needs (\"files\" in package.json)", "the package is too large")
	case a.status >= 400 && a.status < 500 && a.status != http.StatusTooManyRequests && a.status != http.StatusConflict && a.status != http.StatusRequestTimeout:
		return no("refused", "", "refused")
	}
	s.Hint = "it is not known whether it was published; run it again, which is safe"
	return s
}

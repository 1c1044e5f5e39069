package lab

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"math/big"
	"net/http"
	"net/url"
	"strings"
	"time"
)

// tokenLife is how long an identity token is valid.
const tokenLife = 10 * time.Minute

// Token is the identity token of a CI run for an audience: sigstore, or npm: and the registry's host name. It is
// signed by the lab's key for the run's issuer, which [Services] publishes.
func (l *Lab) Token(run CI, audience string) string {
	claims := object{"aud": audience}
	for name, value := range run.claims() {
		if value != "" {
			claims[name] = value
		}
	}
	now := time.Now() // tokens are looked at by programs on the machine's clock
	claims["iat"], claims["nbf"], claims["exp"] = now.Unix(), now.Unix(), now.Add(tokenLife).Unix()
	claims["jti"] = fmt.Sprintf("%x", l.derive(fmt.Sprint("jti ", l.next()))[:16])
	return l.jwt(claims)
}

func (l *Lab) tokenKey(issuer string) signer { return l.ecKey(elliptic.P256(), "token "+issuer) }

// jwt signs claims as ES256 (RFC 7515, RFC 7518 section 3.4).
func (l *Lab) jwt(claims map[string]any) string {
	issuer, _ := claims["iss"].(string)
	key := l.tokenKey(issuer)
	head := marshal(object{"alg": "ES256", "typ": "JWT", "kid": tokenKeyID(key)})
	text := base64.RawURLEncoding.EncodeToString(head) + "." + base64.RawURLEncoding.EncodeToString(marshal(claims))
	digest := sha256.Sum256([]byte(text))
	r, s := splitSignature(signSHA256(key, []byte(text)))
	if !ecdsa.Verify(&key.PublicKey, digest[:], r, s) {
		panic("lab: a signature does not survive its change of form")
	}
	sig := make([]byte, 64)
	r.FillBytes(sig[:32])
	s.FillBytes(sig[32:])
	return text + "." + base64.RawURLEncoding.EncodeToString(sig)
}

func tokenKeyID(k signer) string {
	sum := sha256.Sum256(spki(k.Public()))
	return base64.RawURLEncoding.EncodeToString(sum[:12])
}

// claimsOf verifies a token of this lab for an audience and returns its claims.
func (l *Lab) claimsOf(token, audience string) (map[string]string, error) {
	parts := strings.Split(token, ".")
	if len(parts) != 3 {
		return nil, errors.New("not a JWT")
	}
	payload, err := base64.RawURLEncoding.DecodeString(parts[1])
	if err != nil {
		return nil, err
	}
	sig, err := base64.RawURLEncoding.DecodeString(parts[2])
	if err != nil || len(sig) != 64 {
		return nil, errors.New("not an ES256 signature")
	}
	var claims struct {
		Issuer   string  `json:"iss"`
		Audience string  `json:"aud"`
		Expires  float64 `json:"exp"`
	}
	if err := json.Unmarshal(payload, &claims); err != nil {
		return nil, err
	}
	digest := sha256.Sum256([]byte(parts[0] + "." + parts[1]))
	if !ecdsa.Verify(&l.tokenKey(claims.Issuer).PublicKey, digest[:], new(big.Int).SetBytes(sig[:32]), new(big.Int).SetBytes(sig[32:])) {
		return nil, fmt.Errorf("the token is not signed by the lab's key for %q", claims.Issuer)
	}
	if claims.Audience != audience {
		return nil, fmt.Errorf("the token is for audience %q, not %q", claims.Audience, audience)
	}
	if time.Now().Unix() >= int64(claims.Expires) {
		return nil, errors.New("the token has expired")
	}
	var all map[string]any
	if err := json.Unmarshal(payload, &all); err != nil {
		return nil, err
	}
	out := map[string]string{}
	for name, v := range all {
		if s, ok := v.(string); ok {
			out[name] = s
		}
	}
	return out, nil
}

// issuer serves what a verifier of tokens asks an issuer for: its configuration and its key.
func (l *Lab) issuer(name, base string) http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /.well-known/openid-configuration", func(w http.ResponseWriter, _ *http.Request) {
		reply(w, http.StatusOK, object{
			"issuer": name, "jwks_uri": base + "/.well-known/jwks", "response_types_supported": []any{"id_token"},
			"subject_types_supported": []any{"public"}, "id_token_signing_alg_values_supported": []any{"ES256"},
		})
	})
	mux.HandleFunc("GET /.well-known/jwks", func(w http.ResponseWriter, _ *http.Request) {
		key := l.tokenKey(name)
		point, err := key.PublicKey.Bytes()
		if err != nil {
			panic(err) // a derived key is on its curve
		}
		reply(w, http.StatusOK, object{"keys": []any{object{
			"kty": "EC", "crv": "P-256", "alg": "ES256", "use": "sig", "kid": tokenKeyID(key),
			"x": base64.RawURLEncoding.EncodeToString(point[1:33]), "y": base64.RawURLEncoding.EncodeToString(point[33:]),
		}}})
	})
	return mux
}

// serveToken is GitHub's token endpoint: GET with the run in the query, as [Services.GitHubEnv] writes it, and the
// audience added by the client.
func (l *Lab) serveToken(w http.ResponseWriter, r *http.Request) {
	if !strings.HasPrefix(r.Header.Get("Authorization"), "Bearer ") {
		reply(w, http.StatusUnauthorized, object{"error": "no request token"})
		return
	}
	q := r.URL.Query()
	var run GitHubRun
	if err := json.Unmarshal([]byte(q.Get("run")), &run); err != nil {
		reply(w, http.StatusBadRequest, object{"error": "run: " + err.Error()})
		return
	}
	audience := or(q.Get("audience"), "https://github.com/lab")
	reply(w, http.StatusOK, object{"count": 1, "value": l.Token(&run, audience)})
}

// GitHubEnv is the environment of a job of a run that may have identity tokens, as NAME=value: what npm and the
// like read on GitHub Actions.
func (s *Services) GitHubEnv(run *GitHubRun) []string {
	return []string{
		"CI=true", "GITHUB_ACTIONS=true", "GITHUB_SERVER_URL=https://github.com", "GITHUB_REPOSITORY=" + run.Repository,
		"GITHUB_REPOSITORY_ID=" + run.RepositoryID, "GITHUB_REPOSITORY_OWNER_ID=" + run.OwnerID, "GITHUB_WORKFLOW_REF=" + run.workflowRef(),
		"GITHUB_WORKFLOW_SHA=" + or(run.WorkflowSHA, run.SHA), "GITHUB_REF=" + run.Ref, "GITHUB_SHA=" + run.SHA,
		"GITHUB_EVENT_NAME=" + run.Event, "GITHUB_RUN_ID=" + run.RunID, "GITHUB_RUN_ATTEMPT=" + run.RunAttempt,
		"RUNNER_ENVIRONMENT=" + run.Runner, "ACTIONS_ID_TOKEN_REQUEST_TOKEN=lab",
		"ACTIONS_ID_TOKEN_REQUEST_URL=" + s.URL + "/token?run=" + url.QueryEscape(string(marshal(run))),
		"GITLAB_CI=", "CIRCLECI=",
	}
}

// GitLabEnv is the environment of a GitLab job with identity tokens for Sigstore and for a registry's host.
func (s *Services) GitLabEnv(job *GitLabJob, registryHost string) []string {
	env := []string{
		"GITLAB_CI=true", "GITHUB_ACTIONS=", "CIRCLECI=",
		"SIGSTORE_ID_TOKEN=" + s.lab.Token(job, "sigstore"), "NPM_ID_TOKEN=" + s.lab.Token(job, "npm:"+registryHost),
	}
	st := job.Statement("x", "0.0.0", nil)
	parameters, _ := Get(st.Predicate, "invocation", "parameters").(map[string]any)
	for name, value := range maps.All(parameters) {
		env = append(env, fmt.Sprintf("%s=%v", name, value))
	}
	return append(env, "CI_RUNNER_DESCRIPTION=lab", "CI_RUNNER_EXECUTABLE_ARCH=linux/amd64")
}

package lab

import (
	"crypto/ecdsa"
	"crypto/sha256"
	"crypto/x509"
	"encoding/asn1"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"math/big"
	"net/http"
	"time"
)

// splitSignature takes an ASN.1 DER signature apart.
func splitSignature(der []byte) (r, s *big.Int) {
	var v struct{ R, S *big.Int }
	if _, err := asn1.Unmarshal(der, &v); err != nil {
		panic(err) // only for what this package has signed
	}
	return v.R, v.S
}

// gatewayError answers in the form of gRPC's HTTP gateway.
func gatewayError(w http.ResponseWriter, status, code int, err error) {
	reply(w, status, object{"code": code, "message": err.Error(), "details": []any{}})
}

// serveSigningCert is POST /api/v2/signingCert (fulcio fulcio.proto).
func (l *Lab) serveSigningCert(w http.ResponseWriter, r *http.Request) {
	body, err := readBody(r, 1<<20)
	var req struct {
		Credentials struct {
			Token string `json:"oidcIdentityToken"`
		} `json:"credentials"`
		Key struct {
			PublicKey struct {
				Content string `json:"content"`
			} `json:"publicKey"`
			Proof []byte `json:"proofOfPossession"`
		} `json:"publicKeyRequest"`
		CSR []byte `json:"certificateSigningRequest"`
	}
	if err == nil {
		err = json.Unmarshal(body, &req)
	}
	if err != nil {
		gatewayError(w, http.StatusBadRequest, 3, err)
		return
	}
	claims, err := l.claimsOf(req.Credentials.Token, "sigstore")
	if err != nil {
		gatewayError(w, http.StatusBadRequest, 3, refuse(http.StatusBadRequest, "There was an error processing the identity token: %v", err))
		return
	}
	id, err := identityOf(claims)
	if err != nil {
		gatewayError(w, http.StatusBadRequest, 3, err)
		return
	}
	pub, err := requestedKey(req.Key.PublicKey.Content, req.Key.Proof, req.CSR, claims["sub"])
	if err != nil {
		gatewayError(w, http.StatusBadRequest, 3, err)
		return
	}
	leaf, err := l.CA.issue(pub, id, l.Now(), issueOptions{ct: []*CTLog{l.CT}})
	if err != nil {
		gatewayError(w, http.StatusInternalServerError, 13, err)
		return
	}
	chain := []string{}
	for _, c := range []*x509.Certificate{leaf, l.CA.Intermediate, l.CA.Root} {
		chain = append(chain, string(pemBlock("CERTIFICATE", c.Raw)))
	}
	reply(w, http.StatusOK, object{"signedCertificateEmbeddedSct": object{"chain": object{"certificates": chain}}})
}

// required are the claims that the certificate authority demands, by issuer.
var required = map[string][]string{
	IssuerGitHub: {"repository", "repository_id", "repository_owner", "repository_owner_id", "repository_visibility", "ref", "sha", "event_name",
		"workflow", "workflow_ref", "workflow_sha", "job_workflow_ref", "job_workflow_sha", "runner_environment", "run_id", "run_attempt"},
	IssuerGitLab: {"project_path", "project_id", "project_visibility", "namespace_path", "namespace_id", "pipeline_source", "job_id", "ref",
		"ref_type", "sha", "runner_environment", "ci_config_ref_uri", "ci_config_sha"},
}

func identityOf(claims map[string]string) (Identity, error) {
	for _, name := range required[claims["iss"]] {
		if claims[name] == "" {
			return Identity{}, fmt.Errorf("the identity token lacks the claim %q", name)
		}
	}
	switch claims["iss"] {
	case IssuerGitHub:
		return githubIdentity(claims), nil
	case IssuerGitLab:
		return gitlabIdentity(claims), nil
	}
	return Identity{}, fmt.Errorf("the lab does not know the issuer %q", claims["iss"])
}

// requestedKey is the key that a certificate is asked for, once its possession is proven over the token's subject.
func requestedKey(text string, proof, csr []byte, subject string) (*ecdsa.PublicKey, error) {
	if csr != nil {
		block, _ := pem.Decode(csr)
		if block == nil {
			return nil, errors.New("certificateSigningRequest is not PEM")
		}
		req, err := x509.ParseCertificateRequest(block.Bytes)
		if err != nil {
			return nil, err
		}
		if err := req.CheckSignature(); err != nil {
			return nil, err
		}
		pub, ok := req.PublicKey.(*ecdsa.PublicKey)
		if !ok {
			return nil, errors.New("the lab takes ECDSA keys only")
		}
		return pub, nil
	}
	block, _ := pem.Decode([]byte(text))
	if block == nil {
		return nil, errors.New("the public key is not PEM")
	}
	key, err := x509.ParsePKIXPublicKey(block.Bytes)
	if err != nil {
		return nil, err
	}
	pub, ok := key.(*ecdsa.PublicKey)
	if !ok {
		return nil, errors.New("the lab takes ECDSA keys only")
	}
	digest := sha256.Sum256([]byte(subject))
	if !ecdsa.VerifyASN1(pub, digest[:], proof) {
		return nil, refuse(http.StatusBadRequest, "The signature supplied in the request could not be verified") // Fulcio's words
	}
	return pub, nil
}

// serveTrustBundle is GET /api/v2/trustBundle.
func (l *Lab) serveTrustBundle(w http.ResponseWriter, _ *http.Request) {
	reply(w, http.StatusOK, object{"chains": []any{object{"certificates": []any{
		string(pemBlock("CERTIFICATE", l.CA.Intermediate.Raw)), string(pemBlock("CERTIFICATE", l.CA.Root.Raw))}}}})
}

// serveFulcioConfiguration is GET /api/v2/configuration.
func (l *Lab) serveFulcioConfiguration(w http.ResponseWriter, _ *http.Request) {
	issuers := []any{}
	for _, issuer := range []string{IssuerGitHub, IssuerGitLab} {
		issuers = append(issuers, object{"issuerUrl": issuer, "audience": "sigstore", "challengeClaim": "sub"})
	}
	reply(w, http.StatusOK, object{"issuers": issuers})
}

// stampRequest is the JSON form of a timestamp request (timestamp-authority openapi.yaml).
type stampRequest struct {
	Hash         []byte   `json:"artifactHash"`
	Algorithm    string   `json:"hashAlgorithm"`
	Nonce        *big.Int `json:"nonce"`
	Certificates bool     `json:"certificates"`
}

// serveTimestamp is POST /api/v1/timestamp, with a request in DER (RFC 3161) or JSON.
func (l *Lab) serveTimestamp(w http.ResponseWriter, r *http.Request) {
	body, err := readBody(r, 1<<20)
	var req stampRequest
	if err == nil && r.Header.Get("Content-Type") == "application/json" {
		err = json.Unmarshal(body, &req)
	} else if err == nil {
		req, err = parseStampQuery(body)
	}
	if err == nil && (len(req.Hash) != sha256.Size || req.Algorithm != "sha256") {
		err = errors.New("the lab stamps SHA-256 digests only")
	}
	if err != nil {
		reply(w, http.StatusBadRequest, object{"code": http.StatusBadRequest, "message": err.Error()})
		return
	}
	der, err := l.TSA.stampHash(req.Hash, l.Now(), req.Nonce, req.Certificates, &TimestampTamper{})
	if err != nil {
		reply(w, http.StatusInternalServerError, object{"code": http.StatusInternalServerError, "message": err.Error()})
		return
	}
	w.Header().Set("Content-Type", "application/timestamp-reply")
	w.WriteHeader(http.StatusCreated)
	w.Write(der)
}

// parseStampQuery reads a TimeStampReq (RFC 3161 section 2.4.1).
func parseStampQuery(der []byte) (stampRequest, error) {
	var q struct {
		Version      int
		Imprint      MessageImprint
		Policy       asn1.ObjectIdentifier `asn1:"optional"`
		Nonce        *big.Int              `asn1:"optional"`
		Certificates bool                  `asn1:"optional"`
	}
	if _, err := asn1.Unmarshal(der, &q); err != nil {
		return stampRequest{}, fmt.Errorf("timestamp request: %w", err)
	}
	algorithm := ""
	if q.Imprint.HashAlgorithm.Algorithm.Equal(oidSHA256) {
		algorithm = "sha256"
	}
	return stampRequest{q.Imprint.HashedMessage, algorithm, q.Nonce, q.Certificates}, nil
}

// serveStampChain is GET /api/v1/timestamp/certchain.
func (l *Lab) serveStampChain(w http.ResponseWriter, _ *http.Request) {
	w.Header().Set("Content-Type", "application/pem-certificate-chain")
	w.Write(append(pemBlock("CERTIFICATE", l.TSA.Leaf.Raw), pemBlock("CERTIFICATE", l.TSA.Root.Raw)...))
}

// SigningConfig is the lab's signing_config.v0.2.json (protobuf-specs sigstore_trustroot.proto): where its services are.
func (s *Services) SigningConfig() []byte {
	start := object{"start": s.lab.start.Format(time.RFC3339)}
	service := func(path string, version int) map[string]any {
		return object{"url": s.URL + path, "majorApiVersion": version, "validFor": start, "operator": "lab.assay.test"}
	}
	return marshal(object{
		"mediaType":       "application/vnd.dev.sigstore.signingconfig.v0.2+json",
		"caUrls":          []any{service(PathFulcio, 1)},
		"oidcUrls":        []any{service(pathGitHub, 1)},
		"rekorTlogUrls":   []any{service(PathRekor, 1), service(PathRekorV2, 2)},
		"tsaUrls":         []any{service(PathTSA+"/api/v1/timestamp", 1)},
		"rekorTlogConfig": object{"selector": "ANY"}, "tsaConfig": object{"selector": "ANY"},
	})
}

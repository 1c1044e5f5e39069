package lab

import (
	"crypto/sha1"
	"crypto/sha512"
	"crypto/x509"
	"encoding/asn1"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"time"
)

// putDocument is the body of npm publish.
type putDocument struct {
	Name        string                    `json:"name"`
	Tags        map[string]string         `json:"dist-tags"`
	Versions    map[string]map[string]any `json:"versions"`
	Attachments map[string]struct {
		Type string `json:"content_type"`
		Data string `json:"data"`
	} `json:"_attachments"`
}

// maxPublish is the largest publish that the lab takes, in bytes.
const maxPublish = 256 << 20

// refusal is an answer other than success, in npm's words.
type refusal struct {
	status int
	text   string
}

func (r *refusal) Error() string { return r.text }

func refuse(status int, format string, args ...any) error {
	return &refusal{status, fmt.Sprintf(format, args...)}
}

// put takes a publish: it checks what npm's registry checks, signs, adds the publish attestation and keeps it.
func (s *Server) put(w http.ResponseWriter, r *http.Request, t target) {
	body, err := readBody(r, maxPublish)
	var doc putDocument
	if err == nil {
		err = json.Unmarshal(body, &doc)
	}
	if err != nil {
		reply(w, http.StatusBadRequest, object{"error": err.Error()})
		return
	}
	if r.Header.Get("Authorization") == "" {
		reply(w, http.StatusNotFound, object{"error": "Not found"}) // as npm's registry hides what one may not write
		return
	}
	if err := s.lab.accept(t.name, &doc); err != nil {
		status := http.StatusBadRequest
		if no, ok := err.(*refusal); ok {
			status = no.status
		}
		reply(w, status, object{"error": err.Error()})
		return
	}
	reply(w, http.StatusCreated, object{"ok": true, "success": true})
}

func (l *Lab) accept(name string, doc *putDocument) error {
	if doc.Name != name || len(doc.Versions) != 1 {
		return refuse(http.StatusBadRequest, "a publish is one version of %q", name)
	}
	for version, manifest := range doc.Versions {
		if l.Lookup(name, version) != nil {
			return refuse(http.StatusForbidden, "You cannot publish over the previously published versions: %s.", version)
		}
		p := &Published{Name: name, Version: version, Time: l.Now(), Manifest: manifest, registry: l.Registry()}
		var provenance string
		for _, a := range doc.Attachments {
			if strings.HasPrefix(a.Type, "application/vnd.dev.sigstore.bundle") {
				provenance = a.Data // JSON in a string, unlike the tarball
				continue
			}
			var err error
			if p.Tarball, err = base64.StdEncoding.DecodeString(a.Data); err != nil {
				return refuse(http.StatusBadRequest, "tarball: %v", err)
			}
		}
		if p.Tarball == nil {
			return refuse(http.StatusBadRequest, "no tarball")
		}
		p.SHA512 = sha512.Sum512(p.Tarball)
		p.Integrity = "sha512-" + base64.StdEncoding.EncodeToString(p.SHA512[:])
		if err := l.attestUpload(p, provenance); err != nil {
			return err
		}
		l.signUpload(p, manifest)
		tag := "latest"
		for t := range doc.Tags {
			tag = t
		}
		l.keep(p, tag)
	}
	return nil
}

// attestUpload checks an uploaded provenance and adds the publish attestation.
func (l *Lab) attestUpload(p *Published, bundle string) error {
	if bundle == "" {
		return nil
	}
	predicateType, err := l.checkProvenance(p, bundle)
	if err != nil {
		return refuse(http.StatusUnprocessableEntity, "Error verifying sigstore provenance bundle: %v", err) // npm's words, as all below
	}
	signed, err := l.Sign(Signing{
		Statement: publishStatement(p.Name, p.Version, l.Registry(), p.SHA512[:]), Key: l.Key, At: p.Time, Kind: Intoto, MediaType: MediaTypeV02,
	})
	if err != nil {
		return err
	}
	p.Publish = signed
	p.List = []Attestation{{PredicatePublish, signed.JSON}, {predicateType, json.RawMessage(bundle)}}
	p.Attestations = marshal(map[string]any{"attestations": p.List})
	return nil
}

func (l *Lab) signUpload(p *Published, manifest map[string]any) {
	shasum := sha1.Sum(p.Tarball)
	id := p.Name + "@" + p.Version
	dist := object{
		"integrity": p.Integrity, "shasum": hex.EncodeToString(shasum[:]), "tarball": tarballURL(l.Registry(), p.Name, p.Version),
		"signatures": []any{l.Key.SignMessage(id + ":" + p.Integrity)},
	}
	if p.List != nil {
		dist["attestations"] = object{"url": attestationsURL(l.Registry(), p.Name, p.Version),
			"provenance": object{"predicateType": p.List[1].PredicateType}}
	}
	user := object{"name": "lab", "email": "lab@lab.assay.test"}
	manifest["dist"], manifest["_id"], manifest["_npmUser"], manifest["maintainers"] = dist, id, user, []any{user}
	p.doc = manifest
	p.Document = marshal(manifest)
}

// checkProvenance makes the checks whose refusals npm's users meet: who signed is public, runs on a hosted runner
// and is the repository that package.json names; what is signed is this tarball. It verifies no signature, since
// whether it would verify is for the tests to find out.
func (l *Lab) checkProvenance(p *Published, text string) (predicateType string, err error) {
	var b Bundle
	if err := json.Unmarshal([]byte(text), &b); err != nil {
		return "", err
	}
	m := b.VerificationMaterial
	var der []byte
	switch {
	case m.Certificate != nil:
		der = m.Certificate.RawBytes
	case m.Chain != nil && len(m.Chain.Certificates) > 0:
		der = m.Chain.Certificates[0].RawBytes
	}
	leaf, err := x509.ParseCertificate(der)
	if err != nil {
		return "", err
	}
	if b.DSSEEnvelope == nil {
		return "", fmt.Errorf("no envelope")
	}
	var st Statement
	if err := json.Unmarshal(b.DSSEEnvelope.Payload, &st); err != nil {
		return "", err
	}
	if len(st.Subject) != 1 || st.Subject[0].Name != purl(p.Name, p.Version) || st.Subject[0].Digest["sha512"] != hex.EncodeToString(p.SHA512[:]) {
		return "", refuse(http.StatusUnprocessableEntity, "Failed to validate subject: expected %s with the digest of the tarball", purl(p.Name, p.Version))
	}
	if v := readExtension(leaf, 22); v != "" && v != "public" {
		return "", refuse(http.StatusUnprocessableEntity, "Unsupported GitHub Actions source repository visibility: %q. Only public source repositories are supported when publishing with provenance.", v)
	}
	if v := readExtension(leaf, 11); v == "self-hosted" {
		return "", refuse(http.StatusUnprocessableEntity, "Unsupported GitHub Actions runner environment: %q. Only \"github-hosted\" runners are supported when publishing with provenance.", v)
	}
	claimed := ""
	switch repository := p.Manifest["repository"].(type) {
	case string:
		claimed = repository
	case map[string]any:
		claimed, _ = repository["url"].(string)
	}
	want := readExtension(leaf, 12)
	if strings.TrimSuffix(strings.TrimPrefix(claimed, "git+"), ".git") != want {
		return "", refuse(http.StatusUnprocessableEntity, "Failed to validate repository information: package.json: \"repository.url\" is %q, expected to match %q from provenance", claimed, want)
	}
	return st.PredicateType, nil
}

// readExtension reads extension N of arc 1.3.6.1.4.1.57264.1, N at least 8; "" if it is not there.
func readExtension(c *x509.Certificate, n int) string {
	for _, e := range c.Extensions {
		if e.Id.Equal(fulcioOID(n)) {
			var v string
			asn1.UnmarshalWithParams(e.Value, &v, "utf8")
			return v
		}
	}
	return ""
}

// exchange gives a publish token for a CI's identity token (trusted publishing). It believes every token.
func (s *Server) exchange(w http.ResponseWriter, r *http.Request, t target) {
	if r.Method != http.MethodPost || !strings.HasPrefix(r.Header.Get("Authorization"), "Bearer ") {
		reply(w, http.StatusUnauthorized, object{"message": "OIDC token exchange error - no identity token"})
		return
	}
	if !s.lab.has(t.name) {
		reply(w, http.StatusNotFound, object{"message": "OIDC token exchange error - package not found"})
		return
	}
	now := s.lab.Now()
	reply(w, http.StatusCreated, object{
		"token_type": "oidc", "token": fmt.Sprintf("npm_%x", s.lab.derive(fmt.Sprint("token ", s.lab.next()))[:18]),
		"created": now.Format(time.RFC3339), "expires": now.Add(time.Hour).Format(time.RFC3339),
	})
}

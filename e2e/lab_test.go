package e2e_test

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/x509"
	"encoding/asn1"
	"encoding/binary"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"

	"assay/internal/lab"
	"assay/internal/sigstore"
)

// Object identifiers of extensions that cannot be the same for two authorities.
const (
	oidAuthorityKey = "2.5.29.35"
	oidSCTs         = "1.3.6.1.4.1.11129.2.4.2"
)

// fulcioCertificate asks a Fulcio for a certificate.
func fulcioCertificate(t *testing.T, base, token, subject string, key *ecdsa.PrivateKey) *x509.Certificate {
	t.Helper()
	der, err := x509.MarshalPKIXPublicKey(key.Public())
	if err != nil {
		t.Fatal(err)
	}
	digest := sha256.Sum256([]byte(subject))
	proof, err := ecdsa.SignASN1(rand.Reader, key, digest[:])
	if err != nil {
		t.Fatal(err)
	}
	var answer struct {
		Embedded struct {
			Chain struct{ Certificates []string }
		} `json:"signedCertificateEmbeddedSct"`
	}
	body := post(t, base+"/api/v2/signingCert", map[string]any{
		"credentials": map[string]string{"oidcIdentityToken": token},
		"publicKeyRequest": map[string]any{
			"publicKey":         map[string]string{"algorithm": "ECDSA", "content": string(pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der}))},
			"proofOfPossession": proof,
		},
	})
	if err := json.Unmarshal(body, &answer); err != nil || len(answer.Embedded.Chain.Certificates) == 0 {
		t.Fatalf("%s: %v: %s", base, err, body)
	}
	return pemCertificate(t, answer.Embedded.Chain.Certificates[0])
}

// TestCertificates: for the same token and the same key, the lab's certificate authority writes the extensions that the
// real Fulcio writes, in the same order, byte for byte. The identifier of the authority's key and the certificate
// timestamps are each authority's own: of these the form is compared.
func TestCertificates(t *testing.T) {
	d := newDesk(t)
	githubWith := func(change func(*lab.GitHubRun)) *lab.GitHubRun {
		run := lab.GitHub("acme/widget")
		change(run)
		return run
	}
	gitlabWith := func(change func(*lab.GitLabJob)) *lab.GitLabJob {
		run := lab.GitLab("acme/tools/widget")
		change(run)
		return run
	}
	tests := []struct {
		name, subject string
		run           lab.CI
	}{
		{"GitHub", lab.GitHub("acme/widget").Subject, lab.GitHub("acme/widget")},
		{"GitHub, tag, reusable workflow and environment", "repo:acme/widget:environment:npm", githubWith(func(r *lab.GitHubRun) {
			r.Ref, r.Event, r.Environment, r.Subject = "refs/tags/v1.0.0", "release", "npm", "repo:acme/widget:environment:npm"
			r.Signer, r.SignerSHA = "acme/ci/.github/workflows/publish.yml@refs/heads/v2", "00112233445566778899aabbccddeeff00112233"
		})},
		{"GitHub, private repository, own runner", lab.GitHub("acme/widget").Subject, githubWith(func(r *lab.GitHubRun) {
			r.Visibility, r.Runner, r.RunAttempt, r.WorkflowName = "private", "self-hosted", "3", "Büild & ship 🚀"
		})},
		{"GitLab", lab.GitLab("acme/tools/widget").Subject, gitlabWith(func(*lab.GitLabJob) {})},
		{"GitLab, tag, own runner and environment", "project_path:acme/tools/widget:ref_type:tag:ref:v1.0.0", gitlabWith(func(r *lab.GitLabJob) {
			r.Ref, r.Source, r.Environment, r.Runner = "refs/tags/v1.0.0", "web", "production", "self-hosted"
			r.Subject, r.Visibility = "project_path:acme/tools/widget:ref_type:tag:ref:v1.0.0", "internal"
		})},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
			if err != nil {
				t.Fatal(err)
			}
			token := d.Lab.Token(tt.run, "sigstore")
			real := fulcioCertificate(t, d.Fulcio, token, tt.subject, key)
			made := fulcioCertificate(t, d.Issuers.URL+lab.PathFulcio, token, tt.subject, key)
			if diff := cmp.Diff(extensions(real), extensions(made)); diff != "" {
				t.Errorf("extensions (-Fulcio +lab):\n%s", diff)
			}
			if n := len(extensions(real)); n < 20 {
				t.Errorf("only %d extensions were compared", n)
			}
			if diff := cmp.Diff(fields(real), fields(made)); diff != "" {
				t.Errorf("other fields (-Fulcio +lab):\n%s", diff)
			}
		})
	}
}

// extensions are those of a certificate, as text, in order.
func extensions(c *x509.Certificate) []string {
	var out []string
	for _, e := range c.Extensions {
		value := fmt.Sprintf("%x", e.Value)
		switch e.Id.String() {
		case oidAuthorityKey:
			value = fmt.Sprintf("%x and %d bytes", e.Value[:4], len(e.Value)-4)
		case oidSCTs:
			value = timestampForm(e.Value)
		}
		out = append(out, fmt.Sprintf("%s critical=%v %s", e.Id, e.Critical, value))
	}
	return out
}

// timestampForm is the form of a list of certificate timestamps (RFC 6962 section 3.3): lengths, version, extensions
// and algorithm; the log's identifier, time and signature are left out.
func timestampForm(value []byte) string {
	var list []byte
	if _, err := asn1.Unmarshal(value, &list); err != nil || len(list) < 4 {
		return fmt.Sprintf("no list: %x", value)
	}
	size, sct := int(binary.BigEndian.Uint16(list)), list[4:]
	if len(sct) < 47 {
		return fmt.Sprintf("too short: %x", value)
	}
	signature := int(binary.BigEndian.Uint16(sct[45:]))
	return fmt.Sprintf("list whole %v, one timestamp %v, version %d, extensions %x, algorithm %x, signature to the end %v",
		size == len(list)-2, int(binary.BigEndian.Uint16(list[2:])) == len(sct), sct[0], sct[41:43], sct[43:45], signature == len(sct)-47)
}

// fields are what else a verifier looks at.
func fields(c *x509.Certificate) []string {
	return []string{
		fmt.Sprint("version ", c.Version), fmt.Sprint("subject ", c.Subject), fmt.Sprint("life ", c.NotAfter.Sub(c.NotBefore)),
		fmt.Sprint("key usage ", c.KeyUsage, c.ExtKeyUsage), fmt.Sprint("algorithm ", c.SignatureAlgorithm), fmt.Sprint("key ", c.PublicKeyAlgorithm),
	}
}

// paths lists every member of a JSON value with the type of its leaf, arrays as one element.
func paths(t *testing.T, text []byte) []string {
	t.Helper()
	var v any
	if err := json.Unmarshal(text, &v); err != nil {
		t.Fatalf("%v: %s", err, text)
	}
	var out []string
	var walk func(at string, v any)
	walk = func(at string, v any) {
		switch x := v.(type) {
		case map[string]any:
			for k, v := range x {
				walk(at+"."+k, v)
			}
		case []any:
			for _, v := range x {
				walk(at+"[]", v)
			}
		default:
			out = append(out, fmt.Sprintf("%s %T", at, v))
		}
	}
	walk("", v)
	slices.Sort(out)
	return slices.Compact(out)
}

// TestLogs: the same entry gets the same canonical body from the real Rekor and from the lab's log, and answers of the
// same form; assay attest, run against either, reads both with the same code and makes bundles of the same form,
// which the same parser reads and the same verifier accepts.
func TestLogs(t *testing.T) {
	d := newDesk(t)
	j := github("acme/logs")
	a := d.pack("@acme/logs", "1.0.0", j)

	attest := func(name, root string, args ...string) []byte {
		t.Helper()
		out := filepath.Join(d.home, name+".json")
		r := d.assay(d.home, j.environ(d.Issuers), append([]string{"attest", a.file, "-o", out, "--trusted-root", root}, args...)...)
		if r.code != 0 {
			t.Fatalf("assay attest, %s: %v", name, r)
		}
		text, err := os.ReadFile(out)
		d.must(err)
		return text
	}
	labRoot := d.write("lab_root.json", d.Lab.TrustedRoot())
	realRoot := filepath.Join(d.home, "trusted_root.json")
	at := d.Issuers.URL
	tests := []struct {
		name       string
		real, made []byte
	}{
		{"Rekor v1",
			attest("real1", realRoot, "--fulcio-url", d.Fulcio, "--rekor-url", d.Rekor),
			attest("lab1", labRoot, "--fulcio-url", at+lab.PathFulcio, "--rekor-url", at+lab.PathRekor)},
		{"Rekor v2",
			attest("real2", realRoot, "--fulcio-url", d.Fulcio, "--rekor-url", d.RekorV2, "--rekor-version", "2", "--tsa-url", d.TSA),
			attest("lab2", labRoot, "--fulcio-url", at+lab.PathFulcio, "--rekor-url", at+lab.PathRekorV2, "--rekor-version", "2", "--tsa-url", at+lab.PathTSA+"/api/v1/timestamp")},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if diff := cmp.Diff(paths(t, tt.real), paths(t, tt.made)); diff != "" {
				t.Errorf("bundles (-real +lab):\n%s", diff)
			}
			real, made := parse(t, d.TrustedRoot, tt.real), parse(t, d.Lab.TrustedRoot(), tt.made)
			if diff := cmp.Diff(paths(t, real.Entries[0].Body), paths(t, made.Entries[0].Body)); diff != "" {
				t.Errorf("bodies (-real +lab):\n%s", diff)
			}
		})
	}
	t.Run("the same entry", func(t *testing.T) {
		b := parse(t, d.TrustedRoot, tests[0].real)
		type entry struct{ Body []byte }
		read := func(text []byte) (body []byte, rest []string) {
			var doc map[string]entry
			if err := json.Unmarshal(text, &doc); err != nil || len(doc) != 1 {
				t.Fatalf("%v: %s", err, text)
			}
			for uuid, e := range doc {
				body = e.Body
				rest = paths(t, bytes.ReplaceAll(text, []byte(uuid), []byte("uuid")))
				rest = append(rest, fmt.Sprint("digits of the name: ", len(uuid)))
			}
			return body, rest
		}
		key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
		if err != nil {
			t.Fatal(err)
		}
		leaf := fulcioCertificate(t, d.Fulcio, d.Lab.Token(j.run, "sigstore"), lab.GitHub("acme/logs").Subject, key)
		proposed := map[string]any{"apiVersion": "0.0.1", "kind": "dsse", "spec": map[string]any{"proposedContent": map[string]any{
			"envelope":  envelope(t, b.Envelope.Payload, b.Envelope.PayloadType, key),
			"verifiers": []string{base64Text(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: leaf.Raw}))},
		}}}
		realBody, realForm := read(post(t, d.Rekor+"/api/v1/log/entries", proposed))
		madeBody, madeForm := read(post(t, at+lab.PathRekor+"/api/v1/log/entries", proposed))
		if !bytes.Equal(realBody, madeBody) {
			t.Errorf("canonical bodies differ:\nRekor %s\nlab   %s", realBody, madeBody)
		}
		if diff := cmp.Diff(realForm, madeForm); diff != "" {
			t.Errorf("answers (-Rekor +lab):\n%s", diff)
		}
	})
}

// envelope signs a payload (secure-systems-lab/dsse, protocol.md).
func envelope(t *testing.T, payload []byte, payloadType string, key *ecdsa.PrivateKey) string {
	t.Helper()
	digest := sha256.Sum256(fmt.Appendf(nil, "DSSEv1 %d %s %d %s", len(payloadType), payloadType, len(payload), payload))
	sig, err := ecdsa.SignASN1(rand.Reader, key, digest[:])
	if err != nil {
		t.Fatal(err)
	}
	return fmt.Sprintf(`{"payload":%q,"payloadType":%q,"signatures":[{"sig":%q}]}`, base64Text(payload), payloadType, base64Text(sig))
}

// parse reads a bundle with the product's parser and verifies it with the product's verifier.
func parse(t *testing.T, trustedRoot, text []byte) *sigstore.Bundle {
	t.Helper()
	b, err := sigstore.ParseBundle(text)
	if err != nil {
		t.Fatal(err)
	}
	root, err := sigstore.ParseTrustedRoot(trustedRoot)
	if err != nil {
		t.Fatal(err)
	}
	if v := root.Verify(b, sigstore.Options{}); !v.OK() {
		t.Errorf("not accepted: %+v", v)
	}
	return b
}

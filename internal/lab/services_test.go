package lab_test

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"encoding/pem"
	"io"
	"net/http"
	"strconv"
	"strings"
	"testing"

	"github.com/sigstore/sigstore-go/pkg/root"
	"github.com/sigstore/sigstore-go/pkg/verify"

	"assay/internal/lab"
)

func listenServices(t *testing.T, l *lab.Lab) *lab.Services {
	t.Helper()
	s, err := l.ListenServices("")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	return s
}

func post(t *testing.T, url, body string) (int, http.Header, []byte) {
	t.Helper()
	res, err := http.Post(url, "application/json", strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	out, err := io.ReadAll(res.Body)
	if err != nil {
		t.Fatal(err)
	}
	return res.StatusCode, res.Header, out
}

// attest signs a statement with the lab's services as a client in CI does, and returns the bundle.
func attest(t *testing.T, l *lab.Lab, s *lab.Services, run lab.CI, subject string, csr bool) []byte {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	sign := func(text []byte) []byte {
		digest := sha256.Sum256(text)
		sig, err := ecdsa.SignASN1(rand.Reader, key, digest[:])
		if err != nil {
			t.Fatal(err)
		}
		return sig
	}
	encode := func(v any) string {
		text, err := json.Marshal(v)
		if err != nil {
			t.Fatal(err)
		}
		return string(text)
	}
	type object = map[string]any

	// Fulcio.
	token := l.Token(run, "sigstore")
	ask := object{"credentials": object{"oidcIdentityToken": token}}
	if csr {
		der, err := x509.CreateCertificateRequest(rand.Reader, &x509.CertificateRequest{}, key)
		if err != nil {
			t.Fatal(err)
		}
		ask["certificateSigningRequest"] = pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE REQUEST", Bytes: der})
	} else {
		ask["publicKeyRequest"] = object{"publicKey": object{"content": pemKey(t, key.Public())}, "proofOfPossession": sign([]byte(subject))}
	}
	status, _, body := post(t, s.URL+lab.PathFulcio+"/api/v2/signingCert", encode(ask))
	var answer struct {
		Embedded struct {
			Chain struct{ Certificates []string }
		} `json:"signedCertificateEmbeddedSct"`
	}
	if err := json.Unmarshal(body, &answer); err != nil || status != 200 || len(answer.Embedded.Chain.Certificates) != 3 {
		t.Fatalf("Fulcio: %d %s", status, body)
	}
	block, _ := pem.Decode([]byte(answer.Embedded.Chain.Certificates[0]))

	// The envelope and its timestamp.
	payload := encode(object{"_type": lab.StatementV1, "predicateType": "x:y", "predicate": object{},
		"subject": []any{object{"name": "x", "digest": object{"sha512": strings.Repeat("ab", 64)}}}})
	pae := []byte("DSSEv1 " + strconv.Itoa(len(lab.PayloadTypeInToto)) + " " + lab.PayloadTypeInToto + " " + strconv.Itoa(len(payload)) + " " + payload)
	sig := sign(pae)
	digest := sha256.Sum256(sig)
	status, _, stamp := post(t, s.URL+lab.PathTSA+"/api/v1/timestamp", encode(object{"artifactHash": digest[:], "hashAlgorithm": "sha256", "certificates": true}))
	if status != 201 {
		t.Fatalf("timestamp authority: %d %s", status, stamp)
	}

	// Rekor v2, whose answer goes into the bundle as it is.
	digest = sha256.Sum256(pae)
	status, _, entry := post(t, s.URL+lab.PathRekorV2+"/api/v2/log/entries", encode(object{"hashedRekordRequestV002": object{
		"digest": digest[:], "signature": object{"content": sig, "verifier": object{
			"x509Certificate": object{"rawBytes": block.Bytes}, "keyDetails": "PKIX_ECDSA_P256_SHA_256"}}}}))
	if status != 201 {
		t.Fatalf("Rekor v2: %d %s", status, entry)
	}
	return []byte(encode(object{
		"mediaType": lab.MediaTypeV03,
		"verificationMaterial": object{"certificate": object{"rawBytes": block.Bytes}, "tlogEntries": []any{json.RawMessage(entry)},
			"timestampVerificationData": object{"rfc3161Timestamps": []any{object{"signedTimestamp": stamp}}}},
		"dsseEnvelope": object{"payload": []byte(payload), "payloadType": lab.PayloadTypeInToto, "signatures": []any{object{"sig": sig}}},
	}))
}

// TestServicesSign signs over HTTP; what comes of it must verify. (Rekor v1 is signed to by TestNPMPublish.)
func TestServicesSign(t *testing.T) {
	l, err := lab.New(lab.Options{})
	if err != nil {
		t.Fatal(err)
	}
	s := listenServices(t, l)
	digest, err := hex.DecodeString(strings.Repeat("ab", 64))
	if err != nil {
		t.Fatal(err)
	}
	github, gitlab := lab.GitHub("acme/widget"), lab.GitLab("acme/widget")
	for _, bundle := range [][]byte{attest(t, l, s, github, github.Subject, false), attest(t, l, s, gitlab, gitlab.Subject, true)} {
		checkErr(t, verifyCertificate(t, l, bundle, verify.WithArtifactDigest("sha512", digest)), "")
	}
	if sc, err := root.NewSigningConfigFromJSON(s.SigningConfig()); err != nil || len(sc.RekorLogURLs()) != 2 {
		t.Errorf("signing configuration: %v", err)
	}
}

// TestRekorAdd proposes entries to Rekor v1 in the three kinds that it takes.
func TestRekorAdd(t *testing.T) {
	l := newLab(t)
	s := listenServices(t, l)
	key := base64.StdEncoding.EncodeToString([]byte(pemKey(t, parseKey(t, l.Key.SPKI()))))
	twice := func(s string) string {
		return base64.StdEncoding.EncodeToString([]byte(base64.StdEncoding.EncodeToString([]byte(s))))
	}
	tests := []struct {
		name, body string
		status     int
		want       string
	}{
		{"dsse", `{"kind":"dsse","apiVersion":"0.0.1","spec":{"proposedContent":{"envelope":"{\"payload\":\"e30=\",\"payloadType\":\"t\",\"signatures\":[{\"sig\":\"AAAA\"}]}","verifiers":["` + key + `"]}}}`, 201, `"signedEntryTimestamp"`},
		{"the same again", `{"kind":"dsse","apiVersion":"0.0.1","spec":{"proposedContent":{"envelope":"{\"payload\":\"e30=\",\"payloadType\":\"t\",\"signatures\":[{\"sig\":\"AAAA\"}]}","verifiers":["` + key + `"]}}}`, 409, "already exists"},
		{"intoto", `{"kind":"intoto","apiVersion":"0.0.2","spec":{"content":{"envelope":{"payload":"` + twice("{}") + `","payloadType":"t","signatures":[{"sig":"` + twice("sig") + `","publicKey":"` + key + `"}]}}}}`, 201, `"checkpoint"`},
		{"hashedrekord", `{"kind":"hashedrekord","apiVersion":"0.0.1","spec":{"data":{"hash":{"algorithm":"sha256","value":"` + strings.Repeat("ab", 32) + `"}},"signature":{"content":"AAAA","publicKey":{"content":"` + key + `"}}}}`, 201, `"logID"`},
		{"unknown kind", `{"kind":"rpm","apiVersion":"0.0.1","spec":{}}`, 400, "does not take"},
		{"no JSON", `x`, 400, "invalid"},
		{"no verifier", `{"kind":"dsse","apiVersion":"0.0.1","spec":{"proposedContent":{"envelope":"{\"signatures\":[{\"sig\":\"AAAA\"}]}","verifiers":["eA=="]}}}`, 400, "PEM"},
	}
	for _, tt := range tests {
		status, h, body := post(t, s.URL+lab.PathRekor+"/api/v1/log/entries", tt.body)
		if status != tt.status || !strings.Contains(string(body), tt.want) {
			t.Errorf("%s: %d %s, want %d with %s", tt.name, status, body, tt.status, tt.want)
		}
		if where := h.Get("Location"); (status == 201 || status == 409) && !strings.HasPrefix(where, "/api/v1/log/entries/") {
			t.Errorf("%s: Location %q", tt.name, where)
		}
	}
}

// TestFulcioRefuses: tokens of others, for others, without claims, and keys that the caller does not hold.
func TestFulcioRefuses(t *testing.T) {
	l, err := lab.New(lab.Options{})
	if err != nil {
		t.Fatal(err)
	}
	s := listenServices(t, l)
	run := lab.GitHub("acme/widget")
	noSHA := lab.GitHub("acme/widget")
	noSHA.SHA, noSHA.WorkflowSHA, noSHA.SignerSHA = "", "", ""
	enterprise := lab.GitHub("acme/widget")
	enterprise.Issuer += "/acme"
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	tests := []struct{ name, token, want string }{
		{"stranger's token", l.Stranger().Token(run, "sigstore"), "not signed by the lab"},
		{"other audience", l.Token(run, "npm:registry.npmjs.org"), "audience"},
		{"missing claim", l.Token(noSHA, "sigstore"), `\"sha\"`},
		{"enterprise issuer", l.Token(enterprise, "sigstore"), "does not know the issuer"},
		{"no token", "", "JWT"},
		{"no possession", l.Token(run, "sigstore"), "could not be verified"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			body, err := json.Marshal(map[string]any{
				"credentials":      map[string]any{"oidcIdentityToken": tt.token},
				"publicKeyRequest": map[string]any{"publicKey": map[string]any{"algorithm": "ECDSA", "content": pemKey(t, key.Public())}, "proofOfPossession": []byte("no")},
			})
			if err != nil {
				t.Fatal(err)
			}
			status, _, answer := post(t, s.URL+lab.PathFulcio+"/api/v2/signingCert", string(body))
			if status != 400 || !strings.Contains(string(answer), tt.want) {
				t.Errorf("%d %s, want 400 with %s", status, answer, tt.want)
			}
		})
	}
}

func pemKey(t *testing.T, pub crypto.PublicKey) string {
	t.Helper()
	der, err := x509.MarshalPKIXPublicKey(pub)
	if err != nil {
		t.Fatal(err)
	}
	return string(pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der}))
}

func itoa(n int64) string { return strconv.FormatInt(n, 10) }

// TestRekorReads follows an entry the way a monitor does: search, read, prove, be consistent.
func TestRekorReads(t *testing.T) {
	l := newLab(t)
	s := listenServices(t, l)
	base := s.URL + lab.PathRekor
	before := l.Rekor.Size()
	p := publish(t, l, lab.Release{Package: lab.Package{Name: "left", Version: "1.0.0"}, CI: lab.GitHub("acme/left")})
	var uuids []string
	_, _, body := post(t, base+"/api/v1/index/retrieve", `{"hash":"sha512:`+hex.EncodeToString(p.SHA512[:])+`"}`)
	if err := json.Unmarshal(body, &uuids); err != nil || len(uuids) != 2 {
		t.Fatalf("entries about the tarball: %s", body)
	}
	_, _, body = post(t, base+"/api/v1/index/retrieve", `{"subject":"https://github.com/acme/left/.github/workflows/release.yml@refs/heads/main","hash":"sha512:`+hex.EncodeToString(p.SHA512[:])+`","operator":"and"}`)
	if err := json.Unmarshal(body, &uuids); err != nil || len(uuids) != 1 {
		t.Fatalf("entries by the workflow about the tarball: %s", body)
	}
	_, _, body = get(t, base+"/api/v1/log/entries/"+uuids[0])
	entry, ok := decode(t, body)[uuids[0]].(map[string]any)
	if !ok || entry["body"] == nil || entry["verification"].(map[string]any)["inclusionProof"] == nil {
		t.Errorf("entry: %s", body)
	}
	if status, _, _ := get(t, base+"/api/v1/log/entries?logIndex=4163431"); status != 200 {
		t.Errorf("first entry of the shard: %d", status)
	}
	for _, bad := range []string{"/api/v1/log/entries?logIndex=1", "/api/v1/log/entries/" + strings.Repeat("00", 40), "/api/v1/log/entries/x"} {
		if status, _, _ := get(t, base+bad); status != 404 {
			t.Errorf("GET %s: %d", bad, status)
		}
	}
	_, _, body = post(t, base+"/api/v1/log/entries/retrieve", `{"entryUUIDs":["`+uuids[0]+`"],"logIndexes":[4163431]}`)
	var list []any
	if err := json.Unmarshal(body, &list); err != nil || len(list) != 2 {
		t.Errorf("retrieve: %s", body)
	}
	log := decode(t, second(get(t, base+"/api/v1/log")))
	proof := decode(t, second(get(t, base+"/api/v1/log/proof?firstSize="+itoa(before)+"&lastSize="+itoa(l.Rekor.Size()))))
	if proof["rootHash"] != log["rootHash"] {
		t.Errorf("proof %v, log %v", proof, log)
	}
	if status, _, _ := get(t, base+"/api/v1/log/proof?firstSize=5&lastSize=99999"); status != 400 {
		t.Errorf("a proof to a size never reached: %d", status)
	}
}

// TestRekorV2Tiles reads what a monitor of the newer log reads.
func TestRekorV2Tiles(t *testing.T) {
	l := newLab(t)
	s := listenServices(t, l)
	base := s.URL + lab.PathRekorV2
	p := publish(t, l, lab.Release{Package: lab.Package{Name: "left", Version: "1.0.0"}, CI: lab.GitHub("acme/left"), Log: l.RekorV2})
	size := itoa(l.RekorV2.Size())
	if _, _, body := get(t, base+"/api/v2/checkpoint"); !strings.HasPrefix(string(body), "log2026-1.rekor.lab.assay.test\n"+size+"\n") {
		t.Errorf("checkpoint: %s", body)
	}
	if _, _, body := get(t, base+"/api/v2/tile/entries/000.p/"+size); !strings.Contains(string(body), string(p.Provenance.Bundle.VerificationMaterial.Entries[0].CanonicalizedBody)) {
		t.Error("the entry is not in its tile")
	}
	if _, _, body := get(t, base+"/api/v2/tile/0/000.p/"+size); int64(len(body)) != 32*l.RekorV2.Size() {
		t.Errorf("hash tile of %d bytes", len(body))
	}
	for _, bad := range []string{"/api/v2/tile/0/000", "/api/v2/tile/9/000.p/1", "/api/v2/tile/entries/001", "/api/v2/tile/0/x"} {
		if status, _, _ := get(t, base+bad); status != 404 {
			t.Errorf("GET %s: %d", bad, status)
		}
	}
}

func second(_ int, _ http.Header, body []byte) []byte { return body }

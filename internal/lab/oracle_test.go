package lab_test

import (
	"crypto"
	"crypto/x509"
	"strings"
	"testing"
	"time"

	"github.com/sigstore/sigstore-go/pkg/bundle"
	"github.com/sigstore/sigstore-go/pkg/root"
	"github.com/sigstore/sigstore-go/pkg/verify"
	"github.com/sigstore/sigstore/pkg/signature"

	"assay/internal/lab"
)

// The oracle is sigstore-go: what the lab mints untampered must verify with it, and what a tamper changes must not.

var clock = time.Date(2026, 6, 1, 12, 0, 0, 0, time.UTC)

func newLab(t testing.TB) *lab.Lab {
	t.Helper()
	l, err := lab.New(lab.Options{Seed: t.Name(), Now: lab.Fixed(clock)})
	if err != nil {
		t.Fatal(err)
	}
	return l
}

// verifyCertificate verifies a bundle that a certificate signed, with the lab's trusted root and no more.
func verifyCertificate(t testing.TB, l *lab.Lab, json []byte, artifact verify.ArtifactPolicyOption) error {
	t.Helper()
	tr, err := root.NewTrustedRootFromJSON(l.TrustedRoot())
	if err != nil {
		t.Fatalf("trusted root: %v", err)
	}
	v, err := verify.NewVerifier(tr, verify.WithTransparencyLog(1), verify.WithObserverTimestamps(1), verify.WithSignedCertificateTimestamps(1))
	if err != nil {
		t.Fatal(err)
	}
	var b bundle.Bundle
	if err := b.UnmarshalJSON(json); err != nil {
		return err
	}
	_, err = v.Verify(&b, verify.NewPolicy(artifact, verify.WithoutIdentitiesUnsafe()))
	return err
}

// verifyKey verifies a bundle that a registry key signed.
func verifyKey(t testing.TB, l *lab.Lab, key *lab.RegistryKey, json []byte, sha512 []byte) error {
	t.Helper()
	tr, err := root.NewTrustedRootFromJSON(l.TrustedRoot())
	if err != nil {
		t.Fatalf("trusted root: %v", err)
	}
	pub := parseKey(t, key.SPKI())
	sv, err := signature.LoadVerifier(pub, crypto.SHA256)
	if err != nil {
		t.Fatal(err)
	}
	keys := root.NewTrustedPublicKeyMaterialFromMapping(map[string]*root.ExpiringKey{key.ID: root.NewExpiringKey(sv, key.Start, key.End)})
	v, err := verify.NewVerifier(root.TrustedMaterialCollection{tr, keys}, verify.WithTransparencyLog(1), verify.WithObserverTimestamps(1))
	if err != nil {
		t.Fatal(err)
	}
	var b bundle.Bundle
	if err := b.UnmarshalJSON(json); err != nil {
		return err
	}
	_, err = v.Verify(&b, verify.NewPolicy(verify.WithArtifactDigest("sha512", sha512), verify.WithKey()))
	return err
}

func checkErr(t *testing.T, err error, want string) {
	t.Helper()
	switch {
	case want == "" && err != nil:
		t.Errorf("sigstore-go refuses it: %v", err)
	case want != "" && err == nil:
		t.Errorf("sigstore-go accepts it, want an error with %q", want)
	case want != "" && !strings.Contains(err.Error(), want):
		t.Errorf("sigstore-go says %q, want %q in it", err, want)
	}
}

func TestHonestProvenanceVerifies(t *testing.T) {
	l := newLab(t)
	tests := []struct {
		name string
		r    lab.Release
	}{
		{"github v1 dsse v0.3", lab.Release{CI: lab.GitHub("acme/widget")}},
		{"github v1 intoto v0.2", lab.Release{CI: lab.GitHub("acme/widget"), Kind: lab.Intoto, MediaType: lab.MediaTypeV02}},
		{"github v0.2 v0.1", lab.Release{CI: func() lab.CI { g := lab.GitHub("acme/widget"); g.V02 = true; return g }(), Kind: lab.Intoto, MediaType: lab.MediaTypeV01}},
		{"v0.1 without proof", lab.Release{CI: lab.GitHub("acme/widget"), Kind: lab.Intoto, MediaType: lab.MediaTypeV01,
			Provenance: lab.Tamper{InLog: lab.LogTamper{NoProof: true}}}},
		{"gitlab", lab.Release{CI: lab.GitLab("acme/sub/widget")}},
		{"rekor v2 with timestamp", lab.Release{CI: lab.GitHub("acme/widget"), Log: l.RekorV2}},
		{"v0.3 in the old spelling", lab.Release{CI: lab.GitHub("acme/widget"), MediaType: lab.MediaTypeV03Old}},
	}
	for i, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			tt.r.Package = lab.Package{Name: "@acme/widget", Version: "1.0." + string(rune('0'+i))}
			p, err := l.Publish(tt.r)
			if err != nil {
				t.Fatal(err)
			}
			checkErr(t, verifyCertificate(t, l, p.Provenance.JSON, verify.WithArtifactDigest("sha512", p.SHA512[:])), "")
			checkErr(t, verifyKey(t, l, l.Key, p.Publish.JSON, p.SHA512[:]), "")
		})
	}
}

func TestHonestArtifactSignatureVerifies(t *testing.T) {
	l := newLab(t)
	for name, log := range map[string]lab.Log{"v1": l.Rekor, "v2": l.RekorV2} {
		t.Run(name, func(t *testing.T) {
			s, err := l.Sign(lab.Signing{Artifact: []byte("hello"), Identity: lab.GitHub("acme/widget").Identity(), Log: log})
			if err != nil {
				t.Fatal(err)
			}
			checkErr(t, verifyCertificate(t, l, s.JSON, verify.WithArtifact(strings.NewReader("hello"))), "")
		})
	}
}

// TestTampers says what sigstore-go finds wrong with each kind of damage to a provenance. Statement contents
// (predicate, identity, further subjects) are not its business, so those damages must pass it: they are validly signed.
func TestTampers(t *testing.T) {
	l := newLab(t)
	other := l.Stranger()
	late := clock.Add(lab.LeafLife + time.Minute)
	tests := []struct {
		name   string
		tamper lab.Tamper
		want   string
	}{
		{"stranger CA", lab.Tamper{CA: other.CA, SCTIssuer: l.CA}, "leaf certificate verification failed"},
		{"server EKU", lab.Tamper{Template: func(c *x509.Certificate) { c.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth} }}, "leaf certificate verification failed"},
		{"stranger CT log", lab.Tamper{CT: []*lab.CTLog{other.CT}}, "0 SCT entries"},
		{"SCT of another certificate", lab.Tamper{SCTAfter: func(c *x509.Certificate) { c.NotAfter = c.NotAfter.Add(time.Second) }}, "0 SCT entries"},
		{"no SCT", lab.Tamper{NoSCT: true}, "0 SCT entries"},
		{"two SCTs", lab.Tamper{CT: []*lab.CTLog{other.CT, l.CT}}, ""},
		{"logged late", lab.Tamper{LogTime: late}, "outside certificate validity"},
		{"logged at the last moment", lab.Tamper{LogTime: clock.Add(lab.LeafLife)}, ""},
		{"signed by another key", lab.Tamper{SigningKey: l.NewKey()}, "verify signature"},
		{"SET by another key", lab.Tamper{InLog: lab.LogTamper{SETKey: l.NewKey()}}, "not enough verified log entries"},
		{"SET of another time", lab.Tamper{InLog: lab.LogTamper{SETTime: clock.Add(5 * time.Second)}}, "not enough verified log entries"},
		{"checkpoint by another key", lab.Tamper{InLog: lab.LogTamper{Checkpoint: func(c *lab.CheckpointParts) { c.Key = l.NewKey() }}}, "checkpoint"},
		{"checkpoint of another root", lab.Tamper{InLog: lab.LogTamper{Checkpoint: func(c *lab.CheckpointParts) { c.Root[0] ^= 1 }}}, "root"},
		{"no proof", lab.Tamper{InLog: lab.LogTamper{NoProof: true}}, "inclusion proof"},
		{"no SET", lab.Tamper{InLog: lab.LogTamper{NoSET: true}}, "threshold"},
		{"wrong hash in the proof", lab.Tamper{InLog: lab.LogTamper{Entry: func(e *lab.Entry) { e.InclusionProof.Hashes[0][0] ^= 1 }}}, "inclusion"},
		{"entry of another signature", lab.Tamper{Record: func(r *lab.Record) { r.Signature = []byte("other") }}, "signature"},
		{"entry of another certificate", lab.Tamper{Record: func(r *lab.Record) { r.Certificate = l.CA.Root.Raw }}, "certificate"},
		{"two signatures", lab.Tamper{Envelope: func(e *lab.Envelope) { e.Signatures = append(e.Signatures, e.Signatures[0]) }}, "signature"},
		{"newer media type", lab.Tamper{MediaType: "application/vnd.dev.sigstore.bundle.v0.9+json"}, "media type"},
		{"two subjects", lab.Tamper{Statement: func(s *lab.Statement) {
			s.Subject = append(s.Subject, lab.Subject{Name: "pkg:npm/right@1.0.0", Digest: map[string]string{"sha512": strings.Repeat("00", 64)}})
		}}, ""},
		{"other identity", lab.Tamper{Identity: func(id *lab.Identity) { id.Extensions[12] = "https://github.com/evil/widget" }}, ""},
		{"other payload type", lab.Tamper{PayloadType: "text/plain"}, "payload"},
		{"other build type", lab.Tamper{Statement: func(s *lab.Statement) { lab.Set(s.Predicate, "https://x.test", "buildDefinition", "buildType") }}, ""},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			p, err := l.Publish(lab.Release{Package: lab.Package{Name: "left", Version: "1.0.0"}, CI: lab.GitHub("acme/left"), Provenance: tt.tamper})
			if err != nil {
				t.Fatal(err)
			}
			checkErr(t, verifyCertificate(t, l, p.Provenance.JSON, verify.WithArtifactDigest("sha512", p.SHA512[:])), tt.want)
			checkErr(t, verifyKey(t, l, l.Key, p.Publish.JSON, p.SHA512[:]), "") // the other attestation is untouched
		})
	}
}

func TestTimestampTampers(t *testing.T) {
	l := newLab(t)
	tests := []struct {
		name   string
		tamper lab.Tamper
		want   string
	}{
		{"none", lab.Tamper{}, ""},
		{"with certificate", lab.Tamper{InStamp: lab.TimestampTamper{Certificate: l.TSA.Leaf}}, ""},
		{"stranger authority", lab.Tamper{TSA: l.Stranger().TSA}, "timestamp"},
		{"by another key", lab.Tamper{InStamp: lab.TimestampTamper{Key: l.NewKey()}}, "timestamp"},
		{"of another signature", lab.Tamper{StampOf: []byte("other")}, "timestamp"},
		{"late", lab.Tamper{StampTime: clock.Add(time.Hour)}, "certificate"},
		{"other digest attribute", lab.Tamper{InStamp: lab.TimestampTamper{DigestAttribute: make([]byte, 32)}}, "timestamp"},
		{"other content", lab.Tamper{InStamp: lab.TimestampTamper{Info: func(i *lab.TSTInfo) { i.MessageImprint.HashedMessage = make([]byte, 32) }}}, "timestamp"},
		{"none at all", lab.Tamper{NoTimestamp: true}, "threshold"},
		{"checkpoint with witnesses", lab.Tamper{InLog: lab.LogTamper{Checkpoint: func(c *lab.CheckpointParts) {
			c.Before, c.After = []string{l.Cosignature("before")}, []string{l.Cosignature("after")}
		}}}, ""},
		{"checkpoint of another origin", lab.Tamper{InLog: lab.LogTamper{Checkpoint: func(c *lab.CheckpointParts) { c.Origin = "other.test" }}}, "checkpoint"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			p, err := l.Publish(lab.Release{Package: lab.Package{Name: "left", Version: "1.0.0"}, CI: lab.GitHub("acme/left"), Log: l.RekorV2, Provenance: tt.tamper})
			if err != nil {
				t.Fatal(err)
			}
			checkErr(t, verifyCertificate(t, l, p.Provenance.JSON, verify.WithArtifactDigest("sha512", p.SHA512[:])), tt.want)
		})
	}
}

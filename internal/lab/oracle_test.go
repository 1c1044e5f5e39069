package lab_test

import (
	"crypto"
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

package lab_test

import (
	"bytes"
	"crypto"
	"crypto/x509"
	"testing"

	"assay/internal/lab"
)

func parseKey(t testing.TB, der []byte) crypto.PublicKey {
	t.Helper()
	pub, err := x509.ParsePKIXPublicKey(der)
	if err != nil {
		t.Fatal(err)
	}
	return pub
}

func TestSeedDecidesEveryByte(t *testing.T) {
	var got [2]*lab.Published
	for i := range got {
		p, err := newLab(t).Publish(lab.Release{Package: lab.Package{Name: "left", Version: "1.0.0"}, CI: lab.GitHub("acme/left")})
		if err != nil {
			t.Fatal(err)
		}
		got[i] = p
	}
	if !bytes.Equal(got[0].Document, got[1].Document) || !bytes.Equal(got[0].Attestations, got[1].Attestations) {
		t.Error("two labs of one seed differ")
	}
}

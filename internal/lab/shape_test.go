package lab_test

import (
	"crypto/x509"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"

	"assay/internal/lab"
)

// corpus reads a file of the corpus of real data, or skips the test.
func corpus(t *testing.T, name string) []byte {
	t.Helper()
	dir := os.Getenv("ASSAY_CORPUS")
	if dir == "" {
		dir = "../../../shared/corpus"
	}
	data, err := os.ReadFile(filepath.Join(dir, name))
	if err != nil {
		t.Skipf("the corpus is not here (set ASSAY_CORPUS): %v", err)
	}
	return data
}

// paths lists every member of a JSON value, arrays as one element, with the type of each leaf.
func paths(t *testing.T, text []byte) []string {
	t.Helper()
	var v any
	if err := json.Unmarshal(text, &v); err != nil {
		t.Fatal(err)
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

// parts takes an attestation response apart: itself, its statements, its log bodies and its leaf certificate.
func parts(t *testing.T, response []byte) (texts map[string][]byte, leaf *x509.Certificate) {
	t.Helper()
	var doc struct {
		Attestations []struct {
			PredicateType string
			Bundle        struct {
				VerificationMaterial struct {
					Chain   struct{ Certificates []lab.RawCertificate } `json:"x509CertificateChain"`
					Entries []struct{ CanonicalizedBody []byte }        `json:"tlogEntries"`
				}
				DSSEEnvelope struct{ Payload []byte }
			}
		}
	}
	if err := json.Unmarshal(response, &doc); err != nil {
		t.Fatal(err)
	}
	texts = map[string][]byte{"response": response}
	for _, a := range doc.Attestations {
		texts["statement "+a.PredicateType] = a.Bundle.DSSEEnvelope.Payload
		texts["body "+a.PredicateType] = a.Bundle.VerificationMaterial.Entries[0].CanonicalizedBody
		if c := a.Bundle.VerificationMaterial.Chain.Certificates; len(c) > 0 {
			var err error
			if leaf, err = x509.ParseCertificate(c[0].RawBytes); err != nil {
				t.Fatal(err)
			}
		}
	}
	return texts, leaf
}

// TestShapeOfRealResponses compares what the lab makes with what npm's registry served, member by member.
func TestShapeOfRealResponses(t *testing.T) {
	v02 := lab.GitHub("acme/widget")
	v02.V02 = true
	tests := []struct {
		file string
		r    lab.Release
	}{
		{"attestations/api/slsa-verifier/provenance-npm-test-cli-v1-prega.json", lab.Release{CI: lab.GitHub("acme/widget"), Kind: lab.Intoto, MediaType: lab.MediaTypeV02}},
		{"attestations/api/slsa-verifier/supreme-googles-cli-v02-tag.json", lab.Release{CI: v02, Kind: lab.Intoto, MediaType: lab.MediaTypeV02}},
	}
	for _, tt := range tests {
		t.Run(filepath.Base(tt.file), func(t *testing.T) {
			want, wantLeaf := parts(t, corpus(t, tt.file))
			tt.r.Package = lab.Package{Name: "@acme/widget", Version: "1.0.0"}
			got, gotLeaf := parts(t, publish(t, newLab(t), tt.r).Attestations)
			for name := range want {
				if name == "response" && tt.r.CI == v02 {
					continue // bundles of another version, whose members differ
				}
				if diff := cmp.Diff(paths(t, want[name]), paths(t, got[name])); diff != "" {
					t.Errorf("%s (-real +lab):\n%s", name, diff)
				}
			}
			// The extensions: the same ones in the same order, critical or not; the lab writes 22 to 24 as well.
			var wantExt, gotExt []string
			for _, e := range wantLeaf.Extensions {
				wantExt = append(wantExt, fmt.Sprint(e.Id, e.Critical))
			}
			for _, e := range gotLeaf.Extensions {
				if s := fmt.Sprint(e.Id, e.Critical); slices.Contains(wantExt, s) {
					gotExt = append(gotExt, s)
				}
			}
			if diff := cmp.Diff(wantExt, gotExt); diff != "" {
				t.Errorf("certificate extensions (-real +lab):\n%s", diff)
			}
		})
	}
}

// TestEncodingsOfExtensions: 1 to 6 raw, 8 and up DER UTF8String.
func TestEncodingsOfExtensions(t *testing.T) {
	p := publish(t, newLab(t), lab.Release{Package: lab.Package{Name: "left", Version: "1.0.0"}, CI: lab.GitHub("acme/left")})
	for _, e := range p.Provenance.Leaf.Extensions {
		switch e.Id.String() {
		case "1.3.6.1.4.1.57264.1.1":
			if string(e.Value) != lab.IssuerGitHub {
				t.Errorf("extension 1 is %q", e.Value)
			}
		case "1.3.6.1.4.1.57264.1.8":
			if string(e.Value) != "\x0c"+string(rune(len(lab.IssuerGitHub)))+lab.IssuerGitHub {
				t.Errorf("extension 8 is %q", e.Value)
			}
		}
	}
}

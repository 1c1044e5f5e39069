package verify_test

import (
	"encoding/json"
	"testing"

	"github.com/sigstore/sigstore-go/pkg/bundle"
	"github.com/sigstore/sigstore-go/pkg/root"
	sgverify "github.com/sigstore/sigstore-go/pkg/verify"
	"github.com/sigstore/sigstore/pkg/signature"

	"assay/internal/evidence"
	"assay/internal/lab"
	"assay/internal/npm"
	"assay/internal/sigstore"
	"assay/internal/trust"
	"assay/internal/verify"

	"crypto"
	"time"
)

// A specimen is a registry's answer for one package with what it is verified with.
type specimen struct {
	name     string
	in       verify.Input
	rootJSON []byte
}

// specimens are the real registry answers of the corpus that verify, and as many from the lab where there is
// no corpus: at least eight.
func specimens(b *testing.B) []specimen {
	var all []specimen
	add := func(name string, tr verify.Trust, rootJSON []byte, id npm.ID, answer, sha512 []byte) {
		in := verify.Input{
			Package:  verify.Package{ID: id, Registry: trust.NPMRegistry},
			Evidence: &evidence.Evidence{Attestations: served(answer), Tarball: &evidence.Tarball{SHA512: sha512}},
			Trust:    tr,
			Options:  verify.Options{BundleGiven: true},
		}
		if o := verify.Run(in); o.Verdict == verify.Provenance {
			all = append(all, specimen{name, in, rootJSON})
		}
	}
	if dir, ok := findCorpus(); ok {
		rootJSON := read(b, dir, "trust/public-good/trusted_root.json")
		tr := realTrust(b, rootJSON, read(b, dir, "trust/npm/keys-tuf.json"))
		for _, c := range corpusCases(b, dir) {
			if c.Package == "" || c.Expect != "pass" || c.Kind != "api" && c.Kind != "bundle" || c.Trust != "" {
				continue
			}
			answer := read(b, dir, c.File)
			sum := c.SHA512
			if sum == "" {
				sum = firstDigest(b, answer)
			}
			add(c.ID, tr, rootJSON, npm.ID{Name: c.Package, Version: c.Version}, answer, hexDigest(sum))
		}
	}
	w := newWorld(b, now)
	for i := 0; len(all) < 8; i++ {
		p := w.publish(lab.Release{Package: lab.Package{Name: "lab-" + string(rune('a'+i))}, CI: lab.GitHub("acme/lab")})
		add("lab/"+p.Name, w.trust, w.TrustedRoot(), npm.ID{Name: p.Name, Version: p.Version}, p.Attestations, p.SHA512[:])
	}
	return all
}

// bundlesOf splits a registry's answer, or one bare bundle.
func bundlesOf(b *testing.B, answer []byte) [][]byte {
	var list struct {
		Attestations []struct{ Bundle json.RawMessage }
	}
	if err := json.Unmarshal(answer, &list); err != nil {
		b.Fatal(err)
	}
	if list.Attestations == nil {
		return [][]byte{answer}
	}
	var out [][]byte
	for _, a := range list.Attestations {
		out = append(out, a.Bundle)
	}
	return out
}

func keyFor(tr verify.Trust, hint string) *verify.RegistryKey {
	for i := range tr.Keys {
		if k := &tr.Keys[i]; k.ID == hint && (k.Usage == "" || k.Usage == npm.UsageAttestations) {
			return k
		}
	}
	return nil
}

// BenchmarkProvenance measures every check over a package's attestations, parsing included, beside the bare
// signature checks of the same attestations (the intermediate's chain being checked beforehand) and beside
// sigstore-go. Nothing is remembered from one round to the next.
func BenchmarkProvenance(b *testing.B) {
	for _, s := range specimens(b) {
		answer := s.in.Evidence.Attestations.Body
		b.Run("floor/"+s.name, func(b *testing.B) {
			var checks []sigstore.SignatureCheck
			for _, data := range bundlesOf(b, answer) {
				parsed, err := sigstore.ParseBundle(data)
				if err != nil {
					b.Fatal(err)
				}
				var o sigstore.Options
				if parsed.Leaf == nil {
					k := keyFor(s.in.Trust, parsed.KeyHint)
					o.Key = &sigstore.Key{ID: k.ID, Public: k.Public, Start: k.Start, End: k.End}
				}
				checks = append(checks, s.in.Trust.Root.SignatureChecks(parsed, o)...)
			}
			if len(checks) == 0 {
				b.Fatal("no signature checks")
			}
			for b.Loop() {
				for _, c := range checks {
					if !c.Run() {
						b.Fatal(c.Name)
					}
				}
			}
		})
		b.Run("assay/"+s.name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				if o := verify.Run(s.in); o.Verdict != verify.Provenance {
					b.Fatal(o.Verdict)
				}
			}
		})
		b.Run("sigstore-go/"+s.name, func(b *testing.B) {
			r, err := root.NewTrustedRootFromJSON(s.rootJSON)
			if err != nil {
				b.Fatal(err)
			}
			digest := s.in.Evidence.Tarball.SHA512
			for b.Loop() {
				for _, data := range bundlesOf(b, answer) {
					if err := sigstoreGo(r, s.in.Trust, data, digest); err != nil {
						b.Fatal(err)
					}
				}
			}
		})
	}
}

// sigstoreGo verifies one bundle with sigstore-go, under the rules that npm's attestations need.
func sigstoreGo(r *root.TrustedRoot, tr verify.Trust, data, digest []byte) error {
	var parsed bundle.Bundle
	if err := parsed.UnmarshalJSON(data); err != nil {
		return err
	}
	options := []sgverify.VerifierOption{sgverify.WithTransparencyLog(1), sgverify.WithObserverTimestamps(1)}
	policy := []sgverify.PolicyOption{sgverify.WithoutIdentitiesUnsafe()}
	material := root.TrustedMaterialCollection{r}
	if hint := parsed.GetVerificationMaterial().GetPublicKey().GetHint(); hint != "" {
		k := keyFor(tr, hint)
		v, err := signature.LoadECDSAVerifier(k.Public, crypto.SHA256)
		if err != nil {
			return err
		}
		end := k.End
		if end.IsZero() {
			end = time.Date(2100, 1, 1, 0, 0, 0, 0, time.UTC)
		}
		material = append(material, root.NewTrustedPublicKeyMaterialFromMapping(map[string]*root.ExpiringKey{hint: root.NewExpiringKey(v, k.Start, end)}))
		policy = []sgverify.PolicyOption{sgverify.WithKey()}
	} else {
		options = append(options, sgverify.WithSignedCertificateTimestamps(1))
	}
	v, err := sgverify.NewVerifier(material, options...)
	if err != nil {
		return err
	}
	_, err = v.Verify(&parsed, sgverify.NewPolicy(sgverify.WithArtifactDigest("sha512", digest), policy...))
	return err
}

package sigstore

import (
	"crypto"
	"errors"
	"maps"
	"os"
	"slices"
	"testing"

	"github.com/sigstore/sigstore-go/pkg/bundle"
	"github.com/sigstore/sigstore-go/pkg/root"
	"github.com/sigstore/sigstore-go/pkg/testing/data"
	"github.com/sigstore/sigstore-go/pkg/verify"
	"github.com/sigstore/sigstore/pkg/signature"
)

// The oracle is sigstore-go. These tests ask it and this package about the same bytes.

// oracleRoots caches the oracle's trusted roots by their JSON. It is filled before parallel tests start.
type oracleRoots map[string]*root.TrustedRoot

func (o oracleRoots) add(t testing.TB, rootJSON []byte) {
	if _, ok := o[string(rootJSON)]; ok {
		return
	}
	r, err := root.NewTrustedRootFromJSON(rootJSON)
	if err != nil {
		t.Logf("sigstore-go: %v", err)
	}
	o[string(rootJSON)] = r // nil: refused
}

// oracle verifies a bundle with sigstore-go: one log entry, one trusted time, one certificate timestamp for bundles with
// a certificate; who signed, and what a statement is about, is left open.
func oracle(r *root.TrustedRoot, bundleJSON []byte, o Options) error {
	if r == nil {
		return errors.New("trusted root refused")
	}
	var b bundle.Bundle
	if err := b.UnmarshalJSON(bundleJSON); err != nil {
		return err
	}
	artifact := verify.WithoutArtifactUnsafe()
	if b.GetMessageSignature() != nil {
		artifact = verify.WithArtifactDigest("sha256", o.Artifact["sha256"])
	}
	var material root.TrustedMaterial = r
	options := []verify.VerifierOption{verify.WithTransparencyLog(1), verify.WithObserverTimestamps(1)}
	policy := verify.WithoutIdentitiesUnsafe()
	if o.Key != nil {
		verifier, err := signature.LoadVerifier(o.Key.Public, crypto.SHA256)
		if err != nil {
			return err
		}
		key := root.NewExpiringKey(verifier, o.Key.Start, o.Key.End)
		material = root.TrustedMaterialCollection{r, root.NewTrustedPublicKeyMaterial(func(hint string) (root.TimeConstrainedVerifier, error) {
			if o.Key.ID != "" && hint != o.Key.ID {
				return nil, errors.New("unknown key")
			}
			return key, nil
		})}
		policy = verify.WithKey()
	} else {
		options = append(options, verify.WithSignedCertificateTimestamps(1))
	}
	v, err := verify.NewVerifier(material, options...)
	if err != nil {
		return err
	}
	_, err = v.Verify(&b, verify.NewPolicy(artifact, policy))
	return err
}

// ours verifies a bundle with this package and returns why it does not hold, one reason per failing step; nil if it holds.
func ours(r *TrustedRoot, rootErr error, bundleJSON []byte, o Options) []string {
	reasons, _ := oursDetailed(r, rootErr, bundleJSON, o)
	return reasons
}

func oursDetailed(r *TrustedRoot, rootErr error, bundleJSON []byte, o Options) ([]string, *Verification) {
	var format *FormatError
	if rootErr != nil {
		if errors.As(rootErr, &format) {
			return []string{format.Reason}, nil
		}
		return []string{rootErr.Error()}, nil
	}
	b, err := ParseBundle(bundleJSON)
	if errors.As(err, &format) {
		return []string{format.Reason}, nil
	} else if err != nil {
		return []string{err.Error()}, nil
	}
	v := r.Verify(b, o)
	if v.OK() {
		if b.Envelope != nil {
			if _, err := ParseStatement(b.Envelope.Payload); errors.As(err, &format) {
				return []string{format.Reason}, v
			}
		}
		return nil, v
	}
	reasons := []string{}
	for _, step := range v.steps() {
		if step.Status != Held && step.Status != NotApplicable {
			reasons = append(reasons, step.Reason)
		}
	}
	slices.Sort(reasons)
	return slices.Compact(reasons), v
}

// moduleBundles returns the bundles that sigstore-go's module carries for tests, so that real bundles are verified
// where there is no corpus too.
func moduleBundles(t *testing.T) []corpusBundle {
	t.Helper()
	rootJSON := func(name string) []byte {
		b, err := data.TrustedRoot(t, name).MarshalJSON()
		if err != nil {
			t.Fatal(err)
		}
		return b
	}
	public, scaffolding := rootJSON("public-good.json"), rootJSON("scaffolding.json")
	all := []corpusBundle{
		{name: "sigstore.js@2.0.0-provenance.sigstore.json", root: public, pass: true},
		{name: "dsse.sigstore.json", root: public, pass: true},
		{name: "othername.sigstore.json", root: scaffolding, pass: true},
		{name: "public-key-validity.sigstore.json", root: rootJSON("public-key-validity.json"), check: "transparency-log"},
	}
	for i := range all {
		b := data.Bundle(t, all[i].name)
		var err error
		if all[i].data, err = b.MarshalJSON(); err != nil {
			t.Fatal(err)
		}
		if m := b.GetMessageSignature(); m != nil {
			all[i].options.Artifact = map[string][]byte{"sha256": m.GetMessageDigest().GetDigest()}
		}
		if b.GetVerificationMaterial().GetPublicKey() != nil {
			all[i].options.Key = &Key{Public: data.PublicKey(t, "public-key-validity.pem")}
		}
	}
	return all
}

func TestModuleBundles(t *testing.T) {
	for _, b := range moduleBundles(t) {
		t.Run(b.name, func(t *testing.T) {
			r, err := ParseTrustedRoot(b.root)
			reasons, v := oursDetailed(r, err, b.data, b.options)
			if (reasons == nil) != b.pass {
				t.Errorf("reasons are %v, want pass %v", reasons, b.pass)
			}
			if !b.pass {
				if v == nil || !v.fails(b.check) {
					t.Errorf("check %s should fail; reasons are %v", b.check, reasons)
				}
				return
			}
			if v.SignedAt.IsZero() || v.LogID == "" || v.LogIndex == 0 || v.IntegratedTime.IsZero() {
				t.Errorf("facts are missing: %+v", v)
			}
		})
	}
}

// quiet keeps sigstore-go from telling on standard error which of several hashes it tries.
func quiet(t testing.TB) {
	null, err := os.OpenFile(os.DevNull, os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	stderr := os.Stderr
	os.Stderr = null
	t.Cleanup(func() { os.Stderr = stderr; null.Close() })
}

// stricterReasons are those that may refuse what sigstore-go takes.
func stricterReasons() map[string]string {
	m := make(map[string]string)
	for _, r := range Reasons() {
		if r.Stricter != "" {
			m[r.Code] = r.Stricter
		}
	}
	return m
}

// compare asks both about a bundle and reports a difference that must not be. It returns both answers.
func compare(t testing.TB, name string, stricter map[string]string, o *root.TrustedRoot, r *TrustedRoot, rootErr error, b []byte, options Options) (reasons []string, theirs error) {
	theirs = oracle(o, b, options)
	reasons = ours(r, rootErr, b, options)
	switch {
	case theirs != nil && reasons == nil:
		t.Errorf("%s: holds here, sigstore-go refuses it: %v\n%s", name, theirs, b)
	case theirs == nil && reasons != nil:
		if !slices.ContainsFunc(reasons, func(r string) bool { return stricter[r] != "" }) {
			t.Errorf("%s: sigstore-go takes it, here it fails for %v, none of which is a stricter rule\n%s", name, reasons, b)
		}
	}
	return reasons, theirs
}

func TestOracleOnEveryBundle(t *testing.T) {
	quiet(t)
	all := moduleBundles(t)
	if dir := findCorpus(); dir != "" {
		all = append(all, corpusBundles(t, dir)...)
	}
	stricter := stricterReasons()
	roots := oracleRoots{}
	counts := map[string]int{}
	for _, b := range all {
		roots.add(t, b.root)
		r, err := ParseTrustedRoot(b.root)
		reasons, theirs := compare(t, b.name, stricter, roots[string(b.root)], r, err, b.data, b.options)
		switch {
		case theirs == nil && reasons == nil:
			counts["both hold"]++
		case theirs == nil:
			counts["only here refused"]++
			t.Logf("%s: stricter here: %v", b.name, reasons)
		default:
			counts["both refuse"]++
		}
	}
	for _, k := range slices.Sorted(maps.Keys(counts)) {
		t.Logf("%s: %d", k, counts[k])
	}
}

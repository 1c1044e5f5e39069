package sigstore

import (
	"bufio"
	"bytes"
	"crypto/ecdsa"
	"crypto/sha256"
	"crypto/sha512"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/sigstore/sigstore-go/pkg/root"
)

var sharedCorpus = filepath.Join("..", "..", "..", "shared", "corpus")

// findCorpus returns the folder of the corpus of real bundles, or "" where there is none.
func findCorpus() string {
	dir := os.Getenv("ASSAY_CORPUS")
	if dir == "" {
		dir = sharedCorpus
	}
	if _, err := os.Stat(filepath.Join(dir, "cases.jsonl")); err != nil {
		return ""
	}
	return dir
}

// corpusDir returns the folder of the corpus, or skips the test.
func corpusDir(t testing.TB) string {
	t.Helper()
	dir := findCorpus()
	if dir == "" {
		t.Skip("there is no corpus of real bundles here; set ASSAY_CORPUS to its folder")
	}
	return dir
}

// A corpusCase is a line of cases.jsonl.
type corpusCase struct {
	ID, Kind, File, Expect, Check string
	AlsoFails                     []string
	Artifact, Key                 string
	Trust, TrustedRoot            string
	SigstoreLevel                 string
	SHA512                        string
	Attestations                  []struct{ PredicateType, Expect, Check string }
}

func corpusCases(t testing.TB, dir string) []corpusCase {
	t.Helper()
	f, err := os.Open(filepath.Join(dir, "cases.jsonl"))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	var cases []corpusCase
	lines := bufio.NewScanner(f)
	lines.Buffer(nil, 16<<20)
	for lines.Scan() {
		var c corpusCase
		if err := json.Unmarshal(lines.Bytes(), &c); err != nil {
			t.Fatal(err)
		}
		switch c.Kind {
		case "api", "bundle", "conformance":
			cases = append(cases, c)
		}
	}
	if err := lines.Err(); err != nil {
		t.Fatal(err)
	}
	return cases
}

func readCorpus(t testing.TB, dir, name string) []byte {
	t.Helper()
	data, err := os.ReadFile(filepath.Join(dir, filepath.FromSlash(name)))
	if errors.Is(err, fs.ErrNotExist) {
		// Another set of cases may rely on the trusted roots and keys of the first.
		data, err = os.ReadFile(filepath.Join(sharedCorpus, filepath.FromSlash(name)))
	}
	if err != nil {
		t.Fatal(err)
	}
	return data
}

// npmKeys reads the attestation keys of npm's registry from its TUF target.
func npmKeys(t testing.TB, data []byte) map[string]*Key {
	t.Helper()
	var file struct {
		Keys []struct {
			KeyID, KeyUsage string
			PublicKey       struct {
				RawBytes []byte
				ValidFor struct{ Start, End time.Time }
			}
		}
	}
	if err := json.Unmarshal(data, &file); err != nil {
		t.Fatal(err)
	}
	keys := make(map[string]*Key)
	for _, k := range file.Keys {
		if k.KeyUsage != "npm:attestations" {
			continue
		}
		public, err := x509.ParsePKIXPublicKey(k.PublicKey.RawBytes)
		if err != nil {
			t.Fatal(err)
		}
		keys[k.KeyID] = &Key{ID: k.KeyID, Public: public.(*ecdsa.PublicKey), Start: k.PublicKey.ValidFor.Start, End: k.PublicKey.ValidFor.End}
	}
	return keys
}

func firstRoot(data []byte) []byte {
	first, _, _ := bytes.Cut(data, []byte("\n{"))
	return first
}

func pemKey(t testing.TB, data []byte) *Key {
	t.Helper()
	block, _ := pem.Decode(data)
	if block == nil {
		t.Fatal("no PEM block in key file")
	}
	public, err := x509.ParsePKIXPublicKey(block.Bytes)
	if err != nil {
		t.Logf("key file holds no usable key: %v", err)
		return nil
	}
	return &Key{Public: public}
}

func artifactDigests(data []byte) map[string][]byte {
	s256, s384, s512 := sha256.Sum256(data), sha512.Sum384(data), sha512.Sum512(data)
	return map[string][]byte{"sha256": s256[:], "sha384": s384[:], "sha512": s512[:]}
}

// A corpusBundle is one bundle of the corpus with everything to verify it by, and what is expected.
type corpusBundle struct {
	name          string
	data          []byte
	root          []byte
	options       Options
	pass, noCheck bool     // noCheck: nothing is said about this level
	check         string   // primary check that must fail
	also          []string // others that may
	isConformance bool
}

// corpusBundles returns every bundle that the corpus's cases name.
func corpusBundles(t testing.TB, dir string) []corpusBundle {
	t.Helper()
	keys := npmKeys(t, readCorpus(t, dir, "trust/npm/keys-tuf.json"))
	var all []corpusBundle
	for _, c := range corpusCases(t, dir) {
		trust := c.TrustedRoot
		if trust == "" {
			trust = c.Trust
		}
		if trust == "" {
			trust = "trust/public-good/trusted_root.json"
		}
		base := corpusBundle{
			// A .jsonl file has one trusted root a line; the first will do.
			root: firstRoot(readCorpus(t, dir, trust)), also: c.AlsoFails, isConformance: c.Kind == "conformance",
			pass: c.SigstoreLevel == "pass" || c.SigstoreLevel == "" && c.Expect == "pass", check: c.Check,
		}
		if c.Artifact != "" {
			base.options.Artifact = artifactDigests(readCorpus(t, dir, c.Artifact))
		}
		if c.Key != "" {
			base.options.Key = pemKey(t, readCorpus(t, dir, c.Key))
		}
		add := func(b corpusBundle, data []byte) {
			b.data = data
			// Who signed, and what about, is not this package's part. TestOracleOnEveryBundle has these too.
			b.noCheck = !b.pass && checkSteps[b.check] == nil
			if b.options.Key == nil && c.Kind != "conformance" {
				var hint struct {
					VerificationMaterial struct{ PublicKey struct{ Hint string } }
				}
				json.Unmarshal(data, &hint)
				b.options.Key = keys[hint.VerificationMaterial.PublicKey.Hint]
			}
			all = append(all, b)
		}
		data := readCorpus(t, dir, c.File)
		if c.Kind != "api" {
			base.name = c.ID
			add(base, data)
			continue
		}
		var response struct {
			Attestations []struct{ Bundle json.RawMessage }
		}
		if err := json.Unmarshal(data, &response); err != nil {
			t.Fatalf("%s: %v", c.ID, err)
		}
		for i, a := range response.Attestations {
			b := base
			b.name = c.ID + "/" + string(rune('0'+i))
			if i < len(c.Attestations) {
				want := c.Attestations[i]
				b.pass, b.check = want.Expect == "pass", want.Check
				b.also = append(slices.Clone(c.AlsoFails), c.Check)
			}
			add(b, a.Bundle)
		}
	}
	return all
}

// checkSteps says which steps the corpus means by a check.
var checkSteps = map[string]func(*Verification) []Step{
	"format":           func(v *Verification) []Step { return []Step{v.Format} },
	"cert-chain":       func(v *Verification) []Step { return []Step{v.Chain, v.CT} },
	"timestamp":        func(v *Verification) []Step { return []Step{v.Time} },
	"signature":        func(v *Verification) []Step { return []Step{v.Signature} },
	"integrity":        func(v *Verification) []Step { return []Step{v.Signature} },
	"transparency-log": func(v *Verification) []Step { return []Step{v.Log} },
}

func TestCorpus(t *testing.T) {
	dir := corpusDir(t)
	verdicts := map[bool]int{}
	for _, b := range corpusBundles(t, dir) {
		t.Run(b.name, func(t *testing.T) {
			mayFail := append(slices.Clone(b.also), b.check)
			root, err := ParseTrustedRoot(b.root)
			if err != nil {
				if b.pass || !slices.Contains(mayFail, "format") && !slices.Contains(mayFail, "transparency-log") {
					t.Fatal(err)
				}
				t.Log(err)
				verdicts[false]++
				return
			}
			bundle, err := ParseBundle(b.data)
			if err != nil {
				if b.pass || !slices.Contains(mayFail, "format") {
					t.Fatalf("ParseBundle: %v; want check %s to fail", err, b.check)
				}
				t.Log(err)
				verdicts[false]++
				return
			}
			v := root.Verify(bundle, b.options)
			verdicts[v.OK()]++
			for name, step := range v.steps() {
				if step.Status != Held && step.Status != NotApplicable {
					t.Logf("%s: %+v", name, step)
				}
				if step.Status == NotDone || step.Status == Held && step.Reason != "" || step.Status != Held && step.Reason == "" {
					t.Errorf("%s: step is %+v", name, step)
				}
			}
			switch {
			case b.noCheck:
			case b.check == "format" && bundle.Message != nil && b.options.Artifact == nil:
				// npm's format is an envelope, Sigstore's is not.
			case b.pass && !v.OK():
				t.Errorf("does not verify, but should")
			case !b.pass && v.OK():
				t.Errorf("verifies, but check %s should fail", b.check)
			case !b.pass && checkSteps[b.check] != nil && !v.fails(b.check):
				// Some files are told by a wish ("format: has a root certificate") that real bundles do not
				// fulfil either; what else is wrong with them has to show. And a file of a private instance may
				// be named for its failure under the default root.
				public, err := ParseTrustedRoot(readCorpus(t, dir, "trust/public-good/trusted_root.json"))
				if err != nil {
					t.Fatal(err)
				}
				if !(b.check == "format" && slices.ContainsFunc(b.also, v.fails)) && !public.Verify(bundle, b.options).fails(b.check) {
					t.Errorf("check %s should fail", b.check)
				}
			}
		})
	}
	t.Logf("%d bundles verify, %d do not", verdicts[true], verdicts[false])
}

// fails reports whether one of the steps that the corpus means by a check failed.
func (v *Verification) fails(check string) bool {
	return checkSteps[check] != nil && slices.ContainsFunc(checkSteps[check](v), func(s Step) bool {
		return s.Status == Failed || s.Status == Undecided
	})
}

// steps returns the steps by name.
func (v *Verification) steps() map[string]Step {
	return map[string]Step{
		"Format": v.Format, "Chain": v.Chain, "CT": v.CT, "Time": v.Time, "Signature": v.Signature, "Log": v.Log,
	}
}

// TestCorpusTrustedRoots reads every trusted root of the corpus, and asks sigstore-go whether it would.
func TestCorpusTrustedRoots(t *testing.T) {
	dir := corpusDir(t)
	n := 0
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() || !strings.Contains(d.Name(), "trusted_root") || !strings.Contains(d.Name(), ".json") {
			return err
		}
		data, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		n++
		data = firstRoot(data)
		_, ours := ParseTrustedRoot(data)
		_, theirs := root.NewTrustedRootFromJSON(data)
		if (ours == nil) != (theirs == nil) {
			t.Errorf("%s: here %v, sigstore-go %v", path, ours, theirs)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("%d trusted roots", n)
}

package verify_test

import (
	"bufio"
	"encoding/json"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"assay/internal/evidence"
	"assay/internal/npm"
	"assay/internal/sigstore"
	"assay/internal/trust"
	"assay/internal/verify"
)

// findCorpus returns the folder of real attestations and signatures, and whether it is there.
func findCorpus() (string, bool) {
	dir := os.Getenv("ASSAY_CORPUS")
	if dir == "" {
		dir = filepath.Join("..", "..", "..", "shared", "corpus")
	}
	_, err := os.Stat(filepath.Join(dir, "cases.jsonl"))
	return dir, err == nil
}

// corpus returns the same folder, or skips with a word where it is not there.
func corpus(t testing.TB) string {
	t.Helper()
	dir, ok := findCorpus()
	if !ok {
		t.Skip("the corpus of real attestations is not here (ASSAY_CORPUS or ../shared/corpus)")
	}
	return dir
}

func read(t testing.TB, parts ...string) []byte {
	t.Helper()
	b, err := os.ReadFile(filepath.Join(parts...))
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// realTrust is npm's keys and a trusted root.
func realTrust(t testing.TB, root, keys []byte) verify.Trust {
	t.Helper()
	tr := verify.Trust{KeyState: verify.KeysKnown}
	var err error
	if tr.Root, err = sigstore.ParseTrustedRoot(root); err != nil {
		t.Fatal(err)
	}
	list, err := npm.ParseKeys(keys)
	if err != nil {
		t.Fatal(err)
	}
	for _, k := range list {
		tr.Keys = append(tr.Keys, verify.RegistryKey{Key: k, Registries: []string{trust.NPMRegistry}})
	}
	return tr
}

type corpusCase struct {
	ID, Kind, File, Package, Version, SHA512 string
	Expect, Check                            string
	AlsoFails                                []string
	Trust, TrustedRoot, Tarball              string
	SourceRepository, Identity               string
	Attestations                             []struct{ PredicateType, Expect, Check string }
}

func corpusCases(t testing.TB, dir string) []corpusCase {
	t.Helper()
	file, err := os.Open(filepath.Join(dir, "cases.jsonl"))
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	var cases []corpusCase
	sc := bufio.NewScanner(file)
	sc.Buffer(nil, 1<<20)
	for sc.Scan() {
		var c corpusCase
		if err := json.Unmarshal(sc.Bytes(), &c); err != nil {
			t.Fatal(err)
		}
		cases = append(cases, c)
	}
	if err := sc.Err(); err != nil {
		t.Fatal(err)
	}
	return cases
}

// checkOf maps the corpus's short names of checks to ours: any of those may be the one that fails.
var checkOf = map[string][]string{
	"format":           {"bundle-format", "evidence-complete"},
	"cert-chain":       {"certificate-chain", "certificate-transparency"},
	"timestamp":        {"signing-time"},
	"signature":        {"envelope-signature"},
	"transparency-log": {"transparency-log"},
	"identity":         {"workflow-identity"},
	"subject":          {"subject"},
	"integrity":        {"tarball-integrity"},
}

// TestCorpusAnswers runs every registry answer and npm bundle of the corpus as a user would give it with
// --bundle: the verdict has to be the stated one, for the stated reason.
func TestCorpusAnswers(t *testing.T) {
	dir := corpus(t)
	root, keys := read(t, dir, "trust/public-good/trusted_root.json"), read(t, dir, "trust/npm/keys-tuf.json")
	usual := realTrust(t, root, keys)
	count := 0
	for _, c := range corpusCases(t, dir) {
		if c.Kind != "api" && c.Kind != "bundle" || c.Package == "" {
			continue
		}
		count++
		t.Run(c.ID, func(t *testing.T) {
			tr := usual
			if c.Trust != "" {
				tr = realTrust(t, read(t, dir, c.Trust), keys)
			}
			in := verify.Input{
				Package: verify.Package{ID: npm.ID{Name: c.Package, Version: c.Version}, Registry: trust.NPMRegistry},
				Evidence: &evidence.Evidence{
					Attestations: served(read(t, dir, c.File)),
				},
				Trust:   tr,
				Options: verify.Options{BundleGiven: true},
			}
			if c.SHA512 == "" && c.Expect == "pass" {
				c.SHA512 = firstDigest(t, in.Evidence.Attestations.Body) // the tarball is nowhere to be had
			}
			if c.SHA512 != "" {
				in.Evidence.Tarball = &evidence.Tarball{SHA512: hexDigest(c.SHA512)}
			}
			o := verify.Run(in)
			if c.Expect == "pass" {
				// A bare publish attestation alone names no publisher: nothing fails, and that is all.
				want := verify.Provenance
				if len(c.Attestations) == 0 && c.Identity == "" {
					want = verify.Unchecked
				}
				if o.Verdict != want {
					t.Errorf("verdict %s, want %s; failing: %s; errors: %s; skipped: %s", o.Verdict, want,
						failing(o, verify.Fail), failing(o, verify.Error), failing(o, verify.Skip))
				}
				if got := failing(o, verify.Fail); got != "" {
					t.Errorf("failing rows: %s", got)
				}
				if o.Publisher != nil && c.SourceRepository != "" && !strings.EqualFold(o.Publisher.Repository, c.SourceRepository) {
					t.Errorf("built from %s, want %s", o.Publisher.Repository, c.SourceRepository)
				}
				return
			}
			if o.Verdict != verify.Invalid {
				t.Errorf("verdict %s, want invalid", o.Verdict)
			}
			if ids := checkOf[c.Check]; len(ids) == 0 || !slices.ContainsFunc(ids, func(id string) bool { return row(t, o, id).Status == verify.Fail }) {
				t.Errorf("%v (%s) does not fail; failing: %s; errors: %s", ids, c.Check, failing(o, verify.Fail), failing(o, verify.Error))
			}
		})
	}
	if count == 0 {
		t.Fatal("the corpus holds no case of this kind")
	}
}

// firstDigest is the sha512 that the first statement of a file names.
func firstDigest(t testing.TB, file []byte) string {
	t.Helper()
	type bundle struct{ DSSEEnvelope struct{ Payload []byte } }
	var f struct {
		bundle
		Attestations []struct{ Bundle bundle }
	}
	if err := json.Unmarshal(file, &f); err != nil {
		t.Fatal(err)
	}
	payload := f.DSSEEnvelope.Payload
	if len(f.Attestations) > 0 {
		payload = f.Attestations[0].Bundle.DSSEEnvelope.Payload
	}
	s, err := sigstore.ParseStatement(payload)
	if err != nil {
		t.Fatal(err)
	}
	return s.Subject[0].Digest["sha512"]
}

// TestCorpusSignatures verifies every real registry signature, and demands that each fails once it is moved
// to another name, version, integrity or key.
func TestCorpusSignatures(t *testing.T) {
	dir := corpus(t)
	for _, form := range []string{"trust/npm/keys-tuf.json", "trust/npm/keys-registry-api.json"} {
		t.Run(filepath.Base(form), func(t *testing.T) {
			tr := realTrust(t, read(t, dir, "trust/public-good/trusted_root.json"), read(t, dir, form))
			ids := map[string]bool{}
			for _, k := range tr.Keys {
				ids[k.ID] = true
			}
			file, err := os.Open(filepath.Join(dir, "signatures.jsonl"))
			if err != nil {
				t.Fatal(err)
			}
			defer file.Close()
			sc := bufio.NewScanner(file)
			count := 0
			for sc.Scan() {
				var s struct {
					Name, Version, Integrity, PublishedTime string
					Signatures                              []struct{ Keyid, Sig string }
					Valid                                   bool
				}
				if err := json.Unmarshal(sc.Bytes(), &s); err != nil {
					t.Fatal(err)
				}
				count++
				signature := func(name, version, integrity, keyid string) verify.Result {
					sigs := []map[string]string{}
					for _, sig := range s.Signatures {
						id := sig.Keyid
						if keyid != "" {
							id = keyid
						}
						sigs = append(sigs, map[string]string{"keyid": id, "sig": sig.Sig})
					}
					doc := mustJSON(map[string]any{"name": name, "version": version, "dist": map[string]any{"integrity": integrity, "signatures": sigs}})
					ev := &evidence.Evidence{Document: served(doc)}
					if s.PublishedTime != "" {
						ev.Packument = served(mustJSON(map[string]any{"time": map[string]string{version: s.PublishedTime}}))
					}
					return row(t, verify.Run(verify.Input{
						Package: verify.Package{ID: npm.ID{Name: name, Version: version}, Registry: trust.NPMRegistry}, Evidence: ev, Trust: tr,
					}), "registry-signature")
				}
				want := verify.Pass
				if !s.Valid {
					want = verify.Fail
				}
				if got := signature(s.Name, s.Version, s.Integrity, ""); got.Status != want || got.Reason != "" && s.PublishedTime != "" {
					t.Fatalf("%s@%s: %s %s, want %s", s.Name, s.Version, got.Status, got.Reason, want)
				}
				otherKey := "SHA256:jl3bwswu80PjjokCgh0o2w5c2U4LhQAE57gj9cz1kzA"
				if s.Signatures[0].Keyid == otherKey {
					otherKey = "SHA256:DhQ8wR5APBvFHLF/+Tc+AYvPOdTpcIDqOhxsBHRwC7U"
				}
				for _, moved := range []verify.Result{
					signature(s.Name+"x", s.Version, s.Integrity, ""),
					signature(s.Name, s.Version+"-x", s.Integrity, ""),
					signature(s.Name, s.Version, "sha512-"+strings.Repeat("A", 86)+"==", ""),
					signature(s.Name, s.Version, s.Integrity, otherKey),
					signature(s.Name, s.Version, s.Integrity, "SHA256:unknown"),
				} {
					if moved.Status != verify.Fail {
						t.Fatalf("%s@%s moved: %s %s, want fail", s.Name, s.Version, moved.Status, moved.Reason)
					}
				}
			}
			if err := sc.Err(); err != nil || count == 0 {
				t.Fatalf("read %d signatures: %v", count, err)
			}
		})
	}
}

package trust

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/theupdateframework/go-tuf/v2/metadata"
	"github.com/theupdateframework/go-tuf/v2/metadata/trustedmetadata"

	"assay/internal/npm"
)

// corpus returns a reader of files below the corpus's folder trust.
func corpus(t *testing.T) func(name string) []byte {
	t.Helper()
	dir := os.Getenv("ASSAY_CORPUS")
	if dir == "" {
		dir = filepath.Join("..", "..", "..", "shared", "corpus")
	}
	dir = filepath.Join(dir, "trust")
	if _, err := os.Stat(dir); err != nil {
		t.Skipf("no corpus of real Sigstore data: %v (set ASSAY_CORPUS)", err)
	}
	return func(name string) []byte {
		t.Helper()
		data, err := os.ReadFile(filepath.Join(dir, filepath.FromSlash(name)))
		if err != nil {
			t.Fatal(err)
		}
		return data
	}
}

// publicGood is the public-good repository of summer 2026: roots from the given versions, and the rest.
func publicGood(t *testing.T, first, last int) *Metadata {
	read := corpus(t)
	m := &Metadata{
		Timestamp: read("public-good/tuf/timestamp.json"),
		Snapshot:  read("public-good/tuf/snapshot.json"),
		Targets:   read("public-good/tuf/targets.json"),
		Delegated: map[string][]byte{"registry.npmjs.org": read("public-good/tuf/registry.npmjs.org.json")},
		Files: map[string][]byte{
			rootTarget: read("public-good/trusted_root.json"),
			keysTarget: read("npm/keys-tuf.json"),
		},
	}
	for v := first; v <= last; v++ {
		m.Roots = append(m.Roots, read(fmt.Sprintf("public-good/tuf/root_history/%d.root.json", v)))
	}
	return m
}

func TestCorpusMetadata(t *testing.T) {
	for _, first := range []int{1, 5, 14, 15, 16} { // 16: no roots at all
		v, err := VerifyMetadata(publicGood(t, first, 15))
		if err != nil {
			t.Errorf("roots from %d: %v", first, err)
			continue
		}
		if !bytes.Equal(v.RootJSON, corpus(t)("public-good/trusted_root.json")) || !bytes.Equal(v.KeysJSON, corpus(t)("npm/keys-tuf.json")) {
			t.Errorf("roots from %d: other files", first)
		}
		if len(v.Roles) != 5 || v.Roles[1].Version != 762 || v.Roles[4].Name != "registry.npmjs.org" || v.Roles[4].Version != 8 {
			t.Errorf("roots from %d: roles %+v", first, v.Roles)
		}
	}
}

// TestCorpusRootWalk starts at each earlier root and walks to the last one. Roots 1 to 4 have their keys as
// bare points instead of PEM, which neither go-tuf nor Sigstore's own client reads: none of them can be a
// start. They are passed over where a later one is the start.
func TestCorpusRootWalk(t *testing.T) {
	read := corpus(t)
	root := func(v int) []byte { return read(fmt.Sprintf("public-good/tuf/root_history/%d.root.json", v)) }
	for first := 1; first <= 15; first++ {
		st, err := publicGood(t, 1, 15).verify(root(first), time.Time{}, []string{rootTarget, keysTarget})
		if first < 5 {
			if err == nil || !strings.Contains(err.Error(), "PEM") {
				t.Errorf("from root %d: %v, want that its keys cannot be read", first, err)
			}
			continue
		}
		if err != nil {
			t.Errorf("from root %d: %v", first, err)
		} else if st.roles[0].Version != 15 || len(st.metadata.Roots) != 16-first || len(st.files) != 2 {
			t.Errorf("from root %d: %+v, %d roots", first, st.roles, len(st.metadata.Roots))
		}
	}
	for missing := 6; missing < 15; missing++ {
		m := publicGood(t, 1, 15)
		m.Roots = append(m.Roots[:missing-1:missing-1], m.Roots[missing:]...)
		if _, err := m.verify(root(5), time.Time{}, nil); !errors.Is(err, &metadata.ErrRepository{}) {
			t.Errorf("walk without root %d: %v", missing, err)
		}
	}
	if _, err := publicGood(t, 1, 15).verify(read("public-good/tuf/root_history/14.root.json"),
		time.Date(2026, 11, 24, 0, 0, 0, 0, time.UTC), nil); !errors.Is(err, &metadata.ErrExpiredMetadata{}) {
		t.Errorf("in November 2026: %v, want expired", err)
	}
	if _, err := publicGood(t, 1, 15).verify(read("public-good/tuf/root_history/14.root.json"),
		time.Date(2026, 8, 27, 0, 0, 0, 0, time.UTC), []string{rootTarget}); err != nil {
		t.Errorf("in August 2026: %v", err)
	}
}

func TestCorpusForgeries(t *testing.T) {
	read := corpus(t)
	tests := []struct {
		name   string
		change func(m *Metadata)
	}{
		{"older-trusted-root", func(m *Metadata) {
			m.Files[rootTarget] = read("public-good/older/trusted_root-2025-01-21-36aee789.json")
		}},
		{"older-keys", func(m *Metadata) { m.Files[keysTarget] = read("npm/older/keys-tuf-2024-06-19-18181503.json") }},
		{"keys-of-the-endpoint", func(m *Metadata) { m.Files[keysTarget] = read("npm/keys-registry-api.json") }},
		{"staging", func(m *Metadata) {
			m.Roots = [][]byte{read("staging/tuf/root.json")}
			m.Timestamp, m.Snapshot, m.Targets = read("staging/tuf/timestamp.json"), read("staging/tuf/snapshot.json"), read("staging/tuf/targets.json")
			m.Files = map[string][]byte{rootTarget: read("staging/trusted_root.json")}
		}},
		{"staging-targets", func(m *Metadata) { m.Targets = read("staging/tuf/targets.json") }},
		{"edited-delegation", func(m *Metadata) {
			m.Targets = bytes.Replace(m.Targets, []byte("registry.npmjs.org/*"), []byte("registry.npmjs.com/*"), 1)
		}},
		{"edited-version", func(m *Metadata) {
			d := m.Delegated["registry.npmjs.org"]
			m.Delegated["registry.npmjs.org"] = bytes.Replace(d, []byte(`"version": 8`), []byte(`"version": 9`), 1)
		}},
	}
	for _, tt := range tests {
		m := publicGood(t, 14, 15)
		tt.change(m)
		if v, err := VerifyMetadata(m); err == nil {
			t.Errorf("%s verifies: %+v", tt.name, v.Roles)
		}
	}
}

// The files that npm's package carries are the repository's.
func TestCorpusEmbeddedFiles(t *testing.T) {
	read := corpus(t)
	if !bytes.Equal(embeddedFile("trusted_root.json"), read("public-good/trusted_root.json")) {
		t.Log("the embedded trusted root is not that of the corpus, which may be older")
	}
	for v := 14; v <= 15; v++ {
		if !bytes.Equal(embeddedFile(fmt.Sprintf("roots/%d.json", v)), read(fmt.Sprintf("public-good/tuf/root_history/%d.root.json", v))) {
			t.Errorf("embedded root %d differs from the repository's", v)
		}
	}
	if _, err := trustedmetadata.New(read("public-good/tuf/root.json")); err != nil {
		t.Error(err)
	}
}

func TestCorpusTrustedRoots(t *testing.T) {
	read := corpus(t)
	_, merged, err := ReadTrustedRoot(read("other/github-trusted_root.jsonl"))
	if err != nil {
		t.Fatal(err)
	}
	var got trustedRoot
	if err := json.Unmarshal(merged, &got); err != nil {
		t.Fatal(err)
	}
	if a, b := len(got.CertificateAuthorities), len(got.TimestampAuthorities); a != 8 || b != 7 || len(got.Tlogs) != 2 || len(got.Ctlogs) != 2 {
		t.Errorf("%d CAs, %d TSAs, %d logs, %d CT logs; want 8, 7, 2, 2", a, b, len(got.Tlogs), len(got.Ctlogs))
	}
	m := &Material{RootJSON: merged}
	s, err := m.Summary()
	if err != nil {
		t.Fatal(err)
	}
	if last := s.CertificateAuthorities[7]; !strings.HasPrefix(last.Subject, "GitHub, Inc.") {
		t.Errorf("last authority: %+v", last)
	}
	for _, name := range []string{"staging/trusted_root.json", "variants/java-trusted_root_with_multiple_tsas.json", "other/sigstore-go-scaffolding-trusted_root.json"} {
		if _, data, err := ReadTrustedRoot(read(name)); err != nil || !bytes.Equal(data, read(name)) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// The endpoint's keys and TUF's say the same.
func TestCorpusKeys(t *testing.T) {
	read := corpus(t)
	tuf, err := npm.ParseKeys(read("npm/keys-tuf.json"))
	if err != nil {
		t.Fatal(err)
	}
	endpoint, err := npm.ParseKeys(read("npm/keys-registry-api.json"))
	if err != nil {
		t.Fatal(err)
	}
	if d := Compare(tuf, endpoint); len(d) > 0 {
		t.Errorf("disagreements: %+v", d)
	}
	older, err := npm.ParseKeys(read("npm/older/keys-tuf-2024-06-19-18181503.json"))
	if err != nil {
		t.Fatal(err)
	}
	d := Compare(older, endpoint)
	if len(d) != 2 || d[0].Kind != DisagreeUnknownKey || d[1].Kind != DisagreeExpiry {
		t.Errorf("disagreements with the keys of 2024: %+v", d)
	}
}

package trust

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"encoding/json"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"assay/internal/npm"
)

// part cuts a trusted root down to some of its lists, on one line.
func part(t testing.TB, lists ...string) []byte {
	t.Helper()
	var root map[string]json.RawMessage
	if err := json.Unmarshal(rootFile(0), &root); err != nil {
		t.Fatal(err)
	}
	for _, name := range rootLists {
		if !slices.Contains(lists, name) {
			delete(root, name)
		}
	}
	data, err := json.Marshal(root)
	if err != nil {
		t.Fatal(err)
	}
	return append(data, '\n')
}

func TestReadTrustedRoot(t *testing.T) {
	all := rootLists
	join := func(docs ...[]byte) []byte { return bytes.Join(docs, nil) }
	tests := []struct {
		name, wantErr string
		data          []byte
		counts        [4]int // tlogs, CAs, CT logs, TSAs; of the merged root
	}{
		{name: "one", data: rootFile(0), counts: [4]int{2, 2, 2, 1}},
		{name: "one-and-newlines", data: rootFile(3), counts: [4]int{2, 2, 2, 1}},
		{name: "twice", data: join(part(t, all...), rootFile(0)), counts: [4]int{2, 2, 2, 1}},
		{name: "halves", data: join(part(t, "tlogs", "ctlogs"), part(t, "certificateAuthorities", "timestampAuthorities")), counts: [4]int{2, 2, 2, 1}},
		{name: "one-line-each", data: join(part(t, all...), part(t, all...), part(t, all...)), counts: [4]int{2, 2, 2, 1}},
		{name: "empty", data: nil, wantErr: "empty"},
		{name: "blank", data: []byte(" \n"), wantErr: "empty"},
		{name: "not-json", data: []byte("trusted"), wantErr: "not JSON"},
		{name: "cut-second", data: join(part(t, all...), part(t, all...)[:99]), wantErr: "not JSON"},
		{name: "second-is-a-list", data: join(part(t, all...), []byte("[]")), wantErr: "2 of 2: not an object"},
		{name: "second-is-a-bundle", data: join(part(t, all...), []byte(`{"mediaType":"application/vnd.dev.sigstore.bundle.v0.3+json"}`)), wantErr: "media type"},
		{name: "second-without-media-type", data: join(part(t, all...), []byte(`{}`)), wantErr: "media type"},
		{name: "list-is-none", data: join(part(t, all...), []byte(`{"mediaType":"application/vnd.dev.sigstore.trustedroot+json;version=0.1","tlogs":{}}`)), wantErr: "tlogs is not a list"},
		{name: "unknown-field", data: join(part(t, all...), []byte(`{"mediaType":"application/vnd.dev.sigstore.trustedroot+json;version=0.1","clocks":[]}`)), wantErr: `"clocks" is not known`},
		{name: "too-many", data: bytes.Repeat([]byte("{}\n"), maxMerged+1), wantErr: "more than"},
		{name: "too-large", data: make([]byte, maxRootFile+1), wantErr: "larger"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			root, data, err := ReadTrustedRoot(tt.data)
			if tt.wantErr != "" {
				if err == nil || !strings.Contains(err.Error(), tt.wantErr) {
					t.Fatalf("error %v, want %q", err, tt.wantErr)
				}
				return
			}
			if err != nil || root == nil {
				t.Fatal(root, err)
			}
			if strings.HasPrefix(tt.name, "one") && tt.name != "one-line-each" && !bytes.Equal(data, tt.data) {
				t.Error("a single root's bytes were changed")
			}
			var got trustedRoot
			if err := json.Unmarshal(data, &got); err != nil {
				t.Fatal(err)
			}
			if counts := [4]int{len(got.Tlogs), len(got.CertificateAuthorities), len(got.Ctlogs), len(got.TimestampAuthorities)}; counts != tt.counts {
				t.Errorf("logs, CAs, CT logs, TSAs: %v, want %v", counts, tt.counts)
			}
			_, again, err := ReadTrustedRoot(data)
			if err != nil || !bytes.Equal(again, data) {
				t.Errorf("the merged root is not read as it stands: %v", err)
			}
		})
	}
}

func FuzzReadTrustedRoot(f *testing.F) {
	f.Add(rootFile(0))
	f.Add(append(part(f, rootLists...), part(f, "tlogs")...))
	f.Add([]byte(`{"mediaType":"application/vnd.dev.sigstore.trustedroot+json;version=0.1"}{"mediaType":"application/vnd.dev.sigstore.trustedroot+json;version=0.1","tlogs":[1,null,"\ud800"]}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		_, merged, err := ReadTrustedRoot(data)
		if err != nil {
			return
		}
		if _, again, err := ReadTrustedRoot(merged); err != nil || !bytes.Equal(merged, again) {
			t.Errorf("what was read is not read the same again: %v", err)
		}
	})
}

func FuzzMergeRoots(f *testing.F) {
	f.Add(part(f, rootLists...), part(f, "tlogs"))
	f.Add([]byte(`{"mediaType":"application/vnd.dev.sigstore.trustedroot+json;version=0.1","tlogs":[{"a":"\u003c"},1]}`),
		[]byte(`{"mediaType":"application/vnd.dev.sigstore.trustedroot.v0.2+json","tlogs":[ 1 , {"a":"<"}],"ctlogs":null}`))
	f.Fuzz(func(t *testing.T, a, b []byte) {
		merged, err := mergeRoots([]json.RawMessage{a, b})
		if err != nil {
			return
		}
		if !json.Valid(merged) {
			t.Fatalf("merging %q and %q gives %q", a, b, merged)
		}
		again, err := mergeRoots([]json.RawMessage{merged, merged})
		if err != nil || !bytes.Equal(merged, again) {
			t.Errorf("merging the merged root with itself gives %q, not %q: %v", again, merged, err)
		}
	})
}

func FuzzDecodeMetadata(f *testing.F) {
	good, err := (&Metadata{
		Roots: embeddedRoots(), Timestamp: []byte("{}"), Snapshot: []byte("{}"), Targets: []byte("{}"),
		Delegated: map[string][]byte{"registry.npmjs.org": []byte("{}")}, Files: map[string][]byte{rootTarget: rootFile(0)},
	}).Encode()
	if err != nil {
		f.Fatal(err)
	}
	f.Add(good)
	f.Add([]byte(`{"schema":"assay/tuf/v1","roots":[null,"","e30="]}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		m, err := DecodeMetadata(data)
		if err != nil {
			return
		}
		if v, err := VerifyMetadata(m); err == nil {
			t.Errorf("verifies: %+v", v)
		}
		out, err := m.Encode()
		if err != nil {
			t.Fatal(err)
		}
		again, err := DecodeMetadata(out)
		if err != nil {
			t.Fatal(err)
		}
		if out2, err := again.Encode(); err != nil || !bytes.Equal(out, out2) {
			t.Errorf("encoding is not stable: %v", err)
		}
	})
}

func TestDecodeMetadata(t *testing.T) {
	for _, tt := range []struct{ data, wantErr string }{
		{``, "reading TUF metadata"},
		{`{"schema":"assay/tuf/v2"}`, "not known"},
		{`{"schema":"assay/tuf/v1","roots":[1]}`, "reading TUF metadata"},
		{strings.Repeat(" ", maxMetadata+1), "larger"},
		{`{"schema":"assay/tuf/v1"}`, ""},
	} {
		m, err := DecodeMetadata([]byte(tt.data))
		if tt.wantErr == "" && err == nil {
			if _, err := VerifyMetadata(m); err == nil {
				t.Error("empty metadata verifies")
			}
		} else if err == nil || !strings.Contains(err.Error(), tt.wantErr) {
			t.Errorf("DecodeMetadata(%.40q): %v, want %q", tt.data, err, tt.wantErr)
		}
	}
	many := &Metadata{Roots: make([][]byte, maxRoots+1)}
	large := &Metadata{Snapshot: make([]byte, maxRole+1)}
	for _, m := range []*Metadata{many, large} {
		if _, err := VerifyMetadata(m); err == nil {
			t.Error("metadata beyond the bounds verifies")
		}
	}
}

func TestCompare(t *testing.T) {
	pub := func() *ecdsa.PublicKey {
		key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
		if err != nil {
			t.Fatal(err)
		}
		return &key.PublicKey
	}
	old, current, other := pub(), pub(), pub()
	end := time.Date(2025, 1, 29, 0, 0, 0, 0, time.UTC)
	tuf := []npm.Key{
		{ID: "old", Usage: "npm:signatures", Public: old, Start: end.AddDate(-20, 0, 0), End: end},
		{ID: "old", Usage: "npm:attestations", Public: old, End: end.AddDate(0, 1, 0)},
		{ID: "new", Usage: "npm:signatures", Public: current, Start: end},
		{ID: "new", Usage: "npm:attestations", Public: current},
	}
	served := func(keys ...npm.Key) []npm.Key { return keys }
	a := npm.Key{ID: "old", Public: old, End: end}
	b := npm.Key{ID: "new", Public: current}
	tests := []struct {
		name     string
		endpoint []npm.Key
		want     []Disagreement
	}{
		{"agree", served(a, b), nil},
		{"order", served(b, a), nil},
		{"other-zone", served(b, npm.Key{ID: "old", Public: old, End: end.In(time.FixedZone("", 3600))}), nil},
		{"nothing", nil, []Disagreement{
			{DisagreeAbsentKey, "new", npm.KeyID(current), ""}, {DisagreeAbsentKey, "old", npm.KeyID(old), ""}}},
		{"absent", served(b), []Disagreement{{DisagreeAbsentKey, "old", npm.KeyID(old), ""}}},
		{"unknown", served(a, b, npm.Key{ID: "x", Public: other}), []Disagreement{{DisagreeUnknownKey, "x", "", npm.KeyID(other)}}},
		{"other-key", served(a, npm.Key{ID: "new", Public: other}), []Disagreement{
			{DisagreeOtherKey, "new", npm.KeyID(current), npm.KeyID(other)}}},
		{"never-expires", served(npm.Key{ID: "old", Public: old}, b), []Disagreement{
			{DisagreeExpiry, "old", "2025-01-29T00:00:00Z", "never"}}},
		{"expires-earlier", served(a, npm.Key{ID: "new", Public: current, End: end}), []Disagreement{
			{DisagreeExpiry, "new", "never", "2025-01-29T00:00:00Z"}}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if diff := cmp.Diff(tt.want, Compare(tuf, tt.endpoint)); diff != "" {
				t.Errorf("Compare (-want +got):\n%s", diff)
			}
		})
	}
	if got := Compare(nil, nil); got != nil {
		t.Errorf("Compare(nil, nil) = %v", got)
	}
	attestationsOnly := []npm.Key{{ID: "new", Usage: "npm:attestations", Public: current, End: end}}
	if got := Compare(attestationsOnly, served(npm.Key{ID: "new", Public: current, End: end})); got != nil {
		t.Errorf("a key for attestations only: %v", got)
	}
}

func TestSummary(t *testing.T) {
	m, err := Load(t.Context(), Options{Offline: true})
	if err != nil {
		t.Fatal(err)
	}
	s, err := m.Summary()
	if err != nil {
		t.Fatal(err)
	}
	var logs, cas []string
	for _, l := range s.Logs {
		logs = append(logs, strings.Join([]string{l.URL, strconv.Itoa(l.Version), l.Key, l.Start.Format(time.RFC3339)}, " "))
	}
	if diff := cmp.Diff([]string{
		"https://rekor.sigstore.dev 1 PKIX_ECDSA_P256_SHA_256 2021-01-12T11:53:27Z",
		"https://log2025-1.rekor.sigstore.dev 2 PKIX_ED25519 2025-09-23T00:00:00Z",
	}, logs[:2]); diff != "" {
		t.Errorf("logs (-want +got):\n%s", diff)
	}
	for _, a := range slices.Concat(s.CertificateAuthorities, s.TimestampAuthorities) {
		cas = append(cas, a.Subject)
		if len(a.Certificates) == 0 || len(a.Certificates[0]) != 64 || a.Start.IsZero() || a.URL == "" {
			t.Errorf("authority %+v", a)
		}
	}
	if diff := cmp.Diff([]string{"sigstore.dev, sigstore", "sigstore.dev, sigstore", "sigstore.dev, sigstore-tsa-selfsigned"}, cas[:3]); diff != "" {
		t.Errorf("authorities (-want +got):\n%s", diff)
	}
	if len(s.CTLogs) < 2 || s.CTLogs[0].Version != 0 || s.CTLogs[0].ID != "086092f02852ff6845d1d16b27849c456718ac163dc338d26de6bc2206366f72" {
		t.Errorf("CT logs %+v", s.CTLogs)
	}
	if len(s.RegistryKeys) != 4 || s.RegistryKeys[0].Usage == "" || s.RegistryKeys[0].End.IsZero() {
		t.Errorf("registry keys %+v", s.RegistryKeys)
	}
	if s.Root.Origin != OriginEmbedded || !s.Root.Stale || len(s.Roles) != 1 {
		t.Errorf("root %+v, roles %+v", s.Root, s.Roles)
	}
	if _, err := json.Marshal(s); err != nil {
		t.Error(err)
	}
	if _, err := (&Material{RootJSON: []byte("[]")}).Summary(); err == nil {
		t.Error("a list is described as a trusted root")
	}
}

// What one machine exports gives another the same trust, without a network.
func TestExport(t *testing.T) {
	w := newWorld(t)
	m := w.load(t)
	dir := filepath.Join(t.TempDir(), "export")
	files, err := m.Export(dir)
	if err != nil {
		t.Fatal(err)
	}
	want := []string{filepath.Join(dir, ExportedRoot), filepath.Join(dir, ExportedKeys), filepath.Join(dir, ExportedMetadata)}
	if diff := cmp.Diff(want, files); diff != "" {
		t.Fatalf("files (-want +got):\n%s", diff)
	}
	w.down = true
	o := w.opts
	o.TrustedRootFile, o.KeysFile, o.CacheDir = files[0], files[1], ""
	there, err := Load(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(there.RootJSON, m.RootJSON) || !bytes.Equal(there.KeysJSON, m.KeysJSON) {
		t.Error("the exported files are not the ones in use")
	}
	data, err := os.ReadFile(files[2])
	if err != nil {
		t.Fatal(err)
	}
	md, err := DecodeMetadata(data)
	if err != nil {
		t.Fatal(err)
	}
	if v, err := verifyMetadata(md, [][]byte{w.Root(1)}); err != nil || !bytes.Equal(v.RootJSON, m.RootJSON) {
		t.Errorf("the exported metadata does not vouch for the root: %v", err)
	}

	// The way back: what was read from files is exported without metadata, and an older export's is removed.
	files, err = there.Export(dir)
	if err != nil || len(files) != 2 {
		t.Errorf("Export of files: %q, %v", files, err)
	}
	if _, err := os.Stat(want[2]); !os.IsNotExist(err) {
		t.Errorf("the older export's metadata is still there: %v", err)
	}
	blocked := filepath.Join(dir, ExportedRoot, "below")
	if _, err := m.Export(blocked); err == nil {
		t.Error("Export into a file succeeds")
	}
}

package evidence

import (
	"bytes"
	"compress/gzip"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"reflect"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"assay/internal/npm"
)

const archiveRegistry = "https://registry.example.com"

// archiveTime is when the archives of these tests were made.
var archiveTime = time.Date(2026, 11, 25, 3, 0, 0, 0, time.UTC)

// recorded is a recorder that heard of two packages: one with everything there can be, and one that nothing could be had of.
func recorded(t testing.TB) (*Recorder, *Evidence, Request) {
	t.Helper()
	full := &Evidence{
		ID: npm.ID{Name: "@acme/left", Version: "1.0.0"}, Registry: archiveRegistry, Authenticated: true,
		Document:     Answer{State: Served, Status: 200, Body: []byte(`{"dist":{"attestations":{}}}`), At: archiveTime},
		Attestations: Answer{State: Served, Status: 200, Body: []byte(`{"attestations":[]}`), At: archiveTime.Add(time.Second)},
		Packument:    Answer{State: Served, Status: 200, Body: []byte(`{"time":{}}`), At: archiveTime.Add(-time.Second)},
		Earlier:      []Earlier{{Document: []byte(`{"dist":{"signatures":[]}}`), Attestations: []byte(`{"attestations":[1]}`), At: archiveTime.Add(-time.Hour)}},
		Tarball: &Tarball{
			URL: archiveRegistry + "/left.tgz", Size: 7, Manifest: []byte(`{"name":"@acme/left"}`), Problem: ProblemTrailing, Gyp: true,
			SHA512: bytes.Repeat([]byte{1}, 64), SHA384: bytes.Repeat([]byte{2}, 48), SHA256: bytes.Repeat([]byte{3}, 32), SHA1: bytes.Repeat([]byte{4}, 20),
			Files: map[string]File{
				"index.js":        {Size: 3, SHA256: sha256.Sum256([]byte("a"))},
				"bin/\xff\"odd":   {Size: 4, SHA256: sha256.Sum256([]byte("b")), Shebang: sha256.Sum256([]byte("c"))},
				"link":            {Size: -1},
				"same":            {Size: 2, SHA256: sha256.Sum256([]byte("f")), Shebang: sha256.Sum256([]byte("f"))},
				"hex:6869":        {Size: 1, SHA256: sha256.Sum256([]byte("d"))},
				"with<html>&.txt": {Size: 5, SHA256: sha256.Sum256([]byte("e"))},
			},
		},
	}
	req := Request{
		ID: full.ID, Registry: archiveRegistry, WantPackument: true,
		Tarball: func([]byte) (string, []string) {
			return full.Tarball.URL, []string{"sha384", "sha256", "sha1", WithFiles}
		},
	}
	r := NewRecorder()
	r.collected(req, full)
	r.collected(Request{ID: npm.ID{Name: "gone", Version: "2.0.0"}, Registry: archiveRegistry}, &Evidence{
		Authenticated: true, Document: Answer{State: Unavailable, Status: 500, Reason: "http-status", Detail: "the server answered 500", At: archiveTime},
	})
	r.asked(archiveRegistry, Answer{State: Served, Status: 200, Body: []byte(`{"keys":[]}`), At: archiveTime})
	return r, full, req
}

func archiveOf(t testing.TB) *Archive {
	t.Helper()
	r, _, _ := recorded(t)
	a, err := r.Archive(ArchiveOptions{
		Tool: "assay test", Named: func(string) bool { return true },
		Trust: ArchivedTrust{
			Root: TrustFile{Origin: "tuf", Location: "https://tuf.example.com", At: archiveTime, Body: []byte(`{"root":1}`)},
			Keys: TrustFile{Origin: "tuf", At: archiveTime, Stale: true, Reason: "offline", Detail: "no network", Body: []byte(`{"keys":[1]}`)},
			Metadata: &TrustMetadata{
				Roots: [][]byte{[]byte("r1"), []byte("r2"), []byte("r1")}, Timestamp: []byte("ts"), Snapshot: []byte("sn"), Targets: []byte("ta"),
				Delegated: map[string][]byte{"registry.npmjs.org": []byte("de")}, Files: map[string][]byte{"trusted_root.json": []byte(`{"root":1}`)},
			},
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { a.Close() })
	err = a.AddAudit(ArchivedAudit{Subjects: []string{"package-lock.json"}, Request: []byte("{}"), Report: []byte("report"), Settings: ArchiveSettings{Omit: []string{}, Workspaces: []string{}}})
	if err != nil {
		t.Fatal(err)
	}
	return a
}

func written(t testing.TB, a *Archive) []byte {
	t.Helper()
	var b bytes.Buffer
	if err := a.Write(&b); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func readBack(t testing.TB, data []byte) *Archive {
	t.Helper()
	a, err := ReadArchive(bytes.NewReader(data))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { a.Close() })
	return a
}

// TestArchiveRoundTrip: what was handed out is handed out again, every field of it, and the file is the same when it is
// written once more.
func TestArchiveRoundTrip(t *testing.T) {
	made := archiveOf(t)
	data := written(t, made)
	a := readBack(t, data)
	if again := written(t, a); !bytes.Equal(data, again) {
		t.Error("written again, it is another file")
	}
	if !IsArchive(bytes.NewReader(data)) || IsArchive(bytes.NewReader(data[:20])) || IsArchive(strings.NewReader("no")) {
		t.Error("an archive is not told from another file")
	}
	_, want, req := recorded(t)
	c := NewCollector(CollectorOptions{Archive: a})
	got := c.Collect(t.Context(), req)
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("other evidence (-want +got):\n%s", diff)
	}
	// Nothing is left out because it was empty here.
	for _, v := range []any{*want, *want.Tarball, want.Document, want.Earlier[0]} {
		for i, value := 0, reflect.ValueOf(v); i < value.NumField(); i++ {
			name := value.Type().Field(i).Name
			if value.Field(i).IsZero() && !slices.Contains([]string{"Keys", "Installed", "Lenders", "Takers", "FromCache", "URL", "Reason", "Detail", "Bundled"}, name) {
				t.Errorf("%T.%s is not tried", v, name)
			}
		}
	}
	gone := c.Collect(t.Context(), Request{ID: npm.ID{Name: "gone", Version: "2.0.0"}, Registry: archiveRegistry})
	if gone.Document.State != Unavailable || gone.Document.Reason != "http-status" || gone.Document.Detail != "the server answered 500" {
		t.Errorf("%+v", gone.Document)
	}
	if k := c.Keys(t.Context(), archiveRegistry); k.State != Served || string(k.Body) != `{"keys":[]}` {
		t.Errorf("%+v", k)
	}
	wantTrust, err := made.Trust()
	if err != nil {
		t.Fatal(err)
	}
	gotTrust, err := a.Trust()
	if diff := cmp.Diff(wantTrust, gotTrust); err != nil || diff != "" {
		t.Errorf("other trust (-want +got): %v\n%s", err, diff)
	}
	audit, err := a.Audit()
	if err != nil || audit == nil || string(audit.Report) != "report" {
		t.Errorf("%+v, %v", audit, err)
	}
	if !a.ServesKeys([]byte(`{"keys":[]}`)) || a.ServesKeys([]byte(`{"keys":[] }`)) {
		t.Error("which keys a registry served is not told")
	}
	if !a.At().Equal(archiveTime.Add(time.Second)) || !a.Named(archiveRegistry) || a.Named("https://other.example.com") {
		t.Errorf("at %v", a.At())
	}
	s := a.Summary("x")
	if len(s.Packages) != 2 || s.Size != int64(len(data)) || len(s.SHA512) != 128 || s.Pieces == 0 || s.Packages[0].Tarballs[0].Size != 7 {
		t.Errorf("%+v", s)
	}
}

// What was not asked is not in the archive, and that is no absence.
func TestArchiveLacks(t *testing.T) {
	a := readBack(t, written(t, archiveOf(t)))
	c := NewCollector(CollectorOptions{Archive: a})
	left := npm.ID{Name: "@acme/left", Version: "1.0.0"}
	tarball := func(url string, digests ...string) func([]byte) (string, []string) {
		return func([]byte) (string, []string) { return url, digests }
	}
	for name, got := range map[string]Answer{
		"another package":  c.Collect(t.Context(), Request{ID: npm.ID{Name: "other", Version: "1.0.0"}, Registry: archiveRegistry}).Document,
		"another version":  c.Collect(t.Context(), Request{ID: npm.ID{Name: "@acme/left", Version: "1.0.1"}, Registry: archiveRegistry}).Document,
		"another registry": c.Collect(t.Context(), Request{ID: left, Registry: "https://other.example.com"}).Document,
		"other keys":       c.Keys(t.Context(), "https://other.example.com"),
	} {
		if got.State != Unavailable || got.Reason != ReasonNotInArchive {
			t.Errorf("%s: %+v", name, got)
		}
	}
	for _, url := range []string{archiveRegistry + "/other.tgz"} {
		got := c.Collect(t.Context(), Request{ID: left, Registry: archiveRegistry, Tarball: tarball(url)}).Tarball
		if got.Reason != ReasonNotInArchive || got.SHA512 != nil {
			t.Errorf("%+v", got)
		}
	}
	// A digest that was not computed is missing, and no other stands in for it.
	r := NewRecorder()
	r.collected(Request{ID: left, Registry: archiveRegistry}, &Evidence{
		Authenticated: true, Document: Answer{State: Served, Status: 200, Body: []byte("{}"), At: archiveTime},
		Tarball: &Tarball{URL: "u", SHA512: make([]byte, 64)},
	})
	b, err := r.Archive(ArchiveOptions{Named: func(string) bool { return false }, Trust: ArchivedTrust{Root: TrustFile{Body: []byte{}}}})
	if err != nil {
		t.Fatal(err)
	}
	defer b.Close()
	c = NewCollector(CollectorOptions{Archive: b})
	for _, digest := range []string{"sha1", WithFiles} {
		if got := c.Collect(t.Context(), Request{ID: left, Registry: archiveRegistry, Tarball: tarball("u", digest)}).Tarball; got.Reason != ReasonNotInArchive {
			t.Errorf("%s: %+v", digest, got)
		}
	}
	ev := c.Collect(t.Context(), Request{ID: left, Registry: archiveRegistry, WantPackument: true, Expected: true})
	if ev.Attestations.Reason != ReasonNotInArchive || ev.Packument.Reason != ReasonNotInArchive {
		t.Errorf("%+v", ev)
	}
	if ev = c.Collect(t.Context(), Request{ID: left, Registry: archiveRegistry}); ev.Attestations.State != NotAsked {
		t.Errorf("%+v", ev.Attestations)
	}
}

// TestArchiveEveryByte flips a bit of every byte, and cuts the file at every length. What is read all
// the same has the same content.
func TestArchiveEveryByte(t *testing.T) {
	data := written(t, archiveOf(t))
	content := readBack(t, data).file.content
	same := 0
	for i := range data {
		for _, bit := range []byte{1 << (i % 8)} {
			broken := bytes.Clone(data)
			broken[i] ^= bit
			a, err := ReadArchive(bytes.NewReader(broken))
			if err == nil {
				same++ // bits after the end of the compressed data, before the next byte
				if !bytes.Equal(a.file.content, content) {
					t.Fatalf("byte %d: other content, and no error", i)
				}
				a.Close()
				continue
			}
			var damage *ArchiveError
			if i >= 3 && (!errors.As(err, &damage) || damage.Piece == "") {
				t.Fatalf("byte %d: the damage has no name: %v", i, err)
			}
			if i < 3 && !errors.Is(err, ErrNotArchive) {
				t.Fatalf("byte %d: %v", i, err)
			}
		}
		if a, err := ReadArchive(bytes.NewReader(data[:i])); err == nil {
			a.Close()
			t.Fatalf("%d bytes of %d are read", i, len(data))
		}
	}
	if same > len(data)/50 { // bits that say nothing, such as the lengths of codes that are not used
		t.Errorf("%d changes pass", same)
	}
}

// A tarEntry is an entry as an attacker writes it.
type tarEntry struct {
	header [tarBlock]byte
	body   []byte
}

// unpackTar reads what Write made, without the last entry.
func unpackTar(t testing.TB, data []byte) []tarEntry {
	t.Helper()
	z, err := gzip.NewReader(bytes.NewReader(data))
	if err != nil {
		t.Fatal(err)
	}
	raw, err := io.ReadAll(z)
	if err != nil {
		t.Fatal(err)
	}
	var entries []tarEntry
	for len(raw) > 2*tarBlock {
		var e tarEntry
		copy(e.header[:], raw)
		var size int64
		fmt.Sscanf(string(raw[124:135]), "%o", &size)
		e.body = raw[tarBlock : tarBlock+size]
		raw = raw[tarBlock+size+padding(size):]
		entries = append(entries, e)
	}
	return entries[:len(entries)-1]
}

// packTar packs entries with the right digest at the end.
func packTar(t testing.TB, entries []tarEntry) []byte {
	t.Helper()
	var raw bytes.Buffer
	for _, e := range entries {
		raw.Write(e.header[:])
		raw.Write(e.body)
		raw.Write(blank[:padding(int64(len(e.body)))])
	}
	sum := sha256.Sum256(raw.Bytes())
	end := []byte(hex.EncodeToString(sum[:]) + "\n")
	h := tarHeader(contentName, int64(len(end)))
	raw.Write(h[:])
	raw.Write(end)
	raw.Write(blank[:padding(int64(len(end)))])
	raw.Write(blank[:])
	return gzipped(t, raw.Bytes())
}

func gzipped(t testing.TB, raw []byte) []byte {
	t.Helper()
	var b bytes.Buffer
	z, err := gzip.NewWriterLevel(&b, gzip.BestCompression)
	if err != nil {
		t.Fatal(err)
	}
	z.Write(raw)
	z.Close()
	return b.Bytes()
}

// TestHostileArchives are made anew with all checksums right.
func TestHostileArchives(t *testing.T) {
	data := written(t, archiveOf(t))
	if !bytes.Equal(packTar(t, unpackTar(t, data)), data) {
		t.Fatal("repacked, it is another file")
	}
	index := func(change func(s string) string) func([]tarEntry) []tarEntry {
		return func(e []tarEntry) []tarEntry {
			e[0].body = []byte(change(string(e[0].body)))
			e[0].header = tarHeader(indexName, int64(len(e[0].body)))
			return e
		}
	}
	replace := func(old, new string) func([]tarEntry) []tarEntry {
		return index(func(s string) string {
			if !strings.Contains(s, old) {
				t.Fatalf("the index has no %s", old)
			}
			return strings.Replace(s, old, new, 1)
		})
	}
	header := func(i int, change func(h *[tarBlock]byte)) func([]tarEntry) []tarEntry {
		return func(e []tarEntry) []tarEntry {
			change(&e[i].header)
			sum := 8 * int(' ')
			copy(e[i].header[148:156], "        ")
			for j, c := range e[i].header {
				if j < 148 || j >= 156 {
					sum += int(c)
				}
			}
			copy(e[i].header[148:], fmt.Sprintf("%06o\x00 ", sum))
			return e
		}
	}
	for _, tt := range []struct {
		name   string
		change func([]tarEntry) []tarEntry
		want   string
	}{
		{"a piece left out", func(e []tarEntry) []tarEntry { return slices.Delete(e, 3, 4) }, "missing"},
		{"the last piece left out", func(e []tarEntry) []tarEntry { return e[:len(e)-1] }, "missing"},
		{"a piece twice", func(e []tarEntry) []tarEntry { return slices.Insert(e, 3, e[3]) }, "missing"},
		{"two pieces in the other order", func(e []tarEntry) []tarEntry { e[3], e[4] = e[4], e[3]; return e }, "missing"},
		{"a piece too many", func(e []tarEntry) []tarEntry {
			body := []byte("more")
			return append(e, tarEntry{tarHeader(pieceDir+refOf(body).SHA256, 4), body})
		}, "does not belong"},
		{"another file too many", func(e []tarEntry) []tarEntry { return append(e, tarEntry{tarHeader("README", 0), nil}) }, "missing"},
		{"the index twice", func(e []tarEntry) []tarEntry { return slices.Insert(e, 1, e[0]) }, "missing"},
		{"no index", func(e []tarEntry) []tarEntry { return e[1:] }, "no evidence archive"},
		{"a link", header(2, func(h *[tarBlock]byte) { h[156] = '2'; copy(h[157:], "/etc/passwd") }), "not as it is written"},
		{"a directory", header(2, func(h *[tarBlock]byte) { h[156] = '5' }), "not as it is written"},
		{"an extended header", header(2, func(h *[tarBlock]byte) { h[156] = 'x' }), "not as it is written"},
		{"an absolute path", header(2, func(h *[tarBlock]byte) { copy(h[:100], "/"+string(h[:99])) }), "missing"},
		{"a path upwards", header(2, func(h *[tarBlock]byte) { copy(h[:100], "../../x\x00") }), "missing"},
		{"a prefix", header(2, func(h *[tarBlock]byte) { copy(h[345:], "../..") }), "not as it is written"},
		{"a mode", header(2, func(h *[tarBlock]byte) { copy(h[100:], "0004755") }), "not as it is written"},
		{"another size", header(2, func(h *[tarBlock]byte) { copy(h[124:], "00000000001") }), "not as it is written"},
		{"the index with a mode", header(0, func(h *[tarBlock]byte) { copy(h[100:], "0004755") }), "its index"},
		{"a piece of other bytes", func(e []tarEntry) []tarEntry {
			e[4].body = bytes.Clone(e[4].body)
			e[4].body[0] ^= 1
			return e
		}, "do not hash"},
		{"white space", index(func(s string) string { return " " + s }), "spelled"},
		{"no newline", index(func(s string) string { return strings.TrimSuffix(s, "\n") }), "spelled"},
		{"an unknown member", replace(`"tool":`, `"more":1,"tool":`), "unknown"},
		{"a member twice", replace(`"tool":`, `"schema":"assay/evidence/v1","tool":`), "duplicate"},
		{"another schema", replace("assay/evidence/v1", "assay/other/v1"), "not known"},
		{"a later version", replace("assay/evidence/v1", "assay/evidence/v9"), `form "assay/evidence/v9"`},
		{"a served answer without bytes", replace(`"state":"unavailable","status":500,"reason":"http-status"`, `"state":"served","status":500,"reason":"http-status"`), "does not look it"},
		{"an absence with a reason", replace(`"state":"unavailable"`, `"state":"absent"`), "does not look it"},
		{"an unknown state", replace(`"state":"unavailable"`, `"state":"perhaps"`), "state"},
		{"an unsorted list", replace(`"name":"@acme/left"`, `"name":"zzz"`), "not in its place"},
		{"a package twice", replace(`"name":"gone","version":"2.0.0"`, `"name":"@acme/left","version":"1.0.0"`), "twice"},
		{"a digest in capitals", index(func(s string) string {
			i := strings.Index(s, `"sha256":"`) + len(`"sha256":"`)
			return s[:i] + strings.ToUpper(s[i:i+64]) + s[i+64:]
		}), "not the digest"},
		{"a short digest", replace(`"sha512":"01`, `"sha512":"`), "not the digest"},
		{"an empty name", replace(`"name":"gone"`, `"name":""`), "without a name"},
		{"a negative size", replace(`"size":7`, `"size":-7`), "tarball"},
		{"no trusted root", replace(`"body":{"sha256"`, `"body":null,"x":{"sha256"`), ""},
		{"not JSON", index(func(string) string { return "{" }), "its index"},
		{"empty elements without end", index(func(s string) string {
			return `{"schema":"assay/evidence/v1","packages":[` + strings.Repeat("{},", 4_000_000) + `{}]}`
		}), "without a name"},
		{"empty tarballs without end", index(func(s string) string {
			return `{"schema":"assay/evidence/v1","packages":[{"tarballs":[` + strings.Repeat("{},", 4_000_000) + `{}]}]}`
		}), "tarball"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			hostile := packTar(t, tt.change(unpackTar(t, data)))
			var before, after runtime.MemStats
			runtime.ReadMemStats(&before)
			a, err := ReadArchive(bytes.NewReader(hostile))
			runtime.ReadMemStats(&after)
			if err == nil {
				a.Close()
				t.Fatal("it is read")
			}
			if !strings.Contains(err.Error(), tt.want) {
				t.Errorf("%v, want %q", err, tt.want)
			}
			if grown := after.TotalAlloc - before.TotalAlloc; grown > 300<<20 {
				t.Errorf("%d MiB were taken", grown>>20)
			}
		})
	}
}

// TestArchiveBombs: what unpacks to more than it is worth ends early, in little memory.
func TestArchiveBombs(t *testing.T) {
	h := tarHeader(indexName, maxIndex)
	zeros := make([]byte, 60<<20)
	big := tarHeader(indexName, maxIndex+1)
	for name, raw := range map[string][]byte{
		"an index of zeros":     append(h[:], zeros...),
		"an index too large":    big[:],
		"announced and missing": h[:],
		"nothing but zeros":     zeros,
	} {
		t.Run(name, func(t *testing.T) {
			a, err := ReadArchive(bytes.NewReader(gzipped(t, raw)))
			if err == nil {
				a.Close()
				t.Fatal("it is read")
			}
		})
	}
	// Behind a whole archive, and after its end.
	data := written(t, archiveOf(t))
	if _, err := ReadArchive(io.MultiReader(bytes.NewReader(data), bytes.NewReader(data))); err == nil || !strings.Contains(err.Error(), "something follows") {
		t.Errorf("two in one file: %v", err)
	}
	endless := &endlessReader{}
	if _, err := ReadArchive(io.MultiReader(bytes.NewReader(data[:len(data)-40]), endless)); err == nil || endless.n > 1<<20 {
		t.Errorf("%d bytes of what never ends were read: %v", endless.n, err)
	}
	failing := io.MultiReader(bytes.NewReader(data[:len(data)/2]), errReader{})
	var damage *ArchiveError
	if _, err := ReadArchive(failing); err == nil || errors.As(err, &damage) || !strings.Contains(err.Error(), "disk on fire") {
		t.Errorf("a disk's error is the archive's: %v", err)
	}
}

type endlessReader struct{ n int64 }

func (r *endlessReader) Read(p []byte) (int, error) {
	clear(p)
	r.n += int64(len(p))
	return len(p), nil
}

type errReader struct{}

func (errReader) Read([]byte) (int, error) { return 0, errors.New("disk on fire") }

// Many pieces go to a file, which leaves nothing behind.
func TestLargeArchive(t *testing.T) {
	if testing.Short() {
		t.Skip("it compresses 40 MiB")
	}
	dir := t.TempDir()
	t.Setenv("TMPDIR", dir)
	r := NewRecorder()
	for i := range 20 {
		body := bytes.Repeat([]byte(fmt.Sprintf("%08d", i)), 2<<20/8)
		id := npm.ID{Name: fmt.Sprintf("big%d", i), Version: "1.0.0"}
		r.collected(Request{ID: id, Registry: archiveRegistry}, &Evidence{Authenticated: true, Document: Answer{State: Served, Status: 200, Body: body, At: archiveTime}})
	}
	a, err := r.Archive(ArchiveOptions{Named: func(string) bool { return false }, Trust: ArchivedTrust{Root: TrustFile{Body: []byte("{}")}}})
	if err != nil {
		t.Fatal(err)
	}
	data := written(t, a)
	b := readBack(t, data)
	ev := NewCollector(CollectorOptions{Archive: b}).Collect(t.Context(), Request{ID: npm.ID{Name: "big7", Version: "1.0.0"}, Registry: archiveRegistry})
	if ev.Document.State != Served || len(ev.Document.Body) != 2<<20 {
		t.Errorf("%+.200v", ev.Document)
	}
	if a.pieces.file == nil || b.pieces.file == nil {
		t.Error("everything is in memory")
	}
	if err := errors.Join(a.Close(), b.Close()); err != nil {
		t.Error(err)
	}
}

// TestMergeArchives: the order does not matter, nor how often one is named, and what is newer counts.
func TestMergeArchives(t *testing.T) {
	never := func(a, b ArchivedTrust) (ArchivedTrust, error) { return a, errors.New("the trust is the same") }
	one := func(t interface{ Fatal(...any) }, packages map[string]*Evidence) *Archive {
		r := NewRecorder()
		for name, ev := range packages {
			r.collected(Request{ID: npm.ID{Name: name, Version: "1.0.0"}, Registry: archiveRegistry}, ev)
		}
		a, err := r.Archive(ArchiveOptions{Tool: "assay test", Named: func(string) bool { return false }, Trust: ArchivedTrust{Root: TrustFile{Body: []byte("{}")}}})
		if err != nil {
			t.Fatal(err)
		}
		return a
	}
	answers := []Answer{
		{},
		{State: Unavailable, Reason: "timeout", Detail: "late"},
		{State: Absent, Status: 404, At: archiveTime},
		{State: Served, Status: 200, Body: []byte(`{"dist":{"signatures":[1]}}`), At: archiveTime.Add(time.Hour)},
		{State: Served, Status: 200, Body: []byte(`{"dist":{"signatures":[1]}}`), At: archiveTime.Add(3 * time.Hour)},
		{State: Served, Status: 200, Body: []byte(`{"dist":{"attestations":{}}}`), At: archiveTime.Add(2 * time.Hour)},
	}
	rapid.Check(t, func(t *rapid.T) {
		draw := func() map[string]*Evidence {
			packages := map[string]*Evidence{}
			for _, name := range []string{"a", "b"} {
				if !rapid.Bool().Draw(t, name) {
					continue
				}
				packages[name] = &Evidence{
					Authenticated: true, Document: rapid.SampledFrom(answers).Draw(t, "document"), Attestations: rapid.SampledFrom(answers).Draw(t, "attestations"),
				}
				if rapid.Bool().Draw(t, "tarball") {
					packages[name].Tarball = &Tarball{URL: "u", SHA512: bytes.Repeat([]byte{byte(rapid.IntRange(0, 1).Draw(t, "digest"))}, 64)}
				}
			}
			return packages
		}
		x, y := one(t, draw()), one(t, draw())
		merge := func(archives ...*Archive) string {
			m, err := MergeArchives(never, archives...)
			if err != nil {
				t.Fatal(err)
			}
			defer m.Close()
			var b bytes.Buffer
			if err := m.Write(&b); err != nil {
				t.Fatal(err)
			}
			again, err := ReadArchive(bytes.NewReader(b.Bytes()))
			if err != nil {
				t.Fatal(err)
			}
			again.Close()
			return b.String()
		}
		var alone bytes.Buffer
		if err := x.Write(&alone); err != nil {
			t.Fatal(err)
		}
		if merge(x) != alone.String() || merge(x, x) != alone.String() {
			t.Error("one archive, or twice, does not give itself")
		}
		if merge(x, y) != merge(y, x) || merge(x, y) != merge(x, y, x) {
			t.Error("the order matters, or how often one is named")
		}
	})
	if _, err := MergeArchives(never); err == nil {
		t.Error("nothing was merged")
	}

	served := func(body string, hours int) Answer {
		return Answer{State: Served, Status: 200, Body: []byte(body), At: archiveTime.Add(time.Duration(hours) * time.Hour)}
	}
	attested := one(t, map[string]*Evidence{"a": {Authenticated: true, Document: served(`{"dist":{"attestations":{}}}`, 1), Attestations: served(`{"attestations":[1]}`, 1)}})
	stripped := one(t, map[string]*Evidence{"a": {Authenticated: true, Document: served(`{"dist":{"signatures":[1]}}`, 2)}})
	m, err := MergeArchives(never, attested, stripped)
	if err != nil {
		t.Fatal(err)
	}
	defer m.Close()
	ev := NewCollector(CollectorOptions{Archive: m}).Collect(t.Context(), Request{ID: npm.ID{Name: "a", Version: "1.0.0"}, Registry: archiveRegistry})
	if !strings.Contains(string(ev.Document.Body), "signatures") || ev.Attestations.State != NotAsked || len(ev.Earlier) != 1 || string(ev.Earlier[0].Attestations) != `{"attestations":[1]}` {
		t.Errorf("what was stripped is forgotten: %+v", ev)
	}
	other := one(t, nil)
	other.index.Trust.Root.Origin = "file"
	if _, err := MergeArchives(never, attested, other); err == nil {
		t.Error("different trust was merged without asking")
	}
}

// What is imported is never this machine's own word, and is remembered.
func TestImportArchive(t *testing.T) {
	a := readBack(t, written(t, archiveOf(t)))
	dir := t.TempDir()
	now := func() time.Time { return archiveTime.Add(time.Hour) }
	if n, err := a.Import(dir, now); err != nil || n != 1 {
		t.Fatalf("%d packages, %v", n, err)
	}
	s, err := OpenStore(StoreOptions{Dir: dir, Key: bytes.Repeat([]byte{7}, KeySize), Now: now})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	e, authenticated := s.entry(subject{archiveRegistry, "@acme/left", "1.0.0"})
	if e == nil || authenticated || e.document.state != Served || e.tarball != nil || len(e.earlier) != 1 {
		t.Fatalf("%+v, authenticated: %t", e, authenticated)
	}
	offline := NewCollector(CollectorOptions{Store: s, Now: now})
	ev := offline.Collect(t.Context(), Request{ID: npm.ID{Name: "@acme/left", Version: "1.0.0"}, Registry: archiveRegistry})
	if !ev.FromCache || ev.Authenticated {
		t.Errorf("%+v", ev)
	}
	if k := offline.Keys(t.Context(), archiveRegistry); k.State != Unavailable {
		t.Errorf("keys were imported: %+v", k)
	}
}

func FuzzReadArchive(f *testing.F) {
	data := written(f, archiveOf(f))
	f.Add(data)
	f.Add(data[:len(data)/2])
	f.Add([]byte{})
	entries := unpackTar(f, data)
	f.Add(packTar(f, entries[:2]))
	f.Fuzz(func(t *testing.T, data []byte) {
		a, err := ReadArchive(bytes.NewReader(data))
		if err != nil {
			return
		}
		defer a.Close()
		again := readBack(t, written(t, a))
		if !bytes.Equal(again.file.content, a.file.content) {
			t.Error("written again, it has other content")
		}
	})
}

// FuzzArchiveIndex: an index that is read is written as it was, and what it says can be asked for without harm.
func FuzzArchiveIndex(f *testing.F) {
	data := written(f, archiveOf(f))
	f.Add(unpackTar(f, data)[0].body)
	f.Add([]byte(`{"schema":"assay/evidence/v1"}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		x, err := decodeIndex(data)
		if err != nil {
			return
		}
		again, err := x.encode()
		if err != nil || !bytes.Equal(again, data) {
			t.Errorf("another spelling: %v", err)
		}
		a := &Archive{index: *x, pieces: newPieces()}
		a.link()
		a.Summary("x")
		c := NewCollector(CollectorOptions{Archive: a})
		for _, p := range x.Packages {
			c.Collect(t.Context(), Request{
				ID: npm.ID{Name: p.Name, Version: p.Version}, Registry: p.Registry, WantPackument: true, Expected: true,
				Tarball: func([]byte) (string, []string) { return "u", []string{WithFiles} },
			})
		}
	})
}

func FuzzArchivedFiles(f *testing.F) {
	f.Add([]byte(`[{"path":"a","size":1,"sha256":"` + strings.Repeat("00", 32) + `"}]`))
	f.Fuzz(func(t *testing.T, data []byte) {
		parseFiles(data)
	})
}

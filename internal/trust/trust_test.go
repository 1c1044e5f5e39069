package trust

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/sigstore/sigstore-go/pkg/tuf"
	"github.com/theupdateframework/go-tuf/v2/metadata"
	"github.com/theupdateframework/go-tuf/v2/metadata/trustedmetadata"

	"assay/internal/trust/tuftest"
)

const keysTarget = "registry.npmjs.org/keys.json"

// A world is a TUF repository on loopback and a client's options for it.
type world struct {
	*tuftest.Repo
	opts   Options
	server *httptest.Server
	clock  time.Time
	down   bool // no connection is made
}

// rootFile and keysFile are variants of the embedded files, the same in meaning but not in bytes.
func rootFile(variant int) []byte {
	return append(slices.Clone(embeddedFile("trusted_root.json")), strings.Repeat("\n", variant)...)
}

func keysFile(variant int) []byte {
	return append(slices.Clone(embeddedFile("keys.json")), strings.Repeat("\n", variant)...)
}

func newWorld(t *testing.T) *world {
	t.Helper()
	w := &world{clock: time.Now()}
	var err error
	if w.Repo, err = tuftest.New(w.clock); err != nil {
		t.Fatal(err)
	}
	w.publish(t, 1)
	w.server = httptest.NewServer(w.Repo)
	t.Cleanup(w.server.Close)
	w.opts = Options{
		CacheDir: t.TempDir(), TUFURL: w.server.URL, TUFRoot: w.Root(1),
		Now: func() time.Time { return w.clock }, Timeout: time.Minute,
		Transport: roundTripper(func(r *http.Request) (*http.Response, error) {
			if w.down {
				return nil, errors.New("network is unreachable")
			}
			return http.DefaultTransport.RoundTrip(r)
		}),
	}
	return w
}

type roundTripper func(*http.Request) (*http.Response, error)

func (f roundTripper) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }

// publish makes the given variants of both files the repository's.
func (w *world) publish(t *testing.T, variant int) {
	t.Helper()
	for _, err := range []error{
		w.SetTarget(rootTarget, rootFile(variant)),
		w.SetTarget(keysTarget, keysFile(variant)),
		w.Publish(),
	} {
		if err != nil {
			t.Fatal(err)
		}
	}
}

func (w *world) load(t *testing.T) *Material {
	t.Helper()
	m, err := Load(t.Context(), w.opts)
	if err != nil {
		t.Fatal(err)
	}
	return m
}

// expect checks what was loaded: which variant, where from, and why it is stale, if it is.
func expect(t *testing.T, m *Material, variant int, origin Origin, reason string) {
	t.Helper()
	for _, s := range []Source{m.RootSource, m.KeysSource} {
		if s.Origin != origin || s.Reason != reason || s.Stale != (reason != "") || s.Stale != (s.Detail != "") {
			t.Errorf("source is %+v, want origin %q, reason %q", s, origin, reason)
		}
	}
	if m.Root == nil || len(m.Keys) != 4 {
		t.Errorf("root %v, %d keys", m.Root, len(m.Keys))
	}
	if origin == OriginEmbedded {
		variant = 0
	}
	if !bytes.Equal(m.RootJSON, rootFile(variant)) {
		t.Errorf("trusted root is not variant %d", variant)
	}
	if !bytes.Equal(m.KeysJSON, keysFile(variant)) {
		t.Errorf("keys are not variant %d", variant)
	}
}

func notes(m *Material) (codes []string) {
	for _, n := range m.Notes {
		codes = append(codes, n.Code)
	}
	return codes
}

// cacheFiles lists the cache's JSON files.
func (w *world) cacheFile(t *testing.T) string {
	t.Helper()
	names, err := filepath.Glob(filepath.Join(w.opts.CacheDir, "tuf", "*.json"))
	if err != nil || len(names) != 1 {
		t.Fatalf("cache files: %v, %v", names, err)
	}
	return names[0]
}

func TestRefreshOnceADay(t *testing.T) {
	w := newWorld(t)
	expect(t, w.load(t), 1, OriginTUF, "")
	if got, want := len(w.Requests()), 7; got != want {
		t.Errorf("first run made %d requests, want %d", got, want)
	}
	w.publish(t, 2)
	w.clock = w.clock.Add(23 * time.Hour)
	m := w.load(t)
	expect(t, m, 1, OriginTUF, "")
	if got := w.Requests(); len(got) != 0 {
		t.Errorf("second run within the day asked for %q", got)
	}
	if m.RootSource.Age != 23*time.Hour {
		t.Errorf("age is %v, want 23h", m.RootSource.Age)
	}
	w.clock = w.clock.Add(2 * time.Hour)
	expect(t, w.load(t), 2, OriginTUF, "")
	w.Requests()

	// Nothing new: the next root version that does not exist, and the timestamp.
	w.clock = w.clock.Add(25 * time.Hour)
	expect(t, w.load(t), 2, OriginTUF, "")
	if diff := cmp.Diff([]string{"2.root.json", "timestamp.json"}, w.Requests()); diff != "" {
		t.Errorf("requests of a refresh without news (-want +got):\n%s", diff)
	}
}

func TestExpiredCacheIsRefreshedAtOnce(t *testing.T) {
	w := newWorld(t)
	w.Expires[metadata.TIMESTAMP] = w.clock.Add(time.Hour)
	w.publish(t, 1)
	expect(t, w.load(t), 1, OriginTUF, "")
	w.Expires[metadata.TIMESTAMP] = w.clock.Add(100 * time.Hour)
	w.publish(t, 2)
	w.clock = w.clock.Add(2 * time.Hour)
	expect(t, w.load(t), 2, OriginTUF, "")
}

func TestWithoutCacheDirectory(t *testing.T) {
	w := newWorld(t)
	w.opts.CacheDir = ""
	expect(t, w.load(t), 1, OriginTUF, "")
	w.publish(t, 2)
	expect(t, w.load(t), 2, OriginTUF, "")
}

func TestUnwritableCache(t *testing.T) {
	w := newWorld(t)
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	w.opts.CacheDir = filepath.Join(file, "below")
	m := w.load(t)
	expect(t, m, 1, OriginTUF, "")
	if diff := cmp.Diff([]string{NoteCacheInvalid, NoteCacheUnwritable}, notes(m)); diff != "" {
		t.Errorf("notes (-want +got):\n%s", diff)
	}
}

func TestRootRotation(t *testing.T) {
	w := newWorld(t)
	expect(t, w.load(t), 1, OriginTUF, "")
	for range 3 {
		if err := w.RotateRoot(); err != nil {
			t.Fatal(err)
		}
	}
	w.publish(t, 2)
	w.clock = w.clock.Add(25 * time.Hour)
	m := w.load(t)
	expect(t, m, 2, OriginTUF, "")
	if m.Roles[0].Name != metadata.ROOT || m.Roles[0].Version != 4 {
		t.Errorf("roles: %+v, want root 4 first", m.Roles)
	}
	if len(m.Metadata.Roots) != 4 {
		t.Errorf("%d roots kept, want the chain of 4", len(m.Metadata.Roots))
	}
	// The chain in the cache leads from the start to the current root without a network.
	w.down = true
	w.clock = w.clock.Add(100 * 24 * time.Hour)
	expect(t, w.load(t), 2, OriginCache, reasonConnection)
	// And a refresh from the cache goes on where it ended.
	w.down = false
	w.clock = w.clock.Add(-100 * 24 * time.Hour)
	w.clock = w.clock.Add(48 * time.Hour)
	w.Requests()
	expect(t, w.load(t), 2, OriginTUF, "")
	if diff := cmp.Diff([]string{"5.root.json", "timestamp.json"}, w.Requests()); diff != "" {
		t.Errorf("requests (-want +got):\n%s", diff)
	}
}

// Each case damages a repository from which a good state is already cached, waits a day, and says why the
// cached state is used on.
func TestRefusedRefresh(t *testing.T) {
	flip := func(data []byte, old, new string) []byte {
		if !bytes.Contains(data, []byte(old)) {
			panic("nothing to flip")
		}
		return bytes.Replace(data, []byte(old), []byte(new), 1)
	}
	tests := []struct {
		name   string
		reason string
		damage func(t *testing.T, w *world)
	}{
		{"no-network", reasonConnection, func(t *testing.T, w *world) { w.down = true }},
		{"server-closed", reasonConnection, func(t *testing.T, w *world) { w.server.Close() }},
		{"expired-timestamp", reasonExpired, func(t *testing.T, w *world) {
			w.Expires[metadata.TIMESTAMP] = w.clock.Add(-time.Hour)
			w.publish(t, 2)
		}},
		{"expired-by-wall-clock", reasonExpired, func(t *testing.T, w *world) {
			w.Expires[metadata.TIMESTAMP] = time.Now().Add(-time.Hour)
			w.clock = w.clock.Add(-26 * time.Hour)
			w.publish(t, 2)
		}},
		{"expired-snapshot", reasonExpired, func(t *testing.T, w *world) {
			w.Expires[metadata.SNAPSHOT] = w.clock.Add(-time.Hour)
			w.publish(t, 2)
		}},
		{"expired-targets", reasonExpired, func(t *testing.T, w *world) {
			w.Expires[metadata.TARGETS] = w.clock.Add(-time.Hour)
			w.publish(t, 2)
		}},
		{"expired-delegated-role", reasonExpired, func(t *testing.T, w *world) {
			w.Expires[tuftest.Delegated] = w.clock.Add(-time.Hour)
			w.publish(t, 2)
		}},
		{"expired-root", reasonExpired, func(t *testing.T, w *world) {
			w.Expires[metadata.ROOT] = w.clock.Add(-time.Hour)
			if err := w.RenewRoot(3); err != nil {
				t.Fatal(err)
			}
			w.publish(t, 2)
		}},
		{"root-below-threshold", reasonSignature, func(t *testing.T, w *world) {
			if err := w.RenewRoot(1); err != nil {
				t.Fatal(err)
			}
		}},
		{"root-of-others", reasonSignature, func(t *testing.T, w *world) {
			other, err := tuftest.New(w.clock)
			if err != nil {
				t.Fatal(err)
			}
			if err := other.RenewRoot(3); err != nil {
				t.Fatal(err)
			}
			w.SetFile("2.root.json", other.Root(2))
		}},
		{"root-skips-a-version", reasonRollback, func(t *testing.T, w *world) {
			for range 2 {
				if err := w.RenewRoot(3); err != nil {
					t.Fatal(err)
				}
			}
			w.SetFile("2.root.json", w.Root(3))
		}},
		{"root-not-json", reasonMalformed, func(t *testing.T, w *world) { w.SetFile("2.root.json", []byte("<html>")) }},
		{"root-is-timestamp", reasonMalformed, func(t *testing.T, w *world) { w.SetFile("2.root.json", w.File("timestamp.json")) }},
		{"timestamp-404", reasonStatus, func(t *testing.T, w *world) { w.SetFile("timestamp.json", nil) }},
		{"timestamp-truncated", reasonMalformed, func(t *testing.T, w *world) {
			ts := w.File("timestamp.json")
			w.SetFile("timestamp.json", ts[:len(ts)/2])
		}},
		{"timestamp-edited", reasonSignature, func(t *testing.T, w *world) {
			w.publish(t, 2)
			ts := w.File("timestamp.json")
			w.SetFile("timestamp.json", flip(ts, `"version":3`, `"version":9`))
		}},
		{"timestamp-rollback", reasonRollback, func(t *testing.T, w *world) {
			old := w.File("timestamp.json")
			w.publish(t, 2)
			w.clock = w.clock.Add(time.Hour)
			if m, err := Update(t.Context(), w.opts); err != nil || !bytes.Equal(m.RootJSON, rootFile(2)) {
				t.Fatal("no update before the rollback:", err)
			}
			w.clock = w.clock.Add(25 * time.Hour)
			w.SetFile("timestamp.json", old)
		}},
		{"snapshot-404", reasonStatus, func(t *testing.T, w *world) {
			w.publish(t, 2)
			w.SetFile("3.snapshot.json", nil)
		}},
		{"snapshot-truncated", reasonMalformed, func(t *testing.T, w *world) {
			w.publish(t, 2)
			w.SetFile("3.snapshot.json", w.File("3.snapshot.json")[:99])
		}},
		{"snapshot-older", reasonRollback, func(t *testing.T, w *world) {
			w.publish(t, 2)
			w.SetFile("3.snapshot.json", w.File("2.snapshot.json"))
		}},
		{"targets-edited", reasonSignature, func(t *testing.T, w *world) {
			w.publish(t, 2)
			w.SetFile("3.targets.json", flip(w.File("3.targets.json"), `"length":6789`, `"length":6788`))
		}},
		{"delegated-role-404", reasonStatus, func(t *testing.T, w *world) {
			w.publish(t, 2)
			w.SetFile("3.registry.npmjs.org.json", nil)
		}},
		{"target-tampered", reasonHash, func(t *testing.T, w *world) {
			w.publish(t, 2)
			p := tuftest.TargetPath(rootTarget, rootFile(2))
			w.SetFile(p, bytes.Replace(rootFile(2), []byte("2021"), []byte("2031"), 1))
		}},
		{"keys-tampered", reasonHash, func(t *testing.T, w *world) {
			w.publish(t, 2)
			p := tuftest.TargetPath(keysTarget, keysFile(2))
			w.SetFile(p, bytes.Replace(keysFile(2), []byte("2025"), []byte("2035"), 1))
		}},
		{"target-too-long", reasonTooLarge, func(t *testing.T, w *world) {
			w.publish(t, 2)
			w.SetFile(tuftest.TargetPath(rootTarget, rootFile(2)), append(rootFile(2), ' '))
		}},
		{"target-404", reasonStatus, func(t *testing.T, w *world) {
			w.publish(t, 2)
			w.SetFile(tuftest.TargetPath(keysTarget, keysFile(2)), nil)
		}},
		{"trusted-root-removed", reasonMissing, func(t *testing.T, w *world) {
			if err := errors.Join(w.SetTarget(rootTarget, nil), w.Publish()); err != nil {
				t.Fatal(err)
			}
		}},
		{"endless-answer", reasonTooLarge, func(t *testing.T, w *world) {
			w.Hook = func(rw http.ResponseWriter, r *http.Request) bool {
				if r.URL.Path != "/timestamp.json" {
					return false
				}
				for range 1 << 12 {
					if _, err := rw.Write(make([]byte, 1<<12)); err != nil {
						break
					}
				}
				return true
			}
		}},
		{"hanging-headers", reasonTimeout, func(t *testing.T, w *world) {
			w.opts.Timeout = 200 * time.Millisecond
			w.Hook = func(rw http.ResponseWriter, r *http.Request) bool {
				<-r.Context().Done()
				return true
			}
		}},
		{"hanging-body", reasonTimeout, func(t *testing.T, w *world) {
			w.opts.Timeout = 200 * time.Millisecond
			w.Hook = func(rw http.ResponseWriter, r *http.Request) bool {
				if r.URL.Path != "/timestamp.json" {
					return false
				}
				rw.Write([]byte("{"))
				rw.(http.Flusher).Flush()
				<-r.Context().Done()
				return true
			}
		}},
		{"body-cut", reasonConnection, func(t *testing.T, w *world) {
			w.Hook = func(rw http.ResponseWriter, r *http.Request) bool {
				if r.URL.Path != "/timestamp.json" {
					return false
				}
				rw.Header().Set("Content-Length", "100")
				rw.Write([]byte("{"))
				return true
			}
		}},
		{"server-error", reasonStatus, func(t *testing.T, w *world) {
			w.Hook = func(rw http.ResponseWriter, r *http.Request) bool {
				http.Error(rw, "out of order", http.StatusBadGateway)
				return true
			}
		}},
		{"redirect-loop", reasonConnection, func(t *testing.T, w *world) {
			w.Hook = func(rw http.ResponseWriter, r *http.Request) bool {
				http.Redirect(rw, r, r.URL.Path, http.StatusFound)
				return true
			}
		}},
		{"endless-roots", reasonTooLarge, func(t *testing.T, w *world) {
			for range maxRequests {
				if err := w.RenewRoot(3); err != nil {
					t.Fatal(err)
				}
			}
		}},
	}
	for _, tt := range tests {
		if Reasons[tt.reason] == "" {
			t.Errorf("reason %s has no sentence", tt.reason)
		}
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			expect(t, w.load(t), 1, OriginTUF, "")
			w.clock = w.clock.Add(25 * time.Hour)
			tt.damage(t, w)
			variant := 1
			if tt.name == "timestamp-rollback" {
				variant = 2
			}
			if tt.name == "expired-by-wall-clock" { // nothing is due by the injected clock
				w.clock = w.clock.Add(time.Hour)
				m, err := Update(t.Context(), w.opts)
				var failed *RefreshError
				if !errors.As(err, &failed) || failed.Reason != tt.reason {
					t.Errorf("error %v, want reason %s", err, tt.reason)
				}
				expect(t, m, variant, OriginTUF, "")
				return
			}
			m := w.load(t)
			expect(t, m, variant, OriginCache, tt.reason)
			if strings.Contains(m.RootSource.Detail, "\n") {
				t.Errorf("detail is not one line: %q", m.RootSource.Detail)
			}
			if len(m.Notes) > 0 {
				t.Errorf("notes: %+v", m.Notes)
			}
			if s, ok := m.Stale(); !ok || s.Reason != tt.reason {
				t.Errorf("Stale() = %+v, %t", s, ok)
			}
			if s := m.RootSource; s.Age < time.Hour || s.At.IsZero() {
				t.Errorf("source does not tell its age: %+v", s)
			}

			// The same without a cache: a private repository has nothing to fall back to.
			w.opts.CacheDir = t.TempDir()
			m, err := Load(t.Context(), w.opts)
			var failed *RefreshError
			if tt.name != "timestamp-rollback" && tt.name != "snapshot-older" && !errors.As(err, &failed) {
				t.Errorf("without a cache: %+v, %v; want a *RefreshError", m, err)
			}
		})
	}
}

func TestForbiddenMeansNoNewerRoot(t *testing.T) {
	w := newWorld(t)
	w.Hook = func(rw http.ResponseWriter, r *http.Request) bool {
		if strings.HasSuffix(r.URL.Path, ".root.json") {
			http.Error(rw, "access denied", http.StatusForbidden)
			return true
		}
		return false
	}
	expect(t, w.load(t), 1, OriginTUF, "")
}

func TestRetriesOnce(t *testing.T) {
	w := newWorld(t)
	var mu sync.Mutex
	seen := make(map[string]bool)
	w.Hook = func(rw http.ResponseWriter, r *http.Request) bool {
		mu.Lock()
		defer mu.Unlock()
		if seen[r.URL.Path] {
			return false
		}
		seen[r.URL.Path] = true
		http.Error(rw, "try again", http.StatusServiceUnavailable)
		return true
	}
	expect(t, w.load(t), 1, OriginTUF, "")
}

func TestOffline(t *testing.T) {
	w := newWorld(t)
	expect(t, w.load(t), 1, OriginTUF, "")
	w.Requests()
	w.opts.Offline = true
	w.clock = w.clock.Add(time.Hour)
	expect(t, w.load(t), 1, OriginTUF, "") // no older than it would be with a network
	w.clock = w.clock.Add(24 * time.Hour)
	expect(t, w.load(t), 1, OriginCache, reasonOffline)
	w.clock = w.clock.Add(5 * 365 * 24 * time.Hour)
	expect(t, w.load(t), 1, OriginCache, reasonOffline)
	if m, err := Update(t.Context(), w.opts); err == nil || m == nil {
		t.Errorf("Update offline: %v, %v", m, err)
	}
	if got := w.Requests(); len(got) > 0 {
		t.Errorf("offline, yet asked for %q", got)
	}
	w.opts.CacheDir = t.TempDir()
	if m, err := Load(t.Context(), w.opts); err == nil {
		t.Errorf("private repository, offline, no cache: %+v", m)
	}
}

// Without a private root, the embedded files are what there is in the end.
func TestEmbeddedIsTheLastResort(t *testing.T) {
	w := newWorld(t)
	w.opts.TUFRoot = nil
	w.opts.Offline = true
	m := w.load(t)
	expect(t, m, 0, OriginEmbedded, reasonOffline)
	if m.RootSource.Location == "" || m.RootSource.At.IsZero() || m.RootSource.Age == 0 {
		t.Errorf("source does not tell where the files come from, and when: %+v", m.RootSource)
	}
	if m.Metadata != nil || len(m.Roles) != 1 || m.Roles[0].Version < 16 {
		t.Errorf("metadata %v, roles %+v", m.Metadata, m.Roles)
	}
	w.opts.Offline = false
	// This repository's signatures do not lead to the embedded root.
	expect(t, w.load(t), 0, OriginEmbedded, reasonSignature)
	w.down = true
	expect(t, w.load(t), 0, OriginEmbedded, reasonConnection)
	if !Embedded(m.RootJSON, m.KeysJSON) || Embedded(rootFile(1), nil) || Embedded(nil, keysFile(1)) || Embedded(nil, nil) {
		t.Error("Embedded does not tell embedded files from others")
	}
}

func TestFilesSwitchOffTUF(t *testing.T) {
	w := newWorld(t)
	dir := t.TempDir()
	rootPath, keysPath := filepath.Join(dir, "root"), filepath.Join(dir, "keys")
	for path, data := range map[string][]byte{rootPath: rootFile(7), keysPath: keysFile(8)} {
		if err := os.WriteFile(path, data, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	both := w.opts
	both.TrustedRootFile, both.KeysFile = rootPath, keysPath
	m, err := Load(t.Context(), both)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(m.RootJSON, rootFile(7)) || !bytes.Equal(m.KeysJSON, keysFile(8)) || m.Metadata != nil || len(m.Roles) > 0 {
		t.Errorf("material is not what the files hold: %+v", m)
	}
	if diff := cmp.Diff(Source{Origin: OriginFile, Location: rootPath}, m.RootSource); diff != "" {
		t.Errorf("root source (-want +got):\n%s", diff)
	}
	if _, err := Update(t.Context(), both); err != nil {
		t.Errorf("Update with both files: %v", err)
	}
	if got := w.Requests(); len(got) > 0 {
		t.Errorf("both files given, yet asked for %q", got)
	}

	only := w.opts
	only.TrustedRootFile = rootPath
	if m, err = Load(t.Context(), only); err != nil {
		t.Fatal(err)
	}
	if m.RootSource.Origin != OriginFile || m.KeysSource.Origin != OriginTUF || !bytes.Equal(m.KeysJSON, keysFile(1)) {
		t.Errorf("root %+v, keys %+v", m.RootSource, m.KeysSource)
	}
	for _, p := range w.Requests() {
		if strings.HasSuffix(p, ".trusted_root.json") {
			t.Errorf("root given, yet asked for %q", p)
		}
	}

	only = w.opts
	only.KeysFile = keysPath
	if m, err = Load(t.Context(), only); err != nil {
		t.Fatal(err)
	}
	if m.RootSource.Origin != OriginTUF || m.KeysSource.Origin != OriginFile || !bytes.Equal(m.RootJSON, rootFile(1)) {
		t.Errorf("root %+v, keys %+v", m.RootSource, m.KeysSource)
	}
}

// A cache that holds one of the files only, from a run where the other was given, is no use for both.
func TestCacheWithoutOneOfTheFiles(t *testing.T) {
	w := newWorld(t)
	path := filepath.Join(t.TempDir(), "keys")
	if err := os.WriteFile(path, keysFile(0), 0o600); err != nil {
		t.Fatal(err)
	}
	partial := w.opts
	partial.KeysFile = path
	if _, err := Load(t.Context(), partial); err != nil {
		t.Fatal(err)
	}
	m := w.load(t)
	expect(t, m, 1, OriginTUF, "")
	if len(m.Notes) > 0 {
		t.Errorf("notes: %+v", m.Notes)
	}
	if _, err := Load(t.Context(), partial); err != nil {
		t.Fatal(err)
	}
	w.opts.Offline = true
	expect(t, w.load(t), 1, OriginTUF, "")
}

func TestKeysTargetOfAnotherRegistry(t *testing.T) {
	w := newWorld(t)
	name, err := KeysTarget("https://npm.example:8443/team/npm/")
	if err != nil || name != "npm.example:8443/team/npm/keys.json" {
		t.Fatalf("KeysTarget = %q, %v", name, err)
	}
	w.opts.KeysTarget = name
	m := w.load(t)
	if m.KeysSource.Origin != OriginNone || len(m.Keys) != 0 || m.RootSource.Origin != OriginTUF {
		t.Errorf("keys %+v, root %+v", m.KeysSource, m.RootSource)
	}
	if err := errors.Join(w.SetTarget(name, keysFile(3)), w.Publish()); err != nil {
		t.Fatal(err)
	}
	if m, err = Update(t.Context(), w.opts); err != nil || m.KeysSource.Origin != OriginTUF || !bytes.Equal(m.KeysJSON, keysFile(3)) {
		t.Errorf("keys %+v, %v", m.KeysSource, err)
	}
	if _, err := KeysTarget("registry"); err == nil {
		t.Error("KeysTarget accepts a registry without host")
	}
}

func TestConcurrentLoads(t *testing.T) {
	w := newWorld(t)
	var wg sync.WaitGroup
	for range 16 {
		wg.Go(func() {
			m, err := Load(context.Background(), w.opts)
			if err != nil {
				t.Error(err)
				return
			}
			expect(t, m, 1, OriginTUF, "")
		})
	}
	wg.Wait()
	if got := len(w.Requests()); got != 7 {
		t.Errorf("16 loads made %d requests, want 7", got)
	}
}

// TestProcesses starts this test's program several times over, each loading the same trust.
func TestProcesses(t *testing.T) {
	w := newWorld(t)
	root := filepath.Join(t.TempDir(), "root.json")
	if err := os.WriteFile(root, w.Root(1), 0o600); err != nil {
		t.Fatal(err)
	}
	var wg sync.WaitGroup
	for range 5 {
		wg.Go(func() {
			cmd := exec.Command(os.Args[0])
			cmd.Env = append(os.Environ(), "ASSAY_TEST_LOAD="+strings.Join([]string{w.server.URL, w.opts.CacheDir, root}, "\n"))
			out, err := cmd.CombinedOutput()
			if err != nil || string(out) != "tuf false 4" {
				t.Errorf("process: %q, %v", out, err)
			}
		})
	}
	wg.Wait()
	if got := len(w.Requests()); got != 7 {
		t.Errorf("5 processes made %d requests, want 7", got)
	}
}

func TestMain(m *testing.M) {
	if env := os.Getenv("ASSAY_TEST_LOAD"); env != "" { // a child of TestProcesses
		arg := strings.Split(env, "\n")
		root, err := os.ReadFile(arg[2])
		if err != nil {
			panic(err)
		}
		got, err := Load(context.Background(), Options{TUFURL: arg[0], CacheDir: arg[1], TUFRoot: root})
		if err != nil {
			panic(err)
		}
		fmt.Print(got.RootSource.Origin, " ", got.RootSource.Stale, " ", len(got.Keys))
		os.Exit(0)
	}
	os.Exit(m.Run())
}

func TestCancelled(t *testing.T) {
	w := newWorld(t)
	w.load(t)
	w.clock = w.clock.Add(25 * time.Hour)
	ctx, cancel := context.WithCancel(t.Context())
	w.Hook = func(rw http.ResponseWriter, r *http.Request) bool {
		cancel()
		<-r.Context().Done()
		return true
	}
	if m, err := Load(ctx, w.opts); !errors.Is(err, context.Canceled) {
		t.Errorf("Load, cancelled: %+v, %v", m, err)
	}
}

func TestRedirects(t *testing.T) {
	w := newWorld(t)
	mirror := httptest.NewServer(http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		http.Redirect(rw, r, w.server.URL+strings.TrimPrefix(r.URL.Path, "/tuf"), http.StatusFound)
	}))
	defer mirror.Close()
	w.opts.TUFURL = mirror.URL + "/tuf/"
	expect(t, w.load(t), 1, OriginTUF, "")

	secure := httptest.NewTLSServer(http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		http.Redirect(rw, r, w.server.URL+r.URL.Path, http.StatusFound)
	}))
	defer secure.Close()
	w.opts.TUFURL, w.opts.Transport = secure.URL, secure.Client().Transport
	if m, err := Load(t.Context(), w.opts); err == nil || !strings.Contains(err.Error(), "redirect from https to http") {
		t.Errorf("redirect from https to http: %+v, %v", m, err)
	}
}

// A process that holds the lock and hangs must not hold up others for longer than a refresh may take.
func TestLockedCache(t *testing.T) {
	w := newWorld(t)
	expect(t, w.load(t), 1, OriginTUF, "")
	o := w.opts
	if err := o.fill(); err != nil {
		t.Fatal(err)
	}
	unlock, err := o.lock(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	w.opts.Timeout = 100 * time.Millisecond
	w.clock = w.clock.Add(25 * time.Hour)
	expect(t, w.load(t), 1, OriginCache, reasonTimeout)
	unlock()
	w.opts.Timeout = time.Minute
	expect(t, w.load(t), 1, OriginTUF, "")
}

// tamper rewrites the cache file.
func (w *world) tamper(t *testing.T, change func(*cacheFile)) {
	t.Helper()
	data, err := os.ReadFile(w.cacheFile(t))
	if err != nil {
		t.Fatal(err)
	}
	var f cacheFile
	if err := json.Unmarshal(data, &f); err != nil {
		t.Fatal(err)
	}
	change(&f)
	if data, err = json.Marshal(f); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(w.cacheFile(t), data, 0o600); err != nil {
		t.Fatal(err)
	}
}

func TestTamperedCache(t *testing.T) {
	evil := func(t *testing.T, now time.Time) (*tuftest.Repo, *Metadata) {
		r, err := tuftest.New(now)
		if err != nil {
			t.Fatal(err)
		}
		if err := errors.Join(r.SetTarget(rootTarget, rootFile(66)), r.SetTarget(keysTarget, keysFile(66)), r.Publish()); err != nil {
			t.Fatal(err)
		}
		return r, &Metadata{
			Roots: [][]byte{r.Root(1)}, Timestamp: r.File("timestamp.json"), Snapshot: r.File("2.snapshot.json"),
			Targets: r.File("2.targets.json"), Delegated: map[string][]byte{tuftest.Delegated: r.File("2.registry.npmjs.org.json")},
			Files: map[string][]byte{rootTarget: rootFile(66), keysTarget: keysFile(66)},
		}
	}
	tests := []struct {
		name   string
		change func(t *testing.T, w *world, f *cacheFile)
	}{
		{"trusted-root", func(t *testing.T, w *world, f *cacheFile) { f.Metadata.Files[rootTarget] = rootFile(66) }},
		{"keys", func(t *testing.T, w *world, f *cacheFile) { f.Metadata.Files[keysTarget] = keysFile(66) }},
		{"timestamp", func(t *testing.T, w *world, f *cacheFile) { f.Metadata.Timestamp[20] ^= 1 }},
		{"snapshot", func(t *testing.T, w *world, f *cacheFile) { f.Metadata.Snapshot[20] ^= 1 }},
		{"targets", func(t *testing.T, w *world, f *cacheFile) { f.Metadata.Targets[20] ^= 1 }},
		{"delegated", func(t *testing.T, w *world, f *cacheFile) { f.Metadata.Delegated[tuftest.Delegated][20] ^= 1 }},
		{"delegated-removed", func(t *testing.T, w *world, f *cacheFile) { f.Metadata.Delegated = nil }},
		{"all-of-another-repository", func(t *testing.T, w *world, f *cacheFile) { _, f.Metadata = evil(t, w.clock) }},
		{"all-of-another-with-root-2", func(t *testing.T, w *world, f *cacheFile) {
			r, m := evil(t, w.clock)
			if err := r.RenewRoot(3); err != nil {
				t.Fatal(err)
			}
			m.Roots = append(f.Metadata.Roots, r.Root(2))
			f.Metadata = m
		}},
		{"targets-of-another", func(t *testing.T, w *world, f *cacheFile) {
			_, m := evil(t, w.clock)
			f.Metadata.Targets, f.Metadata.Files = m.Targets, m.Files
		}},
		{"delegated-of-another", func(t *testing.T, w *world, f *cacheFile) {
			_, m := evil(t, w.clock)
			f.Metadata.Delegated, f.Metadata.Files[keysTarget] = m.Delegated, keysFile(66)
		}},
		{"no-metadata", func(t *testing.T, w *world, f *cacheFile) { f.Metadata = nil }},
		{"other-url", func(t *testing.T, w *world, f *cacheFile) { f.URL = "https://tuf.example" }},
		{"schema", func(t *testing.T, w *world, f *cacheFile) { f.Schema = "assay/tuf-cache/v9" }},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			expect(t, w.load(t), 1, OriginTUF, "")
			w.tamper(t, func(f *cacheFile) { tt.change(t, w, f) })

			o := w.opts
			o.Offline = true
			m, err := Load(t.Context(), o)
			if err == nil {
				t.Errorf("offline, a tampered cache is used: %+v", m)
			}
			w.down = true
			if m, err := Load(t.Context(), w.opts); err == nil {
				t.Errorf("without a network, a tampered cache is used: %+v", m)
			}
			w.down = false
			m = w.load(t)
			expect(t, m, 1, OriginTUF, "")
			if diff := cmp.Diff([]string{NoteCacheInvalid}, notes(m)); diff != "" {
				t.Errorf("notes (-want +got):\n%s", diff)
			}
			m = w.load(t) // the cache is good again
			expect(t, m, 1, OriginTUF, "")
			if len(m.Notes) > 0 {
				t.Errorf("notes after the refresh: %+v", m.Notes)
			}
		})
	}
	t.Run("not-json", func(t *testing.T) {
		w := newWorld(t)
		w.load(t)
		if err := os.WriteFile(w.cacheFile(t), []byte("{"), 0o600); err != nil {
			t.Fatal(err)
		}
		if m := w.load(t); m.RootSource.Origin != OriginTUF || len(m.Notes) != 1 {
			t.Errorf("source %+v, notes %+v", m.RootSource, m.Notes)
		}
	})
	t.Run("checked-in-the-future", func(t *testing.T) {
		w := newWorld(t)
		w.load(t)
		w.tamper(t, func(f *cacheFile) { f.CheckedAt = w.clock.AddDate(10, 0, 0) })
		w.publish(t, 2)
		expect(t, w.load(t), 2, OriginTUF, "")
	})
	t.Run("kept-fresh-by-hand", func(t *testing.T) { // a refresh can be put off until the timestamp expires, not longer
		w := newWorld(t)
		w.load(t)
		w.publish(t, 2)
		w.clock = w.clock.AddDate(0, 0, 8)
		w.Expires[metadata.TIMESTAMP] = w.clock.AddDate(0, 0, 7)
		w.publish(t, 3)
		w.tamper(t, func(f *cacheFile) { f.CheckedAt = w.clock })
		expect(t, w.load(t), 3, OriginTUF, "")
	})
	t.Run("embedded-file-heals", func(t *testing.T) { // what TUF lists is what the program carries
		w := newWorld(t)
		w.publish(t, 0)
		expect(t, w.load(t), 0, OriginTUF, "")
		w.tamper(t, func(f *cacheFile) { f.Metadata.Files[rootTarget] = rootFile(66) })
		w.opts.Offline = true
		m := w.load(t)
		expect(t, m, 0, OriginTUF, "")
		if diff := cmp.Diff([]string{NoteCacheInvalid}, notes(m)); diff != "" {
			t.Errorf("notes (-want +got):\n%s", diff)
		}
	})
}

func TestUpdate(t *testing.T) {
	w := newWorld(t)
	expect(t, w.load(t), 1, OriginTUF, "")
	w.publish(t, 2)
	m, err := Update(t.Context(), w.opts)
	if err != nil {
		t.Fatal(err)
	}
	// The clock has not moved, so the cache is as old as the refresh: it must be the new one all the same.
	expect(t, m, 2, OriginTUF, "")
	w.down = true
	m, err = Update(t.Context(), w.opts)
	var failed *RefreshError
	if !errors.As(err, &failed) || failed.Reason != reasonConnection || failed.URL != w.opts.TUFURL {
		t.Errorf("error %v", err)
	}
	expect(t, m, 2, OriginTUF, "") // refreshed a moment ago: not stale
}

func TestVerifyMetadata(t *testing.T) {
	w := newWorld(t)
	for range 2 {
		if err := w.RotateRoot(); err != nil {
			t.Fatal(err)
		}
	}
	w.publish(t, 2)
	m := w.load(t)
	data, err := m.Metadata.Encode()
	if err != nil {
		t.Fatal(err)
	}
	md, err := DecodeMetadata(data)
	if err != nil {
		t.Fatal(err)
	}
	if again, err := md.Encode(); err != nil || !bytes.Equal(again, data) {
		t.Errorf("decoding and encoding gives other bytes: %v", err)
	}
	roots := [][]byte{w.Root(1), w.Root(2), w.Root(3)}
	if err := w.RotateRoot(); err != nil {
		t.Fatal(err)
	}
	roots = append(roots, w.Root(4))

	for _, tt := range []struct {
		name   string
		starts [][]byte
		ok     bool
	}{
		{"from-the-same-start", roots[:1], true},
		{"from-a-later-start", roots[:2], true},
		{"from-its-end", roots[2:3], true},
		{"from-a-successor-with-another-timestamp-key", roots[3:], false},
		{"from-before-that-successor", roots, true},
		{"from-another-repository", [][]byte{embeddedRoots()[0]}, false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			v, err := verifyMetadata(md, tt.starts)
			if (err == nil) != tt.ok {
				t.Fatalf("error %v", err)
			}
			if tt.ok && (!bytes.Equal(v.RootJSON, rootFile(2)) || !bytes.Equal(v.KeysJSON, keysFile(2))) {
				t.Error("other files than the repository's")
			}
		})
	}
	if _, err := VerifyMetadata(md); !errors.Is(err, &metadata.ErrUnsignedMetadata{}) {
		t.Errorf("a stranger's metadata verifies from the embedded root: %v", err)
	}
	if _, err := VerifyMetadata(nil); err == nil {
		t.Error("no metadata verifies")
	}
	gap := *md
	gap.Roots = [][]byte{md.Roots[0], md.Roots[2]}
	if _, err := verifyMetadata(&gap, roots[:1]); err == nil {
		t.Error("a chain with a gap verifies")
	}
	less := *md
	less.Files = map[string][]byte{rootTarget: rootFile(2)}
	if v, err := verifyMetadata(&less, roots[:1]); err != nil || v.KeysJSON != nil || v.RootJSON == nil {
		t.Errorf("without the keys file: %+v, %v", v, err)
	}
	other := *md
	other.Files = map[string][]byte{rootTarget: rootFile(2), keysTarget: keysFile(3)}
	if v, err := verifyMetadata(&other, roots[:1]); err == nil {
		t.Errorf("with another keys file: %+v", v)
	}
	extra := *md
	extra.Files = map[string][]byte{rootTarget: rootFile(2), keysTarget: keysFile(2), "more": nil}
	extra.Delegated = map[string][]byte{tuftest.Delegated: md.Delegated[tuftest.Delegated], "other": []byte("{}")}
	if v, err := verifyMetadata(&extra, roots[:1]); err != nil || len(v.Metadata.Files) != 2 || len(v.Metadata.Delegated) != 1 {
		t.Errorf("what nobody vouches for is kept: %+v, %v", v, err)
	}
}

// TestDamage changes every byte of the metadata, one at a time (every seventh, to be quick), and cuts it short.
// Whatever still verifies must vouch for the same files.
func TestDamage(t *testing.T) {
	w := newWorld(t)
	if err := w.RotateRoot(); err != nil {
		t.Fatal(err)
	}
	w.publish(t, 1)
	m := w.load(t)
	start := [][]byte{w.Root(1)}
	check := func(md *Metadata) {
		t.Helper()
		v, err := verifyMetadata(md, start)
		if err == nil && (!bytes.Equal(v.RootJSON, rootFile(1)) || !bytes.Equal(v.KeysJSON, keysFile(1))) {
			t.Error("damaged metadata vouches for other files")
		}
	}
	parts := []func(*Metadata) *[]byte{
		func(m *Metadata) *[]byte { return &m.Roots[1] },
		func(m *Metadata) *[]byte { return &m.Timestamp },
		func(m *Metadata) *[]byte { return &m.Snapshot },
		func(m *Metadata) *[]byte { return &m.Targets },
	}
	for _, part := range parts {
		md := *m.Metadata
		md.Roots = slices.Clone(md.Roots)
		good := *part(&md)
		for i := 0; i < len(good); i += 7 {
			*part(&md) = slices.Clone(good)
			(*part(&md))[i] ^= 1 << (i % 7)
			check(&md)
		}
		for i := 0; i < len(good); i += 29 {
			*part(&md) = good[:i]
			if _, err := verifyMetadata(&md, start); err == nil {
				t.Errorf("metadata cut after %d of %d bytes verifies", i, len(good))
			}
		}
	}
}

// A root to start from that refers to nothing must be refused, not make the library panic.
func TestNonsensicalStart(t *testing.T) {
	w := newWorld(t)
	md := w.load(t).Metadata
	for _, tt := range []struct{ name, old, new string }{
		{"null-keys", `"keys":{`, `"keys":null,"x":{`},
		{"null-roles", `"roles":{`, `"roles":null,"x":{`},
		{"null-signed", `"signed":{`, `"signed":null,"x":{`},
		{"null-key", `"keytype":"ed25519"`, `"keytype":null`},
		{"short-key", `"public":"`, `"public":"00","x":"`},
	} {
		start := bytes.ReplaceAll(w.Root(1), []byte(tt.old), []byte(tt.new))
		if _, err := md.verify(start, time.Time{}, []string{rootTarget}); err == nil {
			t.Errorf("%s verifies", tt.name)
		}
	}
}

// TestAgainstSigstoreClient compares with Sigstore's own client, from the same start: the same repository
// states are accepted and refused, with the same files.
func TestAgainstSigstoreClient(t *testing.T) {
	states := []func(t *testing.T, w *world){
		func(t *testing.T, w *world) {},
		func(t *testing.T, w *world) { w.publish(t, 2) },
		func(t *testing.T, w *world) {
			if err := w.RotateRoot(); err != nil {
				t.Fatal(err)
			}
		},
		func(t *testing.T, w *world) { w.SetFile("timestamp.json", nil) },
		func(t *testing.T, w *world) {
			w.Expires[metadata.TARGETS] = w.clock.Add(-time.Hour)
			w.publish(t, 2)
		},
	}
	for i, change := range states {
		w := newWorld(t)
		change(t, w)
		ours, ourErr := Load(t.Context(), w.opts)
		client, theirErr := tuf.New(&tuf.Options{Root: w.Root(1), RepositoryBaseURL: w.server.URL, CachePath: t.TempDir()})
		if (ourErr == nil) != (theirErr == nil) {
			t.Errorf("state %d: %v, Sigstore's client: %v", i, ourErr, theirErr)
		}
		if ourErr != nil || theirErr != nil {
			continue
		}
		for name, got := range map[string][]byte{rootTarget: ours.RootJSON, keysTarget: ours.KeysJSON} {
			if want, err := client.GetTarget(name); err != nil || !bytes.Equal(got, want) {
				t.Errorf("state %d: %s differs from Sigstore's client: %v", i, name, err)
			}
		}
	}
}

func TestEmbeddedFiles(t *testing.T) {
	m, err := Load(t.Context(), Options{Offline: true})
	if err != nil {
		t.Fatal(err)
	}
	expect(t, m, 0, OriginEmbedded, reasonOffline)

	roots := embeddedRoots()
	first, err := rootVersion(roots[0])
	if err != nil {
		t.Fatal(err)
	}
	// The embedded chain holds by TUF's rules, from Sigstore's own Go client's root on.
	trusted, err := trustedmetadata.New(tuf.DefaultRoot())
	if err != nil {
		t.Fatal(err)
	}
	if got := trusted.Root.Signed.Version; got < first {
		t.Fatalf("sigstore-go starts at root %d, before the first embedded one, %d", got, first)
	}
	for i, data := range roots {
		v, err := rootVersion(data)
		if err != nil || v != first+int64(i) {
			t.Fatalf("embedded root %d has version %d (%v), after %d", i, v, err, first)
		}
		if v > trusted.Root.Signed.Version {
			if _, err := trusted.UpdateRoot(data); err != nil {
				t.Errorf("root %d: %v", v, err)
			}
		}
	}
	if trusted.Root.Signed.Version != m.Roles[0].Version {
		t.Errorf("the chain ends at root %d, in use is %+v", trusted.Root.Signed.Version, m.Roles[0])
	}
	if _, err := trustedmetadata.New(roots[0]); err != nil {
		t.Errorf("first embedded root: %v", err)
	}
	src := m.RootSource
	if !strings.HasPrefix(src.Location, "@sigstore/tuf@") || src.At.Year() < 2026 {
		t.Errorf("source %+v", src)
	}
}

func TestBadOptions(t *testing.T) {
	dir := t.TempDir()
	empty := filepath.Join(dir, "empty")
	big := filepath.Join(dir, "big")
	nokeys := filepath.Join(dir, "nokeys")
	for path, data := range map[string][]byte{empty: nil, big: make([]byte, maxRootFile+1), nokeys: []byte(`{"keys":[]}`)} {
		if err := os.WriteFile(path, data, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	for _, o := range []Options{
		{TUFURL: "ftp://tuf.example"},
		{TUFURL: "https://user:pw@tuf.example"},
		{TUFURL: "tuf.example"},
		{TUFURL: "http://\x7f"},
		{TUFRoot: []byte("{}")},
		{TUFRoot: []byte("root")},
		{TrustedRootFile: filepath.Join(dir, "none")},
		{TrustedRootFile: empty},
		{TrustedRootFile: big},
		{TrustedRootFile: nokeys},
		{KeysFile: filepath.Join(dir, "none")},
		{KeysFile: empty},
		{KeysFile: big},
		{KeysFile: nokeys},
	} {
		o.Offline = true
		if m, err := Load(t.Context(), o); err == nil {
			t.Errorf("Load(%+v) = %+v", o, m)
		}
	}
}

// BenchmarkLoad is what each run pays before it verifies anything.
func BenchmarkLoad(b *testing.B) {
	b.Run("embedded", func(b *testing.B) {
		for b.Loop() {
			if _, err := Load(b.Context(), Options{Offline: true}); err != nil {
				b.Fatal(err)
			}
		}
	})
	b.Run("cache", func(b *testing.B) {
		now := time.Now()
		repo, err := tuftest.New(now)
		if err != nil {
			b.Fatal(err)
		}
		if err := errors.Join(repo.SetTarget(rootTarget, rootFile(1)), repo.SetTarget(keysTarget, keysFile(1)), repo.Publish()); err != nil {
			b.Fatal(err)
		}
		server := httptest.NewServer(repo)
		defer server.Close()
		o := Options{CacheDir: b.TempDir(), TUFURL: server.URL, TUFRoot: repo.Root(1)}
		for b.Loop() {
			if _, err := Load(b.Context(), o); err != nil {
				b.Fatal(err)
			}
		}
	})
}

// TestPause: a repository that could not be reached is left alone for a while, and no longer.
func TestPause(t *testing.T) {
	w := newWorld(t)
	expect(t, w.load(t), 1, OriginTUF, "")
	w.clock = w.clock.Add(25 * time.Hour)
	asked := 0
	transport := w.opts.Transport
	w.opts.Transport = roundTripper(func(r *http.Request) (*http.Response, error) { asked++; return transport.RoundTrip(r) })
	w.opts.Pause = time.Minute
	for _, step := range []struct {
		name string
		wait time.Duration
		asks bool
	}{
		{"first", 0, true},
		{"during the pause", 30 * time.Second, false},
		{"a note from the future", -time.Hour, true},
		{"during the pause again", time.Second, false},
		{"after the pause", time.Hour + time.Minute, true},
	} {
		w.down, asked = true, 0
		w.clock = w.clock.Add(step.wait)
		m := w.load(t)
		if (asked > 0) != step.asks {
			t.Errorf("%s: %d requests", step.name, asked)
		}
		if s, stale := m.Stale(); !stale || s.Reason != reasonConnection {
			t.Errorf("%s: source %+v", step.name, s)
		}
	}
	w.down, asked = false, 0
	if _, err := Update(t.Context(), w.opts); err != nil || asked == 0 {
		t.Errorf("an update during the pause: %v, %d requests", err, asked)
	}
}

package verify_test

import (
	"bufio"
	"cmp"
	"encoding/json"
	"os"
	"os/exec"
	"strings"
	"sync"
	"testing"

	"assay/internal/evidence"
	"assay/internal/npm"
	"assay/internal/registry"
	"assay/internal/verify"
)

// onlineSample is how many packages are compared where nobody asks for more.
const onlineSample = 25

// manifestPackages reads the list, which has distinct packages only.
func manifestPackages(t *testing.T, name string) []npm.ID {
	t.Helper()
	list, err := os.Open(name)
	if err != nil {
		t.Fatal(err)
	}
	defer list.Close()
	var ids []npm.ID
	seen := map[npm.ID]bool{}
	for lines := bufio.NewScanner(list); lines.Scan(); {
		line := strings.TrimSpace(lines.Text())
		if line == "" || line[0] == '#' {
			continue
		}
		i := strings.LastIndexByte(line, '@')
		id := npm.ID{Name: line[:max(i, 0)], Version: line[i+1:]}
		if err := id.Check(); err != nil {
			t.Fatalf("%q: %v", line, err)
		}
		if seen[id] {
			t.Fatalf("%s stands in the list twice", id)
		}
		seen[id] = true
		ids = append(ids, id)
	}
	return ids
}

// TestManifestPackages: the list is large enough to say something.
func TestManifestPackages(t *testing.T) {
	names := map[string]bool{}
	for _, id := range manifestPackages(t, "testdata/manifest-packages.txt") {
		names[id.Name] = true
	}
	if len(names) < 1000 {
		t.Errorf("%d different names", len(names))
	}
}

// TestManifestOnline compares real tarballs with what the registry shows of them, which is where a rule that
// is missing turns up. It asks the registry that npm is configured for: for a sample of the list, or, with
// ASSAY_ONLINE_TESTS=1, for all of it. A mirror that makes its version documents out of the tarballs proves
// little here; npm's own registry keeps what the publisher's client sent, and shows as much by _npmVersion or
// _nodeVersion.
func TestManifestOnline(t *testing.T) {
	base := os.Getenv("npm_config_registry")
	if base == "" {
		out, err := exec.Command("npm", "config", "get", "registry").Output()
		if err != nil {
			t.Skip("online test not run: npm does not say which registry to ask:", err)
		}
		base = strings.TrimSpace(string(out))
	}
	base = strings.TrimRight(base, "/")
	ids := manifestPackages(t, cmp.Or(os.Getenv("ASSAY_MANIFEST_PACKAGES"), "testdata/manifest-packages.txt"))
	if os.Getenv("ASSAY_ONLINE_TESTS") != "1" {
		var sample []npm.ID
		for i := range onlineSample {
			sample = append(sample, ids[i*len(ids)/onlineSample])
		}
		ids = sample
	}
	const atOnce = 8
	client, err := registry.New(registry.Options{UserAgent: "assay-test", MaxInFlight: atOnce})
	if err != nil {
		t.Fatal(err)
	}
	collector := evidence.NewCollector(evidence.CollectorOptions{Fetcher: evidence.FetcherFor(client, func(r *registry.Response) evidence.Response {
		return evidence.Response{URL: r.URL, Status: r.Status, Body: r.Body, At: r.At}
	})})
	var mu sync.Mutex
	compared, byClient, told := 0, 0, 0
	compare := func(id npm.ID) bool {
		ev := collector.Collect(t.Context(), evidence.Request{ID: id, Registry: base, Tarball: func(document []byte) (string, []string) {
			var d struct {
				Dist struct {
					Tarball string `json:"tarball"`
				} `json:"dist"`
			}
			_ = json.Unmarshal(document, &d)
			return d.Dist.Tarball, nil
		}})
		mu.Lock()
		defer mu.Unlock()
		if ev.Document.State != evidence.Served || ev.Tarball == nil || ev.Tarball.Reason != "" {
			t.Logf("%s: not to be had (%s %s)", id, ev.Document.State, ev.Document.Detail)
			return false
		}
		compared++
		if d := string(ev.Document.Body); strings.Contains(d, `"_npmVersion"`) || strings.Contains(d, `"_nodeVersion"`) {
			byClient++
		}
		got := row(t, verify.Run(verify.Input{Package: verify.Package{ID: id, Registry: base}, Evidence: ev}), "manifest")
		if got.Status != verify.Pass {
			t.Errorf("%s: %s %s, the registry shows %q, the tarball holds %q: %s", id, got.Status, got.Reason, got.Expected, got.Actual, got.Message)
		} else if got.Reason != "" {
			told++
		}
		return true
	}
	if !compare(ids[0]) {
		t.Skip("online test not run:", base, "cannot be reached, or does not have", ids[0])
	}
	work := make(chan npm.ID)
	var group sync.WaitGroup
	for range atOnce {
		group.Go(func() {
			for id := range work {
				compare(id)
			}
		})
	}
	for _, id := range ids[1:] {
		work <- id
	}
	close(work)
	group.Wait()
	t.Logf("%d of %d packages compared, of %d something was told; %d documents were made by a publisher's client, the others may be made out of the tarball", compared, len(ids), told, byClient)
}

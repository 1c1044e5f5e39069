package verify_test

import (
	"bufio"
	"cmp"
	"encoding/json"
	"os"
	"os/exec"
	"strings"
	"testing"

	"assay/internal/evidence"
	"assay/internal/npm"
	"assay/internal/registry"
	"assay/internal/verify"
)

// TestManifestOnline compares real tarballs with what the registry shows of them, which is where a rule that
// is missing turns up. It asks the registry that npm is configured for. A mirror that makes its version
// documents out of the tarballs proves nothing here; npm's own registry keeps what the publisher's client
// sent, and shows as much by _npmVersion or _nodeVersion.
func TestManifestOnline(t *testing.T) {
	if os.Getenv("ASSAY_ONLINE_TESTS") != "1" {
		t.Skip("online test not run: set ASSAY_ONLINE_TESTS=1 to compare real packages of the configured registry")
	}
	base := os.Getenv("npm_config_registry")
	if base == "" {
		out, err := exec.Command("npm", "config", "get", "registry").Output()
		if err != nil {
			t.Skip("online test not run: npm does not say which registry to ask:", err)
		}
		base = strings.TrimSpace(string(out))
	}
	base = strings.TrimRight(base, "/")
	client, err := registry.New(registry.Options{UserAgent: "assay-test", MaxInFlight: 4})
	if err != nil {
		t.Fatal(err)
	}
	collector := evidence.NewCollector(evidence.CollectorOptions{Fetcher: evidence.FetcherFor(client, func(r *registry.Response) evidence.Response {
		return evidence.Response{URL: r.URL, Status: r.Status, Body: r.Body, At: r.At}
	})})
	list, err := os.Open(cmp.Or(os.Getenv("ASSAY_MANIFEST_PACKAGES"), "testdata/manifest-packages.txt"))
	if err != nil {
		t.Fatal(err)
	}
	defer list.Close()
	compared, byClient := 0, 0
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
		ev := collector.Collect(t.Context(), evidence.Request{ID: id, Registry: base, Tarball: func(document []byte) (string, []string) {
			var d struct {
				Dist struct {
					Tarball string `json:"tarball"`
				} `json:"dist"`
			}
			_ = json.Unmarshal(document, &d)
			return d.Dist.Tarball, nil
		}})
		if ev.Document.State != evidence.Served || ev.Tarball == nil || ev.Tarball.Reason != "" {
			t.Logf("%s: not to be had (%s %s)", id, ev.Document.State, ev.Document.Detail)
			continue
		}
		compared++
		if d := string(ev.Document.Body); strings.Contains(d, `"_npmVersion"`) || strings.Contains(d, `"_nodeVersion"`) {
			byClient++
		}
		got := row(t, verify.Run(verify.Input{Package: verify.Package{ID: id, Registry: base}, Evidence: ev}), "manifest")
		if got.Status != verify.Pass {
			t.Errorf("%s: %s %s, the registry shows %q, the tarball holds %q: %s", id, got.Status, got.Reason, got.Expected, got.Actual, got.Message)
		}
	}
	t.Logf("%d packages compared; %d documents were made by a publisher's client, the others may be made out of the tarball", compared, byClient)
}

package audit_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"runtime"
	"runtime/debug"
	"strings"
	"testing"
	"time"

	"assay/internal/audit"
	"assay/internal/evidence"
	"assay/internal/npm"
	"assay/internal/policy"
	"assay/internal/registry"
	"assay/internal/report"
	"assay/internal/trust"
	"assay/internal/verify"
)

// heapPeak runs f and returns the most that the heap had in use meanwhile, in MiB.
func heapPeak(f func()) uint64 {
	debug.FreeOSMemory()
	var before runtime.MemStats
	runtime.ReadMemStats(&before)
	stop, peak := make(chan struct{}), make(chan uint64)
	go func() {
		var most uint64
		for {
			var m runtime.MemStats
			runtime.ReadMemStats(&m)
			most = max(most, m.HeapInuse)
			select {
			case <-stop:
				peak <- most
				return
			case <-time.After(2 * time.Millisecond):
			}
		}
	}()
	f()
	close(stop)
	return (max(<-peak, before.HeapInuse) - before.HeapInuse) >> 20
}

// TestMemory audits many packages of a registry that answers every question with as much as it may.
func TestMemory(t *testing.T) {
	pad := func(n int) string { return strings.Repeat("a", n) }
	const most = 4<<20 - 1<<10
	sha := "sha512-" + pad(86) + "=="
	for _, tt := range []struct {
		name                   string
		document, attestations string // %s is the package's name
	}{
		{"padding", `{"name":"%s","version":"1.0.0","dist":{"integrity":"` + sha + `","attestations":{"url":"x"}},"pad":"` + pad(most-200) + `"}`,
			`{"attestations":[{"predicateType":"x","bundle":{"mediaType":"` + pad(most) + `"}}]}`},
		{"just no leave needed", `{"name":"%s","version":"1.0.0","dist":{"integrity":"` + sha + `","attestations":{"url":"x"}},"pad":"` + pad(500<<10) + `"}`,
			`{"attestations":[{"predicateType":"x","bundle":{"mediaType":"` + pad(500<<10) + `"}}]}`},
		{"arrays", `{"name":"%s","version":"1.0.0","dist":{"attestations":{"url":"x"},"signatures":[` + strings.Repeat("{},", most/3-100) + `{}]}}`,
			`{"attestations":[` + strings.Repeat(`[],`, most/3-20) + `[]]}`},
		{"elements", `{"name":"%s","version":"1.0.0","dist":{"attestations":[` + strings.Repeat("[],", most/3-100) + `[]]}}`,
			`{"attestations":[{"bundle":{"verificationMaterial":{"tlogEntries":[` + strings.Repeat(`{},`, most/3-100) + `{}]}}}]}`},
		{"claims", `{"name":"%s","version":"1.0.0","repository":{"url":"` + pad(most-300) + `"},"dist":{"attestations":{"url":"x"}}}`, `{"attestations":[]}`},
		{"integrity", `{"name":"%s","version":"1.0.0","dist":{"integrity":"` + strings.Repeat(sha+" ", most/96-9) + `","attestations":{"url":"x"}}}`, `{"attestations":[]}`},
		{"name", `{"name":"` + pad(most-300) + `%s","version":"1.0.0","dist":{"attestations":{"url":"x"}}}`, `{"attestations":"` + pad(most) + `"}`},
		{"signatures", `{"name":"%s","version":"1.0.0","dist":{"signatures":[{"keyid":"` + pad(most/2) + `","sig":"` + pad(most/3) + `"}]}}`, ``},
		{"over the limit", `{"name":"%s","version":"1.0.0","dist":{"attestations":{"url":"x"}},"pad":"` + pad(8<<20) + `"}`, ``},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if testing.Short() && tt.name != "padding" {
				t.Skip("one way to fill memory is enough for -short")
			}
			before, after, _ := strings.Cut(tt.document, "%s")
			server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				switch {
				case strings.Contains(r.URL.Path, "/attestations/"):
					io.WriteString(w, tt.attestations)
				case strings.HasSuffix(r.URL.Path, "/keys"):
					http.NotFound(w, r)
				default:
					io.WriteString(w, before)
					io.WriteString(w, strings.Split(r.URL.Path, "/")[1])
					io.WriteString(w, after)
				}
			}))
			defer server.Close()
			dir := t.TempDir()
			store, err := evidence.OpenStore(evidence.StoreOptions{Dir: dir, Key: bytes.Repeat([]byte{1}, 32)})
			if err != nil {
				t.Fatal(err)
			}
			config, _, err := npm.ParseConfig([]npm.Source{npm.FlagSource(map[string]string{"registry": server.URL})}, nil)
			if err != nil {
				t.Fatal(err)
			}
			client, err := registry.New(registry.Options{Config: config})
			if err != nil {
				t.Fatal(err)
			}
			defer client.Close()
			material, err := trust.Load(t.Context(), trust.Options{Offline: true})
			if err != nil {
				t.Fatal(err)
			}
			runner := audit.NewRunner(audit.Options{
				Collector: evidence.NewCollector(evidence.CollectorOptions{Store: store, Fetcher: evidence.FetcherFor(client, func(r *registry.Response) evidence.Response {
					return evidence.Response{URL: r.URL, Status: r.Status, Body: r.Body, At: r.At}
				})}),
				Trust: material, Config: config, Policy: &policy.Policy{}, IncludeAttestations: true,
			})
			targets := make([]audit.Target, 72) // more than are worked on at once
			for i := range targets {
				targets[i].Package = verify.Package{ID: npm.ID{Name: fmt.Sprintf("package-%d", i), Version: "1.0.0"}, Registry: server.URL}
			}
			var rep *report.Report
			start := time.Now()
			peak := heapPeak(func() { rep = runner.Run(t.Context(), targets) })
			took := time.Since(start)
			for _, p := range rep.Packages {
				if p.Verdict == verify.Provenance || p.Verdict == verify.Signed {
					t.Errorf("%s is %s", p.Name, p.Verdict)
				}
			}
			report, err := json.Marshal(rep)
			if err != nil {
				t.Fatal(err)
			}
			if err := store.Close(); err != nil {
				t.Error(err)
			}
			var disk int64
			if err := filepath.WalkDir(dir, func(path string, d os.DirEntry, err error) error {
				if err == nil && d.Type().IsRegular() {
					info, _ := d.Info()
					disk += info.Size()
				}
				return err
			}); err != nil {
				t.Error(err)
			}
			t.Logf("%d MiB of heap at most, %d KiB of report, %d MiB of cache, %v", peak, len(report)>>10, disk>>20, took)
			if peak > 300 {
				t.Errorf("%d MiB of heap", peak)
			}
			if disk > 160<<20 {
				t.Errorf("%d MiB of cache", disk>>20)
			}
			if len(report) > 4<<20 {
				t.Errorf("%d MiB of report", len(report)>>20)
			}
		})
	}
}

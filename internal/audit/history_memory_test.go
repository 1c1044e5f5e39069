package audit_test

import (
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"assay/internal/audit"
	"assay/internal/evidence"
	"assay/internal/npm"
	"assay/internal/policy"
	"assay/internal/registry"
	"assay/internal/trust"
	"assay/internal/verify"
)

// TestHistoryMemory audits packages whose full documents are as large as somebody cares to make them.
func TestHistoryMemory(t *testing.T) {
	if testing.Short() {
		t.Skip("takes a while")
	}
	many := func(n int, version func(i int) string) string {
		var b, times strings.Builder
		for i := range n {
			fmt.Fprintf(&b, `"1.0.%d":%s,`, i, version(i))
			fmt.Fprintf(&times, `"1.0.%d":"2020-01-01T00:00:00.000Z",`, i)
		}
		return `{"time":{` + times.String() + `"1.0.0":"2020-01-01T00:00:00.000Z"},"versions":{` + b.String() + `"1.0.0":{}}}`
	}
	for _, tt := range []struct{ name, packument string }{
		{"versions", many(20_000, func(int) string { return `{"_npmUser":{"name":"a"},"dist":{"attestations":{}}}` })},
		{"dependencies", many(20, func(int) string { return `{"dependencies":{` + strings.Repeat(`"a":"1",`, 20_000) + `"b":"2"}}` })},
		{"texts", many(50, func(int) string {
			return `{"deprecated":"` + strings.Repeat("a", 60<<10) + `","_npmUser":{"name":"` + strings.Repeat("b", 40<<10) + `"}}`
		})},
		{"scripts", many(10, func(int) string { return `{"scripts":{"install":"` + strings.Repeat("a", 400<<10) + `"}}` })},
	} {
		t.Run(tt.name, func(t *testing.T) {
			server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				name, version, one := strings.Cut(strings.TrimPrefix(r.URL.Path, "/"), "/")
				switch {
				case strings.HasPrefix(r.URL.Path, "/-/"):
					http.NotFound(w, r)
				case one:
					fmt.Fprintf(w, `{"name":%q,"version":%q,"dist":{"integrity":"sha512-%s=="}}`, name, version, strings.Repeat("a", 86))
				default:
					io.WriteString(w, tt.packument)
				}
			}))
			defer server.Close()
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
			p, err := policy.Parse([]byte(policy.Recommended()), "assay.yaml", nil)
			if err != nil {
				t.Fatal(err)
			}
			runner := audit.NewRunner(audit.Options{
				Collector: evidence.NewCollector(evidence.CollectorOptions{Fetcher: evidence.FetcherFor(client, func(r *registry.Response) evidence.Response {
					return evidence.Response{URL: r.URL, Status: r.Status, Body: r.Body, At: r.At}
				})}),
				Trust: material, Config: config, Policy: p, Now: time.Now(),
			})
			targets := make([]audit.Target, 72) // more than are worked on at once
			for i := range targets {
				targets[i].Package = verify.Package{ID: npm.ID{Name: fmt.Sprintf("package-%d", i), Version: "1.0.0"}, Registry: server.URL}
			}
			start := time.Now()
			peak := heapPeak(func() { runner.Run(t.Context(), targets) })
			t.Logf("full documents of %d KiB: %d MiB of heap at most, %v", len(tt.packument)>>10, peak, time.Since(start))
			if peak > 300 {
				t.Errorf("%d MiB of heap", peak)
			}
		})
	}
}

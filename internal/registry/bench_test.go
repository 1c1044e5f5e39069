package registry

import (
	"crypto/tls"
	"encoding/pem"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"sync/atomic"
	"testing"

	"assay/internal/npm"
)

// BenchmarkDocument measures one version document of 5 KB over loopback, 64 at once, server included.
func BenchmarkDocument(b *testing.B) {
	doc := sampleDocument(5 << 10)
	coded := gzipped(doc)
	for _, proto := range []string{"http1", "http2"} {
		b.Run(proto, func(b *testing.B) {
			s := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				w.Header().Set("Content-Encoding", "gzip")
				w.Write(coded)
			}))
			o := Options{}
			if proto == "http2" {
				s.EnableHTTP2 = true
				s.TLS = &tls.Config{}
				s.StartTLS()
				o.CA = []string{string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: s.Certificate().Raw}))}
			} else {
				s.Start()
			}
			defer s.Close()
			c, err := New(o)
			if err != nil {
				b.Fatal(err)
			}
			defer c.Close()
			var n atomic.Int64
			b.SetParallelism(32)
			b.ReportAllocs()
			b.RunParallel(func(pb *testing.PB) {
				for pb.Next() {
					if _, err := c.Document(b.Context(), s.URL, npm.ID{Name: "left", Version: fmt.Sprintf("1.0.%d", n.Add(1))}); err != nil {
						b.Error(err)
					}
				}
			})
			b.StopTimer()
			b.ReportMetric(float64(c.Counters().Connections), "connections")
			b.ReportMetric(float64(c.Counters().Received)/float64(b.N), "wire-B/op")
		})
	}
}

// BenchmarkPackument measures one packument of 10 MB, as sent and compressed.
func BenchmarkPackument(b *testing.B) {
	doc := sampleDocument(10 << 20)
	for name, body := range map[string][]byte{"identity": doc, "gzip": gzipped(doc)} {
		b.Run(name, func(b *testing.B) {
			s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				if name == "gzip" {
					w.Header().Set("Content-Encoding", "gzip")
				}
				w.Write(body)
			}))
			defer s.Close()
			c, err := New(Options{})
			if err != nil {
				b.Fatal(err)
			}
			defer c.Close()
			b.SetBytes(int64(len(doc)))
			b.ReportAllocs()
			for b.Loop() {
				if _, err := c.Packument(b.Context(), s.URL, "left"); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

// BenchmarkTarball measures a tarball of 1 MiB handed to a reader that does nothing with it.
func BenchmarkTarball(b *testing.B) {
	body := make([]byte, 1<<20)
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { w.Write(body) }))
	defer s.Close()
	c, err := New(Options{})
	if err != nil {
		b.Fatal(err)
	}
	defer c.Close()
	b.SetBytes(int64(len(body)))
	b.ReportAllocs()
	for b.Loop() {
		if err := c.Tarball(b.Context(), s.URL, func(r io.Reader) error { _, err := io.Copy(io.Discard, r); return err }); err != nil {
			b.Fatal(err)
		}
	}
}

package lab_test

import (
	"bytes"
	"net/http/httptest"
	"testing"
	"time"

	"github.com/sigstore/sigstore-go/pkg/root"
	"github.com/sigstore/sigstore-go/pkg/tuf"

	"assay/internal/lab"
)

func tufClient(t *testing.T, l *lab.Lab, o lab.TUFOptions) (*tuf.Client, error) {
	t.Helper()
	repo := l.TUF(o)
	srv := httptest.NewServer(repo)
	t.Cleanup(srv.Close)
	return tuf.New(tuf.DefaultOptions().WithRoot(repo.Root).WithRepositoryBaseURL(srv.URL).WithCachePath(t.TempDir()))
}

// TestTUF reads the repository with sigstore-go's client, as the real one would be.
func TestTUF(t *testing.T) {
	// The client compares with the machine's clock, so the lab must be on it too.
	l, err := lab.New(lab.Options{})
	if err != nil {
		t.Fatal(err)
	}
	tests := []struct {
		name string
		o    lab.TUFOptions
		want string
	}{
		{"plain", lab.TUFOptions{}, ""},
		{"three roots, the first two expired", lab.TUFOptions{Roots: 3, Version: 7}, ""},
		{"expired timestamp", lab.TUFOptions{Expires: l.Now().Add(-time.Hour)}, "expired"},
		{"expired last root", lab.TUFOptions{RootExpires: l.Now().Add(-time.Hour)}, "expired"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			tt.o.Registries = []string{"127.0.0.1:4873/npm"}
			c, err := tufClient(t, l, tt.o)
			if tt.want != "" {
				checkErr(t, err, tt.want)
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			for name, want := range map[string][]byte{"trusted_root.json": l.TrustedRoot(), "registry.npmjs.org/keys.json": l.RegistryKeysTUF(), "127.0.0.1:4873/npm/keys.json": l.RegistryKeysTUF()} {
				got, err := c.GetTarget(name)
				if err != nil || !bytes.Equal(got, want) {
					t.Errorf("target %s: %v", name, err)
				}
			}
			if _, err := root.GetTrustedRoot(c); err != nil {
				t.Error(err)
			}
		})
	}
}

package publisher

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"math/big"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"
)

func certificate(t testing.TB, change func(*x509.Certificate), extensions map[int][]byte) *x509.Certificate {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	u, err := url.Parse("https://github.com/acme/left/.github/workflows/release.yml@refs/heads/main")
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), NotAfter: time.Now().Add(time.Hour), URIs: []*url.URL{u}}
	for n, value := range extensions {
		template.ExtraExtensions = append(template.ExtraExtensions, pkix.Extension{Id: asn1.ObjectIdentifier{1, 3, 6, 1, 4, 1, 57264, 1, n}, Value: value})
	}
	if change != nil {
		change(template)
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	return cert
}

func marshalUTF8(s string) []byte {
	b, err := asn1.MarshalWithParams(s, "utf8")
	if err != nil {
		panic(err)
	}
	return b
}

func TestReadCertificate(t *testing.T) {
	for _, tt := range []struct {
		name       string
		change     func(*x509.Certificate)
		extensions map[int][]byte
		ok         bool
	}{
		{"usual", nil, map[int][]byte{1: []byte(GitHubIssuer), 8: marshalUTF8(GitHubIssuer), 15: marshalUTF8("42")}, true},
		{"newer extension", nil, map[int][]byte{25: []byte("whatever"), 99: {0}}, true},
		{"empty extension", nil, map[int][]byte{23: marshalUTF8("")}, true},
		{"raw where DER is due", nil, map[int][]byte{8: []byte(GitHubIssuer)}, false},
		{"trailing bytes", nil, map[int][]byte{8: append(marshalUTF8(GitHubIssuer), 0)}, false},
		{"printable string", nil, map[int][]byte{8: {0x13, 1, 'a'}}, false},
		{"control character", nil, map[int][]byte{12: marshalUTF8("https://github.com/acme/left\n")}, false},
		{"invalid UTF-8", nil, map[int][]byte{5: {0xff, 0xfe}}, false},
		{"no name", func(c *x509.Certificate) { c.URIs = nil }, nil, false},
		{"two names", func(c *x509.Certificate) { c.URIs = append(c.URIs, c.URIs[0]) }, nil, false},
		{"e-mail", func(c *x509.Certificate) { c.URIs, c.EmailAddresses = nil, []string{"a@example.com"} }, nil, false},
		{"e-mail beside", func(c *x509.Certificate) { c.EmailAddresses = []string{"a@example.com"} }, nil, false},
		{"host beside", func(c *x509.Certificate) { c.DNSNames = []string{"example.com"} }, nil, false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			c, err := ReadCertificate(certificate(t, tt.change, tt.extensions))
			if (err == nil) != tt.ok {
				t.Errorf("error %v", err)
			}
			if err == nil && c.Has(ExtEnvironment) != (tt.extensions[23] != nil) {
				t.Error("absent and empty are not told apart")
			}
		})
	}
}

func TestSplitWorkflow(t *testing.T) {
	for _, tt := range []struct {
		in   string
		want WorkflowRef
		ok   bool
	}{
		{"https://github.com/o/r/.github/workflows/x.yml@refs/heads/main", WorkflowRef{"https://github.com/o/r", ".github/workflows/x.yml", "refs/heads/main"}, true},
		{"https://github.com/o/r/.github/workflows/x.yml@refs/tags/a@1", WorkflowRef{"https://github.com/o/r", ".github/workflows/x.yml", "refs/tags/a@1"}, true},
		{"https://gitlab.com/g/s/p//.gitlab-ci.yml@refs/heads/main", WorkflowRef{"https://gitlab.com/g/s/p", ".gitlab-ci.yml", "refs/heads/main"}, true},
		{"http://github.com/o/r/.github/workflows/x.yml@refs/heads/main", WorkflowRef{}, false},
		{"https://github.com/o/r/.github/workflows/x.yml", WorkflowRef{}, false},
		{"https://github.com/o/r/.github/workflows/x.yml@", WorkflowRef{}, false},
		{"https://github.com/o/r/.github/workflows/x.yml@refs/", WorkflowRef{}, false},
		{"https://github.com/o/r/.github/workflows/x.yml@main", WorkflowRef{}, false},
		{"https://github.com/o/r/.github/workflows/x.yml@0123456789abcdef0123456789abcdef01234567", WorkflowRef{"https://github.com/o/r", ".github/workflows/x.yml", "0123456789abcdef0123456789abcdef01234567"}, true},
		{"https://github.com/o/r/.github/workflows/x.yml@refs/heads/x.yml@refs/heads/main", WorkflowRef{}, false},
		{"https://github.com/o/r/.github/workflows/x.yml@x.yml@refs/heads/main", WorkflowRef{}, false},
		{"https://github.com/o/r/../../evil/x.yml@refs/heads/main", WorkflowRef{}, false},
		{"https://github.com/o/r/%2e%2e/x.yml@refs/heads/main", WorkflowRef{}, false},
		{"https://github.com/o@evil/r/.github/workflows/x.yml@refs/heads/main", WorkflowRef{}, false},
		{"https://github.com//r/x.yml@main", WorkflowRef{}, false},
		{"https://gitlab.com//.gitlab-ci.yml@main", WorkflowRef{}, false},
		{"https://gitlab.com/g/p//a//b@main", WorkflowRef{}, false},
		{"", WorkflowRef{}, false},
	} {
		got, ok := SplitWorkflow(tt.in)
		if ok != tt.ok || got != tt.want {
			t.Errorf("SplitWorkflow(%q) = %+v, %t; want %+v, %t", tt.in, got, ok, tt.want, tt.ok)
		}
	}
}

func FuzzSplitWorkflow(f *testing.F) {
	f.Add("https://github.com/o/r/.github/workflows/x.yml@refs/heads/main")
	f.Add("https://gitlab.com/g/s/p//.gitlab-ci.yml@refs/heads/main")
	f.Fuzz(func(t *testing.T, uri string) {
		w, ok := SplitWorkflow(uri)
		if ok && w.Repository+"/"+w.Path+"@"+w.Ref != uri && w.Repository+"//"+w.Path+"@"+w.Ref != uri {
			t.Errorf("%q gives %+v", uri, w)
		}
	})
}

func TestUnder(t *testing.T) {
	for _, tt := range []struct {
		uri, base string
		want      bool
	}{
		{"https://github.com/o/r/x", "https://github.com/o/r", true},
		{"https://github.com/O/R/x", "https://github.com/o/r", true},
		{"https://github.com/o/r-evil/x", "https://github.com/o/r", false},
		{"https://github.com/o/r", "https://github.com/o/r", false},
		{"https://github.com/o/r@x", "https://github.com/o/r", false},
		{"anything", "", false},
	} {
		if got := Under(tt.uri, tt.base); got != tt.want {
			t.Errorf("Under(%q, %q) = %t", tt.uri, tt.base, got)
		}
	}
}

func TestSameSource(t *testing.T) {
	a := Publisher{Issuer: GitHubIssuer, Repository: "https://github.com/o/r", RepositoryID: "1", Owner: "https://github.com/o", OwnerID: "2", Commit: "c"}
	same := a
	same.Repository, same.Run, same.LogIndex = "https://github.com/o/renamed", "another", 7
	if !a.SameSource(&same) {
		t.Error("a renamed repository with the same number is another publisher")
	}
	for _, change := range []func(*Publisher){
		func(p *Publisher) { p.RepositoryID = "9" },
		func(p *Publisher) { p.OwnerID = "9" },
		func(p *Publisher) { p.Issuer = GitLabIssuer },
		func(p *Publisher) { p.Workflow = "x" },
		func(p *Publisher) { p.SignerWorkflow = "x" },
		func(p *Publisher) { p.Ref = "x" },
		func(p *Publisher) { p.Commit = "x" },
		func(p *Publisher) { p.Event = "x" },
		func(p *Publisher) { p.Runner = "self-hosted" },
		func(p *Publisher) { p.SignerRef = "x" },
		func(p *Publisher) { p.RepositoryID, p.Repository = "", "https://github.com/o/other" },
	} {
		other := a
		change(&other)
		if a.SameSource(&other) {
			t.Errorf("%+v is the same publisher as %+v", other, a)
		}
	}
}

// TestUTF8String: read by hand, it takes exactly what encoding/asn1 writes.
func TestUTF8String(t *testing.T) {
	for _, n := range []int{0, 1, 0x7f, 0x80, 0xff, 0x100, 0x1234, 0xffff} {
		want := strings.Repeat("a", n)
		der := marshalUTF8(want)
		if got, ok := utf8String(der); !ok || got != want {
			t.Errorf("a string of %d bytes does not come back", n)
		}
		for _, bad := range [][]byte{der[:len(der)-1], append(slices.Clone(der), 0), append([]byte{0x13}, der[1:]...)} {
			if _, ok := utf8String(bad); ok {
				t.Errorf("a damaged string of %d bytes is read", n)
			}
		}
	}
	for _, bad := range [][]byte{nil, {0x0c}, {0x0c, 0x80}, {0x0c, 0x81, 1, 'a'}, {0x0c, 0x82, 0, 1, 'a'}, {0x0c, 0x83, 0, 0, 1, 'a'}, {0x0c, 0x81}, {0x0c, 0x82, 1}} {
		if _, ok := utf8String(bad); ok {
			t.Errorf("%x is read", bad)
		}
	}
}

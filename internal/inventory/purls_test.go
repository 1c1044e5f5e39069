package inventory

import (
	"errors"
	"io"
	"strings"
	"testing"
	"testing/iotest"

	"github.com/google/go-cmp/cmp"
)

const purlList = "\ufeff# what we ship\r\n" +
	"pkg:npm/%40acme/widget@1.2.3\r\n" +
	"\r\n" +
	"  pkg:npm/left-pad@1.3.0 # the old one\n" +
	"pkg:npm/@acme/widget@1.2.3\n" +
	"pkg:npm/left-pad@1.3.0\n" +
	"pkg:npm/git@1.0.0?vcs_url=git%2Bhttps://github.com/acme/git.git%230123abc\n" +
	"pkg:npm/tar@1.0.0?download_url=https://example.com/tar.tgz#sub/dir\n" +
	"pkg:npm/reg@1.0.0?repository_url=https://npm.example.com&checksum=sha1:" + sha1Hex + ",sha512:" + sha512Hex + "\n" +
	"pkg:pypi/django@5.0\n"

const purlListWant = `@acme/widget@1.2.3 no-integrity resolved= direct at pkg:npm/%40acme/widget@1.2.3:2 pkg:npm/@acme/widget@1.2.3:5 via .>@acme/widget
left-pad@1.3.0 no-integrity resolved= direct at pkg:npm/left-pad@1.3.0:4 pkg:npm/left-pad@1.3.0:6 via .>left-pad
reg@1.0.0 resolved=https://npm.example.com/reg/-/reg-1.0.0.tgz direct at pkg:npm/reg@1.0.0?repository_url=https://npm.example.com&checksum=sha1:` + sha1Hex + `,sha512:` + sha512Hex + `:9 via .>reg
tar@1.0.0 no-integrity resolved=https://example.com/tar.tgz direct at pkg:npm/tar@1.0.0?download_url=https://example.com/tar.tgz#sub/dir:8 via .>tar
git: git@1.0.0 spec=pkg:npm/git@1.0.0?vcs_url=git%2Bhttps://github.com/acme/git.git%230123abc resolved=git+https://github.com/acme/git.git#0123abc direct at pkg:npm/git@1.0.0?vcs_url=git%2Bhttps://github.com/acme/git.git%230123abc:7 via .>git
foreign: "pkg:pypi/django@5.0"@ spec=pkg:pypi/django@5.0 direct at pkg:pypi/django@5.0:10 via .>"pkg:pypi/django@5.0"
`

func TestReadPURLs(t *testing.T) {
	p, err := ReadPURLs(iotest.OneByteReader(strings.NewReader(purlList)), "standard input", Options{})
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(purlListWant, summary(p)); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	if p.Kind != "purls" || len(p.Files) != 1 || p.Packages[0].Locations[0].File != "standard input" || p.Document != nil {
		t.Errorf("kind %q, files %q, location %+v", p.Kind, p.Files, p.Packages[0].Locations[0])
	}
	checkComplete(t, p, nil)
	if p, err = ReadPURLs(strings.NewReader("# nothing\n"), "list", Options{}); err != nil || len(p.Packages) != 0 {
		t.Errorf("empty: %v", err)
	}
}

func TestReadPURLsErrors(t *testing.T) {
	tests := []struct{ name, text, err string }{
		{"no version", "pkg:npm/a@1.0.0\npkg:npm/a\n", `list:2: package URL "pkg:npm/a": has no version`},
		{"no version after the @", "pkg:npm/a@\n", "list:1: package URL"},
		{"a range", "pkg:npm/a@%5E1.0.0\n", "list:1: package URL \"pkg:npm/a@%5E1.0.0\""},
		{"a name that is none", "pkg:npm/a%20b@1.0.0\n", "list:1: package URL"},
		{"a qualifier twice", "pkg:npm/a@1.0.0?checksum=x&checksum=y\n", "list:1: package URL"},
		{"a checksum that is none", "\npkg:npm/a@1.0.0?checksum=sha512:00\n", "list:2: \"pkg:npm/a@1.0.0?checksum=sha512:00\" has a sha512 that is none"},
		{"a registry that is none", "pkg:npm/a@1.0.0?repository_url=npm.example.com\n", "list:1: the repository_url \"npm.example.com\" of a@1.0.0 is no registry's address"},
		{"a name and version", "\n@acme/a@1.0.0\n", `list:2: "@acme/a@1.0.0" is no package URL; as one it is pkg:npm/%40acme/a@1.0.0`},
		{"something else", "hello\n", `list:1: "hello" is no package URL, such as`},
		{"two on a line", "pkg:pypi/a@1 pkg:pypi/b@1\n", "list:1:"},
		{"an escape", "pkg:pypi/a\x1b[2J@1\n", "list:1: the entry"},
		{"a long line", "pkg:npm/" + strings.Repeat("a", 30_000), "list:1: the line is longer than 20000 bytes"},
		{"too many", strings.Repeat("pkg:npm/a@1.0.0\n", 100_001), "list:100001: more than 100000 entries"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			_, err := ReadPURLs(strings.NewReader(tt.text), "list", Options{})
			checkError(t, err, tt.err)
			if _, ok := errors.AsType[*FormatError](err); !ok {
				t.Errorf("%T", err)
			}
		})
	}
	if _, err := ReadPURLs(iotest.ErrReader(io.ErrClosedPipe), "list", Options{}); !errors.Is(err, io.ErrClosedPipe) || !strings.Contains(err.Error(), "reading list") {
		t.Error(err)
	}
	if _, err := ReadPURLs(strings.NewReader(""), "list", Options{Omit: []string{"x"}}); err == nil {
		t.Error("an unknown type to omit passes")
	}
}

func FuzzPURLs(f *testing.F) {
	f.Add(purlList)
	f.Add("pkg:npm/a@1.0.0?checksum=sha1:00\n")
	f.Fuzz(func(t *testing.T, text string) {
		fuzzed(t, func() (*Project, error) { return ReadPURLs(strings.NewReader(text), "list", Options{}) })
	})
}

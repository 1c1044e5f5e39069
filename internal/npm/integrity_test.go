package npm_test

import (
	"bytes"
	"crypto/sha1"
	"crypto/sha256"
	"crypto/sha512"
	"encoding/base64"
	"strings"
	"testing"

	"assay/internal/npm"
	"pgregory.net/rapid"
)

func sri(algorithm, content string) string {
	var sum []byte
	switch algorithm {
	case "sha1":
		s := sha1.Sum([]byte(content))
		sum = s[:]
	case "sha256":
		s := sha256.Sum256([]byte(content))
		sum = s[:]
	case "sha384":
		s := sha512.Sum384([]byte(content))
		sum = s[:]
	case "sha512":
		s := sha512.Sum512([]byte(content))
		sum = s[:]
	}
	return algorithm + "-" + base64.StdEncoding.EncodeToString(sum)
}

func TestParseIntegrity(t *testing.T) {
	var (
		s1, s256, s384, s512 = sri("sha1", "a"), sri("sha256", "a"), sri("sha384", "a"), sri("sha512", "a")
		other                = sri("sha512", "b")
	)
	tests := []struct {
		name, in, want, wantErr string // want as printed; "" with no error means that nothing binds
	}{
		{"one", s512, s512, ""},
		{"sha1", s1, s1, ""},
		{"several", s256 + " " + s512 + " " + s384, s256 + " " + s512 + " " + s384, ""},
		{"all white space", "\t" + s1 + "\r\n\v " + s512 + "\u00a0", s1 + " " + s512, ""},
		{"one algorithm twice is brought together", s512 + " " + s1 + " " + other, s512 + " " + other + " " + s1, ""},
		{"options", s512 + "?foo?bar", s512 + "?foo?bar", ""},
		{"empty option", s512 + "?", s512 + "?", ""},
		{"empty", "", "", ""},
		{"white space", " \n", "", ""},
		{"md5", "md5-XrY7u+Ae7tCTyyK7j1rNww==", "", ""},
		{"md5 beside sha1", "md5-XrY7u+Ae7tCTyyK7j1rNww== " + s1, s1, ""},
		{"unknown algorithm", "sha3-AAAA", "", ""},
		{"upper case algorithm", "SHA512" + strings.TrimPrefix(s512, "sha512"), "", ""},
		{"no hash at all", "garbage", "", ""},
		{"only dash", "-", "", ""},

		{"bad base64 beside a good sha1", "sha512-*** " + s1, "", "base64 is malformed"},
		{"empty digest", "sha512-", "", "0 bytes"},
		{"truncated", s512[:40], "", "base64 is malformed"},
		{"digest of another algorithm", "sha512-" + strings.TrimPrefix(s256, "sha256-"), "", "32 bytes"},
		{"no padding", strings.TrimRight(s512, "="), "", "base64 is malformed"},
		{"URL alphabet", "sha1-__________________________8=", "", "base64 is malformed"},
		{"stray bits", strings.TrimSuffix(sri("sha1", "a"), "g=") + "h=", "", "base64 is malformed"},
		{"hex", "sha1-86f7e437faa5a7fce15d1ddcb9eaeaea377667b8", "", "30 bytes"},
		{"too long", strings.Repeat(" ", 1<<20), "", "longer than"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			got, err := npm.ParseIntegrity(tt.in)
			checkError(t, err, tt.wantErr)
			if got.String() != tt.want {
				t.Errorf("got %q, want %q", got, tt.want)
			}
		})
	}
}

func TestIntegrityChoosesTheStrongest(t *testing.T) {
	parse := func(words ...string) npm.Integrity {
		in, err := npm.ParseIntegrity(strings.Join(words, " "))
		if err != nil {
			t.Fatal(err)
		}
		return in
	}
	weak := parse(sri("sha1", "a"))
	strong := parse(sri("sha1", "a"), sri("sha256", "x"), sri("sha512", "a"), sri("sha512", "b"))
	if h, ok := strong.Strongest(); !ok || h.String() != sri("sha512", "a") {
		t.Errorf("Strongest() = %v, %t", h, ok)
	}
	if _, ok := npm.Integrity(nil).Strongest(); ok {
		t.Error("nil has a strongest hash")
	}
	if got := len(strong.Find("sha512")); got != 2 {
		t.Errorf("Find(sha512) has %d hashes", got)
	}
	if got := strong.Find("sha384"); got != nil {
		t.Errorf("Find(sha384) = %v", got)
	}
	tests := []struct {
		name      string
		a, b      npm.Integrity
		algorithm string
		equal     bool
	}{
		{"sha1 only is what is common", weak, strong, "sha1", true},
		{"one of two hashes matches", strong, parse(sri("sha512", "b")), "sha512", true},
		{"a weaker match does not help", strong, parse(sri("sha512", "c"), sri("sha1", "a")), "sha512", false},
		{"options do not count", parse(sri("sha512", "a") + "?x"), strong, "sha512", true},
		{"nothing in common", weak, parse(sri("sha384", "a")), "", false},
		{"nothing at all", nil, nil, "", false},
	}
	for _, tt := range tests {
		for _, pair := range [][2]npm.Integrity{{tt.a, tt.b}, {tt.b, tt.a}} {
			algorithm, equal := pair[0].Match(pair[1])
			if algorithm != tt.algorithm || equal != tt.equal {
				t.Errorf("%s: Match = %q, %t, want %q, %t", tt.name, algorithm, equal, tt.algorithm, tt.equal)
			}
			if common, ok := npm.StrongestCommon(pair[0], pair[1]); common != tt.algorithm || ok != (tt.algorithm != "") {
				t.Errorf("%s: StrongestCommon = %q, %t", tt.name, common, ok)
			}
		}
	}
}

// TestIntegrityLikeNPM compares what is printed and matched with ssri: the registry's signature covers the printed form.
func TestIntegrityLikeNPM(t *testing.T) {
	words := []string{"", "x", "sha9-AA==", "sha512-", sri("sha1", "a"), sri("sha256", "a") + "?o", sri("sha384", "b"), sri("sha512", "a"), sri("sha512", "b") + "?o?p"}
	var inputs []string
	for _, a := range words {
		for _, b := range words {
			for _, c := range words {
				inputs = append(inputs, a+" "+b+"\n\t"+c)
			}
		}
	}
	printed := npmJS[string](t, `s => String(require("ssri").parse(s) || "")`, inputs)
	strongest := npmJS[string](t, `s => (require("ssri").parse(s) || {pickAlgorithm: () => ""}).pickAlgorithm()`, inputs)
	compared := 0
	for i, in := range inputs {
		got, err := npm.ParseIntegrity(in)
		if err != nil {
			continue // "sha512-", which ssri drops
		}
		compared++
		if got.String() != printed[i] {
			t.Errorf("ParseIntegrity(%q) prints %q, ssri %q", in, got, printed[i])
		}
		if h, _ := got.Strongest(); h.Algorithm != strongest[i] {
			t.Errorf("strongest of %q is %q, ssri says %q", in, h.Algorithm, strongest[i])
		}
	}
	if compared < 400 {
		t.Errorf("only %d compared", compared)
	}
}

// TestIntegrityRoundTrip: what is printed parses to the same hashes.
func TestIntegrityRoundTrip(t *testing.T) {
	sizes := map[string]int{"sha1": 20, "sha256": 32, "sha384": 48, "sha512": 64}
	hash := rapid.Custom(func(t *rapid.T) npm.Hash {
		algorithm := rapid.SampledFrom([]string{"sha1", "sha256", "sha384", "sha512"}).Draw(t, "algorithm")
		return npm.Hash{
			Algorithm: algorithm,
			Digest:    rapid.SliceOfN(rapid.Byte(), sizes[algorithm], sizes[algorithm]).Draw(t, "digest"),
			Options:   rapid.StringMatching(`(\?[!-~]{0,3}){0,2}`).Draw(t, "options"),
		}
	})
	rapid.Check(t, func(t *rapid.T) {
		in := npm.Integrity(rapid.SliceOf(hash).Draw(t, "integrity"))
		got, err := npm.ParseIntegrity(in.String())
		if err != nil {
			t.Fatal(err)
		}
		if got.String() != in.String() || len(got) != len(in) {
			t.Fatalf("%q became %q", in, got)
		}
	})
}

func FuzzParseIntegrity(f *testing.F) {
	f.Add(sri("sha512", "a") + " " + sri("sha1", "a") + "?x")
	f.Add("sha512-??? md5-x sha1-")
	f.Fuzz(func(t *testing.T, s string) {
		in, err := npm.ParseIntegrity(s)
		if err != nil {
			return
		}
		again, err := npm.ParseIntegrity(in.String())
		if err != nil || again.String() != in.String() {
			t.Fatalf("%q became %q, %v", in, again, err)
		}
		for _, h := range in {
			if same := again.Find(h.Algorithm); len(same) == 0 || !bytes.Equal(same[0].Digest, in.Find(h.Algorithm)[0].Digest) {
				t.Fatalf("%v got lost", h)
			}
		}
	})
}

func checkError(t *testing.T, err error, want string) {
	t.Helper()
	switch {
	case want == "" && err != nil:
		t.Fatalf("unexpected error: %v", err)
	case want != "" && err == nil:
		t.Fatalf("no error, want one with %q", want)
	case want != "" && !strings.Contains(err.Error(), want):
		t.Fatalf("error %q does not say %q", err, want)
	}
}

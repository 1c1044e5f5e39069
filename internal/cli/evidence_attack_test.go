package cli_test

import (
	"bytes"
	"compress/gzip"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"regexp"
	"strings"
	"testing"
	"time"

	"assay/internal/lab"
)

// An opened archive can be changed at will and packed anew, with every checksum right: as an attacker would.
type opened struct {
	t      *testing.T
	index  string
	order  []string // pieces, by digest
	pieces map[string][]byte
}

func unpackEvidence(t *testing.T, data string) *opened {
	t.Helper()
	z, err := gzip.NewReader(strings.NewReader(data))
	if err != nil {
		t.Fatal(err)
	}
	raw, err := io.ReadAll(z)
	if err != nil {
		t.Fatal(err)
	}
	o := &opened{t: t, pieces: map[string][]byte{}}
	for len(raw) > 1024 {
		name := string(raw[:bytes.IndexByte(raw, 0)])
		var size int
		fmt.Sscanf(string(raw[124:135]), "%o", &size)
		body := raw[512 : 512+size]
		raw = raw[512+(size+511)/512*512:]
		if name == "assay-evidence.json" {
			o.index = string(body)
		} else if digest, ok := strings.CutPrefix(name, "pieces/"); ok {
			o.order, o.pieces[digest] = append(o.order, digest), body
		}
	}
	return o
}

func (o *opened) pack() []byte {
	var raw bytes.Buffer
	file := func(name string, body []byte) {
		h := make([]byte, 512)
		copy(h, name)
		copy(h[100:], "0000644\x000000000\x000000000\x00")
		copy(h[124:], fmt.Sprintf("%011o\x0000000000000\x00        0", len(body)))
		copy(h[257:], "ustar\x0000")
		sum := 0
		for _, c := range h {
			sum += int(c)
		}
		copy(h[148:], fmt.Sprintf("%06o\x00 ", sum))
		raw.Write(h)
		raw.Write(body)
		raw.Write(make([]byte, -len(body)&511))
	}
	file("assay-evidence.json", []byte(o.index))
	for _, digest := range o.order {
		if strings.Contains(o.index, digest) {
			file("pieces/"+digest, o.pieces[digest])
		}
	}
	sum := sha256.Sum256(raw.Bytes())
	file("assay-evidence.sha256", []byte(hex.EncodeToString(sum[:])+"\n"))
	raw.Write(make([]byte, 1024))
	var b bytes.Buffer
	z, _ := gzip.NewWriterLevel(&b, gzip.BestCompression)
	z.Write(raw.Bytes())
	z.Close()
	return b.Bytes()
}

// piece is the digest of a package's document or attestations.
func (o *opened) piece(name, what string) string {
	m := regexp.MustCompile(`"name":"` + regexp.QuoteMeta(name) + `","version":"[^"]*","document":\{[^{}]*\{"sha256":"([0-9a-f]+)"[^{}]*\}\},"attestations":\{(?:[^{}]*\{"sha256":"([0-9a-f]+)")?`).FindStringSubmatch(o.index)
	if m == nil {
		o.t.Fatalf("no %s in %.500s", name, o.index)
	}
	return m[map[string]int{"document": 1, "attestations": 2}[what]]
}

// edit replaces text in a package's piece.
func (o *opened) edit(name, what, old, new string) {
	digest := o.piece(name, what)
	o.set(digest, []byte(strings.Replace(string(o.pieces[digest]), old, new, -1)))
}

// set replaces a piece.
func (o *opened) set(digest string, body []byte) {
	was := o.pieces[digest]
	if bytes.Equal(was, body) {
		o.t.Fatal("nothing was changed")
	}
	sum := sha256.Sum256(body)
	now := hex.EncodeToString(sum[:])
	o.index = strings.ReplaceAll(o.index, fmt.Sprintf(`{"sha256":"%s","size":%d}`, digest, len(was)), fmt.Sprintf(`{"sha256":"%s","size":%d}`, now, len(body)))
	for i := range o.order {
		if o.order[i] == digest {
			o.order[i] = now
		}
	}
	o.pieces[now] = body
}

// forget makes a package's attestations ones that nobody asked for.
func (o *opened) forget(name string) {
	digest := o.piece(name, "attestations")
	o.index = regexp.MustCompile(`"attestations":\{"state":"served"[^{}]*\{"sha256":"`+digest+`"[^{}]*\}\}`).ReplaceAllString(o.index, `"attestations":{"state":"not-asked"}`)
}

// TestTamperedEvidence: what an archive that was changed, and made whole again, can bring about, and what not. The rows that
// end in another verdict than before without any check failing are what docs/evidence.md tells of.
func TestTamperedEvidence(t *testing.T) {
	w := evidenceWorld(t)
	w.run(w.flags("evidence", "export", "-o", "evidence.tar.gz", "--tarballs")...).want(0)
	whole := w.read("evidence.tar.gz")
	if string(unpackEvidence(t, whole).pack()) != whole {
		t.Fatal("packed anew, it is another file")
	}
	w.elsewhere("trusted_root.json", "keys.json", "package.json", "package-lock.json")
	for _, tt := range []struct {
		name    string
		change  func(o *opened)
		pkg     string
		verdict string
		rows    string
	}{
		{"nothing", func(*opened) {}, "@acme/widget", "provenance", ""},
		{"attestations left out", func(o *opened) { o.forget("@acme/widget") }, "@acme/widget", "unchecked", "not-in-archive"},
		{"attestations left out, and their announcement", func(o *opened) {
			o.forget("@acme/widget")
			o.edit("@acme/widget", "document", `"attestations"`, `"attestation"`)
		}, "@acme/widget", "signed", ""},
		{"another's attestations", func(o *opened) {
			o.set(o.piece("@acme/widget", "attestations"), append([]byte(" "), o.pieces[o.piece("stranger", "attestations")]...))
		}, "@acme/widget", "invalid", "other-version"},
		{"damaged attestations", func(o *opened) { o.edit("@acme/widget", "attestations", `"payload":"e`, `"payload":"f`) }, "@acme/widget", "invalid", ""},
		{"another integrity", func(o *opened) { o.edit("plain", "document", `"sha512-`, `"sha512-AAAA`) }, "plain", "invalid", ""},
		{"another signature", func(o *opened) { o.edit("plain", "document", `"sig":"`, `"sig":"AAAA`) }, "plain", "invalid", "registry-signature"},
		{"no signature", func(o *opened) { o.edit("plain", "document", `"signatures"`, `"signature"`) }, "plain", "unsigned", "signature-missing"},
		{"another tarball", func(o *opened) {
			o.index = regexp.MustCompile(`"sha512":"..`).ReplaceAllString(o.index, `"sha512":"00`)
		}, "@acme/widget", "invalid", "tarball-mismatch"},
		{"another name", func(o *opened) { o.edit("plain", "document", `"plain"`, `"other"`) }, "plain", "invalid", "other-version"},
		{"a claim that fits the provenance", func(o *opened) {
			o.edit("stranger", "document", "acme/stranger", "mallory/stranger")
		}, "stranger", "invalid", "manifest"},
		{"the claim in package.json too", func(o *opened) {
			o.edit("stranger", "document", "acme/stranger", "mallory/stranger")
			for _, digest := range o.order {
				if bytes.HasPrefix(o.pieces[digest], []byte("{")) && bytes.Contains(o.pieces[digest], []byte(`"acme/stranger"`)) && !bytes.Contains(o.pieces[digest], []byte(`"dist"`)) {
					o.set(digest, bytes.ReplaceAll(o.pieces[digest], []byte("acme/stranger"), []byte("mallory/stranger")))
				}
			}
		}, "stranger", "provenance", ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			o := unpackEvidence(t, whole)
			tt.change(o)
			w.write("evidence.tar.gz", o.pack())
			r := w.run(w.flags("audit", "--json", "--evidence", "evidence.tar.gz")...)
			if r.code != 1 {
				t.Fatalf("exit %d: %s", r.code, r.stderr)
			}
			p := r.pkg(tt.pkg)
			if string(p.Verdict) != tt.verdict || !strings.Contains(rows(p), tt.rows) {
				t.Errorf("%s: %s, want %s, %s", p.Verdict, rows(p), tt.verdict, tt.rows)
			}
			if told := strings.Contains(r.stderr, "another than the one that the archive holds"); told != (tt.name != "nothing") {
				t.Errorf("that the report is another is told: %t", told)
			}
			for _, p := range r.report().Packages { // whoever made it is who the certificate says, whatever the archive says
				if p.Publisher != nil && !map[string]bool{"https://github.com/acme/widget": true, "https://github.com/mallory/stranger": true}[p.Publisher.Repository] {
					t.Errorf("%s was built from %s", p.Name, p.Publisher.Repository)
				}
			}
		})
	}
}

// TestStrippedArchive: an archive made by somebody who had seen the attestations before tells that they are gone, and
// nothing but leaving that out, too, hides it.
func TestStrippedArchive(t *testing.T) {
	w := evidenceWorld(t)
	w.run(w.flags("audit")...).want(1)
	w.now = func() time.Time { return time.Now().Add(48 * time.Hour) } // the cache is not fresh any more
	w.server.Misbehave(lab.Match{Endpoint: lab.EndpointVersion, Name: "@acme/widget"}, lab.StripDist("attestations"), 0)
	w.server.Misbehave(lab.Match{Endpoint: lab.EndpointAttestations, Name: "@acme/widget"}, lab.Status(404), 0)
	w.run(w.flags("evidence", "export", "-o", "evidence.tar.gz")...).want(0)
	online := w.run(w.flags("audit", "--json")...)
	w.elsewhere("evidence.tar.gz", "trusted_root.json", "keys.json", "package.json", "package-lock.json")
	r := w.run(w.flags("audit", "--json", "--evidence", "evidence.tar.gz")...)
	if r.stdout != online.stdout {
		t.Errorf("another report:\n%s", firstDifference(online.stdout, r.stdout))
	}
	if p := r.pkg("@acme/widget"); p.Verdict != "invalid" || !strings.Contains(rows(p), "attestation-stripped") {
		t.Errorf("%s: %s", p.Verdict, rows(p))
	}
}

// TestLongRequest: a list of packages takes no more memory than its archive could be worth. An archive of some hundred
// kilobytes would else unpack to millions of names, each of which gets a row of the report.
func TestLongRequest(t *testing.T) {
	w := evidenceWorld(t)
	w.run(w.flags("evidence", "export", "-o", "evidence.tar.gz")...).want(0)
	whole := w.read("evidence.tar.gz")
	w.elsewhere("trusted_root.json", "keys.json")
	const target = `{"name":"plain","version":"1.0.0"}`
	for name, list := range map[string]string{
		"targets": `{"schema":"assay/request/v1","targets":[` + strings.Repeat(target+",", 300_000) + target + `],"others":[],"notes":[],"project_notes":[],"policy":""}`,
		"others":  `{"schema":"assay/request/v1","targets":[],"others":[` + strings.Repeat(`{"source":"x"},`, 300_000) + `{"source":"x"}],"notes":[],"project_notes":[],"policy":""}`,
		"names":   `{"schema":"assay/request/v1","targets":[{"name":"plain","version":"1.0.0","path":[` + strings.Repeat(`"",`, 24<<20) + `""]}],"others":[],"notes":[],"project_notes":[],"policy":""}`,
	} {
		o := unpackEvidence(t, whole)
		for digest, body := range o.pieces {
			if bytes.HasPrefix(body, []byte(`{"schema":"assay/request/`)) {
				o.set(digest, []byte(list))
				break
			}
		}
		w.write("evidence.tar.gz", o.pack())
		r := w.run(w.flags("audit", "--evidence", "evidence.tar.gz")...)
		if r.code != 3 || !strings.Contains(r.stderr, "evidence.tar.gz") || !strings.Contains(r.stderr, "more than") {
			t.Errorf("%s: exit %d: %.500s", name, r.code, r.stderr)
		}
	}
}

// TestListedPlaces: a list of packages does not make a report name files outside of the project, or lines that there cannot be.
func TestListedPlaces(t *testing.T) {
	w := evidenceWorld(t)
	w.run(w.flags("evidence", "export", "-o", "evidence.tar.gz")...).want(0)
	whole := w.read("evidence.tar.gz")
	w.elsewhere("trusted_root.json", "keys.json")
	for _, change := range [][2]string{
		{`"file":"package-lock.json"`, `"file":"../../.github/workflows/release.yml"`}, {`"file":"package-lock.json"`, `"file":"a/../../b"`},
		{`"line":`, `"line":-`}, {`"line":`, `"line":99999999999`},
	} {
		o := unpackEvidence(t, whole)
		for digest, body := range o.pieces {
			if bytes.HasPrefix(body, []byte(`{"schema":"assay/request/`)) {
				o.set(digest, bytes.Replace(body, []byte(change[0]), []byte(change[1]), 1))
				break
			}
		}
		w.write("evidence.tar.gz", o.pack())
		r := w.run(w.flags("audit", "--evidence", "evidence.tar.gz", "--format", "sarif")...)
		if r.code != 3 || r.stdout != "" || !strings.Contains(r.stderr, "no place of a dependency") {
			t.Errorf("%s: exit %d: %.500s", change[1], r.code, r.stderr)
		}
	}
}

package sigstore

import (
	"bytes"
	"encoding/json"
	"errors"
	"strings"
	"testing"
	"time"
)

// fuzzLab gives every fuzz target the same kind of seeds: bundles and a trusted root of a fresh instance.
func fuzzLab(f *testing.F) (bundles [][]byte, rootJSON []byte) {
	l := newLab(f)
	during := l.now.Add(time.Minute)
	for _, o := range []labBundle{{tsTime: during}, {rekor2: true, tsTime: during}, {message: true}, {key: true}, {mediaType: mediaTypeV01}} {
		data, trusted, _ := l.make(o)
		bundles, rootJSON = append(bundles, data), trusted
	}
	return bundles, rootJSON
}

func onlyFormatError(t *testing.T, err error) {
	t.Helper()
	var format *FormatError
	if err != nil && !errors.As(err, &format) {
		t.Fatalf("error is %T: %v", err, err)
	}
}

// FuzzVerify parses and verifies anything. A bundle that holds must be one of the seeds' signatures and statements:
// nobody can make another.
func FuzzVerify(f *testing.F) {
	bundles, rootJSON := fuzzLab(f)
	r, err := ParseTrustedRoot(rootJSON)
	if err != nil {
		f.Fatal(err)
	}
	genuine := map[string]bool{}
	for _, data := range bundles {
		f.Add(data)
		b, err := ParseBundle(data)
		if err != nil {
			f.Fatal(err)
		}
		genuine[string(signedBytes(b))] = true
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		b, err := ParseBundle(data)
		onlyFormatError(t, err)
		if err != nil {
			return
		}
		v := r.Verify(b, Options{Artifact: artifactDigests(artifact)})
		for name, step := range v.steps() {
			if step.Status == NotDone || (step.Status == Held) != (step.Reason == "") {
				t.Errorf("%s: %+v", name, step)
			}
		}
		if v.OK() && !genuine[string(signedBytes(b))] {
			t.Error("holds, though nobody signed it")
		}
	})
}

// signedBytes is what a bundle says: whose certificate signed what, and when.
func signedBytes(b *Bundle) []byte {
	if b.Envelope != nil {
		return appendPAE(bytes.Clone(b.Leaf), b.Envelope)
	}
	return append(bytes.Clone(b.Leaf), b.Message.Digest...)
}

func FuzzParseTrustedRoot(f *testing.F) {
	_, rootJSON := fuzzLab(f)
	f.Add(rootJSON)
	f.Fuzz(func(t *testing.T, data []byte) {
		r, err := ParseTrustedRoot(data)
		onlyFormatError(t, err)
		if (r == nil) != (err != nil) {
			t.Error("trusted root and error do not exclude each other")
		}
	})
}

func FuzzParseStatement(f *testing.F) {
	f.Add([]byte(`{"_type":"https://in-toto.io/Statement/v1","subject":[{"name":"n","digest":{"sha512":"aa"}}],"predicateType":"p","predicate":{"a":[1]}}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		s, err := ParseStatement(data)
		onlyFormatError(t, err)
		if err != nil {
			return
		}
		// encoding/json must not read it otherwise. It also takes names in another case, so ask for a map.
		var m map[string]json.RawMessage
		if err := json.Unmarshal(data, &m); err != nil {
			t.Fatalf("encoding/json: %v", err)
		}
		var typ, predicateType string
		json.Unmarshal(m["_type"], &typ)
		json.Unmarshal(m["predicateType"], &predicateType)
		if typ != s.Type || predicateType != s.PredicateType || s.Predicate != nil && !bytes.Equal(m["predicate"], s.Predicate) {
			t.Errorf("%s reads as %+v", data, s)
		}
	})
}

func FuzzCheckpoint(f *testing.F) {
	f.Add("rekor.example - 1\n5\n" + std(make([]byte, 32)) + "\n\n\u2014 rekor.example AAAAAAAA\n")
	f.Fuzz(func(t *testing.T, note string) {
		c, err := parseCheckpoint(note)
		if err != nil {
			return
		}
		// Print and compare: there is one form only.
		var b strings.Builder
		b.WriteString(c.text + "\n")
		for _, s := range c.signatures {
			b.WriteString("\u2014 " + s.name + " " + std(append(s.hint[:], s.signature...)) + "\n")
		}
		if b.String() != note {
			t.Errorf("%q prints as %q", note, b.String())
		}
	})
}

func FuzzSCTs(f *testing.F) {
	l := newLab(f)
	f.Add(l.sct(l.ctKey, l.now, []byte("tbs"), l.interCert))
	f.Fuzz(func(t *testing.T, value []byte) {
		scts, err := parseSCTs(value)
		for _, s := range scts {
			if err != nil || len(s.logID) != 32 || s.time().Year() < 1970 {
				t.Errorf("%+v, %v", s, err)
			}
		}
	})
}

func FuzzPrecert(f *testing.F) {
	l := newLab(f)
	data, _, _ := l.make(labBundle{})
	b, err := ParseBundle(data)
	if err != nil {
		f.Fatal(err)
	}
	d := der(b.Leaf)
	certificate, _ := d.only(tagSequence)
	tbs, _ := certificate.takeWhole(tagSequence)
	f.Add([]byte(tbs))
	f.Fuzz(func(t *testing.T, tbs []byte) {
		out, err := appendPrecert(nil, tbs)
		if err != nil {
			return
		}
		// What is cut out is one extension, and what is left is DER.
		d := der(out)
		if _, err := d.only(tagSequence); err != nil || len(out) >= len(tbs) {
			t.Errorf("%x becomes %x", tbs, out)
		}
	})
}

func FuzzTimestamp(f *testing.F) {
	l := newLab(f)
	_, rootJSON, _ := l.make(labBundle{})
	r, err := ParseTrustedRoot(rootJSON)
	if err != nil {
		f.Fatal(err)
	}
	sig := []byte("signature")
	made := l.now.Add(time.Minute)
	f.Add(l.timestamp(l.tsaCert, l.tsaKey, made, sig))
	f.Fuzz(func(t *testing.T, data []byte) {
		at, _, step := r.checkTimestamp(data, sig)
		if step.Status == Held && !at.Equal(made) {
			t.Errorf("a timestamp of %v holds", at)
		}
		if (step.Status == Held) != (step.Reason == "") || step.Status == NotDone {
			t.Errorf("%+v", step)
		}
	})
}

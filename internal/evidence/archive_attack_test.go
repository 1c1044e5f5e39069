package evidence

import (
	"bytes"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"assay/internal/npm"
)

// archived makes an archive of what was handed out of the package "a".
func archived(t *testing.T, ev *Evidence) *Archive {
	t.Helper()
	r := NewRecorder()
	r.collected(Request{ID: npm.ID{Name: "a", Version: "1.0.0"}, Registry: archiveRegistry}, ev)
	a, err := r.Archive(ArchiveOptions{Tool: "assay test", Named: func(string) bool { return false }, Trust: ArchivedTrust{Root: TrustFile{Body: []byte("{}")}}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { a.Close() })
	return a
}

// merged merges archives in every order, and returns what the result has of the package "a".
func merged(t *testing.T, archives ...*Archive) *Evidence {
	t.Helper()
	never := func(a, b ArchivedTrust) (ArchivedTrust, error) { return a, errors.New("the trust is the same") }
	first := ""
	var m *Archive
	for range archives {
		archives = append(archives[1:], archives[0])
		var err error
		if m, err = MergeArchives(never, archives...); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { m.Close() })
		if got := string(written(t, m)); first == "" {
			first = got
		} else if got != first {
			t.Error("the order matters")
		}
	}
	m = readBack(t, written(t, m))
	url := func([]byte) (string, []string) { return "u", []string{"sha512", WithFiles} }
	return NewCollector(CollectorOptions{Archive: m}).Collect(t.Context(), Request{ID: npm.ID{Name: "a", Version: "1.0.0"}, Registry: archiveRegistry, Tarball: url})
}

func servedAt(body string, hours int) Answer {
	return Answer{State: Served, Status: 200, Body: []byte(body), At: archiveTime.Add(time.Duration(hours) * time.Hour)}
}

// TestMergeFlood: an archive full of earlier answers does not make a merge forget what another archive has.
func TestMergeFlood(t *testing.T) {
	honest := archived(t, &Evidence{Authenticated: true, Document: servedAt(`{"dist":{"attestations":{}}}`, 10), Attestations: servedAt(`{"attestations":[1]}`, 10)})
	var floods []*Archive
	for n := range 2 {
		flood := &Evidence{Authenticated: true, Document: servedAt(fmt.Sprintf(`{"dist":{"signatures":[%d]}}`, n), 20+n)}
		for i := range maxEarlier {
			flood.Earlier = append(flood.Earlier, Earlier{
				Document: fmt.Appendf(nil, `{"dist":{"attestations":{"n":[%d,%d]}}}`, n, i), Attestations: fmt.Appendf(nil, `{"attestations":[{},%d,%d]}`, n, i),
				At: archiveTime.Add(time.Duration([]int{15, 14, 13, 0}[i]) * time.Hour),
			})
		}
		floods = append(floods, archived(t, flood))
	}
	for n := range floods {
		ev := merged(t, append([]*Archive{honest}, floods[:n+1]...)...)
		found := false
		for _, e := range ev.Earlier {
			found = found || string(e.Attestations) == `{"attestations":[1]}`
		}
		if !found {
			t.Errorf("with %d floods the honest archive's attestations are forgotten: %s", n+1, ev.Earlier)
		}
	}
}

// TestMergeTarballs: archives that have different bytes under one address say nothing of them together, whichever is the liar.
func TestMergeTarballs(t *testing.T) {
	of := func(change func(*Tarball)) *Archive {
		tarball := &Tarball{URL: "u", Size: 7, SHA512: bytes.Repeat([]byte{1}, 64), Manifest: []byte(`{"name":"a"}`), Files: map[string]File{"x": {Size: 1}}}
		change(tarball)
		return archived(t, &Evidence{Authenticated: true, Document: servedAt(`{"dist":{"signatures":[1]}}`, 1), Tarball: tarball})
	}
	honest := of(func(*Tarball) {})
	for name, change := range map[string]func(*Tarball){
		"digest":   func(k *Tarball) { k.SHA512 = bytes.Repeat([]byte{2}, 64) },
		"size":     func(k *Tarball) { k.Size = 8 },
		"manifest": func(k *Tarball) { k.Manifest = []byte(`{}`) },
		"files":    func(k *Tarball) { k.Files = map[string]File{"x": {Size: 2}} },
		"problem":  func(k *Tarball) { k.Problem = ProblemTrailing },
	} {
		ev := merged(t, honest, of(change))
		if ev.Tarball.Reason != ReasonNotInArchive || ev.Tarball.SHA512 != nil || !strings.Contains(ev.Tarball.Detail, "different") {
			t.Errorf("%s: %+v", name, ev.Tarball)
		}
	}
	for name, change := range map[string]func(*Tarball){
		"the same":     func(*Tarball) {},
		"no files":     func(k *Tarball) { k.Files = nil },
		"more digests": func(k *Tarball) { k.SHA1 = bytes.Repeat([]byte{4}, 20) },
		"not to be had": func(k *Tarball) {
			*k = Tarball{URL: "u", Reason: "timeout"}
		},
	} {
		if ev := merged(t, honest, of(change)); ev.Tarball.Reason != "" || ev.Tarball.Files == nil {
			t.Errorf("%s: %+v", name, ev.Tarball)
		}
	}
}

// TestArchiveLaterAnswer: no answer is later than the archive says it was made. Else it would count as the newer one
// for as long as anybody merges.
func TestArchiveLaterAnswer(t *testing.T) {
	a := archived(t, &Evidence{Authenticated: true, Document: servedAt(`{"dist":{"signatures":[1]}}`, 1)})
	a.index.Packages[0].Document.At = archiveTime.AddDate(70, 0, 0)
	_, err := ReadArchive(bytes.NewReader(written(t, a)))
	var damaged *ArchiveError
	if !errors.As(err, &damaged) || !strings.Contains(err.Error(), "later") {
		t.Errorf("the error is %v", err)
	}
}

package trust

import (
	"bytes"
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"assay/internal/trust/tuftest"
)

// admits reports how an archive's trust is taken, and for what reason not.
func admits(t *testing.T, a *Archived, root, keys []byte, starts [][]byte) (*Material, string) {
	t.Helper()
	m, err := a.admit(root, keys, starts)
	if err == nil {
		return m, ""
	}
	var refused *ArchiveError
	if !errors.As(err, &refused) || !strings.HasPrefix(err.Error(), ReasonArchive+": ") {
		t.Fatalf("the error is no *ArchiveError, or does not name its reason: %v", err)
	}
	return nil, err.Error()
}

func TestAdmit(t *testing.T) {
	w := newWorld(t)
	w.publish(t, 1)
	m := w.load(t)
	starts := [][]byte{w.Root(1)}
	archived := m.Archived()

	got, why := admits(t, archived, nil, nil, starts)
	if why != "" || got.RootSource.Origin != OriginTUF || got.KeysSource.Origin != OriginTUF || !bytes.Equal(got.RootJSON, rootFile(1)) ||
		len(got.Keys) == 0 || got.Root == nil || len(got.Roles) == 0 {
		t.Fatalf("TUF's own: %s: %+v", why, got)
	}

	stranger := newWorld(t)
	stranger.publish(t, 2)
	other := stranger.load(t).Archived()
	file := func(a *Archived) { a.RootSource.Origin, a.KeysSource.Origin, a.Metadata = OriginFile, OriginFile, nil }
	for _, tt := range []struct {
		name       string
		change     func(a *Archived)
		root, keys []byte
		want       string // in the refusal; "" for trust that counts
		origin     Origin
	}{
		{"a stranger's repository", func(a *Archived) { *a = *other }, nil, nil, "trusted root", ""},
		{"a stranger's files under TUF's metadata", func(a *Archived) { a.RootJSON, a.KeysJSON = other.RootJSON, other.KeysJSON }, nil, nil, "trusted root", ""},
		{"a stranger's keys under TUF's metadata", func(a *Archived) { a.KeysJSON = other.KeysJSON }, nil, nil, "keys", ""},
		{"a stranger's metadata", func(a *Archived) { a.Metadata = other.Metadata }, nil, nil, "trusted root", ""},
		{"no metadata", func(a *Archived) { a.Metadata = nil }, nil, nil, "nothing vouches", ""},
		{"no root", func(a *Archived) { a.RootJSON = nil }, nil, nil, "there is none", ""},
		{"no keys", func(a *Archived) { a.KeysJSON = nil }, nil, nil, "", OriginTUF},
		{"metadata without targets", func(a *Archived) { md := *a.Metadata; md.Targets = nil; a.Metadata = &md }, nil, nil, "trusted root", ""},
		{"said to be this program's", func(a *Archived) { a.RootSource.Origin = OriginEmbedded; a.Metadata = nil }, nil, nil, "nothing vouches", ""},
		{"this program's own", func(a *Archived) {
			a.RootJSON, a.RootSource.Origin = embeddedFile("trusted_root.json"), OriginEmbedded
			a.KeysJSON, a.KeysSource.Origin = embeddedFile("keys.json"), OriginEmbedded
			a.Metadata = nil
		}, nil, nil, "", OriginEmbedded},
		{"this program's own, said to be from TUF", func(a *Archived) {
			a.RootJSON, a.KeysJSON, a.Metadata = embeddedFile("trusted_root.json"), embeddedFile("keys.json"), nil
		}, nil, nil, "", OriginEmbedded},
		{"files", file, nil, nil, "name that file here as well", ""},
		{"files that are named", file, rootFile(1), keysFile(1), "", OriginFile},
		{"one file that is named", file, rootFile(1), nil, "keys", ""},
		{"files, and others named", file, rootFile(2), keysFile(1), "another than --trusted-root", ""},
		{"files, and other keys named", file, rootFile(1), keysFile(2), "another than --registry-keys", ""},
		{"TUF's, and another root named", func(*Archived) {}, rootFile(2), nil, "another than --trusted-root", ""},
		{"TUF's, and other keys named", func(*Archived) {}, nil, keysFile(2), "another than --registry-keys", ""},
		{"TUF's, and named", func(*Archived) {}, rootFile(1), keysFile(1), "", OriginTUF},
		{"named, and said to be from TUF", func(a *Archived) { a.Metadata = nil }, rootFile(1), keysFile(1), "", OriginFile},
	} {
		t.Run(tt.name, func(t *testing.T) {
			a := *archived
			tt.change(&a)
			m, why := admits(t, &a, tt.root, tt.keys, starts)
			if !strings.Contains(why, tt.want) || (why == "") != (tt.want == "") {
				t.Fatalf("%q, want %q", why, tt.want)
			}
			if why == "" && m.RootSource.Origin != tt.origin {
				t.Errorf("origin %q, want %q", m.RootSource.Origin, tt.origin)
			}
		})
	}
	if _, err := archived.Admit(nil, nil); err == nil {
		t.Error("a stranger's trust counts from the embedded roots")
	}
}

// What an archive says of where its trust comes from is kept where that holds, the user's paths aside.
func TestArchivedSource(t *testing.T) {
	m := &Material{RootSource: Source{Origin: OriginFile, Location: "/home/me/root.json"}, KeysSource: Source{Origin: OriginTUF, Location: DefaultURL, Age: time.Hour}}
	a := m.Archived()
	if a.RootSource.Location != "" || a.KeysSource.Location != DefaultURL || a.KeysSource.Age != 0 {
		t.Errorf("%+v", a)
	}
}

func TestNewerArchived(t *testing.T) {
	w := newWorld(t)
	w.publish(t, 1)
	starts := [][]byte{w.Root(1)}
	old := w.load(t).Archived()
	w.publish(t, 2)
	w.clock = w.clock.Add(48 * time.Hour)
	fresh := w.load(t).Archived()
	if bytes.Equal(old.RootJSON, fresh.RootJSON) {
		t.Fatal("the repository did not change")
	}
	for _, pair := range [][2]*Archived{{old, fresh}, {fresh, old}} {
		got, err := newerArchived(pair[0], pair[1], starts)
		if err != nil || got != fresh {
			t.Errorf("the older is taken, or none: %v", err)
		}
	}
	fromFile := &Archived{RootJSON: rootFile(3), RootSource: Source{Origin: OriginFile}}
	if _, err := newerArchived(old, fromFile, starts); err == nil {
		t.Error("trust from a file is newer, or older, than TUF's")
	}
	if got, err := newerArchived(fromFile, fromFile, starts); err != nil || got != fromFile {
		t.Errorf("equal trust: %v", err)
	}
}

// TestNewerThanEmbedded: old metadata that somebody kept is not newer than what this program carries.
func TestNewerThanEmbedded(t *testing.T) {
	w := newWorld(t)
	w.publish(t, 1)
	old := w.load(t).Archived()
	starts := [][]byte{w.Root(1)}
	carried := &Archived{
		RootJSON: embeddedFile("trusted_root.json"), RootSource: Source{Origin: OriginEmbedded},
		KeysJSON: embeddedFile("keys.json"), KeysSource: Source{Origin: OriginEmbedded},
	}
	for _, pair := range [][2]*Archived{{old, carried}, {carried, old}} {
		if got, err := newerArchived(pair[0], pair[1], starts); err != nil || got != old {
			t.Errorf("what TUF said under the root that the program starts from is not the newer: %v", err)
		}
	}
	if err := w.RotateRoot(); err != nil {
		t.Fatal(err)
	}
	starts = append(starts, w.Root(2))
	for _, pair := range [][2]*Archived{{old, carried}, {carried, old}} {
		if got, err := newerArchived(pair[0], pair[1], starts); err != nil || got != carried {
			t.Errorf("what TUF said under an earlier root is the newer: %v", err)
		}
	}
}

// TestCorpusArchive: Sigstore's real metadata vouches for the real files in an archive, and no damaged one does.
func TestCorpusArchive(t *testing.T) {
	real := func() *Archived {
		m := publicGood(t, 1, 15)
		return &Archived{
			RootJSON: m.Files[rootTarget], RootSource: Source{Origin: OriginTUF, Location: DefaultURL},
			KeysJSON: m.Files[keysTarget], KeysSource: Source{Origin: OriginTUF, Location: DefaultURL}, Metadata: m,
		}
	}
	m, err := real().Admit(nil, nil)
	if err != nil || m.RootSource.Origin != OriginTUF || m.KeysSource.Origin != OriginTUF || len(m.Keys) == 0 {
		t.Fatalf("the real metadata: %v", err)
	}
	flip := func(b []byte) []byte {
		b = slices.Clone(b)
		b[len(b)/3] ^= 1
		return b
	}
	files := map[string]func(a *Archived){
		"trusted root": func(a *Archived) { a.RootJSON = flip(a.RootJSON) },
		"keys":         func(a *Archived) { a.KeysJSON = flip(a.KeysJSON) },
		"root, and as TUF's target": func(a *Archived) {
			a.RootJSON = flip(a.RootJSON)
			a.Metadata.Files[rootTarget] = a.RootJSON
		},
	}
	for name, change := range files {
		a := real()
		change(a)
		if _, err := a.Admit(nil, nil); err == nil {
			t.Errorf("%s: altered, and it counts", name)
		}
	}
	metadata := map[string]func(m *Metadata){
		"timestamp":  func(m *Metadata) { m.Timestamp = flip(m.Timestamp) },
		"snapshot":   func(m *Metadata) { m.Snapshot = flip(m.Snapshot) },
		"targets":    func(m *Metadata) { m.Targets = flip(m.Targets) },
		"delegation": func(m *Metadata) { m.Delegated[tuftest.Delegated] = flip(m.Delegated[tuftest.Delegated]) },
		"no targets": func(m *Metadata) { m.Targets = nil },
	}
	for name, change := range metadata {
		a := real()
		change(a.Metadata)
		if _, err := VerifyMetadata(a.Metadata); err == nil {
			t.Errorf("%s: altered metadata verifies", name)
		}
		a.RootJSON = append(slices.Clone(a.RootJSON), '\n') // this program may carry the very file; not this one
		a.Metadata.Files[rootTarget] = a.RootJSON
		if _, err := a.Admit(nil, nil); err == nil {
			t.Errorf("%s: altered metadata vouches for a file", name)
		}
	}
}

package trust

import (
	"bytes"
	"errors"
	"fmt"
	"slices"

	"assay/internal/sigstore"
)

// ReasonArchive is the stable code under which a command tells of an [ArchiveError].
const ReasonArchive = "archive-trust"

// An ArchiveError says that trust which an evidence archive brings along does not count.
type ArchiveError struct {
	What string // what does not count, such as "the trusted root"
	Err  error  // why
}

func (e *ArchiveError) Error() string {
	return fmt.Sprintf("%s: %s in the evidence archive does not count: %v", ReasonArchive, e.What, e.Err)
}

// Unwrap returns the cause.
func (e *ArchiveError) Unwrap() error { return e.Err }

// Archived is trust as an evidence archive holds it: bytes, what whoever made the archive says of where they came
// from, and what vouches for them. Nothing in it counts before [Archived.Admit].
type Archived struct {
	RootJSON   []byte
	RootSource Source
	KeysJSON   []byte // nil: there are none
	KeysSource Source
	Metadata   *Metadata // nil: nothing from TUF vouches for the two
}

// Archived returns the trust in use for an evidence archive. Where a file of the user's lies is left out.
func (m *Material) Archived() *Archived {
	a := &Archived{RootJSON: m.RootJSON, RootSource: m.RootSource, KeysJSON: m.KeysJSON, KeysSource: m.KeysSource, Metadata: m.Metadata}
	for _, s := range []*Source{&a.RootSource, &a.KeysSource} {
		s.Age = 0
		if s.Origin == OriginFile {
			s.Location = ""
		}
		if !s.Stale {
			s.Detail = ""
		}
	}
	return a
}

// Admit makes trust that counts of an archive's. Each of its files has to be vouched for: by TUF metadata whose
// signatures lead to a root that this program carries, expiry aside (see [VerifyMetadata]); by being what this
// program carries itself; or by being, byte for byte, a file of the user's. The contents of those are given; nil for
// none. One that is given and is another than the archive's is an error whatever vouches for the archive's: nobody is to
// get an answer by other trust than what was asked for. What the archive says of where a file came
// from is believed no further than what vouches for it.
//
// The error is an [*ArchiveError].
func (a *Archived) Admit(root, keys []byte) (*Material, error) {
	return a.admit(root, keys, embeddedRoots())
}

func (a *Archived) admit(root, keys []byte, starts [][]byte) (*Material, error) {
	m := &Material{RootJSON: a.RootJSON, KeysJSON: a.KeysJSON}
	if a.RootJSON == nil {
		return nil, &ArchiveError{"the trusted root", errors.New("there is none")}
	}
	if root != nil {
		_, parsed, err := ReadTrustedRoot(root)
		if err != nil {
			return nil, fmt.Errorf("reading the trusted root: %w", err)
		}
		if !bytes.Equal(a.RootJSON, root) && !bytes.Equal(a.RootJSON, parsed) {
			return nil, &ArchiveError{"the trusted root", errors.New("it is another than --trusted-root names")}
		}
	}
	if keys != nil && !bytes.Equal(a.KeysJSON, keys) {
		return nil, &ArchiveError{"the list of registry keys", errors.New("it is another than --registry-keys names")}
	}
	var verified *Verified
	var why error
	if a.Metadata != nil {
		if verified, why = verifyMetadata(a.Metadata, starts); verified == nil {
			why = fmt.Errorf("no TUF root of this program leads to it: %w", why)
		}
	}
	var err error
	if m.RootSource, err = admitted(a.RootJSON, a.RootSource, root != nil, verified != nil && bytes.Equal(verified.RootJSON, a.RootJSON), embeddedBefore(a.RootJSON, rootTarget), why); err != nil {
		return nil, &ArchiveError{"the trusted root", err}
	}
	switch {
	case a.KeysJSON == nil:
		m.KeysSource = Source{Origin: OriginNone}
	default:
		if m.KeysSource, err = admitted(a.KeysJSON, a.KeysSource, keys != nil, verified != nil && bytes.Equal(verified.KeysJSON, a.KeysJSON), embeddedBefore(a.KeysJSON, "keys.json"), why); err != nil {
			return nil, &ArchiveError{"the list of npm's registry keys", err}
		}
	}
	if m.Root, err = sigstore.ParseTrustedRoot(m.RootJSON); err != nil {
		return nil, &ArchiveError{"the trusted root", err}
	}
	if m.KeysJSON != nil {
		if m.Keys, err = readKeys(m.KeysJSON); err != nil {
			return nil, &ArchiveError{"the list of npm's registry keys", err}
		}
	}
	if verified != nil {
		m.Metadata, m.Roles = verified.Metadata, verified.Roles
	}
	return m, nil
}

// admitted is where an archive's file may say that it comes from, given what vouches for it.
func admitted(data []byte, claimed Source, byUser, byTUF, embedded bool, why error) (Source, error) {
	s := claimed
	s.Age = 0
	switch s.Origin {
	case OriginTUF, OriginCache:
		if byTUF {
			return s, nil
		}
	case OriginEmbedded:
		if embedded {
			return s, nil
		}
	case OriginFile:
		if byUser {
			return s, nil
		}
	}
	switch {
	case byUser:
		return Source{Origin: OriginFile}, nil
	case byTUF:
		return Source{Origin: OriginCache, At: s.At}, nil
	case embedded:
		return Source{Origin: OriginEmbedded, At: s.At}, nil
	case why != nil:
		return s, why
	case s.Origin == OriginFile:
		return s, errors.New("it came from a file; name that file here as well")
	}
	return s, errors.New("nothing vouches for it")
}

// embeddedBefore reports whether this program, or an earlier release of it, carries a file of these bytes.
func embeddedBefore(data []byte, name string) bool {
	return data != nil && (bytes.Equal(data, embeddedFile(name)) || slices.Contains(embeddedEarlier()[name], digestOf(data)))
}

// NewerArchived returns, of two archives' trust, the one whose TUF metadata is newer. Both have to verify; of trust from
// files nobody can say which is newer.
func NewerArchived(a, b *Archived) (*Archived, error) {
	return newerArchived(a, b, embeddedRoots())
}

func newerArchived(a, b *Archived, starts [][]byte) (*Archived, error) {
	if bytes.Equal(a.RootJSON, b.RootJSON) && bytes.Equal(a.KeysJSON, b.KeysJSON) && (a.Metadata == nil || b.Metadata == nil) {
		if b.Metadata == nil {
			return a, nil
		}
		return b, nil
	}
	versions := [2][]int64{}
	for i, t := range []*Archived{a, b} {
		if _, err := t.admit(nil, nil, starts); err != nil {
			return nil, fmt.Errorf("the archives start from different trust, and which is the newer cannot be told: %w", err)
		}
		if t.Metadata == nil {
			// What a program carries is older than what TUF said, unless that is the metadata of a time before.
			if Embedded(t.RootJSON, t.KeysJSON) {
				v, err := rootVersion(starts[len(starts)-1])
				if err != nil {
					return nil, err
				}
				versions[i] = []int64{v}
			}
			continue
		}
		v, err := verifyMetadata(t.Metadata, starts)
		if err != nil {
			return nil, &ArchiveError{"the TUF metadata", err}
		}
		for _, r := range v.Roles {
			versions[i] = append(versions[i], r.Version)
		}
	}
	if slices.Compare(versions[0], versions[1]) >= 0 {
		return a, nil
	}
	return b, nil
}

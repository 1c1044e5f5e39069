package trust

import (
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/theupdateframework/go-tuf/v2/metadata"
	"github.com/theupdateframework/go-tuf/v2/metadata/trustedmetadata"
)

// Bounds on TUF metadata, well above what any real repository has.
const (
	maxRoots       = 256      // in one chain
	maxRole        = 5 << 20  // bytes of one role's metadata
	maxTarget      = 8 << 20  // bytes of one target file
	maxDelegations = 32       // roles looked at for one target
	maxMetadata    = 32 << 20 // bytes of an encoded Metadata
)

// metadataSchema names the encoding of [Metadata].
const metadataSchema = "assay/tuf/v1"

// Metadata is TUF metadata and the target files that it vouches for, exact bytes as a repository served them.
// Nothing in it is trusted before [VerifyMetadata].
type Metadata struct {
	// Roots are root.json files in ascending order of version, without gaps.
	Roots [][]byte `json:"roots"`
	// Timestamp, Snapshot and Targets are the top-level roles' metadata.
	Timestamp []byte `json:"timestamp"`
	Snapshot  []byte `json:"snapshot"`
	Targets   []byte `json:"targets"`
	// Delegated is the metadata of delegated roles by name, such as "registry.npmjs.org".
	Delegated map[string][]byte `json:"delegated,omitempty"`
	// Files are target files by path, such as "trusted_root.json".
	Files map[string][]byte `json:"files,omitempty"`
}

// A Role is the state of one TUF role.
type Role struct {
	Name    string    `json:"name"` // "root", "timestamp", "snapshot", "targets", or a delegated role's
	Version int64     `json:"version"`
	Expires time.Time `json:"expires"`
}

// Encode writes m as JSON; the same m gives the same bytes.
func (m *Metadata) Encode() ([]byte, error) {
	return json.Marshal(struct {
		Schema string `json:"schema"`
		*Metadata
	}{metadataSchema, m})
}

// DecodeMetadata reads what [Metadata.Encode] wrote. It says nothing about whether the content holds.
func DecodeMetadata(data []byte) (*Metadata, error) {
	if len(data) > maxMetadata {
		return nil, fmt.Errorf("TUF metadata is larger than %d bytes", maxMetadata)
	}
	var in struct {
		Schema string `json:"schema"`
		Metadata
	}
	if err := json.Unmarshal(data, &in); err != nil {
		return nil, fmt.Errorf("reading TUF metadata: %w", err)
	}
	if in.Schema != metadataSchema {
		return nil, fmt.Errorf("reading TUF metadata: schema %q is not known", in.Schema)
	}
	return &in.Metadata, nil
}

// Verified is what TUF metadata vouches for.
type Verified struct {
	RootJSON []byte // trusted_root.json; nil if m has none, or TUF lists none
	KeysJSON []byte // the registry's keys; nil likewise
	Roles    []Role // root, timestamp, snapshot, targets, then the delegated roles that were looked at
	Metadata *Metadata
}

// VerifyMetadata checks, expiry aside, that m's signatures lead from an embedded root to the trusted root and
// to the keys of npm's public registry that m holds. It is for evidence kept earlier: whoever signed for the
// trusted root and the keys was entitled to do so when the evidence was collected, which may be years ago.
//
// The walk starts at the newest embedded root. If m's roots end before that, because an earlier release
// collected it, and the newest root does not vouch for it, an earlier embedded root does as well.
//
// Verified.Metadata holds only what was verified. Errors satisfy errors.Is with the error types of
// go-tuf/v2/metadata.
func VerifyMetadata(m *Metadata) (*Verified, error) {
	return verifyMetadata(m, embeddedRoots())
}

// verifyMetadata is VerifyMetadata with the roots to start from, in ascending order of version.
func verifyMetadata(m *Metadata, starts [][]byte) (*Verified, error) {
	if m == nil {
		return nil, errors.New("no TUF metadata")
	}
	keys, err := KeysTarget(NPMRegistry)
	if err != nil {
		return nil, err
	}
	var last int64
	for _, r := range m.Roots {
		if v, err := rootVersion(r); err == nil {
			last = max(last, v)
		}
	}
	var first error
	for i, start := range slices.Backward(starts) {
		st, err := m.verify(start, time.Time{}, []string{rootTarget, keys})
		if err == nil {
			err = st.wrong()
		}
		if err == nil {
			return &Verified{st.files[rootTarget], st.files[keys], st.roles, st.metadata}, nil
		}
		if first == nil {
			first = err
		}
		if v, err := rootVersion(start); err != nil || i == 0 || last >= v {
			break // m claims to know this root's successors or equals: no reason to look further back
		}
	}
	return nil, fmt.Errorf("verifying TUF metadata: %w", first)
}

// A state is what is known of a TUF repository: verified, or embedded.
type state struct {
	files    map[string][]byte      // by target path; only as vouched for
	missing  map[string]missingFile // listed by TUF, but not at hand or not as listed
	roles    []Role                 // root first
	metadata *Metadata              // what vouches for files; nil if embedded
	source   Source
	notes    []Note
}

// A missingFile is a target that TUF lists and that is not at hand.
type missingFile struct {
	info *metadata.TargetFiles // what TUF says of it; nil: the delegated role that says it is not at hand either
	err  error                 // what is wrong with the file at hand; nil: there is none
}

// wrong returns the error of the first file that is at hand but not as TUF lists it, nil if there is none.
func (st *state) wrong() error {
	for _, name := range slices.Sorted(maps.Keys(st.missing)) {
		if err := st.missing[name].err; err != nil {
			return err
		}
	}
	return nil
}

// verify walks m by TUF's rules: from start through the later ones among m.Roots, then timestamp, snapshot,
// targets and the delegated roles that lead to names. Expiry is judged at the given time; the zero time is
// before every expiry. A name that TUF does not list is left out of the result; one that m does not hold as
// listed is in missing.
//
// The library trusts the shape of what is properly signed and follows null references in it; a signer could
// make it panic, hence the recover.
func (m *Metadata) verify(start []byte, at time.Time, names []string) (st *state, err error) {
	defer func() {
		if p := recover(); p != nil {
			st, err = nil, fmt.Errorf("signed metadata is malformed: %v", p)
		}
	}()
	if len(m.Roots) > maxRoots {
		return nil, fmt.Errorf("more than %d roots", maxRoots)
	}
	for _, data := range slices.Concat(m.Roots, [][]byte{start, m.Timestamp, m.Snapshot, m.Targets}) {
		if len(data) > maxRole {
			return nil, fmt.Errorf("metadata is larger than %d bytes", maxRole)
		}
	}
	t, err := trustedmetadata.New(start)
	if err != nil {
		return nil, fmt.Errorf("root to start from: %w", err)
	}
	t.RefTime = at
	kept := &Metadata{
		Roots: [][]byte{start}, Timestamp: m.Timestamp, Snapshot: m.Snapshot, Targets: m.Targets,
		Delegated: make(map[string][]byte), Files: make(map[string][]byte),
	}
	for _, data := range m.Roots {
		v, err := rootVersion(data)
		if err != nil {
			return nil, err
		}
		if v <= t.Root.Signed.Version {
			continue // known already, and better: by its bytes
		}
		if _, err := t.UpdateRoot(data); err != nil {
			return nil, fmt.Errorf("root %d: %w", v, err)
		}
		kept.Roots = append(kept.Roots, data)
	}
	ts, err := t.UpdateTimestamp(m.Timestamp)
	if err != nil {
		return nil, fmt.Errorf("timestamp: %w", err)
	}
	if ts.Signed.Meta["snapshot.json"] == nil {
		return nil, errors.New("timestamp: names no snapshot")
	}
	if _, err := t.UpdateSnapshot(m.Snapshot, false); err != nil {
		return nil, fmt.Errorf("snapshot: %w", err)
	}
	if _, err := t.UpdateTargets(m.Targets); err != nil {
		return nil, fmt.Errorf("targets: %w", err)
	}

	st = &state{files: make(map[string][]byte), missing: make(map[string]missingFile), metadata: kept}
	for _, name := range names {
		data, ok := m.Files[name]
		info, err := m.find(t, name, kept)
		if errors.Is(err, errNoRole) && !ok {
			st.missing[name] = missingFile{}
			continue
		}
		if err != nil {
			return nil, err
		}
		if info == nil {
			continue
		}
		if !ok {
			st.missing[name] = missingFile{info: info}
		} else if err := checkFile(info, data); err != nil {
			st.missing[name] = missingFile{info, fmt.Errorf("target file %s: %w", name, err)}
		} else {
			st.files[name], kept.Files[name] = data, data
		}
	}
	st.roles = []Role{
		{metadata.ROOT, t.Root.Signed.Version, t.Root.Signed.Expires.UTC()},
		{metadata.TIMESTAMP, ts.Signed.Version, ts.Signed.Expires.UTC()},
		{metadata.SNAPSHOT, t.Snapshot.Signed.Version, t.Snapshot.Signed.Expires.UTC()},
		{metadata.TARGETS, t.Targets[metadata.TARGETS].Signed.Version, t.Targets[metadata.TARGETS].Signed.Expires.UTC()},
	}
	for _, name := range slices.Sorted(maps.Keys(kept.Delegated)) {
		s := t.Targets[name].Signed
		st.roles = append(st.roles, Role{name, s.Version, s.Expires.UTC()})
	}
	return st, nil
}

// errNoRole says that the delegated role which decides about a target is not at hand.
var errNoRole = errors.New("metadata of a delegated role is missing")

// find looks a target up, in pre-order through the delegations, and adds the delegated roles it needed to
// kept. It returns nil for a target that nobody lists.
// Source: TUF specification 1.0.31, 5.6.7.
func (m *Metadata) find(t *trustedmetadata.TrustedMetadata, name string, kept *Metadata) (*metadata.TargetFiles, error) {
	type visit struct{ role, parent string }
	stack := []visit{{metadata.TARGETS, metadata.ROOT}}
	seen := make(map[string]bool)
	for len(stack) > 0 {
		v := stack[len(stack)-1]
		stack = stack[:len(stack)-1]
		if seen[v.role] {
			continue
		}
		if len(seen) == maxDelegations {
			return nil, fmt.Errorf("target %s: more than %d delegated roles", name, maxDelegations)
		}
		seen[v.role] = true
		role := t.Targets[v.role]
		if role == nil {
			data, ok := m.Delegated[v.role]
			if !ok {
				return nil, fmt.Errorf("target %s: %w: %q", name, errNoRole, v.role)
			}
			if len(data) > maxRole {
				return nil, fmt.Errorf("metadata of the delegated role %q is larger than %d bytes", v.role, maxRole)
			}
			var err error
			if role, err = t.UpdateDelegatedTargets(data, v.role, v.parent); err != nil {
				return nil, fmt.Errorf("delegated role %q: %w", v.role, err)
			}
			kept.Delegated[v.role] = data
		}
		if info := role.Signed.Targets[name]; info != nil {
			return info, nil
		}
		if role.Signed.Delegations == nil {
			continue
		}
		var children []visit
		for _, r := range role.Signed.Delegations.GetRolesForTarget(name) {
			children = append(children, visit{r.Name, v.role})
			if r.Terminating {
				stack = nil
				break
			}
		}
		slices.Reverse(children)
		stack = append(stack, children...)
	}
	return nil, nil
}

func checkFile(info *metadata.TargetFiles, data []byte) error {
	if len(data) > maxTarget {
		return fmt.Errorf("larger than %d bytes", maxTarget)
	}
	return info.VerifyLengthHashes(data)
}

// rootVersion reads the version that root metadata claims.
func rootVersion(data []byte) (int64, error) {
	if len(data) > maxRole {
		return 0, fmt.Errorf("root metadata is larger than %d bytes", maxRole)
	}
	var root struct {
		Signed struct {
			Version int64 `json:"version"`
		} `json:"signed"`
	}
	if err := json.Unmarshal(data, &root); err != nil {
		return 0, fmt.Errorf("reading root metadata: %w", err)
	}
	if root.Signed.Version < 1 {
		return 0, errors.New("reading root metadata: no version")
	}
	return root.Signed.Version, nil
}

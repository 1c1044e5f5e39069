// Package trust decides which Sigstore trusted root and which npm registry keys count, and says where they
// come from and how old they are.
//
// By default both are targets of Sigstore's public-good TUF repository. They are refreshed from there at most
// once a day. What the repository says counts only if its signatures lead to a TUF root that is compiled into
// the program; the same holds for the local cache, which is verified anew, expiry aside, whenever it is read,
// so that whoever can write to the cache directory cannot add a root or a key. Where a refresh fails, the last
// verified state is used, else the embedded one, and [Source.Stale] says so. Files given by the user replace
// either of the two and switch off TUF for it.
//
// The rules of TUF are those of the TUF specification 1.0.31 section 5.3 ("Detailed client workflow"); the
// repository's layout is that of sigstore/root-signing.
package trust

//go:generate go run refresh_embedded.go

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"time"

	"assay/internal/npm"
	"assay/internal/sigstore"
)

// Defaults of [Options].
const (
	DefaultURL     = "https://tuf-repo-cdn.sigstore.dev"
	DefaultTimeout = 10 * time.Second
	DefaultMaxAge  = 24 * time.Hour

	// NPMRegistry is npm's public registry, whose keys TUF distributes.
	NPMRegistry = "https://registry.npmjs.org"
)

// ReasonStale is the stable code under which a report tells of [Source.Stale].
const ReasonStale = "trust-root-stale"

// rootTarget is the TUF target that holds the trusted root.
const rootTarget = "trusted_root.json"

// Options say where trust comes from. The zero value is usable: public-good TUF, without a cache.
type Options struct {
	// TrustedRootFile is a file with one trusted_root.json, or with several, one after the other, as
	// "gh attestation trusted-root" prints them; see [ReadTrustedRoot]. Empty: from TUF.
	TrustedRootFile string
	// KeysFile is a file with registry keys, in the form of the registry's endpoint /-/npm/v1/keys or in
	// that of the TUF target keys.json. Empty: from TUF.
	KeysFile string
	// CacheDir is the directory in which verified TUF metadata is kept between runs. It is created where it
	// does not exist. Empty: nothing is kept, and each Load asks the repository.
	CacheDir string
	// Offline forbids every network request.
	Offline bool
	// Now is the clock that ages and expiries are judged by. Nil: time.Now. The TUF client that does a
	// refresh also looks at the system's clock; what either finds expired is refused.
	Now func() time.Time
	// Transport carries the requests to the TUF repository. Nil: a transport of its own that honours
	// HTTPS_PROXY and NO_PROXY.
	Transport http.RoundTripper
	// UserAgent is sent along. Empty: "assay".
	UserAgent string
	// TUFURL is the base URL of the TUF repository or of a mirror of it. Empty: [DefaultURL].
	TUFURL string
	// TUFRoot is the TUF root to start from, for a repository other than Sigstore's public-good one. With
	// it, nothing embedded is ever used. Nil: the embedded roots.
	TUFRoot []byte
	// KeysTarget is the TUF target with the registry's keys, see [KeysTarget]. Empty: that of [NPMRegistry].
	KeysTarget string
	// Timeout bounds a whole refresh, waiting for other processes included. 0: [DefaultTimeout].
	Timeout time.Duration
	// MaxAge is how long a refresh lasts. 0: [DefaultMaxAge].
	MaxAge time.Duration
	// Pause is how long after a refresh that could not reach the repository no other is tried, so that a machine
	// without a way to it does not wait each time. 0: no pause. [Update] does not heed it.
	Pause time.Duration
}

// Origin says where a trusted root or registry keys come from.
type Origin string

const (
	OriginNone     Origin = "none"      // there are none, such as keys in a TUF repository without them
	OriginEmbedded Origin = "embedded"  // compiled into the program
	OriginTUF      Origin = "tuf"       // refreshed from TUF within MaxAge and not expired
	OriginCache    Origin = "tuf-cache" // verified from TUF earlier; older than MaxAge, or expired since
	OriginFile     Origin = "file"      // named by the user
)

// A Source says where a trusted root or registry keys come from and how old they are.
type Source struct {
	Origin Origin `json:"origin"`
	// Location is the file's path, the TUF repository's URL, or the embedded files' npm package
	// ("@sigstore/tuf@5.0.1").
	Location string `json:"location,omitempty"`
	// At is when TUF was last asked, or when the embedded files were published, in UTC. It is zero for a
	// file, about whose age nothing is known. For [OriginCache] it is what the cache says, unverified.
	At time.Time `json:"at,omitzero"`
	// Age is the time since At, never negative; 0 where At is zero.
	Age time.Duration `json:"-"`
	// Stale says that these are not TUF's current ones, as far as anyone can tell, though they should be.
	Stale bool `json:"stale"`
	// Reason says why, as a stable code; empty unless Stale. One of [Reasons].
	Reason string `json:"reason,omitempty"`
	// Detail is the reason's sentence. It may quote hostile text.
	Detail string `json:"detail,omitempty"`
}

// Material is the trust in use. It is not changed after Load and is safe for concurrent use.
type Material struct {
	Root       *sigstore.TrustedRoot
	RootJSON   []byte // what Root was parsed from: exact bytes, save where several roots were merged
	RootSource Source

	Keys       []npm.Key // empty if KeysSource.Origin is OriginNone
	KeysJSON   []byte    // exact bytes
	KeysSource Source

	// Metadata is the TUF metadata that vouches for what comes from TUF, together with those files, for
	// keeping in an evidence archive; see [VerifyMetadata]. Nil where nothing comes from TUF.
	Metadata *Metadata
	// Roles lists the TUF roles behind Metadata, root first; without Metadata, the newest embedded root
	// where something is embedded. Empty where everything comes from files.
	Roles []Role
	// Notes tells what went wrong without stopping anything, such as a cache that was tampered with.
	Notes []Note
}

// A Note is one thing that a user should hear about.
type Note struct {
	Code   string `json:"code"`   // stable, kebab-case: [NoteCacheInvalid] or [NoteCacheUnwritable]
	Detail string `json:"detail"` // may quote hostile text
}

// Codes of [Note].
const (
	// NoteCacheInvalid: the cached TUF metadata or files did not verify and were not used.
	NoteCacheInvalid = "trust-cache-invalid"
	// NoteCacheUnwritable: the refreshed metadata could not be kept.
	NoteCacheUnwritable = "trust-cache-unwritable"
)

// Stale returns the first source that is stale, and whether there is one.
func (m *Material) Stale() (Source, bool) {
	for _, s := range []Source{m.RootSource, m.KeysSource} {
		if s.Stale {
			return s, true
		}
	}
	return Source{}, false
}

// Load returns the trust to verify with. It asks the TUF repository only if something has to come from there,
// Offline is not set, and the last refresh is older than MaxAge or what it brought has expired. A refresh that
// fails is not an error; it is told in [Source.Stale]. Errors are about files that the user named, about a
// repository with its own TUFRoot from which nothing was ever verified (a *[RefreshError]), and those of ctx.
func Load(ctx context.Context, o Options) (*Material, error) {
	m, _, err := load(ctx, o, false)
	return m, err
}

// Update asks the TUF repository whatever the age of what is known. Where that fails it returns what [Load]
// would have returned together with a *[RefreshError]. Files named in o count as in Load: with both, there is
// nothing to update.
func Update(ctx context.Context, o Options) (*Material, error) {
	m, failed, err := load(ctx, o, true)
	if err != nil {
		return nil, err
	}
	if failed != nil {
		return m, failed
	}
	return m, nil
}

func load(ctx context.Context, o Options, force bool) (*Material, *RefreshError, error) {
	if err := o.fill(); err != nil {
		return nil, nil, err
	}
	m := new(Material)
	var names []string // wanted from TUF
	if o.TrustedRootFile != "" {
		data, err := readFile(o.TrustedRootFile, maxRootFile)
		if err != nil {
			return nil, nil, fmt.Errorf("reading the trusted root: %w", err)
		}
		if m.Root, m.RootJSON, err = ReadTrustedRoot(data); err != nil {
			return nil, nil, fmt.Errorf("reading the trusted root %s: %w", o.TrustedRootFile, err)
		}
		m.RootSource = Source{Origin: OriginFile, Location: o.TrustedRootFile}
	} else {
		names = append(names, rootTarget)
	}
	if o.KeysFile != "" {
		data, err := readFile(o.KeysFile, maxKeysFile)
		if err != nil {
			return nil, nil, fmt.Errorf("reading the registry keys: %w", err)
		}
		if m.Keys, err = readKeys(data); err != nil {
			return nil, nil, fmt.Errorf("reading the registry keys %s: %w", o.KeysFile, err)
		}
		m.KeysJSON = data
		m.KeysSource = Source{Origin: OriginFile, Location: o.KeysFile}
	} else {
		names = append(names, o.KeysTarget)
	}
	if len(names) == 0 {
		return m, nil, nil
	}

	st, failed, err := o.current(ctx, names, force)
	if err != nil {
		return nil, nil, err
	}
	m.Notes, m.Roles, m.Metadata = st.notes, st.roles, st.metadata
	if o.TrustedRootFile == "" {
		m.RootJSON, m.RootSource = st.files[rootTarget], st.source
		if m.Root, err = sigstore.ParseTrustedRoot(m.RootJSON); err != nil {
			return nil, nil, fmt.Errorf("reading the trusted root from %s: %w", st.source.Location, err)
		}
	}
	if o.KeysFile == "" {
		m.KeysJSON, m.KeysSource = st.files[o.KeysTarget], st.source
		if m.KeysJSON == nil {
			m.KeysSource.Origin = OriginNone
		} else if m.Keys, err = readKeys(m.KeysJSON); err != nil {
			return nil, nil, fmt.Errorf("reading the registry keys from %s: %w", st.source.Location, err)
		}
	}
	return m, failed, nil
}

func (o *Options) fill() error {
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.UserAgent == "" {
		o.UserAgent = "assay"
	}
	if o.TUFURL == "" {
		o.TUFURL = DefaultURL
	}
	o.TUFURL = strings.TrimRight(o.TUFURL, "/")
	u, err := url.Parse(o.TUFURL)
	if err != nil || (u.Scheme != "https" && u.Scheme != "http") || u.Host == "" || u.User != nil {
		return fmt.Errorf("TUF repository %q: not an http or https URL", o.TUFURL)
	}
	if o.TUFRoot != nil {
		if _, err := rootVersion(o.TUFRoot); err != nil {
			return fmt.Errorf("TUF root to start from: %w", err)
		}
	}
	if o.KeysTarget == "" {
		o.KeysTarget, _ = KeysTarget(NPMRegistry)
	}
	if o.Timeout <= 0 {
		o.Timeout = DefaultTimeout
	}
	if o.MaxAge <= 0 {
		o.MaxAge = DefaultMaxAge
	}
	return nil
}

// KeysTarget names the TUF target that holds a registry's keys: host, port and path of its base URL, then
// "keys.json", such as "registry.npmjs.org/keys.json" (npm/cli lib/utils/verify-signatures.js).
func KeysTarget(registry string) (string, error) {
	u, err := url.Parse(registry)
	if err != nil {
		return "", fmt.Errorf("registry %q: %w", registry, err)
	}
	if u.Host == "" {
		return "", fmt.Errorf("registry %q: %w", registry, errors.New("no host"))
	}
	return u.Host + strings.TrimRight(u.Path, "/") + "/keys.json", nil
}

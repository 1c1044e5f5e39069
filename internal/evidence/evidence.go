// Package evidence holds what is known about one package version: the exact bytes that a registry served,
// or the fact that it served none, or that nobody could tell. It collects them, keeps them in a cache that
// several processes share, and reads them back.
//
// Nothing here decides whether evidence is good. The package guarantees that bytes are handed on as they
// were received, that "not asked", "none there" and "could not tell" stay apart, and that a cache which
// somebody else filled changes no verdict: see [Store] for what is believed and why.
package evidence

import (
	"time"

	"assay/internal/npm"
)

// A State says how one question to a registry ended. The zero value says that it was never asked.
type State int

const (
	NotAsked    State = iota // no request was made; nothing is known
	Served                   // the registry answered with a body
	Absent                   // the registry answered that it has none (HTTP 404 or 410)
	Unavailable              // no usable answer: transport faults, refusals, size limits; see Reason
)

// String returns the state's name in lower case, such as "served".
func (s State) String() string {
	switch s {
	case NotAsked:
		return "not-asked"
	case Served:
		return "served"
	case Absent:
		return "absent"
	case Unavailable:
		return "unavailable"
	}
	return "unknown"
}

// An Answer is what came of one question.
type Answer struct {
	State  State
	URL    string    // what was asked; empty when NotAsked, and for answers out of the cache that did not keep it
	Status int       // HTTP status; 0 where no answer came
	Body   []byte    // the exact bytes after content decoding; nil unless Served; shared, never to be changed
	Reason string    // stable kebab-case code, set only when Unavailable, such as "timeout"
	Detail string    // one sentence for a person, hostile text included; set only when Unavailable
	At     time.Time // when the answer arrived, UTC; when it arrived first for an answer out of the cache
}

// A Tarball is what reading a package's tarball to its end has shown. The digests are over the whole
// compressed file and hold whatever Problem says.
type Tarball struct {
	URL  string // where it was read; empty for a local file
	Size int64  // bytes of the compressed file

	SHA512 []byte // always, unless Reason says why there is none
	SHA384 []byte // this and the next two only where asked for
	SHA256 []byte
	SHA1   []byte

	Manifest []byte // bytes of package.json as npm would install it; nil where Problem says why
	Problem  string // stable kebab-case code of what is odd about the archive, see ReadTarball; empty when nothing is
	Gyp      bool   // its top directory has a file *.gyp, for which npm adds an install script

	// Files are its files by the path, with slashes, that npm unpacks them to below the package's directory;
	// nil unless they were asked for and could all be read.
	Files map[string]File

	// Bundled is the bytes of the package.json of packages in its node_modules, by path as in Files; nil without Files.
	Bundled map[string][]byte

	// Reason and Detail say why the tarball, though wanted, could not be had: then nothing else but URL is set.
	Reason string // stable kebab-case code, such as "timeout"
	Detail string // one sentence for a person, hostile text included
}

// Evidence is everything known about one package version on one registry. Verdicts are functions of it.
// It is safe for concurrent reading.
type Evidence struct {
	ID       npm.ID
	Registry string // base URL without a trailing slash, such as "https://registry.npmjs.org"

	Document     Answer   // the version document, GET {registry}/{name}/{version}
	Attestations Answer   // GET {origin}/-/npm/v1/attestations/{name}@{version}
	Keys         Answer   // the registry's own key list; what it is worth is not decided here
	Packument    Answer   // full package document; NotAsked unless it was wanted (for the publish time)
	Tarball      *Tarball // nil: not at hand

	// Installed is what lies on disk as this package; nil: nobody looked.
	Installed []Place

	// Lenders are those optional dependencies of the package whose tarballs were fetched and verified, with the
	// tarballs' files: an install script may have put one in the place of a command. Takers are packages that
	// have this one among theirs, by their own verified tarballs, with their commands on disk: they may have
	// moved a file of this package there.
	Lenders, Takers []Relative

	// Earlier is what earlier runs were served for the same package on the same registry and what differs
	// from today's answers, the most telling first, four at most. It may come from a cache that somebody else filled: an entry
	// counts only for what its own signatures prove.
	Earlier []Earlier

	FromCache     bool // something came out of the cache, not from the network in this run; Earlier aside
	Authenticated bool // all that came out of the cache is this machine's own word, by a MAC; true also if nothing did
}

// Earlier is one earlier pair of answers, without what is also current. Either may be nil, never both.
type Earlier struct {
	Document     []byte
	Attestations []byte
	At           time.Time // of an early time that the newer of the two was received; a claim, never proof
}

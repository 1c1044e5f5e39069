package policy

import (
	"time"

	"assay/internal/npm"
	"assay/internal/publisher"
	"assay/internal/verify"
)

// A Subject is everything that the rules look at of one package. Whatever is unknown is the zero value, and no
// rule takes it for good news.
type Subject struct {
	ID        npm.ID
	Registry  string // base URL without a trailing slash
	Integrity string // the lockfile's, else the registry's; "" if neither has one
	Outcome   *verify.Outcome

	Oddity string   // what no package manager writes into a lockfile by itself, see [Policy.Decide]; "" for none
	Path   []string // why it is there, from the project to the package; nil if unknown
	Direct bool
	Dev    bool
	Reach  string // whether the application reaches it: "called", "imported", "unreached"; "" if nobody looked

	Lock    *Lock    // the pins in force; nil: there is no assay.lock
	Base    *Base    // what the project used before; nil: nothing to compare with
	History *History // nil: not asked for, since the version is held by Lock or Base, or no rule needs it
	Tree    *Tree    // what the packages of one run say together; nil for one alone

	Now time.Time // when the decision is made, for ages and waivers; never zero
}

// A History is what is known of all versions of one package.
type History struct {
	// Versions are in the order in which they were published, the subject's own among them.
	Versions []Version
	// Problem says why the history could not be had, as one sentence; "" if it is there.
	Problem string
	// Unadvised says why the registry's advisories could not be had; "" if they are there, or nobody asked.
	Unadvised string
}

// A Version is one version in a package's history. What the registry says of it is a claim; what a signature
// proves is in Verdict, Publisher and Logged.
type Version struct {
	Version string
	Time    time.Time // when it was published, as the registry says; zero: unknown

	Verdict   verify.Verdict       // "" if nobody looked
	Publisher *publisher.Publisher // verified; nil unless Verdict is provenance
	Logged    time.Time            // when the registry's publish attestation was logged, verified; zero: not known

	Announced  bool   // the registry announces attestations for it
	Removed    bool   // the registry has its time and no document: it was taken down
	Vulnerable bool   // an advisory of the registry names it
	Malicious  bool   // an advisory of the registry says that it was made to do harm
	Advisory   string // title and address of the advisory, hostile text; "" for none
	Deprecated string // the notice, hostile text; "" for none
	User       string // account that published it, hostile text; "" if unknown
	Repository string // what its package.json claims, hostile text; "" if nothing
	Trusted    bool   // the registry says that it came by trusted publishing
	Approved   bool   // the registry says that a person approved a staged publish

	Manifest Manifest
}

// A Manifest is what of a version's package.json can bring in or run code that was not there before.
type Manifest struct {
	Scripts      map[string]string // those that npm runs on install: preinstall, install, postinstall, prepare of git dependencies
	Gyp          bool              // it has a binding.gyp, which npm builds by running it
	Dependencies map[string]string // dependencies and optionalDependencies, by name
	Bin          map[string]string
}

// A Base is what a project used before a change, by package name.
type Base struct {
	Revision string // how the user named it, such as "origin/main"
	Packages map[string][]BasePackage
}

// A BasePackage is one version that the base held, and what was found of it now.
type BasePackage struct {
	Version   string
	Integrity string
	Verdict   verify.Verdict       // "" if nobody looked
	Publisher *publisher.Publisher // verified; nil unless Verdict is provenance
}

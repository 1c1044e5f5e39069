package policy

import "assay/internal/verify"

// A Lock is an assay.lock read in: the publishers that a project accepted.
type Lock struct {
	File string
	Pins map[string][]Pin // by package name, each list sorted by release line
}

// A Pin is what a project accepted of one release line of a package (see [npm.ReleaseLine]).
type Pin struct {
	Line       string         // "1", "0.3"
	Floor      verify.Verdict // the least verdict: provenance, signed or unsigned
	Versions   []string       // the versions in use when it was accepted, sorted
	Publishers []Pinned       // any of them may publish; none where Floor is below provenance
	At         int            // 1-based line in the file
}

// A Pinned is one accepted publisher. Numbers count before names: a name can change hands, a number cannot.
type Pinned struct {
	Issuer         string
	Repository     string // "https://github.com/owner/repo"
	RepositoryID   string // "" in a weak pin, which matches only certificates without it
	Owner          string
	OwnerID        string // likewise
	Workflow       string // ".github/workflows/release.yml"
	SignerWorkflow string // URI of the called workflow without its ref, where that is another; else ""
	Ref            string // pattern: "refs/heads/main", "refs/tags/v{version}"
	Events         []string
	Runner         string
	Environment    string
	At             int // 1-based line in the file
}

package report

// A Project is who asks for what in one project of the run: the graph that trees, SBOMs and pages are made of.
// It is no part of the JSON, where [Package.Path] has the shortest way to each package.
type Project struct {
	Name, Version string
	Kind          string // format that was read, such as "package-lock" or "cyclonedx"
	File          string // as [Package.File]; "" if none
	Document      []byte // the exact bytes of an SBOM that was read; nil for anything else
	Nodes         []Node // Nodes[0] is the project itself
}

// A Node is one place in a project: a package or another dependency, or a directory of the project.
type Node struct {
	Name    string // it is installed under; for a directory of the project that package's own
	Path    string // where, as in [Package.Locations]; "" for the project itself
	Package int    // index in [Report.Packages], or -1
	Other   int    // index in [Report.Others], or -1
	Edges   []Edge // sorted by name
}

// An Edge is one dependency that a node asks for.
type Edge struct {
	Name string
	Spec string // as the manifest has it, hostile; "" where the format does not tell
	Kind string // "prod", "dev", "optional", "peer", "peerOptional" or "workspace"
	To   int    // index in [Project.Nodes]; -1 for what is missing or left out
}

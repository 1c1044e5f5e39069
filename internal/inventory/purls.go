package inventory

import (
	"fmt"
	"io"
	"slices"
	"strings"

	"assay/internal/npm"
)

// kindPURLs is the Kind of a Project that ReadPURLs returns.
const kindPURLs = "purls"

// maxPURLLine bounds a line of a list of package URLs, in bytes.
const maxPURLLine = 20_000

// ReadPURLs reads a list of package URLs, one a line: "pkg:npm/%40acme/widget@1.2.3". Empty lines are passed over, and
// what follows a # at the beginning of a line or after white space. name is what errors and Locations call the list,
// such as "standard input"; Path of a Location is the package URL as the list has it. The project asks for each of
// them, and nothing more: there are no other edges.
//
// The qualifier vcs_url makes something an [Other], and so does a download_url that is a repository's; else that is
// where it is resolved to. repository_url names the registry that it comes from, checksum its tarball's digests. A package URL of another type than npm is an Other of
// SourceForeign. One of npm's without a version, or one that cannot be read, is an error.
//
// Errors: *FormatError, *WorkspaceError, or what r said.
func ReadPURLs(r io.Reader, name string, opts Options) (*Project, error) {
	if err := opts.check(); err != nil {
		return nil, err
	}
	data, err := io.ReadAll(io.LimitReader(r, maxFile+1))
	if err != nil {
		return nil, fmt.Errorf("reading %s: %w", name, err)
	}
	if len(data) > maxFile {
		return nil, &FormatError{File: name, Msg: fmt.Sprintf("larger than %d bytes", maxFile)}
	}
	t, err := parsePURLs(name, data)
	if err != nil {
		return nil, err
	}
	t.kind = kindPURLs
	p, err := t.project(opts)
	if err != nil {
		return nil, err
	}
	p.Files = []string{name}
	return p, nil
}

func parsePURLs(file string, data []byte) (*tree, error) {
	b := newSBOM(file, data)
	b.t.document = nil
	b.size += 4 << 20 // a list is short, and an entry many times as large as its line
	number := 0
	for line := range strings.SplitSeq(strings.TrimPrefix(string(data), "\ufeff"), "\n") {
		number++
		bad := func(format string, args ...any) error {
			return &FormatError{file, number, fmt.Sprintf(format, args...)}
		}
		if len(line) > maxPURLLine {
			return nil, bad("the line is longer than %d bytes", maxPURLLine)
		}
		text := strings.TrimSpace(cutComment(line))
		if text == "" {
			continue
		}
		e := sbomEntry{purl: text, ref: text, name: text, parent: -1, line: number}
		if isNPM(text) {
			parts, err := npm.ParsePURLParts(text)
			if err != nil {
				return nil, bad("%v", err)
			}
			if parts.ID.Version == "" {
				return nil, bad("package URL %s: has no version", quoteShort(text))
			}
			if err := npm.CheckVersion(parts.ID.Version); err != nil && parts.Qualifiers["vcs_url"] == "" {
				return nil, bad("package URL %s: %v", quoteShort(text), err)
			}
		} else if err := checkPURL(text); err != nil {
			return nil, bad("%v", err)
		}
		self, err := b.reserve(number)
		if err != nil {
			return nil, err
		}
		if err := b.add(self, &e); err != nil {
			return nil, err
		}
		if warnings := b.t.warnings; len(warnings) > 0 {
			return nil, bad("%s", warnings[0].Message) // who writes a list has to say what is meant
		}
		b.refs[self] = -1 // listed twice, it is one package in two places
	}
	t, err := b.tree()
	if err != nil {
		return nil, err
	}
	root := &t.nodes[0]
	root.edges = make([]Edge, 0, len(t.nodes)-1)
	for i := 1; i < len(t.nodes); i++ {
		root.edges = append(root.edges, Edge{Name: t.nodes[i].realName, Kind: Prod, To: i})
	}
	slices.SortStableFunc(root.edges, func(a, b Edge) int { return strings.Compare(a.Name, b.Name) })
	t.rootKnown = true
	return t, nil
}

// cutComment cuts a comment off a line. A # within a package URL begins its subpath.
func cutComment(line string) string {
	for i := 0; i < len(line); i++ {
		if line[i] == '#' && (i == 0 || line[i-1] == ' ' || line[i-1] == '\t') {
			return line[:i]
		}
	}
	return line
}

// checkPURL says what is wrong with a text that is no package URL of npm's, nil if it is one of another type.
func checkPURL(text string) error {
	scheme, rest, ok := strings.Cut(text, ":")
	kind, name, slash := strings.Cut(strings.TrimLeft(rest, "/"), "/")
	if ok && strings.EqualFold(scheme, "pkg") && slash && kind != "" && name != "" && !strings.ContainsAny(text, " \t") {
		return nil
	}
	if name, version := splitSpec(text); npm.CheckName(name) == nil && npm.CheckVersion(version) == nil {
		return fmt.Errorf("%s is no package URL; as one it is %s", quoteShort(text), npm.ID{Name: name, Version: version}.PURL())
	}
	return fmt.Errorf("%s is no package URL, such as pkg:npm/%%40acme/widget@1.2.3", quoteShort(text))
}

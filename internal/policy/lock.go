package policy

import (
	"bytes"
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"

	"gopkg.in/yaml.v3"

	"assay/internal/npm"
	"assay/internal/verify"
)

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
	At         int            // 1-based line in the file; 0 for a pin that was not read from one
}

// A Pinned is one accepted publisher. Numbers count before names: a name can change hands, a number cannot.
type Pinned struct {
	Issuer         string
	Repository     string // "https://github.com/owner/repo"
	RepositoryID   string // "" in a weak pin, which matches only certificates without it
	Owner          string
	OwnerID        string // likewise
	Workflow       string // path of the calling workflow: ".github/workflows/release.yml"
	SignerWorkflow string // URI of the called workflow without its ref, where that is another; else ""
	Ref            RefPattern
	Events         []string // sorted
	Runner         string
	Environment    string
	At             int // 1-based line in the file
}

// LockFile is the name of the file in a project's directory.
const LockFile = "assay.lock"

// Bounds of an assay.lock in bytes. A package takes some six hundred where its publisher is pinned. YAML's nodes take
// fifty times as much memory as what they were read from.
const (
	maxLock      = 16 << 20
	maxOtherLock = 1 << 20
)

// ParseLock reads an assay.lock. Whatever it does not know is an error, a *SyntaxError with line and column: a
// misspelt pin would pin nothing.
func ParseLock(data []byte, file string) (*Lock, error) {
	if len(data) > maxLock {
		return nil, &SyntaxError{file, 1, 0, fmt.Sprintf("larger than %d bytes", maxLock)}
	}
	if line := conflict(data); line > 0 {
		return nil, &SyntaxError{file, line, 0, "the file has merge conflicts; `assay pin` merges both sides"}
	}
	l, other := written(data, file)
	if l != nil {
		return l, nil
	}
	if len(data) > maxOtherLock {
		return nil, &SyntaxError{file, max(other, 1), 0, fmt.Sprintf("this is not as `assay pin` writes it, and files in other forms are read up to %d bytes only", maxOtherLock)}
	}
	return parseLock(data, file)
}

// parseLock reads an assay.lock in any form that YAML has for it.
func parseLock(data []byte, file string) (*Lock, error) {
	root, err := documentOf(data, file)
	if err != nil {
		return nil, err
	}
	l := &Lock{File: file, Pins: make(map[string][]Pin)}
	r := &reader{file: file}
	version := 0
	err = r.fields(root, map[string]fieldReader{
		"version":  func(n *yaml.Node) error { return r.version(n, &version) },
		"packages": func(n *yaml.Node) error { return r.pins(n, l) },
	})
	if err == nil && version == 0 {
		err = r.errorf(root, "`version: 1` is missing")
	}
	if err != nil {
		return nil, err
	}
	return l, nil
}

// conflict returns the line of the first merge conflict marker, 0 if there is none.
func conflict(data []byte) int {
	line := 0
	for text := range bytes.Lines(data) {
		line++
		if !bytes.ContainsAny(text[:1], "<=>|") {
			continue
		}
		for _, marker := range []string{"<<<<<<<", "=======", ">>>>>>>", "|||||||"} {
			if bytes.HasPrefix(text, []byte(marker)) {
				return line
			}
		}
	}
	return 0
}

// Conflicted reports whether git left merge conflicts in a file.
func Conflicted(data []byte) bool { return conflict(data) > 0 }

func (r *reader) pins(n *yaml.Node, l *Lock) error {
	if n.Kind != yaml.MappingNode {
		return r.errorf(n, "expected packages by name here")
	}
	for i := 0; i+1 < len(n.Content); i += 2 {
		key, value := n.Content[i], n.Content[i+1]
		if key.Kind != yaml.ScalarNode || npm.CheckName(key.Value) != nil {
			return r.errorf(key, "%q is not the name of a package", key.Value)
		}
		if _, ok := l.Pins[key.Value]; ok {
			return r.errorf(key, "%s stands twice", key.Value)
		}
		if value.Kind != yaml.MappingNode || len(value.Content) == 0 {
			return r.errorf(value, "expected release lines of %s here", key.Value)
		}
		var pins []Pin
		lines := make(map[string]bool, 1)
		for j := 0; j+1 < len(value.Content); j += 2 {
			line, body := value.Content[j], value.Content[j+1]
			if lines[line.Value] {
				return r.errorf(line, "release line %s of %s stands twice", line.Value, key.Value)
			}
			if !isLine(line.Value) {
				return r.errorf(line, "%q is not a release line, such as \"1\" or \"0.3\"", line.Value)
			}
			pin, err := r.pin(body, line, key.Value)
			if err != nil {
				return err
			}
			lines[pin.Line] = true
			pins = append(pins, pin)
		}
		slices.SortFunc(pins, func(a, b Pin) int { return compareLines(a.Line, b.Line) })
		l.Pins[key.Value] = pins
	}
	return nil
}

func (r *reader) pin(n, key *yaml.Node, name string) (Pin, error) {
	pin := Pin{Line: key.Value, At: key.Line}
	err := r.fields(n, map[string]fieldReader{
		"floor": r.word((*string)(&pin.Floor), "verdict that can be pinned", string(verify.Provenance), string(verify.Signed), string(verify.Unsigned)),
		"versions": func(n *yaml.Node) error {
			if err := r.texts(&pin.Versions)(n); err != nil {
				return err
			}
			for _, v := range pin.Versions {
				if npm.CheckVersion(v) != nil || npm.ReleaseLine(v) != pin.Line {
					return r.errorf(n, "%q is not a version of release line %s", v, pin.Line)
				}
			}
			return nil
		},
		"publishers": func(n *yaml.Node) error {
			return r.each(n, "publishers", func(n *yaml.Node) error {
				p, err := r.pinned(n)
				pin.Publishers = append(pin.Publishers, p)
				return err
			})
		},
	})
	switch {
	case err != nil:
		return pin, err
	case pin.Floor == "":
		return pin, r.errorf(key, "`floor:` of %s %s is missing", name, pin.Line)
	case pin.Floor == verify.Provenance && len(pin.Publishers) == 0:
		return pin, r.errorf(key, "`publishers:` of %s %s is missing: a floor of provenance needs somebody to have made it", name, pin.Line)
	case pin.Floor != verify.Provenance && len(pin.Publishers) > 0:
		return pin, r.errorf(key, "%s %s has publishers and a floor of %s", name, pin.Line, pin.Floor)
	}
	return pin, nil
}

func (r *reader) pinned(n *yaml.Node) (Pinned, error) {
	p := Pinned{At: max(n.Line, 1)}
	ref := ""
	err := r.fields(n, map[string]fieldReader{
		"issuer": r.text(&p.Issuer), "repository": r.text(&p.Repository), "repository_id": r.number(&p.RepositoryID),
		"owner": r.text(&p.Owner), "owner_id": r.number(&p.OwnerID), "workflow": r.text(&p.Workflow), "signer_workflow": r.text(&p.SignerWorkflow),
		"ref": r.text(&ref), "events": r.texts(&p.Events), "runner": r.text(&p.Runner), "environment": r.text(&p.Environment),
	})
	if err != nil {
		return p, err
	}
	for key, value := range map[string]string{"issuer": p.Issuer, "repository": p.Repository, "workflow": p.Workflow, "ref": ref} {
		if value == "" {
			return p, r.errorf(n, "`%s:` of the publisher is missing", key)
		}
	}
	if p.Ref, err = ParseRef(ref); err != nil {
		return p, r.errorf(n, "%v", err)
	}
	slices.Sort(p.Events)
	return p, nil
}

// padded is the first version of a release line.
func padded(line string) string {
	return line + strings.Repeat(".0", max(0, 2-strings.Count(line, ".")))
}

// isLine reports whether a text names a release line.
func isLine(s string) bool { return s != "" && npm.ReleaseLine(padded(s)) == s }

// compareLines orders release lines by number.
func compareLines(a, b string) int { return npm.CompareVersions(padded(a), padded(b)) }

// Pin returns what is accepted of a version's release line, nil if nothing is. others says that other lines of the
// package are pinned. A nil Lock has no pins.
func (l *Lock) Pin(name, version string) (pin *Pin, others bool) {
	if l == nil {
		return nil, false
	}
	line := npm.ReleaseLine(version)
	pins := l.Pins[name]
	for i := range pins {
		if pins[i].Line == line {
			return &pins[i], len(pins) > 1
		}
	}
	return nil, len(pins) > 0
}

// Holds reports whether the version was in use when its release line was pinned.
func (l *Lock) Holds(name, version string) bool {
	pin, _ := l.Pin(name, version)
	return pin != nil && slices.Contains(pin.Versions, version)
}

const lockHeader = "# The publishers that this project accepted, written by `assay pin`. Commit it with the lockfile.\nversion: 1\n\npackages:\n"

// Format writes a Lock out: the same pins give the same bytes.
func (l *Lock) Format() []byte {
	var b bytes.Buffer
	b.WriteString(lockHeader)
	if len(l.Pins) == 0 {
		return []byte(strings.TrimSuffix(lockHeader, "\n") + " {}\n")
	}
	for i, name := range slices.Sorted(maps.Keys(l.Pins)) {
		if i > 0 {
			b.WriteByte('\n')
		}
		fmt.Fprintf(&b, "  %s:\n", scalar(name))
		pins := slices.Clone(l.Pins[name])
		slices.SortFunc(pins, func(a, b Pin) int { return compareLines(a.Line, b.Line) })
		for i := range pins {
			pins[i].format(&b)
		}
	}
	return b.Bytes()
}

func (p *Pin) format(b *bytes.Buffer) {
	fmt.Fprintf(b, "    %q:\n      floor: %s\n", p.Line, p.Floor)
	versions := slices.Clone(p.Versions)
	slices.SortFunc(versions, func(a, b string) int { return cmp.Or(npm.CompareVersions(a, b), strings.Compare(a, b)) })
	if len(versions) > 0 {
		for i, v := range versions {
			versions[i] = scalar(v)
		}
		fmt.Fprintf(b, "      versions: [%s]\n", strings.Join(versions, ", "))
	}
	if len(p.Publishers) == 0 {
		return
	}
	b.WriteString("      publishers:\n")
	publishers := slices.Clone(p.Publishers)
	slices.SortFunc(publishers, func(a, b Pinned) int { return slices.Compare(a.fields(), b.fields()) })
	for i := range publishers {
		publishers[i].format(b)
	}
}

// Describe says in a few words what is pinned.
func (p *Pin) Describe() string {
	versions := strings.Join(p.Versions, ", ")
	if len(p.Publishers) == 0 {
		return fmt.Sprintf("%s (%s)", p.Floor, versions)
	}
	var who []string
	for _, a := range p.Publishers {
		who = append(who, fmt.Sprintf("%s of %s on %s (%s)", a.Workflow, strings.TrimPrefix(a.Repository, "https://"), a.Ref, strings.Join(a.Events, ", ")))
	}
	return fmt.Sprintf("%s (%s) by %s", p.Floor, versions, strings.Join(who, "; or "))
}

func (p *Pinned) fields() []string {
	events := slices.Clone(p.Events)
	slices.Sort(events)
	for i, e := range events {
		events[i] = scalar(e)
	}
	return []string{p.Issuer, p.Repository, p.RepositoryID, p.Owner, p.OwnerID, p.Workflow, p.SignerWorkflow, string(p.Ref), strings.Join(events, ", "), p.Runner, p.Environment}
}

func (p *Pinned) format(b *bytes.Buffer) {
	keys := []string{"issuer", "repository", "repository_id", "owner", "owner_id", "workflow", "signer_workflow", "ref", "events", "runner", "environment"}
	dash := "- "
	for i, value := range p.fields() {
		switch {
		case value == "":
			continue
		case keys[i] == "events":
			value = "[" + value + "]"
		case strings.HasSuffix(keys[i], "_id") && isNumber(value):
		default:
			value = scalar(value)
		}
		fmt.Fprintf(b, "        %s%s: %s\n", dash, keys[i], value)
		dash = "  "
	}
}

// scalar writes a text as a YAML scalar, quoted where anybody's reading of YAML could take it for anything else.
func scalar(s string) string {
	if isPlain(s) {
		return s
	}
	return strconv.QuoteToASCII(s)
}

// isPlain reports whether a text can stand without quotes: letters, digits and a few marks that mean nothing in YAML,
// and in a form that is no number, time or truth.
func isPlain(s string) bool {
	if s == "" || len(s) > 1000 || s[0] == '-' || s[0] == ':' || s[len(s)-1] == ':' {
		return false
	}
	slash := false
	for i := range len(s) {
		c := s[i]
		if c == '/' {
			slash = true
		} else if !(c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' || strings.IndexByte("._-+:", c) >= 0) {
			return false
		}
	}
	c := s[0] | 0x20
	switch {
	case slash:
		return true
	case c >= 'a' && c <= 'z':
		lower := strings.ToLower(s)
		return !slices.Contains(oldTruths, lower) && lower != "true" && lower != "false" && lower != "null"
	}
	return npm.CheckVersion(s) == nil
}

func isNumber(s string) bool {
	v, err := strconv.ParseUint(s, 10, 63)
	return err == nil && strconv.FormatUint(v, 10) == s
}

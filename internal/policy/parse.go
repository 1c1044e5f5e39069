package policy

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"path"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"

	"gopkg.in/yaml.v3"
)

// A SyntaxError is a mistake in a policy file.
type SyntaxError struct {
	File string
	Line int // 1-based
	// Column is 1-based; 0 where only the line is known.
	Column int
	Text   string
}

func (e *SyntaxError) Error() string {
	if e.Column > 0 {
		return fmt.Sprintf("%s:%d:%d: %s", e.File, e.Line, e.Column, e.Text)
	}
	return fmt.Sprintf("%s:%d: %s", e.File, e.Line, e.Text)
}

// Bounds of a policy.
const (
	maxPolicy  = 1 << 20 // bytes of a file: thousands of rules
	maxExtends = 5       // files that one rests on, one behind the other
	maxEntries = 5000    // of one list
)

// Parse reads a policy file and those that it extends, which read gives by name, relative to the file that names
// them; nil: it may extend nothing. Unknown keys are errors, as a misspelt rule is a rule that is not there.
// Errors are *SyntaxError, or what read said. The same bytes give the same policy: no environment, no clock.
//
// A file overrides the levels of the one it extends and adds to its lists.
func Parse(data []byte, file string, read func(name string) ([]byte, error)) (*Policy, error) {
	p := Default()
	p.File = file
	l := loader{policy: p, read: read}
	if err := l.load(data, file, nil); err != nil {
		return nil, err
	}
	if err := l.compile(); err != nil {
		return nil, err
	}
	ids := p.ruleIDs()
	for i := range p.Waivers {
		if w := &p.Waivers[i]; !slices.Contains(ids, w.Rule) {
			hint := ""
			if s := suggest(w.Rule, ids); s != "" {
				hint = fmt.Sprintf("; did you mean %s?", s)
			} else if s := slices.DeleteFunc(slices.Clone(ids), func(id string) bool { return !strings.HasPrefix(id, w.Rule+"-") }); len(s) > 0 {
				hint = fmt.Sprintf("; did you mean %s?", strings.Join(s, " or ")) // a section with several rules
			}
			return nil, &SyntaxError{w.File, w.Line, 0, fmt.Sprintf("the waiver is of %q, and there is no such rule%s", w.Rule, hint)}
		}
	}
	return p, nil
}

// ruleIDs lists the rules that may be waived: the built-in ones and the user's.
func (p *Policy) ruleIDs() []string {
	ids := BuiltIn()
	for i := range p.Rules {
		ids = append(ids, p.Rules[i].ID)
	}
	return ids
}

// A loader reads a policy out of files that extend one another.
type loader struct {
	policy  *Policy
	read    func(string) ([]byte, error)
	written []writtenRule // where the policy's rules are from, in their order
}

// A reader reads one file into the policy.
type reader struct {
	*loader
	file  string
	above []string // files that extend this one, outermost first
	lines []string // of the file
}

func (l *loader) load(data []byte, file string, above []string) error {
	root, err := document(data, file)
	if err != nil {
		return err
	}
	r := &reader{loader: l, file: file, above: append(slices.Clone(above), file), lines: strings.Split(strings.ReplaceAll(string(data), "\r\n", "\n"), "\n")}
	// What a file extends comes first, so that the file can override it.
	for i := 0; i+1 < len(root.Content); i += 2 {
		if root.Content[i].Value == "extends" {
			if err := r.extend(root.Content[i+1]); err != nil {
				return err
			}
		}
	}
	version := 0
	sections := r.sections()
	sections["version"] = func(n *yaml.Node) error { return r.version(n, &version) }
	sections["extends"] = func(*yaml.Node) error { return nil }
	if err := r.fields(root, sections); err != nil {
		return err
	}
	if version == 0 {
		return r.errorf(root, "`version: 1` is missing")
	}
	if s := l.policy.Default.Invalid; s.Level != Deny {
		return &SyntaxError{s.File, max(s.Line, 1), 0, fmt.Sprintf("invalid cannot be %s: evidence that contradicts itself is always denied", s.Level)}
	}
	if s := l.policy.Default.Unchecked; weight[s.Level] < weight[Warn] {
		return &SyntaxError{s.File, max(s.Line, 1), 0, fmt.Sprintf("unchecked cannot be %s: what could not be told is no good news; write warn, error or deny", s.Level)}
	}
	return nil
}

func (r *reader) version(n *yaml.Node, version *int) error {
	if n.Kind != yaml.ScalarNode || n.Tag != "!!int" || n.Value != "1" {
		return r.errorf(n, "version must be 1")
	}
	*version = 1
	return nil
}

// document parses a file's one YAML document, a mapping. Of YAML only what everybody reads alike is left in it:
// mappings, lists and texts. Anchors, aliases and tags are refused wherever they stand.
func document(data []byte, file string) (*yaml.Node, error) {
	if len(data) > maxPolicy {
		return nil, &SyntaxError{file, 1, 0, fmt.Sprintf("larger than %d bytes", maxPolicy)}
	}
	return documentOf(data, file)
}

func documentOf(data []byte, file string) (*yaml.Node, error) {
	if line, column := notUTF8(data); line > 0 {
		return nil, &SyntaxError{file, line, column, "this is not UTF-8"}
	}
	empty := &SyntaxError{file, 1, 0, "the file is empty; it needs at least `version: 1`"}
	var root yaml.Node
	d := yaml.NewDecoder(bytes.NewReader(data))
	if err := d.Decode(&root); errors.Is(err, io.EOF) {
		return nil, empty
	} else if err != nil {
		return nil, yamlError(err, file)
	}
	var second yaml.Node
	if err := d.Decode(&second); err == nil {
		return nil, &SyntaxError{file, max(second.Line, 1), 0, "there is more than one YAML document"}
	} else if !errors.Is(err, io.EOF) {
		return nil, yamlError(err, file)
	}
	if len(root.Content) == 0 || root.Content[0].Tag == "!!null" && root.Content[0].Style == 0 && root.Content[0].Anchor == "" {
		return nil, empty
	}
	n := root.Content[0]
	r := &reader{file: file}
	if err := r.plain(n, 0); err != nil {
		return nil, err
	}
	if n.Kind != yaml.MappingNode {
		return nil, r.errorf(n, "expected keys and values here")
	}
	return n, nil
}

// maxNesting is how deep mappings and lists may lie in one another; the language needs six.
const maxNesting = 16

// plain refuses what of YAML is not used in a policy. Aliases are not expanded before they are refused.
func (r *reader) plain(n *yaml.Node, depth int) error {
	switch {
	case n.Kind == yaml.AliasNode || n.Anchor != "":
		return r.errorf(n, "anchors and aliases are not used here")
	case n.Style&yaml.TaggedStyle != 0:
		return r.errorf(n, "the tag %s: tags are not used here", n.Tag)
	case depth > maxNesting:
		return r.errorf(n, "this is nested too deeply")
	}
	for i, c := range n.Content {
		if n.Kind == yaml.MappingNode && i%2 == 0 && c.Kind != yaml.AliasNode && (c.Kind != yaml.ScalarNode || c.Tag == "!!null") {
			return r.errorf(c, "a key has to be a text")
		}
		if err := r.plain(c, depth+1); err != nil {
			return err
		}
	}
	return nil
}

// notUTF8 finds the first bytes that are not UTF-8: their line and column from 1, or 0.
func notUTF8(data []byte) (line, column int) {
	if utf8.Valid(data) {
		return 0, 0
	}
	for text := range bytes.Lines(data) {
		line++
		for i := 0; i < len(text); {
			c, size := utf8.DecodeRune(text[i:])
			column++
			if c == utf8.RuneError && size == 1 {
				return line, column
			}
			i += size
		}
		column = 0
	}
	return line, 1
}

// yamlError places what the YAML library says, which names a line in its text where it knows one.
func yamlError(err error, file string) error {
	text, line := strings.TrimPrefix(err.Error(), "yaml: "), 1
	if rest, ok := strings.CutPrefix(text, "line "); ok {
		if number, after, ok := strings.Cut(rest, ": "); ok {
			if n, err := strconv.Atoi(number); err == nil {
				text, line = after, n
			}
		}
	}
	switch {
	case strings.Contains(text, "cannot start any token"):
		text += "; what begins with @ or ` has to be in quotes"
	case strings.Contains(text, "alphabetic or numeric character"), strings.Contains(text, "unknown anchor"):
		text += "; what begins with * or & has to be in quotes"
	}
	return &SyntaxError{file, max(line, 1), 0, "this is not YAML: " + text}
}

// extend reads the file that this one extends.
func (r *reader) extend(n *yaml.Node) error {
	var name string
	if err := r.text(&name)(n); err != nil {
		return err
	}
	switch {
	case r.read == nil:
		return r.errorf(n, "a policy that is read by itself cannot extend %q", name)
	case path.IsAbs(name) || filepath.IsAbs(name) || strings.Contains(name, `\`) || strings.Contains(name, "://"):
		return r.errorf(n, "%q is not a file name relative to this file", name)
	case len(r.above) > maxExtends:
		return r.errorf(n, "more than %d files extend one another", maxExtends)
	}
	name = path.Join(path.Dir(r.file), name)
	if slices.Contains(r.above, name) {
		return r.errorf(n, "%s extends itself", name)
	}
	data, err := r.read(name)
	if err != nil {
		return fmt.Errorf("%s:%d: extending %s: %w", r.file, n.Line, name, err)
	}
	return r.load(data, name, r.above)
}

func (r *reader) errorf(n *yaml.Node, format string, args ...any) error {
	return &SyntaxError{r.file, max(n.Line, 1), n.Column, fmt.Sprintf(format, args...)}
}

func (r *reader) at(n *yaml.Node) Place { return Place{r.file, max(n.Line, 1)} }

type fieldReader = func(*yaml.Node) error

// fields reads a mapping whose every key has a reader.
func (r *reader) fields(n *yaml.Node, readers map[string]fieldReader) error {
	if n.Kind != yaml.MappingNode {
		return r.errorf(n, "expected keys and values here")
	}
	seen := make(map[string]bool)
	for i := 0; i+1 < len(n.Content); i += 2 {
		key, value := n.Content[i], n.Content[i+1]
		read, ok := readers[key.Value]
		if !ok {
			known := make([]string, 0, len(readers))
			for k := range readers {
				known = append(known, k)
			}
			slices.Sort(known)
			if s := suggest(key.Value, known); s != "" {
				return r.errorf(key, "unknown key %q; did you mean %s? Known here: %s", key.Value, s, strings.Join(known, ", "))
			}
			return r.errorf(key, "unknown key %q; known here: %s", key.Value, strings.Join(known, ", "))
		}
		if seen[key.Value] {
			return r.errorf(key, "key %q stands twice", key.Value)
		}
		seen[key.Value] = true
		if err := read(value); err != nil {
			return err
		}
	}
	return nil
}

// each reads a list, one entry after the other.
func (r *reader) each(n *yaml.Node, what string, read fieldReader) error {
	if n.Kind != yaml.SequenceNode {
		return r.errorf(n, "expected a list of %s here", what)
	}
	if len(n.Content) > maxEntries {
		return r.errorf(n, "more than %d %s", maxEntries, what)
	}
	for _, entry := range n.Content {
		if err := read(entry); err != nil {
			return err
		}
	}
	return nil
}

// text reads a text that is not empty. What some readers of YAML take for a truth, a number or a time has to be
// in quotes, so that there is one reading of it.
func (r *reader) text(s *string) fieldReader {
	return func(n *yaml.Node) error {
		if n.Kind != yaml.ScalarNode || n.Value == "" || n.Tag == "!!null" {
			return r.errorf(n, "expected a text here")
		}
		if n.Tag != "!!str" || n.Style == 0 && slices.Contains(oldTruths, strings.ToLower(n.Value)) {
			return r.errorf(n, "write %q in quotes: YAML may take it for something else than a text", n.Value)
		}
		*s = n.Value
		return nil
	}
}

// oldTruths are texts that YAML 1.1 took for true or false, beside those that YAML still does.
var oldTruths = []string{"y", "n", "yes", "no", "on", "off"}

// texts reads one text or a list of them.
func (r *reader) texts(list *[]string) fieldReader {
	return func(n *yaml.Node) error {
		*list = nil
		add := func(n *yaml.Node) error {
			var s string
			if err := r.text(&s)(n); err != nil {
				return err
			}
			*list = append(*list, s)
			return nil
		}
		if n.Kind == yaml.ScalarNode {
			return add(n)
		}
		return r.each(n, "texts", add)
	}
}

// patterns reads one pattern of packages or a list of them, at least one.
func (r *reader) patterns(list *[]Pattern) fieldReader {
	return func(n *yaml.Node) error {
		var nodes []*yaml.Node
		switch n.Kind {
		case yaml.ScalarNode:
			nodes = []*yaml.Node{n}
		case yaml.SequenceNode:
			nodes = n.Content
		}
		if len(nodes) == 0 || len(nodes) > maxEntries {
			return r.errorf(n, "expected packages here, such as [react, \"@babel/*\"]")
		}
		*list = nil
		for _, n := range nodes {
			var s string
			if err := r.text(&s)(n); err != nil {
				return err
			}
			p, err := ParsePattern(s)
			if err != nil {
				return r.errorf(n, "%v", err)
			}
			*list = append(*list, p)
		}
		return nil
	}
}

// word reads one of a few words.
func (r *reader) word(s *string, what string, words ...string) fieldReader {
	return func(n *yaml.Node) error {
		if n.Kind != yaml.ScalarNode || !slices.Contains(words, n.Value) {
			hint := ""
			if w := suggest(n.Value, words); w != "" {
				hint = fmt.Sprintf("; did you mean %s?", w)
			}
			return r.errorf(n, "%q is not a %s; known are %s%s", n.Value, what, strings.Join(words, ", "), hint)
		}
		*s = n.Value
		return nil
	}
}

// mode reads enforce or observe.
func (r *reader) mode(m *Mode) fieldReader {
	return func(n *yaml.Node) error {
		return r.word((*string)(m), "mode", string(Enforce), string(Observe))(n)
	}
}

// level reads a level, or a mapping of a level with a mode of its own. "Could not decide" is no level of what is known.
func (r *reader) level(s *Setting) fieldReader {
	return r.levelOf(s, Allow, Note, Warn, Deny)
}

func (r *reader) levelOf(s *Setting, levels ...Level) fieldReader {
	words := make([]string, len(levels))
	for i, l := range levels {
		words[i] = string(l)
	}
	return func(n *yaml.Node) error {
		set := Setting{Place: r.at(n)}
		read := func(n *yaml.Node) error {
			set.Place = r.at(n)
			return r.word((*string)(&set.Level), "level", words...)(n)
		}
		if n.Kind == yaml.MappingNode {
			if err := r.fields(n, map[string]fieldReader{"level": read, "mode": r.mode(&set.Mode)}); err != nil {
				return err
			}
			if set.Level == "" {
				return r.errorf(n, "`level:` is missing")
			}
		} else if err := read(n); err != nil {
			return err
		}
		*s = set
		return nil
	}
}

// suggest finds the word that somebody who wrote s may have meant, "" if none is near.
func suggest(s string, words []string) string {
	if len(s) > 40 {
		return ""
	}
	best, least := "", max(1, len(s)/3)+1
	for _, w := range words {
		if d := distance(s, w); d < least {
			best, least = w, d
		}
	}
	return best
}

// distance counts the letters to insert, delete, replace or swap with the next to make one word of another.
func distance(a, b string) int {
	rows := make([][]int, len(a)+1)
	for i := range rows {
		rows[i] = make([]int, len(b)+1)
		rows[i][0] = i
	}
	for j := range rows[0] {
		rows[0][j] = j
	}
	for i := 1; i <= len(a); i++ {
		for j := 1; j <= len(b); j++ {
			cost := 1
			if a[i-1] == b[j-1] {
				cost = 0
			}
			rows[i][j] = min(rows[i-1][j]+1, rows[i][j-1]+1, rows[i-1][j-1]+cost)
			if i > 1 && j > 1 && a[i-1] == b[j-2] && a[i-2] == b[j-1] {
				rows[i][j] = min(rows[i][j], rows[i-2][j-2]+1)
			}
		}
	}
	return rows[len(a)][len(b)]
}

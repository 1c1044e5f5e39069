package doctor

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"path"
	"regexp"
	"slices"
	"strings"

	"github.com/rhysd/actionlint"
	"gopkg.in/yaml.v3"
)

// An edit replaces one line of a file by others. Files are never printed anew from their parsed form, so
// comments, order and layout stay.
type edit struct {
	file  string
	line  int
	old   string // what must stand there, without its newline
	lines []string
	// What the parsed file is to lose and to gain by it, and nothing else. The paths are the ends of the whole paths.
	remove, add []leaf
	// Where from is not empty, one value is to change instead, and in it one from to to.
	from, to string
}

// A Fixed is a finding that [Fix] has mended, or has left because the change would not have been the one meant.
type Fixed struct {
	Rule, File string
	Line       int // where it was
	Message    string
	Left       string // why it was left, "" where it was mended
}

// maxPasses bounds how often the project is looked at again after edits.
const maxPasses = 20

// Fix mends what can be mended without taking anything away that somebody may rely on, and looks again until
// nothing of that kind is left. write replaces a file; root must show what it wrote. An edit is made only if
// the parsed file changes by what the edit means and by nothing else, and if its finding is gone by it; one
// that is not made is told with the reason. A second run finds nothing to mend.
func Fix(root fs.FS, o Options, write func(name string, data []byte) error) ([]Fixed, *Report, error) {
	var done []Fixed
	tried := map[string]bool{}
	for range maxPasses {
		r, err := Check(root, o)
		if err != nil {
			return done, nil, err
		}
		var chosen []Finding
		taken := map[string]bool{}
		for _, f := range r.Findings {
			if len(f.edits) == 0 {
				continue
			}
			key := fmt.Sprint(f.Rule, "\x00", f.Message, "\x00", f.edits)
			lineKey := func(e edit) string { return fmt.Sprint(e.file, "\x00", e.line) }
			if tried[key] || slices.ContainsFunc(f.edits, func(e edit) bool { return taken[lineKey(e)] }) {
				continue // once only, and one edit to a line in each pass
			}
			tried[key] = true
			for _, e := range f.edits {
				taken[lineKey(e)] = true
			}
			chosen = append(chosen, f)
		}
		if len(chosen) == 0 {
			return done, r, nil
		}
		made, files, left, err := mend(root, o, r, chosen)
		done = append(done, left...)
		if err != nil {
			return done, nil, err
		}
		for _, name := range slices.Sorted(maps.Keys(files)) {
			if err := write(name, files[name]); err != nil {
				return done, nil, fmt.Errorf("writing %s: %w", name, err)
			}
			for _, f := range made {
				if f.edits[0].file == name {
					done = append(done, Fixed{Rule: f.Rule, File: f.File, Line: f.Line, Message: f.Message})
				}
			}
		}
	}
	r, err := Check(root, o)
	return done, r, err
}

// mend makes the edits of the chosen findings, without writing anything: it returns those made, the files as
// they are to be, and what it left.
func mend(root fs.FS, o Options, before *Report, chosen []Finding) (made []Finding, files map[string][]byte, left []Fixed, err error) {
	leave := func(f Finding, why string) {
		left = append(left, Fixed{f.Rule, f.File, f.Line, f.Message, why})
	}
	// From the end of a file to its beginning, so that lines keep their numbers.
	slices.SortStableFunc(chosen, func(a, b Finding) int { return b.edits[0].line - a.edits[0].line })
	for round := 0; ; round++ {
		made, files = nil, map[string][]byte{}
		for i := 0; i < len(chosen); i++ {
			f := chosen[i]
			if err := apply(root, files, f.edits); err != nil {
				leave(f, err.Error())
				chosen = slices.Delete(slices.Clone(chosen), i, i+1)
				i--
				continue
			}
			made = append(made, f)
		}
		if len(made) == 0 {
			return nil, nil, left, nil
		}
		after, err := Check(overlay{root, files}, o)
		if err != nil {
			return nil, nil, left, err
		}
		was, is, fixed := tally(before.Findings), tally(after.Findings), tally(made)
		stays := func(f Finding) bool { return is[kindOf(f)] > was[kindOf(f)]-fixed[kindOf(f)] }
		if !slices.ContainsFunc(made, stays) {
			return made, files, left, nil
		}
		chosen = nil
		for _, f := range made {
			if round > 2 || stays(f) {
				leave(f, "the change would not mend it")
			} else {
				chosen = append(chosen, f)
			}
		}
	}
}

// kindOf names a finding without its line.
func kindOf(f Finding) string {
	return strings.Join([]string{f.Rule, f.File, f.Job, f.Package, f.Message}, "\x00")
}

func tally(findings []Finding) map[string]int {
	n := map[string]int{}
	for _, f := range findings {
		n[kindOf(f)]++
	}
	return n
}

const bom = "\ufeff"

// apply makes edits in files, which hold what earlier edits have made of root's.
func apply(root fs.FS, files map[string][]byte, edits []edit) error {
	mended := map[string][]byte{}
	edits = slices.Clone(edits)
	slices.SortFunc(edits, func(a, b edit) int { return b.line - a.line })
	for _, e := range edits {
		data, ok := mended[e.file]
		if !ok {
			if data, ok = files[e.file]; !ok {
				var err error
				if data, err = fs.ReadFile(root, e.file); err != nil {
					return fmt.Errorf("reading %s again: %w", e.file, cause(err))
				}
			}
		}
		if path.Ext(e.file) == ".json" { // no mark belongs there (RFC 8259, section 8.1)
			data = bytes.TrimPrefix(data, []byte(bom))
		}
		lines := splitLines(data)
		if e.line < 1 || e.line > len(lines) || strings.TrimSuffix(lines[e.line-1], "\r") != strings.TrimSuffix(e.old, "\r") {
			return fmt.Errorf("line %d has changed meanwhile", e.line)
		}
		cr := ""
		if strings.HasSuffix(lines[e.line-1], "\r") {
			cr = "\r"
		}
		var replaced []string
		for _, l := range e.lines {
			replaced = append(replaced, strings.TrimSuffix(l, "\r")+cr)
		}
		result := []byte(strings.Join(slices.Replace(lines, e.line-1, e.line, replaced...), "\n"))
		if err := e.verify(data, result); err != nil {
			return err
		}
		mended[e.file] = result
	}
	maps.Copy(files, mended)
	return nil
}

// A leaf is a value in a parsed file, and the keys on the way to it.
type leaf struct{ path, value string }

// at makes a leaf's path of its keys.
func at(keys ...string) string { return strings.Join(keys, "\x1f") }

// verify says what is wrong with an edit's result: it does not parse, or more or less has changed than was meant.
func (e edit) verify(before, after []byte) error {
	was, err := leaves(e.file, before)
	if err != nil {
		return err
	}
	is, err := leaves(e.file, after)
	if err != nil {
		return fmt.Errorf("the result would not parse: %w", err)
	}
	count := map[leaf]int{}
	for _, l := range is {
		count[l]++
	}
	for _, l := range was {
		count[l]--
	}
	var gone, come []leaf
	for l, n := range count {
		for ; n < 0; n++ {
			gone = append(gone, l)
		}
		for ; n > 0; n-- {
			come = append(come, l)
		}
	}
	if e.from != "" {
		if len(gone) == 1 && len(come) == 1 && gone[0].path == come[0].path && replacedOnce(gone[0].value, come[0].value, e.from, e.to) {
			return nil
		}
	} else if sameLeaves(gone, e.remove) && sameLeaves(come, e.add) {
		return nil
	}
	return errors.New("the line is not written in a form that can be changed safely")
}

// replacedOnce reports whether b is a with one from replaced by to.
func replacedOnce(a, b, from, to string) bool {
	if len(b) != len(a)-len(from)+len(to) {
		return false
	}
	same := 0 // the first difference, near which the replacement began
	for same < len(a) && same < len(b) && a[same] == b[same] {
		same++
	}
	for i := max(0, same-len(from)-len(to)); i <= same && i+len(from) <= len(a); i++ {
		if a[i:i+len(from)] == from && b == a[:i]+to+a[i+len(from):] {
			return true
		}
	}
	return false
}

// sameLeaves reports whether each leaf is one of those wanted, and each of those is there.
func sameLeaves(got, want []leaf) bool {
	if len(got) != len(want) {
		return false
	}
	want = slices.Clone(want)
	for _, g := range got {
		i := slices.IndexFunc(want, func(w leaf) bool {
			return g.value == w.value && (g.path == w.path || strings.HasSuffix(g.path, "\x1f"+w.path))
		})
		if i < 0 {
			return false
		}
		want = slices.Delete(want, i, i+1)
	}
	return true
}

// leaves lists the values of a parsed file, its aliases expanded.
func leaves(name string, data []byte) (all []leaf, err error) {
	if path.Ext(name) == ".json" {
		if !json.Valid(data) {
			return nil, errors.New("is no JSON")
		}
		var v any
		if err := json.Unmarshal(data, &v); err != nil {
			return nil, err
		}
		return jsonLeaves(nil, "", v), nil
	}
	docs, err := parseYAML(data)
	if err != nil {
		return nil, err
	}
	for i, d := range docs {
		all = yamlLeaves(all, fmt.Sprint(i), d)
	}
	return all, nil
}

func jsonLeaves(all []leaf, p string, v any) []leaf {
	switch v := v.(type) {
	case map[string]any:
		if len(v) == 0 {
			return append(all, leaf{p, "{}"})
		}
		for k, child := range v {
			all = jsonLeaves(all, at(p, k), child)
		}
	case []any:
		if len(v) == 0 {
			return append(all, leaf{p, "[]"})
		}
		for i, child := range v {
			all = jsonLeaves(all, at(p, fmt.Sprint(i)), child)
		}
	default:
		return append(all, leaf{p, fmt.Sprint(v)})
	}
	return all
}

func yamlLeaves(all []leaf, p string, n *yaml.Node) []leaf {
	if n = deref(n); n == nil {
		return all
	}
	switch n.Kind {
	case yaml.MappingNode:
		if len(n.Content) == 0 {
			return append(all, leaf{p, "{}"})
		}
		for i := 0; i+1 < len(n.Content); i += 2 {
			all = yamlLeaves(all, at(p, n.Content[i].Value), n.Content[i+1])
		}
	case yaml.SequenceNode, yaml.DocumentNode:
		if len(n.Content) == 0 {
			return append(all, leaf{p, "[]"})
		}
		for i, child := range n.Content {
			all = yamlLeaves(all, at(p, fmt.Sprint(i)), child)
		}
	default:
		return append(all, leaf{p, n.Value})
	}
	return all
}

// An overlay is a file system with some files' contents replaced.
type overlay struct {
	fs.FS
	files map[string][]byte
}

func (o overlay) Open(name string) (fs.File, error) {
	f, err := o.FS.Open(name)
	data, ok := o.files[name]
	if err != nil || !ok {
		return f, err
	}
	return &overlaid{f, bytes.NewReader(data)}, nil
}

type overlaid struct {
	fs.File
	data *bytes.Reader
}

func (o *overlaid) Read(p []byte) (int, error) { return o.data.Read(p) }

// line returns a line of the workflow's file; false where there is none.
func (w *workflow) line(n int) (string, bool) {
	if n < 1 || n > len(w.lines) {
		return "", false
	}
	return strings.TrimSuffix(w.lines[n-1], "\r"), true
}

func indentation(l string) string { return l[:len(l)-len(strings.TrimLeft(l, " "))] }

// insertBefore writes lines before another.
func (w *workflow) insertBefore(line int, text ...string) []edit {
	old, ok := w.line(line)
	if !ok {
		return nil
	}
	e := edit{file: w.path, line: line, old: old, lines: append(text[:len(text):len(text)], old)}
	for _, t := range text {
		if key, value, ok := strings.Cut(t, ": "); ok {
			e.add = append(e.add, leaf{key, value})
		}
	}
	return []edit{e}
}

// replaceOnce replaces a word or two of a line, if they stand there once and in plain sight.
func (w *workflow) replaceOnce(file string, line int, from, to string) []edit {
	old, ok := w.line(line)
	if !ok || file != w.path || from == "" {
		return nil
	}
	code, comment, _ := strings.Cut(old, " #")
	if comment != "" {
		comment = " #" + comment
	}
	pattern := regexp.MustCompile(`(^|[\s"'(;&|])` + regexp.QuoteMeta(from) + `($|[\s"');&|])`)
	at := pattern.FindAllStringIndex(code, -1)
	if len(at) != 1 || strings.Count(code, from) != 1 {
		return nil
	}
	return []edit{{file: w.path, line: line, old: old, lines: []string{strings.Replace(code, from, to, 1) + comment}, from: from, to: to}}
}

// plainValue matches the value of a "key: value" line that may stand alone: no anchor, tag, alias, block or flow.
var plainValue = regexp.MustCompile(`^\s+["']?[A-Za-z0-9$./_-][^"'#]*["']?\s*(\s#.*)?$`)

// alone reports whether a line is "key: value" with a plain value that does not go on in the next lines.
func (w *workflow) alone(n int, key string) bool {
	l, ok := w.line(n)
	rest, isKey := strings.CutPrefix(strings.TrimLeft(l, " "), key+":")
	if !ok || !isKey || !plainValue.MatchString(rest) {
		return false
	}
	for next := n + 1; ; next++ {
		below, ok := w.line(next)
		if !ok {
			return true
		}
		if t := strings.TrimSpace(below); t != "" && t[0] != '#' {
			return len(indentation(below)) <= len(indentation(l))
		}
	}
}

// replaceLine replaces a "key: value" line, its comment kept. to is such a line too.
func (w *workflow) replaceLine(file string, line int, key, was, to string) []edit {
	old, ok := w.line(line)
	if !ok || file != w.path || !w.alone(line, key) {
		return nil
	}
	comment := ""
	if i := strings.Index(old, " #"); i >= 0 {
		comment = old[i:]
	}
	name, value, _ := strings.Cut(to, ": ")
	return []edit{{file: w.path, line: line, old: old, lines: []string{indentation(old) + to + comment},
		remove: []leaf{{at("with", key), was}}, add: []leaf{{at("with", name), value}}}}
}

// addInput adds an input to an action's with:.
func (w *workflow) addInput(s *step, input string) []edit {
	old, ok := w.line(s.usesLine)
	if !ok || s.file != w.path {
		return nil
	}
	column := strings.Index(old, "uses:")
	if column < 0 || strings.Trim(old[:column], " -") != "" {
		return nil
	}
	indent := strings.Repeat(" ", column)
	name, value, _ := strings.Cut(input, ": ")
	add := []leaf{{at("with", name), value}}
	for n := s.usesLine + 1; ; n++ {
		l, ok := w.line(n)
		if !ok {
			break
		}
		if strings.TrimSpace(l) == "" || strings.HasPrefix(strings.TrimSpace(l), "#") {
			continue
		}
		if len(indentation(l)) < column || strings.HasPrefix(l, indent+"- ") {
			break
		}
		if l == indent+"with:" {
			return []edit{{file: w.path, line: n, old: l, lines: []string{l, indent + "  " + input}, add: add}}
		}
		if strings.HasPrefix(l, indent+"with:") {
			return nil
		}
	}
	if len(s.with) > 0 {
		return nil
	}
	return []edit{{file: w.path, line: s.usesLine, old: old, lines: []string{old, indent + "with:", indent + "  " + input}, add: add}}
}

// grantIDToken adds id-token: write to the job's permissions. Where the job has none, it gets the workflow's
// and this one; where neither has any, nothing is written, since any block would take rights away.
func (j *job) grantIDToken() []edit {
	w := j.w
	const grant = "id-token: write"
	if p := j.ast.Permissions; p != nil {
		var last *actionlint.PermissionScope
		for _, s := range p.Scopes {
			if s != nil && (last == nil || lineOf(s.Name) > lineOf(last.Name)) {
				last = s
			}
		}
		if last == nil || p.Scopes["id-token"] != nil {
			return nil
		}
		old, ok := w.line(lineOf(last.Name))
		if !ok || !w.alone(lineOf(last.Name), value(last.Name)) {
			return nil
		}
		return []edit{{file: w.path, line: lineOf(last.Name), old: old, lines: []string{old, indentation(old) + grant},
			add: []leaf{{at("jobs", j.id, "permissions", "id-token"), "write"}}}}
	}
	top := w.ast.Permissions
	if top == nil || value(top.All) != "" {
		return nil
	}
	old, ok := w.line(j.line)
	if !ok || !strings.HasSuffix(strings.TrimSpace(strings.SplitN(old, " #", 2)[0]), ":") {
		return nil
	}
	indent := ""
	for n := j.line + 1; indent == ""; n++ {
		l, ok := w.line(n)
		if !ok {
			return nil
		}
		if t := strings.TrimSpace(l); t != "" && t[0] != '#' {
			if indent = indentation(l); len(indent) <= len(indentation(old)) {
				return nil
			}
		}
	}
	lines := []string{old, indent + "permissions:"}
	add := []leaf{{at("jobs", j.id, "permissions", "id-token"), "write"}}
	for _, name := range slices.Sorted(maps.Keys(top.Scopes)) {
		if s := top.Scopes[name]; s != nil && name != "id-token" {
			lines = append(lines, indent+"  "+name+": "+value(s.Value))
			add = append(add, leaf{at("jobs", j.id, "permissions", name), value(s.Value)})
		}
	}
	return []edit{{file: w.path, line: j.line, old: old, lines: append(lines, indent+"  "+grant), add: add}}
}

// member matches a line that is one whole member of a JSON object.
var member = regexp.MustCompile(`^(\s*"[^"]+"\s*:\s*)("(?:[^"\\]|\\.)*"|true|false|null|-?[0-9.]+)(\s*,?\s*)$`)

func (f *manifest) member(key string) (line int, old string, parts []string) {
	line = f.keys[key]
	if line < 1 || line > len(f.lines) {
		return 0, "", nil
	}
	old = strings.TrimSuffix(f.lines[line-1], "\r")
	parts = member.FindStringSubmatch(old)
	name := key[strings.LastIndexByte(key, '.')+1:]
	if parts == nil || !strings.HasPrefix(strings.TrimSpace(old), `"`+name+`"`) {
		return 0, "", nil
	}
	return line, old, parts
}

// insertAfter adds a member behind another that stands on a line of its own.
func (f *manifest) insertAfter(key, text string) []edit {
	line, old, parts := f.member(key)
	if parts == nil {
		return nil
	}
	indent := old[:len(old)-len(strings.TrimLeft(old, " \t"))]
	var members any
	if err := json.Unmarshal([]byte("{"+text+"}"), &members); err != nil {
		return nil
	}
	prefix := "" // of the object that the member stands in
	if i := strings.LastIndexByte(key, '.'); i >= 0 {
		prefix = at(strings.Split(key[:i], ".")...)
	}
	add := jsonLeaves(nil, prefix, members)
	if strings.Contains(parts[3], ",") {
		return []edit{{file: f.path, line: line, old: old, lines: []string{old, indent + text + ","}, add: add}}
	}
	return []edit{{file: f.path, line: line, old: old, lines: []string{strings.TrimRight(old, " \t") + ",", indent + text}, add: add}}
}

// replaceOn replaces the value of a member that stands on a line of its own.
func (f *manifest) replaceOn(key, from, to string) []edit {
	line, old, parts := f.member(key)
	if parts == nil || parts[2] != from {
		return nil
	}
	var was, is any
	if json.Unmarshal([]byte(from), &was) != nil || json.Unmarshal([]byte(to), &is) != nil {
		return nil
	}
	name := at(strings.Split(key, ".")...)
	return []edit{{file: f.path, line: line, old: old, lines: []string{parts[1] + to + parts[3]},
		remove: []leaf{{name, fmt.Sprint(was)}}, add: []leaf{{name, fmt.Sprint(is)}}}}
}

// fixCase spells the repository as the forge does, where the forge itself has said how.
func (c *checker) fixCase(f *manifest, line int, from, to string) []edit {
	if !c.options.Canonical || line < 1 || line > len(f.lines) {
		return nil
	}
	old := strings.TrimSuffix(f.lines[line-1], "\r")
	if strings.Count(old, from) != 1 {
		return nil
	}
	return []edit{{file: f.path, line: line, old: old, lines: []string{strings.Replace(old, from, to, 1)}, from: from, to: to}}
}

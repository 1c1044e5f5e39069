package doctor

import (
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
)

// An edit replaces one line of a file by others. Files are never printed anew from their parsed form, so
// comments, order and layout stay.
type edit struct {
	file  string
	line  int
	old   string // what must stand there, without its newline
	lines []string
}

// A Fixed is a finding that [Fix] has mended.
type Fixed struct {
	Rule, File string
	Line       int // where it was
	Message    string
}

// maxPasses bounds how often the project is looked at again after edits.
const maxPasses = 20

// Fix mends what can be mended without taking anything away that somebody may rely on, and looks again until
// nothing of that kind is left. write replaces a file; root must show what it wrote. An edit after which a
// file no longer parses is not made. A second run finds nothing to do.
func Fix(root fs.FS, o Options, write func(name string, data []byte) error) ([]Fixed, *Report, error) {
	var done []Fixed
	tried := map[string]bool{}
	for range maxPasses {
		r, err := Check(root, o)
		if err != nil {
			return done, nil, err
		}
		files := map[string][]edit{}
		for _, f := range r.Findings {
			if len(f.edits) == 0 {
				continue
			}
			key := fmt.Sprint(f.Rule, "\x00", f.Message, "\x00", f.edits)
			if tried[key] || slices.ContainsFunc(f.edits, func(e edit) bool {
				return slices.ContainsFunc(files[e.file], func(other edit) bool { return other.line == e.line })
			}) {
				continue // once only, and one edit to a line in each pass
			}
			tried[key] = true
			for _, e := range f.edits {
				files[e.file] = append(files[e.file], e)
			}
			done = append(done, Fixed{f.Rule, f.File, f.Line, f.Message})
		}
		if len(files) == 0 {
			return done, r, nil
		}
		for _, name := range slices.Sorted(maps.Keys(files)) {
			if err := apply(root, name, files[name], write); err != nil {
				return done, nil, err
			}
		}
	}
	r, err := Check(root, o)
	return done, r, err
}

func apply(root fs.FS, name string, edits []edit, write func(string, []byte) error) error {
	data, err := fs.ReadFile(root, name)
	if err != nil {
		return fmt.Errorf("reading %s again: %w", name, cause(err))
	}
	lines := strings.Split(string(data), "\n")
	slices.SortFunc(edits, func(a, b edit) int { return b.line - a.line })
	for _, e := range edits {
		if e.line < 1 || e.line > len(lines) || strings.TrimSuffix(lines[e.line-1], "\r") != strings.TrimSuffix(e.old, "\r") {
			return fmt.Errorf("mending %s: line %d has changed meanwhile", name, e.line)
		}
		cr := ""
		if strings.HasSuffix(lines[e.line-1], "\r") {
			cr = "\r"
		}
		var replaced []string
		for _, l := range e.lines {
			replaced = append(replaced, strings.TrimSuffix(l, "\r")+cr)
		}
		lines = slices.Replace(lines, e.line-1, e.line, replaced...)
	}
	mended := []byte(strings.Join(lines, "\n"))
	if err := parses(name, mended); err != nil {
		return fmt.Errorf("mending %s: the result does not parse, so nothing was written: %w", name, err)
	}
	if err := write(name, mended); err != nil {
		return fmt.Errorf("writing %s: %w", name, err)
	}
	return nil
}

func parses(name string, data []byte) error {
	if path.Ext(name) == ".json" {
		if !json.Valid(data) {
			return errors.New("is no JSON")
		}
		return nil
	}
	_, err := parseYAML(data)
	return err
}

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
	return []edit{{w.path, line, old, append(text[:len(text):len(text)], old)}}
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
	return []edit{{w.path, line, old, []string{strings.Replace(code, from, to, 1) + comment}}}
}

// replaceLine replaces a "key: value" line, its comment kept.
func (w *workflow) replaceLine(file string, line int, key, to string) []edit {
	old, ok := w.line(line)
	if !ok || file != w.path || !strings.HasPrefix(strings.TrimLeft(old, " "), key) {
		return nil
	}
	comment := ""
	if i := strings.Index(old, " #"); i >= 0 {
		comment = old[i:]
	}
	return []edit{{w.path, line, old, []string{indentation(old) + to + comment}}}
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
			return []edit{{w.path, n, l, []string{l, indent + "  " + input}}}
		}
		if strings.HasPrefix(l, indent+"with:") {
			return nil
		}
	}
	if len(s.with) > 0 {
		return nil
	}
	return []edit{{w.path, s.usesLine, old, []string{old, indent + "with:", indent + "  " + input}}}
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
		if have := p.Scopes["id-token"]; have != nil {
			return w.replaceLine(w.path, lineOf(have.Name), "id-token:", grant)
		}
		if last == nil {
			return nil
		}
		old, ok := w.line(lineOf(last.Name))
		if !ok || !strings.HasPrefix(strings.TrimLeft(old, " "), value(last.Name)+":") {
			return nil
		}
		return []edit{{w.path, lineOf(last.Name), old, []string{old, indentation(old) + grant}}}
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
	for _, name := range slices.Sorted(maps.Keys(top.Scopes)) {
		if s := top.Scopes[name]; s != nil && name != "id-token" {
			lines = append(lines, indent+"  "+name+": "+value(s.Value))
		}
	}
	return []edit{{w.path, j.line, old, append(lines, indent+"  "+grant)}}
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
	if strings.Contains(parts[3], ",") {
		return []edit{{f.path, line, old, []string{old, indent + text + ","}}}
	}
	return []edit{{f.path, line, old, []string{strings.TrimRight(old, " \t") + ",", indent + text}}}
}

// replaceOn replaces the value of a member that stands on a line of its own.
func (f *manifest) replaceOn(key, from, to string) []edit {
	line, old, parts := f.member(key)
	if parts == nil || parts[2] != from {
		return nil
	}
	return []edit{{f.path, line, old, []string{parts[1] + to + parts[3]}}}
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
	return []edit{{f.path, line, old, []string{strings.Replace(old, from, to, 1)}}}
}

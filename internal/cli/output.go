package cli

import (
	"bytes"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"assay/internal/report"
)

// A form is one way to write a report.
type form struct {
	name  string
	write func(io.Writer, *report.Report, report.TextOptions) error
	// inert makes of what is printed something in which a CI's runner, which reads along, sees no command: in the
	// form's own terms, so that what is read back is the same. nil: the form does so itself. Files are written as
	// they are.
	inert func(name string, text []byte) ([]byte, error)
}

// forms lists the forms that a report can take, in the order in which help tells them.
var forms = []form{
	{"text", report.WriteText, inertText},
	{"json", func(w io.Writer, r *report.Report, _ report.TextOptions) error { return report.WriteJSON(w, r) }, inertDocument},
	{"sarif", report.WriteSARIF, inertDocument},
	{"markdown", report.WriteMarkdown, inertText},
	{"html", report.WriteHTML, inertPage},
	{"csv", report.WriteCSV, inertText},
	{"cyclonedx", report.WriteCycloneDX, inertDocument},
	{"spdx", report.WriteSPDX, inertDocument},
	{"vsa", report.WriteVSA, inertDocument},
	{"github", report.WriteGitHub, nil},
	{"gitlab", report.WriteGitLab, inertDocument},
}

// formNames lists the names of all forms.
func formNames() []string {
	var names []string
	for _, f := range forms {
		names = append(names, f.name)
	}
	return names
}

// sentence lists words as a sentence does: "text, json or sarif".
func sentence(words []string, last string) string {
	n := len(words) - 1
	if n < 1 {
		return strings.Join(words, "")
	}
	return strings.Join(words[:n], ", ") + " " + last + " " + words[n]
}

// formOf returns the form of a name, nil if there is none.
func formOf(name string) *form {
	for i := range forms {
		if forms[i].name == name {
			return &forms[i]
		}
	}
	return nil
}

// formHint is what to say where a form is not known.
func formHint(name string) string {
	hint := "formats are " + sentence(formNames(), "and")
	if near := nearest(name, formNames()); near != "" {
		return "is it " + near + "? " + hint
	}
	return hint
}

func inertText(_ string, text []byte) ([]byte, error) { return []byte(inert(string(text))), nil }

// inertDocument is inert for JSON. For XML, which some documents may be instead, there are no terms that hold
// everywhere in it.
func inertDocument(name string, text []byte) ([]byte, error) {
	if !bytes.HasPrefix(bytes.TrimLeft(text, "\ufeff \t\r\n"), []byte("<")) {
		return bytes.ReplaceAll(text, []byte("##["), []byte(`#\u0023[`)), nil // such signs stand in strings only
	}
	if inert(string(text)) != string(text) {
		return nil, usagef("write it to a file: --report "+name+"=FILE", "the document holds what a CI's runner would take for a command")
	}
	return text, nil
}

// inertPage is inert for HTML as report writes it: text from outside stands where references are understood.
func inertPage(_ string, text []byte) ([]byte, error) {
	text = bytes.ReplaceAll(text, []byte("##["), []byte("#&#35;["))
	if !bytes.Contains(text, []byte("::")) {
		return text, nil
	}
	var out bytes.Buffer
	for line := range bytes.Lines(text) {
		if rest := bytes.TrimLeft(line, " \t\r\v\f"); bytes.HasPrefix(rest, []byte("::")) {
			out.Write(line[:len(line)-len(rest)])
			out.WriteString("&#58;:")
			line = rest[2:]
		}
		out.Write(line)
	}
	return out.Bytes(), nil
}

// An output is a report that is written to a file.
type output struct {
	form *form
	file string // as the user named it
}

// outputs reads --report flags.
func outputs(flags []string) ([]output, error) {
	var list []output
	for _, r := range flags {
		name, file, ok := strings.Cut(r, "=")
		const hint = "for example --report json=assay.json"
		switch {
		case !ok || name == "" || file == "":
			return nil, usagef(hint, "--report %q is not FORMAT=FILE", r)
		case formOf(name) == nil:
			return nil, usagef(formHint(name), "--report %q: unknown format %q", r, name)
		case file == "-":
			return nil, usagef("--format "+name+" prints it", "--report %q: a report is written to a file, and - is none", r)
		}
		list = append(list, output{formOf(name), file})
	}
	return list, nil
}

// checkOutputs finds out before anything is done whether the reports can be written.
func (s *session) checkOutputs(list []output) error {
	seen := map[string]string{}
	for _, o := range list {
		path := s.path(o.file)
		dir := filepath.Dir(path)
		info, err := os.Stat(dir)
		switch {
		case errors.Is(err, fs.ErrNotExist):
			return usagef("make it first: mkdir -p "+filepath.Dir(o.file), "--report %s=%s: there is no directory %s", o.form.name, o.file, filepath.Dir(o.file))
		case err != nil:
			return usagef("", "--report %s=%s: %w", o.form.name, o.file, err)
		case !info.IsDir():
			return usagef("", "--report %s=%s: %s is no directory", o.form.name, o.file, filepath.Dir(o.file))
		}
		if info, err := os.Stat(path); err == nil && info.IsDir() {
			return usagef("for example --report "+o.form.name+"="+filepath.Join(o.file, "assay."+o.form.name), "--report %s=%s: that is a directory", o.form.name, o.file)
		}
		real := linked(path)
		if to, err := filepath.EvalSymlinks(filepath.Dir(real)); err == nil {
			real = filepath.Join(to, filepath.Base(real))
		}
		if other, ok := seen[real]; ok {
			return usagef("give each its own file", "two reports would go to one file: --report %s=%s and %s", o.form.name, o.file, other)
		}
		seen[real] = o.form.name + "=" + o.file
	}
	return nil
}

// rendered is a report in one form; nothing of it is written if it cannot be made whole.
func (s *session) rendered(f *form, rep *report.Report, o report.TextOptions) ([]byte, error) {
	if f.name == "vsa" && s.signed != nil {
		return s.signed, nil
	}
	var text bytes.Buffer
	err := f.write(&text, rep, o)
	return text.Bytes(), err
}

// replaceFile puts data in the place of a file at once, so that nobody reads half of it and a failure leaves what was
// there. A symlink stays one, and its target is replaced; what is no regular file, such as a pipe, is written to.
func replaceFile(path string, data []byte) error {
	return replaceWith(path, func(w io.Writer) error {
		_, err := w.Write(data)
		return err
	})
}

// replaceWith is replaceFile with what write writes.
func replaceWith(path string, write func(io.Writer) error) (err error) {
	path = linked(path)
	mode := fs.FileMode(0o666) // less what the process's mask takes away
	if info, err := os.Stat(path); err == nil {
		if !info.Mode().IsRegular() {
			f, err := os.OpenFile(path, os.O_WRONLY, 0)
			if err != nil {
				return err
			}
			return errors.Join(write(f), f.Close())
		}
		mode = info.Mode().Perm()
	}
	var random [8]byte
	rand.Read(random[:])
	name := filepath.Join(filepath.Dir(path), "."+filepath.Base(path)+"."+hex.EncodeToString(random[:]))
	f, err := os.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_EXCL, mode)
	if err != nil {
		return err
	}
	defer func() {
		if err != nil {
			os.Remove(name)
		}
	}()
	if err := errors.Join(write(f), f.Close()); err != nil {
		return err
	}
	return os.Rename(name, path)
}

// linked is the file that a path leads to by symlinks, whether or not there is one.
func linked(path string) string {
	for range 40 {
		to, err := os.Readlink(path)
		if err != nil {
			break
		}
		if !filepath.IsAbs(to) {
			to = filepath.Join(filepath.Dir(path), to)
		}
		path = to
	}
	return path
}

// finish writes the reports and returns the run's exit code as an error. main writes the text to print where that is
// not simply the report in the format asked for.
func (s *session) finish(rep *report.Report, o report.TextOptions, main func(io.Writer) error) error {
	f := formOf(s.flags.format)
	var text []byte
	var err error
	if main == nil {
		text, err = s.rendered(f, rep, o)
	} else {
		var printed bytes.Buffer
		err = main(&printed)
		text = printed.Bytes()
	}
	if err == nil && f.inert != nil {
		text, err = f.inert(f.name, text)
	}
	if err == nil {
		_, err = s.env.Stdout.Write(text)
	}
	if err != nil {
		return usagef(hintOf(err), "writing the report: %w", err)
	}
	o.Color, o.Width = false, 0
	for _, out := range s.flags.outputs {
		text, err := s.rendered(out.form, rep, o)
		if err == nil {
			err = replaceFile(s.path(out.file), text)
		}
		if err != nil {
			return usagef("", "writing the %s report: %w", out.form.name, err)
		}
	}
	code := rep.Exit()
	if code == ExitAllowed && s.flags.failOn == "warn" && rep.Warns() {
		code = ExitDenied
	}
	if code != ExitAllowed {
		return exitError(code)
	}
	return nil
}

// hintOf is the hint that an error brings along, "" if it has none.
func hintOf(err error) string {
	var usage *usageError
	if errors.As(err, &usage) {
		return usage.hint
	}
	return ""
}

// annotate tells GitHub's runner what to show at the lines of the lockfile, and adds the report to the step's summary.
// Trouble with either is told and changes nothing.
func (s *session) annotate(rep *report.Report, o report.TextOptions) {
	get := func(key string) string { v, _ := s.env.Getenv(key); return v }
	if get("GITHUB_ACTIONS") != "true" {
		return
	}
	o.Color, o.Width = false, 0
	if err := report.WriteGitHub(s.env.Stderr, rep, o); err != nil {
		fmt.Fprintf(s.env.Stderr, "assay: warning: writing annotations: %s\n", inert(report.Escape(err.Error())))
	}
	file := get("GITHUB_STEP_SUMMARY")
	if file == "" {
		return
	}
	if err := appendSummary(file, rep, o); err != nil {
		fmt.Fprintf(s.env.Stderr, "assay: warning: writing the step's summary: %s\n", inert(report.Escape(err.Error())))
	}
}

// appendSummary adds the report to a step's summary, as far as there is room: GitHub drops all of one that is larger
// than 1 MiB.
func appendSummary(file string, rep *report.Report, o report.TextOptions) error {
	f, err := os.OpenFile(file, os.O_WRONLY|os.O_APPEND|os.O_CREATE, 0o666)
	if err != nil {
		return err
	}
	const most, least = 1 << 20, 4 << 10
	room := most
	if info, err := f.Stat(); err == nil {
		room -= int(min(info.Size(), most))
	}
	if room < least {
		return errors.Join(errors.New("it is full"), f.Close())
	}
	var text bytes.Buffer
	err = report.WriteStepSummary(&text, rep, o, room-1)
	if err == nil {
		_, err = f.Write(append(text.Bytes(), '\n'))
	}
	return errors.Join(err, f.Close())
}

// textOptions are what all forms are told of the run.
func (s *session) textOptions(subject string, elapsed time.Duration) (report.TextOptions, error) {
	c := s.flags
	o := report.TextOptions{
		Color: s.env.Colour && !c.noColor, Width: s.env.Width, Subject: subject, Elapsed: elapsed, Verbose: c.verbose, Quiet: c.quiet,
		PrivateLog: c.trustedRoot != "", FailOnWarn: c.failOn == "warn", Version: Version(), Locate: s.locate(),
	}
	for _, f := range []struct{ name, value string }{
		{"--registry", c.registry}, {"--registry-keys", c.keys}, {"--trusted-root", c.trustedRoot}, {"--policy", c.policy},
	} {
		if f.value != "" {
			o.Flags = append(o.Flags, f.name, f.value)
		}
	}
	var err error
	o.Documents, err = s.documents()
	return o, err
}

// locate returns what names a file from the root of the repository, nil where nobody knows of one. In CI that is what
// the runner checked out, elsewhere the next directory upwards that holds .git.
func (s *session) locate() func(string) string {
	dir, err := filepath.EvalSymlinks(s.env.Dir)
	if err != nil {
		return nil
	}
	root := ""
	for _, key := range []string{"GITHUB_WORKSPACE", "CI_PROJECT_DIR"} {
		v, _ := s.env.Getenv(key)
		if v == "" || !filepath.IsAbs(v) {
			continue
		}
		if real, err := filepath.EvalSymlinks(v); err == nil && within(real, dir) {
			root = real
		}
	}
	for at := dir; root == ""; at = filepath.Dir(at) {
		if _, err := os.Lstat(filepath.Join(at, ".git")); err == nil {
			root = at
		} else if at == filepath.Dir(at) {
			return nil
		}
	}
	return func(file string) string {
		path := filepath.FromSlash(file)
		if !filepath.IsAbs(path) {
			path = filepath.Join(dir, path)
		} else if real, err := filepath.EvalSymlinks(path); err == nil {
			path = real
		}
		if !within(root, path) {
			return file
		}
		rel, err := filepath.Rel(root, path)
		if err != nil {
			return file
		}
		return filepath.ToSlash(rel)
	}
}

// within reports whether a path is a directory or lies in it.
func within(dir, path string) bool {
	rel, err := filepath.Rel(dir, path)
	return err == nil && filepath.IsLocal(rel)
}

// nearest returns the one of several words that somebody most likely meant, "" if none is near.
func nearest(word string, words []string) string {
	best, distance := "", max(1, len(word)/3)+1
	for _, w := range slices.Sorted(slices.Values(words)) {
		if d := edits(word, w); d < distance {
			best, distance = w, d
		}
	}
	return best
}

// edits counts the letters to insert, drop, change or exchange with their neighbour to make one word of another.
func edits(a, b string) int {
	if len(a) > 64 || len(b) > 64 {
		return max(len(a), len(b))
	}
	before, last := make([]int, len(b)+1), make([]int, len(b)+1)
	for j := range last {
		last[j] = j
	}
	for i := 1; i <= len(a); i++ {
		row := make([]int, len(b)+1)
		row[0] = i
		for j := 1; j <= len(b); j++ {
			row[j] = min(last[j]+1, row[j-1]+1)
			change := last[j-1]
			if a[i-1] != b[j-1] {
				change++
			}
			row[j] = min(row[j], change)
			if i > 1 && j > 1 && a[i-1] == b[j-2] && a[i-2] == b[j-1] {
				row[j] = min(row[j], before[j-2]+1)
			}
		}
		before, last = last, row
	}
	return last[len(b)]
}

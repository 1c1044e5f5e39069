package policy

import (
	"slices"
	"strings"

	"assay/internal/npm"
	"assay/internal/verify"
)

// written reads an assay.lock in exactly the form that [Lock.Format] gives it, one key on each line, which takes a
// twentieth of the time that YAML takes. It returns nil and the line where the file is in another form, or is
// wrong: then the YAML reader has the word. What both read they read alike.
func written(data []byte, file string) (*Lock, int) {
	w := &writtenReader{rest: string(data)}
	l := &Lock{File: file, Pins: make(map[string][]Pin)}
	if !w.lock(l) {
		return nil, w.line
	}
	for _, pins := range l.Pins {
		slices.SortFunc(pins, func(a, b Pin) int { return compareLines(a.Line, b.Line) })
	}
	return l, 0
}

// A writtenReader goes through the lines of an assay.lock, without those that are empty or comments.
type writtenReader struct {
	rest   string
	line   int    // number of the current line, from 1
	indent int    // of the current line
	text   string // the current line, without its indent
	end    bool
}

// next goes to the next line. It reports false at the end.
func (w *writtenReader) next() bool {
	for w.rest != "" {
		text, rest, _ := strings.Cut(w.rest, "\n")
		w.rest = rest
		w.line++
		text = strings.TrimSuffix(text, "\r")
		w.text = strings.TrimLeft(text, " ")
		w.indent = len(text) - len(w.text)
		if w.text != "" && w.text[0] != '#' {
			return true
		}
		for i := range len(w.text) { // a comment, which YAML reads as well
			if c := w.text[i]; c < ' ' || c > '~' {
				w.text, w.indent = "", 1
				return true
			}
		}
	}
	w.end = true
	return false
}

// at reports whether the current line is indented like that.
func (w *writtenReader) at(indent int) bool { return !w.end && w.indent == indent }

func (w *writtenReader) lock(l *Lock) bool {
	if !w.next() || !w.at(0) || w.text != "version: 1" {
		return false
	}
	if !w.next() || !w.at(0) || w.text != "packages:" || !w.next() {
		return false
	}
	for !w.end {
		name, ok := w.key(2)
		if !ok || l.Pins[name] != nil || npm.CheckName(name) != nil || !w.next() {
			return false
		}
		var pins []Pin
		lines := make(map[string]bool, 1)
		for w.at(4) {
			pin, ok := w.pin()
			if !ok || lines[pin.Line] {
				return false
			}
			lines[pin.Line] = true
			pins = append(pins, pin)
		}
		if pins == nil {
			return false
		}
		l.Pins[name] = pins
	}
	return true
}

func (w *writtenReader) pin() (Pin, bool) {
	pin := Pin{At: w.line}
	line, ok := w.key(4)
	if !ok || w.text[0] != '"' || !isLine(line) {
		return pin, false
	}
	pin.Line = line
	w.next()
	for w.at(6) {
		key, value, ok := strings.Cut(w.text, ": ")
		switch {
		case w.text == "publishers:" && pin.Publishers == nil:
			w.next()
			for w.at(8) && strings.HasPrefix(w.text, "- ") {
				p, ok := w.publisher()
				if !ok {
					return pin, false
				}
				pin.Publishers = append(pin.Publishers, p)
			}
			if pin.Publishers == nil {
				return pin, false
			}
			continue
		case !ok:
			return pin, false
		case key == "floor" && pin.Floor == "":
			pin.Floor = verify.Verdict(value)
		case key == "versions" && pin.Versions == nil:
			if pin.Versions, ok = list(value); !ok {
				return pin, false
			}
			for _, v := range pin.Versions {
				if npm.CheckVersion(v) != nil || npm.ReleaseLine(v) != line {
					return pin, false
				}
			}
		default:
			return pin, false
		}
		w.next()
	}
	switch pin.Floor {
	case verify.Provenance:
		return pin, len(pin.Publishers) > 0
	case verify.Signed, verify.Unsigned:
		return pin, len(pin.Publishers) == 0
	}
	return pin, false
}

func (w *writtenReader) publisher() (Pinned, bool) {
	p := Pinned{At: w.line}
	ref := ""
	w.indent, w.text = 10, w.text[len("- "):]
	for w.at(10) {
		key, value, ok := strings.Cut(w.text, ": ")
		if !ok {
			return p, false
		}
		field := map[string]*string{
			"issuer": &p.Issuer, "repository": &p.Repository, "repository_id": &p.RepositoryID, "owner": &p.Owner, "owner_id": &p.OwnerID,
			"workflow": &p.Workflow, "signer_workflow": &p.SignerWorkflow, "ref": &ref, "runner": &p.Runner, "environment": &p.Environment,
		}[key]
		switch {
		case key == "events" && p.Events == nil:
			if p.Events, ok = list(value); !ok {
				return p, false
			}
		case field == nil || *field != "":
			return p, false
		default:
			if !strings.HasSuffix(key, "_id") {
				value, ok = readScalar(value)
			} else {
				ok = isNumber(value)
			}
			if !ok || value == "" {
				return p, false
			}
			*field = value
		}
		w.next()
	}
	var err error
	if p.Ref, err = ParseRef(ref); err != nil {
		return p, false
	}
	slices.Sort(p.Events)
	return p, p.Issuer != "" && p.Repository != "" && p.Workflow != ""
}

// key reads a line that is a key with everything else below it.
func (w *writtenReader) key(indent int) (string, bool) {
	text, ok := strings.CutSuffix(w.text, ":")
	if !ok || !w.at(indent) {
		return "", false
	}
	return readScalar(text)
}

// readScalar reads a text as [scalar] writes it, but for those that need an escape.
func readScalar(s string) (text string, ok bool) {
	if s == "" || s[0] != '"' {
		return s, isPlain(s)
	}
	if len(s) < 2 || s[len(s)-1] != '"' {
		return "", false
	}
	s = s[1 : len(s)-1]
	for i := range len(s) {
		if c := s[i]; c < ' ' || c > '~' || c == '"' || c == '\\' {
			return "", false
		}
	}
	return s, true
}

// list reads a list of texts on one line.
func list(s string) ([]string, bool) {
	s, opened := strings.CutPrefix(s, "[")
	s, closed := strings.CutSuffix(s, "]")
	if !opened || !closed {
		return nil, false
	}
	texts := strings.Split(s, ", ")
	for i, one := range texts {
		text, ok := readScalar(one)
		if !ok || text == "" {
			return nil, false
		}
		texts[i] = text
	}
	return texts, len(texts) <= maxEntries
}

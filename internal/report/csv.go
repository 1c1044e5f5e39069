package report

import (
	"encoding/csv"
	"io"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"
)

// csvHeader names the columns. Columns may be added at the end; none is renamed or moved.
var csvHeader = []string{
	"name", "version", "purl", "source", "registry", "verdict", "decision", "bound", "direct", "dev", "file", "line", "path",
	"repository", "commit", "ref", "workflow", "event", "runner", "signed_at", "findings", "next", "integrity", "resolved", "locations",
}

// WriteCSV writes one line for each package, then one for each other dependency, under one of names (RFC 4180, UTF-8
// without a byte order mark, lines that end in CRLF). Source is "registry" for packages. Findings are what
// failed, could not be carried out or spoke, parted by "; ", and next is what to do about them.
//
// Text is escaped as on a terminal, and a cell that a spreadsheet would take for a formula has an apostrophe before
// it: so has the name of every package with a scope, whose plain form is in its purl. It returns the error of w.
func WriteCSV(w io.Writer, r *Report, o TextOptions) error {
	out := csv.NewWriter(w)
	out.UseCRLF = true
	if err := out.Write(csvHeader); err != nil {
		return err
	}
	row := func(e *entry, cells map[string]string) error {
		var said, next []string
		for i := range e.issues {
			x := &e.issues[i]
			said = append(said, x.word+" "+x.label())
		}
		for _, s := range steps(e.bad()) {
			next = append(next, strings.TrimSpace(s.text+" "+s.typed(o.Flags)))
		}
		cells["findings"], cells["next"] = strings.Join(said, "; "), strings.Join(next, " ")
		line := make([]string, len(csvHeader))
		for i, name := range csvHeader {
			line[i] = cell(cells[name])
		}
		return out.Write(line)
	}
	for i := range r.Packages {
		p := &r.Packages[i]
		cells := map[string]string{
			"name": EscapeASCII(p.Name), "version": EscapeASCII(p.Version), "purl": EscapeASCII(p.PURL), "source": "registry",
			"registry": EscapeASCII(p.Registry), "verdict": Escape(string(p.Verdict)), "decision": Escape(string(p.Decision)), "bound": Escape(p.Bound),
			"direct": strconv.FormatBool(p.Direct), "dev": strconv.FormatBool(p.Dev), "file": Escape(p.File), "line": lineNumber(p.Line),
			"path": why(p.Path, false, false), "integrity": EscapeASCII(p.Integrity), "resolved": EscapeASCII(p.Resolved), "locations": places(p.Locations),
		}
		if b := p.Publisher; b != nil {
			cells["repository"], cells["commit"], cells["ref"] = EscapeASCII(b.Repository), EscapeASCII(b.Commit), EscapeASCII(b.Ref)
			cells["workflow"], cells["event"], cells["runner"] = EscapeASCII(b.Workflow), EscapeASCII(b.Event), EscapeASCII(b.Runner)
			if !b.SignedAt.IsZero() {
				cells["signed_at"] = b.SignedAt.UTC().Format(time.RFC3339)
			}
		}
		if err := row(packageEntry(p), cells); err != nil {
			return err
		}
	}
	for i := range r.Others {
		x := &r.Others[i]
		err := row(otherEntry(x), map[string]string{
			"name": EscapeASCII(x.Name), "version": EscapeASCII(x.Version), "source": Escape(x.Source), "decision": Escape(string(x.Decision)),
			"file": Escape(x.File), "line": lineNumber(x.Line), "resolved": EscapeASCII(x.Resolved), "locations": places(x.Locations),
		})
		if err != nil {
			return err
		}
	}
	out.Flush()
	return out.Error()
}

func lineNumber(n int) string {
	if n == 0 {
		return ""
	}
	return strconv.Itoa(n)
}

// places lists where something lies, in short.
func places(locations []string) string {
	var list []string
	for i, l := range locations {
		if i == maxNames {
			list = append(list, "and "+count(len(locations)-maxNames)+" more")
			break
		}
		list = append(list, EscapeASCII(l))
	}
	return strings.Join(list, "; ")
}

// cell keeps a spreadsheet from taking text for a formula: OWASP, "CSV Injection".
func cell(s string) string {
	switch r, _ := utf8.DecodeRuneInString(s); r {
	case '=', '+', '-', '@', '\t', '\r', '\n', '|', '%', '＝', '＋', '－', '＠':
		return "'" + s
	}
	return s
}

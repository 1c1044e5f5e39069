package report

import (
	_ "embed"
	"io"
	"strconv"
	"time"
	"unicode/utf8"

	"github.com/go-json-experiment/json/jsontext"

	"assay/internal/policy"
	"assay/internal/publisher"
	"assay/internal/verify"
)

//go:embed schema.json
var schemaJSON []byte

// SchemaJSON returns the JSON Schema (draft 2020-12) of schema assay/report/v1. The caller may change the
// bytes.
func SchemaJSON() []byte { return append([]byte(nil), schemaJSON...) }

// WriteJSON writes the report as one JSON object, schema assay/report/v1, indented by two spaces and ended
// by a newline. The same report gives the same bytes. Whatever a registry sent, the text is strict JSON:
// bytes that are not UTF-8 come out as U+FFFD, and every character that [Escape] would not show as itself
// as an escape sequence, so that a report on a terminal steers nothing. It returns the error of w.
//
// The report of a large project has tens of thousands of rows, few of which differ, so each is written out
// once and copied. The fields stand here and in the structs; a test holds the two together.
func WriteJSON(w io.Writer, r *Report) error {
	j := &jsonWriter{w: w, rows: map[verify.Result][]byte{}}
	j.open('{')
	j.text("schema", r.Schema)
	j.summary("summary", &r.Summary)
	j.trust("trust", &r.Trust)
	list(j, "notes", r.Notes, (*jsonWriter).note)
	list(j, "invalid", r.Invalid, (*jsonWriter).invalid)
	list(j, "missing", r.Missing, (*jsonWriter).missing)
	if r.Verified != nil {
		list(j, "verified", *r.Verified, (*jsonWriter).verified)
	}
	list(j, "others", r.Others, (*jsonWriter).other)
	list(j, "packages", r.Packages, (*jsonWriter).pkg)
	j.close('}')
	j.buf = append(j.buf, '\n')
	j.flush()
	return j.err
}

// A jsonWriter writes JSON member by member; its first error sticks.
type jsonWriter struct {
	w     io.Writer
	err   error
	buf   []byte
	depth int
	first bool // nothing stands in the open object or array yet
	rows  map[verify.Result][]byte
}

const (
	flushAbove = 64 << 10
	maxRows    = 8192 // distinct rows kept; hostile text can make every row another
)

func (j *jsonWriter) flush() {
	if j.err == nil {
		_, j.err = j.w.Write(j.buf)
	}
	j.buf = j.buf[:0]
}

func (j *jsonWriter) open(bracket byte) {
	j.buf = append(j.buf, bracket)
	j.depth++
	j.first = true
}

func (j *jsonWriter) close(bracket byte) {
	j.depth--
	if !j.first {
		j.line()
	}
	j.buf = append(j.buf, bracket)
	j.first = false
	if len(j.buf) > flushAbove {
		j.flush()
	}
}

func (j *jsonWriter) line() {
	j.buf = append(j.buf, '\n')
	for range j.depth {
		j.buf = append(j.buf, "  "...)
	}
}

// element begins the next element of an array.
func (j *jsonWriter) element() {
	if !j.first {
		j.buf = append(j.buf, ',')
	}
	j.first = false
	j.line()
}

// name begins the next member of an object.
func (j *jsonWriter) name(name string) {
	j.element()
	j.buf = append(j.buf, '"')
	j.buf = append(j.buf, name...)
	j.buf = append(j.buf, `": `...)
}

func (j *jsonWriter) text(name, value string) {
	j.name(name)
	j.buf = appendText(j.buf, value)
}

// textIf is text with omitempty.
func (j *jsonWriter) textIf(name, value string) {
	if value != "" {
		j.text(name, value)
	}
}

func (j *jsonWriter) number(name string, value int64) {
	j.name(name)
	j.buf = strconv.AppendInt(j.buf, value, 10)
}

func (j *jsonWriter) boolean(name string, value bool) {
	j.name(name)
	j.buf = strconv.AppendBool(j.buf, value)
}

func list[T any](j *jsonWriter, name string, values []T, write func(*jsonWriter, *T)) {
	j.name(name)
	j.open('[')
	for i := range values {
		j.element()
		write(j, &values[i])
	}
	j.close(']')
}

func (j *jsonWriter) texts(name string, values []string) {
	list(j, name, values, func(j *jsonWriter, s *string) { j.buf = appendText(j.buf, *s) })
}

func (j *jsonWriter) summary(name string, s *Summary) {
	j.name(name)
	j.open('{')
	j.number("packages", int64(s.Packages))
	j.number("provenance", int64(s.Provenance))
	j.number("signed", int64(s.Signed))
	j.number("unsigned", int64(s.Unsigned))
	j.number("invalid", int64(s.Invalid))
	j.number("unchecked", int64(s.Unchecked))
	j.number("time_unknown", int64(s.TimeUnknown))
	j.number("allow", int64(s.Allow))
	j.number("warn", int64(s.Warn))
	j.number("deny", int64(s.Deny))
	j.number("error", int64(s.Error))
	j.close('}')
}

func (j *jsonWriter) trust(name string, t *Trust) {
	j.name(name)
	j.open('{')
	j.text("root", t.Root)
	j.text("root_sha256", t.RootSHA256)
	j.text("keys", t.Keys)
	j.text("keys_sha256", t.KeysSHA256)
	j.text("stale", t.Stale)
	j.close('}')
}

func (j *jsonWriter) note(n *Note) {
	j.open('{')
	j.text("code", n.Code)
	j.text("message", n.Message)
	j.close('}')
}

func (j *jsonWriter) invalid(v *Invalid) {
	j.open('{')
	j.text("code", v.Code)
	j.text("message", v.Message)
	j.textIf("integrity", v.Integrity)
	j.textIf("keyid", v.KeyID)
	j.text("location", v.Location)
	j.text("name", v.Name)
	j.text("registry", v.Registry)
	j.textIf("resolved", v.Resolved)
	j.textIf("signature", v.Signature)
	j.textIf("predicateType", v.PredicateType)
	j.textIf("type", v.Type)
	j.text("version", v.Version)
	j.close('}')
}

func (j *jsonWriter) missing(v *Missing) {
	j.open('{')
	j.textIf("integrity", v.Integrity)
	j.text("location", v.Location)
	j.text("name", v.Name)
	j.text("registry", v.Registry)
	j.textIf("resolved", v.Resolved)
	j.text("version", v.Version)
	j.close('}')
}

func (j *jsonWriter) verified(v *Verified) {
	j.open('{')
	j.text("name", v.Name)
	j.text("version", v.Version)
	j.text("location", v.Location)
	j.text("registry", v.Registry)
	j.raw("attestations", v.Attestations)
	j.raw("attestationBundles", v.AttestationBundles)
	j.close('}')
}

func (j *jsonWriter) other(o *Other) {
	j.open('{')
	j.text("name", o.Name)
	j.text("version", o.Version)
	j.text("source", o.Source)
	j.text("resolved", o.Resolved)
	j.texts("locations", o.Locations)
	j.text("file", o.File)
	j.number("line", int64(o.Line))
	j.text("decision", string(o.Decision))
	list(j, "findings", o.Findings, (*jsonWriter).finding)
	j.close('}')
}

func (j *jsonWriter) pkg(p *Package) {
	j.open('{')
	j.text("name", p.Name)
	j.text("version", p.Version)
	j.text("purl", p.PURL)
	j.text("registry", p.Registry)
	j.text("integrity", p.Integrity)
	j.text("resolved", p.Resolved)
	j.text("bound", p.Bound)
	j.texts("locations", p.Locations)
	j.text("file", p.File)
	j.number("line", int64(p.Line))
	j.texts("path", p.Path)
	j.boolean("direct", p.Direct)
	j.boolean("dev", p.Dev)
	j.text("verdict", string(p.Verdict))
	j.text("decision", string(p.Decision))
	j.publisher("publisher", p.Publisher)
	list(j, "checks", p.Checks, (*jsonWriter).row)
	list(j, "findings", p.Findings, (*jsonWriter).finding)
	j.texts("further", p.Further)
	j.close('}')
}

func (j *jsonWriter) publisher(name string, p *publisher.Publisher) {
	j.name(name)
	if p == nil {
		j.buf = append(j.buf, "null"...)
		return
	}
	j.open('{')
	j.text("issuer", p.Issuer)
	j.text("repository", p.Repository)
	j.text("repository_id", p.RepositoryID)
	j.text("owner", p.Owner)
	j.text("owner_id", p.OwnerID)
	j.text("workflow", p.Workflow)
	j.text("workflow_digest", p.WorkflowDigest)
	j.text("ref", p.Ref)
	j.text("commit", p.Commit)
	j.text("event", p.Event)
	j.text("signer_repository", p.SignerRepository)
	j.text("signer_workflow", p.SignerWorkflow)
	j.text("signer_ref", p.SignerRef)
	j.text("signer_digest", p.SignerDigest)
	j.text("runner", p.Runner)
	j.text("visibility", p.Visibility)
	j.text("environment", p.Environment)
	j.text("run", p.Run)
	j.text("signed_at", p.SignedAt.Format(time.RFC3339Nano))
	j.number("log_index", p.LogIndex)
	j.close('}')
}

// row writes one check. All rows stand at one depth, so what was written once can be copied.
func (j *jsonWriter) row(c *verify.Result) {
	if kept, ok := j.rows[*c]; ok {
		j.buf = append(j.buf, kept...)
		return
	}
	begin := len(j.buf)
	j.depth++
	j.buf = append(j.buf, '{')
	j.first = true
	j.text("id", c.ID)
	j.text("status", string(c.Status))
	j.text("reason", c.Reason)
	j.text("message", c.Message)
	j.text("expected", c.Expected)
	j.text("actual", c.Actual)
	j.depth--
	j.line()
	j.buf = append(j.buf, '}')
	if len(j.rows) < maxRows {
		j.rows[*c] = append([]byte(nil), j.buf[begin:]...)
	}
}

func (j *jsonWriter) finding(f *policy.Finding) {
	j.open('{')
	j.text("rule", f.Rule)
	j.text("level", string(f.Level))
	j.text("message", f.Message)
	j.text("file", f.File)
	j.number("line", int64(f.Line))
	j.close('}')
}

// raw writes JSON that a registry sent, laid out like the rest. What is not strict JSON, with a name twice
// in one object say, is null: two readers could read it in two ways.
func (j *jsonWriter) raw(name string, v jsontext.Value) {
	j.name(name)
	v = v.Clone()
	prefix := make([]byte, 0, 16)
	for range j.depth {
		prefix = append(prefix, "  "...)
	}
	if !v.IsValid() || v.Indent(jsontext.WithIndentPrefix(string(prefix)), jsontext.WithIndent("  ")) != nil {
		j.buf = append(j.buf, "null"...)
		return
	}
	j.buf = appendShown(j.buf, string(v))
}

// appendText appends s as a JSON string.
func appendText(dst []byte, s string) []byte {
	for i := 0; i < len(s); i++ {
		if c := s[i]; c < ' ' || c > '~' || c == '"' || c == '\\' {
			quoted, _ := jsontext.AppendQuote(nil, s) // an error says that U+FFFD took the place of bytes that are no UTF-8
			return appendShown(dst, string(quoted))
		}
	}
	dst = append(dst, '"')
	dst = append(dst, s...)
	return append(dst, '"')
}

// appendShown appends JSON with every hidden character as an escape sequence. Such characters stand only
// inside strings, as [jsontext.AppendQuote] and [jsontext.Value.Indent] leave none below U+0020 but the line breaks and spaces between tokens.
func appendShown(dst []byte, s string) []byte {
	for i := 0; i < len(s); {
		if c := s[i]; c < utf8.RuneSelf && c != 0x7f {
			dst = append(dst, c)
			i++
			continue
		}
		r, size := utf8.DecodeRuneInString(s[i:])
		switch {
		case !hidden(r, false):
			dst = append(dst, s[i:i+size]...)
		case r > 0xffff:
			r -= 0x10000
			dst = appendUnit(appendUnit(dst, 0xd800+r>>10), 0xdc00+r&0x3ff)
		default:
			dst = appendUnit(dst, r)
		}
		i += size
	}
	return dst
}

// appendUnit appends one UTF-16 code unit as an escape sequence.
func appendUnit(dst []byte, u rune) []byte {
	const digits = "0123456789abcdef"
	return append(dst, '\\', 'u', digits[u>>12&15], digits[u>>8&15], digits[u>>4&15], digits[u&15])
}

package report

import (
	"cmp"
	"fmt"
	"io"
	"net/url"
	"slices"
	"strconv"
	"strings"

	"assay/internal/policy"
	"assay/internal/publisher"
	"assay/internal/verify"
)

// WriteMatrix writes everything about one package for people: the answer in words, where to look it up,
// every check in its row, the decision, and what the answer does not say. It returns the error of w.
func WriteMatrix(w io.Writer, p *Package, o TextOptions) error {
	m := &matrixText{printer: newPrinter(w, o), o: o, p: p, e: packageEntry(p)}
	if o.Quiet {
		if p.Decision != policy.Decision(policy.Allow) && p.Decision != policy.Decision(policy.Warn) {
			m.answer()
		}
		return m.flush()
	}
	m.answer()
	m.links()
	m.checks()
	m.decision()
	m.honest()
	return m.flush()
}

// A matrixText is one package on its way to a terminal.
type matrixText struct {
	*printer
	o TextOptions
	p *Package
	e *entry
}

// answer says in a sentence or two what a person came to know.
func (m *matrixText) answer() {
	spec := st(bold, m.e.spec)
	letThrough := false
	if m.p.Decision == policy.Decision(policy.Deny) {
		m.line(0, 0, st(denied, "DENIED"), t(": do not install or run "), spec, t(" before you know why."))
	}
	switch m.p.Verdict {
	case verify.Provenance:
		if m.p.Publisher == nil {
			m.line(0, 0, spec, t(" carries provenance that verifies, but its publisher is not told."))
			return
		}
		m.line(0, 0, append([]span{spec}, builtBy(m.p.Publisher)...)...)
		for _, c := range m.p.Checks {
			if c.ID == "release-ref" && oddRefs[c.Reason] {
				m.line(0, 0, st(caution, "Look at this"), t(": "+Escape(c.Message)+" ("+EscapeASCII(c.Actual)+"). Releases are not usually built so."))
			}
		}
	case verify.Signed:
		m.line(0, 0, spec, t(" carries the signature of its registry ("+registryName(m.p.Registry)+
			") and no provenance: the registry vouches for the bytes, nobody for who built them. No check failed."))
	case verify.Unsigned:
		m.line(0, 0, spec, t(" carries neither a registry's signature nor provenance: nobody vouches for its bytes or for who built them."))
	case verify.Invalid:
		failed := m.count(verify.Fail)
		m.line(0, 0, spec, t(" does not verify: "), st(denied, plural(failed, "check fails", "checks fail")), t("."))
		m.reasons(verify.Fail)
		letThrough = m.p.Decision != policy.Decision(policy.Deny)
	default:
		m.line(0, 0, spec, t(" "), st(unknown, "could not be checked"), t(": "+undecidedWords(m.count(verify.Error))+" That speaks neither for it nor against it."))
		m.reasons(verify.Error)
		letThrough = m.p.Decision != policy.Decision(policy.Error) && m.p.Decision != policy.Decision(policy.Deny)
	}
	if letThrough {
		m.line(0, 0, t("The policy lets it through all the same."))
	}
}

func undecidedWords(n int) string {
	if n == 0 {
		return "not everything that provenance needs was looked at."
	}
	return plural(n, "check", "checks") + " could not be carried out."
}

func (m *matrixText) count(s verify.Status) int {
	n := 0
	for _, c := range m.p.Checks {
		if c.Status == s {
			n++
		}
	}
	return n
}

// reasons says of each check that ended so what does not hold and what to do.
func (m *matrixText) reasons(s verify.Status) {
	var list []*issue
	for i := range m.e.issues {
		x := &m.e.issues[i]
		if x.word == "FAIL" && s == verify.Fail || x.word == "error" && s == verify.Error && x.reason != "" {
			list = append(list, x)
		}
	}
	for _, x := range list {
		m.line(2, 4, st(bold, x.what), t(": "+x.message))
		m.values(4, x)
	}
	m.steps(2, list, m.o.Flags)
}

// builtFrom names who built a package, in short.
func builtFrom(p *publisher.Publisher) string {
	text := EscapeASCII(cmp.Or(p.Repository, "a repository that the certificate does not name"))
	if p.Commit != "" {
		text += "@" + EscapeASCII(p.Commit)
	}
	return text + " by " + EscapeASCII(cmp.Or(p.Workflow, "a workflow that the certificate does not name"))
}

// builtBy is the sentence about a publisher, after the package's name.
func builtBy(p *publisher.Publisher) []span {
	out := []span{t(" was built from " + builtFrom(p))}
	switch {
	case p.Event != "" && p.Ref != "":
		joint := " on "
		if p.Event == "push" {
			joint = " to "
		}
		out = append(out, t(" ("+EscapeASCII(p.Event)+joint+EscapeASCII(p.Ref)+")"))
	case p.Event != "" || p.Ref != "":
		out = append(out, t(" ("+EscapeASCII(p.Event+p.Ref)+")"))
	}
	if called := calledWorkflow(p); called != "" {
		out = append(out, t(", which called "+called+","))
	}
	switch p.Runner {
	case "github-hosted":
		out = append(out, t(" on a GitHub-hosted runner"))
	case "gitlab-hosted":
		out = append(out, t(" on a GitLab-hosted runner"))
	case "self-hosted":
		out = append(out, t(" on a self-hosted runner (whoever owns that machine can change what it builds)"))
	case "":
	default:
		out = append(out, t(" on a runner called "+EscapeASCII(p.Runner)))
	}
	if p.Environment != "" {
		out = append(out, t(" in the environment "+EscapeASCII(p.Environment)))
	}
	if !p.SignedAt.IsZero() {
		out = append(out, t(", signed "+p.SignedAt.UTC().Format("2006-01-02 15:04 UTC")))
	}
	return append(out, t("."))
}

// calledWorkflow names the reusable workflow that signed where it is not the workflow that was started, ""
// otherwise; escaped.
func calledWorkflow(p *publisher.Publisher) string {
	if p.SignerWorkflow == "" || p.SignerWorkflow == p.Workflow && strings.EqualFold(p.SignerRepository, p.Repository) ||
		p.Workflow == "" && strings.EqualFold(p.SignerRepository, p.Repository) {
		return ""
	}
	return EscapeASCII(p.SignerRepository + "/" + strings.TrimPrefix(p.SignerWorkflow, "/") + "@" + p.SignerRef)
}

// links prints where what the certificate says can be looked at.
func (m *matrixText) links() {
	p := m.p.Publisher
	if p == nil {
		return
	}
	m.blank()
	m.link(2, "source", treeLink(p.Repository, p.Commit))
	m.link(2, "workflow", fileLink(p.Repository, cmp.Or(p.WorkflowDigest, p.Commit), p.Workflow))
	if calledWorkflow(p) != "" {
		m.link(2, "called", cmp.Or(fileLink(p.SignerRepository, p.SignerDigest, p.SignerWorkflow), calledWorkflow(p)))
	}
	m.link(2, "run", webLink(p.Run))
	switch {
	case p.SignedAt.IsZero():
	case m.o.PrivateLog:
		m.link(2, "log", "entry "+strconv.FormatInt(p.LogIndex, 10)+" of the transparency log in use")
	default:
		m.link(2, "log", "https://search.sigstore.dev/?logIndex="+strconv.FormatInt(p.LogIndex, 10))
	}
}

// treeLink is the page of a repository at a commit, "" where it cannot be made up safely.
func treeLink(repository, commit string) string {
	base, forge := forgeOf(repository)
	if base == "" || !hexDigits(commit) {
		return EscapeASCII(repository)
	}
	return base + forge + "tree/" + commit
}

// fileLink is the page of a file at a commit, "" where it cannot be made up safely.
func fileLink(repository, commit, path string) string {
	base, forge := forgeOf(repository)
	if base == "" || path == "" || !hexDigits(commit) {
		return ""
	}
	segments := strings.Split(strings.TrimPrefix(path, "/"), "/")
	for i, s := range segments {
		if s == "" || s == "." || s == ".." {
			return ""
		}
		segments[i] = url.PathEscape(s)
	}
	return base + forge + "blob/" + commit + "/" + strings.Join(segments, "/")
}

// forgeOf returns the address of a repository on GitHub or GitLab.com and what stands between it and a view;
// "" for any other host, whose pages nobody here knows.
func forgeOf(repository string) (base, views string) {
	for host, views := range map[string]string{"github.com": "/", "gitlab.com": "/-/"} {
		path, ok := strings.CutPrefix(repository, "https://"+host+"/")
		if !ok || path == "" {
			continue
		}
		segments := strings.Split(path, "/")
		for i, s := range segments {
			if s == "" || s == "." || s == ".." {
				return "", ""
			}
			segments[i] = url.PathEscape(s)
		}
		return "https://" + host + "/" + strings.Join(segments, "/"), views
	}
	return "", ""
}

// webLink is an address as it may be clicked on, "" for anything but https.
func webLink(s string) string {
	u, err := url.Parse(s)
	if err != nil || u.Scheme != "https" || u.Host == "" || u.User != nil {
		return ""
	}
	return EscapeASCII(u.String())
}

func hexDigits(s string) bool {
	if len(s) < 7 || len(s) > 64 {
		return false
	}
	for _, c := range []byte(s) {
		if !('0' <= c && c <= '9' || 'a' <= c && c <= 'f') {
			return false
		}
	}
	return true
}

// Columns of the matrix: the status word and the longest check ID.
const (
	statusColumns = 7
	idColumns     = 26
)

// checks prints every check in its row, in order.
func (m *matrixText) checks() {
	m.heading(bold, "CHECKS", "")
	m.blank()
	rest := 2 + statusColumns + idColumns
	stacked := m.width > 0 && m.width-rest < 36 // too narrow for three columns
	said := map[string]bool{}
	for _, c := range m.p.Checks {
		word := statusWord(c.Status)
		style := styleOf(word)
		lead := []span{st(style, pad(word, statusColumns))}
		text := []span{t(Escape(c.Message))}
		if c.Reason != "" {
			text = []span{st(dim, Escape(c.Reason)), t(": " + Escape(c.Message))}
		}
		if c.Status == verify.Pass && c.Reason != "" && c.Actual != "" && !m.o.Verbose {
			text = append(text, t(" ("+EscapeASCII(c.Actual)+")"))
		}
		if c.Status == verify.Skip && !m.o.Verbose {
			if said[c.Message] {
				text = text[:1] // the reason's code will do
			}
			said[c.Message] = true
		}
		const indent = 2 + statusColumns
		if stacked {
			m.item(2, lead, indent, st(bold, Escape(c.ID)))
			m.line(indent, indent, text...)
		} else {
			m.item(2, append(lead, st(bold, pad(Escape(c.ID), idColumns))), rest, text...)
		}
		if c.Status == verify.Fail || c.Status == verify.Error || m.o.Verbose {
			m.values(indent, &issue{expected: EscapeASCII(c.Expected), actual: EscapeASCII(c.Actual)})
		}
	}
	for _, f := range m.p.Further {
		m.line(2, 4, t("It also carries an attestation of type "+EscapeASCII(f)+", whose signature, log entry and subject hold."))
	}
	m.blank()
	m.line(2, 4, t(boundSentence(m.p)))
}

func statusWord(s verify.Status) string {
	if s == verify.Fail {
		return "FAIL"
	}
	return Escape(string(s))
}

// boundSentence says which bytes the answer is about.
// ran reports whether a check was carried out, or tried.
func ran(p *Package, id string) bool {
	return slices.ContainsFunc(p.Checks, func(c verify.Result) bool {
		return c.ID == id && (c.Status != verify.Skip || c.Reason == "bundle-given" || c.Reason == "not-collected")
	})
}

func boundSentence(p *Package) string {
	integrity := EscapeASCII(p.Integrity)
	if integrity != "" {
		integrity = " (" + integrity + ")"
	}
	switch p.Bound {
	case "lockfile":
		return "All this is about the bytes that the lockfile names" + integrity + "."
	case "tarball":
		return "All this is about the bytes of the tarball" + integrity + "."
	case "disk":
		return "All this is about the files on disk" + integrity + "."
	}
	if p.Resolved == "" && p.File == "" && ran(p, "tarball-integrity") {
		return "The tarball given is" + strings.NewReplacer("(", "", ")", "").Replace(integrity) + ". Nothing that was verified is about it."
	}
	names := "the registry names today"
	if slices.ContainsFunc(p.Checks, func(c verify.Result) bool { return c.Reason == "bundle-given" }) {
		names = "the attestations name"
	}
	return "All this is about the bytes that " + names + integrity + "; nothing here ties it to bytes that you hold. A lockfile or the tarball does."
}

// decision prints what becomes of the package and by which rules.
func (m *matrixText) decision() {
	word := Escape(string(m.p.Decision))
	exit := map[policy.Decision]int{policy.Decision(policy.Allow): 0, policy.Decision(policy.Warn): 0, policy.Decision(policy.Deny): 1}
	code, ok := exit[m.p.Decision]
	if !ok {
		code = 3
	}
	if m.o.FailOnWarn && m.p.Decision == policy.Decision(policy.Warn) {
		code = 1
	}
	m.heading(bold, "DECISION", "")
	m.blank()
	means := map[policy.Decision]string{
		policy.Decision(policy.Warn):  ": let through with a warning",
		policy.Decision(policy.Deny):  ": do not install it before you know why",
		policy.Decision(policy.Error): ": there is no answer yet",
	}[m.p.Decision]
	m.line(2, 4, st(styleOf(word), word), t(fmt.Sprintf("%s (exit %d)", means, code)))
	rows := issues(m.p.Checks, nil, m.e)
	for _, f := range m.p.Findings {
		level := Escape(string(f.Level))
		rule := Escape(f.Rule)
		if f.File != "" {
			rule += " [" + Escape(f.File) + ":" + strconv.Itoa(f.Line) + "]"
		}
		text := Escape(f.Message)
		if row := rowOf(rows, f); row != nil && row.reason != "" {
			text = row.what + " (" + row.reason + ")"
		}
		m.item(2, []span{st(styleOf(level), pad(level, statusColumns))}, 2+statusColumns, st(bold, rule), t(": "+text))
	}
	var list []*issue
	for i := range m.e.issues {
		if x := &m.e.issues[i]; x.reason == "" {
			list = append(list, x)
		}
	}
	m.steps(2, list, m.o.Flags)
}

// honest says what the answer does not.
func (m *matrixText) honest() {
	m.blank()
	if m.p.Verdict == verify.Provenance {
		m.line(0, 0, t("Provenance says which workflow ran and what it made, not that the workflow, or whoever can change it, was honest."))
		return
	}
	if m.p.Verdict == verify.Signed || m.p.Verdict == verify.Unsigned {
		m.line(0, 0, t("Having no provenance is an absence, not a failure: many packages have none yet. It would say which workflow ran, not that it was honest."))
		return
	}
	m.line(0, 0, t("Even where it verifies, provenance says which workflow ran, not that it was honest."))
}

// registryName is the host of a registry, which is what people call it by.
func registryName(base string) string {
	if base == npmRegistry {
		return "registry.npmjs.org"
	}
	return EscapeASCII(base)
}

package cli

import (
	"bytes"
	"context"
	"crypto/sha512"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"path/filepath"
	"slices"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/spf13/cobra"

	"assay/internal/audit"
	"assay/internal/evidence"
	"assay/internal/policy"
	"assay/internal/report"
	"assay/internal/trust"
)

// newEvidence keeps the evidence of audits in files.
func newEvidence(env Environment) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "evidence",
		Short: "Keep the evidence of an audit in a file, merge such files, look inside",
		Args:  noArgs,
		RunE:  func(cmd *cobra.Command, args []string) error { return cmd.Help() },
	}
	cmd.AddCommand(newEvidenceExport(env), newEvidenceImport(env), newEvidenceShow(env))
	return cmd
}

// exporting turns an audit into an archive of what it rests on.
type exporting struct {
	output string
	json   bool
	notes  []report.Note // about the run, as they were before the project was read
}

func newEvidenceExport(env Environment) *cobra.Command {
	var f auditFlags
	f.export = &exporting{}
	cmd := &cobra.Command{
		Use:   "export -o FILE [PATH ...]",
		Short: "Audit a project, and write everything that the verdicts rest on to a file",
		Long: `Export audits a project as assay audit does, and writes to one file what the verdicts rest on: the exact
bytes that registries answered with, the trust root and registry keys with the TUF metadata that vouches for
them, when each answer came, what reading tarballs showed, and the JSON report. Anywhere, at any time,
  assay audit --offline --evidence FILE
then gives the same report, byte for byte.

The archive holds names of packages, also of private ones, and no credentials. Nobody vouches for it before it is
attested: assay attest FILE, in a CI job.

Exit codes: 0 written (whatever the verdicts), 2 wrong usage, 3 could not tell.

What leaves this machine is what assay audit sends.`,
		Example: `  assay evidence export -o evidence.tar.gz
  assay audit --offline --evidence evidence.tar.gz`,
		RunE: func(cmd *cobra.Command, args []string) error {
			if f.export.output == "" {
				return usagef("for example assay evidence export -o evidence.tar.gz", "there is no -o FILE to write to")
			}
			return f.run(cmd, env, args)
		},
	}
	// The flags of audit, but for those about the form of its report.
	of := newFlags(func(cmd *cobra.Command) { f.add(cmd); f.addAudit(cmd) })
	for _, name := range []string{
		"policy", "policy-from", "registry", "registry-keys", "trusted-root", "cache", "offline", "strict-time", "concurrency", "quiet",
		"omit", "workspace", "tarballs", "installed", "deep", "include-attestations",
	} {
		cmd.Flags().AddFlag(of.Lookup(name))
	}
	cmd.Flags().StringVarP(&f.export.output, "output", "o", "", "write the archive to `FILE`")
	cmd.Flags().BoolVar(&f.export.json, "json", false, "print what was written as JSON")
	return cmd
}

// write makes the archive of what was recorded, answers the same questions out of it, and writes it with that
// answer: so the report in it is the one that it gives.
func (e *exporting) write(ctx context.Context, s *session, f *auditFlags, o audit.Options, targets []audit.Target, others []report.Other, omit, subjects []string) error {
	kept := s.trust.Archived()
	root, keys, err := s.trustFiles()
	if err != nil {
		return err
	}
	if o.Trust, err = kept.Admit(root, keys); err != nil {
		return unknown(fmt.Errorf("the archive would not be believed: %w", err))
	}
	archive, err := s.recorder.Archive(evidence.ArchiveOptions{
		Tool: "assay " + Version(), Trust: audit.ArchiveTrust(kept), Named: s.config.Named, Now: s.env.Now(),
	})
	if err != nil {
		return unknown(err)
	}
	defer archive.Close()
	s.env.Now = archive.At
	o.Collector = evidence.NewCollector(evidence.CollectorOptions{Archive: archive})
	o.Offline, o.Named, o.Done = true, archive.Named, nil
	o.Now = archive.At() // ages and waivers are those of the evidence, as whoever answers from it finds them
	rep := audit.NewRunner(o).Run(ctx, targets)
	if err := ctx.Err(); err != nil {
		return err
	}
	rep.Others = append(rep.Others, others...)
	rep.Notes = append(rep.Notes, s.notes...)
	var printed bytes.Buffer
	if err := report.WriteJSON(&printed, rep); err != nil {
		return unknown(err)
	}
	policyNotes := func(n report.Note) bool { return n.Code == "policy-changed" }
	ofRun, ofProject := slices.Clone(e.notes), slices.Clone(s.notes[len(e.notes):])
	request, err := audit.NewRequest(targets, others, slices.DeleteFunc(ofRun, policyNotes), ofProject, string(s.policyData)).Encode()
	if err != nil {
		return unknown(err)
	}
	err = archive.AddAudit(evidence.ArchivedAudit{
		Subjects: subjects, Request: request, Report: printed.Bytes(),
		Settings: evidence.ArchiveSettings{
			Tarballs: f.tarballs, Installed: f.installed, Deep: f.deep, StrictTime: f.strictTime, IncludeAttestations: f.includeAttestations,
			Omit: sorted(omit), Workspaces: sorted(f.workspaces), PolicySHA256: digest(s.policyData),
		},
	})
	if err != nil {
		return unknown(err)
	}
	written, err := writeArchive(s.path(e.output), archive)
	if err != nil {
		return err
	}
	sum := archive.Summary(e.output)
	sum.Size, sum.SHA512, sum.Content = written.size, written.sha512, ""
	if e.json {
		return printJSON(s.env, sum)
	}
	s.tellWritten(sum)
	s.tellDecided(rep)
	again := "assay audit --offline --evidence " + report.Escape(e.output)
	for _, f := range []struct{ name, value string }{{"--trusted-root", s.flags.trustedRoot}, {"--registry-keys", s.flags.keys}} {
		if f.value != "" { // whoever reads the archive has to name the same bytes
			again += " " + f.name + " " + report.Escape(f.value)
		}
	}
	fmt.Fprintf(s.env.Stdout, "next: %s\n", again)
	return nil
}

func (s *session) tellWritten(sum *evidence.ArchiveSummary) { tellWritten(s.env, sum) }

// tellDecided says that something is denied or could not be told: an archive is written all the same, and with exit code 0.
func (s *session) tellDecided(rep *report.Report) {
	counts := map[policy.Decision]int{}
	for i := range rep.Packages {
		counts[rep.Packages[i].Decision]++
	}
	for i := range rep.Others {
		counts[rep.Others[i].Decision]++
	}
	if deny, open := counts[policy.Decision(policy.Deny)], counts[policy.Decision(policy.Error)]; deny+open > 0 {
		tell(s.env, "assay: warning: ", fmt.Sprintf("of what was audited, %d denied and %d could not be told; the audit says why", deny, open))
	}
}

// tellWritten says what is in an archive that was written, and what could not be had for it.
func tellWritten(env Environment, sum *evidence.ArchiveSummary) {
	attested, missing := 0, 0
	for i := range sum.Packages {
		p := &sum.Packages[i]
		if p.Attestations.State == evidence.Served.String() {
			attested++
		}
		trouble := p.Document.State == evidence.Unavailable.String() || p.Attestations.State == evidence.Unavailable.String() ||
			slices.ContainsFunc(p.Tarballs, func(t evidence.TarballSummary) bool { return t.Reason != "" })
		if trouble {
			missing++
		}
	}
	fmt.Fprintf(env.Stdout, "%s: %s, %d with attestations, as of %s\n", report.Escape(sum.File), plural(len(sum.Packages), "package"), attested, sum.At.Format("2006-01-02 15:04:05 MST"))
	fmt.Fprintf(env.Stdout, "%s, sha512 %s\n", size(sum.Size), sum.SHA512)
	if missing > 0 {
		tell(env, "assay: warning: ", fmt.Sprintf("of %s something could not be had; the archive says so, and they stay unchecked", plural(missing, "package")))
	}
}

func plural(n int, what string) string {
	if n == 1 {
		return "1 " + what
	}
	return fmt.Sprintf("%d %ss", n, what)
}

// size is a number of bytes for a person.
func size(n int64) string {
	switch {
	case n >= 10<<20:
		return fmt.Sprintf("%d MB", n>>20)
	case n >= 10<<10:
		return fmt.Sprintf("%d kB", n>>10)
	}
	return fmt.Sprintf("%d bytes", n)
}

type writtenArchive struct {
	size   int64
	sha512 string
}

// writeArchive writes an archive as replaceFile writes a report: it is there whole or not at all.
func writeArchive(name string, a *evidence.Archive) (writtenArchive, error) {
	sum := sha512.New()
	var size counter
	err := replaceWith(name, func(w io.Writer) error { return a.Write(io.MultiWriter(w, sum, &size)) })
	var damaged *evidence.ArchiveError
	if errors.As(err, &damaged) {
		return writtenArchive{}, unknown(err)
	} else if err != nil {
		return writtenArchive{}, usagef("", "writing the evidence archive: %w", err)
	}
	return writtenArchive{int64(size), hex.EncodeToString(sum.Sum(nil))}, nil
}

// counter counts the bytes that are written to it.
type counter int64

func (c *counter) Write(p []byte) (int, error) {
	*c += counter(len(p))
	return len(p), nil
}

func newEvidenceImport(env Environment) *cobra.Command {
	var f common
	var output string
	cmd := &cobra.Command{
		Use:   "import FILE ... [-o FILE]",
		Short: "Merge evidence archives into one, or take them into the cache",
		Long: `Import merges evidence archives into the one that -o names. Of several answers to one question the newest
counts, and what it contradicts stays as earlier evidence. Archives under different trust are merged only where
TUF metadata says which is the newer.

Without -o the archives' answers go into the cache, as what somebody else says: no audit believes them, and every registry
is asked as before. What remains are earlier answers, which count for what the signatures in them prove. So an
audit notices attestations that are gone and that an imported archive has.

Exit codes: 0 imported, 2 wrong usage or no archive, 3 damaged, or under trust that cannot be told apart.

Nothing leaves this machine.`,
		Example: `  assay evidence import monday.tar.gz tuesday.tar.gz -o week.tar.gz
  assay evidence import evidence.tar.gz`,
		RunE: func(cmd *cobra.Command, args []string) error {
			if len(args) == 0 {
				return usagef("for example assay evidence import a.tar.gz b.tar.gz -o both.tar.gz", "there is nothing to import")
			}
			return importArchives(env, &f, args, output)
		},
	}
	cmd.Flags().StringVarP(&output, "output", "o", "", "merge into this `FILE` (default: into the cache)")
	cmd.Flags().StringVar(&f.cache, "cache", "", "cache `DIR` (default: assay in the user's cache directory)")
	cmd.Flags().BoolVar(&f.json, "json", false, "print what was written as JSON")
	return cmd
}

func importArchives(env Environment, f *common, names []string, output string) error {
	s := &session{env: env, flags: f}
	var archives []*evidence.Archive
	defer func() {
		for _, a := range archives {
			a.Close()
		}
	}()
	for _, name := range names {
		a, err := readArchive(s.path(name), name)
		if err != nil {
			return err
		}
		archives = append(archives, a)
	}
	if output != "" {
		merged, err := audit.MergeArchives(archives...)
		if err != nil {
			return unknown(err)
		}
		archives = append(archives, merged)
		written, err := writeArchive(s.path(output), merged)
		if err != nil {
			return err
		}
		sum := merged.Summary(output)
		sum.Size, sum.SHA512 = written.size, written.sha512
		if f.json {
			return printJSON(env, sum)
		}
		s.tellWritten(sum)
		return nil
	}
	dir := f.cacheDir(env)
	if dir == "" {
		return usagef("name one with --cache DIR", "there is no place for a cache")
	}
	for i, a := range archives {
		n, err := a.Import(filepath.Join(dir, "evidence"), env.Now)
		if err != nil {
			return unknown(err)
		}
		fmt.Fprintf(env.Stdout, "%s: %s in the cache as earlier evidence, which is believed for what its signatures prove\n", report.Escape(names[i]), plural(n, "package"))
	}
	return nil
}

func newEvidenceShow(env Environment) *cobra.Command {
	var f common
	cmd := &cobra.Command{
		Use:   "show FILE [PKG[@VERSION]]",
		Short: "Say what is in an evidence archive",
		Long: `Show says what is in an evidence archive: when it was made and for what, under whose trust, and which packages it has
which evidence of; with PKG, every piece of it. Each piece has a SHA-256, and is the file pieces/SHA256 in the
archive, which tar can unpack.

The archive is verified to be whole. What it says is the word of whoever made it, and show judges nothing but
whether its trust would count.

Exit codes: 0 shown, 2 wrong usage or no archive, 3 damaged, or nothing about PKG in it.

Nothing leaves this machine.`,
		Example: `  assay evidence show evidence.tar.gz
  assay evidence show evidence.tar.gz sigstore@2.0.0`,
		RunE: func(cmd *cobra.Command, args []string) error {
			if len(args) < 1 || len(args) > 2 {
				return usagef("for example assay evidence show evidence.tar.gz sigstore", "show takes an archive and at most one package, and %d were given", len(args))
			}
			return showArchive(env, &f, args)
		},
	}
	cmd.Flags().StringVar(&f.trustedRoot, "trusted-root", "", "`FILE` with the Sigstore trusted root")
	cmd.Flags().StringVar(&f.keys, "registry-keys", "", "`FILE` with the registry's keys")
	cmd.Flags().BoolVar(&f.json, "json", false, "print JSON")
	return cmd
}

// shown is what show --json prints.
type shown struct {
	*evidence.ArchiveSummary
	TrustCounts bool   `json:"trust_counts"` // here, with the files that were named
	TrustReason string `json:"trust_reason"` // why not
}

func showArchive(env Environment, f *common, args []string) error {
	s := &session{env: env, flags: f, replay: &replayed{name: args[0]}}
	a, err := readArchive(s.path(args[0]), args[0])
	if err != nil {
		return err
	}
	defer a.Close()
	s.replay.archive = a
	out := shown{ArchiveSummary: a.Summary(args[0])}
	var refused *trust.ArchiveError
	switch err := s.admit(); {
	case err == nil:
		out.TrustCounts = true
	case errors.As(err, &refused):
		out.TrustReason = refused.Error()
	default:
		return err
	}
	if len(args) == 2 {
		name, version := args[1], ""
		if i := strings.LastIndexByte(name, '@'); i > 0 {
			name, version = name[:i], name[i+1:]
		}
		out.Packages = slices.DeleteFunc(out.Packages, func(p evidence.PackageSummary) bool {
			return p.Name != name || version != "" && p.Version != version
		})
		if len(out.Packages) == 0 {
			return unknown(fmt.Errorf("%s: %s holds nothing about %s", evidence.ReasonNotInArchive, args[0], args[1]))
		}
	}
	if f.json {
		return printJSON(env, out)
	}
	var b strings.Builder
	if len(args) == 2 {
		for i := range out.Packages {
			describePackage(&b, &out.Packages[i])
		}
	} else {
		describeArchive(&b, &out)
	}
	_, err = io.WriteString(env.Stdout, inert(b.String()))
	return err
}

func describeArchive(b *strings.Builder, s *shown) {
	line := func(what, format string, args ...any) {
		fmt.Fprintf(b, "%-15s%s\n", what, report.Escape(fmt.Sprintf(format, args...)))
	}
	line("evidence of", "%s, as whoever made it says", s.At.Format("2006-01-02 15:04:05 MST"))
	line("made by", "%s, form %s", s.Tool, s.Form)
	line("size", "%s, holding %s in %s", size(s.Size), size(s.Bytes), plural(s.Pieces, "piece"))
	line("sha512", "%s", s.SHA512)
	for _, t := range []struct {
		what string
		of   *evidence.TrustSummary
	}{{"trusted root", &s.Trust.Root}, {"registry keys", &s.Trust.Keys}} {
		text := t.of.Origin
		if t.of.Location != "" {
			text += " (" + t.of.Location + ")"
		}
		if !t.of.At.IsZero() {
			text += ", as of " + t.of.At.Format(time.DateOnly)
		}
		if t.of.Stale != "" {
			text += ", stale: " + t.of.Stale
		}
		line(t.what, "%s, sha256 %s", text, t.of.SHA256)
	}
	if s.TrustCounts {
		line("", "its trust counts here")
	} else {
		line("", "its trust does not count here: %s", s.TrustReason)
	}
	for _, r := range s.Registries {
		text := r.Registry
		if r.Keys.State == evidence.Served.String() {
			text += ", with its own word on its keys"
		}
		line("registry", "%s", text)
	}
	for _, d := range s.Audits {
		line("audit", "%s; report of %s, sha256 %s", strings.Join(d.Subjects, ", "), size(d.ReportSize), d.ReportSHA256)
	}
	fmt.Fprintf(b, "\n%s\n", plural(len(s.Packages), "package"))
	rows := make([][]string, len(s.Packages))
	for i := range s.Packages {
		p := &s.Packages[i]
		rows[i] = []string{report.Escape(p.Name + "@" + p.Version)}
		pieces := piecesOf(p)
		for j, piece := range pieces {
			if j < len(pieces)-1 {
				piece += ","
			}
			rows[i] = append(rows[i], report.Escape(piece))
		}
	}
	writeColumns(b, rows)
}

// writeColumns writes rows with their cells below one another. A cell wider than 50 columns pushes the rest of its row.
func writeColumns(b *strings.Builder, rows [][]string) {
	const most = 50
	var widths []int
	for _, row := range rows {
		for j, cell := range row {
			if j == len(widths) {
				widths = append(widths, 0)
			}
			if n := utf8.RuneCountInString(cell); n <= most {
				widths[j] = max(widths[j], n)
			}
		}
	}
	for _, row := range rows {
		line := ""
		for j, cell := range row {
			line += fmt.Sprintf("  %-*s", widths[j], cell)
		}
		b.WriteString(strings.TrimRight(line, " ") + "\n")
	}
}

// piecesOf lists what there is of a package, in words.
func piecesOf(p *evidence.PackageSummary) []string {
	one := func(what string, a *evidence.AnswerSummary) string {
		switch a.State {
		case evidence.Served.String():
			return what + " " + size(a.Size)
		case evidence.Absent.String():
			return "no " + what
		case evidence.Unavailable.String():
			return what + " not to be had (" + a.Reason + ")"
		}
		return ""
	}
	var list []string
	list = append(list, one("document", &p.Document), one("attestations", &p.Attestations))
	if p.Packument != nil {
		list = append(list, one("full document", p.Packument))
	}
	for _, t := range p.Tarballs {
		if t.Reason != "" {
			list = append(list, "tarball not to be had ("+t.Reason+")")
		} else {
			list = append(list, "digests of the tarball")
		}
	}
	if p.Earlier > 0 {
		list = append(list, plural(p.Earlier, "earlier answer"))
	}
	if p.Unauthenticated {
		list = append(list, "from a cache that anybody may have written")
	}
	return slices.DeleteFunc(list, func(s string) bool { return s == "" })
}

func describePackage(b *strings.Builder, p *evidence.PackageSummary) {
	fmt.Fprintf(b, "%s (%s)\n", report.Escape(p.Name+"@"+p.Version), report.Escape(p.Registry))
	one := func(what string, a *evidence.AnswerSummary) {
		text := a.State
		if a.Status != 0 {
			text += fmt.Sprintf(" (%d)", a.Status)
		}
		if !a.At.IsZero() {
			text += ", " + a.At.Format("2006-01-02 15:04:05 MST")
		}
		if a.Reason != "" {
			text += ", " + a.Reason + ": " + a.Detail
		}
		fmt.Fprintf(b, "  %-14s%s\n", what, report.Escape(text))
		if a.SHA256 != "" {
			fmt.Fprintf(b, "  %-14s%s, sha256 %s\n", "", size(a.Size), report.Escape(a.SHA256))
		}
	}
	one("document", &p.Document)
	one("attestations", &p.Attestations)
	if p.Packument != nil {
		one("full document", p.Packument)
	}
	for _, t := range p.Tarballs {
		text := fmt.Sprintf("%s, sha512 %s", size(t.Size), t.SHA512)
		if t.Reason != "" {
			text = "not to be had: " + t.Reason
		}
		fmt.Fprintf(b, "  %-14s%s\n  %-14s%s\n", "tarball", report.Escape(text), "", report.Escape(t.URL))
	}
	if p.Earlier > 0 {
		fmt.Fprintf(b, "  %-14s%d that differ from today's\n", "earlier", p.Earlier)
	}
}

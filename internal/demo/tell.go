package demo

import (
	"cmp"
	"context"
	"fmt"
	"io"
	"path/filepath"
	"slices"
	"strings"

	"assay/internal/policy"
	"assay/internal/publisher"
	"assay/internal/report"
	"assay/internal/verify"
)

// TextOptions say how the story is laid out. Colours add nothing to the words.
type TextOptions struct {
	Color bool // ANSI colours
	Width int  // columns of the terminal; 0: it is none, and lines are wrapped at 80
}

// Tell does everything that the story is about and tells it as it goes. It returns what was missed, as
// [Demo.Missed] does, and an error if the story could not be told to its end.
func (d *Demo) Tell(ctx context.Context, w io.Writer, o TextOptions) ([]string, error) {
	p := newPrinter(w, o)
	d.tellLab(p)
	if err := p.flush(); err != nil {
		return nil, err
	}
	if err := d.install(ctx); err != nil {
		return nil, err
	}
	if err := d.lookFirst(ctx); err != nil {
		return nil, err
	}
	d.tellApplication(p)
	if err := p.flush(); err != nil {
		return nil, err
	}
	if err := d.goWrong(); err != nil {
		return nil, err
	}
	if err := d.lookAgain(ctx); err != nil {
		return nil, err
	}
	if err := d.tellNPM(ctx, p); err != nil {
		return nil, err
	}
	d.tellAssay(p)
	missed := d.Missed()
	d.tellEnd(p, missed)
	return missed, p.flush()
}

func (d *Demo) tellLab(p *printer) {
	p.heading("A lab on this machine")
	p.line(2, "A certificate authority, transparency logs, a timestamp authority and an npm registry, all in this process and on loopback: nothing leaves the machine. Their keys were made just now, and nothing trusts them but commands that name them, as the demo's do.")
	p.blank()
	p.whole(2, "registry", d.registry.URL)
	p.whole(2, "files", d.o.Dir)
}

func (d *Demo) tellApplication(p *printer) {
	p.heading("An application that uses %d packages from it", len(d.used))
	if d.installed {
		p.line(2, "npm installed it: "+appDir+"/package-lock.json and node_modules.")
	} else {
		p.line(2, "Its lockfile was written without npm, as "+d.why+".")
	}
	s := d.first.Summary
	p.line(2, fmt.Sprintf("Assay took a first look while the registry was honest, and kept what was served: %d packages with provenance, %d signed by the registry only, %d unsigned, %d invalid.",
		s.Provenance, s.Signed, s.Unsigned, s.Invalid))
	p.line(2, "Then the registry and the lockfile went wrong. The second look is taken as by another machine that is handed the first one's cache, as CI jobs are: what lies in it counts only if it can be verified.")
}

func (d *Demo) tellNPM(ctx context.Context, p *printer) error {
	p.heading("What npm says")
	if !d.installed {
		p.line(2, "Nothing here, as "+d.why+".")
		return nil
	}
	says, ok := <-d.signatures
	if err := ctx.Err(); err != nil {
		return err
	}
	p.line(2, "npm audit signatures --prefer-online, on the same tree:")
	p.blank()
	if !ok || len(says.lines) == 0 {
		p.line(4, cmp.Or(says.why, "nothing")+".")
		return nil
	}
	for _, l := range says.lines {
		p.line(4, l)
	}
	p.blank()
	if slices.ContainsFunc(says.lines, func(l string) bool { return strings.HasPrefix(l, newerLog+"@") }) {
		p.line(2, newerLog+" is as it was published: this npm cannot verify entries of the newer transparency log.")
	}
	p.line(2, "npm verifies each signature and attestation by itself. Whose repository that is, what was served before, what the lockfile says and which bytes arrive now are not among its questions.")
	return nil
}

func (d *Demo) tellAssay(p *printer) {
	p.heading("What Assay says")
	p.line(2, fmt.Sprintf("assay audit %s --tarballs: exit code %d.", appDir, d.exit))
	for i := range d.stories {
		s := &d.stories[i]
		row := s.row(d.second)
		if row == nil || !s.trouble() {
			continue
		}
		p.blank()
		p.put(2, strong, s.id())
		p.put(2, weightOf(row.Decision), string(row.Verdict)+", "+decided(row.Decision))
		p.blank()
		p.line(4, s.done)
		p.led(4, "assay: ", d.says(s, row))
		p.line(4, s.note)
	}
	p.blank()
	p.line(2, "And the rest:")
	p.blank()
	for i := range d.stories {
		s := &d.stories[i]
		if row := s.row(d.second); row != nil && !s.trouble() {
			p.put(2, strong, s.id())
			p.put(2, weightOf(row.Decision), string(row.Verdict)+", "+decided(row.Decision))
			p.blank()
			p.line(4, d.says(s, row))
		}
	}
}

// says is what Assay says of a package: the check that decided, or who built it.
func (d *Demo) says(s *story, row *report.Package) string {
	c := result(row, s.want.check)
	label := c.ID
	if c.Reason != "" {
		label += " (" + report.Escape(c.Reason) + ")"
	}
	switch row.Verdict {
	case verify.Provenance:
		text := "built from " + builtFrom(row.Publisher)
		if c.ID != "" {
			text += "; " + label + ": " + report.Escape(c.Message)
		}
		return text + "."
	case verify.Signed:
		if len(row.Findings) > 0 {
			return report.Escape(row.Findings[0].Message) + "."
		}
		return report.Escape(c.Message) + "."
	}
	if c.ID == "" {
		return "nothing of what was expected."
	}
	return label + ": " + report.Escape(c.Message) + "."
}

// builtFrom names repository, commit, workflow and what is unusual about the machine.
func builtFrom(p *publisher.Publisher) string {
	if p == nil {
		return "nowhere that is verified"
	}
	text := report.EscapeASCII(p.Repository) + "@" + report.EscapeASCII(p.Commit[:min(12, len(p.Commit))]) + " by " + report.EscapeASCII(p.Workflow)
	if p.SignerRepository != p.Repository {
		text += ", which calls " + report.EscapeASCII(p.SignerWorkflow) + " of " + report.EscapeASCII(p.SignerRepository)
	}
	if strings.HasPrefix(p.Runner, "self-") {
		text += ", on a " + report.EscapeASCII(p.Runner) + " runner"
	}
	return text
}

// decided is a decision as a participle.
func decided(d policy.Decision) string {
	switch d {
	case policy.Decision(policy.Deny):
		return "denied"
	case policy.Decision(policy.Warn):
		return "let through with a warning"
	case policy.Decision(policy.Allow):
		return "let through"
	}
	return "undecided"
}

func weightOf(d policy.Decision) style {
	switch d {
	case policy.Decision(policy.Deny):
		return denied
	case policy.Decision(policy.Warn), policy.Decision(policy.Error):
		return caution
	}
	return plain
}

func (d *Demo) tellEnd(p *printer, missed []string) {
	p.blank()
	if len(missed) == 0 {
		p.line(0, fmt.Sprintf("Each of the %d packages got the verdict, the decision and the check that this demo expects of it.", len(d.stories)))
		return
	}
	p.put(0, denied, "MISSED")
	p.blank()
	for _, m := range missed {
		p.line(2, report.Escape(m)+".")
	}
}

// A Command is something to try against the lab while it runs.
type Command struct {
	Args  []string // after "assay", in the demo's directory
	Shows string
	Exit  int
}

// Commands lists what to try next.
func (d *Demo) Commands() []Command {
	one := func(exit int, shows string, args ...string) Command {
		args = append(append([]string{"verify"}, args...), "--registry", d.registry.URL)
		return Command{append(args, d.common()...), shows, exit}
	}
	return []Command{
		{d.audited(true), "the report of what was just told, in full", 1},
		one(1, "every check of one package", "from-fork@1.0.0"),
		one(0, "the same where they hold, and a publisher is demanded", "honest@2.1.0", "--repo", "acme/honest"),
		one(1, "no pull requests", "from-pull-request@1.0.0", "--event", "push"),
		one(1, "no machines of the maintainer's own", "self-hosted@1.0.0", "--deny-self-hosted-runners"),
		one(0, "what 1.1.0 no longer has", "downgraded@1.0.0"),
	}
}

// TellCommands says what to try next. Program is what to type for "assay".
func (d *Demo) TellCommands(w io.Writer, o TextOptions, program string) error {
	p := newPrinter(w, o)
	p.heading("Try next")
	p.line(2, "The lab is still running. In another terminal:")
	p.blank()
	p.whole(2, "", "cd "+quote(d.o.Dir))
	for _, c := range d.Commands() {
		p.blank()
		p.line(2, "# "+c.Shows)
		p.whole(2, "", program+" "+strings.Join(c.Args, " "))
	}
	p.blank()
	p.line(0, "Ctrl-C ends the lab and removes its files.")
	return p.flush()
}

// quote makes a path one word for a shell.
func quote(s string) string {
	plain := func(r rune) bool {
		return 'a' <= r && r <= 'z' || 'A' <= r && r <= 'Z' || '0' <= r && r <= '9' || strings.ContainsRune("/._-+:@", r)
	}
	if strings.IndexFunc(s, func(r rune) bool { return !plain(r) }) < 0 {
		return s
	}
	if filepath.Separator == '\\' {
		return `"` + s + `"`
	}
	return "'" + strings.ReplaceAll(s, "'", `'\''`) + "'"
}

package policy

import (
	"cmp"
	"fmt"
	"regexp"
	"slices"
	"strings"

	"assay/internal/npm"
	"assay/internal/publisher"
	"assay/internal/verify"
)

// A Change is one thing about a publisher that is not as pinned.
type Change struct {
	What     string // "repository id", "ref", …
	Old, New string
	Drift    bool // false: a change that goes with the same publisher, such as a rename
}

func (c Change) String() string {
	return fmt.Sprintf("%s %s → %s", c.What, cmp.Or(c.Old, "(none)"), cmp.Or(c.New, "(none)"))
}

// Ordinary events start a workflow by the word of somebody who may push to the repository, or by its own clock.
// Whatever else starts one (a comment, a pull request, another workflow) may be started by anybody.
var ordinaryEvents = []string{"push", "release", "workflow_dispatch", "schedule", "create", "web", "tag", "api", "trigger", "pipeline"}

// Compare says in what p, who published id, is not the accepted publisher. Numbers come first: with equal numbers
// another name is a rename; with another number the same name is somebody else. A pin without numbers is met only
// by certificates without them.
func (a *Pinned) Compare(p *publisher.Publisher, id npm.ID) []Change {
	var changes []Change
	add := func(what, old, new string, drift bool) {
		if old != new {
			changes = append(changes, Change{what, old, new, drift})
		}
	}
	add("issuer", a.Issuer, p.Issuer, true)
	weak := a.RepositoryID == "" && a.OwnerID == ""
	if weak && (p.RepositoryID != "" || p.OwnerID != "") {
		changes = append(changes, Change{"ids (ids-learned)", "", "repository " + p.RepositoryID + ", owner " + p.OwnerID, true})
	} else {
		add("repository id", a.RepositoryID, p.RepositoryID, true)
		add("owner id", a.OwnerID, p.OwnerID, true)
	}
	sameRepository := a.RepositoryID != "" && a.RepositoryID == p.RepositoryID && a.Issuer == p.Issuer
	sameOwner := a.OwnerID != "" && a.OwnerID == p.OwnerID && a.Issuer == p.Issuer
	if !strings.EqualFold(a.Repository, p.Repository) {
		add("repository", a.Repository, p.Repository, !sameRepository || !sameOwner)
	}
	if a.Owner != "" && !strings.EqualFold(a.Owner, p.Owner) {
		add("owner", a.Owner, p.Owner, !sameOwner)
	}
	add("workflow", a.Workflow, p.Workflow, true)
	add("called workflow", a.SignerWorkflow, calledWorkflow(p), true)
	if !a.Ref.Match(p.Ref, id) {
		changes = append(changes, Change{"ref", string(a.Ref), p.Ref, true})
	}
	if !slices.Contains(a.Events, p.Event) {
		changes = append(changes, Change{"event", strings.Join(a.Events, " or "), p.Event, !slices.Contains(ordinaryEvents, p.Event)})
	}
	add("runner", a.Runner, p.Runner, a.Runner != "self-hosted" || p.Runner == "")
	add("environment", a.Environment, p.Environment, a.Environment != "")
	return changes
}

// calledWorkflow is the URI of the workflow that the publisher's calls to sign, without its ref; "" where it signs
// by itself. The repository under its old name and under its new one is one and the same, so a rename alone calls
// nothing else.
func calledWorkflow(p *publisher.Publisher) string {
	if p.SignerWorkflow == "" || p.SignerWorkflow == p.Workflow && strings.EqualFold(p.SignerRepository, p.Repository) {
		return ""
	}
	if strings.EqualFold(p.SignerRepository, p.Repository) {
		return p.SignerWorkflow
	}
	return p.SignerRepository + separator(p.SignerRepository) + p.SignerWorkflow
}

// drifts counts the changes that make another publisher.
func drifts(changes []Change) int {
	n := 0
	for _, c := range changes {
		if c.Drift {
			n++
		}
	}
	return n
}

// nearest compares a publisher with several accepted ones and returns what the nearest differs in.
func nearest(accepted []Pinned, p *publisher.Publisher, id npm.ID) (*Pinned, []Change) {
	var best *Pinned
	var least []Change
	for i := range accepted {
		changes := accepted[i].Compare(p, id)
		if best == nil || drifts(changes) < drifts(least) || drifts(changes) == drifts(least) && len(changes) < len(least) {
			best, least = &accepted[i], changes
		}
	}
	return best, least
}

// pins compares the package with what the project accepted.
func (p *Policy) pins(s *Subject, add addFunc) {
	if s.Lock == nil || s.Outcome.Verdict == verify.Invalid {
		return
	}
	at := func(set Setting, line int) Setting {
		if set.Line == 0 && line > 0 {
			set.Place = Place{s.Lock.File, line}
		}
		return set
	}
	o := s.Outcome
	pin, others := s.Lock.Pin(s.ID.Name, s.ID.Version)
	switch {
	case pin == nil && others:
		p.newLine(s, at, add)
	case pin == nil:
		if o.Verdict != verify.Unchecked {
			add("unpinned", p.Identity.Unpinned, "%s says nothing of it: it is new here, or was never pinned; look at it and run `assay pin`", s.Lock.File)
		}
	case o.Verdict == verify.Unchecked:
		switch pin.Floor {
		case verify.Provenance:
			set := at(p.Drift, pin.At)
			set.Level = Error
			add("drift", set, "its publisher is pinned, and could not be verified")
		case verify.Signed:
			set := at(p.Downgrade.Line, pin.At)
			set.Level = Error
			add("downgrade-line", set, "release line %s is pinned as %s, and this version could not be checked", pin.Line, pin.Floor)
		}
	case rank(o.Verdict) < rank(pin.Floor):
		if !anyMatches(p.Downgrade.Exclude, s.ID.Name, s.ID.Version) {
			add("downgrade-line", at(p.Downgrade.Line, pin.At), "release line %s is pinned as %s%s, and this version is %s", pin.Line, pin.Floor, by(pin.Publishers), o.Verdict)
		}
	case o.Verdict == verify.Provenance && pin.Floor != verify.Provenance && s.restored() != nil:
		set := at(p.Identity.Unpinned, pin.At)
		set.Level = min2(set.Level, Note)
		add("unpinned", set, "release line %s was pinned as %s and has provenance again, by the publisher of %s; `assay pin` takes it over", pin.Line, pin.Floor, s.restored().Version)
	case o.Verdict == verify.Provenance && pin.Floor != verify.Provenance:
		add("unpinned", at(p.Identity.Unpinned, pin.At), "release line %s was pinned as %s and now has provenance, by %s; look at it and run `assay pin`", pin.Line, pin.Floor, described(o.Publisher))
	case o.Verdict == verify.Provenance:
		accepted, changes := nearest(pin.Publishers, o.Publisher, s.ID)
		p.drift(changes, at(p.Drift, accepted.At), "", add)
	}
}

// newLine judges a version of a release line that is not pinned, of a package of which other lines are.
func (p *Policy) newLine(s *Subject, at func(Setting, int) Setting, add addFunc) {
	line := npm.ReleaseLine(s.ID.Version)
	var accepted []Pinned
	for _, pin := range s.Lock.Pins[s.ID.Name] {
		accepted = append(accepted, pin.Publishers...)
	}
	o := s.Outcome
	switch {
	case len(accepted) == 0:
		add("unpinned", p.Identity.Unpinned, "release line %s is new here; look at it and run `assay pin`", line)
	case o.Verdict == verify.Provenance:
		one, changes := nearest(accepted, o.Publisher, s.ID)
		if drifts(changes) > 0 {
			p.drift(changes, at(p.Drift, one.At), "release line "+line+" is new, and it is not by the publisher of the others: ", add)
			return
		}
		set := p.Identity.Unpinned
		if weight[set.Level] > weight[Note] {
			set.Level = Note
		}
		add("unpinned", set, "release line %s is new, by the publisher of the others; `assay pin` adds it", line)
	case o.Verdict == verify.Unchecked:
		set := at(p.Drift, accepted[0].At)
		set.Level = Error
		add("drift", set, "the publisher of other release lines is pinned, and this one's could not be verified")
	case !anyMatches(p.Downgrade.Exclude, s.ID.Name, s.ID.Version):
		add("downgrade-package", at(p.Downgrade.Package, accepted[0].At), "release line %s is new and %s; others are pinned as provenance%s", line, o.Verdict, by(accepted))
	}
}

// drift tells of a publisher's changes: those that make another publisher at the level of drift, the others as notes.
func (p *Policy) drift(changes []Change, set Setting, why string, add addFunc) {
	var drift, notes []string
	for _, c := range changes {
		if c.Drift {
			drift = append(drift, c.String())
		} else {
			notes = append(notes, c.String())
		}
	}
	if len(drift) > 0 {
		add("drift", set, "%sthe publisher is not the pinned one: %s", why, strings.Join(append(drift, notes...), "; "))
		return
	}
	if len(notes) > 0 {
		if weight[set.Level] > weight[Note] {
			set.Level = Note
		}
		add("drift", set, "the pinned publisher, changed in what does not make another: %s; `assay pin` takes it over", strings.Join(notes, "; "))
	}
}

// rank orders verdicts by how much holds. What could not be told has no rank among them.
func rank(v verify.Verdict) int {
	switch v {
	case verify.Provenance:
		return 3
	case verify.Signed:
		return 2
	case verify.Unsigned:
		return 1
	}
	return 0
}

func by(accepted []Pinned) string {
	if len(accepted) == 0 {
		return ""
	}
	return " by " + strings.TrimPrefix(accepted[0].Repository, "https://") + " " + accepted[0].Workflow
}

func described(p *publisher.Publisher) string {
	return fmt.Sprintf("%s of %s on %s (%s)", p.Workflow, strings.TrimPrefix(p.Repository, "https://"), p.Ref, p.Event)
}

// Accept makes a pin's publisher out of a verified one. doubt says why a person should look twice before it is
// accepted; "" if there is no reason.
func Accept(p *publisher.Publisher, id npm.ID) (accepted Pinned, doubt string) {
	accepted = Pinned{
		Issuer: p.Issuer, Repository: p.Repository, RepositoryID: p.RepositoryID, Owner: p.Owner, OwnerID: p.OwnerID,
		Workflow: p.Workflow, SignerWorkflow: calledWorkflow(p), Events: []string{p.Event}, Runner: p.Runner, Environment: p.Environment,
	}
	accepted.Ref, doubt = refPattern(p.Ref, id)
	switch {
	case doubt != "":
	case !slices.Contains(ordinaryEvents, p.Event):
		doubt = fmt.Sprintf("it was started by %s, which may be anybody's doing", p.Event)
	case p.RepositoryID == "" || p.OwnerID == "":
		doubt = "its certificate has no ids, so the pin can tell nobody from a namesake"
	case p.Runner == "self-hosted":
		doubt = "it was built on a machine of the publisher's own"
	}
	return accepted, doubt
}

// releaseBranch is what branches that releases are made from are called.
var releaseBranch = regexp.MustCompile(`^refs/heads/(main|master|trunk|develop|dev|next|latest|stable|canary|alpha|beta|rc|nightly|release|releases|production|v?\d+([.x-]+[\dx]+)*|(release|releases|maintenance|support|stable|version)[/-][\w.-]+|\d+\.x|v\d+-maintenance)$`)

// refPattern derives the refs to expect from the one that a version was built at: a tag that holds the version
// stands for every version's, a branch for itself.
func refPattern(ref string, id npm.ID) (RefPattern, string) {
	// Braces and stars in a ref would mean something in a pattern.
	if strings.ContainsAny(ref, "{}* \t") || !strings.HasPrefix(ref, "refs/") {
		return RefPattern("refs/?"), fmt.Sprintf("its ref %q cannot be pinned", ref)
	}
	if tag, ok := strings.CutPrefix(ref, "refs/tags/"); ok {
		if i := strings.LastIndex(tag, id.Version); i >= 0 && i+len(id.Version) == len(tag) {
			before := tag[:i]
			base := id.Name[strings.IndexByte(id.Name, '/')+1:]
			switch {
			case strings.HasPrefix(before, id.Name):
				before = "{name}" + before[len(id.Name):]
			case strings.HasPrefix(before, base):
				before = "{basename}" + before[len(base):]
			}
			return RefPattern("refs/tags/" + before + "{version}"), ""
		}
		return RefPattern(ref), "its tag does not hold the version, so the next one will not match"
	}
	if releaseBranch.MatchString(ref) {
		return RefPattern(ref), ""
	}
	return RefPattern(ref), fmt.Sprintf("its ref %s is not called as branches of releases are", ref)
}

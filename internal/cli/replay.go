package cli

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"slices"
	"sync"
	"time"

	"github.com/spf13/pflag"

	"assay/internal/audit"
	"assay/internal/evidence"
	"assay/internal/inventory"
	"assay/internal/npm"
	"assay/internal/policy"
	"assay/internal/publisher"
	"assay/internal/report"
	"assay/internal/trust"
)

// archived are the flags about an evidence archive.
type archived struct {
	file   string
	bundle string
	maker  policy.Filter
}

func (a *archived) add(f *pflag.FlagSet) {
	f.StringVar(&a.file, "evidence", "", "answer from this evidence archive (assay evidence export) and from nothing else: `FILE`")
	f.StringVar(&a.bundle, "evidence-bundle", "", "`FILE` with the attestation of the evidence archive; needs --evidence-repo or --evidence-signer")
	f.StringVar(&a.maker.Repository, "evidence-repo", "", "the archive was made in a job of this `OWNER/REPO`")
	f.StringVar(&a.maker.Signer, "evidence-signer", "", "the archive was made by exactly this workflow at a ref, as a `URI`")
}

func (a *archived) check() error {
	switch {
	case a.file == "" && (a.bundle != "" || !a.maker.Empty()):
		return usagef("for example --evidence evidence.tar.gz", "there is no --evidence that the other --evidence-… flags could be about")
	case a.bundle != "" && a.maker.Empty():
		return usagef("for example --evidence-repo acme/app: anybody with a workflow could attest an archive of their own", "--evidence-bundle does not say who has to have made the archive")
	case a.bundle == "" && !a.maker.Empty():
		return usagef("assay attest FILE makes it, in the job that exports the archive", "without --evidence-bundle nothing says who made the archive")
	}
	return nil
}

// A replayed is an evidence archive that answers in place of registries.
type replayed struct {
	name    string
	archive *evidence.Archive
	keys    []byte // the user's --registry-keys; nil for none
	maker   *publisher.Publisher

	// Of the one audit that the archive was made for; nil where it was made for several, or for none.
	audit   *evidence.ArchivedAudit
	request *audit.Request
	listed  bool // the packages are those of the request, for want of a project

	mu      sync.Mutex
	refused error // a registry's own keys were needed, and nothing vouches for them
}

// openArchive makes the session answer from an archive. The configuration and the policy are read already.
func (s *session) openArchive() (err error) {
	name := s.flags.evidence.file
	a, err := readArchive(s.path(name), name)
	if err != nil {
		return err
	}
	r := &replayed{name: name, archive: a}
	s.replay = r
	defer func() {
		if err != nil {
			a.Close()
		}
	}()
	if err := s.admit(); err != nil {
		return err
	}
	if err := s.attested(); err != nil {
		return err
	}
	if r.audit, err = a.Audit(); err != nil {
		return unknown(err)
	}
	if r.audit != nil {
		if r.request, err = audit.DecodeRequest(r.audit.Request); err != nil {
			return unknown(fmt.Errorf("%s: %w", name, err))
		}
	}
	if at, now := a.At(), s.env.Now(); at.After(now.Add(24 * time.Hour)) {
		return unknown(fmt.Errorf("archive-time: %s says that it was made %s, which is yet to come: with that as the time, rules about age would be met", name, at.Format(time.RFC3339)))
	}
	// What this machine has to tell of itself does not belong to what the archive's evidence shows.
	notes := s.notes
	s.notes = nil
	var archived []report.Note
	if r.request != nil {
		archived = notesOf(r.request.Notes)
		s.flags.deep = s.flags.deep || r.audit.Settings.Deep
		s.flags.strictTime = s.flags.strictTime || r.audit.Settings.StrictTime
	}
	ofConfig, _ := slices.BinarySearchFunc(archived, true, func(n report.Note, _ bool) int { // those come before the policy's, the others after
		if n.Code == "npmrc" {
			return -1
		}
		return 0
	})
	s.notes = append(s.notes, archived[:ofConfig]...)
	for _, n := range notes {
		if n.Code == "policy-changed" {
			s.notes = append(s.notes, n)
		} else {
			tell(s.env, "assay: warning: ", n.Message)
		}
	}
	s.notes = append(s.notes, archived[ofConfig:]...)
	s.env.Now = a.At // what is asked of the clock is asked of the evidence's time
	s.flags.offline = true
	if !s.flags.quiet {
		r.introduce(s.env)
	}
	return nil
}

// readArchive reads an archive, and tells apart what is none from what is damaged.
func readArchive(path, name string) (*evidence.Archive, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, usagef("", "reading the evidence archive: %w", err)
	}
	defer f.Close()
	a, err := evidence.ReadArchive(f)
	var version *evidence.ArchiveVersionError
	var file *fs.PathError
	switch {
	case err == nil:
		return a, nil
	case errors.Is(err, evidence.ErrNotArchive):
		return nil, usagef("assay evidence export -o FILE makes one", "%s: %w", name, err)
	case errors.As(err, &version):
		return nil, usagef("a newer assay may know it", "%s: %w", name, err)
	case errors.As(err, &file):
		return nil, usagef("", "reading %s: %w", name, err)
	}
	return nil, unknown(fmt.Errorf("%s: %w", name, err))
}

// admit takes the archive's trust where something vouches for it.
func (s *session) admit() error {
	r := s.replay
	own, err := audit.TrustOf(r.archive)
	if err != nil {
		return unknown(err)
	}
	root, keys, err := s.trustFiles()
	if err != nil {
		return err
	}
	r.keys = keys
	if keys != nil && !bytes.Equal(keys, own.KeysJSON) && r.archive.ServesKeys(keys) {
		keys = nil // the file is about a registry that speaks for itself, and not about the keys that TUF has
	}
	s.trust, err = own.Admit(root, keys)
	var refused *trust.ArchiveError
	if errors.As(err, &refused) {
		return unknown(fmt.Errorf("%s: %w (--trusted-root FILE, --registry-keys FILE)", r.name, err))
	} else if err != nil {
		return usagef("", "%w", err)
	}
	return nil
}

// trustFiles are the contents of the files that the user names; nil for none.
func (s *session) trustFiles() (root, keys []byte, err error) {
	for _, f := range []struct {
		name, what string
		to         *[]byte
	}{{s.flags.trustedRoot, "the trusted root", &root}, {s.flags.keys, "the registry keys", &keys}} {
		if f.name == "" {
			continue
		}
		if *f.to, err = readFile(s.path(f.name), 8<<20); err != nil {
			return nil, nil, usagef("", "reading %s: %w", f.what, err)
		}
	}
	return root, keys, nil
}

// attested verifies who made the archive, where that is asked for.
func (s *session) attested() error {
	f := &s.flags.evidence
	if f.bundle == "" {
		return nil
	}
	bundle, err := readFile(s.path(f.bundle), maxBundleFile)
	if err != nil {
		return usagef("", "reading the archive's attestation: %w", err)
	}
	s.replay.maker, err = audit.Attested(bundle, s.replay.archive.Digest(), s.trust, f.maker, s.policy.Issuers)
	var wrong *audit.AttestationError
	if errors.As(err, &wrong) && !wrong.Undecided {
		tell(s.env, "assay: error: ", s.replay.name+": "+err.Error())
		return exitError(ExitDenied)
	} else if err != nil {
		return unknown(fmt.Errorf("%s: %w", s.replay.name, err))
	}
	return nil
}

// introduce says whose word the evidence is.
func (r *replayed) introduce(env Environment) {
	tell(env, "assay: ", fmt.Sprintf("evidence of %s from %s, sha512 %x", r.archive.At().Format("2006-01-02 15:04:05 MST"), r.name, r.archive.Digest()))
	if p := r.maker; p != nil {
		tell(env, "assay: ", fmt.Sprintf("the archive was made in a job of %s@%s by %s, log index %d", p.Repository, p.Commit, p.Workflow, p.LogIndex))
		return
	}
	tell(env, "assay: ", "evidence-archive: nobody attests this archive: what no signature covers (absent attestations, digests of tarballs) is the word of whoever made it")
}

// trustKeys says whether what the archive has of a registry's own keys counts: keys where the user names the same bytes,
// and that there are none where the user, and not only the archive, names the registry.
func (s *session) trustKeys(registry string, a evidence.Answer) error {
	r := s.replay
	var err error
	switch a.State {
	case evidence.Served:
		keys, parseErr := npm.ParseKeys(a.Body)
		switch {
		case r.keys != nil && bytes.Equal(r.keys, a.Body):
			return nil
		case len(keys) == 0 && parseErr == nil && s.namedHere(registry):
			return nil
		}
		err = errors.New("name them with --registry-keys, or in the policy")
	case evidence.Absent:
		if s.namedHere(registry) {
			return nil
		}
		err = errors.New("that it has none is the archive's word alone; name the registry with --registry, or in the policy")
	default:
		return nil
	}
	err = &trust.ArchiveError{What: "the key list of " + registry, Err: err}
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.refused == nil {
		r.refused = err
	}
	return err
}

func (s *session) namedHere(registry string) bool {
	return s.config.Named(registry) || s.policy.Registries[registry].Line > 0
}

// registryFor is the registry that a package's name comes from. An archive knows which it was asked of; this machine may be
// configured for another, or for none.
func (s *session) registryFor(name string) string {
	base, level := s.config.Registry(name)
	if s.replay == nil || level == npm.LevelFlag {
		return base
	}
	known := s.replay.archive.Registries(name)
	if len(known) == 1 && !slices.Contains(known, base) {
		return known[0]
	}
	return base
}

// listed are the packages that the archive was made for, where there is no project to read: the user named none, and the
// working directory holds none.
func (s *session) listed(err error) *audit.Request {
	var missing *inventory.NotFoundError
	if s.replay == nil || s.replay.request == nil || !errors.As(err, &missing) {
		return nil
	}
	q := s.replay.request
	s.replay.listed = true
	tell(s.env, "assay: ", fmt.Sprintf("there is no project here: these are the %d packages that %s lists", len(q.Targets), s.replay.name))
	return q
}

// listedOthers are the dependencies from no registry that a request lists. What the policy says of their source counts
// where that is worse than what the archive says.
func (s *session) listedOthers(q *audit.Request) []report.Other {
	others := make([]report.Other, len(q.Others))
	for i := range others {
		others[i] = q.Others[i].Other
		d := policy.Dependency{ID: npm.ID{Name: others[i].Name, Version: others[i].Version}, Source: others[i].Source, Now: s.env.Now()}
		if decision, findings := s.policy.DecideSource(d); severity(decision) > severity(others[i].Decision) {
			others[i].Decision, others[i].Findings = decision, findings
		}
	}
	return others
}

func notesOf(list []audit.AskedNote) []report.Note {
	notes := make([]report.Note, len(list))
	for i := range notes {
		notes[i] = list[i].Note
	}
	return notes
}

func severity(d policy.Decision) int {
	return slices.Index([]policy.Decision{policy.Decision(policy.Allow), policy.Decision(policy.Warn), policy.Decision(policy.Error), policy.Decision(policy.Deny)}, d)
}

// compare tells whether the report is the one that was exported, and what makes it another.
func (r *replayed) compare(env Environment, rep *report.Report, f *auditFlags, omit []string, policySum string) {
	if r.audit == nil {
		return
	}
	same := &matching{rest: r.audit.Report}
	if err := report.WriteJSON(same, rep); err != nil && !errors.Is(err, errDiffers) {
		return
	}
	if !same.differs && len(same.rest) == 0 {
		tell(env, "assay: ", "the JSON report is, byte for byte, the one that the archive holds")
		return
	}
	was := &r.audit.Settings
	why := "another project or another version of assay, or the archive was changed"
	switch {
	case !slices.Equal(was.Omit, sorted(omit)):
		why = fmt.Sprintf("the export left out %q", was.Omit)
	case !slices.Equal(was.Workspaces, sorted(f.workspaces)):
		why = fmt.Sprintf("the export was of the workspaces %q", was.Workspaces)
	case was.PolicySHA256 != policySum:
		why = "another policy"
	case f.installed && !was.Installed:
		why = "the export did not look at installed files as this run does"
	case was.Installed && !f.installed:
		why = "the export looked at installed files, and this run does not (--installed)"
	case was.Installed && r.listed:
		why = "the export looked at installed files, and here is no project that could have them"
	}
	tell(env, "assay: ", "the JSON report is another than the one that the archive holds: "+why)
}

// A matching compares what is written to it with what is to be written, and takes no more once it differs.
type matching struct {
	rest    []byte
	differs bool
}

var errDiffers = errors.New("it is another")

func (m *matching) Write(p []byte) (int, error) {
	if m.differs || !bytes.HasPrefix(m.rest, p) {
		m.differs = true
		return 0, errDiffers
	}
	m.rest = m.rest[len(p):]
	return len(p), nil
}

func sorted(list []string) []string {
	list = append([]string{}, list...)
	slices.Sort(list)
	return list
}

// digest is the hex SHA-256 of data, "" for none.
func digest(data []byte) string {
	if data == nil {
		return ""
	}
	sum := sha256.Sum256(data)
	return hex.EncodeToString(sum[:])
}

// take takes over what an archive's audit asked for beyond what is asked for here, and sets up recording.
func (f *auditFlags) take(s *session) {
	if s.replay != nil && s.replay.audit != nil {
		was := &s.replay.audit.Settings
		f.tarballs = f.tarballs || was.Tarballs
		f.includeAttestations = f.includeAttestations || was.IncludeAttestations
	}
	if f.export != nil {
		s.recorder = evidence.NewRecorder()
		f.export.notes = slices.Clone(s.notes)
	}
}

// look asks no more of an archive than it was made with: of a package that no tarball was fetched of, no tarball is looked
// at, and of one that announces no attestations none are missed.
func (f *verifyFlags) look(s *session, t *audit.Target, o *audit.Options) {
	o.Deep = s.flags.deep
	o.Tarballs = f.tarball && t.Tarball == nil && s.replay.archive.HasTarball(t.Package.Registry, t.Package.ID)
}

// only finds the version of a package that the archive has, where it has just one.
func (r *replayed) only(registry, name string) (npm.ID, bool) {
	versions := r.archive.Versions(registry, name)
	if len(versions) != 1 {
		return npm.ID{}, false
	}
	return npm.ID{Name: name, Version: versions[0]}, npm.CheckVersion(versions[0]) == nil
}

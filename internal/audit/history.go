package audit

import (
	"cmp"
	"context"
	"crypto/sha256"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"

	"assay/internal/budget"
	"assay/internal/evidence"
	"assay/internal/npm"
	"assay/internal/policy"
	"assay/internal/verify"
)

// maxVersions bounds the history of one package: the most that a real one has is some ten thousand.
const maxVersions = 50_000

// history gathers what is known of a package's other versions: what the registry says of them and, of those that
// this one is compared with, what verifies.
func (r *Runner) history(ctx context.Context, s *policy.Subject, rt *registryTrust) *policy.History {
	h := r.looked(ctx, s)
	if h.Problem != "" {
		return h
	}
	for _, v := range r.o.Policy.Precedents(s) {
		id := npm.ID{Name: s.ID.Name, Version: v.Version}
		out, _ := r.outcome(ctx, &Target{Package: verify.Package{ID: id, Registry: s.Registry}}, rt, rt.options)
		v.Verdict, v.Publisher, v.Logged = out.Verdict, out.Publisher, out.Published
	}
	return h
}

// looked gives the subject its history as far as the rules look at it. A full document may be large, and is let go of
// before anything else is asked.
func (r *Runner) looked(ctx context.Context, s *policy.Subject) *policy.History {
	ctx, release := budget.With(ctx)
	defer release()
	h, doc := r.packument(ctx, s)
	s.History = h
	if doc == nil {
		return h
	}
	for i := range h.Versions {
		if v := &h.Versions[i]; v.Version == s.ID.Version {
			v.Verdict, v.Publisher, v.Logged = s.Outcome.Verdict, s.Outcome.Publisher, s.Outcome.Published
		}
	}
	s.Trim()
	for _, v := range s.Compared() {
		v.Manifest = doc.manifest(v.Version)
	}
	return h
}

// claims reads the package's full document: what the registry says of each version.
func (r *Runner) claims(ctx context.Context, s *policy.Subject) *policy.History {
	ctx, release := budget.With(ctx)
	defer release()
	h, doc := r.packument(ctx, s)
	for i := range h.Versions {
		h.Versions[i].Manifest = doc.manifest(h.Versions[i].Version)
	}
	return h
}

// packument asks for the package's full document and reads it, manifests aside. One that an earlier run was served may
// be older than the version that is asked about. There is no document where there is a problem.
func (r *Runner) packument(ctx context.Context, s *policy.Subject) (*policy.History, *packument) {
	a, cached := r.o.Collector.Packument(ctx, s.Registry, s.ID.Name, false)
	h, doc := claimed(a)
	if cached && !slices.ContainsFunc(h.Versions, func(v policy.Version) bool { return v.Version == s.ID.Version }) {
		a, _ = r.o.Collector.Packument(ctx, s.Registry, s.ID.Name, true)
		h, doc = claimed(a)
	}
	return h, doc
}

func claimed(a evidence.Answer) (*policy.History, *packument) {
	problem := ""
	switch a.State {
	case evidence.Served:
		versions, doc, err := readPackument(a.Body)
		if err == nil {
			return &policy.History{Versions: versions}, doc
		}
		problem = "the package's document cannot be read: " + err.Error()
	case evidence.Absent:
		problem = "the registry has no document of the package"
	default:
		problem = cmp.Or(a.Detail, "the package's document could not be fetched ("+a.Reason+")")
	}
	return &policy.History{Problem: problem}, nil
}

// packument is what of a package's full document the rules look at.
type packument struct {
	Time     jsontext.Value            `json:"time"`
	Versions map[string]jsontext.Value `json:"versions"`
}

// A release is what of one version's document the rules look at. Each value is read by itself, so that an odd one,
// of which old packages have many, hides none of the others.
type release struct {
	Dist                 jsontext.Value `json:"dist"`
	Deprecated           jsontext.Value `json:"deprecated"`
	GypFile              jsontext.Value `json:"gypfile"`
	Scripts              jsontext.Value `json:"scripts"`
	Dependencies         jsontext.Value `json:"dependencies"`
	OptionalDependencies jsontext.Value `json:"optionalDependencies"`
	Bin                  jsontext.Value `json:"bin"`
	User                 jsontext.Value `json:"_npmUser"`
	Repository           jsontext.Value `json:"repository"`
}

// readPackument reads the versions out of a package's full document, in the order in which they were published;
// those whose time is unknown come first, since nothing says that they are later. Their manifests stay in the document,
// see [packument.manifest]. Old documents hold odd values in odd places, which then count as absent.
func readPackument(data []byte) ([]policy.Version, *packument, error) {
	doc := new(packument)
	if err := json.Unmarshal(data, doc, lenient); err != nil {
		return nil, nil, err
	}
	times := objectOf(doc.Time)
	if len(doc.Versions)+len(times) > maxVersions {
		return nil, nil, fmt.Errorf("it lists more than %d versions", maxVersions)
	}
	list := make([]policy.Version, 0, len(doc.Versions))
	for version, raw := range doc.Versions {
		var d release
		if npm.CheckVersion(version) != nil || json.Unmarshal(raw, &d, lenient) != nil {
			continue
		}
		user := objectOf(d.User)
		list = append(list, policy.Version{
			Version: version, Time: timeOf(times[version]), Announced: truthy(objectOf(d.Dist)["attestations"]),
			Deprecated: short(textOf(d.Deprecated)), User: short(textOf(user["name"])), Repository: repositoryOf(d.Repository), Trusted: truthy(user["trustedPublisher"]), Approved: truthy(user["approver"]),
		})
	}
	for version, at := range times {
		if _, there := doc.Versions[version]; !there && npm.CheckVersion(version) == nil {
			list = append(list, policy.Version{Version: version, Time: timeOf(at), Removed: true})
		}
	}
	slices.SortFunc(list, func(a, b policy.Version) int {
		return cmp.Or(a.Time.Compare(b.Time), npm.CompareVersions(a.Version, b.Version), strings.Compare(a.Version, b.Version))
	})
	return list, doc, nil
}

// manifest reads what a version brings along; empty if the document has none of it.
func (doc *packument) manifest(version string) policy.Manifest {
	var d release
	if raw, there := doc.Versions[version]; !there || json.Unmarshal(raw, &d, lenient) != nil {
		return policy.Manifest{}
	}
	m := policy.Manifest{Gyp: truthy(d.GypFile), Scripts: map[string]string{}, Dependencies: map[string]string{}, Bin: map[string]string{}}
	scripts := objectOf(d.Scripts)
	for _, name := range []string{"preinstall", "install", "postinstall"} {
		if s := textOf(scripts[name]); s != "" {
			m.Scripts[name] = s
			m.Gyp = m.Gyp || name == "install" && s == "node-gyp rebuild" // npm writes it where there is a binding.gyp
		}
	}
	for _, dependencies := range []jsontext.Value{d.Dependencies, d.OptionalDependencies} {
		for name, spec := range objectOf(dependencies) {
			m.Dependencies[name] = textOf(spec)
		}
	}
	if textOf(d.Bin) != "" {
		m.Bin["(its own name)"] = textOf(d.Bin)
	}
	for name, file := range objectOf(d.Bin) {
		m.Bin[name] = textOf(file)
	}
	return bounded(m)
}

// maxManifest bounds what is kept of one version's manifest, in bytes. Real ones have a tenth of it.
const maxManifest = 16 << 10

// bounded returns a manifest as it is or, where it is larger than any real one, its digest in place of an install
// script, so that whatever changes in it is seen to change.
func bounded(m policy.Manifest) policy.Manifest {
	size := 0
	for _, texts := range []map[string]string{m.Scripts, m.Dependencies, m.Bin} {
		for name, text := range texts {
			size += len(name) + len(text)
		}
	}
	if size <= maxManifest {
		return m
	}
	text, err := json.Marshal(m, json.Deterministic(true))
	if err != nil {
		text = nil // never: it holds text
	}
	return policy.Manifest{Gyp: m.Gyp, Scripts: map[string]string{"install": fmt.Sprintf("(and more, %d bytes in all, sha256 %x)", size, sha256.Sum256(text))}}
}

// short cuts a text of a registry's that is longer than any name.
func short(s string) string {
	const most = 256
	if len(s) > most {
		s = strings.ToValidUTF8(s[:most], "")
	}
	return strings.Clone(s)
}

// repositoryOf is the repository that a package claims, as one spelling of its URL; "" for none.
func repositoryOf(v jsontext.Value) string {
	if repository, ok, err := npm.RepositoryFromManifest(v); err == nil && ok {
		return short(repository.String())
	}
	return ""
}

// lenient reads what JavaScript would.
var lenient = json.JoinOptions(jsontext.AllowInvalidUTF8(true), jsontext.AllowDuplicateNames(true))

// objectOf returns the members of an object, nil for anything else.
func objectOf(v jsontext.Value) map[string]jsontext.Value {
	var m map[string]jsontext.Value
	if v.Kind() != '{' || json.Unmarshal(v, &m, lenient) != nil {
		return nil
	}
	return m
}

func textOf(v jsontext.Value) string {
	var s string
	if v.Kind() != '"' || json.Unmarshal(v, &s, lenient) != nil {
		return ""
	}
	return s
}

func timeOf(v jsontext.Value) time.Time {
	t, err := time.Parse(time.RFC3339, textOf(v))
	if err != nil {
		return time.Time{}
	}
	return t.UTC()
}

// truthy is what JavaScript would take for true, but for empty objects and lists.
func truthy(v jsontext.Value) bool {
	switch v.Kind() {
	case 't':
		return true
	case '"':
		return textOf(v) != ""
	case '{', '[':
		return len(strings.Join(strings.Fields(string(v)), "")) > 2
	case '0':
		return strings.Trim(string(v), "0.eE+-") != ""
	}
	return false
}

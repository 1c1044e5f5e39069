package audit

import (
	"cmp"
	"context"
	"regexp"
	"slices"
	"strings"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"

	"assay/internal/evidence"
	"assay/internal/npm"
	"assay/internal/policy"
)

// advise asks the registries which versions their advisories name, one question for all packages of a registry
// together, and only where that could lift a denial.
func (r *Runner) advise(ctx context.Context, subjects []*policy.Subject) {
	if r.o.Collector == nil {
		return
	}
	asked := map[string]map[string][]string{} // versions by registry and package
	var about []*policy.Subject
	for _, s := range subjects {
		versions := r.o.Policy.Advised(s)
		if len(versions) == 0 {
			continue
		}
		about = append(about, s)
		if asked[s.Registry] == nil {
			asked[s.Registry] = map[string][]string{}
		}
		list := append(asked[s.Registry][s.ID.Name], versions...)
		slices.Sort(list)
		asked[s.Registry][s.ID.Name] = slices.Compact(list)
	}
	answers := map[string]map[string][]advisory{}
	problems := map[string]string{}
	for registry, versions := range asked {
		answers[registry], problems[registry] = r.advisories(ctx, registry, versions)
	}
	for _, s := range about {
		s.History.Unadvised = problems[s.Registry]
		for i := range s.History.Versions {
			v := &s.History.Versions[i]
			for _, a := range answers[s.Registry][s.ID.Name] {
				a.apply(v, s.ID.Version)
			}
		}
	}
}

// advisories returns what a registry's advisories say of packages, or why that is not known.
func (r *Runner) advisories(ctx context.Context, registry string, versions map[string][]string) (map[string][]advisory, string) {
	switch a := r.o.Collector.Advisories(ctx, registry, versions); a.State {
	case evidence.Served:
		list, err := readAdvisories(a.Body)
		if err != nil {
			return nil, "its answer about advisories cannot be read: " + err.Error()
		}
		return list, ""
	case evidence.Absent:
		return nil, "the registry has no advisories"
	default:
		return nil, cmp.Or(a.Detail, "its advisories could not be had ("+a.Reason+")")
	}
}

// An advisory names versions of one package.
type advisory struct {
	text      string // title and address
	malicious bool
	versions  npm.Range
	unknown   bool // the range cannot be read
}

// apply writes down what the advisory says of a version. What cannot be read names the version that is to be accepted,
// and none that would excuse it.
func (a *advisory) apply(v *policy.Version, subject string) {
	if a.unknown && v.Version != subject || !a.unknown && !a.versions.Contains(v.Version) {
		return
	}
	v.Vulnerable = true
	if v.Advisory == "" || a.malicious && !v.Malicious {
		v.Advisory = a.text
	}
	v.Malicious = v.Malicious || a.malicious && !a.unknown
}

// Bounds of an answer.
const (
	maxAdvised    = 100_000 // packages
	maxAdvisories = 1000    // of one package
)

// readAdvisories reads the answer of the bulk endpoint: for each package a list of {id, url, title, severity,
// vulnerable_versions, cwe, cvss}. What is not so says nothing.
func readAdvisories(data []byte) (map[string][]advisory, error) {
	var doc map[string]jsontext.Value
	if err := json.Unmarshal(data, &doc, lenient); err != nil {
		return nil, err
	}
	all := map[string][]advisory{}
	for name, raw := range doc {
		var list []jsontext.Value
		if len(all) == maxAdvised || raw.Kind() != '[' || json.Unmarshal(raw, &list, lenient) != nil {
			continue
		}
		for _, raw := range list[:min(len(list), maxAdvisories)] {
			fields := objectOf(raw)
			if fields == nil {
				continue
			}
			title, address := short(textOf(fields["title"])), short(textOf(fields["url"]))
			a := advisory{text: strings.TrimSpace(title + " " + address), malicious: malice(title, fields["cwe"])}
			if a.text == "" {
				a.text = "without a title"
			}
			var err error
			a.versions, err = npm.ParseRange(textOf(fields["vulnerable_versions"]))
			a.unknown = err != nil || fields["vulnerable_versions"].Kind() != '"'
			all[name] = append(all[name], a)
		}
	}
	return all, nil
}

// maliceTitle is what the titles of advisories about malware say. Those of flaws speak of malicious input and the like.
var maliceTitle = regexp.MustCompile(`(?i)^(malware in|malicious (package|version|versions|code) in|embedded malicious code)|\bcontains? (malware|malicious code)`)

// malice reports whether an advisory is about a version that was made to do harm, not about one with a flaw:
// by its weakness (CWE-506 and its children, Embedded Malicious Code), else by its title.
func malice(title string, cwe jsontext.Value) bool {
	var list []jsontext.Value
	if cwe.Kind() == '[' && json.Unmarshal(cwe, &list, lenient) == nil {
		for _, one := range list {
			switch textOf(one) {
			case "CWE-506", "CWE-507", "CWE-508", "CWE-509", "CWE-510", "CWE-511", "CWE-512":
				return true
			}
		}
	}
	return maliceTitle.MatchString(title)
}

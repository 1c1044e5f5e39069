package policy

import (
	"net/url"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"
	"unicode/utf8"

	"gopkg.in/yaml.v3"

	"assay/internal/npm"
	"assay/internal/publisher"
	"assay/internal/verify"
)

// sections are the readers of the keys of a policy file.
func (r *reader) sections() map[string]fieldReader {
	p := r.policy
	return map[string]fieldReader{
		"mode": r.mode(&p.Mode),
		"default": r.group(map[string]*Setting{
			"invalid": &p.Default.Invalid, "unchecked": &p.Default.Unchecked, "unsigned": &p.Default.Unsigned, "signed": &p.Default.Signed,
		}),
		"critical":   func(n *yaml.Node) error { return r.each(n, "entries", r.critical) },
		"publishers": func(n *yaml.Node) error { return r.each(n, "entries", r.publisher) },
		"identity": r.group(map[string]*Setting{
			"no-repository": &p.Identity.NoRepository, "self-hosted": &p.Identity.SelfHosted, "unpinned": &p.Identity.Unpinned,
		}),
		"drift":           r.level(&p.Drift),
		"downgrade":       r.downgrade,
		"min-age":         r.minAge,
		"manifest-change": r.level(&p.ManifestChange),
		"burst":           r.level(&p.Burst),
		"sources": r.group(map[string]*Setting{
			"git": &p.Sources.Git, "url": &p.Sources.URL, "file": &p.Sources.File, "other-host": &p.Sources.OtherHost,
		}),
		"unbound":     r.level(&p.Unbound),
		"expired-key": r.level(&p.ExpiredKey),
		"issuers":     r.issuers,
		"registries":  r.registries,
		"rules":       func(n *yaml.Node) error { return r.each(n, "rules", r.rule) },
		"waivers":     func(n *yaml.Node) error { return r.each(n, "waivers", r.waiver) },
		"ratchet":     r.ratchet,
	}
}

// group reads a mapping of levels, with a mode for all of them that have none of their own.
func (r *reader) group(settings map[string]*Setting) fieldReader {
	return func(n *yaml.Node) error {
		var mode Mode
		readers := map[string]fieldReader{"mode": r.mode(&mode)}
		own := make(map[*Setting]bool) // those that are written here, with a mode
		for key, s := range settings {
			readers[key] = func(n *yaml.Node) error {
				read := r.level(s)
				if key == "unchecked" {
					read = r.levelOf(s, Allow, Note, Warn, Deny, Error)
				}
				err := read(n)
				own[s] = s.Mode != ""
				return err
			}
		}
		if err := r.fields(n, readers); err != nil {
			return err
		}
		for _, s := range settings {
			if mode != "" && !own[s] {
				s.Mode = mode
			}
		}
		return nil
	}
}

func (r *reader) critical(n *yaml.Node) error {
	c := Critical{Setting: Setting{Level: Deny, Place: r.at(n)}}
	err := r.fields(n, map[string]fieldReader{
		"packages": r.patterns(&c.Packages),
		"require":  r.word((*string)(&c.Require), "verdict that can be required", string(verify.Provenance), string(verify.Signed)),
		"mode":     r.mode(&c.Mode),
	})
	switch {
	case err != nil:
		return err
	case c.Packages == nil:
		return r.errorf(n, "`packages:` is missing")
	case c.Require == "":
		return r.errorf(n, "`require:` is missing; write provenance or signed")
	}
	r.policy.Critical = append(r.policy.Critical, c)
	return nil
}

func (r *reader) publisher(n *yaml.Node) error {
	rule := PublisherRule{Setting: Setting{Level: Deny, Place: r.at(n)}}
	var refs []string
	var signer string
	err := r.fields(n, map[string]fieldReader{
		"packages":        r.patterns(&rule.Packages),
		"issuer":          r.issuer(&rule.Issuer),
		"repository":      r.text(&rule.Repository),
		"repository_id":   r.number(&rule.RepositoryID),
		"owner":           r.text(&rule.Owner),
		"owner_id":        r.number(&rule.OwnerID),
		"workflow":        r.text(&rule.Workflow),
		"signer_workflow": r.text(&signer),
		"ref": func(n *yaml.Node) error {
			if err := r.texts(&refs)(n); err != nil {
				return err
			}
			for _, s := range refs {
				pattern, err := ParseRef(s)
				if err != nil {
					return r.errorf(n, "%v", err)
				}
				rule.Refs = append(rule.Refs, pattern)
			}
			return nil
		},
		"event":       r.texts(&rule.Events),
		"runner":      r.word(&rule.Runner, "runner", "github-hosted", "gitlab-hosted", "self-hosted"),
		"environment": r.text(&rule.Environment),
		"mode":        r.mode(&rule.Mode),
	})
	switch {
	case err != nil:
		return err
	case rule.Packages == nil:
		return r.errorf(n, "`packages:` is missing")
	case rule.Repository == "" && rule.RepositoryID == "" && rule.Owner == "" && rule.OwnerID == "":
		return r.errorf(n, "who publishes is missing: name a `repository:`, an `owner:`, or one of their ids")
	case rule.Workflow != "" && strings.HasPrefix(rule.Workflow, "/"):
		return r.errorf(n, "workflow %q: write its path in the repository, such as .github/workflows/release.yml", rule.Workflow)
	}
	rule.Issuer = defaultIssuer(rule.Issuer, rule.Repository, rule.Owner)
	if rule.Issuer == "" {
		return r.errorf(n, "`issuer:` is missing: a number is one of GitHub's, of GitLab's, or of an instance of your own")
	}
	filter := Filter{Issuer: rule.Issuer}
	if rule.Repository != "" {
		name := rule.Repository
		if rule.Repository = filter.forge(name); strings.Count(rule.Repository, "/") < 4 {
			return r.errorf(n, "repository %q: write OWNER/NAME, gitlab.com/GROUP/NAME or a URL; `owner:` is for all of an owner's", name)
		}
	}
	if rule.Owner != "" {
		rule.Owner = filter.forge(rule.Owner)
	}
	if signer != "" {
		rule.SignerWorkflow = filter.forge(signer)
	}
	r.policy.Publishers = append(r.policy.Publishers, rule)
	return nil
}

// defaultIssuer is the issuer that speaks for a repository or an owner where none is named.
func defaultIssuer(issuer, repository, owner string) string {
	name := repository
	if name == "" {
		name = owner
	}
	name = strings.TrimPrefix(name, "https://")
	switch {
	case issuer != "":
		return issuer
	case strings.HasPrefix(name, "gitlab.com/"):
		return publisher.GitLabIssuer
	case strings.HasPrefix(name, "github.com/"):
		return publisher.GitHubIssuer
	case name == "" || strings.Contains(strings.SplitN(name, "/", 2)[0], "."):
		return ""
	}
	return publisher.GitHubIssuer
}

// number reads an id, quoted or not.
func (r *reader) number(s *string) fieldReader {
	return func(n *yaml.Node) error {
		if v, err := strconv.ParseUint(n.Value, 10, 63); n.Kind != yaml.ScalarNode || err != nil || strconv.FormatUint(v, 10) != n.Value {
			return r.errorf(n, "%q is no id: ids are whole numbers", n.Value)
		}
		*s = n.Value
		return nil
	}
}

func (r *reader) downgrade(n *yaml.Node) error {
	d := &r.policy.Downgrade
	if n.Kind == yaml.ScalarNode {
		// pnpm's word for the same (its setting trustPolicy).
		var word string
		if err := r.word(&word, "trust policy", "no-downgrade", "off")(n); err != nil {
			return err
		}
		set := Setting{Level: Deny, Place: r.at(n)}
		if word == "off" {
			set.Level = Allow
		}
		d.Line, d.Package = set, set
		return nil
	}
	var mode Mode
	own := make(map[*Setting]bool) // those that are written here, with a mode
	level := func(s *Setting) fieldReader {
		return func(n *yaml.Node) error {
			err := r.level(s)(n)
			own[s] = s.Mode != ""
			return err
		}
	}
	quiet := false
	quietAfter := func(n *yaml.Node) error {
		if quiet {
			return r.errorf(n, "quiet-after and ignore-after are two words for one thing")
		}
		quiet = true
		return r.duration(&d.QuietAfter)(n)
	}
	err := r.fields(n, map[string]fieldReader{
		"line":         level(&d.Line),
		"package":      level(&d.Package),
		"quiet-after":  quietAfter,
		"ignore-after": quietAfter, // pnpm's trustPolicyIgnoreAfter
		"exclude":      r.patterns(&d.Exclude),
		"mode":         r.mode(&mode),
	})
	if err != nil {
		return err
	}
	for _, s := range []*Setting{&d.Line, &d.Package} {
		if s.Line == 0 {
			s.Place = r.at(n)
		}
		if mode != "" && !own[s] {
			s.Mode = mode
		}
	}
	return nil
}

func (r *reader) minAge(n *yaml.Node) error {
	m := &r.policy.MinAge
	set := Setting{Level: Deny, Place: r.at(n)}
	if n.Kind == yaml.ScalarNode {
		if err := r.duration(&m.Attested)(n); err != nil {
			return err
		}
		m.Unattested, m.Setting = m.Attested, set
		return nil
	}
	err := r.fields(n, map[string]fieldReader{
		"attested":   r.duration(&m.Attested),
		"unattested": r.duration(&m.Unattested),
		"level":      r.word((*string)(&set.Level), "level", string(Note), string(Warn), string(Deny)),
		"mode":       r.mode(&set.Mode),
		"except": func(n *yaml.Node) error {
			m.AdvisoryFix, m.Except = false, nil
			return r.each(n, "exceptions", func(n *yaml.Node) error {
				if n.Kind == yaml.ScalarNode && n.Value == "advisory-fix" {
					m.AdvisoryFix = true
					return nil
				}
				var one []Pattern
				if err := r.patterns(&one)(n); err != nil {
					return err
				}
				m.Except = append(m.Except, one...)
				return nil
			})
		},
	})
	if err != nil {
		return err
	}
	m.Setting = set
	if m.Unattested < m.Attested {
		return r.errorf(n, "attested packages would have to wait longer (%s) than unattested ones (%s)", short(m.Attested), short(m.Unattested))
	}
	return nil
}

// duration reads "24h", "90m", "30d", "2w", or 0.
func (r *reader) duration(d *time.Duration) fieldReader {
	return func(n *yaml.Node) error {
		v, ok := parseDuration(n.Value)
		if n.Kind != yaml.ScalarNode || !ok {
			return r.errorf(n, "%q is not a duration, such as 90m, 24h, 30d or 2w", n.Value)
		}
		*d = v
		return nil
	}
}

const maxDuration = 10 * 366 * 24 * time.Hour

func parseDuration(s string) (time.Duration, bool) {
	if s == "0" {
		return 0, true
	}
	if len(s) < 2 {
		return 0, false
	}
	unit, ok := map[byte]time.Duration{'m': time.Minute, 'h': time.Hour, 'd': 24 * time.Hour, 'w': 7 * 24 * time.Hour}[s[len(s)-1]]
	v, err := strconv.ParseUint(s[:len(s)-1], 10, 32)
	if !ok || err != nil || time.Duration(v) > maxDuration/unit {
		return 0, false
	}
	return time.Duration(v) * unit, true
}

// short writes a duration as a policy would, rounded down to its largest fitting unit.
func short(d time.Duration) string {
	switch {
	case d >= 48*time.Hour && d%(24*time.Hour) == 0 || d >= 14*24*time.Hour:
		return strconv.FormatInt(int64(d/(24*time.Hour)), 10) + "d"
	case d >= 2*time.Hour || d%time.Hour == 0 && d > 0:
		return strconv.FormatInt(int64(d/time.Hour), 10) + "h"
	}
	return strconv.FormatInt(int64(d/time.Minute), 10) + "m"
}

func (r *reader) issuers(n *yaml.Node) error {
	return r.each(n, "URLs", func(n *yaml.Node) error {
		var issuer string
		if err := r.issuer(&issuer)(n); err != nil {
			return err
		}
		if !slices.Contains(r.policy.Issuers, issuer) {
			r.policy.Issuers = append(r.policy.Issuers, issuer)
		}
		return nil
	})
}

// issuer reads the URL of an OIDC issuer. It is compared as it stands.
func (r *reader) issuer(s *string) fieldReader {
	return func(n *yaml.Node) error {
		u, err := url.Parse(n.Value)
		if n.Kind != yaml.ScalarNode || err != nil || u.Scheme != "https" || u.Host == "" {
			return r.errorf(n, "%q is not the https URL of an issuer", n.Value)
		}
		*s = n.Value
		return nil
	}
}

func (r *reader) registries(n *yaml.Node) error {
	if n.Kind != yaml.MappingNode {
		return r.errorf(n, "registries must be URLs with what is known of each")
	}
	seen := make(map[string]bool)
	for i := 0; i+1 < len(n.Content); i += 2 {
		key, value := n.Content[i], n.Content[i+1]
		u, err := url.Parse(key.Value)
		if err != nil || u.Scheme != "https" && u.Scheme != "http" || u.Host == "" || u.User != nil {
			return r.errorf(key, "%q is not the URL of a registry", key.Value)
		}
		base := strings.TrimRight(key.Value, "/")
		if seen[base] {
			return r.errorf(key, "registry %q stands twice", base)
		}
		seen[base] = true
		reg := Registry{Place: r.at(key)}
		err = r.fields(value, map[string]fieldReader{
			"keys":     r.text(&reg.Keys),
			"signs":    r.word((*string)(&reg.Signs), "word for what a registry signs", string(verify.SignsAlways), string(verify.SignsPartly)),
			"upstream": r.text(&reg.Upstream),
			"publisher": func(n *yaml.Node) error {
				reg.Publisher = &verify.Expected{}
				return r.fields(n, map[string]fieldReader{
					"issuer":        r.text(&reg.Publisher.Issuer),
					"repository":    r.text(&reg.Publisher.Repository),
					"repository_id": r.number(&reg.Publisher.RepositoryID),
					"workflow":      r.text(&reg.Publisher.Workflow),
				})
			},
		})
		if err != nil {
			return err
		}
		if reg.Publisher != nil && reg.Publisher.Repository != "" {
			reg.Publisher.Repository = RepositoryURL(reg.Publisher.Repository)
		}
		switch {
		case reg.Publisher != nil && !reg.Publisher.NamesSomebody():
			return r.errorf(key, "`publisher:` has to name a `repository:`, or a `repository_id:` with its `issuer:`")
		case reg.Keys == "none" && reg.Publisher == nil:
			return r.errorf(key, "a registry with `keys: none` needs a `publisher:`, since only that can stand in for its signature")
		case base == "https://registry.npmjs.org" && (reg.Keys != "" || reg.Signs == verify.SignsPartly):
			return r.errorf(key, "npm's public registry signs every package, and its keys come from TUF or --registry-keys")
		}
		reg.Upstream = strings.TrimRight(reg.Upstream, "/")
		r.policy.Registries[base] = reg
	}
	return nil
}

// RepositoryURL writes "owner/repo" out as a URL on github.com; a URL stays, without ".git".
func RepositoryURL(s string) string {
	if strings.Contains(s, "://") {
		return strings.TrimSuffix(strings.TrimRight(s, "/"), ".git")
	}
	return "https://github.com/" + strings.TrimSuffix(s, ".git")
}

func (r *reader) rule(n *yaml.Node) error {
	rule := Rule{Place: r.at(n)}
	var when *yaml.Node
	err := r.fields(n, map[string]fieldReader{
		"id": func(n *yaml.Node) error {
			if err := r.text(&rule.ID)(n); err != nil {
				return err
			}
			if !isRuleID(rule.ID) {
				return r.errorf(n, "id %q: write lower-case words joined by hyphens, 60 characters at most", rule.ID)
			}
			if slices.Contains(BuiltIn(), rule.ID) {
				return r.errorf(n, "id %q is a built-in rule's", rule.ID)
			}
			if slices.ContainsFunc(r.policy.Rules, func(o Rule) bool { return o.ID == rule.ID }) {
				return r.errorf(n, "id %q stands twice", rule.ID)
			}
			return nil
		},
		"when": func(n *yaml.Node) error {
			when = n
			return r.text(&rule.When)(n)
		},
		"then":     r.word((*string)(&rule.Then), "level", string(Note), string(Warn), string(Deny), string(Error)),
		"message":  r.text(&rule.Message),
		"packages": r.patterns(&rule.Packages),
		"mode":     r.mode(&rule.Mode),
	})
	switch {
	case err != nil:
		return err
	case rule.ID == "":
		return r.errorf(n, "`id:` is missing")
	case when == nil:
		return r.errorf(n, "`when:` is missing")
	case rule.Then == "":
		return r.errorf(n, "`then:` is missing; write note, warn, deny or error")
	}
	if rule.Message == "" {
		rule.Message = rule.When
	}
	r.written = append(r.written, writtenRule{r, when})
	r.policy.Rules = append(r.policy.Rules, rule)
	return nil
}

// A writtenRule is where a rule's expression was written.
type writtenRule struct {
	reader *reader
	when   *yaml.Node
}

// compile makes the rules' expressions ready to run, several at once: that takes most of the time of reading a policy.
// The first that is wrong is the error.
func (l *loader) compile() error {
	rules := l.policy.Rules
	errs := make([]error, len(rules))
	var next atomic.Int64
	var group sync.WaitGroup
	for range min(len(rules), runtime.GOMAXPROCS(0)) {
		group.Go(func() {
			for i := int(next.Add(1)) - 1; i < len(rules); i = int(next.Add(1)) - 1 {
				errs[i] = rules[i].compile()
			}
		})
	}
	group.Wait()
	for i, err := range errs {
		if wrong, ok := asExpressionError(err); ok {
			return l.written[i].reader.expressionError(l.written[i].when, wrong)
		} else if err != nil {
			return err
		}
	}
	return nil
}

// expressionError places what is wrong with an expression in the file.
func (r *reader) expressionError(n *yaml.Node, wrong *expressionError) error {
	at := 0
	for line := range strings.Lines(n.Value) {
		if wrong.line--; wrong.line == 0 {
			break
		}
		at += utf8.RuneCountInString(line)
	}
	line, column := position(r.lines, n, n.Value, at+wrong.column)
	return &SyntaxError{File: r.file, Line: max(line, 1), Column: column, Text: "in `when:`: " + wrong.msg}
}

func isRuleID(s string) bool {
	if s == "" || len(s) > 60 || s[0] == '-' || s[len(s)-1] == '-' {
		return false
	}
	for _, c := range s {
		if c != '-' && (c < 'a' || c > 'z') && (c < '0' || c > '9') {
			return false
		}
	}
	return true
}

func (r *reader) waiver(n *yaml.Node) error {
	w := Waiver{Place: r.at(n)}
	var one []Pattern
	err := r.fields(n, map[string]fieldReader{
		"package": func(n *yaml.Node) error {
			if n.Kind != yaml.ScalarNode {
				return r.errorf(n, "a waiver is for one package or pattern")
			}
			return r.patterns(&one)(n)
		},
		"rule":   r.text(&w.Rule),
		"reason": r.text(&w.Reason),
		"by":     r.text(&w.By),
		"sha512": func(n *yaml.Node) error {
			in, err := npm.ParseIntegrity(n.Value)
			hashes := in.Find("sha512")
			if n.Kind != yaml.ScalarNode || err != nil || len(hashes) != 1 || len(in) != 1 {
				return r.errorf(n, "%q is not one sha512, as a lockfile has it: sha512-…", n.Value)
			}
			w.SHA512 = in.String()
			return nil
		},
		"until": func(n *yaml.Node) error {
			day, err := time.Parse(time.DateOnly, n.Value)
			if n.Kind != yaml.ScalarNode || err != nil {
				return r.errorf(n, "%q is not a day, such as 2027-03-01", n.Value)
			}
			w.Until = day
			return nil
		},
	})
	if err != nil {
		return err
	}
	for _, missing := range []struct {
		key string
		is  bool
	}{{"package", one == nil}, {"rule", w.Rule == ""}, {"reason", w.Reason == ""}, {"by", w.By == ""}, {"until", w.Until.IsZero()}} {
		if missing.is {
			return r.errorf(n, "`%s:` is missing: a waiver says for which package and rule, why, by whom and until when", missing.key)
		}
	}
	w.Package = one[0]
	if !isRuleID(w.Rule) || w.Rule == "waiver-expired" || w.Rule == "policy-changed" {
		return r.errorf(n, "rule %q cannot be waived", w.Rule)
	}
	if w.Rule == "invalid" && (w.SHA512 == "" || !w.Package.Exact()) {
		return r.errorf(n, "a waiver of invalid has to name one version (name@version) and its sha512: evidence that contradicts itself is accepted for exact bytes only")
	}
	r.policy.Waivers = append(r.policy.Waivers, w)
	return nil
}

func (r *reader) ratchet(n *yaml.Node) error {
	set := Setting{Level: Deny, Place: r.at(n)}
	err := r.fields(n, map[string]fieldReader{
		"base":  r.text(&r.policy.Ratchet.Base),
		"level": r.word((*string)(&set.Level), "level", string(Note), string(Warn), string(Deny)),
		"mode":  r.mode(&set.Mode),
	})
	if err == nil && r.policy.Ratchet.Base == "" {
		err = r.errorf(n, "`base:` is missing: a git revision, such as origin/main")
	}
	r.policy.Ratchet.Setting = set
	return err
}

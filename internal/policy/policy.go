// Package policy turns what holds into what is accepted: it applies the user's rules to a verdict and its
// publisher and answers with a [Decision] and the findings behind it. It guarantees that a decision names
// the rule, and the file and line where the user wrote one, and that worse evidence never makes a decision
// weaker.
package policy

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"net/url"
	"slices"
	"strings"

	"gopkg.in/yaml.v3"

	"assay/internal/verify"
)

// A Level is how much a finding weighs.
type Level string

// The levels, from the lightest to the heaviest.
const (
	Allow Level = "allow"
	Note  Level = "note"
	Warn  Level = "warn"
	Deny  Level = "deny"
	Error Level = "error" // could not decide
)

// A Decision is what becomes of a package: allow, warn, deny or error. It is the heaviest level among its
// findings, deny outweighing error.
type Decision string

// A Finding is one rule that spoke.
type Finding struct {
	Rule    string `json:"rule"`    // stable: "invalid", "unsigned", "publisher", …
	Level   Level  `json:"level"`   // note, warn, deny or error
	Message string `json:"message"` // one sentence; may quote hostile text
	File    string `json:"file"`    // where the rule was written, "" for a built-in default
	Line    int    `json:"line"`    // 1-based; 0 if File is ""
}

// A Setting is a level with the place that set it.
type Setting struct {
	Level Level
	Line  int // 0: the built-in default
}

// A Registry says what the user knows of one registry.
type Registry struct {
	Keys      string           // "none", "tuf", or a file
	Signs     verify.Signs     // always or partly
	Upstream  string           // base URL whose tarballs count as this registry's
	Publisher *verify.Expected // who publishes there, needed with keys: none
	Line      int
}

// A Policy is a policy file read in. The zero value is not useful: see [Default] and [Parse].
type Policy struct {
	File       string // "" for the built-in defaults
	Default    Defaults
	Sources    Sources
	Identity   Setting // no-repository: a publisher that could not be compared with a claim
	Unbound    Setting // nothing ties a locked package's verdict to bytes
	Issuers    []string
	Registries map[string]Registry // by base URL without trailing slash
}

// Defaults are the levels of the verdicts.
type Defaults struct{ Invalid, Unchecked, Unsigned, Signed Setting }

// Sources are the levels of dependencies that come from no registry.
type Sources struct{ Git, URL, File Setting }

// Default returns the rules that hold without a policy: what fails is denied, what could not be told is an
// error, a missing signature is denied where the registry is known to sign, and a dependency fetched from
// a URL is denied, as nothing ties it to a registry or a publisher.
func Default() *Policy {
	return &Policy{
		Default:    Defaults{Invalid: Setting{Level: Deny}, Unchecked: Setting{Level: Error}, Unsigned: Setting{Level: Deny}, Signed: Setting{Level: Warn}},
		Sources:    Sources{Git: Setting{Level: Warn}, URL: Setting{Level: Deny}, File: Setting{Level: Allow}},
		Identity:   Setting{Level: Warn},
		Unbound:    Setting{Level: Warn},
		Registries: map[string]Registry{},
	}
}

// A SyntaxError is a mistake in a policy file.
type SyntaxError struct {
	File string
	Line int // 1-based
	Text string
}

func (e *SyntaxError) Error() string { return fmt.Sprintf("%s:%d: %s", e.File, e.Line, e.Text) }

// maxPolicy bounds a policy file: 1 MiB is thousands of rules.
const maxPolicy = 1 << 20

// Parse reads a policy file. Unknown keys are errors, as a misspelt rule is a rule that is not there.
// Errors are *SyntaxError.
func Parse(data []byte, file string) (*Policy, error) {
	if len(data) > maxPolicy {
		return nil, &SyntaxError{file, 1, fmt.Sprintf("larger than %d bytes", maxPolicy)}
	}
	var root yaml.Node
	d := yaml.NewDecoder(bytes.NewReader(data))
	if err := d.Decode(&root); err != nil {
		if errors.Is(err, io.EOF) {
			return nil, &SyntaxError{file, 1, "the file is empty; it needs at least `version: 1`"}
		}
		return nil, &SyntaxError{file, yamlLine(err), strings.TrimPrefix(err.Error(), "yaml: ")}
	}
	if err := d.Decode(new(yaml.Node)); !errors.Is(err, io.EOF) {
		return nil, &SyntaxError{file, 1, "there is more than one YAML document"}
	}
	if len(root.Content) == 0 {
		return nil, &SyntaxError{file, 1, "the file is empty; it needs at least `version: 1`"}
	}
	p := Default()
	p.File = file
	r := reader{file}
	version := 0
	err := r.fields(root.Content[0], map[string]func(*yaml.Node) error{
		"version": func(n *yaml.Node) error {
			if n.Decode(&version) != nil || version != 1 {
				return r.errorf(n, "version must be 1")
			}
			return nil
		},
		"default": func(n *yaml.Node) error {
			return r.fields(n, map[string]func(*yaml.Node) error{
				"invalid":   r.level(&p.Default.Invalid),
				"unchecked": r.level(&p.Default.Unchecked),
				"unsigned":  r.level(&p.Default.Unsigned),
				"signed":    r.level(&p.Default.Signed),
			})
		},
		"sources": func(n *yaml.Node) error {
			return r.fields(n, map[string]func(*yaml.Node) error{
				"git":  r.level(&p.Sources.Git),
				"url":  r.level(&p.Sources.URL),
				"file": r.level(&p.Sources.File),
			})
		},
		"identity": func(n *yaml.Node) error {
			return r.fields(n, map[string]func(*yaml.Node) error{"no-repository": r.level(&p.Identity)})
		},
		"unbound": r.level(&p.Unbound),
		"issuers": func(n *yaml.Node) error {
			if n.Kind != yaml.SequenceNode || n.Decode(&p.Issuers) != nil {
				return r.errorf(n, "issuers must be a list of URLs")
			}
			for i, s := range p.Issuers {
				if u, err := url.Parse(s); err != nil || u.Scheme != "https" || u.Host == "" {
					return r.errorf(n.Content[i], "%q is not the https URL of an issuer", s)
				}
			}
			return nil
		},
		"registries": func(n *yaml.Node) error { return r.registries(n, p) },
	})
	if err != nil {
		return nil, err
	}
	if l := p.Default.Invalid.Level; l != Deny {
		return nil, &SyntaxError{file, max(p.Default.Invalid.Line, 1), fmt.Sprintf("invalid cannot be %s: evidence that contradicts itself is always denied", l)}
	}
	if version == 0 {
		return nil, r.errorf(root.Content[0], "`version: 1` is missing")
	}
	return p, nil
}

func yamlLine(err error) int {
	line := 1
	if _, rest, ok := strings.Cut(err.Error(), "line "); ok {
		fmt.Sscanf(rest, "%d", &line)
	}
	return line
}

type reader struct{ file string }

func (r reader) errorf(n *yaml.Node, format string, args ...any) error {
	return &SyntaxError{r.file, max(n.Line, 1), fmt.Sprintf(format, args...)}
}

// fields reads a mapping whose every key has a reader.
func (r reader) fields(n *yaml.Node, readers map[string]func(*yaml.Node) error) error {
	if n.Kind != yaml.MappingNode {
		return r.errorf(n, "expected keys and values here")
	}
	seen := map[string]bool{}
	for i := 0; i+1 < len(n.Content); i += 2 {
		key, value := n.Content[i], n.Content[i+1]
		if value.Kind == yaml.AliasNode || key.Kind != yaml.ScalarNode {
			return r.errorf(key, "anchors and aliases are not used in a policy")
		}
		read, ok := readers[key.Value]
		if !ok {
			known := make([]string, 0, len(readers))
			for k := range readers {
				known = append(known, k)
			}
			slices.Sort(known)
			return r.errorf(key, "unknown key %q; known here: %s", key.Value, strings.Join(known, ", "))
		}
		if seen[key.Value] {
			return r.errorf(key, "key %q stands twice", key.Value)
		}
		seen[key.Value] = true
		if err := read(value); err != nil {
			return err
		}
	}
	return nil
}

func (r reader) level(s *Setting) func(*yaml.Node) error {
	return func(n *yaml.Node) error {
		l := Level(n.Value)
		if !slices.Contains([]Level{Allow, Note, Warn, Deny, Error}, l) {
			return r.errorf(n, "%q is not a level; levels are allow, note, warn, deny, error", n.Value)
		}
		*s = Setting{l, n.Line}
		return nil
	}
}

func (r reader) text(s *string) func(*yaml.Node) error {
	return func(n *yaml.Node) error {
		if n.Kind != yaml.ScalarNode || n.Value == "" {
			return r.errorf(n, "expected a text here")
		}
		*s = n.Value
		return nil
	}
}

func (r reader) registries(n *yaml.Node, p *Policy) error {
	if n.Kind != yaml.MappingNode {
		return r.errorf(n, "registries must be URLs with what is known of each")
	}
	for i := 0; i+1 < len(n.Content); i += 2 {
		key, value := n.Content[i], n.Content[i+1]
		u, err := url.Parse(key.Value)
		if err != nil || u.Scheme != "https" && u.Scheme != "http" || u.Host == "" || u.User != nil {
			return r.errorf(key, "%q is not the URL of a registry", key.Value)
		}
		base := strings.TrimRight(key.Value, "/")
		if _, ok := p.Registries[base]; ok {
			return r.errorf(key, "registry %q stands twice", base)
		}
		reg := Registry{Line: key.Line}
		err = r.fields(value, map[string]func(*yaml.Node) error{
			"keys": r.text(&reg.Keys),
			"signs": func(n *yaml.Node) error {
				reg.Signs = verify.Signs(n.Value)
				if reg.Signs != verify.SignsAlways && reg.Signs != verify.SignsPartly {
					return r.errorf(n, "signs must be always or partly")
				}
				return nil
			},
			"upstream": r.text(&reg.Upstream),
			"publisher": func(n *yaml.Node) error {
				reg.Publisher = &verify.Expected{}
				return r.fields(n, map[string]func(*yaml.Node) error{
					"issuer":        r.text(&reg.Publisher.Issuer),
					"repository":    r.text(&reg.Publisher.Repository),
					"repository_id": r.text(&reg.Publisher.RepositoryID),
					"workflow":      r.text(&reg.Publisher.Workflow),
				})
			},
		})
		if err != nil {
			return err
		}
		if reg.Publisher != nil && reg.Publisher.Repository != "" {
			reg.Publisher.Repository = repositoryURL(reg.Publisher.Repository)
		}
		if reg.Publisher != nil && !reg.Publisher.NamesSomebody() {
			return r.errorf(key, "`publisher:` has to name a `repository:`, or a `repository_id:` with its `issuer:`")
		}
		if reg.Keys == "none" && reg.Publisher == nil {
			return r.errorf(key, "a registry with `keys: none` needs a `publisher:`, since only that can stand in for its signature")
		}
		if base == "https://registry.npmjs.org" && (reg.Keys != "" || reg.Signs == verify.SignsPartly) {
			return r.errorf(key, "npm's public registry signs every package, and its keys come from TUF or --registry-keys")
		}
		reg.Upstream = strings.TrimRight(reg.Upstream, "/")
		p.Registries[base] = reg
	}
	return nil
}

// repositoryURL writes "owner/repo" out as a URL on github.com.
func repositoryURL(s string) string {
	if strings.Contains(s, "://") {
		return strings.TrimSuffix(strings.TrimRight(s, "/"), ".git")
	}
	return "https://github.com/" + strings.TrimSuffix(s, ".git")
}

package doctor

import (
	"regexp"
	"strings"
)

// An npmrc is what the project's .npmrc and .yarnrc.yml say about publishing.
type npmrc struct {
	registry   string
	scopes     map[string]string
	access     string
	provenance string // "true", "false" or ""
	// where provenance and tokens stand
	provenanceFile string
	provenanceLine int
	tokens         []tokenLine
}

type tokenLine struct {
	file, value string
	line        int
	host        string
}

var variablePattern = regexp.MustCompile(`\$\{([^}]+)\}|\$([A-Za-z_][A-Za-z0-9_]*)`)

// loadConfig reads the settings that decide where and how a publish goes. Unlike [npm.ParseConfig] it keeps
// the line of each and takes the project's file for what it says, not for what it may.
func (c *checker) loadConfig() *npmrc {
	r := &npmrc{scopes: map[string]string{}}
	if data, err := c.read(".npmrc"); err == nil {
		for i, line := range splitLines(data) {
			line = strings.TrimSpace(line)
			if line == "" || line[0] == ';' || line[0] == '#' {
				continue
			}
			key, value, ok := strings.Cut(line, "=")
			if !ok {
				value = "true"
			}
			key, value = strings.TrimSpace(key), strings.Trim(strings.TrimSpace(value), `"'`)
			switch {
			case key == "registry":
				r.registry = value
			case strings.HasPrefix(key, "@") && strings.HasSuffix(key, ":registry"):
				r.scopes[strings.TrimSuffix(key, ":registry")] = value
			case key == "access":
				r.access = value
			case key == "provenance":
				r.provenance, r.provenanceFile, r.provenanceLine = value, ".npmrc", i+1
			case strings.HasSuffix(key, "_authToken") || strings.HasSuffix(key, "_auth") || strings.HasSuffix(key, "_password"):
				host, _, _ := strings.Cut(strings.TrimPrefix(key, "//"), "/")
				r.tokens = append(r.tokens, tokenLine{".npmrc", value, i + 1, host})
			}
		}
	}
	if data, err := c.read(".yarnrc.yml"); err == nil {
		if docs, err := parseYAML(data); err == nil && len(docs) > 0 && len(docs[0].Content) > 0 {
			top := docs[0].Content[0]
			if v, line := field(top, "npmPublishProvenance"); v != nil {
				r.provenance, r.provenanceFile, r.provenanceLine = v.Value, ".yarnrc.yml", line
			}
			if v, _ := field(top, "npmPublishAccess"); v != nil {
				r.access = v.Value
			}
			if v, _ := field(top, "npmPublishRegistry"); v != nil && r.registry == "" {
				r.registry = v.Value
			}
			if v, line := field(top, "npmAuthToken"); v != nil {
				r.tokens = append(r.tokens, tokenLine{".yarnrc.yml", v.Value, line, "registry.npmjs.org"})
			}
		}
	}
	return r
}

// forNPM reports whether a token line is for npm's registry.
func (t tokenLine) forNPM() bool {
	return t.host == "" || strings.HasSuffix(t.host, "_authToken") || strings.HasPrefix(t.host, "_") || registryName("https://"+t.host) == registryNPM
}

func (c *checker) checkConfiguration() {
	for _, t := range c.config.tokens {
		variables := variablePattern.FindAllString(t.value, -1)
		if len(variables) == 0 && t.value != "" {
			c.add(Finding{Rule: "token-in-file", File: t.file, Line: t.line, Message: "a token for " + orNPM(t.host) + " stands in " + t.file})
			continue
		}
		if !t.forNPM() {
			continue
		}
		if j := c.trustedPublisher(); j != nil {
			c.add(Finding{Rule: "token-shadows", File: t.file, Line: t.line,
				Message: "the auth line is used where " + j.w.path + " publishes with its identity and no token"})
		}
	}
	if c.config.provenance == "false" && len(c.manifests.publishable()) > 0 {
		c.add(Finding{Rule: "provenance-off", File: c.config.provenanceFile, Line: c.config.provenanceLine, Message: c.config.provenanceFile + " switches provenance off"})
	}
}

func orNPM(host string) string {
	if host == "" || strings.HasPrefix(host, "_") {
		return "npm"
	}
	return host
}

// trustedPublisher returns a job that publishes to npm by its identity alone.
func (c *checker) trustedPublisher() *job {
	for _, w := range c.workflows {
		for _, j := range w.jobs {
			if len(j.publishes) > 0 && j.hasIDToken() && !c.hasToken(j) {
				return j
			}
		}
	}
	return nil
}

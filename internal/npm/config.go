package npm

import (
	"fmt"
	"maps"
	"math"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"
)

// maxConfigLength bounds one configuration source and every value in it, in bytes.
const maxConfigLength = 1 << 20

// PublicRegistry is npm's public registry, without the trailing slash that npm writes after it.
const PublicRegistry = "https://registry.npmjs.org"

// A Level is where a setting comes from. A higher level overrides a lower one.
type Level int

const (
	LevelDefault Level = iota // npm's own defaults
	LevelBuiltin              // the npmrc beside npm itself
	LevelGlobal               // {prefix}/etc/npmrc
	LevelUser                 // ~/.npmrc
	LevelProject              // .npmrc beside package.json: whoever proposes a change to the project may have written it
	LevelEnv                  // npm_config_* of the environment
	LevelFlag                 // the command line
)

var levelNames = [...]string{"default", "builtin", "global", "user", "project", "environment", "command line"}

// String returns the level's name, such as "user".
func (l Level) String() string {
	if l < 0 || int(l) >= len(levelNames) {
		return "level " + strconv.Itoa(int(l))
	}
	return levelNames[l]
}

// A Source is one place that configuration comes from.
type Source struct {
	Level Level
	Path  string // the file's name, for messages
	Data  []byte // the file as it is

	settings []rawSetting // from EnvSource and FlagSource, in place of Data
	managed  bool         // the environment was made by a package manager that runs a script
}

// EnvSource makes a source of the environment, given as NAME=VALUE (os.Environ). Of it only npm_config_*
// counts, in any letter case: NPM_CONFIG_FETCH_RETRIES sets fetch-retries. Keys that start with "//" keep
// their case and their underscores. Empty values count as not set.
// Source: @npmcli/config, loadEnv.
func EnvSource(environ []string) Source {
	const prefix = "npm_config_"
	s := Source{Level: LevelEnv, Path: "environment"}
	for _, variable := range environ {
		name, value, _ := strings.Cut(variable, "=")
		switch name {
		case "npm_execpath", "npm_lifecycle_event", "npm_command", "npm_config_user_agent":
			s.managed = true
		}
		if len(name) < len(prefix) || !strings.EqualFold(name[:len(prefix)], prefix) || value == "" {
			continue
		}
		s.settings = append(s.settings, rawSetting{
			iniEntry:  iniEntry{key: environmentKey(name[len(prefix):]), texts: []string{value}},
			lowerCase: strings.HasPrefix(name, prefix),
		})
	}
	return s
}

// FlagSource makes a source of command line flags, such as {"registry": "https://npm.example.com"}. A
// blank line separates the values of a list.
func FlagSource(flags map[string]string) Source {
	s := Source{Level: LevelFlag, Path: "command line"}
	for _, key := range sortedKeys(flags) {
		s.settings = append(s.settings, rawSetting{iniEntry: iniEntry{key: key, texts: []string{flags[key]}}})
	}
	return s
}

// A Warning says which setting was not taken as it stands, and why. It never holds a value: values may be secrets.
type Warning struct {
	Level Level
	Path  string // the source's
	Key   string // as written; hostile text where the level is LevelProject
	Why   string // such as "a project's own file may not set it"
}

// String returns the warning as one line.
func (w Warning) String() string { return fmt.Sprintf("%s: %q: %s", w.Path, w.Key, w.Why) }

// rawSetting is a setting as it was read.
type rawSetting struct {
	iniEntry
	level     Level
	path      string
	lowerCase bool // the environment variable was npm_config_… and not NPM_CONFIG_…
}

// setting is one level's word on one key.
type setting struct {
	values []string // expanded and checked; one element unless the key is a list
	unset  bool     // the level sets the key to nothing, whatever lower levels say
	level  Level
	// towardsNamed confines the value to requests that go to a registry which others than the project name.
	towardsNamed bool
}

// A Config is npm's configuration, merged from all levels. It remembers which level each value came from.
// It holds secrets, and prints none of them.
type Config struct {
	settings map[string][]setting   // strongest last
	named    map[string]bool        // normalised registries that others than the project name
	plain    map[plainRegistry]bool // registries without TLS, by who names them
	env      map[string]string      // the variables beside npm_config_* that count, by lower-case name
}

// A plainRegistry is a registry without TLS that a level names as registry or @scope:registry.
type plainRegistry struct {
	registry string // normalised
	level    Level
}

// Format keeps every verb of package fmt from printing secrets.
func (c Config) Format(f fmt.State, _ rune) { fmt.Fprint(f, "npm configuration") }

// projectMayNotSet lists what a project's own file may not say, with the reason told to the user. A
// project must not choose whom to trust, nor where the files of its user lie.
var projectMayNotSet = map[string]string{
	"strict-ssl":   "it would weaken TLS for everyone who checks the project out",
	"ca":           "it would change which servers are trusted",
	"cafile":       "it would change which servers are trusted",
	"cert":         "it would choose the identity shown to servers",
	"key":          "it would choose the identity shown to servers",
	"proxy":        "it would redirect every request",
	"https-proxy":  "it would redirect every request",
	"http-proxy":   "it would redirect every request",
	"noproxy":      "it would lead requests past the proxy",
	"no-proxy":     "it would lead requests past the proxy",
	"userconfig":   "it would put a file of its own in place of the user's",
	"globalconfig": "it would put a file of its own in place of the global one",
	"prefix":       "it would put a file of its own in place of the global one",
	"global":       "it would hide the project from the check",
	"location":     "it would hide the project from the check",
}

// valueKind is how a key's value is checked.
type valueKind int

const (
	anyText valueKind = iota
	boolean
	number
	registryURL
	proxyURL
	list
	dependencyTypes
)

// keyType describes a key that Assay reads.
type keyType struct {
	kind     valueKind
	nullable bool // null (and for proxies false) means "none", whatever lower levels say
	fallback string
	// A number's range. A project's own file may go no further than projectMax: it could otherwise make a check wait for ever.
	min, max, projectMax float64
}

// keyTypes lists the keys that Assay reads, with npm 11's types and defaults.
// Source: @npmcli/config, definitions.
var keyTypes = map[string]keyType{
	"registry":               {kind: registryURL, fallback: PublicRegistry},
	"strict-ssl":             {kind: boolean, fallback: "true"},
	"ca":                     {kind: list, nullable: true},
	"cafile":                 {nullable: true},
	"proxy":                  {kind: proxyURL, nullable: true},
	"https-proxy":            {kind: proxyURL, nullable: true},
	"noproxy":                {kind: list, nullable: true},
	"fetch-timeout":          {kind: number, fallback: "300000", max: maxMilliseconds, projectMax: 600_000},
	"fetch-retries":          {kind: number, fallback: "2", max: 1000, projectMax: 10},
	"fetch-retry-factor":     {kind: number, fallback: "10", max: 1000, projectMax: 10},
	"fetch-retry-mintimeout": {kind: number, fallback: "10000", max: maxMilliseconds, projectMax: 60_000},
	"fetch-retry-maxtimeout": {kind: number, fallback: "60000", max: maxMilliseconds, projectMax: 60_000},
	"maxsockets":             {kind: number, fallback: "15", min: 1, max: 10_000, projectMax: 64},
	"replace-registry-host":  {fallback: "npmjs"},
	"scope":                  {},
	"omit":                   {kind: dependencyTypes},
	"include":                {kind: dependencyTypes},
	"only":                   {nullable: true},
	"also":                   {nullable: true},
	"production":             {kind: boolean, nullable: true},
	"optional":               {kind: boolean, nullable: true},
	"dev":                    {kind: boolean, fallback: "false"},
}

// maxMilliseconds is a day, beyond which a timeout is none.
const maxMilliseconds = 24 * 60 * 60 * 1000

func typeOf(key string) keyType {
	if strings.HasPrefix(key, "@") && strings.HasSuffix(key, ":registry") {
		return keyType{kind: registryURL, nullable: true}
	}
	return keyTypes[key]
}

// ParseConfig merges configuration sources, given in any order; of two on one level the later is the
// stronger. env looks up environment variables for ${NAME}, and for the proxy variables; nil stands for an
// empty environment. Settings that are not taken as they stand come back as warnings. An error means
// that a source is too large to read.
//
// A project's own .npmrc is written by whoever proposes a change to the project, so it may say less
// than the others:
//
//   - what decides about trust in servers (strict-ssl, ca, cafile, proxies) and where the other files
//     lie is ignored
//   - ${NAME} is expanded only where the value goes to a registry that another level names (see
//     [Config.Named]): in credentials, which are then sent nowhere else, and in a registry URL if it
//     becomes such a registry's. Elsewhere it stays as written, and credentials are dropped
//   - certfile and keyfile are confined to such registries too
//
// Under npm run and npx the environment repeats what the project's file says. What it says there about a
// key that the project's file sets is passed over.
func ParseConfig(sources []Source, env func(string) (string, bool)) (*Config, []Warning, error) {
	if env == nil {
		env = func(string) (string, bool) { return "", false }
	}
	p := configParser{
		config: &Config{
			settings: make(map[string][]setting),
			named:    map[string]bool{PublicRegistry: true},
			plain:    make(map[plainRegistry]bool),
			env:      make(map[string]string),
		},
		env: env,
	}
	for _, name := range []string{"https_proxy", "http_proxy", "proxy", "no_proxy", "node_env", "node_extra_ca_certs"} {
		for _, spelling := range []string{strings.ToUpper(name), name} {
			if value, ok := env(spelling); ok && value != "" {
				p.config.env[name] = value
			}
		}
	}
	for key, t := range keyTypes {
		if t.fallback != "" {
			p.config.settings[key] = []setting{{values: []string{t.fallback}, level: LevelDefault}}
		}
	}
	raw, err := rawSettings(sources, env)
	if err != nil {
		return nil, nil, err
	}
	// The project's settings come second, when it is known which registries the others name.
	for _, s := range raw {
		if s.level != LevelProject {
			p.add(s)
		}
	}
	for _, s := range raw {
		if s.level == LevelProject {
			p.addProject(s)
		}
	}
	for key := range p.config.settings {
		slices.SortStableFunc(p.config.settings[key], func(a, b setting) int { return int(a.level - b.level) })
	}
	return p.config, p.warnings, nil
}

// rawSettings reads all sources, weakest first.
func rawSettings(sources []Source, env func(string) (string, bool)) ([]rawSetting, error) {
	sources = slices.Clone(sources)
	slices.SortStableFunc(sources, func(a, b Source) int { return int(a.Level - b.Level) })
	var all []rawSetting
	byProject := make(map[string]bool)
	for _, source := range sources {
		if len(source.Data) > maxConfigLength {
			return nil, fmt.Errorf("reading %s: file is larger than %d bytes", source.Path, maxConfigLength)
		}
		settings := slices.Clone(source.settings)
		for _, entry := range parseINI(source.Data) {
			settings = append(settings, rawSetting{iniEntry: entry})
		}
		for _, s := range settings {
			s.level, s.path = source.Level, source.Path
			if s.level == LevelProject {
				key, _, _ := expandEnv(s.key, env)
				byProject[environmentKey(key)] = true
			}
			// npm run hands every setting on to its scripts as npm_config_*, in lower case: also those of
			// the project's file, and of files it chose, which would gain the environment's authority by it.
			if s.level == LevelEnv && source.managed && s.lowerCase &&
				(byProject[s.key] || byProject["userconfig"] || byProject["globalconfig"] || byProject["prefix"]) {
				continue
			}
			all = append(all, s)
		}
	}
	return all, nil
}

// EnvSetting returns what the environment, given as NAME=VALUE, says about one key, such as "userconfig", "" for
// nothing. It serves to find the other files before [ParseConfig] is called, and judges as that does:
// what npm run only repeats from the project's own file, whose bytes project holds, does not count.
func EnvSetting(key string, environ []string, project []byte) string {
	env := func(name string) (string, bool) {
		for _, variable := range environ {
			if value, ok := strings.CutPrefix(variable, name+"="); ok {
				return value, true
			}
		}
		return "", false
	}
	settings, err := rawSettings([]Source{{Level: LevelProject, Data: project}, EnvSource(environ)}, env)
	if err != nil {
		return ""
	}
	for _, s := range slices.Backward(settings) {
		if s.level == LevelEnv && s.key == key {
			value, _, _ := expandEnv(strings.TrimFunc(s.texts[0], isSpaceJS), env)
			return value
		}
	}
	return ""
}

// environmentKey returns the key that results when npm writes a key into the environment and reads it back.
func environmentKey(key string) string {
	if key == "" || strings.HasPrefix(key, "//") {
		return key
	}
	return strings.ToLower(key[:1] + strings.ReplaceAll(key[1:], "_", "-"))
}

type configParser struct {
	config   *Config
	env      func(string) (string, bool)
	warnings []Warning
}

func (p *configParser) warn(s rawSetting, why string) {
	p.warnings = append(p.warnings, Warning{s.level, s.path, s.key, why})
}

// add takes a setting of any level but the project's.
func (p *configParser) add(s rawSetting) {
	key, _, _ := expandEnv(s.key, p.env)
	if strings.HasPrefix(key, "//") {
		p.addCredential(s, key, false)
		if registry, ok := credentialRegistry(key); ok {
			p.config.named[registry] = true
		}
		return
	}
	if p.refuseOldCredential(s) {
		return
	}
	values := make([]string, len(s.texts))
	for i, text := range s.texts {
		values[i], _, _ = expandEnv(strings.TrimFunc(text, isSpaceJS), p.env)
	}
	if p.store(s, key, values) && typeOf(key).kind == registryURL {
		settings := p.config.settings[key]
		for _, registry := range settings[len(settings)-1].values {
			p.config.named[registry] = true
		}
	}
}

// addProject takes a setting of the project's own file.
func (p *configParser) addProject(s rawSetting) {
	if why, denied := projectMayNotSet[s.key]; denied {
		p.warn(s, "ignored: a project's own file may not set it, because "+why)
		return
	}
	if _, names, _ := expandEnv(s.key, p.env); names != nil {
		p.warn(s, "ignored: the environment is not expanded in a project's own file")
		return
	}
	if strings.HasPrefix(s.key, "//") {
		p.addCredential(s, s.key, true)
		return
	}
	if p.refuseOldCredential(s) {
		return
	}
	values := make([]string, len(s.texts))
	for i, text := range s.texts {
		text = strings.TrimFunc(text, isSpaceJS)
		expanded, names, _ := expandEnv(text, p.env)
		values[i] = expanded
		if names == nil {
			continue
		}
		isRegistry := typeOf(s.key).kind == registryURL
		if isRegistry && p.config.Named(expanded) {
			continue
		}
		values[i] = text
		p.warn(s, "the environment is not expanded here: in a project's own file it is only towards a registry that user, global configuration, environment or command line name")
		if isRegistry {
			// Falling back to a lower level's registry would ask the public one about private names.
			p.put(s.key, setting{values: values[i : i+1], level: s.level})
			return
		}
	}
	p.store(s, s.key, values)
}

// refuseOldCredential says so if the key is a credential without a host, which npm refuses as well.
func (p *configParser) refuseOldCredential(s rawSetting) bool {
	switch s.key {
	case "_auth", "_authToken", "username", "_password", "_authtoken", "-authtoken":
		p.warn(s, "ignored: a credential needs the registry it is for, as in //registry.example.com/:_authToken")
		return true
	}
	return false
}

func (p *configParser) put(key string, s setting) {
	p.config.settings[key] = append(p.config.settings[key], s)
}

// store checks a value against its key's type and takes it. What does not fit is passed over, so that the
// next lower level counts, as in npm.
func (p *configParser) store(s rawSetting, key string, values []string) bool {
	t := typeOf(key)
	if t.kind == list || t.kind == dependencyTypes {
		if s.kind != iniList && len(values) == 1 {
			values = strings.Split(values[0], "\n\n")
		}
	} else if len(values) > 1 {
		values = values[len(values)-1:]
	}
	if s.kind == iniNull || len(values) == 0 || t.nullable && t.kind != boolean && (values[0] == "" || s.kind != iniList && isOff(values[0])) {
		switch {
		case t.nullable || t.kind == anyText || t.kind == list || t.kind == dependencyTypes:
			p.put(key, setting{unset: true, level: s.level})
			return true
		case t.kind == boolean:
			p.put(key, setting{values: []string{"false"}, level: s.level})
			return true
		}
		p.warn(s, "ignored: it needs a value")
		return false
	}
	value := values[0]
	switch t.kind {
	case boolean:
		values = []string{strconv.FormatBool(parseBool(value))}
	case number:
		n, err := parseNumber(value)
		switch {
		case err != nil || s.kind == iniBool:
			p.warn(s, "ignored: it is not a number")
			return false
		case s.level == LevelProject && n > t.projectMax:
			p.warn(s, fmt.Sprintf("ignored: a project's own file may set at most %v", t.projectMax))
			return false
		}
		values = []string{strconv.FormatFloat(min(max(n, t.min), t.max), 'f', -1, 64)}
	case registryURL:
		registry, dropped, err := normalizeRegistry(value)
		if err != nil {
			p.warn(s, "ignored: "+err.Error())
			return false
		}
		if dropped {
			p.warn(s, "a registry's URL has no user, password, query or fragment: they are dropped")
		}
		values = []string{registry}
	case proxyURL:
		if _, err := parseProxy(value); err != nil {
			p.warn(s, "ignored: "+err.Error())
			return false
		}
	case dependencyTypes:
		known := slices.DeleteFunc(slices.Clone(values), func(v string) bool {
			return v != "dev" && v != "optional" && v != "peer" && (v != "prod" || key != "include")
		})
		if len(known) < len(values) {
			p.warn(s, "has a type of dependency that npm does not know")
		}
		values = known
	}
	p.put(key, setting{values: values, level: s.level})
	if t.kind == registryURL && strings.HasPrefix(values[0], "http:") {
		p.config.plain[plainRegistry{values[0], s.level}] = true
	}
	return true
}

// isOff reports whether a setting that can be none is switched off.
func isOff(s string) bool { return s == "false" || s == "null" || s == "undefined" }

// parseBool reads a boolean as nopt does: every text but "false", "null" and zero is true.
func parseBool(s string) bool {
	if n, err := parseNumber(s); err == nil && s != "" {
		return n != 0
	}
	return s != "false" && s != "null"
}

// parseNumber reads a number as JavaScript does where that makes sense: "" is 0.
func parseNumber(s string) (float64, error) {
	if s == "" {
		return 0, nil
	}
	if strings.HasPrefix(s, "0x") || strings.HasPrefix(s, "0X") {
		n, err := strconv.ParseUint(s[2:], 16, 53)
		return float64(n), err
	}
	n, err := strconv.ParseFloat(s, 64)
	if err != nil || math.IsNaN(n) {
		return 0, fmt.Errorf("%s is not a number", quoteShort(s))
	}
	return n, nil
}

// strongest returns the setting that counts. ok is false where no level sets the key, or the strongest sets it to nothing.
func (c *Config) strongest(key string) (setting, bool) {
	settings := c.settings[key]
	if len(settings) == 0 {
		return setting{}, false
	}
	s := settings[len(settings)-1]
	return s, !s.unset && len(s.values) > 0
}

// Get returns a setting's value and its level; of a list the first. Values are checked and normalised: booleans
// are "true" or "false", a registry has no trailing slash. ok is false where nothing is set. Credentials
// are not to be had here (see [Config.Credentials]).
func (c *Config) Get(key string) (value string, level Level, ok bool) {
	if strings.HasPrefix(key, "//") {
		return "", LevelDefault, false
	}
	s, ok := c.strongest(key)
	if !ok {
		return "", s.level, false
	}
	return s.values[0], s.level, true
}

// All returns all values of a list such as "ca" or "noproxy"; nil where nothing is set.
func (c *Config) All(key string) []string {
	if strings.HasPrefix(key, "//") {
		return nil
	}
	s, _ := c.strongest(key)
	return slices.Clone(s.values)
}

// StrictSSL reports whether servers' certificates are to be checked; only the user can turn it off.
func (c *Config) StrictSSL() bool {
	value, _, _ := c.Get("strict-ssl")
	return value != "false"
}

// CA returns the PEM certificates that replace the system's, nil for none. A [Config.CAFile] replaces them in turn.
func (c *Config) CA() []string { return c.All("ca") }

// CAFile returns the PEM file whose certificates replace the system's, "" for none.
func (c *Config) CAFile() string {
	value, _, _ := c.Get("cafile")
	return value
}

// ExtraCAFile returns the PEM file whose certificates are added to the system's (NODE_EXTRA_CA_CERTS), "" for none.
func (c *Config) ExtraCAFile() string { return c.env["node_extra_ca_certs"] }

// FetchTimeout returns how long one request may take. npm's 0 means its 30 seconds.
func (c *Config) FetchTimeout() time.Duration {
	if d := c.milliseconds("fetch-timeout"); d > 0 {
		return d
	}
	return 30 * time.Second
}

// FetchRetries returns how often a request is tried again after the first time.
func (c *Config) FetchRetries() int { return int(c.number("fetch-retries")) }

// FetchRetryFactor returns by what the wait before a try grows with each.
func (c *Config) FetchRetryFactor() float64 { return c.number("fetch-retry-factor") }

// FetchRetryMinTimeout returns the shortest wait before another try.
func (c *Config) FetchRetryMinTimeout() time.Duration {
	return c.milliseconds("fetch-retry-mintimeout")
}

// FetchRetryMaxTimeout returns the longest wait before another try.
func (c *Config) FetchRetryMaxTimeout() time.Duration {
	return c.milliseconds("fetch-retry-maxtimeout")
}

// MaxSockets returns how many connections npm would open to one host.
func (c *Config) MaxSockets() int { return int(c.number("maxsockets")) }

func (c *Config) number(key string) float64 {
	value, _, _ := c.Get(key)
	n, _ := parseNumber(value) // checked when it was stored
	return n
}

func (c *Config) milliseconds(key string) time.Duration {
	return time.Duration(c.number(key) * float64(time.Millisecond))
}

// Omit returns the types of dependencies that are not installed, of "dev", "optional" and "peer", sorted;
// older settings (production, only, also, dev, optional) and NODE_ENV=production are heeded.
// Source: @npmcli/config, buildOmitList.
func (c *Config) Omit() []string {
	omit, include := c.All("omit"), c.All("include")
	if _, set := c.settings["omit"]; !set && c.env["node_env"] == "production" {
		omit = append(omit, "dev")
	}
	only, _, _ := c.Get("only")
	also, _, _ := c.Get("also")
	dev, _, _ := c.Get("dev")
	switch production, _, _ := c.Get("production"); {
	case only == "prod" || only == "production" || production == "true":
		omit = append(omit, "dev")
	case production == "false":
		include = append(include, "dev")
	}
	if strings.HasPrefix(also, "dev") || dev == "true" {
		include = append(include, "dev")
	}
	switch optional, _, _ := c.Get("optional"); optional {
	case "false":
		omit = append(omit, "optional")
	case "true":
		include = append(include, "optional")
	}
	omit = slices.DeleteFunc(omit, func(kind string) bool { return slices.Contains(include, kind) })
	slices.Sort(omit)
	return slices.Compact(omit)
}

// Registry returns the base URL of the registry that serves a package, without a trailing slash, and the
// level that chose it: the name's scope first, then the scope setting's, then registry. The URL is
// unusable, and has to fail, where a project's file wanted the environment in it and may not have it.
// Source: npm-registry-fetch, pickRegistry.
func (c *Config) Registry(name string) (registry string, level Level) {
	scopes := []string{Scope(name)}
	if scope, _, ok := c.Get("scope"); ok {
		scopes = append(scopes, "@"+strings.TrimPrefix(scope, "@"))
	}
	for _, scope := range scopes {
		if scope == "" {
			continue
		}
		if registry, level, ok := c.Get(scope + ":registry"); ok {
			return registry, level
		}
	}
	registry, level, _ = c.Get("registry")
	return registry, level
}

// Named reports whether a registry is one that the user chose: user or global configuration, environment
// or command line name it as registry or @scope:registry, or hold a credential for just this URL, as
// npm login writes it. npm's public registry always is. A project's own file names nothing in this sense.
func (c *Config) Named(registry string) bool {
	normal, _, err := normalizeRegistry(registry)
	return err == nil && c.named[normal]
}

// ReplaceRegistryHost rewrites the URL that a lockfile gives for a tarball as npm does before it asks for it:
// by default a URL on npm's public registry goes to the configured registry instead; the setting
// replace-registry-host may say never, always, a host, or a URL prefix. What cannot be parsed stays.
// Source: @npmcli/arborist, registryResolved.
func (c *Config) ReplaceRegistryHost(resolved, registry string) string {
	from, err := url.Parse(resolved)
	if err != nil || from.Host == "" {
		return resolved
	}
	to, err := url.Parse(registry)
	if err != nil || to.Host == "" {
		return resolved
	}
	host, _, _ := c.Get("replace-registry-host")
	prefix := ""
	switch host {
	case "", "npmjs":
		host = publicHost
	default:
		if u, err := url.Parse(host); err == nil && u.Host != "" {
			host, prefix = u.Hostname(), strings.TrimSuffix(u.EscapedPath(), "/")
		}
	}
	path, toPath := from.EscapedPath(), strings.TrimSuffix(to.EscapedPath(), "/")
	if host != "always" && !strings.EqualFold(host, from.Hostname()) || prefix != "" && !underPath(path, prefix) {
		return resolved
	}
	switch {
	case prefix != "":
		path = toPath + path[len(prefix):]
	case toPath != "" && !underPath(path, toPath):
		path = toPath + path
	}
	rest := ""
	if from.RawQuery != "" {
		rest = "?" + from.RawQuery
	}
	if from.Fragment != "" {
		rest += "#" + from.EscapedFragment()
	}
	user := ""
	if from.User != nil {
		user = from.User.String() + "@"
	}
	return to.Scheme + "://" + user + to.Host + path + rest
}

func sortedKeys[V any](m map[string]V) []string { return slices.Sorted(maps.Keys(m)) }

package npm

import (
	"encoding/base64"
	"fmt"
	"net/netip"
	"net/url"
	"strings"
)

// Credentials are what a request shows to a registry. They are secrets: every way to print them hides them.
type Credentials struct {
	Authorization     string // the header's whole value, such as "Bearer …"; "" where there is only a certificate
	CertFile, KeyFile string // PEM files of a client certificate and its key; both or neither
}

// String says which kinds of credentials there are, such as "bearer token", and never what they are.
func (c Credentials) String() string {
	var kinds []string
	switch {
	case strings.HasPrefix(c.Authorization, "Bearer "):
		kinds = append(kinds, "bearer token")
	case c.Authorization != "":
		kinds = append(kinds, "user and password")
	}
	if c.CertFile != "" {
		kinds = append(kinds, "client certificate")
	}
	if kinds == nil {
		return "no credentials"
	}
	return strings.Join(kinds, " and ")
}

// Format keeps every verb of package fmt from printing the secret.
func (c Credentials) Format(f fmt.State, _ rune) { fmt.Fprint(f, c.String()) }

// MarshalText keeps encoding/json and log/slog from printing the secret.
func (c Credentials) MarshalText() ([]byte, error) { return []byte(c.String()), nil }

// credentialParts are the suffixes of keys such as //registry.example.com/:_authToken that Assay reads.
var credentialParts = []string{":_authToken", ":_auth", ":username", ":_password", ":certfile", ":keyfile"}

// credentialRegistry returns the registry that a credential's key names: //host/path/:_authToken is what
// npm login writes for https://host/path/.
func credentialRegistry(key string) (string, bool) {
	for _, part := range credentialParts {
		if prefix, ok := strings.CutSuffix(key, part); ok {
			registry, dropped, err := normalizeRegistry("https:" + prefix)
			return registry, err == nil && !dropped
		}
	}
	return "", false
}

// addCredential takes a setting for one registry, whose key starts with "//".
func (p *configParser) addCredential(s rawSetting, key string, fromProject bool) {
	registry, ok := credentialRegistry(key)
	if !ok {
		return // such as //host/:email, of which nothing is sent
	}
	if s.kind == iniNull || s.kind == iniList || len(s.texts) != 1 || isOff(s.texts[0]) || s.texts[0] == "" {
		p.put(key, setting{unset: true, level: s.level})
		return
	}
	value, names, unset := expandEnv(strings.TrimFunc(s.texts[0], isSpaceJS), p.env)
	if len(unset) > 0 {
		p.warn(s, fmt.Sprintf("ignored: the environment has no %q", unset[0]))
		return
	}
	if value == "" {
		p.put(key, setting{unset: true, level: s.level})
		return
	}
	if strings.ContainsFunc(value, func(r rune) bool { return r < 0x20 || r == 0x7f }) {
		p.warn(s, "ignored: it has a control character")
		return
	}
	isFile := strings.HasSuffix(key, ":certfile") || strings.HasSuffix(key, ":keyfile")
	confined := fromProject && (names != nil || isFile)
	if confined && !p.config.namedNear(registry) {
		p.warn(s, "ignored: a project's own file may send the user's secrets only to a registry that user, global configuration, environment or command line name")
		return
	}
	p.put(key, setting{values: []string{value}, level: s.level, towardsNamed: confined})
}

// namedNear reports whether a named registry lies below the given one or above it: whether a
// credential for the given one can ever be sent to a named one.
func (c *Config) namedNear(registry string) bool {
	_, near, _ := strings.Cut(registry, "://")
	for named := range c.named {
		if _, n, _ := strings.Cut(named, "://"); underPath(n, near) || underPath(near, n) {
			return true
		}
	}
	return false
}

// Credentials returns what the configuration holds for a request to u. The key that matches the longest
// part of u's path wins; of one key _authToken counts before _auth, and that before username and
// _password; a client certificate goes with any of them. Host and port have to be the key's own. What a
// project's file took from the environment goes only to a named registry, scheme included. ok is false where
// nothing matches.
//
// A key says nothing of the scheme, and npm sends what it holds over http as well as over https. Here nothing
// goes over http, where everyone on the way reads it, unless the level that holds it names, as registry or
// @scope:registry, an http registry that u lies in: otherwise a project's file could have the user's token
// sent in the clear by saying http where the user says https, and so could the URL of a tarball. That holds
// for the project's own credentials too. Requests that stay on this machine (localhost, 127.0.0.0/8, ::1)
// are exempt.
// Source: npm-registry-fetch, auth (regFromURI).
func (c *Config) Credentials(u *url.URL) (Credentials, bool) { return c.credentials(u, u) }

// TarballCredentials returns what goes with a request for a package's tarball at u: the credentials for
// u, or else, if u is on the host of the package's registry, the registry's. Unlike in npm the latter are
// not sent over http if the registry has https: where the tarball lies is the registry's word, or a
// lockfile's. For the former holds what [Config.Credentials] says of http.
// Source: npm-registry-fetch, auth (getAuth).
func (c *Config) TarballCredentials(name string, u *url.URL) (Credentials, bool) {
	if found, ok := c.Credentials(u); ok {
		return found, true
	}
	base, _ := c.Registry(name)
	registry, err := url.Parse(base + "/")
	if err != nil || u == nil || registry.Scheme == "https" && u.Scheme != "https" {
		return Credentials{}, false
	}
	at, errU := urlHost(u)
	if want, err := urlHost(registry); errU != nil || err != nil || at != want {
		return Credentials{}, false
	}
	return c.credentials(registry, u)
}

// credentials looks up the credentials for one URL that are to be sent to another on the same host.
func (c *Config) credentials(lookup, target *url.URL) (Credentials, bool) {
	if lookup == nil || lookup.Scheme != "http" && lookup.Scheme != "https" {
		return Credentials{}, false
	}
	host, err := urlHost(lookup)
	if err != nil {
		return Credentials{}, false
	}
	towardsNamed, inTheClear := c.isNamedTarget(target), target == nil || target.Scheme != "https" && !isLoopback(target.Hostname())
	// The last segment goes, then the slash before it, and so on: //host/a/b, //host/a/, //host/a, //host/, //host.
	for key := "//" + host + cleanPath(lookup); len(key) > len("//"); {
		get := func(part string) string {
			return c.credential(key+part, func(s setting) bool {
				switch {
				case s.towardsNamed:
					return towardsNamed // by others than the project, and with this scheme
				case inTheClear:
					return c.isPlainTarget(target, s.level)
				}
				return true
			})
		}
		var found Credentials
		token, auth, username, password := get(":_authToken"), get(":_auth"), get(":username"), get(":_password")
		switch {
		case token != "":
			found.Authorization = "Bearer " + token
		case auth != "":
			found.Authorization = "Basic " + auth
		case username != "" && password != "":
			pair := username + ":" + string(decodeBase64Lenient(password))
			found.Authorization = "Basic " + base64.StdEncoding.EncodeToString([]byte(pair))
		}
		if cert, file := get(":certfile"), get(":keyfile"); cert != "" && file != "" {
			found.CertFile, found.KeyFile = cert, file
		}
		if found != (Credentials{}) {
			return found, true
		}
		if i := strings.LastIndexByte(key, '/'); i < len(key)-1 {
			key = key[:i+1]
		} else {
			key = key[:i]
		}
	}
	return Credentials{}, false
}

// credential returns the strongest value of a key that may be sent, "" for none.
func (c *Config) credential(key string, may func(setting) bool) string {
	settings := c.settings[key]
	for i := len(settings) - 1; i >= 0; i-- {
		s := settings[i]
		if s.unset {
			return ""
		}
		if may(s) {
			return s.values[0]
		}
	}
	return ""
}

// isNamedTarget reports whether a request to u goes to a named registry: same scheme, host and port, at
// or below its path.
func (c *Config) isNamedTarget(u *url.URL) bool {
	for named := range c.named {
		if liesIn(u, named) {
			return true
		}
	}
	return false
}

// isPlainTarget reports whether a request to u goes to an http registry that a level names.
func (c *Config) isPlainTarget(u *url.URL, level Level) bool {
	for p := range c.plain {
		if p.level == level && liesIn(u, p.registry) {
			return true
		}
	}
	return false
}

// liesIn reports whether u has the scheme, host and port of a normalised registry and lies at or below its path.
func liesIn(u *url.URL, registry string) bool {
	if u == nil {
		return false
	}
	host, err := urlHost(u)
	return err == nil && underPath(u.Scheme+"://"+host+cleanPath(u), registry)
}

// isLoopback reports whether requests to a host stay on this machine.
func isLoopback(host string) bool {
	addr, err := netip.ParseAddr(host)
	return strings.EqualFold(host, "localhost") || err == nil && addr.Unmap().IsLoopback()
}

// decodeBase64Lenient decodes as Node's Buffer.from does: either alphabet, padding or not, ending at
// the first "=", other characters passed over.
func decodeBase64Lenient(s string) []byte {
	s, _, _ = strings.Cut(s, "=")
	s = strings.Map(func(r rune) rune {
		switch {
		case r == '-':
			return '+'
		case r == '_':
			return '/'
		case r < 0x80 && (isAlphanumeric(byte(r)) || r == '+' || r == '/'):
			return r
		}
		return -1
	}, s)
	if len(s)%4 == 1 {
		s = s[:len(s)-1]
	}
	raw, _ := base64.RawStdEncoding.DecodeString(s)
	return raw
}

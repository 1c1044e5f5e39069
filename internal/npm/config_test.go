package npm_test

import (
	"encoding/json"
	"fmt"
	"log/slog"
	"net/url"
	"strings"
	"testing"
	"time"

	"assay/internal/npm"
	"github.com/google/go-cmp/cmp"
)

// source makes a file of one level.
func source(level npm.Level, lines ...string) npm.Source {
	return npm.Source{Level: level, Path: level.String() + " npmrc", Data: []byte(strings.Join(lines, "\n"))}
}

func environment(variables map[string]string) func(string) (string, bool) {
	return func(name string) (string, bool) { value, ok := variables[name]; return value, ok }
}

// parse merges sources and checks that the warnings are about wantWarnings, each "level key", in any order.
func parse(t *testing.T, env map[string]string, wantWarnings []string, sources ...npm.Source) *npm.Config {
	t.Helper()
	c, warnings, err := npm.ParseConfig(sources, environment(env))
	if err != nil {
		t.Fatal(err)
	}
	got := make(map[string]bool)
	for _, w := range warnings {
		got[w.Level.String()+" "+w.Key] = true
		if w.Path == "" || w.Why == "" || !strings.Contains(w.String(), w.Path) {
			t.Errorf("warning %q says too little", w)
		}
		if strings.Contains(w.String(), "s3cr3t") {
			t.Errorf("warning %q holds a secret", w)
		}
	}
	want := make(map[string]bool)
	for _, w := range wantWarnings {
		want[w] = true
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("warnings (-want +got):\n%s", diff)
	}
	return c
}

func mustURL(t *testing.T, s string) *url.URL {
	t.Helper()
	u, err := url.Parse(s)
	if err != nil {
		t.Fatal(err)
	}
	return u
}

// header returns what goes to a URL, "" for nothing.
func header(t *testing.T, c *npm.Config, to string) string {
	t.Helper()
	credentials, _ := c.Credentials(mustURL(t, to))
	return credentials.Authorization
}

func TestDefaults(t *testing.T) {
	for _, c := range []*npm.Config{parse(t, nil, nil), parse(t, nil, nil, source(npm.LevelUser), npm.EnvSource(nil), npm.FlagSource(nil))} {
		if registry, level := c.Registry("@acme/widget"); registry != "https://registry.npmjs.org" || level != npm.LevelDefault {
			t.Errorf("Registry = %s from %s", registry, level)
		}
		got := fmt.Sprint(c.StrictSSL(), c.FetchTimeout(), c.FetchRetries(), c.FetchRetryFactor(), c.FetchRetryMinTimeout(), c.FetchRetryMaxTimeout(), c.MaxSockets(), c.Omit(), c.CA(), c.CAFile(), c.ExtraCAFile())
		if want := "true 5m0s 2 10 10s 1m0s 15 [] []"; got != want {
			t.Errorf("defaults are %q, want %q", got, want)
		}
		if !c.Named("https://registry.npmjs.org/") || c.Named("http://registry.npmjs.org/") || c.Named("https://npm.example.com") || c.Named("") {
			t.Error("the public registry, and nothing else, is named by itself")
		}
	}
	if c, _, err := npm.ParseConfig(nil, nil); err != nil || c.FetchRetries() != 2 {
		t.Error("a nil environment does not do")
	}
}

func TestLevels(t *testing.T) {
	sources := []npm.Source{ // in no order
		source(npm.LevelProject, "registry=https://project.example", "fetch-retries=4", "@acme:registry=https://acme.example/npm/"),
		npm.FlagSource(map[string]string{"registry": "https://flag.example/"}),
		source(npm.LevelUser, "registry=https://user.example", "fetch-retries=3", "maxsockets=3", "@user:registry=https://u.example"),
		npm.EnvSource([]string{"npm_config_registry=https://env.example", "NPM_CONFIG_FETCH_RETRIES=5", "npm_config_maxsockets=", "PATH=/bin", "npm_config_"}),
		source(npm.LevelGlobal, "registry=https://global.example", "maxsockets=2", "@acme:registry=https://global.example"),
		source(npm.LevelBuiltin, "registry=https://builtin.example", "maxsockets=1", "cafile=/builtin.pem"),
	}
	for n, want := range []string{
		"https://flag.example from command line", "https://env.example from environment", "https://project.example from project",
		"https://user.example from user", "https://global.example from global", "https://builtin.example from builtin", "https://registry.npmjs.org from default",
	} {
		var some []npm.Source
		for _, s := range sources {
			if s.Level <= npm.LevelFlag-npm.Level(n) {
				some = append(some, s)
			}
		}
		c := parse(t, nil, nil, some...)
		registry, level := c.Registry("widget")
		if got := registry + " from " + level.String(); got != want {
			t.Errorf("without the %d strongest levels: %s, want %s", n, got, want)
		}
	}
	c := parse(t, nil, nil, sources...)
	if c.FetchRetries() != 5 || c.MaxSockets() != 3 || c.CAFile() != "/builtin.pem" {
		t.Errorf("fetch-retries %d, maxsockets %d, cafile %q", c.FetchRetries(), c.MaxSockets(), c.CAFile())
	}
	if registry, level := c.Registry("@acme/widget"); registry != "https://acme.example/npm" || level != npm.LevelProject {
		t.Errorf("@acme's registry is %s from %s", registry, level)
	}
	if value, level, ok := c.Get("fetch-retries"); value != "5" || level != npm.LevelEnv || !ok {
		t.Errorf("Get = %q, %s, %t", value, level, ok)
	}
	for registry, want := range map[string]bool{
		"https://flag.example": true, "https://env.example/": true, "https://user.example": true, "https://global.example": true,
		"https://builtin.example": true, "https://u.example": true, "HTTPS://U.example:443//": true,
		"https://project.example": false, "https://acme.example/npm": false, "https://u.example/other": false, "http://u.example": false,
		"https://u.example:8443": false, "https://u.example.evil": false, "https://u.example@evil.example": false, "": false, "u.example": false, "%zz": false,
	} {
		if got := c.Named(registry); got != want {
			t.Errorf("Named(%q) = %t", registry, got)
		}
	}
	if npm.Level(99).String() == "" || npm.Level(-1).String() == "" {
		t.Error("an unknown level has no name")
	}
}

func TestTypes(t *testing.T) {
	tests := []struct {
		lines, key, want string // all values, joined with a comma
		warns            bool
	}{
		{"strict-ssl=false", "strict-ssl", "false", false},
		{"strict-ssl", "strict-ssl", "true", false},
		{"strict-ssl=", "strict-ssl", "true", false},
		{"strict-ssl=0", "strict-ssl", "false", false},
		{"strict-ssl=no", "strict-ssl", "true", false}, // as npm has it
		{"strict-ssl=null", "strict-ssl", "false", false},
		{"fetch-retries=7", "fetch-retries", "7", false},
		{"fetch-retries=", "fetch-retries", "0", false},
		{"fetch-retries=-1", "fetch-retries", "0", false},
		{"fetch-retries=0x10", "fetch-retries", "16", false},
		{"fetch-retries=010", "fetch-retries", "10", false},
		{"fetch-retries=1e9", "fetch-retries", "1000", false},
		{"fetch-retries=many", "fetch-retries", "2", true},
		{"fetch-retries=true", "fetch-retries", "2", true},
		{"fetch-retries=NaN", "fetch-retries", "2", true},
		{"fetch-retries=null", "fetch-retries", "2", true},
		{"fetch-timeout=Infinity", "fetch-timeout", "86400000", false},
		{"fetch-retry-factor=1.5", "fetch-retry-factor", "1.5", false},
		{"maxsockets=0", "maxsockets", "1", false},
		{"registry=https://Npm.Example.com:443/a/", "registry", "https://npm.example.com/a", false},
		{"registry=http://localhost:4873", "registry", "http://localhost:4873", false},
		{"registry=https://user:pass@npm.example.com/?q#f", "registry", "https://npm.example.com", true},
		{"registry=npm.example.com", "registry", "https://registry.npmjs.org", true},
		{"registry=file:///etc", "registry", "https://registry.npmjs.org", true},
		{"registry=", "registry", "https://registry.npmjs.org", true},
		{"registry=https://npm.example.com/a/../b", "registry", "https://registry.npmjs.org", true},
		{"registry=https://npm.example.com/%2e%2e/b", "registry", "https://registry.npmjs.org", true},
		{"registry=https://n\u0440m.example.com/", "registry", "https://registry.npmjs.org", true},
		{"registry[]=https://a.example\nregistry[]=https://b.example", "registry", "https://b.example", false},
		{"proxy=http://proxy:8080", "proxy", "http://proxy:8080", false},
		{"proxy=false", "proxy", "", false},
		{"proxy=proxy:8080", "proxy", "", true},
		{"https-proxy=ftp://x", "https-proxy", "", true},
		{"https-proxy=socks5://x", "https-proxy", "socks5://x", false},
		{"https-proxy=http://", "https-proxy", "", true},
		{"ca[]=one\nca[]=two", "ca", "one,two", false},
		{`ca="one\n\ntwo"`, "ca", "one,two", false},
		{"ca=null", "ca", "", false},
		{"noproxy=a,b", "noproxy", "a,b", false},
		{"omit[]=dev\nomit[]=peer", "omit", "dev,peer", false},
		{"omit=everything", "omit", "", true},
		{"include=prod", "include", "prod", false},
		{"omit=prod", "omit", "", true},
		{"@acme:registry=", "@acme:registry", "", false},
		{"@acme:registry=nonsense", "@acme:registry", "", true},
		{"something=else", "something", "else", false},
		{"_auth=c2VjcmV0", "_auth", "", true},
		{"_authToken=secret", "_authToken", "", true},
		{"//npm.example.com/:_authToken=secret", "//npm.example.com/:_authToken", "", false}, // not to be had here
	}
	for _, tt := range tests {
		var warnings []string
		if tt.warns {
			key, _, _ := strings.Cut(tt.lines, "=")
			warnings = []string{"user " + key}
		}
		c := parse(t, nil, warnings, source(npm.LevelUser, tt.lines))
		if got := strings.Join(c.All(tt.key), ","); got != tt.want {
			t.Errorf("%q: %s is %q, want %q", tt.lines, tt.key, got, tt.want)
		}
		value, _, ok := c.Get(tt.key)
		if first, _, _ := strings.Cut(tt.want, ","); tt.key != "noproxy" && (value != first && tt.key != "ca" || ok != (tt.want != "")) {
			t.Errorf("%q: Get(%s) = %q, %t", tt.lines, tt.key, value, ok)
		}
	}
	c := parse(t, nil, nil, source(npm.LevelUser, "strict-ssl=false", "fetch-timeout=0", "fetch-retry-mintimeout=5", "ca=x", "proxy=http://p"))
	if c.StrictSSL() || c.FetchTimeout() != 30*time.Second || c.FetchRetryMinTimeout() != 5*time.Millisecond || len(c.CA()) != 1 {
		t.Error("the user's settings do not count")
	}
	if _, _, err := npm.ParseConfig([]npm.Source{{Path: "big", Data: make([]byte, 2<<20)}}, nil); err == nil {
		t.Error("a file of 2 MiB is read")
	}
}

// TestProjectMayNot: what a project's own file may not say.
func TestProjectMayNot(t *testing.T) {
	for line, key := range map[string]string{
		"strict-ssl=false":            "strict-ssl",
		"ca[]=evil":                   "ca",
		"cafile=evil.pem":             "cafile",
		"proxy=http://evil":           "proxy",
		"https-proxy=http://evil":     "https-proxy",
		"noproxy=*":                   "noproxy",
		"cert=x":                      "cert",
		"key=x":                       "key",
		"userconfig=evil":             "userconfig",
		"globalconfig=evil":           "globalconfig",
		"prefix=evil":                 "prefix",
		"location=global":             "location",
		"global=true":                 "global",
		"fetch-retries=11":            "fetch-retries",
		"fetch-timeout=99999999":      "fetch-timeout",
		"fetch-retry-maxtimeout=6e99": "fetch-retry-maxtimeout",
		"maxsockets=1e5":              "maxsockets",
	} {
		c := parse(t, nil, []string{"project " + key}, source(npm.LevelProject, line))
		if value, level, _ := c.Get(key); level == npm.LevelProject {
			t.Errorf("%q makes %s %q", line, key, value)
		}
		// The same from the user counts.
		c = parse(t, nil, nil, source(npm.LevelUser, line))
		if _, level, _ := c.Get(key); level != npm.LevelUser {
			t.Errorf("%q does not count from the user", line)
		}
	}
	// What it may say.
	c := parse(t, nil, nil, source(npm.LevelProject, "registry=https://p.example", "fetch-retries=0", "omit=dev", "replace-registry-host=never", "//p.example/:_authToken=public-read"))
	if registry, level := c.Registry("x"); registry != "https://p.example" || level != npm.LevelProject || c.Named(registry) {
		t.Errorf("Registry = %s from %s, named: %t", registry, level, c.Named(registry))
	}
	if c.FetchRetries() != 0 || len(c.Omit()) != 1 || header(t, c, "https://p.example/x") != "Bearer public-read" {
		t.Error("a project's harmless settings do not count")
	}
}

// TestProjectAndEnvironment: a pull request that changes .npmrc gets hold of no secret.
func TestProjectAndEnvironment(t *testing.T) {
	env := map[string]string{"NPM_TOKEN": "s3cr3t-token", "CORP": "https://npm.corp.example", "HOST": "evil.example", "HOME": "/home/user"}
	corp := source(npm.LevelUser, "registry=https://npm.corp.example/npm/", "//npm.corp.example/npm/:_authToken=${NPM_TOKEN}")
	tests := []struct {
		name     string
		user     npm.Source
		project  []string
		warnings []string
		sent     map[string]string // URL to header
	}{
		{
			name:     "a token for a registry that only the project names",
			user:     corp,
			project:  []string{"registry=https://evil.example", "//evil.example/:_authToken=${NPM_TOKEN}"},
			warnings: []string{"project //evil.example/:_authToken"},
			sent:     map[string]string{"https://evil.example/x": "", "https://npm.corp.example/npm/x": "Bearer s3cr3t-token"},
		}, {
			name:     "also as password, and optional",
			user:     corp,
			project:  []string{"//evil.example/:username=u", "//evil.example/:_password=${NPM_TOKEN}", "//evil.example/:_auth=${NPM_TOKEN?}"},
			warnings: []string{"project //evil.example/:_password", "project //evil.example/:_auth"},
			sent:     map[string]string{"https://evil.example/x": ""},
		}, {
			name:     "in the registry's path",
			user:     corp,
			project:  []string{"registry=https://evil.example/${NPM_TOKEN}/"},
			warnings: []string{"project registry"},
		}, {
			name:     "in the registry's host",
			user:     corp,
			project:  []string{"@acme:registry=https://${NPM_TOKEN}.evil.example"},
			warnings: []string{"project @acme:registry"},
		}, {
			name:     "in a key",
			user:     corp,
			project:  []string{"//${HOST}/:_authToken=x", "@${NPM_TOKEN}:registry=https://evil.example"},
			warnings: []string{"project //${HOST}/:_authToken", "project @${NPM_TOKEN}:registry"},
			sent:     map[string]string{"https://evil.example/x": ""},
		}, {
			name:    "a token for the named registry",
			user:    source(npm.LevelUser, "registry=https://npm.corp.example/npm/"),
			project: []string{"//npm.corp.example/npm/:_authToken=${NPM_TOKEN}"},
			sent:    map[string]string{"https://npm.corp.example/npm/x": "Bearer s3cr3t-token", "https://npm.corp.example/other/x": ""},
		}, {
			name:    "a token for more than the named registry goes to that alone",
			user:    source(npm.LevelUser, "registry=https://npm.corp.example/npm/"),
			project: []string{"registry=https://npm.corp.example/attacker", "//npm.corp.example/:_authToken=${NPM_TOKEN}"},
			sent: map[string]string{
				"https://npm.corp.example/npm/x": "Bearer s3cr3t-token", "https://npm.corp.example/attacker/x": "", "https://npm.corp.example/npm/../attacker/x": "",
				"https://npm.corp.example/npm/%2e%2E/attacker/x": "", "http://npm.corp.example/npm/x": "", "https://npm.corp.example/npmx": "", "https://npm.corp.example:8443/npm/x": "",
			},
		}, {
			name:    "a token for the public registry, as many projects have it",
			project: []string{"//registry.npmjs.org/:_authToken=${NPM_TOKEN}"},
			sent:    map[string]string{"https://registry.npmjs.org/x": "Bearer s3cr3t-token", "http://registry.npmjs.org/x": "", "https://registry.npmjs.org.evil.example/x": ""},
		}, {
			name:     "a variable that is not set",
			project:  []string{"//registry.npmjs.org/:_authToken=${NO_TOKEN}"},
			warnings: []string{"project //registry.npmjs.org/:_authToken"},
			sent:     map[string]string{"https://registry.npmjs.org/x": ""},
		}, {
			name:     "the project does not take the user's token's place with nothing",
			user:     corp,
			project:  []string{"//npm.corp.example/npm/:_authToken=${NO_TOKEN}"},
			warnings: []string{"project //npm.corp.example/npm/:_authToken"},
			sent:     map[string]string{"https://npm.corp.example/npm/x": "Bearer s3cr3t-token"},
		}, {
			name:    "the user's token stays with its host",
			user:    corp,
			project: []string{"registry=https://evil.example/npm.corp.example/npm/"},
			sent: map[string]string{
				"https://evil.example/npm.corp.example/npm/x": "", "https://npm.corp.example.evil.example/npm/x": "", "https://npm.corp.example@evil.example/npm/x": "",
				"https://npm.corp.example:444/npm/x": "", "https://corp.example/npm/x": "", "https://evil.example//npm.corp.example/npm/": "",
			},
		}, {
			name:     "the user's certificate goes to named registries only",
			user:     source(npm.LevelUser, "registry=https://npm.corp.example"),
			project:  []string{"//evil.example/:certfile=/home/user/cert.pem", "//evil.example/:keyfile=/home/user/key.pem"},
			warnings: []string{"project //evil.example/:certfile", "project //evil.example/:keyfile"},
			sent:     map[string]string{"https://evil.example/x": ""},
		}, {
			name:     "harmless settings are not expanded either",
			project:  []string{"something=${HOME}/x", "omit=${NPM_TOKEN}", `escaped=\${HOME}`},
			warnings: []string{"project something", "project omit"},
		}, {
			name:    "a registry from the environment that is a named one",
			user:    source(npm.LevelUser, "registry=https://npm.corp.example"),
			project: []string{"@acme:registry=${CORP}"},
		},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			c := parse(t, env, tt.warnings, tt.user, source(npm.LevelProject, tt.project...))
			for to, want := range tt.sent {
				if got := header(t, c, to); got != want {
					t.Errorf("to %s goes %q, want %q", to, got, want)
				}
			}
			for _, name := range []string{"x", "@acme/x"} {
				if registry, _ := c.Registry(name); strings.Contains(registry, "s3cr3t") {
					t.Errorf("the registry %s holds the secret", registry)
				}
			}
			for _, key := range []string{"something", "omit", "escaped", "registry", "@acme:registry"} {
				if value, _, _ := c.Get(key); strings.Contains(value, "s3cr3t") || strings.Contains(value, "/home/user") {
					t.Errorf("%s is %q", key, value)
				}
			}
		})
	}
	c := parse(t, env, nil, source(npm.LevelUser, "registry=https://npm.corp.example"), source(npm.LevelProject, "@acme:registry=${CORP}", `escaped=\${HOME}`))
	if registry, level := c.Registry("@acme/x"); registry != "https://npm.corp.example" || level != npm.LevelProject {
		t.Errorf("Registry = %s from %s", registry, level)
	}
	if value, _, _ := c.Get("escaped"); value != "${HOME}" {
		t.Errorf("escaped is %q", value)
	}
	// A registry that may not be expanded fails, and is not replaced by another.
	c = parse(t, env, []string{"project @acme:registry"}, source(npm.LevelProject, "@acme:registry=https://npm.example/${NPM_TOKEN}/"))
	if registry, _ := c.Registry("@acme/x"); registry != "https://npm.example/${NPM_TOKEN}/" {
		t.Errorf("Registry = %s", registry)
	}
}

// TestEnvironmentOfScripts: npm run hands the project's settings on to its scripts as npm_config_*. They
// do not become the user's by that.
func TestEnvironmentOfScripts(t *testing.T) {
	project := source(npm.LevelProject, "registry=https://evil.example", "CAfile=./evil.pem", "regi${NOTHING?}stry=https://evil.example")
	warnings := []string{"project regi${NOTHING?}stry"}
	under := []string{"npm_execpath=/usr/lib/npm-cli.js", "npm_config_registry=https://evil.example/", "npm_config_cafile=/work/evil.pem"}
	c := parse(t, nil, warnings, project, npm.EnvSource(under))
	if registry, level := c.Registry("x"); c.Named(registry) || level != npm.LevelProject || c.CAFile() != "" {
		t.Errorf("%s from %s is named: %t; cafile %q", registry, level, c.Named(registry), c.CAFile())
	}
	// Outside of npm, and in capitals, the environment is the user's own.
	for _, environ := range [][]string{under[1:], {"npm_execpath=x", "NPM_CONFIG_REGISTRY=https://evil.example/"}} {
		c = parse(t, nil, warnings, project, npm.EnvSource(environ))
		if registry, level := c.Registry("x"); !c.Named(registry) || level != npm.LevelEnv {
			t.Errorf("%s from %s is named: %t", registry, level, c.Named(registry))
		}
	}
	// What the project does not set is the user's, unless the project puts other files in the user's place.
	c = parse(t, nil, nil, source(npm.LevelProject, "omit=dev"), npm.EnvSource(under))
	if !c.Named("https://evil.example") || c.CAFile() == "" {
		t.Error("the user's own settings get lost under npm run")
	}
	c = parse(t, nil, []string{"project userconfig"}, source(npm.LevelProject, "userconfig=./evil"), npm.EnvSource(under))
	if c.Named("https://evil.example") || c.CAFile() != "" {
		t.Error("a file that the project put in the user's place counts as the user's")
	}
}

func TestEnvSetting(t *testing.T) {
	under := []string{"HOME=/home/u", "npm_lifecycle_event=test", "npm_config_userconfig=${HOME}/evil"}
	tests := []struct {
		environ       []string
		project, want string
	}{
		{nil, "", ""},
		{under, "", "/home/u/evil"},
		{under, "userconfig=evil", ""},
		{under, "UserConfig=evil", ""},
		{under, "user${NO?}config=evil", ""},
		{under, "globalconfig=evil", ""},
		{under[2:], "userconfig=evil", "${HOME}/evil"}, // not under npm, so the user's own
		{append(under, "NPM_CONFIG_USERCONFIG=/mine"), "userconfig=evil", "/mine"},
		{under, strings.Repeat(" ", 2<<20), ""},
	}
	for _, tt := range tests {
		if got := npm.EnvSetting("userconfig", tt.environ, []byte(tt.project)); got != tt.want {
			t.Errorf("with %.40q userconfig is %q, want %q", tt.project, got, tt.want)
		}
	}
}

func TestCredentials(t *testing.T) {
	c := parse(t, nil, nil, source(npm.LevelUser,
		"//token.example/:_authToken=t1",
		"//token.example/deep/:_authToken=t2",
		"//token.example/deep/er:_authToken=t3",
		"//basic.example/:_auth=dTpw",
		"//pair.example/:username=me",
		"//pair.example/:_password=cMOkc3M=",
		"//half.example/:username=me",
		"//all.example/:_auth=dTpw",
		"//all.example/:_authToken=t4",
		"//all.example/:username=me",
		"//all.example/:_password=cA==",
		"//all.example/:certfile=c.pem",
		"//all.example/:keyfile=k.pem",
		"//cert.example/:certfile=c.pem",
		"//cert.example/:keyfile=k.pem",
		"//halfcert.example/:certfile=c.pem",
		"//port.example:8443/:_authToken=t5",
		"//standard.example:443/:_authToken=t6",
		"//Upper.example/:_authToken=t7",
		"//noslash.example:_authToken=t8",
		"//true.example/:_authToken=true",
		"//off.example/:_authToken=false",
		"//[::1]:4873/:_authToken=t9",
		"//sloppy.example/:username=me",
		"//sloppy.example/:_password=_-8 !",
		"//mail.example/:email=me@example.com",
	))
	tests := []struct{ to, want string }{
		{"https://token.example/x", "Bearer t1"},
		{"https://token.example", "Bearer t1"},
		{"http://token.example/x", ""}, // npm sends it
		{"https://TOKEN.example:443/x", "Bearer t1"},
		{"https://token.example/deep/x", "Bearer t2"},
		{"https://token.example/deep", "Bearer t1"},
		{"https://token.example/deep/er/x", "Bearer t3"},
		{"https://token.example/deep/err", "Bearer t2"},
		{"https://token.example/other/../deep/x", "Bearer t2"},
		{"https://token.example/deep/..", "Bearer t1"},
		{"https://token.example/@scope%2fx", "Bearer t1"},
		{"https://token.example:8443/x", ""},
		{"https://sub.token.example/x", ""},
		{"https://basic.example/x", "Basic dTpw"},
		{"https://pair.example/x", "Basic bWU6cMOkc3M="},
		{"https://half.example/x", ""},
		{"https://all.example/x", "Bearer t4 with c.pem and k.pem"},
		{"https://cert.example/x", " with c.pem and k.pem"},
		{"https://halfcert.example/x", ""},
		{"https://port.example:8443/x", "Bearer t5"},
		{"https://port.example/x", ""},
		{"https://standard.example/x", ""},
		{"https://upper.example/x", ""},
		{"https://noslash.example/x", "Bearer t8"},
		{"https://true.example/x", "Bearer true"},
		{"https://off.example/x", ""},
		{"http://[::1]:4873/x", "Bearer t9"},
		{"https://sloppy.example/x", "Basic bWU6/+8="},
		{"https://mail.example/x", ""},
		{"ftp://token.example/x", ""},
		{"//token.example/x", ""},
		{"", ""},
	}
	for _, tt := range tests {
		credentials, ok := c.Credentials(mustURL(t, tt.to))
		got := credentials.Authorization
		if credentials.CertFile != "" {
			got += " with " + credentials.CertFile + " and " + credentials.KeyFile
		}
		if got != tt.want || ok != (tt.want != "") {
			t.Errorf("to %s goes %q, %t, want %q", tt.to, got, ok, tt.want)
		}
	}
	if _, ok := c.Credentials(nil); ok {
		t.Error("there are credentials for nil")
	}
	// A credential names the registry that npm login writes it for.
	for registry, want := range map[string]bool{"https://token.example/": true, "https://token.example/deep": true, "http://token.example": false, "https://token.example/x": false, "https://mail.example": false} {
		if got := c.Named(registry); got != want {
			t.Errorf("Named(%s) = %t", registry, got)
		}
	}
	// Of two levels the stronger counts, and may take a credential away.
	c = parse(t, nil, nil, source(npm.LevelUser, "//a.example/:_authToken=user", "//b.example/:_authToken=user"),
		npm.EnvSource([]string{"npm_config_//a.example/:_authToken=env"}), npm.FlagSource(map[string]string{"//b.example/:_authToken": ""}))
	if a, b := header(t, c, "https://a.example/"), header(t, c, "https://b.example/"); a != "Bearer env" || b != "" {
		t.Errorf("got %q and %q", a, b)
	}
	// A header cannot be split.
	c = parse(t, nil, []string{"user //a.example/:_authToken"}, source(npm.LevelUser, `//a.example/:_authToken="x\r\nhost: evil"`))
	if got := header(t, c, "https://a.example/"); got != "" {
		t.Errorf("got %q", got)
	}
}

// TestCredentialsInTheClear: a project cannot have the user's token sent where everyone on the way reads it.
func TestCredentialsInTheClear(t *testing.T) {
	const token = "//corp.example/:_authToken=SECRET"
	for _, tt := range []struct {
		name    string
		sources []npm.Source
		to      string
		sent    bool
	}{
		{"npm's registry, by the project", []npm.Source{source(npm.LevelUser, "//registry.npmjs.org/:_authToken=SECRET"), source(npm.LevelProject, "registry=http://registry.npmjs.org/")},
			"http://registry.npmjs.org/x", false},
		{"no level", []npm.Source{source(npm.LevelUser, token)}, "http://corp.example/x", false},
		{"https", []npm.Source{source(npm.LevelUser, token)}, "https://corp.example/x", true},
		{"https where the project says http", []npm.Source{source(npm.LevelUser, token), source(npm.LevelProject, "registry=http://corp.example/")}, "https://corp.example/x", true},
		{"by the project", []npm.Source{source(npm.LevelUser, token), source(npm.LevelProject, "registry=http://corp.example/")}, "http://corp.example/x", false},
		{"by the project for a scope", []npm.Source{source(npm.LevelUser, token), source(npm.LevelProject, "@a:registry=http://corp.example/")}, "http://corp.example/x", false},
		{"https by the user", []npm.Source{source(npm.LevelUser, token, "registry=https://corp.example")}, "http://corp.example/x", false},
		{"by the user", []npm.Source{source(npm.LevelUser, token, "registry=http://corp.example/")}, "http://corp.example/x", true},
		{"by the user for a scope", []npm.Source{source(npm.LevelUser, token, "@a:registry=http://CORP.example:80")}, "http://corp.example/x", true},
		{"by the user, and overridden", []npm.Source{source(npm.LevelUser, token, "registry=http://corp.example/"), source(npm.LevelProject, "registry=https://other.example/")}, "http://corp.example/x", true},
		{"another path", []npm.Source{source(npm.LevelUser, token, "registry=http://corp.example/npm/")}, "http://corp.example/attacker/x.tgz", false},
		{"another path by dots", []npm.Source{source(npm.LevelUser, token, "registry=http://corp.example/npm/")}, "http://corp.example/npm/%2e%2e/attacker/x.tgz", false},
		{"another port", []npm.Source{source(npm.LevelUser, "//corp.example:81/:_authToken=SECRET", "registry=http://corp.example/")}, "http://corp.example:81/x", false},
		{"by another level", []npm.Source{source(npm.LevelGlobal, token), source(npm.LevelUser, "registry=http://corp.example/")}, "http://corp.example/x", false},
		{"token and registry from the environment", []npm.Source{npm.EnvSource([]string{"npm_config_registry=http://corp.example/", "npm_config_" + token})}, "http://corp.example/x", true},
		{"token from the environment", []npm.Source{npm.EnvSource([]string{"npm_config_" + token}), source(npm.LevelProject, "registry=http://corp.example/")}, "http://corp.example/x", false},
		{"the project's own token", []npm.Source{source(npm.LevelProject, token, "registry=http://corp.example/")}, "http://corp.example/x", true},
		{"the project's own token, unnamed", []npm.Source{source(npm.LevelProject, token)}, "http://corp.example/x", false},
		{"the project's own token, named by the user", []npm.Source{source(npm.LevelProject, token), source(npm.LevelUser, "registry=http://corp.example/")}, "http://corp.example/x", false},
		{"the user's, by the project", []npm.Source{source(npm.LevelProject, "//corp.example/:_authToken=${T}", "registry=http://corp.example/"), source(npm.LevelUser, "registry=https://corp.example/")}, "http://corp.example/x", false},
		{"the user's, by both", []npm.Source{source(npm.LevelProject, "//corp.example/:_authToken=${T}"), source(npm.LevelUser, "registry=http://corp.example/")}, "http://corp.example/x", true},
		{"localhost", []npm.Source{source(npm.LevelUser, "//localhost:4873/:_authToken=SECRET")}, "http://localhost:4873/x", true},
		{"127.0.0.2", []npm.Source{source(npm.LevelUser, "//127.0.0.2:4873/:_authToken=SECRET")}, "http://127.0.0.2:4873/x", true},
		{"no localhost", []npm.Source{source(npm.LevelUser, "//localhost.example/:_authToken=SECRET")}, "http://localhost.example/x", false},
	} {
		c, _, err := npm.ParseConfig(tt.sources, func(name string) (string, bool) { return "SECRET", name == "T" })
		if err != nil {
			t.Fatal(err)
		}
		want := ""
		if tt.sent {
			want = "Bearer SECRET"
		}
		if got := header(t, c, tt.to); got != want {
			t.Errorf("%s: to %s goes %q, want %q", tt.name, tt.to, got, want)
		}
		if tarball, _ := c.TarballCredentials("x", mustURL(t, tt.to)); tarball.Authorization != want {
			t.Errorf("%s: with the tarball at %s goes %q, want %q", tt.name, tt.to, tarball.Authorization, want)
		}
	}
	// A weaker level's credential, which may be sent, stands where a stronger one's may not.
	c := parse(t, nil, nil, source(npm.LevelGlobal, "//corp.example/:_authToken=global", "@a:registry=http://corp.example"), source(npm.LevelUser, token))
	if got := header(t, c, "http://corp.example/x"); got != "Bearer global" {
		t.Errorf("got %q", got)
	}
}

func TestTarballCredentials(t *testing.T) {
	c := parse(t, nil, nil, source(npm.LevelUser,
		"registry=https://npm.example/registry/", "//npm.example/registry/:_authToken=t1",
		"@acme:registry=https://acme.example/npm/", "//acme.example/npm/:_authToken=t2",
		"//cdn.example/:_authToken=t3"))
	tests := []struct{ name, to, want string }{
		{"x", "https://npm.example/registry/x/-/x-1.0.0.tgz", "Bearer t1"},
		{"x", "https://npm.example/files/x.tgz", "Bearer t1"},
		{"x", "http://npm.example/files/x.tgz", ""},
		{"x", "http://npm.example/registry/x/-/x-1.0.0.tgz", ""},
		{"x", "http://cdn.example/x.tgz", ""},
		{"x", "https://npm.example:8443/files/x.tgz", ""},
		{"x", "https://evil.example/x.tgz", ""},
		{"x", "https://acme.example/files/x.tgz", ""},
		{"@acme/x", "https://acme.example/files/x.tgz", "Bearer t2"},
		{"@acme/x", "https://npm.example/files/x.tgz", ""},
		{"x", "https://cdn.example/x.tgz", "Bearer t3"},
	}
	for _, tt := range tests {
		got, _ := c.TarballCredentials(tt.name, mustURL(t, tt.to))
		if got.Authorization != tt.want {
			t.Errorf("%s from %s: %q, want %q", tt.name, tt.to, got.Authorization, tt.want)
		}
	}
	if _, ok := c.TarballCredentials("x", nil); ok {
		t.Error("there are credentials for nil")
	}
	// What is confined to a named registry does not leave it for a file beside it.
	c = parse(t, map[string]string{"T": "secret"}, nil, source(npm.LevelUser, "registry=https://npm.example/registry/"), source(npm.LevelProject, "//npm.example/registry/:_authToken=${T}"))
	if got, ok := c.TarballCredentials("x", mustURL(t, "https://npm.example/attacker/x.tgz")); ok {
		t.Errorf("sends %q", got.Authorization)
	}
}

// TestCredentialsLikeNPM compares what is sent with npm-registry-fetch.
func TestCredentialsLikeNPM(t *testing.T) {
	lines := []string{
		"//a.example/:_authToken=t1", "//a.example/x/:_auth=dTpw", "//a.example/x/y:username=u", "//a.example/x/y:_password=cA==",
		"//a.example/x/y/:username=only", "//a.example:81/:_authToken=t2", "//b.example:_authToken=t3", "//b.example/p//q/:_authToken=t4",
	}
	// npm sends over http what it would over https; here only where the user says http.
	c := parse(t, nil, nil, source(npm.LevelUser, append([]string{
		"@p:registry=http://a.example/", "@q:registry=http://a.example:81/", "@r:registry=http://a.example:443/", "@s:registry=http://b.example/",
	}, lines...)...))
	var urls []string
	for _, scheme := range []string{"https", "http"} {
		for _, host := range []string{"a.example", "A.example", "a.example:80", "a.example:81", "a.example:443", "b.example", "c.example"} {
			for _, path := range []string{"", "/", "/x", "/x/", "/x/y", "/x/y/", "/x/y/z", "/xy", "/z/../x/y", "/x/%2e%2e/x/y", "/x/./", "/p//q/r", "/p/q/r", "/x/..", "/@s%2fx?x/y#z"} {
				urls = append(urls, scheme+"://"+host+path)
			}
		}
	}
	options, _ := json.Marshal(npm.ParseINI([]byte(strings.Join(lines, "\n"))))
	headers := npmJS[string](t, `u => {
		const a = require("npm-registry-fetch").getAuth(u, {registry: "https://registry.npmjs.org/", ...`+string(options)+`});
		return a.token ? "Bearer " + a.token : a.auth ? "Basic " + a.auth : ""}`, urls)
	for i, u := range urls {
		if got := header(t, c, u); got != headers[i] {
			t.Errorf("to %s goes %q, npm sends %q", u, got, headers[i])
		}
	}
}

// TestSecretsAreNotPrinted tries every way to print a configuration and credentials.
func TestSecretsAreNotPrinted(t *testing.T) {
	c := parse(t, nil, nil, source(npm.LevelUser, "//a.example/:_authToken=s3cr3t", "//b.example/:_auth=s3cr3t", "//a.example/:certfile=c", "//a.example/:keyfile=k"))
	a, _ := c.Credentials(mustURL(t, "https://a.example/"))
	b, _ := c.Credentials(mustURL(t, "https://b.example/"))
	var out strings.Builder
	for _, v := range []any{c, *c, a, b, &a, []npm.Credentials{a}, map[string]npm.Credentials{"x": a}, struct{ C npm.Credentials }{a}} {
		for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x", "%d", "%T"} {
			fmt.Fprintf(&out, verb+"\n", v)
		}
		text, _ := json.Marshal(v)
		out.Write(text)
		slog.New(slog.NewTextHandler(&out, nil)).Info("", "v", v)
		slog.New(slog.NewJSONHandler(&out, nil)).Info("", "v", v)
	}
	for _, secret := range []string{"s3cr3t", fmt.Sprintf("%x", "s3cr3t")} {
		if strings.Contains(out.String(), secret) {
			t.Errorf("printed: %s", out.String())
		}
	}
	if a.String() != "bearer token and client certificate" || b.String() != "user and password" || (npm.Credentials{}).String() != "no credentials" {
		t.Errorf("%s; %s; %s", a, b, npm.Credentials{})
	}
}

func TestProxy(t *testing.T) {
	tests := []struct {
		lines string
		env   map[string]string
		to    string
		want  string // "" is a direct connection
	}{
		{"", nil, "https://a.example/", ""},
		{"proxy=http://p1", nil, "https://a.example/", "http://p1"},
		{"proxy=http://p1\nhttps-proxy=http://p2", nil, "http://a.example/", "http://p2"},
		{"", map[string]string{"HTTPS_PROXY": "http://p3"}, "https://a.example/", "http://p3"},
		{"", map[string]string{"https_proxy": "http://p3", "HTTPS_PROXY": "http://p4"}, "https://a.example/", "http://p3"},
		{"", map[string]string{"HTTP_PROXY": "http://p5"}, "https://a.example/", ""},
		{"", map[string]string{"HTTP_PROXY": "http://p5"}, "http://a.example/", "http://p5"},
		{"", map[string]string{"PROXY": "http://p6"}, "http://a.example/", "http://p6"},
		{"proxy=http://p1", map[string]string{"HTTPS_PROXY": "http://p3"}, "https://a.example/", "http://p1"},
		{"proxy=null", map[string]string{"HTTPS_PROXY": "http://p3"}, "https://a.example/", "http://p3"},
		{"proxy=http://p1\nnoproxy=a.example", nil, "https://a.example:8443/", ""},
		{"proxy=http://p1\nnoproxy=.example", nil, "https://a.example/", ""},
		{"proxy=http://p1\nnoproxy=b.example, A.Example", nil, "https://a.EXAMPLE/", ""},
		{"proxy=http://p1\nnoproxy[]=b.example\nnoproxy[]=a.example", nil, "https://a.example/", ""},
		{"proxy=http://p1\nnoproxy=ample", nil, "https://a.example/", "http://p1"},
		{"proxy=http://p1\nnoproxy=xa.example", nil, "https://a.example/", "http://p1"},
		{"proxy=http://p1\nnoproxy=,.,", nil, "https://a.example/", "http://p1"},
		{"proxy=http://p1", map[string]string{"NO_PROXY": "a.example"}, "https://a.example/", ""},
		{"proxy=http://p1", map[string]string{"no_proxy": "*"}, "https://a.example/", ""},
		{"proxy=http://p1\nnoproxy=b", map[string]string{"NO_PROXY": "a.example"}, "https://a.example/", "http://p1"},
		{"proxy=http://p1", nil, "http://localhost:4873/", ""},
		{"proxy=http://p1", nil, "http://127.0.0.2/", ""},
		{"proxy=http://p1", nil, "http://[::1]/", ""},
		{"proxy=http://user:pass@p1:8080", nil, "https://a.example/", "http://user:pass@p1:8080"},
	}
	for _, tt := range tests {
		c := parse(t, tt.env, nil, source(npm.LevelUser, tt.lines))
		proxy, err := c.Proxy(mustURL(t, tt.to))
		got := ""
		if proxy != nil {
			got = proxy.String()
		}
		if err != nil || got != tt.want {
			t.Errorf("%q, %v: to %s by %q, %v, want %q", tt.lines, tt.env, tt.to, got, err, tt.want)
		}
	}
	c := parse(t, map[string]string{"HTTPS_PROXY": "nonsense"}, nil)
	if _, err := c.Proxy(mustURL(t, "https://a.example/")); err == nil {
		t.Error("nonsense is a proxy")
	}
	c = parse(t, map[string]string{"NODE_EXTRA_CA_CERTS": "/x.pem"}, nil)
	if c.ExtraCAFile() != "/x.pem" {
		t.Error("NODE_EXTRA_CA_CERTS is not heeded")
	}
}

func TestOmit(t *testing.T) {
	tests := []struct {
		lines, nodeEnv, want string
	}{
		{"", "", ""},
		{"", "production", "dev"},
		{"", "development", ""},
		{"omit=dev", "", "dev"},
		{"omit[]=dev\nomit[]=optional\nomit[]=dev", "", "dev optional"},
		{"omit=optional", "production", "optional"},
		{"omit=dev\ninclude=dev", "", ""},
		{"production=true", "", "dev"},
		{"production", "", "dev"},
		{"production=false", "production", ""},
		{"only=prod", "", "dev"},
		{"only=production\nalso=development", "", ""},
		{"also=dev\nomit=dev", "", ""},
		{"dev=true\nomit=dev", "", ""},
		{"optional=false", "", "optional"},
		{"optional=true\nomit=optional", "", ""},
		{"omit=peer\noptional=false\nproduction=true", "", "dev optional peer"},
	}
	for _, tt := range tests {
		c := parse(t, map[string]string{"NODE_ENV": tt.nodeEnv}, nil, source(npm.LevelUser, tt.lines))
		if got := strings.Join(c.Omit(), " "); got != tt.want {
			t.Errorf("%q: omits %q, want %q", tt.lines, got, tt.want)
		}
	}
}

func TestScopeSetting(t *testing.T) {
	c := parse(t, nil, nil, source(npm.LevelUser, "scope=acme", "@acme:registry=https://acme.example", "@other:registry=https://other.example"))
	for name, want := range map[string]string{"x": "https://acme.example", "@acme/x": "https://acme.example", "@other/x": "https://other.example", "@third/x": "https://acme.example"} {
		if got, level := c.Registry(name); got != want || level != npm.LevelUser {
			t.Errorf("Registry(%s) = %s from %s", name, got, level)
		}
	}
}

func TestReplaceRegistryHost(t *testing.T) {
	const tarball = "https://registry.npmjs.org/x/-/x-1.0.0.tgz"
	tests := []struct{ setting, resolved, registry, want string }{
		{"", tarball, "https://registry.npmjs.org", tarball},
		{"", tarball, "http://localhost:4873", "http://localhost:4873/x/-/x-1.0.0.tgz"},
		{"", tarball, "https://npm.example/npm", "https://npm.example/npm/x/-/x-1.0.0.tgz"},
		{"npmjs", "https://other.example/x.tgz", "https://npm.example", "https://other.example/x.tgz"},
		{"never", tarball, "https://npm.example", tarball},
		{"always", "https://other.example/x.tgz", "https://npm.example", "https://npm.example/x.tgz"},
		{"always", "https://npm.example/npm/x.tgz", "https://npm.example/npm", "https://npm.example/npm/x.tgz"},
		{"other.example", "https://other.example/x.tgz", "https://npm.example", "https://npm.example/x.tgz"},
		{"other.example", tarball, "https://npm.example", tarball},
		{"https://other.example/npm/", "https://other.example/npm/x.tgz", "https://npm.example/r", "https://npm.example/r/x.tgz"},
		{"https://other.example/npm/", "https://other.example/npmx/x.tgz", "https://npm.example/r", "https://other.example/npmx/x.tgz"},
		{"", "https://registry.npmjs.org.evil.example/x.tgz", "https://npm.example", "https://registry.npmjs.org.evil.example/x.tgz"},
		{"", "https://registry.npmjs.org/x.tgz?a#b", "https://npm.example", "https://npm.example/x.tgz?a#b"},
		{"", "%zz", "https://npm.example", "%zz"},
		{"", tarball, "%zz", tarball},
		{"", "", "https://npm.example", ""},
	}
	for _, tt := range tests {
		c := parse(t, nil, nil, source(npm.LevelUser, "replace-registry-host="+tt.setting))
		if got := c.ReplaceRegistryHost(tt.resolved, tt.registry); got != tt.want {
			t.Errorf("%q: %s with %s is %s, want %s", tt.setting, tt.resolved, tt.registry, got, tt.want)
		}
	}
}

func TestPublicName(t *testing.T) {
	for address, want := range map[string]string{
		"https://registry.yarnpkg.com/x/-/x-1.0.0.tgz":              "https://registry.npmjs.org/x/-/x-1.0.0.tgz",
		"https://Registry.Yarnpkg.com/@a/x/-/x-1.0.0.tgz#01":        "https://registry.npmjs.org/@a/x/-/x-1.0.0.tgz#01",
		"https://registry.npmjs.org/x/-/x-1.0.0.tgz":                "https://registry.npmjs.org/x/-/x-1.0.0.tgz",
		"https://registry.yarnpkg.com.evil.example/x/-/x-1.0.0.tgz": "https://registry.yarnpkg.com.evil.example/x/-/x-1.0.0.tgz",
		"https://registry.yarnpkg.com:1/x.tgz":                      "https://registry.yarnpkg.com:1/x.tgz",
		"https://u:p@registry.yarnpkg.com/x.tgz":                    "https://u:p@registry.yarnpkg.com/x.tgz",
		"%zz":                                                       "%zz", "": "",
	} {
		if got := npm.PublicName(address); got != want {
			t.Errorf("%s is %s, want %s", address, got, want)
		}
	}
}

// FuzzParseConfig: a hostile project file, beside an honest user's, gets at no secret and weakens nothing.
func FuzzParseConfig(f *testing.F) {
	for _, tt := range iniTests {
		f.Add([]byte(tt.file))
	}
	for _, seed := range []string{
		"registry=https://evil.example/${SECRET}", "//evil.example/:_authToken=${SECRET}", "//good.example/:_authToken=${SECRET}",
		"strict-ssl=false", "ca[]=x", "https-proxy=http://evil.example", "userconfig=x", "@a:registry=${SECRET}", "scope=${SECRET?}\n@b:registry=http://good.example",
		"//good.example/npm/../:_auth=\\\\${SECRET}", "fetch-retries=9e9", "omit[]=dev\nomit='[\"peer\"]'",
	} {
		f.Add([]byte(seed))
	}
	const secret = "5EcReT5EcReT"
	user := source(npm.LevelUser, "registry=https://good.example/npm/", "//good.example/npm/:_authToken=${SECRET}")
	f.Fuzz(func(t *testing.T, data []byte) {
		project := npm.Source{Level: npm.LevelProject, Path: ".npmrc", Data: data}
		c, warnings, err := npm.ParseConfig([]npm.Source{user, project}, func(string) (string, bool) { return secret, true })
		if err != nil {
			return
		}
		for _, w := range warnings {
			if strings.Contains(w.String(), secret) {
				t.Errorf("warning %s", w)
			}
		}
		if !c.StrictSSL() || c.CA() != nil || c.CAFile() != "" || c.FetchRetries() > 10 || c.FetchTimeout() > 10*time.Minute {
			t.Error("the project weakens the check")
		}
		for _, name := range []string{"x", "@a/x", "@b/x"} {
			registry, level := c.Registry(name)
			if strings.Contains(registry, secret) || registry == "" {
				t.Errorf("Registry(%s) = %q", name, registry)
			}
			u, err := url.Parse(registry + "/" + npm.EscapeName(name))
			if err != nil {
				continue
			}
			if level == npm.LevelProject && c.Named(registry) && registry != "https://good.example/npm" && registry != npm.PublicRegistry {
				t.Errorf("the project names %s", registry)
			}
			credentials, _ := c.TarballCredentials(name, u)
			if strings.Contains(credentials.Authorization, secret) && !strings.HasPrefix(registry, "https://good.example/npm") && !strings.HasPrefix(registry, npm.PublicRegistry) {
				t.Errorf("the secret goes to %s", u)
			}
		}
		for _, to := range []string{"https://evil.example/", "https://good.example/", "https://good.example/npm/%2e%2e/x", "http://registry.npmjs.org/"} {
			credentials, _ := c.Credentials(mustURL(t, to))
			if strings.Contains(credentials.Authorization, secret) {
				t.Errorf("the secret goes to %s", to)
			}
		}
	})
}

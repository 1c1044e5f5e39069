package npm

import (
	"crypto/ecdsa"
	"errors"
	"net/url"
	"time"
)

var errStub = errors.New("not yet written")

type ID struct{ Name, Version string }

func CheckName(s string) error          { return errStub }
func CheckVersion(s string) error       { return errStub }
func (id ID) String() string            { return id.Name + "@" + id.Version }
func (id ID) PURL() string              { return "" }
func ParsePURL(s string) (ID, error)    { return ID{}, errStub }
func EscapeName(name string) string     { return "" }
func Scope(name string) string          { return "" }
func TarballPath(id ID) string          { return "" }
func CompareVersions(a, b string) int   { return 0 }
func ReleaseLine(version string) string { return "" }

// PURLParts is a package URL taken apart.
type PURLParts struct {
	Type       string
	ID         ID                // Version may be empty
	Qualifiers map[string]string // nil when there are none
	Subpath    string
}

func ParsePURLParts(s string) (PURLParts, error) { return PURLParts{}, errStub }

type Hash struct {
	Algorithm string
	Digest    []byte
	Options   string
}
type Integrity []Hash

func ParseIntegrity(s string) (Integrity, error)           { return nil, errStub }
func (in Integrity) String() string                        { return "" }
func (in Integrity) Strongest() (Hash, bool)               { return Hash{}, false }
func (in Integrity) Find(algorithm string) []Hash          { return nil }
func StrongestCommon(a, b Integrity) (alg string, ok bool) { return "", false }
func (h Hash) String() string                              { return "" }

type Repository struct{ Host, Path, Directory string }

func ParseRepository(field string, directory string) (Repository, error) {
	return Repository{}, errStub
}
func RepositoryFromManifest(rawJSON []byte) (Repository, bool, error) {
	return Repository{}, false, errStub
}
func ParseRepositoryURI(uri string) (Repository, error)               { return Repository{}, errStub }
func (r Repository) String() string                                   { return "" }
func (r Repository) Match(o Repository) (equal, onlyCaseDiffers bool) { return false, false }

type Key struct {
	ID, Usage  string
	Public     *ecdsa.PublicKey
	Start, End time.Time
}

func ParseKeys(data []byte) ([]Key, error) { return nil, errStub }
func KeyID(pub *ecdsa.PublicKey) string    { return "" }

type Level int

const (
	LevelDefault Level = iota
	LevelBuiltin
	LevelGlobal
	LevelUser
	LevelProject
	LevelEnv
	LevelFlag
)

func (l Level) String() string { return "" }

type Source struct {
	Level Level
	Path  string
	Data  []byte
}

func EnvSource(environ []string) Source { return Source{} }

type Warning struct{ Path, Key, Why string }

func (w Warning) String() string { return "" }

type Config struct{ x int }

func ParseConfig(sources []Source, env func(string) (string, bool)) (*Config, []Warning, error) {
	return nil, nil, errStub
}

func (c *Config) Registry(name string) (url string, level Level) { return "", 0 }
func (c *Config) Credentials(u *url.URL) (Credentials, bool)     { return Credentials{}, false }
func (c *Config) Named(registry string) bool                     { return false }
func (c *Config) Get(key string) (value string, level Level, ok bool) {
	return "", 0, false
}

// All returns every value of an array key such as "ca", "omit" or "include".
func (c *Config) All(key string) []string { return nil }

type Credentials struct {
	Authorization     string
	CertFile, KeyFile string
}

func (c Credentials) String() string { return "" }

// Typed readings of the settings that the registry client needs.
func (c *Config) StrictSSL() bool                     { return true }
func (c *Config) FetchTimeout() time.Duration         { return 0 }
func (c *Config) FetchRetries() int                   { return 0 }
func (c *Config) FetchRetryFactor() float64           { return 0 }
func (c *Config) FetchRetryMinTimeout() time.Duration { return 0 }
func (c *Config) FetchRetryMaxTimeout() time.Duration { return 0 }
func (c *Config) MaxSockets() int                     { return 0 }

// Proxy returns the proxy for u, nil for a direct connection.
func (c *Config) Proxy(u *url.URL) (*url.URL, error) { return nil, nil }
func (c *Config) CA() []string                       { return nil }
func (c *Config) CAFile() string                     { return "" }
func (c *Config) Omit() []string                     { return nil }

// ReplaceRegistryHost rewrites a lockfile's resolved URL as npm does.
func (c *Config) ReplaceRegistryHost(resolved, registry string) string { return resolved }

package npm

import (
	"errors"
	"maps"
	"net/url"
	"slices"
	"time"
)

var errStub = errors.New("not yet written")

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

func sortedKeys[V any](m map[string]V) []string { return slices.Sorted(maps.Keys(m)) }

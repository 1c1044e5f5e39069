package publish

import (
	"bytes"
	"encoding/json"
	"fmt"
	"strings"

	"assay/internal/evidence"
	"assay/internal/npm"
)

// A Manifest is what publishing needs of a package.json.
type Manifest struct {
	Name    string
	Version string // as npm publishes it: without a leading "v" and without build metadata
	Private bool

	Repository    npm.Repository // zero where package.json names none
	repositoryErr error          // why what it names is no repository

	PublishConfig map[string]json.RawMessage
	Tag           string // member tag, which npm prefers to its own setting
	Scripts       map[string]string
}

// ID names the version.
func (m *Manifest) ID() npm.ID { return npm.ID{Name: m.Name, Version: m.Version} }

// Setting is a setting of publishConfig as text, "" if it is not there.
func (m *Manifest) Setting(key string) string {
	var s string
	if json.Unmarshal(m.PublishConfig[key], &s) != nil {
		return ""
	}
	return s
}

// ReadManifest reads a package.json. Errors are a [*Refusal] for what npm would not publish.
func ReadManifest(data []byte) (*Manifest, error) {
	var doc struct {
		Name          string          `json:"name"`
		Version       string          `json:"version"`
		Private       any             `json:"private"`
		Repository    json.RawMessage `json:"repository"`
		PublishConfig json.RawMessage `json:"publishConfig"`
		Tag           json.RawMessage `json:"tag"`
		Scripts       map[string]any  `json:"scripts"`
	}
	// The byte order mark is one that npm passes over (json-parse-even-better-errors).
	if err := json.Unmarshal(bytes.TrimPrefix(data, []byte("\ufeff")), &doc); err != nil {
		return nil, refuse("manifest-unreadable", "", "package.json: %v", err)
	}
	m := &Manifest{Name: doc.Name, Scripts: map[string]string{}}
	switch v := doc.Private.(type) {
	case nil:
	case bool:
		m.Private = v
	case string:
		m.Private = v != ""
	case float64:
		m.Private = v != 0
	default:
		m.Private = true
	}
	for name, v := range doc.Scripts {
		if s, ok := v.(string); ok {
			m.Scripts[name] = s
		}
	}
	if json.Unmarshal(doc.PublishConfig, &m.PublishConfig) != nil {
		m.PublishConfig = nil
	}
	if json.Unmarshal(doc.Tag, &m.Tag) != nil {
		m.Tag = ""
	}
	if err := npm.CheckName(doc.Name); err != nil {
		return nil, refuse("manifest-name", "", "package.json: name: %v", err)
	}
	if doc.Name != strings.ToLower(doc.Name) || strings.ContainsAny(doc.Name, "~'!()*") {
		return nil, refuse("manifest-name", "", "package.json: the registry takes no new packages with a name like %q: upper case and ~'!()* are for old ones", doc.Name)
	}
	var err error
	if m.Version, err = CleanVersion(doc.Version); err != nil {
		return nil, refuse("manifest-version", "", "package.json: version: %v", err)
	}
	m.Repository, _, m.repositoryErr = npm.RepositoryFromManifest(doc.Repository)
	return m, nil
}

// CleanVersion is a version as npm publishes it: white space, a leading "v" or "=" and build metadata are dropped
// (libnpmpublish lib/publish.js, semver.clean), so "v1.2.3+build" gives "1.2.3".
func CleanVersion(v string) (string, error) {
	v = strings.TrimLeft(strings.TrimSpace(v), "=v")
	if err := npm.CheckVersion(v); err != nil {
		return "", err
	}
	v, _, _ = strings.Cut(v, "+")
	return v, nil
}

// A Package is a packed package.
type Package struct {
	*Manifest
	Bytes   []byte // the tarball, which is what is signed and what is uploaded
	Tarball *evidence.Tarball
}

// maxPackage bounds a tarball, in bytes. npm's registry takes far less.
const maxPackage = 512 << 20

// ReadPackage reads a packed package.
func ReadPackage(data []byte) (*Package, error) {
	if len(data) > maxPackage {
		return nil, refuse("tarball-too-large", "", "the tarball is larger than %d bytes", maxPackage)
	}
	t, err := evidence.ReadTarball(bytes.NewReader(data), "sha1", "sha256", "sha384")
	if err != nil {
		return nil, refuse("tarball-damaged", "", "reading the tarball: %v", err)
	}
	if t.Manifest == nil || t.Problem != "" {
		return nil, refuse("tarball-damaged", "pack it with npm pack", "the tarball is not a sound npm package: %s", t.Problem)
	}
	m, err := ReadManifest(t.Manifest)
	if err != nil {
		return nil, fmt.Errorf("in the tarball: %w", err)
	}
	return &Package{Manifest: m, Bytes: data, Tarball: t}, nil
}

// Integrity is the tarball's SRI as npm writes it.
func (p *Package) Integrity() string {
	return npm.Integrity{{Algorithm: "sha512", Digest: p.Tarball.SHA512}}.String()
}

package lab

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"crypto/sha1"
	"crypto/sha512"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"
)

// A Package is what an author publishes.
type Package struct {
	Name, Version string
	// Manifest holds further members of package.json. "repository" is filled in from the CI run unless it is
	// here; a nil value leaves a member out.
	Manifest map[string]any
	// Files are further files, by path under package/.
	Files map[string]string
	// Tarball replaces the tarball that would be made of the above.
	Tarball []byte
}

// A Release is one publish: a package, the run that builds it, and what goes wrong on the way.
type Release struct {
	Package Package
	CI      CI        // nil: published without provenance
	At      time.Time // when the CI run signs; zero means now. The registry accepts it some seconds later.
	Log     Log       // where the provenance is logged; nil means Rekor v1
	Tag     string    // empty means latest

	Kind      KindVersion // of the provenance's log entry; zero means what npm writes today
	MediaType string      // of the provenance's bundle; empty means v0.3
	Timestamp bool        // the provenance has an RFC 3161 timestamp too

	SigningKey     *RegistryKey // of the registry signature; nil means the lab's Key
	AttestationKey *RegistryKey // of the publish attestation; nil means the lab's Key
	SignedMessage  string       // signed by the registry in place of name@version:integrity
	Unsigned       bool         // no registry signature

	Provenance         Tamper       // what goes wrong with the provenance
	PublishAttestation Tamper       // what goes wrong with the publish attestation
	NoPublish          bool         // no publish attestation
	NoProvenance       bool         // no provenance, though there is a CI run
	Also               []Provenance // further provenances for the same tarball, after the first

	Document     func(map[string]any)               // the version document, before it is kept; nothing is signed again
	Attestations func([]Attestation) []Attestation  // the answer's list, before it is kept
	Announce     *bool                              // dist.attestations is there; nil means where there are attestations
	SignatureRaw func(sigs []Signature) []Signature // dist.signatures, before it is kept
}

// A Provenance is a further provenance of a release.
type Provenance struct {
	CI        CI
	Log       Log
	Kind      KindVersion
	MediaType string
	Tamper    Tamper
}

// An Attestation is one element of the registry's answer.
type Attestation struct {
	PredicateType string          `json:"predicateType"`
	Bundle        json.RawMessage `json:"bundle"`
}

// A Signature is one element of dist.signatures.
type Signature struct {
	KeyID string `json:"keyid"`
	Sig   []byte `json:"sig"`
}

// Published is what the registry has of one version.
type Published struct {
	Name, Version string
	Tarball       []byte
	SHA512        [64]byte
	Integrity     string         // sha512-…
	Document      []byte         // the answer to GET /name/version
	Attestations  []byte         // the answer to GET /-/npm/v1/attestations/…; nil if there is none
	List          []Attestation  // what it lists, publish attestation first
	Time          time.Time      // when the registry accepted it
	Provenance    *Signed        // nil without provenance
	Publish       *Signed        // the publish attestation; nil without
	Manifest      map[string]any // package.json as it is in the tarball

	doc      map[string]any
	registry string // base URL that doc names
}

// Publish builds, attests and publishes a package, and keeps it in the lab's registry.
func (l *Lab) Publish(r Release) (*Published, error) {
	p, err := l.publish(&r)
	if err != nil {
		return nil, fmt.Errorf("lab: publishing %s@%s: %w", r.Package.Name, r.Package.Version, err)
	}
	return p, nil
}

func (l *Lab) publish(r *Release) (*Published, error) {
	if r.At.IsZero() {
		r.At = l.Now()
	}
	manifest := r.Package.manifest(r.CI)
	tarball, files, size, err := r.Package.tarball(manifest)
	if err != nil {
		return nil, err
	}
	p := &Published{Name: r.Package.Name, Version: r.Package.Version, Tarball: tarball, SHA512: sha512.Sum512(tarball), Time: r.At, Manifest: manifest}
	p.Integrity = "sha512-" + base64.StdEncoding.EncodeToString(p.SHA512[:])

	attestations, err := l.attest(r, p)
	if err != nil {
		return nil, err
	}
	if r.Attestations != nil {
		attestations = r.Attestations(attestations)
	}
	p.List = attestations
	if attestations != nil {
		p.Attestations = marshal(map[string]any{"attestations": attestations})
	}
	announce := len(attestations) > 0
	if r.Announce != nil {
		announce = *r.Announce
	}
	p.registry = l.Registry()
	p.doc = l.document(r, p, files, size, announce)
	if r.Document != nil {
		var plain map[string]any // so that the function finds nothing but JSON's own types
		if err := json.Unmarshal(marshal(p.doc), &plain); err != nil {
			return nil, err
		}
		r.Document(plain)
		p.doc = plain
	}
	p.Document = marshal(p.doc)
	l.keep(p, or(r.Tag, "latest"))
	return p, nil
}

// attest makes the attestations of a release, publish attestation first, and sets the time of the publish.
func (l *Lab) attest(r *Release, p *Published) ([]Attestation, error) {
	var list []Attestation
	first := Provenance{CI: r.CI, Log: r.Log, Kind: r.Kind, MediaType: r.MediaType, Tamper: r.Provenance}
	for i, v := range append([]Provenance{first}, r.Also...) {
		if v.CI == nil || i == 0 && r.NoProvenance {
			continue
		}
		statement := v.CI.Statement(p.Name, p.Version, p.SHA512[:])
		signed, err := l.Sign(Signing{
			Statement: statement, Identity: v.CI.Identity(), At: r.At,
			Log: v.Log, Kind: v.Kind, MediaType: v.MediaType, Timestamp: r.Timestamp, Tamper: v.Tamper,
		})
		if err != nil {
			return nil, fmt.Errorf("provenance: %w", err)
		}
		if p.Provenance == nil {
			p.Provenance = signed
		}
		list = append(list, Attestation{statement.PredicateType, signed.JSON})
	}
	p.Time = r.At.Add(4 * time.Second)
	if r.CI != nil && !r.NoPublish {
		key := r.AttestationKey
		if key == nil {
			key = l.Key
		}
		signed, err := l.Sign(Signing{
			Statement: publishStatement(p.Name, p.Version, l.Registry(), p.SHA512[:]), Key: key,
			At: p.Time, Kind: Intoto, MediaType: MediaTypeV02, Tamper: r.PublishAttestation,
		})
		if err != nil {
			return nil, fmt.Errorf("publish attestation: %w", err)
		}
		p.Publish = signed
		list = slices.Insert(list, 0, Attestation{PredicatePublish, signed.JSON})
	}
	return list, nil
}

// manifest is package.json as the author wrote it.
func (p *Package) manifest(ci CI) map[string]any {
	m := map[string]any{"name": p.Name, "version": p.Version, "description": "made in a lab", "license": "MIT", "main": "index.js"}
	switch run := ci.(type) {
	case *GitHubRun:
		m["repository"] = object{"type": "git", "url": "git+https://github.com/" + run.Repository + ".git"}
	case *GitLabJob:
		m["repository"] = object{"type": "git", "url": "git+https://gitlab.com/" + run.Project + ".git"}
	}
	maps.Copy(m, p.Manifest)
	maps.DeleteFunc(m, func(_ string, v any) bool { return v == nil })
	return m
}

// tarball packs a package as npm pack does: everything under package/, one fixed time. It returns the number of
// files and their size as well.
func (p *Package) tarball(manifest map[string]any) (tgz []byte, files, size int, err error) {
	if p.Tarball != nil {
		return p.Tarball, 0, 0, nil
	}
	text, err := json.MarshalIndent(manifest, "", "  ")
	if err != nil {
		return nil, 0, 0, fmt.Errorf("encoding package.json: %w", err)
	}
	all := map[string]string{"index.js": "module.exports = " + fmt.Sprintf("%q", p.Name+"@"+p.Version) + ";\n"}
	maps.Copy(all, p.Files)
	all["package.json"] = string(text) + "\n"

	var b bytes.Buffer
	zw := gzip.NewWriter(&b)
	tw := tar.NewWriter(zw)
	for _, name := range slices.Sorted(maps.Keys(all)) {
		h := &tar.Header{Name: "package/" + name, Mode: 0o644, Size: int64(len(all[name])), Format: tar.FormatUSTAR,
			ModTime: time.Date(1985, 10, 26, 8, 15, 0, 0, time.UTC)}
		if err := tw.WriteHeader(h); err != nil {
			return nil, 0, 0, fmt.Errorf("packing %q: %w", name, err)
		}
		if _, err := tw.Write([]byte(all[name])); err != nil {
			return nil, 0, 0, fmt.Errorf("packing %q: %w", name, err)
		}
		size += len(all[name])
	}
	if err := tw.Close(); err != nil {
		return nil, 0, 0, err
	}
	if err := zw.Close(); err != nil {
		return nil, 0, 0, err
	}
	return b.Bytes(), len(all), size, nil
}

// document is the version document of the full packument.
func (l *Lab) document(r *Release, p *Published, files, size int, announce bool) map[string]any {
	doc := normalise(p.Manifest)
	id := p.Name + "@" + p.Version
	shasum := sha1.Sum(p.Tarball)
	dist := object{
		"integrity": p.Integrity, "shasum": hex.EncodeToString(shasum[:]), "tarball": tarballURL(l.Registry(), p.Name, p.Version),
		"fileCount": files, "unpackedSize": size,
	}
	if sigs := l.signatures(r, id+":"+p.Integrity); sigs != nil {
		dist["signatures"] = sigs
	}
	if announce {
		predicateType := PredicateSLSAv1
		if r.CI != nil {
			predicateType = r.CI.predicateType()
		}
		dist["attestations"] = object{"url": attestationsURL(l.Registry(), p.Name, p.Version), "provenance": object{"predicateType": predicateType}}
	}
	user := object{"name": "lab", "email": "lab@lab.assay.test"}
	maps.Copy(doc, object{
		"_id": id, "_nodeVersion": "24.11.1", "_npmVersion": "11.19.1", "_npmUser": user,
		"maintainers": []any{user}, "directories": object{}, "dist": dist, "_hasShrinkwrap": false,
	})
	if run, ok := r.CI.(*GitHubRun); ok {
		doc["gitHead"] = run.SHA
	}
	return doc
}

func (l *Lab) signatures(r *Release, message string) []Signature {
	if r.Unsigned {
		return nil
	}
	key := r.SigningKey
	if key == nil {
		key = l.Key
	}
	sigs := []Signature{{key.ID, signSHA256(key.key, []byte(or(r.SignedMessage, message)))}}
	if r.SignatureRaw != nil {
		sigs = r.SignatureRaw(sigs)
	}
	return sigs
}

// SignMessage signs a text as a registry signs name@version:integrity.
func (k *RegistryKey) SignMessage(message string) Signature {
	return Signature{k.ID, signSHA256(k.key, []byte(message))}
}

// normalise is what npm makes of package.json when it publishes, as far as the lab's packages need it: a
// repository in one string becomes an object, a bin in one string is named after the package.
func normalise(manifest map[string]any) map[string]any {
	doc := maps.Clone(manifest)
	if s, ok := doc["repository"].(string); ok {
		if short, ok := strings.CutPrefix(s, "github:"); ok {
			s = "git+https://github.com/" + short + ".git"
		}
		doc["repository"] = object{"type": "git", "url": s}
	}
	if s, ok := doc["bin"].(string); ok {
		name, _ := doc["name"].(string)
		doc["bin"] = object{unscoped(name): s}
	}
	return doc
}

func unscoped(name string) string { return name[strings.LastIndex(name, "/")+1:] }

func escapeName(name string) string { return strings.Replace(name, "/", "%2f", 1) }

func tarballURL(registry, name, version string) string {
	return registry + "/" + name + "/-/" + unscoped(name) + "-" + version + ".tgz"
}

func attestationsURL(registry, name, version string) string {
	return registry + "/-/npm/v1/attestations/" + escapeName(name) + "@" + version
}

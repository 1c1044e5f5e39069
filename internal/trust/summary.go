package trust

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"time"
)

// A Summary is what "assay trust show" tells. Times are in UTC; a zero start or end is open. Texts come from
// the trusted root: escape before printing.
type Summary struct {
	Root  Source `json:"root"`
	Keys  Source `json:"keys"`
	Roles []Role `json:"roles"` // TUF roles, root first; empty where everything comes from files
	Notes []Note `json:"notes"`

	MediaType              string        `json:"mediaType"`
	Logs                   []Log         `json:"logs"`
	CertificateAuthorities []Authority   `json:"certificateAuthorities"`
	CTLogs                 []Log         `json:"ctLogs"`
	TimestampAuthorities   []Authority   `json:"timestampAuthorities"`
	RegistryKeys           []RegistryKey `json:"registryKeys"`
}

// A Log is a transparency log, or a certificate transparency log.
type Log struct {
	URL      string    `json:"url"`
	Operator string    `json:"operator,omitempty"`
	Version  int       `json:"version,omitempty"` // of Rekor's API: 1 or 2; 0 for certificate transparency
	ID       string    `json:"id"`                // hex
	Key      string    `json:"key"`               // algorithm, such as "PKIX_ECDSA_P256_SHA_256"
	Start    time.Time `json:"start,omitzero"`
	End      time.Time `json:"end,omitzero"`
}

// An Authority is a certificate authority or a timestamp authority.
type Authority struct {
	Subject      string    `json:"subject"` // "sigstore.dev, sigstore"
	URL          string    `json:"url,omitempty"`
	Operator     string    `json:"operator,omitempty"`
	Certificates []string  `json:"certificates"` // SHA-256 of each certificate of the chain, hex, leaf side first
	Start        time.Time `json:"start,omitzero"`
	End          time.Time `json:"end,omitzero"`
}

// A RegistryKey is one of a registry's public keys in one usage.
type RegistryKey struct {
	ID    string    `json:"keyid"`
	Usage string    `json:"usage,omitempty"` // "npm:signatures", "npm:attestations"; empty: both
	Start time.Time `json:"start,omitzero"`
	End   time.Time `json:"end,omitzero"`
}

// trustedRoot is what a summary reads of a trusted root (sigstore/protobuf-specs, sigstore_trustroot.proto).
// It is for showing only.
type trustedRoot struct {
	MediaType              string      `json:"mediaType"`
	Tlogs                  []logJSON   `json:"tlogs"`
	CertificateAuthorities []authority `json:"certificateAuthorities"`
	Ctlogs                 []logJSON   `json:"ctlogs"`
	TimestampAuthorities   []authority `json:"timestampAuthorities"`
}

type logJSON struct {
	BaseURL   string `json:"baseUrl"`
	Operator  string `json:"operator"`
	PublicKey struct {
		RawBytes   []byte   `json:"rawBytes"`
		KeyDetails string   `json:"keyDetails"`
		ValidFor   validFor `json:"validFor"`
	} `json:"publicKey"`
	LogID struct {
		KeyID []byte `json:"keyId"`
	} `json:"logId"`
}

type authority struct {
	Subject struct {
		Organization string `json:"organization"`
		CommonName   string `json:"commonName"`
	} `json:"subject"`
	URI       string `json:"uri"`
	Operator  string `json:"operator"`
	CertChain struct {
		Certificates []struct {
			RawBytes []byte `json:"rawBytes"`
		} `json:"certificates"`
	} `json:"certChain"`
	ValidFor validFor `json:"validFor"`
}

type validFor struct {
	Start time.Time `json:"start"`
	End   time.Time `json:"end"`
}

// Summary describes the trust in use.
func (m *Material) Summary() (*Summary, error) {
	s := &Summary{
		Root: m.RootSource, Keys: m.KeysSource,
		Roles: append([]Role{}, m.Roles...), Notes: append([]Note{}, m.Notes...), // lists in JSON, never null
		Logs: []Log{}, CTLogs: []Log{}, RegistryKeys: []RegistryKey{},
		CertificateAuthorities: []Authority{}, TimestampAuthorities: []Authority{},
	}
	var root trustedRoot
	if err := json.Unmarshal(m.RootJSON, &root); err != nil {
		return nil, fmt.Errorf("describing the trusted root: %w", err)
	}
	s.MediaType = root.MediaType
	for _, l := range root.Tlogs {
		// Rekor v1 names a log by the SHA-256 of its public key (rekor, openapi.yaml), v2 by the key id of its
		// checkpoints, which goes over the log's name too (c2sp.org/signed-note).
		log := l.log()
		log.Version = 2
		if sum := sha256.Sum256(l.PublicKey.RawBytes); string(sum[:]) == string(l.LogID.KeyID) {
			log.Version = 1
		}
		s.Logs = append(s.Logs, log)
	}
	for _, l := range root.Ctlogs {
		s.CTLogs = append(s.CTLogs, l.log())
	}
	for _, a := range root.CertificateAuthorities {
		s.CertificateAuthorities = append(s.CertificateAuthorities, a.authority())
	}
	for _, a := range root.TimestampAuthorities {
		s.TimestampAuthorities = append(s.TimestampAuthorities, a.authority())
	}
	for _, k := range m.Keys {
		s.RegistryKeys = append(s.RegistryKeys, RegistryKey{k.ID, k.Usage, k.Start.UTC(), k.End.UTC()})
	}
	return s, nil
}

func (l logJSON) log() Log {
	return Log{
		URL: l.BaseURL, Operator: l.Operator, ID: hex.EncodeToString(l.LogID.KeyID), Key: l.PublicKey.KeyDetails,
		Start: l.PublicKey.ValidFor.Start.UTC(), End: l.PublicKey.ValidFor.End.UTC(),
	}
}

func (a authority) authority() Authority {
	out := Authority{
		Subject: a.Subject.CommonName, URL: a.URI, Operator: a.Operator,
		Start: a.ValidFor.Start.UTC(), End: a.ValidFor.End.UTC(),
	}
	if a.Subject.Organization != "" {
		out.Subject = a.Subject.Organization + ", " + out.Subject
	}
	for _, c := range a.CertChain.Certificates {
		sum := sha256.Sum256(c.RawBytes)
		out.Certificates = append(out.Certificates, hex.EncodeToString(sum[:]))
	}
	return out
}

// Names of the files that [Material.Export] writes.
const (
	ExportedRoot     = "trusted_root.json"
	ExportedKeys     = "registry-keys.json"
	ExportedMetadata = "tuf-metadata.json"
)

// Export writes the trust in use to files in dir, which is made where there is none, and returns their paths:
// the trusted root and the registry keys, exact bytes, for --trusted-root and --registry-keys on a machine
// without a network, where they give the same verdicts; and the TUF metadata that vouches for them, where
// there is some, so that others can check where they come from.
func (m *Material) Export(dir string) ([]string, error) {
	files := []struct {
		name string
		data []byte
	}{{ExportedRoot, m.RootJSON}, {ExportedKeys, m.KeysJSON}, {ExportedMetadata, nil}}
	if m.Metadata != nil {
		var err error
		if files[2].data, err = m.Metadata.Encode(); err != nil {
			return nil, fmt.Errorf("exporting trust: %w", err)
		}
	}
	var written []string
	for _, f := range files {
		path := filepath.Join(dir, f.name)
		if f.data == nil {
			// What an earlier export left must not be taken for a part of this one.
			if err := os.Remove(path); err != nil && !os.IsNotExist(err) {
				return written, fmt.Errorf("exporting trust: %w", err)
			}
			continue
		}
		if err := writeFile(path, f.data, 0o644); err != nil {
			return written, fmt.Errorf("exporting trust: %w", err)
		}
		written = append(written, path)
	}
	return written, nil
}

package evidence

import (
	"encoding/hex"
	"time"
)

// SummarySchema names the JSON form of an [ArchiveSummary].
const SummarySchema = "assay/evidence-summary/v1"

// An ArchiveSummary tells what is in an archive, in its order. Texts come from the archive: escape before printing.
type ArchiveSummary struct {
	Schema  string    `json:"schema"`
	File    string    `json:"file"`                    // as the caller names it
	Size    int64     `json:"size"`                    // bytes of the file
	SHA512  string    `json:"sha512"`                  // of the file, hex; what an attestation of the archive names
	Content string    `json:"content_sha256,omitzero"` // of what is compressed, hex; the same however well it is compressed
	Form    string    `json:"form"`                    // [ArchiveSchema]
	Tool    string    `json:"tool"`                    // what made it
	At      time.Time `json:"at"`                      // when the last answer arrived, as whoever made it says
	Pieces  int       `json:"pieces"`                  // different ones
	Bytes   int64     `json:"bytes"`                   // of all pieces
	Trust   struct {
		Root TrustSummary `json:"root"`
		Keys TrustSummary `json:"keys"`
		TUF  bool         `json:"tuf"` // TUF metadata is there
	} `json:"trust"`
	Audits     []AuditSummary    `json:"audits"`
	Registries []RegistrySummary `json:"registries"`
	Packages   []PackageSummary  `json:"packages"`
}

// A TrustSummary is where a trusted root or registry keys come from, as whoever made the archive says.
type TrustSummary struct {
	Origin   string    `json:"origin"`
	Location string    `json:"location"`
	At       time.Time `json:"at,omitzero"`
	Stale    string    `json:"stale"` // why, "" where it was not
	SHA256   string    `json:"sha256"`
	Size     int64     `json:"size"`
}

// An AuditSummary is one audit that the archive was made for.
type AuditSummary struct {
	Subjects     []string        `json:"subjects"`
	Settings     ArchiveSettings `json:"settings"`
	ReportSHA256 string          `json:"report_sha256"`
	ReportSize   int64           `json:"report_size"`
}

// A RegistrySummary is a registry that evidence comes from.
type RegistrySummary struct {
	Registry string        `json:"registry"`
	Named    bool          `json:"named"`
	Keys     AnswerSummary `json:"keys"`
}

// A PackageSummary is the evidence about one version of a package.
type PackageSummary struct {
	Registry        string           `json:"registry"`
	Name            string           `json:"name"`
	Version         string           `json:"version"`
	Unauthenticated bool             `json:"unauthenticated"` // taken from a cache that anybody may have written
	Document        AnswerSummary    `json:"document"`
	Attestations    AnswerSummary    `json:"attestations"`
	Packument       *AnswerSummary   `json:"full_document,omitzero"`
	Tarballs        []TarballSummary `json:"tarballs"`
	Earlier         int              `json:"earlier"` // earlier answers that differ
}

// An AnswerSummary is an answer without its bytes.
type AnswerSummary struct {
	State  string    `json:"state"`
	Status int       `json:"status"`
	At     time.Time `json:"at,omitzero"`
	Reason string    `json:"reason"`
	Detail string    `json:"detail"`
	SHA256 string    `json:"sha256"`
	Size   int64     `json:"size"`
}

// A TarballSummary is what reading a tarball showed. The tarball itself is not in the archive.
type TarballSummary struct {
	URL     string `json:"url"`
	Size    int64  `json:"size"`
	SHA512  string `json:"sha512"` // hex
	Problem string `json:"problem"`
	Reason  string `json:"reason"` // why it could not be had
	Files   bool   `json:"files"`  // its files are listed
}

// Digest returns the SHA-512 of the file that the archive was read from; nil for one that was not read from a file.
func (a *Archive) Digest() []byte { return a.file.sha512 }

// Summary tells what is in the archive. It is to have been read from a file, of the given name.
func (a *Archive) Summary(file string) *ArchiveSummary {
	x := &a.index
	s := &ArchiveSummary{
		Schema: SummarySchema, File: file, Size: a.file.size, SHA512: hex.EncodeToString(a.file.sha512), Content: hex.EncodeToString(a.file.content),
		Form: x.Schema, Tool: x.Tool, At: x.At,
		Audits: []AuditSummary{}, Registries: []RegistrySummary{}, Packages: make([]PackageSummary, 0, len(x.Packages)),
	}
	seen := map[pieceRef]bool{}
	x.walk(func(_ string, p *pieceRef) {
		if !seen[*p] {
			seen[*p] = true
			s.Pieces++
			s.Bytes += p.Size
		}
	})
	trust := func(f *archivedTrustFile) TrustSummary {
		t := TrustSummary{Origin: f.Origin, Location: f.Location, At: f.At}
		if f.Stale {
			t.Stale = f.Reason
		}
		if f.Body != nil {
			t.SHA256, t.Size = f.Body.SHA256, f.Body.Size
		}
		return t
	}
	s.Trust.Root, s.Trust.Keys, s.Trust.TUF = trust(&x.Trust.Root), trust(&x.Trust.Keys), x.Trust.Timestamp != nil
	for _, d := range x.Audits {
		s.Audits = append(s.Audits, AuditSummary{d.Subjects, d.Settings, d.Report.SHA256, d.Report.Size})
	}
	for _, r := range x.Registries {
		s.Registries = append(s.Registries, RegistrySummary{r.Registry, r.Named, r.Keys.summary()})
	}
	for i := range x.Packages {
		p := &x.Packages[i]
		out := PackageSummary{
			Registry: p.Registry, Name: p.Name, Version: p.Version, Unauthenticated: p.Unauthenticated,
			Document: p.Document.summary(), Attestations: p.Attestations.summary(), Tarballs: []TarballSummary{}, Earlier: len(p.Earlier),
		}
		if m := a.packuments[subject{registry: p.Registry, name: p.Name}]; m != nil {
			full := m.Document.summary()
			out.Packument = &full
		}
		for _, t := range p.Tarballs {
			out.Tarballs = append(out.Tarballs, TarballSummary{t.URL, t.Size, t.SHA512, t.Problem, t.Reason, t.Files != nil})
		}
		s.Packages = append(s.Packages, out)
	}
	return s
}

func (k archivedAnswer) summary() AnswerSummary {
	s := AnswerSummary{State: k.State, Status: k.Status, At: k.At, Reason: k.Reason, Detail: k.Detail}
	if k.Body != nil {
		s.SHA256, s.Size = k.Body.SHA256, k.Body.Size
	}
	return s
}

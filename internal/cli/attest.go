package cli

import (
	"bytes"
	"context"
	"crypto/sha512"
	"encoding/hex"
	"fmt"
	"path/filepath"
	"strings"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"
	"github.com/spf13/cobra"

	"assay/internal/evidence"
	"assay/internal/publish"
	"assay/internal/publisher"
	"assay/internal/report"
	"assay/internal/trust"
)

type attestFlags struct {
	signing
	output string
}

// attested is what attest --json prints.
type attested struct {
	Schema    string               `json:"schema"` // "assay/attestation/v1"
	Package   string               `json:"package"`
	Version   string               `json:"version"`
	PURL      string               `json:"purl"`
	Integrity string               `json:"integrity"`
	Bundle    string               `json:"bundle"` // file; "-" for stdout
	Log       string               `json:"log"`    // base URL
	LogIndex  int64                `json:"log_index"`
	Publisher *publisher.Publisher `json:"publisher"`
}

func newAttest(env Environment) *cobra.Command {
	var f attestFlags
	cmd := &cobra.Command{
		Use:   "attest FILE.tgz | EVIDENCE",
		Short: "Sign provenance for a tarball, or for an evidence archive, in a CI job",
		Long: `Attest signs, in a job of GitHub Actions or GitLab CI, which workflow, repository and commit made a tarball:
the statement that npm writes, signed with a certificate for the job's identity. The bundle goes to the
registry with npm publish FILE.tgz --provenance-file BUNDLE.

What the registry would refuse is refused before anything is signed: a package.json whose repository is
not the job's, a private repository, a self-hosted runner. The finished bundle is verified as a consumer
will verify it. It says which job packed the file, and nothing about what was done to it in jobs before.

An evidence archive (assay evidence export) is attested in the same way, for assay audit --evidence FILE
--evidence-bundle BUNDLE --evidence-repo OWNER/REPO.

Over the network go the job's identity token (to the certificate authority, https only) and the signature
with the certificate: repository, workflow, commit and package become public in the transparency log.

Exit codes: 0 signed, 1 refused, 2 wrong usage or a missing permission, 3 a service did not answer.`,
		Example: `  npm pack && assay attest widget-1.0.0.tgz
  npm publish widget-1.0.0.tgz --provenance-file widget-1.0.0.sigstore.json --access public`,
		RunE: func(cmd *cobra.Command, args []string) error { return f.run(cmd.Context(), env, args) },
	}
	f.add(cmd)
	cmd.Flags().StringVarP(&f.output, "output", "o", "", "write the bundle to `FILE`, - for stdout (default: the tarball's name with .sigstore.json)")
	return cmd
}

func (f *attestFlags) run(ctx context.Context, env Environment, args []string) error {
	if len(args) != 1 {
		return usagef("for example assay attest widget-1.0.0.tgz", "attest takes one tarball, and %d were given", len(args))
	}
	ci, err := publish.DetectCI(env.Getenv)
	if err != nil {
		return signingError(ctx, env, err)
	}
	s, err := f.open(ctx, env, env.Dir, false)
	if err != nil {
		return err
	}
	defer s.close()
	f.notes(s)
	data, err := readFile(s.path(args[0]), maxTarball)
	if err != nil {
		return usagef("", "reading the tarball: %w", err)
	}
	if evidence.IsArchive(bytes.NewReader(data)) {
		return f.attestArchive(ctx, s, ci, args[0], data)
	}
	a, p, err := f.attest(ctx, s, ci, data)
	if err != nil {
		return signingError(ctx, env, err)
	}
	output, err := f.writeBundle(s, args[0], a.Bundle)
	if err != nil || output == "-" {
		return err
	}
	if f.json {
		return printJSON(env, attested{"assay/attestation/v1", p.Name, p.Version, p.ID().PURL(), p.Integrity(), output, a.Log, a.LogIndex, a.Publisher})
	}
	fmt.Fprintf(env.Stdout, "%s: %s\n", report.Escape(p.ID().String()), builtBy(a.Publisher))
	fmt.Fprintf(env.Stdout, "bundle: %s\nnext: npm publish %s --provenance-file %s\n", report.Escape(output), report.Escape(args[0]), report.Escape(output))
	return nil
}

// writeBundle writes a bundle to where it belongs, and says where that is.
func (f *attestFlags) writeBundle(s *session, file string, bundle []byte) (output string, err error) {
	output = f.output
	if output == "" {
		output = strings.TrimSuffix(strings.TrimSuffix(file, ".gz"), ".tgz")
		output = strings.TrimSuffix(output, ".tar") + ".sigstore.json"
	}
	if output == "-" {
		_, err = fmt.Fprintf(s.env.Stdout, "%s\n", bundle)
		return output, err
	}
	if err := writeWhole(s.path(output), bundle); err != nil {
		return "", usagef("", "writing the bundle: %w", err)
	}
	return output, nil
}

// attestedFile is what attest --json prints of a file that is no package.
type attestedFile struct {
	Schema    string               `json:"schema"` // "assay/file-attestation/v1"
	File      string               `json:"file"`
	SHA512    string               `json:"sha512"` // hex
	Bundle    string               `json:"bundle"` // file; "-" for stdout
	Log       string               `json:"log"`    // base URL
	LogIndex  int64                `json:"log_index"`
	Publisher *publisher.Publisher `json:"publisher"`
}

// attestArchive attests an evidence archive, which has to be whole.
func (f *attestFlags) attestArchive(ctx context.Context, s *session, ci *publish.CI, name string, data []byte) error {
	archive, err := readArchive(s.path(name), name)
	if err != nil {
		return err
	}
	archive.Close()
	sum := sha512.Sum512(data)
	if !bytes.Equal(sum[:], archive.Digest()) {
		return unknown(fmt.Errorf("%s changes while it is read", name))
	}
	o, err := f.options(s, ci)
	if err != nil {
		return signingError(ctx, s.env, err)
	}
	o.Registry = trust.NPMRegistry // for no package, and only so that the token is asked for as npm does
	j, err := publish.New(o)
	if err != nil {
		return signingError(ctx, s.env, err)
	}
	a, err := j.AttestFile(ctx, filepath.Base(name), sum[:])
	if err != nil {
		return signingError(ctx, s.env, err)
	}
	output, err := f.writeBundle(s, name, a.Bundle)
	if err != nil || output == "-" {
		return err
	}
	if f.json {
		return printJSON(s.env, attestedFile{"assay/file-attestation/v1", name, hex.EncodeToString(sum[:]), output, a.Log, a.LogIndex, a.Publisher})
	}
	repository := strings.TrimPrefix(a.Publisher.Repository, "https://github.com/")
	fmt.Fprintf(s.env.Stdout, "%s: %s\n", report.Escape(name), builtBy(a.Publisher))
	fmt.Fprintf(s.env.Stdout, "bundle: %s\nnext: assay audit --evidence %s --evidence-bundle %s --evidence-repo %s\n",
		report.Escape(output), report.Escape(name), report.Escape(output), report.Escape(repository))
	return nil
}

func (f *attestFlags) attest(ctx context.Context, s *session, ci *publish.CI, data []byte) (*publish.Attestation, *publish.Package, error) {
	p, err := publish.ReadPackage(data)
	if err != nil {
		return nil, nil, err
	}
	if err := p.CheckPublishable(); err != nil {
		return nil, nil, err
	}
	o, err := f.options(s, ci)
	if err != nil {
		return nil, nil, err
	}
	if o.Registry, err = publish.RegistryFor(p.Manifest, s.config, ""); err != nil {
		return nil, nil, err
	}
	j, err := publish.New(o)
	if err != nil {
		return nil, nil, err
	}
	if err := j.Preflight(ctx, p.Manifest); err != nil {
		return nil, nil, err
	}
	a, err := j.Attest(ctx, p)
	return a, p, err
}

// builtBy says in the words of every report who built a package.
func builtBy(p *publisher.Publisher) string {
	return report.Escape(fmt.Sprintf("built from %s@%s by %s, log index %d", p.Repository, p.Commit, p.Workflow, p.LogIndex))
}

func printJSON(env Environment, v any) error {
	text, err := json.Marshal(v, jsontext.WithIndent("  "))
	if err != nil {
		return err
	}
	text = bytes.ReplaceAll(text, []byte("##["), []byte(`#\u0023[`)) // a CI's runner reads along, see finish
	_, err = fmt.Fprintf(env.Stdout, "%s\n", text)
	return err
}

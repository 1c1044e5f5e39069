package cli

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"

	"assay/internal/evidence"
	"assay/internal/publish"
	"assay/internal/registry"
	"assay/internal/report"
)

// signing are the flags that attest and publish share: where is signed, and what is trusted.
type signing struct {
	common
	fulcio          string
	rekor           string
	rekorVersion    int
	tsa             string
	config          string
	allowPrivate    bool
	allowSelfHosted bool
}

func (f *signing) add(cmd *cobra.Command) {
	f.addTrust(cmd)
	fl := cmd.Flags()
	fl.StringVar(&f.policy, "policy", "", "policy `FILE`, for its issuers (default: assay.yaml in the working directory, if there is one)")
	fl.StringVar(&f.config, "signing-config", "", "`FILE` that says where to sign (signing_config.v0.2.json; default: Sigstore's public instance, as npm)")
	fl.StringVar(&f.fulcio, "fulcio-url", "", "certificate authority's `URL`")
	fl.StringVar(&f.rekor, "rekor-url", "", "transparency log's `URL`")
	fl.IntVar(&f.rekorVersion, "rekor-version", 0, "version of the log's API, 1 or 2 (npm 11 cannot verify what is in a log of version 2)")
	fl.StringVar(&f.tsa, "tsa-url", "", "timestamp authority's `URL`; needed with --rekor-version 2")
	fl.BoolVar(&f.allowPrivate, "allow-private", false, "sign although the repository is not public: its name becomes public, and npm's registry refuses the package")
	fl.BoolVar(&f.allowSelfHosted, "allow-self-hosted", false, "sign although the runner is self-hosted: npm's registry refuses the package")
	fl.BoolVar(&f.json, "json", false, "print the result as JSON")
	fl.BoolVarP(&f.quiet, "quiet", "q", false, "print no progress")
	for _, hidden := range []string{"offline"} {
		if flag := fl.Lookup(hidden); flag != nil {
			flag.Hidden = true
		}
	}
}

// notes tells what opening the session had to tell, such as settings that were not taken.
func (f *signing) notes(s *session) {
	for _, n := range s.notes {
		tell(s.env, "assay: warning: ", n.Message)
	}
	if source, stale := s.trust.Stale(); stale && !f.quiet {
		tell(s.env, "assay: warning: ", "the trust root could not be refreshed ("+source.Reason+"): the last one that verified is used")
	}
}

// services are the addresses to sign at.
func (f *signing) services(s *session) (publish.Services, error) {
	services := publish.PublicGood()
	if f.config != "" {
		data, err := readFile(s.path(f.config), 1<<20)
		if err != nil {
			return services, usagef("", "reading the signing configuration: %w", err)
		}
		if services, err = publish.ParseSigningConfig(data, f.rekorVersion, s.env.Now()); err != nil {
			return services, err
		}
	}
	if f.fulcio != "" {
		services.Fulcio = f.fulcio
	}
	if f.rekor != "" {
		services.Rekor = []string{f.rekor}
	}
	switch {
	case f.rekorVersion == 2 && f.rekor == "" && f.config == "":
		return services, usagef("name it with --rekor-url or --signing-config: the address changes every year", "--rekor-version 2 needs the log's address")
	case f.rekorVersion != 0:
		services.RekorVersion = f.rekorVersion
	}
	if f.tsa != "" {
		services = services.WithTSA(f.tsa)
	}
	return services, nil
}

// options are what a job works with; ci is nil where nothing is signed.
func (f *signing) options(s *session, ci *publish.CI) (publish.Options, error) {
	services, err := f.services(s)
	if err != nil {
		return publish.Options{}, err
	}
	sum := sha256.Sum256(s.trust.RootJSON)
	extra, _ := s.env.Getenv("NODE_EXTRA_CA_CERTS")
	o := publish.Options{
		CI: ci, Services: services, Root: s.trust.Root, RootDigest: hex.EncodeToString(sum[:]), Issuers: s.policy.Issuers,
		HTTP: publish.HTTPOptions{
			Config: s.config, UserAgent: "assay/" + Version(), ExtraCAFile: extra,
			ReadFile: func(name string) ([]byte, error) { return readFile(s.path(name), 1<<20) },
			Wait:     s.config.FetchRetryMinTimeout() / 20, // npm's own default of 10 s is for a busy registry
		},
		Now: s.env.Now, AllowPrivate: f.allowPrivate, AllowSelfHosted: f.allowSelfHosted,
		Warn: func(line string) { tell(s.env, "assay: warning: ", line) },
	}
	if !f.quiet {
		o.Say = func(line string) { tell(s.env, "assay: ", line) }
	}
	return o, nil
}

// freshCollector is a collector that takes nothing from the cache: what was true a minute ago is the question.
func (s *session) freshCollector() *evidence.Collector {
	return evidence.NewCollector(evidence.CollectorOptions{
		Now: s.env.Now, Explain: explain,
		Fetcher: evidence.FetcherFor(s.client, func(r *registry.Response) evidence.Response {
			return evidence.Response{URL: r.URL, Status: r.Status, ETag: r.Header.Get("Etag"), Body: r.Body, At: r.At}
		}),
	})
}

// tell prints a text of one or more lines to stderr, escaped.
func tell(env Environment, prefix, text string) {
	for i, line := range strings.Split(text, "\n") {
		if i > 0 {
			prefix = "  "
		}
		rest := strings.TrimLeft(line, " ") // snippets are indented, and Escape shows runs of spaces
		io.WriteString(env.Stderr, inert(prefix+line[:len(line)-len(rest)]+report.Escape(rest))+"\n")
	}
}

// signingError prints an error of package publish with its hint, and turns it into an exit code.
func signingError(ctx context.Context, env Environment, err error) error {
	var refusal *publish.Refusal
	var setup *publish.SetupError
	var service *publish.ServiceError
	code := 0
	switch {
	case err == nil:
		return nil
	case ctx.Err() != nil:
		tell(env, "assay: ", "interrupted; running it again is safe")
		return ctx.Err()
	case errors.As(err, &refusal):
		code = ExitDenied
	case errors.As(err, &setup):
		code = ExitUsage
	case errors.As(err, &service):
		code = ExitUnknown
	default:
		return err
	}
	tell(env, "assay: error: ", err.Error())
	if hint := publish.HintOf(err); hint != "" {
		tell(env, "assay: hint: ", hint)
	}
	return exitError(code)
}

// writeWhole writes a file so that it is there whole or not at all.
func writeWhole(name string, data []byte) error {
	f, err := os.CreateTemp(filepath.Dir(name), ".assay-*")
	if err != nil {
		return err
	}
	defer os.Remove(f.Name())
	_, err = f.Write(data)
	if err == nil {
		err = f.Chmod(0o644)
	}
	if closing := f.Close(); err == nil {
		err = closing
	}
	if err == nil {
		err = os.Rename(f.Name(), name)
	}
	return err
}

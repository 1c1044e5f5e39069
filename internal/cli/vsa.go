package cli

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"net/url"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/pflag"

	"assay/internal/publish"
	"assay/internal/report"
)

// summaryFlags say whether verification summaries are signed, and where.
type summaryFlags struct {
	sign  bool
	where signing // only its addresses
	named *pflag.FlagSet
}

// signingFlags say something of how --sign signs, and nothing without it.
var signingFlags = []string{"signing-config", "fulcio-url", "rekor-url", "rekor-version", "tsa-url", "allow-private"}

func (f *summaryFlags) add(fl *pflag.FlagSet) {
	f.named = fl
	fl.BoolVar(&f.sign, "sign", false, "sign verification summaries (--format vsa, --report vsa=FILE) with this CI job's identity, if it has one")
	fl.StringVar(&f.where.config, "signing-config", "", "with --sign, `FILE` that says where to sign (signing_config.v0.2.json; default: Sigstore's public instance)")
	fl.StringVar(&f.where.fulcio, "fulcio-url", "", "with --sign, certificate authority's `URL`")
	fl.StringVar(&f.where.rekor, "rekor-url", "", "with --sign, transparency log's `URL`")
	fl.IntVar(&f.where.rekorVersion, "rekor-version", 0, "with --sign, version of the log's API, 1 or 2")
	fl.StringVar(&f.where.tsa, "tsa-url", "", "with --sign, timestamp authority's `URL`; needed with --rekor-version 2")
	fl.BoolVar(&f.where.allowPrivate, "allow-private", false, "with --sign, sign although the repository is not public: its name becomes public")
	for _, name := range []string{"fulcio-url", "rekor-url", "rekor-version", "tsa-url"} { // one file says it all
		fl.Lookup(name).Hidden = true
	}
}

// check refuses to sign what nobody asked for.
func (f *summaryFlags) check(c *common) error {
	if !f.sign && f.named != nil {
		for _, name := range signingFlags {
			if f.named.Changed(name) {
				return usagef("for example --sign --report vsa=FILE", "--%s is about --sign, and nothing is signed", name)
			}
		}
	}
	if !f.sign || c.format == "vsa" {
		return nil
	}
	for _, r := range c.reports {
		if strings.HasPrefix(r, "vsa=") {
			return nil
		}
	}
	return usagef("for example --sign --report vsa=FILE", "--sign signs verification summaries, and none are asked for")
}

// documents is what documents for other tools say of a run beside its report.
func (s *session) documents() (report.DocumentOptions, error) {
	var d report.DocumentOptions
	if epoch, ok := s.env.Getenv("SOURCE_DATE_EPOCH"); ok && epoch != "" {
		seconds, err := strconv.ParseInt(epoch, 10, 64)
		if err != nil || seconds < 0 || seconds > 253402300799 {
			return d, usagef("it is a number of seconds since 1970 (reproducible-builds.org/specs/source-date-epoch)", "SOURCE_DATE_EPOCH is %q", epoch)
		}
		d.Time = time.Unix(seconds, 0).UTC()
	}
	if s.replay != nil {
		d.EvidenceAt, d.EvidenceSHA512 = s.replay.archive.At(), hex.EncodeToString(s.replay.archive.Digest())
	}
	if s.policyData != nil {
		sum := sha256.Sum256(s.policyData)
		d.PolicyURI = "file:" + (&url.URL{Path: filepath.ToSlash(s.policy.File)}).EscapedPath()
		d.PolicySHA256 = hex.EncodeToString(sum[:])
	}
	return d, nil
}

// summaries signs the verification summaries of a report with the job's identity: Sigstore bundles, one a line. It is
// nil, and a note says why, where there is no job to sign for.
func (f *summaryFlags) summaries(ctx context.Context, s *session, rep *report.Report, o report.TextOptions) ([]byte, error) {
	if !f.sign {
		return nil, nil
	}
	ci, err := publish.DetectCI(s.env.Getenv)
	if err != nil {
		tell(s.env, "assay: warning: ", "the verification summaries are not signed, because there is no identity at hand: "+err.Error())
		return nil, nil
	}
	where := f.where
	where.common = *s.flags
	options, err := where.options(s, ci)
	if err != nil {
		return nil, err
	}
	options.Registry = s.registryFor("")
	job, err := publish.New(options)
	if err != nil {
		return nil, err
	}
	if o.Documents.Time.IsZero() {
		o.Documents.Time = s.env.Now().UTC().Truncate(time.Second)
	}
	signed, err := job.SignStatements(ctx, func(identity string) ([][]byte, error) {
		o.Documents.Verifier = identity
		made, left := report.VSAs(rep, o)
		if left > 0 {
			tell(s.env, "assay: note: ", fmt.Sprintf("%d of %d packages get no verification summary: nothing was decided of them, or the digest of their tarball is not known", left, len(rep.Packages)))
		}
		statements := make([][]byte, len(made))
		for i, v := range made {
			statements[i] = v.Statement
		}
		return statements, nil
	})
	if err != nil {
		return nil, err
	}
	lines := []byte{}
	for _, a := range signed {
		lines = append(append(lines, a.Bundle...), '\n')
	}
	return lines, nil
}

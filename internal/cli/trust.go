package cli

import (
	"fmt"
	"time"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"
	"github.com/spf13/cobra"

	"assay/internal/report"
	"assay/internal/trust"
)

// newTrust shows, refreshes and exports what verdicts start from.
func newTrust(env Environment) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "trust",
		Short: "Show, update or export the trust root and registry keys in use",
		Args:  noArgs,
		RunE:  func(cmd *cobra.Command, args []string) error { return cmd.Help() },
	}
	cmd.AddCommand(
		trustCommand(env, "show", "Show the trust root and registry keys in use, and how old they are", func(cmd *cobra.Command, s *session, asJSON bool) error {
			return s.showTrust(asJSON)
		}),
		trustCommand(env, "update", "Refresh the trust root and registry keys now", func(cmd *cobra.Command, s *session, asJSON bool) error {
			m, err := trust.Update(cmd.Context(), s.trustOptions(s.flags.cacheDir(s.env), true))
			if m == nil {
				return usagef("", "%w", err)
			}
			s.trust = m
			if err := s.showTrust(asJSON); err != nil {
				return err
			}
			if err != nil {
				fmt.Fprintf(s.env.Stderr, "assay: error: %s\n", report.Escape(err.Error()))
				return exitError(ExitUnknown)
			}
			return nil
		}),
		newTrustExport(env),
	)
	return cmd
}

func trustCommand(env Environment, name, short string, run func(*cobra.Command, *session, bool) error) *cobra.Command {
	var f common
	cmd := &cobra.Command{
		Use:   name,
		Short: short,
		Args:  noArgs,
		RunE: func(cmd *cobra.Command, args []string) error {
			s, err := f.open(cmd.Context(), env, env.Dir, false)
			if err != nil {
				return err
			}
			return run(cmd, s, f.json)
		},
	}
	f.addTrust(cmd)
	cmd.Flags().BoolVar(&f.json, "json", false, "print JSON")
	return cmd
}

// addTrust adds the flags that say where trust comes from.
func (c *common) addTrust(cmd *cobra.Command) {
	f := cmd.Flags()
	f.StringVar(&c.trustedRoot, "trusted-root", "", "`FILE` with the Sigstore trusted root")
	f.StringVar(&c.keys, "registry-keys", "", "`FILE` with the registry's keys")
	f.StringVar(&c.cache, "cache", "", "cache `DIR`")
	f.BoolVar(&c.offline, "offline", false, "make no network request")
}

func newTrustExport(env Environment) *cobra.Command {
	var f common
	var dir string
	cmd := &cobra.Command{
		Use:   "export",
		Short: "Write the trust root and registry keys to files, for a machine without network",
		Long: `Export writes trusted_root.json and registry-keys.json into a directory, with the TUF metadata that
vouches for them. Elsewhere,
  assay audit --trusted-root trusted_root.json --registry-keys registry-keys.json
gives the same verdicts.`,
		Args: noArgs,
		RunE: func(cmd *cobra.Command, args []string) error {
			s, err := f.open(cmd.Context(), env, env.Dir, false)
			if err != nil {
				return err
			}
			files, err := s.trust.Export(s.path(dir))
			if err != nil {
				return usagef("", "%w", err)
			}
			for _, file := range files {
				fmt.Fprintln(env.Stdout, file)
			}
			return nil
		},
	}
	f.addTrust(cmd)
	cmd.Flags().StringVarP(&dir, "output", "o", ".", "`DIR` to write to")
	return cmd
}

// showTrust prints the trust in use.
func (s *session) showTrust(asJSON bool) error {
	sum, err := s.trust.Summary()
	if err != nil {
		return unknown(err)
	}
	w := s.env.Stdout
	if asJSON {
		return json.MarshalWrite(w, sum, jsontext.Multiline(true), jsontext.WithIndent("  "))
	}
	source := func(what string, o trust.Source) {
		fmt.Fprintf(w, "%s  %s", what, o.Origin)
		if o.Location != "" {
			fmt.Fprintf(w, " (%s)", report.Escape(o.Location))
		}
		if !o.At.IsZero() {
			fmt.Fprintf(w, ", as of %s, %d days ago", o.At.Format(time.DateOnly), int(o.Age.Hours()/24))
		}
		fmt.Fprintln(w)
		if o.Stale {
			fmt.Fprintf(w, "               %s: %s\n", trust.ReasonStale, report.Escape(o.Detail))
		}
	}
	source("trusted root ", sum.Root)
	source("registry keys", sum.Keys)
	span := func(start, end time.Time) string {
		from, to := "always", "now"
		if !start.IsZero() {
			from = start.Format(time.DateOnly)
		}
		if !end.IsZero() {
			to = end.Format(time.DateOnly)
		}
		return from + " to " + to
	}
	if len(sum.Roles) > 0 {
		fmt.Fprintln(w, "\nTUF metadata")
	}
	for _, r := range sum.Roles {
		fmt.Fprintf(w, "  %-20s version %d, expires %s\n", report.Escape(r.Name), r.Version, r.Expires.Format(time.DateOnly))
	}
	logs := func(title string, logs []trust.Log) {
		fmt.Fprintf(w, "\n%s\n", title)
		for _, l := range logs {
			kind := ""
			if l.Version > 0 {
				kind = fmt.Sprintf(", Rekor v%d", l.Version)
			}
			fmt.Fprintf(w, "  %s  %s%s\n    id %s\n", report.Escape(l.URL), span(l.Start, l.End), kind, l.ID)
		}
	}
	authorities := func(title string, list []trust.Authority) {
		fmt.Fprintf(w, "\n%s\n", title)
		for _, a := range list {
			fmt.Fprintf(w, "  %s  %s\n", report.Escape(a.Subject), span(a.Start, a.End))
			for _, c := range a.Certificates {
				fmt.Fprintf(w, "    sha256 %s\n", c)
			}
		}
	}
	logs("Transparency logs", sum.Logs)
	authorities("Certificate authorities", sum.CertificateAuthorities)
	logs("Certificate transparency logs", sum.CTLogs)
	authorities("Timestamp authorities", sum.TimestampAuthorities)
	fmt.Fprintln(w, "\nRegistry keys")
	for _, k := range sum.RegistryKeys {
		fmt.Fprintf(w, "  %s  %s  %s\n", report.Escape(k.ID), span(k.Start, k.End), report.Escape(k.Usage))
	}
	return nil
}

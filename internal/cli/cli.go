// Package cli turns arguments into calls and decisions into exit codes: one file for each command. It owns
// flags, files, streams and the terminal; it decides nothing.
package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"runtime/debug"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
	"golang.org/x/term"

	"assay/internal/report"
)

// Exit codes, the same for every command.
const (
	ExitAllowed = 0 // nothing denied
	ExitDenied  = 1 // a check failed or a rule was broken
	ExitUsage   = 2 // wrong usage or configuration
	ExitUnknown = 3 // could not tell
)

// An Environment is what a command sees of the world, so that a test can give it another.
type Environment struct {
	Stdin          io.Reader
	Stdout, Stderr io.Writer
	Getenv         func(string) (string, bool)
	Environ        []string
	Dir            string // working directory
	Terminal       bool   // stderr is a terminal
	Colour         bool   // stdout may be coloured
	Width          int    // columns of the terminal; 0 where stdout is none
	Now            func() time.Time
}

// OS returns the process's own environment.
func OS() Environment {
	dir, err := os.Getwd()
	if err != nil {
		dir = "."
	}
	env := Environment{
		Stdin: os.Stdin, Stdout: os.Stdout, Stderr: os.Stderr,
		Getenv: os.LookupEnv, Environ: os.Environ(), Dir: dir, Now: time.Now,
	}
	env.Terminal = term.IsTerminal(int(os.Stderr.Fd()))
	if fd := int(os.Stdout.Fd()); term.IsTerminal(fd) {
		env.Colour = true
		if w, _, err := term.GetSize(fd); err == nil && w > 0 {
			env.Width = w
		}
	}
	if v, ok := env.Getenv("NO_COLOR"); ok && v != "" { // no-color.org
		env.Colour = false
	}
	if v, ok := env.Getenv("TERM"); ok && v == "dumb" {
		env.Colour = false
	}
	return env
}

// A usageError is a mistake in arguments or configuration: exit code 2.
type usageError struct {
	err  error
	hint string // what to type instead, "" if there is nothing to say
}

func (e *usageError) Error() string { return e.err.Error() }
func (e *usageError) Unwrap() error { return e.err }

func usagef(hint, format string, args ...any) error {
	return &usageError{fmt.Errorf(format, args...), hint}
}

// An unknownError says that a question could not be answered: exit code 3.
type unknownError struct{ err error }

func (e *unknownError) Error() string { return e.err.Error() }
func (e *unknownError) Unwrap() error { return e.err }

func unknown(err error) error { return &unknownError{err} }

// An exitError carries an exit code whose reason has been told already.
type exitError int

func (e exitError) Error() string { return fmt.Sprintf("exit code %d", int(e)) }

// Main runs one command and returns its exit code.
func Main(ctx context.Context, args []string, env Environment) int {
	root := newRoot(env)
	root.SetArgs(args)
	err := root.ExecuteContext(ctx)
	var exit exitError
	var usage *usageError
	var unknown *unknownError
	switch {
	case err == nil:
		return ExitAllowed
	case errors.As(err, &exit):
		return int(exit)
	case ctx.Err() != nil: // before the others: an interrupted question could not be answered either
		fmt.Fprintln(env.Stderr, "assay: interrupted")
		return 130
	case errors.As(err, &usage):
		fmt.Fprintf(env.Stderr, "assay: error: %s\n", inert(report.Escape(usage.Error())))
		if usage.hint != "" {
			fmt.Fprintf(env.Stderr, "assay: hint: %s\n", inert(report.Escape(usage.hint)))
		}
		return ExitUsage
	}
	fmt.Fprintf(env.Stderr, "assay: error: %s\n", inert(report.Escape(err.Error())))
	if errors.As(err, &unknown) {
		return ExitUnknown
	}
	return ExitUsage
}

func newRoot(env Environment) *cobra.Command {
	root := &cobra.Command{
		Use:   "assay",
		Short: "Which workflow, of which repository, at which commit, made these exact bytes?",
		Long: `Assay says of every npm package that a project uses which workflow of which repository at which commit
made its exact bytes, or what exactly does not hold. Provenance proves which workflow ran, not that it was
honest; a package without it is not at fault.`,
		Example: `  assay audit                          the project in this directory
  assay verify sigstore@2.0.0          one package: every check, and who built it`,
		Version:           Version(),
		SilenceErrors:     true,
		SilenceUsage:      true,
		CompletionOptions: cobra.CompletionOptions{HiddenDefaultCmd: true},
		Args:              noArgs,
		RunE:              func(cmd *cobra.Command, args []string) error { return cmd.Help() },
		PersistentPreRunE: func(cmd *cobra.Command, args []string) error { return checkValues(cmd) },
	}
	root.SetIn(env.Stdin)
	root.SetOut(env.Stdout)
	root.SetErr(env.Stderr)
	root.SetVersionTemplate("assay {{.Version}}\n")
	root.SetFlagErrorFunc(flagError)
	root.AddCommand(newAudit(env), newPin(env), newDiff(env), newPolicy(env), newVerify(env), newAttest(env), newPublish(env), newDoctor(env), newEvidence(env), newTrust(env), newSchema(env), newDemo(env), newVersion(env))
	root.SetHelpCommand(newHelp(root))
	root.InitDefaultHelpCmd()
	root.InitDefaultCompletionCmd()
	for _, c := range root.Commands() {
		if c.Name() == "completion" {
			c.Hidden = false
			c.Short = "Print a completion script for bash, zsh, fish or powershell"
			c.Args, c.RunE = noArgs, func(cmd *cobra.Command, args []string) error { return cmd.Help() }
		}
	}
	return root
}

// newVersion prints the version of the binary and of the Go that built it.
func newVersion(env Environment) *cobra.Command {
	return &cobra.Command{
		Use:   "version",
		Short: "Print the version",
		Args:  noArgs,
		RunE: func(cmd *cobra.Command, args []string) error {
			fmt.Fprintf(env.Stdout, "assay %s\n", Version())
			if info, ok := debug.ReadBuildInfo(); ok {
				fmt.Fprintf(env.Stdout, "built with %s", info.GoVersion)
				for _, s := range info.Settings {
					if s.Key == "vcs.revision" {
						fmt.Fprintf(env.Stdout, " from commit %s", s.Value)
					}
				}
				fmt.Fprintln(env.Stdout)
			}
			return nil
		},
	}
}

// version is the released version; the linker may set it (-X assay/internal/cli.version=1.2.3).
var version = "0.1.0-dev"

// Version returns the version of this binary.
func Version() string { return strings.TrimPrefix(version, "v") }

// checkValues refuses flags with nothing as their value: a script's variable that is not set must not mean that there is
// no policy.
func checkValues(cmd *cobra.Command) (err error) {
	cmd.Flags().Visit(func(f *pflag.Flag) {
		if f.Value.Type() == "string" && f.Value.String() == "" {
			err = usagef("an unset variable in a script does that", "--%s is empty", f.Name)
		}
	})
	return err
}

// flagError is what is said of flags that cannot be read: which flag may have been meant, where one is not known.
func flagError(cmd *cobra.Command, err error) error {
	hint := cmd.CommandPath() + " --help lists the flags"
	var unknown *pflag.NotExistError
	if errors.As(err, &unknown) && unknown.GetSpecifiedShortnames() == "" {
		var names []string
		cmd.Flags().VisitAll(func(f *pflag.Flag) {
			if !f.Hidden {
				names = append(names, f.Name)
			}
		})
		if near := nearest(unknown.GetSpecifiedName(), names); near != "" {
			hint = "is it --" + near + "? " + hint
		}
	}
	return usagef(hint, "%w", err)
}

// unknownCommand is what is said of a command that there is none of.
func unknownCommand(parent *cobra.Command, name string) error {
	hint := parent.CommandPath() + " --help lists the commands"
	var names []string
	for _, c := range parent.Commands() {
		if c.IsAvailableCommand() || c.Name() == "help" {
			names = append(names, c.Name())
		}
	}
	if near := nearest(name, names); near != "" {
		hint = "is it " + parent.CommandPath() + " " + near + "? " + hint
	}
	return usagef(hint, "unknown command %q", strings.TrimPrefix(parent.CommandPath()+" "+name, "assay "))
}

// newHelp prints the help of a command. Cobra's own leaves with success where there is no such command.
func newHelp(root *cobra.Command) *cobra.Command {
	return &cobra.Command{
		Use:   "help [COMMAND]",
		Short: "Print the help of a command",
		RunE: func(cmd *cobra.Command, args []string) error {
			at := root
		next:
			for _, name := range args {
				for _, c := range at.Commands() {
					if c.Name() == name || c.HasAlias(name) {
						at = c
						continue next
					}
				}
				return unknownCommand(at, name)
			}
			at.InitDefaultHelpFlag()
			return at.Help()
		},
	}
}

func noArgs(cmd *cobra.Command, args []string) error {
	if len(args) > 0 && cmd.HasSubCommands() {
		return unknownCommand(cmd, args[0])
	}
	if len(args) > 0 {
		return usagef(cmd.CommandPath()+" --help", "%s takes no arguments, and %q was given", cmd.CommandPath(), args[0])
	}
	return nil
}

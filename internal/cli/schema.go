package cli

import (
	"slices"

	"github.com/spf13/cobra"

	"assay/internal/report"
)

// schemas are the JSON Schemas that the binary carries, by the name of what they describe.
var schemas = map[string]func() []byte{"report": report.SchemaJSON}

// newSchema prints a JSON Schema.
func newSchema(env Environment) *cobra.Command {
	return &cobra.Command{
		Use:   "schema [NAME]",
		Short: "Print the JSON Schema of the report",
		Long: `Schema prints a JSON Schema (draft 2020-12), so that programs can check what they read. NAME is report, which it
is without NAME too: what assay audit --json and assay verify --json print.`,
		Example: `  assay schema > assay-report.schema.json`,
		RunE: func(cmd *cobra.Command, args []string) error {
			if len(args) == 0 {
				args = []string{"report"}
			}
			if len(args) > 1 {
				return usagef("for example assay schema report", "assay schema takes one name, and %d were given", len(args))
			}
			schema := schemas[args[0]]
			if schema == nil {
				var names []string
				for name := range schemas {
					names = append(names, name)
				}
				slices.Sort(names)
				return usagef("there is one of "+sentence(names, "and"), "there is no schema of %q", args[0])
			}
			_, err := env.Stdout.Write(schema())
			return err
		},
	}
}

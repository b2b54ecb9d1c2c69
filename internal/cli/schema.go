package cli

import "github.com/spf13/cobra"

func newSchema(f *factory) *cobra.Command {
	return &cobra.Command{
		Use:   "schema",
		Short: "Print the JSON Schema of landward.yaml, for editors",
		Example: `  landward schema > landward.schema.json
  and as the first line of landward.yaml:
  # yaml-language-server: $schema=landward.schema.json`,
		Args: none,
		RunE: func(*cobra.Command, []string) error {
			_, err := f.Stdout.Write(f.servers.Schema())
			return err
		},
	}
}

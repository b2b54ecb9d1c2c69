package cli

import "github.com/spf13/cobra"

func newStatus(f *factory) *cobra.Command {
	return &cobra.Command{
		Use:   "status",
		Short: "Show how the server and its parts stand",
		Args:  none,
		RunE: func(cmd *cobra.Command, _ []string) error {
			c, err := f.client()
			if err != nil {
				return err
			}
			s, err := c.Status(cmd.Context())
			if err != nil {
				return err
			}
			return f.show(s, func() {
				f.printf("Landward %s, apps at NAME.%s\n", s.Version, s.Domain)
				f.printf("  Instance:  %s\n", s.Instance)
				f.printf("  Started:   %s\n", ago(f.Now(), s.StartedAt))
				f.printf("  Apps:      %d\n", s.Apps)
				for _, p := range s.Components {
					f.printf("  %-10s %s", p.Name+":", p.State)
					if p.Message != "" {
						f.printf(", %s", p.Message)
					}
					f.printf("\n")
				}
			})
		},
	}
}

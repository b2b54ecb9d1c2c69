package cli

import (
	"runtime"

	"github.com/spf13/cobra"

	"landward/client"
)

// versions is the answer of `landward version --json`.
type versions struct {
	Version string          `json:"version"`
	Go      string          `json:"go"`
	OS      string          `json:"os"`
	Arch    string          `json:"arch"`
	Server  *client.Version `json:"server,omitempty"`
}

func newVersion(f *factory) *cobra.Command {
	server := false
	cmd := &cobra.Command{
		Use:   "version",
		Short: "Show the version of this program and, if asked, the server's",
		Args:  none,
		RunE: func(cmd *cobra.Command, _ []string) error {
			v := versions{Version: f.Version, Go: runtime.Version(), OS: runtime.GOOS, Arch: runtime.GOARCH}
			if server {
				c, err := f.client()
				if err != nil {
					return err
				}
				remote, err := c.Version(cmd.Context())
				if err != nil {
					return err
				}
				v.Server = &remote
			}
			return f.show(v, func() {
				f.printf("landward %s (%s, %s/%s)\n", v.Version, v.Go, v.OS, v.Arch)
				if v.Server != nil {
					f.printf("server   %s\n", v.Server.Version)
				}
			})
		},
	}
	cmd.Flags().BoolVar(&server, "remote", false, "ask the server for its version too")
	return cmd
}

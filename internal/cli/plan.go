package cli

import (
	"fmt"
	"io"
	"strings"

	"github.com/spf13/cobra"

	"landward/client"
)

type planOptions struct{ dockerfile bool }

func newPlan(f *factory) *cobra.Command {
	o := &planOptions{}
	cmd := &cobra.Command{
		Use:   "plan [DIR]",
		Short: "Show what a deploy of a folder would do, and change nothing",
		Example: `  landward plan
  landward plan --dockerfile > Dockerfile`,
		Args: between(0, 1, "at most one folder"),
		RunE: func(cmd *cobra.Command, args []string) error { return runPlan(cmd, f, o, args) },
	}
	cmd.Flags().BoolVar(&o.dockerfile, "dockerfile", false, "print the Dockerfile that Landward would write, and nothing else")
	return cmd
}

func runPlan(cmd *cobra.Command, f *factory, o *planOptions, args []string) error {
	dir := f.Dir
	if len(args) > 0 {
		dir = f.path(args[0])
	}
	c, err := f.client()
	if err != nil {
		return err
	}
	p, err := packed(f, dir, func(archive io.Reader) (client.Plan, error) { return c.Plan(cmd.Context(), archive) })
	if err != nil {
		return err
	}
	if o.dockerfile && !f.json {
		return f.printDockerfile(p)
	}
	return f.show(p, func() { f.printPlan(p) })
}

func (f *factory) printDockerfile(p client.Plan) error {
	for _, s := range p.Services {
		if s.Build != nil && s.Build.Generated != "" {
			f.printText(s.Build.Generated)
			return nil
		}
	}
	return failf("Landward writes no Dockerfile here: it uses %s", clean(p.Why))
}

// printText prints a text of several lines, each made safe.
func (f *factory) printText(text string) {
	for line := range strings.SplitSeq(strings.TrimSuffix(text, "\n"), "\n") {
		f.printf("%s\n", line)
	}
}

func (f *factory) printPlan(p client.Plan) {
	f.printf("-----> %s: %s\n", planHead(p.Builder), p.Why)
	for _, s := range p.Services {
		f.printServicePlan(s, len(p.Services) > 1)
	}
	if p.Release != nil {
		f.printf("       release: %s (once, before traffic)\n", p.Release.String())
	}
	for _, j := range p.Cron {
		f.printf("       cron %s: %s at %s\n", j.Name, j.Command.String(), j.Schedule)
	}
	for _, e := range p.Env {
		need := "optional"
		switch {
		case e.Generate:
			need = "made by Landward"
		case e.Value != "":
			need = "has a default"
		case e.Required:
			need = "required"
		}
		f.printf("       variable %s (%s) %s\n", e.Name, need, e.Description)
	}
	for _, n := range p.Notices {
		f.printf(" !     %s\n", n)
	}
}

func planHead(builder string) string {
	names := map[string]string{"go": "Go", "node": "Node", "python": "Python", "static": "Static site",
		"dockerfile": "Dockerfile", "image": "Image"}
	name, known := names[builder]
	if !known {
		name = builder
	}
	switch builder {
	case "go", "node", "python":
		return name + " app detected"
	}
	return name
}

func (f *factory) printServicePlan(s client.ServicePlan, several bool) {
	if several {
		f.printf("       service %s\n", s.Name)
	}
	switch {
	case s.Build == nil:
		f.printf("       image: %s\n", s.Image)
	case s.Build.Generated != "":
		f.printf("       Dockerfile: written by Landward; see it with landward plan --dockerfile\n")
	default:
		f.printf("       Dockerfile: %s\n", s.Build.Dockerfile)
	}
	if s.Build != nil && s.Build.Target != "" {
		f.printf("       target: %s\n", s.Build.Target)
	}
	for _, p := range s.Processes {
		command := "the image's own command"
		if p.Command != nil {
			command = p.Command.String()
		}
		note := ""
		if p.Port != 0 {
			note = fmt.Sprintf(" on port %d", p.Port)
		}
		f.printf("       %s=%d: %s%s\n", p.Name, p.Replicas, command, note)
	}
}

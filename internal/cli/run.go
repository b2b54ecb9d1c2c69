package cli

import (
	"context"
	"errors"

	"github.com/spf13/cobra"

	"landward/client"
)

type attachOptions struct{ tty, noTTY bool }

func (o *attachOptions) add(cmd *cobra.Command) {
	cmd.Flags().SetInterspersed(false) // what follows the first word belongs to the command
	cmd.Flags().BoolVarP(&o.tty, "tty", "t", false, "give it a terminal; the default where you have one")
	cmd.Flags().BoolVar(&o.noTTY, "no-tty", false, "give it none")
}

func newRun(f *factory) *cobra.Command {
	o := &attachOptions{}
	cmd := &cobra.Command{
		Use:   "run [--] COMMAND...",
		Short: "Run a command in a new container of the app",
		Long: `Runs a command in a new container with the image and the variables of the
release that serves, and removes the container afterwards. Standard input,
output and the exit code pass through. With --json the command's output goes to
standard error, and standard output gets {"exit_code": N}.`,
		Example: `  landward run -- rails console
  landward run ./migrate status`,
		Args: between(1, -1, "a command"),
		RunE: func(cmd *cobra.Command, args []string) error {
			return runAttached(cmd, f, o, client.Start{Command: args}, (*client.Client).Run)
		},
	}
	o.add(cmd)
	return cmd
}

// attachCall is Client.Run or Client.Exec.
type attachCall func(c *client.Client, ctx context.Context, app string, start client.Start, a client.Attach) (int, error)

func runAttached(cmd *cobra.Command, f *factory, o *attachOptions, start client.Start, call attachCall) error {
	if o.tty && (o.noTTY || !f.Terminal.In || f.json) {
		return usagef("there is no terminal to give").hint("leave --tty away")
	}
	c, app, err := f.connect(cmd.Context())
	if err != nil {
		return err
	}
	a := client.Attach{Stdin: f.Stdin, Stdout: f.Stdout, Stderr: f.Stderr}
	if f.json {
		a.Stdout = f.Stderr
	}
	ctx, cancel := context.WithCancel(cmd.Context())
	defer cancel()
	start.TTY = o.tty || !o.noTTY && !f.json && f.Terminal.In && f.Terminal.Out
	if start.TTY {
		restore, err := f.Terminal.Raw()
		if err != nil {
			return err
		}
		defer restore()
		start.Size = f.termSize()
		a.Resize = f.sizes(ctx)
	}
	code, err := call(c, ctx, app, start, a)
	switch {
	case cmd.Context().Err() != nil && err != nil:
		return exitStatus(exitInterrupted)
	case errors.Is(err, context.Canceled):
		return exitStatus(exitInterrupted)
	case err != nil:
		return err
	}
	if f.json {
		if err := writeJSON(f.Stdout, map[string]int{"exit_code": code}, "  "); err != nil {
			return err
		}
	}
	if code != 0 {
		return exitStatus(code)
	}
	return nil
}

func (f *factory) termSize() client.TermSize {
	w, h := f.Terminal.Size()
	return client.TermSize{Width: uint16(w), Height: uint16(h)} //nolint:gosec // a terminal's size fits
}

// sizes sends the terminal's size each time that it changes, until ctx ends.
func (f *factory) sizes(ctx context.Context) <-chan client.TermSize {
	out := make(chan client.TermSize)
	changed := f.Terminal.Resized(ctx)
	go func() {
		defer close(out)
		for {
			select {
			case <-ctx.Done():
				return
			case <-changed:
			}
			select {
			case <-ctx.Done():
				return
			case out <- f.termSize():
			}
		}
	}()
	return out
}

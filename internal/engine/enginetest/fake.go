package enginetest

import (
	"context"
	"fmt"
	"net/netip"

	"landward/internal/engine/enginetest/probe"
	"landward/internal/engine/fake"
)

// RunProbe runs package probe in the world of a fake container.
func RunProbe(ctx context.Context, p fake.Process) int {
	args := p.Args
	if len(args) > 0 {
		args = args[1:]
	}
	sizes := make(chan string)
	go func() {
		for {
			select {
			case s, ok := <-p.Sizes:
				if !ok {
					return
				}
				sizes <- fmt.Sprintf("%dx%d", s.Width, s.Height)
			case <-ctx.Done():
				return
			}
		}
	}()
	return probe.Main(probe.World{
		Args: args, Env: p.Unit.Env, Stdin: p.Stdin, Stdout: p.Stdout, Stderr: p.Stderr,
		ReadFile: p.ReadFile, WriteFile: p.WriteFile, Term: p.Term, Killed: ctx.Done(), Sizes: sizes,
		Listen: func(addr string) error {
			a, err := netip.ParseAddrPort(addr)
			p.Listen(a)
			return err
		},
	})
}

package remote_test

import (
	"context"
	"fmt"
	"net/netip"
	"testing"

	"landward/internal/engine/enginetest"
	"landward/internal/engine/enginetest/probe"
	"landward/internal/engine/fake"
	"landward/internal/engine/remote"
	"landward/internal/landward"
)

func TestSuite(t *testing.T) {
	enginetest.Run(t, func(t *testing.T, _ string) enginetest.Subject {
		e := fake.New(fake.Options{Program: runProbe})
		t.Cleanup(e.Close)
		img := landward.Image{ID: fake.ImageID("probe"), Exposed: []int{8080, 9090}, Size: 1 << 20}
		e.AddImage(img)
		c, _ := serve(t, remote.Services{Engine: e, Runner: e, Images: e})
		return enginetest.Subject{Engine: c, Runner: c, Images: c, Image: img.ID}
	})
}

// runProbe runs package probe in the world of a fake container.
func runProbe(ctx context.Context, p fake.Process) int {
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

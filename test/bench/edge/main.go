// Command edge measures what traffic costs at Landward's edge, against nginx,
// Caddy, HAProxy and net/http's ReverseProxy on the same machine in the same
// run, and prints one Markdown table of ratios. Every server is a process of its
// own, before one small backend and under one load generator, which are this
// program started again in another role. It must never reach beyond loopback
// and a temporary folder. docs/performance.md says what the figures mean.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"strings"
	"syscall"
	"time"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	err := run(ctx, os.Args[1:])
	interrupted := ctx.Err() != nil
	stop()
	if interrupted && err != nil {
		fmt.Fprintln(os.Stderr, "bench-edge: interrupted")
		os.Exit(130) // as a shell says it
	}
	if err != nil && !errors.Is(err, flag.ErrHelp) {
		fmt.Fprintln(os.Stderr, "bench-edge:", err)
		os.Exit(1)
	}
}

// run acts the role that the first argument names, or is the benchmark itself.
func run(ctx context.Context, args []string) error {
	if len(args) > 0 {
		if act, ok := roles[args[0]]; ok {
			return act(ctx, args[1:])
		}
	}
	s, err := parse(args)
	if err != nil {
		return err
	}
	b, err := newBench(ctx, s)
	if err != nil {
		return err
	}
	defer b.close()
	return b.run(ctx)
}

// roles are what this program does when the benchmark starts it again.
var roles = map[string]func(ctx context.Context, args []string) error{
	roleBackend:      backendMain,
	roleLoad:         loadMain,
	roleHandshakes:   handshakesMain,
	roleHold:         holdMain,
	roleReverseProxy: reverseProxyMain,
}

// settings are the flags.
type settings struct {
	only     string
	short    bool
	rounds   int
	window   time.Duration
	pin      bool
	landward string
	nginx    string
	caddy    string
	haproxy  string
	h2load   string
}

func parse(args []string) (settings, error) {
	var s settings
	fs := flag.NewFlagSet("edge", flag.ContinueOnError)
	fs.StringVar(&s.only, "only", "", "comma-separated cases: "+strings.Join(caseNames(), ", "))
	fs.BoolVar(&s.short, "short", false, "tiny windows: shows that everything works, measures nothing")
	fs.IntVar(&s.rounds, "rounds", 5, "rounds; every server has its turn in each")
	fs.DurationVar(&s.window, "window", 2*time.Second, "length of a turn")
	fs.BoolVar(&s.pin, "pin", false, "keep the servers on the first core and the rest on the others")
	fs.StringVar(&s.landward, "landward", "", "landward binary to measure; empty: built from this tree")
	fs.StringVar(&s.nginx, "nginx", "nginx", "nginx binary")
	fs.StringVar(&s.caddy, "caddy", "caddy", "Caddy binary")
	fs.StringVar(&s.haproxy, "haproxy", "haproxy", "HAProxy binary")
	fs.StringVar(&s.h2load, "h2load", "h2load", "h2load binary")
	if err := fs.Parse(args); err != nil {
		return s, err
	}
	if fs.NArg() > 0 {
		return s, fmt.Errorf("what is %q? there are only flags", fs.Arg(0))
	}
	if s.short {
		s.rounds, s.window = 2, 400*time.Millisecond
	}
	if s.rounds < 1 || s.window < 100*time.Millisecond {
		return s, errors.New("at least one round of at least 100ms")
	}
	return s, s.checkCases()
}

// checkCases refuses names of cases that there are not.
func (s settings) checkCases() error {
	for name := range strings.SplitSeq(s.only, ",") {
		if name == "" {
			continue
		}
		known := false
		for _, c := range cases {
			known = known || c.name == name
		}
		if !known {
			return fmt.Errorf("there is no case %q; there are %s", name, strings.Join(caseNames(), ", "))
		}
	}
	return nil
}

// wants reports whether a case was asked for.
func (s settings) wants(name string) bool {
	if s.only == "" {
		return true
	}
	for n := range strings.SplitSeq(s.only, ",") {
		if n == name {
			return true
		}
	}
	return false
}

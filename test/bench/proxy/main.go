// Command proxy measures what a request costs at the edge, against nginx as it
// is commonly generated and as it is tuned by hand. It starts every proxy as a
// process of its own before one small backend, drives them in turn with wrk,
// and prints a table of CPU time a request, requests a second and latency. The
// ratios within one run are what counts; the figures depend on the machine.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"slices"
	"strings"
	"syscall"
	"time"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := run(ctx, os.Args[1:]); err != nil && !errors.Is(err, flag.ErrHelp) {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

// settings are the flags.
type settings struct {
	rounds  int
	seconds int
	conns   int
	size    int
	only    string
	pin     bool
	profile string
	nginx   string
	wrk     string
}

func run(ctx context.Context, args []string) error {
	if len(args) > 0 {
		switch args[0] {
		case "backend":
			return serveBackend(ctx, args[1:])
		case "edge":
			return serveEdge(ctx, args[1:])
		}
	}
	var s settings
	fs := flag.NewFlagSet("proxy", flag.ContinueOnError)
	fs.IntVar(&s.rounds, "rounds", 3, "rounds; every proxy has its turn in each")
	fs.IntVar(&s.seconds, "seconds", 4, "length of a turn")
	fs.IntVar(&s.conns, "conns", 64, "client connections")
	fs.IntVar(&s.size, "size", 1024, "bytes of the answer's body")
	fs.StringVar(&s.only, "only", "", "comma-separated names of the proxies to measure")
	fs.BoolVar(&s.pin, "pin", true, "keep the proxy on one core and the rest on the others")
	fs.StringVar(&s.profile, "profile", "", "write the edge's CPU profile to this file")
	fs.StringVar(&s.nginx, "nginx", "/usr/sbin/nginx", "nginx to compare with")
	fs.StringVar(&s.wrk, "wrk", "wrk", "load generator")
	if err := fs.Parse(args); err != nil {
		return err
	}
	b, err := newBench(s)
	if err != nil {
		return err
	}
	defer b.close()
	results, err := b.run(ctx)
	if err != nil {
		return err
	}
	printTable(results, s)
	return nil
}

// result is what one proxy did over all rounds.
type result struct {
	name  string
	cpu   []float64 // µs a request
	rps   []float64
	p99   []time.Duration
	rss   int64 // bytes
	wrong int64 // answers that were not 200, and socket errors
}

func median[T ~float64 | ~int64](list []T) T {
	if len(list) == 0 {
		return 0
	}
	s := slices.Clone(list)
	slices.Sort(s)
	return s[len(s)/2]
}

func printTable(results []*result, s settings) {
	base := 0.0
	for _, r := range results {
		if r.name == "nginx-common" {
			base = median(r.cpu)
		}
	}
	fmt.Printf("%d connections, %d byte answers, %d rounds of %d s, medians\n\n", s.conns, s.size, s.rounds, s.seconds)
	fmt.Printf("%-14s %12s %12s %10s %8s %8s  %s\n", "proxy", "CPU µs/req", "of common", "req/s", "p99 ms", "RSS MB", "errors")
	for _, r := range results {
		ratio := "-"
		if base > 0 {
			ratio = fmt.Sprintf("%.2f", median(r.cpu)/base)
		}
		fmt.Printf("%-14s %12.1f %12s %10.0f %8.2f %8.1f  %d\n", r.name, median(r.cpu), ratio, median(r.rps),
			float64(median(r.p99))/float64(time.Millisecond), float64(r.rss)/(1<<20), r.wrong)
	}
	fmt.Println(strings.TrimSpace(`
nginx-common: proxy_pass as generators write it, a new upstream connection a request, access log.
nginx-tuned:  upstream keep-alive, no access log. edge: access log and metrics on. direct: no proxy.`))
}

// Command cmd is the probe as a real program, for the image that the Docker
// tests start. It must never do anything but describe its surroundings to
// package probe.
package main

import (
	"context"
	"fmt"
	"net"
	"os"
	"os/signal"
	"strings"
	"syscall"
	"time"

	"golang.org/x/term"

	"landward/internal/engine/enginetest/probe"
)

func main() {
	env := map[string]string{}
	for _, e := range os.Environ() {
		k, v, _ := strings.Cut(e, "=")
		env[k] = v
	}
	os.Exit(probe.Main(probe.World{
		Args:      os.Args[1:],
		Env:       env,
		Stdin:     os.Stdin,
		Stdout:    os.Stdout,
		Stderr:    os.Stderr,
		ReadFile:  os.ReadFile,
		WriteFile: func(name string, data []byte) error { return os.WriteFile(name, data, 0o644) },
		Listen:    listen,
		Dial:      dial,
		Lookup:    lookup,
		Term:      onTerm(),
		Sizes:     sizes(),
	}))
}

func listen(addr string) error {
	l, err := net.Listen("tcp", addr)
	if err != nil {
		return err
	}
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			c.Close()
		}
	}()
	return nil
}

func dial(addr string) error {
	c, err := net.DialTimeout("tcp", addr, 2*time.Second)
	if err != nil {
		return err
	}
	return c.Close()
}

// lookup asks the resolver that resolv.conf names, as programs do.
func lookup(network, name string) ([]string, error) {
	r := &net.Resolver{PreferGo: true, Dial: func(ctx context.Context, _, addr string) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, network, addr)
	}}
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	addrs, err := r.LookupNetIP(ctx, "ip4", name)
	var out []string
	for _, a := range addrs {
		out = append(out, a.Unmap().String())
	}
	return out, err
}

func onTerm() <-chan struct{} {
	got := make(chan os.Signal, 1)
	signal.Notify(got, syscall.SIGTERM)
	term := make(chan struct{})
	go func() {
		<-got
		close(term)
	}()
	return term
}

func sizes() <-chan string {
	got := make(chan os.Signal, 8)
	signal.Notify(got, syscall.SIGWINCH)
	out := make(chan string)
	go func() {
		for range got {
			if w, h, err := term.GetSize(0); err == nil && w > 0 {
				out <- fmt.Sprintf("%dx%d", w, h)
			}
		}
	}()
	return out
}

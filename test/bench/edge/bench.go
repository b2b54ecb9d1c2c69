package main

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"strconv"
	"time"
)

// benchHost is the host that requests are for.
const benchHost = "bench.test"

// bench owns the folder and the processes of a run.
type bench struct {
	s       settings
	dir     string // everything that is written is below it
	self    string // this program
	files   int    // that a process may have open
	backend netip.AddrPort
	cert    certificate
	www     string // static files
	procs   []*process
	folders int
	foreign []float64 // share of the machine that others took, of each round
	table   table
}

// testCase is something to measure.
type testCase struct {
	name string
	run  func(b *bench, ctx context.Context) error
}

// cases are all that there are, in the order of the table.
var cases = []testCase{
	{"http1", (*bench).http1},
	{"handshake", (*bench).handshake},
	{"http2", (*bench).http2},
	{"bodies", (*bench).bodies},
	{"static", (*bench).static},
	{"idle", (*bench).idle},
	{"websocket", (*bench).webSocket},
	{"routes", (*bench).routes},
}

func newBench(ctx context.Context, s settings) (*bench, error) {
	self, err := os.Executable()
	if err != nil {
		return nil, fmt.Errorf("find this program: %w", err)
	}
	b := &bench{s: s, self: self}
	if b.files, err = raiseFileLimit(); err != nil {
		return nil, err
	}
	if b.dir, err = os.MkdirTemp("", "lw-bench-"); err != nil {
		return nil, err
	}
	if err := b.prepare(ctx); err != nil {
		b.close()
		return nil, err
	}
	return b, nil
}

// prepare makes what the cases share.
func (b *bench) prepare(ctx context.Context) error {
	var err error
	if b.cert, err = makeCertificate(b.dir, benchHost); err != nil {
		return err
	}
	b.www = filepath.Join(b.dir, "www")
	if err := os.Mkdir(b.www, 0o755); err != nil { //nolint:gosec // for the servers' users
		return err
	}
	for path := range bodySizes {
		if err := os.WriteFile(filepath.Join(b.www, path), body(path), 0o644); err != nil { //nolint:gosec // as above
			return err
		}
	}
	if b.s.landward == "" {
		progress("building landward")
		b.s.landward = filepath.Join(b.dir, "landward")
		if err := buildLandward(ctx, b.s.landward); err != nil {
			return err
		}
	} else if b.s.landward, err = filepath.Abs(b.s.landward); err != nil {
		return err
	}
	if b.backend, err = freeAddr(); err != nil {
		return err
	}
	dir, err := b.folder("backend")
	if err != nil {
		return err
	}
	p, err := b.spawn(false, dir, b.self, roleBackend, "-addr", b.backend.String())
	if err != nil {
		return err
	}
	return await(ctx, p, &server{label: "backend", http: b.backend}, "/1k", startWithin)
}

// run measures and prints. What was measured before a failure is printed as well.
func (b *bench) run(ctx context.Context) error {
	err := b.measure(ctx)
	if len(b.table.rows) == 0 {
		return err
	}
	b.printHeader(context.WithoutCancel(ctx), os.Stdout)
	return errors.Join(err, b.table.print(os.Stdout))
}

// measure goes through the cases. One that fails does not stop the next.
func (b *bench) measure(ctx context.Context) error {
	var failed []error
	for _, c := range cases {
		if !b.s.wants(c.name) {
			continue
		}
		progress("%s", c.name)
		err := c.run(b, ctx)
		if ctx.Err() != nil {
			return ctx.Err()
		}
		if err != nil {
			failed = append(failed, fmt.Errorf("%s: %w", c.name, err))
		}
	}
	return errors.Join(failed...)
}

// close stops everything and leaves nothing.
func (b *bench) close() {
	for i := len(b.procs) - 1; i >= 0; i-- {
		b.procs[i].stop()
	}
	if err := os.RemoveAll(b.dir); err != nil {
		fmt.Fprintln(os.Stderr, "bench-edge: clean up:", err)
	}
}

// folder makes a folder for one program.
func (b *bench) folder(name string) (string, error) {
	b.folders++
	dir := filepath.Join(b.dir, name+"-"+strconv.Itoa(b.folders))
	return dir, os.Mkdir(dir, 0o755) //nolint:gosec // for the servers' users
}

func caseNames() []string {
	var names []string
	for _, c := range cases {
		names = append(names, c.name)
	}
	return names
}

// progress tells who waits what is done now.
func progress(format string, args ...any) {
	fmt.Fprintf(os.Stderr, "-----> "+format+"\n", args...)
}

// pause waits for d, or until ctx ends.
func pause(ctx context.Context, d time.Duration) error {
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-time.After(d):
		return nil
	}
}

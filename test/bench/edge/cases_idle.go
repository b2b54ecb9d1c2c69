package main

import (
	"context"
	"fmt"
	"time"
)

// idle is memory for connections that wait for their next request.
func (b *bench) idle(ctx context.Context) error {
	return b.holdIdle(ctx, "idle keep-alive connections", 1, false)
}

// webSocket is memory for WebSockets that nothing is said on: a server holds a
// connection to the client and one to the app.
func (b *bench) webSocket(ctx context.Context) error {
	return b.holdIdle(ctx, "idle WebSockets", 2, true)
}

// footprint is what holding connections has cost a server.
type footprint struct {
	empty, full float64 // MiB
	cpu         float64 // milliseconds of processor time a second
}

// holdIdle compares the memory of our edge and of nginx with many idle
// connections. files is how many a server needs for one.
func (b *bench) holdIdle(ctx context.Context, name string, files int, webSocket bool) error {
	n, rounds, settle := 10000, min(b.s.rounds, 3), 5*time.Second
	if b.s.short {
		n, rounds, settle = 500, 1, time.Second
	}
	const others = 300 // files that a server has open besides
	if most := (b.files - others) / files; n > most {
		b.table.note("%s: %d of 10000, because a process may have no more than %d files open here.", name, most, b.files)
		n = most
	}
	name = fmt.Sprintf("%d %s", n, name)
	// nginx closes idle connections once fewer than a sixteenth are free.
	o := serverOptions{conns: n*files*9/8 + others}
	field := []kind{landwardEdge, nginxTuned}
	results := make([][]footprint, len(field))
	for i := range rounds {
		progress("  %s: round %d of %d", name, i+1, rounds)
		for j, k := range field {
			r, err := b.holdOn(ctx, k, o, n, webSocket, settle)
			if none, ok := err.(notAvailable); ok { //nolint:errorlint // start returns it as it is
				b.table.missing(name, k.label, string(none))
				return nil
			}
			if err != nil {
				return fmt.Errorf("%s: %w", k.label, err)
			}
			results[j] = append(results[j], r)
		}
	}
	b.readHeld(name, results)
	return nil
}

// holdOn holds connections to a fresh server.
func (b *bench) holdOn(ctx context.Context, k kind, o serverOptions, n int, webSocket bool, settle time.Duration) (footprint, error) {
	var r footprint
	s, err := k.start(b, ctx, o)
	if err != nil {
		return r, err
	}
	defer s.proc.stop()
	empty, err := resident(s.proc.pid())
	if err != nil {
		return r, err
	}
	h, err := b.hold(ctx, s, n, webSocket)
	if err != nil {
		return r, err
	}
	defer h.stop()
	before, err := cpuTime(s.proc.pid())
	if err != nil {
		return r, err
	}
	if err := pause(ctx, settle); err != nil {
		return r, err
	}
	after, err := cpuTime(s.proc.pid())
	if err != nil {
		return r, err
	}
	full, err := resident(s.proc.pid())
	if err != nil {
		return r, err
	}
	open, err := h.release()
	if err != nil {
		return r, err
	}
	if open != n {
		return r, fmt.Errorf("%d of %d connections were closed while they were idle", n-open, n)
	}
	return footprint{
		empty: float64(empty) / (1 << 20), full: float64(full) / (1 << 20),
		cpu: float64((after - before).Milliseconds()) / settle.Seconds(),
	}, nil
}

// readHeld makes rows of the results of ours and nginx's.
func (b *bench) readHeld(name string, results [][]footprint) {
	compare := func(of func(footprint) float64) comparison {
		var lists [2][]float64
		for i := range lists {
			for _, r := range results[i] {
				lists[i] = append(lists[i], of(r))
			}
		}
		return comparison{ours: lists[0], theirs: lists[1]}
	}
	b.table.add(row{subject: name, measure: "resident memory", unit: mebibytes, against: nginxTuned.label, bar: 3,
		comparison: compare(func(r footprint) float64 { return r.full })})
	b.table.add(row{subject: name, measure: "resident memory before", unit: mebibytes, against: nginxTuned.label,
		comparison: compare(func(r footprint) float64 { return r.empty })})
	b.table.add(row{subject: name, measure: "CPU per second of idling", unit: milliseconds, against: nginxTuned.label,
		comparison: compare(func(r footprint) float64 { return r.cpu })})
}

package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"landward/internal/route"
	"landward/internal/route/edge"
)

// manyRoutes is what one route is compared with.
const manyRoutes = 1000

// routes is what the size of the table costs a request, and how long it takes
// to replace it.
func (b *bench) routes(ctx context.Context) error {
	one, err := b.startWithRoutes(ctx, 1)
	if err != nil {
		return err
	}
	defer one.proc.stop()
	many, err := b.startWithRoutes(ctx, manyRoutes)
	if err != nil {
		return err
	}
	defer many.proc.stop()
	name := fmt.Sprintf("%d routes", manyRoutes)
	// The host in the middle, of either table.
	load := loadSettings{host: routeHost(manyRoutes / 2), path: "/1k", conns: 64}
	t := turn{b.closedLoop(load), []measure{cpuMeasure(map[string]float64{one.label: 1.05}), rateMeasure()}}
	field := []*server{many, one}
	samples, err := b.rounds(ctx, name, field, t)
	if err != nil {
		return err
	}
	b.read(name, field, samples, t)
	return b.swaps(ctx, name)
}

func routeHost(i int) string { return fmt.Sprintf("app%d.bench.test", i) }

// startWithRoutes starts an edge with a table of n routes, of which one is the
// middle one of many.
func (b *bench) startWithRoutes(ctx context.Context, n int) (*server, error) {
	s, data, err := b.spawnEdge(serverOptions{})
	if err != nil {
		return nil, err
	}
	s.label = fmt.Sprintf("Landward, %d route", n)
	if n > 1 {
		s.label += "s"
	}
	if err := putTable(ctx, s.proc, data.EdgeSocket(), b.tableOf(n, 1)); err != nil {
		s.proc.stop()
		return nil, err
	}
	return s, nil
}

// tableOf is a table of n routes, each with a target of its own.
func (b *bench) tableOf(n int, generation int64) route.Table {
	t := route.Table{Generation: generation, MadeAt: time.Now()}
	first := manyRoutes/2 - n/2
	for i := range n {
		r := b.route(routeHost(first+i), int64(first+i+1))
		t.Routes = append(t.Routes, &r)
	}
	return t
}

// swaps replaces a table of many routes by another: on an edge that has nothing
// else to do, and on one that serves.
func (b *bench) swaps(ctx context.Context, name string) error {
	s, data, err := b.spawnEdge(serverOptions{})
	if err != nil {
		return err
	}
	defer s.proc.stop()
	w := swapper{b: b, client: edge.NewClient(data.EdgeSocket()), window: b.s.window}
	defer w.client.Close()
	if err := putTable(ctx, s.proc, data.EdgeSocket(), w.next()); err != nil {
		return err
	}
	const what = "swap of the table"
	if err := w.run(ctx); err != nil {
		return err
	}
	b.table.add(row{subject: name, measure: what, unit: milliseconds, against: "a synced write of as many bytes",
		comparison: comparison{ours: w.swaps, theirs: w.writes}, most: 5})

	type loaded struct {
		sample
		err error
	}
	ended := make(chan loaded, 1)
	go func() {
		load := loadSettings{host: routeHost(manyRoutes / 2), path: "/1k", conns: 64, rate: 1000}
		got, err := b.load(ctx, s, load, b.s.window)
		ended <- loaded{got, err}
	}()
	err = w.run(ctx)
	got := <-ended
	if err = errors.Join(err, got.err); err != nil {
		return err
	}
	b.table.add(row{subject: name, measure: what + " at 1000 requests/s", unit: milliseconds, against: "a synced write of as many bytes",
		comparison: comparison{ours: w.swaps, theirs: w.writes}})
	b.table.note("%s: %d requests were answered while the table was swapped %d times; %d got a wrong answer.",
		name, got.Requests, len(w.swaps), got.Wrong)
	return nil
}

// swapper replaces tables and measures, in turn, what the disk has to do with it.
type swapper struct {
	b      *bench
	client *edge.Client
	window time.Duration

	generation    int64
	swaps, writes []float64 // milliseconds
}

// next is the next table: one app, each time another, has a new container.
func (w *swapper) next() route.Table {
	w.generation++
	t := w.b.tableOf(manyRoutes, w.generation)
	t.Routes[w.generation%manyRoutes].Targets[0].ID += fmt.Sprint("-", w.generation)
	return t
}

func (w *swapper) run(ctx context.Context) error {
	w.swaps, w.writes = nil, nil
	for end := time.Now().Add(w.window); time.Now().Before(end); {
		text := w.next().Text()
		start := time.Now()
		if err := w.client.PutTable(ctx, text); err != nil {
			return fmt.Errorf("swap tables: %w", err)
		}
		put := time.Now()
		if err := writeSynced(filepath.Join(w.b.dir, "written"), text); err != nil {
			return err
		}
		w.swaps = append(w.swaps, float64(put.Sub(start))/float64(time.Millisecond))
		w.writes = append(w.writes, float64(time.Since(put))/float64(time.Millisecond))
		if err := pause(ctx, 20*time.Millisecond); err != nil {
			return err
		}
	}
	return nil
}

// writeSynced writes a new file so that it survives a power cut.
func writeSynced(path string, text []byte) error {
	f, err := os.Create(path)
	if err != nil {
		return err
	}
	_, err = f.Write(text)
	if err == nil {
		err = f.Sync()
	}
	return errors.Join(err, f.Close(), os.Remove(path))
}

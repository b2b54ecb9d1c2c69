package main

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"time"
)

// contest is one comparison: our edge and its peers have turns under the same
// load, one after the other, in every round.
type contest struct {
	name    string
	ours    kind
	peers   []kind
	options serverOptions
	turns   []turn
}

// turn is one kind of load, and what is read off it.
type turn struct {
	run      func(ctx context.Context, s *server, window time.Duration) (sample, error)
	measures []measure
}

// measure is one figure of a sample.
type measure struct {
	name string
	unit unit
	of   func(sample) float64
	bars map[string]float64 // by the peer's label: the most that ours may be of theirs
}

// The measures. Those of a rate are better when they are higher, and have no bars.
func cpuMeasure(bars map[string]float64) measure {
	return measure{"CPU per request", microseconds, sample.perRequest, bars}
}

func rateMeasure() measure {
	return measure{"requests per second", perSecond, sample.perSecond, nil}
}

func latencyMeasures(rate float64, p99 map[string]float64) []measure {
	at := fmt.Sprintf(" at %.0f/s", rate)
	return []measure{
		{"p50" + at, milliseconds, func(s sample) float64 { return float64(s.P50) / float64(time.Millisecond) }, nil},
		{"p99" + at, milliseconds, func(s sample) float64 { return float64(s.P99) / float64(time.Millisecond) }, p99},
	}
}

// compete holds a contest and adds its rows to the table.
func (b *bench) compete(ctx context.Context, c contest) error {
	ours, err := c.ours.start(b, ctx, c.options)
	if none := notAvailable(""); errors.As(err, &none) {
		b.table.missing(c.name, c.ours.label, string(none))
		return nil
	}
	if err != nil {
		return err
	}
	ours.label = c.ours.label
	field := []*server{ours}
	defer func() {
		for _, s := range field {
			s.proc.stop()
		}
	}()
	for _, k := range c.peers {
		s, err := k.start(b, ctx, c.options)
		if none := notAvailable(""); errors.As(err, &none) {
			b.table.missing(c.name, k.label, string(none))
			continue
		}
		if err != nil {
			return err
		}
		s.label = k.label
		field = append(field, s)
	}
	for _, t := range c.turns {
		samples, err := b.rounds(ctx, c.name, field, t)
		if err != nil {
			return err
		}
		b.read(c.name, field, samples, t)
	}
	return nil
}

// round is one turn of each server.
type round struct {
	samples map[*server]sample
	foreign float64 // share of the machine that others took meanwhile
}

// rounds gives every server its turn in each round, every other round in the
// opposite order, so that neither a drift of the machine nor the neighbour in
// the order is always the same one's. While others use the machine it goes on
// for up to twice as many rounds, and keeps the quietest.
func (b *bench) rounds(ctx context.Context, name string, field []*server, t turn) (map[*server][]sample, error) {
	for _, s := range field { // warm up
		if _, err := t.run(ctx, s, min(b.s.window, time.Second)); err != nil && !errors.Is(err, errNothing) {
			return nil, fmt.Errorf("%s: %w", s.label, err)
		}
	}
	order := slices.Clone(field)
	var held []round
	for calm := 0; calm < b.s.rounds && len(held) < 2*b.s.rounds; {
		progress("  %s: round %d, %d of %d were quiet", name, len(held)+1, calm, b.s.rounds)
		r, err := b.round(ctx, order, t)
		if err != nil {
			return nil, err
		}
		held = append(held, r)
		if r.foreign <= quiet {
			calm++
		}
		slices.Reverse(order)
	}
	slices.SortStableFunc(held, func(x, y round) int { return cmp.Compare(x.foreign, y.foreign) })
	samples := make(map[*server][]sample)
	for _, r := range held[:b.s.rounds] {
		b.foreign = append(b.foreign, r.foreign)
		for _, s := range field {
			samples[s] = append(samples[s], r.samples[s])
		}
	}
	return samples, nil
}

// round gives every server one turn.
func (b *bench) round(ctx context.Context, order []*server, t turn) (round, error) {
	r := round{samples: make(map[*server]sample)}
	from, err := readClock()
	if err != nil {
		return r, err
	}
	for _, s := range order {
		for range 3 {
			if r.samples[s], err = t.run(ctx, s, b.s.window); !errors.Is(err, errNothing) {
				break
			}
		}
		if err != nil {
			return r, fmt.Errorf("%s: %w", s.label, err)
		}
	}
	to, err := readClock()
	r.foreign = foreign(from, to)
	return r, err
}

// read makes rows of the samples: ours against each of the others.
func (b *bench) read(name string, field []*server, samples map[*server][]sample, t turn) {
	for _, s := range field {
		for _, got := range samples[s] {
			if got.Wrong > 0 {
				b.table.note("%s: %s gave %d wrong answers of %d (%s)", name, s.label, got.Wrong, got.Requests, got.Trouble)
			}
		}
	}
	for _, m := range t.measures {
		for _, peer := range field[1:] {
			b.table.add(row{
				subject: name, measure: m.name, unit: m.unit, against: peer.label, bar: m.bars[peer.label],
				comparison: comparison{ours: each(samples[field[0]], m.of), theirs: each(samples[peer], m.of)},
			})
		}
	}
}

func each(samples []sample, of func(sample) float64) []float64 {
	var list []float64
	for _, s := range samples {
		list = append(list, of(s))
	}
	return list
}

// closedLoop is a turn of connections that each ask again when they have the answer.
func (b *bench) closedLoop(s loadSettings) func(context.Context, *server, time.Duration) (sample, error) {
	return func(ctx context.Context, on *server, window time.Duration) (sample, error) {
		s.rate = 0
		return b.load(ctx, on, s, window)
	}
}

// openLoop is a turn at a fixed rate.
func (b *bench) openLoop(s loadSettings, rate float64) func(context.Context, *server, time.Duration) (sample, error) {
	return func(ctx context.Context, on *server, window time.Duration) (sample, error) {
		s.rate = rate
		return b.load(ctx, on, s, window)
	}
}

// load has a process of its own load a server.
func (b *bench) load(ctx context.Context, on *server, s loadSettings, window time.Duration) (sample, error) {
	out, err := b.act(ctx, roleLoad,
		"-addr", on.http.String(), "-host", s.host, "-hosts", strconv.Itoa(max(s.hosts, 1)), "-path", s.path,
		"-length", strconv.Itoa(bodySizes[s.path]), "-conns", strconv.Itoa(s.conns),
		"-rate", strconv.FormatFloat(s.rate, 'f', -1, 64), "-warm", (window / 5).String(), "-window", window.String(),
		"-pid", strconv.Itoa(on.proc.pid()))
	if err != nil {
		return sample{}, err
	}
	return parseSample(out)
}

// errNothing is a turn that measured nothing: nothing was wrong, but no request
// was answered within it, as happens when others take all of the machine.
var errNothing = errors.New("no request was answered in time")

// parseSample reads what a load has printed.
func parseSample(out []byte) (sample, error) {
	var s sample
	if err := json.Unmarshal(out, &s); err != nil {
		return s, fmt.Errorf("read sample: %w", err)
	}
	if s.Elapsed <= 0 {
		return s, errors.New("read sample: it took no time")
	}
	if s.Requests == 0 && s.Wrong == 0 {
		return s, errNothing
	}
	if s.Requests == 0 {
		return s, fmt.Errorf("no request was answered as it should (%s)", s.Trouble)
	}
	return s, nil
}

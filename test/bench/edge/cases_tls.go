package main

import (
	"context"
	"errors"
	"strconv"
	"time"
)

// handshake is what a visitor's first connection costs, and the next one's.
func (b *bench) handshake(ctx context.Context) error {
	for _, h := range []struct {
		name   string
		resume bool
	}{{"TLS 1.3, full handshake", false}, {"TLS 1.3, resumed", true}} {
		err := b.compete(ctx, contest{
			name: h.name, ours: landwardEdge, peers: []kind{nginxTuned}, options: serverOptions{tls: true},
			turns: []turn{{b.handshakeTurn(h.resume), []measure{
				cpuMeasure(map[string]float64{nginxTuned.label: 1.2}), rateMeasure(),
			}}},
		})
		if err != nil {
			return err
		}
	}
	return nil
}

func (b *bench) handshakeTurn(resume bool) func(context.Context, *server, time.Duration) (sample, error) {
	return func(ctx context.Context, on *server, window time.Duration) (sample, error) {
		out, err := b.act(ctx, roleHandshakes, "-addr", on.https.String(), "-name", benchHost, "-path", "/1k",
			"-resume="+strconv.FormatBool(resume), "-window", window.String(), "-pid", strconv.Itoa(on.proc.pid()))
		if err != nil {
			return sample{}, err
		}
		return parseSample(out)
	}
}

// http2 is what browsers speak: few connections, many requests at once on each.
func (b *bench) http2(ctx context.Context) error {
	const name = "HTTP/2 over TLS, 1 KiB"
	program, err := find(b.s.h2load)
	if none := notAvailable(""); errors.As(err, &none) {
		b.table.missing(name, "h2load", string(none))
		return nil
	}
	if err != nil {
		return err
	}
	const rate = 2000
	busy := h2Settings{path: "/1k", clients: 16, streams: 16}
	steady := h2Settings{path: "/1k", clients: 16, streams: 16, rate: rate}
	return b.compete(ctx, contest{
		name: name, ours: landwardEdge, peers: []kind{nginxTuned}, options: serverOptions{tls: true},
		turns: []turn{
			{b.http2Turn(program, busy), []measure{cpuMeasure(map[string]float64{nginxTuned.label: 1.2}), rateMeasure()}},
			{b.http2Turn(program, steady), latencyMeasures(rate, nil)},
		},
	})
}

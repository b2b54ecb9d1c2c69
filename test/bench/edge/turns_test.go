package main

import (
	"context"
	"errors"
	"os"
	"slices"
	"testing"
	"time"
)

// TestMain lets the test binary act the roles, as the program does.
func TestMain(m *testing.M) {
	if len(os.Args) > 1 && roles[os.Args[1]] != nil {
		if err := run(context.Background(), os.Args[1:]); err != nil {
			println(err.Error())
			os.Exit(1)
		}
		os.Exit(0)
	}
	os.Exit(m.Run())
}

// testBench is a bench without a Landward.
func testBench(t *testing.T) *bench {
	t.Helper()
	s, err := parse([]string{"-short", "-window", "100ms"})
	if err != nil {
		t.Fatal(err)
	}
	s.landward = "/nonexistent/landward"
	b, err := newBench(t.Context(), s)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		b.close()
		if _, err := os.Stat(b.dir); !errors.Is(err, os.ErrNotExist) {
			t.Errorf("%s is left: %v", b.dir, err)
		}
		for _, p := range b.procs {
			if !p.ended() {
				t.Errorf("%v still runs", p.cmd.Args)
			}
		}
	})
	return b
}

// started starts a peer, or skips the test where it is not installed.
func started(t *testing.T, b *bench, k kind, o serverOptions) *server {
	t.Helper()
	s, err := k.start(b, t.Context(), o)
	if none := notAvailable(""); errors.As(err, &none) {
		t.Skipf("%s: %s", k.label, none)
	}
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// TestPeers holds that every configuration starts and proxies.
func TestPeers(t *testing.T) {
	for _, k := range []kind{nginxTuned, nginxCommon, caddy, haproxy, reverseProxy} {
		t.Run(k.label, func(t *testing.T) {
			b := testBench(t)
			s := started(t, b, k, serverOptions{})
			if err := s.verify(t.Context(), "/64k"); err != nil {
				t.Error(err)
			}
		})
	}
	t.Run("static", func(t *testing.T) {
		b := testBench(t)
		s := started(t, b, nginxStatic, serverOptions{static: true})
		if err := s.verify(t.Context(), "/10m"); err != nil {
			t.Error(err)
		}
	})
}

// TestTurns holds that every kind of load works, against a server that speaks
// everything.
func TestTurns(t *testing.T) {
	b := testBench(t)
	s := started(t, b, nginxTuned, serverOptions{tls: true})
	load := loadSettings{host: benchHost, path: "/1k", conns: 4}
	turns := map[string]func(context.Context, *server, time.Duration) (sample, error){
		"closed": b.closedLoop(load), "open": b.openLoop(load, 500),
		"full": b.handshakeTurn(false), "resumed": b.handshakeTurn(true),
	}
	if program, err := find(b.s.h2load); err == nil {
		turns["http2"] = b.http2Turn(program, h2Settings{path: "/1k", clients: 2, streams: 4})
		turns["http2 steady"] = b.http2Turn(program, h2Settings{path: "/1k", clients: 2, streams: 4, rate: 500})
	}
	for name, run := range turns {
		got, err := run(t.Context(), s, 300*time.Millisecond)
		if err != nil || got.Requests < 20 || got.Wrong != 0 || got.Elapsed <= 0 || got.CPU < 0 {
			t.Errorf("%s: %+v %v", name, got, err)
		}
		if slices.Contains([]string{"open", "http2 steady"}, name) && (got.P50 <= 0 || got.P99 < got.P50) {
			t.Errorf("%s: %+v", name, got)
		}
	}
}

// TestHold holds that connections are opened, kept and counted.
func TestHold(t *testing.T) {
	for _, webSocket := range []bool{false, true} {
		b := testBench(t)
		got, err := b.holdOn(t.Context(), nginxTuned, serverOptions{conns: 1000}, 200, webSocket, 50*time.Millisecond)
		if none := notAvailable(""); errors.As(err, &none) {
			t.Skip(string(none))
		}
		if err != nil || got.full <= 0 || got.empty <= 0 {
			t.Errorf("webSocket %t: %+v %v", webSocket, got, err)
		}
	}
}

// TestContest holds that a peer that is not there is a line and no failure.
func TestContest(t *testing.T) {
	b := testBench(t)
	b.s.caddy = "no-such-caddy"
	load := loadSettings{host: benchHost, path: "/1k", conns: 2}
	err := b.compete(t.Context(), contest{
		name: "contest", ours: reverseProxy, peers: []kind{caddy, reverseProxy},
		turns: []turn{{b.closedLoop(load), []measure{cpuMeasure(nil), rateMeasure()}}},
	})
	if err != nil {
		t.Fatal(err)
	}
	var against []string
	for _, r := range b.table.rows {
		against = append(against, r.against+" "+r.measure+r.reason)
	}
	want := []string{"Caddy not installed", "ReverseProxy tuned CPU per request", "ReverseProxy tuned requests per second"}
	if !slices.Equal(against, want) {
		t.Errorf("%q", against)
	}
	if r := b.table.rows[1]; len(r.ours) != b.s.rounds || len(r.theirs) != b.s.rounds {
		t.Errorf("%+v", r)
	}
}

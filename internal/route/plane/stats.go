package plane

import (
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	"landward/internal/route"
)

// bounds are the upper ends of the latency histogram's buckets; the last is
// without end.
var bounds = [...]time.Duration{
	time.Millisecond, 2500 * time.Microsecond, 5 * time.Millisecond, 10 * time.Millisecond,
	25 * time.Millisecond, 50 * time.Millisecond, 100 * time.Millisecond, 250 * time.Millisecond,
	500 * time.Millisecond, time.Second, 2500 * time.Millisecond, 5 * time.Second, 10 * time.Second,
}

// Stats are the counters of one app. They count on over tables.
type Stats struct {
	app      string
	appID    int64
	classes  [6]atomic.Uint64 // by status/100; 0: no answer
	faults   atomic.Uint64
	in, out  atomic.Uint64
	took     atomic.Uint64 // nanoseconds
	buckets  [len(bounds) + 1]atomic.Uint64
	fine     *histogram // of a canary's trial; nil else
	inflight atomic.Int64
	last     atomic.Int64 // when the last request came or ended, as now() tells
}

// statsOf returns the counters of an app. The caller holds swap, or is New.
func (p *Plane) statsOf(id int64, app string) *Stats {
	s := p.stats[id]
	if s == nil {
		s = &Stats{app: app, appID: id}
		p.stats[id] = s
	}
	return s
}

// count adds a finished request.
func (s *Stats) count(e *route.Entry) {
	class := e.Status / 100
	if class > 5 {
		class = 0
	}
	s.classes[class].Add(1)
	if e.Code != "" {
		s.faults.Add(1)
	}
	if e.In > 0 {
		s.in.Add(uint64(e.In))
	}
	s.out.Add(uint64(max(e.Out, 0)))
	s.took.Add(uint64(max(e.Total, 0)))
	i := 0
	for i < len(bounds) && e.Total > bounds[i] {
		i++
	}
	s.buckets[i].Add(1)
	if s.fine != nil {
		s.fine.add(e.Total)
	}
}

// Snapshot is what the plane has counted.
type Snapshot struct {
	Generation  int64            `json:"generation"`
	Connections int              `json:"connections"` // of clients
	Parked      int              `json:"parked"`      // those of them that are idle and have no goroutine
	Refused     uint64           `json:"refused"`     // connections over a limit
	Apps        []AppSnapshot    `json:"apps"`
	Targets     []TargetSnapshot `json:"targets"`
	Canaries    []CanarySnapshot `json:"canaries,omitempty"`
}

// AppSnapshot is one app's counters. App 0 has the requests that belong to
// none.
type AppSnapshot struct {
	AppID    int64    `json:"app_id"`
	App      string   `json:"app,omitempty"`
	Requests []uint64 `json:"requests"` // by first digit of the status; [0]: without an answer
	Faults   uint64   `json:"faults"`   // answered by the edge, or cut off
	In       uint64   `json:"in"`       // bytes of bodies from clients
	Out      uint64   `json:"out"`      // bytes to clients
	InFlight int64    `json:"in_flight"`
	Took     float64  `json:"took"`    // seconds, of all together
	Buckets  []uint64 `json:"buckets"` // requests by duration, not cumulative, bounds as in the metrics
	// P95 is what 95 of 100 requests took at most; of a canary's trial only.
	P95 time.Duration `json:"p95,omitempty"`
}

// TargetSnapshot is one target's state.
type TargetSnapshot struct {
	ID       string `json:"id"`
	Unit     string `json:"unit"`
	Addr     string `json:"addr"`
	InFlight int64  `json:"in_flight"`
	Idle     int    `json:"idle"` // connections kept
	Suspect  bool   `json:"suspect,omitempty"`
	Retired  bool   `json:"retired,omitempty"` // not in the table any more
}

// Snapshot returns the counters of the moment.
func (p *Plane) Snapshot() Snapshot {
	out := Snapshot{Refused: p.refused.Load()}
	out.Connections, out.Parked = p.doors.count(), p.lot.count()
	now := p.now()
	p.swap.Lock()
	defer p.swap.Unlock()
	out.Generation = p.Generation()
	for _, s := range p.stats {
		out.Apps = append(out.Apps, s.snapshot())
	}
	for _, t := range p.targets {
		t.mu.Lock()
		idle := len(t.idle)
		t.mu.Unlock()
		out.Targets = append(out.Targets, TargetSnapshot{ID: t.id, Unit: t.unit, Addr: t.addr,
			InFlight: t.inflight.Load(), Idle: idle, Suspect: t.suspect.Load() > now, Retired: t.retired.Load()})
	}
	for _, s := range p.index.Load().sites {
		if c := s.canary; c != nil {
			out.Canaries = append(out.Canaries, CanarySnapshot{AppID: s.appID, Release: c.release, Percent: c.percent,
				Canary: c.stats.snapshot(), Stable: c.stable.snapshot()})
		}
	}
	slices.SortFunc(out.Canaries, func(a, b CanarySnapshot) int { return int(a.AppID - b.AppID) })
	slices.SortFunc(out.Apps, func(a, b AppSnapshot) int { return int(a.AppID - b.AppID) })
	slices.SortFunc(out.Targets, func(a, b TargetSnapshot) int { return strings.Compare(a.ID, b.ID) })
	return out
}

func (s *Stats) snapshot() AppSnapshot {
	a := AppSnapshot{AppID: s.appID, App: s.app, Faults: s.faults.Load(), In: s.in.Load(), Out: s.out.Load(),
		InFlight: s.inflight.Load(), Took: time.Duration(s.took.Load()).Seconds()} //nolint:gosec // 292 years
	for i := range s.classes {
		a.Requests = append(a.Requests, s.classes[i].Load())
	}
	for i := range s.buckets {
		a.Buckets = append(a.Buckets, s.buckets[i].Load())
	}
	if s.fine != nil {
		a.P95 = s.fine.quantile(95)
	}
	return a
}

// WriteMetrics writes the counters in the Prometheus text format.
func (s Snapshot) WriteMetrics(w io.Writer) error {
	var b strings.Builder
	head := func(name, kind, help string) { fmt.Fprintf(&b, "# HELP %s %s\n# TYPE %s %s\n", name, help, name, kind) }
	head("landward_edge_requests_total", "counter", "Requests by app and class of status.")
	for _, a := range s.Apps {
		for class, n := range a.Requests {
			if n > 0 {
				fmt.Fprintf(&b, "landward_edge_requests_total{app=%q,class=\"%dxx\"} %d\n", a.App, class, n)
			}
		}
	}
	for _, m := range []struct {
		name, kind, help string
		value            func(AppSnapshot) string
	}{
		{"landward_edge_faults_total", "counter", "Requests answered by the edge or cut off.",
			func(a AppSnapshot) string { return strconv.FormatUint(a.Faults, 10) }},
		{"landward_edge_in_bytes_total", "counter", "Bytes of request bodies.",
			func(a AppSnapshot) string { return strconv.FormatUint(a.In, 10) }},
		{"landward_edge_out_bytes_total", "counter", "Bytes sent to clients.",
			func(a AppSnapshot) string { return strconv.FormatUint(a.Out, 10) }},
		{"landward_edge_in_flight", "gauge", "Requests in progress.",
			func(a AppSnapshot) string { return strconv.FormatInt(a.InFlight, 10) }},
	} {
		head(m.name, m.kind, m.help)
		for _, a := range s.Apps {
			fmt.Fprintf(&b, "%s{app=%q} %s\n", m.name, a.App, m.value(a))
		}
	}
	head("landward_edge_request_seconds", "histogram", "Time from a request's first byte to its answer's last.")
	for _, a := range s.Apps {
		a.writeHistogram(&b)
	}
	head("landward_edge_connections", "gauge", "Client connections.")
	fmt.Fprintf(&b, "landward_edge_connections %d\n", s.Connections)
	head("landward_edge_parked_connections", "gauge", "Client connections that are idle and cost next to nothing.")
	fmt.Fprintf(&b, "landward_edge_parked_connections %d\n", s.Parked)
	head("landward_edge_refused_connections_total", "counter", "Client connections over a limit.")
	fmt.Fprintf(&b, "landward_edge_refused_connections_total %d\n", s.Refused)
	head("landward_edge_table_generation", "gauge", "Generation of the route table in use.")
	fmt.Fprintf(&b, "landward_edge_table_generation %d\n", s.Generation)
	_, err := io.WriteString(w, b.String())
	return err
}

func (a AppSnapshot) writeHistogram(b *strings.Builder) {
	const name = "landward_edge_request_seconds"
	var sum uint64
	for i, n := range a.Buckets {
		sum += n
		le := "+Inf"
		if i < len(bounds) {
			le = strconv.FormatFloat(bounds[i].Seconds(), 'g', -1, 64)
		}
		fmt.Fprintf(b, "%s_bucket{app=%q,le=%q} %d\n", name, a.App, le, sum)
	}
	fmt.Fprintf(b, "%s_sum{app=%q} %g\n%s_count{app=%q} %d\n", name, a.App, a.Took, name, a.App, sum)
}

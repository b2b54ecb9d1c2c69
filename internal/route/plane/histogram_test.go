package plane

import (
	"testing"
	"time"
)

func TestHistogram(t *testing.T) {
	var h histogram
	if got := h.quantile(95); got != 0 {
		t.Errorf("of nothing: %s", got)
	}
	// Every duration is counted as one that is as long, or a thirty-second longer.
	for d := time.Microsecond; d < 2*time.Minute; d += d/7 + 13*time.Nanosecond {
		var h histogram
		h.add(d)
		if got := h.quantile(95); got <= d || got > d+d/octave+time.Microsecond {
			t.Fatalf("%s is counted as %s", d, got)
		}
	}
	for _, d := range []time.Duration{-time.Second, 0} {
		var h histogram
		h.add(d)
		if got := h.quantile(95); got != time.Microsecond {
			t.Errorf("%s is counted as %s", d, got)
		}
	}
	var long histogram
	long.add(time.Hour)
	if got := long.quantile(95); got < 2*time.Minute || got > 3*time.Minute {
		t.Errorf("an hour is counted as %s", got)
	}
	for i := range 100 {
		h.add(time.Duration(i+1) * time.Millisecond)
	}
	for percent, want := range map[uint64]time.Duration{1: time.Millisecond, 50: 50 * time.Millisecond, 95: 95 * time.Millisecond, 100: 100 * time.Millisecond} {
		if got := h.quantile(percent); got < want || got > want+want/octave+time.Microsecond {
			t.Errorf("%d%%: %s, want %s", percent, got, want)
		}
	}
}

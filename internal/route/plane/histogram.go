package plane

import (
	"math/bits"
	"sync/atomic"
	"time"
)

// histogram counts durations so finely that a quantile is right to a
// thirty-second: each power of two of microseconds has 32 buckets. Its zero
// value is ready to use.
type histogram struct {
	buckets [(maxOctave + 2) * octave]atomic.Uint64
}

const (
	octave    = 32 // buckets for a power of two
	octaveLog = 5
	// maxOctave is the last power of two beyond the first, exact buckets: up to
	// 2^27 microseconds, or 134 s. The last bucket has all that is longer.
	maxOctave = 21
)

func (h *histogram) add(d time.Duration) {
	us := uint64(max(d, 0) / time.Microsecond) //nolint:gosec // not negative
	shift := max(bits.Len64(us)-octaveLog-1, 0)
	i := shift*octave + int(us>>shift) //nolint:gosec // below 2^6
	h.buckets[min(i, len(h.buckets)-1)].Add(1)
}

// quantile returns what percent of 100 durations were at most, rounded up to a
// bucket's end; 0 where there are none.
func (h *histogram) quantile(percent uint64) time.Duration {
	var counts [len(h.buckets)]uint64
	var all uint64
	for i := range h.buckets {
		counts[i] = h.buckets[i].Load()
		all += counts[i]
	}
	if all == 0 {
		return 0
	}
	var seen uint64
	for i, n := range counts {
		if seen += n; seen*100 >= all*percent {
			return endOf(i)
		}
	}
	return endOf(len(counts) - 1)
}

// endOf is the end of a bucket: what is in it was shorter.
func endOf(i int) time.Duration {
	shift, low := 0, i
	if i >= 2*octave {
		shift = i/octave - 1
		low = i - shift*octave
	}
	return time.Duration(low+1) << shift * time.Microsecond
}

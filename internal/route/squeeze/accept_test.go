package squeeze_test

import (
	"strings"
	"testing"

	"landward/internal/route/squeeze"
)

func TestChoose(t *testing.T) {
	for _, tc := range []struct {
		accept string
		want   squeeze.Coding
	}{
		{"", squeeze.Identity},
		{"gzip", squeeze.Gzip},
		{"GZip", squeeze.Gzip},
		{"x-gzip", squeeze.Gzip},
		{"br", squeeze.Brotli},
		{"zstd", squeeze.Zstd},
		{"gzip, deflate, br, zstd", squeeze.Zstd},
		{"gzip, deflate, br", squeeze.Gzip},
		{"br, gzip", squeeze.Gzip},
		{"br;q=1.0, gzip;q=0.8, *;q=0.1", squeeze.Brotli},
		{"gzip;q=0.5, br;q=0.501", squeeze.Brotli},
		{" gzip ; q=0.5 ,\tzstd ; q=0.4", squeeze.Gzip},
		{"gzip;Q=0.5, zstd;q=0", squeeze.Gzip},
		{"*", squeeze.Zstd},
		{"*, zstd;q=0", squeeze.Gzip},
		{"*;q=0", squeeze.Identity},
		{"*;q=0, gzip", squeeze.Gzip},
		{"gzip;q=0", squeeze.Identity},
		{"gzip;q=0.000", squeeze.Identity},
		{"gzip;q=0.001", squeeze.Gzip},
		{"identity", squeeze.Identity},
		{"identity, gzip", squeeze.Gzip},
		{"identity;q=1, gzip;q=0.5", squeeze.Identity},
		{"identity;q=0.5, gzip;q=0.5", squeeze.Gzip},
		{"identity;q=0, gzip;q=0.1", squeeze.Gzip},
		{"deflate, compress", squeeze.Identity},
		{"gzip;q=2", squeeze.Identity},
		{"gzip;q=1.5", squeeze.Identity},
		{"gzip;q=-1", squeeze.Identity},
		{"gzip;q=0.5555", squeeze.Identity},
		{"gzip;q=", squeeze.Identity},
		{"gzip;q=1;x=y", squeeze.Identity},
		{"gzip;x=y", squeeze.Identity},
		{"gzip;", squeeze.Identity},
		{"gzip;q=.5", squeeze.Identity},
		{"gzip;q=0, gzip;q=1", squeeze.Identity}, // the first counts
		{",,gzip,,", squeeze.Gzip},
		{"gzip br", squeeze.Identity},
		{strings.Repeat("a,", 5000) + "gzip", squeeze.Gzip},
	} {
		if got := squeeze.Choose([]byte(tc.accept)); got != tc.want {
			t.Errorf("%.60q: got %v, want %v", tc.accept, got, tc.want)
		}
	}
}

func TestWeights(t *testing.T) {
	w := squeeze.Parse([]byte("gzip;q=0.25, *;q=0.1"))
	for c, want := range map[squeeze.Coding]int{squeeze.Gzip: 250, squeeze.Brotli: 100, squeeze.Zstd: 100, squeeze.Identity: 1} {
		if got := w.Of(c); got != want {
			t.Errorf("%v: got %d, want %d", c, got, want)
		}
	}
	if w := squeeze.Parse([]byte("*;q=0")); w.Of(squeeze.Identity) != 0 {
		t.Error("*;q=0 excludes identity, too")
	}
	if w := squeeze.Parse(nil); w.Of(squeeze.Gzip) != 0 || w.Of(squeeze.Identity) != 1 {
		t.Error("no header: identity alone")
	}
}

func FuzzParse(f *testing.F) {
	for _, s := range []string{"", "gzip, deflate, br, zstd", "*;q=0, gzip;q=0.5", "identity;q=1.000", ",;=", "gzip;q=0.1234"} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		w := squeeze.Parse(b)
		chosen := squeeze.Choose(b)
		for _, c := range []squeeze.Coding{squeeze.Identity, squeeze.Gzip, squeeze.Brotli, squeeze.Zstd} {
			q := w.Of(c)
			if q < 0 || q > 1000 {
				t.Fatalf("weight %d", q)
			}
			if q > w.Of(chosen) {
				t.Fatalf("chose %v (%d) over %v (%d)", chosen, w.Of(chosen), c, q)
			}
			if c != squeeze.Identity && q > 0 && !strings.Contains(string(b), "*") &&
				!strings.Contains(strings.ToLower(string(b)), c.String()) {
				t.Fatalf("%v was never named in %q", c, b)
			}
		}
		if chosen != squeeze.Identity && w.Of(chosen) == 0 {
			t.Fatalf("chose %v, which is refused", chosen)
		}
	})
}

func BenchmarkChoose(b *testing.B) {
	accept := []byte("gzip, deflate, br, zstd")
	b.ReportAllocs()
	for b.Loop() {
		squeeze.Choose(accept)
	}
}

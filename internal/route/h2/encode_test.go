package h2

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"testing"

	"golang.org/x/net/http2/hpack"

	"landward/internal/route/wire"
)

func line(name, value string) *wire.Field {
	return &wire.Field{Name: []byte(name), Value: []byte(value)}
}

// TestEncoder holds that a decoder understands every block, whatever is in the
// table and whatever its limit becomes.
func TestEncoder(t *testing.T) {
	rnd := rand.New(rand.NewPCG(1, 2)) //nolint:gosec // a test's
	var e encoder
	e.init()
	dec := hpack.NewDecoder(defaultTableSize, nil)
	names := []string{"Content-Type", "server", "X-Request-Id", "ETag", "Set-Cookie", "X-Long-Name-" + string(bytes.Repeat([]byte("n"), 100))}
	for round := range 3000 {
		if round%50 == 49 {
			size := []uint32{0, 100, 4096, 1 << 30, 700}[rnd.IntN(5)]
			e.limit(size)
			if rnd.IntN(2) == 0 {
				e.limit(4096)
			}
		}
		status := []int{200, 204, 206, 304, 400, 404, 500, 101, 418, 599}[rnd.IntN(10)]
		want := []string{fmt.Sprint(":status ", status)}
		b := e.begin(status)
		for range rnd.IntN(8) {
			name, value := names[rnd.IntN(len(names))], fmt.Sprint("v", rnd.IntN(30))
			switch rnd.IntN(20) {
			case 0:
				value = ""
			case 1:
				value = string(bytes.Repeat([]byte("v"), rnd.IntN(5000)))
			case 2:
				name = fmt.Sprint("x-", rnd.IntN(100))
			}
			b = e.field(b, line(name, value))
			want = append(want, string(bytes.ToLower([]byte(name)))+" "+value)
		}
		fields, err := dec.DecodeFull(e.end(b))
		if err != nil {
			t.Fatalf("round %d: %v", round, err)
		}
		var got []string
		for _, f := range fields {
			got = append(got, f.Name+" "+f.Value)
			if f.Name == "set-cookie" && !f.Sensitive {
				t.Error("a cookie may go into tables")
			}
		}
		if fmt.Sprint(got) != fmt.Sprint(want) {
			t.Fatalf("round %d: %q, want %q", round, got, want)
		}
		if e.size > e.max || e.size > defaultTableSize {
			t.Fatalf("round %d: table of %d", round, e.size)
		}
	}
}

// TestEncoderLearns holds that what is the same every time becomes one byte,
// and what differs does not drive it out.
func TestEncoderLearns(t *testing.T) {
	var e encoder
	e.init()
	last := 0
	for i := range 500 {
		b := e.begin(200)
		b = e.field(b, line("Content-Type", "text/html; charset=utf-8"))
		b = e.field(b, line("Content-Security-Policy", "default-src 'self'; frame-ancestors 'none'"))
		b = e.field(b, line("X-Request-Id", fmt.Sprintf("%032d", i)))
		b = e.field(b, line("ETag", fmt.Sprint(i)))
		last = len(e.end(b))
	}
	if last > 1+1+1+(2+1+32)+(2+1+3) {
		t.Errorf("%d bytes for the same head again", last)
	}
}

func TestEncoderAllocates(t *testing.T) {
	var e encoder
	e.init()
	f := []*wire.Field{line("Content-Type", "text/html"), line("X-Request-Id", "0123456789"), line("Date", "Sat")}
	one := func() {
		b := e.begin(200)
		for _, x := range f {
			b = e.field(b, x)
		}
		e.end(b)
	}
	one()
	one()
	if n := testing.AllocsPerRun(100, one); n > 0 {
		t.Errorf("%v allocations", n)
	}
}

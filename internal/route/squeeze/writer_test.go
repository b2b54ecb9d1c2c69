package squeeze_test

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"runtime"
	"strings"
	"sync"
	"testing"

	"github.com/andybalholm/brotli"
	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/zstd"
	"go.uber.org/goleak"

	"landward/internal/route/squeeze"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

var all = []squeeze.Coding{squeeze.Gzip, squeeze.Brotli, squeeze.Zstd}

func decoder(t testing.TB, c squeeze.Coding, r io.Reader) io.Reader {
	t.Helper()
	switch c {
	case squeeze.Gzip:
		d, err := gzip.NewReader(r)
		if err != nil {
			t.Fatal(err)
		}
		return d
	case squeeze.Brotli:
		return brotli.NewReader(r)
	default:
		// What browsers take at most.
		d, err := zstd.NewReader(r, zstd.WithDecoderConcurrency(1), zstd.WithDecoderMaxWindow(8<<20))
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(d.Close)
		return d
	}
}

func text(n int) []byte {
	r := rand.New(rand.NewPCG(1, 2))
	var b bytes.Buffer
	for b.Len() < n {
		fmt.Fprintf(&b, "<li class=\"item-%d\">word%d</li>\n", r.IntN(50), r.IntN(5000))
	}
	return b.Bytes()[:n]
}

func TestWholeAnswers(t *testing.T) {
	p := squeeze.NewPool(1)
	for _, c := range all {
		for _, n := range []int{0, 1, 1000, 70_000, 1 << 20} {
			src := text(n)
			var out bytes.Buffer
			w := p.Get(c, &out)
			if w == nil {
				t.Fatalf("%v: no writer", c)
			}
			for rest := src; len(rest) > 0; {
				k, err := w.Write(rest[:min(len(rest), 16<<10)])
				if err != nil {
					t.Fatal(err)
				}
				rest = rest[k:]
			}
			if err := w.Close(); err != nil {
				t.Fatal(err)
			}
			if w.In() != int64(n) || w.Coding() != c {
				t.Errorf("%v: took %d of %d", w.Coding(), w.In(), n)
			}
			w.Release()
			got, err := io.ReadAll(decoder(t, c, &out))
			if err != nil || !bytes.Equal(got, src) {
				t.Errorf("%v, %d bytes: got %d, %v", c, n, len(got), err)
			}
		}
	}
}

// TestFlush holds that what was written before a Flush can be read after it,
// while the answer goes on.
func TestFlush(t *testing.T) {
	for _, c := range all {
		p := squeeze.NewPool(0)
		pr, pw := io.Pipe()
		w := p.Get(c, pw)
		got := make(chan string)
		go func() {
			defer close(got)
			d := decoder(t, c, pr)
			for range 20 {
				b := make([]byte, 11)
				if _, err := io.ReadFull(d, b); err != nil {
					t.Errorf("%v: %v", c, err)
					return
				}
				got <- string(b)
			}
			if _, err := io.ReadAll(d); err != nil {
				t.Errorf("%v: end: %v", c, err)
			}
			_ = pr.Close()
		}()
		for i := range 20 {
			piece := fmt.Sprintf("data: %03d\n\n", i)
			if _, err := io.WriteString(w, piece); err != nil {
				t.Fatal(err)
			}
			if err := w.Flush(); err != nil {
				t.Fatal(err)
			}
			if s := <-got; s != piece {
				t.Fatalf("%v: piece %d: got %q", c, i, s)
			}
		}
		if err := w.Close(); err != nil {
			t.Error(err)
		}
		_ = pw.Close()
		<-got
		w.Release()
	}
}

// TestCutOff holds that an answer that was not closed does not look whole.
func TestCutOff(t *testing.T) {
	for _, c := range all {
		var out bytes.Buffer
		w := squeeze.NewPool(0).Get(c, &out)
		_, _ = w.Write(text(50_000))
		_ = w.Flush()
		w.Release()
		if _, err := io.ReadAll(decoder(t, c, &out)); err == nil {
			t.Errorf("%v: a cut-off answer reads as whole", c)
		}
	}
}

type failing struct{ err error }

func (f failing) Write([]byte) (int, error) { return 0, f.err }

// TestReuse holds that nothing of one answer, nor its error, gets into the next.
func TestReuse(t *testing.T) {
	p := squeeze.NewPool(1)
	gone := errors.New("gone")
	for _, c := range all {
		for range 5 {
			w := p.Get(c, failing{gone})
			_, _ = w.Write([]byte(strings.Repeat("secret ", 100)))
			if err := w.Flush(); !errors.Is(err, gone) {
				t.Errorf("%v: got %v", c, err)
			}
			w.Release()
			var out bytes.Buffer
			w = p.Get(c, &out)
			_, _ = io.WriteString(w, "hello")
			if err := w.Close(); err != nil {
				t.Errorf("%v: %v", c, err)
			}
			w.Release()
			if got, err := io.ReadAll(decoder(t, c, &out)); string(got) != "hello" || err != nil {
				t.Errorf("%v: got %q, %v", c, got, err)
			}
		}
	}
}

func TestBounds(t *testing.T) {
	p := squeeze.NewPool(2)
	a, b := p.Get(squeeze.Gzip, io.Discard), p.Get(squeeze.Zstd, io.Discard)
	if a == nil || b == nil {
		t.Fatal("no writer")
	}
	if w := p.Get(squeeze.Brotli, io.Discard); w != nil {
		t.Error("a third writer of two")
	}
	if p.Get(squeeze.Identity, io.Discard) != nil {
		t.Error("a writer for nothing")
	}
	a.Release()
	if w := p.Get(squeeze.Brotli, io.Discard); w == nil {
		t.Error("no writer after one came back")
	} else {
		w.Release()
	}
	b.Release()
	if p.Active() != 0 {
		t.Errorf("%d in use", p.Active())
	}
}

// TestMemory holds that a writer in use holds what WriterMemory says.
func TestMemory(t *testing.T) {
	src := text(1 << 20)
	const n = 8
	for _, c := range all {
		p := squeeze.NewPool(n)
		var before, after runtime.MemStats
		runtime.GC()
		runtime.ReadMemStats(&before)
		var list []*squeeze.Writer
		for range n {
			w := p.Get(c, io.Discard)
			for range 4 {
				_, _ = w.Write(src)
				_ = w.Flush()
			}
			list = append(list, w)
		}
		runtime.GC()
		runtime.ReadMemStats(&after)
		each := (int64(after.HeapAlloc) - int64(before.HeapAlloc)) / n
		t.Logf("%v: %d KiB", c, each>>10)
		if each > squeeze.WriterMemory {
			t.Errorf("%v holds %d bytes, more than %d", c, each, squeeze.WriterMemory)
		}
		for _, w := range list {
			w.Release()
		}
	}
}

func TestConcurrent(t *testing.T) {
	p := squeeze.NewPool(4)
	src := text(20_000)
	var wg sync.WaitGroup
	for i := range 8 {
		wg.Go(func() {
			for j := range 20 {
				c := all[(i+j)%len(all)]
				var out bytes.Buffer
				w := p.Get(c, &out)
				if w == nil {
					continue
				}
				_, _ = w.Write(src)
				_ = w.Close()
				w.Release()
				if got, err := io.ReadAll(decoder(t, c, &out)); err != nil || !bytes.Equal(got, src) {
					t.Errorf("%v: %v", c, err)
				}
			}
		})
	}
	wg.Wait()
	if p.Active() != 0 {
		t.Errorf("%d in use", p.Active())
	}
}

func BenchmarkWriter(b *testing.B) {
	src := text(32 << 10)
	for _, c := range all {
		b.Run(c.String(), func(b *testing.B) {
			p := squeeze.NewPool(0)
			b.SetBytes(int64(len(src)))
			b.ReportAllocs()
			for b.Loop() {
				w := p.Get(c, io.Discard)
				_, _ = w.Write(src)
				_ = w.Close()
				w.Release()
			}
		})
	}
}

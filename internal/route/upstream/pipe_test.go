package upstream

import (
	"bytes"
	"errors"
	"io"
	"math/rand/v2"
	"net"
	"os"
	"testing"
	"testing/synctest"
	"time"
)

// ends are both ends of an in-memory connection.
func ends() (a, b *end) {
	x, y := newPipe(), newPipe()
	return &end{in: x, out: y}, &end{in: y, out: x}
}

func TestPipeMovesAll(t *testing.T) {
	a, b := ends()
	src := make([]byte, 500_000)
	for i := range src {
		src[i] = byte(i * i >> 3)
	}
	go func() {
		r := rand.New(rand.NewPCG(1, 2))
		for rest := src; len(rest) > 0; {
			n, err := a.Write(rest[:min(len(rest), 1+r.IntN(50_000))])
			if err != nil {
				t.Error(err)
				return
			}
			rest = rest[n:]
		}
		_ = a.Close()
	}()
	got, err := io.ReadAll(iotest{b, rand.New(rand.NewPCG(3, 4))})
	if err != nil || !bytes.Equal(got, src) {
		t.Errorf("got %d bytes, %v", len(got), err)
	}
	if _, err := b.Write([]byte("x")); !errors.Is(err, io.ErrClosedPipe) {
		t.Errorf("write to one that is gone: %v", err)
	}
}

// iotest reads pieces of all sizes.
type iotest struct {
	r io.Reader
	n *rand.Rand
}

func (i iotest) Read(b []byte) (int, error) { return i.r.Read(b[:1+i.n.IntN(len(b))]) }

func TestPipeDeadlines(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a, b := ends()
		var one [1]byte
		start := time.Now()
		_ = b.SetReadDeadline(start.Add(time.Second))
		if _, err := b.Read(one[:]); !errors.Is(err, os.ErrDeadlineExceeded) || time.Since(start) != time.Second {
			t.Errorf("read: %v after %v", err, time.Since(start))
		}
		var timeout net.Error
		if _, err := b.Read(one[:]); !errors.As(err, &timeout) || !timeout.Timeout() {
			t.Errorf("not a timeout: %v", err)
		}
		// A deadline that was taken back does not fire.
		_ = b.SetReadDeadline(time.Now().Add(time.Second))
		_ = b.SetReadDeadline(time.Time{})
		got := make(chan error)
		go func() {
			_, err := b.Read(one[:])
			got <- err
		}()
		<-time.After(time.Minute) // of the bubble: nobody waits
		synctest.Wait()
		select {
		case err := <-got:
			t.Fatalf("woken: %v", err)
		default:
		}
		// One in the past wakes who waits.
		_ = b.SetReadDeadline(time.Unix(1, 0))
		if err := <-got; !errors.Is(err, os.ErrDeadlineExceeded) {
			t.Errorf("got %v", err)
		}
		_ = b.SetReadDeadline(time.Time{})
		// A writer waits for room, not longer than it may.
		_ = a.SetWriteDeadline(time.Now().Add(time.Second))
		if n, err := a.Write(make([]byte, pipeSize+1)); n != pipeSize || !errors.Is(err, os.ErrDeadlineExceeded) {
			t.Errorf("wrote %d, %v", n, err)
		}
		_ = a.SetWriteDeadline(time.Time{})
		if n, err := io.ReadFull(b, make([]byte, pipeSize)); n != pipeSize || err != nil {
			t.Errorf("read %d, %v", n, err)
		}
		_ = a.SetDeadline(time.Now().Add(time.Hour))
		_ = a.Close()
		_ = b.Close()
	})
}

func TestPipeClose(t *testing.T) {
	a, b := ends()
	_, _ = a.Write([]byte("rest"))
	_ = a.Close()
	if got, err := io.ReadAll(b); string(got) != "rest" || err != nil {
		t.Errorf("got %q, %v", got, err)
	}
	if _, err := a.Read(make([]byte, 1)); !errors.Is(err, net.ErrClosed) {
		t.Errorf("read own: %v", err)
	}
	if _, err := a.Write([]byte("x")); !errors.Is(err, net.ErrClosed) {
		t.Errorf("write own: %v", err)
	}
	a, b = ends()
	wrote := make(chan error)
	go func() {
		_, err := a.Write(make([]byte, 10*pipeSize))
		wrote <- err
	}()
	if _, err := b.Read(make([]byte, 1)); err != nil {
		t.Error(err)
	}
	_ = b.Close()
	if err := <-wrote; !errors.Is(err, io.ErrClosedPipe) {
		t.Errorf("got %v", err)
	}
	if a.in.buf != nil || a.out.buf != nil {
		t.Error("a closed connection holds memory")
	}
}

// TestPipeOffer holds that an offer is taken whole or not at all.
func TestPipeOffer(t *testing.T) {
	a, b := ends()
	a.out.offer(make([]byte, pipeSize-10))
	a.out.offer(make([]byte, 11))
	a.out.offer(make([]byte, 10))
	a.out.offer(make([]byte, 1))
	_ = a.Close()
	if got, _ := io.ReadAll(b); len(got) != pipeSize {
		t.Errorf("got %d bytes", len(got))
	}
}

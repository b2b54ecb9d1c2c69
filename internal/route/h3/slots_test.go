package h3_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/quic-go/quic-go"
	"golang.org/x/net/bpf"

	"landward/internal/route/h2/lane/lanetest"
	"landward/internal/route/h3"
	"landward/internal/waittest"
)

// long makes a packet with a long header.
func long(id []byte, rest int) []byte {
	b := append([]byte{0xC3, 0, 0, 0, 1, byte(len(id))}, id...)
	return append(b, make([]byte, rest)...)
}

// short makes a packet with a short header.
func short(id []byte, rest int) []byte {
	return append(append([]byte{0x43}, id...), make([]byte, rest)...)
}

// steered says where a packet goes, in other words than the program does.
func steered(packet []byte, current int, live uint) int {
	if len(packet) < 7 {
		return current
	}
	id := packet[1:]
	if packet[0] >= 0x80 {
		if packet[5] != 7 {
			return current
		}
		id = packet[6:]
	}
	if slot := int(id[0]) % h3.Slots; slices.Contains(slots(live), slot) {
		return slot
	}
	return current
}

func slots(live uint) []int {
	var list []int
	for i := range h3.Slots {
		if live&(1<<i) != 0 {
			list = append(list, i)
		}
	}
	return list
}

// FuzzSteering: the program sends any packet where it must, and never beyond
// the sockets that there are.
func FuzzSteering(f *testing.F) {
	f.Add([]byte{}, 3, uint(0xFF))
	f.Add([]byte{0x40}, 3, uint(0xFF))
	f.Add(short(h3.NewID(5), 30), 3, uint(1<<5))
	f.Add(short(h3.NewID(5), 30), 3, uint(1<<4))
	f.Add(long(h3.NewID(6), 30), 1, uint(1<<6|1<<1))
	f.Add(long(h3.NewID(6), 0), 1, uint(1<<6|1<<1))
	f.Add(long(make([]byte, 8), 1200), 2, uint(1<<0))
	f.Add([]byte{0x80, 0, 0, 0, 0, 7}, 2, uint(1<<0))
	f.Fuzz(func(t *testing.T, packet []byte, current int, live uint) {
		current = int(uint(current) % h3.Slots)
		vm, err := bpf.NewVM(h3.Steering(current, live))
		if err != nil {
			t.Fatal(err)
		}
		got, err := vm.Run(packet)
		if err != nil {
			t.Fatal(err)
		}
		if want := steered(packet, current, live); got != want {
			t.Errorf("%x goes to %d, want %d (current %d, live %b)", packet, got, want, current, live)
		}
	})
}

func TestIDs(t *testing.T) {
	seen := map[string]bool{}
	for slot := range h3.Slots {
		firsts := map[byte]bool{}
		for range 2000 {
			id := h3.NewID(slot)
			if len(id) != 7 || int(id[0])%h3.Slots != slot || seen[string(id)] {
				t.Fatalf("slot %d: %x", slot, id)
			}
			seen[string(id)], firsts[id[0]] = true, true
		}
		if len(firsts) != 256/h3.Slots {
			t.Errorf("slot %d: only %d first bytes", slot, len(firsts))
		}
	}
}

// group opens the sockets of an address.
func group(t *testing.T, addr string) []*net.UDPConn {
	t.Helper()
	socks, err := h3.ListenSlots(addr)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		for _, s := range socks {
			_ = s.Close()
		}
	})
	if len(socks) != h3.Slots {
		t.Fatalf("%d sockets", len(socks))
	}
	for _, s := range socks {
		if s.LocalAddr().String() != socks[0].LocalAddr().String() {
			t.Fatalf("%s beside %s", s.LocalAddr(), socks[0].LocalAddr())
		}
	}
	return socks
}

// TestSteer has the kernel steer packets.
func TestSteer(t *testing.T) {
	for _, addr := range []string{"127.0.0.1:0", "[::1]:0", ":0"} {
		t.Run(addr, func(t *testing.T) {
			if addr == "[::1]:0" {
				if l, err := net.Listen("tcp", addr); err != nil {
					t.Skip("no IPv6")
				} else {
					_ = l.Close()
				}
			}
			socks := group(t, addr)
			got := make(chan string, 100)
			var all sync.WaitGroup
			for slot, s := range socks {
				all.Go(func() {
					b := make([]byte, 2048)
					for {
						n, err := s.Read(b)
						if errors.Is(err, os.ErrDeadlineExceeded) {
							return
						}
						got <- fmt.Sprintf("%d: %x", slot, b[:n])
					}
				})
			}
			to := *socks[0].LocalAddr().(*net.UDPAddr)
			if to.IP.IsUnspecified() {
				to.IP = net.IPv4(127, 0, 0, 1)
			}
			c, err := net.DialUDP("udp", nil, &to)
			if err != nil {
				t.Fatal(err)
			}
			defer func() { _ = c.Close() }()
			// The last one attached counts, whatever socket it was attached to.
			for i, at := range []struct {
				current int
				live    uint
			}{{0, 1}, {2, 0b111}, {7, 0b1000_0001}, {1, 0}} {
				if err := h3.Steer(socks[i*2], at.current, at.live); err != nil {
					t.Fatal(err)
				}
				packets := [][]byte{{0x40}, {0x40, 1, 1, 1}, []byte("neither"), long(make([]byte, 8), 1200), long(make([]byte, 20), 0)}
				for slot := range h3.Slots {
					packets = append(packets, short(h3.NewID(slot), 13), long(h3.NewID(slot), 13))
				}
				for _, p := range packets {
					if _, err := c.Write(p); err != nil {
						t.Fatal(err)
					}
					want := fmt.Sprintf("%d: %x", steered(p, at.current, at.live), p)
					select {
					case g := <-got:
						if g != want {
							t.Errorf("%+v: %s, want %s", at, g, want)
						}
					case <-time.After(patience):
						t.Fatalf("%+v: %x is lost", at, p)
					}
				}
			}
			for _, s := range socks {
				_ = s.SetReadDeadline(time.Unix(1, 0))
			}
			all.Wait()
		})
	}
}

func TestListenSlotsTaken(t *testing.T) {
	l, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = l.Close() }()
	if socks, err := h3.ListenSlots(l.LocalAddr().String()); err == nil || socks != nil {
		t.Errorf("%d sockets on an address that is taken, %v", len(socks), err)
	}
	// Those that can be shared are not joined either.
	if socks, err := h3.ListenSlots(group(t, "127.0.0.1:0")[0].LocalAddr().String()); err == nil || socks != nil {
		t.Errorf("%d sockets beside others, %v", len(socks), err)
	}
	if socks, err := h3.ListenSlots("nowhere"); err == nil || socks != nil {
		t.Errorf("%d sockets on no address, %v", len(socks), err)
	}
}

// relay makes two edges of one address.
type relay struct {
	t     *testing.T
	socks []*net.UDPConn
	live  uint
	rigs  map[int]*rig
}

func newRelay(t *testing.T) *relay {
	return &relay{t: t, socks: group(t, "127.0.0.1:0"), rigs: map[int]*rig{}}
}

// put starts a server in a slot; steer makes it the one that new clients get.
func (y *relay) put(slot int, l h3.Limits) *rig {
	app := &lanetest.App{}
	r := newRigOn(y.t, h3.Options{Limits: l, Hand: app.Hand, Slot: slot, Secret: bytes.Repeat([]byte{7}, 32)}, y.socks[slot])
	r.app = app
	y.rigs[slot] = r
	y.live |= 1 << slot
	return r
}

func (y *relay) steer(current int) {
	y.t.Helper()
	if err := h3.Steer(y.socks[0], current, y.live); err != nil {
		y.t.Fatal(err)
	}
}

// end shuts a server down as its process does.
func (y *relay) end(slot int) {
	y.rigs[slot].Shutdown(context.Background())
	y.live &^= 1 << slot
}

// TestTakeOver: a client's connection stays with the server that has it while
// another one takes the address over, ends when its requests have, and nothing
// that is asked meanwhile fails.
func TestTakeOver(t *testing.T) {
	y := newRelay(t)
	one := y.put(3, h3.Limits{})
	y.steer(3)
	c := one.client(t)
	get(t, c, url("/hello"))
	pr, pw := io.Pipe()
	resp, err := c.Post(url("/echo"), "x/y", pr)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = resp.Body.Close() }()

	two := y.put(4, h3.Limits{})
	y.steer(4)
	// The old connection goes on at the old server.
	get(t, c, url("/hello"))
	if n := two.app.Requests.Load(); n != 0 || one.app.Requests.Load() != 3 {
		t.Fatalf("the new server got %d requests of an old connection, the old one %d", n, one.app.Requests.Load())
	}
	get(t, one.client(t), url("/hello"))
	if n := two.app.Requests.Load(); n != 1 {
		t.Fatalf("the new server got %d requests of a new connection", n)
	}
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		y.end(3)
	}()
	// Requests on the old connection move to a new one; the one in progress
	// finishes where it is.
	waittest.Eventually(t, "the client goes elsewhere", func() bool {
		get(t, c, url("/hello"))
		return two.app.Requests.Load() > 1
	})
	for range 3 {
		piece := lanetest.Pattern(100_000)
		if _, err := pw.Write(piece); err != nil {
			t.Fatal(err)
		}
		back := make([]byte, len(piece))
		if _, err := io.ReadFull(resp.Body, back); err != nil || !bytes.Equal(back, piece) {
			t.Fatal(err)
		}
	}
	_ = pw.Close()
	if b, err := io.ReadAll(resp.Body); err != nil || len(b) > 0 {
		t.Errorf("%d more bytes, %v", len(b), err)
	}
	<-ended
	y.steer(4)
	get(t, c, url("/hello"))
}

// TestTakeOverLoad: servers take each other's place under clients that open
// connections all the time; none is refused, none loses a request.
func TestTakeOverLoad(t *testing.T) {
	y := newRelay(t)
	first := y.put(0, h3.Limits{})
	y.steer(0)
	ctx, stop := context.WithCancel(t.Context())
	defer stop()
	var users sync.WaitGroup
	for i := range 4 {
		users.Go(func() {
			for ctx.Err() == nil {
				c := first.client(t) // of the address, whoever is behind it
				for range 1 + 20*(i%2) {
					resp, err := c.Get(url("/hello"))
					if err != nil {
						t.Error(err)
						continue
					}
					if b, err := io.ReadAll(resp.Body); err != nil || string(b) != "hello, /hello" {
						t.Errorf("%q %v", b, err)
					}
					_ = resp.Body.Close()
				}
				_ = c.Transport.(io.Closer).Close()
			}
		})
	}
	served := int64(0)
	const rounds = h3.Slots + 3
	for i := range rounds {
		now, next := i%h3.Slots, (i+1)%h3.Slots
		r := y.rigs[now]
		waittest.Eventually(t, "requests", func() bool { return r.app.Requests.Load() > 5 })
		old := y.rigs[now]
		y.put(next, h3.Limits{})
		y.steer(next)
		y.end(now)
		served += old.app.Requests.Load()
	}
	stop()
	users.Wait()
	t.Logf("%d servers, %d requests", rounds, served)
}

// TestKilled: a server that was killed leaves clients that do not know. The next
// one tells them.
func TestKilled(t *testing.T) {
	y := newRelay(t)
	one := y.put(0, h3.Limits{})
	y.steer(0)
	conn, err := quic.DialAddr(t.Context(), one.addr, one.quicConfig(), nil)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = conn.CloseWithError(0, "") }()
	y.put(1, h3.Limits{})
	y.live = 1 << 1 // slot 0 has died without a word
	y.steer(1)
	str, err := conn.OpenStream()
	if err != nil {
		t.Fatal(err)
	}
	if _, err := str.Write(make([]byte, 100)); err != nil { // the answer is never longer
		t.Fatal(err)
	}
	<-conn.Context().Done()
	var reset *quic.StatelessResetError
	if err := context.Cause(conn.Context()); !errors.As(err, &reset) {
		t.Errorf("the client is told %v", err)
	}
}

// nat stands between one client and a server.
type nat struct {
	t     *testing.T
	in    *net.UDPConn
	to    *net.UDPAddr
	heard func(packet []byte) // each packet of the server, before the client gets it
	all   sync.WaitGroup

	mu     sync.Mutex
	client *net.UDPAddr
	out    []*net.UDPConn // the last one is in use
}

func newNAT(t *testing.T, to net.Addr, heard func([]byte)) *nat {
	t.Helper()
	in, err := net.ListenUDP("udp", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
	if err != nil {
		t.Fatal(err)
	}
	n := &nat{t: t, in: in, to: to.(*net.UDPAddr), heard: heard}
	n.rebind()
	n.all.Go(func() {
		b := make([]byte, 2048)
		for {
			size, from, err := in.ReadFromUDP(b)
			if err != nil {
				return
			}
			n.mu.Lock()
			n.client = from
			out := n.out[len(n.out)-1]
			n.mu.Unlock()
			_, _ = out.Write(b[:size])
		}
	})
	t.Cleanup(func() {
		_ = in.Close()
		n.mu.Lock()
		for _, c := range n.out {
			_ = c.Close()
		}
		n.mu.Unlock()
		n.all.Wait()
	})
	return n
}

// rebind gives the client another address.
func (n *nat) rebind() {
	out, err := net.DialUDP("udp", nil, n.to)
	if err != nil {
		n.t.Fatal(err)
	}
	n.mu.Lock()
	n.out = append(n.out, out)
	n.mu.Unlock()
	n.all.Go(func() {
		b := make([]byte, 2048)
		for {
			size, err := out.Read(b)
			if err != nil {
				return
			}
			n.heard(b[:size])
			n.mu.Lock()
			client := n.client
			n.mu.Unlock()
			_, _ = n.in.WriteToUDP(b[:size], client)
		}
	})
}

// TestRetryAcross: who had to prove the address comes back to the server that
// has asked, even when another one takes new clients by then.
func TestRetryAcross(t *testing.T) {
	y := newRelay(t)
	one := y.put(0, h3.Limits{Conns: 3}) // from the second on it asks
	two := y.put(1, h3.Limits{})
	y.steer(0)
	get(t, one.client(t), url("/hello"))
	asked := false
	n := newNAT(t, y.socks[0].LocalAddr(), func(p []byte) {
		if p[0]&0xF0 == 0xF0 && !asked { // Retry
			asked = true
			y.steer(1)
		}
	})
	c := (&rig{addr: n.in.LocalAddr().String(), config: one.config}).client(t)
	get(t, c, url("/hello"))
	if !asked || one.app.Requests.Load() != 2 || two.app.Requests.Load() != 0 {
		t.Errorf("asked: %v, requests: %d, %d", asked, one.app.Requests.Load(), two.app.Requests.Load())
	}
}

// TestRebind: a client whose address changes while another server takes over
// stays with its own.
func TestRebind(t *testing.T) {
	y := newRelay(t)
	one := y.put(5, h3.Limits{})
	y.steer(5)
	n := newNAT(t, y.socks[0].LocalAddr(), func([]byte) {})
	c := (&rig{addr: n.in.LocalAddr().String(), config: one.config}).client(t)
	get(t, c, url("/hello"))
	two := y.put(6, h3.Limits{})
	y.steer(6)
	for range 3 {
		n.rebind()
		get(t, c, url("/bytes?100000"))
	}
	if one.app.Requests.Load() != 4 || two.app.Requests.Load() != 0 {
		t.Errorf("requests: %d, %d", one.app.Requests.Load(), two.app.Requests.Load())
	}
}

package dns_test

import (
	"context"
	"fmt"
	"net"
	"os"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/miekg/dns"

	lwdns "landward/internal/dns"
	"landward/internal/landward"
	"landward/internal/waittest"
)

// again gives a socket to another server, as it goes to another process.
func again(t *testing.T, from lwdns.Socket) lwdns.Socket {
	t.Helper()
	dup := func(f *os.File, err error) *os.File {
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = f.Close() })
		return f
	}
	pc, err := net.FilePacketConn(dup(from.UDP.File()))
	if err != nil {
		t.Fatal(err)
	}
	l, err := net.FileListener(dup(from.TCP.File()))
	if err != nil {
		t.Fatal(err)
	}
	return lwdns.Socket{UDP: pc.(*net.UDPConn), TCP: l.(*net.TCPListener)}
}

// runOn runs a server until stop is called, which waits for its end.
func runOn(t *testing.T, o lwdns.Options, sock lwdns.Socket) (s *lwdns.Server, stop func()) {
	t.Helper()
	s, err := lwdns.New(o)
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Use(sock); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- s.Run(ctx) }()
	stop = sync.OnceFunc(func() {
		cancel()
		if err := <-done; err != nil {
			t.Errorf("Run: %v", err)
		}
	})
	t.Cleanup(stop)
	return s, stop
}

func opened(t *testing.T) lwdns.Socket {
	t.Helper()
	list, err := lwdns.Open("127.0.0.1:0")
	if err != nil || len(list) != 1 {
		t.Fatalf("%d sockets, %v", len(list), err)
	}
	t.Cleanup(func() { _ = list[0].Close() })
	return list[0]
}

// TestTakeOver: servers take each other's place on the same sockets, and no
// question is lost.
func TestTakeOver(t *testing.T) {
	sock := opened(t)
	ctx, halt := context.WithCancel(t.Context())
	defer halt()
	_, stop := runOn(t, options(), again(t, sock))
	var asked atomic.Int64
	var users sync.WaitGroup
	for i := range 4 {
		users.Go(func() {
			network := []string{"udp", "tcp"}[i%2]
			to := sock.UDP.LocalAddr().String()
			c := dialFrom(network, insider)
			for ctx.Err() == nil {
				r, _, err := c.Exchange(question("paas.local", dns.TypeA), to)
				if err != nil {
					t.Errorf("%s: %v", network, err)
					continue
				}
				wantData(t, r, "A 192.0.2.10")
				asked.Add(1)
			}
		})
	}
	for range 20 {
		n := asked.Load()
		waittest.Eventually(t, "twenty more are asked", func() bool { return asked.Load() > n+20 })
		_, next := runOn(t, options(), again(t, sock))
		stop()
		stop = next
	}
	halt()
	users.Wait()
	stop()
	t.Logf("%d questions", asked.Load())
}

// TestDrain: what waits for an upstream is answered by a server that ends, over
// the socket that another one reads by then.
func TestDrain(t *testing.T) {
	release := make(chan struct{})
	u := newFake(t, func(q asked) [][]byte {
		<-release
		return reply(t, q, "owner. 60 IN A 203.0.113.1")
	})
	let := sync.OnceFunc(func() { close(release) })
	t.Cleanup(let)
	o := forwarding(u)
	o.Limits.Drain = patience
	sock := opened(t)
	one, stop := runOn(t, o, again(t, sock))
	answers := make(chan *dns.Msg, 2)
	for i, network := range []string{"udp", "tcp"} {
		go func() {
			r, _, err := dialFrom(network, insider).Exchange(question(fmt.Sprintf("n%d.example.com", i), dns.TypeA), sock.UDP.LocalAddr().String())
			if err != nil {
				t.Errorf("%s: %v", network, err)
			}
			answers <- r
		}()
	}
	waittest.Eventually(t, "all are forwarded", func() bool { return one.Stats().Forwarded == 2 })
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		stop()
	}()
	_, _ = runOn(t, o, again(t, sock))
	// A question that comes now is the new server's.
	waittest.Eventually(t, "the new server answers", func() bool {
		r, _, err := dialFrom("udp", insider).Exchange(question("paas.local", dns.TypeA), sock.UDP.LocalAddr().String())
		return err == nil && len(r.Answer) == 1
	})
	let()
	for range 2 {
		if r := <-answers; r != nil {
			wantData(t, r, "A 203.0.113.1")
		}
	}
	<-ended
}

func TestOpenRefuses(t *testing.T) {
	taken := opened(t).UDP.LocalAddr().String()
	for addr, code := range map[string]landward.Code{
		taken: landward.CodeUnavailable, "localhost:53": landward.CodeInvalid, "127.0.0.1": landward.CodeInvalid, "127.0.0.1:x": landward.CodeInvalid,
	} {
		if list, err := lwdns.Open(addr); landward.CodeOf(err) != code || list != nil {
			t.Errorf("%s: %d sockets, %v", addr, len(list), err)
		}
	}
}

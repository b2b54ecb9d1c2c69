package h2_test

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/netip"
	"os"
	"strconv"
	"strings"
	"testing"
	"time"

	"landward/internal/route"
	"landward/internal/route/h2"
	"landward/internal/route/plane"
)

func TestZServe(t *testing.T) {
	if os.Getenv("ZSERVE") == "" {
		t.Skip()
	}
	p := plane.New(plane.Options{Log: slog.New(slog.DiscardHandler), Access: &quietSink{}, Pages: pages{}})
	if err := p.Apply(route.Table{Generation: 1, Routes: []route.Route{{App: "shop", AppID: 7, Release: 1, Hosts: []string{"shop.test"},
		State: route.StateUp, Targets: []route.Target{{Addr: netip.MustParseAddrPort(os.Getenv("ZUP")), Unit: "web.1", ID: "x"}}}}}); err != nil {
		t.Fatal(err)
	}
	go p.Run(context.Background())
	s := h2.New(h2.Options{Log: slog.New(slog.DiscardHandler), Hand: func(c net.Conn) { p.ServeConn(c, "http") }})
	ln, err := net.Listen("tcp", os.Getenv("ZSERVE"))
	if err != nil {
		t.Fatal(err)
	}
	go func() {
		for {
			c, err := ln.Accept()
			if err != nil {
				return
			}
			go s.ServeConn(c)
		}
	}()
	io.Copy(io.Discard, os.Stdin)
}

type quietSink struct{}

func (quietSink) Access(*route.Entry) {}

func cpu(pid string) float64 {
	b, _ := os.ReadFile("/proc/" + pid + "/stat")
	f := strings.Fields(string(b[strings.LastIndexByte(string(b), ')')+2:]))
	u, _ := strconv.ParseFloat(f[11], 64)
	s, _ := strconv.ParseFloat(f[12], 64)
	return (u + s) / 100
}

func TestZClient(t *testing.T) {
	if os.Getenv("ZADDR") == "" {
		t.Skip()
	}
	n, _ := strconv.Atoi(os.Getenv("ZN"))
	total, _ := strconv.Atoi(os.Getenv("ZTOTAL"))
	done := make(chan int)
	conns := 4
	before, begun := cpu(os.Getenv("ZPID")), time.Now()
	for range conns {
		go func() {
			sum := 0
			for sum < total/conns {
				c, err := net.Dial("tcp", os.Getenv("ZADDR"))
				if err != nil {
					panic(err)
				}
				x := newBurst(t, c, n)
				for i := 0; i < 5000/n && sum < total/conns; i++ {
					x.round(t)
					sum += n
				}
				c.Close()
			}
			done <- sum
		}()
	}
	sum := 0
	for range conns {
		sum += <-done
	}
	took := time.Since(begun)
	fmt.Printf("%s n=%d: %.2f us CPU a request, %.0f/s\n", os.Getenv("ZNAME"), n, (cpu(os.Getenv("ZPID"))-before)/float64(sum)*1e6, float64(sum)/took.Seconds())
}

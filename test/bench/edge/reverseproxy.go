package main

import (
	"context"
	"errors"
	"flag"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httputil"
	"net/url"
	"strings"
	"sync"
	"time"
)

const roleReverseProxy = "reverseproxy"

// startReverseProxy starts the standard library's proxy, in a process of its own.
func (b *bench) startReverseProxy(ctx context.Context, _ serverOptions) (*server, error) {
	dir, err := b.folder("reverseproxy")
	if err != nil {
		return nil, err
	}
	addr, err := freeAddr()
	if err != nil {
		return nil, err
	}
	p, err := b.spawn(true, dir, b.self, roleReverseProxy, "-addr", addr.String(), "-backend", b.backend.String())
	if err != nil {
		return nil, err
	}
	return b.up(ctx, p, &server{label: "ReverseProxy", http: addr})
}

// reverseProxyMain is a ReverseProxy as one writes it who wants it fast: pooled
// buffers, as many kept connections as there are clients, no log.
func reverseProxyMain(ctx context.Context, args []string) error {
	fs := flag.NewFlagSet(roleReverseProxy, flag.ContinueOnError)
	addr := fs.String("addr", "", "address to listen on")
	backend := fs.String("backend", "", "address of the app")
	if err := fs.Parse(args); err != nil {
		return err
	}
	hosts := map[string]*url.URL{benchHost: {Scheme: "http", Host: *backend}}
	proxy := &httputil.ReverseProxy{
		Rewrite: func(r *httputil.ProxyRequest) {
			host, _, _ := strings.Cut(r.In.Host, ":")
			if to := hosts[host]; to != nil {
				r.SetURL(to)
			}
			r.Out.Host = r.In.Host
			r.SetXForwarded()
		},
		Transport: &http.Transport{
			DialContext:         (&net.Dialer{Timeout: 5 * time.Second}).DialContext,
			MaxIdleConnsPerHost: 1024, IdleConnTimeout: 30 * time.Second, DisableCompression: true,
		},
		BufferPool: &buffers{},
		ErrorLog:   log.New(io.Discard, "", 0),
	}
	s := &http.Server{Addr: *addr, Handler: proxy, ReadHeaderTimeout: 10 * time.Second, IdleTimeout: 75 * time.Second}
	context.AfterFunc(ctx, func() { _ = s.Close() })
	if err := s.ListenAndServe(); !errors.Is(err, http.ErrServerClosed) {
		return err
	}
	return nil
}

// buffers is a httputil.BufferPool.
type buffers struct{ pool sync.Pool }

// Get returns a buffer.
func (p *buffers) Get() []byte {
	if b, ok := p.pool.Get().(*[]byte); ok {
		return *b
	}
	return make([]byte, 32<<10)
}

// Put takes a buffer back.
func (p *buffers) Put(b []byte) { p.pool.Put(&b) }

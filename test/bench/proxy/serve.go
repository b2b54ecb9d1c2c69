package main

import (
	"bytes"
	"context"
	"errors"
	"flag"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"runtime/pprof"

	"landward/internal/route/edge"
)

// serveBackend answers every request with the same bytes, as cheaply as Go can,
// so that the proxies are what is measured.
func serveBackend(ctx context.Context, args []string) error {
	fs := flag.NewFlagSet("backend", flag.ContinueOnError)
	addr := fs.String("addr", "", "address")
	size := fs.Int("size", 1024, "bytes of the body")
	if err := fs.Parse(args); err != nil {
		return err
	}
	l, err := net.Listen("tcp", *addr)
	if err != nil {
		return err
	}
	context.AfterFunc(ctx, func() { _ = l.Close() })
	answer := fmt.Appendf(nil, "HTTP/1.1 200 OK\r\nDate: Sat, 21 Nov 2026 10:00:00 GMT\r\n"+
		"Content-Type: text/plain; charset=utf-8\r\nContent-Length: %d\r\n\r\n", *size)
	answer = append(answer, bytes.Repeat([]byte("x"), *size)...)
	for {
		c, err := l.Accept()
		if errors.Is(err, net.ErrClosed) {
			return nil
		}
		if err != nil {
			return err
		}
		go answerAll(c, answer)
	}
}

func answerAll(c net.Conn, answer []byte) {
	defer func() { _ = c.Close() }()
	buf := make([]byte, 8<<10)
	n := 0
	for {
		m, err := c.Read(buf[n:])
		if err != nil {
			return
		}
		n += m
		end := bytes.Index(buf[:n], []byte("\r\n\r\n"))
		if end < 0 {
			continue
		}
		closing := bytes.Contains(buf[:end], []byte("HTTP/1.0\r\n")) || bytes.Contains(buf[:end], []byte("\r\nConnection: close"))
		n = copy(buf, buf[end+4:n])
		if _, err := c.Write(answer); err != nil || closing {
			return
		}
	}
}

// serveEdge is the edge as it runs in a real installation.
func serveEdge(ctx context.Context, args []string) error {
	fs := flag.NewFlagSet("edge", flag.ContinueOnError)
	addr := fs.String("addr", "", "address")
	socket := fs.String("socket", "", "unix socket for the table")
	dir := fs.String("dir", "", "folder")
	profile := fs.String("profile", "", "file for a CPU profile")
	if err := fs.Parse(args); err != nil {
		return err
	}
	if *profile != "" {
		f, err := os.Create(*profile)
		if err != nil {
			return err
		}
		defer func() { _ = f.Close() }()
		if err := pprof.StartCPUProfile(f); err != nil {
			return err
		}
		defer pprof.StopCPUProfile()
	}
	e, err := edge.New(edge.Options{
		HTTP: *addr, Socket: *socket, RoutesFile: filepath.Join(*dir, "routes.jsonl"),
		LogDir: filepath.Join(*dir, "logs"),
		Log:    slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: slog.LevelWarn})),
	})
	if err != nil {
		return err
	}
	return e.Run(ctx)
}

func netipAddr(s string) (netip.AddrPort, error) { return netip.ParseAddrPort(s) }

// nginxBase is what both configurations share.
const nginxBase = `daemon off;
worker_processes 1;
pid %[3]s/%[4]s.pid;
events { worker_connections 4096; }
http {
  client_body_temp_path %[3]s/%[4]s-body;
  proxy_temp_path %[3]s/%[4]s-proxy;
  fastcgi_temp_path %[3]s/%[4]s-fastcgi;
  uwsgi_temp_path %[3]s/%[4]s-uwsgi;
  scgi_temp_path %[3]s/%[4]s-scgi;
`

// nginxCommon is the shape that PaaS generators write.
func nginxCommon(addr, backend, dir string) string {
	return fmt.Sprintf(nginxBase+`  access_log %[3]s/common.log;
  map $http_upgrade $connection_upgrade { default upgrade; '' close; }
  server {
    listen %[1]s;
    server_name `+benchHost+`;
    location / {
      proxy_pass http://%[2]s;
      proxy_http_version 1.1;
      proxy_set_header Upgrade $http_upgrade;
      proxy_set_header Connection $connection_upgrade;
      proxy_set_header Host $host;
      proxy_set_header X-Real-IP $remote_addr;
      proxy_set_header X-Forwarded-For $proxy_add_x_forwarded_for;
      proxy_set_header X-Forwarded-Proto $scheme;
      proxy_set_header X-Request-Start $msec;
    }
  }
}
`, addr, backend, dir, "common")
}

// nginxTuned keeps connections to the backend and writes no log.
func nginxTuned(addr, backend, dir string) string {
	return fmt.Sprintf(nginxBase+`  access_log off;
  keepalive_requests 100000000;
  upstream app { server %[2]s; keepalive 128; keepalive_requests 100000000; }
  server {
    listen %[1]s;
    server_name `+benchHost+`;
    location / {
      proxy_pass http://app;
      proxy_http_version 1.1;
      proxy_set_header Connection "";
      proxy_set_header Host $host;
      proxy_set_header X-Real-IP $remote_addr;
      proxy_set_header X-Forwarded-For $remote_addr;
      proxy_set_header X-Forwarded-Proto $scheme;
    }
  }
}
`, addr, backend, dir, "tuned")
}

// Command testapp is an app that behaves as it is told, well or badly. The
// tests deploy it; it has no dependencies, so that an image of it is one file.
package main

import (
	"bufio"
	"crypto/sha1" //nolint:gosec // the WebSocket handshake wants it (RFC 6455 section 4.2.2)
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"os"
	"os/signal"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"syscall"
	"time"
)

func main() {
	fmt.Println("testapp", version(), strings.Join(os.Args[1:], " "))
	verb := "serve"
	if len(os.Args) > 1 {
		verb = os.Args[1]
	}
	switch verb {
	case "serve":
		serve()
	case "work":
		for i := 0; ; i++ {
			fmt.Println("working", i)
			time.Sleep(time.Second)
		}
	case "echo":
		fmt.Println(strings.Join(os.Args[2:], " "))
	case "fail":
		fmt.Fprintln(os.Stderr, "cannot go on: the disk of cards is missing")
		os.Exit(number(2, 1))
	case "append": // appends a line to a file: did it run once?
		f, err := os.OpenFile(os.Args[2], os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o644)
		check(err)
		_, err = fmt.Fprintln(f, version())
		check(err)
		check(f.Close())
	case "wait":
		time.Sleep(time.Duration(number(2, 1)) * time.Second)
	default:
		log.Fatalf("unknown verb %q", verb)
	}
}

func number(arg, otherwise int) int {
	if len(os.Args) > arg {
		n, err := strconv.Atoi(os.Args[arg])
		check(err)
		return n
	}
	return otherwise
}

func check(err error) {
	if err != nil {
		log.Fatal(err)
	}
}

// version is what the source tree says that it is.
func version() string {
	self, err := os.Executable()
	check(err)
	b, err := os.ReadFile(filepath.Join(filepath.Dir(self), "VERSION"))
	if err != nil {
		return "none"
	}
	return strings.TrimSpace(string(b))
}

// behaviour is read from the tree too: BEHAVIOUR holds one word.
func behaviour() string {
	self, err := os.Executable()
	check(err)
	b, _ := os.ReadFile(filepath.Join(filepath.Dir(self), "BEHAVIOUR"))
	return strings.TrimSpace(string(b))
}

func serve() {
	addr := ":" + os.Getenv("PORT")
	switch b, arg, _ := strings.Cut(behaviour(), " "); b {
	case "exit":
		fmt.Fprintln(os.Stderr, "panic: no database")
		os.Exit(3)
	case "silent":
		select {}
	case "loopback":
		addr = "127.0.0.1:3000"
	case "otherport":
		addr = ":3000"
	case "slow":
		d, err := time.ParseDuration(arg)
		check(err)
		time.Sleep(d)
	case "die":
		d, err := time.ParseDuration(arg)
		check(err)
		time.AfterFunc(d, func() {
			fmt.Fprintln(os.Stderr, "fatal: lost my way")
			os.Exit(4)
		})
	case "needs": // a name, before it serves
		for {
			if _, err := net.LookupHost(arg); err == nil {
				break
			}
			time.Sleep(100 * time.Millisecond)
		}
	case "eat":
		var hoard [][]byte
		for {
			b := make([]byte, 1<<20)
			for i := range b {
				b[i] = byte(i)
			}
			hoard = append(hoard, b)
			runtime.KeepAlive(hoard)
		}
	}
	l, err := net.Listen("tcp", addr)
	check(err)
	s := &http.Server{Handler: moody(handler())}
	go func() {
		stop := make(chan os.Signal, 1)
		signal.Notify(stop, syscall.SIGTERM)
		<-stop
		fmt.Println("told to stop")
		_ = s.Close()
	}()
	fmt.Println("listening on", l.Addr())
	fmt.Println(s.Serve(l))
}

// moody answers as the behaviour says: "errors" with 500, "lazy 300ms" late.
func moody(next http.Handler) http.Handler {
	b, arg, _ := strings.Cut(behaviour(), " ")
	var late time.Duration
	switch b {
	case "errors":
		return http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			http.Error(w, version()+" is broken", http.StatusInternalServerError)
		})
	case "lazy":
		var err error
		late, err = time.ParseDuration(arg)
		check(err)
	default:
		return next
	}
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		time.Sleep(late)
		next.ServeHTTP(w, r)
	})
}

func handler() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("/", func(w http.ResponseWriter, _ *http.Request) { fmt.Fprintln(w, version()) })
	mux.HandleFunc("/up", func(w http.ResponseWriter, _ *http.Request) { fmt.Fprintln(w, "ok") })
	mux.HandleFunc("/broken", func(w http.ResponseWriter, _ *http.Request) { http.Error(w, "broken", http.StatusInternalServerError) })
	mux.HandleFunc("/headers", func(w http.ResponseWriter, r *http.Request) { check(json.NewEncoder(w).Encode(r.Header)) })
	mux.HandleFunc("/env", func(w http.ResponseWriter, r *http.Request) { fmt.Fprint(w, os.Getenv(r.URL.Query().Get("name"))) })
	mux.HandleFunc("/file", func(w http.ResponseWriter, r *http.Request) { http.ServeFile(w, r, r.URL.Query().Get("path")) })
	mux.HandleFunc("/upload", func(w http.ResponseWriter, r *http.Request) {
		n, err := io.Copy(io.Discard, r.Body)
		if err != nil {
			http.Error(w, err.Error(), http.StatusBadRequest)
			return
		}
		fmt.Fprint(w, n)
	})
	mux.HandleFunc("/slow", func(w http.ResponseWriter, r *http.Request) {
		d, err := time.ParseDuration(r.URL.Query().Get("for"))
		if err != nil {
			http.Error(w, err.Error(), http.StatusBadRequest)
			return
		}
		time.Sleep(d)
		fmt.Fprintln(w, version())
	})
	mux.HandleFunc("/dial", func(w http.ResponseWriter, r *http.Request) {
		c, err := net.DialTimeout("tcp", r.URL.Query().Get("addr"), 2*time.Second)
		if err != nil {
			http.Error(w, err.Error(), http.StatusBadGateway)
			return
		}
		_ = c.Close()
		fmt.Fprint(w, "connected")
	})
	mux.HandleFunc("/fetch", func(w http.ResponseWriter, r *http.Request) {
		q := r.URL.Query()
		req, err := http.NewRequestWithContext(r.Context(), http.MethodGet, "http://"+q.Get("addr")+q.Get("path"), http.NoBody)
		if err != nil {
			http.Error(w, err.Error(), http.StatusBadRequest)
			return
		}
		req.Host = q.Get("host")
		resp, err := http.DefaultClient.Do(req)
		if err != nil {
			http.Error(w, err.Error(), http.StatusBadGateway)
			return
		}
		defer func() { _ = resp.Body.Close() }()
		w.WriteHeader(resp.StatusCode)
		_, _ = io.Copy(w, resp.Body)
	})
	mux.HandleFunc("/kb", func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, strings.Repeat("x", 1024)) })
	mux.HandleFunc("/ws", echo)
	return mux
}

// echo is a WebSocket that sends back what it gets, frame by frame, unmasked.
func echo(w http.ResponseWriter, r *http.Request) {
	sum := sha1.Sum([]byte(r.Header.Get("Sec-Websocket-Key") + "258EAFA5-E914-47DA-95CA-C5AB0DC85B11")) //nolint:gosec // as above
	conn, rw, err := http.NewResponseController(w).Hijack()
	if err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	defer conn.Close() //nolint:errcheck // the peer is gone or we are
	fmt.Fprintf(rw, "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: %s\r\n\r\n",
		base64.StdEncoding.EncodeToString(sum[:]))
	if rw.Flush() != nil {
		return
	}
	for echoFrame(rw) == nil {
	}
}

// echoFrame handles one frame of up to 125 bytes, which is all that the tests send.
func echoFrame(rw *bufio.ReadWriter) error {
	head := make([]byte, 6)
	if _, err := io.ReadFull(rw, head); err != nil {
		return err
	}
	body := make([]byte, head[1]&0x7f)
	if _, err := io.ReadFull(rw, body); err != nil {
		return err
	}
	for i := range body {
		body[i] ^= head[2+i%4]
	}
	if _, err := rw.Write(append([]byte{head[0], byte(len(body))}, body...)); err != nil {
		return err
	}
	if err := rw.Flush(); err != nil || head[0]&0x0f == 8 {
		return io.EOF
	}
	return nil
}

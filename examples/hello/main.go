// Command hello shows what reaches an app on Landward: which commit answers,
// from which container, and the request as it came in.
package main

import (
	"cmp"
	"context"
	_ "embed"
	"errors"
	"fmt"
	"html/template"
	"log"
	"net/http"
	"os"
	"os/signal"
	"slices"
	"strings"
	"syscall"
	"time"
)

//go:embed page.html
var pageHTML string

// page is what page.html is filled in with.
type page struct {
	App, Commit, Container, Uptime string
	Method, Path, Host, Client     string
	Headers                        []header
}

type header struct{ Name, Value string }

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, os.Interrupt)
	defer stop()
	server := &http.Server{
		Addr:              ":" + cmp.Or(os.Getenv("PORT"), "8080"),
		Handler:           routes(time.Now()),
		ReadHeaderTimeout: 10 * time.Second,
	}
	stopped := make(chan error, 1)
	go func() {
		<-ctx.Done()
		// Requests that are on their way still get their answer.
		ending, cancel := context.WithTimeout(context.Background(), 20*time.Second)
		defer cancel()
		stopped <- server.Shutdown(ending)
	}()
	log.Printf("listening on %s", server.Addr)
	if err := server.ListenAndServe(); !errors.Is(err, http.ErrServerClosed) {
		log.Fatal(err)
	}
	if err := <-stopped; err != nil {
		log.Fatal(err)
	}
}

func routes(started time.Time) http.Handler {
	tmpl := template.Must(template.New("page").Parse(pageHTML))
	hostname, err := os.Hostname()
	if err != nil {
		hostname = "unknown"
	}
	mux := http.NewServeMux()
	mux.HandleFunc("GET /up", func(w http.ResponseWriter, _ *http.Request) {
		fmt.Fprintln(w, "up")
	})
	mux.HandleFunc("/", func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "text/html; charset=utf-8")
		w.Header().Set("Cache-Control", "no-store")
		err := tmpl.Execute(w, page{
			App:       cmp.Or(os.Getenv("LANDWARD_APP"), "hello"),
			Commit:    commit(os.Getenv("GIT_REV")),
			Container: hostname,
			Uptime:    time.Since(started).Round(time.Second).String(),
			Method:    r.Method,
			Path:      r.URL.RequestURI(),
			Host:      r.Host,
			Client:    cmp.Or(r.Header.Get("X-Forwarded-For"), r.RemoteAddr),
			Headers:   headers(r.Header),
		})
		if err != nil {
			log.Printf("write the page: %v", err)
		}
	})
	return mux
}

// commit shortens a hash the way git does.
func commit(hash string) string {
	if hash == "" {
		return "not from git"
	}
	return hash[:min(len(hash), 7)]
}

// headers returns the request's headers by name.
func headers(h http.Header) []header {
	var out []header
	for name, values := range h {
		out = append(out, header{Name: name, Value: strings.Join(values, ", ")})
	}
	slices.SortFunc(out, func(a, b header) int { return strings.Compare(a.Name, b.Name) })
	return out
}

package script_test

import (
	"encoding/json"
	"io"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/coder/websocket"

	"landward/client"
)

func (f *fake) routeRunning(route func(string, http.HandlerFunc)) {
	route("GET /apps/{app}/ps", f.onApp(func(w http.ResponseWriter, _ *http.Request, a *fakeApp) {
		if a.Release == 0 {
			reply(w, client.UnitList{})
			return
		}
		reply(w, client.UnitList{Units: []client.Unit{
			{Name: "web.1", Process: "web", Release: a.Release, State: "running", StartedAt: fakeNow},
			{Name: "worker.1", Process: "worker", Release: a.Release, State: "restarting", Restarts: 4, OOMKilled: true, StartedAt: fakeNow},
		}})
	}))
	route("POST /apps/{app}/restart", f.onApp(func(w http.ResponseWriter, _ *http.Request, a *fakeApp) { reply(w, a.change("Restarting")) }))
	for _, verb := range []string{"stop", "start"} {
		route("POST /apps/{app}/"+verb, f.onApp(func(w http.ResponseWriter, _ *http.Request, _ *fakeApp) { w.WriteHeader(http.StatusNoContent) }))
	}
	route("GET /apps/{app}/logs", f.logs)
	route("GET /apps/{app}/run", f.attach)
	route("GET /apps/{app}/exec", f.attach)
}

// logs answers three lines, and with follow nothing more until the caller is
// gone; what is followed with a text to look for ends at once.
func (f *fake) logs(w http.ResponseWriter, r *http.Request) {
	q := r.URL.Query()
	enc := json.NewEncoder(w)
	send := func(at time.Duration, kind, source, text string) {
		if q.Get("router") == "" && kind == "router" || !strings.Contains(text, q.Get("grep")) {
			return
		}
		_ = enc.Encode(client.StreamItem{Line: &client.LogLine{At: fakeNow.Add(at), Kind: kind, Source: source, Text: text}})
	}
	send(0, "app", "web.1", "listening \x1b[32mon 5000\x1b[0m")
	send(time.Second, "router", "router", "GET / 200")
	send(2*time.Second, "app", "worker.1", "evil \u009b2Jtext")
	if q.Get("follow") == "true" && q.Get("grep") == "" {
		w.(http.Flusher).Flush()
		<-r.Context().Done()
	}
}

// attach plays a command: it prints its arguments, echoes standard input, and
// ends with the code that `exit N` names.
func (f *fake) attach(w http.ResponseWriter, r *http.Request) {
	conn, err := websocket.Accept(w, r, nil)
	if err != nil {
		return
	}
	defer conn.CloseNow() //nolint:errcheck // it was closed already
	ctx := r.Context()
	_, first, err := conn.Read(ctx)
	var start client.Start
	if err != nil || json.Unmarshal(first, &start) != nil {
		return
	}
	f.mu.Lock()
	f.requests = append(f.requests, "start: "+string(first))
	f.mu.Unlock()
	send := func(channel byte, data string) {
		_ = conn.Write(ctx, websocket.MessageBinary, append([]byte{channel}, data...))
	}
	command := start.Command
	switch command[0] {
	case "missing":
		send(client.ChannelError, `{"code":"not_found","detail":"no unit runs","hint":"landward ps"}`)
	case "exit":
		code, _ := strconv.Atoi(command[1])
		send(client.ChannelStderr, "bad\n")
		send(client.ChannelExit, `{"code":`+strconv.Itoa(code)+`}`)
	case "cat":
		for {
			_, msg, err := conn.Read(ctx)
			if err != nil || msg[0] == client.ChannelEOF {
				break
			}
			send(client.ChannelStdout, string(msg[1:]))
		}
		send(client.ChannelExit, `{"code":0}`)
	default:
		send(client.ChannelStdout, strings.Join(command, " ")+"\n")
		send(client.ChannelExit, `{"code":0}`)
	}
	_, _, err = conn.Read(ctx) // until the other side has read everything
	if err != nil && err != io.EOF {
		return
	}
}

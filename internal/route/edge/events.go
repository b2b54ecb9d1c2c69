package edge

import (
	"encoding/json"
	"net/http"
	"sync"
	"time"
)

// Event is something that the edge has noticed and control may act on.
type Event struct {
	Kind  EventKind `json:"kind"`
	AppID int64     `json:"app_id,omitempty"`
}

// EventKind says what was noticed.
type EventKind string

// The kinds of event.
const (
	EventWake EventKind = "wake" // a request waits for an app that sleeps
	EventIdle EventKind = "idle" // an app has had no request for its time
	eventBeat EventKind = "beat" // nothing: the connection lives
)

// beatEvery is how often a listener hears that the edge is still there.
const beatEvery = 10 * time.Second

// hub hands events to whoever listens. What a listener cannot take at once is
// lost to it: everything that matters is told again.
type hub struct {
	mu        sync.Mutex
	listeners map[chan Event]struct{}
}

func (h *hub) tell(e Event) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for c := range h.listeners {
		select {
		case c <- e:
		default:
		}
	}
}

func (h *hub) listen() (events <-chan Event, stop func()) {
	c := make(chan Event, 256)
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.listeners == nil {
		h.listeners = map[chan Event]struct{}{}
	}
	h.listeners[c] = struct{}{}
	return c, func() {
		h.mu.Lock()
		defer h.mu.Unlock()
		delete(h.listeners, c)
	}
}

// handleEvents streams events, a line of JSON each, until the listener goes.
func (e *Edge) handleEvents(w http.ResponseWriter, r *http.Request) {
	events, stop := e.events.listen()
	defer stop()
	out := http.NewResponseController(w)
	w.Header().Set("Content-Type", "application/x-ndjson")
	enc := json.NewEncoder(w)
	beat := time.NewTicker(beatEvery)
	defer beat.Stop()
	next := Event{Kind: eventBeat}
	for {
		if enc.Encode(next) != nil || out.Flush() != nil {
			return
		}
		select {
		case next = <-events:
		case <-beat.C:
			next = Event{Kind: eventBeat}
		case <-r.Context().Done():
			return
		case <-e.ending:
			return
		}
	}
}

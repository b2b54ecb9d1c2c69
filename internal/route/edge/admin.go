package edge

import (
	"bytes"
	"cmp"
	"encoding/json"
	"errors"
	"net"
	"net/http"
	"os"
	"syscall"
	"time"

	"landward/internal/landward"
	"landward/internal/route"
	"landward/internal/route/plane"
)

// Status is what the edge says of itself.
type Status struct {
	plane.Snapshot
	MadeAt  time.Time `json:"made_at"`         // of the table in use
	Dropped uint64    `json:"dropped_entries"` // of the access logs
	PID     int       `json:"pid"`             // tells two edges apart while one takes over
}

// drainRequest is the body of POST /v1/drain.
type drainRequest struct {
	IDs     []string `json:"ids"`
	LimitMS int64    `json:"limit_ms"`
}

// failure is the body of an answer that is none.
type failure struct {
	Code    landward.Code `json:"code"`
	Message string        `json:"message"`
	Cause   string        `json:"cause,omitempty"`
	Hint    string        `json:"hint,omitempty"`
	Field   string        `json:"field,omitempty"`
}

// adminServer is control's way in. It is reachable by a unix socket only, and
// only for ourselves and root.
func (e *Edge) adminServer() *http.Server {
	mux := http.NewServeMux()
	mux.HandleFunc("PUT /v1/table", e.handleTable)
	mux.HandleFunc("POST /v1/drain", e.handleDrain)
	mux.HandleFunc("GET /v1/status", e.handleStatus)
	mux.HandleFunc("GET /v1/events", e.handleEvents)
	mux.HandleFunc("GET /v1/certs", e.handleCerts)
	mux.HandleFunc("GET /v1/root", e.handleRoot)
	mux.HandleFunc("PUT /v1/certs/{host}", e.handlePutPair)
	mux.HandleFunc("DELETE /v1/certs/{host}", e.handleRemovePair)
	mux.HandleFunc("GET /metrics", e.handleMetrics)
	l := e.o.Limits
	patient := &patience{body: cmp.Or(l.ReadTimeout, time.Minute), answer: cmp.Or(l.WriteTimeout, time.Minute), next: mux}
	return &http.Server{Handler: patient, ReadHeaderTimeout: cmp.Or(l.HeaderTimeout, 10*time.Second),
		IdleTimeout: cmp.Or(l.IdleTimeout, 75*time.Second), MaxHeaderBytes: 64 << 10}
}

func serveAdmin(s *http.Server, l net.Listener) error {
	if err := s.Serve(l); !errors.Is(err, http.ErrServerClosed) {
		return err
	}
	return nil
}

func (e *Edge) handleTable(w http.ResponseWriter, r *http.Request) {
	var t route.Table
	var text bytes.Buffer
	text.Grow(int(min(max(r.ContentLength, 0), maxTable)) + bytes.MinRead) // at once
	_, err := text.ReadFrom(http.MaxBytesReader(w, r.Body, maxTable))
	if err == nil {
		t, err = e.putTable(text.Bytes())
	}
	if err != nil {
		e.fail(w, err)
		return
	}
	e.answer(w, http.StatusOK, map[string]int64{"generation": t.Generation})
}

func (e *Edge) handleDrain(w http.ResponseWriter, r *http.Request) {
	var q drainRequest
	dec := json.NewDecoder(http.MaxBytesReader(w, r.Body, 1<<20))
	dec.DisallowUnknownFields()
	if err := dec.Decode(&q); err != nil {
		e.fail(w, landward.Invalid("", "the drain request cannot be read").WithCause(err.Error()))
		return
	}
	if q.LimitMS < 0 || q.LimitMS > int64(time.Hour/time.Millisecond) {
		e.fail(w, landward.Invalid("limit_ms", "%d is not between 0 and one hour", q.LimitMS))
		return
	}
	e.answer(w, http.StatusOK, e.plane.Drain(r.Context(), q.IDs, time.Duration(q.LimitMS)*time.Millisecond))
}

func (e *Edge) handleStatus(w http.ResponseWriter, _ *http.Request) {
	e.answer(w, http.StatusOK, e.status())
}

func (e *Edge) handleMetrics(w http.ResponseWriter, _ *http.Request) {
	w.Header().Set("Content-Type", "text/plain; version=0.0.4")
	if err := e.plane.Snapshot().WriteMetrics(w); err != nil {
		e.log.Debug("write metrics", "err", err)
	}
}

// status returns the counters of the moment.
func (e *Edge) status() Status {
	return Status{Snapshot: e.plane.Snapshot(), MadeAt: e.plane.Table().MadeAt, Dropped: e.logs.Dropped(), PID: os.Getpid()}
}

func (e *Edge) answer(w http.ResponseWriter, status int, v any) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	if err := json.NewEncoder(w).Encode(v); err != nil {
		e.log.Debug("answer control", "err", err)
	}
}

func (e *Edge) fail(w http.ResponseWriter, err error) {
	le := landward.AsError(err)
	status := http.StatusInternalServerError
	switch le.Code {
	case landward.CodeInvalid:
		status = http.StatusBadRequest
	case landward.CodeConflict:
		status = http.StatusConflict
	case landward.CodeNotFound:
		status = http.StatusNotFound
	default:
		e.log.Error("serve control", "err", err)
	}
	e.answer(w, status, failure{Code: le.Code, Message: le.Message, Cause: le.Cause, Hint: le.Hint, Field: le.Field})
}

// peerListener takes connections of our own user and of root, and closes all
// others, whatever the socket's mode has become.
type peerListener struct {
	*net.UnixListener
	info os.FileInfo // of its socket
}

// Accept returns the next connection whose peer may come in.
func (l peerListener) Accept() (net.Conn, error) {
	for {
		c, err := l.AcceptUnix()
		if err != nil {
			return nil, err
		}
		if uid, err := peerUID(c); err == nil && (uid == 0 || uid == uint32(os.Getuid())) { //nolint:gosec // a uid fits
			return c, nil
		}
		_ = c.Close()
	}
}

func peerUID(c *net.UnixConn) (uint32, error) {
	raw, err := c.SyscallConn()
	if err != nil {
		return 0, err
	}
	var cred *syscall.Ucred
	var inner error
	err = raw.Control(func(fd uintptr) {
		cred, inner = syscall.GetsockoptUcred(int(fd), syscall.SOL_SOCKET, syscall.SO_PEERCRED)
	})
	if err = errors.Join(err, inner); err != nil {
		return 0, err
	}
	return cred.Uid, nil
}

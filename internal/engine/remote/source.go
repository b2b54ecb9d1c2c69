package remote

import (
	"errors"
	"fmt"
	"io"
	"sync"
)

// source is the body of an upload: it can be told to end, and it remembers
// whether reading failed, which the HTTP client reports as its own trouble.
type source struct {
	r io.Reader

	mu      sync.Mutex
	stopped bool
	err     error
}

func (s *source) Read(p []byte) (int, error) {
	s.mu.Lock()
	stopped := s.stopped
	s.mu.Unlock()
	if stopped {
		return 0, io.EOF
	}
	n, err := s.r.Read(p)
	if err != nil && !errors.Is(err, io.EOF) {
		s.mu.Lock()
		s.err = err
		s.mu.Unlock()
	}
	return n, err
}

func (s *source) stop() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.stopped = true
}

// failed returns what went wrong with reading, or nil.
func (s *source) failed() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.err == nil {
		return nil
	}
	return fmt.Errorf("read upload: %w", s.err)
}

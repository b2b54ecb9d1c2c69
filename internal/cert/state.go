package cert

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"strings"
	"time"
)

const (
	certsDir  = "certs"
	stateFile = "state.json"
	pairExt   = ".pem" // chain and key in one file, so that they cannot part
	// maxState bounds the state that is read.
	maxState = 64 << 20

	// keepExpired is how long a certificate that nobody wants stays on disk
	// after its end, keepFailing how long the back-off of a host that nobody
	// wants is remembered.
	keepExpired = 30 * 24 * time.Hour
	keepFailing = 7 * 24 * time.Hour
)

// state is what is stored of orders beside certificates.
type state struct {
	Hosts map[string]orderState `json:"hosts"`
	Guard guard                 `json:"guard"`
}

// loadIssued loads the certificates and the state of orders. What cannot be
// read is left out: it can be ordered again.
func (m *Manager) loadIssued() error {
	sweep(string(m.caStore))
	dir := folder(m.caStore.path(certsDir))
	sweep(string(dir))
	list, err := os.ReadDir(string(dir))
	if err != nil {
		return fmt.Errorf("read certificates: %w", err)
	}
	pairs := map[string]*pair{}
	for _, e := range list {
		name, is := strings.CutSuffix(e.Name(), pairExt)
		host, ok := hostOfFile(name)
		if !is || !ok {
			continue
		}
		data, err := dir.Read(e.Name())
		if err == nil {
			pairs[host], err = parsePair(host, data, data)
		}
		if err != nil {
			delete(pairs, host)
			m.log.Error("read a certificate: it is ordered again", "host", host, "err", err)
		}
	}
	st := m.readState()
	m.mu.Lock()
	defer m.mu.Unlock()
	g := st.Guard
	g.PerDomain, g.Failures = m.o.ACME.PerDomain, m.o.ACME.Failures
	m.guard = g
	for host, o := range st.Hosts {
		if n, ok := normal(host); ok && n == host {
			m.site(host).orderState = o
		}
	}
	for host, p := range pairs {
		m.setIssued(m.site(host), p)
	}
	return nil
}

func (m *Manager) readState() state {
	var st state
	data, err := readFile(m.caStore.path(stateFile), maxState)
	if errors.Is(err, os.ErrNotExist) {
		return st
	}
	if err == nil {
		err = json.Unmarshal(data, &st)
	}
	if err != nil {
		m.log.Error("read the state of orders: the counts begin anew", "err", err)
		return state{}
	}
	return st
}

// saveState writes the state of orders.
func (m *Manager) saveState() error {
	m.stateMu.Lock() // a later state must not be overtaken by an earlier one
	defer m.stateMu.Unlock()
	m.mu.Lock()
	st := state{Hosts: map[string]orderState{}, Guard: m.guard}
	for name, s := range m.sites {
		if s.orderState != (orderState{}) {
			st.Hosts[name] = s.orderState
		}
	}
	data, err := json.Marshal(st)
	m.mu.Unlock()
	if err != nil {
		return fmt.Errorf("write the state of orders: %w", err)
	}
	if err := m.caStore.Write(stateFile, data); err != nil {
		return fmt.Errorf("write the state of orders: %w", err)
	}
	return nil
}

func (m *Manager) storePair(host string, chain, key []byte) error {
	data := append(append([]byte{}, chain...), key...)
	return folder(m.caStore.path(certsDir)).Write(fileName(host)+pairExt, data)
}

// prune forgets what nobody needs any more. It returns the files to remove.
func (m *Manager) prune(now time.Time) (files []string) {
	changed := false
	for name, s := range m.sites {
		if s.running {
			continue
		}
		if s.Demand && s.issued == nil && s.flight == nil && now.Sub(latest(s.asked, s.LastTry)) > idleDemand {
			s.Demand = false
		}
		if !s.wanted && !s.Demand {
			if s.Attempts > 0 && now.Sub(s.LastTry) > keepFailing {
				s.orderState = orderState{}
			}
			if s.issued != nil && now.Sub(s.issued.leaf.NotAfter) > keepExpired {
				s.issued, changed = nil, true
				files = append(files, folder(m.caStore.path(certsDir)).path(fileName(name)+pairExt))
			}
		}
		m.dropIfIdle(s)
	}
	if changed {
		m.rebuild()
	}
	return files
}

func latest(a, b time.Time) time.Time {
	if a.After(b) {
		return a
	}
	return b
}

package cert

import (
	"bytes"
	"context"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"landward/internal/landward"
)

// Files in the folder of an own pair.
const (
	certFile = "cert.pem"
	keyFile  = "key.pem"
	// acceptedFile is the last pair that was good, for a start while the two
	// files above are half replaced.
	acceptedFile = ".accepted.pem"
	// putFile is a pair on its way into the two files. One that is there at the
	// start was cut off, and is finished.
	putFile = ".put.pem"
	goneDir = ".gone-*"
)

// settleAfter is how old a change must be until a file that looks the same is
// the same: clocks of file systems are coarse.
const settleAfter = 2 * time.Second

// ownPair is a pair that people brought.
type ownPair struct {
	pair    *pair           // nil: none was ever good
	problem *landward.Error // with the files as they are now
	marks   [2]mark
	settled bool
}

func (m *Manager) ownFolder(host string) folder {
	return folder(filepath.Join(m.o.Dir, ownDir, fileName(host)))
}

// openOwn loads all own pairs.
func (m *Manager) openOwn() error {
	hosts, err := m.ownHosts()
	if err != nil {
		return fmt.Errorf("read own key pairs: %w", err)
	}
	root := filepath.Join(m.o.Dir, ownDir)
	left, err := filepath.Glob(filepath.Join(root, goneDir))
	if err != nil {
		return fmt.Errorf("read own key pairs: %w", err)
	}
	for _, dir := range left {
		if err := os.RemoveAll(dir); err != nil {
			m.log.Warn("remove an old key pair", "err", err)
		}
	}
	for host := range hosts {
		dir := m.ownFolder(host)
		sweep(string(dir))
		if err := finishPut(dir); err != nil {
			m.log.Error("finish a replacement of a key pair", "host", host, "err", err)
		}
		o := m.examine(host, nil)
		if o.problem != nil {
			m.log.Warn("the files of an own key pair are not good", "host", host, "err", o.problem)
		}
		m.mu.Lock()
		m.site(host).own = o
		m.mu.Unlock()
	}
	return nil
}

// ownHosts lists the hosts that have a folder.
func (m *Manager) ownHosts() (map[string]bool, error) {
	list, err := os.ReadDir(filepath.Join(m.o.Dir, ownDir))
	if err != nil {
		return nil, err
	}
	hosts := make(map[string]bool, len(list))
	for _, e := range list {
		if host, ok := hostOfFile(e.Name()); ok {
			hosts[host] = true
		}
	}
	return hosts, nil
}

// watchOwn looks at the files of own pairs, and at the clock: a pair that ends
// makes room for the next best.
func (m *Manager) watchOwn(ctx context.Context) {
	tick := time.NewTicker(m.o.Poll)
	defer tick.Stop()
	for {
		m.pollOwn()
		if until := m.index.Load().until; !until.IsZero() && !m.o.Now().Before(until) {
			m.mu.Lock()
			m.rebuild()
			m.mu.Unlock()
			m.stir()
		}
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
	}
}

func (m *Manager) pollOwn() {
	m.ownMu.Lock()
	defer m.ownMu.Unlock()
	hosts, err := m.ownHosts()
	if err != nil {
		m.log.Error("look at own key pairs", "err", err)
		return
	}
	known := map[string]*ownPair{}
	m.mu.Lock()
	for name, s := range m.sites {
		if s.own != nil {
			known[name] = s.own
		}
	}
	m.mu.Unlock()
	for host := range known {
		if !hosts[host] {
			m.setOwn(host, nil)
			m.log.Info("own key pair is gone", "host", host)
		}
	}
	for host := range hosts {
		old := known[host]
		if old != nil && old.settled && m.unchanged(host, old) {
			continue
		}
		now := m.examine(host, old)
		if old != nil && old.pair == now.pair && same(old.problem, now.problem) {
			// The same pair; only the marks are new. Handshakes need not know.
			m.mu.Lock()
			if s := m.sites[host]; s != nil {
				s.own = now
			}
			m.mu.Unlock()
			continue
		}
		m.setOwn(host, now)
		switch {
		case now.problem != nil:
			m.log.Warn("the files of an own key pair are not good", "host", host, "err", now.problem)
		default:
			m.log.Info("own key pair is in use", "host", host, "not_after", now.pair.leaf.NotAfter)
		}
	}
}

func same(a, b *landward.Error) bool {
	return (a == nil) == (b == nil) && (a == nil || a.Message == b.Message && a.Field == b.Field)
}

func (m *Manager) setOwn(host string, o *ownPair) {
	m.mu.Lock()
	defer m.mu.Unlock()
	s := m.site(host)
	s.own = o
	m.dropIfIdle(s)
	m.rebuild()
	m.stir() // without it the host may need an order
}

func (m *Manager) unchanged(host string, o *ownPair) bool {
	marks, err := marksOf(m.ownFolder(host))
	return err == nil && marks == o.marks
}

func marksOf(dir folder) (marks [2]mark, err error) {
	for i, name := range []string{certFile, keyFile} {
		// One that is missing has the zero mark.
		if marks[i], _, err = markOf(dir.path(name)); err != nil {
			return marks, err
		}
	}
	return marks, nil
}

// examine reads a host's files. The pair before, or the last good one on disk,
// stays in use where they are not good.
func (m *Manager) examine(host string, old *ownPair) *ownPair {
	dir, now := m.ownFolder(host), m.o.Now()
	o := &ownPair{}
	if old != nil {
		o.pair = old.pair
	}
	marks, err := marksOf(dir)
	var p *pair
	if err == nil {
		p, err = readPair(dir, host)
	}
	after, err2 := marksOf(dir)
	o.marks = after
	o.settled = err2 == nil && marks == after && changedBefore(after, time.Now().Add(-settleAfter))
	if o.pair == nil {
		o.pair = acceptedPair(dir, host)
	}
	if err == nil && o.pair != nil && equal(o.pair, p) {
		return o
	}
	if err == nil && o.pair.valid(now) {
		// A pair that is not good now does not replace one that is. Where there
		// is none, it serves, and the status says what is wrong with it.
		err = p.checkTime(now)
	}
	if err != nil {
		o.problem = asProblem(err)
		return o
	}
	o.pair = p
	if err := accept(dir, p); err != nil {
		m.log.Error("keep a copy of an own key pair", "host", host, "err", err)
	}
	return o
}

func changedBefore(marks [2]mark, t time.Time) bool {
	for _, k := range marks {
		if time.Unix(k.ctime.Unix()).After(t) {
			return false
		}
	}
	return true
}

func readPair(dir folder, host string) (*pair, error) {
	certPEM, err := dir.Read(certFile)
	if err != nil {
		return nil, fileProblem("cert", certFile, err)
	}
	keyPEM, err := dir.Read(keyFile)
	if err != nil {
		return nil, fileProblem("key", keyFile, err)
	}
	return parsePair(host, certPEM, keyPEM)
}

func fileProblem(field, name string, err error) error {
	if errors.Is(err, os.ErrNotExist) {
		return landward.Invalid(field, "there is no %s", name).Wrap(err)
	}
	return landward.Invalid(field, "%s cannot be read", name).
		WithHint("it must be a file that the edge's user may read").Wrap(err)
}

func asProblem(err error) *landward.Error {
	var e *landward.Error
	if errors.As(err, &e) {
		return e
	}
	return landward.Invalid("cert", "the files cannot be read").Wrap(err)
}

func acceptedPair(dir folder, host string) *pair {
	data, err := dir.Read(acceptedFile)
	if err != nil {
		return nil
	}
	p, err := parsePair(host, data, data)
	if err != nil {
		return nil
	}
	return p
}

// accept keeps a copy of a pair whose files were found good.
func accept(dir folder, p *pair) error {
	chain, key, err := p.encode()
	if err != nil {
		return err
	}
	data := append(chain, key...)
	if have, err := dir.Read(acceptedFile); err == nil && bytes.Equal(have, data) {
		return nil
	}
	return dir.Write(acceptedFile, data)
}

// equal says whether two pairs are the same, chain and all.
func equal(a, b *pair) bool {
	x, y := a.served.Load().Certificate, b.served.Load().Certificate
	if len(x) != len(y) {
		return false
	}
	for i := range x {
		if !bytes.Equal(x[i], y[i]) {
			return false
		}
	}
	return true
}

// encode is the pair as PEM.
func (p *pair) encode() (chain, key []byte, err error) {
	c := p.served.Load()
	for _, der := range c.Certificate {
		chain = append(chain, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})...)
	}
	der, err := x509.MarshalPKCS8PrivateKey(c.PrivateKey)
	if err != nil {
		return nil, nil, fmt.Errorf("encode the key: %w", err)
	}
	return chain, pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der}), nil
}

// PutPair sets a host's own pair, in place of the one before: it serves the
// next handshake and survives restarts. For "*.example.com" it serves every
// host one label below. A pair that is not good is refused whole, with a
// *landward.Error whose Field is "host", "cert" or "key".
func (m *Manager) PutPair(host string, certPEM, keyPEM []byte) (Status, error) {
	name, ok := normal(host)
	if !ok {
		return Status{}, landward.Invalid("host", "%q is not a host name", landward.Printable(host))
	}
	if len(certPEM) > maxFile || len(keyPEM) > maxFile {
		return Status{}, landward.Errorf(landward.CodeTooLarge, "a key pair of more than %d bytes", maxFile)
	}
	p, err := parsePair(name, certPEM, keyPEM)
	if err != nil {
		return Status{}, err
	}
	if err := p.checkTime(m.o.Now()); err != nil {
		return Status{}, err
	}
	m.ownMu.Lock()
	defer m.ownMu.Unlock()
	dir := m.ownFolder(name)
	if err := put(dir, p); err != nil {
		return Status{}, landward.Errorf(landward.CodeUnavailable, "the key pair could not be stored").
			WithHint("the log of the edge has the details; is the disk full?").Wrap(err)
	}
	// The marks are taken with the next look at the files.
	m.setOwn(name, &ownPair{pair: p})
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.status(m.site(name), m.o.Now()), nil
}

// put writes a pair: both files, or, after a crash in between, both with the
// next start.
func put(dir folder, p *pair) error {
	chain, key, err := p.encode()
	if err != nil {
		return err
	}
	if err := makeDir(string(dir)); err != nil {
		return err
	}
	if err := syncDir(filepath.Dir(string(dir))); err != nil {
		return err
	}
	if err := dir.Write(putFile, bytes.Join([][]byte{chain, key}, nil)); err != nil {
		return err
	}
	if err := finish(dir, chain, key); err != nil {
		// It was refused; a later start must not bring it back.
		return errors.Join(err, os.Remove(dir.path(putFile)))
	}
	return nil
}

func finish(dir folder, chain, key []byte) error {
	if err := dir.Write(keyFile, key); err != nil {
		return err
	}
	if err := dir.Write(certFile, chain); err != nil {
		return err
	}
	if err := os.Rename(dir.path(putFile), dir.path(acceptedFile)); err != nil {
		return err
	}
	return syncDir(string(dir))
}

// finishPut ends what a crash cut off.
func finishPut(dir folder) error {
	data, err := dir.Read(putFile)
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	text := string(data)
	at := strings.Index(text, "-----BEGIN PRIVATE KEY-----")
	if at < 0 {
		return errors.Join(errors.New("it holds no key"), os.Remove(dir.path(putFile)))
	}
	return finish(dir, data[:at], data[at:])
}

// RemovePair takes a host's own pair away for good. The error is a
// *landward.Error with CodeNotFound where there is none.
func (m *Manager) RemovePair(host string) error {
	name, ok := normal(host)
	if !ok {
		return landward.Invalid("host", "%q is not a host name", landward.Printable(host))
	}
	m.ownMu.Lock()
	defer m.ownMu.Unlock()
	dir := string(m.ownFolder(name))
	if _, err := os.Lstat(dir); errors.Is(err, os.ErrNotExist) {
		return landward.Errorf(landward.CodeNotFound, "%s has no key pair of its own", name)
	}
	// Gone at once, whatever happens while the files are removed.
	root := filepath.Dir(dir)
	gone, err := os.MkdirTemp(root, goneDir)
	if err == nil {
		err = os.Rename(dir, filepath.Join(gone, "pair"))
	}
	if err == nil {
		err = syncDir(root)
	}
	if err != nil {
		return landward.Errorf(landward.CodeUnavailable, "the key pair could not be removed").Wrap(err)
	}
	m.setOwn(name, nil)
	if err := os.RemoveAll(gone); err != nil {
		m.log.Warn("remove an old key pair", "host", name, "err", err)
	}
	return nil
}

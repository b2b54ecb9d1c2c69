package cert

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"sync"
	"syscall"
	"time"

	"golang.org/x/crypto/ocsp"
)

const (
	stapleEvery   = time.Minute // how often is looked what is due
	stapleTimeout = 10 * time.Second
	stapleAtOnce  = 4
	maxStaple     = 64 << 10 // bytes of an answer
	stapleLife    = 12 * time.Hour
	firstRetry    = 5 * time.Minute
	lastRetry     = 6 * time.Hour
)

// staple is what is known of a pair's OCSP answer. Only the stapler touches it.
type staple struct {
	next   time.Time // when to ask
	until  time.Time // the answer in use is good; zero: there is none
	failed int
}

// stapler fetches OCSP answers (RFC 6960) for the certificates that name a
// responder, so that clients need not. Many CAs no longer have one.
type stapler struct {
	log    *slog.Logger
	client *http.Client
	now    func() time.Time
}

// init makes a stapler. A certificate is what anybody may bring, and it says
// where to ask: so it is never asked inside our own networks.
func (t *stapler) init(o Options) {
	t.log, t.now = o.Log, o.Now
	dialer := &net.Dialer{Timeout: stapleTimeout, Control: publicOnly}
	t.client = &http.Client{
		Timeout: stapleTimeout,
		Transport: &http.Transport{
			DialContext: dialer.DialContext, MaxIdleConns: 4, IdleConnTimeout: 30 * time.Second,
			MaxResponseHeaderBytes: 16 << 10,
		},
		CheckRedirect: func(*http.Request, []*http.Request) error { return errors.New("a redirect") },
	}
}

// publicOnly refuses addresses that are not on the public internet.
func publicOnly(_, address string, _ syscall.RawConn) error {
	ap, err := netip.ParseAddrPort(address)
	if err != nil {
		return err
	}
	a := ap.Addr().Unmap()
	if !a.IsGlobalUnicast() || a.IsPrivate() || sharedSpace.Contains(a) || ap.Port() != 80 && ap.Port() != 443 {
		return fmt.Errorf("%s is not a public address", address)
	}
	return nil
}

// sharedSpace is for carriers' own use (RFC 6598).
var sharedSpace = netip.MustParsePrefix("100.64.0.0/10")

// run keeps the staples of pairs fresh until ctx ends. onRevoked is called
// when a CA is found to have revoked one.
func (t *stapler) run(ctx context.Context, pairs func() []*pair, onRevoked func()) {
	defer t.client.CloseIdleConnections()
	tick := time.NewTicker(stapleEvery)
	defer tick.Stop()
	for {
		t.round(ctx, pairs(), onRevoked)
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
	}
}

func (t *stapler) round(ctx context.Context, pairs []*pair, onRevoked func()) {
	var wg sync.WaitGroup
	room := make(chan struct{}, stapleAtOnce)
	for _, p := range pairs {
		if len(p.leaf.OCSPServer) == 0 || p.issuer == nil || t.now().Before(p.staple.next) || !p.valid(t.now()) {
			continue
		}
		select {
		case room <- struct{}{}:
		case <-ctx.Done():
		}
		if ctx.Err() != nil {
			break
		}
		wg.Go(func() {
			defer func() { <-room }()
			t.refresh(ctx, p, onRevoked)
		})
	}
	wg.Wait()
}

func (t *stapler) refresh(ctx context.Context, p *pair, onRevoked func()) {
	resp, raw, err := t.fetch(ctx, p)
	now, s := t.now(), &p.staple
	if err != nil {
		if ctx.Err() != nil {
			return
		}
		s.failed++
		s.next = now.Add(min(firstRetry<<min(s.failed-1, 10), lastRetry))
		if !s.until.IsZero() && !now.Before(s.until) {
			p.setStaple(nil)
			s.until = time.Time{}
		}
		t.log.Debug("fetch an OCSP answer", "names", p.leaf.DNSNames, "err", err)
		return
	}
	until := resp.NextUpdate
	if until.IsZero() {
		until = resp.ThisUpdate.Add(stapleLife)
	}
	s.failed = 0
	s.next = resp.ThisUpdate.Add(until.Sub(resp.ThisUpdate) / 2)
	if s.next.Before(now.Add(firstRetry)) {
		s.next = now.Add(firstRetry)
	}
	switch resp.Status {
	case ocsp.Good:
		s.until = until
		p.revoked.Store(false)
		p.setStaple(raw)
	case ocsp.Revoked:
		s.until = time.Time{}
		p.setStaple(nil)
		if !p.revoked.Swap(true) {
			t.log.Error("a certificate was revoked by its CA", "names", p.leaf.DNSNames, "fingerprint", p.fingerprint)
			onRevoked()
		}
	}
}

// setStaple changes what is sent with the certificate.
func (p *pair) setStaple(raw []byte) {
	c := *p.served.Load()
	c.OCSPStaple = raw
	p.served.Store(&c)
}

func (t *stapler) fetch(ctx context.Context, p *pair) (*ocsp.Response, []byte, error) {
	at := p.leaf.OCSPServer[0]
	if u, err := url.Parse(at); err != nil || u.Scheme != "http" && u.Scheme != "https" {
		return nil, nil, errors.New("the responder's address is not one of HTTP")
	}
	body, err := ocsp.CreateRequest(p.leaf, p.issuer, nil)
	if err != nil {
		return nil, nil, fmt.Errorf("make the request: %w", err)
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, at, bytes.NewReader(body))
	if err != nil {
		return nil, nil, err
	}
	req.Header.Set("Content-Type", "application/ocsp-request")
	resp, err := t.client.Do(req)
	if err != nil {
		return nil, nil, err
	}
	defer resp.Body.Close() //nolint:errcheck // only read
	if resp.StatusCode != http.StatusOK {
		return nil, nil, fmt.Errorf("HTTP %d", resp.StatusCode)
	}
	raw, err := io.ReadAll(io.LimitReader(resp.Body, maxStaple+1))
	if err != nil {
		return nil, nil, err
	}
	if len(raw) > maxStaple {
		return nil, nil, errors.New("the answer is too long")
	}
	answer, err := ocsp.ParseResponseForCert(raw, p.leaf, p.issuer)
	if err != nil {
		return nil, nil, err
	}
	now := t.now()
	if answer.ThisUpdate.After(now.Add(5*time.Minute)) || !answer.NextUpdate.IsZero() && now.After(answer.NextUpdate) {
		return nil, nil, errors.New("the answer is of another time")
	}
	return answer, raw, nil
}

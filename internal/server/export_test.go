package server

import (
	"context"
	"log/slog"
	"net/netip"
	"time"

	"landward/client"
	"landward/internal/cert"
	"landward/internal/cert/dnsprovider"
	"landward/internal/config"
	"landward/internal/landward"
)

// Expiry tells of certificates that end.
type Expiry struct{ x *expiry }

// NewExpiry makes an Expiry over a fake edge.
func NewExpiry(certs func(context.Context) ([]cert.Status, error), s expiryStore, now func() time.Time, log *slog.Logger) Expiry {
	return Expiry{&expiry{certs: certs, store: s, now: now, log: log}}
}

// Look looks once, Run again and again.
func (e Expiry) Look(ctx context.Context) error { return e.x.look(ctx) }
func (e Expiry) Run(ctx context.Context) error  { return e.x.run(ctx) }

// HostRecords lets hosts lead here.
type HostRecords struct{ h *hostRecords }

// Facts is what it remembers with.
type Facts = facts

// NewHostRecords makes HostRecords over any provider.
func NewHostRecords(linked *dnsprovider.Records, want []netip.Addr, named bool, f facts) HostRecords {
	return HostRecords{&hostRecords{provider: linked.Provider(), linked: linked, want: want, named: named, facts: f, log: slog.New(slog.DiscardHandler)}}
}

// LinkRecords links the provider of settings.
func LinkRecords(cfg config.Config, f facts) (HostRecords, bool) {
	h := linkRecords(cfg, f, slog.New(slog.DiscardHandler))
	return HostRecords{h}, h != nil
}

// Make, Remove and Forget reach the methods.
func (h HostRecords) Make(ctx context.Context, app int64, host string, replace bool) *client.DNSChange {
	return h.h.MakeRecords(ctx, app, host, replace)
}
func (h HostRecords) Remove(ctx context.Context, app int64, host string) *client.DNSChange {
	return h.h.RemoveRecords(ctx, app, host)
}
func (h HostRecords) Forget(ctx context.Context, app landward.App) { h.h.forget(ctx, app) }

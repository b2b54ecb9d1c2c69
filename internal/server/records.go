package server

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"slices"
	"time"

	"github.com/miekg/dns"

	"landward/client"
	"landward/internal/cert/dnsprovider"
	"landward/internal/config"
	edgedns "landward/internal/dns"
	"landward/internal/landward"
)

// facts are small things that must not be forgotten.
type facts interface {
	Fact(ctx context.Context, name string) (string, error)
	SetFact(ctx context.Context, name, value string) error
}

// hostRecords lets hosts of apps lead here, at the DNS provider that is linked,
// and remembers which records it made: it takes away no others.
type hostRecords struct {
	provider string
	linked   *dnsprovider.Records // nil: see broken
	broken   *landward.Error      // why the provider cannot be used
	want     []netip.Addr
	named    bool // by the settings, and not only found on the machine
	facts    facts
	log      *slog.Logger
}

// madeRecords is what is remembered of a host.
type madeRecords struct {
	App      int64                `json:"app"`
	Provider string               `json:"provider"`
	Zone     string               `json:"zone"`
	Records  []dnsprovider.Record `json:"records"`
}

// linkRecords links the provider of the settings, nil where there is none. One
// that cannot be used is no reason for control not to start: whoever adds a
// host is told.
func linkRecords(cfg config.Config, facts facts, log *slog.Logger) *hostRecords {
	if !providerLinked(cfg) {
		return nil
	}
	h := &hostRecords{provider: cfg.ACMEProvider, want: dnsAddresses(cfg), named: len(cfg.DNSAddresses) > 0, facts: facts, log: log}
	settings, err := providerSettings(cfg.ACMESettings)
	if err == nil {
		h.linked, err = dnsprovider.Link(cfg.ACMEProvider, settings, resolverAddresses())
	}
	if err != nil {
		log.Warn("records of hosts are not made at the DNS provider", "provider", cfg.ACMEProvider, "error", err)
		h.broken = landward.AsError(err)
	}
	return h
}

// providerLinked reports whether the settings name a provider that is not
// ourselves: our own server needs no records of hosts.
func providerLinked(cfg config.Config) bool {
	return cfg.ACMEProvider != "" && cfg.ACMEProvider != "off" && cfg.ACMEProvider != ownDNS
}

func resolverAddresses() []string {
	conf, err := dns.ClientConfigFromFile(resolvConf)
	if err != nil {
		return nil
	}
	var out []string
	for _, s := range conf.Servers {
		out = append(out, net.JoinHostPort(s, conf.Port))
	}
	return out
}

// MakeRecords implements api.DNSRecords.
func (h *hostRecords) MakeRecords(ctx context.Context, appID int64, host string, replace bool) *client.DNSChange {
	if h.linked == nil {
		return h.warning(h.broken)
	}
	want, err := h.addresses()
	if err != nil {
		return h.warning(err)
	}
	c := h.linked.Make(ctx, host, want, replace)
	out := h.wire(c)
	// What was made is remembered even where whoever asked has gone.
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), factWithin)
	defer cancel()
	if err := h.remember(ctx, appID, host, c); err != nil {
		h.log.Error("records that were made are not remembered", "host", host, "error", err)
		out.Warning = "the records could not be remembered: they will not be removed with the domain"
		out.Hint = "remove them at " + h.provider + " when the domain goes"
	}
	return out
}

// factWithin bounds the work on one fact.
const factWithin = 10 * time.Second

// addresses are those that records may lead to: what the settings say, or what
// the machine has if the whole world can reach it there.
func (h *hostRecords) addresses() ([]netip.Addr, *landward.Error) {
	var out []netip.Addr
	for _, a := range h.want {
		switch {
		case a.IsLoopback() || a.IsUnspecified() || a.IsMulticast() || a.IsLinkLocalUnicast():
		case h.named || !edgedns.IsPrivate(a):
			out = append(out, a)
		}
	}
	if len(out) == 0 {
		return nil, landward.Errorf(landward.CodeInvalid, "no record was made: the addresses that others reach this server at are not known").
			WithHint("name them with --dns-addresses")
	}
	return out, nil
}

// remember keeps which records were made. Those that were right already count
// where they were made earlier, for this app or another.
func (h *hostRecords) remember(ctx context.Context, appID int64, host string, c dnsprovider.Change) error {
	if len(c.Created)+len(c.There) == 0 {
		return nil
	}
	before, err := h.made(ctx, host)
	if err != nil {
		return err
	}
	now := madeRecords{App: appID, Provider: h.provider, Zone: c.Zone, Records: c.Created}
	if before.Provider == h.provider {
		for _, r := range before.Records {
			if slices.Contains(c.There, r) {
				now.Records = append(now.Records, r)
			}
		}
	}
	if len(now.Records) == 0 {
		return nil
	}
	return h.keep(ctx, host, now)
}

// RemoveRecords implements api.DNSRecords.
func (h *hostRecords) RemoveRecords(ctx context.Context, appID int64, host string) *client.DNSChange {
	made, err := h.made(ctx, host)
	if err != nil {
		h.log.Error("records of a host", "host", host, "error", err)
		return h.warning(landward.Errorf(landward.CodeInternal, "which records were made for %s is not known", host).
			WithHint("look at %s, and at the server's log", h.provider))
	}
	if len(made.Records) == 0 || made.App != appID {
		return nil
	}
	if made.Provider != h.provider {
		return h.left(made, landward.Errorf(landward.CodeUnavailable, "the records of %s are at %s, which is not linked any more", host, made.Provider).
			WithHint("remove them there"))
	}
	if h.linked == nil {
		return h.left(made, h.broken)
	}
	c := h.linked.Remove(ctx, host, made.Records)
	out := h.wire(c)
	if c.Err != nil {
		return out
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), factWithin)
	defer cancel()
	if err := h.facts.SetFact(ctx, factOf(host), ""); err != nil {
		h.log.Error("records that were removed are not forgotten", "host", host, "error", err)
	}
	return out
}

// forgetWithin bounds how long an app's removal waits for the provider.
const forgetWithin = 30 * time.Second

// forget removes the records of an app that is gone, as far as it can.
func (h *hostRecords) forget(ctx context.Context, app landward.App) {
	ctx, cancel := context.WithTimeout(ctx, forgetWithin)
	defer cancel()
	for _, host := range app.Settings.Domains {
		if c := h.RemoveRecords(ctx, app.ID, host); c != nil && c.Warning != "" {
			h.log.Warn("records of a deleted app are left", "app", app.Name, "host", host, "reason", c.Warning)
		}
	}
}

// factOf names what is remembered of a host.
func factOf(host string) string { return "dns-records " + host }

func (h *hostRecords) made(ctx context.Context, host string) (m madeRecords, err error) {
	text, err := h.facts.Fact(ctx, factOf(host))
	if err != nil || text == "" {
		return m, err
	}
	if err := json.Unmarshal([]byte(text), &m); err != nil {
		return m, fmt.Errorf("read what was made for %s: %w", host, err)
	}
	return m, nil
}

func (h *hostRecords) keep(ctx context.Context, host string, m madeRecords) error {
	text, err := json.Marshal(m)
	if err != nil {
		return fmt.Errorf("write what was made for %s: %w", host, err)
	}
	return h.facts.SetFact(ctx, factOf(host), string(text))
}

// wire is a change as the API tells it.
func (h *hostRecords) wire(c dnsprovider.Change) *client.DNSChange {
	out := &client.DNSChange{
		Provider: h.provider, Zone: c.Zone,
		Created: wireRecords(c.Created), Removed: wireRecords(c.Removed), There: wireRecords(c.There), Kept: wireRecords(c.Kept),
	}
	if e := c.Err; e != nil {
		if e.Err != nil {
			h.log.Warn("records of a host", "provider", h.provider, "zone", c.Zone, "error", e)
		}
		out.Warning, out.Hint = e.Message, e.Hint
		if e.Cause != "" {
			out.Warning += ": " + e.Cause
		}
	}
	return out
}

func (h *hostRecords) warning(e *landward.Error) *client.DNSChange {
	return h.wire(dnsprovider.Change{Err: e})
}

// left tells of records that were made and cannot be removed.
func (h *hostRecords) left(m madeRecords, e *landward.Error) *client.DNSChange {
	out := h.wire(dnsprovider.Change{Zone: m.Zone, Kept: m.Records, Err: e})
	out.Provider = m.Provider
	return out
}

func wireRecords(list []dnsprovider.Record) []client.HostRecord {
	out := make([]client.HostRecord, 0, len(list))
	for _, r := range list {
		out = append(out, client.HostRecord(r))
	}
	return out
}

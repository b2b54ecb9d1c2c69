package check

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"strconv"
	"strings"
	"time"

	"github.com/miekg/dns"
)

// Client is a Resolver that asks over the network: over UDP, and over TCP where
// the answer does not fit. Each try has two seconds.
type Client struct {
	Recursive []netip.AddrPort // asked in this order until one answers
	// Port of name servers [53].
	Port uint16
}

const tryTimeout = 2 * time.Second

// Exchange asks the name server at an address, or the recursive resolvers.
func (c *Client) Exchange(ctx context.Context, m *dns.Msg, server netip.Addr) (*dns.Msg, error) {
	port := c.Port
	if port == 0 {
		port = 53
	}
	list := c.Recursive
	if server.IsValid() {
		at := netip.AddrPortFrom(server, port)
		list = []netip.AddrPort{at, at} // a packet may be lost
	}
	err := errors.New("no resolver is known")
	for _, at := range list {
		var answer *dns.Msg
		if answer, err = exchange(ctx, m, at); err == nil {
			return answer, nil
		}
		if ctx.Err() != nil {
			return nil, ctx.Err()
		}
	}
	return nil, err
}

func exchange(ctx context.Context, m *dns.Msg, at netip.AddrPort) (*dns.Msg, error) {
	q := m.Copy()
	if q.IsEdns0() == nil {
		q.SetEdns0(1232, false)
	}
	for _, network := range [...]string{"udp", "tcp"} {
		answer, err := try(ctx, q, network, at)
		if err != nil {
			return nil, err
		}
		if !answer.Truncated {
			return answer, nil
		}
	}
	return nil, fmt.Errorf("%s: answer is cut off", at)
}

func try(ctx context.Context, q *dns.Msg, network string, at netip.AddrPort) (*dns.Msg, error) {
	ctx, stop := context.WithTimeout(ctx, tryTimeout)
	defer stop()
	addr := net.JoinHostPort(at.Addr().String(), strconv.Itoa(int(at.Port())))
	c := dns.Client{Net: network, Timeout: tryTimeout, UDPSize: 1232}
	answer, _, err := c.ExchangeContext(ctx, q, addr)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", addr, err)
	}
	if len(answer.Question) != 1 || !strings.EqualFold(answer.Question[0].Name, q.Question[0].Name) || answer.Question[0].Qtype != q.Question[0].Qtype {
		return nil, fmt.Errorf("%s: answer to another question", addr)
	}
	return answer, nil
}

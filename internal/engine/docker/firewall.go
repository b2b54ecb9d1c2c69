package docker

import (
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"os"
	"sync"

	"github.com/google/nftables"
	"github.com/google/nftables/binaryutil"
	"github.com/google/nftables/expr"
	"golang.org/x/sys/unix"
)

// firewall is the packet filter around this instance's bridges: one nftables
// table of our own, beside and before Docker's rules, which it does not touch.
// An accept here does not overrule a drop there.
//
// From a bridge of ours (its name starts with the prefix):
//
//   - to the host itself: answers, questions to the host's resolvers and to our
//     own DNS server, where there is one, and what the public may reach, too, at
//     the doors. Nothing else.
//   - onward: answers, the same bridge, the resolvers; not the other bridges,
//     not link-local addresses (metadata), not private networks (EgressInternet).
//
// To a bridge of ours from elsewhere than the host: answers only.
//
// Apps ask Docker's own resolver at 127.0.0.11, inside their network
// namespace, and it asks our DNS server and the host's resolvers from there:
// its questions pass this filter like the app's own packets.
type firewall struct {
	table  string
	prefix string
	egress Egress
	// resolver is where our own DNS server listens; the unspecified address:
	// at each bridge's own. Invalid: there is none.
	resolver netip.Addr
	doors    []Door
	log      *slog.Logger

	mu       sync.Mutex
	asserted bool
	state    string // "ok", or why not; "" before the first try
}

// bridge is an interface of ours: its name, and the host's address on it.
type bridge struct {
	name    string
	gateway netip.Addr
}

// newFirewall makes what the options say for an instance.
func newFirewall(short string, o Options) *firewall {
	return &firewall{table: "landward_" + short, prefix: "lw" + short, egress: o.Egress, resolver: o.Resolver, doors: o.Doors, log: o.Log}
}

// admit lets packets pass between the containers of one bridge. The first
// call sets up the whole table, for all bridges. A filter that cannot be set
// is reported by Info and in the log; containers run all the same.
func (f *firewall) admit(b bridge, all func() []bridge) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.asserted && f.addBridge(b) == nil {
		return
	}
	if err := f.assertLocked(all()); err != nil {
		f.log.Warn("packet filter not in place", "err", err)
	}
}

// assert makes the table what it should be, in one transaction.
func (f *firewall) assert(bridges []bridge) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.assertLocked(bridges)
}

func (f *firewall) assertLocked(bridges []bridge) error {
	err := f.write(bridges)
	f.asserted = err == nil
	switch {
	case err == nil:
		f.state = "ok"
	case errors.Is(err, os.ErrPermission):
		f.state = "not permitted: the engine needs CAP_NET_ADMIN to fence apps off from the host and private networks"
	default:
		f.state = "not in place: " + err.Error()
	}
	return err
}

func (f *firewall) status() string {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.state == "" {
		return "not set up yet"
	}
	return f.state
}

// remove deletes the table.
func (f *firewall) remove() error {
	f.mu.Lock()
	defer f.mu.Unlock()
	c, err := nftables.New()
	if err != nil {
		return fmt.Errorf("open nftables: %w", err)
	}
	t := f.tableRef()
	c.AddTable(t) // so that the deletion has something to delete
	c.DelTable(t)
	f.asserted = false
	if err := c.Flush(); err != nil {
		return fmt.Errorf("remove packet filter: %w", err)
	}
	return nil
}

func (f *firewall) tableRef() *nftables.Table {
	return &nftables.Table{Name: f.table, Family: nftables.TableFamilyINet}
}

// sameBridge is the set of (in, out) interface pairs that are one bridge.
func (f *firewall) sameBridge(t *nftables.Table) *nftables.Set {
	return &nftables.Set{
		Table: t, Name: "same_bridge", Concatenation: true,
		KeyType: nftables.MustConcatSetType(nftables.TypeIFName, nftables.TypeIFName),
	}
}

func pair(b bridge) nftables.SetElement {
	key := make([]byte, 2*unix.IFNAMSIZ)
	copy(key, b.name)
	copy(key[unix.IFNAMSIZ:], b.name)
	return nftables.SetElement{Key: key}
}

// ownGateway is the set of (interface, address) pairs that are a bridge and
// the host's own address on it.
func (f *firewall) ownGateway(t *nftables.Table) *nftables.Set {
	return &nftables.Set{
		Table: t, Name: "own_gateway", Concatenation: true,
		KeyType: nftables.MustConcatSetType(nftables.TypeIFName, nftables.TypeIPAddr),
	}
}

func gatewayOf(b bridge) nftables.SetElement {
	key := make([]byte, unix.IFNAMSIZ, unix.IFNAMSIZ+4)
	copy(key, b.name)
	return nftables.SetElement{Key: append(key, b.gateway.AsSlice()...)}
}

// sets are those of the table, each with its elements for the bridges.
func (f *firewall) sets(t *nftables.Table, bridges ...bridge) (list []*nftables.Set, elements [][]nftables.SetElement) {
	var pairs, gateways []nftables.SetElement
	for _, b := range bridges {
		pairs = append(pairs, pair(b))
		if b.gateway.Is4() {
			gateways = append(gateways, gatewayOf(b))
		}
	}
	list, elements = append(list, f.sameBridge(t)), append(elements, pairs)
	if f.atGateways() {
		list, elements = append(list, f.ownGateway(t)), append(elements, gateways)
	}
	return list, elements
}

// atGateways reports whether each app asks our DNS server at its own bridge.
func (f *firewall) atGateways() bool { return f.resolver.IsValid() && f.resolver.IsUnspecified() }

func (f *firewall) addBridge(b bridge) error {
	c, err := nftables.New()
	if err != nil {
		return fmt.Errorf("open nftables: %w", err)
	}
	sets, elements := f.sets(f.tableRef(), b)
	for i, s := range sets {
		if err := c.SetAddElements(s, elements[i]); err != nil {
			return fmt.Errorf("name bridge: %w", err)
		}
	}
	return c.Flush()
}

// write replaces the table. Adding it first makes deleting it possible whether
// or not it was there; the kernel does all of it or nothing.
func (f *firewall) write(bridges []bridge) error {
	c, err := nftables.New()
	if err != nil {
		return fmt.Errorf("open nftables: %w", err)
	}
	t := f.tableRef()
	c.AddTable(t)
	c.DelTable(t)
	c.AddTable(t)
	sets, elements := f.sets(t, bridges...)
	for i, s := range sets {
		if err := c.AddSet(s, elements[i]); err != nil {
			return fmt.Errorf("make set of bridges: %w", err)
		}
	}
	f.writeInput(c, t, sets)
	f.writeForward(c, t, sets[0])
	if err := c.Flush(); err != nil {
		return fmt.Errorf("write packet filter: %w", err)
	}
	return nil
}

func (f *firewall) chain(c *nftables.Conn, t *nftables.Table, name string, hook *nftables.ChainHook) func(parts ...[]expr.Any) {
	accept := nftables.ChainPolicyAccept
	ch := c.AddChain(&nftables.Chain{
		Name: name, Table: t, Type: nftables.ChainTypeFilter, Hooknum: hook,
		Priority: nftables.ChainPriorityRef(-10), // before Docker's
		Policy:   &accept,
	})
	return func(parts ...[]expr.Any) {
		var exprs []expr.Any
		for _, p := range parts {
			exprs = append(exprs, p...)
		}
		c.AddRule(&nftables.Rule{Table: t, Chain: ch, Exprs: exprs})
	}
}

// dnsOver are the protocols that questions for names travel by.
var dnsOver = [...]byte{unix.IPPROTO_UDP, unix.IPPROTO_TCP}

// writeInput fills the chain of packets to the host itself; with a DNS server
// at each bridge sets[1] has the bridges' own addresses.
func (f *firewall) writeInput(c *nftables.Conn, t *nftables.Table, sets []*nftables.Set) {
	rule := f.chain(c, t, "input", nftables.ChainHookInput)
	rule(f.from(), established(), verdict(expr.VerdictAccept))
	ask := resolvers()
	for _, proto := range dnsOver {
		switch {
		case f.atGateways():
			rule(f.from(), port(proto, 53), arrivesAt(sets[1]), verdict(expr.VerdictAccept))
		case f.resolver.IsValid():
			rule(f.from(), to(netip.PrefixFrom(f.resolver, f.resolver.BitLen())), port(proto, 53), verdict(expr.VerdictAccept))
		}
		for _, r := range ask {
			rule(f.from(), to(netip.PrefixFrom(r, r.BitLen())), port(proto, 53), verdict(expr.VerdictAccept))
		}
	}
	for _, d := range f.doors {
		proto := byte(unix.IPPROTO_TCP)
		if d.UDP {
			proto = unix.IPPROTO_UDP
		}
		rule(f.from(), d.at(), port(proto, d.Addr.Port()), verdict(expr.VerdictAccept))
	}
	rule(f.from(), verdict(expr.VerdictDrop))
}

// at matches the door's address; nothing is to be matched where it is any.
func (d Door) at() []expr.Any {
	addr := d.Addr.Addr()
	if addr.IsUnspecified() {
		return nil
	}
	return to(netip.PrefixFrom(addr, addr.BitLen()))
}

func (f *firewall) writeForward(c *nftables.Conn, t *nftables.Table, same *nftables.Set) {
	rule := f.chain(c, t, "forward", nftables.ChainHookForward)
	rule(established(), verdict(expr.VerdictAccept))
	rule(interfacesIn(same), verdict(expr.VerdictAccept))
	rule(f.into(), verdict(expr.VerdictDrop))
	for _, r := range resolvers() {
		for _, proto := range dnsOver {
			rule(f.from(), to(netip.PrefixFrom(r, r.BitLen())), port(proto, 53), verdict(expr.VerdictAccept))
		}
	}
	for _, p := range f.closed() {
		rule(f.from(), to(p), verdict(expr.VerdictDrop))
	}
}

// closed are the destinations that apps may not open connections to.
func (f *firewall) closed() []netip.Prefix {
	list := []string{"169.254.0.0/16", "127.0.0.0/8", "fe80::/10", "::1/128"}
	if f.egress == EgressInternet {
		list = append(list, "10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "100.64.0.0/10", "fc00::/7")
	}
	var out []netip.Prefix
	for _, s := range list {
		out = append(out, netip.MustParsePrefix(s))
	}
	return out
}

func (f *firewall) from() []expr.Any { return interfacePrefix(expr.MetaKeyIIFNAME, f.prefix) }
func (f *firewall) into() []expr.Any { return interfacePrefix(expr.MetaKeyOIFNAME, f.prefix) }

// interfacePrefix compares the first bytes of an interface's name only.
func interfacePrefix(key expr.MetaKey, prefix string) []expr.Any {
	return []expr.Any{
		&expr.Meta{Key: key, Register: 1},
		&expr.Cmp{Op: expr.CmpOpEq, Register: 1, Data: []byte(prefix)},
	}
}

// interfacesIn looks the pair of interfaces up: each name fills one register.
func interfacesIn(s *nftables.Set) []expr.Any {
	return []expr.Any{
		&expr.Meta{Key: expr.MetaKeyIIFNAME, Register: 1},
		&expr.Meta{Key: expr.MetaKeyOIFNAME, Register: 2},
		&expr.Lookup{SourceRegister: 1, SetName: s.Name, SetID: s.ID},
	}
}

// arrivesAt looks the interface and the destination address up, as one key.
func arrivesAt(s *nftables.Set) []expr.Any {
	return []expr.Any{
		&expr.Meta{Key: expr.MetaKeyNFPROTO, Register: 1},
		&expr.Cmp{Op: expr.CmpOpEq, Register: 1, Data: []byte{unix.NFPROTO_IPV4}},
		&expr.Meta{Key: expr.MetaKeyIIFNAME, Register: 1},
		&expr.Payload{DestRegister: 2, Base: expr.PayloadBaseNetworkHeader, Offset: 16, Len: 4},
		&expr.Lookup{SourceRegister: 1, SetName: s.Name, SetID: s.ID},
	}
}

func established() []expr.Any {
	return []expr.Any{
		&expr.Ct{Register: 1, Key: expr.CtKeySTATE},
		&expr.Bitwise{
			SourceRegister: 1, DestRegister: 1, Len: 4,
			Mask: binaryutil.NativeEndian.PutUint32(expr.CtStateBitESTABLISHED | expr.CtStateBitRELATED),
			Xor:  binaryutil.NativeEndian.PutUint32(0),
		},
		&expr.Cmp{Op: expr.CmpOpNeq, Register: 1, Data: binaryutil.NativeEndian.PutUint32(0)},
	}
}

// to matches the destination address, and with it the protocol's family.
func to(p netip.Prefix) []expr.Any {
	family, offset, size := byte(unix.NFPROTO_IPV4), uint32(16), uint32(4)
	if p.Addr().Is6() {
		family, offset, size = unix.NFPROTO_IPV6, 24, 16
	}
	mask := make([]byte, size)
	for i := range p.Bits() {
		mask[i/8] |= 0x80 >> (i % 8)
	}
	return []expr.Any{
		&expr.Meta{Key: expr.MetaKeyNFPROTO, Register: 1},
		&expr.Cmp{Op: expr.CmpOpEq, Register: 1, Data: []byte{family}},
		&expr.Payload{DestRegister: 1, Base: expr.PayloadBaseNetworkHeader, Offset: offset, Len: size},
		&expr.Bitwise{SourceRegister: 1, DestRegister: 1, Len: size, Mask: mask, Xor: make([]byte, size)},
		&expr.Cmp{Op: expr.CmpOpEq, Register: 1, Data: p.Masked().Addr().AsSlice()},
	}
}

func port(proto byte, number uint16) []expr.Any {
	return []expr.Any{
		&expr.Meta{Key: expr.MetaKeyL4PROTO, Register: 1},
		&expr.Cmp{Op: expr.CmpOpEq, Register: 1, Data: []byte{proto}},
		&expr.Payload{DestRegister: 1, Base: expr.PayloadBaseTransportHeader, Offset: 2, Len: 2},
		&expr.Cmp{Op: expr.CmpOpEq, Register: 1, Data: binaryutil.BigEndian.PutUint16(number)},
	}
}

func verdict(k expr.VerdictKind) []expr.Any { return []expr.Any{&expr.Verdict{Kind: k}} }

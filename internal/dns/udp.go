package dns

import (
	"errors"
	"net"
	"net/netip"
	"syscall"
)

// udpPeer is where a packet came from.
type udpPeer struct {
	conn *net.UDPConn
	from netip.AddrPort
	way  []byte // the control message that makes an answer leave as it must
}

// send sends an answer. One that the network does not take is lost, as any
// packet may be.
func (p *udpPeer) send(b []byte) {
	if b != nil {
		_, _, _ = p.conn.WriteMsgUDPAddrPort(b, p.way, p.from)
	}
}

func (p *udpPeer) keep() peer {
	return &udpPeer{p.conn, p.from, append([]byte(nil), p.way...)}
}

// readUDP answers packets until the socket is closed.
func (s *Server) readUDP(k *socket) {
	var (
		p       = &udpPeer{conn: k.udp}
		q       query
		in      = make([]byte, maxQuery+1)
		out     = make([]byte, 0, 4096)
		control [64]byte
	)
	for {
		n, controls, _, from, err := k.udp.ReadMsgUDPAddrPort(in, control[:])
		if err != nil {
			if errors.Is(err, net.ErrClosed) || s.reading.Err() != nil || !s.pause() {
				return
			}
			continue
		}
		if from.Port() == 0 {
			continue // nobody to answer
		}
		p.from = from
		p.way = returnWay(control[:controls], k.six)
		if answer, what := s.handle(p, &q, from.Addr(), true, in[:n], out); what == answered {
			p.send(answer)
		}
	}
}

// returnWay makes the control message of a packet that came into one for its
// answer, in place. Both hold IP_PKTINFO or IPV6_PKTINFO: where the packet came
// to is where the answer comes from. The interface is left to the routing
// table, but for link-local addresses, which mean nothing without theirs.
func returnWay(control []byte, six bool) []byte {
	data := syscall.CmsgLen(0)
	size, index := syscall.SizeofInet4Pktinfo, 0
	if six {
		size, index = syscall.SizeofInet6Pktinfo, 16
	}
	if len(control) < data+size {
		return nil
	}
	info := control[data : data+size]
	if !six || info[0] != 0xFE || info[1]&0xC0 != 0x80 {
		clear(info[index : index+4])
	}
	return control
}

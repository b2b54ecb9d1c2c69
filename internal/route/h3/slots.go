package h3

import (
	"context"
	"crypto/hkdf"
	"crypto/rand"
	"crypto/sha256"
	"errors"
	"fmt"
	"net"
	"syscall"

	"github.com/quic-go/quic-go"
	"golang.org/x/net/bpf"
	"golang.org/x/sys/unix"
)

// Slots is how many processes can serve one address at the same time. Each has
// a socket of its own, and the kernel finds a packet's by the connection ID
// that the packet is addressed to: a process that ends keeps its connections
// while another one takes the new clients.
const Slots = 8

// Slots must fit into the first byte of a connection ID.
const slotMask = Slots - 1

// idLength is how long the connection IDs are that we choose. A client's first
// packets go to one of at least 8 bytes that it has made up (RFC 9000 section
// 7.2): a shorter one is always ours.
const idLength = 7

// ids makes connection IDs that tell the slot, and nothing else, to whoever
// sees them.
type ids struct{ slot int }

// GenerateConnectionID implements quic.ConnectionIDGenerator.
func (g ids) GenerateConnectionID() (quic.ConnectionID, error) {
	var b [idLength]byte
	_, _ = rand.Read(b[:]) // never fails
	b[0] = b[0]&^slotMask | byte(g.slot&slotMask)
	return quic.ConnectionIDFromBytes(b[:]), nil
}

// ConnectionIDLen implements quic.ConnectionIDGenerator.
func (ids) ConnectionIDLen() int { return idLength }

// keys are derived from the secret that all processes of an address share. With
// them a process answers for one that was killed: its clients are told at once
// that their connection is no more (RFC 9000 section 10.3), and need not prove
// their address anew (section 8.1.3).
func keys(secret []byte) (reset quic.StatelessResetKey, token quic.TokenGeneratorKey, err error) {
	for label, key := range map[string][]byte{"stateless reset": reset[:], "address token": token[:]} {
		b, err := hkdf.Key(sha256.New, secret, nil, "landward http/3 "+label, len(key))
		if err != nil {
			return reset, token, fmt.Errorf("derive key: %w", err)
		}
		copy(key, b)
	}
	return reset, token, nil
}

// ListenSlots opens the sockets of all slots on a UDP address. They must stay
// open, all of them, for as long as one is in use: the kernel knows them by the
// order in which they were bound, and closing one changes it.
func ListenSlots(addr string) (socks []*net.UDPConn, err error) {
	defer func() {
		if err != nil {
			for _, c := range socks {
				_ = c.Close()
			}
			socks = nil
		}
	}()
	if addr, err = alone(addr); err != nil {
		return nil, err
	}
	lc := net.ListenConfig{Control: func(_, _ string, c syscall.RawConn) error {
		return control(c, func(fd int) error { return unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_REUSEPORT, 1) })
	}}
	for len(socks) < Slots {
		pc, err := lc.ListenPacket(context.Background(), "udp", addr)
		if err != nil {
			return socks, fmt.Errorf("listen on %s: %w", addr, err)
		}
		c, ok := pc.(*net.UDPConn)
		if !ok {
			return socks, errors.Join(fmt.Errorf("listen on %s: not a UDP socket", addr), pc.Close())
		}
		socks = append(socks, c)
	}
	return socks, nil
}

// alone makes sure that nobody has an address: other sockets that can be shared
// would be joined, and their order is not ours. It says which port it is.
func alone(addr string) (string, error) {
	host, _, err := net.SplitHostPort(addr)
	if err != nil {
		return "", fmt.Errorf("listen on %s: %w", addr, err)
	}
	c, err := net.ListenPacket("udp", addr)
	if err != nil {
		return "", fmt.Errorf("listen on %s: %w", addr, err)
	}
	_, port, err := net.SplitHostPort(c.LocalAddr().String())
	if err := errors.Join(err, c.Close()); err != nil {
		return "", fmt.Errorf("listen on %s: %w", addr, err)
	}
	return net.JoinHostPort(host, port), nil
}

// control does something to a socket.
func control(c syscall.RawConn, do func(fd int) error) error {
	var err error
	if controlErr := c.Control(func(fd uintptr) { err = do(int(fd)) }); controlErr != nil {
		return controlErr
	}
	return err
}

// Steer says, for all sockets of which member is one, where packets go from now
// on: those of a connection to the slot that its ID tells, if that is one of
// live (bit 0 is slot 0); all others, new clients' among them, to current.
// Nothing that has arrived moves.
func Steer(member syscall.Conn, current int, live uint) error {
	program, err := bpf.Assemble(steering(current, live))
	if err != nil {
		return fmt.Errorf("assemble steering: %w", err)
	}
	filter := make([]unix.SockFilter, len(program))
	for i, p := range program {
		filter[i] = unix.SockFilter{Code: p.Op, Jt: p.Jt, Jf: p.Jf, K: p.K}
	}
	c, err := member.SyscallConn()
	if err != nil {
		return fmt.Errorf("steer packets: %w", err)
	}
	err = control(c, func(fd int) error {
		return unix.SetsockoptSockFprog(fd, unix.SOL_SOCKET, unix.SO_ATTACH_REUSEPORT_CBPF,
			&unix.SockFprog{Len: uint16(len(filter)), Filter: &filter[0]}) //nolint:gosec // a score of instructions
	})
	if err != nil {
		return fmt.Errorf("steer packets: %w", err)
	}
	return nil
}

// Where things are in every QUIC packet, whatever its version (RFC 8999).
const (
	longHeader  = 0x80 // of the first byte
	shortIDAt   = 1    // the destination connection ID in a short header
	idLengthAt  = 5    // its length in a long header
	longIDAt    = 6    // and the ID
	shortestUse = longIDAt + 1
)

// steering is the program that chooses a packet's socket. It gets the UDP
// payload. A load from beyond its end would choose slot 0, so that what is too
// short to be of use is told apart first.
func steering(current int, live uint) []bpf.Instruction {
	return []bpf.Instruction{
		bpf.LoadExtension{Num: bpf.ExtLen},
		bpf.JumpIf{Cond: bpf.JumpLessThan, Val: shortestUse, SkipTrue: 14},
		bpf.LoadAbsolute{Off: 0, Size: 1},
		bpf.JumpIf{Cond: bpf.JumpBitsSet, Val: longHeader, SkipTrue: 2},
		bpf.LoadAbsolute{Off: shortIDAt, Size: 1},
		bpf.Jump{Skip: 3},
		bpf.LoadAbsolute{Off: idLengthAt, Size: 1},
		bpf.JumpIf{Cond: bpf.JumpNotEqual, Val: idLength, SkipTrue: 8},
		bpf.LoadAbsolute{Off: longIDAt, Size: 1},
		bpf.ALUOpConstant{Op: bpf.ALUOpAnd, Val: slotMask},
		bpf.TAX{},
		bpf.LoadConstant{Dst: bpf.RegA, Val: uint32(live & (1<<Slots - 1))}, //nolint:gosec // masked
		bpf.ALUOpX{Op: bpf.ALUOpShiftRight},
		bpf.JumpIf{Cond: bpf.JumpBitsSet, Val: 1, SkipFalse: 2},
		bpf.TXA{},
		bpf.RetA{},
		bpf.RetConstant{Val: uint32(current & slotMask)}, //nolint:gosec // masked
	}
}

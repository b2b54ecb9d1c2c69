package wire_test

import (
	"bytes"
	"errors"
	"strings"
	"testing"

	"landward/internal/route/wire"
)

// decode feeds src in pieces of that size and returns the data, the trailer
// and what was left over.
func decode(src string, piece int) (data, trailer, rest string, err error) {
	var c wire.Chunks
	in := []byte(src)
	var out []byte
	for len(in) > 0 && !c.Done() {
		now := in[:min(piece, len(in))]
		in = in[len(now):]
		for len(now) > 0 && !c.Done() {
			d, n, err := c.Next(now)
			if err != nil {
				return string(out), "", "", err
			}
			out = append(out, d...)
			now = now[n:]
		}
		in = append(bytes.Clone(now), in...)
	}
	if !c.Done() {
		return string(out), "", "", errors.New("not done")
	}
	tr, err := c.AppendTrailer(nil)
	return string(out), string(tr), string(in), err
}

func TestChunks(t *testing.T) {
	for name, tc := range map[string]struct {
		src, data, trailer, rest string
		want                     error
	}{
		"two":              {"5\r\nhello\r\n6\r\n world\r\n0\r\n\r\n", "hello world", "", "", nil},
		"hex":              {"A\r\n0123456789\r\n00b\r\n01234567890\r\n000\r\n\r\nGET", "012345678901234567890", "", "GET", nil},
		"extension":        {"1;a=b;c=\"d e\"\r\nx\r\n0;e\r\n\r\n", "x", "", "", nil},
		"trailer":          {"0\r\nA: b\r\nB: c\r\n\r\nrest", "", "A: b\r\nB: c\r\n", "rest", nil},
		"trailer dropped":  {"0\r\nContent-Length: 9\r\nX-Forwarded-For: 1\r\nHost: b\r\nConnection: x\r\nA: b\r\n\r\n", "", "A: b\r\n", "", nil},
		"no size":          {"\r\nx\r\n", "", "", "", wire.ErrChunkSize},
		"signed":           {"+5\r\nhello\r\n0\r\n\r\n", "", "", "", wire.ErrChunkSize},
		"0x":               {"0x5\r\nhello\r\n0\r\n\r\n", "", "", "", wire.ErrChunkSize},
		"space before":     {" 5\r\nhello\r\n0\r\n\r\n", "", "", "", wire.ErrChunkSize},
		"space after":      {"5 \r\nhello\r\n0\r\n\r\n", "", "", "", wire.ErrChunkSize},
		"overflow":         {"fffffffffffffffff\r\n", "", "", "", wire.ErrChunkSize},
		"wraps":            {"10000000000000005\r\nhello\r\n0\r\n\r\n", "", "", "", wire.ErrChunkSize},
		"bare feed":        {"5\nhello\r\n0\r\n\r\n", "", "", "", wire.ErrChunkSize},
		"bare return":      {"5\rhello\r\n0\r\n\r\n", "", "", "", wire.ErrChunkSize},
		"feed in ext":      {"5;a\nhello\r\n0\r\n\r\n", "", "", "", wire.ErrChunkExt},
		"NUL in ext":       {"5;\x00\r\nhello\r\n0\r\n\r\n", "", "", "", wire.ErrChunkExt},
		"long ext":         {"5;" + strings.Repeat("a", 300) + "\r\nhello\r\n0\r\n\r\n", "", "", "", wire.ErrChunkExt},
		"many exts":        {strings.Repeat("1;"+strings.Repeat("a", 200)+"\r\nx\r\n", 30) + "0\r\n\r\n", strings.Repeat("x", 20), "", "", wire.ErrChunkExt},
		"data too long":    {"5\r\nhellox\r\n0\r\n\r\n", "hello", "", "", wire.ErrChunkEnd},
		"data ends in LF":  {"5\r\nhello\n0\r\n\r\n", "hello", "", "", wire.ErrChunkEnd},
		"only in a head":   {"0\r\nAuthorization: x\r\nCOOKIE: a=b\r\nSet_Cookie: a=b\r\nContent-Type: a\r\nContent-Range: b\r\nWWW-Authenticate: c\r\nTrailer: d\r\nA: b\r\n\r\n", "", "A: b\r\n", "", nil},
		"trailer folded":   {"0\r\nA: b\r\n c\r\n\r\n", "", "", "", wire.ErrTrailer},
		"trailer bare":     {"0\r\nA: b\n\r\n", "", "", "", wire.ErrTrailer},
		"trailer no colon": {"0\r\nGET / HTTP/1.1\r\n\r\n", "", "", "", wire.ErrTrailer},
		"trailer too long": {"0\r\nA: " + strings.Repeat("b", 9000) + "\r\n\r\n", "", "", "", wire.ErrTrailer},
	} {
		t.Run(name, func(t *testing.T) {
			for _, piece := range []int{1, 2, 3, 7, 1 << 20} {
				data, trailer, rest, err := decode(tc.src, piece)
				if !errors.Is(err, tc.want) {
					t.Fatalf("pieces of %d: got error %v, want %v", piece, err, tc.want)
				}
				if data != tc.data {
					t.Fatalf("pieces of %d: got data %q", piece, data)
				}
				if err == nil && (trailer != tc.trailer || rest != tc.rest) {
					t.Fatalf("pieces of %d: got trailer %q rest %q", piece, trailer, rest)
				}
			}
		})
	}
}

func TestAppendChunk(t *testing.T) {
	for _, n := range []int{0, 1, 15, 16, 255, 256, 4096, 65535, 65536} {
		body := strings.Repeat("x", n)
		got := string(wire.AppendChunk(nil, []byte(body))) + "0\r\n\r\n"
		data, _, _, err := decode(got, 1<<20)
		if err != nil || data != body {
			t.Fatalf("%d bytes come back as %d, %v", n, len(data), err)
		}
	}
}

// TestDropTrailers: who passes a body on can keep more from it.
func TestDropTrailers(t *testing.T) {
	c := wire.Chunks{Drop: func(name []byte) bool { return string(name) == "Remote-User" }}
	if _, _, err := c.Next([]byte("0\r\nA: b\r\nRemote-User: root\r\nC: d\r\n\r\n")); err != nil || !c.Done() {
		t.Fatal(err, c.Done())
	}
	if got, err := c.AppendTrailer(nil); string(got) != "A: b\r\nC: d\r\n" || err != nil {
		t.Errorf("%q, %v", got, err)
	}
}

// FuzzChunks holds that the way a body is cut into reads changes nothing.
func FuzzChunks(f *testing.F) {
	f.Add("5\r\nhello\r\n0\r\nA: b\r\n\r\n", 3)
	f.Add("1;x\r\na\r\n0\r\n\r\nGET /", 1)
	f.Fuzz(func(t *testing.T, src string, piece int) {
		if piece < 1 || piece > 64 {
			return
		}
		d1, t1, r1, e1 := decode(src, 1<<20)
		d2, t2, r2, e2 := decode(src, piece)
		if (e1 == nil) != (e2 == nil) {
			t.Fatalf("whole: %v, in pieces: %v", e1, e2)
		}
		if e1 == nil && (d1 != d2 || t1 != t2 || r1 != r2) {
			t.Fatalf("whole: %q %q %q, in pieces: %q %q %q", d1, t1, r1, d2, t2, r2)
		}
	})
}

func TestFrames(t *testing.T) {
	var stream []byte
	var borders []int
	add := func(mask bool, n int, opcode byte) {
		head := []byte{0x80 | opcode, 0}
		switch {
		case n < 126:
			head[1] = byte(n)
		case n < 1<<16:
			head[1] = 126
			head = append(head, byte(n>>8), byte(n))
		default:
			head[1] = 127
			head = append(head, 0, 0, 0, 0, byte(n>>24), byte(n>>16), byte(n>>8), byte(n))
		}
		if mask {
			head[1] |= 0x80
			head = append(head, 1, 2, 3, 4)
		}
		stream = append(append(stream, head...), make([]byte, n)...)
		borders = append(borders, len(stream))
	}
	add(false, 0, 1)
	add(true, 5, 2)
	add(true, 300, 1)
	add(false, 70000, 2)
	add(true, 2, 8)

	for _, piece := range []int{1, 3, 1000, len(stream)} {
		var f wire.Frames
		at := 0
		for at < len(stream) {
			n := min(piece, len(stream)-at)
			f.Take(stream[at : at+n])
			at += n
			isBorder := false
			for _, b := range borders {
				isBorder = isBorder || b == at
			}
			if f.AtBorder() != isBorder {
				t.Fatalf("pieces of %d: at %d border %v", piece, at, f.AtBorder())
			}
		}
		if !f.Closed {
			t.Fatalf("pieces of %d: close frame not seen", piece)
		}
	}
	var f wire.Frames
	f.Take(stream[:4]) // the first frame and half of the second's head
	if got := f.Border(stream[4:]); got != borders[1]-4 {
		t.Fatalf("border after %d bytes, want %d", got, borders[1]-4)
	}
}

func TestAppendClose(t *testing.T) {
	if got, want := wire.AppendClose(nil, 1001, "bye", false), "\x88\x05\x03\xe9bye"; string(got) != want {
		t.Errorf("to client: %q", got)
	}
	if got, want := wire.AppendClose(nil, 1001, "bye", true), "\x88\x85\x00\x00\x00\x00\x03\xe9bye"; string(got) != want {
		t.Errorf("to server: %q", got)
	}
}

package remote

import (
	"bytes"
	"encoding/json"
	"io"
	"testing"

	"landward/internal/engine"
	"landward/internal/landward"
)

func TestFrames(t *testing.T) {
	var b bytes.Buffer
	w := &frameWriter{w: &b}
	big := bytes.Repeat([]byte("x"), 2*chunk+1)
	if n, err := (streamWriter{frameStdout, w}).Write(big); n != len(big) || err != nil {
		t.Fatalf("wrote %d, %v", n, err)
	}
	if err := w.write(frameStdinEnd, nil); err != nil {
		t.Fatal(err)
	}
	var back []byte
	for range 3 {
		kind, p, err := readFrame(&b, chunk)
		if err != nil || kind != frameStdout || len(p) > chunk {
			t.Fatalf("frame %q of %d bytes, %v", kind, len(p), err)
		}
		back = append(back, p...)
	}
	if !bytes.Equal(back, big) {
		t.Error("the stream came back changed")
	}
	if kind, p, err := readFrame(&b, chunk); kind != frameStdinEnd || len(p) != 0 || err != nil {
		t.Errorf("last frame %q, %d bytes, %v", kind, len(p), err)
	}
	if _, _, err := readFrame(&b, chunk); err != io.EOF {
		t.Errorf("after the last: %v", err)
	}
	if _, _, err := readFrame(bytes.NewReader([]byte{frameStdin, 0xff, 0xff, 0xff, 0xff}), chunk); err == nil {
		t.Error("a frame of 4 GiB was accepted")
	}
}

// A client may send what it likes: the feed must end, and never hold more than
// its window.
func FuzzFeed(f *testing.F) {
	frame := func(kind byte, p ...byte) []byte {
		return append([]byte{kind, 0, 0, 0, byte(len(p))}, p...)
	}
	f.Add(bytes.Join([][]byte{frame(frameStdin, 'a'), frame(frameResize, 0, 80, 0, 24), frame(frameStdinEnd)}, nil))
	f.Add(bytes.Repeat(frame(frameStdin, 'a'), 2*window))
	f.Add(append(frame(frameStdinEnd), frame(frameStdinEnd)...))
	f.Add([]byte{frameStdin, 0xff, 0xff, 0xff, 0xff})
	f.Fuzz(func(t *testing.T, data []byte) {
		fd := newFeed(&frameWriter{w: io.Discard})
		fd.read(bytes.NewReader(data))
		if len(fd.input) > window {
			t.Fatalf("%d frames are held", len(fd.input))
		}
		got, err := io.ReadAll(fd)
		if err != nil || len(got) > len(data) {
			t.Fatalf("%d bytes out of %d, %v", len(got), len(data), err)
		}
	})
}

// Whatever a request says, decode answers with the value or with a code.
func FuzzDecode(f *testing.F) {
	f.Add([]byte(`{"id":"u","resources":{"memory":1},"restart":"no"}`))
	f.Add([]byte(`{"id":"u","privileged":true}`))
	f.Add([]byte(`{} {}`))
	f.Add([]byte(`[`))
	f.Fuzz(func(t *testing.T, data []byte) {
		var u engine.Unit
		err := decode(bytes.NewReader(data), &u)
		if err != nil && landward.CodeOf(err) != landward.CodeInvalid {
			t.Fatalf("code %q of %v", landward.CodeOf(err), err)
		}
		if err == nil && !json.Valid(data) {
			t.Fatalf("%q was decoded", data)
		}
	})
}

func TestAllowedUser(t *testing.T) {
	if !allowedUser(0) || allowedUser(12345) {
		t.Error("root must be allowed, a stranger not")
	}
}

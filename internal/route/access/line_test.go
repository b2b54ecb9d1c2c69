package access

import (
	"bytes"
	"encoding/json"
	"testing"
)

// TestPlain holds the fast look at eight bytes to the plain one, for each byte
// value at each place.
func TestPlain(t *testing.T) {
	for c := range 256 {
		for _, around := range []byte{'a', ' ', '~', '!', '#', '[', ']'} {
			for at := range 19 {
				s := bytes.Repeat([]byte{around}, 19)
				s[at] = byte(c)
				if plain(s) != clean(byte(c)) {
					t.Errorf("%q: %v", s, plain(s))
				}
			}
		}
	}
}

// FuzzText holds that whatever a client sends, a line stays one line of JSON in
// printable ASCII, and within its limit.
func FuzzText(f *testing.F) {
	for _, s := range []string{"", "plain", `"\`, "a\nb", "\x00\xff\u2028", "Mozilla/5.0 (X11; Linux)"} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, s []byte) {
		const limit = 64
		fast, slow := appendBytes(nil, s, limit), appendText(nil, s, limit)
		if !bytes.Equal(fast, slow) || !bytes.Equal(slow, appendText(nil, string(s), limit)) || len(fast) > 3*limit {
			t.Errorf("%q: %q, %q", s, fast, slow)
		}
		var back string
		if err := json.Unmarshal([]byte(`"`+string(fast)+`"`), &back); err != nil {
			t.Errorf("%q: %v", fast, err)
		}
		for _, c := range fast {
			if c < 0x20 || c >= 0x7f {
				t.Errorf("%q", fast)
			}
		}
	})
}

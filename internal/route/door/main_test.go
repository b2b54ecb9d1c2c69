package door_test

import (
	"net/netip"
	"strings"
	"testing"

	"go.uber.org/goleak"

	"landward/internal/route/cidr"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// networks parses prefixes with space between.
func networks(tb testing.TB, list string) []netip.Prefix {
	tb.Helper()
	var out []netip.Prefix
	for _, s := range strings.Fields(list) {
		p, err := cidr.Parse(s)
		if err != nil {
			tb.Fatal(err)
		}
		out = append(out, p)
	}
	return out
}

package door_test

import (
	"net/netip"
	"strings"
	"testing"

	"go.uber.org/goleak"

	"landward/internal/route/door"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// networks parses prefixes with space between.
func networks(tb testing.TB, list string) []netip.Prefix {
	tb.Helper()
	p, err := door.ParsePrefixes("trusted", strings.Fields(list))
	if err != nil {
		tb.Fatal(err)
	}
	return p
}

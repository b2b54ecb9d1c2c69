package cli

import (
	"strings"

	"github.com/spf13/cobra"
)

// What the tests of this package look at from outside.
var (
	Clean        = clean
	ParseSize    = parseSize
	ParseSince   = parseSince
	NormalServer = normalServer
	SplitUnit    = splitUnit
	Ago          = ago
	Size         = size
	WriteJSON    = writeJSON
	Combined     = combined
	Until        = until
)

// Root returns the tree of all commands.
func Root(state State) *cobra.Command { return newRoot(&factory{State: state}) }

// SplitColon rewrites arguments as Main does.
func SplitColon(args []string) []string { return splitColon(Root(State{}), args) }

// RemoteApps returns what parseRemotes found, as NAME=APP at HOST.
func RemoteApps(out string) []string {
	var list []string
	for _, r := range parseRemotes(out) {
		list = append(list, r.name+"="+r.app+" at "+r.host)
	}
	return list
}

// Table writes rows as commands do.
func Table(width int, head []string, rows ...[]string) string {
	t := newTable(head...)
	for _, r := range rows {
		t.add(r...)
	}
	var b strings.Builder
	_ = t.write(&b, width)
	return b.String()
}

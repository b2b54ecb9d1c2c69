//go:build !failpoints

package failpoint

// Hit marks a place where the process may be killed in a fault test. In an
// ordinary build it is nothing.
func Hit(string) {}

package docker

// FirewallTable names the packet filter's table, for tests that break it.
func (d *Docker) FirewallTable() string { return d.fence.table }

package cert

// Ready reports whether a handshake for host, in normal form, gets a
// certificate that clients elsewhere accept: an own pair or one from the CA
// that has not expired. The local CA's do not count.
func (m *Manager) Ready(host string) bool {
	e := m.find(host)
	return e.rank > rankExpired && e.source != SourceLocal
}

package plane

// Hold keeps Shutdown from its end until release is called: a door whose
// connections were not accepted here still lets requests in, by ServeConn.
func (p *Plane) Hold() (release func()) {
	p.doors.arrive()
	return p.doors.depart
}

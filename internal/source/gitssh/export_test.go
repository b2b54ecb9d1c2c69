package gitssh

// ParseCommand is parseCommand for the tests.
func ParseCommand(line string) (service, app string, err error) {
	c, err := parseCommand(line)
	return string(c.service), c.app, err
}

package route

// Lines is how many lines the reader knows.
func (d *Reader) Lines() int { return len(d.known) }

package lane

import "time"

// deadline is one direction's deadline. The lane's mutex guards it.
type deadline struct {
	expired bool
	timer   *time.Timer
	set     int // counts settings, so that a late timer knows that it is one
}

// stop forgets the deadline.
func (d *deadline) stop() {
	d.set++
	d.expired = false
	if d.timer != nil {
		d.timer.Stop()
		d.timer = nil
	}
}

// SetDeadline sets both deadlines.
func (l *Lane) SetDeadline(t time.Time) error {
	_ = l.SetReadDeadline(t) // they do not fail
	return l.SetWriteDeadline(t)
}

// SetReadDeadline makes reads fail from t on, those that wait included. An idle
// lane whose deadline has passed gets no other request.
func (l *Lane) SetReadDeadline(t time.Time) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.arm(&l.rd, t, l.readLate)
	return nil
}

// SetWriteDeadline makes writes fail from t on, those that wait included.
func (l *Lane) SetWriteDeadline(t time.Time) error {
	l.mu.Lock()
	l.late.Store(false)
	l.arm(&l.wd, t, func() { l.late.Store(true) })
	late := l.wd.expired
	l.mu.Unlock()
	if late {
		l.far.Wake()
	}
	return nil
}

// arm sets d to t; fire is called with mu held once t has passed.
func (l *Lane) arm(d *deadline, t time.Time, fire func()) {
	d.stop()
	if t.IsZero() {
		return
	}
	in := time.Until(t)
	if in <= 0 {
		d.expired = true
		fire()
		return
	}
	set := d.set
	d.timer = time.AfterFunc(in, func() {
		l.mu.Lock()
		due := d.set == set
		if due {
			d.expired = true
			fire()
		}
		l.mu.Unlock()
		if due && d == &l.wd {
			l.far.Wake()
		}
	})
}

// readLate wakes who reads. The caller holds mu.
func (l *Lane) readLate() {
	if !l.begun {
		l.ending = true
	}
	l.readable.Broadcast()
}

package h2

// calm bounds what a client may cost without asking for anything: streams that
// it breaks off (CVE-2023-44487) or makes us break off (CVE-2025-8671), and
// frames that carry nothing (CVE-2019-9511 to 9518). Useful work and time earn
// both back.
type calm struct {
	resets, maxResets int
	noise, maxNoise   int
	bytes             int // of bodies, not counted yet
	at                int64
}

const (
	resetsPerSecond = 10
	noisePerSecond  = 200
	bytesPerNoise   = 256 // of bodies earn one frame
	noisePerRequest = 8
)

var errCalm error = &fault{codeEnhanceCalm, "too many frames without use"}

func newCalm(l *Limits) calm {
	return calm{resets: l.Resets, maxResets: l.Resets, noise: l.Noise, maxNoise: l.Noise}
}

// refill adds what time earns.
func (c *calm) refill(now int64) {
	if c.at != 0 {
		seconds := int(min((now-c.at)/1e9, 3600))
		c.resets = min(c.resets+seconds*resetsPerSecond, c.maxResets)
		c.noise = min(c.noise+seconds*noisePerSecond, c.maxNoise)
		c.at += int64(seconds) * 1e9
		return
	}
	c.at = now
}

// answered adds what a complete answer earns.
func (c *calm) answered() {
	c.resets = min(c.resets+1, c.maxResets)
	c.noise = min(c.noise+noisePerRequest, c.maxNoise)
}

// moved adds what n bytes of a body earn.
func (c *calm) moved(n int) {
	c.bytes += n
	c.noise = min(c.noise+c.bytes/bytesPerNoise, c.maxNoise)
	c.bytes %= bytesPerNoise
}

// sent adds what a frame of a body earns that no window has cut short: some
// clients answer each with two of their own.
func (c *calm) sent() { c.noise = min(c.noise+2, c.maxNoise) }

// broke takes what a stream that was broken off costs.
func (c *calm) broke() error {
	if c.resets--; c.resets < 0 {
		return errCalm
	}
	return nil
}

// heard takes what a frame that carries nothing costs.
func (c *calm) heard() error {
	if c.noise--; c.noise < 0 {
		return errCalm
	}
	return nil
}

// noise counts a frame that carries nothing.
func (c *conn) noise() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.calm.heard()
}

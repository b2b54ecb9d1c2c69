package landward

import "time"

// Routing is what an app says about its traffic: the section `routes` of its
// landward.yaml. It is part of a release, so that a rollback restores it. Its
// zero value means: plain HTTP is redirected to HTTPS where the installation
// serves it, security headers are added, answers are compressed, requests go
// to the replica with the fewest in progress.
type Routing struct {
	HTTPS     HTTPSMode     `json:"https,omitempty"`
	Paths     []PathRule    `json:"paths,omitempty"`     // longest prefix first
	Redirects []Redirect    `json:"redirects,omitempty"` // the first that fits
	Headers   Headers       `json:"headers,omitzero"`
	Auth      Auth          `json:"auth,omitzero"`
	Rate      Rate          `json:"rate,omitzero"`
	Body      int64         `json:"body,omitempty"`    // bytes of a request's body; 0: the installation's limit
	Timeout   time.Duration `json:"timeout,omitempty"` // until the answer begins; 0: 60 s
	Compress  Switch        `json:"compress,omitempty"`
	Sticky    bool          `json:"sticky,omitempty"` // a client stays with its replica, by a cookie
	Protocol  Protocol      `json:"protocol,omitempty"`
	Errors    ErrorPages    `json:"errors,omitzero"`
	Idle      Idle          `json:"idle,omitzero"`
	Static    Static        `json:"static,omitzero"`
	Strategy  Strategy      `json:"strategy,omitzero"`
}

// Serves reports whether requests reach the process: only such may sleep.
func (r Routing) Serves(process string) bool {
	if process == WebProcess && r.Static.Dir == "" {
		return true
	}
	for _, p := range r.Paths {
		if p.Process == process {
			return true
		}
	}
	return false
}

// Kinds of files that a release has for the edge, each a folder of its assets.
const (
	AssetPages  = "pages"
	AssetStatic = "static"
)

// Traffic is what holds for an app's requests at the moment, whichever release
// serves: it is no part of one.
type Traffic struct {
	Maintenance bool   `json:"maintenance,omitempty"` // every request gets a page that says so
	Message     string `json:"message,omitempty"`     // on that page
	Paused      bool   `json:"paused,omitempty"`      // requests are held
	Asleep      bool   `json:"asleep,omitempty"`      // its web processes are stopped until somebody asks
	// MaxPause is how long a request is held while the app is paused; 0: the
	// edge's default.
	MaxPause time.Duration `json:"max_pause,omitempty"`
	// Returned is how many bytes of memory the web processes had that were
	// stopped when the app fell asleep; 0 where that is not known.
	Returned int64 `json:"returned,omitempty"`
}

// HTTPSMode says what plain HTTP gets.
type HTTPSMode string

// The modes. The empty one is HTTPSRedirect.
const (
	HTTPSRedirect HTTPSMode = "redirect" // 308 to the same address with https
	HTTPSOff      HTTPSMode = "off"      // the app answers on both
)

// Switch is on or off; empty means on.
type Switch string

// The positions of a switch.
const (
	SwitchOn  Switch = "on"
	SwitchOff Switch = "off"
)

// PathRule sends a path prefix to another process of the app.
type PathRule struct {
	Prefix  string `json:"prefix"`  // begins with "/", ends without one: "/api" is /api and /api/…
	Process string `json:"process"` // of any service of the app
	Strip   bool   `json:"strip,omitempty"`
}

// Redirect answers requests for Host and Path with the address To.
type Redirect struct {
	Host string `json:"host,omitempty"` // a host of the app; empty: all of them
	// Path is a path ("/old"), or a prefix that ends in "*" ("/blog/*"), whose
	// rest takes the place of a "*" at the end of To; empty: all, and the
	// whole path and query are kept.
	Path string `json:"path,omitempty"`
	To   string `json:"to"` // a path, or an address with http: or https:
	// Code is 301, 302, 303, 307 or 308; 0: 302.
	Code int `json:"code,omitempty"`
}

// Headers change an answer's headers.
type Headers struct {
	Set    []Header `json:"set,omitempty"`    // in place of those that the app sent
	Remove []string `json:"remove,omitempty"` // canonical names
	// Security adds the usual headers where the app sent none: nosniff,
	// X-Frame-Options, Referrer-Policy, and HSTS over HTTPS.
	Security Switch `json:"security,omitempty"`
}

// Header is one header line. Name is in canonical form.
type Header struct {
	Name  string `json:"name"`
	Value string `json:"value"`
}

// Auth says who gets in. All that is given must be passed.
type Auth struct {
	Basic   []BasicUser `json:"basic,omitempty"`
	Realm   string      `json:"realm,omitempty"`
	Forward ForwardAuth `json:"forward,omitzero"`
	Allow   []string    `json:"allow,omitempty"` // addresses and networks; empty: all
	Deny    []string    `json:"deny,omitempty"`
}

// BasicUser may come in with a password (RFC 7617).
type BasicUser struct {
	Name string `json:"name"`
	Hash string `json:"hash"` // bcrypt, as htpasswd -B writes it
}

// ForwardAuth asks another service about each request: its 2xx lets in, all
// else is the answer.
type ForwardAuth struct {
	URL string `json:"url,omitempty"`
	// Copy names headers of its answer that the app gets. Client-sent copies
	// never reach the app.
	Copy []string `json:"copy,omitempty"`
}

// Rate limits how many requests one client address may send.
type Rate struct {
	Requests int           `json:"requests,omitempty"` // per Per; 0: no limit
	Per      time.Duration `json:"per,omitempty"`      // 0: one second
	Burst    int           `json:"burst,omitempty"`    // at once; 0: as Requests
}

// Protocol is what an app speaks.
type Protocol string

// The protocols. The empty one is ProtocolHTTP.
const (
	ProtocolHTTP  Protocol = "http"  // HTTP/1.1
	ProtocolHTTPS Protocol = "https" // HTTP/1.1 over TLS; the app's own certificate is not verified
	ProtocolH2C   Protocol = "h2c"   // HTTP/2 without TLS: gRPC
	ProtocolH2    Protocol = "h2"    // HTTP/2 over TLS: gRPC with TLS; likewise not verified
)

// ErrorPages are an app's own pages for errors.
type ErrorPages struct {
	// Dir is a folder of the source tree with 404.html, 5xx.html, 4xx.html,
	// maintenance.html.
	Dir string `json:"dir,omitempty"`
	// Replace shows them in place of the bodies of the app's own errors too.
	Replace bool `json:"replace,omitempty"`
}

// Idle lets an app sleep.
type Idle struct {
	SleepAfter time.Duration `json:"sleep_after,omitempty"` // without a request; 0: never
}

// Static says that the app's files are served by the edge: no container runs.
type Static struct {
	Dir string `json:"dir,omitempty"` // in the source tree; empty: not static
	// Fallback is the file that answers for what is not there, with 200:
	// index.html of a single-page app; empty: 404.html with 404.
	Fallback string `json:"fallback,omitempty"`
	// Immutable names path prefixes whose files never change, for caches:
	// "/assets/". Names that hold a content hash are recognised without it.
	Immutable []string `json:"immutable,omitempty"`
}

// Strategy says how a release takes over.
type Strategy struct {
	Kind StrategyKind `json:"kind,omitempty"`
	// Of a canary: percentages of the requests, each kept for StepTime.
	Steps    []int         `json:"steps,omitempty"`
	StepTime time.Duration `json:"step_time,omitempty"` // 0: one minute
	// Abort thresholds, measured at the edge while a canary runs.
	MaxErrors float64       `json:"max_errors,omitempty"` // share of answers with 5xx, 0 to 1; 0: 0.05
	MaxP95    time.Duration `json:"max_p95,omitempty"`    // 0: not looked at
	// Cookie sends requests that have it to the canary whatever the percentage.
	Cookie string `json:"cookie,omitempty"`
}

// StepPromoted is the step of a deployment that says that its canary was
// promoted: it takes over without the rest of its steps.
const StepPromoted = "promoted"

// CanaryStatus is how a canary stands.
type CanaryStatus struct {
	Deployment int // its number
	Release    int // the version on trial
	Beside     int // the version that has the other requests
	Percent    int // of the requests without the cookie
	Step       int // 1 for the first
	Steps      int // that it goes through before it takes over
	NextAt     time.Time
	// What was counted since the canary began; nil while the edge cannot be asked.
	Canary, Stable *Answers
}

// Answers are what became of some requests.
type Answers struct {
	Count  uint64
	Errors uint64        // 5xx, and answers that were not whole
	P95    time.Duration // at most this for 95 of 100
}

// StrategyKind names a strategy.
type StrategyKind string

// The strategies. The empty one is StrategyRolling.
const (
	StrategyRolling   StrategyKind = "rolling"
	StrategyBlueGreen StrategyKind = "blue-green" // the old version stays warm until it is let go
	StrategyCanary    StrategyKind = "canary"
)

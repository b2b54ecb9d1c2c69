package edge

import (
	"encoding/json"
	"net/http"
	"slices"

	"landward/internal/cert"
	"landward/internal/landward"
	"landward/internal/route"
)

// maxPair bounds the JSON of a key pair.
const maxPair = 1 << 20

// Pair is a certificate chain and its key, both PEM.
type Pair struct {
	Certificate string `json:"certificate"`
	Key         string `json:"key"`
}

// want says which hosts the table has, to those who have something for each.
// The caller holds put.
func (e *Edge) want(t route.Table) {
	seen := map[string]bool{}
	var hosts []cert.Host
	var names []string
	for _, r := range t.Routes {
		for _, h := range r.Hosts {
			if !seen[h] {
				seen[h] = true
				hosts = append(hosts, cert.Host{Name: h, App: r.App})
				names = append(names, h)
			}
		}
	}
	if e.o.Wildcard != "" && !seen[e.o.Wildcard] {
		hosts = append(hosts, cert.Host{Name: e.o.Wildcard})
	}
	if e.certs != nil {
		e.certs.SetHosts(hosts)
	}
	if e.dns != nil {
		e.dns.SetHosts(names)
	}
}

// wantsTheSame compares what two routes need for their hosts.
func wantsTheSame(a, b *route.Route) bool { return a.App == b.App && slices.Equal(a.Hosts, b.Hosts) }

func (e *Edge) handleCerts(w http.ResponseWriter, _ *http.Request) {
	if e.certs == nil {
		e.answer(w, http.StatusOK, []cert.Status{})
		return
	}
	e.answer(w, http.StatusOK, e.certs.Status())
}

func (e *Edge) handleRoot(w http.ResponseWriter, _ *http.Request) {
	var root []byte
	if e.certs != nil {
		root = e.certs.LocalRoot()
	}
	e.answer(w, http.StatusOK, map[string]string{"root": string(root)})
}

func (e *Edge) handlePutPair(w http.ResponseWriter, r *http.Request) {
	if e.certs == nil {
		e.fail(w, errNoHTTPS())
		return
	}
	var p Pair
	dec := json.NewDecoder(http.MaxBytesReader(w, r.Body, maxPair))
	dec.DisallowUnknownFields()
	if err := dec.Decode(&p); err != nil {
		e.fail(w, landward.Invalid("", "the key pair cannot be read").WithCause(err.Error()))
		return
	}
	status, err := e.certs.PutPair(r.PathValue("host"), []byte(p.Certificate), []byte(p.Key))
	if err != nil {
		e.fail(w, err)
		return
	}
	e.answer(w, http.StatusOK, status)
}

func (e *Edge) handleRemovePair(w http.ResponseWriter, r *http.Request) {
	err := error(errNoHTTPS())
	if e.certs != nil {
		err = e.certs.RemovePair(r.PathValue("host"))
	}
	if err != nil {
		e.fail(w, err)
		return
	}
	e.answer(w, http.StatusOK, struct{}{})
}

func errNoHTTPS() *landward.Error {
	return landward.Errorf(landward.CodeConflict, "the edge does not serve HTTPS").WithHint("give it an address: --https :443")
}

package plane_test

import (
	"fmt"
	"net/http"
	"net/netip"
	"testing"
	"time"

	"landward/internal/route"
	"landward/internal/route/plane"
	"landward/internal/waittest"
)

// TestTrialOfSeveralRoutes: all routes of an app count into one trial, which a
// table without the canary does not end: the next one that has it goes on. A
// later release begins anew.
func TestTrialOfSeveralRoutes(t *testing.T) {
	old := serve(t, func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, "old") })
	web := serve(t, func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, "web") })
	api := serve(t, func(w http.ResponseWriter, _ *http.Request) { http.Error(w, "no", http.StatusBadGateway) })
	canary := func(release int, addr, id string) *route.Canary {
		return &route.Canary{Release: release, Percent: 100,
			Targets: []route.Target{{Addr: netip.MustParseAddrPort(addr), Unit: id + ".1", ID: id}}}
	}
	routes := func(release int) []route.Route {
		site, below := app("shop", old), app("shop", old)
		site.Targets[0].ID, below.Targets[0].ID = "old-web", "old-api"
		below.Prefix = "/api"
		if release > 0 {
			site.Canary, below.Canary = canary(release, web, "new-web"), canary(release, api, "new-api")
		}
		return []route.Route{site, below}
	}
	r := newRig(t, plane.Limits{}, routes(2)...)
	c := r.client(t)
	ask := func(site, api int) {
		t.Helper()
		for i := range site + api {
			path, want := "/", http.StatusOK
			if i >= site {
				path, want = "/api", http.StatusBadGateway
			}
			if code, _ := get(t, c, "http://shop.test"+path); code != want {
				t.Errorf("%s: %d", path, code)
			}
		}
	}
	counted := func(answers, errors uint64) {
		t.Helper()
		waittest.Eventually(t, fmt.Sprintf("%d answers, %d of them errors", answers, errors), func() bool {
			list := r.Snapshot().Canaries
			for _, s := range list {
				got := s.Canary.Counts()
				if got.Answers != answers || got.Errors != errors || got.P95 <= 0 || got.P95 > time.Minute {
					return false
				}
			}
			return len(list) == 2
		})
	}
	ask(10, 5)
	counted(15, 5)
	r.apply(t, 2, routes(0)...)
	r.apply(t, 3, routes(2)...)
	ask(3, 2)
	counted(20, 7)
	r.apply(t, 4, routes(3)...)
	ask(1, 1)
	counted(2, 1)
}

package edge_test

import (
	"encoding/base64"
	"net/http"
	"strings"
	"testing"

	"golang.org/x/crypto/bcrypt"

	"landward/internal/landward"
	"landward/internal/route"
)

// protected runs an edge with an app that is open but for what is below /admin,
// and returns the two that answer.
func protected(t *testing.T) (r *running, open, secret *witness) {
	t.Helper()
	hash, err := bcrypt.GenerateFromPassword([]byte("open"), bcrypt.MinCost)
	if err != nil {
		t.Fatal(err)
	}
	r, open, secret = besieged(t, withHTTP3), newWitness(t), newWitness(t)
	hosts := []string{"shop.test", "xn--bcher-kva.test"}
	rest, admin := shop(open.addr, hosts...), shop(secret.addr, hosts...)
	admin.Prefix = "/admin"
	admin.Auth.Basic = []landward.BasicUser{{Name: "alice", Hash: string(hash)}}
	r.apply(t, rest, admin)
	return r, open, secret
}

// guardedPaths are ways to write a path that some server takes for one below
// /admin. Each gets a 401 or, where nobody can say what it means, a 400.
var guardedPaths = []string{
	"/admin", "/admin/", "/admin/x", "/admin?x", "/admin/?x=/..", "/admin//", "/admin/../admin/x",
	"//admin", "///admin/x", "/./admin", "/.//admin", "/x/../admin", "/x/y/../../admin", "/../admin", "/../../admin/x",
	"/%61dmin", "/%61%64%6d%69%6e", "/%61DMIN/../admin", "/a%64min/x",
	"/%2e/admin", "/%2E/admin", "/x/%2e%2e/admin", "/x/%2E%2E/admin", "/x/.%2e/admin", "/x/%2e./admin", "/%2e%2e/admin",
	"/x/%252e%252e/admin", "/x/%25252e/../admin", "/%2561dmin", "/x/..%2fadmin", "/x/..%2Fadmin", "/x/%2e%2e%2fadmin", "/x%2f..%2fadmin",
	"/%2fadmin", "/%2f%2fadmin", "/admin%2fx", "/admin%2Fx", "/admin%252fx", "/x/..%252fadmin",
	"/admin\\x", "/\\admin", "\\admin", "/x\\..\\admin", "/x/..\\admin", "/admin%5cx", "/%5cadmin", "/x/..%5cadmin", "/x%5c..%5cadmin", "/x/..%255cadmin",
	"/admin;x", "/admin;", "/admin;x=y/z", "/admin;jsessionid=1", "/;/admin", "/;x/admin", "/x;/../admin", "/x/..;/admin", "/x/..;x=y/admin", "/x/%2e%2e;/admin",
	"/admin%3bx", "/admin%3Bx", "/admin%253bx", "/x/..%3b/admin", "/admin%3fx", "/admin%3Fx", "/admin%23x", "/admin#x",
	"/admin%00", "/admin%00x", "/%00/admin", "/admin%0a", "/admin%0d%0aX:y", "/admin%09", "/admin%7f", "/admin%", "/admin%zz", "/%u0061dmin", "/admin/%2e%2e%2fadmin",
}

// openPaths are below no path of /admin for anybody, and stay the open app's.
var openPaths = []string{
	"/", "/x", "/administrator", "/admi", "/x/admin", "/x?/admin", "/x?y=/../admin", "/x?%2e%2e/admin", "/ADMIN", "/%41dmin", "/admin.", "/admin%20", "/admin-x",
	"/x%20y", "/caf%c3%a9", "/a;b", "/a//b", "/a%2fb",
}

// TestProtectedPath (Traefik CVE-2026-47952, 66490, 48020, 40912; Caddy
// CVE-2026-27587, 27588): what is protected stays so, however its path is
// written, and what is not stays open.
func TestProtectedPath(t *testing.T) {
	r, open, secret := protected(t)
	guarded := func(t *testing.T, path string, status int) {
		t.Helper()
		if status != http.StatusUnauthorized && status != http.StatusBadRequest {
			t.Errorf("%s: %d", path, status)
		}
		if secret.count() > 0 {
			t.Fatalf("%s: has got in as %q", path, secret.last(t))
		}
		if open.count() > 0 {
			t.Fatalf("%s: the open app got %q", path, open.last(t))
		}
	}
	for _, server := range []string{"", "shop.test"} {
		for _, path := range guardedPaths {
			for _, target := range []string{path, "http://shop.test" + path} {
				resp, _ := r.says(t, server, "GET "+target+" HTTP/1.1\r\nHost: shop.test\r\n\r\n")
				guarded(t, target, resp.StatusCode)
			}
		}
	}
	r.each(t, "shop.test", func(t *testing.T, proto string, c *http.Client) {
		for _, path := range guardedPaths {
			if strings.HasPrefix(path, "//") || path[0] != '/' {
				continue // this client would make another target of it
			}
			status, _, err := send(t, c, http.MethodGet, "shop.test", path, nil, nil)
			switch {
			case err != nil && proto == "HTTP/1.1":
				t.Errorf("%s: %v", path, err)
			case err != nil: // the stream was reset: it is malformed
			default:
				guarded(t, path, status)
			}
		}
	})
	for _, path := range openPaths {
		if resp, body := r.says(t, "", "GET "+path+" HTTP/1.1\r\nHost: shop.test\r\n\r\n"); resp.StatusCode != 200 || body != "GET "+path {
			t.Errorf("%s: %s %q", path, resp.Status, body)
		}
	}
	auth := "Authorization: Basic " + base64.StdEncoding.EncodeToString([]byte("alice:open")) + "\r\n"
	if resp, body := r.says(t, "", "GET /admin/x HTTP/1.1\r\nHost: shop.test\r\n"+auth+"\r\n"); resp.StatusCode != 200 || body != "GET /admin/x" {
		t.Errorf("who may come in: %s %q", resp.Status, body)
	}
	if resp, _ := r.says(t, "", "GET /admin/x HTTP/1.1\r\nHost: shop.test\r\n"+auth+auth+"\r\n"); resp.StatusCode != 400 {
		t.Errorf("two credentials: %s", resp.Status)
	}
	if secret.count() != 1 {
		t.Errorf("%d requests got in", secret.count())
	}
}

// TestProtectedHost: nor does it matter how the host is written.
func TestProtectedHost(t *testing.T) {
	r, open, secret := protected(t)
	for host, want := range map[string]int{
		"shop.test": 401, "SHOP.TEST": 401, "Shop.Test": 401, "shop.test.": 401, "SHOP.test.": 401, "shop.test:80": 401, "shop.test:443": 401,
		"shop.test.:8080": 401, "sHoP.tEsT.:1": 401, "xn--bcher-kva.test": 401, "XN--BCHER-KVA.TEST": 401, "xn--BCHER-kva.test.:80": 401,
		"b\xc3\xbccher.test": 400, "shop.test..": 400, ".shop.test": 400, "shop..test": 400, "shop.test:": 400, "shop.test:x": 400, "shop.test:80:80": 400,
		"shop.test%2e": 400, "shop%2etest": 400, "shop.test/": 400, "shop.test\\": 400, "user@shop.test": 400, "shop.test,": 400, "shop.test;": 400,
		"shop.test\xe3\x80\x82": 400, "shop\xef\xbc\x8etest": 400, "[shop.test]": 400, "`shop.test`": 400, "shop.test`) || PathPrefix(`/": 400,
		"*.test": 400, "x.shop.test": 404, "shop_test": 404, "test": 404, "shop.test.other.test": 404, "xn--shop-test": 404,
	} {
		for _, server := range []string{"", "shop.test"} {
			switch {
			case server != "" && want == 404:
				continue // TestMisdirected
			case server != "" && strings.HasPrefix(strings.ToLower(host), "xn--b"):
				server = "xn--bcher-kva.test"
			}
			for _, path := range []string{"/admin", "/x/%2e%2e/admin"} {
				resp, _ := r.says(t, server, "GET "+path+" HTTP/1.1\r\nHost: "+host+"\r\n\r\n")
				ok := resp.StatusCode == want || want == 401 && resp.StatusCode == 400 && path != "/admin" ||
					server != "" && want == 400 && resp.StatusCode == 421 || want == 400 && resp.StatusCode == 404
				if !ok || secret.count()+open.count() > 0 {
					t.Errorf("%q%s: %d, want %d; %d got in", host, path, resp.StatusCode, want, secret.count()+open.count())
				}
			}
		}
	}
}

// TestHostIsNoRule (Traefik CVE-2026-29777, 32695): a host is a key and never a
// part of a language. A table with another host is refused whole, and the one in
// use stays.
func TestHostIsNoRule(t *testing.T) {
	r := besieged(t, nil)
	w := newWitness(t)
	r.apply(t, shop(w.addr))
	for _, host := range []string{"a`b.test", "a`) || Host(`b.test", "a.test b.test", "a.test,b.test", "A.test", "a.test.", "a.test:80", "a..test", "", ".", "*", "*.*.test",
		"a.*.test", "a*.test", "b\xc3\xbccher.test", "a/b", "a\r\nHost: b", "a\x00b", "{a}.test", "a(b).test", "[::1]", "a_b\"c.test", strings.Repeat("a", 64) + ".test"} {
		bad := shop(w.addr, "good.test", host)
		st, err := r.Status(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		err = r.PutTable(t.Context(), route.Table{Generation: st.Generation + 1, Routes: []*route.Route{bad}})
		if landward.CodeOf(err) != landward.CodeInvalid {
			t.Errorf("%q: %v", host, err)
		}
	}
	if resp, body := r.says(t, "", "GET /a HTTP/1.1\r\nHost: shop.test\r\n\r\n"); resp.StatusCode != 200 || body != "GET /a" {
		t.Errorf("the table in use: %s %q", resp.Status, body)
	}
}

package wiretest

import "landward/internal/route/wire"

func hosts() []Request {
	head := "GET /a HTTP/1.1\r\n"
	all := []Request{
		passed("host with a port", head+"Host: shop.test:80\r\n\r\n", "GET /a "),
		passed("host in capitals", head+"Host: SHOP.Test\r\n\r\n", "GET /a "),
		passed("host with a final dot", head+"Host: shop.test.\r\n\r\n", "GET /a "),
		refused("no host", head+end, wire.ErrHost),
		refused("two hosts", head+"Host: shop.test\r\nHost: other.test\r\n\r\n", wire.ErrHost),
		refused("two equal hosts", head+"Host: shop.test\r\nHost: shop.test\r\n\r\n", wire.ErrHost),
		refused("two hosts, one folded", head+"Host: shop.test\r\n Host: other.test\r\n\r\n", wire.ErrFold),
		refused("host with a space before the colon", head+"Host : shop.test\r\n\r\n", wire.ErrFieldName),
		{Name: "HTTP/1.0 without a host", Raw: "GET /a HTTP/1.0\r\n\r\n" + Next, Status: 404, Ends: true},
	}
	for _, v := range []string{"", "shop.test/a", "user@shop.test", "user:pw@shop.test", "shop.test@other.test", "shop.test, other.test",
		"shop.test other.test", "shop.test#a", "shop.test?a", "shop.test\\a", "shop`.test", "shop\".test", "shop'.test", "shop%2etest", "sh\xc3\xb6p.test",
		"shop.test:", "shop.test:0", "shop.test:+80", "shop.test:-1", "shop.test:80a", "shop.test:80:80", "shop.test:65536", "shop.test:000080",
		":80", "[::1", "::1", "[]", "[gg::]", "[:::::::::]", "[1.2.3.4]", "[::1]x", "[::1%25eth0]", "{shop.test}", "*", "shop.test;a", "$(id)"} {
		all = append(all, refused("host "+v, head+"Host: "+v+"\r\n\r\n", wire.ErrHost))
	}
	return all
}

func targets() []Request {
	all := []Request{
		passed("absolute", "GET http://shop.test/a HTTP/1.1\r\nHost: shop.test\r\n\r\n", "GET /a "),
		passed("absolute in capitals", "GET HTTP://SHOP.test/a HTTP/1.1\r\nHost: shop.TEST\r\n\r\n", "GET /a "),
		passed("a path that looks like a host", "GET //other.test/a HTTP/1.1\r\nHost: shop.test\r\n\r\n", "GET //other.test/a "),
		passed("a query like a request", "GET /a?x=%0d%0aGET%20/b HTTP/1.1\r\nHost: shop.test\r\n\r\n", "GET /a?x=%0d%0aGET%20/b "),
		refused("absolute, another host", "GET http://other.test/a HTTP/1.1\r\nHost: shop.test\r\n\r\n", wire.ErrHostMismatch),
		refused("absolute, another port", "GET http://shop.test:81/a HTTP/1.1\r\nHost: shop.test\r\n\r\n", wire.ErrHostMismatch),
		refused("absolute, a user", "GET http://u@shop.test/a HTTP/1.1\r\nHost: shop.test\r\n\r\n", wire.ErrHostMismatch),
		refused("absolute, no host", "GET http://shop.test/a HTTP/1.1\r\n\r\n", wire.ErrHost),
		refused("absolute, an empty host", "GET http:///a HTTP/1.1\r\nHost: shop.test\r\n\r\n", wire.ErrHostMismatch),
		refused("absolute, no path", "GET http://shop.test HTTP/1.1\r\nHost: shop.test\r\n\r\n", wire.ErrTarget),
		refused("absolute, a query alone", "GET http://shop.test?a=/b HTTP/1.1\r\nHost: shop.test\r\n\r\n", wire.ErrHostMismatch),
	}
	for _, v := range []string{"a", "ftp://shop.test/a", "//", "/a#b", "/a%", "/a%2", "/a%zz", "/a\x00", "/a\x7f", "*", "shop.test:80", "javascript:/a", "?a", "\\a"} {
		if v == "//" {
			all = append(all, passed("target //", "GET // HTTP/1.1\r\nHost: shop.test\r\n\r\n", "GET // "))
			continue
		}
		all = append(all, refused("target "+v, "GET "+v+" HTTP/1.1\r\nHost: shop.test\r\n\r\n", wire.ErrTarget))
	}
	return append(all, refused("a space in the target", "GET /a b HTTP/1.1\r\nHost: shop.test\r\n\r\n", wire.ErrRequestLine))
}

func methods() []Request {
	websocket := "Connection: Upgrade\r\nUpgrade: websocket\r\n"
	return []Request{
		refused("CONNECT", "CONNECT shop.test:443 HTTP/1.1\r\nHost: shop.test:443\r\n\r\n", wire.ErrMethod),
		refused("CONNECT to a path", "CONNECT /a HTTP/1.1\r\nHost: shop.test\r\n\r\n", wire.ErrMethod),
		refused("CONNECT with a body", "CONNECT shop.test:443 HTTP/1.1\r\nHost: shop.test\r\n"+cl5+end+"hello", wire.ErrMethod),
		refused("TRACE", "TRACE /a HTTP/1.1\r\nHost: shop.test\r\n\r\n", wire.ErrMethod),
		refused("TRACK", "TRACK /a HTTP/1.1\r\nHost: shop.test\r\n\r\n", wire.ErrMethod),
		refused("a method that is none", "G{T /a HTTP/1.1\r\nHost: shop.test\r\n\r\n", wire.ErrRequestLine),
		refused("no method", " /a HTTP/1.1\r\nHost: shop.test\r\n\r\n", wire.ErrRequestLine),
		refused("a long method", "GETGETGETGETGETGETGETGETGETGETGETGET /a HTTP/1.1\r\nHost: shop.test\r\n\r\n", wire.ErrRequestLine),
		passed("OPTIONS of all", "OPTIONS * HTTP/1.1\r\nHost: shop.test\r\n\r\n", "OPTIONS * "),
		passed("HEAD", "HEAD /a HTTP/1.1\r\nHost: shop.test\r\n\r\n", "HEAD /a "),
		passed("HEAD with a body", "HEAD /a HTTP/1.1\r\nHost: shop.test\r\n"+cl5+end+"hello", "HEAD /a hello"),
		passed("a method of one's own", "PURGE /a HTTP/1.1\r\nHost: shop.test\r\n\r\n", "PURGE /a "),
		passed("a method in small letters", "get /a HTTP/1.1\r\nHost: shop.test\r\n\r\n", "get /a "),
		passed("upgrade with a body", post+websocket+cl5+end+"hello", "POST /a hello"),
		passed("upgrade with a chunked body", post+websocket+te+end+"5\r\nhello\r\n"+last, "POST /a hello"),
		passed("upgrade to h2c", get+"Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABkAARAAAAAAAIAAAAA\r\n"+end, "GET /a "),
		passed("upgrade to TLS", get+"Connection: Upgrade\r\nUpgrade: TLS/1.0\r\n"+end, "GET /a "),
		passed("upgrade that Connection does not name", get+"Upgrade: websocket\r\n"+end, "GET /a "),
		refused("two upgrades", get+websocket+"Upgrade: h2c\r\n"+end, wire.ErrConnection),
		passed("expect with a body at once", post+cl5+"Expect: 100-continue\r\n"+end+"hello", "POST /a hello"),
		passed("expect without a body", get+"Expect: 100-Continue\r\n"+end, "GET /a "),
		refused("another expectation", post+cl5+"Expect: 200-ok\r\n"+end+"hello", wire.ErrExpect),
		refused("two expectations", post+cl5+"Expect: 100-continue\r\nExpect: 100-continue\r\n"+end+"hello", wire.ErrExpect),
		refused("expectation with a tail", post+cl5+"Expect: 100-continue, x\r\n"+end+"hello", wire.ErrExpect),
		refused("Connection that is no list", get+"Connection: a b\r\n"+end, wire.ErrConnection),
	}
}

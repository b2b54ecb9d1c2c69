package main

import (
	"os"
	"testing"
	"time"
)

func TestParseWrk(t *testing.T) {
	m, err := parseWrk(`Running 4s test @ http://127.0.0.1:1/
  Latency Distribution
     50%    1.00ms
     99%    2.50ms
  198765 requests in 4.00s, 240.00MB read
  Socket errors: connect 1, read 2, write 3, timeout 4
  Non-2xx or 3xx responses: 5
Requests/sec:  49691.25
`)
	if err != nil || m != (measured{requests: 198765, rps: 49691.25, p99: 2500 * time.Microsecond, wrong: 15}) {
		t.Errorf("%+v %v", m, err)
	}
	if _, err := parseWrk("unable to connect"); err == nil {
		t.Error("nonsense is taken for a measurement")
	}
}

func TestCPUTime(t *testing.T) {
	before, err := cpuTime(os.Getpid())
	if err != nil {
		t.Fatal(err)
	}
	for end := time.Now().Add(200 * time.Millisecond); time.Now().Before(end); {
		before += 0 // burn
	}
	after, err := cpuTime(os.Getpid())
	if err != nil || after <= before {
		t.Errorf("%v then %v, %v", before, after, err)
	}
	if residentBytes(os.Getpid()) < 1<<20 {
		t.Error("no memory in use")
	}
}

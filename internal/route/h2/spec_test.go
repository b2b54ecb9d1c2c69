package h2_test

import (
	"context"
	"encoding/xml"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"landward/internal/route/h2"
)

// h2spec finds the conformance suite. Where it is missing the test is skipped,
// but never in CI.
func h2spec(t *testing.T) string {
	t.Helper()
	if p := os.Getenv("LANDWARD_TEST_H2SPEC"); p != "" {
		return p
	}
	if p := filepath.Join("..", "..", "..", "bin", "tools", "h2spec"); isFile(p) {
		return p
	}
	if p, err := exec.LookPath("h2spec"); err == nil {
		return p
	}
	if os.Getenv("CI") != "" {
		t.Fatal("no h2spec: scripts/setup test installs it")
	}
	t.Skip("no h2spec: scripts/setup test installs it")
	return ""
}

func isFile(name string) bool {
	info, err := os.Stat(name)
	return err == nil && info.Mode().IsRegular()
}

// report is the JUnit report that h2spec writes.
type report struct {
	Suites []struct {
		Name  string `xml:"name,attr"`
		ID    string `xml:"id,attr"`
		Cases []struct {
			Name    string    `xml:"classname,attr"`
			Failure *struct{} `xml:"failure"`
			Error   *struct{} `xml:"error"`
			Skipped *struct{} `xml:"skipped"`
		} `xml:"testcase"`
	} `xml:"testsuite"`
}

// TestConformance holds that every case of h2spec passes, in clear text and
// over TLS.
func TestConformance(t *testing.T) {
	bin := h2spec(t)
	both := map[string][]string{"h2c": nil, "tls": {"-t", "-k"}}
	for name, flags := range both {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := newRig(t, h2.Limits{}, name == "tls")
			host, port, err := net.SplitHostPort(r.addr)
			if err != nil {
				t.Fatal(err)
			}
			ctx, cancel := context.WithTimeout(context.Background(), 5*time.Minute)
			defer cancel()
			out := filepath.Join(t.TempDir(), "report.xml")
			args := append([]string{"-h", host, "-p", port, "-P", "/hello?a-longer-body", "-o", "2", "-j", out, "--strict"}, flags...)
			said, runErr := exec.CommandContext(ctx, bin, args...).CombinedOutput()
			b, err := os.ReadFile(out)
			if err != nil {
				t.Fatalf("no report: %v, %v\n%s", err, runErr, said)
			}
			var rep report
			if err := xml.Unmarshal(b, &rep); err != nil {
				t.Fatal(err)
			}
			cases := 0
			for _, s := range rep.Suites {
				for _, c := range s.Cases {
					cases++
					if c.Failure != nil || c.Error != nil || c.Skipped != nil {
						t.Errorf("%s: %s: %s", s.ID, s.Name, c.Name)
					}
				}
			}
			if cases < 140 {
				t.Errorf("only %d cases", cases)
			}
			if t.Failed() {
				t.Logf("%s", said)
			}
		})
	}
}

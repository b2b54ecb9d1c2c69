package main

import (
	"bytes"
	"strings"
	"testing"
)

func TestTally(t *testing.T) {
	tests := []struct {
		name           string
		events         string
		passed, failed int
		shows, hides   string
	}{
		{
			name: "passed, skipped and sub-tests",
			events: `{"Action":"output","Package":"landward/p","Test":"TestA","Output":"noise\n"}
{"Action":"pass","Package":"landward/p","Test":"TestA/one","Elapsed":0.1}
{"Action":"pass","Package":"landward/p","Test":"TestA","Elapsed":0.1}
{"Action":"skip","Package":"landward/p","Test":"TestB","Elapsed":0}
{"Action":"pass","Package":"landward/p","Elapsed":0.5}`,
			passed: 2, failed: 0, shows: "skipped p TestB\n2 passed, 0 failed\n", hides: "noise",
		},
		{
			name: "a failed test shows its output",
			events: `{"Action":"output","Package":"landward/p","Test":"TestA","Output":"want 1, got 2\n"}
{"Action":"fail","Package":"landward/p","Test":"TestA","Elapsed":0.1}
{"Action":"fail","Package":"landward/p","Elapsed":0.5}`,
			passed: 0, failed: 1, shows: "want 1, got 2\n",
		},
		{
			name: "a package that does not compile counts once",
			events: `{"Action":"build-output","ImportPath":"landward/p [landward/p.test]","Output":"undefined: x\n"}
{"Action":"build-fail","ImportPath":"landward/p [landward/p.test]"}
{"Action":"fail","Package":"landward/p","Elapsed":0,"FailedBuild":"landward/p [landward/p.test]"}`,
			passed: 0, failed: 1, shows: "undefined: x\n",
		},
		{
			name: "a panic in a test that never ended",
			events: `{"Action":"output","Package":"landward/p","Test":"TestA","Output":"panic: gone\n"}
{"Action":"fail","Package":"landward/p","Elapsed":0.1}`,
			passed: 0, failed: 1, shows: "panic: gone\n",
		},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			var got tally
			var out bytes.Buffer
			if err := got.read(strings.NewReader(tt.events), &out); err != nil {
				t.Fatal(err)
			}
			got.close(&out)
			if got.passed != tt.passed || got.failed != tt.failed {
				t.Errorf("%d passed, %d failed; want %d and %d", got.passed, got.failed, tt.passed, tt.failed)
			}
			if !strings.Contains(out.String(), tt.shows) {
				t.Errorf("output lacks %q:\n%s", tt.shows, &out)
			}
			if tt.hides != "" && strings.Contains(out.String(), tt.hides) {
				t.Errorf("output has %q:\n%s", tt.hides, &out)
			}
		})
	}
}

func TestTallyRefusesWhatIsNoEvent(t *testing.T) {
	var got tally
	if err := got.read(strings.NewReader("not json\n"), &bytes.Buffer{}); err == nil {
		t.Error("no error for a line that is no event")
	}
}

package api_test

import (
	"bytes"
	"context"
	"errors"
	"net/http"
	"slices"
	"strings"
	"testing"

	"github.com/coder/websocket"
	"go.uber.org/goleak"

	"landward/client"
	"landward/internal/waittest"
)

func TestCommands(t *testing.T) {
	e := newEnv(t)
	c := e.client(owner)
	for name, tc := range map[string]struct {
		run         func(context.Context, string, client.Start, client.Attach) (int, error)
		start       client.Start
		stdin       string
		out, stderr string
		exit        int
	}{
		"stdin and exit code": {c.Exec, client.Start{Command: []string{"cat"}}, "hello\x00\xff", "hello\x00\xff", "", 3},
		"large input":         {c.Exec, client.Start{Command: []string{"cat"}}, strings.Repeat("y", 1<<20), strings.Repeat("y", 1<<20), "", 3},
		"large output":        {c.Exec, client.Start{Command: []string{"big"}}, "", strings.Repeat("x", 1<<20), "", 0},
		"both outputs":        {c.Exec, client.Start{Command: []string{"both"}}, "", "web-1 out", "err", 0},
		"a unit":              {c.Exec, client.Start{Unit: "clock.1", Command: []string{"both"}}, "", "clock-1 out", "err", 0},
		"a new container":     {c.Run, client.Start{Command: []string{"both"}}, "", "new out", "err", 0},
		"a terminal":          {c.Exec, client.Start{Command: []string{"size"}, TTY: true, Size: client.TermSize{Width: 80, Height: 24}}, "", "\x50\x18", "", 0},
	} {
		var out, stderr bytes.Buffer
		exit, err := tc.run(t.Context(), "shop", tc.start, client.Attach{Stdin: strings.NewReader(tc.stdin), Stdout: &out, Stderr: &stderr})
		if err != nil || exit != tc.exit || out.String() != tc.out || stderr.String() != tc.stderr {
			t.Errorf("%s: exit %d, error %v, %d bytes out %.40q, stderr %q", name, exit, err, out.Len(), out.String(), stderr.String())
		}
	}
}

func TestATerminalIsResized(t *testing.T) {
	e := newEnv(t)
	sizes := make(chan client.TermSize, 1)
	sizes <- client.TermSize{Width: 100, Height: 50}
	var out bytes.Buffer
	_, err := e.client(owner).Exec(t.Context(), "shop", client.Start{Command: []string{"size"}, TTY: true}, client.Attach{Stdout: &out, Resize: sizes})
	if err != nil || out.String() != "\x64\x32" {
		t.Errorf("size %q, error %v", out.String(), err)
	}
}

func TestCommandsThatFail(t *testing.T) {
	e := newEnv(t)
	c := e.client(owner)
	for name, tc := range map[string]struct {
		app   string
		start client.Start
		code  string
	}{
		"no such program": {"shop", client.Start{Command: []string{"nope"}}, client.CodeFailed},
		"no command":      {"shop", client.Start{}, client.CodeInvalid},
		"empty command":   {"shop", client.Start{Command: []string{""}}, client.CodeInvalid},
		"NUL":             {"shop", client.Start{Command: []string{"cat", "a\x00b"}}, client.CodeInvalid},
		"too long":        {"shop", client.Start{Command: []string{strings.Repeat("a", 40<<10)}}, client.CodeInvalid},
		"no such unit":    {"shop", client.Start{Unit: "web.9", Command: []string{"cat"}}, client.CodeNotFound},
		"a stopped unit":  {"shop", client.Start{Unit: "worker.1", Command: []string{"cat"}}, client.CodeNotFound},
		"foreign unit":    {"other", client.Start{Command: []string{"cat"}}, client.CodeNotFound},
	} {
		_, err := c.Exec(t.Context(), tc.app, tc.start, client.Attach{})
		if client.CodeOf(err) != tc.code {
			t.Errorf("%s: %v", name, err)
		}
	}
	if _, err := c.Run(t.Context(), "shop", client.Start{Unit: "web.1", Command: []string{"cat"}}, client.Attach{}); client.CodeOf(err) != client.CodeInvalid {
		t.Errorf("run in a unit: %v", err)
	}
	if _, err := e.client(deployer).Exec(t.Context(), "shop", client.Start{Command: []string{"cat"}}, client.Attach{}); client.CodeOf(err) != client.CodeForbidden {
		t.Errorf("a deployer runs commands: %v", err)
	}
	if got := []string{"web-1", "nope"}; len(e.units.started) != 1 || !slices.Equal(e.units.started[0], got) {
		t.Errorf("started %q", e.units.started)
	}
}

func TestACommandEndsWithItsCaller(t *testing.T) {
	e := newEnv(t)
	before := goleak.IgnoreCurrent()
	ctx, cancel := context.WithCancel(t.Context())
	c := e.client(owner)
	ended := make(chan error)
	go func() {
		_, err := c.Exec(ctx, "shop", client.Start{Command: []string{"wait"}}, client.Attach{})
		ended <- err
	}()
	<-e.units.entered
	cancel()
	if err := <-ended; !errors.Is(err, context.Canceled) {
		t.Errorf("the caller gets %v", err)
	}
	c.Close()
	waittest.Eventually(t, "the command to end", func() bool { return strings.Contains(e.log.String(), "/exec") })
	e.server.Close()
	if err := goleak.Find(before); err != nil {
		t.Errorf("something is left: %v", err)
	}
}

func TestACommandArrivesAsItIs(t *testing.T) {
	e := newEnv(t)
	argv := append([]string{"both"}, payloads("/tmp/none")...)
	argv = slices.DeleteFunc(argv, func(s string) bool { return strings.ContainsRune(s, 0) })
	if _, err := e.client(owner).Run(t.Context(), "shop", client.Start{Command: argv}, client.Attach{}); err != nil {
		t.Fatal(err)
	}
	if got := e.units.started[0][1:]; !slices.Equal(got, argv) {
		t.Errorf("started %q, want %q", got, argv)
	}
}

func TestBadFrames(t *testing.T) {
	e := newEnv(t)
	for name, tc := range map[string]struct {
		kind websocket.MessageType
		msgs []string
		code string
	}{
		"binary first":   {websocket.MessageBinary, []string{`{"command":["cat"]}`}, "invalid"},
		"no JSON":        {websocket.MessageText, []string{`ls -l`}, "invalid"},
		"unknown field":  {websocket.MessageText, []string{`{"command":["cat"],"user":"root"}`}, "invalid"},
		"text afterward": {websocket.MessageText, []string{`{"command":["wait"]}`, "hello"}, "invalid"},
	} {
		conn, _, err := websocket.Dial(t.Context(), e.server.URL+"/api/v1/apps/shop/exec", &websocket.DialOptions{
			HTTPHeader: http.Header{"Authorization": {"Bearer " + e.tokens[owner]}},
		})
		check(t, err)
		for _, msg := range tc.msgs {
			check(t, conn.Write(t.Context(), tc.kind, []byte(msg)))
		}
		_, answer, err := conn.Read(t.Context())
		if err != nil || answer[0] != client.ChannelError || !bytes.Contains(answer, []byte(`"code":"`+tc.code+`"`)) {
			t.Errorf("%s: answer %q, error %v", name, answer, err)
		}
		_ = conn.CloseNow()
	}
}

func TestAnotherSiteCannotOpenAWebSocket(t *testing.T) {
	e := newEnv(t)
	_, resp, err := websocket.Dial(t.Context(), e.server.URL+"/api/v1/apps/shop/exec", &websocket.DialOptions{
		HTTPHeader: http.Header{"Authorization": {"Bearer " + e.tokens[owner]}, "Origin": {"https://evil.example"}},
	})
	if err == nil || resp == nil || resp.StatusCode != http.StatusForbidden {
		t.Errorf("answer %v, error %v", resp, err)
	}
	if len(e.units.started) != 0 {
		t.Errorf("started %q", e.units.started)
	}
}

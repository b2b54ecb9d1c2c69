package git

import (
	"encoding/json"
	"fmt"
	"io"
	"net"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"landward/internal/source"
)

// HookName is the name that our own binary is started under when git runs it as
// the hook: main calls HookMain where IsHook(os.Args[0]).
const HookName = "pre-receive"

// IsHook reports whether a program started as arg0 is the hook.
func IsHook(arg0 string) bool { return filepath.Base(arg0) == HookName }

// The variables that a receive-pack which we started hands to its hook: where to
// ask, and the one-time id that says for which push.
const (
	HookSocketVar = "LANDWARD_HOOK_SOCKET"
	HookPushVar   = "LANDWARD_PUSH_ID"
)

const (
	maxHookInput   = 1 << 20 // bytes of ref lines, and of the whole question
	maxPushOptions = 100
)

// question is what the hook asks, one line of JSON.
type question struct {
	ID         string             `json:"id"`
	Refs       []source.RefUpdate `json:"refs"`
	Options    []string           `json:"options,omitempty"`
	Quarantine string             `json:"quarantine,omitempty"`
}

// answer is one of many: lines for the pusher, then the verdict. One line of
// JSON each.
type answer struct {
	Line string `json:"line,omitempty"`
	Done bool   `json:"done,omitempty"`
	OK   bool   `json:"ok,omitempty"`
}

// HookMain is the pre-receive hook. It hands what git asks to the running
// Landward, shows the pusher each line as it comes, and returns the exit code:
// 0 lets every ref move, 1 declines the push. env looks up a variable.
func HookMain(stdin io.Reader, stdout, stderr io.Writer, env func(string) string) int {
	q, err := readQuestion(stdin, env)
	if err != nil {
		complain(stderr, err.Error())
		return 1
	}
	conn, err := net.DialTimeout("unix", env(HookSocketVar), 5*time.Second)
	if err != nil {
		complain(stderr, "Landward is not running, so this push cannot be deployed.",
			"What served before goes on. Push again when Landward is back.")
		return 1
	}
	defer func() { _ = conn.Close() }()
	if err := json.NewEncoder(conn).Encode(q); err != nil {
		complain(stderr, "Landward does not listen: "+err.Error())
		return 1
	}
	return showAnswers(conn, stdout, stderr)
}

func showAnswers(conn io.Reader, stdout, stderr io.Writer) int {
	dec := json.NewDecoder(conn)
	for {
		var a answer
		if err := dec.Decode(&a); err != nil {
			complain(stderr, "Landward stopped while it worked on this push.",
				"What serves now goes on. See `landward deploys`, then push again.")
			return 1
		}
		switch {
		case !a.Done:
			_, _ = fmt.Fprintln(stdout, a.Line) // a pusher who is gone changes nothing
		case a.OK:
			return 0
		default:
			return 1
		}
	}
}

func readQuestion(stdin io.Reader, env func(string) string) (question, error) {
	q := question{ID: env(HookPushVar), Quarantine: env("GIT_QUARANTINE_PATH")}
	if q.ID == "" || env(HookSocketVar) == "" {
		return q, fmt.Errorf("this hook works only in a push that Landward serves")
	}
	text, err := io.ReadAll(io.LimitReader(stdin, maxHookInput+1))
	if err != nil {
		return q, fmt.Errorf("read ref updates: %w", err)
	}
	if len(text) > maxHookInput {
		return q, fmt.Errorf("the push has too many refs: push fewer branches and tags at once")
	}
	for line := range strings.Lines(string(text)) {
		f := strings.SplitN(strings.TrimSuffix(line, "\n"), " ", 3)
		if len(f) != 3 {
			return q, fmt.Errorf("git sent a line that is not a ref update")
		}
		q.Refs = append(q.Refs, source.RefUpdate{Old: f[0], New: f[1], Name: f[2]})
	}
	n, err := strconv.Atoi(env("GIT_PUSH_OPTION_COUNT"))
	if err != nil {
		n = 0 // the client sent none
	}
	if n > maxPushOptions {
		return q, fmt.Errorf("the push has more than %d options", maxPushOptions)
	}
	for i := range n {
		q.Options = append(q.Options, env("GIT_PUSH_OPTION_"+strconv.Itoa(i)))
	}
	return q, nil
}

// complain writes lines in the style that users know from push output.
func complain(w io.Writer, lines ...string) {
	for _, line := range lines {
		_, _ = fmt.Fprintln(w, errorMark+line) // nobody left to tell
	}
}

const errorMark = " !     "

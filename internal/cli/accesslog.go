package cli

import (
	"context"
	"fmt"
	"regexp"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/spf13/cobra"

	"landward/client"
)

// The formats of an access log.
const (
	formatCombined = "combined"
	formatJSON     = "json"
)

var statusWanted = regexp.MustCompile(`^[1-5]([0-9][0-9]|xx)$`)

type accessLogOptions struct {
	follow bool
	num    int
	since  string
	status string
	format string
}

func (o *accessLogOptions) flags(cmd *cobra.Command) {
	flags := cmd.Flags()
	flags.BoolVarP(&o.follow, "follow", "f", false, "wait for more requests")
	flags.IntVarP(&o.num, "num", "n", 100, "how many lines to begin with; 0 for all that are kept")
	flags.StringVar(&o.since, "since", "", "only requests of this age or younger (10m, 2h), or since a `TIME` in RFC 3339")
	flags.StringVar(&o.status, "status", "", "only answers with this `STATUS` (404) or of this class (5xx)")
	flags.StringVar(&o.format, "format", formatCombined, "combined or json; --json is the same as json")
}

func (o *accessLogOptions) query(now time.Time) (client.AccessQuery, error) {
	q := client.AccessQuery{Follow: o.follow, Tail: o.num, Status: strings.ToLower(o.status)}
	switch {
	case o.num < 0:
		return q, usagef("--num cannot be below zero")
	case q.Status != "" && !statusWanted.MatchString(q.Status):
		return q, usagef("%q is not a status", clean(o.status)).hint("write it like 404, or 5xx for all of that class")
	case o.format != formatCombined && o.format != formatJSON:
		return q, usagef("%q is not a format", clean(o.format)).hint("combined or json")
	}
	if o.since == "" {
		return q, nil
	}
	var err error
	q.Since, err = parseSince(o.since, now)
	return q, err
}

func newAccessLog(f *factory) *cobra.Command {
	o := &accessLogOptions{}
	cmd := &cobra.Command{
		Use:     "access-log",
		Aliases: []string{"requests"},
		Short:   "Show the requests that came for the app",
		Long: `Shows the latest requests, one a line, in the order in which they ended, with
-f also those to come. The format combined is that of other web servers; times
are UTC.`,
		Example: `  landward access-log -f
  landward access-log --since 1h --status 5xx
  landward access-log -n 0 --format json | jq .ms`,
		Args: none,
		RunE: func(cmd *cobra.Command, _ []string) error { return runAccessLog(cmd, f, o) },
	}
	o.flags(cmd)
	return cmd
}

func runAccessLog(cmd *cobra.Command, f *factory, o *accessLogOptions) error {
	q, err := o.query(f.Now())
	if err != nil {
		return err
	}
	if o.since != "" && !cmd.Flags().Changed("num") {
		q.Tail = 0 // since then means all since then
	}
	c, app, err := f.connect(cmd.Context())
	if err != nil {
		return err
	}
	return f.printAccess(cmd.Context(), c, app, q, f.json || o.format == formatJSON)
}

func (f *factory) printAccess(ctx context.Context, c *client.Client, app string, q client.AccessQuery, asJSON bool) error {
	for line, err := range c.AccessLog(ctx, app, q) {
		if ctx.Err() != nil {
			return nil // Ctrl-C is how one stops following
		}
		if err != nil {
			return err
		}
		if asJSON {
			err = writeJSON(f.Stdout, line, "")
		} else {
			_, err = fmt.Fprintln(f.Stdout, combined(line))
		}
		if err != nil {
			return fmt.Errorf("write the line: %w", err)
		}
	}
	return nil
}

// combined writes a request in the combined log format of Apache httpd:
//
//	192.0.2.1 - - [22/Aug/2026:10:00:00 +0000] "GET / HTTP/1.1" 200 512 "-" "curl/8.5"
//
// What a client may choose is escaped, so that no request can end a line, close
// a quote or reach a terminal.
func combined(l client.AccessLine) string {
	var b strings.Builder
	b.WriteString(plainWord(l.IP))
	b.WriteString(" - - [")
	b.WriteString(l.At.UTC().Format("02/Jan/2006:15:04:05 -0700"))
	b.WriteString(`] "`)
	b.WriteString(quotable(l.Method) + " " + quotable(l.Path) + " " + quotable(l.Proto))
	b.WriteString(`" `)
	if l.Status > 0 {
		b.WriteString(strconv.Itoa(l.Status))
	} else {
		b.WriteByte('-')
	}
	b.WriteByte(' ')
	if l.Out > 0 {
		b.WriteString(itoa(l.Out))
	} else {
		b.WriteByte('-')
	}
	b.WriteString(` "` + quotable(orDash(l.Referer)) + `" "` + quotable(orDash(l.Agent)) + `"`)
	return b.String()
}

// plainWord is a field that stands without quotes.
func plainWord(s string) string {
	if s = quotable(s); s == "" || strings.ContainsAny(s, " \"[]") {
		return "-"
	}
	return s
}

// quotable escapes s as httpd does: quotes and backslashes get a backslash, what
// is no plain text becomes the \xHH of its bytes.
func quotable(s string) string {
	var b strings.Builder
	for i := 0; i < len(s); {
		r, n := utf8.DecodeRuneInString(s[i:])
		switch {
		case r == '"' || r == '\\':
			b.WriteByte('\\')
			b.WriteRune(r)
		case r == utf8.RuneError && n == 1 || unsafeRune(r):
			for _, c := range []byte(s[i : i+n]) {
				fmt.Fprintf(&b, `\x%02x`, c)
			}
		default:
			b.WriteString(s[i : i+n])
		}
		i += n
	}
	return b.String()
}

package client

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"iter"
	"net/http"
	"net/url"
	"strconv"
	"time"
)

// maxStreamLine is the longest line of a stream that is read, in bytes.
const maxStreamLine = 1 << 20

// StreamItem is one line of a newline-delimited JSON stream. Exactly one of
// its fields is set. Empty lines between items only keep the connection alive.
type StreamItem struct {
	Line       *LogLine    `json:"line,omitempty" doc:"A line of output"`
	Access     *AccessLine `json:"access,omitempty" doc:"A request that came for the app"`
	Deployment *Deployment `json:"deployment,omitempty" doc:"How the deployment stands; the last item of its output"`
	Error      *Error      `json:"error,omitempty" doc:"Why the stream ends early"`
}

// stream reads a stream to its end. An Error item ends it as an error.
func (c *Client) stream(ctx context.Context, p string) iter.Seq2[StreamItem, error] {
	return func(yield func(StreamItem, error) bool) {
		ctx, cancel := context.WithCancel(ctx)
		defer cancel()
		resp, err := c.send(ctx, http.MethodGet, p, "", nil)
		if err != nil {
			yield(StreamItem{}, err)
			return
		}
		defer resp.Body.Close() //nolint:errcheck // it was only read
		if err := readItems(resp.Body, yield); err != nil {
			if ctx.Err() != nil {
				err = ctx.Err()
			}
			yield(StreamItem{}, err)
		}
	}
}

// lineValues chooses lines by what every kind of them has.
func lineValues(follow bool, since time.Time, tail int) url.Values {
	v := url.Values{}
	if follow {
		v.Set("follow", "true")
	}
	if !since.IsZero() {
		v.Set("since", since.UTC().Format(time.RFC3339Nano))
	}
	if tail != 0 {
		v.Set("tail", strconv.Itoa(tail))
	}
	return v
}

// only returns what get takes out of items, where it is there.
func only[T any](items iter.Seq2[StreamItem, error], get func(StreamItem) *T) iter.Seq2[T, error] {
	return func(yield func(T, error) bool) {
		for item, err := range items {
			if err != nil {
				var none T
				yield(none, err)
				return
			}
			if v := get(item); v != nil && !yield(*v, nil) {
				return
			}
		}
	}
}

// readItems hands each item to yield. It returns nil where yield wants no more.
func readItems(r io.Reader, yield func(StreamItem, error) bool) error {
	lines := bufio.NewScanner(r)
	lines.Buffer(make([]byte, 0, 16<<10), maxStreamLine)
	for lines.Scan() {
		if len(lines.Bytes()) == 0 {
			continue
		}
		var item StreamItem
		if err := json.Unmarshal(lines.Bytes(), &item); err != nil {
			return fmt.Errorf("decode stream: %w", err)
		}
		if item.Error != nil {
			return item.Error
		}
		if !yield(item, nil) {
			return nil
		}
	}
	if err := lines.Err(); err != nil {
		return fmt.Errorf("read stream: %w", err)
	}
	return nil
}

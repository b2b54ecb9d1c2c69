package accesslog_test

import (
	"bytes"
	"compress/gzip"
	"context"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"landward/internal/landward"
	"landward/internal/logs/accesslog"
)

var noon = time.Date(2026, 1, 1, 12, 0, 0, 0, time.UTC)

// line is a line whose request began n seconds after noon.
func line(n int, more string) string {
	return fmt.Sprintf(`{"at":%q,"app_id":7,"method":"GET","path":"/%d","host":"shop.test","status":200,"in":0,"out":12,`+
		`"ms":1.5,"connect_ms":0.040,"service_ms":1.000,"id":"r%d","ip":"203.0.113.7","proto":"HTTP/1.1","scheme":"http"%s}`+"\n",
		noon.Add(time.Duration(n)*time.Second).Format("2006-01-02T15:04:05.000Z"), n, n, more)
}

func lines(from, to int) (s string) {
	for n := from; n < to; n++ {
		s += line(n, "")
	}
	return s
}

func write(t *testing.T, dir, name, text string) {
	t.Helper()
	data := []byte(text)
	if strings.HasSuffix(name, ".gz") {
		var b bytes.Buffer
		z := gzip.NewWriter(&b)
		if _, err := z.Write(data); err != nil {
			t.Fatal(err)
		}
		if err := z.Close(); err != nil {
			t.Fatal(err)
		}
		data = b.Bytes()
	}
	if err := os.WriteFile(filepath.Join(dir, name), data, 0o600); err != nil {
		t.Fatal(err)
	}
}

// at is the name of the file that was rotated n seconds after noon.
func at(n int, gz bool) string {
	when := noon.Add(time.Duration(n) * time.Second)
	if gz {
		return accesslog.PackedName(when)
	}
	return accesslog.Name(when)
}

// folder has forty lines in four files, of which one is there in both forms.
func folder(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	write(t, dir, at(9, true), lines(0, 10))
	write(t, dir, at(19, true), lines(10, 20))
	write(t, dir, at(19, false), lines(10, 20))
	write(t, dir, at(29, false), lines(20, 30))
	write(t, dir, "router.log", lines(30, 40)+`{"at":"2026-01-0`)
	write(t, dir, "app.log", "x\n")
	write(t, dir, "router-2026.log", lines(90, 91))
	write(t, dir, ".router-20260101T120019Z.log.gz.tmp", "x")
	return dir
}

func read(t *testing.T, dir string, q accesslog.Query) (ids []string) {
	t.Helper()
	err := accesslog.Read(t.Context(), dir, q, func(raw []byte, e *accesslog.Entry) error {
		if !bytes.Contains(raw, []byte(`"id":"`+e.ID+`"`)) || bytes.HasSuffix(raw, []byte("\n")) {
			t.Errorf("%s is not %+v", raw, e)
		}
		ids = append(ids, e.ID)
		return nil
	})
	if err != nil {
		t.Error(err)
	}
	return ids
}

// span names the lines from a to b, without b.
func span(a, b int) (ids []string) {
	for n := a; n < b; n++ {
		ids = append(ids, fmt.Sprint("r", n))
	}
	return ids
}

func TestRead(t *testing.T) {
	dir := folder(t)
	second := func(n float64) time.Time { return noon.Add(time.Duration(n * float64(time.Second))) }
	tests := map[string]struct {
		q    accesslog.Query
		want []string
	}{
		"all":                 {accesslog.Query{}, span(0, 40)},
		"since":               {accesslog.Query{Since: second(15)}, span(15, 40)},
		"since between lines": {accesslog.Query{Since: second(14.0001)}, span(15, 40)},
		"since a file's end":  {accesslog.Query{Since: second(19)}, span(19, 40)},
		"since now":           {accesslog.Query{Since: second(40)}, nil},
		"until":               {accesslog.Query{Until: second(15)}, span(0, 15)},
		"from to":             {accesslog.Query{Since: second(18), Until: second(32)}, span(18, 32)},
		"tail of one file":    {accesslog.Query{Tail: 3}, span(37, 40)},
		"tail of two files":   {accesslog.Query{Tail: 13}, span(27, 40)},
		"tail of all files":   {accesslog.Query{Tail: 39}, span(1, 40)},
		"more than there is":  {accesslog.Query{Tail: 100}, span(0, 40)},
		"tail since":          {accesslog.Query{Tail: 30, Since: second(28)}, span(28, 40)},
		"tail until":          {accesslog.Query{Tail: 5, Until: second(22)}, span(17, 22)},
		"another zone":        {accesslog.Query{Since: second(38).In(time.FixedZone("x", 7200))}, span(38, 40)},
		"grep":                {accesslog.Query{Filter: accesslog.Filter{Grep: `"ID":"R7"`}}, span(7, 8)},
		"tail of a grep":      {accesslog.Query{Tail: 2, Filter: accesslog.Filter{Grep: `"id":"r1`}}, span(18, 20)},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			if got := read(t, dir, tt.q); !reflect.DeepEqual(got, tt.want) {
				t.Errorf("got  %v\nwant %v", got, tt.want)
			}
		})
	}
	if got := read(t, filepath.Join(dir, "none"), accesslog.Query{}); got != nil {
		t.Errorf("no folder: %v", got)
	}
}

func TestFilter(t *testing.T) {
	dir := t.TempDir()
	write(t, dir, "router.log", line(0, "")+
		`{"at":"2026-01-01T12:00:01.000Z","app_id":7,"method":"POST","path":"/api/x","host":"api.shop.test","status":503,"code":"refused","unit":"web.2","ms":900.5,"id":"x","ip":"2001:db8::1"}`+"\n")
	all := map[string]accesslog.Filter{
		"min": {MinStatus: 500}, "method": {Method: "post"}, "host": {Host: "API.shop.test"}, "path": {Path: "/api/"},
		"unit": {Unit: "web.2"}, "process": {Unit: "web"}, "code": {Code: "refused"}, "id": {ID: "x"},
		"ip": {IP: netip.MustParsePrefix("2001:db8::/32")}, "slower": {Slower: 900 * time.Millisecond},
		"all": {MinStatus: 503, MaxStatus: 503, Method: "POST", Path: "/api", Unit: "web", Grep: "refused"},
	}
	for name, f := range all {
		if got := read(t, dir, accesslog.Query{Filter: f}); !reflect.DeepEqual(got, []string{"x"}) {
			t.Errorf("%s: %v", name, got)
		}
	}
	if got := read(t, dir, accesslog.Query{Filter: accesslog.Filter{MaxStatus: 499}}); !reflect.DeepEqual(got, []string{"r0"}) {
		t.Errorf("max: %v", got)
	}
}

func TestRefuses(t *testing.T) {
	for field, q := range map[string]accesslog.Query{
		"tail":  {Tail: accesslog.MaxTail + 1},
		"until": {Until: noon, Follow: true},
	} {
		err := accesslog.Read(t.Context(), t.TempDir(), q, nil)
		if landward.CodeOf(err) != landward.CodeInvalid || landward.AsError(err).Field != field {
			t.Errorf("%s: %v", field, err)
		}
	}
	if err := accesslog.Read(t.Context(), t.TempDir(), accesslog.Query{Tail: -1}, nil); err == nil {
		t.Error("a negative tail is taken")
	}
	if err := accesslog.Read(t.Context(), t.TempDir(), accesslog.Query{Since: noon, Until: noon}, nil); err == nil {
		t.Error("an empty span is taken")
	}
}

func TestStops(t *testing.T) {
	dir := folder(t)
	enough := errors.New("enough")
	for _, tail := range []int{0, 20} {
		n := 0
		err := accesslog.Read(t.Context(), dir, accesslog.Query{Tail: tail, Follow: true}, func([]byte, *accesslog.Entry) error {
			if n++; n == 13 {
				return enough
			}
			return nil
		})
		if !errors.Is(err, enough) || n != 13 {
			t.Errorf("tail %d: %v after %d", tail, err, n)
		}
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := accesslog.Read(ctx, dir, accesslog.Query{}, nil); !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
}

// TestDamage holds that what is broken is passed over, and that the rest is
// there.
func TestDamage(t *testing.T) {
	dir := t.TempDir()
	write(t, dir, at(9, true), lines(0, 10))
	whole, err := os.ReadFile(filepath.Join(dir, at(9, true)))
	if err != nil {
		t.Fatal(err)
	}
	write(t, dir, at(19, false), lines(10, 15)+"\n{}\nnonsense\n"+strings.Repeat("x", 200<<10)+"\n"+
		`{"at":"2026-01-01T12:00:16.000Z",!}`+"\n"+lines(15, 20)+`{"at":"2026-01-01T12:00:20.000Z","id":"torn"}`)
	write(t, dir, "router.log", lines(20, 21))
	if got := read(t, dir, accesslog.Query{}); !reflect.DeepEqual(got, span(0, 21)) {
		t.Errorf("%v", got)
	}
	for _, broken := range [][]byte{whole[:len(whole)-20], []byte("no gzip at all"), {}} {
		if err := os.WriteFile(filepath.Join(dir, at(9, true)), broken, 0o600); err != nil {
			t.Fatal(err)
		}
		for _, tail := range []int{0, 100} {
			n := 0
			err := accesslog.Read(t.Context(), dir, accesslog.Query{Tail: tail}, func([]byte, *accesslog.Entry) error { n++; return nil })
			if err == nil || !strings.Contains(err.Error(), at(9, true)) || n < 11 || n > 21 {
				t.Errorf("%d lines, %v", n, err)
			}
		}
	}
}

// follower collects lines in a bubble.
func follower(ctx context.Context, dir string, q accesslog.Query) (got *[]string, done chan error) {
	got, done = new([]string), make(chan error, 1)
	q.Follow = true
	go func() {
		done <- accesslog.Read(ctx, dir, q, func(_ []byte, e *accesslog.Entry) error {
			*got = append(*got, e.ID)
			return nil
		})
	}()
	return got, done
}

func appendTo(t *testing.T, path, text string) {
	t.Helper()
	f, err := os.OpenFile(path, os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o600)
	if err != nil {
		t.Fatal(err)
	}
	_, err = f.WriteString(text)
	if err = errors.Join(err, f.Close()); err != nil {
		t.Fatal(err)
	}
}

// TestFollow goes through all that can become of files between two looks.
func TestFollow(t *testing.T) {
	dir := folder(t)
	current := filepath.Join(dir, "router.log")
	rotate := func(n int, gz bool) {
		t.Helper()
		text, err := os.ReadFile(current)
		if err != nil {
			t.Fatal(err)
		}
		if err := os.Rename(current, filepath.Join(dir, at(n, false))); err != nil {
			t.Fatal(err)
		}
		if gz {
			write(t, dir, at(n, true), string(text))
			if err := os.Remove(filepath.Join(dir, at(n, false))); err != nil {
				t.Fatal(err)
			}
		}
	}
	synctest.Test(t, func(t *testing.T) {
		look := func() {
			<-time.After(time.Second)
			synctest.Wait()
		}
		ctx, cancel := context.WithCancel(context.Background())
		got, done := follower(ctx, dir, accesslog.Query{Tail: 5})
		want := span(35, 40)
		check := func(what string) {
			t.Helper()
			if look(); !reflect.DeepEqual(*got, want) {
				t.Fatalf("%s: got %v\nwant %v", what, *got, want)
			}
		}
		check("the tail")
		st, err := os.Stat(current)
		if err == nil {
			err = os.Truncate(current, st.Size()-int64(len(`{"at":"2026-01-0`)))
		}
		if err != nil {
			t.Fatal(err)
		}
		check("half a line taken back")
		l := line(40, "")
		appendTo(t, current, l[:30])
		check("half a line")
		appendTo(t, current, l[30:])
		want = append(want, "r40")
		check("the other half")
		appendTo(t, current, line(41, ""))
		rotate(41, false)
		want = append(want, "r41")
		check("rotated, and no new file yet")
		appendTo(t, current, line(42, ""))
		want = append(want, "r42")
		check("a new file")
		appendTo(t, current, line(43, ""))
		rotate(43, true)
		appendTo(t, current, line(44, ""))
		rotate(44, true)
		appendTo(t, current, line(45, ""))
		rotate(45, false)
		appendTo(t, current, line(46, ""))
		want = append(want, "r43", "r44", "r45", "r46")
		check("three rotations at once")
		if err := os.RemoveAll(dir); err != nil {
			t.Fatal(err)
		}
		check("all is gone")
		if err := os.Mkdir(dir, 0o700); err != nil {
			t.Fatal(err)
		}
		appendTo(t, current, line(47, ""))
		want = append(want, "r47")
		check("and there again")
		cancel()
		if err := <-done; !errors.Is(err, context.Canceled) {
			t.Error(err)
		}
	})
}

func TestFollowBeginsWithNothing(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "7")
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancel(context.Background())
		got, done := follower(ctx, dir, accesslog.Query{})
		<-time.After(time.Second)
		synctest.Wait()
		if err := os.Mkdir(dir, 0o700); err != nil {
			t.Fatal(err)
		}
		appendTo(t, filepath.Join(dir, at(1, false)), line(1, ""))
		appendTo(t, filepath.Join(dir, "router.log"), line(2, ""))
		<-time.After(time.Second)
		synctest.Wait()
		cancel()
		if <-done; !reflect.DeepEqual(*got, []string{"r1", "r2"}) {
			t.Errorf("%v", *got)
		}
	})
}

func TestCombined(t *testing.T) {
	tests := map[string]string{
		line(0, `,"user_agent":"curl/8.5","referer":"https://shop.test/"`): `203.0.113.7 - - [01/Jan/2026:12:00:00 +0000] "GET /0 HTTP/1.1" 200 12 "https://shop.test/" "curl/8.5"`,
		line(1, ""): `203.0.113.7 - - [01/Jan/2026:12:00:01 +0000] "GET /1 HTTP/1.1" 200 12 "-" "-"`,
		`{"at":"2026-01-01T12:00:00.000Z","method":"PUT","path":"/a\"b","status":0,"out":0,"ip":"::1","proto":"HTTP/2.0","user_agent":"a\"b\\c\n"}`: `::1 - - [01/Jan/2026:12:00:00 +0000] "PUT /a\"b HTTP/2.0" 499 0 "-" "a\"b\\c\x0a"`,
		`{"at":"2026-01-01T12:00:00.000Z","method":"","path":"","status":400,"out":99,"ip":"","proto":"HTTP/1.1"}`:                                  `- - - [01/Jan/2026:12:00:00 +0000] "-" 400 99 "-" "-"`,
		`{"at":"2026-01-01T12:00:00.000Z","ip":"a b"}`: `- - - [01/Jan/2026:12:00:00 +0000] "-" 499 0 "-" "-"`,
	}
	for in, want := range tests {
		got, ok := accesslog.Combined([]byte("x"), []byte(strings.TrimSuffix(in, "\n")))
		if !ok || string(got) != "x"+want+"\n" {
			t.Errorf("%s\ngot  %s\nwant %s", in, got, want)
		}
	}
	for _, in := range []string{"", "{}", "x", `{"at":"2026-01-01T12:00:00.000Z","st`, `{"at":"2026-01-01T12:00:00.000Z",}`} {
		if got, ok := accesslog.Combined([]byte("x"), []byte(in)); ok || string(got) != "x" {
			t.Errorf("%q: %q %v", in, got, ok)
		}
	}
}

func TestFiles(t *testing.T) {
	list, err := accesslog.Files(folder(t))
	if err != nil || len(list) != 3 {
		t.Fatalf("%v %v", list, err)
	}
	for i, want := range []accesslog.File{{Packed: true}, {Packed: true, Plain: true}, {Plain: true}} {
		want.At, want.Size = noon.Add(time.Duration(i*10+9)*time.Second), list[i].Size
		if list[i] != want || want.Size == 0 {
			t.Errorf("%+v, want %+v", list[i], want)
		}
	}
}

// FuzzCombined holds that any line of a log becomes one line, or none.
func FuzzCombined(f *testing.F) {
	f.Add([]byte(line(0, `,"user_agent":"x"`)))
	f.Add([]byte(`{"at":"2026-01-01T12:00:00.000Z","path":"\u0000\n\" \\"}`))
	f.Fuzz(func(t *testing.T, in []byte) {
		out, ok := accesslog.Combined(nil, in)
		if ok != (len(out) > 0) || bytes.Count(out, []byte("\n")) > 1 || ok && !bytes.HasSuffix(out, []byte("\n")) {
			t.Errorf("%q: %q", in, out)
		}
		if at, ok := accesslog.Began(in); ok && at.Location() != time.UTC {
			t.Errorf("%q: %v", in, at)
		}
	})
}

// FuzzRead holds that any bytes in a file do no harm, and that lines come out
// the same however the file is cut into rotated ones.
func FuzzRead(f *testing.F) {
	f.Add([]byte(lines(0, 3)), 100)
	f.Add([]byte("\n\n{\n"+line(1, "")), 3)
	f.Fuzz(func(t *testing.T, data []byte, cut int) {
		whole, parts := t.TempDir(), t.TempDir()
		write(t, whole, "router.log", string(data))
		cut = min(max(cut, 0), len(data))
		cut = bytes.LastIndexByte(data[:cut], '\n') + 1
		write(t, parts, at(0, true), string(data[:cut]))
		write(t, parts, "router.log", string(data[cut:]))
		raws := func(dir string, q accesslog.Query) (out []string) {
			if err := accesslog.Read(t.Context(), dir, q, func(raw []byte, _ *accesslog.Entry) error {
				out = append(out, string(raw))
				return nil
			}); err != nil {
				t.Error(err)
			}
			return out
		}
		a, b, c := raws(whole, accesslog.Query{}), raws(parts, accesslog.Query{}), raws(parts, accesslog.Query{Tail: 100})
		if !reflect.DeepEqual(a, b) || len(a) <= 100 && !reflect.DeepEqual(a, c) {
			t.Errorf("%q %q %q", a, b, c)
		}
	})
}

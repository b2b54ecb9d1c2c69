package access_test

import (
	"compress/gzip"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"landward/internal/logs/accesslog"
	"landward/internal/route/access"
)

// wait lets a bubble's clock run on, and what is due then finish.
func wait(d time.Duration) {
	<-time.After(d)
	synctest.Wait()
}

// TestSize holds that a file is bounded, that lines stay whole and in order,
// and apps apart; and that all but the current file are compressed.
func TestSize(t *testing.T) {
	dir := t.TempDir()
	synctest.Test(t, func(t *testing.T) {
		const limit, n = 4096, 200
		l := newLog(dir, access.Options{MaxSize: limit})
		stop := start(t, l)
		for i := range n {
			add(l, 1, i)
			add(l, 2, i)
			wait(250 * time.Millisecond)
		}
		wait(time.Second)
		stop()
		for app := range int64(2) {
			list := numbers(t, dir, app+1)
			if inOrder(t, list); len(list) != n {
				t.Errorf("app %d: %d lines", app+1, len(list))
			}
			all := names(t, dir, app+1)
			if len(all) < 10 || all[len(all)-1] != "router.log" || all[0] != "router-20000101T000003Z.log.gz" {
				t.Errorf("%q", all)
			}
			for _, name := range all[:len(all)-1] {
				if size := unpacked(t, filepath.Join(dir, fmt.Sprint(app+1), name)); size > limit || size < limit/2 {
					t.Errorf("%s has %d bytes", name, size)
				}
			}
		}
		if l.Dropped() != 0 {
			t.Errorf("%d dropped", l.Dropped())
		}
	})
}

func unpacked(t *testing.T, path string) int {
	t.Helper()
	f, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = f.Close() }()
	z, err := gzip.NewReader(f)
	if err != nil {
		t.Fatal(err)
	}
	b, err := io.ReadAll(z)
	if err != nil {
		t.Fatal(err)
	}
	return len(b)
}

// TestDay holds that a day's lines are in files of their own, whether anything
// is written the next day or not, and over a restart.
func TestDay(t *testing.T) {
	dir := t.TempDir()
	synctest.Test(t, func(t *testing.T) {
		l := newLog(dir, access.Options{Every: 700 * time.Millisecond})
		stop := start(t, l)
		wait(23*time.Hour + 59*time.Minute)
		add(l, 1, 0)
		add(l, 2, 0)
		wait(10 * time.Second)
		if got := names(t, dir, 1); !reflect.DeepEqual(got, []string{"router.log"}) {
			t.Errorf("before midnight: %q", got)
		}
		wait(49 * time.Second)
		add(l, 1, 1)
		wait(2 * time.Second)
		// App 1 has a line of each side of midnight; app 2 was quiet.
		if got := names(t, dir, 2); len(got) != 1 || !strings.HasPrefix(got[0], "router-20000102T") {
			t.Errorf("quiet: %q", got)
		}
		add(l, 1, 2)
		wait(time.Second)
		if got := names(t, dir, 1); len(got) != 2 || !strings.HasPrefix(got[0], "router-20000102T") {
			t.Errorf("after midnight: %q", got)
		}
		stop()
		l = newLog(dir, access.Options{Every: 700 * time.Millisecond})
		stop = start(t, l)
		add(l, 1, 3)
		wait(time.Second)
		if got := names(t, dir, 1); len(got) != 2 {
			t.Errorf("after a restart: %q", got)
		}
		stop()
		wait(24 * time.Hour)
		l = newLog(dir, access.Options{Every: 700 * time.Millisecond})
		stop = start(t, l)
		add(l, 1, 4)
		wait(time.Second)
		stop()
		if got := names(t, dir, 1); len(got) != 3 || !strings.HasPrefix(got[1], "router-20000103T") {
			t.Errorf("after a day off: %q", got)
		}
		if got := numbers(t, dir, 1); !reflect.DeepEqual(got, []int{0, 1, 2, 3, 4}) {
			t.Errorf("%v", got)
		}
	})
}

// TestOldRequest holds that a request that began days ago and ends now does
// not make a file look old after a restart.
func TestOldRequest(t *testing.T) {
	dir := t.TempDir()
	synctest.Test(t, func(t *testing.T) {
		l := newLog(dir, access.Options{Every: 700 * time.Millisecond})
		stop := start(t, l)
		add(l, 1, 0)
		wait(72 * time.Hour)
		e := sample()
		e.AppID, e.At = 1, time.Now().Add(-72*time.Hour)
		l.Access(e)
		wait(time.Second)
		before := names(t, dir, 1)
		stop()
		l = newLog(dir, access.Options{Every: 700 * time.Millisecond})
		stop = start(t, l)
		wait(time.Second)
		stop()
		// The clock may have moved on to a rotation that was due; not to two.
		if after := names(t, dir, 1); len(before) != 2 || len(after) > 3 {
			t.Errorf("before %q, after %q", before, after)
		}
	})
}

// TestAge holds that files go when they are old, also those of an app that
// nothing is written to, and those that another process has written.
func TestAge(t *testing.T) {
	dir := t.TempDir()
	synctest.Test(t, func(t *testing.T) {
		o := access.Options{Every: 700 * time.Millisecond, Keep: 3 * 24 * time.Hour}
		l := newLog(dir, o)
		stop := start(t, l)
		add(l, 2, 0)
		for i := range 3 {
			add(l, 1, i)
			wait(24 * time.Hour)
		}
		stop()
		wait(12 * time.Hour)
		l = newLog(dir, o)
		stop = start(t, l)
		for i := range 3 {
			add(l, 1, i+3)
			wait(24 * time.Hour)
		}
		stop()
		if got := numbers(t, dir, 1); len(got) == 0 || got[0] < 2 || got[len(got)-1] != 5 {
			t.Errorf("kept %v", got)
		}
		if got := names(t, dir, 2); len(got) != 0 {
			t.Errorf("the quiet app still has %q", got)
		}
	})
}

// TestBytes holds that an app's files stay within their bytes, and that it is
// the oldest lines that go.
func TestBytes(t *testing.T) {
	dir := t.TempDir()
	synctest.Test(t, func(t *testing.T) {
		const keep = 16 << 10
		l := newLog(dir, access.Options{MaxSize: 4 << 10, KeepBytes: keep})
		stop := start(t, l)
		const n = 2000
		for i := range n {
			add(l, 1, i)
			wait(400 * time.Millisecond)
			if i%100 == 99 {
				if size := folderSize(t, filepath.Join(dir, "1")); size > keep {
					t.Fatalf("%d bytes after %d lines", size, i)
				}
			}
		}
		stop()
		list := numbers(t, dir, 1)
		inOrder(t, list)
		if len(list) < 100 || len(list) > n/2 || list[len(list)-1] != n-1 {
			t.Errorf("%d lines are left, from %d to %d", len(list), list[0], list[len(list)-1])
		}
	})
}

func folderSize(t *testing.T, dir string) (total int64) {
	t.Helper()
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		st, err := e.Info()
		if err != nil {
			t.Fatal(err)
		}
		total += st.Size()
	}
	return total
}

// TestLeftovers holds that what a crash has left is put right: half a line,
// half a compressed file, both forms of one; and that a file of an early
// version is taken over. What is none of ours stays.
func TestLeftovers(t *testing.T) {
	dir := t.TempDir()
	synctest.Test(t, func(t *testing.T) {
		l := newLog(dir, access.Options{Every: 700 * time.Millisecond})
		stop := start(t, l)
		for i := range 3 {
			add(l, 1, i)
			wait(24 * time.Hour)
		}
		add(l, 1, 3)
		stop()
		app := filepath.Join(dir, "1")
		was := names(t, dir, 1)
		if len(was) != 4 {
			t.Fatalf("%q", was)
		}
		line := func(n int) string {
			return fmt.Sprintf(`{"at":"2000-01-01T00:00:00.000Z","app_id":1,"path":"/%d"}`+"\n", n)
		}
		first, _, _ := strings.Cut(was[0], ".gz")
		err := errors.Join(
			appendTo(filepath.Join(app, "router.log"), `{"at":"2000-01-04T00:00:00.000Z","app_`),
			os.WriteFile(filepath.Join(app, first), []byte(line(0)), 0o600),
			os.WriteFile(filepath.Join(app, "."+was[1]+".tmp"), []byte("half"), 0o600),
			os.WriteFile(filepath.Join(app, "deploy-1.log"), []byte("x"), 0o600),
			os.WriteFile(filepath.Join(app, "router-x.log"), []byte("x"), 0o600),
			os.WriteFile(filepath.Join(app, "router.log.1"), []byte(line(-1)), 0o600),
			os.Chtimes(filepath.Join(app, "router.log.1"), time.Time{}, time.Date(1999, 12, 31, 23, 0, 0, 0, time.UTC)),
			os.Mkdir(filepath.Join(dir, "other"), 0o700),
			os.WriteFile(filepath.Join(dir, "other", "router-19990101T000000Z.log"), nil, 0o600),
		)
		if err != nil {
			t.Fatal(err)
		}
		l = newLog(dir, access.Options{Every: 700 * time.Millisecond})
		stop = start(t, l)
		add(l, 1, 4)
		wait(time.Second)
		stop()
		if got := numbers(t, dir, 1); !reflect.DeepEqual(got, []int{-1, 0, 1, 2, 3, 4}) {
			t.Errorf("%v", got)
		}
		want := append([]string{"deploy-1.log", "router-19991231T230000Z.log.gz"}, was[:3]...)
		want = append(want, "router-x.log", "router.log")
		if got := names(t, dir, 1); !reflect.DeepEqual(got, want) {
			t.Errorf("got  %q\nwant %q", got, want)
		}
		if _, err := os.Stat(filepath.Join(dir, "other", "router-19990101T000000Z.log")); err != nil {
			t.Error(err)
		}
	})
}

func appendTo(path, text string) error {
	f, err := os.OpenFile(path, os.O_APPEND|os.O_WRONLY, 0)
	if err != nil {
		return err
	}
	_, err = f.WriteString(text)
	return errors.Join(err, f.Close())
}

// TestTornByPowerLoss holds that a file whose end was never written is cut back
// to its last line.
func TestTornByPowerLoss(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "7", "router.log")
	if err := errors.Join(os.Mkdir(filepath.Dir(path), 0o700), os.WriteFile(path, make([]byte, 3000), 0o600)); err != nil {
		t.Fatal(err)
	}
	l := newLog(dir, access.Options{})
	add(l, 7, 1)
	start(t, l)()
	if got := numbers(t, dir, 7); !reflect.DeepEqual(got, []int{1}) {
		t.Errorf("%v", got)
	}
	if st, err := os.Stat(path); err != nil || st.Size() > 1000 {
		t.Errorf("%v %v", st.Size(), err)
	}
}

// TestClockGoesBack holds that files stay in the order of their lines.
func TestClockGoesBack(t *testing.T) {
	dir := t.TempDir()
	synctest.Test(t, func(t *testing.T) {
		var shift atomic.Int64
		l := newLog(dir, access.Options{MaxSize: 1000, Every: time.Second, Now: func() time.Time { return time.Now().Add(time.Duration(shift.Load())) }})
		stop := start(t, l)
		for i := range 20 {
			if i == 10 {
				shift.Store(-int64(time.Hour))
			}
			add(l, 1, i)
			wait(2 * time.Second)
		}
		stop()
		list := numbers(t, dir, 1)
		if inOrder(t, list); len(list) != 20 {
			t.Errorf("%v", list)
		}
		if got := names(t, dir, 1); len(got) < 5 {
			t.Errorf("%q", got)
		}
	})
}

// TestTidiedUp holds that logging goes on when somebody removes the folder.
func TestTidiedUp(t *testing.T) {
	dir := t.TempDir()
	synctest.Test(t, func(t *testing.T) {
		l := newLog(dir, access.Options{})
		stop := start(t, l)
		add(l, 1, 0)
		wait(time.Second)
		if err := os.RemoveAll(filepath.Join(dir, "1")); err != nil {
			t.Fatal(err)
		}
		wait(10 * time.Second)
		add(l, 1, 1)
		wait(time.Second)
		stop()
		if got := numbers(t, dir, 1); !reflect.DeepEqual(got, []int{1}) {
			t.Errorf("%v", got)
		}
	})
}

// TestForgets holds that an app without traffic costs no memory, and that its
// next request is logged all the same.
func TestForgets(t *testing.T) {
	dir := t.TempDir()
	synctest.Test(t, func(t *testing.T) {
		l := newLog(dir, access.Options{Every: 700 * time.Millisecond})
		stop := start(t, l)
		for i := range 5 {
			add(l, 1, i)
			wait(3*time.Hour + time.Minute)
		}
		stop()
		if got := numbers(t, dir, 1); !reflect.DeepEqual(got, []int{0, 1, 2, 3, 4}) || l.Dropped() != 0 {
			t.Errorf("%v", got)
		}
	})
}

// TestReadsOverRotations holds that a follower sees each line once, whatever
// becomes of the files meanwhile.
func TestReadsOverRotations(t *testing.T) {
	dir := t.TempDir()
	synctest.Test(t, func(t *testing.T) {
		l := newLog(dir, access.Options{MaxSize: 1000})
		stop := start(t, l)
		var got []int
		follow := make(chan error, 1)
		ctx, cancel := context.WithCancel(context.Background())
		go func() {
			follow <- accesslog.Read(ctx, filepath.Join(dir, "1"), accesslog.Query{Follow: true},
				func(_ []byte, e *accesslog.Entry) error {
					var n int
					_, err := fmt.Sscanf(e.Path, "/%d", &n)
					got = append(got, n)
					if n%40 == 39 { // a reader that is slow now and then
						<-time.After(10 * time.Second)
					}
					return err
				})
		}()
		const n = 300
		for i := range n {
			add(l, 1, i)
			wait(300 * time.Millisecond)
		}
		wait(time.Minute * 5)
		stop()
		cancel()
		if err := <-follow; !errors.Is(err, ctx.Err()) {
			t.Error(err)
		}
		if inOrder(t, got); len(got) != n || got[0] != 0 {
			t.Errorf("%d lines", len(got))
		}
		if files := names(t, dir, 1); len(files) < 50 {
			t.Errorf("only %d files: nothing was tested", len(files))
		}
	})
}

package route_test

import (
	"bytes"
	"reflect"
	"slices"
	"strings"
	"testing"

	"landward/internal/landward"
	"landward/internal/route"
)

// TestText holds that a table survives its way to the edge.
func TestText(t *testing.T) {
	var r route.Reader
	back, err := r.Read(good().Text())
	if err != nil || !reflect.DeepEqual(good(), back) {
		t.Errorf("%v: %s", err, good().Text())
	}
}

// TestReaderKnows holds that what is the same in the next table is the same
// route, and nothing else is.
func TestReaderKnows(t *testing.T) {
	var r route.Reader
	read := func(table route.Table) route.Table {
		t.Helper()
		got, err := r.Read(table.Text())
		if err != nil {
			t.Fatal(err)
		}
		return got
	}
	first := read(good())
	table := good()
	table.Generation++
	table.Routes[1].Release++
	table.Routes[0], table.Routes[2] = table.Routes[2], table.Routes[0]
	second := read(table)
	if !reflect.DeepEqual(table, second) {
		t.Errorf("read %s", second.Text())
	}
	if second.Routes[0] != first.Routes[2] || second.Routes[2] != first.Routes[0] {
		t.Error("a route with the same line was read again")
	}
	if second.Routes[1] == first.Routes[1] {
		t.Error("a route with another line was not read again")
	}
	if _, err := r.Read([]byte("no table\n")); landward.CodeOf(err) != landward.CodeInvalid {
		t.Errorf("got %v", err)
	}
	if third := read(table); third.Routes[1] != second.Routes[1] {
		t.Error("a text that cannot be read made the reader forget")
	}
}

func TestReadErrors(t *testing.T) {
	for text, cause := range map[string]string{
		"":                                   "line 1: EOF",
		"{}":                                 "",
		`{"generation":1,"more":2}` + "\n":   `line 1: unknown field "more"`,
		`{"routes":1}` + "\n":                "line 1: 0 lines follow, not 1",
		`{"routes":-1}` + "\n":               "line 1: 0 lines follow, not -1",
		`{"routes":1}` + "\n{}":              "line 1: 0 lines follow, not 1",
		`{"routes":1}` + "\n{}\n{}\n":        "line 1: 2 lines follow, not 1",
		`{"routes":1}` + "\n\n":              "line 2: EOF",
		`{"routes":1}` + "\n" + `{"app":1}`:  "line 1: 0 lines follow, not 1",
		`{"routes":2}` + "\n{}\n{\"x\":1}\n": `line 3: unknown field "x"`,
		"{} {}\n":                            "line 1: there is more than one value",
	} {
		_, err := new(route.Reader).Read([]byte(text))
		if (err == nil) != (cause == "") || err != nil && landward.AsError(err).Cause != cause {
			t.Errorf("%q: got %v, want %q", text, err, cause)
		}
	}
}

// TestCheckKnown holds that a route which has been checked is not looked at
// alone again, but still beside the others.
func TestCheckKnown(t *testing.T) {
	before := good()
	next := good()
	next.Routes = append(before.Routes[:len(before.Routes):len(before.Routes)], &route.Route{
		App: "c", AppID: 3, Hosts: []string{"b.test"}, State: route.StateUp,
	})
	if err := next.Check(before); err == nil || landward.AsError(err).Field != "routes[3].hosts[0]" {
		t.Errorf("two apps with one host: %v", err)
	}
	next.Routes[3].Hosts[0] = "Upper"
	if err := next.Check(before); err == nil || landward.AsError(err).Field != "routes[3].hosts[0]" {
		t.Errorf("a bad new route: %v", err)
	}
}

// TestCheckKnownInAnyOrder holds that routes of before are found where one or
// some have come, gone or changed. Those of before are wrong here, so that each
// that is looked at again is refused.
func TestCheckKnownInAnyOrder(t *testing.T) {
	var before route.Table
	for i := range 20 {
		before.Routes = append(before.Routes, &route.Route{App: "old", AppID: int64(i), State: "wrong"})
	}
	fresh := func(n int) (list []*route.Route) {
		for i := range n {
			list = append(list, &route.Route{App: "new", AppID: int64(100 + i), State: route.StateUp})
		}
		return list
	}
	for name, c := range map[string]struct{ from, to, fresh int }{
		"the same":             {0, 0, 0},
		"one more in front":    {0, 0, 1},
		"some more":            {7, 7, 5},
		"one more at the end":  {20, 20, 1},
		"one less in front":    {0, 1, 0},
		"one less":             {7, 8, 0},
		"one other":            {7, 8, 1},
		"two others in a row":  {7, 9, 2},
		"many others in a row": {3, 15, 12},
		"one for two":          {7, 9, 1},
	} {
		t.Run(name, func(t *testing.T) {
			next := route.Table{Routes: slices.Concat(before.Routes[:c.from], fresh(c.fresh), before.Routes[c.to:])}
			if err := next.Check(before); err != nil {
				t.Error(err)
			}
		})
	}
	if err := before.Check(route.Table{}); err == nil {
		t.Error("the routes of before are not wrong, so that nothing was tested")
	}
}

// TestReaderForgets holds that a reader keeps no more than the tables of late.
func TestReaderForgets(t *testing.T) {
	var r route.Reader
	table := good()
	for i := range 100 {
		table.Generation++
		table.Routes[0].Release = i
		if _, err := r.Read(table.Text()); err != nil {
			t.Fatal(err)
		}
	}
	if n, most := r.Lines(), 2*len(table.Routes)+1; n > most {
		t.Errorf("%d lines are known, not %d at most", n, most)
	}
}

func FuzzReader(f *testing.F) {
	f.Add(good().Text())
	f.Add([]byte(`{"routes":1}` + "\n" + `{"hosts":["x"]}` + "\n"))
	f.Add([]byte(strings.Repeat("\n", 9)))
	f.Fuzz(func(t *testing.T, text []byte) {
		var r route.Reader
		first, err := r.Read(text)
		if err != nil {
			return
		}
		again, err := r.Read(first.Text())
		if err != nil || !bytes.Equal(first.Text(), again.Text()) {
			t.Errorf("%q became %q (%v)", first.Text(), again.Text(), err)
		}
	})
}

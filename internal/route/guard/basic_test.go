package guard_test

import (
	"encoding/base64"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"golang.org/x/crypto/bcrypt"

	"landward/internal/landward"
	"landward/internal/route/guard"
)

func hashOf(tb testing.TB, password string, cost int) string {
	tb.Helper()
	h, err := bcrypt.GenerateFromPassword([]byte(password), cost)
	if err != nil {
		tb.Fatal(err)
	}
	return string(h)
}

func newBasic(tb testing.TB, users ...landward.BasicUser) *guard.Basic {
	tb.Helper()
	b, err := guard.NewBasic(users, "Staging")
	if err != nil {
		tb.Fatal(err)
	}
	return b
}

func basicOf(user, password string) []byte {
	return []byte("Basic " + base64.StdEncoding.EncodeToString([]byte(user+":"+password)))
}

func TestBasic(t *testing.T) {
	long := strings.Repeat("x", 72)
	apache := strings.Replace(hashOf(t, "apache", 4), "$2a$", "$2y$", 1)
	b := newBasic(t,
		landward.BasicUser{Name: "ada", Hash: hashOf(t, "secret", 4)},
		landward.BasicUser{Name: "bob", Hash: hashOf(t, "with:colon", 5)},
		landward.BasicUser{Name: "Łukasz", Hash: hashOf(t, "zażółć", 4)},
		landward.BasicUser{Name: "long", Hash: hashOf(t, long, 4)},
		landward.BasicUser{Name: "empty", Hash: hashOf(t, "", 4)},
		landward.BasicUser{Name: "apache", Hash: apache},
	)
	code := base64.StdEncoding.EncodeToString
	for value, want := range map[string]string{
		string(basicOf("ada", "secret")):                                     "ada",
		"bAsIc " + code([]byte("ada:secret")):                                "ada",
		"Basic    " + code([]byte("ada:secret")):                             "ada",
		string(basicOf("bob", "with:colon")):                                 "bob",
		string(basicOf("Łukasz", "zażółć")):                                  "Łukasz",
		string(basicOf("long", long)):                                        "long",
		string(basicOf("empty", "")):                                         "empty",
		string(basicOf("apache", "apache")):                                  "apache",
		string(basicOf("ada", "Secret")):                                     "",
		string(basicOf("ada", "")):                                           "",
		string(basicOf("ADA", "secret")):                                     "",
		string(basicOf("nobody", "secret")):                                  "",
		string(basicOf("bob", "with")):                                       "",
		string(basicOf("", "secret")):                                        "",
		string(basicOf("long", long+"x")):                                    "",
		string(basicOf("ada", "secret\x00")):                                 "",
		string(basicOf("ada", "secret\x00secret")):                           "", // the same key for bcrypt, which goes round
		string(basicOf("ada\n", "secret")):                                   "",
		string(basicOf(strings.Repeat("a", 129), "secret")):                  "",
		"Basic " + code([]byte("ada")):                                       "",
		"Basic " + code([]byte("ada:secret")) + "=":                          "",
		"Basic " + code([]byte("ada:secret")) + ", Basic x":                  "",
		"Basic" + code([]byte("ada:secret")):                                 "",
		"Basic\t" + code([]byte("ada:secret")):                               "",
		"Basic !!!!":                                                         "",
		"Basic ":                                                             "",
		"Basic":                                                              "",
		"Bearer " + code([]byte("ada:secret")):                               "",
		"":                                                                   "",
		"Basic " + strings.Repeat("A", 4096):                                 "",
		"Basic " + base64.RawStdEncoding.EncodeToString([]byte("ada:secre")): "",
	} {
		for range 2 { // the second comes from memory
			name, entry := b.Check([]byte(value), 0)
			if name != want || (entry == guard.Admitted) != (want != "") || entry == guard.Busy {
				t.Errorf("%q gives %q, %d; want %q", value, name, entry, want)
			}
		}
	}
	if name, entry := b.Check(nil, 0); name != "" || entry != guard.Refused {
		t.Errorf("no header gives %q, %d", name, entry)
	}
	if got := b.Challenge(); got != `Basic realm="Staging", charset="UTF-8"` {
		t.Errorf("the challenge is %s", got)
	}
}

func TestBasicSame(t *testing.T) {
	users := []landward.BasicUser{{Name: "ada", Hash: hashOf(t, "x", 4)}}
	b := newBasic(t, users...)
	other := []landward.BasicUser{{Name: "ada", Hash: hashOf(t, "x", 4)}}
	if !b.Same(users, "Staging") || b.Same(users, "") || b.Same(other, "Staging") || b.Same(nil, "Staging") {
		t.Error("Same is wrong")
	}
	none, err := guard.NewBasic(nil, "")
	if none != nil || err != nil || !none.Same(nil, "") || none.Same(users, "") {
		t.Errorf("no users give %v, %v", none, err)
	}
	quoted, err := guard.NewBasic(users, `a "b" \c`)
	if err != nil || quoted.Challenge() != `Basic realm="a \"b\" \\c", charset="UTF-8"` {
		t.Errorf("the challenge is %s, %v", quoted.Challenge(), err)
	}
	plain, err := guard.NewBasic(users, "")
	if err != nil || plain.Challenge() != `Basic realm="Restricted", charset="UTF-8"` {
		t.Errorf("the challenge is %s, %v", plain.Challenge(), err)
	}
}

// TestBasicRemembers tells a bcrypt run from memory by what it allocates.
func TestBasicRemembers(t *testing.T) {
	b := newBasic(t, landward.BasicUser{Name: "ada", Hash: hashOf(t, "secret", 4)})
	good, bad := basicOf("ada", "secret"), basicOf("ada", "wrong")
	b.Check(good, 0)
	b.Check(bad, 0)
	noAllocs(t, "a known credential", func() { b.Check(good, second) })
	noAllocs(t, "a known wrong one", func() { b.Check(bad, second) })
	noAllocs(t, "none", func() { b.Check(nil, second) })
	late := int64(0)
	runs := func(what string, value []byte, after time.Duration) {
		t.Helper()
		if n := testing.AllocsPerRun(1, func() { late += 2 * int64(after); b.Check(value, late) }); n == 0 {
			t.Errorf("%s is still known after %s", what, after)
		}
	}
	runs("a wrong credential", bad, 10*time.Second)
	runs("a credential", good, 10*time.Minute)
}

// TestBasicFlood sends far more wrong passwords than are remembered. The user
// who is known comes in all the same, and those that there is no time for are
// told so at once.
func TestBasicFlood(t *testing.T) {
	b := newBasic(t, landward.BasicUser{Name: "ada", Hash: hashOf(t, "secret", 4)})
	good := basicOf("ada", "secret")
	b.Check(good, 0)
	for i := range 1100 {
		if _, entry := b.Check(basicOf("ada", fmt.Sprint(i)), 0); entry != guard.Refused {
			t.Fatalf("wrong password %d gives %d", i, entry)
		}
	}
	noAllocs(t, "the known credential", func() { b.Check(good, 0) })
}

func TestBasicIsBusy(t *testing.T) {
	b := newBasic(t, landward.BasicUser{Name: "ada", Hash: hashOf(t, "secret", 8)})
	b.Check(basicOf("ada", "secret"), 0)
	const crowd = 200
	var busy, refused atomic.Int64
	var wg sync.WaitGroup
	begin := make(chan struct{})
	for i := range crowd {
		wg.Go(func() {
			<-begin
			switch _, entry := b.Check(basicOf("ada", fmt.Sprint(i)), 0); entry {
			case guard.Busy:
				busy.Add(1)
			case guard.Refused:
				refused.Add(1)
			default:
				t.Error("a wrong password is let in")
			}
		})
	}
	close(begin)
	if _, entry := b.Check(basicOf("ada", "secret"), 0); entry != guard.Admitted {
		t.Errorf("a known user gets %d in a flood", entry)
	}
	wg.Wait()
	if busy.Load() == 0 || refused.Load() == 0 || busy.Load()+refused.Load() != crowd {
		t.Errorf("%d are told to come back, %d are refused", busy.Load(), refused.Load())
	}
	// The flood is over: it must have left no run behind.
	if _, entry := b.Check(basicOf("ada", "another"), 0); entry != guard.Refused {
		t.Errorf("after the flood a wrong password gives %d", entry)
	}
}

// TestBasicTogether is a browser's first page: many requests with one
// credential, none of which may be told to come back.
func TestBasicTogether(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBasic(t, landward.BasicUser{Name: "ada", Hash: hashOf(t, "secret", 8)})
		var wg sync.WaitGroup
		for range 300 {
			wg.Go(func() {
				if name, entry := b.Check(basicOf("ada", "secret"), 0); name != "ada" || entry != guard.Admitted {
					t.Errorf("one of many gets %q, %d", name, entry)
				}
			})
		}
		wg.Wait()
	})
}

// TestBasicTakesAsLongForNobody compares the time for a user with a cheap hash,
// for one with a dear hash and for nobody.
func TestBasicTakesAsLongForNobody(t *testing.T) {
	b := newBasic(t, landward.BasicUser{Name: "cheap", Hash: hashOf(t, "x", 4)}, landward.BasicUser{Name: "dear", Hash: hashOf(t, "x", 10)})
	took := map[string]time.Duration{}
	for _, user := range []string{"cheap", "dear", "nobody"} {
		least := time.Hour
		for i := range 2 {
			start := time.Now()
			b.Check(basicOf(user, fmt.Sprint("wrong", i)), 0)
			least = min(least, time.Since(start))
		}
		took[user] = least
	}
	// Without care the cheap one is 64 times as fast.
	if took["cheap"] < took["dear"]/6 || took["nobody"] < took["dear"]/6 {
		t.Errorf("wrong passwords take %v", took)
	}
}

func TestBasicRefuses(t *testing.T) {
	good := hashOf(t, "x", 4)
	type users = []landward.BasicUser
	for name, tc := range map[string]struct {
		users users
		realm string
		field string
	}{
		"no name":        {users{{Name: "", Hash: good}}, "", "routes.auth.basic[0].name"},
		"colon":          {users{{Name: "a:b", Hash: good}}, "", "routes.auth.basic[0].name"},
		"control":        {users{{Name: "a\x00", Hash: good}}, "", "routes.auth.basic[0].name"},
		"long name":      {users{{Name: strings.Repeat("a", 129), Hash: good}}, "", "routes.auth.basic[0].name"},
		"twice":          {users{{Name: "a", Hash: good}, {Name: "a", Hash: good}}, "", "routes.auth.basic[1].name"},
		"no hash":        {users{{Name: "a"}}, "", "routes.auth.basic[0].hash"},
		"plain":          {users{{Name: "a", Hash: "secret"}}, "", "routes.auth.basic[0].hash"},
		"MD5":            {users{{Name: "a", Hash: "$apr1$u.8oXRHh$4gT5TVZ/yr1v3NNKtrHIy/"}}, "", "routes.auth.basic[0].hash"},
		"SHA1":           {users{{Name: "a", Hash: "{SHA}W6ph5Mm5Pz8GgiULbPgzG37mj9g="}}, "", "routes.auth.basic[0].hash"},
		"SHA512":         {users{{Name: "a", Hash: "$6$salt$" + strings.Repeat("x", 52)}}, "", "routes.auth.basic[0].hash"},
		"argon":          {users{{Name: "a", Hash: "$argon2id$v=19$m=65536,t=3,p=4$c29tZXNhbHQ$RdescudvJCsgt3ub+b27"}}, "", "routes.auth.basic[0].hash"},
		"broken bcrypt":  {users{{Name: "a", Hash: strings.Replace(good, "$2a$", "$2x$", 1)}}, "", "routes.auth.basic[0].hash"},
		"short":          {users{{Name: "a", Hash: good[:59]}}, "", "routes.auth.basic[0].hash"},
		"long":           {users{{Name: "a", Hash: good + "a"}}, "", "routes.auth.basic[0].hash"},
		"bad byte":       {users{{Name: "a", Hash: good[:59] + "!"}}, "", "routes.auth.basic[0].hash"},
		"dear":           {users{{Name: "a", Hash: strings.Replace(good, "$04$", "$15$", 1)}}, "", "routes.auth.basic[0].hash"},
		"cheap":          {users{{Name: "a", Hash: strings.Replace(good, "$04$", "$03$", 1)}}, "", "routes.auth.basic[0].hash"},
		"no cost":        {users{{Name: "a", Hash: strings.Replace(good, "$04$", "$xx$", 1)}}, "", "routes.auth.basic[0].hash"},
		"realm":          {users{{Name: "a", Hash: good}}, "a\r\nb", "routes.auth.realm"},
		"realm ASCII":    {users{{Name: "a", Hash: good}}, "ü", "routes.auth.realm"},
		"long realm":     {users{{Name: "a", Hash: good}}, strings.Repeat("a", 129), "routes.auth.realm"},
		"too many users": {make(users, 257), "", "routes.auth.basic"},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := guard.NewBasic(tc.users, tc.realm)
			wantField(t, err, tc.field)
			for _, u := range tc.users {
				if u.Hash != "" && strings.Contains(fmt.Sprintf("%+v", err), u.Hash) {
					t.Error("the error shows the hash")
				}
			}
		})
	}
}

// FuzzBasic says that a header is let in only where it is Basic and decodes to
// a user and that user's password.
func FuzzBasic(f *testing.F) {
	f.Add(string(basicOf("ada", "secret")))
	f.Add("Basic ")
	f.Add("basic YTpiOmM=")
	f.Add("Basic YWRhOnNlY3JldA")
	b, err := guard.NewBasic([]landward.BasicUser{{Name: "ada", Hash: hashOf(f, "secret", 4)}}, "")
	if err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, value string) {
		name, entry := b.Check([]byte(value), 0)
		if entry != guard.Admitted {
			if name != "" {
				t.Fatalf("%q gives the name %q", value, name)
			}
			return
		}
		code, ok := strings.CutPrefix(strings.ToLower(value[:6]), "basic ")
		plain, err := base64.StdEncoding.DecodeString(strings.TrimLeft(value[6:], " "))
		if !ok || code != "" || err != nil || string(plain) != "ada:secret" || name != "ada" {
			t.Fatalf("%q lets %q in", value, name)
		}
	})
}

func BenchmarkBasic(b *testing.B) {
	basic := newBasic(b, landward.BasicUser{Name: "ada", Hash: hashOf(b, "secret", 4)})
	value := basicOf("ada", "secret")
	b.ReportAllocs()
	for b.Loop() {
		basic.Check(value, 0)
	}
}

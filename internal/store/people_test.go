package store_test

import (
	"crypto/sha256"
	"encoding/hex"
	"maps"
	"slices"
	"testing"
	"time"

	"landward/internal/landward"
	"landward/internal/store"
)

func hash(text string) []byte {
	sum := sha256.Sum256([]byte(text))
	return sum[:]
}

func TestUsers(t *testing.T) {
	w := newWorld(t)
	ctx := t.Context()
	bob := must(w.CreateUser(ctx, "bob", false))
	must(w.CreateUser(ctx, "ada", true))
	if bob.ID == 0 || bob.Name != "bob" || bob.Admin || bob.Disabled || !bob.CreatedAt.Equal(w.clock.Now()) {
		t.Errorf("got %+v", bob)
	}
	if got := must(w.UserByName(ctx, "bob")); got != bob {
		t.Errorf("by name %+v", got)
	}
	if all := must(w.Users(ctx)); len(all) != 2 || all[0].Name != "ada" || !all[0].Admin {
		t.Errorf("all %+v", all)
	}
	if n := len(must(w.Users(ctx))); n != 2 {
		t.Errorf("count %d", n)
	}
	w.unchanged(t, "a name twice", landward.CodeConflict, func() error { _, err := w.CreateUser(ctx, "bob", true); return err })
	w.unchanged(t, "deleting nobody", landward.CodeNotFound, func() error { return w.DeleteUser(ctx, "eve") })
	_, err := w.UserByName(ctx, "eve")
	wantCode(t, "nobody", err, landward.CodeNotFound)
}

func TestDeletedUserIsGoneWhole(t *testing.T) {
	w := newWorld(t)
	ctx := t.Context()
	bob := must(w.CreateUser(ctx, "bob", false))
	app := must(w.CreateApp(ctx, "shop", landward.Actor{Kind: landward.ActorUser, ID: bob.ID, Name: "bob"}))
	must(w.AddKey(ctx, bob.ID, "laptop", "SHA256:a", "ssh-ed25519 AAAA"))
	must(w.AddToken(ctx, store.Token{Name: "own", UserID: bob.ID}, hash("own")))
	must(w.AddToken(ctx, store.Token{Name: "ci", UserID: bob.ID, AppID: app.ID, Role: landward.RoleDeployer}, hash("ci")))
	check(t, w.DeleteUser(ctx, "bob"))
	_, err := w.ActorByKey(ctx, "SHA256:a")
	wantCode(t, "his key", err, landward.CodeUnauthenticated)
	for _, text := range []string{"own", "ci"} {
		_, err = w.ActorByToken(ctx, hash(text))
		wantCode(t, "his token "+text, err, landward.CodeUnauthenticated)
	}
	must(w.App(ctx, app.ID)) // the app stays
	if again := must(w.CreateUser(ctx, "bob", false)); again.ID == bob.ID {
		t.Error("another bob has the id, and with it the history, of the first")
	}
}

func TestKeys(t *testing.T) {
	w := newWorld(t)
	ctx := t.Context()
	bob, eve := must(w.CreateUser(ctx, "bob", false)), must(w.CreateUser(ctx, "eve", false))
	k := must(w.AddKey(ctx, bob.ID, "laptop", "SHA256:a", "ssh-ed25519 AAAA"))
	want := store.Key{Fingerprint: "SHA256:a", Name: "laptop", PublicKey: "ssh-ed25519 AAAA", User: "bob", UserID: bob.ID, CreatedAt: w.clock.Now()}
	if k != want {
		t.Errorf("got %+v, want %+v", k, want)
	}
	must(w.AddKey(ctx, eve.ID, "desk", "SHA256:b", "ssh-ed25519 BBBB"))
	w.unchanged(t, "the key of somebody else", landward.CodeConflict, func() error {
		_, err := w.AddKey(ctx, eve.ID, "mine", "SHA256:a", "ssh-ed25519 AAAA")
		return err
	})
	w.unchanged(t, "a key for nobody", landward.CodeNotFound, func() error {
		_, err := w.AddKey(ctx, 99, "x", "SHA256:c", "ssh-ed25519 CCCC")
		return err
	})
	if all := must(w.Keys(ctx, 0)); len(all) != 2 || all[0].User != "bob" {
		t.Errorf("all %+v", all)
	}
	if eves := must(w.Keys(ctx, eve.ID)); len(eves) != 1 || eves[0].Name != "desk" {
		t.Errorf("eve's %+v", eves)
	}
	check(t, w.DeleteKey(ctx, "SHA256:a"))
	w.unchanged(t, "deleting it again", landward.CodeNotFound, func() error { return w.DeleteKey(ctx, "SHA256:a") })
	_, err := w.ActorByKey(ctx, "SHA256:a")
	wantCode(t, "a deleted key", err, landward.CodeUnauthenticated)
}

func TestActorByKey(t *testing.T) {
	w := newWorld(t)
	ctx := t.Context()
	bob := must(w.CreateUser(ctx, "bob", false))
	must(w.AddKey(ctx, bob.ID, "laptop", "SHA256:a", "k"))
	shop := must(w.CreateApp(ctx, "shop", landward.Actor{Kind: landward.ActorUser, ID: bob.ID, Name: "bob"}))
	blog := w.app(t, "blog")
	w.app(t, "secret")
	check(t, w.SetAppRole(ctx, blog.ID, bob.ID, landward.RoleOwner))
	check(t, w.SetAppRole(ctx, blog.ID, bob.ID, landward.RoleViewer))

	got := must(w.ActorByKey(ctx, "SHA256:a"))
	want := map[int64]landward.Role{shop.ID: landward.RoleOwner, blog.ID: landward.RoleViewer}
	if got.Kind != landward.ActorUser || got.ID != bob.ID || got.Name != "bob" || got.Admin || !maps.Equal(got.Apps, want) {
		t.Errorf("got %+v", got)
	}
	if m := must(w.AppMembers(ctx, blog.ID)); !slices.Equal(m, []store.Member{{User: "bob", Role: landward.RoleViewer}}) {
		t.Errorf("members %+v", m)
	}
	check(t, w.SetAppRole(ctx, blog.ID, bob.ID, ""))
	if m := must(w.AppMembers(ctx, blog.ID)); len(m) != 0 {
		t.Errorf("members %+v", m)
	}
	delete(want, blog.ID)
	if got := must(w.ActorByKey(ctx, "SHA256:a")); !maps.Equal(got.Apps, want) {
		t.Errorf("after a role was taken away: %+v", got)
	}
	_, err := w.raw(t).Exec(`UPDATE users SET disabled = 1`)
	check(t, err)
	_, err = w.ActorByKey(ctx, "SHA256:a")
	wantCode(t, "disabled", err, landward.CodeUnauthenticated)
	_, err = w.ActorByKey(ctx, "SHA256:none")
	wantCode(t, "unknown", err, landward.CodeUnauthenticated)
}

func TestActorByToken(t *testing.T) {
	w := newWorld(t)
	ctx := t.Context()
	root, bob := must(w.CreateUser(ctx, "root", true)), must(w.CreateUser(ctx, "bob", false))
	shop, blog := w.app(t, "shop"), w.app(t, "blog")
	check(t, w.SetAppRole(ctx, shop.ID, bob.ID, landward.RoleDeployer))
	add := func(name string, userID, appID int64, role landward.Role) int64 {
		return must(w.AddToken(ctx, store.Token{Name: name, UserID: userID, AppID: appID, Role: role}, hash(name))).ID
	}
	roles := func(r landward.Role) map[int64]landward.Role { return map[int64]landward.Role{shop.ID: r} }
	tests := []struct {
		name string
		id   int64
		want landward.Actor
	}{
		{"his own", add("his own", bob.ID, 0, ""), landward.Actor{Kind: landward.ActorUser, ID: bob.ID, Name: "bob", Apps: roles(landward.RoleDeployer)}},
		{"an administrator's", add("an administrator's", root.ID, 0, ""), landward.Actor{Kind: landward.ActorUser, ID: root.ID, Name: "root", Admin: true}},
		{"of the app alone", add("of the app alone", 0, shop.ID, landward.RoleOwner), landward.Actor{Kind: landward.ActorToken, Apps: roles(landward.RoleOwner)}},
		{"less than its user", add("less than its user", bob.ID, shop.ID, landward.RoleViewer), landward.Actor{Kind: landward.ActorToken, Apps: roles(landward.RoleViewer)}},
		{"more than its user", add("more than its user", bob.ID, shop.ID, landward.RoleOwner), landward.Actor{Kind: landward.ActorToken, Apps: roles(landward.RoleDeployer)}},
		{"for an app its user lost", add("for an app its user lost", bob.ID, blog.ID, landward.RoleOwner), landward.Actor{Kind: landward.ActorToken}},
		{"an administrator's for an app", add("an administrator's for an app", root.ID, shop.ID, landward.RoleOwner), landward.Actor{Kind: landward.ActorToken, Apps: roles(landward.RoleOwner)}},
		{"a role that is none", add("a role that is none", bob.ID, shop.ID, "god"), landward.Actor{Kind: landward.ActorToken}},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			if test.want.Kind == landward.ActorToken {
				test.want.ID, test.want.Name = test.id, test.name
			}
			got := must(w.ActorByToken(ctx, hash(test.name)))
			if got.Kind != test.want.Kind || got.ID != test.want.ID || got.Name != test.want.Name ||
				got.Admin != test.want.Admin || !maps.Equal(got.Apps, test.want.Apps) {
				t.Errorf("got %+v, want %+v", got, test.want)
			}
		})
	}
	_, err := w.raw(t).Exec(`UPDATE users SET disabled = 1 WHERE name = 'bob'`)
	check(t, err)
	for _, name := range []string{"his own", "less than its user"} {
		_, err := w.ActorByToken(ctx, hash(name))
		wantCode(t, name+" while he is disabled", err, landward.CodeUnauthenticated)
	}
}

func TestTokens(t *testing.T) {
	w := newWorld(t)
	ctx := t.Context()
	bob := must(w.CreateUser(ctx, "bob", false))
	app := w.app(t, "shop")
	expires := w.clock.Now().Add(time.Hour)
	tok := must(w.AddToken(ctx, store.Token{Name: "ci", Prefix: "lw_abc", UserID: bob.ID, AppID: app.ID, Role: landward.RoleDeployer, ExpiresAt: expires}, hash("t")))
	want := store.Token{ID: tok.ID, Name: "ci", Prefix: "lw_abc", UserID: bob.ID, User: "bob", AppID: app.ID, App: "shop",
		Role: landward.RoleDeployer, CreatedAt: w.clock.Now(), ExpiresAt: expires}
	if tok != want {
		t.Errorf("got %+v, want %+v", tok, want)
	}
	for what, refused := range map[string]struct {
		t    store.Token
		hash []byte
		want landward.Code
	}{
		"of nobody":          {store.Token{Name: "x"}, hash("x"), landward.CodeInternal},
		"an app, no role":    {store.Token{Name: "x", AppID: app.ID}, hash("x"), landward.CodeInternal},
		"a role, no app":     {store.Token{Name: "x", UserID: bob.ID, Role: landward.RoleOwner}, hash("x"), landward.CodeInternal},
		"a short hash":       {store.Token{Name: "x", UserID: bob.ID}, []byte("x"), landward.CodeInternal},
		"the same again":     {store.Token{Name: "x", UserID: bob.ID}, hash("t"), landward.CodeConflict},
		"of an unknown user": {store.Token{Name: "x", UserID: 99}, hash("x"), landward.CodeNotFound},
	} {
		w.unchanged(t, what, refused.want, func() error { _, err := w.AddToken(ctx, refused.t, refused.hash); return err })
	}
	must(w.ActorByToken(ctx, hash("t")))
	w.clock.Advance(time.Hour)
	_, err := w.ActorByToken(ctx, hash("t"))
	wantCode(t, "expired", err, landward.CodeUnauthenticated)
	_, err = w.ActorByToken(ctx, hash("none"))
	wantCode(t, "unknown", err, landward.CodeUnauthenticated)
	if all := must(w.Tokens(ctx)); len(all) != 1 || all[0].LastUsed.IsZero() {
		t.Errorf("all %+v", all)
	}
	check(t, w.DeleteToken(ctx, tok.ID))
	w.unchanged(t, "deleting it again", landward.CodeNotFound, func() error { return w.DeleteToken(ctx, tok.ID) })
}

func TestLastUsed(t *testing.T) {
	w := newWorld(t)
	ctx := t.Context()
	bob := must(w.CreateUser(ctx, "bob", false))
	must(w.AddKey(ctx, bob.ID, "laptop", "SHA256:a", "k"))
	must(w.AddToken(ctx, store.Token{Name: "t", UserID: bob.ID}, hash("t")))
	for _, step := range []struct {
		pass time.Duration
		note bool
	}{{0, true}, {59 * time.Second, false}, {time.Second, true}, {time.Second, false}, {time.Hour, true}} {
		w.clock.Advance(step.pass)
		before := w.dump(t)
		must(w.ActorByKey(ctx, "SHA256:a"))
		must(w.ActorByToken(ctx, hash("t")))
		if noted := w.dump(t) != before; noted != step.note {
			t.Errorf("after %s: noted %v, want %v", step.pass, noted, step.note)
		}
		if step.note {
			if k, tok := must(w.Keys(ctx, 0))[0], must(w.Tokens(ctx))[0]; !k.LastUsed.Equal(w.clock.Now()) || !tok.LastUsed.Equal(w.clock.Now()) {
				t.Errorf("last used: key %s, token %s", k.LastUsed, tok.LastUsed)
			}
		}
	}
}

func TestBootstrap(t *testing.T) {
	w := newWorld(t)
	ctx := t.Context()
	use := func(token, user string) error {
		_, err := w.UseBootstrap(ctx, []byte(token), user, store.Token{Name: "first", Prefix: "lw_"}, hash("its token"))
		return err
	}
	w.unchanged(t, "before there is one", landward.CodeForbidden, func() error { return use("", "ada") })
	check(t, w.SetFact(ctx, store.BootstrapFact, hex.EncodeToString(hash("once"))))
	for _, token := range []string{"", "twice", hex.EncodeToString(hash("once")), "once "} {
		w.unchanged(t, "token "+token, landward.CodeForbidden, func() error { return use(token, "ada") })
	}
	must(w.CreateUser(ctx, "bob", false))
	w.unchanged(t, "a name that is taken", landward.CodeConflict, func() error { return use("once", "bob") })

	won := race(t, 6, landward.CodeForbidden, func(i int) error {
		_, err := w.UseBootstrap(ctx, []byte("once"), "ada"+string(rune('a'+i)), store.Token{Name: "first"}, hash(string(rune('a'+i))))
		return err
	})
	if won != 1 {
		t.Errorf("it made %d administrators", won)
	}
	users := must(w.Users(ctx))
	if len(users) != 2 || !users[0].Admin {
		t.Fatalf("users %+v", users)
	}
	tokens := must(w.Tokens(ctx))
	if len(tokens) != 1 || tokens[0].UserID != users[0].ID || tokens[0].AppID != 0 {
		t.Errorf("tokens %+v", tokens)
	}
	w.unchanged(t, "again", landward.CodeForbidden, func() error { return use("once", "eve") })
}

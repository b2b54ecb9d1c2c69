package auth_test

import (
	"slices"
	"strings"
	"testing"

	"landward/internal/auth"
	"landward/internal/landward"
)

const (
	shop, blog int64 = 1, 2
)

func on(app int64, r landward.Role) map[int64]landward.Role { return map[int64]landward.Role{app: r} }

// TestWhoMayDoWhat is the whole table: for each actor, all that it may do in
// general, on the app shop, and on the app blog. What is not listed is forbidden.
func TestWhoMayDoWhat(t *testing.T) {
	const (
		viewer   = "app.read"
		deployer = viewer + " app.logs app.deploy app.config.read"
		owner    = deployer + " app.config.write app.scale app.domains app.run app.members app.delete"
		user     = "public self app.create token.create"
	)
	var all []string
	for _, p := range auth.Permissions() {
		all = append(all, string(p))
	}
	everything := strings.Join(all, " ")
	tests := map[string]struct {
		actor               landward.Actor
		general, shop, blog string
	}{
		"nobody":            {landward.Actor{}, "public", "public", "public"},
		"nobody, claiming":  {landward.Actor{Admin: true, Apps: on(shop, landward.RoleOwner)}, "public", "public", "public"},
		"an unknown kind":   {landward.Actor{Kind: "robot", Admin: true}, "public", "public", "public"},
		"the system":        {landward.System, everything, everything, everything},
		"the server's root": {landward.Actor{Kind: landward.ActorLocal, Name: "root"}, everything, everything, everything},
		"an administrator":  {landward.Actor{Kind: landward.ActorUser, Admin: true}, everything, everything, everything},
		"a user":            {landward.Actor{Kind: landward.ActorUser}, user, "public self", "public self"},
		"a viewer of shop": {landward.Actor{Kind: landward.ActorUser, Apps: on(shop, landward.RoleViewer)},
			user, "public self " + viewer, "public self"},
		"a deployer of shop": {landward.Actor{Kind: landward.ActorUser, Apps: on(shop, landward.RoleDeployer)},
			user, "public self " + deployer, "public self"},
		"the owner of shop": {landward.Actor{Kind: landward.ActorUser, Apps: on(shop, landward.RoleOwner)},
			user, "public self token.create " + owner, "public self"},
		"a made-up role":   {landward.Actor{Kind: landward.ActorUser, Apps: on(shop, "god")}, user, "public self", "public self"},
		"a role on no app": {landward.Actor{Kind: landward.ActorUser, Apps: on(0, landward.RoleOwner)}, user, "public self", "public self"},
		"a token for shop": {landward.Actor{Kind: landward.ActorToken, Apps: on(shop, landward.RoleDeployer)},
			"public self", "public self " + deployer, "public self"},
		"an owner's token for shop": {landward.Actor{Kind: landward.ActorToken, Apps: on(shop, landward.RoleOwner)},
			"public self", "public self " + owner, "public self"},
		"a token that says it is an administrator": {landward.Actor{Kind: landward.ActorToken, Admin: true},
			"public self", "public self", "public self"},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			for app, want := range map[int64]string{0: test.general, shop: test.shop, blog: test.blog} {
				allowed := strings.Fields(want)
				for _, p := range auth.Permissions() {
					if got, want := auth.Can(test.actor, p, app), slices.Contains(allowed, string(p)); got != want {
						t.Errorf("app %d: Can(%s) = %v, want %v", app, p, got, want)
					}
				}
			}
		})
	}
}

func TestWhatDoesNotExistIsForbidden(t *testing.T) {
	for _, p := range []auth.Permission{"", "app.destroy", "PUBLIC", "app.read "} {
		for _, app := range []int64{0, shop} {
			if auth.Can(landward.System, p, app) {
				t.Errorf("%q is allowed", p)
			}
		}
	}
}

func TestCheckRole(t *testing.T) {
	for _, r := range []landward.Role{landward.RoleViewer, landward.RoleDeployer, landward.RoleOwner} {
		if err := auth.CheckRole(r); err != nil {
			t.Error(err)
		}
	}
	for _, r := range []landward.Role{"", "admin", "Owner"} {
		if landward.CodeOf(auth.CheckRole(r)) != landward.CodeInvalid {
			t.Errorf("%q is a role", r)
		}
	}
}

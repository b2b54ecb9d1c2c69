// Package auth owns who may do what: permissions and the roles that carry
// them, the form of tokens and SSH keys, and the brake on guessing. It must
// never know how a request came in, nor where users are stored.
package auth

import (
	"slices"

	"landward/internal/landward"
)

// Permission is one thing that somebody may be allowed to do. Every route and
// every command over SSH declares exactly one.
type Permission string

// The permissions that need no app.
const (
	Public      Permission = "public"       // anybody, signed in or not
	Self        Permission = "self"         // anybody who is signed in, about themselves
	AppCreate   Permission = "app.create"   // make an app
	TokenCreate Permission = "token.create" // make a token: for oneself, or for an app that one owns
	UserAdmin   Permission = "user.admin"   // users, their keys and tokens
	SystemRead  Permission = "system.read"  // how the host and the installation are doing
	SystemAdmin Permission = "system.admin" // change the installation
)

// The permissions on one app.
const (
	AppRead        Permission = "app.read" // that it exists, what runs, its releases and deployments
	AppLogs        Permission = "app.logs"
	AppDeploy      Permission = "app.deploy"       // push, deploy, roll back, cancel
	AppConfigRead  Permission = "app.config.read"  // variables but for secret values
	AppConfigWrite Permission = "app.config.write" // variables
	AppScale       Permission = "app.scale"        // replicas, limits, health rules, restart, stop
	AppDomains     Permission = "app.domains"
	AppRun         Permission = "app.run"     // a command in a container of it
	AppMembers     Permission = "app.members" // who has which role on it
	AppDelete      Permission = "app.delete"
)

// rolePermissions is the whole of what a role may do on an app. Variables can hold
// credentials that nobody marked as secret, so a viewer does not read them; who
// deploys could read them through the app.
func rolePermissions(r landward.Role) []Permission {
	switch r {
	case landward.RoleViewer:
		return []Permission{AppRead}
	case landward.RoleDeployer:
		return []Permission{AppRead, AppLogs, AppDeploy, AppConfigRead}
	case landward.RoleOwner:
		return []Permission{
			AppRead, AppLogs, AppDeploy, AppConfigRead, AppConfigWrite, AppScale,
			AppDomains, AppRun, AppMembers, AppDelete, TokenCreate,
		}
	}
	return nil
}

// userPermissions are what every user may do, whatever their roles.
func userPermissions() []Permission { return []Permission{Self, AppCreate, TokenCreate} }

// Permissions returns all permissions there are.
func Permissions() []Permission {
	all := append([]Permission{Public, UserAdmin, SystemRead, SystemAdmin}, userPermissions()...)
	all = append(all, rolePermissions(landward.RoleOwner)...)
	slices.Sort(all)
	return slices.Compact(all)
}

// CheckRole says what is wrong with a role's name, or nil.
func CheckRole(r landward.Role) error {
	if rolePermissions(r) == nil {
		return landward.Invalid("role", "%q is not a role", landward.Printable(string(r))).
			WithHint("use %s, %s or %s", landward.RoleViewer, landward.RoleDeployer, landward.RoleOwner)
	}
	return nil
}

// Can reports whether actor may do p: on the app, or, where appID is 0, in
// general. What is not allowed here is forbidden; so is a permission that
// does not exist, even to administrators.
func Can(actor landward.Actor, p Permission, appID int64) bool {
	if p == Public {
		return true
	}
	if !slices.Contains(Permissions(), p) {
		return false
	}
	switch actor.Kind {
	case landward.ActorSystem, landward.ActorLocal:
		return true
	case landward.ActorUser:
		if actor.Admin {
			return true
		}
		if appID == 0 {
			return slices.Contains(userPermissions(), p)
		}
		return p == Self || slices.Contains(rolePermissions(actor.Apps[appID]), p)
	case landward.ActorToken:
		// A token that is bound to apps makes no other tokens: whoever stole it
		// would outlive it.
		if p == Self {
			return true
		}
		return p != TokenCreate && appID != 0 && slices.Contains(rolePermissions(actor.Apps[appID]), p)
	}
	return false
}

package api

import "landward/internal/landward"

type permission string

const (
	permPublic       permission = "public"
	permSelf         permission = "self"
	permAdmin        permission = "admin"
	permAppCreate    permission = "app.create"
	permAppRead      permission = "app.read"
	permConfigRead   permission = "config.read"
	permLogsRead     permission = "logs.read"
	permAppDeploy    permission = "app.deploy"
	permAppConfigure permission = "app.configure"
	permAppExec      permission = "app.exec"
	permAppManage    permission = "app.manage"
)

func can(a landward.Actor, p permission, appID int64) bool { panic("") }

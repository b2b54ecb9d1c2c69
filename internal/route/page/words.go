package page

import (
	"net/http"

	"landward/internal/route"
)

// words says what happened, for a person.
func words(f route.Fault) (title, text string) {
	app := f.App
	if app == "" {
		app = "The app"
	}
	switch f.Code {
	case route.CodeNoTarget:
		return standing(f.State, app)
	case route.CodeHeld:
		return held(f.State, app)
	case route.CodeMaintenance:
		return app + " is under maintenance", "It will be back soon."
	case route.CodeRefused:
		return app + " is not answering", "The app is not taking connections at the moment. Please try again soon."
	case route.CodeReset:
		return app + " hung up", "The app closed the connection before it had answered."
	case route.CodeTimeout:
		return app + " took too long", "The app did not answer in time."
	case route.CodeBadAnswer:
		return app + " gave a broken answer", "What the app sent is not valid HTTP."
	case route.CodeCut:
		return "Interrupted", "The request was still running when its version of the app was retired."
	}
	return ours(f)
}

// ours says what the edge itself has to say.
func ours(f route.Fault) (title, text string) {
	switch f.Code {
	case route.CodeUnknownHost:
		return "Nothing here", "No app answers at this address."
	case route.CodeNotFound:
		return "Not found", "There is nothing at this address."
	case route.CodeForbidden:
		return "No entry", "Requests from your address are not let in here."
	case route.CodeUnauthorized:
		return "Sign-in needed", "Only those who are known here are let in. Try again to give your name and password."
	case route.CodeRateLimited:
		return "Too many requests", "More requests came from your address than are taken in so short a time. Please wait a little."
	case route.CodeUpstream:
		return "Sign-in is not answering", "The service that says who is let in is not answering. Please try again soon."
	case route.CodeMisdirected:
		return "Wrong connection", "This address needs a connection of its own. Trying again usually helps."
	case route.CodeRedirected:
		return "Moved", "What you are looking for is at another address."
	case route.CodeTooLarge:
		return "Too much at once", "The request's body is larger than this app takes."
	case route.CodeHeaderLarge:
		return "Headers too large", "The request's headers are larger than this server takes. Removing cookies may help."
	case route.CodeSlow:
		return "Too slow", "The request did not arrive in time."
	case route.CodeBadRequest:
		return "Bad request", "The request could not be understood."
	case route.CodeBusy:
		return "Too busy", "This server has more connections than it can take. Please try again soon."
	case route.CodeInternal:
		return "Something went wrong", "The fault is this server's, not yours."
	case route.CodeShuttingDown:
		return "One moment", "This server is being restarted. Please try again."
	}
	if title = http.StatusText(f.Status); title == "" {
		title = "Error"
	}
	return title, "The request could not be served."
}

func standing(s route.State, app string) (title, text string) {
	switch s {
	case route.StateStarting:
		return app + " is starting", "The first deployment is under way. This page tries again by itself."
	case route.StateStopped:
		return app + " is stopped", "Its owner has stopped it."
	case route.StateEmpty:
		return app + " has nothing deployed yet", "Push some code and it will answer here."
	case route.StateAsleep, route.StatePaused:
		return held(s, app)
	}
	return app + " is down", "No part of the app is answering at the moment. Please try again soon."
}

// held says why a request has waited in vain.
func held(s route.State, app string) (title, text string) {
	if s == route.StatePaused {
		return app + " is paused", "Its owner has paused it, and it was not resumed while this request waited. Nothing was lost but time."
	}
	return app + " is still waking up", "It was asleep and has not started in time for this request. Please try again soon."
}

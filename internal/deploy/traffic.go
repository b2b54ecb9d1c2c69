package deploy

import (
	"context"
	"fmt"
	"slices"
	"time"

	"landward/internal/landward"
	"landward/internal/store"
)

// maxMessage bounds the words on a maintenance page, in bytes.
const maxMessage = 500

// Bounds of how long a request may be held by a pause.
const (
	minPause = time.Second
	maxPause = 10 * time.Minute
)

// Maintenance shows a page in the app's stead, or stops to.
func (d *Deployer) Maintenance(ctx context.Context, actor landward.Actor, appID int64, on bool, message string) (landward.Traffic, error) {
	if len(message) > maxMessage {
		return landward.Traffic{}, landward.Invalid("message", "the message is longer than %d bytes", maxMessage)
	}
	what, kind := "maintenance page on", "maintenance.on"
	if !on {
		what, kind, message = "maintenance page off", "maintenance.off", ""
	}
	return d.traffic(ctx, actor, appID, kind, what, func(t landward.Traffic) landward.Traffic {
		t.Maintenance, t.Message = on, landward.CleanLine(message)
		return t
	})
}

// Pause holds the app's requests, each for at most limit; 0: as long as the
// edge holds one.
func (d *Deployer) Pause(ctx context.Context, actor landward.Actor, appID int64, limit time.Duration) (landward.Traffic, error) {
	if limit != 0 && (limit < minPause || limit > maxPause) {
		return landward.Traffic{}, landward.Invalid("max_pause", "a request cannot be held for %s", limit).
			WithHint("give %s to %s", minPause, maxPause)
	}
	return d.traffic(ctx, actor, appID, "traffic.pause", "requests are held", func(t landward.Traffic) landward.Traffic {
		t.Paused, t.MaxPause = true, limit
		return t
	})
}

// Resume lets the app's requests go on.
func (d *Deployer) Resume(ctx context.Context, actor landward.Actor, appID int64) (landward.Traffic, error) {
	return d.traffic(ctx, actor, appID, "traffic.resume", "requests go on", func(t landward.Traffic) landward.Traffic {
		t.Paused, t.MaxPause = false, 0
		return t
	})
}

// Sleep stops the web processes of an app that nobody has asked anything for
// its time, where its release says that it may sleep and none of its cron jobs
// runs. Who says that an app is idle says it again while that lasts.
func (d *Deployer) Sleep(ctx context.Context, appID int64) error {
	app, err := d.Store.App(ctx, appID)
	if err != nil || app.Current == 0 || app.Stopped || app.Traffic.Asleep || app.Traffic.Paused {
		return err
	}
	rel, err := d.Store.Release(ctx, appID, app.Current)
	if err != nil || rel.Routing.Idle.SleepAfter <= 0 {
		return err
	}
	runs, err := d.Store.RunningCrons(ctx)
	if err != nil || slices.ContainsFunc(runs, func(r store.CronRun) bool { return r.AppID == appID }) {
		return err
	}
	_, err = d.traffic(ctx, landward.System, appID, "app.sleep", "asleep after "+rel.Routing.Idle.SleepAfter.String()+" without a request",
		func(t landward.Traffic) landward.Traffic {
			t.Asleep = true
			return t
		})
	return err
}

// Wake starts an app that sleeps: a request waits for it.
func (d *Deployer) Wake(ctx context.Context, appID int64) error {
	app, err := d.Store.App(ctx, appID)
	if err != nil || !app.Traffic.Asleep {
		return err
	}
	_, err = d.traffic(ctx, landward.System, appID, "app.wake", "woken by a request", func(t landward.Traffic) landward.Traffic {
		t.Asleep, t.Returned = false, 0
		return t
	})
	return err
}

func (d *Deployer) traffic(ctx context.Context, actor landward.Actor, appID int64, kind, what string, change func(landward.Traffic) landward.Traffic) (landward.Traffic, error) {
	app, err := d.Store.App(ctx, appID)
	if err != nil {
		return landward.Traffic{}, err
	}
	now, err := d.Store.UpdateTraffic(ctx, appID, change)
	if err != nil {
		return now, err
	}
	if now != app.Traffic {
		d.event(ctx, app, actor, kind, fmt.Sprintf("%s: %s", app.Name, what))
		d.Notify.Publish(appID)
	}
	return now, nil
}

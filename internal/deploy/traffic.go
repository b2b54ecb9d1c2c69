package deploy

import (
	"context"
	"fmt"

	"landward/internal/landward"
)

// maxMessage bounds the words on a maintenance page, in bytes.
const maxMessage = 500

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

// Pause holds the app's requests, or lets them go on.
func (d *Deployer) Pause(ctx context.Context, actor landward.Actor, appID int64, on bool) (landward.Traffic, error) {
	what, kind := "requests are held", "traffic.pause"
	if !on {
		what, kind = "requests go on", "traffic.resume"
	}
	return d.traffic(ctx, actor, appID, kind, what, func(t landward.Traffic) landward.Traffic {
		t.Paused = on
		return t
	})
}

// Sleep stops the web processes of an app that nobody has asked anything for
// its time, where its release says that it may sleep.
func (d *Deployer) Sleep(ctx context.Context, appID int64) error {
	app, err := d.Store.App(ctx, appID)
	if err != nil || app.Current == 0 || app.Stopped || app.Traffic.Asleep || app.Traffic.Paused {
		return err
	}
	rel, err := d.Store.Release(ctx, appID, app.Current)
	if err != nil || rel.Routing.Idle.SleepAfter <= 0 {
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
		t.Asleep = false
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

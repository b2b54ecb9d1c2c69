package store

import (
	"context"
	"encoding/json"
	"fmt"
	"time"

	"landward/internal/landward"
)

// Event is something that happened, for people to read. Ids count up.
type Event struct {
	ID      int64
	At      time.Time
	AppID   int64  // 0: of the installation
	App     string // the app's name at that time
	Actor   landward.Actor
	Kind    string // "deploy.live", "config.set", "key.add"
	Message string
	Data    map[string]string // never secrets
}

// AddEvent writes an event. ID is given by the store; so is At when it is zero, and
// App when only AppID is set.
func (s *Store) AddEvent(ctx context.Context, e Event) error {
	return s.write(ctx, "add event", func(t tx) error { return addEvent(ctx, t, e) })
}

func addEvent(ctx context.Context, t tx, e Event) error {
	actor, err := json.Marshal(e.Actor)
	if err != nil {
		return fmt.Errorf("encode actor: %w", err)
	}
	if e.Data == nil {
		e.Data = map[string]string{}
	}
	data, err := json.Marshal(e.Data)
	if err != nil {
		return fmt.Errorf("encode event: %w", err)
	}
	if e.At.IsZero() {
		e.At = t.now
	}
	_, err = t.exec(ctx, `INSERT INTO events (at, app_id, app, actor, kind, message, data)
		VALUES (?1, ?2, CASE WHEN ?3 = '' THEN coalesce((SELECT name FROM apps WHERE id = ?2), '') ELSE ?3 END, ?4, ?5, ?6, ?7)`,
		millis(e.At), e.AppID, e.App, string(actor), e.Kind, e.Message, string(data))
	return err
}

// Events returns the newest events first: those of an app (0: of all) with an
// id below before (0: from the newest). limit 0 means all.
func (s *Store) Events(ctx context.Context, appID int64, before int64, limit int) ([]Event, error) {
	events, err := list(ctx, s.reader, scanEvent, `SELECT id, at, app_id, app, actor, kind, message, data FROM events
		WHERE (?1 = 0 OR app_id = ?1) AND (?2 = 0 OR id < ?2) ORDER BY id DESC LIMIT ?3`, appID, before, rowLimit(limit))
	if err != nil {
		return nil, fmt.Errorf("list events: %w", err)
	}
	return events, nil
}

func scanEvent(row scanner) (Event, error) {
	var e Event
	var at int64
	var actor, data []byte
	err := row.Scan(&e.ID, &at, &e.AppID, &e.App, &actor, &e.Kind, &e.Message, &data)
	if err != nil {
		return Event{}, err
	}
	e.At = moment(at)
	if e.Actor, err = landward.ParseJSON[landward.Actor](actor); err != nil {
		return Event{}, fmt.Errorf("decode actor of event %d: %w", e.ID, err)
	}
	if e.Data, err = landward.ParseJSON[map[string]string](data); err != nil {
		return Event{}, fmt.Errorf("decode event %d: %w", e.ID, err)
	}
	return e, nil
}

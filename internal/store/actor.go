package store

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"slices"
	"time"

	"landward/internal/landward"
)

// touchEvery is how exact "last used" is: seldom enough that signing in is
// nearly always a read.
const touchEvery = time.Minute

// ActorByKey returns who a verified SSH key belongs to, with the user's roles.
// CodeUnauthenticated: nobody, or a disabled user.
func (s *Store) ActorByKey(ctx context.Context, fingerprint string) (landward.Actor, error) {
	var u User
	var used int64
	err := s.reader.QueryRowContext(ctx, `SELECT u.id, u.name, u.admin, u.disabled, k.last_used
		FROM ssh_keys k JOIN users u ON u.id = k.user_id WHERE k.fingerprint = ?`, fingerprint).
		Scan(&u.ID, &u.Name, &u.Admin, &u.Disabled, &used)
	if errors.Is(err, sql.ErrNoRows) || (err == nil && u.Disabled) {
		err = landward.Errorf(landward.CodeUnauthenticated, "this SSH key belongs to nobody here").
			WithHint("an administrator can add it: landward keys add NAME < key.pub")
	}
	if err != nil {
		return landward.Actor{}, fmt.Errorf("look up key: %w", readable(err))
	}
	a, err := s.userActor(ctx, u)
	if err != nil {
		return landward.Actor{}, fmt.Errorf("look up key: %w", err)
	}
	s.touch(ctx, moment(used), `UPDATE ssh_keys SET last_used = ? WHERE fingerprint = ?`, fingerprint)
	return a, nil
}

// ActorByToken returns who a token (by the SHA-256 of its text) speaks for:
// its user, or, for one that is bound to an app, a machine with a role on
// that app that never exceeds its user's. CodeUnauthenticated: nobody, it has
// expired, or its user is disabled.
func (s *Store) ActorByToken(ctx context.Context, hash []byte) (landward.Actor, error) {
	t, u, err := s.tokenByHash(ctx, hash)
	if err != nil {
		return landward.Actor{}, fmt.Errorf("look up token: %w", readable(err))
	}
	var a landward.Actor
	if t.UserID != 0 {
		if a, err = s.userActor(ctx, u); err != nil {
			return landward.Actor{}, fmt.Errorf("look up token: %w", err)
		}
	}
	if t.AppID != 0 {
		role := t.Role
		if t.UserID != 0 && !a.Admin {
			role = lesser(role, a.Apps[t.AppID])
		}
		a = landward.Actor{Kind: landward.ActorToken, ID: t.ID, Name: t.Name, Apps: map[int64]landward.Role{}}
		if role != "" {
			a.Apps[t.AppID] = role
		}
	}
	s.touch(ctx, t.LastUsed, `UPDATE tokens SET last_used = ? WHERE id = ?`, t.ID)
	return a, nil
}

func (s *Store) tokenByHash(ctx context.Context, hash []byte) (Token, User, error) {
	var t Token
	var u User
	var expires, used int64
	err := s.reader.QueryRowContext(ctx, `SELECT t.id, t.name, coalesce(t.user_id, 0), coalesce(t.app_id, 0), t.role, t.expires_at, t.last_used,
		coalesce(u.name, ''), coalesce(u.admin, 0), coalesce(u.disabled, 0)
		FROM tokens t LEFT JOIN users u ON u.id = t.user_id WHERE t.hash = ?`, hash).
		Scan(&t.ID, &t.Name, &t.UserID, &t.AppID, &t.Role, &expires, &used, &u.Name, &u.Admin, &u.Disabled)
	u.ID, t.ExpiresAt, t.LastUsed = t.UserID, moment(expires), moment(used)
	switch {
	case errors.Is(err, sql.ErrNoRows), err == nil && u.Disabled:
		err = landward.Errorf(landward.CodeUnauthenticated, "this token is not valid").
			WithHint("sign in again with `landward login`, or make a new token")
	case err == nil && !t.ExpiresAt.IsZero() && !s.now().Before(t.ExpiresAt):
		err = landward.Errorf(landward.CodeUnauthenticated, "this token has expired").
			WithHint("sign in again with `landward login`, or make a new token")
	}
	return t, u, err
}

func (s *Store) userActor(ctx context.Context, u User) (landward.Actor, error) {
	a := landward.Actor{Kind: landward.ActorUser, ID: u.ID, Name: u.Name, Admin: u.Admin, Apps: map[int64]landward.Role{}}
	_, err := list(ctx, s.reader, func(row scanner) (appID int64, err error) {
		var role landward.Role
		err = row.Scan(&appID, &role)
		a.Apps[appID] = role
		return appID, err
	}, `SELECT app_id, role FROM app_roles WHERE user_id = ?`, u.ID)
	return a, err
}

// touch notes that something was used, unless that was noted a moment ago. It
// is a courtesy to whoever reads the list: a full disk must not keep the
// administrator out, so its error is dropped.
func (s *Store) touch(ctx context.Context, last time.Time, update string, key any) {
	now := s.now()
	if now.Sub(last) < touchEvery {
		return
	}
	_ = s.write(ctx, "note use", func(t tx) error {
		_, err := t.exec(ctx, update, millis(now), key)
		return err
	})
}

// lesser returns the role that allows less; one that is unknown allows nothing.
func lesser(a, b landward.Role) landward.Role {
	byRank := []landward.Role{"", landward.RoleViewer, landward.RoleDeployer, landward.RoleOwner}
	return byRank[max(0, min(slices.Index(byRank, a), slices.Index(byRank, b)))]
}

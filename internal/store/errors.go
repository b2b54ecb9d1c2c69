package store

import (
	"errors"

	"modernc.org/sqlite"
	sqlite3 "modernc.org/sqlite/lib"

	"landward/internal/landward"
)

// readable turns what SQLite says about the file or the disk into an error
// that helps whoever reads it. Other errors pass unchanged.
func readable(err error) error {
	var e *sqlite.Error
	if !errors.As(err, &e) {
		return err
	}
	var known *landward.Error
	if errors.As(err, &known) {
		return err
	}
	const offline = "stop Landward, keep a copy of the data folder, and restore landward.db from a backup"
	say := func(message, hint string) error {
		return landward.Errorf(landward.CodeUnavailable, "%s", message).WithHint("%s", hint).Wrap(err)
	}
	switch e.Code() & 0xff { // the low byte is the kind, the rest its detail
	case sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED:
		return say("the database is busy", "another process holds it: stop whatever else has landward.db open, then try again")
	case sqlite3.SQLITE_CORRUPT:
		return say("the database is damaged", offline)
	case sqlite3.SQLITE_NOTADB:
		return say("landward.db is not a database", offline)
	case sqlite3.SQLITE_FULL:
		return say("the disk is full: nothing can be saved", "free some space on the disk that holds the data folder")
	case sqlite3.SQLITE_IOERR:
		return say("the disk that holds the database does not answer properly", "look for disk errors in the system log (dmesg)")
	case sqlite3.SQLITE_READONLY, sqlite3.SQLITE_PERM, sqlite3.SQLITE_CANTOPEN:
		return say("the database cannot be written", "the data folder and landward.db must belong to the user that Landward runs as")
	}
	return err
}

// duplicate reports whether err is about a row that exists already.
func duplicate(err error) bool {
	var e *sqlite.Error
	return errors.As(err, &e) &&
		(e.Code() == sqlite3.SQLITE_CONSTRAINT_UNIQUE || e.Code() == sqlite3.SQLITE_CONSTRAINT_PRIMARYKEY)
}

// dangling reports whether err is about a row that refers to one that is not there.
func dangling(err error) bool {
	var e *sqlite.Error
	return errors.As(err, &e) && e.Code() == sqlite3.SQLITE_CONSTRAINT_FOREIGNKEY
}

func conflict(format string, args ...any) *landward.Error {
	return landward.Errorf(landward.CodeConflict, format, args...)
}

func notFound(format string, args ...any) *landward.Error {
	return landward.Errorf(landward.CodeNotFound, format, args...)
}

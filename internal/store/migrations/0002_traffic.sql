-- +goose Up
-- What holds for an app's requests at the moment, whichever release serves: maintenance, a pause, sleep.
ALTER TABLE apps ADD COLUMN traffic TEXT NOT NULL DEFAULT '{}';

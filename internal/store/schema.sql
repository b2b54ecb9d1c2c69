CREATE TABLE app_roles (
  app_id  INTEGER NOT NULL REFERENCES apps(id) ON DELETE CASCADE,
  user_id INTEGER NOT NULL REFERENCES users(id) ON DELETE CASCADE,
  role    TEXT NOT NULL,
  PRIMARY KEY (app_id, user_id)
) STRICT, WITHOUT ROWID;

CREATE TABLE apps (
  id             INTEGER PRIMARY KEY AUTOINCREMENT, -- never used twice: labels on containers carry it
  environment_id INTEGER NOT NULL REFERENCES environments(id),
  name           TEXT NOT NULL UNIQUE,
  deploy_branch  TEXT NOT NULL DEFAULT '',
  current        INTEGER NOT NULL DEFAULT 0,
  previous       INTEGER NOT NULL DEFAULT 0,
  warm_until     INTEGER NOT NULL DEFAULT 0,
  stopped        INTEGER NOT NULL DEFAULT 0,
  settings       BLOB NOT NULL,                     -- sealed JSON of landward.Settings
  deleted_at     INTEGER NOT NULL DEFAULT 0,        -- set: the reconciler removes what is left, then the row
  created_at     INTEGER NOT NULL,
  updated_at     INTEGER NOT NULL
, traffic TEXT NOT NULL DEFAULT '{}') STRICT;

CREATE TABLE cron_runs (
  id          INTEGER PRIMARY KEY AUTOINCREMENT,
  app_id      INTEGER NOT NULL REFERENCES apps(id) ON DELETE CASCADE,
  name        TEXT NOT NULL,
  due_at      INTEGER NOT NULL,
  state       TEXT NOT NULL,                        -- running, done, failed, skipped, lost
  exit_code   INTEGER NOT NULL DEFAULT 0,
  message     TEXT NOT NULL DEFAULT '',
  started_at  INTEGER NOT NULL,
  finished_at INTEGER NOT NULL DEFAULT 0,
  UNIQUE (app_id, name, due_at)
) STRICT;

CREATE TABLE deployment_steps (
  deployment_id INTEGER NOT NULL REFERENCES deployments(id) ON DELETE CASCADE,
  step          TEXT NOT NULL,
  result        TEXT NOT NULL,                      -- JSON, the step's own
  finished_at   INTEGER NOT NULL,
  PRIMARY KEY (deployment_id, step)
) STRICT, WITHOUT ROWID;

CREATE TABLE deployments (
  id            INTEGER PRIMARY KEY AUTOINCREMENT,
  app_id        INTEGER NOT NULL REFERENCES apps(id) ON DELETE CASCADE,
  number        INTEGER NOT NULL,
  state         TEXT NOT NULL,
  source        TEXT NOT NULL,                      -- JSON of landward.Source
  actor         TEXT NOT NULL,
  release       INTEGER NOT NULL DEFAULT 0,
  failure       TEXT NOT NULL DEFAULT '',           -- JSON of landward.Failure
  warning       TEXT NOT NULL DEFAULT '',
  superseded_by INTEGER NOT NULL DEFAULT 0,
  lease_owner   TEXT NOT NULL DEFAULT '',
  lease_until   INTEGER NOT NULL DEFAULT 0,
  deadline      INTEGER NOT NULL DEFAULT 0,
  created_at    INTEGER NOT NULL,
  started_at    INTEGER NOT NULL DEFAULT 0,
  finished_at   INTEGER NOT NULL DEFAULT 0,
  UNIQUE (app_id, number)
) STRICT;

CREATE INDEX deployments_open ON deployments(app_id, id) WHERE finished_at = 0;

CREATE TABLE domains (
  host       TEXT PRIMARY KEY,
  app_id     INTEGER NOT NULL REFERENCES apps(id) ON DELETE CASCADE,
  created_at INTEGER NOT NULL
) STRICT;

CREATE TABLE environments (
  id         INTEGER PRIMARY KEY,
  project_id INTEGER NOT NULL REFERENCES projects(id),
  name       TEXT NOT NULL,
  created_at INTEGER NOT NULL,
  UNIQUE (project_id, name)
) STRICT;

CREATE TABLE events (
  id      INTEGER PRIMARY KEY AUTOINCREMENT,
  at      INTEGER NOT NULL,
  app_id  INTEGER NOT NULL DEFAULT 0,
  app     TEXT NOT NULL DEFAULT '',                 -- its name then: history outlives the app
  actor   TEXT NOT NULL,
  kind    TEXT NOT NULL,                            -- "deploy.live", "config.set", "key.add"
  message TEXT NOT NULL,
  data    TEXT NOT NULL DEFAULT '{}'
) STRICT;

CREATE INDEX events_app ON events(app_id, id);

CREATE TABLE facts (
  name  TEXT PRIMARY KEY,
  value TEXT NOT NULL
) STRICT, WITHOUT ROWID;

CREATE TABLE projects (
  id         INTEGER PRIMARY KEY,
  team_id    INTEGER NOT NULL REFERENCES teams(id),
  name       TEXT NOT NULL,
  created_at INTEGER NOT NULL,
  UNIQUE (team_id, name)
) STRICT;

CREATE TABLE releases (
  app_id      INTEGER NOT NULL REFERENCES apps(id) ON DELETE CASCADE,
  version     INTEGER NOT NULL,
  body        BLOB NOT NULL,                        -- JSON: services, release command, cron, source, description
  settings    BLOB NOT NULL,                        -- sealed JSON
  actor       TEXT NOT NULL,                        -- JSON of landward.Actor
  phase       TEXT NOT NULL,
  created_at  INTEGER NOT NULL,
  PRIMARY KEY (app_id, version)
) STRICT, WITHOUT ROWID;

CREATE TABLE ssh_keys (
  fingerprint TEXT PRIMARY KEY,                     -- SHA256:…
  user_id     INTEGER NOT NULL REFERENCES users(id) ON DELETE CASCADE,
  name        TEXT NOT NULL,
  public_key  TEXT NOT NULL,                        -- authorized_keys form, without options
  created_at  INTEGER NOT NULL,
  last_used   INTEGER NOT NULL DEFAULT 0
) STRICT, WITHOUT ROWID;

CREATE TABLE teams (
  id         INTEGER PRIMARY KEY,
  name       TEXT NOT NULL UNIQUE,
  created_at INTEGER NOT NULL            -- all times: unix milliseconds, UTC
) STRICT;

CREATE TABLE tokens (
  id         INTEGER PRIMARY KEY AUTOINCREMENT,
  name       TEXT NOT NULL,
  prefix     TEXT NOT NULL,                         -- first characters, to recognise it by
  hash       BLOB NOT NULL UNIQUE,                  -- SHA-256 of the whole token
  user_id    INTEGER REFERENCES users(id) ON DELETE CASCADE,
  app_id     INTEGER REFERENCES apps(id) ON DELETE CASCADE, -- set: bound to one app
  role       TEXT NOT NULL DEFAULT '',              -- on that app
  created_at INTEGER NOT NULL,
  expires_at INTEGER NOT NULL DEFAULT 0,
  last_used  INTEGER NOT NULL DEFAULT 0
) STRICT;

CREATE TABLE users (
  id         INTEGER PRIMARY KEY AUTOINCREMENT,
  name       TEXT NOT NULL UNIQUE,
  admin      INTEGER NOT NULL DEFAULT 0,
  disabled   INTEGER NOT NULL DEFAULT 0,
  created_at INTEGER NOT NULL
) STRICT;

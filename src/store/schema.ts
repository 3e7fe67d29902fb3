/** SQLite application id, the bytes "ctre": a database of another program is refused, not overwritten. */
export const APPLICATION_ID = 0x63747265;

/**
 * Steps from each version to the next; the index is the version a step starts from. A released step is never edited.
 * Times are milliseconds since 1970, digests are sha256 in hex, JSON columns are parsed when read.
 */
export const MIGRATIONS: readonly string[] = [
  `
  CREATE TABLE layers (
    digest TEXT PRIMARY KEY,
    bytes INTEGER NOT NULL,
    entries INTEGER NOT NULL,
    modified_ns TEXT NOT NULL,
    damage TEXT,
    created_at INTEGER NOT NULL
  ) STRICT;

  CREATE TABLE layer_sources (
    source TEXT PRIMARY KEY,
    layer TEXT NOT NULL REFERENCES layers (digest) ON DELETE CASCADE,
    used_at INTEGER NOT NULL
  ) STRICT;
  CREATE INDEX layer_sources_layer ON layer_sources (layer);

  CREATE TABLE images (
    uuid TEXT PRIMARY KEY,
    parent TEXT REFERENCES images (uuid),
    operation TEXT,
    command TEXT,
    exit_code INTEGER,
    layer_bytes INTEGER,
    config TEXT NOT NULL,
    content TEXT NOT NULL,
    created_at INTEGER NOT NULL
  ) STRICT;
  CREATE INDEX images_parent ON images (parent);
  CREATE INDEX images_content ON images (content);
  CREATE INDEX images_created_at ON images (created_at);

  CREATE TABLE image_layers (
    image TEXT NOT NULL REFERENCES images (uuid) ON DELETE CASCADE,
    position INTEGER NOT NULL,
    layer TEXT NOT NULL REFERENCES layers (digest),
    PRIMARY KEY (image, position)
  ) STRICT, WITHOUT ROWID;
  CREATE INDEX image_layers_layer ON image_layers (layer);

  CREATE TABLE tags (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    name TEXT NOT NULL UNIQUE,
    image TEXT NOT NULL REFERENCES images (uuid),
    set_at INTEGER NOT NULL
  ) STRICT;
  CREATE INDEX tags_image ON tags (image, id);

  CREATE TABLE files (
    id INTEGER PRIMARY KEY,
    sha256 TEXT NOT NULL UNIQUE,
    uuid TEXT NOT NULL UNIQUE,
    size INTEGER NOT NULL,
    created_at INTEGER NOT NULL,
    updated_at INTEGER NOT NULL
  ) STRICT;
  CREATE INDEX files_updated_at ON files (updated_at);

  CREATE TABLE states (
    id TEXT PRIMARY KEY,
    entries INTEGER NOT NULL,
    bytes INTEGER NOT NULL,
    content BLOB NOT NULL,
    created_at INTEGER NOT NULL,
    used_at INTEGER NOT NULL
  ) STRICT;
  CREATE TABLE state_files (
    state TEXT NOT NULL REFERENCES states (id) ON DELETE CASCADE,
    file INTEGER NOT NULL REFERENCES files (id),
    PRIMARY KEY (file, state)
  ) STRICT, WITHOUT ROWID;
  CREATE INDEX state_files_state ON state_files (state);

  CREATE TABLE operations (
    uuid TEXT PRIMARY KEY,
    kind TEXT NOT NULL,
    status TEXT NOT NULL,
    request TEXT NOT NULL,
    image TEXT,
    result_image TEXT,
    result_tag TEXT,
    image_bytes INTEGER,
    outcome TEXT,
    error TEXT,
    error_code TEXT,
    created_at INTEGER NOT NULL,
    started_at INTEGER,
    finished_at INTEGER,
    output_dropped INTEGER NOT NULL DEFAULT 0
  ) STRICT;
  CREATE INDEX operations_created_at ON operations (created_at);
  CREATE INDEX operations_status ON operations (status, created_at);

  CREATE TABLE events (
    operation TEXT NOT NULL REFERENCES operations (uuid) ON DELETE CASCADE,
    id INTEGER NOT NULL,
    at INTEGER NOT NULL,
    spid INTEGER NOT NULL,
    type TEXT NOT NULL,
    data TEXT,
    offset INTEGER,
    bytes BLOB,
    PRIMARY KEY (operation, id)
  ) STRICT;
  `,
  `
  CREATE TABLE imports (
    source TEXT PRIMARY KEY,
    layers TEXT NOT NULL,
    config TEXT NOT NULL,
    used_at INTEGER NOT NULL
  ) STRICT;
  `,
  `
  CREATE TABLE file_contents (
    file INTEGER PRIMARY KEY REFERENCES files (id) ON DELETE CASCADE,
    bytes BLOB NOT NULL
  ) STRICT;
  `,
  // Projects. Contents stay shared; what names them belongs to one project each.
  `
  ALTER TABLE images ADD COLUMN project TEXT NOT NULL DEFAULT 'default';
  CREATE INDEX images_project ON images (project, created_at);
  DROP INDEX images_created_at;

  ALTER TABLE operations ADD COLUMN project TEXT NOT NULL DEFAULT 'default';
  CREATE INDEX operations_project ON operations (project, created_at);
  DROP INDEX operations_created_at;

  ALTER TABLE states ADD COLUMN project TEXT NOT NULL DEFAULT 'default';

  CREATE TABLE tags_4 (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    project TEXT NOT NULL,
    name TEXT NOT NULL,
    image TEXT NOT NULL REFERENCES images (uuid),
    set_at INTEGER NOT NULL,
    UNIQUE (project, name)
  ) STRICT;
  INSERT INTO tags_4 (id, project, name, image, set_at) SELECT id, 'default', name, image, set_at FROM tags;
  DROP TABLE tags;
  ALTER TABLE tags_4 RENAME TO tags;
  CREATE INDEX tags_image ON tags (image, id);

  CREATE TABLE files_4 (
    id INTEGER PRIMARY KEY,
    project TEXT NOT NULL,
    sha256 TEXT NOT NULL,
    uuid TEXT NOT NULL UNIQUE,
    size INTEGER NOT NULL,
    created_at INTEGER NOT NULL,
    updated_at INTEGER NOT NULL,
    UNIQUE (sha256, project)
  ) STRICT;
  INSERT INTO files_4 (id, project, sha256, uuid, size, created_at, updated_at)
    SELECT id, 'default', sha256, uuid, size, created_at, updated_at FROM files;
  CREATE TABLE state_files_4 (
    state TEXT NOT NULL REFERENCES states (id) ON DELETE CASCADE,
    file INTEGER NOT NULL REFERENCES files_4 (id),
    PRIMARY KEY (file, state)
  ) STRICT, WITHOUT ROWID;
  INSERT INTO state_files_4 (state, file) SELECT state, file FROM state_files;
  CREATE TABLE file_contents_4 (
    file INTEGER PRIMARY KEY REFERENCES files_4 (id) ON DELETE CASCADE,
    bytes BLOB NOT NULL
  ) STRICT;
  INSERT INTO file_contents_4 (file, bytes) SELECT file, bytes FROM file_contents;
  DROP TABLE state_files;
  DROP TABLE file_contents;
  DROP TABLE files;
  ALTER TABLE files_4 RENAME TO files;
  ALTER TABLE state_files_4 RENAME TO state_files;
  ALTER TABLE file_contents_4 RENAME TO file_contents;
  CREATE INDEX state_files_state ON state_files (state);
  CREATE INDEX files_project ON files (project, updated_at);

  CREATE TABLE layer_sources_4 (
    project TEXT NOT NULL,
    source TEXT NOT NULL,
    layer TEXT NOT NULL REFERENCES layers (digest) ON DELETE CASCADE,
    used_at INTEGER NOT NULL,
    PRIMARY KEY (project, source)
  ) STRICT;
  INSERT INTO layer_sources_4 (project, source, layer, used_at)
    SELECT 'default', source, layer, used_at FROM layer_sources;
  DROP TABLE layer_sources;
  ALTER TABLE layer_sources_4 RENAME TO layer_sources;
  CREATE INDEX layer_sources_layer ON layer_sources (layer);

  CREATE TABLE imports_4 (
    project TEXT NOT NULL,
    source TEXT NOT NULL,
    layers TEXT NOT NULL,
    config TEXT NOT NULL,
    used_at INTEGER NOT NULL,
    PRIMARY KEY (project, source)
  ) STRICT;
  INSERT INTO imports_4 (project, source, layers, config, used_at)
    SELECT 'default', source, layers, config, used_at FROM imports;
  DROP TABLE imports;
  ALTER TABLE imports_4 RENAME TO imports;
  `,
  `
  CREATE TABLE layer_blobs (
    id INTEGER PRIMARY KEY,
    project TEXT NOT NULL,
    below TEXT NOT NULL,
    layer TEXT NOT NULL REFERENCES layers (digest) ON DELETE CASCADE,
    digest TEXT NOT NULL,
    diff_id TEXT NOT NULL,
    media_type TEXT NOT NULL,
    bytes INTEGER NOT NULL,
    registry TEXT NOT NULL,
    repository TEXT NOT NULL,
    UNIQUE (project, below, layer, digest)
  ) STRICT;
  CREATE INDEX layer_blobs_layer ON layer_blobs (layer);
  `,
  // Instances that stay: they are listed, and the log of one of their many processes is found without reading the rest.
  `
  ALTER TABLE operations ADD COLUMN stays INTEGER NOT NULL DEFAULT 0;
  CREATE INDEX operations_stays ON operations (project, created_at) WHERE stays = 1;
  CREATE INDEX events_spid ON events (operation, spid, id);
  `,
  // Results for runs that ask for reuse; `network` is 1 where the run used its network.
  `
  CREATE TABLE recorded_runs (
    project TEXT NOT NULL,
    key TEXT NOT NULL,
    sandbox TEXT NOT NULL,
    network INTEGER NOT NULL,
    operation TEXT NOT NULL REFERENCES operations (uuid) ON DELETE CASCADE,
    PRIMARY KEY (project, key, sandbox, network)
  ) STRICT;
  CREATE INDEX recorded_runs_operation ON recorded_runs (operation);
  `,
  // Steps of builds: the image that an instruction made, by everything it depends on.
  `
  CREATE TABLE build_steps (
    project TEXT NOT NULL,
    key TEXT NOT NULL,
    image TEXT NOT NULL REFERENCES images (uuid) ON DELETE CASCADE,
    used_at INTEGER NOT NULL,
    PRIMARY KEY (project, key)
  ) STRICT;
  CREATE INDEX build_steps_image ON build_steps (image);
  `,
  // A store that is a cache of a cluster's catalogue: what the catalogue has, when it was used last, and images of which only the
  // row is here.
  `
  ALTER TABLE images ADD COLUMN shared_used_at INTEGER;
  ALTER TABLE images ADD COLUMN absent INTEGER NOT NULL DEFAULT 0;
  CREATE INDEX images_shared ON images (shared_used_at) WHERE shared_used_at IS NOT NULL AND absent = 0;
  ALTER TABLE operations ADD COLUMN shared INTEGER NOT NULL DEFAULT 0;
  `,
  // Bytes and quotas of projects. Triggers keep the sums, so that reading them costs nothing and no writer can forget them.
  `
  CREATE TABLE project_quotas (
    project TEXT PRIMARY KEY,
    quota TEXT NOT NULL
  ) STRICT, WITHOUT ROWID;
  CREATE TABLE project_bytes (
    project TEXT PRIMARY KEY,
    layers INTEGER NOT NULL DEFAULT 0,
    files INTEGER NOT NULL DEFAULT 0
  ) STRICT, WITHOUT ROWID;
  CREATE TABLE project_layers (
    project TEXT NOT NULL,
    layer TEXT NOT NULL,
    uses INTEGER NOT NULL,
    bytes INTEGER NOT NULL,
    PRIMARY KEY (project, layer)
  ) STRICT, WITHOUT ROWID;

  CREATE TRIGGER project_layers_first AFTER INSERT ON project_layers BEGIN
    INSERT INTO project_bytes (project, layers) VALUES (NEW.project, NEW.bytes)
      ON CONFLICT (project) DO UPDATE SET layers = layers + NEW.bytes;
  END;
  CREATE TRIGGER project_layers_last AFTER DELETE ON project_layers BEGIN
    UPDATE project_bytes SET layers = layers - OLD.bytes WHERE project = OLD.project;
  END;
  CREATE TRIGGER image_layers_added AFTER INSERT ON image_layers BEGIN
    INSERT INTO project_layers (project, layer, uses, bytes)
      SELECT images.project, NEW.layer, 1, layers.bytes FROM images JOIN layers ON digest = NEW.layer WHERE uuid = NEW.image
      ON CONFLICT (project, layer) DO UPDATE SET uses = uses + 1;
  END;
  CREATE TRIGGER image_layers_removed AFTER DELETE ON image_layers BEGIN
    UPDATE project_layers SET uses = uses - 1
      WHERE project = (SELECT project FROM images WHERE uuid = OLD.image) AND layer = OLD.layer;
    DELETE FROM project_layers
      WHERE project = (SELECT project FROM images WHERE uuid = OLD.image) AND layer = OLD.layer AND uses = 0;
  END;
  CREATE TRIGGER images_removed BEFORE DELETE ON images BEGIN
    DELETE FROM image_layers WHERE image = OLD.uuid;
  END;
  CREATE TRIGGER files_added AFTER INSERT ON files BEGIN
    INSERT INTO project_bytes (project, files) VALUES (NEW.project, NEW.size)
      ON CONFLICT (project) DO UPDATE SET files = files + NEW.size;
  END;
  CREATE TRIGGER files_removed AFTER DELETE ON files BEGIN
    UPDATE project_bytes SET files = files - OLD.size WHERE project = OLD.project;
  END;

  INSERT INTO project_layers (project, layer, uses, bytes)
    SELECT project, layer, count(*), bytes
    FROM image_layers JOIN images ON uuid = image JOIN layers ON digest = layer GROUP BY project, layer;
  INSERT INTO project_bytes (project, files) SELECT project, sum(size) FROM files WHERE true GROUP BY project
    ON CONFLICT (project) DO UPDATE SET files = excluded.files;
  `,
];

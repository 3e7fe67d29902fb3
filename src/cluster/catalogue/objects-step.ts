/**
 * Step of the schema that gives the object storage its rows. What refers to a content has a foreign key to them, so a content
 * that is referred to, or is about to be, cannot be taken for unused: the locks of the rows decide.
 */
export const OBJECTS_STEP = `
  CREATE TABLE objects (
    -- Kind and sha256 of the content: layers/<sha256>.
    key text PRIMARY KEY,
    -- Part of the name in the storage. A content that is stored again has another, so that a late deletion never meets it.
    generation uuid NOT NULL DEFAULT gen_random_uuid(),
    bytes bigint NOT NULL,
    -- True once the storage has it.
    stored boolean NOT NULL DEFAULT false,
    used_at timestamptz NOT NULL DEFAULT now()
  );
  CREATE INDEX objects_used ON objects (used_at);

  ALTER TABLE layers ADD COLUMN object text GENERATED ALWAYS AS ('layers/' || digest) STORED REFERENCES objects (key);
  CREATE INDEX layers_object ON layers (object);
  CREATE INDEX layers_used ON layers (used_at);
  ALTER TABLE files ADD COLUMN object text GENERATED ALWAYS AS ('files/' || sha256) STORED REFERENCES objects (key);
  CREATE INDEX files_object ON files (object);
  ALTER TABLE states ADD COLUMN key text GENERATED ALWAYS AS ('states/' || object) STORED REFERENCES objects (key);
  CREATE INDEX states_key ON states (key);
  ALTER TABLE operations ADD COLUMN log_key text GENERATED ALWAYS AS ('logs/' || log_object) STORED REFERENCES objects (key);
  -- Time of the last collection, which one node does for all.
  ALTER TABLE catalogue ADD COLUMN collected_at timestamptz NOT NULL DEFAULT now();
  CREATE INDEX operations_log_key ON operations (log_key) WHERE log_key IS NOT NULL;
`;

import { CLAIM_FUNCTION } from './claim-function.ts';
import { OBJECTS_STEP } from './objects-step.ts';

/**
 * Steps from each version of the catalogue to the next; the index is the version a step starts from. A released step is
 * never edited. Every time is PostgreSQL's own, so that clocks of nodes do not matter; digests are sha256 in hex.
 */
export const CATALOGUE_MIGRATIONS: readonly string[] = [
  `
  -- Programs that share the catalogue. A node is there while its lease lasts.
  CREATE TABLE nodes (
    name text PRIMARY KEY,
    -- Data directory of the node: one that starts again takes its own name at once.
    owner uuid NOT NULL,
    session uuid NOT NULL,
    url text NOT NULL,
    version text NOT NULL,
    works boolean NOT NULL,
    lease_until timestamptz NOT NULL,
    started_at timestamptz NOT NULL DEFAULT now()
  );

  -- Images that nodes have: others leave their runs to these for a moment.
  CREATE TABLE node_images (
    image uuid NOT NULL,
    node text NOT NULL REFERENCES nodes (name) ON DELETE CASCADE,
    PRIMARY KEY (image, node)
  );
  CREATE INDEX node_images_node ON node_images (node);

  CREATE TABLE layers (
    digest text PRIMARY KEY,
    bytes bigint NOT NULL,
    entries bigint NOT NULL,
    used_at timestamptz NOT NULL DEFAULT now()
  );

  CREATE TABLE images (
    id bigint GENERATED ALWAYS AS IDENTITY,
    uuid uuid PRIMARY KEY,
    project text NOT NULL,
    parent uuid REFERENCES images (uuid),
    operation uuid,
    command text,
    exit_code integer,
    layer_bytes bigint,
    config text NOT NULL,
    -- Digest of layers and configuration, so that a repeated import makes no second image.
    content text NOT NULL,
    created_at timestamptz NOT NULL DEFAULT now()
  );
  CREATE INDEX images_project ON images (project, id);
  CREATE INDEX images_content ON images (project, content) WHERE parent IS NULL;
  CREATE INDEX images_parent ON images (parent);

  CREATE TABLE image_layers (
    image uuid NOT NULL REFERENCES images (uuid) ON DELETE CASCADE,
    position integer NOT NULL,
    layer text NOT NULL REFERENCES layers (digest),
    PRIMARY KEY (image, position)
  );
  CREATE INDEX image_layers_layer ON image_layers (layer);

  CREATE TABLE tags (
    id bigint GENERATED ALWAYS AS IDENTITY,
    project text NOT NULL,
    name text NOT NULL,
    image uuid NOT NULL REFERENCES images (uuid),
    PRIMARY KEY (project, name)
  );
  CREATE INDEX tags_image ON tags (image, id);

  CREATE TABLE files (
    id bigint GENERATED ALWAYS AS IDENTITY,
    project text NOT NULL,
    sha256 text NOT NULL,
    uuid uuid NOT NULL UNIQUE,
    size bigint NOT NULL,
    created_at timestamptz NOT NULL DEFAULT now(),
    updated_at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (project, sha256)
  );
  CREATE INDEX files_updated ON files (project, updated_at);

  CREATE TABLE states (
    project text NOT NULL,
    id text NOT NULL,
    -- Digest of the object with its entries.
    object text NOT NULL,
    object_bytes bigint NOT NULL,
    entries bigint NOT NULL,
    bytes bigint NOT NULL,
    created_at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (project, id)
  );

  CREATE TABLE operations (
    id bigint GENERATED ALWAYS AS IDENTITY,
    uuid uuid PRIMARY KEY,
    project text NOT NULL,
    token text,
    kind text NOT NULL,
    stays boolean NOT NULL DEFAULT false,
    status text NOT NULL DEFAULT 'PENDING',
    -- What was asked for, without secrets.
    request text NOT NULL,
    -- The same with secrets, encrypted by the nodes; gone at the end.
    work bytea,
    image uuid,
    -- Node that has it, and the number of its claim: a node with an older one may not write any more.
    node text,
    fence bigint,
    claims integer NOT NULL DEFAULT 0,
    cancelled boolean NOT NULL DEFAULT false,
    -- Key under which its result is recorded for equal runs.
    reuse_key text,
    result_image uuid,
    result_tag text,
    image_bytes bigint,
    outcome text,
    error text,
    error_code text,
    -- Its log, once it has ended: a small one itself, otherwise the digest of an object.
    log bytea,
    log_object text,
    log_bytes bigint,
    created_at timestamptz NOT NULL DEFAULT now(),
    started_at timestamptz,
    finished_at timestamptz
  );
  CREATE INDEX operations_project ON operations (project, id);
  CREATE INDEX operations_waiting ON operations (project, id) WHERE status = 'PENDING';
  CREATE INDEX operations_node ON operations (node) WHERE status IN ('ASSIGNED', 'EXECUTING');
  CREATE INDEX operations_image ON operations (image) WHERE finished_at IS NULL;

  -- Turns between projects: the virtual time at which each began to be served last, and at which it may be again.
  CREATE TABLE turns (
    project text PRIMARY KEY,
    served double precision NOT NULL,
    next double precision NOT NULL
  );

  CREATE SEQUENCE fences;

  -- Earlier results for runs that ask for reuse; the latest operation of each key.
  CREATE TABLE recorded_runs (
    project text NOT NULL,
    key text NOT NULL,
    sandbox text NOT NULL,
    network boolean NOT NULL,
    operation uuid NOT NULL REFERENCES operations (uuid) ON DELETE CASCADE,
    PRIMARY KEY (project, key, sandbox, network)
  );

  CREATE TABLE tokens (
    uuid uuid PRIMARY KEY,
    -- sha256 of the token, hex: 256 random bits cannot be guessed from it.
    hash text NOT NULL UNIQUE,
    -- As the API shows it.
    shown text NOT NULL,
    created_at timestamptz NOT NULL DEFAULT now()
  );

  -- Nodes learn of changes at once; what they miss they find by looking.
  CREATE FUNCTION operation_changed() RETURNS trigger LANGUAGE plpgsql AS $$
  BEGIN
    IF NEW.status = 'PENDING' AND NOT NEW.cancelled THEN
      PERFORM pg_notify('contree_queue', '');
    ELSE
      PERFORM pg_notify('contree_operation', NEW.uuid || CASE WHEN NEW.cancelled THEN ' cancelled' ELSE '' END);
    END IF;
    RETURN NULL;
  END $$;
  -- Nobody waits for a claim; and a node that accepts an operation tells of it itself.
  CREATE TRIGGER operation_updated AFTER UPDATE OF status, cancelled ON operations
    FOR EACH ROW WHEN (NEW.status <> 'ASSIGNED' OR NEW.cancelled) EXECUTE FUNCTION operation_changed();
  ${CLAIM_FUNCTION}
  `,
  OBJECTS_STEP,
];

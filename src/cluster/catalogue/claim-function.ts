/**
 * Function `claim_operations`: gives waiting operations to a node, each to one only.
 *
 * Between projects it is start-time fair queueing (Goyal, Vin, Cheng 1996): a project whose turn it was is served again once
 * the others that wait have been; one that comes new or after a pause begins at the present turn, so it neither waits for
 * the backlog of others nor catches up on what it did not use. Within a project it is the order of acceptance, with two
 * bounded exceptions for locality: an operation whose image the node has counts as accepted `head_start` earlier, and one
 * whose image only others have is left to them until it has waited for `patience`.
 *
 * One node chooses at a time. Nothing is written to disk under the lock: a claim that a crash of the server forgets is
 * refused when its node begins. Such a crash may also forget what the sequence has given: the last 20 bits of a
 * fence are random, so that no other claim has the same.
 */
export const CLAIM_FUNCTION = `
  CREATE FUNCTION claim_operations(
    me text, mine uuid, wanted integer, have uuid[], head_start interval, patience interval
  ) RETURNS TABLE (
    claimed uuid, number bigint, later boolean, project text, image uuid, claims integer, work bytea
  ) LANGUAGE plpgsql
  -- Plans are kept by each connection, and must not be those of a table that was still small; such plans look so costly
  -- that they would be compiled, which takes longer than they do.
  SET enable_seqscan = off SET jit = off AS $$
  #variable_conflict use_column
  DECLARE
    passed text[] := '{}';
    present double precision;
    turn double precision;
    chosen text;
    others boolean;
    taken integer;
  BEGIN
    -- Most that look find nothing, and need not wait for one another.
    IF NOT EXISTS (SELECT FROM operations WHERE status = 'PENDING') THEN
      RETURN;
    END IF;
    PERFORM set_config('synchronous_commit', 'off', true);
    PERFORM pg_advisory_xact_lock(6517873);
    IF NOT EXISTS (SELECT FROM nodes WHERE name = me AND session = mine AND lease_until > clock_timestamp()) THEN
      RETURN;
    END IF;
    WHILE wanted > 0 LOOP
      SELECT coalesce(max(served), 0) INTO present FROM turns;
      WITH RECURSIVE waiting (project) AS (
        (SELECT o.project FROM operations o WHERE o.status = 'PENDING' ORDER BY o.project LIMIT 1)
        UNION ALL
        SELECT (SELECT o.project FROM operations o
          WHERE o.status = 'PENDING' AND o.project > w.project ORDER BY o.project LIMIT 1)
        FROM waiting w WHERE w.project IS NOT NULL
      )
      SELECT w.project, greatest(coalesce(t.next, 0), present), count(*) OVER () > 1 INTO chosen, turn, others
        FROM waiting w LEFT JOIN turns t ON t.project = w.project
        WHERE w.project IS NOT NULL AND w.project <> ALL (passed)
        ORDER BY 2, coalesce(t.served, -1), w.project LIMIT 1;
      EXIT WHEN chosen IS NULL;
      -- One project alone needs to take no turns.
      RETURN QUERY WITH eldest AS (
          SELECT w.uuid, w.image, w.created_at FROM operations w
          WHERE w.status = 'PENDING' AND w.project = chosen ORDER BY w.id LIMIT 64
        ), picked AS (
          -- Only what is taken is locked: a lock is a write.
          SELECT w.uuid, w.id, w.created_at - CASE WHEN w.image = ANY (have) THEN head_start ELSE interval '0' END AS since
            FROM eldest o JOIN operations w ON w.uuid = o.uuid
          WHERE w.status = 'PENDING' AND (o.image IS NULL OR o.image = ANY (have) OR o.created_at < clock_timestamp() - patience
            OR NOT EXISTS (
              SELECT FROM node_images i JOIN nodes n ON n.name = i.node
              WHERE i.image = o.image AND n.name <> me AND n.works AND n.lease_until > clock_timestamp()
            ))
          ORDER BY since, w.id LIMIT CASE WHEN others THEN 1 ELSE wanted END FOR UPDATE OF w SKIP LOCKED
        ), assigned AS (
          UPDATE operations c SET status = 'ASSIGNED', node = me, claims = c.claims + 1,
              fence = nextval('fences') * 1048576 + floor(random() * 1048576)::bigint
            FROM picked p WHERE c.uuid = p.uuid
            RETURNING p.since, p.id, c.uuid, c.fence, c.project, c.image, c.claims, c.work
        ) SELECT a.uuid, a.fence, false, a.project, a.image, a.claims,
            -- A large one is fetched by itself, so that nobody waits for it under the lock.
            CASE WHEN octet_length(a.work) <= 16384 THEN a.work END
          FROM assigned a ORDER BY a.since, a.id;
      GET DIAGNOSTICS taken = ROW_COUNT;
      IF taken = 0 THEN
        passed := passed || chosen;
        CONTINUE;
      END IF;
      INSERT INTO turns AS t (project, served, next) VALUES (chosen, turn + taken - 1, turn + taken)
        ON CONFLICT (project) DO UPDATE SET served = excluded.served, next = excluded.next;
      wanted := wanted - taken;
    END LOOP;
    IF wanted = 0 AND EXISTS (SELECT FROM operations WHERE status = 'PENDING') THEN
      -- More than this node has room for; nobody may have been told of it.
      PERFORM pg_notify('contree_queue', '');
    END IF;
    IF cardinality(passed) > 0 THEN
      later := true;
      RETURN NEXT;
    END IF;
  END $$;
`;

-- SPDX-License-Identifier: ISC
-- History: events and audit, partitioned by month, kept as long as iot_auth.retention says, written by triggers and
-- functions alone.  Nobody but the owner of the schema can change or delete it.
--
-- A month is a partition, because dropping one costs nothing, where deleting its rows costs as much as writing them.
-- The brokers' prune (0010) makes the next months' partitions and drops expired ones, one at a time.  The default
-- partition takes what has no month, so that a missing partition can never refuse a revocation together with its event.

BEGIN;
SET LOCAL search_path = pg_catalog, pg_temp;
SET LOCAL client_min_messages = warning;
SET LOCAL standard_conforming_strings = on;

-- The guard, the same in every migration.  It refuses a schema iot_auth that holds objects of another role: that role
-- could have planted a trigger, view or function that runs with the rights of the role that applies the migrations.  It
-- must therefore read nothing from the schema before the owners are checked.  A migration that is already applied is
-- skipped and takes no lock that any reader or writer of the registry could notice.
DO $guard$
DECLARE
    this int := 8;
    me oid := (SELECT r.oid FROM pg_roles r WHERE r.rolname = current_user);
    other_owner oid;
    applied int := 0;
BEGIN
    IF this = 1 AND to_regnamespace('iot_auth') IS NULL THEN
        BEGIN
            CREATE SCHEMA iot_auth;
        EXCEPTION WHEN duplicate_schema OR unique_violation THEN
            NULL; -- created concurrently: its owner is checked below
        END;
    END IF;
    SELECT o.owner INTO other_owner FROM (
        SELECT nspowner FROM pg_namespace WHERE nspname = 'iot_auth'
        UNION ALL SELECT relowner FROM pg_class WHERE relnamespace = to_regnamespace('iot_auth')
        UNION ALL SELECT proowner FROM pg_proc WHERE pronamespace = to_regnamespace('iot_auth')
        UNION ALL SELECT typowner FROM pg_type WHERE typnamespace = to_regnamespace('iot_auth')
        UNION ALL SELECT oprowner FROM pg_operator WHERE oprnamespace = to_regnamespace('iot_auth')
        UNION ALL SELECT p.proowner FROM pg_trigger t
                  JOIN pg_class c ON c.oid = t.tgrelid JOIN pg_proc p ON p.oid = t.tgfoid
                  WHERE c.relnamespace = to_regnamespace('iot_auth') AND NOT t.tgisinternal
    ) o(owner) WHERE o.owner <> me LIMIT 1;
    IF FOUND THEN
        RAISE EXCEPTION 'schema iot_auth or an object in it belongs to role %, not to %',
            pg_get_userbyid(other_owner), current_user
            USING HINT = 'Apply the migrations as the role that owns the whole schema, or drop the foreign objects.',
                  ERRCODE = 'insufficient_privilege';
    END IF;
    FOR attempt IN 1 .. 2 LOOP
        IF to_regclass('iot_auth.schema_version') IS NOT NULL THEN
            SELECT coalesce(max(version), 0) INTO applied FROM iot_auth.schema_version;
        END IF;
        IF applied >= this THEN
            RETURN;
        END IF;
        IF applied < this - 1 THEN
            RAISE EXCEPTION 'migration % cannot be applied to schema iot_auth at version %', this, applied
                USING HINT = 'Apply sql/migrations/*.sql in name order.';
        END IF;
        -- One migration at a time: this lock conflicts with itself, but not with brokers that read the version.
        PERFORM set_config('lock_timeout', '15s', true);
        IF attempt = 1 AND to_regclass('iot_auth.schema_version') IS NOT NULL THEN
            LOCK TABLE iot_auth.schema_version IN SHARE ROW EXCLUSIVE MODE;
        END IF;
    END LOOP;
    -- While a statement waits for a lock on a table, brokers that use the table queue behind it: give up soon.
    PERFORM set_config('lock_timeout', '2s', true);
    EXECUTE $migration$

CREATE TABLE iot_auth.retention (
    kind text COLLATE "C" PRIMARY KEY, -- a kind of event; 'event': all kinds without a row; 'audit'; 'node'
    keep interval,                     -- NULL: for ever
    CONSTRAINT retention_kind_length CHECK (octet_length(kind) BETWEEN 1 AND 64),
    -- The floor: not even the owner's slip of the pen lets brokers erase today.
    CONSTRAINT retention_keep_1_day_to_100_years CHECK (keep BETWEEN interval '1 day' AND interval '100 years')
);
INSERT INTO iot_auth.retention (kind, keep) VALUES ('event', '90 days'), ('audit', '1 year'), ('node', '90 days');

-- Events: the table of before becomes the partition of all months up to this one.

DROP VIEW iot_auth.broker_event;
ALTER TABLE iot_auth.event ALTER COLUMN event_id DROP IDENTITY;
ALTER TABLE iot_auth.event DROP CONSTRAINT event_pkey;
DROP INDEX iot_auth.event_at, iot_auth.event_principal, iot_auth.event_status;
UPDATE iot_auth.event SET at = now()
WHERE at >= (date_trunc('month', now() AT TIME ZONE 'UTC') + interval '1 month') AT TIME ZONE 'UTC' OR NOT isfinite(at);

CREATE SEQUENCE iot_auth.event_event_id_seq AS bigint;
SELECT setval('iot_auth.event_event_id_seq', coalesce(max(event_id), 0) + 1, false) FROM iot_auth.event;

DO $$
DECLARE
    bound timestamptz := (date_trunc('month', now() AT TIME ZONE 'UTC') + interval '1 month') AT TIME ZONE 'UTC';
    first name := 'event_until_' || to_char(bound AT TIME ZONE 'UTC', 'YYYY_MM');
BEGIN
    EXECUTE format('ALTER TABLE iot_auth.event RENAME TO %I', first);
    EXECUTE format('ALTER TABLE iot_auth.%I ALTER COLUMN event_id SET DEFAULT nextval(%L)', first,
                   'iot_auth.event_event_id_seq');
    CREATE TABLE iot_auth.event (
        event_id  bigint NOT NULL DEFAULT nextval('iot_auth.event_event_id_seq'),
        at        timestamptz NOT NULL DEFAULT clock_timestamp(),
        node      text, -- NULL: written by a trigger for a change made by an administrator
        kind      text NOT NULL,
        principal text,
        ca_id     bigint,
        address   text,
        reason    text,
        detail    jsonb
    ) PARTITION BY RANGE (at);
    ALTER SEQUENCE iot_auth.event_event_id_seq OWNED BY iot_auth.event.event_id;
    EXECUTE format('ALTER TABLE iot_auth.event ATTACH PARTITION iot_auth.%I FOR VALUES FROM (MINVALUE) TO (%L)', first,
                   bound);
    EXECUTE format('REVOKE ALL ON iot_auth.%I FROM iot_auth_admin', first);
END $$;
CREATE TABLE iot_auth.event_default PARTITION OF iot_auth.event DEFAULT;

-- What why_refused looks for (0010).  Texts are hashed: an entry then takes 24 bytes, not 100.
CREATE INDEX event_at ON iot_auth.event (at);
CREATE INDEX event_principal ON iot_auth.event (principal, at) WHERE principal IS NOT NULL;
CREATE INDEX event_address ON iot_auth.event (address, at) WHERE address IS NOT NULL AND reason IS NOT NULL;
CREATE INDEX event_device_id ON iot_auth.event (hashtextextended(detail ->> 'device_id', 0), at)
    WHERE principal IS NULL AND reason IS NOT NULL AND detail ->> 'device_id' IS NOT NULL;
CREATE INDEX event_client_id ON iot_auth.event (hashtextextended(detail ->> 'client_id', 0), at)
    WHERE reason IS NOT NULL AND detail ->> 'client_id' IS NOT NULL;
CREATE INDEX event_fingerprint ON iot_auth.event (hashtextextended(detail ->> 'fingerprint', 0), at)
    WHERE reason IS NOT NULL AND detail ->> 'fingerprint' IS NOT NULL;
CREATE INDEX event_serial ON iot_auth.event (hashtextextended(detail ->> 'serial', 0), at)
    WHERE reason IS NOT NULL AND detail ->> 'serial' IS NOT NULL;
CREATE INDEX event_cn ON iot_auth.event (hashtextextended(detail ->> 'cn', 0), at)
    WHERE reason IS NOT NULL AND detail ->> 'cn' IS NOT NULL;
-- The events that brokers publish, among many refusals.
CREATE INDEX event_status ON iot_auth.event (event_id) WHERE kind IN ('device/status', 'ca/status');

CREATE VIEW iot_auth.broker_event AS
SELECT event_id, at, kind, left(principal, 128) AS principal, ca_id,
       CASE WHEN pg_column_size(detail) <= 8192 THEN detail::text END AS detail
FROM iot_auth.event WHERE kind IN ('device/status', 'ca/status') AND node IS NULL;

-- Audit: who changed what in the configuration.  Statements that a broker makes are not here: a registration has its
-- event.

CREATE TABLE iot_auth.audit (
    audit_id    bigint NOT NULL,
    at          timestamptz NOT NULL DEFAULT clock_timestamp(),
    who         text NOT NULL,    -- session_user: who logged in, whatever role was set since
    application text,             -- application_name, which the client chooses
    address     text,             -- NULL: a Unix socket
    table_name  text NOT NULL,
    key         text,             -- of the row; NULL: many rows
    operation   text NOT NULL,    -- INSERT, UPDATE, DELETE, TRUNCATE
    before      jsonb,            -- changed columns; a certificate or key by its fingerprint
    after       jsonb
) PARTITION BY RANGE (at);
CREATE SEQUENCE iot_auth.audit_audit_id_seq AS bigint OWNED BY iot_auth.audit.audit_id;
ALTER TABLE iot_auth.audit ALTER COLUMN audit_id SET DEFAULT nextval('iot_auth.audit_audit_id_seq');
CREATE TABLE iot_auth.audit_default PARTITION OF iot_auth.audit DEFAULT;
CREATE INDEX audit_at ON iot_auth.audit (at);
CREATE INDEX audit_key ON iot_auth.audit (key, at);

-- Whether this session can only be a broker's: a login that may call the brokers' functions and write nothing by
-- itself.
CREATE FUNCTION iot_auth.session_is_broker() RETURNS boolean
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    RETURN pg_has_role(session_user, 'iot_auth_broker', 'MEMBER')
        AND NOT pg_has_role(session_user, 'iot_auth_admin', 'MEMBER')
        AND NOT pg_has_role(session_user, (SELECT nspowner FROM pg_namespace WHERE nspname = 'iot_auth'), 'MEMBER');
END $$;

-- A row as it stands in the audit: without PEM and without what brokers fill in; fingerprints in hexadecimal; keys, and
-- whatever is long, as SHA-256.
CREATE FUNCTION iot_auth.audit_image(j jsonb) RETURNS jsonb LANGUAGE sql IMMUTABLE PARALLEL SAFE
RETURN (
    SELECT jsonb_object_agg(key, CASE
               WHEN value = 'null' THEN value
               WHEN key = 'fingerprint' THEN to_jsonb(substr(value #>> '{}', 3))
               WHEN key = 'jwks' OR pg_column_size(value) > 4096 THEN
                   CASE WHEN iot_auth.json_problem(value, 67108864) IS NULL
                        THEN to_jsonb('sha256:' || encode(sha256(convert_to(value::text, 'UTF8')), 'hex'))
                        ELSE to_jsonb('out of range'::text) END
               ELSE value END)
    FROM jsonb_each(j)
    WHERE key NOT IN ('pem', 'subject', 'not_before', 'not_after', 'name_key_hash', 'last_connected_at', 'updated_at'));

-- The members of `a` that `b` does not have with the same value.
CREATE FUNCTION iot_auth.json_minus(a jsonb, b jsonb) RETURNS jsonb LANGUAGE sql IMMUTABLE PARALLEL SAFE
RETURN CASE WHEN a IS NULL OR b IS NULL THEN jsonb_strip_nulls(a)
            ELSE (SELECT jsonb_object_agg(key, value) FROM jsonb_each(a) WHERE value IS DISTINCT FROM b -> key) END;

-- Statement trigger.  Arguments: the primary key's columns, an expression for audit.key, and one for the row as JSON,
-- both over the row `r`.  All texts put into the statement are those of the trigger definitions below.
CREATE FUNCTION iot_auth.audit_change() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    rows text := CASE TG_OP WHEN 'DELETE' THEN 'old_rows r' ELSE 'new_rows r' END;
    side text := CASE TG_OP WHEN 'DELETE' THEN 'before' ELSE 'after' END;
    changed bigint;
    bytea_output text := current_setting('bytea_output');
    written constant text := 'INSERT INTO iot_auth.audit (who, application, address, table_name, operation, key, ';
    session constant text := 'SELECT session_user, current_setting(''application_name''), host(inet_client_addr()), '
                             '$1, $2, ';
BEGIN
    IF iot_auth.session_is_broker() THEN
        RETURN NULL;
    END IF;
    IF TG_OP = 'TRUNCATE' THEN
        EXECUTE written || 'after) ' || session || 'NULL, NULL' USING TG_TABLE_NAME, TG_OP;
        RETURN NULL;
    END IF;
    -- Rows that go with their device stand for nothing of their own: its deletion is recorded.
    IF TG_OP = 'DELETE' AND TG_TABLE_NAME IN ('device_certificate', 'device_role') THEN
        rows := '(SELECT * FROM old_rows o WHERE EXISTS '
                '(SELECT FROM iot_auth.device d WHERE d.device_id = o.device_id)) r';
    END IF;
    EXECUTE 'SELECT count(*) FROM ' || rows INTO changed;
    IF changed > 1000 THEN
        EXECUTE format('%s %s) %s NULL, jsonb_build_object(''rows'', $3::bigint)', written, side, session)
            USING TG_TABLE_NAME, TG_OP, changed;
        RETURN NULL;
    END IF;
    IF changed = 0 THEN
        RETURN NULL;
    END IF;
    PERFORM set_config('bytea_output', 'hex', true);
    IF TG_OP = 'UPDATE' THEN
        EXECUTE format('%1$s before, after) %2$s coalesce(n.key, o.key), iot_auth.json_minus(o.image, n.image), '
                       'iot_auth.json_minus(n.image, o.image) '
                       'FROM (SELECT %3$s, (%4$s)::text AS key, iot_auth.audit_image(%5$s) AS image FROM old_rows r) o '
                       'FULL JOIN (SELECT %3$s, (%4$s)::text AS key, iot_auth.audit_image(%5$s) AS image '
                       'FROM new_rows r) n USING (%3$s) WHERE o.image IS DISTINCT FROM n.image',
                       written, session, TG_ARGV[0], TG_ARGV[1], TG_ARGV[2]) USING TG_TABLE_NAME, TG_OP;
    ELSE
        EXECUTE format('%s %s) %s (%s)::text, jsonb_strip_nulls(iot_auth.audit_image(%s)) FROM %s', written, side,
                       session, TG_ARGV[1], TG_ARGV[2], rows) USING TG_TABLE_NAME, TG_OP;
    END IF;
    PERFORM set_config('bytea_output', bytea_output, true);
    RETURN NULL;
END $$;

-- ENABLE ALWAYS: as in 0003.
CREATE FUNCTION iot_auth.audit_table(relation name, key_columns text, key text, image text) RETURNS void
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    event text;
BEGIN
    FOREACH event IN ARRAY ARRAY['insert', 'update', 'delete', 'truncate'] LOOP
        EXECUTE format('CREATE TRIGGER audit_%s AFTER %s ON iot_auth.%I %s FOR EACH STATEMENT '
                       'EXECUTE FUNCTION iot_auth.audit_change(%L, %L, %L)',
                       event, upper(event), relation,
                       CASE event WHEN 'insert' THEN 'REFERENCING NEW TABLE AS new_rows'
                                  WHEN 'update' THEN 'REFERENCING OLD TABLE AS old_rows NEW TABLE AS new_rows'
                                  WHEN 'delete' THEN 'REFERENCING OLD TABLE AS old_rows'
                                  ELSE '' END,
                       key_columns, key, image);
        EXECUTE format('ALTER TABLE iot_auth.%I ENABLE ALWAYS TRIGGER audit_%s', relation, event);
    END LOOP;
END $$;

SELECT iot_auth.audit_table('ca', 'ca_id', 'r.name', 'to_jsonb(r)');
SELECT iot_auth.audit_table('crl', 'crl_id',
                            'coalesce((SELECT c.name FROM iot_auth.ca c WHERE c.ca_id = r.ca_id), r.ca_id::text)',
                            'jsonb_build_object(''crl_id'', r.crl_id, ''ca_id'', r.ca_id, '
                            '''fingerprint'', r.fingerprint)');
SELECT iot_auth.audit_table('device', 'device_id', 'r.device_id', 'to_jsonb(r)');
-- Serial and problem are written by brokers, and cleared when a CA is registered.
SELECT iot_auth.audit_table('device_certificate', 'fingerprint', 'encode(r.fingerprint, ''hex'')',
                            'to_jsonb(r) - ARRAY[''serial'', ''problem'']');
SELECT iot_auth.audit_table('role', 'role', 'r.role', 'to_jsonb(r)');
SELECT iot_auth.audit_table('role_rule', 'rule_id', 'r.rule_id', 'to_jsonb(r)');
SELECT iot_auth.audit_table('ca_role', 'ca_id, role',
                            'coalesce((SELECT c.name FROM iot_auth.ca c WHERE c.ca_id = r.ca_id), r.ca_id::text)',
                            'to_jsonb(r)');
SELECT iot_auth.audit_table('device_role', 'device_id, role', 'r.device_id', 'to_jsonb(r)');
SELECT iot_auth.audit_table('oauth_issuer', 'name', 'r.name', 'to_jsonb(r)');
SELECT iot_auth.audit_table('scope_role', 'issuer_name, scope, role', 'r.issuer_name', 'to_jsonb(r)');
SELECT iot_auth.audit_table('ip_rule', 'rule_id', 'r.rule_id', 'to_jsonb(r)');
SELECT iot_auth.audit_table('retention', 'kind', 'r.kind', 'to_jsonb(r)');
-- Brokers write their node every five seconds, which is not recorded: what others do to it is.
SELECT iot_auth.audit_table('node', 'node_name', 'r.node_name', 'to_jsonb(r)');

-- Events of statuses say who.

CREATE OR REPLACE FUNCTION iot_auth.device_status_events() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    ids text[];
BEGIN
    WITH written AS (
        INSERT INTO iot_auth.event (kind, principal, ca_id, detail)
        SELECT 'device/status', n.device_id, n.ca_id,
               jsonb_build_object('device_id', n.device_id, 'old', o.status, 'new', n.status, 'ca', c.name,
                                  'tenant', coalesce(n.tenant, c.tenant), 'who', session_user)
        FROM old_rows o JOIN new_rows n USING (device_id) JOIN iot_auth.ca c ON c.ca_id = n.ca_id
        WHERE o.status <> n.status
        RETURNING event_id)
    SELECT array_agg(event_id::text) INTO ids FROM (SELECT event_id FROM written LIMIT 51) few;
    PERFORM iot_auth.notify('event', ids);
    RETURN NULL;
END $$;

CREATE OR REPLACE FUNCTION iot_auth.ca_status_events() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    ids text[];
BEGIN
    WITH written AS (
        INSERT INTO iot_auth.event (kind, ca_id, detail)
        SELECT 'ca/status', n.ca_id,
               jsonb_build_object('ca', n.name, 'old', o.status, 'new', n.status, 'tenant', n.tenant,
                                  'who', session_user)
        FROM old_rows o JOIN new_rows n USING (ca_id)
        WHERE o.status <> n.status
        RETURNING event_id)
    SELECT array_agg(event_id::text) INTO ids FROM (SELECT event_id FROM written LIMIT 51) few;
    PERFORM iot_auth.notify('event', ids);
    RETURN NULL;
END $$;

-- Partitions

CREATE FUNCTION iot_auth.month_start(months_ahead int) RETURNS timestamptz
LANGUAGE sql STABLE
RETURN (date_trunc('month', now() AT TIME ZONE 'UTC') + make_interval(months => months_ahead)) AT TIME ZONE 'UTC';

-- The partition of one month, where there is none.  ATTACH takes a lock on the parent that lets rows be written.  While
-- rows of that month are in the default partition, they stay there, and so do the month's others.
CREATE FUNCTION iot_auth.make_partition(parent name, months_ahead int) RETURNS void
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    first timestamptz := iot_auth.month_start(months_ahead);
    next timestamptz := iot_auth.month_start(months_ahead + 1);
    partition name := format('%s_%s', parent, to_char(first AT TIME ZONE 'UTC', 'YYYY_MM'));
    taken boolean;
BEGIN
    IF to_regclass(format('iot_auth.%I', partition)) IS NOT NULL THEN
        RETURN;
    END IF;
    -- The partition of before reaches to the end of the month in which it was made.
    IF to_regclass(format('iot_auth.%I', parent || '_until_' || to_char(next AT TIME ZONE 'UTC', 'YYYY_MM')))
        IS NOT NULL THEN
        RETURN;
    END IF;
    EXECUTE format('SELECT EXISTS (SELECT FROM iot_auth.%I WHERE at >= $1 AND at < $2)', parent || '_default')
        INTO taken USING first, next;
    IF taken THEN
        RETURN;
    END IF;
    EXECUTE format('CREATE TABLE iot_auth.%I (LIKE iot_auth.%I INCLUDING DEFAULTS INCLUDING CONSTRAINTS)', partition,
                   parent);
    EXECUTE format('ALTER TABLE iot_auth.%I ATTACH PARTITION iot_auth.%I FOR VALUES FROM (%L) TO (%L)', parent,
                   partition, first, next);
END $$;

-- Drop the oldest partition of `parent` whose rows are all older than `cutoff`.  Returns an estimate of its rows.
CREATE FUNCTION iot_auth.drop_partition(parent name, cutoff timestamptz) RETURNS bigint
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    oldest record;
BEGIN
    SELECT c.oid::regclass AS partition, greatest(c.reltuples, 0)::bigint AS estimate INTO oldest
    FROM pg_inherits i JOIN pg_class c ON c.oid = i.inhrelid
    CROSS JOIN LATERAL substring(pg_get_expr(c.relpartbound, c.oid) FROM $re$TO \('([^']+)'\)$re$) upper_bound
    WHERE i.inhparent = format('iot_auth.%I', parent)::regclass AND upper_bound::timestamptz <= cutoff
    ORDER BY upper_bound::timestamptz LIMIT 1;
    IF NOT FOUND THEN
        RETURN 0;
    END IF;
    EXECUTE format('DROP TABLE %s', oldest.partition);
    RETURN oldest.estimate;
END $$;

-- Delete up to 50,000 rows of a kind that is kept shorter than its partition.
-- Without statistics of the table, which a night of many events outruns, the planner would compare each of 50,000 rows
-- with each row of the table: six minutes instead of half a second.
CREATE FUNCTION iot_auth.delete_events(p_kind text, others boolean, cutoff timestamptz) RETURNS bigint
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp SET enable_nestloop = off AS $$
DECLARE
    deleted bigint;
BEGIN
    DELETE FROM iot_auth.event WHERE (at, event_id) IN (
        SELECT e.at, e.event_id FROM iot_auth.event e
        WHERE e.at < cutoff AND CASE WHEN others THEN e.kind NOT IN (SELECT r.kind FROM iot_auth.retention r)
                                     ELSE e.kind = p_kind END
        ORDER BY e.at LIMIT 50000);
    GET DIAGNOSTICS deleted = ROW_COUNT;
    RETURN deleted;
END $$;

DO $$
BEGIN
    FOR months_ahead IN 0 .. 2 LOOP
        PERFORM iot_auth.make_partition('event', months_ahead), iot_auth.make_partition('audit', months_ahead);
    END LOOP;
END $$;

-- Privileges.  The partitions have none: rows are read through their parents.

REVOKE DELETE ON iot_auth.event FROM iot_auth_admin;
GRANT SELECT ON iot_auth.event, iot_auth.audit, iot_auth.retention, iot_auth.broker_event TO iot_auth_admin;
GRANT SELECT ON iot_auth.broker_event TO iot_auth_broker;
GRANT SELECT ON SEQUENCE iot_auth.event_event_id_seq, iot_auth.audit_audit_id_seq TO iot_auth_admin;
REVOKE ALL ON FUNCTION iot_auth.session_is_broker, iot_auth.audit_image, iot_auth.json_minus, iot_auth.audit_change,
    iot_auth.audit_table, iot_auth.month_start, iot_auth.make_partition, iot_auth.drop_partition, iot_auth.delete_events
    FROM PUBLIC;

INSERT INTO iot_auth.schema_version (version) VALUES (8);
$migration$;
EXCEPTION WHEN lock_not_available THEN
    RAISE EXCEPTION 'migration % was not applied: a table of schema iot_auth is locked by another session', this
        USING HINT = 'Apply the migrations again when that session (a dump, a long transaction) has ended.',
              ERRCODE = 'lock_not_available';
END $guard$;
COMMIT;

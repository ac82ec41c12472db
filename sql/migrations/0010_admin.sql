-- SPDX-License-Identifier: ISC
-- What administrators and monitoring need beside the settings: client ids released, reasons of refusals found quickly,
-- counts without secrets, status changes that never wait long and say what goes with them.

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
    this int := 10;
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

-- A client id belongs to the principal that first used it, also while that principal is away.  This makes every broker
-- forget the owner, unless the owner is connected.  The row is kept for an hour, for brokers that are cut off
-- meanwhile.

CREATE TABLE iot_auth.client_id_release (
    release_id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    client_id  text COLLATE "C" NOT NULL,
    at         timestamptz NOT NULL DEFAULT clock_timestamp(),
    who        text NOT NULL DEFAULT session_user,
    CONSTRAINT client_id_release_is_a_text CHECK (iot_auth.text_problem(client_id, 512) IS NULL)
);
CREATE INDEX client_id_release_at ON iot_auth.client_id_release (at);
SELECT iot_auth.audit_table('client_id_release', 'release_id', 'r.client_id', 'to_jsonb(r)');

CREATE VIEW iot_auth.broker_client_id_release AS
SELECT release_id, client_id, at FROM iot_auth.client_id_release WHERE at > now() - interval '1 hour';

CREATE FUNCTION iot_auth.release_client_id(client_id text) RETURNS void
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    PERFORM iot_auth.require('client_id', release_client_id.client_id,
                             iot_auth.text_problem(release_client_id.client_id, 512));
    INSERT INTO iot_auth.client_id_release (client_id) VALUES (release_client_id.client_id);
END $$;

-- Notifications of the new tables: see 0003.
DO $$
DECLARE
    t record;
    event text;
BEGIN
    FOR t IN SELECT * FROM (VALUES
        ('client_id_release', 'client_id', 'release_id', 'release_id, client_id'),
        ('reserved_name', 'reserved', 'name', 'name')
    ) v(relation, topic, key, columns) LOOP
        FOREACH event IN ARRAY ARRAY['insert', 'update', 'delete', 'truncate'] LOOP
            CONTINUE WHEN t.relation = 'client_id_release' AND event <> 'insert';
            EXECUTE format('CREATE TRIGGER notify_%s AFTER %s ON iot_auth.%I %s FOR EACH STATEMENT '
                           'EXECUTE FUNCTION iot_auth.notify_change(%L, %L, %L)',
                           event, upper(event), t.relation,
                           CASE event WHEN 'insert' THEN 'REFERENCING NEW TABLE AS new_rows'
                                      WHEN 'update' THEN 'REFERENCING OLD TABLE AS old_rows NEW TABLE AS new_rows'
                                      WHEN 'delete' THEN 'REFERENCING OLD TABLE AS old_rows'
                                      ELSE '' END,
                           t.topic, t.key, t.columns);
            EXECUTE format('ALTER TABLE iot_auth.%I ENABLE ALWAYS TRIGGER notify_%s', t.relation, event);
        END LOOP;
    END LOOP;
END $$;
-- Statuses.  Nothing but another session's lock on the very row can hold a change up, and that for five seconds.

CREATE FUNCTION iot_auth.busy(what text) RETURNS void
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    PERFORM iot_auth.fail(format('%s is locked by another session', what),
                          'Nothing was changed.  End that session (pg_stat_activity, pg_blocking_pids), and try again.',
                          'lock_not_available');
END $$;

-- A status holds for the key of a CA: other rows with its subject and public key go with it.  Say which.
CREATE FUNCTION iot_auth.same_key_notice(target iot_auth.ca, status text) RETURNS void
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    others text := (SELECT string_agg(quote_literal(c.name), ', ' ORDER BY c.name) FROM (
                        SELECT o.name FROM iot_auth.ca o
                        WHERE o.name_key_hash = target.name_key_hash AND o.ca_id <> target.ca_id
                          AND o.status = 'ACTIVE' ORDER BY o.name LIMIT 20) c);
BEGIN
    IF others IS NOT NULL AND status <> 'ACTIVE' THEN
        RAISE NOTICE 'CA % has the same subject and public key as %: these are disabled with it',
            quote_literal(target.name), others
            USING HINT = 'A status holds for the key, whichever certificate a chain contains.';
    END IF;
END $$;

CREATE OR REPLACE FUNCTION iot_auth.set_ca_status(name text, status text) RETURNS void
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
#variable_conflict use_column
DECLARE
    target iot_auth.ca := iot_auth.find_ca(set_ca_status.name);
    before text := current_setting('lock_timeout');
BEGIN
    PERFORM iot_auth.require_one_of('status', set_ca_status.status, ARRAY['ACTIVE', 'INACTIVE', 'REVOKED']);
    IF target.status = 'REVOKED' AND set_ca_status.status <> 'REVOKED' THEN
        PERFORM iot_auth.fail(format('CA ''%s'' is REVOKED and stays REVOKED', target.name), 'Register another CA.',
                              'object_not_in_prerequisite_state');
    END IF;
    PERFORM set_config('lock_timeout', '5s', true);
    UPDATE iot_auth.ca SET status = set_ca_status.status WHERE ca_id = target.ca_id AND status <> set_ca_status.status;
    PERFORM set_config('lock_timeout', before, true);
    PERFORM iot_auth.same_key_notice(target, set_ca_status.status);
EXCEPTION WHEN lock_not_available THEN
    PERFORM iot_auth.busy(format('CA ''%s''', target.name));
END $$;

CREATE OR REPLACE FUNCTION iot_auth.set_device_status(device_id text, status text) RETURNS void
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
#variable_conflict use_column
DECLARE
    target iot_auth.device := iot_auth.find_device(set_device_status.device_id);
    before text := current_setting('lock_timeout');
BEGIN
    PERFORM iot_auth.require_one_of('status', set_device_status.status,
                                    ARRAY['PENDING', 'ACTIVE', 'INACTIVE', 'REVOKED']);
    IF target.status = 'REVOKED' AND set_device_status.status <> 'REVOKED' THEN
        PERFORM iot_auth.fail(format('device ''%s'' is REVOKED and stays REVOKED', target.device_id),
                              'Delete the device to allow a new registration.', 'object_not_in_prerequisite_state');
    END IF;
    PERFORM set_config('lock_timeout', '5s', true);
    UPDATE iot_auth.device SET status = set_device_status.status
    WHERE device_id = target.device_id AND status <> set_device_status.status;
    PERFORM set_config('lock_timeout', before, true);
EXCEPTION WHEN lock_not_available THEN
    PERFORM iot_auth.busy(format('device ''%s''', target.device_id));
END $$;

-- Why was it refused?

CREATE INDEX device_certificate_serial ON iot_auth.device_certificate (left(serial, 64)) WHERE serial IS NOT NULL;

-- The refusals of a device id, app id, client id, common name, address, fingerprint or serial number (hexadecimal, in
-- any notation), the latest first.  One look-up in an index for each, because an OR over all of them reads the whole
-- table.
CREATE FUNCTION iot_auth.why_refused(who text, since interval DEFAULT '24 hours', max bigint DEFAULT 20)
RETURNS TABLE (event_id bigint, at timestamptz, node text, kind text, reason text, principal text, ca text,
               address text, detail jsonb)
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp AS $$
#variable_conflict use_column
DECLARE
    first timestamptz := now() - since;
    hex text := lower(translate(who, ': ', ''));
    serial text := CASE WHEN length(hex) % 2 = 1 THEN '0' || hex ELSE hex END;
BEGIN
    RETURN QUERY
    SELECT DISTINCT ON (f.at, f.event_id) f.event_id, f.at, f.node, f.kind, f.reason, f.principal, a.name, f.address,
           f.detail
    FROM (
        (SELECT e.* FROM iot_auth.event e WHERE e.principal = who AND e.reason IS NOT NULL AND e.at > first
         ORDER BY e.at DESC LIMIT max)
        UNION ALL
        (SELECT e.* FROM iot_auth.event e WHERE e.address = who AND e.reason IS NOT NULL AND e.at > first
         ORDER BY e.at DESC LIMIT max)
        UNION ALL
        (SELECT e.* FROM iot_auth.event e
         WHERE hashtextextended(e.detail ->> 'device_id', 0) = hashtextextended(who, 0) AND e.principal IS NULL
           AND e.detail ->> 'device_id' = who AND e.reason IS NOT NULL AND e.at > first ORDER BY e.at DESC LIMIT max)
        UNION ALL
        (SELECT e.* FROM iot_auth.event e
         WHERE hashtextextended(e.detail ->> 'client_id', 0) = hashtextextended(who, 0)
           AND e.detail ->> 'client_id' = who AND e.reason IS NOT NULL AND e.at > first ORDER BY e.at DESC LIMIT max)
        UNION ALL
        (SELECT e.* FROM iot_auth.event e
         WHERE hashtextextended(e.detail ->> 'cn', 0) = hashtextextended(who, 0)
           AND e.detail ->> 'cn' = who AND e.reason IS NOT NULL AND e.at > first ORDER BY e.at DESC LIMIT max)
        UNION ALL
        (SELECT e.* FROM iot_auth.event e
         WHERE hashtextextended(e.detail ->> 'fingerprint', 0) = hashtextextended(hex, 0)
           AND e.detail ->> 'fingerprint' = hex AND e.reason IS NOT NULL AND e.at > first ORDER BY e.at DESC LIMIT max)
        UNION ALL
        (SELECT e.* FROM iot_auth.event e
         WHERE hashtextextended(e.detail ->> 'serial', 0) = hashtextextended(serial, 0)
           AND e.detail ->> 'serial' = serial AND e.reason IS NOT NULL AND e.at > first ORDER BY e.at DESC LIMIT max)
    ) f LEFT JOIN iot_auth.ca a ON a.ca_id = f.ca_id
    ORDER BY f.at DESC, f.event_id DESC LIMIT max;
END $$;

-- What the registry holds for the same words: the devices, each with its certificates.
CREATE FUNCTION iot_auth.registered_as(who text)
RETURNS TABLE (device_id text, device text, device_problem text, ca text, ca_status text, ca_problem text,
               fingerprint text, serial text, certificate text, certificate_problem text, not_after timestamptz,
               last_connected_at timestamptz)
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp AS $$
#variable_conflict use_column
DECLARE
    hex text := lower(translate(who, ': ', ''));
    even text := CASE WHEN length(hex) % 2 = 1 THEN '0' || hex ELSE hex END;
    print bytea := CASE WHEN hex ~ '^[0-9a-f]{64}$' THEN decode(hex, 'hex') END;
BEGIN
    RETURN QUERY
    SELECT d.device_id, d.status, d.problem, a.name, a.status, a.problem, encode(c.fingerprint, 'hex'), c.serial,
           c.status, c.problem, c.not_after, d.last_connected_at
    FROM (SELECT who COLLATE "C" AS device_id
          UNION SELECT f.device_id FROM iot_auth.device_certificate f WHERE f.fingerprint = print
          UNION (SELECT f.device_id FROM iot_auth.device_certificate f
                  WHERE left(f.serial, 64) = left(even, 64) AND f.serial = even LIMIT 100)) found
    JOIN iot_auth.device d USING (device_id)
    LEFT JOIN LATERAL (SELECT * FROM iot_auth.device_certificate l WHERE l.device_id = d.device_id
                       ORDER BY l.created_at DESC LIMIT 100) c ON true
    LEFT JOIN iot_auth.ca a ON a.ca_id = coalesce(c.ca_id, d.ca_id)
    ORDER BY d.device_id, c.created_at;
END $$;

-- What a broker does every hour: partitions for the next months, and what iot_auth.retention lets go.  The argument is
-- that of older brokers and counts for nothing, so that no broker can erase its traces.  Each step waits 200 ms at most
-- for its lock and is left to the next hour where that is not enough: writers of events queue behind that lock.
CREATE OR REPLACE FUNCTION iot_auth.broker_prune(p_event_age interval) RETURNS bigint
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    before text := current_setting('lock_timeout');
    removed bigint := 0;
    step bigint;
    kept record;
    longest interval := (SELECT CASE WHEN bool_or(keep IS NULL) THEN NULL ELSE max(keep) END FROM iot_auth.retention
                         WHERE kind NOT IN ('audit', 'node'));
BEGIN
    PERFORM set_config('lock_timeout', '200ms', true);
    DELETE FROM iot_auth.node n USING iot_auth.retention r
    WHERE r.kind = 'node' AND n.last_seen < now() - r.keep;
    GET DIAGNOSTICS removed = ROW_COUNT;
    DELETE FROM iot_auth.client_id_release WHERE at < now() - interval '1 hour';
    DELETE FROM iot_auth.ca_usage_stale WHERE ctid = ANY (ARRAY(
        SELECT s.ctid FROM iot_auth.ca_usage_stale s JOIN iot_auth.ca c USING (ca_id) WHERE c.max_devices IS NULL
        LIMIT 50000 FOR UPDATE OF s SKIP LOCKED));
    FOR kept IN SELECT kind, keep FROM iot_auth.retention
                WHERE kind NOT IN ('audit', 'node') AND (keep < longest OR keep < interval '31 days' OR
                                                         longest IS NULL AND keep IS NOT NULL) LOOP
        removed := removed + iot_auth.delete_events(kept.kind, kept.kind = 'event', now() - kept.keep);
    END LOOP;
    BEGIN
        FOR months_ahead IN 0 .. 2 LOOP
            PERFORM iot_auth.make_partition('event', months_ahead), iot_auth.make_partition('audit', months_ahead);
        END LOOP;
    EXCEPTION WHEN lock_not_available OR duplicate_table OR deadlock_detected THEN
        NULL; -- another broker is at it, or a dump runs
    END;
    BEGIN -- last, because this lock keeps writers out until the transaction ends
        step := iot_auth.drop_partition('event', now() - longest);
        IF step = 0 THEN
            step := iot_auth.drop_partition('audit', now() - (SELECT r.keep FROM iot_auth.retention r
                                                              WHERE r.kind = 'audit'));
        END IF;
        removed := removed + step;
    EXCEPTION WHEN lock_not_available OR undefined_table OR deadlock_detected THEN
        NULL;
    END;
    PERFORM set_config('lock_timeout', before, true);
    RETURN removed;
END $$;


-- Monitoring: a login for an exporter.  It sees counts, dates, problems and counters; no key, no PEM, no address, no
-- device by name.

DO $$
BEGIN
    IF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = 'iot_auth_monitor') THEN
        CREATE ROLE iot_auth_monitor LOGIN;
    END IF;
EXCEPTION WHEN duplicate_object OR unique_violation THEN
    NULL; -- created concurrently by a migration of another database of this server
END $$;

CREATE VIEW iot_auth.monitor_node AS
SELECT node_name, started_at, last_seen, stopped_at,
       last_seen > now() - interval '15 s' AND stopped_at IS NULL AS alive,
       database_tls, versions, counters
FROM iot_auth.node;

CREATE VIEW iot_auth.monitor_device AS
SELECT a.name AS ca, coalesce(d.tenant, a.tenant) AS tenant, d.status, count(*) AS devices,
       count(*) FILTER (WHERE d.problem IS NOT NULL) AS with_problem
FROM iot_auth.device d LEFT JOIN iot_auth.ca a USING (ca_id)
GROUP BY a.name, coalesce(d.tenant, a.tenant), d.status;

CREATE VIEW iot_auth.monitor_ca AS
SELECT c.name, c.status, c.auto_registration, c.tenant, c.not_after, c.max_devices, c.max_registrations_per_minute,
       (SELECT count(*) FROM iot_auth.crl l WHERE l.ca_id = c.ca_id) AS crls, c.problem
FROM iot_auth.ca c;

CREATE VIEW iot_auth.monitor_issuer AS
SELECT name, status, tenant, problem, note FROM iot_auth.oauth_issuer;

CREATE VIEW iot_auth.monitor_certificate AS
SELECT a.name AS ca, count(*) AS certificates, count(*) FILTER (WHERE c.status = 'REVOKED') AS revoked,
       count(*) FILTER (WHERE c.status = 'ACTIVE' AND c.not_after <= now()) AS expired,
       count(*) FILTER (WHERE c.status = 'ACTIVE' AND c.not_after > now()
                        AND c.not_after <= now() + interval '30 days') AS expiring_in_30_days,
       count(*) FILTER (WHERE c.problem IS NOT NULL) AS with_problem
FROM iot_auth.device_certificate c LEFT JOIN iot_auth.ca a USING (ca_id) GROUP BY a.name;

CREATE VIEW iot_auth.monitor_problem AS
SELECT 'CA' AS problem_of, name, problem FROM iot_auth.ca WHERE problem IS NOT NULL
UNION ALL SELECT 'issuer', name, problem FROM iot_auth.oauth_issuer WHERE problem IS NOT NULL
UNION ALL SELECT 'rule', role || ', rule ' || rule_id, problem FROM iot_auth.role_rule WHERE problem IS NOT NULL;

CREATE VIEW iot_auth.monitor_event AS
SELECT date_trunc('hour', at) AS hour, node, kind, reason, count(*) AS events
FROM iot_auth.event WHERE at > now() - interval '24 hours'
GROUP BY date_trunc('hour', at), node, kind, reason;

CREATE VIEW iot_auth.monitor_schema AS
SELECT (SELECT max(version) FROM iot_auth.schema_version) AS version,
       (SELECT sum(greatest(c.reltuples, 0))::bigint FROM pg_inherits i JOIN pg_class c ON c.oid = i.inhrelid
        WHERE i.inhparent = 'iot_auth.event'::regclass) AS events_estimate,
       (SELECT sum(greatest(c.reltuples, 0))::bigint FROM pg_inherits i JOIN pg_class c ON c.oid = i.inhrelid
        WHERE i.inhparent = 'iot_auth.audit'::regclass) AS audit_estimate;

GRANT USAGE ON SCHEMA iot_auth TO iot_auth_monitor;
GRANT SELECT ON iot_auth.monitor_node, iot_auth.monitor_device, iot_auth.monitor_ca, iot_auth.monitor_issuer,
    iot_auth.monitor_certificate, iot_auth.monitor_problem, iot_auth.monitor_event, iot_auth.monitor_schema,
    iot_auth.schema_version TO iot_auth_monitor, iot_auth_admin;

GRANT SELECT ON iot_auth.client_id_release, iot_auth.broker_client_id_release TO iot_auth_admin;
GRANT INSERT (client_id) ON iot_auth.client_id_release TO iot_auth_admin;
GRANT SELECT ON iot_auth.broker_client_id_release TO iot_auth_broker;
REVOKE ALL ON FUNCTION iot_auth.release_client_id, iot_auth.busy, iot_auth.same_key_notice, iot_auth.why_refused,
    iot_auth.registered_as FROM PUBLIC;
GRANT EXECUTE ON FUNCTION iot_auth.release_client_id, iot_auth.busy, iot_auth.same_key_notice, iot_auth.why_refused,
    iot_auth.registered_as TO iot_auth_admin;

INSERT INTO iot_auth.schema_version (version) VALUES (10);
$migration$;
EXCEPTION WHEN lock_not_available THEN
    RAISE EXCEPTION 'migration % was not applied: a table of schema iot_auth is locked by another session', this
        USING HINT = 'Apply the migrations again when that session (a dump, a long transaction) has ended.',
              ERRCODE = 'lock_not_available';
END $guard$;
COMMIT;

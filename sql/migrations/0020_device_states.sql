-- SPDX-License-Identifier: ISC
-- Statuses of devices that can be read while other tables are locked; client ids of nodes that are no more.

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
    this int := 20;
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

-- A record joins tables that are no part of the device's status: while one of them is locked (TRUNCATE, VACUUM FULL, ALTER
-- TABLE, LOCK), brokers read the statuses alone, so that a revocation does not wait for it.  A device without certificate
-- has one row, whose fingerprint is 32 zero bytes.
CREATE VIEW iot_auth.broker_device_state AS
SELECT coalesce(c.fingerprint, decode(repeat('00', 32), 'hex')) AS fingerprint, d.device_id,
       CASE WHEN octet_length(d.status) <= 16 THEN d.status ELSE '' END AS device_status,
       CASE WHEN c.fingerprint IS NULL THEN 'ACTIVE'
            WHEN octet_length(c.status) <= 16 THEN c.status ELSE '' END AS certificate_status
FROM iot_auth.device d
LEFT JOIN iot_auth.device_certificate c ON c.device_id = d.device_id AND octet_length(c.fingerprint) = 32
WHERE octet_length(d.device_id) <= 128;
GRANT SELECT ON iot_auth.broker_device_state TO iot_auth_broker, iot_auth_admin;

-- What a broker does every hour: partitions for the next months, and what iot_auth.retention lets go.  The argument is
-- that of older brokers and counts for nothing, so that no broker can erase its traces.  The client ids of a node go
-- with its row, which stays for as long as iot_auth.retention says after it was last seen.  Each step waits 200 ms at most
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
    DELETE FROM iot_auth.client_id_owner WHERE ctid = ANY (ARRAY(
        SELECT o.ctid FROM iot_auth.client_id_owner o
        WHERE NOT EXISTS (SELECT FROM iot_auth.node n WHERE n.node_name = o.node_name) LIMIT 50000 FOR UPDATE SKIP LOCKED));
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

INSERT INTO iot_auth.schema_version (version) VALUES (20);
$migration$;
EXCEPTION WHEN lock_not_available THEN
    RAISE EXCEPTION 'migration % was not applied: a table of schema iot_auth is locked by another session', this
        USING HINT = 'Apply the migrations again when that session (a dump, a long transaction) has ended.',
              ERRCODE = 'lock_not_available';
END $guard$;
COMMIT;

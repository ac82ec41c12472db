-- SPDX-License-Identifier: ISC
-- Brokers write which pre-shared keys they cannot open.

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
    this int := 23;
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

-- Brokers compare what a key's row says with what they find.
CREATE OR REPLACE VIEW iot_auth.broker_psk AS
SELECT identity, device_id, key_id::bigint AS key_id,
       CASE WHEN octet_length(sealed) <= 92 THEN sealed ELSE '' END AS sealed,
       CASE WHEN octet_length(status) <= 16 THEN status ELSE '' END AS status, expires_at,
       CASE WHEN octet_length(problem) <= 2048 THEN problem END AS problem
FROM iot_auth.device_psk WHERE octet_length(identity) <= 128 AND octet_length(device_id) <= 128;

-- For those that ask which keys have a problem: few of a million.
CREATE INDEX device_psk_problem ON iot_auth.device_psk (identity) WHERE problem IS NOT NULL;

-- Nothing happens where the row has been sealed again since the broker read it: the broker reads it again then.  It
-- notifies nobody and leaves no audit: brokers with different key files may disagree.
CREATE FUNCTION iot_auth.broker_set_psk_problem(p_identity text, p_sealed bytea, p_problem text) RETURNS void
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    UPDATE iot_auth.device_psk p SET problem = iot_auth.bounded_text(p_problem, 2048)
    WHERE p.identity = p_identity AND p.sealed = p_sealed
      AND p.problem IS DISTINCT FROM iot_auth.bounded_text(p_problem, 2048);
END $$;

CREATE VIEW iot_auth.monitor_psk AS
SELECT status, count(*) AS keys, count(*) FILTER (WHERE status = 'ACTIVE' AND expires_at <= now()) AS expired,
       count(*) FILTER (WHERE status = 'ACTIVE' AND expires_at > now() AND expires_at <= now() + interval '30 days')
           AS expiring_in_30_days,
       count(problem) AS with_problem
FROM iot_auth.device_psk GROUP BY status;

COMMENT ON FUNCTION iot_auth.broker_set_psk_problem IS 'Internal: A broker writes why a pre-shared key does not open.';
COMMENT ON VIEW iot_auth.monitor_psk IS 'For monitoring: counts of pre-shared keys.';
COMMENT ON COLUMN iot_auth.device_psk.problem IS 'Why brokers cannot open the key; NULL: they can. Written by brokers and iot-auth-psk.';

REVOKE ALL ON FUNCTION iot_auth.broker_set_psk_problem FROM PUBLIC;
REVOKE ALL ON iot_auth.monitor_psk FROM PUBLIC;
GRANT EXECUTE ON FUNCTION iot_auth.broker_set_psk_problem TO iot_auth_broker;
GRANT SELECT ON iot_auth.monitor_psk TO iot_auth_monitor, iot_auth_admin;

INSERT INTO iot_auth.schema_version (version) VALUES (23);
$migration$;
EXCEPTION WHEN lock_not_available THEN
    RAISE EXCEPTION 'migration % was not applied: a table of schema iot_auth is locked by another session', this
        USING HINT = 'Apply the migrations again when that session (a dump, a long transaction) has ended.',
              ERRCODE = 'lock_not_available';
END $guard$;
COMMIT;

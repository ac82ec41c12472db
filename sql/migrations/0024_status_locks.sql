-- SPDX-License-Identifier: ISC
-- A change of a device's status waits for no table but those of statuses, neither where it is made nor in the brokers.

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
    this int := 24;
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

-- Statuses of pre-shared keys too: where a certificate has its fingerprint, a key has that of its identity.
CREATE OR REPLACE VIEW iot_auth.broker_device_state AS
SELECT coalesce(c.fingerprint, decode(repeat('00', 32), 'hex')) AS fingerprint, d.device_id,
       CASE WHEN octet_length(d.status) <= 16 THEN d.status ELSE '' END AS device_status,
       CASE WHEN c.fingerprint IS NULL THEN 'ACTIVE'
            WHEN octet_length(c.status) <= 16 THEN c.status ELSE '' END AS certificate_status
FROM iot_auth.device d
LEFT JOIN iot_auth.device_certificate c ON c.device_id = d.device_id AND octet_length(c.fingerprint) = 32
WHERE octet_length(d.device_id) <= 128
UNION ALL
SELECT p.fingerprint, d.device_id,
       CASE WHEN octet_length(d.status) <= 16 THEN d.status ELSE '' END,
       CASE WHEN octet_length(p.status) <= 16 THEN p.status ELSE '' END
FROM iot_auth.device_psk p JOIN iot_auth.device d ON d.device_id = p.device_id
WHERE octet_length(d.device_id) <= 128;
COMMENT ON VIEW iot_auth.broker_device_state IS
    'Statuses of devices, certificates and pre-shared keys alone, which brokers read while another table is locked.';

-- As in 0021, but a change of a status does not wait for a table that it does not change: while ca is locked (VACUUM FULL,
-- ALTER TABLE, LOCK in an open transaction), the event names the CA by its number alone.  LOCK in an exception block costs
-- a subtransaction: it is for statements that change a status.
CREATE OR REPLACE FUNCTION iot_auth.device_status_events() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    ids text[];
    cas jsonb := '{}'; -- ca_id → name and tenant
BEGIN
    IF NOT EXISTS (SELECT FROM old_rows o JOIN new_rows n USING (device_id) WHERE o.status <> n.status) THEN
        RETURN NULL;
    END IF;
    BEGIN
        LOCK TABLE iot_auth.ca IN ACCESS SHARE MODE NOWAIT;
        SELECT coalesce(jsonb_object_agg(c.ca_id, jsonb_build_object('name', c.name, 'tenant', c.tenant)), '{}') INTO cas
        FROM iot_auth.ca c WHERE c.ca_id IN (SELECT n.ca_id FROM new_rows n);
    EXCEPTION WHEN lock_not_available THEN
        NULL;
    END;
    WITH written AS (
        INSERT INTO iot_auth.event (kind, principal, ca_id, detail)
        SELECT 'device/status', n.device_id, n.ca_id,
               jsonb_build_object('device_id', n.device_id, 'old', o.status, 'new', n.status,
                                  'ca', cas -> n.ca_id::text ->> 'name',
                                  'tenant', coalesce(n.tenant, cas -> n.ca_id::text ->> 'tenant'), 'who', session_user)
        FROM old_rows o JOIN new_rows n USING (device_id)
        WHERE o.status <> n.status
        RETURNING event_id)
    SELECT array_agg(event_id::text) INTO ids FROM (SELECT event_id FROM written LIMIT 51) few;
    PERFORM iot_auth.notify('event', ids);
    RETURN NULL;
END $$;

-- Neither does the deletion of a device wait for ca.  A foreign key would read ca for each row; a CA cannot be deleted
-- before its devices are, so that its deletion sees all its rows.
ALTER TABLE iot_auth.ca_usage_stale DROP CONSTRAINT ca_usage_stale_ca_id_fkey;

CREATE OR REPLACE FUNCTION iot_auth.usage_stale() RETURNS trigger
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    IF iot_auth.quiet() THEN
        RETURN NULL;
    END IF;
    IF TG_OP = 'INSERT' THEN
        INSERT INTO iot_auth.ca_usage_stale SELECT DISTINCT n.ca_id FROM new_rows n WHERE n.ca_id IS NOT NULL;
    ELSIF TG_OP = 'DELETE' THEN
        INSERT INTO iot_auth.ca_usage_stale SELECT DISTINCT o.ca_id FROM old_rows o WHERE o.ca_id IS NOT NULL;
    ELSIF TG_OP = 'UPDATE' THEN
        INSERT INTO iot_auth.ca_usage_stale
        SELECT DISTINCT c.ca_id FROM old_rows o JOIN new_rows n USING (device_id)
        CROSS JOIN LATERAL (VALUES (o.ca_id), (n.ca_id)) c(ca_id)
        WHERE o.ca_id IS DISTINCT FROM n.ca_id AND c.ca_id IS NOT NULL;
    ELSE
        INSERT INTO iot_auth.ca_usage_stale SELECT c.ca_id FROM iot_auth.ca c;
    END IF;
    RETURN NULL;
END $$;

CREATE FUNCTION iot_auth.usage_end() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    DELETE FROM iot_auth.ca_usage_stale WHERE ca_id = OLD.ca_id;
    RETURN NULL;
END $$;
COMMENT ON FUNCTION iot_auth.usage_end() IS 'Internal: trigger: a deleted CA has no devices to count.';
CREATE TRIGGER usage_end AFTER DELETE ON iot_auth.ca FOR EACH ROW EXECUTE FUNCTION iot_auth.usage_end();
REVOKE ALL ON FUNCTION iot_auth.usage_end FROM PUBLIC;

INSERT INTO iot_auth.schema_version (version) VALUES (24);
$migration$;
EXCEPTION WHEN lock_not_available THEN
    RAISE EXCEPTION 'migration % was not applied: a table of schema iot_auth is locked by another session', this
        USING HINT = 'Apply the migrations again when that session (a dump, a long transaction) has ended.',
              ERRCODE = 'lock_not_available';
END $guard$;
COMMIT;

-- SPDX-License-Identifier: ISC
-- Privileges, and the initial rows of a new schema.
--
-- PostgreSQL grants EXECUTE on every new function to PUBLIC: a later migration that adds one must revoke it.

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
    this int := 6;
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
REVOKE ALL ON SCHEMA iot_auth FROM PUBLIC;
REVOKE ALL ON ALL TABLES IN SCHEMA iot_auth FROM PUBLIC;
-- Also from the two roles: they have only the privileges granted below, whatever earlier versions granted.
REVOKE ALL ON ALL FUNCTIONS IN SCHEMA iot_auth FROM PUBLIC, iot_auth_admin, iot_auth_broker;
GRANT USAGE ON SCHEMA iot_auth TO iot_auth_admin, iot_auth_broker;

-- Administrators: read all tables; change the configuration by functions or directly; delete events and nodes.
GRANT SELECT ON ALL TABLES IN SCHEMA iot_auth TO iot_auth_admin;
GRANT INSERT, UPDATE, DELETE, TRUNCATE ON iot_auth.ca, iot_auth.crl, iot_auth.device, iot_auth.device_certificate,
    iot_auth.role, iot_auth.role_rule, iot_auth.ca_role, iot_auth.device_role, iot_auth.oauth_issuer,
    iot_auth.scope_role, iot_auth.ip_rule
    TO iot_auth_admin;
GRANT INSERT ON iot_auth.ca_usage_stale TO iot_auth_admin; -- by trigger
GRANT DELETE ON iot_auth.event, iot_auth.node TO iot_auth_admin;
GRANT USAGE, SELECT ON ALL SEQUENCES IN SCHEMA iot_auth TO iot_auth_admin;

-- All functions that run with the caller's rights: those of 0004, and the checks that triggers and constraints call.
-- Not the functions for brokers, and no trigger function: a trigger fires without this privilege, and a role that has
-- it can attach the function to a table of its own, whose rows and types a SECURITY DEFINER function would then trust.
DO $$
DECLARE
    f regprocedure;
BEGIN
    FOR f IN SELECT p.oid FROM pg_proc p
             WHERE p.pronamespace = 'iot_auth'::regnamespace AND p.proname !~ '^(broker|registration)_'
               AND NOT p.prosecdef AND p.prorettype <> 'trigger'::regtype LOOP
        EXECUTE format('GRANT EXECUTE ON FUNCTION %s TO iot_auth_admin', f);
    END LOOP;
END $$;

-- Brokers: read the configuration, write only through their functions.
GRANT SELECT ON iot_auth.schema_version, iot_auth.broker_device, iot_auth.broker_ca, iot_auth.broker_crl,
    iot_auth.broker_role, iot_auth.broker_rule, iot_auth.broker_ip, iot_auth.broker_issuer, iot_auth.broker_scope,
    iot_auth.broker_unparsed, iot_auth.broker_event TO iot_auth_broker;
DO $$
DECLARE
    f regprocedure;
BEGIN
    FOR f IN SELECT p.oid FROM pg_proc p WHERE p.pronamespace = 'iot_auth'::regnamespace AND p.proname ~ '^broker_' LOOP
        EXECUTE format('GRANT EXECUTE ON FUNCTION %s TO iot_auth_broker', f);
    END LOOP;
END $$;

-- Only once: a role that an administrator has dropped is not created again.
DO $$
BEGIN
    IF NOT EXISTS (SELECT FROM iot_auth.schema_version WHERE version >= 6) THEN
        INSERT INTO iot_auth.role (role) VALUES ('device') ON CONFLICT DO NOTHING;
        INSERT INTO iot_auth.role_rule (role, effect, actions, topic_filter)
        VALUES ('device', 'ALLOW', ARRAY['PUBLISH', 'RECEIVE', 'SUBSCRIBE'], 'devices/${device_id}/#');
        INSERT INTO iot_auth.schema_version (version) VALUES (6);
    END IF;
END $$;
$migration$;
EXCEPTION WHEN lock_not_available THEN
    RAISE EXCEPTION 'migration % was not applied: a table of schema iot_auth is locked by another session', this
        USING HINT = 'Apply the migrations again when that session (a dump, a long transaction) has ended.',
              ERRCODE = 'lock_not_available';
END $guard$;
COMMIT;

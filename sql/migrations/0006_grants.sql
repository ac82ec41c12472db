-- SPDX-License-Identifier: ISC
-- Privileges, and the initial rows of a new schema.
--
-- PostgreSQL grants EXECUTE on every new function to PUBLIC: a later migration that adds one must revoke it.

BEGIN;
SET LOCAL search_path = pg_catalog, pg_temp;
SET LOCAL client_min_messages = warning;
SELECT pg_advisory_xact_lock(5714620941378015095);

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
COMMIT;

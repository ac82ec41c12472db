-- SPDX-License-Identifier: ISC
-- Who may do what, and what a fresh schema holds.
--
-- PostgreSQL lets PUBLIC execute every new function: a later migration that adds one must end with the same REVOKE.

BEGIN;
SET LOCAL search_path = pg_catalog, pg_temp;
SET LOCAL client_min_messages = warning;
SELECT pg_advisory_xact_lock(5714620941378015095);

REVOKE ALL ON SCHEMA iot_auth FROM PUBLIC;
REVOKE ALL ON ALL TABLES IN SCHEMA iot_auth FROM PUBLIC;
-- From the two roles as well: what is granted below is all that they have, whatever these files granted before.
REVOKE ALL ON ALL FUNCTIONS IN SCHEMA iot_auth FROM PUBLIC, iot_auth_admin, iot_auth_broker;
GRANT USAGE ON SCHEMA iot_auth TO iot_auth_admin, iot_auth_broker;

-- Administrators: the configuration, by functions or directly; events and nodes to read and to clear away.
GRANT SELECT ON ALL TABLES IN SCHEMA iot_auth TO iot_auth_admin;
GRANT INSERT, UPDATE, DELETE, TRUNCATE ON iot_auth.ca, iot_auth.crl, iot_auth.device, iot_auth.device_certificate,
    iot_auth.role, iot_auth.role_rule, iot_auth.ca_role, iot_auth.device_role, iot_auth.oauth_issuer,
    iot_auth.scope_role, iot_auth.ip_rule
    TO iot_auth_admin;
GRANT INSERT ON iot_auth.ca_usage_stale TO iot_auth_admin; -- by trigger
GRANT DELETE ON iot_auth.event, iot_auth.node TO iot_auth_admin;
GRANT USAGE, SELECT ON ALL SEQUENCES IN SCHEMA iot_auth TO iot_auth_admin;

-- All that runs with the caller's rights: the functions of 0004, and the checks that triggers and constraints call.
-- Not the broker's, and no trigger function: a trigger fires without this privilege, and whoever has it can hang the
-- function on a table of his own, whose rows and types the SECURITY DEFINER ones would then take for ours.
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

-- Brokers: read configuration, write through their functions only.
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

-- Once only: an administrator who drops the role does not get it back.
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

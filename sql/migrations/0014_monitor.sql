-- SPDX-License-Identifier: ISC
-- Monitoring: counters, histograms and the ends of revocation lists as views, and the role of a client that monitors.

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
    this int := 14;
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

-- When a revocation list ends.  The trigger runs after crl_fingerprint, which has made the PEM canonical.

ALTER TABLE iot_auth.crl ADD COLUMN next_update timestamptz; -- computed from pem; NULL: the list does not say

-- nextUpdate of a CertificateList (RFC 5280 section 5.1): of the third or fourth member of tbsCertList on, the second
-- that is a Time.  NULL where the DER is not that of a list, or the time is none: the broker says so in ca.problem.
CREATE FUNCTION iot_auth.crl_next_update(der bytea) RETURNS timestamptz
LANGUAGE plpgsql IMMUTABLE PARALLEL SAFE SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    list record := iot_auth.der_element(der, 0);
    tbs record := iot_auth.der_element(der, list.content);
    element record := iot_auth.der_element(der, tbs.content);
    digits text;
    year int;
BEGIN
    IF element.tag = 2 THEN -- version
        element := iot_auth.der_element(der, element.next);
    END IF;
    FOR i IN 1 .. 3 LOOP -- past signature and issuer, and thisUpdate, to nextUpdate
        element := iot_auth.der_element(der, element.next);
    END LOOP;
    IF element.tag IS NULL OR element.tag NOT IN (23, 24) OR element.next - element.content NOT IN (13, 15) THEN
        RETURN NULL;
    END IF;
    digits := encode(substr(der, element.content + 1, element.next - element.content), 'escape');
    IF element.tag = 23 AND digits ~ '^[0-9]{12}Z$' THEN -- UTCTime: 50 to 99 are of the last century
        year := left(digits, 2)::int;
        digits := (CASE WHEN year >= 50 THEN '19' ELSE '20' END) || digits;
    END IF;
    IF digits !~ '^[0-9]{14}Z$' THEN
        RETURN NULL;
    END IF;
    RETURN make_timestamptz(substr(digits, 1, 4)::int, substr(digits, 5, 2)::int, substr(digits, 7, 2)::int,
                            substr(digits, 9, 2)::int, substr(digits, 11, 2)::int, substr(digits, 13, 2)::float, 'UTC');
EXCEPTION WHEN datetime_field_overflow OR invalid_datetime_format THEN
    RETURN NULL;
END $$;

CREATE FUNCTION iot_auth.fill_next_update() RETURNS trigger
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    NEW.next_update := iot_auth.crl_next_update((iot_auth.pem_decode(NEW.pem, 'X509 CRL')).der);
    RETURN NEW;
END $$;
CREATE TRIGGER crl_next_update BEFORE INSERT OR UPDATE OF pem, next_update ON iot_auth.crl FOR EACH ROW
    EXECUTE FUNCTION iot_auth.fill_next_update();

UPDATE iot_auth.crl SET next_update = NULL; -- the trigger computes it

-- Monitoring.  A broker's counters are what that broker says: names and values are checked, so that one broken into can
-- neither fail the query for all brokers nor fill the monitoring system with names.

CREATE OR REPLACE VIEW iot_auth.monitor_node AS
SELECT node_name, started_at, last_seen, stopped_at,
       last_seen > now() - interval '15 s' AND stopped_at IS NULL AS alive,
       database_tls, versions, counters,
       -- By the database's clock: it goes on growing when the broker has lost its connection and cannot say so.
       extract(epoch FROM now() - last_seen)::double precision AS age_s
FROM iot_auth.node;

CREATE OR REPLACE VIEW iot_auth.monitor_ca AS
SELECT c.name, c.status, c.auto_registration, c.tenant, c.not_after, c.max_devices, c.max_registrations_per_minute,
       (SELECT count(*) FROM iot_auth.crl l WHERE l.ca_id = c.ca_id) AS crls, c.problem,
       (SELECT max(l.next_update) FROM iot_auth.crl l WHERE l.ca_id = c.ca_id) AS crl_next_update
FROM iot_auth.ca c;

CREATE VIEW iot_auth.monitor_counter AS
SELECT n.node_name, c.key AS counter, c.value
FROM iot_auth.node n
CROSS JOIN LATERAL (SELECT e.key, CASE WHEN e.key ~ '^[a-z0-9_/]{1,64}$' AND e.value ~ '^-?[0-9]{1,18}$'
                                       THEN e.value::bigint END AS value
                    FROM jsonb_each_text(CASE WHEN jsonb_typeof(n.counters) = 'object' THEN n.counters
                                              ELSE '{}' END) e
                    LIMIT 1000) c
WHERE c.value IS NOT NULL;

CREATE VIEW iot_auth.monitor_refusal AS
SELECT node_name, substr(counter, 18) AS reason, value AS refusals
FROM iot_auth.monitor_counter WHERE counter ~ '^connects/refused/[a-z_]{1,32}$';

CREATE VIEW iot_auth.monitor_session_end AS
SELECT node_name, substr(counter, 16) AS reason, value AS sessions
FROM iot_auth.monitor_counter WHERE counter ~ '^sessions/ended/[a-z_]{1,32}$';

-- In seconds, in the form of a Prometheus histogram: bounds, how many were at most that long, sum, and how many in all.
CREATE VIEW iot_auth.monitor_histogram AS
SELECT node_name, substr(split_part(counter, '/', 2), 1, length(split_part(counter, '/', 2)) - 3) AS histogram,
       array_agg(substring(counter FROM 'le_([0-9]+)$')::double precision / 1000000
                 ORDER BY substring(counter FROM 'le_([0-9]+)$')::bigint)
           FILTER (WHERE counter ~ 'le_[0-9]+$') AS le,
       array_agg(value ORDER BY substring(counter FROM 'le_([0-9]+)$')::bigint)
           FILTER (WHERE counter ~ 'le_[0-9]+$') AS at_most,
       coalesce(max(value) FILTER (WHERE split_part(counter, '/', 3) = 'sum'), 0)::double precision / 1000000 AS sum,
       coalesce(max(value) FILTER (WHERE split_part(counter, '/', 3) = 'count'), 0) AS count
FROM iot_auth.monitor_counter
WHERE counter ~ '^histogram/(connect|parked|database|applied)_us/(le_[0-9]{1,12}|sum|count)$'
GROUP BY node_name, split_part(counter, '/', 2);

GRANT SELECT ON iot_auth.monitor_counter, iot_auth.monitor_refusal, iot_auth.monitor_session_end,
    iot_auth.monitor_histogram TO iot_auth_monitor, iot_auth_admin;
REVOKE ALL ON FUNCTION iot_auth.crl_next_update, iot_auth.fill_next_update FROM PUBLIC;
GRANT EXECUTE ON FUNCTION iot_auth.crl_next_update TO iot_auth_admin;

-- The role (of devices and apps) of a client that reads the brokers' counters and events.  A role of that name that an
-- administrator has created means something else: nothing is added to it.  As for the role `device`, the history of
-- changes begins after it.
ALTER TABLE iot_auth.role DISABLE TRIGGER audit_insert;
ALTER TABLE iot_auth.role_rule DISABLE TRIGGER audit_insert;
DO $$
BEGIN
    IF NOT EXISTS (SELECT FROM iot_auth.role WHERE role = 'monitor') THEN
        INSERT INTO iot_auth.role (role) VALUES ('monitor');
        INSERT INTO iot_auth.role_rule (role, effect, actions, topic_filter)
        VALUES ('monitor', 'ALLOW', ARRAY['SUBSCRIBE', 'RECEIVE'], '$SYS/#'),
               ('monitor', 'ALLOW', ARRAY['SUBSCRIBE', 'RECEIVE'], '$iot-auth/events/#');
    END IF;
END $$;
ALTER TABLE iot_auth.role ENABLE ALWAYS TRIGGER audit_insert;
ALTER TABLE iot_auth.role_rule ENABLE ALWAYS TRIGGER audit_insert;

INSERT INTO iot_auth.schema_version (version) VALUES (14);
$migration$;
EXCEPTION WHEN lock_not_available THEN
    RAISE EXCEPTION 'migration % was not applied: a table of schema iot_auth is locked by another session', this
        USING HINT = 'Apply the migrations again when that session (a dump, a long transaction) has ended.',
              ERRCODE = 'lock_not_available';
END $guard$;
COMMIT;

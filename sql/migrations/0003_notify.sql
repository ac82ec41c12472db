-- SPDX-License-Identifier: ISC
-- Notifications to brokers: NOTIFY on channel iot_auth from statement-level triggers on every relevant table, whichever
-- role or statement makes the change.
--
-- A payload has the topic (`ca`, `role`, `device`, `issuer`, `ip`, `event`) on its first line and one key on each
-- further line, or the single line `*` for 'many rows, read all again'.  Keys: ca_id; role; device_id; issuer name;
-- rule_id; event_id.  The payload is a hint only: any role may NOTIFY, so brokers read the rows again and never trust
-- the payload.
--
-- No notification is sent
--  - when only columns changed that brokers set themselves, or book-keeping: the triggers below compare the relevant
--    columns;
--  - for rows that a broker registers (0005): NOTIFY takes a lock at COMMIT that the whole server shares, and the
--    registering broker has the result.  It sets iot_auth.quiet, which any role can set; see quiet() for when that
--    takes effect.

BEGIN;
SET LOCAL search_path = pg_catalog, pg_temp;
SET LOCAL client_min_messages = warning;
SELECT pg_advisory_xact_lock(5714620941378015095);

-- Whether a SECURITY DEFINER function of the schema's owner, called by a broker's login, has suppressed notifications.
-- An administrator's session cannot reach this state: its own writes run under its own role, and cascades, which run as
-- the owner, still have the administrator as session user, who is not a member of iot_auth_broker.
CREATE OR REPLACE FUNCTION iot_auth.quiet() RETURNS boolean
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    RETURN coalesce(current_setting('iot_auth.quiet', true), '') = 'on'
        AND current_user <> session_user
        AND current_user = (SELECT pg_get_userbyid(nspowner) FROM pg_namespace WHERE nspname = 'iot_auth')
        AND pg_has_role(session_user, 'iot_auth_broker', 'MEMBER');
END $$;

-- At most 50 keys and 4000 bytes: a payload must be shorter than 8000 bytes, and brokers read all keys in one query.
CREATE OR REPLACE FUNCTION iot_auth.notify(topic text, keys text[]) RETURNS void
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    lines text := array_to_string(keys, E'\n');
BEGIN
    IF cardinality(keys) > 0 THEN
        PERFORM pg_notify('iot_auth', topic || E'\n' ||
                          CASE WHEN cardinality(keys) > 50 OR octet_length(lines) > 4000 THEN '*' ELSE lines END);
    END IF;
END $$;

-- Statement trigger.  Arguments: topic, key column, relevant columns (comma-separated, including the key).  One
-- function for all tables: the texts that are formatted into the statement come from the trigger definitions below.
CREATE OR REPLACE FUNCTION iot_auth.notify_change() RETURNS trigger
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    topic text := TG_ARGV[0];
    key text := TG_ARGV[1];
    columns text := TG_ARGV[2];
    changed text := CASE TG_OP
        WHEN 'INSERT' THEN 'SELECT * FROM new_rows'
        WHEN 'DELETE' THEN 'SELECT * FROM old_rows'
        WHEN 'UPDATE' THEN format('(SELECT %1$s FROM new_rows EXCEPT SELECT %1$s FROM old_rows) UNION ALL '
                                  '(SELECT %1$s FROM old_rows EXCEPT SELECT %1$s FROM new_rows)', columns)
    END;
    keys text[];
BEGIN
    IF iot_auth.quiet() THEN
        RETURN NULL;
    END IF;
    IF TG_OP = 'TRUNCATE' THEN
        PERFORM pg_notify('iot_auth', topic || E'\n*');
        RETURN NULL;
    END IF;
    -- The trigger of the device notifies of its deletion; a further payload for each cascaded row would be useless.
    IF TG_OP = 'DELETE' AND TG_TABLE_NAME IN ('device_certificate', 'device_role') THEN
        changed := 'SELECT * FROM old_rows o WHERE EXISTS '
                   '(SELECT FROM iot_auth.device d WHERE d.device_id = o.device_id)';
    END IF;
    -- 51 rows are enough to know that there are many.  Duplicates are removed in the outer query, so that LIMIT can
    -- stop the inner query early.
    EXECUTE format('SELECT array_agg(DISTINCT k) FROM (SELECT %I::text AS k FROM (%s) changed LIMIT 51) few',
                   key, changed) INTO keys;
    PERFORM iot_auth.notify(topic, keys);
    RETURN NULL;
END $$;

-- ENABLE ALWAYS: also for rows that are written with session_replication_role = replica.
DO $$
DECLARE
    t record;
    event text;
BEGIN
    FOR t IN SELECT * FROM (VALUES
        ('ca', 'ca', 'ca_id', 'ca_id, name, pem, status, auto_registration, registered_status, device_id_template, '
                              'client_id_templates, max_devices, max_registrations_per_minute, tenant, replaces'),
        ('crl', 'ca', 'ca_id', 'ca_id, crl_id, pem'),
        ('ca_role', 'ca', 'ca_id', 'ca_id, role'),
        ('device', 'device', 'device_id', 'device_id, ca_id, tenant, status, attributes'),
        ('device_certificate', 'device', 'device_id', 'device_id, fingerprint, ca_id, status'),
        ('device_role', 'device', 'device_id', 'device_id, role'),
        ('role', 'role', 'role', 'role'),
        ('role_rule', 'role', 'role', 'role, rule_id, effect, actions, topic_filter, max_qos, allow_retain'),
        ('oauth_issuer', 'issuer', 'name', 'name, issuer, audience, algorithms, jwks, jwks_url, client_id_templates, '
                                           'app_id_claim, token_types, leeway_s, tenant, status'),
        ('scope_role', 'issuer', 'issuer_name', 'issuer_name, scope, role'),
        ('ip_rule', 'ip', 'rule_id', 'rule_id, effect, network, scope, scope_key, expires_at')
    ) v(relation, topic, key, columns) LOOP
        FOREACH event IN ARRAY ARRAY['insert', 'update', 'delete', 'truncate'] LOOP
            EXECUTE format('CREATE OR REPLACE TRIGGER notify_%s AFTER %s ON iot_auth.%I %s FOR EACH STATEMENT '
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

-- A restore of a whole dump loads the rows before it creates the triggers.  Its last step refreshes materialized views:
-- this view notifies every broker to read everything again.
CREATE OR REPLACE FUNCTION iot_auth.notify_all() RETURNS timestamptz
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    topic text;
BEGIN
    FOREACH topic IN ARRAY ARRAY['ca', 'role', 'device', 'issuer', 'ip'] LOOP
        PERFORM pg_notify('iot_auth', topic || E'\n*');
    END LOOP;
    RETURN clock_timestamp();
END $$;
CREATE MATERIALIZED VIEW IF NOT EXISTS iot_auth.restored AS SELECT iot_auth.notify_all() AS at;

-- A status change is an event, written once, in the transaction of the change; brokers publish these events.

CREATE OR REPLACE FUNCTION iot_auth.device_status_events() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    ids text[];
BEGIN
    WITH written AS (
        INSERT INTO iot_auth.event (kind, principal, ca_id, detail)
        SELECT 'device/status', n.device_id, n.ca_id,
               jsonb_build_object('device_id', n.device_id, 'old', o.status, 'new', n.status, 'ca', c.name,
                                  'tenant', coalesce(n.tenant, c.tenant))
        FROM old_rows o JOIN new_rows n USING (device_id) JOIN iot_auth.ca c ON c.ca_id = n.ca_id
        WHERE o.status <> n.status
        RETURNING event_id)
    SELECT array_agg(event_id::text) INTO ids FROM (SELECT event_id FROM written LIMIT 51) few;
    PERFORM iot_auth.notify('event', ids);
    RETURN NULL;
END $$;
CREATE OR REPLACE TRIGGER status_events AFTER UPDATE ON iot_auth.device
    REFERENCING OLD TABLE AS old_rows NEW TABLE AS new_rows
    FOR EACH STATEMENT EXECUTE FUNCTION iot_auth.device_status_events();

CREATE OR REPLACE FUNCTION iot_auth.ca_status_events() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    ids text[];
BEGIN
    WITH written AS (
        INSERT INTO iot_auth.event (kind, ca_id, detail)
        SELECT 'ca/status', n.ca_id,
               jsonb_build_object('ca', n.name, 'old', o.status, 'new', n.status, 'tenant', n.tenant)
        FROM old_rows o JOIN new_rows n USING (ca_id)
        WHERE o.status <> n.status
        RETURNING event_id)
    SELECT array_agg(event_id::text) INTO ids FROM (SELECT event_id FROM written LIMIT 51) few;
    PERFORM iot_auth.notify('event', ids);
    RETURN NULL;
END $$;
CREATE OR REPLACE TRIGGER status_events AFTER UPDATE ON iot_auth.ca
    REFERENCING OLD TABLE AS old_rows NEW TABLE AS new_rows
    FOR EACH STATEMENT EXECUTE FUNCTION iot_auth.ca_status_events();

-- The number of devices of a CA has changed without a registration: see ca_usage in 0001.  Also for a CA without
-- max_devices: the quota may be set, and counted, before this transaction commits.  broker_prune deletes these rows.

CREATE OR REPLACE FUNCTION iot_auth.usage_stale() RETURNS trigger
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    IF iot_auth.quiet() THEN
        RETURN NULL;
    END IF;
    IF TG_OP = 'INSERT' THEN
        INSERT INTO iot_auth.ca_usage_stale SELECT c.ca_id FROM iot_auth.ca c
        WHERE c.ca_id IN (SELECT n.ca_id FROM new_rows n);
    ELSIF TG_OP = 'DELETE' THEN
        INSERT INTO iot_auth.ca_usage_stale SELECT c.ca_id FROM iot_auth.ca c
        WHERE c.ca_id IN (SELECT o.ca_id FROM old_rows o);
    ELSIF TG_OP = 'UPDATE' THEN
        INSERT INTO iot_auth.ca_usage_stale SELECT c.ca_id FROM iot_auth.ca c
        WHERE c.ca_id IN (SELECT unnest(ARRAY[o.ca_id, n.ca_id]) FROM old_rows o JOIN new_rows n USING (device_id)
                          WHERE o.ca_id <> n.ca_id);
    ELSE
        INSERT INTO iot_auth.ca_usage_stale SELECT c.ca_id FROM iot_auth.ca c;
    END IF;
    RETURN NULL;
END $$;
CREATE OR REPLACE TRIGGER usage_insert AFTER INSERT ON iot_auth.device REFERENCING NEW TABLE AS new_rows
    FOR EACH STATEMENT EXECUTE FUNCTION iot_auth.usage_stale();
CREATE OR REPLACE TRIGGER usage_update AFTER UPDATE ON iot_auth.device
    REFERENCING OLD TABLE AS old_rows NEW TABLE AS new_rows
    FOR EACH STATEMENT EXECUTE FUNCTION iot_auth.usage_stale();
CREATE OR REPLACE TRIGGER usage_delete AFTER DELETE ON iot_auth.device REFERENCING OLD TABLE AS old_rows
    FOR EACH STATEMENT EXECUTE FUNCTION iot_auth.usage_stale();
CREATE OR REPLACE TRIGGER usage_truncate AFTER TRUNCATE ON iot_auth.device
    FOR EACH STATEMENT EXECUTE FUNCTION iot_auth.usage_stale();

CREATE OR REPLACE FUNCTION iot_auth.usage_forget() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    DELETE FROM iot_auth.ca_usage WHERE ca_id = NEW.ca_id;
    DELETE FROM iot_auth.ca_usage_stale WHERE ca_id = NEW.ca_id;
    RETURN NULL;
END $$;
CREATE OR REPLACE TRIGGER usage_forget AFTER UPDATE ON iot_auth.ca FOR EACH ROW
    WHEN (NEW.max_devices IS DISTINCT FROM OLD.max_devices)
    EXECUTE FUNCTION iot_auth.usage_forget();

INSERT INTO iot_auth.schema_version (version) VALUES (3) ON CONFLICT DO NOTHING;
COMMIT;

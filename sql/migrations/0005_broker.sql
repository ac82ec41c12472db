-- SPDX-License-Identifier: ISC
-- Views and functions for brokers (role iot_auth_broker); the statements are in sql/db.c.
--
-- Registration: broker_register repeats all checks in one transaction and one round trip, because the broker decided
-- from a snapshot.  Its locks are always taken in the same order:
--   1. an advisory lock on the CA, shared: registrations of one CA do not queue, and a change of the CA waits for them
--      (ca_settles in 0002); row locks would do the same, but would let registrations overtake a waiting change for
--      ever;
--   2. where the CA has quotas, an advisory lock on the quotas: two concurrent counts would both find room;
--   3. an advisory lock on the certificate: on two brokers at once it registers once, and the other gets the record;
--   4. the row of the device.

BEGIN;
SET LOCAL search_path = pg_catalog, pg_temp;
SET LOCAL client_min_messages = warning;
SELECT pg_advisory_xact_lock(5714620941378015095);

-- One row for each certificate.  Look-ups in device_role and in attributes are conditional: a million devices that have
-- neither are read in a second or two.  attrs: key, value, key, value ... of the scalar members.  Both lists are cut at
-- the number of elements that makes a device too large for the cache (jitr/device.c): a list of more than a million
-- elements could not be decoded, and that one row would make the registry unreadable for every broker.
CREATE OR REPLACE VIEW iot_auth.broker_device AS
SELECT c.fingerprint, d.device_id, d.status AS device_status, c.status AS certificate_status,
       c.ca_id AS certificate_ca_id, d.ca_id AS device_ca_id, coalesce(d.tenant, a.tenant) AS tenant, c.not_after,
       CASE WHEN d.attributes <> '{}' THEN (
           SELECT array_agg(pair.word ORDER BY member.key, pair.position)
           FROM (SELECT * FROM jsonb_each(d.attributes)
                 WHERE jsonb_typeof(value) IN ('string', 'number', 'boolean') LIMIT 65536) member
           CROSS JOIN LATERAL (VALUES (1, member.key), (2, member.value #>> '{}')) pair(position, word)) END AS attrs,
       CASE WHEN (SELECT EXISTS (SELECT FROM iot_auth.device_role)) THEN (
           SELECT array_agg(r.role ORDER BY r.role)
           FROM (SELECT role FROM iot_auth.device_role WHERE device_id = d.device_id LIMIT 65536) r) END AS roles
FROM iot_auth.device_certificate c
JOIN iot_auth.device d ON d.device_id = c.device_id
JOIN iot_auth.ca a ON a.ca_id = d.ca_id;

CREATE OR REPLACE VIEW iot_auth.broker_ca AS
SELECT c.ca_id, c.name, c.pem, c.status, c.auto_registration, c.device_id_template, c.client_id_templates, c.tenant,
       c.replaces, c.problem,
       ARRAY(SELECT r.role FROM iot_auth.ca_role r WHERE r.ca_id = c.ca_id ORDER BY r.role) AS roles
FROM iot_auth.ca c;

CREATE OR REPLACE VIEW iot_auth.broker_crl AS
SELECT crl_id, ca_id, pem FROM iot_auth.crl;

CREATE OR REPLACE VIEW iot_auth.broker_role AS
SELECT role FROM iot_auth.role;

CREATE OR REPLACE VIEW iot_auth.broker_rule AS
SELECT rule_id, role, effect, actions, topic_filter, max_qos, allow_retain, problem FROM iot_auth.role_rule;

CREATE OR REPLACE VIEW iot_auth.broker_ip AS
SELECT rule_id, effect, network::text AS network, scope, scope_key, expires_at FROM iot_auth.ip_rule;

CREATE OR REPLACE VIEW iot_auth.broker_issuer AS
SELECT name, issuer, audience, algorithms, jwks::text AS jwks, jwks_url, client_id_templates, app_id_claim, token_types,
       leeway_s, tenant, status, problem
FROM iot_auth.oauth_issuer;

CREATE OR REPLACE VIEW iot_auth.broker_scope AS
SELECT issuer_name AS issuer, scope, role FROM iot_auth.scope_role;

-- Certificates that an administrator registered and no broker has parsed yet.
CREATE OR REPLACE VIEW iot_auth.broker_unparsed AS
SELECT fingerprint, pem FROM iot_auth.device_certificate WHERE pem IS NOT NULL AND serial IS NULL;

-- Status changes to publish: the rows that a notification `event` refers to.
CREATE OR REPLACE VIEW iot_auth.broker_event AS
SELECT event_id, at, kind, principal, ca_id, detail::text AS detail FROM iot_auth.event
WHERE kind IN ('device/status', 'ca/status');

-- Registration

CREATE OR REPLACE FUNCTION iot_auth.registration_lock(p_ca_id bigint, p_fingerprint bytea) RETURNS iot_auth.ca
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    locked iot_auth.ca;
BEGIN
    PERFORM pg_advisory_xact_lock_shared(571462094, (p_ca_id % 2147483648)::int);
    SELECT * INTO locked FROM iot_auth.ca c WHERE c.ca_id = p_ca_id;
    IF locked.max_devices IS NOT NULL OR locked.max_registrations_per_minute IS NOT NULL THEN
        PERFORM pg_advisory_xact_lock(571462095, (p_ca_id % 2147483648)::int);
    END IF;
    PERFORM pg_advisory_xact_lock(('x' || encode(substr(p_fingerprint, 1, 8), 'hex'))::bit(64)::bigint);
    RETURN locked;
END $$;

-- The number of devices of a CA whose quotas are locked: counted once, then maintained (see ca_usage in 0001).
CREATE OR REPLACE FUNCTION iot_auth.registration_count(p_ca_id bigint) RETURNS bigint
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    counted bigint;
BEGIN
    DELETE FROM iot_auth.ca_usage_stale s WHERE s.ca_id = p_ca_id;
    IF NOT FOUND THEN
        SELECT u.devices INTO counted FROM iot_auth.ca_usage u WHERE u.ca_id = p_ca_id;
        IF FOUND THEN
            RETURN counted;
        END IF;
    END IF;
    SELECT count(*) INTO counted FROM iot_auth.device d WHERE d.ca_id = p_ca_id;
    INSERT INTO iot_auth.ca_usage AS u (ca_id, devices) VALUES (p_ca_id, counted)
    ON CONFLICT (ca_id) DO UPDATE SET devices = excluded.devices;
    RETURN counted;
END $$;

-- The exhausted quota of a locked CA, as text, or NULL.  The minute is a sliding window of the last 60 seconds.
CREATE OR REPLACE FUNCTION iot_auth.registration_quota(ca iot_auth.ca, another_device boolean) RETURNS text
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    recent bigint;
BEGIN
    IF ca.max_registrations_per_minute IS NOT NULL THEN
        SELECT count(*) INTO recent FROM (
            SELECT FROM iot_auth.device_certificate c
            WHERE c.ca_id = ca.ca_id AND c.registered_by = 'jitr'
              AND c.created_at > clock_timestamp() - interval '1 minute'
            LIMIT ca.max_registrations_per_minute) few;
        IF recent >= ca.max_registrations_per_minute THEN
            RETURN format('CA ''%s'' admits %s registrations a minute', ca.name, ca.max_registrations_per_minute);
        END IF;
    END IF;
    IF another_device AND ca.max_devices IS NOT NULL AND iot_auth.registration_count(ca.ca_id) >= ca.max_devices THEN
        RETURN format('CA ''%s'' admits %s devices', ca.name, ca.max_devices);
    END IF;
    RETURN NULL;
END $$;

-- Insert the device, or use an existing device for a further certificate (rotation).  Returns the reason of a refusal,
-- or NULLs.
--
-- When a successor of the device's CA issued the certificate, the device moves to the successor: from then on the old
-- CA cannot add a certificate to the device, which is the purpose of a roll-over after a compromise.  Certificates that
-- the old CA issued before remain valid as long as it is ACTIVE.
CREATE OR REPLACE FUNCTION iot_auth.registration_device(ca iot_auth.ca, p_device_id text, OUT outcome text,
                                                        OUT detail text)
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
#variable_conflict use_column
DECLARE
    existing iot_auth.device;
    is_new boolean;
    moves boolean := false;
BEGIN
    LOOP
        SELECT * INTO existing FROM iot_auth.device d WHERE d.device_id = p_device_id FOR NO KEY UPDATE;
        is_new := NOT FOUND;
        moves := NOT is_new AND existing.ca_id <> ca.ca_id;
        IF moves AND NOT iot_auth.ca_succeeds(ca.ca_id, existing.ca_id) THEN
            outcome := 'device_conflict';
            detail := format('device ''%s'' belongs to CA %s, which this CA does not replace', p_device_id,
                             existing.ca_id);
            RETURN;
        END IF;
        detail := iot_auth.registration_quota(ca, is_new OR moves);
        IF detail IS NOT NULL THEN
            outcome := 'quota_exceeded';
            RETURN;
        END IF;
        EXIT WHEN NOT is_new;
        INSERT INTO iot_auth.device (device_id, ca_id, tenant, status, registered_by, created_at)
        VALUES (p_device_id, ca.ca_id, ca.tenant, ca.registered_status, 'jitr', clock_timestamp())
        ON CONFLICT DO NOTHING;
        EXIT WHEN FOUND; -- else a concurrent registration inserted the row: examine it
    END LOOP;
    IF moves THEN
        UPDATE iot_auth.device d SET ca_id = ca.ca_id WHERE d.device_id = p_device_id;
        INSERT INTO iot_auth.ca_usage_stale
        SELECT c.ca_id FROM iot_auth.ca c WHERE c.ca_id = existing.ca_id AND c.max_devices IS NOT NULL;
    END IF;
    IF is_new OR moves THEN
        UPDATE iot_auth.ca_usage u SET devices = u.devices + 1 WHERE u.ca_id = ca.ca_id;
    END IF;
END $$;

-- The event of a registration, as published and as in iot_auth.event.
CREATE OR REPLACE FUNCTION iot_auth.registration_event(p_fingerprint bytea, ca iot_auth.ca, p_node text, p_address text)
    RETURNS text
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
#variable_conflict use_column
DECLARE
    written text;
    registered record;
BEGIN
    SELECT * INTO registered FROM iot_auth.broker_device b WHERE b.fingerprint = p_fingerprint;
    written := json_build_object(
        'device_id', registered.device_id, 'fingerprint', encode(p_fingerprint, 'hex'), 'ca', ca.name,
        'ca_fingerprint', encode(ca.fingerprint, 'hex'), 'status', registered.device_status, 'tenant',
        registered.tenant, 'node', p_node, 'at',
        to_char(clock_timestamp() AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.MS"Z"'));
    INSERT INTO iot_auth.event (node, kind, principal, ca_id, address, detail)
    VALUES (p_node, 'device/registered', registered.device_id, ca.ca_id, p_address, written::jsonb);
    RETURN written;
END $$;

-- Register the certificate, whose chain ended in CA p_ca_id and whose holder has proved possession of the key.
-- outcome: 'known' (detail NULL) and 'registered' (detail: the JSON of the event to publish) return the record in the
-- columns of broker_device; the other outcomes are reasons of refusal, with a human-readable text in detail:
-- ca_inactive, device_unknown (no auto-registration), identity_invalid, device_conflict, quota_exceeded.
CREATE OR REPLACE FUNCTION iot_auth.broker_register(
    p_fingerprint bytea, p_device_id text, p_ca_id bigint, p_serial text, p_subject text, p_not_before timestamptz,
    p_not_after timestamptz, p_node text, p_address text)
RETURNS TABLE (outcome text, detail text, fingerprint bytea, device_id text, device_status text,
               certificate_status text, certificate_ca_id bigint, device_ca_id bigint, tenant text,
               not_after timestamptz, attrs text[], roles text[])
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
#variable_conflict use_column
DECLARE
    ca iot_auth.ca;
BEGIN
    IF current_setting('transaction_isolation') NOT IN ('read committed', 'read uncommitted') THEN
        -- An older snapshot would not show changes that were committed while this function waited for the locks.
        PERFORM iot_auth.fail('broker_register requires transaction isolation READ COMMITTED');
    END IF;
    UPDATE iot_auth.device_certificate c
    SET serial = p_serial, subject = p_subject, not_before = p_not_before, not_after = p_not_after
    WHERE c.fingerprint = p_fingerprint AND c.serial IS NULL AND p_serial IS NOT NULL;
    RETURN QUERY SELECT 'known', NULL::text, b.* FROM iot_auth.broker_device b WHERE b.fingerprint = p_fingerprint;
    IF FOUND THEN
        RETURN;
    END IF;

    ca := iot_auth.registration_lock(p_ca_id, p_fingerprint);
    RETURN QUERY SELECT 'known', NULL::text, b.* FROM iot_auth.broker_device b WHERE b.fingerprint = p_fingerprint;
    IF FOUND THEN
        RETURN;
    END IF;
    IF ca.ca_id IS NULL OR ca.status <> 'ACTIVE' THEN
        outcome := 'ca_inactive';
        detail := CASE WHEN ca.ca_id IS NULL THEN format('CA %s is no longer registered', p_ca_id)
                       ELSE format('CA ''%s'' is %s', ca.name, ca.status) END;
    ELSIF NOT ca.auto_registration THEN
        outcome := 'device_unknown';
        detail := format('CA ''%s'' has no auto-registration', ca.name);
    ELSIF iot_auth.device_id_problem(p_device_id) IS NOT NULL THEN
        outcome := 'identity_invalid';
        detail := format('device id %s', iot_auth.device_id_problem(p_device_id));
    ELSE
        PERFORM set_config('iot_auth.quiet', 'on', true);
        SELECT r.outcome, r.detail INTO outcome, detail FROM iot_auth.registration_device(ca, p_device_id) r;
        IF outcome IS NULL THEN
            INSERT INTO iot_auth.device_certificate (fingerprint, device_id, ca_id, serial, subject, not_before,
                                                     not_after, registered_by, created_at)
            VALUES (p_fingerprint, p_device_id, ca.ca_id, p_serial, p_subject, p_not_before, p_not_after, 'jitr',
                    clock_timestamp());
            RETURN QUERY SELECT 'registered', iot_auth.registration_event(p_fingerprint, ca, p_node, p_address), b.*
                         FROM iot_auth.broker_device b WHERE b.fingerprint = p_fingerprint;
        END IF;
        PERFORM set_config('iot_auth.quiet', 'off', true);
    END IF;
    IF outcome IS NOT NULL THEN
        RETURN NEXT;
    END IF;
END $$;

-- Columns that brokers set.  Each function writes only changed values, and 0003 sends no notification.

CREATE OR REPLACE FUNCTION iot_auth.broker_set_ca_parsed(p_ca_id bigint, p_subject text, p_not_before timestamptz,
                                                         p_not_after timestamptz, p_problem text) RETURNS void
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    UPDATE iot_auth.ca c
    SET subject = p_subject, not_before = p_not_before, not_after = p_not_after, problem = p_problem
    WHERE c.ca_id = p_ca_id AND (c.subject, c.not_before, c.not_after, c.problem)
                                IS DISTINCT FROM (p_subject, p_not_before, p_not_after, p_problem);
END $$;

CREATE OR REPLACE FUNCTION iot_auth.broker_set_certificate_parsed(p_fingerprint bytea, p_serial text, p_subject text,
                                                                  p_not_before timestamptz, p_not_after timestamptz)
RETURNS void LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    UPDATE iot_auth.device_certificate c
    SET serial = p_serial, subject = p_subject, not_before = p_not_before, not_after = p_not_after
    WHERE c.fingerprint = p_fingerprint AND (c.serial, c.subject, c.not_before, c.not_after)
                                            IS DISTINCT FROM (p_serial, p_subject, p_not_before, p_not_after);
END $$;

CREATE OR REPLACE FUNCTION iot_auth.broker_set_rule_problem(p_rule_id bigint, p_problem text) RETURNS void
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    UPDATE iot_auth.role_rule r SET problem = p_problem
    WHERE r.rule_id = p_rule_id AND r.problem IS DISTINCT FROM p_problem;
END $$;

CREATE OR REPLACE FUNCTION iot_auth.broker_set_issuer_problem(p_name text, p_problem text) RETURNS void
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    UPDATE iot_auth.oauth_issuer i SET problem = p_problem
    WHERE i.name = p_name AND i.problem IS DISTINCT FROM p_problem;
END $$;

-- Book-keeping

-- The text as JSON, or wrapped in an object where it is not JSON: one invalid detail must not lose a batch of events.
CREATE OR REPLACE FUNCTION iot_auth.event_detail(detail text) RETURNS jsonb
LANGUAGE plpgsql IMMUTABLE SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    RETURN detail::jsonb;
EXCEPTION WHEN data_exception OR program_limit_exceeded THEN
    RETURN jsonb_build_object('text', detail);
END $$;

CREATE OR REPLACE FUNCTION iot_auth.broker_write_events(p_node text, p_ats timestamptz[], p_kinds text[],
                                                        p_principals text[], p_ca_ids bigint[], p_addresses text[],
                                                        p_reasons text[], p_details text[])
RETURNS void LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    INSERT INTO iot_auth.event (at, node, kind, principal, ca_id, address, reason, detail)
    SELECT coalesce(e.at, clock_timestamp()), p_node, e.kind, e.principal, e.ca_id, e.address, e.reason,
           iot_auth.event_detail(e.detail)
    FROM unnest(p_ats, p_kinds, p_principals, p_ca_ids, p_addresses, p_reasons, p_details)
         WITH ORDINALITY AS e(at, kind, principal, ca_id, address, reason, detail, n)
    ORDER BY e.n;
END $$;

CREATE OR REPLACE FUNCTION iot_auth.broker_heartbeat(p_node text, p_counters text) RETURNS void
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    INSERT INTO iot_auth.node AS n (node_name, counters) VALUES (p_node, coalesce(p_counters, '{}')::jsonb)
    ON CONFLICT (node_name) DO UPDATE SET last_seen = clock_timestamp(), counters = excluded.counters;
END $$;

-- A row that is locked by another session is skipped: book-keeping never waits, and brokers that report the same
-- devices in a different order cannot deadlock.
CREATE OR REPLACE FUNCTION iot_auth.broker_connected(p_device_ids text[], p_ats timestamptz[]) RETURNS void
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    WITH reported AS (
        SELECT u.device_id COLLATE "C" AS device_id, max(u.at) AS at
        FROM unnest(p_device_ids, p_ats) u(device_id, at) GROUP BY 1
    ), free AS (
        SELECT d.device_id, r.at FROM iot_auth.device d JOIN reported r USING (device_id)
        WHERE d.last_connected_at IS NULL OR d.last_connected_at < r.at
        FOR NO KEY UPDATE OF d SKIP LOCKED)
    UPDATE iot_auth.device d SET last_connected_at = f.at FROM free f WHERE d.device_id = f.device_id;
END $$;

-- Delete up to 50,000 events older than p_event_age, which is more than a node writes for unregistered clients in an
-- hour, and nodes not seen for that long.  Returns the number of rows.  The age is at least one day, so that no broker
-- can erase its traces.  Also delete up to 50,000 rows of ca_usage_stale of CAs without max_devices: a quota that is
-- set later counts the devices again.
CREATE OR REPLACE FUNCTION iot_auth.broker_prune(p_event_age interval) RETURNS bigint
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    cutoff timestamptz := now() - greatest(coalesce(p_event_age, interval '90 days'), interval '1 day');
    events bigint;
    nodes bigint;
BEGIN
    DELETE FROM iot_auth.event WHERE event_id IN (
        SELECT e.event_id FROM iot_auth.event e WHERE e.at < cutoff ORDER BY e.at LIMIT 50000 FOR UPDATE SKIP LOCKED);
    GET DIAGNOSTICS events = ROW_COUNT;
    DELETE FROM iot_auth.node WHERE last_seen < cutoff;
    GET DIAGNOSTICS nodes = ROW_COUNT;
    DELETE FROM iot_auth.ca_usage_stale WHERE ctid = ANY (ARRAY(
        SELECT s.ctid FROM iot_auth.ca_usage_stale s JOIN iot_auth.ca c USING (ca_id) WHERE c.max_devices IS NULL
        LIMIT 50000 FOR UPDATE OF s SKIP LOCKED));
    RETURN events + nodes;
END $$;

INSERT INTO iot_auth.schema_version (version) VALUES (5) ON CONFLICT DO NOTHING;
COMMIT;

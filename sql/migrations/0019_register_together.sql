-- SPDX-License-Identifier: ISC
-- A batch of registrations costs a few statements, not a few for each device: a storm of new devices is limited by what the
-- database does for each.

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
    this int := 19;
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

-- A quota is asked for several devices at once.
DROP FUNCTION iot_auth.registration_quota;
DROP FUNCTION iot_auth.registration_lock;
DROP FUNCTION iot_auth.registration_event;
DROP FUNCTION iot_auth.registration_problem;

-- The exhausted quota of a locked CA, as text, or NULL: for `n` more registrations, of which all or none are of another
-- device.  The minute is a sliding window of the last 60 seconds.
CREATE FUNCTION iot_auth.registration_quota(ca iot_auth.ca, another_device boolean, n int DEFAULT 1) RETURNS text
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
        IF recent + n > ca.max_registrations_per_minute THEN
            RETURN format('CA ''%s'' admits %s registrations a minute', ca.name, ca.max_registrations_per_minute);
        END IF;
    END IF;
    IF another_device AND ca.max_devices IS NOT NULL
        AND iot_auth.registration_count(ca.ca_id) + n > ca.max_devices THEN
        RETURN format('CA ''%s'' admits %s devices', ca.name, ca.max_devices);
    END IF;
    RETURN NULL;
END $$;

-- Lock what the registration of these certificates under this CA needs, in this order: where the CA has quotas, its row
-- in ca_usage, because two that count at the same time would both find room; then the certificates in their order, so
-- that the same one on two brokers registers once.  The CA is read again after that.
CREATE FUNCTION iot_auth.registration_lock(p_ca_id bigint, fingerprints bytea[]) RETURNS iot_auth.ca
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    locked iot_auth.ca;
    counts boolean;
BEGIN
    SELECT * INTO locked FROM iot_auth.ca c WHERE c.ca_id = p_ca_id;
    counts := locked.max_devices IS NOT NULL OR locked.max_registrations_per_minute IS NOT NULL;
    IF counts THEN
        LOOP
            PERFORM FROM iot_auth.ca_usage u WHERE u.ca_id = p_ca_id FOR UPDATE;
            EXIT WHEN FOUND;
            INSERT INTO iot_auth.ca_usage (ca_id, devices)
            SELECT c.ca_id, -1 FROM iot_auth.ca c WHERE c.ca_id = p_ca_id ON CONFLICT DO NOTHING;
            EXIT WHEN NOT EXISTS (SELECT FROM iot_auth.ca c WHERE c.ca_id = p_ca_id);
        END LOOP;
    END IF;
    INSERT INTO iot_auth.registration_claim (fingerprint) SELECT f FROM unnest(fingerprints) f ORDER BY f
    ON CONFLICT DO NOTHING;
    SELECT * INTO locked FROM iot_auth.ca c WHERE c.ca_id = p_ca_id;
    IF NOT counts THEN
        -- A quota that was set meanwhile holds from the next registration on: locking its row only now could deadlock.
        locked.max_devices := NULL;
        locked.max_registrations_per_minute := NULL;
    END IF;
    RETURN locked;
END $$;

-- The steps of a registration, each for all items at once: a statement costs far more than a row of it, because triggers
-- run for each statement.

-- The results of those items whose certificates are in the registry: 'known'.
CREATE FUNCTION iot_auth.registration_known(items iot_auth.registration_item[])
RETURNS iot_auth.registration_result[]
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    fingerprints bytea[] := ARRAY(SELECT i.fingerprint FROM unnest(items) i);
BEGIN
    -- Asked first: usually there are none, and the view is a larger statement.
    IF NOT EXISTS (SELECT FROM iot_auth.device_certificate c WHERE c.fingerprint = ANY (fingerprints)) THEN
        RETURN '{}';
    END IF;
    RETURN ARRAY(
        SELECT (i.item, 'known', NULL, b.fingerprint, b.device_id, b.device_status, b.certificate_status,
                b.certificate_ca_id, b.device_ca_id, b.tenant, b.not_after, b.attrs, b.roles)
               ::iot_auth.registration_result
        FROM (SELECT * FROM iot_auth.broker_device b WHERE b.fingerprint = ANY (fingerprints)) b
        JOIN unnest(items) i ON i.fingerprint = b.fingerprint);
END $$;

-- The items that have no result yet.
CREATE FUNCTION iot_auth.registration_open(items iot_auth.registration_item[], done iot_auth.registration_result[])
RETURNS iot_auth.registration_item[]
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    IF cardinality(done) = 0 THEN
        RETURN items;
    END IF;
    RETURN ARRAY(SELECT i::iot_auth.registration_item FROM unnest(items) i
                 WHERE i.item NOT IN (SELECT d.item FROM unnest(done) d) ORDER BY i.fingerprint, i.item);
END $$;

-- A broker reports what a certificate that was registered by hand says.
CREATE FUNCTION iot_auth.registration_parsed(items iot_auth.registration_item[]) RETURNS void
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    fingerprints bytea[] := ARRAY(SELECT i.fingerprint FROM unnest(items) i WHERE i.serial IS NOT NULL);
BEGIN
    -- Asked first: an UPDATE of no row runs all the triggers.
    IF EXISTS (SELECT FROM iot_auth.device_certificate c
               WHERE c.fingerprint = ANY (fingerprints) AND c.serial IS NULL) THEN
        UPDATE iot_auth.device_certificate c
        SET serial = i.serial, subject = i.subject, not_before = i.not_before, not_after = i.not_after
        FROM unnest(items) i
        WHERE c.fingerprint = i.fingerprint AND c.serial IS NULL AND i.serial IS NOT NULL;
    END IF;
END $$;

-- The results of those items that this CA does not register, by the state of the CA or by their device ids.
CREATE FUNCTION iot_auth.registration_refusals(ca iot_auth.ca, items iot_auth.registration_item[])
RETURNS iot_auth.registration_result[]
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    outcome text;
    detail text;
BEGIN
    IF ca.ca_id IS NULL OR ca.status <> 'ACTIVE' THEN
        outcome := 'ca_inactive';
        detail := CASE WHEN ca.ca_id IS NULL THEN format('CA %s is no longer registered', items[1].ca_id)
                       ELSE format('CA ''%s'' is %s', ca.name, ca.status) END;
    ELSIF NOT ca.auto_registration THEN
        outcome := 'device_unknown';
        detail := format('CA ''%s'' has no auto-registration', ca.name);
    END IF;
    IF outcome IS NOT NULL THEN
        RETURN ARRAY(SELECT iot_auth.registration_refusal(i.item, outcome, detail) FROM unnest(items) i);
    END IF;
    RETURN ARRAY(
        SELECT iot_auth.registration_refusal(i.item, 'identity_invalid', format('device id %s', p.problem))
        FROM unnest(items) i,
             LATERAL (SELECT coalesce(iot_auth.device_id_problem(i.device_id),
                                      iot_auth.reserved_problem(i.device_id)) AS problem) p
        WHERE p.problem IS NOT NULL);
END $$;

CREATE FUNCTION iot_auth.registration_refusal(item int, outcome text, detail text) RETURNS iot_auth.registration_result
LANGUAGE sql IMMUTABLE
RETURN (item, outcome, detail, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL)
       ::iot_auth.registration_result;

-- Insert the devices that nobody has registered, where the quotas have room for all of them.  Returns the items whose
-- devices were inserted, one for each device; registration_device decides about the others.
CREATE FUNCTION iot_auth.registration_new_devices(ca iot_auth.ca, items iot_auth.registration_item[])
RETURNS iot_auth.registration_item[]
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    ids text[] := ARRAY(SELECT DISTINCT i.device_id FROM unnest(items) i ORDER BY 1);
    inserted text[];
BEGIN
    IF iot_auth.registration_quota(ca, true, cardinality(ids)) IS NOT NULL THEN
        RETURN '{}';
    END IF;
    WITH fresh AS (
        INSERT INTO iot_auth.device (device_id, ca_id, tenant, status, registered_by, created_at)
        SELECT id, ca.ca_id, ca.tenant, ca.registered_status, 'jitr', clock_timestamp() FROM unnest(ids) id ORDER BY id
        ON CONFLICT DO NOTHING
        RETURNING device_id)
    SELECT array_agg(f.device_id) INTO inserted FROM fresh f;
    IF ca.max_devices IS NOT NULL AND inserted IS NOT NULL THEN
        UPDATE iot_auth.ca_usage u SET devices = u.devices + cardinality(inserted)
        WHERE u.ca_id = ca.ca_id AND u.devices >= 0;
    END IF;
    RETURN ARRAY(SELECT i::iot_auth.registration_item
                 FROM (SELECT DISTINCT ON (i.device_id) i.* FROM unnest(items) i WHERE i.device_id = ANY (inserted)
                       ORDER BY i.device_id, i.fingerprint, i.item) i);
END $$;

-- A device that collects certificates faster than one device can rotate is probably many: every certificate of a fleet
-- with one common name ('AWS IoT Certificate') becomes the same device.  The certificate counts; the text goes into the
-- device's problem and into the event.  Returns the device ids of which that is true.
CREATE FUNCTION iot_auth.registration_crowded(device_ids text[]) RETURNS text[]
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    crowded text[] := ARRAY(
        SELECT id FROM unnest(device_ids) id
        WHERE 6 <= (SELECT count(*) FROM (SELECT FROM iot_auth.device_certificate c
                                          WHERE c.device_id = id AND c.registered_by = 'jitr'
                                            AND c.created_at > clock_timestamp() - interval '1 day' LIMIT 6) few));
BEGIN
    IF cardinality(crowded) > 0 THEN
        UPDATE iot_auth.device d SET problem = iot_auth.crowded_problem()
        WHERE d.device_id = ANY (crowded) AND d.problem IS DISTINCT FROM iot_auth.crowded_problem();
    END IF;
    RETURN crowded;
END $$;

CREATE FUNCTION iot_auth.crowded_problem() RETURNS text LANGUAGE sql IMMUTABLE PARALLEL SAFE
RETURN 'more than 5 certificates were registered for this device id within 24 hours: '
       'the device_id_template of the CA may not distinguish devices';

-- Insert the certificates of items whose devices are there, and the event of each registration, as published and as in
-- iot_auth.event.  Returns their results.
CREATE FUNCTION iot_auth.registration_certificates(ca iot_auth.ca, items iot_auth.registration_item[], p_node text)
RETURNS iot_auth.registration_result[]
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    done iot_auth.registration_result[];
    crowded text[];
BEGIN
    INSERT INTO iot_auth.device_certificate (fingerprint, device_id, ca_id, serial, subject, not_before, not_after,
                                             registered_by, created_at)
    SELECT i.fingerprint, i.device_id, ca.ca_id, i.serial, i.subject, i.not_before, i.not_after, 'jitr',
           clock_timestamp()
    FROM unnest(items) i ORDER BY i.fingerprint;
    crowded := iot_auth.registration_crowded(ARRAY(SELECT i.device_id FROM unnest(items) i));
    done := ARRAY(
        SELECT (k.item, 'registered',
                CASE WHEN k.device_id = ANY (crowded)
                     THEN left(e.text, -1) || ', "problem" : ' || to_json(iot_auth.crowded_problem()) || '}'
                     ELSE e.text END,
                k.fingerprint, k.device_id, k.device_status, k.certificate_status, k.certificate_ca_id, k.device_ca_id,
                k.tenant, k.not_after, k.attrs, k.roles)::iot_auth.registration_result
        FROM unnest(iot_auth.registration_known(items)) k,
             LATERAL (SELECT json_build_object(
                 'device_id', k.device_id, 'fingerprint', encode(k.fingerprint, 'hex'), 'ca', ca.name,
                 'ca_fingerprint', encode(ca.fingerprint, 'hex'), 'status', k.device_status, 'tenant', k.tenant,
                 'node', p_node, 'at',
                 to_char(clock_timestamp() AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.MS"Z"'))::text AS text) e);
    INSERT INTO iot_auth.event (node, kind, principal, ca_id, address, detail)
    SELECT p_node, 'device/registered', d.device_id, ca.ca_id, i.address, d.detail::jsonb
    FROM unnest(done) d JOIN unnest(items) i USING (item) ORDER BY item;
    RETURN done;
END $$;

-- An item whose device exists, or is of another item of the same batch, or is near the end of a quota.
CREATE FUNCTION iot_auth.registration_one(ca iot_auth.ca, one iot_auth.registration_item, p_node text)
RETURNS iot_auth.registration_result[]
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    done iot_auth.registration_result[] := iot_auth.registration_known(ARRAY[one]);
    refused record;
BEGIN
    IF cardinality(done) > 0 THEN
        RETURN done;
    END IF;
    SELECT r.outcome, r.detail INTO refused FROM iot_auth.registration_device(ca, one.device_id) r;
    IF refused.outcome IS NOT NULL THEN
        RETURN ARRAY[iot_auth.registration_refusal(one.item, refused.outcome, refused.detail)];
    END IF;
    RETURN iot_auth.registration_certificates(ca, ARRAY[one], p_node);
END $$;

-- Register the items, all of one CA.  One result for each, in no order.
--
-- Every statement from here on looks up a few rows by index, whatever its arguments: one plan for all.  Without
-- enable_seqscan = off, a plan that was made while the tables were small, and that a session keeps, would read all of a
-- table for each batch of a storm.
CREATE OR REPLACE FUNCTION iot_auth.register_items(items iot_auth.registration_item[], p_node text)
RETURNS iot_auth.registration_result[]
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp SET enable_seqscan = off
SET plan_cache_mode = force_generic_plan AS $$
DECLARE
    ca iot_auth.ca;
    claimed bytea[];
    open iot_auth.registration_item[];
    fresh iot_auth.registration_item[];
    done iot_auth.registration_result[];
    one iot_auth.registration_item;
BEGIN
    IF current_setting('transaction_isolation') NOT IN ('read committed', 'read uncommitted') THEN
        -- An older snapshot would not show changes that were committed while this function waited for the locks.
        PERFORM iot_auth.fail('broker_register requires transaction isolation READ COMMITTED');
    END IF;
    PERFORM iot_auth.registration_node(p_node);
    IF EXISTS (SELECT FROM unnest(items) i WHERE octet_length(i.fingerprint) IS DISTINCT FROM 32) THEN
        PERFORM iot_auth.fail('fingerprint must be 32 bytes (SHA-256)');
    END IF;
    items := ARRAY(
        SELECT (i.item, i.fingerprint, i.device_id, i.ca_id, iot_auth.bounded_text(i.serial, 128),
                iot_auth.bounded_text(i.subject, 2048), iot_auth.certificate_time(i.not_before),
                iot_auth.certificate_time(i.not_after), iot_auth.bounded_text(i.address, 64))
               ::iot_auth.registration_item
        FROM unnest(items) i ORDER BY i.fingerprint, i.item);
    PERFORM iot_auth.registration_parsed(items);
    done := iot_auth.registration_known(items);
    open := iot_auth.registration_open(items, done);
    IF cardinality(open) = 0 THEN
        RETURN done;
    END IF;

    claimed := ARRAY(SELECT DISTINCT i.fingerprint FROM unnest(open) i);
    ca := iot_auth.registration_lock(open[1].ca_id, claimed);
    done := done || iot_auth.registration_known(open);
    done := done || iot_auth.registration_refusals(ca, iot_auth.registration_open(items, done));
    open := iot_auth.registration_open(items, done);
    IF cardinality(open) > 0 THEN
        PERFORM set_config('iot_auth.quiet', 'on', true);
        fresh := iot_auth.registration_new_devices(ca, open);
        IF cardinality(fresh) > 0 THEN
            done := done || iot_auth.registration_certificates(ca, fresh, p_node);
        END IF;
        FOREACH one IN ARRAY iot_auth.registration_open(items, done) LOOP
            done := done || iot_auth.registration_one(ca, one, p_node);
        END LOOP;
        PERFORM set_config('iot_auth.quiet', 'off', true);
    END IF;
    DELETE FROM iot_auth.registration_claim r WHERE r.fingerprint = ANY (claimed);
    RETURN done;
END $$;

-- One item.
CREATE OR REPLACE FUNCTION iot_auth.broker_register(
    p_fingerprint bytea, p_device_id text, p_ca_id bigint, p_serial text, p_subject text, p_not_before timestamptz,
    p_not_after timestamptz, p_node text, p_address text)
RETURNS TABLE (outcome text, detail text, fingerprint bytea, device_id text, device_status text,
               certificate_status text, certificate_ca_id bigint, device_ca_id bigint, tenant text,
               not_after timestamptz, attrs text[], roles text[])
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
#variable_conflict use_column
DECLARE
    items constant iot_auth.registration_item[] := ARRAY[
        (1, p_fingerprint, p_device_id, p_ca_id, p_serial, p_subject, p_not_before, p_not_after, p_address)
        ::iot_auth.registration_item];
BEGIN
    RETURN QUERY SELECT r.outcome, r.detail, r.fingerprint, r.device_id, r.device_status, r.certificate_status,
                        r.certificate_ca_id, r.device_ca_id, r.tenant, r.not_after, r.attrs, r.roles
                 FROM unnest(iot_auth.register_items(items, p_node)) r;
END $$;

-- As in 0009.  Quiet: no other broker needs this time, and the triggers of a change would cost more than the update.
CREATE OR REPLACE FUNCTION iot_auth.broker_connected(p_device_ids text[], p_ats timestamptz[]) RETURNS void
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    PERFORM set_config('iot_auth.quiet', 'on', true);
    WITH reported AS (
        SELECT u.device_id COLLATE "C" AS device_id, least(max(u.at), clock_timestamp()) AS at
        FROM unnest(p_device_ids, p_ats) u(device_id, at) GROUP BY 1
    ), free AS (
        SELECT d.device_id, r.at FROM iot_auth.device d JOIN reported r USING (device_id)
        WHERE d.last_connected_at IS NULL OR d.last_connected_at < r.at
        FOR NO KEY UPDATE OF d SKIP LOCKED)
    UPDATE iot_auth.device d SET last_connected_at = f.at FROM free f WHERE d.device_id = f.device_id;
    PERFORM set_config('iot_auth.quiet', 'off', true);
END $$;

REVOKE ALL ON FUNCTION iot_auth.registration_quota, iot_auth.registration_lock, iot_auth.registration_known,
    iot_auth.registration_open, iot_auth.registration_parsed, iot_auth.registration_refusals,
    iot_auth.registration_refusal, iot_auth.registration_new_devices, iot_auth.registration_crowded,
    iot_auth.crowded_problem, iot_auth.registration_certificates, iot_auth.registration_one FROM PUBLIC;

INSERT INTO iot_auth.schema_version (version) VALUES (19);
$migration$;
EXCEPTION WHEN lock_not_available THEN
    RAISE EXCEPTION 'migration % was not applied: a table of schema iot_auth is locked by another session', this
        USING HINT = 'Apply the migrations again when that session (a dump, a long transaction) has ended.',
              ERRCODE = 'lock_not_available';
END $guard$;
COMMIT;

-- SPDX-License-Identifier: ISC
-- What brokers write is bounded: in size, in kind, to their own node, in time, and once.  Registration takes no lock
-- that another role could hold, and no change of a CA's status waits for it.

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
    this int := 9;
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

ALTER TABLE iot_auth.device
    ADD COLUMN problem text, -- what an administrator should look at; NULL: no problem
    ADD CONSTRAINT device_problem_size CHECK (problem IS NULL OR octet_length(problem) <= 2048) NOT VALID;
ALTER TABLE iot_auth.node
    ADD COLUMN login text,        -- the database login that uses this name; another one is refused
    ADD COLUMN database_tls text, -- how the broker reaches the database: verified, unverified, local, clear
    ADD COLUMN versions jsonb,    -- of the plugin, Mosquitto, OpenSSL, libpq
    ADD COLUMN stopped_at timestamptz, -- the broker was stopped cleanly; NULL: it runs, or it crashed
    ADD CONSTRAINT node_tls_known CHECK (database_tls IN ('verified', 'unverified', 'local', 'clear')) NOT VALID,
    ADD CONSTRAINT node_versions_size CHECK (iot_auth.json_problem(versions, 8192) IS NULL) NOT VALID;

-- Names that no device can take: those of MQTT users that other plugins or a password file know.  With `other_clients
-- defer`, a tenant's certificate with the name of such a user would lock that user out.
CREATE TABLE iot_auth.reserved_name (
    name text COLLATE "C" PRIMARY KEY,
    CONSTRAINT reserved_name_length CHECK (octet_length(name) BETWEEN 1 AND 512)
);
INSERT INTO iot_auth.reserved_name (name) VALUES ('admin');

CREATE FUNCTION iot_auth.reserved_problem(v text) RETURNS text
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    RETURN CASE WHEN EXISTS (SELECT FROM iot_auth.reserved_name r WHERE r.name = v)
                THEN format('''%s'' is a reserved name (iot_auth.reserved_name)', v) END;
END $$;

CREATE FUNCTION iot_auth.check_reserved() RETURNS trigger
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    taken text := (SELECT n.device_id FROM new_rows n JOIN iot_auth.reserved_name r ON r.name = n.device_id LIMIT 1);
BEGIN
    IF taken IS NOT NULL THEN
        PERFORM iot_auth.fail('device_id ' || iot_auth.reserved_problem(taken),
                              'Choose another device_id, or delete the name from iot_auth.reserved_name.');
    END IF;
    RETURN NULL;
END $$;
CREATE TRIGGER reserved_names AFTER INSERT ON iot_auth.device REFERENCING NEW TABLE AS new_rows
    FOR EACH STATEMENT EXECUTE FUNCTION iot_auth.check_reserved();

CREATE FUNCTION iot_auth.check_reserved_name() RETURNS trigger
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    taken text := (SELECT d.device_id FROM new_rows n JOIN iot_auth.device d ON d.device_id = n.name LIMIT 1);
BEGIN
    IF taken IS NOT NULL THEN
        PERFORM iot_auth.fail(format('name ''%s'' cannot be reserved because a device has it', taken),
                              'Delete the device first.', 'object_not_in_prerequisite_state');
    END IF;
    RETURN NULL;
END $$;
CREATE TRIGGER reserved_insert AFTER INSERT ON iot_auth.reserved_name REFERENCING NEW TABLE AS new_rows
    FOR EACH STATEMENT EXECUTE FUNCTION iot_auth.check_reserved_name();
CREATE TRIGGER reserved_update AFTER UPDATE ON iot_auth.reserved_name REFERENCING NEW TABLE AS new_rows
    FOR EACH STATEMENT EXECUTE FUNCTION iot_auth.check_reserved_name();
SELECT iot_auth.audit_table('reserved_name', 'name', 'r.name', 'to_jsonb(r)');

CREATE VIEW iot_auth.broker_reserved_name AS SELECT name FROM iot_auth.reserved_name WHERE octet_length(name) <= 512;

-- The latest certificates of a device, also where it has collected very many.
CREATE INDEX device_certificate_device_latest ON iot_auth.device_certificate (device_id, created_at);
DROP INDEX iot_auth.device_certificate_device;

-- Locks of registrations.  They are rows that only the owner's functions can lock, where an advisory lock can be taken,
-- and held for ever, by any role that can log in.
--
-- registration_claim: a row is inserted and deleted again in one transaction; a second transaction that inserts the
-- same fingerprint waits for the first one.  Unlogged: nothing is ever to be kept.
CREATE UNLOGGED TABLE iot_auth.registration_claim (
    fingerprint bytea PRIMARY KEY
) WITH (fillfactor = 50, autovacuum_vacuum_threshold = 10000, autovacuum_vacuum_scale_factor = 0);

-- A change of a CA no longer waits for registrations, nor they for it: a status must take effect at once.  A
-- registration that is under way at that moment may still commit; the broker decides by the status when it is done.
DROP TRIGGER ca_settles_update ON iot_auth.ca;
DROP TRIGGER ca_settles_delete ON iot_auth.ca;
DROP FUNCTION iot_auth.settle_ca();

-- Lock what a registration under this CA needs, in this order: where the CA has quotas, its row in ca_usage, because
-- two that count at the same time would both find room; then the certificate, so that the same one on two brokers
-- registers once.  The CA is read again after that.  Who registers several in one transaction goes by ca_id and
-- fingerprint.
CREATE OR REPLACE FUNCTION iot_auth.registration_lock(p_ca_id bigint, p_fingerprint bytea) RETURNS iot_auth.ca
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
    INSERT INTO iot_auth.registration_claim (fingerprint) VALUES (p_fingerprint) ON CONFLICT DO NOTHING;
    SELECT * INTO locked FROM iot_auth.ca c WHERE c.ca_id = p_ca_id;
    IF NOT counts THEN
        -- A quota that was set meanwhile holds from the next registration on: locking its row only now could deadlock.
        locked.max_devices := NULL;
        locked.max_registrations_per_minute := NULL;
    END IF;
    RETURN locked;
END $$;

-- The number of devices of a CA whose quotas are locked: counted once (-1: not yet), then maintained.
CREATE OR REPLACE FUNCTION iot_auth.registration_count(p_ca_id bigint) RETURNS bigint
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    counted bigint;
BEGIN
    DELETE FROM iot_auth.ca_usage_stale s WHERE s.ca_id = p_ca_id;
    IF NOT FOUND THEN
        SELECT u.devices INTO counted FROM iot_auth.ca_usage u WHERE u.ca_id = p_ca_id;
        IF counted >= 0 THEN
            RETURN counted;
        END IF;
    END IF;
    SELECT count(*) INTO counted FROM iot_auth.device d WHERE d.ca_id = p_ca_id;
    INSERT INTO iot_auth.ca_usage AS u (ca_id, devices) VALUES (p_ca_id, counted)
    ON CONFLICT (ca_id) DO UPDATE SET devices = excluded.devices;
    RETURN counted;
END $$;

-- Another quota: count again.  This leaves a mark and waits for nobody, where deleting the number would wait for
-- registrations.
CREATE OR REPLACE FUNCTION iot_auth.usage_forget() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    INSERT INTO iot_auth.ca_usage_stale (ca_id) VALUES (NEW.ca_id);
    RETURN NULL;
END $$;

-- Insert the device, or use an existing device for a further certificate (rotation).  Returns the reason of a refusal,
-- or NULLs.  See 0005; new is that an exact count is kept only where one was made.
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
    IF (is_new OR moves) AND ca.max_devices IS NOT NULL THEN
        UPDATE iot_auth.ca_usage u SET devices = u.devices + 1 WHERE u.ca_id = ca.ca_id AND u.devices >= 0;
    END IF;
END $$;

-- A device that collects certificates faster than one device can rotate is probably many: every certificate of a fleet
-- with one common name ('AWS IoT Certificate') becomes the same device.  The certificate counts; the text goes into the
-- device's problem and into the event.
CREATE FUNCTION iot_auth.registration_problem(p_device_id text) RETURNS text
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    recent int := (SELECT count(*) FROM (SELECT FROM iot_auth.device_certificate c
                                         WHERE c.device_id = p_device_id AND c.registered_by = 'jitr'
                                           AND c.created_at > clock_timestamp() - interval '1 day' LIMIT 6) few);
    text constant text := 'more than 5 certificates were registered for this device id within 24 hours: '
                          'the device_id_template of the CA may not distinguish devices';
BEGIN
    IF recent < 6 THEN
        RETURN NULL;
    END IF;
    UPDATE iot_auth.device d SET problem = text WHERE d.device_id = p_device_id AND d.problem IS DISTINCT FROM text;
    RETURN text;
END $$;

-- The event of a registration, as published and as in iot_auth.event.
CREATE OR REPLACE FUNCTION iot_auth.registration_event(p_fingerprint bytea, ca iot_auth.ca, p_node text, p_address text)
    RETURNS text
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
#variable_conflict use_column
DECLARE
    written text;
    registered record;
    problem text;
BEGIN
    SELECT * INTO registered FROM iot_auth.broker_device b WHERE b.fingerprint = p_fingerprint;
    problem := iot_auth.registration_problem(registered.device_id);
    written := json_build_object(
        'device_id', registered.device_id, 'fingerprint', encode(p_fingerprint, 'hex'), 'ca', ca.name,
        'ca_fingerprint', encode(ca.fingerprint, 'hex'), 'status', registered.device_status, 'tenant',
        registered.tenant, 'node', p_node, 'at',
        to_char(clock_timestamp() AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.MS"Z"'));
    IF problem IS NOT NULL THEN
        written := left(written, -1) || ', "problem" : ' || to_json(problem) || '}';
    END IF;
    INSERT INTO iot_auth.event (node, kind, principal, ca_id, address, detail)
    VALUES (p_node, 'device/registered', registered.device_id, ca.ca_id, p_address, written::jsonb);
    RETURN written;
END $$;

-- A time that a broker reports, or NULL where it cannot be meant: certificates know the years 1950 to 9999.
CREATE FUNCTION iot_auth.certificate_time(t timestamptz) RETURNS timestamptz LANGUAGE sql IMMUTABLE PARALLEL SAFE
RETURN CASE WHEN t BETWEEN '0001-01-01 00:00:00+00' AND '9999-12-31 23:59:59+00' THEN t END;

-- A node name belongs to the login that first used it, so that a broker with a login of its own cannot write in the
-- name of another.  Where all brokers share one login, nothing distinguishes them.
CREATE FUNCTION iot_auth.registration_node(p_node text) RETURNS text
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    owned_by text;
BEGIN
    IF p_node IS NULL OR octet_length(p_node) NOT BETWEEN 1 AND 256
        OR p_node <> iot_auth.bounded_text(p_node, 256) THEN
        PERFORM iot_auth.fail('node name is missing, longer than 256 bytes, or contains a control character');
    END IF;
    SELECT n.login INTO owned_by FROM iot_auth.node n WHERE n.node_name = p_node;
    IF owned_by <> session_user THEN
        PERFORM iot_auth.fail(format('node ''%s'' belongs to database login ''%s''', p_node, owned_by),
                              'Choose another node_name, or delete the row of iot_auth.node.',
                              'insufficient_privilege');
    END IF;
    RETURN p_node;
END $$;

-- As in 0005.  New: a reserved name is refused, and everything that is stored has a bound.
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
    problem text;
BEGIN
    IF current_setting('transaction_isolation') NOT IN ('read committed', 'read uncommitted') THEN
        -- An older snapshot would not show changes that were committed while this function waited for the locks.
        PERFORM iot_auth.fail('broker_register requires transaction isolation READ COMMITTED');
    END IF;
    PERFORM iot_auth.registration_node(p_node);
    IF p_fingerprint IS NULL OR octet_length(p_fingerprint) <> 32 THEN
        PERFORM iot_auth.fail('fingerprint must be 32 bytes (SHA-256)');
    END IF;
    p_serial := iot_auth.bounded_text(p_serial, 128);
    p_subject := iot_auth.bounded_text(p_subject, 2048);
    p_address := iot_auth.bounded_text(p_address, 64);
    p_not_before := iot_auth.certificate_time(p_not_before);
    p_not_after := iot_auth.certificate_time(p_not_after);
    UPDATE iot_auth.device_certificate c
    SET serial = p_serial, subject = p_subject, not_before = p_not_before, not_after = p_not_after
    WHERE c.fingerprint = p_fingerprint AND c.serial IS NULL AND p_serial IS NOT NULL;
    RETURN QUERY SELECT 'known', NULL::text, b.fingerprint, b.device_id, b.device_status, b.certificate_status,
                        b.certificate_ca_id, b.device_ca_id, b.tenant, b.not_after, b.attrs, b.roles
                 FROM iot_auth.broker_device b WHERE b.fingerprint = p_fingerprint;
    IF FOUND THEN
        RETURN;
    END IF;

    ca := iot_auth.registration_lock(p_ca_id, p_fingerprint);
    RETURN QUERY SELECT 'known', NULL::text, b.fingerprint, b.device_id, b.device_status, b.certificate_status,
                        b.certificate_ca_id, b.device_ca_id, b.tenant, b.not_after, b.attrs, b.roles
                 FROM iot_auth.broker_device b WHERE b.fingerprint = p_fingerprint;
    IF NOT FOUND THEN
        problem := coalesce(iot_auth.device_id_problem(p_device_id), iot_auth.reserved_problem(p_device_id));
        IF ca.ca_id IS NULL OR ca.status <> 'ACTIVE' THEN
            outcome := 'ca_inactive';
            detail := CASE WHEN ca.ca_id IS NULL THEN format('CA %s is no longer registered', p_ca_id)
                           ELSE format('CA ''%s'' is %s', ca.name, ca.status) END;
        ELSIF NOT ca.auto_registration THEN
            outcome := 'device_unknown';
            detail := format('CA ''%s'' has no auto-registration', ca.name);
        ELSIF problem IS NOT NULL THEN
            outcome := 'identity_invalid';
            detail := format('device id %s', problem);
        ELSE
            PERFORM set_config('iot_auth.quiet', 'on', true);
            SELECT r.outcome, r.detail INTO outcome, detail FROM iot_auth.registration_device(ca, p_device_id) r;
            IF outcome IS NULL THEN
                INSERT INTO iot_auth.device_certificate (fingerprint, device_id, ca_id, serial, subject, not_before,
                                                         not_after, registered_by, created_at)
                VALUES (p_fingerprint, p_device_id, ca.ca_id, p_serial, p_subject, p_not_before, p_not_after, 'jitr',
                        clock_timestamp());
                RETURN QUERY SELECT 'registered', iot_auth.registration_event(p_fingerprint, ca, p_node, p_address),
                                    b.fingerprint, b.device_id, b.device_status, b.certificate_status,
                                    b.certificate_ca_id, b.device_ca_id, b.tenant, b.not_after, b.attrs, b.roles
                             FROM iot_auth.broker_device b WHERE b.fingerprint = p_fingerprint;
            END IF;
            PERFORM set_config('iot_auth.quiet', 'off', true);
        END IF;
        IF outcome IS NOT NULL THEN
            RETURN NEXT;
        END IF;
    END IF;
    DELETE FROM iot_auth.registration_claim r WHERE r.fingerprint = p_fingerprint;
END $$;

-- Columns that brokers set.  What is read from a certificate never changes: it is written once, while it is unknown, so
-- that no broker can end the sessions of others with an expiry of its own.

CREATE OR REPLACE FUNCTION iot_auth.broker_set_ca_parsed(p_ca_id bigint, p_subject text, p_not_before timestamptz,
                                                         p_not_after timestamptz, p_problem text) RETURNS void
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    UPDATE iot_auth.ca c
    SET subject = coalesce(c.subject, iot_auth.bounded_text(p_subject, 2048)),
        not_before = coalesce(c.not_before, iot_auth.certificate_time(p_not_before)),
        not_after = coalesce(c.not_after, iot_auth.certificate_time(p_not_after)),
        problem = iot_auth.bounded_text(p_problem, 1024)
    WHERE c.ca_id = p_ca_id
      AND (c.subject IS NULL AND p_subject IS NOT NULL OR c.not_before IS NULL AND p_not_before IS NOT NULL
           OR c.not_after IS NULL AND p_not_after IS NOT NULL
           OR c.problem IS DISTINCT FROM iot_auth.bounded_text(p_problem, 1024));
END $$;

-- p_problem: why the certificate admits no device, or a warning.  A certificate with a problem is not offered for
-- parsing again until another CA is registered.
CREATE FUNCTION iot_auth.broker_set_certificate_parsed(p_fingerprint bytea, p_serial text, p_subject text,
                                                       p_not_before timestamptz, p_not_after timestamptz,
                                                       p_problem text)
RETURNS void LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    UPDATE iot_auth.device_certificate c
    SET serial = iot_auth.bounded_text(p_serial, 128), subject = iot_auth.bounded_text(p_subject, 2048),
        not_before = iot_auth.certificate_time(p_not_before), not_after = iot_auth.certificate_time(p_not_after),
        problem = iot_auth.bounded_text(p_problem, 1024)
    WHERE c.fingerprint = p_fingerprint AND c.serial IS NULL AND (p_serial IS NOT NULL OR p_problem IS NOT NULL);
END $$;

CREATE OR REPLACE FUNCTION iot_auth.broker_set_certificate_parsed(p_fingerprint bytea, p_serial text, p_subject text,
                                                                  p_not_before timestamptz, p_not_after timestamptz)
RETURNS void LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    PERFORM iot_auth.broker_set_certificate_parsed(p_fingerprint, p_serial, p_subject, p_not_before, p_not_after, NULL);
END $$;

-- A new CA may be the one that signed them.
CREATE FUNCTION iot_auth.parse_again() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    UPDATE iot_auth.device_certificate SET problem = NULL, serial = NULL WHERE ctid = ANY (ARRAY(
        SELECT c.ctid FROM iot_auth.device_certificate c WHERE c.problem IS NOT NULL AND c.pem IS NOT NULL
        LIMIT 10000 FOR NO KEY UPDATE SKIP LOCKED));
    RETURN NULL;
END $$;
CREATE TRIGGER parse_again AFTER INSERT ON iot_auth.ca FOR EACH STATEMENT EXECUTE FUNCTION iot_auth.parse_again();
CREATE INDEX device_problem ON iot_auth.device (device_id) WHERE problem IS NOT NULL;
CREATE INDEX device_certificate_problem ON iot_auth.device_certificate (fingerprint) WHERE problem IS NOT NULL;

CREATE OR REPLACE FUNCTION iot_auth.broker_set_rule_problem(p_rule_id bigint, p_problem text) RETURNS void
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    UPDATE iot_auth.role_rule r SET problem = iot_auth.bounded_text(p_problem, 1024)
    WHERE r.rule_id = p_rule_id AND r.problem IS DISTINCT FROM iot_auth.bounded_text(p_problem, 1024);
END $$;

-- note: remarks that are no problem, such as keys of a kind that nobody needs here.
CREATE FUNCTION iot_auth.broker_set_issuer_problem(p_name text, p_problem text, p_note text) RETURNS void
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    UPDATE iot_auth.oauth_issuer i
    SET problem = iot_auth.bounded_text(p_problem, 1024), note = iot_auth.bounded_text(p_note, 1024)
    WHERE i.name = p_name AND (i.problem, i.note) IS DISTINCT FROM
                              (iot_auth.bounded_text(p_problem, 1024), iot_auth.bounded_text(p_note, 1024));
END $$;

CREATE FUNCTION iot_auth.broker_set_issuer_note(p_name text, p_note text) RETURNS void
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    UPDATE iot_auth.oauth_issuer i SET note = iot_auth.bounded_text(p_note, 1024)
    WHERE i.name = p_name AND i.note IS DISTINCT FROM iot_auth.bounded_text(p_note, 1024);
END $$;

CREATE OR REPLACE FUNCTION iot_auth.broker_set_issuer_problem(p_name text, p_problem text) RETURNS void
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    PERFORM iot_auth.broker_set_issuer_problem(p_name, p_problem, i.note)
    FROM iot_auth.oauth_issuer i WHERE i.name = p_name;
END $$;

-- Events

-- JSON of at most 4 KiB, or the text itself where it is none, without the members that have columns of their own.
CREATE OR REPLACE FUNCTION iot_auth.event_detail(detail text) RETURNS jsonb
LANGUAGE plpgsql IMMUTABLE SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    parsed jsonb;
BEGIN
    IF detail IS NULL THEN
        RETURN NULL;
    END IF;
    parsed := CASE WHEN octet_length(detail) <= 4096 THEN detail::jsonb
                   ELSE jsonb_build_object('text', iot_auth.bounded_text(detail, 1024)) END;
    IF jsonb_typeof(parsed) = 'object' THEN
        parsed := jsonb_strip_nulls(parsed - ARRAY['node', 'at', 'address']);
    END IF;
    IF iot_auth.json_problem(parsed, 8192) IS NOT NULL THEN
        RETURN jsonb_build_object('text', iot_auth.bounded_text(detail, 1024));
    END IF;
    RETURN parsed;
EXCEPTION WHEN data_exception OR program_limit_exceeded THEN
    RETURN jsonb_build_object('text', iot_auth.bounded_text(detail, 1024));
END $$;

-- A broker writes of refusals and sessions only: registrations and statuses are written by those who make them, and
-- other brokers publish the latter.  A time in the future counts as now.
CREATE OR REPLACE FUNCTION iot_auth.broker_write_events(p_node text, p_ats timestamptz[], p_kinds text[],
                                                        p_principals text[], p_ca_ids bigint[], p_addresses text[],
                                                        p_reasons text[], p_details text[])
RETURNS void LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    latest timestamptz := clock_timestamp();
BEGIN
    IF cardinality(p_kinds) = 0 THEN
        RETURN;
    END IF;
    PERFORM iot_auth.registration_node(p_node);
    IF cardinality(p_kinds) > 50000 THEN
        PERFORM iot_auth.fail('more than 50000 events in one call');
    END IF;
    IF NOT coalesce(p_kinds <@ ARRAY['device/refused', 'app/refused', 'session/ended'], false) THEN
        PERFORM iot_auth.fail('brokers write events of kinds device/refused, app/refused and session/ended only', NULL,
                              'insufficient_privilege');
    END IF;
    INSERT INTO iot_auth.event (at, node, kind, principal, ca_id, address, reason, detail)
    SELECT CASE WHEN e.at < latest AND isfinite(e.at) THEN e.at ELSE latest END, p_node, e.kind,
           iot_auth.bounded_text(e.principal, 261), e.ca_id, iot_auth.bounded_text(e.address, 64),
           iot_auth.bounded_text(e.reason, 64), iot_auth.event_detail(e.detail)
    FROM unnest(p_ats, p_kinds, p_principals, p_ca_ids, p_addresses, p_reasons, p_details)
         WITH ORDINALITY AS e(at, kind, principal, ca_id, address, reason, detail, n)
    WHERE e.kind IS NOT NULL
    ORDER BY e.n;
END $$;

-- Nodes

-- p_nonce is notified to all who listen, in this transaction: a broker that does not get its own back knows that it
-- gets no notifications (transaction pooling, a replica), and must not count as connected.
CREATE FUNCTION iot_auth.broker_heartbeat(p_node text, p_counters text, p_nonce text, p_database_tls text,
                                          p_versions text) RETURNS void
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    PERFORM iot_auth.registration_node(p_node);
    IF octet_length(p_counters) > 65536 OR octet_length(p_versions) > 8192 THEN
        PERFORM iot_auth.fail('counters or versions of a heartbeat are too long');
    END IF;
    IF p_nonce !~ '^[0-9A-Za-z_-]{1,64}$' THEN
        PERFORM iot_auth.fail('the nonce of a heartbeat must be 1 to 64 letters, digits, _ or -');
    END IF;
    INSERT INTO iot_auth.node AS n (node_name, counters, login, database_tls, versions)
    VALUES (p_node, coalesce(p_counters, '{}')::jsonb, session_user, p_database_tls, p_versions::jsonb)
    ON CONFLICT (node_name) DO UPDATE
    SET last_seen = clock_timestamp(), counters = excluded.counters, login = excluded.login, stopped_at = NULL,
        database_tls = coalesce(excluded.database_tls, n.database_tls),
        versions = coalesce(excluded.versions, n.versions),
        started_at = CASE WHEN n.stopped_at IS NULL THEN n.started_at ELSE clock_timestamp() END;
    IF p_nonce IS NOT NULL THEN
        PERFORM pg_notify('iot_auth', 'nonce' || chr(10) || p_nonce);
    END IF;
END $$;

CREATE OR REPLACE FUNCTION iot_auth.broker_heartbeat(p_node text, p_counters text) RETURNS void
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    PERFORM iot_auth.broker_heartbeat(p_node, p_counters, NULL, NULL, NULL);
END $$;

-- The broker is stopped cleanly: no alarm.
CREATE FUNCTION iot_auth.broker_stopped(p_node text) RETURNS void
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    UPDATE iot_auth.node SET stopped_at = clock_timestamp()
    WHERE node_name = iot_auth.registration_node(p_node);
END $$;

-- As in 0005; a time in the future counts as now.
CREATE OR REPLACE FUNCTION iot_auth.broker_connected(p_device_ids text[], p_ats timestamptz[]) RETURNS void
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    WITH reported AS (
        SELECT u.device_id COLLATE "C" AS device_id, least(max(u.at), clock_timestamp()) AS at
        FROM unnest(p_device_ids, p_ats) u(device_id, at) GROUP BY 1
    ), free AS (
        SELECT d.device_id, r.at FROM iot_auth.device d JOIN reported r USING (device_id)
        WHERE d.last_connected_at IS NULL OR d.last_connected_at < r.at
        FOR NO KEY UPDATE OF d SKIP LOCKED)
    UPDATE iot_auth.device d SET last_connected_at = f.at FROM free f WHERE d.device_id = f.device_id;
END $$;

-- Privileges

REVOKE ALL ON FUNCTION iot_auth.reserved_problem, iot_auth.check_reserved, iot_auth.check_reserved_name,
    iot_auth.registration_problem, iot_auth.certificate_time, iot_auth.registration_node,
    iot_auth.parse_again, iot_auth.broker_stopped, iot_auth.broker_set_issuer_note,
    iot_auth.broker_set_certificate_parsed(bytea, text, text, timestamptz, timestamptz, text),
    iot_auth.broker_set_issuer_problem(text, text, text), iot_auth.broker_heartbeat(text, text, text, text, text)
    FROM PUBLIC;
GRANT SELECT, INSERT, UPDATE, DELETE, TRUNCATE ON iot_auth.reserved_name TO iot_auth_admin;
GRANT SELECT ON iot_auth.broker_reserved_name TO iot_auth_admin, iot_auth_broker;
GRANT EXECUTE ON FUNCTION iot_auth.reserved_problem TO iot_auth_admin;
GRANT EXECUTE ON FUNCTION iot_auth.broker_stopped, iot_auth.broker_set_issuer_note,
    iot_auth.broker_set_certificate_parsed(bytea, text, text, timestamptz, timestamptz, text),
    iot_auth.broker_set_issuer_problem(text, text, text), iot_auth.broker_heartbeat(text, text, text, text, text)
    TO iot_auth_broker;

INSERT INTO iot_auth.schema_version (version) VALUES (9);
$migration$;
EXCEPTION WHEN lock_not_available THEN
    RAISE EXCEPTION 'migration % was not applied: a table of schema iot_auth is locked by another session', this
        USING HINT = 'Apply the migrations again when that session (a dump, a long transaction) has ended.',
              ERRCODE = 'lock_not_available';
END $guard$;
COMMIT;

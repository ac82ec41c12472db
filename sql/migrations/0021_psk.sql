-- SPDX-License-Identifier: ISC
-- Devices with pre-shared keys (RFC 4279, RFC 5489, RFC 8446 section 4.2.11), and devices without a CA.
--
-- The database never sees a key: `sealed` is AES-256-GCM under a key-encryption key that lies in a file beside the
-- brokers (psk/seal.h says how).  Whoever reads the tables, a dump or a backup learns no key.

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
    this int := 21;
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

-- A device may have no CA: it is known by its pre-shared keys alone.
ALTER TABLE iot_auth.device ALTER COLUMN ca_id DROP NOT NULL;

-- The key under which brokers keep the record of an identity, where a certificate has its fingerprint: as
-- ia_psk_identity_digest in psk/identity.c.  IMMUTABLE, because the encoding of the database is UTF8 for good.
CREATE FUNCTION iot_auth.psk_fingerprint(identity text) RETURNS bytea
LANGUAGE plpgsql IMMUTABLE PARALLEL SAFE SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    RETURN sha256(convert_to('iot-auth psk identity', 'UTF8') || decode('00', 'hex') || convert_to(identity, 'UTF8'));
END $$;

CREATE TABLE iot_auth.device_psk (
    identity     text COLLATE "C" PRIMARY KEY,
    device_id    text COLLATE "C" NOT NULL REFERENCES iot_auth.device (device_id) ON DELETE CASCADE,
    key_id       smallint NOT NULL, -- of the key-encryption key
    sealed       bytea NOT NULL,    -- nonce (12 bytes), ciphertext, tag (16 bytes)
    status       text COLLATE "C" NOT NULL DEFAULT 'ACTIVE',
    expires_at   timestamptz,       -- NULL: never
    created_at   timestamptz NOT NULL DEFAULT now(),
    last_used_at timestamptz,       -- set by brokers
    problem      text,              -- why the key cannot be used (iot-auth-psk check); NULL: no problem is known
    fingerprint  bytea NOT NULL GENERATED ALWAYS AS (iot_auth.psk_fingerprint(identity)) STORED,
    CONSTRAINT psk_fingerprint_unique UNIQUE (fingerprint),
    CONSTRAINT psk_identity_is_a_text CHECK (iot_auth.text_problem(identity, 128) IS NULL),
    CONSTRAINT psk_key_id_not_negative CHECK (key_id >= 0),
    CONSTRAINT psk_sealed_44_to_92_bytes CHECK (octet_length(sealed) BETWEEN 44 AND 92),
    CONSTRAINT psk_status_known CHECK (status IN ('ACTIVE', 'INACTIVE', 'REVOKED')),
    CONSTRAINT psk_problem_size CHECK (octet_length(problem) <= 2048)
);
CREATE INDEX device_psk_device ON iot_auth.device_psk (device_id);
SELECT iot_auth.audit_table('device_psk', 'identity', 'r.identity',
                            'to_jsonb(r) - ARRAY[''sealed'', ''fingerprint'', ''last_used_at'', ''problem''] || '
                            'jsonb_build_object(''sealed'', ''sha256:'' || encode(sha256(r.sealed), ''hex''))');
CREATE TRIGGER psk_revoked_is_final BEFORE UPDATE ON iot_auth.device_psk FOR EACH ROW
    WHEN (OLD.status = 'REVOKED' AND NEW.status <> 'REVOKED')
    EXECUTE FUNCTION iot_auth.refuse('a REVOKED pre-shared key stays REVOKED', 'Make a new key: iot-auth-psk generate.');

-- Two notifications: of the device, whose record it is, and of the identity, for the keys that brokers have in memory.
DO $$
DECLARE
    t record;
    event text;
BEGIN
    FOR t IN SELECT * FROM (VALUES
        ('notify', 'device', 'device_id', 'device_id, identity, status, expires_at'),
        ('notify_psk', 'psk', 'identity', 'identity, device_id, key_id, sealed, status, expires_at')
    ) v(prefix, topic, key, columns) LOOP
        FOREACH event IN ARRAY ARRAY['insert', 'update', 'delete', 'truncate'] LOOP
            -- Brokers read all keys again, too, when all devices may have changed.
            CONTINUE WHEN t.topic = 'psk' AND event = 'truncate';
            EXECUTE format('CREATE TRIGGER %s_%s AFTER %s ON iot_auth.device_psk %s FOR EACH STATEMENT '
                           'EXECUTE FUNCTION iot_auth.notify_change(%L, %L, %L)',
                           t.prefix, event, upper(event),
                           CASE event WHEN 'insert' THEN 'REFERENCING NEW TABLE AS new_rows'
                                      WHEN 'update' THEN 'REFERENCING OLD TABLE AS old_rows NEW TABLE AS new_rows'
                                      WHEN 'delete' THEN 'REFERENCING OLD TABLE AS old_rows'
                                      ELSE '' END,
                           t.topic, t.key, t.columns);
            EXECUTE format('ALTER TABLE iot_auth.device_psk ENABLE ALWAYS TRIGGER %s_%s', t.prefix, event);
        END LOOP;
    END LOOP;
END $$;

-- Views for brokers: see 0005 and 0007.

-- A part of broker_device: one row for each certificate.
CREATE VIEW iot_auth.broker_certificate_device AS
SELECT c.fingerprint, d.device_id,
       CASE WHEN octet_length(d.status) <= 16 THEN d.status ELSE '' END AS device_status,
       CASE WHEN octet_length(c.status) <= 16 THEN c.status ELSE '' END AS certificate_status,
       c.ca_id AS certificate_ca_id, coalesce(d.ca_id, 0) AS device_ca_id,
       CASE WHEN octet_length(coalesce(d.tenant, a.tenant)) <= 128 THEN coalesce(d.tenant, a.tenant) END AS tenant,
       c.not_after,
       -- A value beyond the bounds of a topic level counts as unset, as in the plugin.
       CASE WHEN d.attributes <> '{}' THEN (
           SELECT array_agg(pair.word ORDER BY member.key, pair.position)
           FROM (SELECT * FROM jsonb_each(d.attributes)
                 WHERE octet_length(key) <= 128 AND
                       CASE jsonb_typeof(value)
                           WHEN 'string' THEN octet_length(value #>> '{}') <= 128
                           WHEN 'number' THEN abs(value::numeric) < 1e30 AND scale(value::numeric) <= 30
                           ELSE jsonb_typeof(value) = 'boolean' END
                 LIMIT 65536) member
           CROSS JOIN LATERAL (VALUES (1, member.key), (2, member.value #>> '{}')) pair(position, word)) END AS attrs,
       -- '' is no role: a principal with a role that the broker does not know is denied everything.
       CASE WHEN (SELECT EXISTS (SELECT FROM iot_auth.device_role)) THEN (
           SELECT array_agg(r.role ORDER BY r.role)
           FROM (SELECT CASE WHEN octet_length(role) <= 128 THEN role ELSE '' END AS role
                 FROM iot_auth.device_role WHERE device_id = d.device_id LIMIT 65536) r) END AS roles,
       NULL::text AS fault
FROM iot_auth.device_certificate c
JOIN iot_auth.device d ON d.device_id = c.device_id
LEFT JOIN iot_auth.ca a ON a.ca_id = d.ca_id
WHERE octet_length(c.fingerprint) = 32 AND octet_length(d.device_id) <= 128;

-- A part of broker_device: one row for each pre-shared key, whose CA is 0.
CREATE VIEW iot_auth.broker_psk_device AS
SELECT p.fingerprint, d.device_id,
       CASE WHEN octet_length(d.status) <= 16 THEN d.status ELSE '' END AS device_status,
       CASE WHEN octet_length(p.status) <= 16 THEN p.status ELSE '' END AS certificate_status,
       0::bigint AS certificate_ca_id, coalesce(d.ca_id, 0) AS device_ca_id,
       CASE WHEN octet_length(coalesce(d.tenant, a.tenant)) <= 128 THEN coalesce(d.tenant, a.tenant) END AS tenant,
       p.expires_at AS not_after,
       -- A value beyond the bounds of a topic level counts as unset, as in the plugin.
       CASE WHEN d.attributes <> '{}' THEN (
           SELECT array_agg(pair.word ORDER BY member.key, pair.position)
           FROM (SELECT * FROM jsonb_each(d.attributes)
                 WHERE octet_length(key) <= 128 AND
                       CASE jsonb_typeof(value)
                           WHEN 'string' THEN octet_length(value #>> '{}') <= 128
                           WHEN 'number' THEN abs(value::numeric) < 1e30 AND scale(value::numeric) <= 30
                           ELSE jsonb_typeof(value) = 'boolean' END
                 LIMIT 65536) member
           CROSS JOIN LATERAL (VALUES (1, member.key), (2, member.value #>> '{}')) pair(position, word)) END AS attrs,
       -- '' is no role: a principal with a role that the broker does not know is denied everything.
       CASE WHEN (SELECT EXISTS (SELECT FROM iot_auth.device_role)) THEN (
           SELECT array_agg(r.role ORDER BY r.role)
           FROM (SELECT CASE WHEN octet_length(role) <= 128 THEN role ELSE '' END AS role
                 FROM iot_auth.device_role WHERE device_id = d.device_id LIMIT 65536) r) END AS roles,
       NULL::text AS fault
FROM iot_auth.device_psk p
JOIN iot_auth.device d ON d.device_id = p.device_id
LEFT JOIN iot_auth.ca a ON a.ca_id = d.ca_id
WHERE octet_length(d.device_id) <= 128;

CREATE OR REPLACE VIEW iot_auth.broker_device AS
SELECT * FROM iot_auth.broker_certificate_device UNION ALL SELECT * FROM iot_auth.broker_psk_device;

-- The keys, as brokers have them in memory.
CREATE VIEW iot_auth.broker_psk AS
SELECT identity, device_id, key_id::bigint AS key_id,
       CASE WHEN octet_length(sealed) <= 92 THEN sealed ELSE '' END AS sealed,
       CASE WHEN octet_length(status) <= 16 THEN status ELSE '' END AS status, expires_at
FROM iot_auth.device_psk WHERE octet_length(identity) <= 128 AND octet_length(device_id) <= 128;

-- Brokers report when keys were used.  Element i of each array belongs to use i.
CREATE FUNCTION iot_auth.broker_psk_used(p_identities text[], p_ats timestamptz[]) RETURNS void
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    WITH reported AS (
        SELECT u.identity COLLATE "C" AS identity, least(max(u.at), clock_timestamp()) AS at
        FROM unnest(p_identities, p_ats) u(identity, at) GROUP BY 1
    ), free AS (
        SELECT p.identity, r.at FROM iot_auth.device_psk p JOIN reported r USING (identity)
        WHERE p.last_used_at IS NULL OR p.last_used_at < r.at
        FOR NO KEY UPDATE OF p SKIP LOCKED)
    UPDATE iot_auth.device_psk p SET last_used_at = f.at FROM free f WHERE p.identity = f.identity;
END $$;

-- Functions for administrators

-- A device that no certificate has registered: it needs a pre-shared key (iot-auth-psk).
CREATE FUNCTION iot_auth.create_device(device_id text, tenant text DEFAULT NULL, roles text[] DEFAULT ARRAY['device'],
                                       attributes jsonb DEFAULT '{}', status text DEFAULT 'ACTIVE',
                                       issuer_name text DEFAULT NULL)
RETURNS void LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
#variable_conflict use_column
BEGIN
    PERFORM iot_auth.require('device_id', create_device.device_id,
                             iot_auth.device_id_problem(create_device.device_id));
    PERFORM iot_auth.require('tenant', create_device.tenant, iot_auth.value_problem(create_device.tenant))
        WHERE create_device.tenant IS NOT NULL;
    PERFORM iot_auth.require_one_of('status', create_device.status, ARRAY['PENDING', 'ACTIVE', 'INACTIVE', 'REVOKED']);
    PERFORM iot_auth.require('attributes', left(create_device.attributes::text, 80),
        CASE WHEN jsonb_typeof(create_device.attributes) IS DISTINCT FROM 'object'
            THEN 'must be a JSON object' END);
    IF create_device.issuer_name IS NOT NULL THEN
        PERFORM iot_auth.fail('a device cannot belong to an issuer', 'Omit issuer_name.');
    END IF;
    PERFORM iot_auth.require_role(r) FROM unnest(create_device.roles) r;
    INSERT INTO iot_auth.device (device_id, tenant, status, attributes)
    VALUES (create_device.device_id, create_device.tenant, create_device.status, create_device.attributes)
    ON CONFLICT DO NOTHING;
    IF NOT FOUND THEN
        PERFORM iot_auth.fail(format('device ''%s'' already exists', create_device.device_id), NULL, 'duplicate_object');
    END IF;
    INSERT INTO iot_auth.device_role (device_id, role)
    SELECT DISTINCT create_device.device_id, r FROM unnest(create_device.roles) r;
END $$;

CREATE FUNCTION iot_auth.set_psk_status(identity text, status text) RETURNS void
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
#variable_conflict use_column
DECLARE
    target iot_auth.device_psk;
    before text := current_setting('lock_timeout');
BEGIN
    PERFORM iot_auth.require_one_of('status', set_psk_status.status, ARRAY['ACTIVE', 'INACTIVE', 'REVOKED']);
    SELECT * INTO target FROM iot_auth.device_psk p WHERE p.identity = set_psk_status.identity;
    IF NOT FOUND THEN
        PERFORM iot_auth.fail(format('PSK identity %s is not registered',
                                     coalesce(quote_literal(left(set_psk_status.identity, 160)), 'NULL')),
                              'The identities are in SELECT identity FROM iot_auth.device_psk.', 'undefined_object');
    END IF;
    IF target.status = 'REVOKED' AND set_psk_status.status <> 'REVOKED' THEN
        PERFORM iot_auth.fail(format('the pre-shared key of identity ''%s'' is REVOKED and stays REVOKED',
                                     target.identity), 'Make a new key: iot-auth-psk generate.',
                              'object_not_in_prerequisite_state');
    END IF;
    PERFORM set_config('lock_timeout', '5s', true);
    UPDATE iot_auth.device_psk SET status = set_psk_status.status
    WHERE identity = target.identity AND status <> set_psk_status.status;
    PERFORM set_config('lock_timeout', before, true);
EXCEPTION WHEN lock_not_available THEN
    PERFORM iot_auth.busy(format('PSK identity ''%s''', target.identity));
END $$;

-- What took a CA for granted.  No certificate registers itself for a device that has no CA: any CA could take the device
-- over.  An administrator may add one, and the device belongs to that CA from then on.

CREATE OR REPLACE FUNCTION iot_auth.check_certificate_ca() RETURNS trigger
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    stray record;
BEGIN
    SELECT c.device_id, encode(c.fingerprint, 'hex') AS fingerprint INTO stray
    FROM changed c JOIN iot_auth.device d USING (device_id)
    WHERE c.ca_id IS DISTINCT FROM d.ca_id
      AND (iot_auth.ca_succeeds(c.ca_id, d.ca_id) OR iot_auth.ca_succeeds(d.ca_id, c.ca_id)) IS NOT TRUE
    LIMIT 1;
    IF FOUND THEN
        PERFORM iot_auth.fail(format('CA of certificate %s is neither the CA of device ''%s'' nor connected to it by '
                                     'succession',
                                     stray.fingerprint, stray.device_id), 'See column replaces of iot_auth.ca.');
    END IF;
    RETURN NULL;
END $$;

CREATE OR REPLACE FUNCTION iot_auth.check_device_ca() RETURNS trigger
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    stray record;
BEGIN
    SELECT c.fingerprint INTO stray FROM iot_auth.device_certificate c
    WHERE c.device_id = NEW.device_id AND c.ca_id IS DISTINCT FROM NEW.ca_id
      AND (iot_auth.ca_succeeds(c.ca_id, NEW.ca_id) OR iot_auth.ca_succeeds(NEW.ca_id, c.ca_id)) IS NOT TRUE
    LIMIT 1;
    IF FOUND THEN
        PERFORM iot_auth.fail(format('device ''%s'' has certificates of a CA that is not connected to the new CA by '
                                     'succession', NEW.device_id),
                              'Delete these certificates first, or see column replaces of iot_auth.ca.');
    END IF;
    RETURN NULL;
END $$;
CREATE OR REPLACE TRIGGER device_ca_change AFTER UPDATE ON iot_auth.device FOR EACH ROW
    WHEN (NEW.ca_id IS DISTINCT FROM OLD.ca_id)
    EXECUTE FUNCTION iot_auth.check_device_ca();

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
        moves := NOT is_new AND existing.ca_id IS DISTINCT FROM ca.ca_id;
        IF moves AND iot_auth.ca_succeeds(ca.ca_id, existing.ca_id) IS NOT TRUE THEN
            outcome := 'device_conflict';
            detail := CASE WHEN existing.ca_id IS NULL THEN format('device ''%s'' belongs to no CA', p_device_id)
                           ELSE format('device ''%s'' belongs to CA %s, which this CA does not replace', p_device_id,
                                       existing.ca_id) END;
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

CREATE OR REPLACE FUNCTION iot_auth.register_device(device_id text, pem text, ca_name text,
                                                    status text DEFAULT 'ACTIVE', attributes jsonb DEFAULT '{}')
RETURNS void LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
#variable_conflict use_column
DECLARE
    issued_by iot_auth.ca;
    target iot_auth.device;
    owner text;
    print bytea;
BEGIN
    PERFORM iot_auth.require('device_id', register_device.device_id,
                             iot_auth.device_id_problem(register_device.device_id));
    print := sha256(iot_auth.require_pem('pem', register_device.pem, 'CERTIFICATE'));
    issued_by := iot_auth.find_ca(register_device.ca_name);
    PERFORM iot_auth.require_one_of('status', register_device.status,
                                    ARRAY['PENDING', 'ACTIVE', 'INACTIVE', 'REVOKED']);
    PERFORM iot_auth.require('attributes', left(register_device.attributes::text, 80),
        CASE WHEN jsonb_typeof(register_device.attributes) IS DISTINCT FROM 'object'
            THEN 'must be a JSON object' END);
    IF issued_by.fingerprint = print THEN
        PERFORM iot_auth.fail(format('certificate is the certificate of CA ''%s'' itself', issued_by.name));
    END IF;
    SELECT c.device_id INTO owner FROM iot_auth.device_certificate c WHERE c.fingerprint = print;
    IF FOUND THEN
        PERFORM iot_auth.fail(format('certificate is already registered for device ''%s''', owner), NULL,
                              'duplicate_object');
    END IF;

    SELECT * INTO target FROM iot_auth.device d WHERE d.device_id = register_device.device_id FOR NO KEY UPDATE;
    IF FOUND THEN
        PERFORM iot_auth.require_rotation(target, issued_by, register_device.attributes);
        UPDATE iot_auth.device SET ca_id = issued_by.ca_id
        WHERE device_id = target.device_id AND ca_id IS DISTINCT FROM issued_by.ca_id;
    ELSE
        INSERT INTO iot_auth.device (device_id, ca_id, tenant, status, attributes)
        VALUES (register_device.device_id, issued_by.ca_id, issued_by.tenant, register_device.status,
                register_device.attributes);
    END IF;
    INSERT INTO iot_auth.device_certificate (fingerprint, device_id, ca_id, pem)
    VALUES (print, register_device.device_id, issued_by.ca_id, register_device.pem);
END $$;

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
                          WHERE o.ca_id IS DISTINCT FROM n.ca_id);
    ELSE
        INSERT INTO iot_auth.ca_usage_stale SELECT c.ca_id FROM iot_auth.ca c;
    END IF;
    RETURN NULL;
END $$;

CREATE OR REPLACE FUNCTION iot_auth.device_status_events() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    ids text[];
BEGIN
    WITH written AS (
        INSERT INTO iot_auth.event (kind, principal, ca_id, detail)
        SELECT 'device/status', n.device_id, n.ca_id,
               jsonb_build_object('device_id', n.device_id, 'old', o.status, 'new', n.status, 'ca', c.name,
                                  'tenant', coalesce(n.tenant, c.tenant), 'who', session_user)
        FROM old_rows o JOIN new_rows n USING (device_id) LEFT JOIN iot_auth.ca c ON c.ca_id = n.ca_id
        WHERE o.status <> n.status
        RETURNING event_id)
    SELECT array_agg(event_id::text) INTO ids FROM (SELECT event_id FROM written LIMIT 51) few;
    PERFORM iot_auth.notify('event', ids);
    RETURN NULL;
END $$;

-- With a remedy for psk_unknown.
CREATE OR REPLACE FUNCTION iot_auth.remedy_of_device(reason text, who text, detail jsonb) RETURNS text
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    RETURN CASE reason
        WHEN 'device_pending' THEN format('SELECT iot_auth.set_device_status(%L, ''ACTIVE'');', who)
        WHEN 'device_inactive' THEN format('SELECT iot_auth.set_device_status(%L, ''ACTIVE'');', who)
        WHEN 'device_revoked' THEN format('Device %L is REVOKED for good; it can register again only after it was '
                                          'deleted.', who)
        WHEN 'certificate_inactive' THEN 'The certificate''s row in iot_auth.device_certificate must be ACTIVE, and '
                                         'name this device and CA.'
        WHEN 'certificate_revoked' THEN 'The device needs another certificate: this one, or one above it, is REVOKED '
                                        'or on a CRL of its CA.'
        WHEN 'certificate_expired' THEN coalesce('The certificate claims to end at ' || (detail ->> 'claimed_not_after') || ': ', '')
            || 'the device needs a certificate that is valid now, and so must be every CA above it; the broker''s '
               'clock must be right.'
        WHEN 'certificate_unfit' THEN 'The certificate must be fit for TLS clients: clientAuth where it lists '
                                      'extended key usages, a key of 2048 bits RSA or 224 bits EC at least, SHA-2.'
        WHEN 'chain_invalid' THEN 'Each certificate that the client sends must be valid and be signed by the next, '
                                  'up to a registered CA (RFC 5280, section 6).'
        WHEN 'no_credential' THEN 'The client must show a certificate, on a listener with require_certificate, or '
                                  'give an access token as its password.'
        WHEN 'psk_unknown' THEN format('The identity %L must be in iot_auth.device_psk, ACTIVE and not expired, and the '
                                       'device must use its key (iot-auth-psk check).', detail ->> 'psk_identity')
        WHEN 'topic_denied' THEN 'A rule of one of its roles must ALLOW this action and topic, and none may DENY '
                                 'it.' END;
END $$;

-- Refusals are found by the PSK identity that a client claimed, too.
DROP INDEX iot_auth.last_refusal_words;
ALTER TABLE iot_auth.last_refusal DROP COLUMN words;
ALTER TABLE iot_auth.last_refusal ADD COLUMN words text[] NOT NULL GENERATED ALWAYS AS (array_remove(ARRAY[
    principal, nullif(substr(principal, length(split_part(principal, ':', 1)) +
                             length(split_part(principal, ':', 2)) + 3), ''),
    address, detail ->> 'device_id', detail ->> 'app', detail ->> 'client_id', detail ->> 'cn',
    detail ->> 'serial', detail ->> 'fingerprint', detail ->> 'claimed_azp', detail ->> 'psk_identity'], NULL)) STORED;
CREATE INDEX last_refusal_words ON iot_auth.last_refusal USING gin (words);
CREATE INDEX event_psk_identity ON iot_auth.event (hashtextextended(detail ->> 'psk_identity', 0), at)
    WHERE reason IS NOT NULL AND detail ->> 'psk_identity' IS NOT NULL;

-- As in 0012, with PSK identities.
CREATE OR REPLACE FUNCTION iot_auth.why_refused(who text, since interval DEFAULT '24 hours', max bigint DEFAULT 20)
RETURNS TABLE (event_id bigint, at timestamptz, node text, kind text, reason text, principal text, ca text,
               address text, detail jsonb, count bigint, first_at timestamptz, remedy text)
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp AS $$
#variable_conflict use_column
DECLARE
    first timestamptz := now() - since;
    hex text := lower(translate(who, ': ', ''));
    serial text := CASE WHEN length(hex) % 2 = 1 THEN '0' || hex ELSE hex END;
BEGIN
    RETURN QUERY
    WITH events AS (
        SELECT DISTINCT ON (f.at, f.event_id) f.event_id, f.at, f.node, f.kind, f.reason, f.principal, f.ca_id,
               f.address, f.detail
        FROM (
            (SELECT e.* FROM iot_auth.event e WHERE e.principal = who AND e.reason IS NOT NULL AND e.at > first
             ORDER BY e.at DESC LIMIT max)
            UNION ALL
            (SELECT e.* FROM iot_auth.event e WHERE e.address = who AND e.reason IS NOT NULL AND e.at > first
             ORDER BY e.at DESC LIMIT max)
            UNION ALL
            (SELECT e.* FROM iot_auth.event e
             WHERE hashtextextended(e.detail ->> 'device_id', 0) = hashtextextended(who, 0) AND e.principal IS NULL
               AND e.detail ->> 'device_id' = who AND e.reason IS NOT NULL AND e.at > first
             ORDER BY e.at DESC LIMIT max)
            UNION ALL
            (SELECT e.* FROM iot_auth.event e
             WHERE hashtextextended(e.detail ->> 'client_id', 0) = hashtextextended(who, 0)
               AND e.detail ->> 'client_id' = who AND e.reason IS NOT NULL AND e.at > first
             ORDER BY e.at DESC LIMIT max)
            UNION ALL
            (SELECT e.* FROM iot_auth.event e
             WHERE hashtextextended(e.detail ->> 'cn', 0) = hashtextextended(who, 0)
               AND e.detail ->> 'cn' = who AND e.reason IS NOT NULL AND e.at > first ORDER BY e.at DESC LIMIT max)
            UNION ALL
            (SELECT e.* FROM iot_auth.event e
             WHERE hashtextextended(e.detail ->> 'psk_identity', 0) = hashtextextended(who, 0)
               AND e.detail ->> 'psk_identity' = who AND e.reason IS NOT NULL AND e.at > first
             ORDER BY e.at DESC LIMIT max)
            UNION ALL
            (SELECT e.* FROM iot_auth.event e
             WHERE hashtextextended(e.detail ->> 'fingerprint', 0) = hashtextextended(hex, 0)
               AND e.detail ->> 'fingerprint' = hex AND e.reason IS NOT NULL AND e.at > first
             ORDER BY e.at DESC LIMIT max)
            UNION ALL
            (SELECT e.* FROM iot_auth.event e
             WHERE hashtextextended(e.detail ->> 'serial', 0) = hashtextextended(serial, 0)
               AND e.detail ->> 'serial' = serial AND e.reason IS NOT NULL AND e.at > first
             ORDER BY e.at DESC LIMIT max)
        ) f
    ), kept AS (
        SELECT DISTINCT ON (l.node_name, l.at, l.reason, l.detail) l.*
        FROM iot_auth.last_refusal l
        WHERE l.words && ARRAY[who, hex, serial] AND l.at > first
        ORDER BY l.node_name, l.at, l.reason, l.detail, l.key_kind = 'address'
    ), refusals AS (
        SELECT e.event_id, e.at, e.node, e.kind, e.reason, e.principal, e.ca_id, e.address, e.detail,
               coalesce(k.count, 1) AS count, coalesce(k.first_at, e.at) AS first_at
        FROM events e LEFT JOIN kept k ON (k.node_name, k.at, k.reason) = (e.node, e.at, e.reason)
        UNION ALL
        SELECT NULL, k.at, k.node_name, k.kind, k.reason, k.principal, k.ca_id, k.address, k.detail, k.count, k.first_at
        FROM kept k
        WHERE NOT EXISTS (SELECT FROM events e WHERE (k.node_name, k.at, k.reason) = (e.node, e.at, e.reason))
    ), latest AS (
        SELECT r.*, row_number() OVER (PARTITION BY r.reason ORDER BY r.at DESC, r.event_id DESC) AS place
        FROM refusals r ORDER BY r.at DESC, r.event_id DESC LIMIT max)
    SELECT l.event_id, l.at, l.node, l.kind, l.reason, l.principal, a.name, l.address, l.detail, l.count, l.first_at,
           CASE WHEN l.place = 1 THEN iot_auth.refusal_remedy(l.reason, l.kind, l.principal, l.ca_id, l.address,
               l.detail) END
    FROM latest l LEFT JOIN iot_auth.ca a ON a.ca_id = l.ca_id
    ORDER BY l.at DESC, l.event_id DESC;
END $$;

-- Privileges

REVOKE ALL ON iot_auth.device_psk, iot_auth.broker_certificate_device, iot_auth.broker_psk_device, iot_auth.broker_psk
    FROM PUBLIC;
REVOKE ALL ON FUNCTION iot_auth.psk_fingerprint, iot_auth.broker_psk_used, iot_auth.create_device,
    iot_auth.set_psk_status FROM PUBLIC;
GRANT SELECT, INSERT, UPDATE, DELETE, TRUNCATE ON iot_auth.device_psk TO iot_auth_admin;
GRANT SELECT ON iot_auth.broker_certificate_device, iot_auth.broker_psk_device, iot_auth.broker_psk
    TO iot_auth_admin, iot_auth_broker;
GRANT EXECUTE ON FUNCTION iot_auth.psk_fingerprint, iot_auth.create_device, iot_auth.set_psk_status TO iot_auth_admin;
GRANT EXECUTE ON FUNCTION iot_auth.broker_psk_used TO iot_auth_broker;

INSERT INTO iot_auth.schema_version (version) VALUES (21);
$migration$;
EXCEPTION WHEN lock_not_available THEN
    RAISE EXCEPTION 'migration % was not applied: a table of schema iot_auth is locked by another session', this
        USING HINT = 'Apply the migrations again when that session (a dump, a long transaction) has ended.',
              ERRCODE = 'lock_not_available';
END $guard$;
COMMIT;

-- SPDX-License-Identifier: ISC
-- Devices by token of an issuer: principals, devices without a CA, registration, roles of issuers.

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
    this int := 26;
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

-- Devices

ALTER TABLE iot_auth.oauth_issuer
    ADD COLUMN principals text COLLATE "C" NOT NULL DEFAULT 'app', -- what a token of the issuer makes of a client
    ADD COLUMN device_id_claim text COLLATE "C" NOT NULL DEFAULT '/sub', -- JSON Pointer
    ADD COLUMN auto_registration boolean NOT NULL DEFAULT false,
    ADD COLUMN registered_status text COLLATE "C" NOT NULL DEFAULT 'ACTIVE',
    ADD COLUMN max_devices bigint,                -- NULL: no limit
    ADD COLUMN max_registrations_per_minute int,  -- likewise
    ADD CONSTRAINT issuer_principals_known CHECK (principals IN ('app', 'device')),
    ADD CONSTRAINT issuer_device_id_claim_is_a_pointer CHECK (iot_auth.pointer_problem(device_id_claim) IS NULL),
    ADD CONSTRAINT issuer_registered_status_active_or_pending CHECK (registered_status IN ('ACTIVE', 'PENDING')),
    ADD CONSTRAINT issuer_max_devices_not_negative CHECK (max_devices >= 0),
    ADD CONSTRAINT issuer_max_registrations_not_negative CHECK (max_registrations_per_minute >= 0);

-- A device belongs to one CA, or to one issuer, or (one with keys alone) to neither.  No row has an issuer yet, so there
-- is nothing to validate.
ALTER TABLE iot_auth.device
    ALTER COLUMN ca_id DROP NOT NULL,
    ADD COLUMN issuer_name text COLLATE "C",
    ADD CONSTRAINT device_of_ca_or_issuer CHECK (num_nonnulls(ca_id, issuer_name) <= 1) NOT VALID,
    ADD CONSTRAINT issuer_with_devices_can_only_be_disabled FOREIGN KEY (issuer_name)
        REFERENCES iot_auth.oauth_issuer (name) ON DELETE RESTRICT NOT VALID;
CREATE INDEX device_issuer ON iot_auth.device (issuer_name, created_at) WHERE issuer_name IS NOT NULL;

-- What stands for the certificate's fingerprint of an issuer's device, in caches and answers: the same as
-- ia_issued_fingerprint in jitr/issued.h.  No certificate has it, because SHA-256 would have to be inverted for that.
CREATE FUNCTION iot_auth.issued_fingerprint(issuer_name text, device_id text) RETURNS bytea
LANGUAGE sql IMMUTABLE PARALLEL SAFE
RETURN sha256('iot-auth issuer device'::bytea || '\x00'::bytea || decode(replace(issuer_name, '\', '\\'), 'escape')
              || '\x00'::bytea || decode(replace(device_id, '\', '\\'), 'escape'));
CREATE INDEX device_issued_fingerprint ON iot_auth.device (iot_auth.issued_fingerprint(issuer_name, device_id))
    WHERE issuer_name IS NOT NULL;

DROP TRIGGER device_ca_change ON iot_auth.device;
CREATE TRIGGER device_ca_change AFTER UPDATE ON iot_auth.device FOR EACH ROW
    WHEN (NEW.ca_id IS DISTINCT FROM OLD.ca_id) EXECUTE FUNCTION iot_auth.check_device_ca();
DROP TRIGGER device_touch ON iot_auth.device;
CREATE TRIGGER device_touch BEFORE UPDATE ON iot_auth.device FOR EACH ROW
    WHEN (NEW.ca_id IS DISTINCT FROM OLD.ca_id OR NEW.tenant IS DISTINCT FROM OLD.tenant
          OR NEW.issuer_name IS DISTINCT FROM OLD.issuer_name
          OR NEW.status IS DISTINCT FROM OLD.status OR NEW.attributes IS DISTINCT FROM OLD.attributes)
    EXECUTE FUNCTION iot_auth.touch();

-- A device without a CA can have no certificate.
CREATE OR REPLACE FUNCTION iot_auth.check_device_ca() RETURNS trigger
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    stray record;
BEGIN
    SELECT c.fingerprint INTO stray FROM iot_auth.device_certificate c
    WHERE c.device_id = NEW.device_id AND c.ca_id IS DISTINCT FROM NEW.ca_id
      AND (NEW.ca_id IS NULL
           OR NOT (iot_auth.ca_succeeds(c.ca_id, NEW.ca_id) OR iot_auth.ca_succeeds(NEW.ca_id, c.ca_id)))
    LIMIT 1;
    IF FOUND THEN
        PERFORM iot_auth.fail(format('device ''%s'' has certificates of a CA that is not connected to the new CA by '
                                     'succession', NEW.device_id),
                              'Delete these certificates first, or see column replaces of iot_auth.ca.');
    END IF;
    RETURN NULL;
END $$;

CREATE OR REPLACE FUNCTION iot_auth.check_certificate_ca() RETURNS trigger
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    stray record;
BEGIN
    SELECT c.device_id, encode(c.fingerprint, 'hex') AS fingerprint, d.ca_id, d.issuer_name INTO stray
    FROM changed c JOIN iot_auth.device d USING (device_id)
    WHERE c.ca_id IS DISTINCT FROM d.ca_id
      AND (d.ca_id IS NULL OR NOT (iot_auth.ca_succeeds(c.ca_id, d.ca_id) OR iot_auth.ca_succeeds(d.ca_id, c.ca_id)))
    LIMIT 1;
    IF NOT FOUND THEN
        RETURN NULL;
    END IF;
    IF stray.ca_id IS NULL THEN
        PERFORM iot_auth.fail(format('device ''%s'' belongs to %s and can have no certificate', stray.device_id,
                                     coalesce('issuer ''' || stray.issuer_name || '''', 'no CA')),
                              'Set ca_id of the device first, and issuer_name to NULL.');
    END IF;
    PERFORM iot_auth.fail(format('CA of certificate %s is neither the CA of device ''%s'' nor connected to it by '
                                 'succession', stray.fingerprint, stray.device_id),
                          'See column replaces of iot_auth.ca.');
    RETURN NULL;
END $$;

-- Changes of the new columns are notified as those of the old ones: see 0003.
DO $$
DECLARE
    event text;
    target record;
BEGIN
    FOR target IN SELECT * FROM (VALUES
        ('device', 'device', 'device_id', 'device_id, ca_id, issuer_name, tenant, status, attributes'),
        ('oauth_issuer', 'issuer', 'name', 'name, issuer, audience, algorithms, jwks, jwks_url, client_id_templates, '
         'app_id_claim, token_types, leeway_s, tenant, status, scope_claims, audience_claims, required_claims, '
         'max_lifetime_s, principals, device_id_claim, auto_registration')) t(relation, topic, key, columns) LOOP
        FOREACH event IN ARRAY ARRAY['insert', 'update', 'delete', 'truncate'] LOOP
            EXECUTE format('CREATE OR REPLACE TRIGGER notify_%s AFTER %s ON iot_auth.%I %s FOR EACH STATEMENT '
                           'EXECUTE FUNCTION iot_auth.notify_change(%L, %L, %L)',
                           event, upper(event), target.relation,
                           CASE event WHEN 'insert' THEN 'REFERENCING NEW TABLE AS new_rows'
                                      WHEN 'update' THEN 'REFERENCING OLD TABLE AS old_rows NEW TABLE AS new_rows'
                                      WHEN 'delete' THEN 'REFERENCING OLD TABLE AS old_rows'
                                      ELSE '' END, target.topic, target.key, target.columns);
            EXECUTE format('ALTER TABLE iot_auth.%I ENABLE ALWAYS TRIGGER notify_%s', target.relation, event);
        END LOOP;
    END LOOP;
END $$;

-- As in 0024, with issuers.
CREATE OR REPLACE FUNCTION iot_auth.device_status_events() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    ids text[];
    cas jsonb := '{}';     -- ca_id → name and tenant
    tenants jsonb := '{}'; -- name of an issuer → tenant
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
    BEGIN
        LOCK TABLE iot_auth.oauth_issuer IN ACCESS SHARE MODE NOWAIT;
        SELECT coalesce(jsonb_object_agg(i.name, i.tenant), '{}') INTO tenants
        FROM iot_auth.oauth_issuer i WHERE i.name IN (SELECT n.issuer_name FROM new_rows n);
    EXCEPTION WHEN lock_not_available THEN
        NULL;
    END;
    WITH written AS (
        INSERT INTO iot_auth.event (kind, principal, ca_id, detail)
        SELECT 'device/status', n.device_id, n.ca_id,
               jsonb_build_object('device_id', n.device_id, 'old', o.status, 'new', n.status,
                                  'ca', cas -> n.ca_id::text ->> 'name',
                                  'tenant', coalesce(n.tenant, cas -> n.ca_id::text ->> 'tenant',
                                                     tenants ->> n.issuer_name), 'who', session_user)
               || CASE WHEN n.issuer_name IS NULL THEN '{}' ELSE jsonb_build_object('issuer', n.issuer_name) END
        FROM old_rows o JOIN new_rows n USING (device_id)
        WHERE o.status <> n.status
        RETURNING event_id)
    SELECT array_agg(event_id::text) INTO ids FROM (SELECT event_id FROM written LIMIT 51) few;
    PERFORM iot_auth.notify('event', ids);
    RETURN NULL;
END $$;

-- What brokers read: devices without what they authenticate by, …
CREATE VIEW iot_auth.broker_registered AS
SELECT d.device_id, CASE WHEN octet_length(d.status) <= 16 THEN d.status ELSE '' END AS device_status,
       coalesce(d.ca_id, 0) AS device_ca_id, d.issuer_name,
       CASE WHEN octet_length(coalesce(d.tenant, a.tenant, i.tenant)) <= 128
            THEN coalesce(d.tenant, a.tenant, i.tenant) END AS tenant,
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
                 FROM iot_auth.device_role WHERE device_id = d.device_id LIMIT 65536) r) END AS roles
FROM iot_auth.device d
LEFT JOIN iot_auth.ca a ON a.ca_id = d.ca_id
LEFT JOIN iot_auth.oauth_issuer i ON i.name = d.issuer_name
WHERE octet_length(d.device_id) <= 128;

-- … by certificate, …
CREATE OR REPLACE VIEW iot_auth.broker_certificate_device AS
SELECT c.fingerprint, d.device_id, d.device_status,
       CASE WHEN octet_length(c.status) <= 16 THEN c.status ELSE '' END AS certificate_status,
       c.ca_id AS certificate_ca_id, d.device_ca_id, d.tenant, c.not_after, d.attrs, d.roles, NULL::text AS fault,
       d.issuer_name
FROM iot_auth.device_certificate c JOIN iot_auth.broker_registered d ON d.device_id = c.device_id
WHERE octet_length(c.fingerprint) = 32;

-- … by pre-shared key, …
CREATE OR REPLACE VIEW iot_auth.broker_psk_device AS
SELECT p.fingerprint, d.device_id, d.device_status,
       CASE WHEN octet_length(p.status) <= 16 THEN p.status ELSE '' END AS certificate_status,
       0::bigint AS certificate_ca_id, d.device_ca_id, d.tenant, p.expires_at AS not_after, d.attrs, d.roles,
       NULL::text AS fault, d.issuer_name
FROM iot_auth.device_psk p JOIN iot_auth.broker_registered d ON d.device_id = p.device_id;

-- … and by token of an issuer.
CREATE VIEW iot_auth.broker_issued_device AS
SELECT iot_auth.issued_fingerprint(d.issuer_name, d.device_id) AS fingerprint, d.device_id, d.device_status,
       'ACTIVE'::text AS certificate_status, 0::bigint AS certificate_ca_id, d.device_ca_id, d.tenant,
       NULL::timestamptz AS not_after, d.attrs, d.roles, NULL::text AS fault, d.issuer_name
FROM iot_auth.broker_registered d
WHERE d.issuer_name IS NOT NULL AND octet_length(d.issuer_name) <= 128;

-- One row for each record of a broker's cache.  Pages in the order of fingerprints are read from the views that this one
-- consists of (sql/db.c): a sort of all rows would cost each page seconds.
CREATE OR REPLACE VIEW iot_auth.broker_device AS
SELECT c.* FROM iot_auth.broker_certificate_device c UNION ALL SELECT p.* FROM iot_auth.broker_psk_device p
UNION ALL SELECT i.* FROM iot_auth.broker_issued_device i;

-- The statuses alone (0020, 0024): a device of an issuer has one record by its token.
CREATE OR REPLACE VIEW iot_auth.broker_device_state AS
SELECT coalesce(c.fingerprint, iot_auth.issued_fingerprint(d.issuer_name, d.device_id),
                decode(repeat('00', 32), 'hex')) AS fingerprint, d.device_id,
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

-- Issuers

CREATE TABLE iot_auth.issuer_role (
    issuer_name text COLLATE "C" NOT NULL REFERENCES iot_auth.oauth_issuer (name) ON DELETE CASCADE,
    role        text COLLATE "C" NOT NULL REFERENCES iot_auth.role (role) ON DELETE CASCADE,
    PRIMARY KEY (issuer_name, role)
);
CREATE INDEX issuer_role_role ON iot_auth.issuer_role (role);
SELECT iot_auth.audit_table('issuer_role', 'issuer_name, role', 'r.issuer_name', 'to_jsonb(r)');
DO $$
DECLARE
    event text;
BEGIN
    FOREACH event IN ARRAY ARRAY['insert', 'update', 'delete', 'truncate'] LOOP
        EXECUTE format('CREATE TRIGGER notify_%s AFTER %s ON iot_auth.issuer_role %s FOR EACH STATEMENT '
                       'EXECUTE FUNCTION iot_auth.notify_change(''issuer'', ''issuer_name'', ''issuer_name, role'')',
                       event, upper(event),
                       CASE event WHEN 'insert' THEN 'REFERENCING NEW TABLE AS new_rows'
                                  WHEN 'update' THEN 'REFERENCING OLD TABLE AS old_rows NEW TABLE AS new_rows'
                                  WHEN 'delete' THEN 'REFERENCING OLD TABLE AS old_rows'
                                  ELSE '' END);
        EXECUTE format('ALTER TABLE iot_auth.issuer_role ENABLE ALWAYS TRIGGER notify_%s', event);
    END LOOP;
END $$;

CREATE FUNCTION iot_auth.check_issuer_role_count() RETURNS trigger
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    holder text := (SELECT r.issuer_name FROM iot_auth.issuer_role r
                    WHERE r.issuer_name IN (SELECT n.issuer_name FROM new_rows n)
                    GROUP BY r.issuer_name HAVING count(*) > 256 LIMIT 1);
BEGIN
    IF holder IS NOT NULL THEN
        PERFORM iot_auth.fail(format('''%s'' would have more than 256 roles', holder),
                              'Combine the rules of several roles into one role.');
    END IF;
    RETURN NULL;
END $$;
CREATE TRIGGER role_count AFTER INSERT ON iot_auth.issuer_role REFERENCING NEW TABLE AS new_rows FOR EACH STATEMENT
    EXECUTE FUNCTION iot_auth.check_issuer_role_count();

CREATE FUNCTION iot_auth.device_variables() RETURNS text LANGUAGE sql IMMUTABLE PARALLEL SAFE
RETURN 'device_id issuer tenant claim.NAME';

CREATE FUNCTION iot_auth.default_client_id_templates(principals text) RETURNS text[]
LANGUAGE sql IMMUTABLE PARALLEL SAFE
RETURN CASE WHEN principals = 'device' THEN ARRAY['${device_id}'] ELSE iot_auth.default_app_templates() END;

-- The default of client_id_templates depends on principals, also for rows that are written directly.  The default of the
-- other kind would admit nobody.
CREATE FUNCTION iot_auth.fill_client_id_templates() RETURNS trigger
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    IF NEW.client_id_templates = iot_auth.default_client_id_templates(
            CASE WHEN NEW.principals = 'device' THEN 'app' ELSE 'device' END) THEN
        NEW.client_id_templates := iot_auth.default_client_id_templates(NEW.principals);
    END IF;
    RETURN NEW;
END $$;
CREATE TRIGGER issuer_default_templates BEFORE INSERT OR UPDATE OF principals, client_id_templates
    ON iot_auth.oauth_issuer FOR EACH ROW EXECUTE FUNCTION iot_auth.fill_client_id_templates();

-- The tenant of an issuer's devices is written when they are registered, as that of a CA's devices.
CREATE FUNCTION iot_auth.check_issuer_tenant() RETURNS trigger
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    IF EXISTS (SELECT FROM iot_auth.device d WHERE d.issuer_name = NEW.name) THEN
        PERFORM iot_auth.fail(format('tenant of issuer ''%s'' cannot be changed because the issuer has devices', NEW.name),
                              'Set the tenant of the devices instead.', 'object_not_in_prerequisite_state');
    END IF;
    RETURN NULL;
END $$;
CREATE TRIGGER issuer_tenant_change AFTER UPDATE ON iot_auth.oauth_issuer FOR EACH ROW
    WHEN (NEW.tenant IS DISTINCT FROM OLD.tenant) EXECUTE FUNCTION iot_auth.check_issuer_tenant();

-- A template with the variables of the other kind of principals is left to the broker, which reports it in `problem`: an
-- import sets one column after the other.
CREATE OR REPLACE FUNCTION iot_auth.check_issuer() RETURNS trigger
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    problem text := iot_auth.client_id_templates_problem(NEW.client_id_templates, 'device_id ' || iot_auth.app_variables());
    item text;
BEGIN
    IF problem IS NOT NULL THEN
        PERFORM iot_auth.fail('client_id_templates ' || problem);
    END IF;
    problem := iot_auth.jwks_problem(NEW.jwks);
    IF problem IS NOT NULL THEN
        PERFORM iot_auth.fail('jwks ' || problem);
    END IF;
    IF iot_auth.has_blank(NEW.issuer) THEN
        PERFORM iot_auth.fail(format('issuer ''%s'' contains a blank: no iss claim would match', NEW.issuer),
                              'Write the iss claim exactly as it is in the tokens.');
    END IF;
    FOREACH item IN ARRAY NEW.audience || NEW.token_types || NEW.app_id_claim LOOP
        IF item IS NOT NULL AND (iot_auth.is_blank(item) OR iot_auth.has_blank(left(item, 1))
                                 OR iot_auth.has_blank(right(item, 1))) THEN
            PERFORM iot_auth.fail(format('''%s'' begins or ends with a blank: no token would match', item),
                                  'Write audience, token_types and app_id_claim exactly as they are in the tokens.');
        END IF;
    END LOOP;
    IF NEW.jwks IS NULL AND NEW.jwks_url IS NULL AND NEW.issuer NOT LIKE 'https://%' THEN
        PERFORM iot_auth.fail(format('issuer ''%s'' has neither jwks nor jwks_url', NEW.name),
                              'Keys are discovered only for issuers that are https:// URLs.');
    END IF;
    RETURN NULL;
END $$;

CREATE OR REPLACE FUNCTION iot_auth.require_issuer_settings(i iot_auth.oauth_issuer) RETURNS void
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    algorithm text;
BEGIN
    PERFORM iot_auth.require_texts('audience', i.audience, 64);
    PERFORM iot_auth.require('audience', NULL, iot_auth.texts_problem(i.audience, 64, 512));
    PERFORM iot_auth.require('algorithms', NULL, iot_auth.list_problem(i.algorithms, 16));
    FOREACH algorithm IN ARRAY i.algorithms LOOP
        PERFORM iot_auth.require_one_of('algorithm', algorithm,
                                        ARRAY['RS256', 'RS384', 'RS512', 'PS256', 'PS384', 'PS512', 'ES256', 'ES384',
                                              'ES512', 'EdDSA', 'Ed25519', 'Ed448', 'ESP256', 'ESP384', 'ESP512']);
    END LOOP;
    PERFORM iot_auth.require('jwks', NULL,
        CASE WHEN jsonb_typeof(i.jwks) <> 'object' THEN 'is not a JSON object' ELSE iot_auth.jwks_problem(i.jwks) END);
    PERFORM iot_auth.require('jwks_url', i.jwks_url,
        CASE WHEN i.jwks_url !~ '^https?://[^[:space:][:cntrl:]]+$' THEN 'must be an https:// URL' END);
    IF i.jwks IS NULL AND i.jwks_url IS NULL AND i.issuer NOT LIKE 'https://%' THEN
        PERFORM iot_auth.fail('neither jwks nor jwks_url is given',
                              'Keys are discovered only for issuers that are https:// URLs.');
    END IF;
    PERFORM iot_auth.require_one_of('principals', i.principals, ARRAY['app', 'device']);
    PERFORM iot_auth.require('client_id_templates', NULL,
        iot_auth.client_id_templates_problem(i.client_id_templates, CASE WHEN i.principals = 'device'
            THEN iot_auth.device_variables() ELSE iot_auth.app_variables() END));
    PERFORM iot_auth.require('app_id_claim', i.app_id_claim,
        CASE WHEN i.app_id_claim IS NOT NULL THEN iot_auth.app_id_claim_problem(i.app_id_claim) END);
    PERFORM iot_auth.require('device_id_claim', i.device_id_claim, iot_auth.pointer_problem(i.device_id_claim));
    PERFORM iot_auth.require_texts('token_types', i.token_types, 16);
    PERFORM iot_auth.require('leeway_s', i.leeway_s::text,
        CASE WHEN i.leeway_s BETWEEN 0 AND 600 THEN NULL ELSE 'must be 0 to 600 seconds' END);
    PERFORM iot_auth.require('tenant', i.tenant,
        CASE WHEN i.tenant IS NOT NULL THEN iot_auth.value_problem(i.tenant) END);
    PERFORM iot_auth.require('scope_claims', NULL, iot_auth.pointers_problem(i.scope_claims));
    PERFORM iot_auth.require('audience_claims', NULL, iot_auth.pointers_problem(i.audience_claims));
    PERFORM iot_auth.require('required_claims', NULL, iot_auth.required_claims_problem(i.required_claims));
    PERFORM iot_auth.require('max_lifetime_s', i.max_lifetime_s::text,
        CASE WHEN i.max_lifetime_s NOT BETWEEN 1 AND 315360000 THEN 'must be 1 to 315360000 seconds' END);
    PERFORM iot_auth.require('auto_registration', NULL, CASE WHEN i.auto_registration IS NULL THEN 'is missing' END);
    PERFORM iot_auth.require_one_of('registered_status', i.registered_status, ARRAY['ACTIVE', 'PENDING']);
    PERFORM iot_auth.require('max_devices', i.max_devices::text,
        CASE WHEN i.max_devices < 0 THEN 'must not be negative' END);
    PERFORM iot_auth.require('max_registrations_per_minute', i.max_registrations_per_minute::text,
        CASE WHEN i.max_registrations_per_minute < 0 THEN 'must not be negative' END);
END $$;

-- One signature: with two of them, a call with named arguments would be ambiguous.
DROP FUNCTION iot_auth.register_issuer;
CREATE FUNCTION iot_auth.register_issuer(
    name text, issuer text, audience text[], algorithms text[] DEFAULT ARRAY['RS256', 'ES256'], jwks jsonb DEFAULT NULL,
    jwks_url text DEFAULT NULL, client_id_templates text[] DEFAULT NULL, app_id_claim text DEFAULT NULL,
    token_types text[] DEFAULT ARRAY['at+jwt', 'JWT'], leeway_s int DEFAULT 30, tenant text DEFAULT NULL,
    scope_claims text[] DEFAULT ARRAY['/scope', '/scp'], audience_claims text[] DEFAULT ARRAY['/aud'],
    required_claims jsonb DEFAULT '{}', max_lifetime_s int DEFAULT NULL, principals text DEFAULT 'app',
    device_id_claim text DEFAULT '/sub', auto_registration boolean DEFAULT false,
    registered_status text DEFAULT 'ACTIVE', max_devices bigint DEFAULT NULL,
    max_registrations_per_minute int DEFAULT NULL, roles text[] DEFAULT '{}') RETURNS void
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
#variable_conflict use_column
DECLARE
    i iot_auth.oauth_issuer;
    granted text;
BEGIN
    PERFORM iot_auth.require('name', register_issuer.name, iot_auth.issuer_name_problem(register_issuer.name));
    PERFORM iot_auth.require('issuer', register_issuer.issuer, iot_auth.text_problem(register_issuer.issuer, 512));
    PERFORM iot_auth.require('issuer', register_issuer.issuer,
        CASE WHEN iot_auth.has_blank(register_issuer.issuer)
            THEN 'contains a blank: no iss claim would match' END);
    IF register_issuer.jwks IS NOT NULL AND register_issuer.jwks_url IS NOT NULL THEN
        PERFORM iot_auth.fail('jwks and jwks_url must not both be given',
                              'Give one of them: with both, it would be ambiguous which keys are used.');
    END IF;
    i.name := register_issuer.name;
    i.issuer := register_issuer.issuer;
    i.audience := register_issuer.audience;
    i.algorithms := register_issuer.algorithms;
    i.jwks := register_issuer.jwks;
    i.jwks_url := register_issuer.jwks_url;
    i.client_id_templates := coalesce(register_issuer.client_id_templates,
                                      iot_auth.default_client_id_templates(register_issuer.principals));
    i.app_id_claim := register_issuer.app_id_claim;
    i.token_types := register_issuer.token_types;
    i.leeway_s := register_issuer.leeway_s;
    i.tenant := register_issuer.tenant;
    i.scope_claims := register_issuer.scope_claims;
    i.audience_claims := register_issuer.audience_claims;
    i.required_claims := register_issuer.required_claims;
    i.max_lifetime_s := register_issuer.max_lifetime_s;
    i.principals := register_issuer.principals;
    i.device_id_claim := register_issuer.device_id_claim;
    i.auto_registration := register_issuer.auto_registration;
    i.registered_status := register_issuer.registered_status;
    i.max_devices := register_issuer.max_devices;
    i.max_registrations_per_minute := register_issuer.max_registrations_per_minute;
    PERFORM iot_auth.require_issuer_settings(i);
    PERFORM iot_auth.require_issuer_roles(register_issuer.principals, register_issuer.roles);
    IF EXISTS (SELECT FROM iot_auth.oauth_issuer o WHERE o.name = i.name) THEN
        PERFORM iot_auth.fail(format('issuer ''%s'' already exists', i.name), NULL, 'duplicate_object');
    END IF;
    INSERT INTO iot_auth.oauth_issuer (name, issuer, audience, algorithms, jwks, jwks_url, client_id_templates,
                                       app_id_claim, token_types, leeway_s, tenant, scope_claims, audience_claims,
                                       required_claims, max_lifetime_s, principals, device_id_claim,
                                       auto_registration, registered_status, max_devices,
                                       max_registrations_per_minute)
    VALUES (i.name, i.issuer, i.audience, i.algorithms, i.jwks, i.jwks_url, i.client_id_templates, i.app_id_claim,
            i.token_types, i.leeway_s, i.tenant, i.scope_claims, i.audience_claims, i.required_claims,
            i.max_lifetime_s, i.principals, i.device_id_claim, i.auto_registration, i.registered_status, i.max_devices,
            i.max_registrations_per_minute);
    INSERT INTO iot_auth.issuer_role (issuer_name, role)
    SELECT i.name, r FROM unnest(register_issuer.roles) r ON CONFLICT DO NOTHING;
END $$;

CREATE FUNCTION iot_auth.require_issuer_roles(principals text, roles text[]) RETURNS void
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    granted text;
BEGIN
    PERFORM iot_auth.require('roles', NULL, CASE WHEN roles IS NULL THEN 'is missing'
                                                 WHEN cardinality(roles) > 0 THEN iot_auth.list_problem(roles, 256) END);
    FOREACH granted IN ARRAY roles LOOP
        PERFORM iot_auth.require_role(granted);
    END LOOP;
    IF principals = 'app' AND cardinality(roles) > 0 THEN
        PERFORM iot_auth.fail('roles are for an issuer of devices', 'Apps have roles by scope: iot_auth.map_scope.');
    END IF;
END $$;

CREATE OR REPLACE FUNCTION iot_auth.reset_issuer(i iot_auth.oauth_issuer, reset text[]) RETURNS iot_auth.oauth_issuer
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    column_name text;
BEGIN
    PERFORM iot_auth.require('reset', NULL,
        CASE WHEN cardinality(reset) > 0 THEN iot_auth.list_problem(reset, 64) END);
    FOREACH column_name IN ARRAY coalesce(reset, '{}') LOOP
        CASE column_name
            WHEN 'algorithms' THEN i.algorithms := ARRAY['RS256', 'ES256'];
            WHEN 'jwks' THEN i.jwks := NULL;
            WHEN 'jwks_url' THEN i.jwks_url := NULL;
            WHEN 'client_id_templates' THEN i.client_id_templates := iot_auth.default_client_id_templates(i.principals);
            WHEN 'app_id_claim' THEN i.app_id_claim := NULL;
            WHEN 'token_types' THEN i.token_types := ARRAY['at+jwt', 'JWT'];
            WHEN 'leeway_s' THEN i.leeway_s := 30;
            WHEN 'tenant' THEN i.tenant := NULL;
            WHEN 'scope_claims' THEN i.scope_claims := ARRAY['/scope', '/scp'];
            WHEN 'audience_claims' THEN i.audience_claims := ARRAY['/aud'];
            WHEN 'required_claims' THEN i.required_claims := '{}';
            WHEN 'max_lifetime_s' THEN i.max_lifetime_s := NULL;
            WHEN 'principals' THEN i.principals := 'app';
            WHEN 'device_id_claim' THEN i.device_id_claim := '/sub';
            WHEN 'auto_registration' THEN i.auto_registration := false;
            WHEN 'registered_status' THEN i.registered_status := 'ACTIVE';
            WHEN 'max_devices' THEN i.max_devices := NULL;
            WHEN 'max_registrations_per_minute' THEN i.max_registrations_per_minute := NULL;
            ELSE PERFORM iot_auth.fail(format('reset contains ''%s'', which is no column with a default',
                                              left(column_name, 80)));
        END CASE;
    END LOOP;
    RETURN i;
END $$;

DROP FUNCTION iot_auth.set_issuer;
CREATE FUNCTION iot_auth.set_issuer(
    name text, audience text[] DEFAULT NULL, algorithms text[] DEFAULT NULL, jwks jsonb DEFAULT NULL,
    jwks_url text DEFAULT NULL, client_id_templates text[] DEFAULT NULL, app_id_claim text DEFAULT NULL,
    token_types text[] DEFAULT NULL, leeway_s int DEFAULT NULL, tenant text DEFAULT NULL,
    scope_claims text[] DEFAULT NULL, audience_claims text[] DEFAULT NULL, required_claims jsonb DEFAULT NULL,
    max_lifetime_s int DEFAULT NULL, principals text DEFAULT NULL, device_id_claim text DEFAULT NULL,
    auto_registration boolean DEFAULT NULL, registered_status text DEFAULT NULL, max_devices bigint DEFAULT NULL,
    max_registrations_per_minute int DEFAULT NULL, reset text[] DEFAULT '{}') RETURNS void
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
#variable_conflict use_column
DECLARE
    i iot_auth.oauth_issuer;
    before text;
    given text[];
BEGIN
    PERFORM iot_auth.require_issuer(set_issuer.name);
    IF set_issuer.jwks IS NOT NULL AND set_issuer.jwks_url IS NOT NULL THEN
        PERFORM iot_auth.fail('jwks and jwks_url must not both be given',
                              'Give one of them: with both, it would be ambiguous which keys are used.');
    END IF;
    given := ARRAY(SELECT v.name FROM (VALUES
        ('audience', set_issuer.audience IS NOT NULL), ('algorithms', set_issuer.algorithms IS NOT NULL),
        ('jwks', set_issuer.jwks IS NOT NULL), ('jwks_url', set_issuer.jwks_url IS NOT NULL),
        ('client_id_templates', set_issuer.client_id_templates IS NOT NULL),
        ('app_id_claim', set_issuer.app_id_claim IS NOT NULL), ('token_types', set_issuer.token_types IS NOT NULL),
        ('leeway_s', set_issuer.leeway_s IS NOT NULL), ('tenant', set_issuer.tenant IS NOT NULL),
        ('scope_claims', set_issuer.scope_claims IS NOT NULL),
        ('audience_claims', set_issuer.audience_claims IS NOT NULL),
        ('required_claims', set_issuer.required_claims IS NOT NULL),
        ('max_lifetime_s', set_issuer.max_lifetime_s IS NOT NULL),
        ('principals', set_issuer.principals IS NOT NULL),
        ('device_id_claim', set_issuer.device_id_claim IS NOT NULL),
        ('auto_registration', set_issuer.auto_registration IS NOT NULL),
        ('registered_status', set_issuer.registered_status IS NOT NULL),
        ('max_devices', set_issuer.max_devices IS NOT NULL),
        ('max_registrations_per_minute', set_issuer.max_registrations_per_minute IS NOT NULL))
        v(name, is_given) WHERE v.is_given);
    IF given && set_issuer.reset THEN
        PERFORM iot_auth.fail('a column must not be both given and reset');
    END IF;
    SELECT * INTO STRICT i FROM iot_auth.oauth_issuer o WHERE o.name = set_issuer.name FOR NO KEY UPDATE;
    before := i.principals;
    i.principals := coalesce(set_issuer.principals, i.principals);
    i := iot_auth.reset_issuer(i, set_issuer.reset);
    i.audience := coalesce(set_issuer.audience, i.audience);
    i.algorithms := coalesce(set_issuer.algorithms, i.algorithms);
    IF num_nonnulls(set_issuer.jwks, set_issuer.jwks_url) = 1 THEN
        i.jwks := set_issuer.jwks;
        i.jwks_url := set_issuer.jwks_url;
    END IF;
    i.client_id_templates := coalesce(set_issuer.client_id_templates, i.client_id_templates);
    IF i.principals IS DISTINCT FROM before
        AND i.client_id_templates = iot_auth.default_client_id_templates(before) THEN
        i.client_id_templates := iot_auth.default_client_id_templates(i.principals);
    END IF;
    i.app_id_claim := coalesce(set_issuer.app_id_claim, i.app_id_claim);
    i.token_types := coalesce(set_issuer.token_types, i.token_types);
    i.leeway_s := coalesce(set_issuer.leeway_s, i.leeway_s);
    i.tenant := coalesce(set_issuer.tenant, i.tenant);
    i.scope_claims := coalesce(set_issuer.scope_claims, i.scope_claims);
    i.audience_claims := coalesce(set_issuer.audience_claims, i.audience_claims);
    i.required_claims := coalesce(set_issuer.required_claims, i.required_claims);
    i.max_lifetime_s := coalesce(set_issuer.max_lifetime_s, i.max_lifetime_s);
    i.device_id_claim := coalesce(set_issuer.device_id_claim, i.device_id_claim);
    i.auto_registration := coalesce(set_issuer.auto_registration, i.auto_registration);
    i.registered_status := coalesce(set_issuer.registered_status, i.registered_status);
    i.max_devices := coalesce(set_issuer.max_devices, i.max_devices);
    i.max_registrations_per_minute := coalesce(set_issuer.max_registrations_per_minute,
                                               i.max_registrations_per_minute);
    PERFORM iot_auth.require_issuer_settings(i);
    UPDATE iot_auth.oauth_issuer o
    SET audience = i.audience, algorithms = i.algorithms, jwks = i.jwks, jwks_url = i.jwks_url,
        client_id_templates = i.client_id_templates, app_id_claim = i.app_id_claim, token_types = i.token_types,
        leeway_s = i.leeway_s, tenant = i.tenant, scope_claims = i.scope_claims, audience_claims = i.audience_claims,
        required_claims = i.required_claims, max_lifetime_s = i.max_lifetime_s, principals = i.principals,
        device_id_claim = i.device_id_claim, auto_registration = i.auto_registration,
        registered_status = i.registered_status, max_devices = i.max_devices,
        max_registrations_per_minute = i.max_registrations_per_minute
    WHERE o.name = i.name;
END $$;

CREATE FUNCTION iot_auth.grant_issuer_role(issuer_name text, role text) RETURNS void
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    PERFORM iot_auth.require_issuer(grant_issuer_role.issuer_name);
    PERFORM iot_auth.require_role(grant_issuer_role.role);
    IF EXISTS (SELECT FROM iot_auth.oauth_issuer i
               WHERE i.name = grant_issuer_role.issuer_name AND i.principals = 'app') THEN
        PERFORM iot_auth.fail(format('tokens of issuer ''%s'' make apps', grant_issuer_role.issuer_name),
                              'Apps have roles by scope: iot_auth.map_scope.');
    END IF;
    INSERT INTO iot_auth.issuer_role (issuer_name, role)
    VALUES (grant_issuer_role.issuer_name, grant_issuer_role.role) ON CONFLICT DO NOTHING;
    IF NOT FOUND THEN
        PERFORM iot_auth.fail(format('issuer ''%s'' already has role ''%s''', grant_issuer_role.issuer_name,
                                     grant_issuer_role.role), NULL, 'duplicate_object');
    END IF;
END $$;

CREATE FUNCTION iot_auth.revoke_issuer_role(issuer_name text, role text) RETURNS void
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    PERFORM iot_auth.require_issuer(revoke_issuer_role.issuer_name);
    PERFORM iot_auth.require_role(revoke_issuer_role.role);
    DELETE FROM iot_auth.issuer_role r
    WHERE r.issuer_name = revoke_issuer_role.issuer_name AND r.role = revoke_issuer_role.role;
    IF NOT FOUND THEN
        PERFORM iot_auth.fail(format('issuer ''%s'' does not have role ''%s''', revoke_issuer_role.issuer_name,
                                     revoke_issuer_role.role), NULL, 'undefined_object');
    END IF;
END $$;

-- A device without a certificate: of an issuer, or for keys that are added later.
CREATE OR REPLACE FUNCTION iot_auth.create_device(device_id text, tenant text DEFAULT NULL, roles text[] DEFAULT ARRAY['device'],
                                       attributes jsonb DEFAULT '{}', status text DEFAULT 'ACTIVE',
                                       issuer_name text DEFAULT NULL) RETURNS void
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
#variable_conflict use_column
BEGIN
    PERFORM iot_auth.require('device_id', create_device.device_id, iot_auth.device_id_problem(create_device.device_id));
    PERFORM iot_auth.require('tenant', create_device.tenant,
        CASE WHEN create_device.tenant IS NOT NULL THEN iot_auth.value_problem(create_device.tenant) END);
    PERFORM iot_auth.require_issuer_roles('device', create_device.roles);
    PERFORM iot_auth.require('attributes', left(create_device.attributes::text, 80),
        CASE WHEN jsonb_typeof(create_device.attributes) IS DISTINCT FROM 'object' THEN 'must be a JSON object' END);
    PERFORM iot_auth.require_one_of('status', create_device.status, ARRAY['PENDING', 'ACTIVE', 'INACTIVE', 'REVOKED']);
    IF create_device.issuer_name IS NOT NULL THEN
        PERFORM iot_auth.require_issuer(create_device.issuer_name);
        IF NOT EXISTS (SELECT FROM iot_auth.oauth_issuer i
                       WHERE i.name = create_device.issuer_name AND i.principals = 'device') THEN
            PERFORM iot_auth.fail(format('tokens of issuer ''%s'' make apps, not devices', create_device.issuer_name),
                                  'Set principals of the issuer to device: iot_auth.set_issuer.');
        END IF;
    END IF;
    INSERT INTO iot_auth.device (device_id, issuer_name, tenant, status, attributes)
    VALUES (create_device.device_id, create_device.issuer_name,
            coalesce(create_device.tenant, (SELECT i.tenant FROM iot_auth.oauth_issuer i
                                            WHERE i.name = create_device.issuer_name)),
            create_device.status, create_device.attributes)
    ON CONFLICT DO NOTHING;
    IF NOT FOUND THEN
        PERFORM iot_auth.fail(format('device ''%s'' already exists', create_device.device_id), NULL,
                              'duplicate_object');
    END IF;
    INSERT INTO iot_auth.device_role (device_id, role)
    SELECT create_device.device_id, r FROM unnest(create_device.roles) r ON CONFLICT DO NOTHING;
END $$;

-- To whom a device belongs, for messages.
CREATE FUNCTION iot_auth.owner_of(d iot_auth.device) RETURNS text
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    RETURN CASE WHEN d.ca_id IS NOT NULL
                THEN (SELECT format('CA ''%s''', c.name) FROM iot_auth.ca c WHERE c.ca_id = d.ca_id)
                WHEN d.issuer_name IS NOT NULL THEN format('issuer ''%s''', d.issuer_name)
                ELSE 'neither a CA nor an issuer' END;
END $$;

-- A device with keys alone gets a CA with its first certificate, from an administrator only.
CREATE OR REPLACE FUNCTION iot_auth.require_rotation(target iot_auth.device, issued_by iot_auth.ca, attributes jsonb)
RETURNS void
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    IF target.issuer_name IS NOT NULL THEN
        PERFORM iot_auth.fail(format('device ''%s'' already exists and belongs to %s', target.device_id,
                                     iot_auth.owner_of(target)), 'Choose another device_id.', 'duplicate_object');
    END IF;
    IF target.ca_id <> issued_by.ca_id AND NOT iot_auth.ca_succeeds(issued_by.ca_id, target.ca_id) THEN
        PERFORM iot_auth.fail(format('device ''%s'' already exists and belongs to %s, which CA ''%s'' does '
                                     'not replace',
                                     target.device_id, iot_auth.owner_of(target), issued_by.name),
                              'Choose another device_id, or make the CA a successor (column replaces of iot_auth.ca).',
                              'duplicate_object');
    END IF;
    IF target.status = 'REVOKED' THEN
        PERFORM iot_auth.fail(format('device ''%s'' is REVOKED and stays REVOKED', target.device_id),
                              'Delete the device before registering it again.', 'object_not_in_prerequisite_state');
    END IF;
    IF attributes <> '{}' AND attributes <> target.attributes THEN
        PERFORM iot_auth.fail(format('device ''%s'' already exists, and a new certificate does not change its '
                                     'attributes', target.device_id),
                              'Use UPDATE iot_auth.device SET attributes = ...');
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

CREATE OR REPLACE VIEW iot_auth.broker_issuer AS
SELECT i.name, CASE WHEN octet_length(i.issuer) <= 512 THEN i.issuer ELSE '' END AS issuer,
       iot_auth.usable_texts(i.audience, 64, 512) AS audience,
       iot_auth.usable_texts(i.algorithms, 16, 16) AS algorithms,
       CASE WHEN iot_auth.json_problem(i.jwks, 262144) IS NULL THEN i.jwks::text ELSE '' END AS jwks,
       CASE WHEN octet_length(i.jwks_url) <= 2048 THEN i.jwks_url WHEN i.jwks_url IS NOT NULL THEN '' END AS jwks_url,
       iot_auth.usable_texts(i.client_id_templates, 16, 512) AS client_id_templates,
       CASE WHEN octet_length(i.app_id_claim) <= 512 THEN i.app_id_claim
            WHEN i.app_id_claim IS NOT NULL THEN '' END AS app_id_claim,
       iot_auth.usable_texts(i.token_types, 16, 128) AS token_types, i.leeway_s,
       CASE WHEN octet_length(i.tenant) <= 128 THEN i.tenant END AS tenant, left(i.status, 16) AS status,
       left(i.problem, 1024) AS problem, left(i.note, 1024) AS note,
       CASE WHEN octet_length(i.issuer) > 512 THEN 'issuer is longer than 512 bytes'
            WHEN octet_length(i.jwks_url) > 2048 THEN 'jwks_url is longer than 2048 bytes'
            WHEN octet_length(i.app_id_claim) > 512 THEN 'app_id_claim is longer than 512 bytes'
            WHEN octet_length(i.device_id_claim) > 512 THEN 'device_id_claim is longer than 512 bytes'
            WHEN octet_length(i.tenant) > 128 THEN 'tenant is longer than 128 bytes'
            ELSE coalesce('audience ' || iot_auth.texts_problem(i.audience, 64, 512),
                          'algorithms ' || iot_auth.texts_problem(i.algorithms, 16, 16),
                          'token_types ' || iot_auth.texts_problem(i.token_types, 16, 128),
                          'client_id_templates ' || iot_auth.texts_problem(i.client_id_templates, 16, 512),
                          'jwks ' || iot_auth.json_problem(i.jwks, 262144),
                          'scope_claims ' || iot_auth.texts_problem(i.scope_claims, 16, 512),
                          'audience_claims ' || iot_auth.texts_problem(i.audience_claims, 16, 512),
                          'required_claims ' || iot_auth.json_problem(i.required_claims, 16384)) END AS fault,
       iot_auth.usable_texts(i.scope_claims, 16, 512) AS scope_claims,
       iot_auth.usable_texts(i.audience_claims, 16, 512) AS audience_claims,
       CASE WHEN iot_auth.json_problem(i.required_claims, 16384) IS NULL THEN i.required_claims::text
            ELSE '' END AS required_claims,
       i.max_lifetime_s,
       left(i.principals, 16) AS principals,
       CASE WHEN octet_length(i.device_id_claim) <= 512 THEN i.device_id_claim ELSE '' END AS device_id_claim,
       ARRAY(SELECT CASE WHEN octet_length(r.role) <= 128 THEN r.role ELSE '' END FROM iot_auth.issuer_role r
             WHERE r.issuer_name = i.name ORDER BY r.role LIMIT 257) AS roles
FROM iot_auth.oauth_issuer i
WHERE octet_length(i.name) <= 128;

CREATE OR REPLACE VIEW iot_auth.monitor_device AS
SELECT a.name AS ca, coalesce(d.tenant, a.tenant) AS tenant, d.status, count(*) AS devices,
       count(*) FILTER (WHERE d.problem IS NOT NULL) AS with_problem, d.issuer_name AS issuer
FROM iot_auth.device d LEFT JOIN iot_auth.ca a USING (ca_id)
GROUP BY a.name, coalesce(d.tenant, a.tenant), d.status, d.issuer_name;


-- Registration by token

-- How many devices an issuer has, as ca_usage of a CA: the row is the lock that registrations of one issuer take turns
-- by, where it has a quota.  -1, or a row of issuer_usage_stale: to be counted.
CREATE TABLE iot_auth.issuer_usage (
    issuer_name text COLLATE "C" PRIMARY KEY REFERENCES iot_auth.oauth_issuer (name) ON DELETE CASCADE,
    devices     bigint NOT NULL
);
CREATE TABLE iot_auth.issuer_usage_stale (
    issuer_name text COLLATE "C" NOT NULL -- no foreign key: a deletion of devices must not wait for the issuers (0024)
);
CREATE INDEX issuer_usage_stale_issuer ON iot_auth.issuer_usage_stale (issuer_name);

CREATE FUNCTION iot_auth.issuer_usage_stale() RETURNS trigger
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    IF iot_auth.quiet() THEN
        RETURN NULL;
    END IF;
    IF TG_OP = 'INSERT' THEN
        INSERT INTO iot_auth.issuer_usage_stale
        SELECT DISTINCT n.issuer_name FROM new_rows n WHERE n.issuer_name IS NOT NULL;
    ELSIF TG_OP = 'DELETE' THEN
        INSERT INTO iot_auth.issuer_usage_stale
        SELECT DISTINCT o.issuer_name FROM old_rows o WHERE o.issuer_name IS NOT NULL;
    ELSIF TG_OP = 'UPDATE' THEN
        INSERT INTO iot_auth.issuer_usage_stale
        SELECT DISTINCT c.issuer_name FROM old_rows o JOIN new_rows n USING (device_id)
        CROSS JOIN LATERAL (VALUES (o.issuer_name), (n.issuer_name)) c(issuer_name)
        WHERE o.issuer_name IS DISTINCT FROM n.issuer_name AND c.issuer_name IS NOT NULL;
    ELSE
        INSERT INTO iot_auth.issuer_usage_stale SELECT i.name FROM iot_auth.oauth_issuer i;
    END IF;
    RETURN NULL;
END $$;
CREATE TRIGGER issuer_usage_insert AFTER INSERT ON iot_auth.device REFERENCING NEW TABLE AS new_rows
    FOR EACH STATEMENT EXECUTE FUNCTION iot_auth.issuer_usage_stale();
CREATE TRIGGER issuer_usage_update AFTER UPDATE ON iot_auth.device
    REFERENCING OLD TABLE AS old_rows NEW TABLE AS new_rows
    FOR EACH STATEMENT EXECUTE FUNCTION iot_auth.issuer_usage_stale();
CREATE TRIGGER issuer_usage_delete AFTER DELETE ON iot_auth.device REFERENCING OLD TABLE AS old_rows
    FOR EACH STATEMENT EXECUTE FUNCTION iot_auth.issuer_usage_stale();
CREATE TRIGGER issuer_usage_truncate AFTER TRUNCATE ON iot_auth.device
    FOR EACH STATEMENT EXECUTE FUNCTION iot_auth.issuer_usage_stale();

CREATE FUNCTION iot_auth.issuer_usage_forget() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    INSERT INTO iot_auth.issuer_usage_stale (issuer_name) VALUES (NEW.name);
    RETURN NULL;
END $$;
CREATE TRIGGER usage_forget AFTER UPDATE ON iot_auth.oauth_issuer FOR EACH ROW
    WHEN (NEW.max_devices IS DISTINCT FROM OLD.max_devices) EXECUTE FUNCTION iot_auth.issuer_usage_forget();

CREATE FUNCTION iot_auth.issuer_usage_end() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    DELETE FROM iot_auth.issuer_usage_stale WHERE issuer_name = OLD.name;
    RETURN NULL;
END $$;
CREATE TRIGGER usage_end AFTER DELETE ON iot_auth.oauth_issuer FOR EACH ROW
    EXECUTE FUNCTION iot_auth.issuer_usage_end();

CREATE TYPE iot_auth.issued_result AS (
    item int, outcome text, detail text, fingerprint bytea, device_id text, device_status text,
    certificate_status text, certificate_ca_id bigint, device_ca_id bigint, tenant text, not_after timestamptz,
    attrs text[], roles text[], issuer_name text);

CREATE TYPE iot_auth.issued_item AS (item int, device_id text, issuer_name text, address text);

-- The record of an issuer's device; `outcome` NULL: there is none.
CREATE FUNCTION iot_auth.registration_record(p_item int, p_fingerprint bytea, p_outcome text, p_detail text)
RETURNS iot_auth.issued_result
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp AS $$
    SELECT p_item, p_outcome, p_detail, b.fingerprint, b.device_id, b.device_status, b.certificate_status,
           b.certificate_ca_id, b.device_ca_id, b.tenant, b.not_after, b.attrs, b.roles, b.issuer_name
    FROM iot_auth.broker_issued_device b WHERE b.fingerprint = p_fingerprint
$$;

-- The issuer's row; where it has a quota, its registrations take turns from here on.
CREATE FUNCTION iot_auth.registration_issuer(p_issuer_name text) RETURNS iot_auth.oauth_issuer
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    locked iot_auth.oauth_issuer;
    counts boolean;
BEGIN
    SELECT * INTO locked FROM iot_auth.oauth_issuer i WHERE i.name = p_issuer_name;
    counts := locked.max_devices IS NOT NULL OR locked.max_registrations_per_minute IS NOT NULL;
    IF counts THEN
        LOOP
            PERFORM FROM iot_auth.issuer_usage u WHERE u.issuer_name = p_issuer_name FOR UPDATE;
            EXIT WHEN FOUND;
            INSERT INTO iot_auth.issuer_usage (issuer_name, devices)
            SELECT i.name, -1 FROM iot_auth.oauth_issuer i WHERE i.name = p_issuer_name ON CONFLICT DO NOTHING;
            EXIT WHEN NOT EXISTS (SELECT FROM iot_auth.oauth_issuer i WHERE i.name = p_issuer_name);
        END LOOP;
        SELECT * INTO locked FROM iot_auth.oauth_issuer i WHERE i.name = p_issuer_name;
    ELSE
        -- A quota that was set meanwhile holds from the next registration on: locking its row only now could deadlock.
        locked.max_devices := NULL;
        locked.max_registrations_per_minute := NULL;
    END IF;
    RETURN locked;
END $$;

CREATE FUNCTION iot_auth.registration_issuer_count(p_issuer_name text) RETURNS bigint
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    counted bigint;
BEGIN
    DELETE FROM iot_auth.issuer_usage_stale s WHERE s.issuer_name = p_issuer_name;
    IF NOT FOUND THEN
        SELECT u.devices INTO counted FROM iot_auth.issuer_usage u WHERE u.issuer_name = p_issuer_name;
        IF counted >= 0 THEN
            RETURN counted;
        END IF;
    END IF;
    SELECT count(*) INTO counted FROM iot_auth.device d WHERE d.issuer_name = p_issuer_name;
    UPDATE iot_auth.issuer_usage u SET devices = counted WHERE u.issuer_name = p_issuer_name;
    RETURN counted;
END $$;

-- Why that issuer does not register that device, as a reason; NULL: it does.
CREATE FUNCTION iot_auth.registration_issuer_refusal(issuer iot_auth.oauth_issuer, p_device_id text, OUT outcome text,
                                                     OUT detail text)
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    problem text := coalesce(iot_auth.device_id_problem(p_device_id), iot_auth.reserved_problem(p_device_id));
    recent bigint;
BEGIN
    IF issuer.name IS NULL OR issuer.status <> 'ACTIVE' OR issuer.principals <> 'device' THEN
        outcome := 'issuer_inactive';
        detail := CASE WHEN issuer.name IS NULL THEN 'the issuer is no longer registered'
                       WHEN issuer.status <> 'ACTIVE' THEN format('issuer ''%s'' is %s', issuer.name, issuer.status)
                       ELSE format('tokens of issuer ''%s'' make apps', issuer.name) END;
    ELSIF problem IS NOT NULL THEN
        outcome := 'identity_invalid';
        detail := format('device id %s', problem);
    ELSIF NOT issuer.auto_registration THEN
        outcome := 'device_unknown';
        detail := format('issuer ''%s'' has no auto-registration', issuer.name);
    END IF;
    IF outcome IS NOT NULL THEN
        RETURN;
    END IF;
    IF issuer.max_registrations_per_minute IS NOT NULL THEN
        SELECT count(*) INTO recent FROM (
            SELECT FROM iot_auth.device d
            WHERE d.issuer_name = issuer.name AND d.registered_by = 'jitr'
              AND d.created_at > clock_timestamp() - interval '1 minute'
            LIMIT issuer.max_registrations_per_minute) few;
        IF recent >= issuer.max_registrations_per_minute THEN
            outcome := 'quota_exceeded';
            detail := format('issuer ''%s'' admits %s registrations a minute', issuer.name,
                             issuer.max_registrations_per_minute);
            RETURN;
        END IF;
    END IF;
    IF issuer.max_devices IS NOT NULL AND iot_auth.registration_issuer_count(issuer.name) >= issuer.max_devices THEN
        outcome := 'quota_exceeded';
        detail := format('issuer ''%s'' admits %s devices', issuer.name, issuer.max_devices);
    END IF;
END $$;

CREATE FUNCTION iot_auth.registration_issued_event(device iot_auth.device, p_node text, p_address text) RETURNS text
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    written text := json_build_object(
        'device_id', device.device_id, 'issuer', device.issuer_name, 'status', device.status, 'tenant', device.tenant,
        'node', p_node, 'at', to_char(clock_timestamp() AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.MS"Z"'));
BEGIN
    INSERT INTO iot_auth.event (node, kind, principal, address, detail)
    VALUES (p_node, 'device/registered', device.device_id, p_address, written::jsonb);
    RETURN written;
END $$;

-- Register one device that a token of the issuer names.  Outcome 'known' or 'registered' with the record; else a reason.
-- A device of a CA, of another issuer or of neither is nobody's to take.
CREATE FUNCTION iot_auth.registration_issued(i iot_auth.issued_item, p_node text) RETURNS iot_auth.issued_result
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    print bytea := iot_auth.issued_fingerprint(i.issuer_name, i.device_id);
    result iot_auth.issued_result := iot_auth.registration_record(i.item, print, 'known', NULL);
    issuer iot_auth.oauth_issuer;
    device iot_auth.device;
BEGIN
    IF result.outcome IS NOT NULL THEN
        RETURN result;
    END IF;
    result.item := i.item;
    issuer := iot_auth.registration_issuer(i.issuer_name);
    LOOP
        SELECT * INTO device FROM iot_auth.device d WHERE d.device_id = i.device_id;
        IF FOUND AND device.issuer_name = i.issuer_name THEN
            RETURN iot_auth.registration_record(i.item, print, 'known', NULL);
        ELSIF FOUND THEN
            result.outcome := 'device_conflict';
            result.detail := format('device ''%s'' belongs to %s', i.device_id, iot_auth.owner_of(device));
            RETURN result;
        END IF;
        SELECT r.outcome, r.detail INTO result.outcome, result.detail
        FROM iot_auth.registration_issuer_refusal(issuer, i.device_id) r;
        IF result.outcome IS NOT NULL THEN
            RETURN result;
        END IF;
        INSERT INTO iot_auth.device AS d (device_id, issuer_name, tenant, status, registered_by, created_at)
        VALUES (i.device_id, issuer.name, issuer.tenant, issuer.registered_status, 'jitr', clock_timestamp())
        ON CONFLICT DO NOTHING RETURNING d.* INTO device;
        EXIT WHEN FOUND; -- else a concurrent registration inserted the row: examine it
    END LOOP;
    IF issuer.max_devices IS NOT NULL THEN
        UPDATE iot_auth.issuer_usage u SET devices = u.devices + 1 WHERE u.issuer_name = issuer.name AND u.devices >= 0;
    END IF;
    RETURN iot_auth.registration_record(i.item, print, 'registered',
                                        iot_auth.registration_issued_event(device, p_node, i.address));
END $$;

-- Register many devices by token in one transaction, as broker_register_many does by certificate, with the same
-- outcomes, order of locks and time-outs.
CREATE FUNCTION iot_auth.broker_register_issued(p_device_ids text[], p_issuer_names text[], p_node text,
                                                p_addresses text[])
RETURNS SETOF iot_auth.issued_result
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    of_issuer iot_auth.issued_item[];
    done iot_auth.issued_result[];
    busy iot_auth.issued_result;
    n_busy int;
BEGIN
    IF cardinality(p_device_ids) > 256 THEN
        PERFORM iot_auth.fail('broker_register_issued takes at most 256 items');
    END IF;
    IF current_setting('transaction_isolation') NOT IN ('read committed', 'read uncommitted') THEN
        -- An older snapshot would not show changes that were committed while this function waited for the locks.
        PERFORM iot_auth.fail('broker_register_issued requires transaction isolation READ COMMITTED');
    END IF;
    PERFORM iot_auth.registration_node(p_node);
    PERFORM set_config('lock_timeout', '100ms', true), set_config('iot_auth.quiet', 'on', true);
    FOR of_issuer IN
        SELECT array_agg((i.item::int, i.device_id, i.issuer_name, iot_auth.bounded_text(i.address, 64))
                         ::iot_auth.issued_item ORDER BY i.device_id)
        FROM unnest(p_device_ids, p_issuer_names, p_addresses) WITH ORDINALITY
             AS i(device_id, issuer_name, address, item)
        GROUP BY i.issuer_name ORDER BY i.issuer_name
    LOOP
        done := NULL;
        BEGIN
            done := ARRAY(SELECT iot_auth.registration_issued(u, p_node) FROM unnest(of_issuer) u);
        EXCEPTION WHEN lock_not_available OR deadlock_detected THEN
            PERFORM set_config('lock_timeout', '1ms', true);
        END;
        IF done IS NOT NULL THEN
            RETURN QUERY SELECT d.* FROM unnest(done) d;
            CONTINUE;
        END IF;
        -- Each by itself.  After three that are all refused the lock is on the issuer rather than on a device.
        n_busy := 0;
        FOR k IN 1 .. cardinality(of_issuer) LOOP
            busy := NULL;
            BEGIN
                IF n_busy < 3 THEN
                    busy := iot_auth.registration_issued(of_issuer[k], p_node);
                END IF;
            EXCEPTION WHEN lock_not_available OR deadlock_detected THEN
                n_busy := n_busy + 1;
            END;
            IF busy.outcome IS NULL THEN
                busy.item := of_issuer[k].item;
                busy.outcome := 'busy';
                busy.detail := 'a row is locked by another transaction';
            END IF;
            RETURN NEXT busy;
        END LOOP;
    END LOOP;
    PERFORM set_config('iot_auth.quiet', 'off', true);
END $$;

-- Registration by certificate: a device of an issuer, or one with keys alone, is no CA's to take.
CREATE OR REPLACE FUNCTION iot_auth.registration_device(ca iot_auth.ca, one iot_auth.registration_item, OUT outcome text,
                                             OUT detail text)
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
#variable_conflict use_column
DECLARE
    existing iot_auth.device;
    is_new boolean;
    moves boolean := false;
BEGIN
    LOOP
        SELECT * INTO existing FROM iot_auth.device d WHERE d.device_id = one.device_id FOR NO KEY UPDATE;
        is_new := NOT FOUND;
        moves := NOT is_new AND existing.ca_id IS DISTINCT FROM ca.ca_id;
        IF moves AND iot_auth.ca_succeeds(ca.ca_id, existing.ca_id) IS NOT TRUE THEN
            outcome := 'device_conflict';
            detail := CASE WHEN existing.ca_id IS NULL
                           THEN format('device ''%s'' belongs to %s', one.device_id, iot_auth.owner_of(existing))
                           ELSE format('device ''%s'' belongs to CA %s, which this CA does not replace', one.device_id,
                                       existing.ca_id) END;
            RETURN;
        END IF;
        detail := iot_auth.registration_quota(ca, is_new OR moves);
        IF detail IS NOT NULL THEN
            outcome := 'quota_exceeded';
            RETURN;
        END IF;
        EXIT WHEN NOT is_new;
        INSERT INTO iot_auth.device (device_id, ca_id, tenant, status, registered_by, created_at, attributes)
        VALUES (one.device_id, ca.ca_id, coalesce(one.tenant, ca.tenant), ca.registered_status, 'jitr', clock_timestamp(),
                coalesce(one.attributes, '{}'))
        ON CONFLICT DO NOTHING;
        EXIT WHEN FOUND; -- else a concurrent registration inserted the row: examine it
    END LOOP;
    IF NOT is_new AND ca.provisioning ->> 'on_existing' IN ('merge', 'replace') THEN
        detail := iot_auth.provision_existing(existing, ca.provisioning ->> 'on_existing', one.attributes, one.roles,
                                              coalesce(one.tenant, ca.tenant));
        IF detail IS NOT NULL THEN
            outcome := 'identity_invalid';
            RETURN;
        END IF;
    END IF;
    IF moves THEN
        UPDATE iot_auth.device d SET ca_id = ca.ca_id WHERE d.device_id = one.device_id;
        INSERT INTO iot_auth.ca_usage_stale
        SELECT c.ca_id FROM iot_auth.ca c WHERE c.ca_id = existing.ca_id AND c.max_devices IS NOT NULL;
    END IF;
    IF (is_new OR moves) AND ca.max_devices IS NOT NULL THEN
        UPDATE iot_auth.ca_usage u SET devices = u.devices + 1 WHERE u.ca_id = ca.ca_id AND u.devices >= 0;
    END IF;
    IF is_new THEN
        INSERT INTO iot_auth.device_role (device_id, role) SELECT one.device_id, r FROM unnest(one.roles) r;
    END IF;
END $$;

-- Why a device that came by token was refused.
CREATE FUNCTION iot_auth.remedy_of_issuer(issuer iot_auth.oauth_issuer, reason text, who text, detail jsonb)
RETURNS text
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    RETURN CASE reason
        WHEN 'device_unknown' THEN format('SELECT iot_auth.create_device(%L, issuer_name => %L); or '
                                          'auto_registration of the issuer.', who, issuer.name)
        WHEN 'device_conflict' THEN format('Device %L is of a CA, of another issuer or of neither, and an issuer cannot '
                                           'take it: %s.', who, coalesce(detail ->> 'detail', 'see iot_auth.device'))
        WHEN 'quota_exceeded' THEN format('max_devices or max_registrations_per_minute of issuer %L is reached: SELECT '
                                          'iot_auth.set_issuer(%L, …);', issuer.name, issuer.name)
        WHEN 'identity_invalid' THEN format('The claim at %s must be a device id: 1 to 128 bytes without + # / * and '
                                            'control characters, and not reserved.', issuer.device_id_claim)
        END;
END $$;

CREATE OR REPLACE FUNCTION iot_auth.refusal_remedy(reason text, kind text, principal text, ca_id bigint, address text,
                                                   detail jsonb) RETURNS text
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp AS $$
#variable_conflict use_variable
DECLARE
    ca iot_auth.ca;
    issuer iot_auth.oauth_issuer;
    app text := coalesce(principal, detail ->> 'app');
BEGIN
    SELECT c.* INTO ca FROM iot_auth.ca c WHERE c.ca_id = refusal_remedy.ca_id;
    SELECT i.* INTO issuer FROM iot_auth.oauth_issuer i
    WHERE i.name = detail ->> 'issuer' OR i.name = split_part(app, ':', 2) AND app LIKE 'app:%'
       OR i.issuer = detail ->> 'claimed_iss'
       AND 1 = (SELECT count(*) FROM iot_auth.oauth_issuer o WHERE o.issuer = i.issuer) -- else it is not known which row
    ORDER BY i.name = detail ->> 'issuer' DESC LIMIT 1;
    IF reason = 'client_id_mismatch' AND detail ->> 'detail' LIKE '%another principal%' THEN
        RETURN format('The client id belongs to another device or app. When that one no longer uses it: SELECT '
                      'iot_auth.release_client_id(%L);',
                      detail ->> 'client_id');
    END IF;
    RETURN CASE
        WHEN reason = 'ca_unknown' THEN iot_auth.remedy_of_unknown_ca(detail)
        WHEN reason = 'address_denied' THEN iot_auth.remedy_of_address(address, ca.name, coalesce(principal, detail
            ->> 'device_id'), issuer.name)
        WHEN reason = 'registry_unavailable' AND ca.problem_hook IS NOT NULL
            THEN format('The registration hook of CA %L must work: %s', ca.name, ca.problem_hook)
        WHEN reason IN ('registry_unavailable', 'snapshot_stale') THEN 'The broker must reach the database: see '
                                                                       'iot_auth.node, and the broker''s log.'
        WHEN starts_with(reason, 'token_') OR reason = 'issuer_inactive'
            OR reason = 'client_id_mismatch' AND (kind = 'app/refused' OR detail ? 'issuer')
            THEN iot_auth.remedy_of_token(reason, issuer, detail)
        ELSE coalesce(CASE WHEN ca.ca_id IS NOT NULL THEN iot_auth.remedy_of_ca(ca, reason, principal, detail)
                           WHEN detail ? 'issuer' THEN iot_auth.remedy_of_issuer(issuer, reason,
                               coalesce(principal, detail ->> 'device_id'), detail) END,
                      iot_auth.remedy_of_device(reason, coalesce(principal, detail ->> 'device_id'), detail)) END;
END $$;

-- Export and import: the roles of an issuer as those of a CA.

CREATE OR REPLACE FUNCTION iot_auth.export_configuration() RETURNS jsonb
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp AS $$
    SELECT jsonb_build_object(
        'role', (SELECT coalesce(jsonb_object_agg(r.role, jsonb_build_object('rules', (
                     SELECT coalesce(jsonb_agg(jsonb_build_object(
                                'effect', u.effect, 'actions', ARRAY(SELECT a FROM unnest(u.actions) a ORDER BY a),
                                'topic_filter', u.topic_filter, 'max_qos', u.max_qos, 'allow_retain', u.allow_retain)
                                ORDER BY u.topic_filter, u.effect, u.actions, u.max_qos, u.allow_retain), '[]')
                     FROM iot_auth.role_rule u WHERE u.role = r.role))), '{}') FROM iot_auth.role r),
        'ca', (SELECT coalesce(jsonb_object_agg(c.name, iot_auth.settings_of(to_jsonb(c)) || jsonb_strip_nulls(
                   jsonb_build_object(
                       'replaces', (SELECT p.name FROM iot_auth.ca p WHERE p.ca_id = c.replaces),
                       'roles', ARRAY(SELECT g.role FROM iot_auth.ca_role g WHERE g.ca_id = c.ca_id ORDER BY g.role),
                       'crls', ARRAY(SELECT l.pem FROM iot_auth.crl l WHERE l.ca_id = c.ca_id ORDER BY l.pem)))), '{}')
               FROM iot_auth.ca c),
        'issuer', (SELECT coalesce(jsonb_object_agg(i.name, iot_auth.settings_of(to_jsonb(i)) || jsonb_build_object(
                       'roles', ARRAY(SELECT g.role FROM iot_auth.issuer_role g WHERE g.issuer_name = i.name
                                      ORDER BY g.role),
                       'scopes', (SELECT coalesce(jsonb_agg(jsonb_build_object('scope', s.scope, 'role', s.role)
                                                            ORDER BY s.scope, s.role), '[]')
                                  FROM iot_auth.scope_role s WHERE s.issuer_name = i.name))), '{}')
                   FROM iot_auth.oauth_issuer i),
        'ip_rule', (SELECT coalesce(jsonb_object_agg(concat_ws(' ', p.effect, p.network, p.scope, p.scope_key),
                       jsonb_strip_nulls(to_jsonb(p) - 'rule_id')), '{}')
                    FROM iot_auth.ip_rule p WHERE p.scope <> 'DEVICE'),
        'reserved_name', (SELECT coalesce(jsonb_object_agg(n.name, '{}'::jsonb), '{}') FROM iot_auth.reserved_name n))
$$;

CREATE OR REPLACE FUNCTION iot_auth.import_issuer(name text, settings jsonb) RETURNS void
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
#variable_conflict use_column
BEGIN
    PERFORM iot_auth.check_members(format('issuer ''%s''', import_issuer.name), settings,
                                   iot_auth.setting_names('iot_auth.oauth_issuer') || '{scopes,roles}');
    INSERT INTO iot_auth.oauth_issuer (name, issuer, audience, jwks, jwks_url, status)
    SELECT import_issuer.name, s.issuer, s.audience, s.jwks, s.jwks_url, 'INACTIVE'
    FROM jsonb_populate_record(NULL::iot_auth.oauth_issuer, settings) s ON CONFLICT (name) DO NOTHING;
    -- What is dropped comes before what is set: an issuer has its keys from one place.
    PERFORM iot_auth.apply_settings('iot_auth.oauth_issuer', import_issuer.name, settings, '{}');
    DELETE FROM iot_auth.scope_role g WHERE g.issuer_name = import_issuer.name
        AND NOT coalesce(settings -> 'scopes', '[]') @> jsonb_build_array(jsonb_build_object('scope', g.scope, 'role', g.role));
    INSERT INTO iot_auth.scope_role (issuer_name, scope, role)
    SELECT import_issuer.name, s ->> 'scope', s ->> 'role' FROM jsonb_array_elements(settings -> 'scopes') s
    ON CONFLICT DO NOTHING;
    DELETE FROM iot_auth.issuer_role g WHERE g.issuer_name = import_issuer.name
        AND NOT coalesce(settings -> 'roles', '[]') ? g.role;
    INSERT INTO iot_auth.issuer_role (issuer_name, role)
    SELECT import_issuer.name, r FROM jsonb_array_elements_text(settings -> 'roles') r ON CONFLICT DO NOTHING;
END $$;

-- Revocations that have ended, also where nobody revokes anything more.  They count for nothing, so nobody is notified.
CREATE FUNCTION iot_auth.delete_ended_revocations() RETURNS void
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    PERFORM set_config('iot_auth.quiet', 'on', true);
    DELETE FROM iot_auth.token_revocation WHERE id IN (
        -- One that an issuer may still prolong stays for a year.  Another session's rows are left to it.
        SELECT r.id FROM iot_auth.token_revocation r
        WHERE r.until < now() - CASE WHEN r.until_default THEN interval '1 year' ELSE interval '1 day' END
        LIMIT 50000 FOR UPDATE SKIP LOCKED);
    PERFORM set_config('iot_auth.quiet', 'off', true);
END $$;

CREATE OR REPLACE FUNCTION iot_auth.broker_prune(p_event_age interval) RETURNS bigint
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    before text := current_setting('lock_timeout');
    removed bigint := 0;
    step bigint;
    kept record;
    longest interval := (SELECT CASE WHEN bool_or(keep IS NULL) THEN NULL ELSE max(keep) END FROM iot_auth.retention
                         WHERE kind NOT IN ('audit', 'node'));
BEGIN
    PERFORM set_config('lock_timeout', '200ms', true);
    DELETE FROM iot_auth.node n USING iot_auth.retention r
    WHERE r.kind = 'node' AND n.last_seen < now() - r.keep;
    GET DIAGNOSTICS removed = ROW_COUNT;
    DELETE FROM iot_auth.client_id_owner WHERE ctid = ANY (ARRAY(
        SELECT o.ctid FROM iot_auth.client_id_owner o
        WHERE NOT EXISTS (SELECT FROM iot_auth.node n WHERE n.node_name = o.node_name) LIMIT 50000 FOR UPDATE SKIP LOCKED));
    DELETE FROM iot_auth.client_id_release WHERE at < now() - interval '1 hour';
    DELETE FROM iot_auth.ca_usage_stale WHERE ctid = ANY (ARRAY(
        SELECT s.ctid FROM iot_auth.ca_usage_stale s JOIN iot_auth.ca c USING (ca_id) WHERE c.max_devices IS NULL
        LIMIT 50000 FOR UPDATE OF s SKIP LOCKED));
    DELETE FROM iot_auth.issuer_usage_stale WHERE ctid = ANY (ARRAY(
        SELECT s.ctid FROM iot_auth.issuer_usage_stale s JOIN iot_auth.oauth_issuer i ON i.name = s.issuer_name
        WHERE i.max_devices IS NULL LIMIT 50000 FOR UPDATE OF s SKIP LOCKED));
    PERFORM iot_auth.delete_ended_revocations();
    FOR kept IN SELECT kind, keep FROM iot_auth.retention
                WHERE kind NOT IN ('audit', 'node') AND (keep < longest OR keep < interval '31 days' OR
                                                         longest IS NULL AND keep IS NOT NULL) LOOP
        removed := removed + iot_auth.delete_events(kept.kind, kept.kind = 'event', now() - kept.keep);
    END LOOP;
    BEGIN
        FOR months_ahead IN 0 .. 2 LOOP
            PERFORM iot_auth.make_partition('event', months_ahead), iot_auth.make_partition('audit', months_ahead);
        END LOOP;
    EXCEPTION WHEN lock_not_available OR duplicate_table OR deadlock_detected THEN
        NULL; -- another broker is at it, or a dump runs
    END;
    BEGIN -- last, because this lock keeps writers out until the transaction ends
        step := iot_auth.drop_partition('event', now() - longest);
        IF step = 0 THEN
            step := iot_auth.drop_partition('audit', now() - (SELECT r.keep FROM iot_auth.retention r
                                                              WHERE r.kind = 'audit'));
        END IF;
        removed := removed + step;
    EXCEPTION WHEN lock_not_available OR undefined_table OR deadlock_detected THEN
        NULL;
    END;
    PERFORM set_config('lock_timeout', before, true);
    RETURN removed;
END $$;

COMMENT ON TABLE iot_auth.oauth_issuer IS 'Identity providers, whose access tokens admit apps or devices.';
COMMENT ON COLUMN iot_auth.oauth_issuer.principals IS 'What a token makes of a client: app or device.';
COMMENT ON COLUMN iot_auth.oauth_issuer.device_id_claim IS 'Claim that holds the device id, a JSON pointer.';
COMMENT ON COLUMN iot_auth.oauth_issuer.auto_registration IS 'Whether a token registers a device that is unknown.';
COMMENT ON COLUMN iot_auth.oauth_issuer.registered_status IS 'Status of devices that are registered so: ACTIVE or PENDING.';
COMMENT ON COLUMN iot_auth.oauth_issuer.max_devices IS 'Most devices of the issuer; NULL: no limit.';
COMMENT ON COLUMN iot_auth.oauth_issuer.max_registrations_per_minute IS 'Most automatic registrations in 60 seconds; NULL: no limit.';
COMMENT ON COLUMN iot_auth.oauth_issuer.client_id_templates IS 'MQTT client ids that its apps or devices may use.';
COMMENT ON COLUMN iot_auth.device.issuer_name IS 'Issuer with whose tokens it connects; NULL: none.';
COMMENT ON TABLE iot_auth.issuer_role IS 'Roles of all devices of an issuer.';
COMMENT ON COLUMN iot_auth.issuer_role.issuer_name IS 'Issuer.';
COMMENT ON COLUMN iot_auth.issuer_role.role IS 'Role.';
COMMENT ON TABLE iot_auth.issuer_usage IS 'Number of devices of each issuer that has quotas.';
COMMENT ON COLUMN iot_auth.issuer_usage.issuer_name IS 'Issuer.';
COMMENT ON COLUMN iot_auth.issuer_usage.devices IS 'Number of devices; -1: not counted yet.';
COMMENT ON TABLE iot_auth.issuer_usage_stale IS 'Issuers whose number of devices must be counted again.';
COMMENT ON COLUMN iot_auth.issuer_usage_stale.issuer_name IS 'Issuer.';
COMMENT ON VIEW iot_auth.broker_registered IS 'Devices without what they authenticate by, for the views that brokers read.';
COMMENT ON VIEW iot_auth.broker_issued_device IS 'Devices as brokers read them by their issuer and id.';
COMMENT ON VIEW iot_auth.broker_device IS
    'Devices as brokers read them: one row for each certificate, each pre-shared key and each device of an issuer.';
COMMENT ON FUNCTION iot_auth.register_issuer IS
    'registers an identity provider, whose tokens make apps or devices (`principals`). Without `jwks` and `jwks_url` its keys are found by discovery';
COMMENT ON FUNCTION iot_auth.set_issuer IS
    'changes the settings that are given; `reset` names settings that go back to their default; sessions whose claims would be read differently end';
COMMENT ON FUNCTION iot_auth.grant_issuer_role IS 'gives a role to all devices of an issuer whose `principals` are `device`';
COMMENT ON FUNCTION iot_auth.revoke_issuer_role IS 'takes a role from all devices of an issuer';
COMMENT ON FUNCTION iot_auth.create_device IS
    'registers a device without a certificate: of an issuer, with whose tokens it connects, or for pre-shared keys that are added later';
COMMENT ON FUNCTION iot_auth.issued_fingerprint IS 'Internal: the key under which brokers keep the record of an issuer''s device.';
COMMENT ON FUNCTION iot_auth.check_issuer_role_count IS 'Internal: trigger: at most 256 roles.';
COMMENT ON FUNCTION iot_auth.device_variables IS 'Internal: the variables of client id templates of an issuer of devices.';
COMMENT ON FUNCTION iot_auth.default_client_id_templates IS 'Internal: the default, which depends on principals.';
COMMENT ON FUNCTION iot_auth.fill_client_id_templates IS 'Internal: trigger: the default of the other kind of principals is replaced.';
COMMENT ON FUNCTION iot_auth.check_issuer_tenant IS 'Internal: trigger: the tenant of an issuer that has devices stays.';
COMMENT ON FUNCTION iot_auth.require_issuer_roles IS 'Internal: fails where roles cannot be granted to devices of an issuer.';
COMMENT ON FUNCTION iot_auth.owner_of IS 'Internal: to whom a device belongs, for messages.';
COMMENT ON FUNCTION iot_auth.issuer_usage_stale IS 'Internal: trigger: marks issuers whose devices must be counted again.';
COMMENT ON FUNCTION iot_auth.issuer_usage_forget IS 'Internal: trigger: devices are counted again after another quota.';
COMMENT ON FUNCTION iot_auth.issuer_usage_end IS 'Internal: trigger: a deleted issuer has no devices to count.';
COMMENT ON FUNCTION iot_auth.registration_record IS 'Internal: the record of an issuer''s device.';
COMMENT ON FUNCTION iot_auth.registration_issuer IS
    'Internal: the issuer''s row; where it has a quota, its registrations take turns from here on.';
COMMENT ON FUNCTION iot_auth.registration_issuer_count IS 'Internal: the number of devices of an issuer whose quotas are locked.';
COMMENT ON FUNCTION iot_auth.registration_issuer_refusal IS 'Internal: why an issuer does not register a device, as a reason; NULL: it does.';
COMMENT ON FUNCTION iot_auth.registration_issued_event IS 'Internal: the event of a registration by token.';
COMMENT ON FUNCTION iot_auth.registration_issued IS 'Internal: register one device that a token of the issuer names.';
COMMENT ON FUNCTION iot_auth.broker_register_issued IS 'Internal: A broker registers devices by token, many in one transaction.';
COMMENT ON FUNCTION iot_auth.remedy_of_issuer IS 'Internal: what would admit a device of an issuer.';
COMMENT ON FUNCTION iot_auth.delete_ended_revocations IS 'Internal: revocations of tokens that have ended.';

REVOKE ALL ON iot_auth.issuer_role, iot_auth.issuer_usage, iot_auth.issuer_usage_stale, iot_auth.broker_registered,
    iot_auth.broker_certificate_device, iot_auth.broker_issued_device FROM PUBLIC;
REVOKE ALL ON FUNCTION iot_auth.issued_fingerprint, iot_auth.check_issuer_role_count, iot_auth.device_variables,
    iot_auth.default_client_id_templates, iot_auth.fill_client_id_templates, iot_auth.check_issuer_tenant,
    iot_auth.require_issuer_roles, iot_auth.register_issuer, iot_auth.set_issuer, iot_auth.grant_issuer_role,
    iot_auth.revoke_issuer_role, iot_auth.create_device, iot_auth.owner_of, iot_auth.issuer_usage_stale,
    iot_auth.issuer_usage_forget, iot_auth.issuer_usage_end, iot_auth.registration_record, iot_auth.registration_issuer,
    iot_auth.registration_issuer_count, iot_auth.registration_issuer_refusal, iot_auth.registration_issued_event,
    iot_auth.registration_issued, iot_auth.broker_register_issued, iot_auth.remedy_of_issuer,
    iot_auth.delete_ended_revocations FROM PUBLIC;
GRANT SELECT, INSERT, UPDATE, DELETE, TRUNCATE ON iot_auth.issuer_role TO iot_auth_admin;
GRANT SELECT ON iot_auth.issuer_usage TO iot_auth_admin;
GRANT SELECT, INSERT ON iot_auth.issuer_usage_stale TO iot_auth_admin; -- by trigger
GRANT SELECT ON iot_auth.broker_registered, iot_auth.broker_certificate_device, iot_auth.broker_issued_device
    TO iot_auth_admin;
GRANT SELECT ON iot_auth.broker_certificate_device, iot_auth.broker_issued_device TO iot_auth_broker;
GRANT EXECUTE ON FUNCTION iot_auth.issued_fingerprint, iot_auth.device_variables, iot_auth.default_client_id_templates,
    iot_auth.require_issuer_roles, iot_auth.register_issuer, iot_auth.set_issuer, iot_auth.grant_issuer_role,
    iot_auth.revoke_issuer_role, iot_auth.create_device, iot_auth.owner_of, iot_auth.remedy_of_issuer
    TO iot_auth_admin;
GRANT EXECUTE ON FUNCTION iot_auth.broker_register_issued TO iot_auth_broker;
-- Functions that a view calls are checked against whoever reads the view.
GRANT EXECUTE ON FUNCTION iot_auth.issued_fingerprint TO iot_auth_broker;

INSERT INTO iot_auth.schema_version (version) VALUES (26);
$migration$;
EXCEPTION WHEN lock_not_available THEN
    RAISE EXCEPTION 'migration % was not applied: a table of schema iot_auth is locked by another session', this
        USING HINT = 'Apply the migrations again when that session (a dump, a long transaction) has ended.',
              ERRCODE = 'lock_not_available';
END $guard$;
COMMIT;

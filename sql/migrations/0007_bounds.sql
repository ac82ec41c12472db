-- SPDX-License-Identifier: ISC
-- No row can stop the others: sizes and ranges of every column that brokers read, and one PEM reader.
--
-- The CHECK constraints are NOT VALID, because an older row may break them, and they leave a REVOKED or INACTIVE row
-- alone: a bound must never refuse a revocation.  The views at the end return only values that the broker can decode,
-- whatever the row holds; column `fault` says why a row cannot be used, and the broker closes that row's own scope.

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
    this int := 7;
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

-- The texts of 0001 to 0006 in plain English, for registries that were made before those files had them: the functions
-- are created again as they are there, so that an upgraded schema equals a new one.

CREATE OR REPLACE FUNCTION iot_auth.value_problem(v text) RETURNS text
LANGUAGE sql IMMUTABLE PARALLEL SAFE
RETURN CASE
    WHEN v IS NULL THEN 'is missing'
    WHEN octet_length(v) = 0 THEN 'is empty'
    WHEN octet_length(v) > 128 THEN 'is longer than 128 bytes'
    WHEN starts_with(v, '$') THEN 'begins with ''$'''
    WHEN v COLLATE "C" ~ '[\u0001-\u001f\u007f-\u009f]' THEN 'contains a control character'
    WHEN v COLLATE "C" ~ '[+#/*]' THEN 'contains one of + # / *'
END;

CREATE OR REPLACE FUNCTION iot_auth.device_id_problem(v text) RETURNS text
LANGUAGE sql IMMUTABLE PARALLEL SAFE
RETURN CASE
    WHEN starts_with(v, 'app:') THEN 'begins with ''app:'', which is reserved for apps'
    ELSE iot_auth.value_problem(v)
END;

CREATE OR REPLACE FUNCTION iot_auth.issuer_name_problem(v text) RETURNS text
LANGUAGE sql IMMUTABLE PARALLEL SAFE
RETURN CASE
    WHEN v IS NULL THEN 'is missing'
    WHEN octet_length(v) NOT BETWEEN 1 AND 128 THEN 'must be 1 to 128 bytes long'
    WHEN v COLLATE "C" !~ '^[A-Za-z0-9_.-]+$' THEN 'must contain only letters, digits and _ . -'
END;

CREATE OR REPLACE FUNCTION iot_auth.text_problem(v text, most int) RETURNS text
LANGUAGE sql IMMUTABLE PARALLEL SAFE
RETURN CASE
    WHEN v IS NULL THEN 'is missing'
    WHEN octet_length(v) = 0 THEN 'is empty'
    WHEN octet_length(v) > most THEN 'is too long'
    WHEN v COLLATE "C" ~ '[\u0001-\u001f\u007f-\u009f]' THEN 'contains a control character'
END;

CREATE OR REPLACE FUNCTION iot_auth.scope_problem(v text) RETURNS text
LANGUAGE sql IMMUTABLE PARALLEL SAFE
RETURN CASE
    WHEN v IS NULL THEN 'is missing'
    WHEN octet_length(v) NOT BETWEEN 1 AND 256 THEN 'must be 1 to 256 bytes long'
    WHEN v COLLATE "C" !~ '^[\u0021\u0023-\u005b\u005d-\u007e]+$'
        THEN 'must contain only printable ASCII without space, " and \'
END;

CREATE OR REPLACE FUNCTION iot_auth.list_problem(list text[], most int) RETURNS text
LANGUAGE sql IMMUTABLE PARALLEL SAFE
RETURN CASE
    WHEN list IS NULL OR cardinality(list) = 0 THEN 'is empty'
    WHEN array_ndims(list) <> 1 THEN 'has more than one dimension'
    WHEN cardinality(list) > most THEN 'has too many elements'
    WHEN array_position(list, NULL) IS NOT NULL THEN 'contains a NULL'
END;

CREATE OR REPLACE FUNCTION iot_auth.der_looks_right(der bytea) RETURNS boolean
LANGUAGE plpgsql IMMUTABLE PARALLEL SAFE SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    total bigint := octet_length(der);
    octets int; -- number of length octets of the long form
    length bigint := 0;
BEGIN
    IF total < 8 OR get_byte(der, 0) <> 48 THEN
        RETURN false;
    END IF;
    IF get_byte(der, 1) < 128 THEN
        RETURN total = get_byte(der, 1) + 2 AND get_byte(der, 2) = 48;
    END IF;
    octets := get_byte(der, 1) - 128;
    IF octets NOT BETWEEN 1 AND 4 THEN
        RETURN false;
    END IF;
    FOR i IN 2 .. octets + 1 LOOP
        length := length * 256 + get_byte(der, i);
    END LOOP;
    RETURN total = length + octets + 2 AND get_byte(der, octets + 2) = 48;
END $$;

CREATE OR REPLACE FUNCTION iot_auth.client_id_templates_problem(templates text[], variables text) RETURNS text
LANGUAGE plpgsql IMMUTABLE PARALLEL SAFE SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    RETURN coalesce(iot_auth.list_problem(templates, 16),
                    (SELECT format('''%s'' %s', t, iot_auth.template_problem(t, true, variables))
                     FROM unnest(templates) WITH ORDINALITY u(t, n)
                     WHERE iot_auth.template_problem(t, true, variables) IS NOT NULL ORDER BY n LIMIT 1));
END $$;

CREATE OR REPLACE FUNCTION iot_auth.check_ca() RETURNS trigger
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    problem text;
BEGIN
    problem := iot_auth.template_problem(NEW.device_id_template, false, iot_auth.certificate_variables());
    IF problem IS NOT NULL THEN
        PERFORM iot_auth.fail(format('device_id_template ''%s'' %s', NEW.device_id_template, problem));
    END IF;
    problem := iot_auth.client_id_templates_problem(NEW.client_id_templates, iot_auth.client_id_variables());
    IF problem IS NOT NULL THEN
        PERFORM iot_auth.fail('client_id_templates ' || problem);
    END IF;
    RETURN NULL;
END $$;

CREATE OR REPLACE FUNCTION iot_auth.check_succession() RETURNS trigger
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    IF EXISTS (SELECT FROM iot_auth.ca a JOIN iot_auth.ca b ON a.replaces = b.ca_id
               WHERE NEW.ca_id IN (a.ca_id, b.ca_id) AND a.tenant IS DISTINCT FROM b.tenant) THEN
        PERFORM iot_auth.fail(format('CA ''%s'' and the CA that it replaces must have the same tenant',
                                     NEW.name));
    END IF;
    IF iot_auth.ca_succeeds(NEW.ca_id, NEW.ca_id) THEN
        PERFORM iot_auth.fail(format('CA ''%s'' must not replace itself, directly or through other CAs', NEW.name));
    END IF;
    RETURN NULL;
END $$;

CREATE OR REPLACE FUNCTION iot_auth.check_tenant_change() RETURNS trigger
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    IF EXISTS (SELECT FROM iot_auth.device WHERE ca_id = NEW.ca_id) THEN
        PERFORM iot_auth.fail(format('tenant of CA ''%s'' cannot be changed because the CA has devices', NEW.name),
                              'Set the tenant of the devices instead.', 'object_not_in_prerequisite_state');
    END IF;
    RETURN NULL;
END $$;

CREATE OR REPLACE FUNCTION iot_auth.check_certificate_ca() RETURNS trigger
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    stray record;
BEGIN
    SELECT c.device_id, encode(c.fingerprint, 'hex') AS fingerprint INTO stray
    FROM changed c JOIN iot_auth.device d USING (device_id)
    WHERE c.ca_id <> d.ca_id
      AND NOT (iot_auth.ca_succeeds(c.ca_id, d.ca_id) OR iot_auth.ca_succeeds(d.ca_id, c.ca_id))
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
    WHERE c.device_id = NEW.device_id AND c.ca_id <> NEW.ca_id
      AND NOT (iot_auth.ca_succeeds(c.ca_id, NEW.ca_id) OR iot_auth.ca_succeeds(NEW.ca_id, c.ca_id))
    LIMIT 1;
    IF FOUND THEN
        PERFORM iot_auth.fail(format('device ''%s'' has certificates of a CA that is not connected to the new CA by '
                                     'succession', NEW.device_id),
                              'Delete these certificates first, or see column replaces of iot_auth.ca.');
    END IF;
    RETURN NULL;
END $$;

CREATE OR REPLACE FUNCTION iot_auth.check_rule() RETURNS trigger
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    PERFORM iot_auth.fail(format('topic filter ''%s'' %s', NEW.topic_filter,
                                 iot_auth.topic_filter_problem(NEW.topic_filter)));
END $$;

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

CREATE OR REPLACE FUNCTION iot_auth.require(what text, value text, problem text) RETURNS void
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    IF problem IS NOT NULL THEN
        PERFORM iot_auth.fail(CASE WHEN value IS NULL THEN format('%s %s', what, problem)
                                   ELSE format('%s ''%s'' %s', what, left(value, 160), problem) END);
    END IF;
END $$;

CREATE OR REPLACE FUNCTION iot_auth.require_one_of(what text, value text, allowed text[]) RETURNS void
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    IF value IS NULL OR value <> ALL (allowed) THEN
        PERFORM iot_auth.fail(format('%s %s is unknown (it must be one of %s)', what,
                                     coalesce(quote_literal(left(value, 160)), 'NULL'),
                                     array_to_string(allowed, ', ')));
    END IF;
END $$;

CREATE OR REPLACE FUNCTION iot_auth.find_ca(name text) RETURNS iot_auth.ca
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    found_ca iot_auth.ca;
BEGIN
    SELECT * INTO found_ca FROM iot_auth.ca c WHERE c.name = find_ca.name;
    IF NOT FOUND THEN
        PERFORM iot_auth.fail(format('CA %s is not registered', coalesce(quote_literal(find_ca.name), 'NULL')),
                              'The names are in SELECT name FROM iot_auth.ca.', 'undefined_object');
    END IF;
    RETURN found_ca;
END $$;

CREATE OR REPLACE FUNCTION iot_auth.find_device(device_id text) RETURNS iot_auth.device
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    found_device iot_auth.device;
BEGIN
    SELECT * INTO found_device FROM iot_auth.device d WHERE d.device_id = find_device.device_id;
    IF NOT FOUND THEN
        PERFORM iot_auth.fail(format('device %s is not registered',
                                     coalesce(quote_literal(find_device.device_id), 'NULL')),
                              'The ids are in SELECT device_id FROM iot_auth.device.', 'undefined_object');
    END IF;
    RETURN found_device;
END $$;

CREATE OR REPLACE FUNCTION iot_auth.require_role(role text) RETURNS void
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    IF NOT EXISTS (SELECT FROM iot_auth.role r WHERE r.role = require_role.role) THEN
        PERFORM iot_auth.fail(format('role %s does not exist', coalesce(quote_literal(require_role.role), 'NULL')),
                              'Create the role with iot_auth.create_role.', 'undefined_object');
    END IF;
END $$;

CREATE OR REPLACE FUNCTION iot_auth.require_issuer(name text) RETURNS void
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    IF NOT EXISTS (SELECT FROM iot_auth.oauth_issuer i WHERE i.name = require_issuer.name) THEN
        PERFORM iot_auth.fail(format('issuer %s is not registered',
                                     coalesce(quote_literal(require_issuer.name), 'NULL')),
                              'The names are in SELECT name FROM iot_auth.oauth_issuer.', 'undefined_object');
    END IF;
END $$;

CREATE OR REPLACE FUNCTION iot_auth.register_ca(
    pem text, name text, auto_registration boolean DEFAULT false, registered_status text DEFAULT 'ACTIVE',
    device_id_template text DEFAULT '${cert.cn}', client_id_templates text[] DEFAULT ARRAY['${device_id}'],
    roles text[] DEFAULT ARRAY['device'], tenant text DEFAULT NULL, max_devices bigint DEFAULT NULL,
    max_registrations_per_minute int DEFAULT NULL, replaces text DEFAULT NULL) RETURNS bigint
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
#variable_conflict use_column
DECLARE
    new_id bigint;
    print bytea;
    existing_name text;
    role_name text;
    predecessor iot_auth.ca;
BEGIN
    PERFORM iot_auth.require('name', register_ca.name, iot_auth.value_problem(register_ca.name));
    print := sha256(iot_auth.require_pem('pem', register_ca.pem, 'CERTIFICATE'));
    PERFORM iot_auth.require('auto_registration', NULL,
        CASE WHEN register_ca.auto_registration IS NULL THEN 'is missing' END);
    PERFORM iot_auth.require_one_of('registered_status', register_ca.registered_status, ARRAY['ACTIVE', 'PENDING']);
    PERFORM iot_auth.require('device_id_template', register_ca.device_id_template,
        iot_auth.template_problem(register_ca.device_id_template, false, iot_auth.certificate_variables()));
    PERFORM iot_auth.require('client_id_templates', NULL,
        iot_auth.client_id_templates_problem(register_ca.client_id_templates, iot_auth.client_id_variables()));
    PERFORM iot_auth.require('tenant', register_ca.tenant,
        CASE WHEN register_ca.tenant IS NOT NULL THEN iot_auth.value_problem(register_ca.tenant) END);
    PERFORM iot_auth.require('max_devices', register_ca.max_devices::text,
        CASE WHEN register_ca.max_devices < 0 THEN 'must not be negative' END);
    PERFORM iot_auth.require('max_registrations_per_minute', register_ca.max_registrations_per_minute::text,
        CASE WHEN register_ca.max_registrations_per_minute < 0 THEN 'must not be negative' END);
    PERFORM iot_auth.require('roles', NULL,
        CASE WHEN cardinality(register_ca.roles) > 0 THEN iot_auth.list_problem(register_ca.roles, 64) END);
    FOREACH role_name IN ARRAY coalesce(register_ca.roles, '{}') LOOP
        PERFORM iot_auth.require_role(role_name);
    END LOOP;
    IF register_ca.replaces IS NOT NULL THEN
        predecessor := iot_auth.find_ca(register_ca.replaces);
        IF predecessor.tenant IS DISTINCT FROM register_ca.tenant THEN
            PERFORM iot_auth.fail(format('CA ''%s'' has %s, but a CA can be replaced only by a CA of the same tenant',
                                         predecessor.name,
                                         coalesce('tenant ' || quote_literal(predecessor.tenant), 'no tenant')));
        END IF;
    END IF;
    IF EXISTS (SELECT FROM iot_auth.ca c WHERE c.name = register_ca.name) THEN
        PERFORM iot_auth.fail(format('CA ''%s'' already exists', register_ca.name), 'Choose another name.',
                              'duplicate_object');
    END IF;
    SELECT c.name INTO existing_name FROM iot_auth.ca c WHERE c.fingerprint = print;
    IF FOUND THEN
        PERFORM iot_auth.fail(format('certificate is already registered as CA ''%s''', existing_name), NULL,
                              'duplicate_object');
    END IF;

    INSERT INTO iot_auth.ca (name, pem, fingerprint, auto_registration, registered_status, device_id_template,
                             client_id_templates, tenant, max_devices, max_registrations_per_minute, replaces)
    VALUES (register_ca.name, register_ca.pem, print, register_ca.auto_registration, register_ca.registered_status,
            register_ca.device_id_template, register_ca.client_id_templates, register_ca.tenant,
            register_ca.max_devices, register_ca.max_registrations_per_minute, predecessor.ca_id)
    RETURNING ca_id INTO new_id;
    INSERT INTO iot_auth.ca_role (ca_id, role) SELECT DISTINCT new_id, r FROM unnest(register_ca.roles) r;
    RETURN new_id;
END $$;

CREATE OR REPLACE FUNCTION iot_auth.add_crl(ca_name text, crl text) RETURNS void
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
#variable_conflict use_column
DECLARE
    target iot_auth.ca := iot_auth.find_ca(add_crl.ca_name);
    print bytea := sha256(iot_auth.require_pem('crl', add_crl.crl, 'X509 CRL'));
BEGIN
    IF EXISTS (SELECT FROM iot_auth.crl c WHERE c.ca_id = target.ca_id AND c.fingerprint = print) THEN
        PERFORM iot_auth.fail(format('CA ''%s'' already has this CRL', target.name), NULL, 'duplicate_object');
    END IF;
    INSERT INTO iot_auth.crl (ca_id, pem, fingerprint) VALUES (target.ca_id, add_crl.crl, print);
END $$;

CREATE OR REPLACE FUNCTION iot_auth.require_rotation(target iot_auth.device, issued_by iot_auth.ca, attributes jsonb)
RETURNS void LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    current_ca text := (SELECT c.name FROM iot_auth.ca c WHERE c.ca_id = target.ca_id);
BEGIN
    IF target.ca_id <> issued_by.ca_id AND NOT iot_auth.ca_succeeds(issued_by.ca_id, target.ca_id) THEN
        PERFORM iot_auth.fail(format('device ''%s'' already exists and belongs to CA ''%s'', which CA ''%s'' does '
                                     'not replace',
                                     target.device_id, current_ca, issued_by.name),
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
        WHERE device_id = target.device_id AND ca_id <> issued_by.ca_id;
    ELSE
        INSERT INTO iot_auth.device (device_id, ca_id, tenant, status, attributes)
        VALUES (register_device.device_id, issued_by.ca_id, issued_by.tenant, register_device.status,
                register_device.attributes);
    END IF;
    INSERT INTO iot_auth.device_certificate (fingerprint, device_id, ca_id, pem)
    VALUES (print, register_device.device_id, issued_by.ca_id, register_device.pem);
END $$;

CREATE OR REPLACE FUNCTION iot_auth.revoke_certificate(fingerprint_hex text) RETURNS void
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    hex text := lower(replace(fingerprint_hex, ':', ''));
BEGIN
    PERFORM iot_auth.require('fingerprint_hex', fingerprint_hex,
        CASE WHEN hex IS NULL OR hex !~ '^[0-9a-f]{64}$' THEN 'must be 64 hexadecimal digits (SHA-256)' END);
    UPDATE iot_auth.device_certificate SET status = 'REVOKED' WHERE fingerprint = decode(hex, 'hex');
    IF NOT FOUND THEN
        PERFORM iot_auth.fail(format('certificate %s is not registered', hex),
                              'Revoke a certificate that was never registered with a CRL: iot_auth.add_crl.',
                              'undefined_object');
    END IF;
END $$;

CREATE OR REPLACE FUNCTION iot_auth.create_role(role text) RETURNS void
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
#variable_conflict use_column
BEGIN
    PERFORM iot_auth.require('role', create_role.role, iot_auth.value_problem(create_role.role));
    INSERT INTO iot_auth.role (role) VALUES (create_role.role) ON CONFLICT DO NOTHING;
    IF NOT FOUND THEN
        PERFORM iot_auth.fail(format('role ''%s'' already exists', create_role.role), NULL, 'duplicate_object');
    END IF;
END $$;

CREATE OR REPLACE FUNCTION iot_auth.add_rule(role text, effect text, actions text[], topic_filter text,
                                             max_qos int DEFAULT 2, allow_retain boolean DEFAULT true) RETURNS bigint
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
#variable_conflict use_column
DECLARE
    known text[] := ARRAY['PUBLISH', 'SUBSCRIBE', 'RECEIVE'];
    action text;
    new_id bigint;
BEGIN
    PERFORM iot_auth.require_role(add_rule.role);
    PERFORM iot_auth.require_one_of('effect', add_rule.effect, ARRAY['ALLOW', 'DENY']);
    PERFORM iot_auth.require('actions', NULL, iot_auth.list_problem(add_rule.actions, 3));
    FOREACH action IN ARRAY add_rule.actions LOOP
        PERFORM iot_auth.require_one_of('action', action, known);
    END LOOP;
    PERFORM iot_auth.require('topic_filter', add_rule.topic_filter,
                             iot_auth.topic_filter_problem(add_rule.topic_filter));
    PERFORM iot_auth.require('max_qos', add_rule.max_qos::text,
        CASE WHEN add_rule.max_qos BETWEEN 0 AND 2 THEN NULL ELSE 'must be 0, 1 or 2' END);
    PERFORM iot_auth.require('allow_retain', NULL, CASE WHEN add_rule.allow_retain IS NULL THEN 'is missing' END);
    IF (add_rule.max_qos < 2 OR NOT add_rule.allow_retain)
        AND NOT (add_rule.effect = 'ALLOW' AND 'PUBLISH' = ANY (add_rule.actions)) THEN
        PERFORM iot_auth.fail('max_qos and allow_retain are valid only for an ALLOW of PUBLISH');
    END IF;
    SELECT r.rule_id INTO new_id FROM iot_auth.role_rule r
    WHERE r.role = add_rule.role AND r.topic_filter = add_rule.topic_filter AND r.effect = add_rule.effect
      AND r.actions @> add_rule.actions AND r.actions <@ add_rule.actions
      AND r.max_qos = add_rule.max_qos AND r.allow_retain = add_rule.allow_retain LIMIT 1;
    IF FOUND THEN
        PERFORM iot_auth.fail(format('role ''%s'' already has this rule (rule_id %s)', add_rule.role, new_id), NULL,
                              'duplicate_object');
    END IF;
    INSERT INTO iot_auth.role_rule (role, effect, actions, topic_filter, max_qos, allow_retain)
    VALUES (add_rule.role, add_rule.effect, add_rule.actions, add_rule.topic_filter, add_rule.max_qos,
            add_rule.allow_retain)
    RETURNING rule_id INTO new_id;
    RETURN new_id;
END $$;

CREATE OR REPLACE FUNCTION iot_auth.remove_rule(rule_id bigint) RETURNS void
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
#variable_conflict use_column
BEGIN
    DELETE FROM iot_auth.role_rule WHERE rule_id = remove_rule.rule_id;
    IF NOT FOUND THEN
        PERFORM iot_auth.fail(format('rule %s does not exist', coalesce(remove_rule.rule_id::text, 'NULL')),
                              'The rules are in SELECT * FROM iot_auth.role_rule.', 'undefined_object');
    END IF;
END $$;

CREATE OR REPLACE FUNCTION iot_auth.grant_ca_role(ca_name text, role text) RETURNS void
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    target iot_auth.ca := iot_auth.find_ca(grant_ca_role.ca_name);
BEGIN
    PERFORM iot_auth.require_role(grant_ca_role.role);
    INSERT INTO iot_auth.ca_role (ca_id, role) VALUES (target.ca_id, grant_ca_role.role) ON CONFLICT DO NOTHING;
    IF NOT FOUND THEN
        PERFORM iot_auth.fail(format('CA ''%s'' already has role ''%s''', target.name, grant_ca_role.role), NULL,
                              'duplicate_object');
    END IF;
END $$;

CREATE OR REPLACE FUNCTION iot_auth.grant_device_role(device_id text, role text) RETURNS void
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
#variable_conflict use_column
DECLARE
    target iot_auth.device := iot_auth.find_device(grant_device_role.device_id);
BEGIN
    PERFORM iot_auth.require_role(grant_device_role.role);
    INSERT INTO iot_auth.device_role (device_id, role) VALUES (target.device_id, grant_device_role.role)
        ON CONFLICT DO NOTHING;
    IF NOT FOUND THEN
        PERFORM iot_auth.fail(format('device ''%s'' already has role ''%s''', target.device_id, grant_device_role.role),
                              NULL, 'duplicate_object');
    END IF;
END $$;

CREATE OR REPLACE FUNCTION iot_auth.revoke_device_role(device_id text, role text) RETURNS void
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    target iot_auth.device := iot_auth.find_device(revoke_device_role.device_id);
BEGIN
    PERFORM iot_auth.require_role(revoke_device_role.role);
    DELETE FROM iot_auth.device_role r WHERE r.device_id = target.device_id AND r.role = revoke_device_role.role;
    IF NOT FOUND THEN
        PERFORM iot_auth.fail(format('device ''%s'' does not have role ''%s'' of its own', target.device_id,
                                     revoke_device_role.role),
                              'The role may be granted to the CA of the device: iot_auth.revoke_ca_role.',
                              'undefined_object');
    END IF;
END $$;

CREATE OR REPLACE FUNCTION iot_auth.map_scope(issuer_name text, scope text, role text) RETURNS void
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    PERFORM iot_auth.require_issuer(map_scope.issuer_name);
    PERFORM iot_auth.require_role(map_scope.role);
    PERFORM iot_auth.require('scope', map_scope.scope, iot_auth.scope_problem(map_scope.scope));
    INSERT INTO iot_auth.scope_role (issuer_name, scope, role)
    VALUES (map_scope.issuer_name, map_scope.scope, map_scope.role)
    ON CONFLICT DO NOTHING;
    IF NOT FOUND THEN
        PERFORM iot_auth.fail(format('scope ''%s'' of issuer ''%s'' already has role ''%s''', map_scope.scope,
                                     map_scope.issuer_name, map_scope.role),
                              NULL, 'duplicate_object');
    END IF;
END $$;

CREATE OR REPLACE FUNCTION iot_auth.unmap_scope(issuer_name text, scope text, role text) RETURNS void
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    PERFORM iot_auth.require_issuer(unmap_scope.issuer_name);
    DELETE FROM iot_auth.scope_role s
    WHERE s.issuer_name = unmap_scope.issuer_name AND s.scope = unmap_scope.scope AND s.role = unmap_scope.role;
    IF NOT FOUND THEN
        PERFORM iot_auth.fail(format('scope %s of issuer ''%s'' does not have role %s',
                                     coalesce(quote_literal(unmap_scope.scope), 'NULL'), unmap_scope.issuer_name,
                                     coalesce(quote_literal(unmap_scope.role), 'NULL')),
                              'The mappings are in SELECT * FROM iot_auth.scope_role.', 'undefined_object');
    END IF;
END $$;

CREATE OR REPLACE FUNCTION iot_auth.require_scope(scope text, scope_key text) RETURNS void
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    PERFORM iot_auth.require_one_of('scope', scope, ARRAY['GLOBAL', 'CA', 'DEVICE', 'ISSUER']);
    IF scope = 'GLOBAL' AND scope_key IS NOT NULL THEN
        PERFORM iot_auth.fail('scope GLOBAL has no scope_key',
                              'Omit scope_key, or choose scope CA, DEVICE or ISSUER.');
    ELSIF scope <> 'GLOBAL' AND scope_key IS NULL THEN
        PERFORM iot_auth.fail(format('scope %s requires a scope_key', scope),
                              'The key is the name of the CA, the device id, or the name of the issuer.');
    ELSIF scope = 'CA' THEN
        PERFORM iot_auth.find_ca(scope_key);
    ELSIF scope = 'DEVICE' THEN
        PERFORM iot_auth.find_device(scope_key);
    ELSIF scope = 'ISSUER' THEN
        PERFORM iot_auth.require_issuer(scope_key);
    END IF;
END $$;

CREATE OR REPLACE FUNCTION iot_auth.add_ip_rule(effect text, network cidr, scope text, scope_key text,
                                                expires_at timestamptz)
RETURNS bigint LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
#variable_conflict use_column
DECLARE
    new_id bigint;
BEGIN
    PERFORM iot_auth.require('network', NULL, CASE WHEN add_ip_rule.network IS NULL THEN 'is missing' END);
    PERFORM iot_auth.require_scope(add_ip_rule.scope, add_ip_rule.scope_key);
    PERFORM iot_auth.require('expires_at', add_ip_rule.expires_at::text,
        CASE WHEN NOT isfinite(add_ip_rule.expires_at) THEN 'must be finite (omit it for a rule that does not expire)'
             WHEN add_ip_rule.expires_at <= now() THEN 'is in the past' END);
    INSERT INTO iot_auth.ip_rule (effect, network, scope, scope_key, expires_at)
    VALUES (add_ip_rule.effect, add_ip_rule.network, add_ip_rule.scope, add_ip_rule.scope_key, add_ip_rule.expires_at)
    ON CONFLICT DO NOTHING RETURNING rule_id INTO new_id;
    IF new_id IS NULL THEN
        SELECT r.rule_id INTO new_id FROM iot_auth.ip_rule r
        WHERE r.effect = add_ip_rule.effect AND r.network = add_ip_rule.network AND r.scope = add_ip_rule.scope
          AND r.scope_key IS NOT DISTINCT FROM add_ip_rule.scope_key;
        PERFORM iot_auth.fail(format('this %s rule already exists (rule_id %s)', add_ip_rule.effect, new_id),
                              'To change its expiry, remove the rule first: iot_auth.remove_ip_rule.',
                              'duplicate_object');
    END IF;
    RETURN new_id;
END $$;

CREATE OR REPLACE FUNCTION iot_auth.remove_ip_rule(rule_id bigint) RETURNS void
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
#variable_conflict use_column
BEGIN
    DELETE FROM iot_auth.ip_rule WHERE rule_id = remove_ip_rule.rule_id;
    IF NOT FOUND THEN
        PERFORM iot_auth.fail(format('IP rule %s does not exist', coalesce(remove_ip_rule.rule_id::text, 'NULL')),
                              'The rules are in SELECT * FROM iot_auth.ip_rule.', 'undefined_object');
    END IF;
END $$;

CREATE OR REPLACE TRIGGER ca_revoked_is_final BEFORE UPDATE ON iot_auth.ca FOR EACH ROW
    WHEN (OLD.status = 'REVOKED' AND NEW.status <> 'REVOKED')
    EXECUTE FUNCTION iot_auth.refuse('a REVOKED CA stays REVOKED', 'Register another CA.');
CREATE OR REPLACE TRIGGER device_revoked_is_final BEFORE UPDATE ON iot_auth.device FOR EACH ROW
    WHEN (OLD.status = 'REVOKED' AND NEW.status <> 'REVOKED')
    EXECUTE FUNCTION iot_auth.refuse('a REVOKED device stays REVOKED',
                                     'Delete the device to allow a new registration.');
CREATE OR REPLACE TRIGGER device_id_is_fixed BEFORE UPDATE ON iot_auth.device FOR EACH ROW
    WHEN (OLD.device_id <> NEW.device_id)
    EXECUTE FUNCTION iot_auth.refuse('the id of a device cannot be changed');
CREATE OR REPLACE TRIGGER certificate_revoked_is_final BEFORE UPDATE ON iot_auth.device_certificate FOR EACH ROW
    WHEN (OLD.status = 'REVOKED' AND NEW.status <> 'REVOKED')
    EXECUTE FUNCTION iot_auth.refuse('a REVOKED certificate stays REVOKED', 'Issue a new certificate to the device.');
CREATE OR REPLACE TRIGGER certificate_identity_is_fixed BEFORE UPDATE ON iot_auth.device_certificate FOR EACH ROW
    WHEN (OLD.fingerprint <> NEW.fingerprint OR OLD.device_id <> NEW.device_id OR OLD.ca_id <> NEW.ca_id)
    EXECUTE FUNCTION iot_auth.refuse('fingerprint, device and CA of a certificate cannot be changed');
CREATE OR REPLACE TRIGGER role_name_is_fixed BEFORE UPDATE ON iot_auth.role FOR EACH ROW
    WHEN (OLD.role <> NEW.role)
    EXECUTE FUNCTION iot_auth.refuse('the name of a role cannot be changed');
CREATE OR REPLACE TRIGGER issuer_name_is_fixed BEFORE UPDATE ON iot_auth.oauth_issuer FOR EACH ROW
    WHEN (OLD.name <> NEW.name)
    EXECUTE FUNCTION iot_auth.refuse('the name of an issuer cannot be changed');

-- Values

-- A JSON value of at most `most` bytes of text.  Numbers come first: 1e131071 is a few bytes in the table and 131 KB of
-- text, so that a small value could exceed the memory of a whole answer.
CREATE FUNCTION iot_auth.json_problem(j jsonb, most int) RETURNS text
LANGUAGE sql IMMUTABLE PARALLEL SAFE
RETURN CASE
    WHEN j IS NULL OR j = '{}' THEN NULL
    WHEN pg_column_size(j) > most THEN 'is longer than ' || most || ' bytes'
    WHEN EXISTS (SELECT FROM jsonb_path_query(j, 'strict $.** ? (@.type() == "number")') n
                 WHERE abs(n::numeric) >= 1e30 OR scale(n::numeric) > 30)
        THEN 'contains a number of more than 30 digits before or after the decimal point'
    WHEN octet_length(j::text) > most THEN 'is longer than ' || most || ' bytes'
END;

-- A list of 1 to `most` texts of at most `bytes` bytes each, without NULL, in one dimension.
CREATE FUNCTION iot_auth.texts_problem(list text[], most int, bytes int) RETURNS text
LANGUAGE sql IMMUTABLE PARALLEL SAFE
RETURN coalesce(
    iot_auth.list_problem(list, most),
    CASE WHEN EXISTS (SELECT FROM unnest(list) t WHERE octet_length(t) > bytes)
         THEN 'contains an element longer than ' || bytes || ' bytes' END);

CREATE FUNCTION iot_auth.is_blank(v text) RETURNS boolean LANGUAGE sql IMMUTABLE PARALLEL SAFE
RETURN v COLLATE "C" ~ '^[\s\u007f-\u00a0\u1680\u2000-\u200f\u2028-\u202f\u205f\u3000\ufeff]*$';

CREATE FUNCTION iot_auth.has_blank(v text) RETURNS boolean LANGUAGE sql IMMUTABLE PARALLEL SAFE
RETURN v COLLATE "C" ~ '[\s\u007f-\u00a0\u1680\u2000-\u200f\u2028-\u202f\u205f\u3000\ufeff]';

-- One line without control characters, of at most `most` bytes: for texts that brokers report.
CREATE FUNCTION iot_auth.bounded_text(v text, most int) RETURNS text LANGUAGE sql IMMUTABLE PARALLEL SAFE
RETURN regexp_replace(CASE WHEN octet_length(v) <= most THEN v ELSE left(v, most / 4) END,
                      '[\u0001-\u001f\u007f-\u009f]', '?', 'g');

-- A PL/pgSQL body is parsed under the caller's standard_conforming_strings, a SQL function's RETURN is not: no literal
-- with a backslash stands in the former.
CREATE FUNCTION iot_auth.one_line(v text) RETURNS text LANGUAGE sql IMMUTABLE PARALLEL SAFE
RETURN regexp_replace(v, '[\u0001-\u001f\u007f-\u009f]', '?', 'g');

CREATE OR REPLACE FUNCTION iot_auth.fail(message text, hint text DEFAULT NULL,
                                         code text DEFAULT 'invalid_parameter_value') RETURNS void
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    message := iot_auth.one_line(message);
    IF hint IS NULL THEN
        RAISE EXCEPTION USING MESSAGE = message, ERRCODE = code;
    END IF;
    RAISE EXCEPTION USING MESSAGE = message, HINT = hint, ERRCODE = code;
END $$;

ALTER TABLE iot_auth.ca
    ADD CONSTRAINT ca_sizes CHECK (status = 'REVOKED' OR
        octet_length(pem) <= 65536 AND octet_length(device_id_template) <= 512 AND
        iot_auth.texts_problem(client_id_templates, 16, 512) IS NULL) NOT VALID,
    ADD CONSTRAINT ca_parsed_sizes CHECK (octet_length(subject) <= 2048 AND octet_length(problem) <= 2048) NOT VALID;
ALTER TABLE iot_auth.crl
    ADD CONSTRAINT crl_size CHECK (octet_length(pem) <= 67108864) NOT VALID;
ALTER TABLE iot_auth.device
    ADD CONSTRAINT device_attributes_size CHECK (status = 'REVOKED' OR attributes = '{}' OR
        iot_auth.json_problem(attributes, 65536) IS NULL) NOT VALID;
ALTER TABLE iot_auth.device_certificate
    ADD COLUMN problem text, -- set by the plugin: why this certificate admits no device, or a warning
    ADD CONSTRAINT certificate_sizes CHECK (status = 'REVOKED' OR
        (pem IS NULL OR octet_length(pem) <= 65536) AND (serial IS NULL OR octet_length(serial) <= 128) AND
        (subject IS NULL OR octet_length(subject) <= 2048) AND (problem IS NULL OR octet_length(problem) <= 2048))
        NOT VALID;
ALTER TABLE iot_auth.role_rule
    ADD CONSTRAINT rule_problem_size CHECK (octet_length(problem) <= 2048) NOT VALID;
ALTER TABLE iot_auth.oauth_issuer
    DROP CONSTRAINT issuer_algorithms_known, -- with the names of RFC 9864
    ADD CONSTRAINT issuer_algorithms_known CHECK (algorithms <@ ARRAY[
        'RS256', 'RS384', 'RS512', 'PS256', 'PS384', 'PS512', 'ES256', 'ES384', 'ES512', 'EdDSA', 'Ed25519', 'Ed448',
        'ESP256', 'ESP384', 'ESP512']),
    ADD COLUMN note text, -- set by the plugin: remarks about the keys that are not problems
    ADD CONSTRAINT issuer_sizes CHECK (status = 'INACTIVE' OR
        iot_auth.texts_problem(audience, 64, 512) IS NULL AND iot_auth.texts_problem(algorithms, 16, 16) IS NULL AND
        iot_auth.texts_problem(token_types, 16, 128) IS NULL AND
        iot_auth.texts_problem(client_id_templates, 16, 512) IS NULL AND
        (jwks_url IS NULL OR octet_length(jwks_url) <= 2048) AND iot_auth.json_problem(jwks, 262144) IS NULL)
        NOT VALID,
    ADD CONSTRAINT issuer_parsed_sizes CHECK (octet_length(problem) <= 2048 AND octet_length(note) <= 2048) NOT VALID;
ALTER TABLE iot_auth.node
    ADD CONSTRAINT node_sizes CHECK (octet_length(node_name) BETWEEN 1 AND 256 AND
        iot_auth.json_problem(counters, 65536) IS NULL) NOT VALID;

-- A principal with more than 256 different roles is denied everything (acl/policy.h): refuse the row that exceeds it.
CREATE FUNCTION iot_auth.check_role_count() RETURNS trigger
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    holder text;
BEGIN
    IF TG_TABLE_NAME = 'ca_role' THEN
        SELECT c.name INTO holder FROM iot_auth.ca c
        WHERE c.ca_id IN (SELECT n.ca_id FROM new_rows n)
          AND (SELECT count(*) FROM (SELECT FROM iot_auth.ca_role r WHERE r.ca_id = c.ca_id LIMIT 257) few) > 256
        LIMIT 1;
    ELSIF EXISTS (SELECT FROM iot_auth.device_role OFFSET 256 LIMIT 1) THEN
        SELECT d.device_id INTO holder FROM (SELECT DISTINCT n.device_id FROM new_rows n) d
        WHERE (SELECT count(*) FROM (SELECT FROM iot_auth.device_role r WHERE r.device_id = d.device_id LIMIT 257) few)
              > 256 LIMIT 1;
    END IF;
    IF holder IS NOT NULL THEN
        PERFORM iot_auth.fail(format('''%s'' would have more than 256 roles', holder),
                              'Combine the rules of several roles into one role.');
    END IF;
    RETURN NULL;
END $$;
CREATE TRIGGER role_count AFTER INSERT ON iot_auth.ca_role REFERENCING NEW TABLE AS new_rows
    FOR EACH STATEMENT EXECUTE FUNCTION iot_auth.check_role_count();
CREATE TRIGGER role_count AFTER INSERT ON iot_auth.device_role REFERENCING NEW TABLE AS new_rows
    FOR EACH STATEMENT EXECUTE FUNCTION iot_auth.check_role_count();

-- DER and PEM

-- One element of DER (X.690 section 8.1): its tag, where its content begins, where the next element begins.  All NULL
-- where there is no complete element at `at`.
CREATE FUNCTION iot_auth.der_element(der bytea, at int, OUT tag int, OUT content int, OUT next int)
LANGUAGE plpgsql IMMUTABLE PARALLEL SAFE SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    total int := octet_length(der);
    octets int;
    length bigint;
BEGIN
    IF at IS NULL OR at + 2 > total THEN
        RETURN;
    END IF;
    length := get_byte(der, at + 1);
    content := at + 2;
    IF length >= 128 THEN
        octets := length - 128;
        IF octets NOT BETWEEN 1 AND 4 OR content + octets > total THEN
            content := NULL;
            RETURN;
        END IF;
        length := 0;
        FOR i IN content .. content + octets - 1 LOOP
            length := length * 256 + get_byte(der, i);
        END LOOP;
        content := content + octets;
    END IF;
    IF content + length > total THEN
        content := NULL;
        RETURN;
    END IF;
    tag := get_byte(der, at);
    next := content + length;
END $$;

-- SHA-256 over subject and public key of a certificate (RFC 5280 section 4.1), or NULL where this is no certificate.
-- CAs with the same value are one CA to the chain verification: the status of one counts for all.
CREATE FUNCTION iot_auth.certificate_name_key_hash(der bytea) RETURNS bytea
LANGUAGE plpgsql IMMUTABLE PARALLEL SAFE SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    e record := iot_auth.der_element(der, 0);
    at int;
    first int;
    subject bytea;
BEGIN
    IF e.tag IS DISTINCT FROM 48 OR e.next <> octet_length(der) THEN
        RETURN NULL;
    END IF;
    e := iot_auth.der_element(der, e.content); -- tbsCertificate
    IF e.tag IS DISTINCT FROM 48 THEN
        RETURN NULL;
    END IF;
    at := e.content;
    IF get_byte(der, at) = 160 THEN -- version
        e := iot_auth.der_element(der, at);
        at := e.next;
    END IF;
    e := iot_auth.der_element(der, at);
    IF e.tag IS DISTINCT FROM 2 THEN -- serialNumber
        RETURN NULL;
    END IF;
    FOR field IN 1 .. 5 LOOP -- signature, issuer, validity, subject, subjectPublicKeyInfo
        first := e.next;
        e := iot_auth.der_element(der, first);
        IF e.tag IS DISTINCT FROM 48 THEN
            RETURN NULL;
        END IF;
        IF field = 4 THEN
            subject := substr(der, first + 1, e.next - first);
        END IF;
    END LOOP;
    RETURN sha256(subject || substr(der, first + 1, e.next - first));
END $$;

-- The PEM form of RFC 7468 section 2: lines of 64 characters.
CREATE FUNCTION iot_auth.pem_encode(der bytea, label text) RETURNS text
LANGUAGE plpgsql IMMUTABLE PARALLEL SAFE SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    RETURN format(E'-----BEGIN %s-----\n', label)
        || (SELECT string_agg(encode(substr(der, i, 48), 'base64'), E'\n' ORDER BY i)
            FROM generate_series(1, octet_length(der), 48) i)
        || format(E'\n-----END %s-----\n', label);
END $$;

-- The only PEM reader: whatever it accepts is stored in canonical form, which is what the broker reads.  It accepts one
-- block with that label on one line or many, with any line ends, indented, with blank lines, and with text in front of
-- it, as `openssl x509 -text` and editors leave it; only blanks may follow.
CREATE OR REPLACE FUNCTION iot_auth.pem_decode(pem text, label text, OUT der bytea, OUT problem text)
LANGUAGE plpgsql IMMUTABLE PARALLEL SAFE SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    most int := CASE label WHEN 'CERTIFICATE' THEN 65536 ELSE 67108864 END;
    head text := format('-----BEGIN %s-----', label);
    tail text := format('-----END %s-----', label);
    starts int;
    ends int;
    after text;
BEGIN
    IF octet_length(pem) > 2 * most THEN
        problem := format('is longer than %s bytes', 2 * most);
        RETURN;
    END IF;
    starts := strpos(pem, head);
    ends := strpos(pem, tail);
    after := substr(pem, ends + length(tail));
    problem := CASE
        WHEN pem IS NULL OR iot_auth.is_blank(pem) THEN 'is empty'
        WHEN strpos(pem, 'PRIVATE KEY-----') > 0 THEN 'contains a private key, which must not be stored in the database'
        WHEN starts = 0 AND strpos(pem, '-----BEGIN ') > 0 THEN format('is PEM, but contains no %s', label)
        WHEN starts = 0 THEN format('contains no line ''%s'' (is it DER, or another file?)', head)
        WHEN ends < starts THEN format('contains no line ''%s''', tail)
        WHEN strpos(after, head) > 0 THEN format('contains more than one %s (one is expected)', label)
        WHEN NOT iot_auth.is_blank(after) OR strpos(left(pem, starts - 1), '-----BEGIN ') > 0
            THEN format('contains more than the one %s', label)
    END;
    IF problem IS NOT NULL THEN
        RETURN;
    END IF;
    BEGIN
        der := decode(substr(pem, starts + length(head), ends - starts - length(head)), 'base64');
    EXCEPTION WHEN invalid_parameter_value THEN
        problem := 'is not base64 between the BEGIN and END lines';
        RETURN;
    END;
    IF NOT iot_auth.der_looks_right(der)
        OR label = 'CERTIFICATE' AND iot_auth.certificate_name_key_hash(der) IS NULL THEN
        problem := format('does not encode a %s (truncated or damaged)', label);
    ELSIF (octet_length(der) + 2) / 3 * 4 + (octet_length(der) + 47) / 48 + 60 > most THEN -- in canonical form
        problem := format('is longer than %s bytes', most);
    END IF;
    IF problem IS NOT NULL THEN
        der := NULL;
    END IF;
END $$;

-- Set NEW.pem to its canonical form and NEW.fingerprint to that of the pem, or check it.  The fingerprint of the
-- previous pem counts as omitted.  Argument: the PEM label.
CREATE OR REPLACE FUNCTION iot_auth.fill_fingerprint() RETURNS trigger
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    decoded record := iot_auth.pem_decode(NEW.pem, TG_ARGV[0]);
BEGIN
    IF decoded.problem IS NOT NULL THEN
        PERFORM iot_auth.fail(format('%s.pem %s', TG_TABLE_NAME, decoded.problem));
    END IF;
    IF NEW.fingerprint IS NULL OR TG_OP = 'UPDATE' AND NEW.pem <> OLD.pem AND NEW.fingerprint = OLD.fingerprint THEN
        NEW.fingerprint := sha256(decoded.der);
    END IF;
    IF NEW.fingerprint <> sha256(decoded.der) THEN
        PERFORM iot_auth.fail(format('%s.fingerprint is not the SHA-256 of the DER in pem', TG_TABLE_NAME),
                              'Omit the fingerprint: it is computed from pem.');
    END IF;
    NEW.pem := iot_auth.pem_encode(decoded.der, TG_ARGV[0]);
    RETURN NEW;
END $$;

-- The pem of a CA may be written again as long as it is the same certificate: so a row that an older version stored in
-- a form that the broker cannot read can be corrected.
CREATE TRIGGER ca_fingerprint_change BEFORE UPDATE ON iot_auth.ca FOR EACH ROW
    WHEN (NEW.pem <> OLD.pem)
    EXECUTE FUNCTION iot_auth.fill_fingerprint('CERTIFICATE');
CREATE OR REPLACE TRIGGER ca_identity_is_fixed BEFORE UPDATE ON iot_auth.ca FOR EACH ROW
    WHEN (OLD.ca_id <> NEW.ca_id OR OLD.name <> NEW.name OR OLD.fingerprint <> NEW.fingerprint)
    EXECUTE FUNCTION iot_auth.refuse('name and certificate of a CA cannot be changed',
                                     'Register the new certificate as a CA that replaces this CA.');
CREATE OR REPLACE TRIGGER crl_fingerprint BEFORE INSERT OR UPDATE OF pem, fingerprint ON iot_auth.crl FOR EACH ROW
    EXECUTE FUNCTION iot_auth.fill_fingerprint('X509 CRL');

ALTER TABLE iot_auth.ca ADD COLUMN name_key_hash bytea; -- see certificate_name_key_hash; computed from pem
CREATE FUNCTION iot_auth.fill_name_key_hash() RETURNS trigger
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    NEW.name_key_hash := iot_auth.certificate_name_key_hash((iot_auth.pem_decode(NEW.pem, 'CERTIFICATE')).der);
    RETURN NEW;
END $$;
CREATE TRIGGER ca_name_key_hash BEFORE INSERT OR UPDATE OF pem, name_key_hash ON iot_auth.ca FOR EACH ROW
    EXECUTE FUNCTION iot_auth.fill_name_key_hash();
CREATE INDEX ca_name_key_hash ON iot_auth.ca (name_key_hash);

-- What is stored already gets the canonical form, where it can be decoded and where that is not what it has.
ALTER TABLE iot_auth.ca DISABLE TRIGGER USER;
ALTER TABLE iot_auth.crl DISABLE TRIGGER USER;
ALTER TABLE iot_auth.device_certificate DISABLE TRIGGER USER;
UPDATE iot_auth.ca c SET pem = iot_auth.pem_encode(d.der, 'CERTIFICATE'),
                         name_key_hash = iot_auth.certificate_name_key_hash(d.der)
FROM (SELECT ca_id, (iot_auth.pem_decode(pem, 'CERTIFICATE')).der FROM iot_auth.ca) d
WHERE c.ca_id = d.ca_id AND sha256(d.der) = c.fingerprint;
UPDATE iot_auth.crl c SET pem = iot_auth.pem_encode(d.der, 'X509 CRL')
FROM (SELECT crl_id, (iot_auth.pem_decode(pem, 'X509 CRL')).der FROM iot_auth.crl) d
WHERE c.crl_id = d.crl_id AND sha256(d.der) = c.fingerprint AND c.pem <> iot_auth.pem_encode(d.der, 'X509 CRL');
UPDATE iot_auth.device_certificate c SET pem = iot_auth.pem_encode(d.der, 'CERTIFICATE')
FROM (SELECT fingerprint, (iot_auth.pem_decode(pem, 'CERTIFICATE')).der FROM iot_auth.device_certificate
      WHERE pem IS NOT NULL AND serial IS NULL) d
WHERE c.fingerprint = d.fingerprint AND sha256(d.der) = c.fingerprint
  AND c.pem <> iot_auth.pem_encode(d.der, 'CERTIFICATE');
ALTER TABLE iot_auth.ca ENABLE TRIGGER USER;
ALTER TABLE iot_auth.crl ENABLE TRIGGER USER;
ALTER TABLE iot_auth.device_certificate ENABLE TRIGGER USER;
DO $$
DECLARE
    t text;
    event text;
BEGIN
    -- ENABLE TRIGGER USER made them ordinary triggers: see 0003.
    FOREACH t IN ARRAY ARRAY['ca', 'crl', 'device_certificate'] LOOP
        FOREACH event IN ARRAY ARRAY['insert', 'update', 'delete', 'truncate'] LOOP
            EXECUTE format('ALTER TABLE iot_auth.%I ENABLE ALWAYS TRIGGER notify_%s', t, event);
        END LOOP;
    END LOOP;
END $$;

-- Templates: the variables of a certificate, with splitters (x509/identity.c has the grammar).

CREATE OR REPLACE FUNCTION iot_auth.certificate_variables() RETURNS text LANGUAGE sql IMMUTABLE PARALLEL SAFE
RETURN 'cert.cn cert.serial cert.fingerprint cert.subject cert.subject.O cert.subject.OU cert.subject.serialNumber '
       'cert.subject.UID cert.san.dns cert.san.uri cert.san.email cert.san.ip cert.san.hwserial cert.san.othername.OID '
       'ca tenant';

-- A variable as it is listed: claim.NAME for a claim, cert.san.othername.OID for any OID, a certificate's field without
-- its splitter `|field:SEPARATOR,N`, `|prefix:TEXT` or `|path:N`.
CREATE FUNCTION iot_auth.variable_name(v text) RETURNS text LANGUAGE sql IMMUTABLE PARALLEL SAFE
RETURN CASE
    WHEN v COLLATE "C" ~ '^claim\.[^+#/*${}]{1,128}$' THEN 'claim.NAME'
    ELSE regexp_replace(
        CASE WHEN v COLLATE "C" ~ '^cert\.'
             THEN regexp_replace(v COLLATE "C", '^([^|]*)\|(field:[^{}\u0001-\u001f\u007f]+,[1-9][0-9]{0,2}'
                                                '|prefix:[^{}\u0001-\u001f\u007f]+|path:[1-9][0-9]{0,2})$', '\1')
             ELSE v END,
        '^cert\.san\.othername\.(?=[0-9.]{3,100}$)[0-2](\.(0|[1-9][0-9]*))+$', 'cert.san.othername.OID')
END;

CREATE OR REPLACE FUNCTION iot_auth.template_problem(template text, client_id boolean, variables text) RETURNS text
LANGUAGE sql IMMUTABLE PARALLEL SAFE
RETURN (
    SELECT CASE
        WHEN template IS NULL THEN 'is missing'
        WHEN octet_length(template) NOT BETWEEN 1 AND 512 THEN 'must be 1 to 512 bytes long'
        WHEN p.unknown IS NOT NULL
            THEN 'contains unknown variable ${' || p.unknown || '} (known: ' || replace(variables, ' ', ', ') || ')'
        WHEN p.literals COLLATE "C" ~ '[\u0001-\u001f\u007f]' THEN 'contains a control character'
        WHEN p.literals ~ '[${}]' THEN 'contains one of $ { } outside of a variable, which is written ${name}'
        WHEN p.literals ~ '[+#]' THEN 'contains one of + #'
        WHEN p.literals ~ '%[ucm]([^A-Za-z0-9]|$)'
            THEN 'contains %u, %c or %m, which is not replaced: a variable is written ${name}'
        WHEN strpos(p.literals, '*') > 0 AND client_id THEN 'contains a ''*'' that is not at the end'
        WHEN strpos(p.literals, '*') > 0 THEN 'contains a ''*'''
        WHEN strpos(p.literals, '/') > 0 AND NOT client_id THEN 'contains a ''/'''
        WHEN (SELECT count(*) FROM regexp_matches(p.rest, '\$\{[^}]*\}|[^$]+', 'g')) > 16 THEN 'has more than 16 parts'
        WHEN NOT client_id AND strpos(template, '${') = 0
            THEN 'contains no variable: all certificates would be one device'
    END
    FROM (SELECT r.rest, regexp_replace(r.rest, '\$\{[^}]*\}', '', 'g') AS literals,
                 (SELECT m[1] FROM regexp_matches(template, '\$\{([^}]*)\}', 'g') m
                  WHERE iot_auth.variable_name(m[1]) <> ALL (string_to_array(variables, ' '))
                     OR m[1] IN ('claim.NAME', 'cert.san.othername.OID') LIMIT 1) AS unknown
          FROM (SELECT CASE WHEN client_id THEN regexp_replace(template, '\*$', '') ELSE template END AS rest) r) p);

-- Settings that can never match are mistakes

-- A topic filter in the notation of another broker matches nothing here, so that a DENY would deny nothing.
CREATE OR REPLACE FUNCTION iot_auth.topic_filter_problem(filter text) RETURNS text
LANGUAGE sql IMMUTABLE PARALLEL SAFE
RETURN CASE
    WHEN filter IS NULL THEN 'is missing'
    WHEN octet_length(filter) NOT BETWEEN 1 AND 1024 THEN 'must be 1 to 1024 bytes long'
    WHEN filter COLLATE "C" ~ '[\u0001-\u001f\u007f-\u009f]' THEN 'contains a control character'
    WHEN octet_length(filter) - octet_length(replace(filter, '/', '')) > 200 THEN 'has more than 201 levels'
    WHEN filter COLLATE "C" ~ '^\$share(/|$)' THEN 'begins with $share: rules are matched without $share/<group>/'
    WHEN filter COLLATE "C" ~ '^\$(queue|exclusive|delayed|oshare|local)(/|$)'
        THEN 'begins with ' || split_part(filter, '/', 1) || ', which Mosquitto does not have'
    WHEN filter COLLATE "C" ~ '^ | $' THEN 'begins or ends with a space'
    WHEN strpos(filter, '%') > 0 AND filter COLLATE "C" ~ '%[ucm]([^A-Za-z0-9]|$)'
        THEN 'contains %u, %c or %m, which is not replaced: a variable is written ${name}'
    WHEN strpos(filter, '{') > 0 AND (
            filter COLLATE "C" ~ '(^|/)\{[A-Za-z_.][A-Za-z0-9_.]*\}(/|$)' OR
            filter COLLATE "C" ~ '(^|[^$])\{(device_id|client_id|tenant|ca|app_id|issuer|(claim|attr)\.[^}/]+)\}')
        THEN 'contains {name}, which is not replaced: a variable is written ${name}'
    WHEN filter COLLATE "C"
         ~ '(^|/)[$%<(:[]+(device_id|client_id|tenant|ca|app_id|issuer|(claim|attr)\.[^]/>)%]+)[]>)%]*(/|$)'
        THEN 'contains a variable that is not written ${name}'
    WHEN octet_length(filter) > length(filter) AND (
            filter COLLATE "C" ~ '[\ufdd0-\ufdef\ufffe\uffff\U0001fffe\U0001ffff\U0002fffe\U0002ffff]'
            OR filter COLLATE "C" ~ '[\U0003fffe\U0003ffff]'
            OR filter COLLATE "C" ~ '[\U0004fffe\U0004ffff\U0005fffe\U0005ffff\U0006fffe\U0006ffff\U0007fffe\U0007ffff]'
            OR filter COLLATE "C" ~ '[\U0008fffe\U0008ffff\U0009fffe\U0009ffff\U000afffe\U000affff\U000bfffe\U000bffff]'
            OR filter COLLATE "C" ~ '[\U000cfffe\U000cffff\U000dfffe\U000dffff\U000efffe\U000effff\U000ffffe\U000fffff]'
            OR filter COLLATE "C" ~ '[\U0010fffe\U0010ffff]')
        THEN 'contains a Unicode non-character'
    WHEN filter COLLATE "C" ~ '#.' THEN 'contains a ''#'' that is not at the end'
    WHEN filter COLLATE "C" ~ '[^/]#' THEN 'contains a ''#'' that is not a whole level'
    WHEN filter COLLATE "C" ~ '[^/]\+|\+[^/]' THEN 'contains a ''+'' that is not a whole level'
    WHEN filter COLLATE "C" !~ '\$\{' THEN NULL
    WHEN filter COLLATE "C" ~ '[^/]\$\{|\}[^/]|\$\{[^}/]*(/|$)' THEN 'contains a ${variable} that is not a whole level'
    WHEN regexp_replace('/' || filter COLLATE "C",
                        '/\$\{(device_id|client_id|tenant|ca|app_id|issuer|(claim|attr)\.[^+#/*${}]{1,128})\}(?=/|$)',
                        '/', 'g')
         ~ '\$\{' THEN 'contains a ${variable} that does not exist'
END;

-- Only public keys: everyone who can read a symmetric or private key can issue tokens.  A member that is null counts as
-- absent, as in oauth/jwk.c.
CREATE OR REPLACE FUNCTION iot_auth.jwks_problem(jwks jsonb) RETURNS text
LANGUAGE sql IMMUTABLE PARALLEL SAFE
RETURN CASE
    WHEN jwks IS NULL THEN NULL
    WHEN jsonb_typeof(jwks -> 'keys') IS DISTINCT FROM 'array' THEN 'is not a JWK set: {"keys": [...]}'
    WHEN jsonb_array_length(jwks -> 'keys') = 0 THEN 'contains no key'
    WHEN jsonb_array_length(jwks -> 'keys') > 100 THEN 'contains more than 100 keys'
    WHEN jsonb_path_exists(jwks, '$.keys[*] ? (@.type() != "object")') THEN 'contains a key that is not an object'
    WHEN jsonb_path_exists(jwks, '$.keys[*] ? (@.kty == "oct")') THEN 'contains a symmetric key'
    WHEN jsonb_path_exists(jwks, '$.keys[*].keyvalue() ? (@.key == "d" || @.key == "p" || @.key == "q" '
                                 '|| @.key == "dp" || @.key == "dq" || @.key == "qi" || @.key == "oth" '
                                 '|| @.key == "k").value ? (@ != null)') THEN 'contains a private key'
    ELSE iot_auth.json_problem(jwks, 262144)
END;

CREATE OR REPLACE FUNCTION iot_auth.check_issuer() RETURNS trigger
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    problem text := iot_auth.client_id_templates_problem(NEW.client_id_templates, iot_auth.app_variables());
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
CREATE OR REPLACE TRIGGER issuer_check_update
    AFTER UPDATE OF issuer, jwks, jwks_url, client_id_templates, audience, token_types, app_id_claim
    ON iot_auth.oauth_issuer
    FOR EACH ROW EXECUTE FUNCTION iot_auth.check_issuer();

CREATE OR REPLACE FUNCTION iot_auth.register_issuer(
    name text, issuer text, audience text[], algorithms text[] DEFAULT ARRAY['RS256', 'ES256'], jwks jsonb DEFAULT NULL,
    jwks_url text DEFAULT NULL,
    client_id_templates text[] DEFAULT ARRAY['app:${issuer}:${app_id}', 'app:${issuer}:${app_id}/*'],
    app_id_claim text DEFAULT NULL, token_types text[] DEFAULT ARRAY['at+jwt', 'JWT'], leeway_s int DEFAULT 30,
    tenant text DEFAULT NULL) RETURNS void
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
#variable_conflict use_column
DECLARE
    algorithm text;
    existing_name text;
BEGIN
    PERFORM iot_auth.require('name', register_issuer.name, iot_auth.issuer_name_problem(register_issuer.name));
    PERFORM iot_auth.require('issuer', register_issuer.issuer, iot_auth.text_problem(register_issuer.issuer, 512));
    PERFORM iot_auth.require('issuer', register_issuer.issuer,
        CASE WHEN iot_auth.has_blank(register_issuer.issuer)
            THEN 'contains a blank: no iss claim would match' END);
    PERFORM iot_auth.require_texts('audience', register_issuer.audience, 64);
    PERFORM iot_auth.require('algorithms', NULL, iot_auth.list_problem(register_issuer.algorithms, 16));
    FOREACH algorithm IN ARRAY register_issuer.algorithms LOOP
        PERFORM iot_auth.require_one_of('algorithm', algorithm,
                                        ARRAY['RS256', 'RS384', 'RS512', 'PS256', 'PS384', 'PS512', 'ES256', 'ES384',
                                              'ES512', 'EdDSA', 'Ed25519', 'Ed448', 'ESP256', 'ESP384', 'ESP512']);
    END LOOP;
    PERFORM iot_auth.require('jwks', NULL,
        CASE WHEN jsonb_typeof(register_issuer.jwks) <> 'object' THEN 'is not a JSON object'
             ELSE iot_auth.jwks_problem(register_issuer.jwks) END);
    PERFORM iot_auth.require('jwks_url', register_issuer.jwks_url,
        CASE WHEN register_issuer.jwks_url !~ '^https?://[^[:space:][:cntrl:]]+$'
            THEN 'must be an https:// URL' END);
    IF register_issuer.jwks IS NOT NULL AND register_issuer.jwks_url IS NOT NULL THEN
        PERFORM iot_auth.fail('jwks and jwks_url must not both be given',
                              'Give one of them: with both, it would be ambiguous which keys are used.');
    END IF;
    IF register_issuer.jwks IS NULL AND register_issuer.jwks_url IS NULL
        AND register_issuer.issuer NOT LIKE 'https://%' THEN
        PERFORM iot_auth.fail('neither jwks nor jwks_url is given',
                              'Keys are discovered only for issuers that are https:// URLs.');
    END IF;
    PERFORM iot_auth.require('client_id_templates', NULL,
        iot_auth.client_id_templates_problem(register_issuer.client_id_templates, iot_auth.app_variables()));
    PERFORM iot_auth.require('app_id_claim', register_issuer.app_id_claim,
        CASE WHEN register_issuer.app_id_claim IS NOT NULL
            THEN iot_auth.text_problem(register_issuer.app_id_claim, 128) END);
    PERFORM iot_auth.require_texts('token_types', register_issuer.token_types, 16);
    PERFORM iot_auth.require('leeway_s', register_issuer.leeway_s::text,
        CASE WHEN register_issuer.leeway_s BETWEEN 0 AND 600 THEN NULL ELSE 'must be 0 to 600 seconds' END);
    PERFORM iot_auth.require('tenant', register_issuer.tenant,
        CASE WHEN register_issuer.tenant IS NOT NULL THEN iot_auth.value_problem(register_issuer.tenant) END);
    IF EXISTS (SELECT FROM iot_auth.oauth_issuer i WHERE i.name = register_issuer.name) THEN
        PERFORM iot_auth.fail(format('issuer ''%s'' already exists', register_issuer.name), NULL,
                              'duplicate_object');
    END IF;
    SELECT i.name INTO existing_name FROM iot_auth.oauth_issuer i WHERE i.issuer = register_issuer.issuer;
    IF FOUND THEN
        PERFORM iot_auth.fail(format('''%s'' is already registered as issuer ''%s''', register_issuer.issuer,
                                     existing_name),
                              NULL, 'duplicate_object');
    END IF;

    INSERT INTO iot_auth.oauth_issuer (name, issuer, audience, algorithms, jwks, jwks_url, client_id_templates,
                                       app_id_claim, token_types, leeway_s, tenant)
    VALUES (register_issuer.name, register_issuer.issuer, register_issuer.audience, register_issuer.algorithms,
            register_issuer.jwks, register_issuer.jwks_url, register_issuer.client_id_templates,
            register_issuer.app_id_claim, register_issuer.token_types, register_issuer.leeway_s,
            register_issuer.tenant);
END $$;

-- Views for brokers: every value has a bound.  A value beyond it is returned empty, which the broker cannot use: a CA
-- or issuer then admits nobody, a role denies everything.

-- The list, or an empty one where it has not the form that is stored today.
CREATE FUNCTION iot_auth.usable_texts(list text[], most int, bytes int) RETURNS text[]
LANGUAGE sql IMMUTABLE PARALLEL SAFE
RETURN CASE WHEN iot_auth.texts_problem(list, most, bytes) IS NULL THEN list ELSE '{}' END;

CREATE OR REPLACE VIEW iot_auth.broker_device AS
SELECT c.fingerprint, d.device_id,
       CASE WHEN octet_length(d.status) <= 16 THEN d.status ELSE '' END AS device_status,
       CASE WHEN octet_length(c.status) <= 16 THEN c.status ELSE '' END AS certificate_status,
       c.ca_id AS certificate_ca_id, d.ca_id AS device_ca_id,
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
JOIN iot_auth.ca a ON a.ca_id = d.ca_id
WHERE octet_length(c.fingerprint) = 32 AND octet_length(d.device_id) <= 128;

CREATE OR REPLACE VIEW iot_auth.broker_ca AS
SELECT c.ca_id, CASE WHEN octet_length(c.name) <= 128 THEN c.name ELSE '' END AS name,
       CASE WHEN octet_length(c.pem) <= 65536 THEN c.pem ELSE '' END AS pem, left(c.status, 16) AS status,
       c.auto_registration,
       CASE WHEN octet_length(c.device_id_template) <= 512 THEN c.device_id_template ELSE '' END AS device_id_template,
       iot_auth.usable_texts(c.client_id_templates, 16, 512) AS client_id_templates,
       CASE WHEN octet_length(c.tenant) <= 128 THEN c.tenant END AS tenant, c.replaces,
       left(c.problem, 1024) AS problem,
       ARRAY(SELECT CASE WHEN octet_length(r.role) <= 128 THEN r.role ELSE '' END FROM iot_auth.ca_role r
             WHERE r.ca_id = c.ca_id ORDER BY r.role LIMIT 257) AS roles,
       CASE WHEN octet_length(c.name) > 128 THEN 'the name is longer than 128 bytes'
            WHEN octet_length(c.pem) > 65536 THEN 'pem is longer than 65536 bytes'
            WHEN octet_length(c.device_id_template) > 512 THEN 'device_id_template is longer than 512 bytes'
            WHEN octet_length(c.tenant) > 128 THEN 'tenant is longer than 128 bytes'
            ELSE 'client_id_templates ' || iot_auth.texts_problem(c.client_id_templates, 16, 512) END AS fault
FROM iot_auth.ca c;

CREATE OR REPLACE VIEW iot_auth.broker_crl AS
SELECT crl_id, ca_id, CASE WHEN octet_length(pem) <= 67108864 THEN pem ELSE '' END AS pem,
       CASE WHEN octet_length(pem) > 67108864 THEN 'pem is longer than 64 MiB' END AS fault
FROM iot_auth.crl;

CREATE OR REPLACE VIEW iot_auth.broker_role AS
SELECT CASE WHEN octet_length(role) <= 128 THEN role ELSE '' END AS role,
       CASE WHEN octet_length(role) > 128 THEN 'the name is longer than 128 bytes' END AS fault
FROM iot_auth.role;

CREATE OR REPLACE VIEW iot_auth.broker_rule AS
SELECT r.rule_id, CASE WHEN octet_length(r.role) <= 128 THEN r.role ELSE '' END AS role, left(r.effect, 16) AS effect,
       CASE WHEN array_ndims(r.actions) = 1 AND cardinality(r.actions) <= 3
                 AND r.actions <@ ARRAY['PUBLISH', 'SUBSCRIBE', 'RECEIVE'] THEN r.actions ELSE '{}' END AS actions,
       CASE WHEN octet_length(r.topic_filter) <= 1024 THEN r.topic_filter ELSE '' END AS topic_filter,
       r.max_qos, r.allow_retain, left(r.problem, 1024) AS problem,
       CASE WHEN octet_length(r.topic_filter) > 1024 THEN 'topic_filter is longer than 1024 bytes'
            WHEN array_ndims(r.actions) = 1 AND cardinality(r.actions) <= 3
                 AND r.actions <@ ARRAY['PUBLISH', 'SUBSCRIBE', 'RECEIVE'] THEN NULL
            ELSE 'actions is not a list of PUBLISH, SUBSCRIBE, RECEIVE' END AS fault
FROM iot_auth.role_rule r;

CREATE OR REPLACE VIEW iot_auth.broker_ip AS
SELECT rule_id, left(effect, 16) AS effect, network::text AS network, left(scope, 16) AS scope,
       CASE WHEN octet_length(scope_key) <= 128 THEN scope_key WHEN scope_key IS NOT NULL THEN '' END AS scope_key,
       expires_at, CASE WHEN octet_length(scope_key) > 128 THEN 'scope_key is longer than 128 bytes' END AS fault
FROM iot_auth.ip_rule;

CREATE OR REPLACE VIEW iot_auth.broker_issuer AS
SELECT i.name, CASE WHEN octet_length(i.issuer) <= 512 THEN i.issuer ELSE '' END AS issuer,
       iot_auth.usable_texts(i.audience, 64, 512) AS audience,
       iot_auth.usable_texts(i.algorithms, 16, 16) AS algorithms,
       CASE WHEN iot_auth.json_problem(i.jwks, 262144) IS NULL THEN i.jwks::text ELSE '' END AS jwks,
       CASE WHEN octet_length(i.jwks_url) <= 2048 THEN i.jwks_url WHEN i.jwks_url IS NOT NULL THEN '' END AS jwks_url,
       iot_auth.usable_texts(i.client_id_templates, 16, 512) AS client_id_templates,
       CASE WHEN octet_length(i.app_id_claim) <= 128 THEN i.app_id_claim
            WHEN i.app_id_claim IS NOT NULL THEN '' END AS app_id_claim,
       iot_auth.usable_texts(i.token_types, 16, 128) AS token_types, i.leeway_s,
       CASE WHEN octet_length(i.tenant) <= 128 THEN i.tenant END AS tenant, left(i.status, 16) AS status,
       left(i.problem, 1024) AS problem, left(i.note, 1024) AS note,
       CASE WHEN octet_length(i.issuer) > 512 THEN 'issuer is longer than 512 bytes'
            WHEN octet_length(i.jwks_url) > 2048 THEN 'jwks_url is longer than 2048 bytes'
            WHEN octet_length(i.app_id_claim) > 128 THEN 'app_id_claim is longer than 128 bytes'
            WHEN octet_length(i.tenant) > 128 THEN 'tenant is longer than 128 bytes'
            ELSE coalesce('audience ' || iot_auth.texts_problem(i.audience, 64, 512),
                          'algorithms ' || iot_auth.texts_problem(i.algorithms, 16, 16),
                          'token_types ' || iot_auth.texts_problem(i.token_types, 16, 128),
                          'client_id_templates ' || iot_auth.texts_problem(i.client_id_templates, 16, 512),
                          'jwks ' || iot_auth.json_problem(i.jwks, 262144)) END AS fault
FROM iot_auth.oauth_issuer i
WHERE octet_length(i.name) <= 128;

CREATE OR REPLACE VIEW iot_auth.broker_scope AS
SELECT issuer_name AS issuer, scope, CASE WHEN octet_length(role) <= 128 THEN role ELSE '' END AS role,
       NULL::text AS fault
FROM iot_auth.scope_role WHERE octet_length(issuer_name) <= 128 AND octet_length(scope) <= 256;

CREATE OR REPLACE VIEW iot_auth.broker_unparsed AS
SELECT fingerprint, pem FROM iot_auth.device_certificate
WHERE pem IS NOT NULL AND serial IS NULL AND problem IS NULL AND octet_length(fingerprint) = 32
  AND octet_length(pem) <= 65536;
DROP INDEX iot_auth.device_certificate_unparsed;
CREATE INDEX device_certificate_unparsed ON iot_auth.device_certificate (fingerprint)
    WHERE pem IS NOT NULL AND serial IS NULL AND problem IS NULL;

CREATE OR REPLACE VIEW iot_auth.broker_event AS
SELECT event_id, at, kind, left(principal, 128) AS principal, ca_id,
       CASE WHEN pg_column_size(detail) <= 8192 THEN detail::text END AS detail
FROM iot_auth.event WHERE kind IN ('device/status', 'ca/status') AND node IS NULL;

-- Privileges of what is new

REVOKE ALL ON FUNCTION iot_auth.json_problem, iot_auth.texts_problem, iot_auth.is_blank, iot_auth.has_blank,
    iot_auth.bounded_text, iot_auth.one_line, iot_auth.check_role_count, iot_auth.der_element,
    iot_auth.certificate_name_key_hash,
    iot_auth.pem_encode, iot_auth.fill_name_key_hash, iot_auth.variable_name, iot_auth.usable_texts FROM PUBLIC;
GRANT EXECUTE ON FUNCTION iot_auth.one_line, iot_auth.json_problem, iot_auth.texts_problem, iot_auth.is_blank,
    iot_auth.has_blank,
    iot_auth.der_element, iot_auth.certificate_name_key_hash, iot_auth.pem_encode, iot_auth.variable_name
    TO iot_auth_admin;
-- A view runs its functions with the rights of the role that reads it.
GRANT EXECUTE ON FUNCTION iot_auth.json_problem, iot_auth.texts_problem, iot_auth.list_problem, iot_auth.usable_texts
    TO iot_auth_broker;
GRANT EXECUTE ON FUNCTION iot_auth.usable_texts TO iot_auth_admin;

INSERT INTO iot_auth.schema_version (version) VALUES (7);
$migration$;
EXCEPTION WHEN lock_not_available THEN
    RAISE EXCEPTION 'migration % was not applied: a table of schema iot_auth is locked by another session', this
        USING HINT = 'Apply the migrations again when that session (a dump, a long transaction) has ended.',
              ERRCODE = 'lock_not_available';
END $guard$;
COMMIT;

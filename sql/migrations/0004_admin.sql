-- SPDX-License-Identifier: ISC The functions for administrators.  They run with the caller's rights (those of
-- iot_auth_admin are granted in 0006) and do nothing that a direct write to the tables could not do.  They check every
-- argument before anything is written, and report an error in one line, with a hint that says how to resolve it.

BEGIN;
SET LOCAL search_path = pg_catalog, pg_temp;
SET LOCAL client_min_messages = warning;
SELECT pg_advisory_xact_lock(5714620941378015095);

-- Checks

-- Refuse the statement unless `problem` is NULL.  `what` and `value` name the argument.
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

-- The DER of a PEM argument.
CREATE OR REPLACE FUNCTION iot_auth.require_pem(what text, pem text, label text) RETURNS bytea
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    decoded record := iot_auth.pem_decode(pem, label);
BEGIN
    PERFORM iot_auth.require(what, NULL, decoded.problem);
    RETURN decoded.der;
END $$;

-- Certificate authorities

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

CREATE OR REPLACE FUNCTION iot_auth.set_ca_status(name text, status text) RETURNS void
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
#variable_conflict use_column
DECLARE
    target iot_auth.ca := iot_auth.find_ca(set_ca_status.name);
BEGIN
    PERFORM iot_auth.require_one_of('status', set_ca_status.status, ARRAY['ACTIVE', 'INACTIVE', 'REVOKED']);
    IF target.status = 'REVOKED' AND set_ca_status.status <> 'REVOKED' THEN
        PERFORM iot_auth.fail(format('CA ''%s'' is REVOKED and stays REVOKED', target.name), 'Register another CA.',
                              'object_not_in_prerequisite_state');
    END IF;
    UPDATE iot_auth.ca SET status = set_ca_status.status WHERE ca_id = target.ca_id AND status <> set_ca_status.status;
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

-- Devices

-- Refuse unless a certificate of CA `issued_by` may be added to `target`: only of the same CA or its successor.
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

-- A new device, or a further certificate for an existing device, which keeps its status, rights and attributes.
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

CREATE OR REPLACE FUNCTION iot_auth.set_device_status(device_id text, status text) RETURNS void
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
#variable_conflict use_column
DECLARE
    target iot_auth.device := iot_auth.find_device(set_device_status.device_id);
BEGIN
    PERFORM iot_auth.require_one_of('status', set_device_status.status,
                                    ARRAY['PENDING', 'ACTIVE', 'INACTIVE', 'REVOKED']);
    IF target.status = 'REVOKED' AND set_device_status.status <> 'REVOKED' THEN
        PERFORM iot_auth.fail(format('device ''%s'' is REVOKED and stays REVOKED', target.device_id),
                              'Delete the device to allow a new registration.', 'object_not_in_prerequisite_state');
    END IF;
    UPDATE iot_auth.device SET status = set_device_status.status
    WHERE device_id = target.device_id AND status <> set_device_status.status;
END $$;

-- Hexadecimal, upper or lower case, with or without colons, as `openssl x509 -fingerprint -sha256` prints it.
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

-- Roles and rules

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

-- Deletes the role with its rules and all its grants.
CREATE OR REPLACE FUNCTION iot_auth.drop_role(role text) RETURNS void
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
#variable_conflict use_column
BEGIN
    PERFORM iot_auth.require_role(drop_role.role);
    DELETE FROM iot_auth.role WHERE role = drop_role.role;
END $$;

-- max_qos and allow_retain limit an ALLOW rule for PUBLISH; the defaults set no limit.
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

CREATE OR REPLACE FUNCTION iot_auth.revoke_ca_role(ca_name text, role text) RETURNS void
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    target iot_auth.ca := iot_auth.find_ca(revoke_ca_role.ca_name);
BEGIN
    PERFORM iot_auth.require_role(revoke_ca_role.role);
    DELETE FROM iot_auth.ca_role r WHERE r.ca_id = target.ca_id AND r.role = revoke_ca_role.role;
    IF NOT FOUND THEN
        PERFORM iot_auth.fail(format('CA ''%s'' does not have role ''%s''', target.name, revoke_ca_role.role), NULL,
                              'undefined_object');
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

-- Apps

CREATE OR REPLACE FUNCTION iot_auth.require_texts(what text, list text[], most int) RETURNS void
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    item text;
BEGIN
    PERFORM iot_auth.require(what, NULL, iot_auth.list_problem(list, most));
    FOREACH item IN ARRAY list LOOP
        PERFORM iot_auth.require(what, item, iot_auth.text_problem(item, 512));
    END LOOP;
END $$;

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
    PERFORM iot_auth.require_texts('audience', register_issuer.audience, 64);
    PERFORM iot_auth.require('algorithms', NULL, iot_auth.list_problem(register_issuer.algorithms, 16));
    FOREACH algorithm IN ARRAY register_issuer.algorithms LOOP
        PERFORM iot_auth.require_one_of('algorithm', algorithm,
                                        ARRAY['RS256', 'RS384', 'RS512', 'PS256', 'PS384', 'PS512',
                                                                      'ES256', 'ES384', 'ES512', 'EdDSA']);
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
    IF register_issuer.jwks IS NULL AND register_issuer.jwks_url IS NULL AND register_issuer.issuer !~ '^https://' THEN
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

CREATE OR REPLACE FUNCTION iot_auth.set_issuer_status(name text, status text) RETURNS void
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
#variable_conflict use_column
BEGIN
    PERFORM iot_auth.require_issuer(set_issuer_status.name);
    PERFORM iot_auth.require_one_of('status', set_issuer_status.status, ARRAY['ACTIVE', 'INACTIVE']);
    UPDATE iot_auth.oauth_issuer SET status = set_issuer_status.status
    WHERE name = set_issuer_status.name AND status <> set_issuer_status.status;
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

-- Addresses

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

CREATE OR REPLACE FUNCTION iot_auth.allow_ip(network cidr, scope text DEFAULT 'GLOBAL', scope_key text DEFAULT NULL,
                                             expires_at timestamptz DEFAULT NULL) RETURNS bigint
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    RETURN iot_auth.add_ip_rule('ALLOW', network, scope, scope_key, expires_at);
END $$;

CREATE OR REPLACE FUNCTION iot_auth.deny_ip(network cidr, scope text DEFAULT 'GLOBAL', scope_key text DEFAULT NULL,
                                            expires_at timestamptz DEFAULT NULL) RETURNS bigint
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    RETURN iot_auth.add_ip_rule('DENY', network, scope, scope_key, expires_at);
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

INSERT INTO iot_auth.schema_version (version) VALUES (4) ON CONFLICT DO NOTHING;
COMMIT;

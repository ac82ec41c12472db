-- SPDX-License-Identifier: ISC
-- Rules that need the old row, other rows or a parser.  They are triggers, so that a direct write to the tables is
-- checked like a call of the functions in 0004, which use the same checks.

BEGIN;
SET LOCAL search_path = pg_catalog, pg_temp;
SET LOCAL client_min_messages = warning;
SELECT pg_advisory_xact_lock(5714620941378015095);

-- Refuse the statement.  The message is one line, whatever values it quotes; the hint says how to resolve the error.
CREATE OR REPLACE FUNCTION iot_auth.fail(message text, hint text DEFAULT NULL,
                                         code text DEFAULT 'invalid_parameter_value') RETURNS void
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    message := regexp_replace(message, '[\u0001-\u001f\u007f-\u009f]', '?', 'g');
    IF hint IS NULL THEN
        RAISE EXCEPTION USING MESSAGE = message, ERRCODE = code;
    END IF;
    RAISE EXCEPTION USING MESSAGE = message, HINT = hint, ERRCODE = code;
END $$;

-- PEM

-- Whether this is a DER SEQUENCE that begins with a SEQUENCE and has exactly the length that it states (X.690 section
-- 8.1).  SQL cannot check more of X.509.
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

-- The DER of a text that contains exactly one PEM block (RFC 7468) with that label, or the problem.  Text before the
-- block is allowed, as `openssl x509 -text` writes it; only white space may follow the block.
CREATE OR REPLACE FUNCTION iot_auth.pem_decode(pem text, label text, OUT der bytea, OUT problem text)
LANGUAGE plpgsql IMMUTABLE PARALLEL SAFE SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    head text := format('-----BEGIN %s-----', label);
    tail text := format('-----END %s-----', label);
    starts int := strpos(pem, head);
    ends int := strpos(pem, tail);
    after text := substr(pem, ends + length(tail));
BEGIN
    problem := CASE
        WHEN pem IS NULL OR pem = '' THEN 'is empty'
        WHEN strpos(pem, 'PRIVATE KEY-----') > 0 THEN 'contains a private key, which must not be stored in the database'
        WHEN starts = 0 AND strpos(pem, '-----BEGIN ') > 0 THEN format('is PEM, but contains no %s', label)
        WHEN starts = 0 THEN format('contains no line ''%s'' (is it DER, or another file?)', head)
        WHEN ends < starts THEN format('contains no line ''%s''', tail)
        WHEN strpos(after, head) > 0 THEN format('contains more than one %s (one is expected)', label)
        WHEN after !~ '^\s*$' OR strpos(left(pem, starts - 1), '-----BEGIN ') > 0
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
    IF NOT iot_auth.der_looks_right(der) THEN
        der := NULL;
        problem := format('does not encode a %s (truncated or damaged)', label);
    END IF;
END $$;

-- Set NEW.fingerprint from NEW.pem, or check it.  The fingerprint of the previous pem counts as omitted.
-- Argument: the PEM label.
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
    RETURN NEW;
END $$;

-- Templates and topic filters

-- A template as common/template.h parses it: literals and ${variables}.  `variables` is the list of known names,
-- separated by spaces; claim.NAME stands for every claim.  A client id template may contain '/' and end in '*'.
CREATE OR REPLACE FUNCTION iot_auth.template_problem(template text, client_id boolean, variables text) RETURNS text
LANGUAGE plpgsql IMMUTABLE PARALLEL SAFE SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    rest text := CASE WHEN client_id THEN regexp_replace(template, '\*$', '') ELSE template END;
    unknown text := (SELECT m[1] FROM regexp_matches(template, '\$\{([^}]*)\}', 'g') m
                     WHERE regexp_replace(m[1] COLLATE "C", '^claim\.[^+#/*${}]{1,128}$', 'claim.NAME')
                           <> ALL (string_to_array(variables, ' ')) LIMIT 1);
    literals text := regexp_replace(rest, '\$\{[^}]*\}', '', 'g');
BEGIN
    RETURN CASE
        WHEN template IS NULL THEN 'is missing'
        WHEN octet_length(template) NOT BETWEEN 1 AND 512 THEN 'must be 1 to 512 bytes long'
        WHEN unknown IS NOT NULL
            THEN format('contains unknown variable ${%s} (known: %s)', unknown, replace(variables, ' ', ', '))
        WHEN literals COLLATE "C" ~ '[\u0001-\u001f\u007f]' THEN 'contains a control character'
        WHEN literals ~ '[${}]' THEN 'contains one of $ { } outside of a variable, which is written ${name}'
        WHEN literals ~ '[+#]' THEN 'contains one of + #'
        WHEN strpos(literals, '*') > 0 AND client_id THEN 'contains a ''*'' that is not at the end'
        WHEN strpos(literals, '*') > 0 THEN 'contains a ''*'''
        WHEN strpos(literals, '/') > 0 AND NOT client_id THEN 'contains a ''/'''
        WHEN (SELECT count(*) FROM regexp_matches(rest, '\$\{[^}]*\}|[^$]+', 'g')) > 16 THEN 'has more than 16 parts'
        WHEN NOT client_id AND strpos(template, '${') = 0
            THEN 'contains no variable: all certificates would be one device'
    END;
END $$;

-- The problem of the first invalid client id template, or NULL.
CREATE OR REPLACE FUNCTION iot_auth.client_id_templates_problem(templates text[], variables text) RETURNS text
LANGUAGE plpgsql IMMUTABLE PARALLEL SAFE SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    RETURN coalesce(iot_auth.list_problem(templates, 16),
                    (SELECT format('''%s'' %s', t, iot_auth.template_problem(t, true, variables))
                     FROM unnest(templates) WITH ORDINALITY u(t, n)
                     WHERE iot_auth.template_problem(t, true, variables) IS NOT NULL ORDER BY n LIMIT 1));
END $$;

CREATE OR REPLACE FUNCTION iot_auth.certificate_variables() RETURNS text LANGUAGE sql IMMUTABLE PARALLEL SAFE
RETURN 'cert.cn cert.serial cert.fingerprint cert.subject.O cert.subject.OU cert.subject.serialNumber cert.san.dns '
       'cert.san.uri ca tenant';

-- Client ids are checked on every connect, from the device record alone, without the certificate.
CREATE OR REPLACE FUNCTION iot_auth.client_id_variables() RETURNS text LANGUAGE sql IMMUTABLE PARALLEL SAFE
RETURN 'device_id ca tenant';

CREATE OR REPLACE FUNCTION iot_auth.app_variables() RETURNS text LANGUAGE sql IMMUTABLE PARALLEL SAFE
RETURN 'app_id issuer tenant claim.NAME';

-- A topic filter of a rule (MQTT 5 section 4.7); each ${variable} is one whole level.
CREATE OR REPLACE FUNCTION iot_auth.topic_filter_problem(filter text) RETURNS text
LANGUAGE sql IMMUTABLE PARALLEL SAFE
RETURN CASE
    WHEN filter IS NULL THEN 'is missing'
    WHEN octet_length(filter) NOT BETWEEN 1 AND 1024 THEN 'must be 1 to 1024 bytes long'
    WHEN filter COLLATE "C" ~ '[\u0001-\u001f\u007f-\u009f]' THEN 'contains a control character'
    WHEN octet_length(filter) - octet_length(replace(filter, '/', '')) > 200 THEN 'has more than 201 levels'
    WHEN filter COLLATE "C" ~ '^\$share(/|$)' THEN 'begins with $share: rules are matched without $share/<group>/'
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

-- Immutable columns and final statuses

CREATE OR REPLACE FUNCTION iot_auth.refuse() RETURNS trigger
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    RAISE EXCEPTION USING MESSAGE = TG_ARGV[0], HINT = coalesce(TG_ARGV[1], ''),
        ERRCODE = 'object_not_in_prerequisite_state';
END $$;

CREATE OR REPLACE TRIGGER ca_revoked_is_final BEFORE UPDATE ON iot_auth.ca FOR EACH ROW
    WHEN (OLD.status = 'REVOKED' AND NEW.status <> 'REVOKED')
    EXECUTE FUNCTION iot_auth.refuse('a REVOKED CA stays REVOKED', 'Register another CA.');
CREATE OR REPLACE TRIGGER ca_identity_is_fixed BEFORE UPDATE ON iot_auth.ca FOR EACH ROW
    WHEN (OLD.ca_id <> NEW.ca_id OR OLD.name <> NEW.name OR OLD.pem <> NEW.pem OR OLD.fingerprint <> NEW.fingerprint)
    EXECUTE FUNCTION iot_auth.refuse('name and certificate of a CA cannot be changed',
                                     'Register the new certificate as a CA that replaces this CA.');
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

-- Certificates

CREATE OR REPLACE TRIGGER ca_fingerprint BEFORE INSERT ON iot_auth.ca FOR EACH ROW
    EXECUTE FUNCTION iot_auth.fill_fingerprint('CERTIFICATE');
CREATE OR REPLACE TRIGGER crl_fingerprint BEFORE INSERT OR UPDATE ON iot_auth.crl FOR EACH ROW
    EXECUTE FUNCTION iot_auth.fill_fingerprint('X509 CRL');
CREATE OR REPLACE TRIGGER certificate_fingerprint BEFORE INSERT ON iot_auth.device_certificate FOR EACH ROW
    WHEN (NEW.pem IS NOT NULL)
    EXECUTE FUNCTION iot_auth.fill_fingerprint('CERTIFICATE');
CREATE OR REPLACE TRIGGER certificate_fingerprint_change BEFORE UPDATE ON iot_auth.device_certificate FOR EACH ROW
    WHEN (NEW.pem IS DISTINCT FROM OLD.pem AND NEW.pem IS NOT NULL)
    EXECUTE FUNCTION iot_auth.fill_fingerprint('CERTIFICATE');

-- CAs: templates and succession

-- Whether `successor` replaces `predecessor`, directly or through other CAs.
CREATE OR REPLACE FUNCTION iot_auth.ca_succeeds(successor bigint, predecessor bigint) RETURNS boolean
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    RETURN EXISTS (
        WITH RECURSIVE line(ca_id) AS (
            SELECT replaces FROM iot_auth.ca WHERE ca_id = successor AND replaces IS NOT NULL
            UNION
            SELECT c.replaces FROM iot_auth.ca c JOIN line USING (ca_id) WHERE c.replaces IS NOT NULL)
        SELECT FROM line WHERE line.ca_id = predecessor);
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
CREATE OR REPLACE TRIGGER ca_templates_insert AFTER INSERT ON iot_auth.ca FOR EACH ROW
    EXECUTE FUNCTION iot_auth.check_ca();
CREATE OR REPLACE TRIGGER ca_templates_update AFTER UPDATE OF device_id_template, client_id_templates ON iot_auth.ca
    FOR EACH ROW EXECUTE FUNCTION iot_auth.check_ca();

-- Wait for registrations in progress, and block new ones until this change is committed: see 0005.
CREATE OR REPLACE FUNCTION iot_auth.settle_ca() RETURNS trigger
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    PERFORM pg_advisory_xact_lock(571462094, (OLD.ca_id % 2147483648)::int);
    RETURN coalesce(NEW, OLD);
END $$;
CREATE OR REPLACE TRIGGER ca_settles_update BEFORE UPDATE ON iot_auth.ca FOR EACH ROW
    WHEN ((NEW.status, NEW.auto_registration, NEW.registered_status, NEW.max_devices, NEW.max_registrations_per_minute,
           NEW.tenant, NEW.replaces) IS DISTINCT FROM
          (OLD.status, OLD.auto_registration, OLD.registered_status, OLD.max_devices, OLD.max_registrations_per_minute,
           OLD.tenant, OLD.replaces))
    EXECUTE FUNCTION iot_auth.settle_ca();
CREATE OR REPLACE TRIGGER ca_settles_delete BEFORE DELETE ON iot_auth.ca FOR EACH ROW
    EXECUTE FUNCTION iot_auth.settle_ca();

-- AFTER triggers, so that one statement may write both CAs.
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
CREATE OR REPLACE TRIGGER ca_succession_insert AFTER INSERT ON iot_auth.ca FOR EACH ROW WHEN (NEW.replaces IS NOT NULL)
    EXECUTE FUNCTION iot_auth.check_succession();
CREATE OR REPLACE TRIGGER ca_succession_update AFTER UPDATE ON iot_auth.ca FOR EACH ROW
    WHEN (NEW.replaces IS DISTINCT FROM OLD.replaces OR NEW.tenant IS DISTINCT FROM OLD.tenant)
    EXECUTE FUNCTION iot_auth.check_succession();

-- Most device rows have no tenant of their own: a change here would change the tenant of the devices.
CREATE OR REPLACE FUNCTION iot_auth.check_tenant_change() RETURNS trigger
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    IF EXISTS (SELECT FROM iot_auth.device WHERE ca_id = NEW.ca_id) THEN
        PERFORM iot_auth.fail(format('tenant of CA ''%s'' cannot be changed because the CA has devices', NEW.name),
                              'Set the tenant of the devices instead.', 'object_not_in_prerequisite_state');
    END IF;
    RETURN NULL;
END $$;
CREATE OR REPLACE TRIGGER ca_tenant_change AFTER UPDATE ON iot_auth.ca FOR EACH ROW
    WHEN (NEW.tenant IS DISTINCT FROM OLD.tenant)
    EXECUTE FUNCTION iot_auth.check_tenant_change();

-- The CA of a certificate is the CA of its device or connected to that CA by succession: otherwise one CA could add a
-- certificate to a device of another CA.  Checked per statement.
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
CREATE OR REPLACE TRIGGER certificate_ca AFTER INSERT ON iot_auth.device_certificate
    REFERENCING NEW TABLE AS changed FOR EACH STATEMENT EXECUTE FUNCTION iot_auth.check_certificate_ca();

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
CREATE OR REPLACE TRIGGER device_ca_change AFTER UPDATE ON iot_auth.device FOR EACH ROW
    WHEN (NEW.ca_id <> OLD.ca_id)
    EXECUTE FUNCTION iot_auth.check_device_ca();

CREATE OR REPLACE FUNCTION iot_auth.touch() RETURNS trigger
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    NEW.updated_at := now();
    RETURN NEW;
END $$;
CREATE OR REPLACE TRIGGER device_touch BEFORE UPDATE ON iot_auth.device FOR EACH ROW
    WHEN ((NEW.ca_id, NEW.tenant, NEW.status, NEW.attributes)
          IS DISTINCT FROM (OLD.ca_id, OLD.tenant, OLD.status, OLD.attributes))
    EXECUTE FUNCTION iot_auth.touch();

-- Rules

CREATE OR REPLACE FUNCTION iot_auth.check_rule() RETURNS trigger
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    PERFORM iot_auth.fail(format('topic filter ''%s'' %s', NEW.topic_filter,
                                 iot_auth.topic_filter_problem(NEW.topic_filter)));
END $$;
CREATE OR REPLACE TRIGGER rule_topic_filter BEFORE INSERT OR UPDATE OF topic_filter ON iot_auth.role_rule FOR EACH ROW
    WHEN (iot_auth.topic_filter_problem(NEW.topic_filter) IS NOT NULL)
    EXECUTE FUNCTION iot_auth.check_rule();

-- Issuers

-- Public keys only: everyone who can read a symmetric or private key can issue tokens.
CREATE OR REPLACE FUNCTION iot_auth.jwks_problem(jwks jsonb) RETURNS text
LANGUAGE sql IMMUTABLE PARALLEL SAFE
RETURN CASE
    WHEN jwks IS NULL THEN NULL
    WHEN jsonb_typeof(jwks -> 'keys') IS DISTINCT FROM 'array' THEN 'is not a JWK set: {"keys": [...]}'
    WHEN jsonb_array_length(jwks -> 'keys') = 0 THEN 'contains no key'
    WHEN jsonb_path_exists(jwks, '$.keys[*] ? (@.type() != "object")') THEN 'contains a key that is not an object'
    WHEN jsonb_path_exists(jwks, '$.keys[*] ? (@.kty == "oct")') THEN 'contains a symmetric key'
    WHEN jsonb_path_exists(jwks, '$.keys[*].d') THEN 'contains a private key'
END;

CREATE OR REPLACE FUNCTION iot_auth.check_issuer() RETURNS trigger
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    problem text := iot_auth.client_id_templates_problem(NEW.client_id_templates, iot_auth.app_variables());
BEGIN
    IF problem IS NOT NULL THEN
        PERFORM iot_auth.fail('client_id_templates ' || problem);
    END IF;
    problem := iot_auth.jwks_problem(NEW.jwks);
    IF problem IS NOT NULL THEN
        PERFORM iot_auth.fail('jwks ' || problem);
    END IF;
    IF NEW.jwks IS NULL AND NEW.jwks_url IS NULL AND NEW.issuer !~ '^https://' THEN
        PERFORM iot_auth.fail(format('issuer ''%s'' has neither jwks nor jwks_url', NEW.name),
                              'Keys are discovered only for issuers that are https:// URLs.');
    END IF;
    RETURN NULL;
END $$;
CREATE OR REPLACE TRIGGER issuer_check_insert AFTER INSERT ON iot_auth.oauth_issuer FOR EACH ROW
    EXECUTE FUNCTION iot_auth.check_issuer();
CREATE OR REPLACE TRIGGER issuer_check_update AFTER UPDATE OF issuer, jwks, jwks_url, client_id_templates
    ON iot_auth.oauth_issuer
    FOR EACH ROW EXECUTE FUNCTION iot_auth.check_issuer();

INSERT INTO iot_auth.schema_version (version) VALUES (2) ON CONFLICT DO NOTHING;
COMMIT;

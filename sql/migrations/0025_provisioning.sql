-- SPDX-License-Identifier: ISC
-- Provisioning: what a device is given by its registration, from its certificate, a list of expected devices and a hook, in
-- the registration's own transaction.

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
    this int := 25;
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

-- Settings of a CA

ALTER TABLE iot_auth.ca
    ADD COLUMN registration text COLLATE "C" NOT NULL DEFAULT 'any',
    ADD COLUMN provisioning jsonb, -- attributes, roles and tenant of the devices that register; NULL: none
    ADD COLUMN registration_hook text COLLATE "C", -- schema.function(jsonb), asked at each registration; NULL: none
    -- The parts of `problem`, each written by one side.
    ADD COLUMN problem_parsed text, -- what brokers find
    ADD COLUMN problem_roles text,  -- roles of provisioning that were dropped
    ADD COLUMN problem_hook text,   -- the last failure of the hook
    ADD CONSTRAINT ca_registration_known CHECK (registration IN ('any', 'expected')),
    ADD CONSTRAINT ca_registration_expected_needs_auto_registration CHECK (registration = 'any' OR auto_registration),
    ADD CONSTRAINT ca_registration_hook_size CHECK (octet_length(registration_hook) <= 512),
    ADD CONSTRAINT ca_problem_part_sizes CHECK (octet_length(problem_parsed) <= 1024 AND
        octet_length(problem_roles) <= 500 AND octet_length(problem_hook) <= 500);

-- What is there was found by brokers.  A row from before that no constraint of today admits stays as it is.
DO $$
DECLARE
    one record;
BEGIN
    FOR one IN SELECT c.ca_id FROM iot_auth.ca c WHERE c.problem IS NOT NULL LOOP
        BEGIN
            UPDATE iot_auth.ca c SET problem_parsed = c.problem WHERE c.ca_id = one.ca_id;
        EXCEPTION WHEN check_violation THEN
            NULL;
        END;
    END LOOP;
END $$;

CREATE FUNCTION iot_auth.join_problems(parsed text, roles text, hook text) RETURNS text
LANGUAGE sql IMMUTABLE PARALLEL SAFE
RETURN nullif(concat_ws('; ', parsed, roles, hook), '');

CREATE FUNCTION iot_auth.set_problem() RETURNS trigger
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    NEW.problem := iot_auth.join_problems(NEW.problem_parsed, NEW.problem_roles, NEW.problem_hook);
    RETURN NEW;
END $$;
CREATE TRIGGER ca_problem_parts BEFORE UPDATE ON iot_auth.ca FOR EACH ROW
    WHEN ((NEW.problem_parsed, NEW.problem_roles, NEW.problem_hook) IS DISTINCT FROM
          (OLD.problem_parsed, OLD.problem_roles, OLD.problem_hook))
    EXECUTE FUNCTION iot_auth.set_problem();

CREATE OR REPLACE FUNCTION iot_auth.broker_set_ca_parsed(p_ca_id bigint, p_subject text, p_not_before timestamptz,
                                                         p_not_after timestamptz, p_problem text) RETURNS void
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    found_problem text := iot_auth.bounded_text(p_problem, 1024);
BEGIN
    UPDATE iot_auth.ca c
    SET subject = coalesce(c.subject, iot_auth.bounded_text(p_subject, 2048)),
        not_before = coalesce(c.not_before, iot_auth.certificate_time(p_not_before)),
        not_after = coalesce(c.not_after, iot_auth.certificate_time(p_not_after)),
        problem_parsed = found_problem,
        problem = iot_auth.join_problems(found_problem, c.problem_roles, c.problem_hook)
    WHERE c.ca_id = p_ca_id
      AND (c.subject IS NULL AND p_subject IS NOT NULL OR c.not_before IS NULL AND p_not_before IS NOT NULL
           OR c.not_after IS NULL AND p_not_after IS NOT NULL
           OR c.problem_parsed IS DISTINCT FROM found_problem
           OR c.problem IS DISTINCT FROM iot_auth.join_problems(found_problem, c.problem_roles, c.problem_hook));
END $$;

-- The template of a registration

-- Attributes that an entry of the list or a hook gives: at most 64 in 16 KiB, each a value that a topic level may have.
CREATE FUNCTION iot_auth.attributes_problem(j jsonb) RETURNS text
LANGUAGE sql IMMUTABLE PARALLEL SAFE
RETURN CASE
    WHEN j IS NULL THEN 'is missing'
    WHEN j = '{}' THEN NULL
    WHEN jsonb_typeof(j) <> 'object' THEN 'is not a JSON object'
    WHEN iot_auth.json_problem(j, 16384) IS NOT NULL THEN iot_auth.json_problem(j, 16384)
    WHEN (SELECT count(*) FROM jsonb_object_keys(j)) > 64 THEN 'has more than 64 members'
    ELSE (SELECT CASE WHEN iot_auth.value_problem(e.key) IS NOT NULL
                      THEN 'contains the name ' || quote_literal(left(e.key, 80)) || ', which ' ||
                           iot_auth.value_problem(e.key)
                      ELSE 'contains ' || quote_literal(left(e.key, 80)) || ', which ' ||
                           CASE jsonb_typeof(e.value) WHEN 'string' THEN iot_auth.value_problem(e.value #>> '{}')
                                ELSE 'is not a text, a number or a boolean' END END
          FROM jsonb_each(j) e
          WHERE iot_auth.value_problem(e.key) IS NOT NULL
             OR CASE jsonb_typeof(e.value) WHEN 'string' THEN iot_auth.value_problem(e.value #>> '{}') IS NOT NULL
                     ELSE jsonb_typeof(e.value) NOT IN ('number', 'boolean') END
          ORDER BY e.key LIMIT 1)
END;

-- A JSON list of at most 64 names.
CREATE FUNCTION iot_auth.names_problem(j jsonb) RETURNS text
LANGUAGE sql IMMUTABLE PARALLEL SAFE
RETURN CASE
    WHEN jsonb_typeof(j) IS DISTINCT FROM 'array' THEN 'is not a list'
    WHEN jsonb_array_length(j) > 64 THEN 'has more than 64 elements'
    ELSE (SELECT CASE WHEN jsonb_typeof(e) <> 'string' THEN 'contains an element that is not a text'
                      ELSE 'contains ' || quote_literal(left(e #>> '{}', 80)) || ', which ' ||
                           iot_auth.value_problem(e #>> '{}') END
          FROM jsonb_array_elements(j) e
          WHERE jsonb_typeof(e) <> 'string' OR iot_auth.value_problem(e #>> '{}') IS NOT NULL LIMIT 1)
END;

-- One text of a template.  A constant is fine where it is a valid value.
CREATE FUNCTION iot_auth.provisioning_text_problem(v jsonb) RETURNS text
LANGUAGE sql IMMUTABLE PARALLEL SAFE
RETURN CASE
    WHEN jsonb_typeof(v) <> 'string' THEN 'is not a text'
    WHEN strpos(v #>> '{}', '${') > 0
        THEN iot_auth.template_problem(v #>> '{}', false, iot_auth.certificate_variables())
    ELSE coalesce(iot_auth.value_problem(v #>> '{}'),
                  iot_auth.template_problem((v #>> '{}') || ' ${ca}', false, 'ca'))
END;

-- The tenant of the CA is an argument, because the devices of a CA with a tenant have no other.
CREATE FUNCTION iot_auth.provisioning_problem(p jsonb, ca_tenant text) RETURNS text
LANGUAGE plpgsql IMMUTABLE PARALLEL SAFE SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    wrong record;
    unnamed text;
BEGIN
    IF p IS NULL THEN
        RETURN NULL;
    ELSIF jsonb_typeof(p) <> 'object' THEN
        RETURN 'is not a JSON object';
    ELSIF iot_auth.json_problem(p, 16384) IS NOT NULL THEN
        RETURN iot_auth.json_problem(p, 16384);
    END IF;
    SELECT m.key, m.problem INTO wrong FROM (
        SELECT e.key, CASE
            WHEN e.key = 'attributes' THEN CASE
                WHEN jsonb_typeof(e.value) <> 'object' THEN 'is not a JSON object'
                WHEN (SELECT count(*) FROM jsonb_object_keys(e.value)) > 64 THEN 'has more than 64 members' END
            WHEN e.key IN ('roles', 'required') THEN iot_auth.names_problem(e.value)
            WHEN e.key = 'tenant' THEN coalesce(
                CASE WHEN ca_tenant IS NOT NULL THEN 'cannot be set, because the CA has a tenant' END,
                iot_auth.provisioning_text_problem(e.value))
            WHEN e.key = 'on_missing' THEN
                CASE WHEN e.value NOT IN ('"omit"', '"refuse"') THEN 'is not one of omit, refuse' END
            WHEN e.key = 'on_existing' THEN
                CASE WHEN e.value NOT IN ('"keep"', '"merge"', '"replace"') THEN 'is not one of keep, merge, replace' END
            ELSE 'is unknown (the members are attributes, roles, tenant, required, on_missing, on_existing)' END AS problem
        FROM jsonb_each(p) e) m WHERE m.problem IS NOT NULL ORDER BY m.key LIMIT 1;
    IF FOUND THEN
        RETURN format('member ''%s'' %s', left(wrong.key, 80), wrong.problem);
    END IF;
    SELECT a.key, coalesce('has a name that ' || iot_auth.value_problem(a.key),
                           iot_auth.provisioning_text_problem(a.value)) AS problem
    INTO wrong FROM jsonb_each(p -> 'attributes') a
    WHERE iot_auth.value_problem(a.key) IS NOT NULL OR iot_auth.provisioning_text_problem(a.value) IS NOT NULL
    ORDER BY a.key LIMIT 1;
    IF FOUND THEN
        RETURN format('attribute ''%s'' %s', left(wrong.key, 80), wrong.problem);
    END IF;
    unnamed := (SELECT r FROM jsonb_array_elements_text(p -> 'required') r
                WHERE NOT (coalesce(p -> 'attributes' ? r, false) OR
                           r = 'tenant' AND (p ? 'tenant' OR ca_tenant IS NOT NULL)) LIMIT 1);
    RETURN CASE WHEN unnamed IS NULL THEN NULL
                WHEN unnamed = 'tenant' THEN 'member ''required'' names ''tenant'', but neither template nor CA has a tenant'
                ELSE format('member ''required'' names ''%s'', which is no attribute of the template',
                            left(unnamed, 80)) END;
END $$;

-- What a device id and a filled-in template were made of, as a broker has read it and as the CA has it now.
CREATE FUNCTION iot_auth.terms_version(device_id_template text, tenant text, provisioning jsonb) RETURNS text
LANGUAGE sql IMMUTABLE PARALLEL SAFE
RETURN encode(sha256(convert_to(concat_ws(E'\x01', device_id_template, coalesce(tenant, ''),
                                          coalesce(provisioning::text, '')), 'UTF8')), 'hex');

-- The roles of a template that do not exist, as text; NULL: all exist.
CREATE FUNCTION iot_auth.provisioning_roles_problem(p jsonb) RETURNS text
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    missing text := (SELECT string_agg(DISTINCT quote_literal(left(r, 80)), ', ')
                     FROM jsonb_array_elements_text(CASE jsonb_typeof(p -> 'roles') WHEN 'array' THEN p -> 'roles' END) r
                     WHERE NOT EXISTS (SELECT FROM iot_auth.role o WHERE o.role = r));
BEGIN
    RETURN left('provisioning: these roles do not exist: ' || iot_auth.one_line(missing), 120); -- 4 bytes a character at most
END $$;

-- The function that registration_hook names, or why it cannot be called.  It runs with the rights of the schema's owner,
-- so it must be the owner's: the function of anybody else would be a way to these rights.
CREATE FUNCTION iot_auth.hook_function(hook text, OUT called oid, OUT problem text)
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    f record;
BEGIN
    BEGIN
        called := to_regprocedure(hook);
    EXCEPTION WHEN OTHERS THEN
        called := NULL; -- not even the form of a function's name
    END;
    SELECT p.* INTO f FROM pg_proc p WHERE p.oid = called;
    problem := CASE
        WHEN NOT FOUND THEN 'does not exist'
        WHEN f.prokind <> 'f' OR f.proretset OR f.pronargs <> 1 OR f.proargtypes[0] <> 'jsonb'::regtype
            OR f.prorettype <> 'jsonb'::regtype OR f.provariadic <> 0 THEN 'is not a function (jsonb) RETURNS jsonb'
        WHEN f.proowner <> (SELECT s.nspowner FROM pg_namespace s WHERE s.nspname = 'iot_auth')
            THEN 'does not belong to the owner of schema iot_auth' END;
END $$;

CREATE FUNCTION iot_auth.check_provisioning() RETURNS trigger
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    problem text := 'provisioning ' || iot_auth.provisioning_problem(NEW.provisioning, NEW.tenant);
    is_new boolean := TG_OP = 'INSERT';
BEGIN
    IF problem IS NULL AND (is_new OR NEW.provisioning IS DISTINCT FROM OLD.provisioning) THEN
        problem := iot_auth.provisioning_roles_problem(NEW.provisioning);
        NEW.problem_roles := NULL;
    END IF;
    IF problem IS NULL AND (is_new OR NEW.registration_hook IS DISTINCT FROM OLD.registration_hook) THEN
        IF NEW.registration_hook IS NOT NULL THEN
            problem := format('registration_hook ''%s'' ', left(NEW.registration_hook, 160)) ||
                       (iot_auth.hook_function(NEW.registration_hook)).problem;
        END IF;
        NEW.problem_hook := NULL;
    END IF;
    IF problem IS NOT NULL THEN
        PERFORM iot_auth.fail(problem);
    END IF;
    RETURN NEW;
END $$;
CREATE TRIGGER ca_check_provisioning_insert BEFORE INSERT ON iot_auth.ca FOR EACH ROW
    WHEN (NEW.provisioning IS NOT NULL OR NEW.registration_hook IS NOT NULL)
    EXECUTE FUNCTION iot_auth.check_provisioning();
-- By its name it comes before ca_problem_parts: what is no longer true is forgotten.
CREATE TRIGGER ca_check_provisioning_update BEFORE UPDATE ON iot_auth.ca FOR EACH ROW
    WHEN ((NEW.provisioning, NEW.registration_hook) IS DISTINCT FROM (OLD.provisioning, OLD.registration_hook)
          OR NEW.provisioning IS NOT NULL AND NEW.tenant IS DISTINCT FROM OLD.tenant)
    EXECUTE FUNCTION iot_auth.check_provisioning();

-- A role that is dropped is no longer given; the others are, and the CA says so.
CREATE FUNCTION iot_auth.note_provisioned_roles() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    UPDATE iot_auth.ca c SET problem_roles = iot_auth.provisioning_roles_problem(c.provisioning)
    WHERE c.provisioning ? 'roles'
      AND c.problem_roles IS DISTINCT FROM iot_auth.provisioning_roles_problem(c.provisioning);
    RETURN NULL;
END $$;
CREATE TRIGGER provisioned_roles AFTER INSERT OR DELETE OR TRUNCATE ON iot_auth.role FOR EACH STATEMENT
    EXECUTE FUNCTION iot_auth.note_provisioned_roles();

-- Changes of the new columns are notified as those of the old ones: see 0003.
DO $$
DECLARE
    event text;
BEGIN
    FOREACH event IN ARRAY ARRAY['insert', 'update', 'delete', 'truncate'] LOOP
        EXECUTE format('CREATE OR REPLACE TRIGGER notify_%s AFTER %s ON iot_auth.ca %s FOR EACH STATEMENT '
                       'EXECUTE FUNCTION iot_auth.notify_change(''ca'', ''ca_id'', %L)',
                       event, upper(event),
                       CASE event WHEN 'insert' THEN 'REFERENCING NEW TABLE AS new_rows'
                                  WHEN 'update' THEN 'REFERENCING OLD TABLE AS old_rows NEW TABLE AS new_rows'
                                  WHEN 'delete' THEN 'REFERENCING OLD TABLE AS old_rows'
                                  ELSE '' END,
                       'ca_id, name, pem, status, auto_registration, registered_status, device_id_template, '
                       'client_id_templates, max_devices, max_registrations_per_minute, tenant, replaces, registration, '
                       'provisioning, registration_hook');
        EXECUTE format('ALTER TABLE iot_auth.ca ENABLE ALWAYS TRIGGER notify_%s', event);
    END LOOP;
END $$;

CREATE OR REPLACE VIEW iot_auth.broker_ca AS
SELECT c.ca_id, CASE WHEN octet_length(c.name) <= 128 THEN c.name ELSE '' END AS name,
       CASE WHEN octet_length(c.pem) <= 65536 THEN c.pem ELSE '' END AS pem, left(c.status, 16) AS status,
       c.auto_registration,
       CASE WHEN octet_length(c.device_id_template) <= 512 THEN c.device_id_template ELSE '' END AS device_id_template,
       iot_auth.usable_texts(c.client_id_templates, 16, 512) AS client_id_templates,
       CASE WHEN octet_length(c.tenant) <= 128 THEN c.tenant END AS tenant, c.replaces,
       left(CASE WHEN num_nonnulls(c.problem_parsed, c.problem_roles, c.problem_hook) > 0 THEN c.problem_parsed
                 ELSE c.problem END, 1024) AS problem, -- a row that was written by itself has its problem in one part
       ARRAY(SELECT CASE WHEN octet_length(r.role) <= 128 THEN r.role ELSE '' END FROM iot_auth.ca_role r
             WHERE r.ca_id = c.ca_id ORDER BY r.role LIMIT 257) AS roles,
       CASE WHEN octet_length(c.name) > 128 THEN 'the name is longer than 128 bytes'
            WHEN octet_length(c.pem) > 65536 THEN 'pem is longer than 65536 bytes'
            WHEN octet_length(c.device_id_template) > 512 THEN 'device_id_template is longer than 512 bytes'
            WHEN octet_length(c.tenant) > 128 THEN 'tenant is longer than 128 bytes'
            WHEN iot_auth.texts_problem(c.client_id_templates, 16, 512) IS NOT NULL
                THEN 'client_id_templates ' || iot_auth.texts_problem(c.client_id_templates, 16, 512)
            WHEN t.has_template IS NULL
                THEN 'provisioning is not a JSON object of at most 16384 bytes whose attributes are texts' END AS fault,
       CASE WHEN octet_length(c.device_id_template) <= 512 AND coalesce(octet_length(c.tenant) <= 128, true)
                AND t.has_template IS NOT NULL
            THEN iot_auth.terms_version(c.device_id_template, c.tenant, c.provisioning) END AS terms,
       coalesce(t.has_template, false) AS has_template, t.attributes AS template_attributes, t.tenant AS template_tenant
FROM iot_auth.ca c
-- attributes: name, template, name, template ...  No row where the value was stored around its check and has another form.
LEFT JOIN LATERAL (
    SELECT c.provisioning IS NOT NULL AS has_template,
           ARRAY(SELECT pair.word FROM jsonb_each_text(c.provisioning -> 'attributes') a
                 CROSS JOIN LATERAL (VALUES (1, a.key), (2, a.value)) pair(position, word)
                 ORDER BY a.key, pair.position) AS attributes,
           c.provisioning ->> 'tenant' AS tenant
    WHERE c.provisioning IS NULL
       -- Numbers, of which a template has none, are looked for first, up to the first one: json_problem reads all of them, which
       -- for many takes a tenth of a second at each reading.
       OR CASE WHEN jsonb_typeof(c.provisioning) = 'object'
                   AND NOT jsonb_path_exists(c.provisioning, 'strict $.** ? (@.type() == "number")')
                   AND iot_auth.json_problem(c.provisioning, 16384) IS NULL
               THEN CASE jsonb_typeof(c.provisioning -> 'attributes')
                        WHEN 'object' THEN NOT EXISTS (SELECT FROM jsonb_each(c.provisioning -> 'attributes') a
                                                       WHERE jsonb_typeof(a.value) <> 'string')
                        ELSE NOT c.provisioning ? 'attributes' END END) t ON true;

-- After a change of what a CA gives its devices was committed, only the new is given.  A registration that is under way with
-- the old is either committed before, or finds the change at its end and is undone (registration_settle).  Both sides lock
-- rows of ca_settling, which stand for the CA and for nothing else, so that neither ever holds up a change of its status.
-- The sides must exclude each other, and registrations need not: each locks one of eight rows, a change all of them.
-- PostgreSQL queues those that want the same row for themselves, so neither side waits for more than it found there;
-- behind shared locks that overlap, a change would wait for ever.
CREATE TABLE iot_auth.ca_settling (
    ca_id  bigint NOT NULL REFERENCES iot_auth.ca (ca_id) ON DELETE CASCADE,
    stripe int NOT NULL,
    PRIMARY KEY (ca_id, stripe)
);

CREATE FUNCTION iot_auth.lock_settling(p_ca_id bigint) RETURNS void
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    INSERT INTO iot_auth.ca_settling (ca_id, stripe) SELECT p_ca_id, s FROM generate_series(0, 7) s ORDER BY s
    ON CONFLICT DO NOTHING;
    PERFORM FROM iot_auth.ca_settling l WHERE l.ca_id = p_ca_id ORDER BY l.stripe FOR UPDATE;
END $$;

-- At the commit of the change: an administrator's open transaction stops no registration.
CREATE FUNCTION iot_auth.settle_ca() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp SET lock_timeout = '2s' AS $$
BEGIN
    PERFORM iot_auth.lock_settling(NEW.ca_id);
    RETURN NULL;
EXCEPTION WHEN lock_not_available THEN
    PERFORM iot_auth.busy(format('the registration under CA ''%s''', NEW.name));
END $$;
CREATE CONSTRAINT TRIGGER ca_settles AFTER UPDATE ON iot_auth.ca DEFERRABLE INITIALLY DEFERRED FOR EACH ROW
    WHEN ((NEW.auto_registration, NEW.registered_status, NEW.device_id_template, NEW.tenant, NEW.replaces,
           NEW.registration, NEW.provisioning, NEW.registration_hook) IS DISTINCT FROM
          (OLD.auto_registration, OLD.registered_status, OLD.device_id_template, OLD.tenant, OLD.replaces,
           OLD.registration, OLD.provisioning, OLD.registration_hook))
    EXECUTE FUNCTION iot_auth.settle_ca();

-- Wait for the registrations that are being committed, and hold nothing afterwards: the row of the CA is locked only then.
CREATE FUNCTION iot_auth.await_registrations(target iot_auth.ca) RETURNS void
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp SET lock_timeout = '5s' AS $$
BEGIN
    PERFORM iot_auth.lock_settling(target.ca_id);
    RAISE EXCEPTION 'undo' USING ERRCODE = 'IAUND';
EXCEPTION
    WHEN SQLSTATE 'IAUND' THEN
        NULL;
    WHEN lock_not_available THEN
        PERFORM iot_auth.busy(format('a registration under CA ''%s''', target.name));
END $$;

-- Everything that an administrator can get wrong in a row, for register_ca and set_ca.
CREATE FUNCTION iot_auth.require_ca_settings(c iot_auth.ca) RETURNS void
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    predecessor iot_auth.ca;
BEGIN
    PERFORM iot_auth.require('auto_registration', NULL, CASE WHEN c.auto_registration IS NULL THEN 'is missing' END);
    PERFORM iot_auth.require_one_of('registered_status', c.registered_status, ARRAY['ACTIVE', 'PENDING']);
    PERFORM iot_auth.require('device_id_template', c.device_id_template,
        iot_auth.template_problem(c.device_id_template, false, iot_auth.certificate_variables()));
    PERFORM iot_auth.require('client_id_templates', NULL,
        iot_auth.client_id_templates_problem(c.client_id_templates, iot_auth.client_id_variables()));
    PERFORM iot_auth.require('tenant', c.tenant,
        CASE WHEN c.tenant IS NOT NULL THEN iot_auth.value_problem(c.tenant) END);
    PERFORM iot_auth.require('max_devices', c.max_devices::text,
        CASE WHEN c.max_devices < 0 THEN 'must not be negative' END);
    PERFORM iot_auth.require('max_registrations_per_minute', c.max_registrations_per_minute::text,
        CASE WHEN c.max_registrations_per_minute < 0 THEN 'must not be negative' END);
    PERFORM iot_auth.require_one_of('registration', c.registration, ARRAY['any', 'expected']);
    PERFORM iot_auth.require('registration', c.registration,
        CASE WHEN c.registration = 'expected' AND NOT c.auto_registration
             THEN 'requires auto_registration, without which no device registers' END);
    PERFORM iot_auth.require('provisioning', NULL, iot_auth.provisioning_problem(c.provisioning, c.tenant));
    SELECT * INTO predecessor FROM iot_auth.ca p WHERE p.ca_id = c.replaces;
    IF FOUND AND predecessor.tenant IS DISTINCT FROM c.tenant THEN
        PERFORM iot_auth.fail(format('CA ''%s'' has %s, but a CA can be replaced only by a CA of the same tenant',
                                     predecessor.name,
                                     coalesce('tenant ' || quote_literal(predecessor.tenant), 'no tenant')));
    END IF;
END $$;

-- One signature: with two of them, a call with named arguments would be ambiguous.
DROP FUNCTION iot_auth.register_ca;
CREATE FUNCTION iot_auth.register_ca(
    pem text, name text, auto_registration boolean DEFAULT false, registered_status text DEFAULT 'ACTIVE',
    device_id_template text DEFAULT '${cert.cn}', client_id_templates text[] DEFAULT ARRAY['${device_id}'],
    roles text[] DEFAULT ARRAY['device'], tenant text DEFAULT NULL, max_devices bigint DEFAULT NULL,
    max_registrations_per_minute int DEFAULT NULL, replaces text DEFAULT NULL, registration text DEFAULT 'any',
    provisioning jsonb DEFAULT NULL) RETURNS bigint
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
#variable_conflict use_column
DECLARE
    c iot_auth.ca;
    existing_name text;
    role_name text;
BEGIN
    PERFORM iot_auth.require('name', register_ca.name, iot_auth.value_problem(register_ca.name));
    c.name := register_ca.name;
    c.pem := register_ca.pem;
    c.fingerprint := sha256(iot_auth.require_pem('pem', register_ca.pem, 'CERTIFICATE'));
    c.auto_registration := register_ca.auto_registration;
    c.registered_status := register_ca.registered_status;
    c.device_id_template := register_ca.device_id_template;
    c.client_id_templates := register_ca.client_id_templates;
    c.tenant := register_ca.tenant;
    c.max_devices := register_ca.max_devices;
    c.max_registrations_per_minute := register_ca.max_registrations_per_minute;
    c.registration := register_ca.registration;
    c.provisioning := register_ca.provisioning;
    IF register_ca.replaces IS NOT NULL THEN
        c.replaces := (iot_auth.find_ca(register_ca.replaces)).ca_id;
    END IF;
    PERFORM iot_auth.require_ca_settings(c);
    PERFORM iot_auth.require('roles', NULL,
        CASE WHEN cardinality(register_ca.roles) > 0 THEN iot_auth.list_problem(register_ca.roles, 64) END);
    FOREACH role_name IN ARRAY coalesce(register_ca.roles, '{}') LOOP
        PERFORM iot_auth.require_role(role_name);
    END LOOP;
    IF EXISTS (SELECT FROM iot_auth.ca o WHERE o.name = c.name) THEN
        PERFORM iot_auth.fail(format('CA ''%s'' already exists', c.name), 'Choose another name.', 'duplicate_object');
    END IF;
    SELECT o.name INTO existing_name FROM iot_auth.ca o WHERE o.fingerprint = c.fingerprint;
    IF FOUND THEN
        PERFORM iot_auth.fail(format('certificate is already registered as CA ''%s''', existing_name), NULL,
                              'duplicate_object');
    END IF;

    INSERT INTO iot_auth.ca (name, pem, fingerprint, auto_registration, registered_status, device_id_template,
                             client_id_templates, tenant, max_devices, max_registrations_per_minute, replaces,
                             registration, provisioning)
    VALUES (c.name, c.pem, c.fingerprint, c.auto_registration, c.registered_status, c.device_id_template,
            c.client_id_templates, c.tenant, c.max_devices, c.max_registrations_per_minute, c.replaces,
            c.registration, c.provisioning)
    RETURNING ca_id INTO c.ca_id;
    INSERT INTO iot_auth.ca_role (ca_id, role) SELECT DISTINCT c.ca_id, r FROM unnest(register_ca.roles) r;
    RETURN c.ca_id;
END $$;

-- The row with the columns in `reset` back at their defaults.
CREATE FUNCTION iot_auth.reset_ca(c iot_auth.ca, reset text[]) RETURNS iot_auth.ca
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    column_name text;
BEGIN
    PERFORM iot_auth.require('reset', NULL, CASE WHEN cardinality(reset) > 0 THEN iot_auth.list_problem(reset, 64) END);
    FOREACH column_name IN ARRAY coalesce(reset, '{}') LOOP
        CASE column_name
            WHEN 'auto_registration' THEN c.auto_registration := false;
            WHEN 'registered_status' THEN c.registered_status := 'ACTIVE';
            WHEN 'device_id_template' THEN c.device_id_template := '${cert.cn}';
            WHEN 'client_id_templates' THEN c.client_id_templates := ARRAY['${device_id}'];
            WHEN 'max_devices' THEN c.max_devices := NULL;
            WHEN 'max_registrations_per_minute' THEN c.max_registrations_per_minute := NULL;
            WHEN 'registration' THEN c.registration := 'any';
            WHEN 'provisioning' THEN c.provisioning := NULL;
            WHEN 'replaces' THEN c.replaces := NULL;
            ELSE PERFORM iot_auth.fail(format('reset contains ''%s'', which is no column that set_ca can reset',
                                              left(column_name, 80)));
        END CASE;
    END LOOP;
    RETURN c;
END $$;

-- The row as it is now, locked as an update locks it; for no longer than an update of its status waits (0010).
CREATE FUNCTION iot_auth.lock_ca(target iot_auth.ca) RETURNS iot_auth.ca
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp SET lock_timeout = '5s' AS $$
DECLARE
    locked iot_auth.ca;
BEGIN
    SELECT * INTO STRICT locked FROM iot_auth.ca o WHERE o.ca_id = target.ca_id FOR NO KEY UPDATE;
    RETURN locked;
EXCEPTION
    WHEN lock_not_available THEN
        PERFORM iot_auth.busy(format('CA ''%s''', target.name));
    WHEN no_data_found THEN
        PERFORM iot_auth.fail(format('CA ''%s'' is not registered', target.name));
END $$;

-- Change what is given.  NULL: not given; `reset` names columns that go back to their defaults.
CREATE FUNCTION iot_auth.set_ca(
    name text, auto_registration boolean DEFAULT NULL, registered_status text DEFAULT NULL,
    device_id_template text DEFAULT NULL, client_id_templates text[] DEFAULT NULL, max_devices bigint DEFAULT NULL,
    max_registrations_per_minute int DEFAULT NULL, registration text DEFAULT NULL, provisioning jsonb DEFAULT NULL,
    replaces text DEFAULT NULL, reset text[] DEFAULT '{}') RETURNS void
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
#variable_conflict use_column
DECLARE
    c iot_auth.ca := iot_auth.find_ca(set_ca.name);
    given text[] := ARRAY(SELECT v.name FROM (VALUES
        ('auto_registration', set_ca.auto_registration IS NOT NULL),
        ('registered_status', set_ca.registered_status IS NOT NULL),
        ('device_id_template', set_ca.device_id_template IS NOT NULL),
        ('client_id_templates', set_ca.client_id_templates IS NOT NULL),
        ('max_devices', set_ca.max_devices IS NOT NULL),
        ('max_registrations_per_minute', set_ca.max_registrations_per_minute IS NOT NULL),
        ('registration', set_ca.registration IS NOT NULL), ('provisioning', set_ca.provisioning IS NOT NULL),
        ('replaces', set_ca.replaces IS NOT NULL)) v(name, is_given) WHERE v.is_given);
BEGIN
    IF given && set_ca.reset THEN
        PERFORM iot_auth.fail('a column must not be both given and reset');
    END IF;
    PERFORM iot_auth.await_registrations(c);
    c := iot_auth.lock_ca(c);
    c := iot_auth.reset_ca(c, set_ca.reset);
    c.auto_registration := coalesce(set_ca.auto_registration, c.auto_registration);
    c.registered_status := coalesce(set_ca.registered_status, c.registered_status);
    c.device_id_template := coalesce(set_ca.device_id_template, c.device_id_template);
    c.client_id_templates := coalesce(set_ca.client_id_templates, c.client_id_templates);
    c.max_devices := coalesce(set_ca.max_devices, c.max_devices);
    c.max_registrations_per_minute := coalesce(set_ca.max_registrations_per_minute, c.max_registrations_per_minute);
    c.registration := coalesce(set_ca.registration, c.registration);
    c.provisioning := coalesce(set_ca.provisioning, c.provisioning);
    IF set_ca.replaces IS NOT NULL THEN
        c.replaces := (iot_auth.find_ca(set_ca.replaces)).ca_id;
    END IF;
    PERFORM iot_auth.require_ca_settings(c);
    UPDATE iot_auth.ca o
    SET auto_registration = c.auto_registration, registered_status = c.registered_status,
        device_id_template = c.device_id_template, client_id_templates = c.client_id_templates,
        max_devices = c.max_devices, max_registrations_per_minute = c.max_registrations_per_minute,
        registration = c.registration, provisioning = c.provisioning, replaces = c.replaces
    WHERE o.ca_id = c.ca_id;
END $$;

CREATE FUNCTION iot_auth.set_registration_hook(ca_name text, hook regprocedure) RETURNS void
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    target iot_auth.ca := iot_auth.find_ca(set_registration_hook.ca_name);
    named text := hook::text; -- with its schema, because only pg_catalog is in search_path
BEGIN
    IF hook IS NOT NULL THEN
        PERFORM iot_auth.require('hook', named, (iot_auth.hook_function(named)).problem);
    END IF;
    PERFORM iot_auth.await_registrations(target);
    target := iot_auth.lock_ca(target);
    UPDATE iot_auth.ca c SET registration_hook = named WHERE c.ca_id = target.ca_id;
END $$;

-- The configuration as data: what brokers write is no setting.
CREATE OR REPLACE FUNCTION iot_auth.settings_of(r jsonb) RETURNS jsonb LANGUAGE sql IMMUTABLE PARALLEL SAFE
RETURN (SELECT coalesce(jsonb_object_agg(e.key, e.value), '{}')
        FROM jsonb_each(r - ARRAY['ca_id', 'name', 'fingerprint', 'name_key_hash', 'created_at', 'subject',
                                  'not_before', 'not_after', 'replaces', 'problem', 'note', 'problem_parsed',
                                  'problem_roles', 'problem_hook']) e
        WHERE e.value <> 'null');

-- All settings in one statement: some are valid only together.
CREATE OR REPLACE FUNCTION iot_auth.apply_settings(relation regclass, name text, settings jsonb, kept text[]) RETURNS void
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    assignments text;
    differs text;
BEGIN
    SELECT string_agg(format('%I = %s', s.attname, s.value), ', '),
           string_agg(format('t.%I IS DISTINCT FROM %s', s.attname, s.value), ' OR ')
    INTO assignments, differs
    FROM (SELECT a.attname, format('CASE WHEN $1 ? %1$L THEN s.%1$I ELSE %2$s END', a.attname,
                                   coalesce(pg_get_expr(d.adbin, d.adrelid), 'NULL')) AS value
          FROM pg_attribute a LEFT JOIN pg_attrdef d ON d.adrelid = a.attrelid AND d.adnum = a.attnum
          WHERE a.attrelid = relation AND a.attnum > 0 AND NOT a.attisdropped
            AND iot_auth.settings_of(jsonb_build_object(a.attname, true)) <> '{}' AND a.attname <> ALL (kept)) s;
    EXECUTE format('UPDATE %1$s t SET %2$s FROM jsonb_populate_record(NULL::%1$s, $1) s WHERE t.name = $2 AND (%3$s)',
                   relation, assignments, differs) USING settings, apply_settings.name;
END $$;

-- Expected devices: a factory's list.  Each certificate that registers uses up one entry.

-- A serial number as people write it: decimal or hexadecimal digits, perhaps with colons.
CREATE FUNCTION iot_auth.serial_problem(v text) RETURNS text
LANGUAGE sql IMMUTABLE PARALLEL SAFE
RETURN CASE
    WHEN octet_length(v) > 128 THEN 'is longer than 128 bytes'
    WHEN v COLLATE "C" !~ '^[0-9A-Fa-f]+(:[0-9A-Fa-f]+)*$' THEN 'must be decimal or hexadecimal digits, with or without colons'
END;

-- Does it mean the serial number `hex` of a certificate (x509/cert.h)?  Digits alone may be meant either way.
CREATE FUNCTION iot_auth.serial_matches(written text, hex text) RETURNS boolean
LANGUAGE plpgsql IMMUTABLE PARALLEL SAFE SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    digits text := ltrim(lower(replace(written, ':', '')), '0');
    value numeric := 0;
BEGIN
    IF hex IS NULL OR digits IS NULL OR octet_length(hex) > 64 THEN
        RETURN false;
    ELSIF digits = ltrim(hex, '0') THEN
        RETURN true;
    ELSIF digits ~ '[^0-9]' OR hex ~ '[^0-9a-f]' OR strpos(written, ':') > 0 THEN
        RETURN false;
    END IF;
    FOR i IN 1 .. length(hex) LOOP
        value := value * 16 + strpos('0123456789abcdef', substr(hex, i, 1)) - 1;
    END LOOP;
    RETURN ltrim(value::text, '0') = digits;
END $$;

-- A list of at most 64 role names.
CREATE FUNCTION iot_auth.role_list_problem(list text[]) RETURNS text
LANGUAGE sql IMMUTABLE PARALLEL SAFE
RETURN CASE WHEN list = '{}' THEN NULL ELSE iot_auth.texts_problem(list, 64, 128) END;

CREATE TABLE iot_auth.expected_device (
    ca_name     text COLLATE "C" NOT NULL,
    device_id   text COLLATE "C" NOT NULL,
    serial      text COLLATE "C", -- NULL: any
    fingerprint bytea,            -- NULL: any
    attributes  jsonb NOT NULL DEFAULT '{}',
    roles       text[] COLLATE "C" NOT NULL DEFAULT '{}',
    expires_at  timestamptz,
    used_at     timestamptz,      -- when a certificate registered by this entry
    CONSTRAINT expected_device_id_is_a_value CHECK (iot_auth.device_id_problem(device_id) IS NULL),
    CONSTRAINT expected_serial_is_a_number CHECK (serial IS NULL OR iot_auth.serial_problem(serial) IS NULL),
    CONSTRAINT expected_fingerprint_is_sha256 CHECK (octet_length(fingerprint) = 32),
    CONSTRAINT expected_attributes_fit CHECK (attributes = '{}' OR iot_auth.attributes_problem(attributes) IS NULL),
    CONSTRAINT expected_roles_fit CHECK (roles = '{}' OR iot_auth.role_list_problem(roles) IS NULL),
    CONSTRAINT expected_expiry_is_finite CHECK (expires_at IS NULL OR isfinite(expires_at))
) WITH (fillfactor = 90);
-- By the id first: an unused entry reserves it against other CAs.  No index by the CA alone: a plan that used it would
-- read all of a list for each batch.
CREATE UNIQUE INDEX expected_device_unused ON iot_auth.expected_device (device_id, ca_name) WHERE used_at IS NULL;

-- Once for a statement: a million rows are copied in one, and a foreign key alone would take half of the time.  The CA is
-- locked as a foreign key would lock it: a deletion of the CA waits for the entries, and then deletes them.
CREATE FUNCTION iot_auth.check_expected() RETURNS trigger
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    one text;
BEGIN
    FOR one IN SELECT DISTINCT n.ca_name FROM new_rows n ORDER BY 1 LOOP
        PERFORM FROM iot_auth.ca c WHERE c.name = one FOR KEY SHARE;
        PERFORM iot_auth.find_ca(one); -- raises an error
    END LOOP;
    PERFORM iot_auth.require_role(n.role)
    FROM (SELECT DISTINCT unnest(r.roles) AS role FROM new_rows r WHERE r.roles <> '{}') n;
    RETURN NULL;
END $$;
CREATE TRIGGER expected_insert AFTER INSERT ON iot_auth.expected_device REFERENCING NEW TABLE AS new_rows
    FOR EACH STATEMENT EXECUTE FUNCTION iot_auth.check_expected();
CREATE TRIGGER expected_identity_is_fixed BEFORE UPDATE ON iot_auth.expected_device FOR EACH ROW
    WHEN (OLD.ca_name <> NEW.ca_name OR OLD.device_id <> NEW.device_id)
    EXECUTE FUNCTION iot_auth.refuse('CA and device of an entry cannot be changed', 'Delete the entry, and insert another.');

CREATE FUNCTION iot_auth.check_expected_roles() RETURNS trigger
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    PERFORM iot_auth.require_role(r) FROM unnest(NEW.roles) r;
    RETURN NEW;
END $$;
CREATE TRIGGER expected_roles BEFORE UPDATE ON iot_auth.expected_device FOR EACH ROW
    WHEN (OLD.roles IS DISTINCT FROM NEW.roles) EXECUTE FUNCTION iot_auth.check_expected_roles();

-- Entries go with their CA.
CREATE FUNCTION iot_auth.forget_expected() RETURNS trigger
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    IF current_setting('transaction_isolation') NOT IN ('read committed', 'read uncommitted') THEN
        -- An older snapshot would not show entries that were committed while the deletion waited for them.
        PERFORM iot_auth.fail('a CA is deleted in transaction isolation READ COMMITTED only');
    END IF;
    IF TG_OP = 'TRUNCATE' THEN
        DELETE FROM iot_auth.expected_device;
    ELSE
        DELETE FROM iot_auth.expected_device e USING old_rows o WHERE e.ca_name = o.name;
    END IF;
    RETURN NULL;
END $$;
CREATE TRIGGER expected_delete AFTER DELETE ON iot_auth.ca REFERENCING OLD TABLE AS old_rows FOR EACH STATEMENT
    EXECUTE FUNCTION iot_auth.forget_expected();
CREATE TRIGGER expected_truncate AFTER TRUNCATE ON iot_auth.ca FOR EACH STATEMENT
    EXECUTE FUNCTION iot_auth.forget_expected();
SELECT iot_auth.audit_table('expected_device', 'device_id, ca_name', 'r.device_id', 'to_jsonb(r)');

CREATE FUNCTION iot_auth.expect_device(
    ca_name text, device_id text, serial text DEFAULT NULL, fingerprint_hex text DEFAULT NULL,
    attributes jsonb DEFAULT '{}', roles text[] DEFAULT '{}', expires_at timestamptz DEFAULT NULL) RETURNS void
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
#variable_conflict use_column
DECLARE
    target iot_auth.ca := iot_auth.find_ca(expect_device.ca_name);
    hex text := lower(replace(fingerprint_hex, ':', ''));
    role_name text;
BEGIN
    PERFORM iot_auth.require('device_id', expect_device.device_id,
                             iot_auth.device_id_problem(expect_device.device_id));
    PERFORM iot_auth.require('serial', expect_device.serial, iot_auth.serial_problem(expect_device.serial));
    PERFORM iot_auth.require('fingerprint_hex', fingerprint_hex,
        CASE WHEN hex !~ '^[0-9a-f]{64}$' THEN 'must be 64 hexadecimal digits (SHA-256)' END);
    PERFORM iot_auth.require('attributes', NULL, iot_auth.attributes_problem(expect_device.attributes));
    PERFORM iot_auth.require('roles', NULL,
        CASE WHEN expect_device.roles IS NULL THEN 'is missing'
             ELSE iot_auth.role_list_problem(expect_device.roles) END);
    FOREACH role_name IN ARRAY expect_device.roles LOOP
        PERFORM iot_auth.require_role(role_name);
    END LOOP;
    PERFORM iot_auth.require('expires_at', expect_device.expires_at::text,
        CASE WHEN NOT isfinite(expect_device.expires_at) THEN 'must be finite (omit it for an entry that does not expire)'
             WHEN expect_device.expires_at <= now() THEN 'is in the past' END);
    INSERT INTO iot_auth.expected_device AS e (ca_name, device_id, serial, fingerprint, attributes, roles, expires_at)
    VALUES (target.name, expect_device.device_id, expect_device.serial, decode(hex, 'hex'), expect_device.attributes,
            expect_device.roles, expect_device.expires_at)
    ON CONFLICT (device_id, ca_name) WHERE used_at IS NULL DO UPDATE
    SET serial = excluded.serial, fingerprint = excluded.fingerprint, attributes = excluded.attributes,
        roles = excluded.roles, expires_at = excluded.expires_at;
END $$;

-- Registration

-- An item as the broker sends it has `terms`, the version of the template and of the device id's template that it was made
-- with (NULL, from a broker of an earlier release: not known); `provision`, the CA's template filled in, as JSON:
-- {"attributes", "missing", "tenant", "missing_tenant", "identity"} (NULL: none); and `hook`, what to do where the CA has a
-- hook: 'later' (outcome 'hook': nothing was done), 'ask', or, for administrators only, 'skip', as if the hook allowed it.
-- The next four are what its registration gives the device, the last two why it is refused.
ALTER TYPE iot_auth.registration_item ADD ATTRIBUTE terms text, ADD ATTRIBUTE provision text, ADD ATTRIBUTE hook text,
    ADD ATTRIBUTE attributes jsonb, ADD ATTRIBUTE roles text[], ADD ATTRIBUTE tenant text, ADD ATTRIBUTE listed boolean,
    ADD ATTRIBUTE refused text, ADD ATTRIBUTE why text;

-- The items that the list of the CA says something about: what their entries give, or why they are refused.  An entry is for
-- one certificate: of several of the same device that it fits, the first has it.
CREATE FUNCTION iot_auth.registration_listed(ca iot_auth.ca, items iot_auth.registration_item[])
RETURNS iot_auth.registration_item[]
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    ids text[] := ARRAY(SELECT i.device_id FROM unnest(items) i);
    entries iot_auth.expected_device[] := ARRAY(
        SELECT e FROM iot_auth.expected_device e
        WHERE e.device_id = ANY (ids) AND e.ca_name = ca.name AND e.used_at IS NULL ORDER BY e.device_id FOR UPDATE);
    reserved jsonb := (
        SELECT jsonb_object_agg(e.device_id, e.ca_name)
        FROM iot_auth.expected_device e JOIN iot_auth.ca o ON o.name = e.ca_name
        WHERE e.device_id = ANY (ids) AND e.used_at IS NULL AND e.ca_name <> ca.name
          AND coalesce(e.expires_at > clock_timestamp(), true) AND NOT iot_auth.ca_succeeds(ca.ca_id, o.ca_id)
          AND NOT EXISTS (SELECT FROM iot_auth.device d WHERE d.device_id = e.device_id));
BEGIN
    IF cardinality(entries) = 0 AND reserved IS NULL AND ca.registration = 'any' THEN
        RETURN items;
    END IF;
    RETURN ARRAY(
        SELECT (x.item, x.fingerprint, x.device_id, x.ca_id, x.serial, x.subject, x.not_before, x.not_after, x.address,
                x.terms, x.provision, x.hook, CASE WHEN x.wrong IS NULL THEN x.given_attributes END,
                CASE WHEN x.wrong IS NULL THEN x.given_roles END, NULL, x.wrong IS NULL,
                CASE WHEN x.wrong IS NULL THEN NULL WHEN reserved ? x.device_id THEN 'device_conflict'
                     WHEN ca.registration = 'expected' THEN 'device_unexpected' END,
                CASE WHEN reserved ? x.device_id
                     THEN format('device ''%s'' is expected of CA ''%s''', x.device_id, reserved ->> x.device_id)
                     ELSE x.wrong END)::iot_auth.registration_item
        FROM (SELECT f.*, CASE WHEN f.unfit IS NULL AND f.place > 1
                               THEN format('it is not on the list of CA ''%s'', or its entry is used up', ca.name)
                               ELSE f.unfit END AS wrong
              FROM (SELECT i.*, e.attributes AS given_attributes, e.roles AS given_roles, u.unfit,
                           row_number() OVER (PARTITION BY i.device_id, u.unfit IS NULL
                                              ORDER BY i.fingerprint, i.item) AS place
                    FROM unnest(items) i LEFT JOIN unnest(entries) e ON e.device_id = i.device_id
                    CROSS JOIN LATERAL (
                        SELECT CASE WHEN e.device_id IS NULL OR num_nonnulls(e.serial, e.fingerprint, e.expires_at) > 0
                                    THEN iot_auth.entry_unfit(ca.name, e, i.fingerprint, i.serial) END AS unfit
                        OFFSET 0) u) f) x);
END $$;

-- Why the entry (NULL: none) does not admit the certificate, or NULL.
CREATE FUNCTION iot_auth.entry_unfit(ca_name text, entry iot_auth.expected_device, fingerprint bytea, serial text)
RETURNS text
LANGUAGE sql STABLE
RETURN CASE
    WHEN (entry).device_id IS NULL THEN format('it is not on the list of CA ''%s'', or its entry is used up', ca_name)
    WHEN (entry).expires_at <= clock_timestamp()
        THEN format('its entry on the list expired at %s', (entry).expires_at)
    WHEN (entry).fingerprint <> fingerprint THEN 'its entry on the list names another certificate'
    WHEN (entry).serial IS NOT NULL AND NOT iot_auth.serial_matches((entry).serial, serial)
        THEN 'its entry on the list names another serial number'
END;

-- The items with what the template of the CA gives, as a broker has filled it in, under what their entries give; or with the
-- reason why they are refused.  A broker's word counts only for attributes that the template has.
CREATE FUNCTION iot_auth.registration_filled(ca iot_auth.ca, items iot_auth.registration_item[])
RETURNS iot_auth.registration_item[]
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    template jsonb := coalesce(ca.provisioning, '{}');
    its_roles text[] := '{}';
    refuses boolean := coalesce(template ->> 'on_missing' = 'refuse', false);
    needed text[] := ARRAY(SELECT m.key FROM jsonb_object_keys(template -> 'attributes') m(key)
                           WHERE refuses OR template -> 'required' ? m.key ORDER BY 1);
    sets_tenant boolean := ca.tenant IS NULL AND template ? 'tenant';
    needs_tenant boolean := coalesce(sets_tenant AND (refuses OR template -> 'required' ? 'tenant'), false);
BEGIN
    IF template ? 'roles' THEN
        its_roles := ARRAY(SELECT DISTINCT r.role FROM jsonb_array_elements_text(template -> 'roles') t
                           JOIN iot_auth.role r ON r.role = t);
    END IF;
    RETURN ARRAY(
        SELECT (i.item, i.fingerprint, i.device_id, i.ca_id, i.serial, i.subject, i.not_before, i.not_after, i.address,
                i.terms, i.provision, i.hook, g.attributes,
                CASE WHEN coalesce(i.roles, '{}') = '{}' THEN its_roles
                     ELSE ARRAY(SELECT unnest(its_roles)
                                UNION SELECT r.role FROM unnest(i.roles) l JOIN iot_auth.role r ON r.role = l) END,
                t.tenant, i.listed,
                CASE WHEN i.refused IS NOT NULL THEN i.refused
                     WHEN m.missing IS NOT NULL OR needs_tenant AND t.tenant IS NULL THEN 'identity_invalid' END,
                CASE WHEN i.refused IS NOT NULL THEN i.why
                     WHEN m.missing IS NOT NULL THEN format('attribute ''%s'': %s', m.missing, coalesce(
                         p.filled #>> ARRAY['missing', m.missing], 'it is not set'))
                     WHEN needs_tenant AND t.tenant IS NULL
                         THEN format('tenant: %s', coalesce(p.filled ->> 'missing_tenant', 'it is not set')) END
               )::iot_auth.registration_item
        FROM unnest(items) i
        CROSS JOIN LATERAL (SELECT i.provision::jsonb AS filled OFFSET 0) p
        CROSS JOIN LATERAL (
            SELECT coalesce(jsonb_object_agg(a.key, a.value), '{}') || coalesce(i.attributes, '{}') AS attributes
            FROM jsonb_each_text(p.filled -> 'attributes') a
            WHERE template -> 'attributes' ? a.key
              AND (a.value COLLATE "C" ~ '^[0-9A-Za-z_.:-]{1,128}$' -- asked first: it costs less
                   OR iot_auth.value_problem(a.value) IS NULL)) g
        CROSS JOIN LATERAL (
            SELECT CASE WHEN sets_tenant AND iot_auth.value_problem(p.filled ->> 'tenant') IS NULL
                        THEN p.filled ->> 'tenant' ELSE ca.tenant END AS tenant OFFSET 0) t
        CROSS JOIN LATERAL (SELECT (SELECT k FROM unnest(needed) k WHERE NOT g.attributes ? k LIMIT 1) AS missing
                            OFFSET 0) m);
END $$;

-- Ask the hook of a CA.  What the hook has done is undone when it fails, also when it fails in its answer.  Its statement has
-- a time limit of its own, which the broker has set in a statement before (a limit that is set inside of a statement
-- does not count for it).  How the registration plans its own statements (register_items) is not for the hook's.
CREATE FUNCTION iot_auth.ask_hook(ca iot_auth.ca, request jsonb, INOUT attributes jsonb, INOUT roles text[],
                                  INOUT tenant text, OUT outcome text, OUT detail text)
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
#variable_conflict use_variable
DECLARE
    f record;
    answer jsonb;
    wrong text;
BEGIN
    BEGIN
        f := iot_auth.hook_function(ca.registration_hook);
        IF f.problem IS NOT NULL THEN
            wrong := f.problem;
            RAISE EXCEPTION 'undo' USING ERRCODE = 'IAUND';
        END IF;
        SET LOCAL enable_seqscan TO DEFAULT;
        SET LOCAL plan_cache_mode TO DEFAULT;
        EXECUTE (SELECT format('SELECT %I.%I($1)', n.nspname, p.proname)
                 FROM pg_proc p JOIN pg_namespace n ON n.oid = p.pronamespace WHERE p.oid = f.called)
            INTO answer USING request;
        SET LOCAL enable_seqscan = off;
        SET LOCAL plan_cache_mode = force_generic_plan;
        -- The name may have come to mean another function before it was called.
        IF f IS DISTINCT FROM iot_auth.hook_function(ca.registration_hook) THEN
            wrong := 'was changed while it was called';
        ELSE
            wrong := iot_auth.hook_answer_problem(answer, ca.tenant);
        END IF;
        IF wrong IS NOT NULL THEN
            RAISE EXCEPTION 'undo' USING ERRCODE = 'IAUND';
        END IF;
    EXCEPTION
        WHEN lock_not_available THEN
            wrong := 'waited for a lock';
        WHEN query_canceled THEN
            wrong := 'took longer than the time limit';
        WHEN SQLSTATE 'IAUND' THEN
            NULL;
        WHEN OTHERS OR assert_failure THEN
            wrong := 'failed: ' || SQLERRM;
    END;
    IF wrong IS NOT NULL THEN
        outcome := 'registry_unavailable';
        detail := iot_auth.bounded_text(format('the registration hook %s %s', ca.registration_hook, wrong), 500);
        RETURN;
    END IF;
    IF NOT (answer -> 'allow')::boolean THEN
        outcome := 'hook_refused';
        detail := coalesce(iot_auth.bounded_text(answer ->> 'reason', 500), 'the registration hook refuses the device');
        RETURN;
    END IF;
    attributes := coalesce(nullif(answer -> 'attributes', 'null'), attributes);
    tenant := coalesce(answer ->> 'tenant', tenant);
    IF jsonb_typeof(answer -> 'roles') = 'array' THEN
        roles := ARRAY(SELECT DISTINCT r FROM jsonb_array_elements_text(answer -> 'roles') r);
    END IF;
END $$;

-- A member that is null counts as not given, because jsonb_build_object writes it so.
CREATE FUNCTION iot_auth.hook_answer_problem(answer jsonb, ca_tenant text) RETURNS text
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    wrong record;
BEGIN
    IF jsonb_typeof(answer) IS DISTINCT FROM 'object' THEN
        RETURN 'did not answer with a JSON object';
    ELSIF iot_auth.json_problem(answer, 16384) IS NOT NULL THEN
        RETURN 'gave an answer that ' || iot_auth.json_problem(answer, 16384);
    ELSIF jsonb_typeof(answer -> 'allow') IS DISTINCT FROM 'boolean' THEN
        RETURN 'gave an answer without a boolean ''allow''';
    END IF;
    SELECT m.key, m.problem INTO wrong FROM (
        SELECT e.key, CASE
            WHEN e.key = 'allow' OR e.key IN ('reason', 'attributes', 'roles', 'tenant') AND e.value = 'null' THEN NULL
            WHEN e.key = 'reason' THEN CASE WHEN jsonb_typeof(e.value) <> 'string' THEN 'is not a text' END
            WHEN e.key = 'attributes' THEN iot_auth.attributes_problem(e.value)
            WHEN e.key = 'roles' THEN coalesce(
                iot_auth.names_problem(e.value),
                (SELECT 'contains ' || quote_literal(r) || ', which is no role'
                 FROM jsonb_array_elements_text(CASE jsonb_typeof(e.value) WHEN 'array' THEN e.value END) r
                 WHERE NOT EXISTS (SELECT FROM iot_auth.role o WHERE o.role = r) LIMIT 1))
            WHEN e.key = 'tenant' THEN CASE
                WHEN jsonb_typeof(e.value) <> 'string' THEN 'is not a text'
                WHEN e.value #>> '{}' <> ca_tenant THEN 'is not the tenant of the CA'
                ELSE iot_auth.value_problem(e.value #>> '{}') END
            ELSE 'is unknown' END AS problem
        FROM jsonb_each(answer) e) m WHERE m.problem IS NOT NULL ORDER BY m.key LIMIT 1;
    RETURN CASE WHEN FOUND THEN format('gave an answer whose member ''%s'' %s', left(wrong.key, 80), wrong.problem) END;
END $$;

-- The item with the word of the CA's hook on it.
CREATE FUNCTION iot_auth.registration_asked(ca iot_auth.ca, one iot_auth.registration_item)
RETURNS iot_auth.registration_item
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    IF one.refused IS NOT NULL OR one.hook = 'skip' THEN
        RETURN one;
    ELSIF one.hook IS DISTINCT FROM 'ask' THEN
        one.refused := 'hook';
        RETURN one;
    END IF;
    SELECT r.* INTO one.attributes, one.roles, one.tenant, one.refused, one.why FROM iot_auth.ask_hook(
        ca, jsonb_build_object(
            'device_id', one.device_id, 'fingerprint', encode(one.fingerprint, 'hex'), 'serial', one.serial,
            'subject', one.subject, 'identity', coalesce(one.provision::jsonb -> 'identity', '{}'),
            'address', one.address, 'ca', ca.name, 'tenant', one.tenant, 'attributes', one.attributes,
            'roles', one.roles, 'existing',
            EXISTS (SELECT FROM iot_auth.device d WHERE d.device_id = one.device_id)),
        one.attributes, one.roles, one.tenant) r;
    RETURN one;
END $$;

-- The items of one CA with what their registrations give, or with the reason why they are refused.  Nothing is used up here.
CREATE FUNCTION iot_auth.registration_plans(ca iot_auth.ca, items iot_auth.registration_item[])
RETURNS iot_auth.registration_item[]
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    items := iot_auth.registration_listed(ca, items);
    items := iot_auth.registration_filled(ca, items);
    IF ca.registration_hook IS NOT NULL THEN
        FOR n IN 1 .. cardinality(items) LOOP
            items[n] := iot_auth.registration_asked(ca, items[n]);
        END LOOP;
    END IF;
    RETURN items;
END $$;

-- Does a registration under this CA, or of one of these devices, give or need more than a row?
CREATE FUNCTION iot_auth.registration_is_plain(ca iot_auth.ca, items iot_auth.registration_item[]) RETURNS boolean
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    RETURN ca.provisioning IS NULL AND ca.registration = 'any' AND ca.registration_hook IS NULL AND NOT EXISTS (
        SELECT FROM iot_auth.expected_device e
        WHERE e.device_id = ANY (ARRAY(SELECT i.device_id FROM unnest(items) i)) AND e.used_at IS NULL);
END $$;

-- What a broker has made of a certificate with another template than the CA has: it does so again.
CREATE FUNCTION iot_auth.registration_stale(ca iot_auth.ca, items iot_auth.registration_item[])
RETURNS iot_auth.registration_result[]
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    present text := iot_auth.terms_version(ca.device_id_template, ca.tenant, ca.provisioning);
BEGIN
    RETURN ARRAY(SELECT iot_auth.registration_refusal(i.item, 'stale_template',
                                                      format('the templates of CA ''%s'' have changed', ca.name))
                 FROM unnest(items) i WHERE coalesce(i.terms <> present, ca.provisioning IS NOT NULL));
END $$;

-- The end of registrations: from here to the commit, no change of what the CA gives is committed; and none was since the CA
-- was read, else all is undone (SQLSTATE IASTL).  Its status is looked at when the device connects (0009).
CREATE FUNCTION iot_auth.registration_settle(was iot_auth.ca) RETURNS void
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    present iot_auth.ca;
    own int := pg_backend_pid() % 8;
BEGIN
    LOOP
        PERFORM FROM iot_auth.ca_settling l WHERE l.ca_id = was.ca_id AND l.stripe = own FOR UPDATE;
        EXIT WHEN FOUND;
        INSERT INTO iot_auth.ca_settling (ca_id, stripe) VALUES (was.ca_id, own) ON CONFLICT DO NOTHING;
        EXIT WHEN FOUND;
    END LOOP;
    SELECT * INTO present FROM iot_auth.ca c WHERE c.ca_id = was.ca_id;
    IF (present.auto_registration, present.registered_status, present.device_id_template,
        present.tenant, present.replaces, present.registration, present.provisioning, present.registration_hook)
        IS DISTINCT FROM
       (was.auto_registration, was.registered_status, was.device_id_template,
        was.tenant, was.replaces, was.registration, was.provisioning, was.registration_hook) THEN
        RAISE EXCEPTION 'CA ''%'' has changed', was.name USING ERRCODE = 'IASTL';
    END IF;
END $$;

-- Insert the device, or use an existing device for a further certificate (rotation).  Returns the reason of a refusal,
-- or NULLs.  See 0009; new is what the registration gives, to an existing device as on_existing says.
DROP FUNCTION iot_auth.registration_device;
CREATE FUNCTION iot_auth.registration_device(ca iot_auth.ca, one iot_auth.registration_item, OUT outcome text,
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
            detail := CASE WHEN existing.ca_id IS NULL THEN format('device ''%s'' belongs to no CA', one.device_id)
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

-- Returns why nothing was changed: the device alone is refused, where a constraint would refuse a whole batch; or NULL.
-- Sessions of its other certificates, on this broker and on others, get their rights by the notification.
CREATE FUNCTION iot_auth.provision_existing(existing iot_auth.device, rule text, p_attributes jsonb, p_roles text[],
                                            p_tenant text) RETURNS text
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
#variable_conflict use_column
DECLARE
    has text[] := ARRAY(SELECT r.role FROM iot_auth.device_role r WHERE r.device_id = existing.device_id);
    gets text[] := ARRAY(SELECT unnest(p_roles) EXCEPT SELECT unnest(has));
    loses text[] := CASE rule WHEN 'replace' THEN ARRAY(SELECT unnest(has) EXCEPT SELECT unnest(p_roles)) ELSE '{}' END;
    merged jsonb := CASE rule WHEN 'merge' THEN existing.attributes || p_attributes ELSE p_attributes END;
    its_tenant text := CASE rule WHEN 'merge' THEN coalesce(p_tenant, existing.tenant) ELSE p_tenant END;
BEGIN
    IF iot_auth.json_problem(merged, 65536) IS NOT NULL THEN
        RETURN format('with what the device ''%s'' has, attributes %s', existing.device_id,
                      iot_auth.json_problem(merged, 65536));
    ELSIF cardinality(has) - cardinality(loses) + cardinality(gets) > 256 THEN
        RETURN format('device ''%s'' would have more than 256 roles', existing.device_id);
    END IF;
    IF (merged, its_tenant) IS DISTINCT FROM (existing.attributes, existing.tenant) THEN
        UPDATE iot_auth.device d SET attributes = merged, tenant = its_tenant WHERE d.device_id = existing.device_id;
    ELSIF gets = '{}' AND loses = '{}' THEN
        RETURN NULL;
    END IF;
    IF loses <> '{}' THEN
        DELETE FROM iot_auth.device_role r WHERE r.device_id = existing.device_id AND r.role = ANY (loses);
    END IF;
    IF gets <> '{}' THEN
        INSERT INTO iot_auth.device_role (device_id, role) SELECT existing.device_id, r FROM unnest(gets) r
        ON CONFLICT DO NOTHING;
    END IF;
    PERFORM iot_auth.notify('device', ARRAY[existing.device_id]);
    RETURN NULL;
END $$;

-- As in 0019.  New: the devices get what their registration gives them.
CREATE OR REPLACE FUNCTION iot_auth.registration_new_devices(ca iot_auth.ca, items iot_auth.registration_item[])
RETURNS iot_auth.registration_item[]
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    first iot_auth.registration_item[] := ARRAY(
        SELECT i::iot_auth.registration_item
        FROM (SELECT DISTINCT ON (i.device_id) i.* FROM unnest(items) i ORDER BY i.device_id, i.fingerprint, i.item) i);
    inserted text[];
BEGIN
    IF iot_auth.registration_quota(ca, true, cardinality(first)) IS NOT NULL THEN
        RETURN '{}';
    END IF;
    WITH fresh AS (
        INSERT INTO iot_auth.device (device_id, ca_id, tenant, status, registered_by, created_at, attributes)
        SELECT i.device_id, ca.ca_id, coalesce(i.tenant, ca.tenant), ca.registered_status, 'jitr', clock_timestamp(),
               coalesce(i.attributes, '{}')
        FROM unnest(first) i ORDER BY i.device_id
        ON CONFLICT DO NOTHING
        RETURNING device_id)
    SELECT array_agg(f.device_id) INTO inserted FROM fresh f;
    IF ca.max_devices IS NOT NULL AND inserted IS NOT NULL THEN
        UPDATE iot_auth.ca_usage u SET devices = u.devices + cardinality(inserted)
        WHERE u.ca_id = ca.ca_id AND u.devices >= 0;
    END IF;
    first := ARRAY(SELECT i::iot_auth.registration_item FROM unnest(first) i WHERE i.device_id = ANY (inserted));
    IF EXISTS (SELECT FROM unnest(first) i WHERE i.roles <> '{}') THEN
        INSERT INTO iot_auth.device_role (device_id, role)
        SELECT i.device_id, r FROM unnest(first) i, unnest(i.roles) r;
    END IF;
    RETURN first;
END $$;

-- As in 0019.  New: attributes and roles in the event; entries of the list are used up.
CREATE OR REPLACE FUNCTION iot_auth.registration_certificates(ca iot_auth.ca, items iot_auth.registration_item[],
                                                              p_node text)
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
    IF EXISTS (SELECT FROM unnest(items) i WHERE i.listed) THEN
        UPDATE iot_auth.expected_device e SET used_at = clock_timestamp()
        WHERE e.device_id = ANY (ARRAY(SELECT i.device_id FROM unnest(items) i WHERE i.listed))
          AND e.ca_name = ca.name AND e.used_at IS NULL;
    END IF;
    crowded := iot_auth.registration_crowded(ARRAY(SELECT i.device_id FROM unnest(items) i));
    done := ARRAY(
        SELECT (k.item, 'registered',
                CASE WHEN k.device_id = ANY (crowded)
                     THEN left(e.text, -1) || ', "problem" : ' || to_json(iot_auth.crowded_problem()) || '}'
                     ELSE e.text END,
                k.fingerprint, k.device_id, k.device_status, k.certificate_status, k.certificate_ca_id, k.device_ca_id,
                k.tenant, k.not_after, k.attrs, k.roles)::iot_auth.registration_result
        FROM unnest(iot_auth.registration_known(items)) k
             JOIN unnest(items) i ON i.item = k.item
             JOIN iot_auth.device d ON d.device_id = k.device_id,
             LATERAL (SELECT json_build_object(
                 'device_id', k.device_id, 'fingerprint', encode(k.fingerprint, 'hex'), 'ca', ca.name,
                 'ca_fingerprint', encode(ca.fingerprint, 'hex'), 'status', k.device_status, 'tenant', k.tenant,
                 'node', p_node, 'at',
                 to_char(clock_timestamp() AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.MS"Z"'),
                 'attributes', CASE WHEN d.attributes IN ('{}', i.attributes) THEN d.attributes -- asked first: it costs less
                                    WHEN iot_auth.json_problem(d.attributes, 16384) IS NULL THEN d.attributes END,
                 'roles', coalesce(k.roles, '{}'))::text AS text) e);
    INSERT INTO iot_auth.event (node, kind, principal, ca_id, address, detail)
    SELECT p_node, 'device/registered', d.device_id, ca.ca_id, i.address, d.detail::jsonb
    FROM unnest(done) d JOIN unnest(items) i USING (item) ORDER BY item;
    RETURN done;
END $$;

-- As in 0019.  New: its device gets what the registration gives.
CREATE OR REPLACE FUNCTION iot_auth.registration_one(ca iot_auth.ca, one iot_auth.registration_item, p_node text)
RETURNS iot_auth.registration_result[]
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    done iot_auth.registration_result[] := iot_auth.registration_known(ARRAY[one]);
    refused record;
BEGIN
    IF cardinality(done) > 0 THEN
        RETURN done;
    END IF;
    SELECT r.outcome, r.detail INTO refused FROM iot_auth.registration_device(ca, one) r;
    IF refused.outcome IS NOT NULL THEN
        RETURN ARRAY[iot_auth.registration_refusal(one.item, refused.outcome, refused.detail)];
    END IF;
    RETURN iot_auth.registration_certificates(ca, ARRAY[one], p_node);
END $$;

-- As in 0019.  New: what was made with a template that the CA no longer has is sent back; what the registrations give and need
-- is planned before devices are inserted; and nothing is committed that a change of the CA has overtaken.
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
    ELSIF EXISTS (SELECT FROM unnest(items) i WHERE octet_length(i.provision) > 262144) THEN
        PERFORM iot_auth.fail('the provisioning of a registration is longer than 262144 bytes');
    END IF;
    items := ARRAY(
        SELECT (i.item, i.fingerprint, i.device_id, i.ca_id, iot_auth.bounded_text(i.serial, 128),
                iot_auth.bounded_text(i.subject, 2048), iot_auth.certificate_time(i.not_before),
                iot_auth.certificate_time(i.not_after), iot_auth.bounded_text(i.address, 64), i.terms, i.provision, i.hook,
                NULL, NULL, NULL, false, NULL, NULL)::iot_auth.registration_item
        FROM unnest(items) i ORDER BY i.fingerprint, i.item);
    PERFORM iot_auth.registration_parsed(items);
    done := iot_auth.registration_known(items);
    open := iot_auth.registration_open(items, done);
    IF cardinality(open) = 0 THEN
        RETURN done;
    END IF;

    -- A registration that the CA's hook will be asked about takes no lock here: where a hook is slow, its transaction has
    -- the locks, and those that share this statement would wait for it.
    SELECT * INTO ca FROM iot_auth.ca c WHERE c.ca_id = open[1].ca_id;
    IF ca.registration_hook IS NOT NULL AND NOT EXISTS (SELECT FROM unnest(open) i WHERE i.hook IN ('ask', 'skip')) THEN
        done := done || iot_auth.registration_stale(ca, open);
        done := done || iot_auth.registration_refusals(ca, iot_auth.registration_open(items, done));
        RETURN done || ARRAY(SELECT iot_auth.registration_refusal(i.item, 'hook', NULL)
                             FROM unnest(iot_auth.registration_open(items, done)) i);
    END IF;

    claimed := ARRAY(SELECT DISTINCT i.fingerprint FROM unnest(open) i);
    ca := iot_auth.registration_lock(open[1].ca_id, claimed);
    done := done || iot_auth.registration_known(open);
    done := done || iot_auth.registration_stale(ca, iot_auth.registration_open(items, done));
    done := done || iot_auth.registration_refusals(ca, iot_auth.registration_open(items, done));
    open := iot_auth.registration_open(items, done);
    IF cardinality(open) > 0 AND NOT iot_auth.registration_is_plain(ca, open) THEN
        open := iot_auth.registration_plans(ca, open);
        done := done || ARRAY(SELECT iot_auth.registration_refusal(i.item, i.refused, i.why) FROM unnest(open) i
                              WHERE i.refused IS NOT NULL);
        open := iot_auth.registration_open(open, done);
    END IF;
    IF cardinality(open) > 0 THEN
        PERFORM set_config('iot_auth.quiet', 'on', true);
        fresh := iot_auth.registration_new_devices(ca, open);
        IF cardinality(fresh) > 0 THEN
            done := done || iot_auth.registration_certificates(ca, fresh, p_node);
        END IF;
        FOREACH one IN ARRAY iot_auth.registration_open(open, done) LOOP
            done := done || iot_auth.registration_one(ca, one, p_node);
        END LOOP;
        PERFORM set_config('iot_auth.quiet', 'off', true);
        PERFORM iot_auth.registration_settle(ca);
    END IF;
    DELETE FROM iot_auth.registration_claim r WHERE r.fingerprint = ANY (claimed);
    RETURN done;
END $$;

-- The same; where a change of the CA has overtaken them, nothing is left of them.
CREATE FUNCTION iot_auth.register_settled(items iot_auth.registration_item[], p_node text)
RETURNS iot_auth.registration_result[]
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    RETURN iot_auth.register_items(items, p_node);
EXCEPTION WHEN SQLSTATE 'IASTL' THEN
    RETURN ARRAY(SELECT iot_auth.registration_refusal(i.item, 'stale_template', SQLERRM) FROM unnest(items) i);
END $$;

-- One item.
DROP FUNCTION iot_auth.broker_register(bytea, text, bigint, text, text, timestamptz, timestamptz, text, text);
CREATE FUNCTION iot_auth.broker_register(
    p_fingerprint bytea, p_device_id text, p_ca_id bigint, p_serial text, p_subject text, p_not_before timestamptz,
    p_not_after timestamptz, p_node text, p_address text, p_terms text DEFAULT NULL, p_provision text DEFAULT NULL,
    p_hook text DEFAULT 'later')
RETURNS TABLE (outcome text, detail text, fingerprint bytea, device_id text, device_status text,
               certificate_status text, certificate_ca_id bigint, device_ca_id bigint, tenant text,
               not_after timestamptz, attrs text[], roles text[])
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
#variable_conflict use_column
DECLARE
    items constant iot_auth.registration_item[] := ARRAY[
        (1, p_fingerprint, p_device_id, p_ca_id, p_serial, p_subject, p_not_before, p_not_after, p_address, p_terms,
         p_provision, p_hook, NULL, NULL, NULL, NULL, NULL, NULL)::iot_auth.registration_item];
BEGIN
    IF p_hook = 'skip' AND iot_auth.session_is_broker() THEN
        PERFORM iot_auth.fail('a broker cannot skip a hook', NULL, 'insufficient_privilege');
    END IF;
    RETURN QUERY SELECT r.outcome, r.detail, r.fingerprint, r.device_id, r.device_status, r.certificate_status,
                        r.certificate_ca_id, r.device_ca_id, r.tenant, r.not_after, r.attrs, r.roles
                 FROM unnest(iot_auth.register_settled(items, p_node)) r;
END $$;

-- The first registration of a session reads and plans for tens of milliseconds what later ones have at hand: more than a
-- hook's time limit, which counts for the whole statement.  So the broker has the first one made and undone beforehand,
-- without the hook.
CREATE FUNCTION iot_auth.broker_rehearse(
    p_fingerprint bytea, p_device_id text, p_ca_id bigint, p_serial text, p_subject text, p_not_before timestamptz,
    p_not_after timestamptz, p_node text, p_address text, p_terms text, p_provision text) RETURNS void
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    PERFORM iot_auth.register_settled(ARRAY[
        (1, p_fingerprint, p_device_id, p_ca_id, p_serial, p_subject, p_not_before, p_not_after, p_address, p_terms,
         p_provision, 'skip', NULL, NULL, NULL, NULL, NULL, NULL)::iot_auth.registration_item], p_node);
    RAISE EXCEPTION 'undo' USING ERRCODE = 'IAUND';
EXCEPTION WHEN OTHERS THEN
    NULL; -- the registration itself says what is wrong
END $$;

-- What the CA's hook did last, in the CA's problem; NULL: it works.  In a transaction of its own: a registration that held the
-- row of its CA would hold up a change of its status.
CREATE FUNCTION iot_auth.broker_note_hook(p_ca_id bigint, p_problem text) RETURNS void
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    found_problem text := iot_auth.bounded_text(p_problem, 500);
BEGIN
    -- Asked first: an UPDATE of no row runs all the triggers.
    IF EXISTS (SELECT FROM iot_auth.ca c WHERE c.ca_id = p_ca_id AND c.registration_hook IS NOT NULL
               AND c.problem_hook IS DISTINCT FROM found_problem) THEN
        UPDATE iot_auth.ca c SET problem_hook = found_problem WHERE c.ca_id = p_ca_id AND c.registration_hook IS NOT NULL;
    END IF;
END $$;

-- As in 0011.  New: where a change of the CA has overtaken an item.
CREATE OR REPLACE FUNCTION iot_auth.register_each(items iot_auth.registration_item[], p_node text)
RETURNS SETOF iot_auth.registration_result
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    done iot_auth.registration_result[];
    busy iot_auth.registration_result;
    n_busy int := 0;
    n_done int := 0;
BEGIN
    busy.outcome := 'busy';
    busy.detail := 'a row is locked by another transaction';
    FOR i IN 1 .. cardinality(items) LOOP
        done := NULL;
        IF n_busy < 3 OR n_done > 0 THEN
            BEGIN
                done := iot_auth.register_settled(items[i:i], p_node);
                n_done := n_done + 1;
            EXCEPTION WHEN lock_not_available OR deadlock_detected THEN
                n_busy := n_busy + 1;
            END;
        END IF;
        IF done IS NULL THEN
            busy.item := items[i].item;
            done := ARRAY[busy];
        END IF;
        RETURN QUERY SELECT d.* FROM unnest(done) d;
    END LOOP;
END $$;

-- As in 0011.  p_terms, p_provisions: see above; a broker of an earlier release sends none.
DROP FUNCTION iot_auth.broker_register_many;
CREATE FUNCTION iot_auth.broker_register_many(
    p_fingerprints bytea[], p_device_ids text[], p_ca_ids bigint[], p_serials text[], p_subjects text[],
    p_not_befores timestamptz[], p_not_afters timestamptz[], p_node text, p_addresses text[],
    p_terms text[] DEFAULT NULL, p_provisions text[] DEFAULT NULL)
RETURNS SETOF iot_auth.registration_result
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    of_ca iot_auth.registration_item[];
    done iot_auth.registration_result[];
BEGIN
    IF cardinality(p_fingerprints) > 256 THEN
        PERFORM iot_auth.fail('broker_register_many takes at most 256 items');
    END IF;
    PERFORM set_config('lock_timeout', '100ms', true);
    FOR of_ca IN
        SELECT array_agg((i.item::int, i.fingerprint, i.device_id, i.ca_id, i.serial, i.subject, i.not_before,
                          i.not_after, i.address, i.terms, i.provision, 'later', NULL, NULL, NULL, NULL, NULL, NULL)
                         ::iot_auth.registration_item ORDER BY i.fingerprint)
        FROM unnest(p_fingerprints, p_device_ids, p_ca_ids, p_serials, p_subjects, p_not_befores, p_not_afters,
                    p_addresses, p_terms, p_provisions) WITH ORDINALITY
             AS i(fingerprint, device_id, ca_id, serial, subject, not_before, not_after, address, terms, provision, item)
        GROUP BY i.ca_id ORDER BY i.ca_id
    LOOP
        done := NULL;
        BEGIN
            done := iot_auth.register_items(of_ca, p_node);
        EXCEPTION
            WHEN lock_not_available OR deadlock_detected THEN
                PERFORM set_config('lock_timeout', '1ms', true);
            WHEN SQLSTATE 'IASTL' THEN
                done := ARRAY(SELECT iot_auth.registration_refusal(i.item, 'stale_template', SQLERRM)
                              FROM unnest(of_ca) i);
        END;
        IF done IS NULL THEN
            RETURN QUERY SELECT r.* FROM iot_auth.register_each(of_ca, p_node) r;
        ELSE
            RETURN QUERY SELECT d.* FROM unnest(done) d;
        END IF;
    END LOOP;
END $$;

-- As in 0017.  New: what the device would be given; a hook is not run.
DROP FUNCTION iot_auth.would_register;
CREATE FUNCTION iot_auth.would_register(
    fingerprint bytea, device_id text, ca_id bigint, serial text DEFAULT NULL, terms text DEFAULT NULL,
    provision text DEFAULT NULL, OUT outcome text, OUT detail text, OUT device_status text, OUT attributes jsonb,
    OUT roles text[], OUT tenant text, OUT expected boolean, OUT hook text)
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    its_ca text := (SELECT c.name FROM iot_auth.ca c WHERE c.ca_id = would_register.ca_id);
    entries int := (SELECT count(*) FROM iot_auth.expected_device e
                    WHERE e.device_id = would_register.device_id AND e.ca_name = its_ca AND e.used_at IS NULL);
BEGIN
    BEGIN
        SELECT r.outcome, r.detail, r.device_status, r.roles, r.tenant INTO outcome, detail, device_status, roles, tenant
        FROM iot_auth.broker_register(would_register.fingerprint, would_register.device_id, would_register.ca_id,
                                      would_register.serial, NULL, NULL, NULL, 'iot-auth check', NULL,
                                      would_register.terms, would_register.provision, 'skip') r;
        attributes := CASE outcome WHEN 'registered' THEN detail::jsonb -> 'attributes' END;
        hook := (SELECT c.registration_hook FROM iot_auth.ca c WHERE c.ca_id = would_register.ca_id);
        expected := entries > (SELECT count(*) FROM iot_auth.expected_device e
                               WHERE e.device_id = would_register.device_id AND e.ca_name = its_ca AND e.used_at IS NULL);
        RAISE EXCEPTION 'undo' USING ERRCODE = 'IAUND';
    EXCEPTION WHEN SQLSTATE 'IAUND' THEN
        NULL;
    END;
END $$;

-- What would have to be true instead: see 0012.
CREATE OR REPLACE FUNCTION iot_auth.remedy_of_ca(ca iot_auth.ca, reason text, principal text, detail jsonb) RETURNS text
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    device iot_auth.device;
    who text := coalesce(principal, detail ->> 'device_id');
BEGIN
    SELECT * INTO device FROM iot_auth.device d WHERE d.device_id = who;
    RETURN CASE reason
        WHEN 'ca_inactive' THEN CASE
            WHEN ca.status = 'REVOKED' THEN format('CA %L is REVOKED for good: its devices need certificates of '
                                                   'another CA.', ca.name)
            WHEN ca.status = 'INACTIVE' THEN format('SELECT iot_auth.set_ca_status(%L, ''ACTIVE'');', ca.name)
            WHEN ca.problem_parsed IS NOT NULL THEN format('CA %L must be usable: %s', ca.name, ca.problem_parsed)
            ELSE format('Every registered CA on and above the chain must be ACTIVE and usable; CA %L itself is '
                        'ACTIVE now.', ca.name) END
        WHEN 'device_unknown' THEN CASE
            WHEN device.device_id IS NOT NULL THEN format('This certificate must be registered for device %L '
                                                          '(iot_auth.register_device), or CA %L must have '
                                                          'auto_registration.', who, ca.name)
            ELSE format('The device must be registered (iot_auth.register_device), or CA %L must have '
                        'auto_registration.', ca.name) END
        WHEN 'device_conflict' THEN CASE
            WHEN device.device_id IS NULL THEN
                'The device id is on the list of another CA (iot_auth.expected_device): delete that entry, or let that CA '
                'register the device.'
            WHEN device.ca_id IS NULL THEN format('Device %L belongs to no CA: an administrator must add its first '
                                                  'certificate (iot_auth.register_device).', who)
            ELSE format('Device %L belongs to CA %L: only that CA, or one that replaces it, can give it certificates.',
                        who, (SELECT c.name FROM iot_auth.ca c WHERE c.ca_id = device.ca_id)) END
        WHEN 'device_unexpected' THEN format('CA %L registers only devices that are on its list, and each certificate uses '
                                             'up one entry: SELECT iot_auth.expect_device(%L, %L);', ca.name, ca.name, who)
        WHEN 'hook_refused' THEN format('The registration hook of CA %L must allow the device: %s', ca.name,
                                        ca.registration_hook)
        WHEN 'quota_exceeded' THEN format('CA %L admits %s devices and %s registrations a minute (max_devices, '
                                          'max_registrations_per_minute).',
                                          ca.name, coalesce(ca.max_devices::text, 'any number of'),
                                          coalesce(ca.max_registrations_per_minute::text, 'any number of'))
        WHEN 'identity_invalid' THEN format('device_id_template %L of CA %L must give a device id from the '
                                            'certificate: 1 to 128 bytes without + # / *, and no reserved name; and the '
                                            'certificate must have what its provisioning requires.',
                                            ca.device_id_template, ca.name)
        WHEN 'client_id_mismatch' THEN format('The client id must fit one of the client_id_templates of CA %L: '
                                              '%s.', ca.name,
                                              array_to_string(ca.client_id_templates, ', ')) END;
END $$;

-- As in 0012.  New: a hook that fails.
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
    WHERE i.name = split_part(app, ':', 2) AND app LIKE 'app:%' OR i.issuer = detail ->> 'claimed_iss'
       AND 1 = (SELECT count(*) FROM iot_auth.oauth_issuer o WHERE o.issuer = i.issuer) -- else it is not known which row
    LIMIT 1;
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
        WHEN starts_with(reason, 'token_') OR reason = 'issuer_inactive' OR kind = 'app/refused' AND reason =
            'client_id_mismatch'
            THEN iot_auth.remedy_of_token(reason, issuer, detail)
        ELSE coalesce(CASE WHEN ca.ca_id IS NOT NULL THEN iot_auth.remedy_of_ca(ca, reason, principal, detail) END,
                      iot_auth.remedy_of_device(reason, coalesce(principal, detail ->> 'device_id'), detail)) END;
END $$;

-- Privileges

REVOKE ALL ON FUNCTION iot_auth.join_problems, iot_auth.set_problem, iot_auth.attributes_problem, iot_auth.names_problem,
    iot_auth.provisioning_text_problem, iot_auth.provisioning_problem, iot_auth.provisioning_roles_problem,
    iot_auth.terms_version, iot_auth.hook_function, iot_auth.check_provisioning, iot_auth.note_provisioned_roles,
    iot_auth.lock_settling, iot_auth.settle_ca, iot_auth.await_registrations, iot_auth.require_ca_settings,
    iot_auth.register_ca, iot_auth.reset_ca, iot_auth.lock_ca, iot_auth.set_ca, iot_auth.set_registration_hook,
    iot_auth.serial_problem, iot_auth.serial_matches, iot_auth.role_list_problem, iot_auth.check_expected,
    iot_auth.check_expected_roles, iot_auth.forget_expected, iot_auth.expect_device, iot_auth.registration_listed,
    iot_auth.entry_unfit, iot_auth.registration_filled, iot_auth.ask_hook, iot_auth.hook_answer_problem,
    iot_auth.registration_asked, iot_auth.registration_plans, iot_auth.registration_is_plain, iot_auth.registration_stale,
    iot_auth.registration_settle, iot_auth.registration_device, iot_auth.provision_existing, iot_auth.register_settled,
    iot_auth.broker_register, iot_auth.broker_rehearse, iot_auth.broker_note_hook, iot_auth.broker_register_many,
    iot_auth.would_register FROM PUBLIC;
GRANT EXECUTE ON FUNCTION iot_auth.join_problems, iot_auth.attributes_problem, iot_auth.names_problem,
    iot_auth.provisioning_text_problem, iot_auth.provisioning_problem, iot_auth.provisioning_roles_problem,
    iot_auth.terms_version, iot_auth.hook_function, iot_auth.lock_settling, iot_auth.await_registrations,
    iot_auth.require_ca_settings,
    iot_auth.register_ca, iot_auth.reset_ca, iot_auth.lock_ca, iot_auth.set_ca, iot_auth.set_registration_hook,
    iot_auth.serial_problem, iot_auth.role_list_problem, iot_auth.expect_device, iot_auth.would_register TO iot_auth_admin;
GRANT EXECUTE ON FUNCTION iot_auth.terms_version, iot_auth.broker_register, iot_auth.broker_register_many,
    iot_auth.broker_rehearse, iot_auth.broker_note_hook TO iot_auth_broker;
GRANT SELECT, INSERT, UPDATE, DELETE, TRUNCATE ON iot_auth.expected_device TO iot_auth_admin;
GRANT SELECT, INSERT, UPDATE ON iot_auth.ca_settling TO iot_auth_admin;

-- Comments, for \d+, \df+ and tools that show a schema: see 0022.

COMMENT ON TABLE iot_auth.expected_device IS 'The list of expected devices: each certificate that registers uses up one entry.';
COMMENT ON COLUMN iot_auth.ca.registration IS 'Which devices register: any, or those that are expected (iot_auth.expected_device).';
COMMENT ON COLUMN iot_auth.ca.provisioning IS 'What a registration gives its device: attributes, roles and tenant, JSON; NULL: nothing.';
COMMENT ON COLUMN iot_auth.ca.registration_hook IS 'Function (jsonb) RETURNS jsonb that is asked at each registration; NULL: none.';
COMMENT ON COLUMN iot_auth.ca.problem_parsed IS 'The part of problem that brokers find.';
COMMENT ON COLUMN iot_auth.ca.problem_roles IS 'The part of problem about roles of provisioning that do not exist.';
COMMENT ON COLUMN iot_auth.ca.problem_hook IS 'The part of problem about the last failure of the hook.';
COMMENT ON COLUMN iot_auth.expected_device.ca_name IS 'Name of the CA, iot_auth.ca.';
COMMENT ON COLUMN iot_auth.expected_device.device_id IS 'Id of the device that is expected.';
COMMENT ON COLUMN iot_auth.expected_device.serial IS 'Serial number that its certificate must have, decimal or hexadecimal; NULL: any.';
COMMENT ON COLUMN iot_auth.expected_device.fingerprint IS 'SHA-256 of the DER that its certificate must have; NULL: any.';
COMMENT ON COLUMN iot_auth.expected_device.attributes IS 'Attributes that its registration gives, over those of the CA.';
COMMENT ON COLUMN iot_auth.expected_device.roles IS 'Roles that its registration gives, beside those of the CA.';
COMMENT ON COLUMN iot_auth.expected_device.expires_at IS 'End of the entry; NULL: never.';
COMMENT ON COLUMN iot_auth.expected_device.used_at IS 'When a certificate registered by this entry; NULL: it is unused.';
COMMENT ON FUNCTION iot_auth.ask_hook IS 'Internal: ask the hook of a CA about a registration.';
COMMENT ON FUNCTION iot_auth.attributes_problem IS 'Internal: why attributes that an entry of the list or a hook gives cannot be used, or NULL.';
COMMENT ON FUNCTION iot_auth.broker_register IS 'Internal: register the certificate of a device, for brokers.';
COMMENT ON FUNCTION iot_auth.broker_register_many IS 'Internal: register certificates of devices, for brokers.';
COMMENT ON FUNCTION iot_auth.check_expected IS 'Internal: trigger: refuses entries of the list that name an unknown CA or role.';
COMMENT ON FUNCTION iot_auth.check_expected_roles IS 'Internal: trigger: refuses an unknown role in an entry of the list.';
COMMENT ON FUNCTION iot_auth.check_provisioning IS 'Internal: trigger: refuses what is wrong in the provisioning or the hook of a CA.';
COMMENT ON FUNCTION iot_auth.expect_device IS 'adds an entry to the list of expected devices, or replaces the unused entry of the same CA and device';
COMMENT ON FUNCTION iot_auth.forget_expected IS 'Internal: trigger: deletes the entries of a CA that is deleted.';
COMMENT ON FUNCTION iot_auth.hook_answer_problem IS 'Internal: why the answer of a hook cannot be used, or NULL.';
COMMENT ON FUNCTION iot_auth.hook_function IS 'Internal: the function that registration_hook names, or why it cannot be called.';
COMMENT ON FUNCTION iot_auth.join_problems IS 'Internal: the problem of a CA from its parts.';
COMMENT ON FUNCTION iot_auth.names_problem IS 'Internal: why a JSON list of names cannot be used, or NULL.';
COMMENT ON FUNCTION iot_auth.note_provisioned_roles IS 'Internal: trigger: writes into the problem of a CA which roles of its provisioning do not exist.';
COMMENT ON FUNCTION iot_auth.provisioning_problem IS 'Internal: why the provisioning of a CA cannot be used, or NULL.';
COMMENT ON FUNCTION iot_auth.provisioning_roles_problem IS 'Internal: the roles of a template that do not exist, as text, or NULL.';
COMMENT ON FUNCTION iot_auth.provisioning_text_problem IS 'Internal: why one text of a template cannot be used, or NULL.';
COMMENT ON FUNCTION iot_auth.register_ca IS 'registers a CA, and returns its `ca_id`. `client_id_templates` and `roles` are lists; `replaces` names the CA that it succeeds, of the same tenant';
COMMENT ON FUNCTION iot_auth.registration_device IS 'Internal: insert the device, or use an existing device for a further certificate (rotation).';
COMMENT ON FUNCTION iot_auth.registration_is_plain IS 'Internal: whether registrations give and need nothing more than a row.';
COMMENT ON FUNCTION iot_auth.require_ca_settings IS 'Internal: everything that an administrator can get wrong in a row, for register_ca and set_ca.';
COMMENT ON FUNCTION iot_auth.reset_ca IS 'Internal: the row with the columns in `reset` back at their defaults.';
COMMENT ON FUNCTION iot_auth.role_list_problem IS 'Internal: why a list of role names cannot be used, or NULL.';
COMMENT ON FUNCTION iot_auth.serial_matches IS 'Internal: whether a serial number as people write it means that of a certificate.';
COMMENT ON FUNCTION iot_auth.serial_problem IS 'Internal: why a text cannot be a serial number, or NULL.';
COMMENT ON FUNCTION iot_auth.set_ca IS 'changes the settings of a CA that are given; `reset` names those that go back to their defaults';
COMMENT ON FUNCTION iot_auth.set_problem IS 'Internal: trigger: writes ca.problem from its parts.';
COMMENT ON FUNCTION iot_auth.set_registration_hook IS 'sets the function (jsonb) RETURNS jsonb that is asked at each registration under a CA; NULL: none';
COMMENT ON TABLE iot_auth.ca_settling IS 'Rows that registrations and changes of a CA lock, so that each waits for the other.';
COMMENT ON COLUMN iot_auth.ca_settling.ca_id IS 'The CA.';
COMMENT ON COLUMN iot_auth.ca_settling.stripe IS 'A registration locks one of eight rows, by its session; a change locks all.';
COMMENT ON FUNCTION iot_auth.await_registrations IS 'Internal: wait for the registrations under a CA that are being committed.';
COMMENT ON FUNCTION iot_auth.broker_note_hook IS 'Internal: write the failure of a hook, or its end, into the problem of the CA, for brokers.';
COMMENT ON FUNCTION iot_auth.broker_rehearse IS 'Internal: make a registration and undo it, so that the next one is fast, for brokers.';
COMMENT ON FUNCTION iot_auth.entry_unfit IS 'Internal: why an entry of the list does not admit a certificate, or NULL.';
COMMENT ON FUNCTION iot_auth.lock_ca IS 'Internal: the row of a CA, locked for a change.';
COMMENT ON FUNCTION iot_auth.lock_settling IS 'Internal: lock the rows of a CA that registrations end with.';
COMMENT ON FUNCTION iot_auth.provision_existing IS 'Internal: give an existing device what its further registration gives, as on_existing says; or why not.';
COMMENT ON FUNCTION iot_auth.register_settled IS 'Internal: register the items of one CA, or nothing where the CA has changed meanwhile.';
COMMENT ON FUNCTION iot_auth.registration_asked IS 'Internal: a registration with the word of the hook on it.';
COMMENT ON FUNCTION iot_auth.registration_filled IS 'Internal: registrations with what the template gives.';
COMMENT ON FUNCTION iot_auth.registration_listed IS 'Internal: registrations with what the list of expected devices gives, or refuses.';
COMMENT ON FUNCTION iot_auth.registration_plans IS 'Internal: registrations with what they give their devices, or why they are refused.';
COMMENT ON FUNCTION iot_auth.registration_settle IS 'Internal: the end of registrations: nothing was changed meanwhile.';
COMMENT ON FUNCTION iot_auth.registration_stale IS 'Internal: the registrations that were made with another template than the CA has.';
COMMENT ON FUNCTION iot_auth.settle_ca IS 'Internal: trigger: a change of what a CA gives its devices is committed between registrations.';
COMMENT ON FUNCTION iot_auth.terms_version IS 'Internal: which templates a registration was made with.';
COMMENT ON FUNCTION iot_auth.would_register IS 'Internal: what a registration would answer; nothing is registered.';

INSERT INTO iot_auth.schema_version (version) VALUES (25);
$migration$;
EXCEPTION WHEN lock_not_available THEN
    RAISE EXCEPTION 'migration % was not applied: a table of schema iot_auth is locked by another session', this
        USING HINT = 'Apply the migrations again when that session (a dump, a long transaction) has ended.',
              ERRCODE = 'lock_not_available';
END $guard$;
COMMIT;

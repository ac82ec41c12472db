-- SPDX-License-Identifier: ISC
-- Rights and checks from any claim: pointers into tokens, several rows of one issuer, issuers that can be changed.

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
    this int := 13;
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

-- A JSON Pointer (RFC 6901), by the same rules as ia_pointer_text_fault in common/pointer_text.h.
CREATE FUNCTION iot_auth.pointer_problem(v text) RETURNS text
LANGUAGE sql IMMUTABLE PARALLEL SAFE
RETURN CASE
    WHEN v IS NULL THEN 'is missing'
    WHEN v = '' THEN 'is empty: it would name the whole token'
    WHEN octet_length(v) > 512 THEN 'is longer than 512 bytes'
    WHEN NOT starts_with(v, '/') THEN 'has no slash at its start: it must be a JSON Pointer (RFC 6901), such as /scope'
    WHEN v COLLATE "C" ~ '[\u0001-\u001f\u007f]' THEN 'contains a control character'
    WHEN v COLLATE "C" ~ '~([^01]|$)' THEN 'contains a ~ that is neither ~0 nor ~1 (RFC 6901)'
    WHEN length(v) - length(replace(v, '/', '')) > 16 THEN 'is deeper than 16 levels'
END;

-- A list of 1 to 16 pointers.
CREATE FUNCTION iot_auth.pointers_problem(list text[]) RETURNS text
LANGUAGE sql IMMUTABLE PARALLEL SAFE
RETURN coalesce(
    iot_auth.list_problem(list, 16),
    (SELECT 'contains ' || quote_literal(left(p, 80)) || ', which ' || iot_auth.pointer_problem(p)
     FROM unnest(list) p WHERE iot_auth.pointer_problem(p) IS NOT NULL LIMIT 1));

-- A value that a required claim may have.  Whole numbers are those that a broker can hold.
CREATE FUNCTION iot_auth.is_claim_value(j jsonb) RETURNS boolean
LANGUAGE sql IMMUTABLE PARALLEL SAFE
RETURN CASE jsonb_typeof(j)
    WHEN 'boolean' THEN true
    WHEN 'string' THEN (j #>> '{}') COLLATE "C" !~ '[\u0001-\u001f\u007f]'
    WHEN 'number' THEN abs(j::numeric) < 9223372036854775807
    ELSE false
END;

CREATE FUNCTION iot_auth.required_claims_problem(j jsonb) RETURNS text
LANGUAGE sql IMMUTABLE PARALLEL SAFE
RETURN CASE
    WHEN j IS NULL THEN 'is missing'
    WHEN j = '{}' THEN NULL
    WHEN jsonb_typeof(j) <> 'object' THEN 'is not a JSON object'
    WHEN iot_auth.json_problem(j, 16384) IS NOT NULL THEN iot_auth.json_problem(j, 16384)
    WHEN (SELECT count(*) FROM jsonb_object_keys(j)) > 16 THEN 'has more than 16 members'
    ELSE (SELECT 'contains ' || quote_literal(left(m.key, 80)) || ', which ' || m.problem
          FROM (SELECT e.key, coalesce(
                    iot_auth.pointer_problem(e.key),
                    CASE WHEN jsonb_typeof(e.value) <> 'array' THEN
                              CASE WHEN NOT iot_auth.is_claim_value(e.value) THEN
                                   'has a value that is neither a string, a number nor a boolean, nor a list of these' END
                         WHEN jsonb_array_length(e.value) NOT BETWEEN 1 AND 64 THEN 'does not have 1 to 64 values'
                         WHEN EXISTS (SELECT FROM jsonb_array_elements(e.value) v WHERE NOT iot_auth.is_claim_value(v))
                         THEN 'has a value that is neither a string, a number nor a boolean' END) AS problem
                FROM jsonb_each(j) e) m
          WHERE m.problem IS NOT NULL LIMIT 1)
END;

-- The name of a claim, or where it begins with a slash a pointer to it.
CREATE FUNCTION iot_auth.app_id_claim_problem(v text) RETURNS text
LANGUAGE sql IMMUTABLE PARALLEL SAFE
RETURN CASE WHEN starts_with(v, '/') THEN iot_auth.pointer_problem(v) ELSE iot_auth.text_problem(v, 128) END;

-- What map_scope maps is any text that a claim may hold: 'authentik Admins', a role with quotes or umlauts.
CREATE OR REPLACE FUNCTION iot_auth.scope_problem(v text) RETURNS text
LANGUAGE sql IMMUTABLE PARALLEL SAFE
RETURN CASE
    WHEN v IS NULL THEN 'is missing'
    WHEN octet_length(v) NOT BETWEEN 1 AND 256 THEN 'must be 1 to 256 bytes long'
    WHEN v COLLATE "C" ~ '[\u0001-\u001f\u007f-\u009f]' THEN 'contains a control character'
END;

-- ${claim:/pointer} beside ${claim.NAME}.

CREATE OR REPLACE FUNCTION iot_auth.variable_name(v text) RETURNS text LANGUAGE sql IMMUTABLE PARALLEL SAFE
RETURN CASE
    WHEN v COLLATE "C" ~ '^claim\.[^+#/*${}]{1,128}$' THEN 'claim.NAME'
    WHEN v COLLATE "C" ~ '^claim:[^+#*${}]+$' AND iot_auth.pointer_problem(substr(v, 7)) IS NULL THEN 'claim.NAME'
    ELSE regexp_replace(
        CASE WHEN v COLLATE "C" ~ '^cert\.'
             THEN regexp_replace(v COLLATE "C", '^([^|]*)\|(field:[^{}\u0001-\u001f\u007f]+,[1-9][0-9]{0,2}'
                                                '|prefix:[^{}\u0001-\u001f\u007f]+|path:[1-9][0-9]{0,2})$', '\1')
             ELSE v END,
        '^cert\.san\.othername\.(?=[0-9.]{3,100}$)[0-2](\.(0|[1-9][0-9]*))+$', 'cert.san.othername.OID')
END;

-- A topic filter whose variables contain no slash.
CREATE FUNCTION iot_auth.flat_filter_problem(filter text) RETURNS text
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

-- A topic filter of a rule (MQTT 5 section 4.7).  The slashes of a ${claim:/pointer} separate no levels.
CREATE OR REPLACE FUNCTION iot_auth.topic_filter_problem(filter text) RETURNS text
LANGUAGE sql IMMUTABLE PARALLEL SAFE
RETURN CASE
    WHEN filter IS NULL OR strpos(filter, '${claim:') = 0 THEN iot_auth.flat_filter_problem(filter)
    WHEN octet_length(filter) > 1024 THEN 'must be 1 to 1024 bytes long'
    WHEN octet_length(filter) - octet_length(replace(filter, '/', '')) > 200 THEN 'has more than 201 levels'
    WHEN EXISTS (SELECT FROM regexp_matches(filter, '\$\{(claim:[^}]*)\}?', 'g') m
                 WHERE iot_auth.variable_name(m[1]) <> 'claim.NAME')
        THEN 'contains a ${claim:/pointer} whose pointer is not valid (RFC 6901), or contains one of + # * $ { }'
    ELSE iot_auth.flat_filter_problem(regexp_replace(filter, '\$\{claim:[^}]*\}', '${claim.pointer}', 'g'))
END;

-- Issuers

ALTER TABLE iot_auth.oauth_issuer
    DROP CONSTRAINT issuer_unique,
    DROP CONSTRAINT issuer_app_id_claim_is_a_text,
    ADD COLUMN scope_claims text[] COLLATE "C" NOT NULL DEFAULT ARRAY['/scope', '/scp'],
    ADD COLUMN audience_claims text[] COLLATE "C" NOT NULL DEFAULT ARRAY['/aud'],
    ADD COLUMN required_claims jsonb NOT NULL DEFAULT '{}', -- pointer: a value, or a list of which one must be there
    ADD COLUMN max_lifetime_s int, -- exp - iat; NULL: no limit
    ADD CONSTRAINT issuer_app_id_claim_is_a_claim
        CHECK (app_id_claim IS NULL OR iot_auth.app_id_claim_problem(app_id_claim) IS NULL) NOT VALID,
    ADD CONSTRAINT issuer_scope_claims_are_pointers CHECK (iot_auth.pointers_problem(scope_claims) IS NULL),
    ADD CONSTRAINT issuer_audience_claims_are_pointers CHECK (iot_auth.pointers_problem(audience_claims) IS NULL),
    ADD CONSTRAINT issuer_required_claims_fit CHECK (iot_auth.required_claims_problem(required_claims) IS NULL),
    ADD CONSTRAINT issuer_max_lifetime_s_1_to_315360000 CHECK (max_lifetime_s BETWEEN 1 AND 315360000);

-- Several rows may have one issuer when no audience is in two of them: the audience in a token then says which row
-- counts.  The primary key holds that, also under concurrency; the table is written by trigger alone.
CREATE TABLE iot_auth.issuer_audience (
    issuer   text COLLATE "C" NOT NULL,
    audience text COLLATE "C" NOT NULL,
    name     text COLLATE "C" NOT NULL, -- of the issuer's row
    PRIMARY KEY (issuer, audience)
);
CREATE INDEX issuer_audience_name ON iot_auth.issuer_audience (name);
INSERT INTO iot_auth.issuer_audience
SELECT DISTINCT i.issuer, a, i.name FROM iot_auth.oauth_issuer i, unnest(i.audience) a
WHERE a IS NOT NULL AND octet_length(a) <= 512 AND octet_length(i.issuer) <= 512;

CREATE FUNCTION iot_auth.keep_issuer_audience() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    other record;
BEGIN
    IF TG_OP = 'TRUNCATE' THEN
        DELETE FROM iot_auth.issuer_audience;
        RETURN NULL;
    END IF;
    IF TG_OP <> 'INSERT' THEN
        DELETE FROM iot_auth.issuer_audience a WHERE a.name = OLD.name;
    END IF;
    IF TG_OP <> 'DELETE' THEN
        INSERT INTO iot_auth.issuer_audience SELECT DISTINCT NEW.issuer, a, NEW.name FROM unnest(NEW.audience) a
        -- A row from before the constraints, or written around them, closes itself alone (broker_issuer).
        WHERE a IS NOT NULL AND octet_length(a) <= 512 AND octet_length(NEW.issuer) <= 512;
    END IF;
    RETURN NULL;
EXCEPTION WHEN unique_violation THEN
    SELECT a.name, a.audience INTO other FROM iot_auth.issuer_audience a
    WHERE a.issuer = NEW.issuer AND a.audience = ANY (NEW.audience) AND a.name <> NEW.name LIMIT 1;
    PERFORM iot_auth.fail(format('''%s'' is already registered as issuer ''%s'' with audience ''%s''', NEW.issuer,
                                 other.name, other.audience),
                          'Rows of one issuer must have disjoint audiences: a token must fit one row only.',
                          'duplicate_object');
END $$;
CREATE TRIGGER audience_rows AFTER INSERT OR DELETE OR UPDATE OF issuer, audience ON iot_auth.oauth_issuer FOR EACH ROW
    EXECUTE FUNCTION iot_auth.keep_issuer_audience();
CREATE TRIGGER audience_rows_truncate AFTER TRUNCATE ON iot_auth.oauth_issuer FOR EACH STATEMENT
    EXECUTE FUNCTION iot_auth.keep_issuer_audience();
ALTER TABLE iot_auth.oauth_issuer ENABLE ALWAYS TRIGGER audience_rows;
ALTER TABLE iot_auth.oauth_issuer ENABLE ALWAYS TRIGGER audience_rows_truncate;

-- Changes of the new columns are notified as those of the old ones: see 0003.
DO $$
DECLARE
    event text;
BEGIN
    FOREACH event IN ARRAY ARRAY['insert', 'update', 'delete', 'truncate'] LOOP
        EXECUTE format('CREATE OR REPLACE TRIGGER notify_%s AFTER %s ON iot_auth.oauth_issuer %s FOR EACH STATEMENT '
                       'EXECUTE FUNCTION iot_auth.notify_change(''issuer'', ''name'', %L)',
                       event, upper(event),
                       CASE event WHEN 'insert' THEN 'REFERENCING NEW TABLE AS new_rows'
                                  WHEN 'update' THEN 'REFERENCING OLD TABLE AS old_rows NEW TABLE AS new_rows'
                                  WHEN 'delete' THEN 'REFERENCING OLD TABLE AS old_rows'
                                  ELSE '' END,
                       'name, issuer, audience, algorithms, jwks, jwks_url, client_id_templates, app_id_claim, '
                       'token_types, leeway_s, tenant, status, scope_claims, audience_claims, required_claims, '
                       'max_lifetime_s');
        EXECUTE format('ALTER TABLE iot_auth.oauth_issuer ENABLE ALWAYS TRIGGER notify_%s', event);
    END LOOP;
END $$;

-- Everything that an administrator can get wrong in a row, for register_issuer and set_issuer.
CREATE FUNCTION iot_auth.require_issuer_settings(i iot_auth.oauth_issuer) RETURNS void
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
    PERFORM iot_auth.require('client_id_templates', NULL,
        iot_auth.client_id_templates_problem(i.client_id_templates, iot_auth.app_variables()));
    PERFORM iot_auth.require('app_id_claim', i.app_id_claim,
        CASE WHEN i.app_id_claim IS NOT NULL THEN iot_auth.app_id_claim_problem(i.app_id_claim) END);
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
END $$;

CREATE FUNCTION iot_auth.default_app_templates() RETURNS text[] LANGUAGE sql IMMUTABLE PARALLEL SAFE
RETURN ARRAY['app:${issuer}:${app_id}', 'app:${issuer}:${app_id}/*'];

-- One signature: with two of them, a call with named arguments would be ambiguous.
DROP FUNCTION iot_auth.register_issuer;
CREATE FUNCTION iot_auth.register_issuer(
    name text, issuer text, audience text[], algorithms text[] DEFAULT ARRAY['RS256', 'ES256'], jwks jsonb DEFAULT NULL,
    jwks_url text DEFAULT NULL, client_id_templates text[] DEFAULT NULL, app_id_claim text DEFAULT NULL,
    token_types text[] DEFAULT ARRAY['at+jwt', 'JWT'], leeway_s int DEFAULT 30, tenant text DEFAULT NULL,
    scope_claims text[] DEFAULT ARRAY['/scope', '/scp'], audience_claims text[] DEFAULT ARRAY['/aud'],
    required_claims jsonb DEFAULT '{}', max_lifetime_s int DEFAULT NULL) RETURNS void
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
#variable_conflict use_column
DECLARE
    i iot_auth.oauth_issuer;
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
    i.client_id_templates := coalesce(register_issuer.client_id_templates, iot_auth.default_app_templates());
    i.app_id_claim := register_issuer.app_id_claim;
    i.token_types := register_issuer.token_types;
    i.leeway_s := register_issuer.leeway_s;
    i.tenant := register_issuer.tenant;
    i.scope_claims := register_issuer.scope_claims;
    i.audience_claims := register_issuer.audience_claims;
    i.required_claims := register_issuer.required_claims;
    i.max_lifetime_s := register_issuer.max_lifetime_s;
    PERFORM iot_auth.require_issuer_settings(i);
    IF EXISTS (SELECT FROM iot_auth.oauth_issuer o WHERE o.name = i.name) THEN
        PERFORM iot_auth.fail(format('issuer ''%s'' already exists', i.name), NULL, 'duplicate_object');
    END IF;
    INSERT INTO iot_auth.oauth_issuer (name, issuer, audience, algorithms, jwks, jwks_url, client_id_templates,
                                       app_id_claim, token_types, leeway_s, tenant, scope_claims, audience_claims,
                                       required_claims, max_lifetime_s)
    VALUES (i.name, i.issuer, i.audience, i.algorithms, i.jwks, i.jwks_url, i.client_id_templates, i.app_id_claim,
            i.token_types, i.leeway_s, i.tenant, i.scope_claims, i.audience_claims, i.required_claims,
            i.max_lifetime_s);
END $$;

-- The row with the columns in `reset` back at their defaults.
CREATE FUNCTION iot_auth.reset_issuer(i iot_auth.oauth_issuer, reset text[]) RETURNS iot_auth.oauth_issuer
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
            WHEN 'client_id_templates' THEN i.client_id_templates := iot_auth.default_app_templates();
            WHEN 'app_id_claim' THEN i.app_id_claim := NULL;
            WHEN 'token_types' THEN i.token_types := ARRAY['at+jwt', 'JWT'];
            WHEN 'leeway_s' THEN i.leeway_s := 30;
            WHEN 'tenant' THEN i.tenant := NULL;
            WHEN 'scope_claims' THEN i.scope_claims := ARRAY['/scope', '/scp'];
            WHEN 'audience_claims' THEN i.audience_claims := ARRAY['/aud'];
            WHEN 'required_claims' THEN i.required_claims := '{}';
            WHEN 'max_lifetime_s' THEN i.max_lifetime_s := NULL;
            ELSE PERFORM iot_auth.fail(format('reset contains ''%s'', which is no column with a default',
                                              left(column_name, 80)));
        END CASE;
    END LOOP;
    RETURN i;
END $$;

-- Change what is given.  NULL: not given; `reset` names columns that go back to their defaults.
CREATE FUNCTION iot_auth.set_issuer(
    name text, audience text[] DEFAULT NULL, algorithms text[] DEFAULT NULL, jwks jsonb DEFAULT NULL,
    jwks_url text DEFAULT NULL, client_id_templates text[] DEFAULT NULL, app_id_claim text DEFAULT NULL,
    token_types text[] DEFAULT NULL, leeway_s int DEFAULT NULL, tenant text DEFAULT NULL,
    scope_claims text[] DEFAULT NULL, audience_claims text[] DEFAULT NULL, required_claims jsonb DEFAULT NULL,
    max_lifetime_s int DEFAULT NULL, reset text[] DEFAULT '{}') RETURNS void
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
#variable_conflict use_column
DECLARE
    i iot_auth.oauth_issuer;
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
        ('max_lifetime_s', set_issuer.max_lifetime_s IS NOT NULL)) v(name, is_given) WHERE v.is_given);
    IF given && set_issuer.reset THEN
        PERFORM iot_auth.fail('a column must not be both given and reset');
    END IF;
    SELECT * INTO STRICT i FROM iot_auth.oauth_issuer o WHERE o.name = set_issuer.name FOR NO KEY UPDATE;
    i := iot_auth.reset_issuer(i, set_issuer.reset);
    i.audience := coalesce(set_issuer.audience, i.audience);
    i.algorithms := coalesce(set_issuer.algorithms, i.algorithms);
    IF num_nonnulls(set_issuer.jwks, set_issuer.jwks_url) = 1 THEN
        i.jwks := set_issuer.jwks;
        i.jwks_url := set_issuer.jwks_url;
    END IF;
    i.client_id_templates := coalesce(set_issuer.client_id_templates, i.client_id_templates);
    i.app_id_claim := coalesce(set_issuer.app_id_claim, i.app_id_claim);
    i.token_types := coalesce(set_issuer.token_types, i.token_types);
    i.leeway_s := coalesce(set_issuer.leeway_s, i.leeway_s);
    i.tenant := coalesce(set_issuer.tenant, i.tenant);
    i.scope_claims := coalesce(set_issuer.scope_claims, i.scope_claims);
    i.audience_claims := coalesce(set_issuer.audience_claims, i.audience_claims);
    i.required_claims := coalesce(set_issuer.required_claims, i.required_claims);
    i.max_lifetime_s := coalesce(set_issuer.max_lifetime_s, i.max_lifetime_s);
    PERFORM iot_auth.require_issuer_settings(i);
    UPDATE iot_auth.oauth_issuer o
    SET audience = i.audience, algorithms = i.algorithms, jwks = i.jwks, jwks_url = i.jwks_url,
        client_id_templates = i.client_id_templates, app_id_claim = i.app_id_claim, token_types = i.token_types,
        leeway_s = i.leeway_s, tenant = i.tenant, scope_claims = i.scope_claims, audience_claims = i.audience_claims,
        required_claims = i.required_claims, max_lifetime_s = i.max_lifetime_s
    WHERE o.name = i.name;
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
       i.max_lifetime_s
FROM iot_auth.oauth_issuer i
WHERE octet_length(i.name) <= 128;

REVOKE ALL ON FUNCTION iot_auth.pointer_problem, iot_auth.pointers_problem, iot_auth.is_claim_value,
    iot_auth.required_claims_problem, iot_auth.app_id_claim_problem, iot_auth.flat_filter_problem,
    iot_auth.keep_issuer_audience, iot_auth.require_issuer_settings, iot_auth.default_app_templates,
    iot_auth.register_issuer, iot_auth.reset_issuer, iot_auth.set_issuer FROM PUBLIC;
GRANT EXECUTE ON FUNCTION iot_auth.pointer_problem, iot_auth.pointers_problem, iot_auth.is_claim_value,
    iot_auth.required_claims_problem, iot_auth.app_id_claim_problem, iot_auth.flat_filter_problem,
    iot_auth.require_issuer_settings, iot_auth.default_app_templates, iot_auth.register_issuer, iot_auth.reset_issuer,
    iot_auth.set_issuer TO iot_auth_admin;
REVOKE ALL ON iot_auth.issuer_audience FROM PUBLIC;
GRANT SELECT ON iot_auth.issuer_audience TO iot_auth_admin;

INSERT INTO iot_auth.schema_version (version) VALUES (13);
$migration$;
EXCEPTION WHEN lock_not_available THEN
    RAISE EXCEPTION 'migration % was not applied: a table of schema iot_auth is locked by another session', this
        USING HINT = 'Apply the migrations again when that session (a dump, a long transaction) has ended.',
              ERRCODE = 'lock_not_available';
END $guard$;
COMMIT;

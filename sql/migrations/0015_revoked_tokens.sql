-- SPDX-License-Identifier: ISC
-- Tokens that are refused before they expire: one token, one app, one user.

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
    this int := 15;
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

CREATE TABLE iot_auth.token_revocation (
    id            bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    issuer_name   text COLLATE "C" NOT NULL REFERENCES iot_auth.oauth_issuer (name) ON DELETE CASCADE,
    claim         text COLLATE "C" NOT NULL, -- JSON Pointer
    value         text COLLATE "C" NOT NULL, -- as ${claim:/pointer} writes it; never a pattern
    issued_before timestamptz NOT NULL DEFAULT now(), -- tokens with an iat at or before it, or without iat
    until         timestamptz, -- the row counts for nothing from then on; NULL: no end
    until_default boolean NOT NULL DEFAULT false, -- `until` follows max_lifetime_s and leeway_s of the issuer
    created_at    timestamptz NOT NULL DEFAULT now(),
    who           text NOT NULL DEFAULT session_user,
    -- One row for each: brokers find it by a hash of these three.
    CONSTRAINT token_revocation_unique UNIQUE (issuer_name, claim, value),
    CONSTRAINT token_revocation_claim_is_a_pointer CHECK (iot_auth.pointer_problem(claim) IS NULL),
    CONSTRAINT token_revocation_value_1_to_1024_bytes CHECK (octet_length(value) BETWEEN 1 AND 1024),
    CONSTRAINT token_revocation_times_are_finite CHECK (isfinite(issued_before) AND isfinite(until))
);
CREATE INDEX token_revocation_until ON iot_auth.token_revocation (until);
SELECT iot_auth.audit_table('token_revocation', 'id', 'r.issuer_name', 'to_jsonb(r)');

CREATE VIEW iot_auth.broker_token_revocation AS
SELECT id, issuer_name AS issuer, CASE WHEN octet_length(claim) <= 512 THEN claim ELSE '' END AS claim,
       CASE WHEN octet_length(value) <= 1024 THEN value ELSE '' END AS value, issued_before, until,
       CASE WHEN octet_length(claim) > 512 THEN 'claim is longer than 512 bytes'
            WHEN octet_length(value) > 1024 THEN 'value is longer than 1024 bytes' END AS fault
FROM iot_auth.token_revocation
WHERE (until IS NULL OR until > now()) AND octet_length(issuer_name) <= 128;

-- When a token that was issued at `issued_before` has expired at the latest; NULL: that is not known.
CREATE FUNCTION iot_auth.revocation_end(issuer_name text, issued_before timestamptz) RETURNS timestamptz
LANGUAGE sql STABLE
RETURN (SELECT revocation_end.issued_before + make_interval(secs => i.max_lifetime_s + i.leeway_s)
        FROM iot_auth.oauth_issuer i WHERE i.name = revocation_end.issuer_name);

-- A row must not end before the last token that it refuses, whose lifetime an issuer may allow later.
CREATE FUNCTION iot_auth.prolong_revocations() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    UPDATE iot_auth.token_revocation r SET until = iot_auth.revocation_end(NEW.name, r.issued_before)
    WHERE r.issuer_name = NEW.name AND r.until_default
      AND (NEW.max_lifetime_s IS NULL OR iot_auth.revocation_end(NEW.name, r.issued_before) > r.until);
    RETURN NULL;
END $$;
CREATE TRIGGER revocations_prolonged AFTER UPDATE ON iot_auth.oauth_issuer FOR EACH ROW
    WHEN (OLD.max_lifetime_s IS DISTINCT FROM NEW.max_lifetime_s OR OLD.leeway_s <> NEW.leeway_s)
    EXECUTE FUNCTION iot_auth.prolong_revocations();

-- Refuse the tokens of an issuer whose claim has that value and that were issued at or before a time.  A second call for
-- the same claim and value keeps what reaches further.
CREATE FUNCTION iot_auth.revoke_tokens(issuer_name text, claim text, value text,
                                       issued_before timestamptz DEFAULT now(), until timestamptz DEFAULT NULL)
RETURNS bigint LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
#variable_conflict use_column
DECLARE
    new_id bigint;
    ends timestamptz;
BEGIN
    PERFORM iot_auth.require_issuer(revoke_tokens.issuer_name);
    PERFORM iot_auth.require('claim', revoke_tokens.claim, iot_auth.pointer_problem(revoke_tokens.claim));
    PERFORM iot_auth.require('value', NULL,
        CASE WHEN revoke_tokens.value IS NULL THEN 'is missing'
             WHEN octet_length(revoke_tokens.value) NOT BETWEEN 1 AND 1024 THEN 'must be 1 to 1024 bytes long' END);
    PERFORM iot_auth.require('issued_before', revoke_tokens.issued_before::text,
        CASE WHEN revoke_tokens.issued_before IS NULL THEN 'is missing'
             WHEN NOT isfinite(revoke_tokens.issued_before) THEN 'must be finite' END);
    PERFORM iot_auth.require('until', revoke_tokens.until::text,
        CASE WHEN NOT isfinite(revoke_tokens.until) THEN 'must be finite (omit it for the default)'
             WHEN revoke_tokens.until <= now() THEN 'is in the past' END);
    ends := coalesce(revoke_tokens.until,
                     iot_auth.revocation_end(revoke_tokens.issuer_name, revoke_tokens.issued_before));
    DELETE FROM iot_auth.token_revocation WHERE id IN (
        -- One that an issuer may still prolong stays for a year.  Another session's rows are left to it.
        SELECT r.id FROM iot_auth.token_revocation r
        WHERE r.until < now() - CASE WHEN r.until_default THEN interval '1 year' ELSE interval '1 day' END
        LIMIT 1000 FOR UPDATE SKIP LOCKED);
    INSERT INTO iot_auth.token_revocation AS r (issuer_name, claim, value, issued_before, until, until_default)
    VALUES (revoke_tokens.issuer_name, revoke_tokens.claim, revoke_tokens.value, revoke_tokens.issued_before, ends,
            revoke_tokens.until IS NULL)
    ON CONFLICT ON CONSTRAINT token_revocation_unique DO UPDATE
    SET issued_before = greatest(r.issued_before, excluded.issued_before),
        until = CASE WHEN r.until IS NULL OR excluded.until IS NULL THEN NULL
                     ELSE greatest(r.until, excluded.until) END,
        until_default = r.until_default OR excluded.until_default
    RETURNING r.id INTO new_id;
    RETURN new_id;
END $$;

CREATE FUNCTION iot_auth.unrevoke_tokens(id bigint) RETURNS void
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
#variable_conflict use_column
BEGIN
    DELETE FROM iot_auth.token_revocation r WHERE r.id = unrevoke_tokens.id;
    IF NOT FOUND THEN
        PERFORM iot_auth.fail(format('revocation %s does not exist', coalesce(unrevoke_tokens.id::text, 'NULL')),
                              'The revocations are in SELECT * FROM iot_auth.token_revocation.', 'undefined_object');
    END IF;
END $$;

DO $$
DECLARE
    event text;
BEGIN
    FOREACH event IN ARRAY ARRAY['insert', 'update', 'delete', 'truncate'] LOOP
        EXECUTE format('CREATE TRIGGER notify_%s AFTER %s ON iot_auth.token_revocation %s FOR EACH STATEMENT '
                       'EXECUTE FUNCTION iot_auth.notify_change(''token'', ''id'', %L)',
                       event, upper(event),
                       CASE event WHEN 'insert' THEN 'REFERENCING NEW TABLE AS new_rows'
                                  WHEN 'update' THEN 'REFERENCING OLD TABLE AS old_rows NEW TABLE AS new_rows'
                                  WHEN 'delete' THEN 'REFERENCING OLD TABLE AS old_rows'
                                  ELSE '' END,
                       'id, issuer_name, claim, value, issued_before, until');
        EXECUTE format('ALTER TABLE iot_auth.token_revocation ENABLE ALWAYS TRIGGER notify_%s', event);
    END LOOP;
END $$;

-- With a remedy for token_revoked.
CREATE OR REPLACE FUNCTION iot_auth.remedy_of_token(reason text, issuer iot_auth.oauth_issuer, detail jsonb) RETURNS text
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    iss text := detail ->> 'claimed_iss';
    near text;
BEGIN
    IF reason = 'token_issuer' AND iss IS NOT NULL THEN
        near := iot_auth.near_misses(rtrim(iss, '/'), ARRAY(SELECT rtrim(i.issuer, '/') FROM iot_auth.oauth_issuer i
            ORDER BY i.name LIMIT 10000),
                                     ARRAY(SELECT i.issuer FROM iot_auth.oauth_issuer i ORDER BY i.name LIMIT 10000),
                                         '/');
        RETURN format('The token''s iss %L must be that of a registered issuer, to the letter '
                      '(iot_auth.register_issuer).', iss)
            || coalesce(' Similar are: ' || near || '.', '');
    END IF;
    RETURN CASE reason
        WHEN 'token_audience' THEN format('aud is %L, and must contain one of the issuer''s '
                                          'audience%s.', detail ->> 'claimed_aud',
                                          coalesce(': ' || array_to_string(issuer.audience, ', '), ''))
        WHEN 'token_type' THEN format('typ is %L, and must be one of the issuer''s token_types%s: an id token is '
                                      'none.', detail ->> 'claimed_typ',
                                      coalesce(': ' || array_to_string(issuer.token_types, ', '), ''))
        WHEN 'token_algorithm' THEN format('The token''s alg must be one of the issuer''s algorithms%s, and fit the '
                                           'key.',
                                           coalesce(': ' || array_to_string(issuer.algorithms, ', '), ''))
        WHEN 'token_key_unknown' THEN format('The key with kid %L must be in the issuer''s key '
                                             'set%s.', detail ->> 'claimed_kid',
                                             coalesce(' (' || issuer.jwks_url || ')', ''))
        WHEN 'token_signature' THEN 'The signature must verify with the issuer''s key of that kid: is the token '
                                    'another environment''s?'
        WHEN 'token_expired' THEN 'The app must fetch a new token before it connects; the clocks of provider and '
                                  'broker must agree.'
        WHEN 'token_not_yet_valid' THEN 'The clocks of provider and broker must agree (leeway_s of the issuer).'
        WHEN 'token_malformed' THEN 'The password must be an access token in JWS compact form: three parts separated '
                                    'by dots, without quotes.'
        WHEN 'token_claims' THEN 'The claims that count must be there and of their type (docs/apps.md).'
        WHEN 'token_unbound' THEN 'A token beside a certificate must be bound to it (cnf, x5t#S256), and a bound '
                                  'token must come with its certificate.'
        WHEN 'token_revoked' THEN 'The app must fetch a new token, issued after the revocation; or the row must go: SELECT '
                                  'iot_auth.unrevoke_tokens(…), with the id that the detail names.'
        WHEN 'token_issuer' THEN 'The token''s iss must be that of a registered issuer.'
        WHEN 'issuer_inactive' THEN coalesce('SELECT iot_auth.set_issuer_status(' || quote_literal(issuer.name) ||
                                             ', ''ACTIVE'');' || coalesce(' Its problem: ' || issuer.problem, ''),
                                             'The issuer must be ACTIVE and usable.')
        WHEN 'client_id_mismatch' THEN format('The client id must fit one of the client_id_templates of issuer %L: '
                                              '%s.', issuer.name,
                                              array_to_string(issuer.client_id_templates, ', ')) END;
END $$;

REVOKE ALL ON iot_auth.token_revocation, iot_auth.broker_token_revocation FROM PUBLIC;
REVOKE ALL ON FUNCTION iot_auth.revocation_end, iot_auth.prolong_revocations, iot_auth.revoke_tokens,
    iot_auth.unrevoke_tokens FROM PUBLIC;
GRANT SELECT, INSERT, UPDATE, DELETE, TRUNCATE ON iot_auth.token_revocation TO iot_auth_admin;
GRANT SELECT ON iot_auth.broker_token_revocation TO iot_auth_admin, iot_auth_broker;
GRANT USAGE, SELECT ON SEQUENCE iot_auth.token_revocation_id_seq TO iot_auth_admin;
GRANT EXECUTE ON FUNCTION iot_auth.revocation_end, iot_auth.revoke_tokens, iot_auth.unrevoke_tokens TO iot_auth_admin;

INSERT INTO iot_auth.schema_version (version) VALUES (15);
$migration$;
EXCEPTION WHEN lock_not_available THEN
    RAISE EXCEPTION 'migration % was not applied: a table of schema iot_auth is locked by another session', this
        USING HINT = 'Apply the migrations again when that session (a dump, a long transaction) has ended.',
              ERRCODE = 'lock_not_available';
END $guard$;
COMMIT;

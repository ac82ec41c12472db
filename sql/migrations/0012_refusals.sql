-- SPDX-License-Identifier: ISC
-- The last refusal of each client is kept, and a refusal says what would have to be true instead.

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
    this int := 12;
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

-- The last refusals.  Events of refusals are sampled, because anyone can mint certificates and tokens; so the one that
-- an administrator looks for may have no event.  Of the latest 1,000 fingerprints, apps and addresses each broker keeps
-- the last refusal, and writes it here at most once a minute: at most 3,000 rows a node, however many clients are
-- refused.

CREATE TABLE iot_auth.last_refusal (
    node_name text NOT NULL REFERENCES iot_auth.node ON DELETE CASCADE,
    key_kind  text COLLATE "C" NOT NULL,
    key       text COLLATE "C" NOT NULL, -- fingerprint, app (registered: app:ISSUER:APP; else as claimed), address
    first_at  timestamptz NOT NULL,      -- of `count` refusals in a row for the same reason …
    at        timestamptz NOT NULL,      -- … the last, which the other columns describe, as in iot_auth.event
    count     bigint NOT NULL,
    kind      text NOT NULL,
    principal text,
    ca_id     bigint,
    address   text,
    reason    text NOT NULL,
    detail    jsonb,
    -- What why_refused looks for.
    words     text[] NOT NULL GENERATED ALWAYS AS (array_remove(ARRAY[
                  principal, nullif(substr(principal, length(split_part(principal, ':', 1)) +
                                           length(split_part(principal, ':', 2)) + 3), ''),
                  address, detail ->> 'device_id', detail ->> 'app', detail ->> 'client_id', detail ->> 'cn',
                  detail ->> 'serial', detail ->> 'fingerprint', detail ->> 'claimed_azp'], NULL)) STORED,
    PRIMARY KEY (node_name, key_kind, key),
    CONSTRAINT last_refusal_key_kind_known CHECK (key_kind IN ('fingerprint', 'app', 'address')),
    CONSTRAINT last_refusal_key_size CHECK (octet_length(key) BETWEEN 1 AND 512),
    CONSTRAINT last_refusal_kind_known CHECK (kind IN ('device/refused', 'app/refused')),
    CONSTRAINT last_refusal_sizes CHECK (octet_length(principal) <= 261 AND octet_length(address) <= 64 AND
                                         octet_length(reason) <= 64 AND pg_column_size(detail) <= 8192),
    CONSTRAINT last_refusal_count_positive CHECK (count > 0)
);
CREATE INDEX last_refusal_words ON iot_auth.last_refusal USING gin (words);
CREATE INDEX last_refusal_at ON iot_auth.last_refusal (at);

-- Element i of each array belongs to refusal i.  The counts are those since the broker wrote that key last.
CREATE FUNCTION iot_auth.broker_write_refusals(p_node text, p_key_kinds text[], p_keys text[], p_firsts timestamptz[],
                                               p_ats timestamptz[], p_counts bigint[], p_kinds text[],
                                               p_principals text[], p_ca_ids bigint[], p_addresses text[],
                                               p_reasons text[], p_details text[])
RETURNS void LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    latest timestamptz := clock_timestamp();
BEGIN
    IF cardinality(p_keys) = 0 THEN
        RETURN;
    END IF;
    PERFORM iot_auth.registration_node(p_node);
    IF cardinality(p_keys) > 3000 THEN
        PERFORM iot_auth.fail('more than 3000 refusals in one call');
    END IF;
    INSERT INTO iot_auth.node (node_name, login) VALUES (p_node, session_user) ON CONFLICT DO NOTHING;
    INSERT INTO iot_auth.last_refusal AS l (node_name, key_kind, key, first_at, at, count, kind, principal, ca_id,
                                            address, reason, detail)
    SELECT DISTINCT ON (r.key_kind, r.key) p_node, r.key_kind, r.key,
           CASE WHEN r.first < latest AND isfinite(r.first) THEN r.first ELSE latest END,
           CASE WHEN r.at < latest AND isfinite(r.at) THEN r.at ELSE latest END,
           greatest(1, least(r.count, 1000000000)), r.kind, iot_auth.bounded_text(r.principal, 261), r.ca_id,
           iot_auth.bounded_text(r.address, 64), iot_auth.bounded_text(r.reason, 64), iot_auth.event_detail(r.detail)
    FROM unnest(p_key_kinds, p_keys, p_firsts, p_ats, p_counts, p_kinds, p_principals, p_ca_ids, p_addresses, p_reasons,
                p_details)
         WITH ORDINALITY AS r(key_kind, key, first, at, count, kind, principal, ca_id, address, reason, detail, n)
    WHERE r.key IS NOT NULL
    ORDER BY r.key_kind, r.key, r.n DESC
    ON CONFLICT (node_name, key_kind, key) DO UPDATE
    SET first_at = CASE WHEN l.reason = excluded.reason THEN least(l.first_at, excluded.first_at)
                        ELSE excluded.first_at END,
        count = CASE WHEN l.reason = excluded.reason THEN l.count + excluded.count ELSE excluded.count END,
        at = excluded.at, kind = excluded.kind, principal = excluded.principal, ca_id = excluded.ca_id,
        address = excluded.address, reason = excluded.reason, detail = excluded.detail;
    DELETE FROM iot_auth.last_refusal d USING (
        SELECT l.key_kind, l.key, row_number() OVER (PARTITION BY l.key_kind ORDER BY l.at DESC) AS place, l.at
        FROM iot_auth.last_refusal l WHERE l.node_name = p_node) old
    WHERE d.node_name = p_node AND d.key_kind = old.key_kind AND d.key = old.key
      AND (old.place > 1000 OR old.at < latest - (SELECT r.keep FROM iot_auth.retention r WHERE r.kind = 'event'));
END $$;

-- What would have to be true instead

-- At most three of the candidates, quoted, the most similar to `wanted` first: the same but for case and blanks, then
-- by the number of components in common.  `separator` separates the components.
CREATE FUNCTION iot_auth.near_misses(wanted text, candidates text[], labels text[], separator text) RETURNS text
LANGUAGE sql IMMUTABLE SET search_path = pg_catalog, pg_temp AS $$
    SELECT string_agg(quote_literal(near.label), ', ' ORDER BY near.place)
    FROM (SELECT c.label, row_number() OVER (ORDER BY same DESC, common DESC, c.label) AS place
          FROM unnest(candidates, labels) c(candidate, label)
          CROSS JOIN LATERAL (
              SELECT lower(translate(c.candidate, ' ', '')) = lower(translate(wanted, ' ', '')) AS same,
                     (SELECT count(*) FROM unnest(string_to_array(lower(wanted), separator)) w
                      WHERE length(w) > 2 AND w = ANY (string_to_array(lower(c.candidate), separator))) AS common) s
          WHERE same OR common > 0
          ORDER BY same DESC, common DESC, c.label LIMIT 3) near
$$;

-- A name as brokers write it into an event: at most 199 bytes.
CREATE FUNCTION iot_auth.shown_name(name text) RETURNS text LANGUAGE sql IMMUTABLE RETURN left(name, 199);

CREATE FUNCTION iot_auth.remedy_of_unknown_ca(detail jsonb) RETURNS text
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    issuer text := detail ->> 'claimed_issuer';
    key_id text := detail ->> 'claimed_authority_key_id';
    same_name text := (SELECT string_agg(quote_literal(f.name), ', ')
                       FROM (SELECT c.name FROM iot_auth.ca c
                             WHERE iot_auth.shown_name(c.subject) = issuer ORDER BY c.name LIMIT 3) f);
    same_key text;
    near text;
BEGIN
    IF issuer IS NULL THEN
        RETURN 'The certificate''s issuer must be a registered CA, or a CA below one whose certificate the client '
               'sends '
               'too.';
    END IF;
    IF same_name IS NOT NULL THEN
        RETURN format('The signature must be that of a registered CA: %s has the name %s, but another key.', same_name,
                      issuer);
    END IF;
    IF key_id ~ '^([0-9a-f]{2}){8,20}$' THEN
        SELECT string_agg(quote_literal(f.name), ', ') INTO same_key
        FROM (SELECT c.name FROM iot_auth.ca c
              WHERE position(decode('551d0e', 'hex') IN (iot_auth.pem_decode(c.pem, 'CERTIFICATE')).der) > 0
                AND position(decode('04' || lpad(to_hex(length(key_id) / 2), 2, '0') || key_id, 'hex')
                             IN (iot_auth.pem_decode(c.pem, 'CERTIFICATE')).der) > 0
              ORDER BY c.name LIMIT 3) f;
    END IF;
    near := iot_auth.near_misses(issuer, ARRAY(SELECT iot_auth.shown_name(c.subject) FROM iot_auth.ca c
                                               WHERE c.subject IS NOT NULL ORDER BY c.ca_id LIMIT 10000),
                                 ARRAY(SELECT format('%s (%s)', c.name, left(c.subject, 199)) FROM iot_auth.ca c
                                       WHERE c.subject IS NOT NULL ORDER BY c.ca_id LIMIT 10000), ',');
    RETURN format('No registered CA has the name %s: register it (iot_auth.register_ca), or let the client send the '
                  'intermediate certificates up to a registered CA.', issuer)
        || coalesce(' The same key identifier has: ' || same_key || '.', '')
        || coalesce(' Similar names have: ' || near || '.', '');
END $$;

CREATE FUNCTION iot_auth.remedy_of_ca(ca iot_auth.ca, reason text, principal text, detail jsonb) RETURNS text
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
            WHEN ca.problem IS NOT NULL THEN format('CA %L must be usable: %s', ca.name, ca.problem)
            ELSE format('Every registered CA on and above the chain must be ACTIVE and usable; CA %L itself is '
                        'ACTIVE now.', ca.name) END
        WHEN 'device_unknown' THEN CASE
            WHEN device.device_id IS NOT NULL THEN format('This certificate must be registered for device %L '
                                                          '(iot_auth.register_device), or CA %L must have '
                                                          'auto_registration.', who, ca.name)
            ELSE format('The device must be registered (iot_auth.register_device), or CA %L must have '
                        'auto_registration.', ca.name) END
        WHEN 'device_conflict' THEN format('Device %L belongs to CA %L: only that CA, or one that replaces it, can '
                                           'give it certificates.',
                                           who, (SELECT c.name FROM iot_auth.ca c WHERE c.ca_id = device.ca_id))
        WHEN 'quota_exceeded' THEN format('CA %L admits %s devices and %s registrations a minute (max_devices, '
                                          'max_registrations_per_minute).',
                                          ca.name, coalesce(ca.max_devices::text, 'any number of'),
                                          coalesce(ca.max_registrations_per_minute::text, 'any number of'))
        WHEN 'identity_invalid' THEN format('device_id_template %L of CA %L must give a device id from the '
                                            'certificate: 1 to 128 bytes without + # / *, and no reserved name.',
                                            ca.device_id_template, ca.name)
        WHEN 'client_id_mismatch' THEN format('The client id must fit one of the client_id_templates of CA %L: '
                                              '%s.', ca.name,
                                              array_to_string(ca.client_id_templates, ', ')) END;
END $$;

CREATE FUNCTION iot_auth.remedy_of_device(reason text, who text, detail jsonb) RETURNS text
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
        WHEN 'topic_denied' THEN 'A rule of one of its roles must ALLOW this action and topic, and none may DENY '
                                 'it.' END;
END $$;

CREATE FUNCTION iot_auth.remedy_of_address(address text, ca text, device text, issuer text) RETURNS text
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    ip inet;
    denying text;
BEGIN
    BEGIN
        ip := address::inet;
    EXCEPTION WHEN data_exception THEN
        NULL;
    END;
    SELECT string_agg(format('rule %s (%s %s of %s)', f.rule_id, f.effect, f.network, f.scope || coalesce(' ' ||
        f.scope_key, '')), ', ')
    INTO denying
    FROM (SELECT * FROM iot_auth.ip_rule r
          WHERE r.effect = 'DENY' AND r.network >>= ip
            AND (r.scope = 'GLOBAL' OR (r.scope, r.scope_key) IN (('CA', ca), ('DEVICE', device), ('ISSUER', issuer)))
          ORDER BY masklen(r.network) DESC LIMIT 3) f;
    RETURN CASE WHEN denying IS NOT NULL THEN format('The address %s is denied by %s: SELECT '
                                                     'iot_auth.remove_ip_rule(…), or allow a longer '
                                                     'prefix.', address, denying)
                ELSE format('An ALLOW rule must cover the address %s: SELECT iot_auth.allow_ip(…), in each scope '
                            'that has ALLOW rules.', address) END;
END $$;

CREATE FUNCTION iot_auth.remedy_of_token(reason text, issuer iot_auth.oauth_issuer, detail jsonb) RETURNS text
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
                                    'by dots, without quotes or a prefix.'
        WHEN 'token_claims' THEN 'The claims that count must be there and of their type (docs/apps.md).'
        WHEN 'token_unbound' THEN 'A token beside a certificate must be bound to it (cnf, x5t#S256), and a bound '
                                  'token must come with its certificate.'
        WHEN 'token_issuer' THEN 'The token''s iss must be that of a registered issuer.'
        WHEN 'issuer_inactive' THEN coalesce('SELECT iot_auth.set_issuer_status(' || quote_literal(issuer.name) ||
                                             ', ''ACTIVE'');' || coalesce(' Its problem: ' || issuer.problem, ''),
                                             'The issuer must be ACTIVE and usable.')
        WHEN 'client_id_mismatch' THEN format('The client id must fit one of the client_id_templates of issuer %L: '
                                              '%s.', issuer.name,
                                              array_to_string(issuer.client_id_templates, ', ')) END;
END $$;

-- What would have to be true so that the client is not refused again: by the registry as it is now.  NULL where nothing
-- in the registry decides that.
CREATE FUNCTION iot_auth.refusal_remedy(reason text, kind text, principal text, ca_id bigint, address text,
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
        WHEN reason IN ('registry_unavailable', 'snapshot_stale') THEN 'The broker must reach the database: see '
                                                                       'iot_auth.node, and the broker''s log.'
        WHEN starts_with(reason, 'token_') OR reason = 'issuer_inactive' OR kind = 'app/refused' AND reason =
            'client_id_mismatch'
            THEN iot_auth.remedy_of_token(reason, issuer, detail)
        ELSE coalesce(CASE WHEN ca.ca_id IS NOT NULL THEN iot_auth.remedy_of_ca(ca, reason, principal, detail) END,
                      iot_auth.remedy_of_device(reason, coalesce(principal, detail ->> 'device_id'), detail)) END;
END $$;

-- The refusals of a device id, app, client id, common name, address, fingerprint or serial number (hexadecimal, in any
-- notation), the latest first: events, and the last refusals that have none.  `count` and `first_at`: of that many in a
-- row for the same reason, as far as the brokers kept count.  `remedy`, of the latest for each reason, says what would
-- have to be true instead.
DROP FUNCTION iot_auth.why_refused(text, interval, bigint);
CREATE FUNCTION iot_auth.why_refused(who text, since interval DEFAULT '24 hours', max bigint DEFAULT 20)
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

CREATE FUNCTION iot_auth.is_in_network(address text, network cidr) RETURNS boolean
LANGUAGE plpgsql IMMUTABLE SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    RETURN coalesce(address::inet <<= network, false);
EXCEPTION WHEN data_exception THEN
    RETURN false;
END $$;

-- The refusals of the last `since`, grouped, the latest first.  `who` is the device or app as far as it was established,
-- else what the client claimed.  `count`: rows of events, or, where more were refused than sampled, what the brokers
-- counted.  Of very many events the latest 100,000 are looked at.
CREATE FUNCTION iot_auth.list_refusals(since interval DEFAULT '24 hours', only_reason text DEFAULT NULL,
                                       only_ca text DEFAULT NULL, only_network cidr DEFAULT NULL,
                                       max bigint DEFAULT 100)
RETURNS TABLE (reason text, who text, address text, ca text, count bigint, first timestamptz, last timestamptz,
               node text)
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp AS $$
#variable_conflict use_column
DECLARE
    earliest timestamptz := now() - since;
    only_ca_id bigint := CASE WHEN only_ca IS NOT NULL THEN (iot_auth.find_ca(only_ca)).ca_id END;
BEGIN
    RETURN QUERY
    WITH rows AS (
        (SELECT e.reason, e.principal, e.detail, e.address, e.ca_id, e.node, e.at AS first, e.at, 1::bigint AS events,
                0::bigint AS kept
         FROM iot_auth.event e
         WHERE e.at > earliest AND e.kind IN ('device/refused', 'app/refused') AND e.reason IS NOT NULL
         ORDER BY e.at DESC LIMIT 100000)
        UNION ALL
        -- An address may have been refused for many reasons: it counts where nothing else is known of the client.
        SELECT l.reason, l.principal, l.detail, l.address, l.ca_id, l.node_name, greatest(l.first_at, earliest), l.at, 0,
               CASE WHEN l.key_kind <> 'address' OR l.principal IS NULL AND NOT l.detail ?| ARRAY['fingerprint', 'app']
                    THEN l.count ELSE 0 END
        FROM iot_auth.last_refusal l WHERE l.at > earliest
    ), named AS (
        SELECT r.*, coalesce(r.principal, r.detail ->> 'device_id', r.detail ->> 'app', r.detail ->> 'cn',
                             r.detail ->> 'claimed_azp', r.detail ->> 'claimed_iss', r.detail ->> 'client_id') AS who
        FROM rows r
        WHERE (only_reason IS NULL OR r.reason = only_reason)
          AND (only_ca_id IS NULL OR r.ca_id = only_ca_id)
          AND (only_network IS NULL OR iot_auth.is_in_network(r.address, only_network)))
    SELECT n.reason, n.who, n.address, a.name, greatest(sum(n.events), sum(n.kept), 1)::bigint, min(n.first), max(n.at),
           (array_agg(n.node ORDER BY n.at DESC))[1]
    FROM named n LEFT JOIN iot_auth.ca a ON a.ca_id = n.ca_id
    GROUP BY n.reason, n.who, n.address, a.name
    ORDER BY max(n.at) DESC, n.reason, n.who LIMIT max;
END $$;

REVOKE ALL ON FUNCTION iot_auth.broker_write_refusals, iot_auth.near_misses, iot_auth.shown_name,
    iot_auth.remedy_of_unknown_ca, iot_auth.remedy_of_ca, iot_auth.remedy_of_device, iot_auth.remedy_of_address,
    iot_auth.remedy_of_token, iot_auth.refusal_remedy, iot_auth.why_refused, iot_auth.is_in_network,
    iot_auth.list_refusals FROM PUBLIC;
GRANT SELECT ON iot_auth.last_refusal TO iot_auth_admin;
GRANT EXECUTE ON FUNCTION iot_auth.near_misses, iot_auth.shown_name, iot_auth.remedy_of_unknown_ca,
    iot_auth.remedy_of_ca, iot_auth.remedy_of_device, iot_auth.remedy_of_address, iot_auth.remedy_of_token,
    iot_auth.refusal_remedy, iot_auth.why_refused, iot_auth.is_in_network, iot_auth.list_refusals TO iot_auth_admin;
GRANT EXECUTE ON FUNCTION iot_auth.broker_write_refusals TO iot_auth_broker;

INSERT INTO iot_auth.schema_version (version) VALUES (12);
$migration$;
EXCEPTION WHEN lock_not_available THEN
    RAISE EXCEPTION 'migration % was not applied: a table of schema iot_auth is locked by another session', this
        USING HINT = 'Apply the migrations again when that session (a dump, a long transaction) has ended.',
              ERRCODE = 'lock_not_available';
END $guard$;
COMMIT;

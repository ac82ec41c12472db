-- SPDX-License-Identifier: ISC
-- The configuration as data: for review, backup, and promotion from a test to production.  No devices, no secrets: keys of
-- issuers and certificates of CAs are public.

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
    this int := 18;
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

-- What a row says, without what belongs to this registry alone: ids, times, and what brokers write.
CREATE FUNCTION iot_auth.settings_of(r jsonb) RETURNS jsonb LANGUAGE sql IMMUTABLE PARALLEL SAFE
RETURN (SELECT coalesce(jsonb_object_agg(e.key, e.value), '{}')
        FROM jsonb_each(r - ARRAY['ca_id', 'name', 'fingerprint', 'name_key_hash', 'created_at', 'subject',
                                  'not_before', 'not_after', 'replaces', 'problem', 'note']) e
        WHERE e.value <> 'null');

-- {kind: {key: settings}}: CAs, roles, issuers and address rules by their names, each with what hangs on it.
CREATE FUNCTION iot_auth.export_configuration() RETURNS jsonb
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
                       'scopes', (SELECT coalesce(jsonb_agg(jsonb_build_object('scope', s.scope, 'role', s.role)
                                                            ORDER BY s.scope, s.role), '[]')
                                  FROM iot_auth.scope_role s WHERE s.issuer_name = i.name))), '{}')
                   FROM iot_auth.oauth_issuer i),
        'ip_rule', (SELECT coalesce(jsonb_object_agg(concat_ws(' ', p.effect, p.network, p.scope, p.scope_key),
                       jsonb_strip_nulls(to_jsonb(p) - 'rule_id')), '{}')
                    FROM iot_auth.ip_rule p WHERE p.scope <> 'DEVICE'),
        'reserved_name', (SELECT coalesce(jsonb_object_agg(n.name, '{}'::jsonb), '{}') FROM iot_auth.reserved_name n))
$$;

-- What iot_auth.import_configuration would change: one row for each object that differs.
CREATE FUNCTION iot_auth.compare_configuration(configuration jsonb)
RETURNS TABLE (kind text, name text, change text, settings text[])
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp AS $$
    WITH f AS (SELECT k.key AS kind, o.key AS name, o.value FROM jsonb_each(configuration) k, jsonb_each(k.value) o),
         n AS (SELECT k.key AS kind, o.key AS name, o.value
               FROM jsonb_each(iot_auth.export_configuration()) k, jsonb_each(k.value) o)
    SELECT coalesce(f.kind, n.kind), coalesce(f.name, n.name),
           CASE WHEN n.value IS NULL THEN 'add' WHEN f.value IS NULL THEN 'keep' ELSE 'change' END,
           ARRAY(SELECT coalesce(a.key, b.key) FROM jsonb_each(f.value) a FULL JOIN jsonb_each(n.value) b USING (key)
                 WHERE f.value IS NOT NULL AND n.value IS NOT NULL AND a.value IS DISTINCT FROM b.value ORDER BY 1)
    FROM f FULL JOIN n USING (kind, name)
    -- Lists are only added: those that this registry has beyond the file's are no difference.
    WHERE f.value IS DISTINCT FROM CASE WHEN n.value -> 'crls' @> (f.value -> 'crls')
                                        THEN jsonb_set(n.value, '{crls}', f.value -> 'crls') ELSE n.value END
    ORDER BY 1, 2
$$;

-- Refuse a misspelt member: it would set nothing, and the setting that was meant would go back to its default.
CREATE FUNCTION iot_auth.check_members(what text, members jsonb, allowed text[]) RETURNS void
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    unknown text;
BEGIN
    IF jsonb_typeof(members) IS DISTINCT FROM 'object' THEN
        PERFORM iot_auth.fail(format('%s is not a JSON object', what), 'iot-auth export shows the form.');
    END IF;
    unknown := (SELECT k FROM jsonb_object_keys(members) k WHERE k <> ALL (allowed) ORDER BY k LIMIT 1);
    IF unknown IS NOT NULL THEN
        PERFORM iot_auth.fail(format('%s has no setting ''%s''', what, left(unknown, 128)),
                              format('Its settings are %s.', array_to_string(allowed, ', ')));
    END IF;
END $$;

-- The columns of a relation that a configuration holds.
CREATE FUNCTION iot_auth.setting_names(relation regclass) RETURNS text[]
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp AS $$
    SELECT array_agg(a.attname::text ORDER BY a.attnum) FROM pg_attribute a
    WHERE a.attrelid = relation AND a.attnum > 0 AND NOT a.attisdropped
      AND iot_auth.settings_of(jsonb_build_object(a.attname, true)) <> '{}'
$$;

-- Set all settings of one row, those that `settings` does not name to their default.
CREATE FUNCTION iot_auth.apply_settings(relation regclass, name text, settings jsonb, kept text[]) RETURNS void
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    c record;
BEGIN
    FOR c IN SELECT a.attname, coalesce(pg_get_expr(d.adbin, d.adrelid), 'NULL') AS fallback
             FROM pg_attribute a LEFT JOIN pg_attrdef d ON d.adrelid = a.attrelid AND d.adnum = a.attnum
             WHERE a.attrelid = relation AND a.attnum > 0 AND NOT a.attisdropped
               AND iot_auth.settings_of(jsonb_build_object(a.attname, true)) <> '{}' AND a.attname <> ALL (kept)
             ORDER BY settings ->> a.attname IS NOT NULL, a.attnum LOOP
        EXECUTE format('UPDATE %1$s t SET %2$I = CASE WHEN $1 ? %2$L THEN s.%2$I ELSE %3$s END '
                       'FROM jsonb_populate_record(NULL::%1$s, $1) s WHERE t.name = $2 '
                       'AND t.%2$I IS DISTINCT FROM CASE WHEN $1 ? %2$L THEN s.%2$I ELSE %3$s END',
                       relation, c.attname, c.fallback) USING settings, apply_settings.name;
    END LOOP;
END $$;

CREATE FUNCTION iot_auth.import_role(role text, settings jsonb) RETURNS void
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
#variable_conflict use_column
DECLARE
    wanted jsonb := settings -> 'rules';
BEGIN
    PERFORM iot_auth.check_members(format('role ''%s''', import_role.role), settings, '{rules}');
    PERFORM iot_auth.check_members(format('a rule of role ''%s''', import_role.role), u,
                                   '{effect,actions,topic_filter,max_qos,allow_retain}')
    FROM jsonb_array_elements(wanted) u;
    IF NOT EXISTS (SELECT FROM iot_auth.role r WHERE r.role = import_role.role) THEN
        PERFORM iot_auth.create_role(import_role.role);
    END IF;
    DELETE FROM iot_auth.role_rule u WHERE u.role = import_role.role AND NOT EXISTS (
        SELECT FROM jsonb_populate_recordset(NULL::iot_auth.role_rule, wanted) w
        WHERE w.effect = u.effect AND w.actions <@ u.actions AND w.actions @> u.actions
          AND w.topic_filter = u.topic_filter AND coalesce(w.max_qos, 2) = u.max_qos
          AND coalesce(w.allow_retain, true) = u.allow_retain);
    INSERT INTO iot_auth.role_rule (role, effect, actions, topic_filter, max_qos, allow_retain)
    SELECT import_role.role, w.effect, w.actions, w.topic_filter, coalesce(w.max_qos, 2), coalesce(w.allow_retain, true)
    FROM jsonb_populate_recordset(NULL::iot_auth.role_rule, wanted) w
    WHERE NOT EXISTS (SELECT FROM iot_auth.role_rule u
                      WHERE u.role = import_role.role AND w.effect = u.effect AND w.actions <@ u.actions
                        AND w.actions @> u.actions AND w.topic_filter = u.topic_filter
                        AND coalesce(w.max_qos, 2) = u.max_qos AND coalesce(w.allow_retain, true) = u.allow_retain);
END $$;

CREATE FUNCTION iot_auth.import_ca(name text, settings jsonb) RETURNS void
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
#variable_conflict use_column
DECLARE
    target iot_auth.ca;
    crl text;
BEGIN
    PERFORM iot_auth.check_members(format('CA ''%s''', import_ca.name), settings,
                                   iot_auth.setting_names('iot_auth.ca') || '{replaces,roles,crls}');
    IF settings ? 'replaces' THEN
        PERFORM iot_auth.find_ca(settings ->> 'replaces'); -- raises an error where there is none
    END IF;
    SELECT * INTO target FROM iot_auth.ca c WHERE c.name = import_ca.name;
    IF NOT FOUND THEN
        -- INACTIVE until all its settings are there, so that no device registers under the defaults.
        PERFORM iot_auth.register_ca(pem => settings ->> 'pem', name => import_ca.name, roles => '{}');
        UPDATE iot_auth.ca c SET status = 'INACTIVE' WHERE c.name = import_ca.name RETURNING * INTO target;
    ELSIF target.pem <> settings ->> 'pem' THEN
        PERFORM iot_auth.fail(format('CA ''%s'' is registered with another certificate', import_ca.name),
                              'Register the other certificate under another name, with replaces.');
    END IF;
    PERFORM iot_auth.apply_settings('iot_auth.ca', import_ca.name, settings - 'replaces', ARRAY['pem']);
    UPDATE iot_auth.ca SET replaces = (SELECT p.ca_id FROM iot_auth.ca p WHERE p.name = settings ->> 'replaces')
    WHERE ca_id = target.ca_id
      AND replaces IS DISTINCT FROM (SELECT p.ca_id FROM iot_auth.ca p WHERE p.name = settings ->> 'replaces');
    DELETE FROM iot_auth.ca_role g WHERE g.ca_id = target.ca_id AND NOT coalesce(settings -> 'roles', '[]') ? g.role;
    INSERT INTO iot_auth.ca_role (ca_id, role)
    SELECT target.ca_id, r FROM jsonb_array_elements_text(settings -> 'roles') r ON CONFLICT DO NOTHING;
    FOR crl IN SELECT l FROM jsonb_array_elements_text(settings -> 'crls') l
               WHERE NOT EXISTS (SELECT FROM iot_auth.crl k WHERE k.ca_id = target.ca_id AND k.pem = l) LOOP
        PERFORM iot_auth.add_crl(import_ca.name, crl);
    END LOOP;
END $$;

CREATE FUNCTION iot_auth.import_issuer(name text, settings jsonb) RETURNS void
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
#variable_conflict use_column
BEGIN
    PERFORM iot_auth.check_members(format('issuer ''%s''', import_issuer.name), settings,
                                   iot_auth.setting_names('iot_auth.oauth_issuer') || '{scopes}');
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
END $$;

-- Add and change what the data say; what only this registry has stays.
CREATE FUNCTION iot_auth.import_configuration(configuration jsonb) RETURNS void
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    unknown text := (SELECT k FROM jsonb_object_keys(configuration) k
                     WHERE k NOT IN ('role', 'ca', 'issuer', 'ip_rule', 'reserved_name') LIMIT 1);
BEGIN
    IF unknown IS NOT NULL THEN
        PERFORM iot_auth.fail(format('''%s'' is no part of a configuration', unknown),
                              'The parts are role, ca, issuer, ip_rule, reserved_name.');
    END IF;
    PERFORM iot_auth.import_role(o.key, o.value) FROM jsonb_each(configuration -> 'role') o;
    -- A CA comes after the one that it replaces.
    PERFORM iot_auth.import_ca(o.key, o.value - 'replaces') FROM jsonb_each(configuration -> 'ca') o
    WHERE NOT EXISTS (SELECT FROM iot_auth.ca c WHERE c.name = o.key);
    PERFORM iot_auth.import_ca(o.key, o.value) FROM jsonb_each(configuration -> 'ca') o;
    PERFORM iot_auth.import_issuer(o.key, o.value) FROM jsonb_each(configuration -> 'issuer') o;
    PERFORM iot_auth.check_members(format('address rule ''%s''', o.key), o.value,
                                   '{effect,network,scope,scope_key,expires_at}')
    FROM jsonb_each(configuration -> 'ip_rule') o;
    INSERT INTO iot_auth.ip_rule AS r (effect, network, scope, scope_key, expires_at)
    SELECT p.effect, p.network, p.scope, p.scope_key, p.expires_at
    FROM jsonb_each(configuration -> 'ip_rule') o
    CROSS JOIN LATERAL jsonb_populate_record(NULL::iot_auth.ip_rule, o.value) p
    ON CONFLICT ON CONSTRAINT ip_rule_unique DO UPDATE SET expires_at = excluded.expires_at
    WHERE r.expires_at IS DISTINCT FROM excluded.expires_at;
    INSERT INTO iot_auth.reserved_name (name) SELECT k FROM jsonb_object_keys(configuration -> 'reserved_name') k
    ON CONFLICT DO NOTHING;
END $$;

REVOKE ALL ON FUNCTION iot_auth.settings_of, iot_auth.export_configuration, iot_auth.compare_configuration,
    iot_auth.check_members, iot_auth.setting_names, iot_auth.apply_settings, iot_auth.import_role, iot_auth.import_ca,
    iot_auth.import_issuer, iot_auth.import_configuration FROM PUBLIC;
GRANT EXECUTE ON FUNCTION iot_auth.settings_of, iot_auth.export_configuration, iot_auth.compare_configuration,
    iot_auth.check_members, iot_auth.setting_names, iot_auth.apply_settings, iot_auth.import_role, iot_auth.import_ca,
    iot_auth.import_issuer, iot_auth.import_configuration TO iot_auth_admin;

INSERT INTO iot_auth.schema_version (version) VALUES (18);
$migration$;
EXCEPTION WHEN lock_not_available THEN
    RAISE EXCEPTION 'migration % was not applied: a table of schema iot_auth is locked by another session', this
        USING HINT = 'Apply the migrations again when that session (a dump, a long transaction) has ended.',
              ERRCODE = 'lock_not_available';
END $guard$;
COMMIT;

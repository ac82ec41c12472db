-- SPDX-License-Identifier: ISC
-- Comments for every object of the schema; certificates that have a successor no longer count as expiring; a configuration
-- without a status leaves the status as it is.

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
    this int := 22;
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

-- A certificate whose device has another one for longer needs nobody's attention.  The sub-query comes last: it runs for
-- those that are near their end alone.
CREATE OR REPLACE VIEW iot_auth.monitor_certificate AS
SELECT a.name AS ca, count(*) AS certificates, count(*) FILTER (WHERE c.status = 'REVOKED') AS revoked,
       count(*) FILTER (WHERE c.status = 'ACTIVE' AND c.not_after <= now()) AS expired,
       count(*) FILTER (WHERE CASE WHEN c.status = 'ACTIVE' AND c.not_after > now()
                                        AND c.not_after <= now() + interval '30 days'
                                   THEN NOT EXISTS (SELECT FROM iot_auth.device_certificate newer
                                                    WHERE newer.device_id = c.device_id AND newer.status = 'ACTIVE'
                                                      AND newer.not_after > now() + interval '30 days') END)
           AS expiring_in_30_days,
       count(*) FILTER (WHERE c.problem IS NOT NULL) AS with_problem
FROM iot_auth.device_certificate c LEFT JOIN iot_auth.ca a USING (ca_id) GROUP BY a.name;

-- The configuration with a status for each CA and issuer: the file's, else the one that the row has, else ACTIVE.  Without
-- it an import would enable what somebody has disabled, because a setting that is not given goes back to its default.
CREATE FUNCTION iot_auth.with_statuses(configuration jsonb) RETURNS jsonb
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp AS $$
    SELECT coalesce(jsonb_object_agg(k.key, CASE WHEN k.key IN ('ca', 'issuer') AND jsonb_typeof(k.value) = 'object' THEN (
        SELECT coalesce(jsonb_object_agg(o.key, CASE WHEN jsonb_typeof(o.value) <> 'object' THEN o.value
            ELSE jsonb_build_object('status', coalesce(
                CASE WHEN k.key = 'ca' THEN (SELECT c.status FROM iot_auth.ca c WHERE c.name = o.key)
                     ELSE (SELECT i.status FROM iot_auth.oauth_issuer i WHERE i.name = o.key) END, 'ACTIVE')) || o.value END), '{}')
        FROM jsonb_each(k.value) o) ELSE k.value END), '{}')
    FROM jsonb_each(configuration) k
$$;

-- Say it where a file makes ACTIVE what is not.
CREATE FUNCTION iot_auth.note_activations(configuration jsonb) RETURNS void
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    enabled text;
BEGIN
    FOR enabled IN
        SELECT format('CA ''%s'' was %s', c.name, c.status) FROM iot_auth.ca c
        WHERE c.status <> 'ACTIVE' AND configuration #>> ARRAY['ca', c.name, 'status'] = 'ACTIVE'
        UNION ALL SELECT format('issuer ''%s'' was %s', i.name, i.status) FROM iot_auth.oauth_issuer i
        WHERE i.status <> 'ACTIVE' AND configuration #>> ARRAY['issuer', i.name, 'status'] = 'ACTIVE' LOOP
        RAISE NOTICE '%', iot_auth.one_line(enabled || '; the configuration makes it ACTIVE');
    END LOOP;
END $$;

ALTER FUNCTION iot_auth.compare_configuration(jsonb) RENAME TO compare_whole_configuration;
CREATE FUNCTION iot_auth.compare_configuration(configuration jsonb)
RETURNS TABLE (kind text, name text, change text, settings text[])
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp AS $$
    SELECT * FROM iot_auth.compare_whole_configuration(iot_auth.with_statuses(configuration))
$$;
ALTER FUNCTION iot_auth.import_configuration(jsonb) RENAME TO import_whole_configuration;
CREATE FUNCTION iot_auth.import_configuration(configuration jsonb) RETURNS void
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    PERFORM iot_auth.note_activations(configuration);
    PERFORM iot_auth.import_whole_configuration(iot_auth.with_statuses(configuration));
END $$;

REVOKE ALL ON FUNCTION iot_auth.with_statuses, iot_auth.note_activations, iot_auth.compare_configuration,
    iot_auth.import_configuration FROM PUBLIC;
GRANT EXECUTE ON FUNCTION iot_auth.with_statuses, iot_auth.note_activations, iot_auth.compare_configuration,
    iot_auth.import_configuration TO iot_auth_admin;

-- Comments, for \d+, \df+ and tools that show a schema.  Each is set by name wherever the object is, so that the arguments of a
-- function may change.  A comment that is there already, of a newer migration, stays.
-- Functions for brokers, triggers and helpers say that they are internal: the others are for administrators.
DO $comments$
DECLARE
    o record;
BEGIN
    FOR o IN SELECT CASE c.relkind WHEN 'v' THEN 'VIEW' ELSE 'TABLE' END AS kind, c.oid::regclass AS object, w.words FROM (VALUES
    ('audit', 'Changes of the configuration: who, when, before and after. Written by triggers; nobody can change it.'),
    ('broker_ca', 'CAs as brokers read them.'),
    ('broker_client_id_owner', 'Owners of client ids of one broker, as that broker reads them.'),
    ('broker_client_id_release', 'Released client ids, as brokers read them.'),
    ('broker_crl', 'CRLs as brokers read them.'),
    ('broker_certificate_device', 'Devices as brokers read them by their certificates.'),
    ('broker_device', 'Devices as brokers read them: one row for each certificate and each pre-shared key.'),
    ('broker_device_state', 'Statuses of devices and certificates alone, which brokers read while another table is locked.'),
    ('broker_psk', 'Sealed pre-shared keys as brokers read them.'),
    ('broker_psk_device', 'Devices as brokers read them by their pre-shared keys.'),
    ('broker_event', 'Status changes that brokers publish.'),
    ('broker_ip', 'Address rules as brokers read them.'),
    ('broker_issuer', 'Issuers as brokers read them.'),
    ('broker_reserved_name', 'Reserved names as brokers read them.'),
    ('broker_role', 'Roles as brokers read them.'),
    ('broker_rule', 'Topic rules as brokers read them.'),
    ('broker_scope', 'Mapped scopes as brokers read them.'),
    ('broker_token_revocation', 'Revocations of tokens as brokers read them.'),
    ('broker_unparsed', 'Certificates that an administrator registered and no broker has parsed yet.'),
    ('ca', 'Certificate authorities: the chains of devices end in one of them.'),
    ('ca_role', 'Roles of all devices of a CA.'),
    ('ca_usage', 'Number of devices of each CA that has quotas.'),
    ('ca_usage_stale', 'CAs whose number of devices must be counted again.'),
    ('client_id_owner', 'Client ids whose sessions a broker may have on disk, with their owners.'),
    ('client_id_release', 'Released client ids: brokers forget who owned them.'),
    ('crl', 'Certificate revocation lists of CAs.'),
    ('device', 'Devices. A device has one or more certificates.'),
    ('device_certificate', 'Certificates of devices.'),
    ('device_psk', 'Pre-shared keys of devices, sealed with a key that the database does not have.'),
    ('device_role', 'Roles of single devices, beside those of their CA.'),
    ('event', 'What happened: registrations, refusals, status changes, ended sessions. Partitioned by month; iot_auth.retention says how long it is kept.'),
    ('ip_rule', 'Address rules: networks that are allowed or denied.'),
    ('issuer_audience', 'The audiences of all issuers, so that no two rows of one issuer share one.'),
    ('last_refusal', 'The last refusal of each of the latest 1,000 fingerprints, apps and addresses of each broker.'),
    ('monitor_ca', 'For monitoring: CAs with dates and problems.'),
    ('monitor_certificate', 'For monitoring: numbers of certificates of each CA.'),
    ('monitor_counter', 'For monitoring: counters of each broker, one row each.'),
    ('monitor_device', 'For monitoring: numbers of devices of each CA and status.'),
    ('monitor_event', 'For monitoring: numbers of events of the last 24 hours.'),
    ('monitor_histogram', 'For monitoring: durations as histograms, in seconds.'),
    ('monitor_issuer', 'For monitoring: issuers with dates and problems.'),
    ('monitor_node', 'For monitoring: brokers, and whether they are alive.'),
    ('monitor_problem', 'For monitoring: rows that have a problem.'),
    ('monitor_refusal', 'For monitoring: refusals by reason.'),
    ('monitor_schema', 'For monitoring: version and size of the schema.'),
    ('monitor_session_end', 'For monitoring: ended sessions by reason.'),
    ('node', 'Brokers: one row each, refreshed every five seconds while the broker has a connection.'),
    ('oauth_issuer', 'Identity providers, whose access tokens admit apps.'),
    ('registration_claim', 'Certificates that are being registered: a lock for each.'),
    ('reserved_name', 'Names that no device can take.'),
    ('retention', 'How long events, audit and rows of ended brokers are kept.'),
    ('role', 'Roles: named sets of topic rules.'),
    ('role_rule', 'Topic rules of roles.'),
    ('schema_version', 'Migrations that have been applied.'),
    ('scope_role', 'Which role a scope of an access token gives.'),
    ('token_revocation', 'Access tokens that are refused although they are valid.')
    ) w(name, words) JOIN pg_class c ON c.relname = w.name AND c.relnamespace = 'iot_auth'::regnamespace AND c.relkind IN ('r', 'p', 'v')
    WHERE obj_description(c.oid, 'pg_class') IS NULL LOOP
        EXECUTE format('COMMENT ON %s %s IS %L', o.kind, o.object, o.words);
    END LOOP;
    -- '*': the column of that name in each table that has no words of its own for it.
    FOR o IN SELECT DISTINCT ON (a.attrelid, a.attnum) c.oid::regclass AS object, a.attname, w.words FROM (VALUES
    ('*', 'created_at', 'When the row was written.'),
    ('*', 'updated_at', 'When the row was changed last.'),
    ('*', 'problem', 'Why the row cannot be used, or what needs care; written by brokers and triggers. NULL: no problem.'),
    ('*', 'tenant', 'Tenant, for topics as ${tenant}; NULL: none.'),
    ('*', 'status', 'ACTIVE, INACTIVE or REVOKED; REVOKED is final.'),
    ('*', 'ca_id', 'The CA, iot_auth.ca.'),
    ('*', 'role', 'The role, iot_auth.role.'),
    ('*', 'device_id', 'The device, iot_auth.device.'),
    ('*', 'pem', 'The certificate or list, PEM in canonical form (RFC 7468).'),
    ('*', 'fingerprint', 'SHA-256 of the DER.'),
    ('*', 'subject', 'Subject of the certificate (RFC 2253); written by brokers.'),
    ('*', 'not_before', 'Start of the validity period (notBefore); written by brokers.'),
    ('*', 'not_after', 'End of the validity period (notAfter); written by brokers.'),
    ('*', 'at', 'When it happened.'),
    ('*', 'node_name', 'Name of the broker (option node_name).'),
    ('*', 'address', 'Address of the client.'),
    ('*', 'reason', 'Reason of the refusal: see docs/reference/reasons.md.'),
    ('*', 'principal', 'Device id, or app:ISSUER:APP_ID.'),
    ('*', 'detail', 'What else is known, as JSON: what the client claimed, the rule that decided.'),
    ('*', 'kind', 'What happened: the topic below event_prefix.'),
    ('*', 'who', 'Database role that did it.'),
    ('*', 'issuer_name', 'The issuer, iot_auth.oauth_issuer.'),
    ('*', 'registered_by', 'jitr: it has registered itself; admin: an administrator has.'),
    ('*', 'client_id', 'MQTT client id.'),
    ('*', 'name', 'Name; it is unique and never changes.'),
    ('*', 'database_tls', 'How the broker reaches the database: local, verified, unverified or clear.'),
    ('*', 'expires_at', 'When the row expires; NULL: never.'),
    ('*', 'last_connected_at', 'When a device with this row connected last; to the hour.'),
    ('*', 'attributes', 'JSON object; its scalar members are ${attr.NAME} in topics.'),
    ('*', 'roles', 'Names of roles.'),
    ('audit', 'audit_id', 'Number of the change.'),
    ('audit', 'table_name', 'The table that was changed.'),
    ('audit', 'key', 'Primary key of the row as text.'),
    ('audit', 'operation', 'INSERT, UPDATE, DELETE or TRUNCATE.'),
    ('audit', 'before', 'What the row said before, the changed columns.'),
    ('audit', 'after', 'What the row says now, the changed columns.'),
    ('audit', 'application', 'application_name of the session.'),
    ('audit', 'who', 'Database role that made the change.'),
    ('audit', 'address', 'Address of the session; NULL: a Unix socket.'),
    ('ca', 'ca_id', 'Number of the CA.'),
    ('ca', 'auto_registration', 'Unknown devices of this CA register when they connect.'),
    ('ca', 'registered_status', 'Status after registration: ACTIVE or PENDING.'),
    ('ca', 'device_id_template', 'How the device id is formed from the certificate.'),
    ('ca', 'client_id_templates', 'MQTT client ids that devices of this CA may use.'),
    ('ca', 'max_devices', 'Most devices that register by themselves; NULL: no limit.'),
    ('ca', 'max_registrations_per_minute', 'Most registrations in 60 seconds; NULL: no limit.'),
    ('ca', 'replaces', 'Predecessor, whose devices may use certificates of this CA.'),
    ('ca', 'name_key_hash', 'SHA-256 over subject and public key: rows with the same are one CA.'),
    ('ca_usage', 'devices', 'Number of devices; -1: not counted yet.'),
    ('device_psk', 'identity', 'The PSK identity that the client sends.'),
    ('device_psk', 'key_id', 'Which line of the key file seals the key.'),
    ('device_psk', 'sealed', 'Nonce, ciphertext and tag (AES-256-GCM).'),
    ('device_psk', 'last_used_at', 'When a client proved the key last.'),
    ('client_id_owner', 'client_id_key', 'Hash of the client id.'),
    ('client_id_owner', 'principal_key', 'Hash of the owner.'),
    ('client_id_owner', 'principal', 'The owner: device id, or app:ISSUER:APP_ID.'),
    ('client_id_release', 'release_id', 'Number of the release.'),
    ('crl', 'crl_id', 'Number of the list.'),
    ('crl', 'next_update', 'nextUpdate of the list (RFC 5280 5.1.2.5); NULL: it has none.'),
    ('crl', 'fingerprint', 'SHA-256 of the DER.'),
    ('device', 'device_id', 'Id of the device: its MQTT username.'),
    ('device', 'status', 'PENDING, ACTIVE, INACTIVE or REVOKED; REVOKED is final.'),
    ('device', 'ca_id', 'The CA that the device belongs to.'),
    ('device', 'tenant', 'Tenant of the device; NULL: that of its CA.'),
    ('device_certificate', 'fingerprint', 'SHA-256 of the DER: what the certificate is known by.'),
    ('device_certificate', 'serial', 'Serial number, hexadecimal.'),
    ('device_certificate', 'ca_id', 'The registered CA that its chain ended in.'),
    ('event', 'event_id', 'Number of the event.'),
    ('event', 'node', 'Broker that wrote it; NULL: an administrator''s change.'),
    ('event', 'ca_id', 'CA that the chain ended in, also of refusals.'),
    ('ip_rule', 'rule_id', 'Number of the rule.'),
    ('ip_rule', 'effect', 'ALLOW or DENY. The longest prefix wins; of equal prefixes, DENY wins.'),
    ('ip_rule', 'network', 'Address or network.'),
    ('ip_rule', 'scope', 'GLOBAL, CA, DEVICE or ISSUER.'),
    ('ip_rule', 'scope_key', 'Name of the CA or issuer, or device id; NULL with GLOBAL.'),
    ('ip_rule', 'expires_at', 'End of the rule; NULL: never. With an expired ALLOW rule the scope still admits nothing else.'),
    ('issuer_audience', 'issuer', 'The iss claim.'),
    ('issuer_audience', 'audience', 'An accepted aud.'),
    ('issuer_audience', 'issuer_name', 'The issuer''s row.'),
    ('last_refusal', 'key_kind', 'What `key` is: fingerprint, app or address.'),
    ('last_refusal', 'key', 'The fingerprint, app or address that the row is about.'),
    ('last_refusal', 'count', 'Number of refusals.'),
    ('last_refusal', 'place', 'Age among the rows of its kind; beyond 1,000 it is removed.'),
    ('last_refusal', 'words', 'Search terms by which why_refused finds the row.'),
    ('last_refusal', 'first_at', 'When it was refused first.'),
    ('node', 'started_at', 'When the broker started.'),
    ('node', 'last_seen', 'When the broker wrote last.'),
    ('node', 'counters', 'The broker''s counters, as in $SYS/broker/iot-auth.'),
    ('node', 'login', 'Database login that owns the name.'),
    ('node', 'versions', 'Versions of plugin, Mosquitto, OpenSSL, libpq and the schema that it needs.'),
    ('node', 'stopped_at', 'When the broker shut down cleanly; NULL: it runs, or it crashed.'),
    ('oauth_issuer', 'issuer', 'Exact value of the iss claim.'),
    ('oauth_issuer', 'audience', 'Accepted values of the aud claim.'),
    ('oauth_issuer', 'algorithms', 'Accepted signature algorithms.'),
    ('oauth_issuer', 'jwks', 'Its public keys, a JWK set (RFC 7517); NULL: from a URL.'),
    ('oauth_issuer', 'jwks_url', 'Where its keys are; NULL: found by discovery.'),
    ('oauth_issuer', 'client_id_templates', 'MQTT client ids that its apps may use.'),
    ('oauth_issuer', 'app_id_claim', 'Claim that holds the app id; NULL: client_id, else azp, else sub.'),
    ('oauth_issuer', 'token_types', 'Accepted values of typ.'),
    ('oauth_issuer', 'leeway_s', 'Seconds of tolerance for exp and nbf.'),
    ('oauth_issuer', 'status', 'ACTIVE or INACTIVE.'),
    ('oauth_issuer', 'scope_claims', 'Where scopes are in the token, JSON pointers.'),
    ('oauth_issuer', 'audience_claims', 'Where the audience is in the token.'),
    ('oauth_issuer', 'required_claims', 'Claims that a token must have, pointers with their values.'),
    ('oauth_issuer', 'max_lifetime_s', 'Longest time from iat to exp; NULL: no limit.'),
    ('oauth_issuer', 'note', 'Remarks of brokers that are no problem.'),
    ('retention', 'kind', 'event, audit, node, or a kind of event.'),
    ('retention', 'keep', 'How long; NULL: for ever.'),
    ('reserved_name', 'name', 'The name.'),
    ('role', 'role', 'Name of the role.'),
    ('role_rule', 'rule_id', 'Number of the rule.'),
    ('role_rule', 'effect', 'ALLOW or DENY. A DENY that matches overrides every ALLOW.'),
    ('role_rule', 'actions', 'PUBLISH, SUBSCRIBE, RECEIVE.'),
    ('role_rule', 'topic_filter', 'Topic filter with variables.'),
    ('role_rule', 'max_qos', 'Highest QoS of PUBLISH that the rule allows.'),
    ('role_rule', 'allow_retain', 'Whether the rule allows retained messages.'),
    ('role_rule', 'problem', 'Why the rule cannot be used: its role then denies everything.'),
    ('schema_version', 'version', 'Number of the migration.'),
    ('schema_version', 'applied_at', 'When it was applied.'),
    ('scope_role', 'scope', 'A scope of access tokens (RFC 6749 3.3).'),
    ('token_revocation', 'id', 'Number of the revocation.'),
    ('token_revocation', 'claim', 'Claim, a JSON pointer.'),
    ('token_revocation', 'value', 'Its value.'),
    ('token_revocation', 'issued_before', 'Tokens issued at or before it.'),
    ('token_revocation', 'until', 'When the revocation expires; NULL: never.'),
    ('token_revocation', 'until_default', '`until` follows the settings of the issuer.')
    ) w(name, attname, words) JOIN pg_attribute a ON a.attname = w.attname AND a.attnum > 0 AND NOT a.attisdropped
    JOIN pg_class c ON c.oid = a.attrelid AND c.relnamespace = 'iot_auth'::regnamespace AND c.relkind IN ('r', 'p')
                       AND NOT c.relispartition AND w.name IN (c.relname, '*')
    WHERE col_description(a.attrelid, a.attnum) IS NULL ORDER BY a.attrelid, a.attnum, w.name = '*' LOOP
        EXECUTE format('COMMENT ON COLUMN %s.%I IS %L', o.object, o.attname, o.words);
    END LOOP;
    FOR o IN SELECT p.oid::regprocedure AS object, w.words FROM (VALUES
    ('add_crl', 'adds a certificate revocation list (PEM) to a CA'),
    ('add_ip_rule', 'Internal: add an address rule: allow_ip and deny_ip.'),
    ('add_rule', 'adds a rule to a role, which is created if need be, and returns the `rule_id`'),
    ('allow_ip', 'admits a network, and returns the `rule_id`. A scope with an ALLOW rule admits nothing else. Scopes: GLOBAL, CA, DEVICE, ISSUER'),
    ('app_id_claim_problem', 'Internal: why a text cannot name the claim of the app id, or NULL.'),
    ('app_variables', 'Internal: variables that client id templates of apps may hold.'),
    ('apply_settings', 'Internal: set all settings of one row, those that `settings` does not name to their default.'),
    ('audit_change', 'Internal: trigger: writes the audit.'),
    ('audit_image', 'Internal: A row as it stands in the audit.'),
    ('audit_table', 'Internal: keep an audit of a table.'),
    ('bounded_text', 'Internal: one line without control characters, of at most `most` bytes.'),
    ('broker_psk_used', 'Internal: A broker writes when pre-shared keys were used last.'),
    ('create_device', 'Registers a device without a certificate: it is known by its pre-shared keys.'),
    ('psk_fingerprint', 'Internal: The key under which brokers keep the record of a pre-shared key''s identity.'),
    ('set_psk_status', 'Sets the status of one pre-shared key; REVOKED is final.'),
    ('broker_connected', 'Internal: A broker writes when devices connected last.'),
    ('broker_heartbeat', 'Internal: A broker writes that it is alive, with its counters.'),
    ('broker_prune', 'Internal: A broker removes what is not kept, every hour.'),
    ('broker_register', 'Internal: register the certificate of a device, for brokers.'),
    ('broker_register_many', 'Internal: register certificates of devices, for brokers.'),
    ('broker_set_ca_parsed', 'Internal: A broker writes what it has read from a CA certificate, and its problem.'),
    ('broker_set_certificate_parsed', 'Internal: A broker writes what it has read from a certificate, and its problem.'),
    ('broker_set_issuer_note', 'Internal: A broker writes a remark about an issuer.'),
    ('broker_set_issuer_problem', 'Internal: A broker writes the problem of an issuer.'),
    ('broker_set_rule_problem', 'Internal: A broker writes why a rule cannot be used.'),
    ('broker_stopped', 'Internal: A broker writes that it shuts down cleanly.'),
    ('broker_write_events', 'Internal: A broker writes events.'),
    ('broker_write_owners', 'Internal: A broker writes who owns client ids.'),
    ('broker_write_refusals', 'Internal: A broker writes the last refusals.'),
    ('busy', 'Internal: refuse because another session holds a lock.'),
    ('ca_status_events', 'Internal: trigger: writes an event for a changed status of a CA.'),
    ('ca_succeeds', 'Internal: whether `successor` replaces `predecessor`, directly or through other CAs.'),
    ('certificate_name_key_hash', 'Internal: SHA-256 over subject and public key of a certificate (RFC 5280 section 4.1), or NULL where this is no certificate.'),
    ('certificate_time', 'Internal: A time that a broker reports, or NULL where it cannot be meant.'),
    ('certificate_variables', 'Internal: variables that device id templates may hold.'),
    ('check_ca', 'Internal: trigger: refuses what is wrong in a CA.'),
    ('check_certificate_ca', 'Internal: trigger: refuses a certificate of a CA that is not the device''s or its successor.'),
    ('check_device_ca', 'Internal: trigger: refuses another CA for a device.'),
    ('check_issuer', 'Internal: trigger: refuses what is wrong in an issuer.'),
    ('check_members', 'Internal: refuse a misspelt member of a configuration.'),
    ('check_reserved', 'Internal: trigger: refuses a reserved name as device id.'),
    ('check_reserved_name', 'Internal: trigger: refuses a device''s id as reserved name.'),
    ('check_role_count', 'Internal: trigger: refuses more roles than a principal can have.'),
    ('check_rule', 'Internal: trigger: refuses what is wrong in a topic rule.'),
    ('check_succession', 'Internal: trigger: refuses a succession of CAs that is not possible.'),
    ('check_tenant_change', 'Internal: trigger: refuses another tenant for a CA that has devices.'),
    ('client_id_templates_problem', 'Internal: the problem of the first invalid client id template, or NULL.'),
    ('client_id_variables', 'Internal: variables that client id templates of devices may hold.'),
    ('compare_configuration', 'What import_configuration would change.'),
    ('compare_whole_configuration', 'Internal: what import_whole_configuration would change.'),
    ('create_role', 'creates a role without rules'),
    ('crl_next_update', 'Internal: nextUpdate of a CertificateList (RFC 5280 section 5.1).'),
    ('crowded_problem', 'Internal: the problem of a certificate whose device has too many.'),
    ('default_app_templates', 'Internal: the client id templates of apps by default.'),
    ('delete_events', 'Internal: delete up to 50,000 rows of a kind that is kept shorter than its partition.'),
    ('deny_ip', 'denies a network, and returns the `rule_id`'),
    ('der_element', 'Internal: one element of DER (X.690 section 8.1).'),
    ('der_looks_right', 'Internal: whether this is a DER SEQUENCE that begins with a SEQUENCE and has exactly the length that it states (X.690 section 8.1).'),
    ('device_id_problem', 'Internal: why a text cannot be a device id, or NULL.'),
    ('device_status_events', 'Internal: trigger: writes an event for a changed status of a device.'),
    ('drop_partition', 'Internal: drop the oldest partition of `parent` whose rows are all older than `cutoff`.  Returns an estimate of its rows.'),
    ('drop_role', 'removes a role, with its rules, from all that have it'),
    ('event_detail', 'Internal: JSON of at most 4 KiB, or the text itself where it is none, without the members that have columns of their own.'),
    ('export_configuration', 'The whole configuration as JSON.'),
    ('fail', 'Internal: refuse the statement.'),
    ('fill_fingerprint', 'Internal: set NEW.pem to its canonical form and NEW.fingerprint to that of the pem, or check it.'),
    ('fill_name_key_hash', 'Internal: trigger: computes ca.name_key_hash.'),
    ('fill_next_update', 'Internal: trigger: computes crl.next_update.'),
    ('find_ca', 'Internal: the row of a CA by its name, or an error with similar names.'),
    ('find_device', 'Internal: the row of a device by its id, or an error with similar ids.'),
    ('flat_filter_problem', 'Internal: why a topic filter whose variables contain no slash cannot be used, or NULL.'),
    ('grant_ca_role', 'gives a role to all devices of a CA'),
    ('grant_device_role', 'gives a role to one device'),
    ('has_blank', 'Internal: whether a text contains white space.'),
    ('import_ca', 'Internal: one CA of a configuration.'),
    ('import_configuration', 'Add and change what a configuration says.'),
    ('import_issuer', 'Internal: one issuer of a configuration.'),
    ('import_role', 'Internal: one role of a configuration.'),
    ('import_whole_configuration', 'Internal: add and change what a configuration with all statuses says.'),
    ('is_blank', 'Internal: whether a text is empty or white space.'),
    ('is_claim_value', 'Internal: whether a JSON value can be that of a required claim.'),
    ('is_in_network', 'Internal: whether an address as text is in a network; false where it is no address.'),
    ('issuer_name_problem', 'Internal: why a text cannot be the name of an issuer, or NULL.'),
    ('json_minus', 'Internal: the members of `a` that `b` does not have with the same value.'),
    ('json_problem', 'Internal: why a JSON value cannot be used, or NULL.'),
    ('jwks_problem', 'Internal: why a JWK set cannot be used, or NULL. Only public keys are accepted.'),
    ('keep_issuer_audience', 'Internal: trigger: keeps iot_auth.issuer_audience.'),
    ('list_problem', 'Internal: why a list cannot be used, or NULL.'),
    ('list_refusals', 'the refusals of the last hours, grouped by reason, client and address, the latest first'),
    ('make_partition', 'Internal: make the partition of one month, where there is none.'),
    ('map_scope', 'gives a role to the apps whose token has that scope'),
    ('month_start', 'Internal: the first moment of a month.'),
    ('near_misses', 'Internal: at most three of the candidates, quoted, the most similar to `wanted` first.'),
    ('note_activations', 'Internal: say which CAs and issuers a configuration makes ACTIVE.'),
    ('notify', 'Internal: notify brokers of changed rows, by their keys.'),
    ('notify_all', 'makes all brokers read everything again, after a restore with triggers disabled'),
    ('notify_change', 'Internal: trigger: notifies brokers of what has changed.'),
    ('one_line', 'Internal: A text as one line of printable characters.'),
    ('parse_again', 'Internal: trigger: certificates without a parsed form are read again.'),
    ('pem_decode', 'Internal: the DER of a PEM text, or what is wrong with it.'),
    ('pem_encode', 'Internal: the PEM form of RFC 7468 section 2.'),
    ('pointer_problem', 'Internal: why a text is no JSON Pointer (RFC 6901), or NULL.'),
    ('pointers_problem', 'Internal: why a list of JSON Pointers cannot be used, or NULL.'),
    ('prolong_revocations', 'Internal: trigger: a revocation lasts as long as the tokens that it refuses.'),
    ('quiet', 'Internal: whether a SECURITY DEFINER function of the schema''s owner, called by a broker''s login, has suppressed notifications.'),
    ('refusal_remedy', 'Internal: what would have to be true so that the client is not refused again, or NULL.'),
    ('refuse', 'Internal: trigger: refuses the statement.'),
    ('register_ca', 'registers a CA, and returns its `ca_id`. `client_id_templates` and `roles` are lists; `replaces` names the CA that it succeeds, of the same tenant'),
    ('register_device', 'registers a device with its certificate (PEM), or adds a certificate of the same CA or its successor'),
    ('register_each', 'Internal: register the items of one CA each by itself, after a lock has refused all of them.'),
    ('register_issuer', 'registers an identity provider. Without `jwks` and `jwks_url` its keys are found by discovery'),
    ('register_items', 'Internal: register certificates, one result each.'),
    ('registered_as', 'what is registered under a device id, fingerprint or serial number, with everything that keeps it from being admitted'),
    ('registration_certificates', 'Internal: insert the certificates of items whose devices are there, and the event of each registration, as published and as in iot_auth.event.'),
    ('registration_count', 'Internal: the number of devices of a CA whose quotas are locked.'),
    ('registration_crowded', 'Internal: A device that collects certificates faster than one device can rotate is probably many.'),
    ('registration_device', 'Internal: insert the device, or use an existing device for a further certificate (rotation).'),
    ('registration_known', 'Internal: the results of those items whose certificates are in the registry.'),
    ('registration_lock', 'Internal: lock what a registration under a CA needs.'),
    ('registration_new_devices', 'Internal: insert the devices that nobody has registered, where the quotas have room for all of them.'),
    ('registration_node', 'Internal: A node name belongs to the login that first used it, so that a broker with a login of its own cannot write in the name of another.'),
    ('registration_one', 'Internal: an item whose device exists, or is of another item of the same batch, or is near the end of a quota.'),
    ('registration_open', 'Internal: the items that have no result yet.'),
    ('registration_parsed', 'Internal: A broker reports what a certificate that was registered by hand says.'),
    ('registration_quota', 'Internal: the exhausted quota of a locked CA, as text, or NULL: for `n` more registrations, of which all or none are of another device.'),
    ('registration_refusal', 'Internal: the result of a registration that was refused.'),
    ('registration_refusals', 'Internal: the results of those items that this CA does not register, by the state of the CA or by their device ids.'),
    ('release_client_id', 'frees a client id, unless its owner is connected'),
    ('remedy_of_address', 'Internal: what would admit an address.'),
    ('remedy_of_ca', 'Internal: what would admit a device of a CA.'),
    ('remedy_of_device', 'Internal: what would admit a device.'),
    ('remedy_of_token', 'Internal: what would admit a token.'),
    ('remedy_of_unknown_ca', 'Internal: what would admit a chain of an unknown CA.'),
    ('remove_ip_rule', 'removes an address rule'),
    ('remove_rule', 'removes a rule'),
    ('require', 'Internal: refuse the statement unless `problem` is NULL.  `what` and `value` name the argument.'),
    ('require_issuer', 'Internal: refuse an unknown issuer, with similar names.'),
    ('require_issuer_settings', 'Internal: everything that an administrator can get wrong in a row, for register_issuer and set_issuer.'),
    ('require_one_of', 'Internal: refuse a value that is none of a list.'),
    ('require_pem', 'Internal: the DER of a PEM argument.'),
    ('require_role', 'Internal: refuse an unknown role, with similar names.'),
    ('require_rotation', 'Internal: refuse unless a certificate of CA `issued_by` may be added to `target`: only of the same CA or its successor.'),
    ('require_scope', 'Internal: refuse an unknown scope of an address rule.'),
    ('require_texts', 'Internal: refuse a list that is too long, empty or has NULL.'),
    ('required_claims_problem', 'Internal: why a value of required_claims cannot be used, or NULL.'),
    ('reserved_problem', 'Internal: why a name cannot be reserved, or NULL.'),
    ('reset_issuer', 'Internal: the row with the columns in `reset` back at their defaults.'),
    ('revocation_end', 'Internal: when a token that was issued at `issued_before` has expired at the latest; NULL: that is not known.'),
    ('revoke_ca_role', 'takes a role from all devices of a CA'),
    ('revoke_certificate', 'revokes one certificate of a device, by its SHA-256 fingerprint in hexadecimal'),
    ('revoke_device_role', 'takes a role from one device'),
    ('revoke_tokens', 'refuses the tokens of an issuer that have the value in a claim (JSON Pointer) and were issued at or before the time; their sessions end within a second'),
    ('same_key_notice', 'Internal: say to which other rows of the same key the status of a CA applies.'),
    ('scope_problem', 'Internal: why a text cannot be a scope, or NULL.'),
    ('session_is_broker', 'Internal: whether this session can only be a broker''s.'),
    ('set_ca_status', 'ACTIVE, INACTIVE, or REVOKED (final). Devices of a CA that is not ACTIVE are disconnected at once'),
    ('set_device_status', 'PENDING, ACTIVE, INACTIVE, or REVOKED (final)'),
    ('set_issuer', 'changes the settings that are given; `reset` names settings that go back to their default; sessions whose claims would be read differently end'),
    ('set_issuer_status', 'ACTIVE or INACTIVE; the sessions of an issuer that is not ACTIVE end at once'),
    ('setting_names', 'Internal: the columns of a relation that a configuration holds.'),
    ('settings_of', 'Internal: what a row says, without what belongs to this registry alone.'),
    ('shown_name', 'Internal: A name as brokers write it into an event, shortened.'),
    ('template_problem', 'Internal: why a template cannot be used, or NULL.'),
    ('text_problem', 'Internal: why a text that is no topic level cannot be used, or NULL.'),
    ('texts_problem', 'Internal: why a list of texts cannot be used, or NULL.'),
    ('topic_filter_problem', 'Internal: why a topic filter cannot be used, or NULL.'),
    ('touch', 'Internal: trigger: sets updated_at.'),
    ('unmap_scope', 'takes the role from the apps whose token has that scope'),
    ('unrevoke_tokens', 'removes a revocation of tokens, by its id'),
    ('usable_texts', 'Internal: the list, or an empty one where its form is not the one that is stored today.'),
    ('usage_forget', 'Internal: trigger: devices are counted again after another quota.'),
    ('usage_stale', 'Internal: trigger: marks CAs whose devices must be counted again.'),
    ('value_problem', 'Internal: why a value cannot be used in an id, a topic level or a name, or NULL.'),
    ('variable_name', 'Internal: A variable as the lists of variables have it.'),
    ('why_refused', 'the latest refusals of a device, app, client id, common name, address, fingerprint or serial number'),
    ('with_statuses', 'Internal: A configuration with a status for each CA and issuer.'),
    ('would_register', 'Internal: what a registration would answer; nothing is registered.')
    ) w(name, words) JOIN pg_proc p ON p.proname = w.name AND p.pronamespace = 'iot_auth'::regnamespace AND p.prokind = 'f'
    WHERE obj_description(p.oid, 'pg_proc') IS NULL LOOP
        EXECUTE format('COMMENT ON FUNCTION %s IS %L', o.object, o.words);
    END LOOP;
END $comments$;
COMMENT ON SCHEMA iot_auth IS 'The registry of mosquitto-iot-auth: who may connect to the brokers, and what they may do. Administrators'' functions are in docs/reference/sql.md.';

INSERT INTO iot_auth.schema_version (version) VALUES (22);
$migration$;
EXCEPTION WHEN lock_not_available THEN
    RAISE EXCEPTION 'migration % was not applied: a table of schema iot_auth is locked by another session', this
        USING HINT = 'Apply the migrations again when that session (a dump, a long transaction) has ended.',
              ERRCODE = 'lock_not_available';
END $guard$;
COMMIT;

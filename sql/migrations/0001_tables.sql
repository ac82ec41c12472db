-- SPDX-License-Identifier: ISC
-- Schema iot_auth: roles, value rules, tables.
--
-- Apply sql/migrations/*.sql in name order, as a superuser or as a database owner with CREATEROLE.  Applying them again
-- is harmless.  Each file is one transaction.  The role that applies them owns every object, and every SECURITY DEFINER
-- function runs with the rights of that role.
--
-- Rules that a row can break by itself are CHECK constraints in this file, built on IMMUTABLE SQL functions that
-- PostgreSQL inlines: a million rows in one INSERT stay cheap.  Rules that need other rows or the old row are in 0002.

BEGIN;
SET LOCAL search_path = pg_catalog, pg_temp;
SET LOCAL client_min_messages = warning;
SELECT pg_advisory_xact_lock(5714620941378015095); -- one migration at a time

DO $$
BEGIN
    IF current_setting('server_version_num')::int < 150000 THEN
        RAISE EXCEPTION 'iot_auth requires PostgreSQL 15 or newer, but this server is version %',
            current_setting('server_version');
    END IF;
    IF current_setting('server_encoding') <> 'UTF8' THEN
        RAISE EXCEPTION 'iot_auth requires a database with encoding UTF8, but this database has encoding %',
            current_setting('server_encoding')
            USING HINT = 'Create the database with ENCODING ''UTF8'' TEMPLATE template0.';
    END IF;
END $$;

-- Neither role has a password: set one with ALTER ROLE, use another authentication method, or grant the roles to other
-- roles (GRANT iot_auth_admin TO alice).
DO $$
DECLARE
    missing name;
BEGIN
    FOREACH missing IN ARRAY ARRAY['iot_auth_admin', 'iot_auth_broker']::name[] LOOP
        CONTINUE WHEN EXISTS (SELECT FROM pg_roles WHERE rolname = missing);
        BEGIN
            EXECUTE format('CREATE ROLE %I LOGIN', missing);
        EXCEPTION WHEN duplicate_object OR unique_violation THEN
            NULL; -- created concurrently by a migration of another database of this server
        END;
    END LOOP;
END $$;

CREATE SCHEMA IF NOT EXISTS iot_auth;

CREATE TABLE IF NOT EXISTS iot_auth.schema_version (
    version    int PRIMARY KEY,
    applied_at timestamptz NOT NULL DEFAULT now()
);

-- Value rules: NULL for a valid value, else the problem as a predicate that follows the value: "name 'x' <problem>".

-- A value that may be used in an id, a topic level or a name: the same rule as ia_value_valid in common/str.h.
-- The database encoding guarantees valid UTF-8, and type text excludes NUL.
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

-- The principal name of an app begins with 'app:': no certificate may claim such a name.
CREATE OR REPLACE FUNCTION iot_auth.device_id_problem(v text) RETURNS text
LANGUAGE sql IMMUTABLE PARALLEL SAFE
RETURN CASE
    WHEN starts_with(v, 'app:') THEN 'begins with ''app:'', which is reserved for apps'
    ELSE iot_auth.value_problem(v)
END;

-- No ':': 'app:<issuer>:<app_id>' must have exactly one interpretation.
CREATE OR REPLACE FUNCTION iot_auth.issuer_name_problem(v text) RETURNS text
LANGUAGE sql IMMUTABLE PARALLEL SAFE
RETURN CASE
    WHEN v IS NULL THEN 'is missing'
    WHEN octet_length(v) NOT BETWEEN 1 AND 128 THEN 'must be 1 to 128 bytes long'
    WHEN v COLLATE "C" !~ '^[A-Za-z0-9_.-]+$' THEN 'must contain only letters, digits and _ . -'
END;

-- Text that is displayed or compared but never used as a topic level: URLs, claim names, audiences.
CREATE OR REPLACE FUNCTION iot_auth.text_problem(v text, most int) RETURNS text
LANGUAGE sql IMMUTABLE PARALLEL SAFE
RETURN CASE
    WHEN v IS NULL THEN 'is missing'
    WHEN octet_length(v) = 0 THEN 'is empty'
    WHEN octet_length(v) > most THEN 'is too long'
    WHEN v COLLATE "C" ~ '[\u0001-\u001f\u007f-\u009f]' THEN 'contains a control character'
END;

-- One scope of a token (RFC 6749 section 3.3).
CREATE OR REPLACE FUNCTION iot_auth.scope_problem(v text) RETURNS text
LANGUAGE sql IMMUTABLE PARALLEL SAFE
RETURN CASE
    WHEN v IS NULL THEN 'is missing'
    WHEN octet_length(v) NOT BETWEEN 1 AND 256 THEN 'must be 1 to 256 bytes long'
    WHEN v COLLATE "C" !~ '^[\u0021\u0023-\u005b\u005d-\u007e]+$'
        THEN 'must contain only printable ASCII without space, " and \'
END;

-- 1 to `most` elements, one dimension, no NULL.
CREATE OR REPLACE FUNCTION iot_auth.list_problem(list text[], most int) RETURNS text
LANGUAGE sql IMMUTABLE PARALLEL SAFE
RETURN CASE
    WHEN list IS NULL OR cardinality(list) = 0 THEN 'is empty'
    WHEN array_ndims(list) <> 1 THEN 'has more than one dimension'
    WHEN cardinality(list) > most THEN 'has too many elements'
    WHEN array_position(list, NULL) IS NOT NULL THEN 'contains a NULL'
END;

-- Certificate authorities and the settings for their devices.

CREATE TABLE IF NOT EXISTS iot_auth.ca (
    ca_id                        bigint GENERATED BY DEFAULT AS IDENTITY PRIMARY KEY,
    name                         text COLLATE "C" NOT NULL,
    pem                          text NOT NULL,
    fingerprint                  bytea NOT NULL, -- SHA-256 of the DER; computed from pem where omitted
    status                       text COLLATE "C" NOT NULL DEFAULT 'ACTIVE',
    auto_registration            boolean NOT NULL DEFAULT false,
    registered_status            text COLLATE "C" NOT NULL DEFAULT 'ACTIVE',
    device_id_template           text COLLATE "C" NOT NULL DEFAULT '${cert.cn}',
    client_id_templates          text[] COLLATE "C" NOT NULL DEFAULT ARRAY['${device_id}'],
    max_devices                  bigint,
    max_registrations_per_minute int,
    tenant                       text COLLATE "C",
    replaces                     bigint,
    created_at                   timestamptz NOT NULL DEFAULT now(),
    -- set by the plugin, which can parse X.509
    subject                      text,
    not_before                   timestamptz,
    not_after                    timestamptz,
    problem                      text, -- why this CA admits no device, or a warning; NULL: no problem
    CONSTRAINT ca_name_unique UNIQUE (name),
    CONSTRAINT ca_fingerprint_unique UNIQUE (fingerprint),
    CONSTRAINT ca_name_is_a_value CHECK (iot_auth.value_problem(name) IS NULL),
    CONSTRAINT ca_fingerprint_is_sha256 CHECK (octet_length(fingerprint) = 32),
    CONSTRAINT ca_status_known CHECK (status IN ('ACTIVE', 'INACTIVE', 'REVOKED')),
    CONSTRAINT ca_registered_status_active_or_pending CHECK (registered_status IN ('ACTIVE', 'PENDING')),
    CONSTRAINT ca_client_id_templates_not_empty CHECK (iot_auth.list_problem(client_id_templates, 16) IS NULL),
    CONSTRAINT ca_max_devices_not_negative CHECK (max_devices >= 0),
    CONSTRAINT ca_max_registrations_not_negative CHECK (max_registrations_per_minute >= 0),
    CONSTRAINT ca_tenant_is_a_value CHECK (tenant IS NULL OR iot_auth.value_problem(tenant) IS NULL),
    CONSTRAINT ca_replaces_known FOREIGN KEY (replaces) REFERENCES iot_auth.ca (ca_id) ON DELETE SET NULL
);
CREATE INDEX IF NOT EXISTS ca_replaces ON iot_auth.ca (replaces) WHERE replaces IS NOT NULL;

CREATE TABLE IF NOT EXISTS iot_auth.crl (
    crl_id      bigint GENERATED BY DEFAULT AS IDENTITY PRIMARY KEY,
    ca_id       bigint NOT NULL REFERENCES iot_auth.ca (ca_id) ON DELETE CASCADE,
    pem         text NOT NULL,
    fingerprint bytea NOT NULL, -- SHA-256 of the DER; computed from pem where omitted
    created_at  timestamptz NOT NULL DEFAULT now(),
    CONSTRAINT crl_unique UNIQUE (ca_id, fingerprint),
    CONSTRAINT crl_fingerprint_is_sha256 CHECK (octet_length(fingerprint) = 32)
);

-- The number of devices of a CA with max_devices: written only by registrations, which lock the quotas of the CA.  A
-- row in ca_usage_stale says that another session has changed the number since, so that it must be counted again.
-- Inserting that row waits for no lock, whereas updating the number would queue brokers behind an administrator's open
-- transaction.
CREATE TABLE IF NOT EXISTS iot_auth.ca_usage (
    ca_id   bigint PRIMARY KEY REFERENCES iot_auth.ca (ca_id) ON DELETE CASCADE,
    devices bigint NOT NULL
);
CREATE TABLE IF NOT EXISTS iot_auth.ca_usage_stale (
    ca_id bigint NOT NULL REFERENCES iot_auth.ca (ca_id) ON DELETE CASCADE
);
CREATE INDEX IF NOT EXISTS ca_usage_stale_ca ON iot_auth.ca_usage_stale (ca_id);

-- Devices.

CREATE TABLE IF NOT EXISTS iot_auth.device (
    device_id         text COLLATE "C" PRIMARY KEY,
    ca_id             bigint NOT NULL,
    tenant            text COLLATE "C", -- NULL: the tenant of the CA
    status            text COLLATE "C" NOT NULL DEFAULT 'ACTIVE',
    attributes        jsonb NOT NULL DEFAULT '{}',
    registered_by     text COLLATE "C" NOT NULL DEFAULT 'admin',
    created_at        timestamptz NOT NULL DEFAULT now(),
    updated_at        timestamptz, -- time of the last change of tenant, status, attributes or CA
    last_connected_at timestamptz,
    CONSTRAINT device_id_is_a_value CHECK (iot_auth.device_id_problem(device_id) IS NULL),
    CONSTRAINT device_tenant_is_a_value CHECK (tenant IS NULL OR iot_auth.value_problem(tenant) IS NULL),
    CONSTRAINT device_status_known CHECK (status IN ('PENDING', 'ACTIVE', 'INACTIVE', 'REVOKED')),
    CONSTRAINT device_attributes_is_an_object CHECK (jsonb_typeof(attributes) = 'object'),
    CONSTRAINT device_registered_by_known CHECK (registered_by IN ('jitr', 'admin')),
    CONSTRAINT ca_with_devices_can_only_be_disabled FOREIGN KEY (ca_id) REFERENCES iot_auth.ca (ca_id)
        ON DELETE RESTRICT
) WITH (fillfactor = 90);
CREATE INDEX IF NOT EXISTS device_ca ON iot_auth.device (ca_id);

CREATE TABLE IF NOT EXISTS iot_auth.device_certificate (
    fingerprint   bytea PRIMARY KEY, -- SHA-256 of the DER; computed from pem where omitted
    device_id     text COLLATE "C" NOT NULL REFERENCES iot_auth.device (device_id) ON DELETE CASCADE,
    ca_id         bigint NOT NULL,
    serial        text,
    subject       text,
    not_before    timestamptz,
    not_after     timestamptz,
    status        text COLLATE "C" NOT NULL DEFAULT 'ACTIVE',
    registered_by text COLLATE "C" NOT NULL DEFAULT 'admin',
    created_at    timestamptz NOT NULL DEFAULT now(),
    pem           text, -- only where an administrator registered the certificate: the plugin parses it
    CONSTRAINT certificate_fingerprint_is_sha256 CHECK (octet_length(fingerprint) = 32),
    CONSTRAINT certificate_status_known CHECK (status IN ('ACTIVE', 'INACTIVE', 'REVOKED')),
    CONSTRAINT certificate_registered_by_known CHECK (registered_by IN ('jitr', 'admin')),
    CONSTRAINT ca_with_certificates_can_only_be_disabled FOREIGN KEY (ca_id) REFERENCES iot_auth.ca (ca_id)
        ON DELETE RESTRICT
);
CREATE INDEX IF NOT EXISTS device_certificate_device ON iot_auth.device_certificate (device_id);
CREATE INDEX IF NOT EXISTS device_certificate_ca ON iot_auth.device_certificate (ca_id, created_at);
CREATE INDEX IF NOT EXISTS device_certificate_unparsed ON iot_auth.device_certificate (fingerprint)
    WHERE pem IS NOT NULL AND serial IS NULL;

-- Rights.

CREATE TABLE IF NOT EXISTS iot_auth.role (
    role       text COLLATE "C" PRIMARY KEY,
    created_at timestamptz NOT NULL DEFAULT now(),
    CONSTRAINT role_is_a_value CHECK (iot_auth.value_problem(role) IS NULL)
);

CREATE TABLE IF NOT EXISTS iot_auth.role_rule (
    rule_id      bigint GENERATED BY DEFAULT AS IDENTITY PRIMARY KEY,
    role         text COLLATE "C" NOT NULL REFERENCES iot_auth.role (role) ON DELETE CASCADE,
    effect       text COLLATE "C" NOT NULL,
    actions      text[] COLLATE "C" NOT NULL,
    topic_filter text COLLATE "C" NOT NULL,
    max_qos      smallint NOT NULL DEFAULT 2, -- PUBLISH: highest QoS that this ALLOW rule admits
    allow_retain boolean NOT NULL DEFAULT true, -- PUBLISH: whether retained messages are allowed
    problem      text, -- set by the plugin: why this rule makes its role deny everything
    CONSTRAINT rule_effect_known CHECK (effect IN ('ALLOW', 'DENY')),
    CONSTRAINT rule_actions_not_empty CHECK (iot_auth.list_problem(actions, 3) IS NULL),
    CONSTRAINT rule_actions_known CHECK (actions <@ ARRAY['PUBLISH', 'SUBSCRIBE', 'RECEIVE']),
    CONSTRAINT rule_topic_filter_length CHECK (octet_length(topic_filter) BETWEEN 1 AND 1024),
    CONSTRAINT rule_max_qos_0_to_2 CHECK (max_qos BETWEEN 0 AND 2)
);
CREATE INDEX IF NOT EXISTS role_rule_role ON iot_auth.role_rule (role, topic_filter);

CREATE TABLE IF NOT EXISTS iot_auth.ca_role (
    ca_id bigint NOT NULL REFERENCES iot_auth.ca (ca_id) ON DELETE CASCADE,
    role  text COLLATE "C" NOT NULL REFERENCES iot_auth.role (role) ON DELETE CASCADE,
    PRIMARY KEY (ca_id, role)
);
CREATE INDEX IF NOT EXISTS ca_role_role ON iot_auth.ca_role (role);

CREATE TABLE IF NOT EXISTS iot_auth.device_role (
    device_id text COLLATE "C" NOT NULL REFERENCES iot_auth.device (device_id) ON DELETE CASCADE,
    role      text COLLATE "C" NOT NULL REFERENCES iot_auth.role (role) ON DELETE CASCADE,
    PRIMARY KEY (device_id, role)
);
CREATE INDEX IF NOT EXISTS device_role_role ON iot_auth.device_role (role);

-- Apps.

CREATE TABLE IF NOT EXISTS iot_auth.oauth_issuer (
    name                text COLLATE "C" PRIMARY KEY,
    issuer              text COLLATE "C" NOT NULL, -- the exact value of the `iss` claim
    audience            text[] COLLATE "C" NOT NULL,
    algorithms          text[] COLLATE "C" NOT NULL DEFAULT ARRAY['RS256', 'ES256'],
    jwks                jsonb,
    jwks_url            text COLLATE "C", -- neither jwks nor jwks_url: OpenID discovery at the issuer
    client_id_templates text[] COLLATE "C" NOT NULL DEFAULT ARRAY['app:${issuer}:${app_id}',
                                                                  'app:${issuer}:${app_id}/*'],
    app_id_claim        text COLLATE "C", -- NULL: client_id, else azp, else sub
    token_types         text[] COLLATE "C" NOT NULL DEFAULT ARRAY['at+jwt', 'JWT'],
    leeway_s            int NOT NULL DEFAULT 30,
    tenant              text COLLATE "C",
    status              text COLLATE "C" NOT NULL DEFAULT 'ACTIVE',
    created_at          timestamptz NOT NULL DEFAULT now(),
    problem             text, -- set by the plugin: why this issuer admits no app, or a warning
    CONSTRAINT issuer_unique UNIQUE (issuer),
    CONSTRAINT issuer_name_fits CHECK (iot_auth.issuer_name_problem(name) IS NULL),
    CONSTRAINT issuer_is_a_text CHECK (iot_auth.text_problem(issuer, 512) IS NULL),
    CONSTRAINT issuer_audience_not_empty CHECK (iot_auth.list_problem(audience, 64) IS NULL),
    CONSTRAINT issuer_algorithms_not_empty CHECK (iot_auth.list_problem(algorithms, 16) IS NULL),
    CONSTRAINT issuer_algorithms_known CHECK (algorithms <@ ARRAY['RS256', 'RS384', 'RS512', 'PS256', 'PS384', 'PS512',
                                                                  'ES256', 'ES384', 'ES512', 'EdDSA']),
    CONSTRAINT issuer_client_id_templates_not_empty CHECK (iot_auth.list_problem(client_id_templates, 16) IS NULL),
    CONSTRAINT issuer_app_id_claim_is_a_text
        CHECK (app_id_claim IS NULL OR iot_auth.text_problem(app_id_claim, 128) IS NULL),
    CONSTRAINT issuer_token_types_not_empty CHECK (iot_auth.list_problem(token_types, 16) IS NULL),
    CONSTRAINT issuer_leeway_0_to_600_s CHECK (leeway_s BETWEEN 0 AND 600),
    CONSTRAINT issuer_tenant_is_a_value CHECK (tenant IS NULL OR iot_auth.value_problem(tenant) IS NULL),
    CONSTRAINT issuer_status_known CHECK (status IN ('ACTIVE', 'INACTIVE')),
    CONSTRAINT issuer_jwks_is_an_object CHECK (jsonb_typeof(jwks) = 'object'),
    CONSTRAINT issuer_jwks_url_is_http CHECK (jwks_url COLLATE "C" ~ '^https?://[^[:space:][:cntrl:]]+$')
);

-- A separate statement, so that it applies to tables created without it: there, the keys in the row were used.
UPDATE iot_auth.oauth_issuer SET jwks_url = NULL WHERE num_nonnulls(jwks, jwks_url) > 1;
ALTER TABLE iot_auth.oauth_issuer
    DROP CONSTRAINT IF EXISTS issuer_keys_from_one_place,
    ADD CONSTRAINT issuer_keys_from_one_place CHECK (num_nonnulls(jwks, jwks_url) < 2);

CREATE TABLE IF NOT EXISTS iot_auth.scope_role (
    issuer_name text COLLATE "C" NOT NULL REFERENCES iot_auth.oauth_issuer (name) ON DELETE CASCADE,
    scope       text COLLATE "C" NOT NULL,
    role        text COLLATE "C" NOT NULL REFERENCES iot_auth.role (role) ON DELETE CASCADE,
    PRIMARY KEY (issuer_name, scope, role),
    CONSTRAINT scope_is_a_token CHECK (iot_auth.scope_problem(scope) IS NULL)
);
CREATE INDEX IF NOT EXISTS scope_role_role ON iot_auth.scope_role (role);

-- Addresses.

CREATE TABLE IF NOT EXISTS iot_auth.ip_rule (
    rule_id    bigint GENERATED BY DEFAULT AS IDENTITY PRIMARY KEY,
    effect     text COLLATE "C" NOT NULL,
    network    cidr NOT NULL,
    scope      text COLLATE "C" NOT NULL DEFAULT 'GLOBAL',
    scope_key  text COLLATE "C", -- CA name, device id or issuer name
    expires_at timestamptz,
    CONSTRAINT ip_rule_effect_known CHECK (effect IN ('ALLOW', 'DENY')),
    CONSTRAINT ip_rule_scope_known CHECK (scope IN ('GLOBAL', 'CA', 'DEVICE', 'ISSUER')),
    CONSTRAINT ip_rule_key_unless_global CHECK ((scope = 'GLOBAL') = (scope_key IS NULL)),
    CONSTRAINT ip_rule_key_is_a_value CHECK (scope_key IS NULL OR iot_auth.value_problem(scope_key) IS NULL),
    CONSTRAINT ip_rule_expiry_is_finite CHECK (expires_at IS NULL OR isfinite(expires_at)),
    CONSTRAINT ip_rule_unique UNIQUE NULLS NOT DISTINCT (network, effect, scope, scope_key)
);

-- Events and brokers.  No foreign keys: an event outlives the rows that it refers to.

CREATE TABLE IF NOT EXISTS iot_auth.event (
    event_id  bigint GENERATED BY DEFAULT AS IDENTITY PRIMARY KEY,
    at        timestamptz NOT NULL DEFAULT clock_timestamp(),
    node      text, -- NULL: written by a trigger for a change made by an administrator
    kind      text NOT NULL,
    principal text,
    ca_id     bigint,
    address   text,
    reason    text,
    detail    jsonb
);
CREATE INDEX IF NOT EXISTS event_at ON iot_auth.event (at);
CREATE INDEX IF NOT EXISTS event_principal ON iot_auth.event (principal, at);
-- The events that brokers publish, among many refusals.
CREATE INDEX IF NOT EXISTS event_status ON iot_auth.event (event_id) WHERE kind IN ('device/status', 'ca/status');

CREATE TABLE IF NOT EXISTS iot_auth.node (
    node_name  text PRIMARY KEY,
    started_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    last_seen  timestamptz NOT NULL DEFAULT clock_timestamp(),
    counters   jsonb NOT NULL DEFAULT '{}'
);

INSERT INTO iot_auth.schema_version (version) VALUES (1) ON CONFLICT DO NOTHING;
COMMIT;

-- SPDX-License-Identifier: ISC
-- Schema iot_auth: roles, value rules, tables.
--
-- Apply sql/migrations/*.sql in name order, as a superuser or as a database owner with CREATEROLE; applying them again
-- is harmless.  Each file is one transaction.  Who applies them owns everything, and every SECURITY DEFINER function
-- runs as that owner.
--
-- Rules that one row can break by itself are CHECK constraints here, built on IMMUTABLE SQL functions that PostgreSQL
-- inlines: a million rows in one INSERT stay cheap.  0002 holds the rules that need other rows or the old row.

BEGIN;
SET LOCAL search_path = pg_catalog, pg_temp;
SET LOCAL client_min_messages = warning;
SELECT pg_advisory_xact_lock(5714620941378015095); -- one migration at a time

DO $$
BEGIN
    IF current_setting('server_version_num')::int < 150000 THEN
        RAISE EXCEPTION 'iot_auth needs PostgreSQL 15 or newer, this is %', current_setting('server_version');
    END IF;
    IF current_setting('server_encoding') <> 'UTF8' THEN
        RAISE EXCEPTION 'iot_auth needs a database with encoding UTF8, this one has %',
            current_setting('server_encoding')
            USING HINT = 'CREATE DATABASE ... ENCODING ''UTF8'' TEMPLATE template0';
    END IF;
END $$;

-- Neither has a password: give one with ALTER ROLE, use another way of authentication, or grant them to other roles
-- (GRANT iot_auth_admin TO alice).
DO $$
DECLARE
    missing name;
BEGIN
    FOREACH missing IN ARRAY ARRAY['iot_auth_admin', 'iot_auth_broker']::name[] LOOP
        CONTINUE WHEN EXISTS (SELECT FROM pg_roles WHERE rolname = missing);
        BEGIN
            EXECUTE format('CREATE ROLE %I LOGIN', missing);
        EXCEPTION WHEN duplicate_object OR unique_violation THEN
            NULL; -- a migration of another database of this server was quicker
        END;
    END LOOP;
END $$;

CREATE SCHEMA IF NOT EXISTS iot_auth;

CREATE TABLE IF NOT EXISTS iot_auth.schema_version (
    version    int PRIMARY KEY,
    applied_at timestamptz NOT NULL DEFAULT now()
);

-- Value rules: NULL when the value is good, else what is wrong with it, to be put behind "... 'x': ".

-- What may stand as one value in an id, a topic level or a name: the same rule as ia_value_valid in common/str.h.
-- UTF-8 is seen to by the database encoding, NUL by type text.
CREATE OR REPLACE FUNCTION iot_auth.value_problem(v text) RETURNS text
LANGUAGE sql IMMUTABLE PARALLEL SAFE
RETURN CASE
    WHEN v IS NULL THEN 'it is missing'
    WHEN octet_length(v) = 0 THEN 'it is empty'
    WHEN octet_length(v) > 128 THEN 'it is longer than 128 bytes'
    WHEN starts_with(v, '$') THEN 'it begins with ''$'''
    WHEN v COLLATE "C" ~ '[\u0001-\u001f\u007f-\u009f]' THEN 'it holds a control character'
    WHEN v COLLATE "C" ~ '[+#/*]' THEN 'it holds one of + # / *'
END;

-- Apps are called 'app:...': no certificate may claim such a name.
CREATE OR REPLACE FUNCTION iot_auth.device_id_problem(v text) RETURNS text
LANGUAGE sql IMMUTABLE PARALLEL SAFE
RETURN CASE
    WHEN starts_with(v, 'app:') THEN 'names that begin with ''app:'' are those of apps'
    ELSE iot_auth.value_problem(v)
END;

-- No ':' here: 'app:<issuer>:<app_id>' must come apart in one way only.
CREATE OR REPLACE FUNCTION iot_auth.issuer_name_problem(v text) RETURNS text
LANGUAGE sql IMMUTABLE PARALLEL SAFE
RETURN CASE
    WHEN v IS NULL THEN 'it is missing'
    WHEN octet_length(v) NOT BETWEEN 1 AND 128 THEN 'it must be 1 to 128 bytes long'
    WHEN v COLLATE "C" !~ '^[A-Za-z0-9_.-]+$' THEN 'only letters, digits and _ . - may stand in it'
END;

-- Text that is shown or compared but never becomes a topic level: URLs, claim names, scopes.
CREATE OR REPLACE FUNCTION iot_auth.text_problem(v text, most int) RETURNS text
LANGUAGE sql IMMUTABLE PARALLEL SAFE
RETURN CASE
    WHEN v IS NULL THEN 'it is missing'
    WHEN octet_length(v) = 0 THEN 'it is empty'
    WHEN octet_length(v) > most THEN 'it is too long'
    WHEN v COLLATE "C" ~ '[\u0001-\u001f\u007f-\u009f]' THEN 'it holds a control character'
END;

-- One scope of a token (RFC 6749 section 3.3).
CREATE OR REPLACE FUNCTION iot_auth.scope_problem(v text) RETURNS text
LANGUAGE sql IMMUTABLE PARALLEL SAFE
RETURN CASE
    WHEN v IS NULL THEN 'it is missing'
    WHEN octet_length(v) NOT BETWEEN 1 AND 256 THEN 'it must be 1 to 256 bytes long'
    WHEN v COLLATE "C" !~ '^[\u0021\u0023-\u005b\u005d-\u007e]+$'
        THEN 'only printable ASCII may stand in it, without space, " and \'
END;

-- One to `most` elements, one dimension, no NULL.
CREATE OR REPLACE FUNCTION iot_auth.list_problem(list text[], most int) RETURNS text
LANGUAGE sql IMMUTABLE PARALLEL SAFE
RETURN CASE
    WHEN list IS NULL OR cardinality(list) = 0 THEN 'the list is empty'
    WHEN array_ndims(list) <> 1 THEN 'the list has more than one dimension'
    WHEN cardinality(list) > most THEN 'the list is too long'
    WHEN array_position(list, NULL) IS NOT NULL THEN 'the list holds a NULL'
END;

-- Certificate authorities and what they admit.

CREATE TABLE IF NOT EXISTS iot_auth.ca (
    ca_id                        bigint GENERATED BY DEFAULT AS IDENTITY PRIMARY KEY,
    name                         text COLLATE "C" NOT NULL,
    pem                          text NOT NULL,
    fingerprint                  bytea NOT NULL, -- SHA-256 of the DER; filled in from pem where it is left out
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
    -- filled in by the plugin, which can parse X.509
    subject                      text,
    not_before                   timestamptz,
    not_after                    timestamptz,
    problem                      text, -- why this CA admits nobody, or what should be mended; NULL: nothing
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
    fingerprint bytea NOT NULL, -- SHA-256 of the DER; filled in from pem where it is left out
    created_at  timestamptz NOT NULL DEFAULT now(),
    CONSTRAINT crl_unique UNIQUE (ca_id, fingerprint),
    CONSTRAINT crl_fingerprint_is_sha256 CHECK (octet_length(fingerprint) = 32)
);

-- How many devices a CA with max_devices has: written only by registrations, which lock its quotas.  A row
-- in ca_usage_stale says that somebody else has changed the number since: count again.  Inserting it waits for nobody,
-- where keeping the number itself up to date would queue brokers behind an administrator's open transaction.
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
    tenant            text COLLATE "C", -- NULL: that of its CA
    status            text COLLATE "C" NOT NULL DEFAULT 'ACTIVE',
    attributes        jsonb NOT NULL DEFAULT '{}',
    registered_by     text COLLATE "C" NOT NULL DEFAULT 'admin',
    created_at        timestamptz NOT NULL DEFAULT now(),
    updated_at        timestamptz, -- last change of tenant, status, attributes or CA
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
    fingerprint   bytea PRIMARY KEY, -- SHA-256 of the DER; filled in from pem where it is left out
    device_id     text COLLATE "C" NOT NULL REFERENCES iot_auth.device (device_id) ON DELETE CASCADE,
    ca_id         bigint NOT NULL,
    serial        text,
    subject       text,
    not_before    timestamptz,
    not_after     timestamptz,
    status        text COLLATE "C" NOT NULL DEFAULT 'ACTIVE',
    registered_by text COLLATE "C" NOT NULL DEFAULT 'admin',
    created_at    timestamptz NOT NULL DEFAULT now(),
    pem           text, -- only of those that an administrator registered, so that the plugin can fill in the rest
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
    max_qos      smallint NOT NULL DEFAULT 2, -- PUBLISH: the highest QoS that this ALLOW admits
    allow_retain boolean NOT NULL DEFAULT true, -- PUBLISH: may the message be retained
    problem      text, -- filled in by the plugin: why this rule makes its role deny everything
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
    issuer              text COLLATE "C" NOT NULL, -- the `iss` claim, exactly
    audience            text[] COLLATE "C" NOT NULL,
    algorithms          text[] COLLATE "C" NOT NULL DEFAULT ARRAY['RS256', 'ES256'],
    jwks                jsonb,
    jwks_url            text COLLATE "C", -- neither: OpenID discovery at the issuer
    client_id_templates text[] COLLATE "C" NOT NULL DEFAULT ARRAY['app:${issuer}:${app_id}',
                                                                  'app:${issuer}:${app_id}/*'],
    app_id_claim        text COLLATE "C", -- NULL: client_id, else azp, else sub
    token_types         text[] COLLATE "C" NOT NULL DEFAULT ARRAY['at+jwt', 'JWT'],
    leeway_s            int NOT NULL DEFAULT 30,
    tenant              text COLLATE "C",
    status              text COLLATE "C" NOT NULL DEFAULT 'ACTIVE',
    created_at          timestamptz NOT NULL DEFAULT now(),
    problem             text, -- filled in by the plugin
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

-- Apart, so that it reaches tables made without it: there the keys in the row were the ones in use.
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

-- What happened, and who is there.  No foreign keys: history outlives what it speaks of.

CREATE TABLE IF NOT EXISTS iot_auth.event (
    event_id  bigint GENERATED BY DEFAULT AS IDENTITY PRIMARY KEY,
    at        timestamptz NOT NULL DEFAULT clock_timestamp(),
    node      text, -- NULL: written by a trigger for what an administrator did
    kind      text NOT NULL,
    principal text,
    ca_id     bigint,
    address   text,
    reason    text,
    detail    jsonb
);
CREATE INDEX IF NOT EXISTS event_at ON iot_auth.event (at);
CREATE INDEX IF NOT EXISTS event_principal ON iot_auth.event (principal, at);
-- What brokers publish, among many refusals.
CREATE INDEX IF NOT EXISTS event_status ON iot_auth.event (event_id) WHERE kind IN ('device/status', 'ca/status');

CREATE TABLE IF NOT EXISTS iot_auth.node (
    node_name  text PRIMARY KEY,
    started_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    last_seen  timestamptz NOT NULL DEFAULT clock_timestamp(),
    counters   jsonb NOT NULL DEFAULT '{}'
);

INSERT INTO iot_auth.schema_version (version) VALUES (1) ON CONFLICT DO NOTHING;
COMMIT;

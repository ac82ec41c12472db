-- SPDX-License-Identifier: ISC
-- Who owns a client id, also after a restart of the broker.

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
    this int := 16;
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

-- Client ids whose sessions Mosquitto may have on disk.  Mosquitto 2.0 does not inform a plugin of a session that it has
-- restored: without these rows, whoever comes first after a restart of the broker could take another's session over,
-- with its subscriptions and its queue.  A client id that is its owner's own name needs no row: it is nobody else's.
CREATE TABLE iot_auth.client_id_owner (
    node_name     text COLLATE "C" NOT NULL,
    client_id_key bigint NOT NULL, -- the first 8 bytes of the SHA-256 of the client id …
    principal_key bigint NOT NULL, -- … and of its owner's name, as the broker compares them
    client_id     text NOT NULL,   -- for administrators
    principal     text NOT NULL,
    at            timestamptz NOT NULL DEFAULT clock_timestamp(),
    PRIMARY KEY (node_name, client_id_key),
    CONSTRAINT client_id_owner_sizes CHECK (octet_length(node_name) <= 256 AND octet_length(client_id) <= 512 AND
                                            octet_length(principal) <= 261)
);
CREATE INDEX client_id_owner_principal ON iot_auth.client_id_owner (node_name, principal_key, at);
CREATE INDEX client_id_owner_client_id ON iot_auth.client_id_owner (client_id);

CREATE VIEW iot_auth.broker_client_id_owner AS
SELECT node_name, client_id_key, principal_key FROM iot_auth.client_id_owner;

-- Element i of each array belongs to client id i.  A principal that is NULL: nobody owns it any more.  A principal owns
-- at most 32 client ids of a node here: a device that takes many makes the broker forget its own only.
CREATE FUNCTION iot_auth.broker_write_owners(p_node text, p_client_id_keys bigint[], p_principal_keys bigint[],
                                             p_client_ids text[], p_principals text[]) RETURNS void
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    PERFORM iot_auth.registration_node(p_node);
    IF cardinality(p_client_id_keys) > 1000 THEN
        PERFORM iot_auth.fail('more than 1000 client ids in one call');
    END IF;
    -- The node belongs to this login from now on.
    INSERT INTO iot_auth.node (node_name, login) VALUES (p_node, session_user) ON CONFLICT DO NOTHING;
    INSERT INTO iot_auth.client_id_owner AS o (node_name, client_id_key, principal_key, client_id, principal)
    SELECT p_node, l.client_id_key, l.principal_key, iot_auth.bounded_text(l.client_id, 512),
           coalesce(iot_auth.bounded_text(l.principal, 261), '')
    FROM (SELECT DISTINCT ON (w.client_id_key) w.*
          FROM unnest(p_client_id_keys, p_principal_keys, p_client_ids, p_principals)
               WITH ORDINALITY AS w(client_id_key, principal_key, client_id, principal, n)
          WHERE w.client_id_key IS NOT NULL ORDER BY w.client_id_key, w.n DESC) l
    ON CONFLICT (node_name, client_id_key) DO UPDATE
    SET principal_key = excluded.principal_key, client_id = excluded.client_id, principal = excluded.principal,
        at = clock_timestamp();
    DELETE FROM iot_auth.client_id_owner o
    WHERE o.node_name = p_node AND o.client_id_key = ANY (p_client_id_keys) AND o.principal = '';
    DELETE FROM iot_auth.client_id_owner o USING (
        SELECT k.client_id_key, row_number() OVER (PARTITION BY k.principal_key ORDER BY k.at DESC) AS place
        FROM iot_auth.client_id_owner k
        WHERE k.node_name = p_node AND k.principal_key = ANY (p_principal_keys)) old
    WHERE o.node_name = p_node AND o.client_id_key = old.client_id_key AND old.place > 32;
END $$;

-- As in 0010; brokers that are not connected, or do not run, read of the release here too.
CREATE OR REPLACE FUNCTION iot_auth.release_client_id(client_id text) RETURNS void
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    PERFORM iot_auth.require('client_id', release_client_id.client_id,
                             iot_auth.text_problem(release_client_id.client_id, 512));
    DELETE FROM iot_auth.client_id_owner o WHERE o.client_id = release_client_id.client_id;
    INSERT INTO iot_auth.client_id_release (client_id) VALUES (release_client_id.client_id);
END $$;

REVOKE ALL ON FUNCTION iot_auth.broker_write_owners FROM PUBLIC;
GRANT EXECUTE ON FUNCTION iot_auth.broker_write_owners TO iot_auth_broker;
GRANT SELECT ON iot_auth.broker_client_id_owner TO iot_auth_broker, iot_auth_admin;
GRANT SELECT, DELETE ON iot_auth.client_id_owner TO iot_auth_admin;

INSERT INTO iot_auth.schema_version (version) VALUES (16);
$migration$;
EXCEPTION WHEN lock_not_available THEN
    RAISE EXCEPTION 'migration % was not applied: a table of schema iot_auth is locked by another session', this
        USING HINT = 'Apply the migrations again when that session (a dump, a long transaction) has ended.',
              ERRCODE = 'lock_not_available';
END $guard$;
COMMIT;

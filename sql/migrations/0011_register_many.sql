-- SPDX-License-Identifier: ISC
-- Registrations in batches: as many as are waiting, in one round trip and one commit.

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
    this int := 11;
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

-- What broker_register_many returns for one item: the columns of broker_register, after the number of the item.
CREATE TYPE iot_auth.registration_result AS (
    item int, outcome text, detail text, fingerprint bytea, device_id text, device_status text,
    certificate_status text, certificate_ca_id bigint, device_ca_id bigint, tenant text, not_after timestamptz,
    attrs text[], roles text[]);

-- The arguments of broker_register_many as rows.
CREATE TYPE iot_auth.registration_item AS (
    item int, fingerprint bytea, device_id text, ca_id bigint, serial text, subject text, not_before timestamptz,
    not_after timestamptz, address text);

CREATE FUNCTION iot_auth.register_items(items iot_auth.registration_item[], p_node text)
RETURNS iot_auth.registration_result[]
LANGUAGE sql SET search_path = pg_catalog, pg_temp AS $$
    SELECT array_agg((i.item, r.outcome, r.detail, r.fingerprint, r.device_id, r.device_status, r.certificate_status,
                      r.certificate_ca_id, r.device_ca_id, r.tenant, r.not_after, r.attrs, r.roles)
                     ::iot_auth.registration_result)
    FROM unnest(items) WITH ORDINALITY AS i,
         LATERAL iot_auth.broker_register(i.fingerprint, i.device_id, i.ca_id, i.serial, i.subject, i.not_before,
                                          i.not_after, p_node, i.address) r
$$;

-- The items of one CA whose registration together was refused because of a lock: each by itself.  Where the first three
-- are all refused, the lock is on the CA rather than on a device, and the others are not tried.
CREATE FUNCTION iot_auth.register_each(items iot_auth.registration_item[], p_node text)
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
                done := iot_auth.register_items(items[i:i], p_node);
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

-- Register many certificates in one transaction: element i of each array belongs to item i.  One row for each item, in
-- no order, as broker_register gives it.  Outcome 'busy': a row that the item needs is locked by another transaction;
-- nothing was done for this item, and it may be tried again.
--
-- All take their locks in the order of CA and fingerprint, so that two brokers with the same certificates in their
-- batches wait for one another and do not deadlock.  A lock is waited for 100 ms, in which a batch of another broker commits, and once in a batch: after that, 1 ms.
-- The items of one CA are one subtransaction, because each subtransaction costs an identifier, and more than 64 in one
-- transaction slow down every other reader.
CREATE FUNCTION iot_auth.broker_register_many(
    p_fingerprints bytea[], p_device_ids text[], p_ca_ids bigint[], p_serials text[], p_subjects text[],
    p_not_befores timestamptz[], p_not_afters timestamptz[], p_node text, p_addresses text[])
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
                          i.not_after, i.address)::iot_auth.registration_item ORDER BY i.fingerprint)
        FROM unnest(p_fingerprints, p_device_ids, p_ca_ids, p_serials, p_subjects, p_not_befores, p_not_afters,
                    p_addresses) WITH ORDINALITY
             AS i(fingerprint, device_id, ca_id, serial, subject, not_before, not_after, address, item)
        GROUP BY i.ca_id ORDER BY i.ca_id
    LOOP
        done := NULL;
        BEGIN
            done := iot_auth.register_items(of_ca, p_node);
        EXCEPTION WHEN lock_not_available OR deadlock_detected THEN
            PERFORM set_config('lock_timeout', '1ms', true);
        END;
        IF done IS NULL THEN
            RETURN QUERY SELECT r.* FROM iot_auth.register_each(of_ca, p_node) r;
        ELSE
            RETURN QUERY SELECT d.* FROM unnest(done) d;
        END IF;
    END LOOP;
END $$;

REVOKE ALL ON FUNCTION iot_auth.register_items, iot_auth.register_each, iot_auth.broker_register_many FROM PUBLIC;
GRANT EXECUTE ON FUNCTION iot_auth.broker_register_many TO iot_auth_broker;

INSERT INTO iot_auth.schema_version (version) VALUES (11);
$migration$;
EXCEPTION WHEN lock_not_available THEN
    RAISE EXCEPTION 'migration % was not applied: a table of schema iot_auth is locked by another session', this
        USING HINT = 'Apply the migrations again when that session (a dump, a long transaction) has ended.',
              ERRCODE = 'lock_not_available';
END $guard$;
COMMIT;

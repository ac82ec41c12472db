-- List devices, newest first.
--
--   psql -f sql/admin/list_devices.sql
--   psql -v ca_name=acme -v status=PENDING -f sql/admin/list_devices.sql
--
-- ca_name, status, tenant       only devices with these values (default: all)
-- like                          only device ids that match this LIKE pattern
-- max                           maximum number of rows (default 100)
--
-- SPDX-License-Identifier: ISC

\set ON_ERROR_STOP on
\set script list_devices
\set takes 'ca_name status tenant like max'
\ir script.psql
\if :{?ca_name} \else \set ca_name '' \endif
\if :{?status} \else \set status '' \endif
\if :{?tenant} \else \set tenant '' \endif
\if :{?like} \else \set like '%' \endif
\if :{?max} \else \set max '100' \endif

SELECT CASE WHEN :'ca_name' <> '' THEN (iot_auth.find_ca(:'ca_name')).name END,
       CASE WHEN :'status' <> '' THEN iot_auth.require_one_of(
           'status', :'status', ARRAY['PENDING', 'ACTIVE', 'INACTIVE', 'REVOKED']) END \g /dev/null

SELECT d.device_id, a.name AS ca, coalesce(d.tenant, a.tenant) AS tenant, d.status, d.registered_by AS by,
       d.created_at::timestamptz(0), d.last_connected_at::timestamptz(0),
       (SELECT count(*) FROM iot_auth.device_certificate c
        WHERE c.device_id = d.device_id AND c.status = 'ACTIVE') AS certificates,
       array_to_string(ARRAY(SELECT r.role FROM iot_auth.device_role r WHERE r.device_id = d.device_id ORDER BY r.role),
                       ', ') AS own_roles
FROM iot_auth.device d JOIN iot_auth.ca a USING (ca_id)
WHERE (:'ca_name' = '' OR a.name = :'ca_name') AND (:'status' = '' OR d.status = :'status')
  AND (:'tenant' = '' OR coalesce(d.tenant, a.tenant) = :'tenant') AND d.device_id LIKE :'like'
ORDER BY d.created_at DESC, d.device_id LIMIT :'max'::bigint;

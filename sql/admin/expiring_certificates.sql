-- List certificates that expire soon or have expired: of CAs, and of devices that have no newer certificate.  Revoked
-- ones are omitted.
--
--   psql -v days=30 -f sql/admin/expiring_certificates.sql
--
-- days                          number of days to look ahead (default 30)
--
-- SPDX-License-Identifier: ISC

\set ON_ERROR_STOP on
\set script expiring_certificates
\set takes 'days'
\ir script.psql
\if :{?days} \else \set days '30' \endif

SELECT now() + :'days'::float8 * interval '1 day' AS until \gset

SELECT 'CA' AS what, a.name, a.not_after::timestamptz(0), a.not_after <= now() AS expired,
       encode(a.fingerprint, 'hex') AS fingerprint, NULL::timestamptz AS last_connected_at
FROM iot_auth.ca a WHERE a.status <> 'REVOKED' AND a.not_after < :'until'
UNION ALL
SELECT 'device', d.device_id, c.not_after::timestamptz(0), c.not_after <= now(), encode(c.fingerprint, 'hex'),
       d.last_connected_at::timestamptz(0)
FROM iot_auth.device_certificate c JOIN iot_auth.device d USING (device_id)
WHERE c.status <> 'REVOKED' AND d.status <> 'REVOKED' AND c.not_after < :'until'
  AND NOT EXISTS (SELECT FROM iot_auth.device_certificate newer
                  WHERE newer.device_id = c.device_id AND newer.status = 'ACTIVE' AND newer.not_after >= :'until')
ORDER BY 1, 3, 2;

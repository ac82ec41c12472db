-- Show why a device or app was refused: its current state in the registry, then its refusals, newest first.
--
--   psql -v who=sensor-17 -f sql/admin/why_refused.sql
--
-- who                           device id, app id, client id, fingerprint (hexadecimal) or address
-- hours                         number of hours to look back (default 24)
-- max                           maximum number of rows (default 20)
--
-- SPDX-License-Identifier: ISC

\set ON_ERROR_STOP on
\set QUIET on
\set VERBOSITY terse
\pset footer off
\if :{?who} \else \set who '' \endif
SELECT iot_auth.fail('usage: psql -v who=ID|FINGERPRINT|ADDRESS -f why_refused.sql') WHERE '' IN (:'who') \g /dev/null
\if :{?hours} \else \set hours '24' \endif
\if :{?max} \else \set max '20' \endif

SELECT d.device_id, d.status AS device, a.name AS ca, a.status AS ca_status, a.problem AS ca_problem,
       encode(c.fingerprint, 'hex') AS fingerprint, c.status AS certificate, c.not_after::timestamptz(0),
       d.last_connected_at::timestamptz(0)
FROM iot_auth.device d
LEFT JOIN iot_auth.device_certificate c USING (device_id)
JOIN iot_auth.ca a ON a.ca_id = coalesce(c.ca_id, d.ca_id)
WHERE d.device_id = :'who' OR d.device_id IN (SELECT f.device_id FROM iot_auth.device_certificate f
                                              WHERE encode(f.fingerprint, 'hex') = lower(replace(:'who', ':', '')))
ORDER BY c.created_at;

SELECT e.at::timestamptz(0), e.node, e.kind, e.reason, e.principal, a.name AS ca, e.address,
       e.detail - ARRAY['device_id', 'app', 'ca', 'address', 'reason', 'node', 'at'] AS detail
FROM iot_auth.event e LEFT JOIN iot_auth.ca a USING (ca_id)
WHERE e.reason IS NOT NULL AND e.at > now() - :'hours'::float8 * interval '1 hour'
  AND (e.principal = :'who' OR e.address = :'who' OR e.detail ->> 'device_id' = :'who'
       OR e.detail ->> 'client_id' = :'who'
       OR e.detail ->> 'fingerprint' = lower(replace(:'who', ':', '')))
ORDER BY e.at DESC, e.event_id DESC LIMIT :'max'::bigint;

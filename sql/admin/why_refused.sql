-- Show why a device or app was refused: its current state in the registry, then its refusals, newest first, with what
-- would have to be true instead.
--
--   psql -v who=sensor-17 -f sql/admin/why_refused.sql
--
-- who                           device id, app id, client id, common name, fingerprint, serial number or address
-- hours                         number of hours to look back (default 24)
-- max                           maximum number of rows (default 20)
--
-- SPDX-License-Identifier: ISC

\set ON_ERROR_STOP on
\set script why_refused
\set takes 'who hours max'
\ir script.psql
\if :{?who} \else \set who '' \endif
SELECT iot_auth.fail('usage: psql -v who=ID|FINGERPRINT|ADDRESS -f why_refused.sql') WHERE '' IN (:'who') \g /dev/null
\if :{?hours} \else \set hours '24' \endif
\if :{?max} \else \set max '20' \endif

SELECT device_id, device, device_problem, ca, ca_status, ca_problem, fingerprint, serial, certificate,
       certificate_problem, not_after::timestamptz(0), last_connected_at::timestamptz(0)
FROM iot_auth.registered_as(:'who');

SELECT at::timestamptz(0), node, kind, reason, principal, ca, address,
       detail - ARRAY['device_id', 'app', 'ca', 'address', 'reason', 'node', 'at'] AS detail, count,
       first_at::timestamptz(0), remedy
FROM iot_auth.why_refused(:'who', :'hours'::float8 * interval '1 hour', :'max'::bigint);

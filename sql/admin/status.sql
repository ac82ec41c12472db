-- Show the state of the registry: brokers, devices, problems, and the events of the last hour.
--
--   psql -f sql/admin/status.sql
--
-- SPDX-License-Identifier: ISC

\set ON_ERROR_STOP on
\set script status
\set takes ''
\ir script.psql

SELECT node_name AS broker, now() - last_seen < interval '15 s' AND stopped_at IS NULL AS alive,
       last_seen::timestamptz(0), stopped_at::timestamptz(0), database_tls
FROM iot_auth.node ORDER BY node_name;

SELECT a.name AS ca, a.status, count(d.device_id) AS devices, count(*) FILTER (WHERE d.status = 'ACTIVE') AS active,
       count(*) FILTER (WHERE d.status = 'PENDING') AS pending,
       count(*) FILTER (WHERE d.status = 'INACTIVE') AS inactive,
       count(*) FILTER (WHERE d.status = 'REVOKED') AS revoked
FROM iot_auth.ca a LEFT JOIN iot_auth.device d USING (ca_id)
GROUP BY a.ca_id ORDER BY a.name;

SELECT 'CA' AS problem_of, name, problem FROM iot_auth.ca WHERE problem IS NOT NULL
UNION ALL SELECT 'issuer', name, problem FROM iot_auth.oauth_issuer WHERE problem IS NOT NULL
UNION ALL SELECT 'issuer (note)', name, note FROM iot_auth.oauth_issuer WHERE note IS NOT NULL
UNION ALL (SELECT 'device', device_id, problem FROM iot_auth.device WHERE problem IS NOT NULL LIMIT 100)
UNION ALL (SELECT 'certificate', device_id || ', ' || encode(fingerprint, 'hex'), problem
           FROM iot_auth.device_certificate WHERE problem IS NOT NULL LIMIT 100)
UNION ALL SELECT 'rule', role || ', rule ' || rule_id, problem FROM iot_auth.role_rule WHERE problem IS NOT NULL
ORDER BY 1, 2;

SELECT kind AS event, reason, count(*), max(at)::timestamptz(0) AS latest FROM iot_auth.event
WHERE at > now() - interval '1 hour' GROUP BY kind, reason ORDER BY count(*) DESC, kind, reason;

SELECT max(version) AS schema_version FROM iot_auth.schema_version;

-- Grant a role to all devices of a CA or to one device, or revoke it.
--
--   psql -v ca_name=acme -v role=meter -f sql/admin/grant_role.sql
--   psql -v device_id=sensor-17 -v role=meter -f sql/admin/grant_role.sql
--
-- revoke                        true: revoke the role (default false)
--
-- SPDX-License-Identifier: ISC

\set ON_ERROR_STOP on
\set script grant_role
\set takes 'ca_name device_id role revoke'
\ir script.psql
\if :{?ca_name} \else \set ca_name '' \endif
\if :{?device_id} \else \set device_id '' \endif
\if :{?role} \else \set role '' \endif
\if :{?revoke} \else \set revoke 'false' \endif
SELECT iot_auth.fail('usage: psql -v role=ROLE, and one of -v ca_name=NAME and -v device_id=ID, -f grant_role.sql')
WHERE :'role' = '' OR (:'ca_name' = '') = (:'device_id' = '') \g /dev/null

SELECT :'revoke'::boolean AS revoking, :'ca_name' <> '' AS of_ca \gset
SELECT CASE WHEN :'revoking' AND :'of_ca' THEN iot_auth.revoke_ca_role(:'ca_name', :'role')
            WHEN :'revoking' THEN iot_auth.revoke_device_role(:'device_id', :'role')
            WHEN :'of_ca' THEN iot_auth.grant_ca_role(:'ca_name', :'role')
            ELSE iot_auth.grant_device_role(:'device_id', :'role') END \g /dev/null

SELECT 'CA' AS holder, a.name, r.role FROM iot_auth.ca_role r JOIN iot_auth.ca a USING (ca_id)
WHERE a.name = :'ca_name' OR a.ca_id = (SELECT d.ca_id FROM iot_auth.device d WHERE d.device_id = :'device_id')
UNION ALL
SELECT 'device', r.device_id, r.role FROM iot_auth.device_role r WHERE r.device_id = :'device_id'
ORDER BY 1, 2, 3;

-- Disable, enable or revoke a certificate authority.  Devices of a CA that is not ACTIVE are disconnected at once.
--
--   psql -v name=acme -v status=INACTIVE -f sql/admin/set_ca_status.sql
--
-- status                        ACTIVE, INACTIVE, or REVOKED (final)
--
-- SPDX-License-Identifier: ISC

\set ON_ERROR_STOP on
\set script set_ca_status
\set takes 'name status'
\ir script.psql
\if :{?name} \else \set name '' \endif
\if :{?status} \else \set status '' \endif
SELECT iot_auth.fail('usage: psql -v name=NAME -v status=ACTIVE|INACTIVE|REVOKED -f set_ca_status.sql')
    WHERE '' IN (:'name', :'status') \g /dev/null

SELECT iot_auth.set_ca_status(:'name', :'status') \g /dev/null

SELECT c.ca_id, c.name, c.status, (SELECT count(*) FROM iot_auth.device d WHERE d.ca_id = c.ca_id) AS devices
FROM iot_auth.ca c WHERE c.name = :'name';

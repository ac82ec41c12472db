-- Activate, disable or revoke a device.  Takes effect at once.
--
--   psql -v device_id=sensor-17 -v status=ACTIVE -f sql/admin/set_device_status.sql
--
-- status                        PENDING, ACTIVE, INACTIVE, or REVOKED (final)
--
-- SPDX-License-Identifier: ISC

\set ON_ERROR_STOP on
\set script set_device_status
\set takes 'device_id status'
\ir script.psql
\if :{?device_id} \else \set device_id '' \endif
\if :{?status} \else \set status '' \endif
SELECT iot_auth.fail('usage: psql -v device_id=ID -v status=PENDING|ACTIVE|INACTIVE|REVOKED -f set_device_status.sql')
    WHERE '' IN (:'device_id', :'status') \g /dev/null

SELECT iot_auth.set_device_status(:'device_id', :'status') \g /dev/null

SELECT d.device_id, a.name AS ca, d.status, d.last_connected_at::timestamptz(0)
FROM iot_auth.device d JOIN iot_auth.ca a USING (ca_id) WHERE d.device_id = :'device_id';

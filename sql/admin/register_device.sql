-- Register a device, or add a certificate of the same CA or its successor to an existing device.
--
--   psql -v device_id=sensor-17 -v pem_file=sensor-17.pem -v ca_name=acme -f sql/admin/register_device.sql
--
-- pem_file                      certificate of the device, PEM, read by psql
-- status                        PENDING, ACTIVE (default), INACTIVE or REVOKED; an existing device keeps its status
-- attributes                    JSON object (default {}); its scalar members are the variables ${attr.NAME}
--
-- SPDX-License-Identifier: ISC

\set ON_ERROR_STOP on
\set script register_device
\set takes 'device_id pem_file ca_name status attributes'
\ir script.psql
\if :{?device_id} \else \set device_id '' \endif
\if :{?pem_file} \else \set pem_file '' \endif
\if :{?ca_name} \else \set ca_name '' \endif
SELECT iot_auth.fail('usage: psql -v device_id=ID -v pem_file=FILE -v ca_name=NAME ... -f register_device.sql')
    WHERE '' IN (:'device_id', :'pem_file', :'ca_name') \g /dev/null
\if :{?status} \else \set status 'ACTIVE' \endif
\if :{?attributes} \else \set attributes '{}' \endif
\set pem `cat -- :'pem_file' 2>/dev/null | LC_ALL=C tr -cd '\11\12\15\40-\176'`
SELECT iot_auth.fail(format('file ''%s'' cannot be read or is empty', :'pem_file')) WHERE :'pem' = '' \g /dev/null

SELECT iot_auth.register_device(:'device_id', :'pem', :'ca_name', :'status', :'attributes') \g /dev/null

SELECT d.device_id, a.name AS ca, d.status, d.attributes, encode(c.fingerprint, 'hex') AS fingerprint,
       c.status AS certificate
FROM iot_auth.device d JOIN iot_auth.device_certificate c USING (device_id) JOIN iot_auth.ca a ON a.ca_id = c.ca_id
WHERE d.device_id = :'device_id' ORDER BY c.created_at;

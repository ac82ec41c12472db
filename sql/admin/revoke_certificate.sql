-- Revoke one certificate of a device.  Other certificates of the device remain valid.  Takes effect at once.
--
--   fingerprint=$(openssl x509 -in sensor-17.pem -outform DER | sha256sum | cut -c1-64)
--   psql -v fingerprint=$fingerprint -f sql/admin/revoke_certificate.sql
--
-- fingerprint                   SHA-256 of the certificate, hexadecimal, with or without colons
--
-- SPDX-License-Identifier: ISC

\set ON_ERROR_STOP on
\set script revoke_certificate
\set takes 'fingerprint'
\ir script.psql
\if :{?fingerprint} \else \set fingerprint '' \endif
SELECT iot_auth.fail('usage: psql -v fingerprint=HEX -f revoke_certificate.sql')
    WHERE '' IN (:'fingerprint') \g /dev/null

SELECT iot_auth.revoke_certificate(:'fingerprint') \g /dev/null

SELECT c.device_id, encode(c.fingerprint, 'hex') AS fingerprint, c.serial, c.not_after::timestamptz(0), c.status
FROM iot_auth.device_certificate c
WHERE c.device_id = (SELECT r.device_id FROM iot_auth.device_certificate r
                     WHERE r.fingerprint = decode(replace(:'fingerprint', ':', ''), 'hex'))
ORDER BY c.created_at;

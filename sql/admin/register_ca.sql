-- Register a certificate authority, so that its devices can connect.
--
--   psql -v name=acme -v pem_file=acme-ca.pem -v auto_registration=true -f sql/admin/register_ca.sql
--
-- name                          name of the CA; cannot be changed later, can be used in topics as ${ca}
-- pem_file                      certificate of the CA, PEM, read by psql
-- auto_registration             true: unregistered devices register when they connect (default false)
-- registered_status             status after registration: ACTIVE (default), or PENDING until set_device_status
-- device_id_template            how the device id is formed from the certificate (default ${cert.cn})
-- client_id_templates           MQTT client ids that its devices may use, separated by commas (default ${device_id})
-- roles                         roles of all devices of the CA, separated by commas (default device; empty: none)
-- tenant                        default: none
-- max_devices, max_registrations_per_minute      quotas of auto-registration (default: none)
-- replaces                      name of the predecessor CA, whose devices may use certificates of this CA
--
-- SPDX-License-Identifier: ISC

\set ON_ERROR_STOP on
\set script register_ca
\set takes 'name pem_file tenant max_devices max_registrations_per_minute replaces auto_registration registered_status device_id_template client_id_templates roles'
\ir script.psql
\if :{?name} \else \set name '' \endif
\if :{?pem_file} \else \set pem_file '' \endif
SELECT iot_auth.fail('usage: psql -v name=NAME -v pem_file=FILE ... -f register_ca.sql')
    WHERE '' IN (:'name', :'pem_file') \g /dev/null
\if :{?tenant} \else \set tenant '' \endif
\if :{?max_devices} \else \set max_devices '' \endif
\if :{?max_registrations_per_minute} \else \set max_registrations_per_minute '' \endif
\if :{?replaces} \else \set replaces '' \endif
\if :{?auto_registration} \else \set auto_registration 'false' \endif
\if :{?registered_status} \else \set registered_status 'ACTIVE' \endif
\if :{?device_id_template} \else \set device_id_template '${cert.cn}' \endif
\if :{?client_id_templates} \else \set client_id_templates '${device_id}' \endif
\if :{?roles} \else \set roles 'device' \endif
\set pem `cat -- :'pem_file' 2>/dev/null | LC_ALL=C tr -cd '\11\12\15\40-\176'`
SELECT iot_auth.fail(format('file ''%s'' cannot be read or is empty', :'pem_file')) WHERE :'pem' = '' \g /dev/null

SELECT iot_auth.register_ca(
    pem => :'pem', name => :'name', auto_registration => :'auto_registration',
    registered_status => :'registered_status', device_id_template => :'device_id_template',
    client_id_templates => string_to_array(:'client_id_templates', ','), roles => string_to_array(:'roles', ','),
    tenant => nullif(:'tenant', ''), max_devices => nullif(:'max_devices', '')::bigint,
    max_registrations_per_minute => nullif(:'max_registrations_per_minute', '')::int,
    replaces => nullif(:'replaces', '')) AS ca_id \gset

SELECT c.ca_id, c.name, c.status, c.auto_registration, c.registered_status, c.device_id_template, c.tenant,
       array_to_string(ARRAY(SELECT r.role FROM iot_auth.ca_role r WHERE r.ca_id = c.ca_id ORDER BY r.role),
                       ', ') AS roles,
       encode(c.fingerprint, 'hex') AS fingerprint
FROM iot_auth.ca c WHERE c.ca_id = :ca_id;

-- List the certificate authorities with their number of devices and their problems.
--
--   psql -f sql/admin/list_cas.sql
--
-- SPDX-License-Identifier: ISC

\set ON_ERROR_STOP on
\set script list_cas
\set takes ''
\ir script.psql

SELECT c.name, c.status, c.auto_registration AS auto, c.tenant, p.name AS replaces,
       (SELECT count(*) FROM iot_auth.device d WHERE d.ca_id = c.ca_id) AS devices, c.max_devices AS max,
       (SELECT count(*) FROM iot_auth.crl l WHERE l.ca_id = c.ca_id) AS crls,
       array_to_string(ARRAY(SELECT r.role FROM iot_auth.ca_role r WHERE r.ca_id = c.ca_id ORDER BY r.role),
                       ', ') AS roles,
       c.not_after::date, c.problem
FROM iot_auth.ca c LEFT JOIN iot_auth.ca p ON p.ca_id = c.replaces
ORDER BY c.name;

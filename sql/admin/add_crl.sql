-- Add a certificate revocation list (CRL) to a certificate authority.  Older lists remain until they are deleted; the
-- newest list is used.
--
--   psql -v ca_name=acme -v crl_file=acme.crl.pem -f sql/admin/add_crl.sql
--
-- crl_file                      PEM, read by psql
--
-- SPDX-License-Identifier: ISC

\set ON_ERROR_STOP on
\set script add_crl
\set takes 'ca_name crl_file'
\ir script.psql
\if :{?ca_name} \else \set ca_name '' \endif
\if :{?crl_file} \else \set crl_file '' \endif
SELECT iot_auth.fail('usage: psql -v ca_name=NAME -v crl_file=FILE -f add_crl.sql')
    WHERE '' IN (:'ca_name', :'crl_file') \g /dev/null
\set crl `cat -- :'crl_file' 2>/dev/null | LC_ALL=C tr -cd '\11\12\15\40-\176'`
SELECT iot_auth.fail(format('file ''%s'' cannot be read or is empty', :'crl_file')) WHERE :'crl' = '' \g /dev/null

SELECT iot_auth.add_crl(:'ca_name', :'crl') \g /dev/null

SELECT c.name AS ca, count(*) AS crls, max(l.created_at)::timestamptz(0) AS newest
FROM iot_auth.ca c JOIN iot_auth.crl l USING (ca_id) WHERE c.name = :'ca_name' GROUP BY c.name;

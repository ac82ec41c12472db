-- List the refusals of the last hours, grouped by reason, client and address, the latest first.
--
--   psql -v reason=ca_unknown -v network=192.0.2.0/24 -f sql/admin/list_refusals.sql
--
-- hours                         number of hours to look back (default 24)
-- reason                        this reason only
-- ca                            refusals below this registered CA only
-- network                       addresses of this network only, e.g. 192.0.2.0/24
-- max                           maximum number of rows (default 100)
--
-- SPDX-License-Identifier: ISC

\set ON_ERROR_STOP on
\set script list_refusals
\set takes 'hours reason ca network max'
\ir script.psql
\if :{?hours} \else \set hours '24' \endif
\if :{?reason} \else \set reason '' \endif
\if :{?ca} \else \set ca '' \endif
\if :{?network} \else \set network '' \endif
\if :{?max} \else \set max '100' \endif

SELECT reason, who, address, ca, count, first::timestamptz(0), last::timestamptz(0), node
FROM iot_auth.list_refusals(:'hours'::float8 * interval '1 hour', nullif(:'reason', ''), nullif(:'ca', ''),
                            nullif(:'network', '')::cidr, :'max'::bigint);

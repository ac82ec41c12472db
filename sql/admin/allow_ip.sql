-- Allow a network.  A scope with any ALLOW rule admits only the networks of its ALLOW rules, even after they expire.
--
--   psql -v network=203.0.113.0/24 -f sql/admin/allow_ip.sql
--   psql -v network=2001:db8::/32 -v scope=CA -v scope_key=acme -v expires_at=2030-01-01 -f sql/admin/allow_ip.sql
--
-- network                       an address, or a network in CIDR notation
-- scope, scope_key              GLOBAL (default, no key), CA (its name), DEVICE (its id) or ISSUER (its name)
-- expires_at                    default: never
--
-- SPDX-License-Identifier: ISC

\set ON_ERROR_STOP on
\set script allow_ip
\set takes 'network scope_key expires_at scope'
\ir script.psql
\if :{?network} \else \set network '' \endif
SELECT iot_auth.fail('usage: psql -v network=CIDR ... -f allow_ip.sql') WHERE '' IN (:'network') \g /dev/null
\if :{?scope_key} \else \set scope_key '' \endif
\if :{?expires_at} \else \set expires_at '' \endif
\if :{?scope} \else \set scope 'GLOBAL' \endif

SELECT iot_auth.allow_ip(:'network', :'scope', nullif(:'scope_key', ''),
                         nullif(:'expires_at', '')::timestamptz) \g /dev/null

SELECT rule_id, effect, network, scope, scope_key, expires_at FROM iot_auth.ip_rule
WHERE scope = :'scope' AND scope_key IS NOT DISTINCT FROM nullif(:'scope_key', '')
ORDER BY network, effect;

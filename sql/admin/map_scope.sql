-- Grant a role to apps whose token has a scope, or revoke it.
--
--   psql -v issuer_name=corp -v scope=telemetry:read -v role=reader -f sql/admin/map_scope.sql
--
-- unmap                         true: remove the mapping (default false)
--
-- SPDX-License-Identifier: ISC

\set ON_ERROR_STOP on
\set script map_scope
\set takes 'issuer_name scope role unmap'
\ir script.psql
\if :{?issuer_name} \else \set issuer_name '' \endif
\if :{?scope} \else \set scope '' \endif
\if :{?role} \else \set role '' \endif
SELECT iot_auth.fail('usage: psql -v issuer_name=NAME -v scope=SCOPE -v role=ROLE -f map_scope.sql')
    WHERE '' IN (:'issuer_name', :'scope', :'role') \g /dev/null
\if :{?unmap} \else \set unmap 'false' \endif

SELECT CASE WHEN :'unmap'::boolean THEN iot_auth.unmap_scope(:'issuer_name', :'scope', :'role')
            ELSE iot_auth.map_scope(:'issuer_name', :'scope', :'role') END \g /dev/null

SELECT issuer_name, scope, role FROM iot_auth.scope_role WHERE issuer_name = :'issuer_name' ORDER BY scope, role;

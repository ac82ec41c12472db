-- Add a rule to a role.  The role is created if it does not exist.
--
--   psql -v role=meter -v effect=ALLOW -v actions=PUBLISH -v topic_filter='m/${device_id}/#' -f sql/admin/add_rule.sql
--
-- effect                        ALLOW or DENY
-- actions                       out of PUBLISH, SUBSCRIBE, RECEIVE, separated by commas
-- topic_filter                  with + and #, and ${variables}, each of which is one level
-- max_qos, allow_retain         limits of an ALLOW rule for PUBLISH (default 2 and true: no limit)
--
-- SPDX-License-Identifier: ISC

\set ON_ERROR_STOP on
\set script add_rule
\set takes 'role effect actions topic_filter max_qos allow_retain'
\ir script.psql
\if :{?role} \else \set role '' \endif
\if :{?effect} \else \set effect '' \endif
\if :{?actions} \else \set actions '' \endif
\if :{?topic_filter} \else \set topic_filter '' \endif
SELECT iot_auth.fail('usage: psql -v role=ROLE -v effect=ALLOW|DENY -v actions=PUBLISH,SUBSCRIBE,RECEIVE '
                     '-v topic_filter=FILTER -f add_rule.sql')
    WHERE '' IN (:'role', :'effect', :'actions', :'topic_filter') \g /dev/null
\if :{?max_qos} \else \set max_qos '2' \endif
\if :{?allow_retain} \else \set allow_retain 'true' \endif

BEGIN;
SELECT iot_auth.create_role(:'role') WHERE NOT EXISTS (SELECT FROM iot_auth.role r WHERE r.role = :'role') \g /dev/null
SELECT iot_auth.add_rule(:'role', :'effect', string_to_array(:'actions', ','), :'topic_filter', :'max_qos',
                         :'allow_retain') \g /dev/null
COMMIT;

SELECT rule_id, role, effect, array_to_string(actions, ',') AS actions, topic_filter, max_qos, allow_retain
FROM iot_auth.role_rule WHERE role = :'role' ORDER BY rule_id;

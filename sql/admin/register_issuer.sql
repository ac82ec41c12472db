-- Register an identity provider, so that apps can connect with its access tokens.
--
--   psql -v name=corp -v issuer=https://id.example.com/ -v audience=mqtt -f sql/admin/register_issuer.sql
--
-- name                          name of the issuer; its apps have the principal app:NAME:APP_ID
-- issuer                        exact value of the iss claim
-- audience                      accepted aud values, separated by commas
-- algorithms                    default RS256,ES256
-- jwks_file or jwks_url         keys of the issuer: a file read by psql, or a URL (default: discovery at the issuer)
-- client_id_templates           default app:${issuer}:${app_id},app:${issuer}:${app_id}/*
-- app_id_claim                  name of a claim, or a JSON Pointer (default: client_id, else azp, else sub)
-- token_types                   accepted typ values (default at+jwt,JWT)
-- leeway_s                      default 30
-- tenant                        default: none
-- scope_claims                  JSON Pointers to what map_scope maps (default /scope,/scp); separated by commas
-- audience_claims               JSON Pointers to what audience is compared with (default /aud)
-- required_claims               JSON: pointer and value or list of values, for example '{"/token_use": "access"}'
-- max_lifetime_s                longest exp - iat of a token (default: no limit)
--
-- SPDX-License-Identifier: ISC

\set ON_ERROR_STOP on
\set script register_issuer
\set takes 'name issuer audience jwks_url app_id_claim tenant algorithms client_id_templates token_types leeway_s scope_claims audience_claims required_claims max_lifetime_s jwks_file'
\ir script.psql
\if :{?name} \else \set name '' \endif
\if :{?issuer} \else \set issuer '' \endif
\if :{?audience} \else \set audience '' \endif
SELECT iot_auth.fail('usage: psql -v name=NAME -v issuer=URL -v audience=AUDIENCE ... -f register_issuer.sql')
    WHERE '' IN (:'name', :'issuer', :'audience') \g /dev/null
\if :{?jwks_url} \else \set jwks_url '' \endif
\if :{?app_id_claim} \else \set app_id_claim '' \endif
\if :{?tenant} \else \set tenant '' \endif
\set jwks ''
\if :{?algorithms} \else \set algorithms 'RS256,ES256' \endif
\if :{?client_id_templates} \else \set client_id_templates 'app:${issuer}:${app_id},app:${issuer}:${app_id}/*' \endif
\if :{?token_types} \else \set token_types 'at+jwt,JWT' \endif
\if :{?leeway_s} \else \set leeway_s '30' \endif
\if :{?scope_claims} \else \set scope_claims '/scope,/scp' \endif
\if :{?audience_claims} \else \set audience_claims '/aud' \endif
\if :{?required_claims} \else \set required_claims '{}' \endif
\if :{?max_lifetime_s} \else \set max_lifetime_s '' \endif
\if :{?jwks_file}
\set jwks `cat -- :'jwks_file' 2>/dev/null`
SELECT iot_auth.fail(format('file ''%s'' cannot be read or is empty', :'jwks_file')) WHERE :'jwks' = '' \g /dev/null
\endif

SELECT iot_auth.register_issuer(
    name => :'name', issuer => :'issuer', audience => string_to_array(:'audience', ','),
    algorithms => string_to_array(:'algorithms', ','), jwks => nullif(:'jwks', '')::jsonb,
    jwks_url => nullif(:'jwks_url', ''), client_id_templates => string_to_array(:'client_id_templates', ','),
    app_id_claim => nullif(:'app_id_claim', ''), token_types => string_to_array(:'token_types', ','),
    leeway_s => :'leeway_s', tenant => nullif(:'tenant', ''), scope_claims => string_to_array(:'scope_claims', ','),
    audience_claims => string_to_array(:'audience_claims', ','), required_claims => :'required_claims',
    max_lifetime_s => nullif(:'max_lifetime_s', '')::int) \g /dev/null

SELECT name, issuer, array_to_string(audience, ', ') AS audience, array_to_string(algorithms, ', ') AS algorithms,
       coalesce(jwks_url, jsonb_array_length(jwks -> 'keys') || ' in the registry', 'by discovery') AS keys, status
FROM iot_auth.oauth_issuer WHERE name = :'name';

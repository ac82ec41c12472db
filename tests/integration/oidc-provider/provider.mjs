// SPDX-License-Identifier: ISC
// oidc-provider with one confidential client that gets JWT access tokens by the client-credentials grant, and by the
// authorization code flow for the users who log in: any name and password will do.
// What a test wants to change comes as arguments, so that it can start the provider again with other keys.
//
//   node provider.mjs PORT JWKS-FILE AUDIENCE LIFETIME-S
import { readFileSync } from 'node:fs';
import Provider from 'oidc-provider';

const [port, jwksFile, audience, lifetime] = process.argv.slice(2);

const resourceServer = {
  scope: 'telemetry:read telemetry:write',
  audience,
  accessTokenFormat: 'jwt',
  accessTokenTTL: Number(lifetime),
};

const provider = new Provider(`http://127.0.0.1:${port}`, {
  jwks: JSON.parse(readFileSync(jwksFile, 'utf8')),
  clients: [{
    client_id: 'dashboard',
    client_secret: 'the secret of the dashboard',
    grant_types: ['client_credentials', 'authorization_code'],
    redirect_uris: ['https://app.example/callback'],
    response_types: ['code'],
    token_endpoint_auth_method: 'client_secret_post',
  }],
  // Roles in a nested claim, as Keycloak writes them: of the app alone, and of all users but bob.
  extraTokenClaims: (ctx, token) => ({ realm_access: { roles: token.accountId === 'bob' ? ['guest'] : ['operator', 'offline_access'] } }),
  features: {
    clientCredentials: { enabled: true },
    devInteractions: { enabled: true },
    resourceIndicators: {
      enabled: true,
      getResourceServerInfo: () => resourceServer,
    },
  },
});

provider.listen(Number(port), '127.0.0.1', () => console.log('listening'));

// oidc-provider as an authorization server for one server of MCP: strict, on this machine only.  PORT and RESOURCE say where.
import http from 'node:http'
import { Provider, errors } from 'oidc-provider'

const issuer = `http://127.0.0.1:${process.env.PORT}`
const provider = new Provider(issuer, {
  scopes: ['openid', 'offline_access', 'mcp:read', 'mcp:write'],
  clientDefaults: { grant_types: ['authorization_code'], response_types: ['code'], token_endpoint_auth_method: 'none' },
  responseTypes: ['code'],
  pkce: { required: () => true },
  findAccount: (_, id) => ({ accountId: id, claims: () => ({ sub: id }) }),
  issueRefreshToken: async (_, client) => client.grantTypeAllowed('refresh_token'),
  rotateRefreshToken: true,
  cookies: { keys: ['for a test'] },
  features: {
    devInteractions: { enabled: true },
    registration: { enabled: true },
    revocation: { enabled: true },
    deviceFlow: { enabled: true },
    resourceIndicators: {
      enabled: true,
      defaultResource: async (_ctx, _client, oneOf) => oneOf,
      useGrantedResource: async () => true,
      getResourceServerInfo: async (_, resource) => {
        if (resource !== process.env.RESOURCE) throw new errors.InvalidTarget()
        const form = { accessTokenFormat: 'jwt', accessTokenTTL: 300, jwt: { sign: { alg: 'RS256' } } }
        return { scope: 'mcp:read mcp:write', audience: resource, ...form }
      },
    },
  },
})
const answer = provider.callback()
http.createServer(answer).listen(Number(process.env.PORT), '127.0.0.1', () => console.log('ready'))

// Authorization servers of Node.js on this machine, each at a port of its own; prints their issuers as one line of JSON.
// oidc-provider is strict: PKCE, one-time refresh tokens whose second use ends the grant, tokens signed for one resource.
// oauth2-mock-server is lax: it registers nobody, and says yes to everything.
import { createHash } from 'node:crypto'
import http from 'node:http'
import { OAuth2Server } from 'oauth2-mock-server'
import { Provider, errors } from 'oidc-provider'

const DOCUMENT = 'https://bulkhead.example/client.json'
const SCOPES = 'mcp:read mcp:write'

const native = (issuer, more) => ({
  redirect_uris: [`http://127.0.0.1/cb/${createHash('sha256').update(issuer).digest('hex').slice(0, 12)}`],
  grant_types: ['authorization_code', 'refresh_token'],
  response_types: ['code'],
  application_type: 'native',
  ...more,
})

const settings = (issuer, { registers = true, document = false, clients = [] }) => ({
  clients,
  scopes: ['openid', 'offline_access', ...SCOPES.split(' ')],
  clientDefaults: { grant_types: ['authorization_code'], response_types: ['code'], token_endpoint_auth_method: 'none' },
  responseTypes: ['code'],
  pkce: { required: () => true },
  findAccount: (_, id) => ({ accountId: id, claims: () => ({ sub: id }) }),
  issueRefreshToken: async (_, client) => client.grantTypeAllowed('refresh_token'),
  rotateRefreshToken: true,
  cookies: { keys: ['for a test'] },
  fetch: async (url) => {
    if (String(url) !== DOCUMENT) throw new Error('nothing else is there')
    const said = native(issuer, { client_id: DOCUMENT, client_name: 'Bulkhead', token_endpoint_auth_method: 'none' })
    return new Response(JSON.stringify(said), { headers: { 'content-type': 'application/json' } })
  },
  features: {
    devInteractions: { enabled: true },
    registration: { enabled: registers },
    revocation: { enabled: true },
    deviceFlow: { enabled: true },
    clientCredentials: { enabled: true },
    clientIdMetadataDocument: { enabled: document, ack: 'draft-02' },
    resourceIndicators: {
      enabled: true,
      defaultResource: async (_ctx, _client, oneOf) => oneOf,
      useGrantedResource: async () => true,
      getResourceServerInfo: async (_, resource) => {
        if (new URL(resource).hostname !== '127.0.0.1') throw new errors.InvalidTarget()
        const form = { accessTokenFormat: 'jwt', accessTokenTTL: 300, jwt: { sign: { alg: 'RS256' } } }
        return { scope: SCOPES, audience: resource, ...form }
      },
    },
  },
})

// `inserted`: also described where RFC 8414 looks, with its path behind; oidc-provider by itself is so only the OpenID way.
async function provided({ path = '', inserted = false, ...more }) {
  const server = http.createServer()
  await new Promise((done) => server.listen(0, '127.0.0.1', done))
  const issuer = `http://127.0.0.1:${server.address().port}${path}`
  const clients = (more.clients ?? []).map((client) => native(issuer, client))
  const provider = new Provider(issuer, settings(issuer, { ...more, clients }))
  const answer = provider.callback()
  server.on('request', async (request, response) => {
    if (request.method === 'DELETE') { // for the tests: forget a client
      await provider.Client.adapter.destroy(request.url.slice(1))
      return response.end()
    }
    if (inserted && request.url === `/.well-known/oauth-authorization-server${path}`)
      request.url = `${path}/.well-known/openid-configuration`
    if (!request.url.startsWith(path)) return response.writeHead(404).end()
    request.originalUrl = request.url // its own addresses are built from this, the path included
    request.url = request.url.slice(path.length) || '/'
    answer(request, response)
  })
  return issuer
}

async function mocked() {
  const server = new OAuth2Server()
  await server.issuer.keys.generate('RS256')
  await server.start(0, '127.0.0.1')
  server.issuer.url = `http://127.0.0.1:${server.address().port}`
  return server.issuer.url
}

const byHand = { client_id: 'by-hand', client_secret: 'a secret of thirty-two characters', token_endpoint_auth_method: 'client_secret_basic' }
const robot = {
  client_id: 'robot', token_endpoint_auth_method: 'private_key_jwt', jwks: { keys: [JSON.parse(process.env.ROBOT)] },
  grant_types: ['client_credentials'], response_types: [], redirect_uris: [],
}
console.log(JSON.stringify({
  strict: await provided({}),
  inserted: await provided({ path: '/tenant', inserted: true, registers: false, document: true }),
  appended: await provided({ path: '/tenant' }),
  closed: await provided({ registers: false, clients: [byHand, robot] }),
  lax: await mocked(),
}))

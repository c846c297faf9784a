// @xmpp/client reads a room or a node and says in JSON lines what it sees; see ../xmpp/README.md.
//
//     node xmpp-client.mjs room   HOST PORT JID PASSWORD ROOM COUNT
//     node xmpp-client.mjs login  HOST PORT JID PASSWORD
//     node xmpp-client.mjs pubsub HOST PORT JID PASSWORD SERVICE/NODE COUNT
//
// With ws:// or wss:// for HOST, that is the URL and PORT is not used.
import tls from 'node:tls'
import { client, xml } from '@xmpp/client'
import { WebSocket } from 'ws'
import { report, attributes } from './xmpp-report.mjs'

const [mode, host, port, jid, password, target, count] = process.argv.slice(2)
const [bare, resource] = jid.split('/')
const [username, domain] = bare.split('@')

// The certificate is self-signed, and this is the library's one way to say that it may be.
const connectTLS = tls.connect
tls.connect = (options, ...rest) => connectTLS({ ...options, rejectUnauthorized: false }, ...rest)

// Node.js has one of its own only since version 22.
globalThis.WebSocket ??= WebSocket

let mechanism
const xmpp = client({
  service: host.includes('://') ? host : `xmpp://${host}:${port}`,
  domain,
  resource,
  credentials: (authenticate, mechanisms) => {
    mechanism = mechanisms[0]
    return authenticate({ username, password }, mechanism)
  },
})
xmpp.reconnect.delay = 200
xmpp.timeout = 60_000 // for each step of logging in; it is 2 s otherwise

xmpp.on('error', (error) => {
  if (error.name === 'SASLError') {
    report('error', { condition: error.condition })
    process.exit(1)
  }
  console.error(String(error))
})
xmpp.on('disconnect', () => report('offline'))
xmpp.streamManagement.on('resumed', () => report('resumed'))

// begin calls f when a session has begun. The library is online before stream management (XEP-0198) is on, and does not count
// what comes meanwhile.
function begin(f) {
  const sm = 'urn:xmpp:sm:3'
  let managed = false
  xmpp.on('nonza', (element) => {
    if (element.name === 'stream:features') managed = Boolean(element.getChild('sm', sm))
    if (element.is('enabled', sm)) setImmediate(f)
  })
  xmpp.on('online', () => managed || f())
}

// room joins with each new session and reports presence and messages.
function room(left) {
  begin(() => xmpp.send(xml('presence', { to: `${target}/${resource}` },
    xml('x', 'http://jabber.org/protocol/muc', xml('history', { maxstanzas: '0' })))).catch(console.error))
  xmpp.on('stanza', (stanza) => {
    if (stanza.is('presence') && stanza.attrs.from?.startsWith(target + '/')) {
      if (stanza.attrs.type === 'error') {
        report('error', { condition: stanza.getChild('error').children[0].name })
        process.exit(1)
      }
      const own = stanza.getChild('x', 'http://jabber.org/protocol/muc#user')?.getChildren('status').some((s) => s.attrs.code === '110')
      if (own && stanza.attrs.type !== 'unavailable') report('joined', { room: target })
    }
    if (!stanza.is('message') || stanza.attrs.type !== 'groupchat') return
    const body = stanza.getChildText('body')
    const rc = stanza.getChild('rc')
    if (body === null && !rc) return
    const sid = stanza.getChildren('stanza-id', 'urn:xmpp:sid:0').find((s) => s.attrs.by === target)
    report('message', { from: stanza.attrs.from, body, rc: rc ? attributes(rc.attrs) : null, stanza_id: sid?.attrs.id })
    if (--left === 0) leave()
  })
}

async function leave() {
  xmpp.reconnect.stop()
  await xmpp.stop()
  process.exit(0)
}

xmpp.on('online', (address) => report('online', { mechanism, tls: host.includes('://') ? host.startsWith('wss:') : xmpp.socket?.secure === true, jid: String(address) }))
if (mode === 'room') room(Number(count))
if (mode === 'login') xmpp.on('online', leave)
if (mode === 'pubsub') {
  const { pubsub } = await import('./xmpp-client-pubsub.mjs')
  begin(() => pubsub(xmpp, target, Number(count)).then(leave))
}
xmpp.start().catch((error) => console.error(String(error)))

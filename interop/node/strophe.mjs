// strophe.js reads a room or a node over WebSocket (RFC 7395) and says in JSON lines what it sees; see ../xmpp/README.md.
//
//     node strophe.mjs room   URL - JID PASSWORD ROOM COUNT
//     node strophe.mjs login  URL - JID PASSWORD
//     node strophe.mjs pubsub URL - JID PASSWORD SERVICE/NODE COUNT
import { Strophe, $pres } from 'strophe.js'
import { report } from './xmpp-report.mjs'

// The library logs to standard output, which is for the reports.
console.info = console.debug = console.log = console.warn = console.error

// It is self-signed where there is a certificate.
process.env.NODE_TLS_REJECT_UNAUTHORIZED = '0'

const [mode, url, , jid, password, target, count] = process.argv.slice(2)
const connection = new Strophe.Connection(url, { enableStreamManagement: mode === 'room' })
connection.maxRetries = 0
let done = false
let again

function connect() {
  connection.connect(jid, password, (status, condition, element) => {
    switch (status) {
      case Strophe.Status.CONNECTED:
        if (mode === 'room') listen() // the library forgets its handlers with each connection
        if (connection.hasResumed()) return report('resumed')
        report('online', { mechanism: connection._sasl_mechanism?.mechname, tls: url.startsWith('wss:'), jid: connection.jid })
        return online()
      case Strophe.Status.AUTHFAIL:
        report('error', { condition: element?.firstElementChild?.localName ?? element?.firstChild?.nodeName ?? condition })
        process.exit(1)
        break
      case Strophe.Status.DISCONNECTED:
        if (done) process.exit(0)
        report('offline')
        clearTimeout(again) // it may say so twice
        again = setTimeout(connect, 200)
    }
  })
}

function leave() {
  done = true
  connection.disconnect()
}

// attributes returns those of an element without declarations of namespaces.
function attributes(element) {
  return Object.fromEntries([...element.attributes].filter((a) => !a.name.startsWith('xmlns')).map((a) => [a.name, a.value]))
}

function child(element, name, namespace) {
  return [...element.childNodes].filter((c) => c.localName === name && (!namespace || c.namespaceURI === namespace))
}

function online() {
  connection.send($pres())
  if (mode === 'login') leave()
  if (mode === 'room') join()
  if (mode === 'pubsub') import('./strophe-pubsub.mjs').then(({ pubsub }) => pubsub(connection, target, Number(count))).then(leave)
}

let left = Number(count)
// With a new session the library sends again what the last one had not acknowledged, the join included.
let joined = false

function listen() {
  connection.addHandler((presence) => {
    if (presence.getAttribute('type') === 'error') {
      report('error', { condition: child(presence, 'error')[0].firstChild.nodeName })
      process.exit(1)
    }
    const own = child(presence, 'x', 'http://jabber.org/protocol/muc#user').some((x) => child(x, 'status').some((s) => s.getAttribute('code') === '110'))
    if (own && presence.getAttribute('type') !== 'unavailable' && !joined) {
      joined = true
      report('joined', { room: target })
    }
    return true
  }, null, 'presence', null, null, target, { matchBareFromJid: true })
  connection.addHandler((message) => {
    const body = child(message, 'body')[0]?.textContent ?? null
    const rc = child(message, 'rc')[0]
    if (body === null && !rc) return true
    const sid = child(message, 'stanza-id', 'urn:xmpp:sid:0').find((s) => s.getAttribute('by') === target)
    report('message', { from: message.getAttribute('from'), body, rc: rc ? attributes(rc) : null, stanza_id: sid?.getAttribute('id') })
    if (--left === 0) leave()
    return true
  }, null, 'message', 'groupchat', null, target, { matchBareFromJid: true })
}

function join() {
  joined = false
  connection.send($pres({ to: `${target}/${Strophe.getResourceFromJid(connection.jid)}` })
    .c('x', { xmlns: 'http://jabber.org/protocol/muc' }).c('history', { maxstanzas: '0' }))
}

connect()

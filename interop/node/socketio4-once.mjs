// Goes through the namespace / with npm's socket.io-client 4 and reports each step on standard output: transports, events
// with acknowledgements, refusals, binary data, two namespaces on one connection, and a token.
//
//     node socketio4-once.mjs BASE TRANSPORTS TOKEN
import { Manager } from 'socket.io-client'

const [base, transports, token] = process.argv.slice(2)
const manager = new Manager(base, { transports: transports.split(',') })
const say = (...words) => console.log(words.map((w) => (typeof w === 'string' ? w : JSON.stringify(w))).join(' '))

// Engine.IO: a client that may upgrade waits for it, so that all that follows is on the last transport.
const last = transports.split(',').pop()
await new Promise((resolve) => {
  manager.on('open', () => {
    if (manager.engine.transport.name === last) resolve()
    else manager.engine.on('upgrade', resolve)
  })
})
say('transport', manager.engine.transport.name)

const socket = manager.socket('/')
await new Promise((resolve) => socket.on('connect', resolve))
socket.on('event', (event) => say('event', event.topic, event.data))
socket.on('error', (error) => say('error', error.request ?? '', error.code))
say('subscribed', (await socket.emitWithAck('subscribe', '/a', '/b')).topics)
say('filtered', (await socket.emitWithAck('subscribe', { filter: 'data.n > 3' })).topics)
say('refused', (await socket.emitWithAck('subscribe', '/private/a')).error.code)
say('unknown', (await socket.emitWithAck('publish', '/a', {})).error.code)
say('binary', (await socket.emitWithAck('subscribe', Buffer.from([1, 2, 3]), [new Uint8Array(4)])).error.code)
say('unsubscribed', (await socket.emitWithAck('unsubscribe', '/b')).topics)

const rc = manager.socket('/rc')
await new Promise((resolve) => rc.on('connect', resolve))
say('rc', (await rc.emitWithAck('subscribe', '*')).topics)

const nowhere = manager.socket('/nowhere')
nowhere.on('connect_error', (error) => say('nowhere', error.message))
nowhere.connect()

const anonymous = new Manager(base, { transports: transports.split(',') })
const known = anonymous.socket('/', { auth: { token } })
await new Promise((resolve) => known.on('connect', resolve))
known.on('event', (event) => say('private', event.data))
say('known', (await known.emitWithAck('subscribe', '/private/a')).topics)
const stranger = anonymous.socket('/rc', { auth: { token: 'x' } })
stranger.on('connect_error', (error) => say('stranger', error.message, error.data.code))
await new Promise((resolve) => stranger.on('connect_error', resolve))
say('ready')

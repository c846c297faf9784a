// Reads recent changes with npm's socket.io-client 4 and reports on standard output: "open" for each connection that opens,
// "event ID" with the rcid of each change, and "gap".
//
//     node socketio4.mjs BASE TRANSPORTS
//
// TRANSPORTS is a list such as polling,websocket, which begins with polls and upgrades. The program subscribes once: what
// it has missed when it comes back is the server's to recover, without which it says "lost".
import { io } from 'socket.io-client'

const [base, transports] = process.argv.slice(2)
const socket = io(base + '/rc', { transports: transports.split(','), reconnectionDelay: 100, reconnectionDelayMax: 1000 })
let subscribed = false
socket.on('connect', async () => {
  if (!subscribed) {
    const answer = await socket.emitWithAck('subscribe', ['garden.example.org', 'nowiki'])
    if (answer.error || !answer.position) throw new Error(JSON.stringify(answer))
    subscribed = true
  } else if (!socket.recovered) {
    console.log('lost')
  }
  console.log('open')
})
socket.on('change', (change) => console.log('event', change.id))
socket.on('gap', (gap) => console.log('gap', JSON.stringify(gap)))
socket.on('error', (error) => console.log('error', JSON.stringify(error)))
socket.on('connect_error', (error) => console.error('connect_error', error.message))
socket.on('disconnect', (reason) => console.error('disconnect', reason))
socket.io.engine.on('upgrade', (transport) => console.error('upgrade', transport.name))

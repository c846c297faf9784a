// The program that readers of RCStream had in 2015, with npm's socket.io-client 0.9: it subscribes in its connect handler and
// prints what comes. It reports "open" for each connection and "event ID" with the rcid of each change.
//
//     node rcstream.mjs BASE TRANSPORT [resume]
//
// With resume it does what RCStream could not: it says where it was, and hears what it missed.
import io from 'socket.io-client-0.9'

const [base, transport, resume] = process.argv.slice(2)
// The option transports is broken in this client when it runs on Node.js: the list itself has to be changed.
io.transports.splice(0, io.transports.length, transport)

const socket = io.connect(base + '/rc')
let position = null
socket.on('connect', () => {
  console.log('open')
  if (resume) socket.emit('resume', position)
  socket.emit('subscribe', 'garden.example.org')
})
socket.on('change', (change, at) => {
  position = at
  console.log('event', change.id)
})
socket.on('gap', (gap) => console.log('gap', JSON.stringify(gap)))
socket.on('error', (...args) => console.error('error', ...args))
socket.on('disconnect', (reason) => console.error('disconnect', reason))

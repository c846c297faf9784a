// Reads a stream with npm's eventsource and reports on standard output: "open" for each connection that opens, then
// "event ID" with the rcid of each change.
//
//     node eventsource.mjs BASE
import { EventSource } from 'eventsource'

const source = new EventSource(process.argv[2] + '/v2/stream/recentchange')
source.addEventListener('open', () => console.log('open'))
source.addEventListener('message', (event) => console.log('event', JSON.parse(event.data).id))
source.addEventListener('gap', (event) => console.log('gap', event.data))
source.addEventListener('error', (event) => console.error('error', event.code, event.message))

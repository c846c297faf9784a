// Reads the stream recentchange with npm's wikimedia-streams and reports as eventsource.mjs does. The library knows one
// server only, stream.wikimedia.org; its option proxy sends the requests for that one here.
//
//     node wikimedia.mjs BASE
import WikimediaStream from 'wikimedia-streams'

const stream = new WikimediaStream('recentchange', {
  proxy: process.argv[2],
  headers: { 'User-Agent': 'tidings-interop' },
})
stream.on('open', () => console.log('open'))
stream.on('recentchange', (change) => console.log('event', change.id))
stream.on('error', (event) => console.error('error', event.status, event.message))

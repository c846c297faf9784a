// The JSON lines of the XMPP clients.
import { writeSync } from 'node:fs'

// report says what has been seen.
export function report(event, more = {}) {
  writeSync(1, JSON.stringify({ event, ...more }) + '\n')
}

// attributes returns those of an element without the declaration of its namespace.
export function attributes({ xmlns, ...rest }) {
  return rest
}

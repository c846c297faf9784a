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

// Notices reports what a PubSub service tells, and lets others wait for it.
export class Notices {
  #seen = new Set()
  #items = 0
  #waiting = []

  tell(kind, node, id, more = {}) {
    this.#seen.add([kind, node, id].join('\n'))
    if (kind === 'item') this.#items++
    report(kind, { node, id, ...more })
    this.#waiting = this.#waiting.filter(({ ready, done }) => !ready() || done())
  }

  // wait returns when the service has told it.
  wait(kind, node, id) {
    return this.#until(() => this.#seen.has([kind, node, id].join('\n')))
  }

  // more returns when so many more items have been told.
  more(count) {
    const goal = this.#items + count
    return this.#until(() => this.#items >= goal)
  }

  #until(ready) {
    if (ready()) return Promise.resolve()
    return new Promise((done) => this.#waiting.push({ ready, done }))
  }
}

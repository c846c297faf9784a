// The live page. The HTML is complete without it; from there on this module keeps it so: it follows the stream from the
// position that the HTML ends at, and comes back to that stream by itself, at the event it has seen last.
//
// What strangers wrote is only ever put into text nodes and attributes; the page's policy allows nothing else.

const byId = (id) => document.getElementById(id)
const main = byId('main')
const address = new URLSearchParams(location.search)

// --- words and numbers

const thousands = new Intl.NumberFormat('en')
const timeOfDay = new Intl.DateTimeFormat('en-GB', { hour: '2-digit', minute: '2-digit', second: '2-digit' })
const number = (n) => thousands.format(n)
const events = (n) => (n === 1 ? '1 event' : number(n) + ' events')

function rateText(perSecond) {
  const perMinute = perSecond * 60
  if (perSecond >= 9.95) return number(Math.round(perSecond)) + '/s'
  if (perSecond >= 0.995) return perSecond.toFixed(1) + '/s'
  if (perMinute >= 0.5) return Math.round(perMinute) + '/min'
  return perMinute > 0 ? '<1/min' : '0'
}

function duration(ms) {
  const s = Math.round(ms / 1000)
  if (s < 1) return 'less than a second'
  if (s < 100) return s + ' s'
  if (s < 100 * 60) return Math.round(s / 60) + ' min'
  return Math.round(s / 3600) + ' h'
}

// A position is the journal's life and an offset in it.
function position(text) {
  const i = text.lastIndexOf('-')
  return { epoch: text.slice(0, i), offset: Number(text.slice(i + 1)) }
}

// --- rows

function element(tag, className, text) {
  const e = document.createElement(tag)
  if (className) e.className = className
  if (text !== undefined) e.textContent = text
  return e
}

function webLink(text) {
  try {
    const u = new URL(text)
    return u.protocol === 'http:' || u.protocol === 'https:' ? text : ''
  } catch {
    return ''
  }
}

function linked(link, className, text) {
  if (!link) return element('span', className, text)
  const a = element('a', className, text)
  a.setAttribute('href', link)
  a.rel = 'noopener noreferrer'
  return a
}

const maxExcerpt = 240

function excerpt(text) {
  const line = text.split(/[\s\u0085]+/u).filter(Boolean).join(' ')
  if (line.length <= maxExcerpt) return line
  const characters = [...line]
  return characters.length <= maxExcerpt ? line : characters.slice(0, maxExcerpt).join('') + '…'
}

// The page of a topic, with the filter of this one: what view.TopicPage makes in Go.
function topicPage(topic) {
  const q = new URLSearchParams(address)
  for (const name of ['fields', 'since', 'limit', 'format', 'item', 'match', 'lastEventId', 'lastEventID']) q.delete(name)
  q.delete('topic')
  q.append('topic', topic)
  q.sort()
  const text = q.toString().replaceAll('+', '%20').replaceAll('%2F', '/').replaceAll('%2A', '*').replaceAll('%3A', ':').replaceAll('%2C', ',').replaceAll('%40', '@').replaceAll('%7E', '~')
  return '/?' + text
}

// A summary of a log entry comes with HTML's character references; only these are of use in one.
const references = { amp: '&', lt: '<', gt: '>', quot: '"', apos: "'", nbsp: '\u00a0' }
function unescapeReferences(text) {
  return text.replace(/&(?:#(\d{1,7})|#x([0-9a-f]{1,6})|(\w+));/gi, (all, decimal, hex, name) => {
    if (name) return references[name] ?? all
    const code = decimal ? Number(decimal) : parseInt(hex, 16)
    return code > 0 && code <= 0x10ffff && (code < 0xd800 || code > 0xdfff) ? String.fromCodePoint(code) : '\ufffd'
  })
}

// What a change shows: the same as change in row.go.
function changeParts(c) {
  const kind = c.type === 'log' && c.log_type ? c.log_type + '/' + (c.log_action ?? '') : c.type !== 'edit' && c.type !== 'new' ? c.type : ''
  let text = c.comment ?? ''
  if (c.type === 'log' && c.log_type && c.log_action_comment) {
    text = unescapeReferences(c.log_action_comment)
    if (text.startsWith(c.user + ' ')) text = text.slice(c.user.length + 1)
  }
  const flags = []
  if (c.type === 'new') flags.push(['N', 'new page'])
  if (c.minor) flags.push(['m', 'minor edit'])
  if (c.bot) flags.push(['b', 'by a bot'])
  if (c.patrolled === false) flags.push(['!', 'not yet patrolled'])
  let diff
  if (c.length && c.length.new != null && (c.length.old != null || c.type === 'new')) {
    const n = c.length.new - (c.length.old ?? 0)
    diff = { text: n > 0 ? '+' + number(n) : n < 0 ? '−' + number(-n) : '0', sign: n > 0 ? 'up' : n < 0 ? 'down' : 'same' }
    if (c.type === 'edit' && c.revision && c.revision.new != null && c.revision.old != null) {
      const script = c.server_script_path === '/' ? '' : (c.server_script_path ?? '')
      diff.link = webLink(`${c.server_url}${script}/index.php?diff=${c.revision.new}&oldid=${c.revision.old}`)
    }
  }
  return { place: c.wiki, title: c.title, link: webLink(c.meta?.uri), kind, flags, diff, user: c.user, text: excerpt(text) }
}

// A change is what says that it is one and has the members of one, as far as they are shown.
function isChange(d) {
  const all = (type, ...values) => values.every((v) => v == null || typeof v === type)
  return d !== null && typeof d === 'object' && typeof d.$schema === 'string' && d.$schema.startsWith('/mediawiki/recentchange/') && Boolean(d.title) &&
    all('string', d.type, d.title, d.comment, d.user, d.wiki, d.server_url, d.server_script_path, d.log_type, d.log_action, d.log_action_comment, d.meta?.uri) &&
    all('boolean', d.bot, d.minor, d.patrolled) && all('number', d.length?.old, d.length?.new, d.revision?.old, d.revision?.new)
}

// What any event shows: rowOf in row.go.
function parts(e) {
  if (e.type === 'tidings.retract') return { kind: 'withdrawn', text: e.id }
  const d = e.data
  if (isChange(d)) return changeParts(d)
  if (typeof e.data_base64 === 'string') {
    const padding = e.data_base64.endsWith('==') ? 2 : e.data_base64.endsWith('=') ? 1 : 0
    return { text: `${e.datacontenttype ?? 'application/octet-stream'}, ${(e.data_base64.length / 4) * 3 - padding} bytes` }
  }
  return { text: excerpt(typeof d === 'string' && !/json/.test(e.datacontenttype ?? '') ? d : JSON.stringify(d ?? null)) }
}

// row makes what the template "row" makes.
function row(e) {
  const p = parts(e)
  const topic = e.topic ?? ''
  const li = element('li', 'row')
  li.dataset.position = e.position
  const when = element('span', 'when')
  const at = new Date(e.time)
  if (!Number.isNaN(at.getTime())) {
    const time = element('time')
    time.dateTime = at.toISOString().slice(0, 19) + 'Z'
    time.textContent = timeOfDay.format(at)
    when.append(time)
  }
  const place = element('a', 'place', p.place || topic)
  place.setAttribute('href', topicPage(topic))
  place.title = topic
  place.dir = 'auto'
  const what = element('span', 'what')
  if (p.title || !p.kind) {
    const text = p.title ? linked(p.link, 'title', p.title) : element('span', 'payload', p.text)
    text.dir = 'auto'
    what.append(text)
  }
  if (p.kind) what.append(element('span', 'kind', p.kind))
  for (const [letter, name] of p.flags ?? []) {
    const flag = element('abbr', 'flag', letter)
    flag.title = name
    what.append(flag)
  }
  li.append(when, place, what)
  if (p.diff) {
    const diff = linked(p.diff.link, 'diff ' + p.diff.sign, p.diff.text)
    diff.title = p.diff.link ? 'bytes; shows the difference' : 'bytes'
    li.append(diff)
  }
  const summary = (p.title || p.kind) && p.text
  if (p.user || summary) {
    const by = element('span', 'by')
    if (p.user) by.append(element('bdi', 'user', p.user))
    if (summary) by.append(element('bdi', 'summary', p.text))
    li.append(by)
  }
  return li
}

// --- the list
//
// Nobody reads a hundred lines a second. As many rows as one can follow are shown; what comes beyond that is folded into
// one line that says how many they are and opens at a click. The list stands still while somebody points at it, has the
// keyboard in it or has scrolled down, and counts what waits.

const rowsPerSecond = 6
const rowsAtOnce = 24 // after a while of less
const rowsAfterWaiting = 60
const foldTime = 1000 // ms that a fold stays open for more
const foldKept = 100 // events of a fold that can be shown
const maxQueue = 500 // events that wait with their content
const maxRows = 200
const batchTime = matchMedia('(prefers-reduced-motion: reduce)').matches ? 1000 : 150 // ms between two changes of the list

const list = byId('list')
const pause = byId('pause')
const waiting = byId('waiting')
const empty = byId('empty')

const queue = [] // events as text, and marks as elements
let waits = 0 // events that wait, those included whose content was let go of
let allowance = rowsAtOnce
let allowanceAt = performance.now()
let fold = null
let fresh = [] // the rows that came last
let paused = false
let pointed = false // at by a mouse
let scheduled = false
let flushedAt = 0
let received = 0
let sinceSaid = 0

function arrive(text) {
  received++
  sinceSaid++
  waits++
  queue.push(text)
  if (queue.length > maxQueue) queue.splice(queue.findIndex((q) => typeof q === 'string'), 1)
  schedule()
}

function mark(className) {
  const li = element('li', className)
  queue.push(li)
  schedule()
  return li
}

function schedule() {
  if (scheduled) return
  scheduled = true
  setTimeout(() => requestAnimationFrame(flush), Math.max(0, flushedAt + batchTime - performance.now()))
}

function reading() {
  return list.scrollTop > 24 || pointed || list.querySelector(':focus-visible') !== null
}

function flush() {
  scheduled = false
  const now = performance.now()
  flushedAt = now
  allowance = Math.min(Math.max(allowance, rowsAtOnce), allowance + ((now - allowanceAt) * rowsPerSecond) / 1000)
  allowanceAt = now
  byId('received').textContent = number(received) + ' received'
  const stands = paused ? 'Paused' : reading() ? 'Standing still while you read' : ''
  if (stands) {
    waiting.hidden = waits === 0
    waiting.textContent = `${stands}: ${number(waits)} waiting`
    return
  }
  if (!waiting.hidden) {
    waiting.hidden = true
    allowance = Math.max(allowance, rowsAfterWaiting)
  }
  put(now)
}

// put moves the queue into the list, in one change of the document.
function put(now) {
  // All of them, the newest that the allowance is for, or none: rows come several at a time, so that there is not a fold
  // beside every row.
  let folding = waits
  if (waits <= allowance && (!fold || now >= fold.until)) folding = 0
  else if (allowance >= rowsPerSecond && (!fold || now >= fold.until)) folding = waits - Math.floor(allowance)
  allowance -= waits - folding
  const top = document.createDocumentFragment()
  const gone = waits - queue.filter((q) => typeof q === 'string').length
  const openFold = () => {
    if (!fold) {
      fold = newFold(now + foldTime)
      top.prepend(fold.li)
    }
    return fold
  }
  if (gone > 0) {
    openFold().count += gone
    folding = Math.max(0, folding - gone)
  }
  for (const q of queue) {
    if (typeof q !== 'string') {
      top.prepend(q)
      fold?.say()
      fold = null
    } else if (folding > 0) {
      folding--
      openFold().add(q)
    } else {
      fold?.say()
      fold = null
      top.prepend(row(JSON.parse(q)))
    }
  }
  fold?.say()
  const rows = top.querySelectorAll('.row')
  if (rows.length > 0) {
    for (const li of fresh) li.classList.remove('fresh')
    fresh = rows
    for (const li of fresh) li.classList.add('fresh')
  }
  queue.length = 0
  waits = 0
  list.prepend(top)
  empty.hidden = list.childElementCount > 0
  while (list.childElementCount > maxRows) list.lastElementChild.remove()
}

function newFold(until) {
  const li = element('li', 'fold')
  const button = element('button')
  button.type = 'button'
  button.setAttribute('aria-expanded', 'false')
  li.append(button)
  const f = {
    li, until, count: 0, kept: [],
    add(text) {
      f.count++
      f.kept.push(text)
      if (f.kept.length > foldKept) f.kept.shift()
    },
    say() { button.textContent = `${number(f.count)} more` },
  }
  button.addEventListener('click', () => {
    if (fold === f) fold = null
    const rows = f.kept.reverse().map((text) => row(JSON.parse(text)))
    const rest = f.count - rows.length
    if (rest > 0) {
      const note = element('li', 'fold')
      note.append(element('p', '', `${number(rest)} earlier ones went by too fast to be kept here`))
      rows.push(note)
    }
    li.replaceWith(...rows)
    rows[0]?.querySelector('a, p')?.focus()
  })
  return f
}

function setPaused(on) {
  paused = on
  pause.setAttribute('aria-pressed', String(on))
  pause.textContent = on ? 'Resume' : 'Pause'
  schedule()
}

pause.addEventListener('click', () => {
  setPaused(!paused)
  say(paused ? 'Paused' : 'Resumed')
})
waiting.addEventListener('click', () => {
  list.scrollTop = 0
  pause.focus()
  setPaused(false)
})
list.addEventListener('pointerenter', (e) => { pointed = e.pointerType === 'mouse' })
list.addEventListener('pointerleave', () => { pointed = false; schedule() })
for (const type of ['focusout', 'scroll']) list.addEventListener(type, schedule, { passive: true })

// --- the connection

const link = byId('link')
const linkNow = byId('link-now')
const firstRetry = 500 // ms
const lastRetry = 15_000
const tooFar = 20_000 // positions: catching up with more than these is left to programs

let source = null
let lastSeen = main.dataset.head
let attempts = 0
let retryTimer = 0
let lostAt = 0
let calmTimer = 0
let caughtUp = null // {mark, until, count, after} of a reconnection

function show(state, text) {
  link.dataset.state = state
  const at = byId('link-text')
  if (at.textContent !== text) at.textContent = text
}

// say tells those who listen; only what changes how things are, and a summary now and then.
function say(text) { byId('say').textContent = text }

class Refused extends Error {}

// figures asks for the state of the topics. A Refused error is one that asking again does not mend.
async function figures() {
  const response = await fetch(main.dataset.state, { headers: { Accept: 'application/json' }, signal: AbortSignal.timeout(8000) })
  if (response.ok) return response.json()
  let detail = response.statusText || 'status ' + response.status
  try { detail = (await response.json()).detail || detail } catch { /* not a problem document */ }
  if (response.status >= 400 && response.status < 500 && response.status !== 429 && response.status !== 408) throw new Refused(detail)
  throw new Error(detail)
}

function follow(until) {
  source?.close()
  const s = new EventSource(main.dataset.stream + '&lastEventId=' + encodeURIComponent(lastSeen))
  source = s
  s.addEventListener('open', () => { if (source === s) opened(until) })
  s.addEventListener('message', (e) => {
    if (source !== s) return
    lastSeen = e.lastEventId
    if (caughtUp) catchUp(e.lastEventId)
    arrive(e.data)
  })
  s.addEventListener('gap', (e) => {
    if (source !== s) return
    lastSeen = e.lastEventId
    gap(JSON.parse(e.data))
  })
  s.addEventListener('error', (e) => {
    if (source !== s) return
    if (e.data) over(JSON.parse(e.data).message)
    else lost()
  })
}

function opened(until) {
  attempts = 0
  linkNow.hidden = true
  if (lostAt) {
    const away = duration(Date.now() - lostAt)
    lostAt = 0
    caughtUp = { mark: mark('mark'), until: position(until), count: 0, after: `Reconnected after ${away}` }
    caughtUp.mark.textContent = `${caughtUp.after}: nothing was missed`
    say(caughtUp.after)
  } else say('Live')
  show('live', 'Live')
}

// catchUp counts the events that were published while the connection was away: those up to where the journal was when
// it came back.
function catchUp(id) {
  const at = position(id)
  if (at.epoch !== caughtUp.until.epoch || at.offset > caughtUp.until.offset) {
    if (caughtUp.count > 0) say(`${caughtUp.after}, ${events(caughtUp.count)} caught up`)
    caughtUp = null
    return
  }
  caughtUp.count++
  caughtUp.mark.textContent = `${caughtUp.after}: ${events(caughtUp.count)} caught up`
  show('live', `Live, ${number(caughtUp.count)} caught up`)
  clearTimeout(calmTimer)
  calmTimer = setTimeout(() => { if (source?.readyState === EventSource.OPEN) show('live', 'Live') }, 10_000)
}

function gap(g) {
  const asked = position(g.asked)
  const oldest = position(g.oldest)
  const li = mark('mark gap')
  li.textContent = asked.epoch === oldest.epoch
    ? `Gap: the events after ${g.asked} are not kept any more, up to ${number(oldest.offset - asked.offset)} of them. It goes on from ${g.oldest}.`
    : `Gap: the journal was begun anew, so what came after ${g.asked} is not known here. It goes on from ${g.oldest}.`
  say(li.textContent)
}

function lost() {
  source?.close()
  source = null
  caughtUp = null
  if (!lostAt) {
    lostAt = Date.now()
    say('Connection lost, reconnecting')
  }
  const delay = Math.min(lastRetry, firstRetry * 2 ** attempts++) * (0.75 + Math.random() / 2)
  clearTimeout(retryTimer)
  retryTimer = setTimeout(reconnect, delay)
  show('lost', delay < 1500 ? 'Reconnecting' : `Reconnecting in ${duration(delay)}`)
  linkNow.hidden = delay < 1500
}

async function reconnect() {
  clearTimeout(retryTimer)
  linkNow.hidden = true
  show('lost', 'Reconnecting')
  let f
  try {
    f = await figures()
  } catch (err) {
    if (err instanceof Refused) over(err.message)
    else if (!source) lost()
    return
  }
  if (source) return
  const from = position(lastSeen)
  const head = position(f.head)
  if (from.epoch === head.epoch && head.offset - from.offset > tooFar) {
    const li = mark('mark gap')
    li.textContent = `Away for ${duration(Date.now() - lostAt)}: the list leaves out ${number(head.offset - from.offset)} positions after ${lastSeen}. They are kept; a program can read them from there.`
    lastSeen = f.head
  }
  follow(f.head)
  draw(f)
}

function over(message) {
  source?.close()
  source = null
  clearTimeout(retryTimer)
  linkNow.hidden = true
  show('over', 'Ended: ' + message)
  say('Ended: ' + message)
}

linkNow.addEventListener('click', () => { attempts = 0; reconnect() })
addEventListener('online', () => { if (lostAt) { attempts = 0; reconnect() } })
// A page that is put aside keeps no connection; one that comes back from there goes on.
addEventListener('pagehide', () => { source?.close(); source = null; clearTimeout(retryTimer) })
addEventListener('pageshow', (e) => { if (e.persisted && !main.hasAttribute('data-complaint')) { lostAt ||= Date.now(); reconnect() } })

// --- the chart and the topics

const everyMs = 2500
const known = new Map() // events of the topics, by bucket
const mine = new Map() // events that passed the filter, by bucket
let drawnAt = Date.now()

function scale(counts, per) {
  const most = Math.max(1, ...counts)
  for (let unit = per; ; unit *= 10) for (const n of [1, 2, 3, 4, 5, 6, 8]) if (n * unit >= most) return n * unit
}

function bars(counts, top) {
  let d = ''
  counts.forEach((n, i) => {
    if (n) d += `M${i * 10 + 1} 100V${100 - Math.max(2, Math.round((100 * Math.min(n, top)) / top))}h8V100z`
  })
  return d
}

const filtered = main.hasAttribute('data-filtered')
let countedMine = 0

// remember returns the counts with what is known from before: a server that was started again knows only its own.
function remember(f) {
  const first = f.end - f.counts.length + 1
  for (const b of known.keys()) if (b < first) known.delete(b)
  f.counts.forEach((n, i) => known.set(first + i, Math.max(n, known.get(first + i) ?? 0)))
  return f.counts.map((_, i) => known.get(first + i))
}

function draw(f) {
  const all = remember(f)
  const top = scale(all, f.seconds)
  byId('rate').textContent = rateText(f.rate)
  byId('chart-top').textContent = rateText(top / f.seconds)
  byId('chart-all').setAttribute('d', bars(all, top))
  if (filtered) {
    mine.set(f.end, (mine.get(f.end) ?? 0) + received - countedMine)
    countedMine = received
    for (const b of mine.keys()) if (b <= f.end - f.counts.length) mine.delete(b)
    const counts = all.map((n, i) => Math.min(n, mine.get(f.end - f.counts.length + 1 + i) ?? 0))
    byId('chart-mine').setAttribute('d', bars(counts, top))
    byId('passing').hidden = false
    byId('passing').textContent = 'passes the filter'
  }
  byId('chart-text').textContent = `Events in each ${f.seconds} seconds of the last five minutes: ${rateText(f.rate)} over the last minute, at most ${number(Math.max(...all))} in ${f.seconds} seconds`
  drawTopics(f)
}

// drawTopics changes figures in place: a list that keeps changing its order cannot be read.
function drawTopics(f) {
  const ul = byId('topics')
  const rows = new Map([...ul.children].map((li) => [li.dataset.topic, li]))
  for (const t of f.topics) {
    let li = rows.get(t.topic)
    if (li) rows.delete(t.topic)
    else {
      li = topicRow(t.topic)
      ul.append(li)
    }
    li.querySelector('.bar').setAttribute('d', bars(t.counts, scale(t.counts, 1)))
    li.querySelector('.rate').textContent = rateText(t.rate)
    li.querySelector('.count').textContent = number(t.events)
  }
  for (const li of rows.values()) if (!li.matches(':hover, :focus-within')) li.remove()
  byId('topics-none').hidden = ul.childElementCount > 0
  const more = f.matched - f.topics.length
  byId('topics-more').hidden = more <= 0
  byId('topics-more-count').textContent = number(more)
  byId('topics-partial').hidden = !f.partial
}

const svg = (tag) => document.createElementNS('http://www.w3.org/2000/svg', tag)

function topicRow(topic) {
  const li = element('li')
  li.dataset.topic = topic
  const a = element('a')
  a.setAttribute('href', topicPage(topic))
  const cut = topic.lastIndexOf('/')
  a.textContent = cut > 0 ? topic.slice(cut + 1) : topic
  a.title = topic
  a.dir = 'auto'
  const spark = svg('svg')
  for (const [name, value] of Object.entries({ class: 'spark', viewBox: '0 0 300 100', preserveAspectRatio: 'none', 'aria-hidden': 'true' })) spark.setAttribute(name, value)
  const path = svg('path')
  path.setAttribute('class', 'bar')
  spark.append(path)
  const kept = element('span', 'kept dim')
  kept.append(element('span', 'count'), ' kept')
  if (cut > 0) kept.append(' · ', element('bdi', '', topic.slice(0, cut)))
  li.append(a, spark, element('span', 'rate'), kept)
  return li
}

async function tick() {
  if (!document.hidden && source?.readyState === EventSource.OPEN) {
    // A clock that has jumped means that the machine slept: its connection may be dead without anybody knowing.
    if (Date.now() - drawnAt > 60_000) {
      lostAt = drawnAt
      source.close()
      source = null
      await reconnect()
    } else {
      try { draw(await figures()) } catch { /* the stream itself says when the server is gone */ }
    }
  }
  drawnAt = Date.now()
  setTimeout(tick, everyMs)
}

document.addEventListener('visibilitychange', () => { drawnAt = Date.now(); if (!document.hidden) schedule() })

// --- the rest

for (const time of document.querySelectorAll('.row time')) time.textContent = timeOfDay.format(new Date(time.dateTime))

if (navigator.clipboard) {
  for (const button of document.querySelectorAll('.copy')) {
    button.hidden = false
    button.addEventListener('click', async () => {
      try {
        await navigator.clipboard.writeText(button.closest('.way').querySelector('code').textContent)
        say('Copied')
        button.firstChild.data = 'Copied'
      } catch {
        button.firstChild.data = 'Select it'
      }
      setTimeout(() => { button.firstChild.data = 'Copy' }, 2000)
    })
  }
}

// The summary for those who listen: twice a minute, and not while the list stands still.
setInterval(() => {
  if (sinceSaid > 0 && !paused && source) say(`${events(sinceSaid)} in the last 30 seconds`)
  sinceSaid = 0
}, 30_000)

const wrong = document.querySelector('input[aria-invalid]')
if (wrong) {
  wrong.focus()
  const column = Number(wrong.dataset.column)
  if (column) wrong.setSelectionRange(column - 1, column)
}

if (!main.hasAttribute('data-complaint')) {
  pause.hidden = false
  show('still', 'Connecting')
  follow(main.dataset.head)
  setTimeout(tick, everyMs)
}

// The round of PubSub (XEP-0060) of strophe.mjs.
import { $iq, Strophe } from 'strophe.js'
import { Notices, report } from './xmpp-report.mjs'

const PUBSUB = 'http://jabber.org/protocol/pubsub'
const OWNER = PUBSUB + '#owner'
const EVENT = PUBSUB + '#event'
const RSM = 'http://jabber.org/protocol/rsm'

const all = (element, name) => [...element.getElementsByTagName(name)]
const text = (element, name) => all(element, name)[0]?.textContent

export async function pubsub(connection, target, count) {
  const cut = target.indexOf('/')
  const [service, node] = [target.slice(0, cut), target.slice(cut + 1)]
  const resource = Strophe.getResourceFromJid(connection.jid)
  const bare = Strophe.getBareJidFromJid(connection.jid)
  const notices = new Notices()
  connection.addHandler((message) => {
    told(message, notices)
    return true
  }, EVENT, 'message')

  // ask sends what build adds to <pubsub/>, and gives the answer.
  const ask = (type, namespace, build) => new Promise((done, failed) =>
    connection.sendIQ(build($iq({ type, to: service }).c('pubsub', { xmlns: namespace })), done, failed))
  const attempt = async (action, request) => {
    try {
      await request
      return true
    } catch (answer) {
      const error = all(answer, 'error')[0]
      report('refused', { action, condition: [...error.childNodes].find((c) => c.namespaceURI === Strophe.NS.STANZAS || c.localName)?.localName })
      return false
    }
  }
  const subscribe = (name) => ask('set', PUBSUB, (b) => b.c('subscribe', { node: name, jid: bare }))
  const publish = (name, id) => ask('set', PUBSUB, (b) => b.c('publish', { node: name }).c('item', { id })
    .c('entry', { xmlns: 'http://www.w3.org/2005/Atom' }).c('title').t('from ' + resource))

  await subscribe(node)
  report('subscribed', { node })

  const ids = []
  let pages = 0
  for (let after = null; ; ) {
    const answer = await ask('get', PUBSUB, (b) => {
      b.c('items', { node }).up().c('set', { xmlns: RSM }).c('max').t('2').up()
      return after ? b.c('after').t(after) : b
    })
    const page = all(answer, 'item').map((item) => item.getAttribute('id'))
    after = text(answer, 'last')
    if (page.length > 0) pages++
    ids.push(...page)
    if (!after || page.length === 0) break
  }
  report('items', { ids, pages })

  if (await attempt('publish', publish(node, 'from-' + resource))) report('published', { id: 'from-' + resource })
  const own = `${node}-${resource}`
  if (await attempt('create', ask('set', PUBSUB, (b) => b.c('create', { node: own })))) {
    report('created', { node: own })
    const fields = async () => all(await ask('get', OWNER, (b) => b.c('configure', { node: own })), 'field')
    const configure = async (values) => {
      const offered = (await fields()).map((field) => field.getAttribute('var'))
      const names = Object.keys(values).filter((name) => offered.includes(name))
      await ask('set', OWNER, (b) => {
        b.c('configure', { node: own }).c('x', { xmlns: 'jabber:x:data', type: 'submit' })
        b.c('field', { var: 'FORM_TYPE', type: 'hidden' }).c('value').t(PUBSUB + '#node_config').up().up()
        for (const name of names) b.c('field', { var: name }).c('value').t(values[name]).up().up()
        return b
      })
      return names
    }
    const tells = await configure({ 'pubsub#notify_config': '1', 'pubsub#notify_delete': '1' })
    await subscribe(own)
    await configure({ 'pubsub#max_items': '7' })
    if (tells.includes('pubsub#notify_config')) await notices.wait('configuration', own)
    report('configured', { node: own, max_items: text((await fields()).find((f) => f.getAttribute('var') === 'pubsub#max_items'), 'value') })
    await publish(own, 'own-1')
    await notices.wait('item', own, 'own-1')
    await ask('set', OWNER, (b) => b.c('delete', { node: own }))
    if (tells.includes('pubsub#notify_delete')) await notices.wait('deleted', own)
  }
  report('ready')
  await notices.more(count)
}

// told reports what a message of the service tells.
function told(message, notices) {
  for (const items of all(message, 'items')) {
    for (const item of all(items, 'item')) {
      const rc = all(item, 'rc')[0]
      notices.tell('item', items.getAttribute('node'), item.getAttribute('id'), {
        rc: rc ? Object.fromEntries([...rc.attributes].filter((a) => !a.name.startsWith('xmlns')).map((a) => [a.name, a.value])) : null,
      })
    }
  }
  for (const c of all(message, 'configuration')) notices.tell('configuration', c.getAttribute('node'))
  for (const d of all(message, 'delete')) notices.tell('deleted', d.getAttribute('node'))
}

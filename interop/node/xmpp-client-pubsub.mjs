// The round of PubSub (XEP-0060) of xmpp-client.mjs.
import { xml } from '@xmpp/client'
import { Notices, attributes, report } from './xmpp-report.mjs'

const PUBSUB = 'http://jabber.org/protocol/pubsub'
const OWNER = PUBSUB + '#owner'
const EVENT = PUBSUB + '#event'
const RSM = 'http://jabber.org/protocol/rsm'

export async function pubsub(xmpp, target, count) {
  const cut = target.indexOf('/')
  const [service, node] = [target.slice(0, cut), target.slice(cut + 1)]
  const { resource } = xmpp.jid
  const bare = xmpp.jid.bare().toString()
  const notices = new Notices()
  xmpp.on('stanza', (stanza) => stanza.is('message') && told(stanza, notices))
  await xmpp.send(xml('presence'))

  const ask = (type, namespace, ...children) =>
    xmpp.iqCaller.request(xml('iq', { type, to: service }, xml('pubsub', namespace, ...children)), 60_000).then((iq) => iq.getChild('pubsub'))
  // attempt reports a refusal and returns whether there was none.
  const attempt = async (action, request) => {
    try {
      await request
      return true
    } catch (error) {
      report('refused', { action, condition: error.condition })
      return false
    }
  }
  const subscribe = (name) => ask('set', PUBSUB, xml('subscribe', { node: name, jid: bare }))
  const publish = (name, id) => ask('set', PUBSUB, xml('publish', { node: name },
    xml('item', { id }, xml('entry', 'http://www.w3.org/2005/Atom', xml('title', {}, 'from ' + resource)))))

  await subscribe(node)
  report('subscribed', { node })

  const ids = []
  let pages = 0
  for (let after = null; ; ) {
    const answer = await ask('get', PUBSUB, xml('items', { node }), xml('set', RSM, xml('max', {}, '2'), after && xml('after', {}, after)))
    const page = answer.getChild('items').getChildren('item').map((item) => item.attrs.id)
    after = answer.getChild('set', RSM)?.getChildText('last')
    if (page.length > 0) pages++
    ids.push(...page)
    if (!after || page.length === 0) break
  }
  report('items', { ids, pages })

  if (await attempt('publish', publish(node, 'from-' + resource))) report('published', { id: 'from-' + resource })
  const own = `${node}-${resource}`
  if (await attempt('create', ask('set', PUBSUB, xml('create', { node: own })))) {
    report('created', { node: own })
    const form = async () => (await ask('get', OWNER, xml('configure', { node: own }))).getChild('configure').getChild('x').getChildren('field')
    const configure = async (values) => {
      const offered = (await form()).map((field) => field.attrs.var)
      const fields = Object.entries(values).filter(([name]) => offered.includes(name))
      await ask('set', OWNER, xml('configure', { node: own }, xml('x', { xmlns: 'jabber:x:data', type: 'submit' },
        xml('field', { var: 'FORM_TYPE', type: 'hidden' }, xml('value', {}, PUBSUB + '#node_config')),
        ...fields.map(([name, value]) => xml('field', { var: name }, xml('value', {}, value))))))
      return fields.map(([name]) => name)
    }
    const tells = await configure({ 'pubsub#notify_config': '1', 'pubsub#notify_delete': '1' })
    await subscribe(own)
    await configure({ 'pubsub#max_items': '7' })
    if (tells.includes('pubsub#notify_config')) await notices.wait('configuration', own)
    report('configured', { node: own, max_items: (await form()).find((f) => f.attrs.var === 'pubsub#max_items').getChildText('value') })
    await publish(own, 'own-1')
    await notices.wait('item', own, 'own-1')
    await ask('set', OWNER, xml('delete', { node: own }))
    if (tells.includes('pubsub#notify_delete')) await notices.wait('deleted', own)
  }
  report('ready')
  await notices.more(count)
}

// told reports what a message of the service tells.
function told(message, notices) {
  const event = message.getChild('event', EVENT)
  if (!event) return
  for (const items of event.getChildren('items')) {
    for (const item of items.getChildren('item')) {
      const rc = item.children[0]?.getChild?.('rc')
      notices.tell('item', items.attrs.node, item.attrs.id, { rc: rc ? attributes(rc.attrs) : null })
    }
  }
  for (const c of event.getChildren('configuration')) notices.tell('configuration', c.attrs.node)
  for (const d of event.getChildren('delete')) notices.tell('deleted', d.attrs.node)
}

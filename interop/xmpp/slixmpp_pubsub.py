"""The round of PubSub (XEP-0060) of slixmpp_client.py."""
import asyncio
import xml.etree.ElementTree as ET

from slixmpp.exceptions import IqError
from slixmpp.plugins.xep_0059.stanza import Set
from slixmpp.plugins.xep_0060.stanza import Pubsub
from slixmpp.xmlstream import register_stanza_plugin

from report import report

register_stanza_plugin(Pubsub, Set)  # the library has both and does not join them

ATOM = '{http://www.w3.org/2005/Atom}'


class Notices:
    """Reports what the service tells, and lets others wait for it."""

    def __init__(self, client):
        self.items = 0
        self.changed = asyncio.Condition()
        self.seen = set()
        client.add_event_handler('pubsub_publish', self.on_items)
        client.add_event_handler('pubsub_config', self.on_event('configuration'))
        client.add_event_handler('pubsub_delete', self.on_event('deleted', 'delete'))

    async def note(self, kind, node, id=None, **more):
        async with self.changed:
            if (kind, node, id) in self.seen and id:
                return  # the library says it once for each item of the message
            self.seen.add((kind, node, id))
            report(kind, node=node, **({'id': id} if id else {}), **more)
            self.items += kind == 'item'
            self.changed.notify_all()

    async def on_items(self, msg):
        items = msg['pubsub_event']['items']
        for item in items:
            rc = next((e for e in item.xml.iter() if e.tag.rpartition('}')[2] == 'rc'), None)
            await self.note('item', items['node'], item['id'], rc=dict(rc.attrib) if rc is not None else None)

    def on_event(self, kind, name=None):
        async def handler(msg):
            await self.note(kind, msg['pubsub_event'][name or kind]['node'])
        return handler

    async def wait(self, condition):
        async with self.changed:
            await self.changed.wait_for(condition)

    async def wait_for(self, kind, node, id=None):
        await self.wait(lambda: (kind, node, id) in self.seen)


def entry(title):
    e = ET.Element(ATOM + 'entry')
    ET.SubElement(e, ATOM + 'title').text = title
    return e


async def attempt(action, request):
    """Reports a refusal and returns whether there was none."""
    try:
        await request
        return True
    except IqError as e:
        report('refused', action=action, condition=e.condition)
        return False


async def all_items(client, service, node):
    """Reads all items by pages of two, or at once where the service knows no pages."""
    iq = client.Iq(sto=service, stype='get')
    iq['pubsub']['items']['node'] = node
    ids, pages = [], 0
    async for page in client['xep_0059'].iterate(iq, 'pubsub', results='items', amount=2):
        pages += 1
        ids += [item['id'] for item in page['pubsub']['items']]
        if not page['pubsub']['rsm']['last']:
            break
    if pages == 0:
        answer = await client['xep_0060'].get_items(service, node)
        ids, pages = [item['id'] for item in answer['pubsub']['items']], 1
    report('items', ids=ids, pages=pages)


async def own_node(client, notices, service, node):
    """Creates a node, configures it, is told so, publishes, and deletes it."""
    ps = client['xep_0060']

    async def configure(**values):
        form = (await ps.get_node_config(service, node))['pubsub_owner']['configure']['form']
        offered = set(form.get_fields())
        form['type'] = 'submit'
        form.set_values({'pubsub#' + name: value for name, value in values.items() if 'pubsub#' + name in offered})
        await ps.set_node_config(service, node, form)
        return {name for name in values if 'pubsub#' + name in offered}

    told = await configure(notify_config=True, notify_delete=True)
    await ps.subscribe(service, node)
    await configure(max_items='7')
    if 'notify_config' in told:
        await notices.wait_for('configuration', node)
    form = (await ps.get_node_config(service, node))['pubsub_owner']['configure']['form']
    report('configured', node=node, max_items=form.get_values()['pubsub#max_items'])
    await ps.publish(service, node, id='own-1', payload=entry('of our own'))
    await notices.wait_for('item', node, 'own-1')
    await ps.delete_node(service, node)
    if 'notify_delete' in told:
        await notices.wait_for('deleted', node)


async def pubsub(client, target, count):
    service, _, node = target.partition('/')
    notices = Notices(client)
    await client.started.wait()
    ps = client['xep_0060']
    await ps.subscribe(service, node)
    report('subscribed', node=node)
    await all_items(client, service, node)
    name = client.boundjid.resource
    if await attempt('publish', ps.publish(service, node, id='from-' + name, payload=entry('from ' + name))):
        report('published', id='from-' + name)
    own = f'{node}-{name}'
    if await attempt('create', ps.create_node(service, own)):
        report('created', node=own)
        await own_node(client, notices, service, own)
    report('ready')
    already = notices.items
    await notices.wait(lambda: notices.items >= already + count)

"""The round of PubSub (XEP-0060) of aioxmpp_client.py."""
import asyncio

import aioxmpp
import aioxmpp.callbacks
import aioxmpp.forms
import aioxmpp.pubsub
import aioxmpp.pubsub.xso as ps
import aioxmpp.rsm.xso as rsm
import aioxmpp.service
import aioxmpp.xso as xso

from report import report
from rc import ATTRIBUTES

ATOM = 'http://www.w3.org/2005/Atom'

ps.Request.rsm = xso.Child([rsm.ResultSetMetadata])  # the library has both and does not join them


class RC(xso.XSO):
    """<rc/> as it is in an entry: in no namespace."""
    TAG = (None, 'rc')
    UNKNOWN_CHILD_POLICY = xso.UnknownChildPolicy.DROP
    UNKNOWN_ATTR_POLICY = xso.UnknownAttrPolicy.DROP
    for name in ATTRIBUTES:
        locals()['a_' + name] = xso.Attr(name, default=None)
    del name


class AtomRC(RC):
    """<rc/> from where no declaration takes it out of the namespace of the entry."""
    TAG = (ATOM, 'rc')


@ps.as_payload_class
class Entry(xso.XSO):
    TAG = (ATOM, 'entry')
    UNKNOWN_CHILD_POLICY = xso.UnknownChildPolicy.DROP
    title = xso.ChildText((ATOM, 'title'), default=None)
    rc = xso.Child([RC, AtomRC])

    def __init__(self, title=None):
        super().__init__()
        self.title = title


class Configurations(aioxmpp.service.Service):
    """Tells of new configurations of nodes, which PubSubClient keeps to itself."""
    ORDER_BEFORE = [aioxmpp.PubSubClient]
    on_configuration = aioxmpp.callbacks.Signal()

    def derive_logger(self, logger):
        return logger  # the library's way wants a module in a package

    @aioxmpp.service.inbound_message_filter
    def filter(self, message):
        event = message.xep0060_event
        if event is not None and isinstance(event.payload, ps.EventConfiguration):
            self.on_configuration(event.payload.node)
        return message


class Notices:
    """Reports what the service tells, and lets others wait for it."""

    def __init__(self, client, pubsub):
        self.items, self.seen, self.changed = 0, set(), asyncio.Event()
        pubsub.on_item_published.connect(self.on_item)
        pubsub.on_node_deleted.connect(lambda jid, node, **_: self.tell('deleted', node))
        client.summon(Configurations).on_configuration.connect(lambda node: self.tell('configuration', node))

    def on_item(self, jid, node, item, **_):
        entry = item.registered_payload
        rc = None
        if isinstance(entry, Entry) and entry.rc is not None:
            rc = {name: value for name in ATTRIBUTES if (value := getattr(entry.rc, 'a_' + name)) is not None}
        self.items += 1
        self.tell('item', node, item.id_, rc=rc)

    def tell(self, kind, node, id=None, **more):
        self.seen.add((kind, node, id))
        report(kind, node=node, **({'id': id} if id else {}), **more)
        self.changed.set()

    async def wait(self, condition):
        while not condition():
            self.changed.clear()
            await self.changed.wait()

    async def wait_for(self, kind, node, id=None):
        await self.wait(lambda: (kind, node, id) in self.seen)


async def attempt(action, request):
    """Reports a refusal and returns whether there was none."""
    try:
        await request
        return True
    except aioxmpp.errors.XMPPError as e:
        report('refused', action=action, condition=e.condition.value[1])
        return False


async def all_items(client, service, node):
    """Reads all items by pages of two."""
    ids, pages, page = [], 0, rsm.ResultSetMetadata.limit(2)
    while True:
        request = ps.Request(ps.Items(node))
        request.rsm = page
        answer = await client.send(aioxmpp.IQ(aioxmpp.IQType.GET, to=service, payload=request))
        items = [item.id_ for item in answer.payload.items]
        pages += bool(items)
        ids += items
        if not items or answer.rsm is None or answer.rsm.last is None:
            break
        page = answer.rsm.next_page(max_=2)
    report('items', ids=ids, pages=pages)


async def own_node(pubsub, notices, service, node):
    """Creates a node, configures it, is told so, publishes, and deletes it."""
    async def configure(**values):
        data = await pubsub.get_node_config(service, node)
        offered = {field.var: field for field in data.fields}
        form = aioxmpp.forms.Data(aioxmpp.forms.DataType.SUBMIT)
        form.fields.append(offered['FORM_TYPE'])
        told = set()
        for name, value in values.items():
            if 'pubsub#' + name in offered:
                form.fields.append(aioxmpp.forms.Field(var='pubsub#' + name, values=[value]))
                told.add(name)
        await pubsub.set_node_config(service, form, node)
        return told

    told = await configure(notify_config='1', notify_delete='1')
    await pubsub.subscribe(service, node)
    await configure(max_items='7')
    if 'notify_config' in told:
        await notices.wait_for('configuration', node)
    data = await pubsub.get_node_config(service, node)
    report('configured', node=node, max_items=next(f.values[0] for f in data.fields if f.var == 'pubsub#max_items'))
    await pubsub.publish(service, node, Entry('of our own'), id_='own-1')
    await notices.wait_for('item', node, 'own-1')
    await pubsub.delete(service, node)
    if 'notify_delete' in told:
        await notices.wait_for('deleted', node)


async def pubsub(c, target, count):
    service, _, node = target.partition('/')
    service = aioxmpp.JID.fromstr(service)
    client = c.client.summon(aioxmpp.PubSubClient)
    notices = Notices(c.client, client)
    async with c.client.connected():
        await client.subscribe(service, node)
        report('subscribed', node=node)
        await all_items(c.client, service, node)
        name = c.client.local_jid.resource
        if await attempt('publish', client.publish(service, node, Entry('from ' + name), id_='from-' + name)):
            report('published', id='from-' + name)
        own = f'{node}-{name}'
        if await attempt('create', client.create(service, own)):
            report('created', node=own)
            await own_node(client, notices, service, own)
        report('ready')
        already = notices.items
        await notices.wait(lambda: notices.items >= already + count)

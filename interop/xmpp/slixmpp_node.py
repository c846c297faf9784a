"""A reader of a node over lost connections, of slixmpp_client.py; and one who asks what it is told to."""
import asyncio
import xml.etree.ElementTree as ET

from slixmpp.exceptions import IqError, IqTimeout
from slixmpp.xmlstream.handler import Callback
from slixmpp.xmlstream.matcher import MatchXPath

from report import report

PUBSUB = '{http://jabber.org/protocol/pubsub}'
EVENT = '{http://jabber.org/protocol/pubsub#event}'
DATA = '{jabber:x:data}'
RSM = '{http://jabber.org/protocol/rsm}'
AGAIN = 0.3  # seconds between two attempts while the service is not there


class Node:
    """Follows a node. Whenever a session begins it subscribes and retrieves what is behind the last item it has seen; what is
    told meanwhile it looks at afterwards. It reports all that comes, also what comes again, and what is told of other nodes. By the
    resource digests it asks for digests."""

    def __init__(self, client, target, count):
        self.client, self.left = client, count
        self.service, _, self.node = target.partition('/')
        self.last, self.seen = '', set()
        self.held = []  # what is told while items are retrieved; None when they have been
        self.catching = None
        self.done = asyncio.Event()
        client.add_event_handler('session_start', self.on_start)
        client.add_event_handler('disconnected', self.on_disconnected)
        client.register_handler(Callback('node', MatchXPath('{jabber:client}message/%sevent' % EVENT), self.on_message))

    def on_start(self, _):
        self.held = []
        if self.catching:
            self.catching.cancel()
        self.catching = asyncio.ensure_future(self.catch_up())

    def on_disconnected(self, _):
        if not self.done.is_set():
            report('offline')
            self.client.loop.call_later(0.2, self.client.connect, self.client.host)

    async def ask(self, stype, *children):
        """Asks until the service answers with a result."""
        while True:
            iq = self.client.Iq(sto=self.service, stype=stype)
            iq.xml.append(element(PUBSUB + 'pubsub', *children))
            try:
                return (await iq.send(timeout=5)).xml.find(PUBSUB + 'pubsub')
            except IqError as e:
                if e.condition in ('forbidden', 'not-allowed', 'item-not-found', 'closed-node'):
                    report('refused', action=children[0].tag.rpartition('}')[2], condition=e.condition)
                    raise
                report('waiting', condition=e.condition)
            except IqTimeout:
                report('waiting', condition='timeout')
            await asyncio.sleep(AGAIN)

    async def catch_up(self):
        bare = self.client.boundjid.bare
        options = []
        if self.client.boundjid.resource == 'digests':
            field = element(DATA + 'field', element(DATA + 'value', text='1'), var='pubsub#digest')
            options = [element(PUBSUB + 'options', element(DATA + 'x', field, type='submit'))]
        await self.ask('set', element(PUBSUB + 'subscribe', node=self.node, jid=bare), *options)
        while True:
            page = element(RSM + 'set', element(RSM + 'max', text='50'))
            if self.last:
                page.append(element(RSM + 'after', text=self.last))
            items = (await self.ask('get', element(PUBSUB + 'items', node=self.node), page)).find(PUBSUB + 'items')
            items = items.findall(PUBSUB + 'item')
            for item in items:
                self.show(item, archive=True)
            if not items:
                break
        report('subscribed', node=self.node)
        held, self.held = self.held, None
        for item, of in held:
            self.show(item, of=of)

    def on_message(self, message):
        event = message.xml.find(EVENT + 'event')
        for what in event:
            name = what.tag[len(EVENT):]
            if name == 'items' and what.get('node') != self.node:
                for item in what.findall(EVENT + 'item'):
                    report('item', node=what.get('node'), id=item.get('id'))
            elif name == 'items':
                items = what.findall(EVENT + 'item')
                for item in items:
                    if self.held is None:
                        self.show(item, of=len(items))
                    else:
                        self.held.append((item, len(items)))
            elif name == 'subscription':
                report('subscription', node=what.get('node'), condition=what.get('subscription'))
            else:
                report({'delete': 'deleted'}.get(name, name), node=what.get('node'))

    def show(self, item, archive=False, of=1):
        rc = next((dict(e.attrib) for e in item.iter() if e.tag.rpartition('}')[2] == 'rc'), None)
        id = item.get('id')
        report('item', node=self.node, id=id, rc=rc, archive=archive, of=of)
        if id not in self.seen:
            self.seen.add(id)
            self.last = id
            self.left -= 1
            if self.left == 0:
                self.done.set()


def element(name, *children, text=None, **attributes):
    e = ET.Element(name, attributes)
    e.text = text
    e.extend(children)
    return e


async def node(client, target, count):
    await Node(client, target, count).done.wait()


async def ask(client, lines):
    """Sends each line, TYPE TO PAYLOAD, as an IQ, and reports the answer."""
    await client.started.wait()
    async for line in lines:
        stype, to, payload = line.split(' ', 2)
        iq = client.Iq(sto=to, stype=stype)
        iq.xml.append(ET.fromstring(payload))
        try:
            answer = (await iq.send(timeout=60)).xml
            report('answer', xml=ET.tostring(answer, encoding='unicode'))
        except IqError as e:
            report('answer', condition=e.condition)
        except IqTimeout:
            report('answer', condition='timeout')

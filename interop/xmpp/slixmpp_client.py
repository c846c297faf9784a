#!/usr/bin/python3
"""slixmpp reads a room or a node and says in JSON lines what it sees; see README.md beside this file.

    slixmpp_client.py room   HOST PORT JID PASSWORD ROOM COUNT
    slixmpp_client.py login  HOST PORT JID PASSWORD
    slixmpp_client.py pubsub HOST PORT JID PASSWORD SERVICE/NODE COUNT
    slixmpp_client.py visit  HOST PORT JID PASSWORD ROOM COUNT
    slixmpp_client.py node   HOST PORT JID PASSWORD SERVICE/NODE COUNT
    slixmpp_client.py speak  HOST PORT JID PASSWORD ROOM
    slixmpp_client.py feed   HOST PORT JID PASSWORD SERVICE/NODE
    slixmpp_client.py ask    HOST PORT JID PASSWORD
    slixmpp_client.py bookmark HOST PORT JID PASSWORD ROOM

visit is room for a service that may be away while the server is not: it asks whether it is still there (XEP-0410). node follows a
node over lost connections. What is below it is not tried but helps to try: speak says each line of standard
input, which is an element, in the room, with its text as the body if it is not <rc/>; feed publishes it at the node, which it
creates, as the item whose id stands before it; ask sends it to the address that stands before it, behind get or set. bookmark
makes other clients of the account join the room by themselves (XEP-0048 in XEP-0049).
"""
import asyncio
import os
import ssl
import sys
import xml.etree.ElementTree as ET
from xml.sax.saxutils import unescape

import slixmpp
from slixmpp.exceptions import IqError, IqTimeout, PresenceError

from report import report

SID = '{urn:xmpp:sid:0}stanza-id'
RC = ('{jabber:client}rc', 'rc')


def rc_of(element):
    """The attributes of an <rc/> below the element."""
    for e in element.iter():
        if e.tag in RC:
            return dict(e.attrib)
    return None


class Client(slixmpp.ClientXMPP):
    def __init__(self, jid, password, resume=False):
        super().__init__(jid, password)
        # The certificate is self-signed.
        self.ssl_context.check_hostname = False
        self.ssl_context.verify_mode = ssl.CERT_NONE
        for plugin in 'xep_0030', 'xep_0045', 'xep_0059', 'xep_0060', 'xep_0199', 'xep_0203', 'xep_0313', 'xep_0359':
            self.register_plugin(plugin)
        if resume:
            self.register_plugin('xep_0198')
        # It tries each mechanism in turn, and where a password is wrong goes on to be anonymous.
        self['feature_mechanisms'].min_mech = 'LOGIN'
        self.condition = ''
        self.patient = False  # once it was in, a refusal is the server's beginning
        self.started = asyncio.Event()
        self.add_event_handler('session_start', self.on_start)
        self.add_event_handler('session_resumed', lambda _: report('resumed'))
        self.add_event_handler('failed_auth', self.on_failed_auth)
        self.add_event_handler('failed_all_auth', self.on_failed_all_auth)
        self.add_event_handler('stream_error', lambda e: report('closed', condition=e['condition']))

    def login(self, host, port):
        self.host = (host, int(port))
        self.connect(self.host)

    def on_start(self, _):
        self.send_presence()
        mech = self['feature_mechanisms'].mech
        report('online', mechanism=mech.name if mech else '', tls='starttls' in self.features, jid=str(self.boundjid))
        self.started.set()

    def on_failed_auth(self, failure):
        self.condition = failure['condition']

    def on_failed_all_auth(self, _):
        if self.patient and self.started.is_set():
            report('waiting', condition=self.condition)
            return
        report('error', condition=self.condition)
        os._exit(1)


class Room:
    """Follows a room, over connections that are cut: what came while it was away is asked of the archive."""

    def __init__(self, client, room, count):
        self.client, self.room, self.left = client, room, count
        self.last, self.seen = '', set()
        self.held = None  # what comes live while the archive is read
        self.done = asyncio.Event()
        client.add_event_handler('session_start', self.on_start)
        client.add_event_handler('groupchat_message', lambda m: self.message(m.xml))
        client.add_event_handler('disconnected', self.on_disconnected)

    async def on_start(self, _):
        if self.last:
            self.held = []
        try:
            await self.client['xep_0045'].join_muc_wait(self.room, self.client.boundjid.resource, maxstanzas=0)
        except PresenceError as e:
            self.refused(e)
        if self.held is not None:
            await self.catch_up()
        report('joined', room=self.room)

    def refused(self, error):
        report('error', condition=error.condition)
        os._exit(1)

    def missed(self, error):
        report('gap', condition=error.condition)

    async def catch_up(self):
        """Reads what the archive of the room has after the last message that was seen (XEP-0313), and then what came meanwhile."""
        try:
            async for result in self.client['xep_0313'].iterate(slixmpp.JID(self.room), rsm={'after': self.last, 'max': 20}):
                result = result['mam_result']
                self.show(result['forwarded'].xml.find('{jabber:client}message'), result['id'])
        except IqError as e:
            self.missed(e)
        held, self.held = self.held, None
        for message in held:
            self.message(message)

    def message(self, message):
        if self.held is not None:
            self.held.append(message)
            return
        ids = [sid.get('id') for sid in message.iter(SID) if sid.get('by') == self.room]
        if not ids or ids[0] not in self.seen:
            self.show(message, *ids)

    def show(self, message, id=None):
        body, rc = message.find('{jabber:client}body'), rc_of(message)
        if body is None and rc is None:
            return
        if id:
            self.seen.add(id)
            self.last = id
        report('message', **{'from': message.get('from'), 'body': body.text if body is not None else None, 'rc': rc, 'stanza_id': id,
                             'archive': self.held is not None})
        self.left -= 1
        if self.left == 0:
            self.done.set()

    def on_disconnected(self, _):
        if not self.done.is_set():
            report('offline')
            self.client.loop.call_later(0.2, self.client.connect, self.client.host)


class Visitor(Room):
    """Follows a room whose service may go away: it pings itself there (XEP-0410), and enters again where it is not any more."""
    EVERY = 0.5  # seconds

    def __init__(self, client, room, count):
        super().__init__(client, room, count)
        self.entering = None

    def refused(self, error):
        raise error

    missed = refused

    async def on_start(self, _):
        if self.entering:
            self.entering.cancel()
        self.entering = asyncio.ensure_future(self.stay())

    async def stay(self):
        there = False
        while True:
            try:
                if there:
                    await self.client['xep_0199'].send_ping(f'{self.room}/{self.client.boundjid.resource}', timeout=3)
                else:
                    await asyncio.wait_for(super().on_start(None), 10)
                    there = True
            except (IqError, IqTimeout, PresenceError, asyncio.TimeoutError) as e:
                condition = getattr(e, 'condition', 'timeout')
                there = there and condition not in ('not-acceptable', 'item-not-found')
                report('waiting', condition=condition)
            await asyncio.sleep(self.EVERY)


async def room(client, target, count, kind=Room):
    reader = kind(client, target, count)
    await reader.done.wait()


async def login(client):
    await client.started.wait()


async def speak(client, target):
    await client.started.wait()
    await client['xep_0045'].join_muc_wait(target, 'speaker', maxstanzas=0)
    report('joined', room=target)
    async for line in lines():
        message = client.make_message(mto=target, mtype='groupchat')
        element = ET.fromstring(line)
        message['body'] = element.text or element.get('comment') or element.get('title')
        if element.tag == 'rc':
            element.tag = '{jabber:client}rc'
            element.text = None
            message.append(element)
        message.send()


async def bookmark(client, target):
    await client.started.wait()
    iq = client.make_iq_set()
    query = ET.SubElement(iq.xml, '{jabber:iq:private}query')
    storage = ET.SubElement(query, '{storage:bookmarks}storage')
    conference = ET.SubElement(storage, '{storage:bookmarks}conference', jid=target, autojoin='1', name=target)
    ET.SubElement(conference, '{storage:bookmarks}nick').text = client.boundjid.user
    await iq.send()
    report('bookmarked', room=target)


async def feed(client, target):
    service, _, node = target.partition('/')
    await client.started.wait()
    try:
        await client['xep_0060'].create_node(service, node)
    except IqError as e:
        if e.condition != 'conflict':
            raise
    report('created', node=node)
    async for line in lines():
        id, _, entry = line.partition(' ')
        await client['xep_0060'].publish(service, node, id=id, payload=ET.fromstring(entry))
        report('published', id=id)


async def lines():
    reader = asyncio.StreamReader(limit=1 << 20)
    await asyncio.get_running_loop().connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin)
    while line := await reader.readline():
        yield line.decode()


async def main():
    mode, host, port, jid, password, *rest = sys.argv[1:]
    client = Client(jid, password, resume=mode == 'room')
    client.patient = mode in ('visit', 'node')
    client.login(host, port)
    if mode == 'pubsub':
        from slixmpp_pubsub import pubsub
        await pubsub(client, rest[0], int(rest[1]))
    elif mode == 'node':
        from slixmpp_node import node
        await node(client, rest[0], int(rest[1]))
    elif mode == 'ask':
        from slixmpp_node import ask
        await ask(client, lines())
    elif mode == 'room':
        await room(client, rest[0], int(rest[1]))
    elif mode == 'visit':
        await room(client, rest[0], int(rest[1]), Visitor)
    else:
        await {'login': login, 'speak': speak, 'feed': feed, 'bookmark': bookmark}[mode](client, *rest)
    client.disconnect()
    await client.disconnected


asyncio.get_event_loop().run_until_complete(main())

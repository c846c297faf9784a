#!/usr/bin/python3
"""aioxmpp reads a room or a node and says in JSON lines what it sees; see README.md beside this file.

    aioxmpp_client.py room   HOST PORT JID PASSWORD ROOM COUNT
    aioxmpp_client.py login  HOST PORT JID PASSWORD
    aioxmpp_client.py pubsub HOST PORT JID PASSWORD SERVICE/NODE COUNT
"""
import asyncio
import os
import sys
from datetime import timedelta

from rc import ATTRIBUTES
from report import report

import aiosasl
import aioxmpp
import aioxmpp.sasl
import aioxmpp.xso as xso
from aioxmpp.connector import STARTTLSConnector


class RC(xso.XSO):
    """<rc/> as it is in a message: without a namespace of its own, and so in that of the stream."""
    TAG = ('jabber:client', 'rc')
    UNKNOWN_CHILD_POLICY = xso.UnknownChildPolicy.DROP
    UNKNOWN_ATTR_POLICY = xso.UnknownAttrPolicy.DROP
    for name in ATTRIBUTES:
        locals()['a_' + name] = xso.Attr(name, default=None)
    del name

    def attributes(self):
        return {name: value for name in ATTRIBUTES if (value := getattr(self, 'a_' + name)) is not None}


aioxmpp.Message.rc = xso.Child([RC])


class Client:
    def __init__(self, host, port, jid, password):
        self.mechanism, self.tls, self.condition, self.suspended = '', False, None, False
        self.client = aioxmpp.PresenceManagedClient(
            aioxmpp.JID.fromstr(jid), aioxmpp.make_security_layer(password, no_verify=True),
            override_peer=[(host, int(port), STARTTLSConnector())])
        self.client.backoff_start = timedelta(seconds=0.2)
        self.client.backoff_cap = timedelta(seconds=1)
        self.client.on_stream_established.connect(self.on_established)
        self.client.on_stream_resumed.connect(self.on_resumed)
        self.client.on_stream_suspended.connect(self.on_suspended)
        self.client.on_failure.connect(self.on_failure)
        client, exchange = self, aioxmpp.sasl.SASLXMPPInterface._send_sasl_node_and_wait_for

        async def noted(self, node):
            client.mechanism = getattr(node, 'mechanism', client.mechanism)
            client.tls = self.xmlstream.transport.get_extra_info('ssl_object') is not None
            try:
                return await exchange(self, node)
            except aiosasl.SASLFailure as e:
                client.condition = e.opaque_error
                raise
        aioxmpp.sasl.SASLXMPPInterface._send_sasl_node_and_wait_for = noted

    def on_suspended(self, _):
        self.suspended = True
        report('offline')

    def on_resumed(self):
        # It is called for a new session too.
        if self.suspended:
            report('resumed')
        self.suspended = False

    def on_established(self):
        self.suspended = False
        report('online', mechanism=self.mechanism, tls=self.tls, jid=str(self.client.local_jid))

    def on_failure(self, error):
        # It asks for another password, gets none, and gives that as the reason.
        condition = self.condition or str(error)
        report('error', condition=condition[1] if isinstance(condition, tuple) else str(condition))
        os._exit(1)


async def room(c, address, count):
    muc = c.client.summon(aioxmpp.MUCClient)
    done = asyncio.Event()
    left = count

    def on_message(message, member, source, **_):
        nonlocal left
        if not message.body and message.rc is None:
            return
        # When it joins again by itself, it asks for the history.
        if any(str(delay.from_) == address for delay in message.xep0203_delay):
            return
        report('message', **{'from': str(message.from_), 'body': message.body.any() if message.body else None,
                             'rc': message.rc.attributes() if message.rc else None,
                             'stanza_id': next((s.id_ for s in message.xep0359_stanza_ids if str(s.by) == address), None)})
        left -= 1
        if left == 0:
            done.set()

    def on_exit(*, muc_leave_mode=None, **_):
        report('left', mode=str(muc_leave_mode))

    async with c.client.connected():
        joined, entered = muc.join(aioxmpp.JID.fromstr(address), c.client.local_jid.resource, history=aioxmpp.muc.xso.History(maxstanzas=0))
        joined.on_message.connect(on_message)
        joined.on_enter.connect(lambda *_, **__: report('joined', room=address))
        joined.on_exit.connect(on_exit)
        await entered
        await done.wait()


async def login(c):
    async with c.client.connected():
        pass


async def main():
    mode, host, port, jid, password, *rest = sys.argv[1:]
    c = Client(host, port, jid, password)
    if mode == 'pubsub':
        from aioxmpp_pubsub import pubsub
        await pubsub(c, rest[0], int(rest[1]))
    elif mode == 'room':
        await room(c, rest[0], int(rest[1]))
    else:
        await login(c)


asyncio.run(main())

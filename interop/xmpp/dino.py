#!/usr/bin/python3
"""Reads and writes the database of Dino, a desktop client; see README.md beside this file.

    dino.py made     FILE                      fails as long as the database is not complete
    dino.py prepare  FILE JID PASSWORD ROOM    an account, and a room that it is in
    dino.py services FILE                      the identities of all it has asked: JID, category, type and name
    dino.py messages FILE                      the bodies of all messages

Dino has made the database by starting once.
"""
import json
import sqlite3
import sys

GROUPCHAT = 1

command, file, *rest = sys.argv[1:]
db = sqlite3.connect(file, timeout=10)
if command == 'prepare':
    jid, password, room = rest
    bare, _, resource = jid.partition('/')
    with db:
        account = db.execute('INSERT INTO account (bare_jid, resourcepart, password, alias, enabled, roster_version, mam_earliest_synced) '
                             "VALUES (?, ?, ?, '', 1, '', -1)", (bare, resource, password)).lastrowid
        room_id = db.execute('INSERT INTO jid (bare_jid) VALUES (?)', (room,)).lastrowid
        db.execute('INSERT INTO conversation (account_id, jid_id, active, active_last_changed, last_active, type, encryption, notification, send_typing, '
                   'send_marker) VALUES (?, ?, 1, 1, 1, ?, 0, 0, 0, 0)', (account, room_id, GROUPCHAT))
elif command == 'services':
    for row in db.execute('SELECT j.bare_jid, i.category, i.type, i.name FROM entity_identity i JOIN entity e ON e.caps_hash = i.entity '
                          'JOIN jid j ON j.id = e.jid_id'):
        print(json.dumps(row))
elif command == 'messages':
    for body, in db.execute('SELECT body FROM message ORDER BY id'):
        print(json.dumps(body))

package main

// What the commands print for --help. Written by hand, because a person reads it.

const overview = `Tidings pushes changes to everyone who asked for them, in the protocol they already speak.

Usage:
  tidings COMMAND [FLAGS] [ARGUMENTS]

Commands:
  serve          run the server
  tail           print events as they come
  diff           compare what two servers send
  publish        publish an event
  poll           ask a wiki for its changes and send them over UDP
  topics         list the topics
  status         show how the server is
  token          create, list and revoke tokens
  user           add, change, remove and list XMPP accounts
  config check   check a configuration and print what it comes to
  version        print the version
  help COMMAND   explain a command

Try it:
  tidings serve --demo
  tidings tail '/recentchange/**'
`

const serveUsage = `Usage: tidings serve [FLAGS]

Runs the server until it is interrupted. Without flags it listens on loopback only and needs no other service. When all is
up it prints one line that begins with "ready" and has the addresses.

Flags:
  --config FILE             read this TOML file
  --data DIR                keep the journal and the admin token here (default tidings-data)
  --http ADDR               listen here for HTTP (default 127.0.0.1:8080), or "off"
  --udp ADDR                listen here for MediaWiki's change feeds (default 127.0.0.1:4455), or "off"
  --irc ADDR                listen here for IRC clients (default 127.0.0.1:6667), or "off"
  --xmpp ADDR               listen here for XMPP clients (default 127.0.0.1:5222), or "off"
  --domain NAME             the service's name, as in XMPP addresses (default localhost)
  --demo                    make up changes, so that there is something to see
  --demo-rate N             as many a second
  --durability MODE         fsync: on disk before acknowledged (default); interval: some time later
  --log-level LEVEL         debug, info, warn or error

Examples:
  tidings serve --demo
  tidings serve --data /var/lib/tidings --http 127.0.0.1:8000 --udp off
`

const tailUsage = `Usage: tidings tail [FLAGS] [PATTERN|URL ...]

Prints events as they come, until it is interrupted. A PATTERN is a topic with globs: * ? [abc] match within a segment, **
matches any number of segments; without one it is /**, every topic. A URL is one of

  http://HOST/PATH          a stream of Server-Sent Events: /subscribe, /topics/…, an EventStreams; or https
  ws://HOST/PATH            a WebSocket, such as /subscribe?topic=PATTERN; or wss
  xmpp://HOST/ROOM@DOMAIN   a room of an XMPP server, such as en.wikipedia.org@conference.localhost; xmpps for TLS from the first
                            byte; USER:PASSWORD@ before HOST, without which the login is anonymous
  xmpp://HOST/SERVICE?;node=NODE   a node of a PubSub service, such as pubsub.localhost?;node=/news/local; of a Tidings server NODE
                            may be a PATTERN. Without SERVICE it is the one that the server says it has
  irc://HOST/CHANNEL,...    channels of an IRC server, with or without their #; ircs for TLS; NICK:PASSWORD@ before HOST
  sio://HOST/rc?subscribe=WIKI&subscribe=...   RCStream, which is Socket.IO 0.9: a host, an id or a wildcard; sios for TLS
  sio4://HOST/?topic=PATTERN&topic=...         Socket.IO 4, with a filter as /subscribe has it; or /rc?subscribe=WIKI; sio4s for TLS

It reconnects by itself, goes on after the last event it has seen, and says on stderr when it does, when events were lost, and
when nobody can know: RCStream and most IRC servers keep no history, and most PubSub services no more than the newest version of
each item. A Tidings server does, in each of these protocols.

Flags:
  --from POSITION|TIME      begin behind a position such as 5f3a9c01-1042, or at a time: 2026-01-31T12:00:00Z, 2026-01-31,
                            or as long ago as 90s, 15m, 24h (default: now); sio takes a position only
  --filter FIELD=VALUE      only events whose payload has that value; again for another field, or another value of the same
  --filter EXPRESSION       only events for which it is true; see the second example
  --node NODE               the node, where the xmpp:// address names none
  --password-file FILE      the password of the account in the xmpp:// address is the first line of FILE
  --format line|json|raw    a line for a person (default), the event with its envelope as one line of JSON, or the payload
  --limit N                 stop after N events
  --server URL              default $TIDINGS_SERVER, else http://127.0.0.1:8080
  --token TOKEN             for private topics (default $TIDINGS_TOKEN)

Examples:
  tidings tail '/recentchange/*.wikipedia.org' --filter type=edit --filter bot=false
  tidings tail --filter '!bot && length.new - length.old < -500' '/recentchange/*'
  tidings tail --from 1h --format json /news/local | jq .data
  tidings tail http://127.0.0.1:8080/v2/stream/recentchange
  tidings tail xmpp://localhost/en.wikipedia.org@conference.localhost --filter bot=false
  tidings tail 'xmpp://localhost/pubsub.localhost?;node=/recentchange/*.wikipedia.org'
  tidings tail --password-file ann.password --node princely_musings xmpp://ann@example.org/pubsub.example.org
  tidings tail irc://127.0.0.1/en.wikipedia,de.wikipedia
  tidings tail 'ws://127.0.0.1:8080/subscribe?topic=/news/**' 'sio://127.0.0.1:8080/rc?subscribe=*.wikipedia.org'
`

const diffUsage = `Usage: tidings diff [FLAGS] A B

Reads two servers at once and prints what one of them sent and the other did not: what to run for a while before switching from
one to the other. A and B are what tidings tail takes, in any two protocols. Changes are the same if their wiki and rcid are, or,
where a protocol does not tell the rcid, their revision and title; log entries on IRC have neither and are counted by their
action and user. What is no change is compared by its content.

What one server sent waits for the other for the grace period; what comes after it is late. The first grace period, and what was
sent while a connection was lost for good, are not judged. The last line is the summary. The exit code is 1 if the servers
differ.

Flags:
  --for DURATION            compare for so long, such as 5m (default: until it is interrupted), and wait --grace for the rest
  --grace DURATION          how much later the other server may be (default 30s)
  --wiki WIKI               only changes of this one, by its id or host, such as enwiki or en.wikipedia.org
  --from TIME               begin in the past, as of tidings tail, where both servers keep it
  --format line|json        default line
  --server URL              for a PATTERN; default $TIDINGS_SERVER, else http://127.0.0.1:8080
  --token TOKEN             for that server (default $TIDINGS_TOKEN)

Examples:
  tidings diff --for 5m https://stream.wikimedia.org/v2/stream/recentchange http://127.0.0.1:8080/v2/stream/recentchange
  tidings diff --wiki enwiki irc://irc.wikimedia.org/en.wikipedia irc://127.0.0.1/en.wikipedia
  tidings diff --from 1h --for 1m http://10.0.0.1:8080/subscribe?topic=/** http://127.0.0.1:8080/subscribe?topic=/**
`

const publishUsage = `Usage: tidings publish [FLAGS] TOPIC|URL [DATA|-|@FILE]

Publishes DATA, the content of FILE, or what stdin has (-, or nothing) on TOPIC, and prints the event's position once it is
stored for good. A URL is that of a node of any PubSub service, for which an account is needed; the item's ID is printed then:

  xmpp://USER[:PASSWORD]@HOST[/SERVICE]?;node=NODE

In PubSub JSON is an element json, XML is itself, and all else is the content of an Atom entry.

Flags:
  --type TYPE               the media type (default: application/json if DATA is JSON, else text/plain)
  --id ID                   the item's name in its topic; publishing an ID again is a new version of that item
  --key KEY                 the same KEY is the same event and is stored once, so that a repeat is harmless
                            (over XMPP, the ID of an item that is given none)
  --lines                   every line of stdin, or of FILE, that is not blank is an event of its own
  --node NODE               the node, where the xmpp:// address names none
  --option FIELD=VALUE      only if the node is configured like that, or is made so: access_model=open; again for another field
  --password-file FILE      the password of the account in the xmpp:// address is the first line of FILE
  --server URL              default $TIDINGS_SERVER, else http://127.0.0.1:8080
  --token TOKEN             default $TIDINGS_TOKEN, else the admin token of a server on this machine
  --data DIR                where that is: DIR/admin.token (default tidings-data)

Examples:
  tidings publish /news/local 'Bridge closed'
  tidings publish /sensors/attic --id temperature '{"celsius": 19.5}'
  tail -F access.log | tidings publish --lines /logs/web
  tidings publish --password-file ann.password --node garden --id roses xmpp://ann@localhost '{"water": true}'
`

const pollUsage = `Usage: tidings poll [FLAGS] --to udp://HOST:PORT API_URL

Asks a wiki that sends no feed for its changes, again and again, and sends each of them once as the element <rc> with the id
of the wiki in its attribute wikiid, in a datagram of its own: what the extension XMLRC sends. A server that polls for itself has
[[poll]] in its configuration and needs no other process.

Flags:
  --to udp://HOST:PORT      where to send the changes
  --interval DURATION       ask this often (default 10s, at least 1s)
  --overlap DURATION        begin each time so far behind the newest change, for those that become visible late (default 30s)
  --late DURATION           now and then begin so far behind it (default 5m)
  --since DURATION          begin with the changes of as long ago (default: now)
  --state FILE              write the position down here, and go on from it after a restart
  --contact ADDRESS         whom the wiki's operators can write to; part of the User-Agent
  --log-level LEVEL         debug, info (default), warn or error

Example:
  tidings poll https://wiki.example.org/w/api.php --to udp://127.0.0.1:4455 --contact ops@example.org
`

const topicsUsage = `Usage: tidings topics [FLAGS] [PATTERN]

Lists the topics that have events and match PATTERN, with the number of events that are kept.

Flags:
  --format table|json       default table
  --server URL              default $TIDINGS_SERVER, else http://127.0.0.1:8080
  --token TOKEN             for private topics (default $TIDINGS_TOKEN)

Example:
  tidings topics '/recentchange/*.org'
`

const statusUsage = `Usage: tidings status [FLAGS]

Shows the figures of a running server.

Flags:
  --format table|json       default table
  --server URL              default $TIDINGS_SERVER, else http://127.0.0.1:8080
  --token TOKEN             default $TIDINGS_TOKEN

Example:
  tidings status --format json
`

const tokenUsage = `Usage: tidings token create [FLAGS] NAME SCOPE ...
       tidings token list [FLAGS]
       tidings token revoke [FLAGS] ID ...

Creates, lists and revokes tokens. A SCOPE is an action and the topics it is for: publish:/news/**, read:/private/**. A new
token is printed once and cannot be shown again. Revoking one ends the streams that were opened with it.

Flags:
  --ttl DURATION            of create: how long the token is good for, such as 720h (default: until it is revoked)
  --format table|json       of list and create (default table)
  --server URL              default $TIDINGS_SERVER, else http://127.0.0.1:8080
  --token TOKEN             an admin token (default $TIDINGS_TOKEN, else that of a server on this machine)
  --data DIR                where that is: DIR/admin.token (default tidings-data)

Examples:
  tidings token create newsroom 'publish:/news/**'
  tidings token list
  tidings token revoke 3f9c
`

const userUsage = `Usage: tidings user add [FLAGS] NAME
       tidings user passwd [FLAGS] NAME
       tidings user del [FLAGS] NAME ...
       tidings user list [FLAGS]

Adds an account of the XMPP server, gives it another password, removes accounts, or lists them. NAME is the part of the address
before the @. The password is typed at the terminal, or is the first line of stdin or of a file; the server keeps keys made from it
and not the password. Changing it, or removing the account, ends its sessions.

A running server is asked to do it. If none runs on this machine, it is done in the data directory.

Flags:
  --password-file FILE      of add and passwd: the password is the first line of FILE
  --format table|json       of add and list (default table)
  --server URL              default $TIDINGS_SERVER, else http://127.0.0.1:8080
  --token TOKEN             an admin token (default $TIDINGS_TOKEN, else that of a server on this machine)
  --data DIR                where that is: DIR/admin.token (default tidings-data, or that of the configuration)
  --config FILE             the configuration of the server, where it is not running

Examples:
  tidings user add alice
  head -c 18 /dev/urandom | base64 | tee alice.password | tidings user add alice
  tidings user passwd --password-file alice.password alice
  tidings user del alice bob
`

const configUsage = `Usage: tidings config check [FILE]

Checks FILE, or the defaults without one, with what the environment sets, and prints the values that a server would use. A
mistake is told with its line.

Example:
  tidings config check tidings.toml
`

const versionUsage = `Usage: tidings version

Prints the version, and what it was built with.
`

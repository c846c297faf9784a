#!/usr/bin/ruby
# xmpp4r reads a room or a node and says in JSON lines what it sees; see README.md beside this file.
#
#     xmpp4r_client.rb room   HOST PORT JID PASSWORD ROOM COUNT
#     xmpp4r_client.rb login  HOST PORT JID PASSWORD
#     xmpp4r_client.rb pubsub HOST PORT JID PASSWORD SERVICE/NODE COUNT
#
# The library is of 2008 to 2014: it knows DIGEST-MD5, PLAIN and ANONYMOUS, and of TLS only STARTTLS.
require 'json'
require 'xmpp4r'
require 'xmpp4r/muc'

Thread.abort_on_exception = true

# Since Ruby 3.1 the buffers of TLS are binary, and the library's parser stops at the first character that is not ASCII.
class Jabber::Connection::SSLSocketUTF8
  def readline(*) = super.force_encoding(Encoding::UTF_8)
end

# The parser of the stream before TLS must have ended when the handshake begins: it takes what was meant for that.
class Jabber::Stream
  def stop
    @parser_thread.kill.join
    @parser = nil
  end
end

# The lines of one program come from several threads.
REPORTS = Mutex.new

def report(event, more = {})
  REPORTS.synchronize do
    $stdout.puts JSON.generate({ event: event }.merge(more))
    $stdout.flush
  end
end

# Returns the client, once it is logged in, and the queue that says when it has lost its connection.
def log_in(host, port, jid, password)
  client = Jabber::Client.new(Jabber::JID.new(jid))
  events = Queue.new
  # Set before the connection is made: without it the library may wait for ever when a server hangs up.
  client.on_exception do |e, _, where|
    warn "#{where}: #{e.full_message}" if e
    events << :lost
  end
  client.connect(host, port.to_i)
  mechanism = %w[DIGEST-MD5 PLAIN].find { |m| client.instance_variable_get(:@stream_mechanisms).include?(m) }
  Thread.new do
    client.auth(password)
    events << :authenticated
  rescue Jabber::ClientAuthenticationFailure => e
    report 'error', condition: e.message
    exit! 1
  end
  raise Jabber::ServerDisconnected, 'while logging in' unless events.pop == :authenticated

  report 'online', mechanism: mechanism, tls: client.is_tls?, jid: client.jid.to_s
  [client, events]
end

def attributes(element)
  element.attributes.each_attribute.to_h { |a| [a.expanded_name, a.value] }.reject { |name, _| name == 'xmlns' } if element
end

# Joins the room again whenever the connection is lost.
def room(arguments, address, count)
  left = count
  loop do
    client, events = log_in(*arguments)
    muc = Jabber::MUC::MUCClient.new(client)
    muc.add_message_callback do |message|
      body = message.body
      rc = message.elements['rc']
      next if body.nil? && rc.nil?
      sid = message.elements.to_a('stanza-id').find { |e| e.namespace == 'urn:xmpp:sid:0' && e.attributes['by'] == address }
      report 'message', from: message.from.to_s, body: body, rc: attributes(rc), stanza_id: sid && sid.attributes['id']
      left -= 1
      exit! 0 if left.zero? # a close fails when the server is quicker
    end
    muc.join(Jabber::JID.new("#{address}/#{client.jid.resource}"), nil, history: false)
    report 'joined', room: address
    events.pop
    report 'offline'
  rescue SystemCallError, EOFError, Jabber::ServerDisconnected => e
    warn e.full_message
    sleep 0.2
  end
end

mode, *rest = ARGV
arguments = rest.shift(4)
case mode
when 'room' then room(arguments, rest[0], rest[1].to_i)
when 'login' then log_in(*arguments) and exit!(0)
when 'pubsub'
  require_relative 'xmpp4r_pubsub'
  pubsub(log_in(*arguments)[0], rest[0], rest[1].to_i)
end

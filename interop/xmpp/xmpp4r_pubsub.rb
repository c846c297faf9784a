# The round of PubSub (XEP-0060) of xmpp4r_client.rb.
require 'xmpp4r/pubsub'

RSM = 'http://jabber.org/protocol/rsm'

# Reports what the service tells, and lets others wait for it.
class Notices
  def initialize
    @mutex = Mutex.new
    @told = ConditionVariable.new
    @seen = []
  end

  def tell(kind, node, id = nil, more = {})
    @mutex.synchronize do
      report kind, { node: node, id: id }.compact.merge(more)
      @seen << [kind, node, id]
      @told.broadcast
    end
  end

  def wait(kind, node, id = nil) = await { @seen.include?([kind, node, id]) }

  # Returns when so many more items have been told.
  def more(count)
    goal = items + count
    await { items >= goal }
  end

  private

  def items = @seen.count { |kind,| kind == 'item' }

  def await(&ready)
    @mutex.synchronize { @told.wait(@mutex) until ready.call }
  end
end

def item(id, title)
  item = Jabber::PubSub::Item.new(id)
  element = item.add(REXML::Element.new('entry'))
  element.add_namespace('http://www.w3.org/2005/Atom')
  element.add_element('title').text = title
  item
end

# Reports a refusal and returns whether there was none.
def attempt(action)
  yield
  true
rescue Jabber::ServerError => e
  report 'refused', action: action, condition: e.error.error
  false
end

# Reads all items by pages of two. The library knows no pages, but lets one write them.
def all_items(client, service, node)
  ids = []
  pages = 0
  after = nil
  loop do
    iq = Jabber::Iq.new(:get, service)
    pubsub = iq.add(Jabber::PubSub::IqPubSub.new)
    pubsub.add_element('items', 'node' => node)
    set = pubsub.add_element('set', 'xmlns' => RSM)
    set.add_element('max').text = '2'
    set.add_element('after').text = after if after
    page = []
    client.send_with_id(iq) do |reply|
      reply.pubsub.first_element('items').each_element('item') { |item| page << item.attributes['id'] }
      last = reply.pubsub.first_element('set')&.first_element('last')
      after = last&.text
    end
    pages += 1 unless page.empty?
    ids.concat(page)
    break if page.empty? || after.nil?
  end
  report 'items', ids: ids, pages: pages
end

# Creates a node, configures it, is told so, publishes, and deletes it.
def own_node(helper, notices, node)
  configure = lambda do |values|
    offered = helper.get_config_from(node).form.fields.map(&:var)
    values = values.select { |name, _| offered.include?(name) }
    helper.set_config_for(node, Jabber::PubSub::OwnerNodeConfig.new(node, values))
    values.keys
  end
  tells = configure.call('pubsub#notify_config' => '1', 'pubsub#notify_delete' => '1')
  helper.subscribe_to(node)
  configure.call('pubsub#max_items' => '7')
  notices.wait('configuration', node) if tells.include?('pubsub#notify_config')
  report 'configured', node: node, max_items: helper.get_config_from(node).options['pubsub#max_items']
  helper.publish_item_to(node, item('own-1', 'of our own'))
  notices.wait('item', node, 'own-1')
  helper.delete_node(node)
  notices.wait('deleted', node) if tells.include?('pubsub#notify_delete')
end

def pubsub(client, target, count)
  service, _, node = target.partition('/')
  service = Jabber::JID.new(service)
  notices = Notices.new
  helper = Jabber::PubSub::ServiceHelper.new(client, service)
  helper.add_event_callback do |event|
    event.each_element do |told|
      name = told.attributes['node']
      case told.name
      when 'items'
        told.each_element('item') do |item|
          rc = REXML::XPath.first(item, ".//*[local-name()='rc']")
          notices.tell('item', name, item.attributes['id'], rc: attributes(rc))
        end
      when 'configuration' then notices.tell('configuration', name)
      when 'delete' then notices.tell('deleted', name)
      end
    end
  end
  client.send(Jabber::Presence.new)
  helper.subscribe_to(node)
  report 'subscribed', node: node
  all_items(client, service, node)
  name = client.jid.resource
  report 'published', id: "from-#{name}" if attempt('publish') { helper.publish_item_to(node, item("from-#{name}", "from #{name}")) }
  own = "#{node}-#{name}"
  if attempt('create') { helper.create_node(own, nil) }
    report 'created', node: own
    own_node(helper, notices, own)
  end
  report 'ready'
  notices.more(count)
  exit! 0
end

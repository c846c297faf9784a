-- Prosody with what rooms and nodes need and nothing else: no archive, no limit.
run_as_root = true
pidfile = "{{.Dir}}/prosody.pid"
data_path = "{{.Dir}}/data"
log = { warn = "{{.Dir}}/server.log" }
interfaces = { "127.0.0.1" }
local_interfaces = { "127.0.0.1" }
c2s_ports = { {{port .C2S}} }
component_ports = { {{port .Component}} }
component_interfaces = { "127.0.0.1" }
network_backend = "epoll"
-- With Nagle's algorithm each step of a login waits for a delayed acknowledgement.
network_settings = { tcp_backlog = 4096, nagle = false }
-- As doc/component.md has it: a pause after each 4,096 bytes, which is what is read otherwise, is as long as a few stanzas take.
network_default_read_size = 65536

-- mod_multicast is of this project, and for components alone.
plugin_paths = { "{{.Modules}}" }
modules_enabled = { "multicast", "roster", "saslauth", "tls", "disco", "ping", "presence", "message", "iq" }
modules_disabled = { "s2s", "offline" }
c2s_require_encryption = false
ssl = { certificate = "{{.Certificate}}", key = "{{.Key}}" }
limits = {}

VirtualHost "{{.Domain}}"
	authentication = "internal_hashed"

VirtualHost "{{.Anonymous}}"
	authentication = "anonymous"

Component "{{.Rooms}}" "muc"
	admins = { "{{.Owner}}@{{.Domain}}" }
	restrict_room_creation = false
	muc_room_locking = false
	muc_room_default_persistent = true
	muc_room_default_moderated = true
	muc_room_default_history_length = 0
	muc_room_default_presence_broadcast = { visitor = false, participant = false, moderator = false }
	muc_room_cache_size = 10000

Component "{{.PubSub}}" "pubsub"
	admins = { "{{.Owner}}@{{.Domain}}" }
{{range $domain, $secret := .Components}}
Component "{{$domain}}"
	component_secret = "{{$secret}}"
{{end}}

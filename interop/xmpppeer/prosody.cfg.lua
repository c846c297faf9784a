-- Everything is on loopback, and every file is in one directory.
run_as_root = true -- where root runs it: the directory is root's
pidfile = "{{.Dir}}/prosody.pid"
data_path = "{{.Dir}}/data"
log = { info = "{{.Dir}}/server.log" }
interfaces = { "127.0.0.1" }
local_interfaces = { "127.0.0.1" }
c2s_ports = { {{port .C2S}} }
c2s_direct_tls_ports = { {{port .DirectTLS}} }
http_ports = { {{port .HTTP}} }
http_interfaces = { "127.0.0.1" }
https_ports = {}
component_ports = { {{port .Component}} }
component_interfaces = { "127.0.0.1" }
{{with .Modules}}plugin_paths = { "{{.}}" }
{{end -}}
-- The domains are served whatever the name in the request of HTTP.
http_default_host = "{{.Domain}}"

modules_enabled = {
	"roster", "saslauth", "tls", "disco", "ping", "time", "version", "uptime", "private", "blocklist", "carbons", "pep", "bookmarks",
	"vcard4", "vcard_legacy", "smacks", "websocket", "mam", "posix", "presence", "message", "iq",
{{- if .Names}}
	"dialback", -- XEP-0220: other servers are asked who they are, because nobody has signed their certificates
{{- end}}
}
{{if .Names -}}
modules_disabled = { "offline" }
s2s_ports = { {{port .S2S}} }
s2s_interfaces = { "127.0.0.1" }
s2s_secure_auth = false
unbound = { resolvconf = false, hoststxt = false, forward = { "127.0.0.1@{{.Names}}" }, options = { ["do-not-query-localhost:"] = "no" } }
{{- else -}}
modules_disabled = { "s2s", "offline" }
{{- end}}

authentication = "internal_hashed"
c2s_require_encryption = false
allow_unencrypted_plain_auth = false
consider_websocket_secure = true
ssl = { certificate = "{{.Certificate}}", key = "{{.Key}}" }

-- Nobody is slowed down.
limits = {}
c2s_stanza_size_limit = 1024 * 1024
network_default_read_size = 65536 -- as doc/component.md has it
archive_expires_after = "never"

VirtualHost "{{.Domain}}"
	admins = { "{{.Owner}}@{{.Domain}}" }

VirtualHost "{{.Anonymous}}"
	authentication = "anonymous"
	allow_anonymous_s2s = true

{{if not (index .Components .Rooms)}}Component "{{.Rooms}}" "muc"
	modules_enabled = { "muc_mam" }
	admins = { "{{.Owner}}@{{.Domain}}" }
	name = "Rooms"
	restrict_room_creation = false
	muc_room_locking = false
	muc_room_default_public = true
	muc_room_default_history_length = 20
{{end}}
{{if not (index .Components .PubSub)}}Component "{{.PubSub}}" "pubsub"
	admins = { "{{.Owner}}@{{.Domain}}" }
	name = "PubSub"
	autocreate_on_publish = false
	pubsub_max_items = 1000
{{end}}
{{block "link" .}}
{{- range $domain, $secret := .Components}}Component "{{$domain}}"
	component_secret = "{{$secret}}"
{{end}}
{{- end}}

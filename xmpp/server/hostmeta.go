package server

import (
	"encoding/json"
	"net/http"
	"strings"

	"tidings/xmpp/xmlstream"
)

// relWebSocket names the link to a WebSocket (XEP-0156 section 3).
const relWebSocket = "urn:xmpp:alt-connections:websocket"

// HostMeta tells where the WebSocket is (XEP-0156): as XML, or as JSON where the request's path ends in .json. target is a URL,
// or a path at the host that was asked. Pages from everywhere may read it.
func (s *Server) HostMeta(target string) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		h := w.Header()
		h.Set("Access-Control-Allow-Origin", "*")
		if r.Method != http.MethodGet && r.Method != http.MethodHead {
			h.Set("Allow", "GET, HEAD")
			http.Error(w, "GET or HEAD", http.StatusMethodNotAllowed)
			return
		}
		href := target
		if strings.HasPrefix(target, "/") {
			href = "ws://" + r.Host + target
			if r.TLS != nil {
				href = "wss://" + r.Host + target
			}
			h.Set("Vary", "Host")
		}
		if strings.HasSuffix(r.URL.Path, ".json") {
			h.Set("Content-Type", "application/json")
			json.NewEncoder(w).Encode(map[string]any{"links": []map[string]string{{"rel": relWebSocket, "href": href}}})
			return
		}
		h.Set("Content-Type", "application/xrd+xml")
		b := []byte("<?xml version='1.0' encoding='utf-8'?>\n<XRD xmlns='http://docs.oasis-open.org/ns/xri/xrd-1.0'><Link rel='" + relWebSocket + "' href='")
		w.Write(append(xmlstream.AppendAttr(b, href), "'/></XRD>\n"...))
	})
}

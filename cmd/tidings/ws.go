package main

import (
	"net/http"
	"strings"

	"tidings/outlet/socketio"
	"tidings/outlet/ws"
	"tidings/websocket"
)

func (s *server) openWS() *ws.Server {
	return ws.New(ws.Options{Hub: s.hub, Edge: s.edge, Authenticate: s.authenticate, Token: s.policy.Authenticate,
		Origins: s.cfg.HTTP.CORSOrigins, MaxPatterns: s.cfg.Limits.Patterns})
}

// upgradable gives requests to read that ask for a WebSocket to socket and the others to plain.
func upgradable(socket, plain http.HandlerFunc) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		if r.Method == http.MethodGet && websocket.IsUpgrade(r) {
			socket(w, r)
			return
		}
		plain(w, r)
	}
}

// isSocketIO4 reports whether a request below /socket.io/ is one of Engine.IO, which came with Socket.IO 1 and names its
// protocol version; that of Socket.IO 0.9 is in its path.
func isSocketIO4(r *http.Request) bool {
	return strings.Trim(strings.TrimPrefix(r.URL.Path, strings.TrimSuffix(socketio.Path, "/")), "/") == "" && r.URL.Query().Has("EIO")
}

// socketIOStatus is what /status tells of Socket.IO 4.
type socketIOStatus struct {
	Sessions int64             `json:"sessions"`
	Polling  int               `json:"polling"`
	Ended    map[string]uint64 `json:"ended"`
	Dropped  map[string]uint64 `json:"dropped"`
}

package main

import (
	"net/http"

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

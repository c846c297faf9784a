package v09

import (
	"net/http"

	"tidings/websocket"
)

// socket serves the transport websocket; ss is nil for a session that is not known.
func (s *Server) socket(w http.ResponseWriter, r *http.Request, ss *session) {
	o := websocket.Options{Name: "socket.io-0.9", Origins: []string{"*"}, MaxMessage: s.opt.MaxBody, NoDeflate: true, Keepalive: []byte{}}
	if ss == nil {
		s.drops.Add("unknown-session", 1)
		s.refuse(w, r, o)
		return
	}
	h := &handler{session: ss}
	o.Handler = h
	if !websocket.IsUpgrade(r) {
		// Answered with a problem before the session is touched.
		websocket.Accept(s.opt.Edge, w, r, o)
		return
	}
	if !ss.open(socket) {
		s.drops.Add("session-taken", 1)
		s.refuse(w, r, o)
		return
	}
	c, err := websocket.Accept(s.opt.Edge, w, r, o)
	if err != nil {
		ss.end("websocket-handshake", "")
		return
	}
	h.begin(c)
}

// refuse tells the client of a WebSocket to come back with a new handshake.
func (s *Server) refuse(w http.ResponseWriter, r *http.Request, o websocket.Options) {
	o.Handler = deaf{}
	if c, err := websocket.Accept(s.opt.Edge, w, r, o); err == nil {
		c.WriteText([]byte(packetUnknown))
		c.Close(websocket.NormalClosure, "client not handshaken")
	}
}

// deaf takes no messages.
type deaf struct{}

func (deaf) Message(*websocket.Conn, bool, []byte) error { return nil }
func (deaf) Closed(*websocket.Conn, int)                 {}

// handler hears the WebSocket of a session.
type handler struct{ session *session }

// begin gives the session its connection, with the first sign of it: the return of Accept or a message.
func (h *handler) begin(c *websocket.Conn) {
	ss := h.session
	ss.mu.Lock()
	defer ss.mu.Unlock()
	if ss.ended || ss.carrier != socket || ss.ws != nil {
		if ss.ws != c {
			c.Close(websocket.NormalClosure, "")
		}
		return
	}
	ss.ws = c
	c.Write(connectFrame)
	ss.cursor = new(cursor)
	ss.att = c.Edge().Attach(ss.server.idle, ss.cursor)
}

var connectFrame = websocket.AppendText(nil, []byte(packetConnect))

// Message takes one packet.
func (h *handler) Message(c *websocket.Conn, binary bool, p []byte) error {
	h.begin(c)
	if binary {
		h.session.server.drops.Add("binary", 1)
		return &websocket.CloseError{Code: websocket.UnsupportedData, Reason: "packets are text"}
	}
	h.session.receive(socket, p)
	return nil
}

// Closed ends the session, unless another transport has taken it over.
func (h *handler) Closed(c *websocket.Conn, _ int) {
	ss := h.session
	ss.mu.Lock()
	own := ss.carrier == socket && (ss.ws == c || ss.ws == nil)
	ss.mu.Unlock()
	if own {
		ss.end("transport-close", "")
	}
}

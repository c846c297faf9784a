// Package ws pushes events over WebSockets (RFC 6455): /topics/{topic} and /subscribe, whose query parameters are those of
// the streams over HTTP.
//
// Every message, in either direction, is one JSON object in a text message. An event is the CloudEvent that a line of
// NDJSON is; it has the member specversion. What else the server says has a type without a dot:
//
//	{"type":"subscribed","id":"a","topics":["/news"],"position":"5f3a9c01-1042"}
//	{"type":"unsubscribed","id":"a","position":"5f3a9c01-1044"}
//	{"type":"gap","asked":"5f3a9c01-7","oldest":"5f3a9c01-900","position":"5f3a9c01-900"}
//	{"type":"authenticated","actor":"token:reader"}
//	{"type":"pong","id":"a"}
//	{"type":"error","request":"subscribe","id":"a","code":"invalid","status":400,"detail":"…"}
//
// The client asks with
//
//	{"type":"subscribe","id":"a","topics":["/recentchange/*"],"filter":{"wiki":"enwiki"},"after":"5f3a9c01-1042"}
//	{"type":"unsubscribe","id":"a"}
//	{"type":"authenticate","token":"…"}
//	{"type":"ping","id":"a"}
//
// A filter is an object of fields, an expression, or a list of both. after is a position and resumes behind it; since is
// a time. Subscribing with an id that is in use changes that subscription where it stands, so that nothing is missed or
// comes twice, or at the position given. The subscription of the address has the empty id. Requests are answered in
// order, and subscribed comes before the subscription's first event, except for a change: there the position tells which
// events are whose. An error leaves everything as it was; only a right that was withdrawn ends the connection.
//
// doc/websocket.md is for users.
package ws

import (
	"net/http"

	"tidings"
	"tidings/edge"
	"tidings/hub"
	"tidings/internal/problem"
	"tidings/internal/topicurl"
	"tidings/outlet"
	"tidings/websocket"
)

// Options configure a Server; the zero value of each limit means its default.
type Options struct {
	Hub  *hub.Hub
	Edge *edge.Edge
	// Authenticate returns who sends the request, or an error.
	Authenticate func(*http.Request) (tidings.Actor, error)
	// Token returns whose a token is: pages cannot send one with the handshake.
	Token func(token string) (tidings.Actor, error)
	// Origins are the web origins whose pages may connect; see websocket.Options.
	Origins []string
	// MaxPatterns bounds the patterns of one subscription (100), MaxSubscriptions the subscriptions of a connection (32).
	MaxPatterns, MaxSubscriptions int
	// MaxMessage bounds a message from the client in bytes (32 KiB).
	MaxMessage int
	// NoDeflate declines permessage-deflate.
	NoDeflate bool
}

// Server serves WebSockets.
type Server struct {
	opt   Options
	group *edge.Group // of cursors that wait for no feed
}

// New returns a Server.
func New(o Options) *Server {
	if o.MaxPatterns <= 0 {
		o.MaxPatterns = 100
	}
	if o.MaxSubscriptions <= 0 {
		o.MaxSubscriptions = 32
	}
	if o.MaxMessage <= 0 {
		o.MaxMessage = 32 << 10
	}
	return &Server{opt: o, group: o.Edge.NewGroup()}
}

// ServeTopic answers GET /topics/{topic}, which asks for an upgrade, with the events of the topic, which may be a
// pattern.
func (s *Server) ServeTopic(w http.ResponseWriter, r *http.Request) {
	p, err := topicurl.Path(r.URL.EscapedPath())
	if err != nil {
		problem.Write(w, r, err)
		return
	}
	s.serve(w, r, []string{p})
}

// ServeSubscribe answers GET /subscribe?topic=PATTERN&topic=…; without a topic the connection begins with no
// subscription.
func (s *Server) ServeSubscribe(w http.ResponseWriter, r *http.Request) {
	s.serve(w, r, r.URL.Query()["topic"])
}

// serve refuses what can be refused before the handshake, with a problem.
func (s *Server) serve(w http.ResponseWriter, r *http.Request, topics []string) {
	actor, err := s.opt.Authenticate(r)
	if err != nil {
		problem.Write(w, r, err)
		return
	}
	c := &conn{server: s}
	if actor.Kind != tidings.Anonymous {
		c.actor = &actor
	}
	f := form{deflate: !s.opt.NoDeflate && websocket.OffersDeflate(r)}
	var sub *hub.Subscription
	var req hub.Request
	if len(topics) > 0 {
		if req, err = s.request(r, topics); err == nil {
			req.Actor, req.Form = actor, f
			sub, err = outlet.Subscribe(s.opt.Hub, s.opt.Edge, req)
		}
		if err != nil {
			problem.Write(w, r, err)
			return
		}
	}
	if sub != nil {
		c.first = func(wc *websocket.Conn) {
			wc.WriteText(subscribed("", req.Query, req.After))
			c.subs = append(c.subs, &entry{sub: sub, att: outlet.Attach(wc.Edge(), sub)})
		}
	}
	wc, err := websocket.Accept(s.opt.Edge, w, r, websocket.Options{Handler: c, Origins: s.opt.Origins, MaxMessage: s.opt.MaxMessage, NoDeflate: !f.deflate})
	if err != nil {
		if sub != nil {
			sub.Close()
		}
		return // it has been answered, or nobody is there to be told
	}
	wc.Edge().Do(func() { c.open(wc) })
}

// request returns the request of the address.
func (s *Server) request(r *http.Request, topics []string) (req hub.Request, err error) {
	if req.Query.Patterns, err = outlet.Patterns(topics, s.opt.MaxPatterns); err != nil {
		return req, err
	}
	if req.Query.Filter, err = outlet.Filter(r.URL.Query()); err != nil {
		return req, err
	}
	req.After, err = outlet.After(r.Context(), s.opt.Hub, r, s.opt.Hub.Head())
	return req, err
}

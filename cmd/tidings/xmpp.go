package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"tidings"
	"tidings/config"
	"tidings/edge"
	"tidings/internal/certificate"
	"tidings/internal/drops"
	"tidings/outlet"
	outletpubsub "tidings/outlet/xmpp/pubsub"
	"tidings/outlet/xmpp/room"
	"tidings/recentchange"
	"tidings/websocket"
	"tidings/xmpp/disco"
	"tidings/xmpp/im"
	xmppserver "tidings/xmpp/server"
	xmppstream "tidings/xmpp/stream"
	"tidings/xmpp/xmlstream"
)

// xmppParts are the embedded XMPP server with its services.
type xmppParts struct {
	server *xmppserver.Server
	im     *im.Service
	rooms  *room.Server
	pubsub *outletpubsub.Server

	starttls, direct *edge.Listener // nil for off
}

// listenXMPP starts the XMPP server.
func (s *server) listenXMPP(ctx context.Context) (err error) {
	c := s.cfg.XMPP
	if !s.cfg.EmbeddedXMPP() {
		return nil
	}
	x := &xmppParts{}
	var source *certificate.Source
	if c.TLSCert != "" {
		source, err = certificate.Open(c.TLSCert, c.TLSKey, s.log)
	} else {
		source, err = certificate.OpenSelfSigned(s.cfg.Data, []string{s.cfg.Domain, s.cfg.RoomsDomain(), s.cfg.PubSubDomain()}, s.log)
	}
	if err != nil {
		return err
	}
	x.server, err = xmppserver.New(xmppserver.Options{
		Edge: s.edge, Domain: s.cfg.Domain, Users: s.accounts, Anonymous: c.Anonymous, TLS: source.Config(), Plaintext: c.UnsafePlaintext, Compress: c.Zlib,
		Features: func() xmppstream.Features {
			if x.im == nil {
				return xmppstream.Features{}
			}
			return x.im.Features()
		},
		Limits: xmlstream.Limits{Stanza: int(c.MaxStanza)}, HandshakeTimeout: time.Duration(c.HandshakeTimeout), AckTimeout: time.Duration(c.AckTimeout),
		ResumeWindow: resumeWindow(c), MaxResources: c.SessionsPerAccount, Log: s.log,
	})
	if err != nil {
		return err
	}
	defer func() {
		if err != nil {
			x.close()
		}
	}()
	if err := s.openXMPPServices(ctx, x); err != nil {
		return err
	}
	forgotten := s.accounts.OnDelete(func(localpart string) {
		x.server.EndAccount(localpart)
		if err := x.im.Forget(context.WithoutCancel(ctx), localpart); err != nil {
			s.log.Error("what an account has left was not removed", "account", localpart, "err", err)
		}
	})
	changed := s.accounts.OnPassword(x.server.EndAccount)
	_, _ = forgotten, changed // they end with the accounts

	refused := drops.New(s.log, "xmpp")
	loopback := []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8"), netip.MustParsePrefix("::1/128")}
	listen := func(addr, flag string) (*edge.Listener, error) {
		if addr == config.Off {
			return nil, nil
		}
		ln, err := net.Listen("tcp", addr)
		if err != nil {
			return nil, withHint(fmt.Errorf("listening for XMPP: %w", err), "another program has the port: stop it, or name another one with "+flag)
		}
		return edge.LimitListener(ln, c.MaxConnectionsPerAddress, loopback, func(a netip.Addr) {
			refused.Add("connections-per-address", 1, "address", a)
		}), nil
	}
	if x.starttls, err = listen(c.Addr, "--xmpp ADDR (--xmpp off for none)"); err != nil {
		return err
	}
	if x.direct, err = listen(c.DirectTLS, "xmpp.direct_tls in the configuration"); err != nil {
		x.stopListening()
		return err
	}
	serve := func(ln *edge.Listener, mode xmppserver.TLSMode) {
		if ln == nil {
			return
		}
		s.serving.Go(func() {
			if err := x.server.Serve(ln, mode); !errors.Is(err, net.ErrClosed) {
				s.fail("the XMPP listener", err)
			}
		})
	}
	serve(x.starttls, xmppserver.StartTLS)
	serve(x.direct, xmppserver.DirectTLS)
	s.xmpp = x
	return nil
}

// resumeWindow is how long sessions wait, as the server wants it said: none is negative there.
func resumeWindow(c config.XMPP) time.Duration {
	if c.ResumeWindow == 0 {
		return -1
	}
	return time.Duration(c.ResumeWindow)
}

// roomOptions are those of rooms at a domain.
func (s *server) roomOptions(domain string) (room.Options, error) {
	rooms := map[string]room.Room{}
	for _, r := range s.cfg.XMPP.Rooms {
		ps, err := r.RoomPatterns()
		if err != nil {
			return room.Options{}, err
		}
		rooms[r.Name] = room.Room{Patterns: ps, Title: r.Title}
	}
	decode := outlet.Decoder(s.cfg.Wikis)
	return room.Options{
		Hub: s.hub, Edge: s.edge, Authenticate: s.policy.Authenticate, May: s.policy.May, Audience: s.policy.Audience, Topics: s.topicsOf,
		WikiOf: func(ctx context.Context, t tidings.Topic) (string, error) {
			e, err := s.journal.Last(ctx, t)
			if err != nil {
				return "", err
			}
			if rc, ok := decode(&e).(*recentchange.RecentChange); ok && rc != nil {
				return rc.Wiki.Value(), nil
			}
			return "", nil
		},
		Wikis: s.cfg.Wikis, Rooms: rooms, Domain: domain, Version: "tidings-" + versionText(), Log: s.log,
	}, nil
}

// pubsubOptions are those of nodes at a domain.
func (s *server) pubsubOptions(domain string) outletpubsub.Options {
	return outletpubsub.Options{
		Model: s.nodes, Hub: s.hub, Edge: s.edge, May: s.policy.May, Audience: s.policy.Audience, Topics: s.topicsOf,
		Domain: domain, Version: "tidings-" + versionText(), Log: s.log,
	}
}

// openXMPPServices opens what the domains of the XMPP server serve.
func (s *server) openXMPPServices(ctx context.Context, x *xmppParts) error {
	o, err := s.roomOptions(s.cfg.RoomsDomain())
	if err != nil {
		return err
	}
	if x.rooms, err = room.New(o); err != nil {
		return err
	}
	if err := x.server.Handle(s.cfg.RoomsDomain(), x.rooms); err != nil {
		return err
	}
	if x.pubsub, err = outletpubsub.New(s.pubsubOptions(s.cfg.PubSubDomain())); err != nil {
		return err
	}
	if err := x.server.Handle(s.cfg.PubSubDomain(), x.pubsub); err != nil {
		return err
	}
	bucket, err := s.journal.Bucket(ctx, "im")
	if err != nil {
		return err
	}
	x.im, err = im.Open(ctx, im.Options{Server: x.server, Store: bucket, Users: s.accounts, Version: versionText(), Log: s.log,
		Services: func() []disco.Item {
			return []disco.Item{{JID: x.rooms.Domain(), Name: "Rooms"}, {JID: x.pubsub.Domain(), Name: "Nodes"}}
		}})
	if err != nil {
		return err
	}
	x.server.HandleAccounts(x.pubsub.Follow(x.im))
	return nil
}

// routesXMPP adds XMPP over WebSocket (RFC 7395) and where it is (XEP-0156).
func (s *server) routesXMPP(mux *http.ServeMux) {
	if s.xmpp == nil || !s.cfg.XMPP.WebSocket {
		return
	}
	const path = "/xmpp-websocket"
	mux.Handle("GET "+path, s.xmpp.server.WebSocket(func(w http.ResponseWriter, r *http.Request, sock xmppserver.Socket) (*edge.Conn, error) {
		c, err := websocket.Accept(s.edge, w, r, websocket.Options{
			Handler: socket{sock}, Name: "xmpp-websocket", Subprotocols: []string{xmppserver.Subprotocol}, NeedSubprotocol: true,
			Origins: s.cfg.HTTP.CORSOrigins, MaxMessage: sock.MaxMessage, NoDeflate: true, Goodbye: sock.Goodbye,
		})
		if err != nil {
			return nil, err
		}
		return c.Edge(), nil
	}))
	meta := s.xmpp.server.HostMeta(path)
	mux.Handle("GET /.well-known/host-meta", meta)
	mux.Handle("GET /.well-known/host-meta.json", meta)
}

// socket is what a WebSocket has to do, in the words of package websocket.
type socket struct{ xmppserver.Socket }

func (s socket) Message(c *websocket.Conn, binary bool, p []byte) error {
	if binary {
		return &websocket.CloseError{Code: websocket.UnsupportedData, Reason: "XMPP is text (RFC 7395 section 3.3)"}
	}
	s.Socket.Message(c.Edge(), p)
	return nil
}

func (s socket) Closed(c *websocket.Conn, _ int) { s.Socket.Closed(c.Edge()) }

// stopListening takes no connections any more; those there are stay.
func (x *xmppParts) stopListening() {
	for _, ln := range []*edge.Listener{x.starttls, x.direct} {
		if ln != nil {
			ln.Close()
		}
	}
}

// drainXMPP shows visitors out of the rooms and ends the streams; the edge's shutdown says goodbye to the sessions.
func (s *server) drainXMPP(ctx context.Context) {
	if s.xmpp == nil {
		return
	}
	if err := s.xmpp.rooms.Stop(ctx); err != nil && !errors.Is(err, context.DeadlineExceeded) {
		s.log.Warn("visitors of rooms were not told that the server stops", "err", err)
	}
	s.xmpp.server.Close()
	s.xmpp.closePubSub()
}

func (x *xmppParts) closePubSub() {
	if x.pubsub != nil {
		x.pubsub.Close()
	}
}

func (x *xmppParts) close() {
	x.stopListening()
	x.server.Close()
	x.closePubSub()
	if x.im != nil {
		x.im.Close()
	}
}

type xmppStatus struct {
	Handshakes   int64             `json:"handshakes"`
	Sessions     int64             `json:"sessions"`
	WebSocket    int64             `json:"websocket"`
	TLS          int64             `json:"tls"`
	Waiting      int64             `json:"waiting"`
	Flows        int64             `json:"flows"`
	StanzasIn    uint64            `json:"stanzas_in"`
	StanzasOut   uint64            `json:"stanzas_out"`
	Bounced      uint64            `json:"bounced"`
	Resumed      uint64            `json:"resumed"`
	ResumeFailed uint64            `json:"resume_failed"`
	Refused      uint64            `json:"refused"`
	Closed       map[string]uint64 `json:"closed"`
	Rooms        roomsStatus       `json:"rooms"`
	PubSub       pubsubStatus      `json:"pubsub"`
	Components   []componentStatus `json:"components,omitempty"`
}

type pubsubStatus struct {
	Nodes         int               `json:"nodes"`
	Subscriptions int               `json:"subscriptions"`
	Sessions      int               `json:"sessions"`
	Flows         int64             `json:"flows"`
	Requests      uint64            `json:"requests"`
	Published     uint64            `json:"published"`
	Notices       uint64            `json:"notices"`
	Malformed     uint64            `json:"malformed"`
	Dropped       map[string]uint64 `json:"dropped"`
}

type roomsStatus struct {
	Rooms     int               `json:"rooms"`
	Visitors  int               `json:"visitors"`
	Occupants int64             `json:"occupants"`
	Joins     uint64            `json:"joins"`
	Pages     uint64            `json:"archive_pages"`
	Dropped   map[string]uint64 `json:"dropped"`
}

// xmppReport returns what /status has of the XMPP server, nil if there is none.
func (s *server) xmppReport() *xmppStatus {
	nodes := s.nodes.Stats()
	if s.xmpp == nil {
		if s.components == nil {
			return nil
		}
		return &xmppStatus{PubSub: pubsubStatus{Nodes: nodes.Nodes, Subscriptions: nodes.Subscriptions, Malformed: nodes.Malformed}, Components: s.componentsReport()}
	}
	st, rooms := s.xmpp.server.Stats(), s.xmpp.rooms.Stats()
	r := &xmppStatus{Handshakes: st.Handshakes, Sessions: st.Sessions, WebSocket: st.WebSocket, TLS: st.TLS, Waiting: st.Waiting, Flows: st.Flows,
		StanzasIn: st.StanzasIn, StanzasOut: st.StanzasOut, Bounced: st.Bounced, Resumed: st.Resumed, ResumeFailed: st.ResumeFailed, Closed: st.Closed,
		Rooms: roomsStatus{rooms.Rooms, rooms.Visitors, rooms.Occupants, rooms.Joins, rooms.Pages, rooms.Dropped}}
	ps := s.xmpp.pubsub.Stats()
	r.Components = s.componentsReport()
	r.PubSub = pubsubStatus{nodes.Nodes, nodes.Subscriptions, ps.Clients, ps.Flows, ps.Requests, ps.Published, ps.Notices, nodes.Malformed, ps.Dropped}
	for _, l := range []*edge.Listener{s.xmpp.starttls, s.xmpp.direct} {
		if l != nil {
			r.Refused += l.Refused()
		}
	}
	return r
}

// xmppFigure is a figure of the XMPP server, where there is one.
func xmppFigure(name, help string, kind prometheus.ValueType, label []string, value func(*xmppStatus, func(float64, ...string))) figure {
	return figure{prometheus.NewDesc("tidings_xmpp_"+name, help, label, nil), kind, func(r *statusReport, add func(float64, ...string)) {
		if r.XMPP != nil {
			value(r.XMPP, add)
		}
	}}
}

func init() {
	gauge := func(name, help string, value func(*xmppStatus) float64) figure {
		return xmppFigure(name, help, prometheus.GaugeValue, nil, func(r *xmppStatus, add func(float64, ...string)) { add(value(r)) })
	}
	counter := func(name, help string, value func(*xmppStatus) float64) figure {
		return xmppFigure(name, help, prometheus.CounterValue, nil, func(r *xmppStatus, add func(float64, ...string)) { add(value(r)) })
	}
	figures = append(figures,
		gauge("sessions", "XMPP sessions, those that wait for their resumption included.", func(r *xmppStatus) float64 { return float64(r.Sessions) }),
		gauge("sessions_waiting", "XMPP sessions that wait for their resumption.", func(r *xmppStatus) float64 { return float64(r.Waiting) }),
		gauge("handshakes", "XMPP connections that have no session yet.", func(r *xmppStatus) float64 { return float64(r.Handshakes) }),
		gauge("room_occupants", "Occupants of XMPP rooms.", func(r *xmppStatus) float64 { return float64(r.Rooms.Occupants) }),
		counter("stanzas_in_total", "Stanzas that XMPP clients sent.", func(r *xmppStatus) float64 { return float64(r.StanzasIn) }),
		counter("stanzas_out_total", "Stanzas sent to XMPP clients, beside what flows from topics.", func(r *xmppStatus) float64 { return float64(r.StanzasOut) }),
		counter("resumed_total", "XMPP sessions resumed.", func(r *xmppStatus) float64 { return float64(r.Resumed) }),
		counter("refused_total", "XMPP connections refused because their address had too many.", func(r *xmppStatus) float64 { return float64(r.Refused) }),
		xmppFigure("closed_total", "XMPP sessions and connections closed, by reason.", prometheus.CounterValue, []string{"reason"},
			func(r *xmppStatus, add func(float64, ...string)) { byLabel(r.Closed, reason, add) }),
		xmppFigure("rooms_dropped_total", "What the rooms dropped, by reason.", prometheus.CounterValue, []string{"reason"},
			func(r *xmppStatus, add func(float64, ...string)) { byLabel(r.Rooms.Dropped, reason, add) }),
		gauge("pubsub_nodes", "PubSub nodes that were created or configured.", func(r *xmppStatus) float64 { return float64(r.PubSub.Nodes) }),
		gauge("pubsub_subscriptions", "Subscriptions to PubSub nodes.", func(r *xmppStatus) float64 { return float64(r.PubSub.Subscriptions) }),
		gauge("pubsub_flows", "Subscriptions to PubSub nodes that are pushed to sessions.", func(r *xmppStatus) float64 { return float64(r.PubSub.Flows) }),
		counter("pubsub_requests_total", "Requests to the PubSub service.", func(r *xmppStatus) float64 { return float64(r.PubSub.Requests) }),
		counter("pubsub_published_total", "Items published over XMPP.", func(r *xmppStatus) float64 { return float64(r.PubSub.Published) }),
		xmppFigure("pubsub_dropped_total", "What the PubSub service dropped, by reason.", prometheus.CounterValue, []string{"reason"},
			func(r *xmppStatus, add func(float64, ...string)) { byLabel(r.PubSub.Dropped, reason, add) }),
	)
}

package main

import (
	"context"
	"crypto/tls"
	"fmt"
	"net"
	"net/netip"

	"github.com/prometheus/client_golang/prometheus"

	"tidings"
	"tidings/config"
	"tidings/edge"
	"tidings/internal/drops"
	"tidings/outlet/irc"
)

// listenIRC starts the IRC server.
func (s *server) listenIRC() error {
	c := s.cfg.IRC
	if c.Addr == config.Off {
		return nil
	}
	channels, err := s.cfg.IRCChannels()
	if err != nil {
		return err
	}
	name := c.ServerName
	if name == "" {
		name = s.cfg.Domain
	}
	var tlsConfig *tls.Config
	if c.TLSCert != "" {
		cert, err := tls.LoadX509KeyPair(c.TLSCert, c.TLSKey)
		if err != nil {
			return fmt.Errorf("reading the certificate for IRC: %w", err)
		}
		tlsConfig = &tls.Config{Certificates: []tls.Certificate{cert}, MinVersion: tls.VersionTLS12}
	}
	server, err := irc.New(irc.Options{
		Hub: s.hub, Edge: s.edge, Authenticate: s.policy.Authenticate, May: s.policy.May, Topics: s.topicsOf, Wikis: s.cfg.Wikis, Channels: channels,
		ServerName: name, Network: c.Network, Bot: c.Bot, Motd: c.Motd, Version: "tidings-" + versionText(), Log: s.log,
	})
	if err != nil {
		return err
	}
	ln, err := net.Listen("tcp", c.Addr)
	if err != nil {
		server.Close()
		return withHint(fmt.Errorf("listening for IRC: %w", err), "another program has the port: stop it, or name another one with --irc ADDR (--irc off for none)")
	}
	loopback := []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8"), netip.MustParsePrefix("::1/128")}
	refused := drops.New(s.log, "irc")
	s.irc = server
	s.ircListener = edge.LimitListener(ln, c.MaxConnectionsPerAddress, loopback, func(a netip.Addr) {
		refused.Add("connections-per-address", 1, "address", a)
	})
	ln = s.ircListener
	if tlsConfig != nil {
		ln = tls.NewListener(ln, tlsConfig)
	}
	s.serving.Go(func() { s.fail("the IRC listener", server.Serve(ln)) })
	return nil
}

// closeIRC stops listening; clients stay with the edge, which says goodbye to them.
func (s *server) closeIRC() {
	if s.irc != nil {
		s.irc.Close()
	}
}

// topicsOf returns the topics that have events and match the pattern.
func (s *server) topicsOf(ctx context.Context, p tidings.Pattern) ([]tidings.Topic, error) {
	infos, err := s.listed(ctx, p)
	if err != nil {
		return nil, err
	}
	topics := make([]tidings.Topic, len(infos))
	for i, t := range infos {
		topics[i] = t.Topic
	}
	return topics, nil
}

type ircStatus struct {
	Clients  int               `json:"clients"`
	Channels int               `json:"channels"`
	Refused  uint64            `json:"refused"`
	Dropped  map[string]uint64 `json:"dropped"`
}

// ircReport returns what /status has of the IRC server, nil if there is none.
func (s *server) ircReport() *ircStatus {
	if s.irc == nil {
		return nil
	}
	st := s.irc.Stats()
	return &ircStatus{Clients: st.Clients, Channels: st.Channels, Refused: s.ircListener.Refused(), Dropped: st.Dropped}
}

// ircFigure is a figure of the IRC server, where there is one.
func ircFigure(name, help string, kind prometheus.ValueType, label []string, value func(*ircStatus, func(float64, ...string))) figure {
	return figure{prometheus.NewDesc("tidings_irc_"+name, help, label, nil), kind, func(r *statusReport, add func(float64, ...string)) {
		if r.IRC != nil {
			value(r.IRC, add)
		}
	}}
}

func init() {
	figures = append(figures,
		ircFigure("clients", "IRC clients connected.", prometheus.GaugeValue, nil, func(r *ircStatus, add func(float64, ...string)) { add(float64(r.Clients)) }),
		ircFigure("channels", "IRC channels that somebody is on.", prometheus.GaugeValue, nil, func(r *ircStatus, add func(float64, ...string)) { add(float64(r.Channels)) }),
		ircFigure("refused_total", "IRC connections refused because their address had too many.", prometheus.CounterValue, nil, func(r *ircStatus, add func(float64, ...string)) { add(float64(r.Refused)) }),
		ircFigure("dropped_total", "Lines of IRC clients, handshakes and changes without an IRC line that were dropped, by reason.", prometheus.CounterValue, []string{"reason"},
			func(r *ircStatus, add func(float64, ...string)) { byLabel(r.Dropped, reason, add) }),
	)
}

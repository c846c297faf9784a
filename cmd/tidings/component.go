package main

import (
	"cmp"
	"context"
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"strings"
	"sync"
	"time"

	"tidings"
	"tidings/config"
	"tidings/internal/drops"
	"tidings/internal/lease"
	"tidings/journal"
	outletxmpp "tidings/outlet/xmpp"
	outletpubsub "tidings/outlet/xmpp/pubsub"
	"tidings/outlet/xmpp/room"
	"tidings/xmpp/component"
	"tidings/xmpp/jid"
	"tidings/xmpp/service"
	"tidings/xmpp/xmlstream"
)

// components are the domains that are served through other XMPP servers.
type components struct {
	links   []*serverLink
	stop    context.CancelFunc
	running sync.WaitGroup
}

// serverLink is a link to a server, with the domains that it carries.
type serverLink struct {
	config.Component
	link    *component.Link
	domains []*servedDomain
}

// servedDomain is a domain with its service, which is one of the two.
type servedDomain struct {
	config.Component
	pubsub  *outletpubsub.Server
	rooms   *room.Server
	refused *drops.Drops
}

// dropFrom counts stanzas of addresses for which the server behind a link cannot speak.
const dropFrom = "invalid-from"

// Bounds of a link: of stanzas that the server has let pass, and of the addresses that are known at a time.
const (
	maxLinkStanza = 4 << 20
	maxLinkPeers  = 1 << 20
)

// openComponents opens the links of the configuration, which connect when they can.
func (s *server) openComponents(ctx context.Context) (err error) {
	if len(s.cfg.Component) == 0 {
		return nil
	}
	bucket, err := s.journal.Bucket(ctx, "links")
	if err != nil {
		return err
	}
	cs := &components{}
	defer func() {
		if err != nil {
			cs.close()
		}
	}()
	for _, c := range s.cfg.Component {
		if c.Over == "" {
			l, err := s.openLink(c, bucket)
			if err != nil {
				return err
			}
			cs.links = append(cs.links, l)
		}
	}
	for _, c := range s.cfg.Component {
		for _, l := range cs.links {
			if l.Domain == cmp.Or(c.Over, c.Domain) {
				if err := s.openDomain(l, c); err != nil {
					return err
				}
			}
		}
	}
	run, stop := context.WithCancel(context.WithoutCancel(ctx))
	cs.stop = stop
	for _, l := range cs.links {
		cs.running.Go(func() {
			if s.cfg.NATSURL == "" { // nobody else can be on this journal
				if l.resume(run); run.Err() != nil { // not everything is attached, and nothing may be noted as delivered
					return
				}
			}
			if err := l.link.Run(run); err != nil {
				s.log.Warn("what a component has delivered was not noted: it is sent again after the next start", "domain", l.Domain, "err", err)
			}
		})
	}
	s.components = cs
	return nil
}

// What the configuration allows a link takes.
var _ [config.MaxSenders]struct{} = [component.MaxSenders]struct{}{}

func (s *server) openLink(c config.Component, bucket journal.Bucket) (*serverLink, error) {
	l := &serverLink{Component: c}
	secret, err := componentSecret(c)
	if err != nil {
		return nil, err
	}
	o := component.Options{
		Edge: s.edge, Addr: c.Addr, Domain: c.Domain, Host: c.Host, Secret: secret, Limits: xmlstream.Limits{Stanza: maxLinkStanza}, MaxPeers: maxLinkPeers, Senders: c.Senders, Multicast: c.Multicast,
		Position: linkPosition{bucket, "position:" + c.Domain, s.journal}, Log: s.log,
	}
	if o.TLS, err = componentTLS(c); err != nil {
		return nil, err
	}
	if s.cfg.NATSURL != "" {
		o.Lease = &linkLease{lease.New(bucket, "lease:"+c.Domain), l}
	}
	l.link, err = component.New(o)
	return l, err
}

// openDomain opens the service of a domain on its link.
func (s *server) openDomain(l *serverLink, c config.Component) error {
	d := &servedDomain{Component: c, refused: drops.New(s.log, "xmpp-component")}
	own := ""
	if s.cfg.EmbeddedXMPP() {
		j, err := jid.New("", s.cfg.Domain, "")
		if err != nil {
			return err
		}
		own = j.Domain()
	}
	var svc service.Service
	switch c.Serves {
	case config.ServesPubSub:
		o := s.pubsubOptions(c.Domain)
		o.Link = &outletpubsub.Link{
			Peer:       func(addr jid.JID) service.Peer { return l.link.Peer(addr, c.Domain) },
			AudienceOf: s.policy.AudienceOf, Host: c.Host, Embedded: own,
		}
		p, err := outletpubsub.New(o)
		if err != nil {
			return err
		}
		d.pubsub, svc = p, p
	case config.ServesRooms:
		o, err := s.roomOptions(c.Domain)
		if err != nil {
			return err
		}
		o.Link = true
		r, err := room.New(o)
		if err != nil {
			return err
		}
		s.policy.OnChange(r.Recheck) // for as long as there is the policy
		d.rooms, svc = r, r
	}
	l.domains = append(l.domains, d)
	if own != "" {
		svc = outletxmpp.Outsiders(svc, own, func(from jid.JID) { d.refused.Add(dropFrom, 1, "domain", c.Domain, "from", from) })
	}
	return l.link.Handle(c.Domain, svc)
}

// resume begins to push what is subscribed to. It takes seconds where that are a million subscriptions.
func (l *serverLink) resume(ctx context.Context) {
	for _, d := range l.domains {
		if d.pubsub != nil {
			at, ok := l.link.Acknowledged()
			d.pubsub.Resume(ctx, at, ok)
		}
	}
}

func (l *serverLink) suspend() {
	for _, d := range l.domains {
		if d.pubsub != nil {
			d.pubsub.Suspend()
		}
	}
}

// linkLease is a lease for which a link waits. Who has not got it pushes nothing.
type linkLease struct {
	*lease.Lease
	of *serverLink
}

// Acquire implements component.Lease. The link moves what is attached here to the position that it loads behind it.
func (l *linkLease) Acquire(ctx context.Context) error {
	l.of.suspend()
	err := l.Lease.Acquire(ctx)
	if err != nil {
		return err
	}
	if l.of.resume(ctx); ctx.Err() != nil { // not everything is attached, and nothing may be noted as delivered
		l.Lease.Release()
	}
	return ctx.Err()
}

// linkPosition is the acknowledged position of a link, as text in a bucket.
type linkPosition struct {
	bucket journal.Bucket
	key    string
	log    journal.Journal
}

// headWait bounds the wait for what another process has appended and delivered to be known here.
const headWait = 5 * time.Second

var errUnchanged = tidings.Errorf(tidings.ErrConflict, "nothing to change")

// Load implements component.Position. A position beyond the journal's end, as after a backup was put back, is the end.
func (p linkPosition) Load(ctx context.Context) (m service.Mark, ok bool, err error) {
	var text []byte
	if err := p.bucket.Update(ctx, p.key, func(old []byte) ([]byte, error) {
		text = old
		return nil, errUnchanged
	}); err != errUnchanged {
		return m, false, err
	}
	if text == nil {
		return m, false, nil
	}
	at, err := tidings.ParsePosition(string(text))
	if err != nil {
		return m, false, fmt.Errorf("%s in the bucket links: %w", p.key, err)
	}
	bell := make(chan struct{}, 1)
	defer p.log.Notify(bell)()
	timer := time.NewTimer(headWait)
	defer timer.Stop()
	for late := false; ; {
		head := p.log.Head()
		if at.Epoch != head.Epoch || at.Offset <= head.Offset {
			break
		}
		if late {
			at = head
			break
		}
		select {
		case <-bell:
		case <-timer.C:
			late = true
		case <-ctx.Done():
			return m, false, ctx.Err()
		}
	}
	return outletxmpp.MarkOf(at), true, nil
}

// Save implements component.Position. It never goes back.
func (p linkPosition) Save(ctx context.Context, m service.Mark) error {
	at := outletxmpp.PositionOf(m)
	err := p.bucket.Update(ctx, p.key, func(old []byte) ([]byte, error) {
		if had, err := tidings.ParsePosition(string(old)); err == nil && had.Epoch == at.Epoch && had.Offset >= at.Offset {
			return nil, errUnchanged
		}
		return []byte(at.String()), nil
	})
	if err == errUnchanged {
		return nil
	}
	return err
}

// componentSecret returns the secret of a component, which may be in a file that nobody else can read.
func componentSecret(c config.Component) (string, error) {
	if c.SecretFile == "" {
		return c.Secret, nil
	}
	f, err := openSecret(c.SecretFile, "secret_file in [[component]]", "secret")
	if err != nil {
		return "", fmt.Errorf("the secret of the component %s: %w", c.Domain, err)
	}
	defer f.Close()
	b, err := io.ReadAll(io.LimitReader(f, 4097))
	if err != nil {
		return "", err
	}
	secret := strings.TrimRight(string(b), "\r\n")
	if secret == "" || len(b) > 4096 || strings.ContainsAny(secret, "\r\n\x00") {
		return "", withHint(fmt.Errorf("%s has no secret in it", c.SecretFile), "write the one that the server has for "+c.Domain+", in one line")
	}
	return secret, nil
}

// componentTLS returns how a component's server is known over TLS, nil for a link without.
func componentTLS(c config.Component) (*tls.Config, error) {
	if !c.TLS {
		return nil, nil
	}
	host, _, err := net.SplitHostPort(c.Addr)
	if err != nil {
		return nil, err
	}
	t := &tls.Config{ServerName: cmp.Or(c.TLSName, host)}
	if c.TLSCA == "" {
		return t, nil
	}
	t.RootCAs, err = authorities(c.TLSCA, "[[component]]")
	return t, err
}

// stopComponents shows visitors out of the rooms and has the links write what there is to write, all at once. The function that it
// returns waits for them, at most until before the end of ctx.
func (s *server) stopComponents(ctx context.Context) (wait func(before time.Duration)) {
	cs := s.components
	if cs == nil {
		return func(time.Duration) {}
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		var stops sync.WaitGroup
		for _, l := range cs.links {
			for _, d := range l.domains {
				if d.rooms != nil {
					stops.Go(func() {
						ctx, cancel := context.WithTimeout(ctx, roomsTimeout)
						defer cancel()
						_ = d.rooms.Stop(ctx) // who is not told now is told by what the server says of the component
					})
				}
			}
		}
		stops.Wait()
		cs.close()
	}()
	return func(before time.Duration) {
		end, _ := ctx.Deadline()
		timer := time.NewTimer(time.Until(end) - before)
		defer timer.Stop()
		select {
		case <-done:
		case <-timer.C:
			if before > 0 {
				s.log.Warn("a component was cut off by the shutdown; what its server has not acknowledged is sent again after the next start")
				return
			}
			<-done // its connection is closed
		}
	}
}

// Of the time for goodbyes: for rooms to show their visitors out, and what the edge is left.
const (
	roomsTimeout = time.Second
	edgeTime     = time.Second
)

// close ends the links and waits for them.
func (cs *components) close() {
	if cs.stop != nil {
		cs.stop()
	}
	cs.running.Wait()
	for _, l := range cs.links {
		for _, d := range l.domains {
			if d.pubsub != nil {
				d.pubsub.Close()
			}
			d.refused.Flush()
		}
	}
}

// domainsServed returns the domains of components, with what each serves.
func (s *server) domainsServed(serves string) (domains []string) {
	for _, c := range s.cfg.Component {
		if serves == "" || c.Serves == serves {
			domains = append(domains, c.Domain)
		}
	}
	return domains
}

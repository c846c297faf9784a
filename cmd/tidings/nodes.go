package main

import (
	"context"
	"fmt"
	"time"

	"tidings"
	"tidings/journal"
	"tidings/pubsub"
	"tidings/xmpp/jid"
)

// openNodes opens the nodes, whose rules hold in every protocol: also where this process serves no XMPP.
func (s *server) openNodes(ctx context.Context) (*pubsub.Service, error) {
	bucket, err := s.journal.Bucket(ctx, "nodes")
	if err != nil {
		return nil, err
	}
	c := s.cfg.PubSub
	reserved, err := c.ReservedPatterns()
	if err != nil {
		return nil, err
	}
	admins := make([]string, 0, len(c.Admins))
	for _, a := range c.Admins {
		j, err := jid.Parse(a)
		if err != nil {
			return nil, withHint(fmt.Errorf("pubsub.admins has %q, which is no address of XMPP", a), "tidings config check")
		}
		admins = append(admins, j.Bare().String())
	}
	largest := min(c.MaxPayload, s.cfg.HTTP.MaxBody) // above which the journal takes nothing
	d := pubsub.DefaultConfig()
	d.AccessModel, d.MaxItems, d.MaxPayloadSize = pubsub.AccessModel(c.DefaultAccess), c.DefaultMaxItems, int(min(c.DefaultMaxPayload, largest))
	var domains []string
	for _, c := range s.cfg.Component {
		if c.CreateNodes {
			host, err := jid.New("", c.Host, "")
			if err != nil {
				return nil, err
			}
			domains = append(domains, host.Domain())
		}
	}
	return pubsub.Open(ctx, pubsub.Options{
		Store: bucket, Log: nodesLog{s.journal, s}, Hub: s.hub, Policy: s.policy, Domain: s.cfg.Domain, Domains: domains,
		Create: c.Create, Admins: admins, Reserved: reserved, Default: &d,
		MaxItems: c.MaxItems, MaxPayload: int(largest), MaxNodes: c.MaxNodes, MaxSubscriptions: c.MaxSubscriptions, MaxPerNode: c.MaxPerNode,
		MaxLease: time.Duration(c.MaxLease), DedupeWindow: time.Duration(s.cfg.DedupeWindow), Logger: s.log,
	})
}

// nodesLog is the journal as the nodes have it, which append as everybody does.
type nodesLog struct {
	journal.Journal
	s *server
}

func (l nodesLog) Append(ctx context.Context, events ...tidings.Event) ([]tidings.Appended, error) {
	return l.s.append(ctx, events...)
}

// sweepNodes ends the subscriptions that sessions without an account have left at a crash: nobody comes back to such an
// address. Where other processes may serve the domain on the same journal, sessions of theirs would look the same.
func (s *server) sweepNodes(ctx context.Context) {
	if s.xmpp == nil || s.cfg.NATSURL != "" {
		return
	}
	n, err := s.nodes.Sweep(ctx, func(bare, _ string) bool {
		j, err := jid.Parse(bare)
		return err == nil && j.Domain() == s.cfg.Domain && !s.accounts.Exists(j.Local())
	})
	if n > 0 {
		s.log.Info("subscriptions of sessions that a crash has ended were removed", "subscriptions", n)
	}
	if err != nil && ctx.Err() == nil {
		s.log.Warn("subscriptions of sessions that a crash has ended were not removed; the next start tries again", "err", err)
	}
}

// listed returns the topics that match the pattern and have events which somebody may read: the journal has those too that
// went with a node which was purged or deleted.
func (s *server) listed(ctx context.Context, p tidings.Pattern) ([]journal.TopicInfo, error) {
	all, err := s.journal.Topics(ctx, p)
	if err != nil {
		return nil, err
	}
	out := all[:0]
	for _, t := range all {
		emptied, err := s.nodes.Emptied(ctx, t.Topic)
		if err != nil {
			return nil, err
		}
		if !emptied {
			out = append(out, t)
		}
	}
	return out, nil
}

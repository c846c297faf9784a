//go:build linux

package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"

	"tidings"
	"tidings/access"
	"tidings/hub"
	"tidings/journal"
	"tidings/pubsub"
)

// Of the scenario nodes.
const (
	perNode     = 10 // subscriptions
	nodeOwners  = 1000
	fillWriters = 64
	// abroad is the domain of the subscribers. At a domain of the server's own each would have to have an account, and the
	// subscriptions of those without one are swept away when the server starts.
	abroad = "example.org"
)

// fillNodes has the service of nodes create /bench/0, /bench/1 and so on in a data folder that no server has open, and subscribe
// ten addresses to each: as many addresses as there are nodes, but not fewer than ten. It is what the server does for the
// same requests, and leaves in the store what that leaves, without the sessions that make them. through is the service that the
// subscriptions go through: "" for the server's own, or the domain of a component.
func fillNodes(ctx context.Context, dir string, nodes int, through string) (err error) {
	log := slog.New(slog.DiscardHandler)
	j, err := journal.OpenJetStream(ctx, journal.Options{Dir: dir, Durability: journal.Interval, Log: log})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, j.Close()) }()
	tokens, err := j.Bucket(ctx, "tokens")
	if err != nil {
		return err
	}
	policy, err := access.Open(ctx, tokens, access.Options{Log: log})
	if err != nil {
		return err
	}
	defer policy.Close()
	h := hub.New(j, policy, hub.Options{})
	defer h.Close()
	bucket, err := j.Bucket(ctx, "nodes")
	if err != nil {
		return err
	}
	s, err := pubsub.Open(ctx, pubsub.Options{Store: bucket, Log: j, Hub: h, Policy: policy, Domain: "localhost", Logger: log})
	if err != nil {
		return err
	}
	defer s.Close()
	addresses := max(nodes, perNode)
	var next atomic.Int64
	var wg sync.WaitGroup
	fails := make([]error, fillWriters)
	for w := range fillWriters {
		wg.Go(func() {
			for ctx.Err() == nil {
				i := int(next.Add(1)) - 1
				if i >= nodes {
					return
				}
				if fails[w] = fillNode(ctx, s, i, addresses, through); fails[w] != nil {
					return
				}
			}
		})
	}
	wg.Wait()
	if err := errors.Join(append(fails, ctx.Err())...); err != nil {
		return err
	}
	if st := s.Stats(); st.Nodes != nodes || st.Subscriptions != nodes*perNode || st.Malformed != 0 {
		return fmt.Errorf("nodes: filled with %d nodes and %d subscriptions, want %d and %d", st.Nodes, st.Subscriptions, nodes, nodes*perNode)
	}
	return nil
}

func fillNode(ctx context.Context, s *pubsub.Service, i, addresses int, through string) error {
	name := fmt.Sprintf("/bench/%d", i)
	if _, err := s.Create(ctx, entity(fmt.Sprintf("owner%d@localhost", i%nodeOwners)), name, nil); err != nil {
		return err
	}
	for k := range perNode {
		who := entity(fmt.Sprintf("user%d@%s", (i*perNode+k)%addresses, abroad))
		who.Service = through
		if _, err := s.Subscribe(ctx, who, name, who.JID, nil); err != nil {
			return err
		}
	}
	return nil
}

func entity(jid string) pubsub.Entity {
	return pubsub.Entity{Actor: tidings.Actor{Kind: tidings.User, Name: jid}, JID: jid}
}

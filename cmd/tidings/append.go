package main

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"time"

	"tidings"
	"tidings/internal/topicurl"
	"tidings/pubsub"
)

// append is the journal's Append as the sources are given it. It remembers whether the journal takes events, which
// /readyz tells, and logs when that changes.
func (s *server) append(ctx context.Context, events ...tidings.Event) ([]tidings.Appended, error) {
	done, err := s.journal.Append(ctx, events...)
	switch {
	case err == nil:
		if s.keys != nil {
			s.keys.add(time.Now(), events)
		}
		if s.refusing.Swap(nil) != nil {
			s.log.Info("the journal takes events again")
		}
	case errors.Is(err, tidings.ErrUnavailable) && ctx.Err() == nil:
		if s.refusing.Swap(&err) == nil {
			s.log.Error("the journal takes no events; if the disk was full, make room and restart", "err", err)
		}
	}
	return done, err
}

// appendPosted is append for what is published over HTTP, for which the rules of the topic's node hold. Sources are the
// operator's own: what they bring is not asked about.
func (s *server) appendPosted(ctx context.Context, events ...tidings.Event) ([]tidings.Appended, error) {
	done, err := s.nodes.Append(ctx, events...)
	if e, ok := errors.AsType[*pubsub.Error](err); ok {
		err = s.posted(events[0].Topic, e)
	}
	return done, err
}

// posted returns what a node's refusal is to those who publish over HTTP: its kind, and what to do.
func (s *server) posted(t tidings.Topic, e *pubsub.Error) error {
	about, kind, do := e.Text, tidings.KindOf(e), ""
	var cause error
	switch e.Condition {
	case pubsub.PayloadTooBig:
		limit := s.nodes.MaxPayload(t)
		kind, cause = tidings.ErrTooLarge, &http.MaxBytesError{Limit: int64(limit)}
		do = "send less, or have an owner of the node change its max_payload_size"
	case pubsub.NodeFull:
		do = fmt.Sprintf("retract one with DELETE %s, publish a new version of one under its Item-ID, or have an owner of the node change its max_items or publish_node_full",
			topicurl.Item(t, "ID"))
	case pubsub.InvalidPayload:
		do = "send a payload of that namespace, or have an owner of the node change its type"
	case pubsub.PayloadRequired:
		do = "send one, or have an owner of the node change its deliver_payloads"
	case pubsub.ItemForbidden:
		do = "send an empty body without an Item-ID, or have an owner of the node change its deliver_payloads"
	}
	if e.Stanza == pubsub.Gone {
		do = "publish there, or have the node created again here"
	}
	if do != "" {
		about += ": " + do
	}
	return &tidings.Error{Kind: kind, Detail: about, Err: cause}
}

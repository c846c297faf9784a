package client

import (
	"context"
	"crypto/rand"
	"errors"
	"net/http"
	"time"

	"tidings"
	"tidings/internal/retry"
)

// Publication is what Publish sends.
type Publication struct {
	ContentType string // application/json if empty
	Payload     []byte
	// ID names the item within its topic; publishing an ID again is a new version of that item. The server makes one
	// where it is empty.
	ID string
	// Key makes a repeat harmless: the server stores one event for a Key within its deduplication window. Publish makes
	// one where it is empty, so that its own retries are harmless in any case. Over XMPP it is the ID of an item that has none.
	Key string
	// Options are what the configuration of a PubSub node has to be for the item to be published, and is where publishing makes
	// the node (XEP-0060 section 7.1.5), such as access_model and whitelist. They are for XMPP only.
	Options map[string]string
}

// Receipt says where an event was stored.
type Receipt struct {
	Position  tidings.Position `json:"position"` // zero over XMPP, which does not tell it
	ID        string           `json:"id"`
	Topic     tidings.Topic    `json:"topic"`
	Duplicate bool             `json:"duplicate"` // the Key had been seen: Position is the first event's
}

// Publishing waits this long before the first retry, and adds this at most.
const (
	publishRetry   = 200 * time.Millisecond
	publishBackoff = 5 * time.Second
)

// Publish stores an event on the topic and returns once it is durable; over XMPP, once the service has taken it. What is not acknowledged, because the connection
// broke or the server was busy, is sent again with the same Key until ctx ends or the attempts are used up.
//
// Errors: a *StatusError where the server refuses it (ErrUnauthenticated, ErrForbidden, ErrTooLarge, ErrInvalid,
// ErrConflict for a Key that was used with other content), ErrUnavailable where it cannot be reached. After an
// ErrUnavailable the event may have been stored; publishing it again with the same Key is harmless.
//
// Over XMPP the topic is the node of that name, and an empty one is the node of the client's URL. The item's ID makes a repeat
// harmless: before it is sent again the service is asked whether it has the item. JSON becomes an element json (XEP-0335), XML
// is itself, and all else the content of an Atom entry (RFC 4287 section 4.1.3); PubSub tells no other media type. What the
// service refuses is a *stanza.Error with a kind, in which Condition is RFC 6120's, such as forbidden or item-not-found, and
// Name XEP-0060's, such as payload-too-big (ErrTooLarge) or precondition-not-met (ErrConflict). The connection is kept for the
// next item until Close.
func (c *Client) Publish(ctx context.Context, topic tidings.Topic, p Publication) (Receipt, error) {
	if c.xmpp != nil {
		return c.publishXMPP(ctx, topic, p)
	}
	if len(p.Options) > 0 {
		return Receipt{}, tidings.Errorf(tidings.ErrInvalid, "client: the options of a node need the server's XMPP address")
	}
	if _, err := tidings.ParseTopic(string(topic)); err != nil {
		return Receipt{}, err
	}
	if p.Key == "" {
		p.Key = rand.Text()
	}
	if p.ContentType == "" {
		p.ContentType = "application/json"
	}
	header := http.Header{"Content-Type": {p.ContentType}, "Idempotency-Key": {p.Key}}
	if p.ID != "" {
		header["Item-Id"] = []string{p.ID}
	}
	u := c.at(topicPath(topic), nil)
	var body []byte
	err := c.attempt(ctx, func() (err error) {
		_, body, err = c.call(ctx, http.MethodPost, u, header, p.Payload)
		return err
	})
	if err != nil {
		return Receipt{}, err
	}
	var r Receipt
	return r, decode(u.Path, body, &r)
}

// attempt calls f until it succeeds, fails for good, or the attempts are used up.
func (c *Client) attempt(ctx context.Context, f func() error) error {
	for n := 0; ; n++ {
		err := f()
		if err == nil {
			return nil
		}
		base := publishRetry
		var status *StatusError
		if errors.As(err, &status) {
			if !status.passing() {
				return err
			}
			base = max(base, status.RetryAfter)
		} else if tidings.KindOf(err) != tidings.ErrUnavailable {
			return err
		}
		if n+1 >= c.attempts || ctx.Err() != nil {
			return err
		}
		if retry.Sleep(ctx, retry.Backoff(base, publishBackoff, n)) != nil {
			return err // what went wrong says more than that time ran out
		}
	}
}

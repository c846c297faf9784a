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
	// one where it is empty, so that its own retries are harmless in any case.
	Key string
}

// Receipt says where an event was stored.
type Receipt struct {
	Position  tidings.Position `json:"position"`
	ID        string           `json:"id"`
	Topic     tidings.Topic    `json:"topic"`
	Duplicate bool             `json:"duplicate"` // the Key had been seen: Position is the first event's
}

// Publishing waits this long before the first retry, and adds this at most.
const (
	publishRetry   = 200 * time.Millisecond
	publishBackoff = 5 * time.Second
)

// Publish stores an event on the topic and returns once it is durable. What is not acknowledged, because the connection
// broke or the server was busy, is sent again with the same Key until ctx ends or the attempts are used up.
//
// Errors: a *StatusError where the server refuses it (ErrUnauthenticated, ErrForbidden, ErrTooLarge, ErrInvalid,
// ErrConflict for a Key that was used with other content), ErrUnavailable where it cannot be reached. After an
// ErrUnavailable the event may have been stored; publishing it again with the same Key is harmless.
func (c *Client) Publish(ctx context.Context, topic tidings.Topic, p Publication) (Receipt, error) {
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
	for n := 0; ; n++ {
		_, body, err := c.call(ctx, http.MethodPost, u, header, p.Payload)
		if err == nil {
			var r Receipt
			return r, decode(u.Path, body, &r)
		}
		base := publishRetry
		var status *StatusError
		if errors.As(err, &status) {
			if !status.passing() {
				return Receipt{}, err
			}
			base = max(base, status.RetryAfter)
		} else if tidings.KindOf(err) != tidings.ErrUnavailable {
			return Receipt{}, err
		}
		if n+1 >= c.attempts || ctx.Err() != nil {
			return Receipt{}, err
		}
		if retry.Sleep(ctx, retry.Backoff(base, publishBackoff, n)) != nil {
			return Receipt{}, err // what went wrong says more than that time ran out
		}
	}
}

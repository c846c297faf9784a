package client

import (
	"context"
	"encoding/json"
	"net/http"
	"net/url"
	"time"

	"tidings"
)

// TopicInfo describes a topic that has events.
type TopicInfo struct {
	Topic  tidings.Topic `json:"topic"`
	Events uint64        `json:"events"` // kept
	URL    string        `json:"url"`    // of its resource, relative to the server's
}

// Topics returns the topics that have events and match the pattern, sorted; the zero Pattern stands for all.
func (c *Client) Topics(ctx context.Context, match tidings.Pattern) ([]TopicInfo, error) {
	q := url.Values{}
	if !match.IsZero() {
		q.Set("match", match.String())
	}
	var answer struct{ Topics []TopicInfo }
	err := c.get(ctx, "/topics", q, &answer)
	return answer.Topics, err
}

// Status returns the server's figures: a JSON object whose members a program should expect to grow.
func (c *Client) Status(ctx context.Context) (json.RawMessage, error) {
	var answer json.RawMessage
	err := c.get(ctx, "/status", nil, &answer)
	return answer, err
}

// Token describes a token. Only CreateToken, once, returns its Secret.
type Token struct {
	ID      string    `json:"id"`
	Name    string    `json:"name"`   // what its maker called it
	Scopes  []string  `json:"scopes"` // such as publish:/news/** and read:/private/**
	Created time.Time `json:"created,omitzero"`
	Expires time.Time `json:"expires,omitzero"` // zero: never
	Secret  string    `json:"token,omitempty"`
}

// Tokens returns the server's tokens. It needs the admin token, like the other methods about tokens.
func (c *Client) Tokens(ctx context.Context) ([]Token, error) {
	var answer struct{ Tokens []Token }
	err := c.get(ctx, "/tokens", nil, &answer)
	return answer.Tokens, err
}

// CreateToken makes a token that may do what the scopes say and returns it with its Secret, which the server cannot show
// again. It expires after ttl, or never if that is 0.
func (c *Client) CreateToken(ctx context.Context, name string, ttl time.Duration, scopes ...string) (Token, error) {
	in := struct {
		Name   string   `json:"name"`
		Scopes []string `json:"scopes"`
		TTL    string   `json:"ttl,omitempty"`
	}{Name: name, Scopes: scopes}
	if ttl != 0 {
		in.TTL = ttl.String()
	}
	body, err := json.Marshal(in)
	if err != nil {
		return Token{}, tidings.Errorf(tidings.ErrInvalid, "client: %w", err)
	}
	_, answer, err := c.call(ctx, http.MethodPost, c.at("/tokens", nil), http.Header{"Content-Type": {"application/json"}}, body)
	if err != nil {
		return Token{}, err
	}
	t := Token{Name: name, Scopes: scopes}
	return t, decode("/tokens", answer, &t)
}

// RevokeToken ends a token and the streams that were opened with it.
func (c *Client) RevokeToken(ctx context.Context, id string) error {
	_, _, err := c.call(ctx, http.MethodDelete, c.at("/tokens/"+url.PathEscape(id), nil), nil, nil)
	return err
}

// Package client talks to a Tidings server from Go: it reads streams of events, publishes, and asks for topics, status
// and tokens.
//
//	c, err := client.New("http://127.0.0.1:8080")
//	…
//	pattern, err := tidings.ParsePattern("/recentchange/*.wikipedia.org")
//	…
//	for e, err := range c.Events(ctx, []tidings.Pattern{pattern}, client.Live) {
//		if gap := (*tidings.GapError)(nil); errors.As(err, &gap) {
//			log.Print(err) // events between gap.Asked and gap.Oldest are lost; the stream goes on
//			continue
//		}
//		if err != nil {
//			return err
//		}
//		fmt.Println(e.Topic, string(e.Payload))
//	}
//
// A room of an XMPP server, or a node of a PubSub service, is read in the same way; a recent change is a struct there, as over
// HTTP:
//
//	c, err := client.New("xmpp://localhost/en.wikipedia.org@conference.localhost")
//	…
//	for e, err := range c.Events(ctx, nil, client.Live) {
//		…
//		if rc, ok := e.RecentChange(); ok {
//			fmt.Println(rc.ID, rc.Title, rc.User)
//		}
//	}
//
// Streams are Server-Sent Events (WHATWG HTML, section 9.2), or rooms and nodes of an XMPP server (XEP-0045 and XEP-0060 with
// the archives of XEP-0313 and XEP-0442, RFC 6120, XEP-0198). They reconnect by themselves, go on after the last event they have seen, and say where that
// was not possible. Errors carry a tidings.ErrorKind, so errors.Is(err,
// tidings.ErrForbidden) works as on the server.
package client

import (
	"bytes"
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"time"

	"tidings"
	"tidings/internal/retry"
)

// Defaults of the options.
const (
	DefaultKeepalive  = 15 * time.Second
	DefaultRetry      = 2 * time.Second
	DefaultMaxBackoff = time.Minute
	DefaultTimeout    = 30 * time.Second
	DefaultAttempts   = 5
	DefaultMaxMessage = 16 << 20 // bytes
)

// maxAnswer bounds an answer that is not a stream, in bytes.
const maxAnswer = 64 << 20

// Client is a client of one server. Its methods may be called from many goroutines.
type Client struct {
	base       *url.URL
	xmpp       *xmppServer // nil unless base is an address of XMPP
	tls        *tls.Config // for XMPP
	address    string      // the same
	silence    time.Duration
	http       *http.Client
	token      string
	keepalive  time.Duration
	retry      time.Duration
	maxBackoff time.Duration
	timeout    time.Duration
	attempts   int
	maxMessage int
	notify     func(Notice)
	publisher  publisher // for XMPP
}

// Option changes a default of New.
type Option func(*Client)

// WithToken sends the token with every request to the server (RFC 6750 section 2.1), and to no other server.
func WithToken(token string) Option { return func(c *Client) { c.token = token } }

// WithHTTPClient uses h. It must have no Timeout, which would end streams.
func WithHTTPClient(h *http.Client) Option { return func(c *Client) { c.http = h } }

// WithKeepalive tells at which interval the server sends keepalives; a stream on which nothing came for three of them is
// taken for dead.
func WithKeepalive(d time.Duration) Option { return func(c *Client) { c.keepalive = d } }

// WithBackoff sets the waiting time before the first reconnection, until the server tells its own with the field retry,
// and the most that is added to it. The n-th wait of a row of failures is retry plus a random part of min(most, retry·2ⁿ).
func WithBackoff(retry, most time.Duration) Option {
	return func(c *Client) { c.retry, c.maxBackoff = retry, most }
}

// WithTimeout bounds each request that is not a stream.
func WithTimeout(d time.Duration) Option { return func(c *Client) { c.timeout = d } }

// WithAttempts bounds how often Publish sends an event that is not acknowledged.
func WithAttempts(n int) Option { return func(c *Client) { c.attempts = n } }

// WithMaxMessage bounds one message of a stream, in bytes. A longer one ends the stream with an error of kind
// tidings.ErrTooLarge.
func WithMaxMessage(n int) Option { return func(c *Client) { c.maxMessage = n } }

// WithNotify calls f, from the goroutine that reads the stream, whenever a stream has been connected or lost.
func WithNotify(f func(Notice)) Option { return func(c *Client) { c.notify = f } }

// Notice tells what happened to the connection of a stream. It is information: nothing is lost unless the stream yields
// a *tidings.GapError.
type Notice struct {
	URL  string        // of the stream
	Err  error         // why the connection was lost or not made; nil: it is connected
	Wait time.Duration // until the next attempt
}

// New returns a client of the server at baseURL. It does not connect. The URL is that of an HTTP server, such as
// http://127.0.0.1:8080, or the address of an XMPP server, a room or a node (RFC 5122, XEP-0060 section 12.22):
//
//	xmpp://localhost/en.wikipedia.org@conference.localhost     anonymously
//	xmpp://ann:PASSWORD@example.org                            with an account
//	xmpp:enwiki@conference.example.org?join
//	xmpp://localhost/pubsub.localhost?;node=/news/local        a node of a service; of a Tidings server, also /news/*
//	xmpp://ann:PASSWORD@example.org/pubsub.example.org         a service, whose nodes are those of patterns and topics
//	xmpp://localhost?;node=/news/local                         a node of the service that the server says it has
//	xmpps://ann:PASSWORD@example.org:443                       with TLS from the first byte
//
// In a node's name percent signs and semicolons are percent-encoded, as is what no URL can hold.
//
// The server's host and port are what DNS says of the domain, unless the URL has a port or WithAddress says otherwise. Where
// the host is an IP address, the domain is that of the room or the service without its first label. Without TLS nothing is told to
// another machine. A client for XMPP has Events and Publish; the other methods need HTTP.
func New(baseURL string, opts ...Option) (*Client, error) {
	u, err := url.Parse(baseURL)
	if err != nil { // it is not repeated, as nobody knows where in it a password stands
		return nil, tidings.Errorf(tidings.ErrInvalid, "client: the URL of the server cannot be read")
	}
	bad := func(why string) (*Client, error) {
		return nil, tidings.Errorf(tidings.ErrInvalid, "client: %q is not the URL of a server: %s", u.Redacted(), why)
	}
	var server *xmppServer
	switch {
	case (u.Scheme == "http" || u.Scheme == "https") && u.Host != "":
		u.RawQuery, u.Fragment = "", ""
	case (u.Scheme == "xmpp" || u.Scheme == "xmpps") && (u.Host != "" || u.Opaque != ""):
		var why error
		if server, why = parseXMPP(u); why != nil {
			return bad(why.Error())
		}
	default:
		return bad("want one such as http://127.0.0.1:8080 or xmpp://localhost/en.wikipedia.org@conference.localhost")
	}
	c := &Client{
		base: u, xmpp: server, silence: defaultSilence, http: &http.Client{}, keepalive: DefaultKeepalive, retry: DefaultRetry, maxBackoff: DefaultMaxBackoff,
		timeout: DefaultTimeout, attempts: DefaultAttempts, maxMessage: DefaultMaxMessage, notify: func(Notice) {},
	}
	for _, o := range opts {
		o(c)
	}
	return c, nil
}

// StatusError is an answer that refuses the request. Its kind is found with errors.Is or tidings.KindOf.
type StatusError struct {
	Status     int    // the HTTP status code
	Detail     string // what the server says is wrong
	RetryAfter time.Duration
	gap        *tidings.GapError
}

// Error returns the status and the detail.
func (e *StatusError) Error() string {
	if e.Detail == "" {
		return fmt.Sprintf("the server answered %d %s", e.Status, http.StatusText(e.Status))
	}
	return fmt.Sprintf("the server answered %d %s: %s", e.Status, http.StatusText(e.Status), e.Detail)
}

// Unwrap returns the kind of error that the status stands for and, for 410, the *tidings.GapError.
func (e *StatusError) Unwrap() error {
	if e.gap != nil {
		return e.gap
	}
	switch e.Status {
	case http.StatusUnauthorized:
		return tidings.ErrUnauthenticated
	case http.StatusForbidden:
		return tidings.ErrForbidden
	case http.StatusNotFound:
		return tidings.ErrNotFound
	case http.StatusConflict, http.StatusPreconditionFailed:
		return tidings.ErrConflict
	case http.StatusGone:
		return tidings.ErrGap
	case http.StatusRequestEntityTooLarge:
		return tidings.ErrTooLarge
	case http.StatusTooManyRequests:
		return tidings.ErrRateLimited
	}
	if e.Status >= 400 && e.Status < 500 {
		return tidings.ErrInvalid
	}
	return tidings.ErrUnavailable
}

// passing reports whether the same request may succeed later.
func (e *StatusError) passing() bool {
	switch e.Status {
	case http.StatusTooManyRequests, http.StatusInternalServerError, http.StatusBadGateway, http.StatusServiceUnavailable, http.StatusGatewayTimeout:
		return true
	}
	return false
}

// refused reads the answer that refuses a request.
func refused(resp *http.Response) *StatusError {
	e := &StatusError{Status: resp.StatusCode, RetryAfter: retry.After(resp.Header, time.Now())}
	body, _ := io.ReadAll(io.LimitReader(resp.Body, 64<<10)) // what came is enough
	var p struct {
		Title, Detail string
		Asked, Oldest *tidings.Position
	}
	if err := json.Unmarshal(body, &p); err == nil { // RFC 9457; EventStreams' own errors have the same members
		e.Detail = p.Detail
		if e.Detail == "" {
			e.Detail = p.Title
		}
		if p.Oldest != nil && resp.StatusCode == http.StatusGone {
			e.gap = &tidings.GapError{Oldest: *p.Oldest}
			if p.Asked != nil {
				e.gap.Asked = *p.Asked
			}
		}
	}
	return e
}

// topicPath returns the path of the topic's resource, each segment percent-encoded.
func topicPath(t tidings.Topic) string {
	var b strings.Builder
	b.WriteString("/topics")
	for _, seg := range t.Segments() {
		b.WriteString("/" + url.PathEscape(seg))
	}
	return b.String()
}

// at returns the address of a path on the server.
func (c *Client) at(path string, query url.Values) *url.URL {
	u := *c.base
	u.RawPath = strings.TrimSuffix(u.EscapedPath(), "/") + path
	u.Path, _ = url.PathUnescape(u.RawPath) // what topicPath and the constants of this package write decodes
	u.RawQuery = query.Encode()
	return &u
}

// authorize adds the token, if the request is to the client's own server.
func (c *Client) authorize(req *http.Request) {
	if c.token != "" && req.URL.Scheme == c.base.Scheme && req.URL.Host == c.base.Host {
		req.Header.Set("Authorization", "Bearer "+c.token)
	}
}

// call sends one request with its own time limit and returns the answer, its body read, or a *StatusError.
func (c *Client) call(ctx context.Context, method string, u *url.URL, header http.Header, body []byte) (*http.Response, []byte, error) {
	if c.xmpp != nil {
		return nil, nil, errNeedsHTTP
	}
	ctx, cancel := context.WithTimeout(ctx, c.timeout)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, method, u.String(), bytes.NewReader(body))
	if err != nil {
		return nil, nil, tidings.Errorf(tidings.ErrInvalid, "client: %w", err)
	}
	req.Header.Set("Accept", "application/json")
	for name, values := range header {
		req.Header[name] = values
	}
	c.authorize(req)
	resp, err := c.http.Do(req)
	if err != nil {
		return nil, nil, unreachable(err)
	}
	defer resp.Body.Close()
	if resp.StatusCode < 200 || resp.StatusCode > 299 {
		return nil, nil, refused(resp)
	}
	answer, err := io.ReadAll(io.LimitReader(resp.Body, maxAnswer+1))
	if err != nil {
		return nil, nil, unreachable(err)
	}
	if len(answer) > maxAnswer {
		return nil, nil, tidings.Errorf(tidings.ErrTooLarge, "client: the answer has more than %d bytes", maxAnswer)
	}
	return resp, answer, nil
}

// unreachable wraps a failure of the network, or of the one who asked to stop.
func unreachable(err error) error {
	if errors.Is(err, context.Canceled) {
		return fmt.Errorf("client: %w", err)
	}
	return tidings.Errorf(tidings.ErrUnavailable, "client: %w", err)
}

// errNeedsHTTP says that something is not to be had over XMPP.
var errNeedsHTTP = tidings.Errorf(tidings.ErrInvalid, "client: over XMPP there are Events and Publish only: use the server's HTTP URL")

// get asks for JSON.
func (c *Client) get(ctx context.Context, path string, query url.Values, v any) error {
	_, body, err := c.call(ctx, http.MethodGet, c.at(path, query), nil, nil)
	if err != nil {
		return err
	}
	return decode(path, body, v)
}

func decode(path string, body []byte, v any) error {
	if err := json.Unmarshal(body, v); err != nil {
		return tidings.Errorf(tidings.ErrUnavailable, "client: the answer of %s is not what a Tidings server says: %w", path, err)
	}
	return nil
}

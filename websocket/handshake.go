package websocket

import (
	"bytes"
	"crypto/sha1"
	"encoding/base64"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	"tidings"
	"tidings/edge"
	"tidings/internal/problem"
)

// Options configure a connection.
type Options struct {
	// Handler gets what comes; it is not nil.
	Handler Handler
	// Name is the protocol's, for logs and metrics ("websocket").
	Name string
	// Subprotocols are those the server speaks, the preferred ones first (RFC 6455 section 1.9).
	Subprotocols []string
	// NeedSubprotocol refuses a client that offers none of them.
	NeedSubprotocol bool
	// Origins are the web origins whose pages may connect, such as https://example.org; "*" is every one. A page from
	// the server's own host and a client that sends no Origin, which is no browser, may always connect (section 10.2).
	Origins []string
	// MaxMessage bounds a message from the client in bytes, after inflation too (64 KiB).
	MaxMessage int
	// NoDeflate declines permessage-deflate.
	NoDeflate bool
	// Keepalive is written after the edge's time of silence instead of a ping.
	Keepalive []byte
	// Goodbye is written before the close frame when the server stops.
	Goodbye []byte
}

// handshakeTimeout bounds the writing of the response.
const handshakeTimeout = 10 * time.Second

// IsUpgrade reports whether the request asks for the WebSocket protocol.
func IsUpgrade(r *http.Request) bool {
	return hasToken(r.Header, "Upgrade", "websocket") && hasToken(r.Header, "Connection", "upgrade")
}

// Accept answers the opening handshake and hands the connection to the edge. A request that is no handshake is answered
// with a problem: 426 if it asks for no upgrade or another version, 400 if it is malformed, 403 for a page from an
// origin that may not connect. In any case the request has been answered when Accept returns; the error is for the log.
//
// Messages may reach the handler before Accept returns.
func Accept(e *edge.Edge, w http.ResponseWriter, r *http.Request, o Options) (*Conn, error) {
	if err := check(w, r, &o); err != nil {
		return nil, err
	}
	c := &Conn{handler: o.Handler, max: 64 << 10, subprotocol: choose(r.Header, o.Subprotocols)}
	if o.MaxMessage > 0 {
		c.max = uint32(min(o.MaxMessage, 1<<31-1))
	}
	if o.NeedSubprotocol && c.subprotocol == "" {
		return nil, refuse(w, r, tidings.Errorf(tidings.ErrInvalid, "Sec-WebSocket-Protocol has to offer %s", strings.Join(o.Subprotocols, " or ")))
	}
	c.proto = edge.Protocol{Name: "websocket", Input: c.input, Closed: c.closed, Keepalive: pingFrame, Goodbye: goodbyeFrame}
	if o.Name != "" {
		c.proto.Name = o.Name
	}
	if o.Keepalive != nil {
		c.proto.Keepalive = o.Keepalive
	}
	if o.Goodbye != nil {
		c.proto.Goodbye = slices.Concat(o.Goodbye, goodbyeFrame)
	}
	h := w.Header()
	h.Set("Upgrade", "websocket")
	h.Set("Connection", "Upgrade")
	h.Set("Sec-WebSocket-Accept", acceptKey(r.Header.Get("Sec-WebSocket-Key")))
	if c.subprotocol != "" {
		h.Set("Sec-WebSocket-Protocol", c.subprotocol)
	}
	if !o.NoDeflate {
		if x := negotiateDeflate(r.Header.Values("Sec-WebSocket-Extensions")); x != "" {
			h.Set("Sec-WebSocket-Extensions", x)
			c.deflate = true
		}
	}
	nc, rw, err := http.NewResponseController(w).Hijack()
	if err != nil {
		for _, name := range []string{"Upgrade", "Connection", "Sec-WebSocket-Accept", "Sec-WebSocket-Protocol", "Sec-WebSocket-Extensions"} {
			h.Del(name)
		}
		return nil, refuse(w, r, tidings.Errorf(tidings.ErrInvalid, "a WebSocket needs HTTP/1.1, and this request came by %s", r.Proto))
	}
	var head bytes.Buffer
	head.WriteString("HTTP/1.1 101 Switching Protocols\r\n")
	h.Write(&head)
	head.WriteString("\r\n")
	nc.SetDeadline(time.Now().Add(handshakeTimeout))
	if _, err := nc.Write(head.Bytes()); err != nil {
		nc.Close()
		return nil, fmt.Errorf("websocket: writing the handshake: %w", err)
	}
	nc.SetDeadline(time.Time{})
	buffered, _ := rw.Peek(rw.Reader.Buffered())
	ec, err := e.Add(nc, buffered, &c.proto)
	if err != nil {
		nc.Close()
		return nil, fmt.Errorf("websocket: %w", err)
	}
	c.edge.Store(ec)
	return c, nil
}

// refuse answers with the problem and returns it.
func refuse(w http.ResponseWriter, r *http.Request, err error) error {
	problem.Write(w, r, err)
	return fmt.Errorf("websocket: handshake refused: %w", err)
}

// check judges the request by section 4.2.1.
func check(w http.ResponseWriter, r *http.Request, o *Options) error {
	invalid := func(format string, args ...any) error {
		return refuse(w, r, tidings.Errorf(tidings.ErrInvalid, format, args...))
	}
	if r.Method != http.MethodGet {
		problem.MethodNotAllowed(w, r, http.MethodGet)
		return fmt.Errorf("websocket: handshake refused: its method is %s", r.Method)
	}
	version := r.Header.Values("Sec-WebSocket-Version")
	if !IsUpgrade(r) || len(version) != 1 || strings.TrimSpace(version[0]) != "13" {
		w.Header().Set("Sec-WebSocket-Version", "13")
		detail := "this address speaks WebSocket: the request needs Connection: Upgrade, Upgrade: websocket and Sec-WebSocket-Version: 13"
		problem.UpgradeRequired(w, r, detail, "websocket")
		return fmt.Errorf("websocket: handshake refused: %s", detail)
	}
	if !r.ProtoAtLeast(1, 1) || r.ProtoMajor != 1 {
		return invalid("a WebSocket needs HTTP/1.1, and this request came by %s", r.Proto)
	}
	if r.ContentLength != 0 {
		return invalid("a handshake has no body")
	}
	keys := r.Header.Values("Sec-WebSocket-Key")
	if len(keys) != 1 {
		return invalid("the handshake has %d headers Sec-WebSocket-Key and needs one", len(keys))
	}
	if nonce, err := base64.StdEncoding.DecodeString(keys[0]); err != nil || len(nonce) != 16 {
		return invalid("Sec-WebSocket-Key is not the base64 of 16 bytes")
	}
	if !OriginAllowed(r, o.Origins) {
		return refuse(w, r, tidings.Errorf(tidings.ErrForbidden, "pages from %s may not connect here", r.Header.Get("Origin")))
	}
	return nil
}

// OriginAllowed reports whether a page of the request's origin may connect; see Options.Origins. A request without an origin may.
func OriginAllowed(r *http.Request, origins []string) bool {
	origin := r.Header.Get("Origin")
	if origin == "" || slices.Contains(origins, "*") || slices.Contains(origins, origin) {
		return true
	}
	u, err := url.Parse(origin)
	return err == nil && u.Host != "" && strings.EqualFold(u.Host, r.Host)
}

// choose returns the first of the server's subprotocols that the client offers.
func choose(h http.Header, ours []string) string {
	for _, p := range ours {
		if hasToken(h, "Sec-WebSocket-Protocol", p) {
			return p
		}
	}
	return ""
}

// hasToken reports whether a header that is a list has the token, in any case of its letters.
func hasToken(h http.Header, name, token string) bool {
	for _, v := range h.Values(name) {
		for t := range strings.SplitSeq(v, ",") {
			if strings.EqualFold(strings.TrimSpace(t), token) {
				return true
			}
		}
	}
	return false
}

// acceptKey returns what proves to the client that its handshake was understood (section 4.2.2).
func acceptKey(key string) string {
	sum := sha1.Sum([]byte(key + "258EAFA5-E914-47DA-95CA-C5AB0DC85B11"))
	return base64.StdEncoding.EncodeToString(sum[:])
}

// OffersDeflate reports whether the request offers permessage-deflate in a way that Accept agrees to.
func OffersDeflate(r *http.Request) bool {
	return negotiateDeflate(r.Header.Values("Sec-WebSocket-Extensions")) != ""
}

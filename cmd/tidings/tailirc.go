package main

import (
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"tidings"
	"tidings/client"
	"tidings/irc"
	"tidings/recentchange"
)

// ircWire reads channels of an IRC server. Where the server has IRCv3 message-tags and chathistory, it goes on behind the
// last message of each channel by its msgid, which is a Position at a Tidings server.
type ircWire struct {
	url      *url.URL
	secure   contextDialer
	port     string // by default
	nick     string
	pass     string
	channels []*ircChannel
	from     point
	was      bool // connected before
}

// ircChannel is what is remembered of a channel.
type ircChannel struct {
	name   string
	last   string    // the msgid of the last message
	joined time.Time // first
	seen   ring      // msgids: what was told live and by history is one message
}

// ring remembers the last texts it was given.
type ring struct {
	texts []string
	next  int
}

const ringSize = 512

// add reports whether s is new.
func (r *ring) add(s string) bool {
	if slices.Contains(r.texts, s) {
		return false
	}
	if len(r.texts) < ringSize {
		r.texts = append(r.texts, s)
		return true
	}
	r.texts[r.next] = s
	r.next = (r.next + 1) % ringSize
	return true
}

// newIRC reads the address irc://[NICK[:PASSWORD]@]HOST[:PORT]/CHANNEL[,CHANNEL]. The # of a channel may be left out, as
// it begins the fragment of a URL.
func newIRC(command string, u *url.URL, token string, from point) (*ircWire, error) {
	w := &ircWire{url: u, secure: &net.Dialer{}, port: "6667", from: from, pass: token, nick: "tidings" + strconv.Itoa(10000+rand.IntN(90000))}
	if u.Scheme == "ircs" {
		w.secure, w.port = &tls.Dialer{}, "6697"
	}
	if u.User != nil {
		if w.nick = u.User.Username(); !irc.ValidNick(w.nick) {
			return nil, usagef(command, "%s: %q is no nick", describe(u), w.nick)
		}
		if p, ok := u.User.Password(); ok {
			w.pass = p
		}
	}
	names := strings.TrimPrefix(u.Path, "/")
	if names == "" {
		names = u.Fragment
	}
	for name := range strings.SplitSeq(names, ",") {
		if name != "" && name[0] != '#' {
			name = "#" + name
		}
		if !irc.ValidChannel(name) {
			return nil, withHint(usagef(command, "%s names no channel", describe(u)), "tidings "+command+" "+u.Scheme+"://"+u.Host+"/en.wikipedia")
		}
		if !slices.ContainsFunc(w.channels, func(c *ircChannel) bool { return irc.Same(c.name, name) }) {
			w.channels = append(w.channels, &ircChannel{name: name})
		}
	}
	return w, nil
}

// Times of a connection that is silent: the first until the server is asked whether it is there.
const (
	ircPingEvery   = 45 * time.Second
	ircPingTimeout = 30 * time.Second
)

func (w *ircWire) connect(ctx context.Context, up func(), emit func(received, error) bool) error {
	conn, err := dial(ctx, w.url, w.port, w.secure)
	if err != nil {
		return err
	}
	defer conn.Close()
	defer context.AfterFunc(ctx, func() { conn.Close() })()
	s := &ircSession{w: w, conn: conn, up: up, emit: emit, nick: w.nick, batches: map[string]*ircChannel{}}
	return s.run()
}

// ircSession is one connection.
type ircSession struct {
	w       *ircWire
	conn    net.Conn
	up      func()
	emit    func(received, error) bool
	nick    string
	server  string
	offered []string // capabilities
	enabled []string
	known   bool // registered
	joined  int
	batches map[string]*ircChannel // of history, by their reference
	asking  []*ircPast             // commands whose answer has not come, first the next one
}

// ircLine is a message on a channel.
type ircLine struct {
	id string
	received
}

// The capabilities that are asked for, and those that make history possible.
var ircWanted = []string{"message-tags", "server-time", "batch", "standard-replies", "draft/chathistory", "chathistory"}

// ircPage is how many messages of the past are asked for at once.
const ircPage = 100

// maxLive bounds the messages that are held back while the past is read.
const maxLive = 10_000

// errNickInUse is ERR_NICKNAMEINUSE.
const errNickInUse = "433"

func (s *ircSession) say(command string, params ...string) error {
	m := irc.Message{Command: command, Params: params}
	_ = s.conn.SetWriteDeadline(time.Now().Add(dialTimeout)) // a connection that is closed fails at the write
	_, err := s.conn.Write(m.Append(nil))
	return err
}

// run registers, joins and reads.
func (s *ircSession) run() error {
	err := s.hello()
	var lines irc.Lines
	buf := make([]byte, 16<<10)
	for asked := false; err == nil; {
		wait := ircPingEvery
		if asked || !s.known {
			wait = ircPingTimeout
		}
		_ = s.conn.SetReadDeadline(time.Now().Add(wait)) // as above
		var n int
		n, err = s.conn.Read(buf)
		if n > 0 {
			asked = false
		}
		if timeout, ok := errors.AsType[net.Error](err); ok && timeout.Timeout() {
			if asked || !s.known {
				return unavailable(errSilent)
			}
			asked, err = true, s.say("PING", "tidings")
		}
		lines.Push(buf[:n])
		for {
			line, tooLong, ok := lines.Next()
			if !ok {
				break
			}
			m, err := irc.Parse(string(line))
			switch {
			case tooLong:
				err = emitted(s.emit(received{}, &lostError{"a line of the server is over the limits of IRC"}))
			case err != nil:
				err = emitted(s.emit(received{}, &lostError{"a line of the server is no message"}))
			default:
				err = s.message(&m)
			}
			if err != nil {
				if tidings.KindOf(err) == 0 && err != errStopped {
					err = unavailable(err)
				}
				return err
			}
		}
	}
	return unavailable(err)
}

func (s *ircSession) hello() error {
	err := s.say("CAP", "LS", "302")
	if s.w.pass != "" {
		err = errors.Join(err, s.say("PASS", s.w.pass))
	}
	return errors.Join(err, s.say("NICK", s.nick), s.say("USER", "tidings", "0", "*", "tidings tail"))
}

// has reports whether a capability is enabled.
func (s *ircSession) has(capability string) bool { return slices.Contains(s.enabled, capability) }

// remembers reports whether the server keeps history that can be asked for by msgid.
func (s *ircSession) remembers() bool {
	return s.has("message-tags") && s.has("batch") && (s.has("chathistory") || s.has("draft/chathistory"))
}

// message acts on one message of the server.
func (s *ircSession) message(m *irc.Message) error {
	switch m.Command {
	case "PING":
		return s.say("PONG", m.Params...)
	case "ERROR":
		kind := tidings.ErrUnavailable
		return tidings.Errorf(kind, "the server says %s", m.Param(0))
	case "CAP":
		return s.cap(m)
	case irc.RplWelcome:
		if s.known {
			return nil
		}
		s.known, s.server = true, m.Source
		if nick := m.Param(0); nick != "" {
			s.nick = nick
		}
		return s.join()
	case errNickInUse:
		if !s.known {
			s.nick = irc.Fold(s.w.nick[:min(len(s.w.nick), irc.MaxNick-4)]) + strconv.Itoa(rand.IntN(10_000))
			return s.say("NICK", s.nick)
		}
	case irc.ErrPasswdMismatch:
		return tidings.Errorf(tidings.ErrUnauthenticated, "the server says %s", m.Param(len(m.Params)-1))
	case irc.ErrBadNick:
		return tidings.Errorf(tidings.ErrInvalid, "the server refuses the nick %s: %s", s.nick, m.Param(len(m.Params)-1))
	case irc.ErrNoSuchChannel, irc.ErrTooManyChannels, irc.ErrInviteOnly, irc.ErrBadChannelKey, irc.ErrBadChanMask, "471", "474", "477":
		if s.find(m.Param(1)) != nil {
			return withHint(tidings.Errorf(tidings.ErrNotFound, "%s: %s", m.Param(1), m.Param(len(m.Params)-1)), "name a channel that the server has, such as "+s.w.url.Scheme+"://"+s.w.url.Host+"/en.wikipedia")
		}
	case irc.ErrUnavailable:
		if s.find(m.Param(1)) != nil {
			return tidings.Errorf(tidings.ErrUnavailable, "%s: %s", m.Param(1), m.Param(len(m.Params)-1))
		}
	case "JOIN":
		return s.onChannel(m)
	case "KICK":
		if irc.Same(m.Param(1), s.nick) {
			return tidings.Errorf(tidings.ErrUnavailable, "somebody removed this reader from %s: %s", m.Param(0), m.Param(2))
		}
	case "PRIVMSG", "NOTICE":
		return s.said(m)
	case "BATCH":
		return s.batch(m)
	case "WARN", "FAIL":
		return s.standardReply(m)
	}
	return nil
}

// cap negotiates (IRCv3 capability-negotiation).
func (s *ircSession) cap(m *irc.Message) error {
	last := m.Param(len(m.Params) - 1)
	switch strings.ToUpper(m.Param(1)) {
	case "LS":
		for word := range strings.FieldsSeq(last) {
			name, _, _ := strings.Cut(word, "=")
			if slices.Contains(ircWanted, name) {
				s.offered = append(s.offered, name)
			}
		}
		if m.Param(2) == "*" && len(m.Params) > 3 { // more lines follow
			return nil
		}
		if len(s.offered) == 0 {
			return s.say("CAP", "END")
		}
		return s.say("CAP", "REQ", strings.Join(s.offered, " "))
	case "ACK":
		s.enabled = append(s.enabled, strings.Fields(last)...)
		return s.say("CAP", "END")
	case "NAK":
		return s.say("CAP", "END")
	}
	return nil
}

// join asks for the channels. A server that remembers is asked first where each of them ends, so that nothing is missed
// if the connection is lost before a message came.
func (s *ircSession) join() error {
	if !s.remembers() && (!s.w.from.after.IsZero() || !s.w.from.since.IsZero()) {
		return withHint(tidings.Errorf(tidings.ErrInvalid, "the server keeps no history that --from could begin in"), "leave --from out")
	}
	for _, c := range s.w.channels {
		if s.remembers() && !s.w.was && s.w.from == (point{}) {
			if err := s.ask(&ircPast{channel: c}); err != nil {
				return err
			}
		}
		if err := s.say("JOIN", c.name); err != nil {
			return err
		}
	}
	return nil
}

func (s *ircSession) find(name string) *ircChannel {
	for _, c := range s.w.channels {
		if irc.Same(c.name, name) {
			return c
		}
	}
	return nil
}

// onChannel goes on with the past of a channel that was joined.
func (s *ircSession) onChannel(m *irc.Message) error {
	nick, _, _ := strings.Cut(m.Source, "!")
	c := s.find(m.Param(0))
	if c == nil || !irc.Same(nick, s.nick) {
		return nil
	}
	if s.joined++; s.joined == len(s.w.channels) {
		defer func() { s.w.was = true }()
		s.up()
		if s.w.was && !s.remembers() && !s.emit(received{}, &lostError{"the server keeps no history (IRCv3 chathistory)"}) {
			return errStopped
		}
	}
	first := c.joined.IsZero()
	if first {
		c.joined = time.Now()
	}
	if !s.remembers() {
		return nil
	}
	from := s.w.from
	switch {
	case c.last != "" && !first:
		return s.ask(&ircPast{channel: c, after: "msgid=" + c.last})
	case !from.after.IsZero():
		return s.ask(&ircPast{channel: c, after: "msgid=" + from.after.String()})
	case !from.since.IsZero():
		return s.ask(&ircPast{channel: c, after: "timestamp=" + from.since.UTC().Format(ircTime)})
	case !first: // the channel was empty: this clock need not be right by the minute
		return s.ask(&ircPast{channel: c, after: "timestamp=" + c.joined.Add(-time.Minute).UTC().Format(ircTime)})
	}
	return nil
}

// ircTime is the form of server-time.
const ircTime = "2006-01-02T15:04:05.000Z"

// gapNotice is how a Tidings server begins to tell a gap on a channel; the msgid is where it goes on from.
const gapNotice = "Events after "

// said takes a message on a channel.
func (s *ircSession) said(m *irc.Message) error {
	c := s.find(m.Param(0))
	if c == nil || len(m.Params) < 2 {
		return nil
	}
	text := m.Param(1)
	id, _ := m.Tag("msgid")
	if m.Command == "NOTICE" && !strings.Contains(m.Source, "!") {
		asked, isGap := strings.CutPrefix(text, gapNotice)
		oldest, err := tidings.ParsePosition(id)
		if !isGap || err != nil {
			return nil // the server talks about itself
		}
		asked, _, _ = strings.Cut(asked, " ")
		c.last = id
		return s.gap(c, oldest, asked)
	}
	l := ircLine{id, s.received(m, c, id, text)}
	if ref, ok := m.Tag("batch"); ok && s.batches[ref] == c {
		p := s.asking[0]
		p.lines = append(p.lines, l)
		if len(p.lines) > 100*ircPage {
			return tidings.Errorf(tidings.ErrTooLarge, "the server answers with more history than was asked for")
		}
		return nil
	}
	if p := s.past(c); p != nil {
		if p.live = append(p.live, l); len(p.live) > maxLive {
			return unavailable(fmt.Errorf("the server answers too slowly what was said on %s", c.name))
		}
		return nil
	}
	return s.tell(c, l)
}

// tell emits a message, once.
func (s *ircSession) tell(c *ircChannel, l ircLine) error {
	if l.id != "" {
		if !c.seen.add(l.id) {
			return nil
		}
		c.last = l.id
	}
	return emitted(s.emit(l.received, nil))
}

// received returns the message as an event. Its envelope is a CloudEvent whose source is the channel.
func (s *ircSession) received(m *irc.Message, c *ircChannel, id, text string) received {
	r := received{Event: client.Event{ID: id, Time: time.Now(), ContentType: "text/plain", Payload: []byte(text)}, where: c.name}
	if at, ok := m.Tag("time"); ok {
		if t, err := time.Parse(ircTime, at); err == nil {
			r.Time = t
		}
	}
	if strings.HasPrefix(text, "\x03") {
		r.ContentType = recentchange.TypeIRC
	}
	envelope := struct {
		SpecVersion string    `json:"specversion"`
		ID          string    `json:"id,omitempty"`
		Source      string    `json:"source"`
		Type        string    `json:"type"`
		Time        time.Time `json:"time"`
		ContentType string    `json:"datacontenttype"`
		Data        string    `json:"data"`
		Position    string    `json:"position,omitempty"`
	}{"1.0", id, s.w.url.Scheme + "://" + s.w.url.Host + "/" + url.PathEscape(c.name), "tidings.publish", r.Time.UTC(), r.ContentType, text, ""}
	if p, err := tidings.ParsePosition(id); err == nil {
		r.Position, envelope.Position = p, id
	}
	if item, ok := strings.CutPrefix(text, "retracted "); ok && m.Command == "NOTICE" && !r.Position.IsZero() {
		r.Kind, r.ID, r.Payload = tidings.Retract, item, nil
		envelope.Type = "tidings.retract"
	}
	r.record, _ = json.Marshal(envelope) // of texts and a time of this century
	return r
}

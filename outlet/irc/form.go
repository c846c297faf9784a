package irc

import (
	"bytes"
	"fmt"
	"strings"
	"time"
	"unicode/utf8"

	"tidings"
	"tidings/hub"
	wire "tidings/irc"
	"tidings/recentchange"
)

// goodbye is why the server closes everybody's connection when it stops.
const goodbye = "Server is stopping, come back soon"

// closingLink returns what the server says last.
func (s *Server) closingLink(why string) []byte {
	m := wire.Message{Command: "ERROR", Params: []string{"Closing Link: (" + why + ")"}, Colon: true}
	return m.Append(nil)
}

// form is how events look in one channel for clients with the same capabilities.
type form struct {
	srv     *Server
	channel string
	withID  bool // message-tags: msgid
	times   bool // server-time
}

// Key names the form.
func (f form) Key() string {
	flags := [...]string{"irc ", "irc+id ", "irc+time ", "irc+id+time "}
	i := 0
	if f.withID {
		i |= 1
	}
	if f.times {
		i |= 2
	}
	return flags[i] + f.channel
}

// Append appends the line that says the event: MediaWiki's own for a recent change, which has none for categorize;
// otherwise the payload, if it is text. A retraction is a notice. Longer lines are cut.
func (f form) Append(dst []byte, it *hub.Item) []byte { return f.append(dst, it, "") }

// append is Append for a message that may belong to a batch.
func (f form) append(dst []byte, it *hub.Item, batch string) []byte {
	begin := len(dst)
	dst = f.tags(dst, batch, it.Position, it.Time)
	start := len(dst)
	command := " PRIVMSG "
	if it.Kind == tidings.Retract {
		command = " NOTICE "
	}
	bot := f.srv.opt.Bot
	dst = append(append(append(dst, ':'), bot...), '!')
	dst = append(append(append(dst, bot...), '@'), f.srv.opt.ServerName...)
	dst = append(append(append(dst, command...), f.channel...), " :"...)
	text := len(dst)
	dst, ok := f.srv.appendText(dst, it)
	if !ok || len(dst) == text {
		return dst[:begin]
	}
	return wire.EndLine(dst, start)
}

// tags appends the tags of a message and the blank behind them.
func (f form) tags(dst []byte, batch string, p tidings.Position, t time.Time) []byte {
	sep := byte('@')
	tag := func(name string) {
		dst = append(append(append(dst, sep), name...), '=')
		sep = ';'
	}
	if batch != "" {
		tag("batch")
		dst = append(dst, batch...)
	}
	if f.times {
		tag("time")
		dst = t.UTC().AppendFormat(dst, timeLayout)
	}
	if f.withID {
		tag("msgid")
		dst = p.AppendText(dst)
	}
	if sep == ';' {
		dst = append(dst, ' ')
	}
	return dst
}

// timeLayout is the one of server-time.
const timeLayout = "2006-01-02T15:04:05.000Z"

// appendText appends what the bot says of an event. ok is false if there is nothing to say.
func (s *Server) appendText(dst []byte, it *hub.Item) (_ []byte, ok bool) {
	if it.Kind == tidings.Retract {
		return append(append(dst, "retracted "...), it.ItemID()...), true
	}
	if rc, ok := it.Value().(*recentchange.RecentChange); ok && rc != nil {
		return s.appendChange(dst, it, rc)
	}
	if !utf8.Valid(it.Payload) {
		return fmt.Appendf(dst, "[%d bytes of %s, item %s]", len(it.Payload), it.ContentType, it.ItemID()), true
	}
	return append(dst, bytes.TrimSpace(it.Payload)...), true
}

func (s *Server) appendChange(dst []byte, it *hub.Item, rc *recentchange.RecentChange) ([]byte, bool) {
	if rc.Dialect == recentchange.TypeIRC {
		// As MediaWiki sent it, without the channel it may have put before.
		if i := bytes.IndexByte(it.Payload, '\x03'); i >= 0 {
			return append(dst, bytes.TrimRight(it.Payload[i:], "\r\n")...), true
		}
	}
	dst, ok := rc.AppendIRC(dst, s.opt.Wikis[rc.Wiki.Value()])
	if !ok {
		if rc.Type != recentchange.Categorize { // which MediaWiki tells nobody over IRC (T127360)
			s.drops.Add(DropUnspeakable, 1, "position", it.Position, "topic", it.Topic,
				"hint", "the change names no server or no revision: set server_url in [wikis."+rc.Wiki.Value()+"]")
		}
		return dst, false
	}
	return bytes.TrimSuffix(dst, []byte("\n")), true
}

// AppendGap appends a notice whose msgid is the position that the channel goes on from.
func (f form) AppendGap(dst []byte, g *tidings.GapError) []byte {
	dst = f.tags(dst, "", g.Oldest, time.Now())
	m := wire.Message{Source: f.srv.opt.ServerName, Command: "NOTICE", Params: []string{f.channel, gapText(g)}, Colon: true}
	return m.Append(dst)
}

func gapText(g *tidings.GapError) string {
	return fmt.Sprintf("Events after %s are not all kept any more. Going on from %s, the oldest that is kept.", g.Asked, g.Oldest)
}

// AppendEnd appends the error that closes the connection.
func (f form) AppendEnd(dst []byte, err error) []byte {
	return append(dst, f.srv.closingLink(f.channel+": "+oneLine(err))...)
}

// AppendGoodbye appends what ends every connection when the server stops.
func (f form) AppendGoodbye(dst []byte) []byte { return append(dst, f.srv.edge.Goodbye...) }

// oneLine returns the text of an error for the end of a line.
func oneLine(err error) string { return strings.Join(strings.Fields(err.Error()), " ") }

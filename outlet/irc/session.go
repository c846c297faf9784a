package irc

import (
	"bytes"
	"context"
	"net"
	"strings"
	"sync/atomic"

	"tidings"
	"tidings/edge"
	"tidings/hub"
	wire "tidings/irc"
)

// session is one client. Where nothing else is said its fields belong to the goroutine that owns the connection.
type session struct {
	srv   *Server
	proto edge.Protocol
	host  string
	begun int64 // seconds on the server's clock

	conn   atomic.Pointer[edge.Conn] // set once
	heard  atomic.Int64              // when the last line came, on the server's clock
	known  atomic.Bool               // registered
	pinged int64                     // owned by the wheel

	// Guarded by srv.mu.
	slot, index    int
	listed, closed bool

	lines   wire.Lines
	out     []byte // the answers to what is being handled
	caps    wire.Caps
	nick    string
	user    string
	token   string
	actor   tidings.Actor
	chans   []*membership
	tokens  int   // lines it may still send at once
	filled  int64 // when tokens were last added
	batches int   // references of batches given out

	busy    bool // a command waits for the journal, or its answer for the socket
	leaving bool
}

// membership is a channel that a client is on.
type membership struct {
	ch     *channel
	sub    *hub.Subscription
	att    *edge.Attachment
	filter hub.Filter
	text   string // of the filter, as the client wrote it
}

// channel is what its readers have in common.
type channel struct {
	target
	readers int // guarded by srv.mu
}

// input takes what the client has sent.
func (x *session) input(c *edge.Conn, p []byte) error {
	x.conn.CompareAndSwap(nil, c)
	if x.leaving {
		return nil
	}
	x.lines.Push(p)
	x.process()
	return nil
}

// process handles the lines that are complete, up to one that takes long.
func (x *session) process() {
	now := x.srv.clock.Load()
	for !x.busy && !x.leaving {
		line, tooLong, ok := x.lines.Next()
		if !ok {
			break
		}
		x.heard.Store(now)
		if !x.spend(1, now) {
			break
		}
		if tooLong {
			x.srv.drops.Add(DropLine, 1, "client", x.host)
			x.text(wire.ErrInputTooLong, x.name(), "Input line was too long")
			continue
		}
		x.handle(strings.ToValidUTF8(string(line), "\uFFFD"))
	}
	if x.busy && x.lines.Len() > maxPending {
		x.quit(ReasonFlood, "Excess Flood")
	}
	x.flush()
}

// spend takes n lines from what the client may send, and ends a client that sends more.
func (x *session) spend(n int, now int64) bool {
	if now > x.filled {
		x.tokens = min(burst, x.tokens+int(min(now-x.filled, burst))*perSecond)
		x.filled = now
	}
	if x.tokens -= n; x.tokens < 0 {
		x.quit(ReasonFlood, "Excess Flood")
		return false
	}
	return true
}

// check is the wheel's look at the client.
func (x *session) check(now int64) {
	c := x.conn.Load()
	o := &x.srv.opt
	silent := now - x.heard.Load()
	switch {
	case !x.known.Load():
		if now-x.begun >= int64(o.RegisterTimeout.Seconds()) {
			c.Close(ReasonRegister, x.srv.closingLink("Registration timed out"))
		}
	case silent >= int64(o.PingTimeout.Seconds()):
		c.Close(ReasonPing, x.srv.closingLink("Ping timeout"))
	case silent >= int64(o.PingEvery.Seconds()) && now-x.pinged >= int64(o.PingEvery.Seconds()):
		x.pinged = now
		m := wire.Message{Command: "PING", Params: []string{o.ServerName}, Colon: true} // SmartIrc4net needs the colon
		c.Write(m.Append(nil))
	}
}

// gone is told that the connection is closed.
func (x *session) gone(*edge.Conn) {
	x.leaving = true
	x.srv.remove(x)
	for _, m := range x.chans {
		x.srv.leave(m.ch)
	}
	x.chans = nil
}

// quit closes the connection after what has been said.
func (x *session) quit(reason, why string) {
	if x.leaving {
		return
	}
	x.leaving = true
	x.flush()
	x.conn.Load().Close(reason, x.srv.closingLink(why))
}

// flush writes the answers.
func (x *session) flush() {
	if len(x.out) > 0 {
		x.conn.Load().Write(x.out)
		x.out = nil
	}
}

// send answers with a message of the server.
func (x *session) send(command string, params ...string) {
	m := wire.Message{Source: x.srv.opt.ServerName, Command: command, Params: params}
	x.out = m.Append(x.out)
}

// text is send with a colon before the last parameter.
func (x *session) text(command string, params ...string) {
	m := wire.Message{Source: x.srv.opt.ServerName, Command: command, Params: params, Colon: true}
	x.out = m.Append(x.out)
}

// echo tells the client what it has done itself.
func (x *session) echo(command string, params ...string) {
	m := wire.Message{Source: x.mask(), Command: command, Params: params}
	x.out = m.Append(x.out)
}

// notice is the bot's answer to a private message.
func (x *session) notice(text string) {
	o := &x.srv.opt
	m := wire.Message{Source: o.Bot + "!" + o.Bot + "@" + o.ServerName, Command: "NOTICE", Params: []string{x.name(), text}, Colon: true}
	x.out = m.Append(x.out)
}

// name is the nick, or what stands for it before there is one.
func (x *session) name() string {
	if x.nick == "" {
		return "*"
	}
	return x.nick
}

func (x *session) mask() string { return x.nick + "!" + x.user + "@" + x.host }

// later runs f, which may block for readTime, in its turn and away from the connection, and the function that f returns
// on it. Nothing else of the client is handled meanwhile.
func (x *session) later(q *queue, f func(ctx context.Context) func()) {
	x.busy = true
	c := x.conn.Load()
	q.push(func(ctx context.Context) {
		ctx, cancel := context.WithTimeout(ctx, readTime)
		defer cancel()
		done := f(ctx)
		c.Do(func() {
			x.busy = false
			if !x.leaving {
				done()
			}
			x.process()
		})
	})
}

// bulk writes a long answer as the socket takes it. Nothing else of the client is handled meanwhile, so that what waits
// for a client that does not read is one answer at the most.
func (x *session) bulk(b []byte) {
	x.flush()
	if len(b) == 0 {
		return
	}
	x.busy = true
	cur := &answer{b: b}
	c := x.conn.Load()
	cur.done = func() {
		cur.att.Detach()
		c.Do(func() {
			x.busy = false
			x.process()
		})
	}
	cur.att = c.Attach(x.srv.opt.Edge.NewGroup(), cur)
}

// answer is the cursor of a long answer.
type answer struct {
	b    []byte
	att  *edge.Attachment
	done func()
}

func (a *answer) Next() ([]byte, edge.Status) {
	if len(a.b) == 0 {
		return nil, edge.Idle
	}
	return a.b, edge.Ready
}

// Advance returns the rest of the line that was cut.
func (a *answer) Advance(n int) (rest []byte) {
	if n > 0 && a.b[n-1] != '\n' {
		end := n + bytes.IndexByte(a.b[n:], '\n') + 1
		rest = append(rest, a.b[n:end]...)
		n = end
	}
	if a.b = a.b[n:]; len(a.b) == 0 {
		a.b = nil
		a.done()
	}
	return rest
}

func (a *answer) Fetch(context.Context) {}
func (a *answer) Goodbye() []byte       { return nil }
func (a *answer) Close()                {}

// hostOf returns the address of a client without its port, in a form that may stand in a message.
func hostOf(a net.Addr) string {
	host, _, err := net.SplitHostPort(a.String())
	if err != nil {
		return "unknown"
	}
	if strings.HasPrefix(host, ":") {
		host = "0" + host
	}
	return host
}

// Mellium reads a room or a node with mellium.im/xmpp and says in JSON lines what it sees; see ../README.md.
//
//	mellium room   HOST PORT JID PASSWORD ROOM COUNT
//	mellium login  HOST PORT JID PASSWORD
//	mellium pubsub HOST PORT JID PASSWORD SERVICE/NODE COUNT
package main

import (
	"context"
	"crypto/tls"
	"encoding/json"
	"encoding/xml"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"reflect"
	"strconv"
	"sync"
	"time"

	"mellium.im/sasl"
	"mellium.im/xmlstream"
	"mellium.im/xmpp"
	"mellium.im/xmpp/jid"
	"mellium.im/xmpp/muc"
	"mellium.im/xmpp/mux"
	"mellium.im/xmpp/stanza"
)

var reports sync.Mutex

// report says what has been seen.
func report(event string, more map[string]any) {
	reports.Lock()
	defer reports.Unlock()
	line := map[string]any{"event": event}
	for name, value := range more {
		line[name] = value
	}
	json.NewEncoder(os.Stdout).Encode(line)
}

type client struct {
	addr      string
	jid       jid.JID
	password  string
	mechanism string
}

func main() {
	if err := run(context.Background(), os.Args[1:]); err != nil {
		report("error", map[string]any{"condition": condition(err)})
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

// condition returns the condition of a SASL failure, whose type is internal to the library, or else the error.
func condition(err error) string {
	if v := reflect.ValueOf(err); v.Kind() == reflect.Struct {
		if c := v.FieldByName("Condition"); c.IsValid() {
			return fmt.Sprint(c.Interface())
		}
	}
	return err.Error()
}

func run(ctx context.Context, args []string) error {
	if len(args) < 5 {
		return errors.New("usage: mellium MODE HOST PORT JID PASSWORD [TARGET COUNT]")
	}
	c := &client{addr: net.JoinHostPort(args[1], args[2]), jid: jid.MustParse(args[3]), password: args[4]}
	if args[0] == "login" {
		s, err := c.login(ctx)
		if err != nil {
			return err
		}
		return s.Close()
	}
	if len(args) != 7 {
		return errors.New("TARGET and COUNT are missing")
	}
	count, err := strconv.Atoi(args[6])
	if err != nil {
		return err
	}
	if args[0] == "pubsub" {
		return c.pubsub(ctx, args[5], count)
	}
	return c.room(ctx, jid.MustParse(args[5]), count)
}

// noted is a mechanism that says when it is the one that is used.
func (c *client) noted(m sasl.Mechanism) sasl.Mechanism {
	start := m.Start
	m.Start = func(n *sasl.Negotiator) (bool, []byte, any, error) {
		c.mechanism = m.Name
		return start(n)
	}
	return m
}

// errConnect says that there is no connection yet, which the caller may try again.
var errConnect = errors.New("connecting")

func (c *client) login(ctx context.Context) (*xmpp.Session, error) {
	conn, err := new(net.Dialer).DialContext(ctx, "tcp", c.addr)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", errConnect, err)
	}
	s, err := xmpp.NewClientSession(ctx, c.jid, conn,
		xmpp.StartTLS(&tls.Config{ServerName: c.jid.Domain().String(), InsecureSkipVerify: true}), // it is self-signed
		xmpp.SASL("", c.password, c.noted(sasl.ScramSha256), c.noted(sasl.ScramSha1), c.noted(sasl.Plain)),
		xmpp.BindResource())
	if err != nil {
		conn.Close()
		if lost(err) {
			err = fmt.Errorf("%w: %w", errConnect, err)
		}
		return nil, err
	}
	report("online", map[string]any{"mechanism": c.mechanism, "tls": s.ConnectionState().HandshakeComplete, "jid": s.LocalAddr().String()})
	return s, s.Send(ctx, stanza.Presence{Type: stanza.AvailablePresence}.Wrap(nil))
}

// lost reports whether an error is one of the connection: a server that is killed may have taken one that it does not serve.
func lost(err error) bool {
	var op *net.OpError
	return errors.As(err, &op) || errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF)
}

// message is one of a room.
type message struct {
	stanza.Message
	Body string `xml:"body"`
	RC   *struct {
		Attrs []xml.Attr `xml:",any,attr"`
	} `xml:"rc"`
	StanzaIDs []struct {
		ID string `xml:"id,attr"`
		By string `xml:"by,attr"`
	} `xml:"urn:xmpp:sid:0 stanza-id"`
}

// attributes returns those of an element without declarations of namespaces.
func attributes(all []xml.Attr) map[string]string {
	m := map[string]string{}
	for _, a := range all {
		if a.Name.Local != "xmlns" && a.Name.Space != "xmlns" {
			m[a.Name.Local] = a.Value
		}
	}
	return m
}

// room joins again whenever the connection is lost.
func (c *client) room(ctx context.Context, room jid.JID, count int) error {
	done := make(chan struct{})
	seen := mux.MessageHandlerFunc(func(m stanza.Message, r xmlstream.TokenReadEncoder) error {
		var got message
		if err := xml.NewTokenDecoder(r).Decode(&got); err != nil && err != io.EOF {
			return err
		}
		var rc any
		if got.RC != nil {
			rc = attributes(got.RC.Attrs)
		}
		var id any
		for _, s := range got.StanzaIDs {
			if s.By == room.String() {
				id = s.ID
			}
		}
		report("message", map[string]any{"from": got.From.String(), "body": got.Body, "rc": rc, "stanza_id": id})
		if count--; count == 0 {
			close(done)
		}
		return nil
	})
	for {
		s, err := c.login(ctx)
		if errors.Is(err, errConnect) {
			time.Sleep(200 * time.Millisecond)
			continue
		} else if err != nil {
			return err
		}
		rooms := new(muc.Client)
		ended := make(chan error, 1)
		go func() {
			ended <- s.Serve(mux.New(stanza.NSClient, muc.HandleClient(rooms), mux.Message(stanza.GroupChatMessage, xml.Name{Space: stanza.NSClient, Local: "body"}, seen)))
		}()
		nick := s.LocalAddr().Resourcepart()
		occupant, err := room.WithResource(nick)
		if err != nil {
			return err
		}
		if _, err := rooms.Join(ctx, occupant, s, muc.MaxHistory(0)); lost(err) {
			report("offline", nil)
			s.Conn().Close()
			continue
		} else if err != nil {
			return err
		}
		report("joined", map[string]any{"room": room.String()})
		select {
		case <-done:
			return s.Close()
		case err := <-ended:
			fmt.Fprintln(os.Stderr, err)
			report("offline", nil)
			s.Conn().Close()
		}
	}
}

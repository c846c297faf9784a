package xmpptest

import (
	"fmt"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"tidings/xmpp/jid"
	"tidings/xmpp/sasl"
	"tidings/xmpp/stanza"
	"tidings/xmpp/stream"
	"tidings/xmpp/xmlstream"
)

// Patience bounds the wait for a stanza. It is long because machines that run tests are busy.
const Patience = 60 * time.Second

// Runner is what a script runs against.
type Runner struct {
	// Dial opens a connection to the server, on which no TLS is needed.
	Dial func() (net.Conn, error)
	// Domain is the server's.
	Domain string
	// Do are the test's own directives by name. They get what follows the name, with placeholders filled in, and may set
	// variables.
	Do map[string]func(vars map[string]string, argument string) error
	// Vars are the variables to begin with.
	Vars map[string]string
}

// Files runs each file that the glob matches as a subtest, against a Runner of its own. It fails if there is none.
func Files(t *testing.T, glob string, start func(t *testing.T) *Runner) {
	t.Helper()
	files, err := filepath.Glob(glob)
	if err != nil || len(files) == 0 {
		t.Fatalf("no script matches %s: %v", glob, err)
	}
	for _, file := range files {
		t.Run(strings.TrimSuffix(filepath.Base(file), filepath.Ext(file)), func(t *testing.T) {
			text, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			if err := start(t).Run(string(text)); err != nil {
				t.Fatalf("%s:%v", file, err)
			}
		})
	}
}

// Run runs a script. The error begins with the number of the line.
func (r *Runner) Run(text string) error {
	steps, err := parse(text)
	if err != nil {
		return err
	}
	if r.Vars == nil {
		r.Vars = map[string]string{}
	}
	actors := map[string]*Client{}
	defer func() {
		for _, c := range actors {
			c.Break()
		}
	}()
	for _, s := range steps {
		if err := r.step(s, actors); err != nil {
			return fmt.Errorf("%d: %s %s %w", s.line, s.actor, s.verb, err)
		}
	}
	return nil
}

func (r *Runner) step(s step, actors map[string]*Client) error {
	if s.actor == "" {
		do := r.Do[s.verb]
		if do == nil {
			return fmt.Errorf("is not a directive of the test")
		}
		rest, err := fill(s.rest, r.Vars, false)
		if err != nil {
			return err
		}
		return do(r.Vars, rest)
	}
	c := actors[s.actor]
	if s.verb == "connects" {
		if c != nil {
			c.Break()
		}
		user, resource, _ := strings.Cut(strings.TrimSpace(strings.TrimPrefix(s.rest, "as")), "/")
		nc, err := r.Dial()
		if err != nil {
			return err
		}
		if c, err = Login(nc, r.Domain, user, user, resource); err != nil {
			return err
		}
		actors[s.actor], r.Vars[s.actor] = c, c.JID.String()
		return nil
	}
	if c == nil {
		return fmt.Errorf("but is not connected")
	}
	switch s.verb {
	case "sends:":
		text, err := fill(s.body, r.Vars, true)
		if err != nil {
			return err
		}
		return c.Write([]byte(text))
	case "receives nothing":
		return c.Silent()
	case "disconnects":
		delete(actors, s.actor)
		return c.Close()
	case "breaks":
		delete(actors, s.actor)
		c.Break()
		return nil
	}
	wants, err := elements(s.body)
	if err != nil {
		return err
	}
	ordered := s.verb == "receives:"
	for len(wants) > 0 {
		got, err := c.Next()
		if err != nil {
			return err
		}
		e, err := new(xmlstream.Document).Parse(got, c.ctx)
		if err != nil {
			return err
		}
		found := -1
		var first error
		for i, w := range wants {
			if err := match(w, e, r.Vars); err == nil {
				found = i
				break
			} else if first == nil {
				first = err
			}
			if ordered {
				break
			}
		}
		if found < 0 {
			return fmt.Errorf("%w:\n%s", first, got)
		}
		wants = slices.Delete(wants, found, found+1)
	}
	return nil
}

// elements parses what a script expects.
func elements(text string) (all []xmlstream.Element, err error) {
	var s xmlstream.Scanner
	s.Feed([]byte("<stream>" + text + "</stream>"))
	for {
		kind, raw, err := s.Next()
		switch {
		case err != nil:
			return nil, err
		case kind == xmlstream.End:
			return all, nil
		case kind == xmlstream.None:
			return nil, fmt.Errorf("the stanza has no end")
		case kind == xmlstream.Stanza:
			e, err := new(xmlstream.Document).Parse(slices.Clone(raw), clientContext)
			if err != nil {
				return nil, err
			}
			all = append(all, e)
		}
	}
}

var clientContext = xmlstream.NewContext(stanza.NSClient, "stream", xmlstream.SpaceStream)

// Client is a session of a test, over a connection without TLS.
type Client struct {
	JID     jid.JID
	nc      net.Conn
	scanner xmlstream.Scanner
	ctx     *xmlstream.Context
	buf     []byte
	pings   int
}

// Login logs in with SCRAM-SHA-1, anonymously where there is no user, and binds the resource.
func Login(nc net.Conn, domain, user, password, resource string) (*Client, error) {
	c := &Client{nc: nc, ctx: clientContext, buf: make([]byte, 16<<10)}
	to, err := jid.Parse(domain)
	if err != nil {
		return nil, err
	}
	header := stream.Header{Space: stanza.NSClient, To: to, Major: 1}.Append(nil)
	if err := c.login(header, user, password, resource); err != nil {
		nc.Close()
		return nil, fmt.Errorf("logging in: %w", err)
	}
	return c, nil
}

func (c *Client) login(header []byte, user, password, resource string) error {
	open := func() error {
		if err := c.Write(header); err != nil {
			return err
		}
		_, err := c.Next() // features
		return err
	}
	if err := open(); err != nil {
		return err
	}
	mechanism := "SCRAM-SHA-1"
	if user == "" {
		mechanism = "ANONYMOUS"
	}
	client, err := sasl.NewClient(mechanism, sasl.Credentials{Username: user, Password: password})
	if err != nil {
		return err
	}
	if err := c.Write(sasl.AppendAuth(nil, mechanism, client.Initial())); err != nil {
		return err
	}
	for done := false; !done; {
		raw, err := c.Next()
		if err != nil {
			return err
		}
		e, err := new(xmlstream.Document).Parse(raw, c.ctx)
		if err != nil {
			return err
		}
		data, err := sasl.Decode(e.Text())
		if err != nil {
			return err
		}
		switch e.Name() {
		case "challenge":
			response, err := client.Next(data)
			if err != nil {
				return err
			}
			if err := c.Write(sasl.AppendResponse(nil, response)); err != nil {
				return err
			}
		case "success":
			if err := client.Success(data); err != nil {
				return err
			}
			done = true
		default:
			return fmt.Errorf("%s", raw)
		}
	}
	c.scanner.Restart()
	if err := open(); err != nil {
		return err
	}
	bind := stanza.AppendStart(nil, stanza.IQ, stanza.TypeSet, "bind", jid.JID{}, jid.JID{})
	if err := c.Write(stanza.AppendEnd(stream.AppendBind(bind, resource), stanza.IQ)); err != nil {
		return err
	}
	raw, err := c.Next()
	if err != nil {
		return err
	}
	e, err := new(xmlstream.Document).Parse(raw, c.ctx)
	if err != nil {
		return err
	}
	if c.JID, err = stream.ParseBound(e.First()); err != nil {
		return fmt.Errorf("%s: %w", raw, err)
	}
	return nil
}

// Write sends bytes as they are.
func (c *Client) Write(b []byte) error {
	c.nc.SetWriteDeadline(time.Now().Add(Patience))
	_, err := c.nc.Write(b)
	return err
}

// Next returns the next element of the stream below its header, valid until the next call. The stream's end is io.EOF's text
// as an error.
func (c *Client) Next() ([]byte, error) {
	for {
		kind, raw, err := c.scanner.Next()
		switch {
		case err != nil:
			return nil, err
		case kind == xmlstream.Stanza:
			return raw, nil
		case kind == xmlstream.End:
			return nil, fmt.Errorf("the server has ended the stream")
		case kind == xmlstream.Open:
			continue
		}
		c.nc.SetReadDeadline(time.Now().Add(Patience))
		n, err := c.nc.Read(c.buf)
		if err != nil {
			return nil, fmt.Errorf("but: %w", err)
		}
		c.scanner.Feed(c.buf[:n])
	}
}

// Silent pings the server and returns an error if anything comes before the answer.
func (c *Client) Silent() error {
	c.pings++
	id := fmt.Sprintf("barrier-%d", c.pings)
	if err := c.Write([]byte("<iq type='get' id='" + id + "'><ping xmlns='urn:xmpp:ping'/></iq>")); err != nil {
		return err
	}
	raw, err := c.Next()
	if err != nil {
		return err
	}
	e, err := new(xmlstream.Document).Parse(raw, c.ctx)
	if err != nil {
		return err
	}
	if e.Attr("id") != id {
		return fmt.Errorf("but received\n%s", raw)
	}
	return nil
}

// Close ends the stream and waits for the server's end.
func (c *Client) Close() error {
	defer c.nc.Close()
	if err := c.Write([]byte("</stream:stream>")); err != nil {
		return err
	}
	for {
		kind, raw, err := c.scanner.Next()
		switch {
		case err != nil:
			return err
		case kind == xmlstream.End:
			return nil
		case kind == xmlstream.Stanza:
			return fmt.Errorf("but received\n%s", raw)
		}
		c.nc.SetReadDeadline(time.Now().Add(Patience))
		n, err := c.nc.Read(c.buf)
		if err != nil {
			return fmt.Errorf("without the server's end: %w", err)
		}
		c.scanner.Feed(c.buf[:n])
	}
}

// Break closes the connection without a word.
func (c *Client) Break() { c.nc.Close() }

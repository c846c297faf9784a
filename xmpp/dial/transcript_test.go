package dial_test

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net"
	"strings"
	"testing"

	"tidings/internal/transcript"
	"tidings/xmpp/dial"
	"tidings/xmpp/jid"
	"tidings/xmpp/stanza"
	"tidings/xmpp/xmlstream"
)

// TestTranscripts runs testdata/*.txt, in which the transcript is the server: C: is what the server says, and S: is what
// package dial says, an element a line. Beside the directives of package transcript they have
//
//	! dial [WORD ...]   dials: account (ann, with the password pencil), manage, secret (allows no plaintext)
//	! again WORD ...    drops the connection and resumes its session
//	! dialed TEXT       Dial has returned: ok, resumed, or an error that has the text
//	! next TEXT         Next returns a stanza that has the text, or an error that has it
//	! request PAYLOAD   sends a request to service@example.org, in the background
//	! answer TEXT       it has been answered with what has the text, or fails with an error that has it
//	! send STANZA
//	! end TEXT          Close has returned an error that has the text, or nil
//	! read              Next is called in the background
func TestTranscripts(t *testing.T) {
	transcript.Files(t, "testdata/*.txt", func(t *testing.T) *transcript.Runner {
		t.Parallel()
		f := &fixture{t: t, dialed: make(chan result, 1), next: make(chan result, 1), answered: make(chan result, 1), ends: make(chan *lines, 1)}
		t.Cleanup(func() {
			if f.conn != nil {
				f.conn.Drop()
			}
		})
		return &transcript.Runner{
			Dial: func() (net.Conn, error) { return <-f.ends, nil },
			Do: map[string]func(map[string]string, string) error{
				"dial": f.dial, "again": f.again, "dialed": f.wasDialed, "next": f.wasNext, "request": f.request, "answer": f.wasAnswered,
				"send": f.send, "end": f.end, "read": f.read,
			},
		}
	})
}

// result is what a call came to.
type result struct {
	text string
	conn *dial.Conn
	err  error
}

func (r result) has(text string) error {
	if r.err != nil {
		r.text = "error " + r.err.Error()
	}
	if !strings.Contains(r.text, text) {
		return fmt.Errorf("%s, want %s", r.text, text)
	}
	return nil
}

type fixture struct {
	t        *testing.T
	cfg      dial.Config
	conn     *dial.Conn
	ends     chan *lines // the server's end of the connection
	dialed   chan result
	next     chan result
	answered chan result
}

func (f *fixture) dial(_ map[string]string, words string) error {
	f.cfg = dial.Config{JID: jid.MustParse("example.org"), Address: "x", Plaintext: true}
	for word := range strings.FieldsSeq(words) {
		switch word {
		case "account":
			f.cfg.JID, f.cfg.Password = jid.MustParse("ann@example.org/desk"), "pencil"
		case "manage":
			f.cfg.Manage = true
		case "secret":
			f.cfg.Plaintext = false
		default:
			return fmt.Errorf("what is %s?", word)
		}
	}
	f.begin()
	return nil
}

func (f *fixture) begin() {
	cfg := f.cfg
	cfg.DialContext = func(context.Context, string, string) (net.Conn, error) {
		ours, theirs := net.Pipe()
		f.ends <- &lines{Conn: theirs}
		return ours, nil
	}
	go func() {
		c, err := dial.Dial(deadline(f.t), cfg)
		f.dialed <- result{conn: c, err: err}
	}()
}

func (f *fixture) again(map[string]string, string) error {
	if f.cfg.Resume = f.conn.Drop(); f.cfg.Resume == nil {
		return fmt.Errorf("there is no session")
	}
	f.begin()
	return nil
}

func (f *fixture) wasDialed(_ map[string]string, text string) error {
	r := <-f.dialed
	if f.conn = r.conn; r.conn != nil {
		r.text = "ok as " + r.conn.JID().String()
		if r.conn.Resumed() {
			r.text = "resumed as " + r.conn.JID().String()
		}
	}
	return r.has(text)
}

func (f *fixture) read(map[string]string, string) error {
	go func() {
		st, err := f.conn.Next(deadline(f.t))
		r := result{err: err}
		if err == nil {
			r.text = string(st.Element.Raw())
		}
		f.next <- r
	}()
	return nil
}

func (f *fixture) wasNext(_ map[string]string, text string) error {
	return (<-f.next).has(text)
}

func (f *fixture) request(_ map[string]string, payload string) error {
	go func() {
		ans, err := f.conn.Request(deadline(f.t), stanza.TypeGet, jid.MustParse("service@example.org"), []byte(payload))
		r := result{err: err}
		if err == nil {
			r.text = string(ans.Element.Raw())
		}
		f.answered <- r
	}()
	return nil
}

func (f *fixture) wasAnswered(_ map[string]string, text string) error {
	return (<-f.answered).has(text)
}

func (f *fixture) send(_ map[string]string, text string) error {
	go func() { // the transcript reads it
		if err := f.conn.Send([]byte(text)); err != nil {
			f.t.Error(err)
		}
	}()
	return nil
}

func (f *fixture) end(map[string]string, string) error {
	go f.conn.Close()
	return nil
}

// lines is the server's end: what is read from it is one element a line.
type lines struct {
	net.Conn
	scan xmlstream.Scanner
	out  bytes.Buffer
	buf  [4096]byte
}

func (l *lines) Read(p []byte) (int, error) {
	for l.out.Len() == 0 {
		kind, b, err := l.scan.Next()
		switch {
		case err != nil:
			return 0, err
		case kind == xmlstream.None:
			n, err := l.Conn.Read(l.buf[:])
			if n == 0 && err != nil {
				return 0, err
			}
			if in := l.buf[:n]; bytes.HasPrefix(in, []byte("<?xml")) && bytes.Contains(in, []byte("<stream:stream")) {
				l.scan.Reset() // after the login a new stream begins
			}
			l.scan.Feed(bytes.Clone(l.buf[:n]))
		case kind == xmlstream.End:
			l.out.WriteString("</stream:stream>\r\n")
		default:
			l.out.Write(b)
			l.out.WriteString("\r\n")
		}
	}
	return l.out.Read(p)
}

var _ io.Reader = (*lines)(nil)

package component

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"tidings/xmpp/service"
	"tidings/xmpp/stanza"
)

func TestDigest(t *testing.T) { // XEP-0114 example 3
	if got := Digest("3BF96D32", "test"); got != "aaee83c26aeeafcbabeabfcbcd50df997e0a2a1e" {
		t.Error(got)
	}
}

// sentinels are by the names in the scripts.
var sentinels = map[string]error{"host-unknown": ErrHostUnknown, "conflict": ErrConflict, "not-authorized": ErrNotAuthorized,
	"invalid-from": ErrInvalidFrom, "invalid-namespace": ErrInvalidNamespace, "closed": ErrClosed, "lost": ErrLost, "timeout": context.DeadlineExceeded}

// TestTranscripts plays the server's part of the scripts. C: is what the link has to send, with {NAME} for what is not known
// before; S: what the server sends; C1: and S1: are the same of a sender's connection; "cut" closes the connection; "error: CONDITION" is how the attempt or the connection ends,
// "says: TEXT" and "hint: TEXT" what its text or its hint has.
func TestTranscripts(t *testing.T) {
	files, err := filepath.Glob("testdata/*.txt")
	if err != nil || len(files) == 0 {
		t.Fatalf("no scripts: %v", err)
	}
	for _, file := range files {
		t.Run(strings.TrimSuffix(filepath.Base(file), ".txt"), func(t *testing.T) {
			text, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			w := start(t, func(o *Options) {
				if strings.Contains(string(text), "\nerror: timeout") {
					o.HandshakeTimeout = 50 * time.Millisecond
				}
				if strings.Contains(string(text), "\nC1:") {
					o.Senders = []string{"out.example"}
				}
			}, map[string]service.Service{domain: newDesk(echo)})
			s := w.accept()
			var sender *server
			vars := map[string]string{}
			for n, line := range strings.Split(string(text), "\n") {
				verb, rest, _ := strings.Cut(line, ":")
				rest = strings.TrimSpace(rest)
				to := s
				if kind, ok := strings.CutSuffix(verb, "1"); ok {
					if sender == nil {
						sender = w.accept()
						defer sender.nc.Close()
					}
					verb, to = kind, sender
				}
				switch verb {
				case "S":
					for k, v := range vars {
						rest = strings.ReplaceAll(rest, "{"+k+"}", v)
					}
					to.send(rest)
				case "C":
					if err := to.read(rest, vars); err != nil {
						t.Fatalf("%s:%d: %v\n%s", file, n+1, err, w.logs)
					}
				case "cut":
					s.nc.Close()
				case "error":
					w.until("the end", func() bool { return w.link.Stats().LastError != "" })
					// Another attempt sees the same, which shows what the error is.
					var e *Error
					want := sentinels[rest]
					err := w.lastError()
					if want == nil {
						if !errors.As(err, &e) || e.Stream.Condition != rest {
							t.Fatalf("%s:%d: %v", file, n+1, err)
						}
					} else if !errors.Is(err, want) {
						t.Fatalf("%s:%d: %v", file, n+1, err)
					}
				case "says":
					w.until("the end", func() bool { return w.link.Stats().LastError != "" })
					if got := w.lastError().Error(); !strings.Contains(got, rest) {
						t.Errorf("%s:%d: the error is %q", file, n+1, got)
					}
				case "hint":
					var e *Error
					if !errors.As(w.lastError(), &e) || !strings.Contains(e.Hint(), rest) || !strings.Contains(w.logs.String(), rest) {
						t.Errorf("%s:%d: %v\n%s", file, n+1, w.lastError(), w.logs)
					}
				case "dropped":
					w.until("drop", func() bool { return w.link.Stats().Dropped[rest] > 0 })
				default:
					if verb != "" && !strings.HasPrefix(verb, "#") {
						t.Fatalf("%s:%d: what is %q?", file, n+1, line)
					}
				}
			}
			s.nc.Close()
		})
	}
}

func (w *world) lastError() error {
	w.link.log.Lock()
	defer w.link.log.Unlock()
	return w.link.log.err
}

var placeholder = regexp.MustCompile(`\\\{([a-z]+)\\\}`)

// read reads exactly what a line of a script says.
func (s *server) read(want string, vars map[string]string) error {
	var names []string
	pattern := placeholder.ReplaceAllStringFunc(regexp.QuoteMeta(want), func(m string) string {
		names = append(names, placeholder.FindStringSubmatch(m)[1])
		return "([^'<>]*)"
	})
	re := regexp.MustCompile("^" + pattern)
	var got []byte
	one := make([]byte, 1)
	s.nc.SetReadDeadline(time.Now().Add(patience))
	for {
		if m := re.FindSubmatch(got); m != nil && len(m[0]) == len(got) {
			for i, n := range names {
				vars[n] = string(m[i+1])
			}
			return nil
		}
		if len(got) > len(want)+200 {
			return fmt.Errorf("got %s", got)
		}
		if _, err := s.nc.Read(one); err != nil {
			return fmt.Errorf("%w behind %s", err, got)
		}
		got = append(got, one[0])
	}
}

// echo answers requests with what they hold, messages with another, and subscribes who is available to nothing.
func echo(p service.Peer, st *stanza.Stanza) {
	switch {
	case st.Request():
		p.Send(st.AppendResult(nil, st.Payload().AppendXML(nil, stanza.NSClient)))
	case st.Kind == stanza.Message && st.Type != stanza.TypeError:
		b := stanza.AppendStart(nil, stanza.Message, st.Type, st.ID, st.To, st.From)
		for c := range st.Element.Children() {
			b = c.AppendXML(b, stanza.NSClient)
		}
		p.Send(stanza.AppendEnd(b, stanza.Message))
	case st.Kind == stanza.Presence:
		p.Send(stanza.AppendEmpty(nil, stanza.Presence, st.Type, st.ID, st.To, st.From))
	}
}

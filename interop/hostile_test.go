//go:build interop && linux

package interop_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// TestHostileClients: a thousand connections that say nothing, a byte a second, or what is no HTTP are closed within the
// time that a request's header may take, and while they last everybody else is served.
func TestHostileClients(t *testing.T) {
	t.Parallel() // it waits for a timeout
	const each = 333
	ctx, cancel := context.WithTimeout(t.Context(), 40*time.Second)
	defer cancel()
	s := newServer(t, "")
	token := s.token("publish:/beds/*")

	var hostile sync.WaitGroup
	attack := func(begin string, more byte) {
		conn, err := (&net.Dialer{}).DialContext(ctx, "tcp", s.http)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := io.WriteString(conn, begin); err != nil {
			t.Fatal(err)
		}
		hostile.Go(func() {
			defer conn.Close()
			for b := make([]byte, 4096); ; {
				conn.SetReadDeadline(time.Now().Add(time.Second))
				if _, err := conn.Read(b); err != nil && !errors.Is(err, os.ErrDeadlineExceeded) {
					return // closed, or reset because it went on sending
				}
				if ctx.Err() != nil {
					t.Errorf("a connection that began with %.20q is still open", begin)
					return
				}
				if more != 0 {
					conn.Write([]byte{more}) // an error shows when reading
				}
			}
		})
	}
	began := time.Now()
	for range each {
		attack("", 0)
		attack("GET /v2/stream/recentchange HTTP/1.1\r\nHost: x\r\nX: ", 'x')
		attack("\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", 0x55)
	}

	st, err := connect(ctx, s.url+"/subscribe?topic=/beds/*", "")
	if err != nil {
		t.Fatal(err)
	}
	defer st.close()
	p := &publisher{server: s, topic: "/beds/1", token: token, client: http.DefaultClient}
	slowest := time.Duration(0)
	for n := 1; n <= 200; n++ {
		sent := time.Now()
		if err := p.publish(ctx, n); err != nil {
			t.Fatal(err)
		}
		e, err := st.next()
		if err != nil {
			t.Fatal(err)
		}
		if x, err := tell(e); err != nil || x.n != n {
			t.Fatalf("instead of event %d came %+v, %v", n, e, err)
		}
		slowest = max(slowest, time.Since(sent))
	}
	if p.retries > 0 {
		t.Errorf("%d requests had to be repeated", p.retries)
	}
	hostile.Wait()
	t.Logf("200 events published and read among %d such connections, the slowest in %v; all of these closed after %v", 3*each, slowest, time.Since(began))
}

// goodbye is how a stream ends when the server stops: with the time after which to come back.
var goodbye = regexp.MustCompile(`\n\nretry: ([0-9]+)\n\n$`)

// TestGoodbye: when the server is stopped, each of 500 streams gets what was published until then, and is told when to
// come back, which is not the same moment for all. The program ends with status 0 in a few seconds, whoever is connected.
func TestGoodbye(t *testing.T) {
	const streams = 500
	ctx, cancel := context.WithTimeout(t.Context(), 40*time.Second)
	defer cancel()
	s := newServer(t, "")
	p := &publisher{server: s, topic: "/beds/1", token: s.token("publish:/beds/*"), client: http.DefaultClient}

	forms := []string{"/subscribe?topic=/beds/*", "/topics/beds/1?format=sse", "/topics/beds/*?format=sse", "/topics/beds/1?format=ndjson"}
	ends := make([][]byte, streams)
	var readers sync.WaitGroup
	for i := range streams {
		req, err := http.NewRequestWithContext(ctx, http.MethodGet, s.url+forms[i%len(forms)], nil)
		if err != nil {
			t.Fatal(err)
		}
		req.Header.Set("Accept", "text/event-stream")
		resp, err := visitor.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		readers.Go(func() {
			defer resp.Body.Close()
			if ends[i], err = io.ReadAll(resp.Body); err != nil {
				t.Errorf("stream %d: %v", i, err)
			}
		})
	}
	idle, err := net.Dial("tcp", s.http)
	if err != nil {
		t.Fatal(err)
	}
	defer idle.Close()

	for n := 1; n <= 20; n++ {
		if err := p.publish(ctx, n); err != nil {
			t.Fatal(err)
		}
	}
	stopped := time.Now()
	if err, ok := s.signal(syscall.SIGTERM); !ok || err != nil {
		t.Errorf("the program ended with %v", err)
	}
	took := time.Since(stopped)
	if took > 8*time.Second {
		t.Errorf("stopping took %v", took)
	}
	readers.Wait()

	delays := map[int]bool{}
	for i, end := range ends {
		if !strings.Contains(string(end), `"n":20,`) {
			t.Errorf("stream %d ends without the last event: %.300q", i, end[max(0, len(end)-300):])
		}
		if i%len(forms) == 3 {
			continue // NDJSON has no word for it
		}
		m := goodbye.FindSubmatch(end)
		if m == nil {
			t.Fatalf("stream %d ends with %q", i, end[max(0, len(end)-60):])
		}
		ms, err := strconv.Atoi(string(m[1]))
		if err != nil || ms < 2000 || ms > 4000 {
			t.Errorf("stream %d is to come back after %s ms", i, m[1])
		}
		delays[ms] = true
	}
	if len(delays) < streams/10 {
		t.Errorf("the streams are to come back at %d different moments only", len(delays))
	}
	t.Logf("%d streams ended in %v and come back at %d different moments", streams, took, len(delays))
}

// TestStartsAsIsSaid: a second server on the same data or the same port is refused and says what to do; after the first
// was killed, it starts.
func TestStartsAsIsSaid(t *testing.T) {
	s := newServer(t, "")
	bin, err := program()
	if err != nil {
		t.Fatal(err)
	}
	for _, tc := range []struct {
		args []string
		want string
	}{
		{[]string{"--data", s.dir + "/data", "--http", "off", "--udp", "off", "--irc", "off", "--xmpp", "off"}, "is in use by another process"},
		{[]string{"--data", t.TempDir(), "--http", s.http, "--udp", "off", "--irc", "off", "--xmpp", "off"}, "hint: another program has the port"},
		{[]string{"--data", t.TempDir(), "--http", "off", "--udp", s.udp, "--irc", "off", "--xmpp", "off"}, "hint: another program has the port"},
	} {
		if err := refused(t.Context(), bin, tc.args, tc.want); err != nil {
			t.Errorf("%s: %v", strings.Join(tc.args, " "), err)
		}
	}
	s.kill()
	s.start()
}

// refused starts a server that must not start: it has to end by itself with status 1 and say so.
func refused(ctx context.Context, bin string, args []string, want string) error {
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	var stderr strings.Builder
	cmd := exec.CommandContext(ctx, bin, append([]string{"serve"}, args...)...)
	cmd.Stderr = &stderr
	err := cmd.Run()
	if exit, ok := errors.AsType[*exec.ExitError](err); !ok || exit.ExitCode() != 1 || !strings.Contains(stderr.String(), want) {
		return fmt.Errorf("it ended with %v and said %q instead of %q", err, stderr.String(), want)
	}
	return nil
}

//go:build interop && linux

package interop_test

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"tidings/interop/mediawiki"
)

// ircReader is a connection to an IRC server that is on one channel.
type ircReader struct {
	net.Conn
	r *bufio.Reader
}

// joinIRC registers and joins, with the lines given before.
func joinIRC(ctx context.Context, addr, channel string, before ...string) (*ircReader, error) {
	nc, err := new(net.Dialer).DialContext(ctx, "tcp", addr)
	if err != nil {
		return nil, err
	}
	if d, ok := ctx.Deadline(); ok {
		nc.SetDeadline(d)
	}
	c := &ircReader{nc, bufio.NewReader(nc)}
	for _, l := range append(before, "NICK interop", "USER interop 0 * :Interop", "CAP END", "JOIN "+channel) {
		fmt.Fprintf(nc, "%s\r\n", l)
	}
	if err := c.until(" 366 "); err != nil {
		nc.Close()
		return nil, err
	}
	return c, nil
}

func (c *ircReader) until(text string) error {
	for {
		l, err := c.r.ReadString('\n')
		if err != nil {
			return fmt.Errorf("waiting for %q: %w", text, err)
		}
		if strings.Contains(l, text) {
			return nil
		}
	}
}

// said returns the next line of the channel, what stands before its text and what is its text.
func (c *ircReader) said() (before, text string, err error) {
	for {
		l, err := c.r.ReadString('\n')
		if err != nil {
			return "", "", err
		}
		if before, text, ok := strings.Cut(strings.TrimSuffix(l, "\r\n"), " PRIVMSG "+mediawiki.Channel+" :"); ok {
			return before, text, nil
		}
		if strings.HasPrefix(l, "PING ") {
			fmt.Fprintf(c, "PONG%s", l[4:])
		}
	}
}

// readIRCSession reads lines until the last page was made, that one included.
func readIRCSession(c *ircReader) (all []string, err error) {
	for {
		_, text, err := c.said()
		if err != nil {
			return all, err
		}
		if all = append(all, text); strings.Contains(text, "\x0307"+lastPage+"\x0314") {
			return all, nil
		}
	}
}

// compareIRC holds the lines made from JSON against those that the wiki's own IRC formatter sent, which the other server
// passed on. The former have been cut at the same length, because both servers have one name.
func compareIRC(t *testing.T, fromJSON, fromIRC []string) {
	t.Helper()
	for i := range min(len(fromJSON), len(fromIRC)) {
		if fromJSON[i] != fromIRC[i] {
			t.Errorf("line %d:\nfrom JSON %q\nfrom IRC  %q", i, fromJSON[i], fromIRC[i])
		}
	}
	if len(fromJSON) != len(fromIRC) {
		t.Errorf("%d lines from JSON, %d from IRC", len(fromJSON), len(fromIRC))
	}
	t.Logf("%d lines are equal byte for byte", len(fromJSON))
}

// ircClients are IRC clients of others. Each joins the channel and shows what is said there on its output.
var ircClients = []struct {
	name  string
	start func(t *testing.T, host, port string) *exec.Cmd
}{
	{"irssi", func(t *testing.T, host, port string) *exec.Cmd {
		home := t.TempDir()
		config := `servers = ( { address = "` + host + `"; port = ` + port + `; chatnet = "feed"; autoconnect = "yes"; } );
chatnets = { feed = { type = "IRC"; nick = "interop"; }; };
channels = ( { name = "` + mediawiki.Channel + `"; chatnet = "feed"; autojoin = "yes"; } );
settings = { "fe-common/core" = { autocreate_windows = "no"; }; };
`
		if err := os.WriteFile(filepath.Join(home, "config"), []byte(config), 0o600); err != nil {
			t.Fatal(err)
		}
		// It needs a terminal, which script(1) makes.
		cmd := exec.Command("script", "-qefc", "stty cols 250 rows 60; exec irssi --home="+home, "/dev/null")
		cmd.Env = append(os.Environ(), "TERM=xterm", "LANG=C.UTF-8")
		return cmd
	}},
	{"sic", func(t *testing.T, host, port string) *exec.Cmd {
		return exec.Command("sic", "-h", host, "-p", port, "-n", "interop")
	}},
}

// TestIRCClients: clients of others join and show what the wiki changes, one they are told of after the other.
func TestIRCClients(t *testing.T) {
	for _, c := range ircClients {
		t.Run(c.name, func(t *testing.T) {
			command(t, c.name)
			s := newServer(t, "")
			ch := newChanges(t, s)
			host, port, err := net.SplitHostPort(s.irc)
			if err != nil {
				t.Fatal(err)
			}
			cmd := c.start(t, host, port)
			screen, keys := watch(t, cmd)
			if c.name == "sic" {
				if err := screen.until("End of message of the day"); err != nil {
					t.Fatal(err)
				}
				io.WriteString(keys, ":j "+mediawiki.Channel+"\n")
				err = screen.until("End of NAMES")
			} else {
				err = screen.until("Total of") // it says how many are there
			}
			if err != nil {
				t.Fatal(err)
			}
			for i := 1; i <= 5; i++ {
				ch.send(t, 1)
				if err := screen.until(fmt.Sprintf("Bed %d", i), "Gardener"); err != nil {
					t.Fatal(err)
				}
			}
			// What is asked of the bot by a person's client works as from any other.
			if c.name == "sic" {
				io.WriteString(keys, ":m rc-pmtpa filter "+mediawiki.Channel+" title=Bed 8\n")
			} else {
				io.WriteString(keys, "/quote FILTER "+mediawiki.Channel+` :title == "Bed 8"`+"\r")
			}
			if err := screen.until("from now on"); err != nil {
				t.Fatal(err)
			}
			ch.send(t, 3) // 6, 7, 8
			seen, err := screen.upTo("Bed 8")
			if err != nil {
				t.Fatal(err)
			}
			if strings.Contains(seen, "Bed 6") || strings.Contains(seen, "Bed 7") {
				t.Errorf("it shows what the filter keeps out: %q", seen)
			}
			s.stop()
			if err := screen.until("Server is stopping"); err != nil {
				t.Error(err)
			}
		})
	}
}

// screen is what a program writes to its terminal.
type screen struct {
	t    *testing.T
	r    io.Reader
	seen string // and not yet looked at
}

// watch starts a program. It is killed, with all it has started, when the test ends.
func watch(t *testing.T, cmd *exec.Cmd) (*screen, io.Writer) {
	t.Helper()
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	cmd.Stdout, cmd.Stderr = w, w
	keys, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	w.Close()
	t.Cleanup(func() {
		for _, pid := range sessionsOf(cmd.Process.Pid) {
			syscall.Kill(pid, syscall.SIGKILL)
		}
		syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL)
		cmd.Wait()
		r.Close()
	})
	r.SetReadDeadline(time.Now().Add(60 * time.Second))
	return &screen{t: t, r: r}, keys
}

// sessionsOf returns the processes of the sessions that the children of a process lead, as script(1) makes one for what it runs: they
// are in none of its process groups, and not all of them end with their terminal.
func sessionsOf(pid int) (all []int) {
	of := map[int]int{} // session of each process
	led := map[int]bool{}
	stats, _ := filepath.Glob("/proc/[0-9]*/stat")
	for _, name := range stats {
		b, _ := os.ReadFile(name) // one that has ended has none
		var state string
		var parent, group, session int
		if _, err := fmt.Sscan(string(b[bytes.LastIndexByte(b, ')')+1:]), &state, &parent, &group, &session); err != nil {
			continue
		}
		id, _ := strconv.Atoi(filepath.Base(filepath.Dir(name)))
		of[id] = session
		if parent == pid && session == id {
			led[id] = true
		}
	}
	for id, session := range of {
		if led[session] {
			all = append(all, id)
		}
	}
	return all
}

// upTo reads until the text comes and returns what came before it.
func (s *screen) upTo(text string) (string, error) {
	b := make([]byte, 4096)
	for {
		if before, after, ok := strings.Cut(s.seen, text); ok {
			s.seen = after
			return before, nil
		}
		n, err := s.r.Read(b)
		if s.seen += string(b[:n]); n == 0 && err != nil {
			return "", errors.Join(fmt.Errorf("waiting for %q, it shows %.2000q", text, s.seen), err)
		}
	}
}

// until reads until the texts have come, in that order.
func (s *screen) until(texts ...string) error {
	for _, text := range texts {
		if _, err := s.upTo(text); err != nil {
			return err
		}
	}
	return nil
}

// TestIRCResumes: a reader that remembers the msgid of its last line gets every change once, through kills of the server.
func TestIRCResumes(t *testing.T) {
	ctx, cancel := context.WithTimeout(t.Context(), 60*time.Second)
	defer cancel()
	s := newServer(t, "")
	ch := newChanges(t, s)
	key, seen := "", 0
	read := func(n int) {
		t.Helper()
		c, err := joinIRC(ctx, s.irc, mediawiki.Channel+key, "CAP REQ message-tags")
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		if key == "" {
			ch.send(t, 100) // from the moment it has joined
		}
		for seen < n {
			before, text, err := c.said()
			if err != nil {
				t.Fatalf("after change %d: %v", seen, err)
			}
			if seen++; !strings.Contains(text, fmt.Sprintf("?diff=%d&", seen+1)) {
				t.Fatalf("change %d came as %q", seen, text)
			}
			id, _, ok := strings.Cut(strings.TrimPrefix(before, "@msgid="), " ")
			if !ok {
				t.Fatalf("no msgid in %q", before)
			}
			key = " since=" + id
		}
	}
	read(60)
	stored(ctx, t, s, func() { ch.send(t, 50) })
	read(110)
	s.kill()
	s.start()
	stored(ctx, t, s, func() { ch.send(t, 50) })
	s.stop()
	s.start()
	read(200)
	if got := slices.Max([]int{seen, ch.sent}); got != 200 {
		t.Errorf("%d changes were sent and %d read", ch.sent, seen)
	}
}

// stored sends and waits until the server has stored the last.
func stored(ctx context.Context, t *testing.T, s *server, send func()) {
	t.Helper()
	c, err := joinIRC(ctx, s.irc, mediawiki.Channel)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	send()
	for range 50 {
		if _, _, err := c.said(); err != nil {
			t.Fatal(err)
		}
	}
}

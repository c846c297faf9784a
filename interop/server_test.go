//go:build interop && linux

// Package interop_test runs the built program against software of others: MediaWiki, curl, clients from npm, a browser.
// It knows of Tidings what its users know: the command line, the ready line and the protocols.
//
// TIDINGS_BIN names the program to test; without it, the tests build it. A peer that is not installed is skipped by
// name, and with CI set it fails the test: interop/install.sh installs them all.
package interop_test

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// scratch is removed when all tests are done.
var scratch string

func TestMain(m *testing.M) {
	var err error
	if scratch, err = os.MkdirTemp("", "tidings-interop-"); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	code := m.Run()
	os.RemoveAll(scratch)
	os.Exit(code)
}

// program is the tidings to test.
var program = sync.OnceValues(func() (string, error) {
	if bin := os.Getenv("TIDINGS_BIN"); bin != "" {
		return filepath.Abs(bin)
	}
	bin := filepath.Join(scratch, "tidings")
	if out, err := exec.Command("go", "build", "-o", bin, "tidings/cmd/tidings").CombinedOutput(); err != nil {
		return "", fmt.Errorf("go build: %w: %s", err, out)
	}
	return bin, nil
})

// need skips the test if a peer is not installed, and fails it in CI.
func need(t *testing.T, peer string, err error) {
	t.Helper()
	switch {
	case err == nil:
	case os.Getenv("CI") != "":
		t.Fatalf("%s is not installed, and CI has to have it: %v", peer, err)
	default:
		t.Skipf("%s is not installed (interop/install.sh does it): %v", peer, err)
	}
}

// command returns the path of a program that the test needs.
func command(t *testing.T, name string) string {
	t.Helper()
	path, err := exec.LookPath(name)
	need(t, name, err)
	return path
}

// server is one Tidings server, with one data directory and the same addresses through all of its restarts.
type server struct {
	t    *testing.T
	dir  string
	data string
	url  string
	http string
	udp  string
	irc  string
	xmpp string
	args []string
	log  *os.File

	mu     sync.Mutex
	up     chan struct{} // closed while the server is ready
	cmd    *exec.Cmd
	exited chan error
}

// wikiConfig says of the wiki that the tests use what not every dialect says.
const wikiConfig = `
[wikis.gardenwiki]
server_url = "http://garden.example.org"
server_name = "garden.example.org"
script_path = "/w"
irc_channel = "#garden.example"
`

// newServer starts a server with wikiConfig and further configuration. It is stopped when the test ends.
func newServer(t *testing.T, config string) *server {
	t.Helper()
	return newServerAt(t, config, freePort(t, "udp"))
}

// newServerAt is newServer with the address for feeds given.
func newServerAt(t *testing.T, config, udp string) *server {
	t.Helper()
	// Not below t.TempDir: its removal is an error if a server that was killed is still letting go of its files.
	dir, err := os.MkdirTemp(scratch, "server-")
	if err != nil {
		t.Fatal(err)
	}
	s := &server{t: t, dir: dir, data: dir + "/data", up: make(chan struct{}), http: freePort(t, "tcp"), udp: udp, irc: freePort(t, "tcp"), xmpp: freePort(t, "tcp")}
	s.url = "http://" + s.http
	if err := os.WriteFile(dir+"/tidings.toml", []byte(config+wikiConfig), 0o644); err != nil {
		t.Fatal(err)
	}
	if s.log, err = os.Create(dir + "/stderr.log"); err != nil {
		t.Fatal(err)
	}
	s.args = []string{"serve", "--config", dir + "/tidings.toml", "--data", s.data, "--http", s.http, "--udp", s.udp, "--irc", s.irc, "--xmpp", s.xmpp}
	t.Cleanup(func() {
		s.kill()
		s.log.Close()
		if t.Failed() {
			log, _ := os.ReadFile(s.log.Name())
			if len(log) > 4000 {
				log = log[len(log)-4000:]
			}
			t.Logf("the server's log ends:\n%s", log)
		}
	})
	s.start()
	return s
}

// freePort returns a loopback address nobody listens on. It lies below the range that the kernel takes the ports of
// connections from, so that it is still free after a restart.
func freePort(t *testing.T, network string) string {
	t.Helper()
	for range 100 {
		addr := fmt.Sprintf("127.0.0.1:%d", 20000+rand.IntN(10000))
		if network == "udp" {
			if c, err := net.ListenPacket("udp", addr); err == nil {
				c.Close()
				return addr
			}
		} else if l, err := net.Listen("tcp", addr); err == nil {
			l.Close()
			return addr
		}
	}
	t.Fatal("found no free port")
	return ""
}

// start runs the program until it says that it is ready.
func (s *server) start() {
	s.t.Helper()
	bin, err := program()
	if err != nil {
		s.t.Fatal(err)
	}
	cmd := exec.Command(bin, s.args...)
	cmd.Stderr = s.log
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		s.t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		s.t.Fatal(err)
	}
	exited := make(chan error, 1)
	ready := make(chan string, 1)
	go func() {
		r := bufio.NewReader(stdout)
		line, _ := r.ReadString('\n')
		ready <- line
		io.Copy(io.Discard, r)
		exited <- cmd.Wait()
	}()
	select {
	case line := <-ready:
		if !strings.HasPrefix(line, "ready ") || !strings.Contains(line, "http="+s.http) || !strings.Contains(line, "udp="+s.udp) {
			cmd.Process.Kill()
			s.t.Fatalf("the program said %q instead of being ready", line)
		}
	case <-time.After(30 * time.Second):
		cmd.Process.Kill()
		s.t.Fatal("the server was not ready after 30 s")
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.cmd, s.exited = cmd, exited
	close(s.up)
}

// await waits until the server is up.
func (s *server) await(ctx context.Context) error {
	s.mu.Lock()
	up := s.up
	s.mu.Unlock()
	select {
	case <-up:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// signal ends the process and returns how it did, or false if it was not running.
func (s *server) signal(sig syscall.Signal) (error, bool) {
	s.mu.Lock()
	cmd, exited := s.cmd, s.exited
	if cmd != nil {
		s.cmd, s.up = nil, make(chan struct{})
	}
	s.mu.Unlock()
	if cmd == nil {
		return nil, false
	}
	cmd.Process.Signal(sig)
	select {
	case err := <-exited:
		return err, true
	case <-time.After(20 * time.Second):
		cmd.Process.Kill()
		<-exited
		return fmt.Errorf("%v did not end the server within 20 s", sig), true
	}
}

// stop ends the server in order, by SIGTERM, which it has to answer with status 0.
func (s *server) stop() {
	s.t.Helper()
	if err, ok := s.signal(syscall.SIGTERM); ok && err != nil {
		s.t.Errorf("stopping: %v", err)
	}
}

// kill ends the server by SIGKILL.
func (s *server) kill() { s.signal(syscall.SIGKILL) }

// admin returns the server's admin token.
func (s *server) admin() string {
	s.t.Helper()
	b, err := os.ReadFile(s.data + "/admin.token")
	if err != nil {
		s.t.Fatal(err)
	}
	return strings.TrimSpace(string(b))
}

// token makes a token with the scopes.
func (s *server) token(scopes ...string) string {
	s.t.Helper()
	body, err := json.Marshal(map[string]any{"name": s.t.Name(), "scopes": scopes})
	if err != nil {
		s.t.Fatal(err)
	}
	req, err := http.NewRequestWithContext(s.t.Context(), http.MethodPost, s.url+"/tokens", bytes.NewReader(body))
	if err != nil {
		s.t.Fatal(err)
	}
	req.Header.Set("Authorization", "Bearer "+s.admin())
	req.Header.Set("Content-Type", "application/json")
	resp, err := visitor.Do(req)
	if err != nil {
		s.t.Fatal(err)
	}
	defer resp.Body.Close()
	answer, err := io.ReadAll(resp.Body)
	if err != nil {
		s.t.Fatal(err)
	}
	var made struct{ ID, Token string }
	if err := json.Unmarshal(answer, &made); err != nil || resp.StatusCode != http.StatusCreated || made.Token == "" {
		s.t.Fatalf("making a token: %s: %s", resp.Status, answer)
	}
	return made.Token
}

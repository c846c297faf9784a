//go:build linux

// Package xmpppeer runs XMPP servers of others, Debian's Prosody and ejabberd, each with a configuration, a data directory
// and ports of its own, on loopback only. They are the oracles of the client programs in interop/xmpp, the hosts of
// components, and the peers of benchmarks.
//
// Both serve the same domains with the same services, so that a caller need not know which one it has.
package xmpppeer

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"text/template"
	"time"
)

// The domains that every server serves, where Options.Domain names no other.
const (
	Domain    = "localhost"            // accounts
	Anonymous = "anon.localhost"       // logins by SASL ANONYMOUS
	Rooms     = "conference.localhost" // XEP-0045; who joins a room that is not there makes it, without a lock
	PubSub    = "pubsub.localhost"     // XEP-0060; the account Owner may create nodes
)

// Owner is the account that administers the services.
const Owner = "owner"

// Options says how a server is started.
type Options struct {
	// Domain is served in place of localhost, as the others are below it: anon., conference. and pubsub.
	Domain string
	// Names, if not nil, has the server talk to other servers with the same Names (RFC 6120, with XEP-0220), and tells those
	// where its domains are.
	Names *Names
	// Accounts are the localparts and passwords of the accounts at the domain, beside those that Register makes later.
	Accounts map[string]string
	// Components are the domains of external components (XEP-0114) and their secrets. Rooms and PubSub may be among them,
	// in place of what the server has itself.
	Components map[string]string
	// Link, if not empty, is a template in place of the package's own for the sections of the configuration in which the
	// components are: of Prosody's at its end, of ejabberd's in the list of listeners.
	Link string
	// Modules is a folder with modules of Prosody's beside its own, for the templates.
	Modules string
	// Dir is where everything of the server is kept. If it is empty, a directory is made, and Stop removes it.
	Dir string
	// Config is a template in place of the package's own for the server, with the same fields.
	Config string
}

// Server is a running server. Its methods are for one goroutine.
type Server struct {
	Name    string // "prosody" or "ejabberd"
	Version string
	// Dir holds the configuration, the data and the log.
	Dir string
	// C2S is the address for clients: plain TCP with STARTTLS offered and not required.
	C2S string
	// DirectTLS is the address for clients that begin with TLS (XEP-0368).
	DirectTLS string
	// WebSocket is the URL of RFC 7395, without TLS.
	WebSocket string
	// Component is the address for components.
	Component string
	// S2S is the address for other servers.
	S2S string
	// Certificate is the file of the self-signed certificate, with its key behind it.
	Certificate string

	options Options
	temp    bool
	http    string // address
	command func() *exec.Cmd
	enrol   func(ctx context.Context, s *Server, user, password string) error
	early   bool                 // enrol works only while the server is down
	kept    func() (bool, error) // whether every account is on the disk; nil if it is when enrol returns
	cmd     *exec.Cmd
	exited  chan error

	enrolled []string // users
}

// Starters are the servers by name.
var Starters = map[string]func(context.Context, Options) (*Server, error){"prosody": Prosody, "ejabberd": Ejabberd}

// ErrNotInstalled says that the machine does not have the server.
var ErrNotInstalled = errors.New("xmpppeer: not installed")

// PID returns the process id of the running server.
func (s *Server) PID() int { return s.cmd.Process.Pid }

// log is the file that the program writes to, beside what it writes to its own logs in Dir.
func (s *Server) logFile() string { return filepath.Join(s.Dir, "output.log") }

// Log returns the end of the server's log, at most 4,000 bytes.
func (s *Server) Log() string {
	var all []byte
	for _, name := range []string{s.logFile(), filepath.Join(s.Dir, "server.log")} {
		b, _ := os.ReadFile(name)
		all = append(all, b[max(0, len(b)-2000):]...)
	}
	return string(all)
}

// prepare makes the directory, the addresses and the certificate.
func prepare(name string, o Options) (*Server, error) {
	if o.Domain == "" {
		o.Domain = Domain
	}
	s := &Server{Name: name, options: o, Dir: o.Dir}
	if s.Dir == "" {
		dir, err := os.MkdirTemp("", "xmpppeer-"+name+"-")
		if err != nil {
			return nil, fmt.Errorf("xmpppeer: %w", err)
		}
		s.Dir, s.temp = dir, true
	}
	for _, addr := range []*string{&s.C2S, &s.DirectTLS, &s.http, &s.Component, &s.S2S} {
		var err error
		if *addr, err = freeAddr(); err != nil {
			return nil, errors.Join(err, s.remove())
		}
	}
	s.Certificate = filepath.Join(s.Dir, "cert.pem")
	domains := s.domains()
	if err := certificate(s.Certificate, s.key(), domains...); err != nil {
		return nil, errors.Join(err, s.remove())
	}
	if o.Names != nil {
		for _, d := range domains {
			if err := o.Names.add(d, s.S2S); err != nil {
				return nil, errors.Join(err, s.remove())
			}
		}
	}
	return s, nil
}

// at returns one of the package's domains where this server has it.
func (s *Server) at(domain string) string {
	return strings.TrimSuffix(domain, Domain) + s.options.Domain
}

// domains are all that the server serves.
func (s *Server) domains() []string {
	all := []string{s.at(Domain), s.at(Anonymous), s.at(Rooms), s.at(PubSub)}
	for d := range s.options.Components {
		if !slices.Contains(all, d) {
			all = append(all, d)
		}
	}
	return all
}

func (s *Server) key() string { return filepath.Join(s.Dir, "key.pem") }

// taken are the ports that servers of this process have, also while they are stopped.
var taken struct {
	sync.Mutex
	ports map[int]bool
}

// freeAddr returns a loopback address nobody listens on. It lies below the range that the kernel takes the ports of
// connections from, so that it is still free after a restart.
func freeAddr() (string, error) {
	taken.Lock()
	defer taken.Unlock()
	if taken.ports == nil {
		taken.ports = map[int]bool{}
	}
	for range 100 {
		port := 10000 + rand.IntN(10000)
		addr := fmt.Sprintf("127.0.0.1:%d", port)
		if l, err := net.Listen("tcp", addr); err == nil && !taken.ports[port] {
			l.Close()
			taken.ports[port] = true
			return addr, nil
		} else if err == nil {
			l.Close()
		}
	}
	return "", errors.New("xmpppeer: found no free port")
}

// configure writes a file of the configuration from its template.
func (s *Server) configure(name, text string) error {
	if s.options.Config != "" {
		text = s.options.Config
	}
	t, err := template.New(name).Funcs(template.FuncMap{"port": func(addr string) string {
		_, port, _ := net.SplitHostPort(addr)
		return port
	}}).Parse(text)
	if err == nil && s.options.Link != "" {
		_, err = t.New("link").Parse(s.options.Link)
	}
	if err != nil {
		return fmt.Errorf("xmpppeer: %w", err)
	}
	f, err := os.OpenFile(filepath.Join(s.Dir, name), os.O_CREATE|os.O_TRUNC|os.O_WRONLY, 0o600)
	if err != nil {
		return fmt.Errorf("xmpppeer: %w", err)
	}
	values := map[string]any{"Dir": s.Dir, "C2S": s.C2S, "DirectTLS": s.DirectTLS, "HTTP": s.http, "Component": s.Component,
		"Certificate": s.Certificate, "Key": s.key(), "Domain": s.at(Domain), "Anonymous": s.at(Anonymous), "Rooms": s.at(Rooms), "PubSub": s.at(PubSub),
		"Owner": Owner, "Components": s.options.Components, "S2S": s.S2S, "Names": 0, "Modules": s.options.Modules}
	if s.options.Names != nil {
		values["Names"] = s.options.Names.port()
	}
	err = t.Execute(f, values)
	return errors.Join(err, f.Close())
}

// Start starts a server that has been stopped or killed, with the data it had, and waits until it serves clients.
func (s *Server) Start(ctx context.Context) error {
	if s.cmd != nil {
		return fmt.Errorf("xmpppeer: %s is running", s.Name)
	}
	out, err := os.OpenFile(s.logFile(), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return fmt.Errorf("xmpppeer: %w", err)
	}
	defer out.Close()
	cmd := s.command()
	cmd.Dir, cmd.Stdout, cmd.Stderr = s.Dir, out, out
	// A group of its own, because the servers have helpers, which end with them.
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	if err := cmd.Start(); err != nil {
		return fmt.Errorf("xmpppeer: starting %s: %w", s.Name, err)
	}
	s.cmd, s.exited = cmd, make(chan error, 1)
	go func() { s.exited <- cmd.Wait() }()
	if err := s.await(ctx); err != nil {
		err = fmt.Errorf("xmpppeer: %s: %w\n%s", s.Name, err, s.Log())
		s.signal(syscall.SIGKILL)
		return err
	}
	return nil
}

// await asks for the features of a stream until the server offers them on every domain.
func (s *Server) await(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	for {
		err := s.features(ctx, s.at(Domain))
		if err == nil {
			err = s.features(ctx, s.at(Anonymous))
		}
		if err == nil {
			return nil
		}
		select {
		case <-tick.C:
		case gone := <-s.exited:
			s.exited <- gone
			return fmt.Errorf("it has ended: %v", gone)
		case <-ctx.Done():
			return fmt.Errorf("it is not ready: %w: %w", ctx.Err(), err)
		}
	}
}

// features opens a stream and waits for its features (RFC 6120 section 4.3.2).
func (s *Server) features(ctx context.Context, domain string) error {
	conn, err := new(net.Dialer).DialContext(ctx, "tcp", s.C2S)
	if err != nil {
		return err
	}
	defer conn.Close()
	deadline, _ := ctx.Deadline()
	conn.SetDeadline(deadline)
	fmt.Fprintf(conn, "<?xml version='1.0'?><stream:stream xmlns='jabber:client' xmlns:stream='http://etherx.jabber.org/streams' to='%s' version='1.0'>", domain)
	b, seen := make([]byte, 4096), ""
	for !strings.Contains(seen, "</stream:features>") {
		n, err := conn.Read(b)
		if seen += string(b[:n]); err != nil {
			return fmt.Errorf("the stream ends with %q: %w", seen, err)
		}
	}
	return nil
}

// Register makes an account at the domain. Prosody takes a third of a second for each.
func (s *Server) Register(ctx context.Context, user, password string) error {
	if err := s.enrol(ctx, s, user, password); err != nil {
		return fmt.Errorf("xmpppeer: registering %s with %s: %w", user, s.Name, err)
	}
	s.enrolled = append(s.enrolled, user)
	return nil
}

// first registers the accounts of the options and starts the server.
func (s *Server) first(ctx context.Context) error {
	if !s.early {
		if err := s.Start(ctx); err != nil {
			return err
		}
	}
	for user, password := range s.options.Accounts {
		if err := s.Register(ctx, user, password); err != nil {
			return errors.Join(err, s.signal(syscall.SIGKILL))
		}
	}
	if s.early {
		return s.Start(ctx)
	}
	return nil
}

// Halt ends the server in order and leaves its data, for Start.
func (s *Server) Halt() error { return s.signal(syscall.SIGTERM) }

// Kill ends the server by SIGKILL and leaves its data. The accounts are among them: it waits until the server has written them.
func (s *Server) Kill() error { return errors.Join(s.keep(), s.signal(syscall.SIGKILL)) }

// keep waits until every account is on the disk.
func (s *Server) keep() error {
	if s.kept == nil || s.cmd == nil {
		return nil
	}
	const most = 10 * time.Second
	late := time.NewTimer(most)
	defer late.Stop()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for {
		all, err := s.kept()
		if err != nil {
			return fmt.Errorf("xmpppeer: %w", err)
		}
		if all {
			return nil
		}
		select {
		case <-tick.C:
		case gone := <-s.exited:
			s.exited <- gone
			return fmt.Errorf("xmpppeer: %s has ended: %v", s.Name, gone)
		case <-late.C:
			return fmt.Errorf("xmpppeer: %s has not written its accounts within %v", s.Name, most)
		}
	}
}

func (s *Server) signal(sig syscall.Signal) error {
	if s.cmd == nil {
		return nil
	}
	const most = time.Minute
	ended := false
	for began := time.Now(); !ended && time.Since(began) < most; {
		// Prosody may be about to wait when the signal comes, and look at it when something else happens: so it is told again.
		s.cmd.Process.Signal(sig)
		select {
		case <-s.exited:
			ended = true
		case <-time.After(5 * time.Second):
		}
	}
	syscall.Kill(-s.cmd.Process.Pid, syscall.SIGKILL) // its helpers
	s.cmd = nil
	if !ended {
		<-s.exited
		return fmt.Errorf("xmpppeer: %v did not end %s within %v", sig, s.Name, most)
	}
	return nil
}

// Stop ends the server and removes its directory, unless Options.Dir named it.
func (s *Server) Stop() error { return errors.Join(s.Halt(), s.remove()) }

func (s *Server) remove() error {
	if !s.temp {
		return nil
	}
	return os.RemoveAll(s.Dir)
}

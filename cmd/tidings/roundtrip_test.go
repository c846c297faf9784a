package main

import (
	"bufio"
	"errors"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"

	"github.com/rogpeppe/go-internal/testscript"
)

// running is the server that a script has started.
type running struct {
	cmd    *exec.Cmd
	rest   chan struct{} // closed when the server's stdout has ended
	stderr *os.File
}

// serverCommands are the commands with which scripts run a server:
//
//	server [FLAGS]   starts tidings serve on free ports with its data in $WORK/tidings-data, waits until it is ready and sets
//	                 TIDINGS_SERVER, TIDINGS_HTTP, TIDINGS_IRC and TIDINGS_XMPP to its addresses
//	stop             interrupts it and waits for a clean end
//	kill             ends it by SIGKILL, as a crash would
func serverCommands() map[string]func(*testscript.TestScript, bool, []string) {
	return map[string]func(*testscript.TestScript, bool, []string){
		"server": func(ts *testscript.TestScript, neg bool, args []string) { startServer(ts, args) },
		"stop": func(ts *testscript.TestScript, neg bool, args []string) {
			if err := endServer(ts, os.Interrupt); err != nil {
				ts.Fatalf("the server ended with %v", err)
			}
		},
		"kill": func(ts *testscript.TestScript, neg bool, args []string) {
			exit, ok := errors.AsType[*exec.ExitError](endServer(ts, syscall.SIGKILL))
			if !ok || exit.Exited() {
				ts.Fatalf("the server was not killed: %v", exit)
			}
		},
	}
}

const runningKey = "server"

func startServer(ts *testscript.TestScript, args []string) {
	path := ""
	for _, dir := range filepath.SplitList(ts.Getenv("PATH")) {
		if p := filepath.Join(dir, "tidings"); path == "" {
			if _, err := os.Stat(p); err == nil {
				path = p
			}
		}
	}
	work := ts.Getenv("WORK")
	cmd := exec.Command(path, append([]string{"serve", "--data", "tidings-data", "--http", "127.0.0.1:0", "--udp", "off", "--irc", "off", "--xmpp", "off"}, args...)...)
	cmd.Dir = work
	cmd.Env = append(os.Environ(), "HOME="+work)
	stderr, err := os.Create(filepath.Join(work, "server.log"))
	ts.Check(err)
	cmd.Stderr = stderr
	stdout, err := cmd.StdoutPipe()
	ts.Check(err)
	ts.Check(cmd.Start())
	r := &running{cmd, make(chan struct{}), stderr}
	*ts.Value(runningKey).(**running) = r
	ts.Defer(func() {
		if *ts.Value(runningKey).(**running) == r {
			_ = endServer(ts, syscall.SIGKILL) // the script has failed already, or did not care
		}
	})
	lines := bufio.NewReader(stdout)
	ready, err := lines.ReadString('\n')
	go func() {
		defer close(r.rest)
		_, _ = io.Copy(io.Discard, lines)
	}()
	if err != nil {
		log, _ := os.ReadFile(stderr.Name())
		ts.Fatalf("the server did not become ready: %v\n%s", err, log)
	}
	ts.Logf("%s", strings.TrimSpace(ready))
	for _, field := range strings.Fields(ready) {
		if addr, ok := strings.CutPrefix(field, "http="); ok {
			ts.Setenv("TIDINGS_SERVER", "http://"+addr)
			ts.Setenv("TIDINGS_HTTP", addr)
		}
		if addr, ok := strings.CutPrefix(field, "irc="); ok {
			ts.Setenv("TIDINGS_IRC", addr)
		}
		if addr, ok := strings.CutPrefix(field, "xmpp="); ok {
			ts.Setenv("TIDINGS_XMPP", addr)
		}
	}
}

func endServer(ts *testscript.TestScript, sig os.Signal) error {
	at := ts.Value(runningKey).(**running)
	r := *at
	if r == nil {
		ts.Fatalf("no server is running")
	}
	*at = nil
	ts.Check(r.cmd.Process.Signal(sig))
	<-r.rest
	err := r.cmd.Wait()
	ts.Check(r.stderr.Close())
	return err
}

//go:build interop && linux

package interop_test

import (
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
)

// xmppTerminals are programs that people read rooms with. Each logs in as anna, joins the room and shows what is said there.
var xmppTerminals = []struct {
	name  string
	start func(t *testing.T, host, port, password string) *exec.Cmd
	// joined is what it shows when it has joined, after join has been typed.
	join, joined string
	// refused is what it shows when the password is wrong.
	refused string
}{
	{
		name:   "profanity",
		start:  profanity,
		join:   "/join " + gardenRoom + "\r",
		joined: "You have joined the room", refused: "Login failed",
	},
	{
		name: "go-sendxmpp",
		start: func(t *testing.T, host, port, password string) *exec.Cmd {
			// It joins by itself, and says so in its debug output only: the presence of itself in the room.
			return exec.Command("go-sendxmpp", "-d", "-u", "anna@localhost", "-p", password, "-j", net.JoinHostPort(host, port), "-n", "-l", "-c", "-a", "reader", gardenRoom)
		},
		joined: "code='110'", refused: "auth failure",
	},
}

// profanity is a full-screen program: it needs a terminal, which script(1) makes, and a home with the account.
func profanity(t *testing.T, host, port, password string) *exec.Cmd {
	t.Helper()
	home := t.TempDir()
	for file, text := range map[string]string{
		"data/profanity/accounts": "[anna]\nenabled=true\njid=anna@localhost\nresource=terminal\npassword=" + password + "\nserver=" + host + "\nport=" + port +
			"\ntls.policy=trust\nmuc.nick=reader\nmuc.service=conference.localhost\n",
		"config/profanity/profrc": "[ui]\nsplash=false\n[logging]\nchlog=false\n",
	} {
		file = filepath.Join(home, file)
		if err := os.MkdirAll(filepath.Dir(file), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	cmd := exec.Command("script", "-qefc", "stty cols 250 rows 60; exec profanity -a anna", "/dev/null")
	cmd.Env = append(os.Environ(), "HOME="+home, "XDG_CONFIG_HOME="+home+"/config", "XDG_DATA_HOME="+home+"/data", "TERM=xterm", "LANG=C.UTF-8")
	return cmd
}

// TestXMPPTerminals: programs for people log in, join the room of a wiki, show each change, and say so when the password
// is wrong.
func TestXMPPTerminals(t *testing.T) {
	t.Parallel()
	for _, c := range xmppTerminals {
		t.Run(c.name, func(t *testing.T) {
			command(t, c.name)
			t.Parallel()
			s := newServer(t, "")
			s.accounts(t, "anna")
			ch := newChanges(t, s)
			host, port, err := net.SplitHostPort(s.xmpp)
			if err != nil {
				t.Fatal(err)
			}
			screen, keys := watch(t, c.start(t, host, port, xmppPassword))
			if c.join != "" {
				if err := screen.until("logged in successfully"); err != nil {
					t.Fatal(err)
				}
				io.WriteString(keys, c.join)
			}
			if err := screen.until(c.joined); err != nil {
				t.Fatal(err)
			}
			for i := 1; i <= 5; i++ {
				ch.send(t, 1)
				if err := screen.until(fmt.Sprintf("[[Bed %d]]", i), "Gardener"); err != nil {
					t.Fatal(err)
				}
			}
			screen, _ = watch(t, c.start(t, host, port, "wrong"))
			if err := screen.until(c.refused); err != nil {
				t.Error(err)
			}
		})
	}
}

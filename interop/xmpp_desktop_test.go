//go:build interop && linux

package interop_test

import (
	"context"
	"encoding/json"
	"fmt"
	"math/rand/v2"
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
)

// dino is the desktop client Dino on a display of its own, with a home that can be thrown away.
type dino struct {
	t    *testing.T
	home string
	env  []string
	// setup is what a shell does in the client's own view of the file system before it runs.
	setup string
}

// newDino starts a display and says where domain is to be found, and that its certificate is good: the client asks DNS for
// the address and always port 5222, and trusts what the system trusts.
func newDino(t *testing.T, domain, ip, certificate string) *dino {
	t.Helper()
	home, err := os.MkdirTemp(scratch, "dino-")
	if err != nil {
		t.Fatal(err)
	}
	d := &dino{t: t, home: home, env: append(os.Environ(), "HOME="+home, "XDG_RUNTIME_DIR="+home, "XDG_DATA_HOME="+home+"/data", "XDG_CONFIG_HOME="+home+"/config",
		"XDG_CACHE_HOME="+home+"/cache", "DISPLAY="+display(t), "GDK_BACKEND=x11", "GSK_RENDERER=cairo", "LIBGL_ALWAYS_SOFTWARE=1", "GTK_A11Y=none", "LANG=C.UTF-8")}
	const bundle = "/etc/ssl/certs/ca-certificates.crt"
	trusted, err := os.ReadFile(bundle)
	if err != nil {
		t.Fatal(err)
	}
	ours, err := os.ReadFile(certificate)
	if err != nil {
		t.Fatal(err)
	}
	for name, file := range map[string]struct{ at, text string }{
		"hosts":  {"/etc/hosts", "127.0.0.1 localhost\n" + ip + " " + domain + "\n"},
		"resolv": {"/etc/resolv.conf", ""},
		"bundle": {bundle, string(trusted) + string(ours)},
	} {
		if err := os.WriteFile(filepath.Join(home, name), []byte(file.text), 0o644); err != nil {
			t.Fatal(err)
		}
		d.setup += fmt.Sprintf("mount --bind %s %s && ", filepath.Join(home, name), file.at)
	}
	return d
}

// display starts an X server with nobody before it and returns its name.
func display(t *testing.T) string {
	t.Helper()
	lines := run(t, exec.Command("Xvfb", "-displayfd", "1", "-screen", "0", "1200x720x24", "-nolisten", "tcp"))
	select {
	case number := <-lines:
		return ":" + number
	case <-time.After(60 * time.Second):
		t.Fatal("Xvfb does not start")
		return ""
	}
}

// start starts the client, which writes to its output all that it sends and receives. Two of them on one database get into each
// other's way: stop ends this one.
func (d *dino) start() (s *screen, stop func()) {
	d.t.Helper()
	namespaces := "-m"
	if os.Geteuid() != 0 {
		namespaces = "-rm"
	}
	cmd := exec.Command("unshare", namespaces, "sh", "-c", d.setup+"exec dbus-run-session dino-im --print-xmpp=all")
	cmd.Env = d.env
	s, _ = watch(d.t, cmd)
	return s, func() {
		syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL)
		cmd.Wait()
	}
}

// database runs xmpp/dino.py and returns the lines it prints.
func (d *dino) database(ctx context.Context, command string, more ...string) ([]string, error) {
	out, err := exec.CommandContext(ctx, "/usr/bin/python3", append([]string{"xmpp/dino.py", command, d.home + "/data/dino/dino.db"}, more...)...).Output()
	return slices.Collect(strings.Lines(string(out))), err
}

// shoot takes a picture of the display and returns the number of its colours. It is left where TIDINGS_SHOTS says.
func (d *dino) shoot(name string) (colours int) {
	d.t.Helper()
	dir := d.home
	if shots := os.Getenv("TIDINGS_SHOTS"); shots != "" {
		dir = shots
	}
	file := filepath.Join(dir, name+".png")
	cmd := exec.CommandContext(d.t.Context(), "import", "-window", "root", file)
	cmd.Env = d.env
	if out, err := cmd.CombinedOutput(); err != nil {
		d.t.Fatalf("taking a picture: %v: %s", err, out)
	}
	out, err := exec.CommandContext(d.t.Context(), "identify", "-format", "%k", file).Output()
	if err == nil {
		colours, err = strconv.Atoi(strings.TrimSpace(string(out)))
	}
	if err != nil {
		d.t.Fatalf("looking at the picture: %v", err)
	}
	return colours
}

// TestXMPPDesktop: a graphical client logs in, finds the services, joins a room by its bookmark and shows each
// change.
func TestXMPPDesktop(t *testing.T) {
	for _, program := range []string{"dino-im", "Xvfb", "unshare", "dbus-run-session", "import"} {
		command(t, program)
	}
	need(t, "slixmpp", debianPython("slixmpp")())
	ctx, cancel := context.WithTimeout(t.Context(), 3*time.Minute)
	defer cancel()
	const domain = "garden.test"
	room := "gardenwiki@conference." + domain
	s := newServer(t, "")
	s.stop()
	ip := fmt.Sprintf("127.77.%d.%d", rand.IntN(250), 1+rand.IntN(250))
	s.xmpp = net.JoinHostPort(ip, "5222")
	s.args[slices.Index(s.args, "--xmpp")+1] = s.xmpp
	s.args = append(s.args, "--domain", domain, "--data", s.dir+"/"+domain) // with a certificate of its own
	s.start()
	s.data = s.dir + "/" + domain
	s.accounts(t, "anna")
	ch := newChanges(t, s)
	stored(ctx, t, s, func() { ch.send(t, 50) })

	newSpeaker(t, s.host(), "bookmark", "anna@"+domain, xmppPassword, room).until(ctx, "bookmarked", "online")

	d := newDino(t, domain, ip, s.data+"/certificate.pem")
	// The first start makes the database, in which we write what a person would say in its dialogues.
	_, stop := d.start()
	for tick := time.NewTicker(200 * time.Millisecond); ; {
		_, err := d.database(ctx, "made")
		if err == nil {
			break
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			t.Fatalf("the client makes no database: %v", err)
		}
	}
	stop()
	if _, err := d.database(ctx, "prepare", "anna@"+domain+"/desk", xmppPassword, room); err != nil {
		t.Fatal(err)
	}
	client, _ := d.start()
	// The stream, the services that the domain lists, what the room is, itself in the room.
	if err := client.until("urn:ietf:params:xml:ns:xmpp-sasl}:success", "disco#items}:item {http://jabber.org/protocol/disco#items}:jid='conference."+domain,
		"to='"+room+"/", "code='110'"); err != nil {
		t.Fatal(err)
	}
	for range 5 {
		ch.send(t, 1)
		if err := client.until(fmt.Sprintf("[[Bed %d]]", ch.sent)); err != nil {
			t.Fatal(err)
		}
	}
	// What it has received is what it shows; it is in the database a moment later.
	for tick := time.NewTicker(200 * time.Millisecond); ; {
		lines, err := d.database(ctx, "messages")
		if err != nil {
			t.Fatal(err)
		}
		var last string
		if n := len(lines); n > 0 {
			if err := json.Unmarshal([]byte(lines[n-1]), &last); err != nil {
				t.Fatal(err)
			}
		}
		if strings.HasPrefix(last, fmt.Sprintf("[[Bed %d]]", ch.sent)) {
			t.Logf("it has %d messages", len(lines))
			break
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			t.Fatalf("the last of %d messages that it has is %q", len(lines), last)
		}
	}
	if colours := d.shoot("dino"); colours < 50 {
		t.Errorf("the picture of the window has %d colours only", colours)
	}
}

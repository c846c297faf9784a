//go:build linux

// Package mediawiki runs a wiki of its own: Debian's MediaWiki with SQLite under PHP's built-in web server, in a
// directory that can be thrown away, with its change feeds pointed wherever the caller wants them. A script of varied
// changes is made through the wiki's action API.
//
// It needs the Debian packages mediawiki, php-cli, php-sqlite3, php-xml, php-mbstring and php-intl, and touches neither
// /etc/mediawiki nor /var/lib/mediawiki.
package mediawiki

import (
	"bytes"
	"context"
	_ "embed"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"
)

// The wiki's own names, which its events carry.
const (
	ID         = "gardenwiki"
	Server     = "http://garden.example.org"
	ServerName = "garden.example.org"
	ScriptPath = "/w"
	Channel    = "#garden.example"
	SiteName   = "Gärten & Wege"
)

const (
	tree     = "/usr/share/mediawiki"
	admin    = "Gardener"
	password = "a long password 4 the garden"
)

// ErrNotInstalled says that the machine has no MediaWiki or no PHP to run it with.
var ErrNotInstalled = errors.New("mediawiki: the Debian packages mediawiki, php-cli and php-sqlite3 are not installed")

//go:embed settings.php
var settings string

// Dialect is one of the forms in which a wiki announces its changes.
type Dialect string

// The dialects.
const (
	JSON Dialect = "json" // JSONRCFeedFormatter
	XML  Dialect = "xml"  // XMLRCFeedFormatter
	IRC  Dialect = "irc"  // IRCColourfulRCFeedFormatter, with Channel and a tab before each line
	RC   Dialect = "rc"   // the element <rc>, as the extension XMLRC sends it
)

// Feed says where the wiki sends each change to, HOST:PORT over UDP, and in which dialect.
type Feed struct {
	Dialect Dialect
	Addr    string
}

// Wiki is a running wiki.
type Wiki struct {
	// URL is where it answers, without a slash at the end; not the name it goes by in its events, which is Server.
	URL string

	dir    string
	php    *exec.Cmd
	exited chan struct{}
}

// Installed returns ErrNotInstalled, or nil if Start has what it needs.
func Installed() error {
	_, err := os.Stat(tree + "/includes")
	_, phpErr := exec.LookPath("php")
	if err != nil || phpErr != nil {
		return ErrNotInstalled
	}
	return nil
}

// Start installs a wiki below dir, which has to be empty or missing, and starts it. ctx bounds the installation only.
func Start(ctx context.Context, dir string, feeds ...Feed) (*Wiki, error) {
	if err := Installed(); err != nil {
		return nil, err
	}
	w := &Wiki{dir: dir, exited: make(chan struct{})}
	if err := w.install(ctx, feeds); err != nil {
		return nil, fmt.Errorf("mediawiki: installing: %w", err)
	}
	if err := w.serve(ctx); err != nil {
		return nil, fmt.Errorf("mediawiki: starting: %w", err)
	}
	return w, nil
}

// Version returns the version of the Debian package, such as 1:1.39.17-1+deb12u2.
func Version() (string, error) {
	out, err := exec.Command("dpkg-query", "-W", "-f", "${Version}", "mediawiki").Output()
	if err != nil {
		return "", fmt.Errorf("mediawiki: asking dpkg for the version: %w", err)
	}
	return string(out), nil
}

// install makes a tree of links into Debian's, so that the settings can be the wiki's own.
func (w *Wiki) install(ctx context.Context, feeds []Feed) error {
	root := filepath.Join(w.dir, "root", ScriptPath)
	for _, d := range []string{root, root + "/images", root + "/cache", w.dir + "/db"} {
		if err := os.MkdirAll(d, 0o755); err != nil {
			return err
		}
	}
	entries, err := os.ReadDir(tree)
	if err != nil {
		return err
	}
	for _, e := range entries {
		switch e.Name() {
		case "LocalSettings.php", "images", "cache", "config":
			continue
		}
		if err := os.Symlink(filepath.Join(tree, e.Name()), filepath.Join(root, e.Name())); err != nil {
			return err
		}
	}
	if _, err := w.maintain(ctx, "install.php", "--dbtype", "sqlite", "--dbpath", w.dir+"/db", "--dbname", ID,
		"--server", Server, "--scriptpath", ScriptPath, "--lang", "en", "--confpath", root,
		"--pass", password, SiteName, admin); err != nil {
		return err
	}
	f, err := os.OpenFile(root+"/LocalSettings.php", os.O_APPEND|os.O_WRONLY, 0)
	if err != nil {
		return err
	}
	_, err = f.WriteString(withFeeds(settings, feeds))
	return errors.Join(err, f.Close())
}

// withFeeds fills the feeds into the settings.
func withFeeds(s string, feeds []Feed) string {
	var core, rc strings.Builder
	for i, f := range feeds {
		formatter, prefix := "", ""
		switch f.Dialect {
		case JSON:
			formatter = "JSONRCFeedFormatter"
		case XML:
			formatter = "XMLRCFeedFormatter"
		case IRC:
			formatter, prefix = "IRCColourfulRCFeedFormatter", "/"+Channel+`\t`
		case RC:
			fmt.Fprintf(&rc, "'%s', ", f.Addr)
			continue
		}
		fmt.Fprintf(&core, "$wgRCFeeds['%s%d'] = [ 'uri' => \"udp://%s%s\", 'formatter' => '%s',\n"+
			"\t'add_interwiki_prefix' => false, 'omit_bots' => false ];\n", f.Dialect, i, f.Addr, prefix, formatter)
	}
	return strings.NewReplacer("__FEEDS__\n", core.String(), "__RC__", rc.String()).Replace(s)
}

// serve starts PHP's web server and waits until the wiki answers. One process, because the workers of
// PHP_CLI_SERVER_WORKERS outlive their parent; requests are answered one after the other, jobs included.
func (w *Wiki) serve(ctx context.Context) error {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	addr := l.Addr().String()
	l.Close()
	log, err := os.Create(filepath.Join(w.dir, "server.log"))
	if err != nil {
		return err
	}
	defer log.Close()
	w.php = exec.Command("php", "-S", addr, "-t", filepath.Join(w.dir, "root"))
	w.php.Env = w.env()
	w.php.Stdout, w.php.Stderr = log, log
	w.php.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if err := w.php.Start(); err != nil {
		return err
	}
	go func() {
		w.php.Wait()
		close(w.exited)
	}()
	w.URL = "http://" + addr + ScriptPath
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	for {
		req, _ := http.NewRequestWithContext(ctx, http.MethodGet, w.URL+"/api.php?action=query&format=json", nil)
		if resp, err := http.DefaultClient.Do(req); err == nil {
			resp.Body.Close()
			if resp.StatusCode == http.StatusOK {
				return nil
			}
		}
		select {
		case <-tick.C:
		case <-w.exited:
			return fmt.Errorf("php has ended: see %s", log.Name())
		case <-ctx.Done():
			w.Stop()
			return ctx.Err()
		}
	}
}

// Stop ends the web server. The directory stays.
func (w *Wiki) Stop() {
	w.php.Process.Kill()
	<-w.exited
}

// RunJobs runs what is in the job queue, which is where changes of type "categorize" come from.
func (w *Wiki) RunJobs(ctx context.Context) error {
	_, err := w.maintain(ctx, "runJobs.php")
	return err
}

// maintain runs one of MediaWiki's maintenance scripts.
func (w *Wiki) maintain(ctx context.Context, script string, args ...string) ([]byte, error) {
	root := filepath.Join(w.dir, "root", ScriptPath)
	cmd := exec.CommandContext(ctx, "php", append([]string{root + "/maintenance/" + script}, args...)...)
	cmd.Dir, cmd.Env = root, w.env()
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	if err := cmd.Run(); err != nil {
		return nil, fmt.Errorf("%s: %w: %s", script, err, bytes.TrimSpace(out.Bytes()))
	}
	return out.Bytes(), nil
}

func (w *Wiki) env() []string {
	return append(os.Environ(), "MW_INSTALL_PATH="+filepath.Join(w.dir, "root", ScriptPath))
}

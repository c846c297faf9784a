//go:build linux

package xmpppeer

import (
	"bytes"
	"context"
	_ "embed"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
)

//go:embed ejabberd.yml
var ejabberdConfig string

// Ejabberd starts Debian's ejabberd. It runs without Erlang's distribution: there is no node name, no epmd and no port
// but its own, and ejabberdctl does not reach it; accounts are made over its HTTP API.
func Ejabberd(ctx context.Context, o Options) (*Server, error) {
	erl, err := exec.LookPath("erl")
	found, _ := filepath.Glob("/usr/lib/*/ejabberd-*/ebin/ejabberd.app")
	if err != nil || len(found) == 0 {
		return nil, fmt.Errorf("%w: the Debian package ejabberd: %w", ErrNotInstalled, errors.Join(err, os.ErrNotExist))
	}
	ebin := filepath.Dir(found[0])
	s, err := prepare("ejabberd", o)
	if err != nil {
		return nil, err
	}
	libs := filepath.Dir(filepath.Dir(ebin))
	s.Version = strings.TrimPrefix(filepath.Base(filepath.Dir(ebin)), "ejabberd-")
	s.command = func() *exec.Cmd {
		cmd := exec.Command(erl, "+K", "true", "+P", "250000", "-noinput", "-noshell",
			"-mnesia", "dir", fmt.Sprintf("%q", filepath.Join(s.Dir, "data")), "-s", "ejabberd")
		cmd.Env = append(os.Environ(), "HOME="+s.Dir, "ERL_LIBS="+libs,
			"EJABBERD_CONFIG_PATH="+filepath.Join(s.Dir, "ejabberd.yml"),
			"EJABBERD_LOG_PATH="+filepath.Join(s.Dir, "server.log"),
			"ERL_CRASH_DUMP="+filepath.Join(s.Dir, "erl_crash.dump"),
			"ERL_MAX_PORTS=65000")
		if o.Names != nil {
			cmd.Env = append(cmd.Env, "ERL_INETRC="+filepath.Join(s.Dir, "inetrc"))
		}
		return cmd
	}
	s.enrol = ejabberdRegister
	s.kept = func() (bool, error) { return inMnesia(filepath.Join(s.Dir, "data"), s.enrolled) }
	s.WebSocket = "ws://" + s.http + "/xmpp-websocket"
	err = os.MkdirAll(filepath.Join(s.Dir, "data"), 0o700)
	if err == nil && o.Names != nil {
		rc := fmt.Sprintf("{lookup, [native, dns]}.\n{resolv_conf, \"\"}.\n{hosts_file, \"\"}.\n{nameserver, {127,0,0,1}, %d}.\n", o.Names.port())
		err = os.WriteFile(filepath.Join(s.Dir, "inetrc"), []byte(rc), 0o600)
	}
	if err == nil {
		err = s.configure("ejabberd.yml", ejabberdConfig)
	}
	if err == nil {
		err = s.first(ctx)
	}
	if err != nil {
		return nil, errors.Join(err, s.remove())
	}
	return s, nil
}

// ejabberdRegister calls the command register of mod_http_api.
func ejabberdRegister(ctx context.Context, s *Server, user, password string) error {
	body, err := json.Marshal(map[string]string{"user": user, "host": s.at(Domain), "password": password})
	if err != nil {
		return err
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, "http://"+s.http+"/api/register", bytes.NewReader(body))
	if err != nil {
		return err
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	answer, err := io.ReadAll(resp.Body)
	if err != nil || resp.StatusCode != http.StatusOK {
		return fmt.Errorf("%s: %w: %s", resp.Status, err, answer)
	}
	return nil
}

// inMnesia reports whether all names are in the files of a Mnesia database. Mnesia answers before it writes: its log is behind by
// up to two seconds, which a process that is killed takes with it.
func inMnesia(dir string, names []string) (bool, error) {
	var all []byte
	for _, pattern := range []string{"*.LOG", "*.D??"} { // the log, and the tables it is worked into
		files, err := filepath.Glob(filepath.Join(dir, pattern))
		if err != nil {
			return false, err
		}
		for _, name := range files {
			b, err := os.ReadFile(name)
			if err != nil && !errors.Is(err, os.ErrNotExist) {
				return false, err
			}
			all = append(all, b...)
		}
	}
	for _, name := range names {
		if !bytes.Contains(all, binaryTerm(name)) {
			return false, nil
		}
	}
	return true, nil
}

// binaryTerm is a string as Erlang writes a binary (BINARY_EXT of its external term format).
func binaryTerm(s string) []byte {
	return append(binary.BigEndian.AppendUint32([]byte{'m'}, uint32(len(s))), s...)
}

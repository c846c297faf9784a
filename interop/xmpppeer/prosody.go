//go:build linux

package xmpppeer

import (
	"context"
	_ "embed"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
)

//go:embed prosody.cfg.lua
var prosodyConfig string

// Prosody starts Debian's Prosody.
func Prosody(ctx context.Context, o Options) (*Server, error) {
	program, err := exec.LookPath("prosody")
	ctl, ctlErr := exec.LookPath("prosodyctl")
	if err := errors.Join(err, ctlErr); err != nil {
		return nil, fmt.Errorf("%w: the Debian package prosody: %w", ErrNotInstalled, err)
	}
	if o.Names != nil {
		if found, _ := filepath.Glob("/usr/lib/*/lua/5.4/lunbound.so"); len(found) == 0 {
			return nil, fmt.Errorf("%w: the Debian package lua-unbound", ErrNotInstalled)
		}
	}
	s, err := prepare("prosody", o)
	if err != nil {
		return nil, err
	}
	config := filepath.Join(s.Dir, "prosody.cfg.lua")
	s.command = func() *exec.Cmd { return exec.Command(program, "-F", "--config", config) }
	s.early = true
	s.enrol = func(ctx context.Context, s *Server, user, password string) error {
		out, err := exec.CommandContext(ctx, ctl, "--config", config, "register", user, s.at(Domain), password).CombinedOutput()
		// It says what is wrong and may exit with 0.
		if _, missing := os.Stat(filepath.Join(s.Dir, "data", escapeName(s.at(Domain)), "accounts", user+".dat")); err != nil || missing != nil {
			return fmt.Errorf("%w: %s", errors.Join(err, missing), out)
		}
		return nil
	}
	s.WebSocket = "ws://" + s.http + "/xmpp-websocket"
	s.Version = prosodyVersion(ctx, ctl)
	err = os.MkdirAll(filepath.Join(s.Dir, "data"), 0o700)
	if err == nil {
		err = s.configure("prosody.cfg.lua", prosodyConfig)
	}
	if err == nil {
		err = s.first(ctx)
	}
	if err != nil {
		return nil, errors.Join(err, s.remove())
	}
	return s, nil
}

// prosodyVersion is what prosodyctl says, without the program's name.
func prosodyVersion(ctx context.Context, ctl string) string {
	out, _ := exec.CommandContext(ctx, ctl, "about").Output()
	for line := range strings.Lines(string(out)) {
		if v, ok := strings.CutPrefix(line, "Prosody "); ok && v[0] >= '0' && v[0] <= '9' {
			return strings.TrimSpace(v)
		}
	}
	return "unknown"
}

// escapeName is how Prosody names the directory of a domain.
func escapeName(domain string) string {
	return strings.NewReplacer(".", "%2e", "-", "%2d").Replace(domain)
}

//go:build linux

package main

import (
	"context"
	_ "embed"
	"errors"
	"fmt"
	"os/exec"
	"path/filepath"

	"tidings/interop/xmpppeer"
)

// Prosody and ejabberd, as Debian has them. Visitors log in anonymously at a domain of their own; the owner of the rooms
// and nodes has an account and publishes from it. Rooms are as broadcasts want them: moderated, without a history, and the
// coming and going of occupants is told to nobody.

var (
	//go:embed prosody.cfg.lua
	prosodyConfig string
	//go:embed ejabberd.yml
	ejabberdConfig string
)

func prepareProsody(context.Context, *bench) (string, error) {
	path, err := exec.LookPath("prosody")
	if err != nil {
		return "", errors.New("not installed: apt-get install prosody")
	}
	return path, nil
}

func prepareEjabberd(context.Context, *bench) (string, error) {
	found, err := filepath.Glob("/usr/lib/*/ejabberd-*/ebin/ejabberd.app")
	if err != nil || len(found) == 0 {
		return "", errors.New("not installed: apt-get install ejabberd")
	}
	return found[0], nil
}

func startProsody(ctx context.Context, b *bench, _ string) (*target, error) {
	return startXMPPPeer(ctx, b, "prosody", prosodyConfig)
}

func startEjabberd(ctx context.Context, b *bench, _ string) (*target, error) {
	return startXMPPPeer(ctx, b, "ejabberd", ejabberdConfig)
}

func startXMPPPeer(ctx context.Context, b *bench, name, config string) (*target, error) {
	dir, err := b.folder(name)
	if err != nil {
		return nil, err
	}
	const password = "of this benchmark only"
	s, err := xmpppeer.Starters[name](ctx, xmpppeer.Options{Dir: dir, Config: config, Accounts: map[string]string{xmpppeer.Owner: password},
		Components: componentsOf, Modules: filepath.Join(b.root, "doc")})
	if err != nil {
		return nil, fmt.Errorf("starting %s: %w", name, err)
	}
	return &target{name: name, peer: s,
		xmpp:      []string{"-proto", "xmpp", "-addr", s.C2S, "-jid", xmpppeer.Anonymous},
		room:      []string{"-topic", "bench{n}@" + xmpppeer.Rooms},
		node:      []string{"-topic", xmpppeer.PubSub, "-node", "bench/{n}"},
		component: plainFlags(s),
		publish:   []string{"-pub", "xmpp", "-pubto", s.C2S, "-pubjid", xmpppeer.Owner + "@" + xmpppeer.Domain, "-pubpassword", password}}, nil
}
